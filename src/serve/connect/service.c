#include "serve/connect/connect_int.h"
#include "base/memory.h"
#include "wire/proto.h"

#include <stdio.h>

enum { OUT_BYTES = 1 << 20, IDLE_MS = 0, BATCH_BYTES = 4 << 20, WORKER_BYTES = 32 << 20, WORKERS_LEAST = 4 };

/* A connection: the loop's, and gRPC's view of it. */
struct link {
    struct connect_server *server;
    struct conn *conn;
    struct grpc_conn *grpc;
};

/* After the loop's turn at gRPC: `alive` is what grpc_feed or grpc_flush said. */
static void link_flush(struct link *l, bool alive)
{
    if (!alive)
        conn_close(l->conn);
    conn_hold(l->conn, grpc_unfinished(l->grpc), grpc_unsent(l->grpc));
}

struct call;
struct rpc {
    const char *name;
    const ProtobufCMessageDescriptor *request;
    void (*run)(struct grpc_call *g, struct call *c);
    bool is_stream_in;
};

/* One call: what was asked, until it is over. */
struct call {
    const struct rpc *rpc;
    struct link *link;
    struct arena *arena;
    ProtobufCMessage *request;
    struct exec *exec;       /* attached, referenced */
    struct session *session; /* AddArtifacts */
    struct upload *upload;
    uint64_t timer;
    uint64_t id;
};

static const char *const STRICT[] = {"spark.connect.Plan", "spark.connect.Relation", NULL};

/* -- answering ---------------------------------------------------------------------------------------------------- */
static void answer_failure(struct grpc_call *g, const struct failure *x)
{
    grpc_finish(g, x->code, str_make(x->message, x->message_n), str_make(x->details, x->details_n));
}

static void answer_fault(struct grpc_call *g, const struct fault *f, struct session *s)
{
    struct call *c = grpc_state(g);
    struct failure x = {0};
    __atomic_add_fetch(&c->link->server->errors, 1, __ATOMIC_RELAXED);
    failure_of(&x, f, s);
    answer_failure(g, &x);
    failure_free(&x);
}

static void answer(struct grpc_call *g, struct arena *a, const ProtobufCMessage *m)
{
    grpc_send(g, proto_pack(a, m));
    grpc_finish(g, GRPC_OK, (struct str){0}, (struct str){0});
}

/* The fields that every request has, by its own type's layout. */
#define SESSION_OF(c, r, create, out, f)                                                                               \
    session_find((c)->link->server, (r)->user_context ? (r)->user_context->user_id : "", (r)->session_id,              \
                 OPTIONAL(r, client_observed_server_side_session_id, NULL), (create), (out), (f))

/* -- calls that the loop answers itself ---------------------------------------------------------------------------- */
static void run_config(struct grpc_call *g, struct call *c)
{
    const Spark__Connect__ConfigRequest *r = (const void *)c->request;
    Spark__Connect__ConfigResponse out = SPARK__CONNECT__CONFIG_RESPONSE__INIT;
    struct session *s = NULL;
    struct fault f;
    enum err e = SESSION_OF(c, r, true, &s, &f);
    if (!e)
        e = conf_rpc(s, r, c->arena, &out, &f);
    if (e) {
        answer_fault(g, &f, s);
    } else {
        out.session_id = s->id;
        out.server_side_session_id = s->server_id;
        answer(g, c->arena, &out.base);
    }
    session_release(s);
}

static void run_release_execute(struct grpc_call *g, struct call *c)
{
    const Spark__Connect__ReleaseExecuteRequest *r = (const void *)c->request;
    Spark__Connect__ReleaseExecuteResponse out = SPARK__CONNECT__RELEASE_EXECUTE_RESPONSE__INIT;
    struct session *s = NULL;
    struct fault f;
    if (SESSION_OF(c, r, false, &s, &f)) {
        answer_fault(g, &f, NULL);
        return;
    }
    struct exec *x = exec_find(s, r->operation_id);
    if (x) { /* an unknown one was released before: no error, as in Spark */
        out.opt_operation_id_case = SPARK__CONNECT__RELEASE_EXECUTE_RESPONSE__OPT_OPERATION_ID_OPERATION_ID;
        out.operation_id = r->operation_id;
        if (r->release_case == SPARK__CONNECT__RELEASE_EXECUTE_REQUEST__RELEASE_RELEASE_UNTIL)
            exec_release_until(x, r->release_until->response_id);
        else
            exec_forget(x);
    }
    out.session_id = s->id;
    out.server_side_session_id = s->server_id;
    answer(g, c->arena, &out.base);
    exec_release(x);
    session_release(s);
}

