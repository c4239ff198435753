/*
 * __consumer_offsets: groups and their offsets as records in Kafka's formats, so that its tools read them.
 *   key 1 {group, topic, partition} → value 3 {offset, leader epoch, metadata, time}; key 2 {group} → value 3 {members …};
 *   a null value forgets. The layouts are rows of spec/kafka/records.def.
 * The topic has one partition: all appends share one journal anyway, and start-up reads one file.
 */
#include "broker/group_int.h"

#include "base/memory.h"
#include "log/batch.h"

#include <stdio.h>

enum { KEY_OFFSET_OLD = 0, KEY_OFFSET = 1, KEY_GROUP = 2, VALUE_VERSION = 3, VALUE_FLEXIBLE = 4 };

/* -- offsets in memory ------------------------------------------------------------------------------------------- */
static struct str offset_key(char room[300], struct str topic, int32_t partition)
{
    size_t n = topic.n < 260 ? topic.n : 260;

    memcpy(room, topic.p, n);
    room[n++] = '/';
    memcpy(room + n, &partition, sizeof partition);
    return str_make(room, n + sizeof partition);
}

struct committed *committed_find(const struct group *g, struct str topic, int32_t partition)
{
    char room[300];

    return map_get(&g->offsets, offset_key(room, topic, partition));
}

void committed_remove(struct group *g, struct str topic, int32_t partition)
{
    char room[300];
    struct committed *c = map_del(&g->offsets, offset_key(room, topic, partition));

    if (!c)
        return;
    disown(&c->topic);
    disown(&c->metadata);
    free(c);
}

void committed_put(struct group *g, const struct committed *in)
{
    char room[300];
    struct committed *c = malloc(sizeof *c);

    if (!c)
        memory_out("a committed offset");
    committed_remove(g, in->topic, in->partition);
    *c = *in;
    c->topic = own(in->topic);
    c->metadata = own(in->metadata.p ? in->metadata : STR(""));
    map_put(&g->offsets, offset_key(room, in->topic, in->partition), c);
}

/* -- writing ----------------------------------------------------------------------------------------------------- */
struct store_write *store_begin(struct broker *b, void (*done)(struct broker *b, void *arg, int16_t code), void *arg)
{
    struct store_write *w = calloc(1, sizeof *w);

    if (!w || !(w->batch = calloc(1, sizeof *w->batch)))
        memory_out("offsets to store");
    w->b = b;
    w->done = done;
    w->arg = arg;
    batch_begin(w->batch, &w->bytes, os_now_ms(), 0);
    return w;
}

static void write_free(struct store_write *w)
{
    buf_free(&w->bytes);
    free(w->batch);
    free(w);
}

void store_cancel(struct store_write *w)
{
    write_free(w);
}

/* One record: the version word, then the message. value NULL: a tombstone. */
static void put_record(struct store_write *w, int16_t key_version, const struct kafka_shape *key_shape, const void *key,
                       const struct kafka_shape *value_shape, const void *value)
{
    struct buf k = {0}, v = {0};

    buf_u16be(&k, (uint16_t)key_version);
    kafka_encode(key_shape, key_version, false, key, &k, NULL);
    if (value) {
        buf_u16be(&v, VALUE_VERSION);
        kafka_encode(value_shape, VALUE_VERSION, false, value, &v, NULL);
    }
    batch_record(w->batch, os_now_ms(), buf_whole(&k, "a group's record"),
                 value ? buf_whole(&v, "a group's record") : (struct str){NULL, 0}, NULL, 0);
    buf_free(&k);
    buf_free(&v);
}

void store_put_offset(struct store_write *w, struct str group, const struct committed *c, bool tombstone)
{
    struct kafka_offset_key key = {group, c->topic, c->partition};
    struct kafka_offset_value value = {.offset = c->offset,
                                       .leader_epoch = c->leader_epoch,
                                       .metadata = c->metadata.p ? c->metadata : STR(""),
                                       .commit_timestamp = c->timestamp_ms,
                                       .expire_timestamp = -1};

    put_record(w, KEY_OFFSET, kafka_shape_offset_key(), &key, kafka_shape_offset_value(), tombstone ? NULL : &value);
}

void store_put_group_tombstone(struct store_write *w, struct str group)
{
    struct kafka_group_key key = {group};

    put_record(w, KEY_GROUP, kafka_shape_group_key(), &key, NULL, NULL);
}

/* On the timer thread, in the order of the log. */
static void finish_write(void *arg)
{
    struct store_write *w = arg;
    struct broker *b = w->b;

    os_mutex_lock(b->groups->lock);
    if (w->done)
        w->done(b, w->arg, w->code);
    os_mutex_unlock(b->groups->lock);
    write_free(w);
    atomic_fetch_sub(&b->live_requests, 1);
}

static void written(void *arg, const struct log_append_result *r)
{
    struct store_write *w = arg;

    w->code = (int16_t)r->status;
    clockwork_now(&w->b->clock, finish_write, w);
}

