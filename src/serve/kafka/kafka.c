#include "serve/kafka/kafka.h"

#include "base/budget.h"
#include "base/limit.h"
#include "os/net.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    IDLE_MS = 600000, /* connections.max.idle.ms */
    COPY_BELOW_BYTES = 16 << 10,
    COMPLAINTS_PER_SECOND = 5,
};

struct kafka_serve {
    struct broker *broker;
    bool auto_address;
    char host[256];
    uint16_t port;
};

struct kconn {
    atomic_int refs;
    struct os_mutex *lock; /* guards closed against answers from other threads */
    bool closed;
    struct loop *loop;
    struct conn *conn;
    struct broker_conn *broker_conn;
    char client[80];
    /* below: the loop's thread only */
    uint64_t asked, sent;                  /* requests begun, answers sent */
    struct pending *ring[LIMIT_IN_FLIGHT]; /* answers that came before their turn */
    uint64_t throttle_timer;
    bool ending;
};

struct pending { /* one request on its way */
    struct kconn *k;
    uint64_t seq;
    struct broker_reply reply;
};

static void release(struct kconn *k)
{
    if (atomic_fetch_sub(&k->refs, 1) > 1)
        return;
    os_mutex_free(k->lock);
    free(k);
}

/* One line per bad client, and not more than a few a second: a port scan must not fill the disk. */
static void complain(const struct kconn *k, const char *what)
{
    static atomic_int_fast64_t second;
    static atomic_int said;
    int64_t now = os_mono_ns() / 1000000000;

    if (atomic_exchange(&second, now) != now)
        atomic_store(&said, 0);
    if (atomic_fetch_add(&said, 1) < COMPLAINTS_PER_SECOND)
        os_log(OS_WARN, "kafka", "connection from %s closed: %s", k->client, what);
}

static void pending_free(struct pending *p)
{
    broker_reply_free(&p->reply);
    release(p->k);
    free(p);
}

/* -- answers ----------------------------------------------------------------------------------------------------- */
static void release_slice(void *arg)
{
    log_slice_release(arg);
}

static void send_reply(struct kconn *k, struct broker_reply *r)
{
    size_t at = 0;

    if (!r->npieces && r->n >= COPY_BELOW_BYTES) {
        conn_write_take(k->conn, r->bytes, r->n);
        r->bytes = NULL;
        return;
    }
    for (size_t i = 0; i < r->npieces; i++) {
        struct broker_piece *piece = &r->pieces[i];

        conn_write(k->conn, r->bytes + at, piece->at - at);
        at = piece->at;
        conn_write_ref(k->conn, piece->bytes.p, piece->bytes.n, release_slice, piece->slice);
        piece->slice = NULL;
    }
    conn_write(k->conn, r->bytes + at, r->n - at);
}

static void set_pause(struct kconn *k)
{
    conn_pause(k->conn, k->asked - k->sent >= LIMIT_IN_FLIGHT || k->throttle_timer);
}

static void throttle_over(void *arg)
{
    struct kconn *k = arg;

    k->throttle_timer = 0;
    set_pause(k);
}

static void send_in_order(struct kconn *k)
{
    struct pending *p;

    while (!k->closed && !k->ending && (p = k->ring[k->sent % LIMIT_IN_FLIGHT])) {
        k->ring[k->sent++ % LIMIT_IN_FLIGHT] = NULL;
        if (p->reply.outcome == BROKER_CLOSE) {
            k->ending = true;
            complain(k, p->reply.why);
            conn_close(k->conn);
        } else if (p->reply.outcome == BROKER_REPLY) {
            if (p->reply.throttle_ms > 0 && !k->throttle_timer)
                k->throttle_timer = loop_timer(k->loop, p->reply.throttle_ms, throttle_over, k);
            send_reply(k, &p->reply);
        }
        pending_free(p);
    }
    if (!k->closed && !k->ending)
        set_pause(k);
}

/* On the loop's thread. */
static void deliver(void *arg)
{
    struct pending *p = arg;
    struct kconn *k = p->k;

    if (k->closed) {
        pending_free(p);
        return;
    }
    atomic_fetch_add(&k->refs, 1); /* sending may close the connection under our feet */
    k->ring[p->seq % LIMIT_IN_FLIGHT] = p;
    if (p->seq == k->sent)
        send_in_order(k);
    release(k);
}

/* From any thread. */
static void respond(void *arg, struct broker_reply *r)
{
    struct pending *p = arg;
    struct kconn *k = p->k;
    bool posted;

    p->reply = *r;
    if (loop_here(k->loop)) { /* an answer made on the connection's own thread needs no post */
        deliver(p);
        return;
    }
    os_mutex_lock(k->lock);
    posted = !k->closed;
    if (posted)
        loop_post(k->loop, deliver, p);
    os_mutex_unlock(k->lock);
    if (!posted)
        pending_free(p);
}