static bool has_tag(const struct exec *x, const char *tag)
{
    for (size_t i = 0; i < x->ntags; i++)
        if (strcmp(x->tags[i], tag) == 0)
            return true;
    return false;
}

static void run_interrupt(struct grpc_call *g, struct call *c)
{
    const Spark__Connect__InterruptRequest *r = (const void *)c->request;
    Spark__Connect__InterruptResponse out = SPARK__CONNECT__INTERRUPT_RESPONSE__INIT;
    struct session *s = NULL;
    struct fault f;
    if (SESSION_OF(c, r, true, &s, &f)) {
        answer_fault(g, &f, NULL);
        return;
    }
    struct exec *hit[LIMIT_EXECUTIONS];
    size_t n = 0;
    os_mutex_lock(s->lock);
    for (struct exec *x = s->execs; x && n < LIMIT_EXECUTIONS; x = x->next) {
        bool wanted = r->interrupt_type == SPARK__CONNECT__INTERRUPT_REQUEST__INTERRUPT_TYPE__INTERRUPT_TYPE_ALL ||
                      (r->interrupt_case == SPARK__CONNECT__INTERRUPT_REQUEST__INTERRUPT_OPERATION_TAG &&
                       has_tag(x, r->operation_tag)) ||
                      (r->interrupt_case == SPARK__CONNECT__INTERRUPT_REQUEST__INTERRUPT_OPERATION_ID &&
                       strcmp(x->operation_id, r->operation_id) == 0);
        os_mutex_lock(x->lock);
        wanted = wanted && !x->finished;
        os_mutex_unlock(x->lock);
        if (wanted) {
            __atomic_add_fetch(&x->refs, 1, __ATOMIC_RELAXED);
            hit[n++] = x;
        }
    }
    os_mutex_unlock(s->lock);
    out.interrupted_ids = ARENA_ARRAY(c->arena, n + 1, char *);
    for (size_t i = 0; i < n; i++) {
        out.interrupted_ids[out.n_interrupted_ids++] = arena_z(c->arena, str_of(hit[i]->operation_id));
        exec_cancel(hit[i]);
        exec_release(hit[i]);
    }
    out.session_id = s->id;
    out.server_side_session_id = s->server_id;
    answer(g, c->arena, &out.base);
    session_release(s);
}

static void run_release_session(struct grpc_call *g, struct call *c)
{
    const Spark__Connect__ReleaseSessionRequest *r = (const void *)c->request;
    Spark__Connect__ReleaseSessionResponse out = SPARK__CONNECT__RELEASE_SESSION_RESPONSE__INIT;
    struct session *s = NULL;
    struct fault f;
    const char *user = r->user_context ? r->user_context->user_id : "";
    enum err e = session_find(c->link->server, user, r->session_id, NULL, false, &s, &f);
    if (e == ERR_HANDLE_FORMAT) {
        answer_fault(g, &f, NULL);
        return;
    }
    out.session_id = r->session_id;
    if (!e) { /* one that is gone already: nothing to do, no error */
        out.server_side_session_id = s->server_id;
        session_close(s);
    }
    answer(g, c->arena, &out.base);
    session_release(s);
}

static void run_fetch_error(struct grpc_call *g, struct call *c)
{
    const Spark__Connect__FetchErrorDetailsRequest *r = (const void *)c->request;
    Spark__Connect__FetchErrorDetailsResponse out = SPARK__CONNECT__FETCH_ERROR_DETAILS_RESPONSE__INIT;
    struct session *s = NULL;
    struct fault f;
    if (SESSION_OF(c, r, true, &s, &f)) {
        answer_fault(g, &f, NULL);
        return;
    }
    failure_details(s, r->error_id, c->arena, &out);
    out.session_id = s->id;
    out.server_side_session_id = s->server_id;
    answer(g, c->arena, &out.base);
    session_release(s);
}

