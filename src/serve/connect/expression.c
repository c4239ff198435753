#include "serve/connect/connect_int.h"

#include <stdio.h>

typedef Spark__Connect__Expression Expression;
#define KIND(name) SPARK__CONNECT__EXPRESSION__EXPR_TYPE_##name

enum err refuse(struct fault *f, const char *kind, const char *name)
{
    char feature[200];
    snprintf(feature, sizeof feature, "the %s %.150s", kind, name);
    return FAULT(f, ERR_UNSUPPORTED, {"feature", feature}, {"hint", ""});
}

static enum err missing(struct fault *f, const char *what)
{
    return FAULT(f, ERR_CONNECT_PLAN, {"detail", what});
}

static struct origin origin_of(struct planning *p, const Expression *x)
{
    struct origin o = {.start = -1, .stop = -1};
    const Spark__Connect__Origin *from = x->common ? x->common->origin : NULL;
    if (from && from->function_case == SPARK__CONNECT__ORIGIN__FUNCTION_PYTHON_ORIGIN) {
        o.fragment = arena_str(p->arena, str_of(from->python_origin->fragment));
        o.call_site = arena_str(p->arena, str_of(from->python_origin->call_site));
    }
    return o;
}

/* A node with the expressions as its arguments. */
static enum err node_of(struct planning *p, enum node_kind kind, Expression **args, size_t n, struct node **out,
                        struct fault *f)
{
    struct node *e = node_new(p->arena, kind, (int)n);
    e->plan_id = -1;
    e->nulls_last = -1;
    *out = e;
    for (size_t i = 0; i < n; i++) {
        enum err rc = convert_expression(p, args[i], &e->args[i], f);
        if (rc)
            return rc;
    }
    return ERR_OK;
}

enum err convert_expressions(struct planning *p, Expression **x, size_t n, struct node ***out, int *count,
                             struct fault *f)
{
    *out = ARENA_ARRAY(p->arena, n + 1, struct node *);
    *count = (int)n;
    for (size_t i = 0; i < n; i++) {
        enum err e = convert_expression(p, x[i], &(*out)[i], f);
        if (e)
            return e;
    }
    return ERR_OK;
}

static void set_names(struct planning *p, struct node *e, char **names, size_t n)
{
    e->parts = ARENA_ARRAY(p->arena, n + 1, struct str);
    e->nparts = (int)n;
    for (size_t i = 0; i < n; i++)
        e->parts[i] = arena_str(p->arena, str_of(names[i]));
}

static enum err attribute(struct planning *p, const Spark__Connect__Expression__UnresolvedAttribute *x,
                          struct node **out, struct fault *f)
{
    if (OPTIONAL(x, is_metadata_column, false))
        return refuse(f, "expression", "metadata column");
    struct node *e = node_new(p->arena, NODE_ATTRIBUTE, 0);
    e->plan_id = OPTIONAL(x, plan_id, -1);
    *out = e;
    return sql_parse_identifier(arena_str(p->arena, str_of(x->unparsed_identifier)), p->arena, &e->parts, &e->nparts,
                                f);
}

static enum err star(struct planning *p, const Spark__Connect__Expression__UnresolvedStar *x, struct node **out,
                     struct fault *f)
{
    struct node *e = node_new(p->arena, NODE_STAR, 0);
    e->plan_id = OPTIONAL(x, plan_id, -1);
    *out = e;
    struct str target = str_of(OPTIONAL(x, unparsed_target, ""));
    if (str_ends(target, STR(".*")))
        target.n -= 2;
    if (!target.n)
        return ERR_OK;
    return sql_parse_identifier(arena_str(p->arena, target), p->arena, &e->parts, &e->nparts, f);
}

/* Functions that the DataFrame API names otherwise than SQL does. */
static struct str function_name_of(struct planning *p, const char *name)
{
    static const char *const names[][2] = {{"==", "="}, {"when", "case"}, {"!", "not"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i][0]) == 0)
            return str_of(names[i][1]);
    return arena_str(p->arena, str_of(name));
}

