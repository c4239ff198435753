/*
 * What a query's nodes remember between batches: groups of an aggregation (aggregate.c), keys met by dropDuplicates, rows
 * let through by a limit; as Spark's StateStoreSaveExec, StreamingDeduplicateExec and StreamingGlobalLimitExec treat them.
 *
 * A group or key is late when its event time is at or before the watermark of the batch before (Spark drops by the one and
 * evicts by the other since 3.5), and evicted when it is at or before the batch's own. What was touched goes to the commit.
 *
 * A checkpoint holds keys and states, not partitions: by its key alone a group is in a partition and a shard, so neither the
 * number of shuffle partitions (which a checkpoint keeps, as Spark does) nor of threads is part of its format.
 */
#include "query/query_int.h"

#include "base/memory.h"
#include "base/rd.h"

#include <stdlib.h>

enum { SNAPSHOT_BYTES = 64 << 20, CHUNK_BYTES = 1 << 20 };

/* -- tables ----------------------------------------------------------------------------------------------------------------- */

static bool is_stateful(const struct query *q, const struct plan_node *n)
{
    return n->kind == PLAN_AGGREGATE || n->kind == PLAN_DEDUP ||
           (n->kind == PLAN_LIMIT && q->options.mode != OUTPUT_COMPLETE);
}

static bool reads_a_stream(const struct plan_node *n)
{
    if (n->kind == PLAN_SCAN)
        return n->is_streaming;
    for (int i = 0; i < n->nchildren; i++)
        if (reads_a_stream(n->children[i]))
            return true;
    return false;
}

/* Children first, so that a node's number does not depend on what stands above it. */
static enum err collect(struct query *q, const struct plan_node *n, struct fault *f)
{
    enum err e = ERR_OK;
    for (int i = 0; !e && i < n->nchildren; i++)
        e = collect(q, n->children[i], f);
    if (!e && n->kind == PLAN_WATERMARK) {
        if (q->nwatermarks == LIMIT_WATERMARKS)
            return LIMIT_FAULT(f, WATERMARKS);
        q->watermarks[q->nwatermarks++].node = n;
    }
    if (e || !is_stateful(q, n) || !reads_a_stream(n))
        return e;
    struct stateful *s = ARENA_NEW(q->arena, struct stateful), **end = &q->stateful;
    s->node = n;
    s->least_expiry_us = INT64_MIN; /* unknown */
    s->number = (uint32_t)q->nstateful;
    if (n->kind == PLAN_AGGREGATE)
        e = aggregate_open(q, s, f);
    else
        s->store = state_new((uint32_t)q->nstateful);
    while (*end)
        end = &(*end)->next;
    *end = s;
    q->nstateful++;
    return e;
}

static enum err load(void *arg, uint32_t store, struct str key, struct str value, struct fault *f)
{
    struct query *q = arg;
    struct stateful *s = q->stateful;
    while (s && store--)
        s = s->next;
    if (!s)
        return FAULT(f, ERR_CORRUPT, {"what", "The checkpoint"}, {"detail", "it holds state of an unknown operator"});
    if (s->store) {
        state_load(s->store, key, value);
        return ERR_OK;
    }
    return aggregate_load(q, s, key, value, f);
}

enum err stateful_open(struct query *q, struct fault *f)
{
    enum err e = collect(q, q->plan->root, f);
    if (!e)
        e = checkpoint_replay(q->checkpoint, load, q, f);
    for (struct stateful *s = q->stateful; !e && s; s = s->next)
        if (!s->store)
            e = aggregate_committed(s, f);
    return e;
}

void stateful_free(struct query *q)
{
    for (struct stateful *s = q->stateful; s; s = s->next) {
        aggregate_free(s);
        state_free(s->store);
    }
    q->stateful = NULL;
}

bool stateful_wants_no_data(const struct query *q)
{
    for (const struct stateful *s = q->stateful; s && q->nwatermarks; s = s->next)
        if (s->node->kind == PLAN_DEDUP || (s->node->kind == PLAN_AGGREGATE && q->options.mode != OUTPUT_COMPLETE))
            return true;
    return false;
}

size_t stateful_texts(const struct query *q)
{
    size_t n = 0;
    for (const struct stateful *s = q->stateful; s; s = s->next)
        n += s->store ? 1 : s->nshards;
    return n;
}

size_t stateful_changes(struct query *q, struct str *texts)
{
    size_t n = 0;
    for (struct stateful *s = q->stateful; s; s = s->next) {
        if (s->store)
            texts[n++] = buf_whole(state_changes(s->store), "the state's changes");
        for (uint32_t i = 0; i < s->nshards; i++)
            texts[n++] = buf_whole(&s->shards[i].changes, "the state's changes");
    }
    return n;
}

