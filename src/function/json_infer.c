/* schema_of_json: the type of one JSON text, as Spark's JsonInferSchema finds it (fields sorted by name). */
#include "function/json_int.h"
#include "function/table_int.h"

#include "wire/json.h"

#include <stdlib.h>

static const struct type *merge(struct arena *a, const struct type *x, const struct type *y);

static int by_name(const void *x, const void *y)
{
    return str_cmp(((const struct field *)x)->name, ((const struct field *)y)->name);
}

static const struct type *merge_structs(struct arena *a, const struct type *x, const struct type *y)
{
    struct field *fields = ARENA_ARRAY(a, (size_t)(x->nfields + y->nfields) + 1, struct field);
    int n = 0, i = 0, k = 0;
    while (i < x->nfields || k < y->nfields) {
        int d = i == x->nfields ? 1 : k == y->nfields ? -1 : str_cmp(x->fields[i].name, y->fields[k].name);
        fields[n] = d <= 0 ? x->fields[i] : y->fields[k];
        if (d == 0)
            fields[n].type = merge(a, x->fields[i].type, y->fields[k].type);
        n++;
        i += d <= 0;
        k += d >= 0;
    }
    return type_struct(a, fields, n);
}

/* JsonInferSchema.compatibleType */
static const struct type *merge(struct arena *a, const struct type *x, const struct type *y)
{
    if (x->id == TYPE_NULL || type_eq(x, y))
        return y;
    if (y->id == TYPE_NULL)
        return x;
    if (x->id == TYPE_STRUCT && y->id == TYPE_STRUCT)
        return merge_structs(a, x, y);
    if (x->id == TYPE_ARRAY && y->id == TYPE_ARRAY)
        return type_array(a, merge(a, x->fields[0].type, y->fields[0].type), true);
    if (type_is_numeric(x) && type_is_numeric(y))
        return x->id == TYPE_DECIMAL && y->id == TYPE_LONG   ? x
               : y->id == TYPE_DECIMAL && x->id == TYPE_LONG ? y
                                                             : type_simple(TYPE_DOUBLE);
    return type_simple(TYPE_STRING);
}

static const struct type *infer_number(struct arena *a, struct str text, bool integer)
{
    int64_t v;
    if (!integer)
        return type_simple(TYPE_DOUBLE);
    if (str_to_i64(text, &v))
        return type_simple(TYPE_LONG);
    size_t digits = text.n - (text.p[0] == '-');
    return digits <= 38 ? type_decimal(a, (int)digits, 0) : type_simple(TYPE_DOUBLE);
}

static const struct type *infer(struct json *j, struct arena *a, int depth);

static const struct type *infer_object(struct json *j, struct arena *a, int depth)
{
    struct field *fields = NULL;
    int n = 0, cap = 0;
    struct str name;
    json_object(j);
    while (json_more(j, '}') && json_key(j, a, &name)) {
        if (n == cap) {
            cap = cap ? cap * 2 : 8;
            struct field *grown = ARENA_ARRAY(a, (size_t)cap, struct field);
            if (n)
                memcpy(grown, fields, (size_t)n * sizeof *fields);
            fields = grown;
        }
        fields[n++] = (struct field){.name = name, .type = infer(j, a, depth + 1), .nullable = true};
    }
    if (n)
        qsort(fields, (size_t)n, sizeof *fields, by_name);
    return type_struct(a, fields, n);
}

static const struct type *infer(struct json *j, struct arena *a, int depth)
{
    char c = json_peek(j);
    struct str text;
    bool integer;
    if (depth > LIMIT_TYPE_DEPTH) {
        json_fail(j);
    } else if (c == '{') {
        return infer_object(j, a, depth);
    } else if (c == '[') {
        const struct type *element = type_simple(TYPE_NULL);
        json_array(j);
        while (json_more(j, ']'))
            element = merge(a, element, infer(j, a, depth + 1));
        return type_array(a, element, true);
    } else if (c == '"' || c == '\'') {
        json_string(j, a, &text);
        return type_simple(TYPE_STRING);
    } else if (c == 'n') {
        json_word(j, "null");
    } else if (c == 't' || c == 'f') {
        json_skip(j, NULL);
        return type_simple(TYPE_BOOLEAN);
    } else if (json_number(j, &text, &integer)) {
        return infer_number(a, text, integer);
    }
    return type_simple(TYPE_NULL);
}

/* JsonInferSchema.canonicalizeType: what stayed null is a string; a struct without fields goes. NULL: nothing is left. */
static const struct type *canonical(struct arena *a, const struct type *t)
{
    if (t->id == TYPE_NULL)
        return type_simple(TYPE_STRING);
    if (t->id == TYPE_ARRAY) {
        const struct type *element = canonical(a, t->fields[0].type);
        return element ? type_array(a, element, true) : NULL;
    }
    if (t->id != TYPE_STRUCT)
        return t;
    struct field *fields = ARENA_ARRAY(a, (size_t)t->nfields + 1, struct field);
    int n = 0;
    for (int i = 0; i < t->nfields; i++) {
        const struct type *f = canonical(a, t->fields[i].type);
        if (f && t->fields[i].name.n)
            fields[n++] = (struct field){.name = t->fields[i].name, .type = f, .nullable = true};
    }
    return n ? type_struct(a, fields, n) : NULL;
}

enum err bind_schema_of_json(struct bind_call *bc)
{
    struct str text;
    bool is_null;
    struct expr *e = bc->e;
    e->sql = arena_fmt(bc->b->arena, "%.*s(%.*s)", STR_ARG(bc->shown), STR_ARG(e->args[0]->sql));
    if (!expr_constant_str(bc->b, e->args[0], &text, &is_null) || is_null)
        return BIND_FAULT(bc, ERR_NON_FOLDABLE_INPUT, {"inputName", "`json`"}, {"inputType", "\"STRING\""},
                          {"inputExpr", quoted_expr(bc->b->arena, e->args[0])});
    enum err err = bind_args(bc, "S");
    if (err)
        return err;
    e->type = type_simple(TYPE_STRING);
    e->nullable = false;
    e->nargs = 1;
    return ERR_OK;
}

enum err fn_schema_of_json(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        struct json j = json_of(CALL_STR(c, 0, i), true);
        const struct type *t = infer(&j, c->ev->arena, 0);
        if (j.bad)
            CALL_FAIL(c, i, ERR_MALFORMED_RECORD, {"badRecord", arena_z(c->ev->arena, CALL_STR(c, 0, i))},
                      {"failFastMode", "FAILFAST"});
        t = canonical(c->ev->arena, t);
        c->out->data.str[i] = type_sql(c->ev->arena, t ? t : type_struct(c->ev->arena, NULL, 0));
    }
    return ERR_OK;
}
