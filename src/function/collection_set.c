/* Arrays to arrays: sorting, joining, cutting, set operations; maps to arrays and back. */
#include "function/collection_int.h"

#include "base/limit.h"

#include <stdlib.h>

static uint32_t first_of(const struct column *l, uint32_t i)
{
    return l->data.offsets[COL_AT(l, i)];
}

static uint32_t end_of(const struct column *l, uint32_t i)
{
    return l->data.offsets[COL_AT(l, i) + 1];
}

/* Fill every row's picks through `row`, then gather from the argument's elements. */
static enum err each_row(struct call *c, void (*row)(struct call *c, struct picks *p, uint32_t i))
{
    struct picks p;
    picks_start(&p, c);
    for (uint32_t i = 0; i < c->n; i++) {
        if (call_live(c, i))
            row(c, &p, i);
        p.offsets[i + 1] = p.n;
    }
    picks_finish(&p, c->out, c->args[0].children, c->args[0].type->nfields);
    return ERR_OK;
}

/* -- set membership by hash -------------------------------------------------------------------------------------------------- */
struct set {
    const struct column *c;
    uint32_t *slots, cap;
};

static void set_start(struct set *s, const struct column *c, uint32_t n, struct arena *a)
{
    s->c = c;
    s->cap = 16;
    while (s->cap < n * 2)
        s->cap *= 2;
    s->slots = ARENA_ARRAY(a, s->cap, uint32_t);
}

/* Add row r of the set's column, or find row r of `in`; true: it was there. Nulls equal each other. */
static bool set_meet(struct set *s, const struct column *in, uint32_t r, bool add)
{
    uint32_t at = (uint32_t)column_hash(in, r, 7) & (s->cap - 1);
    for (; s->slots[at]; at = (at + 1) & (s->cap - 1))
        if (column_cmp(s->c, s->slots[at] - 1, in, r) == 0)
            return true;
    if (add)
        s->slots[at] = r + 1;
    return false;
}

static void distinct_row(struct call *c, struct picks *p, uint32_t i)
{
    const struct column *l = &c->args[0];
    struct set s;
    set_start(&s, &l->children[0], end_of(l, i) - first_of(l, i), c->ev->arena);
    for (uint32_t k = first_of(l, i); k < end_of(l, i); k++)
        if (!set_meet(&s, &l->children[0], k, true))
            picks_add(p, k);
}

enum err fn_array_distinct(struct call *c)
{
    return each_row(c, distinct_row);
}

static void compact_row(struct call *c, struct picks *p, uint32_t i)
{
    for (uint32_t k = first_of(&c->args[0], i); k < end_of(&c->args[0], i); k++)
        if (col_valid(&c->args[0].children[0], k))
            picks_add(p, k);
}

enum err fn_array_compact(struct call *c)
{
    return each_row(c, compact_row);
}

static void remove_row(struct call *c, struct picks *p, uint32_t i)
{
    const struct column *e = &c->args[0].children[0];
    for (uint32_t k = first_of(&c->args[0], i); k < end_of(&c->args[0], i); k++)
        if (!col_valid(e, k) || column_cmp(e, k, &c->args[1], i) != 0)
            picks_add(p, k);
}

enum err fn_array_remove(struct call *c)
{
    return each_row(c, remove_row);
}

static void reverse_row(struct call *c, struct picks *p, uint32_t i)
{
    for (uint32_t k = end_of(&c->args[0], i); k-- > first_of(&c->args[0], i);)
        picks_add(p, k);
}

enum err fn_array_reverse(struct call *c)
{
    return each_row(c, reverse_row);
}

/* -- sorting --------------------------------------------------------------------------------------------------------------------- */
struct order {
    const struct column *c;
    int sign;        /* 1 ascending */
    bool nulls_last; /* in both directions */
};

