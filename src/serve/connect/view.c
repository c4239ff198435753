/*
 * What a temporary view holds on to. A view made from a DataFrame keeps what the names in it meant then, as Spark keeps the
 * analyzed plan: `spark.table("t").filter(…).createOrReplaceTempView("t")` reads the old t. A view made by SQL text keeps the
 * names, and looks them up when it is used: it must not lead back to itself.
 */
#include "serve/connect/connect_int.h"

#include <stdio.h>

/* Names that a WITH around the current relation defines: they hide views. */
struct cte {
    const struct cte *up;
    const struct str *names;
    int n;
};

struct walk {
    struct planning *p;
    /* One REL_TABLE that is no CTE's name; may be replaced. */
    enum err (*table)(struct walk *w, struct rel **slot, int depth);
    struct str target; /* of a search: the name that must not come */
    struct fault *f;
};

static enum err walk_rel(struct walk *w, struct rel **slot, const struct cte *ctes, int depth);

static enum err walk_node(struct walk *w, struct node *e, const struct cte *ctes, int depth)
{
    enum err err = ERR_OK;
    if (!e)
        return ERR_OK;
    if (depth > LIMIT_VIEW_DEPTH)
        return LIMIT_FAULT(w->f, VIEW_DEPTH);
    if (e->relation)
        err = walk_rel(w, &e->relation, ctes, depth + 1);
    for (int i = 0; i < e->nargs && !err; i++)
        err = walk_node(w, e->args[i], ctes, depth + 1);
    return err ? err : walk_node(w, e->filter, ctes, depth + 1);
}

static bool is_cte(const struct cte *ctes, const struct rel *table)
{
    for (; ctes && table->nparts == 1; ctes = ctes->up)
        for (int i = 0; i < ctes->n; i++)
            if (str_eq_nocase(ctes->names[i], table->parts[0]))
                return true;
    return false;
}

static enum err walk_rel(struct walk *w, struct rel **slot, const struct cte *ctes, int depth)
{
    struct rel *r = *slot;
    struct cte inner = {ctes, r->parts, r->nparts};
    enum err e = ERR_OK;
    if (depth > LIMIT_VIEW_DEPTH)
        return LIMIT_FAULT(w->f, VIEW_DEPTH);
    if (r->kind == REL_TABLE)
        return is_cte(ctes, r) ? ERR_OK : w->table(w, slot, depth);
    const struct cte *scope = r->kind == REL_WITH ? &inner : ctes;
    for (int i = 0; i < r->nchildren && !e; i++)
        e = walk_rel(w, &r->children[i], scope, depth + 1);
    for (int i = 0; i < r->nexprs && !e; i++)
        e = walk_node(w, r->exprs[i], scope, depth + 1);
    for (int i = 0; i < r->ngroup && !e; i++)
        e = walk_node(w, r->group[i], scope, depth + 1);
    return e;
}

/* The session's view behind a table's name, or NULL; held until the request is done. */
static const struct rel *view_behind(struct walk *w, const struct rel *table)
{
    struct view *v = session_view(w->p->session, join_parts(w->p->arena, table->parts, table->nparts));
    if (!v)
        return NULL;
    vec_push(&w->p->views, v);
    return v->rel;
}

/* The table becomes what it means now, under its name. */
static enum err capture(struct walk *w, struct rel **slot, int depth)
{
    struct rel *table = *slot;
    const struct rel *view = view_behind(w, table);
    if (!view)
        return ERR_OK;
    struct rel *alias = rel_new(w->p->arena, REL_ALIAS, 1);
    alias->parts = &table->parts[table->nparts - 1];
    alias->nparts = 1;
    alias->origin = table->origin;
    alias->plan_id = table->plan_id;
    alias->children[0] = rel_copy(w->p->arena, view);
    *slot = alias;
    return walk_rel(w, &alias->children[0], NULL, depth + 1);
}

enum err capture_views(struct planning *p, struct rel **rel, struct fault *f)
{
    struct walk w = {p, capture, {0}, f};
    return walk_rel(&w, rel, NULL, 0);
}

static enum err search(struct walk *w, struct rel **slot, int depth)
{
    const struct rel *table = *slot;
    if (str_eq_nocase(join_parts(w->p->arena, table->parts, table->nparts), w->target)) {
        struct str name = arena_fmt(w->p->arena, "`%.*s`", STR_ARG(w->target));
        struct str cycle = arena_fmt(w->p->arena, "%s -> %s", name.p, name.p);
        return FAULT(w->f, ERR_RECURSIVE_VIEW, {"viewIdent", name.p}, {"newPath", cycle.p});
    }
    const struct rel *view = view_behind(w, table);
    if (!view)
        return ERR_OK;
    struct rel *copy = rel_copy(w->p->arena, view);
    return walk_rel(w, &copy, NULL, depth + 1);
}

enum err check_recursion(struct planning *p, struct str name, struct rel *rel, struct fault *f)
{
    struct walk w = {p, search, name, f};
    return walk_rel(&w, &rel, NULL, 0);
}
