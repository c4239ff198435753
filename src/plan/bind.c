/* Unresolved expressions → bound ones, over the columns of one scope. What has several scopes is in select.c. */
#include "plan_int.h"

#include <stdio.h>

static bool is_call(const struct node *n, const char *name)
{
    return n->kind == NODE_CALL && str_eq_nocase(n->name, str_of(name));
}

struct expr *expr_clone(struct arena *a, const struct expr *e)
{
    struct expr *c = ARENA_NEW(a, struct expr);
    *c = *e;
    return c;
}

struct expr *expr_substitute(struct arena *a, struct expr *e, struct expr *const *to)
{
    if (!e)
        return NULL;
    if (e->kind == EXPR_COLUMN)
        return to[e->ordinal] ? to[e->ordinal] : e;
    if (!e->nargs && !e->filter)
        return e;
    struct expr *c = expr_clone(a, e);
    c->args = ARENA_ARRAY(a, (size_t)e->nargs + 1, struct expr *);
    for (int i = 0; i < e->nargs; i++)
        c->args[i] = expr_substitute(a, e->args[i], to);
    c->filter = expr_substitute(a, e->filter, to);
    return c;
}

static bool aggregate_here(struct expr *e, void *arg)
{
    (void)arg;
    return e->kind == EXPR_AGG;
}

bool expr_has_aggregate(struct expr *e)
{
    return expr_walk(e, aggregate_here, NULL);
}

bool node_has_aggregate(const struct node *n)
{
    if (!n)
        return false;
    if (n->kind == NODE_CALL && function_is_aggregate(n->name))
        return true;
    for (int i = 0; i < n->nargs; i++)
        if (node_has_aggregate(n->args[i]))
            return true;
    return false;
}

enum err cast_to(struct analysis *an, struct expr **e, const struct type *t)
{
    if (type_eq((*e)->type, t))
        return ERR_OK;
    struct str sql = (*e)->sql;
    enum err err = expr_cast(an->bind, *e, t, an->bind->ansi ? CAST_ANSI : CAST_LEGACY, false, e, an->f);
    if (!err)
        (*e)->sql = sql;
    return err;
}

/* -- names ----------------------------------------------------------------------------------------------------------- */
static struct str last_part(const struct node *n)
{
    return n->parts[n->nparts - 1];
}

/* e.name: a field of a struct (or of each struct of an array), the value of a map. */
static enum err field_of(struct binding *b, const struct node *n, struct expr *e, struct str name, struct expr **out)
{
    struct analysis *an = b->an;
    struct expr *args[2] = {e, NULL};
    an->bind->origin = n->origin;
    if (e->type->id == TYPE_MAP) {
        args[1] = expr_lit_str(an->bind, name);
        return expr_call(an->bind, STR("[]"), args, 2, false, out, an->f);
    }
    if (e->type->id == TYPE_STRUCT || (e->type->id == TYPE_ARRAY && e->type->fields[0].type->id == TYPE_STRUCT))
        return expr_field(an->bind, e, name, out, an->f);
    enum err err = FAULT(an->f, ERR_EXTRACT_BASE, {"base", quote_sql(an->a, e)},
                         {"other", arena_fmt(an->a, "\"%.*s\"", STR_ARG(type_sql(an->a, e->type))).p});
    fault_context(an->f, &n->origin);
    return err;
}

/* The fields behind the column: a.b.c with a found. */
static enum err fields_of(struct binding *b, const struct node *n, int took, struct expr *e, struct expr **out)
{
    enum err err = ERR_OK;
    for (int i = took; !err && i < n->nparts; i++)
        err = field_of(b, n, e, n->parts[i], &e);
    *out = e;
    return err;
}

static enum err column_at(struct binding *b, const struct node *n, int ordinal, int took, struct expr **out)
{
    const struct scope_col *c = &b->scope->cols[ordinal];
    struct str name = took == n->nparts ? last_part(n) : n->parts[took - 1];
    return fields_of(b, n, took, expr_column(b->an->bind, ordinal, name, c->type, c->nullable), out);
}

/* A name that stands for an expression: an alias of the same select list, or an output column under HAVING. */
static struct expr *named_expr(struct binding *b, const struct node *n, const struct item *items, int nitems)
{
    for (int i = nitems - 1; i >= 0; i--)
        if (str_eq_nocase(items[i].name, n->parts[0])) {
            struct expr *e = expr_clone(b->an->a, items[i].e);
            e->sql = n->parts[0];
            return e;
        }
    return NULL;
}

