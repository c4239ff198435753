/*
 * collect_list and collect_set: a group's values, encoded one after another in the state arena. A set also keeps a table of
 * hashes, so that a value already there is found without decoding. NULLs are left out.
 */
#include "function/agg_int.h"

#include "base/map.h"

struct values {
    char *p; /* encoded values; each is behind its length */
    uint32_t n, cap, count;
    uint32_t *slots, nslots; /* of a set: offset + 1 of a value, by hash */
};

static void *grow(const void *p, size_t used, size_t cap, struct arena *a)
{
    void *q = arena_array(a, cap, 1);
    if (used)
        memcpy(q, p, used);
    return q;
}

static struct str value_at(const struct values *v, uint32_t at)
{
    uint32_t n;
    memcpy(&n, v->p + at, 4);
    return str_make(v->p + at + 4, n);
}

static bool set_has(const struct values *v, struct str s)
{
    for (uint64_t i = hash_bytes(s.p, s.n, 7);; i++) {
        uint32_t slot = v->nslots ? v->slots[i & (v->nslots - 1)] : 0;
        if (!slot)
            return false;
        if (str_eq(value_at(v, slot - 1), s))
            return true;
    }
}

static void set_put(struct values *v, uint32_t at)
{
    struct str s = value_at(v, at);
    uint64_t i = hash_bytes(s.p, s.n, 7);
    while (v->slots[i & (v->nslots - 1)])
        i++;
    v->slots[i & (v->nslots - 1)] = at + 1;
}

static void set_grow(struct values *v, struct arena *a)
{
    v->nslots = v->nslots ? v->nslots * 2 : 16;
    v->slots = ARENA_ARRAY(a, v->nslots, uint32_t);
    for (uint32_t at = 0; at < v->n; at += 4 + (uint32_t)value_at(v, at).n)
        set_put(v, at);
}

/* ERR_LIMIT past 2 GiB of one group, the most that a column of Spark holds too. */
static enum err values_add(struct values *v, struct str s, bool set, struct agg_state_env *env)
{
    if (set && set_has(v, s))
        return ERR_OK;
    if (s.n > INT32_MAX / 2 || v->n + s.n + 4 > INT32_MAX / 2)
        return FAULT(env->fault, ERR_LIMIT, {"what", "the array of one group"}, {"limit", "1 GiB"});
    uint32_t need = v->n + 4 + (uint32_t)s.n;
    if (need > v->cap) {
        v->cap = need * 2 < 64 ? 64 : need * 2;
        v->p = grow(v->p, v->n, v->cap, env->arena);
    }
    if (set && (v->count + 1) * 2 > v->nslots)
        set_grow(v, env->arena);
    uint32_t n = (uint32_t)s.n, at = v->n;
    memcpy(v->p + at, &n, 4);
    memcpy(v->p + at + 4, s.p, s.n);
    v->n = need;
    v->count++;
    if (set)
        set_put(v, at);
    return ERR_OK;
}

static enum err collect_update(const struct expr *agg, void **states, const struct column *args, uint32_t n,
                               struct agg_state_env *env)
{
    struct buf b = {0};
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < n && !e; i++) {
        if (!col_valid(args, i) || args->type->id == TYPE_NULL)
            continue;
        buf_clear(&b);
        column_encode(&b, args, i);
        e = values_add(states[i], buf_view(&b), agg->fn->op, env);
    }
    buf_free(&b);
    return e;
}

static enum err add_all(const struct expr *agg, struct values *into, const struct values *from,
                        struct agg_state_env *env)
{
    enum err e = ERR_OK;
    for (uint32_t at = 0; at < from->n && !e; at += 4 + (uint32_t)value_at(from, at).n)
        e = values_add(into, value_at(from, at), agg->fn->op, env);
    return e;
}

static enum err collect_merge(const struct expr *agg, void *into, const void *from, struct agg_state_env *env)
{
    return add_all(agg, into, from, env);
}

static enum err collect_result(const struct expr *agg, void *const *states, uint32_t n, struct column *out,
                               struct arena *a, struct fault *f)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < n; i++)
        total += ((const struct values *)states[i])->count;
    if (total > 1u << 30)
        return FAULT(f, ERR_LIMIT, {"what", "the elements of a batch of arrays"}, {"limit", "1073741824"});
    column_alloc(out, agg->type, n, a);
    column_grow(&out->children[0], (uint32_t)total, a);
    uint32_t row = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct values *v = states[i];
        for (uint32_t at = 0; at < v->n; at += 4 + (uint32_t)value_at(v, at).n) {
            struct rd r = rd_of(value_at(v, at));
            column_decode(&out->children[0], row++, &r, a);
        }
        out->data.offsets[i + 1] = row;
    }
    return ERR_OK;
}

static void collect_save(const struct expr *agg, const void *state, struct buf *out)
{
    (void)agg;
    const struct values *v = state;
    buf_u32le(out, v->n);
    buf_put(out, v->p, v->n);
}

static bool collect_load(const struct expr *agg, void *state, struct rd *r, struct agg_state_env *env)
{
    struct str all = rd_bytes(r, rd_u32le(r));
    struct rd in = rd_of(all);
    while (!r->bad && in.n) {
        struct str s = rd_bytes(&in, rd_u32le(&in));
        if (in.bad || values_add(state, s, agg->fn->op, env))
            return false;
    }
    return !r->bad;
}

enum err bind_collect(struct bind_call *bc)
{
    static const struct agg_kernel kernel = {sizeof(struct values), collect_update, collect_merge,
                                             collect_result,        collect_save,   collect_load};
    struct expr *e = bc->e;
    e->type = type_array(bc->b->arena, e->args[0]->type, false);
    e->nullable = false;
    e->bound = &kernel;
    return ERR_OK;
}
