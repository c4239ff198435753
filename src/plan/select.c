/*
 * SELECT: projections, WHERE, aggregations, HAVING, ORDER BY. Names may come from several places there: the columns of FROM,
 * aliases of the same list, the grouping expressions. An aggregation keeps its output expressions written over its *input*
 * (struct agg_ctx), so that HAVING and ORDER BY, bound the same way, can be split into what the aggregation computes and
 * what is left to do above it:
 *
 *   project(name, count > 1) ◀── filter/sort ◀── aggregate(by name; count(1)) ◀── input
 */
#include "plan_int.h"

#include <stdio.h>

void items_add(struct analysis *an, struct item **items, int *n, int *cap, struct item it)
{
    if (*n == *cap) {
        *cap = *cap ? *cap * 2 : 16;
        struct item *more = ARENA_ARRAY(an->a, (size_t)*cap, struct item);
        if (*n)
            memcpy(more, *items, (size_t)*n * sizeof *more);
        *items = more;
    }
    (*items)[(*n)++] = it;
}

struct item item_of_column(struct analysis *an, const struct scope *s, int i)
{
    const struct scope_col *c = &s->cols[i];
    return (struct item){.e = column_of(an, s, i),
                         .name = c->name,
                         .metadata = c->metadata,
                         .qualifier = c->qualifier,
                         .attr = c->attr,
                         .watermark = c->watermark};
}

static enum err star_fault(struct analysis *an, const struct scope *s, const struct node *star)
{
    struct buf b = {0};
    VEC(struct str) names = {0};
    for (int i = 0; i < s->n; i++)
        vec_push(&names, quote_name(an->a, s->cols[i].name));
    for (size_t i = 0; i < names.n; i++) /* sorted, as Spark prints them */
        for (size_t k = i + 1; k < names.n; k++)
            if (str_cmp(names.p[k], names.p[i]) < 0) {
                struct str swap = names.p[i];
                names.p[i] = names.p[k];
                names.p[k] = swap;
            }
    for (size_t i = 0; i < names.n && i < 100; i++)
        buf_fmt(&b, "%s%.*s", i ? ", " : "", STR_ARG(names.p[i]));
    struct str list = arena_str(an->a, buf_view(&b));
    vec_free(&names);
    buf_free(&b);
    enum err e = FAULT(an->f, ERR_STAR_EXPAND, {"targetString", quote_parts(an->a, star->parts, star->nparts).p},
                       {"columns", list.p});
    fault_context(an->f, &star->origin);
    return e;
}

/* t.* or column.* (the fields of a struct) */
static enum err expand_qualified(struct analysis *an, const struct scope *s, const struct node *star,
                                 struct item **items, int *n, int *cap)
{
    int before = *n, found[16], took;
    for (int i = 0; i < s->n; i++)
        if (!s->cols[i].hidden && star->nparts == 1 && s->cols[i].qualifier.n &&
            str_eq_nocase(s->cols[i].qualifier, star->parts[0]))
            items_add(an, items, n, cap, item_of_column(an, s, i));
    if (*n > before)
        return ERR_OK;
    int hits = scope_find(s, star->parts, star->nparts, an->bind->case_sensitive, found, 16, &took);
    if (hits > 1)
        return ambiguous(an, s, star, found, hits);
    if (hits == 0)
        return star_fault(an, s, star);
    struct expr *e = column_of(an, s, found[0]);
    enum err err = ERR_OK;
    for (int i = took; !err && i < star->nparts; i++)
        err = expr_field(an->bind, e, star->parts[i], &e, an->f);
    if (err)
        return err;
    if (e->type->id != TYPE_STRUCT) {
        err = FAULT(an->f, ERR_STAR_STRUCT_ONLY,
                    {"attributes", arena_fmt(an->a, "List(%.*s)", STR_ARG(star->parts[star->nparts - 1])).p});
        fault_context(an->f, &star->origin);
        return err;
    }
    for (int i = 0; !err && i < e->type->nfields; i++) {
        struct item it = {.name = e->type->fields[i].name, .attr = an->next_attr++};
        if (!(err = expr_field(an->bind, e, it.name, &it.e, an->f)))
            items_add(an, items, n, cap, it);
    }
    return err;
}

