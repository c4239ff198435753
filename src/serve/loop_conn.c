#include "serve/loop_int.h"

#include <stdlib.h>

static void conn_feed(struct conn *c);

/* -- a connection's end ------------------------------------------------------------------------------------------ */
static void drop_segment(struct segment *s)
{
    if (s->release)
        s->release(s->arg);
    free(s->owned);
    budget_give(BUDGET_OUTPUT, s->cost);
}

static void drop_input(struct conn *c)
{
    free(c->in);
    budget_give(BUDGET_INPUT, c->in_cap);
    c->in = NULL;
    c->in_n = c->in_cap = 0;
    conn_wait(c, false);
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

void conn_destroy(struct conn *c)
{
    struct loop *l = c->loop;

    if (c->gone)
        return;
    c->gone = true;
    if (!c->lingering)
        tell_closed(c);
    net_poll_del(l->poller, c->fd);
    net_close(c->fd);
    atomic_fetch_sub(&loop_open_conns, 1);
    drop_output(c);
    drop_input(c);
    l->conns.p[c->index] = l->conns.p[--l->conns.n];
    l->conns.p[c->index]->index = c->index;
    vec_push(&l->graveyard, c); /* an event of this turn may still point here */
}

static void sweep(void *arg);

void loop_need_sweep(struct loop *l)
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
    c->held = c->held_out = 0; /* held counts what is thrown away now */
    drop_input(c);
    c->last_ms = c->loop->now_ms;
    net_shutdown_write(c->fd);
    if (net_poll_set(c->loop->poller, c->fd, NET_READ, c, false))
        loop_need_sweep(c->loop);
    else
        conn_destroy(c);
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

    l->now_ms = os_mono_ns() / 1000000;
    for (size_t i = l->conns.n; i-- > 0;)
        if (i < l->conns.n && l->now_ms - l->conns.p[i]->last_ms > allowed_ms(l->conns.p[i]))
            conn_destroy(l->conns.p[i]);
    loop_shed(l);
    l->sweeping = false;
    for (size_t i = 0; i < l->conns.n && !again; i++)
        again = allowed_ms(l->conns.p[i]) != INT64_MAX || conn_holds(l->conns.p[i]);
    if (again)
        loop_need_sweep(l);
}

/* -- output ------------------------------------------------------------------------------------------------------ */
static void mark_dirty(struct conn *c)
{
    if (!c->dirty)
        vec_push(&c->loop->dirty, c);
    c->dirty = true;
}

/* It ends with the loop's turn and not here: its protocol may be in the middle of something. */
static void fail(struct conn *c)
{
    c->broken = true;
    mark_dirty(c);
}

void conn_want(struct conn *c)
{
    bool hold = c->paused || c->choked || c->starved || c->closing || c->eof || c->in_n >= c->protocol->max_input_bytes;
    unsigned w = (hold ? 0 : NET_READ) | (c->out_bytes ? NET_WRITE : 0);

    if (c->lingering)
        w = NET_READ;
    if (w != c->want && !c->gone && !net_poll_set(c->loop->poller, c->fd, w, c, false))
        fail(c);
    c->want = w;
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

/* n bytes are queued, which cost what the segment holds. */
static void queued(struct conn *c, struct segment *s, size_t n, size_t cost)
{
    if (cost) {
        s->cost = cost;
        s->at_ms = c->loop->now_ms;
        budget_force(BUDGET_OUTPUT, cost);
        if (cost >= SHED_LEAST)
            loop_need_sweep(c->loop);
    }
    if (!c->out_bytes)
        c->sent_ms = c->loop->now_ms;
    c->out_bytes += n;
    c->held_output = true;
    if (c->out_bytes > c->protocol->max_output_bytes)
        c->choked = true;
    mark_dirty(c);
}

void conn_write(struct conn *c, const void *p, size_t n)
{
    struct segment *s = c->out_n > c->out_first ? &c->out[c->out_n - 1] : NULL;
    size_t cost = 0;

    if (c->gone || c->broken || c->lingering || n == 0)
        return;
    if (!s || s->room < n) {
        size_t cap = n > CHUNK_BYTES ? n : CHUNK_BYTES;

        s = new_segment(c);
        s->owned = malloc(cap);
        if (!s->owned) { /* the peer's stream would have a hole; but the protocol is still at work on this connection */
            c->out_n--;
            fail(c);
            return;
        }
        s->p = s->owned;
        s->room = cost = cap;
    }
    memcpy(s->owned + s->n, p, n);
    s->n += n;
    s->room -= n;
    queued(c, s, n, cost);
}

void conn_write_ref(struct conn *c, const void *p, size_t n, void (*release)(void *arg), void *arg)
{
    if (c->gone || c->broken || c->lingering || n == 0) {
        if (release)
            release(arg);
        return;
    }
    struct segment *s = new_segment(c);
    *s = (struct segment){.p = p, .n = n, .release = release, .arg = arg};
    queued(c, s, n, n);
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
bool conn_write_out(struct conn *c)
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
        c->last_ms = c->sent_ms = c->loop->now_ms;
        advance(c, sent);
    }
    return true;
}

