/*
 * Two streaming queries, started and watched over Spark Connect: real gRPC frames on sockets that may be cut. One copies where
 * each record of "s" stands to the topic q0, the other counts the records of each partition of "s" into q1, in update mode.
 * Both have a checkpoint: whatever happens, q0 names each record, and only once where the sink writes in transactions, and q1
 * never counts wrong.
 */
#include "actors.h"

#include "os/sim.h"
#include "wire/grpc.h"
#include "wire/proto.h"

#include <stdio.h>

#include "spark/connect/base.pb-c.h"
#include "spark/connect/commands.pb-c.h"
#include "spark/connect/relations.pb-c.h"

#define RPC(name) "/spark.connect.SparkConnectService/" name

struct spark {
    struct actor *me;
    struct grpc_client *client; /* NULL: not connected */
    char session[37];
    char id[W_QUERIES][37], run[W_QUERIES][37]; /* of the queries that were started; run empty: not running */
};

/* -- plans ------------------------------------------------------------------------------------------------------------------ */

typedef Spark__Connect__Relation Relation;
typedef Spark__Connect__Expression Expression;

static Expression **expressions(struct arena *a, const char *first, const char *second)
{
    Expression **list = ARENA_ARRAY(a, 2, Expression *);
    const char *texts[] = {first, second};
    for (int i = 0; i < 2; i++) {
        Spark__Connect__Expression__ExpressionString *s = ARENA_NEW(a, Spark__Connect__Expression__ExpressionString);
        spark__connect__expression__expression_string__init(s);
        s->expression = arena_z(a, str_of(texts[i] ? texts[i] : ""));
        list[i] = ARENA_NEW(a, Expression);
        spark__connect__expression__init(list[i]);
        list[i]->expr_type_case = SPARK__CONNECT__EXPRESSION__EXPR_TYPE_EXPRESSION_STRING;
        list[i]->expression_string = s;
    }
    return list;
}

static Relation *relation(struct arena *a)
{
    Relation *r = ARENA_NEW(a, Relation);
    spark__connect__relation__init(r);
    return r;
}

static Relation *read_s(struct arena *a)
{
    static const char *const OPTIONS[][2] = {
        {"kafka.bootstrap.servers", "127.0.0.1:9092"}, {"subscribe", "s"}, {"startingOffsets", "earliest"}};
    Spark__Connect__Read__DataSource *d = ARENA_NEW(a, Spark__Connect__Read__DataSource);
    spark__connect__read__data_source__init(d);
    d->opt_format_case = SPARK__CONNECT__READ__DATA_SOURCE__OPT_FORMAT_FORMAT;
    d->format = arena_z(a, STR("kafka"));
    d->options = ARENA_ARRAY(a, 3, Spark__Connect__Read__DataSource__OptionsEntry *);
    for (; d->n_options < 3; d->n_options++) {
        Spark__Connect__Read__DataSource__OptionsEntry *o =
            ARENA_NEW(a, Spark__Connect__Read__DataSource__OptionsEntry);
        spark__connect__read__data_source__options_entry__init(o);
        o->key = arena_z(a, str_of(OPTIONS[d->n_options][0]));
        o->value = arena_z(a, str_of(OPTIONS[d->n_options][1]));
        d->options[d->n_options] = o;
    }
    Spark__Connect__Read *read = ARENA_NEW(a, Spark__Connect__Read);
    spark__connect__read__init(read);
    read->is_streaming = true;
    read->read_type_case = SPARK__CONNECT__READ__READ_TYPE_DATA_SOURCE;
    read->data_source = d;
    Relation *r = relation(a);
    r->rel_type_case = SPARK__CONNECT__RELATION__REL_TYPE_READ;
    r->read = read;
    return r;
}

static Relation *project(struct arena *a, Relation *input, const char *text)
{
    Spark__Connect__Project *p = ARENA_NEW(a, Spark__Connect__Project);
    spark__connect__project__init(p);
    p->input = input;
    p->n_expressions = 1;
    p->expressions = expressions(a, text, NULL);
    Relation *r = relation(a);
    r->rel_type_case = SPARK__CONNECT__RELATION__REL_TYPE_PROJECT;
    r->project = p;
    return r;
}

