/*
 * The simulated network: one machine's sockets, whose bytes are late, come in pieces and sometimes not at all.
 *
 *   write ──▶ piece {arrives at} ──▶ the other end's inbox ──▶ read       (one inbox per direction: order is kept)
 *
 * A connection is two ends. What one end sends stands in the inbox of the other until it has arrived and is read; inboxes
 * are bounded, so that a writer feels a slow reader. An end of stream and a reset arrive like bytes do. A silent connection
 * swallows everything, as a pulled cable does: its ends learn nothing until they have waited for 15 minutes. Between
 * connections there is no order. Everything is as the kernel has it where loops could tell: level-triggered readiness,
 * hang-ups that nobody asked for, numbers of descriptors that come again at once, unread bytes at a close that turn the end
 * of stream into a reset.
 */
#include "os/alloc_fault.h"
#include "os/sim_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { FD_FIRST = 1000, FDS = 2048, PORT_ANY = 20000, PORT_CLIENT = 40000, WINDOW_DEFAULT = 256 << 10 };
enum kind { FREE, LISTENER, SOCKET, POLLER, WAKEUP };
static const int64_t NEVER = INT64_MAX, GIVE_UP_NS = (int64_t)15 * 60 * 1000000000;

struct piece {
    struct piece *next;
    int64_t at_ns;
    size_t n, used;
    char bytes[];
};
struct end { /* one end of a connection */
    struct line *line;
    struct piece *first, *last; /* the inbox */
    size_t inbox;               /* bytes in it, and those that a silent line swallowed */
    int64_t open_ns;            /* when this end learns of the connection */
    int64_t last_ns;            /* nothing arrives before it */
    int64_t fin_ns, reset_ns;   /* when the other end's end of stream, and a reset, arrive here */
    int reset_errno;
    bool wrote_fin, open, blocking;
    int fd; /* -1: not accepted yet */
    uint16_t port;
};
struct line {
    struct end end[2]; /* who connected, who accepted */
    int64_t delay_ns;
    bool silent;
};
struct desc {
    enum kind kind;
    struct end *end;
    uint16_t port;
    VEC(struct end *) waiting; /* of a listener */
    bool signalled;            /* a wake-up */
    int poller;                /* -1: in none */
    unsigned want;
    void *arg;
};
static struct desc fds[FDS];
static int nfds; /* none is used from here on */
static uint16_t next_port = PORT_CLIENT, next_listen = PORT_ANY;
static struct sim_network net;
static struct sim_net_stats stats;

void sim_network(const struct sim_network *n)
{
    net = *n;
}

struct sim_net_stats sim_net_stats(void)
{
    stats.open = 0;
    for (int i = 0; i < nfds; i++)
        stats.open += fds[i].kind != FREE;
    return stats;
}

/* -- descriptors ------------------------------------------------------------------------------------------------------ */

static int fd_new(enum kind kind)
{
    int i = 0;
    while (i < nfds && fds[i].kind != FREE)
        i++;
    if (i == FDS)
        sim_fatal("more than %d descriptors", FDS);
    nfds = i == nfds ? i + 1 : nfds;
    fds[i] = (struct desc){.kind = kind, .poller = -1};
    return FD_FIRST + i;
}

static struct desc *fd_get(int fd, enum kind kind)
{
    struct desc *d = fd >= FD_FIRST && fd < FD_FIRST + nfds ? &fds[fd - FD_FIRST] : NULL;
    if (!d || d->kind == FREE || (kind != FREE && d->kind != kind))
        sim_fatal("descriptor %d is not open, or not of the kind it is used as", fd);
    return d;
}

/* Something happens, or happened, at this descriptor. */
static void fd_wake(int fd, int64_t at_ns)
{
    if (fd < 0)
        return;
    struct desc *d = fd_get(fd, FREE);
    sim_wake(d, at_ns);
    if (d->poller >= 0)
        sim_wake(fd_get(d->poller, POLLER), at_ns);
}

static struct end *other(struct end *e)
{
    return &e->line->end[e == &e->line->end[0]];
}

/* -- what travels ------------------------------------------------------------------------------------------------------- */