enum err expand_star(struct analysis *an, const struct scope *s, const struct node *star, struct item **items, int *n,
                     int *cap)
{
    an->bind->origin = star->origin;
    if (star->nparts)
        return expand_qualified(an, s, star, items, n, cap);
    for (int i = 0; i < s->n; i++)
        if (!s->cols[i].hidden)
            items_add(an, items, n, cap, item_of_column(an, s, i));
    return ERR_OK;
}

/* The aggregates of a condition with their columns qualified, as the error lists them: sum(t.id). */
struct aggregate_list {
    struct buf text;
    const struct scope *scope;
};

static bool list_aggregate(struct expr *e, void *arg)
{
    struct aggregate_list *l = arg;
    if (e->kind != EXPR_AGG)
        return false;
    buf_fmt(&l->text, "%s%s(", l->text.n ? ", " : "", function_name(e->fn));
    for (int i = 0; i < e->nargs; i++) {
        const struct scope_col *c = e->args[i]->kind == EXPR_COLUMN ? &l->scope->cols[e->args[i]->ordinal] : NULL;
        buf_z(&l->text, i ? ", " : "");
        if (c && c->qualifier.n)
            buf_fmt(&l->text, "%.*s.", STR_ARG(c->qualifier));
        buf_str(&l->text, e->args[i]->sql);
    }
    buf_z(&l->text, ")");
    return false;
}

static struct str aggregates_of(struct analysis *an, struct expr *e, const struct scope *scope)
{
    struct aggregate_list l = {.scope = scope};
    expr_walk(e, list_aggregate, &l);
    struct str list = arena_str(an->a, buf_view(&l.text));
    buf_free(&l.text);
    return list;
}

/* -- projection ------------------------------------------------------------------------------------------------------- */
static struct scope scope_of_items(struct analysis *an, const struct item *items, int n)
{
    struct scope s = {ARENA_ARRAY(an->a, (size_t)n + 1, struct scope_col), n};
    for (int i = 0; i < n; i++)
        s.cols[i] = (struct scope_col){.name = items[i].name,
                                       .qualifier = items[i].qualifier,
                                       .type = items[i].e->type,
                                       .nullable = items[i].e->nullable,
                                       .metadata = items[i].metadata,
                                       .watermark = items[i].watermark,
                                       .attr = items[i].attr};
    return s;
}

enum err project_items(struct analysis *an, const struct out *child, struct item *items, int n, struct out *o)
{
    if (n > LIMIT_COLUMNS)
        return LIMIT_FAULT(an->f, COLUMNS);
    struct plan_node *p = plan_node(an, PLAN_PROJECT, child->node);
    struct out *below = ARENA_NEW(an->a, struct out);
    *below = *child;
    p->schema = NULL;
    p->exprs = ARENA_ARRAY(an->a, (size_t)n + 1, struct expr *);
    p->nexprs = n;
    for (int i = 0; i < n; i++)
        p->exprs[i] = items[i].e;
    out_set(an, o, p, scope_of_items(an, items, n));
    o->below = below;
    return ERR_OK;
}

static enum err bind_list(struct analysis *an, const struct scope *s, struct node **nodes, int n, bool aggregates,
                          struct item **items, int *nitems)
{
    int cap = 0;
    *items = NULL;
    *nitems = 0;
    for (int i = 0; i < n; i++) {
        struct binding b = {
            .an = an, .scope = s, .aliases = *items, .naliases = *nitems, .aggregates_allowed = aggregates};
        struct item it;
        enum err err;
        if (nodes[i]->kind == NODE_STAR) {
            err = expand_star(an, s, nodes[i], items, nitems, &cap);
        } else if (nodes[i]->kind == NODE_ALIAS && nodes[i]->nparts > 1) {
            err = FAULT(an->f, ERR_UNSUPPORTED, {"feature", "several aliases for one expression"}, {"hint", ""});
        } else if (!(err = bind_item(&b, nodes[i], &it))) {
            items_add(an, items, nitems, &cap, it);
        }
        if (err)
            return err;
    }
    return ERR_OK;
}