static enum err call(struct planning *p, const char *name, Expression **args, size_t n, bool distinct,
                     struct node **out, struct fault *f)
{
    enum err e = node_of(p, NODE_CALL, args, n, out, f);
    if (e)
        return e;
    (*out)->name = function_name_of(p, name);
    (*out)->distinct = distinct;
    return ERR_OK;
}

static enum err cast(struct planning *p, const Spark__Connect__Expression__Cast *x, struct node **out, struct fault *f)
{
    static const int modes[] = {0, 3, 1, 2}; /* unspecified, legacy, ANSI, try */
    Expression *args[] = {x->expr};
    enum err e = node_of(p, NODE_CAST, args, 1, out, f);
    if (e)
        return e;
    if ((unsigned)x->eval_mode >= sizeof modes / sizeof *modes)
        return missing(f, "A cast of no known mode.");
    (*out)->cast_mode = modes[x->eval_mode];
    switch (x->cast_to_type_case) {
    case SPARK__CONNECT__EXPRESSION__CAST__CAST_TO_TYPE_TYPE:
        return convert_type(p->arena, x->type, 0, &(*out)->type, f);
    case SPARK__CONNECT__EXPRESSION__CAST__CAST_TO_TYPE_TYPE_STR:
        return sql_parse_type(arena_str(p->arena, str_of(x->type_str)), p->arena, &(*out)->type, f);
    default:
        return missing(f, "A cast without a type.");
    }
}

static enum err alias(struct planning *p, const Spark__Connect__Expression__Alias *x, struct node **out,
                      struct fault *f)
{
    Expression *args[] = {x->expr};
    enum err e = node_of(p, NODE_ALIAS, args, 1, out, f);
    if (e)
        return e;
    if (x->n_name == 0)
        return missing(f, "An alias without a name.");
    set_names(p, *out, x->name, x->n_name);
    (*out)->metadata = arena_str(p->arena, str_of(OPTIONAL(x, metadata, "")));
    return ERR_OK;
}

enum err convert_sort_order(struct planning *p, const Spark__Connect__Expression__SortOrder *x, struct node **out,
                            struct fault *f)
{
    Expression *args[] = {x->child};
    enum err e = node_of(p, NODE_SORT, args, 1, out, f);
    if (e)
        return e;
    (*out)->descending =
        x->direction == SPARK__CONNECT__EXPRESSION__SORT_ORDER__SORT_DIRECTION__SORT_DIRECTION_DESCENDING;
    if (x->null_ordering == SPARK__CONNECT__EXPRESSION__SORT_ORDER__NULL_ORDERING__SORT_NULLS_FIRST)
        (*out)->nulls_last = 0;
    else if (x->null_ordering == SPARK__CONNECT__EXPRESSION__SORT_ORDER__NULL_ORDERING__SORT_NULLS_LAST)
        (*out)->nulls_last = 1;
    return ERR_OK;
}

static enum err lambda(struct planning *p, const Spark__Connect__Expression__LambdaFunction *x, struct node **out,
                       struct fault *f)
{
    Expression *args[] = {x->function};
    enum err e = node_of(p, NODE_LAMBDA, args, 1, out, f);
    if (e)
        return e;
    struct node *n = *out;
    n->parts = ARENA_ARRAY(p->arena, x->n_arguments + 1, struct str);
    n->nparts = (int)x->n_arguments;
    for (size_t i = 0; i < x->n_arguments; i++) {
        if (x->arguments[i]->n_name_parts != 1)
            return missing(f, "A lambda parameter that is not one name.");
        n->parts[i] = arena_str(p->arena, str_of(x->arguments[i]->name_parts[0]));
    }
    return ERR_OK;
}

