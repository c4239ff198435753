#include "serve/connect/connect_int.h"
#include "wire/arrow.h"
#include "wire/proto.h"

#include <stdio.h>

typedef Spark__Connect__Relation Relation;
#define KIND(name) SPARK__CONNECT__RELATION__REL_TYPE_##name

static enum err missing(struct fault *f, const char *what)
{
    return FAULT(f, ERR_CONNECT_PLAN, {"detail", what});
}

/* A relation over one child. */
static enum err over(struct planning *p, enum rel_kind kind, const Relation *input, struct rel **out, struct fault *f)
{
    *out = rel_new(p->arena, kind, 1);
    return convert_relation(p, input, &(*out)->children[0], f);
}

static void set_parts(struct planning *p, struct rel *r, char **names, size_t n)
{
    r->parts = ARENA_ARRAY(p->arena, n + 1, struct str);
    r->nparts = (int)n;
    for (size_t i = 0; i < n; i++)
        r->parts[i] = arena_str(p->arena, str_of(names[i]));
}

/* Map fields of any message have the same layout: key and value, both strings. */
#define SET_OPTIONS(p, r, m)                                                                                           \
    do {                                                                                                               \
        (r)->options = ARENA_ARRAY((p)->arena, (m)->n_options + 1, struct option);                                     \
        for (size_t i_ = 0; i_ < (m)->n_options; i_++)                                                                 \
            (r)->options[(r)->noptions++] = (struct option){arena_str((p)->arena, str_of((m)->options[i_]->key)),      \
                                                            arena_str((p)->arena, str_of((m)->options[i_]->value))};   \
    } while (0)

/* -- leaves --------------------------------------------------------------------------------------------------------- */
static enum err read_source(struct planning *p, const Spark__Connect__Read__DataSource *x, bool is_streaming,
                            struct rel **out, struct fault *f)
{
    struct rel *r = *out = rel_new(p->arena, REL_SOURCE, 0);
    if (x->n_predicates)
        return refuse(f, "option of a source", "predicates");
    const char *format = OPTIONAL(x, format, session_conf(p->session, "spark.sql.sources.default"));
    r->format = arena_str(p->arena, str_of(format));
    r->is_streaming = is_streaming;
    set_parts(p, r, x->paths, x->n_paths);
    SET_OPTIONS(p, r, x);
    const char *schema = OPTIONAL(x, schema, "");
    return *schema ? sql_parse_schema(arena_str(p->arena, str_of(schema)), p->arena, &r->schema, f) : ERR_OK;
}

static enum err read(struct planning *p, const Spark__Connect__Read *x, struct rel **out, struct fault *f)
{
    switch (x->read_type_case) {
    case SPARK__CONNECT__READ__READ_TYPE_DATA_SOURCE:
        return read_source(p, x->data_source, x->is_streaming, out, f);
    case SPARK__CONNECT__READ__READ_TYPE_NAMED_TABLE:
        *out = rel_new(p->arena, REL_TABLE, 0);
        (*out)->is_streaming = x->is_streaming;
        SET_OPTIONS(p, *out, x->named_table);
        return sql_parse_identifier(arena_str(p->arena, str_of(x->named_table->unparsed_identifier)), p->arena,
                                    &(*out)->parts, &(*out)->nparts, f);
    default:
        return missing(f, "A read of nothing.");
    }
}

