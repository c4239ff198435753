/* Transactions' requests: InitProducerId, AddPartitionsToTxn, AddOffsetsToTxn, EndTxn, WriteTxnMarkers. */
#include "broker/txn_int.h"

#include "broker/group_int.h"

/* -- operations of a request ------------------------------------------------------------------------------------------ */

static void reply(struct txn_op *op)
{
    request_reply(op->rq, op->response);
}

static struct txn_op *op_new(struct request *rq, void *response, void (*finish)(struct txn_op *op))
{
    struct txn_op *op = ARENA_NEW(rq->arena, struct txn_op);
    *op = (struct txn_op){
        .b = rq->b, .left = 1, .finish = finish, .rq = rq, .response = response, .producer_id = -1, .epoch = -1};
    return op;
}

/* Before PRODUCER_FENCED had a code of its own it was this one. */
static int16_t fenced_before(int16_t code, int16_t version, int16_t since)
{
    return code == KAFKA_E_PRODUCER_FENCED && version < since ? KAFKA_E_INVALID_PRODUCER_EPOCH : code;
}

static int16_t fresh_id(struct broker *b, int64_t *id)
{
    struct fault f;
    *id = -1;
    if (!log_producer_id(b->log, id, &f))
        return KAFKA_E_NONE;
    os_log(OS_ERROR, "broker", "no producer id: %s", fault_message(&f));
    return KAFKA_E_COORDINATOR_NOT_AVAILABLE;
}

/* -- InitProducerId --------------------------------------------------------------------------------------------------- */

static void inited(struct txn_op *op)
{
    struct kafka_init_producer_id_response *r = op->response;
    r->error_code = op->code;
    r->producer_id = op->code ? -1 : op->producer_id;
    r->producer_epoch = op->code ? -1 : op->epoch;
    request_reply(op->rq, r);
}

static int16_t init_transactional(struct request *rq, struct txn_op *op)
{
    const struct kafka_init_producer_id_request *q = rq->body;
    const struct txn_who who = {q->transactional_id, q->producer_id, q->producer_epoch};
    struct fault f;
    int64_t fresh;
    if (q->transaction_timeout_ms <= 0 || q->transaction_timeout_ms > TXN_TIMEOUT_MOST_MS)
        return KAFKA_E_INVALID_TRANSACTION_TIMEOUT;
    if (txns_ready(rq->b, &f)) {
        os_log(OS_ERROR, "broker", "__transaction_state: %s", fault_message(&f));
        return KAFKA_E_COORDINATOR_NOT_AVAILABLE;
    }
    int16_t code = fresh_id(rq->b, &fresh);
    if (code)
        return code;
    struct os_mutex *gate = txn_gate(rq->b, who.id);
    os_mutex_lock(gate);
    code = txn_init(rq->b, &who, q->transaction_timeout_ms, fresh, op);
    os_mutex_unlock(gate);
    return fenced_before(code, rq->version, 4);
}

static void init_producer_id(struct request *rq)
{
    const struct kafka_init_producer_id_request *q = rq->body;
    struct txn_op *op = op_new(rq, KAFKA_NEW(rq->arena, init_producer_id_response), inited);
    int16_t code;
    if ((q->transactional_id.p && q->transactional_id.n == 0) || (q->producer_id == -1) != (q->producer_epoch == -1)) {
        code = KAFKA_E_INVALID_REQUEST;
    } else if (q->transactional_id.p) {
        code = init_transactional(rq, op);
    } else {
        code = fresh_id(rq->b, &op->producer_id);
        op->epoch = 0;
        if (code)
            code = KAFKA_E_KAFKA_STORAGE_ERROR;
    }
    op->code = code ? code : op->code;
    txn_op_done(op);
}

/* A block of ids is made durable now and then: not on a loop. */
void handle_init_producer_id(struct request *rq)
{
    request_on_io(rq, init_producer_id);
}

/* -- AddPartitionsToTxn ----------------------------------------------------------------------------------------------- */

