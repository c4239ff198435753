/* The loop's inside, shared by loop.c (the thread, posts, timers, listening) and loop_conn.c (one connection's bytes). */
#ifndef PENSTOCK_SERVE_LOOP_INT_H
#define PENSTOCK_SERVE_LOOP_INT_H

#include "base/budget.h"
#include "base/map.h"
#include "base/vec.h"
#include "os/net.h"
#include "os/os.h"
#include "serve/loop.h"

#include <stdatomic.h>

enum {
    SCRATCH_BYTES = 256 << 10, /* one read; a connection with nothing kept is read into the loop's own scratch */
    CHUNK_BYTES = 16 << 10,    /* small writes gather in chunks of this size */
    WRITE_PARTS = 64,
    EVENTS = 256,
    ACCEPTS_PER_TURN = 64,
    SWEEP_MS = 1000,
    LINGER_MS = 1000,
    LINGER_BYTES = 16 << 20, /* what a peer may go on sending after the last answer: throwing away costs time too */
    CLOSING_MS = 30000,      /* a peer that does not read its last bytes for so long is dropped */
    ACCEPT_PAUSE_MS = 100,
    GROW_LEAST = 16 << 10, /* the room of a request that came in parts grows by so much at a time */
    GROW_MOST = 1 << 20,
    STARVED_MS = 50, /* between two looks whether there is memory again */
    /* When memory is short these may go: */
    SHED_AGE_MS =
        1000, /* a request that began so long ago, an answer of which the peer has taken nothing for so long */
    SHED_BUSY_MS = 3000, /* a request that still comes */
    SHED_SILENT_MS = 2 * STARVED_MS,
    SHED_HEAD_MS = 10000, /* an answer that was taken in part */
    SHED_LEAST = 4 << 10,
};

/* What an epoll event points at: the first member of both. */
enum tag { TAG_WAKEUP, TAG_LISTENER, TAG_CONN };

struct segment { /* a piece of the out queue */
    const char *p;
    size_t n, room; /* room: bytes still free behind p[n], chunks only */
    size_t cost;    /* what it holds of BUDGET_OUTPUT */
    int64_t at_ms;  /* when it was queued */
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
    size_t held, held_out; /* what the protocol says it keeps of requests that are not whole, of answers not sent */
    unsigned want;
    int64_t last_ms, in_since_ms,
        sent_ms; /* in_since: when the request that is on its way began; sent: when the peer took bytes */
    bool starved, waiting, paused, choked, closing, lingering, gone, eof, dirty, held_output, feeding, broken;
};

struct listener {
    enum tag tag;
    int fd;
    struct loop *loop;
    struct loop **targets;
    int ntargets, next;
    const struct loop_protocol *protocol;
    void *arg;
    atomic_bool off; /* written by whoever listens, read by the loop */
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
    struct os_thread *thread, *self; /* the same; self is set by the thread before it does anything */
    struct os_mutex *lock;           /* guards posts and listeners */
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
    bool sweeping, relieving, shedding;
    int64_t shed_ms; /* when it last looked for connections to drop */
    char *scratch;
    int64_t now_ms;
    char name[24];
};

static inline struct str id_key(const uint64_t *id)
{
    return str_make(id, sizeof *id);
}

void conn_destroy(struct conn *c);   /* at once; freed at the end of the turn */
void conn_flush(struct conn *c);     /* write what the socket takes; then whatever waited for that */
bool conn_write_out(struct conn *c); /* false: the connection is broken */
void conn_readable(struct conn *c);
void loop_need_sweep(struct loop *l);
void conn_want(struct conn *c); /* asks the poller for what the connection wants now */
/* -- memory (loop_shed.c) -- */
bool conn_holds(const struct conn *c);
void loop_shed(struct loop *l);            /* drop the slowest while memory is short */
void conn_wait(struct conn *c, bool wait); /* whether it waits for memory; others go meanwhile */
void conn_starve(struct conn *c);          /* no memory to read into: it waits */
                                           /* idle and closing connections are looked at once a second */
extern atomic_int loop_open_conns;

#endif