/* Columns of the data, by position, as the schema that the client declared: renamed where the types agree, else cast. */
static enum err declare(struct planning *p, const struct type *declared, struct rel *local, struct rel **out,
                        struct fault *f)
{
    if (declared->id != TYPE_STRUCT || declared->nfields != local->schema->nfields)
        return missing(f, "A local relation whose schema does not match its data.");
    bool same = true;
    for (int i = 0; i < declared->nfields; i++)
        same = same && type_eq(declared->fields[i].type, local->schema->fields[i].type);
    *out = local;
    if (same) {
        local->schema = declared;
        for (int i = 0; i < local->nbatches; i++) {
            local->batches[i].schema = declared;
            for (int k = 0; k < declared->nfields; k++)
                local->batches[i].cols[k].type = declared->fields[k].type;
        }
        return ERR_OK;
    }
    /* Names may repeat or hold dots: the cast goes over names of our own. */
    struct field *fields = ARENA_ARRAY(p->arena, (size_t)declared->nfields, struct field);
    struct rel *project = rel_new(p->arena, REL_PROJECT, 1);
    project->children[0] = local;
    project->exprs = ARENA_ARRAY(p->arena, (size_t)declared->nfields, struct node *);
    for (int i = 0; i < declared->nfields; i++) {
        fields[i] = local->schema->fields[i];
        fields[i].name = arena_fmt(p->arena, "_%d", i);
        struct node *cast = node_new(p->arena, NODE_CAST, 1), *alias = node_new(p->arena, NODE_ALIAS, 1);
        cast->args[0] = node_attribute(p->arena, fields[i].name);
        cast->type = declared->fields[i].type;
        alias->args[0] = cast;
        alias->parts = ARENA_NEW(p->arena, struct str);
        alias->parts[0] = declared->fields[i].name;
        alias->nparts = 1;
        alias->metadata = declared->fields[i].metadata;
        project->exprs[project->nexprs++] = alias;
    }
    local->schema = type_struct(p->arena, fields, declared->nfields);
    for (int i = 0; i < local->nbatches; i++)
        local->batches[i].schema = local->schema;
    *out = project;
    return ERR_OK;
}

enum err convert_local(struct planning *p, struct str data, struct str schema, struct rel **out, struct fault *f)
{
    const struct type *declared = NULL;
    struct rel *r = rel_new(p->arena, REL_LOCAL, 0);
    enum err e = schema.n ? sql_parse_schema(arena_str(p->arena, schema), p->arena, &declared, f) : ERR_OK;
    *out = r;
    if (e)
        return e;
    if (!data.n) {
        if (!declared)
            return missing(f, "A local relation without data and schema.");
        r->schema = declared;
        return ERR_OK;
    }
    struct arrow_in in;
    e = arrow_read(arena_str(p->arena, data), p->arena, &in, f);
    if (e)
        return e;
    r->schema = in.schema;
    r->batches = in.batches;
    r->nbatches = (int)in.nbatches;
    return declared ? declare(p, declared, r, out, f) : ERR_OK;
}

/* The pieces of a relation that AddArtifacts brought, by their hashes. */
static enum err cached_bytes(struct planning *p, const char *hash, struct str *out, struct fault *f)
{
    struct str name = arena_fmt(p->arena, "cache/%s", hash);
    struct blob *b = session_artifact(p->session, name);
    if (!b) {
        struct str what = arena_fmt(p->arena, "A cached local relation %s was not uploaded.", hash);
        return missing(f, what.p);
    }
    *out = str_make(b->bytes, b->n);
    return ERR_OK;
}

/* Chunks are whole streams of one schema: behind one another they read as one. */
static enum err chunked(struct planning *p, const Spark__Connect__ChunkedCachedLocalRelation *x, struct rel **out,
                        struct fault *f)
{
    struct str schema = {0}, piece;
    struct buf data = {.limit = LIMIT_ARTIFACT_BYTES};
    const char *schema_hash = x->opt_schema_hash_case ? x->schemahash : "";
    enum err e = *schema_hash ? cached_bytes(p, schema_hash, &schema, f) : ERR_OK;
    for (size_t i = 0; i < x->n_datahashes && !e; i++) {
        e = cached_bytes(p, x->datahashes[i], &piece, f);
        if (!e)
            buf_str(&data, piece);
    }
    if (!e && data.bad)
        e = LIMIT_FAULT(f, ARTIFACT_BYTES);
    if (!e)
        e = convert_local(p, buf_view(&data), schema, out, f);
    buf_free(&data);
    return e;
}