static size_t window(void)
{
    return net.window_bytes ? net.window_bytes : WINDOW_DEFAULT;
}

/* When n bytes sent now arrive at `to`: after all that was sent before them. */
static int64_t arrival(struct end *to, size_t n)
{
    int64_t at =
        simt_mono_ns() + to->line->delay_ns + (net.jitter_ns ? (int64_t)sim_random((uint64_t)net.jitter_ns) : 0);
    if (sim_chance(net.stall_one_in)) /* lost, and sent again after a while */
        at += 1 + (int64_t)sim_random((uint64_t)net.stall_ns);
    at = at > to->last_ns ? at : to->last_ns;
    if (net.bytes_per_s)
        at += (int64_t)(n * 1000000000 / net.bytes_per_s);
    return to->last_ns = at;
}

static void drop_inbox(struct end *e)
{
    for (struct piece *p; (p = e->first); free(p))
        e->first = p->next;
    e->last = NULL;
    e->inbox = 0;
}

static void reset_at(struct end *e, int64_t at_ns, int errno_)
{
    if (!e->open || e->reset_ns <= at_ns)
        return;
    e->reset_ns = at_ns;
    e->reset_errno = errno_;
    fd_wake(e->fd, at_ns);
}

static void cut(struct line *l)
{
    stats.cuts++;
    for (int i = 0; i < 2; i++)
        reset_at(&l->end[i], simt_mono_ns() + (int64_t)sim_random((uint64_t)l->delay_ns + 1), ECONNRESET);
}

/* From now on nothing arrives; what is under way neither. */
static void silence(struct line *l)
{
    if (l->silent)
        return;
    stats.silences++;
    l->silent = true;
    for (int i = 0; i < 2; i++) {
        struct end *e = &l->end[i];
        for (struct piece *p = e->first; p; p = p->next)
            if (p->at_ns > simt_mono_ns())
                p->at_ns = NEVER;
        if (e->fin_ns > simt_mono_ns())
            e->fin_ns = NEVER;
        if (e->reset_ns > simt_mono_ns())
            e->reset_ns = NEVER;
    }
}

void sim_net_break(uint32_t one_in, bool silently)
{
    for (int i = 0; i < nfds; i++)
        if (fds[i].kind == SOCKET && fds[i].end == &fds[i].end->line->end[0] && sim_chance(one_in))
            silently ? silence(fds[i].end->line) : cut(fds[i].end->line);
}

/* n bytes from the parts, skipping `skip`, as one piece. */
static void deliver(struct end *to, const struct str *parts, size_t skip, size_t n)
{
    struct piece *p = sim_alloc(sizeof *p + n);
    for (size_t at = 0; at < n; parts++) {
        size_t from = skip < parts->n ? skip : parts->n, take = parts->n - from < n - at ? parts->n - from : n - at;
        skip -= from;
        if (take)
            memcpy(p->bytes + at, parts->p + from, take);
        at += take;
    }
    p->n = n;
    p->at_ns = arrival(to, n);
    if (to->last)
        to->last->next = p;
    else
        to->first = p;
    to->last = p;
    fd_wake(to->fd, p->at_ns);
}

/* -- reading and writing -------------------------------------------------------------------------------------------------- */

static bool arrived(int64_t at_ns)
{
    return at_ns <= simt_mono_ns();
}

/* When there is something to read. */
static int64_t readable_at(const struct end *e)
{
    int64_t at = e->first ? e->first->at_ns : e->fin_ns;
    return at < e->reset_ns ? at : e->reset_ns;
}

static size_t room(struct end *e)
{
    size_t used = other(e)->inbox;
    return used < window() ? window() - used : 0;
}

static enum err was_reset(struct end *e, const char *what, struct fault *f)
{
    drop_inbox(e);
    return fault_errno(f, e->reset_errno, "%s", what);
}

static size_t take(struct end *e, char *p, size_t cap)
{
    size_t n = 0;
    for (struct piece *x; n < cap && (x = e->first) && arrived(x->at_ns);) {
        size_t part = x->n - x->used < cap - n ? x->n - x->used : cap - n;
        memcpy(p + n, x->bytes + x->used, part);
        n += part;
        if ((x->used += part) < x->n)
            break;
        e->first = x->next;
        e->last = e->first ? e->last : NULL;
        free(x);
    }
    e->inbox -= n;
    fd_wake(other(e)->open ? other(e)->fd : -1, 0);
    return n;
}

