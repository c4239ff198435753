#include "wire/grpc_int.h"

#include "base/budget.h"
#include "base/memory.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    WINDOW_STREAM = 1 << 20,
    WINDOW_CONN = 16 << 20,
};

static uint64_t conn_serial; /* atomic */

/* A message on its way out. */
struct out {
    struct out *next;
    size_t n;
    char bytes[];
};

struct grpc_call {
    struct grpc_call *next, **link; /* in the conn's list */
    struct grpc_conn *conn;
    void *state;
    uint64_t id;
    int32_t stream;
    char path[LIMIT_GRPC_PATH_BYTES];
    size_t path_n, header_bytes;
    int64_t timeout_ms;
    bool is_post, is_grpc, is_encoded, announced, ended; /* announced: on_call was called; ended: on_end was */
    struct grpc_frames in;
    struct out *head, **tail;
    size_t head_sent, queued;
    bool answering, deferred, drained; /* answering: response headers are submitted */
    bool finished;
    enum grpc_code code;
    struct buf message, details; /* as the trailers have them */
};

struct grpc_conn {
    const struct grpc_handler *handler;
    void *arg, *io;
    void (*write)(void *io, const void *p, size_t n);
    size_t (*room)(void *io);
    nghttp2_session *session;
    struct grpc_call *calls;
    uint64_t serial;
    size_t unfinished, unsent; /* of all calls; taken from BUDGET_INPUT, BUDGET_OUTPUT */
    bool broken, started;
};

/* -- small accessors ---------------------------------------------------------------------------------------------- */
struct str grpc_path(const struct grpc_call *call)
{
    return str_make(call->path, call->path_n);
}

int64_t grpc_timeout_ms(const struct grpc_call *call)
{
    return call->timeout_ms;
}

void *grpc_state(struct grpc_call *call)
{
    return call->state;
}

void grpc_set_state(struct grpc_call *call, void *state)
{
    call->state = state;
}

uint64_t grpc_call_id(const struct grpc_call *call)
{
    return call->id;
}

size_t grpc_queued(const struct grpc_call *call)
{
    return call->queued;
}

struct grpc_call *grpc_find(struct grpc_conn *c, uint64_t call_id)
{
    struct grpc_call *call = nghttp2_session_get_stream_user_data(c->session, (int32_t)(call_id & INT32_MAX));
    return call && call->id == call_id ? call : NULL;
}

/* -- answers ------------------------------------------------------------------------------------------------------ */
#define HEADER(name_, value_, n_)                                                                                      \
    ((nghttp2_nv){(uint8_t *)(name_), (uint8_t *)(value_), sizeof(name_) - 1, (n_), NGHTTP2_NV_FLAG_NONE})

/* The trailers' fields into nv[0..4); status is the caller's storage for the number. */
static size_t trailer_fields(struct grpc_call *call, nghttp2_nv *nv, char status[12])
{
    size_t n = 0;
    snprintf(status, 12, "%d", (int)call->code);
    nv[n++] = HEADER("grpc-status", status, strlen(status));
    if (call->message.n)
        nv[n++] = HEADER("grpc-message", call->message.p, call->message.n);
    if (call->details.n)
        nv[n++] = HEADER("grpc-status-details-bin", call->details.p, call->details.n);
    if (call->code == GRPC_UNIMPLEMENTED)
        nv[n++] = HEADER("grpc-accept-encoding", "identity", 8);
    return n;
}

static void free_out(struct grpc_conn *c, struct out *o)
{
    c->unsent -= o->n;
    budget_give(BUDGET_OUTPUT, o->n);
    free(o);
}

/* nghttp2 asks for the next bytes of a response's body; the queue's end is "later" or the trailers. */
static ssize_t read_queue(nghttp2_session *session, int32_t stream, uint8_t *p, size_t cap, uint32_t *flags,
                          nghttp2_data_source *source, void *arg)
{
    (void)arg;
    struct grpc_call *call = source->ptr;
    size_t n = 0;
    while (call->head && n < cap) {
        struct out *o = call->head;
        size_t take = o->n - call->head_sent < cap - n ? o->n - call->head_sent : cap - n;
        memcpy(p + n, o->bytes + call->head_sent, take);
        n += take;
        call->head_sent += take;
        if (call->head_sent < o->n)
            break;
        call->head = o->next;
        call->head_sent = 0;
        if (!call->head)
            call->tail = &call->head;
        free_out(call->conn, o);
    }
    call->queued -= n;
    if (n && !call->head)
        call->drained = true;
    if (!call->head && call->finished) {
        char status[12];
        nghttp2_nv nv[4];
        size_t count = trailer_fields(call, nv, status);
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        if (nghttp2_submit_trailer(session, stream, nv, count))
            return NGHTTP2_ERR_CALLBACK_FAILURE;
        return (ssize_t)n;
    }
    if (!n) {
        call->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)n;
}

