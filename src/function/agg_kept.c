#include "function/agg_int.h"

static bool is_nested(const struct type *t)
{
    return t->nfields || t->id == TYPE_STRUCT;
}

void kept_put(struct kept *k, const struct column *c, uint32_t i, struct arena *a)
{
    uint32_t r = COL_AT(c, i);
    k->set = true;
    k->valid = col_valid(c, i) && c->type->id != TYPE_NULL;
    if (!k->valid)
        return;
    if (c->type->id == TYPE_STRING || c->type->id == TYPE_BINARY) {
        struct str s = c->data.str[r];
        if (s.n > k->cap ||
            !k->v.str.p) { /* room grows by doubling: a group's strings cost at most twice the longest */
            k->cap = (uint32_t)(s.n < 16 ? 16 : s.n * 2);
            k->v.str.p = arena_alloc(a, k->cap);
        }
        if (s.n)
            memcpy((char *)k->v.str.p, s.p, s.n);
        k->v.str.n = s.n;
    } else if (is_nested(c->type)) {
        struct column one, row;
        column_const(&one, c, i, 1, a);
        k->v.nest = ARENA_NEW(a, struct column);
        column_gather(&row, &one, &(uint32_t){0}, 1, a); /* never onto itself */
        column_copy(k->v.nest, &row, a);
    } else {
        size_t w = type_width(c->type);
        memcpy(k->v.bytes, (const char *)c->data.any + r * w, w);
    }
}

void kept_view(const struct kept *k, const struct type *t, struct column *one)
{
    static const uint8_t NO[1];
    if (k->set && k->valid && is_nested(t)) {
        *one = *k->v.nest;
        one->mask = 0;
        return;
    }
    *one = (struct column){.type = t, .n = 1, .mask = 0, .data.any = (void *)&k->v};
    if (!k->set || !k->valid)
        one->valid = NO;
}

int kept_cmp(const struct kept *k, const struct column *c, uint32_t i)
{
    struct column one;
    kept_view(k, c->type, &one);
    return column_cmp(&one, 0, c, i);
}

void kept_save(const struct kept *k, const struct type *t, struct buf *out)
{
    struct column one;
    kept_view(k, t, &one);
    buf_u8(out, k->set);
    if (k->set)
        column_encode(out, &one, 0);
}

bool kept_load(struct kept *k, const struct type *t, struct rd *r, struct arena *a)
{
    struct column one;
    *k = (struct kept){0};
    if (!rd_u8(r))
        return !r->bad;
    column_alloc(&one, t, 1, a);
    column_decode(&one, 0, r, a);
    if (!r->bad)
        kept_put(k, &one, 0, a);
    return !r->bad;
}

void kept_result(struct kept *const *kept, uint32_t n, const struct type *t, struct column *out, struct arena *a)
{
    if (!is_nested(t)) {
        column_alloc(out, t, n, a);
        size_t w = type_width(t);
        uint8_t *valid = column_valid_alloc(out, n, a);
        for (uint32_t i = 0; i < n; i++) {
            valid[i] = kept[i]->set && kept[i]->valid;
            if (valid[i])
                memcpy((char *)out->data.any + i * w, kept[i]->v.bytes, w);
        }
        return;
    }
    const struct column **parts = ARENA_ARRAY(a, (size_t)n + 1, const struct column *);
    struct column *heads = ARENA_ARRAY(a, (size_t)n + 1, struct column);
    for (uint32_t i = 0; i < n; i++) {
        if (kept[i]->set && kept[i]->valid)
            heads[i] = *kept[i]->v.nest;
        else
            column_null(&heads[i], t, 1, a);
        heads[i].type = t;
        parts[i] = &heads[i];
    }
    if (n)
        column_concat(out, parts, n, a);
    else
        column_alloc(out, t, 0, a);
}
