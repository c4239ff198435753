#include "column/column.h"

#include <stdlib.h>

/* One zero value of any width, and one null flag: what a constant NULL points at. */
static const _Alignas(16) uint8_t ZERO[32];

static bool is_list(const struct type *t)
{
    return t->id == TYPE_ARRAY || t->id == TYPE_MAP;
}

static uint32_t physical(const struct column *c)
{
    return col_is_const(c) ? 1 : c->n;
}

void column_alloc(struct column *c, const struct type *t, uint32_t n, struct arena *a)
{
    *c = (struct column){.type = t, .n = n, .mask = ~0u};
    size_t width = type_width(t);
    if (width)
        c->data.any = arena_array(a, (size_t)n + is_list(t), width);
    if (t->nfields)
        c->children = ARENA_ARRAY(a, (size_t)t->nfields, struct column);
    for (int i = 0; i < t->nfields; i++)
        column_alloc(&c->children[i], t->fields[i].type, is_list(t) ? 0 : n, a);
}

uint8_t *column_valid_alloc(struct column *c, uint32_t n, struct arena *a)
{
    uint8_t *v = arena_alloc(a, n);
    memset(v, 1, n);
    c->valid = v;
    return v;
}

/* Rows that fit into what column_grow allocated for n rows. */
static uint32_t grown_capacity(uint32_t n)
{
    if (n == 0)
        return 0;
    return n <= 8 ? 8 : 1u << (32 - __builtin_clz(n - 1));
}

void column_grow(struct column *c, uint32_t n, struct arena *a)
{
    bool list = is_list(c->type);
    if (n > 1u << 31)
        abort();
    uint32_t cap = c->valid ? grown_capacity(c->n) : 0;
    if (n > cap) {
        size_t width = type_width(c->type);
        uint32_t room = grown_capacity(n);
        if (width) {
            void *p = arena_array(a, (size_t)room + list, width);
            if (c->n || list)
                memcpy(p, c->data.any, ((size_t)c->n + list) * width);
            c->data.any = p;
        }
        uint8_t *v = arena_alloc(a, room);
        memset(v, 1, room);
        if (c->valid)
            memcpy(v, c->valid, c->n);
        c->valid = v;
    }
    for (int i = 0; !list && i < c->type->nfields; i++)
        column_grow(&c->children[i], n, a);
    for (uint32_t i = c->n; list && i < n; i++)
        c->data.offsets[i + 1] = c->data.offsets[i];
    c->n = n;
}

void column_null(struct column *c, const struct type *t, uint32_t n, struct arena *a)
{
    *c = (struct column){.type = t, .n = n, .mask = 0, .valid = ZERO, .data.any = (void *)ZERO};
    if (t->nfields)
        c->children = ARENA_ARRAY(a, (size_t)t->nfields, struct column);
    for (int i = 0; i < t->nfields; i++)
        column_null(&c->children[i], t->fields[i].type, is_list(t) ? 0 : 1, a);
}

/* Physical row `from` of c moved to the front, as a column of n physical rows. */
static void advance(struct column *out, const struct column *c, uint32_t from, uint32_t n, struct arena *a)
{
    *out = *c;
    out->n = n;
    if (col_is_const(c))
        return;
    if (c->valid)
        out->valid = c->valid + from;
    size_t width = type_width(c->type);
    if (width)
        out->data.any = (char *)c->data.any + from * width;
    if (c->type->id != TYPE_STRUCT)
        return; /* offsets are absolute: the children of lists stay */
    out->children = ARENA_ARRAY(a, (size_t)c->type->nfields, struct column);
    for (int i = 0; i < c->type->nfields; i++)
        advance(&out->children[i], &c->children[i], from, n, a);
}

void column_slice(struct column *out, const struct column *in, uint32_t from, uint32_t n, struct arena *a)
{
    advance(out, in, from, n, a);
}

void column_const(struct column *c, const struct column *from, uint32_t row, uint32_t n, struct arena *a)
{
    if (col_is_const(from)) {
        *c = *from;
    } else {
        advance(c, from, row, 1, a);
        c->mask = 0;
    }
    c->n = n;
}

static bool has_const(const struct column *c)
{
    if (col_is_const(c))
        return true;
    for (int i = 0; c->type->id == TYPE_STRUCT && i < c->type->nfields; i++)
        if (has_const(&c->children[i]))
            return true;
    return false;
}

