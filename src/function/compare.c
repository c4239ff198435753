/* Comparison, IN, BETWEEN, three-valued logic, and the conditionals built on it. */
#include "function/eval_int.h"
#include "function/table_int.h"

/* -- binding ---------------------------------------------------------------------------------------------------------- */
enum err bind_compare(struct bind_call *bc)
{
    struct expr *e = bc->e;
    const struct type *t;
    e->type = type_simple(TYPE_BOOLEAN);
    e->nullable = bc->fn->op != CMP_NULLSAFE && expr_args_nullable(e);
    for (int i = 0; i < 2 && bc->fn->op == CMP_EQ;
         i++) /* an integer literal beside a decimal takes just its digits, as in arithmetic */
        if (e->args[1 - i]->type->id == TYPE_DECIMAL && type_is_integral(e->args[i]->type) &&
            e->args[i]->kind == EXPR_LITERAL) {
            enum err err = coerce_to(bc->b, &e->args[i], decimal_of_operand(bc->b, e->args[i]), bc->f);
            if (err)
                return err;
        }
    if (!type_common(bc->b, e->args[0]->type, e->args[1]->type, &t))
        return bind_wrong_operands(bc);
    for (int i = 0; i < 2; i++) {
        enum err err = coerce_to(bc->b, &e->args[i], t, bc->f);
        if (err)
            return err;
    }
    if (!type_orderable(t) && !(t->id == TYPE_CALENDAR && (bc->fn->op == CMP_EQ || bc->fn->op == CMP_NULLSAFE)))
        return BIND_FAULT(bc, ERR_MISMATCH_INVALID_ORDERING_TYPE,
                          {"functionName", quoted_name(bc->b->arena, bc->shown)},
                          {"dataType", quoted_type(bc->b->arena, t)});
    e->nullable = bc->fn->op != CMP_NULLSAFE && expr_args_nullable(e);
    return ERR_OK;
}

static enum err replace_with(struct bind_call *bc, struct expr *e)
{
    bc->e = e;
    return ERR_OK;
}

/* a <> b is NOT (a = b). */
enum err bind_not_equal(struct bind_call *bc)
{
    struct expr *eq, *not ;
    enum err err = bind_call_name(bc->b, "=", bc->e->args, 2, &eq, bc->f);
    if (!err)
        err = bind_call_name(bc->b, "not", &eq, 1, &not, bc->f);
    return err ? err : replace_with(bc, not );
}

/* between(a, low, high): the name is kept, the work is a >= low AND a <= high. */
enum err bind_between(struct bind_call *bc)
{
    struct expr **a = bc->e->args, *both[2], *out, *low[2] = {a[0], a[1]}, *high[2] = {a[0], a[2]};
    enum err err = bind_call_name(bc->b, ">=", low, 2, &both[0], bc->f);
    if (!err)
        err = bind_call_name(bc->b, "<=", high, 2, &both[1], bc->f);
    if (!err)
        err = bind_call_name(bc->b, "and", both, 2, &out, bc->f);
    if (err)
        return err;
    out->sql = bind_sql(bc);
    return replace_with(bc, out);
}

enum err bind_logic(struct bind_call *bc)
{
    struct expr *e = bc->e;
    for (int i = 0; i < e->nargs; i++) {
        const struct type *t = e->args[i]->type;
        if (t->id == TYPE_NULL || (t->id == TYPE_STRING && bc->b->ansi)) {
            enum err err = coerce_to(bc->b, &e->args[i], type_simple(TYPE_BOOLEAN), bc->f);
            if (err)
                return err;
        }
    }
    e->type = type_simple(TYPE_BOOLEAN);
    e->nullable = expr_args_nullable(e);
    if (e->nargs == 2 && (e->args[0]->type->id != TYPE_BOOLEAN || e->args[1]->type->id != TYPE_BOOLEAN)) {
        if (!type_eq(e->args[0]->type, e->args[1]->type))
            return bind_wrong_operands(bc);
        return BIND_FAULT(bc, ERR_MISMATCH_BINARY_OP_WRONG_TYPE, {"inputType", "\"BOOLEAN\""},
                          {"actualDataType", quoted_type(bc->b->arena, e->args[0]->type)});
    }
    return bind_args(bc, "B...");
}

