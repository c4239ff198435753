/*
 * origin: where in the user's program something stands. Errors carry it as Spark's query context.
 * It owns nothing: the texts live in the request's arena.
 */
#ifndef PENSTOCK_BASE_ORIGIN_H
#define PENSTOCK_BASE_ORIGIN_H

#include "base/fault.h"

struct origin {
    struct str sql;                 /* the whole SQL text; n 0: not from SQL text */
    int32_t start, stop;            /* inclusive code point range in sql; -1: unknown */
    int32_t line, column;           /* 1-based line, 0-based column of start */
    struct str fragment, call_site; /* DataFrame API: "divide", "script.py:12" */
};

/* Write the context of `o` into f->context as the JSON that serve/connect passes on (nothing when unknown). */
void fault_context(struct fault *f, const struct origin *o);

#endif
