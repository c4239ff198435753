/* Relations that reshape columns: withColumn, withColumnRenamed, drop, toDF, alias, distinct, to(schema). */
#include "plan_int.h"

static struct item *items_of(struct analysis *an, const struct scope *s, int room)
{
    struct item *items = ARENA_ARRAY(an->a, (size_t)(s->n + room) + 1, struct item);
    for (int i = 0; i < s->n; i++)
        items[i] = item_of_column(an, s, i);
    return items;
}

/* Every expression is bound over the child as it was; a generator's columns come from below. */
enum err resolve_with_columns(struct analysis *an, const struct rel *r, struct out *o)
{
    struct out child;
    enum err err = resolve(an, r->children[0], &child);
    if (err)
        return err;
    struct scope s = child.scope;
    struct item *items = items_of(an, &s, r->nexprs);
    int n = s.n, first;
    for (int i = 0; i < r->nexprs; i++) {
        const struct node *e = r->exprs[i];
        struct binding b = {.an = an, .scope = &s};
        struct item it;
        struct str name;
        if (node_is_generator(e, &name)) {
            if (!(err = generate(an, &child, e, &first)))
                it = item_of_column(an, &child.scope, first);
            if (!err)
                it.name = e->kind == NODE_ALIAS ? e->parts[0] : it.name;
        } else {
            err = bind_item(&b, e, &it);
        }
        if (err)
            return err;
        if (expr_has_aggregate(it.e)) {
            err = fault_set(an->f, ERR_MISSING_GROUP_BY, 0, NULL);
            fault_context(an->f, &r->origin);
            return err;
        }
        bool replaced = false;
        for (int k = 0; k < n; k++)
            if (str_eq_nocase(items[k].name, it.name)) {
                items[k] = it;
                replaced = true;
            }
        if (!replaced)
            items[n++] = it;
    }
    err = windows_of_items(an, &child, items, n);
    return err ? err : project_items(an, &child, items, n, o);
}

enum err resolve_rename(struct analysis *an, const struct rel *r, struct out *o)
{
    struct out child;
    enum err err = resolve(an, r->children[0], &child);
    if (err)
        return err;
    struct item *items = items_of(an, &child.scope, 0);
    for (int i = 0; i < r->nexprs; i++) {
        const struct node *e = r->exprs[i];
        struct str from = e->args[0]->parts[e->args[0]->nparts - 1];
        for (int k = 0; k < child.scope.n; k++)
            if (str_eq_nocase(items[k].name, from)) {
                items[k].name = e->parts[0];
                items[k].qualifier = STR("");
                items[k].attr = an->next_attr++;
            }
    }
    return project_items(an, &child, items, child.scope.n, o);
}

static bool dropped_by(struct analysis *an, const struct rel *r, const struct scope *s, int col)
{
    for (int i = 0; i < r->nparts; i++)
        if (str_eq_nocase(r->parts[i], s->cols[col].name))
            return true;
    for (int i = 0; i < r->nexprs; i++) {
        struct binding b = {.an = an, .scope = s};
        struct expr *e;
        if (bind_node(&b, r->exprs[i], &e) == ERR_OK && e->kind == EXPR_COLUMN && e->ordinal == col)
            return true; /* a column that is not there cannot be dropped: no error, as in Spark */
    }
    return false;
}

enum err resolve_drop(struct analysis *an, const struct rel *r, struct out *o)
{
    struct out child;
    enum err err = resolve(an, r->children[0], &child);
    if (err)
        return err;
    struct item *items = items_of(an, &child.scope, 0);
    int n = 0;
    for (int i = 0; i < child.scope.n; i++)
        if (!dropped_by(an, r, &child.scope, i))
            items[n++] = items[i];
    return project_items(an, &child, items, n, o);
}

static struct str names_of(struct analysis *an, const struct scope *s)
{
    struct buf b = {0};
    for (int i = 0; i < s->n && i < 100; i++)
        buf_fmt(&b, "%s%.*s", i ? ", " : "", STR_ARG(s->cols[i].name));
    struct str text = arena_str(an->a, buf_view(&b));
    buf_free(&b);
    return text;
}

enum err resolve_to_df(struct analysis *an, const struct rel *r, struct out *o)
{
    struct out child;
    enum err err = resolve(an, r->children[0], &child);
    if (err)
        return err;
    if (r->nparts != child.scope.n)
        return FAULT(an->f, ERR_ALIAS_ARITY, {"numExpr", arena_fmt(an->a, "%d", r->nparts).p},
                     {"numTarget", arena_fmt(an->a, "%d", child.scope.n).p});
    struct item *items = items_of(an, &child.scope, 0);
    for (int i = 0; i < r->nparts; i++) {
        items[i].name = r->parts[i];
        items[i].qualifier = STR("");
        items[i].attr = an->next_attr++;
    }
    return project_items(an, &child, items, r->nparts, o);
}

