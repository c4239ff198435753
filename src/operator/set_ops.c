/* Operators that need all their input, or only some of it: sort, limit, union. */
#include "operator/operator_int.h"

#include "base/memory.h"

#include <stdlib.h>

/* -- sort: collect, then a stable merge sort of row numbers -------------------------------------------------------- */
struct sort {
    struct op op;
    struct arena *all;
    struct batch_cols in;
    struct column *keys;
    uint32_t *order;
    uint32_t at;
    bool loaded;
};

static int sort_cmp(const struct sort *s, uint32_t x, uint32_t y)
{
    const struct plan_node *node = s->op.node;
    for (int k = 0; k < node->nexprs; k++) {
        const struct column *c = &s->keys[k];
        bool vx = col_valid(c, x), vy = col_valid(c, y);
        if (!vx || !vy) {
            if (vx == vy)
                continue;
            return (vx ? 1 : -1) * (node->nulls_last[k] ? -1 : 1);
        }
        int d = column_cmp(c, x, c, y);
        if (d)
            return node->descending[k] ? -d : d;
    }
    return 0;
}

/* Bottom-up merge sort: no recursion, stable, two arrays. */
static void sort_rows(struct sort *s, uint32_t n)
{
    uint32_t *from = ARENA_ARRAY(s->all, n + 1u, uint32_t), *to = ARENA_ARRAY(s->all, n + 1u, uint32_t);
    for (uint32_t i = 0; i < n; i++)
        from[i] = i;
    for (uint64_t width = 1; width < n; width *= 2) {
        for (uint64_t lo = 0; lo < n; lo += 2 * width) {
            uint64_t mid = lo + width < n ? lo + width : n, hi = lo + 2 * width < n ? lo + 2 * width : n;
            uint64_t i = lo, j = mid;
            for (uint64_t k = lo; k < hi; k++)
                to[k] = i < mid && (j >= hi || sort_cmp(s, from[i], from[j]) <= 0) ? from[i++] : from[j++];
        }
        uint32_t *swap = from;
        from = to;
        to = swap;
    }
    s->order = from;
}

static enum err sort_load(struct sort *s, struct fault *f)
{
    enum err e = op_collect(s->op.child, s->all, &s->in, f);
    if (e)
        return e;
    s->keys = ARENA_ARRAY(s->all, (size_t)s->op.node->nexprs + 1, struct column);
    struct eval ev = op_eval(&s->op, &s->in, f);
    ev.arena = s->all;
    for (int k = 0; k < s->op.node->nexprs; k++)
        if ((e = expr_eval(s->op.node->exprs[k], &ev, &s->keys[k])))
            return e;
    sort_rows(s, s->in.n);
    s->loaded = true;
    return ERR_OK;
}

static enum err sort_next(struct op *op, struct batch_cols **out, struct fault *f)
{
    struct sort *s = (struct sort *)op;
    if (!s->loaded) {
        enum err e = sort_load(s, f);
        if (e)
            return e;
    }
    if (s->at >= s->in.n)
        return ERR_OK;
    arena_reset(op->arena);
    uint32_t n = s->in.n - s->at < BATCH_ROWS ? s->in.n - s->at : BATCH_ROWS;
    struct batch_cols *b = op_batch(op, n);
    for (int c = 0; c < b->schema->nfields; c++)
        column_gather(&b->cols[c], &s->in.cols[c], s->order + s->at, n, op->arena);
    s->at += n;
    *out = b;
    return ERR_OK;
}

static void sort_close(struct op *op)
{
    arena_free(((struct sort *)op)->all);
}

OP_BUILDER(op_sort)
{
    static const struct op_class class = {"Sort", sort_next, sort_close};
    (void)f;
    struct sort *s = op_new(sizeof *s, &class, node, env, child);
    s->all = arena_new(0);
    *out = &s->op;
    return ERR_OK;
}

/* -- limit: offset, limit; tail keeps the last rows of everything --------------------------------------------------- */
struct limit {
    struct op op;
    int64_t skip, left; /* left -1: no limit */
    struct arena *all;
    struct batch_cols in;
    bool loaded;
};

