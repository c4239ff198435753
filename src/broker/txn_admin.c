/* What transactions there are: ListTransactions, DescribeTransactions, DescribeProducers (KIP-664, KIP-994, KIP-1152). */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "broker/txn_int.h"

/* -- DescribeTransactions --------------------------------------------------------------------------------------------- */

/* With the lock held. */
static void describe(struct request *rq, const struct txn *t, struct kafka_describe_transactions_state *out)
{
    struct arena *a = rq->arena;
    out->transaction_state = str_of(txn_state_name(t->now.state));
    out->transaction_timeout_ms = t->now.timeout_ms;
    out->transaction_start_time_ms = t->now.start_ms;
    out->producer_id = t->now.producer_id;
    out->producer_epoch = t->now.epoch;
    out->topics.p = KAFKA_ARRAY(a, describe_transactions_topic, t->parts.n);
    for (size_t i = 0; i < t->parts.n; i++) {
        struct kafka_describe_transactions_topic *in = NULL;
        for (int32_t k = 0; k < out->topics.n && !in; k++)
            if (str_eq(out->topics.p[k].topic, t->parts.p[i].topic))
                in = &out->topics.p[k];
        if (!in) {
            in = &out->topics.p[out->topics.n++];
            in->topic = arena_str(a, t->parts.p[i].topic);
            in->partitions.p = ARENA_ARRAY(a, t->parts.n, int32_t);
        }
        in->partitions.p[in->partitions.n++] = t->parts.p[i].partition;
    }
}

void handle_describe_transactions(struct request *rq)
{
    const struct kafka_describe_transactions_request *q = rq->body;
    struct kafka_describe_transactions_response *r = KAFKA_NEW(rq->arena, describe_transactions_response);
    r->transaction_states.n = q->transactional_ids.n;
    r->transaction_states.p = KAFKA_ARRAY(rq->arena, describe_transactions_state, (size_t)q->transactional_ids.n);
    os_mutex_lock(rq->b->txns->lock);
    for (int32_t i = 0; i < q->transactional_ids.n; i++) {
        struct kafka_describe_transactions_state *out = &r->transaction_states.p[i];
        const struct txn *t = map_get(&rq->b->txns->by_id, q->transactional_ids.p[i]);
        out->transactional_id = q->transactional_ids.p[i];
        if (t)
            describe(rq, t, out);
        else
            out->error_code = out->transactional_id.n ? KAFKA_E_TRANSACTIONAL_ID_NOT_FOUND : KAFKA_E_INVALID_REQUEST;
    }
    os_mutex_unlock(rq->b->txns->lock);
    request_reply(rq, r);
}

/* -- ListTransactions ------------------------------------------------------------------------------------------------- */

static bool known_state(struct str name, enum txn_state *out)
{
    for (int s = 0; s < TXN_STATES; s++)
        if (str_eqz(name, txn_state_name((enum txn_state)s))) {
            *out = (enum txn_state)s;
            return true;
        }
    return false;
}

struct filter {
    const struct kafka_list_transactions_request *q;
    unsigned states; /* bits; 0: all */
    pcre2_code *pattern;
    pcre2_match_data *match;
    int64_t now_ms;
};

static bool matches(const struct filter *f, const struct txn *t)
{
    bool wanted = f->q->producer_id_filters.n <= 0;
    for (int32_t i = 0; i < f->q->producer_id_filters.n; i++)
        wanted |= f->q->producer_id_filters.p[i] == t->now.producer_id;
    if (!wanted || t->now.state == TXN_DEAD || (f->states && !(f->states & 1u << t->now.state)))
        return false;
    /* what was never begun has, as in Kafka, lasted for ever */
    if (f->q->duration_filter >= 0 && f->now_ms - t->now.start_ms <= f->q->duration_filter)
        return false;
    return !f->pattern || pcre2_match(f->pattern, (PCRE2_SPTR)t->id.p, t->id.n, 0, 0, f->match, NULL) >= 0;
}

/* Kafka's pattern must match the whole id. False: it is none. */
static bool compile(struct filter *f)
{
    int code;
    PCRE2_SIZE at;
    struct str p = f->q->transactional_id_pattern;
    if (!p.p || !p.n)
        return true;
    f->pattern = pcre2_compile((PCRE2_SPTR)p.p, p.n, PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_UTF, &code, &at, NULL);
    f->match = f->pattern ? pcre2_match_data_create_from_pattern(f->pattern, NULL) : NULL;
    return f->match != NULL;
}

