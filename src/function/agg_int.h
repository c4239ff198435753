/* agg_int: one kept value of any type: what min, max, first, last and max_by hold per group. */
#ifndef PENSTOCK_FUNCTION_AGG_INT_H
#define PENSTOCK_FUNCTION_AGG_INT_H

#include "function/table_int.h"

struct kept {
    bool set, valid; /* something was kept; it is not NULL */
    uint32_t cap;    /* bytes of a string's room */
    _Alignas(16) union {
        uint8_t bytes[16];
        struct str str;      /* in the state arena */
        struct column *nest; /* one row, in the state arena */
        int64_t i64;
        double f64;
        i128 wide;
    } v;
};

void kept_put(struct kept *k, const struct column *c, uint32_t i, struct arena *a);
void kept_view(const struct kept *k, const struct type *t, struct column *one); /* a constant column of one row */
int kept_cmp(const struct kept *k, const struct column *c, uint32_t i);         /* both valid */
void kept_save(const struct kept *k, const struct type *t, struct buf *out);
bool kept_load(struct kept *k, const struct type *t, struct rd *r, struct arena *a);
/* Row i of out from kept; out was column_alloc'ed or grown to hold it. */
void kept_result(struct kept *const *kept, uint32_t n, const struct type *t, struct column *out, struct arena *a);

#endif
