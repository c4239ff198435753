/* Units of time: trunc, date_trunc, timestampadd, timestampdiff; and windows. */
#include "function/table_int.h"
#include "function/time_int.h"

#include <stdio.h>
#include <stdlib.h>

/* -- truncation --------------------------------------------------------------------------------------------------------- */
enum unit {
    UNIT_NONE,
    UNIT_MICRO,
    UNIT_MILLI,
    UNIT_SECOND,
    UNIT_MINUTE,
    UNIT_HOUR,
    UNIT_DAY,
    UNIT_WEEK,
    UNIT_MONTH,
    UNIT_QUARTER,
    UNIT_YEAR
};

static const struct {
    const char *name;
    enum unit unit;
} UNITS[] = {
    {"MICROSECOND", UNIT_MICRO}, {"MILLISECOND", UNIT_MILLI}, {"SECOND", UNIT_SECOND}, {"MINUTE", UNIT_MINUTE},
    {"HOUR", UNIT_HOUR},         {"DAY", UNIT_DAY},           {"DD", UNIT_DAY},        {"WEEK", UNIT_WEEK},
    {"MON", UNIT_MONTH},         {"MONTH", UNIT_MONTH},       {"MM", UNIT_MONTH},      {"QUARTER", UNIT_QUARTER},
    {"YEAR", UNIT_YEAR},         {"YYYY", UNIT_YEAR},         {"YY", UNIT_YEAR},
};

static enum unit unit_of(struct str s)
{
    for (size_t i = 0; i < sizeof UNITS / sizeof *UNITS; i++)
        if (str_eq_nocase(s, str_of(UNITS[i].name)))
            return UNITS[i].unit;
    return UNIT_NONE;
}

static int32_t trunc_day(int32_t days, enum unit u)
{
    struct civil d = civil_from_days(days);
    switch (u) {
    case UNIT_WEEK:
        return days - (int32_t)floor_mod(days + 3, 7);
    case UNIT_MONTH:
        return days - d.day + 1;
    case UNIT_QUARTER:
        return (int32_t)days_from_civil(d.year, (d.month - 1) / 3 * 3 + 1, 1);
    case UNIT_YEAR:
        return (int32_t)days_from_civil(d.year, 1, 1);
    default:
        return days;
    }
}

enum err fn_trunc(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        if (!call_live(c, i))
            continue;
        enum unit u = unit_of(CALL_STR(c, 1, i));
        if (u < UNIT_WEEK)
            call_set_null(c, i);
        else
            c->out->data.i32[i] = trunc_day(CALL_I32(c, 0, i), u);
    }
    return ERR_OK;
}

/* DateTimeUtils.truncTimestamp: fractions and seconds without regard to zones, minutes and hours by local time, days by local midnight. */
static int64_t trunc_us(int64_t us, enum unit u, const struct zone *z)
{
    static const int64_t sizes[] = {[UNIT_MICRO] = 1,
                                    [UNIT_MILLI] = 1000,
                                    [UNIT_SECOND] = US_PER_SECOND,
                                    [UNIT_MINUTE] = 60 * US_PER_SECOND,
                                    [UNIT_HOUR] = 3600 * US_PER_SECOND};
    if (u <= UNIT_SECOND)
        return us - floor_mod(us, sizes[u]);
    if (u <= UNIT_HOUR) {
        int64_t offset = zone_offset_s(z, us) * US_PER_SECOND, local = us + offset;
        return local - floor_mod(local, sizes[u]) - offset;
    }
    return date_to_utc_us(z, trunc_day(local_day(z, us), u));
}

enum err fn_date_trunc(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        if (!call_live(c, i))
            continue;
        enum unit u = unit_of(CALL_STR(c, 0, i));
        if (u == UNIT_NONE)
            call_set_null(c, i);
        else
            c->out->data.i64[i] = trunc_us(CALL_I64(c, 1, i), u, c->ev->zone);
    }
    return ERR_OK;
}

/* -- timestampadd, timestampdiff ------------------------------------------------------------------------------------------ */
struct step {
    const char *name;
    int32_t months;
    int64_t us; /* of units below months; days count local midnights */
};
static const struct step STEPS[] = {
    {"MICROSECOND", 0, 1},
    {"MILLISECOND", 0, 1000},
    {"SECOND", 0, US_PER_SECOND},
    {"MINUTE", 0, 60 * US_PER_SECOND},
    {"HOUR", 0, 3600 * US_PER_SECOND},
    {"DAY", 0, US_PER_DAY},
    {"DAYOFYEAR", 0, US_PER_DAY},
    {"WEEK", 0, 7 * US_PER_DAY},
    {"MONTH", 1, 0},
    {"QUARTER", 3, 0},
    {"YEAR", 12, 0},
};

