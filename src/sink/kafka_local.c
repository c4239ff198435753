/*
 * The embedded log as the kafka sink's output.
 *
 *   record ─▶ lane per topic-partition { record batch of up to 256 KiB } ─▶ log_append ─▶ … flush waits until all are durable
 *                                                                        ╰▶ broker_producer_append ─▶ … end: note, EndTxn
 *
 * Full batches leave as they come, so that a large output is not held in memory. What is left of it at the end of the batch
 * goes with the note and the transaction's end: all of that is one group of the journal, and one sync.
 */
#include "base/vec.h"
#include "broker/broker.h"
#include "log/batch.h"
#include "sink/kafka_output.h"
#include "sink/sink_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { LANE_BYTES = 256 << 10 };

struct in_flight { /* one append; the log may read its bytes until it is done */
    struct local *local;
    struct buf bytes;
};
struct lane {
    struct log_partition *partition;
    struct buf bytes;
    struct batch_writer writer;
    bool open;
};
struct topic {
    char *name;
    size_t name_n;
    int32_t partitions, sticky; /* sticky: the lane of records without a key, until its batch is sent */
    struct lane *lanes;
};
struct local {
    struct kafka_output base;
    VEC(struct topic *) topics;
    uint64_t topics_version;          /* of the log, when `topics` was filled */
    struct broker_producer *producer; /* of transactions; NULL: at-least-once */
    struct os_mutex *lock;
    struct os_cond *done;
    size_t flying;
    enum log_status failed; /* of an append that was in flight */
};

static struct log *log_of(const struct local *l)
{
    return l->base.sink->source.log;
}

/* -- topics ------------------------------------------------------------------------------------------------------------- */

static struct str name_of(const struct topic *t)
{
    return str_make(t->name, t->name_n);
}

static void topic_free(struct topic *t)
{
    for (int32_t p = 0; p < t->partitions; p++) {
        if (t->lanes[p].partition)
            log_partition_release(t->lanes[p].partition);
        buf_free(&t->lanes[p].bytes);
    }
    free(t->lanes);
    free(t->name);
    free(t);
}

/* Between batches: what was learned about topics that have changed since (deleted, made again, grown) is forgotten. */
static void forget_topics(struct local *l)
{
    uint64_t version = log_topics_version(log_of(l));
    if (version == l->topics_version)
        return;
    for (size_t i = 0; i < l->topics.n; i++)
        topic_free(l->topics.p[i]);
    l->topics.n = 0;
    l->topics_version = version;
}

static enum err topic_found(struct local *l, struct str name, int32_t partitions, struct topic **out, struct fault *f)
{
    struct topic *t = calloc(1, sizeof *t);
    if (t) {
        *t = (struct topic){malloc(name.n + 1), name.n, partitions, 0, calloc((size_t)partitions, sizeof(struct lane))};
        if (t->name && t->lanes) {
            memcpy(t->name, name.p, name.n);
            vec_push(&l->topics, t);
            *out = t;
            return ERR_OK;
        }
        free(t->lanes);
        free(t->name);
    }
    free(t);
    return FAULT(f, ERR_NOMEM, {"what", "the kafka sink"});
}

static enum err topic_of(struct local *l, struct str name, struct topic **out, struct fault *f)
{
    const struct source_env *env = &l->base.sink->source;
    for (size_t i = 0; i < l->topics.n; i++)
        if (str_eq(name_of(l->topics.p[i]), name)) {
            *out = l->topics.p[i];
            return ERR_OK;
        }
    struct log_topic found;
    struct arena *a = arena_new(0);
    enum err e = ERR_OK;
    bool there = log_topic_get(env->log, name, a, &found);
    if (!there && env->auto_create) {
        e = env->auto_create(env->arg, name, f);
        there = !e && log_topic_get(env->log, name, a, &found);
    }
    if (!e && !there)
        e = kafka_write_failed(name, "the topic does not exist", f);
    if (!e)
        e = topic_found(l, name, found.partitions, out, f);
    arena_free(a);
    return e;
}

/* -- lanes -------------------------------------------------------------------------------------------------------------- */

