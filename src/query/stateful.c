/*
 * What a query's nodes remember between batches: groups of an aggregation, keys met by dropDuplicates, rows let through by
 * a limit; as Spark's StateStoreSaveExec, StreamingDeduplicateExec and StreamingGlobalLimitExec treat them.
 *
 *   rows ─▶ partial tables, one per thread ─▶ merged into the node's table ─▶ late groups dropped ─▶ out by mode ─▶ evicted
 *
 * A group is late when its event time is at or before the watermark of the batch before (Spark drops by the one and evicts
 * by the other since 3.5), and evicted when it is at or before the batch's own. What was touched goes to the commit.
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
    if (n->kind == PLAN_AGGREGATE)
        e = agg_table_new(n, &q->memory, &s->table, f);
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
    struct stateful *s = ((struct query *)arg)->stateful;
    while (s && store--)
        s = s->next;
    if (!s)
        return FAULT(f, ERR_CORRUPT, {"what", "The checkpoint"}, {"detail", "it holds state of an unknown operator"});
    if (s->store) {
        state_load(s->store, key, value);
        return ERR_OK;
    }
    bool created;
    struct agg_group *g = agg_table_find(s->table, key, value.p != NULL, &created);
    if (g && !created) { /* a later state of the group replaces it */
        agg_table_remove(s->table, g);
        g = value.p ? agg_table_find(s->table, key, true, &created) : NULL;
    }
    return g && value.p ? agg_table_merge_saved(s->table, g, value, f) : ERR_OK;
}

enum err stateful_open(struct query *q, struct fault *f)
{
    enum err e = collect(q, q->plan->root, f);
    if (!e)
        e = checkpoint_replay(q->checkpoint, load, q, f);
    for (struct stateful *s = q->stateful; !e && s; s = s->next)
        if (s->table)
            e = agg_table_clear_touched(s->table, f);
    return e;
}

void stateful_free(struct query *q)
{
    for (struct stateful *s = q->stateful; s; s = s->next) {
        agg_table_free(s->table);
        state_free(s->store);
        buf_free(&s->changes);
        buf_free(&s->saved);
    }
    q->stateful = NULL;
}

static uint32_t number_of(const struct query *q, const struct stateful *s)
{
    uint32_t n = 0;
    for (const struct stateful *t = q->stateful; t != s; t = t->next)
        n++;
    return n;
}

bool stateful_wants_no_data(const struct query *q)
{
    for (const struct stateful *s = q->stateful; s && q->nwatermarks; s = s->next)
        if (s->node->kind == PLAN_DEDUP || (s->node->kind == PLAN_AGGREGATE && q->options.mode != OUTPUT_COMPLETE))
            return true;
    return false;
}

size_t stateful_changes(struct query *q, struct str *texts)
{
    size_t n = 0;
    for (struct stateful *s = q->stateful; s; s = s->next)
        texts[n++] = buf_view(s->store ? state_changes(s->store) : &s->changes);
    return n;
}

/* -- snapshots ---------------------------------------------------------------------------------------------------------------- */

struct fill {
    struct query *q;
    struct stateful *s;
    size_t at;
};

/* One entry of the node's state; false at its end. */
static bool fill_one(struct fill *fill, struct buf *chunk)
{
    struct stateful *s = fill->s;
    uint32_t store = number_of(fill->q, s);
    struct str key, value;
    if (s->store) {
        if (!state_next(s->store, &fill->at, &key, &value))
            return false;
        state_change_put(chunk, store, key, value);
        return true;
    }
    struct agg_group *g = agg_table_next(s->table, &fill->at);
    if (!g)
        return false;
    buf_clear(&s->saved);
    agg_table_save(s->table, g, &s->saved);
    state_change_put(chunk, store, g->key, buf_view(&s->saved));
    return true;
}

static enum err fill_chunk(void *arg, struct buf *chunk, bool *more, struct fault *f)
{
    struct fill *fill = arg;
    (void)f;
    while (fill->s && chunk->n < CHUNK_BYTES)
        if (!fill_one(fill, chunk)) {
            fill->s = fill->s->next;
            fill->at = 0;
        }
    *more = fill->s != NULL;
    return ERR_OK;
}