/* The unit's name as first argument; the others become timestamps. */
static enum err bind_step(struct bind_call *bc, int times, const struct step **out)
{
    struct str name;
    bool is_null;
    struct expr *e = bc->e;
    struct arena *a = bc->b->arena;
    if (!expr_constant_str(bc->b, e->args[0], &name, &is_null) || is_null)
        name = STR("");
    *out = NULL;
    for (size_t i = 0; i < sizeof STEPS / sizeof *STEPS; i++)
        if (str_eq_nocase(name, str_of(STEPS[i].name)))
            *out = &STEPS[i];
    if (!*out)
        return BIND_FAULT_PLAIN(bc, ERR_INVALID_PARAMETER_VALUE_DATETIME_UNIT,
                                {"functionName", quoted_name(a, bc->shown)}, {"parameter", "`unit`"},
                                {"invalidValue", arena_z(a, arena_fmt(a, "'%.*s'", STR_ARG(name)))});
    e->sql = arena_fmt(a, "%.*s(%s, %.*s, %.*s)", STR_ARG(bc->shown), (*out)->name, STR_ARG(e->args[1]->sql),
                       STR_ARG(e->args[2]->sql));
    e->nullable = e->args[1]->nullable || e->args[2]->nullable;
    for (int i = 3 - times; i < 3; i++) {
        if (e->args[i]->type->id == TYPE_TIMESTAMP_NTZ)
            continue;
        enum err err = coerce_to(bc->b, &e->args[i], type_simple(TYPE_TIMESTAMP), bc->f);
        if (err)
            return err;
    }
    e->bound = *out;
    return ERR_OK;
}

enum err bind_timestampadd(struct bind_call *bc)
{
    const struct step *s;
    enum err e = bind_step(bc, 1, &s);
    if (!e)
        e = coerce_to(bc->b, &bc->e->args[1], type_simple(TYPE_LONG), bc->f);
    bc->e->type = bc->e->args[2]->type;
    return e;
}

enum err bind_timestampdiff(struct bind_call *bc)
{
    const struct step *s;
    bc->e->type = type_simple(TYPE_LONG);
    return bind_step(bc, 2, &s);
}

static int64_t to_local(const struct call *c, int k, uint32_t i)
{
    int64_t us = CALL_I64(c, k, i);
    return c->args[k].type->id == TYPE_TIMESTAMP ? utc_to_local_us(c->ev->zone, us) : us;
}

static bool step_add(const struct call *c, const struct step *s, uint32_t i, int64_t *out)
{
    int64_t n = CALL_I64(c, 1, i), months, us;
    bool instant = c->args[2].type->id == TYPE_TIMESTAMP;
    if (!s->months && s->us < US_PER_DAY)
        return !__builtin_mul_overflow(n, s->us, &us) && !__builtin_add_overflow(CALL_I64(c, 2, i), us, out);
    int64_t local = to_local(c, 2, i);
    if (s->months) {
        if (__builtin_mul_overflow(n, (int64_t)s->months, &months) || months > 12 * 600000 || months < -12 * 600000)
            return false;
        local = local_add_months(local, (int32_t)months);
    } else if (__builtin_mul_overflow(n, s->us, &us) || __builtin_add_overflow(local, us, &local)) {
        return false;
    }
    *out = instant ? zone_local_to_utc_us(c->ev->zone, local) : local;
    return true;
}

enum err fn_timestampadd(struct call *c)
{
    const struct step *s = c->e->bound;
    for (uint32_t i = 0; i < c->n; i++)
        if (call_live(c, i) && !step_add(c, s, i, &c->out->data.i64[i]))
            CALL_FAIL(c, i, ERR_DATETIME_OVERFLOW, {"operation", arena_z(c->ev->arena, c->e->sql)});
    return ERR_OK;
}

/* Whole units, towards zero, as java.time's ChronoUnit.between counts them on local times. */
static int64_t whole_months(int64_t from, int64_t to)
{
    int64_t df = floor_div(from, US_PER_DAY), dt = floor_div(to, US_PER_DAY);
    struct civil a = civil_from_days(df), b = civil_from_days(dt);
    int64_t n = ((int64_t)b.year - a.year) * 12 + b.month - a.month;
    int64_t rest = (b.day - a.day) * US_PER_DAY + (to - dt * US_PER_DAY) - (from - df * US_PER_DAY);
    return n - (n > 0 && rest < 0) + (n < 0 && rest > 0);
}

