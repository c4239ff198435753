/*
 * CAST between all types. The cast of a column is a loop per pair of types; a value that does not fit is an error (ANSI), NULL
 * (TRY, and legacy where Spark says so) or wraps (legacy integers).
 */
#include "function/function_int.h"

#include "base/limit.h"

struct cast {
    struct call *c;
    const struct column *in;
    const struct type *from, *to;
    enum cast_mode mode;
    struct column *out;
};

#define ANSI_CONFIG                                                                                                    \
    {                                                                                                                  \
        "ansiConfig", "\"spark.sql.ansi.enabled\""                                                                     \
    }

static enum err invalid_input(struct cast *k, uint32_t i)
{
    struct call *c = k->c;
    if (k->mode != CAST_ANSI)
        return call_set_null(c, i), ERR_OK;
    struct arena *a = c->ev->arena;
    enum err id = k->to->id == TYPE_BOOLEAN ? ERR_CAST_INVALID_INPUT_BOOLEAN
                  : k->to->id >= TYPE_DATE  ? ERR_CAST_INVALID_INPUT_TIME
                                            : ERR_CAST_INVALID_INPUT;
    CALL_FAIL(c, i, id, {"expression", literal_sql(a, k->in, i, c->ev->zone)}, {"sourceType", quoted_type(a, k->from)},
              {"targetType", quoted_type(a, k->to)}, ANSI_CONFIG);
    return ERR_OK;
}

static enum err cast_overflow(struct cast *k, uint32_t i)
{
    struct call *c = k->c;
    if (k->mode != CAST_ANSI)
        return call_set_null(c, i), ERR_OK;
    struct arena *a = c->ev->arena;
    CALL_FAIL(c, i, ERR_CAST_OVERFLOW, {"value", literal_sql(a, k->in, i, c->ev->zone)},
              {"sourceType", quoted_type(a, k->from)}, {"targetType", quoted_type(a, k->to)}, ANSI_CONFIG);
    return ERR_OK;
}

/* Loop over the rows that are not null: r is the physical row of the input. */
#define ROWS(k)                                                                                                        \
    for (uint32_t i = 0, r = 0; i < (k)->c->n && ((r = COL_AT((k)->in, i)), true); i++)                                \
        if (call_live((k)->c, i))
#define TRY_(expr)                                                                                                     \
    do {                                                                                                               \
        enum err err_ = (expr);                                                                                        \
        if (err_)                                                                                                      \
            return err_;                                                                                               \
    } while (0)

/* -- reading numbers in any type --------------------------------------------------------------------------------------------- */
static int64_t integral_at(const struct column *c, uint32_t r)
{
    switch (type_width(c->type)) {
    case 1:
        return c->data.i8[r];
    case 2:
        return c->data.i16[r];
    case 4:
        return c->data.i32[r];
    default:
        return c->data.i64[r];
    }
}

static bool is_whole(const struct type *t)
{
    return type_is_integral(t) || t->id == TYPE_BOOLEAN;
}

static double double_at(const struct column *c, uint32_t r)
{
    switch (c->type->id) {
    case TYPE_FLOAT:
        return (double)c->data.f32[r];
    case TYPE_DOUBLE:
        return c->data.f64[r];
    case TYPE_DECIMAL:
        return decimal_double(c->data.i128[r], c->type->scale);
    case TYPE_TIMESTAMP:
        return (double)c->data.i64[r] / 1e6;
    default:
        return (double)integral_at(c, r);
    }
}

static void store_int(struct column *out, uint32_t i, int64_t v)
{
    switch (type_width(out->type)) {
    case 1:
        out->data.i8[i] = (int8_t)v;
        break;
    case 2:
        out->data.i16[i] = (int16_t)v;
        break;
    case 4:
        out->data.i32[i] = (int32_t)v;
        break;
    default:
        out->data.i64[i] = v;
    }
}