struct adding { /* one transaction of the request */
    struct txn_who who;
    bool verify_only;
    const struct kafka_add_partitions_to_txn_topic *topics;
    int32_t ntopics;
    struct kafka_add_partitions_to_txn_topic_result *results;
};

static bool exists(struct broker *b, struct str topic, int32_t partition)
{
    struct log_partition *p = log_partition(b->log, topic, partition);
    log_partition_release(p);
    return p != NULL;
}

/* What does not exist is named; nothing else of the transaction is tried then. */
static bool name_missing(struct request *rq, struct adding *x)
{
    bool missing = false;
    for (int32_t i = 0; i < x->ntopics; i++) {
        const struct kafka_add_partitions_to_txn_topic *in = &x->topics[i];
        struct kafka_add_partitions_to_txn_topic_result *out = &x->results[i];
        out->name = in->name;
        out->results_by_partition.n = in->partitions.n;
        out->results_by_partition.p =
            KAFKA_ARRAY(rq->arena, add_partitions_to_txn_partition_result, (size_t)in->partitions.n);
        for (int32_t k = 0; k < in->partitions.n; k++) {
            bool is_there = exists(rq->b, in->name, in->partitions.p[k]);
            out->results_by_partition.p[k].partition_index = in->partitions.p[k];
            out->results_by_partition.p[k].partition_error_code =
                is_there ? KAFKA_E_OPERATION_NOT_ATTEMPTED : KAFKA_E_UNKNOWN_TOPIC_OR_PARTITION;
            missing |= !is_there;
        }
    }
    return missing;
}

static void say(struct adding *x, int16_t code)
{
    for (int32_t i = 0; i < x->ntopics; i++)
        for (int32_t k = 0; k < x->results[i].results_by_partition.n; k++)
            x->results[i].results_by_partition.p[k].partition_error_code = code;
}

static void verify(struct request *rq, struct adding *x)
{
    for (int32_t i = 0; i < x->ntopics; i++)
        for (int32_t k = 0; k < x->results[i].results_by_partition.n; k++) {
            struct kafka_add_partitions_to_txn_partition_result *p = &x->results[i].results_by_partition.p[k];
            p->partition_error_code = txn_verify(rq->b, &x->who, x->results[i].name, p->partition_index);
        }
}

static void add(struct request *rq, struct adding *x, struct txn_op *op)
{
    size_t n = 0;
    if (name_missing(rq, x) && !x->verify_only)
        return;
    for (int32_t i = 0; i < x->ntopics; i++)
        n += (size_t)x->topics[i].partitions.n;
    struct txn_part *parts = ARENA_ARRAY(rq->arena, n + 1, struct txn_part);
    n = 0;
    for (int32_t i = 0; i < x->ntopics; i++)
        for (int32_t k = 0; k < x->topics[i].partitions.n; k++)
            parts[n++] = (struct txn_part){x->topics[i].name, x->topics[i].partitions.p[k]};
    struct os_mutex *gate = txn_gate(rq->b, x->who.id);
    os_mutex_lock(gate);
    if (x->verify_only)
        verify(rq, x);
    else
        say(x, fenced_before(txn_add(rq->b, &x->who, parts, n, 0, op), rq->version, 2));
    os_mutex_unlock(gate);
}

static void added(struct txn_op *op)
{
    struct kafka_add_partitions_to_txn_response *r = op->response;
    for (int32_t i = 0; op->code && i < r->results_by_topic_v3_and_below.n; i++)
        for (int32_t k = 0; k < r->results_by_topic_v3_and_below.p[i].results_by_partition.n; k++)
            r->results_by_topic_v3_and_below.p[i].results_by_partition.p[k].partition_error_code = op->code;
    request_reply(op->rq, r);
}

