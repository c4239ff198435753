/* The driver without a library: clusters in memory. foreign_memory.h says what for. */
#include "base/memory.h"
#include "base/vec.h"
#include "foreign/foreign_int.h"
#include "foreign/foreign_memory.h"

#include <stdio.h>
#include <stdlib.h>

enum visibility { VISIBLE, OPEN, ABORTED, MARKER };
struct record {
    struct str key, value; /* malloc'ed; p NULL: null */
    int64_t timestamp_ms;
    enum visibility visibility;
    uint64_t transaction; /* 0: none */
    struct foreign_header *headers;
    size_t nheaders;
};
struct partition {
    VEC(struct record) records; /* of all offsets; below log_start they are gone */
    int64_t log_start;
};
struct topic {
    char name[256];
    int32_t n;
    struct partition *partitions;
};
struct group_offset {
    char group[300], topic[256];
    int32_t partition;
    int64_t offset;
    char metadata[512];
    uint64_t transaction; /* pending */
};
struct incarnation { /* of a transactional id */
    char id[300];
    int epoch;
    uint64_t transaction; /* open one, 0: none */
};
struct cluster {
    char name[256];
    VEC(struct topic *) topics;
    VEC(struct group_offset) offsets;
    VEC(struct incarnation) incarnations;
    bool is_down;
    int refuse;
    char refuse_text[128], id[64];
};
struct foreign_client {
    struct foreign_client_options o;
    struct cluster *cluster;
    char id[300];
    int epoch;
};
struct foreign_tail {
    struct foreign_client *client;
    char topic[256];
    int32_t partition;
    int64_t at;
    void (*ready)(void *arg);
    void *arg;
};
struct message { /* a copy */
    struct record record;
    int64_t offset;
    bool is_out_of_range;
};

static struct os_mutex *lock; /* of everything */
static VEC(struct cluster *) clusters;
static VEC(struct foreign_tail *) tails;
static uint64_t transactions;

/* -- what there is -------------------------------------------------------------------------------------------------------- */

static void enter(void)
{
    if (!lock)
        lock = os_mutex_new();
    os_mutex_lock(lock);
}

static void leave(void)
{
    os_mutex_unlock(lock);
}

static struct str copy(struct str s)
{
    char *p = malloc(s.n + 1);
    if (!p)
        memory_out("a record in memory");
    if (s.n)
        memcpy(p, s.p, s.n);
    return s.p ? str_make(p, s.n) : (free(p), (struct str){0});
}

static struct cluster *cluster_of(struct str name)
{
    for (size_t i = 0; i < clusters.n; i++)
        if (str_eqz(name, clusters.p[i]->name))
            return clusters.p[i];
    struct cluster *c = calloc(1, sizeof *c);
    if (!c)
        memory_out("a cluster in memory");
    snprintf(c->name, sizeof c->name, "%.*s", STR_ARG(name));
    vec_push(&clusters, c);
    return c;
}

static struct topic *topic_of(struct cluster *c, struct str name)
{
    for (size_t i = 0; i < c->topics.n; i++)
        if (str_eqz(name, c->topics.p[i]->name))
            return c->topics.p[i];
    return NULL;
}

static struct partition *partition_of(struct cluster *c, struct str topic, int32_t partition)
{
    struct topic *t = topic_of(c, topic);
    return t && partition >= 0 && partition < t->n ? &t->partitions[partition] : NULL;
}

static void record_free(struct record *r)
{
    free((char *)r->key.p);
    free((char *)r->value.p);
    for (size_t i = 0; i < r->nheaders; i++) {
        free((char *)r->headers[i].key.p);
        free((char *)r->headers[i].value.p);
    }
    free(r->headers);
}

static struct record record_copy(const struct record *r)
{
    struct record c = *r;
    c.key = copy(r->key);
    c.value = copy(r->value);
    c.headers = calloc(r->nheaders + 1, sizeof *c.headers);
    for (size_t i = 0; c.headers && i < r->nheaders; i++)
        c.headers[i] = (struct foreign_header){copy(r->headers[i].key), copy(r->headers[i].value)};
    return c;
}

static void topic_free(struct topic *t)
{
    for (int32_t i = 0; i < t->n; i++) {
        for (size_t k = 0; k < t->partitions[i].records.n; k++)
            record_free(&t->partitions[i].records.p[k]);
        vec_free(&t->partitions[i].records);
    }
    free(t->partitions);
    free(t);
}