/* CachedLocalRelation: one artifact, a serialized LocalRelation. */
static enum err cached_local(struct planning *p, const char *hash, struct rel **out, struct fault *f)
{
    struct str bytes;
    enum err e = cached_bytes(p, hash, &bytes, f);
    if (e)
        return e;
    struct arena *a = arena_new(2 * (size_t)LIMIT_ARTIFACT_BYTES);
    ProtobufCMessage *m;
    e = proto_unpack(a, &spark__connect__local_relation__descriptor, bytes, NULL, &m, f);
    if (!e) {
        const Spark__Connect__LocalRelation *x = (const void *)m;
        struct str data = HAS(x, data) ? str_of_binary(x->data) : str_make("", 0);
        e = convert_local(p, data, str_of(OPTIONAL(x, schema, "")), out, f);
    }
    arena_free(a);
    return e;
}

static enum err cached_remote(struct planning *p, const char *id, struct rel **out, struct fault *f)
{
    os_mutex_lock(p->session->lock);
    struct view *v = view_retain(map_get(&p->session->relations, str_of(id)));
    os_mutex_unlock(p->session->lock);
    if (!v) {
        struct str what = arena_fmt(p->arena, "No DataFrame with id %s is cached in the session.", id);
        return missing(f, what.p);
    }
    vec_push(&p->views, v);
    *out = rel_copy(p->arena, v->rel);
    return ERR_OK;
}

static enum err range(struct planning *p, const Spark__Connect__Range *x, struct rel **out, struct fault *f)
{
    struct rel *r = *out = rel_new(p->arena, REL_RANGE, 0);
    r->start = OPTIONAL(x, start, 0);
    r->end = x->end;
    r->step = x->step;
    if (r->step == 0)
        return missing(f, "A range with step 0.");
    return ERR_OK;
}

/* -- one child ------------------------------------------------------------------------------------------------------ */
static enum err project(struct planning *p, const Spark__Connect__Project *x, struct rel **out, struct fault *f)
{
    struct rel *r = *out = rel_new(p->arena, REL_PROJECT, 1);
    if (!x->input)
        r->children[0] = rel_new(p->arena, REL_ONE_ROW, 0);
    enum err e = x->input ? convert_relation(p, x->input, &r->children[0], f) : ERR_OK;
    return e ? e : convert_expressions(p, x->expressions, x->n_expressions, &r->exprs, &r->nexprs, f);
}

static enum err filter(struct planning *p, const Spark__Connect__Filter *x, struct rel **out, struct fault *f)
{
    enum err e = over(p, REL_FILTER, x->input, out, f);
    Spark__Connect__Expression *condition[] = {x->condition};
    return e ? e : convert_expressions(p, condition, 1, &(*out)->exprs, &(*out)->nexprs, f);
}

static enum err sort(struct planning *p, const Spark__Connect__Sort *x, struct rel **out, struct fault *f)
{
    enum err e = over(p, REL_SORT, x->input, out, f);
    if (e)
        return e;
    struct rel *r = *out;
    r->exprs = ARENA_ARRAY(p->arena, x->n_order + 1, struct node *);
    for (size_t i = 0; i < x->n_order && !e; i++)
        e = convert_sort_order(p, x->order[i], &r->exprs[r->nexprs++], f);
    return e;
}

static enum err limit(struct planning *p, enum rel_kind kind, const Relation *input, int32_t n, struct rel **out,
                      struct fault *f)
{
    enum err e = over(p, kind, input, out, f);
    if (!e && n < 0) {
        char text[16], quoted[16];
        snprintf(text, sizeof text, "%d", n);
        snprintf(quoted, sizeof quoted, "\"%d\"", n);
        const char *name = kind == REL_LIMIT ? "limit" : kind == REL_OFFSET ? "offset" : "tail";
        return FAULT(f, ERR_LIMIT_NEGATIVE, {"expr", quoted}, {"name", name}, {"v", text});
    }
    (*out)->limit = n;
    return e;
}

