/* Produce: each partition's batches go to the log; the answer leaves when the last of them is on disk. */
#include "broker/txn_int.h"

#include "log/batch.h"

#include <stdio.h>

/* Bytes that wait for the disk before producers are told to slow down, and for how long. */
enum { THROTTLE_FROM_BYTES = 64 << 20, THROTTLE_MS = 50 };

struct produce {
    struct request *rq;
    struct kafka_produce_response *response;
    atomic_int left; /* appends on their way, and one for handle_produce itself */
    atomic_bool failed;
};

struct produce_slot { /* one partition: what the committer's callback needs */
    struct produce *op;
    struct kafka_produce_partition_response *out;
    bool refused; /* by the coordinator: the log was not asked, and its start is not told */
};

static void produce_done(struct produce *op)
{
    const struct kafka_produce_request *q = op->rq->body;
    struct kafka_produce_response *r = op->response;

    if (atomic_fetch_sub(&op->left, 1) > 1)
        return;
    if (q->acks == 0) {
        /* nothing can be said about an error but by closing, as Kafka does: the producer then asks for metadata */
        if (atomic_load(&op->failed))
            request_close(op->rq, "a produce request with acks=0 failed");
        else
            request_silent(op->rq);
        return;
    }
    if (log_pending_bytes(op->rq->b->log) > THROTTLE_FROM_BYTES && r->throttle_time_ms < THROTTLE_MS)
        r->throttle_time_ms = THROTTLE_MS;
    request_reply_slices(op->rq, r, NULL, r->throttle_time_ms);
}

/* The records that were refused one by one, in Kafka's words. */
static void fill_record_errors(struct arena *a, struct kafka_produce_partition_response *out,
                               const struct log_append_result *r)
{
    int n = r->record_errors < LOG_RECORD_ERRORS ? r->record_errors : LOG_RECORD_ERRORS;
    struct buf text = {0};

    out->record_errors.p = KAFKA_ARRAY(a, produce_record_error, (size_t)n);
    out->record_errors.n = n;
    buf_fmt(&text,
            "One or more records have been rejected due to %d record errors in total, and only showing the first three "
            "errors at most: [",
            r->record_errors);
    for (int i = 0; i < n; i++) {
        struct str message = arena_str(a, str_of(r->record_error[i].message));

        out->record_errors.p[i] = (struct kafka_produce_record_error){r->record_error[i].index, message};
        buf_fmt(&text, "%sRecordError(batchIndex=%d, message='%.*s')", i ? ", " : "", r->record_error[i].index,
                STR_ARG(message));
    }
    buf_z(&text, "]");
    if (r->status == LOG_INVALID_RECORD)
        out->error_message = arena_str(a, buf_view(&text));
    buf_free(&text);
}

static void fill(struct arena *a, struct kafka_produce_partition_response *out, enum log_status status,
                 const struct log_append_result *r)
{
    out->error_code = (int16_t)status;
    out->log_start_offset = r->log_start;
    if (status == LOG_OK) {
        out->base_offset = r->base_offset;
        out->log_append_time_ms = r->log_append_time_ms;
    } else {
        out->base_offset = -1;
        if (a && r->message[0])
            out->error_message = arena_str(a, str_of(r->message));
        if (a && r->record_errors)
            fill_record_errors(a, out, r);
    }
}

/* On the committer's thread. */
static void appended(void *arg, const struct log_append_result *result)
{
    struct produce_slot *slot = arg;

    fill(NULL, slot->out, result->status, result);
    if (result->status != LOG_OK)
        atomic_store(&slot->op->failed, true);
    produce_done(slot->op);
}

static void refuse(struct produce *op, struct kafka_produce_partition_response *out, int16_t code)
{
    out->error_code = code;
    out->base_offset = -1;
    atomic_store(&op->failed, true);
}

static void refuse_because(struct produce *op, struct kafka_produce_partition_response *out, int16_t code,
                           struct str message)
{
    refuse(op, out, code);
    out->error_message = message;
}

/* -- transactional batches -------------------------------------------------------------------------------------------- */

/* Does the batch belong to an ongoing transaction of its producer? From version 12 on it makes itself belong. Codes that
 * older clients would not retry are told as one that they do, as Kafka's AddPartitionsToTxnManager does. */
