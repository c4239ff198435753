/*
 * What makes a plan cheaper without changing what it answers:
 *   collapse  project over project becomes one, where no work is done twice by it
 *   json      from_json of which only some fields are read extracts only those (Spark's OptimizeJsonExprs)
 *   prune     only columns that somebody reads are made: scans read (`wanted`), projections compute, aggregates keep
 * Pruning walks down with the set of columns that are needed, and comes back with where each of them is now.
 */
#include "plan_int.h"

/* -- reading expressions -------------------------------------------------------------------------------------------- */
struct uses {
    int *count;
};

static bool count_column(struct expr *e, void *arg)
{
    struct uses *u = arg;
    if (e->kind == EXPR_COLUMN)
        u->count[e->ordinal]++;
    return false;
}

static void count_uses(struct expr *e, int *count)
{
    struct uses u = {count};
    expr_walk(e, count_column, &u);
    if (e->filter)
        expr_walk(e->filter, count_column, &u);
}

static void need_of(struct expr *e, bool *need, int n, struct analysis *an)
{
    int *count = ARENA_ARRAY(an->a, (size_t)n + 1, int);
    count_uses(e, count);
    for (int i = 0; i < n; i++)
        need[i] |= count[i] > 0;
}

/* e with its columns renumbered. */
static struct expr *moved(struct analysis *an, struct expr *e, const int *map)
{
    if (!e)
        return NULL;
    if (e->kind != EXPR_COLUMN && !e->nargs && !e->filter)
        return e;
    struct expr *c = expr_clone(an->a, e);
    if (e->kind == EXPR_COLUMN) {
        c->ordinal = map[e->ordinal];
        return c;
    }
    c->args = ARENA_ARRAY(an->a, (size_t)e->nargs + 1, struct expr *);
    for (int i = 0; i < e->nargs; i++)
        c->args[i] = moved(an, e->args[i], map);
    c->filter = moved(an, e->filter, map);
    return c;
}

static void move_all(struct analysis *an, struct expr **e, int n, const int *map)
{
    for (int i = 0; i < n; i++)
        e[i] = moved(an, e[i], map);
}

/* -- collapse --------------------------------------------------------------------------------------------------------- */
static bool is_cheap(const struct expr *e)
{
    while (e->kind == EXPR_FIELD)
        e = e->args[0];
    return e->kind == EXPR_COLUMN || e->kind == EXPR_LITERAL;
}

static bool may_collapse(struct analysis *an, const struct plan_node *top, const struct plan_node *below)
{
    int *count = ARENA_ARRAY(an->a, (size_t)below->nexprs + 1, int);
    for (int i = 0; i < top->nexprs; i++)
        count_uses(top->exprs[i], count);
    for (int i = 0; i < below->nexprs; i++)
        if (count[i] && (!below->exprs[i]->deterministic || (count[i] > 1 && !is_cheap(below->exprs[i]))))
            return false;
    return true;
}

/* -- filters sink below watermarks -------------------------------------------------------------------------------------- */
/* Rows that a filter drops do not move the watermark, unless it looks at the event time itself: Spark's
 * PushPredicateThroughNonJoin, conjunct by conjunct. */
static bool reads_column(struct expr *e, void *ordinal)
{
    return e->kind == EXPR_COLUMN && e->ordinal == *(int *)ordinal;
}

static bool is_and(const struct expr *e)
{
    return e->kind == EXPR_CALL && e->nargs == 2 && e->fn && !strcmp(function_name(e->fn), "and");
}

/* Those conjuncts of e that may sink (or, with `sinks` false, may not), joined again; NULL: none. */
static struct expr *conjuncts(struct analysis *an, struct expr *e, int event_time, bool sinks)
{
    if (!is_and(e))
        return (e->deterministic && !expr_walk(e, reads_column, &event_time)) == sinks ? e : NULL;
    struct expr *a = conjuncts(an, e->args[0], event_time, sinks), *b = conjuncts(an, e->args[1], event_time, sinks);
    if (!a || !b)
        return a ? a : b;
    if (a == e->args[0] && b == e->args[1])
        return e;
    struct expr *both = ARENA_NEW(an->a, struct expr);
    *both = *e;
    both->args = ARENA_ARRAY(an->a, 2, struct expr *);
    both->args[0] = a;
    both->args[1] = b;
    return both;
}