static int64_t int_max(const struct type *t)
{
    return t->id == TYPE_BYTE ? INT8_MAX : t->id == TYPE_SHORT ? INT16_MAX : t->id == TYPE_INT ? INT32_MAX : INT64_MAX;
}

/* -- to integers ------------------------------------------------------------------------------------------------------------------ */
static enum err string_to_int(struct cast *k)
{
    int64_t max = int_max(k->to), v = 0;
    ROWS(k)
    {
        if (parse_int(k->in->data.str[r], &v, k->mode != CAST_LEGACY) && v <= max && v >= -max - 1)
            store_int(k->out, i, v);
        else
            TRY_(invalid_input(k, i));
    }
    return ERR_OK;
}

/* Java's (int) and (long): saturating, NaN is 0; narrower ones cut the int. */
static int64_t java_int(double d, const struct type *to)
{
    bool wide = to->id == TYPE_LONG;
    double max = wide ? 9223372036854775807.0 : 2147483647.0;
    if (isnan(d))
        return 0;
    if (d >= max)
        return wide ? INT64_MAX : INT32_MAX;
    if (d <= -max - 1)
        return wide ? INT64_MIN : INT32_MIN;
    return (int64_t)d;
}

static enum err float_to_int(struct cast *k)
{
    double max = (double)int_max(k->to), min = -max - (k->to->id == TYPE_LONG ? 0 : 1);
    bool wide = k->to->id == TYPE_LONG;
    ROWS(k)
    {
        double d = double_at(k->in, r);
        bool fits = wide ? floor(d) < 9223372036854775808.0 && ceil(d) >= -9223372036854775808.0
                         : floor(d) <= max && ceil(d) >= min;
        if (!fits && k->mode != CAST_LEGACY)
            TRY_(cast_overflow(k, i));
        else
            store_int(k->out, i, java_int(d, k->to));
    }
    return ERR_OK;
}

static enum err int_to_int(struct cast *k)
{
    int64_t max = int_max(k->to);
    bool narrow = type_width(k->from) > type_width(k->to) && k->mode != CAST_LEGACY;
    ROWS(k)
    {
        int64_t v = integral_at(k->in, r);
        if (narrow && (v > max || v < -max - 1))
            TRY_(cast_overflow(k, i));
        else
            store_int(k->out, i, v);
    }
    return ERR_OK;
}

static enum err decimal_to_int(struct cast *k)
{
    int64_t max = int_max(k->to);
    ROWS(k)
    {
        i128 v = 0;
        bool ok = decimal_rescale(k->in->data.i128[r], k->from->scale, 0, ROUND_DOWN, &v);
        if ((!ok || v > max || v < -(i128)max - 1) && k->mode != CAST_LEGACY)
            TRY_(cast_overflow(k, i));
        else
            store_int(k->out, i, (int64_t)v);
    }
    return ERR_OK;
}

static enum err timestamp_to_int(struct cast *k)
{
    int64_t max = int_max(k->to);
    ROWS(k)
    {
        int64_t v = floor_div(k->in->data.i64[r], US_PER_SECOND);
        if ((v > max || v < -max - 1) && k->mode != CAST_LEGACY)
            TRY_(cast_overflow(k, i));
        else
            store_int(k->out, i, v);
    }
    return ERR_OK;
}

/* An interval in its last unit. */
static int64_t interval_unit(const struct type *t)
{
    static const int64_t DAY_UNITS[] = {US_PER_DAY, US_PER_HOUR, US_PER_MINUTE, US_PER_SECOND};
    return t->id == TYPE_DAY_TIME ? DAY_UNITS[t->last] : t->last == 0 ? 12 : 1;
}

static enum err interval_to_int(struct cast *k)
{
    int64_t max = int_max(k->to), unit = interval_unit(k->from);
    ROWS(k)
    {
        int64_t v = integral_at(k->in, r) / unit;
        if (v > max || v < -max - 1)
            TRY_(cast_overflow(k, i));
        else
            store_int(k->out, i, v);
    }
    return ERR_OK;
}