enum err windows_of_items(struct analysis *an, struct out *child, struct item *items, int n)
{
    struct expr **e = ARENA_ARRAY(an->a, (size_t)n + 1, struct expr *);
    for (int i = 0; i < n; i++)
        e[i] = items[i].e;
    enum err err = extract_windows(an, child, e, n);
    for (int i = 0; !err && i < n; i++) {
        if (e[i] != items[i].e && e[i]->kind == EXPR_COLUMN)
            items[i].watermark = child->scope.cols[e[i]->ordinal].watermark;
        items[i].e = e[i];
    }
    return err;
}

static enum err aggregate_over(struct analysis *an, const struct rel *r, struct out *child, struct out *o);

enum err resolve_project(struct analysis *an, const struct rel *r, struct out *o)
{
    struct out child;
    enum err err = resolve(an, r->children[0], &child);
    if (err)
        return err;
    for (int i = 0; i < r->nexprs; i++) {
        struct str name;
        if (node_has_aggregate(r->exprs[i]))
            return aggregate_over(an, r, &child, o);
        if (node_is_generator(r->exprs[i], &name))
            return resolve_generator(an, r, &child, i, o);
    }
    struct item *items;
    int n;
    err = bind_list(an, &child.scope, r->exprs, r->nexprs, false, &items, &n);
    if (!err)
        err = windows_of_items(an, &child, items, n);
    return err ? err : project_items(an, &child, items, n, o);
}

/* -- aggregation ------------------------------------------------------------------------------------------------------- */
static const struct type *agg_schema(struct analysis *an, const struct agg_ctx *c)
{
    int n = c->ngroup + c->agg->naggs;
    struct field *f = ARENA_ARRAY(an->a, (size_t)n + 1, struct field);
    for (int i = 0; i < n; i++) {
        const struct expr *e = i < c->ngroup ? c->group[i] : c->agg->aggs[i - c->ngroup];
        f[i] = (struct field){.name = e->sql, .type = e->type, .nullable = e->nullable};
    }
    return type_struct(an->a, f, n);
}

static bool agg_eq(const struct expr *a, const struct expr *b)
{
    bool filters = a->filter && b->filter ? expr_eq(a->filter, b->filter) : a->filter == b->filter;
    return a->distinct == b->distinct && filters && expr_eq(a, b);
}

/* The column of the aggregation that holds this aggregate; it is added when it is new. */
static int agg_column(struct analysis *an, struct agg_ctx *c, struct expr *e)
{
    struct plan_node *agg = c->agg;
    for (int i = 0; i < agg->naggs; i++)
        if (agg_eq(agg->aggs[i], e))
            return c->ngroup + i;
    struct expr **more = ARENA_ARRAY(an->a, (size_t)agg->naggs + 1, struct expr *);
    if (agg->naggs)
        memcpy(more, agg->aggs, (size_t)agg->naggs * sizeof *more);
    more[agg->naggs++] = e;
    agg->aggs = more;
    agg->schema = agg_schema(an, c);
    for (struct plan_node *n = c->top; n != agg; n = n->children[0])
        n->schema = agg->schema;
    return c->ngroup + agg->naggs - 1;
}

static struct expr *agg_output(struct analysis *an, int ordinal, const struct expr *e)
{
    struct expr *col = expr_column(an->bind, ordinal, e->sql, e->type, e->nullable);
    col->sql = e->sql;
    col->origin = e->origin;
    return col;
}