static void run_clone(struct grpc_call *g, struct call *c)
{
    const Spark__Connect__CloneSessionRequest *r = (const void *)c->request;
    Spark__Connect__CloneSessionResponse out = SPARK__CONNECT__CLONE_SESSION_RESPONSE__INIT;
    struct session *s = NULL, *made = NULL;
    struct fault f;
    enum err e = SESSION_OF(c, r, false, &s, &f);
    if (!e)
        e = session_clone(s, OPTIONAL(r, new_session_id, NULL), &made, &f);
    if (e) {
        answer_fault(g, &f, s);
    } else {
        out.session_id = s->id;
        out.server_side_session_id = s->server_id;
        out.new_session_id = made->id;
        out.new_server_side_session_id = made->server_id;
        answer(g, c->arena, &out.base);
    }
    session_release(made);
    session_release(s);
}

static void run_artifact_status(struct grpc_call *g, struct call *c)
{
    typedef Spark__Connect__ArtifactStatusesResponse__StatusesEntry Entry;
    const Spark__Connect__ArtifactStatusesRequest *r = (const void *)c->request;
    Spark__Connect__ArtifactStatusesResponse out = SPARK__CONNECT__ARTIFACT_STATUSES_RESPONSE__INIT;
    struct session *s = NULL;
    struct fault f;
    if (SESSION_OF(c, r, true, &s, &f)) {
        answer_fault(g, &f, NULL);
        return;
    }
    out.statuses = ARENA_ARRAY(c->arena, r->n_names + 1, Entry *);
    for (size_t i = 0; i < r->n_names; i++) {
        Entry *entry = ARENA_NEW(c->arena, Entry);
        spark__connect__artifact_statuses_response__statuses_entry__init(entry);
        entry->key = r->names[i];
        entry->value = ARENA_NEW(c->arena, Spark__Connect__ArtifactStatusesResponse__ArtifactStatus);
        spark__connect__artifact_statuses_response__artifact_status__init(entry->value);
        entry->value->exists = session_artifact(s, str_of(r->names[i])) != NULL;
        out.statuses[out.n_statuses++] = entry;
    }
    out.session_id = s->id;
    out.server_side_session_id = s->server_id;
    answer(g, c->arena, &out.base);
    session_release(s);
}

typedef Spark__Connect__GetStatusResponse__OperationStatus OperationStatus;

static OperationStatus *status_of(struct arena *a, const char *id, struct exec *x)
{
    OperationStatus *m = ARENA_NEW(a, OperationStatus);
    spark__connect__get_status_response__operation_status__init(m);
    m->operation_id = arena_z(a, str_of(id));
#define STATE(name) SPARK__CONNECT__GET_STATUS_RESPONSE__OPERATION_STATUS__OPERATION_STATE__OPERATION_STATE_##name
    m->state = STATE(UNKNOWN);
    if (x) {
        bool cancelled = __atomic_load_n(&x->cancelled, __ATOMIC_ACQUIRE);
        os_mutex_lock(x->lock);
        m->state = !x->finished   ? (cancelled ? STATE(TERMINATING) : STATE(RUNNING))
                   : x->succeeded ? STATE(SUCCEEDED)
                   : cancelled    ? STATE(CANCELLED)
                                  : STATE(FAILED);
        os_mutex_unlock(x->lock);
    }
#undef STATE
    return m;
}

static void run_get_status(struct grpc_call *g, struct call *c)
{
    const Spark__Connect__GetStatusRequest *r = (const void *)c->request;
    Spark__Connect__GetStatusResponse out = SPARK__CONNECT__GET_STATUS_RESPONSE__INIT;
    struct session *s = NULL;
    struct fault f;
    if (SESSION_OF(c, r, false, &s, &f)) {
        answer_fault(g, &f, NULL);
        return;
    }
    size_t asked = r->operation_status ? r->operation_status->n_operation_ids : 0, n = asked;
    os_mutex_lock(s->lock);
    if (r->operation_status && !asked)
        n = (size_t)s->nexecs;
    out.operation_statuses = ARENA_ARRAY(c->arena, n + 1, OperationStatus *);
    for (struct exec *x = s->execs; x && r->operation_status && !asked; x = x->next)
        out.operation_statuses[out.n_operation_statuses++] = status_of(c->arena, x->operation_id, x);
    os_mutex_unlock(s->lock);
    for (size_t i = 0; i < asked; i++) {
        struct exec *x = exec_find(s, r->operation_status->operation_ids[i]);
        out.operation_statuses[out.n_operation_statuses++] =
            status_of(c->arena, r->operation_status->operation_ids[i], x);
        exec_release(x);
    }
    out.session_id = s->id;
    out.server_side_session_id = s->server_id;
    answer(g, c->arena, &out.base);
    session_release(s);
}