static enum err to_int(struct cast *k)
{
    switch (k->from->id) {
    case TYPE_STRING:
        return string_to_int(k);
    case TYPE_FLOAT:
    case TYPE_DOUBLE:
        return float_to_int(k);
    case TYPE_DECIMAL:
        return decimal_to_int(k);
    case TYPE_TIMESTAMP:
        return timestamp_to_int(k);
    case TYPE_DAY_TIME:
    case TYPE_YEAR_MONTH:
        return interval_to_int(k);
    case TYPE_DATE: /* legacy only: NULL */
        for (uint32_t i = 0; i < k->c->n; i++)
            call_set_null(k->c, i);
        return ERR_OK;
    default:
        return int_to_int(k);
    }
}

/* -- to floating point, decimal, boolean -------------------------------------------------------------------------------------------- */
static enum err to_double(struct cast *k)
{
    bool narrow = k->to->id == TYPE_FLOAT;
    ROWS(k)
    {
        double d = 0;
        if (k->from->id == TYPE_STRING) {
            if (!parse_double(k->in->data.str[r], &d)) {
                TRY_(invalid_input(k, i));
                continue;
            }
        } else if (k->from->id == TYPE_DATE) {
            call_set_null(k->c, i);
        } else {
            d = double_at(k->in, r);
        }
        if (narrow)
            k->out->data.f32[i] = is_whole(k->from) ? (float)integral_at(k->in, r) : (float)d;
        else
            k->out->data.f64[i] = d;
    }
    return ERR_OK;
}

static enum err decimal_too_wide(struct cast *k, uint32_t i, struct str value)
{
    struct call *c = k->c;
    struct arena *a = c->ev->arena;
    if (k->mode != CAST_ANSI)
        return call_set_null(c, i), ERR_OK;
    CALL_FAIL(c, i, ERR_NUMERIC_VALUE_OUT_OF_RANGE_WITH_SUGGESTION, {"value", arena_z(a, value)},
              {"precision", arena_fmt(a, "%d", k->to->precision).p}, {"scale", arena_fmt(a, "%d", k->to->scale).p},
              {"config", "\"spark.sql.ansi.enabled\""});
    return ERR_OK;
}

/* The unscaled value and its scale of any number but floating point. */
static i128 unscaled_at(const struct column *c, uint32_t r, int *scale)
{
    *scale = c->type->id == TYPE_DECIMAL ? c->type->scale : c->type->id == TYPE_TIMESTAMP ? 6 : 0;
    return c->type->id == TYPE_DECIMAL ? c->data.i128[r] : (i128)integral_at(c, r);
}

static struct str unscaled_text(struct cast *k, i128 v, int scale)
{
    struct buf b = {0};
    decimal_text(&b, v, scale);
    struct str s = arena_str(k->c->ev->arena, buf_view(&b));
    buf_free(&b);
    return s;
}

static enum err to_decimal(struct cast *k)
{
    int p = k->to->precision, s = k->to->scale;
    ROWS(k)
    {
        i128 v = 0;
        bool overflow = false, ok;
        if (k->from->id == TYPE_STRING) {
            ok = decimal_parse(k->in->data.str[r], s, &v, &overflow);
            if (!ok && !overflow) {
                TRY_(invalid_input(k, i));
                continue;
            }
            if (!ok || !decimal_fits(v, p))
                TRY_(decimal_too_wide(k, i, str_trim(k->in->data.str[r])));
        } else if (k->from->id == TYPE_FLOAT || k->from->id == TYPE_DOUBLE) {
            double d = double_at(k->in, r);
            if (!isfinite(d)) { /* NULL even under ANSI */
                call_set_null(k->c, i);
                continue;
            }
            if (!decimal_of_double(d, s, &v) || !decimal_fits(v, p))
                TRY_(decimal_too_wide(k, i,
                                      fabs(d) < 1e7 ? text_of(k->c->ev->arena, k->in, i, NULL)
                                                    : arena_fmt(k->c->ev->arena, "%.0f", d)));
        } else if (k->from->id == TYPE_DATE) {
            call_set_null(k->c, i);
        } else {
            int have;
            i128 u = unscaled_at(k->in, r, &have);
            if (k->from->id == TYPE_DAY_TIME || k->from->id == TYPE_YEAR_MONTH)
                u /= interval_unit(k->from);
            ok = decimal_rescale(u, have, s, ROUND_HALF_UP, &v);
            if (!ok || !decimal_fits(v, p))
                TRY_(decimal_too_wide(k, i, unscaled_text(k, u, have)));
        }
        k->out->data.i128[i] = v;
    }
    return ERR_OK;
}

