#include "base/budget.h"

#include <stdatomic.h>
#include <stdint.h>

static const struct {
    size_t part; /* of the memory: one part-th */
} SHARES[BUDGETS] = {{4}, {4}, {8}};

static size_t size[BUDGETS] = {SIZE_MAX / 2, SIZE_MAX / 2, SIZE_MAX / 2};
static atomic_size_t used[BUDGETS];
static atomic_int waiting[BUDGETS];

void budget_start(size_t memory_bytes)
{
    for (int i = 0; i < BUDGETS; i++)
        size[i] = memory_bytes / SHARES[i].part;
}

size_t budget_size(enum budget b)
{
    return size[b];
}

size_t budget_left(enum budget b)
{
    size_t now = atomic_load_explicit(&used[b], memory_order_relaxed);
    return now < size[b] ? size[b] - now : 0;
}

bool budget_short(enum budget b)
{
    return atomic_load_explicit(&waiting[b], memory_order_relaxed) > 0 || budget_left(b) < size[b] / 8 * 3;
}

void budget_wait(enum budget b, int more)
{
    atomic_fetch_add_explicit(&waiting[b], more, memory_order_relaxed);
}

bool budget_take(enum budget b, size_t n)
{
    size_t most = n > BUDGET_SMALL ? size[b] - size[b] / 4 : size[b];
    size_t before = atomic_fetch_add_explicit(&used[b], n, memory_order_relaxed);
    if (n <= most && before <= most - n)
        return true;
    atomic_fetch_sub_explicit(&used[b], n, memory_order_relaxed);
    return false;
}

void budget_force(enum budget b, size_t n)
{
    atomic_fetch_add_explicit(&used[b], n, memory_order_relaxed);
}

void budget_give(enum budget b, size_t n)
{
    atomic_fetch_sub_explicit(&used[b], n, memory_order_relaxed);
}
