/*
 * Spark's JSON form of a schema (DataType.json / DataType.fromJson):
 *   {"type":"struct","fields":[{"name":"a","type":"integer","nullable":true,"metadata":{}}]}
 *   "long" | "decimal(10,2)" | {"type":"array","elementType":…,"containsNull":true}
 *   | {"type":"map","keyType":…,"valueType":…,"valueContainsNull":true}
 * Read by a small recursive reader that keeps where each value stands, so that metadata is passed on as written.
 */
#include "sql_int.h"

#include <stdlib.h>

enum json_kind { JSON_OTHER, JSON_STRING, JSON_OBJECT, JSON_ARRAY, JSON_TRUE, JSON_FALSE };
struct json {
    enum json_kind kind;
    struct str text; /* as written */
    struct str string;
    struct json_member {
        struct str name;
        struct json *value;
    } * members; /* OBJECT; ARRAY without names */
    int n, cap;
};

struct json_reader {
    struct str s;
    size_t at;
    int depth;
    struct arena *a;
    bool bad;
};

static void space(struct json_reader *r)
{
    while (r->at < r->s.n && strchr(" \t\r\n", r->s.p[r->at]) && r->s.p[r->at])
        r->at++;
}

static bool take(struct json_reader *r, char c)
{
    space(r);
    if (r->at >= r->s.n || r->s.p[r->at] != c)
        return false;
    r->at++;
    return true;
}

static uint32_t hex4(struct json_reader *r)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++) {
        unsigned char c = r->at < r->s.n ? (unsigned char)r->s.p[r->at++] : 0, low = c | 0x20;
        int d = c >= '0' && c <= '9' ? c - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
        r->bad |= d < 0;
        v = v << 4 | (uint32_t)(d & 15);
    }
    return v;
}

static void put_code_point(struct buf *b, uint32_t c)
{
    if (c < 0x80) {
        buf_u8(b, (uint8_t)c);
    } else if (c < 0x800) {
        buf_u8(b, (uint8_t)(0xC0 | c >> 6));
        buf_u8(b, (uint8_t)(0x80 | (c & 0x3F)));
    } else if (c < 0x10000) {
        buf_u8(b, (uint8_t)(0xE0 | c >> 12));
        buf_u8(b, (uint8_t)(0x80 | (c >> 6 & 0x3F)));
        buf_u8(b, (uint8_t)(0x80 | (c & 0x3F)));
    } else {
        buf_u8(b, (uint8_t)(0xF0 | c >> 18));
        buf_u8(b, (uint8_t)(0x80 | (c >> 12 & 0x3F)));
        buf_u8(b, (uint8_t)(0x80 | (c >> 6 & 0x3F)));
        buf_u8(b, (uint8_t)(0x80 | (c & 0x3F)));
    }
}

static void read_escape(struct json_reader *r, struct buf *b)
{
    static const char FROM[] = "\"\\/bfnrt", TO[] = "\"\\/\b\f\n\r\t";
    char c = r->at < r->s.n ? r->s.p[r->at++] : 0;
    const char *hit = c ? strchr(FROM, c) : NULL;
    if (hit) {
        buf_u8(b, (uint8_t)TO[hit - FROM]);
    } else if (c == 'u') {
        uint32_t v = hex4(r);
        if (v >= 0xD800 && v < 0xDC00 && r->at + 1 < r->s.n && r->s.p[r->at] == '\\' && r->s.p[r->at + 1] == 'u') {
            r->at += 2;
            v = 0x10000 + ((v - 0xD800) << 10) + (hex4(r) & 0x3FF);
        }
        put_code_point(b, v);
    } else {
        r->bad = true;
    }
}

static struct str read_string(struct json_reader *r)
{
    struct buf b = {0};
    struct str out;
    if (!take(r, '"'))
        r->bad = true;
    while (!r->bad && r->at < r->s.n && r->s.p[r->at] != '"') {
        char c = r->s.p[r->at++];
        if (c == '\\')
            read_escape(r, &b);
        else
            buf_u8(&b, (uint8_t)c);
    }
    if (!take(r, '"'))
        r->bad = true;
    out = arena_str(r->a, buf_view(&b));
    buf_free(&b);
    return out;
}

static struct json *read_value(struct json_reader *r);

static void add_member(struct json_reader *r, struct json *v, struct str name, struct json *value)
{
    if (v->n == v->cap) {
        int cap = v->cap ? v->cap * 2 : 4;
        struct json_member *more = ARENA_ARRAY(r->a, (size_t)cap, struct json_member);
        if (v->n)
            memcpy(more, v->members, (size_t)v->n * sizeof *more);
        v->members = more;
        v->cap = cap;
    }
    v->members[v->n++] = (struct json_member){name, value};
}

static void read_members(struct json_reader *r, struct json *v, char close)
{
    r->at++;
    if (take(r, close))
        return;
    do {
        struct str name = {"", 0};
        if (close == '}') {
            name = read_string(r);
            if (!take(r, ':'))
                r->bad = true;
        }
        struct json *value = read_value(r);
        if (r->bad)
            return;
        add_member(r, v, name, value);
    } while (take(r, ','));
    if (!take(r, close))
        r->bad = true;
}

