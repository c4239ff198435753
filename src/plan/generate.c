/* Generators in the select list: explode and its like become a node below the projection. */
#include "plan_int.h"

static const struct {
    const char *name;
    bool outer, position;
} GENERATORS[] = {{"explode", false, false},
                  {"explode_outer", true, false},
                  {"posexplode", false, true},
                  {"posexplode_outer", true, true}};

static int generator_of(const struct node *n)
{
    if (n->kind == NODE_ALIAS)
        n = n->args[0];
    for (size_t i = 0; n->kind == NODE_CALL && i < sizeof GENERATORS / sizeof *GENERATORS; i++)
        if (str_eq_nocase(n->name, str_of(GENERATORS[i].name)))
            return (int)i;
    return -1;
}

bool node_is_generator(const struct node *n, struct str *name)
{
    int g = generator_of(n);
    if (g >= 0)
        *name = str_of(GENERATORS[g].name);
    return g >= 0;
}

static enum err bind_collection(struct analysis *an, const struct out *child, const struct node *call,
                                struct expr **out)
{
    struct binding b = {.an = an, .scope = &child->scope};
    if (call->nargs != 1)
        return FAULT(an->f, ERR_WRONG_NUM_ARGS_TVF, {"functionName", quote_name(an->a, call->name).p},
                     {"expectedNum", "1"}, {"actualNum", arena_fmt(an->a, "%d", call->nargs).p},
                     {"docroot", "https://spark.apache.org/docs/latest"});
    enum err err = bind_node(&b, call->args[0], out);
    if (err || (*out)->type->id == TYPE_ARRAY || (*out)->type->id == TYPE_MAP)
        return err;
    err = FAULT(an->f, ERR_GENERATOR_INPUT,
                {"sqlExpr", arena_fmt(an->a, "\"%.*s(%.*s)\"", STR_ARG(call->name), STR_ARG((*out)->sql)).p},
                {"paramIndex", "first"}, {"inputSql", quote_sql(an->a, *out)},
                {"inputType", arena_fmt(an->a, "\"%.*s\"", STR_ARG(type_sql(an->a, (*out)->type))).p},
                {"requiredType", "(\"ARRAY\" or \"MAP\")"});
    fault_context(an->f, &call->origin);
    return err;
}

/* The child's columns, then [pos,] and col, or key and value. */
static struct scope generated(struct analysis *an, const struct out *child, const struct expr *list, int g)
{
    struct scope s = scope_copy(an, &child->scope, 3);
    bool outer = GENERATORS[g].outer;
    if (GENERATORS[g].position)
        s.cols[s.n++] = (struct scope_col){
            .name = STR("pos"), .type = type_simple(TYPE_INT), .nullable = outer, .attr = an->next_attr++};
    for (int i = 0; i < list->type->nfields; i++) {
        const struct field *f = &list->type->fields[i];
        struct str name = list->type->id == TYPE_ARRAY ? STR("col") : i ? STR("value") : STR("key");
        s.cols[s.n++] = (struct scope_col){
            .name = name, .type = f->type, .nullable = outer || f->nullable, .attr = an->next_attr++};
    }
    return s;
}

static enum err generator_items(struct analysis *an, const struct scope *s, int from, const struct node *n,
                                struct item **items, int *count, int *cap)
{
    int width = s->n - from;
    if (n->kind == NODE_ALIAS && n->nparts != width)
        return FAULT(an->f, ERR_GENERATOR_ALIASES, {"aliasesNum", arena_fmt(an->a, "%d", n->nparts).p},
                     {"outColsNum", arena_fmt(an->a, "%d", width).p});
    for (int i = 0; i < width; i++) {
        const struct scope_col *c = &s->cols[from + i];
        items_add(an, items, count, cap,
                  (struct item){.e = column_of(an, s, from + i),
                                .name = n->kind == NODE_ALIAS ? n->parts[i] : c->name,
                                .attr = c->attr});
    }
    return ERR_OK;
}

enum err generate(struct analysis *an, struct out *child, const struct node *n, int *first)
{
    int g = generator_of(n);
    struct expr *list;
    enum err err = bind_collection(an, child, n->kind == NODE_ALIAS ? n->args[0] : n, &list);
    if (err)
        return err;
    struct plan_node *x = plan_node(an, PLAN_EXPLODE, child->node);
    x->exprs = ARENA_NEW(an->a, struct expr *);
    x->exprs[0] = list;
    x->nexprs = 1;
    x->outer = GENERATORS[g].outer;
    x->with_position = GENERATORS[g].position;
    x->schema = NULL;
    *first = child->scope.n;
    struct scope s = generated(an, child, list, g);
    out_set(an, child, x, s);
    return ERR_OK;
}

enum err resolve_generator(struct analysis *an, const struct rel *r, const struct out *child, int at, struct out *o)
{
    int count = 0, cap = 0, first;
    struct out exploded = *child;
    struct item *items = NULL;
    enum err err = generate(an, &exploded, r->exprs[at], &first);
    for (int i = 0; !err && i < r->nexprs; i++) {
        struct binding b = {.an = an, .scope = &child->scope, .aliases = items, .naliases = count};
        struct item it;
        if (i == at)
            err = generator_items(an, &exploded.scope, first, r->exprs[i], &items, &count, &cap);
        else if (generator_of(r->exprs[i]) >= 0)
            err = FAULT(an->f, ERR_GENERATOR_MULTI, {"num", "2"}, {"generators", "generators"});
        else if (r->exprs[i]->kind == NODE_STAR)
            err = expand_star(an, &child->scope, r->exprs[i], &items, &count, &cap);
        else if (!(err = bind_item(&b, r->exprs[i], &it)))
            items_add(an, &items, &count, &cap, it);
    }
    return err ? err : project_items(an, &exploded, items, count, o);
}
