/* UNION, INTERSECT, EXCEPT, and inline tables: relations whose columns meet in a common type. */
#include "plan_int.h"

static struct plan_node *project_onto(struct analysis *an, struct plan_node *child, struct expr **exprs, int n,
                                      const struct type *schema)
{
    struct plan_node *p = plan_node(an, PLAN_PROJECT, child);
    p->exprs = exprs;
    p->nexprs = n;
    p->schema = schema;
    return p;
}

static enum err count_fault(struct analysis *an, const struct rel *r, int left, int right)
{
    static const char *const NAMES[] = {
        [SETOP_UNION] = "UNION", [SETOP_INTERSECT] = "INTERSECT", [SETOP_EXCEPT] = "EXCEPT"};
    struct str op = arena_fmt(an->a, "%s%s", NAMES[r->setop], r->setop != SETOP_UNION && r->all ? " ALL" : "");
    enum err err =
        FAULT(an->f, ERR_NUM_COLUMNS_MISMATCH, {"operator", op.p}, {"firstNumColumns", arena_fmt(an->a, "%d", left).p},
              {"invalidOrdinalNum", "second"}, {"invalidNumColumns", arena_fmt(an->a, "%d", right).p});
    fault_context(an->f, &r->origin);
    return err;
}

static enum err type_fault(struct analysis *an, const struct rel *r, int col, const struct type *left,
                           const struct type *right)
{
    static const char *const NAMES[] = {
        [SETOP_UNION] = "UNION", [SETOP_INTERSECT] = "INTERSECT", [SETOP_EXCEPT] = "EXCEPT"};
    static const char *const ORDER[] = {"first", "second",  "third",  "fourth", "fifth",
                                        "sixth", "seventh", "eighth", "ninth",  "tenth"};
    struct str nth = col < 10 ? str_of(ORDER[col]) : arena_fmt(an->a, "%dth", col + 1);
    enum err err = FAULT(an->f, ERR_INCOMPATIBLE_COLUMN_TYPE, {"operator", NAMES[r->setop]},
                         {"columnOrdinalNumber", nth.p}, {"tableOrdinalNumber", "second"},
                         {"dataType1", arena_fmt(an->a, "\"%.*s\"", STR_ARG(type_sql(an->a, right))).p},
                         {"dataType2", arena_fmt(an->a, "\"%.*s\"", STR_ARG(type_sql(an->a, left))).p}, {"hint", ""});
    fault_context(an->f, &r->origin);
    return err;
}

/* unionByName: the right side's columns in the left's order; what one side lacks is null when that is allowed. */
static enum err align(struct analysis *an, const struct scope *want, const struct out *from, bool allow_missing,
                      struct out *o)
{
    struct item *items = ARENA_ARRAY(an->a, (size_t)(want->n + from->scope.n) + 1, struct item);
    int n = 0;
    for (int i = 0; i < want->n; i++) {
        int at = scope_find_name(an, &from->scope, want->cols[i].name);
        if (at < 0 && !allow_missing) {
            struct buf b = {0};
            for (int k = 0; k < from->scope.n; k++)
                buf_fmt(&b, "%s%.*s", k ? ", " : "", STR_ARG(from->scope.cols[k].name));
            struct str names = arena_str(an->a, buf_view(&b));
            buf_free(&b);
            return FAULT(an->f, ERR_COLUMN_AMONG, {"colName", quote_name(an->a, want->cols[i].name).p},
                         {"fieldNames", names.p});
        }
        if (at >= 0)
            items[n] = item_of_column(an, &from->scope, at);
        else
            items[n] = (struct item){
                .e = expr_null(an->bind, want->cols[i].type), .name = want->cols[i].name, .attr = an->next_attr++};
        n++;
    }
    for (int i = 0; allow_missing && i < from->scope.n; i++)
        if (scope_find_name(an, want, from->scope.cols[i].name) < 0)
            items[n++] = item_of_column(an, &from->scope, i);
    return project_items(an, from, items, n, o);
}