enum err bind_in(struct bind_call *bc)
{
    struct expr *e = bc->e;
    const struct type *t;
    struct buf s = {0};
    buf_fmt(&s, "(%.*s IN (", STR_ARG(e->args[0]->sql));
    for (int i = 1; i < e->nargs; i++)
        buf_fmt(&s, "%s%.*s", i > 1 ? ", " : "", STR_ARG(e->args[i]->sql));
    buf_z(&s, "))");
    e->sql = arena_str(bc->b->arena, buf_view(&s));
    buf_free(&s);
    e->type = type_simple(TYPE_BOOLEAN);
    if (!type_common_of(bc->b, e->args, e->nargs, &t)) {
        FAULT(bc->f, ERR_MISMATCH_DATA_DIFF_TYPES, {"sqlExpr", quoted_expr(bc->b->arena, e)}, {"functionName", "`in`"},
              {"dataType", type_list(bc->b->arena, e->args, e->nargs, "[", ", ", "]")});
        fault_context(bc->f, &bc->b->origin);
        return ERR_MISMATCH_DATA_DIFF_TYPES;
    }
    for (int i = 0; i < e->nargs; i++) {
        enum err err = coerce_to(bc->b, &e->args[i], t, bc->f);
        if (err)
            return err;
    }
    e->nullable = expr_args_nullable(e);
    return ERR_OK;
}

/* Arguments from `from` on get one common type, which is the result's. */
static enum err bind_common(struct bind_call *bc, int from, const char *name)
{
    struct expr *e = bc->e;
    const struct type *t;
    if (!type_common_of(bc->b, e->args + from, e->nargs - from, &t))
        return BIND_FAULT(bc, ERR_MISMATCH_DATA_DIFF_TYPES, {"functionName", arena_fmt(bc->b->arena, "`%s`", name).p},
                          {"dataType", type_list(bc->b->arena, e->args + from, e->nargs - from, "[", ", ", "]")});
    for (int i = from; i < e->nargs; i++) {
        enum err err = coerce_to(bc->b, &e->args[i], t, bc->f);
        if (err)
            return err;
    }
    e->type = t;
    return ERR_OK;
}

enum err bind_coalesce(struct bind_call *bc)
{
    enum err err = bind_common(bc, bc->fn->op, "coalesce");
    bc->e->nullable = true;
    for (int i = bc->fn->op; i < bc->e->nargs; i++)
        bc->e->nullable &= bc->e->args[i]->nullable;
    return err;
}

/* if(c, x, y); nvl2(x, a, b) is if(x IS NOT NULL, a, b) under its own name. */
enum err bind_if(struct bind_call *bc)
{
    struct expr *e = bc->e;
    e->sql = bind_sql(bc);
    enum err err = bind_common(bc, 1, "if");
    if (err)
        return err;
    if (bc->fn->op)
        err = bind_call_name(bc->b, "isnotnull", e->args, 1, &e->args[0], bc->f);
    else
        err = bind_args(bc, "B,*");
    e->nullable = e->args[1]->nullable || e->args[2]->nullable;
    return err;
}

/* nullif(a, b): NULL where a = b, else a. */
enum err bind_nullif(struct bind_call *bc)
{
    struct expr *e = bc->e, *eq, *branches[3], *out;
    enum err err = bind_call_name(bc->b, "=", e->args, 2, &eq, bc->f);
    if (err)
        return err;
    branches[0] = eq;
    branches[1] = expr_null(bc->b, e->args[0]->type);
    branches[2] = e->args[0];
    err = bind_call_name(bc->b, "if", branches, 3, &out, bc->f);
    if (err)
        return err;
    out->sql = bind_sql(bc);
    out->nullable = true;
    return replace_with(bc, out);
}

