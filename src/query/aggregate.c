/*
 * A streaming aggregation. State is partitioned as Spark partitions it, by the Murmur3 hash of the keys over
 * spark.sql.shuffle.partitions, and the partitions are dealt out to shards, one per thread that may work on them:
 *
 *   range of a batch, in parts          exchange: each shard takes its groups       then each by itself
 *   part 0 ─▶ straight into the shards                                              ┐
 *   part 1 ─▶ partial table ─┬────────▶ shard 0 (partitions 0, 2, 4 …)  ─▶ late groups dropped ─▶ out by mode ─▶ evicted
 *   part 2 ─▶ partial table ─┴────────▶ shard 1 (partitions 1, 3, 5 …)  ─▶ …
 *
 * Rows go out ordered by partition, so that their order does not depend on the number of shards.
 */
#include "query/query_int.h"

#include "base/memory.h"

#include <stdlib.h>

enum { CHANGES_KEPT = 1 << 20, GROUPS_PER_THREAD = 4096 }; /* fewer are done before another thread has woken up */

/* -- shards ------------------------------------------------------------------------------------------------------------------ */

static struct agg_shards shards_of(const struct query *q, const struct stateful *s)
{
    return (struct agg_shards){s->tables, s->nshards, (uint32_t)q->shuffle_partitions};
}

/* States that grow (strings, lists) live in a table's own memory: rows of a batch cannot go to several tables at once. */
enum err aggregate_open(struct query *q, struct stateful *s, struct fault *f)
{
    struct agg_table *first;
    enum err e = agg_table_new(s->node, &q->memory, &first, f);
    if (e)
        return e;
    int64_t want = agg_table_is_plain(first) ? q->manager->threads : 1;
    uint32_t n = (uint32_t)(want < q->shuffle_partitions ? want : q->shuffle_partitions);
    s->shards = ARENA_ARRAY(q->arena, n, struct shard);
    s->tables = ARENA_ARRAY(q->arena, n, struct agg_table *);
    for (uint32_t i = 0; !e && i < n; i++) {
        if (i)
            e = agg_table_new(s->node, &q->memory, &first, f);
        if (e)
            return e;
        s->tables[i] = s->shards[i].table = first;
        s->shards[i].least_expiry_us = INT64_MIN;
        s->nshards++;
    }
    return ERR_OK;
}

void aggregate_free(struct stateful *s)
{
    for (uint32_t i = 0; i < s->nshards; i++) {
        struct shard *shard = &s->shards[i];
        agg_table_free(shard->table);
        buf_free(&shard->changes);
        buf_free(&shard->saved);
        vec_free(&shard->out);
    }
    s->nshards = 0;
}

static struct agg_table *table_of(const struct query *q, const struct stateful *s, struct str key)
{
    if (s->nshards == 1)
        return s->tables[0];
    return s->tables[agg_partition(agg_table_hash(s->tables[0], key), (uint32_t)q->shuffle_partitions) % s->nshards];
}

enum err aggregate_load(struct query *q, struct stateful *s, struct str key, struct str value, struct fault *f)
{
    bool created;
    struct agg_table *t = table_of(q, s, key);
    struct agg_group *g = agg_table_find(t, key, value.p != NULL, &created);
    if (g && !created) { /* a later state of the group replaces it */
        agg_table_remove(t, g);
        g = value.p ? agg_table_find(t, key, true, &created) : NULL;
    }
    return g && value.p ? agg_table_merge_saved(t, g, value, f) : ERR_OK;
}

enum err aggregate_committed(struct stateful *s, struct fault *f)
{
    for (uint32_t i = 0; i < s->nshards; i++) {
        struct shard *shard = &s->shards[i];
        buf_clear(&shard->changes);
        if (shard->changes.cap > CHANGES_KEPT)
            buf_free(&shard->changes);
        enum err e = agg_table_clear_touched(shard->table, f);
        if (e)
            return e;
    }
    return ERR_OK;
}

/* -- reading ----------------------------------------------------------------------------------------------------------------- */

struct aggregate {
    struct op op;
    struct query *q;
    struct stateful *s;
    bool is_ready;
    VEC(struct agg_group *) out;
    size_t at;
};

static enum err add_all(struct op *child, struct agg_shards to, const struct op_env *env, struct fault *f)
{
    struct eval ev = {.arena = arena_new(0), .now_us = env->now_us, .zone = env->zone, .fault = f};
    struct batch_cols *rows;
    enum err e;
    while (!(e = op_next(child, &rows, f)) && rows) {
        arena_reset(ev.arena);
        if (rows->n && (e = agg_table_add(to, rows, &ev, f)))
            break;
    }
    arena_free(ev.arena);
    return e;
}

struct exchange { /* of the partial tables of parts 1, 2 … */
    struct aggregate *op;
    struct agg_table **partial;
    int n;
    struct fault *faults; /* of the shards */
    enum err *errs;
};

static enum err read_part(void *arg, struct exec_part *part, struct op *op)
{
    struct exchange *x = arg;
    struct agg_shards to = part->i ? (struct agg_shards){&x->partial[part->i], 1, 1} : shards_of(part->q, x->op->s);
    return add_all(op, to, &part->env, &part->fault);
}