static enum err not_grouped(struct analysis *an, const struct agg_ctx *c, const struct expr *e, bool grouped,
                            const struct origin *o)
{
    enum err err;
    (void)c;
    if (grouped) {
        err = FAULT(an->f, ERR_MISSING_AGGREGATION, {"expression", quote_sql(an->a, e)},
                    {"expressionAnyValue", arena_fmt(an->a, "\"any_value(%.*s)\"", STR_ARG(e->sql)).p});
    } else {
        err = fault_set(an->f, ERR_MISSING_GROUP_BY, 0, NULL);
        fault_context(an->f, o);
    }
    return err;
}

/* An expression over the input → one over the aggregation's columns. */
static enum err to_agg(struct analysis *an, struct agg_ctx *c, struct expr *e, const struct rel *r, struct expr **out)
{
    for (int g = 0; g < c->ngroup; g++)
        if (expr_eq(e, c->group[g]))
            return *out = agg_output(an, g, e), ERR_OK;
    if (e->kind == EXPR_AGG)
        return *out = agg_output(an, agg_column(an, c, e), e), ERR_OK;
    if (e->kind == EXPR_COLUMN)
        return not_grouped(an, c, e, r->ngroup > 0 || r->group_by_all, &r->origin);
    *out = e;
    if (!e->nargs)
        return ERR_OK;
    *out = expr_clone(an->a, e);
    (*out)->args = ARENA_ARRAY(an->a, (size_t)e->nargs, struct expr *);
    enum err err = ERR_OK;
    for (int i = 0; !err && i < e->nargs; i++)
        err = to_agg(an, c, e->args[i], r, &(*out)->args[i]);
    return err;
}

/* The projection above: the output expressions, over the aggregation's columns. */
static enum err project_agg(struct analysis *an, struct agg_ctx *c, const struct rel *r, struct out *o)
{
    struct item *items = ARENA_ARRAY(an->a, (size_t)c->nitems + 1, struct item);
    for (int i = 0; i < c->nitems; i++) {
        items[i] = c->items[i];
        enum err err = to_agg(an, c, c->items[i].e, r, &items[i].e);
        if (err)
            return err;
    }
    struct out below = {0};
    out_set(an, &below, c->top, (struct scope){0});
    enum err err = project_items(an, &below, items, c->nitems, o);
    o->below = NULL;
    o->agg = c;
    return err;
}

static enum err position_fault(struct analysis *an, enum err id, int64_t index, int size, const struct node *n)
{
    enum err err = FAULT(an->f, id, {"index", arena_fmt(an->a, "%lld", (long long)index).p},
                         {"size", arena_fmt(an->a, "%d", size).p});
    fault_context(an->f, &n->origin);
    return err;
}

static bool is_ordinal(const struct node *n, int64_t *out)
{
    if (n->kind != NODE_LITERAL || n->literal_null || n->literal.type->id != TYPE_INT)
        return false;
    *out = n->literal.data.i32[COL_AT(&n->literal, 0)];
    return true;
}

/* The select list's node that an unresolved GROUP BY name stands for. */
static const struct node *aliased(const struct rel *r, const struct node *n)
{
    if (n->kind != NODE_ATTRIBUTE || n->nparts != 1 || n->plan_id >= 0)
        return NULL;
    for (int i = 0; i < r->nexprs; i++)
        if (r->exprs[i]->kind == NODE_ALIAS && r->exprs[i]->nparts == 1 &&
            str_eq_nocase(r->exprs[i]->parts[0], n->parts[0]))
            return r->exprs[i]->args[0];
    return NULL;
}

