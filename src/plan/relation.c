/* Relations: what each kind of struct rel becomes. The larger kinds have their own files. */
#include "plan_int.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>

/* -- tables ------------------------------------------------------------------------------------------------------------ */
static void qualify(struct analysis *an, struct out *o, struct str name)
{
    struct scope s = scope_copy(an, &o->scope, 0);
    for (int i = 0; i < s.n; i++)
        s.cols[i].qualifier = name;
    out_set(an, o, o->node, s);
}

static enum err resolve_view(struct analysis *an, const struct rel *view, struct out *o)
{
    const struct cte *ctes = an->ctes;
    const struct rel *params = an->params;
    an->ctes = NULL; /* a view sees only views */
    an->params = NULL;
    enum err err = resolve(an, rel_copy(an->a, view), o);
    an->ctes = ctes;
    an->params = params;
    return err;
}

static enum err resolve_table(struct analysis *an, const struct rel *r, struct out *o)
{
    struct str name = r->parts[r->nparts - 1];
    for (const struct cte *c = r->nparts == 1 ? an->ctes : NULL; c; c = c->next)
        if (str_eq_nocase(c->name, name)) {
            const struct cte *ctes = an->ctes;
            an->ctes = c->next; /* its body sees what came before it */
            enum err err = resolve(an, c->body, o);
            an->ctes = ctes;
            if (!err)
                qualify(an, o, c->name);
            return err;
        }
    const struct rel *view = an->env->view ? an->env->view(an->env->arg, r->parts, r->nparts) : NULL;
    if (view) {
        enum err err = resolve_view(an, view, o);
        if (!err)
            qualify(an, o, name);
        return err;
    }
    struct str parts = quote_parts(an->a, r->parts, r->nparts);
    if (r->nparts > 2)
        return FAULT(an->f, ERR_SINGLE_PART_NAMESPACE, {"sessionCatalog", "spark_catalog"}, {"identifier", parts.p});
    enum err err = FAULT(an->f, ERR_TABLE_NOT_FOUND, {"relationName", parts.p},
                         {"searchPath", "[`system`.`builtin`, `system`.`session`, `spark_catalog`.`default`]"});
    fault_context(an->f, &r->origin);
    return err;
}

static enum err resolve_with(struct analysis *an, const struct rel *r, struct out *o)
{
    const struct cte *before = an->ctes;
    for (int i = 0; i < r->nparts; i++) {
        for (int k = 0; k < i; k++)
            if (str_eq_nocase(r->parts[k], r->parts[i]))
                return FAULT(an->f, ERR_DUPLICATED_CTE, {"duplicateNames", quote_name(an->a, r->parts[i]).p});
        struct cte *c = ARENA_NEW(an->a, struct cte);
        *c = (struct cte){r->parts[i], r->children[i + 1], an->ctes};
        an->ctes = c;
    }
    enum err err = resolve(an, r->children[0], o);
    an->ctes = before;
    return err;
}

static enum err resolve_params(struct analysis *an, const struct rel *r, struct out *o)
{
    const struct rel *before = an->params;
    an->params = r;
    enum err err = resolve(an, r->children[0], o);
    an->params = before;
    return err;
}

/* -- leaves -------------------------------------------------------------------------------------------------------------- */
static enum err leaf(struct analysis *an, struct plan_node *n, const struct type *schema, struct out *o)
{
    n->schema = schema;
    out_set(an, o, n, scope_of_type(an, schema, STR("")));
    return ERR_OK;
}

static enum err resolve_one_row(struct analysis *an, const struct rel *r, struct out *o)
{
    (void)r;
    return leaf(an, plan_node(an, PLAN_ONE_ROW, NULL), type_struct(an->a, NULL, 0), o);
}

static enum err resolve_range(struct analysis *an, const struct rel *r, struct out *o)
{
    struct field id = {.name = STR("id"), .type = type_simple(TYPE_LONG)};
    struct plan_node *n = plan_node(an, PLAN_RANGE, NULL);
    n->start = r->start;
    n->end = r->end;
    n->step = r->step;
    if (!r->step)
        return FAULT(an->f, ERR_UNSUPPORTED, {"feature", "range() with step 0"}, {"hint", ""});
    return leaf(an, n, type_struct(an->a, &id, 1), o);
}

