/* Dates and timestamps to and from texts by a pattern: date_format, to_timestamp, unix_timestamp and their kin. */
#include "function/datetime_int.h"
#include "function/table_int.h"
#include "function/time_int.h"

/* The pattern of one row: compiled at bind time when it is a literal, else when it changes from row to row. */
struct pattern_cache {
    const struct time_pattern *pattern;
    struct str text;
};

static enum err pattern_for(struct call *c, int arg, uint32_t i, bool parsing, struct pattern_cache *cache)
{
    if (c->e->bound) {
        cache->pattern = c->e->bound;
        return ERR_OK;
    }
    struct str text = CALL_STR(c, arg, i);
    if (cache->pattern && str_eq(cache->text, text))
        return ERR_OK;
    cache->text = text;
    return time_pattern_new(c->ev->arena, text, parsing, &cache->pattern, c->ev->fault);
}

/* Compile a constant pattern now. A bad one is left for run time: that is when Spark refuses it. */
static void bind_pattern(struct bind_call *bc, struct expr *arg, bool parsing)
{
    struct str text;
    bool is_null;
    const struct time_pattern *p;
    if (expr_constant_str(bc->b, arg, &text, &is_null) && !is_null &&
        !time_pattern_new(bc->b->arena, text, parsing, &p, NULL))
        bc->e->bound = p;
}

static void default_pattern(struct bind_call *bc)
{
    struct expr **args = ARENA_ARRAY(bc->b->arena, 2, struct expr *);
    args[0] = bc->e->args[0];
    args[1] = expr_lit_str(bc->b, STR("yyyy-MM-dd HH:mm:ss"));
    bc->e->args = args;
    bc->e->nargs = 2;
}

/* date_format(t, p), from_unixtime(seconds[, p]) */
enum err bind_date_format(struct bind_call *bc)
{
    if (bc->e->nargs == 1)
        default_pattern(bc);
    enum err e = bind_standard(bc);
    if (!e)
        bind_pattern(bc, bc->e->args[1], false);
    return e;
}

static enum err format_rows(struct call *c, int64_t unit_us)
{
    struct pattern_cache cache = {0};
    struct buf text = {0};
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < c->n; i++) {
        int64_t us;
        if (!call_live(c, i))
            continue;
        if ((e = pattern_for(c, 1, i, false, &cache)))
            break;
        if (__builtin_mul_overflow(CALL_I64(c, 0, i), unit_us, &us))
            us = CALL_I64(c, 0, i) < 0 ? INT64_MIN : INT64_MAX;
        buf_clear(&text);
        time_pattern_format(cache.pattern, us, c->ev->zone, &text);
        c->out->data.str[i] = arena_str(c->ev->arena, buf_view(&text));
    }
    buf_free(&text);
    return e;
}

enum err fn_date_format(struct call *c)
{
    return format_rows(c, 1);
}

enum err fn_from_unixtime(struct call *c)
{
    return format_rows(c, US_PER_SECOND);
}

/* -- parsing ------------------------------------------------------------------------------------------------------------- */
/* Without a pattern these are casts, which keep the call's name: to_date(x). */
static enum err bind_as_cast(struct bind_call *bc, enum type_id id)
{
    struct expr *e = bc->e, *out;
    bool try_ = bc->fn->op & PARSE_TRY;
    enum cast_mode mode = try_ ? CAST_TRY : bc->b->ansi ? CAST_ANSI : CAST_LEGACY;
    struct str sql = arena_fmt(bc->b->arena, "%.*s(%.*s)", STR_ARG(bc->shown), STR_ARG(e->args[0]->sql));
    enum type_id from = e->args[0]->type->id;
    enum err err = ERR_OK;
    if (id == TYPE_DATE && type_is_numeric(e->args[0]->type)) /* numbers are read as text here */
        err = expr_cast(bc->b, e->args[0], type_simple(TYPE_STRING), mode, false, &e->args[0], bc->f);
    (void)from;
    if (!err)
        err = expr_cast(bc->b, e->args[0], type_simple(id), mode, false, &out, bc->f);
    if (err)
        return err;
    if (out == bc->e->args[0]) { /* it has the type already: a copy may carry the new name */
        struct expr *copy = ARENA_NEW(bc->b->arena, struct expr);
        *copy = *out;
        out = copy;
    }
    *e = *out;
    e->sql = sql;
    return ERR_OK;
}

