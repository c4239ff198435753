/* Operators that look at one batch at a time: project, filter, watermark, sample. */
#include "operator/operator_int.h"

#include "base/random.h"

static enum err project_next(struct op *op, struct batch_cols **out, struct fault *f)
{
    struct batch_cols *in;
    enum err e = op_next(op->child, &in, f);
    if (e || !in)
        return e;
    arena_reset(op->arena);
    struct eval ev = op_eval(op, in, f);
    struct batch_cols *b = op_batch(op, in->n);
    for (int c = 0; c < op->node->nexprs; c++) {
        e = expr_eval(op->node->exprs[c], &ev, &b->cols[c]);
        if (e)
            return e;
    }
    *out = b;
    return ERR_OK;
}

OP_BUILDER(op_project)
{
    static const struct op_class class = {"Project", project_next, NULL};
    (void)f;
    *out = op_new(sizeof(struct op), &class, node, env, child);
    return ERR_OK;
}

/* Only the rows in `rows` of `in`, gathered into the operator's arena. */
static struct batch_cols *pick(struct op *op, const struct batch_cols *in, const uint32_t *rows, uint32_t n)
{
    struct batch_cols *b = op_batch(op, n);
    for (int c = 0; c < b->schema->nfields; c++)
        column_gather(&b->cols[c], &in->cols[c], rows, n, op->arena);
    return b;
}

static enum err filter_next(struct op *op, struct batch_cols **out, struct fault *f)
{
    for (;;) {
        struct batch_cols *in;
        enum err e = op_next(op->child, &in, f);
        if (e || !in)
            return e;
        arena_reset(op->arena);
        struct eval ev = op_eval(op, in, f);
        uint32_t *rows = ARENA_ARRAY(op->arena, in->n + 1u, uint32_t), n = 0;
        e = expr_select(op->node->exprs[0], &ev, rows, &n);
        if (e)
            return e;
        if (n == 0)
            continue;
        *out = n == in->n ? in : pick(op, in, rows, n);
        return ERR_OK;
    }
}

OP_BUILDER(op_filter)
{
    static const struct op_class class = {"Filter", filter_next, NULL};
    (void)f;
    *out = op_new(sizeof(struct op), &class, node, env, child);
    return ERR_OK;
}

static enum err watermark_next(struct op *op, struct batch_cols **out, struct fault *f)
{
    enum err e = op_next(op->child, out, f);
    if (e || !*out || !op->env->event_time)
        return e;
    const struct column *c = &(*out)->cols[op->node->watermark_column];
    if (c->type->id == TYPE_STRUCT)
        c = &c->children[1]; /* window.end */
    int64_t max = INT64_MIN, min = INT64_MAX, sum = 0, n = 0;
    for (uint32_t i = 0; i < (*out)->n; i++) {
        /* Spark reads a null as 1970 into the statistics, and so do the progress reports that must equal its own. */
        int64_t v = col_valid(c, i) ? c->data.i64[COL_AT(c, i)] : 0;
        max = v > max ? v : max;
        min = v < min ? v : min;
        sum = (int64_t)((uint64_t)sum + (uint64_t)v);
        n++;
    }
    if (n)
        op->env->event_time(op->env->arg, op->node, max, min, sum, n);
    return ERR_OK;
}

OP_BUILDER(op_watermark)
{
    static const struct op_class class = {"EventTimeWatermark", watermark_next, NULL};
    (void)f;
    *out = op_new(sizeof(struct op), &class, node, env, child);
    return ERR_OK;
}

struct sample {
    struct op op;
    uint64_t state; /* begins with the plan's seed: a rerun picks the same rows (others than Spark's XORShift) */
};

static enum err sample_next(struct op *op, struct batch_cols **out, struct fault *f)
{
    struct sample *s = (struct sample *)op;
    for (;;) {
        struct batch_cols *in;
        enum err e = op_next(op->child, &in, f);
        if (e || !in)
            return e;
        arena_reset(op->arena);
        uint32_t *rows = ARENA_ARRAY(op->arena, in->n + 1u, uint32_t), n = 0;
        for (uint32_t i = 0; i < in->n; i++) {
            double draw = random_unit(&s->state) - op->node->fraction_from;
            if (draw >= 0 && draw < op->node->fraction)
                rows[n++] = i;
        }
        if (n) {
            *out = pick(op, in, rows, n);
            return ERR_OK;
        }
    }
}

OP_BUILDER(op_sample)
{
    static const struct op_class class = {"Sample", sample_next, NULL};
    (void)f;
    struct sample *s = op_new(sizeof *s, &class, node, env, child);
    s->state = (uint64_t)node->seed;
    *out = &s->op;
    return ERR_OK;
}