enum err bind_extreme(struct bind_call *bc)
{
    struct expr *e = bc->e;
    const struct type *t;
    if (e->nargs < 2) {
        FAULT(bc->f, ERR_WRONG_NUM_ARGS_TVF, {"functionName", quoted_name(bc->b->arena, bc->shown)},
              {"expectedNum", "> 1"}, {"actualNum", arena_fmt(bc->b->arena, "%d", e->nargs).p},
              {"docroot", "https://spark.apache.org/docs/latest"});
        fault_context(bc->f, &bc->b->origin);
        return ERR_WRONG_NUM_ARGS_TVF;
    }
    e->nullable = true;
    bool strings = false, others = false;
    for (int i = 0; i < e->nargs; i++) {
        strings |= e->args[i]->type->id == TYPE_STRING;
        others |= e->args[i]->type->id != TYPE_STRING && e->args[i]->type->id != TYPE_NULL;
        e->nullable &= e->args[i]->nullable;
    }
    if ((strings && others) || !type_common_of(bc->b, e->args, e->nargs, &t))
        return BIND_FAULT(bc, ERR_MISMATCH_DATA_DIFF_TYPES, {"functionName", quoted_name(bc->b->arena, bc->shown)},
                          {"dataType", type_list(bc->b->arena, e->args, e->nargs, "[", ", ", "]")});
    if (!type_orderable(t))
        return BIND_FAULT(bc, ERR_MISMATCH_INVALID_ORDERING_TYPE,
                          {"functionName", quoted_name(bc->b->arena, bc->shown)},
                          {"dataType", quoted_type(bc->b->arena, t)});
    e->type = t;
    for (int i = 0; i < e->nargs; i++) {
        enum err err = coerce_to(bc->b, &e->args[i], t, bc->f);
        if (err)
            return err;
    }
    return ERR_OK;
}

/* -- comparison kernels --------------------------------------------------------------------------------------------------- */
#define COMPARE_LOOP(T, EXPR)                                                                                          \
    do {                                                                                                               \
        const T *x = c->args[0].data.any, *y = c->args[1].data.any;                                                    \
        uint8_t *out = c->out->data.boolean;                                                                           \
        uint32_t mx = c->args[0].mask, my = c->args[1].mask;                                                           \
        if (mx && my) {                                                                                                \
            for (uint32_t i = 0; i < c->n; i++) {                                                                      \
                T a = x[i], b = y[i];                                                                                  \
                out[i] = (EXPR);                                                                                       \
            }                                                                                                          \
        } else if (mx) {                                                                                               \
            T b = y[0];                                                                                                \
            for (uint32_t i = 0; i < c->n; i++) {                                                                      \
                T a = x[i];                                                                                            \
                out[i] = (EXPR);                                                                                       \
            }                                                                                                          \
        } else {                                                                                                       \
            T a = x[0];                                                                                                \
            for (uint32_t i = 0; i < c->n; i++) {                                                                      \
                T b = y[i & my];                                                                                       \
                out[i] = (EXPR);                                                                                       \
            }                                                                                                          \
        }                                                                                                              \
    } while (0)
#define COMPARE_ALL(T, EQ, LT, LE)                                                                                     \
    switch (op) {                                                                                                      \
    case CMP_EQ:                                                                                                       \
        COMPARE_LOOP(T, EQ(a, b));                                                                                     \
        break;                                                                                                         \
    case CMP_LT:                                                                                                       \
        COMPARE_LOOP(T, LT(a, b));                                                                                     \
        break;                                                                                                         \
    case CMP_LE:                                                                                                       \
        COMPARE_LOOP(T, LE(a, b));                                                                                     \
        break;                                                                                                         \
    case CMP_GT:                                                                                                       \
        COMPARE_LOOP(T, LT(b, a));                                                                                     \
        break;                                                                                                         \
    default:                                                                                                           \
        COMPARE_LOOP(T, LE(b, a));                                                                                     \
    }
#define INT_EQ(a, b)   ((a) == (b))
#define INT_LT(a, b)   ((a) < (b))
#define INT_LE(a, b)   ((a) <= (b))
#define FLOAT_EQ(a, b) ((a) == (b) || ((a) != (a) && (b) != (b)))
#define FLOAT_LT(a, b) ((a) < (b) || ((a) == (a) && (b) != (b)))
#define FLOAT_LE(a, b) ((a) <= (b) || (b) != (b))
#define STR_LT(a, b)   (str_cmp(a, b) < 0)
#define STR_LE(a, b)   (str_cmp(a, b) <= 0)

static bool by_order(int op, int d)
{
    switch (op) {
    case CMP_EQ:
        return d == 0;
    case CMP_LT:
        return d < 0;
    case CMP_LE:
        return d <= 0;
    case CMP_GT:
        return d > 0;
    default:
        return d >= 0;
    }
}

