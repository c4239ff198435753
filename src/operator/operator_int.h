/* The operators' constructors: one per plan kind, each in its own file. Every one takes over `child` also on failure. */
#ifndef PENSTOCK_OPERATOR_OPERATOR_INT_H
#define PENSTOCK_OPERATOR_OPERATOR_INT_H

#include "operator/operator.h"

#define OP_BUILDER(name)                                                                                               \
    enum err name(const struct plan_node *node, const struct op_env *env, struct op *child, struct op **out,           \
                  struct fault *f)
OP_BUILDER(op_one_row);
OP_BUILDER(op_local);
OP_BUILDER(op_range);
OP_BUILDER(op_project);
OP_BUILDER(op_filter);
OP_BUILDER(op_aggregate);
OP_BUILDER(op_sort);
OP_BUILDER(op_limit);
OP_BUILDER(op_union);
OP_BUILDER(op_join);
OP_BUILDER(op_watermark);
OP_BUILDER(op_expand_window);
OP_BUILDER(op_explode);
OP_BUILDER(op_dedup);
OP_BUILDER(op_sample);
OP_BUILDER(op_show);

/* An evaluator over `in` with op's time, zone and current arena. */
struct eval op_eval(const struct op *op, const struct batch_cols *in, struct fault *f);
/* A batch header with room for its columns, in op's arena. */
struct batch_cols *op_batch(struct op *op, uint32_t n);

#endif
