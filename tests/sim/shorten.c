#include "shorten.h"

#include "os/sim.h"

#include <stdio.h>

bool shorten(struct truth *t, struct port *port, int topic, int part)
{
    struct t_topic *x = &t->topics[topic];
    struct arena *a = arena_new(0);
    struct kafka_delete_records_request *q = KAFKA_NEW(a, delete_records_request);
    struct kafka_delete_records_response r;
    bool all = sim_random(3) == 0;
    int64_t offset = all ? -1 : (int64_t)sim_random((uint64_t)x->seen[part] + 1);
    q->topics.p = KAFKA_ARRAY(a, delete_records_topic, 1);
    q->topics.n = 1;
    q->topics.p->name = str_of(x->name);
    q->topics.p->partitions.p = KAFKA_ARRAY(a, delete_records_partition, 1);
    q->topics.p->partitions.n = 1;
    q->topics.p->partitions.p->partition_index = part;
    q->topics.p->partitions.p->offset = offset;
    q->timeout_ms = 3600000;
    if (all)
        x->start_tried[part] = INT64_MAX;
    else if (offset > x->start_tried[part])
        x->start_tried[part] = offset;
    port_call(port, KAFKA_delete_records, 2, q, a, &r);
    const struct kafka_delete_records_partition_result *p = r.topics.n == 1 ? r.topics.p->partitions.p : NULL;
    int16_t code = p ? p->error_code : KAFKA_E_UNKNOWN_SERVER_ERROR;
    bool gone = code == KAFKA_E_UNKNOWN_TOPIC_OR_PARTITION && x->state >= DELETING;
    if (code == KAFKA_E_NONE && p->low_watermark >= offset && p->low_watermark > x->start_told[part])
        x->start_told[part] = p->low_watermark;
    bool ok = gone || (code == KAFKA_E_NONE && p->low_watermark >= offset);
    if (!ok)
        fprintf(stderr, "  DeleteRecords up to %lld of %s-%d: error %d, low watermark %lld\n", (long long)offset,
                x->name, part, code, p ? (long long)p->low_watermark : 0);
    t->deletions += ok;
    arena_free(a);
    return ok;
}

int64_t shorten_earliest(struct truth *t, struct port *port, int topic, int part)
{
    struct t_topic *x = &t->topics[topic];
    struct arena *a = arena_new(0);
    struct kafka_list_offsets_request *q = KAFKA_NEW(a, list_offsets_request);
    struct kafka_list_offsets_response r;
    q->replica_id = -1;
    q->topics.p = KAFKA_ARRAY(a, list_offsets_topic, 1);
    q->topics.n = 1;
    q->topics.p->name = str_of(x->name);
    q->topics.p->partitions.p = KAFKA_ARRAY(a, list_offsets_partition, 1);
    q->topics.p->partitions.n = 1;
    q->topics.p->partitions.p->partition_index = part;
    q->topics.p->partitions.p->current_leader_epoch = -1;
    q->topics.p->partitions.p->timestamp = -2;
    port_call(port, KAFKA_list_offsets, 8, q, a, &r);
    int64_t offset = r.topics.n == 1 && !r.topics.p->partitions.p->error_code ? r.topics.p->partitions.p->offset : -1;
    if (offset > x->start_told[part])
        x->start_told[part] = offset;
    arena_free(a);
    return offset;
}

int shorten_settings(struct t_topic *x, struct kafka_create_topics_config *out)
{
    uint64_t dice = sim_random(4);
    if (dice > 1)
        return 0;
    x->expires = true;
    out->name = dice ? STR("retention.bytes") : STR("retention.ms");
    out->value = dice ? STR("50000") : STR("300");
    return 1;
}