static bool is_niladic(const struct node *n)
{
    static const char *const NAMES[] = {
        "current_date",   "current_timestamp", "current_user",     "user", "session_user",
        "localtimestamp", "current_catalog",   "current_database", NULL};
    for (int i = 0; n->nparts == 1 && NAMES[i]; i++)
        if (str_eq_nocase(n->parts[0], str_of(NAMES[i])))
            return true;
    return false;
}

static bool from_outputs(struct binding *b, const struct node *n, struct expr **out, enum err *err)
{
    struct expr *e = b->noutputs ? named_expr(b, n, b->outputs, b->noutputs) : NULL;
    if (e)
        *err = fields_of(b, n, 1, e, out);
    return e != NULL;
}

/* df["a"]: the column that `a` was in the relation with that plan id, wherever it stands now. */
static enum err bind_by_plan_id(struct binding *b, const struct node *n, struct expr **out)
{
    struct analysis *an = b->an;
    for (size_t i = an->plan_scopes.n; i-- > 0;) {
        const struct plan_scope *p = &an->plan_scopes.p[i];
        int found[16], took;
        if (p->plan_id != n->plan_id)
            continue;
        int hits = scope_find(&p->scope, n->parts, n->nparts, an->bind->case_sensitive, found, 16, &took);
        if (hits > 1)
            return ambiguous(an, &p->scope, n, found, hits);
        if (hits == 0)
            return unresolved_name(an, &p->scope, n->parts[0], &n->origin);
        int attr = p->scope.cols[found[0]].attr;
        for (int c = 0; c < b->scope->n; c++)
            if (b->scope->cols[c].attr == attr)
                return column_at(b, n, c, took, out);
        for (int k = 0; k < b->noutputs; k++)
            if (b->outputs[k].attr == attr)
                return fields_of(b, n, took, b->outputs[k].e, out);
    }
    struct str name = arena_fmt(an->a, "\"%.*s\"", STR_ARG(last_part(n)));
    enum err e = FAULT(an->f, ERR_DATAFRAME_COLUMN, {"name", name.p});
    fault_context(an->f, &n->origin);
    return e;
}

static enum err bind_attribute(struct binding *b, const struct node *n, struct expr **out)
{
    enum err err = ERR_OK;
    int found[16], took;
    if (n->plan_id >= 0)
        return bind_by_plan_id(b, n, out);
    if (b->outputs_first && !b->in_aggregate && from_outputs(b, n, out, &err))
        return err;
    int hits = scope_find(b->scope, n->parts, n->nparts, b->an->bind->case_sensitive, found, 16, &took);
    if (hits > 1)
        return ambiguous(b->an, b->scope, n, found, hits);
    if (hits == 1)
        return column_at(b, n, found[0], took, out);
    if (from_outputs(b, n, out, &err))
        return err;
    struct expr *alias = b->naliases ? named_expr(b, n, b->aliases, b->naliases) : NULL;
    if (alias)
        return fields_of(b, n, 1, alias, out);
    if (is_niladic(n))
        return expr_call(b->an->bind, n->parts[0], NULL, 0, false, out, b->an->f);
    return unresolved_column(b, n);
}

/* -- calls ----------------------------------------------------------------------------------------------------------- */
static enum err unsupported_node(struct binding *b, const struct node *n, const char *what, const char *hint)
{
    enum err e = FAULT(b->an->f, ERR_UNSUPPORTED, {"feature", what}, {"hint", hint});
    fault_context(b->an->f, &n->origin);
    return e;
}

/* The arguments, a star among them spread out. */
static enum err bind_args(struct binding *b, const struct node *n, struct expr ***args, int *nargs)
{
    struct item *items = NULL;
    int count = 0, cap = 0;
    for (int i = 0; i < n->nargs; i++) {
        const struct node *a = n->args[i];
        struct item it = {0};
        enum err err;
        if (a->kind == NODE_STAR) {
            err = expand_star(b->an, b->scope, a, &items, &count, &cap);
        } else if (a->kind == NODE_LAMBDA) {
            err = unsupported_node(b, a, "lambda functions", "");
        } else {
            err = bind_node(b, a->kind == NODE_ALIAS ? a->args[0] : a, &it.e);
            it.name = err ? STR("") : item_name(b->an, a, it.e);
            if (!err)
                items_add(b->an, &items, &count, &cap, it);
        }
        if (err)
            return err;
    }
    *args = ARENA_ARRAY(b->an->a, (size_t)count + 1, struct expr *);
    for (int i = 0; i < count; i++)
        (*args)[i] = items[i].e;
    *nargs = count;
    return ERR_OK;
}

