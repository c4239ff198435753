#include "cli/server.h"
#include "base/budget.h"
#include "log/log.h"
#include "os/net.h"
#include "os/os.h"
#include "serve/connect/connect.h"
#include "serve/console/console.h"
#include "serve/kafka/kafka.h"
#include "serve/loop.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { LOOPS_MAX = 64 };

struct server {
    uint64_t memory_bytes; /* --memory */
    struct log *log;
    struct loop *loops[LOOPS_MAX];
    int nloops;
    struct broker *broker;
    struct kafka_serve *kafka;
    struct source_env source;
    struct query_manager *queries;
    struct connect_server *connect;
    const struct config *config; /* outlives the server */
    struct console_hooks hooks;
    struct server_addresses addresses;
    struct log_config settings[4]; /* Kafka's, for the broker */
    char setting_text[4][24];
    atomic_bool ready;
    int64_t ready_ns;
};

static const char *not_ready(void *arg)
{
    struct server *s = arg;
    return atomic_load(&s->ready) ? NULL : "starting";
}

static void metrics(void *arg, struct console_metrics *m)
{
    struct server *s = arg;
    m->v[METRIC_UP_SECONDS] = (double)(os_mono_ns() - s->ready_ns) / 1e9;
    m->v[METRIC_CPU_SECONDS] = (double)os_cpu_ns() / 1e9;
    m->v[METRIC_RSS_BYTES] = (double)os_rss_bytes();
    struct log_stats l;
    log_stats(s->log, &l);
    m->v[METRIC_RECORDS] = (double)l.appended_records;
    m->v[METRIC_APPENDED_BYTES] = (double)l.appended_bytes;
    m->v[METRIC_READ_BYTES] = (double)l.read_bytes;
    m->v[METRIC_SYNCS] = (double)l.syncs;
    m->v[METRIC_SYNC_SECONDS] = (double)l.sync_ns / 1e9;
    m->v[METRIC_GROUPS] = (double)l.journal_groups;
    m->v[METRIC_SEGMENTS] = (double)l.segments;
    m->v[METRIC_PARTITIONS] = (double)l.partitions;
    m->v[METRIC_PENDING_BYTES] = (double)log_pending_bytes(s->log);
    struct broker_stats b;
    broker_stats(s->broker, &b);
    m->v[METRIC_KAFKA_REQUESTS] = (double)b.requests;
    m->v[METRIC_PRODUCE_REQUESTS] = (double)b.produce_requests;
    m->v[METRIC_FETCH_REQUESTS] = (double)b.fetch_requests;
    m->v[METRIC_KAFKA_ERRORS] = (double)b.errors;
    m->v[METRIC_CONSUMER_GROUPS] = (double)b.groups;
    m->v[METRIC_GROUP_MEMBERS] = (double)b.members;
    struct connect_stats c;
    connect_stats(s->connect, &c);
    m->v[METRIC_SESSIONS] = (double)c.sessions;
    m->v[METRIC_EXECUTIONS] = (double)c.executions;
    m->v[METRIC_RPCS] = (double)c.rpcs;
    m->v[METRIC_RPC_ERRORS] = (double)c.errors;
    struct query_stats q;
    query_manager_stats(s->queries, &q);
    m->v[METRIC_QUERIES] = (double)q.queries;
    m->v[METRIC_BATCHES] = (double)q.batches;
    m->v[METRIC_ROWS_IN] = (double)q.rows_in;
    m->v[METRIC_ROWS_OUT] = (double)q.rows_out;
}

static enum err open_log(struct server *s, const struct config *config, struct fault *f)
{
    struct log_options o = {
        .dir = config->v[CFG_DATA].text,
        .segment_bytes = (uint64_t)config->v[CFG_SEGMENT_BYTES].number,
        .journal_file_bytes = (uint64_t)config->v[CFG_JOURNAL_BYTES].number,
        .durability_os = config->v[CFG_DURABILITY].number == 1,
        .retention_check_ms = config->v[CFG_RETENTION_CHECK_MS].number,
    };
    if (o.durability_os)
        os_log(OS_WARN, "server", "durability = os: a power cut loses acknowledged records");
    enum err e = os_mkdirs(o.dir, f);
    return e ? e : log_open(&s->log, &o, f);
}