static int by_order(const void *x, const void *y, void *arg)
{
    const struct order *o = arg;
    uint32_t i = *(const uint32_t *)x, j = *(const uint32_t *)y;
    bool vi = col_valid(o->c, i), vj = col_valid(o->c, j);
    if (vi != vj)
        return o->nulls_last ? vj - vi : vi - vj;
    int d = vi ? column_cmp(o->c, i, o->c, j) * o->sign : 0;
    return d ? d : (i > j) - (i < j); /* stable */
}

static void sort_row(struct call *c, struct picks *p, uint32_t i)
{
    uint32_t from = p->n;
    bool ascending = c->e->nargs < 2 || c->args[1].data.boolean[COL_AT(&c->args[1], i)];
    struct order o = {&c->args[0].children[0], ascending ? 1 : -1, c->e->fn->op || !ascending};
    for (uint32_t k = first_of(&c->args[0], i); k < end_of(&c->args[0], i); k++)
        picks_add(p, k);
    if (p->n - from > 1) /* one element has no rows pointer to sort */
        qsort_r(p->rows + from, p->n - from, sizeof *p->rows, by_order, &o);
}

enum err bind_sort_array(struct bind_call *bc)
{
    struct expr *e = bc->e;
    if (!bc->fn->op && e->nargs == 1) { /* the direction is spelled out in its name */
        struct expr **args = ARENA_ARRAY(bc->b->arena, 2, struct expr *);
        args[0] = e->args[0];
        args[1] = expr_lit_bool(bc->b, true);
        e->args = args;
        e->nargs = 2;
    }
    enum err err = bind_args(bc, "A,B");
    if (err)
        return err;
    e->type = e->args[0]->type;
    e->nullable = expr_args_nullable(e);
    if (!type_orderable(e->type))
        return BIND_FAULT(bc, ERR_MISMATCH_INVALID_ORDERING_TYPE,
                          {"functionName", quoted_name(bc->b->arena, bc->shown)},
                          {"dataType", quoted_type(bc->b->arena, e->type)});
    return ERR_OK;
}

enum err fn_sort_array(struct call *c)
{
    return each_row(c, sort_row);
}

enum err bind_array_extreme(struct bind_call *bc)
{
    enum err err = bind_args(bc, "A");
    if (err)
        return err;
    bc->e->type = bc->e->args[0]->type->fields[0].type;
    bc->e->nullable = true;
    if (!type_orderable(bc->e->type))
        return BIND_FAULT(bc, ERR_MISMATCH_INVALID_ORDERING_TYPE,
                          {"functionName", quoted_name(bc->b->arena, bc->shown)},
                          {"dataType", quoted_type(bc->b->arena, bc->e->args[0]->type)});
    return ERR_OK;
}

enum err fn_array_extreme(struct call *c)
{
    const struct column *l = &c->args[0], *e = &l->children[0];
    uint32_t *rows = ARENA_ARRAY(c->ev->arena, c->n, uint32_t);
    for (uint32_t i = 0; i < c->n; i++) {
        rows[i] = UINT32_MAX;
        for (uint32_t k = call_live(c, i) ? first_of(l, i) : 0; call_live(c, i) && k < end_of(l, i); k++)
            if (col_valid(e, k) && (rows[i] == UINT32_MAX || column_cmp(e, k, e, rows[i]) * c->e->fn->op > 0))
                rows[i] = k;
    }
    column_gather(c->out, e, rows, c->n, c->ev->arena);
    return ERR_OK;
}

/* -- two arrays ---------------------------------------------------------------------------------------------------------------------- */
enum { SET_UNION, SET_INTERSECT, SET_EXCEPT, SET_OVERLAP };

