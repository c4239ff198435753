/* ListOffsets and OffsetForLeaderEpoch. Searching by time may read the disk: on an I/O thread. */
#include "broker/broker_int.h"

enum { LATEST = -1, EARLIEST = -2, MAX_TIMESTAMP = -3, EARLIEST_LOCAL = -4, LATEST_TIERED = -5, EARLIEST_PENDING = -6 };

/* From which version of ListOffsets on a special timestamp may be asked for. */
static const struct {
    int64_t timestamp;
    int16_t since;
} SPECIALS[] = {{LATEST, 0},         {EARLIEST, 0},      {MAX_TIMESTAMP, 7},
                {EARLIEST_LOCAL, 8}, {LATEST_TIERED, 9}, {EARLIEST_PENDING, 11}};

static bool allowed(int64_t timestamp, int16_t version)
{
    if (timestamp >= 0)
        return true;
    for (size_t i = 0; i < sizeof SPECIALS / sizeof SPECIALS[0]; i++)
        if (SPECIALS[i].timestamp == timestamp)
            return version >= SPECIALS[i].since;
    return false;
}

static int16_t check_leader(int32_t asked, const struct log_offsets *o)
{
    if (o->deleted)
        return KAFKA_E_UNKNOWN_TOPIC_OR_PARTITION;
    if (asked < 0 || asked == o->leader_epoch)
        return KAFKA_E_NONE;
    return asked < o->leader_epoch ? KAFKA_E_FENCED_LEADER_EPOCH : KAFKA_E_UNKNOWN_LEADER_EPOCH;
}

/* `end`: the high watermark or, for read_committed, the last stable offset: Kafka takes what is found behind it for nothing. */
static void find(struct log_partition *p, const struct log_offsets *o, int64_t end, int64_t timestamp,
                 struct kafka_list_offsets_partition_response *out)
{
    enum log_status status = LOG_OK;

    switch (timestamp) {
    case LATEST:
        out->offset = end;
        break;
    case EARLIEST:
    case EARLIEST_LOCAL:
        out->offset = o->log_start;
        break;
    case LATEST_TIERED: /* nothing is tiered */
    case EARLIEST_PENDING:
        break;
    case MAX_TIMESTAMP:
        status = log_max_timestamp(p, &out->offset, &out->timestamp);
        break;
    default:
        status = log_offset_for_time(p, timestamp, &out->offset, &out->timestamp);
    }
    if (status == LOG_OK && out->offset >= end && timestamp != LATEST && timestamp != EARLIEST &&
        timestamp != EARLIEST_LOCAL)
        out->offset = -1;
    if (status != LOG_OK) {
        out->error_code = (int16_t)status;
        out->offset = out->timestamp = -1;
    } else if (out->offset >= 0) {
        out->leader_epoch = o->leader_epoch;
    } else {
        out->timestamp = -1;
    }
}

static void list_one(struct request *rq, struct str topic, const struct kafka_list_offsets_partition *in,
                     struct kafka_list_offsets_partition_response *out)
{
    struct log_partition *p = log_partition(rq->b->log, topic, in->partition_index);
    const struct kafka_list_offsets_request *q = rq->body;
    struct log_offsets o;

    out->partition_index = in->partition_index;
    if (!p) {
        out->error_code = KAFKA_E_UNKNOWN_TOPIC_OR_PARTITION;
        return;
    }
    o = log_partition_offsets(p);
    out->error_code = check_leader(in->current_leader_epoch, &o);
    if (!out->error_code && !allowed(in->timestamp, rq->version))
        out->error_code = KAFKA_E_UNSUPPORTED_VERSION;
    if (!out->error_code)
        find(p, &o, q->isolation_level ? o.last_stable : o.high_watermark, in->timestamp, out);
    log_partition_release(p);
}

/* How often a partition is asked for in its topic: Kafka refuses it when it is more than once. */
static int times_asked(const struct kafka_list_offsets_topic *t, int32_t partition, int32_t *first)
{
    int times = 0;

    for (int32_t i = 0; i < t->partitions.n; i++)
        if (t->partitions.p[i].partition_index == partition && times++ == 0)
            *first = i;
    return times;
}

