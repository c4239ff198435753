/*
 * The private side of serve/connect. Files:
 *
 *   service.c    connections, the twelve calls          execution.c  responses, worker pool, reattachment
 *   session.c    sessions, views, cached relations      conf.c       configuration (spec/connect_conf.def)
 *   failure.c    faults → gRPC statuses, error details  execute.c    ExecutePlan on a worker: rows out as Arrow
 *   command.c    commands, streaming queries            analyze.c    AnalyzePlan
 *   relation.c expression.c literal.c types.c           protobuf → sql tree, types both ways
 *   catalog.c    catalog relations                      artifact.c   AddArtifacts, ArtifactStatus
 *   view.c       what a view holds on to                    terminal.c   console text of sessions
 */
#ifndef PENSTOCK_SERVE_CONNECT_INT_H
#define PENSTOCK_SERVE_CONNECT_INT_H

#include "base/limit.h"
#include "base/budget.h"
#include "base/map.h"
#include "base/vec.h"
#include "os/os.h"
#include "serve/connect/connect.h"
#include "spark/connect/base.pb-c.h"
#include "wire/grpc.h"

enum {
    DETACHED_MS = 5 * 60 * 1000,
    DETACHED_SHORT_MS = 10 * 1000, /* while memory for answers is short */
    SESSION_IDLE_MS = 60 * 60 * 1000,
};

/* -- failures: how a call ends badly ----------------------------------------------------------------------------- */
struct failure {
    enum grpc_code code;
    char *message, *details; /* malloc'ed; details is a serialized google.rpc.Status */
    size_t message_n, details_n;
};
struct session;
/* Fill *x from a fault. The session (NULL allowed) remembers it for FetchErrorDetails. */
void failure_of(struct failure *x, const struct fault *f, struct session *s);
void failure_free(struct failure *x);
/* The error that the session remembers under an id, if it does, as FetchErrorDetails tells it. */
void failure_details(struct session *s, const char *id, struct arena *a,
                     Spark__Connect__FetchErrorDetailsResponse *out);
/* Spark's text of a fault: "[CLASS] … SQLSTATE: 42703" with its query context. */
void fault_text(const struct fault *f, struct buf *out);

/* -- configuration ----------------------------------------------------------------------------------------------- */
struct conf_row {
    const char *key, *value; /* value NULL: known, without a default */
    enum conf_type { CONF_STRING, CONF_BOOL, CONF_INT, CONF_LONG, CONF_ZONE } type;
    bool is_static;
};
const struct conf_row *conf_find(struct str key);
/* Session value, else default; NULL: unknown. Values live as long as the session. */
const char *session_conf(void *session, const char *key);
CHECK enum err session_set(struct session *s, struct str key, struct str value, struct fault *f);
void session_unset(struct session *s, struct str key);
CHECK enum err conf_rpc(struct session *s, const Spark__Connect__ConfigRequest *r, struct arena *a,
                        Spark__Connect__ConfigResponse *out, struct fault *f);
const char *system_zone(void);

/* -- sessions ----------------------------------------------------------------------------------------------------- */
struct view {
    int refs; /* atomic */
    struct arena *arena;
    const struct rel *rel;
};
struct blob {
    size_t n;
    char bytes[];
};
struct kept_error {
    char id[37];
    struct fault *fault;
};
struct waiter {
    uint64_t from;
    void (*wake)(void *arg);
    void *arg;
};
struct terminal { /* under the session's lock */
    char *ring;
    uint64_t end; /* bytes written ever */
    struct waiter waiters[LIMIT_TERMINAL_WAITERS];
    int nwaiters;
};
struct exec;
struct session {
    int refs; /* atomic */
    struct connect_server *server;
    char id[37], server_id[37], user[128];
    struct os_mutex *lock;
    struct map conf; /* key → char *; values that were replaced wait in old_confs */
    VEC(char *) old_confs;
    struct map views;     /* lower-cased name → struct view * */
    struct map artifacts; /* "cache/HASH" → struct blob * */
    struct map relations; /* id of a CachedRemoteRelation → struct view * */
    size_t artifact_bytes;
    struct exec *execs;
    int nexecs;
    struct kept_error errors[LIMIT_ERRORS_KEPT];
    int next_error;
    struct memory_tables *tables;
    struct terminal terminal;
    bool closed; /* atomic */
    int64_t used_ms;
};
/* The session of a request; made if `create`. Referenced: session_release. observed: what the client saw as server side id. */
CHECK enum err session_find(struct connect_server *srv, const char *user, const char *id, const char *observed,
                            bool create, struct session **out, struct fault *f);