static int64_t until(int64_t at_ns)
{
    return at_ns == NEVER ? -1 : at_ns;
}

enum err simn_read(int fd, void *p, size_t cap, size_t *n, struct fault *f)
{
    sim_may_switch();
    struct desc *d = fd_get(fd, SOCKET);
    for (struct end *e = d->end;; sim_wait(d, until(readable_at(e)))) {
        if (arrived(e->reset_ns))
            return was_reset(e, "socket read", f);
        if (e->first && arrived(e->first->at_ns)) {
            *n = take(e, p, net.pieces && cap > 1 && sim_random(4) == 0 ? 1 + sim_random(cap < 100 ? cap : 100) : cap);
            sim_trace(*n);
            return ERR_OK;
        }
        if (!e->first && arrived(e->fin_ns)) {
            *n = 0;
            return ERR_OK;
        }
        if (!e->blocking)
            return FAULT(f, ERR_AGAIN, {"what", "read"});
    }
}

/* The n bytes are on their way; what becomes of them? */
static void sent(struct end *e, const struct str *parts, size_t n)
{
    struct end *to = other(e);
    if (sim_chance(net.cut_one_in))
        cut(e->line);
    else if (sim_chance(net.silence_one_in))
        silence(e->line);
    if (e->line->silent) {
        to->inbox += n;
        reset_at(e, simt_mono_ns() + GIVE_UP_NS, ETIMEDOUT);
    } else if (!to->open) {
        reset_at(e, simt_mono_ns() + 2 * e->line->delay_ns, ECONNRESET);
    } else {
        size_t first = net.pieces && n > 1 && sim_random(3) == 0 ? 1 + sim_random(n - 1) : n;
        to->inbox += n;
        deliver(to, parts, 0, first);
        if (first < n)
            deliver(to, parts, first, n - first);
    }
}

enum err simn_writev(int fd, const struct str *parts, size_t count, size_t *n, struct fault *f)
{
    size_t total = 0, most;
    sim_may_switch();
    struct desc *d = fd_get(fd, SOCKET);
    struct end *e = d->end;
    for (size_t i = 0; i < count; i++)
        total += parts[i].n;
    for (;; sim_wait(d, until(e->reset_ns))) {
        if (e->wrote_fin)
            return fault_errno(f, EPIPE, "socket write");
        if (arrived(e->reset_ns))
            return was_reset(e, "socket write", f);
        if ((most = room(e)))
            break;
        if (!e->blocking)
            return FAULT(f, ERR_AGAIN, {"what", "write"});
    }
    most = most < total ? most : total;
    if (net.pieces && most > 1 && sim_random(4) == 0)
        most = 1 + sim_random(most - 1);
    *n = most;
    sim_trace(most);
    if (most)
        sent(e, parts, most);
    return ERR_OK;
}

static void send_fin(struct end *e)
{
    if (e->wrote_fin)
        return;
    e->wrote_fin = true;
    struct end *to = other(e);
    if (e->line->silent || !to->open)
        return;
    to->fin_ns = arrival(to, 0);
    fd_wake(to->fd, to->fin_ns);
}

void simn_shutdown_write(int fd)
{
    send_fin(fd_get(fd, SOCKET)->end);
    fd_wake(fd, 0);
}

/* -- opening and closing ---------------------------------------------------------------------------------------------------- */

/* Bytes that nobody will read turn the end of stream into a reset. */
static void end_close(struct end *e)
{
    struct end *to = other(e);
    if (e->first && !e->line->silent)
        reset_at(to, simt_mono_ns() + e->line->delay_ns, ECONNRESET);
    else
        send_fin(e);
    drop_inbox(e);
    e->open = false;
    if (!to->open)
        free(e->line);
    else
        fd_wake(to->fd, 0);
}

