#include "serve/loop.h"

#include "base/map.h"
#include "base/vec.h"
#include "os/net.h"
#include "os/os.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    SCRATCH_BYTES = 256 << 10, /* one read; a connection with nothing kept is read into the loop's own scratch */
    CHUNK_BYTES = 16 << 10,    /* small writes gather in chunks of this size */
    WRITE_PARTS = 64,
    EVENTS = 256,
    ACCEPTS_PER_TURN = 64,
    SWEEP_MS = 1000,
    LINGER_MS = 1000,
    CLOSING_MS = 30000, /* a peer that does not read its last bytes for so long is dropped */
    ACCEPT_PAUSE_MS = 100,
};

/* What an epoll event points at: the first member of both. */
enum tag { TAG_WAKEUP, TAG_LISTENER, TAG_CONN };

struct segment { /* a piece of the out queue */
    const char *p;
    size_t n, room; /* room: bytes still free behind p[n], chunks only */
    char *owned;    /* freed after sending */
    void (*release)(void *arg);
    void *arg;
};

struct conn {
    enum tag tag;
    int fd;
    uint64_t id;
    struct loop *loop;
    const struct loop_protocol *protocol;
    void *state;
    size_t index; /* in loop->conns */
    char *in;     /* kept input */
    size_t in_n, in_cap;
    struct segment *out; /* a ring would save the shift; queues are short */
    size_t out_first, out_n, out_cap, out_sent, out_bytes;
    unsigned want;
    int64_t last_ms;
    bool paused, choked, closing, lingering, gone, eof, dirty, held_output, feeding;
};

struct listener {
    enum tag tag;
    int fd;
    struct loop *loop;
    struct loop **targets;
    int ntargets, next;
    const struct loop_protocol *protocol;
    void *arg;
    bool off;
};

struct post {
    void (*fn)(void *arg);
    void *arg;
};

struct timer {
    int64_t at_ns;
    uint64_t id;
    void (*fn)(void *arg);
    void *arg;
};

struct loop {
    enum tag tag;
    int poller, wakeup;
    struct os_thread *thread;
    struct os_mutex *lock; /* guards posts and listeners */
    VEC(struct post) posts;
    VEC(struct post) running;
    VEC(struct listener *) listeners;
    atomic_bool stopping;
    /* below: the loop's thread only */
    VEC(struct conn *) conns;
    VEC(struct conn *) dirty; /* to be flushed at the end of the turn */
    VEC(struct conn *) graveyard;
    struct map by_id;
    VEC(struct timer) timers; /* a binary heap by at_ns */
    struct map timer_at;      /* id → 1 + index in the heap */
    uint64_t next_timer;
    bool sweeping;
    char *scratch;
    int64_t now_ms;
    char name[24];
};

static atomic_uint_fast64_t next_conn_id = 1;
static atomic_int open_conns;
static atomic_int most_conns = 12000;

static void conn_feed(struct conn *c);
static void sweep(void *arg);

static int64_t mono_ms(void)
{
    return os_mono_ns() / 1000000;
}

static struct str id_key(const uint64_t *id)
{
    return str_make(id, sizeof *id);
}

/* -- posts and timers ------------------------------------------------------------------------------------------- */
void loop_post(struct loop *l, void (*fn)(void *arg), void *arg)
{
    bool first;

    os_mutex_lock(l->lock);
    first = l->posts.n == 0;
    vec_push(&l->posts, ((struct post){fn, arg}));
    os_mutex_unlock(l->lock);
    if (first)
        net_wakeup_signal(l->wakeup);
}

/* Returns whether there were any. */
static bool run_posts(struct loop *l)
{
    typeof(l->posts) taken;
    bool any;

    os_mutex_lock(l->lock);
    taken = l->posts;
    memcpy(&l->posts, &l->running, sizeof l->posts);
    l->posts.n = 0;
    os_mutex_unlock(l->lock);
    for (size_t i = 0; i < taken.n; i++)
        taken.p[i].fn(taken.p[i].arg);
    any = taken.n > 0;
    taken.n = 0;
    memcpy(&l->running, &taken, sizeof taken); /* the two arrays swap for ever */
    return any;
}

