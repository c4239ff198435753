/* Transactional producers of the server's own queries, and the offset that tells how far one has come. Blocking calls. */
#include "broker/txn_int.h"

#include "base/memory.h"
#include "broker/group_int.h"
#include "log/batch.h"

#include <stdio.h>

enum { PENDING_PATIENCE_MS = 60000 };

struct sequence {                    /* the producer's in one partition */
    struct log_partition *partition; /* +1 reference */
    int32_t next;
};
struct broker_producer {
    struct broker *b;
    struct txn_who who; /* id is owned */
    VEC(struct sequence) sequences;
    bool is_open;
};

/* -- waiting ---------------------------------------------------------------------------------------------------------- */

struct wait {
    struct txn_op op; /* first */
    struct os_mutex *lock;
    struct os_cond *done;
    bool is_done;
};

static void wake(struct txn_op *op)
{
    struct wait *w = (struct wait *)op;
    os_mutex_lock(w->lock);
    w->is_done = true;
    os_cond_signal(w->done);
    os_mutex_unlock(w->lock);
}

static void wait_begin(struct wait *w, struct broker *b)
{
    *w = (struct wait){.op = {.b = b, .left = 1, .finish = wake, .producer_id = -1, .epoch = -1},
                       .lock = os_mutex_new(),
                       .done = os_cond_new()};
}

/* All that the operation appended is durable. */
static int16_t wait_end(struct wait *w, int16_t code)
{
    txn_op_done(&w->op);
    os_mutex_lock(w->lock);
    while (!w->is_done)
        os_cond_wait(w->done, w->lock);
    os_mutex_unlock(w->lock);
    os_cond_free(w->done);
    os_mutex_free(w->lock);
    return code ? code : w->op.code;
}

CHECK static enum err failed(const struct broker_producer *p, int16_t code, struct fault *f)
{
    char id[200];
    snprintf(id, sizeof id, "%.*s", (int)(p->who.id.n < 180 ? p->who.id.n : 180), p->who.id.p);
    if (code == KAFKA_E_PRODUCER_FENCED || code == KAFKA_E_INVALID_PRODUCER_EPOCH ||
        code == KAFKA_E_INVALID_PRODUCER_ID_MAPPING)
        return FAULT(f, ERR_KAFKA_FENCED, {"brokers", "of this server"}, {"detail", id});
    return FAULT(f, ERR_KAFKA_TRANSACTION, {"id", id}, {"code", kafka_code_name(code)},
                 {"detail", kafka_code_message(code)});
}

/* -- open and close --------------------------------------------------------------------------------------------------- */

enum err broker_producer_open(struct broker *b, struct str transactional_id, int32_t timeout_ms,
                              struct broker_producer **out, struct fault *f)
{
    struct broker_producer *p = memory_must(calloc(1, sizeof *p), "a producer");
    struct wait w;
    int64_t fresh;
    p->b = b;
    p->who = (struct txn_who){own(transactional_id), -1, -1};
    *out = NULL;
    enum err e = txns_ready(b, f);
    if (!e)
        e = log_producer_id(b->log, &fresh, f);
    if (!e) {
        wait_begin(&w, b);
        struct os_mutex *gate = txn_gate(b, p->who.id);
        os_mutex_lock(gate);
        int16_t code = txn_init(b, &p->who, timeout_ms, fresh, &w.op);
        os_mutex_unlock(gate);
        code = wait_end(&w, code);
        p->who.producer_id = w.op.producer_id;
        p->who.epoch = w.op.epoch;
        e = code ? failed(p, code, f) : ERR_OK;
    }
    if (e) {
        broker_producer_close(p);
        return e;
    }
    *out = p;
    return ERR_OK;
}

void broker_producer_close(struct broker_producer *p)
{
    struct fault f;
    if (!p)
        return;
    if (p->is_open && broker_producer_end(p, false, &f))
        os_log(OS_INFO, "broker", "%s", fault_message(&f)); /* the next incarnation, or the next start, ends it */
    for (size_t i = 0; i < p->sequences.n; i++)
        log_partition_release(p->sequences.p[i].partition);
    vec_free(&p->sequences);
    disown(&p->who.id);
    free(p);
}

/* -- in a transaction --------------------------------------------------------------------------------------------------- */

static struct sequence *sequence_in(struct broker_producer *p, struct log_partition *partition)
{
    for (size_t i = 0; i < p->sequences.n; i++)
        if (p->sequences.p[i].partition == partition)
            return &p->sequences.p[i];
    log_partition_ref(partition);
    vec_push(&p->sequences, ((struct sequence){partition, 0}));
    return &p->sequences.p[p->sequences.n - 1];
}

