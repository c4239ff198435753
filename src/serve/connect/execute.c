#include "serve/connect/connect_int.h"
#include "wire/arrow.h"

#include <stdio.h>

/* One Arrow batch holds at most this, as Spark's do (maxRecordsPerBatch, and 4 MiB for gRPC's sake). */
enum { BATCH_ROWS_MAX = 10000 };

typedef Spark__Connect__ExecutePlanResponse Response;

/* -- rows to the client ---------------------------------------------------------------------------------------------- */
struct stream {
    struct exec *exec;
    struct arrow_out *out;
    struct arena *arena; /* of the schema message */
    uint64_t sent_rows;
    int batches;
};

static enum err send_schema(void *arg, const struct plan *plan, struct fault *f)
{
    struct stream *s = arg;
    Response r = SPARK__CONNECT__EXECUTE_PLAN_RESPONSE__INIT;
    r.schema = type_message(s->arena, plan->schema);
    s->out =
        arrow_out_new(type_copy(s->arena, plan->schema), plan->bind.zone_name); /* the last batch outlives the plan */
    return exec_respond(s->exec, &r, f);
}

static enum err send_batch(struct stream *s, struct fault *f)
{
    struct buf bytes = {.limit = LIMIT_GRPC_MESSAGE_BYTES - 4096};
    uint64_t rows = arrow_out_rows(s->out);
    enum err e = arrow_out_finish(s->out, &bytes, f);
    Response r = SPARK__CONNECT__EXECUTE_PLAN_RESPONSE__INIT;
    Spark__Connect__ExecutePlanResponse__ArrowBatch batch = SPARK__CONNECT__EXECUTE_PLAN_RESPONSE__ARROW_BATCH__INIT;
    batch.row_count = (int64_t)rows;
    batch.data = (ProtobufCBinaryData){bytes.n, (uint8_t *)bytes.p};
    batch.opt_start_offset_case = SPARK__CONNECT__EXECUTE_PLAN_RESPONSE__ARROW_BATCH__OPT_START_OFFSET_START_OFFSET;
    batch.start_offset = (int64_t)s->sent_rows;
    batch.opt_chunk_index_case = SPARK__CONNECT__EXECUTE_PLAN_RESPONSE__ARROW_BATCH__OPT_CHUNK_INDEX_CHUNK_INDEX;
    batch.opt_num_chunks_in_batch_case =
        SPARK__CONNECT__EXECUTE_PLAN_RESPONSE__ARROW_BATCH__OPT_NUM_CHUNKS_IN_BATCH_NUM_CHUNKS_IN_BATCH;
    batch.num_chunks_in_batch = 1;
    r.response_type_case = SPARK__CONNECT__EXECUTE_PLAN_RESPONSE__RESPONSE_TYPE_ARROW_BATCH;
    r.arrow_batch = &batch;
    if (!e)
        e = exec_respond(s->exec, &r, f);
    buf_free(&bytes);
    s->sent_rows += rows;
    s->batches++;
    return e;
}

static enum err send_rows(void *arg, const struct batch_cols *b, struct fault *f)
{
    struct stream *s = arg;
    enum err e = arrow_out_add(s->out, b, 0, b->n, f);
    if (!e &&
        (arrow_out_rows(s->out) >= BATCH_ROWS_MAX || arrow_out_bytes(s->out) >= s->exec->session->server->batch_bytes))
        e = send_batch(s, f);
    return e;
}

static enum err execute_root(struct exec *x, const Spark__Connect__Relation *root, struct fault *f)
{
    struct planning p;
    struct rel *rel;
    struct stream s = {.exec = x};
    planning_init(&p, x->session);
    s.arena = p.arena;
    enum err e = convert_relation(&p, root, &rel, f);
    if (!e)
        e = run_rel(&p, rel, &x->cancelled, send_schema, send_rows, &s, f);
    if (!e && (!s.batches || arrow_out_rows(s.out))) /* an empty result is one batch of no rows */
        e = send_batch(&s, f);
    arrow_out_free(s.out);
    planning_free(&p);
    return e;
}