static void appended(void *arg, const struct log_append_result *r)
{
    struct in_flight *fly = arg;
    struct local *l = fly->local;
    enum log_status status = r->status;
    buf_free(&fly->bytes);
    free(fly);
    os_mutex_lock(l->lock);
    if (status && !l->failed)
        l->failed = status;
    l->flying--;
    os_cond_broadcast(l->done);
    os_mutex_unlock(l->lock);
}

static void wait_until(struct local *l, size_t most)
{
    os_mutex_lock(l->lock);
    while (l->flying > most)
        os_cond_wait(l->done, l->lock);
    os_mutex_unlock(l->lock);
}

static enum err send(struct local *l, struct topic *t, struct lane *lane, struct fault *f)
{
    enum err e = batch_end(&lane->writer, f);
    lane->open = false;
    if (!e && l->producer)
        return broker_producer_append(l->producer, lane->partition, lane->bytes.p, lane->bytes.n, f);
    if (e)
        return e;
    struct in_flight *fly = calloc(1, sizeof *fly);
    if (!fly)
        return FAULT(f, ERR_NOMEM, {"what", "the kafka sink"});
    *fly = (struct in_flight){l, lane->bytes};
    lane->bytes = (struct buf){0};
    os_mutex_lock(l->lock);
    l->flying++;
    os_mutex_unlock(l->lock);
    struct log_append_result r = {0};
    enum log_status status;
    while ((status = log_append(lane->partition, fly->bytes.p, fly->bytes.n, appended, fly, &r)) == LOG_AGAIN) {
        wait_until(l, 1); /* what is ours to wait for; else the disk is busy with others */
        os_sleep_ms(1);
    }
    if (!status)
        return ERR_OK;
    buf_free(&fly->bytes);
    free(fly);
    os_mutex_lock(l->lock);
    l->flying--;
    os_mutex_unlock(l->lock);
    return kafka_write_failed(name_of(t), r.message[0] ? r.message : "the append was refused", f);
}

static enum err lane_of(struct local *l, struct topic *t, int32_t partition, int64_t timestamp_ms, struct lane **out,
                        struct fault *f)
{
    struct lane *lane = *out = &t->lanes[partition];
    if (!lane->partition && !(lane->partition = log_partition(log_of(l), name_of(t), partition)))
        return kafka_write_failed(name_of(t), "the topic was deleted", f);
    if (!lane->open) {
        buf_clear(&lane->bytes);
        batch_begin(&lane->writer, &lane->bytes, timestamp_ms, 0);
        lane->open = true;
    }
    return ERR_OK;
}

/* Kafka's default partitioner: murmur2 of the key (org.apache.kafka.common.utils.Utils.murmur2), seed 0x9747b28c. */
static uint32_t murmur2(struct str key)
{
    const uint32_t m = 0x5bd1e995;
    uint32_t h = 0x9747b28cu ^ (uint32_t)key.n, k;
    size_t i = 0;
    for (; i + 4 <= key.n; i += 4) {
        memcpy(&k, key.p + i, 4);
        k = le32toh(k) * m;
        k = (k ^ k >> 24) * m;
        h = (h * m) ^ k;
    }
    if (i < key.n) {
        for (size_t j = key.n; j-- > i;)
            h ^= (uint32_t)(uint8_t)key.p[j] << 8 * (j - i);
        h *= m;
    }
    h = (h ^ h >> 13) * m;
    return h ^ h >> 15;
}

static enum err choose(struct topic *t, const struct kafka_record *r, int32_t *out, struct fault *f)
{
    *out = r->partition;
    if (*out < 0)
        *out = r->key.p ? (int32_t)((murmur2(r->key) & 0x7fffffff) % (uint32_t)t->partitions) : t->sticky;
    if (*out < t->partitions)
        return ERR_OK;
    char detail[96];
    snprintf(detail, sizeof detail, "Invalid partition given with record: %d is not in the range [0...%d).", *out,
             t->partitions);
    return kafka_write_failed(name_of(t), detail, f);
}

static size_t size_of(const struct kafka_record *r)
{
    size_t n = r->key.n + r->value.n + 32;
    for (int i = 0; i < 2 * r->nheaders; i++)
        n += r->headers[i].n + 8;
    return n;
}