/* Response headers, with the trailers in them when there is no message ("Trailers-Only"). */
static void answer(struct grpc_call *call)
{
    char status[12];
    nghttp2_nv nv[6];
    nghttp2_data_provider body = {{.ptr = call}, read_queue};
    size_t n = 0;
    bool only_trailers = call->finished && !call->head;
    nv[n++] = HEADER(":status", "200", 3);
    nv[n++] = HEADER("content-type", "application/grpc", 16);
    if (only_trailers)
        n += trailer_fields(call, nv + n, status);
    call->answering = true;
    if (nghttp2_submit_response(call->conn->session, call->stream, nv, n, only_trailers ? NULL : &body))
        call->conn->broken = true; /* out of memory: nothing else is left to say on this connection */
}

static void go_on(struct grpc_call *call)
{
    if (!call->answering) {
        answer(call);
    } else if (call->deferred) {
        call->deferred = false;
        if (nghttp2_session_resume_data(call->conn->session, call->stream) == NGHTTP2_ERR_NOMEM)
            call->conn->broken = true;
    }
}

void grpc_send(struct grpc_call *call, struct str message)
{
    if (call->finished || message.n > UINT32_MAX)
        return;
    struct out *o = malloc(sizeof *o + GRPC_PREFIX + message.n);
    if (!o) {
        grpc_finish(call, GRPC_RESOURCE_EXHAUSTED, STR("out of memory"), (struct str){0});
        return;
    }
    o->next = NULL;
    o->n = GRPC_PREFIX + message.n;
    uint32_t n = (uint32_t)message.n;
    memcpy(o->bytes, (uint8_t[]){0, n >> 24, n >> 16 & 255, n >> 8 & 255, n & 255}, GRPC_PREFIX);
    if (message.n)
        memcpy(o->bytes + GRPC_PREFIX, message.p, message.n);
    *call->tail = o;
    call->tail = &o->next;
    call->queued += o->n;
    call->conn->unsent += o->n;
    budget_force(BUDGET_OUTPUT, o->n);
    go_on(call);
}

void grpc_finish(struct grpc_call *call, enum grpc_code code, struct str message, struct str details)
{
    if (call->finished)
        return;
    call->finished = true;
    call->code = code;
    if (details.n && details.n <= LIMIT_GRPC_TRAILER_BYTES / 4 * 3) /* base64 makes four bytes of three */
        grpc_base64_encode(&call->details, details);
    size_t left = call->details.n < LIMIT_GRPC_TRAILER_BYTES ? LIMIT_GRPC_TRAILER_BYTES - call->details.n : 0;
    grpc_percent_encode(&call->message, message, left);
    go_on(call);
}

static void refuse(struct grpc_call *call, enum grpc_code code, const char *why)
{
    grpc_finish(call, code, str_of(why), (struct str){0});
}

/* -- what comes in ------------------------------------------------------------------------------------------------ */
/* From `before` bytes of messages that are not whole to `after`; what came in the meantime was taken from the budget. */
static void count_unfinished(struct grpc_conn *c, size_t before, size_t after)
{
    c->unfinished += after - before;
    if (after < before)
        budget_give(BUDGET_INPUT, before - after);
}

static void free_call(struct grpc_call *call)
{
    count_unfinished(call->conn, call->in.b.n, 0);
    buf_free(&call->in.b);
    for (struct out *o = call->head, *next; o; o = next) {
        next = o->next;
        free_out(call->conn, o);
    }
    buf_free(&call->message);
    buf_free(&call->details);
    *call->link = call->next;
    if (call->next)
        call->next->link = call->link;
    free(call);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct grpc_conn *c = arg;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct grpc_call *call = calloc(1, sizeof *call);
    if (!call)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    call->conn = c;
    call->stream = frame->hd.stream_id;
    call->id = c->serial << 31 | (uint64_t)call->stream;
    call->timeout_ms = -1;
    call->tail = &call->head;
    call->in.b.limit = LIMIT_GRPC_MESSAGE_BYTES + (4 << 20);
    call->next = c->calls;
    call->link = &c->calls;
    if (c->calls)
        c->calls->link = &call->next;
    c->calls = call;
    nghttp2_session_set_stream_user_data(session, call->stream, call);
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
                     const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
    (void)flags;
    (void)arg;
    struct grpc_call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!call)
        return 0;
    call->header_bytes += name_n + value_n + 32;
    if (call->header_bytes > LIMIT_GRPC_HEADER_BYTES)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* resets the stream */
    struct str key = str_make(name, name_n), text = str_make(value, value_n);
    if (str_eqz(key, ":method")) {
        call->is_post = str_eqz(text, "POST");
    } else if (str_eqz(key, ":path")) {
        call->path_n = value_n < LIMIT_GRPC_PATH_BYTES ? value_n : LIMIT_GRPC_PATH_BYTES;
        memcpy(call->path, value, call->path_n);
    } else if (str_eqz(key, "content-type")) {
        call->is_grpc = str_starts(text, STR("application/grpc")) && !str_starts(text, STR("application/grpc-web"));
    } else if (str_eqz(key, "grpc-timeout")) {
        call->timeout_ms = grpc_parse_timeout(text);
    } else if (str_eqz(key, "grpc-encoding")) {
        call->is_encoded = !str_eqz(text, "identity");
    }
    return 0;
}