/* -- executions --------------------------------------------------------------------------------------------------- */
void service_pump(void *arg)
{
    struct wake *w = arg;
    struct exec *x = w->exec;
    struct conn *conn = loop_conn(w->loop, w->conn);
    struct link *l = conn ? conn_state(conn) : NULL;
    struct grpc_call *g = l ? grpc_find(l->grpc, w->call) : NULL;
    free(w);
    if (g) {
        exec_pump(x, g);
        link_flush(l, grpc_flush(l->grpc));
    }
    exec_release(x);
}

static void execute_job(void *arg)
{
    struct exec *x = arg;
    struct connect_server *srv = x->session->server;
    __atomic_add_fetch(&srv->running, 1, __ATOMIC_RELAXED);
    execute_plan(x);
    __atomic_sub_fetch(&srv->running, 1, __ATOMIC_RELAXED);
    exec_release(x);
}

static void attach(struct grpc_call *g, struct call *c, struct exec *x, const char *after, struct session *s)
{
    struct fault f;
    if (exec_attach(x, conn_loop(c->link->conn), conn_id(c->link->conn), g, after, &f)) {
        answer_fault(g, &f, s);
        exec_release(x);
        return;
    }
    c->exec = x;
    exec_pump(x, g);
}

static void run_execute(struct grpc_call *g, struct call *c)
{
    const Spark__Connect__ExecutePlanRequest *r = (const void *)c->request;
    struct session *s = NULL;
    struct exec *x = NULL;
    struct fault f;
    enum err e = SESSION_OF(c, r, true, &s, &f);
    if (!e)
        e = exec_new(s, r, c->arena, &x, &f);
    if (e) {
        answer_fault(g, &f, s);
        session_release(s);
        return;
    }
    c->arena = NULL; /* the execution's now */
    __atomic_add_fetch(&c->link->server->executions, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&x->refs, 1, __ATOMIC_RELAXED); /* the worker's */
    attach(g, c, x, NULL, s);
    if (!workers_run(c->link->server, execute_job, x)) {
        LIMIT_FAULT(&f, JOBS);
        exec_finish(x, &f);
        exec_release(x);
    }
    session_release(s);
}

static void run_reattach(struct grpc_call *g, struct call *c)
{
    const Spark__Connect__ReattachExecuteRequest *r = (const void *)c->request;
    struct session *s = NULL;
    struct fault f;
    if (SESSION_OF(c, r, false, &s, &f)) {
        answer_fault(g, &f, NULL);
        return;
    }
    struct exec *x = exec_find(s, r->operation_id);
    if (x) {
        attach(g, c, x, OPTIONAL(r, last_response_id, ""), s);
    } else {
        FAULT(&f, ERR_OPERATION_NOT_FOUND, {"handle", r->operation_id});
        answer_fault(g, &f, s);
    }
    session_release(s);
}

/* -- calls that a worker answers ----------------------------------------------------------------------------------- */
struct reply {
    struct connect_server *server;
    struct loop *loop;
    uint64_t conn, call;
    struct session *session;
    struct arena *arena;
    ProtobufCMessage *request;
    struct str packed;
    struct failure failure;
};

static void reply_free(struct reply *y)
{
    failure_free(&y->failure);
    session_release(y->session);
    arena_free(y->arena);
    free(y);
}

static void deliver(void *arg)
{
    struct reply *y = arg;
    struct conn *conn = loop_conn(y->loop, y->conn);
    struct link *l = conn ? conn_state(conn) : NULL;
    struct grpc_call *g = l ? grpc_find(l->grpc, y->call) : NULL;
    if (g && y->failure.message) {
        answer_failure(g, &y->failure);
    } else if (g) {
        grpc_send(g, y->packed);
        grpc_finish(g, GRPC_OK, (struct str){0}, (struct str){0});
    }
    if (g)
        link_flush(l, grpc_flush(l->grpc));
    reply_free(y);
}

