/*
 * What the files of plan/ share.
 *
 *   relation.c ── each struct rel becomes a struct out: a plan node and the scope in which its columns can be named
 *   bind.c     ── struct node → struct expr over the columns of one scope
 *   select.c   ── projections, aggregations, HAVING, ORDER BY: where several scopes meet
 *   window.c, generate.c ── window() and explode() leave the expression and become nodes below it
 *   shape.c    ── withColumn, drop, set operations, na functions, VALUES …
 *   pushdown.c, optimize.c ── push filters down, collapse, prune
 *
 * A column of a scope carries an attribute id (`attr`) that follows it through the plan as Spark's exprId does: df["a"]
 * means "the column that was `a` in that relation, wherever it is now".
 */
#ifndef PENSTOCK_PLAN_PLAN_INT_H
#define PENSTOCK_PLAN_PLAN_INT_H

#include "base/limit.h"
#include "base/vec.h"
#include "plan/plan.h"

enum { PROPOSALS = 5 };

struct scope_col {
    struct str name, qualifier; /* qualifier n 0: none */
    const struct type *type;
    bool nullable;
    bool watermark; /* an event time with a watermark, or a window over one */
    struct str metadata;
    int attr;
    bool hidden; /* may be named, is not part of `*` */
};
struct scope {
    struct scope_col *cols; /* cols[i] is ordinal i of the node */
    int n;
};

/* One output column of a projection, over the child's columns. */
struct item {
    struct expr *e;
    struct str name, metadata, qualifier;
    int attr;
    bool watermark;
};

/* An aggregation whose output expressions are still written over its child, so that HAVING and ORDER BY can add to it. */
struct agg_ctx {
    struct plan_node *agg; /* PLAN_AGGREGATE */
    struct plan_node *top; /* agg, or the filters and sorts between it and the projection */
    struct scope child;
    struct expr **group;
    int ngroup;
    struct item *items;
    int nitems;
};
struct out {
    struct plan_node *node;
    struct scope scope;
    struct agg_ctx *agg;     /* node is the projection over an aggregation */
    const struct out *below; /* node is a projection over this */
    struct expr *window;     /* the window() call that column window_ordinal holds */
    int window_ordinal;
};

struct cte {
    struct str name;
    const struct rel *body;
    const struct cte *next; /* what the body itself may see, and older names */
};
struct plan_scope { /* the columns of the relation with this plan_id */
    int64_t plan_id;
    struct scope scope;
};
struct analysis {
    struct arena *a;
    const struct plan_env *env;
    struct fault *f;
    struct bind *bind;
    const struct cte *ctes;
    const struct rel *params;
    VEC(struct plan_scope) plan_scopes;
    int next_attr, next_id, nscans, depth, view_depth, nparams;
};

/* How names are looked up while one expression is bound. */
struct binding {
    struct analysis *an;
    const struct scope *scope; /* the child's columns */
    const struct item
        *outputs; /* HAVING, ORDER BY over an aggregation: names of its output stand for their expressions */
    int noutputs;
    bool outputs_first;
    const struct item *aliases; /* lateral: earlier items of the same select list */
    int naliases;
    bool in_aggregate; /* below an aggregate function: the child's columns come first */
    bool aggregates_allowed;
    int depth;
};

/* -- nodes --------------------------------------------------------------------------------------------------------- */
struct plan_node *plan_node(struct analysis *an, enum plan_kind kind, struct plan_node *child);
const struct type *scope_type(struct analysis *an, const struct scope *s);
struct scope scope_of_type(struct analysis *an, const struct type *t, struct str qualifier);
struct scope scope_copy(struct analysis *an, const struct scope *s, int room);
void out_set(struct analysis *an, struct out *o, struct plan_node *node, struct scope scope);
struct expr *column_of(struct analysis *an, const struct scope *s, int ordinal);

/* -- names --------------------------------------------------------------------------------------------------------- */
struct str quote_name(struct arena *a, struct str name);                 /* `a` */
struct str quote_parts(struct arena *a, const struct str *parts, int n); /* `a`.`b` */
const char *quote_sql(struct arena *a, const struct expr *e);            /* "\"(a + 1)\"" */
/* Candidates for parts[0..n): the ordinals matched, how many parts they took. */
int scope_find(const struct scope *s, const struct str *parts, int n, bool sensitive, int *found, int cap, int *took);
CHECK enum err unresolved_column(struct binding *b, const struct node *n);
CHECK enum err ambiguous(struct analysis *an, const struct scope *s, const struct node *n, const int *found,
                         int nfound);