static enum err call2(struct binding *b, const char *name, struct expr *x, struct expr *y, struct expr **out)
{
    struct expr *args[2] = {x, y};
    return expr_call(b->an->bind, str_of(name), args, 2, false, out, b->an->f);
}

/* between prints as a function and means two comparisons. */
static enum err bind_between(struct binding *b, struct expr **args, struct expr **out)
{
    struct expr *low, *high;
    enum err err = call2(b, ">=", args[0], args[1], &low);
    if (!err)
        err = call2(b, "<=", args[0], args[2], &high);
    if (!err)
        err = call2(b, "and", low, high, out);
    if (!err)
        (*out)->sql = arena_fmt(b->an->a, "between(%.*s, %.*s, %.*s)", STR_ARG(args[0]->sql), STR_ARG(args[1]->sql),
                                STR_ARG(args[2]->sql));
    return err;
}

/* struct(a, 1 AS b) is named_struct('a', a, 'b', 1): the names are those of the arguments, col1, col2 … where they have none. */
static enum err bind_struct(struct binding *b, const struct node *n, struct expr **out)
{
    struct analysis *an = b->an;
    struct item *items = NULL;
    int count = 0, cap = 0;
    struct buf sql = {0};
    buf_z(&sql, n->by_name ? "named_struct(" : "struct(");
    enum err err = ERR_OK;
    for (int i = 0; !err && i < n->nargs; i++) {
        const struct node *a = n->args[i], *inner = a->kind == NODE_ALIAS ? a->args[0] : a;
        struct item it = {0};
        int before = count;
        if (a->kind == NODE_STAR) {
            err = expand_star(an, b->scope, a, &items, &count, &cap);
        } else if (!(err = bind_node(b, inner, &it.e))) {
            bool named = a->kind == NODE_ALIAS || it.e->kind == EXPR_COLUMN || it.e->kind == EXPR_FIELD;
            it.name = named ? item_name(an, a, it.e) : arena_fmt(an->a, "col%d", count + 1);
            if (inner->kind == NODE_EXTRACT && inner->by_name && a == inner)
                it.name = inner->args[1]->literal.data.str[0];
            items_add(an, &items, &count, &cap, it);
        }
        for (int k = before; !err && k < count; k++) {
            buf_z(&sql, k ? ", " : "");
            if (n->by_name)
                buf_fmt(&sql, "%.*s, ", STR_ARG(items[k].name));
            buf_str(&sql, items[k].e->sql);
            if (a->kind == NODE_ALIAS && !n->by_name)
                buf_fmt(&sql, " AS %.*s", STR_ARG(items[k].name));
        }
    }
    buf_z(&sql, ")");
    struct str text = arena_str(an->a, buf_view(&sql));
    buf_free(&sql);
    struct expr **args = ARENA_ARRAY(an->a, (size_t)count * 2 + 1, struct expr *);
    for (int i = 0; i < count; i++) {
        args[i * 2] = expr_lit_str(an->bind, items[i].name);
        args[i * 2 + 1] = items[i].e;
    }
    an->bind->origin = n->origin;
    if (!err)
        err = expr_call(an->bind, STR("named_struct"), args, count * 2, false, out, an->f);
    if (!err)
        (*out)->sql = text;
    return err;
}

/* count(*) is count(1); count(t.*) is refused as Spark refuses it. */
static enum err count_star(struct binding *b, const struct node *n, struct expr **out)
{
    const struct node *star = n->args[0];
    if (star->nparts)
        return FAULT(b->an->f, ERR_COUNT_TABLE_STAR, {"tableName", quote_parts(b->an->a, star->parts, star->nparts).p});
    struct expr *one = expr_lit_i32(b->an->bind, 1);
    return expr_call(b->an->bind, n->name, &one, 1, false, out, b->an->f);
}

static enum err bind_filter(struct binding *b, const struct node *n, struct expr *e)
{
    struct binding inner = *b;
    inner.aggregates_allowed = false;
    enum err err = bind_predicate(&inner, n->filter, &e->filter);
    if (!err)
        e->sql = arena_fmt(b->an->a, "%.*s FILTER (WHERE %.*s)", STR_ARG(e->sql), STR_ARG(e->filter->sql));
    return err;
}

