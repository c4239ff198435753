/*
 * Offsets that a transaction commits: TxnOffsetCommit writes them into __consumer_offsets as the producer's transactional
 * batch, and they count when the producer's commit marker stands behind them. Until then they are pending: a reader who
 * asks for stable offsets is told to wait. A plain commit that stands behind them in the log wins over them.
 */
#include "broker/txn_int.h"

#include "base/memory.h"
#include "broker/group_int.h"
#include "log/batch.h"

struct pending_offset {
    struct str group;   /* owned */
    struct committed c; /* strings owned */
};
struct pending_txn {
    int64_t producer_id;
    VEC(struct pending_offset) list;
};

static struct str by_producer(const int64_t *id)
{
    return str_make((const char *)id, sizeof *id);
}

void group_txn_pend(struct broker *b, int64_t producer_id, struct str group, const struct committed *c)
{
    struct map *pending = &b->groups->pending;
    struct pending_txn *t = map_get(pending, by_producer(&producer_id));

    if (!t) {
        t = memory_must(calloc(1, sizeof *t), "pending offsets");
        t->producer_id = producer_id;
        map_put(pending, by_producer(&producer_id), t);
    }
    struct pending_offset o = {own(group), *c};
    o.c.topic = own(c->topic);
    o.c.metadata = own(c->metadata.p ? c->metadata : STR(""));
    vec_push(&t->list, o);
}

static void offset_free(struct pending_offset *o)
{
    disown(&o->group);
    disown(&o->c.topic);
    disown(&o->c.metadata);
}

static void pending_free(struct pending_txn *t)
{
    for (size_t i = 0; i < t->list.n; i++)
        offset_free(&t->list.p[i]);
    vec_free(&t->list);
    free(t);
}

static bool chosen(struct broker *b, const struct pending_filter *which, const struct pending_offset *o)
{
    if ((which->group.p && !str_eq(which->group, o->group)) || (which->topic.p && !str_eq(which->topic, o->c.topic)) ||
        (which->partition >= 0 && which->partition != o->c.partition))
        return false;
    if (!which->missing)
        return true;
    struct arena *a = arena_new(0);
    bool there = log_topic_get(b->log, o->c.topic, a, &(struct log_topic){0});
    arena_free(a);
    return !there;
}

size_t group_txn_put_tombstones(struct broker *b, const struct pending_filter *which, struct store_write *w)
{
    struct map_slot *s;
    size_t n = 0;

    for (size_t i = 0; (s = map_next(&b->groups->pending, &i));) {
        const struct pending_txn *t = s->value;

        for (size_t k = 0; k < t->list.n; k++)
            if (chosen(b, which, &t->list.p[k])) {
                store_put_offset(w, t->list.p[k].group, &t->list.p[k].c, true);
                n++;
            }
    }
    return n;
}

size_t group_txn_cancel(struct broker *b, const struct pending_filter *which)
{
    struct map_slot *s;
    size_t n = 0;

    for (size_t i = 0; (s = map_next(&b->groups->pending, &i));) {
        struct pending_txn *t = s->value;
        size_t kept = 0;

        for (size_t k = 0; k < t->list.n; k++)
            if (chosen(b, which, &t->list.p[k])) {
                offset_free(&t->list.p[k]);
                n++;
            } else {
                t->list.p[kept++] = t->list.p[k];
            }
        t->list.n = kept;
    }
    if (n)
        os_cond_broadcast(b->groups->applied);
    return n;
}

bool group_txn_unstable(const struct broker *b, struct str group, struct str topic, int32_t partition)
{
    struct map_slot *s;

    for (size_t i = 0; (s = map_next(&b->groups->pending, &i));) {
        const struct pending_txn *t = s->value;

        for (size_t k = 0; k < t->list.n; k++)
            if (t->list.p[k].c.partition == partition && str_eq(t->list.p[k].c.topic, topic) &&
                str_eq(t->list.p[k].group, group))
                return true;
    }
    return false;
}

static void count(struct broker *b, const struct pending_offset *o)
{
    struct group *g = group_find(b, o->group);
    const struct committed *now = g ? committed_find(g, o->c.topic, o->c.partition) : NULL;

    if (!now || now->at < o->c.at)
        committed_put(g ? g : group_make(b, o->group), &o->c);
}

/* With the lock held. */
void group_txn_settle(struct broker *b, int64_t producer_id, bool commit)
{
    struct pending_txn *t = map_del(&b->groups->pending, by_producer(&producer_id));

    if (!t)
        return;
    for (size_t i = 0; commit && i < t->list.n; i++)
        count(b, &t->list.p[i]);
    pending_free(t);
    os_cond_broadcast(b->groups->applied);
}

void group_txn_marker(struct broker *b, int64_t producer_id, bool commit)
{
    os_mutex_lock(b->groups->lock);
    group_txn_settle(b, producer_id, commit);
    os_mutex_unlock(b->groups->lock);
}

void group_txn_free(struct broker *b)
{
    struct map_slot *s;

    for (size_t i = 0; (s = map_next(&b->groups->pending, &i));)
        pending_free(s->value);
    map_free(&b->groups->pending);
}

/* -- writing ---------------------------------------------------------------------------------------------------------- */

int16_t group_txn_write(struct broker *b, const struct txn_who *who, struct str group, struct committed *list, size_t n,
                        void (*done)(struct broker *b, void *arg, int16_t code), void *arg)
{
    struct store_write *w = store_begin(b, done, arg);
    int64_t at;

    w->origin = LOG_FROM_COORDINATOR;
    w->batch->producer_id = who->producer_id;
    w->batch->producer_epoch = who->epoch;
    w->batch->flags = BATCH_TRANSACTIONAL;
    for (size_t i = 0; i < n; i++)
        store_put_offset(w, group, &list[i], false);
    int16_t code = store_send(w, &at);
    for (size_t i = 0; !code && i < n; i++) {
        list[i].at = at + (int64_t)i;
        group_txn_pend(b, who->producer_id, group, &list[i]);
    }
    return code;
}