void execute_plan(struct exec *x)
{
    struct fault f = {0};
    const Spark__Connect__Plan *plan = x->plan;
    enum err e;
    switch (plan ? plan->op_type_case : SPARK__CONNECT__PLAN__OP_TYPE__NOT_SET) {
    case SPARK__CONNECT__PLAN__OP_TYPE_ROOT:
        e = execute_root(x, plan->root, &f);
        break;
    case SPARK__CONNECT__PLAN__OP_TYPE_COMMAND:
        e = execute_command(x, plan->command, &f);
        break;
    case SPARK__CONNECT__PLAN__OP_TYPE_COMPRESSED_OPERATION:
        e = refuse(&f, "plan", "compression (spark.connect.session.planCompression is NONE)");
        break;
    default:
        e = FAULT(&f, ERR_CONNECT_PLAN, {"detail", "A plan without a root and without a command."});
    }
    exec_finish(x, e ? &f : NULL);
}

/* -- SQL text --------------------------------------------------------------------------------------------------------- */
/* A small table that is made here: string and boolean columns. */
struct table {
    struct planning *p;
    struct field fields[4];
    struct column cols[4];
    int n;
    uint32_t rows;
};

static void table_column(struct table *t, const char *name, enum type_id id, bool nullable)
{
    t->fields[t->n] = (struct field){str_of(name), type_simple(id), nullable, {0}};
    column_alloc(&t->cols[t->n++], type_simple(id), 0, t->p->arena);
}

static void table_row(struct table *t)
{
    t->rows++;
    for (int i = 0; i < t->n; i++)
        column_grow(&t->cols[i], t->rows, t->p->arena);
}

static void table_str(struct table *t, int col, struct str s)
{
    t->cols[col].data.str[t->rows - 1] = arena_str(t->p->arena, s);
}

struct rel *local_table(struct planning *p, const struct field *fields, struct column *cols, int n, uint32_t rows)
{
    struct rel *r = rel_new(p->arena, REL_LOCAL, 0);
    r->schema = type_struct(p->arena, fields, n);
    r->batches = ARENA_ARRAY(p->arena, rows / BATCH_ROWS + 1, struct batch_cols);
    for (uint32_t from = 0; from < rows; from += BATCH_ROWS) {
        struct batch_cols *b = &r->batches[r->nbatches++];
        *b = (struct batch_cols){r->schema, rows - from < BATCH_ROWS ? rows - from : BATCH_ROWS,
                                 ARENA_ARRAY(p->arena, (size_t)n, struct column)};
        for (int i = 0; i < n; i++)
            column_slice(&b->cols[i], &cols[i], from, b->n, p->arena);
    }
    return r;
}

static struct rel *table_rel(struct table *t)
{
    return local_table(t->p, t->fields, t->cols, t->n, t->rows);
}

static enum err run_set(struct planning *p, const struct statement *st, struct rel **out, struct fault *f)
{
    struct table t = {.p = p};
    enum err e = ERR_OK;
    table_column(&t, "key", TYPE_STRING, false);
    table_column(&t, "value", TYPE_STRING, false);
    if (st->key.n && st->has_value)
        e = session_set(p->session, st->key, st->value, f);
    if (st->key.n) {
        char *key = arena_z(p->arena, st->key);
        const char *value = session_conf(p->session, key);
        table_row(&t);
        table_str(&t, 0, st->key);
        table_str(&t, 1, str_of(value ? value : "<undefined>"));
    } else { /* SET alone lists what was set */
        struct map_slot *slot;
        os_mutex_lock(p->session->lock);
        for (size_t i = 0; (slot = map_next(&p->session->conf, &i));) {
            table_row(&t);
            table_str(&t, 0, map_key(slot));
            table_str(&t, 1, str_of(slot->value));
        }
        os_mutex_unlock(p->session->lock);
    }
    *out = table_rel(&t);
    return e;
}

static void run_reset(struct planning *p, const struct statement *st)
{
    struct map_slot *slot;
    VEC(struct str) keys = {0};
    os_mutex_lock(p->session->lock);
    for (size_t i = 0; (slot = map_next(&p->session->conf, &i));)
        if (!st->key.n || str_eq(map_key(slot), st->key))
            vec_push(&keys, arena_str(p->arena, map_key(slot)));
    os_mutex_unlock(p->session->lock);
    for (size_t i = 0; i < keys.n; i++)
        session_unset(p->session, keys.p[i]);
    vec_free(&keys);
}

static struct rel *show_tables(struct planning *p, const struct statement *st)
{
    struct table t = {.p = p};
    struct str *names;
    size_t n = session_view_names(p->session, p->arena, &names);
    table_column(&t, "namespace", TYPE_STRING, false);
    table_column(&t, st->extended ? "viewName" : "tableName", TYPE_STRING, false);
    table_column(&t, "isTemporary", TYPE_BOOLEAN, false);
    for (size_t i = 0; i < n; i++) {
        if (st->has_value && !name_matches(st->value, names[i]))
            continue;
        table_row(&t);
        table_str(&t, 0, STR(""));
        table_str(&t, 1, names[i]);
        t.cols[2].data.boolean[t.rows - 1] = 1;
    }
    return table_rel(&t);
}