/* A request that is no gRPC gets the HTTP status that the protocol's text demands. */
static void refuse_http(struct grpc_call *call)
{
    const char *status = call->is_post ? "415" : "405";
    nghttp2_nv nv[] = {HEADER(":status", status, 3)};
    call->finished = call->answering = true;
    if (nghttp2_submit_response(call->conn->session, call->stream, nv, 1, NULL))
        call->conn->broken = true;
}

static void on_request(struct grpc_call *call)
{
    if (!call->is_post || !call->is_grpc) {
        refuse_http(call);
        return;
    }
    if (call->is_encoded) {
        refuse(call, GRPC_UNIMPLEMENTED, "message compression is not supported; send grpc-encoding: identity");
        return;
    }
    call->announced = true;
    call->conn->handler->on_call(call->conn->arg, call);
}

static void on_ended(struct grpc_call *call)
{
    if (!call->announced || call->ended || call->finished)
        return;
    call->ended = true;
    if (call->in.b.n > call->in.used)
        refuse(call, GRPC_INTERNAL, "the request ended inside a message");
    else
        call->conn->handler->on_end(call);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    (void)arg;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    struct grpc_call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!call)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        on_request(call);
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        on_ended(call);
    return 0;
}

static void take_messages(struct grpc_call *call)
{
    struct str message;
    while (!call->finished) {
        switch (grpc_frames_next(&call->in, &message)) {
        case GRPC_FRAME_NONE:
            return;
        case GRPC_FRAME_MESSAGE:
            call->conn->handler->on_message(call, message);
            break;
        case GRPC_FRAME_COMPRESSED:
            refuse(call, GRPC_INTERNAL, "a compressed message without grpc-encoding");
            break;
        case GRPC_FRAME_TOO_LARGE:
            refuse(call, GRPC_RESOURCE_EXHAUSTED, "the message exceeds the limit of 128 MiB");
            break;
        }
    }
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *p, size_t n, void *arg)
{
    (void)flags;
    struct grpc_conn *c = arg;
    struct grpc_call *call = nghttp2_session_get_stream_user_data(session, stream);
    if (!call || !call->announced || call->finished)
        return 0; /* what still arrives for a refused call is thrown away */
    if (c->unfinished + n > LIMIT_GRPC_UNFINISHED_BYTES || !budget_take(BUDGET_INPUT, n)) {
        refuse(call, GRPC_RESOURCE_EXHAUSTED, "too many bytes of unfinished messages");
        return 0;
    }
    size_t before = call->in.b.n + n;
    c->unfinished += n;
    buf_put(&call->in.b, p, n);
    if (call->in.b.bad)
        refuse(call, GRPC_RESOURCE_EXHAUSTED, "out of memory");
    take_messages(call);
    grpc_frames_compact(&call->in);
    count_unfinished(c, before, call->in.b.n);
    return 0;
}

/* The answer is out while the client still sends: tell it to stop, as RFC 9113, 8.1 has it. */
static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    (void)arg;
    bool last = (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
                frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    if (last && nghttp2_session_get_stream_remote_close(session, frame->hd.stream_id) == 0)
        return nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    return 0;
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t error, void *arg)
{
    (void)error;
    (void)arg;
    struct grpc_call *call = nghttp2_session_get_stream_user_data(session, stream);
    if (!call)
        return 0;
    nghttp2_session_set_stream_user_data(session, stream, NULL);
    if (call->announced)
        call->conn->handler->on_gone(call);
    free_call(call);
    return 0;
}

/* -- the connection ----------------------------------------------------------------------------------------------- */

/*
 * nghttp2 leaves a session in pieces when an allocation fails in the middle of a frame: it crashes later, with another call's
 * bytes. What it asks for is bounded (header lists, streams), so that it gets it, or the process stops by name.
 */
