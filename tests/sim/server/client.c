#include "client.h"
#include "world.h"

#include "os/net.h"

#include <stdlib.h>

void client_init(struct client *c, int timeout_ms)
{
    *c = (struct client){.fd = -1, .poller = net_poller(), .timeout_ms = timeout_ms};
}

void client_drop(struct client *c)
{
    if (c->fd >= 0) {
        net_poll_del(c->poller, c->fd);
        net_close(c->fd);
    }
    c->fd = -1;
    c->in_n = 0;
}

void client_free(struct client *c)
{
    client_drop(c);
    net_close(c->poller);
    free(c->in);
}

static bool connected(struct client *c)
{
    if (c->fd >= 0)
        return true;
    if (net_connect("127.0.0.1", 9092, c->timeout_ms, &c->fd, NULL)) {
        c->fd = -1;
        return false;
    }
    (void)!net_poll_set(c->poller, c->fd, NET_READ, c, true);
    c->received = c->sent;
    return true;
}

/* Ready before the deadline? */
static bool await(struct client *c, unsigned want, int64_t deadline_ns)
{
    struct net_event e;
    (void)!net_poll_set(c->poller, c->fd, want, c, false);
    for (;;) {
        int64_t left_ms = (deadline_ns - os_mono_ns() + 999999) / 1000000;
        if (left_ms <= 0)
            return false;
        if (net_poll_wait(c->poller, &e, 1, (int)left_ms) == 1)
            return true;
    }
}

static int64_t deadline(const struct client *c)
{
    return os_mono_ns() + (int64_t)c->timeout_ms * 1000000;
}

static bool send_all(struct client *c, struct str bytes)
{
    int64_t until_ns = deadline(c);
    while (bytes.n) {
        size_t n = 0;
        enum err e = await(c, NET_WRITE, until_ns) ? net_writev(c->fd, &bytes, 1, &n, NULL) : ERR_TIMEOUT;
        if (e && e != ERR_AGAIN)
            return false;
        bytes = str_sub(bytes, n, bytes.n);
    }
    return true;
}

bool client_send(struct client *c, enum kafka_key key, int16_t version, const void *request)
{
    const struct kafka_api *api = kafka_api((int16_t)key);
    if (!connected(c))
        return false;
    struct kafka_request_header header = {.request_api_key = api->key,
                                          .request_api_version = version,
                                          .correlation_id = ++c->sent,
                                          .client_id = STR("sim")};
    struct buf out = {0};
    buf_u32be(&out, 0);
    kafka_encode(kafka_shape_request_header(), 1, false, &header, &out, NULL);
    if (kafka_flexible(api, version))
        buf_u8(&out, 0);
    kafka_encode(api->request(), version, kafka_flexible(api, version), request, &out, NULL);
    if (out.bad)
        abort();
    uint32_t length = __builtin_bswap32((uint32_t)(out.n - 4));
    memcpy(out.p, &length, sizeof length);
    bool ok = send_all(c, buf_view(&out));
    buf_free(&out);
    if (!ok)
        client_drop(c);
    return ok;
}

/* Until `want` bytes of input are there. */
static bool fill(struct client *c, size_t want, int64_t until_ns)
{
    if (want > c->in_cap && !(c->in = realloc(c->in, c->in_cap = want + 4096)))
        abort();
    while (c->in_n < want) {
        size_t n = 0;
        if (!await(c, NET_READ, until_ns))
            return false;
        enum err e = net_read(c->fd, c->in + c->in_n, c->in_cap - c->in_n, &n, NULL);
        if ((e && e != ERR_AGAIN) || (!e && !n))
            return false;
        c->in_n += n;
    }
    return true;
}

static bool frame(struct client *c, size_t *n)
{
    int64_t until_ns = deadline(c);
    uint32_t length;
    if (!fill(c, 4, until_ns))
        return false;
    memcpy(&length, c->in, sizeof length);
    *n = 4 + (size_t)__builtin_bswap32(length);
    if (*n > 8u << 20)
        world_wrong("an answer of %zu bytes", *n);
    return fill(c, *n, until_ns);
}

bool client_receive(struct client *c, enum kafka_key key, int16_t version, struct arena *a, void *response)
{
    const struct kafka_api *api = kafka_api((int16_t)key);
    size_t n, used;
    struct buf head = {0};
    struct fault f;
    if (c->fd < 0)
        return false;
    if (!frame(c, &n)) {
        client_drop(c);
        return false;
    }
    kafka_put_response_header(&head, api, version, ++c->received);
    if (n < 4 + head.n || memcmp(c->in + 4, head.p, head.n))
        world_wrong("%s: an answer that belongs to another request", api->name);
    char *body = arena_z(a, str_make(c->in + 4 + head.n, n - 4 - head.n)); /* what is decoded points into it */
    struct str in = str_make(body, n - 4 - head.n);
    buf_free(&head);
    if (kafka_decode(api->response(), version, kafka_flexible(api, version), in, a, response, &used, &f) ||
        used != in.n)
        world_wrong("%s: an answer that cannot be read", api->name);
    memmove(c->in, c->in + n, c->in_n - n);
    c->in_n -= n;
    return true;
}

bool client_call(struct client *c, enum kafka_key key, int16_t version, const void *request, struct arena *a,
                 void *response)
{
    return client_send(c, key, version, request) && client_receive(c, key, version, a, response);
}
