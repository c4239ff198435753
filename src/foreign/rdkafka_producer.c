/* The driver over librdkafka: producers, transactions, a group's offsets. */
#include "foreign/rdkafka_int.h"

#include <stdio.h>
#include <stdlib.h>

void rdkafka_delivered(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    struct foreign_client *k = opaque;
    struct foreign_answer why;
    (void)rk;
    rdkafka_answer(k, m->err, NULL, &why); /* rd_kafka_message_errstr would give the record's value */
    k->o.delivered(k->o.arg, &why, rd_kafka_topic_name(m->rkt));
}

static rd_kafka_topic_t *topic_of(struct foreign_client *k, const char *name)
{
    if (k->topic && !strcmp(rd_kafka_topic_name(k->topic), name))
        return k->topic;
    if (k->topic)
        rd_kafka_topic_destroy(k->topic);
    return k->topic = rd_kafka_topic_new(k->rk, name, NULL);
}

static rd_kafka_headers_t *headers_of(const struct foreign_header *headers, size_t n)
{
    rd_kafka_headers_t *h = n ? rd_kafka_headers_new(n) : NULL;
    for (size_t i = 0; i < n; i++)
        rd_kafka_header_add(h, headers[i].key.n ? headers[i].key.p : "", (ssize_t)headers[i].key.n, headers[i].value.p,
                            headers[i].value.p ? (ssize_t)headers[i].value.n : 0);
    return h;
}

enum foreign_status rdkafka_produce(struct foreign_client *k, const char *topic, int32_t partition, struct str key,
                                    struct str value, const struct foreign_header *headers, size_t nheaders,
                                    int64_t timestamp_ms, struct foreign_answer *why)
{
    rd_kafka_topic_t *rkt = topic_of(k, topic);
    if (!rkt)
        return rdkafka_answer(k, rd_kafka_last_error(), NULL, why);
    rd_kafka_headers_t *h = headers_of(headers, nheaders);
    rd_kafka_vu_t v[8] = {
        {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = rkt},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = partition < 0 ? RD_KAFKA_PARTITION_UA : partition},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {(void *)key.p, key.n}},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {(void *)value.p, value.n}},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
        {.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = timestamp_ms < 0 ? 0 : timestamp_ms},
    };
    size_t n = 6;
    if (h)
        v[n++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = h};
    rd_kafka_error_t *error = rd_kafka_produceva(k->rk, v, n);
    if (!error)
        return FOREIGN_DONE;
    if (h)
        rd_kafka_headers_destroy(h); /* not taken over */
    if (rd_kafka_error_code(error) == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
        rd_kafka_error_destroy(error);
        return FOREIGN_TIMEOUT;
    }
    return rdkafka_error(k, error, why);
}

void rdkafka_serve(struct foreign_client *k, int64_t ms)
{
    rd_kafka_poll(k->rk, (int)ms);
}

void rdkafka_flush(struct foreign_client *k, int64_t ms)
{
    rd_kafka_flush(k->rk, (int)ms);
}

int rdkafka_unsent(struct foreign_client *k)
{
    return rd_kafka_outq_len(k->rk);
}

void rdkafka_purge(struct foreign_client *k)
{
    rd_kafka_purge(k->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    rd_kafka_flush(k->rk, 100);
}

/* -- transactions --------------------------------------------------------------------------------------------------------------- */

enum foreign_status rdkafka_init(struct foreign_client *k, int64_t ms, struct foreign_answer *why)
{
    rd_kafka_error_t *e = rd_kafka_init_transactions(k->rk, (int)ms);
    rd_kafka_poll(k->rk, 0);
    return rdkafka_error(k, e, why);
}

enum foreign_status rdkafka_begin(struct foreign_client *k, struct foreign_answer *why)
{
    return rdkafka_error(k, rd_kafka_begin_transaction(k->rk), why);
}

static void set_metadata(rd_kafka_topic_partition_t *tp, struct str metadata)
{
    tp->metadata = malloc(metadata.n + 1); /* rd_kafka_topic_partition_list_destroy frees it */
    if (!tp->metadata)
        return;
    memcpy(tp->metadata, metadata.p, metadata.n);
    ((char *)tp->metadata)[metadata.n] = 0;
    tp->metadata_size = metadata.n;
}

enum foreign_status rdkafka_send_offset(struct foreign_client *k, const char *group, const char *topic,
                                        int32_t partition, int64_t offset, struct str metadata, int64_t ms,
                                        struct foreign_answer *why)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t *tp = rd_kafka_topic_partition_list_add(list, topic, partition);
    tp->offset = offset;
    if (metadata.n)
        set_metadata(tp, metadata);
    rd_kafka_consumer_group_metadata_t *g = rd_kafka_consumer_group_metadata_new(group);
    rd_kafka_error_t *e = rd_kafka_send_offsets_to_transaction(k->rk, list, g, (int)ms);
    rd_kafka_consumer_group_metadata_destroy(g);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_poll(k->rk, 0);
    return rdkafka_error(k, e, why);
}