static void timer_place(struct loop *l, size_t i, struct timer t)
{
    l->timers.p[i] = t;
    map_put(&l->timer_at, id_key(&t.id), (void *)(uintptr_t)(i + 1));
}

static void timer_up(struct loop *l, size_t i, struct timer t)
{
    for (size_t up; i > 0 && l->timers.p[up = (i - 1) / 2].at_ns > t.at_ns; i = up)
        timer_place(l, i, l->timers.p[up]);
    timer_place(l, i, t);
}

static void timer_down(struct loop *l, size_t i, struct timer t)
{
    for (size_t kid; (kid = 2 * i + 1) < l->timers.n; i = kid) {
        if (kid + 1 < l->timers.n && l->timers.p[kid + 1].at_ns < l->timers.p[kid].at_ns)
            kid++;
        if (l->timers.p[kid].at_ns >= t.at_ns)
            break;
        timer_place(l, i, l->timers.p[kid]);
    }
    timer_place(l, i, t);
}

static void timer_remove(struct loop *l, size_t i)
{
    struct timer last = l->timers.p[--l->timers.n];

    map_del(&l->timer_at, id_key(&l->timers.p[i].id));
    if (i == l->timers.n)
        return;
    if (i > 0 && l->timers.p[(i - 1) / 2].at_ns > last.at_ns)
        timer_up(l, i, last);
    else
        timer_down(l, i, last);
}

uint64_t loop_timer(struct loop *l, int64_t after_ms, void (*fn)(void *arg), void *arg)
{
    struct timer t = {os_mono_ns() + (after_ms > 0 ? after_ms : 0) * 1000000, ++l->next_timer, fn, arg};

    vec_push(&l->timers, t);
    timer_up(l, l->timers.n - 1, t);
    return t.id;
}

void loop_cancel(struct loop *l, uint64_t timer_id)
{
    uintptr_t at = (uintptr_t)map_get(&l->timer_at, id_key(&timer_id));

    if (at)
        timer_remove(l, at - 1);
}

static void run_timers(struct loop *l)
{
    int64_t now = os_mono_ns();

    while (l->timers.n && l->timers.p[0].at_ns <= now) {
        struct timer t = l->timers.p[0];

        timer_remove(l, 0);
        t.fn(t.arg);
    }
}

static int wait_ms(struct loop *l)
{
    int64_t left;

    if (!l->timers.n)
        return -1;
    left = l->timers.p[0].at_ns - os_mono_ns();
    return left <= 0 ? 0 : (int)((left + 999999) / 1000000 < 60000 ? (left + 999999) / 1000000 : 60000);
}

/* -- a connection's end ------------------------------------------------------------------------------------------ */
static void drop_segment(struct segment *s)
{
    if (s->release)
        s->release(s->arg);
    free(s->owned);
}

static void drop_output(struct conn *c)
{
    for (size_t i = c->out_first; i < c->out_n; i++)
        drop_segment(&c->out[i]);
    c->out_first = c->out_n = c->out_sent = c->out_bytes = 0;
}

/* The protocol lets go; the socket may live a little longer (lingering). */
static void tell_closed(struct conn *c)
{
    const struct loop_protocol *p = c->protocol;
    void *state = c->state;

    map_del(&c->loop->by_id, id_key(&c->id));
    c->state = NULL;
    if (state && p->on_close)
        p->on_close(c, state);
}

static void destroy(struct conn *c)
{
    struct loop *l = c->loop;

    if (c->gone)
        return;
    c->gone = true;
    if (!c->lingering)
        tell_closed(c);
    net_poll_del(l->poller, c->fd);
    net_close(c->fd);
    atomic_fetch_sub(&open_conns, 1);
    drop_output(c);
    l->conns.p[c->index] = l->conns.p[--l->conns.n];
    l->conns.p[c->index]->index = c->index;
    vec_push(&l->graveyard, c); /* an event of this turn may still point here */
}

