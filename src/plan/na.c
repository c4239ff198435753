/* df.na: fill, drop, replace. */
#include "plan_int.h"

static bool chosen(struct analysis *an, const struct rel *r, const struct scope *s, int col, int *which)
{
    (void)an;
    *which = 0;
    if (!r->nparts)
        return true;
    for (int i = 0; i < r->nparts; i++)
        if (str_eq_nocase(r->parts[i], s->cols[col].name)) {
            *which = i;
            return true;
        }
    return false;
}

static enum err check_names(struct analysis *an, const struct rel *r, const struct scope *s)
{
    for (int i = 0; i < r->nparts; i++)
        if (scope_find_name(an, s, r->parts[i]) < 0)
            return unresolved_name(an, s, r->parts[i], &r->origin);
    return ERR_OK;
}

/* Numbers fill numbers, strings strings, booleans booleans; other columns stay. */
static bool same_family(const struct type *column, const struct type *value)
{
    if (type_is_numeric(value))
        return type_is_numeric(column);
    return column->id == value->id;
}

static bool is_floating(const struct type *t)
{
    return t->id == TYPE_FLOAT || t->id == TYPE_DOUBLE;
}

static enum err call(struct analysis *an, const char *name, struct expr *x, struct expr *y, struct expr **out)
{
    struct expr *args[2] = {x, y};
    return expr_call(an->bind, str_of(name), args, y ? 2 : 1, false, out, an->f);
}

static enum err value_for(struct analysis *an, const struct node *n, const struct type *t, struct expr **out)
{
    struct scope nothing = {0};
    struct binding b = {.an = an, .scope = &nothing};
    enum err err = bind_node(&b, n, out);
    return err ? err : cast_to(an, out, t);
}

static enum err fill_column(struct analysis *an, const struct node *value, struct item *it)
{
    struct expr *v, *col = it->e;
    enum err err = value_for(an, value, col->type, &v);
    if (!err && is_floating(col->type)) /* NaN counts as missing */
        err = call(an, "nanvl", col, expr_null(an->bind, col->type), &col);
    if (!err)
        err = call(an, "coalesce", col, v, &it->e);
    it->attr = an->next_attr++;
    return err;
}

static enum err replace_column(struct analysis *an, const struct rel *r, struct item *it)
{
    struct expr **args = ARENA_ARRAY(an->a, (size_t)r->nexprs + 1, struct expr *), *col = it->e;
    int n = 0;
    enum err err = ERR_OK;
    for (int i = 0; !err && i + 1 < r->nexprs; i += 2) {
        struct expr *from;
        if (!same_family(col->type, r->exprs[i]->literal_null ? col->type : r->exprs[i]->literal.type))
            continue;
        err = value_for(an, r->exprs[i], r->exprs[i]->literal_null ? col->type : r->exprs[i]->literal.type, &from);
        if (!err)
            err = call(an, "=", col, from, &args[n]);
        if (!err)
            err = value_for(an, r->exprs[i + 1], col->type, &args[n + 1]);
        n += 2;
    }
    if (err || !n)
        return err;
    args[n++] = col;
    it->attr = an->next_attr++;
    return expr_case(an->bind, args, n, &it->e, an->f);
}

static enum err present(struct analysis *an, const struct scope *s, int col, struct expr **out)
{
    struct expr *c = column_of(an, s, col), *nan;
    enum err err = call(an, "isnotnull", c, NULL, out);
    if (err || !is_floating(c->type))
        return err;
    err = call(an, "isnan", c, NULL, &nan);
    if (!err)
        err = call(an, "not", nan, NULL, &nan);
    return err ? err : call(an, "and", *out, nan, out);
}

/* How many of the columns are there, as a sum of 0 and 1. */
static enum err count_present(struct analysis *an, const struct rel *r, const struct scope *s, struct expr **out,
                              int *n)
{
    enum err err = ERR_OK;
    int which;
    *n = 0;
    *out = expr_lit_i32(an->bind, 0);
    for (int i = 0; !err && i < s->n; i++) {
        struct expr *args[3];
        if (!chosen(an, r, s, i, &which))
            continue;
        ++*n;
        err = present(an, s, i, &args[0]);
        args[1] = expr_lit_i32(an->bind, 1);
        args[2] = expr_lit_i32(an->bind, 0);
        if (!err)
            err = expr_case(an->bind, args, 3, &args[0], an->f);
        if (!err)
            err = call(an, "+", *out, args[0], out);
    }
    return err;
}

static enum err drop_rows(struct analysis *an, const struct rel *r, const struct out *child, struct out *o)
{
    struct expr *count;
    int n;
    enum err err = count_present(an, r, &child->scope, &count, &n);
    if (err)
        return err;
    struct plan_node *f = plan_node(an, PLAN_FILTER, child->node);
    f->exprs = ARENA_NEW(an->a, struct expr *);
    f->nexprs = 1;
    err = call(an, ">=", count, expr_lit_i32(an->bind, r->limit < 0 ? n : (int32_t)r->limit), &f->exprs[0]);
    if (!err)
        out_set(an, o, f, child->scope);
    return err;
}

enum err resolve_na(struct analysis *an, const struct rel *r, struct out *o)
{
    struct out child;
    enum err err = resolve(an, r->children[0], &child);
    if (!err)
        err = check_names(an, r, &child.scope);
    if (err)
        return err;
    if (r->kind == REL_DROP_NA)
        return drop_rows(an, r, &child, o);
    struct item *items = ARENA_ARRAY(an->a, (size_t)child.scope.n + 1, struct item);
    for (int i = 0; !err && i < child.scope.n; i++) {
        int which;
        items[i] = item_of_column(an, &child.scope, i);
        if (!chosen(an, r, &child.scope, i, &which))
            continue;
        const struct node *value = r->nexprs ? r->exprs[which < r->nexprs && r->kind == REL_FILL_NA ? which : 0] : NULL;
        if (r->kind == REL_REPLACE_NA)
            err = replace_column(an, r, &items[i]);
        else if (value && !value->literal_null && same_family(items[i].e->type, value->literal.type))
            err = fill_column(an, value, &items[i]);
    }
    return err ? err : project_items(an, &child, items, child.scope.n, o);
}
