/* The first bytes pick a message and a version, the rest is its body: what decodes must encode to bytes that decode to the
 * same again. A second use of the same bytes is as a whole frame, for the header. */
#include "wire/kafka.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void round_trip(const struct kafka_shape *s, int16_t version, bool flexible, struct str in)
{
    struct arena *a = arena_new(16 << 20);
    void *first = arena_alloc(a, s->size), *second = arena_alloc(a, s->size);
    struct buf once = {0}, twice = {0};
    struct fault f;

    if (kafka_decode(s, version, flexible, in, a, first, NULL, &f) == ERR_OK) {
        kafka_encode(s, version, flexible, first, &once, NULL);
        /* defaults written out in the input are left out by us, so the bytes may differ from it, but not twice */
        if (once.bad || kafka_decode(s, version, flexible, buf_view(&once), a, second, NULL, &f))
            __builtin_trap();
        kafka_encode(s, version, flexible, second, &twice, NULL);
        if (!str_eq(buf_view(&once), buf_view(&twice)))
            __builtin_trap();
    }
    buf_free(&once);
    buf_free(&twice);
    arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const struct kafka_api *api;
    struct kafka_request_header header;
    struct str body;
    int16_t version;

    if (n < 2)
        return 0;
    api = &KAFKA_APIS[data[0] % KAFKA_NAPIS];
    version = (int16_t)(api->first + (data[1] >> 1) % (api->last - api->first + 1));
    round_trip(data[1] & 1 ? api->response() : api->request(), version, kafka_flexible(api, version),
               str_make(data + 2, n - 2));
    (void)!kafka_read_header(str_make(data, n), &header, &body, NULL);
    return 0;
}
