#include "wire/proto.h"

#include <stdio.h>

/* One message that the walk is inside of. `seen` marks singular message fields: protobuf-c merges a second one into the
 * first, at a cost that grows with the square of their number, and no encoder writes one twice. */
struct level {
    const ProtobufCMessageDescriptor *desc;
    const uint8_t *end;
    uint64_t seen[2];
    bool strict;
};

struct walk {
    const uint8_t *p;
    int depth;
    const char *const *strict;
    struct fault *f;
    struct level level[LIMIT_PROTO_DEPTH + 1];
};

static enum err malformed(struct walk *w, const char *detail)
{
    char what[300];
    snprintf(what, sizeof what, "protobuf message %s", w->level[w->depth].desc->name);
    return FAULT(w->f, ERR_FRAME, {"what", what}, {"detail", detail});
}

/* Base 128, little end first, at most ten bytes. */
static bool varint(struct walk *w, const uint8_t *end, uint64_t *out)
{
    uint64_t v = 0;
    for (int shift = 0; shift < 70 && w->p < end; shift += 7) {
        uint8_t b = *w->p++;
        v |= (uint64_t)(b & 0x7f) << (shift < 64 ? shift : 63);
        if (!(b & 0x80)) {
            *out = v;
            return true;
        }
    }
    return false;
}

/* Well-formed UTF-8 (RFC 3629) without U+0000. */
static bool clean_text(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint8_t b = p[i];
        size_t more = b < 0x80 ? 0 : b < 0xc2 ? 4 : b < 0xe0 ? 1 : b < 0xf0 ? 2 : b < 0xf5 ? 3 : 4;
        if (b == 0 || more == 4 || more >= n - i)
            return false;
        for (size_t k = 1; k <= more; k++)
            if ((p[i + k] & 0xc0) != 0x80)
                return false;
        if (more > 1) {
            uint8_t c = p[i + 1];
            if ((b == 0xe0 && c < 0xa0) || (b == 0xed && c > 0x9f) || (b == 0xf0 && c < 0x90) ||
                (b == 0xf4 && c > 0x8f))
                return false;
        }
        i += more + 1;
    }
    return true;
}

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

static int wire_of(ProtobufCType t)
{
    switch (t) {
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return WIRE_32;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return WIRE_64;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return WIRE_BYTES;
    default:
        return WIRE_VARINT;
    }
}

static bool is_strict(struct walk *w, const ProtobufCMessageDescriptor *desc)
{
    for (const char *const *s = w->strict; s && *s; s++)
        if (strcmp(*s, desc->name) == 0)
            return true;
    return false;
}

/* Step over a value of wire type `wire`; *start, *n are its bytes when it is length-prefixed. */
static bool skip(struct walk *w, int wire, const uint8_t *end, const uint8_t **start, size_t *n)
{
    uint64_t v = 0;
    size_t fixed = wire == WIRE_64 ? 8 : wire == WIRE_32 ? 4 : 0;
    if (wire == WIRE_VARINT)
        return varint(w, end, &v);
    if (wire == WIRE_BYTES) {
        if (!varint(w, end, &v))
            return false;
    } else if (!fixed) {
        return false; /* groups are of proto2 */
    } else {
        v = fixed;
    }
    if (v > (uint64_t)(end - w->p))
        return false;
    *start = w->p;
    *n = (size_t)v;
    w->p += v;
    return true;
}

static enum err unknown_field(struct walk *w, uint32_t number)
{
    struct level *l = &w->level[w->depth];
    if (!l->strict)
        return ERR_OK;
    char feature[300];
    snprintf(feature, sizeof feature, "field %u of protobuf message %s", number, l->desc->name);
    return FAULT(w->f, ERR_UNSUPPORTED, {"feature", feature},
                 {"hint", "The client may be newer than Spark Connect 4.2."});
}

