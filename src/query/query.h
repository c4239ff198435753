/*
 * query: a running streaming query, epoch by epoch: plan N → read → operators ⇄ state → sink → commit N.
 *
 * Spark's micro-batch semantics (ids, offset log, commit log, watermark moved between batches, no-data batches) at
 * streaming latency: nothing polls, a commit of the log wakes the queries that read the partition.
 *
 *   query_start ─▶ thread: [ wait for data/trigger ─▶ plan N durable ─▶ run ─▶ sink commit ─▶ state N ─▶ commit N ] ↺
 *   exactly-once:          [ wait for data/trigger ─▶ run ─▶ plan, state, commit N prepared ─▶ the transaction ends ] ↺
 *
 * query_manager owns all queries of the server and their threads; a session names its own by session id. The progress,
 * status and exception texts are Spark's JSON and wording. All functions may be called from any thread.
 */
#ifndef PENSTOCK_QUERY_QUERY_H
#define PENSTOCK_QUERY_QUERY_H

#include "plan/plan.h"
#include "sink/sink.h"

struct query;
struct query_manager;

/* threads: how many work on one batch (0: one per core); they are shared by all queries. */
CHECK enum err query_manager_new(const struct source_env *env, int threads, struct query_manager **out,
                                 struct fault *f);
/* Stop all queries: planned batches end, checkpoints are written exactly. What is asked of them goes on being answered. */
void query_manager_stop(struct query_manager *m);
void query_manager_free(struct query_manager *m); /* stops them, too; by now nobody asks any more */

enum trigger_kind { TRIGGER_DEFAULT, TRIGGER_PROCESSING_TIME, TRIGGER_ONCE, TRIGGER_AVAILABLE_NOW };
struct query_options {
    struct str session_id;
    struct str name;   /* n 0: none. Unique among the session's active queries */
    struct plan *plan; /* taken over, also on failure */
    enum output_mode mode;
    enum trigger_kind trigger;
    int64_t trigger_ms;
    struct str sink_format;
    const struct option *options; /* of the sink; checkpointLocation among them */
    int noptions;
    struct str checkpoint_dir;                       /* resolved; n 0: temporary, removed at the end */
    const char *(*conf)(void *arg, const char *key); /* read once, at start */
    void *conf_arg;
    struct memory_tables *tables;
    void (*console)(void *arg, struct str text); /* called until query_wait_gone */
    void (*on_console_free)(void *arg);
    void *console_arg;
};
struct query_ids {
    char id[37], run_id[37];
};
/* Checks, opens the checkpoint (takes over from a live run of the same checkpoint), starts the thread. */
CHECK enum err query_start(struct query_manager *m, const struct query_options *o, struct query_ids *ids,
                           struct fault *f);

/* Handles are by run id; NULL when unknown. query_ref'd; query_release when done. */
struct query *query_find(struct query_manager *m, struct str session_id, struct str id,
                         struct str run_id /* n 0: any */);
void query_release(struct query *q);
size_t query_list(struct query_manager *m, struct str session_id, struct arena *a,
                  struct query ***out); /* active ones, each +1 ref */
struct query_ids query_ids(const struct query *q);
struct str query_name(const struct query *q);
void query_stop(struct query *q);                                        /* waits until it has stopped */
void query_session_gone(struct query_manager *m, struct str session_id); /* stops its queries (without waiting) */
bool query_await(struct query *q, int64_t timeout_ms /* -1: for ever */, const bool *cancelled); /* true: terminated */
/* Any query of the session terminated since the last reset; -1: for ever. */
bool query_await_any(struct query_manager *m, struct str session_id, int64_t timeout_ms, const bool *cancelled);
void query_reset_terminated(struct query_manager *m, struct str session_id);
/* Everything that is there when called has been processed (or the query failed: its fault). */
CHECK enum err query_process_all_available(struct query *q, const bool *cancelled, struct fault *f);
struct query_status {
    char message[256];
    bool is_data_available, is_trigger_active, is_active;
};
void query_status(struct query *q, struct query_status *out);
/* Spark's progress JSON texts, oldest first (at most 100 kept); last_only: the newest or none. */
size_t query_progress(struct query *q, bool last_only, struct arena *a, struct str **out);
/* The exception that ended it: false when none. text: as StreamingQueryException prints. */
bool query_exception(struct query *q, struct fault *out, struct arena *a, struct str *text);
void query_explain(struct query *q, bool extended, struct buf *out);
/* Wake every waiter (a connection was cancelled). */
void query_wake(struct query_manager *m);

struct query_stats {
    uint64_t queries, batches, rows_in, rows_out;
};
void query_manager_stats(struct query_manager *m, struct query_stats *out);

#endif