static enum err start_loops(struct server *s, const struct config *config, struct fault *f)
{
    int64_t want = config->v[CFG_LOOPS].number;
    int n = want ? (int)want : os_cpus();
    n = n < 1 ? 1 : n > LOOPS_MAX ? LOOPS_MAX : n;
    loop_limit_connections((int)config->v[CFG_CONNECTIONS].number);
    while (s->nloops < n) {
        char name[24];
        snprintf(name, sizeof name, "loop-%d", s->nloops);
        enum err e = loop_start(&s->loops[s->nloops], name, f);
        if (e)
            return e;
        s->nloops++;
    }
    return ERR_OK;
}

/* What the server was started with, by Kafka's names. */
static size_t kafka_settings(struct server *s, const struct config *config)
{
    static const struct {
        int setting;
        const char *key;
        int64_t unless; /* Kafka's default says it, too */
    } ROWS[] = {{CFG_RETENTION_MS, "log.retention.ms", 604800000},
                {CFG_RETENTION_BYTES, "log.retention.bytes", -1},
                {CFG_SEGMENT_BYTES, "log.segment.bytes", 1 << 30},
                {CFG_RETENTION_CHECK_MS, "log.retention.check.interval.ms", 300000}};
    size_t n = 0;
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        int64_t v = config->v[ROWS[i].setting].number;
        if (v == ROWS[i].unless)
            continue;
        int len = snprintf(s->setting_text[n], sizeof s->setting_text[n], "%lld", (long long)v);
        s->settings[n] = (struct log_config){str_of(ROWS[i].key), str_make(s->setting_text[n], (size_t)len)};
        n++;
    }
    return n;
}

static enum err start_broker(struct server *s, const struct config *config, struct fault *f)
{
    struct broker_options o = {
        .log = s->log,
        .default_partitions = (int32_t)config->v[CFG_PARTITIONS].number,
        .rebalance_delay_ms = (int32_t)config->v[CFG_REBALANCE_DELAY_MS].number,
        .no_auto_create = !config->v[CFG_AUTO_CREATE].number,
        .any_replication_factor = config->v[CFG_ANY_REPLICATION].number,
        .settings = s->settings,
        .nsettings = kafka_settings(s, config),
    };
    return broker_start(&s->broker, &o, f);
}

/* -- the engine: what queries see of the server ----------------------------------------------------------------------- */

static bool is_loopback(struct str host)
{
    return str_eq_nocase(host, STR("localhost")) || str_starts(host, STR("127.")) || str_eqz(host, "::1");
}

/* One HOST:PORT: our listener under any of its names, what we advertise, or a declared alias. */
static bool is_our_address(const struct server *s, struct str text)
{
    char host[256], mine[256];
    uint16_t port, my_port;
    if (net_parse(text, host, &port, NULL))
        return false;
    const struct server_address *a = &s->addresses.kafka;
    if (port == a->port && (str_eqz(str_of(host), a->host) || is_loopback(str_of(host))))
        return true;
    const char *advertise = s->config->v[CFG_ADVERTISE].text;
    if (net_parse(str_of(advertise), mine, &my_port, NULL) == ERR_OK && my_port == port &&
        str_eq_nocase(str_of(host), str_of(mine)))
        return true;
    for (struct str rest = str_of(s->config->v[CFG_KAFKA_ALIASES].text); rest.n;) {
        ptrdiff_t comma = str_find(rest, STR(","), 0);
        size_t n = comma < 0 ? rest.n : (size_t)comma;
        if (str_eq_nocase(str_trim(str_make(rest.p, n)), text))
            return true;
        rest = str_sub(rest, n + 1, rest.n);
    }
    return port == a->port && net_means_us(host, a->host); /* last: it asks the name service */
}

/* A bootstrap list names one cluster: it is ours when any of its addresses is. */
static bool is_ours(void *arg, struct str bootstrap)
{
    while (bootstrap.n) {
        ptrdiff_t comma = str_find(bootstrap, STR(","), 0);
        size_t n = comma < 0 ? bootstrap.n : (size_t)comma;
        if (is_our_address(arg, str_trim(str_make(bootstrap.p, n))))
            return true;
        bootstrap = str_sub(bootstrap, n + 1, bootstrap.n);
    }
    return false;
}

static enum err auto_create(void *arg, struct str topic, struct fault *f)
{
    struct server *s = arg;
    struct os_uuid id;
    if (!s->config->v[CFG_AUTO_CREATE].number) {
        char what[300];
        snprintf(what, sizeof what, "Topic %.*s", STR_ARG(topic));
        return FAULT(f, ERR_NOTFOUND, {"what", what});
    }
    enum err e = log_topic_create(s->log, topic, (int32_t)s->config->v[CFG_PARTITIONS].number, NULL, 0, &id, f);
    return e == ERR_EXISTS ? ERR_OK : e;
}