static int parse_boolean(struct str s)
{
    static const char *const WORDS[] = {"t", "true", "y", "yes", "1", "f", "false", "n", "no", "0"};
    s = str_trim(s);
    for (int i = 0; i < 10; i++)
        if (str_eq_nocase(s, str_of(WORDS[i])))
            return i < 5;
    return -1;
}

static enum err to_boolean(struct cast *k)
{
    ROWS(k)
    {
        int b = 0;
        if (k->from->id == TYPE_STRING)
            b = parse_boolean(k->in->data.str[r]);
        else if (k->from->id == TYPE_DECIMAL)
            b = k->in->data.i128[r] != 0;
        else if (k->from->id == TYPE_FLOAT || k->from->id == TYPE_DOUBLE)
            b = double_at(k->in, r) != 0;
        else if (k->from->id == TYPE_DATE)
            call_set_null(k->c, i);
        else
            b = integral_at(k->in, r) != 0;
        if (b < 0)
            TRY_(invalid_input(k, i));
        k->out->data.boolean[i] = b > 0;
    }
    return ERR_OK;
}

/* -- to text -------------------------------------------------------------------------------------------------------------------------- */
/* The texts of all rows lie in one piece of the arena. */
static enum err to_string(struct cast *k)
{
    struct buf b = {0};
    uint32_t n = k->c->n;
    size_t *end = ARENA_ARRAY(k->c->ev->arena, (size_t)n + 1, size_t);
    for (uint32_t i = 0; i < n; i++) {
        if (call_live(k->c, i))
            value_text(&b, k->in, i, k->c->ev->zone);
        end[i + 1] = b.n;
    }
    struct str all = arena_str(k->c->ev->arena, buf_view(&b));
    bool bad = b.bad;
    buf_free(&b);
    if (bad)
        return LIMIT_FAULT(k->c->ev->fault, TEXT_BYTES);
    for (uint32_t i = 0; i < n; i++)
        k->out->data.str[i] = str_sub(all, end[i], end[i + 1] - end[i]);
    return ERR_OK;
}

static enum err to_binary(struct cast *k)
{
    struct arena *a = k->c->ev->arena;
    ROWS(k)
    {
        if (k->from->id == TYPE_STRING) {
            k->out->data.str[i] = k->in->data.str[r];
            continue;
        }
        size_t w = type_width(k->from); /* legacy: big-endian bytes */
        uint64_t v = (uint64_t)integral_at(k->in, r);
        char *p = arena_alloc(a, w);
        for (size_t b = 0; b < w; b++)
            p[b] = (char)(v >> (8 * (w - 1 - b)));
        k->out->data.str[i] = str_make(p, w);
    }
    return ERR_OK;
}

/* -- to times ---------------------------------------------------------------------------------------------------------------------------- */
/* epoch, now, today, yesterday, tomorrow. At plan time there is no now: the cast waits for the run. */
static bool special_day(struct cast *k, uint32_t r, int64_t *us, bool *instant)
{
    static const char *const WORDS[] = {"epoch", "now", "today", "yesterday", "tomorrow"};
    int64_t now = k->c->ev->now_us;
    struct str s = str_trim(k->in->data.str[r]);
    for (int i = 0; i < 5; i++) {
        if (!str_eq_nocase(s, str_of(WORDS[i])))
            continue;
        int64_t today = now ? (int64_t)local_day(k->c->ev->zone, now) * US_PER_DAY : 0;
        const int64_t at[] = {0, now, today, today - US_PER_DAY, today + US_PER_DAY};
        *us = at[i];
        *instant = i < 2;
        return i == 0 || now;
    }
    return false;
}

