/*
 * Hash join: the right side is collected and hashed by its keys; the left streams by. Pairs that share a key are made a batch
 * at a time, the rest of the condition narrows them, and what found no partner comes at the end of each left batch (outer
 * left, semi, anti) or at the very end (outer right). Without keys every pair is tried.
 *
 *   right ──collect──▶ rows, heads[hash] → next[row] → …      left batch ──row by row──▶ (left row, right row) pairs
 */
#include "operator/operator_int.h"

#include "base/map.h"

#include <stdlib.h>

struct join {
    struct op op;
    struct op *right;
    struct arena *all; /* the right side, for the operator's life */
    struct batch_cols in;
    uint32_t *heads, *next, buckets; /* row + 1; 0 ends a chain */
    struct str *keys;
    uint8_t *right_matched;
    bool loaded, draining;
    uint32_t drained;
    /* the left batch at hand */
    struct arena *left_arena;
    struct batch_cols *left;
    struct column *left_keys;
    uint8_t *left_matched;
    uint32_t row, chain; /* next pair: left row, right row + 1; UINT32_MAX: look the row up */
    struct buf key;
};

static bool is_one_sided(const struct join *j)
{
    return j->op.node->join == JOIN_SEMI || j->op.node->join == JOIN_ANTI;
}

/* The encoded keys of row i in j->key; false when one is null: nothing equals it. */
static bool encode(struct join *j, const struct column *keys, uint32_t i)
{
    buf_clear(&j->key);
    for (int k = 0; k < j->op.node->nkeys; k++) {
        if (!col_valid(&keys[k], i))
            return false;
        column_encode(&j->key, &keys[k], i);
    }
    return true;
}

static enum err eval_keys(struct join *j, struct expr *const *exprs, const struct batch_cols *in, struct arena *a,
                          struct column **out, struct fault *f)
{
    int n = j->op.node->nkeys;
    enum err e = ERR_OK;
    struct eval ev = op_eval(&j->op, in, f);
    ev.arena = a;
    *out = ARENA_ARRAY(a, (size_t)n + 1, struct column);
    for (int k = 0; !e && k < n; k++)
        e = expr_eval(exprs[k], &ev, &(*out)[k]);
    return e;
}

static enum err load(struct join *j, struct fault *f)
{
    struct column *keys;
    enum err e = op_collect(j->right, j->all, &j->in, f);
    if (!e)
        e = eval_keys(j, j->op.node->right_keys, &j->in, j->all, &keys, f);
    if (e)
        return e;
    uint32_t n = j->in.n;
    j->buckets = 16;
    while (j->buckets < n)
        j->buckets *= 2;
    j->heads = ARENA_ARRAY(j->all, j->buckets, uint32_t);
    j->next = ARENA_ARRAY(j->all, n + 1u, uint32_t);
    j->keys = ARENA_ARRAY(j->all, n + 1u, struct str);
    j->right_matched = ARENA_ARRAY(j->all, n + 1u, uint8_t);
    for (uint32_t i = n; i-- > 0;) { /* from the end, so that chains run in row order */
        if (!encode(j, keys, i))
            continue;
        j->keys[i] = arena_str(j->all, j->key.n ? buf_view(&j->key) : STR(""));
        uint32_t at = (uint32_t)hash_bytes(j->keys[i].p, j->keys[i].n, 0) & (j->buckets - 1);
        j->next[i] = j->heads[at];
        j->heads[at] = i + 1;
    }
    j->loaded = true;
    return op_charge(j->op.env->memory, (int64_t)arena_bytes(j->all), "HashJoin", f);
}

/* The next right row with the key of left row j->row, from chain entry `at` on. */
static uint32_t same_key(const struct join *j, uint32_t at)
{
    struct str key = j->key.n ? buf_view(&j->key) : STR("");
    while (at && !str_eq(j->keys[at - 1], key))
        at = j->next[at - 1];
    return at;
}

static uint32_t pairs(struct join *j, uint32_t *left, uint32_t *right, uint32_t cap)
{
    uint32_t n = 0;
    for (; j->row < j->left->n; j->row++, j->chain = UINT32_MAX) {
        if (j->chain == UINT32_MAX) {
            bool there = encode(j, j->left_keys, j->row);
            struct str key = j->key.n ? buf_view(&j->key) : STR("");
            j->chain = there ? same_key(j, j->heads[(uint32_t)hash_bytes(key.p, key.n, 0) & (j->buckets - 1)]) : 0;
        }
        for (; j->chain; j->chain = same_key(j, j->next[j->chain - 1])) {
            if (n == cap)
                return n;
            left[n] = j->row;
            right[n++] = j->chain - 1;
        }
    }
    return n;
}

/* Both sides' columns of the given rows; UINT32_MAX makes nulls. */
static struct batch_cols *combine(struct join *j, const uint32_t *left, const uint32_t *right, uint32_t n)
{
    struct op *op = &j->op;
    int lw = op->child->node->schema->nfields, rw = j->in.schema->nfields;
    struct batch_cols *b = ARENA_NEW(op->arena, struct batch_cols);
    b->schema = op->node->schema;
    b->n = n;
    b->cols = ARENA_ARRAY(op->arena, (size_t)(lw + rw) + 1, struct column);
    for (int c = 0; c < lw; c++) {
        if (left)
            column_gather(&b->cols[c], &j->left->cols[c], left, n, op->arena);
        else
            column_null(&b->cols[c], op->child->node->schema->fields[c].type, n, op->arena);
    }
    for (int c = 0; c < rw; c++) {
        if (right)
            column_gather(&b->cols[lw + c], &j->in.cols[c], right, n, op->arena);
        else
            column_null(&b->cols[lw + c], j->in.schema->fields[c].type, n, op->arena);
    }
    return b;
}

