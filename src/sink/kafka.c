/*
 * The kafka sink: rows to records of the embedded log. Columns key, value, topic, headers, partition, checked as Spark's
 * KafkaWriter checks them. At-least-once: a batch that runs again after a crash writes its records again.
 *
 *   rows ─▶ lane per topic-partition { record batch of up to 256 KiB } ─▶ log_append ─▶ … commit waits until all are durable
 */
#include "base/vec.h"
#include "base/limit.h"
#include "log/batch.h"
#include "sink/sink_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { LANE_BYTES = 256 << 10 };

struct in_flight { /* one append; the log may read its bytes until it is done */
    struct kafka *sink;
    struct buf bytes;
};
struct lane {
    struct log_partition *partition;
    struct buf bytes;
    struct batch_writer writer;
    bool open;
};
struct topic {
    struct str name;
    int32_t partitions, sticky; /* sticky: the lane of records without a key, until its batch is sent */
    struct lane *lanes;
};
struct kafka {
    struct sink base;
    struct str topic_option;
    int key, value, topic, headers, partition; /* columns, -1: none */
    VEC(struct topic *) topics;
    struct os_mutex *lock;
    struct os_cond *done;
    size_t flying;
    enum log_status failed; /* of an append that was in flight */
    int64_t now_ms;
};

/* -- columns ---------------------------------------------------------------------------------------------------------- */

static bool is_headers(const struct type *t)
{
    const struct type *s = t->id == TYPE_ARRAY ? t->fields[0].type : NULL;
    return s && s->id == TYPE_STRUCT && s->nfields == 2 && s->fields[0].type->id == TYPE_STRING &&
           s->fields[1].type->id == TYPE_BINARY;
}

static bool is_bytes(const struct type *t)
{
    return t->id == TYPE_STRING || t->id == TYPE_BINARY;
}

static bool is_string(const struct type *t)
{
    return t->id == TYPE_STRING;
}

static bool is_int(const struct type *t)
{
    return t->id == TYPE_INT;
}

static enum err column(struct kafka *s, const char *name, bool (*fits)(const struct type *), const char *types,
                       int *out, struct fault *f)
{
    const struct type *schema = s->base.schema;
    *out = -1;
    for (int i = 0; i < schema->nfields; i++)
        if (str_eq_nocase(schema->fields[i].name, str_of(name)))
            *out = i;
    if (*out < 0 || fits(schema->fields[*out].type))
        return ERR_OK;
    struct str is = type_simple_string(s->base.arena, schema->fields[*out].type);
    return sink_message(f, ERR_SINK_COLUMN, "%s attribute unsupported type %.*s. %s must be a(n) %s", name, STR_ARG(is),
                        name, types);
}

static enum err columns(struct kafka *s, struct fault *f)
{
    enum err e = s->topic_option.p ? ERR_OK : column(s, "topic", is_string, "string", &s->topic, f);
    if (!e && !s->topic_option.p && s->topic < 0)
        e = sink_message(
            f, ERR_SINK_COLUMN,
            "topic option required when no 'topic' attribute is present. Use the topic option for setting a "
            "topic.");
    if (!e)
        e = column(s, "key", is_bytes, "string or binary", &s->key, f);
    if (!e)
        e = column(s, "value", is_bytes, "string or binary", &s->value, f);
    if (!e && s->value < 0)
        e = sink_message(f, ERR_SINK_COLUMN, "Required attribute 'value' not found");
    if (!e)
        e = column(s, "headers", is_headers, "array<struct<key:string,value:binary>>", &s->headers, f);
    return e ? e : column(s, "partition", is_int, "int", &s->partition, f);
}

static enum err open_(struct sink *base, struct fault *f)
{
    struct kafka *s = (struct kafka *)base;
    struct str bootstrap = option_get(base->options, base->noptions, "kafka.bootstrap.servers");
    s->lock = os_mutex_new();
    s->done = os_cond_new();
    s->topic = -1;
    s->topic_option = option_get(base->options, base->noptions, "topic");
    if (option_get(base->options, base->noptions, "kafka.key.serializer").p)
        return sink_message(
            f, ERR_SOURCE_OPTION,
            "Kafka option 'key.serializer' is not supported as keys are serialized with ByteArraySerializer.");
    if (option_get(base->options, base->noptions, "kafka.value.serializer").p)
        return sink_message(
            f, ERR_SOURCE_OPTION,
            "Kafka option 'value.serializer' is not supported as value are serialized with ByteArraySerializer.");
    if (!bootstrap.p)
        return sink_message(f, ERR_SOURCE_OPTION,
                            "Missing required configuration \"bootstrap.servers\" which has no default value.");
    if (base->source.is_ours && !base->source.is_ours(base->source.arg, bootstrap)) {
        char feature[256];
        snprintf(feature, sizeof feature, "writing to another Kafka cluster (kafka.bootstrap.servers=%.*s)",
                 STR_ARG(str_sub(bootstrap, 0, 160)));
        return FAULT(f, ERR_UNSUPPORTED, {"feature", feature}, {"hint", "Name an address of this server."});
    }
    return columns(s, f);
}