static void list(struct request *rq, const struct filter *f, struct kafka_list_transactions_response *r)
{
    struct txns *x = rq->b->txns;
    struct map_slot *s;
    os_mutex_lock(x->lock);
    r->transaction_states.p = KAFKA_ARRAY(rq->arena, list_transactions_state, x->by_id.n);
    for (size_t i = 0; (s = map_next(&x->by_id, &i));) {
        const struct txn *t = s->value;
        if (matches(f, t))
            r->transaction_states.p[r->transaction_states.n++] = (struct kafka_list_transactions_state){
                arena_str(rq->arena, t->id), t->now.producer_id, str_of(txn_state_name(t->now.state))};
    }
    os_mutex_unlock(x->lock);
}

void handle_list_transactions(struct request *rq)
{
    const struct kafka_list_transactions_request *q = rq->body;
    struct kafka_list_transactions_response *r = KAFKA_NEW(rq->arena, list_transactions_response);
    struct filter f = {.q = q, .now_ms = os_now_ms()};
    enum txn_state state;
    r->unknown_state_filters.p =
        ARENA_ARRAY(rq->arena, (size_t)(q->state_filters.n > 0 ? q->state_filters.n : 0) + 1, struct str);
    for (int32_t i = 0; i < q->state_filters.n; i++) {
        if (known_state(q->state_filters.p[i], &state))
            f.states |= 1u << state;
        else
            r->unknown_state_filters.p[r->unknown_state_filters.n++] = q->state_filters.p[i];
    }
    if (!compile(&f))
        r->error_code = KAFKA_E_INVALID_REGULAR_EXPRESSION;
    else if (f.states || !q->state_filters.n) /* only unknown states: nothing is in them */
        list(rq, &f, r);
    pcre2_match_data_free(f.match);
    pcre2_code_free(f.pattern);
    request_reply(rq, r);
}

/* -- DescribeProducers ------------------------------------------------------------------------------------------------ */

static void describe_partition(struct request *rq, struct str topic,
                               struct kafka_describe_producers_partition_response *out)
{
    struct log_partition *p = log_partition(rq->b->log, topic, out->partition_index);
    struct log_producer *all;
    if (!p) {
        out->error_code = KAFKA_E_UNKNOWN_TOPIC_OR_PARTITION;
        out->error_message = str_of(kafka_code_message(out->error_code));
        return;
    }
    size_t n = log_producers(p, rq->arena, &all);
    log_partition_release(p);
    out->active_producers.n = (int32_t)n;
    out->active_producers.p = KAFKA_ARRAY(rq->arena, describe_producers_producer, n);
    for (size_t i = 0; i < n; i++)
        out->active_producers.p[i] = (struct kafka_describe_producers_producer){all[i].id,
                                                                                all[i].epoch,
                                                                                all[i].last_sequence,
                                                                                all[i].last_timestamp_ms,
                                                                                all[i].coordinator_epoch,
                                                                                all[i].txn_first_offset};
}

void handle_describe_producers(struct request *rq)
{
    const struct kafka_describe_producers_request *q = rq->body;
    struct kafka_describe_producers_response *r = KAFKA_NEW(rq->arena, describe_producers_response);
    r->topics.n = q->topics.n;
    r->topics.p = KAFKA_ARRAY(rq->arena, describe_producers_topic_response, (size_t)q->topics.n);
    for (int32_t i = 0; i < q->topics.n; i++) {
        struct kafka_describe_producers_topic_response *t = &r->topics.p[i];
        int32_t n = q->topics.p[i].partition_indexes.n;
        t->name = q->topics.p[i].name;
        t->partitions.n = n;
        t->partitions.p = KAFKA_ARRAY(rq->arena, describe_producers_partition_response, (size_t)n);
        for (int32_t k = 0; k < n; k++) {
            t->partitions.p[k].partition_index = q->topics.p[i].partition_indexes.p[k];
            describe_partition(rq, t->name, &t->partitions.p[k]);
        }
    }
    request_reply(rq, r);
}