size_t stateful_bytes(const struct stateful *s)
{
    size_t n = s->store ? state_bytes(s->store) : 0;
    for (uint32_t i = 0; i < s->nshards; i++)
        n += agg_table_bytes(s->shards[i].table);
    return n;
}

/* -- snapshots ---------------------------------------------------------------------------------------------------------------- */

struct fill {
    struct query *q;
    struct stateful *s;
    uint32_t shard;
    size_t at;
};

/* One entry of the node's state; false at its end. */
static bool fill_one(struct fill *fill, struct buf *chunk)
{
    struct stateful *s = fill->s;
    struct str key, value;
    if (s->store) {
        if (!state_next(s->store, &fill->at, &key, &value))
            return false;
        state_change_put(chunk, s->number, key, value);
        return true;
    }
    for (; fill->shard < s->nshards; fill->shard++, fill->at = 0) {
        struct shard *shard = &s->shards[fill->shard];
        struct agg_group *g = agg_table_next(shard->table, &fill->at);
        if (!g)
            continue;
        buf_clear(&shard->saved);
        agg_table_save(shard->table, g, &shard->saved);
        state_change_put(chunk, s->number, g->key, buf_whole(&shard->saved, "a group's state"));
        return true;
    }
    return false;
}

static enum err fill_chunk(void *arg, struct buf *chunk, bool *more, struct fault *f)
{
    struct fill *fill = arg;
    (void)f;
    while (fill->s && chunk->n < CHUNK_BYTES)
        if (!fill_one(fill, chunk)) {
            fill->s = fill->s->next;
            fill->shard = 0;
            fill->at = 0;
        }
    *more = fill->s != NULL;
    return ERR_OK;
}

enum err stateful_committed(struct query *q, struct fault *f)
{
    size_t bytes = 0;
    for (struct stateful *s = q->stateful; s; s = s->next) {
        bytes += stateful_bytes(s);
        if (s->store)
            buf_clear(state_changes(s->store));
        enum err e = s->store ? ERR_OK : aggregate_committed(s, f);
        if (e)
            return e;
    }
    if (checkpoint_changes_bytes(q->checkpoint) < SNAPSHOT_BYTES + 4 * (uint64_t)bytes)
        return ERR_OK;
    return checkpoint_snapshot(q->checkpoint, fill_chunk, &(struct fill){q, q->stateful, 0, 0}, f);
}

/* -- expiry --------------------------------------------------------------------------------------------------------------------- */

/* The event time of a key column, microseconds; a window's is its end. INT64_MAX for null: it never expires. */
int64_t stateful_event_us(const struct stateful *s, const struct column *key, uint32_t i)
{
    if (!col_valid(key, i))
        return INT64_MAX;
    i = COL_AT(key, i);
    if (s->node->watermark_is_window)
        key = &key->children[1];
    if (!col_valid(key, i))
        return INT64_MAX;
    i = COL_AT(key, i);
    return key->type->id == TYPE_DATE ? key->data.i32[i] * INT64_C(86400000000) : key->data.i64[i];
}

bool stateful_is_past(int64_t event, int64_t watermark_ms)
{
    return event != INT64_MAX && event <= watermark_ms * 1000;
}

/* -- dropDuplicates, limit ------------------------------------------------------------------------------------------------------------ */

struct keyed {
    struct op op;
    struct query *q;
    struct stateful *s;
    bool is_done;
};

static bool first_time(struct keyed *op, const struct column *keys, uint32_t i, struct buf *key)
{
    struct stateful *s = op->s;
    int column = s->node->watermark_column;
    int64_t event = column >= 0 ? stateful_event_us(s, &keys[column], i) : INT64_MAX;
    if (stateful_is_past(event, op->q->previous_watermark_ms)) {
        s->metrics.dropped++;
        return false;
    }
    buf_clear(key);
    for (int k = 0; k < s->node->ngroup; k++)
        column_encode(key, &keys[k], i);
    struct str view = key->n ? buf_view(key) : STR("");
    if (state_get(s->store, view).p)
        return false;
    state_put(s->store, view, str_make(&event, sizeof event));
    s->least_expiry_us = event < s->least_expiry_us ? event : s->least_expiry_us;
    s->metrics.updated++;
    return true;
}

static void evict_keys(struct keyed *op)
{
    struct stateful *s = op->s;
    struct str key, value;
    size_t at = 0;
    int64_t watermark_ms = op->q->current.watermark_ms, event;
    s->metrics.total = (int64_t)state_keys(s->store);
    if (s->node->watermark_column < 0 || s->least_expiry_us > watermark_ms * 1000)
        return;
    int64_t start = os_mono_ns();
    s->least_expiry_us = INT64_MAX;
    while (state_next(s->store, &at, &key, &value)) {
        memcpy(&event, value.p, sizeof event);
        if (stateful_is_past(event, watermark_ms)) {
            state_remove(s->store, key);
            s->metrics.removed++;
        } else {
            s->least_expiry_us = event < s->least_expiry_us ? event : s->least_expiry_us;
        }
    }
    s->metrics.total = (int64_t)state_keys(s->store);
    s->metrics.remove_ns += os_mono_ns() - start;
}