static enum err write_(struct kafka_output *o, const struct kafka_record *r, struct fault *f)
{
    struct local *l = (struct local *)o;
    struct topic *t = NULL;
    struct lane *lane = NULL;
    int32_t partition = 0;
    enum err e = topic_of(l, r->topic, &t, f);
    if (!e)
        e = choose(t, r, &partition, f);
    if (!e && t->lanes[partition].open && t->lanes[partition].bytes.n + size_of(r) > LANE_BYTES)
        e = send(l, t, &t->lanes[partition], f); /* a long record gets a batch of its own: the topic bounds a batch */
    if (!e)
        e = lane_of(l, t, partition, r->timestamp_ms, &lane, f);
    if (e)
        return e;
    batch_record(&lane->writer, r->timestamp_ms, r->key, r->value, r->headers, r->nheaders);
    if (lane->bytes.n < LANE_BYTES)
        return ERR_OK;
    t->sticky = (t->sticky + 1) % t->partitions;
    return send(l, t, lane, f);
}

/* -- batches --------------------------------------------------------------------------------------------------------------- */

static enum err send_all(struct local *l, struct fault *f)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < l->topics.n; i++) {
        struct topic *t = l->topics.p[i];
        for (int32_t p = 0; !e && p < t->partitions; p++)
            if (t->lanes[p].open)
                e = send(l, t, &t->lanes[p], f);
        t->sticky = (t->sticky + 1) % t->partitions;
    }
    return e;
}

static enum err flush(struct kafka_output *o, struct fault *f)
{
    struct local *l = (struct local *)o;
    enum err e = send_all(l, f);
    wait_until(l, 0);
    if (!e && l->failed) {
        char detail[64];
        snprintf(detail, sizeof detail, "an append failed with status %d", (int)l->failed);
        e = kafka_write_failed(STR("the topic"), detail, f);
    }
    if (!e)
        forget_topics(l);
    return e;
}

static void abort_(struct kafka_output *o)
{
    struct local *l = (struct local *)o;
    struct fault f;
    for (size_t i = 0; i < l->topics.n; i++)
        for (int32_t p = 0; p < l->topics.p[i]->partitions; p++)
            l->topics.p[i]->lanes[p].open = false;
    wait_until(l, 0);
    if (l->producer && broker_producer_end(l->producer, false, &f))
        os_log(OS_INFO, "sink", "%s", fault_message(&f)); /* the next run of the query ends it */
}

/* -- transactions ------------------------------------------------------------------------------------------------------------ */

static enum err fence(struct kafka_output *o, struct str id, struct fault *f)
{
    struct local *l = (struct local *)o;
    struct broker *b = o->sink->source.broker;
    /* A batch takes as long as it takes, and ends with this process: no time limit. */
    return b ? broker_producer_open(b, id, INT32_MAX, &l->producer, f)
             : fault_internal(f, "a transactional sink without a broker");
}

static enum err noted(struct kafka_output *o, struct arena *a, struct kafka_note *n, struct fault *f)
{
    return broker_group_offset(o->sink->source.broker, n->group, n->topic, 0, a, &n->offset, &n->metadata, f);
}

static enum err end(struct kafka_output *o, const struct kafka_note *n, struct fault *f)
{
    struct local *l = (struct local *)o;
    enum err e = send_all(l, f);
    if (!e)
        e = broker_producer_offset(l->producer, n->group, n->topic, 0, n->offset, n->metadata, f);
    if (!e)
        e = broker_producer_end(l->producer, true, f);
    if (!e)
        forget_topics(l);
    return e;
}

static enum err open_(struct kafka_output *o, struct fault *f)
{
    struct local *l = (struct local *)o;
    (void)f;
    l->lock = os_mutex_new();
    l->done = os_cond_new();
    l->topics_version = log_topics_version(log_of(l));
    return ERR_OK;
}

static void close_(struct kafka_output *o)
{
    struct local *l = (struct local *)o;
    if (!l->lock)
        return;
    abort_(o);
    broker_producer_close(l->producer);
    for (size_t i = 0; i < l->topics.n; i++)
        topic_free(l->topics.p[i]);
    vec_free(&l->topics);
    os_cond_free(l->done);
    os_mutex_free(l->lock);
}

const struct kafka_output_class KAFKA_LOCAL = {
    .size = sizeof(struct local),
    .open = open_,
    .close = close_,
    .write = write_,
    .flush = flush,
    .abort = abort_,
    .fence = fence,
    .noted = noted,
    .end = end,
};