static enum err aggregate(struct planning *p, const Spark__Connect__Aggregate *x, struct rel **out, struct fault *f)
{
    static const char *const types[] = {"(unspecified)", "groupBy", "rollup", "cube", "pivot", "grouping sets"};
    if (x->group_type != SPARK__CONNECT__AGGREGATE__GROUP_TYPE__GROUP_TYPE_GROUPBY)
        return refuse(f, "grouping", (unsigned)x->group_type < 6 ? types[x->group_type] : "(unknown)");
    enum err e = over(p, REL_AGGREGATE, x->input, out, f);
    struct rel *r = *out;
    struct node **aggs;
    int naggs;
    if (!e)
        e = convert_expressions(p, x->grouping_expressions, x->n_grouping_expressions, &r->group, &r->ngroup, f);
    if (!e)
        e = convert_expressions(p, x->aggregate_expressions, x->n_aggregate_expressions, &aggs, &naggs, f);
    if (e)
        return e;
    r->exprs = ARENA_ARRAY(p->arena, (size_t)(r->ngroup + naggs) + 1, struct node *);
    for (int i = 0; i < r->ngroup; i++)
        r->exprs[r->nexprs++] = r->group[i];
    for (int i = 0; i < naggs; i++)
        r->exprs[r->nexprs++] = aggs[i];
    return ERR_OK;
}

static enum err deduplicate(struct planning *p, const Spark__Connect__Deduplicate *x, struct rel **out, struct fault *f)
{
    enum err e = over(p, REL_DISTINCT, x->input, out, f);
    struct rel *r = *out;
    set_parts(p, r, x->column_names, x->n_column_names);
    r->all_columns = OPTIONAL(x, all_columns_as_keys, false);
    r->within_watermark = OPTIONAL(x, within_watermark, false);
    if (!e && !r->all_columns && !r->nparts)
        return missing(f, "Deduplicate needs columns, or all of them.");
    return e;
}

static enum err drop(struct planning *p, const Spark__Connect__Drop *x, struct rel **out, struct fault *f)
{
    enum err e = over(p, REL_DROP, x->input, out, f);
    set_parts(p, *out, x->column_names, x->n_column_names);
    return e ? e : convert_expressions(p, x->columns, x->n_columns, &(*out)->exprs, &(*out)->nexprs, f);
}

static struct node *rename_of(struct planning *p, const char *from, const char *to)
{
    struct node *e = node_new(p->arena, NODE_ALIAS, 1);
    e->args[0] = node_attribute(p->arena, arena_str(p->arena, str_of(from)));
    e->parts = ARENA_NEW(p->arena, struct str);
    e->parts[0] = arena_str(p->arena, str_of(to));
    e->nparts = 1;
    return e;
}

static enum err rename_columns(struct planning *p, const Spark__Connect__WithColumnsRenamed *x, struct rel **out,
                               struct fault *f)
{
    enum err e = over(p, REL_RENAME, x->input, out, f);
    struct rel *r = *out;
    r->exprs = ARENA_ARRAY(p->arena, x->n_renames + x->n_rename_columns_map + 1, struct node *);
    for (size_t i = 0; i < x->n_renames; i++)
        r->exprs[r->nexprs++] = rename_of(p, x->renames[i]->col_name, x->renames[i]->new_col_name);
    for (size_t i = 0; i < x->n_rename_columns_map; i++)
        r->exprs[r->nexprs++] = rename_of(p, x->rename_columns_map[i]->key, x->rename_columns_map[i]->value);
    return e;
}

