/* Start and stop, a request's way from frame to reply, and the handlers that need nothing else. */
#include "broker/txn_int.h"

#include "base/memory.h"

#include <stdio.h>

/* -- connections ------------------------------------------------------------------------------------------------- */
struct broker_conn *broker_conn_open(struct broker *b, const struct broker_peer *peer)
{
    struct broker_conn *c = calloc(1, sizeof *c);

    if (!c)
        return NULL;
    c->b = b;
    c->peer = *peer;
    c->refs = 1;
    c->lock = os_mutex_new();
    return c;
}

static void conn_release(struct broker_conn *c)
{
    if (atomic_fetch_sub(&c->refs, 1) > 1)
        return;
    os_mutex_free(c->lock);
    vec_free(&c->waiting);
    free(c);
}

void broker_conn_close(struct broker_conn *c)
{
    typeof(c->waiting) waiting;

    os_mutex_lock(c->lock);
    c->closed = true;
    waiting = c->waiting;
    c->waiting.p = NULL;
    c->waiting.n = c->waiting.cap = 0;
    for (size_t i = 0; i < waiting.n; i++)
        fetch_ref(waiting.p[i]);
    os_mutex_unlock(c->lock);
    for (size_t i = 0; i < waiting.n; i++) {
        fetch_wake(waiting.p[i]);
        fetch_release(waiting.p[i]);
    }
    vec_free(&waiting);
    conn_release(c);
}

void conn_run(struct broker_conn *c, void (*fn)(void *arg), void *arg)
{
    bool posted = false;

    os_mutex_lock(c->lock);
    if (!c->closed && c->peer.post) {
        c->peer.post(c->peer.post_arg, fn, arg); /* under the lock: after broker_conn_close nobody posts */
        posted = true;
    }
    os_mutex_unlock(c->lock);
    if (!posted)
        clockwork_now(&c->b->clock, fn, arg);
}

/* -- replies ----------------------------------------------------------------------------------------------------- */
void broker_reply_free(struct broker_reply *r)
{
    for (size_t i = 0; i < r->npieces; i++)
        if (r->pieces[i].slice)
            log_slice_release(r->pieces[i].slice);
    free(r->pieces);
    free(r->bytes);
    *r = (struct broker_reply){0};
}

char *broker_reply_flat(const struct broker_reply *r, size_t *n)
{
    size_t at = 0, total = r->n;
    char *out, *p;

    for (size_t i = 0; i < r->npieces; i++)
        total += r->pieces[i].bytes.n;
    out = p = malloc(total ? total : 1);
    if (!out)
        return NULL;
    for (size_t i = 0; i < r->npieces; i++) {
        memcpy(p, r->bytes + at, r->pieces[i].at - at);
        p += r->pieces[i].at - at;
        at = r->pieces[i].at;
        memcpy(p, r->pieces[i].bytes.p, r->pieces[i].bytes.n);
        p += r->pieces[i].bytes.n;
    }
    memcpy(p, r->bytes + at, r->n - at);
    *n = total;
    return out;
}

static void request_free(struct request *rq)
{
    struct broker *b = rq->b;

    conn_release(rq->conn);
    arena_free(rq->in);
    arena_free(rq->arena);
    free(rq);
    atomic_fetch_sub(&b->live_requests, 1);
}

static void finish(struct request *rq, struct broker_reply *r)
{
    rq->respond(rq->arg, r);
    request_free(rq);
}

void request_silent(struct request *rq)
{
    finish(rq, &(struct broker_reply){.outcome = BROKER_SILENT});
}

void request_close(struct request *rq, const char *why)
{
    atomic_fetch_add(&rq->b->errors, 1);
    finish(rq, &(struct broker_reply){.outcome = BROKER_CLOSE, .why = why});
}

