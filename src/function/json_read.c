#include "function/json_int.h"
#include "wire/json.h"

#include <math.h>
#include <stdlib.h>

static enum err compile(struct arena *a, struct str format, const struct time_pattern **out, struct fault *f)
{
    return format.n ? time_pattern_new(a, format, true, out, f) : ERR_OK;
}

static void set_wanted(struct arena *a, struct json_schema *s, const bool *wanted)
{
    s->wanted = ARENA_ARRAY(a, (size_t)s->type->nfields + 1, bool);
    for (int i = 0; i < s->type->nfields; i++)
        s->wanted[i] = wanted ? wanted[i] : true;
}

enum err json_schema_new(struct arena *a, const struct type *type, const struct json_options *o,
                         const struct json_schema **out, struct fault *f)
{
    struct json_schema *s = ARENA_NEW(a, struct json_schema);
    s->type = type;
    s->options = *o;
    s->corrupt = -1;
    set_wanted(a, s, o->wanted);
    for (int i = 0; type->id == TYPE_STRUCT && o->corrupt_column.n && i < type->nfields; i++)
        if (type->fields[i].type->id == TYPE_STRING && str_eq(type->fields[i].name, o->corrupt_column))
            s->corrupt = i;
    *out = s;
    enum err e = compile(a, o->date_format, &s->date, f);
    if (!e)
        e = compile(a, o->timestamp_format, &s->timestamp, f);
    return e ? e : compile(a, o->timestamp_ntz_format, &s->timestamp_ntz, f);
}

const struct json_schema *json_schema_prune(struct arena *a, const struct json_schema *s, const bool *wanted)
{
    if (s->options.failfast || (s->corrupt >= 0 && wanted[s->corrupt]))
        return NULL;
    struct json_schema *pruned = ARENA_NEW(a, struct json_schema);
    *pruned = *s;
    set_wanted(a, pruned, wanted);
    return pruned;
}

/* -- writing into columns ------------------------------------------------------------------------------------------- */
static bool is_list(const struct column *c)
{
    return c->type->id == TYPE_ARRAY || c->type->id == TYPE_MAP;
}

static void set_null(struct column *c, uint32_t row)
{
    ((uint8_t *)c->valid)[row] = 0;
    if (is_list(c))
        c->data.offsets[row + 1] = c->data.offsets[row];
    else
        for (int i = 0; i < c->type->nfields; i++)
            set_null(&c->children[i], row);
}

static inline void set_valid(struct column *c, uint32_t row)
{
    ((uint8_t *)c->valid)[row] = 1;
}

/* All rows null, validity writable, below structs too. */
static void prepare(struct column *c, uint32_t n, struct arena *a)
{
    memset(column_valid_alloc(c, n, a), 0, n);
    if (!is_list(c))
        for (int i = 0; i < c->type->nfields; i++)
            prepare(&c->children[i], n, a);
}

static enum json_outcome read_value(struct json_reader *r, struct json *j, struct column *out, uint32_t row);

/* -- scalars ---------------------------------------------------------------------------------------------------------- */
static bool is_number_start(char c)
{
    return (c >= '0' && c <= '9') || c == '-' || c == 'N' || c == 'I' || c == '+';
}

/* A value of another kind: pass over it, checking it. */
static enum json_outcome wrong(struct json *j)
{
    json_skip(j, NULL);
    return VALUE_WRONG;
}

static enum json_outcome read_boolean(struct json *j, struct column *out, uint32_t row)
{
    char c = json_peek(j);
    if (c != 't' && c != 'f')
        return wrong(j);
    bool v;
    json_bool(j, &v);
    out->data.boolean[row] = v;
    return VALUE_OK;
}