static struct topic *topic_make(struct cluster *c, struct str name, int32_t n)
{
    struct topic *t = calloc(1, sizeof *t);
    if (!t || !(t->partitions = calloc((size_t)n, sizeof *t->partitions)))
        memory_out("a topic in memory");
    snprintf(t->name, sizeof t->name, "%.*s", STR_ARG(name));
    t->n = n;
    vec_push(&c->topics, t);
    return t;
}

static int64_t end_of(const struct partition *p, bool read_committed)
{
    for (size_t i = 0; read_committed && i < p->records.n; i++)
        if (p->records.p[i].visibility == OPEN)
            return (int64_t)i;
    return (int64_t)p->records.n;
}

static void notify(void)
{
    for (size_t i = 0; i < tails.n; i++)
        tails.p[i]->ready(tails.p[i]->arg);
}

static int64_t append(struct partition *p, const struct record *r)
{
    vec_push(&p->records, record_copy(r));
    notify();
    return (int64_t)p->records.n - 1;
}

/* Every record and offset of the transaction; a marker in each partition it wrote to. */
static void finish(struct cluster *c, uint64_t transaction, bool commit)
{
    for (size_t i = 0; i < c->topics.n; i++)
        for (int32_t k = 0; k < c->topics.p[i]->n; k++) {
            struct partition *p = &c->topics.p[i]->partitions[k];
            bool touched = false;
            for (size_t j = 0; j < p->records.n; j++)
                if (p->records.p[j].transaction == transaction && p->records.p[j].visibility == OPEN) {
                    p->records.p[j].visibility = commit ? VISIBLE : ABORTED;
                    touched = true;
                }
            if (touched)
                append(p, &(struct record){.visibility = MARKER});
        }
    for (size_t i = 0; i < c->offsets.n;) {
        struct group_offset *o = &c->offsets.p[i++];
        if (o->transaction != transaction)
            continue;
        o->transaction = 0;
        if (!commit)
            c->offsets.p[--i] = c->offsets.p[--c->offsets.n];
    }
}

/* -- the driver: asking -------------------------------------------------------------------------------------------------------- */

static enum foreign_status say(struct foreign_answer *why, enum foreign_status s, const char *text)
{
    *why = (struct foreign_answer){.status = s};
    snprintf(why->text, sizeof why->text, "%s", text);
    return s;
}

static enum foreign_status open_(const struct foreign_client_options *o, struct foreign_client **out,
                                 struct foreign_answer *why)
{
    struct foreign_client *k = calloc(1, sizeof *k);
    if (!k)
        return say(why, FOREIGN_REFUSED, "out of memory");
    enter();
    k->o = *o;
    k->cluster = cluster_of(o->config->bootstrap);
    snprintf(k->id, sizeof k->id, "%s", o->transactional_id ? o->transactional_id : "");
    leave();
    *out = k;
    return say(why, FOREIGN_DONE, "");
}

static void close_(struct foreign_client *k)
{
    free(k);
}

static void trouble(struct foreign_client *k, char *out, size_t cap)
{
    snprintf(out, cap, "%s", k->cluster->is_down ? "Connection refused" : "");
}

/* Under the lock: is anybody there? Not: the caller has waited `ms`. */
static enum foreign_status there(struct foreign_client *k, int64_t ms, struct foreign_answer *why)
{
    if (!k->cluster->is_down)
        return say(why, FOREIGN_DONE, "");
    leave();
    os_sleep_ms(ms < 20 ? ms : 20);
    enter();
    return say(why, FOREIGN_TIMEOUT, "Local: Timed out (Connection refused)");
}

static enum foreign_status cluster_id(struct foreign_client *k, int64_t ms, struct arena *a, struct str *id,
                                      struct foreign_answer *why)
{
    enter();
    enum foreign_status s = there(k, ms, why);
    if (!s)
        *id = arena_str(a, str_of(k->cluster->id));
    leave();
    return s;
}

static enum foreign_status topics(struct foreign_client *k, struct str name, int64_t ms, struct arena *a,
                                  struct foreign_topic **out, size_t *n, struct foreign_answer *why)
{
    enter();
    enum foreign_status s = there(k, ms, why);
    struct cluster *c = k->cluster;
    if (!s && name.p && !topic_of(c, name) && k->o.kind == CLIENT_PRODUCER)
        topic_make(c, name, 1);
    *out = ARENA_ARRAY(a, c->topics.n + 1, struct foreign_topic);
    *n = 0;
    for (size_t i = 0; !s && i < c->topics.n; i++)
        if (!name.p || str_eqz(name, c->topics.p[i]->name))
            (*out)[(*n)++] = (struct foreign_topic){arena_str(a, str_of(c->topics.p[i]->name)), c->topics.p[i]->n};
    leave();
    return s;
}

