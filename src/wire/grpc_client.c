#include "os/net.h"
#include "os/os.h"
#include "wire/grpc_int.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>

struct grpc_client {
    int fd, poller, timeout_ms;
    nghttp2_session *session;
    char authority[300];
    struct fault io; /* what the last read or write said */
    /* the call under way */
    int32_t stream; /* 0: none */
    struct buf request;
    size_t request_sent;
    struct grpc_frames in;
    bool closed;
    struct buf status, message, details, http;
    uint32_t reset;
};

static ssize_t send_bytes(nghttp2_session *session, const uint8_t *p, size_t n, int flags, void *arg)
{
    (void)session;
    (void)flags;
    struct grpc_client *c = arg;
    struct str part = str_make(p, n);
    size_t sent = 0;
    if (net_writev(c->fd, &part, 1, &sent, &c->io))
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    return (ssize_t)sent;
}

static ssize_t read_request(nghttp2_session *session, int32_t stream, uint8_t *p, size_t cap, uint32_t *flags,
                            nghttp2_data_source *source, void *arg)
{
    (void)session;
    (void)stream;
    (void)arg;
    struct grpc_client *c = source->ptr;
    size_t left = c->request.n - c->request_sent, n = left < cap ? left : cap;
    memcpy(p, c->request.p + c->request_sent, n);
    c->request_sent += n;
    if (c->request_sent == c->request.n)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
                     const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
    (void)session;
    (void)flags;
    struct grpc_client *c = arg;
    static const struct {
        const char *name;
        size_t at;
    } wanted[] = {
        {":status", offsetof(struct grpc_client, http)},
        {"grpc-status", offsetof(struct grpc_client, status)},
        {"grpc-message", offsetof(struct grpc_client, message)},
        {"grpc-status-details-bin", offsetof(struct grpc_client, details)},
    };
    if (frame->hd.stream_id != c->stream)
        return 0;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        if (!str_eqz(str_make(name, name_n), wanted[i].name))
            continue;
        struct buf *b = (struct buf *)((char *)c + wanted[i].at);
        buf_clear(b);
        buf_put(b, value, value_n);
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *p, size_t n, void *arg)
{
    (void)session;
    (void)flags;
    struct grpc_client *c = arg;
    if (stream == c->stream)
        buf_put(&c->in.b, p, n);
    return c->in.b.bad ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t error, void *arg)
{
    (void)session;
    struct grpc_client *c = arg;
    if (stream == c->stream) {
        c->closed = true;
        c->reset = error;
    }
    return 0;
}

static enum err make_session(struct grpc_client *c, struct fault *f)
{
    nghttp2_session_callbacks *cb = NULL;
    if (nghttp2_session_callbacks_new(&cb))
        return FAULT(f, ERR_NOMEM, {"what", "HTTP/2 session"});
    nghttp2_session_callbacks_set_send_callback(cb, send_bytes);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
    int rc = nghttp2_session_client_new(&c->session, cb, c);
    nghttp2_session_callbacks_del(cb);
    nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                                         {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 4 << 20}};
    if (rc || nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, 2) ||
        nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, 16 << 20))
        return FAULT(f, ERR_NOMEM, {"what", "HTTP/2 session"});
    return ERR_OK;
}