static enum err resolve_local(struct analysis *an, const struct rel *r, struct out *o)
{
    struct plan_node *n = plan_node(an, PLAN_LOCAL, NULL);
    n->batches = r->batches;
    n->nbatches = r->nbatches;
    const struct type *schema = r->schema     ? r->schema
                                : r->nbatches ? r->batches[0].schema
                                              : type_struct(an->a, NULL, 0);
    return leaf(an, n, schema, o);
}

static enum err resolve_source(struct analysis *an, const struct rel *r, struct out *o)
{
    struct plan_node *n = plan_node(an, PLAN_SCAN, NULL);
    const struct type *schema = NULL;
    enum err err = an->env->source_schema(an->env->arg, r->format, r->options, r->noptions, r->schema, r->is_streaming,
                                          an->a, &schema, an->f);
    if (err)
        return err;
    n->format = r->format;
    n->options = r->options;
    n->noptions = r->noptions;
    n->source_schema = schema;
    n->is_streaming = r->is_streaming;
    n->scan_id = an->nscans++;
    n->wanted = ARENA_ARRAY(an->a, (size_t)schema->nfields + 1, int);
    for (int i = 0; i < schema->nfields; i++)
        n->wanted[i] = i;
    return leaf(an, n, schema, o);
}

/* -- one child ----------------------------------------------------------------------------------------------------------- */
static enum err resolve_through(struct analysis *an, const struct rel *r, struct out *o)
{
    return resolve(an, r->children[0], o);
}

static enum err resolve_limit(struct analysis *an, const struct rel *r, struct out *o)
{
    struct out child;
    int64_t count = r->limit;
    enum err err = resolve(an, r->children[0], &child);
    if (!err && r->nexprs)
        err = fold_i64(an, r->exprs[0], r->kind == REL_OFFSET ? "offset" : "limit", &count);
    if (err)
        return err;
    if (count < 0) /* df.limit(-1) */
        return FAULT(an->f, ERR_LIMIT_NEGATIVE, {"name", r->kind == REL_OFFSET ? "offset" : "limit"},
                     {"expr", arena_fmt(an->a, "\"%lld\"", (long long)count).p},
                     {"v", arena_fmt(an->a, "%lld", (long long)count).p});
    struct plan_node *n = plan_node(an, PLAN_LIMIT, child.node);
    if (r->kind == REL_OFFSET)
        n->offset = count;
    else
        n->limit = count;
    n->tail = r->kind == REL_TAIL;
    if (r->kind == REL_LIMIT && child.node->kind == PLAN_LIMIT && child.node->limit < 0 && !child.node->tail) {
        n->offset = child.node->offset; /* LIMIT over OFFSET is one node */
        n->children[0] = child.node->children[0];
    }
    out_set(an, o, n, child.scope);
    return ERR_OK;
}

static enum err resolve_sample(struct analysis *an, const struct rel *r, struct out *o)
{
    struct out child;
    enum err err = resolve(an, r->children[0], &child);
    if (err)
        return err;
    if (r->all)
        return FAULT(an->f, ERR_UNSUPPORTED, {"feature", "sample() with replacement"}, {"hint", ""});
    struct plan_node *n = plan_node(an, PLAN_SAMPLE, child.node);
    double low = r->nexprs > 0 ? r->exprs[0]->literal.data.f64[0] : 0,
           high = r->nexprs > 1 ? r->exprs[1]->literal.data.f64[0] : 1;
    n->fraction_from = low;
    n->fraction = high - low;
    n->seed = r->start;
    out_set(an, o, n, child.scope);
    return ERR_OK;
}