/* Both sides projected to the common types. */
static enum err coerce_sides(struct analysis *an, const struct rel *r, struct out side[2], struct scope *s)
{
    int n = side[0].scope.n;
    struct expr **e[2];
    bool cast[2] = {false, false};
    *s = scope_copy(an, &side[0].scope, 0);
    for (int k = 0; k < 2; k++)
        e[k] = ARENA_ARRAY(an->a, (size_t)n + 1, struct expr *);
    for (int i = 0; i < n; i++) {
        const struct type *common;
        const struct type *left = side[0].scope.cols[i].type, *right = side[1].scope.cols[i].type;
        if (type_eq(left, right))
            common = left;
        else if (!type_widen(an->a, left, right, &common))
            return type_fault(an, r, i, left, right);
        an->bind->origin = r->origin;
        for (int k = 0; k < 2; k++) {
            e[k][i] = column_of(an, &side[k].scope, i);
            cast[k] |= !type_eq(e[k][i]->type, common);
            enum err err = cast_to(an, &e[k][i], common);
            if (err)
                return err;
        }
        s->cols[i].type = common;
        s->cols[i].nullable = r->setop == SETOP_UNION    ? e[0][i]->nullable || e[1][i]->nullable
                              : r->setop == SETOP_EXCEPT ? e[0][i]->nullable
                                                         : e[0][i]->nullable && e[1][i]->nullable;
        s->cols[i].watermark = side[0].scope.cols[i].watermark && side[1].scope.cols[i].watermark;
        s->cols[i].qualifier = STR("");
    }
    for (int k = 0; k < 2; k++)
        if (cast[k])
            side[k].node = project_onto(an, side[k].node, e[k], n, scope_type(an, s));
    return ERR_OK;
}

static struct plan_node *union_of(struct analysis *an, struct plan_node *left, struct plan_node *right,
                                  const struct type *schema)
{
    struct plan_node *u = plan_node(an, PLAN_UNION, left);
    u->children = ARENA_ARRAY(an->a, 2, struct plan_node *);
    u->children[0] = left;
    u->children[1] = right;
    u->nchildren = 2;
    u->schema = schema;
    u->is_streaming = left->is_streaming || right->is_streaming;
    return u;
}

static struct plan_node *group_all(struct analysis *an, struct plan_node *child, const struct scope *s)
{
    struct plan_node *g = plan_node(an, child->is_streaming ? PLAN_DEDUP : PLAN_AGGREGATE, child);
    g->group = ARENA_ARRAY(an->a, (size_t)s->n + 1, struct expr *);
    for (int i = 0; i < s->n; i++)
        g->group[i] = column_of(an, s, i);
    g->ngroup = s->n;
    return g;
}

/* One side with two flags behind its columns: (…, 1, 0) for the left, (…, 0, 1) for the right. */
static struct plan_node *flagged(struct analysis *an, struct plan_node *side, const struct scope *s, int which,
                                 const struct type *schema)
{
    struct expr **e = ARENA_ARRAY(an->a, (size_t)s->n + 2, struct expr *);
    for (int i = 0; i < s->n; i++)
        e[i] = column_of(an, s, i);
    e[s->n] = expr_lit_i32(an->bind, which == 0);
    e[s->n + 1] = expr_lit_i32(an->bind, which == 1);
    return project_onto(an, side, e, s->n + 2, schema);
}

static enum err max_of(struct analysis *an, const struct scope *s, int ordinal, struct expr **out)
{
    struct expr *c = column_of(an, s, ordinal);
    return expr_call(an->bind, STR("max"), &c, 1, false, out, an->f);
}

static enum err equals(struct analysis *an, const struct scope *s, int ordinal, int value, struct expr **out)
{
    struct expr *args[2] = {column_of(an, s, ordinal), expr_lit_i32(an->bind, value)};
    return expr_call(an->bind, STR("="), args, 2, false, out, an->f);
}

