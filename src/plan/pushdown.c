/*
 * Filters move towards the source, as Spark's PushPredicateThroughNonJoin moves them. That is more than speed: a filter below
 * an event-time watermark hides rows from it, one below an aggregation keeps groups out of its state, and what progress
 * reports of both must be what Spark reports.
 *
 *   filter(a > 1 AND ts > …) ── watermark(ts) ──▶ filter(ts > …) ── watermark(ts) ── filter(a > 1)
 */
#include "plan_int.h"

#include <stdlib.h>

struct conjuncts {
    struct expr **p;
    int n, cap;
};

static void add(struct analysis *an, struct conjuncts *c, struct expr *e)
{
    if (e->kind == EXPR_CALL && e->nargs == 2 && e->fn && !strcmp(function_name(e->fn), "and")) {
        add(an, c, e->args[0]);
        add(an, c, e->args[1]);
        return;
    }
    if (c->n == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 8;
        struct expr **more = ARENA_ARRAY(an->a, (size_t)c->cap, struct expr *);
        if (c->n)
            memcpy(more, c->p, (size_t)c->n * sizeof *more);
        c->p = more;
    }
    c->p[c->n++] = e;
}

/* The columns an expression reads: all below `limit`, and whether `special` is among them. */
struct reads {
    int limit, special;
    bool over_limit, has_special;
};

static bool read_column(struct expr *e, void *arg)
{
    struct reads *r = arg;
    if (e->kind == EXPR_COLUMN) {
        r->over_limit |= e->ordinal >= r->limit;
        r->has_special |= e->ordinal == r->special;
    }
    return false;
}

static struct reads reads_of(struct expr *e, int limit, int special)
{
    struct reads r = {.limit = limit, .special = special};
    expr_walk(e, read_column, &r);
    return r;
}

static bool watermark_below(const struct plan_node *n)
{
    while (n->kind == PLAN_PROJECT || n->kind == PLAN_FILTER)
        n = n->children[0];
    return n->kind == PLAN_WATERMARK;
}

static bool is_cheap(const struct expr *e)
{
    while (e->kind == EXPR_FIELD)
        e = e->args[0];
    return e->kind == EXPR_COLUMN || e->kind == EXPR_LITERAL;
}

struct cheap_reads {
    struct expr *const *exprs;
    bool costly;
};

static bool read_cheap(struct expr *e, void *arg)
{
    struct cheap_reads *c = arg;
    if (e->kind == EXPR_COLUMN)
        c->costly |= !is_cheap(c->exprs[e->ordinal]) || !c->exprs[e->ordinal]->deterministic;
    return false;
}

/* Below a projection: the expressions stand for their columns. Costly ones would be computed twice; that is worth it only to
 * reach a watermark. */
static struct expr *through_project(struct analysis *an, const struct plan_node *p, struct expr *e)
{
    struct cheap_reads c = {.exprs = p->exprs};
    for (int i = 0; i < p->nexprs; i++)
        if (!p->exprs[i]->deterministic)
            return NULL;
    expr_walk(e, read_cheap, &c);
    return c.costly && !watermark_below(p->children[0]) ? NULL : expr_substitute(an->a, e, p->exprs);
}

static struct expr *through_aggregate(struct analysis *an, const struct plan_node *g, struct expr *e)
{
    if (!g->ngroup || reads_of(e, g->ngroup, -1).over_limit)
        return NULL;
    return expr_substitute(an->a, e, g->group);
}

/* The condition as it reads below the node, or NULL: it stays above. */
static struct expr *below(struct analysis *an, const struct plan_node *n, struct expr *e)
{
    if (!e->deterministic)
        return NULL;
    switch (n->kind) {
    case PLAN_PROJECT:
        return through_project(an, n, e);
    case PLAN_WATERMARK:
        return reads_of(e, 0, n->watermark_column).has_special ? NULL : e;
    case PLAN_AGGREGATE:
        return through_aggregate(an, n, e);
    default:
        return NULL;
    }
}

static struct plan_node *filter_over(struct analysis *an, struct plan_node *child, const struct conjuncts *c)
{
    struct expr *e = c->n ? c->p[0] : NULL;
    struct fault quiet;
    for (int i = 1; i < c->n; i++) {
        struct expr *args[2] = {e, c->p[i]};
        if (expr_call(an->bind, STR("and"), args, 2, false, &e, &quiet))
            abort(); /* AND of two booleans */
    }
    if (!e)
        return child;
    struct plan_node *f = plan_node(an, PLAN_FILTER, child);
    f->exprs = ARENA_NEW(an->a, struct expr *);
    f->exprs[0] = e;
    f->nexprs = 1;
    return f;
}

struct plan_node *plan_push_filters(struct analysis *an, struct plan_node *n)
{
    struct conjuncts all = {0}, stay = {0}, down = {0};
    struct plan_node *child = n;
    for (; child->kind == PLAN_FILTER; child = child->children[0])
        add(an, &all, child->exprs[0]);
    for (int i = 0; i < all.n; i++) {
        struct expr *e = below(an, child, all.p[i]);
        add(an, e ? &down : &stay, e ? e : all.p[i]);
    }
    if (down.n)
        child->children[0] = filter_over(an, child->children[0], &down);
    for (int i = 0; i < child->nchildren; i++)
        child->children[i] = plan_push_filters(an, child->children[i]);
    return all.n && !down.n ? n : filter_over(an, child, &stay);
}
