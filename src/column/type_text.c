/* The texts of a type: DataType.sql, simpleString, typeName, json, toDDL and the tree of printSchema. */
#include "column/column.h"

#include <limits.h>

/* Names of the types without parameters: SQL, simple, JSON (typeName). */
static const struct {
    const char *sql, *simple, *name;
} NAMES[TYPE_ID_COUNT] = {
    [TYPE_NULL] = {"VOID", "void", "void"},
    [TYPE_BOOLEAN] = {"BOOLEAN", "boolean", "boolean"},
    [TYPE_BYTE] = {"TINYINT", "tinyint", "byte"},
    [TYPE_SHORT] = {"SMALLINT", "smallint", "short"},
    [TYPE_INT] = {"INT", "int", "integer"},
    [TYPE_LONG] = {"BIGINT", "bigint", "long"},
    [TYPE_FLOAT] = {"FLOAT", "float", "float"},
    [TYPE_DOUBLE] = {"DOUBLE", "double", "double"},
    [TYPE_DECIMAL] = {"DECIMAL", "decimal", "decimal"},
    [TYPE_STRING] = {"STRING", "string", "string"},
    [TYPE_BINARY] = {"BINARY", "binary", "binary"},
    [TYPE_DATE] = {"DATE", "date", "date"},
    [TYPE_TIMESTAMP] = {"TIMESTAMP", "timestamp", "timestamp"},
    [TYPE_TIMESTAMP_NTZ] = {"TIMESTAMP_NTZ", "timestamp_ntz", "timestamp_ntz"},
    [TYPE_DAY_TIME] = {"INTERVAL", "interval", "interval"},
    [TYPE_YEAR_MONTH] = {"INTERVAL", "interval", "interval"},
    [TYPE_CALENDAR] = {"INTERVAL", "interval", "interval"},
    [TYPE_ARRAY] = {"ARRAY", "array", "array"},
    [TYPE_MAP] = {"MAP", "map", "map"},
    [TYPE_STRUCT] = {"STRUCT", "struct", "struct"},
};

static const char *const UNITS_DAY[] = {"day", "hour", "minute", "second"};
static const char *const UNITS_YEAR[] = {"year", "month"};

/* "DAY TO SECOND" or "day to second" after the word interval. */
static void put_units(struct buf *out, const struct type *t, bool upper)
{
    const char *const *units = t->id == TYPE_DAY_TIME ? UNITS_DAY : UNITS_YEAR;
    size_t from = out->n;
    buf_fmt(out, " %s", units[t->first]);
    if (t->first != t->last)
        buf_fmt(out, " to %s", units[t->last]);
    for (size_t i = from; upper && i < out->n; i++)
        if (out->p[i] >= 'a' && out->p[i] <= 'z')
            out->p[i] = (char)(out->p[i] - 'a' + 'A');
}

void ident_put(struct buf *out, struct str name)
{
    bool plain = name.n > 0, digits = true;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool digit = c >= '0' && c <= '9';
        plain &= digit || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        digits &= digit;
    }
    if (plain && !digits) {
        buf_str(out, name);
        return;
    }
    buf_u8(out, '`');
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] == '`')
            buf_u8(out, '`');
        buf_u8(out, (uint8_t)name.p[i]);
    }
    buf_u8(out, '`');
}

static void put_sql(struct buf *out, const struct type *t)
{
    buf_z(out, NAMES[t->id].sql);
    switch (t->id) {
    case TYPE_DECIMAL:
        buf_fmt(out, "(%d,%d)", t->precision, t->scale);
        break;
    case TYPE_DAY_TIME:
    case TYPE_YEAR_MONTH:
        put_units(out, t, true);
        break;
    case TYPE_ARRAY:
    case TYPE_MAP:
    case TYPE_STRUCT:
        buf_u8(out, '<');
        for (int i = 0; i < t->nfields; i++) {
            buf_z(out, i ? ", " : "");
            if (t->id == TYPE_STRUCT) {
                ident_put(out, t->fields[i].name);
                buf_z(out, ": ");
            }
            put_sql(out, t->fields[i].type);
            if (t->id == TYPE_STRUCT && !t->fields[i].nullable)
                buf_z(out, " NOT NULL");
        }
        buf_u8(out, '>');
        break;
    default:
        break;
    }
}

static void put_simple(struct buf *out, const struct type *t)
{
    buf_z(out, NAMES[t->id].simple);
    switch (t->id) {
    case TYPE_DECIMAL:
        buf_fmt(out, "(%d,%d)", t->precision, t->scale);
        break;
    case TYPE_DAY_TIME:
    case TYPE_YEAR_MONTH:
        put_units(out, t, false);
        break;
    case TYPE_ARRAY:
    case TYPE_MAP:
    case TYPE_STRUCT:
        buf_u8(out, '<');
        for (int i = 0; i < t->nfields; i++) {
            buf_z(out, i ? "," : "");
            if (t->id == TYPE_STRUCT) {
                buf_str(out, t->fields[i].name);
                buf_u8(out, ':');
            }
            put_simple(out, t->fields[i].type);
        }
        buf_u8(out, '>');
        break;
    default:
        break;
    }
}