static int16_t enlist(struct request *rq, const struct txn_who *who, struct str topic, int32_t partition)
{
    const struct txn_part part = {topic, partition};
    int16_t code =
        rq->version >= 12 ? txn_add(rq->b, who, &part, 1, 2, NULL) : txn_verify(rq->b, who, topic, partition);

    switch (code) {
    case KAFKA_E_PRODUCER_FENCED:
        return KAFKA_E_INVALID_PRODUCER_EPOCH; /* what the log would say */
    case KAFKA_E_TRANSACTION_ABORTABLE:
        return rq->version >= 11 ? code : KAFKA_E_INVALID_TXN_STATE;
    case KAFKA_E_CONCURRENT_TRANSACTIONS:
        return rq->version >= 12 ? code : KAFKA_E_NOT_ENOUGH_REPLICAS;
    case KAFKA_E_COORDINATOR_NOT_AVAILABLE:
        return KAFKA_E_NOT_ENOUGH_REPLICAS;
    default:
        return code;
    }
}

/* Under the producer's gate: the end of its transaction cannot come between the question and the append. */
static enum log_status append_transactional(struct request *rq, struct str topic, struct log_partition *p,
                                            struct str records, const struct batch *b, struct produce_slot *slot,
                                            struct log_append_result *result)
{
    const struct kafka_produce_request *q = rq->body;
    const struct txn_who who = {q->transactional_id, b->producer_id, b->producer_epoch};
    struct os_mutex *gate = txn_gate(rq->b, who.id);

    os_mutex_lock(gate);
    bool held = log_hold(rq->b->log); /* the transaction's new partition and the first batch in it: one sync */
    int16_t code = enlist(rq, &who, topic, log_partition_number(p));
    slot->refused = code != KAFKA_E_NONE;
    if (code == KAFKA_E_INVALID_TXN_STATE)
        snprintf(result->message, sizeof result->message, "Partition was not added to the transaction");
    enum log_status status =
        code ? (enum log_status)code
             : log_append_as(p, rq->version >= 12 ? LOG_FROM_CLIENT_V2 : LOG_FROM_CLIENT, (char *)(uintptr_t)records.p,
                             records.n, q->acks ? appended : NULL, slot, result);
    log_let_go(rq->b->log, held);
    os_mutex_unlock(gate);
    return status;
}

/* What Kafka's ProduceRequest and UnifiedLog ask of a client's records before the log looks at them: one whole batch of
 * magic 2 with base offset 0; what follows it must be less than a batch, and is ignored. Sets *n to the batch's size. */
static bool check_batch(struct produce *op, const struct kafka_produce_partition *in,
                        struct kafka_produce_partition_response *out, struct batch *parsed, size_t *n)
{
    const struct kafka_produce_request *q = op->rq->body;
    struct arena *a = op->rq->arena;
    struct str rest;
    struct batch b;

    *n = 0;
    if (in->records.n > 16 && in->records.p[16] != 2) {
        int magic = in->records.p[16];

        if (magic == 0 || magic == 1)
            refuse_because(op, out, KAFKA_E_INVALID_RECORD,
                           STR("Produce requests must contain record batches of magic 2 only"));
        else
            refuse_because(op, out, KAFKA_E_CORRUPT_MESSAGE, arena_fmt(a, "Invalid magic found in record: %d", magic));
        return false;
    }
    if (batch_parse(in->records, &b, NULL)) {
        refuse_because(op, out, KAFKA_E_INVALID_RECORD, STR("Produce requests must contain a whole record batch"));
        return false;
    }
    rest = str_make(b.all.p + b.all.n, in->records.n - b.all.n);
    if (!batch_parse(rest, &(struct batch){0}, NULL)) {
        refuse_because(op, out, KAFKA_E_INVALID_RECORD, STR("Produce requests must contain exactly one record batch"));
        return false;
    }
    *n = b.all.n;
    if (b.base_offset != 0) {
        refuse_because(
            op, out, KAFKA_E_INVALID_RECORD,
            arena_fmt(a, "The baseOffset of the record batch should be 0, but it is %lld", (long long)b.base_offset));
        return false;
    }
    if ((b.attributes & 7) == 4 && op->rq->version < 7) {
        refuse_because(op, out, KAFKA_E_UNSUPPORTED_COMPRESSION_TYPE,
                       STR("Produce requests before version 7 are not allowed to use ZStandard compression"));
        return false;
    }
    if ((b.attributes & BATCH_TRANSACTIONAL) && !q->transactional_id.n) {
        refuse(op, out,
               q->transactional_id.p ? KAFKA_E_INVALID_REQUEST : KAFKA_E_TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
        return false;
    }
    *parsed = b;
    return true;
}

static void produce_one(struct produce *op, struct str topic, const struct kafka_produce_partition *in,
                        struct kafka_produce_partition_response *out, int16_t unknown)
{
    struct request *rq = op->rq;
    const struct kafka_produce_request *q = rq->body;
    struct produce_slot *slot;
    struct log_partition *p;
    struct log_append_result result = {.log_start = -1, .base_offset = -1, .log_append_time_ms = -1};
    enum log_status status;
    struct batch b;
    size_t n;

