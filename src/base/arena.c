#include "base/arena.h"

#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { BLOCK_MIN = 4096 - 64, BLOCK_MAX = 1 << 20, ALIGN = 16 };

struct block {
    struct block *next;
    size_t cap;
    _Alignas(ALIGN) char data[];
};

struct arena {
    struct block *head; /* the block being filled */
    size_t used;        /* of head */
    size_t held;        /* sum of block capacities */
    size_t limit;
    enum budget budget;
};

struct arena *arena_new(size_t limit_bytes)
{
    struct arena *a = memory_must(calloc(1, sizeof *a), "an arena");
    a->limit = limit_bytes;
    a->budget = BUDGET_NONE;
    return a;
}

struct arena *arena_new_charged(size_t limit_bytes, enum budget budget)
{
    struct arena *a = arena_new(limit_bytes);
    a->budget = budget;
    return a;
}

/* `held` becomes `now`; blocks went. */
static void shrink(struct arena *a, size_t now)
{
    if (a->budget != BUDGET_NONE)
        budget_give(a->budget, a->held - now);
    a->held = now;
}

void arena_free(struct arena *a)
{
    if (!a)
        return;
    for (struct block *b = a->head, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    shrink(a, 0);
    free(a);
}

void arena_reset(struct arena *a)
{
    struct block *keep = NULL;
    for (struct block *b = a->head, *next; b; b = next) {
        next = b->next;
        if (!keep || b->cap > keep->cap) {
            free(keep);
            keep = b;
        } else {
            free(b);
        }
    }
    if (keep)
        keep->next = NULL;
    a->head = keep;
    a->used = 0;
    shrink(a, keep ? keep->cap : 0);
}

size_t arena_bytes(const struct arena *a)
{
    return a->held;
}

/* Whether `cap` more may be held; charges it. */
static bool charge(struct arena *a, size_t cap, bool whatever)
{
    bool over = a->limit && (a->held > a->limit || cap > a->limit - a->held);
    if (over && !whatever)
        return false;
    if (a->budget == BUDGET_NONE)
        return true;
    if (whatever)
        budget_force(a->budget, cap);
    return whatever || budget_take(a->budget, cap);
}

static struct block *grow(struct arena *a, size_t need, bool whatever)
{
    size_t cap = a->head ? a->head->cap * 2 : BLOCK_MIN;
    if (cap > BLOCK_MAX)
        cap = BLOCK_MAX;
    if (cap < need)
        cap = need;
    bool room = charge(a, cap, false);
    if (!room) {
        cap = need; /* near the limit: take only what is asked */
        room = charge(a, cap, whatever);
    }
    struct block *b = room ? malloc(sizeof *b + cap) : NULL;
    if (!b) {
        if (room && a->budget != BUDGET_NONE)
            budget_give(a->budget, cap);
        return NULL;
    }
    b->cap = cap;
    b->next = a->head;
    a->head = b;
    a->used = 0;
    a->held += cap;
    return b;
}

static void *take(struct arena *a, size_t size, bool whatever)
{
    if (size > SIZE_MAX / 2)
        return NULL;
    size = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (!a->head || size > a->head->cap - a->used)
        if (!grow(a, size, whatever))
            return NULL;
    void *p = a->head->data + a->used;
    a->used += size;
    return p;
}

void *arena_try(struct arena *a, size_t size)
{
    return take(a, size, false);
}

void *arena_alloc(struct arena *a, size_t size)
{
    void *p = take(a, size, true);
    if (!p) {
        char what[96];
        snprintf(what, sizeof what, "%zu bytes of an arena that holds %zu", size, a->held);
        memory_out(what);
    }
    return memset(p, 0, size);
}

void *arena_array(struct arena *a, size_t n, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(n, size, &total))
        memory_out("an array");
    return arena_alloc(a, total);
}

struct str arena_str(struct arena *a, struct str s)
{
    return str_make(arena_z(a, s), s.n);
}

char *arena_z(struct arena *a, struct str s)
{
    char *p = arena_alloc(a, s.n + 1);
    if (s.n)
        memcpy(p, s.p, s.n);
    return p;
}

struct str arena_fmt(struct arena *a, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        n = 0;
    char *p = arena_alloc(a, (size_t)n + 1);
    vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return str_make(p, (size_t)n);
}
