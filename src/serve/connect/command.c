#include "serve/connect/connect_int.h"

#include <stdio.h>

typedef Spark__Connect__ExecutePlanResponse Response;
#define RESPONSE(name) SPARK__CONNECT__EXECUTE_PLAN_RESPONSE__RESPONSE_TYPE_##name

/* -- starting a query ------------------------------------------------------------------------------------------------ */
typedef Spark__Connect__WriteStreamOperationStart Start;

static enum err trigger_of(const Start *c, struct query_options *q, struct fault *f)
{
    struct calendar_interval v;
    switch (c->trigger_case) {
    case SPARK__CONNECT__WRITE_STREAM_OPERATION_START__TRIGGER__NOT_SET:
        q->trigger = TRIGGER_DEFAULT;
        return ERR_OK;
    case SPARK__CONNECT__WRITE_STREAM_OPERATION_START__TRIGGER_AVAILABLE_NOW:
        q->trigger = TRIGGER_AVAILABLE_NOW;
        return ERR_OK;
    case SPARK__CONNECT__WRITE_STREAM_OPERATION_START__TRIGGER_ONCE:
        q->trigger = TRIGGER_ONCE;
        return ERR_OK;
    case SPARK__CONNECT__WRITE_STREAM_OPERATION_START__TRIGGER_PROCESSING_TIME_INTERVAL:
        if (!interval_parse(str_of(c->processing_time_interval), &v) || v.months || v.days < 0 || v.micros < 0)
            return FAULT(f, ERR_INVALID, {"what", "processingTime"}, {"detail", c->processing_time_interval});
        q->trigger = TRIGGER_PROCESSING_TIME;
        q->trigger_ms = v.days * INT64_C(86400000) + v.micros / 1000;
        return ERR_OK;
    case SPARK__CONNECT__WRITE_STREAM_OPERATION_START__TRIGGER_CONTINUOUS_CHECKPOINT_INTERVAL:
        return refuse(f, "trigger", "continuous");
    case SPARK__CONNECT__WRITE_STREAM_OPERATION_START__TRIGGER_REAL_TIME_BATCH_DURATION:
        return refuse(f, "trigger", "realTime");
    default:
        return FAULT(f, ERR_CONNECT_PLAN, {"detail", "A trigger of no known kind."});
    }
}

static enum err mode_of(const char *text, struct query_options *q, struct fault *f)
{
    static const struct {
        const char *name;
        enum output_mode mode;
    } modes[] = {
        {"", OUTPUT_APPEND}, {"append", OUTPUT_APPEND}, {"update", OUTPUT_UPDATE}, {"complete", OUTPUT_COMPLETE}};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (str_eq_nocase(str_of(text), str_of(modes[i].name))) {
            q->mode = modes[i].mode;
            return ERR_OK;
        }
    }
    return FAULT(f, ERR_OUTPUT_MODE_INVALID, {"outputMode", text});
}

/* "file:///a/b" and "file:/a/b" are "/a/b"; other schemes are refused. */
static enum err local_path(struct planning *p, struct str location, struct str *out, struct fault *f)
{
    ptrdiff_t colon = str_find(location, STR(":"), 0);
    ptrdiff_t slash = str_find(location, STR("/"), 0);
    if (colon > 0 && (slash < 0 || colon < slash)) {
        struct str scheme = str_sub(location, 0, (size_t)colon);
        if (!str_eq_nocase(scheme, STR("file"))) {
            return refuse(f, "scheme of a checkpointLocation", arena_z(p->arena, scheme));
        }
        location = str_sub(location, (size_t)colon + 1, SIZE_MAX);
        if (str_starts(location, STR("//")))
            location = str_sub(location, 2, SIZE_MAX);
    }
    *out = location;
    return ERR_OK;
}

/* The option, else the conf with the query's name (or a fresh one) below it, else none: a temporary one. */
static enum err checkpoint_of(struct planning *p, struct query_options *q, struct fault *f)
{
    struct str location = option_get(q->options, q->noptions, "checkpointLocation");
    const char *parent = session_conf(p->session, "spark.sql.streaming.checkpointLocation");
    if (!location.p && parent && *parent) {
        char made[37];
        os_uuid_text(os_uuid_random(), made);
        struct str name = q->name.n ? q->name : str_of(made);
        location = arena_fmt(p->arena, "%s/%.*s", parent, STR_ARG(name));
    }
    return location.p ? local_path(p, location, &q->checkpoint_dir, f) : ERR_OK;
}