static struct str plain_name(struct str name)
{
    static const char *const PREFIXES[] = {"system.builtin.", "builtin.", "system.session.", "session."};
    for (size_t i = 0; i < sizeof PREFIXES / sizeof *PREFIXES; i++) {
        size_t n = strlen(PREFIXES[i]);
        if (name.n > n && str_eq_nocase(str_sub(name, 0, n), str_of(PREFIXES[i])))
            return str_sub(name, n, name.n);
    }
    return name;
}

/* IS UNKNOWN: IS NULL of something boolean. */
static enum err bind_unknown(struct binding *b, const struct node *n, struct expr **out)
{
    struct expr *e;
    enum err err = bind_node(b, n->args[0], &e);
    if (err)
        return err;
    b->an->bind->origin = n->origin;
    struct arena *a = b->an->a;
    if (e->type->id == TYPE_BOOLEAN || e->type->id == TYPE_NULL) {
        err = expr_call(b->an->bind, STR("isnull"), &e, 1, false, out, b->an->f);
        if (!err)
            (*out)->sql = arena_fmt(a, "(%.*s IS UNKNOWN)", STR_ARG(e->sql));
        return err;
    }
    err = FAULT(b->an->f, ERR_GENERATOR_INPUT, {"sqlExpr", arena_fmt(a, "\"(%.*s IS NULL)\"", STR_ARG(e->sql)).p},
                {"paramIndex", "first"}, {"inputSql", quote_sql(a, e)},
                {"inputType", arena_fmt(a, "\"%.*s\"", STR_ARG(type_sql(a, e->type))).p},
                {"requiredType", "\"BOOLEAN\""});
    fault_context(b->an->f, &n->origin);
    return err;
}

/* int(x), string(x) …: a cast that does not show in the name. */
static const struct type *type_called(const struct node *n)
{
    static const struct {
        const char *name;
        enum type_id id;
    } TYPES[] = {{"boolean", TYPE_BOOLEAN}, {"tinyint", TYPE_BYTE},    {"smallint", TYPE_SHORT},
                 {"int", TYPE_INT},         {"bigint", TYPE_LONG},     {"float", TYPE_FLOAT},
                 {"double", TYPE_DOUBLE},   {"decimal", TYPE_DECIMAL}, {"timestamp", TYPE_TIMESTAMP},
                 {"binary", TYPE_BINARY},   {"string", TYPE_STRING}};
    for (size_t i = 0; n->nargs == 1 && i < sizeof TYPES / sizeof *TYPES; i++)
        if (str_eq_nocase(n->name, str_of(TYPES[i].name)) && !function_exists(n->name))
            return type_simple(TYPES[i].id);
    return NULL;
}

static enum err bind_type_call(struct binding *b, const struct node *n, const struct type *t, struct expr **out)
{
    struct expr *e;
    enum err err = bind_node(b, n->args[0], &e);
    b->an->bind->origin = n->origin;
    if (!err)
        err = expr_cast(b->an->bind, e, t, b->an->bind->ansi ? CAST_ANSI : CAST_LEGACY, true, out, b->an->f);
    if (!err) {
        *out = expr_clone(b->an->a, *out);
        (*out)->sql = e->sql;
    }
    return err;
}

/* Calls that are not a row of the function table, or have arguments that are no plain expressions. */
static bool bind_special(struct binding *b, const struct node *n, struct expr **out, enum err *err)
{
    struct str generator;
    if (node_is_generator(n, &generator)) {
        *err = FAULT(b->an->f, ERR_GENERATOR_NESTED,
                     {"expression", arena_fmt(b->an->a, "\"%.*s(…)\"", STR_ARG(generator)).p});
        fault_context(b->an->f, &n->origin);
        return true;
    }
    if (is_call(n, "isunknown") && n->nargs == 1)
        return *err = bind_unknown(b, n, out), true;
    const struct type *t = type_called(n);
    if (t)
        return *err = bind_type_call(b, n, t, out), true;
    if (is_call(n, "struct"))
        return *err = bind_struct(b, n, out), true;
    if (is_call(n, "count") && n->nargs == 1 && n->args[0]->kind == NODE_STAR && !n->distinct)
        return *err = count_star(b, n, out), true;
    return false;
}

