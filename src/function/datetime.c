/* Functions over dates and timestamps: fields, arithmetic, truncation, epochs. Texts by pattern: datetime_text.c. */
#include "function/datetime_int.h"
#include "function/table_int.h"
#include "function/time_int.h"

#include <math.h>

#define CALL_I8(c, k, i) ((c)->args[k].data.boolean[COL_AT(&(c)->args[k], i)])
#define EACH(c, i)                                                                                                     \
    for (uint32_t i = 0; i < (c)->n; i++)                                                                              \
        if (call_live((c), i))

/* -- now ------------------------------------------------------------------------------------------------------------------ */
enum err fn_current_timestamp(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        c->out->data.i64[i] = c->ev->now_us;
    return ERR_OK;
}

enum err fn_current_date(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        c->out->data.i32[i] = local_day(c->ev->zone, c->ev->now_us);
    return ERR_OK;
}

enum err fn_localtimestamp(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        c->out->data.i64[i] = utc_to_local_us(c->ev->zone, c->ev->now_us);
    return ERR_OK;
}

enum err fn_current_timezone(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        c->out->data.str[i] = str_of(zone_name(c->ev->zone));
    return ERR_OK;
}

/* -- fields of a day --------------------------------------------------------------------------------------------------------- */
/* ISO 8601: the week belongs to the year that its Thursday is in. */
static void iso_week(int32_t days, int32_t *year, int32_t *week)
{
    int64_t thursday = days - floor_mod(days + 3, 7) + 3;
    *year = civil_from_days(thursday).year;
    *week = (int32_t)((thursday - days_from_civil(*year, 1, 1)) / 7 + 1);
}

static int32_t day_field(int op, int32_t days)
{
    struct civil d = civil_from_days(days);
    int32_t year, week;
    switch (op) {
    case DAY_YEAR:
        return (int32_t)d.year;
    case DAY_QUARTER:
        return (d.month - 1) / 3 + 1;
    case DAY_MONTH:
        return d.month;
    case DAY_DAY:
        return d.day;
    case DAY_OF_WEEK:
        return (int32_t)floor_mod(days + 4, 7) + 1;
    case DAY_WEEKDAY:
        return (int32_t)floor_mod(days + 3, 7);
    case DAY_OF_YEAR:
        return (int32_t)(days - days_from_civil(d.year, 1, 1)) + 1;
    default:
        iso_week(days, &year, &week);
        return op == DAY_WEEK ? week : year;
    }
}

enum err fn_day_field(struct call *c)
{
    EACH(c, i) c->out->data.i32[i] = day_field(c->e->fn->op, CALL_I32(c, 0, i));
    return ERR_OK;
}