static struct rel *show_functions(struct planning *p, const struct statement *st)
{
    struct table t = {.p = p};
    table_column(&t, "function", TYPE_STRING, false);
    for (const struct function *fn = function_next(NULL); fn; fn = function_next(fn)) {
        if (st->has_value && !name_matches(st->value, str_of(function_name(fn))))
            continue;
        table_row(&t);
        table_str(&t, 0, str_of(function_name(fn)));
    }
    return table_rel(&t);
}

static enum err describe(struct planning *p, const struct statement *st, struct rel **out, struct fault *f)
{
    struct table t = {.p = p};
    struct plan *plan;
    enum err e = plan_analyze(st->rel, &p->env, &plan, f);
    if (e)
        return e;
    table_column(&t, "col_name", TYPE_STRING, false);
    table_column(&t, "data_type", TYPE_STRING, false);
    table_column(&t, "comment", TYPE_STRING, true);
    for (int i = 0; i < plan->schema->nfields; i++) {
        table_row(&t);
        table_str(&t, 0, plan->schema->fields[i].name);
        table_str(&t, 1, type_simple_string(p->arena, plan->schema->fields[i].type));
        column_set_null(&t.cols[2], t.rows - 1);
    }
    plan_free(plan);
    *out = table_rel(&t);
    return ERR_OK;
}

static enum err explain(struct planning *p, const struct statement *st, struct rel **out, struct fault *f)
{
    struct table t = {.p = p};
    struct plan *plan;
    struct buf text = {0};
    enum err e = plan_analyze(st->rel, &p->env, &plan, f);
    if (e)
        return e;
    plan_text(plan, st->extended, &text);
    table_column(&t, "plan", TYPE_STRING, false);
    table_row(&t);
    table_str(&t, 0, buf_view(&text));
    buf_free(&text);
    plan_free(plan);
    *out = table_rel(&t);
    return ERR_OK;
}

/* A view is checked when it is made, as in Spark: its names must resolve. */
enum err create_view(struct planning *p, struct str name, const struct rel *rel, bool replace, bool global,
                     struct fault *f)
{
    struct plan *plan;
    enum err e = plan_analyze(rel, &p->env, &plan, f);
    if (e)
        return e;
    plan_free(plan);
    return session_put_view(p->session, name, rel, replace, global, f);
}

static enum err drop_view(struct planning *p, const struct statement *st, struct fault *f)
{
    if (session_drop_view(p->session, st->name, st->global) || st->if_exists)
        return ERR_OK;
    struct str quoted = arena_fmt(p->arena, "`%.*s`", STR_ARG(st->name));
    return FAULT(f, ERR_VIEW_NOT_FOUND, {"relationName", quoted.p});
}

enum err convert_statement(struct planning *p, struct str sql, struct rel **out, bool *is_command, struct fault *f)
{
    struct statement st = {0};
    struct table none = {.p = p};
    enum err e = sql_parse(arena_str(p->arena, sql), p->arena, &st, f);
    if (e)
        return e;
    *is_command = st.kind != STATEMENT_QUERY;
    *out = table_rel(&none);
    switch (st.kind) {
    case STATEMENT_QUERY:
        *out = st.rel;
        return ERR_OK;
    case STATEMENT_CREATE_VIEW:
        e = check_recursion(p, st.name, st.rel, f);
        return e ? e : create_view(p, st.name, st.rel, st.replace, st.global, f);
    case STATEMENT_DROP_VIEW:
        return drop_view(p, &st, f);
    case STATEMENT_SET:
        return run_set(p, &st, out, f);
    case STATEMENT_RESET:
        run_reset(p, &st);
        return ERR_OK;
    case STATEMENT_SHOW_TABLES:
        *out = show_tables(p, &st);
        return ERR_OK;
    case STATEMENT_SHOW_FUNCTIONS:
        *out = show_functions(p, &st);
        return ERR_OK;
    case STATEMENT_DESCRIBE:
        return describe(p, &st, out, f);
    case STATEMENT_EXPLAIN:
        return explain(p, &st, out, f);
    }
    return fault_internal(f, "a statement of kind %d", (int)st.kind);
}

