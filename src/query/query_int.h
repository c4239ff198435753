/*
 * query_int: one running query's insides, shared by the files of query/.
 *
 *   manager.c   who runs, who waits: start, take over, find, stop, await
 *   run.c       the thread: trigger ─▶ plan N ─▶ exec ─▶ commit N
 *   plan_log.c  the texts of Spark's offsets/N and commits/N
 *   prepared.c  the end of a batch whose output is a transaction
 *   exec.c      one batch: readers on several threads, operators, sink
 *   aggregate.c aggregation that remembers: read in parts, kept in shards
 *   stateful.c  deduplication and limits that remember, and what they share with it
 *   progress.c  progress, status and exception texts
 *
 * What a thread of the query alone touches is in struct query without a note; what others see is under `lock`.
 */
#ifndef PENSTOCK_QUERY_QUERY_INT_H
#define PENSTOCK_QUERY_QUERY_INT_H

#include "base/limit.h"
#include "base/map.h"
#include "base/vec.h"
#include "os/os.h"
#include "query/query.h"
#include "state/state.h"
#include "wire/json.h"

enum { SETTLE_MS = 1000, PROGRESS_KEPT = 100, VISIBLE_PAUSE_MS = 100, TERMINATED_KEPT = 100 };

/* -- texts of the checkpoint ------------------------------------------------------------------------------------------ */
struct batch_plan { /* offsets/N */
    int64_t batch;  /* N */
    int64_t watermark_ms, timestamp_ms;
    int64_t shuffle_partitions;
    struct str *ends; /* per source; n 0: none ("-") */
};
void batch_plan_text(const struct batch_plan *p, int nsources, struct buf *out);
CHECK enum err batch_plan_parse(struct str text, int nsources, struct arena *a, struct batch_plan *out,
                                struct fault *f);
void batch_commit_text(int64_t next_watermark_ms, struct buf *out);
bool batch_commit_parse(struct str text, struct arena *a, int64_t *next_watermark_ms);

/* -- state --------------------------------------------------------------------------------------------------------------- */
struct state_metrics {
    int64_t total, updated, removed, dropped, update_ns, remove_ns, commit_ns;
};
/* The groups of an aggregation are in as many shards as threads may work on them; each shuffle partition is in one shard. */
struct shard {
    struct agg_table *table;
    struct buf changes; /* for the commit */
    struct buf saved;
    int64_t least_expiry_us; /* nothing in it expires before: INT64_MAX never, INT64_MIN unknown */
    struct state_metrics metrics;
    VEC(struct agg_group *) out; /* of this batch */
};
struct stateful { /* what one node remembers */
    const struct plan_node *node;
    uint32_t number;      /* in the checkpoint */
    struct shard *shards; /* PLAN_AGGREGATE */
    uint32_t nshards;
    struct agg_table **tables; /* of the shards */
    struct state_store *store; /* PLAN_DEDUP, PLAN_LIMIT */
    int64_t least_expiry_us;   /* of the store */
    struct state_metrics metrics;
    struct stateful *next;
};

/* -- event time ------------------------------------------------------------------------------------------------------------ */
struct watermark { /* one PLAN_WATERMARK node */
    const struct plan_node *node;
    int64_t at_ms;             /* max event time − delay so far; 0 before any data, as Spark has it */
    int64_t max_us, min_us, n; /* of this batch */
    double sum_us;
};

struct query_source {
    struct source *source;
    struct str start, end, latest; /* of the current batch; views of the buffers below */
    struct buf start_text, end_text, latest_text;
    struct str next_latest; /* of the next plan, in next_arena */
    struct str cap;         /* availableNow: nothing beyond it */
    uint64_t rows;
};

struct timings { /* of a trigger, nanoseconds */
    int64_t latest_offset, wal_commit, query_planning, get_batch, add_batch, commit_offsets, total;
};

struct query {
    struct query_manager *manager;
    struct arena *arena; /* as long as the query */
    struct query_options options;
    struct query_ids ids;
    struct str session_id, name, checkpoint_dir;
    bool is_temporary; /* the checkpoint */
    bool no_data_batches, watermark_is_max;
    int64_t shuffle_partitions;
    struct plan *plan;
    const struct zone *zone;
    struct checkpoint *checkpoint;
    struct checkpoint_info info;
    struct sink *sink;
    struct query_source *sources; /* plan->nscans of them */
    int nsources;
    struct stateful *stateful;
    int nstateful;
    struct watermark watermarks[LIMIT_WATERMARKS];
    int nwatermarks;
    struct os_mutex *watermark_lock;
    struct op_memory memory;

    /* the batch */
    struct arena *batch_arena, *next_arena; /* offsets of the current and of the next plan */
    struct batch_plan current;
    bool is_planned;                                        /* current is not committed */
    bool is_plan_durable;                                   /* and its plan is in the checkpoint */
    bool has_data;                                          /* current has new rows (else it only cleans up state) */
    bool has_run;                                           /* a batch in this run */
    int64_t committed, watermark_ms, previous_watermark_ms; /* global; of the batch before the current */
    struct op_env env;
    bool reads_in_parts; /* the aggregation reads the ranges itself */
    struct timings took;
    int64_t decided_ns; /* monotonic: when the last prepared batch was decided */
    int64_t trigger_start_ns, trigger_start_ms, last_trigger_start_ms, rows_in, rows_out, last_begin_ns;

