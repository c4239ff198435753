/* JOIN: equalities between the sides become keys of a hash join, the rest of the condition is checked on each pair. */
#include "plan_int.h"

static const struct {
    const char *name;
    enum join_kind kind;
} KINDS[] = {
    {"inner", JOIN_INNER},
    {"cross", JOIN_INNER},
    {"left", JOIN_LEFT},
    {"left_outer", JOIN_LEFT},
    {"leftouter", JOIN_LEFT},
    {"right", JOIN_RIGHT},
    {"right_outer", JOIN_RIGHT},
    {"rightouter", JOIN_RIGHT},
    {"full", JOIN_FULL},
    {"full_outer", JOIN_FULL},
    {"fullouter", JOIN_FULL},
    {"outer", JOIN_FULL},
    {"semi", JOIN_SEMI},
    {"left_semi", JOIN_SEMI},
    {"leftsemi", JOIN_SEMI},
    {"anti", JOIN_ANTI},
    {"left_anti", JOIN_ANTI},
    {"leftanti", JOIN_ANTI},
    {"", JOIN_INNER},
};

struct joining {
    struct analysis *an;
    struct out side[2];
    struct scope both; /* the left's columns, then the right's */
    int width;         /* of the left */
    struct plan_node *node;
    VEC(struct expr *) left, right, rest;
};

/* Which sides an expression reads: 1 left, 2 right, 3 both. */
struct sides {
    int width, seen;
};

static bool see_side(struct expr *e, void *arg)
{
    struct sides *s = arg;
    if (e->kind == EXPR_COLUMN)
        s->seen |= e->ordinal < s->width ? 1 : 2;
    return false;
}

static int sides_of(const struct joining *j, struct expr *e)
{
    struct sides s = {.width = j->width};
    expr_walk(e, see_side, &s);
    return s.seen;
}

static struct expr *over_right(struct joining *j, struct expr *e)
{
    struct expr **to = ARENA_ARRAY(j->an->a, (size_t)j->both.n + 1, struct expr *);
    for (int i = j->width; i < j->both.n; i++)
        to[i] = column_of(j->an, &j->side[1].scope, i - j->width);
    return expr_substitute(j->an->a, e, to);
}

static bool is_call(const struct expr *e, const char *name)
{
    return e->kind == EXPR_CALL && e->nargs == 2 && e->fn && !strcmp(function_name(e->fn), name);
}

/* a = b AND …: what compares the sides becomes a key. */
static void split(struct joining *j, struct expr *e)
{
    if (is_call(e, "and")) {
        split(j, e->args[0]);
        split(j, e->args[1]);
        return;
    }
    int x = is_call(e, "=") ? sides_of(j, e->args[0]) : 0, y = x ? sides_of(j, e->args[1]) : 0;
    if (x + y != 3 || !x || !y || e->args[0]->type->id == TYPE_MAP) {
        vec_push(&j->rest, e);
        return;
    }
    vec_push(&j->left, e->args[x == 1 ? 0 : 1]);
    vec_push(&j->right, over_right(j, e->args[x == 1 ? 1 : 0]));
}

static enum err equal(struct joining *j, int left, int right)
{
    struct expr *args[2] = {column_of(j->an, &j->both, left), column_of(j->an, &j->both, j->width + right)}, *e;
    enum err err = expr_call(j->an->bind, STR("="), args, 2, false, &e, j->an->f);
    if (!err)
        split(j, e);
    return err;
}

static enum err using_fault(struct joining *j, struct str name, int side)
{
    struct analysis *an = j->an;
    struct buf b = {0};
    for (int i = 0; i < j->side[side].scope.n; i++)
        buf_fmt(&b, "%s%.*s", i ? ", " : "", STR_ARG(quote_name(an->a, j->side[side].scope.cols[i].name)));
    struct str list = arena_str(an->a, buf_view(&b));
    buf_free(&b);
    return FAULT(an->f, ERR_USING_COLUMN, {"colName", quote_name(an->a, name).p}, {"side", side ? "right" : "left"},
                 {"suggestion", list.p});
}

static enum err using_keys(struct joining *j, const struct str *names, int n)
{
    enum err err = ERR_OK;
    for (int i = 0; !err && i < n; i++) {
        int left = scope_find_name(j->an, &j->side[0].scope, names[i]);
        int right = scope_find_name(j->an, &j->side[1].scope, names[i]);
        err = left < 0 ? using_fault(j, names[i], 0) : right < 0 ? using_fault(j, names[i], 1) : equal(j, left, right);
    }
    return err;
}