static enum err refuse_parts(const Start *c, struct fault *f)
{
    if (c->foreach_batch)
        return refuse(f, "sink", "foreachBatch");
    if (c->foreach_writer)
        return refuse(f, "sink", "foreach");
    if (c->n_partitioning_column_names)
        return refuse(f, "option of a streaming sink", "partitionBy");
    if (c->n_clustering_column_names)
        return refuse(f, "option of a streaming sink", "clusterBy");
    if (c->sink_destination_case == SPARK__CONNECT__WRITE_STREAM_OPERATION_START__SINK_DESTINATION_TABLE_NAME)
        return refuse(f, "sink", "table");
    return ERR_OK;
}

static void console_text(void *arg, struct str text)
{
    terminal_write(arg, text);
}

static void console_done(void *arg)
{
    session_release(arg);
}

static void options_of(struct planning *p, const Start *c, struct query_options *q)
{
    struct option *o = ARENA_ARRAY(p->arena, c->n_options + 2, struct option);
    for (size_t i = 0; i < c->n_options; i++)
        o[q->noptions++] = (struct option){arena_str(p->arena, str_of(c->options[i]->key)),
                                           arena_str(p->arena, str_of(c->options[i]->value))};
    if (c->sink_destination_case == SPARK__CONNECT__WRITE_STREAM_OPERATION_START__SINK_DESTINATION_PATH)
        o[q->noptions++] = (struct option){STR("path"), arena_str(p->arena, str_of(c->path))};
    q->options = o;
}

static enum err start_query(struct planning *p, struct exec *x, const Start *c, struct query_ids *ids, struct fault *f)
{
    struct session *s = x->session;
    struct rel *rel;
    struct query_options q = {.session_id = str_of(s->id),
                              .name = arena_str(p->arena, str_of(c->query_name)),
                              .conf = session_conf,
                              .conf_arg = s,
                              .tables = s->tables,
                              .console = console_text,
                              .on_console_free = console_done,
                              .console_arg = s};
    const char *format = *c->format ? c->format : session_conf(s, "spark.sql.sources.default");
    q.sink_format = arena_str(p->arena, str_of(format));
    options_of(p, c, &q);
    enum err e = refuse_parts(c, f);
    if (!e)
        e = mode_of(c->output_mode, &q, f);
    if (!e)
        e = trigger_of(c, &q, f);
    if (!e)
        e = checkpoint_of(p, &q, f);
    if (!e)
        e = convert_relation(p, c->input, &rel, f);
    if (!e)
        e = plan_analyze(rel, &p->env, &q.plan, f);
    if (!e && !q.plan->is_streaming) {
        plan_free(q.plan);
        return FAULT(f, ERR_WRITE_STREAM_BATCH, {"name", ""});
    }
    if (e)
        return e;
    session_retain(s); /* the console's; given back by on_console_free, also on failure */
    return query_start(s->server->o.queries, &q, ids, f);
}

static Spark__Connect__StreamingQueryInstanceId id_message(const struct query_ids *ids)
{
    Spark__Connect__StreamingQueryInstanceId m = SPARK__CONNECT__STREAMING_QUERY_INSTANCE_ID__INIT;
    m.id = (char *)ids->id;
    m.run_id = (char *)ids->run_id;
    return m;
}

static enum err write_stream(struct exec *x, const Start *c, struct fault *f)
{
    struct planning p;
    struct query_ids ids;
    planning_init(&p, x->session);
    enum err e = start_query(&p, x, c, &ids, f);
    planning_free(&p);
    if (e)
        return e;
    Response r = SPARK__CONNECT__EXECUTE_PLAN_RESPONSE__INIT;
    Spark__Connect__WriteStreamOperationStartResult result = SPARK__CONNECT__WRITE_STREAM_OPERATION_START_RESULT__INIT;
    Spark__Connect__StreamingQueryInstanceId id = id_message(&ids);
    result.query_id = &id;
    result.name = c->query_name;
    r.response_type_case = RESPONSE(WRITE_STREAM_OPERATION_START_RESULT);
    r.write_stream_operation_start_result = &result;
    return exec_respond(x, &r, f);
}