enum err stateful_committed(struct query *q, struct fault *f)
{
    size_t bytes = 0;
    for (struct stateful *s = q->stateful; s; s = s->next) {
        bytes += s->store ? state_bytes(s->store) : agg_table_bytes(s->table);
        buf_clear(s->store ? state_changes(s->store) : &s->changes);
        if (s->changes.cap > CHUNK_BYTES)
            buf_free(&s->changes);
        enum err e = s->table ? agg_table_clear_touched(s->table, f) : ERR_OK;
        if (e)
            return e;
    }
    if (checkpoint_changes_bytes(q->checkpoint) < SNAPSHOT_BYTES + 4 * (uint64_t)bytes)
        return ERR_OK;
    return checkpoint_snapshot(q->checkpoint, fill_chunk, &(struct fill){q, q->stateful, 0}, f);
}

/* -- expiry --------------------------------------------------------------------------------------------------------------------- */

/* The event time of a key column, microseconds; a window's is its end. INT64_MAX for null: it never expires. */
static int64_t event_us(const struct stateful *s, const struct column *key, uint32_t i)
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

static bool at_or_before(int64_t event, int64_t watermark_ms)
{
    return event != INT64_MAX && event <= watermark_ms * 1000;
}

/* -- aggregation ------------------------------------------------------------------------------------------------------------------ */

struct part { /* of a range, on one thread */
    struct query *q;
    const struct plan_node *node;
    struct op_env env;
    int i, n;
    struct agg_table *table;
    enum err err;
    struct fault fault;
};
struct aggregate {
    struct op op;
    struct query *q;
    struct stateful *s;
    bool is_ready;
    VEC(struct agg_group *) out;
    size_t at;
};

static enum err part_scan(void *arg, const struct plan_node *scan, struct op **out, struct fault *f)
{
    struct part *p = arg;
    return exec_scan(p->q, &p->env, scan, p->i, p->n, out, f);
}

static void part_event_time(void *arg, const struct plan_node *node, int64_t max_us, int64_t min_us, int64_t sum_us,
                            int64_t n)
{
    exec_event_time(((struct part *)arg)->q, node, max_us, min_us, sum_us, n);
}

static enum err add_all(struct op *child, struct agg_table *t, const struct op_env *env, struct fault *f)
{
    struct eval ev = {.arena = arena_new(0), .now_us = env->now_us, .zone = env->zone, .fault = f};
    struct batch_cols *rows;
    enum err e;
    while (!(e = op_next(child, &rows, f)) && rows) {
        arena_reset(ev.arena);
        if (rows->n && (e = agg_table_add((struct agg_shards){&t, 1, 1}, rows, &ev, f)))
            break;
    }
    arena_free(ev.arena);
    return e;
}

static void part_run(void *arg, int i)
{
    struct part *p = (struct part *)arg + i;
    struct op *op = NULL;
    p->env = p->q->env;
    p->env.arg = p;
    p->env.open_scan = part_scan;
    p->env.open_stateful = NULL;
    p->env.event_time = part_event_time;
    p->err = op_build(p->node->children[0], &p->env, &op, &p->fault);
    if (!p->err)
        p->err = add_all(op, p->table, &p->env, &p->fault);
    op_close(op);
}