static int64_t at_time(const struct partition *p, int64_t ms)
{
    for (size_t i = (size_t)p->log_start; i < p->records.n; i++)
        if (p->records.p[i].timestamp_ms >= ms)
            return (int64_t)i;
    return -1;
}

static enum foreign_status offsets(struct foreign_client *k, struct foreign_offset *o, size_t n, int64_t ms,
                                   struct foreign_answer *why)
{
    enter();
    enum foreign_status s = there(k, ms, why);
    for (size_t i = 0; !s && i < n; i++)
        if (!partition_of(k->cluster, o[i].topic, o[i].partition))
            s = say(why, FOREIGN_GONE, "Broker: Unknown topic or partition");
    for (size_t i = 0; !s && i < n; i++) {
        const struct partition *p = partition_of(k->cluster, o[i].topic, o[i].partition);
        o[i].at = o[i].at == FOREIGN_EARLIEST ? p->log_start
                  : o[i].at == FOREIGN_LATEST ? end_of(p, k->o.config->read_committed)
                                              : at_time(p, o[i].at);
    }
    leave();
    return s;
}

/* -- the driver: tails ---------------------------------------------------------------------------------------------------------- */

static enum foreign_status tail_start(struct foreign_client *k, struct str topic, int32_t partition, int64_t at,
                                      void (*ready)(void *arg), void *arg, struct foreign_tail **out,
                                      struct foreign_answer *why)
{
    struct foreign_tail *t = calloc(1, sizeof *t);
    if (!t)
        return say(why, FOREIGN_REFUSED, "out of memory");
    *t = (struct foreign_tail){.client = k, .partition = partition, .at = at, .ready = ready, .arg = arg};
    snprintf(t->topic, sizeof t->topic, "%.*s", STR_ARG(topic));
    enter();
    vec_push(&tails, t);
    leave();
    *out = t;
    return say(why, FOREIGN_DONE, "");
}

static void tail_stop(struct foreign_tail *t)
{
    enter();
    for (size_t i = 0; i < tails.n; i++)
        if (tails.p[i] == t)
            tails.p[i] = tails.p[--tails.n];
    leave();
    free(t);
}

static int tail_take(struct foreign_tail *t, void **messages, int cap, int64_t *at)
{
    int n = 0;
    enter();
    bool read_committed = t->client->o.config->read_committed;
    const struct partition *p =
        t->client->cluster->is_down ? NULL : partition_of(t->client->cluster, str_of(t->topic), t->partition);
    int64_t end = p ? end_of(p, read_committed) : 0;
    bool is_out = p && (t->at < p->log_start || t->at > (int64_t)p->records.n);
    for (; p && n < cap && (is_out || t->at < end); t->at++) {
        struct message *m;
        const struct record *r = is_out ? NULL : &p->records.p[t->at];
        if (r && (r->visibility == MARKER || (read_committed && r->visibility == ABORTED)))
            continue;
        if (!(m = calloc(1, sizeof *m)))
            memory_out("a message in memory");
        m->offset = t->at;
        m->is_out_of_range = is_out;
        if (r)
            m->record = record_copy(r);
        messages[n++] = m;
        if (is_out)
            break;
    }
    if (!is_out)
        *at = t->at;
    leave();
    return n;
}

static enum foreign_status look(void *message, struct foreign_record *out, struct foreign_answer *why)
{
    struct message *m = message;
    *out = (struct foreign_record){.key = m->record.key,
                                   .value = m->record.value,
                                   .offset = m->offset,
                                   .timestamp_ms = m->record.timestamp_ms,
                                   .message = m};
    return m->is_out_of_range ? say(why, FOREIGN_RANGE, "Broker: Offset out of range") : say(why, FOREIGN_DONE, "");
}

static size_t headers(void *message, struct arena *a, struct foreign_header **out)
{
    (void)a;
    *out = ((struct message *)message)->record.headers;
    return ((struct message *)message)->record.nheaders;
}

static void release(void *message)
{
    record_free(&((struct message *)message)->record);
    free(message);
}

/* -- the driver: producers -------------------------------------------------------------------------------------------------------- */

static struct incarnation *incarnation(struct foreign_client *k)
{
    for (size_t i = 0; i < k->cluster->incarnations.n; i++)
        if (!strcmp(k->cluster->incarnations.p[i].id, k->id))
            return &k->cluster->incarnations.p[i];
    vec_push(&k->cluster->incarnations, (struct incarnation){0});
    struct incarnation *i = &k->cluster->incarnations.p[k->cluster->incarnations.n - 1];
    snprintf(i->id, sizeof i->id, "%s", k->id);
    return i;
}

