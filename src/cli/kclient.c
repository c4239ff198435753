#include "cli/kclient.h"
#include "os/net.h"

#include <stdio.h>
#include <stdlib.h>

enum { BROKERS_MAX = 64, FRAME_MAX_BYTES = 128 << 20, METADATA_LIMIT_BYTES = 256 << 20 };

struct broker {
    int32_t node;
    char host[256];
    uint16_t port;
    int fd; /* -1: not connected */
};

struct kclient {
    int timeout_ms;
    int32_t correlation;
    int poller;
    struct broker boot;
    struct broker brokers[BROKERS_MAX];
    int nbrokers;
};

/* The version spoken of each API: topic names (not ids), supported by Kafka 2.4 and later. */
static int16_t version_of(enum kafka_key key)
{
    static const struct {
        int16_t key, version;
    } SPOKEN[] = {
        {KAFKA_produce, 8},          {KAFKA_fetch, 11},         {KAFKA_list_offsets, 5},
        {KAFKA_metadata, 8},         {KAFKA_offset_commit, 7},  {KAFKA_offset_fetch, 5},
        {KAFKA_find_coordinator, 2}, {KAFKA_create_topics, 4},  {KAFKA_delete_topics, 3},
        {KAFKA_describe_configs, 2}, {KAFKA_delete_records, 1}, {KAFKA_incremental_alter_configs, 0},
    };
    for (size_t i = 0; i < sizeof SPOKEN / sizeof SPOKEN[0]; i++)
        if (SPOKEN[i].key == (int16_t)key)
            return SPOKEN[i].version;
    abort(); /* a call to an API without a row */
}

static enum err connect_broker(struct kclient *k, struct broker *b, struct fault *f)
{
    if (b->fd >= 0)
        return ERR_OK;
    enum err e = net_connect(b->host, b->port, k->timeout_ms, &b->fd, f);
    if (!e && !net_poll_set(k->poller, b->fd, NET_READ, b, true)) {
        net_close(b->fd);
        e = FAULT(f, ERR_NOMEM, {"what", "a connection"});
    }
    if (e)
        b->fd = -1;
    return e;
}

static void disconnect(struct kclient *k, struct broker *b)
{
    if (b->fd < 0)
        return;
    net_poll_del(k->poller, b->fd);
    net_close(b->fd);
    b->fd = -1;
}

enum err kclient_open(struct kclient **out, const char *bootstrap, int timeout_ms, struct fault *f)
{
    struct kclient *k = calloc(1, sizeof *k);
    if (!k)
        return FAULT(f, ERR_NOMEM, {"what", "Kafka client"});
    k->timeout_ms = timeout_ms;
    k->boot = (struct broker){.node = KCLIENT_ANY, .fd = -1};
    k->poller = net_poller();
    enum err e = net_parse(str_of(bootstrap), k->boot.host, &k->boot.port, f);
    if (!e)
        e = connect_broker(k, &k->boot, f);
    if (e) {
        kclient_close(k);
        return e;
    }
    *out = k;
    return ERR_OK;
}

void kclient_close(struct kclient *k)
{
    if (!k)
        return;
    disconnect(k, &k->boot);
    for (int i = 0; i < k->nbrokers; i++)
        disconnect(k, &k->brokers[i]);
    net_close(k->poller);
    free(k);
}

static struct broker *find_broker(struct kclient *k, int32_t node)
{
    for (int i = 0; i < k->nbrokers; i++)
        if (k->brokers[i].node == node)
            return &k->brokers[i];
    return &k->boot;
}

static void learn_broker(struct kclient *k, int32_t node, struct str host, int32_t port)
{
    struct broker *b = find_broker(k, node);
    if (b == &k->boot) {
        if (k->nbrokers == BROKERS_MAX)
            return;
        b = &k->brokers[k->nbrokers++];
        *b = (struct broker){.node = node, .fd = -1};
    }
    snprintf(b->host, sizeof b->host, "%.*s", STR_ARG(host));
    b->port = (uint16_t)port;
}

static enum err send_all(struct broker *b, struct str bytes, struct fault *f)
{
    while (bytes.n) {
        size_t n = 0;
        enum err e = net_writev(b->fd, &bytes, 1, &n, f);
        if (e)
            return e;
        bytes = str_make(bytes.p + n, bytes.n - n);
    }
    return ERR_OK;
}

static enum err unreachable(const struct broker *b, const char *detail, struct fault *f)
{
    char address[300];
    snprintf(address, sizeof address, "%s:%u", b->host, b->port);
    return FAULT(f, ERR_UNREACHABLE, {"what", address}, {"detail", detail});
}