/* Shifts written as operators print as operators; shiftleft(a, 1) prints as it is written. */
static void print_operator(struct analysis *an, const struct node *n, struct expr **args, struct expr *e)
{
    bool shift = str_eqz(n->name, "<<") || str_eqz(n->name, ">>") || str_eqz(n->name, ">>>");
    if (n->nargs == 2 && shift)
        e->sql = arena_fmt(an->a, "(%.*s %.*s %.*s)", STR_ARG(args[0]->sql), STR_ARG(n->name), STR_ARG(args[1]->sql));
}

static enum err bind_call(struct binding *b, const struct node *n, struct expr **out)
{
    struct analysis *an = b->an;
    struct expr **args = NULL;
    int nargs = 0;
    enum err err = ERR_OK;
    struct str name = plain_name(n->name);
    bool aggregate = function_is_aggregate(name);
    struct binding inner = *b;
    inner.in_aggregate |= aggregate;
    an->bind->origin = n->origin;
    if (!bind_special(b, n, out, &err)) {
        err = bind_args(&inner, n, &args, &nargs);
        an->bind->origin = n->origin;
        if (err)
            return err;
        if (is_call(n, "case") || is_call(n, "when"))
            err = expr_case(an->bind, args, nargs, out, an->f);
        else if (is_call(n, "between") && nargs == 3)
            err = bind_between(b, args, out);
        else
            err = expr_call(an->bind, name, args, nargs, n->distinct, out, an->f);
        if (!err)
            print_operator(an, n, args, *out);
        if (!err && str_eq_nocase(name, STR("window")))
            (*out)->sql = STR("window"); /* the column that it becomes */
    }
    if (err || (*out)->kind != EXPR_AGG)
        return err;
    if (b->in_aggregate) {
        err = fault_set(an->f, ERR_NESTED_AGGREGATE, 0, NULL);
        fault_context(an->f, &n->origin);
        return err;
    }
    return n->filter ? bind_filter(b, n, *out) : ERR_OK;
}

/* -- the rest ---------------------------------------------------------------------------------------------------------- */
static enum err bind_literal(struct binding *b, const struct node *n, struct expr **out)
{
    *out = n->literal_null ? expr_null(b->an->bind, n->type ? n->type : n->literal.type)
                           : expr_literal(b->an->bind, &n->literal, false);
    return ERR_OK;
}

/* DATE '…': the value itself, so that it prints and folds as a literal. */
static enum err bind_typed_literal(struct binding *b, const struct node *n, struct expr *text, struct expr **out)
{
    struct analysis *an = b->an;
    enum err err = expr_cast(an->bind, text, n->type, CAST_TRY, false, out, an->f);
    if (!err)
        err = expr_fold(an->bind, out, an->f);
    if (err)
        return err;
    if ((*out)->kind != EXPR_LITERAL || !col_valid(&(*out)->literal, 0)) {
        const struct str value = n->args[0]->literal.data.str[0];
        err = FAULT(an->f, ERR_INVALID_TYPED_LITERAL,
                    {"valueType", arena_fmt(an->a, "\"%.*s\"", STR_ARG(type_sql(an->a, n->type))).p},
                    {"value", arena_fmt(an->a, "'%.*s'", STR_ARG(value)).p});
        fault_context(an->f, &n->origin);
        return err;
    }
    *out = expr_literal(an->bind, &(*out)->literal, false);
    return ERR_OK;
}

static enum err bind_cast(struct binding *b, const struct node *n, struct expr **out)
{
    struct expr *e;
    enum err err = bind_node(b, n->args[0], &e);
    b->an->bind->origin = n->origin;
    if (err)
        return err;
    if (n->typed_literal)
        return bind_typed_literal(b, n, e, out);
    bool ansi = n->cast_mode == 1 || (n->cast_mode == 0 && b->an->bind->ansi);
    return expr_cast(b->an->bind, e, n->type,
                     n->cast_mode == 2 ? CAST_TRY
                     : ansi            ? CAST_ANSI
                                       : CAST_LEGACY,
                     true, out, b->an->f);
}