enum err bind_two_arrays(struct bind_call *bc)
{
    struct expr *e = bc->e;
    struct arena *a = bc->b->arena;
    const struct type *x = e->args[0]->type, *y = e->args[1]->type, *t;
    if (!type_tightest(bc->b, x, y, &t) || t->id != TYPE_ARRAY)
        return BIND_FAULT(bc, ERR_MISMATCH_BINARY_ARRAY_DIFF_TYPES, {"functionName", quoted_name(a, bc->shown)},
                          {"arrayType", "\"ARRAY\""}, {"leftType", quoted_type(a, x)},
                          {"rightType", quoted_type(a, y)});
    for (int i = 0; i < 2; i++) {
        enum err err = coerce_to(bc->b, &e->args[i], t, bc->f);
        if (err)
            return err;
    }
    bool n0 = e->args[0]->type->fields[0].nullable, n1 = e->args[1]->type->fields[0].nullable;
    int op = bc->fn->op;
    e->type = op == SET_OVERLAP ? type_simple(TYPE_BOOLEAN)
                                : type_array(a, t->fields[0].type,
                                             op == SET_UNION    ? n0 || n1
                                             : op == SET_EXCEPT ? n0
                                                                : n0 && n1);
    e->nullable = expr_args_nullable(e) || (op == SET_OVERLAP && (n0 || n1));
    return ERR_OK;
}

/* Elements of both arguments in one column; the second's begin at `base`. */
static uint32_t both_elements(struct call *c, struct column *all)
{
    const struct column *x = &c->args[0], *y = &c->args[1];
    uint32_t nx = x->data.offsets[col_is_const(x) ? 1 : c->n], ny = y->data.offsets[col_is_const(y) ? 1 : c->n];
    struct column *heads = ARENA_ARRAY(c->ev->arena, 2, struct column);
    heads[0] = x->children[0];
    heads[1] = y->children[0];
    heads[1].type = heads[0].type;
    heads[0].n = nx;
    heads[1].n = ny;
    const struct column *parts[2] = {&heads[0], &heads[1]};
    column_concat(all, parts, 2, c->ev->arena);
    return nx;
}

enum err fn_array_sets(struct call *c)
{
    struct column all;
    struct picks p;
    uint32_t base = both_elements(c, &all);
    int op = c->e->fn->op;
    picks_start(&p, c);
    for (uint32_t i = 0; i < c->n; i++) {
        if (call_live(c, i)) {
            uint32_t x0 = first_of(&c->args[0], i), x1 = end_of(&c->args[0], i), y0 = base + first_of(&c->args[1], i),
                     y1 = base + end_of(&c->args[1], i);
            struct set met, other;
            set_start(&met, &all, x1 - x0 + y1 - y0, c->ev->arena);
            set_start(&other, &all, y1 - y0, c->ev->arena);
            for (uint32_t k = y0; k < y1 && op != SET_UNION; k++)
                (void)set_meet(&other, &all, k, true);
            for (uint32_t k = x0; k < x1; k++)
                if ((op == SET_UNION || set_meet(&other, &all, k, false) == (op == SET_INTERSECT)) &&
                    !set_meet(&met, &all, k, true))
                    picks_add(&p, k);
            for (uint32_t k = y0; k < y1 && op == SET_UNION; k++)
                if (!set_meet(&met, &all, k, true))
                    picks_add(&p, k);
        }
        p.offsets[i + 1] = p.n;
    }
    picks_finish(&p, c->out, &all, 1);
    return ERR_OK;
}

enum err fn_arrays_overlap(struct call *c)
{
    struct column all;
    uint32_t base = both_elements(c, &all);
    for (uint32_t i = 0; i < c->n; i++) {
        if (!call_live(c, i))
            continue;
        uint32_t x0 = first_of(&c->args[0], i), x1 = end_of(&c->args[0], i), y0 = base + first_of(&c->args[1], i),
                 y1 = base + end_of(&c->args[1], i);
        bool found = false, null = false;
        struct set s;
        set_start(&s, &all, x1 - x0, c->ev->arena);
        for (uint32_t k = x0; k < x1; k++) {
            null |= !col_valid(&all, k);
            (void)set_meet(&s, &all, k, true);
        }
        for (uint32_t k = y0; k < y1; k++) {
            null |= !col_valid(&all, k);
            found |= col_valid(&all, k) && set_meet(&s, &all, k, false);
        }
        c->out->data.boolean[i] = found;
        if (!found && null && x1 > x0 && y1 > y0)
            call_set_null(c, i);
    }
    return ERR_OK;
}