/* Under the lock: may this producer still act? */
static enum foreign_status mine(struct foreign_client *k, struct foreign_answer *why)
{
    enum foreign_status s = there(k, 20, why);
    return s || !*k->id || incarnation(k)->epoch == k->epoch
               ? s
               : say(why, FOREIGN_FENCED, "Broker: There is a newer producer with the same transactionalId");
}

static enum foreign_status init(struct foreign_client *k, int64_t ms, struct foreign_answer *why)
{
    enter();
    enum foreign_status s = there(k, ms, why);
    if (!s) {
        struct incarnation *i = incarnation(k);
        if (i->transaction)
            finish(k->cluster, i->transaction, false);
        i->transaction = 0;
        k->epoch = ++i->epoch;
    }
    leave();
    return s;
}

static enum foreign_status begin(struct foreign_client *k, struct foreign_answer *why)
{
    enter();
    enum foreign_status s = mine(k, why);
    if (!s)
        incarnation(k)->transaction = ++transactions;
    leave();
    return s;
}

static enum foreign_status produce(struct foreign_client *k, const char *topic, int32_t partition, struct str key,
                                   struct str value, const struct foreign_header *h, size_t nh, int64_t timestamp_ms,
                                   struct foreign_answer *why)
{
    enter();
    enum foreign_status s = mine(k, why);
    struct topic *t = topic_of(k->cluster, str_of(topic));
    if (!s && !t)
        t = topic_make(k->cluster, str_of(topic), 1);
    if (!s && partition >= t->n)
        s = say(why, FOREIGN_GONE, "Local: Unknown partition");
    if (!s && k->cluster->refuse > 0) {
        k->cluster->refuse--;
        say(why, FOREIGN_REFUSED, k->cluster->refuse_text);
        k->o.delivered(k->o.arg, why, topic);
    } else if (!s) {
        uint64_t transaction = *k->id ? incarnation(k)->transaction : 0;
        struct record r = {.key = key,
                           .value = value,
                           .timestamp_ms = timestamp_ms < 0 ? os_now_ms() : timestamp_ms,
                           .visibility = transaction ? OPEN : VISIBLE,
                           .transaction = transaction,
                           .headers = (struct foreign_header *)h,
                           .nheaders = nh};
        append(&t->partitions[partition < 0 ? 0 : partition], &r);
        k->o.delivered(k->o.arg, why, topic);
    }
    leave();
    return s;
}

static void serve(struct foreign_client *k, int64_t ms)
{
    (void)k;
    if (ms)
        os_sleep_ms(1);
}

static int unsent(struct foreign_client *k)
{
    (void)k;
    return 0;
}

static void purge(struct foreign_client *k)
{
    (void)k;
}

static enum foreign_status send_offset(struct foreign_client *k, const char *group, const char *topic,
                                       int32_t partition, int64_t offset, struct str metadata, int64_t ms,
                                       struct foreign_answer *why)
{
    (void)ms;
    enter();
    enum foreign_status s = mine(k, why);
    if (!s) {
        struct group_offset o = {.partition = partition, .offset = offset, .transaction = incarnation(k)->transaction};
        snprintf(o.group, sizeof o.group, "%s", group);
        snprintf(o.topic, sizeof o.topic, "%s", topic);
        snprintf(o.metadata, sizeof o.metadata, "%.*s", STR_ARG(metadata));
        vec_push(&k->cluster->offsets, o);
    }
    leave();
    return s;
}

static enum foreign_status end(struct foreign_client *k, bool commit, int64_t ms, struct foreign_answer *why)
{
    (void)ms;
    enter();
    enum foreign_status s = mine(k, why);
    if (!s) {
        finish(k->cluster, incarnation(k)->transaction, commit);
        incarnation(k)->transaction = 0;
    }
    leave();
    return s;
}

static enum foreign_status group_offset(struct foreign_client *k, const char *group, const char *topic,
                                        int32_t partition, int64_t ms, struct arena *a, int64_t *offset,
                                        struct str *metadata, struct foreign_answer *why)
{
    enter();
    enum foreign_status s = there(k, ms, why);
    *offset = -1;
    *metadata = STR("");
    for (size_t i = 0; !s && i < k->cluster->offsets.n; i++) {
        struct group_offset *o = &k->cluster->offsets.p[i];
        if (strcmp(o->group, group) || strcmp(o->topic, topic) || o->partition != partition)
            continue;
        if (o->transaction)
            s = say(why, FOREIGN_AGAIN, "Broker: There are unstable offsets that need to be cleared");
        *offset = o->offset;
        *metadata = arena_str(a, str_of(o->metadata));
    }
    leave();
    return s;
}

