/* A message as JSON, spelled as Kafka's own JsonConverter classes spell it: for tests against recordings, and for logs. */
#include "wire/kafka.h"

#include <stdlib.h>

static void json_name(struct buf *b, const char *snake)
{
    buf_u8(b, '"');
    for (; *snake; snake++)
        if (*snake == '_' && snake[1])
            buf_u8(b, (uint8_t)(*++snake - 'a' + 'A'));
        else
            buf_u8(b, (uint8_t)*snake);
    buf_z(b, "\":");
}

static void json_base64(struct buf *b, struct str s, const char *alphabet, bool pad)
{
    buf_u8(b, '"');
    for (size_t i = 0; i < s.n; i += 3) {
        uint32_t v = 0;
        size_t n = s.n - i < 3 ? s.n - i : 3;

        for (size_t k = 0; k < 3; k++)
            v = v << 8 | (k < n ? (uint8_t)s.p[i + k] : 0);
        for (size_t k = 0; k < 4; k++)
            if (k <= n)
                buf_u8(b, (uint8_t)alphabet[v >> (18 - 6 * k) & 63]);
            else if (pad)
                buf_u8(b, '=');
    }
    buf_u8(b, '"');
}

static void json_one(struct buf *b, const struct kafka_field *f, int16_t version, const char *at)
{
    static const char STD[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    static const char URL[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    struct str s = f->type >= KAFKA_string && f->type <= KAFKA_records ? *(const struct str *)at : STR("");

    if (!s.p && f->null_since >= 0 && version >= f->null_since) {
        buf_z(b, "null");
        return;
    }
    switch (f->type) {
    case KAFKA_bool:
        buf_z(b, *(const bool *)at ? "true" : "false");
        break;
    case KAFKA_i8:
        buf_fmt(b, "%d", *(const int8_t *)at);
        break;
    case KAFKA_i16:
        buf_fmt(b, "%d", *(const int16_t *)at);
        break;
    case KAFKA_i32:
        buf_fmt(b, "%d", *(const int32_t *)at);
        break;
    case KAFKA_i64:
        buf_fmt(b, "%lld", (long long)*(const int64_t *)at);
        break;
    case KAFKA_uuid:
        json_base64(b, str_make(at, 16), URL, false);
        break;
    case KAFKA_string:
    case KAFKA_string16:
        buf_json_str(b, s);
        break;
    case KAFKA_bytes:
        json_base64(b, s, STD, true);
        break;
    case KAFKA_records:
        buf_z(b, "\"\"");
        break;
    case KAFKA_struct:
        kafka_json(b, f->of(), version, at);
        break;
    }
}

/* A tagged field is shown when it is not its default: encoding it alone tells. */
static bool shown(const struct kafka_shape *s, const struct kafka_field *f, int16_t version, const char *in)
{
    char blank[4096];
    struct buf a = {0}, b = {0};
    bool differs;

    if (f->tag < 0)
        return true;
    if (s->size > sizeof blank)
        abort();
    memcpy(blank, in, s->size);
    {
        struct kafka_shape one = {s->name, f, 1, s->size};
        kafka_defaults(&one, blank);
    }
    kafka_encode(s, version, true, in, &a, NULL);
    kafka_encode(s, version, true, blank, &b, NULL);
    differs = !str_eq(buf_view(&a), buf_view(&b));
    buf_free(&a);
    buf_free(&b);
    return differs;
}

void kafka_json(struct buf *b, const struct kafka_shape *s, int16_t version, const void *value)
{
    const char *in = value;
    bool first = true;

    buf_u8(b, '{');
    for (int i = 0; i < s->nfields; i++) {
        const struct kafka_field *f = &s->fields[i];
        const struct kafka_array *a = (const void *)(in + f->offset);

        if (version < f->since || version > f->until || !shown(s, f, version, in))
            continue;
        if (!first)
            buf_u8(b, ',');
        first = false;
        json_name(b, f->name);
        if (!f->array) {
            json_one(b, f, version, in + f->offset);
        } else if (a->n < 0) {
            buf_z(b, "null");
        } else {
            size_t size = f->type == KAFKA_struct   ? f->of()->size
                          : f->type >= KAFKA_string ? sizeof(struct str)
                          : f->type == KAFKA_uuid   ? 16
                          : f->type == KAFKA_i64    ? 8
                                                    : 4; /* the table has no other arrays */
            buf_u8(b, '[');
            for (int32_t k = 0; k < a->n; k++) {
                if (k)
                    buf_u8(b, ',');
                json_one(b, f, version, (const char *)a->p + (size_t)k * size);
            }
            buf_u8(b, ']');
        }
    }
    buf_u8(b, '}');
}