/* -- cutting and growing ----------------------------------------------------------------------------------------------------------------- */
enum err fn_slice(struct call *c)
{
    struct picks p;
    picks_start(&p, c);
    for (uint32_t i = 0; i < c->n; i++) {
        if (call_live(c, i)) {
            int64_t start = CALL_I32(c, 1, i), n = CALL_I32(c, 2, i);
            int64_t from = first_of(&c->args[0], i), size = end_of(&c->args[0], i) - from;
            if (start == 0 || n < 0) {
                struct arena *a = c->ev->arena;
                if (start == 0)
                    CALL_FAIL(c, i, ERR_INVALID_PARAMETER_VALUE_START, {"parameter", "`start`"},
                              {"functionName", "`slice`"});
                else
                    CALL_FAIL(c, i, ERR_INVALID_PARAMETER_VALUE_LENGTH, {"parameter", "`length`"},
                              {"length", arena_fmt(a, "%lld", (long long)n).p}, {"functionName", "`slice`"});
            } else {
                int64_t k = start > 0 ? start - 1 : size + start;
                for (int64_t end = k + n; k >= 0 && k < end && k < size; k++)
                    picks_add(&p, (uint32_t)(from + k));
            }
        }
        p.offsets[i + 1] = p.n;
    }
    picks_finish(&p, c->out, c->args[0].children, 1);
    return ERR_OK;
}

enum { ADD_END, ADD_START };
/* array_append, array_prepend: elements and values in one column. */
enum err fn_array_add(struct call *c)
{
    const struct column *l = &c->args[0];
    struct picks p;
    struct column *heads = ARENA_ARRAY(c->ev->arena, 2, struct column), all;
    uint32_t base = l->data.offsets[col_is_const(l) ? 1 : c->n];
    heads[0] = l->children[0];
    heads[0].n = base;
    heads[1] = c->args[1];
    heads[1].type = heads[0].type;
    heads[1].n = col_is_const(&heads[1]) ? 1 : c->n;
    const struct column *parts[2] = {&heads[0], &heads[1]};
    column_concat(&all, parts, 2, c->ev->arena);
    picks_start(&p, c);
    for (uint32_t i = 0; i < c->n; i++) {
        if (!col_valid(l, i)) {
            call_set_null(c, i);
        } else {
            uint32_t value = base + (i & c->args[1].mask);
            if (c->e->fn->op == ADD_START)
                picks_add(&p, value);
            for (uint32_t k = first_of(l, i); k < end_of(l, i); k++)
                picks_add(&p, k);
            if (c->e->fn->op == ADD_END)
                picks_add(&p, value);
        }
        p.offsets[i + 1] = p.n;
    }
    picks_finish(&p, c->out, &all, 1);
    return ERR_OK;
}

static enum err too_many(struct call *c, uint32_t i, int64_t n, const char *name)
{
    struct arena *a = c->ev->arena;
    CALL_FAIL(c, i, ERR_COLLECTION_SIZE_LIMIT_EXCEEDED_PARAMETER,
              {"numberOfElements", arena_fmt(a, "%lld", (long long)n).p},
              {"functionName", arena_fmt(a, "`%s`", name).p},
              {"maxRoundedArrayLength", arena_fmt(a, "%d", LIMIT_ELEMENTS).p}, {"parameter", "`count`"});
    return ERR_OK;
}

enum err bind_array_repeat(struct bind_call *bc)
{
    enum err err = bind_args(bc, "*,I");
    bc->e->type = type_array(bc->b->arena, bc->e->args[0]->type, bc->e->args[0]->nullable);
    bc->e->nullable = bc->e->args[1]->nullable;
    return err;
}