/* A column named by one word, as drop() and dropDuplicates() do: -1 when there is none. */
int scope_find_name(const struct analysis *an, const struct scope *s, struct str name);
CHECK enum err unresolved_name(struct analysis *an, const struct scope *s, struct str name, const struct origin *o);

/* -- expressions --------------------------------------------------------------------------------------------------- */
CHECK enum err bind_node(struct binding *b, const struct node *n, struct expr **out);
/* A bound expression and the name it has in a select list. */
CHECK enum err bind_item(struct binding *b, const struct node *n, struct item *out);
bool node_has_aggregate(const struct node *n);
bool expr_has_aggregate(struct expr *e);
struct expr *expr_clone(struct arena *a, const struct expr *e);
/* A copy of e with its columns replaced by to[ordinal] (kept when that is NULL). */
struct expr *expr_substitute(struct arena *a, struct expr *e, struct expr *const *to);
struct str item_name(struct analysis *an, const struct node *n, const struct expr *e);
CHECK enum err bind_predicate(struct binding *b, const struct node *n, struct expr **out);
CHECK enum err fold_i64(struct analysis *an, const struct node *n, const char *what, int64_t *out);
CHECK enum err cast_to(struct analysis *an, struct expr **e, const struct type *t);

/* -- relations ----------------------------------------------------------------------------------------------------- */
CHECK enum err resolve(struct analysis *an, const struct rel *r, struct out *o);
CHECK enum err expand_star(struct analysis *an, const struct scope *s, const struct node *star, struct item **items,
                           int *n, int *cap);
void items_add(struct analysis *an, struct item **items, int *n, int *cap, struct item it);
CHECK enum err project_items(struct analysis *an, const struct out *child, struct item *items, int n, struct out *o);
CHECK enum err resolve_project(struct analysis *an, const struct rel *r, struct out *o);
CHECK enum err resolve_aggregate(struct analysis *an, const struct rel *r, struct out *o);
CHECK enum err resolve_having(struct analysis *an, const struct rel *r, struct out *o);
CHECK enum err resolve_sort(struct analysis *an, const struct rel *r, struct out *o);
CHECK enum err resolve_filter(struct analysis *an, const struct rel *r, struct out *o);
CHECK enum err resolve_with_columns(struct analysis *an, const struct rel *r, struct out *o);
CHECK enum err resolve_rename(struct analysis *an, const struct rel *r, struct out *o);
CHECK enum err resolve_drop(struct analysis *an, const struct rel *r, struct out *o);
CHECK enum err resolve_to_df(struct analysis *an, const struct rel *r, struct out *o);
CHECK enum err resolve_alias(struct analysis *an, const struct rel *r, struct out *o);
CHECK enum err resolve_distinct(struct analysis *an, const struct rel *r, struct out *o);
CHECK enum err resolve_setop(struct analysis *an, const struct rel *r, struct out *o);
CHECK enum err resolve_join(struct analysis *an, const struct rel *r, struct out *o);
CHECK enum err filter_by_subquery(struct analysis *an, struct out *child, const struct node *sub, bool anti);
CHECK enum err resolve_values(struct analysis *an, const struct rel *r, struct out *o);
CHECK enum err resolve_na(struct analysis *an, const struct rel *r, struct out *o);
CHECK enum err resolve_to_schema(struct analysis *an, const struct rel *r, struct out *o);
CHECK enum err resolve_watermark(struct analysis *an, const struct rel *r, struct out *o);
/* Take window() calls out of the expressions: the child gets a column `window` per distinct call. exprs are rewritten. */
CHECK enum err extract_windows(struct analysis *an, struct out *child, struct expr **exprs, int n);
CHECK enum err windows_of_items(struct analysis *an, struct out *child, struct item *items, int n);
bool node_is_generator(const struct node *n, struct str *name);
/* Put the generator below: the child gets its columns at the end, from *first on. */
CHECK enum err generate(struct analysis *an, struct out *child, const struct node *n, int *first);
struct item item_of_column(struct analysis *an, const struct scope *s, int i);
CHECK enum err resolve_generator(struct analysis *an, const struct rel *r, const struct out *child, int at,
                                 struct out *o);

/* -- after resolution ---------------------------------------------------------------------------------------------- */
struct plan_node *plan_optimize(struct analysis *an, struct plan_node *root);
struct plan_node *plan_push_filters(struct analysis *an, struct plan_node *root);
void plan_number(struct plan *p);

#endif
