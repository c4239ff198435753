/* The JSON functions of the table: from_json, to_json, get_json_object, schema_of_json and their kin. */
#include "function/json_int.h"
#include "function/table_int.h"

#include "sql/sql.h"
#include "wire/json.h"

#include <stdio.h>

/* -- options ------------------------------------------------------------------------------------------------------------- */
/* The options argument: a constant map of strings. */
static enum err read_options(struct bind_call *bc, struct expr *arg, struct option **out, int *n)
{
    struct column c;
    if (arg->type->id != TYPE_MAP || arg->type->fields[0].type->id != TYPE_STRING ||
        arg->type->fields[1].type->id != TYPE_STRING)
        return BIND_FAULT_PLAIN(bc, ERR_OPTIONS_NOT_STRING_MAP, {"mapType", quoted_type(bc->b->arena, arg->type)});
    if (!expr_constant(bc->b, arg, &c) || !col_valid(&c, 0))
        return BIND_FAULT_PLAIN(bc, ERR_OPTIONS_NOT_MAP);
    uint32_t from = c.data.offsets[0], to = c.data.offsets[1];
    *out = ARENA_ARRAY(bc->b->arena, to - from + 1u, struct option);
    *n = (int)(to - from);
    for (uint32_t i = from; i < to; i++)
        (*out)[i - from] = (struct option){c.children[0].data.str[COL_AT(&c.children[0], i)],
                                           c.children[1].data.str[COL_AT(&c.children[1], i)]};
    return ERR_OK;
}

static bool option_true(const struct option *o, int n, const char *key)
{
    return str_eq_nocase(option_get(o, n, key), STR("true"));
}

/* The schema and options arguments as text. */
static struct str moved_text(struct bind_call *bc)
{
    struct str s = {0};
    for (int i = 1; i < bc->e->nargs; i++)
        s = arena_fmt(bc->b->arena, "%.*s, %.*s", STR_ARG(s), STR_ARG(bc->e->args[i]->sql));
    return s;
}

/* -- from_json ------------------------------------------------------------------------------------------------------------- */
/* All that is read may be missing: nullable at every level. */
static const struct type *nullable_type(struct arena *a, const struct type *t)
{
    if (!t->nfields)
        return t;
    struct type *copy = ARENA_NEW(a, struct type);
    struct field *fields = ARENA_ARRAY(a, (size_t)t->nfields, struct field);
    *copy = *t;
    for (int i = 0; i < t->nfields; i++) {
        fields[i] = t->fields[i];
        fields[i].type = nullable_type(a, t->fields[i].type);
        fields[i].nullable = !(t->id == TYPE_MAP && i == 0);
    }
    copy->fields = fields;
    return copy;
}

static enum err read_schema(struct bind_call *bc, struct expr *arg, const struct type **out)
{
    struct str text;
    bool is_null;
    if (arg->type->id != TYPE_STRING || !expr_constant_str(bc->b, arg, &text, &is_null) || is_null)
        return BIND_FAULT_PLAIN(bc, ERR_SCHEMA_NOT_STRING, {"inputSchema", quoted_expr(bc->b->arena, arg)});
    enum err e = sql_parse_schema(text, bc->b->arena, out, bc->f);
    if (e)
        return e;
    if ((*out)->id != TYPE_STRUCT && (*out)->id != TYPE_ARRAY && (*out)->id != TYPE_MAP)
        return BIND_FAULT(bc, ERR_INVALID_JSON_SCHEMA, {"schema", quoted_type(bc->b->arena, *out)});
    *out = nullable_type(bc->b->arena, *out);
    return ERR_OK;
}