enum err fn_array_repeat(struct call *c)
{
    struct picks p;
    struct column flat;
    column_flatten(&flat, &c->args[0], c->ev->arena);
    picks_start(&p, c);
    for (uint32_t i = 0; i < c->n; i++) {
        if (!col_valid(&c->args[1], i)) {
            call_set_null(c, i);
        } else {
            int64_t n = CALL_I32(c, 1, i);
            if (n > 0 && p.n + n > LIMIT_ELEMENTS) {
                enum err err = too_many(c, i, n, "array_repeat");
                if (err)
                    return err;
                n = 0;
            }
            for (int64_t k = 0; k < n; k++)
                picks_add(&p, COL_AT(&flat, i));
        }
        p.offsets[i + 1] = p.n;
    }
    picks_finish(&p, c->out, &flat, 1);
    return ERR_OK;
}

enum err bind_flatten(struct bind_call *bc)
{
    struct expr *e = bc->e;
    const struct type *t = e->args[0]->type;
    if (t->id != TYPE_ARRAY || t->fields[0].type->id != TYPE_ARRAY)
        return BIND_FAULT(
            bc, ERR_MISMATCH_UNEXPECTED_INPUT_TYPE, {"paramIndex", "first"}, {"requiredType", "\"ARRAY\" of \"ARRAY\""},
            {"inputSql", quoted_expr(bc->b->arena, e->args[0])}, {"inputType", quoted_type(bc->b->arena, t)});
    e->type = t->fields[0].type;
    e->nullable = e->args[0]->nullable || t->fields[0].nullable;
    return ERR_OK;
}

enum err fn_flatten(struct call *c)
{
    const struct column *outer = &c->args[0], *inner = &outer->children[0];
    struct picks p;
    picks_start(&p, c);
    for (uint32_t i = 0; i < c->n; i++) {
        uint32_t was = p.n;
        for (uint32_t k = call_live(c, i) ? first_of(outer, i) : 0; call_live(c, i) && k < end_of(outer, i); k++) {
            if (!col_valid(inner, k)) { /* an inner NULL makes the whole NULL */
                call_set_null(c, i);
                p.n = was;
                break;
            }
            for (uint32_t m = first_of(inner, k); m < end_of(inner, k); m++)
                picks_add(&p, m);
        }
        p.offsets[i + 1] = p.n;
    }
    picks_finish(&p, c->out, inner->children, 1);
    return ERR_OK;
}

/* Every argument becomes a t, and so does the result. */
static enum err bind_all_to(struct bind_call *bc, const struct type *t)
{
    struct expr *e = bc->e;
    for (int i = 0; i < e->nargs; i++) {
        enum err err = coerce_to(bc->b, &e->args[i], t, bc->f);
        if (err)
            return err;
    }
    e->type = t;
    e->nullable = expr_args_nullable(e);
    return ERR_OK;
}

/* concat of arrays: concat(string …) is in string.c */
enum err bind_concat_arrays(struct bind_call *bc)
{
    struct expr *e = bc->e;
    const struct type *t;
    if (!type_common_of(bc->b, e->args, e->nargs, &t) || t->id != TYPE_ARRAY)
        return BIND_FAULT(bc, ERR_MISMATCH_DATA_DIFF_TYPES, {"functionName", "`concat`"},
                          {"dataType", type_list(bc->b->arena, e->args, e->nargs, "(", " or ", ")")});
    return bind_all_to(bc, t);
}

enum err fn_concat_arrays(struct call *c)
{
    struct arena *a = c->ev->arena;
    int n = c->e->nargs;
    struct column *heads = ARENA_ARRAY(a, (size_t)n, struct column), all;
    const struct column **parts = ARENA_ARRAY(a, (size_t)n, const struct column *);
    uint32_t *base = ARENA_ARRAY(a, (size_t)n, uint32_t), used = 0;
    for (int k = 0; k < n; k++) {
        const struct column *l = &c->args[k];
        heads[k] = l->children[0];
        heads[k].type = c->e->type->fields[0].type;
        heads[k].n = l->data.offsets[col_is_const(l) ? 1 : c->n];
        base[k] = used;
        used += heads[k].n;
        parts[k] = &heads[k];
    }
    column_concat(&all, parts, (size_t)n, a);
    struct picks p;
    picks_start(&p, c);
    for (uint32_t i = 0; i < c->n; i++) {
        for (int k = 0; k < n && call_live(c, i); k++)
            for (uint32_t m = first_of(&c->args[k], i); m < end_of(&c->args[k], i); m++)
                picks_add(&p, base[k] + m);
        p.offsets[i + 1] = p.n;
    }
    picks_finish(&p, c->out, &all, 1);
    return ERR_OK;
}

