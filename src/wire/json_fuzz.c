/* Any bytes: the reader neither faults nor reads outside, strict and lenient, skipping and decoding. */
#include "wire/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(struct json *j, struct arena *a)
{
    struct str s;
    if (json_peek(j) == '{' && json_object(j)) {
        while (json_more(j, '}')) {
            json_key(j, a, &s);
            json_skip(j, &s);
        }
    } else if (json_peek(j) == '"') {
        json_string(j, a, &s);
    } else {
        json_skip(j, &s);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new(0);
    for (int lenient = 0; lenient < 2; lenient++) {
        struct json j = json_of(str_make(data, size), lenient);
        walk(&j, a);
        double v;
        (void)json_to_double(str_make(data, size), &v);
    }
    arena_free(a);
    return 0;
}
