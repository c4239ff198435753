#include "google/rpc/status.pb-c.h"
#include "wire/grpc_int.h"
#include "wire/proto.h"

void grpc_percent_encode(struct buf *b, struct str text, size_t limit)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t start = b->n;
    for (size_t i = 0; i < text.n;) {
        size_t len = 1, cost = 0;
        while (i + len < text.n && ((uint8_t)text.p[i + len] & 0xc0) == 0x80 && len < 4)
            len++;
        for (size_t k = 0; k < len; k++) {
            uint8_t c = (uint8_t)text.p[i + k];
            cost += c < 0x20 || c > 0x7e || c == '%' ? 3 : 1;
        }
        if (b->n - start + cost > limit)
            return;
        for (size_t k = 0; k < len; k++) {
            uint8_t c = (uint8_t)text.p[i + k];
            if (c >= 0x20 && c <= 0x7e && c != '%')
                buf_u8(b, c);
            else
                buf_put(b, (char[]){'%', hex[c >> 4], hex[c & 15]}, 3);
        }
        i += len;
    }
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

size_t grpc_percent_decode(char *p, size_t n)
{
    size_t out = 0;
    for (size_t i = 0; i < n; i++) {
        int high = p[i] == '%' && n - i > 2 ? hex_value(p[i + 1]) : -1;
        int low = high >= 0 ? hex_value(p[i + 2]) : -1;
        if (low >= 0) {
            p[out++] = (char)(high << 4 | low);
            i += 2;
        } else {
            p[out++] = p[i];
        }
    }
    return out;
}

int64_t grpc_parse_timeout(struct str value)
{
    if (value.n < 2 || value.n > 9) /* at most eight digits and a unit */
        return -1;
    int64_t v = 0;
    for (size_t i = 0; i + 1 < value.n; i++) {
        if (value.p[i] < '0' || value.p[i] > '9')
            return -1;
        v = v * 10 + (value.p[i] - '0');
    }
    switch (value.p[value.n - 1]) {
    case 'H':
        return v * 3600000;
    case 'M':
        return v * 60000;
    case 'S':
        return v * 1000;
    case 'm':
        return v;
    case 'u':
        return (v + 999) / 1000;
    case 'n':
        return (v + 999999) / 1000000;
    default:
        return -1;
    }
}

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void grpc_base64_encode(struct buf *b, struct str bytes)
{
    const uint8_t *p = (const uint8_t *)bytes.p;
    for (size_t i = 0; i < bytes.n; i += 3) {
        size_t have = bytes.n - i < 3 ? bytes.n - i : 3;
        uint32_t v = (uint32_t)p[i] << 16 | (have > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (have > 2 ? p[i + 2] : 0);
        for (size_t k = 0; k <= have; k++)
            buf_u8(b, (uint8_t)alphabet[v >> (18 - 6 * k) & 63]);
    }
}

ptrdiff_t grpc_base64_decode(char *p, size_t n)
{
    while (n > 0 && p[n - 1] == '=')
        n--;
    if (n % 4 == 1)
        return -1;
    size_t out = 0;
    uint32_t v = 0;
    for (size_t i = 0; i < n; i++) {
        const char *at = p[i] ? strchr(alphabet, p[i]) : NULL;
        if (!at)
            return -1;
        v = v << 6 | (uint32_t)(at - alphabet);
        if (i % 4) /* the second to fourth sextet each complete a byte */
            p[out++] = (char)(v >> (6 - 2 * (i % 4)));
    }
    return (ptrdiff_t)out;
}

enum grpc_frame_state grpc_frames_next(struct grpc_frames *fr, struct str *m)
{
    size_t have = fr->b.n - fr->used;
    if (have < GRPC_PREFIX)
        return GRPC_FRAME_NONE;
    const uint8_t *p = (const uint8_t *)fr->b.p + fr->used;
    uint32_t n = (uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | p[4];
    if (p[0] != 0)
        return GRPC_FRAME_COMPRESSED;
    if (n > LIMIT_GRPC_MESSAGE_BYTES)
        return GRPC_FRAME_TOO_LARGE;
    if (have - GRPC_PREFIX < n)
        return GRPC_FRAME_NONE;
    *m = str_make(p + GRPC_PREFIX, n);
    fr->used += GRPC_PREFIX + n;
    return GRPC_FRAME_MESSAGE;
}

void grpc_frames_compact(struct grpc_frames *fr)
{
    if (fr->used == fr->b.n) {
        if (fr->b.cap > 1 << 20)
            buf_free(&fr->b);
        fr->b.n = 0;
    } else if (fr->used) {
        memmove(fr->b.p, fr->b.p + fr->used, fr->b.n - fr->used);
        fr->b.n -= fr->used;
    }
    fr->used = 0;
}

/* -- google.rpc.Status -------------------------------------------------------------------------------------------- */
#define ERROR_INFO_URL "type.googleapis.com/google.rpc.ErrorInfo"

struct str grpc_error_encode(struct arena *a, const struct grpc_error *e)
{
    Google__Rpc__ErrorInfo info = GOOGLE__RPC__ERROR_INFO__INIT;
    Google__Rpc__ErrorInfo__MetadataEntry entry[GRPC_ERROR_PAIRS], *entries[GRPC_ERROR_PAIRS];
    info.reason = arena_z(a, e->reason);
    info.domain = arena_z(a, e->domain);
    for (int i = 0; i < e->npairs; i++) {
        google__rpc__error_info__metadata_entry__init(&entry[i]);
        entry[i].key = arena_z(a, e->key[i]);
        entry[i].value = arena_z(a, e->value[i]);
        entries[i] = &entry[i];
    }
    info.n_metadata = (size_t)e->npairs;
    info.metadata = entries;
    struct str packed = proto_pack(a, &info.base);
    Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT, *details[] = {&any};
    any.type_url = ERROR_INFO_URL;
    any.value = (ProtobufCBinaryData){packed.n, (uint8_t *)packed.p};
    Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;
    status.code = e->code;
    status.message = arena_z(a, e->message);
    status.n_details = 1;
    status.details = details;
    return proto_pack(a, &status.base);
}

bool grpc_error_decode(struct arena *a, struct str bytes, struct grpc_error *e)
{
    *e = (struct grpc_error){0};
    ProtobufCMessage *m;
    if (proto_unpack(a, &google__rpc__status__descriptor, bytes, NULL, &m, NULL))
        return false;
    const Google__Rpc__Status *status = (const void *)m;
    e->code = status->code;
    e->message = str_of(status->message);
    for (size_t i = 0; i < status->n_details; i++) {
        const Google__Protobuf__Any *any = status->details[i];
        if (strcmp(any->type_url, ERROR_INFO_URL) != 0)
            continue;
        if (proto_unpack(a, &google__rpc__error_info__descriptor, str_make(any->value.data, any->value.len), NULL, &m,
                         NULL))
            return false;
        const Google__Rpc__ErrorInfo *info = (const void *)m;
        e->reason = str_of(info->reason);
        e->domain = str_of(info->domain);
        for (size_t k = 0; k < info->n_metadata && e->npairs < GRPC_ERROR_PAIRS; k++, e->npairs++) {
            e->key[e->npairs] = str_of(info->metadata[k]->key);
            e->value[e->npairs] = str_of(info->metadata[k]->value);
        }
        break;
    }
    return true;
}