static void analyze_job(void *arg)
{
    struct reply *y = arg;
    struct fault f;
    Spark__Connect__AnalyzePlanResponse out = SPARK__CONNECT__ANALYZE_PLAN_RESPONSE__INIT;
    out.session_id = y->session->id;
    out.server_side_session_id = y->session->server_id;
    struct arena *a = arena_new(0);
    if (analyze_rpc(y->session, (const void *)y->request, a, &out, &f)) {
        failure_of(&y->failure, &f, y->session);
    } else {
        struct str packed = proto_pack(a, &out.base);
        arena_free(y->arena); /* the request is done with */
        y->arena = a;
        y->packed = packed;
        a = NULL;
    }
    arena_free(a);
    loop_post(y->loop, deliver, y);
}

static void run_analyze(struct grpc_call *g, struct call *c)
{
    const Spark__Connect__AnalyzePlanRequest *r = (const void *)c->request;
    struct session *s = NULL;
    struct fault f;
    if (SESSION_OF(c, r, true, &s, &f)) {
        answer_fault(g, &f, NULL);
        return;
    }
    struct reply *y = calloc(1, sizeof *y);
    if (!y)
        memory_out("a reply");
    *y = (struct reply){.server = c->link->server,
                        .loop = conn_loop(c->link->conn),
                        .conn = conn_id(c->link->conn),
                        .call = grpc_call_id(g),
                        .session = s,
                        .arena = c->arena,
                        .request = c->request};
    c->arena = NULL;
    if (!workers_run(c->link->server, analyze_job, y)) {
        LIMIT_FAULT(&f, JOBS);
        answer_fault(g, &f, s);
        reply_free(y);
    }
}

/* -- AddArtifacts: a stream in ------------------------------------------------------------------------------------- */
static void take_artifact(struct grpc_call *g, struct call *c)
{
    const Spark__Connect__AddArtifactsRequest *r = (const void *)c->request;
    struct fault f;
    enum err e = ERR_OK;
    if (!c->session)
        e = SESSION_OF(c, r, true, &c->session, &f);
    if (!e && !c->upload)
        c->upload = upload_new();
    if (!e)
        e = upload_message(c->upload, c->session, r, &f);
    if (e)
        answer_fault(g, &f, c->session);
    arena_free(c->arena);
    c->arena = NULL;
    c->request = NULL;
}

static void run_artifacts(struct grpc_call *g, struct call *c)
{
    Spark__Connect__AddArtifactsResponse out = SPARK__CONNECT__ADD_ARTIFACTS_RESPONSE__INIT;
    struct arena *a = arena_new(0);
    struct fault f;
    enum err e = c->upload ? upload_end(c->upload, a, &out, &f)
                           : FAULT(&f, ERR_CONNECT_PLAN, {"detail", "AddArtifacts without a message."});
    if (e) {
        answer_fault(g, &f, c->session);
    } else {
        out.session_id = c->session->id;
        out.server_side_session_id = c->session->server_id;
        answer(g, a, &out.base);
    }
    arena_free(a);
}

/* -- dispatch ----------------------------------------------------------------------------------------------------- */
#define SERVICE "/spark.connect.SparkConnectService/"
static const struct rpc RPCS[] = {
    {"ExecutePlan", &spark__connect__execute_plan_request__descriptor, run_execute, false},
    {"AnalyzePlan", &spark__connect__analyze_plan_request__descriptor, run_analyze, false},
    {"Config", &spark__connect__config_request__descriptor, run_config, false},
    {"AddArtifacts", &spark__connect__add_artifacts_request__descriptor, run_artifacts, true},
    {"ArtifactStatus", &spark__connect__artifact_statuses_request__descriptor, run_artifact_status, false},
    {"Interrupt", &spark__connect__interrupt_request__descriptor, run_interrupt, false},
    {"ReattachExecute", &spark__connect__reattach_execute_request__descriptor, run_reattach, false},
    {"ReleaseExecute", &spark__connect__release_execute_request__descriptor, run_release_execute, false},
    {"ReleaseSession", &spark__connect__release_session_request__descriptor, run_release_session, false},
    {"FetchErrorDetails", &spark__connect__fetch_error_details_request__descriptor, run_fetch_error, false},
    {"CloneSession", &spark__connect__clone_session_request__descriptor, run_clone, false},
    {"GetStatus", &spark__connect__get_status_request__descriptor, run_get_status, false},
};

