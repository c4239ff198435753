/* + - * / % div, pmod, unary minus, bits: over numbers. Dates and intervals take other ways (arith_time.c). */
#include "function/function_int.h"
#include "function/table_int.h"

#include <stdio.h>

/* -- binding ---------------------------------------------------------------------------------------------------------- */
/* An integer beside a decimal: a literal takes just the digits that it has. */
const struct type *decimal_of_operand(struct bind *b, const struct expr *e)
{
    if (e->type->id == TYPE_DECIMAL)
        return e->type;
    bool literal = e->kind == EXPR_LITERAL && !e->nullable && e->type->id >= TYPE_SHORT && e->type->id <= TYPE_LONG;
    if (!literal)
        return type_decimal_for(b->arena, e->type);
    int64_t v = 0;
    bool null;
    if (!expr_constant_i64(b, e, &v, &null))
        return type_decimal_for(b->arena, e->type);
    return type_decimal(b->arena, i128_digits(v), 0);
}

static const struct type *decimal_result(struct arena *a, int op, const struct type *x, const struct type *y)
{
    int wx = x->precision - x->scale, wy = y->precision - y->scale;
    int scale = x->scale > y->scale ? x->scale : y->scale, whole = wx > wy ? wx : wy;
    switch (op) {
    case OP_ADD:
    case OP_SUB:
        return type_decimal_adjusted(a, whole + scale + 1, scale);
    case OP_MUL:
        return type_decimal_adjusted(a, x->precision + y->precision + 1, x->scale + y->scale);
    case OP_DIV:
        scale = x->scale + y->precision + 1 > 6 ? x->scale + y->precision + 1 : 6;
        return type_decimal_adjusted(a, wx + y->scale + scale, scale);
    default:
        return type_decimal_adjusted(a, (wx < wy ? wx : wy) + scale, scale);
    }
}

static const char *operand_types(int op)
{
    switch (op) {
    case OP_IDIV:
        return "(\"BIGINT\" or \"DECIMAL\" or \"INTERVAL YEAR TO MONTH\" or \"INTERVAL DAY TO SECOND\")";
    case OP_ADD:
    case OP_SUB:
        return "(\"NUMERIC\" or \"INTERVAL DAY TO SECOND\" or \"INTERVAL YEAR TO MONTH\" or \"INTERVAL\")";
    case OP_DIV:
        return "(\"DOUBLE\" or \"DECIMAL\")";
    case OP_AND:
    case OP_OR:
    case OP_XOR:
        return "\"INTEGRAL\"";
    default:
        return "\"NUMERIC\"";
    }
}

enum err bind_wrong_operands(struct bind_call *bc)
{
    struct expr **a = bc->e->args;
    if (!type_eq(a[0]->type, a[1]->type))
        return BIND_FAULT(bc, ERR_MISMATCH_BINARY_OP_DIFF_TYPES, {"left", quoted_type(bc->b->arena, a[0]->type)},
                          {"right", quoted_type(bc->b->arena, a[1]->type)});
    return BIND_FAULT(bc, ERR_MISMATCH_BINARY_OP_WRONG_TYPE, {"inputType", operand_types(bc->fn->op)},
                      {"actualDataType", quoted_type(bc->b->arena, a[0]->type)});
}

static enum err coerce_both(struct bind_call *bc, const struct type *x, const struct type *y)
{
    enum err err = coerce_to(bc->b, &bc->e->args[0], x, bc->f);
    return err ? err : coerce_to(bc->b, &bc->e->args[1], y, bc->f);
}

static bool is_fraction(const struct type *t)
{
    return t->id == TYPE_FLOAT || t->id == TYPE_DOUBLE;
}