/* Kinds that are known and not supported, by name. */
static const char *refused_kind(Spark__Connect__Expression__ExprTypeCase kind)
{
    switch (kind) {
    case KIND(WINDOW):
        return "window function (OVER)";
    case KIND(UPDATE_FIELDS):
        return "withField/dropFields";
    case KIND(COMMON_INLINE_USER_DEFINED_FUNCTION):
        return "user-defined function";
    case KIND(NAMED_ARGUMENT_EXPRESSION):
        return "named argument";
    case KIND(MERGE_ACTION):
        return "merge action";
    case KIND(TYPED_AGGREGATE_EXPRESSION):
        return "typed aggregate";
    case KIND(SUBQUERY_EXPRESSION):
        return "subquery";
    case KIND(DIRECT_SHUFFLE_PARTITION_ID):
        return "direct shuffle partition id";
    case KIND(EXTENSION):
        return "extension";
    default:
        return "(unknown)";
    }
}

static enum err convert_kind(struct planning *p, const Expression *x, struct node **out, struct fault *f)
{
    Expression *pair[2];
    enum err e;
    switch (x->expr_type_case) {
    case KIND(LITERAL):
        return convert_literal(p, x->literal, out, f);
    case KIND(UNRESOLVED_ATTRIBUTE):
        return attribute(p, x->unresolved_attribute, out, f);
    case KIND(UNRESOLVED_FUNCTION):
        return call(p, x->unresolved_function->function_name, x->unresolved_function->arguments,
                    x->unresolved_function->n_arguments, x->unresolved_function->is_distinct, out, f);
    case KIND(CALL_FUNCTION):
        return call(p, x->call_function->function_name, x->call_function->arguments, x->call_function->n_arguments,
                    false, out, f);
    case KIND(EXPRESSION_STRING):
        return sql_parse_expression(arena_str(p->arena, str_of(x->expression_string->expression)), p->arena, out, f);
    case KIND(UNRESOLVED_STAR):
        return star(p, x->unresolved_star, out, f);
    case KIND(ALIAS):
        return alias(p, x->alias, out, f);
    case KIND(CAST):
        return cast(p, x->cast, out, f);
    case KIND(UNRESOLVED_REGEX):
        *out = node_new(p->arena, NODE_REGEX, 0);
        (*out)->plan_id = OPTIONAL(x->unresolved_regex, plan_id, -1);
        set_names(p, *out, &x->unresolved_regex->col_name, 1);
        return ERR_OK;
    case KIND(SORT_ORDER):
        return convert_sort_order(p, x->sort_order, out, f);
    case KIND(LAMBDA_FUNCTION):
        return lambda(p, x->lambda_function, out, f);
    case KIND(UNRESOLVED_NAMED_LAMBDA_VARIABLE):
        *out = node_new(p->arena, NODE_LAMBDA_VAR, 0);
        set_names(p, *out, x->unresolved_named_lambda_variable->name_parts,
                  x->unresolved_named_lambda_variable->n_name_parts);
        return ERR_OK;
    case KIND(UNRESOLVED_EXTRACT_VALUE):
        pair[0] = x->unresolved_extract_value->child;
        pair[1] = x->unresolved_extract_value->extraction;
        e = node_of(p, NODE_EXTRACT, pair, 2, out, f);
        return e;
    default:
        return refuse(f, "expression", refused_kind(x->expr_type_case));
    }
}

enum err convert_expression(struct planning *p, const Expression *x, struct node **out, struct fault *f)
{
    if (!x || x->expr_type_case == KIND(_NOT_SET))
        return missing(f, "An expression is missing.");
    if (p->depth >= LIMIT_TREE_DEPTH)
        return LIMIT_FAULT(f, TREE_DEPTH);
    p->depth++;
    enum err e = convert_kind(p, x, out, f);
    p->depth--;
    if (!e && x->expr_type_case != KIND(EXPRESSION_STRING)) /* parsed text knows where it stands */
        (*out)->origin = origin_of(p, x);
    return e;
}