static enum json_outcome read_integer(struct json *j, struct column *out, uint32_t row)
{
    struct str text;
    bool integer;
    int64_t v;
    if (!is_number_start(json_peek(j)))
        return wrong(j);
    if (!json_number(j, &text, &integer) || !integer || !str_to_i64(text, &v))
        return VALUE_WRONG;
    switch (out->type->id) {
    case TYPE_BYTE:
        out->data.i8[row] = (int8_t)v;
        return v == (int8_t)v ? VALUE_OK : VALUE_WRONG;
    case TYPE_SHORT:
        out->data.i16[row] = (int16_t)v;
        return v == (int16_t)v ? VALUE_OK : VALUE_WRONG;
    case TYPE_INT:
        out->data.i32[row] = (int32_t)v;
        return v == (int32_t)v ? VALUE_OK : VALUE_WRONG;
    default:
        out->data.i64[row] = v;
        return VALUE_OK;
    }
}

/* JacksonParser's own words for strings in floating point fields; Jackson's words for bare ones. */
static bool odd_double(struct str s, double *v)
{
    static const struct {
        const char *word;
        double value;
    } words[] = {{"NaN", NAN},      {"Infinity", INFINITY}, {"+Infinity", INFINITY}, {"-Infinity", -INFINITY},
                 {"INF", INFINITY}, {"+INF", INFINITY},     {"-INF", -INFINITY}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (str_eqz(s, words[i].word)) {
            *v = words[i].value;
            return true;
        }
    }
    return false;
}

static enum json_outcome read_double(struct json_reader *r, struct json *j, struct column *out, uint32_t row)
{
    struct str text;
    bool integer;
    double v;
    char c = json_peek(j);
    if (c == '"' || c == '\'') {
        if (!json_string(j, r->arena, &text) || !odd_double(text, &v))
            return VALUE_WRONG;
    } else if (!is_number_start(c)) {
        return wrong(j);
    } else if (!json_number(j, &text, &integer) || (!json_to_double(text, &v) && !odd_double(text, &v))) {
        return VALUE_WRONG;
    }
    if (v == 0 && str_eqz(text, "-0"))
        v = 0; /* an integer token: it has no negative zero */
    if (out->type->id == TYPE_FLOAT)
        out->data.f32[row] = (float)v;
    else
        out->data.f64[row] = v;
    return VALUE_OK;
}

/* A number as Jackson's generator copies it: integers as they are, others through a double. */
static void copy_number(struct buf *b, struct str text, bool integer)
{
    double v;
    if (str_eqz(text, "-0"))
        buf_u8(b, '0');
    else if (integer)
        buf_str(b, text);
    else if (odd_double(text, &v) || !json_to_double(text, &v))
        buf_json_str(b, text); /* NaN and its like come out quoted */
    else
        double_text(b, v);
}

/* Jackson's copyCurrentStructure. Depth is bounded by the reader (LIMIT_JSON_DEPTH). */
void json_copy(struct json *j, struct arena *a, struct buf *b)
{
    char c = json_peek(j);
    struct str text;
    bool integer, comma = false;
    if (c == '{' || c == '[') {
        char close = c == '{' ? '}' : ']';
        buf_u8(b, (uint8_t)c);
        if (!(c == '{' ? json_object(j) : json_array(j)))
            return;
        while (json_more(j, close)) {
            if (comma)
                buf_u8(b, ',');
            comma = true;
            if (c == '{' && json_key(j, a, &text)) {
                buf_json_str(b, text);
                buf_u8(b, ':');
            }
            json_copy(j, a, b);
        }
        buf_u8(b, (uint8_t)close);
    } else if (c == '"' || c == '\'') {
        if (json_string(j, a, &text))
            buf_json_str(b, text);
    } else if (is_number_start(c)) {
        if (json_number(j, &text, &integer))
            copy_number(b, text, integer);
    } else if (json_skip(j, &text)) {
        buf_str(b, text);
    }
}

/* Any JSON value into a STRING field: strings as they are, the rest as compact JSON. */
static enum json_outcome read_string(struct json_reader *r, struct json *j, struct column *out, uint32_t row)
{
    char c = json_peek(j);
    if (c == '"' || c == '\'')
        return json_string(j, r->arena, &out->data.str[row]) ? VALUE_OK : VALUE_WRONG;
    struct buf b = {0};
    json_copy(j, r->arena, &b);
    if (!j->bad)
        out->data.str[row] = arena_str(r->arena, buf_view(&b));
    buf_free(&b);
    return j->bad ? VALUE_WRONG : VALUE_OK;
}