    out->index = in->index;
    if (topic.p && topic_is_internal(topic)) { /* what stands there is ours to read at the next start */
        refuse_because(op, out, KAFKA_E_INVALID_TOPIC_EXCEPTION,
                       arena_fmt(rq->arena, "Cannot append to internal topic %.*s", STR_ARG(topic)));
        return;
    }
    if (!topic.p || !(p = log_partition(rq->b->log, topic, in->index))) {
        refuse(op, out, unknown);
        return;
    }
    if (!check_batch(op, in, out, &b, &n)) {
        if (out->error_code == KAFKA_E_INVALID_RECORD && n) /* a whole batch was there: Kafka asks the log then */
            out->log_start_offset = log_partition_offsets(p).log_start;
        log_partition_release(p);
        return;
    }
    slot = ARENA_NEW(rq->arena, struct produce_slot);
    *slot = (struct produce_slot){op, out, false};
    atomic_fetch_add(&op->left, 1);
    /* the frame is ours to patch: the decoder only lent it as const */
    if (b.attributes & BATCH_TRANSACTIONAL)
        status = append_transactional(rq, topic, p, str_make(in->records.p, n), &b, slot, &result);
    else
        status = log_append(p, (char *)(uintptr_t)in->records.p, n, q->acks ? appended : NULL, slot, &result);
    if (status != LOG_OK || q->acks == 0) {
        if (status != LOG_OK) {
            fill(rq->arena, out, status, &result);
            if (op->response->throttle_time_ms < result.wait_ms)
                op->response->throttle_time_ms = result.wait_ms;
            if (status != LOG_CORRUPT_MESSAGE && status != LOG_MESSAGE_TOO_LARGE &&
                !slot->refused) /* as Kafka tells it */
                out->log_start_offset = log_partition_offsets(p).log_start;
            atomic_store(&op->failed, true);
        }
        atomic_fetch_sub(&op->left, 1); /* done is not called; the handler's own count is still there */
    }
    log_partition_release(p);
}

static void produce_topic(struct produce *op, const struct kafka_produce_topic *in,
                          struct kafka_produce_topic_response *out)
{
    struct request *rq = op->rq;
    const struct kafka_produce_request *q = rq->body;
    bool by_id = rq->version >= 13, bad_acks = q->acks < -1 || q->acks > 1;
    struct str name = by_id ? topic_name_by_id(rq->b, in->topic_id, rq->arena) : in->name;

    out->name = in->name;
    out->topic_id = in->topic_id;
    out->partition_responses.n = in->partition_data.n;
    for (int32_t i = 0; i < in->partition_data.n; i++) {
        struct kafka_produce_partition_response *one = &out->partition_responses.p[i];

        if (bad_acks) {
            one->index = in->partition_data.p[i].index;
            refuse(op, one, KAFKA_E_INVALID_REQUIRED_ACKS);
        } else {
            produce_one(op, name, &in->partition_data.p[i], one,
                        by_id ? KAFKA_E_UNKNOWN_TOPIC_ID : KAFKA_E_UNKNOWN_TOPIC_OR_PARTITION);
        }
    }
}

void handle_produce(struct request *rq)
{
    const struct kafka_produce_request *q = rq->body;
    struct produce *op = ARENA_NEW(rq->arena, struct produce);

    atomic_fetch_add(&rq->b->produce_requests, 1);
    *op = (struct produce){.rq = rq, .response = KAFKA_NEW(rq->arena, produce_response), .left = 1};
    op->response->responses.n = q->topic_data.n;
    op->response->responses.p = KAFKA_ARRAY(rq->arena, produce_topic_response, (size_t)q->topic_data.n);
    for (int32_t i = 0; i < q->topic_data.n; i++) /* all memory first: callbacks may run beside this thread */
        op->response->responses.p[i].partition_responses.p =
            KAFKA_ARRAY(rq->arena, produce_partition_response, (size_t)q->topic_data.p[i].partition_data.n);
    for (int32_t i = 0; i < q->topic_data.n; i++) {
        /* names are answered after the frame is gone */
        struct kafka_produce_topic *in = &q->topic_data.p[i];

        in->name = arena_str(rq->arena, in->name);
        produce_topic(op, in, &op->response->responses.p[i]);
    }
    produce_done(op);
}
