/*
 * operator: one relational operator per file, pulled batch by batch.
 *
 *   op_next(root) ◀── project ◀── filter ◀── scan        each returns a batch, or none at the end
 *
 * Contract, from the first one on: op_next may block (only inside a scan or a state store), is cancellable (op_env.cancelled is looked at
 * once per batch), has a memory budget (op_env.memory: arenas are charged to it; over it the query fails alone, by name), and returns
 * errors. A batch is valid until the next op_next on the same operator. Operators never touch a clock, thread or file: time is in op_env.
 *
 * Streaming: PLAN_AGGREGATE and PLAN_DEDUP get their state through op_env.stateful: query/ supplies it, keyed by node id.
 * Partial aggregation is its own operator (op_partial_new) so that scan threads aggregate first and the exchange carries groups.
 */
#ifndef PENSTOCK_OPERATOR_OPERATOR_H
#define PENSTOCK_OPERATOR_OPERATOR_H

#include "plan/plan.h"

struct op;
struct op_memory { /* one per query or execution */
    size_t limit_bytes, used_bytes;
};

/* What an operator may ask of whoever runs it. */
struct op_env {
    int64_t now_us; /* batch timestamp */
    const struct zone *zone;
    uint32_t part; /* of a batch that several threads read: random functions differ between them */
    struct op_memory *memory;
    const bool *cancelled;
    void *arg;
    /* An operator for a PLAN_SCAN (a source reader for this batch's offset range). */
    enum err (*open_scan)(void *arg, const struct plan_node *scan, struct op **out, struct fault *f);
    /* An operator for a stateful node in a streaming query, or *out NULL: run it as in a batch. */
    enum err (*open_stateful)(void *arg, const struct plan_node *node, struct op *child, struct op **out,
                              struct fault *f);
    /* Event times that a PLAN_WATERMARK node saw: called once per batch of at most BATCH_ROWS rows with the max, min, sum
     * and count of the non-null ones (microseconds; so few rows cannot overflow the sum). May be NULL. */
    void (*event_time)(void *arg, const struct plan_node *node, int64_t max_us, int64_t min_us, int64_t sum_us,
                       int64_t n);
};

struct op_class {
    const char *name;
    /* *out NULL at the end. */
    enum err (*next)(struct op *op, struct batch_cols **out, struct fault *f);
    void (*close)(struct op *op);
};
struct op { /* the head of every operator; embedded first */
    const struct op_class *class;
    const struct plan_node *node;
    const struct op_env *env;
    struct op *child;
    struct arena *arena; /* of the current batch */
    uint64_t rows;       /* put out so far */
};

/* PLAN_EXPAND_WINDOW: exprs[0] is the time; window_column says where the struct<start,end> goes (== child's width: appended).
 * PLAN_EXPLODE: the child's columns, then [pos,] col or key, value. */
CHECK enum err op_build(const struct plan_node *node, const struct op_env *env, struct op **out, struct fault *f);
CHECK enum err op_next(struct op *op, struct batch_cols **out, struct fault *f);
void op_close(struct op *op); /* closes children too; NULL allowed */
/* For operators elsewhere (sources, stateful ones): allocate `size` zeroed bytes whose head is a struct op. Owns child. */
void *op_new(size_t size, const struct op_class *class, const struct plan_node *node, const struct op_env *env,
             struct op *child);
/* Read op to its end into one batch whose everything lives in `a`; charged to env->memory. */
CHECK enum err op_collect(struct op *op, struct arena *a, struct batch_cols *out, struct fault *f);
/* Add (or give back, negative) bytes to the budget: ERR_MEMORY over it. */
CHECK enum err op_charge(struct op_memory *m, int64_t bytes, const char *who, struct fault *f);

/*
 * Spark's show(): the first `limit` rows as text (Dataset.showString). rows may hold one more, which says that there are more;
 * truncate 0: cells whole and left-aligned. The console sink and DataFrame.show() are the same function.
 */
void show_text(struct buf *out, const struct batch_cols *rows, uint32_t limit, int truncate, bool vertical,
               const struct zone *zone);

/* -- the hash table under aggregations: also used by the streaming aggregation ------------------------------------- */
/*
 * Groups by their key columns, each with the states of all aggregates side by side. The hash is Spark's Murmur3 of the keys
 * (seed 42): it also says to which of a query's shuffle partitions a group belongs.
 *
 * Several tables of the same node can be the shards of one state: then each holds the groups of certain partitions.
 * agg_table_add finds or makes the group of every row and updates its states; merge does it for the groups of another table.
 * A table belongs to one thread at a time.
 */
struct agg_table;
struct agg_group {
    struct str key; /* the key columns, each column_encode'd; lives in the table */
    void *states;   /* agg_table_state(t, states, i) */
    int32_t hash;
    bool touched; /* since the last agg_table_clear_touched: what changed in this batch */
};
CHECK enum err agg_table_new(const struct plan_node *agg, struct op_memory *memory, struct agg_table **out,
                             struct fault *f);
void agg_table_free(struct agg_table *t);
/* Where groups go: partition pmod(hash, partitions) is in shard `partition % n`. n > 1 only where agg_table_is_plain. */
struct agg_shards {
    struct agg_table *const *tables;
    uint32_t n, partitions;
};
uint32_t agg_partition(int32_t hash, uint32_t partitions);
/* Are all states of fixed size, and no aggregate DISTINCT? Then one call may update groups of several tables. */
bool agg_table_is_plain(const struct agg_table *t);
CHECK enum err agg_table_add(struct agg_shards to, const struct batch_cols *in, struct eval *ev, struct fault *f);
struct agg_group *agg_table_find(struct agg_table *t, struct str key, bool create, bool *created);
/* The hash of an encoded key, to choose the shard that it is in. */
int32_t agg_table_hash(struct agg_table *t, struct str key);
void *agg_table_state(const struct agg_table *t, void *states, int agg);
void agg_table_save(const struct agg_table *t, const struct agg_group *g, struct buf *out); /* all states of a group */
CHECK enum err agg_table_merge_saved(struct agg_table *t, struct agg_group *g, struct str saved, struct fault *f);
/* All groups of another table that are in shard `shard` of `of`. Several threads may merge from one table. */
CHECK enum err agg_table_merge(struct agg_table *t, const struct agg_table *from, uint32_t shard, struct agg_shards of,
                               struct fault *f);
size_t agg_table_groups(const struct agg_table *t);
struct agg_group *agg_table_next(struct agg_table *t, size_t *at); /* in insertion order; NULL at the end */
struct agg_group *agg_table_next_touched(struct agg_table *t,
                                         size_t *at); /* in the order first touched since the last clear */
/* Forget a group. Allowed for the one agg_table_next has just returned. Its memory comes back at the next clear_touched. */
void agg_table_remove(struct agg_table *t, struct agg_group *g);
/* Between batches: nothing is touched; when much is dead the table is rebuilt, so group pointers do not outlive this call. */
CHECK enum err agg_table_clear_touched(struct agg_table *t, struct fault *f);
/* The key columns of a group, decoded into row `row` of cols[0..ngroup) (column_alloc'ed by the caller). */
void agg_table_key(const struct agg_table *t, const struct agg_group *g, struct column *cols, uint32_t row,
                   struct arena *a);
size_t agg_table_bytes(const struct agg_table *t);
/* Rows (group columns then aggregate results) of n groups, of any shard. */
CHECK enum err agg_table_rows(const struct agg_table *t, struct agg_group *const *groups, uint32_t n,
                              struct batch_cols *out, struct arena *a, struct fault *f);

#endif