/* The frame's length counts the spliced record bytes too. */
static bool seal(struct buf *b, const struct kafka_splices *sp)
{
    size_t total = b->n - 4;

    for (size_t i = 0; i < sp->n; i++)
        total += sp->p[i].bytes.n;
    if (b->bad || total > INT32_MAX)
        return false;
    for (int i = 0; i < 4; i++)
        b->p[i] = (char)(total >> (24 - 8 * i));
    return true;
}

static void reply_as(struct request *rq, int16_t version, bool flexible, const void *response,
                     struct log_slice **slices, int32_t throttle_ms)
{
    struct buf b = {.limit = BUF_ASKED};
    struct kafka_splices sp = {0};
    struct broker_reply r = {.outcome = BROKER_REPLY, .throttle_ms = throttle_ms};

    buf_u32be(&b, 0);
    kafka_put_response_header(&b, rq->api, version, rq->header.correlation_id);
    kafka_encode(rq->api->response(), version, flexible, response, &b, slices ? &sp : NULL);
    if (!seal(&b, &sp)) {
        for (size_t i = 0; i < sp.n; i++)
            log_slice_release(slices[i]);
        buf_free(&b);
        free(sp.p);
        request_close(rq, "the answer does not fit a frame");
        return;
    }
    r.npieces = sp.n;
    r.pieces = sp.n ? calloc(sp.n, sizeof *r.pieces) : NULL;
    if (sp.n && !r.pieces)
        memory_out("a response");
    for (size_t i = 0; i < sp.n; i++)
        r.pieces[i] = (struct broker_piece){sp.p[i].at, sp.p[i].bytes, slices[i]};
    free(sp.p);
    r.bytes = buf_take(&b, &r.n);
    finish(rq, &r);
}

void request_reply(struct request *rq, const void *response)
{
    reply_as(rq, rq->version, kafka_flexible(rq->api, rq->version), response, NULL, 0);
}

void request_reply_slices(struct request *rq, const void *response, struct log_slice **slices, int32_t throttle_ms)
{
    reply_as(rq, rq->version, kafka_flexible(rq->api, rq->version), response, slices, throttle_ms);
}

struct io_call {
    struct request *rq;
    void (*fn)(struct request *rq);
};

static void run_io_call(void *arg)
{
    struct io_call *call = arg;

    call->fn(call->rq);
}

void request_on_io(struct request *rq, void (*fn)(struct request *rq))
{
    struct io_call *call = ARENA_NEW(rq->arena, struct io_call);

    *call = (struct io_call){rq, fn};
    if (!clockwork_io(&rq->b->clock, run_io_call, call))
        request_close(rq, "too much waits for the disk");
}

/* -- dispatch ---------------------------------------------------------------------------------------------------- */
/* In the order of keys. Produce is handled before its frame could be copied: batches are patched and appended in place. */
static const struct {
    int16_t key;
    void (*handle)(struct request *rq);
} HANDLERS[] = {
    {KAFKA_produce, handle_produce},
    {KAFKA_fetch, handle_fetch},
    {KAFKA_list_offsets, handle_list_offsets},
    {KAFKA_metadata, handle_metadata},
    {KAFKA_offset_commit, handle_offset_commit},
    {KAFKA_offset_fetch, handle_offset_fetch},
    {KAFKA_find_coordinator, handle_find_coordinator},
    {KAFKA_join_group, handle_join_group},
    {KAFKA_heartbeat, handle_heartbeat},
    {KAFKA_leave_group, handle_leave_group},
    {KAFKA_sync_group, handle_sync_group},
    {KAFKA_describe_groups, handle_describe_groups},
    {KAFKA_list_groups, handle_list_groups},
    {KAFKA_sasl_handshake, handle_sasl_handshake},
    {KAFKA_api_versions, handle_api_versions},
    {KAFKA_create_topics, handle_create_topics},
    {KAFKA_delete_topics, handle_delete_topics},
    {KAFKA_delete_records, handle_delete_records},
    {KAFKA_init_producer_id, handle_init_producer_id},
    {KAFKA_offset_for_leader_epoch, handle_offset_for_leader_epoch},
    {KAFKA_add_partitions_to_txn, handle_add_partitions_to_txn},
    {KAFKA_add_offsets_to_txn, handle_add_offsets_to_txn},
    {KAFKA_end_txn, handle_end_txn},
    {KAFKA_write_txn_markers, handle_write_txn_markers},
    {KAFKA_txn_offset_commit, handle_txn_offset_commit},
    {KAFKA_describe_configs, handle_describe_configs},
    {KAFKA_alter_configs, handle_alter_configs},
    {KAFKA_create_partitions, handle_create_partitions},
    {KAFKA_delete_groups, handle_delete_groups},
    {KAFKA_incremental_alter_configs, handle_incremental_alter_configs},
    {KAFKA_offset_delete, handle_offset_delete},
    {KAFKA_describe_cluster, handle_describe_cluster},
    {KAFKA_describe_producers, handle_describe_producers},
    {KAFKA_describe_transactions, handle_describe_transactions},
    {KAFKA_list_transactions, handle_list_transactions},
};