static enum err with_columns(struct planning *p, const Spark__Connect__WithColumns *x, struct rel **out,
                             struct fault *f)
{
    enum err e = over(p, REL_WITH_COLUMNS, x->input, out, f);
    struct rel *r = *out;
    r->exprs = ARENA_ARRAY(p->arena, x->n_aliases + 1, struct node *);
    for (size_t i = 0; i < x->n_aliases && !e; i++) {
        Spark__Connect__Expression whole = SPARK__CONNECT__EXPRESSION__INIT;
        whole.expr_type_case = SPARK__CONNECT__EXPRESSION__EXPR_TYPE_ALIAS;
        whole.alias = x->aliases[i];
        e = convert_expression(p, &whole, &r->exprs[r->nexprs++], f);
    }
    return e;
}

static enum err show(struct planning *p, const Relation *input, int rows, int truncate, bool vertical, bool html,
                     struct rel **out, struct fault *f)
{
    enum err e = over(p, REL_SHOW, input, out, f);
    (*out)->limit = rows;
    (*out)->truncate = truncate;
    (*out)->vertical = vertical;
    (*out)->html = html;
    return e;
}

static enum err literals(struct planning *p, Spark__Connect__Expression__Literal **x, size_t n, struct rel *r,
                         struct fault *f)
{
    enum err e = ERR_OK;
    if (!r->exprs)
        r->exprs = ARENA_ARRAY(p->arena, 2 * n + 1, struct node *);
    for (size_t i = 0; i < n && !e; i++)
        e = convert_literal(p, x[i], &r->exprs[r->nexprs++], f);
    return e;
}

static enum err fill_na(struct planning *p, const Spark__Connect__NAFill *x, struct rel **out, struct fault *f)
{
    enum err e = over(p, REL_FILL_NA, x->input, out, f);
    set_parts(p, *out, x->cols, x->n_cols);
    if (!e && x->n_values != 1 && x->n_values != x->n_cols)
        return missing(f, "NAFill needs one value, or one for each column.");
    return e ? e : literals(p, x->values, x->n_values, *out, f);
}

static enum err drop_na(struct planning *p, const Spark__Connect__NADrop *x, struct rel **out, struct fault *f)
{
    enum err e = over(p, REL_DROP_NA, x->input, out, f);
    set_parts(p, *out, x->cols, x->n_cols);
    (*out)->limit = OPTIONAL(x, min_non_nulls, -1);
    return e;
}

static enum err replace_na(struct planning *p, const Spark__Connect__NAReplace *x, struct rel **out, struct fault *f)
{
    enum err e = over(p, REL_REPLACE_NA, x->input, out, f);
    struct rel *r = *out;
    set_parts(p, r, x->cols, x->n_cols);
    r->exprs = ARENA_ARRAY(p->arena, 2 * x->n_replacements + 1, struct node *);
    for (size_t i = 0; i < x->n_replacements && !e; i++) {
        Spark__Connect__Expression__Literal *pair[] = {x->replacements[i]->old_value, x->replacements[i]->new_value};
        e = pair[0] && pair[1] ? literals(p, pair, 2, r, f) : missing(f, "A replacement without its values.");
    }
    return e;
}

static struct node *double_literal(struct planning *p, double v)
{
    struct node *e = node_new(p->arena, NODE_LITERAL, 0);
    column_alloc(&e->literal, type_simple(TYPE_DOUBLE), 1, p->arena);
    e->literal.data.f64[0] = v;
    e->literal.mask = 0;
    return e;
}

static enum err sample(struct planning *p, const Spark__Connect__Sample *x, struct rel **out, struct fault *f)
{
    enum err e = over(p, REL_SAMPLE, x->input, out, f);
    struct rel *r = *out;
    r->exprs = ARENA_ARRAY(p->arena, 2, struct node *);
    r->exprs[r->nexprs++] = double_literal(p, x->lower_bound);
    r->exprs[r->nexprs++] = double_literal(p, x->upper_bound);
    r->start = OPTIONAL(x, seed, 0);
    r->all = OPTIONAL(x, with_replacement, false);
    return e;
}