void simn_close(int fd)
{
    sim_may_switch();
    struct desc *d = fd_get(fd, FREE);
    if (d->poller >= 0)
        simn_poll_del(d->poller, fd);
    if (d->kind == SOCKET)
        end_close(d->end);
    for (size_t i = 0; d->kind == LISTENER && i < d->waiting.n; i++) {
        struct end *e = d->waiting.p[i];
        reset_at(other(e), simt_mono_ns() + e->line->delay_ns, ECONNRESET);
        end_close(e);
    }
    vec_free(&d->waiting);
    for (int i = 0; d->kind == POLLER && i < nfds; i++)
        if (fds[i].kind != FREE && fds[i].poller == fd)
            fds[i].poller = -1;
    d->kind = FREE;
}

static struct desc *listener_on(uint16_t port)
{
    for (int i = 0; i < nfds; i++)
        if (fds[i].kind == LISTENER && fds[i].port == port)
            return &fds[i];
    return NULL;
}

enum err simn_listen(const char *host, uint16_t port, int *fd, struct fault *f)
{
    char what[300];
    snprintf(what, sizeof what, "%s:%u", *host ? host : "*", port);
    if (port && listener_on(port))
        return FAULT(f, ERR_BUSY, {"what", what});
    *fd = fd_new(LISTENER);
    fd_get(*fd, LISTENER)->port = port ? port : next_listen++;
    return ERR_OK;
}

/* Of those that have arrived any: between connections there is no order. */
enum err simn_accept(int listen_fd, int *fd, struct fault *f)
{
    sim_may_switch();
    struct desc *d = fd_get(listen_fd, LISTENER);
    size_t ready[64], n = 0;
    for (size_t i = 0; i < d->waiting.n && n < 64; i++)
        if (arrived(d->waiting.p[i]->open_ns))
            ready[n++] = i;
    if (!n)
        return FAULT(f, ERR_AGAIN, {"what", "accept"});
    if (sim_chance(net.no_descriptor_one_in))
        return FAULT(f, ERR_LIMIT, {"what", "open connections"}, {"limit", "the process's file descriptors"});
    size_t pick = ready[sim_random(n)];
    struct end *e = d->waiting.p[pick];
    d->waiting.p[pick] = d->waiting.p[--d->waiting.n];
    *fd = e->fd = fd_new(SOCKET);
    fd_get(*fd, SOCKET)->end = e;
    return ERR_OK;
}

static enum err unreachable(const char *host, uint16_t port, int why, struct fault *f)
{
    char what[300];
    snprintf(what, sizeof what, "%s:%u", host, port);
    return FAULT(f, ERR_UNREACHABLE, {"what", what}, {"detail", strerror(why)});
}

static struct line *line_new(uint16_t port)
{
    struct line *l = sim_alloc(sizeof *l);
    l->delay_ns = net.delay_ns ? 1 + (int64_t)sim_random(2 * (uint64_t)net.delay_ns) : 0;
    for (int i = 0; i < 2; i++)
        l->end[i] = (struct end){.line = l, .fin_ns = NEVER, .reset_ns = NEVER, .open = true, .fd = -1};
    l->end[0].blocking = true;
    l->end[0].port = next_port = next_port == UINT16_MAX ? PORT_CLIENT : next_port + 1;
    l->end[1].port = port;
    l->end[1].open_ns = l->end[1].last_ns = simt_mono_ns() + l->delay_ns;
    l->end[0].open_ns = l->end[0].last_ns = l->end[1].open_ns + l->delay_ns;
    stats.connections++;
    return l;
}

enum err simn_connect(const char *host, uint16_t port, int timeout_ms, int *fd, struct fault *f)
{
    sim_may_switch();
    if (sim_chance(net.silence_one_in)) {
        simt_sleep_ms(timeout_ms);
        return unreachable(host, port, ETIMEDOUT, f);
    }
    struct desc *d = listener_on(port);
    if (!d || sim_chance(net.cut_one_in)) {
        sim_wait(&net, simt_mono_ns() + 2 * net.delay_ns);
        return unreachable(host, port, ECONNREFUSED, f);
    }
    struct line *l = line_new(port);
    struct end *e = &l->end[0];
    *fd = e->fd = fd_new(SOCKET);
    fd_get(*fd, SOCKET)->end = e;
    alloc_fault_pause();
    vec_push(&d->waiting, &l->end[1]);
    alloc_fault_resume();
    fd_wake(FD_FIRST + (int)(d - fds), l->end[1].open_ns);
    while (!arrived(e->open_ns) && !arrived(e->reset_ns))
        sim_wait(fd_get(*fd, SOCKET), e->open_ns);
    if (!arrived(e->reset_ns))
        return ERR_OK;
    simn_close(*fd);
    return unreachable(host, port, ECONNREFUSED, f);
}

