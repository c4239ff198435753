/* Values as text: CAST AS STRING, show(), and as literals in messages. */
#include "function/function_int.h"

static void put_element(struct buf *out, const struct column *c, uint32_t i, const struct zone *zone, bool display);

static void put_fields(struct buf *out, const struct column *c, uint32_t i, const struct zone *zone, bool display)
{
    buf_u8(out, '{');
    for (int k = 0; k < c->type->nfields; k++) {
        buf_z(out, k ? ", " : "");
        put_element(out, &c->children[k], i, zone, display);
    }
    buf_u8(out, '}');
}

static void put_list(struct buf *out, const struct column *c, uint32_t i, const struct zone *zone, bool display)
{
    bool map = c->type->id == TYPE_MAP;
    uint32_t from = c->data.offsets[i], to = c->data.offsets[i + 1];
    buf_u8(out, map ? '{' : '[');
    for (uint32_t k = from; k < to; k++) {
        buf_z(out, k > from ? ", " : "");
        put_element(out, &c->children[0], k, zone, display);
        if (!map)
            continue;
        buf_z(out, " -> ");
        put_element(out, &c->children[1], k, zone, display);
    }
    buf_u8(out, map ? '}' : ']');
}

static void put_hex(struct buf *out, struct str s)
{
    buf_u8(out, '[');
    for (size_t i = 0; i < s.n; i++)
        buf_fmt(out, "%s%02X", i ? " " : "", (unsigned char)s.p[i]);
    buf_u8(out, ']');
}

/* The valid value at physical row i. */
static void put_value(struct buf *out, const struct column *c, uint32_t i, const struct zone *zone, bool display)
{
    switch (c->type->id) {
    case TYPE_BOOLEAN:
        buf_z(out, c->data.boolean[i] ? "true" : "false");
        break;
    case TYPE_BYTE:
        buf_fmt(out, "%d", c->data.i8[i]);
        break;
    case TYPE_SHORT:
        buf_fmt(out, "%d", c->data.i16[i]);
        break;
    case TYPE_INT:
        buf_fmt(out, "%d", c->data.i32[i]);
        break;
    case TYPE_LONG:
        buf_fmt(out, "%lld", (long long)c->data.i64[i]);
        break;
    case TYPE_FLOAT:
        float_text(out, c->data.f32[i]);
        break;
    case TYPE_DOUBLE:
        double_text(out, c->data.f64[i]);
        break;
    case TYPE_DECIMAL:
        decimal_text(out, c->data.i128[i], c->type->scale);
        break;
    case TYPE_STRING:
        buf_str(out, c->data.str[i]);
        break;
    case TYPE_BINARY:
        if (display)
            put_hex(out, c->data.str[i]);
        else
            buf_str(out, c->data.str[i]);
        break;
    case TYPE_DATE:
        date_text(out, c->data.i32[i]);
        break;
    case TYPE_TIMESTAMP:
        timestamp_text(out, c->data.i64[i], zone);
        break;
    case TYPE_TIMESTAMP_NTZ:
        timestamp_ntz_text(out, c->data.i64[i]);
        break;
    case TYPE_DAY_TIME:
        day_time_text(out, c->data.i64[i], c->type->first, c->type->last);
        break;
    case TYPE_YEAR_MONTH:
        year_month_text(out, c->data.i32[i], c->type->first, c->type->last);
        break;
    case TYPE_CALENDAR:
        calendar_interval_text(out, c->data.interval[i]);
        break;
    case TYPE_ARRAY:
    case TYPE_MAP:
        put_list(out, c, i, zone, display);
        break;
    case TYPE_STRUCT:
        put_fields(out, c, i, zone, display);
        break;
    default:
        buf_z(out, display ? "NULL" : "null");
    }
}

static void put_element(struct buf *out, const struct column *c, uint32_t i, const struct zone *zone, bool display)
{
    if (col_valid(c, i))
        put_value(out, c, COL_AT(c, i), zone, display);
    else
        buf_z(out, display ? "NULL" : "null");
}

void value_text(struct buf *out, const struct column *c, uint32_t i, const struct zone *zone)
{
    put_element(out, c, i, zone, false);
}

void value_display(struct buf *out, const struct column *c, uint32_t i, const struct zone *zone)
{
    put_element(out, c, i, zone, true);
}

struct str text_of(struct arena *a, const struct column *c, uint32_t i, const struct zone *zone)
{
    struct buf b = {0};
    value_text(&b, c, i, zone);
    struct str s = arena_str(a, buf_view(&b));
    buf_free(&b);
    return s;
}

static void put_quoted(struct buf *out, struct str s)
{
    buf_u8(out, '\'');
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\\' || s.p[i] == '\'')
            buf_u8(out, '\\');
        buf_u8(out, (uint8_t)s.p[i]);
    }
    buf_u8(out, '\'');
}

static void put_literal(struct buf *out, const struct column *c, uint32_t i, const struct zone *zone)
{
    static const char *const SUFFIX[TYPE_ID_COUNT] = {
        [TYPE_BYTE] = "Y", [TYPE_SHORT] = "S", [TYPE_LONG] = "L", [TYPE_DOUBLE] = "D", [TYPE_DECIMAL] = "BD"};
    static const char *const PREFIX[TYPE_ID_COUNT] = {
        [TYPE_DATE] = "DATE '", [TYPE_TIMESTAMP] = "TIMESTAMP '", [TYPE_TIMESTAMP_NTZ] = "TIMESTAMP_NTZ '"};
    enum type_id id = c->type->id;
    uint32_t at = COL_AT(c, i);
    if (!col_valid(c, i)) {
        buf_z(out, "NULL");
    } else if (id == TYPE_STRING) {
        put_quoted(out, c->data.str[at]);
    } else if (id == TYPE_BINARY) {
        buf_z(out, "X'");
        for (size_t k = 0; k < c->data.str[at].n; k++)
            buf_fmt(out, "%02X", (unsigned char)c->data.str[at].p[k]);
        buf_u8(out, '\'');
    } else if (PREFIX[id]) {
        buf_z(out, PREFIX[id]);
        put_value(out, c, at, zone, false);
        buf_u8(out, '\'');
    } else if (id == TYPE_FLOAT) {
        buf_z(out, "CAST(");
        put_value(out, c, at, zone, false);
        buf_z(out, " AS FLOAT)");
    } else {
        put_value(out, c, at, zone, false);
        if (SUFFIX[id] && !(id == TYPE_DOUBLE && !isfinite(c->data.f64[at])))
            buf_z(out, SUFFIX[id]);
    }
}

const char *literal_sql(struct arena *a, const struct column *c, uint32_t i, const struct zone *zone)
{
    struct buf b = {0};
    put_literal(&b, c, i, zone);
    const char *s = arena_z(a, buf_view(&b));
    buf_free(&b);
    return s;
}