static enum err bind_group_node(struct analysis *an, const struct rel *r, const struct out *child, const struct node *n,
                                struct expr **out)
{
    struct binding b = {.an = an, .scope = &child->scope, .aggregates_allowed = true};
    int64_t ordinal;
    if (is_ordinal(n, &ordinal)) {
        if (ordinal < 1 || ordinal > r->nexprs)
            return position_fault(an, ERR_GROUP_BY_POS, ordinal, r->nexprs, n);
        n = r->exprs[ordinal - 1];
    } else if (n->kind == NODE_ATTRIBUTE && n->nparts == 1 && n->plan_id < 0 &&
               scope_find_name(an, &child->scope, n->parts[0]) < 0) {
        const struct node *alias = aliased(r, n);
        n = alias ? alias : n;
    }
    enum err err = bind_node(&b, n, out);
    if (err || !expr_has_aggregate(*out))
        return err;
    err = FAULT(an->f, ERR_GROUP_BY_AGGREGATE, {"sqlExpr", aggregates_of(an, *out, &child->scope).p});
    fault_context(an->f, &n->origin);
    return err;
}

static enum err bind_groups(struct analysis *an, const struct rel *r, struct out *child, struct agg_ctx *c)
{
    int cap = r->group_by_all ? r->nexprs : r->ngroup;
    c->group = ARENA_ARRAY(an->a, (size_t)cap + 1, struct expr *);
    for (int i = 0; i < cap; i++) {
        const struct node *n = r->group_by_all ? r->exprs[i] : r->group[i];
        if (r->group_by_all && node_has_aggregate(n))
            continue;
        enum err err = bind_group_node(an, r, child, n, &c->group[c->ngroup]);
        if (err)
            return err;
        enum type_id id = c->group[c->ngroup]->type->id;
        if (id == TYPE_MAP) {
            err = FAULT(
                an->f, ERR_GROUP_TYPE, {"sqlExpr", quote_sql(an->a, c->group[c->ngroup])},
                {"dataType", arena_fmt(an->a, "\"%.*s\"", STR_ARG(type_sql(an->a, c->group[c->ngroup]->type))).p});
            fault_context(an->f, &n->origin);
            return err;
        }
        c->ngroup++;
    }
    return extract_windows(an, child, c->group, c->ngroup);
}

static void agg_watermark(struct agg_ctx *c)
{
    for (int g = 0; g < c->ngroup; g++) {
        const struct expr *e = c->group[g];
        if (e->kind != EXPR_COLUMN || !c->child.cols[e->ordinal].watermark || c->agg->watermark_column >= 0)
            continue;
        c->agg->watermark_column = g;
        c->agg->watermark_is_window = e->type->id == TYPE_STRUCT;
    }
}

static enum err aggregate_over(struct analysis *an, const struct rel *r, struct out *child, struct out *o)
{
    struct agg_ctx *c = ARENA_NEW(an->a, struct agg_ctx);
    enum err err = bind_groups(an, r, child, c);
    if (!err)
        err = bind_list(an, &child->scope, r->exprs, r->nexprs, true, &c->items, &c->nitems);
    if (!err)
        err = windows_of_items(an, child, c->items, c->nitems);
    if (err)
        return err;
    c->child = child->scope;
    c->agg = c->top = plan_node(an, PLAN_AGGREGATE, child->node);
    c->agg->group = c->group;
    c->agg->ngroup = c->ngroup;
    c->agg->schema = agg_schema(an, c);
    agg_watermark(c);
    return project_agg(an, c, r, o);
}

enum err resolve_aggregate(struct analysis *an, const struct rel *r, struct out *o)
{
    struct out child;
    enum err err = resolve(an, r->children[0], &child);
    return err ? err : aggregate_over(an, r, &child, o);
}