static struct plan_node *sink_filter(struct analysis *an, struct plan_node *n)
{
    struct plan_node *below = n->kind == PLAN_FILTER ? n->children[0] : NULL;
    if (!below || below->kind != PLAN_WATERMARK)
        return n;
    struct expr *down = conjuncts(an, n->exprs[0], below->watermark_column, true);
    struct expr *stay = conjuncts(an, n->exprs[0], below->watermark_column, false);
    if (!down)
        return n;
    struct plan_node *f = plan_node(an, PLAN_FILTER, below->children[0]);
    f->schema = below->children[0]->schema;
    f->exprs = ARENA_ARRAY(an->a, 1, struct expr *);
    f->exprs[0] = down;
    f->nexprs = 1;
    below->children[0] = sink_filter(an, f);
    if (!stay)
        return below;
    n->exprs[0] = stay;
    return n;
}

static struct plan_node *collapse(struct analysis *an, struct plan_node *n)
{
    for (int i = 0; i < n->nchildren; i++)
        n->children[i] = collapse(an, n->children[i]);
    n = sink_filter(an, n);
    while (n->kind == PLAN_PROJECT && n->children[0]->kind == PLAN_PROJECT && may_collapse(an, n, n->children[0])) {
        struct plan_node *below = n->children[0];
        for (int i = 0; i < n->nexprs; i++)
            n->exprs[i] = expr_substitute(an->a, n->exprs[i], below->exprs);
        n->children[0] = below->children[0];
    }
    return n;
}

/* -- from_json: extract only the fields that are read ------------------------------------------------------------------ */
static bool is_json(const struct expr *e)
{
    return e->kind == EXPR_CALL && e->type->id == TYPE_STRUCT && e->fn && !strcmp(function_name(e->fn), "from_json");
}

struct field_uses {
    int ordinal; /* of the JSON column */
    bool whole;
    bool *used;
};

static void note_uses(struct expr *e, struct field_uses *u)
{
    if (!e)
        return;
    if (e->kind == EXPR_FIELD && e->args[0]->kind == EXPR_COLUMN) {
        if (e->args[0]->ordinal == u->ordinal)
            u->used[e->ordinal] = true;
        return; /* the column below is not read as a whole */
    }
    u->whole |= e->kind == EXPR_COLUMN && e->ordinal == u->ordinal;
    for (int i = 0; i < e->nargs; i++)
        note_uses(e->args[i], u);
    note_uses(e->filter, u);
}

static void note_all(struct expr *const *e, int n, struct field_uses *u)
{
    for (int i = 0; i < n; i++)
        note_uses(e[i], u);
}

/* from_json(x, …).a where it stands: nobody else reads that call. */
static struct expr *narrow_inline(struct analysis *an, struct expr *e)
{
    if (!e || !e->nargs)
        return e;
    struct expr *c = expr_clone(an->a, e);
    c->args = ARENA_ARRAY(an->a, (size_t)e->nargs, struct expr *);
    for (int i = 0; i < e->nargs; i++)
        c->args[i] = narrow_inline(an, e->args[i]);
    c->filter = narrow_inline(an, e->filter);
    if (e->kind == EXPR_FIELD && is_json(e->args[0])) {
        bool *used = ARENA_ARRAY(an->a, (size_t)e->args[0]->type->nfields + 1, bool);
        used[e->ordinal] = true;
        c->args[0] = json_prune(an->bind, c->args[0], used);
    }
    return c;
}

static void narrow_all(struct analysis *an, struct expr **e, int n)
{
    for (int i = 0; i < n; i++)
        e[i] = narrow_inline(an, e[i]);
}

/* A projection or aggregation, the filters under it, and the projection that parses JSON below them. */
static void narrow_json(struct analysis *an, struct plan_node *n)
{
    for (int i = 0; i < n->nchildren; i++)
        narrow_json(an, n->children[i]);
    narrow_all(an, n->exprs, n->nexprs);
    narrow_all(an, n->group, n->ngroup);
    narrow_all(an, n->aggs, n->naggs);
    narrow_all(an, n->left_keys, n->nkeys);
    narrow_all(an, n->right_keys, n->nkeys);
    if (n->kind != PLAN_PROJECT && n->kind != PLAN_AGGREGATE)
        return;
    struct plan_node *below = n->children[0];
    while (below->kind == PLAN_FILTER || below->kind == PLAN_WATERMARK)
        below = below->children[0];
    for (int i = 0; below->kind == PLAN_PROJECT && i < below->nexprs; i++) {
        if (!is_json(below->exprs[i]))
            continue;
        struct field_uses u = {.ordinal = i,
                               .used = ARENA_ARRAY(an->a, (size_t)below->exprs[i]->type->nfields + 1, bool)};
        for (const struct plan_node *c = n; c != below; c = c->children[0]) {
            note_all(c->exprs, c->nexprs, &u);
            note_all(c->group, c->ngroup, &u);
            note_all(c->aggs, c->naggs, &u);
            u.whole |= c->kind == PLAN_WATERMARK && c->watermark_column == i;
        }
        if (!u.whole)
            below->exprs[i] = json_prune(an->bind, below->exprs[i], u.used);
    }
}

