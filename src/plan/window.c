/*
 * window() leaves the expression that it stands in: below, the child gets a column `window`, and the call becomes that
 * column. Tumbling windows are a projection over the rows whose time is not null; a sliding window multiplies rows
 * (PLAN_EXPAND_WINDOW). As in Spark, one relation takes one window.
 */
#include "plan_int.h"

static bool is_window(const struct expr *e)
{
    struct window_spec w;
    struct expr *time;
    return expr_window(e, &w, &time);
}

static bool same_window(const struct expr *a, const struct expr *b)
{
    struct window_spec x, y;
    struct expr *t, *u;
    return expr_window(a, &x, &t) && expr_window(b, &y, &u) && x.duration_us == y.duration_us &&
           x.slide_us == y.slide_us && x.start_us == y.start_us && expr_eq(t, u);
}

static bool find_window(struct expr *e, void *arg)
{
    VEC(struct expr *) *found = arg;
    if (is_window(e))
        vec_push(found, e);
    return false;
}

/* Rows without a time belong to no window. */
static enum err drop_null_times(struct analysis *an, struct plan_node **node, struct expr *time)
{
    if (!time->nullable)
        return ERR_OK;
    struct plan_node *f = plan_node(an, PLAN_FILTER, *node);
    f->exprs = ARENA_NEW(an->a, struct expr *);
    f->nexprs = 1;
    *node = f;
    return expr_call(an->bind, STR("isnotnull"), &time, 1, false, &f->exprs[0], an->f);
}

static enum err add_window(struct analysis *an, struct out *child, struct expr *call)
{
    struct window_spec w;
    struct expr *time;
    enum err err = ERR_OK;
    struct scope s = scope_copy(an, &child->scope, 1);
    struct plan_node *node = child->node;
    if (!expr_window(call, &w, &time))
        return fault_internal(an->f, "not a window() call");
    s.cols[s.n++] =
        (struct scope_col){.name = STR("window"),
                           .type = call->type,
                           .nullable = w.slide_us != w.duration_us, /* Spark's Expand says so */
                           .watermark = time->kind == EXPR_COLUMN && child->scope.cols[time->ordinal].watermark,
                           .attr = an->next_attr++,
                           .hidden = true};
    if (w.slide_us == w.duration_us) {
        if ((err = drop_null_times(an, &node, time)))
            return err;
        struct plan_node *p = plan_node(an, PLAN_PROJECT, node);
        p->exprs = ARENA_ARRAY(an->a, (size_t)s.n, struct expr *);
        for (int i = 0; i < child->scope.n; i++)
            p->exprs[i] = column_of(an, &child->scope, i);
        p->exprs[s.n - 1] = call;
        p->nexprs = s.n;
        node = p;
    } else {
        node = plan_node(an, PLAN_EXPAND_WINDOW, node);
        node->exprs = ARENA_NEW(an->a, struct expr *);
        node->exprs[0] = time;
        node->nexprs = 1;
        node->window = w;
        node->window_column = s.n - 1;
    }
    node->schema = scope_type(an, &s);
    child->node = node;
    child->scope = s;
    child->window = call;
    child->window_ordinal = s.n - 1;
    return ERR_OK;
}

static struct expr *replace_window(struct analysis *an, const struct out *child, struct expr *e)
{
    if (is_window(e))
        return column_of(an, &child->scope, child->window_ordinal);
    if (!e->nargs)
        return e;
    struct expr *c = expr_clone(an->a, e);
    c->args = ARENA_ARRAY(an->a, (size_t)e->nargs, struct expr *);
    for (int i = 0; i < e->nargs; i++)
        c->args[i] = replace_window(an, child, e->args[i]);
    return c;
}

enum err extract_windows(struct analysis *an, struct out *child, struct expr **exprs, int n)
{
    VEC(struct expr *) found = {0};
    enum err err = ERR_OK;
    for (int i = 0; i < n; i++)
        expr_walk(exprs[i], find_window, &found);
    for (size_t i = 0; !err && i < found.n; i++) {
        if (!child->window)
            err = add_window(an, child, found.p[i]);
        else if (!same_window(child->window, found.p[i]))
            err = fault_set(an->f, ERR_MULTIPLE_WINDOWS, 0, NULL);
    }
    for (int i = 0; !err && found.n && i < n; i++)
        exprs[i] = replace_window(an, child, exprs[i]);
    vec_free(&found);
    return err;
}