enum err resolve_having(struct analysis *an, const struct rel *r, struct out *o)
{
    const struct rel *agg = r->children[0];
    enum err err = resolve(an, agg, o);
    if (err)
        return err;
    struct agg_ctx *c = o->agg;
    if (!c)
        return fault_internal(an->f, "HAVING over no aggregation");
    struct binding b = {.an = an,
                        .scope = &c->child,
                        .outputs = c->items,
                        .noutputs = c->nitems,
                        .outputs_first = true,
                        .aggregates_allowed = true};
    struct expr *e, *over;
    err = bind_predicate(&b, r->exprs[0], &e);
    if (!err)
        err = to_agg(an, c, e, agg, &over);
    if (err)
        return err;
    struct plan_node *filter = plan_node(an, PLAN_FILTER, c->top);
    filter->exprs = ARENA_NEW(an->a, struct expr *);
    filter->exprs[0] = over;
    filter->nexprs = 1;
    c->top = filter;
    return project_agg(an, c, agg, o);
}

/* -- conditions and orders over a projection: columns that it left out may still be named ------------------------------- */
static bool has_attr(const struct scope *s, int attr, struct str name)
{
    for (int i = 0; i < s->n; i++)
        if (s->cols[i].attr == attr || str_eq_nocase(s->cols[i].name, name))
            return true;
    return false;
}

/* Widen the projection `o` by the columns below it that it lacks (hidden ones); the caller cuts them off again. */
static struct out widened(struct analysis *an, const struct out *o)
{
    const struct scope *below = &o->below->scope;
    struct out w = *o;
    struct plan_node *p = plan_node(an, PLAN_PROJECT, o->node->children[0]);
    w.scope = scope_copy(an, &o->scope, below->n);
    p->exprs = ARENA_ARRAY(an->a, (size_t)(o->node->nexprs + below->n) + 1, struct expr *);
    memcpy(p->exprs, o->node->exprs, (size_t)o->node->nexprs * sizeof *p->exprs);
    p->nexprs = o->node->nexprs;
    for (int i = 0; i < below->n; i++) {
        if (has_attr(&o->scope, below->cols[i].attr, below->cols[i].name))
            continue;
        p->exprs[p->nexprs++] = column_of(an, below, i);
        w.scope.cols[w.scope.n] = below->cols[i];
        w.scope.cols[w.scope.n++].hidden = true;
    }
    p->schema = scope_type(an, &w.scope);
    w.node = p;
    return w;
}

/* Only the first n columns of `from` under o's names. */
static enum err narrowed(struct analysis *an, const struct out *from, const struct scope *to, struct out *o)
{
    struct item *items = ARENA_ARRAY(an->a, (size_t)to->n + 1, struct item);
    for (int i = 0; i < to->n; i++)
        items[i] = item_of_column(an, to, i);
    return project_items(an, from, items, to->n, o);
}

static bool may_widen(const struct out *o, enum err e)
{
    return o->below && o->node->kind == PLAN_PROJECT &&
           (e == ERR_UNRESOLVED_COLUMN || e == ERR_UNRESOLVED_COLUMN_BARE || e == ERR_DATAFRAME_COLUMN);
}

static enum err where_fault(struct analysis *an, const struct rel *r, struct expr *e, const struct scope *scope)
{
    struct str list = aggregates_of(an, e, scope);
    enum err err = FAULT(an->f, ERR_INVALID_WHERE, {"condition", quote_sql(an->a, e)}, {"expressionList", list.p});
    fault_context(an->f, &r->origin);
    return err;
}

static bool is_named_call(const struct node *n, const char *name, int nargs)
{
    return n->kind == NODE_CALL && n->nargs == nargs && str_eq_nocase(n->name, str_of(name));
}