/* a[i], a.name: a field of a struct by its name, an element of an array or map by a value. */
static enum err bind_extract(struct binding *b, const struct node *n, struct expr **out)
{
    struct expr *args[2];
    enum err err = bind_node(b, n->args[0], &args[0]);
    const struct node *what = n->args[1];
    if (err)
        return err;
    enum type_id base = args[0]->type->id;
    bool text = what->kind == NODE_LITERAL && !what->literal_null && what->literal.type->id == TYPE_STRING;
    bool structs = base == TYPE_ARRAY && args[0]->type->fields[0].type->id == TYPE_STRUCT;
    if (text && (n->by_name || base == TYPE_STRUCT || structs || (base != TYPE_ARRAY && base != TYPE_MAP)))
        return field_of(b, n, args[0], what->literal.data.str[COL_AT(&what->literal, 0)], out);
    if (base != TYPE_ARRAY && base != TYPE_MAP)
        return field_of(b, n, args[0], STR(""), out);
    if ((err = bind_node(b, what, &args[1])))
        return err;
    b->an->bind->origin = n->origin;
    return expr_call(b->an->bind, STR("[]"), args, 2, false, out, b->an->f);
}

static enum err bind_param(struct binding *b, const struct node *n, struct expr **out)
{
    const struct rel *p = b->an->params;
    const struct node *value = NULL;
    for (int i = 0; p && n->name.n && i < p->nexprs; i++)
        if (p->exprs[i]->kind == NODE_ALIAS && str_eq(p->exprs[i]->parts[0], n->name))
            value = p->exprs[i]->args[0];
    if (p && !n->name.n && n->plan_id >= 0 && n->plan_id < p->nexprs)
        value = p->exprs[n->plan_id];
    if (value && value->kind != NODE_PARAM)
        return bind_node(b, value->kind == NODE_ALIAS ? value->args[0] : value, out);
    char name[160];
    snprintf(name, sizeof name, n->name.n ? "%.*s" : "_%.*s%d", (int)(n->name.n < 120 ? n->name.n : 120), n->name.p,
             n->origin.start);
    enum err e = FAULT(b->an->f, ERR_UNBOUND_PARAMETER, {"name", name});
    fault_context(b->an->f, &n->origin);
    return e;
}

static enum err bind_star(struct binding *b, const struct node *n)
{
    enum err e = FAULT(b->an->f, ERR_STAR_USAGE, {"elem", "'*'"}, {"prettyName", "expression"});
    fault_context(b->an->f, &n->origin);
    return e;
}

static enum err bind_kind(struct binding *b, const struct node *n, struct expr **out)
{
    switch (n->kind) {
    case NODE_LITERAL:
        return bind_literal(b, n, out);
    case NODE_ATTRIBUTE:
        return bind_attribute(b, n, out);
    case NODE_STAR:
        return bind_star(b, n);
    case NODE_CALL:
        return bind_call(b, n, out);
    case NODE_CAST:
        return bind_cast(b, n, out);
    case NODE_ALIAS:
    case NODE_SORT:
        return bind_node(b, n->args[0], out);
    case NODE_EXTRACT:
        return bind_extract(b, n, out);
    case NODE_PARAM:
        return bind_param(b, n, out);
    case NODE_SUBQUERY:
        return unsupported_node(b, n,
                                str_eqz(n->name, "in")       ? "IN (SELECT …)"
                                : str_eqz(n->name, "exists") ? "EXISTS"
                                                             : "a scalar subquery",
                                "Subqueries are answered in FROM, and as WHERE … IN (SELECT …) or EXISTS.");
    case NODE_WINDOW:
        return unsupported_node(b, n, "window functions (OVER)", "");
    case NODE_LAMBDA:
    case NODE_LAMBDA_VAR:
        return unsupported_node(b, n, "lambda functions", "");
    case NODE_REGEX:
        return unsupported_node(b, n, "columns chosen by a regular expression", "Name the columns.");
    case NODE_DEFAULT:
        break;
    }
    return unsupported_node(b, n, "DEFAULT", "");
}

enum err bind_node(struct binding *b, const struct node *n, struct expr **out)
{
    if (++b->an->depth > LIMIT_PLAN_DEPTH) {
        b->an->depth--;
        return LIMIT_FAULT(b->an->f, PLAN_DEPTH);
    }
    b->an->bind->origin = n->origin;
    enum err err = bind_kind(b, n, out);
    b->an->depth--;
    return err;
}