/* -- sequence -------------------------------------------------------------------------------------------------------------------------- */
enum err bind_sequence(struct bind_call *bc)
{
    struct expr *e = bc->e;
    const struct type *t;
    if (!type_tightest(bc->b, e->args[0]->type, e->args[1]->type, &t) || !(type_is_integral(t) || t->id == TYPE_DATE) ||
        (t->id == TYPE_DATE && e->nargs == 3))
        return FAULT(bc->f, ERR_UNSUPPORTED, {"feature", "sequence of these types"},
                     {"hint", "Integers, and dates by day, are."});
    for (int i = 0; i < e->nargs; i++) {
        enum err err = coerce_to(bc->b, &e->args[i], t, bc->f);
        if (err)
            return err;
    }
    e->type = type_array(bc->b->arena, t, false);
    e->nullable = expr_args_nullable(e);
    return ERR_OK;
}

static int64_t whole_at(const struct column *c, uint32_t i)
{
    uint32_t r = COL_AT(c, i);
    size_t w = type_width(c->type);
    return w == 1 ? c->data.i8[r] : w == 2 ? c->data.i16[r] : w == 4 ? c->data.i32[r] : c->data.i64[r];
}

enum err fn_sequence(struct call *c)
{
    struct column *out = &c->out->children[0];
    uint32_t used = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        c->out->data.offsets[i + 1] = used;
        if (!call_live(c, i))
            continue;
        int64_t from = whole_at(&c->args[0], i), to = whole_at(&c->args[1], i);
        int64_t step = c->e->nargs == 3 ? whole_at(&c->args[2], i) : from <= to ? 1 : -1;
        if (step == 0 ? from != to : (step > 0) != (from <= to) && from != to) {
            struct arena *a = c->ev->arena;
            const char *text = arena_fmt(a, "requirement failed: Illegal sequence boundaries: %lld to %lld by %lld",
                                         (long long)from, (long long)to, (long long)step)
                                   .p;
            CALL_FAIL(c, i, ERR_INTERNAL, {"message", text});
            continue;
        }
        i128 n = step == 0 ? 1 : ((i128)to - from) / step + 1;
        if (n + used > LIMIT_ELEMENTS) {
            enum err err = too_many(c, i, n > INT64_MAX ? INT64_MAX : (int64_t)n, "sequence");
            if (err)
                return err;
            continue;
        }
        column_grow(out, used + (uint32_t)n, c->ev->arena);
        for (int64_t k = 0; k < (int64_t)n; k++) {
            int64_t v = from + k * step;
            size_t w = type_width(out->type);
            memcpy((char *)out->data.any + (used + (size_t)k) * w, &v, w); /* little endian: the low bytes */
        }
        used += (uint32_t)n;
        c->out->data.offsets[i + 1] = used;
    }
    out->valid = NULL;
    return ERR_OK;
}

/* -- maps ---------------------------------------------------------------------------------------------------------------------------------- */
enum { MAP_KEYS, MAP_VALUES, MAP_ENTRIES };
enum err bind_map_part(struct bind_call *bc)
{
    struct expr *e = bc->e;
    struct arena *a = bc->b->arena;
    enum err err = bind_args(bc, "M");
    if (err)
        return err;
    const struct field *f = e->args[0]->type->fields;
    const struct type *entry =
        type_struct(a,
                    (struct field[]){{.name = STR("key"), .type = f[0].type},
                                     {.name = STR("value"), .type = f[1].type, .nullable = f[1].nullable}},
                    2);
    e->type = bc->fn->op == MAP_KEYS     ? type_array(a, f[0].type, false)
              : bc->fn->op == MAP_VALUES ? type_array(a, f[1].type, f[1].nullable)
                                         : type_array(a, entry, false);
    e->nullable = e->args[0]->nullable;
    return ERR_OK;
}

