/*
 * __transaction_state: the coordinator's memory as records in Kafka's formats, so that its tools read them.
 *   key 0 {transactional id} → value 1 {producer id, epoch, timeout, state, partitions, times}; a null value forgets.
 * One partition, as __consumer_offsets has: all appends share one journal, and start-up reads one file.
 */
#include "broker/txn_int.h"

#include "base/memory.h"
#include "broker/group_int.h"
#include "log/batch.h"

#include <stdio.h>

#define STORE_TOPIC STR("__transaction_state")

enum { KEY_VERSION = 0, VALUE_VERSION = 1, VALUE_FLEXIBLE = 1, LOAD_READ_BYTES = 1 << 20 };

void txn_free(struct txn *t)
{
    for (size_t i = 0; i < t->parts.n; i++)
        disown(&t->parts.p[i].topic);
    vec_free(&t->parts);
    disown(&t->id);
    free(t);
}

/* -- writing ---------------------------------------------------------------------------------------------------------- */

/* The partitions by topic, in the order in which they were added. */
static void group_parts(const struct txn *t, size_t nparts, struct arena *a, struct kafka_transaction_value *v)
{
    v->transaction_partitions.p = KAFKA_ARRAY(a, transaction_partitions, nparts + 1);
    v->transaction_partitions.n = 0;
    for (size_t i = 0; i < nparts; i++) {
        struct kafka_transaction_partitions *in = NULL;
        for (int32_t k = 0; k < v->transaction_partitions.n && !in; k++)
            if (str_eq(v->transaction_partitions.p[k].topic, t->parts.p[i].topic))
                in = &v->transaction_partitions.p[k];
        if (!in) {
            in = &v->transaction_partitions.p[v->transaction_partitions.n++];
            in->topic = t->parts.p[i].topic;
            in->partition_ids.p = ARENA_ARRAY(a, nparts, int32_t);
            in->partition_ids.n = 0;
        }
        in->partition_ids.p[in->partition_ids.n++] = t->parts.p[i].partition;
    }
}

static void put_value(const struct txn *t, const struct txn_now *n, size_t nparts, struct arena *a, struct buf *out)
{
    struct kafka_transaction_value v = {.producer_id = n->producer_id,
                                        .previous_producer_id = n->previous_id,
                                        .next_producer_id = n->next_id,
                                        .producer_epoch = n->epoch,
                                        .next_producer_epoch = -1,
                                        .transaction_timeout_ms = n->timeout_ms,
                                        .transaction_status = (int8_t)n->state,
                                        .transaction_last_update_timestamp_ms = n->update_ms,
                                        .transaction_start_timestamp_ms = n->start_ms,
                                        .client_transaction_version = n->client_version};
    group_parts(t, nparts, a, &v);
    if (n->state == TXN_EMPTY)
        v.transaction_partitions.n = -1;
    buf_u16be(out, VALUE_VERSION);
    kafka_encode(kafka_shape_transaction_value(), VALUE_VERSION, true, &v, out, NULL);
}

/* next NULL: the id is forgotten. */
static int16_t append(struct broker *b, const struct txn *t, const struct txn_now *next, size_t nparts,
                      struct txn_op *op)
{
    struct arena *a = arena_new(0);
    struct buf key = {.limit = BUF_ASKED}, value = {.limit = BUF_ASKED}, bytes = {.limit = BUF_ASKED};
    struct batch_writer w;
    struct kafka_transaction_key k = {t->id};
    struct log_append_result r;
    struct fault f;
    enum log_status s = LOG_STORAGE_ERROR;
    buf_u16be(&key, KEY_VERSION);
    kafka_encode(kafka_shape_transaction_key(), KEY_VERSION, false, &k, &key, NULL);
    if (next)
        put_value(t, next, nparts, a, &value);
    batch_begin(&w, &bytes, os_now_ms(), 0);
    batch_record(&w, os_now_ms(), buf_view(&key), next ? buf_view(&value) : (struct str){NULL, 0}, NULL, 0);
    if (!key.bad && !value.bad && !batch_end(&w, &f) && !bytes.bad) {
        if (op)
            atomic_fetch_add(&op->left, 1);
        s = log_append(b->txns->store, bytes.p, bytes.n, op ? txn_op_appended : NULL, op, &r);
        if (s != LOG_OK && op)
            atomic_fetch_sub(&op->left, 1);
    }
    if (s != LOG_OK)
        os_log(OS_WARN, "broker", "the state of \"%.*s\" cannot be stored: %s", STR_ARG(t->id),
               kafka_code_name((int16_t)s));
    buf_free(&key);
    buf_free(&value);
    buf_free(&bytes);
    arena_free(a);
    return s == LOG_OK ? KAFKA_E_NONE : KAFKA_E_COORDINATOR_NOT_AVAILABLE;
}

int16_t txn_store(struct broker *b, const struct txn *t, const struct txn_now *next, size_t nparts, struct txn_op *op)
{
    return append(b, t, next, nparts, op);
}

int16_t txn_store_forget(struct broker *b, const struct txn *t)
{
    return append(b, t, NULL, 0, NULL);
}