static void dispatch(struct request *rq)
{
    for (size_t i = 0; i < sizeof HANDLERS / sizeof HANDLERS[0]; i++)
        if (HANDLERS[i].key == rq->api->key) {
            HANDLERS[i].handle(rq);
            return;
        }
    request_close(rq, "an API without a handler");
}

static struct request *request_new(struct broker_conn *c, void (*respond)(void *, struct broker_reply *), void *arg)
{
    struct request *rq = calloc(1, sizeof *rq);

    if (!rq)
        memory_out("a request");
    *rq = (struct request){.b = c->b, .conn = c, .respond = respond, .arg = arg};
    atomic_fetch_add(&c->refs, 1);
    rq->in = arena_new_charged(LIMIT_DECODED_BYTES, BUDGET_INPUT);
    rq->arena = arena_new(0);
    atomic_fetch_add(&c->b->requests, 1);
    atomic_fetch_add(&c->b->live_requests, 1);
    return rq;
}

/* Decode the body; a handler may run on long after the frame is gone, so all but Produce read from a copy. */
static void decode_and_dispatch(struct request *rq, struct str body)
{
    const struct kafka_shape *shape = rq->api->request();
    struct fault f;

    if (rq->api->key != KAFKA_produce) {
        char *copy = arena_try(rq->in, body.n + 1);

        if (!copy) {
            request_close(rq, "a request larger than the memory for one");
            return;
        }
        memcpy(copy, body.p, body.n);
        body.p = copy;
        rq->header.client_id = arena_str(rq->arena, rq->header.client_id);
    }
    rq->body = arena_alloc(rq->arena, shape->size);
    if (kafka_decode(shape, rq->version, kafka_flexible(rq->api, rq->version), body, rq->in, rq->body, NULL, &f))
        request_close(rq, "a request that cannot be read");
    else
        dispatch(rq);
}

void broker_request(struct broker_conn *c, char *frame, size_t n, void (*respond)(void *arg, struct broker_reply *r),
                    void *arg)
{
    struct request *rq = request_new(c, respond, arg);
    struct str body;
    struct fault f;

    if (kafka_read_header(str_make(frame, n), &rq->header, &body, &f)) {
        request_close(rq, "a request header that cannot be read");
        return;
    }
    rq->version = rq->header.request_api_version;
    rq->api = kafka_api(rq->header.request_api_key);
    if (!rq->api)
        request_close(rq, "an API key that is not supported");
    else if (rq->api->key == KAFKA_api_versions && (rq->version > rq->api->last || rq->version < 0))
        reply_unsupported_api_versions(rq);
    else if (rq->version < rq->api->first || rq->version > rq->api->last)
        request_close(rq, "an API version that is not supported");
    else
        decode_and_dispatch(rq, body);
}

/* -- start and stop ---------------------------------------------------------------------------------------------- */
enum err broker_start(struct broker **out, const struct broker_options *o, struct fault *f)
{
    struct broker *b = calloc(1, sizeof *b);
    enum err e;