static enum err receive_all(struct kclient *k, struct broker *b, char *p, size_t want, struct fault *f)
{
    for (size_t have = 0; have < want;) {
        struct net_event event;
        if (net_poll_wait(k->poller, &event, 1, k->timeout_ms) == 0)
            return FAULT(f, ERR_TIMEOUT, {"what", "an answer from the broker"});
        size_t n = 0;
        enum err e = net_read(b->fd, p + have, want - have, &n, f);
        if (e)
            return e;
        if (n == 0)
            return unreachable(b, "it closed the connection", f);
        have += n;
    }
    return ERR_OK;
}

static void put_request(struct buf *out, const struct kafka_api *api, int16_t version, int32_t correlation,
                        const void *request)
{
    struct kafka_request_header header = {.request_api_key = api->key,
                                          .request_api_version = version,
                                          .correlation_id = correlation,
                                          .client_id = STR("penstock")};
    buf_u32be(out, 0);
    kafka_encode(kafka_shape_request_header(), 1, false, &header, out, NULL);
    if (kafka_flexible(api, version))
        buf_u8(out, 0); /* no tagged fields */
    kafka_encode(api->request(), version, kafka_flexible(api, version), request, out, NULL);
    if (!out->bad) {
        uint32_t length = __builtin_bswap32((uint32_t)(out->n - 4));
        memcpy(out->p, &length, sizeof length);
    }
}

static enum err send_request(struct kclient *k, struct broker *b, const struct kafka_api *api, const void *request,
                             struct fault *f)
{
    struct buf out = {0};
    put_request(&out, api, version_of((enum kafka_key)api->key), ++k->correlation, request);
    enum err e = out.bad ? FAULT(f, ERR_NOMEM, {"what", "request"}) : ERR_OK;
    if (!e)
        e = send_all(b, buf_view(&out), f);
    buf_free(&out);
    return e;
}

static enum err receive_response(struct kclient *k, struct broker *b, const struct kafka_api *api, struct arena *a,
                                 void *response, struct fault *f)
{
    char word[4];
    enum err e = receive_all(k, b, word, sizeof word, f);
    if (e)
        return e;
    uint32_t length;
    memcpy(&length, word, sizeof length);
    length = __builtin_bswap32(length);
    if (length < 4 || length > FRAME_MAX_BYTES)
        return FAULT(f, ERR_FRAME, {"what", "answer"}, {"detail", "impossible length; is this a Kafka port?"});
    char *frame = arena_try(a, length);
    if (!frame)
        return FAULT(f, ERR_NOMEM, {"what", "answer"});
    e = receive_all(k, b, frame, length, f);
    if (e)
        return e;
    uint32_t correlation;
    memcpy(&correlation, frame, sizeof correlation);
    if ((int32_t)__builtin_bswap32(correlation) != k->correlation)
        return FAULT(f, ERR_FRAME, {"what", "answer"}, {"detail", "it belongs to another request"});
    int16_t version = version_of((enum kafka_key)api->key);
    return kafka_decode(api->response(), version, kafka_flexible(api, version), str_make(frame + 4, length - 4), a,
                        response, NULL, f);
}

enum err kclient_send(struct kclient *k, int32_t node, enum kafka_key key, const void *request, struct fault *f)
{
    struct broker *b = find_broker(k, node);
    enum err e = connect_broker(k, b, f);
    return e ? e : send_request(k, b, kafka_api((int16_t)key), request, f);
}

enum err kclient_call(struct kclient *k, int32_t node, enum kafka_key key, const void *request, struct arena *a,
                      void *response, struct fault *f)
{
    struct broker *b = find_broker(k, node);
    enum err e = kclient_send(k, node, key, request, f);
    if (!e)
        e = receive_response(k, b, kafka_api((int16_t)key), a, response, f);
    if (e)
        disconnect(k, b); /* what is still to come on it belongs to no one */
    if (e == ERR_IO)
        e = unreachable(b, "the connection broke", f);
    return e;
}

enum err kclient_check(struct str what, int16_t code, struct str message, struct fault *f)
{
    if (code == 0)
        return ERR_OK;
    char name[300], detail[1024];
    snprintf(name, sizeof name, "%.*s", STR_ARG(what));
    struct str text = message.n ? message : str_of(kafka_code_message(code));
    snprintf(detail, sizeof detail, "%s: %.*s", kafka_code_name(code), STR_ARG(text));
    if (detail[0] && detail[strlen(detail) - 1] == '.')
        detail[strlen(detail) - 1] = 0; /* the fault's text ends in its own */
    return FAULT(f, ERR_INVALID, {"what", name}, {"detail", detail});
}

static enum err metadata(struct kclient *k, struct kafka_metadata_request *request, struct arena *a,
                         struct kafka_metadata_response **out, struct fault *f)
{
    *out = KAFKA_NEW(a, metadata_response);
    enum err e = kclient_call(k, KCLIENT_ANY, KAFKA_metadata, request, a, *out, f);
    for (int32_t i = 0; !e && i < (*out)->brokers.n; i++)
        learn_broker(k, (*out)->brokers.p[i].node_id, (*out)->brokers.p[i].host, (*out)->brokers.p[i].port);
    return e;
}

