/*
 * testbed: a broker in the simulator for unit tests, asked through whole encoded requests. Each test program has its own.
 *
 *   start(delay) ─▶ dial() ─▶ ask(conn, KAFKA_x, version, &request) ─▶ decoded response ─▶ … ─▶ stop()
 */
#ifndef PENSTOCK_BROKER_TESTBED_INT_H
#define PENSTOCK_BROKER_TESTBED_INT_H

#include "base/test.h"
#include "broker/broker.h"
#include "log/batch.h"
#include "os/sim.h"
#include "wire/kafka.h"

#include <stdio.h>
#include <stdlib.h>

#pragma GCC diagnostic ignored "-Wunused-function" /* not every test needs every request */

static struct log *logs;
static struct broker *broker;
static struct os_mutex *lock;
static struct os_cond *arrived;
static struct arena *arena; /* of the running test */
static char dir[64];

static void open_broker(int32_t rebalance_delay_ms)
{
    struct fault f = {0};

    if (log_open(&logs, &(struct log_options){.dir = dir, .journal_file_bytes = 1 << 20}, &f) ||
        broker_start(&broker, &(struct broker_options){.log = logs, .rebalance_delay_ms = rebalance_delay_ms}, &f)) {
        fprintf(stderr, "%s\n", fault_message(&f));
        abort();
    }
}

static void start(int32_t rebalance_delay_ms)
{
    static int number;
    static bool on;

    if (!on) {
        sim_start(&(struct sim_options){.seed = 7});
        os_log_level(OS_ERROR);
        lock = os_mutex_new();
        arrived = os_cond_new();
    }
    on = true;
    snprintf(dir, sizeof dir, "/data-%d", number++);
    arena = arena_new(0);
    open_broker(rebalance_delay_ms);
}

static void close_broker(void)
{
    broker_stop(broker);
    log_close(logs);
}

static void stop(void)
{
    close_broker();
    arena_free(arena);
}

static struct broker_conn *dial(const char *host)
{
    struct broker_peer peer = {.client_host = "10.0.0.9", .advertised_port = 9092};

    snprintf(peer.advertised_host, sizeof peer.advertised_host, "%s", host);
    return broker_conn_open(broker, &peer);
}

/* -- requests --------------------------------------------------------------------------------------------------------- */
struct call {
    const struct kafka_api *api;
    int16_t version;
    bool there;
    struct broker_reply reply;
};

static void respond(void *arg, struct broker_reply *r)
{
    struct call *c = arg;

    os_mutex_lock(lock);
    c->reply = *r;
    c->there = true;
    os_cond_broadcast(arrived);
    os_mutex_unlock(lock);
}

static struct call *send(struct broker_conn *conn, enum kafka_key key, int16_t version, const void *body)
{
    struct call *c = calloc(1, sizeof *c);
    struct kafka_request_header h = {(int16_t)key, version, 1, STR("test")};
    struct buf b = {0};

    c->api = kafka_api((int16_t)key);
    c->version = version;
    kafka_encode(kafka_shape_request_header(), kafka_flexible(c->api, version) ? 2 : 1, kafka_flexible(c->api, version),
                 &h, &b, NULL);
    kafka_encode(c->api->request(), version, kafka_flexible(c->api, version), body, &b, NULL);
    broker_request(conn, b.p, b.n, respond, c);
    buf_free(&b);
    return c;
}

static bool answered(struct call *c)
{
    bool there;

    os_mutex_lock(lock);
    there = c->there;
    os_mutex_unlock(lock);
    return there;
}

/* The response struct; waits as long as it takes. */
static void *answer(struct call *c)
{
    const struct kafka_shape *s = c->api->response();
    bool flexible = kafka_flexible(c->api, c->version);
    void *out = arena_alloc(arena, s->size);
    size_t head = flexible && c->api->key != KAFKA_api_versions ? 9 : 8, n;
    char *flat, *copy;
    struct fault f;

    os_mutex_lock(lock);
    while (!c->there)
        os_cond_wait(arrived, lock);
    os_mutex_unlock(lock);
    if (c->reply.outcome != BROKER_REPLY) {
        TEST_FAIL_("no reply: %s", c->reply.why ? c->reply.why : "silent");
        abort();
    }
    flat = broker_reply_flat(&c->reply, &n);
    copy = arena_alloc(arena, n);
    memcpy(copy, flat, n);
    free(flat);
    if (kafka_decode(s, c->version, flexible, str_make(copy + head, n - head), arena, out, NULL, &f)) {
        TEST_FAIL_("%s", fault_message(&f));
        abort();
    }
    broker_reply_free(&c->reply);
    free(c);
    return out;
}

static void *ask(struct broker_conn *conn, enum kafka_key key, int16_t version, const void *body)
{
    return answer(send(conn, key, version, body));
}

static void make_topic(const char *name, int32_t partitions)
{
    struct os_uuid id;
    struct fault f;

    if (log_topic_create(logs, str_of(name), partitions, NULL, 0, &id, &f))
        abort();
}

static int16_t produce(struct broker_conn *conn, const char *topic, const char *value)
{
    struct kafka_produce_request *q = KAFKA_NEW(arena, produce_request);
    struct kafka_produce_topic *t = KAFKA_NEW(arena, produce_topic);
    struct kafka_produce_partition *p = KAFKA_NEW(arena, produce_partition);
    const struct kafka_produce_response *r;
    struct batch_writer w;
    struct buf b = {0};

    batch_begin(&w, &b, os_now_ms(), 0);
    batch_record(&w, os_now_ms(), STR("k"), str_of(value), NULL, 0);
    if (batch_end(&w, NULL))
        abort();
    q->acks = -1;
    q->topic_data.p = t, q->topic_data.n = 1;
    t->name = str_of(topic);
    t->partition_data.p = p, t->partition_data.n = 1;
    p->records = buf_view(&b);
    r = ask(conn, KAFKA_produce, 9, q);
    buf_free(&b);
    return r->responses.p[0].partition_responses.p[0].error_code;
}

static struct kafka_fetch_request *fetch_request(const char *topic, int64_t offset, int32_t wait_ms, int32_t min_bytes)
{
    struct kafka_fetch_request *q = KAFKA_NEW(arena, fetch_request);
    struct kafka_fetch_topic *t = KAFKA_NEW(arena, fetch_topic);
    struct kafka_fetch_partition *p = KAFKA_NEW(arena, fetch_partition);

    q->max_wait_ms = wait_ms;
    q->min_bytes = min_bytes;
    q->topics.p = t, q->topics.n = 1;
    t->topic = str_of(topic);
    t->partitions.p = p, t->partitions.n = 1;
    p->fetch_offset = offset;
    p->partition_max_bytes = 1 << 20;
    return q;
}

static const struct kafka_fetch_partition_response *fetched(struct call *c)
{
    const struct kafka_fetch_response *r = answer(c);

    return &r->responses.p[0].partitions.p[0];
}

/* The simulator's disk is the process's: it lives to the end, behind pointers that the leak checker does not follow. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:sim_alloc\nleak:simd_\n";
}

#endif
