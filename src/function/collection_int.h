/* collection_int: building list results by picking rows of their elements, gathered once at the end. */
#ifndef PENSTOCK_FUNCTION_COLLECTION_INT_H
#define PENSTOCK_FUNCTION_COLLECTION_INT_H

#include "function/table_int.h"

struct picks {
    struct call *c;
    uint32_t *rows, n, cap; /* element rows of the source */
    uint32_t *offsets;      /* of the result: the kernel writes offsets[i + 1] = n after row i */
};
void picks_start(struct picks *p, struct call *c);
void picks_add(struct picks *p, uint32_t row);
void picks_finish(struct picks *p, struct column *out, const struct column *children, int nchildren);

/* Several arguments in one column: argument k of row i is all[at[k] + (i & mask[k])]. */
struct spread {
    struct column all;
    uint32_t *at, *mask;
};
void args_concat(struct call *c, int from, int step, int count, const struct type *t, struct spread *s);
enum err null_key(struct call *c, uint32_t i);
/* A map's keys (rows[0..n) of keys) are all there and differ. */
enum err check_keys(struct call *c, uint32_t i, const struct column *keys, const uint32_t *rows, uint32_t n);

#endif