/* -- prune ------------------------------------------------------------------------------------------------------------ */
static int *prune(struct analysis *an, struct plan_node **node, const bool *need);

static int *identity(struct analysis *an, int n)
{
    int *map = ARENA_ARRAY(an->a, (size_t)n + 1, int);
    for (int i = 0; i < n; i++)
        map[i] = i;
    return map;
}

static bool *all_of(struct analysis *an, const struct plan_node *n)
{
    bool *need = ARENA_ARRAY(an->a, (size_t)n->schema->nfields + 1, bool);
    memset(need, 1, (size_t)n->schema->nfields);
    return need;
}

/* The schema's chosen fields, and where each went. */
static const struct type *keep_fields(struct analysis *an, const struct type *t, const bool *need, int *map)
{
    struct field *f = ARENA_ARRAY(an->a, (size_t)t->nfields + 1, struct field);
    int n = 0;
    for (int i = 0; i < t->nfields; i++) {
        map[i] = need[i] ? n : -1;
        if (need[i])
            f[n++] = t->fields[i];
    }
    return type_struct(an->a, f, n);
}

static int *prune_leaf(struct analysis *an, struct plan_node *n, const bool *need)
{
    int width = n->schema->nfields, kept = 0;
    int *map = ARENA_ARRAY(an->a, (size_t)width + 1, int), *wanted = ARENA_ARRAY(an->a, (size_t)width + 1, int);
    for (int i = 0; i < width; i++)
        if (need[i])
            wanted[kept++] = n->wanted ? n->wanted[i] : i;
    n->schema = keep_fields(an, n->schema, need, map);
    n->wanted = wanted;
    return map;
}

/* A projection that changes neither columns nor their names does nothing. */
static bool is_identity(const struct plan_node *n)
{
    const struct type *below = n->children[0]->schema;
    if (n->nexprs != below->nfields)
        return false;
    for (int i = 0; i < n->nexprs; i++)
        if (n->exprs[i]->kind != EXPR_COLUMN || n->exprs[i]->ordinal != i ||
            !str_eq(n->schema->fields[i].name, below->fields[i].name))
            return false;
    return true;
}

static int *prune_project(struct analysis *an, struct plan_node **node, const bool *need)
{
    struct plan_node *n = *node;
    struct plan_node *child = n->children[0];
    int width = child->schema->nfields, kept = 0;
    bool *below = ARENA_ARRAY(an->a, (size_t)width + 1, bool);
    int *map = ARENA_ARRAY(an->a, (size_t)n->nexprs + 1, int);
    n->schema = keep_fields(an, n->schema, need, map);
    for (int i = 0; i < n->nexprs; i++)
        if (need[i])
            n->exprs[kept++] = n->exprs[i];
    n->nexprs = kept;
    for (int i = 0; i < n->nexprs; i++)
        need_of(n->exprs[i], below, width, an);
    move_all(an, n->exprs, n->nexprs, prune(an, &n->children[0], below));
    if (is_identity(n))
        *node = n->children[0];
    return map;
}

/* Nodes that pass their child's columns on: filter, sort, limit, sample, watermark, dedup. */
static int *prune_through(struct analysis *an, struct plan_node *n, const bool *need)
{
    int width = n->children[0]->schema->nfields;
    bool *below = ARENA_ARRAY(an->a, (size_t)width + 1, bool);
    memcpy(below, need, (size_t)width);
    for (int i = 0; i < n->nexprs; i++)
        need_of(n->exprs[i], below, width, an);
    for (int i = 0; i < n->ngroup; i++)
        need_of(n->group[i], below, width, an);
    if (n->kind == PLAN_WATERMARK)
        below[n->watermark_column] = true;
    int *map = prune(an, &n->children[0], below);
    move_all(an, n->exprs, n->nexprs, map);
    move_all(an, n->group, n->ngroup, map);
    if (n->kind == PLAN_WATERMARK)
        n->watermark_column = map[n->watermark_column];
    n->schema = n->children[0]->schema;
    return map;
}

