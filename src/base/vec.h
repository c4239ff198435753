/*
 * vec: a growable array of any element type, as a struct the caller declares.
 *
 *   struct { int *p; size_t n, cap; } v = {0};
 *   vec_push(&v, 7);  v.p[0];  vec_free(&v);
 *
 * Growth doubles; out of memory stops the process (base/memory.h), so sizes that come from outside are checked before.
 */
#ifndef PENSTOCK_BASE_VEC_H
#define PENSTOCK_BASE_VEC_H

#include <stddef.h>
#include <stdlib.h>

#define VEC(T)                                                                                                         \
    struct {                                                                                                           \
        T *p;                                                                                                          \
        size_t n, cap;                                                                                                 \
    }

void *vec_grow_(void *p, size_t *cap, size_t need, size_t elem);

#define vec_reserve(v, need)                                                                                           \
    ((need) > (v)->cap ? (void)((v)->p = vec_grow_((v)->p, &(v)->cap, (need), sizeof *(v)->p)) : (void)0)
#define vec_push(v, x) (vec_reserve((v), (v)->n + 1), (v)->p[(v)->n++] = (x))
#define vec_free(v)    (free((v)->p), (v)->p = NULL, (v)->n = (v)->cap = 0)

#endif