enum err fn_map_part(struct call *c)
{
    const struct column *m = &c->args[0];
    uint32_t rows = col_is_const(m) ? 1 : c->n, total = m->data.offsets[rows];
    if (rows != c->n) {
        for (uint32_t i = 0; i < c->n; i++)
            c->out->data.offsets[i + 1] = total;
    } else {
        c->out->data.offsets = m->data.offsets;
    }
    if (c->e->fn->op != MAP_ENTRIES) {
        c->out->children[0] = m->children[c->e->fn->op];
        return ERR_OK;
    }
    struct column *entry = &c->out->children[0];
    column_alloc(entry, c->e->type->fields[0].type, total, c->ev->arena);
    for (int k = 0; k < 2; k++) {
        entry->children[k] = m->children[k];
        entry->children[k].n = total;
    }
    return ERR_OK;
}

enum err bind_map_from_arrays(struct bind_call *bc)
{
    struct expr *e = bc->e;
    enum err err = bind_args(bc, "A,A");
    if (err)
        return err;
    const struct field *k = &e->args[0]->type->fields[0], *v = &e->args[1]->type->fields[0];
    e->type = type_map(bc->b->arena, k->type, v->type, v->nullable);
    e->nullable = expr_args_nullable(e);
    return ERR_OK;
}

enum err fn_map_from_arrays(struct call *c)
{
    struct picks k, v;
    picks_start(&k, c);
    picks_start(&v, c);
    for (uint32_t i = 0; i < c->n; i++) {
        if (call_live(c, i)) {
            uint32_t was = k.n, n = end_of(&c->args[0], i) - first_of(&c->args[0], i);
            if (n != end_of(&c->args[1], i) - first_of(&c->args[1], i))
                CALL_FAIL(c, i, ERR_INTERNAL,
                          {"message", "The key array and value array of MapData must have the same length."});
            for (uint32_t j = 0; call_live(c, i) && j < n; j++) {
                picks_add(&k, first_of(&c->args[0], i) + j);
                picks_add(&v, first_of(&c->args[1], i) + j);
            }
            enum err err = check_keys(c, i, &c->args[0].children[0], k.rows + was, k.n - was);
            if (err)
                return err;
        }
        k.offsets[i + 1] = k.n;
    }
    c->out->data.offsets = k.offsets;
    column_gather(&c->out->children[0], &c->args[0].children[0], k.rows, k.n, c->ev->arena);
    column_gather(&c->out->children[1], &c->args[1].children[0], v.rows, v.n, c->ev->arena);
    return ERR_OK;
}

enum err bind_map_from_entries(struct bind_call *bc)
{
    struct expr *e = bc->e;
    const struct type *t = e->args[0]->type, *s = t->id == TYPE_ARRAY ? t->fields[0].type : t;
    if (t->id != TYPE_ARRAY || s->id != TYPE_STRUCT || s->nfields != 2)
        return BIND_FAULT(bc, ERR_MISMATCH_UNEXPECTED_INPUT_TYPE, {"paramIndex", "first"},
                          {"requiredType", "\"ARRAY\" of pair \"STRUCT\""},
                          {"inputSql", quoted_expr(bc->b->arena, e->args[0])},
                          {"inputType", quoted_type(bc->b->arena, t)});
    e->type = type_map(bc->b->arena, s->fields[0].type, s->fields[1].type, s->fields[1].nullable);
    e->nullable = e->args[0]->nullable || t->fields[0].nullable;
    return ERR_OK;
}