static enum err resolve_show(struct analysis *an, const struct rel *r, struct out *o)
{
    struct out child;
    enum err err = resolve(an, r->children[0], &child);
    if (err)
        return err;
    int64_t rows = r->limit < 0 ? 20 : r->limit;
    struct plan_node *limit = plan_node(an, PLAN_LIMIT, child.node); /* one row more tells whether there are more */
    limit->limit = rows + 1;
    struct plan_node *n = plan_node(an, PLAN_SHOW, limit);
    n->show_rows = (int)(rows > INT32_MAX - 1 ? INT32_MAX - 1 : rows);
    n->truncate = r->truncate;
    n->vertical = r->vertical;
    n->html = r->html;
    struct field text = {.name = r->html ? STR("html_string") : STR("show_string"), .type = type_simple(TYPE_STRING)};
    n->schema = type_struct(an->a, &text, 1);
    out_set(an, o, n, scope_of_type(an, n->schema, STR("")));
    return ERR_OK;
}

/* withWatermark(name, delay) */
enum err resolve_watermark(struct analysis *an, const struct rel *r, struct out *o)
{
    struct out child;
    struct calendar_interval delay;
    enum err err = resolve(an, r->children[0], &child);
    if (err)
        return err;
    int at = scope_find_name(an, &child.scope, r->parts[0]);
    if (at < 0)
        return unresolved_name(an, &child.scope, r->parts[0], &r->origin);
    const struct type *t = child.scope.cols[at].type;
    bool window = t->id == TYPE_STRUCT && t->nfields == 2 && str_eqz(t->fields[1].name, "end");
    if (t->id != TYPE_TIMESTAMP && t->id != TYPE_TIMESTAMP_NTZ && !window)
        return FAULT(an->f, ERR_EVENT_TIME_TYPE, {"eventName", quote_name(an->a, child.scope.cols[at].name).p},
                     {"eventType", arena_fmt(an->a, "\"%.*s\"", STR_ARG(type_sql(an->a, t))).p});
    if (!interval_parse(r->text, &delay))
        return FAULT(an->f, ERR_CANNOT_PARSE_INTERVAL,
                     {"intervalString", arena_fmt(an->a, "'%.*s'", STR_ARG(r->text)).p});
    struct plan_node *n = plan_node(an, PLAN_WATERMARK, child.node);
    n->watermark_column = at;
    /* A month counts 31 days, as in EventTimeWatermark.getDelayMs. */
    n->delay_us = (delay.days + 31 * (int64_t)delay.months) * INT64_C(86400000000) + delay.micros;
    if (n->delay_us < 0)
        return FAULT(an->f, ERR_NEGATIVE_DELAY, {"delay", arena_fmt(an->a, "%.*s", STR_ARG(r->text)).p});
    struct scope s = scope_copy(an, &child.scope, 0);
    s.cols[at].watermark = true;
    out_set(an, o, n, s);
    return ERR_OK;
}

typedef enum err resolver(struct analysis *an, const struct rel *r, struct out *o);
static resolver *const RESOLVERS[] = {
    [REL_ONE_ROW] = resolve_one_row,     [REL_TABLE] = resolve_table,         [REL_SOURCE] = resolve_source,
    [REL_LOCAL] = resolve_local,         [REL_RANGE] = resolve_range,         [REL_PROJECT] = resolve_project,
    [REL_FILTER] = resolve_filter,       [REL_AGGREGATE] = resolve_aggregate, [REL_SORT] = resolve_sort,
    [REL_LIMIT] = resolve_limit,         [REL_OFFSET] = resolve_limit,        [REL_TAIL] = resolve_limit,
    [REL_DISTINCT] = resolve_distinct,   [REL_SETOP] = resolve_setop,         [REL_JOIN] = resolve_join,
    [REL_ALIAS] = resolve_alias,         [REL_TO_DF] = resolve_to_df,         [REL_WITH_COLUMNS] = resolve_with_columns,
    [REL_RENAME] = resolve_rename,       [REL_DROP] = resolve_drop,           [REL_WATERMARK] = resolve_watermark,
    [REL_REPARTITION] = resolve_through, [REL_HINT] = resolve_through,        [REL_TO_SCHEMA] = resolve_to_schema,
    [REL_FILL_NA] = resolve_na,          [REL_DROP_NA] = resolve_na,          [REL_REPLACE_NA] = resolve_na,
    [REL_SAMPLE] = resolve_sample,       [REL_VALUES] = resolve_values,       [REL_SHOW] = resolve_show,
    [REL_WITH] = resolve_with,           [REL_HAVING] = resolve_having,       [REL_PARAMS] = resolve_params,
};

