#include "base/test.h"
#include "wire/grpc_int.h"

#include <nghttp2/nghttp2.h>

/* A server connection whose output is kept, and a client session of nghttp2 that reads it: no socket, no clock. */
struct peer {
    struct grpc_conn *conn;
    struct buf out;
    size_t room;
    nghttp2_session *client;
    /* what the client saw */
    struct buf body, status, message, details;
    int closed;
    uint32_t reset;
    /* what the server saw */
    struct buf in;
    int calls, ends, gones, drained;
    struct grpc_call *last;
    int to_send; /* messages on_drained still sends */
    size_t chunk;
};

static void put(void *io, const void *p, size_t n)
{
    buf_put(&((struct peer *)io)->out, p, n);
}

static size_t room(void *io)
{
    return ((struct peer *)io)->room;
}

static void s_call(void *arg, struct grpc_call *call)
{
    struct peer *t = arg;
    t->calls++;
    t->last = call;
    grpc_set_state(call, t);
    if (!str_starts(grpc_path(call), STR("/t/")))
        grpc_finish(call, GRPC_UNIMPLEMENTED, STR("no such method"), (struct str){0});
}

static void s_message(struct grpc_call *call, struct str m)
{
    struct peer *t = grpc_state(call);
    buf_str(&t->in, m);
    buf_z(&t->in, "|");
}

static void s_end(struct grpc_call *call)
{
    struct peer *t = grpc_state(call);
    t->ends++;
    if (str_eqz(grpc_path(call), "/t/echo")) {
        grpc_send(call, buf_view(&t->in));
        grpc_finish(call, GRPC_OK, (struct str){0}, (struct str){0});
    }
}

static void s_drained(struct grpc_call *call)
{
    struct peer *t = grpc_state(call);
    t->drained++;
    if (t->to_send > 0) {
        char *p = calloc(1, t->chunk);
        grpc_send(call, str_make(p, t->chunk));
        free(p);
        if (--t->to_send == 0)
            grpc_finish(call, GRPC_OK, (struct str){0}, (struct str){0});
    }
}

static void s_gone(struct grpc_call *call)
{
    struct peer *t = grpc_state(call);
    if (t) {
        t->gones++;
        t->last = NULL;
    }
}

static const struct grpc_handler handler = {s_call, s_message, s_end, s_drained, s_gone};

static int c_header(nghttp2_session *s, const nghttp2_frame *fr, const uint8_t *name, size_t nn, const uint8_t *v,
                    size_t vn, uint8_t flags, void *arg)
{
    (void)s, (void)fr, (void)flags;
    struct peer *t = arg;
    struct str key = str_make(name, nn);
    struct buf *b = str_eqz(key, "grpc-status")               ? &t->status
                    : str_eqz(key, "grpc-message")            ? &t->message
                    : str_eqz(key, "grpc-status-details-bin") ? &t->details
                                                              : NULL;
    if (b)
        buf_put(b, v, vn);
    return 0;
}

static int c_data(nghttp2_session *s, uint8_t flags, int32_t stream, const uint8_t *p, size_t n, void *arg)
{
    (void)s, (void)flags, (void)stream;
    buf_put(&((struct peer *)arg)->body, p, n);
    return 0;
}

static int c_close(nghttp2_session *s, int32_t stream, uint32_t error, void *arg)
{
    (void)s, (void)stream;
    struct peer *t = arg;
    t->closed++;
    t->reset = error;
    return 0;
}

static void peer_init(struct peer *t)
{
    *t = (struct peer){.room = SIZE_MAX};
    t->conn = grpc_conn_new(&handler, t, put, room, t);
    nghttp2_session_callbacks *cb;
    nghttp2_session_callbacks_new(&cb);
    nghttp2_session_callbacks_set_on_header_callback(cb, c_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, c_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, c_close);
    nghttp2_session_client_new(&t->client, cb, t);
    nghttp2_session_callbacks_del(cb);
    nghttp2_submit_settings(t->client, 0, NULL, 0);
}

static void peer_free(struct peer *t)
{
    grpc_conn_free(t->conn);
    nghttp2_session_del(t->client);
    struct buf *all[] = {&t->out, &t->body, &t->status, &t->message, &t->details, &t->in};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        buf_free(all[i]);
}

/* Exchange bytes until nobody has any left; step > 0 feeds the server that many bytes at a time. */
static bool run(struct peer *t, size_t step)
{
    bool ok = true;
    for (int round = 0; round < 10000; round++) {
        const uint8_t *p;
        ssize_t n = nghttp2_session_mem_send(t->client, &p);
        for (ssize_t at = 0; at < n;) {
            size_t take = step && (size_t)(n - at) > step ? step : (size_t)(n - at);
            ok = grpc_feed(t->conn, p + at, take);
            at += (ssize_t)take;
        }
        if (n == 0) {
            ok = grpc_flush(t->conn);
            if (!t->out.n)
                return ok;
        }
        if (nghttp2_session_mem_recv(t->client, (uint8_t *)t->out.p, t->out.n) < 0)
            return false;
        buf_clear(&t->out);
    }
    return ok;
}