/* t, or t(a, b) */
enum err resolve_alias(struct analysis *an, const struct rel *r, struct out *o)
{
    struct out child;
    enum err err = resolve(an, r->children[0], &child);
    if (err)
        return err;
    struct scope s = scope_copy(an, &child.scope, 0);
    for (int i = 0; i < s.n; i++)
        s.cols[i].qualifier = r->parts[0];
    if (r->nparts == 1) {
        out_set(an, o, child.node, s);
        return ERR_OK;
    }
    if (r->nparts - 1 != s.n) {
        err = FAULT(an->f, ERR_ALIAS_ARITY, {"numExpr", arena_fmt(an->a, "%d", r->nparts - 1).p},
                    {"numTarget", arena_fmt(an->a, "%d", s.n).p});
        fault_context(an->f, &r->origin);
        return err;
    }
    struct item *items = items_of(an, &s, 0);
    for (int i = 0; i < s.n; i++) {
        items[i].name = r->parts[i + 1];
        items[i].attr = an->next_attr++;
    }
    return project_items(an, &child, items, s.n, o);
}

static enum err map_key(struct analysis *an, const struct scope_col *c)
{
    if (c->type->id != TYPE_MAP)
        return ERR_OK;
    return FAULT(an->f, ERR_MAP_SET_OPERATION, {"colName", quote_name(an->a, c->name).p},
                 {"dataType", arena_fmt(an->a, "\"%.*s\"", STR_ARG(type_sql(an->a, c->type))).p});
}

static enum err distinct_keys(struct analysis *an, const struct rel *r, const struct scope *s, struct plan_node *n)
{
    int count = r->all_columns || !r->nparts ? s->n : r->nparts;
    n->group = ARENA_ARRAY(an->a, (size_t)count + 1, struct expr *);
    for (int i = 0; i < count; i++) {
        int at = count == s->n && (r->all_columns || !r->nparts) ? i : scope_find_name(an, s, r->parts[i]);
        if (at < 0)
            return FAULT(an->f, ERR_COLUMN_AMONG, {"colName", arena_fmt(an->a, "`%.*s`", STR_ARG(r->parts[i])).p},
                         {"fieldNames", names_of(an, s).p});
        enum err err = map_key(an, &s->cols[at]);
        if (err)
            return err;
        n->group[n->ngroup++] = column_of(an, s, at);
        if (s->cols[at].watermark && n->watermark_column < 0) {
            n->watermark_column = n->ngroup - 1;
            n->watermark_is_window = s->cols[at].type->id == TYPE_STRUCT;
        }
    }
    return ERR_OK;
}

/* DISTINCT is a grouping by every column; dropDuplicates(some) keeps the first row of each key; a stream keeps keys in its state. */
enum err resolve_distinct(struct analysis *an, const struct rel *r, struct out *o)
{
    struct out child;
    enum err err = resolve(an, r->children[0], &child);
    if (err)
        return err;
    if (r->within_watermark)
        return FAULT(an->f, ERR_UNSUPPORTED, {"feature", "dropDuplicatesWithinWatermark"},
                     {"hint", "Use dropDuplicates with the event time among the columns."});
    bool all = r->all_columns || !r->nparts;
    struct plan_node *n = plan_node(an, all && !child.node->is_streaming ? PLAN_AGGREGATE : PLAN_DEDUP, child.node);
    err = distinct_keys(an, r, &child.scope, n);
    if (err)
        return err;
    out_set(an, o, n, child.scope);
    return ERR_OK;
}

/* df.to(schema): columns by name, in the schema's order, cast to its types. */
enum err resolve_to_schema(struct analysis *an, const struct rel *r, struct out *o)
{
    struct out child;
    enum err err = resolve(an, r->children[0], &child);
    if (err)
        return err;
    struct item *items = ARENA_ARRAY(an->a, (size_t)r->schema->nfields + 1, struct item);
    for (int i = 0; i < r->schema->nfields; i++) {
        const struct field *f = &r->schema->fields[i];
        int at = scope_find_name(an, &child.scope, f->name);
        if (at < 0 && !f->nullable)
            return unresolved_name(an, &child.scope, f->name, &r->origin);
        if (at >= 0)
            items[i] = item_of_column(an, &child.scope, at);
        else
            items[i].e = expr_null(an->bind, f->type);
        items[i].name = f->name;
        items[i].metadata = f->metadata;
        if (at < 0 || !type_eq(items[i].e->type, f->type))
            items[i].attr = an->next_attr++;
        if ((err = cast_to(an, &items[i].e, f->type)))
            return err;
    }
    return project_items(an, &child, items, r->schema->nfields, o);
}