static enum err bind_condition(struct joining *j, const struct node *n)
{
    struct binding b = {.an = j->an, .scope = &j->both};
    struct expr *e;
    enum err err = bind_node(&b, n, &e);
    if (!err && e->type->id != TYPE_BOOLEAN) {
        struct arena *a = j->an->a;
        err = FAULT(j->an->f, ERR_JOIN_CONDITION, {"joinCondition", quote_sql(a, e)},
                    {"conditionType", arena_fmt(a, "\"%.*s\"", STR_ARG(type_sql(a, e->type))).p});
        fault_context(j->an->f, &n->origin);
    }
    if (!err && expr_has_aggregate(e))
        err = FAULT(j->an->f, ERR_UNSUPPORTED, {"feature", "an aggregate function in a join condition"}, {"hint", ""});
    if (!err)
        split(j, e);
    return err;
}

static enum err set_keys(struct joining *j)
{
    struct analysis *an = j->an;
    struct plan_node *n = j->node;
    n->nkeys = (int)j->left.n;
    n->left_keys = ARENA_ARRAY(an->a, j->left.n + 1, struct expr *);
    n->right_keys = ARENA_ARRAY(an->a, j->left.n + 1, struct expr *);
    for (size_t i = 0; i < j->left.n; i++) {
        n->left_keys[i] = j->left.p[i];
        n->right_keys[i] = j->right.p[i];
    }
    enum err err = ERR_OK;
    for (size_t i = 0; !err && i < j->rest.n; i++) {
        struct expr *args[2] = {n->condition, j->rest.p[i]};
        if (!n->condition)
            n->condition = j->rest.p[i];
        else
            err = expr_call(an->bind, STR("and"), args, 2, false, &n->condition, an->f);
    }
    return err;
}

/* What comes out: an outer join makes the other side nullable; semi and anti know only the left. */
static struct scope joined_scope(struct joining *j)
{
    enum join_kind k = j->node->join;
    struct scope s = scope_copy(j->an, &j->both, 0);
    for (int i = 0; i < s.n; i++) {
        bool left = i < j->width;
        if (k == JOIN_FULL || (left && k == JOIN_RIGHT) || (!left && k == JOIN_LEFT))
            s.cols[i].nullable = true;
    }
    if (k == JOIN_SEMI || k == JOIN_ANTI)
        s.n = j->width;
    return s;
}

/* USING: each key once and first, then what is left of both sides. */
static enum err project_using(struct joining *j, const struct str *names, int n, const struct out *joined,
                              struct out *o)
{
    struct analysis *an = j->an;
    struct item *items = NULL;
    int count = 0, cap = 0;
    bool *taken = ARENA_ARRAY(an->a, (size_t)joined->scope.n + 1, bool);
    for (int i = 0; i < n; i++) {
        int left = scope_find_name(an, &j->side[0].scope, names[i]);
        int right = j->width + scope_find_name(an, &j->side[1].scope, names[i]);
        struct item it = item_of_column(an, &joined->scope, j->node->join == JOIN_RIGHT ? right : left);
        taken[left] = taken[right] = true;
        if (j->node->join == JOIN_FULL) {
            struct expr *args[2] = {it.e, column_of(an, &joined->scope, right)};
            enum err err = expr_call(an->bind, STR("coalesce"), args, 2, false, &it.e, an->f);
            if (err)
                return err;
            it.attr = an->next_attr++;
        }
        items_add(an, &items, &count, &cap, it);
    }
    for (int i = 0; i < joined->scope.n; i++)
        if (!taken[i])
            items_add(an, &items, &count, &cap, item_of_column(an, &joined->scope, i));
    return project_items(an, joined, items, count, o);
}

static int common_names(struct joining *j, struct str *names)
{
    int n = 0;
    for (int i = 0; i < j->width; i++)
        if (scope_find_name(j->an, &j->side[1].scope, j->both.cols[i].name) >= 0)
            names[n++] = j->both.cols[i].name;
    return n;
}

static enum err join(struct joining *j, const struct rel *r, struct out *o)
{
    struct analysis *an = j->an;
    const struct str *names = r->parts;
    int n = r->nparts;
    enum err err = ERR_OK;
    if (r->natural) {
        struct str *common = ARENA_ARRAY(an->a, (size_t)j->width + 1, struct str);
        n = common_names(j, common);
        names = common;
    }
    an->bind->origin = r->origin;
    if (r->nexprs)
        err = bind_condition(j, r->exprs[0]);
    if (!err && n)
        err = using_keys(j, names, n);
    if (!err)
        err = set_keys(j);
    if (err)
        return err;
    struct out joined;
    j->node->schema = NULL;
    out_set(an, &joined, j->node, joined_scope(j));
    if (n && j->node->join != JOIN_SEMI && j->node->join != JOIN_ANTI)
        return project_using(j, names, n, &joined, o);
    *o = joined;
    return ERR_OK;
}