static void deadline(void *arg)
{
    /* A timer outlives its call only by mistake: on_gone cancels it. */
    struct grpc_call *g = arg;
    struct call *c = grpc_state(g);
    struct link *l = c->link; /* the call is gone when its answer has been sent */
    c->timer = 0;
    if (c->exec)
        exec_cancel(c->exec);
    grpc_finish(g, GRPC_DEADLINE_EXCEEDED, STR("Deadline Exceeded"), (struct str){0});
    link_flush(l, grpc_flush(l->grpc));
}

static void on_call(void *arg, struct grpc_call *g)
{
    struct link *l = arg;
    struct str path = grpc_path(g);
    struct call *c = calloc(1, sizeof *c);
    if (!c)
        memory_out("a call");
    c->link = l;
    c->id = grpc_call_id(g);
    grpc_set_state(g, c);
    __atomic_add_fetch(&l->server->rpcs, 1, __ATOMIC_RELAXED);
    if (__atomic_load_n(&l->server->stopping, __ATOMIC_ACQUIRE)) {
        grpc_finish(g, GRPC_UNAVAILABLE, STR("the server is stopping"), (struct str){0});
        return;
    }
    for (size_t i = 0; i < sizeof RPCS / sizeof *RPCS && !c->rpc; i++)
        if (str_starts(path, STR(SERVICE)) && str_eqz(str_sub(path, sizeof SERVICE - 1, SIZE_MAX), RPCS[i].name))
            c->rpc = &RPCS[i];
    if (!c->rpc)
        grpc_finish(g, GRPC_UNIMPLEMENTED, STR("Method not found: not a call of spark.connect.SparkConnectService"),
                    (struct str){0});
    else if (grpc_timeout_ms(g) >= 0)
        c->timer = loop_timer(conn_loop(l->conn), grpc_timeout_ms(g), deadline, g);
}

static void on_message(struct grpc_call *g, struct str message)
{
    struct call *c = grpc_state(g);
    struct fault f;
    if (c->request) {
        grpc_finish(g, GRPC_INTERNAL, STR("more than one request message"), (struct str){0});
        return;
    }
    c->arena = arena_new_charged(LIMIT_CALL_BYTES, BUDGET_INPUT);
    if (proto_unpack(c->arena, c->rpc->request, message, STRICT, &c->request, &f)) {
        c->request = NULL;
        answer_fault(g, &f, NULL);
        return;
    }
    if (c->rpc->is_stream_in)
        take_artifact(g, c);
}

static void on_end(struct grpc_call *g)
{
    struct call *c = grpc_state(g);
    if (!c->request && !c->rpc->is_stream_in) {
        grpc_finish(g, GRPC_INTERNAL, STR("no request message"), (struct str){0});
        return;
    }
    session_sweep(c->link->server);
    c->rpc->run(g, c);
}

static void on_drained(struct grpc_call *g)
{
    struct call *c = grpc_state(g);
    if (c->exec)
        exec_pump(c->exec, g);
}

static void on_gone(struct grpc_call *g)
{
    struct call *c = grpc_state(g);
    if (!c)
        return;
    if (c->timer)
        loop_cancel(conn_loop(c->link->conn), c->timer);
    if (c->exec) {
        exec_detach(c->exec, c->id);
        exec_release(c->exec);
    }
    upload_free(c->upload);
    session_release(c->session);
    arena_free(c->arena);
    free(c);
}

static const struct grpc_handler HANDLER = {on_call, on_message, on_end, on_drained, on_gone};

/* -- the loop's protocol ------------------------------------------------------------------------------------------- */
static void link_write(void *io, const void *p, size_t n)
{
    conn_write(((struct link *)io)->conn, p, n);
}

