/* DeleteRecords: each partition's log begins later; the answer leaves when the last of them is durable. */
#include "broker/broker_int.h"

struct deletion {
    struct request *rq;
    struct kafka_delete_records_response *response;
    atomic_int left; /* partitions on their way, and one for the handler itself */
};

struct deletion_slot { /* what the log's callback needs */
    struct deletion *op;
    struct kafka_delete_records_partition_result *out;
};

static void deletion_done(struct deletion *op)
{
    if (atomic_fetch_sub(&op->left, 1) == 1)
        request_reply(op->rq, op->response);
}

/* On the log's thread. */
static void deleted(void *arg, const struct log_append_result *r)
{
    struct deletion_slot *slot = arg;

    slot->out->error_code = (int16_t)r->status;
    slot->out->low_watermark = r->status == LOG_OK ? r->log_start : -1;
    deletion_done(slot->op);
}

static int16_t check_topic(struct request *rq, struct str name)
{
    struct log_topic t;

    if (!log_topic_get(rq->b->log, name, rq->arena, &t))
        return KAFKA_E_UNKNOWN_TOPIC_OR_PARTITION;
    return t.internal ? KAFKA_E_INVALID_TOPIC_EXCEPTION : KAFKA_E_NONE;
}

static void delete_one(struct deletion *op, struct str topic, int16_t code,
                       const struct kafka_delete_records_partition *in,
                       struct kafka_delete_records_partition_result *out)
{
    struct log_partition *p = code ? NULL : log_partition(op->rq->b->log, topic, in->partition_index);
    struct deletion_slot *slot = ARENA_NEW(op->rq->arena, struct deletion_slot);
    enum log_status status;

    out->partition_index = in->partition_index;
    out->low_watermark = -1;
    if (!p) {
        out->error_code = code ? code : KAFKA_E_UNKNOWN_TOPIC_OR_PARTITION;
        return;
    }
    *slot = (struct deletion_slot){op, out};
    atomic_fetch_add(&op->left, 1);
    status = log_delete_records(p, in->offset, deleted, slot);
    if (status != LOG_OK) { /* it is not called then; the handler's own count is still there */
        out->error_code = (int16_t)status;
        atomic_fetch_sub(&op->left, 1);
    }
    log_partition_release(p);
}

void handle_delete_records(struct request *rq)
{
    const struct kafka_delete_records_request *q = rq->body;
    struct deletion *op = ARENA_NEW(rq->arena, struct deletion);
    struct kafka_delete_records_response *r = KAFKA_NEW(rq->arena, delete_records_response);

    *op = (struct deletion){.rq = rq, .response = r, .left = 1};
    r->topics.n = q->topics.n;
    r->topics.p = KAFKA_ARRAY(rq->arena, delete_records_topic_result, (size_t)q->topics.n);
    for (int32_t i = 0; i < q->topics.n; i++) {
        const struct kafka_delete_records_topic *in = &q->topics.p[i];
        struct kafka_delete_records_topic_result *out = &r->topics.p[i];
        int16_t code = check_topic(rq, in->name);

        out->name = in->name;
        out->partitions.n = in->partitions.n;
        out->partitions.p = KAFKA_ARRAY(rq->arena, delete_records_partition_result, (size_t)in->partitions.n);
        for (int32_t k = 0; k < in->partitions.n; k++)
            delete_one(op, in->name, code, &in->partitions.p[k], &out->partitions.p[k]);
    }
    deletion_done(op);
}
