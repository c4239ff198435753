/*
 * Sliding windows: a row becomes one row per window that holds its time (Spark's TimeWindowing rule: an Expand followed
 * by a filter). Rows whose time is null belong to no window.
 */
#include "operator/operator_int.h"

#include "base/limit.h"

struct expand {
    struct op op;
    const struct batch_cols *in; /* the child's batch being expanded; its times are in `times` */
    struct arena *time_arena;
    struct column times;
    uint32_t at;
};

/* Start of the last window that may hold ts: TimeWindowing's lastStart. */
static int64_t last_start(const struct window_spec *w, int64_t ts)
{
    int64_t rest = (ts - w->start_us) % w->slide_us;
    return ts - rest - (rest < 0 ? w->slide_us : 0);
}

/* Expand rows from x->at on until the output is full or the input is used up; returns the rows made. */
static uint32_t fill(struct expand *x, uint32_t *rows, int64_t *starts, uint32_t cap)
{
    const struct window_spec *w = &x->op.node->window;
    uint32_t n = 0;
    for (; x->at < x->in->n; x->at++) {
        if (!col_valid(&x->times, x->at))
            continue;
        int64_t ts = x->times.data.i64[COL_AT(&x->times, x->at)];
        int64_t first = last_start(w, ts);
        uint32_t need = 0;
        for (int64_t s = first; s > ts - w->duration_us; s -= w->slide_us)
            need++;
        if (n + need > cap && n > 0)
            break;
        for (int64_t s = first; s > ts - w->duration_us && n < cap; s -= w->slide_us) {
            rows[n] = x->at;
            starts[n++] = s;
        }
    }
    return n;
}

static enum err expand_load(struct expand *x, struct fault *f)
{
    struct batch_cols *in;
    enum err e = op_next(x->op.child, &in, f);
    x->in = in;
    x->at = 0;
    if (e || !in)
        return e;
    arena_reset(x->time_arena);
    struct eval ev = op_eval(&x->op, in, f);
    ev.arena = x->time_arena;
    return expr_eval(x->op.node->exprs[0], &ev, &x->times);
}

static void window_column(struct expand *x, struct column *out, const int64_t *starts, uint32_t n)
{
    const struct plan_node *node = x->op.node;
    column_alloc(out, node->schema->fields[node->window_column].type, n, x->op.arena);
    for (int side = 0; side < 2; side++) {
        column_alloc(&out->children[side], out->type->fields[side].type, n, x->op.arena);
        for (uint32_t i = 0; i < n; i++)
            out->children[side].data.i64[i] = starts[i] + (side ? node->window.duration_us : 0);
    }
}

static enum err expand_next(struct op *op, struct batch_cols **out, struct fault *f)
{
    struct expand *x = (struct expand *)op;
    const struct window_spec *w = &op->node->window;
    /* One row's windows must fit a batch whatever the ratio; the planner bounds duration / slide. */
    uint32_t cap = BATCH_ROWS + (uint32_t)(w->duration_us / w->slide_us) + 1;
    for (;;) {
        if (!x->in || x->at >= x->in->n) {
            enum err e = expand_load(x, f);
            if (e || !x->in)
                return e;
        }
        arena_reset(op->arena);
        uint32_t *rows = ARENA_ARRAY(op->arena, cap, uint32_t);
        int64_t *starts = ARENA_ARRAY(op->arena, cap, int64_t);
        uint32_t n = fill(x, rows, starts, cap);
        if (!n)
            continue;
        struct batch_cols *b = op_batch(op, n);
        for (int c = 0; c < b->schema->nfields; c++)
            if (c != op->node->window_column)
                column_gather(&b->cols[c], &x->in->cols[c], rows, n, op->arena);
        window_column(x, &b->cols[op->node->window_column], starts, n);
        *out = b;
        return ERR_OK;
    }
}

static void expand_close(struct op *op)
{
    arena_free(((struct expand *)op)->time_arena);
}

OP_BUILDER(op_expand_window)
{
    static const struct op_class class = {"Expand", expand_next, expand_close};
    if (node->window.slide_us <= 0 || node->window.duration_us / node->window.slide_us > LIMIT_WINDOWS) {
        op_close(child);
        return LIMIT_FAULT(f, WINDOWS);
    }
    struct expand *x = op_new(sizeof *x, &class, node, env, child);
    x->time_arena = arena_new(0);
    *out = &x->op;
    return ERR_OK;
}