    if (!b)
        return FAULT(f, ERR_NOMEM, {"what", "broker"});
    b->o = *o;
    b->log = o->log;
    if (b->o.default_partitions <= 0)
        b->o.default_partitions = 1;
    e = clockwork_start(&b->clock, f);
    if (e) {
        free(b);
        return e;
    }
    configs_start(b);
    e = sessions_start(b, f);
    if (!e)
        e = groups_start(b, f);
    if (!e)
        e = txns_start(b, f);
    if (e) {
        broker_stop(b);
        return e;
    }
    *out = b;
    return ERR_OK;
}

void broker_stop(struct broker *b)
{
    atomic_store(&b->stopping, true);
    if (b->groups)
        groups_close(b);
    if (b->txns)
        txns_close(b);
    while (atomic_load(&b->live_requests) > 0)
        os_sleep_ms(1); /* appends on their way to the disk, fetches that were just woken */
    clockwork_stop(&b->clock);
    if (b->txns)
        txns_stop(b);
    if (b->groups)
        groups_stop(b);
    if (b->sessions)
        sessions_stop(b);
    configs_stop(b);
    free(b);
}

void broker_stats(struct broker *b, struct broker_stats *out)
{
    *out = (struct broker_stats){.requests = b->requests,
                                 .produce_requests = b->produce_requests,
                                 .fetch_requests = b->fetch_requests,
                                 .errors = b->errors,
                                 .waiting_fetches = b->waiting_fetches,
                                 .fetch_sessions = sessions_count(b)};
    groups_count(b, &out->groups, &out->members);
}

/* -- handlers without a file of their own ------------------------------------------------------------------------ */
/* transaction.version 2 (KIP-890): clients that know it let Produce add partitions and get an epoch per transaction. A feature
 * whose lowest version is 0 is hidden from clients before ApiVersions 4, which cannot read that; finalized ones are not. */
static void fill_features(struct request *rq, struct kafka_api_versions_response *r)
{
    static const struct str name = {"transaction.version", 19};

    if (rq->version >= 4) {
        r->supported_features.p = KAFKA_ARRAY(rq->arena, api_versions_supported_feature, 1);
        r->supported_features.n = 1;
        *r->supported_features.p = (struct kafka_api_versions_supported_feature){name, 0, 2};
    }
    r->finalized_features_epoch = 0;
    r->finalized_features.p = KAFKA_ARRAY(rq->arena, api_versions_finalized_feature, 1);
    r->finalized_features.n = 1;
    *r->finalized_features.p = (struct kafka_api_versions_finalized_feature){name, 2, 2};
}

static void fill_api_keys(struct request *rq, struct kafka_api_versions_response *r)
{
    r->api_keys.p = KAFKA_ARRAY(rq->arena, api_versions_key, KAFKA_NAPIS);
    r->api_keys.n = (int32_t)KAFKA_NAPIS;
    for (size_t i = 0; i < KAFKA_NAPIS; i++) {
        const struct kafka_api *api = &KAFKA_APIS[i];

        r->api_keys.p[i] = (struct kafka_api_versions_key){api->key, api->first, api->last};
    }
    fill_features(rq, r);
    /* Produce 0–2 are listed and then refused: librdkafka before 2.12 compresses only if it sees them */
    r->api_keys.p[0].min_version = 0;
}

/* Kafka's rule for software names (KIP-511): [a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])? */
static bool software_name_ok(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

        if (!alnum && (i == 0 || i == s.n - 1 || (c != '-' && c != '.')))
            return false;
    }
    return s.n > 0;
}

void handle_api_versions(struct request *rq)
{
    const struct kafka_api_versions_request *q = rq->body;
    struct kafka_api_versions_response *r = KAFKA_NEW(rq->arena, api_versions_response);

    if (rq->version >= 3 &&
        (!software_name_ok(q->client_software_name) || !software_name_ok(q->client_software_version)))
        r->error_code = KAFKA_E_INVALID_REQUEST;
    else
        fill_api_keys(rq, r);
    request_reply(rq, r);
}

