/* ops_int: the operators' numbers in the table, and the binders that files of operators share. */
#ifndef PENSTOCK_FUNCTION_OPS_INT_H
#define PENSTOCK_FUNCTION_OPS_INT_H

#include "function/function_int.h"

enum { OP_ADD, OP_SUB, OP_MUL, OP_DIV, OP_MOD, OP_IDIV, OP_PMOD, OP_AND, OP_OR, OP_XOR, OP_MASK = 15, OP_TRY = 16 };
enum { CMP_EQ, CMP_LT, CMP_LE, CMP_GT, CMP_GE, CMP_NULLSAFE };

const struct type *decimal_of_operand(struct bind *b, const struct expr *e);
enum err bind_sign(struct bind_call *bc);
enum err bind_wrong_operands(struct bind_call *bc);
/* *done: the operands were dates or intervals and bc->e is finished. */
enum err bind_arith_time(struct bind_call *bc, int op, bool *done);
enum err decimal_overflow(struct call *c, uint32_t i, struct str value);

#endif