struct body {
    struct str bytes;
    size_t sent;
    bool end;
};

static ssize_t c_read(nghttp2_session *s, int32_t stream, uint8_t *p, size_t cap, uint32_t *flags,
                      nghttp2_data_source *source, void *arg)
{
    (void)s, (void)stream, (void)arg;
    struct body *b = source->ptr;
    size_t n = b->bytes.n - b->sent < cap ? b->bytes.n - b->sent : cap;
    if (!n && !b->end)
        return NGHTTP2_ERR_DEFERRED;
    memcpy(p, b->bytes.p + b->sent, n);
    b->sent += n;
    if (b->sent == b->bytes.n && b->end)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

#define NV(k, v)                                                                                                       \
    {                                                                                                                  \
        (uint8_t *)(k), (uint8_t *)(v), strlen(k), strlen(v), 0                                                        \
    }
static int32_t request(struct peer *t, const char *path, const char *key, const char *value, struct body *b)
{
    nghttp2_nv nv[] = {NV(":method", "POST"),
                       NV(":scheme", "http"),
                       NV(":path", path),
                       NV(":authority", "x"),
                       NV("content-type", "application/grpc"),
                       NV(key, value)};
    nghttp2_data_provider dp = {{.ptr = b}, c_read};
    return nghttp2_submit_request(t->client, NULL, nv, 6, &dp, NULL);
}

TEST(unary_call_byte_by_byte)
{
    struct peer t;
    peer_init(&t);
    struct body b = {STR("\0\0\0\0\2hi\0\0\0\0\0\0\0\0\0\1x"), 0, true};
    request(&t, "/t/echo", "grpc-timeout", "1500m", &b);
    EXPECT(run(&t, 1));
    EXPECT_STR(buf_view(&t.in), "hi||x|");
    EXPECT_INT(t.body.n, 11);
    EXPECT(t.body.n == 11 && memcmp(t.body.p, "\0\0\0\0\6hi||x|", 11) == 0);
    EXPECT_STR(buf_view(&t.status), "0");
    EXPECT_INT(t.calls, 1);
    EXPECT_INT(t.ends, 1);
    EXPECT_INT(t.gones, 1);
    EXPECT_INT(t.closed, 1);
    peer_free(&t);
}

TEST(error_with_details)
{
    struct peer t;
    peer_init(&t);
    struct body b = {STR(""), 0, true};
    request(&t, "/t/fail", "x", "y", &b);
    EXPECT(run(&t, 0));
    REQUIRE(t.last);
    struct arena *a = arena_new(0);
    struct grpc_error e = {GRPC_INTERNAL,    STR("[X] no"),   STR("org.x.Y"), STR("org.apache.spark"), 1,
                           {STR("classes")}, {STR("[\"a\"]")}};
    grpc_finish(t.last, GRPC_INTERNAL, STR("Division by zéro: 100%\n"), grpc_error_encode(a, &e));
    EXPECT(run(&t, 0));
    EXPECT_STR(buf_view(&t.status), "13");
    EXPECT_STR(buf_view(&t.message), "Division by z%C3%A9ro: 100%25%0A");
    ptrdiff_t n = grpc_base64_decode(t.details.p, t.details.n);
    struct grpc_error back;
    REQUIRE(n > 0 && grpc_error_decode(a, str_make(t.details.p, (size_t)n), &back));
    EXPECT_STR(back.reason, "org.x.Y");
    EXPECT_INT(back.npairs, 1);
    EXPECT_STR(back.value[0], "[\"a\"]");
    EXPECT_INT(grpc_percent_decode(t.message.p, t.message.n), strlen("Division by zéro: 100%\n"));
    arena_free(a);
    peer_free(&t);
}

TEST(backpressure)
{
    struct peer t;
    peer_init(&t);
    struct body b = {STR(""), 0, true};
    request(&t, "/t/stream", "x", "y", &b);
    EXPECT(run(&t, 0));
    REQUIRE(t.last);
    t.to_send = 200;
    t.chunk = 100000;
    t.room = 0; /* the socket takes nothing: the queue holds what was sent, and nobody asks for more */
    grpc_send(t.last, STR("first"));
    EXPECT(run(&t, 0));
    EXPECT_INT(t.drained, 0);
    EXPECT_INT(grpc_queued(t.last), 10);
    t.room = SIZE_MAX;
    EXPECT(run(&t, 0));
    EXPECT_INT(t.body.n, 10 + 200 * 100005);
    EXPECT_STR(buf_view(&t.status), "0");
    EXPECT_INT(t.gones, 1);
    peer_free(&t);
}

TEST(cancel_and_late_answers)
{
    struct peer t;
    peer_init(&t);
    struct body b = {STR(""), 0, false};
    int32_t stream = request(&t, "/t/stream", "x", "y", &b);
    EXPECT(run(&t, 0));
    REQUIRE(t.last);
    uint64_t id = grpc_call_id(t.last);
    EXPECT(grpc_find(t.conn, id) == t.last);
    nghttp2_submit_rst_stream(t.client, 0, stream, NGHTTP2_CANCEL);
    EXPECT(run(&t, 0));
    EXPECT_INT(t.gones, 1);
    EXPECT(!grpc_find(t.conn, id));
    /* The answer comes while the client still sends: it is told to stop. */
    request(&t, "/t/stream", "x", "y", &b);
    EXPECT(run(&t, 0));
    REQUIRE(t.last);
    grpc_finish(t.last, GRPC_OK, (struct str){0}, (struct str){0});
    EXPECT(run(&t, 0));
    EXPECT_INT(t.gones, 2);
    EXPECT_INT(t.reset, NGHTTP2_NO_ERROR);
    peer_free(&t);
}

TEST(refusals)
{
    static const struct {
        const char *path, *key, *value;
        struct str body;
        const char *status;
    } cases[] = {
        {"/nowhere", "x", "y", STR(""), "12"},
        {"/t/echo", "grpc-encoding", "gzip", STR(""), "12"},
        {"/t/echo", "x", "y", STR("\1\0\0\0\1x"), "13"},        /* compressed flag */
        {"/t/echo", "x", "y", STR("\0\xff\xff\xff\xffx"), "8"}, /* 4 GiB announced */
        {"/t/echo", "x", "y", STR("\0\0\0\0\5abc"), "13"},      /* cut */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct peer t;
        peer_init(&t);
        struct body b = {cases[i].body, 0, true};
        request(&t, cases[i].path, cases[i].key, cases[i].value, &b);
        EXPECT(run(&t, 0));
        EXPECT_STR(buf_view(&t.status), cases[i].status);
        EXPECT_INT(t.gones, t.calls);
        peer_free(&t);
    }
}

TEST(garbage_closes)
{
    struct peer t;
    peer_init(&t);
    static const char http1[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    EXPECT(!grpc_feed(t.conn, http1, sizeof http1 - 1));
    EXPECT(str_starts(buf_view(&t.out), STR("")) && str_find(buf_view(&t.out), STR("Spark Connect"), 0) > 0);
    peer_free(&t);
    peer_init(&t);
    EXPECT(grpc_feed(t.conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24));
    EXPECT(!grpc_feed(t.conn, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12));
    peer_free(&t);
}

TEST(rst_flood_ends)
{
    struct peer t;
    peer_init(&t);
    struct body b = {STR(""), 0, false};
    bool ok = true;
    int i = 0;
    for (; i < 5000 && ok; i++) {
        int32_t stream = request(&t, "/t/stream", "x", "y", &b);
        if (stream < 0)
            break;
        run(&t, 0);
        nghttp2_submit_rst_stream(t.client, 0, stream, NGHTTP2_CANCEL);
        ok = run(&t, 0);
    }
    EXPECT(i < 5000); /* nghttp2 allows 1,000 resets at once and 33 per second */
    EXPECT_INT(t.gones, t.calls);
    peer_free(&t);
}

TEST(too_many_calls)
{
    struct peer t;
    peer_init(&t);
    static struct body b[150];
    EXPECT(run(&t, 0));
    for (int i = 0; i < 150; i++) {
        b[i] = (struct body){STR(""), 0, false};
        request(&t, "/t/stream", "x", "y", &b[i]);
    }
    EXPECT(run(&t, 0));
    EXPECT_INT(t.calls, 100); /* nghttp2's client keeps the rest for later; a rude one gets REFUSED_STREAM */
    grpc_conn_free(t.conn);
    EXPECT_INT(t.gones, 100);
    t.conn = grpc_conn_new(&handler, &t, put, room, &t);
    peer_free(&t);
}

TEST(timeouts)
{
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {{"1H", 3600000}, {"2M", 120000}, {"3S", 3000},       {"4m", 4},
                 {"5u", 1},       {"1001u", 2},   {"6n", 1},          {"", -1},
                 {"5", -1},       {"xm", -1},     {"123456789m", -1}, {"99999999H", 359999996400000}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        EXPECT_INT(grpc_parse_timeout(str_of(cases[i].text)), cases[i].ms);
}

TEST(base64)
{
    static const struct {
        const char *plain, *coded;
    } cases[] = {{"", ""}, {"f", "Zg"}, {"fo", "Zm8"}, {"foo", "Zm9v"}, {"foob", "Zm9vYg"}, {"\xff\xfe", "//4"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b = {0};
        grpc_base64_encode(&b, str_of(cases[i].plain));
        EXPECT_STR(buf_view(&b), cases[i].coded);
        buf_z(&b, "==");
        ptrdiff_t n = grpc_base64_decode(b.p, b.n);
        EXPECT_STR(str_make(b.p, (size_t)n), cases[i].plain);
        buf_free(&b);
    }
    char bad[] = "a", worse[] = "ab!d";
    EXPECT_INT(grpc_base64_decode(bad, 1), -1);
    EXPECT_INT(grpc_base64_decode(worse, 4), -1);
}

TEST_MAIN()