/* What a client is told when the offsets topic refuses: as Kafka translates it. */
static int16_t store_code(enum log_status s)
{
    switch (s) {
    case LOG_OK:
        return KAFKA_E_NONE;
    case LOG_MESSAGE_TOO_LARGE:
    case LOG_RECORD_LIST_TOO_LARGE:
        return KAFKA_E_INVALID_COMMIT_OFFSET_SIZE;
    case LOG_UNKNOWN_TOPIC:
        return KAFKA_E_NOT_COORDINATOR;
    default:
        return KAFKA_E_COORDINATOR_NOT_AVAILABLE;
    }
}

int16_t store_send(struct store_write *w, int64_t *at)
{
    struct broker *b = w->b;
    struct log_append_result result;
    struct fault f;
    enum log_status status = LOG_STORAGE_ERROR;

    atomic_fetch_add(&b->live_requests, 1);
    if (batch_end(w->batch, &f) || w->bytes.bad)
        os_log(OS_ERROR, "broker", "an offsets record could not be made");
    else
        status = log_append_as(b->groups->store, w->origin, w->bytes.p, w->bytes.n, written, w, &result);
    if (status == LOG_OK && at)
        *at = result.base_offset;
    if (status == LOG_OK)
        return KAFKA_E_NONE;
    atomic_fetch_sub(&b->live_requests, 1);
    write_free(w);
    return store_code(status);
}

static struct str chosen_metadata(const struct member *m, struct str protocol)
{
    for (size_t i = 0; i < m->protocols.n; i++)
        if (protocol.p && str_eq(m->protocols.p[i].name, protocol))
            return m->protocols.p[i].metadata;
    return STR("");
}

bool store_group(struct broker *b, struct group *g, void (*done)(struct broker *b, void *arg, int16_t code), void *arg)
{
    struct store_write *w = store_begin(b, done, arg);
    struct kafka_group_key key = {g->id};
    struct kafka_group_value value = {.protocol_type = g->protocol_type.p ? g->protocol_type : STR(""),
                                      .generation = g->generation,
                                      .protocol = g->protocol,
                                      .leader = g->leader,
                                      .current_state_timestamp = g->since_ms};

    value.members.n = (int32_t)g->members.n;
    value.members.p = calloc(g->members.n + 1, sizeof *value.members.p);
    if (!value.members.p)
        memory_out("a group's members");
    for (size_t i = 0; i < g->members.n; i++) {
        const struct member *m = g->members.p[i];

        value.members.p[i] = (struct kafka_group_member_value){.member_id = m->id,
                                                               .group_instance_id = m->instance,
                                                               .client_id = m->client_id,
                                                               .client_host = m->client_host,
                                                               .rebalance_timeout = m->rebalance_ms,
                                                               .session_timeout = m->session_ms,
                                                               .subscription = chosen_metadata(m, g->protocol),
                                                               .assignment = m->assignment};
    }
    put_record(w, KEY_GROUP, kafka_shape_group_key(), &key, kafka_shape_group_value(), &value);
    free(value.members.p);
    return store_send(w, NULL) == KAFKA_E_NONE;
}

/* -- reading at start -------------------------------------------------------------------------------------------- */
struct loading { /* of one record */
    struct broker *b;
    int64_t producer_id; /* of the transaction that it belongs to, or -1 */
    int64_t at;
};

static bool version_word(struct str *s, int16_t *version)
{
    if (s->n < 2)
        return false;
    *version = (int16_t)((unsigned char)s->p[0] << 8 | (unsigned char)s->p[1]);
    *s = str_make(s->p + 2, s->n - 2);
    return true;
}

CHECK static enum err load_offset(struct loading *l, struct str key_bytes, int16_t key_version, struct str value_bytes,
                                  struct arena *a, struct fault *f)
{
    struct broker *b = l->b;
    struct kafka_offset_key key;
    struct kafka_offset_value value;
    struct group *g;
    int16_t version;
    enum err e = kafka_decode(kafka_shape_offset_key(), key_version, false, key_bytes, a, &key, NULL, f);

    if (e)
        return e;
    g = group_find(b, key.group);
    if (!value_bytes.p) {
        if (g)
            committed_remove(g, key.topic, key.partition);
        group_txn_cancel(b, &(struct pending_filter){key.group, key.topic, key.partition, false});
        return ERR_OK;
    }
    if (!version_word(&value_bytes, &version) || version < 0 || version > VALUE_FLEXIBLE)
        return FAULT(f, ERR_VERSION, {"what", "a committed offset"}, {"format", "unknown"});
    e = kafka_decode(kafka_shape_offset_value(), version, version >= VALUE_FLEXIBLE, value_bytes, a, &value, NULL, f);
    if (e)
        return e;
    struct committed c = {key.topic,    value.metadata,         key.partition, value.leader_epoch,
                          value.offset, value.commit_timestamp, l->at};
    if (l->producer_id >= 0)
        group_txn_pend(b, l->producer_id, key.group, &c);
    else
        committed_put(g ? g : group_make(b, key.group), &c);
    return ERR_OK;
}

static void clear_members(struct broker *b, struct group *g)
{
    while (g->members.n)
        group_remove(b, g, g->members.p[g->members.n - 1]);
    disown(&g->leader);
    disown(&g->protocol);
    disown(&g->protocol_type);
}

