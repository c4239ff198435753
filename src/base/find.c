/*
 * Finding a text in a text. Two bytes of what is sought are compared at all positions of a block at once; where both are
 * there, all of it is compared (Muła, "SIMD-friendly algorithms for substring searching"). No byte outside the text is read:
 * the last block ends with the last position.
 */
#include "base/str.h"

#if defined __x86_64__
#include <immintrin.h>
#endif

static const char *portable(const char *p, size_t n, const char *w, size_t m)
{
    return memmem(p, n, w, m);
}

#if defined __x86_64__
static inline bool is_rare(char c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
}

/* Quotes, spaces and commas are everywhere: the first letter or digit from each end, when there are two. */
static inline void choose(const char *w, size_t m, size_t *first, size_t *last)
{
    size_t a = 0, b = m - 1;
    while (a < b && !is_rare(w[a]))
        a++;
    while (b > a && !is_rare(w[b]))
        b--;
    *first = a < b ? a : 0;
    *last = a < b ? b : m - 1;
}

#define FIND(vector, load, set, equal, both, mask, width)                                                              \
    size_t a, b, at = 0, positions = n - m + 1;                                                                        \
    choose(w, m, &a, &b);                                                                                              \
    const vector first = set(w[a]), last = set(w[b]);                                                                  \
    for (;;) {                                                                                                         \
        vector x = load((const vector *)(const void *)(p + at + a)),                                                   \
               y = load((const vector *)(const void *)(p + at + b));                                                   \
        for (unsigned hit = (unsigned)mask(both(equal(x, first), equal(y, last))); hit; hit &= hit - 1) {              \
            const char *found = p + at + __builtin_ctz(hit);                                                           \
            if (memcmp(found, w, m) == 0)                                                                              \
                return found;                                                                                          \
        }                                                                                                              \
        if (at + (width) >= positions)                                                                                 \
            return NULL;                                                                                               \
        at = at + 2 * (width) <= positions ? at + (width) : positions - (width);                                       \
    }

static const char *sse2(const char *p, size_t n, const char *w, size_t m)
{
    if (m < 2 || n < m + 15)
        return portable(p, n, w, m);
    FIND(__m128i, _mm_loadu_si128, _mm_set1_epi8, _mm_cmpeq_epi8, _mm_and_si128, _mm_movemask_epi8, 16)
}

__attribute__((target("avx2"))) static const char *avx2(const char *p, size_t n, const char *w, size_t m)
{
    if (m < 2 || n < m + 31)
        return sse2(p, n, w, m);
    FIND(__m256i, _mm256_loadu_si256, _mm256_set1_epi8, _mm256_cmpeq_epi8, _mm256_and_si256, _mm256_movemask_epi8, 32)
}
#endif

static struct str_find_twin twins[] = {{"portable", portable}, {"sse2", NULL}, {"avx2", NULL}};
static str_find_fn *best = portable;

__attribute__((constructor)) static void pick(void)
{
#if defined __x86_64__
    best = twins[1].fn = sse2;
    if (__builtin_cpu_supports("avx2"))
        best = twins[2].fn = avx2;
#endif
}

bool str_find_twin(size_t i, struct str_find_twin *out)
{
    if (i >= sizeof twins / sizeof *twins)
        return false;
    *out = twins[i];
    return true;
}

ptrdiff_t str_find(struct str s, struct str needle, size_t from)
{
    if (from > s.n)
        return -1;
    if (needle.n == 0)
        return (ptrdiff_t)from;
    if (needle.n > s.n - from)
        return -1;
    const char *hit = best(s.p + from, s.n - from, needle.p, needle.n);
    return hit ? hit - s.p : -1;
}