enum err fn_map_from_entries(struct call *c)
{
    const struct column *l = &c->args[0], *entry = &l->children[0];
    struct picks p;
    picks_start(&p, c);
    for (uint32_t i = 0; i < c->n; i++) {
        uint32_t was = p.n;
        for (uint32_t k = call_live(c, i) ? first_of(l, i) : 0; call_live(c, i) && k < end_of(l, i); k++) {
            if (!col_valid(entry, k))
                call_set_null(c, i);
            else
                picks_add(&p, COL_AT(entry, k));
        }
        if (!call_live(c, i))
            p.n = was;
        enum err err = check_keys(c, i, &entry->children[0], p.rows + was, p.n - was);
        if (err)
            return err;
        p.offsets[i + 1] = p.n;
    }
    picks_finish(&p, c->out, entry->children, 2);
    return ERR_OK;
}

enum err bind_map_concat(struct bind_call *bc)
{
    struct expr *e = bc->e;
    const struct type *t;
    if (!type_common_of(bc->b, e->args, e->nargs, &t) || t->id != TYPE_MAP)
        return BIND_FAULT(bc, ERR_MISMATCH_MAP_CONCAT_DIFF_TYPES, {"functionName", "`map_concat`"},
                          {"dataType", type_list(bc->b->arena, e->args, e->nargs, "[", ", ", "]")});
    return bind_all_to(bc, t);
}

enum err fn_map_concat(struct call *c)
{
    struct arena *a = c->ev->arena;
    int n = c->e->nargs;
    struct column all[2];
    uint32_t *base = ARENA_ARRAY(a, (size_t)n, uint32_t);
    for (int f = 0; f < 2; f++) {
        struct column *heads = ARENA_ARRAY(a, (size_t)n, struct column);
        const struct column **parts = ARENA_ARRAY(a, (size_t)n, const struct column *);
        uint32_t used = 0;
        for (int k = 0; k < n; k++) {
            heads[k] = c->args[k].children[f];
            heads[k].type = c->e->type->fields[f].type;
            heads[k].n = c->args[k].data.offsets[col_is_const(&c->args[k]) ? 1 : c->n];
            base[k] = used;
            used += heads[k].n;
            parts[k] = &heads[k];
        }
        column_concat(&all[f], parts, (size_t)n, a);
    }
    struct picks p;
    picks_start(&p, c);
    for (uint32_t i = 0; i < c->n; i++) {
        uint32_t was = p.n;
        for (int k = 0; k < n && call_live(c, i); k++)
            for (uint32_t m = first_of(&c->args[k], i); m < end_of(&c->args[k], i); m++)
                picks_add(&p, base[k] + m);
        enum err err = check_keys(c, i, &all[0], p.rows + was, p.n - was);
        if (err)
            return err;
        p.offsets[i + 1] = p.n;
    }
    picks_finish(&p, c->out, all, 2);
    return ERR_OK;
}

/* array_join(array, delimiter[, null replacement]) */
enum err fn_array_join(struct call *c)
{
    const struct column *l = &c->args[0], *e = &l->children[0];
    for (uint32_t i = 0; i < c->n; i++) {
        if (!call_live(c, i))
            continue;
        struct buf b = {0};
        bool first = true;
        for (uint32_t k = first_of(l, i); k < end_of(l, i); k++) {
            if (!col_valid(e, k) && c->e->nargs < 3)
                continue;
            buf_str(&b, first ? STR("") : CALL_STR(c, 1, i));
            first = false;
            buf_str(&b, col_valid(e, k) ? e->data.str[COL_AT(e, k)] : CALL_STR(c, 2, i));
        }
        c->out->data.str[i] = arena_str(c->ev->arena, buf_view(&b));
        buf_free(&b);
    }
    return ERR_OK;
}

enum err bind_array_join(struct bind_call *bc)
{
    struct expr *e = bc->e;
    const struct type *t = e->args[0]->type;
    enum err err = ERR_OK;
    if (t->id == TYPE_NULL || t->id == TYPE_ARRAY)
        err = coerce_to(bc->b, &e->args[0], type_array(bc->b->arena, type_simple(TYPE_STRING), true), bc->f);
    if (!err)
        err = bind_args(bc, "A,S,S");
    e->type = type_simple(TYPE_STRING);
    e->nullable = expr_args_nullable(e);
    return err;
}