static void compare_column(struct call *c, int op)
{
    switch (c->args[0].type->id) {
    case TYPE_BOOLEAN:
    case TYPE_BYTE:
        COMPARE_ALL(int8_t, INT_EQ, INT_LT, INT_LE)
        break;
    case TYPE_SHORT:
        COMPARE_ALL(int16_t, INT_EQ, INT_LT, INT_LE)
        break;
    case TYPE_INT:
    case TYPE_DATE:
    case TYPE_YEAR_MONTH:
        COMPARE_ALL(int32_t, INT_EQ, INT_LT, INT_LE)
        break;
    case TYPE_LONG:
    case TYPE_TIMESTAMP:
    case TYPE_TIMESTAMP_NTZ:
    case TYPE_DAY_TIME:
        COMPARE_ALL(int64_t, INT_EQ, INT_LT, INT_LE)
        break;
    case TYPE_FLOAT:
        COMPARE_ALL(float, FLOAT_EQ, FLOAT_LT, FLOAT_LE)
        break;
    case TYPE_DOUBLE:
        COMPARE_ALL(double, FLOAT_EQ, FLOAT_LT, FLOAT_LE)
        break;
    case TYPE_DECIMAL:
        COMPARE_ALL(i128, INT_EQ, INT_LT, INT_LE)
        break;
    case TYPE_STRING:
    case TYPE_BINARY:
        COMPARE_ALL(struct str, str_eq, STR_LT, STR_LE)
        break;
    default:
        for (uint32_t i = 0; i < c->n; i++)
            if (call_live(c, i))
                c->out->data.boolean[i] = by_order(op, column_cmp(&c->args[0], i, &c->args[1], i));
    }
}

enum err fn_compare(struct call *c)
{
    compare_column(c, c->e->fn->op);
    return ERR_OK;
}

enum err fn_null_safe_equal(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        bool x = col_valid(&c->args[0], i), y = col_valid(&c->args[1], i);
        c->out->data.boolean[i] = x && y ? column_cmp(&c->args[0], i, &c->args[1], i) == 0 : x == y;
    }
    return ERR_OK;
}

enum err fn_in(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        bool found = false, unknown = !col_valid(&c->args[0], i);
        for (int k = 1; k < c->e->nargs && !found && col_valid(&c->args[0], i); k++) {
            if (!col_valid(&c->args[k], i))
                unknown = true;
            else
                found = column_cmp(&c->args[0], i, &c->args[k], i) == 0;
        }
        c->out->data.boolean[i] = found;
        if (!found && unknown)
            call_set_null(c, i);
    }
    return ERR_OK;
}

/* -- logic -------------------------------------------------------------------------------------------------------------------- */
enum { FALSE_ = 0, TRUE_ = 1, NULL_ = 2 };

static uint8_t three(const struct column *c, uint32_t i)
{
    return !col_valid(c, i) ? NULL_ : c->data.boolean[COL_AT(c, i)] ? TRUE_ : FALSE_;
}

/* AND and OR: the right side is evaluated, and may fail, only for rows that the left side leaves open. */
enum err fn_and_or(struct call *c)
{
    bool is_and = c->e->fn->op == OP_AND;
    uint8_t decisive = is_and ? FALSE_ : TRUE_;
    struct eval *ev = c->ev;
    struct column left, right;
    enum err err = expr_eval(c->e->args[0], ev, &left);
    if (err)
        return err;
    uint8_t *open = eval_mask(ev);
    bool constant = col_is_const(&left);
    for (uint32_t i = 0; i < c->n; i++)
        open[i] &= three(&left, i) != decisive;
    if (!eval_any_active(open, c->n)) {
        *c->out = left;
        if (constant)
            return ERR_OK;
        right = left;
    } else {
        err = eval_masked(c->e->args[1], ev, open, &right);
        if (err)
            return err;
    }
    constant &= col_is_const(&right);
    uint32_t rows = constant ? (c->n ? 1 : 0) : c->n;
    uint32_t n = c->n;
    c->n = rows;
    call_start(c, 0, true);
    for (uint32_t i = 0; i < rows; i++) {
        uint8_t x = three(&left, i), y = three(&right, i);
        uint8_t r = x == decisive || y == decisive ? decisive : x == NULL_ || y == NULL_ ? NULL_ : !decisive;
        c->out->data.boolean[i] = r == TRUE_;
        if (r == NULL_)
            call_set_null(c, i);
    }
    c->out->n = n;
    if (constant && n)
        c->out->mask = 0;
    return ERR_OK;
}

enum err fn_not(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        c->out->data.boolean[i] = !c->args[0].data.boolean[COL_AT(&c->args[0], i)];
    return ERR_OK;
}

enum err fn_is_null(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        c->out->data.boolean[i] =
            (col_valid(&c->args[0], i) && c->args[0].type->id != TYPE_NULL) == (c->e->fn->op != 0);
    return ERR_OK;
}

