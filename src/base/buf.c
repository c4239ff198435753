#include "base/buf.h"

#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void buf_free(struct buf *b)
{
    free(b->p);
    *b = (struct buf){.limit = b->limit};
}

bool buf_reserve(struct buf *b, size_t more)
{
    size_t limit = b->limit ? b->limit : (size_t)1 << 30;
    if (b->bad)
        return false;
    if (more <= b->cap - b->n)
        return true;
    if (b->n > limit || more > limit - b->n) {
        b->bad = true;
        return false;
    }
    size_t cap = b->cap ? b->cap : 256;
    while (cap < b->n + more)
        cap *= 2;
    char *p = realloc(b->p, cap);
    if (!p && !b->limit)
        memory_out("a buffer");
    if (!p) {
        b->bad = true;
        return false;
    }
    b->p = p;
    b->cap = cap;
    return true;
}

struct str buf_whole(const struct buf *b, const char *what)
{
    if (b->bad)
        memory_out(what);
    return buf_view(b);
}

void buf_put(struct buf *b, const void *p, size_t n)
{
    if (!buf_reserve(b, n) || n == 0)
        return;
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

void buf_str(struct buf *b, struct str s)
{
    buf_put(b, s.p, s.n);
}

void buf_z(struct buf *b, const char *z)
{
    buf_put(b, z, strlen(z));
}

void buf_fmt(struct buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n >= 0 && buf_reserve(b, (size_t)n + 1)) {
        vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
        b->n += (size_t)n;
    }
    va_end(again);
}

void buf_fill(struct buf *b, char c, size_t n)
{
    if (!buf_reserve(b, n) || n == 0)
        return;
    memset(b->p + b->n, c, n);
    b->n += n;
}

void buf_u8(struct buf *b, uint8_t v)
{
    buf_put(b, &v, 1);
}

#define PUT_INT(name, T, conv)                                                                                         \
    void name(struct buf *b, T v)                                                                                      \
    {                                                                                                                  \
        v = conv(v);                                                                                                   \
        buf_put(b, &v, sizeof v);                                                                                      \
    }
PUT_INT(buf_u16be, uint16_t, __builtin_bswap16)
PUT_INT(buf_u32be, uint32_t, __builtin_bswap32)
PUT_INT(buf_u64be, uint64_t, __builtin_bswap64)
PUT_INT(buf_u16le, uint16_t, )
PUT_INT(buf_u32le, uint32_t, )
PUT_INT(buf_u64le, uint64_t, )

char *buf_take(struct buf *b, size_t *n)
{
    if (b->bad)
        return NULL;
    char *p = b->p ? b->p : malloc(1);
    *n = b->n;
    *b = (struct buf){.limit = b->limit};
    return p;
}

void buf_json_escaped(struct buf *b, struct str s)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        const char *two = c == '"'    ? "\\\""
                          : c == '\\' ? "\\\\"
                          : c == '\n' ? "\\n"
                          : c == '\r' ? "\\r"
                          : c == '\t' ? "\\t"
                          : c == '\b' ? "\\b"
                          : c == '\f' ? "\\f"
                                      : NULL;
        if (two) {
            buf_put(b, two, 2);
        } else if (c < 0x20) {
            char u[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
            buf_put(b, u, 6);
        } else {
            buf_put(b, &c, 1);
        }
    }
}

void buf_json_str(struct buf *b, struct str s)
{
    buf_u8(b, '"');
    buf_json_escaped(b, s);
    buf_u8(b, '"');
}