enum err kclient_topics(struct kclient *k, struct arena *a, struct kafka_metadata_response **out, struct fault *f)
{
    struct kafka_metadata_request *request = KAFKA_NEW(a, metadata_request);
    request->topics.n = -1;
    request->allow_auto_topic_creation = false;
    return metadata(k, request, a, out, f);
}

static int by_index(const void *x, const void *y)
{
    const struct kafka_metadata_partition *p = x, *q = y;
    return (p->partition_index > q->partition_index) - (p->partition_index < q->partition_index);
}

enum err kclient_topic(struct kclient *k, struct str name, bool create, struct arena *a,
                       struct kafka_metadata_topic **out, struct fault *f)
{
    struct kafka_metadata_request *request = KAFKA_NEW(a, metadata_request);
    request->topics.p = KAFKA_ARRAY(a, metadata_request_topic, 1);
    request->topics.n = 1;
    request->topics.p[0].name = name;
    request->allow_auto_topic_creation = create;
    /* A broker that creates the topic may answer LEADER_NOT_AVAILABLE first: ask again. */
    for (int attempt = 0;; attempt++) {
        struct kafka_metadata_response *m;
        enum err e = metadata(k, request, a, &m, f);
        if (e)
            return e;
        if (m->topics.n != 1)
            return FAULT(f, ERR_FRAME, {"what", "metadata"}, {"detail", "it does not hold the one topic asked for"});
        struct kafka_metadata_topic *t = &m->topics.p[0];
        bool wait = t->error_code == KAFKA_E_LEADER_NOT_AVAILABLE ||
                    (create && t->error_code == KAFKA_E_UNKNOWN_TOPIC_OR_PARTITION);
        if (wait && attempt < 20) {
            os_sleep_ms(50);
            continue;
        }
        char text[300];
        snprintf(text, sizeof text, "topic %.*s", STR_ARG(name));
        if (t->error_code == KAFKA_E_UNKNOWN_TOPIC_OR_PARTITION)
            return FAULT(f, ERR_NOTFOUND, {"what", text});
        if (t->partitions.n > 0)
            qsort(t->partitions.p, (size_t)t->partitions.n, sizeof *t->partitions.p, by_index);
        *out = t;
        return kclient_check(str_of(text), t->error_code, str_make(NULL, 0), f);
    }
}

enum err kclient_coordinator(struct kclient *k, struct str group, int32_t *node, struct fault *f)
{
    for (int attempt = 0;; attempt++) {
        struct arena *a = arena_new(METADATA_LIMIT_BYTES);
        struct kafka_find_coordinator_request *request = KAFKA_NEW(a, find_coordinator_request);
        struct kafka_find_coordinator_response *r = KAFKA_NEW(a, find_coordinator_response);
        request->key = group;
        enum err e = kclient_call(k, KCLIENT_ANY, KAFKA_find_coordinator, request, a, r, f);
        bool wait = !e && r->error_code == KAFKA_E_COORDINATOR_NOT_AVAILABLE && attempt < 50;
        if (!e && !wait)
            e = kclient_check(group, r->error_code, r->error_message, f);
        if (!e && !wait) {
            learn_broker(k, r->node_id, r->host, r->port);
            *node = r->node_id;
        }
        arena_free(a);
        if (!wait)
            return e;
        os_sleep_ms(100);
    }
}

enum err kclient_offset(struct kclient *k, struct str topic, const struct kafka_metadata_partition *p,
                        int64_t timestamp_ms, int64_t *offset, struct fault *f)
{
    struct arena *a = arena_new(METADATA_LIMIT_BYTES);
    struct kafka_list_offsets_request *request = KAFKA_NEW(a, list_offsets_request);
    request->replica_id = -1;
    request->topics.p = KAFKA_ARRAY(a, list_offsets_topic, 1);
    request->topics.n = 1;
    struct kafka_list_offsets_topic *t = &request->topics.p[0];
    t->name = topic;
    t->partitions.p = KAFKA_ARRAY(a, list_offsets_partition, 1);
    t->partitions.n = 1;
    t->partitions.p[0].partition_index = p->partition_index;
    t->partitions.p[0].timestamp = timestamp_ms;
    struct kafka_list_offsets_response *response = KAFKA_NEW(a, list_offsets_response);
    enum err e = kclient_call(k, p->leader_id, KAFKA_list_offsets, request, a, response, f);
    if (!e && (response->topics.n != 1 || response->topics.p[0].partitions.n != 1))
        e = FAULT(f, ERR_FRAME, {"what", "offsets"}, {"detail", "they are not those asked for"});
    if (!e) {
        const struct kafka_list_offsets_partition_response *r = &response->topics.p[0].partitions.p[0];
        *offset = r->offset;
        e = kclient_check(topic, r->error_code, str_make(NULL, 0), f);
    }
    arena_free(a);
    return e;
}