/* One machine: every address is its own. */
void simn_address(int fd, bool peer, char host[64], uint16_t *port)
{
    const struct desc *d = fd_get(fd, FREE);
    snprintf(host, 64, "127.0.0.1");
    *port = d->kind == SOCKET ? (peer ? other(d->end) : d->end)->port : d->port;
}

/* -- readiness ---------------------------------------------------------------------------------------------------------------- */

int simn_poller(void)
{
    return fd_new(POLLER);
}

void simn_poll_set(int poller, int fd, unsigned want, void *arg, bool add)
{
    struct desc *d = fd_get(fd, FREE);
    (void)fd_get(poller, POLLER);
    if (d->poller != (add ? -1 : poller))
        sim_fatal("descriptor %d is %s poller %d", fd, add ? "already in" : "not in", poller);
    d->poller = poller;
    d->want = want;
    d->arg = arg;
    fd_wake(fd, 0);
}

void simn_poll_del(int poller, int fd)
{
    struct desc *d = fd_get(fd, FREE);
    if (d->poller == poller)
        d->poller = -1;
}

/* What is ready, of what is wanted and of what is told in any case; and when that will change by itself. */
static unsigned ready(struct desc *d, int64_t *next_ns)
{
    unsigned r = 0;
    if (d->kind == WAKEUP) {
        r = d->signalled ? NET_READ : 0;
    } else if (d->kind == LISTENER) {
        for (size_t i = 0; i < d->waiting.n; i++)
            if (arrived(d->waiting.p[i]->open_ns))
                r = NET_READ;
            else if (d->waiting.p[i]->open_ns < *next_ns && (d->want & NET_READ))
                *next_ns = d->waiting.p[i]->open_ns;
    } else {
        struct end *e = d->end;
        int64_t at = d->want & NET_READ ? readable_at(e) : e->fin_ns < e->reset_ns ? e->fin_ns : e->reset_ns;
        if (arrived(e->reset_ns) || (e->wrote_fin && !e->first && arrived(e->fin_ns)))
            return NET_READ | NET_WRITE;
        r = (arrived(readable_at(e)) ? NET_READ : 0) | (!e->wrote_fin && room(e) ? NET_WRITE : 0);
        if (!arrived(at) && at < *next_ns)
            *next_ns = at;
    }
    return r & d->want;
}

static int collect(int poller, struct net_event *events, int cap, int64_t *next_ns)
{
    int n = 0, from = nfds ? (int)sim_random((uint64_t)nfds) : 0;
    for (int i = 0; i < nfds && n < cap; i++) {
        struct desc *d = &fds[(from + i) % nfds];
        unsigned r = d->kind != FREE && d->poller == poller ? ready(d, next_ns) : 0;
        if (r)
            events[n++] = (struct net_event){d->arg, r};
    }
    return n;
}

int simn_poll_wait(int poller, struct net_event *events, int cap, int timeout_ms)
{
    int64_t deadline = timeout_ms < 0 ? NEVER : simt_mono_ns() + (int64_t)timeout_ms * 1000000;
    sim_may_switch();
    if (sim_chance(net.interrupt_one_in))
        return 0;
    for (;;) {
        int64_t next_ns = deadline;
        int n = collect(poller, events, cap, &next_ns);
        if (n || arrived(deadline))
            return n;
        sim_wait(fd_get(poller, POLLER), until(next_ns));
    }
}

int simn_wakeup(void)
{
    return fd_new(WAKEUP);
}

void simn_wakeup_signal(int fd)
{
    fd_get(fd, WAKEUP)->signalled = true;
    fd_wake(fd, 0);
    sim_may_switch();
}

void simn_wakeup_clear(int fd)
{
    fd_get(fd, WAKEUP)->signalled = false;
}
