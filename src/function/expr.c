/* Building expressions that are not calls: columns, literals, casts, fields, CASE; and looking at trees. */
#include "function/function_int.h"

struct expr *expr_new(struct bind *b, enum expr_kind kind, int nargs)
{
    struct expr *e = ARENA_NEW(b->arena, struct expr);
    e->kind = kind;
    e->nargs = nargs;
    e->args = ARENA_ARRAY(b->arena, (size_t)nargs, struct expr *);
    e->deterministic = true;
    e->origin = b->origin;
    e->ansi = b->ansi;
    return e;
}

struct expr *expr_column(struct bind *b, int ordinal, struct str name, const struct type *t, bool nullable)
{
    struct expr *e = expr_new(b, EXPR_COLUMN, 0);
    e->ordinal = ordinal;
    e->type = t;
    e->nullable = nullable;
    e->sql = arena_str(b->arena, name);
    return e;
}

/* -- literals ---------------------------------------------------------------------------------------------------------------- */
/* As usePrettyExpression prints a literal: strings and numbers bare, the rest as SQL. */
static struct str literal_name(struct bind *b, const struct column *c, bool is_null)
{
    struct str s;
    if (is_null)
        return STR("NULL");
    if (c->type->id == TYPE_STRING)
        return arena_str(b->arena, c->data.str[0]);
    if (c->type->id == TYPE_DECIMAL) { /* as BigDecimal.toString: 1E-7 */
        struct buf text = {0};
        decimal_java_text(&text, c->data.i128[0], c->type->scale);
        s = arena_str(b->arena, buf_view(&text));
        buf_free(&text);
        return s;
    }
    if (type_is_numeric(c->type))
        return text_of(b->arena, c, 0, b->zone);
    s = str_of(literal_sql(b->arena, c, 0, b->zone));
    return s;
}

struct expr *expr_literal(struct bind *b, const struct column *value, bool value_is_null)
{
    struct expr *e = expr_new(b, EXPR_LITERAL, 0);
    e->type = value->type;
    e->nullable = value_is_null || value->type->id == TYPE_NULL;
    e->foldable = true;
    if (e->nullable) {
        column_null(&e->literal, value->type, 1, b->arena);
    } else {
        struct column one;
        column_const(&one, value, 0, 1, b->arena);
        column_copy(&e->literal, &one, b->arena);
    }
    e->sql = literal_name(b, &e->literal, e->nullable);
    return e;
}

#define LIT(fn, ID, member, T)                                                                                         \
    struct expr *fn(struct bind *b, T v)                                                                               \
    {                                                                                                                  \
        struct column c;                                                                                               \
        column_alloc(&c, type_simple(ID), 1, b->arena);                                                                \
        c.data.member[0] = v;                                                                                          \
        return expr_literal(b, &c, false);                                                                             \
    }
LIT(expr_lit_i32, TYPE_INT, i32, int32_t)
LIT(expr_lit_str, TYPE_STRING, str, struct str)
LIT(expr_lit_bool, TYPE_BOOLEAN, boolean, bool)

struct expr *expr_null(struct bind *b, const struct type *t)
{
    struct column c;
    column_null(&c, t, 1, b->arena);
    return expr_literal(b, &c, true);
}

/* -- casts --------------------------------------------------------------------------------------------------------------------- */
/* CAST(x AS T), TRY_CAST(x AS T) */
static struct str cast_name(struct bind *b, const struct expr *e, const struct type *to, enum cast_mode mode)
{
    return arena_fmt(b->arena, "%s(%.*s AS %.*s)", mode == CAST_TRY ? "TRY_CAST" : "CAST", STR_ARG(e->sql),
                     STR_ARG(type_sql(b->arena, to)));
}

static enum err cast_refused(struct bind *b, const struct expr *e, const struct type *to, enum cast_mode mode,
                             struct str name, struct fault *f)
{
    struct arena *a = b->arena;
    const char *src = quoted_type(a, e->type), *target = quoted_type(a, to);
    const char *sql = arena_fmt(a, "\"%.*s\"", STR_ARG(name)).p;
    bool to_date = to->id == TYPE_DATE && type_is_numeric(e->type);
    bool from_date = e->type->id == TYPE_DATE && type_is_numeric(to);
    bool from_ts = e->type->id == TYPE_TIMESTAMP && type_is_numeric(to);
    enum err id;
    if (mode == CAST_ANSI && type_can_cast(e->type, to, CAST_LEGACY) && !from_date) {
        id = ERR_MISMATCH_CAST_WITH_CONF_SUGGESTION;
        FAULT(f, id, {"sqlExpr", sql}, {"srcType", src}, {"targetType", target},
              {"config", "\"spark.sql.ansi.enabled\""}, {"configVal", "'false'"});
    } else if (mode != CAST_LEGACY && (to_date || from_date || from_ts)) {
        id = ERR_MISMATCH_CAST_WITH_FUNC_SUGGESTION;
        FAULT(f, id, {"sqlExpr", sql}, {"srcType", src}, {"targetType", target},
              {"functionNames", to_date ? "`DATE_FROM_UNIX_DATE`" : "`UNIX_DATE`"});
    } else {
        id = ERR_MISMATCH_CAST_WITHOUT_SUGGESTION;
        FAULT(f, id, {"sqlExpr", sql}, {"srcType", src}, {"targetType", target});
    }
    fault_context(f, &b->origin);
    return id;
}