/* One try, under the gate. */
static int16_t append(struct broker_producer *p, struct log_partition *partition, struct str topic, char *bytes,
                      size_t n)
{
    const struct txn_part part = {topic, log_partition_number(partition)};
    struct log_append_result r;
    struct os_mutex *gate = txn_gate(p->b, p->who.id);
    os_mutex_lock(gate);
    int16_t code = txn_add(p->b, &p->who, &part, 1, 0, NULL);
    if (!code) {
        p->is_open = true;
        code = (int16_t)log_append(partition, bytes, n, NULL, NULL, &r);
    }
    os_mutex_unlock(gate);
    return code;
}

enum err broker_producer_append(struct broker_producer *p, struct log_partition *partition, char *bytes, size_t n,
                                struct fault *f)
{
    struct sequence *s = sequence_in(p, partition);
    struct arena *a = arena_new(0);
    struct log_topic topic;
    struct batch b;
    int16_t code = KAFKA_E_UNKNOWN_TOPIC_OR_PARTITION;
    enum err e = batch_parse(str_make(bytes, n), &b, f);
    if (!e) {
        batch_set_producer(bytes, n, &(struct batch_producer){p->who.producer_id, p->who.epoch, s->next, true});
        if (log_topic_by_id(p->b->log, log_partition_topic_id(partition), a, &topic))
            while ((code = append(p, partition, topic.name, bytes, n)) == LOG_AGAIN)
                os_sleep_ms(1); /* too much waits for the disk */
        if (code)
            e = failed(p, code, f);
        else
            s->next = (int32_t)(((int64_t)s->next + b.last_offset_delta + 1) & INT32_MAX);
    }
    arena_free(a);
    return e;
}

static void ignore(struct broker *b, void *arg, int16_t code)
{
    (void)b, (void)arg, (void)code; /* what was written is durable before the transaction's end is */
}

enum err broker_producer_offset(struct broker_producer *p, struct str group, struct str topic, int32_t partition,
                                int64_t offset, struct str metadata, struct fault *f)
{
    struct broker *b = p->b;
    const struct txn_part part = {OFFSETS_TOPIC, 0};
    struct committed c = {topic, metadata, partition, -1, offset, os_now_ms(), 0};
    struct os_mutex *gate = txn_gate(b, p->who.id);
    if (metadata.n > LIMIT_OFFSET_METADATA_BYTES)
        return LIMIT_FAULT(f, OFFSET_METADATA_BYTES);
    os_mutex_lock(gate);
    int16_t code = txn_add(b, &p->who, &part, 1, 0, NULL);
    if (!code) {
        p->is_open = true;
        os_mutex_lock(b->groups->lock);
        code = group_txn_write(b, &p->who, group, &c, 1, ignore, NULL);
        os_mutex_unlock(b->groups->lock);
    }
    os_mutex_unlock(gate);
    return code ? failed(p, code, f) : ERR_OK;
}

enum err broker_producer_end(struct broker_producer *p, bool commit, struct fault *f)
{
    struct wait w;
    if (!p->is_open)
        return ERR_OK;
    wait_begin(&w, p->b);
    struct os_mutex *gate = txn_gate(p->b, p->who.id);
    os_mutex_lock(gate);
    int16_t code = txn_end(p->b, &p->who, commit, 0, -1, &w.op);
    os_mutex_unlock(gate);
    code = wait_end(&w, code);
    p->is_open = false;
    return code ? failed(p, code, f) : ERR_OK;
}

/* -- how far --------------------------------------------------------------------------------------------------------- */

enum err broker_group_offset(struct broker *b, struct str group, struct str topic, int32_t partition, struct arena *a,
                             int64_t *offset, struct str *metadata, struct fault *f)
{
    /* Who asks has fenced its predecessor: what is pending is being decided now. It is not when the offsets' partition is offline. */
    int64_t deadline_ns = os_mono_ns() + PENDING_PATIENCE_MS * INT64_C(1000000);
    os_mutex_lock(b->groups->lock);
    while (group_txn_unstable(b, group, topic, partition) && !b->groups->stopping)
        if (!os_cond_wait_until(b->groups->applied, b->groups->lock, deadline_ns) && os_mono_ns() >= deadline_ns) {
            os_mutex_unlock(b->groups->lock);
            return FAULT(f, ERR_TIMEOUT, {"what", "The transaction that holds the group's offset"});
        }
    const struct group *g = group_find(b, group);
    const struct committed *c = g ? committed_find(g, topic, partition) : NULL;
    *offset = c ? c->offset : -1;
    *metadata = c ? arena_str(a, c->metadata) : STR("");
    os_mutex_unlock(b->groups->lock);
    return ERR_OK;
}
