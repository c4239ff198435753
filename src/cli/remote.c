#include "cli/remote.h"
#include "base/buf.h"
#include "function/function.h"
#include "os/net.h"
#include "os/os.h"
#include "wire/grpc.h"
#include "wire/proto.h"

#include <stdio.h>
#include <stdlib.h>

#include "spark/connect/base.pb-c.h"
#include "spark/connect/commands.pb-c.h"
#include "spark/connect/relations.pb-c.h"

#define RPC(name) "/spark.connect.SparkConnectService/" name

enum { DEFAULT_PORT = 15002 };

struct remote {
    struct grpc_client *client;
    char session_id[37], address[300];
    Spark__Connect__UserContext user;
    const struct zone *zone;
};

static enum err parse_url(const char *url, char host[256], uint16_t *port, struct fault *f)
{
    struct str rest = str_of(url);
    char address[300];
    if (!str_starts(rest, STR("sc://")))
        return FAULT(f, ERR_INVALID, {"what", url}, {"detail", "expected sc://HOST:PORT"});
    rest = str_sub(rest, 5, rest.n);
    ptrdiff_t slash = str_find(rest, STR("/"), 0);
    rest = slash < 0 ? rest : str_sub(rest, 0, (size_t)slash);
    bool has_port = rest.n && rest.p[rest.n - 1] != ']' && str_find(rest, STR(":"), 0) >= 0;
    snprintf(address, sizeof address, has_port ? "%.*s" : "%.*s:%d", STR_ARG(rest), DEFAULT_PORT);
    return net_parse(str_of(address), host, port, f);
}

/* How a call ended, as a fault. */
static enum err check_result(const struct remote *r, const struct grpc_result *result, struct fault *f)
{
    if (result->code == GRPC_OK)
        return ERR_OK;
    char text[FAULT_TEXT / 2];
    snprintf(text, sizeof text, "%.*s", STR_ARG(result->message));
    if (result->code == GRPC_UNAVAILABLE)
        return FAULT(f, ERR_UNREACHABLE, {"what", r->address}, {"detail", text});
    if (result->code == GRPC_DEADLINE_EXCEEDED)
        return FAULT(f, ERR_TIMEOUT, {"what", "The statement"});
    return FAULT(f, ERR_REMOTE, {"message", text});
}

static enum err call(struct remote *r, const char *path, const ProtobufCMessage *request, struct fault *f)
{
    struct arena *a = arena_new(0);
    enum err e = grpc_client_call(r->client, path, proto_pack(a, request), f);
    arena_free(a);
    return e;
}

/* A server that is newer than we are may send fields that we do not know: nothing is strict here. */
static enum err unpack(struct arena *a, const ProtobufCMessageDescriptor *desc, struct str message,
                       ProtobufCMessage **out, struct fault *f)
{
    static const char *const NOTHING[] = {NULL};
    return proto_unpack(a, desc, message, NOTHING, out, f);
}

/* Read the answer to its end, each message given to `on`. */
static enum err each(struct remote *r, enum err (*on)(void *arg, struct str message, struct fault *f), void *arg,
                     struct fault *f)
{
    for (;;) {
        struct str message;
        struct grpc_result result;
        bool got;
        enum err e = grpc_client_next(r->client, &message, &got, &result, f);
        if (e)
            return e;
        if (!got)
            return check_result(r, &result, f);
        e = on(arg, message, f);
        if (e) {
            grpc_client_cancel(r->client);
            return e;
        }
    }
}

/* -- configuration: the session's time zone ---------------------------------------------------------------------------- */
static enum err on_config(void *arg, struct str message, struct fault *f)
{
    struct remote *r = arg;
    struct arena *a = arena_new(LIMIT_PROTO_BYTES);
    ProtobufCMessage *m;
    enum err e = unpack(a, &spark__connect__config_response__descriptor, message, &m, f);
    const Spark__Connect__ConfigResponse *c = e ? NULL : (const Spark__Connect__ConfigResponse *)m;
    if (c && c->n_pairs == 1 && c->pairs[0]->opt_value_case == SPARK__CONNECT__KEY_VALUE__OPT_VALUE_VALUE)
        r->zone = zone_find(str_of(c->pairs[0]->value), NULL);
    arena_free(a);
    return e;
}

static enum err fetch_zone(struct remote *r, struct fault *f)
{
    static char key[] = "spark.sql.session.timeZone";
    char *keys[] = {key};
    Spark__Connect__ConfigRequest__Get get = SPARK__CONNECT__CONFIG_REQUEST__GET__INIT;
    Spark__Connect__ConfigRequest__Operation op = SPARK__CONNECT__CONFIG_REQUEST__OPERATION__INIT;
    Spark__Connect__ConfigRequest request = SPARK__CONNECT__CONFIG_REQUEST__INIT;
    get.n_keys = 1;
    get.keys = keys;
    op.op_type_case = SPARK__CONNECT__CONFIG_REQUEST__OPERATION__OP_TYPE_GET;
    op.get = &get;
    request.session_id = r->session_id;
    request.user_context = &r->user;
    request.operation = &op;
    enum err e = call(r, RPC("Config"), &request.base, f);
    if (!e)
        e = each(r, on_config, r, f);
    if (!e && !r->zone)
        r->zone = zone_find(STR("UTC"), NULL);
    return e;
}

