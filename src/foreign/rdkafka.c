/*
 * The driver over librdkafka: clients, metadata, offsets, tails. rdkafka_producer.c has the other half.
 *
 * Tails use its "simple" consumer: one queue per partition, no group. A control record (a transaction's marker) comes through that queue too,
 * unseen, and moves rd_kafka_position: that is how a range which ends in one is known to be done without waiting
 * for the broker's next long poll to say so (RD_KAFKA_RESP_ERR__PARTITION_EOF, which covers what is left).
 *
 * A client for metadata and offsets is not the one that fetches: a broker answers one connection's requests in order, so that
 * ListOffsets would wait behind the long poll.
 */
#include "foreign/rdkafka_int.h"

#include <stdio.h>
#include <stdlib.h>

/* -- errors and logs ------------------------------------------------------------------------------------------------------ */

static bool is_about_identity(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR__AUTHENTICATION || code == RD_KAFKA_RESP_ERR__SSL ||
           code == RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED || code == RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM;
}

static enum foreign_status status_of(rd_kafka_resp_err_t code)
{
    switch (code) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return FOREIGN_DONE;
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE:
    case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
        return FOREIGN_TIMEOUT;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
        return FOREIGN_GONE;
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
        return FOREIGN_RANGE;
    case RD_KAFKA_RESP_ERR__FENCED:
    case RD_KAFKA_RESP_ERR_PRODUCER_FENCED:
    case RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH:
        return FOREIGN_FENCED;
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__RESOLVE:
    case RD_KAFKA_RESP_ERR__WAIT_COORD:
    case RD_KAFKA_RESP_ERR__WAIT_CACHE:
    case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION:
    case RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
    case RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION:
    case RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS:
    case RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_COORDINATOR:
    case RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR:
    case RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH:
    case RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH:
    case RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS:
    case RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT:
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS:
    case RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED:
        return FOREIGN_AGAIN;
    default:
        return FOREIGN_REFUSED;
    }
}

enum foreign_status rdkafka_answer(struct foreign_client *k, rd_kafka_resp_err_t code, const char *text,
                                   struct foreign_answer *why)
{
    char trouble[sizeof k->trouble] = "";
    bool is_refused = false;
    *why = (struct foreign_answer){.status = status_of(code)};
    if (why->status == FOREIGN_DONE)
        return FOREIGN_DONE;
    if (!text || !*text)
        text = rd_kafka_err2str(code);
    if (k && (why->status == FOREIGN_TIMEOUT || why->status == FOREIGN_AGAIN)) {
        os_mutex_lock(k->lock);
        memcpy(trouble, k->trouble, sizeof trouble);
        is_refused = k->is_refused;
        os_mutex_unlock(k->lock);
    }
    snprintf(why->text, sizeof why->text, "%s%s%.300s%s", text, *trouble ? " (" : "", trouble, *trouble ? ")" : "");
    if (is_refused || is_about_identity(code))
        why->status = FOREIGN_REFUSED;
    return why->status;
}

enum foreign_status rdkafka_error(struct foreign_client *k, rd_kafka_error_t *error, struct foreign_answer *why)
{
    if (!error) {
        *why = (struct foreign_answer){0};
        return FOREIGN_DONE;
    }
    enum foreign_status s = rdkafka_answer(k, rd_kafka_error_code(error), rd_kafka_error_string(error), why);
    if (s != FOREIGN_FENCED) {
        if (rd_kafka_error_is_fatal(error))
            s = FOREIGN_REFUSED;
        else if (rd_kafka_error_txn_requires_abort(error))
            s = FOREIGN_ABORTABLE;
        else if (rd_kafka_error_is_retriable(error) && s == FOREIGN_REFUSED)
            s = FOREIGN_AGAIN;
    }
    rd_kafka_error_destroy(error);
    return why->status = s;
}

/* "[thrd:127.0.0.1:9/bootstrap]: 127.0.0.1:9/bootstrap: Connect to …": without the thread. */
static const char *without_thread(const char *text)
{
    const char *end = strncmp(text, "[thrd:", 6) ? NULL : strstr(text, "]: ");
    return end ? end + 3 : text;
}