void session_retain(struct session *s);
void session_release(struct session *s);
/* Forget it: interrupt its executions, stop its queries. */
void session_close(struct session *s);
CHECK enum err session_clone(struct session *from, const char *new_id, struct session **out, struct fault *f);
/* Referenced view or NULL. */
struct view *session_view(struct session *s, struct str name);
CHECK enum err session_put_view(struct session *s, struct str name, const struct rel *rel, bool replace, bool global,
                                struct fault *f);
bool session_drop_view(struct session *s, struct str name, bool global);
struct view *view_new(const struct rel *rel);
struct view *view_retain(struct view *v);
void view_release(struct view *v);
/* Names of temp views, sorted, in the arena. */
size_t session_view_names(struct session *s, struct arena *a, struct str **out);
struct blob *session_artifact(struct session *s, struct str name); /* lives as long as the session */
void session_sweep(struct connect_server *srv);

/* -- executions --------------------------------------------------------------------------------------------------- */
struct response {
    struct response *next;
    uint64_t seq;
    char id[37];
    size_t n;
    char bytes[];
};
struct exec {
    int refs; /* atomic */
    struct session *session;
    struct exec *next; /* in the session, under its lock */
    bool listed;
    char operation_id[37];
    char **tags;
    size_t ntags;
    bool reattachable;
    struct arena *arena; /* of the request; the worker's until it is done */
    const Spark__Connect__Plan *plan;
    bool cancelled; /* atomic; workers poll it */
    /* the rest is under lock */
    struct os_mutex *lock;
    struct os_cond *room;
    struct response *head, **tail; /* not yet released, in order */
    uint64_t next_seq, send_seq;   /* of the next response made, sent */
    size_t unsent_bytes, kept_bytes;
    bool finished, succeeded, woken; /* woken: a service_pump is on its way to the call */
    struct failure failure;
    struct loop *loop; /* NULL: nobody is attached */
    uint64_t conn, call;
    int64_t detached_ms;
};
CHECK enum err exec_new(struct session *s, const Spark__Connect__ExecutePlanRequest *r, struct arena *arena,
                        struct exec **out, struct fault *f);
struct exec *exec_find(struct session *s, const char *operation_id); /* referenced */
void exec_release(struct exec *x);
void exec_cancel(struct exec *x);
void exec_forget(struct exec *x); /* cancel if it runs; out of its session */
/* A worker's: append a response (ids filled in), wait while too much is unsent. ERR_CANCELLED. */
CHECK enum err exec_respond(struct exec *x, Spark__Connect__ExecutePlanResponse *r, struct fault *f);
void exec_finish(struct exec *x, const struct fault *f); /* f NULL or ERR_OK: result_complete */
/* A loop's: from now on responses go to this call; `after` NULL or the id of the last response the client has. */
CHECK enum err exec_attach(struct exec *x, struct loop *loop, uint64_t conn, struct grpc_call *call, const char *after,
                           struct fault *f);
void exec_detach(struct exec *x, uint64_t call);
void exec_pump(struct exec *x, struct grpc_call *call);
void exec_release_until(struct exec *x, const char *response_id);
/* Run fn(arg) on a worker thread. False: too many jobs wait. */
bool workers_run(struct connect_server *srv, void (*fn)(void *arg), void *arg);
void workers_stop(struct connect_server *srv);
/* Posted to the loop that a call of x hangs on: send what there is for it. service.c */
struct wake {
    struct exec *exec; /* referenced */
    struct loop *loop;
    uint64_t conn, call;
};
void service_pump(void *wake);

/* -- the server --------------------------------------------------------------------------------------------------- */
struct job {
    struct job *next;
    void (*fn)(void *arg);
    void *arg;
};
struct connect_server {
    struct connect_options o;
    struct os_mutex *lock;
    struct map sessions;                    /* user NUL id → struct session * */
    size_t batch_bytes;                     /* of an Arrow batch for a client */
    char closed[LIMIT_CLOSED_SESSIONS][37]; /* ring of session ids that were closed */
    int next_closed;
    struct map global_views; /* under lock */
    struct {
        struct os_mutex *lock;
        struct os_cond *wake;
        struct job *head, **tail;
        int njobs, nthreads, idle;
        bool stopping;
        int most;
        struct os_thread *threads[LIMIT_WORKERS];
    } pool;
    bool stopping;                              /* atomic */
    uint64_t rpcs, errors, executions, running; /* atomic */
    int64_t swept_ms;
};