/* The first part goes straight into the node's table, the others into tables of their own, merged afterwards. */
static enum err read_in_parts(struct query *q, struct stateful *s, struct fault *f)
{
    struct query_source *src = &q->sources[0];
    if (str_eq(src->start, src->end))
        return ERR_OK;
    int n = source_parts(src->source, src->start, src->end, os_cpus());
    struct part *parts = calloc((size_t)n, sizeof *parts);
    enum err e = parts ? ERR_OK : FAULT(f, ERR_NOMEM, {"what", "a batch"});
    for (int i = 0; !e && i < n; i++) {
        parts[i] = (struct part){.q = q, .node = s->node, .i = i, .n = n, .table = s->table};
        if (i)
            e = agg_table_new(s->node, &q->memory, &parts[i].table, f);
    }
    if (!e && n == 1)
        part_run(parts, 0);
    else if (!e)
        pool_run(q->manager->pool, part_run, parts, n);
    for (int i = 0; !e && i < n; i++)
        if ((e = parts[i].err))
            *f = parts[i].fault;
    for (int i = 1; parts && i < n; i++) {
        if (!e)
            e = agg_table_merge(s->table, parts[i].table, 0, (struct agg_shards){NULL, 1, 1}, f);
        agg_table_free(parts[i].table);
    }
    free(parts);
    return e;
}

/* The event times of n groups, decoded BATCH_ROWS at a time. */
static void group_events(const struct stateful *s, struct agg_group *const *groups, size_t n, int64_t *out,
                         struct arena *a)
{
    struct column *keys = ARENA_ARRAY(a, (size_t)s->node->ngroup, struct column);
    for (size_t from = 0; from < n; from += BATCH_ROWS) {
        uint32_t rows = n - from < BATCH_ROWS ? (uint32_t)(n - from) : BATCH_ROWS;
        arena_reset(a);
        keys = ARENA_ARRAY(a, (size_t)s->node->ngroup, struct column);
        for (int k = 0; k < s->node->ngroup; k++)
            column_alloc(&keys[k], s->node->group[k]->type, rows, a);
        for (uint32_t i = 0; i < rows; i++) {
            agg_table_key(s->table, groups[from + i], keys, i, a);
            out[from + i] = event_us(s, &keys[s->node->watermark_column], i);
        }
    }
}

struct group_list {
    VEC(struct agg_group *) v;
    int64_t *events; /* of each, where the key has an event time */
};

static void list_events(const struct stateful *s, struct group_list *l)
{
    if (s->node->watermark_column < 0 || !l->v.n)
        return;
    struct arena *a = arena_new(0);
    if (!(l->events = calloc(l->v.n, sizeof *l->events)))
        memory_out("events of a state");
    group_events(s, l->v.p, l->v.n, l->events, a);
    arena_free(a);
}

static void list_free(struct group_list *l)
{
    vec_free(&l->v);
    free(l->events);
}

/* What this batch touched, without what came too late. */
static void touched(struct aggregate *op, struct group_list *out)
{
    struct stateful *s = op->s;
    struct group_list all = {0};
    bool drops = op->q->options.mode != OUTPUT_COMPLETE && s->node->watermark_column >= 0;
    size_t at = 0;
    for (struct agg_group *g; (g = agg_table_next_touched(s->table, &at));)
        vec_push(&all.v, g);
    list_events(s, &all);
    out->events = all.events ? calloc(all.v.n, sizeof *out->events) : NULL;
    for (size_t i = 0; i < all.v.n; i++) {
        if (drops && at_or_before(all.events[i], op->q->previous_watermark_ms)) {
            agg_table_remove(s->table, all.v.p[i]);
            s->metrics.dropped++;
            continue;
        }
        if (all.events) {
            out->events[out->v.n] = all.events[i];
            s->least_expiry_us = all.events[i] < s->least_expiry_us ? all.events[i] : s->least_expiry_us;
        }
        vec_push(&out->v, all.v.p[i]);
    }
    list_free(&all);
}

static void remember(struct aggregate *op, const struct agg_group *g)
{
    struct stateful *s = op->s;
    buf_clear(&s->saved);
    agg_table_save(s->table, g, &s->saved);
    state_change_put(&s->changes, number_of(op->q, s), g->key, buf_view(&s->saved));
}