/* -- asking a query --------------------------------------------------------------------------------------------------- */
typedef Spark__Connect__StreamingQueryCommand Ask;
typedef Spark__Connect__StreamingQueryCommandResult Answer;
#define ASK(name)    SPARK__CONNECT__STREAMING_QUERY_COMMAND__COMMAND_##name
#define ANSWER(name) SPARK__CONNECT__STREAMING_QUERY_COMMAND_RESULT__RESULT_TYPE_##name

static void ask_status(struct query *q, struct arena *a, Answer *out)
{
    struct query_status st;
    query_status(q, &st);
    out->result_type_case = ANSWER(STATUS);
    out->status = ARENA_NEW(a, Spark__Connect__StreamingQueryCommandResult__StatusResult);
    spark__connect__streaming_query_command_result__status_result__init(out->status);
    out->status->status_message = arena_z(a, str_of(st.message));
    out->status->is_data_available = st.is_data_available;
    out->status->is_trigger_active = st.is_trigger_active;
    out->status->is_active = st.is_active;
}

static void ask_progress(struct query *q, bool last_only, struct arena *a, Answer *out)
{
    struct str *texts;
    size_t n = query_progress(q, last_only, a, &texts);
    out->result_type_case = ANSWER(RECENT_PROGRESS);
    out->recent_progress = ARENA_NEW(a, Spark__Connect__StreamingQueryCommandResult__RecentProgressResult);
    spark__connect__streaming_query_command_result__recent_progress_result__init(out->recent_progress);
    out->recent_progress->recent_progress_json = ARENA_ARRAY(a, n + 1, char *);
    for (size_t i = 0; i < n; i++)
        out->recent_progress->recent_progress_json[out->recent_progress->n_recent_progress_json++] =
            arena_z(a, texts[i]);
}

static void ask_exception(struct query *q, struct arena *a, Answer *out)
{
    struct fault *fault = ARENA_NEW(a, struct fault);
    struct str text;
    if (!query_exception(q, fault, a, &text))
        return; /* as in Spark: a result without anything in it */
    Spark__Connect__StreamingQueryCommandResult__ExceptionResult *m =
        ARENA_NEW(a, Spark__Connect__StreamingQueryCommandResult__ExceptionResult);
    spark__connect__streaming_query_command_result__exception_result__init(m);
#define CASE(name) SPARK__CONNECT__STREAMING_QUERY_COMMAND_RESULT__EXCEPTION_RESULT__OPT_##name
    m->opt_exception_message_case = CASE(EXCEPTION_MESSAGE_EXCEPTION_MESSAGE);
    m->exception_message = arena_z(a, text);
    m->opt_error_class_case = CASE(ERROR_CLASS_ERROR_CLASS);
    m->error_class = "STREAM_FAILED";
    m->opt_stack_trace_case = CASE(STACK_TRACE_STACK_TRACE);
    m->stack_trace = m->exception_message;
#undef CASE
    out->result_type_case = ANSWER(EXCEPTION);
    out->exception = m;
}

/* A query that failed makes awaitTermination and processAllAvailable fail with its exception. */
static enum err failed(struct query *q, struct arena *a, struct fault *f)
{
    struct str text;
    return query_exception(q, f, a, &text) ? f->err : ERR_OK;
}

static enum err ask_await(struct exec *x, struct query *q, const Ask *c, struct arena *a, Answer *out, struct fault *f)
{
    int64_t timeout_ms = OPTIONAL(c->await_termination, timeout_ms, -1);
    bool terminated = query_await(q, timeout_ms, &x->cancelled);
    if (__atomic_load_n(&x->cancelled, __ATOMIC_ACQUIRE))
        return FAULT(f, ERR_CANCELLED, {"operationId", x->operation_id});
    out->result_type_case = ANSWER(AWAIT_TERMINATION);
    out->await_termination = ARENA_NEW(a, Spark__Connect__StreamingQueryCommandResult__AwaitTerminationResult);
    spark__connect__streaming_query_command_result__await_termination_result__init(out->await_termination);
    out->await_termination->terminated = terminated;
    return terminated ? failed(q, a, f) : ERR_OK;
}