    /* under lock */
    struct os_mutex *lock;
    struct os_cond *changed;
    struct os_thread *thread;
    int refs;
    bool stop, cancel, woken, is_terminated, is_orphan, is_joined, is_failed;
    bool is_trigger_active, is_data_available;
    uint64_t checks, idle_check; /* attempts to plan a batch; the last that found nothing */
    uint64_t terminated_at;      /* the manager's count */
    char message[256];
    struct fault fault;
    struct str *progress[PROGRESS_KEPT];
    size_t nprogress;
    struct query_stats stats;
    struct str committed_text, available_text; /* malloc'ed; for the exception's text */
};

struct query_manager {
    struct source_env env;
    struct os_mutex *lock;
    struct os_cond *changed; /* any query terminated, or somebody was cancelled */
    VEC(struct query *) queries;
    struct map starting; /* checkpoint directories of starts under way */
    struct map reset;    /* session → terminations when awaitAny was reset (value: count + 1) */
    uint64_t terminations;
    struct query_stats gone; /* of queries that were forgotten */
    struct pool *pool;
    int threads; /* of the pool, and the query's own */
};

/* -- run.c -------------------------------------------------------------------------------------------------------------------- */
void query_run(void *query); /* the thread */
void query_wake_thread(void *query);
/* Sleep until woken, stopped or the monotonic deadline (INT64_MAX: none). Under no lock. */
void query_sleep(struct query *q, int64_t deadline_ns);
bool query_is_stopping(struct query *q);

/* -- prepared.c ---------------------------------------------------------------------------------------------------------------- */
/* A batch that the checkpoint holds prepared: was its output committed? Before the state is read. */
CHECK enum err prepared_resolve(struct query *q, struct fault *f);
/* The rows are written and the watermark has moved: state durable, then the transaction ends. */
CHECK enum err prepared_commit(struct query *q, struct fault *f);
/* The batch failed before it was prepared: it will run again as it was planned, as in Spark. */
void prepared_failed(struct query *q);
/* About to sleep until *wake_ns: what was decided is made durable now, or *wake_ns comes before it is too late. */
CHECK enum err prepared_settle(struct query *q, int64_t *wake_ns, struct fault *f);

/* -- exec.c ------------------------------------------------------------------------------------------------------------------- */
struct pool *pool_new(int threads);
void pool_free(struct pool *p);
/* Run fn(arg, 0..n-1) on the pool and the caller; returns when all are done. */
void pool_run(struct pool *p, void (*fn)(void *arg, int i), void *arg, int n);
/*
 * A batch in parts, each on a thread: run(arg, part, op) pulls the rows of `top` as part.n of them have it. The pieces of
 * a source's range are of equal length, or with `whole` whole partitions. The fault of the first part that failed.
 */
struct exec_part {
    struct query *q;
    const struct plan_node *top;
    struct op_env env;
    int i, n;
    bool whole;
    enum err (*run)(void *arg, struct exec_part *part, struct op *op);
    void *arg;
    enum err err;
    struct fault fault;
};
/* How many parts the batch is worth: 0 where the nodes from `top` down do not all work row by row. */
int exec_parts(const struct query *q, const struct plan_node *top, bool whole);
CHECK enum err exec_in_parts(struct query *q, const struct plan_node *top, int n, bool whole,
                             enum err (*run)(void *arg, struct exec_part *part, struct op *op), void *arg,
                             struct fault *f);
/* Read, compute and hand all rows of the current batch to the sink. */
CHECK enum err query_execute(struct query *q, struct fault *f);

/* -- stateful.c ------------------------------------------------------------------------------------------------------------------ */
CHECK enum err stateful_open(struct query *q,
                             struct fault *f); /* tables for the plan's nodes, filled from the checkpoint */
void stateful_free(struct query *q);
CHECK enum err stateful_operator(struct query *q, const struct plan_node *node, struct op *child, struct op **out,
                                 struct fault *f);
size_t stateful_texts(const struct query *q);
/* The batch's changes, for checkpoint_commit (gathered into texts: at most stateful_texts). */
size_t stateful_changes(struct query *q, struct str *texts);
/* After the commit: nothing has changed; a snapshot when it is time. */
CHECK enum err stateful_committed(struct query *q, struct fault *f);
bool stateful_wants_no_data(const struct query *q); /* some node waits for the watermark */
size_t stateful_bytes(const struct stateful *s);
/* The event time of a key column, microseconds; a window's is its end. INT64_MAX for null: it never expires. */
int64_t stateful_event_us(const struct stateful *s, const struct column *key, uint32_t i);
bool stateful_is_past(int64_t event_us, int64_t watermark_ms); /* at or before it */

/* -- aggregate.c ----------------------------------------------------------------------------------------------------------------- */
CHECK enum err aggregate_open(struct query *q, struct stateful *s, struct fault *f);
void aggregate_free(struct stateful *s);
/* A change from the checkpoint: value.p NULL removes the group. */
CHECK enum err aggregate_load(struct query *q, struct stateful *s, struct str key, struct str value, struct fault *f);
CHECK enum err aggregate_committed(struct stateful *s, struct fault *f);
struct op *aggregate_operator(struct query *q, struct stateful *s, struct op *child);

/* -- progress.c ------------------------------------------------------------------------------------------------------------------- */
void progress_add(struct query *q);
void query_message(struct query *q, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void query_iso_ms(int64_t ms, char out[64]); /* 2026-11-22T10:30:07.702Z */

#endif
