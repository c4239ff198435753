/* table_int: the prototypes of all kernels and binders, made from the rows. Files of kernels include it. */
#ifndef PENSTOCK_FUNCTION_TABLE_INT_H
#define PENSTOCK_FUNCTION_TABLE_INT_H

#include "function/ops_int.h"

#define F(names, min, max, in, result, flags, kernel, bind, op, sql, doc, example)                                     \
    enum err fn_##kernel(struct call *c);                                                                              \
    enum err bind_##bind(struct bind_call *bc);
#include "functions/all.def"
#undef F

#endif
