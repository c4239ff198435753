/* Mathematics: functions of doubles, rounding, number texts in other bases. */
#include "function/table_int.h"

#include "base/random.h"

#include <stdlib.h>

/* -- functions of one and two doubles ---------------------------------------------------------------------------------------- */
static double to_degrees(double x)
{
    return x * (180.0 / M_PI);
}
static double to_radians(double x)
{
    return x / 180.0 * M_PI;
}
static double sign_of(double x)
{
    return isnan(x) || x == 0 ? x : x < 0 ? -1.0 : 1.0;
}
static double cot(double x)
{
    return 1 / tan(x);
}
static double sec(double x)
{
    return 1 / cos(x);
}
static double csc(double x)
{
    return 1 / sin(x);
}

/* By the rows' op. The logarithms come first: they give NULL up to a bound. */
static double (*const UNARY[])(double) = {log,     log10,      log2,       log1p, sqrt,  exp,   expm1, sin,  cos,
                                          tan,     asin,       acos,       atan,  sinh,  cosh,  tanh,  cbrt, rint,
                                          sign_of, to_degrees, to_radians, asinh, acosh, atanh, cot,   sec,  csc};
enum { LOGARITHMS = 4, LOG1P = 3 };

enum err fn_math(struct call *c)
{
    double (*f)(double) = UNARY[c->e->fn->op];
    const double *x = c->args[0].data.f64;
    double *out = c->out->data.f64;
    for (uint32_t i = 0; i < c->n; i++)
        out[i] = f(x[COL_AT(&c->args[0], i)]);
    if (c->e->fn->op >= LOGARITHMS)
        return ERR_OK;
    double bound = c->e->fn->op == LOG1P ? -1.0 : 0.0;
    for (uint32_t i = 0; i < c->n; i++)
        if (x[COL_AT(&c->args[0], i)] <= bound)
            call_set_null(c, i);
    return ERR_OK;
}

enum { MATH_POW, MATH_ATAN2, MATH_HYPOT, MATH_LOG };
enum err fn_math2(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        double x = CALL_F64(c, 0, i), y = CALL_F64(c, 1, i), r;
        switch (c->e->fn->op) {
        case MATH_POW:
            r = pow(x, y);
            break;
        case MATH_ATAN2:
            r = atan2(x + 0.0, y + 0.0);
            break;
        case MATH_HYPOT:
            r = hypot(x, y);
            break;
        default:
            r = log(y) / log(x);
            if ((x <= 0 || y <= 0) && call_live(c, i))
                call_set_null(c, i);
        }
        c->out->data.f64[i] = r;
    }
    return ERR_OK;
}

/* log(x) is LOG(E(), x). */
enum err bind_log(struct bind_call *bc)
{
    struct expr *e = bc->e;
    if (e->nargs == 1) {
        struct column c;
        struct expr **args = ARENA_ARRAY(bc->b->arena, 2, struct expr *);
        column_alloc(&c, type_simple(TYPE_DOUBLE), 1, bc->b->arena);
        c.data.f64[0] = M_E;
        args[0] = expr_literal(bc->b, &c, false);
        args[0]->sql = STR("E()");
        args[1] = e->args[0];
        e->args = args;
        e->nargs = 2;
    }
    return bind_standard(bc);
}

enum err fn_constant(struct call *c)
{
    c->out->data.f64[0] = c->e->fn->op ? M_PI : M_E;
    return ERR_OK;
}

/* -- abs ---------------------------------------------------------------------------------------------------------------------- */
enum err bind_abs(struct bind_call *bc)
{
    struct expr *e = bc->e;
    enum err err = bind_args(bc, "NVW");
    e->type = e->args[0]->type;
    e->nullable = e->args[0]->nullable;
    return err;
}

#define ABS(T)                                                                                                         \
    for (uint32_t i = 0; i < c->n; i++) {                                                                              \
        T v = ((const T *)x->data.any)[COL_AT(x, i)];                                                                  \
        if (v < 0 && __builtin_sub_overflow(0, v, &v) && c->e->ansi && call_live(c, i))                                \
            CALL_FAIL(c, i, ERR_ARITHMETIC_OVERFLOW, {"message", "overflow"}, {"alternative", ""},                     \
                      {"config", "\"spark.sql.ansi.enabled\""});                                                       \
        ((T *)c->out->data.any)[i] = v;                                                                                \
    }                                                                                                                  \
    break

