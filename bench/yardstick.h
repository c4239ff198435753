/*
 * yardstick: how a hand-written program reads Kafka's segments and JSON; yardstick.c has the queries. Uncompressed batches only.
 *
 * The segment files are read in megabytes, the CRC-32C of every batch is checked, the records are walked, and each value that a
 * query wants as JSON is validated whole (RFC 8259's grammar) while two of its fields are picked.
 */
#include <fcntl.h>
#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BUFFER = 4 << 20, PAD = 64, DEPTH = 64 };

typedef uint32_t __attribute__((aligned(1), may_alias)) u32;
typedef uint64_t __attribute__((aligned(1), may_alias)) u64;
#define BE32(p)   __builtin_bswap32(*(const u32 *)(p))
#define LOAD64(p) (*(const u64 *)(p))

static uint32_t crc32c(const uint8_t *p, size_t n) {
    uint64_t c = 0xffffffffu;
    for (; n >= 8; p += 8, n -= 8) c = _mm_crc32_u64(c, LOAD64(p));
    for (; n; p++, n--) c = _mm_crc32_u8((uint32_t)c, *p);
    return ~(uint32_t)c;
}

#if Q < 3
/* -- JSON ------------------------------------------------------------------------------------------------------------ */
struct value {
    char kind; /* " string, 0 number, n null, x anything else */
    bool escaped;
    const uint8_t *p;
    size_t n;
    double number;
};
static const uint8_t *escape(const uint8_t *p) {
    if (p[1] != 'u') return p[1] && strchr("\"\\/bfnrt", p[1]) ? p + 2 : NULL;
    for (int i = 2; i < 6; i++)
        if (!((p[i] >= '0' && p[i] <= '9') || ((p[i] | 32) >= 'a' && (p[i] | 32) <= 'f'))) return NULL;
    return p + 6;
}
/* p is behind the opening quote; returns behind the closing one, NULL when the string is not valid. */
static inline const uint8_t *string(const uint8_t *p, const uint8_t *end, struct value *out) {
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\'), control = _mm_set1_epi8(0x1f);
    const uint8_t *from = p;
    out->escaped = false;
    for (;;) {
        __m128i x = _mm_loadu_si128((const __m128i *)p);
        __m128i special = _mm_or_si128(_mm_cmpeq_epi8(x, quote), _mm_cmpeq_epi8(x, slash));
        special = _mm_or_si128(special, _mm_cmpeq_epi8(_mm_min_epu8(x, control), x));
        unsigned stop = (unsigned)_mm_movemask_epi8(special);
        p += stop ? (unsigned)__builtin_ctz(stop) : 16u;
        if (p >= end || (stop && *p < 0x20)) return NULL;
        if (!stop) continue;
        if (*p == '"') break;
        out->escaped = true;
        if (!(p = escape(p))) return NULL;
    }
    out->p = from;
    out->n = (size_t)(p - from);
    return p + 1;
}
static inline const uint8_t *space(const uint8_t *p) {
    while (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r') p++;
    return p;
}
static inline const uint8_t *digits(const uint8_t *p) {
    const uint8_t *from = p;
    while (*p >= '0' && *p <= '9') p++;
    return p == from ? NULL : p;
}
static inline const uint8_t *number(const uint8_t *from, double *out) {
    const uint8_t *first = from + (*from == '-'), *p = digits(first);
    if (!p || (*first == '0' && p - first > 1)) return NULL;
    if (p - first <= 15 && *p != '.' && (*p | 32) != 'e') {
        int64_t v = 0;
        for (const uint8_t *d = first; d < p; d++) v = v * 10 + (*d - '0');
        *out = (double)(first == from ? v : -v);
        return p;
    }
    if (*p == '.' && !(p = digits(p + 1))) return NULL;
    if ((*p | 32) == 'e' && !(p = digits(p + 1 + (p[1] == '+' || p[1] == '-')))) return NULL;
    *out = strtod((const char *)from, NULL);
    return p;
}
static const uint8_t *nested(const uint8_t *p, const uint8_t *end, int depth);
static inline const uint8_t *value(const uint8_t *p, const uint8_t *end, struct value *v, int depth) {
    if (*p == '"') {
        v->kind = '"';
        return string(p + 1, end, v);
    }
    if (*p == '-' || (*p >= '0' && *p <= '9')) {
        v->kind = '0';
        return number(p, &v->number);
    }
    v->kind = *p == 'n' ? 'n' : 'x';
    if (*p == '{' || *p == '[') return nested(p, end, depth + 1);
    return !memcmp(p, "true", 4) || !memcmp(p, "null", 4) ? p + 4 : !memcmp(p, "false", 5) ? p + 5 : NULL;
}
/* p is at "{"; content and other NULL: a nested object, only checked. */
static inline const uint8_t *object(const uint8_t *p, const uint8_t *end, int depth, struct value *content,
                                    struct value *other) {
    struct value v, key;
    p = space(p + 1);
    if (*p == '}') return p + 1;
    for (;; p = space(p + 1)) {
        if (*p != '"' || !(p = string(p + 1, end, &key))) return NULL;
        p = space(p);
        if (*p != ':' || !(p = value(space(p + 1), end, &v, depth))) return NULL;
        if (content && key.n == 7 && memcmp(key.p, "content", 7) == 0)
            *content = v;
        else if (other && key.n == sizeof OTHER - 1 && memcmp(key.p, OTHER, sizeof OTHER - 1) == 0)
            *other = v;
        p = space(p);
        if (*p != ',') return *p == '}' ? p + 1 : NULL;
    }
}
static const uint8_t *nested(const uint8_t *p, const uint8_t *end, int depth) {
    struct value v;
    if (depth > DEPTH) return NULL;
    if (*p == '{') return object(p, end, depth, NULL, NULL);
    p = space(p + 1);
    if (*p == ']') return p + 1;
    for (;; p = space(p + 1)) {
        if (!(p = value(p, end, &v, depth))) return NULL;
        p = space(p);
        if (*p != ',') return *p == ']' ? p + 1 : NULL;
    }
}
static size_t unescape(const struct value *t, uint8_t *out) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char hex[5] = {0};
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++) {
        if (t->p[i] != '\\') {
            out[n++] = t->p[i];
        } else if (t->p[++i] != 'u') {
            out[n++] = (uint8_t)to[strchr(from, t->p[i]) - from];
        } else {
            unsigned c = (unsigned)strtoul(memcpy(hex, t->p + i + 1, 4), NULL, 16);
            bool pair = c >= 0xd800 && c < 0xdc00 && i + 10 < t->n;
            if (pair) c = (c << 10) + (unsigned)strtoul(memcpy(hex, t->p + i + 7, 4), NULL, 16) - 0x35fdc00;
            i += pair ? 10 : 4;
            int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
            out[n++] = (uint8_t)(more ? ((0xf0u << (3 - more)) & 0xff) | c >> 6 * more : c);
            while (more--) out[n++] = (uint8_t)(0x80 | (c >> 6 * more & 0x3f));
        }
    }
    return n;
}
#endif