static int *prune_aggregate(struct analysis *an, struct plan_node *n, const bool *need)
{
    int width = n->children[0]->schema->nfields, kept = 0;
    bool *below = ARENA_ARRAY(an->a, (size_t)width + 1, bool), *keep = all_of(an, n);
    int *map = ARENA_ARRAY(an->a, (size_t)n->schema->nfields + 1, int);
    /* A stream keeps all its aggregates: its state must not depend on what is read of it today. */
    for (int i = 0; i < n->naggs; i++) {
        keep[n->ngroup + i] = need[n->ngroup + i] || n->is_streaming;
        if (keep[n->ngroup + i])
            n->aggs[kept++] = n->aggs[i];
    }
    n->naggs = kept;
    n->schema = keep_fields(an, n->schema, keep, map);
    for (int i = 0; i < n->ngroup; i++)
        need_of(n->group[i], below, width, an);
    for (int i = 0; i < n->naggs; i++)
        need_of(n->aggs[i], below, width, an);
    int *moves = prune(an, &n->children[0], below);
    move_all(an, n->group, n->ngroup, moves);
    move_all(an, n->aggs, n->naggs, moves);
    return map;
}

/* All children must keep the same layout: one that cannot gets a projection. */
static int *prune_union(struct analysis *an, struct plan_node *n, const bool *need)
{
    int width = n->schema->nfields;
    int *map = ARENA_ARRAY(an->a, (size_t)width + 1, int);
    const struct type *schema = keep_fields(an, n->schema, need, map);
    for (int k = 0; k < n->nchildren; k++) {
        struct plan_node *child = n->children[k];
        const struct type *before = child->schema;
        int *moves = prune(an, &n->children[k], need);
        bool same = n->children[k]->schema->nfields == schema->nfields;
        for (int i = 0; i < width; i++)
            same = same && (!need[i] || moves[i] == map[i]);
        if (same)
            continue;
        struct plan_node *p = plan_node(an, PLAN_PROJECT, n->children[k]);
        p->exprs = ARENA_ARRAY(an->a, (size_t)schema->nfields + 1, struct expr *);
        for (int i = 0; i < width; i++)
            if (need[i])
                p->exprs[p->nexprs++] = expr_column(an->bind, moves[i], before->fields[i].name, before->fields[i].type,
                                                    before->fields[i].nullable);
        p->schema = schema;
        n->children[k] = p;
    }
    n->schema = schema;
    return map;
}

/* Nodes that put columns behind their child's: explode and sliding windows. */
static int *prune_append(struct analysis *an, struct plan_node *n, const bool *need)
{
    struct plan_node *child = n->children[0];
    int width = child->schema->nfields, added = n->schema->nfields - width;
    bool *below = ARENA_ARRAY(an->a, (size_t)width + 1, bool);
    const struct type *before = n->schema;
    memcpy(below, need, (size_t)width);
    need_of(n->exprs[0], below, width, an);
    int *moves = prune(an, &n->children[0], below);
    move_all(an, n->exprs, n->nexprs, moves);
    const struct type *child_schema = n->children[0]->schema;
    struct field *f = ARENA_ARRAY(an->a, (size_t)(child_schema->nfields + added) + 1, struct field);
    int *map = ARENA_ARRAY(an->a, (size_t)(width + added) + 1, int);
    for (int i = 0; i < child_schema->nfields; i++)
        f[i] = child_schema->fields[i];
    for (int i = 0; i < width; i++)
        map[i] = moves[i];
    for (int i = 0; i < added; i++) {
        map[width + i] = child_schema->nfields + i;
        f[child_schema->nfields + i] = before->fields[width + i];
    }
    n->schema = type_struct(an->a, f, child_schema->nfields + added);
    if (n->kind == PLAN_EXPAND_WINDOW)
        n->window_column = map[n->window_column];
    return map;
}