/* -- two children ---------------------------------------------------------------------------------------------------- */
static enum err join(struct planning *p, const Spark__Connect__Join *x, struct rel **out, struct fault *f)
{
    static const char *const types[] = {"inner",       "inner",     "full_outer", "left_outer",
                                        "right_outer", "left_anti", "left_semi",  "cross"};
    struct rel *r = *out = rel_new(p->arena, REL_JOIN, 2);
    if ((unsigned)x->join_type >= sizeof types / sizeof *types)
        return missing(f, "A join of no known type.");
    r->join_type = str_of(types[x->join_type]);
    set_parts(p, r, x->using_columns, x->n_using_columns);
    enum err e = convert_relation(p, x->left, &r->children[0], f);
    if (!e)
        e = convert_relation(p, x->right, &r->children[1], f);
    Spark__Connect__Expression *condition[] = {x->join_condition};
    return e || !x->join_condition ? e : convert_expressions(p, condition, 1, &r->exprs, &r->nexprs, f);
}

static enum err set_operation(struct planning *p, const Spark__Connect__SetOperation *x, struct rel **out,
                              struct fault *f)
{
    struct rel *r = *out = rel_new(p->arena, REL_SETOP, 2);
    switch (x->set_op_type) {
    case SPARK__CONNECT__SET_OPERATION__SET_OP_TYPE__SET_OP_TYPE_UNION:
        r->setop = SETOP_UNION;
        break;
    case SPARK__CONNECT__SET_OPERATION__SET_OP_TYPE__SET_OP_TYPE_INTERSECT:
        r->setop = SETOP_INTERSECT;
        break;
    case SPARK__CONNECT__SET_OPERATION__SET_OP_TYPE__SET_OP_TYPE_EXCEPT:
        r->setop = SETOP_EXCEPT;
        break;
    default:
        return missing(f, "A set operation of no known type.");
    }
    r->all = OPTIONAL(x, is_all, false);
    r->by_name = OPTIONAL(x, by_name, false);
    r->allow_missing = OPTIONAL(x, allow_missing_columns, false);
    enum err e = convert_relation(p, x->left_input, &r->children[0], f);
    return e ? e : convert_relation(p, x->right_input, &r->children[1], f);
}

/* spark.sql("… {df} …", df=df): the DataFrames come as named references, which are CTEs of the root. */
static enum err with_relations(struct planning *p, const Spark__Connect__WithRelations *x, struct rel **out,
                               struct fault *f)
{
    struct rel *r = *out = rel_new(p->arena, REL_WITH, 1 + (int)x->n_references);
    r->parts = ARENA_ARRAY(p->arena, x->n_references + 1, struct str);
    enum err e = convert_relation(p, x->root, &r->children[0], f);
    for (size_t i = 0; i < x->n_references && !e; i++) {
        const Relation *ref = x->references[i];
        if (ref->rel_type_case != KIND(SUBQUERY_ALIAS))
            return refuse(f, "relation", "subquery (reference without a name)");
        r->parts[r->nparts++] = arena_str(p->arena, str_of(ref->subquery_alias->alias));
        e = convert_relation(p, ref->subquery_alias->input, &r->children[1 + i], f);
    }
    return e;
}

static enum err repartition(struct planning *p, const Relation *input, struct rel **out, struct fault *f)
{
    return over(p, REL_REPARTITION, input, out, f);
}

/* -- dispatch --------------------------------------------------------------------------------------------------------- */
/* Relations that are known and not supported: their names in the protocol. */
static const char *refused_kind(Spark__Connect__Relation__RelTypeCase kind)
{
    static const ProtobufCMessageDescriptor *d = &spark__connect__relation__descriptor;
    const ProtobufCFieldDescriptor *fd = protobuf_c_message_descriptor_get_field(d, (unsigned)kind);
    return fd ? fd->name : "(unknown)";
}