static Relation *count_by_partition(struct arena *a, Relation *input)
{
    Spark__Connect__Aggregate *g = ARENA_NEW(a, Spark__Connect__Aggregate);
    spark__connect__aggregate__init(g);
    g->input = input;
    g->group_type = SPARK__CONNECT__AGGREGATE__GROUP_TYPE__GROUP_TYPE_GROUPBY;
    g->n_grouping_expressions = 1;
    g->grouping_expressions = expressions(a, "partition", NULL);
    g->n_aggregate_expressions = 2;
    g->aggregate_expressions = expressions(a, "count(*) AS n", "max(offset) AS last");
    Relation *r = relation(a);
    r->rel_type_case = SPARK__CONNECT__RELATION__REL_TYPE_AGGREGATE;
    r->aggregate = g;
    return r;
}

static Relation *plan_of(struct arena *a, int query)
{
    if (query == 0)
        return project(a, read_s(a), "concat(CAST(partition AS STRING), ':', CAST(offset AS STRING)) AS value");
    return project(a, count_by_partition(a, read_s(a)),
                   "concat(CAST(partition AS STRING), ':', CAST(n AS STRING), ':', CAST(last AS STRING)) AS value");
}

static Spark__Connect__Command *start_command(struct arena *a, int query)
{
    const char *options[][2] = {{"kafka.bootstrap.servers", "127.0.0.1:9092"},
                                {"topic", query ? "q1" : "q0"},
                                {"checkpointLocation", query ? "/var/queries/count" : "/var/queries/copy"}};
    Spark__Connect__WriteStreamOperationStart *w = ARENA_NEW(a, Spark__Connect__WriteStreamOperationStart);
    spark__connect__write_stream_operation_start__init(w);
    w->input = plan_of(a, query);
    w->format = arena_z(a, STR("kafka"));
    w->output_mode = arena_z(a, query ? STR("update") : STR("append"));
    w->options = ARENA_ARRAY(a, 3, Spark__Connect__WriteStreamOperationStart__OptionsEntry *);
    for (; w->n_options < 3; w->n_options++) {
        Spark__Connect__WriteStreamOperationStart__OptionsEntry *o =
            ARENA_NEW(a, Spark__Connect__WriteStreamOperationStart__OptionsEntry);
        spark__connect__write_stream_operation_start__options_entry__init(o);
        o->key = arena_z(a, str_of(options[w->n_options][0]));
        o->value = arena_z(a, str_of(options[w->n_options][1]));
        w->options[w->n_options] = o;
    }
    Spark__Connect__Command *c = ARENA_NEW(a, Spark__Connect__Command);
    spark__connect__command__init(c);
    c->command_type_case = SPARK__CONNECT__COMMAND__COMMAND_TYPE_WRITE_STREAM_OPERATION_START;
    c->write_stream_operation_start = w;
    return c;
}

static Spark__Connect__Command *query_command(struct spark *s, struct arena *a, int query,
                                              Spark__Connect__StreamingQueryCommand__CommandCase what)
{
    Spark__Connect__StreamingQueryInstanceId *id = ARENA_NEW(a, Spark__Connect__StreamingQueryInstanceId);
    spark__connect__streaming_query_instance_id__init(id);
    id->id = s->id[query];
    id->run_id = s->run[query];
    Spark__Connect__StreamingQueryCommand *q = ARENA_NEW(a, Spark__Connect__StreamingQueryCommand);
    spark__connect__streaming_query_command__init(q);
    q->query_id = id;
    q->command_case = what;
    q->status = true; /* the same place for each of them */
    Spark__Connect__Command *c = ARENA_NEW(a, Spark__Connect__Command);
    spark__connect__command__init(c);
    c->command_type_case = SPARK__CONNECT__COMMAND__COMMAND_TYPE_STREAMING_QUERY_COMMAND;
    c->streaming_query_command = q;
    return c;
}

/* -- calls -------------------------------------------------------------------------------------------------------------------- */

enum outcome { ANSWERED, REFUSED, LOST };