static enum err bind_parse(struct bind_call *bc, enum type_id as)
{
    struct expr *e = bc->e;
    if (e->nargs == 1)
        return bind_as_cast(bc, as);
    e->sql = bind_sql(bc);
    enum type_id from = e->args[0]->type->id;
    bool time = from == TYPE_DATE || from == TYPE_TIMESTAMP || from == TYPE_TIMESTAMP_NTZ;
    enum err err = time ? coerce_to(bc->b, &e->args[1], type_simple(TYPE_STRING), bc->f) : bind_args(bc, "S,S");
    if (err)
        return err;
    if (time) /* nothing to parse: a cast */
        return bind_as_cast(bc, as);
    bool try_ = bc->fn->op & PARSE_TRY || !bc->b->ansi;
    e->ansi = !try_;
    e->nullable = try_ || e->args[0]->nullable || e->args[1]->nullable;
    e->type = type_simple(as);
    bind_pattern(bc, e->args[1], true);
    return ERR_OK;
}

enum err bind_to_date(struct bind_call *bc)
{
    return bind_parse(bc, TYPE_DATE);
}

enum err bind_to_timestamp(struct bind_call *bc)
{
    return bind_parse(bc, (bc->fn->op & PARSE_KIND) == PARSE_NTZ ? TYPE_TIMESTAMP_NTZ : TYPE_TIMESTAMP);
}

enum err bind_unix_timestamp(struct bind_call *bc)
{
    struct expr *e = bc->e;
    enum err err = ERR_OK;
    if (e->nargs == 0) {
        e->args = ARENA_ARRAY(bc->b->arena, 1, struct expr *);
        e->nargs = 1;
        err = bind_call_name(bc->b, "current_timestamp", NULL, 0, &e->args[0], bc->f);
    }
    if (!err && e->nargs == 1)
        default_pattern(bc);
    if (err)
        return err;
    e->sql = bind_sql(bc);
    enum type_id from = e->args[0]->type->id;
    if (from == TYPE_DATE || from == TYPE_TIMESTAMP_NTZ)
        err = coerce_to(bc->b, &e->args[0], type_simple(TYPE_TIMESTAMP), bc->f);
    else if (from != TYPE_TIMESTAMP)
        err = bind_args(bc, "S,S");
    if (err)
        return err;
    e->ansi = bc->b->ansi;
    e->nullable = !e->ansi || e->args[0]->nullable || e->args[1]->nullable;
    e->type = type_simple(TYPE_LONG);
    bind_pattern(bc, e->args[1], true);
    return ERR_OK;
}

static void store(struct call *c, uint32_t i, int64_t us)
{
    switch (c->e->fn->op & PARSE_KIND) {
    case PARSE_DATE:
        c->out->data.i32[i] = (int32_t)floor_div(us, US_PER_DAY); /* parsed without a zone: local */
        break;
    case PARSE_SECONDS:
        c->out->data.i64[i] = floor_div(us, US_PER_SECOND);
        break;
    default:
        c->out->data.i64[i] = us;
    }
}

static enum err cannot_parse(struct call *c, uint32_t i, struct buf *why)
{
    bool date = (c->e->fn->op & PARSE_KIND) == PARSE_DATE;
    if (c->e->ansi)
        CALL_FAIL(c, i, ERR_CANNOT_PARSE_TIMESTAMP, {"message", arena_z(c->ev->arena, buf_view(why))},
                  {"func", date ? "`try_to_date`" : "`try_to_timestamp`"});
    else
        call_set_null(c, i);
    return ERR_OK;
}

enum err fn_parse_time(struct call *c)
{
    int kind = c->e->fn->op & PARSE_KIND;
    const struct zone *z = kind == PARSE_DATE || kind == PARSE_NTZ ? NULL : c->ev->zone;
    struct pattern_cache cache = {0};
    struct buf why = {0};
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < c->n && !e; i++) {
        int64_t us;
        if (!call_live(c, i))
            continue;
        if (c->args[0].type->id == TYPE_TIMESTAMP) {
            store(c, i, CALL_I64(c, 0, i));
            continue;
        }
        if ((e = pattern_for(c, 1, i, true, &cache)))
            break;
        buf_clear(&why);
        if (time_pattern_parse(cache.pattern, CALL_STR(c, 0, i), z, &us, c->e->ansi ? &why : NULL))
            store(c, i, us);
        else
            e = cannot_parse(c, i, &why);
    }
    buf_free(&why);
    return e;
}