enum err expr_cast(struct bind *b, struct expr *e, const struct type *to, enum cast_mode mode, bool user_specified,
                   struct expr **out, struct fault *f)
{
    struct expr *c = expr_new(b, EXPR_CAST, 1);
    if (to->nfields || to->id == TYPE_STRUCT)
        user_specified = false; /* Spark does not tag casts to nested types: they do not show in names */
    struct str name = cast_name(b, e, to, mode);
    if (!type_can_cast(e->type, to, mode == CAST_TRY ? CAST_ANSI : mode)) {
        return cast_refused(b, e, to, mode, user_specified ? name : e->sql, f);
    }
    if (!user_specified && e->kind == EXPR_LITERAL && e->nullable) { /* a typed NULL needs no cast */
        struct expr *null = expr_null(b, to);
        null->origin = e->origin;
        *out = null;
        return ERR_OK;
    }
    c->args[0] = e;
    c->type = to;
    c->ordinal = mode;
    c->ansi = mode == CAST_ANSI;
    c->try_ = mode == CAST_TRY;
    c->user_specified = user_specified;
    c->nullable = e->nullable || mode == CAST_TRY || e->type->id == TYPE_NULL || cast_may_null(e->type, to);
    c->deterministic = e->deterministic;
    c->foldable = e->foldable;
    c->sql = user_specified ? name : e->sql;
    if (!user_specified && e->origin.sql.n)
        c->origin = e->origin;
    *out = c;
    return ERR_OK;
}

/* -- fields ------------------------------------------------------------------------------------------------------------------------ */
static int field_find(struct bind *b, const struct type *t, struct str name, int *count)
{
    int at = -1;
    *count = 0;
    for (int i = 0; i < t->nfields; i++) {
        struct str n = t->fields[i].name;
        if (!(b->case_sensitive ? str_eq(n, name) : str_eq_nocase(n, name)))
            continue;
        at = *count ? at : i;
        (*count)++;
    }
    return at;
}

static enum err field_missing(struct bind *b, const struct type *t, struct str name, int count, struct fault *f)
{
    struct buf names = {0};
    for (int i = 0; i < t->nfields; i++)
        buf_fmt(&names, "%s`%.*s`", i ? ", " : "", STR_ARG(t->fields[i].name));
    const char *list = arena_z(b->arena, buf_view(&names));
    buf_free(&names);
    enum err id = count ? ERR_AMBIGUOUS_REFERENCE_TO_FIELDS : ERR_FIELD_NOT_FOUND;
    if (count)
        FAULT(f, id, {"field", quoted_name(b->arena, name)}, {"count", arena_fmt(b->arena, "%d", count).p});
    else
        FAULT(f, id, {"fieldName", quoted_name(b->arena, name)}, {"fields", list});
    fault_context(f, &b->origin);
    return id;
}

enum err expr_field(struct bind *b, struct expr *e, struct str name, struct expr **out, struct fault *f)
{
    bool of_array = e->type->id == TYPE_ARRAY && e->type->fields[0].type->id == TYPE_STRUCT;
    if (e->type->id != TYPE_STRUCT && !of_array) {
        struct expr *key = expr_lit_str(b, name);
        struct expr *args[2] = {e, key};
        return bind_call_name(b, "[]", args, 2, out, f);
    }
    const struct type *t = of_array ? e->type->fields[0].type : e->type;
    int count, at = field_find(b, t, name, &count);
    if (count != 1)
        return field_missing(b, t, name, count, f);
    struct expr *x = expr_new(b, EXPR_FIELD, 1);
    x->args[0] = e;
    x->ordinal = at;
    x->deterministic = e->deterministic;
    x->foldable = e->foldable;
    x->sql = arena_fmt(b->arena, "%.*s.%.*s", STR_ARG(e->sql), STR_ARG(t->fields[at].name));
    x->type = t->fields[at].type;
    x->nullable = e->nullable || t->fields[at].nullable;
    if (of_array) {
        x->type = type_array(b->arena, x->type, e->type->fields[0].nullable || t->fields[at].nullable);
        x->nullable = e->nullable;
    }
    *out = x;
    return ERR_OK;
}

/* -- CASE ----------------------------------------------------------------------------------------------------------------------------- */
static struct str case_name(struct bind *b, const struct expr *e)
{
    struct buf s = {0};
    buf_z(&s, "CASE");
    for (int i = 0; i + 1 < e->nargs; i += 2)
        buf_fmt(&s, " WHEN %.*s THEN %.*s", STR_ARG(e->args[i]->sql), STR_ARG(e->args[i + 1]->sql));
    if (e->nargs % 2)
        buf_fmt(&s, " ELSE %.*s", STR_ARG(e->args[e->nargs - 1]->sql));
    buf_z(&s, " END");
    struct str out = arena_str(b->arena, buf_view(&s));
    buf_free(&s);
    return out;
}