static void logged(const rd_kafka_t *rk, int level, const char *what, const char *text)
{
    struct foreign_client *k = rd_kafka_opaque(rk);
    text = without_thread(text);
    os_log(level <= 3   ? OS_WARN
           : level <= 4 ? OS_INFO
                        : OS_DEBUG,
           "foreign", "%.*s: %s: %s", k ? (int)k->o.config->bootstrap.n : 0, k ? k->o.config->bootstrap.p : "", what,
           text);
}

static void troubled(rd_kafka_t *rk, int code, const char *text, void *opaque)
{
    struct foreign_client *k = opaque;
    (void)rk;
    os_mutex_lock(k->lock);
    if (code != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) /* "2/2 brokers are down" comes after the reason: keep that */
        snprintf(k->trouble, sizeof k->trouble, "%s", without_thread(text));
    k->is_refused |= is_about_identity((rd_kafka_resp_err_t)code);
    os_mutex_unlock(k->lock);
}

static void trouble(struct foreign_client *k, char *out, size_t cap)
{
    rd_kafka_poll(k->rk, 0);
    os_mutex_lock(k->lock);
    snprintf(out, cap, "%s", k->trouble);
    os_mutex_unlock(k->lock);
}

/* An answer has come: what was wrong with the connection is over. */
static void well(struct foreign_client *k)
{
    os_mutex_lock(k->lock);
    k->trouble[0] = 0;
    k->is_refused = false;
    os_mutex_unlock(k->lock);
}

/* -- clients -------------------------------------------------------------------------------------------------------------- */

struct fixed {
    enum foreign_client_kind kind; /* of these alone, … */
    bool everywhere;               /* … or of all */
    const char *name, *value;
};
/* What is decided here, whatever a script says. */
static const struct fixed FIXED[] = {
    {0, true, "log_level", "5"},
    {0, true, "log.connection.close", "false"},
    {0, true, "socket.nagle.disable", "true"},
    {CLIENT_CONTROL, false, "enable.auto.commit", "false"},
    {CLIENT_FEEDS, false, "enable.auto.commit", "false"},
    {CLIENT_FEEDS, false, "enable.auto.offset.store", "false"},
    {CLIENT_FEEDS, false, "enable.partition.eof", "true"},
    {CLIENT_FEEDS, false, "auto.offset.reset", "error"},
    {CLIENT_FEEDS, false, "queued.min.messages", "10000000"}, /* bytes bound it, not a number */
    {CLIENT_FEEDS, false, "fetch.error.backoff.ms", "50"},
    {CLIENT_FEEDS, false, "topic.metadata.refresh.fast.interval.ms", "100"},
};

static bool set(rd_kafka_conf_t *conf, const char *name, const char *value, struct foreign_answer *why)
{
    char text[300];
    if (rd_kafka_conf_set(conf, name, value, text, sizeof text) == RD_KAFKA_CONF_OK)
        return true;
    *why = (struct foreign_answer){FOREIGN_REFUSED, ""};
    snprintf(why->text, sizeof why->text, "%s", text);
    return false;
}

static bool set_number(rd_kafka_conf_t *conf, const char *name, int64_t value, struct foreign_answer *why)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)value);
    return set(conf, name, text, why);
}

/* A client that only asks, made of a sink's options: it would warn about each of these. */
static bool is_producers(const char *name)
{
    static const char *const names[] = {"acks",           "batch.size", "compression.",    "delivery.timeout.ms",
                                        "enable.idempot", "linger.ms",  "max.in.flight",   "partitioner",
                                        "queue.buffer",   "retries",    "retry.backoff.ms"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strncmp(name, names[i], strlen(names[i])))
            return true;
    return false;
}