enum err fn_abs(struct call *c)
{
    const struct column *x = &c->args[0];
    switch (x->type->id) {
    case TYPE_BYTE:
        ABS(int8_t);
    case TYPE_SHORT:
        ABS(int16_t);
    case TYPE_INT:
    case TYPE_YEAR_MONTH:
        ABS(int32_t);
    case TYPE_LONG:
    case TYPE_DAY_TIME:
        ABS(int64_t);
    case TYPE_DECIMAL:
        ABS(i128);
    case TYPE_FLOAT:
        for (uint32_t i = 0; i < c->n; i++)
            c->out->data.f32[i] = fabsf(x->data.f32[COL_AT(x, i)]);
        break;
    default:
        for (uint32_t i = 0; i < c->n; i++)
            c->out->data.f64[i] = fabs(x->data.f64[COL_AT(x, i)]);
    }
    return ERR_OK;
}

/* -- rounding -------------------------------------------------------------------------------------------------------------------- */
static const struct type *rounded_type(struct arena *a, const struct type *t, int scale)
{
    if (t->id != TYPE_DECIMAL)
        return t;
    int whole = t->precision - t->scale + 1, s = scale < t->scale ? scale : t->scale;
    if (scale < 0) {
        int p = whole > -scale + 1 ? whole : -scale + 1;
        return type_decimal(a, p < DECIMAL_MAX ? p : DECIMAL_MAX, 0);
    }
    return type_decimal(a, whole + s < DECIMAL_MAX ? whole + s : DECIMAL_MAX, s);
}

/* round(x[, scale]) and bround: the scale is a constant and shows in the name. */
enum err bind_round(struct bind_call *bc)
{
    struct expr *e = bc->e;
    int64_t scale = 0;
    bool null = false;
    if (e->nargs == 1) {
        struct expr **args = ARENA_ARRAY(bc->b->arena, 2, struct expr *);
        args[0] = e->args[0];
        args[1] = expr_lit_i32(bc->b, 0);
        e->args = args;
        e->nargs = 2;
    }
    enum err err = bind_args(bc, "N,I");
    if (err)
        return err;
    if (!expr_constant_i64(bc->b, e->args[1], &scale, &null))
        return BIND_FAULT(bc, ERR_NON_FOLDABLE_INPUT, {"inputName", "`scale`"}, {"inputType", "\"INT\""},
                          {"inputExpr", quoted_expr(bc->b->arena, e->args[1])});
    e->type = rounded_type(bc->b->arena, e->args[0]->type,
                           null || scale > 1000 ? 38
                           : scale < -1000      ? -38
                                                : (int)scale);
    e->nullable = true;
    return ERR_OK;
}

/* Through the shortest decimal text, as BigDecimal(Double.toString(x)) rounds. */
static double round_double(double v, int scale, enum round_mode mode, bool narrow)
{
    struct buf b = {0};
    i128 unscaled, r;
    bool overflow;
    if (!isfinite(v) || v == 0 || scale > 330)
        return v;
    int keep = scale > 18 ? scale : 18; /* enough digits to see what is dropped */
    if (narrow)
        float_text(&b, (float)v);
    else
        double_text(&b, v);
    for (; keep > (scale > 0 ? scale : 0); keep--)
        if (decimal_parse(buf_view(&b), keep, &unscaled, &overflow))
            break;
    bool ok = decimal_parse(buf_view(&b), keep, &unscaled, &overflow) && keep <= 38;
    if (ok && decimal_rescale(unscaled, keep, scale, mode, &r) && scale >= -38) {
        buf_clear(&b);
        i128_text(&b, r);
        buf_fmt(&b, "e%d", -scale);
        buf_u8(&b, 0);
        v = strtod(b.p, NULL);
    }
    buf_free(&b);
    return v;
}

static enum err round_integer(struct call *c, uint32_t i, int64_t v, int scale, enum round_mode mode, int64_t *out)
{
    i128 r = v;
    if (scale < 0) {
        i128 q;
        if (scale < -19)
            q = 0;
        else if (!decimal_rescale(v, -scale, 0, mode, &q))
            q = 0;
        r = scale < -19 ? 0 : q * (i128)POW10[-scale];
    }
    int64_t max = c->e->type->id == TYPE_BYTE    ? INT8_MAX
                  : c->e->type->id == TYPE_SHORT ? INT16_MAX
                  : c->e->type->id == TYPE_INT   ? INT32_MAX
                                                 : INT64_MAX;
    if ((r > max || r < -(i128)max - 1) && c->e->ansi)
        CALL_FAIL(c, i, ERR_ARITHMETIC_OVERFLOW, {"message", "Overflow"}, {"alternative", ""},
                  {"config", "\"spark.sql.ansi.enabled\""});
    *out = (int64_t)r;
    return ERR_OK;
}

