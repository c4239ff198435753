/* Any bytes as what a gRPC client sends, in pieces of any size. The first byte says how large the pieces are. */
#include "wire/grpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void put(void *io, const void *p, size_t n)
{
    (void)p;
    *(size_t *)io += n;
}

static size_t room(void *io)
{
    return *(size_t *)io < (1 << 20) ? 65536 : 0;
}

static void on_call(void *arg, struct grpc_call *call)
{
    (void)arg;
    if (grpc_timeout_ms(call) == 0)
        grpc_finish(call, GRPC_DEADLINE_EXCEEDED, grpc_path(call), (struct str){0});
}

static void on_message(struct grpc_call *call, struct str message)
{
    grpc_send(call, message);
}

static void on_end(struct grpc_call *call)
{
    grpc_finish(call, GRPC_OK, STR("done"), STR("\1\2\3"));
}

static void on_other(struct grpc_call *call)
{
    (void)grpc_queued(call);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const struct grpc_handler handler = {on_call, on_message, on_end, on_other, on_other};
    size_t written = 0;
    if (n < 2)
        return 0;
    struct grpc_conn *c = grpc_conn_new(&handler, NULL, put, room, &written);
    size_t step = (size_t)(p[0] & 0x7f) + 1;
    bool open = true;
    if (p[0] & 0x80) /* most inputs get past the preface */
        open = grpc_feed(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33);
    for (size_t at = 1; at < n && open; at += step)
        open = grpc_feed(c, p + at, n - at < step ? n - at : step);
    grpc_conn_free(c);
    return 0;
}
