/* string_int: UTF8String's view of bytes as code points, and results built row by row. */
#ifndef PENSTOCK_FUNCTION_STRING_INT_H
#define PENSTOCK_FUNCTION_STRING_INT_H

#include "base/limit.h"
#include "function/table_int.h"

/* Bytes of the code point that begins with this byte; bytes that begin none count as one. Never past the end: clamp. */
static inline size_t utf8_width(uint8_t b)
{
    return b < 0xC2 ? 1 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : b < 0xF5 ? 4 : 1;
}
static inline size_t utf8_step(struct str s, size_t at)
{
    size_t n = utf8_width((uint8_t)s.p[at]);
    return n < s.n - at ? n : s.n - at;
}
size_t utf8_count(struct str s);
size_t utf8_skip(struct str s, size_t at, size_t chars); /* byte offset after so many code points */
/* The code point at s.p[at]; malformed: U+FFFD. */
uint32_t utf8_at(struct str s, size_t at, size_t *width);
void utf8_put(struct buf *out, uint32_t cp);
bool utf8_is_valid(struct str s);
struct str utf8_case(struct arena *a, struct str s, bool upper);
/* Java's substring by code points: [from, to). */
struct str utf8_sub(struct str s, int64_t from, int64_t to);

/* An overlong text is an error of its row (of an inactive row: NULL). */
bool string_row_fails(struct call *c, uint32_t i, struct buf *b);

/* for every live row: BODY sees i and writes into `b`, which becomes the row's text. */
#define STRING_ROWS(c, BODY)                                                                                           \
    do {                                                                                                               \
        struct buf b = {0};                                                                                            \
        for (uint32_t i = 0; i < (c)->n; i++) {                                                                        \
            if (!call_live((c), i))                                                                                    \
                continue;                                                                                              \
            buf_clear(&b);                                                                                             \
            BODY;                                                                                                      \
            if (b.bad && string_row_fails((c), i, &b))                                                                 \
                return LIMIT_FAULT((c)->ev->fault, TEXT_BYTES);                                                        \
            (c)->out->data.str[i] = arena_str((c)->ev->arena, buf_view(&b));                                           \
        }                                                                                                              \
        buf_free(&b);                                                                                                  \
    } while (0)

#endif