static bool configure(rd_kafka_conf_t *conf, struct foreign_client *k, struct foreign_answer *why)
{
    const struct foreign_client_options *o = &k->o;
    bool ok = true;
    for (size_t i = 0; ok && i < sizeof FIXED / sizeof *FIXED; i++)
        if (FIXED[i].everywhere || FIXED[i].kind == o->kind)
            ok = set(conf, FIXED[i].name, FIXED[i].value, why);
    for (int i = 0; ok && i < o->config->nproperties; i++)
        ok = (o->kind != CLIENT_PRODUCER && is_producers(o->config->properties[i].name)) ||
             set(conf, o->config->properties[i].name, o->config->properties[i].value, why);
    if (ok && o->kind == CLIENT_FEEDS) {
        int64_t kib = o->ahead_bytes >> 10;
        ok = set_number(conf, "queued.max.messages.kbytes", kib < 1 ? 1 : kib, why) &&
             set_number(conf, "max.partition.fetch.bytes",
                        o->config->fetch_bytes < o->ahead_bytes ? o->config->fetch_bytes : o->ahead_bytes, why);
    }
    if (ok && o->transactional_id) /* a record may not outlive its transaction */
        ok = set(conf, "transactional.id", o->transactional_id, why) && set(conf, "enable.idempotence", "true", why) &&
             set(conf, "acks", "all", why) && set_number(conf, "transaction.timeout.ms", o->transaction_ms, why) &&
             set_number(conf, "delivery.timeout.ms",
                        o->config->delivery_ms < o->transaction_ms ? o->config->delivery_ms : o->transaction_ms, why);
    rd_kafka_conf_set_opaque(conf, k);
    rd_kafka_conf_set_log_cb(conf, logged);
    rd_kafka_conf_set_error_cb(conf, troubled);
    if (o->kind == CLIENT_PRODUCER)
        rd_kafka_conf_set_dr_msg_cb(conf, rdkafka_delivered);
    return ok;
}

