/*
 * The evaluator: one column per expression node, whole batches at a time.
 *
 * Lazy nodes (CASE, AND, OR, coalesce, if) narrow the rows that are active while they evaluate a branch: every row is computed, but
 * an error counts only in an active one. A branch that no row takes is not evaluated.
 */
#include "function/function_int.h"
#include "function/eval_int.h"

void call_set_null(struct call *c, uint32_t i)
{
    if (!c->valid)
        c->valid = column_valid_alloc(c->out, c->n, c->ev->arena);
    c->valid[i] = 0;
}

static void and_valid(uint8_t *valid, const struct column *c, uint32_t n)
{
    if (!c->valid)
        return;
    if (col_is_const(c)) {
        if (!c->valid[0])
            memset(valid, 0, n);
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        valid[i] &= c->valid[i];
}

void call_start(struct call *c, int nargs, bool nulls_pass)
{
    column_alloc(c->out, c->e->type, c->n, c->ev->arena);
    c->valid = NULL;
    for (int k = 0; k < nargs && !nulls_pass; k++) {
        if (!c->args[k].type || !c->args[k].valid)
            continue;
        if (!c->valid)
            c->valid = column_valid_alloc(c->out, c->n, c->ev->arena);
        and_valid(c->valid, &c->args[k], c->n);
    }
}

bool eval_any_active(const uint8_t *active, uint32_t n)
{
    return n && (!active || memchr(active, 1, n));
}

static enum err eval_args(const struct expr *e, struct eval *ev, struct column *args, bool *constant)
{
    *constant = e->deterministic;
    for (int i = 0; i < e->nargs; i++) {
        if (e->args[i]->kind == EXPR_LAMBDA) {
            *constant = false;
            continue;
        }
        enum err err = expr_eval(e->args[i], ev, &args[i]);
        if (err)
            return err;
        *constant &= col_is_const(&args[i]);
    }
    return ERR_OK;
}

static enum err eval_call(const struct expr *e, struct eval *ev, struct column *out)
{
    const struct function *fn = e->fn;
    uint32_t n = ev->in->n;
    struct call c = {.e = e, .ev = ev, .n = n, .out = out, .active = ev->active};
    if (fn->flags & FN_LAZY)
        return fn->kernel(&c);
    bool constant;
    c.args = ARENA_ARRAY(ev->arena, (size_t)e->nargs, struct column);
    enum err err = eval_args(e, ev, c.args, &constant);
    if (err)
        return err;
    if (!eval_any_active(ev->active, n)) {
        column_null(out, e->type, n, ev->arena);
        return ERR_OK;
    }
    if (constant) {
        c.n = 1;
        c.active = NULL;
    }
    call_start(&c, e->nargs, fn->flags & FN_SEES_NULLS);
    err = fn->kernel(&c);
    out->type = e->type;
    if (constant) {
        out->n = n;
        out->mask = 0;
    }
    return err;
}

/* Element i of c's struct field, null where the struct is. */
static void field_of(const struct column *c, int ordinal, const struct type *type, struct column *out, struct arena *a)
{
    *out = c->children[ordinal];
    if (col_is_const(c)) {
        struct column from = *out;
        column_const(out, &from, 0, c->n, a);
        if (c->valid && !c->valid[0])
            column_null(out, type, c->n, a);
        return;
    }
    out->n = c->n;
    if (!c->valid)
        return;
    struct column flat;
    column_flatten(&flat, out, a);
    *out = flat;
    const uint8_t *was = out->valid;
    uint8_t *valid = column_valid_alloc(out, c->n, a);
    for (uint32_t i = 0; i < c->n; i++)
        valid[i] = c->valid[i] && (!was || was[i]);
}

static enum err eval_field(const struct expr *e, struct eval *ev, struct column *out)
{
    struct column c;
    enum err err = expr_eval(e->args[0], ev, &c);
    if (err)
        return err;
    if (c.type->id == TYPE_STRUCT) {
        field_of(&c, e->ordinal, e->type, out, ev->arena);
        return ERR_OK;
    }
    struct column *element = ARENA_NEW(ev->arena, struct column); /* array of structs → array of the field */
    uint32_t rows = col_is_const(&c) ? 1 : c.n;
    field_of(&c.children[0], e->ordinal, e->type->fields[0].type, element, ev->arena);
    element->n = rows ? c.data.offsets[rows] : 0;
    *out = c;
    out->type = e->type;
    out->children = element;
    return ERR_OK;
}

static enum err eval_cast(const struct expr *e, struct eval *ev, struct column *out)
{
    struct column in;
    enum err err = expr_eval(e->args[0], ev, &in);
    if (err)
        return err;
    uint32_t n = ev->in->n;
    if (!eval_any_active(ev->active, n)) {
        column_null(out, e->type, n, ev->arena);
        return ERR_OK;
    }
    bool constant = col_is_const(&in);
    struct call c = {.e = e, .ev = ev, .n = constant ? 1 : n, .out = out, .active = constant ? NULL : ev->active};
    struct column one = in;
    if (constant)
        one.n = 1;
    err = cast_column(&c, &one, e->type, (enum cast_mode)e->ordinal, out);
    out->type = e->type;
    out->n = n;
    if (constant)
        out->mask = 0;
    return err;
}

/* -- lazy branches ------------------------------------------------------------------------------------------------------------------ */
enum err eval_masked(const struct expr *e, struct eval *ev, const uint8_t *active, struct column *out)
{
    struct eval sub = *ev;
    sub.active = active;
    enum err err = expr_eval(e, &sub, out);
    ev->random_state = sub.random_state;
    return err;
}

uint8_t *eval_mask(struct eval *ev)
{
    uint32_t n = ev->in->n;
    uint8_t *m = arena_alloc(ev->arena, n);
    if (ev->active)
        memcpy(m, ev->active, n);
    else
        memset(m, 1, n);
    return m;
}

/* Rows of `pick[i]` from branch columns: their concatenation, gathered. `pick` UINT32_MAX: null. */
void eval_merge(struct eval *ev, const struct type *type, const struct column *branches, uint32_t nbranches,
                const uint32_t *pick, struct column *out)
{
    uint32_t n = ev->in->n, used = 0;
    const struct column **parts = ARENA_ARRAY(ev->arena, (size_t)nbranches + 1, const struct column *);
    uint32_t *at = ARENA_ARRAY(ev->arena, (size_t)nbranches + 1, uint32_t),
             *mask = ARENA_ARRAY(ev->arena, (size_t)nbranches + 1, uint32_t);
    struct column *heads = ARENA_ARRAY(ev->arena, (size_t)nbranches + 1, struct column);
    for (uint32_t k = 0; k < nbranches; k++) {
        heads[k] = branches[k];
        heads[k].type = type;
        if (col_is_const(&heads[k]))
            heads[k].n = 1; /* one physical row stands for all */
        at[k] = used;
        mask[k] = branches[k].mask;
        used += heads[k].n;
        parts[k] = &heads[k];
    }
    if (!used) {
        column_null(out, type, n, ev->arena);
        return;
    }
    uint32_t *rows = ARENA_ARRAY(ev->arena, n, uint32_t);
    for (uint32_t i = 0; i < n; i++)
        rows[i] = pick[i] == UINT32_MAX ? UINT32_MAX : at[pick[i]] + (i & mask[pick[i]]);
    struct column all;
    column_concat(&all, parts, nbranches, ev->arena);
    column_gather(out, &all, rows, n, ev->arena);
    out->type = type;
}

static enum err eval_case(const struct expr *e, struct eval *ev, struct column *out)
{
    uint32_t n = ev->in->n, nbranches = 0;
    uint8_t *open = eval_mask(ev), *taken = arena_alloc(ev->arena, n);
    uint32_t *pick = ARENA_ARRAY(ev->arena, n, uint32_t);
    struct column *branches = ARENA_ARRAY(ev->arena, (size_t)e->nargs, struct column);
    memset(pick, 0xFF, n * sizeof *pick);
    for (int k = 0; k < e->nargs && eval_any_active(open, n); k += 2) {
        bool has_condition = k + 1 < e->nargs;
        memcpy(taken, open, n);
        if (has_condition) {
            struct column cond;
            enum err err = eval_masked(e->args[k], ev, open, &cond);
            if (err)
                return err;
            for (uint32_t i = 0; i < n; i++)
                taken[i] = open[i] && col_valid(&cond, i) && cond.data.boolean[COL_AT(&cond, i)];
        }
        if (!eval_any_active(taken, n))
            continue;
        enum err err = eval_masked(e->args[has_condition ? k + 1 : k], ev, taken, &branches[nbranches]);
        if (err)
            return err;
        for (uint32_t i = 0; i < n; i++)
            if (taken[i]) {
                pick[i] = nbranches;
                open[i] = 0;
            }
        nbranches++;
    }
    eval_merge(ev, e->type, branches, nbranches, pick, out);
    return ERR_OK;
}

enum err expr_eval(const struct expr *e, struct eval *ev, struct column *out)
{
    switch (e->kind) {
    case EXPR_LITERAL:
        *out = e->literal;
        out->n = ev->in->n;
        return ERR_OK;
    case EXPR_COLUMN:
        *out = ev->in->cols[e->ordinal];
        return ERR_OK;
    case EXPR_LAMBDA_VAR:
        *out = ev->lambda_vars[e->ordinal];
        return ERR_OK;
    case EXPR_CALL:
        return eval_call(e, ev, out);
    case EXPR_CAST:
        return eval_cast(e, ev, out);
    case EXPR_FIELD:
        return eval_field(e, ev, out);
    case EXPR_CASE:
        return eval_case(e, ev, out);
    default:
        return fault_internal(ev->fault, "an aggregate or lambda cannot be evaluated by itself: %.*s", STR_ARG(e->sql));
    }
}

enum err expr_select(const struct expr *e, struct eval *ev, uint32_t *rows, uint32_t *n)
{
    struct column c;
    uint32_t found = 0, total = ev->in->n;
    *n = 0;
    enum err err = expr_eval(e, ev, &c);
    if (err)
        return err;
    if (col_is_const(&c)) {
        bool all = total && col_valid(&c, 0) && c.data.boolean[0];
        for (uint32_t i = 0; all && i < total; i++)
            rows[i] = i;
        *n = all ? total : 0;
        return ERR_OK;
    }
    for (uint32_t i = 0; i < total; i++) { /* branchless: a false row is overwritten by the next */
        rows[found] = i;
        found += c.data.boolean[i] && (!c.valid || c.valid[i]);
    }
    *n = found;
    return ERR_OK;
}