/* Strings beside a number become one; nulls take the other's type. */
static enum err promote(struct bind_call *bc)
{
    struct expr **a = bc->e->args;
    const struct type *t;
    bool s0 = a[0]->type->id == TYPE_STRING, s1 = a[1]->type->id == TYPE_STRING;
    if (s0 && s1)
        return bc->b->ansi ? ERR_OK : coerce_both(bc, type_simple(TYPE_DOUBLE), type_simple(TYPE_DOUBLE));
    if (s0 || s1) {
        if (!bc->b->ansi)
            t = type_simple(TYPE_DOUBLE);
        else if (!type_common(bc->b, a[0]->type, a[1]->type, &t) || t->id == TYPE_STRING)
            t = type_simple(TYPE_DOUBLE);
        if (!type_is_numeric(t))
            return ERR_OK;
        return s0 ? coerce_to(bc->b, &a[0], t, bc->f) : coerce_to(bc->b, &a[1], t, bc->f);
    }
    bool n0 = a[0]->type->id == TYPE_NULL, n1 = a[1]->type->id == TYPE_NULL, whole = (bc->fn->op & OP_MASK) == OP_IDIV;
    bool quotient = (bc->fn->op & OP_MASK) == OP_DIV;
    if (n0 && n1)
        t = type_simple(whole ? TYPE_LONG : TYPE_DOUBLE);
    else if (whole && (n0 || n1) && is_fraction(a[n0 ? 1 : 0]->type))
        return ERR_OK; /* refused with the types as they are */
    else if (quotient && n0)
        t = type_simple(TYPE_DOUBLE);
    else
        t = NULL;
    if (t)
        return coerce_both(bc, t, t);
    if (n0)
        return coerce_to(bc->b, &a[0], a[1]->type, bc->f);
    return n1 ? coerce_to(bc->b, &a[1], a[0]->type, bc->f) : ERR_OK;
}

static enum err numeric_types(struct bind_call *bc, int op)
{
    struct expr *e = bc->e, **a = e->args;
    struct arena *arena = bc->b->arena;
    const struct type *x = a[0]->type, *y = a[1]->type;
    enum err err;
    if (!type_is_numeric(x) || !type_is_numeric(y))
        return bind_wrong_operands(bc);
    bool decimal = x->id == TYPE_DECIMAL || y->id == TYPE_DECIMAL, fraction = is_fraction(x) || is_fraction(y);
    if (decimal && fraction && op == OP_IDIV) { /* only the decimal side turns into a double */
        err = coerce_to(bc->b, &a[x->id == TYPE_DECIMAL ? 0 : 1], type_simple(TYPE_DOUBLE), bc->f);
        return err ? err : bind_wrong_operands(bc);
    }
    if (decimal && fraction) {
        err = coerce_both(bc, type_simple(TYPE_DOUBLE), type_simple(TYPE_DOUBLE));
        e->type = type_simple(TYPE_DOUBLE);
        return err;
    }
    if (decimal) {
        x = decimal_of_operand(bc->b, a[0]);
        y = decimal_of_operand(bc->b, a[1]);
        e->type = op == OP_IDIV ? type_simple(TYPE_LONG) : decimal_result(arena, op, x, y);
        return coerce_both(bc, x, y);
    }
    const struct type *t = type_simple(op == OP_DIV ? TYPE_DOUBLE : TYPE_LONG);
    if (op == OP_IDIV && fraction) {
        if (type_is_integral(x) && (err = coerce_to(bc->b, &a[0], t, bc->f)))
            return err;
        if (type_is_integral(y) && (err = coerce_to(bc->b, &a[1], t, bc->f)))
            return err;
        return bind_wrong_operands(bc);
    }
    if (op != OP_DIV && op != OP_IDIV && !type_tightest(bc->b, x, y, &t))
        return bind_wrong_operands(bc);
    e->type = t;
    return coerce_both(bc, t, t);
}