/* -- records --------------------------------------------------------------------------------------------------------- */
static inline void event(const uint8_t *p, size_t n);
static inline int64_t varint(const uint8_t **p) {
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        uint8_t b = *(*p)++;
        v |= (uint64_t)(b & 127) << shift;
        if (b < 128) break;
    }
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}
static void die(const char *path, const char *why) {
    fprintf(stderr, "yardstick: %s: %s\n", path, why);
    exit(1);
}
static void batch(const char *path, const uint8_t *b, size_t n) {
    if (b[16] != 2 || (b[22] & 7) || crc32c(b + 21, n - 21) != BE32(b + 17))
        die(path, "a batch is damaged, compressed or of another format");
    if (b[22] & 0x20) return; /* a transaction's end: no record of anybody's */
    const uint8_t *p = b + 61;
    for (uint32_t left = BE32(b + 57); left; left--) {
        int64_t length = varint(&p);
        const uint8_t *next = p + length;
        p++; /* attributes */
        varint(&p);
        varint(&p);
        int64_t key_n = varint(&p);
        p += key_n > 0 ? key_n : 0;
        int64_t value_n = varint(&p);
        if (length < 0 || next > b + n || (value_n >= 0 && p + value_n > next))
            die(path, "a record does not fit its batch");
        if (value_n >= 0) event(p, (size_t)value_n);
        p = next;
    }
}
static uint64_t segment(const char *path, uint8_t *buffer) {
    int fd = open(path, O_RDONLY);
    size_t have = 0;
    uint64_t total = 0;
    for (ssize_t got = 1; got; total += (uint64_t)got) {
        got = fd < 0 ? -1 : read(fd, buffer + have, BUFFER - have);
        if (got < 0) die(path, "cannot read");
        have += (size_t)got;
        memset(buffer + have, 0, PAD);
        const uint8_t *p = buffer, *end = buffer + have;
        for (size_t n; end - p >= 61 && (n = 12 + (size_t)BE32(p + 8)) <= (size_t)(end - p); p += n)
            batch(path, p, n < 61 ? 61 : n);
        have = (size_t)(end - p);
        memmove(buffer, p, have);
    }
    close(fd);
    return total;
}
