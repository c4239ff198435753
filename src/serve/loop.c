#include "serve/loop_int.h"

#include <stdio.h>
#include <stdlib.h>

static atomic_uint_fast64_t next_conn_id = 1;
atomic_int loop_open_conns;
static atomic_int most_conns = 12000;

static int64_t mono_ms(void)
{
    return os_mono_ns() / 1000000;
}

/* -- posts and timers -------------------------------------------------------------------------------------------- */
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

/* -- opening -- */
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
        atomic_fetch_sub(&loop_open_conns, 1);
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
    if (net_poll_set(l->poller, c->fd, NET_READ, c, true))
        c->state = a->protocol->on_open(c, a->arg);
    free(a);
    if (!c->state)
        conn_destroy(c);
    else if (c->protocol->idle_ms > 0)
        loop_need_sweep(l);
}

static void resume_accept(void *arg)
{
    struct listener *s = arg;

    if (!s->off && !net_poll_set(s->loop->poller, s->fd, NET_READ, s, false))
        loop_timer(s->loop, ACCEPT_PAUSE_MS, resume_accept, s);
}

/* Out of descriptors: the kernel keeps the queue; look again in a moment instead of spinning. */
static void pause_accept(struct listener *s)
{
    os_log(OS_WARN, s->protocol->name, "out of file descriptors: new connections wait");
    if (net_poll_set(s->loop->poller, s->fd, 0, s, false)) /* else: it spins for a while */
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
        if (atomic_fetch_add(&loop_open_conns, 1) >= atomic_load(&most_conns) || !(a = malloc(sizeof *a))) {
            atomic_fetch_sub(&loop_open_conns, 1);
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
    s->off = !net_poll_set(s->loop->poller, fd, NET_READ, s, true);
    os_mutex_unlock(s->loop->lock);
    if (s->off)
        net_close(fd);
    return s->off ? FAULT(f, ERR_NOMEM, {"what", "listener"}) : ERR_OK;
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

/* -- the thread -- */
static void bury(struct loop *l)
{
    for (size_t i = 0; i < l->graveyard.n; i++) {
        free(l->graveyard.p[i]->out);
        free(l->graveyard.p[i]);
    }
    l->graveyard.n = 0;
}

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
            conn_destroy(c); /* nothing to read is asked for any more: both bits say that the other side is gone */
            break;
        }
        if ((e->ready & NET_WRITE) && !c->lingering)
            conn_flush(c);
        if (!c->gone && (e->ready & NET_READ) &&
            (c->lingering || (c->want & NET_READ) || e->ready == (NET_READ | NET_WRITE)))
            conn_readable(c);
        break;
    }
}

static void flush_all(struct loop *l)
{
    /* on_drained may queue more, for this or another connection: those join the list and are flushed too */
    for (size_t i = 0; i < l->dirty.n; i++)
        conn_flush(l->dirty.p[i]);
    l->dirty.n = 0;
}

static void shut(struct loop *l)
{
    unlisten(l);
    while (l->conns.n) {
        struct conn *c = l->conns.p[l->conns.n - 1];

        if (!c->lingering)
            (void)conn_write_out(c);
        conn_destroy(c);
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

    l->self = os_thread_self();
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

bool loop_here(const struct loop *l)
{
    return os_thread_self() == l->self;
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
    *out = l;
    e = net_poll_set(l->poller, l->wakeup, NET_READ, l, true) ? os_thread_start(&l->thread, l->name, turn, l, f)
                                                              : FAULT(f, ERR_NOMEM, {"what", "loop"});
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