/* A name that the subquery does not know and the query around it does: a correlated subquery. */
static enum err correlated(struct analysis *an, const struct scope *outer, enum err err)
{
    if (err != ERR_UNRESOLVED_COLUMN && err != ERR_UNRESOLVED_COLUMN_BARE)
        return err;
    const char *name = fault_param_value(an->f, 0);
    for (int i = 0; i < outer->n; i++) {
        struct str parts[2] = {outer->cols[i].qualifier, outer->cols[i].name};
        if (str_eqz(quote_parts(an->a, parts + 1, 1), name) || str_eqz(quote_parts(an->a, parts, 2), name))
            return FAULT(an->f, ERR_UNSUPPORTED, {"feature", "a correlated subquery"}, {"hint", "Write it as a join."});
    }
    return err;
}

/* WHERE x IN (SELECT …) and [NOT] EXISTS (SELECT …): the rows of `child` that have (or lack) a partner. */
enum err filter_by_subquery(struct analysis *an, struct out *child, const struct node *sub, bool anti)
{
    struct joining j = {.an = an, .side = {*child}, .width = child->scope.n};
    struct binding b = {.an = an, .scope = &child->scope};
    struct expr *args[2], *e;
    enum err err = correlated(an, &child->scope, resolve(an, sub->relation, &j.side[1]));
    if (err)
        return err;
    j.both = scope_copy(an, &child->scope, j.side[1].scope.n);
    for (int i = 0; i < j.side[1].scope.n; i++)
        j.both.cols[j.both.n++] = j.side[1].scope.cols[i];
    j.node = plan_node(an, PLAN_JOIN, child->node);
    j.node->join = anti ? JOIN_ANTI : JOIN_SEMI;
    j.node->children = ARENA_ARRAY(an->a, 2, struct plan_node *);
    j.node->children[0] = child->node;
    j.node->children[1] = j.side[1].node;
    j.node->nchildren = 2;
    j.node->is_streaming = child->node->is_streaming || j.side[1].node->is_streaming;
    if (sub->nargs) {
        if (j.side[1].scope.n != 1)
            return FAULT(an->f, ERR_UNSUPPORTED, {"feature", "IN (SELECT …) of several columns"}, {"hint", ""});
        err = bind_node(&b, sub->args[0], &args[0]);
        args[1] = column_of(an, &j.both, j.width);
        an->bind->origin = sub->origin;
        if (!err)
            err = expr_call(an->bind, STR("="), args, 2, false, &e, an->f);
        if (!err)
            split(&j, e);
    }
    if (!err)
        err = set_keys(&j);
    if (!err) {
        struct scope s = child->scope;
        out_set(an, child, j.node, s);
    }
    vec_free(&j.left);
    vec_free(&j.right);
    vec_free(&j.rest);
    return err;
}

enum err resolve_join(struct analysis *an, const struct rel *r, struct out *o)
{
    struct joining j = {.an = an};
    enum err err = resolve(an, r->children[0], &j.side[0]);
    if (!err)
        err = resolve(an, r->children[1], &j.side[1]);
    if (err)
        return err;
    size_t k = 0;
    while (k < sizeof KINDS / sizeof *KINDS && !str_eq_nocase(r->join_type, str_of(KINDS[k].name)))
        k++;
    if (k == sizeof KINDS / sizeof *KINDS)
        return FAULT(an->f, ERR_UNSUPPORTED,
                     {"feature", arena_fmt(an->a, "the join type %.*s", STR_ARG(r->join_type)).p}, {"hint", ""});
    j.width = j.side[0].scope.n;
    j.both = scope_copy(an, &j.side[0].scope, j.side[1].scope.n);
    for (int i = 0; i < j.side[1].scope.n; i++)
        j.both.cols[j.both.n++] = j.side[1].scope.cols[i];
    j.node = plan_node(an, PLAN_JOIN, j.side[0].node);
    j.node->join = KINDS[k].kind;
    j.node->children = ARENA_ARRAY(an->a, 2, struct plan_node *);
    j.node->children[0] = j.side[0].node;
    j.node->children[1] = j.side[1].node;
    j.node->nchildren = 2;
    j.node->is_streaming = j.side[0].node->is_streaming || j.side[1].node->is_streaming;
    err = join(&j, r, o);
    vec_free(&j.left);
    vec_free(&j.right);
    vec_free(&j.rest);
    return err;
}