/*
 * INTERSECT and EXCEPT, without a join: both sides in one union with a flag for where a row came from, grouped by all
 * columns; the largest flags of a group say which sides know it.
 */
static enum err intersect(struct analysis *an, const struct rel *r, struct out side[2], const struct scope *s,
                          struct out *o)
{
    struct scope f = scope_copy(an, s, 2);
    for (int k = 0; k < 2; k++)
        f.cols[f.n++] = (struct scope_col){
            .name = k ? STR("right") : STR("left"), .type = type_simple(TYPE_INT), .attr = an->next_attr++};
    const struct type *schema = scope_type(an, &f);
    struct plan_node *u =
        union_of(an, flagged(an, side[0].node, s, 0, schema), flagged(an, side[1].node, s, 1, schema), schema);
    struct plan_node *g = group_all(an, u, s);
    g->aggs = ARENA_ARRAY(an->a, 2, struct expr *);
    g->naggs = 2;
    struct plan_node *filter = plan_node(an, PLAN_FILTER, g);
    filter->exprs = ARENA_NEW(an->a, struct expr *);
    filter->nexprs = 1;
    struct expr *args[2];
    enum err err = max_of(an, &f, s->n, &g->aggs[0]);
    if (!err)
        err = max_of(an, &f, s->n + 1, &g->aggs[1]);
    if (!err)
        err = equals(an, &f, s->n, 1, &args[0]);
    if (!err)
        err = equals(an, &f, s->n + 1, r->setop == SETOP_INTERSECT, &args[1]);
    if (!err)
        err = expr_call(an->bind, STR("and"), args, 2, false, &filter->exprs[0], an->f);
    if (err)
        return err;
    struct expr **e = ARENA_ARRAY(an->a, (size_t)s->n + 1, struct expr *);
    for (int i = 0; i < s->n; i++)
        e[i] = column_of(an, s, i);
    out_set(an, o, project_onto(an, filter, e, s->n, scope_type(an, s)), *s);
    return ERR_OK;
}

enum err resolve_setop(struct analysis *an, const struct rel *r, struct out *o)
{
    struct out side[2];
    struct scope s;
    for (int k = 0; k < 2; k++) {
        enum err err = resolve(an, r->children[k], &side[k]);
        if (err)
            return err;
    }
    enum err err = ERR_OK;
    if (r->by_name) {
        struct out right, left = side[0];
        err = align(an, &side[0].scope, &side[1], r->allow_missing, &right);
        if (!err && r->allow_missing && right.scope.n > left.scope.n)
            err = align(an, &right.scope, &side[0], true, &left);
        side[0] = left;
        side[1] = right;
    }
    if (!err && side[0].scope.n != side[1].scope.n)
        err = count_fault(an, r, side[0].scope.n, side[1].scope.n);
    if (!err)
        err = coerce_sides(an, r, side, &s);
    if (err)
        return err;
    if (r->setop != SETOP_UNION) {
        if (r->all || side[0].node->is_streaming || side[1].node->is_streaming)
            return FAULT(an->f, ERR_UNSUPPORTED,
                         {"feature", r->all ? "INTERSECT ALL and EXCEPT ALL" : "INTERSECT and EXCEPT of streams"},
                         {"hint", ""});
        return intersect(an, r, side, &s, o);
    }
    struct plan_node *u = union_of(an, side[0].node, side[1].node, scope_type(an, &s));
    out_set(an, o, r->all ? u : group_all(an, u, &s), s);
    return ERR_OK;
}

