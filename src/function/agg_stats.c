/* Aggregates of two columns (correlation, max_by), and the count of different values. */
#include "function/agg_int.h"

#include "base/limit.h"

#include <stdlib.h>

/* -- covariance, correlation ------------------------------------------------------------------------------------------------------------ */
struct pair {
    double n, x, y, ck, mx, my;
};
enum { CORR, COVAR_POP, COVAR_SAMP };

static void pair_join(struct pair *a, const struct pair *b)
{
    if (b->n == 0)
        return;
    double n = a->n + b->n, dx = b->x - a->x, dy = b->y - a->y, both = a->n * b->n / n;
    a->ck += b->ck + dx * dy * both;
    a->mx += b->mx + dx * dx * both;
    a->my += b->my + dy * dy * both;
    a->x += dx * b->n / n;
    a->y += dy * b->n / n;
    a->n = n;
}

static enum err pair_update(const struct expr *agg, void **states, const struct column *args, uint32_t n,
                            struct agg_state_env *env)
{
    (void)agg, (void)env;
    for (uint32_t i = 0; i < n; i++)
        if (col_valid(&args[0], i) && col_valid(&args[1], i)) {
            struct pair one = {
                .n = 1, .x = args[0].data.f64[COL_AT(&args[0], i)], .y = args[1].data.f64[COL_AT(&args[1], i)]};
            pair_join(states[i], &one);
        }
    return ERR_OK;
}

static enum err pair_merge(const struct expr *agg, void *into, const void *from, struct agg_state_env *env)
{
    (void)agg, (void)env;
    pair_join(into, from);
    return ERR_OK;
}

static enum err pair_result(const struct expr *agg, void *const *states, uint32_t n, struct column *out,
                            struct arena *a, struct fault *f)
{
    (void)f;
    int what = agg->fn->op;
    column_alloc(out, agg->type, n, a);
    uint8_t *valid = column_valid_alloc(out, n, a);
    for (uint32_t i = 0; i < n; i++) {
        const struct pair *s = states[i];
        valid[i] = s->n > (what == COVAR_POP ? 0 : 1) && !(what == CORR && (s->mx == 0 || s->my == 0));
        out->data.f64[i] = what == CORR ? s->ck / sqrt(s->mx * s->my) : s->ck / (what == COVAR_POP ? s->n : s->n - 1);
    }
    return ERR_OK;
}

static const struct agg_kernel PAIR_K = {sizeof(struct pair), pair_update, pair_merge, pair_result, NULL, NULL};

enum err bind_pair_agg(struct bind_call *bc)
{
    enum err err = bind_args(bc, "D,D");
    bc->e->type = type_simple(TYPE_DOUBLE);
    bc->e->nullable = true;
    bc->e->bound = &PAIR_K;
    return err;
}

/* -- max_by, min_by ---------------------------------------------------------------------------------------------------------------------- */
struct by {
    struct kept value, key;
};

static enum err by_update(const struct expr *agg, void **states, const struct column *args, uint32_t n,
                          struct agg_state_env *env)
{
    for (uint32_t i = 0; i < n; i++) {
        struct by *s = states[i];
        if (!col_valid(&args[1], i) || (s->key.set && kept_cmp(&s->key, &args[1], i) * agg->fn->op > 0))
            continue;
        kept_put(&s->key, &args[1], i, env->arena);
        kept_put(&s->value, &args[0], i, env->arena);
    }
    return ERR_OK;
}

static enum err by_merge(const struct expr *agg, void *into, const void *from, struct agg_state_env *env)
{
    const struct by *y = from;
    struct column args[2];
    if (!y->key.set)
        return ERR_OK;
    kept_view(&y->value, agg->args[0]->type, &args[0]);
    kept_view(&y->key, agg->args[1]->type, &args[1]);
    return by_update(agg, &into, args, 1, env);
}

static enum err by_result(const struct expr *agg, void *const *states, uint32_t n, struct column *out, struct arena *a,
                          struct fault *f)
{
    (void)f; /* the value lies first in the state */
    kept_result((struct kept *const *)states, n, agg->type, out, a);
    return ERR_OK;
}

static void by_save(const struct expr *agg, const void *state, struct buf *out)
{
    kept_save(&((const struct by *)state)->value, agg->args[0]->type, out);
    kept_save(&((const struct by *)state)->key, agg->args[1]->type, out);
}

static bool by_load(const struct expr *agg, void *state, struct rd *r, struct agg_state_env *env)
{
    struct by *s = state;
    return kept_load(&s->value, agg->args[0]->type, r, env->arena) &&
           kept_load(&s->key, agg->args[1]->type, r, env->arena);
}

static const struct agg_kernel BY_K = {sizeof(struct by), by_update, by_merge, by_result, by_save, by_load};

enum err bind_by(struct bind_call *bc)
{
    struct expr *e = bc->e;
    e->type = e->args[0]->type;
    e->nullable = true;
    e->bound = &BY_K;
    if (!type_orderable(e->args[1]->type))
        return BIND_FAULT(bc, ERR_MISMATCH_INVALID_ORDERING_TYPE,
                          {"functionName", quoted_name(bc->b->arena, bc->shown)},
                          {"dataType", quoted_type(bc->b->arena, e->args[1]->type)});
    return ERR_OK;
}

