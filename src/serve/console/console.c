#include "serve/console/console.h"
#include "wire/http.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static const struct {
    const char *name, *type, *doc;
} METRICS[] = {
#define X(id, name, type, doc) {name, type, doc},
#include "metrics.def"
#undef X
};

static const char *reason(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 413:
        return "Content Too Large";
    case 431:
        return "Request Header Fields Too Large";
    case 503:
        return "Service Unavailable";
    default:
        return "HTTP Version Not Supported";
    }
}

enum { WAIT_MS = 25000, SESSION_ID_MAX = 64 };

struct answer {
    int status;
    const char *type;
    struct buf body;
    char extra[64]; /* a header line of its own, or "" */
};

/* A connection's state. While `waiter` is set its request waits for console text and the connection is paused. */
struct client {
    const struct console_hooks *hooks;
    struct waiter *waiter;
};

/* Outlives its connection when a wake-up is already on its way to the loop. */
struct waiter {
    const struct console_hooks *hooks;
    struct loop *loop;
    uint64_t conn_id, timer, from;
    char session[SESSION_ID_MAX];
    bool keep_alive;
    atomic_bool woken;
};

static void text(struct answer *a, int status, const char *body)
{
    a->status = status;
    a->type = "text/plain; charset=utf-8";
    buf_z(&a->body, body);
    buf_z(&a->body, "\n");
}

static void livez(const struct console_hooks *h, struct answer *a)
{
    (void)h;
    text(a, 200, "ok");
}

static void readyz(const struct console_hooks *h, struct answer *a)
{
    const char *why = h->not_ready(h->arg);
    text(a, why ? 503 : 200, why ? why : "ok");
}

static void metrics(const struct console_hooks *h, struct answer *a)
{
    struct console_metrics m = {{0}};
    h->metrics(h->arg, &m);
    a->status = 200;
    a->type = "text/plain; version=0.0.4; charset=utf-8";
    for (int i = 0; i < METRIC_COUNT; i++)
        buf_fmt(&a->body, "# HELP %s %s\n# TYPE %s %s\n%s %.17g\n", METRICS[i].name, METRICS[i].doc, METRICS[i].name,
                METRICS[i].type, METRICS[i].name, m.v[i]);
}

static const struct {
    const char *path;
    void (*answer)(const struct console_hooks *h, struct answer *a);
} ROUTES[] = {{"/livez", livez}, {"/readyz", readyz}, {"/metrics", metrics}};

static void route(const struct console_hooks *h, const struct http_request *r, struct answer *a)
{
    for (size_t i = 0; i < sizeof ROUTES / sizeof ROUTES[0]; i++)
        if (str_eqz(r->path, ROUTES[i].path)) {
            if (str_eqz(r->method, "GET") || str_eqz(r->method, "HEAD"))
                ROUTES[i].answer(h, a);
            else
                text(a, 405, "only GET and HEAD");
            return;
        }
    text(a, 404, "there is /livez, /readyz, /metrics and /console");
}

static void send_answer(struct conn *c, struct answer *a, bool head_only, bool keep_alive)
{
    struct buf head = {.limit = BUF_ASKED};
    buf_fmt(&head, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nCache-Control: no-store\r\n%s%s%s\r\n",
            a->status, reason(a->status), a->type, a->body.n, a->extra, a->status == 405 ? "Allow: GET, HEAD\r\n" : "",
            keep_alive ? "" : "Connection: close\r\n");
    if (head.bad || a->body.bad) {
        conn_abort(c);
    } else {
        conn_write(c, head.p, head.n);
        if (!head_only)
            conn_write(c, a->body.p, a->body.n);
        if (!keep_alive)
            conn_close(c);
    }
    buf_free(&head);
    buf_free(&a->body);
}

/* -- /console: a request that may wait ------------------------------------------------------------------------------- */

/* Answer with what there is. */
static void console_answer(struct conn *c, const struct waiter *w)
{
    struct answer a = {0};
    uint64_t next = w->from;
    if (w->hooks->console_read(w->hooks->arg, str_of(w->session), w->from, &a.body, &next)) {
        a.status = 200;
        a.type = "text/plain; charset=utf-8";
        snprintf(a.extra, sizeof a.extra, "X-Console-Next: %llu\r\n", (unsigned long long)next);
    } else {
        text(&a, 404, "there is no such session");
    }
    send_answer(c, &a, false, w->keep_alive);
}