static void bury(struct loop *l)
{
    for (size_t i = 0; i < l->graveyard.n; i++) {
        free(l->graveyard.p[i]->in);
        free(l->graveyard.p[i]->out);
        free(l->graveyard.p[i]);
    }
    l->graveyard.n = 0;
}

static void need_sweep(struct loop *l)
{
    if (!l->sweeping)
        loop_timer(l, SWEEP_MS, sweep, l);
    l->sweeping = true;
}

/* Everything was sent: say so to the peer, then wait for its end or a second, throwing away what it still sends. */
static void linger(struct conn *c)
{
    tell_closed(c);
    c->lingering = true;
    c->last_ms = c->loop->now_ms;
    net_shutdown_write(c->fd);
    net_poll_set(c->loop->poller, c->fd, NET_READ, c, false);
    need_sweep(c->loop);
}

static int64_t allowed_ms(const struct conn *c)
{
    if (c->lingering)
        return LINGER_MS;
    if (c->closing)
        return CLOSING_MS;
    return c->protocol->idle_ms > 0 ? c->protocol->idle_ms : INT64_MAX;
}

static void sweep(void *arg)
{
    struct loop *l = arg;
    bool again = false;

    l->now_ms = mono_ms();
    for (size_t i = l->conns.n; i-- > 0;)
        if (i < l->conns.n && l->now_ms - l->conns.p[i]->last_ms > allowed_ms(l->conns.p[i]))
            destroy(l->conns.p[i]);
    l->sweeping = false;
    for (size_t i = 0; i < l->conns.n && !again; i++)
        again = allowed_ms(l->conns.p[i]) != INT64_MAX;
    if (again)
        need_sweep(l);
}

/* -- output -------------------------------------------------------------------------------------------------------- */
static void want(struct conn *c)
{
    bool hold = c->paused || c->choked || c->closing || c->eof || c->in_n >= c->protocol->max_input_bytes;
    unsigned w = (hold ? 0 : NET_READ) | (c->out_bytes ? NET_WRITE : 0);

    if (c->lingering)
        w = NET_READ;
    if (w != c->want && !c->gone)
        net_poll_set(c->loop->poller, c->fd, w, c, false);
    c->want = w;
}

static void mark_dirty(struct conn *c)
{
    if (!c->dirty)
        vec_push(&c->loop->dirty, c);
    c->dirty = true;
}

static struct segment *new_segment(struct conn *c)
{
    if (c->out_n == c->out_cap && c->out_first > c->out_cap / 2) {
        memmove(c->out, c->out + c->out_first, (c->out_n - c->out_first) * sizeof *c->out);
        c->out_n -= c->out_first;
        c->out_first = 0;
    }
    if (c->out_n == c->out_cap)
        c->out = vec_grow_(c->out, &c->out_cap, c->out_n + 1, sizeof *c->out);
    c->out[c->out_n] = (struct segment){0};
    return &c->out[c->out_n++];
}

static void queued(struct conn *c, size_t n)
{
    c->out_bytes += n;
    c->held_output = true;
    if (c->out_bytes > c->protocol->max_output_bytes)
        c->choked = true;
    mark_dirty(c);
}

void conn_write(struct conn *c, const void *p, size_t n)
{
    struct segment *s = c->out_n > c->out_first ? &c->out[c->out_n - 1] : NULL;

    if (c->gone || c->lingering || n == 0)
        return;
    if (!s || s->room < n) {
        size_t cap = n > CHUNK_BYTES ? n : CHUNK_BYTES;

        s = new_segment(c);
        s->owned = malloc(cap);
        if (!s->owned) {
            c->out_n--;
            conn_abort(c); /* the peer's stream would have a hole */
            return;
        }
        s->p = s->owned;
        s->room = cap;
    }
    memcpy(s->owned + s->n, p, n);
    s->n += n;
    s->room -= n;
    queued(c, n);
}