enum foreign_status rdkafka_end(struct foreign_client *k, bool commit, int64_t ms, struct foreign_answer *why)
{
    rd_kafka_error_t *e =
        commit ? rd_kafka_commit_transaction(k->rk, (int)ms) : rd_kafka_abort_transaction(k->rk, (int)ms);
    rd_kafka_poll(k->rk, 0);
    return rdkafka_error(k, e, why);
}

/* -- a group's offset -------------------------------------------------------------------------------------------------------------- */

static enum foreign_status take_offset(struct foreign_client *k, const rd_kafka_event_t *event, struct arena *a,
                                       int64_t *offset, struct str *metadata, struct foreign_answer *why)
{
    size_t n;
    const rd_kafka_group_result_t **groups = rd_kafka_ListConsumerGroupOffsets_result_groups(
        rd_kafka_event_ListConsumerGroupOffsets_result((rd_kafka_event_t *)event), &n);
    const rd_kafka_error_t *error = n ? rd_kafka_group_result_error(groups[0]) : NULL;
    if (!n || error)
        return rdkafka_answer(k, error ? rd_kafka_error_code(error) : RD_KAFKA_RESP_ERR__FAIL,
                              error ? rd_kafka_error_string(error) : "no answer for the group", why);
    const rd_kafka_topic_partition_list_t *list = rd_kafka_group_result_partitions(groups[0]);
    if (!list || list->cnt != 1)
        return rdkafka_answer(k, RD_KAFKA_RESP_ERR__FAIL, "an answer about other partitions", why);
    const rd_kafka_topic_partition_t *tp = &list->elems[0];
    if (tp->err)
        return rdkafka_answer(k, tp->err, NULL, why);
    *offset = tp->offset < 0 ? -1 : tp->offset;
    *metadata = arena_str(a, str_make(tp->metadata, tp->metadata ? tp->metadata_size : 0));
    return rdkafka_answer(k, 0, NULL, why);
}

enum foreign_status rdkafka_group_offset(struct foreign_client *k, const char *group, const char *topic,
                                         int32_t partition, int64_t ms, struct arena *a, int64_t *offset,
                                         struct str *metadata, struct foreign_answer *why)
{
    char text[200];
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, partition);
    rd_kafka_ListConsumerGroupOffsets_t *ask = rd_kafka_ListConsumerGroupOffsets_new(group, list);
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(k->rk, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(k->rk);
    rd_kafka_error_t *e = rd_kafka_AdminOptions_set_require_stable_offsets(options, 1);
    rd_kafka_error_destroy(e); /* it always may be set for this request */
    rd_kafka_AdminOptions_set_request_timeout(options, (int)ms, text, sizeof text);
    rd_kafka_ListConsumerGroupOffsets(k->rk, &ask, 1, options, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, (int)ms + 1000);
    enum foreign_status s;
    if (!event)
        s = rdkafka_answer(k, RD_KAFKA_RESP_ERR__TIMED_OUT, NULL, why);
    else if (rd_kafka_event_error(event))
        s = rdkafka_answer(k, rd_kafka_event_error(event), rd_kafka_event_error_string(event), why);
    else
        s = take_offset(k, event, a, offset, metadata, why);
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_ListConsumerGroupOffsets_destroy(ask);
    rd_kafka_topic_partition_list_destroy(list);
    return s;
}
