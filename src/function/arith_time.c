/* Arithmetic of dates, timestamps and intervals: + - * / beside numbers' (Spark's ResolveBinaryArithmetic). */
#include "function/table_int.h"

static bool is_time(const struct type *t)
{
    return t->id == TYPE_DATE || t->id == TYPE_TIMESTAMP || t->id == TYPE_TIMESTAMP_NTZ;
}

static bool is_interval(const struct type *t)
{
    return t->id == TYPE_DAY_TIME || t->id == TYPE_YEAR_MONTH || t->id == TYPE_CALENDAR;
}

static const struct type *day_time(struct arena *a, int first, int last)
{
    struct type *t = ARENA_NEW(a, struct type);
    *t = (struct type){.id = TYPE_DAY_TIME, .first = (uint8_t)first, .last = (uint8_t)last};
    return t;
}

/* Finish as a call of the hidden row `name` on these arguments, printed as `format`. */
static enum err as(struct bind_call *bc, const char *name, struct expr *x, struct expr *y, const struct type *t,
                   struct str sql)
{
    struct expr *args[2] = {x, y}, *out;
    enum err err = bind_call_name(bc->b, name, args, 2, &out, bc->f);
    if (err)
        return err;
    if (t)
        out->type = t;
    if (sql.n)
        out->sql = sql;
    bc->e = out;
    return ERR_OK;
}

/* time ± interval */
static enum err shift_time(struct bind_call *bc, struct expr *time, struct expr *interval, bool minus)
{
    struct arena *a = bc->b->arena;
    struct str sql = arena_fmt(a, "%.*s %c %.*s", STR_ARG(time->sql), minus ? '-' : '+', STR_ARG(interval->sql));
    const struct type *t = time->type;
    bool whole_days = interval->type->id == TYPE_DAY_TIME && interval->type->last == 0;
    if (t->id == TYPE_STRING) {
        enum err err = coerce_to(bc->b, &time, type_simple(TYPE_TIMESTAMP), bc->f);
        if (err)
            return err;
    }
    if (t->id == TYPE_DATE && interval->type->id == TYPE_DAY_TIME && !whole_days) {
        enum err err = coerce_to(bc->b, &time, type_simple(TYPE_TIMESTAMP), bc->f);
        if (err)
            return err;
    }
    if (whole_days && t->id == TYPE_DATE)
        sql = arena_fmt(a, "date_%s(%.*s, extractansiintervaldays(%.*s))", minus ? "sub" : "add", STR_ARG(time->sql),
                        STR_ARG(interval->sql));
    return as(bc, minus ? "time-interval" : "time+interval", time, interval, time->type, sql);
}

static enum err bind_add_time(struct bind_call *bc, bool *done)
{
    struct expr **a = bc->e->args, *x = a[0], *y = a[1];
    bool minus = (bc->fn->op & OP_MASK) == OP_SUB;
    *done = true;
    if ((is_time(x->type) || x->type->id == TYPE_STRING) && is_interval(y->type))
        return shift_time(bc, x, y, minus);
    if (!minus && is_interval(x->type) && (is_time(y->type) || y->type->id == TYPE_STRING)) {
        return shift_time(bc, y, x, false);
    }
    bool null_date = x->type->id == TYPE_DATE && y->type->id == TYPE_NULL;
    if (x->type->id == TYPE_DATE && (type_is_integral(y->type) || (!minus && null_date)) && y->type->id != TYPE_LONG)
        return as(bc, minus ? "date_sub" : "date_add", x, y, NULL, STR(""));
    if (!minus && type_is_integral(x->type) && x->type->id != TYPE_LONG && y->type->id == TYPE_DATE)
        return as(bc, "date_add", y, x, NULL, STR(""));
    if (minus && is_time(x->type) && (is_time(y->type) || y->type->id == TYPE_STRING)) {
        struct str sql = arena_fmt(bc->b->arena, "(%.*s - %.*s)", STR_ARG(x->sql), STR_ARG(y->sql));
        if (x->type->id == TYPE_DATE && (y->type->id == TYPE_DATE || y->type->id == TYPE_STRING)) {
            enum err err = coerce_to(bc->b, &y, type_simple(TYPE_DATE), bc->f);
            return err ? err : as(bc, "date-date", x, y, day_time(bc->b->arena, 0, 0), sql);
        }
        enum type_id id = x->type->id == TYPE_TIMESTAMP_NTZ && y->type->id == TYPE_TIMESTAMP_NTZ ? TYPE_TIMESTAMP_NTZ
                                                                                                 : TYPE_TIMESTAMP;
        enum err err = coerce_to(bc->b, &x, type_simple(id), bc->f);
        if (!err)
            err = coerce_to(bc->b, &y, type_simple(id), bc->f);
        return err ? err : as(bc, "time-time", x, y, day_time(bc->b->arena, 0, 3), sql);
    }
    *done = false;
    return ERR_OK;
}