enum err grpc_client_open(struct grpc_client **out, const char *host, uint16_t port, int timeout_ms, struct fault *f)
{
    struct grpc_client *c = calloc(1, sizeof *c);
    if (!c)
        return FAULT(f, ERR_NOMEM, {"what", "gRPC client"});
    c->poller = -1;
    c->timeout_ms = timeout_ms;
    c->in.b.limit = LIMIT_GRPC_MESSAGE_BYTES + (16 << 20);
    snprintf(c->authority, sizeof c->authority, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
    enum err e = net_connect(host, port, timeout_ms, &c->fd, f);
    if (e) {
        free(c);
        return e;
    }
    c->poller = net_poller();
    e = net_poll_set(c->poller, c->fd, NET_READ, c, true) ? make_session(c, f)
                                                          : FAULT(f, ERR_NOMEM, {"what", "gRPC client"});
    if (e) {
        grpc_client_close(c);
        return e;
    }
    *out = c;
    return ERR_OK;
}

void grpc_client_close(struct grpc_client *c)
{
    if (!c)
        return;
    if (c->session && c->stream && !c->closed)
        grpc_client_cancel(c);
    nghttp2_session_del(c->session);
    if (c->poller >= 0)
        net_close(c->poller);
    net_close(c->fd);
    struct buf *all[] = {&c->request, &c->in.b, &c->status, &c->message, &c->details, &c->http};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        buf_free(all[i]);
    free(c);
}

static enum err unreachable(struct grpc_client *c, const char *detail, struct fault *f)
{
    return FAULT(f, ERR_UNREACHABLE, {"what", c->authority}, {"detail", detail});
}

static enum err send_all(struct grpc_client *c, struct fault *f)
{
    return nghttp2_session_send(c->session) ? unreachable(c, "the connection broke", f) : ERR_OK;
}

enum err grpc_client_call(struct grpc_client *c, const char *path, struct str request, struct fault *f)
{
    if (c->stream && !c->closed)
        grpc_client_cancel(c);
    struct buf *all[] = {&c->request, &c->in.b, &c->status, &c->message, &c->details, &c->http};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        buf_clear(all[i]);
    c->in.used = c->request_sent = 0;
    c->closed = false;
    c->reset = 0;
    buf_u8(&c->request, 0);
    buf_u32be(&c->request, (uint32_t)request.n);
    buf_str(&c->request, request);
    if (c->request.bad)
        return FAULT(f, ERR_NOMEM, {"what", "gRPC request"});
#define HEADER(name, value) {(uint8_t *)(name), (uint8_t *)(value), strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE}
    nghttp2_nv nv[] = {HEADER(":method", "POST"),
                       HEADER(":scheme", "http"),
                       HEADER(":path", path),
                       HEADER(":authority", c->authority),
                       HEADER("te", "trailers"),
                       HEADER("content-type", "application/grpc"),
                       HEADER("user-agent", "penstock/" PENSTOCK_VERSION)};
#undef HEADER
    nghttp2_data_provider body = {{.ptr = c}, read_request};
    c->stream = nghttp2_submit_request(c->session, NULL, nv, sizeof nv / sizeof *nv, &body, NULL);
    if (c->stream < 0) {
        c->stream = 0;
        return unreachable(c, "the connection takes no more calls", f);
    }
    return send_all(c, f);
}

/* Wait for bytes and give them to the session. */
static enum err pump(struct grpc_client *c, struct fault *f)
{
    enum err e = send_all(c, f);
    if (e)
        return e;
    struct net_event event;
    char bytes[16 << 10];
    size_t n = 0;
    if (net_poll_wait(c->poller, &event, 1, c->timeout_ms ? c->timeout_ms : -1) == 0)
        return FAULT(f, ERR_TIMEOUT, {"what", c->authority});
    e = net_read(c->fd, bytes, sizeof bytes, &n, f);
    if (e == ERR_AGAIN)
        return ERR_OK;
    if (e)
        return e;
    if (n == 0)
        return unreachable(c, "the server closed the connection", f);
    if (nghttp2_session_mem_recv(c->session, (const uint8_t *)bytes, n) < 0)
        return unreachable(c, "it does not speak gRPC", f);
    return send_all(c, f);
}

static enum err take_result(struct grpc_client *c, struct grpc_result *r, struct fault *f)
{
    int64_t code = GRPC_UNKNOWN;
    if (!c->status.n || !str_to_i64(buf_view(&c->status), &code)) {
        if (c->reset)
            return unreachable(c, "the call was reset", f);
        return unreachable(c, "it does not speak gRPC", f);
    }
    c->message.n = grpc_percent_decode(c->message.p, c->message.n);
    ptrdiff_t n = grpc_base64_decode(c->details.p, c->details.n);
    c->details.n = n < 0 ? 0 : (size_t)n;
    *r = (struct grpc_result){(int)code, buf_view(&c->message), buf_view(&c->details)};
    return ERR_OK;
}

enum err grpc_client_next(struct grpc_client *c, struct str *message, bool *got, struct grpc_result *result,
                          struct fault *f)
{
    *got = false;
    if (!c->stream)
        return fault_internal(f, "grpc_client_next without a call");
    grpc_frames_compact(&c->in);
    for (;;) {
        switch (grpc_frames_next(&c->in, message)) {
        case GRPC_FRAME_MESSAGE:
            *got = true;
            return ERR_OK;
        case GRPC_FRAME_COMPRESSED:
            return FAULT(f, ERR_FRAME, {"what", "gRPC answer"}, {"detail", "a compressed message"});
        case GRPC_FRAME_TOO_LARGE:
            return FAULT(f, ERR_LIMIT, {"what", "A gRPC message"}, {"limit", "128 MiB"});
        case GRPC_FRAME_NONE:
            break;
        }
        if (c->closed)
            return take_result(c, result, f);
        enum err e = pump(c, f);
        if (e)
            return e;
    }
}

void grpc_client_cancel(struct grpc_client *c)
{
    if (!c->stream || c->closed)
        return;
    c->closed = true;
    if (nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, c->stream, NGHTTP2_CANCEL) == 0)
        (void)nghttp2_session_send(c->session); /* best effort: the connection may be gone already */
}