static void *h2_malloc(size_t n, void *arg)
{
    (void)arg;
    return memory_must(malloc(n ? n : 1), "HTTP/2");
}

static void *h2_calloc(size_t n, size_t size, void *arg)
{
    (void)arg;
    return memory_must(calloc(n ? n : 1, size ? size : 1), "HTTP/2");
}

static void *h2_realloc(void *p, size_t n, void *arg)
{
    (void)arg;
    return memory_must(realloc(p, n ? n : 1), "HTTP/2");
}

static void h2_free(void *p, void *arg)
{
    (void)arg;
    free(p);
}

static nghttp2_mem h2_memory = {NULL, h2_malloc, h2_free, h2_calloc, h2_realloc};

static void make_session(struct grpc_conn *c)
{
    nghttp2_session_callbacks *cb = NULL;
    nghttp2_option *option = NULL;
    if (nghttp2_session_callbacks_new(&cb) || nghttp2_option_new(&option))
        goto out;
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
    nghttp2_option_set_max_outbound_ack(option, 1000);
    nghttp2_option_set_no_closed_streams(option, 1);
    if (nghttp2_session_server_new3(&c->session, cb, c, option, &h2_memory)) {
        c->session = NULL;
        goto out;
    }
    nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, LIMIT_GRPC_CALLS},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_STREAM},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, LIMIT_GRPC_HEADER_BYTES},
    };
    if (nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, sizeof settings / sizeof *settings) ||
        nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, WINDOW_CONN))
        c->broken = true;
out:
    nghttp2_session_callbacks_del(cb);
    nghttp2_option_del(option);
}

struct grpc_conn *grpc_conn_new(const struct grpc_handler *handler, void *arg,
                                void (*write)(void *io, const void *p, size_t n), size_t (*room)(void *io), void *io)
{
    struct grpc_conn *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->handler = handler;
    c->arg = arg;
    c->write = write;
    c->room = room;
    c->io = io;
    c->serial = __atomic_add_fetch(&conn_serial, 1, __ATOMIC_RELAXED);
    make_session(c);
    if (!c->session) {
        free(c);
        return NULL;
    }
    return c;
}

void grpc_conn_free(struct grpc_conn *c)
{
    if (!c)
        return;
    while (c->calls) {
        if (c->calls->announced)
            c->handler->on_gone(c->calls);
        free_call(c->calls);
    }
    nghttp2_session_del(c->session);
    free(c);
}

/* A browser or curl that speaks HTTP/1: say what this port is. */
static void greet_http1(struct grpc_conn *c, struct str in)
{
    static const char text[] =
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
        "This port speaks Spark Connect (gRPC): SparkSession.builder.remote(\"sc://HOST:PORT\").\n";
    if (str_starts(in, STR("GET ")) || str_starts(in, STR("POST ")) || str_starts(in, STR("HEAD ")))
        c->write(c->io, text, sizeof text - 1);
}

size_t grpc_unfinished(const struct grpc_conn *c)
{
    return c->unfinished;
}

size_t grpc_unsent(const struct grpc_conn *c)
{
    return c->unsent;
}

bool grpc_feed(struct grpc_conn *c, const void *p, size_t n)
{
    if (!c->broken) {
        ssize_t used = nghttp2_session_mem_recv(c->session, p, n);
        if (used == NGHTTP2_ERR_BAD_CLIENT_MAGIC && !c->started)
            greet_http1(c, str_make(p, n));
        if (used < 0)
            c->broken = true;
        c->started = true;
    }
    return grpc_flush(c);
}

/* Tell those whose queue went empty; true when one of them has more to send now. */
static bool tell_drained(struct grpc_conn *c)
{
    bool more = false;
    for (struct grpc_call *call = c->calls, *next; call; call = next) {
        next = call->next;
        if (!call->drained)
            continue;
        call->drained = false;
        if (!call->finished)
            c->handler->on_drained(call);
        more |= call->queued || call->finished;
    }
    return more;
}

bool grpc_flush(struct grpc_conn *c)
{
    bool more = !c->broken;
    while (more) {
        const uint8_t *p;
        ssize_t n = 0;
        /* once something failed, in a callback too, nghttp2's session is not to be touched any more */
        while (!c->broken && c->room(c->io) > 0 && (n = nghttp2_session_mem_send(c->session, &p)) > 0)
            c->write(c->io, p, (size_t)n);
        if (n < 0)
            c->broken = true;
        more = !c->broken && tell_drained(c) && c->room(c->io) > 0;
    }
    return !c->broken && (nghttp2_session_want_read(c->session) || nghttp2_session_want_write(c->session));
}

void grpc_goaway(struct grpc_conn *c)
{
    nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(c->session),
                          NGHTTP2_NO_ERROR, NULL, 0);
}