enum err fn_day_name(struct call *c)
{
    static const char names[][19][4] = {
        {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"},
        {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"}};
    bool month = c->e->fn->op;
    EACH(c, i)
    {
        int32_t at = day_field(month ? DAY_MONTH : DAY_WEEKDAY, CALL_I32(c, 0, i)) - month;
        c->out->data.str[i] = str_make(names[month][at], 3);
    }
    return ERR_OK;
}

/* Local microseconds of the day of a TIMESTAMP or TIMESTAMP_NTZ argument. */
static int64_t of_day(struct call *c, uint32_t i)
{
    int64_t us = CALL_I64(c, 0, i);
    return floor_mod(c->args[0].type->id == TYPE_TIMESTAMP ? utc_to_local_us(c->ev->zone, us) : us, US_PER_DAY);
}

enum err fn_time_field(struct call *c)
{
    static const int64_t unit[] = {3600 * US_PER_SECOND, 60 * US_PER_SECOND, US_PER_SECOND};
    int op = c->e->fn->op;
    EACH(c, i) c->out->data.i32[i] = (int32_t)(of_day(c, i) / unit[op] % (op == TIME_HOUR ? 24 : 60));
    return ERR_OK;
}

enum err bind_second_fraction(struct bind_call *bc)
{
    enum err e = bind_standard(bc);
    bc->e->type = type_decimal(bc->b->arena, 8, 6);
    return e;
}

enum err fn_second_fraction(struct call *c)
{
    EACH(c, i) c->out->data.i128[i] = of_day(c, i) % (60 * US_PER_SECOND);
    return ERR_OK;
}

/* -- fields of intervals ---------------------------------------------------------------------------------------------------- */
struct interval_field {
    int64_t unit, modulus; /* value / unit % modulus; modulus 0: none */
    bool seconds;          /* with their fraction, as DECIMAL(8,6) */
};

enum err bind_interval_field(struct bind_call *bc)
{
    bc->e->nullable = bc->e->args[0]->nullable;
    bc->e->type = type_simple(TYPE_INT);
    return ERR_OK;
}

enum err fn_interval_field(struct call *c)
{
    const struct interval_field *f = c->e->bound;
    bool months = c->args[0].type->id == TYPE_YEAR_MONTH;
    EACH(c, i)
    {
        int64_t v = (months ? CALL_I32(c, 0, i) : CALL_I64(c, 0, i)) / f->unit;
        v = f->modulus ? v % f->modulus : v;
        if (f->seconds)
            c->out->data.i128[i] = v;
        else
            c->out->data.i32[i] = (int32_t)v;
    }
    return ERR_OK;
}

/* EXTRACT's field names: of days and times they lead to the function of that name. */
static const struct {
    const char *names, *function;
} DATE_FIELDS[] = {
    {" YEAR Y YEARS YR YRS ", "year"},
    {" YEAROFWEEK ", "__year_of_week"},
    {" QUARTER QTR ", "quarter"},
    {" MONTH MON MONS MONTHS ", "month"},
    {" WEEK W WEEKS ", "weekofyear"},
    {" DAY D DAYS ", "day"},
    {" DAYOFWEEK DOW ", "dayofweek"},
    {" DAYOFWEEK_ISO DOW_ISO ", "weekday"},
    {" DOY ", "dayofyear"},
    {" HOUR H HOURS HR HRS ", "hour"},
    {" MINUTE M MIN MINS MINUTES ", "minute"},
    {" SECOND S SEC SECONDS SECS ", "__second_fraction"},
};
static const struct {
    const char *names;
    enum type_id type;
    struct interval_field field;
} INTERVAL_FIELDS[] = {
    {" YEAR Y YEARS YR YRS ", TYPE_YEAR_MONTH, {12, 0, false}},
    {" MONTH MON MONS MONTHS ", TYPE_YEAR_MONTH, {1, 12, false}},
    {" DAY D DAYS ", TYPE_DAY_TIME, {INT64_C(86400000000), 0, false}},
    {" HOUR H HOURS HR HRS ", TYPE_DAY_TIME, {INT64_C(3600000000), 24, false}},
    {" MINUTE M MIN MINS MINUTES ", TYPE_DAY_TIME, {60000000, 60, false}},
    {" SECOND S SEC SECONDS SECS ", TYPE_DAY_TIME, {1, 60000000, true}},
};

static bool field_in(const char *names, struct str name)
{
    for (const char *p = names + 1; *p;) {
        size_t n = strcspn(p, " ");
        if (str_eq_nocase(str_make(p, n), name))
            return true;
        p += n + 1;
    }
    return false;
}

static enum err bind_interval_part(struct bind_call *bc, struct str name, struct expr *source, bool *found)
{
    for (size_t i = 0; i < sizeof INTERVAL_FIELDS / sizeof *INTERVAL_FIELDS; i++) {
        if (INTERVAL_FIELDS[i].type != source->type->id || !field_in(INTERVAL_FIELDS[i].names, name))
            continue;
        struct expr *out;
        *found = true;
        enum err e = bind_call_name(bc->b, "__interval_field", &source, 1, &out, bc->f);
        if (e)
            return e;
        out->bound = &INTERVAL_FIELDS[i].field;
        out->bound_text = str_of(INTERVAL_FIELDS[i].names);
        if (INTERVAL_FIELDS[i].field.seconds)
            out->type = type_decimal(bc->b->arena, 8, 6);
        *bc->e = *out;
        return ERR_OK;
    }
    *found = false;
    return ERR_OK;
}

static enum err bind_date_field(struct bind_call *bc, struct str name, struct expr *source, bool *found)
{
    for (size_t i = 0; i < sizeof DATE_FIELDS / sizeof *DATE_FIELDS; i++) {
        if (!field_in(DATE_FIELDS[i].names, name))
            continue;
        struct expr *out, *args[2];
        *found = true;
        enum err e = bind_call_name(bc->b, DATE_FIELDS[i].function, &source, 1, &out, bc->f);
        if (!e && field_in(" DAYOFWEEK_ISO DOW_ISO ", name)) { /* Monday is 1 there */
            args[0] = out;
            args[1] = expr_lit_i32(bc->b, 1);
            e = bind_call_name(bc->b, "+", args, 2, &out, bc->f);
        }
        if (!e)
            *bc->e = *out;
        return e;
    }
    *found = false;
    return ERR_OK;
}

/* date_part('field', source), extract(field FROM source) */
enum err bind_date_part(struct bind_call *bc)
{
    struct str name;
    bool is_null, found;
    struct arena *a = bc->b->arena;
    struct expr *source = bc->e->args[1];
    if (!expr_constant_str(bc->b, bc->e->args[0], &name, &is_null) || is_null)
        return BIND_FAULT(bc, ERR_NON_FOLDABLE_INPUT, {"inputName", "`field`"}, {"inputType", "\"STRING\""},
                          {"inputExpr", quoted_expr(a, bc->e->args[0])});
    struct str sql = bc->fn->op
                         ? arena_fmt(a, "extract(%.*s FROM %.*s)", STR_ARG(name), STR_ARG(source->sql))
                         : arena_fmt(a, "%.*s(%.*s, %.*s)", STR_ARG(bc->shown), STR_ARG(name), STR_ARG(source->sql));
    bool interval = source->type->id == TYPE_DAY_TIME || source->type->id == TYPE_YEAR_MONTH;
    enum err e = interval ? bind_interval_part(bc, name, source, &found) : bind_date_field(bc, name, source, &found);
    if (!e && !found)
        return BIND_FAULT_PLAIN(bc, ERR_INVALID_EXTRACT_FIELD, {"field", quoted_name(a, name)},
                                {"expr", quoted_expr(a, source)});
    bc->e->sql = sql;
    return e;
}

/* -- casts by name ---------------------------------------------------------------------------------------------------------- */
static enum err bind_cast_to(struct bind_call *bc, enum type_id id)
{
    struct expr *out;
    enum err e =
        expr_cast(bc->b, bc->e->args[0], type_simple(id), bc->b->ansi ? CAST_ANSI : CAST_LEGACY, false, &out, bc->f);
    if (!e)
        *bc->e = *out;
    return e;
}

enum err bind_cast_date(struct bind_call *bc)
{
    return bind_cast_to(bc, TYPE_DATE);
}

enum err bind_cast_timestamp(struct bind_call *bc)
{
    return bind_cast_to(bc, TYPE_TIMESTAMP);
}

/* -- dates ------------------------------------------------------------------------------------------------------------------- */
enum err fn_date_add(struct call *c)
{
    /* Days wrap as Java's int addition does. */
    EACH(c, i)
    c->out->data.i32[i] = (int32_t)((uint32_t)CALL_I32(c, 0, i) + (uint32_t)c->e->fn->op * (uint32_t)CALL_I32(c, 1, i));
    return ERR_OK;
}

enum err fn_add_months(struct call *c)
{
    EACH(c, i) c->out->data.i32[i] = date_add_months(CALL_I32(c, 0, i), CALL_I32(c, 1, i));
    return ERR_OK;
}

enum err fn_datediff(struct call *c)
{
    EACH(c, i) c->out->data.i32[i] = (int32_t)((uint32_t)CALL_I32(c, 0, i) - (uint32_t)CALL_I32(c, 1, i));
    return ERR_OK;
}

enum err fn_date_from_unix_date(struct call *c)
{
    EACH(c, i) c->out->data.i32[i] = CALL_I32(c, 0, i);
    return ERR_OK;
}

enum err fn_unix_date(struct call *c)
{
    return fn_date_from_unix_date(c);
}

enum err fn_last_day(struct call *c)
{
    EACH(c, i)
    {
        struct civil d = civil_from_days(CALL_I32(c, 0, i));
        c->out->data.i32[i] = (int32_t)days_from_civil(d.year, d.month, days_in_month(d.year, d.month));
    }
    return ERR_OK;
}

/* DateTimeUtils.getDayOfWeekFromString: two or three letters or the whole name. 0 is Thursday there; Monday 0 here. -1: none. */
static int weekday_of(struct str s)
{
    static const char *const names[] = {"MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"};
    for (int i = 0; i < 7; i++) {
        struct str name = str_of(names[i]);
        if (str_eq_nocase(s, name) || ((s.n == 2 || s.n == 3) && str_eq_nocase(s, str_sub(name, 0, s.n))))
            return i;
    }
    return -1;
}

enum err fn_next_day(struct call *c)
{
    EACH(c, i)
    {
        struct str name = CALL_STR(c, 1, i);
        int want = weekday_of(name);
        if (want < 0 && c->e->ansi) {
            CALL_FAIL(c, i, ERR_ILLEGAL_DAY_OF_WEEK, {"string", arena_z(c->ev->arena, name)});
        } else if (want < 0) {
            call_set_null(c, i);
        } else {
            int32_t days = CALL_I32(c, 0, i);
            c->out->data.i32[i] = days + 7 - (int32_t)floor_mod(days + 3 - want, 7);
        }
    }
    return ERR_OK;
}

/* -- making ------------------------------------------------------------------------------------------------------------------- */
static enum err bad_field(struct call *c, uint32_t i, struct buf *why)
{
    if (c->e->ansi)
        CALL_FAIL(c, i, ERR_DATETIME_FIELD_OUT_OF_BOUNDS_WITH_SUGGESTION,
                  {"rangeMessage", arena_z(c->ev->arena, buf_view(why))}, {"ansiConfig", "\"spark.sql.ansi.enabled\""});
    else
        call_set_null(c, i);
    return ERR_OK;
}

static bool check_field(struct buf *why, const char *name, int64_t v, int64_t lo, int64_t hi)
{
    if (v >= lo && v <= hi)
        return true;
    buf_fmt(why, "Invalid value for %s (valid values %lld - %lld): %lld", name, (long long)lo, (long long)hi,
            (long long)v);
    return false;
}

static bool check_date(struct buf *why, int32_t y, int32_t m, int32_t d)
{
    if (!check_field(why, "Year", y, -999999999, 999999999) || !check_field(why, "MonthOfYear", m, 1, 12))
        return false;
    if (d >= 1 && d <= 31 && d > days_in_month(y, m)) {
        invalid_date_text(why, y, m, d);
        return false;
    }
    if (d < 1 || d > 31)
        buf_fmt(why, "Invalid value for DayOfMonth (valid values 1 - 28/31): %d", d);
    return d >= 1 && d <= 31;
}

enum err fn_make_date(struct call *c)
{
    struct buf why = {0};
    enum err e = ERR_OK;
    EACH(c, i)
    {
        int32_t y = CALL_I32(c, 0, i), m = CALL_I32(c, 1, i), d = CALL_I32(c, 2, i);
        buf_clear(&why);
        if (check_date(&why, y, m, d))
            c->out->data.i32[i] = (int32_t)days_from_civil(y, m, d);
        else if ((e = bad_field(c, i, &why)))
            break;
    }
    buf_free(&why);
    return e;
}

/* The seconds argument is DECIMAL(16,6). */
enum err bind_make_timestamp(struct bind_call *bc)
{
    enum err e = coerce_to(bc->b, &bc->e->args[5], type_decimal(bc->b->arena, 16, 6), bc->f);
    return e ? e : bind_standard(bc);
}

enum err fn_make_timestamp(struct call *c)
{
    struct buf why = {0};
    enum err e = ERR_OK;
    EACH(c, i)
    {
        int32_t y = CALL_I32(c, 0, i), m = CALL_I32(c, 1, i), d = CALL_I32(c, 2, i), h = CALL_I32(c, 3, i),
                min = CALL_I32(c, 4, i);
        int64_t us = (int64_t)c->args[5].data.i128[COL_AT(&c->args[5], i)];
        buf_clear(&why);
        bool ok =
            check_date(&why, y, m, d) && check_field(&why, "HourOfDay", h, 0, 23) &&
            check_field(&why, "MinuteOfHour", min, 0, 59) &&
            (us == 60 * US_PER_SECOND || check_field(&why, "SecondOfMinute", floor_div(us, US_PER_SECOND), 0, 59));
        if (!ok && (e = bad_field(c, i, &why)))
            break;
        if (!ok)
            continue;
        int64_t local = days_from_civil(y, m, d) * US_PER_DAY + (h * 60 + min) * 60 * US_PER_SECOND + us;
        const struct zone *z = c->ev->zone;
        if (c->e->nargs > 6 && !(z = zone_find(CALL_STR(c, 6, i), c->ev->fault)) && (e = ERR_INVALID_TIMEZONE))
            break;
        c->out->data.i64[i] = c->e->type->id == TYPE_TIMESTAMP ? zone_local_to_utc_us(z, local) : local;
    }
    buf_free(&why);
    return e;
}

/* -- differences --------------------------------------------------------------------------------------------------------------- */
enum err bind_months_between(struct bind_call *bc)
{
    if (bc->e->nargs == 2) {
        struct expr **args = ARENA_ARRAY(bc->b->arena, 3, struct expr *);
        memcpy(args, bc->e->args, 2 * sizeof *args);
        args[2] = expr_lit_bool(bc->b, true);
        bc->e->args = args;
        bc->e->nargs = 3;
    }
    return bind_standard(bc);
}

/* DateTimeUtils.monthsBetween: whole months when the days agree or both end their month; else months of 31 days. */
static double months_between(int64_t x, int64_t y, bool round_off)
{
    int64_t dx = floor_div(x, US_PER_DAY), dy = floor_div(y, US_PER_DAY);
    struct civil a = civil_from_days(dx), b = civil_from_days(dy);
    double months = (double)(((int64_t)a.year - b.year) * 12 + a.month - b.month);
    bool a_last = a.day == days_in_month(a.year, a.month), b_last = b.day == days_in_month(b.year, b.month);
    if (a.day == b.day || (a_last && b_last))
        return months;
    int64_t time_s = (x - dx * US_PER_DAY - (y - dy * US_PER_DAY)) / US_PER_SECOND; /* whole seconds, as Spark */
    double seconds = (double)(a.day - b.day) * 86400 + (double)time_s;
    double v = months + seconds / (31.0 * 86400);
    return round_off ? round(v * 1e8) / 1e8 : v;
}

enum err fn_months_between(struct call *c)
{
    EACH(c, i)
    c->out->data.f64[i] = months_between(utc_to_local_us(c->ev->zone, CALL_I64(c, 0, i)),
                                         utc_to_local_us(c->ev->zone, CALL_I64(c, 1, i)), CALL_I8(c, 2, i));
    return ERR_OK;
}

/* -- epochs ----------------------------------------------------------------------------------------------------------------------- */
enum err fn_timestamp_of(struct call *c)
{
    EACH(c, i)
    if (__builtin_mul_overflow(CALL_I64(c, 0, i), (int64_t)c->e->fn->op, &c->out->data.i64[i]))
        CALL_FAIL(c, i, ERR_ARITHMETIC_OVERFLOW, {"message", "long overflow"}, {"alternative", ""}, {"config", ""});
    return ERR_OK;
}

enum err fn_unix_of(struct call *c)
{
    EACH(c, i) c->out->data.i64[i] = floor_div(CALL_I64(c, 0, i), c->e->fn->op);
    return ERR_OK;
}

/* Integers, decimals and floating point count seconds. */
enum err bind_timestamp_seconds(struct bind_call *bc)
{
    struct expr *e = bc->e;
    enum err err = bind_args(bc, "N");
    if (err)
        return err;
    enum type_id id = e->args[0]->type->id;
    e->nullable = e->args[0]->nullable || id == TYPE_FLOAT || id == TYPE_DOUBLE;
    e->type = type_simple(TYPE_TIMESTAMP);
    const struct type *t = id == TYPE_FLOAT                     ? type_simple(TYPE_DOUBLE)
                           : type_is_integral(e->args[0]->type) ? type_simple(TYPE_LONG)
                                                                : e->args[0]->type;
    return coerce_to(bc->b, &e->args[0], t, bc->f);
}

static bool seconds_to_us(const struct column *a, uint32_t i, int64_t *us)
{
    uint32_t at = COL_AT(a, i);
    if (a->type->id == TYPE_LONG)
        return !__builtin_mul_overflow(a->data.i64[at], US_PER_SECOND, us);
    if (a->type->id == TYPE_DOUBLE) {
        double v = a->data.f64[at] * 1e6;
        *us = v >= 9223372036854775807.0 ? INT64_MAX : v <= -9223372036854775808.0 ? INT64_MIN : (int64_t)v;
        return true;
    }
    i128 v;
    bool ok = decimal_rescale(a->data.i128[at], a->type->scale, 6, ROUND_DOWN, &v) && v == (int64_t)v;
    *us = (int64_t)v;
    return ok;
}

enum err fn_timestamp_seconds(struct call *c)
{
    EACH(c, i)
    {
        const struct column *a = &c->args[0];
        if (a->type->id == TYPE_DOUBLE && !isfinite(a->data.f64[COL_AT(a, i)]))
            call_set_null(c, i);
        else if (!seconds_to_us(a, i, &c->out->data.i64[i]))
            CALL_FAIL(c, i, ERR_ARITHMETIC_OVERFLOW, {"message", "long overflow"}, {"alternative", ""}, {"config", ""});
    }
    return ERR_OK;
}

/* -- zones ------------------------------------------------------------------------------------------------------------------------- */
/* Op 1: UTC's wall clock read as the zone's; -1: the other way round. */
enum err fn_utc_shift(struct call *c)
{
    EACH(c, i)
    {
        const struct zone *z = zone_find(CALL_STR(c, 1, i), c->ev->fault);
        if (!z)
            return ERR_INVALID_TIMEZONE;
        int64_t us = CALL_I64(c, 0, i);
        c->out->data.i64[i] = c->e->fn->op > 0 ? utc_to_local_us(z, us) : zone_local_to_utc_us(z, us);
    }
    return ERR_OK;
}

enum err bind_convert_timezone(struct bind_call *bc)
{
    if (bc->e->nargs == 2) { /* from the session's zone */
        struct expr **args = ARENA_ARRAY(bc->b->arena, 3, struct expr *);
        enum err e = bind_call_name(bc->b, "current_timezone", NULL, 0, &args[0], bc->f);
        if (e)
            return e;
        memcpy(args + 1, bc->e->args, 2 * sizeof *args);
        bc->e->args = args;
        bc->e->nargs = 3;
    }
    return bind_standard(bc);
}

enum err fn_convert_timezone(struct call *c)
{
    EACH(c, i)
    {
        const struct zone *from = zone_find(CALL_STR(c, 0, i), c->ev->fault);
        const struct zone *to = from ? zone_find(CALL_STR(c, 1, i), c->ev->fault) : NULL;
        if (!to)
            return ERR_INVALID_TIMEZONE;
        c->out->data.i64[i] = utc_to_local_us(to, zone_local_to_utc_us(from, CALL_I64(c, 2, i)));
    }
    return ERR_OK;
}