enum err bind_arith(struct bind_call *bc)
{
    struct expr *e = bc->e;
    int op = bc->fn->op & OP_MASK;
    if (e->nargs == 1)
        return bind_sign(bc);
    bool done = false;
    e->try_ = bc->fn->op & OP_TRY;
    enum err err = bind_arith_time(bc, op, &done);
    if (err || done)
        return err;
    err = promote(bc);
    if (!err)
        err = numeric_types(bc, op);
    e->nullable = expr_args_nullable(e) || e->try_ || op == OP_DIV || op == OP_MOD || op == OP_IDIV || op == OP_PMOD ||
                  (!bc->b->ansi && e->type && e->type->id == TYPE_DECIMAL);
    return err;
}

enum err bind_sign(struct bind_call *bc)
{
    struct expr *e = bc->e;
    const struct type *t = e->args[0]->type;
    bool named = bc->shown.n > 1;
    const char *symbol = bc->fn->op == OP_SUB ? "-" : "+";
    enum err err = ERR_OK;
    if (t->id == TYPE_STRING || t->id == TYPE_NULL)
        err = coerce_to(bc->b, &e->args[0], type_simple(TYPE_DOUBLE), bc->f);
    if (err)
        return err;
    t = e->args[0]->type;
    if (!named || bc->fn->op == OP_ADD)
        e->sql = arena_fmt(bc->b->arena, "(%s %.*s)", symbol, STR_ARG(e->args[0]->sql));
    if (!type_is_numeric(t) && t->id != TYPE_DAY_TIME && t->id != TYPE_YEAR_MONTH && t->id != TYPE_CALENDAR)
        return BIND_FAULT(
            bc, ERR_MISMATCH_UNEXPECTED_INPUT_TYPE, {"paramIndex", "first"},
            {"requiredType", "(\"NUMERIC\" or \"INTERVAL DAY TO SECOND\" or \"INTERVAL YEAR TO MONTH\" or "
                             "\"INTERVAL\")"},
            {"inputSql", quoted_expr(bc->b->arena, e->args[0])}, {"inputType", quoted_type(bc->b->arena, t)});
    e->type = t;
    e->nullable = e->args[0]->nullable;
    return ERR_OK;
}

enum err bind_bits(struct bind_call *bc)
{
    enum err err = promote(bc);
    struct expr *e = bc->e;
    const struct type *t;
    if (err)
        return err;
    if (!type_is_integral(e->args[0]->type) || !type_is_integral(e->args[1]->type))
        return bind_wrong_operands(bc);
    if (!type_tightest(bc->b, e->args[0]->type, e->args[1]->type, &t))
        return bind_wrong_operands(bc);
    e->type = t;
    e->nullable = expr_args_nullable(e);
    return coerce_both(bc, t, t);
}

/* -- kernels -------------------------------------------------------------------------------------------------------------- */
static const char *const SYMBOLS[] = {"+", "-", "*", "/", "%", "div", "pmod"};
static const char *const TRIES[] = {"try_add", "try_subtract", "try_multiply", "try_divide", "try_mod", "", ""};

/* Row i overflowed: an error, NULL (try_), or nothing (ANSI off: the wrapped value stays). */
static enum err overflow(struct call *c, uint32_t i, int op, int64_t x, int64_t y)
{
    const struct expr *e = c->e;
    struct arena *a = c->ev->arena;
    if (e->try_)
        return call_set_null(c, i), ERR_OK;
    if (!e->ansi)
        return ERR_OK;
    if (e->type->id == TYPE_BYTE || e->type->id == TYPE_SHORT) {
        CALL_FAIL(c, i, ERR_BINARY_ARITHMETIC_OVERFLOW, {"value1", arena_fmt(a, "%lldS", (long long)x).p},
                  {"symbol", SYMBOLS[op]}, {"value2", arena_fmt(a, "%lldS", (long long)y).p},
                  {"functionName", arena_fmt(a, "`%s`", TRIES[op]).p});
        return ERR_OK;
    }
    if (op == OP_IDIV) {
        CALL_FAIL(c, i, ERR_ARITHMETIC_OVERFLOW, {"message", "Overflow in integral divide"},
                  {"alternative", " Use 'try_divide' to tolerate overflow and return NULL instead."},
                  {"config", "\"spark.sql.ansi.enabled\""});
        return ERR_OK;
    }
    const char *hint =
        op <= OP_MUL ? arena_fmt(a, " Use '%s' to tolerate overflow and return NULL instead.", TRIES[op]).p : "";
    CALL_FAIL(c, i, ERR_ARITHMETIC_OVERFLOW, {"message", "overflow"}, {"alternative", hint},
              {"config", "\"spark.sql.ansi.enabled\""});
    return ERR_OK;
}