void conn_flush(struct conn *c)
{
    bool drained;

    c->dirty = false;
    if (c->gone || c->lingering)
        return;
    if (c->broken || !conn_write_out(c)) {
        conn_destroy(c);
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
        conn_want(c);
}

/* -- input -- */
static bool may_feed(const struct conn *c)
{
    return !c->gone && !c->broken && !c->closing && !c->paused && !c->choked;
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
        conn_destroy(c);
        return;
    }
    if (c->eof && may_feed(c))
        conn_close(c);
    conn_want(c);
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
        c->in_since_ms = c->loop->now_ms;
        if (!c->in_n) /* room is not kept for an idle connection */
            drop_input(c);
    }
    after_feed(c);
}

/* Room for `cap` bytes of input. ERR_LIMIT: not now, the process holds too much of it. */
static enum err grow_input(struct conn *c, size_t cap)
{
    size_t more = cap - c->in_cap;
    char *grown;

    if (!budget_take(BUDGET_INPUT, more))
        return ERR_LIMIT;
    grown = realloc(c->in, cap);
    if (!grown) {
        budget_give(BUDGET_INPUT, more);
        return ERR_NOMEM;
    }
    c->in = grown;
    c->in_cap = cap;
    conn_wait(c, false);
    loop_need_sweep(c->loop);
    return ERR_OK;
}

/* The first bytes of a request, after a read that had nothing kept before it. They have left the socket, so that waiting is
 * no way out: others go, or this one does. */
static bool keep(struct conn *c, const char *p, size_t n)
{
    enum err e = grow_input(c, n < 4096 ? 4096 : n);

    if (e == ERR_LIMIT) {
        loop_shed(c->loop);
        e = grow_input(c, n < 4096 ? 4096 : n);
    }
    if (e)
        return false;
    memcpy(c->in, p, n);
    c->in_n = n;
    c->in_since_ms = c->loop->now_ms;
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
        conn_destroy(c); /* no memory for it, even after the slowest others went */
    else
        after_feed(c);
}

/* Room at the end of what is kept, so that a large frame is read straight into place. */
static enum err read_kept(struct conn *c, size_t *got)
{
    size_t most = c->protocol->max_input_bytes - c->in_n, step = c->in_n < GROW_LEAST ? GROW_LEAST : c->in_n;
    enum err e;

    step = step > GROW_MOST ? GROW_MOST : step; /* doubling, then in steps: large blocks grow without a copy */
    step = step > most ? most : step;
    if (c->in_cap - c->in_n < step / 2 || c->in_cap == c->in_n) {
        e = grow_input(c, c->in_n + step);
        if (e == ERR_NOMEM || (e && c->in_cap == c->in_n))
            return e;
    }
    e = net_read(c->fd, c->in + c->in_n, c->in_cap - c->in_n, got, NULL);
    if (!e)
        c->in_n += *got;
    return e;
}

void conn_readable(struct conn *c)
{
    struct loop *l = c->loop;
    bool fresh = c->in_n == 0 || c->lingering;
    /* what is not used up at once is kept, and has to fit into the memory for small pieces then */
    size_t first = budget_short(BUDGET_INPUT) ? GROW_LEAST : SCRATCH_BYTES;
    size_t got = 0;
    enum err e;

    if (!fresh && c->in_n >= c->protocol->max_input_bytes)
        return;
    e = fresh ? net_read(c->fd, l->scratch, first, &got, NULL) : read_kept(c, &got);
    if (e == ERR_AGAIN)
        return;
    if (e == ERR_LIMIT) {
        conn_starve(c);
        return;
    }
    if (e || (got == 0 && c->lingering)) {
        conn_destroy(c);
        return;
    }
    if (c->lingering) {
        c->held += got;
        if (c->held > LINGER_BYTES)
            conn_destroy(c);
        return;
    }
    c->last_ms = l->now_ms;
    if (got == 0) {
        c->eof = true;
        if (may_feed(c)) /* what is queued still goes out; a paused protocol's answer too, after_feed closes then */
            conn_close(c);
        else
            conn_want(c);
        return;
    }
    if (fresh)
        feed_fresh(c, l->scratch, got);
    else
        conn_feed(c);
}

/* -- a connection, as protocols see it -- */
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
        conn_want(c);
}

void conn_close(struct conn *c)
{
    if (c->gone || c->lingering)
        return;
    c->closing = true;
    mark_dirty(c);
    loop_need_sweep(c->loop);
}

void conn_abort(struct conn *c)
{
    conn_destroy(c);
}

void conn_local(struct conn *c, char host[64], uint16_t *port)
{
    net_local(c->fd, host, port);
}

void conn_peer(struct conn *c, char host[64], uint16_t *port)
{
    net_peer(c->fd, host, port);
}
