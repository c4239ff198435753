/*
 * str: a string is a pointer and a length.
 *
 * Nothing in penstock assumes a terminator: keys, values and column strings point into read buffers, wire frames and
 * arenas. A `struct str` owns nothing; whoever made it says how long its bytes live.
 */
#ifndef PENSTOCK_BASE_STR_H
#define PENSTOCK_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *p;
    size_t n;
};

#define STR(lit)   ((struct str){"" lit, sizeof(lit) - 1})
#define STR_ARG(s) (int)(s).n, (s).p /* for "%.*s" */

static inline struct str str_of(const char *z)
{
    return (struct str){z, z ? strlen(z) : 0};
}

static inline struct str str_make(const void *p, size_t n)
{
    return (struct str){p, n};
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool str_eqz(struct str a, const char *z)
{
    return str_eq(a, str_of(z));
}

/* Unsigned bytewise order (Spark's UTF8String binary collation, Kafka's key order). Returns <0, 0, >0. */
int str_cmp(struct str a, struct str b);
/* ASCII case-insensitive equality: Spark resolves identifiers so (spark.sql.caseSensitive=false). */
bool str_eq_nocase(struct str a, struct str b);
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
/* Index of the first occurrence at or after `from`, or -1. */
ptrdiff_t str_find(struct str s, struct str needle, size_t from);
/* The ways that str_find has to do it (fn NULL: not on this machine): the first occurrence of m bytes, 1 <= m <= n, or NULL. */
typedef const char *str_find_fn(const char *p, size_t n, const char *word, size_t m);
struct str_find_twin {
    const char *name;
    str_find_fn *fn;
};
bool str_find_twin(size_t i, struct str_find_twin *out);
struct str str_sub(struct str s, size_t from, size_t n); /* clamped to s */
struct str str_trim(struct str s);                       /* ASCII spaces and controls, both ends */
/* Decimal int64 of the whole string, sign allowed; false on any other character, overflow or emptiness. */
bool str_to_i64(struct str s, int64_t *out);

#endif