void conn_write_ref(struct conn *c, const void *p, size_t n, void (*release)(void *arg), void *arg)
{
    if (c->gone || c->lingering || n == 0) {
        if (release)
            release(arg);
        return;
    }
    *new_segment(c) = (struct segment){.p = p, .n = n, .release = release, .arg = arg};
    queued(c, n);
}

void conn_write_take(struct conn *c, char *p, size_t n)
{
    conn_write_ref(c, p, n, free, p);
}

size_t conn_pending(struct conn *c)
{
    return c->out_bytes;
}

/* `sent` bytes of the queue are on their way. */
static void advance(struct conn *c, size_t sent)
{
    c->out_bytes -= sent;
    sent += c->out_sent;
    while (c->out_first < c->out_n && sent >= c->out[c->out_first].n) {
        sent -= c->out[c->out_first].n;
        drop_segment(&c->out[c->out_first++]);
    }
    c->out_sent = sent;
    if (c->out_first == c->out_n)
        c->out_first = c->out_n = 0;
}

/* Write what the socket takes. False: the connection is broken. */
static bool write_out(struct conn *c)
{
    while (c->out_bytes) {
        struct str parts[WRITE_PARTS];
        size_t n = 0, sent, skip = c->out_sent;
        enum err e;

        for (size_t i = c->out_first; i < c->out_n && n < WRITE_PARTS; i++, skip = 0)
            parts[n++] = str_make(c->out[i].p + skip, c->out[i].n - skip);
        e = net_writev(c->fd, parts, n, &sent, NULL);
        if (e == ERR_AGAIN)
            return true;
        if (e)
            return false;
        c->last_ms = c->loop->now_ms;
        advance(c, sent);
    }
    return true;
}

static void flush(struct conn *c)
{
    bool drained;

    c->dirty = false;
    if (c->gone || c->lingering)
        return;
    if (!write_out(c)) {
        destroy(c);
        return;
    }
    drained = c->out_bytes == 0 && c->held_output;
    if (drained) {
        c->held_output = false;
        if (!c->closing && c->protocol->on_drained)
            c->protocol->on_drained(c, c->state);
    }
    if (c->gone)
        return;
    if (c->closing && !c->out_bytes) {
        linger(c);
        return;
    }
    if (c->choked && c->out_bytes <= c->protocol->max_output_bytes / 2) {
        c->choked = false;
        conn_feed(c);
    }
    if (!c->gone)
        want(c);
}

/* -- input -----------------------------------------------------------------------------------------------------------
 */
static bool may_feed(const struct conn *c)
{
    return !c->gone && !c->closing && !c->paused && !c->choked;
}

/* Offer [p, p+n) until the protocol wants no more; returns what it used. */
static size_t offer(struct conn *c, const char *p, size_t n)
{
    size_t used = 0;

    while (used < n && may_feed(c)) {
        size_t took = c->protocol->on_data(c, c->state, p + used, n - used);

        if (took == 0)
            break;
        used += took;
    }
    return used;
}

/* A frame that never ends within the bound, or an end of stream with nothing left to do. */
static void after_feed(struct conn *c)
{
    if (c->gone || c->lingering)
        return;
    if (may_feed(c) && c->in_n >= c->protocol->max_input_bytes) {
        os_log(OS_WARN, c->protocol->name, "connection %llu sent more than %zu bytes without a whole message: closed",
               (unsigned long long)c->id, c->protocol->max_input_bytes);
        destroy(c);
        return;
    }
    if (c->eof && may_feed(c))
        conn_close(c);
    want(c);
}

static void conn_feed(struct conn *c)
{
    size_t used;

    if (c->feeding) /* on_data itself took the pause away: its caller goes on */
        return;
    c->feeding = true;
    used = offer(c, c->in, c->in_n);
    c->feeding = false;
    if (c->gone)
        return;
    if (used) {
        memmove(c->in, c->in + used, c->in_n - used);
        c->in_n -= used;
        if (!c->in_n && c->in_cap > SCRATCH_BYTES) { /* a big frame's room is not kept for an idle connection */
            free(c->in);
            c->in = NULL;
            c->in_cap = 0;
        }
    }
    after_feed(c);
}

