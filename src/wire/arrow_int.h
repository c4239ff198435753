/* FlatBuffers for arrow_write.c and arrow_read.c, and the numbers of Arrow's Schema.fbs and Message.fbs. Private. */
#ifndef PENSTOCK_WIRE_ARROW_INT_H
#define PENSTOCK_WIRE_ARROW_INT_H

#include "wire/arrow.h"

enum arrow_type {
    ARROW_NULL = 1,
    ARROW_INT,
    ARROW_FLOAT,
    ARROW_BINARY,
    ARROW_UTF8,
    ARROW_BOOL,
    ARROW_DECIMAL,
    ARROW_DATE,
    ARROW_TIME,
    ARROW_TIMESTAMP,
    ARROW_INTERVAL,
    ARROW_LIST,
    ARROW_STRUCT,
    ARROW_UNION,
    ARROW_FIXED_BINARY,
    ARROW_FIXED_LIST,
    ARROW_MAP,
    ARROW_DURATION,
    ARROW_LARGE_BINARY,
    ARROW_LARGE_UTF8,
    ARROW_LARGE_LIST,
    ARROW_RUN_END,
    ARROW_BINARY_VIEW,
    ARROW_UTF8_VIEW,
    ARROW_LIST_VIEW,
    ARROW_LARGE_LIST_VIEW,
    ARROW_TYPE_COUNT
};
enum { ARROW_SCHEMA = 1, ARROW_DICTIONARY = 2, ARROW_RECORDS = 3 }; /* Message.header */
enum { ARROW_SECOND, ARROW_MILLI, ARROW_MICRO, ARROW_NANO };        /* TimeUnit */
enum { ARROW_MONTHS, ARROW_DAY_MILLI, ARROW_MONTH_DAY_NANO };       /* IntervalUnit */

/*
 * Writing, front to back: a table's references are patched when what they point at has been written behind it, so that
 * every offset is positive, as FlatBuffers demands. Positions are from the start of the buffer `b`, which holds nothing else.
 */
struct fb_slot {
    uint8_t size;   /* of the field in bytes; 0: absent (the default) */
    uint64_t value; /* references: 0, patched later */
    size_t at;      /* out: where the field stands */
};
size_t fb_table(struct buf *b, struct fb_slot *slots, int n);
/* The reference at `at` points at position `to`. */
void fb_point(struct buf *b, size_t at, size_t to);
size_t fb_string(struct buf *b, struct str s);
/* The head of a vector of n elements of elem_size, elements aligned; they are to be appended next. */
size_t fb_vector(struct buf *b, size_t n, size_t elem_align);
void fb_align(struct buf *b, size_t align);

/*
 * Reading: every accessor checks against the end and returns a default with `bad` set when something points outside.
 */
struct fb_in {
    const uint8_t *p;
    size_t n;
    bool bad;
};
struct fb_at { /* a table */
    size_t table, vtable;
    uint32_t vtable_n;
};
struct fb_at fb_root(struct fb_in *in);
size_t fb_field(struct fb_in *in, struct fb_at t, int index, size_t size); /* position of an inline field; 0: absent */
uint64_t fb_uint(struct fb_in *in, struct fb_at t, int index, size_t size, uint64_t otherwise);
bool fb_child(struct fb_in *in, struct fb_at t, int index, struct fb_at *out); /* a table; false: absent */
struct str fb_text(struct fb_in *in, struct fb_at t, int index);               /* "" when absent */
size_t fb_elements(struct fb_in *in, struct fb_at t, int index, size_t elem,
                   uint32_t *n);                                     /* first element; *n 0: absent */
struct fb_at fb_element(struct fb_in *in, size_t first, uint32_t i); /* i-th table of a vector */

#endif