struct str item_name(struct analysis *an, const struct node *n, const struct expr *e)
{
    (void)an;
    if (n->kind == NODE_ALIAS)
        return n->parts[0];
    bool named = e->kind == EXPR_COLUMN || e->kind == EXPR_FIELD;
    if (n->kind == NODE_ATTRIBUTE)
        return named || n->nparts > 1 || e->kind == EXPR_AGG ? last_part(n)
               : e->kind == EXPR_CALL && !e->nargs           ? e->sql
                                                             : last_part(n);
    if (n->kind == NODE_CAST && !n->typed_literal && e->nargs && n->args[0]->kind == NODE_ATTRIBUTE)
        return item_name(an, n->args[0], e->args[0]);
    if (n->kind == NODE_CAST && !n->typed_literal &&
        n->args[0]->kind == NODE_ATTRIBUTE) /* a cast to the same type is gone */
        return last_part(n->args[0]);
    return e->sql;
}

enum err bind_item(struct binding *b, const struct node *n, struct item *out)
{
    *out = (struct item){0};
    enum err err = bind_node(b, n, &out->e);
    if (err)
        return err;
    out->name = item_name(b->an, n, out->e);
    out->attr = b->an->next_attr++;
    out->metadata = n->kind == NODE_ALIAS ? n->metadata : STR("");
    if (out->e->kind == EXPR_COLUMN) {
        const struct scope_col *c = &b->scope->cols[out->e->ordinal];
        out->watermark = c->watermark;
        out->metadata = out->metadata.n ? out->metadata : c->metadata;
        if (n->kind == NODE_ATTRIBUTE) {
            out->attr = c->attr;
            out->qualifier = c->qualifier;
        }
    }
    return ERR_OK;
}

/* A condition: boolean, or it is DATATYPE_MISMATCH.FILTER_NOT_BOOLEAN. */
enum err bind_predicate(struct binding *b, const struct node *n, struct expr **out)
{
    enum err err = bind_node(b, n, out);
    if (err)
        return err;
    if ((*out)->type->id == TYPE_BOOLEAN)
        return ERR_OK;
    err = FAULT(b->an->f, ERR_FILTER_NOT_BOOLEAN, {"sqlExpr", quote_sql(b->an->a, *out)},
                {"filter", quote_sql(b->an->a, *out)},
                {"type", arena_fmt(b->an->a, "\"%.*s\"", STR_ARG(type_sql(b->an->a, (*out)->type))).p});
    fault_context(b->an->f, &n->origin);
    return err;
}

static enum err limit_clause_fault(struct analysis *an, const struct node *n, enum err id, const char *what,
                                   const struct expr *e, const char *key, const char *value)
{
    enum err err = FAULT(an->f, id, {"name", what}, {"expr", quote_sql(an->a, e)}, {key, value});
    if (!*key && an->f)
        an->f->nparams = 2;
    fault_context(an->f, &n->origin);
    return err;
}

/* LIMIT, OFFSET: any constant integer that is not negative. */
enum err fold_i64(struct analysis *an, const struct node *n, const char *what, int64_t *out)
{
    struct scope nothing = {0};
    struct binding b = {.an = an, .scope = &nothing};
    struct expr *e;
    if (n->kind == NODE_ATTRIBUTE) {
        e = expr_column(an->bind, 0, last_part(n), type_simple(TYPE_INT), true);
        return limit_clause_fault(an, n, ERR_LIMIT_UNFOLDABLE, what, e, "", "");
    }
    enum err err = bind_node(&b, n, &e);
    if (!err)
        err = expr_fold(an->bind, &e, an->f);
    if (err)
        return err;
    if (e->kind != EXPR_LITERAL)
        return limit_clause_fault(an, n, ERR_LIMIT_UNFOLDABLE, what, e, "", "");
    if (e->type->id != TYPE_INT && e->type->id != TYPE_SHORT && e->type->id != TYPE_BYTE) {
        const char *type = arena_fmt(an->a, "\"%.*s\"", STR_ARG(type_sql(an->a, e->type))).p;
        return limit_clause_fault(an, n, ERR_LIMIT_DATA_TYPE, what, e, "dataType", type);
    }
    *out = e->type->id == TYPE_INT     ? e->literal.data.i32[0]
           : e->type->id == TYPE_SHORT ? e->literal.data.i16[0]
                                       : e->literal.data.i8[0];
    if (*out < 0)
        return limit_clause_fault(an, n, ERR_LIMIT_NEGATIVE, what, e, "v", arena_fmt(an->a, "%lld", (long long)*out).p);
    return ERR_OK;
}