/* -- VALUES -------------------------------------------------------------------------------------------------------------- */
static enum err values_type(struct analysis *an, const struct rel *r, struct expr **e, int col, const struct type **out,
                            bool *nullable)
{
    int rows = r->nexprs / r->width;
    *out = e[col]->type;
    *nullable = false;
    for (int i = 0; i < rows; i++) {
        const struct expr *x = e[i * r->width + col];
        *nullable |= x->nullable;
        if (type_eq(*out, x->type))
            continue;
        /* Strings meet only strings in an inline table. */
        bool mixed = ((*out)->id == TYPE_STRING) != (x->type->id == TYPE_STRING) && (*out)->id != TYPE_NULL &&
                     x->type->id != TYPE_NULL;
        if (mixed || !type_widen(an->a, *out, x->type, out)) {
            enum err err = FAULT(an->f, ERR_INLINE_TABLE_TYPES, {"colName", arena_fmt(an->a, "`col%d`", col + 1).p});
            fault_context(an->f, &r->origin);
            return err;
        }
    }
    return ERR_OK;
}

static struct batch_cols *values_batch(struct analysis *an, const struct rel *r, struct expr **e,
                                       const struct type *schema)
{
    int rows = r->nexprs / r->width;
    struct batch_cols *b = ARENA_NEW(an->a, struct batch_cols);
    b->schema = schema;
    b->n = (uint32_t)rows;
    b->cols = ARENA_ARRAY(an->a, (size_t)r->width, struct column);
    const struct column **parts = ARENA_ARRAY(an->a, (size_t)rows, const struct column *);
    for (int c = 0; c < r->width; c++) {
        for (int i = 0; i < rows; i++) {
            struct column *flat = ARENA_NEW(an->a, struct column);
            column_flatten(flat, &e[i * r->width + c]->literal, an->a);
            parts[i] = flat;
        }
        column_concat(&b->cols[c], parts, (size_t)rows, an->a);
    }
    return b;
}

static enum err values_exprs(struct analysis *an, const struct rel *r, struct expr **e, const struct type **schema,
                             bool *constant)
{
    struct scope nothing = {0};
    struct binding b = {.an = an, .scope = &nothing};
    struct field *f = ARENA_ARRAY(an->a, (size_t)r->width + 1, struct field);
    enum err err = ERR_OK;
    for (int i = 0; !err && i < r->nexprs; i++)
        err = bind_node(&b, r->exprs[i], &e[i]);
    for (int c = 0; !err && c < r->width; c++) {
        f[c].name = arena_fmt(an->a, "col%d", c + 1);
        err = values_type(an, r, e, c, &f[c].type, &f[c].nullable);
    }
    *constant = true;
    for (int i = 0; !err && i < r->nexprs; i++) {
        err = cast_to(an, &e[i], f[i % r->width].type);
        if (!err)
            err = expr_fold(an->bind, &e[i], an->f);
        *constant = *constant && !err && e[i]->kind == EXPR_LITERAL;
    }
    *schema = type_struct(an->a, f, r->width);
    return err;
}

enum err resolve_values(struct analysis *an, const struct rel *r, struct out *o)
{
    struct expr **e = ARENA_ARRAY(an->a, (size_t)r->nexprs + 1, struct expr *);
    const struct type *schema;
    bool constant;
    enum err err = values_exprs(an, r, e, &schema, &constant);
    if (err)
        return err;
    struct plan_node *n;
    if (constant) {
        n = plan_node(an, PLAN_LOCAL, NULL);
        n->batches = values_batch(an, r, e, schema);
        n->nbatches = 1;
        n->schema = schema;
    } else { /* current_timestamp() and its like: known when it runs */
        n = plan_node(an, PLAN_UNION, NULL);
        n->nchildren = r->nexprs / r->width;
        n->children = ARENA_ARRAY(an->a, (size_t)n->nchildren, struct plan_node *);
        for (int i = 0; i < n->nchildren; i++) {
            struct plan_node *row = plan_node(an, PLAN_ONE_ROW, NULL);
            row->schema = type_struct(an->a, NULL, 0);
            n->children[i] = project_onto(an, row, e + i * r->width, r->width, schema);
        }
        n->schema = schema;
    }
    out_set(an, o, n, scope_of_type(an, schema, STR("")));
    return ERR_OK;
}
