/*
 * rd: a sticky reader over bytes from outside. Read on, ask once: after any number of reads `bad` says whether all of them
 * were there; a bad reader returns zeros and empty strings and never moves past the end. It owns nothing.
 */
#ifndef PENSTOCK_BASE_RD_H
#define PENSTOCK_BASE_RD_H

#include "base/str.h"

struct rd {
    const char *p;
    size_t n; /* bytes left */
    bool bad;
};

static inline struct rd rd_of(struct str s)
{
    return (struct rd){s.p, s.n, false};
}
static inline struct str rd_bytes(struct rd *r, size_t n)
{
    if (r->bad || n > r->n) {
        r->bad = true;
        return (struct str){"", 0};
    }
    struct str s = {r->p, n};
    r->p += n;
    r->n -= n;
    return s;
}
#define RD_INT_(name, T, swap)                                                                                         \
    static inline T name(struct rd *r)                                                                                 \
    {                                                                                                                  \
        struct str s = rd_bytes(r, sizeof(T));                                                                         \
        T v = 0;                                                                                                       \
        if (!r->bad)                                                                                                   \
            memcpy(&v, s.p, sizeof v);                                                                                 \
        return (T)swap(v);                                                                                             \
    }
RD_INT_(rd_u8, uint8_t, )
RD_INT_(rd_i8, int8_t, )
RD_INT_(rd_u16be, uint16_t, __builtin_bswap16)
RD_INT_(rd_i16be, int16_t, __builtin_bswap16)
RD_INT_(rd_u32be, uint32_t, __builtin_bswap32)
RD_INT_(rd_i32be, int32_t, __builtin_bswap32)
RD_INT_(rd_u64be, uint64_t, __builtin_bswap64)
RD_INT_(rd_i64be, int64_t, __builtin_bswap64)
RD_INT_(rd_u16le, uint16_t, )
RD_INT_(rd_u32le, uint32_t, )
RD_INT_(rd_i32le, int32_t, )
RD_INT_(rd_u64le, uint64_t, )
RD_INT_(rd_i64le, int64_t, )

/* Base-128 varint of at most 64 bits (protobuf, Kafka's unsigned varints), and its zigzag form (Kafka records). */
static inline uint64_t rd_uvarint(struct rd *r)
{
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        uint8_t b = rd_u8(r);
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80))
            return v;
    }
    r->bad = true;
    return 0;
}
static inline int64_t rd_varint(struct rd *r)
{
    uint64_t v = rd_uvarint(r);
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

#endif