/* On the loop's thread, after a wake-up or the time limit; frees the waiter. */
static void console_resume(void *arg)
{
    struct waiter *w = arg;
    struct conn *c = loop_conn(w->loop, w->conn_id);
    if (c) {
        struct client *client = conn_state(c);
        client->waiter = NULL;
        loop_cancel(w->loop, w->timer);
        console_answer(c, w);
        conn_pause(c, false);
    }
    free(w);
}

/* From any thread. */
static void console_wake(void *arg)
{
    struct waiter *w = arg;
    atomic_store(&w->woken, true);
    loop_post(w->loop, console_resume, w);
}

static void console_late(void *arg)
{
    struct waiter *w = arg;
    w->hooks->console_forget(w->hooks->arg, w);
    if (!atomic_load(&w->woken))
        console_resume(w);
}

static void console_begin(struct conn *c, struct client *client, const struct http_request *r)
{
    struct str session = http_query(r->query, STR("session")), from = http_query(r->query, STR("from"));
    int64_t at = 0;
    struct answer a = {0};
    if (!session.n || session.n >= SESSION_ID_MAX || (from.n && (!str_to_i64(from, &at) || at < 0))) {
        text(&a, 400, "expected session=ID&from=N");
        send_answer(c, &a, false, r->keep_alive);
        return;
    }
    struct waiter *w = calloc(1, sizeof *w);
    if (!w) {
        conn_abort(c);
        return;
    }
    w->hooks = client->hooks;
    w->loop = conn_loop(c);
    w->conn_id = conn_id(c);
    w->from = (uint64_t)at;
    w->keep_alive = r->keep_alive;
    memcpy(w->session, session.p, session.n);
    client->waiter = w;
    conn_pause(c, true);
    w->timer = loop_timer(w->loop, WAIT_MS, console_late, w);
    if (!w->hooks->console_wait(w->hooks->arg, session, w->from, console_wake, w))
        console_resume(w);
}

/* -- the protocol ---------------------------------------------------------------------------------------------------- */
static void *on_open(struct conn *c, void *arg)
{
    (void)c;
    struct client *client = calloc(1, sizeof *client);
    if (client)
        client->hooks = arg;
    return client;
}

static bool is_console(const struct client *client, const struct http_request *r)
{
    return client->hooks->console_read && str_eqz(r->path, "/console") && str_eqz(r->method, "GET");
}

static size_t on_data(struct conn *c, void *state, const char *in, size_t n)
{
    struct client *client = state;
    size_t used = 0;
    while (!client->waiter) {
        struct http_request r;
        struct answer a = {0};
        int got = http_parse(&r, in + used, n - used);
        if (got == 0)
            return used;
        bool body = got > 0 && (r.content_length || r.chunked);
        if (got < 0 || body) { /* where the next request begins is unknown or not worth finding out */
            text(&a, got < 0 ? -got : 413, got < 0 ? "malformed request" : "requests have no body here");
            send_answer(c, &a, false, false);
            return n;
        }
        used += (size_t)got;
        if (is_console(client, &r)) {
            console_begin(c, client, &r);
        } else {
            route(client->hooks, &r, &a);
            send_answer(c, &a, str_eqz(r.method, "HEAD"), r.keep_alive);
        }
        if (!r.keep_alive)
            return n;
    }
    return used;
}

static void on_close(struct conn *c, void *state)
{
    (void)c;
    struct client *client = state;
    struct waiter *w = client->waiter;
    if (w) {
        loop_cancel(w->loop, w->timer);
        w->hooks->console_forget(w->hooks->arg, w);
        if (!atomic_load(&w->woken))
            free(w); /* else its wake-up is posted, and console_resume frees it */
    }
    free(client);
}

static const struct loop_protocol HTTP = {
    .name = "http",
    .max_input_bytes = LIMIT_HTTP_HEAD_BYTES,
    .max_output_bytes = 1 << 20,
    .idle_ms = 60000, /* longer than WAIT_MS */
    .on_open = on_open,
    .on_data = on_data,
    .on_close = on_close,
};

enum err console_listen(struct loop **loops, int n, const char *host, uint16_t *port, const struct console_hooks *hooks,
                        struct fault *f)
{
    return loop_listen(loops, n, host, port, &HTTP, (void *)hooks, f);
}