/* -- lanes -------------------------------------------------------------------------------------------------------------- */

static enum err write_failed(struct str topic, const char *detail, struct fault *f)
{
    char name[256];
    snprintf(name, sizeof name, "%.*s", STR_ARG(topic));
    return FAULT(f, ERR_KAFKA_WRITE, {"topic", name}, {"detail", detail});
}

static enum err topic_of(struct kafka *s, struct str name, struct topic **out, struct fault *f)
{
    for (size_t i = 0; i < s->topics.n; i++)
        if (str_eq(s->topics.p[i]->name, name)) {
            *out = s->topics.p[i];
            return ERR_OK;
        }
    struct log_topic found;
    struct arena *a = s->base.arena;
    if (!log_topic_get(s->base.source.log, name, a, &found)) {
        enum err e = s->base.source.auto_create ? s->base.source.auto_create(s->base.source.arg, name, f)
                                                : write_failed(name, "the topic does not exist", f);
        if (e)
            return e;
        if (!log_topic_get(s->base.source.log, name, a, &found))
            return write_failed(name, "the topic does not exist", f);
    }
    struct topic *t = ARENA_NEW(a, struct topic);
    *t = (struct topic){arena_str(a, name), found.partitions, 0, ARENA_ARRAY(a, (size_t)found.partitions, struct lane)};
    vec_push(&s->topics, t);
    *out = t;
    return ERR_OK;
}

static void appended(void *arg, const struct log_append_result *r)
{
    struct in_flight *fly = arg;
    struct kafka *s = fly->sink;
    enum log_status status = r->status;
    buf_free(&fly->bytes);
    free(fly);
    os_mutex_lock(s->lock);
    if (status && !s->failed)
        s->failed = status;
    s->flying--;
    os_cond_broadcast(s->done);
    os_mutex_unlock(s->lock);
}

static void wait_until(struct kafka *s, size_t most)
{
    os_mutex_lock(s->lock);
    while (s->flying > most)
        os_cond_wait(s->done, s->lock);
    os_mutex_unlock(s->lock);
}

static enum err send(struct kafka *s, struct topic *t, struct lane *lane, struct fault *f)
{
    enum err e = batch_end(&lane->writer, f);
    lane->open = false;
    if (e)
        return e;
    struct in_flight *fly = calloc(1, sizeof *fly);
    if (!fly)
        return FAULT(f, ERR_NOMEM, {"what", "the kafka sink"});
    *fly = (struct in_flight){s, lane->bytes};
    lane->bytes = (struct buf){0};
    os_mutex_lock(s->lock);
    s->flying++;
    os_mutex_unlock(s->lock);
    struct log_append_result r = {0};
    enum log_status status;
    while ((status = log_append(lane->partition, fly->bytes.p, fly->bytes.n, appended, fly, &r)) == LOG_AGAIN) {
        wait_until(s, 1); /* what is ours to wait for; else the disk is busy with others */
        os_sleep_ms(1);
    }
    if (!status)
        return ERR_OK;
    buf_free(&fly->bytes);
    free(fly);
    os_mutex_lock(s->lock);
    s->flying--;
    os_mutex_unlock(s->lock);
    return write_failed(t->name, r.message[0] ? r.message : "the append was refused", f);
}