/* Go down into the message of field `fd` whose bytes are [start, start+n). */
static enum err enter(struct walk *w, const ProtobufCFieldDescriptor *fd, const uint8_t *start, size_t n)
{
    struct level *l = &w->level[w->depth];
    size_t index = (size_t)(fd - l->desc->fields);
    if (fd->label != PROTOBUF_C_LABEL_REPEATED && index < 128) {
        if (l->seen[index / 64] >> (index % 64) & 1)
            return malformed(w, "a singular message field is there twice");
        l->seen[index / 64] |= (uint64_t)1 << (index % 64);
    }
    if (w->depth == LIMIT_PROTO_DEPTH)
        return LIMIT_FAULT(w->f, PROTO_DEPTH);
    const ProtobufCMessageDescriptor *desc = fd->descriptor;
    bool strict = l->strict || is_strict(w, desc);
    w->level[++w->depth] = (struct level){desc, start + n, {0, 0}, strict};
    w->p = start;
    return ERR_OK;
}

static enum err one_field(struct walk *w)
{
    struct level *l = &w->level[w->depth];
    uint64_t tag;
    if (!varint(w, l->end, &tag) || tag >> 3 == 0 || tag >> 32 != 0)
        return malformed(w, "a bad field tag");
    int wire = (int)(tag & 7);
    const uint8_t *start = NULL;
    size_t n = 0;
    const ProtobufCFieldDescriptor *fd = protobuf_c_message_descriptor_get_field(l->desc, (unsigned)(tag >> 3));
    if (!skip(w, wire, l->end, &start, &n))
        return malformed(w, "a value runs over the end");
    if (!fd)
        return unknown_field(w, (uint32_t)(tag >> 3));
    int want = wire_of(fd->type);
    bool packed = wire == WIRE_BYTES && want != WIRE_BYTES && fd->label == PROTOBUF_C_LABEL_REPEATED;
    if (wire != want && !packed)
        return malformed(w, "a field has the wrong wire type");
    if (fd->type == PROTOBUF_C_TYPE_STRING && !clean_text(start, n))
        return malformed(w, "a string is not UTF-8, or holds U+0000");
    if (fd->type == PROTOBUF_C_TYPE_MESSAGE)
        return enter(w, fd, start, n);
    return ERR_OK;
}

enum err proto_check(const ProtobufCMessageDescriptor *desc, struct str bytes, const char *const *strict,
                     struct fault *f)
{
    if (bytes.n > LIMIT_PROTO_BYTES)
        return LIMIT_FAULT(f, PROTO_BYTES);
    struct walk w; /* the levels below depth are never read: left as they are */
    w.p = (const uint8_t *)bytes.p;
    w.depth = 0;
    w.strict = strict;
    w.f = f;
    w.level[0] = (struct level){desc, w.p + bytes.n, {0, 0}, false};
    w.level[0].strict = is_strict(&w, desc);
    for (;;) {
        while (w.p == w.level[w.depth].end) {
            if (w.depth == 0)
                return ERR_OK;
            w.depth--;
        }
        enum err e = one_field(&w);
        if (e)
            return e;
    }
}

static void *from_arena(void *arena, size_t n)
{
    return arena_try(arena, n);
}

static void keep(void *arena, void *p)
{
    (void)arena;
    (void)p;
}

enum err proto_unpack(struct arena *a, const ProtobufCMessageDescriptor *desc, struct str bytes,
                      const char *const *strict, ProtobufCMessage **out, struct fault *f)
{
    enum err e = proto_check(desc, bytes, strict, f);
    if (e)
        return e;
    ProtobufCAllocator allocator = {from_arena, keep, a};
    *out = protobuf_c_message_unpack(desc, &allocator, bytes.n, (const uint8_t *)bytes.p);
    if (!*out) /* the walk found the bytes sound, so that only memory is left to fail */
        return FAULT(f, ERR_NOMEM, {"what", desc->name});
    return ERR_OK;
}

struct str proto_pack(struct arena *a, const ProtobufCMessage *m)
{
    size_t n = protobuf_c_message_get_packed_size(m);
    uint8_t *p = arena_alloc(a, n ? n : 1);
    protobuf_c_message_pack(m, p);
    return str_make(p, n);
}