void column_flatten(struct column *out, const struct column *c, struct arena *a)
{
    if (!has_const(c)) {
        *out = *c;
        return;
    }
    uint32_t *rows = ARENA_ARRAY(a, c->n, uint32_t);
    for (uint32_t i = 0; i < c->n; i++)
        rows[i] = i;
    column_gather(out, c, rows, c->n, a);
}

static void gather(struct column *out, const struct column *in, const uint32_t *rows, uint32_t n, struct arena *a);

/* Lists: copy the element ranges of the wanted rows. */
static void gather_list(struct column *out, const struct column *in, const uint32_t *rows, uint32_t n, struct arena *a)
{
    const uint32_t *from = in->data.offsets;
    uint64_t total = 0;
    out->data.offsets = ARENA_ARRAY(a, (size_t)n + 1, uint32_t);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t r = rows[i] & in->mask;
        if (rows[i] != UINT32_MAX && (!in->valid || in->valid[r]))
            total += from[r + 1] - from[r];
        if (total > 1u << 31)
            abort();
        out->data.offsets[i + 1] = (uint32_t)total;
    }
    uint32_t *elements = ARENA_ARRAY(a, total, uint32_t), at = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t r = rows[i] & in->mask;
        for (uint32_t k = 0; at < out->data.offsets[i + 1]; k++)
            elements[at++] = from[r] + k;
    }
    for (int k = 0; k < in->type->nfields; k++)
        gather(&out->children[k], &in->children[k], elements, (uint32_t)total, a);
}

#define GATHER(T)                                                                                                      \
    do {                                                                                                               \
        T *to = arena_array(a, n, sizeof(T));                                                                          \
        const T *from = in->data.any;                                                                                  \
        for (uint32_t i = 0; i < n; i++)                                                                               \
            if (rows[i] != UINT32_MAX)                                                                                 \
                to[i] = from[rows[i] & in->mask];                                                                      \
        out->data.any = to;                                                                                            \
    } while (0)

struct wide {
    uint64_t half[2];
};

static void gather(struct column *out, const struct column *in, const uint32_t *rows, uint32_t n, struct arena *a)
{
    *out = (struct column){.type = in->type, .n = n, .mask = ~0u};
    bool outer = false;
    for (uint32_t i = 0; i < n; i++)
        outer |= rows[i] == UINT32_MAX;
    if (in->valid || outer) {
        uint8_t *v = arena_alloc(a, n);
        for (uint32_t i = 0; i < n; i++)
            v[i] = rows[i] != UINT32_MAX && (!in->valid || in->valid[rows[i] & in->mask]);
        out->valid = v;
    }
    if (in->type->nfields)
        out->children = ARENA_ARRAY(a, (size_t)in->type->nfields, struct column);
    if (is_list(in->type)) {
        gather_list(out, in, rows, n, a);
        return;
    }
    switch (type_width(in->type)) {
    case 1:
        GATHER(uint8_t);
        break;
    case 2:
        GATHER(uint16_t);
        break;
    case 4:
        GATHER(uint32_t);
        break;
    case 8:
        GATHER(uint64_t);
        break;
    case 16:
        GATHER(struct wide);
        break;
    default: /* STRUCT: children have as many physical rows, or are constant themselves */
        if (in->type->nfields && col_is_const(in)) {
            uint32_t *first = ARENA_ARRAY(a, n, uint32_t);
            for (uint32_t i = 0; i < n; i++)
                first[i] = rows[i] == UINT32_MAX ? UINT32_MAX : 0;
            rows = first;
        }
        for (int k = 0; k < in->type->nfields; k++)
            gather(&out->children[k], &in->children[k], rows, n, a);
    }
}

void column_gather(struct column *out, const struct column *in, const uint32_t *rows, uint32_t n, struct arena *a)
{
    gather(out, in, rows, n, a);
}

/* Append the flat column `in` behind out's first `at` rows (both allocated). */
static void place(struct column *out, uint32_t at, const struct column *in)
{
    size_t width = type_width(in->type);
    if (out->valid && in->valid)
        memcpy((uint8_t *)out->valid + at, in->valid, in->n);
    if (!is_list(in->type) && width && in->n)
        memcpy((char *)out->data.any + at * width, in->data.any, in->n * width);
}

