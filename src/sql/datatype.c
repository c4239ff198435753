/* Types as DDL writes them ("array<struct<a:int>>"), table schemas ("a INT, b STRING NOT NULL"), and Spark's JSON schemas. */
#include "sql_int.h"

#include <stdio.h>
#include <stdlib.h>

static const struct {
    const char *name;
    enum type_id id;
} NAMES[] = {
    {"boolean", TYPE_BOOLEAN},
    {"tinyint", TYPE_BYTE},
    {"byte", TYPE_BYTE},
    {"smallint", TYPE_SHORT},
    {"short", TYPE_SHORT},
    {"int", TYPE_INT},
    {"integer", TYPE_INT},
    {"bigint", TYPE_LONG},
    {"long", TYPE_LONG},
    {"float", TYPE_FLOAT},
    {"real", TYPE_FLOAT},
    {"double", TYPE_DOUBLE},
    {"date", TYPE_DATE},
    {"timestamp", TYPE_TIMESTAMP},
    {"timestamp_ltz", TYPE_TIMESTAMP},
    {"timestamp_ntz", TYPE_TIMESTAMP_NTZ},
    {"string", TYPE_STRING},
    {"binary", TYPE_BINARY},
    {"void", TYPE_NULL},
};

static bool close_angle(struct parser *p)
{
    /* "array<array<int>>" ends in one token ">>": leave half of it for the outer type. */
    struct token *t = &p->tokens[p->at];
    if (t->kind == TOKEN_SYMBOL && (symbol_is(t, ">>") || symbol_is(t, ">>>"))) {
        t->text = str_sub(t->text, 1, t->text.n);
        t->start++;
        t->column++;
        return true;
    }
    return expect_symbol(p, ">");
}

static void *incomplete(struct parser *p, int first, enum err e)
{
    return PARSE_FAULT(p, first, e, {"elementType", "<INT>"});
}

static const struct type *parse_array(struct parser *p, int first)
{
    if (!accept_symbol(p, "<"))
        return incomplete(p, first, ERR_INCOMPLETE_ARRAY);
    const struct type *element = parse_type(p);
    return element && close_angle(p) ? type_array(p->a, element, true) : NULL;
}

static const struct type *parse_map(struct parser *p, int first)
{
    if (!accept_symbol(p, "<"))
        return incomplete(p, first, ERR_INCOMPLETE_MAP);
    const struct type *key = parse_type(p);
    if (!key || !expect_symbol(p, ","))
        return NULL;
    const struct type *value = parse_type(p);
    return value && close_angle(p) ? type_map(p->a, key, value, true) : NULL;
}

/* name [:] type [NOT NULL] [DEFAULT …] [COMMENT '…'] */
static bool parse_field(struct parser *p, struct field *f, bool colon)
{
    *f = (struct field){.nullable = true};
    if (!parse_identifier(p, &f->name))
        return false;
    if (colon)
        accept_symbol(p, ":");
    f->type = parse_type(p);
    if (!f->type)
        return false;
    if (accept_words(p, "not", "null"))
        f->nullable = false;
    if (at_word(p, "comment") && peek(p, 1)->kind == TOKEN_STRING) {
        struct buf b = {0};
        buf_z(&b, "{\"comment\":");
        buf_json_str(&b, peek(p, 1)->value);
        buf_z(&b, "}");
        f->metadata = arena_str(p->a, buf_view(&b));
        buf_free(&b);
        p->at += 2;
    }
    return true;
}

static const struct type *parse_fields(struct parser *p, bool colon)
{
    VEC(struct field) fields = {0};
    const struct type *t = NULL;
    do {
        struct field f;
        if (!parse_field(p, &f, colon))
            break;
        vec_push(&fields, f);
    } while (accept_symbol(p, ","));
    if (!p->err)
        t = type_struct(p->a, fields.p, (int)fields.n);
    vec_free(&fields);
    return t;
}

static const struct type *parse_struct(struct parser *p, int first)
{
    if (accept_symbol(p, "<>")) /* lexed as one symbol */
        return type_struct(p->a, NULL, 0);
    if (!accept_symbol(p, "<"))
        return incomplete(p, first, ERR_INCOMPLETE_STRUCT);
    const struct type *t = parse_fields(p, true);
    return t && close_angle(p) ? t : NULL;
}

static bool type_number(struct parser *p, int *out)
{
    const struct token *t = peek(p, 0);
    int64_t v;
    if (t->kind != TOKEN_NUMBER || t->number != NUMBER_INTEGER || t->suffix[0] || !str_to_i64(t->value, &v)) {
        syntax_error(p, "");
        return false;
    }
    p->at++;
    *out = v > 100000 ? 100000 : (int)v;
    return true;
}