static bool text_to_day(struct cast *k, uint32_t r, int32_t *d)
{
    int64_t us;
    bool instant;
    if (text_to_date(k->in->data.str[r], d))
        return true;
    if (!special_day(k, r, &us, &instant))
        return false;
    *d = instant && us ? local_day(k->c->ev->zone, us) : (int32_t)floor_div(us, US_PER_DAY);
    return true;
}

static bool text_to_time(struct cast *k, uint32_t r, int64_t *us)
{
    const struct zone *zone = k->c->ev->zone;
    struct str s = k->in->data.str[r];
    bool local = k->to->id == TYPE_TIMESTAMP_NTZ, instant;
    struct str t = str_trim(s);
    ptrdiff_t colon = str_find(t, STR(":"), 0);
    if (!k->c->ev->now_us && t.n && (t.p[0] == 'T' || (colon > 0 && colon <= 2)))
        return false; /* a time of today: not at plan time */
    if (local ? text_to_timestamp_ntz(s, us)
              : (k->c->ev->now_us ? text_to_timestamp_now(s, zone, k->c->ev->now_us, us)
                                  : text_to_timestamp(s, zone, us)))
        return true;
    if (!special_day(k, r, us, &instant))
        return false;
    if (local && instant && *us)
        *us = utc_to_local_us(zone, *us);
    else if (!local && !instant)
        *us = zone_local_to_utc_us(zone, *us);
    return true;
}

static enum err to_date(struct cast *k)
{
    const struct zone *zone = k->c->ev->zone;
    ROWS(k)
    {
        int32_t d = 0;
        if (k->from->id == TYPE_STRING) {
            if (!text_to_day(k, r, &d))
                TRY_(invalid_input(k, i));
        } else {
            int64_t us = k->in->data.i64[r];
            if (k->from->id == TYPE_TIMESTAMP)
                us += (int64_t)zone_offset_s(zone, us) * US_PER_SECOND;
            d = (int32_t)floor_div(us, US_PER_DAY);
        }
        k->out->data.i32[i] = d;
    }
    return ERR_OK;
}

static bool seconds_to_us(struct cast *k, uint32_t r, int64_t *us)
{
    if (k->from->id == TYPE_DECIMAL) {
        i128 v;
        if (!decimal_rescale(k->in->data.i128[r], k->from->scale, 6, ROUND_DOWN, &v))
            return false;
        *us = (int64_t)v; /* BigDecimal.longValue: the low bits */
        return true;
    }
    if (k->from->id == TYPE_FLOAT || k->from->id == TYPE_DOUBLE) {
        double d = double_at(k->in, r);
        if (!isfinite(d))
            return false;
        *us = java_int(d * 1e6, type_simple(TYPE_LONG));
        return true;
    }
    int64_t s = integral_at(k->in, r);
    if (k->from->id == TYPE_BOOLEAN)
        *us = s;
    else if (__builtin_mul_overflow(s, US_PER_SECOND, us))
        *us = s < 0 ? INT64_MIN : INT64_MAX; /* TimeUnit.SECONDS.toMicros saturates */
    return true;
}