enum err resolve(struct analysis *an, const struct rel *r, struct out *o)
{
    *o = (struct out){0};
    if ((size_t)r->kind >= sizeof RESOLVERS / sizeof *RESOLVERS || !RESOLVERS[r->kind])
        return fault_internal(an->f, "no resolver for relation kind %d", r->kind);
    if (an->depth > LIMIT_PLAN_DEPTH)
        return LIMIT_FAULT(an->f, PLAN_DEPTH);
    an->depth++;
    enum err err = RESOLVERS[r->kind](an, r, o);
    an->depth--;
    if (!err && o->scope.n > LIMIT_COLUMNS)
        return LIMIT_FAULT(an->f, COLUMNS);
    if (!err && r->plan_id >= 0)
        vec_push(&an->plan_scopes, ((struct plan_scope){r->plan_id, o->scope}));
    return err;
}

/* -- the whole ------------------------------------------------------------------------------------------------------------ */
static const char *conf_of(const struct plan_env *env, const char *key, const char *fallback)
{
    const char *v = env->conf ? env->conf(env->arg, key) : NULL;
    return v ? v : fallback;
}

static enum err bind_start(const struct plan_env *env, struct plan *p, struct fault *f)
{
    p->bind = (struct bind){.arena = p->arena, .conf = env->conf, .conf_arg = env->arg};
    p->bind.ansi = strcmp(conf_of(env, "spark.sql.ansi.enabled", "true"), "true") == 0;
    p->bind.case_sensitive = strcmp(conf_of(env, "spark.sql.caseSensitive", "false"), "true") == 0;
    p->bind.zone_name = arena_str(p->arena, str_of(conf_of(env, "spark.sql.session.timeZone", "UTC")));
    p->bind.zone = zone_find(p->bind.zone_name, f);
    return p->bind.zone ? ERR_OK : f ? f->err : ERR_INVALID;
}

static enum err fold_node(struct analysis *an, struct plan_node *n)
{
    enum err err = ERR_OK;
    for (int i = 0; !err && i < n->nexprs; i++)
        err = expr_fold(an->bind, &n->exprs[i], an->f);
    for (int i = 0; !err && i < n->ngroup; i++)
        err = expr_fold(an->bind, &n->group[i], an->f);
    for (int i = 0; !err && i < n->naggs; i++)
        for (int k = 0; !err && k < n->aggs[i]->nargs; k++)
            err = expr_fold(an->bind, &n->aggs[i]->args[k], an->f);
    for (int i = 0; !err && i < n->nkeys; i++) {
        err = expr_fold(an->bind, &n->left_keys[i], an->f);
        if (!err)
            err = expr_fold(an->bind, &n->right_keys[i], an->f);
    }
    if (!err && n->condition)
        err = expr_fold(an->bind, &n->condition, an->f);
    for (int i = 0; !err && i < n->nchildren; i++)
        err = fold_node(an, n->children[i]);
    return err;
}

enum err plan_analyze(const struct rel *rel, const struct plan_env *env, struct plan **out, struct fault *f)
{
    struct fault quiet;
    struct plan *p = calloc(1, sizeof *p);
    if (!p)
        memory_out("a plan");
    p->arena = arena_new(0);
    struct analysis an = {.a = p->arena, .env = env, .f = f ? f : &quiet, .bind = &p->bind};
    struct out o = {0};
    enum err err = bind_start(env, p, an.f);
    if (!err)
        err = resolve(&an, rel_copy(p->arena, rel), &o);
    if (!err) {
        p->schema = scope_type(&an, &o.scope);
        err = fold_node(&an, o.node);
    }
    if (!err) {
        p->root = plan_optimize(&an, o.node);
        p->is_streaming = p->root->is_streaming;
        p->nscans = an.nscans;
        p->bind.conf = NULL; /* the session may be gone when the plan runs */
        p->bind.conf_arg = NULL;
        plan_number(p);
    }
    vec_free(&an.plan_scopes);
    if (err)
        plan_free(p);
    else
        *out = p;
    return err;
}

void plan_free(struct plan *p)
{
    if (!p)
        return;
    arena_free(p->arena);
    free(p);
}