static void ask_explain(struct query *q, bool extended, struct arena *a, Answer *out)
{
    struct buf text = {0};
    query_explain(q, extended, &text);
    out->result_type_case = ANSWER(EXPLAIN);
    out->explain = ARENA_NEW(a, Spark__Connect__StreamingQueryCommandResult__ExplainResult);
    spark__connect__streaming_query_command_result__explain_result__init(out->explain);
    out->explain->result = arena_z(a, buf_view(&text));
    buf_free(&text);
}

static enum err ask_one(struct exec *x, struct query *q, const Ask *c, struct arena *a, Answer *out, struct fault *f)
{
    switch (c->command_case) {
    case ASK(STATUS):
        ask_status(q, a, out);
        return ERR_OK;
    case ASK(LAST_PROGRESS):
        ask_progress(q, true, a, out);
        return ERR_OK;
    case ASK(RECENT_PROGRESS):
        ask_progress(q, false, a, out);
        return ERR_OK;
    case ASK(STOP):
        query_stop(q);
        return ERR_OK;
    case ASK(PROCESS_ALL_AVAILABLE):
        return query_process_all_available(q, &x->cancelled, f);
    case ASK(EXPLAIN):
        ask_explain(q, c->explain->extended, a, out);
        return ERR_OK;
    case ASK(EXCEPTION):
        ask_exception(q, a, out);
        return ERR_OK;
    case ASK(AWAIT_TERMINATION):
        return ask_await(x, q, c, a, out, f);
    default:
        return FAULT(f, ERR_CONNECT_PLAN, {"detail", "A streaming query command of no known kind."});
    }
}

static enum err ask_query(struct exec *x, const Ask *c, struct fault *f)
{
    const char *id = c->query_id ? c->query_id->id : "", *run_id = c->query_id ? c->query_id->run_id : "";
    struct query *q = query_find(x->session->server->o.queries, str_of(x->session->id), str_of(id), str_of(run_id));
    if (!q)
        return FAULT(f, ERR_QUERY_NOT_FOUND, {"id", id}, {"runId", run_id});
    struct arena *a = arena_new(0);
    Response r = SPARK__CONNECT__EXECUTE_PLAN_RESPONSE__INIT;
    Answer out = SPARK__CONNECT__STREAMING_QUERY_COMMAND_RESULT__INIT;
    out.query_id = c->query_id;
    r.response_type_case = RESPONSE(STREAMING_QUERY_COMMAND_RESULT);
    r.streaming_query_command_result = &out;
    enum err e = ask_one(x, q, c, a, &out, f);
    if (!e)
        e = exec_respond(x, &r, f);
    query_release(q);
    arena_free(a);
    return e;
}

/* -- spark.streams ------------------------------------------------------------------------------------------------------ */
typedef Spark__Connect__StreamingQueryManagerCommand Manage;
typedef Spark__Connect__StreamingQueryManagerCommandResult Managed;
typedef Spark__Connect__StreamingQueryManagerCommandResult__StreamingQueryInstance Instance;
#define MANAGE(name)  SPARK__CONNECT__STREAMING_QUERY_MANAGER_COMMAND__COMMAND_##name
#define MANAGED(name) SPARK__CONNECT__STREAMING_QUERY_MANAGER_COMMAND_RESULT__RESULT_TYPE_##name

static Instance *instance_of(struct query *q, struct arena *a)
{
    Instance *m = ARENA_NEW(a, Instance);
    struct query_ids *ids = ARENA_NEW(a, struct query_ids);
    *ids = query_ids(q);
    spark__connect__streaming_query_manager_command_result__streaming_query_instance__init(m);
    m->id = ARENA_NEW(a, Spark__Connect__StreamingQueryInstanceId);
    *m->id = id_message(ids);
    struct str name = query_name(q);
    if (name.n) {
        m->opt_name_case =
            SPARK__CONNECT__STREAMING_QUERY_MANAGER_COMMAND_RESULT__STREAMING_QUERY_INSTANCE__OPT_NAME_NAME;
        m->name = arena_z(a, name);
    }
    return m;
}