static struct batch_cols *cut(struct op *op, const struct batch_cols *in, uint32_t from, uint32_t n)
{
    struct batch_cols *b = op_batch(op, n);
    for (int c = 0; c < b->schema->nfields; c++)
        column_slice(&b->cols[c], &in->cols[c], from, n, op->arena);
    return b;
}

static enum err limit_next(struct op *op, struct batch_cols **out, struct fault *f)
{
    struct limit *l = (struct limit *)op;
    while (l->left != 0) {
        struct batch_cols *in;
        enum err e = op_next(op->child, &in, f);
        if (e || !in)
            return e;
        if (l->skip >= in->n) {
            l->skip -= in->n;
            continue;
        }
        arena_reset(op->arena);
        uint32_t from = (uint32_t)l->skip, n = in->n - from;
        l->skip = 0;
        if (l->left >= 0 && n > l->left)
            n = (uint32_t)l->left;
        l->left -= l->left >= 0 ? n : 0;
        *out = cut(op, in, from, n);
        return ERR_OK;
    }
    return ERR_OK;
}

static enum err tail_next(struct op *op, struct batch_cols **out, struct fault *f)
{
    struct limit *l = (struct limit *)op;
    if (!l->loaded) {
        enum err e = op_collect(op->child, l->all, &l->in, f);
        if (e)
            return e;
        l->loaded = true;
        l->skip = l->in.n > l->left ? l->in.n - l->left : 0;
    }
    if (l->skip >= l->in.n)
        return ERR_OK;
    arena_reset(op->arena);
    uint32_t n = l->in.n - (uint32_t)l->skip < BATCH_ROWS ? l->in.n - (uint32_t)l->skip : BATCH_ROWS;
    *out = cut(op, &l->in, (uint32_t)l->skip, n);
    l->skip += n;
    return ERR_OK;
}

static void limit_close(struct op *op)
{
    arena_free(((struct limit *)op)->all);
}

OP_BUILDER(op_limit)
{
    static const struct op_class limit_class = {"Limit", limit_next, limit_close};
    static const struct op_class tail_class = {"Tail", tail_next, limit_close};
    (void)f;
    struct limit *l = op_new(sizeof *l, node->tail ? &tail_class : &limit_class, node, env, child);
    l->skip = node->offset;
    l->left = node->limit;
    if (node->tail)
        l->all = arena_new(0);
    *out = &l->op;
    return ERR_OK;
}

/* -- union: children one after another; the planner made their types equal ------------------------------------------ */
struct union_op {
    struct op op;
    struct op **children;
    int n, at;
};

static enum err union_next(struct op *op, struct batch_cols **out, struct fault *f)
{
    struct union_op *u = (struct union_op *)op;
    for (; u->at < u->n; u->at++) {
        struct batch_cols *in;
        enum err e = op_next(u->children[u->at], &in, f);
        if (e)
            return e;
        if (in) {
            arena_reset(op->arena);
            struct batch_cols *b = op_batch(op, in->n);
            memcpy(b->cols, in->cols, (size_t)b->schema->nfields * sizeof *b->cols);
            *out = b;
            return ERR_OK;
        }
    }
    return ERR_OK;
}

static void union_close(struct op *op)
{
    struct union_op *u = (struct union_op *)op;
    for (int i = 0; i < u->n; i++)
        op_close(u->children[i]);
    free(u->children);
}

OP_BUILDER(op_union)
{
    static const struct op_class class = {"Union", union_next, union_close};
    struct union_op *u = op_new(sizeof *u, &class, node, env, child);
    u->children = calloc((size_t)node->nchildren + 1, sizeof *u->children);
    if (!u->children)
        memory_out("a union");
    for (; u->n < node->nchildren; u->n++) {
        enum err e = op_build(node->children[u->n], env, &u->children[u->n], f);
        if (e) {
            op_close(&u->op);
            return e;
        }
    }
    *out = &u->op;
    return ERR_OK;
}