enum err fn_timestampdiff(struct call *c)
{
    const struct step *s = c->e->bound;
    for (uint32_t i = 0; i < c->n; i++) {
        if (!call_live(c, i))
            continue;
        int64_t from = to_local(c, 1, i), to = to_local(c, 2, i);
        if (s->months)
            c->out->data.i64[i] = whole_months(from, to) / s->months;
        else if (s->us >= US_PER_DAY)
            c->out->data.i64[i] = (to - from) / s->us;
        else
            c->out->data.i64[i] = (CALL_I64(c, 2, i) - CALL_I64(c, 1, i)) / s->us;
    }
    return ERR_OK;
}

/* -- windows ----------------------------------------------------------------------------------------------------------------- */
static enum err window_us(struct bind_call *bc, struct expr *arg, int64_t *us)
{
    struct str text;
    struct calendar_interval v;
    bool is_null;
    struct arena *a = bc->b->arena;
    if (type_is_integral(arg->type) && expr_constant_i64(bc->b, arg, us, &is_null) && !is_null)
        return ERR_OK;
    if (arg->type->id != TYPE_STRING || !expr_constant_str(bc->b, arg, &text, &is_null) || is_null)
        return FAULT(bc->f, ERR_LEGACY_TEMP_1207);
    if (!interval_parse(text, &v))
        return FAULT(bc->f, ERR_CANNOT_PARSE_INTERVAL,
                     {"intervalString", arena_z(a, arena_fmt(a, "'%.*s'", STR_ARG(text)))});
    if (v.months)
        return FAULT(bc->f, ERR_LEGACY_TEMP_3231, {"interval", arena_z(a, text)});
    if (__builtin_mul_overflow((int64_t)v.days, US_PER_DAY, us) || __builtin_add_overflow(*us, v.micros, us))
        return FAULT(bc->f, ERR_CANNOT_PARSE_INTERVAL, {"intervalString", arena_z(a, text)});
    return ERR_OK;
}

static enum err window_range(struct bind_call *bc, const char *name, int64_t v)
{
    char value[32];
    snprintf(value, sizeof value, "%lldL", (long long)v);
    return BIND_FAULT(bc, ERR_MISMATCH_VALUE_OUT_OF_RANGE, {"exprName", name},
                      {"valueRange", "(0, 9223372036854775807]"}, {"currentValue", value});
}

static enum err window_order(struct bind_call *bc, const char *left, int64_t l, const char *op, const char *right,
                             int64_t r)
{
    char lv[32], rv[32];
    snprintf(lv, sizeof lv, "%lldL", (long long)l);
    snprintf(rv, sizeof rv, "%lldL", (long long)r);
    return BIND_FAULT(bc, ERR_MISMATCH_PARAMETER_CONSTRAINT_VIOLATION, {"leftExprName", left}, {"leftExprValue", lv},
                      {"constraint", op}, {"rightExprName", right}, {"rightExprValue", rv});
}

/* The time: a timestamp of either kind, or a window (its last instant counts). */
static enum err window_time_type(struct bind_call *bc, const struct type **out)
{
    static const char *const accepted =
        "(\"(TIMESTAMP OR TIMESTAMP WITHOUT TIME ZONE)\" or \"STRUCT<start: TIMESTAMP, end: TIMESTAMP>\" or "
        "\"STRUCT<start: TIMESTAMP_NTZ, end: TIMESTAMP_NTZ>\")";
    struct expr **time = &bc->e->args[0];
    const struct type *t = (*time)->type;
    if (t->id == TYPE_STRUCT && t->nfields == 2 && str_eqz(t->fields[0].name, "start") &&
        str_eqz(t->fields[1].name, "end")) {
        struct expr *last;
        enum err e = bind_call_name(bc->b, "window_time", time, 1, &last, bc->f);
        *time = last;
        *out = e ? NULL : last->type;
        return e;
    }
    if (t->id == TYPE_STRING || t->id == TYPE_DATE || t->id == TYPE_NULL) {
        enum err e = coerce_to(bc->b, time, type_simple(TYPE_TIMESTAMP), bc->f);
        *out = type_simple(TYPE_TIMESTAMP);
        return e;
    }
    *out = t;
    if (t->id == TYPE_TIMESTAMP || t->id == TYPE_TIMESTAMP_NTZ)
        return ERR_OK;
    return BIND_FAULT(bc, ERR_MISMATCH_UNEXPECTED_INPUT_TYPE, {"paramIndex", ORDINALS[0]}, {"requiredType", accepted},
                      {"inputSql", quoted_expr(bc->b->arena, *time)}, {"inputType", quoted_type(bc->b->arena, t)});
}

