/* Values as JSON: to_json, and value_json for rows that are shown as JSON. Spark's JacksonGenerator. */
#include "function/json_int.h"

#include <math.h>

static void indent(struct json_write *w)
{
    buf_u8(w->out, '\n');
    buf_fill(w->out, ' ', (size_t)w->depth * 2);
}

static void put_floating(struct buf *out, double v, bool single)
{
    if (isnan(v))
        buf_z(out, "\"NaN\"");
    else if (isinf(v))
        buf_z(out, v > 0 ? "\"Infinity\"" : "\"-Infinity\"");
    else if (single)
        float_text(out, (float)v);
    else
        double_text(out, v);
}

/* Whatever prints as text without anything that JSON escapes. */
static void put_quoted(struct json_write *w, const struct column *c, uint32_t i)
{
    struct buf text = {0};
    value_text(&text, c, i, w->zone);
    buf_json_str(w->out, buf_view(&text));
    buf_free(&text);
}

static void put_time(struct json_write *w, const struct column *c, uint32_t i)
{
    enum type_id id = c->type->id;
    uint32_t at = COL_AT(c, i);
    struct buf text = {0};
    if (id == TYPE_DATE && w->date)
        time_pattern_format(w->date, c->data.i32[at] * US_PER_DAY, NULL, &text);
    else if (id == TYPE_DATE)
        date_text(&text, c->data.i32[at]);
    else if (id == TYPE_TIMESTAMP)
        time_pattern_format(w->timestamp, c->data.i64[at], w->zone, &text);
    else
        time_pattern_format(w->timestamp_ntz, c->data.i64[at], NULL, &text);
    buf_json_str(w->out, buf_view(&text));
    buf_free(&text);
}

static void put_list(struct json_write *w, const struct column *c, uint32_t i)
{
    uint32_t from = c->data.offsets[COL_AT(c, i)], to = c->data.offsets[COL_AT(c, i) + 1];
    buf_u8(w->out, '[');
    for (uint32_t k = from; k < to; k++) {
        buf_z(w->out, k > from ? w->pretty ? ", " : "," : w->pretty ? " " : "");
        json_write_value(w, &c->children[0], k);
    }
    buf_z(w->out, w->pretty ? " ]" : "]");
}

static void member(struct json_write *w, bool first, struct str name)
{
    if (!first)
        buf_u8(w->out, ',');
    if (w->pretty)
        indent(w);
    buf_json_str(w->out, name);
    buf_z(w->out, w->pretty ? " : " : ":");
}

static void put_map(struct json_write *w, const struct column *c, uint32_t i)
{
    uint32_t from = c->data.offsets[COL_AT(c, i)], to = c->data.offsets[COL_AT(c, i) + 1];
    struct buf key = {0};
    buf_u8(w->out, '{');
    w->depth++;
    for (uint32_t k = from; k < to; k++) {
        buf_clear(&key);
        value_text(&key, &c->children[0], k, w->zone);
        member(w, k == from, buf_view(&key));
        json_write_value(w, &c->children[1], k);
    }
    w->depth--;
    if (w->pretty && to > from)
        indent(w);
    buf_z(w->out, w->pretty && to == from ? " }" : "}");
    buf_free(&key);
}

static void put_struct(struct json_write *w, const struct column *c, uint32_t i)
{
    bool first = true;
    buf_u8(w->out, '{');
    w->depth++;
    for (int k = 0; k < c->type->nfields; k++) {
        uint32_t at = COL_AT(c, i);
        if (!col_valid(&c->children[k], at) && !w->keep_null_fields)
            continue;
        member(w, first, c->type->fields[k].name);
        json_write_value(w, &c->children[k], at);
        first = false;
    }
    w->depth--;
    if (w->pretty && !first)
        indent(w);
    buf_z(w->out, w->pretty && first ? " }" : "}");
}

void json_write_value(struct json_write *w, const struct column *c, uint32_t i)
{
    uint32_t at = COL_AT(c, i);
    if (!col_valid(c, i) || c->type->id == TYPE_NULL) {
        buf_z(w->out, "null");
        return;
    }
    switch (c->type->id) {
    case TYPE_FLOAT:
        put_floating(w->out, c->data.f32[at], true);
        break;
    case TYPE_DOUBLE:
        put_floating(w->out, c->data.f64[at], false);
        break;
    case TYPE_DECIMAL:
        decimal_java_text(w->out, c->data.i128[at], c->type->scale);
        break;
    case TYPE_STRING:
        buf_json_str(w->out, c->data.str[at]);
        break;
    case TYPE_BINARY:
        buf_u8(w->out, '"');
        base64_put(w->out, c->data.str[at]);
        buf_u8(w->out, '"');
        break;
    case TYPE_DATE:
    case TYPE_TIMESTAMP:
    case TYPE_TIMESTAMP_NTZ:
        put_time(w, c, i);
        break;
    case TYPE_DAY_TIME:
    case TYPE_YEAR_MONTH:
    case TYPE_CALENDAR:
        put_quoted(w, c, i);
        break;
    case TYPE_ARRAY:
        put_list(w, c, i);
        break;
    case TYPE_MAP:
        put_map(w, c, i);
        break;
    case TYPE_STRUCT:
        put_struct(w, c, i);
        break;
    default: /* booleans and integers print in JSON as they do in text */
        value_text(w->out, c, i, w->zone);
    }
}

void value_json(struct buf *out, const struct column *c, uint32_t i, const struct zone *zone)
{
    struct arena *a = arena_new(0);
    struct json_write w = {.out = out, .zone = zone};
    if (!json_write_init(&w, a, NULL))
        json_write_value(&w, c, i);
    arena_free(a);
}

enum err json_write_init(struct json_write *w, struct arena *a, struct fault *f)
{
    struct str ts = w->timestamp_format.n ? w->timestamp_format : STR("yyyy-MM-dd'T'HH:mm:ss.SSSXXX");
    struct str ntz = w->timestamp_ntz_format.n ? w->timestamp_ntz_format : STR("yyyy-MM-dd'T'HH:mm:ss.SSS");
    enum err e = time_pattern_new(a, ts, false, &w->timestamp, f);
    if (!e)
        e = time_pattern_new(a, ntz, false, &w->timestamp_ntz, f);
    if (!e && w->date_format.n)
        e = time_pattern_new(a, w->date_format, false, &w->date, f);
    return e;
}
