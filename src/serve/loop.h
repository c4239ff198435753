/*
 * loop: one thread, one epoll, the connections it owns.
 *
 * Kafka, Spark Connect and every other byte protocol hang on a loop through struct loop_protocol. A loop never blocks:
 * it neither syncs nor reads cold files nor runs a query; work that may block goes elsewhere and comes back by loop_post.
 *
 *      socket ──read──▶ protocol->on_data(conn) … conn_write(conn) ──▶ out queue ──▶ socket
 *      any thread ──loop_post(loop, fn, arg)──▶ runs on the loop's thread
 *
 * Bounds: input kept for one connection ≤ protocol->max_input_bytes (reading stops, TCP pushes back); when more than
 * max_output_bytes wait to be sent the loop stops reading from that connection until half is gone. Idle connections are
 * closed after protocol->idle_ms (0: never). The number of connections is bounded by loop_limit_connections, the bytes that
 * all of them hold by base/budget.h: a connection that would read beyond it waits, and while memory is short those go that hold
 * some of it without getting on (loop_shed.c).
 * Ownership: a conn belongs to its loop; only its thread touches it. From elsewhere name it by conn_id (unique in the
 * process): loop_conn(loop, id) is NULL once it is gone.
 */
#ifndef PENSTOCK_SERVE_LOOP_H
#define PENSTOCK_SERVE_LOOP_H

#include "base/buf.h"
#include "base/fault.h"

struct loop;
struct conn;

struct loop_protocol {
    const char *name;
    size_t max_input_bytes, max_output_bytes;
    int idle_ms;
    /* A new connection; return the protocol's own state for it (NULL refuses it). arg is loop_listen's. */
    void *(*on_open)(struct conn *c, void *arg);
    /* Bytes are there: look at in[0..n), return how many were used up (0: wait for more; the rest is kept and shown
     * again, grown, when more has come). conn_close may be called inside. */
    size_t (*on_data)(struct conn *c, void *state, const char *in, size_t n);
    /* The out queue went empty after having held bytes (NULL: don't care). */
    void (*on_drained)(struct conn *c, void *state);
    /* Gone, for whatever reason; free the state. */
    void (*on_close)(struct conn *c, void *state);
};

CHECK enum err loop_start(struct loop **out, const char *name, struct fault *f); /* starts the thread */
/* Close all connections (what is queued is offered to the sockets once), run what was posted, join, free. Whoever may
 * still post to this loop must be stopped first; of several loops that share a listener the first one stops first. */
void loop_stop(struct loop *l);
/* Listen; *port in: wanted (0: any), out: what it is. Connections are spread over loops[0..n). Callable from any thread. */
CHECK enum err loop_listen(struct loop **loops, int n, const char *host, uint16_t *port,
                           const struct loop_protocol *protocol, void *arg, struct fault *f);
void loop_unlisten_all(struct loop *l); /* stop accepting: the first step of a clean stop */
void loop_limit_connections(int most);  /* process-wide; default 12000 */

/* Run fn(arg) on the loop's thread soon; from any thread. Order between posts of one thread is kept. */
void loop_post(struct loop *l, void (*fn)(void *arg), void *arg);
/* Run fn(arg) on the loop's thread at monotonic time (ms from now); returns an id for loop_cancel. Loop thread only. */
uint64_t loop_timer(struct loop *l, int64_t after_ms, void (*fn)(void *arg), void *arg);
void loop_cancel(struct loop *l, uint64_t timer_id); /* loop thread only; gone ids are ignored */

/* Does the caller run on the loop's thread? */
bool loop_here(const struct loop *l);

struct loop *conn_loop(struct conn *c);
uint64_t conn_id(struct conn *c);
struct conn *loop_conn(struct loop *l, uint64_t id); /* loop thread only */
void *conn_state(struct conn *c);
/* Queue bytes (copied) / a malloc'ed block (taken over, freed after sending). Flushed at the end of the loop's turn. */
void conn_write(struct conn *c, const void *p, size_t n);
void conn_write_take(struct conn *c, char *p, size_t n);
/* Bytes owned by someone else, kept until release(arg) is called on the loop's thread after sending or closing. */
void conn_write_ref(struct conn *c, const void *p, size_t n, void (*release)(void *arg), void *arg);
size_t conn_pending(struct conn *c); /* bytes queued and not yet sent */
/* What the protocol itself keeps of requests that are not whole, and of answers that the peer does not let it send; it has
 * taken them from the budgets. */
void conn_hold(struct conn *c, size_t input, size_t output);
/* Stop or go on calling on_data (a protocol that waits for an answer before the next request). Kept bytes are re-shown. */
void conn_pause(struct conn *c, bool pause);
/* After what is queued has been sent; on_data is not called any more. The peer then gets a second to read it before
 * the socket closes, so that a last error answer is not lost to a reset. */
void conn_close(struct conn *c);
void conn_abort(struct conn *c); /* at once */
void conn_local(struct conn *c, char host[64], uint16_t *port);
void conn_peer(struct conn *c, char host[64], uint16_t *port);

#endif