static void close_(struct foreign_client *k)
{
    if (k->topic)
        rd_kafka_topic_destroy(k->topic);
    if (k->rk)
        rd_kafka_destroy_flags(k->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    os_mutex_free(k->lock);
    free(k);
}

static enum foreign_status open_(const struct foreign_client_options *o, struct foreign_client **out,
                                 struct foreign_answer *why)
{
    char text[300];
    struct foreign_client *k = calloc(1, sizeof *k);
    rd_kafka_conf_t *conf = k ? rd_kafka_conf_new() : NULL;
    *why = (struct foreign_answer){FOREIGN_REFUSED, "out of memory"};
    if (!k)
        return why->status;
    k->o = *o;
    k->lock = os_mutex_new();
    const char *mechanism = foreign_property(o->config, "sasl.mechanisms");
    bool has_tokens = mechanism && !strcmp(mechanism, "OAUTHBEARER");
    if (!configure(conf, k, why)) {
        rd_kafka_conf_destroy(conf);
        close_(k);
        return why->status;
    }
    if (has_tokens)
        rd_kafka_conf_enable_sasl_queue(conf, 1);
    k->rk = rd_kafka_new(o->kind == CLIENT_PRODUCER ? RD_KAFKA_PRODUCER : RD_KAFKA_CONSUMER, conf, text, sizeof text);
    if (!k->rk) {
        rd_kafka_conf_destroy(conf);
        snprintf(why->text, sizeof why->text, "%s", text);
        close_(k);
        return why->status;
    }
    if (has_tokens && rdkafka_error(k, rd_kafka_sasl_background_callbacks_enable(k->rk), why)) {
        close_(k);
        return why->status;
    }
    *out = k;
    return why->status = FOREIGN_DONE;
}

/* -- metadata, offsets -------------------------------------------------------------------------------------------------------- */

static enum foreign_status cluster_id(struct foreign_client *k, int64_t ms, struct arena *a, struct str *id,
                                      struct foreign_answer *why)
{
    char *text = rd_kafka_clusterid(k->rk, (int)ms);
    rd_kafka_poll(k->rk, 0);
    if (!text)
        return rdkafka_answer(k, RD_KAFKA_RESP_ERR__TIMED_OUT, "no broker said which cluster it belongs to", why);
    *id = arena_str(a, str_of(text));
    rd_kafka_mem_free(k->rk, text);
    return rdkafka_answer(k, 0, NULL, why);
}

static bool is_internal(const char *name)
{
    return !strcmp(name, "__consumer_offsets") || !strcmp(name, "__transaction_state") ||
           !strcmp(name, "__share_group_state");
}

static enum foreign_status take_topics(struct foreign_client *k, const rd_kafka_metadata_t *m, bool all,
                                       struct arena *a, struct foreign_topic **out, size_t *n,
                                       struct foreign_answer *why)
{
    *out = ARENA_ARRAY(a, (size_t)m->topic_cnt + 1, struct foreign_topic);
    *n = 0;
    for (int i = 0; i < m->topic_cnt; i++) {
        const rd_kafka_metadata_topic_t *t = &m->topics[i];
        enum foreign_status s = rdkafka_answer(k, t->err, NULL, why);
        if (s == FOREIGN_GONE || (all && (s || is_internal(t->topic))))
            continue;
        if (s)
            return s;
        (*out)[(*n)++] = (struct foreign_topic){arena_str(a, str_of(t->topic)), t->partition_cnt};
    }
    return rdkafka_answer(k, 0, NULL, why);
}

static enum foreign_status topics(struct foreign_client *k, struct str topic, int64_t ms, struct arena *a,
                                  struct foreign_topic **out, size_t *n, struct foreign_answer *why)
{
    const rd_kafka_metadata_t *m = NULL;
    rd_kafka_topic_t *rkt = topic.p ? rd_kafka_topic_new(k->rk, arena_z(a, topic), NULL) : NULL;
    if (topic.p && !rkt)
        return rdkafka_answer(k, rd_kafka_last_error(), NULL, why);
    rd_kafka_resp_err_t code = rd_kafka_metadata(k->rk, !topic.p, rkt, &m, (int)ms);
    rd_kafka_poll(k->rk, 0);
    if (rkt)
        rd_kafka_topic_destroy(rkt);
    if (code)
        return rdkafka_answer(k, code, NULL, why);
    well(k);
    enum foreign_status s = take_topics(k, m, !topic.p, a, out, n, why);
    rd_kafka_metadata_destroy(m);
    return s;
}

static enum foreign_status offsets(struct foreign_client *k, struct foreign_offset *o, size_t n, int64_t ms,
                                   struct foreign_answer *why)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)n);
    char name[256];
    for (size_t i = 0; i < n; i++) {
        snprintf(name, sizeof name, "%.*s", STR_ARG(o[i].topic));
        rd_kafka_topic_partition_list_add(list, name, o[i].partition)->offset = o[i].at;
    }
    rd_kafka_resp_err_t code = rd_kafka_offsets_for_times(k->rk, list, (int)ms);
    rd_kafka_poll(k->rk, 0);
    for (size_t i = 0; !code && i < n; i++) {
        code = list->elems[i].err;
        o[i].at = list->elems[i].offset;
    }
    rd_kafka_topic_partition_list_destroy(list);
    if (!code)
        well(k);
    return rdkafka_answer(k, code, NULL, why);
}

/* -- tails ---------------------------------------------------------------------------------------------------------------------- */

struct foreign_tail {
    struct foreign_client *client;
    rd_kafka_topic_t *topic;
    int32_t partition;
    rd_kafka_queue_t *queue;
    rd_kafka_topic_partition_list_t *position;
    void (*ready)(void *arg);
    void *arg;
};

static void event(rd_kafka_t *rk, void *opaque)
{
    struct foreign_tail *t = opaque;
    (void)rk;
    t->ready(t->arg);
}

/*
 * What is left in the queue goes: an operation in it holds its partition, which holds the queue and a broker. The partition
 * of a topic that was deleted is on no list any more that librdkafka would empty, and rd_kafka_destroy would wait for that
 * broker's thread for ever.
 */
static void drain(struct foreign_tail *t)
{
    rd_kafka_message_t *m[64];
    ssize_t n;
    while ((n = rd_kafka_consume_batch_queue(t->queue, 0, m, 64)) > 0)
        for (ssize_t i = 0; i < n; i++)
            rd_kafka_message_destroy(m[i]);
}

static void tail_stop(struct foreign_tail *t)
{
    if (t->queue) {
        rd_kafka_queue_cb_event_enable(t->queue, NULL, NULL);
        rd_kafka_consume_stop(t->topic, t->partition);
        drain(t);
        rd_kafka_queue_destroy(t->queue);
    }
    if (t->position)
        rd_kafka_topic_partition_list_destroy(t->position);
    if (t->topic)
        rd_kafka_topic_destroy(t->topic);
    free(t);
}