static bool keep(struct conn *c, const char *p, size_t n)
{
    if (c->in_n + n > c->in_cap) {
        size_t cap = c->in_cap ? c->in_cap : 4096;
        char *grown;

        while (cap < c->in_n + n)
            cap *= 2;
        grown = realloc(c->in, cap);
        if (!grown)
            return false;
        c->in = grown;
        c->in_cap = cap;
    }
    memcpy(c->in + c->in_n, p, n);
    c->in_n += n;
    return true;
}

/* Fresh bytes with nothing kept before them: shown where they are, only the rest is copied. */
static void feed_fresh(struct conn *c, const char *p, size_t n)
{
    size_t used;

    c->feeding = true;
    used = offer(c, p, n);
    c->feeding = false;
    if (c->gone)
        return;
    if (used < n && !keep(c, p + used, n - used))
        destroy(c);
    else
        after_feed(c);
}

/* Room at the end of what is kept, so that a large frame is read straight into place. */
static enum err read_kept(struct conn *c, size_t *got)
{
    size_t room = c->protocol->max_input_bytes - c->in_n, step = c->in_n < SCRATCH_BYTES ? SCRATCH_BYTES : c->in_n;
    enum err e;

    step = step > (4u << 20) ? 4u << 20 : step;
    room = room < step ? room : step;
    if (c->in_cap - c->in_n < room && c->in_cap - c->in_n < SCRATCH_BYTES) {
        size_t cap = c->in_cap * 2 > c->in_n + room ? c->in_cap * 2 : c->in_n + room;
        char *grown = realloc(c->in, cap);

        if (!grown)
            return ERR_NOMEM;
        c->in = grown;
        c->in_cap = cap;
    }
    if (room > c->in_cap - c->in_n)
        room = c->in_cap - c->in_n;
    e = net_read(c->fd, c->in + c->in_n, room, got, NULL);
    if (!e)
        c->in_n += *got;
    return e;
}

static void on_readable(struct conn *c)
{
    struct loop *l = c->loop;
    bool fresh = c->in_n == 0 || c->lingering;
    size_t got = 0;
    enum err e;

    if (!fresh && c->in_n >= c->protocol->max_input_bytes)
        return;
    e = fresh ? net_read(c->fd, l->scratch, SCRATCH_BYTES, &got, NULL) : read_kept(c, &got);
    if (e == ERR_AGAIN)
        return;
    if (e || (got == 0 && c->lingering)) {
        destroy(c);
        return;
    }
    if (c->lingering)
        return;
    c->last_ms = l->now_ms;
    if (got == 0) {
        c->eof = true;
        if (may_feed(c)) /* what is queued still goes out; a paused protocol's answer too, after_feed closes then */
            conn_close(c);
        else
            want(c);
        return;
    }
    if (fresh)
        feed_fresh(c, l->scratch, got);
    else
        conn_feed(c);
}

/* -- opening
 * ------------------------------------------------------------------------------------------------------------ */
struct arrival {
    struct loop *loop;
    int fd;
    const struct loop_protocol *protocol;
    void *arg;
};

static void arrive(void *p)
{
    struct arrival *a = p;
    struct loop *l = a->loop;
    struct conn *c = calloc(1, sizeof *c);

    if (!c || atomic_load(&l->stopping)) {
        net_close(a->fd);
        atomic_fetch_sub(&open_conns, 1);
        free(c);
        free(a);
        return;
    }
    *c = (struct conn){.tag = TAG_CONN, .fd = a->fd, .loop = l, .protocol = a->protocol, .want = NET_READ};
    c->id = atomic_fetch_add(&next_conn_id, 1);
    c->last_ms = l->now_ms;
    c->index = l->conns.n;
    vec_push(&l->conns, c);
    map_put(&l->by_id, id_key(&c->id), c);
    net_poll_set(l->poller, c->fd, NET_READ, c, true);
    c->state = a->protocol->on_open(c, a->arg);
    free(a);
    if (!c->state)
        destroy(c);
    else if (c->protocol->idle_ms > 0)
        need_sweep(l);
}