static enum err to_timestamp(struct cast *k)
{
    const struct zone *zone = k->c->ev->zone;
    bool local = k->to->id == TYPE_TIMESTAMP_NTZ;
    ROWS(k)
    {
        int64_t us = 0;
        switch (k->from->id) {
        case TYPE_STRING:
            if (!text_to_time(k, r, &us))
                TRY_(invalid_input(k, i));
            break;
        case TYPE_DATE:
            us = (int64_t)k->in->data.i32[r] * US_PER_DAY;
            if (!local)
                us = zone_local_to_utc_us(zone, us);
            break;
        case TYPE_TIMESTAMP:
            us = k->in->data.i64[r];
            us += (int64_t)zone_offset_s(zone, us) * US_PER_SECOND;
            break;
        case TYPE_TIMESTAMP_NTZ:
            us = zone_local_to_utc_us(zone, k->in->data.i64[r]);
            break;
        default:
            if (!seconds_to_us(k, r, &us))
                TRY_(k->from->id == TYPE_DECIMAL ? cast_overflow(k, i) : invalid_input(k, i));
        }
        k->out->data.i64[i] = us;
    }
    return ERR_OK;
}

static enum err bad_interval(struct cast *k, uint32_t i)
{
    struct call *c = k->c;
    struct arena *a = c->ev->arena;
    if (k->mode == CAST_TRY)
        return call_set_null(c, i), ERR_OK;
    bool ym = k->to->id == TYPE_YEAR_MONTH;
    CALL_FAIL(c, i, ERR_INVALID_INTERVAL_FORMAT_UNMATCHED_FORMAT_STRING_WITH_NOTICE,
              {"input", arena_z(a, k->in->data.str[COL_AT(k->in, i)])}, {"intervalStr", ym ? "year-month" : "day-time"},
              {"supportedFormat", ym ? "`[+|-]y-m`, `INTERVAL [+|-]'[+|-]y-m' YEAR TO MONTH`"
                                     : "`[+|-]d h:m:s.n`, `INTERVAL [+|-]'[+|-]d h:m:s.n' DAY TO SECOND`"},
              {"typeName", arena_z(a, type_simple_string(a, k->to))});
    return ERR_OK;
}

static bool text_to_interval(struct str s, const struct type *t, int64_t *out)
{
    if (t->id == TYPE_DAY_TIME)
        return text_to_day_time(s, t->first, t->last, out);
    int32_t months = 0;
    bool ok = text_to_year_month(s, t->first, t->last, &months);
    *out = months;
    return ok;
}

static enum err to_interval(struct cast *k)
{
    int64_t unit = interval_unit(k->to), max = k->to->id == TYPE_YEAR_MONTH ? INT32_MAX : INT64_MAX;
    ROWS(k)
    {
        int64_t v = 0;
        if (k->from->id == TYPE_STRING) {
            if (!text_to_interval(k->in->data.str[r], k->to, &v))
                TRY_(bad_interval(k, i));
        } else if (k->from->id == k->to->id) {
            v = integral_at(k->in, r);
            v -= v % unit; /* finer fields are cut off */
        } else if (k->from->id == TYPE_DECIMAL) {
            i128 scaled;
            bool ok = !__builtin_mul_overflow(k->in->data.i128[r], (i128)unit, &scaled) &&
                      decimal_rescale(scaled, k->from->scale, 0, ROUND_HALF_UP, &scaled) && scaled <= max &&
                      scaled >= -max;
            if (!ok)
                TRY_(cast_overflow(k, i));
            v = ok ? (int64_t)scaled : 0;
        } else if (__builtin_mul_overflow(integral_at(k->in, r), unit, &v) || v > max || v < -max - 1) {
            TRY_(cast_overflow(k, i));
            v = 0;
        }
        store_int(k->out, i, v);
    }
    return ERR_OK;
}

static enum err to_calendar(struct cast *k)
{
    ROWS(k)
    {
        if (!interval_parse(k->in->data.str[r], &k->out->data.interval[i]))
            call_set_null(k->c, i);
    }
    return ERR_OK;
}

