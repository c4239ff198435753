#include "serve/console/console.h"
#include "wire/http.h"

#include <stdio.h>

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

struct answer {
    int status;
    const char *type;
    struct buf body;
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
    text(a, 404, "there is /livez, /readyz and /metrics");
}

static void send_answer(struct conn *c, struct answer *a, bool head_only, bool keep_alive)
{
    struct buf head = {0};
    buf_fmt(&head, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nCache-Control: no-store\r\n%s%s\r\n",
            a->status, reason(a->status), a->type, a->body.n, a->status == 405 ? "Allow: GET, HEAD\r\n" : "",
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

static void *on_open(struct conn *c, void *arg)
{
    (void)c;
    return arg;
}

static size_t on_data(struct conn *c, void *state, const char *in, size_t n)
{
    const struct console_hooks *h = state;
    size_t used = 0;
    for (;;) {
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
        route(h, &r, &a);
        send_answer(c, &a, str_eqz(r.method, "HEAD"), r.keep_alive);
        if (!r.keep_alive)
            return n;
    }
}

static void on_close(struct conn *c, void *state)
{
    (void)c;
    (void)state;
}

static const struct loop_protocol HTTP = {
    .name = "http",
    .max_input_bytes = HTTP_HEAD_BYTES,
    .max_output_bytes = 1 << 20,
    .idle_ms = 60000,
    .on_open = on_open,
    .on_data = on_data,
    .on_close = on_close,
};

enum err console_listen(struct loop **loops, int n, const char *host, uint16_t *port, const struct console_hooks *hooks,
                        struct fault *f)
{
    return loop_listen(loops, n, host, port, &HTTP, (void *)hooks, f);
}