/* The branch values of a CASE, else last. */
static int case_values(struct expr *e, struct expr **values)
{
    int n = 0;
    for (int i = 1; i < e->nargs; i += 2)
        values[n++] = e->args[i];
    if (e->nargs % 2)
        values[n++] = e->args[e->nargs - 1];
    return n;
}

static enum err case_conditions(struct bind *b, struct expr *e, struct fault *f)
{
    for (int i = 0; i + 1 < e->nargs; i += 2) {
        if (e->args[i]->type->id == TYPE_BOOLEAN)
            continue;
        if (e->args[i]->type->id == TYPE_STRING && b->ansi) {
            enum err err = coerce_to(b, &e->args[i], type_simple(TYPE_BOOLEAN), f);
            if (err)
                return err;
            continue;
        }
        FAULT(f, ERR_MISMATCH_UNEXPECTED_INPUT_TYPE, {"sqlExpr", quoted_expr(b->arena, e)},
              {"paramIndex", i < 9 ? ORDINALS[i] : "next"}, {"requiredType", "\"BOOLEAN\""},
              {"inputSql", quoted_expr(b->arena, e->args[i])}, {"inputType", quoted_type(b->arena, e->args[i]->type)});
        fault_context(f, &b->origin);
        return ERR_MISMATCH_UNEXPECTED_INPUT_TYPE;
    }
    return ERR_OK;
}

enum err expr_case(struct bind *b, struct expr **args, int nargs, struct expr **out, struct fault *f)
{
    struct expr *e = expr_new(b, EXPR_CASE, nargs);
    struct expr **values = ARENA_ARRAY(b->arena, (size_t)nargs, struct expr *);
    memcpy(e->args, args, (size_t)nargs * sizeof *args);
    e->sql = case_name(b, e);
    int n = case_values(e, values);
    if (!type_common_of(b, values, n, &e->type)) {
        FAULT(f, ERR_MISMATCH_DATA_DIFF_TYPES, {"sqlExpr", quoted_expr(b->arena, e)}, {"functionName", "`casewhen`"},
              {"dataType", type_list(b->arena, values, n, "[", ", ", "]")});
        fault_context(f, &b->origin);
        return ERR_MISMATCH_DATA_DIFF_TYPES;
    }
    enum err err = case_conditions(b, e, f);
    e->foldable = true;
    e->nullable = nargs % 2 == 0;
    for (int i = 0; i < nargs && !err; i++) {
        bool value = i % 2 == 1 || i == nargs - 1;
        if (value && (nargs % 2 || i % 2 == 1))
            err = coerce_to(b, &e->args[i], e->type, f);
        if (err)
            break;
        e->foldable &= e->args[i]->foldable;
        e->deterministic &= e->args[i]->deterministic;
        if (value)
            e->nullable |= e->args[i]->nullable;
    }
    *out = e;
    return err;
}

/* -- trees ------------------------------------------------------------------------------------------------------------------------------ */
enum err expr_fold(struct bind *b, struct expr **e, struct fault *f)
{
    struct expr *x = *e;
    if (x->kind != EXPR_LITERAL && x->foldable && x->deterministic) {
        struct column c;
        if (expr_constant(b, x, &c)) {
            struct expr *lit = expr_literal(b, &c, !col_valid(&c, 0));
            lit->type = x->type;
            lit->literal.type = x->type;
            lit->nullable = x->nullable;
            lit->sql = x->sql; /* the name stays as written */
            lit->origin = x->origin;
            *e = lit;
            return ERR_OK;
        }
    }
    for (int i = 0; i < x->nargs; i++) {
        enum err err = expr_fold(b, &x->args[i], f);
        if (err)
            return err;
    }
    return x->filter ? expr_fold(b, &x->filter, f) : ERR_OK;
}

bool expr_walk(struct expr *e, bool (*fn)(struct expr *e, void *arg), void *arg)
{
    if (fn(e, arg))
        return true;
    for (int i = 0; i < e->nargs; i++)
        if (expr_walk(e->args[i], fn, arg))
            return true;
    return e->filter && expr_walk(e->filter, fn, arg);
}

bool expr_eq(const struct expr *a, const struct expr *b)
{
    if (a == b)
        return true;
    if (a->kind != b->kind || a->nargs != b->nargs || a->fn != b->fn || a->ordinal != b->ordinal ||
        a->distinct != b->distinct || !a->filter != !b->filter || !type_eq(a->type, b->type) || !a->deterministic ||
        !str_eq(a->bound_text, b->bound_text) || a->try_ != b->try_)
        return false;
    if (a->kind == EXPR_LITERAL &&
        (a->nullable != b->nullable || (!a->nullable && column_cmp(&a->literal, 0, &b->literal, 0) != 0)))
        return false;
    for (int i = 0; i < a->nargs; i++)
        if (!expr_eq(a->args[i], b->args[i]))
            return false;
    return !a->filter || expr_eq(a->filter, b->filter);
}