static enum err sql(struct planning *p, const Spark__Connect__SQL *x, struct rel **out, struct fault *f)
{
    bool is_command;
    struct node **args;
    int n = 0;
    enum err e = convert_statement(p, str_of(x->query), out, &is_command, f);
    if (e)
        return e;
    args =
        ARENA_ARRAY(p->arena, x->n_args + x->n_pos_args + x->n_named_arguments + x->n_pos_arguments + 1, struct node *);
    for (size_t i = 0; i < x->n_pos_args && !e; i++)
        e = convert_literal(p, x->pos_args[i], &args[n++], f);
    for (size_t i = 0; i < x->n_pos_arguments && !e; i++)
        e = convert_expression(p, x->pos_arguments[i], &args[n++], f);
    for (size_t i = 0; i < x->n_args + x->n_named_arguments && !e; i++) {
        bool is_literal = i < x->n_args;
        const char *key = is_literal ? x->args[i]->key : x->named_arguments[i - x->n_args]->key;
        struct node *alias = node_new(p->arena, NODE_ALIAS, 1);
        alias->parts = ARENA_NEW(p->arena, struct str);
        alias->parts[0] = arena_str(p->arena, str_of(key));
        alias->nparts = 1;
        if (is_literal)
            e = x->args[i]->value ? convert_literal(p, x->args[i]->value, &alias->args[0], f)
                                  : missing(f, "An argument without a value.");
        else
            e = convert_expression(p, x->named_arguments[i - x->n_args]->value, &alias->args[0], f);
        args[n++] = alias;
    }
    if (!e && n)
        *out = convert_with_args(p, *out, args, n);
    return e;
}

struct rel *convert_with_args(struct planning *p, struct rel *query, struct node **args, int n)
{
    struct rel *r = rel_new(p->arena, REL_PARAMS, 1);
    r->children[0] = query;
    r->exprs = args;
    r->nexprs = n;
    return r;
}

static enum err alias_relation(struct planning *p, const Spark__Connect__SubqueryAlias *x, struct rel **out,
                               struct fault *f)
{
    enum err e = over(p, REL_ALIAS, x->input, out, f);
    set_parts(p, *out, (char *[]){x->alias}, 1);
    return e;
}

static enum err watermark(struct planning *p, const Spark__Connect__WithWatermark *x, struct rel **out, struct fault *f)
{
    enum err e = over(p, REL_WATERMARK, x->input, out, f);
    (*out)->text = arena_str(p->arena, str_of(x->delay_threshold));
    set_parts(p, *out, (char *[]){x->event_time}, 1);
    return e;
}

static enum err to_schema(struct planning *p, const Spark__Connect__ToSchema *x, struct rel **out, struct fault *f)
{
    enum err e = over(p, REL_TO_SCHEMA, x->input, out, f);
    return e ? e : convert_type(p->arena, x->schema, 0, &(*out)->schema, f);
}

static enum err hint(struct planning *p, const Spark__Connect__Hint *x, struct rel **out, struct fault *f)
{
    enum err e = over(p, REL_HINT, x->input, out, f);
    (*out)->text = arena_str(p->arena, str_of(x->name));
    return e;
}

static enum err to_df(struct planning *p, const Spark__Connect__ToDF *x, struct rel **out, struct fault *f)
{
    enum err e = over(p, REL_TO_DF, x->input, out, f);
    set_parts(p, *out, x->column_names, x->n_column_names);
    return e;
}

static enum err convert_leaf(struct planning *p, const Relation *x, struct rel **out, struct fault *f)
{
    switch (x->rel_type_case) {
    case KIND(READ):
        return read(p, x->read, out, f);
    case KIND(SQL):
        return sql(p, x->sql, out, f);
    case KIND(LOCAL_RELATION):
        return convert_local(p, HAS(x->local_relation, data) ? str_of_binary(x->local_relation->data) : str_make("", 0),
                             str_of(OPTIONAL(x->local_relation, schema, "")), out, f);
    case KIND(CACHED_LOCAL_RELATION):
        return cached_local(p, x->cached_local_relation->hash, out, f);
    case KIND(CHUNKED_CACHED_LOCAL_RELATION):
        return chunked(p, x->chunked_cached_local_relation, out, f);
    case KIND(CACHED_REMOTE_RELATION):
        return cached_remote(p, x->cached_remote_relation->relation_id, out, f);
    case KIND(RANGE):
        return range(p, x->range, out, f);
    case KIND(CATALOG):
        return convert_catalog(p, x->catalog, out, f);
    default:
        return refuse(f, "relation", refused_kind(x->rel_type_case));
    }
}

