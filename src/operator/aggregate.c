/* Batch aggregation and batch deduplication: everything in, then groups out. Streams keep their groups in query/. */
#include "operator/operator_int.h"

struct aggregate {
    struct op op;
    struct agg_table *table;
    struct arena *scratch;
    size_t at;
    bool loaded;
};

static enum err aggregate_load(struct aggregate *g, struct fault *f)
{
    struct batch_cols *in;
    enum err e;
    while (!(e = op_next(g->op.child, &in, f)) && in) {
        arena_reset(g->scratch);
        struct eval ev = op_eval(&g->op, in, f);
        ev.arena = g->scratch;
        if ((e = agg_table_add((struct agg_shards){&g->table, 1, 1}, in, &ev, f)))
            return e;
    }
    /* Without GROUP BY there is one group, whatever came in. */
    if (!e && g->op.node->ngroup == 0)
        agg_table_find(g->table, STR(""), true, NULL);
    g->loaded = true;
    return e;
}

static enum err aggregate_next(struct op *op, struct batch_cols **out, struct fault *f)
{
    struct aggregate *g = (struct aggregate *)op;
    if (!g->loaded) {
        enum err e = aggregate_load(g, f);
        if (e)
            return e;
    }
    arena_reset(op->arena);
    struct agg_group **groups = ARENA_ARRAY(op->arena, BATCH_ROWS, struct agg_group *);
    uint32_t n = 0;
    while (n < BATCH_ROWS && (groups[n] = agg_table_next(g->table, &g->at)))
        n++;
    if (!n)
        return ERR_OK;
    struct batch_cols *b = ARENA_NEW(op->arena, struct batch_cols);
    enum err e = agg_table_rows(g->table, groups, n, b, op->arena, f);
    if (!e)
        *out = b;
    return e;
}

static void aggregate_close(struct op *op)
{
    agg_table_free(((struct aggregate *)op)->table);
    arena_free(((struct aggregate *)op)->scratch);
}

static enum err aggregate_new(const struct op_class *class, const struct plan_node *node, const struct op_env *env,
                              struct op *child, struct op **out, struct fault *f)
{
    struct aggregate *g = op_new(sizeof *g, class, node, env, child);
    g->scratch = arena_new(0);
    enum err e = agg_table_new(node, env->memory, &g->table, f);
    if (e)
        op_close(&g->op);
    else
        *out = &g->op;
    return e;
}

OP_BUILDER(op_aggregate)
{
    static const struct op_class class = {"HashAggregate", aggregate_next, aggregate_close};
    return aggregate_new(&class, node, env, child, out, f);
}

/* The first row of each key passes: a key is new when it makes the table grow. */
static enum err dedup_next(struct op *op, struct batch_cols **out, struct fault *f)
{
    struct aggregate *g = (struct aggregate *)op;
    for (;;) {
        struct batch_cols *in;
        enum err e = op_next(op->child, &in, f);
        if (e || !in)
            return e;
        arena_reset(op->arena);
        struct eval ev = op_eval(op, in, f);
        struct column *keys = ARENA_ARRAY(op->arena, (size_t)op->node->ngroup + 1, struct column);
        for (int k = 0; k < op->node->ngroup; k++)
            if ((e = expr_eval(op->node->group[k], &ev, &keys[k])))
                return e;
        uint32_t *rows = ARENA_ARRAY(op->arena, in->n + 1u, uint32_t), n = 0;
        struct buf key = {0};
        for (uint32_t i = 0; i < in->n; i++) {
            bool made;
            buf_clear(&key);
            for (int k = 0; k < op->node->ngroup; k++)
                column_encode(&key, &keys[k], i);
            agg_table_find(g->table, key.p ? buf_view(&key) : STR(""), true, &made);
            if (made)
                rows[n++] = i;
        }
        buf_free(&key);
        if (!n)
            continue;
        struct batch_cols *b = op_batch(op, n);
        for (int c = 0; c < b->schema->nfields; c++)
            column_gather(&b->cols[c], &in->cols[c], rows, n, op->arena);
        *out = b;
        return ERR_OK;
    }
}

OP_BUILDER(op_dedup)
{
    static const struct op_class class = {"Deduplicate", dedup_next, aggregate_close};
    return aggregate_new(&class, node, env, child, out, f);
}