static void resume_accept(void *arg)
{
    struct listener *s = arg;

    if (!s->off)
        net_poll_set(s->loop->poller, s->fd, NET_READ, s, false);
}

/* Out of descriptors: the kernel keeps the queue; look again in a moment instead of spinning. */
static void pause_accept(struct listener *s)
{
    os_log(OS_WARN, s->protocol->name, "out of file descriptors: new connections wait");
    net_poll_set(s->loop->poller, s->fd, 0, s, false);
    loop_timer(s->loop, ACCEPT_PAUSE_MS, resume_accept, s);
}

static void on_acceptable(struct listener *s)
{
    for (int i = 0; i < ACCEPTS_PER_TURN && !s->off; i++) {
        struct arrival *a;
        int fd;
        enum err e = net_accept(s->fd, &fd, NULL);

        if (e == ERR_LIMIT)
            pause_accept(s);
        if (e)
            return;
        if (atomic_fetch_add(&open_conns, 1) >= atomic_load(&most_conns) || !(a = malloc(sizeof *a))) {
            atomic_fetch_sub(&open_conns, 1);
            net_close(fd);
            continue;
        }
        *a = (struct arrival){s->targets[s->next], fd, s->protocol, s->arg};
        s->next = (s->next + 1) % s->ntargets;
        if (a->loop == s->loop)
            arrive(a);
        else
            loop_post(a->loop, arrive, a);
    }
}

enum err loop_listen(struct loop **loops, int n, const char *host, uint16_t *port, const struct loop_protocol *protocol,
                     void *arg, struct fault *f)
{
    struct listener *s;
    char local[64];
    int fd;
    enum err e = net_listen(host, *port, &fd, f);

    if (e)
        return e;
    net_local(fd, local, port);
    s = calloc(1, sizeof *s);
    if (!s || !(s->targets = calloc((size_t)n, sizeof *s->targets))) {
        free(s);
        net_close(fd);
        return FAULT(f, ERR_NOMEM, {"what", "listener"});
    }
    memcpy(s->targets, loops, (size_t)n * sizeof *loops);
    s->tag = TAG_LISTENER;
    s->fd = fd;
    s->loop = loops[0];
    s->ntargets = n;
    s->protocol = protocol;
    s->arg = arg;
    os_mutex_lock(s->loop->lock);
    vec_push(&s->loop->listeners, s);
    net_poll_set(s->loop->poller, fd, NET_READ, s, true);
    os_mutex_unlock(s->loop->lock);
    return ERR_OK;
}

/* On the loop's thread: sockets closed, structs kept until loop_stop (a paused accept's timer may point at them). */
static void unlisten(void *arg)
{
    struct loop *l = arg;

    os_mutex_lock(l->lock);
    for (size_t i = 0; i < l->listeners.n; i++) {
        struct listener *s = l->listeners.p[i];

        if (!s->off) {
            net_poll_del(l->poller, s->fd);
            net_close(s->fd);
        }
        s->off = true;
    }
    os_mutex_unlock(l->lock);
}

void loop_unlisten_all(struct loop *l)
{
    loop_post(l, unlisten, l);
}

void loop_limit_connections(int most)
{
    atomic_store(&most_conns, most);
}

/* -- the thread -------------------------------------------------------------------------------------------------------
 */
static void dispatch(struct loop *l, const struct net_event *e)
{
    struct conn *c = e->arg;

    switch (*(enum tag *)e->arg) {
    case TAG_WAKEUP:
        net_wakeup_clear(l->wakeup);
        break;
    case TAG_LISTENER:
        on_acceptable(e->arg);
        break;
    case TAG_CONN:
        if (c->gone)
            break;
        if (c->eof && !c->lingering && e->ready == (NET_READ | NET_WRITE)) {
            destroy(c); /* nothing to read is asked for any more: both bits say that the other side is gone */
            break;
        }
        if ((e->ready & NET_WRITE) && !c->lingering)
            flush(c);
        if (!c->gone && (e->ready & NET_READ) &&
            (c->lingering || (c->want & NET_READ) || e->ready == (NET_READ | NET_WRITE)))
            on_readable(c);
        break;
    }
}

