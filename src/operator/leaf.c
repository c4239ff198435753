/* Leaves that need no outside: one row, local batches, range. */
#include "operator/operator_int.h"

struct leaf {
    struct op op;
    int64_t at;
    uint64_t left;
    uint32_t row; /* of the current local batch */
};

static enum err one_row_next(struct op *op, struct batch_cols **out, struct fault *f)
{
    (void)f;
    struct leaf *l = (struct leaf *)op;
    if (l->at++)
        return ERR_OK;
    *out = op_batch(op, 1);
    return ERR_OK;
}

OP_BUILDER(op_one_row)
{
    static const struct op_class class = {"OneRowRelation", one_row_next, NULL};
    (void)f;
    *out = op_new(sizeof(struct leaf), &class, node, env, child);
    return ERR_OK;
}

/* Local batches may be of any size: they are put out in slices, so that what stands above sees at most BATCH_ROWS. */
static enum err local_next(struct op *op, struct batch_cols **out, struct fault *f)
{
    (void)f;
    struct leaf *l = (struct leaf *)op;
    arena_reset(op->arena);
    while (l->at < op->node->nbatches && l->row >= op->node->batches[l->at].n) {
        l->at++;
        l->row = 0;
    }
    if (l->at >= op->node->nbatches)
        return ERR_OK;
    const struct batch_cols *in = &op->node->batches[l->at];
    uint32_t n = in->n - l->row < BATCH_ROWS ? in->n - l->row : BATCH_ROWS;
    struct batch_cols *b = op_batch(op, n);
    for (int c = 0; c < b->schema->nfields; c++)
        column_slice(&b->cols[c], &in->cols[op->node->wanted ? op->node->wanted[c] : c], l->row, n, op->arena);
    l->row += n;
    *out = b;
    return ERR_OK;
}

OP_BUILDER(op_local)
{
    static const struct op_class class = {"LocalTableScan", local_next, NULL};
    (void)f;
    *out = op_new(sizeof(struct leaf), &class, node, env, child);
    return ERR_OK;
}

static enum err range_next(struct op *op, struct batch_cols **out, struct fault *f)
{
    (void)f;
    struct leaf *l = (struct leaf *)op;
    arena_reset(op->arena);
    if (!l->left)
        return ERR_OK;
    uint32_t n = l->left < BATCH_ROWS ? (uint32_t)l->left : BATCH_ROWS;
    struct batch_cols *b = op_batch(op, n);
    if (b->schema->nfields) { /* pruned away by count(*) */
        column_alloc(&b->cols[0], type_simple(TYPE_LONG), n, op->arena);
        for (uint32_t i = 0; i < n; i++)
            b->cols[0].data.i64[i] = (int64_t)((uint64_t)l->at + (uint64_t)op->node->step * i);
    }
    l->at = (int64_t)((uint64_t)l->at + (uint64_t)op->node->step * n);
    l->left -= n;
    *out = b;
    return ERR_OK;
}

OP_BUILDER(op_range)
{
    static const struct op_class class = {"Range", range_next, NULL};
    if (node->step == 0) {
        op_close(child);
        return fault_internal(f, "range() with step 0");
    }
    struct leaf *l = op_new(sizeof *l, &class, node, env, child);
    __int128 span = (__int128)node->end - node->start;
    __int128 n = span / node->step + (span % node->step != 0);
    l->left = span == 0 || (span > 0) != (node->step > 0) ? 0 : (uint64_t)n;
    l->at = node->start;
    *out = &l->op;
    return ERR_OK;
}