static void pick(struct op *op, const struct batch_cols *in, const uint32_t *rows, uint32_t n, struct batch_cols **out)
{
    *out = ARENA_NEW(op->arena, struct batch_cols);
    **out = (struct batch_cols){in->schema, n, ARENA_ARRAY(op->arena, (size_t)in->schema->nfields + 1, struct column)};
    for (int c = 0; c < in->schema->nfields; c++)
        column_gather(&(*out)->cols[c], &in->cols[c], rows, n, op->arena);
}

static enum err dedup_batch(struct keyed *op, const struct batch_cols *in, struct batch_cols **out, struct fault *f)
{
    struct arena *a = op->op.arena;
    const struct plan_node *node = op->s->node;
    struct eval ev = {.arena = a, .in = in, .now_us = op->op.env->now_us, .zone = op->op.env->zone, .fault = f};
    struct column *keys = ARENA_ARRAY(a, (size_t)node->ngroup + 1, struct column);
    uint32_t *rows = ARENA_ARRAY(a, in->n + 1u, uint32_t), n = 0;
    struct buf key = {0};
    for (int k = 0; k < node->ngroup; k++) {
        enum err e = expr_eval(node->group[k], &ev, &keys[k]);
        if (e)
            return e;
    }
    for (uint32_t i = 0; i < in->n; i++)
        if (first_time(op, keys, i, &key))
            rows[n++] = i;
    buf_free(&key);
    pick(&op->op, in, rows, n, out);
    return ERR_OK;
}

static enum err dedup_next(struct op *base, struct batch_cols **out, struct fault *f)
{
    struct keyed *op = (struct keyed *)base;
    struct batch_cols *in;
    *out = NULL;
    while (!op->is_done) {
        enum err e = op_next(base->child, &in, f);
        if (e)
            return e;
        if (!in) {
            op->is_done = true;
            evict_keys(op);
            return ERR_OK;
        }
        arena_reset(base->arena);
        if ((e = dedup_batch(op, in, out, f)) || (*out)->n)
            return e;
    }
    *out = NULL;
    return ERR_OK;
}

static const struct op_class DEDUP = {"StreamingDeduplicate", dedup_next, NULL};

/* A limit counts over all batches: StreamingGlobalLimitExec. */
static enum err limit_next(struct op *base, struct batch_cols **out, struct fault *f)
{
    struct keyed *op = (struct keyed *)base;
    struct batch_cols *in;
    int64_t passed = 0;
    struct str was = state_get(op->s->store, STR(""));
    if (was.n == sizeof passed)
        memcpy(&passed, was.p, sizeof passed);
    *out = NULL;
    if (passed >= op->s->node->limit && op->s->node->limit >= 0)
        return ERR_OK;
    enum err e = op_next(base->child, &in, f);
    if (e || !in)
        return e;
    int64_t left = op->s->node->limit < 0 ? in->n : op->s->node->limit - passed;
    uint32_t n = in->n < left ? in->n : (uint32_t)left;
    arena_reset(base->arena);
    *out = ARENA_NEW(base->arena, struct batch_cols);
    **out =
        (struct batch_cols){in->schema, n, ARENA_ARRAY(base->arena, (size_t)in->schema->nfields + 1, struct column)};
    for (int c = 0; c < in->schema->nfields; c++)
        column_slice(&(*out)->cols[c], &in->cols[c], 0, n, base->arena);
    passed += n;
    state_put(op->s->store, STR(""), str_make(&passed, sizeof passed));
    op->s->metrics.updated = op->s->metrics.total = 1;
    return ERR_OK;
}

static const struct op_class LIMIT = {"StreamingGlobalLimit", limit_next, NULL};

enum err stateful_operator(struct query *q, const struct plan_node *node, struct op *child, struct op **out,
                           struct fault *f)
{
    struct stateful *s = q->stateful;
    (void)f;
    *out = NULL;
    while (s && s->node != node)
        s = s->next;
    if (!s)
        return ERR_OK;
    s->metrics = (struct state_metrics){.total = s->store ? (int64_t)state_keys(s->store) : 0};
    if (node->kind == PLAN_AGGREGATE) {
        *out = aggregate_operator(q, s, child);
        return ERR_OK;
    }
    struct keyed *op = op_new(sizeof *op, node->kind == PLAN_DEDUP ? &DEDUP : &LIMIT, node, &q->env, child);
    op->q = q;
    op->s = s;
    *out = &op->op;
    return ERR_OK;
}