/* -- approx_count_distinct: encoded values one after another, found again by hash; the count is exact --------------------------------------------------- */
struct list {
    char *p;
    size_t n, cap;
    uint32_t count, nslots;
    uint32_t *slots; /* set: offset of a value + 1 */
};

static uint64_t bytes_hash(const char *p, size_t n)
{
    uint64_t h = 0xCBF29CE484222325u ^ n;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (uint8_t)p[i]) * 0x100000001B3u;
    return h ^ h >> 29;
}

/* Values are kept as [length u32][bytes]. */
static struct str list_value(const struct list *l, size_t at)
{
    uint32_t n;
    memcpy(&n, l->p + at, sizeof n);
    return str_make(l->p + at + sizeof n, n);
}

static uint32_t *set_slot(struct list *l, struct str v)
{
    uint32_t at = (uint32_t)bytes_hash(v.p, v.n) & (l->nslots - 1);
    while (l->slots[at] && !str_eq(list_value(l, l->slots[at] - 1), v))
        at = (at + 1) & (l->nslots - 1);
    return &l->slots[at];
}

static void set_grow(struct list *l, struct arena *a)
{
    l->nslots = l->nslots ? l->nslots * 2 : 16;
    l->slots = ARENA_ARRAY(a, l->nslots, uint32_t);
    for (size_t at = 0; at < l->n; at += sizeof(uint32_t) + list_value(l, at).n)
        *set_slot(l, list_value(l, at)) = (uint32_t)at + 1;
}

static enum err list_add(struct list *l, struct str v, struct agg_state_env *env)
{
    if (l->count * 2 >= l->nslots)
        set_grow(l, env->arena);
    uint32_t *slot = set_slot(l, v);
    if (*slot)
        return ERR_OK;
    *slot = (uint32_t)l->n + 1;
    size_t need = l->n + sizeof(uint32_t) + v.n;
    if (need > LIMIT_DISTINCT_BYTES)
        return LIMIT_FAULT(env->fault, DISTINCT_BYTES);
    if (need > l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        while (cap < need)
            cap *= 2;
        char *p = arena_alloc(env->arena, cap);
        if (l->n)
            memcpy(p, l->p, l->n);
        l->p = p;
        l->cap = cap;
    }
    uint32_t n = (uint32_t)v.n;
    memcpy(l->p + l->n, &n, sizeof n);
    memcpy(l->p + l->n + sizeof n, v.p, v.n);
    l->n = need;
    l->count++;
    return ERR_OK;
}

static enum err list_update(const struct expr *agg, void **states, const struct column *args, uint32_t n,
                            struct agg_state_env *env)
{
    (void)agg;
    struct buf b = {0};
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < n && !err; i++) {
        if (!col_valid(args, i) || args->type->id == TYPE_NULL)
            continue;
        buf_clear(&b);
        column_encode(&b, args, i);
        err = list_add(states[i], buf_view(&b), env);
    }
    buf_free(&b);
    return err;
}

static enum err list_merge(const struct expr *agg, void *into, const void *from, struct agg_state_env *env)
{
    (void)agg;
    const struct list *y = from;
    enum err err = ERR_OK;
    for (size_t at = 0; at < y->n && !err; at += sizeof(uint32_t) + list_value(y, at).n)
        err = list_add(into, list_value(y, at), env);
    return err;
}

static enum err list_result(const struct expr *agg, void *const *states, uint32_t n, struct column *out,
                            struct arena *a, struct fault *f)
{
    (void)f;
    column_alloc(out, agg->type, n, a);
    for (uint32_t i = 0; i < n; i++)
        out->data.i64[i] = ((const struct list *)states[i])->count;
    return ERR_OK;
}

static void list_save(const struct expr *agg, const void *state, struct buf *out)
{
    (void)agg;
    const struct list *l = state;
    uint32_t head = l->count;
    uint64_t n = l->n;
    buf_put(out, &head, sizeof head);
    buf_put(out, &n, sizeof n);
    buf_put(out, l->p, l->n);
}

static bool list_load(const struct expr *agg, void *state, struct rd *r, struct agg_state_env *env)
{
    (void)agg;
    struct list *l = state;
    *l = (struct list){0};
    uint32_t count = rd_u32le(r);
    uint64_t n = rd_u64le(r);
    struct rd in = rd_of(rd_bytes(r, n > r->n ? SIZE_MAX : (size_t)n));
    for (uint32_t k = 0; k < count && !r->bad && !in.bad; k++) {
        uint32_t len = rd_u32le(&in);
        struct str v = rd_bytes(&in, len > in.n ? SIZE_MAX : len);
        if (!in.bad && list_add(l, v, env))
            return false;
    }
    return !r->bad && !in.bad && in.n == 0 && l->count == count;
}

static const struct agg_kernel LIST_K = {sizeof(struct list), list_update, list_merge,
                                         list_result,         list_save,   list_load};

enum err bind_distinct_count(struct bind_call *bc)
{
    bc->e->bound = &LIST_K;
    bc->e->type = type_simple(TYPE_LONG);
    return ERR_OK;
}