enum { IS_TRUE, IS_NOT_TRUE, IS_FALSE, IS_NOT_FALSE };
enum err fn_is_truth(struct call *c)
{
    int op = c->e->fn->op;
    for (uint32_t i = 0; i < c->n; i++) {
        bool hit = three(&c->args[0], i) == (op < IS_FALSE ? TRUE_ : FALSE_);
        c->out->data.boolean[i] = hit == (op == IS_TRUE || op == IS_FALSE);
    }
    return ERR_OK;
}

enum err fn_isnan(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        const struct column *x = &c->args[0];
        uint32_t k = COL_AT(x, i);
        c->out->data.boolean[i] =
            col_valid(x, i) && (x->type->id == TYPE_FLOAT ? isnan(x->data.f32[k]) : isnan(x->data.f64[k]));
    }
    return ERR_OK;
}

/* -- conditionals ---------------------------------------------------------------------------------------------------------------- */
enum err fn_if(struct call *c)
{
    struct column cond, branches[2];
    struct eval *ev = c->ev;
    enum err err = expr_eval(c->e->args[0], ev, &cond);
    if (err)
        return err;
    uint8_t *yes = eval_mask(ev), *no = eval_mask(ev);
    uint32_t *pick = ARENA_ARRAY(ev->arena, c->n, uint32_t), used = 0, at[2] = {UINT32_MAX, UINT32_MAX};
    for (uint32_t i = 0; i < c->n; i++) {
        bool t = three(&cond, i) == TRUE_;
        yes[i] &= t;
        no[i] &= !t;
    }
    for (int k = 0; k < 2; k++) {
        const uint8_t *mask = k ? no : yes;
        if (!eval_any_active(mask, c->n))
            continue;
        err = eval_masked(c->e->args[k + 1], ev, mask, &branches[used]);
        if (err)
            return err;
        at[k] = used++;
    }
    for (uint32_t i = 0; i < c->n; i++)
        pick[i] = at[three(&cond, i) == TRUE_ ? 0 : 1];
    eval_merge(ev, c->e->type, branches, used, pick, c->out);
    return ERR_OK;
}

enum err fn_coalesce(struct call *c)
{
    struct eval *ev = c->ev;
    uint8_t *open = eval_mask(ev);
    uint32_t *pick = ARENA_ARRAY(ev->arena, c->n, uint32_t), used = 0;
    struct column *branches = ARENA_ARRAY(ev->arena, (size_t)c->e->nargs, struct column);
    memset(pick, 0xFF, c->n * sizeof *pick);
    for (int k = 0; k < c->e->nargs && eval_any_active(open, c->n); k++) {
        enum err err = eval_masked(c->e->args[k], ev, open, &branches[used]);
        if (err)
            return err;
        for (uint32_t i = 0; i < c->n; i++)
            if (open[i] && col_valid(&branches[used], i)) {
                pick[i] = used;
                open[i] = 0;
            }
        used++;
    }
    eval_merge(ev, c->e->type, branches, used, pick, c->out);
    return ERR_OK;
}

/* greatest and least skip nulls. */
enum err fn_extreme(struct call *c)
{
    uint32_t *pick = ARENA_ARRAY(c->ev->arena, c->n, uint32_t);
    struct call copy = *c;
    for (uint32_t i = 0; i < c->n; i++) {
        pick[i] = UINT32_MAX;
        for (int k = 0; k < c->e->nargs; k++) {
            if (!col_valid(&c->args[k], i))
                continue;
            int d = pick[i] == UINT32_MAX ? 1 : column_cmp(&c->args[k], i, &c->args[pick[i]], i) * c->e->fn->op;
            if (d > 0)
                pick[i] = (uint32_t)k;
        }
    }
    struct batch_cols rows = *c->ev->in;
    rows.n = c->n;
    struct eval ev = *c->ev;
    ev.in = &rows;
    eval_merge(&ev, c->e->type, c->args, (uint32_t)c->e->nargs, pick, copy.out);
    return ERR_OK;
}

/* int(x), string(x), …: casts by the type's name; they do not show in names. */
enum err bind_cast_function(struct bind_call *bc)
{
    enum cast_mode mode = bc->b->ansi ? CAST_ANSI : CAST_LEGACY;
    return expr_cast(bc->b, bc->e->args[0], type_simple((enum type_id)bc->fn->op), mode, false, &bc->e, bc->f);
}