static void take_groups(void *arg, int shard)
{
    struct exchange *x = arg;
    struct stateful *s = x->op->s;
    for (int i = 1; i < x->n && !x->errs[shard]; i++)
        x->errs[shard] = agg_table_merge(s->tables[shard], x->partial[i], (uint32_t)shard, shards_of(x->op->q, s),
                                         &x->faults[shard]);
}

static enum err exchange(struct exchange *x, struct fault *f)
{
    struct stateful *s = x->op->s;
    pool_run(x->op->q->manager->pool, take_groups, x, (int)s->nshards);
    for (uint32_t i = 0; i < s->nshards; i++)
        if (x->errs[i]) {
            *f = x->faults[i];
            return x->errs[i];
        }
    return ERR_OK;
}

/* The first part goes straight into the node's shards, the others into tables of their own, merged afterwards. */
static enum err read_in_parts(struct aggregate *op, int n, struct fault *f)
{
    struct query *q = op->q;
    struct exchange x = {op, calloc((size_t)n, sizeof *x.partial), n, calloc(op->s->nshards, sizeof *x.faults),
                         calloc(op->s->nshards, sizeof *x.errs)};
    enum err e = x.partial && x.faults && x.errs ? ERR_OK : FAULT(f, ERR_NOMEM, {"what", "a batch"});
    for (int i = 1; !e && i < n; i++)
        e = agg_table_new(op->s->node, &q->memory, &x.partial[i], f);
    if (!e)
        e = exec_in_parts(q, op->s->node->children[0], n, false, read_part, &x, f);
    if (!e && n > 1)
        e = exchange(&x, f);
    for (int i = 1; x.partial && i < n; i++)
        agg_table_free(x.partial[i]);
    free(x.partial);
    free(x.faults);
    free(x.errs);
    return e;
}

/* -- event times ------------------------------------------------------------------------------------------------------------- */