/* -- SqlCommand ------------------------------------------------------------------------------------------------------- */
static enum err send_relation(struct exec *x, Spark__Connect__Relation *relation, struct fault *f)
{
    Response r = SPARK__CONNECT__EXECUTE_PLAN_RESPONSE__INIT;
    Spark__Connect__ExecutePlanResponse__SqlCommandResult result =
        SPARK__CONNECT__EXECUTE_PLAN_RESPONSE__SQL_COMMAND_RESULT__INIT;
    result.relation = relation;
    r.response_type_case = SPARK__CONNECT__EXECUTE_PLAN_RESPONSE__RESPONSE_TYPE_SQL_COMMAND_RESULT;
    r.sql_command_result = &result;
    return exec_respond(x, &r, f);
}

/* What a command answered goes back as a local relation, in Arrow form. */
static enum err send_local(struct exec *x, const struct rel *rel, struct fault *f)
{
    struct buf bytes = {.limit = LIMIT_GRPC_MESSAGE_BYTES - 4096};
    struct arrow_out *out = arrow_out_new(rel->schema, str_of(session_conf(x->session, "spark.sql.session.timeZone")));
    enum err e = ERR_OK;
    for (int i = 0; i < rel->nbatches && !e; i++)
        e = arrow_out_add(out, &rel->batches[i], 0, rel->batches[i].n, f);
    if (!e)
        e = arrow_out_finish(out, &bytes, f);
    Spark__Connect__Relation relation = SPARK__CONNECT__RELATION__INIT;
    Spark__Connect__LocalRelation local;
    spark__connect__local_relation__init(&local);
    local.opt_data_case = SPARK__CONNECT__LOCAL_RELATION__OPT_DATA_DATA;
    local.data = (ProtobufCBinaryData){bytes.n, (uint8_t *)bytes.p};
    relation.rel_type_case = SPARK__CONNECT__RELATION__REL_TYPE_LOCAL_RELATION;
    relation.local_relation = &local;
    if (!e)
        e = send_relation(x, &relation, f);
    arrow_out_free(out);
    buf_free(&bytes);
    return e;
}

/* The text of the statement: `input` is a SQL relation, or one with references over it. */
static const Spark__Connect__SQL *sql_of(const Spark__Connect__Relation *r)
{
    if (r && r->rel_type_case == SPARK__CONNECT__RELATION__REL_TYPE_WITH_RELATIONS)
        r = r->with_relations->root;
    return r && r->rel_type_case == SPARK__CONNECT__RELATION__REL_TYPE_SQL ? r->sql : NULL;
}

/* spark.sql("SELECT …") resolves its names at once, though it runs later. */
static enum err analyze_only(struct planning *p, const Spark__Connect__Relation *input, struct fault *f)
{
    struct rel *rel;
    struct plan *plan;
    enum err e = convert_relation(p, input, &rel, f);
    if (!e)
        e = plan_analyze(rel, &p->env, &plan, f);
    if (!e)
        plan_free(plan);
    return e;
}

enum err execute_sql(struct exec *x, const Spark__Connect__SqlCommand *c, struct fault *f)
{
    Spark__Connect__Relation relation = SPARK__CONNECT__RELATION__INIT;
    Spark__Connect__SQL sql = SPARK__CONNECT__SQL__INIT;
    Spark__Connect__Relation *input = c->input;
    struct planning p;
    struct rel *rel;
    bool is_command = false;
    if (!input) { /* clients before 4.0 */
        sql.query = c->sql;
        sql.n_pos_args = c->n_pos_args;
        sql.pos_args = c->pos_args;
        relation.rel_type_case = SPARK__CONNECT__RELATION__REL_TYPE_SQL;
        relation.sql = &sql;
        input = &relation;
        if (c->n_args || c->n_named_arguments || c->n_pos_arguments)
            return refuse(f, "argument of a SQL command", "(old form)");
    }
    const Spark__Connect__SQL *text = sql_of(input);
    if (!text)
        return FAULT(f, ERR_CONNECT_PLAN, {"detail", "A SQL command without SQL text."});
    planning_init(&p, x->session);
    enum err e = convert_statement(&p, str_of(text->query), &rel, &is_command, f);
    if (!e && !is_command)
        e = analyze_only(&p, input, f);
    if (!e)
        e = is_command ? send_local(x, rel, f) : send_relation(x, input, f);
    planning_free(&p);
    return e;
}