/* interval ± interval, interval * number, interval / number */
static enum err bind_interval(struct bind_call *bc, int op, bool *done)
{
    struct expr **a = bc->e->args;
    const struct type *x = a[0]->type, *y = a[1]->type, *t;
    *done = true;
    struct str sql = bind_sql(bc);
    if ((op == OP_ADD || op == OP_SUB) && is_interval(x) && (x->id == y->id || y->id == TYPE_NULL) &&
        x->id != TYPE_CALENDAR && type_tightest(bc->b, x, y, &t))
        return as(bc, op == OP_ADD ? "interval+interval" : "interval-interval", a[0], a[1], t, sql);
    if (op == OP_MUL && is_interval(y) && type_is_numeric(x))
        return as(bc, "interval*number", a[1], a[0],
                  y->id == TYPE_DAY_TIME ? day_time(bc->b->arena, 0, 3) : type_simple(y->id), sql);
    if ((op == OP_MUL || op == OP_DIV) && is_interval(x) &&
        (type_is_numeric(y) || y->id == TYPE_NULL || y->id == TYPE_STRING)) {
        enum err err = y->id == TYPE_STRING ? coerce_to(bc->b, &a[1], type_simple(TYPE_DOUBLE), bc->f) : ERR_OK;
        return err ? err
                   : as(bc, op == OP_MUL ? "interval*number" : "interval/number", a[0], a[1],
                        x->id == TYPE_DAY_TIME ? day_time(bc->b->arena, 0, 3) : type_simple(x->id), sql);
    }
    *done = false;
    return ERR_OK;
}

enum err bind_arith_time(struct bind_call *bc, int op, bool *done)
{
    const struct type *x = bc->e->args[0]->type, *y = bc->e->args[1]->type;
    *done = false;
    if (!is_time(x) && !is_time(y) && !is_interval(x) && !is_interval(y))
        return ERR_OK;
    if (op == OP_ADD || op == OP_SUB) {
        enum err err = bind_add_time(bc, done);
        if (err || *done)
            return err;
    }
    return is_interval(x) || is_interval(y) ? bind_interval(bc, op, done) : ERR_OK;
}

/* Months and days on the wall clock of `zone` (NULL: local already), microseconds on the time line. */
static int64_t timestamp_add(int64_t us, int64_t months, int64_t days, int64_t micros, const struct zone *zone,
                             bool *overflow)
{
    int64_t out = us, shift;
    *overflow = false;
    if (months || days) {
        if (months > INT32_MAX || months < -INT32_MAX || __builtin_mul_overflow(days, US_PER_DAY, &shift))
            return *overflow = true, 0;
        out = zone ? utc_to_local_us(zone, us) : us;
        out = months ? local_add_months(out, (int32_t)months) : out;
        if (__builtin_add_overflow(out, shift, &out))
            return *overflow = true, 0;
        out = zone ? zone_local_to_utc_us(zone, out) : out;
    }
    *overflow = __builtin_add_overflow(out, micros, &out);
    return out;
}

/* -- kernels ------------------------------------------------------------------------------------------------------------------- */
static enum err time_overflow(struct call *c, uint32_t i)
{
    CALL_FAIL(c, i, ERR_ARITHMETIC_OVERFLOW, {"message", "long overflow"}, {"alternative", ""},
              {"config", "\"spark.sql.ansi.enabled\""});
    return ERR_OK;
}

enum err fn_time_interval(struct call *c)
{
    const struct column *v = &c->args[1];
    int sign = c->e->fn->op;
    enum type_id id = c->args[0].type->id;
    const struct zone *zone = id == TYPE_TIMESTAMP ? c->ev->zone : NULL;
    for (uint32_t i = 0; i < c->n; i++) {
        if (!call_live(c, i))
            continue;
        uint32_t k = COL_AT(v, i);
        int64_t months = 0, days = 0, us = 0;
        if (v->type->id == TYPE_CALENDAR) {
            months = v->data.interval[k].months;
            days = v->data.interval[k].days;
            us = v->data.interval[k].micros;
        } else if (v->type->id == TYPE_YEAR_MONTH) {
            months = v->data.i32[k];
        } else { /* whole days are calendar days (DateTimeUtils.timestampAddDayTime) */
            us = v->data.i64[k];
            days = us / US_PER_DAY;
            us %= US_PER_DAY;
        }
        bool overflow;
        if (id == TYPE_DATE) {
            int32_t from = CALL_I32(c, 0, i);
            int64_t day = months ? date_add_months(from, (int32_t)(sign * months)) : from;
            day += sign * days;
            overflow = day > INT32_MAX || day < INT32_MIN;
            c->out->data.i32[i] = (int32_t)day;
        } else {
            c->out->data.i64[i] =
                timestamp_add(CALL_I64(c, 0, i), sign * months, sign * days, sign * us, zone, &overflow);
        }
        enum err err = overflow ? time_overflow(c, i) : ERR_OK;
        if (err)
            return err;
    }
    return ERR_OK;
}