static void concat_flat(struct column *out, struct column *parts, size_t nparts, struct arena *a);

/* Offsets of lists shifted; their element columns concatenated over the ranges in use. */
static void concat_lists(struct column *out, struct column *parts, size_t nparts, struct arena *a)
{
    uint32_t at = 0, used = 0;
    struct column *elements = ARENA_ARRAY(a, nparts, struct column);
    for (size_t p = 0; p < nparts; p++) {
        const uint32_t *o = parts[p].data.offsets;
        for (uint32_t i = 0; i < parts[p].n; i++)
            out->data.offsets[++at] = used + o[i + 1] - o[0];
        used += o[parts[p].n] - o[0];
    }
    for (int k = 0; k < out->type->nfields; k++) {
        for (size_t p = 0; p < nparts; p++) {
            const uint32_t *o = parts[p].data.offsets;
            struct column window;
            advance(&window, &parts[p].children[k], o[0], o[parts[p].n] - o[0], a);
            column_flatten(&elements[p], &window, a);
        }
        concat_flat(&out->children[k], elements, nparts, a);
    }
}

static void concat_flat(struct column *out, struct column *parts, size_t nparts, struct arena *a)
{
    uint64_t n = 0;
    bool nulls = false;
    for (size_t p = 0; p < nparts; p++) {
        n += parts[p].n;
        nulls |= parts[p].valid != NULL;
    }
    if (n > 1u << 31)
        abort();
    column_alloc(out, parts[0].type, (uint32_t)n, a);
    if (nulls)
        column_valid_alloc(out, (uint32_t)n, a);
    uint32_t at = 0;
    for (size_t p = 0; p < nparts; p++) {
        place(out, at, &parts[p]);
        at += parts[p].n;
    }
    if (is_list(out->type)) {
        concat_lists(out, parts, nparts, a);
        return;
    }
    struct column *fields = ARENA_ARRAY(a, nparts, struct column);
    for (int k = 0; k < out->type->nfields; k++) {
        for (size_t p = 0; p < nparts; p++)
            fields[p] = parts[p].children[k];
        concat_flat(&out->children[k], fields, nparts, a);
    }
}

void column_concat(struct column *out, const struct column *const *parts, size_t nparts, struct arena *a)
{
    struct column *flat = ARENA_ARRAY(a, nparts, struct column);
    if (nparts == 0)
        abort();
    for (size_t p = 0; p < nparts; p++)
        column_flatten(&flat[p], parts[p], a);
    concat_flat(out, flat, nparts, a);
}

static void *copy_bytes(struct arena *a, const void *p, size_t n)
{
    void *to = arena_alloc(a, n);
    if (n)
        memcpy(to, p, n);
    return to;
}

/* All string bytes in one piece: one allocation for the column, not one per row. */
static void copy_strings(struct column *out, const struct column *in, uint32_t n, struct arena *a)
{
    size_t total = 0, at = 0;
    for (uint32_t i = 0; i < n; i++)
        if (!in->valid || in->valid[i])
            total += in->data.str[i].n;
    char *bytes = arena_alloc(a, total);
    out->data.str = ARENA_ARRAY(a, n, struct str);
    for (uint32_t i = 0; i < n; i++) {
        struct str s = in->data.str[i];
        if (in->valid && !in->valid[i])
            continue;
        if (s.n)
            memcpy(bytes + at, s.p, s.n);
        out->data.str[i] = str_make(bytes + at, s.n);
        at += s.n;
    }
}

void column_copy(struct column *out, const struct column *in, struct arena *a)
{
    uint32_t n = physical(in);
    *out = *in;
    if (in->valid)
        out->valid = copy_bytes(a, in->valid, n);
    if (in->type->id == TYPE_STRING || in->type->id == TYPE_BINARY) {
        copy_strings(out, in, n, a);
        return;
    }
    size_t width = type_width(in->type);
    if (width)
        out->data.any = copy_bytes(a, in->data.any, ((size_t)n + is_list(in->type)) * width);
    if (in->type->nfields)
        out->children = ARENA_ARRAY(a, (size_t)in->type->nfields, struct column);
    for (int k = 0; k < in->type->nfields; k++)
        column_copy(&out->children[k], &in->children[k], a);
}
