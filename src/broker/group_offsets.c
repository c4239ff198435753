/* A group's offsets: OffsetCommit, OffsetFetch, OffsetDelete, DeleteGroups. Acknowledged when they are on disk. */
#include "broker/group_int.h"

/* -- OffsetCommit ------------------------------------------------------------------------------------------------ */
struct commit {
    struct request *rq;
    struct kafka_offset_commit_response *response;
    struct committed *list; /* in rq->arena; what is written */
    size_t n;
};

static void set_code(const struct commit *c, int16_t code)
{
    for (int32_t i = 0; i < c->response->topics.n; i++)
        for (int32_t k = 0; k < c->response->topics.p[i].partitions.n; k++)
            if (!c->response->topics.p[i].partitions.p[k].error_code)
                c->response->topics.p[i].partitions.p[k].error_code = code;
}

static void committed_on_disk(struct broker *b, void *arg, int16_t code)
{
    struct commit *c = arg;
    const struct kafka_offset_commit_request *q = c->rq->body;
    struct group *g = group_find(b, q->group_id);

    if (code) {
        set_code(c, KAFKA_E_COORDINATOR_NOT_AVAILABLE);
    } else {
        g = g ? g : group_make(b, q->group_id);
        for (size_t i = 0; i < c->n; i++)
            committed_put(g, &c->list[i]);
    }
    b->groups->commits_applied++;
    os_cond_broadcast(b->groups->applied);
    request_reply(c->rq, c->response);
}

/* As ClassicGroup.validateOffsetCommit; a transaction may also come from somebody who says nothing of himself. */
int16_t group_may_commit(struct broker *b, struct group *g, const struct committer *c)
{
    struct member *m;
    bool is_nobody = c->generation < 0 && !c->member_id.n && !c->instance_id.p;

    if (!g && b->groups->by_id.n >= LIMIT_GROUPS)
        return KAFKA_E_GROUP_MAX_SIZE_REACHED;
    if (!g)
        return c->generation < 0 ? KAFKA_E_NONE : KAFKA_E_ILLEGAL_GENERATION;
    if ((c->generation < 0 && g->state == GROUP_EMPTY) || (is_nobody && c->is_transactional))
        return KAFKA_E_NONE;
    if (is_nobody)
        return KAFKA_E_UNKNOWN_MEMBER_ID;
    m = c->instance_id.p ? group_static(g, c->instance_id) : group_member(g, c->member_id);
    if (!m)
        return KAFKA_E_UNKNOWN_MEMBER_ID;
    if (!str_eq(m->id, c->member_id))
        return KAFKA_E_FENCED_INSTANCE_ID;
    if (c->generation != g->generation)
        return KAFKA_E_ILLEGAL_GENERATION;
    if (g->state == GROUP_COMPLETING && !c->is_transactional)
        return KAFKA_E_REBALANCE_IN_PROGRESS;
    member_alive(b, m);
    return KAFKA_E_NONE;
}

static void commit_topic(struct commit *c, const struct kafka_offset_commit_topic *in,
                         struct kafka_offset_commit_topic_response *out)
{
    struct request *rq = c->rq;
    struct log_topic t;
    bool by_id = rq->version >= 10;
    bool known = by_id ? log_topic_by_id(rq->b->log, in->topic_id, rq->arena, &t)
                       : log_topic_get(rq->b->log, in->name, rq->arena, &t);

