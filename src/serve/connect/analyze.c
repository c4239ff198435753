#include "serve/connect/connect_int.h"
#include "wire/proto.h"

/* Which Spark a client is told to be talking to: PySpark 4.2's client expects its own version's answers. */
#define SPARK_ANSWERED "4.2.0"

typedef Spark__Connect__AnalyzePlanResponse Response;
#define RESULT(name) SPARK__CONNECT__ANALYZE_PLAN_RESPONSE__RESULT_##name
/* A fresh submessage for one of the response's results. */
#define RESULT_OF(field, CASE, T, init)                                                                                \
    do {                                                                                                               \
        out->result_case = RESULT(CASE);                                                                               \
        out->field = ARENA_NEW(a, Spark__Connect__AnalyzePlanResponse__##T);                                           \
        spark__connect__analyze_plan_response__##init##__init(out->field);                                             \
    } while (0)

static enum err analyze(struct planning *p, const Spark__Connect__Plan *plan, struct plan **out, struct fault *f)
{
    struct rel *rel;
    if (!plan || plan->op_type_case != SPARK__CONNECT__PLAN__OP_TYPE_ROOT)
        return FAULT(f, ERR_CONNECT_PLAN, {"detail", "Only relations can be analyzed."});
    enum err e = convert_relation(p, plan->root, &rel, f);
    return e ? e : plan_analyze(rel, &p->env, out, f);
}

static enum err get_schema(struct planning *p, const Spark__Connect__Plan *from, struct arena *a, Response *out,
                           struct fault *f)
{
    struct plan *plan;
    enum err e = analyze(p, from, &plan, f);
    if (e)
        return e;
    RESULT_OF(schema, SCHEMA, Schema, schema);
    out->schema->schema = type_message(a, plan->schema);
    plan_free(plan);
    return ERR_OK;
}

static enum err get_tree(struct planning *p, const Spark__Connect__AnalyzePlanRequest__TreeString *r, struct arena *a,
                         Response *out, struct fault *f)
{
    struct plan *plan;
    struct buf text = {0};
    enum err e = analyze(p, r->plan, &plan, f);
    if (e)
        return e;
    type_tree(&text, plan->schema, OPTIONAL(r, level, 0));
    RESULT_OF(tree_string, TREE_STRING, TreeString, tree_string);
    out->tree_string->tree_string = arena_z(a, buf_view(&text));
    buf_free(&text);
    plan_free(plan);
    return ERR_OK;
}

static enum err get_explain(struct planning *p, const Spark__Connect__AnalyzePlanRequest__Explain *r, struct arena *a,
                            Response *out, struct fault *f)
{
    struct plan *plan;
    struct buf text = {0};
    enum err e = analyze(p, r->plan, &plan, f);
    if (e)
        return e;
    plan_text(plan,
              r->explain_mode >= SPARK__CONNECT__ANALYZE_PLAN_REQUEST__EXPLAIN__EXPLAIN_MODE__EXPLAIN_MODE_EXTENDED,
              &text);
    RESULT_OF(explain, EXPLAIN, Explain, explain);
    out->explain->explain_string = arena_z(a, buf_view(&text));
    buf_free(&text);
    plan_free(plan);
    return ERR_OK;
}

static enum err get_is_streaming(struct planning *p, const Spark__Connect__Plan *from, struct arena *a, Response *out,
                                 struct fault *f)
{
    struct plan *plan;
    enum err e = analyze(p, from, &plan, f);
    if (e)
        return e;
    RESULT_OF(is_streaming, IS_STREAMING, IsStreaming, is_streaming);
    out->is_streaming->is_streaming = plan->is_streaming;
    plan_free(plan);
    return ERR_OK;
}

/* Local: the rows are in the plan itself. */
static enum err get_is_local(struct planning *p, const Spark__Connect__Plan *from, struct arena *a, Response *out,
                             struct fault *f)
{
    struct plan *plan;
    enum err e = analyze(p, from, &plan, f);
    if (e)
        return e;
    RESULT_OF(is_local, IS_LOCAL, IsLocal, is_local);
    out->is_local->is_local = plan->root->kind == PLAN_LOCAL;
    plan_free(plan);
    return ERR_OK;
}

static enum err get_files(struct planning *p, const Spark__Connect__Plan *from, struct arena *a, Response *out,
                          struct fault *f)
{
    struct plan *plan;
    enum err e = analyze(p, from, &plan, f);
    if (e)
        return e;
    plan_free(plan); /* no source reads files */
    RESULT_OF(input_files, INPUT_FILES, InputFiles, input_files);
    return ERR_OK;
}

static enum err parse_ddl(const char *text, struct arena *a, Response *out, struct fault *f)
{
    const struct type *t;
    enum err e = sql_parse_schema(arena_str(a, str_of(text)), a, &t, f);
    if (e)
        return e;
    RESULT_OF(ddl_parse, DDL_PARSE, DDLParse, ddlparse);
    out->ddl_parse->parsed = type_message(a, t);
    return ERR_OK;
}

static enum err json_to_ddl(const char *text, struct arena *a, Response *out, struct fault *f)
{
    const struct type *t;
    struct buf ddl = {0};
    enum err e = sql_parse_type_json(arena_str(a, str_of(text)), a, &t, f);
    if (e)
        return e;
    if (t->id != TYPE_STRUCT)
        return FAULT(f, ERR_CONNECT_PLAN, {"detail", "Only a struct type has a DDL form."});
    type_ddl(&ddl, t);
    RESULT_OF(json_to_ddl, JSON_TO_DDL, JsonToDDL, json_to_ddl);
    out->json_to_ddl->ddl_string = arena_z(a, buf_view(&ddl));
    buf_free(&ddl);
    return ERR_OK;
}

/* -- same plan? ----------------------------------------------------------------------------------------------------- */
/* The analyzed tree as text is the same for plans that differ in ids and origins only. */
static enum err canonical(struct planning *p, const Spark__Connect__Plan *from, struct buf *out, struct fault *f)
{
    struct plan *plan;
    enum err e = analyze(p, from, &plan, f);
    if (e)
        return e;
    plan_text(plan, true, out);
    plan_free(plan);
    return ERR_OK;
}

static enum err same_semantics(struct planning *p, const Spark__Connect__AnalyzePlanRequest__SameSemantics *r,
                               struct arena *a, Response *out, struct fault *f)
{
    struct buf x = {0}, y = {0};
    enum err e = canonical(p, r->target_plan, &x, f);
    if (!e)
        e = canonical(p, r->other_plan, &y, f);
    if (!e) {
        RESULT_OF(same_semantics, SAME_SEMANTICS, SameSemantics, same_semantics);
        out->same_semantics->result = str_eq(buf_view(&x), buf_view(&y));
    }
    buf_free(&x);
    buf_free(&y);
    return e;
}

static enum err semantic_hash(struct planning *p, const Spark__Connect__Plan *from, struct arena *a, Response *out,
                              struct fault *f)
{
    struct buf x = {0};
    enum err e = canonical(p, from, &x, f);
    if (!e) {
        RESULT_OF(semantic_hash, SEMANTIC_HASH, SemanticHash, semantic_hash);
        uint32_t h = 2166136261u; /* FNV-1a: the same in every process */
        for (size_t i = 0; i < x.n; i++)
            h = (h ^ (uint8_t)x.p[i]) * 16777619u;
        out->semantic_hash->result = (int32_t)h;
    }
    buf_free(&x);
    return e;
}

/* persist() and unpersist() are hints: a plan is computed whenever it is asked, which is correct without a cache. */
static enum err check_only(struct planning *p, const Spark__Connect__Relation *r, struct fault *f)
{
    struct rel *rel;
    struct plan *plan;
    enum err e = convert_relation(p, r, &rel, f);
    if (!e)
        e = plan_analyze(rel, &p->env, &plan, f);
    if (!e)
        plan_free(plan);
    return e;
}

static enum err answer(struct planning *p, const Spark__Connect__AnalyzePlanRequest *r, struct arena *a, Response *out,
                       struct fault *f)
{
#define ANALYZE(name) SPARK__CONNECT__ANALYZE_PLAN_REQUEST__ANALYZE_##name
    enum err e;
    switch (r->analyze_case) {
    case ANALYZE(SCHEMA):
        return get_schema(p, r->schema->plan, a, out, f);
    case ANALYZE(EXPLAIN):
        return get_explain(p, r->explain, a, out, f);
    case ANALYZE(TREE_STRING):
        return get_tree(p, r->tree_string, a, out, f);
    case ANALYZE(IS_LOCAL):
        return get_is_local(p, r->is_local->plan, a, out, f);
    case ANALYZE(IS_STREAMING):
        return get_is_streaming(p, r->is_streaming->plan, a, out, f);
    case ANALYZE(INPUT_FILES):
        return get_files(p, r->input_files->plan, a, out, f);
    case ANALYZE(SPARK_VERSION):
        RESULT_OF(spark_version, SPARK_VERSION, SparkVersion, spark_version);
        out->spark_version->version = SPARK_ANSWERED;
        return ERR_OK;
    case ANALYZE(DDL_PARSE):
        return parse_ddl(r->ddl_parse->ddl_string, a, out, f);
    case ANALYZE(JSON_TO_DDL):
        return json_to_ddl(r->json_to_ddl->json_string, a, out, f);
    case ANALYZE(SAME_SEMANTICS):
        return same_semantics(p, r->same_semantics, a, out, f);
    case ANALYZE(SEMANTIC_HASH):
        return semantic_hash(p, r->semantic_hash->plan, a, out, f);
    case ANALYZE(PERSIST):
        e = check_only(p, r->persist->relation, f);
        RESULT_OF(persist, PERSIST, Persist, persist);
        return e;
    case ANALYZE(UNPERSIST):
        e = check_only(p, r->unpersist->relation, f);
        RESULT_OF(unpersist, UNPERSIST, Unpersist, unpersist);
        return e;
    case ANALYZE(GET_STORAGE_LEVEL):
        e = check_only(p, r->get_storage_level->relation, f);
        RESULT_OF(get_storage_level, GET_STORAGE_LEVEL, GetStorageLevel, get_storage_level);
        out->get_storage_level->storage_level = ARENA_NEW(a, Spark__Connect__StorageLevel);
        spark__connect__storage_level__init(out->get_storage_level->storage_level);
        out->get_storage_level->storage_level->replication = 1;
        return e;
    default:
        return FAULT(f, ERR_CONNECT_PLAN, {"detail", "An analysis of no known kind."});
    }
}

enum err analyze_rpc(struct session *s, const Spark__Connect__AnalyzePlanRequest *r, struct arena *a, Response *out,
                     struct fault *f)
{
    struct planning p;
    planning_init(&p, s);
    enum err e = answer(&p, r, a, out, f);
    planning_free(&p);
    return e;
}