/* Subqueries among the conjuncts of a condition become joins of the child; *rest is what is left, NULL when nothing is. */
static enum err take_subqueries(struct analysis *an, struct out *child, struct node *n, struct node **rest)
{
    *rest = n;
    if (is_named_call(n, "and", 2) && an->depth < LIMIT_PLAN_DEPTH) {
        struct node *left, *right;
        an->depth++;
        enum err err = take_subqueries(an, child, n->args[0], &left);
        if (!err)
            err = take_subqueries(an, child, n->args[1], &right);
        an->depth--;
        if (err || (left == n->args[0] && right == n->args[1]))
            return err;
        *rest = left && right ? node_call(an->a, STR("and"), 2, left, right) : left ? left : right;
        return ERR_OK;
    }
    bool negated = is_named_call(n, "not", 1);
    const struct node *sub = negated ? n->args[0] : n;
    bool exists = sub->kind == NODE_SUBQUERY && str_eqz(sub->name, "exists");
    if (!exists && !(sub->kind == NODE_SUBQUERY && str_eqz(sub->name, "in") && !negated))
        return ERR_OK; /* NOT IN knows a third answer, null: it is refused where it is bound */
    *rest = NULL;
    return filter_by_subquery(an, child, sub, negated);
}

enum err resolve_filter(struct analysis *an, const struct rel *r, struct out *o)
{
    struct out child, wide;
    struct node *condition = r->exprs[0];
    enum err err = resolve(an, r->children[0], &child);
    if (!err)
        err = take_subqueries(an, &child, condition, &condition);
    if (err)
        return err;
    if (!condition) {
        *o = child;
        return ERR_OK;
    }
    struct expr *e;
    struct binding b = {.an = an, .scope = &child.scope};
    bool widen = false;
    err = bind_predicate(&b, condition, &e);
    if (err && may_widen(&child, err)) {
        struct fault first = *an->f;
        wide = widened(an, &child);
        b.scope = &wide.scope;
        widen = bind_predicate(&b, condition, &e) == ERR_OK;
        err = widen ? ERR_OK : (*an->f = first, err);
    }
    if (err)
        return err;
    if (expr_has_aggregate(e))
        return where_fault(an, r, e, b.scope);
    const struct out *over = widen ? &wide : &child;
    struct plan_node *f = plan_node(an, PLAN_FILTER, over->node);
    f->exprs = ARENA_NEW(an->a, struct expr *);
    f->exprs[0] = e;
    f->nexprs = 1;
    struct out filtered;
    out_set(an, &filtered, f, over->scope);
    if (widen)
        return narrowed(an, &filtered, &child.scope, o);
    *o = filtered;
    return ERR_OK;
}

/* -- ORDER BY ------------------------------------------------------------------------------------------------------------ */
struct sort_keys {
    struct expr **e;
    bool *descending, *nulls_last;
    int n;
};

static enum err sort_key_type(struct analysis *an, const struct expr *e, const struct node *n)
{
    if (e->type->id != TYPE_MAP && e->type->id != TYPE_CALENDAR)
        return ERR_OK;
    enum err err = FAULT(an->f, ERR_ORDERING_TYPE, {"functionName", "`sortorder`"},
                         {"dataType", arena_fmt(an->a, "\"%.*s\"", STR_ARG(type_sql(an->a, e->type))).p},
                         {"sqlExpr", arena_fmt(an->a, "\"%.*s ASC NULLS FIRST\"", STR_ARG(e->sql)).p});
    fault_context(an->f, &n->origin);
    return err;
}

/* One key: a position of the output, or an expression. */
static enum err sort_key(struct binding *b, const struct node *n, const struct item *outputs, int noutputs,
                         const struct scope *scope, struct expr **out)
{
    int64_t ordinal;
    const struct node *what = n->kind == NODE_SORT ? n->args[0] : n;
    int size = outputs ? noutputs : scope->n;
    if (!is_ordinal(what, &ordinal))
        return bind_node(b, what, out);
    if (ordinal < 1 || ordinal > size)
        return position_fault(b->an, ERR_ORDER_BY_POS, ordinal, size, what);
    *out = outputs ? outputs[ordinal - 1].e : column_of(b->an, scope, (int)ordinal - 1);
    return ERR_OK;
}

