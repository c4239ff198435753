/* explode, posexplode and their outer forms: one output row per element of an array or entry of a map. */
#include "operator/operator_int.h"

struct explode {
    struct op op;
    struct batch_cols *in;
    struct arena *list_arena;
    struct column list;
    uint32_t row, element; /* where the next output row comes from */
};

static enum err explode_load(struct explode *x, struct fault *f)
{
    enum err e = op_next(x->op.child, &x->in, f);
    x->row = x->element = 0;
    if (e || !x->in)
        return e;
    arena_reset(x->list_arena);
    struct eval ev = op_eval(&x->op, x->in, f);
    ev.arena = x->list_arena;
    struct column list;
    e = expr_eval(x->op.node->exprs[0], &ev, &list);
    if (!e)
        column_flatten(&x->list, &list, x->list_arena);
    return e;
}

/* Up to BATCH_ROWS (row, element) pairs; element UINT32_MAX stands for outer's null. */
static uint32_t explode_fill(struct explode *x, uint32_t *rows, uint32_t *elements, uint32_t *positions)
{
    uint32_t n = 0;
    const struct column *l = &x->list;
    for (; x->row < x->in->n && n < BATCH_ROWS; x->row++, x->element = 0) {
        uint32_t from = l->data.offsets[x->row], count = l->data.offsets[x->row + 1] - from;
        if (!col_valid(l, x->row))
            count = 0;
        if (count == 0 && x->op.node->outer) {
            rows[n] = x->row;
            positions[n] = elements[n] = UINT32_MAX;
            n++;
        }
        for (; x->element < count && n < BATCH_ROWS; x->element++, n++) {
            rows[n] = x->row;
            positions[n] = x->element;
            elements[n] = from + x->element;
        }
        if (x->element < count)
            break; /* the batch is full within this row */
    }
    return n;
}

static enum err explode_next(struct op *op, struct batch_cols **out, struct fault *f)
{
    struct explode *x = (struct explode *)op;
    for (;;) {
        if (!x->in || x->row >= x->in->n) {
            enum err e = explode_load(x, f);
            if (e || !x->in)
                return e;
        }
        arena_reset(op->arena);
        uint32_t *rows = ARENA_ARRAY(op->arena, BATCH_ROWS, uint32_t);
        uint32_t *elements = ARENA_ARRAY(op->arena, BATCH_ROWS, uint32_t);
        uint32_t *positions = ARENA_ARRAY(op->arena, BATCH_ROWS, uint32_t);
        uint32_t n = explode_fill(x, rows, elements, positions);
        if (!n)
            continue;
        struct batch_cols *b = op_batch(op, n);
        int c = 0, width = op->child->node->schema->nfields;
        for (; c < width; c++)
            column_gather(&b->cols[c], &x->in->cols[c], rows, n, op->arena);
        if (op->node->with_position) {
            struct column *pos = &b->cols[c++];
            column_alloc(pos, type_simple(TYPE_INT), n, op->arena);
            uint8_t *valid = column_valid_alloc(pos, n, op->arena);
            for (uint32_t i = 0; i < n; i++) {
                valid[i] = positions[i] != UINT32_MAX;
                pos->data.i32[i] = valid[i] ? (int32_t)positions[i] : 0;
            }
        }
        for (int child = 0; c < b->schema->nfields; c++, child++)
            column_gather(&b->cols[c], &x->list.children[child], elements, n, op->arena);
        *out = b;
        return ERR_OK;
    }
}

static void explode_close(struct op *op)
{
    arena_free(((struct explode *)op)->list_arena);
}

OP_BUILDER(op_explode)
{
    static const struct op_class class = {"Generate", explode_next, explode_close};
    (void)f;
    struct explode *x = op_new(sizeof *x, &class, node, env, child);
    x->list_arena = arena_new(0);
    *out = &x->op;
    return ERR_OK;
}