/* -- reading at start ------------------------------------------------------------------------------------------------- */

CHECK static enum err damaged(struct fault *f, const char *detail)
{
    return FAULT(f, ERR_CORRUPT, {"what", "__transaction_state"}, {"detail", detail});
}

static bool take_version(struct str *s, int16_t *version)
{
    if (s->n < 2)
        return false;
    *version = (int16_t)((unsigned char)s->p[0] << 8 | (unsigned char)s->p[1]);
    *s = str_make(s->p + 2, s->n - 2);
    return true;
}

static void forget(struct broker *b, struct str id)
{
    struct txn *t = map_del(&b->txns->by_id, id);
    if (t)
        txn_free(t);
}

static void load_parts(struct txn *t, const struct kafka_transaction_value *v)
{
    for (int32_t i = 0; i < v->transaction_partitions.n; i++)
        for (int32_t k = 0; k < v->transaction_partitions.p[i].partition_ids.n; k++)
            vec_push(&t->parts, ((struct txn_part){own(v->transaction_partitions.p[i].topic),
                                                   v->transaction_partitions.p[i].partition_ids.p[k]}));
}

CHECK static enum err load_value(struct broker *b, struct str id, const struct kafka_transaction_value *v,
                                 struct fault *f)
{
    if (v->transaction_status < 0 || v->transaction_status >= TXN_STATES)
        return damaged(f, "a state that does not exist");
    forget(b, id);
    struct txn *t = memory_must(calloc(1, sizeof *t), "a transactional id");
    t->id = own(id);
    t->now = (struct txn_now){.state = (enum txn_state)v->transaction_status,
                              .producer_id = v->producer_id,
                              .previous_id = v->previous_producer_id,
                              .next_id = v->next_producer_id,
                              .epoch = v->producer_epoch,
                              .last_epoch = -1,
                              .client_version = v->client_transaction_version,
                              .timeout_ms = v->transaction_timeout_ms,
                              .start_ms = v->transaction_start_timestamp_ms,
                              .update_ms = v->transaction_last_update_timestamp_ms};
    load_parts(t, v);
    map_put(&b->txns->by_id, t->id, t);
    return ERR_OK;
}

CHECK static enum err load_record(struct broker *b, const struct record *r, struct arena *a, struct fault *f)
{
    struct kafka_transaction_key key;
    struct kafka_transaction_value value;
    struct str k = r->key, v = r->value;
    int16_t version;
    if (!k.p || !take_version(&k, &version))
        return damaged(f, "a record without a key");
    if (version != KEY_VERSION)
        return ERR_OK; /* a later Kafka's: not ours to read */
    enum err e = kafka_decode(kafka_shape_transaction_key(), version, false, k, a, &key, NULL, f);
    if (e)
        return e;
    if (!v.p) {
        forget(b, key.transactional_id);
        return ERR_OK;
    }
    if (!take_version(&v, &version) || version < 0 || version > VALUE_VERSION)
        return FAULT(f, ERR_VERSION, {"what", "a transaction's state"}, {"format", "unknown"});
    e = kafka_decode(kafka_shape_transaction_value(), version, version >= VALUE_FLEXIBLE, v, a, &value, NULL, f);
    return e ? e : load_value(b, key.transactional_id, &value, f);
}

CHECK static enum err load_batch(void *arg, const struct batch *batch, struct arena *a, struct fault *f)
{
    struct record_iter it;
    struct record r;
    bool got = true;
    if (batch->attributes & BATCH_CONTROL)
        return ERR_OK;
    enum err e = records_begin(&it, batch, a, LIMIT_UNPACKED_BYTES, f);
    while (!e && !(e = records_next(&it, &r, &got, f)) && got)
        e = load_record(arg, &r, a, f);
    return e;
}

/* -- after reading ---------------------------------------------------------------------------------------------------- */

/* What was prepared is completed; what goes on has the rest of its time; the server's own producers are gone. */
static void resume(struct broker *b)
{
    struct map_slot *s;
    for (size_t i = 0; (s = map_next(&b->txns->by_id, &i));) {
        struct txn *t = s->value;
        if (t->now.state == TXN_PREPARE_EPOCH_FENCE)
            t->now.state = TXN_ONGOING; /* never written by us; Kafka aborts it next */
        if (t->now.state == TXN_PREPARE_COMMIT || t->now.state == TXN_PREPARE_ABORT)
            txn_complete(b, t, NULL);
        else if (t->now.state == TXN_ONGOING && t->now.timeout_ms == INT32_MAX)
            (void)!txn_abort(b, t, NULL); /* where the disk is full the alarm tries again: */
        if (t->now.state == TXN_ONGOING)
            t->deadline_ms =
                t->now.timeout_ms == INT32_MAX ? 0 : clock_ms() + t->now.start_ms + t->now.timeout_ms - os_now_ms();
    }
    if (b->txns->by_id.n)
        txn_ring_at(b, clock_ms());
}