static enum err start_engine(struct server *s, struct fault *f)
{
    s->source = (struct source_env){
        .log = s->log, .broker = s->broker, .is_ours = is_ours, .auto_create = auto_create, .arg = s};
    enum err e = query_manager_new(&s->source, (int)s->config->v[CFG_QUERY_THREADS].number, &s->queries, f);
    struct connect_options o = {.queries = s->queries, .source = &s->source};
    o.process_bytes = s->memory_bytes;
    o.memory_bytes = s->memory_bytes / 4 < (1 << 30) ? s->memory_bytes / 4 : 1 << 30;
    return e ? e : connect_start(&s->connect, &o, f);
}

static enum err listen_connect(struct server *s, const struct config *config, struct fault *f)
{
    struct server_address *a = &s->addresses.connect;
    enum err e = net_parse(str_of(config->v[CFG_CONNECT_LISTEN].text), a->host, &a->port, f);
    return e ? e : connect_listen(s->connect, s->loops, s->nloops, a->host, &a->port, f);
}

static bool console_read(void *arg, struct str session, uint64_t from, struct buf *out, uint64_t *next)
{
    return connect_console_read(((struct server *)arg)->connect, session, from, out, next);
}

static bool console_wait(void *arg, struct str session, uint64_t from, void (*wake)(void *arg), void *wake_arg)
{
    return connect_console_wait(((struct server *)arg)->connect, session, from, wake, wake_arg);
}

static void console_forget(void *arg, void *wake_arg)
{
    connect_console_forget(((struct server *)arg)->connect, wake_arg);
}

/* -- listeners, start, stop ---------------------------------------------------------------------------------------------- */
static enum err listen_kafka(struct server *s, const struct config *config, struct fault *f)
{
    struct server_address *a = &s->addresses.kafka;
    enum err e = net_parse(str_of(config->v[CFG_KAFKA_LISTEN].text), a->host, &a->port, f);
    return e ? e
             : kafka_serve_start(&s->kafka, s->broker, s->loops, s->nloops, a->host, &a->port,
                                 config->v[CFG_ADVERTISE].text, f);
}

static enum err listen_http(struct server *s, const struct config *config, struct fault *f)
{
    struct server_address *a = &s->addresses.http;
    enum err e = net_parse(str_of(config->v[CFG_HTTP_LISTEN].text), a->host, &a->port, f);
    s->hooks = (struct console_hooks){.arg = s,
                                      .not_ready = not_ready,
                                      .metrics = metrics,
                                      .console_read = console_read,
                                      .console_wait = console_wait,
                                      .console_forget = console_forget};
    return e ? e : console_listen(s->loops, s->nloops, a->host, &a->port, &s->hooks, f);
}

enum err server_start(struct server **out, const struct config *config, struct fault *f)
{
    struct server *s = calloc(1, sizeof *s);
    if (!s)
        return FAULT(f, ERR_NOMEM, {"what", "server"});
    s->config = config;
    s->memory_bytes = config->v[CFG_MEMORY].number ? (uint64_t)config->v[CFG_MEMORY].number : os_memory_bytes();
    budget_start(s->memory_bytes);
    os_memory_plan(s->memory_bytes);
    enum err e = open_log(s, config, f);
    if (!e)
        e = start_broker(s, config, f);
    if (!e)
        e = start_engine(s, f);
    if (!e)
        e = start_loops(s, config, f);
    if (!e)
        e = listen_kafka(s, config, f);
    if (!e)
        e = listen_connect(s, config, f);
    if (!e)
        e = listen_http(s, config, f);
    if (e) {
        server_stop(s);
        return e;
    }
    s->ready_ns = os_mono_ns();
    atomic_store(&s->ready, true);
    *out = s;
    return ERR_OK;
}

void server_stop(struct server *s)
{
    atomic_store(&s->ready, false);
    for (int i = 0; i < s->nloops; i++)
        loop_unlisten_all(s->loops[i]);
    if (s->connect)
        connect_stop(s->connect);
    if (s->queries)
        query_manager_stop(s->queries);
    for (int i = 0; i < s->nloops; i++)
        loop_stop(s->loops[i]);
    if (s->connect)
        connect_free(s->connect);
    if (s->queries) /* a connection that closed may have asked for them until now */
        query_manager_free(s->queries);
    if (s->broker)
        broker_stop(s->broker);
    if (s->kafka)
        kafka_serve_free(s->kafka);
    if (s->log)
        log_close(s->log);
    free(s);
}

const struct server_addresses *server_addresses(const struct server *s)
{
    return &s->addresses;
}