/* Execute a command; *out: the one answer that was no bookkeeping, in the arena. */
static enum outcome execute(struct spark *s, struct arena *a, Spark__Connect__Command *command,
                            Spark__Connect__ExecutePlanResponse **out, char why[300])
{
    static const char *const NOTHING[] = {NULL};
    Spark__Connect__UserContext user = SPARK__CONNECT__USER_CONTEXT__INIT;
    Spark__Connect__Plan plan = SPARK__CONNECT__PLAN__INIT;
    Spark__Connect__ExecutePlanRequest q = SPARK__CONNECT__EXECUTE_PLAN_REQUEST__INIT;
    struct grpc_result result;
    struct str message;
    struct fault f;
    bool got = true;
    plan.op_type_case = SPARK__CONNECT__PLAN__OP_TYPE_COMMAND;
    plan.command = command;
    q.session_id = s->session;
    q.user_context = &user;
    q.plan = &plan;
    *out = NULL;
    if (grpc_client_call(s->client, RPC("ExecutePlan"), proto_pack(a, &q.base), &f))
        return LOST;
    while (got) {
        ProtobufCMessage *m;
        if (grpc_client_next(s->client, &message, &got, &result, &f))
            return LOST;
        if (got && proto_unpack(a, &spark__connect__execute_plan_response__descriptor, message, NOTHING, &m, &f))
            world_wrong("an answer of Spark Connect that cannot be read: %s", fault_message(&f));
        Spark__Connect__ExecutePlanResponse *r = got ? (Spark__Connect__ExecutePlanResponse *)m : NULL;
        if (r && r->response_type_case != SPARK__CONNECT__EXECUTE_PLAN_RESPONSE__RESPONSE_TYPE_RESULT_COMPLETE)
            *out = r;
    }
    if (result.code == GRPC_OK)
        return *out ? ANSWERED : REFUSED;
    snprintf(why, 300, "%d %.*s", result.code, STR_ARG(result.message));
    /* The server's clean stop; a start whose answer was lost, and which is still under way. */
    bool later = str_starts(result.message, STR("[OPERATION_CANCELED]")) ||
                 str_starts(result.message, STR("[INVALID_HANDLE.SESSION_CLOSED]")) ||
                 str_find(result.message, STR("plans that wait for a thread"), 0) >= 0 ||
                 str_starts(result.message, STR("[CONCURRENT_QUERY]"));
    return later || result.code == GRPC_UNAVAILABLE || result.code == GRPC_CANCELLED ? LOST : REFUSED;
}

static void disconnect(struct spark *s)
{
    grpc_client_close(s->client);
    s->client = NULL;
    memset(s->run, 0, sizeof s->run);
}

static bool connected(struct spark *s)
{
    if (s->client)
        return true;
    os_uuid_text(os_uuid_random(), s->session);
    if (grpc_client_open(&s->client, "127.0.0.1", 15002, 20000, NULL)) {
        s->client = NULL;
        return false;
    }
    return true;
}

/*
 * A refusal, or a query's end: with faults of the disk or of memory it has a reason. So it has when the clock was set back by
 * hours in the middle of a batch: records from the future are refused, as Kafka refuses them.
 */
static void must_have_reason(int query, const char *what, const char *why)
{
    W->queries[query].failed++;
    bool future = RUN.clock_jumps && strstr(why, "timestamp");
    if (!RUN.disk_fails && !RUN.memory_fails && !W->rotten && !future)
        world_wrong("query %d: %s: %s", query, what, why);
}

static bool start(struct spark *s, int query)
{
    struct arena *a = arena_new(0);
    Spark__Connect__ExecutePlanResponse *r;
    char why[300] = "";
    enum outcome x = execute(s, a, start_command(a, query), &r, why);
    if (x == ANSWERED) {
        const Spark__Connect__StreamingQueryInstanceId *id = r->write_stream_operation_start_result->query_id;
        snprintf(s->id[query], sizeof s->id[query], "%s", id->id);
        snprintf(s->run[query], sizeof s->run[query], "%s", id->run_id);
        W->queries[query].started++;
    } else if (x == REFUSED) {
        must_have_reason(query, "not started", why);
    }
    arena_free(a);
    return x != LOST;
}

static bool stop(struct spark *s, int query)
{
    struct arena *a = arena_new(0);
    Spark__Connect__ExecutePlanResponse *r;
    char why[300] = "";
    enum outcome x =
        execute(s, a, query_command(s, a, query, SPARK__CONNECT__STREAMING_QUERY_COMMAND__COMMAND_STOP), &r, why);
    s->run[query][0] = 0;
    arena_free(a);
    return x != LOST;
}

