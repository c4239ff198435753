/*
 * yardstick [-o FILE] SEGMENT.log...: Q1 by hand, the speed that penstock's engine is measured against.
 *
 *   SELECT content, avg(rating), count(*) FROM (from_json of each record's value) GROUP BY content
 *
 * One thread, no engine: read the segment files in megabytes, check every batch's CRC-32C, walk the records, validate each
 * value as JSON (RFC 8259's grammar) while picking two fields, and add to a hash table. A value that is no JSON
 * object counts under null, as Spark's PERMISSIVE mode has it. Everything from open() to the last record is timed. Prints
 * one line of JSON; -o writes content<TAB>avg<TAB>count per group, for comparing answers. Uncompressed batches only.
 */
#include <fcntl.h>
#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { BUFFER = 4 << 20, PAD = 64, DEPTH = 64, KEY_MAX = 1 << 16 };

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

/* -- the table: open addressing, keys in one arena ------------------------------------------------------------------ */
struct group {
    uint64_t hash;
    const uint8_t *key;
    uint32_t len, used; /* used: 1 a key, 2 the null group */
    uint64_t count, rated;
    double sum;
};
static struct group *table;
static size_t cap = 1 << 12, groups;

static const uint8_t *keep(const uint8_t *p, size_t n) {
    static uint8_t *arena;
    static size_t left;
    if (left < n) arena = malloc(left = 1 << 20);
    uint8_t *at = memcpy(arena, p, n);
    arena += n;
    left -= n;
    return at;
}
static void grow(void) {
    struct group *old = table;
    table = calloc(cap * 2, sizeof *table);
    for (size_t i = 0; i < cap; i++)
        if (old[i].used) {
            size_t at = old[i].hash & (cap * 2 - 1);
            while (table[at].used) at = (at + 1) & (cap * 2 - 1);
            table[at] = old[i];
        }
    cap *= 2;
    free(old);
}
/* p is readable 8 bytes past its end; NULL: the null group. */
static struct group *find(const uint8_t *p, size_t n) {
    uint64_t h = n * 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t word = n - i < 8 ? LOAD64(p + i) << (64 - 8 * (n - i)) : LOAD64(p + i);
        h = (_mm_crc32_u64(h, word) * 0xff51afd7ed558ccdu) ^ h >> 29;
    }
    h ^= h >> 32;
    uint32_t used = p ? 1 : 2;
    if (groups * 2 > cap) grow();
    for (size_t at = h & (cap - 1);; at = (at + 1) & (cap - 1)) {
        struct group *g = &table[at];
        if (g->used == used && g->hash == h && g->len == n && (n == 0 || memcmp(g->key, p, n) == 0)) return g;
        if (!g->used) {
            groups++;
            *g = (struct group){.hash = h, .key = n ? keep(p, n) : p, .len = (uint32_t)n, .used = used};
            return g;
        }
    }
}

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
/* p is at "{"; content and rating NULL: a nested object, only checked. */
static inline const uint8_t *object(const uint8_t *p, const uint8_t *end, int depth, struct value *content,
                                    struct value *rating) {
    struct value v, key;
    p = space(p + 1);
    if (*p == '}') return p + 1;
    for (;; p = space(p + 1)) {
        if (*p != '"' || !(p = string(p + 1, end, &key))) return NULL;
        p = space(p);
        if (*p != ':' || !(p = value(space(p + 1), end, &v, depth))) return NULL;
        if (content && key.n == 7 && memcmp(key.p, "content", 7) == 0)
            *content = v;
        else if (rating && key.n == 6 && memcmp(key.p, "rating", 6) == 0)
            *rating = v;
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

/* -- records --------------------------------------------------------------------------------------------------------- */
static uint64_t events, malformed;
static inline void event(const uint8_t *p, size_t n) {
    static uint8_t plain[KEY_MAX + PAD];
    struct value content = {.kind = 'n'}, rating = {.kind = 'n'};
    const uint8_t *at = space(p), *end = p + n;
    bool ok = *at == '{' && (at = object(at, end, 0, &content, &rating)) && at <= end && space(at) >= end;
    if (!ok || content.kind != '"') content = (struct value){.kind = 'n'};
    if (content.escaped && content.n <= KEY_MAX) content = (struct value){.p = plain, .n = unescape(&content, plain)};
    struct group *g = find(content.p, content.n);
    g->count++;
    events++;
    malformed += !ok;
    if (ok && rating.kind == '0') {
        g->sum += rating.number;
        g->rated++;
    }
}
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
int main(int argc, char **argv) {
    const char *out = argc > 2 && !strcmp(argv[1], "-o") ? argv[2] : NULL;
    uint8_t *buffer = malloc(BUFFER + PAD);
    uint64_t bytes = 0;
    table = calloc(cap, sizeof *table);
    for (int i = out ? 3 : 1; i < argc; i++) bytes += segment(argv[i], buffer);
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    double cpu =
        (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) + (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
    printf("{\"events\": %lu, \"malformed\": %lu, \"groups\": %zu, \"bytes\": %lu, \"cpu_seconds\": %.3f, "
           "\"events_per_core_second\": %.0f}\n",
           events, malformed, groups, bytes, cpu, (double)events / cpu);
    FILE *f = out ? fopen(out, "w") : NULL;
    for (size_t i = 0; f && i < cap; i++)
        if (table[i].used)
            fprintf(f, "%.*s\t%.17g\t%lu\n", (int)table[i].len, table[i].len ? (const char *)table[i].key : "",
                    table[i].rated ? table[i].sum / (double)table[i].rated : 0.0, table[i].count);
    return f && fclose(f) ? 1 : 0;
}