static void list_topic(struct request *rq, const struct kafka_list_offsets_topic *in,
                       struct kafka_list_offsets_topic_response *out)
{
    out->name = in->name;
    out->partitions.p = KAFKA_ARRAY(rq->arena, list_offsets_partition_response, (size_t)in->partitions.n);
    for (int32_t k = 0; k < in->partitions.n; k++) {
        struct kafka_list_offsets_partition_response *p = &out->partitions.p[out->partitions.n];
        int32_t first = k;
        /* a request of thousands of partitions is a tool's, which does not repeat itself: not compared one by one */
        int times = in->partitions.n <= 2000 ? times_asked(in, in->partitions.p[k].partition_index, &first) : 1;

        if (first != k)
            continue;
        out->partitions.n++;
        if (times > 1) {
            p->partition_index = in->partitions.p[k].partition_index;
            p->error_code = KAFKA_E_INVALID_REQUEST;
        } else {
            list_one(rq, in->name, &in->partitions.p[k], p);
        }
    }
}

static void list_offsets(struct request *rq)
{
    const struct kafka_list_offsets_request *q = rq->body;
    struct kafka_list_offsets_response *r = KAFKA_NEW(rq->arena, list_offsets_response);

    r->topics.n = q->topics.n;
    r->topics.p = KAFKA_ARRAY(rq->arena, list_offsets_topic_response, (size_t)q->topics.n);
    for (int32_t i = 0; i < q->topics.n; i++)
        list_topic(rq, &q->topics.p[i], &r->topics.p[i]);
    request_reply(rq, r);
}

static bool searches(const struct kafka_list_offsets_request *q)
{
    for (int32_t i = 0; i < q->topics.n; i++)
        for (int32_t k = 0; k < q->topics.p[i].partitions.n; k++) {
            int64_t timestamp = q->topics.p[i].partitions.p[k].timestamp;

            if (timestamp >= 0 || timestamp == MAX_TIMESTAMP)
                return true;
        }
    return false;
}

void handle_list_offsets(struct request *rq)
{
    if (searches(rq->body))
        request_on_io(rq, list_offsets);
    else
        list_offsets(rq);
}

/* One node, one epoch: it ends at the log's end. What is asked about a later epoch has no end (-1), an earlier one ended
 * where ours began. */
static void epoch_end(struct request *rq, struct str topic, const struct kafka_leader_epoch_partition *in,
                      struct kafka_leader_epoch_end *out)
{
    struct log_partition *p = log_partition(rq->b->log, topic, in->partition);
    struct log_offsets o;

    out->partition = in->partition;
    if (!p) {
        out->error_code = KAFKA_E_UNKNOWN_TOPIC_OR_PARTITION;
        return;
    }
    o = log_partition_offsets(p);
    log_partition_release(p);
    out->error_code = check_leader(in->current_leader_epoch, &o);
    if (out->error_code || in->leader_epoch > o.leader_epoch || in->leader_epoch < 0)
        return;
    out->leader_epoch = in->leader_epoch;
    out->end_offset = in->leader_epoch == o.leader_epoch ? o.high_watermark : o.log_start;
}

void handle_offset_for_leader_epoch(struct request *rq)
{
    const struct kafka_offset_for_leader_epoch_request *q = rq->body;
    struct kafka_offset_for_leader_epoch_response *r = KAFKA_NEW(rq->arena, offset_for_leader_epoch_response);

    r->topics.n = q->topics.n;
    r->topics.p = KAFKA_ARRAY(rq->arena, leader_epoch_topic_response, (size_t)q->topics.n);
    for (int32_t i = 0; i < q->topics.n; i++) {
        r->topics.p[i].topic = q->topics.p[i].topic;
        r->topics.p[i].partitions.n = q->topics.p[i].partitions.n;
        r->topics.p[i].partitions.p = KAFKA_ARRAY(rq->arena, leader_epoch_end, (size_t)q->topics.p[i].partitions.n);
        for (int32_t k = 0; k < q->topics.p[i].partitions.n; k++)
            epoch_end(rq, q->topics.p[i].topic, &q->topics.p[i].partitions.p[k], &r->topics.p[i].partitions.p[k]);
    }
    request_reply(rq, r);
}