const struct foreign_driver FOREIGN_MEMORY = {
    .name = "memory",
    .open = open_,
    .close = close_,
    .trouble = trouble,
    .cluster_id = cluster_id,
    .topics = topics,
    .offsets = offsets,
    .tail_start = tail_start,
    .tail_stop = tail_stop,
    .tail_take = tail_take,
    .look = look,
    .headers = headers,
    .release = release,
    .produce = produce,
    .serve = serve,
    .unsent = unsent,
    .flush = serve,
    .purge = purge,
    .init = init,
    .begin = begin,
    .send_offset = send_offset,
    .end = end,
    .group_offset = group_offset,
};

/* -- what tests do ------------------------------------------------------------------------------------------------------------------- */

void memory_reset(void)
{
    enter();
    for (size_t i = 0; i < clusters.n; i++) {
        struct cluster *c = clusters.p[i];
        for (size_t k = 0; k < c->topics.n; k++)
            topic_free(c->topics.p[k]);
        vec_free(&c->topics);
        vec_free(&c->offsets);
        vec_free(&c->incarnations);
        free(c);
    }
    vec_free(&clusters);
    vec_free(&tails);
    leave();
}

void memory_topic_delete(const char *cluster, const char *topic)
{
    enter();
    struct cluster *c = cluster_of(str_of(cluster));
    for (size_t i = 0; i < c->topics.n; i++)
        if (!strcmp(c->topics.p[i]->name, topic)) {
            topic_free(c->topics.p[i]);
            c->topics.p[i] = c->topics.p[--c->topics.n];
            break;
        }
    notify();
    leave();
}

void memory_topic(const char *cluster, const char *topic, int32_t partitions)
{
    memory_topic_delete(cluster, topic);
    enter();
    topic_make(cluster_of(str_of(cluster)), str_of(topic), partitions);
    leave();
}

int64_t memory_append(const char *cluster, const char *topic, int32_t partition, const char *key, const char *value)
{
    enter();
    struct record r = {.key = str_of(key), .value = str_of(value), .timestamp_ms = os_now_ms()};
    int64_t offset = append(partition_of(cluster_of(str_of(cluster)), str_of(topic), partition), &r);
    leave();
    return offset;
}

void memory_transaction(const char *cluster, const char *topic, int32_t partition, const char *const *values, int n,
                        char how)
{
    enter();
    struct cluster *c = cluster_of(str_of(cluster));
    uint64_t transaction = ++transactions;
    for (int i = 0; i < n; i++)
        append(partition_of(c, str_of(topic), partition), &(struct record){.value = str_of(values[i]),
                                                                           .timestamp_ms = os_now_ms(),
                                                                           .visibility = OPEN,
                                                                           .transaction = transaction});
    if (how != 'o')
        finish(c, transaction, how == 'c');
    leave();
}

void memory_cut(const char *cluster, const char *topic, int32_t partition, int64_t log_start)
{
    enter();
    partition_of(cluster_of(str_of(cluster)), str_of(topic), partition)->log_start = log_start;
    leave();
}

void memory_id(const char *cluster, const char *id)
{
    enter();
    struct cluster *c = cluster_of(str_of(cluster));
    snprintf(c->id, sizeof c->id, "%s", id);
    leave();
}

void memory_down(const char *cluster, bool is_down)
{
    enter();
    cluster_of(str_of(cluster))->is_down = is_down;
    notify();
    leave();
}

void memory_refuse(const char *cluster, int n, const char *text)
{
    enter();
    struct cluster *c = cluster_of(str_of(cluster));
    c->refuse = n;
    snprintf(c->refuse_text, sizeof c->refuse_text, "%s", text);
    leave();
}

bool memory_value(const char *cluster, const char *topic, int32_t partition, int i, char out[256])
{
    bool found = false;
    enter();
    const struct partition *p = partition_of(cluster_of(str_of(cluster)), str_of(topic), partition);
    for (size_t k = 0; p && !found && k < p->records.n; k++)
        if (p->records.p[k].visibility == VISIBLE && i-- == 0) {
            snprintf(out, 256, "%.*s", STR_ARG(p->records.p[k].value));
            found = true;
        }
    leave();
    return found;
}