enum err bind_window(struct bind_call *bc)
{
    struct expr *e = bc->e;
    struct arena *a = bc->b->arena;
    struct window_spec *w = ARENA_NEW(a, struct window_spec);
    enum err err = window_us(bc, e->args[1], &w->duration_us);
    w->slide_us = w->duration_us;
    if (!err && e->nargs > 2)
        err = window_us(bc, e->args[2], &w->slide_us);
    if (!err && e->nargs > 3)
        err = window_us(bc, e->args[3], &w->start_us);
    if (err)
        return err;
    e->sql = arena_fmt(a, "window(%.*s, %lld, %lld, %lld)", STR_ARG(e->args[0]->sql), (long long)w->duration_us,
                       (long long)w->slide_us, (long long)w->start_us); /* for messages; the column is called window */
    const struct type *t;
    if ((err = window_time_type(bc, &t)))
        return err;
    if (w->duration_us <= 0)
        return window_range(bc, "`window_duration`", w->duration_us);
    if (w->slide_us <= 0)
        return window_range(bc, "`slide_duration`", w->slide_us);
    if (w->slide_us > w->duration_us)
        return window_order(bc, "`slide_duration`", w->slide_us, "<=", "`window_duration`", w->duration_us);
    if (llabs(w->start_us) >= w->slide_us)
        return window_order(bc, "`abs(start_time)`", llabs(w->start_us), "<", "`slide_duration`", w->slide_us);
    e->bound_text = e->sql;
    e->sql = STR("window");
    e->bound = w;
    e->nargs = 1;
    struct field fields[] = {{STR("start"), t, true, {0}}, {STR("end"), t, true, {0}}};
    e->type = type_struct(a, fields, 2);
    e->nullable = w->slide_us != w->duration_us; /* as Spark has it */
    return ERR_OK;
}

bool expr_window(const struct expr *e, struct window_spec *spec, struct expr **time)
{
    if (e->kind != EXPR_CALL || strcmp(function_name(e->fn), "window") != 0)
        return false;
    *spec = *(const struct window_spec *)e->bound;
    *time = e->args[0];
    return true;
}

enum err fn_window(struct call *c)
{
    const struct window_spec *w = c->e->bound;
    struct column *start = &c->out->children[0], *end = &c->out->children[1];
    for (uint32_t i = 0; i < c->n; i++) {
        if (!call_live(c, i))
            continue;
        int64_t ts = CALL_I64(c, 0, i);
        start->data.i64[i] = ts - floor_mod(ts - w->start_us, w->slide_us);
        end->data.i64[i] = start->data.i64[i] + w->duration_us;
    }
    return ERR_OK;
}

enum err bind_window_time(struct bind_call *bc)
{
    const struct type *t = bc->e->args[0]->type;
    if (t->id != TYPE_STRUCT || t->nfields != 2 ||
        (t->fields[1].type->id != TYPE_TIMESTAMP && t->fields[1].type->id != TYPE_TIMESTAMP_NTZ))
        return BIND_FAULT(bc, ERR_MISMATCH_UNEXPECTED_INPUT_TYPE, {"paramIndex", ORDINALS[0]},
                          {"requiredType", "\"STRUCT\""}, {"inputSql", quoted_expr(bc->b->arena, bc->e->args[0])},
                          {"inputType", quoted_type(bc->b->arena, t)});
    bc->e->type = t->fields[1].type;
    bc->e->nullable = bc->e->args[0]->nullable;
    bc->e->sql = arena_fmt(bc->b->arena, "window_time(%.*s)", STR_ARG(bc->e->args[0]->sql));
    return ERR_OK;
}

enum err fn_window_time(struct call *c)
{
    const struct column *end = &c->args[0].children[1];
    for (uint32_t i = 0; i < c->n; i++)
        if (call_live(c, i))
            c->out->data.i64[i] = end->data.i64[COL_AT(end, COL_AT(&c->args[0], i))] - 1;
    return ERR_OK;
}