/* Jackson's decoder takes nothing but the alphabet and its padding. */
static bool base64_strict(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '+' || c == '/' ||
              c == '='))
            return false;
    }
    return s.n % 4 == 0;
}

/* JSON's TIMESTAMP_NTZ allows no zone in the text: nothing but digits and separators stands behind the time's first colon. */
static bool has_zone(struct str s)
{
    ptrdiff_t colon = str_find(s, STR(":"), 0);
    for (size_t i = colon < 0 ? s.n : (size_t)colon; i < s.n; i++)
        if (!((s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == ':' || s.p[i] == '.'))
            return true;
    return false;
}

/* Without a format, a plain number is days since 1970 (JacksonParser's fallback for old files). */
static bool read_date(const struct json_schema *s, struct str text, int32_t *days)
{
    int64_t us;
    if (!s->date && text_to_date(text, days))
        return true;
    if (!s->date && str_to_i64(text, &us) && us == (int32_t)us) {
        *days = (int32_t)us;
        return true;
    }
    if (!s->date)
        return false;
    if (!time_pattern_parse(s->date, text, NULL, &us, NULL))
        return false;
    *days = (int32_t)floor_div(us, US_PER_DAY);
    return true;
}

/* Types that are written as strings: date, timestamps, binary, intervals; and decimals, as numbers or strings. */
static enum json_outcome read_text(struct json_reader *r, struct json *j, struct column *out, uint32_t row)
{
    struct str text;
    bool integer, ok, overflow = false;
    char c = json_peek(j);
    enum type_id id = out->type->id;
    if (c != '"' && c != '\'') {
        if (!is_number_start(c) || (id != TYPE_DECIMAL && id != TYPE_TIMESTAMP))
            return wrong(j);
        if (!json_number(j, &text, &integer))
            return VALUE_WRONG;
        if (id == TYPE_TIMESTAMP) { /* a number is seconds */
            int64_t s;
            return integer && str_to_i64(text, &s) && !__builtin_mul_overflow(s, 1000000, &out->data.i64[row])
                       ? VALUE_OK
                       : VALUE_WRONG;
        }
    } else if (!json_string(j, r->arena, &text) || text.n == 0) {
        return VALUE_WRONG;
    }
    switch (id) {
    case TYPE_DECIMAL:
        ok = decimal_parse(text, out->type->scale, &out->data.i128[row], &overflow) && !overflow &&
             decimal_fits(out->data.i128[row], out->type->precision);
        break;
    case TYPE_DATE:
        ok = read_date(r->schema, text, &out->data.i32[row]);
        break;
    case TYPE_TIMESTAMP:
        ok = r->schema->timestamp ? time_pattern_parse(r->schema->timestamp, text, r->zone, &out->data.i64[row], NULL)
                                  : text_to_timestamp(text, r->zone, &out->data.i64[row]);
        break;
    case TYPE_TIMESTAMP_NTZ:
        ok = r->schema->timestamp_ntz
                 ? time_pattern_parse(r->schema->timestamp_ntz, text, NULL, &out->data.i64[row], NULL)
                 : !has_zone(text) && text_to_timestamp_ntz(text, &out->data.i64[row]);
        break;
    case TYPE_DAY_TIME:
        ok = text_to_day_time(text, out->type->first, out->type->last, &out->data.i64[row]);
        break;
    case TYPE_YEAR_MONTH:
        ok = text_to_year_month(text, out->type->first, out->type->last, &out->data.i32[row]);
        break;
    case TYPE_BINARY:
        ok = base64_strict(text) && text_from_base64(text, r->arena, &out->data.str[row]);
        break;
    default:
        ok = false;
    }
    return ok ? VALUE_OK : VALUE_WRONG;
}

/* -- containers -------------------------------------------------------------------------------------------------------- */
/* A scalar of the wrong type spoils its whole array; a partial struct does not. */
static enum json_outcome read_list(struct json_reader *r, struct json *j, struct column *out, uint32_t row)
{
    bool map = out->type->id == TYPE_MAP;
    char close = map ? '}' : ']';
    enum json_outcome worst = VALUE_OK;
    if (json_peek(j) != (map ? '{' : '['))
        return wrong(j);
    (void)(map ? json_object(j) : json_array(j));
    uint32_t used = out->data.offsets[row];
    struct column *values = &out->children[map ? 1 : 0];
    while (json_more(j, close)) {
        if (used >= 1u << 30)
            return json_fail(j), VALUE_WRONG;
        for (int i = 0; i < out->type->nfields; i++)
            column_grow(&out->children[i], used + 1, r->arena);
        if (map) {
            set_valid(&out->children[0], used);
            json_key(j, r->arena, &out->children[0].data.str[used]);
        }
        enum json_outcome o = read_value(r, j, values, used);
        worst = o > worst ? o : worst;
        used++;
    }
    if (j->bad || worst == VALUE_WRONG)
        return VALUE_WRONG;
    out->data.offsets[row + 1] = used;
    return worst;
}

int json_find_field(const struct type *t, struct str name)
{
    for (int i = 0; i < t->nfields; i++)
        if (str_eq(t->fields[i].name, name))
            return i;
    return -1;
}

enum json_outcome json_read_field(struct json_reader *r, struct json *j, struct column *c, uint32_t row)
{
    enum json_outcome o = read_value(r, j, c, row);
    if (o != VALUE_WRONG)
        return o;
    set_null(c, row);
    return VALUE_PARTIAL;
}

static enum json_outcome read_struct(struct json_reader *r, struct json *j, struct column *out, uint32_t row)
{
    enum json_outcome worst = VALUE_OK;
    struct str name;
    if (json_peek(j) != '{')
        return wrong(j);
    for (int i = 0; i < out->type->nfields; i++)
        set_null(&out->children[i], row);
    json_object(j);
    while (json_more(j, '}')) {
        if (!json_key(j, r->arena, &name))
            break;
        int field = json_find_field(out->type, name);
        enum json_outcome o = VALUE_OK;
        if (field < 0)
            json_skip(j, NULL);
        else
            o = json_read_field(r, j, &out->children[field], row);
        worst = o > worst ? o : worst;
    }
    return worst;
}

static enum json_outcome read_value(struct json_reader *r, struct json *j, struct column *out, uint32_t row)
{
    if (json_peek(j) == 'n') {
        json_word(j, "null");
        set_null(out, row);
        return j->bad ? VALUE_WRONG : VALUE_OK;
    }
    set_valid(out, row);
    switch (out->type->id) {
    case TYPE_BOOLEAN:
        return read_boolean(j, out, row);
    case TYPE_BYTE:
    case TYPE_SHORT:
    case TYPE_INT:
    case TYPE_LONG:
        return read_integer(j, out, row);
    case TYPE_FLOAT:
    case TYPE_DOUBLE:
        return read_double(r, j, out, row);
    case TYPE_STRING:
        return read_string(r, j, out, row);
    case TYPE_ARRAY:
    case TYPE_MAP:
        return read_list(r, j, out, row);
    case TYPE_STRUCT:
        return read_struct(r, j, out, row);
    default:
        return read_text(r, j, out, row);
    }
}

/* -- the root ---------------------------------------------------------------------------------------------------- */
/* The root: *is_null when the text is empty. An array of structs takes a lone object too; a struct takes no array. */
static enum json_outcome read_root(struct json_reader *r, struct json *j, struct column *out, uint32_t row,
                                   bool *is_null)
{
    char c = json_peek(j);
    *is_null = !c;
    if (!c)
        return VALUE_OK;
    if (out->type->id == TYPE_ARRAY && c == '{' && out->type->fields[0].type->id == TYPE_STRUCT) {
        uint32_t at = out->data.offsets[row];
        column_grow(&out->children[0], at + 1, r->arena);
        out->data.offsets[row + 1] = at + 1;
        enum json_outcome o = read_value(r, j, &out->children[0], at);
        return j->bad ? VALUE_WRONG : o;
    }
    if (out->type->id != TYPE_STRUCT) {
        enum json_outcome o = c == 'n' ? VALUE_WRONG : read_value(r, j, out, row);
        return j->bad ? VALUE_WRONG : o;
    }
    return c == '{' ? json_read_root(r, j, out, row) : VALUE_WRONG;
}

/* FAILFAST: Spark names the record by the row it made of it. */
static enum err bad_record(struct eval *ev, const uint8_t *active, const struct column *out, uint32_t row)
{
    if (active && !active[row])
        return ERR_OK;
    struct buf text = {.limit = 1024};
    bool root_struct = out->type->id == TYPE_STRUCT;
    buf_u8(&text, '[');
    for (int i = 0; root_struct && i < out->type->nfields; i++) {
        buf_z(&text, i ? "," : "");
        value_text(&text, &out->children[i], row, ev->zone);
    }
    buf_z(&text, root_struct ? "]" : "null]");
    buf_u8(&text, 0);
    enum err e =
        FAULT(ev->fault, ERR_MALFORMED_RECORD, {"badRecord", text.bad ? "" : text.p}, {"failFastMode", "FAILFAST"});
    buf_free(&text);
    return e;
}

/* The fields of the root that are read become null (the others are constants), and with `itself` the root. */
static void root_null(const struct json_schema *s, struct column *out, uint32_t row, bool itself)
{
    if (itself)
        ((uint8_t *)out->valid)[row] = 0;
    if (is_list(out))
        out->data.offsets[row + 1] = out->data.offsets[row];
    else
        for (int i = 0; i < s->type->nfields; i++)
            if (s->wanted[i])
                set_null(&out->children[i], row);
}

static enum err read_row(struct json_reader *r, struct eval *ev, const uint8_t *active, struct str text,
                         struct column *out, uint32_t row)
{
    const struct json_schema *s = r->schema;
    bool root_struct = out->type->id == TYPE_STRUCT, is_null;
    struct json j = json_of(text, true);
    set_valid(out, row);
    enum json_outcome o = read_root(r, &j, out, row, &is_null);
    if (is_null || (o == VALUE_WRONG && !root_struct))
        root_null(s, out, row, true);
    else if (o == VALUE_WRONG)
        root_null(s, out, row, false);
    if (o == VALUE_OK)
        return ERR_OK;
    if (s->options.failfast)
        return bad_record(ev, active, out, row);
    if (s->corrupt >= 0 && s->wanted[s->corrupt]) {
        set_valid(&out->children[s->corrupt], row);
        out->children[s->corrupt].data.str[row] = text;
    }
    return ERR_OK;
}

static void alloc_out(const struct json_schema *s, struct column *out, uint32_t n, struct arena *a)
{
    if (s->type->id != TYPE_STRUCT) {
        column_alloc(out, s->type, n, a);
        prepare(out, n, a);
        return;
    }
    *out = (struct column){.type = s->type, .n = n, .mask = ~0u};
    out->children = ARENA_ARRAY(a, (size_t)s->type->nfields + 1, struct column);
    memset(column_valid_alloc(out, n, a), 0, n);
    for (int i = 0; i < s->type->nfields; i++) {
        if (s->wanted[i]) {
            column_alloc(&out->children[i], s->type->fields[i].type, n, a);
            prepare(&out->children[i], n, a);
        } else {
            column_null(&out->children[i], s->type->fields[i].type, n, a);
        }
    }
}

enum err json_read(const struct json_schema *s, const struct column *in, struct eval *ev, uint32_t n,
                   const uint8_t *active, struct column *out)
{
    struct column flat;
    column_flatten(&flat, in, ev->arena);
    struct json_reader *r = ARENA_NEW(ev->arena, struct json_reader);
    r->schema = s;
    r->arena = ev->arena;
    r->zone = ev->zone;
    r->first_key = UINT8_MAX;
    alloc_out(s, out, n, ev->arena);
    for (uint32_t i = 0; i < n; i++) {
        if (!col_valid(&flat, i)) {
            root_null(s, out, i, true);
            continue;
        }
        enum err e = read_row(r, ev, active, flat.data.str[i], out, i);
        if (e)
            return e;
    }
    return ERR_OK;
}
