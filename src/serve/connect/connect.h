/*
 * connect: the Spark Connect service, as an unmodified PySpark client speaks it.
 *
 *   socket ─loop─▶ wire/grpc ─▶ service.c ─┬▶ on the loop: Config, Reattach, Release, Interrupt, sessions, errors
 *                                          └▶ worker thread: plans ─convert─▶ struct rel ─plan─▶ operators ─arrow─▶ responses
 *
 * A session is what a client calls so (user and session id): its configuration, temporary views, cached relations, streaming
 * queries and errors. An execution runs on a worker thread of a bounded pool and puts its responses into a bounded list; the
 * loop sends them as the client's window allows. A reattachable execution keeps what was sent until the client releases it,
 * at most 10 MiB, and outlives its connection for five minutes.
 *
 * Bounds: 1,000 sessions, 1,000 executions and 256 MiB of cached relations per session, 256 worker threads with 1,000
 * waiting jobs, 16 MiB of unsent responses per execution (the worker waits), console text of 1 MiB per session. Sessions
 * unused for an hour without an active query are forgotten.
 *
 * Ownership: everything belongs to the server; executions and sessions are reference-counted, because a worker, a
 * connection and the server's tables hold them at the same time. Locks: server → session → execution; none is held
 * while planning or running.
 */
#ifndef PENSTOCK_SERVE_CONNECT_H
#define PENSTOCK_SERVE_CONNECT_H

#include "query/query.h"
#include "serve/loop.h"

struct connect_server;

struct connect_options {
    struct query_manager *queries;   /* outlives the server */
    const struct source_env *source; /* for batch reads */
    size_t memory_bytes;             /* of one execution; 0: 1 GiB */
    size_t process_bytes; /* of all; 0: plenty. How many run at once and how large their batches are follows */
    /* Console sinks of sessions that have no reader of their own; NULL: standard output. From any thread. */
    void (*console)(void *arg, struct str text);
    void *console_arg;
};

CHECK enum err connect_start(struct connect_server **out, const struct connect_options *o, struct fault *f);
CHECK enum err connect_listen(struct connect_server *s, struct loop **loops, int n, const char *host, uint16_t *port,
                              struct fault *f);
/* Cancel what runs and wait for the workers. After loop_unlisten_all, before query_manager_stop and loop_stop; connections
 * that are still open get UNAVAILABLE for new calls. */
void connect_stop(struct connect_server *s);
/* After loop_stop: the last connection is gone. Before query_manager_free. */
void connect_free(struct connect_server *s);

/* Console text of a session that set the conf penstock.console=client: append what there is from byte `from` on (or from the
 * oldest kept byte) to *out, *next is where to go on. False: no such session. */
bool connect_console_read(struct connect_server *s, struct str session_id, uint64_t from, struct buf *out,
                          uint64_t *next);
/* Call wake(arg) once, from any thread, when the session has text beyond `from` (at once if it has). False: no such session,
 * or too many waiters. wake must not block nor call back. arg must stay good until then, or until
 * connect_console_forget(arg) has returned. A session that ends wakes its waiters. */
bool connect_console_wait(struct connect_server *s, struct str session_id, uint64_t from, void (*wake)(void *arg),
                          void *arg);
void connect_console_forget(struct connect_server *s, void *arg);

struct connect_stats {
    uint64_t sessions, executions, running, rpcs, errors;
};
void connect_stats(struct connect_server *s, struct connect_stats *out);

#endif