static void add_old(struct request *rq, struct txn_op *op)
{
    const struct kafka_add_partitions_to_txn_request *q = rq->body;
    struct kafka_add_partitions_to_txn_response *r = op->response;
    r->results_by_topic_v3_and_below.n = q->v3_and_below_topics.n;
    r->results_by_topic_v3_and_below.p =
        KAFKA_ARRAY(rq->arena, add_partitions_to_txn_topic_result, (size_t)q->v3_and_below_topics.n);
    struct adding x = {{q->v3_and_below_transactional_id, q->v3_and_below_producer_id, q->v3_and_below_producer_epoch},
                       false,
                       q->v3_and_below_topics.p,
                       q->v3_and_below_topics.n,
                       r->results_by_topic_v3_and_below.p};
    add(rq, &x, op);
}

static void add_many(struct request *rq, struct txn_op *op)
{
    const struct kafka_add_partitions_to_txn_request *q = rq->body;
    struct kafka_add_partitions_to_txn_response *r = op->response;
    r->results_by_transaction.n = q->transactions.n;
    r->results_by_transaction.p = KAFKA_ARRAY(rq->arena, add_partitions_to_txn_result, (size_t)q->transactions.n);
    for (int32_t i = 0; i < q->transactions.n; i++) {
        const struct kafka_add_partitions_to_txn_transaction *in = &q->transactions.p[i];
        struct kafka_add_partitions_to_txn_result *out = &r->results_by_transaction.p[i];
        out->transactional_id = in->transactional_id;
        out->topic_results.n = in->topics.n;
        out->topic_results.p = KAFKA_ARRAY(rq->arena, add_partitions_to_txn_topic_result, (size_t)in->topics.n);
        struct adding x = {{in->transactional_id, in->producer_id, in->producer_epoch},
                           in->verify_only,
                           in->topics.p,
                           in->topics.n,
                           out->topic_results.p};
        add(rq, &x, op);
    }
}

void handle_add_partitions_to_txn(struct request *rq)
{
    struct txn_op *op = op_new(rq, KAFKA_NEW(rq->arena, add_partitions_to_txn_response), added);
    if (rq->version < 4)
        add_old(rq, op);
    else
        add_many(rq, op);
    txn_op_done(op);
}

/* -- AddOffsetsToTxn -------------------------------------------------------------------------------------------------- */

static void offsets_added(struct txn_op *op)
{
    struct kafka_add_offsets_to_txn_response *r = op->response;
    r->error_code = op->code;
    request_reply(op->rq, r);
}

void handle_add_offsets_to_txn(struct request *rq)
{
    const struct kafka_add_offsets_to_txn_request *q = rq->body;
    const struct txn_who who = {q->transactional_id, q->producer_id, q->producer_epoch};
    const struct txn_part part = {OFFSETS_TOPIC, 0};
    struct txn_op *op = op_new(rq, KAFKA_NEW(rq->arena, add_offsets_to_txn_response), offsets_added);
    struct os_mutex *gate = txn_gate(rq->b, who.id);
    os_mutex_lock(gate);
    int16_t code = fenced_before(txn_add(rq->b, &who, &part, 1, 0, op), rq->version, 2);
    os_mutex_unlock(gate);
    op->code = code ? code : op->code;
    txn_op_done(op);
}

/* -- EndTxn ----------------------------------------------------------------------------------------------------------- */

static void ended(struct txn_op *op)
{
    struct kafka_end_txn_response *r = op->response;
    r->error_code = op->code;
    r->producer_id = op->code ? -1 : op->producer_id;
    r->producer_epoch = op->code ? -1 : op->epoch;
    request_reply(op->rq, r);
}

static void end(struct request *rq)
{
    const struct kafka_end_txn_request *q = rq->body;
    const struct txn_who who = {q->transactional_id, q->producer_id, q->producer_epoch};
    struct txn_op *op = op_new(rq, KAFKA_NEW(rq->arena, end_txn_response), ended);
    int64_t fresh = -1;
    int16_t code = rq->version >= 5 && txn_needs_id(rq->b, who.id) ? fresh_id(rq->b, &fresh) : KAFKA_E_NONE;
    struct os_mutex *gate = txn_gate(rq->b, who.id);
    os_mutex_lock(gate);
    if (!code)
        code = fenced_before(txn_end(rq->b, &who, q->committed, rq->version >= 5 ? 2 : 0, fresh, op), rq->version, 2);
    os_mutex_unlock(gate);
    op->code = code ? code : op->code;
    txn_op_done(op);
}