/* Pairs that also satisfy the condition, noted as matched; *out NULL when there is nothing to put out. */
static enum err match(struct join *j, const uint32_t *left, const uint32_t *right, uint32_t n, struct batch_cols **out,
                      struct fault *f)
{
    struct op *op = &j->op;
    struct batch_cols *b = !is_one_sided(j) || op->node->condition ? combine(j, left, right, n) : NULL;
    uint32_t *rows = ARENA_ARRAY(op->arena, n + 1u, uint32_t), kept = n;
    for (uint32_t i = 0; i < n; i++)
        rows[i] = i;
    if (op->node->condition) {
        struct eval ev = op_eval(op, b, f);
        enum err e = expr_select(op->node->condition, &ev, rows, &kept);
        if (e)
            return e;
    }
    for (uint32_t i = 0; i < kept; i++) {
        j->left_matched[left[rows[i]]] = 1;
        j->right_matched[right[rows[i]]] = 1;
    }
    if (is_one_sided(j) || !kept)
        return ERR_OK;
    if (kept < n) {
        struct batch_cols *narrow = op_batch(op, kept);
        for (int c = 0; c < narrow->schema->nfields; c++)
            column_gather(&narrow->cols[c], &b->cols[c], rows, kept, op->arena);
        b = narrow;
    }
    *out = b;
    return ERR_OK;
}

/* The end of a left batch: its rows without a partner (semi: with one). */
static void finish_left(struct join *j, struct batch_cols **out)
{
    enum join_kind k = j->op.node->join;
    uint32_t *rows = ARENA_ARRAY(j->op.arena, j->left->n + 1u, uint32_t), n = 0;
    bool wanted = k == JOIN_SEMI;
    if (k == JOIN_LEFT || k == JOIN_FULL || is_one_sided(j))
        for (uint32_t i = 0; i < j->left->n; i++)
            if (j->left_matched[i] == wanted)
                rows[n++] = i;
    if (!n)
        return;
    if (!is_one_sided(j)) {
        *out = combine(j, rows, NULL, n);
        return;
    }
    *out = op_batch(&j->op, n);
    for (int c = 0; c < (*out)->schema->nfields; c++)
        column_gather(&(*out)->cols[c], &j->left->cols[c], rows, n, j->op.arena);
}

static void drain_right(struct join *j, struct batch_cols **out)
{
    enum join_kind k = j->op.node->join;
    uint32_t *rows = ARENA_ARRAY(j->op.arena, BATCH_ROWS, uint32_t), n = 0;
    if (k != JOIN_RIGHT && k != JOIN_FULL)
        return;
    for (; j->drained < j->in.n && n < BATCH_ROWS; j->drained++)
        if (!j->right_matched[j->drained])
            rows[n++] = j->drained;
    if (n)
        *out = combine(j, NULL, rows, n);
}

static enum err next_left(struct join *j, struct fault *f)
{
    enum err e = op_next(j->op.child, &j->left, f);
    if (e || !j->left)
        return e;
    arena_reset(j->left_arena);
    j->left_matched = ARENA_ARRAY(j->left_arena, j->left->n + 1u, uint8_t);
    j->row = 0;
    j->chain = UINT32_MAX;
    return eval_keys(j, j->op.node->left_keys, j->left, j->left_arena, &j->left_keys, f);
}

static enum err join_next(struct op *op, struct batch_cols **out, struct fault *f)
{
    struct join *j = (struct join *)op;
    enum err e = j->loaded ? ERR_OK : load(j, f);
    while (!e && !*out) {
        arena_reset(op->arena);
        if (!j->draining && !j->left) {
            e = next_left(j, f);
            j->draining = !j->left;
            continue;
        }
        if (j->draining) {
            drain_right(j, out);
            return ERR_OK;
        }
        uint32_t *left = ARENA_ARRAY(op->arena, BATCH_ROWS, uint32_t),
                 *right = ARENA_ARRAY(op->arena, BATCH_ROWS, uint32_t);
        uint32_t n = pairs(j, left, right, BATCH_ROWS);
        if (n) {
            e = match(j, left, right, n, out, f);
        } else {
            finish_left(j, out);
            j->left = NULL;
        }
        if (!e && !*out && op->env->cancelled && __atomic_load_n(op->env->cancelled, __ATOMIC_RELAXED))
            e = FAULT(f, ERR_CANCELLED);
    }
    return e;
}

static void join_close(struct op *op)
{
    struct join *j = (struct join *)op;
    if (j->loaded && op_charge(op->env->memory, -(int64_t)arena_bytes(j->all), "HashJoin", NULL))
        abort(); /* giving back cannot fail */
    op_close(j->right);
    arena_free(j->all);
    arena_free(j->left_arena);
    buf_free(&j->key);
}

OP_BUILDER(op_join)
{
    static const struct op_class class = {"HashJoin", join_next, join_close};
    struct join *j = op_new(sizeof *j, &class, node, env, child);
    j->all = arena_new(0);
    j->left_arena = arena_new(0);
    enum err e = op_build(node->children[1], env, &j->right, f);
    if (e) {
        op_close(&j->op);
        return e;
    }
    *out = &j->op;
    return ERR_OK;
}
