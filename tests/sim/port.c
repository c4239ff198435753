#include "port.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct call {
    const struct kafka_api *api;
    int16_t version;
    int32_t correlation;
    /* waiting */
    struct port *port;
    bool there;
    char *bytes;
    size_t n;
    /* not waiting */
    void (*fn)(void *arg, const void *response);
    void *arg;
};

static void give_up(const char *why)
{
    fprintf(stderr, "  port: %s\n", why);
    _exit(1);
}

void port_open(struct port *p, struct broker *b)
{
    struct broker_peer peer = {.client_host = "127.0.0.1", .advertised_host = "127.0.0.1", .advertised_port = 9092};
    *p = (struct port){broker_conn_open(b, &peer), os_mutex_new(), os_cond_new(), 0};
}

void port_close(struct port *p)
{
    broker_conn_close(p->conn);
    os_cond_free(p->answered);
    os_mutex_free(p->lock);
}

/* The answer's length word, correlation id and, in flexible versions, empty tags; then the body. */
static void decode(const struct call *c, const char *p, size_t n, struct arena *a, void *response)
{
    struct buf head = {0};
    struct fault f;
    kafka_put_response_header(&head, c->api, c->version, c->correlation);
    if (n < 4 + head.n || memcmp(p + 4, head.p, head.n))
        give_up("an answer with another header");
    size_t used, at = 4 + head.n;
    buf_free(&head);
    if (kafka_decode(c->api->response(), c->version, kafka_flexible(c->api, c->version), str_make(p + at, n - at), a,
                     response, &used, &f))
        give_up(fault_message(&f));
    if (used != n - at)
        give_up("bytes after an answer");
}

static void respond(void *arg, struct broker_reply *r)
{
    struct call *c = arg;
    if (r->outcome != BROKER_REPLY) /* a topic's end or a stop: whoever waits is not told */
        give_up(r->outcome == BROKER_CLOSE && r->why ? r->why : "no answer");
    size_t n;
    char *bytes = broker_reply_flat(r, &n);
    broker_reply_free(r);
    if (!bytes)
        abort();
    if (c->fn) {
        struct arena *a = arena_new(0);
        void *response = arena_alloc(a, c->api->response()->size);
        decode(c, bytes, n, a, response);
        c->fn(c->arg, response);
        arena_free(a);
        free(bytes);
        free(c);
        return;
    }
    os_mutex_lock(c->port->lock);
    c->bytes = bytes;
    c->n = n;
    c->there = true;
    os_cond_broadcast(c->port->answered);
    os_mutex_unlock(c->port->lock);
}

static void send_frame(struct port *p, struct call *c, const void *request)
{
    struct kafka_request_header header = {.request_api_key = c->api->key,
                                          .request_api_version = c->version,
                                          .correlation_id = c->correlation,
                                          .client_id = STR("sim")};
    struct buf out = {0};
    kafka_encode(kafka_shape_request_header(), 1, false, &header, &out, NULL);
    if (kafka_flexible(c->api, c->version))
        buf_u8(&out, 0);
    kafka_encode(c->api->request(), c->version, kafka_flexible(c->api, c->version), request, &out, NULL);
    if (out.bad)
        abort();
    broker_request(p->conn, out.p, out.n, respond, c);
    buf_free(&out);
}

void port_call(struct port *p, enum kafka_key key, int16_t version, const void *request, struct arena *a,
               void *response)
{
    struct call c = {.api = kafka_api((int16_t)key), .version = version, .correlation = ++p->correlation, .port = p};
    send_frame(p, &c, request);
    os_mutex_lock(p->lock);
    while (!c.there)
        os_cond_wait(p->answered, p->lock);
    os_mutex_unlock(p->lock);
    char *kept = (char *)(uintptr_t)arena_str(a, str_make(c.bytes, c.n)).p; /* what is decoded points into it */
    free(c.bytes);
    decode(&c, kept, c.n, a, response);
}

void port_send(struct port *p, enum kafka_key key, int16_t version, const void *request,
               void (*fn)(void *arg, const void *response), void *arg)
{
    struct call *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    *c = (struct call){
        .api = kafka_api((int16_t)key), .version = version, .correlation = ++p->correlation, .fn = fn, .arg = arg};
    send_frame(p, c, request);
}