static enum err round_row(struct call *c, uint32_t i, int scale, enum round_mode mode)
{
    const struct column *x = &c->args[0];
    uint32_t r = COL_AT(x, i);
    int64_t v = 0;
    enum err err = ERR_OK;
    switch (x->type->id) {
    case TYPE_DOUBLE:
        c->out->data.f64[i] = round_double(x->data.f64[r], scale, mode, false);
        break;
    case TYPE_FLOAT:
        c->out->data.f32[i] = (float)round_double((double)x->data.f32[r], scale, mode, true);
        break;
    case TYPE_DECIMAL: {
        i128 q = 0, wide = 0;
        bool ok = decimal_rescale(x->data.i128[r], x->type->scale, scale, mode, &q) &&
                  decimal_rescale(q, scale, c->e->type->scale, ROUND_DOWN, &wide) &&
                  decimal_fits(wide, c->e->type->precision);
        if (!ok)
            err = decimal_overflow(c, i, STR("overflow"));
        c->out->data.i128[i] = wide;
        break;
    }
    case TYPE_BYTE:
        err = round_integer(c, i, x->data.i8[r], scale, mode, &v);
        c->out->data.i8[i] = (int8_t)v;
        break;
    case TYPE_SHORT:
        err = round_integer(c, i, x->data.i16[r], scale, mode, &v);
        c->out->data.i16[i] = (int16_t)v;
        break;
    case TYPE_INT:
        err = round_integer(c, i, x->data.i32[r], scale, mode, &v);
        c->out->data.i32[i] = (int32_t)v;
        break;
    default:
        err = round_integer(c, i, x->data.i64[r], scale, mode, &v);
        c->out->data.i64[i] = v;
    }
    return err;
}

enum err fn_round(struct call *c)
{
    enum round_mode mode = (enum round_mode)c->e->fn->op;
    for (uint32_t i = 0; i < c->n; i++) {
        int64_t scale = c->args[1].data.i32[COL_AT(&c->args[1], i)];
        int s = scale > 400 ? 400 : scale < -400 ? -400 : (int)scale;
        enum err err = call_live(c, i) ? round_row(c, i, s, mode) : ERR_OK;
        if (err)
            return err;
    }
    return ERR_OK;
}

/* ceil(x), floor(x): a bigint or a decimal; with a scale always a decimal, under the plain name. */
enum err bind_ceil(struct bind_call *bc)
{
    struct expr *e = bc->e;
    struct arena *a = bc->b->arena;
    int64_t scale = 0;
    bool null = false;
    enum err err = ERR_OK;
    if (e->nargs == 2) {
        const char *name = bc->fn->op == ROUND_FLOOR ? "floor" : str_eqz(bc->shown, "CEIL") ? "ceil" : "ceiling";
        e->sql = arena_fmt(a, "%s(%.*s, %.*s)", name, STR_ARG(e->args[0]->sql), STR_ARG(e->args[1]->sql));
        if (e->args[0]->type->id != TYPE_DECIMAL)
            err = coerce_to(bc->b, &e->args[0], type_decimal_for(a, e->args[0]->type), bc->f);
        if (!err)
            err = bind_args(bc, "C,I");
        if (!err && !expr_constant_i64(bc->b, e->args[1], &scale, &null))
            return BIND_FAULT(bc, ERR_NON_FOLDABLE_INPUT, {"inputName", "`scale`"}, {"inputType", "\"INT\""},
                              {"inputExpr", quoted_expr(a, e->args[1])});
    } else {
        if (e->args[0]->type->id != TYPE_DECIMAL && e->args[0]->type->id != TYPE_LONG)
            err = type_is_integral(e->args[0]->type) ? coerce_to(bc->b, &e->args[0], type_simple(TYPE_LONG), bc->f)
                                                     : bind_args(bc, "DLC");
    }
    if (err)
        return err;
    const struct type *t = e->args[0]->type;
    e->type = t->id == TYPE_DECIMAL ? rounded_type(a, t,
                                                   scale > 38    ? 38
                                                   : scale < -38 ? -38
                                                                 : (int)scale)
                                    : type_simple(TYPE_LONG);
    e->nullable = true;
    return ERR_OK;
}