/* Did it end by itself? Then why. */
static bool look(struct spark *s, int query)
{
    struct arena *a = arena_new(0);
    Spark__Connect__ExecutePlanResponse *r;
    char why[300] = "";
    enum outcome x =
        execute(s, a, query_command(s, a, query, SPARK__CONNECT__STREAMING_QUERY_COMMAND__COMMAND_EXCEPTION), &r, why);
    if (x == REFUSED) {
        must_have_reason(query, "it is not known any more", why);
        s->run[query][0] = 0;
    } else if (x == ANSWERED) {
        const Spark__Connect__StreamingQueryCommandResult *q = r->streaming_query_command_result;
        const Spark__Connect__StreamingQueryCommandResult__ExceptionResult *e =
            q->result_type_case == SPARK__CONNECT__STREAMING_QUERY_COMMAND_RESULT__RESULT_TYPE_EXCEPTION ? q->exception
                                                                                                         : NULL;
        if (e && e->opt_exception_message_case) {
            must_have_reason(query, "it failed", e->exception_message);
            s->run[query][0] = 0;
        }
    }
    arena_free(a);
    return x != LOST;
}

void spark_run(void *arg)
{
    struct spark s = {.me = arg};
    while (RUN.phase != QUIT) {
        bool topics = actor_topic("s") && actor_topic("q0") && actor_topic("q1");
        bool ok = topics && connected(&s);
        for (int i = 0; ok && i < W_QUERIES; i++) {
            if (!s.run[i][0])
                ok = start(&s, i);
            else if (RUN.phase == WORK && sim_random(25) == 0)
                ok = stop(&s, i);
            else
                ok = look(&s, i);
        }
        if (s.client && (!ok || (RUN.phase == WORK && sim_random(20) == 0)))
            disconnect(&s); /* a new session starts them again, and takes over */
        actor_pause(RUN.phase == WORK ? 800 : 3000);
    }
    disconnect(&s);
}

/* -- what they put out -------------------------------------------------------------------------------------------------------- */

static void copied(const struct record *r, int from, bool once)
{
    struct w_topic *t = world_topic("s");
    char text[64];
    int part;
    long long offset;
    snprintf(text, sizeof text, "%.*s", (int)(r->value.n < 63 ? r->value.n : 63), r->value.p ? r->value.p : "");
    if (sscanf(text, "%d:%lld", &part, &offset) != 2 || part < 0 || part >= W_PARTS || offset < 0 || !t ||
        offset >= t->part[part].hw)
        world_wrong("q0 names a record that is not there: %s", text);
    uint32_t before = W->copied[part][offset];
    if (before && once)
        world_wrong("q0 names the record %s twice: at q0-%u %u, and at q0-%d %lld", text, (before - 1) % W_PARTS,
                    (before - 1) / W_PARTS, from, (long long)r->offset);
    W->copied[part][offset] = 1 + (uint32_t)(r->offset * W_PARTS + from);
    W->query_rows++;
}

static void counted(const struct record *r, int from, bool once)
{
    (void)from;
    struct w_topic *t = world_topic("s");
    char text[64];
    int part;
    long long n, last;
    snprintf(text, sizeof text, "%.*s", (int)(r->value.n < 63 ? r->value.n : 63), r->value.p ? r->value.p : "");
    if (sscanf(text, "%d:%lld:%lld", &part, &n, &last) != 3 || part < 0 || part >= W_PARTS || !t)
        world_wrong("q1 says %s", text);
    if (n != last + 1 || last >= t->part[part].hw)
        world_wrong("q1 counts %s, of %lld records", text, (long long)t->part[part].hw);
    if (n < W->queries[1].counted[part] + once)
        world_wrong("q1 counts %s after it had counted %lld", text, (long long)W->queries[1].counted[part]);
    W->queries[1].counted[part] = n;
    W->query_rows++;
}

/* All that is committed from *at on. True: the end was reached. */
static bool read_output(struct client *c, struct w_topic *t, int part, int64_t *at,
                        void (*fn)(const struct record *, int part, bool once))
{
    for (;;) {
        int64_t before = *at, end;
        *at = reader_committed(c, t, part, *at, fn, &end);
        if (*at == before)
            return end >= 0 && *at >= end;
    }
}

bool spark_caught_up(struct client *c)
{
    struct w_topic *s = world_topic("s"), *q0 = actor_topic("q0"), *q1 = actor_topic("q1");
    if (!s || !q0 || !q1)
        return false;
    for (int i = 0; i < W_PARTS; i++)
        if (!read_output(c, q0, i, &W->copied_seen[i], copied))
            return false;
    if (!read_output(c, q1, 0, &W->counted_seen, counted))
        return false;
    for (int i = 0; i < W_PARTS; i++) {
        if (W->queries[1].counted[i] != s->part[i].hw)
            return false;
        for (int64_t k = 0; k < s->part[i].hw; k++)
            if (!W->copied[i][k])
                return false;
    }
    return true;
}