/* Open in a partition, and in no transaction that the coordinator knows: its id was forgotten, or the records came from
 * elsewhere. Nobody will ever end it, and it holds back every reader behind it. */
static bool is_known(struct broker *b, const struct log_producer *p, struct str topic, int32_t partition)
{
    struct map_slot *s;
    bool known = false;
    os_mutex_lock(b->txns->lock);
    for (size_t i = 0; !known && (s = map_next(&b->txns->by_id, &i));) {
        const struct txn *t = s->value;
        if (t->now.producer_id != p->id || t->now.state == TXN_EMPTY || t->now.state > TXN_PREPARE_ABORT)
            continue;
        for (size_t k = 0; !known && k < t->parts.n; k++)
            known = t->parts.p[k].partition == partition && str_eq(t->parts.p[k].topic, topic);
    }
    os_mutex_unlock(b->txns->lock);
    return known;
}

static void end_hanging_in(struct broker *b, struct log_partition *p, struct str topic, int32_t number, struct arena *a)
{
    struct log_producer *all;
    size_t n = log_producers(p, a, &all);
    for (size_t i = 0; i < n; i++) {
        struct log_marker m = {.producer_id = all[i].id, .producer_epoch = all[i].epoch};
        struct log_append_result r;
        if (all[i].txn_first_offset < 0 || is_known(b, &all[i], topic, number))
            continue;
        os_log(OS_WARN, "broker", "%.*s-%d: the transaction of producer %lld from offset %lld on hangs; it is aborted",
               STR_ARG(topic), number, (long long)all[i].id, (long long)all[i].txn_first_offset);
        if (log_append_marker(p, &m, NULL, NULL, &r) == LOG_OK && p == b->groups->store)
            group_txn_marker(b, all[i].id, false);
    }
}

/* With every gate held nothing of any transaction moves, so that what is found open is still open when its marker is appended.
 * The one place that holds more than one of them. */
static void hold_gates(struct broker *b, bool hold)
{
    for (int i = 0; i < TXN_GATES; i++)
        (hold ? os_mutex_lock : os_mutex_unlock)(b->txns->gates[i]);
}

void txn_end_hanging(struct broker *b, int64_t quiet_ms)
{
    struct arena *a = arena_new(0);
    struct log_topic *topics;
    size_t n = log_topics(b->log, a, &topics);
    for (size_t i = 0; i < n; i++)
        for (int32_t k = 0; k < topics[i].partitions; k++) {
            struct log_partition *p = log_partition(b->log, topics[i].name, k);
            int64_t oldest_ms = p ? log_txn_oldest_ms(p) : -1;
            if (oldest_ms >= 0 && os_now_ms() - oldest_ms >= quiet_ms) {
                hold_gates(b, true);
                end_hanging_in(b, p, topics[i].name, k, a);
                hold_gates(b, false);
            }
            log_partition_release(p);
        }
    arena_free(a);
}

/* -- start and stop ----------------------------------------------------------------------------------------------------- */

enum err txns_ready(struct broker *b, struct fault *f)
{
    static const struct log_config configs[] = {{{"cleanup.policy", 14}, {"compact", 7}},
                                                {{"compression.type", 16}, {"uncompressed", 12}},
                                                {{"max.message.bytes", 17}, {"52428800", 8}},
                                                {{"segment.bytes", 13}, {"104857600", 9}}};
    enum err e = ERR_OK;
    os_mutex_lock(b->txns->making);
    if (!b->txns->store)
        e = store_open(b, STORE_TOPIC, configs, sizeof configs / sizeof configs[0], &b->txns->store, f);
    os_mutex_unlock(b->txns->making);
    return e;
}

enum err txns_start(struct broker *b, struct fault *f)
{
    struct txns *x = memory_must(calloc(1, sizeof *x), "the transactions");
    enum err e = ERR_OK;
    b->txns = x;
    x->lock = os_mutex_new();
    x->making = os_mutex_new();
    for (int i = 0; i < TXN_GATES; i++)
        x->gates[i] = os_mutex_new();
    x->alarm_ms = INT64_MAX;
    x->store = log_partition(b->log, STORE_TOPIC, 0);
    if (x->store)
        e = store_each_batch(x->store, "__transaction_state", load_batch, b, f);
    if (e)
        return e;
    resume(b);
    txn_end_hanging(b, 0);
    txn_ring_at(b, clock_ms() + TXN_LOOK_MS);
    return ERR_OK;
}

void txns_close(struct broker *b)
{
    os_mutex_lock(b->txns->lock);
    b->txns->stopping = true;
    os_mutex_unlock(b->txns->lock);
}

void txns_stop(struct broker *b)
{
    struct txns *x = b->txns;
    struct map_slot *s;
    for (size_t i = 0; (s = map_next(&x->by_id, &i));)
        txn_free(s->value);
    map_free(&x->by_id);
    log_partition_release(x->store);
    for (int i = 0; i < TXN_GATES; i++)
        os_mutex_free(x->gates[i]);
    os_mutex_free(x->making);
    os_mutex_free(x->lock);
    free(x);
    b->txns = NULL;
}