/* -- plans ---------------------------------------------------------------------------------------------------------------- */
struct execution {
    enum err (*on_arrow)(void *arg, struct str bytes, struct fault *f);
    void *arg;
    struct arena *arena;                /* of the statement; NULL while its rows come */
    Spark__Connect__Relation *relation; /* what the statement's command answered, in the arena */
};

static enum err on_response(void *arg, struct str message, struct fault *f)
{
    struct execution *x = arg;
    struct arena *a = x->arena ? x->arena : arena_new(2 * (size_t)LIMIT_PROTO_BYTES);
    ProtobufCMessage *m;
    enum err e = unpack(a, &spark__connect__execute_plan_response__descriptor, message, &m, f);
    const Spark__Connect__ExecutePlanResponse *p = e ? NULL : (const Spark__Connect__ExecutePlanResponse *)m;
    if (p && p->response_type_case == SPARK__CONNECT__EXECUTE_PLAN_RESPONSE__RESPONSE_TYPE_ARROW_BATCH && x->on_arrow)
        e = x->on_arrow(x->arg, str_make(p->arrow_batch->data.data, p->arrow_batch->data.len), f);
    if (p && p->response_type_case == SPARK__CONNECT__EXECUTE_PLAN_RESPONSE__RESPONSE_TYPE_SQL_COMMAND_RESULT)
        x->relation = p->sql_command_result->relation;
    if (!x->arena)
        arena_free(a);
    return e;
}

static enum err execute(struct remote *r, Spark__Connect__Plan *plan, struct execution *x, struct fault *f)
{
    Spark__Connect__ExecutePlanRequest request = SPARK__CONNECT__EXECUTE_PLAN_REQUEST__INIT;
    request.session_id = r->session_id;
    request.user_context = &r->user;
    request.plan = plan;
    enum err e = call(r, RPC("ExecutePlan"), &request.base, f);
    return e ? e : each(r, on_response, x, f);
}

/* As pyspark's spark.sql: the command first, which runs DDL and answers with a relation; then that relation. */
enum err remote_sql(struct remote *r, struct str text,
                    enum err (*on_arrow)(void *arg, struct str bytes, struct fault *f), void *arg, struct fault *f)
{
    Spark__Connect__SQL sql = SPARK__CONNECT__SQL__INIT;
    Spark__Connect__Relation input = SPARK__CONNECT__RELATION__INIT;
    Spark__Connect__SqlCommand sql_command = SPARK__CONNECT__SQL_COMMAND__INIT;
    Spark__Connect__Command command = SPARK__CONNECT__COMMAND__INIT;
    Spark__Connect__Plan plan = SPARK__CONNECT__PLAN__INIT;
    struct execution x = {.arg = arg, .arena = arena_new(2 * (size_t)LIMIT_PROTO_BYTES)};
    struct arena *a = x.arena;
    sql.query = arena_z(a, text);
    input.rel_type_case = SPARK__CONNECT__RELATION__REL_TYPE_SQL;
    input.sql = &sql;
    sql_command.input = &input;
    command.command_type_case = SPARK__CONNECT__COMMAND__COMMAND_TYPE_SQL_COMMAND;
    command.sql_command = &sql_command;
    plan.op_type_case = SPARK__CONNECT__PLAN__OP_TYPE_COMMAND;
    plan.command = &command;
    enum err e = execute(r, &plan, &x, f);
    if (!e && !x.relation)
        e = FAULT(f, ERR_FRAME, {"what", "answer"}, {"detail", "it is not what Spark Connect sends"});
    if (!e) {
        plan.op_type_case = SPARK__CONNECT__PLAN__OP_TYPE_ROOT;
        plan.root = x.relation;
        x.on_arrow = on_arrow;
        x.arena = NULL;
        e = execute(r, &plan, &x, f);
    }
    arena_free(a);
    return e;
}

enum err remote_open(struct remote **out, const char *url, int timeout_ms, struct fault *f)
{
    static char user[] = "penstock";
    char host[256];
    uint16_t port;
    enum err e = parse_url(url, host, &port, f);
    if (e)
        return e;
    struct remote *r = calloc(1, sizeof *r);
    if (!r)
        return FAULT(f, ERR_NOMEM, {"what", "session"});
    snprintf(r->address, sizeof r->address, "%s:%u", host, port);
    os_uuid_text(os_uuid_random(), r->session_id);
    spark__connect__user_context__init(&r->user);
    r->user.user_id = r->user.user_name = user;
    e = grpc_client_open(&r->client, host, port, timeout_ms, f);
    if (!e)
        e = fetch_zone(r, f);
    if (e) {
        grpc_client_close(r->client);
        free(r);
        return e;
    }
    *out = r;
    return ERR_OK;
}

static enum err ignore(void *arg, struct str message, struct fault *f)
{
    (void)arg;
    (void)message;
    (void)f;
    return ERR_OK;
}

void remote_close(struct remote *r)
{
    struct fault f;
    Spark__Connect__ReleaseSessionRequest request = SPARK__CONNECT__RELEASE_SESSION_REQUEST__INIT;
    request.session_id = r->session_id;
    request.user_context = &r->user;
    if (call(r, RPC("ReleaseSession"), &request.base, &f) == ERR_OK && each(r, ignore, NULL, &f) != ERR_OK)
        os_log(OS_DEBUG, "sql", "session not released: %s", fault_message(&f));
    grpc_client_close(r->client);
    free(r);
}

const struct zone *remote_zone(const struct remote *r)
{
    return r->zone;
}