enum err fn_ceil(struct call *c)
{
    enum round_mode mode = (enum round_mode)c->e->fn->op;
    const struct column *x = &c->args[0];
    for (uint32_t i = 0; i < c->n; i++) {
        uint32_t r = COL_AT(x, i);
        if (!call_live(c, i))
            continue;
        if (x->type->id == TYPE_LONG) {
            c->out->data.i64[i] = x->data.i64[r];
        } else if (x->type->id == TYPE_DECIMAL) {
            int scale = c->e->nargs == 2 ? CALL_I32(c, 1, i) : 0;
            i128 q = 0, wide = 0;
            if (!decimal_rescale(x->data.i128[r], x->type->scale, scale, mode, &q) ||
                !decimal_rescale(q, scale, c->e->type->scale, ROUND_DOWN, &wide))
                call_set_null(c, i);
            c->out->data.i128[i] = wide;
        } else {
            double d = mode == ROUND_FLOOR ? floor(x->data.f64[r]) : ceil(x->data.f64[r]);
            c->out->data.i64[i] = isnan(d)                      ? 0
                                  : d >= 9223372036854775807.0  ? INT64_MAX
                                  : d <= -9223372036854775808.0 ? INT64_MIN
                                                                : (int64_t)d;
        }
    }
    return ERR_OK;
}

/* -- whole numbers ------------------------------------------------------------------------------------------------------------------ */
enum err fn_factorial(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        int32_t n = CALL_I32(c, 0, i);
        int64_t v = 1;
        if (!call_live(c, i))
            continue;
        if (n < 0 || n > 20) {
            call_set_null(c, i);
            continue;
        }
        for (int32_t k = 2; k <= n; k++)
            v *= k;
        c->out->data.i64[i] = v;
    }
    return ERR_OK;
}

enum err fn_width_bucket(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        double v = CALL_F64(c, 0, i), lo = CALL_F64(c, 1, i), hi = CALL_F64(c, 2, i);
        int64_t n = CALL_I64(c, 3, i), r;
        if (n <= 0 || n == INT64_MAX || isnan(v) || !isfinite(lo) || !isfinite(hi) || lo == hi) {
            call_set_null(c, i);
            continue;
        }
        double at = lo < hi ? (v - lo) / (hi - lo) : (lo - v) / (lo - hi);
        r = at < 0 ? 0 : at >= 1 ? n + 1 : (int64_t)((double)n * at) + 1;
        c->out->data.i64[i] = r;
    }
    return ERR_OK;
}

static struct str digits_of(struct arena *a, uint64_t v, unsigned base)
{
    char text[65], *p = text + 64;
    *p = 0;
    do {
        *--p = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[v % base];
        v /= base;
    } while (v);
    return arena_str(a, str_of(p));
}

enum err fn_bin(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        c->out->data.str[i] = digits_of(c->ev->arena, (uint64_t)CALL_I64(c, 0, i), 2);
    return ERR_OK;
}

enum err fn_hex(struct call *c)
{
    static const char HEX[] = "0123456789ABCDEF";
    for (uint32_t i = 0; i < c->n; i++) {
        if (!call_live(c, i))
            continue;
        if (c->args[0].type->id == TYPE_LONG) {
            c->out->data.str[i] = digits_of(c->ev->arena, (uint64_t)CALL_I64(c, 0, i), 16);
            continue;
        }
        struct str s = CALL_STR(c, 0, i);
        char *p = arena_alloc(c->ev->arena, s.n * 2);
        for (size_t k = 0; k < s.n; k++) {
            p[2 * k] = HEX[(uint8_t)s.p[k] >> 4];
            p[2 * k + 1] = HEX[(uint8_t)s.p[k] & 15];
        }
        c->out->data.str[i] = str_make(p, s.n * 2);
    }
    return ERR_OK;
}

static int hex_digit(char ch)
{
    return ch >= '0' && ch <= '9' ? ch - '0' : (ch | 32) >= 'a' && (ch | 32) <= 'f' ? (ch | 32) - 'a' + 10 : -1;
}

enum err fn_unhex(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        struct str s = CALL_STR(c, 0, i);
        if (!call_live(c, i))
            continue;
        size_t n = (s.n + 1) / 2;
        char *p = arena_alloc(c->ev->arena, n);
        bool ok = true;
        for (size_t k = 0; k < n; k++) { /* an odd count: the first digit stands alone */
            size_t at = 2 * k - s.n % 2;
            int hi = s.n % 2 && k == 0 ? 0 : hex_digit(s.p[at]), lo = hex_digit(s.p[at + 1]);
            ok &= hi >= 0 && lo >= 0;
            p[k] = (char)((hi & 15) << 4 | (lo & 15));
        }
        c->out->data.str[i] = str_make(p, n);
        if (!ok)
            call_set_null(c, i);
    }
    return ERR_OK;
}