/* The left's columns that are needed, then the right's: by the reader, the keys or the condition. */
static int *prune_join(struct analysis *an, struct plan_node *n, const bool *need)
{
    int lw = n->children[0]->schema->nfields, rw = n->children[1]->schema->nfields;
    bool *both = ARENA_ARRAY(an->a, (size_t)(lw + rw) + 1, bool);
    int *map = ARENA_ARRAY(an->a, (size_t)(lw + rw) + 1, int);
    for (int i = 0; i < n->schema->nfields; i++)
        both[i] = need[i];
    if (n->condition)
        need_of(n->condition, both, lw + rw, an);
    for (int i = 0; i < n->nkeys; i++) {
        need_of(n->left_keys[i], both, lw, an);
        need_of(n->right_keys[i], both + lw, rw, an);
    }
    int *left = prune(an, &n->children[0], both), *right = prune(an, &n->children[1], both + lw);
    const struct type *l = n->children[0]->schema, *r = n->children[1]->schema, *before = n->schema;
    move_all(an, n->left_keys, n->nkeys, left);
    move_all(an, n->right_keys, n->nkeys, right);
    bool one_sided = n->join == JOIN_SEMI || n->join == JOIN_ANTI;
    struct field *f = ARENA_ARRAY(an->a, (size_t)(l->nfields + r->nfields) + 1, struct field);
    for (int i = 0; i < l->nfields + r->nfields; i++)
        f[i] = i < l->nfields ? l->fields[i] : r->fields[i - l->nfields];
    for (int i = 0; i < lw + rw; i++) {
        int at = i < lw ? left[i] : right[i - lw];
        map[i] = at < 0 ? -1 : i < lw ? at : l->nfields + at;
        if (at >= 0 && i < before->nfields)
            f[map[i]].nullable = before->fields[i].nullable;
    }
    n->condition = moved(an, n->condition, map);
    n->schema = type_struct(an->a, f, l->nfields + (one_sided ? 0 : r->nfields));
    return map;
}

static int *prune_show(struct analysis *an, struct plan_node *n)
{
    bool *below = all_of(an, n->children[0]);
    (void)prune(an, &n->children[0], below);
    return identity(an, n->schema->nfields);
}

static int *prune(struct analysis *an, struct plan_node **node, const bool *need)
{
    struct plan_node *n = *node;
    switch (n->kind) {
    case PLAN_ONE_ROW:
        return identity(an, n->schema->nfields);
    case PLAN_LOCAL:
    case PLAN_SCAN:
    case PLAN_RANGE:
        return prune_leaf(an, n, need);
    case PLAN_PROJECT:
        return prune_project(an, node, need);
    case PLAN_AGGREGATE:
        return prune_aggregate(an, n, need);
    case PLAN_UNION:
        return prune_union(an, n, need);
    case PLAN_EXPAND_WINDOW:
    case PLAN_EXPLODE:
        return prune_append(an, n, need);
    case PLAN_JOIN:
        return prune_join(an, n, need);
    case PLAN_SHOW:
        return prune_show(an, n);
    case PLAN_FILTER:
    case PLAN_SORT:
    case PLAN_LIMIT:
    case PLAN_WATERMARK:
    case PLAN_DEDUP:
    case PLAN_SAMPLE:
        break;
    }
    return prune_through(an, n, need);
}

struct plan_node *plan_optimize(struct analysis *an, struct plan_node *root)
{
    const struct type *schema = root->schema;
    root = collapse(an, plan_push_filters(an, root));
    int *map = prune(an, &root, all_of(an, root));
    narrow_json(an, root);
    bool same = root->schema->nfields == schema->nfields;
    for (int i = 0; i < schema->nfields; i++)
        same = same && map[i] == i;
    if (same)
        return root;
    /* A filter or sort at the top may carry columns that only it reads. */
    struct plan_node *p = plan_node(an, PLAN_PROJECT, root);
    p->exprs = ARENA_ARRAY(an->a, (size_t)schema->nfields + 1, struct expr *);
    for (int i = 0; i < schema->nfields; i++)
        p->exprs[p->nexprs++] =
            expr_column(an->bind, map[i], schema->fields[i].name, schema->fields[i].type, schema->fields[i].nullable);
    p->schema = schema;
    return collapse(an, p);
}

static void number(struct plan_node *n, int *next)
{
    n->id = (*next)++;
    for (int i = 0; i < n->nchildren; i++)
        number(n->children[i], next);
}

void plan_number(struct plan *p)
{
    int next = 0;
    number(p->root, &next);
}