static enum foreign_status tail_start(struct foreign_client *k, struct str topic, int32_t partition, int64_t at,
                                      void (*ready)(void *arg), void *arg, struct foreign_tail **out,
                                      struct foreign_answer *why)
{
    char name[256];
    snprintf(name, sizeof name, "%.*s", STR_ARG(topic));
    struct foreign_tail *t = calloc(1, sizeof *t);
    if (!t || !(t->topic = rd_kafka_topic_new(k->rk, name, NULL))) {
        free(t);
        return rdkafka_answer(k, RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, NULL, why);
    }
    t->client = k;
    t->partition = partition;
    t->ready = ready;
    t->arg = arg;
    t->position = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(t->position, name, partition);
    t->queue = rd_kafka_queue_get_partition(k->rk, name, partition);
    if (t->queue)
        rd_kafka_queue_cb_event_enable(t->queue, event, t); /* before the first record can come */
    if (!t->queue || rd_kafka_consume_start(t->topic, partition, at)) {
        enum foreign_status s = rdkafka_answer(k, rd_kafka_last_error(), NULL, why);
        tail_stop(t);
        return s;
    }
    *out = t;
    return rdkafka_answer(k, 0, NULL, why);
}

static int tail_take(struct foreign_tail *t, void **messages, int cap, int64_t *at)
{
    ssize_t n = rd_kafka_consume_batch(t->topic, t->partition, 0, (rd_kafka_message_t **)messages, (size_t)cap);
    rd_kafka_poll(t->client->rk, 0);
    rd_kafka_position(t->client->rk, t->position);
    if (t->position->elems[0].offset >= 0)
        *at = t->position->elems[0].offset;
    return n < 0 ? 0 : (int)n;
}

static enum foreign_status look(void *message, struct foreign_record *r, struct foreign_answer *why)
{
    rd_kafka_message_t *m = message;
    *r = (struct foreign_record){.offset = m->offset, .message = m};
    if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
        return FOREIGN_TIMEOUT;
    if (m->err)
        return rdkafka_answer(NULL, m->err, rd_kafka_message_errstr(m), why);
    rd_kafka_timestamp_type_t type;
    r->key = m->key ? str_make(m->key, m->key_len) : (struct str){0};
    r->value = m->payload ? str_make(m->payload, m->len) : (struct str){0};
    r->timestamp_ms = rd_kafka_message_timestamp(m, &type);
    r->is_log_time = type == RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME;
    return FOREIGN_DONE;
}

static size_t headers(void *message, struct arena *a, struct foreign_header **out)
{
    rd_kafka_headers_t *h;
    if (rd_kafka_message_headers(message, &h))
        return 0;
    size_t n = rd_kafka_header_cnt(h);
    *out = ARENA_ARRAY(a, n + 1, struct foreign_header);
    for (size_t i = 0; i < n; i++) {
        const char *name;
        const void *value;
        size_t size;
        if (rd_kafka_header_get_all(h, i, &name, &value, &size))
            return i;
        (*out)[i] = (struct foreign_header){str_of(name), value ? str_make(value, size) : (struct str){0}};
    }
    return n;
}

static void release(void *message)
{
    rd_kafka_message_destroy(message);
}

const struct foreign_driver FOREIGN_LIBRARY = {
    .name = "librdkafka",
    .open = open_,
    .close = close_,
    .trouble = trouble,
    .cluster_id = cluster_id,
    .topics = topics,
    .offsets = offsets,
    .tail_start = tail_start,
    .tail_stop = tail_stop,
    .tail_take = tail_take,
    .look = look,
    .headers = headers,
    .release = release,
    .produce = rdkafka_produce,
    .serve = rdkafka_serve,
    .unsent = rdkafka_unsent,
    .flush = rdkafka_flush,
    .purge = rdkafka_purge,
    .init = rdkafka_init,
    .begin = rdkafka_begin,
    .send_offset = rdkafka_send_offset,
    .end = rdkafka_end,
    .group_offset = rdkafka_group_offset,
};
