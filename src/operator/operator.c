#include "operator/operator_int.h"

#include "base/map.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>

typedef OP_BUILDER(builder);

/* Scans and stateful nodes are built by whoever runs the plan (op_env); everything else is a row here. */
static builder *const BUILDERS[] = {
    [PLAN_ONE_ROW] = op_one_row, [PLAN_LOCAL] = op_local,         [PLAN_RANGE] = op_range,
    [PLAN_PROJECT] = op_project, [PLAN_FILTER] = op_filter,       [PLAN_AGGREGATE] = op_aggregate,
    [PLAN_SORT] = op_sort,       [PLAN_LIMIT] = op_limit,         [PLAN_UNION] = op_union,
    [PLAN_JOIN] = op_join,       [PLAN_WATERMARK] = op_watermark, [PLAN_EXPAND_WINDOW] = op_expand_window,
    [PLAN_EXPLODE] = op_explode, [PLAN_DEDUP] = op_dedup,         [PLAN_SHOW] = op_show,
    [PLAN_SAMPLE] = op_sample,
};

void *op_new(size_t size, const struct op_class *class, const struct plan_node *node, const struct op_env *env,
             struct op *child)
{
    struct op *op = calloc(1, size);
    if (!op)
        memory_out("an operator");
    op->class = class;
    op->node = node;
    op->env = env;
    op->child = child;
    op->arena = arena_new(0);
    return op;
}

enum err op_build(const struct plan_node *node, const struct op_env *env, struct op **out, struct fault *f)
{
    struct op *child = NULL;
    *out = NULL;
    if (node->kind == PLAN_SCAN)
        return env->open_scan(env->arg, node, out, f);
    if (node->kind != PLAN_UNION && node->nchildren > 0) {
        enum err e = op_build(node->children[0], env, &child, f);
        if (e)
            return e;
    }
    if ((node->kind == PLAN_AGGREGATE || node->kind == PLAN_DEDUP || node->kind == PLAN_LIMIT) && env->open_stateful) {
        enum err e = env->open_stateful(env->arg, node, child, out, f);
        if (e || *out)
            return e;
    }
    if ((size_t)node->kind >= sizeof BUILDERS / sizeof *BUILDERS || !BUILDERS[node->kind]) {
        op_close(child);
        return fault_internal(f, "no operator for plan kind %d", node->kind);
    }
    return BUILDERS[node->kind](node, env, child, out, f);
}

enum err op_next(struct op *op, struct batch_cols **out, struct fault *f)
{
    *out = NULL;
    if (op->env->cancelled && __atomic_load_n(op->env->cancelled, __ATOMIC_RELAXED))
        return FAULT(f, ERR_CANCELLED);
    enum err e = op->class->next(op, out, f);
    if (!e && *out)
        op->rows += (*out)->n;
    return e;
}

void op_close(struct op *op)
{
    if (!op)
        return;
    if (op->class->close)
        op->class->close(op);
    op_close(op->child);
    arena_free(op->arena);
    free(op);
}

/* Random functions start anew with every batch: from where in the plan and in the rows it is, so that no batch repeats another. */
struct eval op_eval(const struct op *op, const struct batch_cols *in, struct fault *f)
{
    uint64_t at[] = {op->rows, op->child ? op->child->rows : 0,
                     (op->node ? (uint64_t)op->node->id : 0) | (uint64_t)op->env->part << 32};
    return (struct eval){.arena = op->arena,
                         .in = in,
                         .now_us = op->env->now_us,
                         .zone = op->env->zone,
                         .random_state = hash_bytes(at, sizeof at, 1),
                         .fault = f};
}

struct batch_cols *op_batch(struct op *op, uint32_t n)
{
    struct batch_cols *b = ARENA_NEW(op->arena, struct batch_cols);
    b->schema = op->node->schema;
    b->n = n;
    b->cols = ARENA_ARRAY(op->arena, (size_t)b->schema->nfields, struct column);
    return b;
}

enum err op_charge(struct op_memory *m, int64_t bytes, const char *who, struct fault *f)
{
    if (!m)
        return ERR_OK;
    size_t used = __atomic_add_fetch(&m->used_bytes, (size_t)bytes, __ATOMIC_RELAXED);
    if (bytes <= 0 || !m->limit_bytes || used <= m->limit_bytes)
        return ERR_OK;
    char want[32], got[32];
    snprintf(want, sizeof want, "%lld", (long long)bytes);
    snprintf(got, sizeof got, "%lld",
             (long long)(m->limit_bytes + (size_t)bytes > used ? m->limit_bytes + (size_t)bytes - used : 0));
    return FAULT(f, ERR_MEMORY, {"requestedBytes", want}, {"receivedBytes", got}, {"operator", who});
}

/* All batches copied into `a`, then joined; the copies are wasted afterwards, which only memory notices: bounded by the budget. */
enum err op_collect(struct op *op, struct arena *a, struct batch_cols *out, struct fault *f)
{
    struct arena *parts_arena = arena_new(0);
    size_t nparts = 0, cap = 0, charged = 0;
    struct batch_cols *parts = NULL, *in;
    const struct type *schema = op->node->schema;
    size_t ncols = (size_t)schema->nfields;
    enum err e;
    while (!(e = op_next(op, &in, f)) && in) {
        if (nparts == cap) {
            cap = cap ? cap * 2 : 16;
            struct batch_cols *grown = ARENA_ARRAY(parts_arena, cap, struct batch_cols);
            if (nparts)
                memcpy(grown, parts, nparts * sizeof *parts);
            parts = grown;
        }
        struct batch_cols *p = &parts[nparts++];
        p->n = in->n;
        p->cols = ARENA_ARRAY(parts_arena, ncols ? ncols : 1, struct column);
        for (size_t c = 0; c < ncols; c++)
            column_copy(&p->cols[c], &in->cols[c], parts_arena);
        size_t now = arena_bytes(parts_arena) * 2; /* the joined copy is as large again */
        e = op_charge(op->env->memory, (int64_t)(now - charged), op->class->name, f);
        charged = now;
        if (e)
            break;
    }
    if (!e) {
        out->schema = schema;
        out->n = 0;
        out->cols = ARENA_ARRAY(a, ncols ? ncols : 1, struct column);
        const struct column **cols = ARENA_ARRAY(parts_arena, nparts ? nparts : 1, const struct column *);
        for (size_t p = 0; p < nparts; p++)
            out->n += parts[p].n;
        for (size_t c = 0; c < ncols; c++) {
            for (size_t p = 0; p < nparts; p++)
                cols[p] = &parts[p].cols[c];
            struct column joined;
            if (nparts)
                column_concat(&joined, cols, nparts, parts_arena);
            else
                column_alloc(&joined, schema->fields[c].type, 0, parts_arena);
            column_copy(&out->cols[c], &joined, a);
        }
    }
    arena_free(parts_arena);
    if (op_charge(op->env->memory, -(int64_t)charged, op->class->name, NULL))
        abort(); /* giving back cannot fail */
    return e;
}