void handle_end_txn(struct request *rq)
{
    const struct kafka_end_txn_request *q = rq->body;
    if (rq->version >= 5 && txn_needs_id(rq->b, q->transactional_id))
        request_on_io(rq, end);
    else
        end(rq);
}

/* -- WriteTxnMarkers: an administrator ends a transaction by hand ------------------------------------------------------- */

struct written { /* a marker of __consumer_offsets */
    struct txn_op *op;
    int64_t producer_id;
    bool commit;
};

static void settle(void *arg)
{
    struct written *w = arg;
    group_txn_marker(w->op->b, w->producer_id, w->commit);
    txn_op_done(w->op);
}

static void offsets_written(void *arg, const struct log_append_result *r)
{
    struct written *w = arg;
    (void)r;
    clockwork_now(&w->op->b->clock, settle, w);
}

static int16_t write_one(struct request *rq, const struct kafka_write_txn_marker *in, struct str topic,
                         int32_t partition, struct txn_op *op)
{
    const struct log_marker m = {in->producer_id, in->producer_epoch, in->transaction_result, in->coordinator_epoch,
                                 in->transaction_version};
    struct log_append_result r;
    struct log_partition *p = log_partition(rq->b->log, topic, partition);
    enum log_status s;
    if (!p)
        return KAFKA_E_UNKNOWN_TOPIC_OR_PARTITION;
    atomic_fetch_add(&op->left, 1);
    if (p == rq->b->groups->store) {
        struct written *w = ARENA_NEW(rq->arena, struct written);
        *w = (struct written){op, in->producer_id, in->transaction_result};
        s = log_append_marker(p, &m, offsets_written, w, &r);
    } else {
        s = log_append_marker(p, &m, txn_op_appended, op, &r);
    }
    log_partition_release(p);
    if (s != LOG_OK)
        atomic_fetch_sub(&op->left, 1);
    return (int16_t)s;
}

static void write_marker(struct request *rq, const struct kafka_write_txn_marker *in,
                         struct kafka_write_txn_marker_result *out, struct txn_op *op)
{
    out->producer_id = in->producer_id;
    out->topics.n = in->topics.n;
    out->topics.p = KAFKA_ARRAY(rq->arena, write_txn_markers_topic_result, (size_t)in->topics.n);
    for (int32_t i = 0; i < in->topics.n; i++) {
        struct kafka_write_txn_markers_topic_result *t = &out->topics.p[i];
        int32_t n = in->topics.p[i].partition_indexes.n;
        t->name = in->topics.p[i].name;
        t->partitions.n = n;
        t->partitions.p = KAFKA_ARRAY(rq->arena, write_txn_markers_partition_result, (size_t)n);
        for (int32_t k = 0; k < n; k++) {
            t->partitions.p[k].partition_index = in->topics.p[i].partition_indexes.p[k];
            t->partitions.p[k].error_code = write_one(rq, in, t->name, t->partitions.p[k].partition_index, op);
        }
    }
}

void handle_write_txn_markers(struct request *rq)
{
    const struct kafka_write_txn_markers_request *q = rq->body;
    struct kafka_write_txn_markers_response *r = KAFKA_NEW(rq->arena, write_txn_markers_response);
    struct txn_op *op = op_new(rq, r, reply);
    r->markers.n = q->markers.n;
    r->markers.p = KAFKA_ARRAY(rq->arena, write_txn_marker_result, (size_t)q->markers.n);
    for (int32_t i = 0; i < q->markers.n; i++)
        write_marker(rq, &q->markers.p[i], &r->markers.p[i], op);
    txn_op_done(op);
}