/* The event times of n groups, decoded BATCH_ROWS at a time. */
static void group_events(const struct stateful *s, struct agg_group *const *groups, size_t n, int64_t *out,
                         struct arena *a)
{
    for (size_t from = 0; from < n; from += BATCH_ROWS) {
        uint32_t rows = n - from < BATCH_ROWS ? (uint32_t)(n - from) : BATCH_ROWS;
        arena_reset(a);
        struct column *keys = ARENA_ARRAY(a, (size_t)s->node->ngroup, struct column);
        for (int k = 0; k < s->node->ngroup; k++)
            column_alloc(&keys[k], s->node->group[k]->type, rows, a);
        for (uint32_t i = 0; i < rows; i++) {
            agg_table_key(s->tables[0], groups[from + i], keys, i, a);
            out[from + i] = stateful_event_us(s, &keys[s->node->watermark_column], i);
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

/* -- what goes out, what stays: one shard, on one thread -------------------------------------------------------------------- */

static void remember(const struct stateful *s, struct shard *shard, const struct agg_group *g)
{
    buf_clear(&shard->saved);
    agg_table_save(shard->table, g, &shard->saved);
    state_change_put(&shard->changes, s->number, g->key, buf_whole(&shard->saved, "a group's state"));
}

/* What this batch touched, without what came too late. */
static void take_touched(const struct query *q, const struct stateful *s, struct shard *shard)
{
    struct group_list all = {0};
    bool drops = q->options.mode != OUTPUT_COMPLETE && s->node->watermark_column >= 0;
    size_t at = 0;
    for (struct agg_group *g; (g = agg_table_next_touched(shard->table, &at));)
        vec_push(&all.v, g);
    list_events(s, &all);
    for (size_t i = 0; i < all.v.n; i++) {
        struct agg_group *g = all.v.p[i];
        if (drops && stateful_is_past(all.events[i], q->previous_watermark_ms)) {
            agg_table_remove(shard->table, g);
            shard->metrics.dropped++;
            continue;
        }
        if (all.events && all.events[i] < shard->least_expiry_us)
            shard->least_expiry_us = all.events[i];
        shard->metrics.updated++;
        remember(s, shard, g);
        if (q->options.mode == OUTPUT_UPDATE)
            vec_push(&shard->out, g);
    }
    list_free(&all);
}

/* Groups that the watermark has passed leave: in append mode that is when they are put out. */
static void evict(const struct query *q, const struct stateful *s, struct shard *shard)
{
    struct group_list all = {0};
    int64_t start = os_mono_ns();
    if (q->options.mode == OUTPUT_COMPLETE || s->node->watermark_column < 0 ||
        shard->least_expiry_us > q->current.watermark_ms * 1000)
        return;
    size_t at = 0;
    for (struct agg_group *g; (g = agg_table_next(shard->table, &at));)
        vec_push(&all.v, g);
    list_events(s, &all);
    shard->least_expiry_us = INT64_MAX;
    for (size_t i = 0; i < all.v.n; i++) {
        if (!stateful_is_past(all.events[i], q->current.watermark_ms)) {
            if (all.events[i] < shard->least_expiry_us)
                shard->least_expiry_us = all.events[i];
            continue;
        }
        state_change_remove(&shard->changes, s->number, all.v.p[i]->key);
        agg_table_remove(shard->table, all.v.p[i]);
        shard->metrics.removed++;
        if (q->options.mode == OUTPUT_APPEND)
            vec_push(&shard->out, all.v.p[i]);
    }
    list_free(&all);
    shard->metrics.remove_ns += os_mono_ns() - start;
}

static void choose(void *arg, int i)
{
    struct aggregate *op = arg;
    const struct query *q = op->q;
    struct shard *shard = &op->s->shards[i];
    int64_t start = os_mono_ns();
    size_t at = 0;
    shard->metrics = (struct state_metrics){0};
    shard->out.n = 0;
    take_touched(q, op->s, shard);
    if (q->options.mode == OUTPUT_COMPLETE)
        for (struct agg_group *g; (g = agg_table_next(shard->table, &at));)
            vec_push(&shard->out, g);
    shard->metrics.update_ns += os_mono_ns() - start;
    evict(q, op->s, shard);
    shard->metrics.total = (int64_t)agg_table_groups(shard->table);
}

/* -- the operator ------------------------------------------------------------------------------------------------------------- */

/* The shards' groups by partition, each partition's in its shard's order: a counting sort. */
static void gather_out(struct aggregate *op)
{
    struct stateful *s = op->s;
    uint32_t partitions = (uint32_t)op->q->shuffle_partitions;
    size_t *at = calloc((size_t)partitions + 1, sizeof *at), n = 0;
    if (!at)
        memory_out("the rows of a batch");
    for (uint32_t i = 0; i < s->nshards; i++)
        for (size_t k = 0; k < s->shards[i].out.n; k++, n++)
            at[agg_partition(s->shards[i].out.p[k]->hash, partitions) + 1]++;
    for (uint32_t p = 0; p < partitions; p++)
        at[p + 1] += at[p];
    vec_reserve(&op->out, n);
    op->out.n = n;
    for (uint32_t i = 0; i < s->nshards; i++) {
        struct shard *shard = &s->shards[i];
        for (size_t k = 0; k < shard->out.n; k++)
            op->out.p[at[agg_partition(shard->out.p[k]->hash, partitions)]++] = shard->out.p[k];
        vec_free(&shard->out);
    }
    free(at);
}

static void add_metrics(struct state_metrics *to, const struct state_metrics *m)
{
    to->total += m->total;
    to->updated += m->updated;
    to->removed += m->removed;
    to->dropped += m->dropped;
    to->update_ns += m->update_ns; /* of all threads, as Spark adds its tasks' */
    to->remove_ns += m->remove_ns;
}

static enum err run(struct aggregate *op, struct fault *f)
{
    struct query *q = op->q;
    struct stateful *s = op->s;
    bool created;
    int n = q->reads_in_parts ? exec_parts(q, s->node->children[0], false) : 0;
    enum err e = n > 0 ? read_in_parts(op, n, f) : add_all(op->op.child, shards_of(q, s), op->op.env, f);
    if (e)
        return e;
    if (!s->node->ngroup) /* an ungrouped aggregate has a row even of nothing */
        agg_table_find(table_of(q, s, STR("")), STR(""), true, &created);
    size_t groups = 0;
    for (uint32_t i = 0; i < s->nshards; i++)
        groups += agg_table_groups(s->tables[i]);
    if (groups >= GROUPS_PER_THREAD)
        pool_run(q->manager->pool, choose, op, (int)s->nshards);
    else
        for (uint32_t i = 0; i < s->nshards; i++)
            choose(op, (int)i);
    for (uint32_t i = 0; i < s->nshards; i++) {
        add_metrics(&s->metrics, &s->shards[i].metrics);
        if (s->shards[i].changes.bad)
            return FAULT(f, ERR_NOMEM, {"what", "the changes of state of a batch"});
    }
    gather_out(op);
    return ERR_OK;
}

static enum err aggregate_next(struct op *base, struct batch_cols **out, struct fault *f)
{
    struct aggregate *op = (struct aggregate *)base;
    enum err e = op->is_ready ? ERR_OK : run(op, f);
    *out = NULL;
    op->is_ready = true;
    if (e || op->at == op->out.n)
        return e;
    uint32_t n = op->out.n - op->at < BATCH_ROWS ? (uint32_t)(op->out.n - op->at) : BATCH_ROWS;
    arena_reset(base->arena);
    *out = ARENA_NEW(base->arena, struct batch_cols);
    e = agg_table_rows(op->s->tables[0], op->out.p + op->at, n, *out, base->arena, f);
    op->at += n;
    return e;
}

static void aggregate_close(struct op *base)
{
    vec_free(&((struct aggregate *)base)->out);
}

struct op *aggregate_operator(struct query *q, struct stateful *s, struct op *child)
{
    static const struct op_class class = {"StateStoreSave", aggregate_next, aggregate_close};
    struct aggregate *op = op_new(sizeof *op, &class, s->node, &q->env, child);
    op->q = q;
    op->s = s;
    return &op->op;
}