static void put_name(struct buf *out, const struct type *t)
{
    buf_z(out, NAMES[t->id].name);
    if (t->id == TYPE_DECIMAL)
        buf_fmt(out, "(%d,%d)", t->precision, t->scale);
    else if (t->id == TYPE_DAY_TIME || t->id == TYPE_YEAR_MONTH)
        put_units(out, t, false);
}

static struct str text(struct arena *a, const struct type *t, void (*put)(struct buf *, const struct type *))
{
    struct buf b = {0};
    put(&b, t);
    struct str s = arena_str(a, buf_view(&b));
    buf_free(&b);
    return s;
}

struct str type_sql(struct arena *a, const struct type *t)
{
    return text(a, t, put_sql);
}

struct str type_simple_string(struct arena *a, const struct type *t)
{
    return text(a, t, put_simple);
}

struct str type_name(struct arena *a, const struct type *t)
{
    return text(a, t, put_name);
}

static void put_json_field(struct buf *out, const struct field *f)
{
    buf_z(out, "{\"name\":");
    buf_json_str(out, f->name);
    buf_z(out, ",\"type\":");
    type_json(out, f->type);
    buf_fmt(out, ",\"nullable\":%s,\"metadata\":", f->nullable ? "true" : "false");
    buf_str(out, f->metadata.n ? f->metadata : STR("{}"));
    buf_u8(out, '}');
}

void type_json(struct buf *out, const struct type *t)
{
    switch (t->id) {
    case TYPE_ARRAY:
        buf_z(out, "{\"type\":\"array\",\"elementType\":");
        type_json(out, t->fields[0].type);
        buf_fmt(out, ",\"containsNull\":%s}", t->fields[0].nullable ? "true" : "false");
        break;
    case TYPE_MAP:
        buf_z(out, "{\"type\":\"map\",\"keyType\":");
        type_json(out, t->fields[0].type);
        buf_z(out, ",\"valueType\":");
        type_json(out, t->fields[1].type);
        buf_fmt(out, ",\"valueContainsNull\":%s}", t->fields[1].nullable ? "true" : "false");
        break;
    case TYPE_STRUCT:
        buf_z(out, "{\"type\":\"struct\",\"fields\":[");
        for (int i = 0; i < t->nfields; i++) {
            buf_z(out, i ? "," : "");
            put_json_field(out, &t->fields[i]);
        }
        buf_z(out, "]}");
        break;
    default:
        buf_u8(out, '"');
        put_name(out, t);
        buf_u8(out, '"');
    }
}

void type_ddl(struct buf *out, const struct type *schema)
{
    for (int i = 0; i < schema->nfields; i++) {
        const struct field *f = &schema->fields[i];
        buf_z(out, i ? "," : "");
        ident_put(out, f->name);
        buf_u8(out, ' ');
        put_sql(out, f->type);
        buf_z(out, f->nullable ? "" : " NOT NULL");
    }
}

/* Control characters in field names as Spark's escapeMetaCharacters prints them. */
static void put_escaped(struct buf *out, struct str s)
{
    static const char from[] = "\n\r\t\f\b\v\a", to[] = "nrtfbva";
    for (size_t i = 0; i < s.n; i++) {
        const char *at = s.p[i] ? strchr(from, s.p[i]) : NULL;
        if (at)
            buf_fmt(out, "\\%c", to[at - from]);
        else
            buf_u8(out, (uint8_t)s.p[i]);
    }
}

/* The lines below a type; `depth` levels remain. The prefix grows by "    |" per level. */
static void put_tree(struct buf *out, const struct type *t, int indent, int depth)
{
    if (depth <= 0)
        return;
    for (int i = 0; i < t->nfields; i++) {
        const struct field *f = &t->fields[i];
        const char *flag = t->id == TYPE_STRUCT  ? "nullable"
                           : t->id == TYPE_ARRAY ? "containsNull"
                           : i == 1              ? "valueContainsNull"
                                                 : NULL;
        buf_z(out, " |");
        for (int k = 0; k < indent; k++)
            buf_z(out, "    |");
        buf_z(out, "-- ");
        put_escaped(out, f->name);
        buf_z(out, ": ");
        put_name(out, f->type);
        if (flag)
            buf_fmt(out, " (%s = %s)", flag, f->nullable ? "true" : "false");
        buf_u8(out, '\n');
        put_tree(out, f->type, indent + 1, depth - 1);
    }
}

void type_tree(struct buf *out, const struct type *schema, int level)
{
    buf_z(out, "root\n");
    put_tree(out, schema, 0, level > 0 ? level : INT_MAX);
}