    out->name = in->name;
    out->topic_id = in->topic_id;
    out->partitions.n = in->partitions.n;
    out->partitions.p = KAFKA_ARRAY(rq->arena, offset_commit_partition_response, (size_t)in->partitions.n);
    for (int32_t k = 0; k < in->partitions.n; k++) {
        const struct kafka_offset_commit_partition *p = &in->partitions.p[k];
        int16_t *code = &out->partitions.p[k].error_code;

        out->partitions.p[k].partition_index = p->partition_index;
        if (!known)
            *code = by_id ? KAFKA_E_UNKNOWN_TOPIC_ID : KAFKA_E_UNKNOWN_TOPIC_OR_PARTITION;
        else if (p->partition_index < 0 || p->partition_index >= t.partitions)
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

static struct commit *check_commit(struct request *rq)
{
    const struct kafka_offset_commit_request *q = rq->body;
    struct commit *c = ARENA_NEW(rq->arena, struct commit);
    size_t n = 0;

    *c = (struct commit){.rq = rq, .response = KAFKA_NEW(rq->arena, offset_commit_response)};
    for (int32_t i = 0; i < q->topics.n; i++)
        n += (size_t)q->topics.p[i].partitions.n;
    c->list = ARENA_ARRAY(rq->arena, n + 1, struct committed);
    c->response->topics.n = q->topics.n;
    c->response->topics.p = KAFKA_ARRAY(rq->arena, offset_commit_topic_response, (size_t)q->topics.n);
    for (int32_t i = 0; i < q->topics.n; i++)
        commit_topic(c, &q->topics.p[i], &c->response->topics.p[i]);
    return c;
}

void handle_offset_commit(struct request *rq)
{
    const struct kafka_offset_commit_request *q = rq->body;
    struct broker *b = rq->b;
    const struct committer by = {q->member_id, q->group_instance_id, q->generation_id_or_member_epoch, false};
    struct commit *c;
    struct store_write *w;
    int64_t at;
    int16_t code;

    os_mutex_lock(b->groups->lock);
    c = check_commit(rq); /* under the lock: a topic's deletion waits for the commits that still found it */
    code = group_may_commit(b, group_find(b, q->group_id), &by);
    if (!code && c->n) {
        w = store_begin(b, committed_on_disk, c);
        for (size_t i = 0; i < c->n; i++)
            store_put_offset(w, q->group_id, &c->list[i], false);
        code = store_send(w, &at);
        b->groups->commits_sent += code == KAFKA_E_NONE;
        for (size_t i = 0; !code && i < c->n; i++) /* the callback waits for the lock */
            c->list[i].at = at + (int64_t)i;
    }
    bool answer = code || !c->n; /* else c is the callback's, and may be gone */
    os_mutex_unlock(b->groups->lock);
    if (answer) {
        set_code(c, code);
        request_reply(rq, c->response);
    }
}

/* -- OffsetFetch ------------------------------------------------------------------------------------------------- */
static void fetch_one(struct request *rq, struct str group, struct str topic, int32_t partition,
                      struct kafka_offset_fetch_partition_response *out)
{
    const struct kafka_offset_fetch_request *q = rq->body;
    const struct group *g = group_find(rq->b, group);
    const struct committed *c = g && topic.p ? committed_find(g, topic, partition) : NULL;

    if (q->require_stable && topic.p && group_txn_unstable(rq->b, group, topic, partition)) {
        c = NULL;
        out->error_code = KAFKA_E_UNSTABLE_OFFSET_COMMIT;
    }

    out->partition_index = partition;
    out->committed_offset = c ? c->offset : -1;
    out->committed_leader_epoch = c ? c->leader_epoch : -1;
    out->metadata = c ? arena_str(rq->arena, c->metadata) : STR("");
}

/* Everything the group has, topic by topic. */
static void fetch_all(struct request *rq, const struct group *g, struct kafka_offset_fetch_group_response *out)
{
    struct map_slot *s;
    size_t n = g ? g->offsets.n : 0;

    out->topics.p = KAFKA_ARRAY(rq->arena, offset_fetch_topic_response, n);
    for (size_t i = 0; g && (s = map_next(&g->offsets, &i));) {
        const struct committed *c = s->value;
        struct kafka_offset_fetch_topic_response *t = NULL;
        struct log_topic known;

        for (int32_t k = 0; k < out->topics.n && !t; k++)
            if (str_eq(out->topics.p[k].name, c->topic))
                t = &out->topics.p[k];
        if (!t) {
            t = &out->topics.p[out->topics.n++];
            t->name = arena_str(rq->arena, c->topic);
            if (log_topic_get(rq->b->log, c->topic, rq->arena, &known))
                t->topic_id = known.id;
            t->partitions.p = KAFKA_ARRAY(rq->arena, offset_fetch_partition_response, n);
        }
        fetch_one(rq, g->id, c->topic, c->partition, &t->partitions.p[t->partitions.n++]);
    }
}

static void fetch_named(struct request *rq, const struct kafka_offset_fetch_group *in,
                        struct kafka_offset_fetch_group_response *out)
{
    bool by_id = rq->version >= 10;

    out->topics.n = in->topics.n;
    out->topics.p = KAFKA_ARRAY(rq->arena, offset_fetch_topic_response, (size_t)in->topics.n);
    for (int32_t i = 0; i < in->topics.n; i++) {
        const struct kafka_offset_fetch_topic *q = &in->topics.p[i];
        struct kafka_offset_fetch_topic_response *t = &out->topics.p[i];
        struct str name = by_id ? topic_name_by_id(rq->b, q->topic_id, rq->arena) : q->name;

        t->name = q->name;
        t->topic_id = q->topic_id;
        t->partitions.n = q->partition_indexes.n;
        t->partitions.p = KAFKA_ARRAY(rq->arena, offset_fetch_partition_response, (size_t)q->partition_indexes.n);
        for (int32_t k = 0; k < q->partition_indexes.n; k++) {
            fetch_one(rq, in->group_id, name, q->partition_indexes.p[k], &t->partitions.p[k]);
            if (!name.p)
                t->partitions.p[k].error_code = KAFKA_E_UNKNOWN_TOPIC_ID;
        }
    }
}

static void fetch_group(struct request *rq, const struct kafka_offset_fetch_group *in,
                        struct kafka_offset_fetch_group_response *out)
{
    const struct group *g = group_find(rq->b, in->group_id);

    out->group_id = in->group_id;
    if (in->topics.n < 0)
        fetch_all(rq, g, out);
    else
        fetch_named(rq, in, out);
}

/* Versions before 8 ask about one group with the older structs: the same answer, put into those. */
static void fetch_old(struct request *rq, const struct kafka_offset_fetch_request *q,
                      struct kafka_offset_fetch_response *r)
{
    struct kafka_offset_fetch_group *in = KAFKA_NEW(rq->arena, offset_fetch_group);
    struct kafka_offset_fetch_group_response *out = KAFKA_NEW(rq->arena, offset_fetch_group_response);

    in->group_id = q->group_id;
    in->topics.n = q->topics.n;
    in->topics.p = q->topics.n > 0 ? KAFKA_ARRAY(rq->arena, offset_fetch_topic, (size_t)q->topics.n) : NULL;
    for (int32_t i = 0; i < q->topics.n; i++) {
        in->topics.p[i].name = q->topics.p[i].name;
        in->topics.p[i].partition_indexes.p = q->topics.p[i].partition_indexes.p;
        in->topics.p[i].partition_indexes.n = q->topics.p[i].partition_indexes.n;
    }
    fetch_group(rq, in, out);
    r->topics.n = out->topics.n;
    r->topics.p = KAFKA_ARRAY(rq->arena, offset_fetch_old_topic_response, (size_t)out->topics.n);
    for (int32_t i = 0; i < out->topics.n; i++) {
        const struct kafka_offset_fetch_topic_response *from = &out->topics.p[i];
        struct kafka_offset_fetch_old_topic_response *to = &r->topics.p[i];

        to->name = from->name;
        to->partitions.n = from->partitions.n;
        to->partitions.p = KAFKA_ARRAY(rq->arena, offset_fetch_old_partition_response, (size_t)from->partitions.n);
        for (int32_t k = 0; k < from->partitions.n; k++) {
            const struct kafka_offset_fetch_partition_response *p = &from->partitions.p[k];

            to->partitions.p[k] = (struct kafka_offset_fetch_old_partition_response){
                p->partition_index, p->committed_offset, p->committed_leader_epoch, p->metadata, p->error_code};
        }
    }
}

void handle_offset_fetch(struct request *rq)
{
    const struct kafka_offset_fetch_request *q = rq->body;
    struct kafka_offset_fetch_response *r = KAFKA_NEW(rq->arena, offset_fetch_response);

    os_mutex_lock(rq->b->groups->lock);
    if (rq->version < 8) {
        fetch_old(rq, q, r);
    } else {
        r->groups.n = q->groups.n;
        r->groups.p = KAFKA_ARRAY(rq->arena, offset_fetch_group_response, (size_t)q->groups.n);
        for (int32_t i = 0; i < q->groups.n; i++)
            fetch_group(rq, &q->groups.p[i], &r->groups.p[i]);
    }
    os_mutex_unlock(rq->b->groups->lock);
    request_reply(rq, r);
}

/* -- DeleteGroups ------------------------------------------------------------------------------------------------ */
struct deletion {
    struct request *rq;
    struct kafka_delete_groups_response *response;
    struct kafka_delete_groups_result *result;
    int *left; /* writes of this request on their way, and one for the handler */
};

static void deletion_done(struct deletion *d)
{
    if (--*d->left == 0)
        request_reply(d->rq, d->response);
}

static void deleted_on_disk(struct broker *b, void *arg, int16_t code)
{
    struct deletion *d = arg;
    struct group *g = group_find(b, d->result->group_id);

    if (code)
        d->result->error_code = KAFKA_E_COORDINATOR_NOT_AVAILABLE;
    else if (g && g->state == GROUP_EMPTY)
        group_drop(b, g);
    deletion_done(d);
}

static void delete_group(struct deletion *d)
{
    struct broker *b = d->rq->b;
    const struct pending_filter all = {.group = d->result->group_id.p ? d->result->group_id : STR(""), .partition = -1};
    struct group *g = group_find(b, d->result->group_id);
    struct store_write *w;
    struct map_slot *s;

    if (g && g->state != GROUP_EMPTY) {
        d->result->error_code = KAFKA_E_NON_EMPTY_GROUP;
        return;
    }
    w = store_begin(b, deleted_on_disk, d);
    if (!group_txn_put_tombstones(b, &all, w) && !g) {
        store_cancel(w);
        d->result->error_code = KAFKA_E_GROUP_ID_NOT_FOUND;
        return;
    }
    for (size_t i = 0; g && (s = map_next(&g->offsets, &i));)
        store_put_offset(w, g->id, s->value, true);
    store_put_group_tombstone(w, d->result->group_id);
    ++*d->left;
    d->result->error_code = store_send(w, NULL);
    if (d->result->error_code)
        --*d->left;
    else
        group_txn_cancel(b, &all); /* what is pended from now on stands behind the tombstones */
}

void handle_delete_groups(struct request *rq)
{
    const struct kafka_delete_groups_request *q = rq->body;
    struct kafka_delete_groups_response *r = KAFKA_NEW(rq->arena, delete_groups_response);
    struct deletion *last = NULL;
    int *left = ARENA_NEW(rq->arena, int);
    struct os_mutex *lock = rq->b->groups->lock; /* the answer may free rq under it */

    *left = 1;
    r->results.n = q->groups_names.n;
    r->results.p = KAFKA_ARRAY(rq->arena, delete_groups_result, (size_t)q->groups_names.n);
    os_mutex_lock(lock);
    for (int32_t i = 0; i < q->groups_names.n; i++) {
        struct deletion *d = ARENA_NEW(rq->arena, struct deletion);

        *d = (struct deletion){rq, r, &r->results.p[i], left};
        d->result->group_id = q->groups_names.p[i];
        delete_group(d);
        last = d;
    }
    if (last)
        deletion_done(last);
    os_mutex_unlock(lock);
    if (!last)
        request_reply(rq, r);
}

/* -- OffsetDelete ------------------------------------------------------------------------------------------------ */
struct forgetting {
    struct request *rq;
    struct kafka_offset_delete_response *response;
};

static void forgotten_on_disk(struct broker *b, void *arg, int16_t code)
{
    struct forgetting *o = arg;
    const struct kafka_offset_delete_request *q = o->rq->body;
    struct group *g = group_find(b, q->group_id);

    o->response->error_code = code ? KAFKA_E_COORDINATOR_NOT_AVAILABLE : KAFKA_E_NONE;
    for (int32_t i = 0; g && !code && i < q->topics.n; i++)
        for (int32_t k = 0; k < q->topics.p[i].partitions.n; k++)
            if (!o->response->topics.p[i].partitions.p[k].error_code)
                committed_remove(g, q->topics.p[i].name, q->topics.p[i].partitions.p[k].partition_index);
    request_reply(o->rq, o->response);
}

/* A consumer's subscription (ConsumerProtocolSubscription): version i16, then an array of topic names. */
static bool subscribes(struct str metadata, struct str topic)
{
    const unsigned char *p = (const unsigned char *)metadata.p, *end = p + metadata.n;
    uint32_t n;

    if (metadata.n < 6)
        return false;
    n = (uint32_t)p[2] << 24 | (uint32_t)p[3] << 16 | (uint32_t)p[4] << 8 | p[5];
    for (p += 6; n-- > 0 && end - p >= 2;) {
        size_t len = (size_t)p[0] << 8 | p[1];

        p += 2;
        if (len > (size_t)(end - p))
            return false;
        if (str_eq(str_make(p, len), topic))
            return true;
        p += len;
    }
    return false;
}

static bool group_subscribes(const struct group *g, struct str topic)
{
    if (!g->protocol_type.p || !str_eqz(g->protocol_type, "consumer"))
        return g->members.n > 0; /* who knows: not while somebody is in it */
    for (size_t i = 0; i < g->members.n; i++)
        for (size_t k = 0; k < g->members.p[i]->protocols.n; k++)
            if (subscribes(g->members.p[i]->protocols.p[k].metadata, topic))
                return true;
    return false;
}

/* Fills the answer and writes the tombstones; the number of them. */
static size_t forget(struct forgetting *o, const struct group *g, struct store_write *w)
{
    struct broker *b = o->rq->b;
    const struct kafka_offset_delete_request *q = o->rq->body;
    struct kafka_offset_delete_response *r = o->response;
    size_t n = 0;

    r->topics.n = q->topics.n;
    r->topics.p = KAFKA_ARRAY(o->rq->arena, offset_delete_topic_response, (size_t)q->topics.n);
    for (int32_t i = 0; i < q->topics.n; i++) {
        struct kafka_offset_delete_topic_response *t = &r->topics.p[i];
        bool busy = group_subscribes(g, q->topics.p[i].name);

        t->name = q->topics.p[i].name;
        t->partitions.n = q->topics.p[i].partitions.n;
        t->partitions.p = KAFKA_ARRAY(o->rq->arena, offset_delete_partition_response, (size_t)t->partitions.n);
        for (int32_t k = 0; k < t->partitions.n; k++) {
            int32_t partition = q->topics.p[i].partitions.p[k].partition_index;
            const struct committed *c = committed_find(g, t->name, partition);

            t->partitions.p[k].partition_index = partition;
            if (busy) {
                t->partitions.p[k].error_code = KAFKA_E_GROUP_SUBSCRIBED_TO_TOPIC;
                continue;
            }
            n += group_txn_put_tombstones(b, &(struct pending_filter){g->id, t->name, partition, false}, w);
            if (c) {
                store_put_offset(w, g->id, c, true);
                n++;
            }
        }
    }
    return n;
}

static void cancel_pending(struct broker *b, struct str group, const struct kafka_offset_delete_topic *in,
                           const struct kafka_offset_delete_topic_response *out)
{
    for (int32_t k = 0; k < in->partitions.n; k++)
        if (!out->partitions.p[k].error_code)
            group_txn_cancel(b, &(struct pending_filter){group, in->name, in->partitions.p[k].partition_index, false});
}

void handle_offset_delete(struct request *rq)
{
    const struct kafka_offset_delete_request *q = rq->body;
    struct forgetting *o = ARENA_NEW(rq->arena, struct forgetting);
    struct store_write *w = NULL;
    struct group *g;
    size_t n = 0;

    *o = (struct forgetting){rq, KAFKA_NEW(rq->arena, offset_delete_response)};
    os_mutex_lock(rq->b->groups->lock);
    g = group_find(rq->b, q->group_id);
    if (!g) {
        o->response->error_code = KAFKA_E_GROUP_ID_NOT_FOUND;
    } else {
        w = store_begin(rq->b, forgotten_on_disk, o);
        n = forget(o, g, w);
        if (n) {
            o->response->error_code = store_send(w, NULL);
            n = o->response->error_code == KAFKA_E_NONE;
            for (int32_t i = 0; n && i < q->topics.n; i++)
                cancel_pending(rq->b, g->id, &q->topics.p[i], &o->response->topics.p[i]);
        } else {
            store_cancel(w);
        }
    }
    os_mutex_unlock(rq->b->groups->lock);
    if (!n)
        request_reply(rq, o->response);
}