static enum err sort_keys(struct binding *b, const struct rel *r, const struct item *outputs, int noutputs,
                          const struct scope *scope, struct sort_keys *k)
{
    struct analysis *an = b->an;
    int all = outputs ? noutputs : scope->n;
    k->n = r->all ? all : r->nexprs;
    k->e = ARENA_ARRAY(an->a, (size_t)k->n + 1, struct expr *);
    k->descending = ARENA_ARRAY(an->a, (size_t)k->n + 1, bool);
    k->nulls_last = ARENA_ARRAY(an->a, (size_t)k->n + 1, bool);
    for (int i = 0; i < k->n; i++) {
        const struct node *n = r->exprs[r->all ? 0 : i];
        enum err err = ERR_OK;
        if (r->all)
            k->e[i] = outputs ? outputs[i].e : column_of(an, scope, i);
        else
            err = sort_key(b, n, outputs, noutputs, scope, &k->e[i]);
        if (!err)
            err = sort_key_type(an, k->e[i], n);
        if (err)
            return err;
        k->descending[i] = n->kind == NODE_SORT && n->descending;
        k->nulls_last[i] = n->kind == NODE_SORT && n->nulls_last >= 0 ? n->nulls_last : k->descending[i];
    }
    return ERR_OK;
}

static struct plan_node *sort_node(struct analysis *an, struct plan_node *child, const struct sort_keys *k)
{
    struct plan_node *s = plan_node(an, PLAN_SORT, child);
    s->exprs = k->e;
    s->nexprs = k->n;
    s->descending = k->descending;
    s->nulls_last = k->nulls_last;
    return s;
}

static const struct rel *aggregate_of(const struct rel *r)
{
    while (r->nchildren && r->kind != REL_AGGREGATE && r->kind != REL_PROJECT)
        r = r->children[0];
    return r;
}

static enum err sort_aggregate(struct analysis *an, const struct rel *r, struct out *o)
{
    struct agg_ctx *c = o->agg;
    struct binding b = {.an = an,
                        .scope = &c->child,
                        .outputs = c->items,
                        .noutputs = c->nitems,
                        .outputs_first = true,
                        .aggregates_allowed = true};
    struct sort_keys k;
    const struct rel *agg = aggregate_of(r->children[0]);
    enum err err = sort_keys(&b, r, c->items, c->nitems, &c->child, &k);
    for (int i = 0; !err && i < k.n; i++)
        err = to_agg(an, c, k.e[i], agg, &k.e[i]);
    if (err)
        return err;
    c->top = sort_node(an, c->top, &k);
    return project_agg(an, c, agg, o);
}

static enum err order_fault(struct analysis *an, const struct rel *r, const struct expr *e)
{
    enum err err = FAULT(an->f, ERR_EXPR_FOR_OPERATOR, {"invalidExprSqls", quote_sql(an->a, e)});
    fault_context(an->f, &r->origin);
    return err;
}

enum err resolve_sort(struct analysis *an, const struct rel *r, struct out *o)
{
    struct out child, wide;
    enum err err = resolve(an, r->children[0], &child);
    if (err)
        return err;
    if (child.agg) {
        *o = child;
        return sort_aggregate(an, r, o);
    }
    struct binding b = {.an = an, .scope = &child.scope};
    struct sort_keys k;
    bool widen = false;
    err = sort_keys(&b, r, NULL, 0, &child.scope, &k);
    if (err && may_widen(&child, err)) {
        struct fault first = *an->f;
        wide = widened(an, &child);
        b.scope = &wide.scope;
        widen = sort_keys(&b, r, NULL, 0, &child.scope, &k) == ERR_OK;
        err = widen ? ERR_OK : (*an->f = first, err);
    }
    if (err)
        return err;
    for (int i = 0; i < k.n; i++)
        if (expr_has_aggregate(k.e[i]))
            return order_fault(an, r, k.e[i]);
    struct out sorted;
    out_set(an, &sorted, sort_node(an, widen ? wide.node : child.node, &k), widen ? wide.scope : child.scope);
    if (widen)
        return narrowed(an, &sorted, &child.scope, o);
    *o = sorted;
    return ERR_OK;
}
