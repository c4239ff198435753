/*
 * buf: a growable byte buffer with a sticky failure.
 *
 * Writers append and ask once: after any number of buf_put… calls, `b->bad` says whether the bytes are all there.
 * `limit` bounds the size. Without one (0) the bound is 1 GiB and the writer is taken not to ask: where malloc refuses, the
 * process stops (base/memory.h) rather than write half of what is going to the disk. Who asks and can answer sets a limit,
 * BUF_ASKED if no other. A buffer owns its bytes; buf_take hands them over.
 * All multi-byte integers of buf_u16be… are big-endian (Kafka's), buf_u32le little-endian (Arrow's).
 */
#ifndef PENSTOCK_BASE_BUF_H
#define PENSTOCK_BASE_BUF_H

#include "base/str.h"

enum { BUF_ASKED = 1 << 30 };
struct buf {
    char *p;
    size_t n, cap;
    size_t limit;
    bool bad;
};

void buf_free(struct buf *b);
static inline void buf_clear(struct buf *b)
{
    b->n = 0;
    b->bad = false;
}
/* Room for `more` bytes beyond n; false (and bad) when it cannot be had. */
bool buf_reserve(struct buf *b, size_t more);
void buf_put(struct buf *b, const void *p, size_t n);
void buf_str(struct buf *b, struct str s);
void buf_z(struct buf *b, const char *z);
void buf_fmt(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_fill(struct buf *b, char c, size_t n);
void buf_u8(struct buf *b, uint8_t v);
void buf_u16be(struct buf *b, uint16_t v);
void buf_u32be(struct buf *b, uint32_t v);
void buf_u64be(struct buf *b, uint64_t v);
void buf_u16le(struct buf *b, uint16_t v);
void buf_u32le(struct buf *b, uint32_t v);
void buf_u64le(struct buf *b, uint64_t v);
static inline struct str buf_view(const struct buf *b)
{
    return str_make(b->p, b->n);
}
/* The bytes of a buffer that is whole; memory_out for `what` when it is bad. For what is bounded and must not be cut short: it
 * is written down, or compared with what was. */
struct str buf_whole(const struct buf *b, const char *what);
/* The bytes (malloc'ed, to be freed by the caller), leaving the buffer empty. NULL when bad. */
char *buf_take(struct buf *b, size_t *n);
/* Append s as the inside of a JSON string (RFC 8259): quotes, backslashes and controls escaped, no quotes around. */
void buf_json_escaped(struct buf *b, struct str s);
/* Append s as a quoted JSON string. */
void buf_json_str(struct buf *b, struct str s);

#endif
