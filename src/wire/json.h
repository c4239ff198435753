/*
 * json: a reader over JSON text (RFC 8259) that makes nothing but what it is asked for.
 *
 * The caller walks the text: json_peek says what comes, json_object/json_array step in, json_string, json_number … read a
 * value, json_skip passes over one and checks it all the same. A reader is sticky: after an error everything returns
 * false and `bad` stays set. Nesting is bounded by LIMIT_JSON_DEPTH. Nothing is recursive.
 *
 *   json_object(&j);
 *   while (json_more(&j, '}')) { json_key(&j, a, &key); … json_skip(&j); }
 *   if (j.bad) …
 *
 * With `lenient` it reads what Jackson reads under Spark's defaults: single-quoted strings and names, and the numbers NaN,
 * Infinity, +Infinity, -Infinity, INF, +INF, -INF. What follows the first value is not looked at unless json_end is called.
 *
 * Strings are views into the text when they need no decoding; otherwise they are decoded into the arena. Invalid UTF-8
 * becomes U+FFFD, a lone surrogate escape '?', as Java's encoder and decoder have it.
 */
#ifndef PENSTOCK_WIRE_JSON_H
#define PENSTOCK_WIRE_JSON_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/limit.h"

struct json {
    const char *p, *end;
    int depth;
    bool bad, lenient;
    bool first; /* nothing read yet inside the current object or array */
};

static inline struct json json_of(struct str text, bool lenient)
{
    return (struct json){.p = text.p, .end = text.p + text.n, .lenient = lenient};
}

static inline void json_ws(struct json *j)
{
    while (j->p < j->end && (*j->p == ' ' || *j->p == '\n' || *j->p == '\r' || *j->p == '\t'))
        j->p++;
}
/* The next character that is not white space, not consumed; 0 at the end or when bad. */
static inline char json_peek(struct json *j)
{
    json_ws(j);
    return j->bad || j->p >= j->end ? 0 : *j->p;
}
bool json_fail(struct json *j); /* sets bad; returns false */

/* Step into '{' or '['. */
bool json_object(struct json *j);
bool json_array(struct json *j);
/* Inside: true when one more member comes (its comma consumed); false at `close` ('}' or ']', consumed) or when bad. */
bool json_more(struct json *j, char close);
/* A member's name and its colon. */
bool json_key(struct json *j, struct arena *a, struct str *name);

bool json_string(struct json *j, struct arena *a, struct str *out);
/* The text of a number; *integer: no fraction, no exponent. Lenient words count as not integer. */
bool json_number(struct json *j, struct str *text, bool *integer);
/* true, false, null: the word must stand whole. */
bool json_word(struct json *j, const char *word);
/* Pass over one value of any kind, checking it. *raw (may be NULL): its text. */
bool json_skip(struct json *j, struct str *raw);
/* Nothing but white space may follow. */
bool json_end(struct json *j);

/* Conveniences for small documents (offsets, configuration). */
bool json_i64(struct json *j, int64_t *out);
bool json_bool(struct json *j, bool *out);

/* A JSON number's (or any decimal text's) double, correctly rounded. False when the text is no decimal number. */
bool json_to_double(struct str text, double *out);
/* Copy s with invalid UTF-8 replaced by U+FFFD, as Java's decoder does (one per maximal ill-formed subsequence). */
struct str utf8_repair(struct str s, struct arena *a);
bool utf8_valid(struct str s);

/*
 * The fast scan of string bytes: from p, the first quote `q`, backslash or control character below 0x20; *high is set
 * when a byte >= 0x80 was passed. Returns `end` when there is none. The portable twin gives the same answers.
 */
const char *json_scan_string(const char *p, const char *end, char q, bool *high);
const char *json_scan_string_portable(const char *p, const char *end, char q, bool *high);
/* The same inside a document that begins at `doc`: the last bytes are looked at in a load that ends with the document. */
static inline const char *json_scan_inside(const char *doc, const char *p, const char *end, char q, bool *high);

#ifdef __SSE2__
#include <emmintrin.h>
/* Of the 16 bytes at p: where a quote, backslash or control character is; *top: where a byte >= 0x80 is. */
static inline unsigned json_stops_(const char *p, char q, unsigned *top)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i stop =
        _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8(q)), _mm_cmpeq_epi8(v, _mm_set1_epi8('\\'))),
                     _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v)); /* v <= 0x1f */
    *top = (unsigned)_mm_movemask_epi8(v);
    return (unsigned)_mm_movemask_epi8(stop);
}

static inline const char *json_scan_inside(const char *doc, const char *p, const char *end, char q, bool *high)
{
    unsigned top, hit;
    for (; end - p >= 16; p += 16) {
        hit = json_stops_(p, q, &top);
        if (hit) {
            *high |= (top & ((hit & -hit) - 1)) != 0;
            return p + __builtin_ctz(hit);
        }
        *high |= top != 0;
    }
    if (end - doc < 16)
        return json_scan_string_portable(p, end, q, high);
    unsigned seen = 16 - (unsigned)(end - p); /* of the last 16 bytes */
    hit = json_stops_(end - 16, q, &top) >> seen << seen;
    top = top >> seen << seen;
    *high |= (hit ? top & ((hit & -hit) - 1) : top) != 0;
    return hit ? end - 16 + __builtin_ctz(hit) : end;
}
#else
static inline const char *json_scan_inside(const char *doc, const char *p, const char *end, char q, bool *high)
{
    (void)doc;
    return json_scan_string_portable(p, end, q, high);
}
#endif

#endif