static void list_active(struct exec *x, struct arena *a, Managed *out)
{
    struct query **all;
    size_t n = query_list(x->session->server->o.queries, str_of(x->session->id), a, &all);
    out->result_type_case = MANAGED(ACTIVE);
    out->active = ARENA_NEW(a, Spark__Connect__StreamingQueryManagerCommandResult__ActiveResult);
    spark__connect__streaming_query_manager_command_result__active_result__init(out->active);
    out->active->active_queries = ARENA_ARRAY(a, n + 1, Instance *);
    for (size_t i = 0; i < n; i++) {
        out->active->active_queries[out->active->n_active_queries++] = instance_of(all[i], a);
        query_release(all[i]);
    }
}

static enum err await_any(struct exec *x, const Manage *c, struct arena *a, Managed *out, struct fault *f)
{
    int64_t timeout_ms = OPTIONAL(c->await_any_termination, timeout_ms, -1);
    bool terminated = query_await_any(x->session->server->o.queries, str_of(x->session->id), timeout_ms, &x->cancelled);
    if (__atomic_load_n(&x->cancelled, __ATOMIC_ACQUIRE))
        return FAULT(f, ERR_CANCELLED, {"operationId", x->operation_id});
    out->result_type_case = MANAGED(AWAIT_ANY_TERMINATION);
    out->await_any_termination =
        ARENA_NEW(a, Spark__Connect__StreamingQueryManagerCommandResult__AwaitAnyTerminationResult);
    spark__connect__streaming_query_manager_command_result__await_any_termination_result__init(
        out->await_any_termination);
    out->await_any_termination->terminated = terminated;
    return ERR_OK;
}

static enum err manage_one(struct exec *x, const Manage *c, struct arena *a, Managed *out, struct fault *f)
{
    struct query_manager *m = x->session->server->o.queries;
    struct str session = str_of(x->session->id);
    struct query *q;
    switch (c->command_case) {
    case MANAGE(ACTIVE):
        list_active(x, a, out);
        return ERR_OK;
    case MANAGE(GET_QUERY):
        q = query_find(m, session, str_of(c->get_query), (struct str){0});
        if (q) {
            out->result_type_case = MANAGED(QUERY);
            out->query = instance_of(q, a);
            query_release(q);
        }
        return ERR_OK;
    case MANAGE(AWAIT_ANY_TERMINATION):
        return await_any(x, c, a, out, f);
    case MANAGE(RESET_TERMINATED):
        query_reset_terminated(m, session);
        out->result_type_case = MANAGED(RESET_TERMINATED);
        out->reset_terminated = true;
        return ERR_OK;
    case MANAGE(LIST_LISTENERS):
        out->result_type_case = MANAGED(LIST_LISTENERS);
        out->list_listeners =
            ARENA_NEW(a, Spark__Connect__StreamingQueryManagerCommandResult__ListStreamingQueryListenerResult);
        spark__connect__streaming_query_manager_command_result__list_streaming_query_listener_result__init(
            out->list_listeners);
        return ERR_OK;
    case MANAGE(ADD_LISTENER):
    case MANAGE(REMOVE_LISTENER):
        return refuse(f, "streaming query manager command", "StreamingQueryListener on the server");
    default:
        return FAULT(f, ERR_CONNECT_PLAN, {"detail", "A streaming query manager command of no known kind."});
    }
}

static enum err manage(struct exec *x, const Manage *c, struct fault *f)
{
    struct arena *a = arena_new(0);
    Response r = SPARK__CONNECT__EXECUTE_PLAN_RESPONSE__INIT;
    Managed out = SPARK__CONNECT__STREAMING_QUERY_MANAGER_COMMAND_RESULT__INIT;
    r.response_type_case = RESPONSE(STREAMING_QUERY_MANAGER_COMMAND_RESULT);
    r.streaming_query_manager_command_result = &out;
    enum err e = manage_one(x, c, a, &out, f);
    if (!e)
        e = exec_respond(x, &r, f);
    arena_free(a);
    return e;
}