static enum err by_zero(struct call *c, uint32_t i, int op)
{
    enum err id = op == OP_MOD || op == OP_PMOD ? ERR_REMAINDER_BY_ZERO : ERR_DIVIDE_BY_ZERO;
    if (c->e->try_ || !c->e->ansi)
        return call_set_null(c, i), ERR_OK;
    CALL_FAIL(c, i, id, {"config", "\"spark.sql.ansi.enabled\""});
    return ERR_OK;
}

/* for every row: a and b are the operands; the three shapes keep the loop free of index arithmetic. */
#define EACH2(T, BODY)                                                                                                 \
    do {                                                                                                               \
        const T *x_ = c->args[0].data.any, *y_ = c->args[1].data.any;                                                  \
        if (c->args[0].mask && c->args[1].mask) {                                                                      \
            for (uint32_t i = 0; i < c->n; i++) {                                                                      \
                T a = x_[i], b = y_[i];                                                                                \
                BODY                                                                                                   \
            }                                                                                                          \
        } else if (c->args[0].mask) {                                                                                  \
            T b = y_[0];                                                                                               \
            for (uint32_t i = 0; i < c->n; i++) {                                                                      \
                T a = x_[i];                                                                                           \
                BODY                                                                                                   \
            }                                                                                                          \
        } else {                                                                                                       \
            T a = x_[0];                                                                                               \
            for (uint32_t i = 0; i < c->n; i++) {                                                                      \
                T b = y_[i & c->args[1].mask];                                                                         \
                BODY                                                                                                   \
            }                                                                                                          \
        }                                                                                                              \
    } while (0)

/* First a loop that only notices overflow, then, if there was one, the rows in question. */
#define INT_OP(NAME, T, BUILTIN, OP)                                                                                   \
    static enum err NAME(struct call *c)                                                                               \
    {                                                                                                                  \
        T *out = c->out->data.any;                                                                                     \
        bool bad = false;                                                                                              \
        EACH2(T, bad |= BUILTIN(a, b, &out[i]););                                                                      \
        if (!bad)                                                                                                      \
            return ERR_OK;                                                                                             \
        EACH2(T, {                                                                                                     \
            T r;                                                                                                       \
            if (BUILTIN(a, b, &r) && call_live(c, i)) {                                                                \
                enum err err = overflow(c, i, OP, a, b);                                                               \
                if (err)                                                                                               \
                    return err;                                                                                        \
            }                                                                                                          \
        });                                                                                                            \
        return ERR_OK;                                                                                                 \
    }