/* -- requests ---------------------------------------------------------------------------------------------------- */
static void post(void *post_arg, void (*fn)(void *arg), void *arg)
{
    loop_post(post_arg, fn, arg);
}

static void *on_open(struct conn *c, void *arg)
{
    struct kafka_serve *s = arg;
    struct broker_peer peer = {.post = post, .post_arg = conn_loop(c)};
    struct kconn *k = calloc(1, sizeof *k);
    char local[64];
    uint16_t port;

    if (!k)
        return NULL;
    conn_peer(c, peer.client_host, &port);
    snprintf(k->client, sizeof k->client, "%s:%u", peer.client_host, port);
    conn_local(c, local, &port);
    snprintf(peer.advertised_host, sizeof peer.advertised_host, "%s", s->auto_address ? local : s->host);
    peer.advertised_port = s->auto_address || !s->port ? port : s->port;
    k->refs = 1;
    k->conn = c;
    k->loop = conn_loop(c);
    k->lock = os_mutex_new();
    k->broker_conn = broker_conn_open(s->broker, &peer);
    if (!k->broker_conn) {
        release(k);
        return NULL;
    }
    return k;
}

/* What all requests together may hold bounds each of them too; the last quarter is kept for small ones. */
static size_t longest_frame(void)
{
    size_t share = budget_size(BUDGET_INPUT) / 4 * 3;

    return share < LIMIT_FRAME_BYTES ? share : LIMIT_FRAME_BYTES;
}

static void refuse(struct kconn *k, const char *why)
{
    k->ending = true;
    complain(k, why);
    conn_close(k->conn);
}

static size_t on_data(struct conn *c, void *state, const char *in, size_t n)
{
    struct kconn *k = state;
    const unsigned char *u = (const unsigned char *)in;
    struct pending *p;
    uint32_t size;

    (void)c;
    if (n < 4)
        return 0;
    size = (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
    if (size > longest_frame()) {
        refuse(k, size > LIMIT_FRAME_BYTES
                      ? "a frame longer than socket.request.max.bytes, or not the Kafka protocol"
                      : "a frame longer than three quarters of the memory for requests (a quarter of --memory)");
        return n;
    }
    if (n - 4 < size)
        return 0;
    p = malloc(sizeof *p);
    if (!p) {
        refuse(k, "out of memory");
        return n;
    }
    *p = (struct pending){.k = k, .seq = k->asked++};
    atomic_fetch_add(&k->refs, 1);
    set_pause(k);
    /* Produce patches its batches in place: the bytes are the loop's input buffer, ours to use up */
    broker_request(k->broker_conn, (char *)(uintptr_t)in + 4, size, respond, p);
    return 4 + (size_t)size;
}

static void on_close(struct conn *c, void *state)
{
    struct kconn *k = state;

    (void)c;
    os_mutex_lock(k->lock);
    k->closed = true;
    os_mutex_unlock(k->lock);
    if (k->throttle_timer)
        loop_cancel(k->loop, k->throttle_timer);
    broker_conn_close(k->broker_conn);
    for (int i = 0; i < LIMIT_IN_FLIGHT; i++)
        if (k->ring[i])
            pending_free(k->ring[i]);
    release(k);
}

static const struct loop_protocol PROTOCOL = {
    .name = "kafka",
    .max_input_bytes = LIMIT_FRAME_BYTES + 4,
    .max_output_bytes = LIMIT_ANSWER_BYTES,
    .idle_ms = IDLE_MS,
    .on_open = on_open,
    .on_data = on_data,
    .on_close = on_close,
};

enum err kafka_serve_start(struct kafka_serve **out, struct broker *b, struct loop **loops, int nloops,
                           const char *host, uint16_t *port, const char *advertise, struct fault *f)
{
    struct kafka_serve *s = calloc(1, sizeof *s);
    enum err e = ERR_OK;

    if (!s)
        return FAULT(f, ERR_NOMEM, {"what", "the Kafka listener"});
    s->broker = b;
    s->auto_address = !advertise || !*advertise || strcmp(advertise, "auto") == 0;
    if (!s->auto_address)
        e = net_parse(str_of(advertise), s->host, &s->port, f);
    if (!e)
        e = loop_listen(loops, nloops, host, port, &PROTOCOL, s, f);
    if (e) {
        free(s);
        return e;
    }
    *out = s;
    return ERR_OK;
}

void kafka_serve_free(struct kafka_serve *s)
{
    free(s);
}