/* -- the rest ----------------------------------------------------------------------------------------------------------- */
static enum err create_dataframe_view(struct exec *x, const Spark__Connect__CreateDataFrameViewCommand *c,
                                      struct fault *f)
{
    struct planning p;
    struct rel *rel;
    planning_init(&p, x->session);
    enum err e = convert_relation(&p, c->input, &rel, f);
    if (!e)
        e = capture_views(&p, &rel, f);
    if (!e)
        e = create_view(&p, str_of(c->name), rel, c->replace, c->is_global, f);
    planning_free(&p);
    return e;
}

static enum err remove_cached(struct exec *x, const Spark__Connect__RemoveCachedRemoteRelationCommand *c)
{
    os_mutex_lock(x->session->lock);
    struct view *v = c->relation ? map_del(&x->session->relations, str_of(c->relation->relation_id)) : NULL;
    os_mutex_unlock(x->session->lock);
    view_release(v);
    return ERR_OK;
}

/* Every client asks for this at its end: there is nothing in the cache. */
static enum err clean_ml_cache(struct exec *x, const Spark__Connect__MlCommand *c, struct fault *f)
{
    if (c->command_case != SPARK__CONNECT__ML_COMMAND__COMMAND_CLEAN_CACHE)
        return refuse(f, "command", "ml_command (machine learning)");
    Response r = SPARK__CONNECT__EXECUTE_PLAN_RESPONSE__INIT;
    Spark__Connect__MlCommandResult result = SPARK__CONNECT__ML_COMMAND_RESULT__INIT;
    Spark__Connect__Expression__Literal removed = SPARK__CONNECT__EXPRESSION__LITERAL__INIT;
    removed.literal_type_case = SPARK__CONNECT__EXPRESSION__LITERAL__LITERAL_TYPE_INTEGER;
    result.result_type_case = SPARK__CONNECT__ML_COMMAND_RESULT__RESULT_TYPE_PARAM;
    result.param = &removed;
    r.response_type_case = RESPONSE(ML_COMMAND_RESULT);
    r.ml_command_result = &result;
    return exec_respond(x, &r, f);
}

static enum err get_resources(struct exec *x, struct fault *f)
{
    Response r = SPARK__CONNECT__EXECUTE_PLAN_RESPONSE__INIT;
    Spark__Connect__GetResourcesCommandResult result = SPARK__CONNECT__GET_RESOURCES_COMMAND_RESULT__INIT;
    r.response_type_case = RESPONSE(GET_RESOURCES_COMMAND_RESULT);
    r.get_resources_command_result = &result;
    return exec_respond(x, &r, f);
}

static const char *refused_kind(Spark__Connect__Command__CommandTypeCase kind)
{
    const ProtobufCFieldDescriptor *fd =
        protobuf_c_message_descriptor_get_field(&spark__connect__command__descriptor, (unsigned)kind);
    return fd ? fd->name : "(unknown)";
}

enum err execute_command(struct exec *x, const Spark__Connect__Command *c, struct fault *f)
{
#define COMMAND(name) SPARK__CONNECT__COMMAND__COMMAND_TYPE_##name
    switch (c->command_type_case) {
    case COMMAND(SQL_COMMAND):
        return execute_sql(x, c->sql_command, f);
    case COMMAND(CREATE_DATAFRAME_VIEW):
        return create_dataframe_view(x, c->create_dataframe_view, f);
    case COMMAND(WRITE_STREAM_OPERATION_START):
        return write_stream(x, c->write_stream_operation_start, f);
    case COMMAND(STREAMING_QUERY_COMMAND):
        return ask_query(x, c->streaming_query_command, f);
    case COMMAND(STREAMING_QUERY_MANAGER_COMMAND):
        return manage(x, c->streaming_query_manager_command, f);
    case COMMAND(REMOVE_CACHED_REMOTE_RELATION_COMMAND):
        return remove_cached(x, c->remove_cached_remote_relation_command);
    case COMMAND(ML_COMMAND):
        return clean_ml_cache(x, c->ml_command, f);
    case COMMAND(GET_RESOURCES_COMMAND):
        return get_resources(x, f);
    case COMMAND(_NOT_SET):
        return FAULT(f, ERR_CONNECT_PLAN, {"detail", "A command is missing."});
    default:
        return refuse(f, "command", refused_kind(c->command_type_case));
    }
}
