/*
 * yardstick-qN [-o FILE] SEGMENT.log...: a query by hand, the speed that penstock's engine is measured against. -DQ=N chooses:
 *
 *   1  SELECT content, avg(rating), count(*) FROM (from_json of each record's value) GROUP BY content
 *   2  SELECT content, window(ts, '10 seconds'), count(*) … GROUP BY both, ts TIMESTAMP, under a watermark of 10 seconds
 *   3  the values that contain "rating":5, as records of new batches with their CRC, in FILE, synced once
 *
 * One thread, no engine: yardstick.h reads segments and checks CRC-32C and JSON; here is what each query does with it. A
 * value that is no JSON object counts under null, as Spark's PERMISSIVE mode has it. Everything from open() to the last
 * record (3: to the sync) is timed. Prints one line of JSON; -o writes a line per group, for comparing answers.
 */
#ifndef Q
#define Q 1
#endif
#if Q == 1
#define OTHER "rating"
#else
#define OTHER "ts"
#endif
#include "yardstick.h"

#include <sys/resource.h>
#include <time.h>

enum { KEY_MAX = 1 << 16, WINDOW_US = 10000000, OUT_BATCH = 500000 };
static uint64_t events, malformed;

#if Q < 3
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

/* The group of a JSON document's content; false: it is no object. */
#define DOCUMENT(other_)                                                                                               \
    static uint8_t plain[KEY_MAX + PAD];                                                                               \
    struct value content = {.kind = 'n'}, other_ = {.kind = 'n'};                                                      \
    const uint8_t *at = space(p), *end = p + n;                                                                        \
    bool ok = *at == '{' && (at = object(at, end, 0, &content, &other_)) && at <= end && space(at) >= end;             \
    if (!ok || content.kind != '"') content = (struct value){.kind = 'n'};                                             \
    if (content.escaped && content.n <= KEY_MAX) content = (struct value) {                                            \
            .p = plain, .n = unescape(&content, plain)                                                                 \
        }

#if Q == 1
static inline void event(const uint8_t *p, size_t n) {
    DOCUMENT(rating);
    struct group *g = find(content.p, content.n);
    g->count++;
    events++;
    malformed += !ok;
    if (ok && rating.kind == '0') {
        g->sum += rating.number;
        g->rated++;
    }
}
static void answer(FILE *f) {
    for (size_t i = 0; i < cap; i++)
        if (table[i].used)
            fprintf(f, "%.*s\t%.17g\t%lu\n", (int)table[i].len, table[i].len ? (const char *)table[i].key : "",
                    table[i].rated ? table[i].sum / (double)table[i].rated : 0.0, table[i].count);
}

/* -- q2: a table for each window; time moves on, so the last one is nearly always the next one too -------------------------- */
#elif Q == 2
static struct slice {
    int64_t start;
    struct group *table;
    size_t cap, groups;
} * slices;
static size_t nslices, slice, total;
static int64_t max_us, watermark_us;

/* yyyy-mm-ddThh:mm:ss[.f…]Z, microseconds since 1970. */
static inline bool timestamp(const uint8_t *p, size_t n, int64_t *us) {
    static const char FORM[] = "0000-00-00T00:00:00";
    if (n < 20 || p[n - 1] != 'Z') return false;
    for (int i = 0; i < 19; i++)
        if (FORM[i] == '0' ? (uint8_t)(p[i] - '0') > 9 : p[i] != FORM[i]) return false;
#define TWO(i) ((p[i] - '0') * 10 + (p[(i) + 1] - '0'))
    int64_t y = TWO(0) * 100 + TWO(2), m = TWO(5), d = TWO(8), h = TWO(11), min = TWO(14), s = TWO(17), f = 0,
            scale = 100000;
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (m < 1 || m > 12 || d < 1 || h > 23 || min > 59 || s > 59) return false;
    if (d > days[m - 1] + (m == 2 && y % 4 == 0 && (y % 100 != 0 || y % 400 == 0))) return false;
    if (n > 20 && (p[19] != '.' || n == 21)) return false;
    for (size_t i = 20; i < n - 1; i++, scale /= 10) {
        if ((uint8_t)(p[i] - '0') > 9) return false;
        f += (p[i] - '0') * scale;
    }
    y -= m <= 2; /* Howard Hinnant's days_from_civil */
    int64_t era = y / 400, yoe = y - era * 400, doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    int64_t day = era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
    *us = (((day * 24 + h) * 60 + min) * 60 + s) * 1000000 + f;
    return true;
}
/* `table` becomes the window's. */
static void turn_to(int64_t start) {
    size_t i = 0;
    if (nslices) slices[slice] = (struct slice){slices[slice].start, table, cap, groups};
    while (i < nslices && slices[i].start != start) i++;
    if (i == nslices) {
        slices = realloc(slices, ++nslices * sizeof *slices);
        slices[i] = (struct slice){start, nslices > 1 ? calloc(1 << 12, sizeof *table) : table, 1 << 12, 0};
    }
    slice = i;
    table = slices[i].table;
    cap = slices[i].cap;
    groups = slices[i].groups;
}
static inline void event(const uint8_t *p, size_t n) {
    int64_t us;
    DOCUMENT(ts);
    events++;
    malformed += !ok;
    if (!ok || ts.kind != '"' || ts.escaped || !timestamp(ts.p, ts.n, &us)) return; /* a null time has no window */
    max_us = us > max_us ? us : max_us;
    int64_t start = us - us % WINDOW_US;
    if (start + WINDOW_US <= watermark_us) return; /* late, by the batch before: this is the first */
    if (!nslices || slices[slice].start != start) turn_to(start);
    struct group *g = find(content.p, content.n);
    total += !g->count++;
}
static void answer(FILE *f) {
    for (size_t s = 0; s < nslices; s++) {
        turn_to(slices[s].start);
        for (size_t i = 0; i < cap; i++)
            if (table[i].used)
                fprintf(f, "%.*s\t%ld\t%lu\n", (int)table[i].len, table[i].len ? (const char *)table[i].key : "",
                        slices[s].start, table[i].count);
    }
}
#endif