static enum err convert_kind(struct planning *p, const Relation *x, struct rel **out, struct fault *f)
{
    switch (x->rel_type_case) {
    case KIND(PROJECT):
        return project(p, x->project, out, f);
    case KIND(FILTER):
        return filter(p, x->filter, out, f);
    case KIND(JOIN):
        return join(p, x->join, out, f);
    case KIND(SET_OP):
        return set_operation(p, x->set_op, out, f);
    case KIND(SORT):
        return sort(p, x->sort, out, f);
    case KIND(LIMIT):
        return limit(p, REL_LIMIT, x->limit->input, x->limit->limit, out, f);
    case KIND(OFFSET):
        return limit(p, REL_OFFSET, x->offset->input, x->offset->offset, out, f);
    case KIND(TAIL):
        return limit(p, REL_TAIL, x->tail->input, x->tail->limit, out, f);
    case KIND(AGGREGATE):
        return aggregate(p, x->aggregate, out, f);
    case KIND(DEDUPLICATE):
        return deduplicate(p, x->deduplicate, out, f);
    case KIND(SUBQUERY_ALIAS):
        return alias_relation(p, x->subquery_alias, out, f);
    case KIND(REPARTITION):
        return repartition(p, x->repartition->input, out, f);
    case KIND(REPARTITION_BY_EXPRESSION):
        return repartition(p, x->repartition_by_expression->input, out, f);
    case KIND(TO_DF):
        return to_df(p, x->to_df, out, f);
    case KIND(WITH_COLUMNS_RENAMED):
        return rename_columns(p, x->with_columns_renamed, out, f);
    case KIND(WITH_COLUMNS):
        return with_columns(p, x->with_columns, out, f);
    case KIND(DROP):
        return drop(p, x->drop, out, f);
    case KIND(HINT):
        return hint(p, x->hint, out, f);
    case KIND(TO_SCHEMA):
        return to_schema(p, x->to_schema, out, f);
    case KIND(WITH_WATERMARK):
        return watermark(p, x->with_watermark, out, f);
    case KIND(SHOW_STRING):
        return show(p, x->show_string->input, x->show_string->num_rows, x->show_string->truncate,
                    x->show_string->vertical, false, out, f);
    case KIND(HTML_STRING):
        return show(p, x->html_string->input, x->html_string->num_rows, x->html_string->truncate, false, true, out, f);
    case KIND(WITH_RELATIONS):
        return with_relations(p, x->with_relations, out, f);
    case KIND(FILL_NA):
        return fill_na(p, x->fill_na, out, f);
    case KIND(DROP_NA):
        return drop_na(p, x->drop_na, out, f);
    case KIND(REPLACE):
        return replace_na(p, x->replace, out, f);
    case KIND(SAMPLE):
        return sample(p, x->sample, out, f);
    default:
        return convert_leaf(p, x, out, f);
    }
}

enum err convert_relation(struct planning *p, const Relation *x, struct rel **out, struct fault *f)
{
    if (!x || x->rel_type_case == KIND(_NOT_SET))
        return missing(f, "A relation is missing.");
    if (p->depth >= LIMIT_TREE_DEPTH)
        return LIMIT_FAULT(f, TREE_DEPTH);
    p->depth++;
    enum err e = convert_kind(p, x, out, f);
    p->depth--;
    if (!e && (*out)->plan_id < 0)
        (*out)->plan_id = x->common ? OPTIONAL(x->common, plan_id, -1) : -1;
    return e;
}