/* Options that change how JSON is read and that we do not have are refused by name, unless they ask for the default. */
static enum err check_options(struct bind_call *bc, const struct option *o, int n)
{
    static const struct {
        const char *key, *value; /* value NULL: any */
    } known[] = {{"mode", NULL},
                 {"columnNameOfCorruptRecord", NULL},
                 {"timestampFormat", NULL},
                 {"timestampNTZFormat", NULL},
                 {"dateFormat", NULL},
                 {"allowSingleQuotes", "true"},
                 {"allowNonNumericNumbers", "true"},
                 {"allowUnquotedFieldNames", "false"},
                 {"allowNumericLeadingZeros", "false"},
                 {"allowComments", "false"},
                 {"allowBackslashEscapingAnyCharacter", "false"},
                 {"allowUnquotedControlChars", "false"},
                 {"primitivesAsString", "false"},
                 {"prefersDecimal", "false"},
                 {"multiLine", NULL},
                 {"locale", "en-US"}};
    for (int i = 0; i < n; i++) {
        bool ok = false;
        for (size_t k = 0; k < sizeof known / sizeof *known; k++)
            ok |= str_eq_nocase(o[i].key, str_of(known[k].key)) &&
                  (!known[k].value || str_eq_nocase(o[i].value, str_of(known[k].value)));
        if (!ok)
            return BIND_FAULT_PLAIN(
                bc, ERR_UNSUPPORTED,
                {"feature",
                 arena_fmt(bc->b->arena, "the JSON option %.*s=%.*s", STR_ARG(o[i].key), STR_ARG(o[i].value)).p},
                {"hint", ""});
    }
    return ERR_OK;
}

static enum err read_mode(struct bind_call *bc, struct str mode, struct json_options *o)
{
    char z[64];
    o->failfast = str_eq_nocase(mode, STR("FAILFAST"));
    if (!str_eq_nocase(mode, STR("DROPMALFORMED")))
        return ERR_OK;
    snprintf(z, sizeof z, "%.*s", STR_ARG(mode));
    return BIND_FAULT_PLAIN(bc, ERR_PARSE_MODE, {"funcName", "`from_json`"}, {"mode", z});
}

enum err bind_from_json(struct bind_call *bc)
{
    struct expr *e = bc->e;
    struct option *options = NULL;
    int n = 0;
    struct json_options o = {.corrupt_column = STR("_corrupt_record")};
    e->sql = arena_fmt(bc->b->arena, "%.*s(%.*s)", STR_ARG(bc->shown), STR_ARG(e->args[0]->sql));
    const struct type *type;
    if (e->args[0]->type->id != TYPE_STRING && e->args[0]->type->id != TYPE_NULL)
        return BIND_FAULT(bc, ERR_MISMATCH_UNEXPECTED_INPUT_TYPE, {"paramIndex", ORDINALS[0]},
                          {"requiredType", "\"STRING\""}, {"inputSql", quoted_expr(bc->b->arena, e->args[0])},
                          {"inputType", quoted_type(bc->b->arena, e->args[0]->type)});
    enum err err = read_schema(bc, e->args[1], &type);
    if (!err && e->nargs > 2)
        err = read_options(bc, e->args[2], &options, &n);
    if (!err)
        err = check_options(bc, options, n);
    if (!err)
        err = bind_args(bc, "S");
    if (!err)
        err = read_mode(bc, option_get(options, n, "mode"), &o);
    if (err)
        return err;
    if (option_get(options, n, "columnNameOfCorruptRecord").p)
        o.corrupt_column = option_get(options, n, "columnNameOfCorruptRecord");
    o.timestamp_format = option_get(options, n, "timestampFormat");
    o.timestamp_ntz_format = option_get(options, n, "timestampNTZFormat");
    o.date_format = option_get(options, n, "dateFormat");
    const struct json_schema *schema;
    err = json_schema_new(bc->b->arena, type, &o, &schema, bc->f);
    if (type->id == TYPE_MAP)
        e->sql = STR("entries"); /* JsonToStructs.prettyName */
    e->bound = schema;
    e->type = type;
    e->nullable = true;
    e->bound_text = moved_text(bc);
    e->nargs = 1; /* schema and options are in `bound` now */
    return err;
}

enum err fn_from_json(struct call *c)
{
    return json_read(c->e->bound, &c->args[0], c->ev, c->n, c->active, c->out);
}