/* conv(number text, from base, to base): unsigned 64 bits, saturating; a negative target base prints signed. */
static bool conv(struct arena *a, struct str s, int from, int to, struct str *out)
{
    uint64_t v = 0;
    bool full = false;
    s = str_trim(s);
    bool negative = s.n && s.p[0] == '-';
    if (from < 2 || from > 36 || abs(to) < 2 || abs(to) > 36 || !s.n)
        return false;
    for (size_t i = negative; i < s.n; i++) {
        char ch = s.p[i];
        int d = ch >= '0' && ch <= '9' ? ch - '0' : (ch | 32) >= 'a' && (ch | 32) <= 'z' ? (ch | 32) - 'a' + 10 : 99;
        if (d >= from)
            break;
        full |= __builtin_mul_overflow(v, (uint64_t)from, &v) || __builtin_add_overflow(v, (uint64_t)d, &v);
    }
    if (full)
        v = UINT64_MAX;
    if (negative && to > 0)
        v = full ? UINT64_MAX : -v;
    bool minus = to < 0 && (negative || (int64_t)v < 0);
    if (to < 0 && !negative && (int64_t)v < 0)
        v = -v;
    struct str d = digits_of(a, v, (unsigned)abs(to));
    *out = minus ? arena_fmt(a, "-%.*s", STR_ARG(d)) : d;
    return true;
}

enum err fn_conv(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (call_live(c, i) &&
            !conv(c->ev->arena, CALL_STR(c, 0, i), CALL_I32(c, 1, i), CALL_I32(c, 2, i), &c->out->data.str[i]))
            call_set_null(c, i);
    return ERR_OK;
}

/* -- random numbers: another sequence per batch ------------------------------------------------------------------ */
enum err bind_rand(struct bind_call *bc)
{
    enum err err = bind_args(bc, "L");
    bc->e->type = type_simple(TYPE_DOUBLE);
    return err;
}

enum err fn_rand(struct call *c)
{
    /* With a seed: the same numbers in every run, and in every call with that seed. Without: by the query's time. */
    uint64_t seeded = c->ev->random_state, *state = &c->ev->random_state;
    if (c->e->nargs > 0) {
        seeded ^= (uint64_t)(col_valid(&c->args[0], 0) ? CALL_I64(c, 0, 0) : 0) * 0xD1342543DE82EF95u;
        state = &seeded;
    } else {
        *state += (uint64_t)c->ev->now_us * 0xD1342543DE82EF95u;
    }
    for (uint32_t i = 0; i < c->n; i++) {
        double u = random_unit(state);
        c->out->data.f64[i] = c->e->fn->op ? sqrt(-2 * log(1 - u)) * cos(2 * M_PI * random_unit(state)) : u;
    }
    return ERR_OK;
}

enum err bind_nanvl(struct bind_call *bc)
{
    struct expr *e = bc->e;
    enum err err = bind_args(bc, "DF,DF");
    const struct type *t = type_simple(
        e->args[0]->type->id == TYPE_FLOAT && e->args[1]->type->id == TYPE_FLOAT ? TYPE_FLOAT : TYPE_DOUBLE);
    for (int i = 0; i < 2 && !err; i++)
        err = coerce_to(bc->b, &e->args[i], t, bc->f);
    e->type = t;
    e->nullable = expr_args_nullable(e);
    return err;
}

enum err fn_nanvl(struct call *c)
{
    bool narrow = c->e->type->id == TYPE_FLOAT;
    for (uint32_t i = 0; i < c->n; i++) {
        const struct column *x = &c->args[0];
        uint32_t r = COL_AT(x, i);
        if (!col_valid(x, i)) {
            call_set_null(c, i);
            continue;
        }
        bool nan = narrow ? isnan(x->data.f32[r]) : isnan(x->data.f64[r]);
        if (nan) {
            x = &c->args[1];
            r = COL_AT(x, i);
            if (!col_valid(x, i))
                call_set_null(c, i);
        }
        if (narrow)
            c->out->data.f32[i] = x->data.f32[r];
        else
            c->out->data.f64[i] = x->data.f64[r];
    }
    return ERR_OK;
}