/* -- q3 ---------------------------------------------------------------------------------------------------------------------- */
#else
static uint8_t out[OUT_BATCH + (1 << 20)];
static size_t out_n = 61;
static uint32_t out_count;
static int64_t out_offset, now_ms;
static int out_fd;

static inline bool contains(const uint8_t *p, size_t n, const char *word, size_t w) {
    const __m256i first = _mm256_set1_epi8(word[1]),
                  last = _mm256_set1_epi8(word[w - 1]); /* word[0] is a quote: common */
    for (size_t i = 0; i + w <= n; i += 32) {           /* PAD bytes may be read behind */
        unsigned hit = (unsigned)_mm256_movemask_epi8(
            _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i *)(p + i + 1)), first),
                             _mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i *)(p + i + w - 1)), last)));
        for (; hit; hit &= hit - 1) {
            size_t at = i + (unsigned)__builtin_ctz(hit);
            if (at + w <= n && memcmp(p + at, word, w) == 0) return true;
        }
    }
    return false;
}
static size_t put_varint(uint8_t *p, int64_t v) {
    uint64_t z = (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
    size_t n = 0;
    for (; z >= 128; z >>= 7) p[n++] = (uint8_t)(z | 128);
    p[n++] = (uint8_t)z;
    return n;
}
static void put_be(uint8_t *p, uint64_t v, int n) {
    while (n--) p[n] = (uint8_t)v, v >>= 8;
}
static void flush_batch(void) {
    if (!out_count) return;
    memset(out, 0, 61);
    put_be(out, (uint64_t)out_offset, 8);
    put_be(out + 8, out_n - 12, 4);
    out[16] = 2;
    put_be(out + 23, out_count - 1, 4);
    put_be(out + 27, (uint64_t)now_ms, 8);
    put_be(out + 35, (uint64_t)now_ms, 8);
    memset(out + 43, 0xff, 14); /* no producer */
    put_be(out + 57, out_count, 4);
    put_be(out + 17, crc32c(out + 21, out_n - 21), 4);
    for (size_t done = 0; done < out_n;) {
        ssize_t wrote = write(out_fd, out + done, out_n - done);
        if (wrote < 0) die("the output", "cannot write");
        done += (size_t)wrote;
    }
    out_offset += out_count;
    out_count = 0;
    out_n = 61;
}
static inline void event(const uint8_t *p, size_t n) {
    events++;
    if (!contains(p, n, "\"rating\":5", 10)) return;
    uint8_t head[32];
    size_t h = 0;
    head[h++] = 0;
    head[h++] = 0; /* the same time */
    h += put_varint(head + h, out_count);
    head[h++] = 1; /* no key */
    h += put_varint(head + h, (int64_t)n);
    if (out_n + n + 64 > sizeof out) die("the output", "a value is too long");
    out_n += put_varint(out + out_n, (int64_t)(h + n + 1));
    memcpy(out + out_n, head, sizeof head);
    memcpy(out + out_n + h, p, n);
    out[out_n += h + n] = 0; /* no headers */
    out_n++;
    out_count++;
    if (out_n >= OUT_BATCH) flush_batch();
}

#endif

int main(int argc, char **argv) {
    const char *out_path = argc > 2 && !strcmp(argv[1], "-o") ? argv[2] : NULL;
    uint8_t *buffer = malloc(BUFFER + PAD);
    uint64_t bytes = 0;
#if Q < 3
    table = calloc(cap, sizeof *table);
#else
    now_ms = (int64_t)time(NULL) * 1000;
    if (!out_path || (out_fd = open(out_path, O_WRONLY | O_CREAT | O_TRUNC, 0644)) < 0) die("-o", "cannot open");
#endif
    for (int i = out_path ? 3 : 1; i < argc; i++) bytes += segment(argv[i], buffer);
#if Q == 1
    size_t rows = groups;
#elif Q == 2
    size_t rows = total;
    watermark_us = max_us - WINDOW_US; /* for the next batch */
#else
    flush_batch();
    size_t rows = (size_t)out_offset;
    if (fdatasync(out_fd)) die(out_path, "cannot sync");
#endif
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    double cpu =
        (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) + (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
    printf("{\"events\": %lu, \"malformed\": %lu, \"rows\": %zu, \"bytes\": %lu, \"cpu_seconds\": %.3f, "
           "\"events_per_core_second\": %.0f}\n",
           events, malformed, rows, bytes, cpu, (double)events / cpu);
#if Q < 3
    FILE *f = out_path ? fopen(out_path, "w") : NULL;
    if (f) answer(f);
    return f && fclose(f) ? 1 : 0;
#endif
}