static void load_member(struct broker *b, struct group *g, const struct kafka_group_member_value *v)
{
    struct member *m = calloc(1, sizeof *m);

    if (!m)
        memory_out("a member");
    m->id = own(v->member_id);
    m->instance = own(v->group_instance_id);
    m->client_id = own(v->client_id);
    m->client_host = own(v->client_host);
    m->session_ms = v->session_timeout;
    m->rebalance_ms = v->rebalance_timeout > 0 ? v->rebalance_timeout : v->session_timeout;
    m->assignment = own(v->assignment);
    m->synced = true;
    vec_push(&m->protocols, ((struct protocol){own(g->protocol.p ? g->protocol : STR("")), own(v->subscription)}));
    vec_push(&g->members, m);
    b->groups->nmembers++;
}

CHECK static enum err load_group(struct broker *b, struct str key_bytes, struct str value_bytes, struct arena *a,
                                 struct fault *f)
{
    struct kafka_group_key key;
    struct kafka_group_value value;
    struct group *g;
    int16_t version;
    enum err e = kafka_decode(kafka_shape_group_key(), KEY_GROUP, false, key_bytes, a, &key, NULL, f);

    if (e)
        return e;
    g = group_find(b, key.group);
    if (!value_bytes.p) {
        if (g)
            group_drop(b, g);
        return ERR_OK;
    }
    if (!version_word(&value_bytes, &version) || version < 0 || version > VALUE_FLEXIBLE)
        return FAULT(f, ERR_VERSION, {"what", "a consumer group"}, {"format", "unknown"});
    e = kafka_decode(kafka_shape_group_value(), version, version >= VALUE_FLEXIBLE, value_bytes, a, &value, NULL, f);
    if (e)
        return e;
    g = g ? g : group_make(b, key.group);
    clear_members(b, g);
    g->protocol_type = own(value.protocol_type);
    g->generation = value.generation;
    g->protocol = own(value.protocol);
    g->leader = own(value.leader);
    for (int32_t i = 0; i < value.members.n; i++)
        load_member(b, g, &value.members.p[i]);
    g->state = g->members.n ? GROUP_STABLE : GROUP_EMPTY;
    g->since_ms = value.current_state_timestamp > 0 ? value.current_state_timestamp : os_now_ms();
    return ERR_OK;
}

CHECK static enum err load_record(struct loading *l, const struct record *r, struct arena *a, struct fault *f)
{
    struct str key = r->key;
    int16_t version;

    if (!key.p || !version_word(&key, &version))
        return FAULT(f, ERR_CORRUPT, {"what", "__consumer_offsets"}, {"detail", "a record without a key"});
    if (version == KEY_OFFSET_OLD || version == KEY_OFFSET)
        return load_offset(l, key, version, r->value, a, f);
    if (version == KEY_GROUP)
        return load_group(l->b, key, r->value, a, f);
    return ERR_OK; /* a later Kafka's kinds of group: not ours to read */
}

/* A marker decides what stands before it of its producer, as it did when it was written. */
CHECK static enum err load_batch(void *broker, const struct batch *batch, struct arena *a, struct fault *f)
{
    struct broker *b = broker;
    struct loading l = {b, batch->attributes & BATCH_TRANSACTIONAL ? batch->producer_id : -1, 0};
    struct batch_marker marker;
    struct record_iter it;
    struct record r;
    bool got = true;
    enum err e;

    if (batch->attributes & BATCH_CONTROL) {
        if (batch_marker_parse(batch, &marker))
            group_txn_settle(b, batch->producer_id, marker.commit);
        return ERR_OK;
    }
    e = records_begin(&it, batch, a, LIMIT_UNPACKED_BYTES, f);
    while (!e && !(e = records_next(&it, &r, &got, f)) && got) {
        l.at = r.offset;
        e = load_record(&l, &r, a, f);
    }
    return e;
}

/* Members that were there before the stop have a session's time to be heard of again. */
static void wake_members(struct broker *b)
{
    struct map_slot *s;

    os_mutex_lock(b->groups->lock);
    for (size_t i = 0; (s = map_next(&b->groups->by_id, &i));) {
        struct group *g = s->value;

        for (size_t k = 0; k < g->members.n; k++)
            member_alive(b, g->members.p[k]);
    }
    os_mutex_unlock(b->groups->lock);
}

enum err store_load(struct broker *b, struct fault *f)
{
    static const struct log_config configs[] = {{{"cleanup.policy", 14}, {"compact", 7}},
                                                {{"compression.type", 16}, {"producer", 8}},
                                                /* a group of thousands of members or offsets is one batch */
                                                {{"max.message.bytes", 17}, {"52428800", 8}},
                                                {{"segment.bytes", 13}, {"104857600", 9}}};
    enum err e = store_open(b, OFFSETS_TOPIC, configs, sizeof configs / sizeof configs[0], &b->groups->store, f);

    if (!e)
        e = store_each_batch(b->groups->store, "__consumer_offsets", load_batch, b, f);
    if (!e)
        e = offsets_forget_missing(b, f);
    if (!e)
        wake_members(b);
    return e;
}