static void flush_all(struct loop *l)
{
    /* on_drained may queue more, for this or another connection: those join the list and are flushed too */
    for (size_t i = 0; i < l->dirty.n; i++)
        flush(l->dirty.p[i]);
    l->dirty.n = 0;
}

static void shut(struct loop *l)
{
    unlisten(l);
    while (l->conns.n) {
        struct conn *c = l->conns.p[l->conns.n - 1];

        if (!c->lingering)
            (void)write_out(c);
        destroy(c);
    }
    while (run_posts(l))
        ;
    l->dirty.n = 0;
    bury(l);
}

static void turn(void *arg)
{
    struct loop *l = arg;
    struct net_event events[EVENTS];

    while (!atomic_load(&l->stopping)) {
        int n = net_poll_wait(l->poller, events, EVENTS, wait_ms(l));

        l->now_ms = mono_ms();
        for (int i = 0; i < n; i++)
            dispatch(l, &events[i]);
        run_timers(l);
        run_posts(l);
        flush_all(l);
        bury(l);
    }
    shut(l);
}

enum err loop_start(struct loop **out, const char *name, struct fault *f)
{
    struct loop *l = calloc(1, sizeof *l);
    enum err e;

    if (!l || !(l->scratch = malloc(SCRATCH_BYTES))) {
        free(l);
        return FAULT(f, ERR_NOMEM, {"what", "loop"});
    }
    l->tag = TAG_WAKEUP;
    snprintf(l->name, sizeof l->name, "%s", name);
    l->poller = net_poller();
    l->wakeup = net_wakeup();
    l->lock = os_mutex_new();
    l->now_ms = mono_ms();
    net_poll_set(l->poller, l->wakeup, NET_READ, l, true);
    *out = l;
    e = os_thread_start(&l->thread, l->name, turn, l, f);
    if (e) {
        net_close(l->poller);
        net_close(l->wakeup);
        os_mutex_free(l->lock);
        free(l->scratch);
        free(l);
        *out = NULL;
    }
    return e;
}

void loop_stop(struct loop *l)
{
    atomic_store(&l->stopping, true);
    net_wakeup_signal(l->wakeup);
    os_thread_join(l->thread);
    net_close(l->poller);
    net_close(l->wakeup);
    os_mutex_free(l->lock);
    for (size_t i = 0; i < l->listeners.n; i++) {
        free(l->listeners.p[i]->targets);
        free(l->listeners.p[i]);
    }
    vec_free(&l->listeners);
    vec_free(&l->posts);
    vec_free(&l->running);
    vec_free(&l->conns);
    vec_free(&l->dirty);
    vec_free(&l->graveyard);
    vec_free(&l->timers);
    map_free(&l->by_id);
    map_free(&l->timer_at);
    free(l->scratch);
    free(l);
}

/* -- a connection, as protocols see it
 * ---------------------------------------------------------------------------------- */
struct loop *conn_loop(struct conn *c)
{
    return c->loop;
}

uint64_t conn_id(struct conn *c)
{
    return c->id;
}

struct conn *loop_conn(struct loop *l, uint64_t id)
{
    return map_get(&l->by_id, id_key(&id));
}

void *conn_state(struct conn *c)
{
    return c->state;
}

void conn_pause(struct conn *c, bool pause)
{
    if (c->gone || c->lingering || c->paused == pause)
        return;
    c->paused = pause;
    if (!pause)
        conn_feed(c);
    else
        want(c);
}

void conn_close(struct conn *c)
{
    if (c->gone || c->lingering)
        return;
    c->closing = true;
    mark_dirty(c);
    need_sweep(c->loop);
}

void conn_abort(struct conn *c)
{
    destroy(c);
}

void conn_local(struct conn *c, char host[64], uint16_t *port)
{
    net_local(c->fd, host, port);
}

void conn_peer(struct conn *c, char host[64], uint16_t *port)
{
    net_peer(c->fd, host, port);
}