/* -- TxnOffsetCommit -------------------------------------------------------------------------------------------------- */

struct txn_commit {
    struct request *rq;
    struct kafka_txn_offset_commit_response *response;
    struct committed *list; /* in rq->arena */
    size_t n;
};

static void set_code(const struct txn_commit *c, int16_t code)
{
    for (int32_t i = 0; i < c->response->topics.n; i++)
        for (int32_t k = 0; k < c->response->topics.p[i].partitions.n; k++)
            if (!c->response->topics.p[i].partitions.p[k].error_code)
                c->response->topics.p[i].partitions.p[k].error_code = code;
}

static void commit_topic(struct txn_commit *c, const struct kafka_txn_offset_commit_topic *in,
                         struct kafka_txn_offset_commit_topic_response *out)
{
    struct request *rq = c->rq;
    struct log_topic t;
    bool known = log_topic_get(rq->b->log, in->name, rq->arena, &t);

    out->name = in->name;
    out->partitions.n = in->partitions.n;
    out->partitions.p = KAFKA_ARRAY(rq->arena, txn_offset_commit_partition_response, (size_t)in->partitions.n);
    for (int32_t k = 0; k < in->partitions.n; k++) {
        const struct kafka_txn_offset_commit_partition *p = &in->partitions.p[k];
        int16_t *code = &out->partitions.p[k].error_code;

        out->partitions.p[k].partition_index = p->partition_index;
        if (!known || p->partition_index < 0 || p->partition_index >= t.partitions)
            *code = KAFKA_E_UNKNOWN_TOPIC_OR_PARTITION;
        else if (p->committed_metadata.n > LIMIT_OFFSET_METADATA_BYTES)
            *code = KAFKA_E_OFFSET_METADATA_TOO_LARGE;
        else
            c->list[c->n++] = (struct committed){.topic = t.name,
                                                 .metadata = p->committed_metadata,
                                                 .partition = p->partition_index,
                                                 .leader_epoch = p->committed_leader_epoch,
                                                 .offset = p->committed_offset,
                                                 .timestamp_ms = os_now_ms()};
    }
}

static struct txn_commit *read_commit(struct request *rq)
{
    const struct kafka_txn_offset_commit_request *q = rq->body;
    struct txn_commit *c = ARENA_NEW(rq->arena, struct txn_commit);
    size_t n = 0;

    *c = (struct txn_commit){.rq = rq, .response = KAFKA_NEW(rq->arena, txn_offset_commit_response)};
    for (int32_t i = 0; i < q->topics.n; i++)
        n += (size_t)q->topics.p[i].partitions.n;
    c->list = ARENA_ARRAY(rq->arena, n + 1, struct committed);
    c->response->topics.n = q->topics.n;
    c->response->topics.p = KAFKA_ARRAY(rq->arena, txn_offset_commit_topic_response, (size_t)q->topics.n);
    for (int32_t i = 0; i < q->topics.n; i++)
        commit_topic(c, &q->topics.p[i], &c->response->topics.p[i]);
    return c;
}

static void offsets_on_disk(struct broker *b, void *arg, int16_t code)
{
    struct txn_commit *c = arg;

    (void)b;
    if (code)
        set_code(c, KAFKA_E_COORDINATOR_NOT_AVAILABLE);
    request_reply(c->rq, c->response);
}

/* Belongs the group's partition to the producer's transaction? Its own clients add it with AddOffsetsToTxn, those of
 * transaction.version 2 leave it to us. */
static int16_t enlist(struct request *rq, const struct txn_who *who)
{
    const struct txn_part part = {OFFSETS_TOPIC, 0};
    int16_t code =
        rq->version >= 5 ? txn_add(rq->b, who, &part, 1, 2, NULL) : txn_verify(rq->b, who, part.topic, part.partition);

    if (code == KAFKA_E_TRANSACTION_ABORTABLE && rq->version < 4)
        return KAFKA_E_INVALID_TXN_STATE;
    if (code == KAFKA_E_PRODUCER_FENCED) /* what the log would have said */
        return KAFKA_E_INVALID_PRODUCER_EPOCH;
    return code;
}

void handle_txn_offset_commit(struct request *rq)
{
    const struct kafka_txn_offset_commit_request *q = rq->body;
    struct broker *b = rq->b;
    const struct txn_who who = {q->transactional_id, q->producer_id, q->producer_epoch};
    const struct committer by = {q->member_id, q->group_instance_id, q->generation_id, true};
    struct os_mutex *gate = txn_gate(b, q->transactional_id);

    os_mutex_lock(gate);
    bool held = log_hold(b->log); /* the transaction's new partition and the offsets in it: one sync */
    int16_t code = q->group_id.n ? enlist(rq, &who) : KAFKA_E_INVALID_GROUP_ID;
    os_mutex_lock(b->groups->lock);
    struct txn_commit *c =
        read_commit(rq); /* under the lock: a topic's deletion waits for the commits that still found it */
    if (!code)
        code = group_may_commit(b, group_find(b, q->group_id), &by);
    if (!code && c->n)
        code = group_txn_write(b, &who, q->group_id, c->list, c->n, offsets_on_disk, c);
    bool answer = code || !c->n; /* else c is the callback's, and may be gone */
    os_mutex_unlock(b->groups->lock);
    log_let_go(b->log, held);
    os_mutex_unlock(gate);
    if (answer) {
        set_code(c, code);
        request_reply(rq, c->response);
    }
}