/* Groups that the watermark has passed leave: in append mode that is when they are put out. */
static void evict(struct aggregate *op)
{
    struct stateful *s = op->s;
    struct query *q = op->q;
    struct group_list all = {0};
    int64_t start = os_mono_ns();
    if (q->options.mode == OUTPUT_COMPLETE || s->node->watermark_column < 0 ||
        s->least_expiry_us > q->current.watermark_ms * 1000)
        return;
    size_t at = 0;
    for (struct agg_group *g; (g = agg_table_next(s->table, &at));)
        vec_push(&all.v, g);
    list_events(s, &all);
    s->least_expiry_us = INT64_MAX;
    for (size_t i = 0; i < all.v.n; i++) {
        if (!at_or_before(all.events[i], q->current.watermark_ms)) {
            s->least_expiry_us = all.events[i] < s->least_expiry_us ? all.events[i] : s->least_expiry_us;
            continue;
        }
        state_change_remove(&s->changes, number_of(q, s), all.v.p[i]->key);
        agg_table_remove(s->table, all.v.p[i]);
        s->metrics.removed++;
        if (q->options.mode == OUTPUT_APPEND)
            vec_push(&op->out, all.v.p[i]);
    }
    list_free(&all);
    s->metrics.remove_ns += os_mono_ns() - start;
}

static void choose(struct aggregate *op)
{
    struct stateful *s = op->s;
    struct group_list now = {0};
    int64_t start = os_mono_ns();
    bool created;
    size_t at = 0;
    if (!s->node->ngroup)
        agg_table_find(s->table, STR(""), true, &created); /* an ungrouped aggregate has a row even of nothing */
    touched(op, &now);
    s->metrics.updated = (int64_t)now.v.n;
    for (size_t i = 0; i < now.v.n; i++)
        remember(op, now.v.p[i]);
    if (op->q->options.mode == OUTPUT_UPDATE)
        for (size_t i = 0; i < now.v.n; i++)
            vec_push(&op->out, now.v.p[i]);
    else if (op->q->options.mode == OUTPUT_COMPLETE)
        for (struct agg_group *g; (g = agg_table_next(s->table, &at));)
            vec_push(&op->out, g);
    list_free(&now);
    s->metrics.update_ns += os_mono_ns() - start;
    evict(op);
    s->metrics.total = (int64_t)agg_table_groups(s->table);
}

static enum err aggregate_next(struct op *base, struct batch_cols **out, struct fault *f)
{
    struct aggregate *op = (struct aggregate *)base;
    enum err e = ERR_OK;
    *out = NULL;
    if (!op->is_ready) {
        e = exec_reads_in_parts(op->q) ? read_in_parts(op->q, op->s, f)
                                       : add_all(base->child, op->s->table, base->env, f);
        if (e)
            return e;
        choose(op);
        op->is_ready = true;
    }
    if (op->s->changes.bad)
        return FAULT(f, ERR_NOMEM, {"what", "the changes of state of a batch"});
    if (op->at == op->out.n)
        return ERR_OK;
    uint32_t n = op->out.n - op->at < BATCH_ROWS ? (uint32_t)(op->out.n - op->at) : BATCH_ROWS;
    arena_reset(base->arena);
    *out = ARENA_NEW(base->arena, struct batch_cols);
    e = agg_table_rows(op->s->table, op->out.p + op->at, n, *out, base->arena, f);
    op->at += n;
    return e;
}

static void aggregate_close(struct op *base)
{
    vec_free(&((struct aggregate *)base)->out);
}

static const struct op_class AGGREGATE = {"StateStoreSave", aggregate_next, aggregate_close};

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
    int64_t event = column >= 0 ? event_us(s, &keys[column], i) : INT64_MAX;
    if (at_or_before(event, op->q->previous_watermark_ms)) {
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
        if (at_or_before(event, watermark_ms)) {
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
        struct aggregate *op = op_new(sizeof *op, &AGGREGATE, node, &q->env, child);
        op->q = q;
        op->s = s;
        *out = &op->op;
        return ERR_OK;
    }
    struct keyed *op = op_new(sizeof *op, node->kind == PLAN_DEDUP ? &DEDUP : &LIMIT, node, &q->env, child);
    op->q = q;
    op->s = s;
    *out = &op->op;
    return ERR_OK;
}