/* -- nested ------------------------------------------------------------------------------------------------------------------------------ */
/* A child column cast as a column of its own. Elements of rows that are null or inactive must not fail. */
static enum err cast_child(struct cast *k, const struct column *child, uint32_t n, const struct type *to,
                           const uint8_t *active, struct column *out)
{
    struct call sub = *k->c;
    struct column head = *child, in;
    head.n = n;
    column_flatten(&in, &head, k->c->ev->arena);
    sub.n = n;
    sub.active = active;
    return cast_column(&sub, &in, to, k->mode, out);
}

static enum err to_struct(struct cast *k)
{
    uint32_t n = k->c->n;
    uint8_t *active = arena_alloc(k->c->ev->arena, n);
    for (uint32_t i = 0; i < n; i++)
        active[i] = call_active(k->c, i) && call_live(k->c, i);
    for (int f = 0; f < k->to->nfields; f++)
        TRY_(cast_child(k, &k->in->children[f], n, k->to->fields[f].type, active, &k->out->children[f]));
    return ERR_OK;
}

static enum err to_list(struct cast *k)
{
    const struct column *in = k->in;
    uint32_t n = k->c->n, rows = col_is_const(in) ? 1 : n, total = rows ? in->data.offsets[rows] : 0;
    uint8_t *active = arena_alloc(k->c->ev->arena, total);
    for (uint32_t i = 0; i < rows; i++)
        if (call_active(k->c, i) && call_live(k->c, i))
            memset(active + in->data.offsets[i], 1, in->data.offsets[i + 1] - in->data.offsets[i]);
    memcpy(k->out->data.offsets, in->data.offsets, ((size_t)rows + 1) * sizeof(uint32_t));
    for (int f = 0; f < k->to->nfields; f++)
        TRY_(cast_child(k, &in->children[f], total, k->to->fields[f].type, active, &k->out->children[f]));
    return ERR_OK;
}

typedef enum err cast_fn(struct cast *k);

enum err cast_column(struct call *c, const struct column *in, const struct type *to, enum cast_mode mode,
                     struct column *out)
{
    static cast_fn *const TO[TYPE_ID_COUNT] = {
        [TYPE_BOOLEAN] = to_boolean,
        [TYPE_BYTE] = to_int,
        [TYPE_SHORT] = to_int,
        [TYPE_INT] = to_int,
        [TYPE_LONG] = to_int,
        [TYPE_FLOAT] = to_double,
        [TYPE_DOUBLE] = to_double,
        [TYPE_DECIMAL] = to_decimal,
        [TYPE_STRING] = to_string,
        [TYPE_BINARY] = to_binary,
        [TYPE_DATE] = to_date,
        [TYPE_TIMESTAMP] = to_timestamp,
        [TYPE_TIMESTAMP_NTZ] = to_timestamp,
        [TYPE_DAY_TIME] = to_interval,
        [TYPE_YEAR_MONTH] = to_interval,
        [TYPE_CALENDAR] = to_calendar,
        [TYPE_ARRAY] = to_list,
        [TYPE_MAP] = to_list,
        [TYPE_STRUCT] = to_struct,
    };
    struct arena *a = c->ev->arena;
    if (in->type->id == TYPE_NULL) {
        struct column null;
        column_null(&null, to, c->n, a);
        column_flatten(out, &null, a);
        return ERR_OK;
    }
    bool same_bytes = type_eq(in->type, to) || (to->id == TYPE_STRING && in->type->id == TYPE_BINARY);
    if (same_bytes) {
        if (col_is_const(in) && c->n != 1)
            column_flatten(out, in, a);
        else
            *out = *in;
        out->mask = ~0u;
        out->type = to;
        return ERR_OK;
    }
    struct column arg = *in;
    struct call sub = *c;
    sub.args = &arg;
    sub.out = out;
    struct expr shape = *c->e; /* call_start allocates by the expression's type */
    shape.type = to;
    sub.e = &shape;
    call_start(&sub, 1, false);
    sub.e = c->e;
    struct cast k = {.c = &sub, .in = in, .from = in->type, .to = to, .mode = mode, .out = out};
    return TO[to->id](&k);
}