struct expr *json_prune(struct bind *b, struct expr *call, const bool *used)
{
    if (call->kind != EXPR_CALL || call->fn->kernel != fn_from_json || call->type->id != TYPE_STRUCT)
        return call;
    const struct json_schema *pruned = json_schema_prune(b->arena, call->bound, used);
    if (!pruned)
        return call;
    struct expr *copy = ARENA_NEW(b->arena, struct expr);
    *copy = *call;
    copy->bound = pruned;
    return copy;
}

/* -- to_json ----------------------------------------------------------------------------------------------------------------- */
enum err bind_to_json(struct bind_call *bc)
{
    struct expr *e = bc->e;
    struct option *options = NULL;
    int n = 0;
    struct arena *a = bc->b->arena;
    e->sql = arena_fmt(a, "%.*s(%.*s)", STR_ARG(bc->shown), STR_ARG(e->args[0]->sql));
    const struct type *t = e->args[0]->type;
    if (t->id != TYPE_STRUCT && t->id != TYPE_ARRAY && t->id != TYPE_MAP && t->id != TYPE_NULL)
        return BIND_FAULT(bc, ERR_INVALID_JSON_SCHEMA, {"schema", quoted_type(a, t)});
    enum err err = e->nargs > 1 ? read_options(bc, e->args[1], &options, &n) : ERR_OK;
    if (err)
        return err;
    struct json_write *w = ARENA_NEW(a, struct json_write);
    w->keep_null_fields = str_eq_nocase(option_get(options, n, "ignoreNullFields"), STR("false"));
    w->pretty = option_true(options, n, "pretty");
    w->date_format = option_get(options, n, "dateFormat");
    w->timestamp_format = option_get(options, n, "timestampFormat");
    w->timestamp_ntz_format = option_get(options, n, "timestampNTZFormat");
    if ((err = json_write_init(w, a, bc->f)))
        return err;
    e->bound = w;
    e->type = type_simple(TYPE_STRING);
    e->nullable = true;
    e->bound_text = moved_text(bc);
    e->nargs = 1;
    return ERR_OK;
}

enum err fn_to_json(struct call *c)
{
    struct json_write w = *(const struct json_write *)c->e->bound;
    struct buf text = {0};
    w.out = &text;
    w.zone = c->ev->zone;
    for (uint32_t i = 0; i < c->n; i++) {
        if (!call_live(c, i))
            continue;
        buf_clear(&text);
        json_write_value(&w, &c->args[0], i);
        c->out->data.str[i] = arena_str(c->ev->arena, buf_view(&text));
    }
    buf_free(&text);
    return ERR_OK;
}

/* -- small ones -------------------------------------------------------------------------------------------------------------- */
/* Elements of the outermost array; NULL for anything else. */
enum err fn_json_array_length(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        if (!call_live(c, i))
            continue;
        struct json j = json_of(CALL_STR(c, 0, i), true);
        int32_t n = 0;
        if (json_peek(&j) == '[' && json_array(&j))
            for (; json_more(&j, ']'); n++)
                json_skip(&j, NULL);
        else
            j.bad = true;
        if (j.bad)
            call_set_null(c, i);
        else
            c->out->data.i32[i] = n;
    }
    return ERR_OK;
}

/* Keys of the outermost object, as an array; NULL for anything else. */
enum err fn_json_object_keys(struct call *c)
{
    struct column *keys = &c->out->children[0];
    uint32_t used = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        uint32_t from = used;
        struct json j = json_of(call_live(c, i) ? CALL_STR(c, 0, i) : STR(""), true);
        if (json_peek(&j) == '{' && json_object(&j)) {
            while (json_more(&j, '}')) {
                column_grow(keys, used + 1, c->ev->arena);
                json_key(&j, c->ev->arena, &keys->data.str[used++]);
                json_skip(&j, NULL);
            }
        } else {
            j.bad = true;
        }
        if (j.bad) {
            used = from;
            call_set_null(c, i);
        }
        c->out->data.offsets[i + 1] = used;
    }
    column_grow(keys, used, c->ev->arena);
    return ERR_OK;
}