#define INT_OPS(S, T)                                                                                                  \
    INT_OP(add_##S, T, __builtin_add_overflow, OP_ADD)                                                                 \
    INT_OP(sub_##S, T, __builtin_sub_overflow, OP_SUB)                                                                 \
    INT_OP(mul_##S, T, __builtin_mul_overflow, OP_MUL)                                                                 \
    static enum err mod_##S(struct call *c)                                                                            \
    {                                                                                                                  \
        T *out = c->out->data.any;                                                                                     \
        bool positive = (c->e->fn->op & OP_MASK) == OP_PMOD;                                                           \
        EACH2(T, {                                                                                                     \
            if (b == 0) {                                                                                              \
                enum err err = call_live(c, i) ? by_zero(c, i, c->e->fn->op & OP_MASK) : ERR_OK;                       \
                if (err)                                                                                               \
                    return err;                                                                                        \
                continue;                                                                                              \
            }                                                                                                          \
            T r = b == -1 ? 0 : (T)(a % b);                                                                            \
            out[i] = positive && r < 0 ? (T)((r + b) % b) : r;                                                         \
        });                                                                                                            \
        return ERR_OK;                                                                                                 \
    }
INT_OPS(i8, int8_t)
INT_OPS(i16, int16_t)
INT_OPS(i32, int32_t)
INT_OPS(i64, int64_t)

static enum err idiv_i64(struct call *c)
{
    int64_t *out = c->out->data.i64;
    EACH2(int64_t, {
        if (!call_live(c, i))
            continue;
        enum err err = b == 0                      ? by_zero(c, i, OP_IDIV)
                       : a == INT64_MIN && b == -1 ? overflow(c, i, OP_IDIV, a, b)
                                                   : ERR_OK;
        if (err)
            return err;
        out[i] = b == 0 ? 0 : b == -1 ? (int64_t) - (uint64_t)a : a / b;
    });
    return ERR_OK;
}

#define FLOAT_OPS(S, T, FMOD)                                                                                          \
    static enum err add_##S(struct call *c)                                                                            \
    {                                                                                                                  \
        T *out = c->out->data.any;                                                                                     \
        EACH2(T, out[i] = a + b;);                                                                                     \
        return ERR_OK;                                                                                                 \
    }                                                                                                                  \
    static enum err sub_##S(struct call *c)                                                                            \
    {                                                                                                                  \
        T *out = c->out->data.any;                                                                                     \
        EACH2(T, out[i] = a - b;);                                                                                     \
        return ERR_OK;                                                                                                 \
    }                                                                                                                  \
    static enum err mul_##S(struct call *c)                                                                            \
    {                                                                                                                  \
        T *out = c->out->data.any;                                                                                     \
        EACH2(T, out[i] = a * b;);                                                                                     \
        return ERR_OK;                                                                                                 \
    }                                                                                                                  \
    static enum err div_##S(struct call *c)                                                                            \
    {                                                                                                                  \
        T *out = c->out->data.any;                                                                                     \
        bool zero = false;                                                                                             \
        EACH2(T, {                                                                                                     \
            zero |= b == 0;                                                                                            \
            out[i] = a / b;                                                                                            \
        });                                                                                                            \
        if (!zero)                                                                                                     \
            return ERR_OK;                                                                                             \
        EACH2(T, {                                                                                                     \
            (void)a;                                                                                                   \
            enum err err = b == 0 && call_live(c, i) ? by_zero(c, i, OP_DIV) : ERR_OK;                                 \
            if (err)                                                                                                   \
                return err;                                                                                            \
        });                                                                                                            \
        return ERR_OK;                                                                                                 \
    }                                                                                                                  \
    static enum err mod_##S(struct call *c)                                                                            \
    {                                                                                                                  \
        T *out = c->out->data.any;                                                                                     \
        bool positive = (c->e->fn->op & OP_MASK) == OP_PMOD;                                                           \
        EACH2(T, {                                                                                                     \
            if (b == 0 && call_live(c, i)) {                                                                           \
                enum err err = by_zero(c, i, OP_MOD);                                                                  \
                if (err)                                                                                               \
                    return err;                                                                                        \
            }                                                                                                          \
            T r = FMOD(a, b);                                                                                          \
            out[i] = positive && r < 0 ? FMOD(r + b, b) : r;                                                           \
        });                                                                                                            \
        return ERR_OK;                                                                                                 \
    }
FLOAT_OPS(f32, float, fmodf)
FLOAT_OPS(f64, double, fmod)

/* -- decimals ------------------------------------------------------------------------------------------------------------------ */
enum err decimal_overflow(struct call *c, uint32_t i, struct str value)
{
    struct arena *a = c->ev->arena;
    const struct type *t = c->e->type;
    if (c->e->try_ || !c->e->ansi)
        return call_set_null(c, i), ERR_OK;
    CALL_FAIL(c, i, ERR_NUMERIC_VALUE_OUT_OF_RANGE_WITH_SUGGESTION, {"value", arena_z(a, value)},
              {"precision", arena_fmt(a, "%d", t->precision).p}, {"scale", arena_fmt(a, "%d", t->scale).p},
              {"config", "\"spark.sql.ansi.enabled\""});
    return ERR_OK;
}

static bool decimal_mod(i128 a, int sa, i128 b, int sb, int op, int scale, i128 *out)
{
    int s = sa > sb ? sa : sb;
    i128 x, y;
    if (!decimal_rescale(a, sa, s, ROUND_DOWN, &x) || !decimal_rescale(b, sb, s, ROUND_DOWN, &y))
        return false;
    i128 r = x % y;
    if (op == OP_PMOD && r < 0)
        r = (r + y) % y;
    return decimal_rescale(r, s, scale, ROUND_HALF_UP, out);
}

static bool decimal_add(i128 a, int sa, i128 b, int sb, int scale, i128 *out)
{
    int s = sa > sb ? sa : sb;
    i128 x, y;
    if (!decimal_rescale(a, sa, s, ROUND_DOWN, &x) || !decimal_rescale(b, sb, s, ROUND_DOWN, &y)) {
        s = scale; /* too many digits side by side: both round to the result's scale first */
        if (!decimal_rescale(a, sa, s, ROUND_HALF_UP, &x) || !decimal_rescale(b, sb, s, ROUND_HALF_UP, &y))
            return false;
    }
    return decimal_rescale(x + y, s, scale, ROUND_HALF_UP, out); /* 38 + 38 digits cannot pass 127 bits */
}

static bool decimal_op(int op, i128 a, int sa, i128 b, int sb, int scale, i128 *out)
{
    switch (op) {
    case OP_ADD:
        return decimal_add(a, sa, b, sb, scale, out);
    case OP_SUB:
        return decimal_add(a, sa, -b, sb, scale, out);
    case OP_MUL:
        return decimal_mul(a, sa, b, sb, scale, out);
    case OP_DIV:
        return decimal_div(a, sa, b, sb, scale, ROUND_HALF_UP, out);
    default:
        return decimal_mod(a, sa, b, sb, op, scale, out);
    }
}

/* What the message says of a result that does not fit: sums exactly, others as far as 128 bits reach. */
static struct str overflow_text(struct call *c, int op, i128 a, int sa, i128 b, int sb)
{
    struct buf t = {0};
    int s = sa > sb ? sa : sb;
    i128 x, y;
    if (op <= OP_SUB && decimal_rescale(a, sa, s, ROUND_DOWN, &x) && decimal_rescale(b, sb, s, ROUND_DOWN, &y))
        decimal_text(&t, op == OP_ADD ? x + y : x - y, s);
    else if (op == OP_MUL && b != 0 && a != 0) {
        /* 10^k * x: digits followed by zeros, enough for whole powers of ten */
        i128 big = i128_digits(a) > i128_digits(b) ? a : b, small = big == a ? b : a;
        int zeros = 0;
        while (small % 10 == 0) {
            small /= 10;
            zeros++;
        }
        i128 p;
        if (!__builtin_mul_overflow(big, small, &p)) {
            i128_text(&t, p);
            buf_fill(&t, '0', (size_t)zeros);
        } else {
            buf_fmt(&t, "%.17g", decimal_double(a, sa) * decimal_double(b, sb));
        }
    }
    struct str out = arena_str(c->ev->arena, buf_view(&t));
    buf_free(&t);
    return out;
}

static enum err arith_decimal(struct call *c, int op)
{
    int sa = c->args[0].type->scale, sb = c->args[1].type->scale;
    const struct type *t = c->e->type;
    EACH2(i128, {
        if (!call_live(c, i))
            continue;
        if (b == 0 && op >= OP_DIV) {
            enum err err = by_zero(c, i, op);
            if (err)
                return err;
            continue;
        }
        i128 r = 0;
        if (op == OP_IDIV) {
            if (!decimal_div(a, sa, b, sb, 0, ROUND_DOWN, &r) || r > INT64_MAX || r < INT64_MIN) {
                enum err err = overflow(c, i, op, 0, 0);
                if (err)
                    return err;
            }
            c->out->data.i64[i] = (int64_t)r;
            continue;
        }
        if (!decimal_op(op, a, sa, b, sb, t->scale, &r) || !decimal_fits(r, t->precision)) {
            enum err err = decimal_overflow(c, i, overflow_text(c, op, a, sa, b, sb));
            if (err)
                return err;
            r = 0;
        }
        c->out->data.i128[i] = r;
    });
    return ERR_OK;
}

enum err fn_arith(struct call *c)
{
    static kernel_fn *const KERNELS[6][5] = {
        /* + - * / % by byte, short, int, long, float; double below */
        {add_i8, sub_i8, mul_i8, NULL, mod_i8},        {add_i16, sub_i16, mul_i16, NULL, mod_i16},
        {add_i32, sub_i32, mul_i32, NULL, mod_i32},    {add_i64, sub_i64, mul_i64, NULL, mod_i64},
        {add_f32, sub_f32, mul_f32, div_f32, mod_f32}, {add_f64, sub_f64, mul_f64, div_f64, mod_f64},
    };
    int op = c->e->fn->op & OP_MASK;
    if (c->args[0].type->id == TYPE_DECIMAL)
        return arith_decimal(c, op);
    if (op == OP_IDIV)
        return idiv_i64(c);
    return KERNELS[c->args[0].type->id - TYPE_BYTE][op == OP_PMOD ? OP_MOD : op](c);
}

#define NEGATE(T)                                                                                                      \
    do {                                                                                                               \
        const T *x = c->args[0].data.any;                                                                              \
        T *out = c->out->data.any;                                                                                     \
        for (uint32_t i = 0; i < c->n; i++)                                                                            \
            if (__builtin_sub_overflow(0, x[COL_AT(&c->args[0], i)], &out[i]) && call_live(c, i) && c->e->ansi)        \
                CALL_FAIL(c, i, ERR_ARITHMETIC_OVERFLOW, {"message", "overflow"}, {"alternative", ""},                 \
                          {"config", "\"spark.sql.ansi.enabled\""});                                                   \
    } while (0)
#define EACH1(T, BODY)                                                                                                 \
    do {                                                                                                               \
        const T *x_ = c->args[0].data.any;                                                                             \
        for (uint32_t i = 0; i < c->n; i++) {                                                                          \
            T a = x_[COL_AT(&c->args[0], i)];                                                                          \
            BODY                                                                                                       \
        }                                                                                                              \
    } while (0)

enum err fn_negative(struct call *c)
{
    switch (c->e->type->id) {
    case TYPE_BYTE:
        NEGATE(int8_t);
        break;
    case TYPE_SHORT:
        NEGATE(int16_t);
        break;
    case TYPE_INT:
    case TYPE_YEAR_MONTH:
        NEGATE(int32_t);
        break;
    case TYPE_LONG:
    case TYPE_DAY_TIME:
        NEGATE(int64_t);
        break;
    case TYPE_FLOAT:
        EACH1(float, c->out->data.f32[i] = -a;);
        break;
    case TYPE_DOUBLE:
        EACH1(double, c->out->data.f64[i] = -a;);
        break;
    case TYPE_DECIMAL:
        EACH1(i128, c->out->data.i128[i] = -a;);
        break;
    default:
        EACH1(struct calendar_interval,
              c->out->data.interval[i] = ((struct calendar_interval){-a.months, -a.days, -a.micros}););
    }
    return ERR_OK;
}

/* + and - with one argument or two. */
enum err fn_plus(struct call *c)
{
    if (c->e->nargs == 2)
        return fn_arith(c);
    uint8_t *valid = c->valid;
    *c->out = c->args[0];
    c->valid = valid;
    return ERR_OK;
}

enum err fn_minus(struct call *c)
{
    return c->e->nargs == 2 ? fn_arith(c) : fn_negative(c);
}

#define BITS(T)                                                                                                        \
    do {                                                                                                               \
        T *out = c->out->data.any;                                                                                     \
        if (op == OP_AND)                                                                                              \
            EACH2(T, out[i] = a & b;);                                                                                 \
        else if (op == OP_OR)                                                                                          \
            EACH2(T, out[i] = a | b;);                                                                                 \
        else                                                                                                           \
            EACH2(T, out[i] = a ^ b;);                                                                                 \
    } while (0)

enum err fn_bits(struct call *c)
{
    int op = c->e->fn->op;
    switch (type_width(c->e->type)) {
    case 1:
        BITS(int8_t);
        break;
    case 2:
        BITS(int16_t);
        break;
    case 4:
        BITS(int32_t);
        break;
    default:
        BITS(int64_t);
    }
    return ERR_OK;
}

enum err bind_bitnot(struct bind_call *bc)
{
    struct expr *e = bc->e;
    if (e->args[0]->type->id == TYPE_NULL || e->args[0]->type->id == TYPE_STRING) {
        enum err err = coerce_to(bc->b, &e->args[0], type_simple(TYPE_LONG), bc->f);
        if (err)
            return err;
    }
    if (!type_is_integral(e->args[0]->type))
        return BIND_FAULT(bc, ERR_MISMATCH_UNEXPECTED_INPUT_TYPE, {"paramIndex", "first"},
                          {"requiredType", "\"INTEGRAL\""}, {"inputSql", quoted_expr(bc->b->arena, e->args[0])},
                          {"inputType", quoted_type(bc->b->arena, e->args[0]->type)});
    e->type = e->args[0]->type;
    e->nullable = e->args[0]->nullable;
    return ERR_OK;
}

enum err fn_bitnot(struct call *c)
{
    switch (type_width(c->e->type)) {
    case 1:
        EACH1(int8_t, c->out->data.i8[i] = (int8_t)~a;);
        break;
    case 2:
        EACH1(int16_t, c->out->data.i16[i] = (int16_t)~a;);
        break;
    case 4:
        EACH1(int32_t, c->out->data.i32[i] = ~a;);
        break;
    default:
        EACH1(int64_t, c->out->data.i64[i] = ~a;);
    }
    return ERR_OK;
}

enum err bind_shift(struct bind_call *bc)
{
    struct expr *e = bc->e;
    if (type_is_integral(e->args[0]->type) && e->args[0]->type->id < TYPE_INT) {
        enum err err = coerce_to(bc->b, &e->args[0], type_simple(TYPE_INT), bc->f);
        if (err)
            return err;
    }
    return bind_standard(bc);
}

/* Shift counts wrap at the width, as in Java. */
enum err fn_shift(struct call *c)
{
    int op = c->e->fn->op;
    for (uint32_t i = 0; i < c->n; i++) {
        uint32_t k = (uint32_t)CALL_I32(c, 1, i);
        if (c->e->type->id == TYPE_INT) {
            int32_t v = CALL_I32(c, 0, i);
            k &= 31;
            c->out->data.i32[i] = op == 0   ? (int32_t)((uint32_t)v << k)
                                  : op == 1 ? v >> k
                                            : (int32_t)((uint32_t)v >> k);
        } else {
            int64_t v = CALL_I64(c, 0, i);
            k &= 63;
            c->out->data.i64[i] = op == 0   ? (int64_t)((uint64_t)v << k)
                                  : op == 1 ? v >> k
                                            : (int64_t)((uint64_t)v >> k);
        }
    }
    return ERR_OK;
}