void reply_unsupported_api_versions(struct request *rq)
{
    struct kafka_api_versions_response *r = KAFKA_NEW(rq->arena, api_versions_response);

    r->error_code = KAFKA_E_UNSUPPORTED_VERSION;
    r->api_keys.n = 1;
    r->api_keys.p = KAFKA_ARRAY(rq->arena, api_versions_key, 1);
    *r->api_keys.p = (struct kafka_api_versions_key){KAFKA_api_versions, rq->api->first, rq->api->last};
    reply_as(rq, 0, false, r, NULL, 0);
}

/* A plaintext listener has no mechanisms to offer. */
void handle_sasl_handshake(struct request *rq)
{
    struct kafka_sasl_handshake_response *r = KAFKA_NEW(rq->arena, sasl_handshake_response);

    r->error_code = KAFKA_E_ILLEGAL_SASL_STATE;
    request_reply(rq, r);
}

void handle_describe_cluster(struct request *rq)
{
    const struct kafka_describe_cluster_request *q = rq->body;
    struct kafka_describe_cluster_response *r = KAFKA_NEW(rq->arena, describe_cluster_response);

    if (q->endpoint_type != 1) {
        r->error_code = q->endpoint_type == 2 ? KAFKA_E_MISMATCHED_ENDPOINT_TYPE : KAFKA_E_UNSUPPORTED_ENDPOINT_TYPE;
        r->error_message = str_of(kafka_code_message(r->error_code));
        r->endpoint_type = q->endpoint_type;
        request_reply(rq, r);
        return;
    }
    r->cluster_id = str_of(log_cluster_id(rq->b->log));
    r->controller_id = NODE_ID;
    r->brokers.n = 1;
    r->brokers.p = KAFKA_ARRAY(rq->arena, describe_cluster_broker, 1);
    r->brokers.p->broker_id = NODE_ID;
    r->brokers.p->host = str_of(rq->conn->peer.advertised_host);
    r->brokers.p->port = rq->conn->peer.advertised_port;
    if (q->include_cluster_authorized_operations)
        r->cluster_authorized_operations = CLUSTER_OPERATIONS;
    request_reply(rq, r);
}

static void coordinator_of(struct request *rq, struct str key, int8_t type, struct kafka_find_coordinator_one *out)
{
    out->key = key;
    out->node_id = -1;
    out->port = -1;
    out->error_message = STR("");
    if (type != 0 && type != 1) { /* groups, transactions: this one node coordinates both */
        out->error_code = KAFKA_E_INVALID_REQUEST;
        out->error_message = str_of(kafka_code_message(out->error_code));
    } else {
        out->node_id = NODE_ID;
        out->host = str_of(rq->conn->peer.advertised_host);
        out->port = rq->conn->peer.advertised_port;
    }
}

void handle_find_coordinator(struct request *rq)
{
    const struct kafka_find_coordinator_request *q = rq->body;
    struct kafka_find_coordinator_response *r = KAFKA_NEW(rq->arena, find_coordinator_response);

    if (rq->version < 4) {
        struct kafka_find_coordinator_one *one = KAFKA_NEW(rq->arena, find_coordinator_one);

        coordinator_of(rq, q->key, q->key_type, one);
        r->error_code = one->error_code;
        r->error_message = one->error_code ? one->error_message : STR("NONE");
        r->node_id = one->node_id;
        r->host = one->host;
        r->port = one->port;
    } else {
        r->coordinators.n = q->coordinator_keys.n;
        r->coordinators.p = KAFKA_ARRAY(rq->arena, find_coordinator_one, (size_t)q->coordinator_keys.n);
        for (int32_t i = 0; i < q->coordinator_keys.n; i++)
            coordinator_of(rq, q->coordinator_keys.p[i], q->key_type, &r->coordinators.p[i]);
    }
    request_reply(rq, r);
}