enum err fn_date_minus_date(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        c->out->data.i64[i] = ((int64_t)CALL_I32(c, 0, i) - CALL_I32(c, 1, i)) * US_PER_DAY;
    return ERR_OK;
}

/* The difference of wall clocks: a day with a change of offset has 24 hours, too. */
enum err fn_time_minus_time(struct call *c)
{
    bool utc = c->args[0].type->id == TYPE_TIMESTAMP;
    for (uint32_t i = 0; i < c->n; i++) {
        if (!call_live(c, i))
            continue;
        int64_t x = CALL_I64(c, 0, i), y = CALL_I64(c, 1, i);
        if (utc) {
            x += (int64_t)zone_offset_s(c->ev->zone, x) * US_PER_SECOND;
            y += (int64_t)zone_offset_s(c->ev->zone, y) * US_PER_SECOND;
        }
        enum err err = __builtin_sub_overflow(x, y, &c->out->data.i64[i]) ? time_overflow(c, i) : ERR_OK;
        if (err)
            return err;
    }
    return ERR_OK;
}

static int64_t interval_at(const struct column *c, uint32_t i)
{
    return c->type->id == TYPE_DAY_TIME ? c->data.i64[COL_AT(c, i)] : c->data.i32[COL_AT(c, i)];
}

static enum err store(struct call *c, uint32_t i, i128 v)
{
    bool wide = c->e->type->id == TYPE_DAY_TIME;
    if (wide ? v > INT64_MAX || v < INT64_MIN : v > INT32_MAX || v < INT32_MIN) {
        const char *hint = c->e->fn->op == 1 ? "`try_add`" : c->e->fn->op == -1 ? "`try_subtract`" : "`try_multiply`";
        if (wide && (c->e->fn->op == 1 || c->e->fn->op == -1))
            CALL_FAIL(c, i, ERR_INTERVAL_ARITHMETIC_OVERFLOW_WITH_SUGGESTION, {"functionName", hint});
        else
            CALL_FAIL(c, i, ERR_INTERVAL_ARITHMETIC_OVERFLOW_WITHOUT_SUGGESTION, {"functionName", hint});
        return ERR_OK;
    }
    if (wide)
        c->out->data.i64[i] = (int64_t)v;
    else
        c->out->data.i32[i] = (int32_t)v;
    return ERR_OK;
}

enum err fn_interval_add(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        if (!call_live(c, i))
            continue;
        enum err err =
            store(c, i, (i128)interval_at(&c->args[0], i) + (i128)c->e->fn->op * interval_at(&c->args[1], i));
        if (err)
            return err;
    }
    return ERR_OK;
}

/* The factor as a ratio: decimals exactly, floating point through a double. Half up, as RoundingMode.HALF_UP. */
static enum err scale_row(struct call *c, uint32_t i, bool divide)
{
    const struct column *n = &c->args[1];
    uint32_t k = COL_AT(n, i);
    int64_t v = interval_at(&c->args[0], i);
    i128 r = 0;
    if (n->type->id == TYPE_FLOAT || n->type->id == TYPE_DOUBLE) {
        double f = n->type->id == TYPE_FLOAT ? (double)n->data.f32[k] : n->data.f64[k];
        if (divide && f == 0)
            CALL_FAIL(c, i, ERR_INTERVAL_DIVIDED_BY_ZERO, {"", ""});
        double d = divide ? (double)v / f : (double)v * f;
        r = isfinite(d) && fabs(d) < 1e30 ? (i128)floor(d + 0.5) : (i128)INT64_MAX * 4;
    } else {
        i128 u = n->type->id == TYPE_DECIMAL ? n->data.i128[k]
                                             : (type_width(n->type) == 8   ? n->data.i64[k]
                                                : type_width(n->type) == 4 ? n->data.i32[k]
                                                : type_width(n->type) == 2 ? n->data.i16[k]
                                                                           : n->data.i8[k]);
        int s = n->type->id == TYPE_DECIMAL ? n->type->scale : 0;
        if (divide && u == 0) {
            CALL_FAIL(c, i, ERR_INTERVAL_DIVIDED_BY_ZERO, {"", ""});
            return ERR_OK;
        }
        if (!(divide ? decimal_div(v, 0, u, s, 0, ROUND_HALF_UP, &r) : decimal_mul(v, 0, u, s, 0, &r)))
            r = (i128)INT64_MAX * 4;
    }
    return store(c, i, r);
}

enum err fn_interval_scale(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        enum err err = call_live(c, i) ? scale_row(c, i, c->e->fn->op == 3) : ERR_OK;
        if (err)
            return err;
    }
    return ERR_OK;
}