static enum err lane_of(struct kafka *s, struct topic *t, int32_t partition, struct lane **out, struct fault *f)
{
    struct lane *lane = *out = &t->lanes[partition];
    if (!lane->partition && !(lane->partition = log_partition(s->base.source.log, t->name, partition)))
        return write_failed(t->name, "the topic was deleted", f);
    if (!lane->open) {
        buf_clear(&lane->bytes);
        batch_begin(&lane->writer, &lane->bytes, s->now_ms, 0);
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

/* -- rows ------------------------------------------------------------------------------------------------------------------ */

static struct str bytes_at(const struct batch_cols *b, int col, uint32_t i)
{
    if (col < 0 || !col_valid(&b->cols[col], i))
        return (struct str){0};
    struct str v = b->cols[col].data.str[COL_AT(&b->cols[col], i)];
    return v.p ? v : STR("");
}

static enum err choose(struct kafka *s, struct topic *t, const struct batch_cols *b, uint32_t i, struct str key,
                       int32_t *out, struct fault *f)
{
    if (s->partition >= 0 && col_valid(&b->cols[s->partition], i)) {
        *out = b->cols[s->partition].data.i32[COL_AT(&b->cols[s->partition], i)];
        if (*out >= 0 && *out < t->partitions)
            return ERR_OK;
        char detail[96];
        snprintf(detail, sizeof detail, "Invalid partition given with record: %d is not in the range [0...%d).", *out,
                 t->partitions);
        return write_failed(t->name, detail, f);
    }
    *out = key.p ? (int32_t)((murmur2(key) & 0x7fffffff) % (uint32_t)t->partitions) : t->sticky;
    return ERR_OK;
}

static enum err headers_at(struct kafka *s, const struct batch_cols *b, uint32_t i, struct str *out, int *n,
                           struct fault *f)
{
    *n = 0;
    const struct column *c = s->headers < 0 ? NULL : &b->cols[s->headers];
    if (!c || !col_valid(c, i))
        return ERR_OK;
    uint32_t from = c->data.offsets[COL_AT(c, i)], to = c->data.offsets[COL_AT(c, i) + 1];
    if (to - from > LIMIT_SINK_HEADERS)
        return LIMIT_FAULT(f, SINK_HEADERS);
    const struct column *row = &c->children[0], *key = &row->children[0], *value = &row->children[1];
    for (uint32_t k = from; k < to; k++) {
        if (!col_valid(row, k) || !col_valid(key, k))
            return write_failed(STR("the topic"), "a header has no key", f);
        out[(*n)++] = key->data.str[COL_AT(key, k)];
        out[(*n)++] = col_valid(value, k) ? value->data.str[COL_AT(value, k)] : (struct str){0};
    }
    *n /= 2;
    return ERR_OK;
}

static enum err write_row(struct kafka *s, const struct batch_cols *b, uint32_t i, struct fault *f)
{
    struct str name = s->topic_option.p ? s->topic_option : bytes_at(b, s->topic, i), headers[2 * LIMIT_SINK_HEADERS];
    struct str key = bytes_at(b, s->key, i);
    struct topic *t = NULL;
    struct lane *lane = NULL;
    int32_t partition = 0;
    int nheaders = 0;
    if (!name.p)
        return FAULT(f, ERR_KAFKA_NULL_TOPIC);
    enum err e = topic_of(s, name, &t, f);
    if (!e)
        e = choose(s, t, b, i, key, &partition, f);
    if (!e)
        e = lane_of(s, t, partition, &lane, f);
    if (!e)
        e = headers_at(s, b, i, headers, &nheaders, f);
    if (e)
        return e;
    batch_record(&lane->writer, s->now_ms, key, bytes_at(b, s->value, i), headers, nheaders);
    if (lane->bytes.n < LANE_BYTES)
        return ERR_OK;
    t->sticky = (t->sticky + 1) % t->partitions;
    return send(s, t, lane, f);
}

static enum err write_(struct sink *base, const struct batch_cols *rows, struct fault *f)
{
    enum err e = ERR_OK;
    for (uint32_t i = 0; !e && i < rows->n; i++)
        e = write_row((struct kafka *)base, rows, i, f);
    return e;
}

static enum err begin(struct sink *base, int64_t batch_id, struct fault *f)
{
    (void)batch_id, (void)f;
    ((struct kafka *)base)->now_ms = os_now_ms();
    return ERR_OK;
}

static enum err commit(struct sink *base, struct fault *f)
{
    struct kafka *s = (struct kafka *)base;
    enum err e = ERR_OK;
    for (size_t i = 0; i < s->topics.n; i++) {
        struct topic *t = s->topics.p[i];
        for (int32_t p = 0; !e && p < t->partitions; p++)
            if (t->lanes[p].open)
                e = send(s, t, &t->lanes[p], f);
        t->sticky = (t->sticky + 1) % t->partitions;
    }
    wait_until(s, 0);
    char detail[64];
    snprintf(detail, sizeof detail, "an append failed with status %d", (int)s->failed);
    return !e && s->failed ? write_failed(STR("the topic"), detail, f) : e;
}

static void abort_(struct sink *base)
{
    struct kafka *s = (struct kafka *)base;
    for (size_t i = 0; i < s->topics.n; i++)
        for (int32_t p = 0; p < s->topics.p[i]->partitions; p++)
            s->topics.p[i]->lanes[p].open = false;
    wait_until(s, 0);
}

static void close_(struct sink *base)
{
    struct kafka *s = (struct kafka *)base;
    abort_(base);
    for (size_t i = 0; i < s->topics.n; i++)
        for (int32_t p = 0; p < s->topics.p[i]->partitions; p++) {
            struct lane *lane = &s->topics.p[i]->lanes[p];
            if (lane->partition)
                log_partition_release(lane->partition);
            buf_free(&lane->bytes);
        }
    vec_free(&s->topics);
    os_cond_free(s->done);
    os_mutex_free(s->lock);
}

const struct sink_class KAFKA_SINK = {
    .name = "kafka",
    .class_name = "org.apache.spark.sql.kafka010.KafkaSourceProvider$KafkaTable",
    .open = open_,
    .begin = begin,
    .write = write_,
    .commit = commit,
    .abort = abort_,
    .close = close_,
    .size = sizeof(struct kafka),
};