/* -- protobuf → tree ---------------------------------------------------------------------------------------------- */
struct planning { /* what one request holds on to while it plans and runs */
    struct session *session;
    struct arena *arena; /* unbounded: what is made of a checked message is proportional to it */
    VEC(struct view *) views;
    struct plan_env env;
    int depth;
    bool in_batch; /* sources may be opened with batch options */
};
void planning_init(struct planning *p, struct session *s);
void planning_free(struct planning *p);
CHECK enum err convert_relation(struct planning *p, const Spark__Connect__Relation *r, struct rel **out,
                                struct fault *f);
CHECK enum err convert_expression(struct planning *p, const Spark__Connect__Expression *x, struct node **out,
                                  struct fault *f);
CHECK enum err convert_expressions(struct planning *p, Spark__Connect__Expression **x, size_t n, struct node ***out,
                                   int *count, struct fault *f);
CHECK enum err convert_sort_order(struct planning *p, const Spark__Connect__Expression__SortOrder *x, struct node **out,
                                  struct fault *f);
CHECK enum err convert_literal(struct planning *p, const Spark__Connect__Expression__Literal *x, struct node **out,
                               struct fault *f);
CHECK enum err convert_type(struct arena *a, const Spark__Connect__DataType *t, int depth, const struct type **out,
                            struct fault *f);
Spark__Connect__DataType *type_message(struct arena *a, const struct type *t);
/* A schema text: DDL or JSON; ERR rows as Spark's. */
/* SHOW … LIKE: '*' any characters, '|' alternatives, case does not matter. */
bool name_matches(struct str pattern, struct str s);
CHECK enum err convert_catalog(struct planning *p, const Spark__Connect__Catalog *c, struct rel **out, struct fault *f);
CHECK enum err convert_local(struct planning *p, struct str data, struct str schema, struct rel **out, struct fault *f);
CHECK enum err convert_statement(struct planning *p, struct str sql, struct rel **out, bool *is_command,
                                 struct fault *f);
struct rel *convert_with_args(struct planning *p, struct rel *query, struct node **args, int n);
/* "relation sample is not supported": by name. */
enum err refuse(struct fault *f, const char *kind, const char *name);
struct str str_of_binary(ProtobufCBinaryData b);
/* Columns of `rows` rows as a REL_LOCAL. */
struct rel *local_table(struct planning *p, const struct field *fields, struct column *cols, int n, uint32_t rows);
/* "a.b.c" of name parts. */
struct str join_parts(struct arena *a, const struct str *parts, int n);
/* Replace the names of views in a tree by what they mean now / refuse a tree that leads back to the view `name`. */
CHECK enum err capture_views(struct planning *p, struct rel **rel, struct fault *f);
CHECK enum err check_recursion(struct planning *p, struct str name, struct rel *rel, struct fault *f);
CHECK enum err create_view(struct planning *p, struct str name, const struct rel *rel, bool replace, bool global,
                           struct fault *f);

/* -- on a worker -------------------------------------------------------------------------------------------------- */
void execute_plan(struct exec *x); /* to the end: exec_finish is called */
CHECK enum err execute_command(struct exec *x, const Spark__Connect__Command *c, struct fault *f);
CHECK enum err execute_sql(struct exec *x, const Spark__Connect__SqlCommand *c, struct fault *f);
/* Run a tree to its end: each batch to fn. */
CHECK enum err run_rel(struct planning *p, const struct rel *rel, const bool *cancelled,
                       enum err (*start)(void *arg, const struct plan *plan, struct fault *f),
                       enum err (*rows)(void *arg, const struct batch_cols *b, struct fault *f), void *arg,
                       struct fault *f);
CHECK enum err analyze_rpc(struct session *s, const Spark__Connect__AnalyzePlanRequest *r, struct arena *a,
                           Spark__Connect__AnalyzePlanResponse *out, struct fault *f);

/* -- artifacts, console ------------------------------------------------------------------------------------------- */
struct upload; /* one AddArtifacts stream */
struct upload *upload_new(void);
void upload_free(struct upload *u);
CHECK enum err upload_message(struct upload *u, struct session *s, const Spark__Connect__AddArtifactsRequest *r,
                              struct fault *f);
CHECK enum err upload_end(struct upload *u, struct arena *a, Spark__Connect__AddArtifactsResponse *out,
                          struct fault *f);
void terminal_write(struct session *s, struct str text);
void terminal_wake(struct session *s); /* everyone who waits for text; under the session's lock */

/* Is a proto3 `optional` field there (see spec/connect)? */
#define HAS(m, field)                 ((m)->opt_##field##_case != 0)
#define OPTIONAL(m, field, otherwise) (HAS(m, field) ? (m)->field : (otherwise))

#endif
