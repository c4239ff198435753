/* eval_int: what lazy kernels need of the evaluator. */
#ifndef PENSTOCK_FUNCTION_EVAL_INT_H
#define PENSTOCK_FUNCTION_EVAL_INT_H

#include "function/function_int.h"

bool eval_any_active(const uint8_t *active, uint32_t n);
enum err eval_masked(const struct expr *e, struct eval *ev, const uint8_t *active, struct column *out);
uint8_t *eval_mask(struct eval *ev); /* a writable copy of the active rows */
/* out[i] = branches[pick[i]][i]; pick UINT32_MAX: null. */
void eval_merge(struct eval *ev, const struct type *type, const struct column *branches, uint32_t nbranches,
                const uint32_t *pick, struct column *out);

#endif