static const struct type *parse_decimal(struct parser *p)
{
    int precision = 10, scale = 0;
    char a[16], b[16];
    if (accept_symbol(p, "(")) {
        if (!type_number(p, &precision) || (accept_symbol(p, ",") && !type_number(p, &scale)) || !expect_symbol(p, ")"))
            return NULL;
    }
    snprintf(a, sizeof a, "%d", precision);
    snprintf(b, sizeof b, "%d", scale);
    if (precision > 38) {
        p->err = FAULT(p->fault, ERR_DECIMAL_PRECISION_EXCEEDS, {"precision", a}, {"maxPrecision", "38"});
        return NULL;
    }
    if (scale > precision) {
        p->err = FAULT(p->fault, ERR_DECIMAL_SCALE_TOO_LARGE, {"scale", b}, {"precision", a});
        return NULL;
    }
    return type_decimal(p->a, precision, scale);
}

static const struct type *parse_interval_type(struct parser *p)
{
    static const char *const FIELDS[] = {"year", "month", "day", "hour", "minute", "second", NULL};
    int from = -1, to = -1;
    for (int i = 0; FIELDS[i]; i++)
        if (at_word(p, FIELDS[i]))
            from = to = i;
    if (from < 0)
        return type_simple(TYPE_CALENDAR);
    p->at++;
    if (accept_word(p, "to")) {
        to = -1;
        for (int i = 0; FIELDS[i]; i++)
            if (at_word(p, FIELDS[i]))
                to = i;
        if (to <= from || (from < 2 && to > 1))
            return syntax_error(p, "");
        p->at++;
    }
    struct type *t = ARENA_NEW(p->a, struct type);
    *t = *type_simple(from < 2 ? TYPE_YEAR_MONTH : TYPE_DAY_TIME);
    t->first = (uint8_t)(from < 2 ? from : from - 2);
    t->last = (uint8_t)(from < 2 ? to : to - 2);
    return t;
}

static void *unknown_type(struct parser *p, int first, struct str word)
{
    static const char *const MAY_FOLLOW[] = {"not", "comment", "as", "from", "default", NULL};
    /* Spark reads the whole text before it looks at the names in it: a stray word behind is what it reports. */
    const struct token *t = peek(p, 0);
    if (t->kind == TOKEN_WORD && !word_in(t, MAY_FOLLOW)) {
        expect_end(p);
        return NULL;
    }
    char name[160];
    size_t n = 0;
    name[n++] = '"';
    for (size_t i = 0; i < word.n && n < sizeof name - 2; i++)
        name[n++] = word.p[i] >= 'a' && word.p[i] <= 'z' ? (char)(word.p[i] - 32) : word.p[i];
    name[n++] = '"';
    name[n] = 0;
    return PARSE_FAULT(p, first, ERR_UNSUPPORTED_DATATYPE, {"typeName", name});
}

/* CHAR(n) and VARCHAR(n) are strings in an expression, as in Spark. */
static const struct type *parse_char(struct parser *p, int first, struct str word)
{
    int n;
    char name[40];
    snprintf(name, sizeof name, "\"%s\"", str_eq_nocase(word, STR("varchar")) ? "VARCHAR" : "CHARACTER");
    if (!accept_symbol(p, "("))
        return PARSE_FAULT(p, first, ERR_DATATYPE_MISSING_SIZE, {"type", name});
    if (!type_number(p, &n) || !expect_symbol(p, ")"))
        return NULL;
    return type_simple(TYPE_STRING);
}

static const struct type *parse_type_word(struct parser *p)
{
    int first = p->at;
    struct str word;
    if (!parse_identifier(p, &word))
        return NULL;
    if (str_eq_nocase(word, STR("array")))
        return parse_array(p, first);
    if (str_eq_nocase(word, STR("map")))
        return parse_map(p, first);
    if (str_eq_nocase(word, STR("struct")))
        return parse_struct(p, first);
    if (str_eq_nocase(word, STR("decimal")) || str_eq_nocase(word, STR("dec")) || str_eq_nocase(word, STR("numeric")))
        return parse_decimal(p);
    if (str_eq_nocase(word, STR("interval")))
        return parse_interval_type(p);
    if (str_eq_nocase(word, STR("char")) || str_eq_nocase(word, STR("character")) ||
        str_eq_nocase(word, STR("varchar")))
        return parse_char(p, first, word);
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (str_eq_nocase(word, str_of(NAMES[i].name))) {
            if (NAMES[i].id == TYPE_TIMESTAMP && at_word(p, "without") && word_is(peek(p, 1), "time")) {
                p->at += 3;
                return type_simple(TYPE_TIMESTAMP_NTZ);
            }
            return type_simple(NAMES[i].id);
        }
    return unknown_type(p, first, word);
}

const struct type *parse_type(struct parser *p)
{
    const struct type *t = NULL;
    if (p->err)
        return NULL;
    if (p->type_depth >= LIMIT_TYPE_DEPTH)
        p->err = fault_set(p->fault, ERR_PARSE_TOO_COMPLEX, 0, NULL);
    p->type_depth++;
    if (!p->err)
        t = parse_type_word(p);
    p->type_depth--;
    return p->err ? NULL : t;
}

const struct type *parse_schema(struct parser *p)
{
    return parse_fields(p, true);
}