static size_t link_room(void *io)
{
    size_t pending = conn_pending(((struct link *)io)->conn);
    return pending < OUT_BYTES ? OUT_BYTES - pending : 0;
}

static void *link_open(struct conn *conn, void *arg)
{
    struct link *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->server = arg;
    l->conn = conn;
    l->grpc = grpc_conn_new(&HANDLER, l, link_write, link_room, l);
    if (!l->grpc) {
        free(l);
        return NULL;
    }
    return l;
}

static size_t link_data(struct conn *conn, void *state, const char *in, size_t n)
{
    struct link *l = state;
    (void)conn;
    link_flush(l, grpc_feed(l->grpc, in, n));
    return n;
}

static void link_drained(struct conn *conn, void *state)
{
    struct link *l = state;
    (void)conn;
    link_flush(l, grpc_flush(l->grpc));
}

static void link_close(struct conn *conn, void *state)
{
    struct link *l = state;
    (void)conn;
    grpc_conn_free(l->grpc);
    free(l);
}

static const struct loop_protocol PROTOCOL = {
    .name = "connect",
    .max_input_bytes = 1 << 20,
    .max_output_bytes = 4 << 20,
    .idle_ms = IDLE_MS,
    .on_open = link_open,
    .on_data = link_data,
    .on_drained = link_drained,
    .on_close = link_close,
};

/* -- the server ---------------------------------------------------------------------------------------------------- */
enum err connect_start(struct connect_server **out, const struct connect_options *o, struct fault *f)
{
    struct connect_server *s = calloc(1, sizeof *s);
    if (!s)
        return FAULT(f, ERR_NOMEM, {"what", "the Spark Connect service"});
    s->o = *o;
    if (!s->o.memory_bytes)
        s->o.memory_bytes = (size_t)1 << 30;
    size_t all = s->o.process_bytes ? s->o.process_bytes : SIZE_MAX;
    s->batch_bytes = all / 256 < BATCH_BYTES ? all / 256 : BATCH_BYTES;
    s->pool.most = all / WORKER_BYTES < LIMIT_WORKERS ? (int)(all / WORKER_BYTES) : LIMIT_WORKERS;
    s->pool.most = s->pool.most < WORKERS_LEAST ? WORKERS_LEAST : s->pool.most;
    (void)system_zone();
    s->lock = os_mutex_new();
    s->pool.lock = os_mutex_new();
    s->pool.wake = os_cond_new();
    s->pool.tail = &s->pool.head;
    *out = s;
    return ERR_OK;
}

enum err connect_listen(struct connect_server *s, struct loop **loops, int n, const char *host, uint16_t *port,
                        struct fault *f)
{
    return loop_listen(loops, n, host, port, &PROTOCOL, s, f);
}

void connect_stop(struct connect_server *s)
{
    __atomic_store_n(&s->stopping, true, __ATOMIC_RELEASE);
    for (;;) {
        struct map_slot *slot;
        size_t i = 0;
        os_mutex_lock(s->lock);
        slot = map_next(&s->sessions, &i);
        struct session *one = slot ? slot->value : NULL;
        if (one)
            session_retain(one);
        os_mutex_unlock(s->lock);
        if (!one)
            break;
        session_close(one);
        session_release(one);
    }
    query_wake(s->o.queries);
    workers_stop(s);
}

void connect_free(struct connect_server *s)
{
    if (!s)
        return;
    struct map_slot *slot;
    for (size_t i = 0; (slot = map_next(&s->global_views, &i));)
        view_release(slot->value);
    map_free(&s->global_views);
    map_free(&s->sessions);
    os_cond_free(s->pool.wake);
    os_mutex_free(s->pool.lock);
    os_mutex_free(s->lock);
    free(s);
}

void connect_stats(struct connect_server *s, struct connect_stats *out)
{
    os_mutex_lock(s->lock);
    out->sessions = s->sessions.n;
    os_mutex_unlock(s->lock);
    out->executions = __atomic_load_n(&s->executions, __ATOMIC_RELAXED);
    out->running = __atomic_load_n(&s->running, __ATOMIC_RELAXED);
    out->rpcs = __atomic_load_n(&s->rpcs, __ATOMIC_RELAXED);
    out->errors = __atomic_load_n(&s->errors, __ATOMIC_RELAXED);
}
