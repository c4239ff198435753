#include "cli/server.h"
#include "log/log.h"
#include "os/net.h"
#include "os/os.h"
#include "serve/console/console.h"
#include "serve/kafka/kafka.h"
#include "serve/loop.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { LOOPS_MAX = 64 };

struct server {
    struct log *log;
    struct loop *loops[LOOPS_MAX];
    int nloops;
    struct broker *broker;
    struct kafka_serve *kafka;
    struct console_hooks hooks;
    struct server_addresses addresses;
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
}

static enum err open_log(struct server *s, const struct config *config, struct fault *f)
{
    struct log_options o = {
        .dir = config->v[CFG_DATA].text,
        .segment_bytes = (uint64_t)config->v[CFG_SEGMENT_BYTES].number,
        .journal_file_bytes = (uint64_t)config->v[CFG_JOURNAL_BYTES].number,
        .durability_os = config->v[CFG_DURABILITY].number == 1,
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

static enum err start_broker(struct server *s, const struct config *config, struct fault *f)
{
    struct broker_options o = {
        .log = s->log,
        .default_partitions = (int32_t)config->v[CFG_PARTITIONS].number,
        .rebalance_delay_ms = (int32_t)config->v[CFG_REBALANCE_DELAY_MS].number,
        .no_auto_create = !config->v[CFG_AUTO_CREATE].number,
        .any_replication_factor = config->v[CFG_ANY_REPLICATION].number,
    };
    return broker_start(&s->broker, &o, f);
}

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
    s->hooks = (struct console_hooks){.arg = s, .not_ready = not_ready, .metrics = metrics};
    return e ? e : console_listen(s->loops, s->nloops, a->host, &a->port, &s->hooks, f);
}

enum err server_start(struct server **out, const struct config *config, struct fault *f)
{
    struct server *s = calloc(1, sizeof *s);
    if (!s)
        return FAULT(f, ERR_NOMEM, {"what", "server"});
    enum err e = open_log(s, config, f);
    if (!e)
        e = start_loops(s, config, f);
    if (!e)
        e = start_broker(s, config, f);
    if (!e)
        e = listen_kafka(s, config, f);
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
    for (int i = 0; i < s->nloops; i++)
        loop_stop(s->loops[i]);
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