static struct json *read_value(struct json_reader *r)
{
    struct json *v = ARENA_NEW(r->a, struct json);
    space(r);
    size_t from = r->at;
    if (++r->depth > LIMIT_TYPE_DEPTH * 4 || r->at >= r->s.n)
        r->bad = true;
    if (r->bad)
        return v;
    char c = r->s.p[r->at];
    if (c == '"') {
        v->kind = JSON_STRING;
        v->string = read_string(r);
    } else if (c == '{' || c == '[') {
        v->kind = c == '{' ? JSON_OBJECT : JSON_ARRAY;
        read_members(r, v, c == '{' ? '}' : ']');
    } else {
        while (r->at < r->s.n && !strchr(",]} \t\r\n", r->s.p[r->at]))
            r->at++;
        struct str word = str_sub(r->s, from, r->at - from);
        v->kind = str_eqz(word, "true") ? JSON_TRUE : str_eqz(word, "false") ? JSON_FALSE : JSON_OTHER;
        r->bad |= word.n == 0;
    }
    v->text = str_sub(r->s, from, r->at - from);
    r->depth--;
    return v;
}

static const struct json *member(const struct json *v, const char *name)
{
    for (int i = 0; v && v->kind == JSON_OBJECT && i < v->n; i++)
        if (str_eqz(v->members[i].name, name))
            return v->members[i].value;
    return NULL;
}

static bool flag(const struct json *v, const char *name)
{
    const struct json *m = member(v, name);
    return !m || m->kind != JSON_FALSE;
}

static const struct type *to_type(const struct json *v, struct arena *a, int depth);

static const struct type *simple_type(struct str name, struct arena *a)
{
    static const struct {
        const char *name;
        enum type_id id;
    } NAMES[] = {{"null", TYPE_NULL},
                 {"void", TYPE_NULL},
                 {"boolean", TYPE_BOOLEAN},
                 {"byte", TYPE_BYTE},
                 {"short", TYPE_SHORT},
                 {"integer", TYPE_INT},
                 {"long", TYPE_LONG},
                 {"float", TYPE_FLOAT},
                 {"double", TYPE_DOUBLE},
                 {"string", TYPE_STRING},
                 {"binary", TYPE_BINARY},
                 {"date", TYPE_DATE},
                 {"timestamp", TYPE_TIMESTAMP},
                 {"timestamp_ltz", TYPE_TIMESTAMP},
                 {"timestamp_ntz", TYPE_TIMESTAMP_NTZ}};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (str_eqz(name, NAMES[i].name))
            return type_simple(NAMES[i].id);
    /* decimal(10,2), varchar(5), interval day to second: as DDL writes them. */
    const struct type *t;
    struct fault quiet;
    bool ddl = str_starts(name, STR("decimal")) || str_starts(name, STR("interval")) ||
               str_starts(name, STR("varchar")) || str_starts(name, STR("char"));
    return ddl && sql_parse_type(name, a, &t, &quiet) == ERR_OK ? t : NULL;
}

static const struct type *struct_type(const struct json *v, struct arena *a, int depth)
{
    const struct json *list = member(v, "fields");
    if (!list || list->kind != JSON_ARRAY)
        return NULL;
    struct field *fields = ARENA_ARRAY(a, (size_t)list->n + 1, struct field);
    for (int i = 0; i < list->n; i++) {
        const struct json *f = list->members[i].value, *name = member(f, "name"), *metadata = member(f, "metadata");
        const struct json *t = member(f, "type");
        fields[i].type = t ? to_type(t, a, depth + 1) : NULL;
        if (!name || name->kind != JSON_STRING || !fields[i].type)
            return NULL;
        fields[i].name = name->string;
        fields[i].nullable = flag(f, "nullable");
        if (metadata && metadata->kind == JSON_OBJECT && metadata->n)
            fields[i].metadata = arena_str(a, metadata->text);
    }
    return type_struct(a, fields, list->n);
}

static const struct type *to_type(const struct json *v, struct arena *a, int depth)
{
    if (depth > LIMIT_TYPE_DEPTH)
        return NULL;
    if (v->kind == JSON_STRING)
        return simple_type(v->string, a);
    const struct json *kind = member(v, "type");
    if (!kind || kind->kind != JSON_STRING)
        return NULL;
    if (str_eqz(kind->string, "struct"))
        return struct_type(v, a, depth);
    const struct json *element = member(v, "elementType"), *key = member(v, "keyType"), *value = member(v, "valueType");
    if (str_eqz(kind->string, "array") && element) {
        const struct type *t = to_type(element, a, depth + 1);
        return t ? type_array(a, t, flag(v, "containsNull")) : NULL;
    }
    if (str_eqz(kind->string, "map") && key && value) {
        const struct type *k = to_type(key, a, depth + 1), *t = to_type(value, a, depth + 1);
        return k && t ? type_map(a, k, t, flag(v, "valueContainsNull")) : NULL;
    }
    return NULL;
}

enum err sql_parse_type_json(struct str json, struct arena *a, const struct type **out, struct fault *f)
{
    struct json_reader r = {.s = json, .a = a};
    *out = NULL;
    if (json.n <= LIMIT_SQL_BYTES) {
        struct json *v = read_value(&r);
        space(&r);
        if (!r.bad && r.at == json.n)
            *out = to_type(v, a, 0);
    }
    if (*out)
        return ERR_OK;
    char text[512];
    size_t n = json.n < sizeof text - 1 ? json.n : sizeof text - 1;
    if (n)
        memcpy(text, json.p, n);
    text[n] = 0;
    return FAULT(f, ERR_INVALID_JSON_DATA_TYPE, {"invalidType", text});
}
