/* agg_int: keys of groups, between agg_key.c (what a row's key is) and agg_table.c (where its group is). */
#ifndef PENSTOCK_OPERATOR_AGG_INT_H
#define PENSTOCK_OPERATOR_AGG_INT_H

#include "operator/operator.h"

/*
 * Most keys are up to two numbers (a window is its start and end) and up to one string, none null. Those are compared as
 * they are: `plain`. Every other key is compared in its encoded form.
 */
enum agg_part { PART_WORD, PART_PAIR, PART_TEXT };
struct agg_shape {
    bool plain;
    int n;
    uint8_t *part; /* enum agg_part of each key column; NULL when not plain */
};
void agg_shape_of(const struct plan_node *agg, struct agg_shape *out); /* part is malloc'ed */

struct agg_keys { /* of a batch of rows; arrays in the eval's arena */
    struct column *cols;
    uint32_t n;
    int32_t *hash;
    const uint64_t *word[2];
    const struct str *text;
    const uint8_t *odd; /* per row: a null is in it; NULL: none */
};
/* Of key columns that are evaluated already. */
void agg_keys_of(const struct agg_shape *shape, struct column *cols, int ncols, uint32_t n, struct arena *a,
                 struct agg_keys *out);
/* Append row i's encoded key; *text_at: where in it the string of a plain key begins. */
void agg_key_encode(const struct agg_shape *shape, const struct agg_keys *k, int ncols, uint32_t i, struct buf *out,
                    uint32_t *text_at);

#endif
