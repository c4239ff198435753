/* Making arrays, maps and structs, and reaching into them. */
#include "function/collection_int.h"

/* -- helpers ------------------------------------------------------------------------------------------------------------------ */
void picks_start(struct picks *p, struct call *c)
{
    *p = (struct picks){.c = c, .offsets = ARENA_ARRAY(c->ev->arena, (size_t)c->n + 1, uint32_t)};
}

void picks_add(struct picks *p, uint32_t row)
{
    if (p->n == p->cap) {
        uint32_t cap = p->cap ? p->cap * 2 : 256;
        uint32_t *rows = arena_array(p->c->ev->arena, cap, sizeof *rows);
        if (p->n)
            memcpy(rows, p->rows, p->n * sizeof *rows);
        p->rows = rows;
        p->cap = cap;
    }
    p->rows[p->n++] = row;
}

void picks_finish(struct picks *p, struct column *out, const struct column *children, int nchildren)
{
    out->data.offsets = p->offsets;
    for (int k = 0; k < nchildren; k++)
        column_gather(&out->children[k], &children[k], p->rows, p->n, p->c->ev->arena);
}

void args_concat(struct call *c, int from, int step, int count, const struct type *t, struct spread *s)
{
    struct arena *a = c->ev->arena;
    const struct column **parts = ARENA_ARRAY(a, (size_t)count + 1, const struct column *);
    struct column *heads = ARENA_ARRAY(a, (size_t)count + 1, struct column);
    uint32_t used = 0;
    s->at = ARENA_ARRAY(a, (size_t)count + 1, uint32_t);
    s->mask = ARENA_ARRAY(a, (size_t)count + 1, uint32_t);
    for (int k = 0; k < count; k++) {
        heads[k] = c->args[from + k * step];
        heads[k].type = t;
        heads[k].n = col_is_const(&heads[k]) ? 1 : c->n;
        s->at[k] = used;
        s->mask[k] = heads[k].mask;
        used += heads[k].n;
        parts[k] = &heads[k];
    }
    if (count)
        column_concat(&s->all, parts, (size_t)count, a);
    else
        column_alloc(&s->all, t, 0, a);
}

/* -- array, map, named_struct --------------------------------------------------------------------------------------------------- */
enum err bind_array(struct bind_call *bc)
{
    struct expr *e = bc->e;
    const struct type *t;
    if (!type_common_of(bc->b, e->args, e->nargs, &t))
        return BIND_FAULT(bc, ERR_MISMATCH_DATA_DIFF_TYPES, {"functionName", "`array`"},
                          {"dataType", type_list(bc->b->arena, e->args, e->nargs, "(", " or ", ")")});
    for (int i = 0; i < e->nargs; i++) {
        enum err err = coerce_to(bc->b, &e->args[i], t, bc->f);
        if (err)
            return err;
    }
    e->type = type_array(bc->b->arena, t, expr_args_nullable(e));
    return ERR_OK;
}

enum err fn_array(struct call *c)
{
    struct spread s;
    struct picks p;
    picks_start(&p, c);
    args_concat(c, 0, 1, c->e->nargs, c->e->type->fields[0].type, &s);
    for (uint32_t i = 0; i < c->n; i++) {
        for (int k = 0; k < c->e->nargs; k++)
            picks_add(&p, s.at[k] + (i & s.mask[k]));
        p.offsets[i + 1] = p.n;
    }
    picks_finish(&p, c->out, &s.all, 1);
    return ERR_OK;
}

static enum err even_arguments(struct bind_call *bc)
{
    if (bc->e->nargs % 2 == 0)
        return ERR_OK;
    FAULT(bc->f, ERR_WRONG_NUM_ARGS_TVF, {"functionName", quoted_name(bc->b->arena, bc->shown)},
          {"expectedNum", "2n (n > 0)"}, {"actualNum", arena_fmt(bc->b->arena, "%d", bc->e->nargs).p},
          {"docroot", "https://spark.apache.org/docs/latest"});
    fault_context(bc->f, &bc->b->origin);
    return ERR_WRONG_NUM_ARGS_TVF;
}

static bool has_map(const struct type *t)
{
    if (t->id == TYPE_MAP)
        return true;
    for (int i = 0; i < t->nfields; i++)
        if (has_map(t->fields[i].type))
            return true;
    return false;
}

enum err bind_map(struct bind_call *bc)
{
    struct expr *e = bc->e, **keys = ARENA_ARRAY(bc->b->arena, (size_t)e->nargs + 1, struct expr *);
    struct expr **values = ARENA_ARRAY(bc->b->arena, (size_t)e->nargs + 1, struct expr *);
    const struct type *kt, *vt;
    enum err err = even_arguments(bc);
    int n = e->nargs / 2;
    bool nullable = false;
    if (err)
        return err;
    for (int i = 0; i < n; i++) {
        keys[i] = e->args[2 * i];
        values[i] = e->args[2 * i + 1];
    }
    if (!type_common_of(bc->b, keys, n, &kt))
        return BIND_FAULT(bc, ERR_MISMATCH_CREATE_MAP_KEY_DIFF_TYPES, {"functionName", "`map`"},
                          {"dataType", type_list(bc->b->arena, keys, n, "[", ", ", "]")});
    if (!type_common_of(bc->b, values, n, &vt))
        return BIND_FAULT(bc, ERR_MISMATCH_CREATE_MAP_VALUE_DIFF_TYPES, {"functionName", "`map`"},
                          {"dataType", type_list(bc->b->arena, values, n, "[", ", ", "]")});
    if (has_map(kt))
        return BIND_FAULT(bc, ERR_MISMATCH_INVALID_MAP_KEY_TYPE, {"keyType", quoted_type(bc->b->arena, kt)});
    for (int i = 0; i < e->nargs; i++) {
        err = coerce_to(bc->b, &e->args[i], i % 2 ? vt : kt, bc->f);
        if (err)
            return err;
        nullable |= i % 2 && e->args[i]->nullable;
    }
    e->type = type_map(bc->b->arena, kt, vt, nullable);
    return ERR_OK;
}

enum err null_key(struct call *c, uint32_t i)
{
    CALL_FAIL(c, i, ERR_NULL_MAP_KEY, {"", ""});
    return ERR_OK;
}

static enum err duplicate_key(struct call *c, uint32_t i, const struct column *keys, uint32_t k)
{
    struct arena *a = c->ev->arena;
    CALL_FAIL(c, i, ERR_DUPLICATED_MAP_KEY, {"key", arena_z(a, text_of(a, keys, k, c->ev->zone))},
              {"mapKeyDedupPolicy", "\"spark.sql.mapKeyDedupPolicy\""});
    return ERR_OK;
}

/* The keys of row i, from..to of keys, must be there and differ. Small maps compare all pairs; larger ones by hash. */
enum err check_keys(struct call *c, uint32_t i, const struct column *keys, const uint32_t *rows, uint32_t n)
{
    uint32_t cap = 16;
    while (cap < n * 2)
        cap *= 2;
    uint32_t *slots = n > 1 ? ARENA_ARRAY(c->ev->arena, cap, uint32_t) : NULL;
    for (uint32_t k = 0; k < n; k++) {
        if (!col_valid(keys, rows[k]) || keys->type->id == TYPE_NULL)
            return null_key(c, i);
        if (!slots)
            continue;
        uint32_t at = (uint32_t)column_hash(keys, rows[k], 1) & (cap - 1);
        for (; slots[at]; at = (at + 1) & (cap - 1))
            if (column_cmp(keys, rows[slots[at] - 1], keys, rows[k]) == 0)
                return duplicate_key(c, i, keys, rows[k]);
        slots[at] = k + 1;
    }
    return ERR_OK;
}

enum err fn_map(struct call *c)
{
    struct spread keys, values;
    struct picks pk, pv;
    int n = c->e->nargs / 2;
    picks_start(&pk, c);
    picks_start(&pv, c);
    args_concat(c, 0, 2, n, c->e->type->fields[0].type, &keys);
    args_concat(c, 1, 2, n, c->e->type->fields[1].type, &values);
    for (uint32_t i = 0; i < c->n; i++) {
        for (int k = 0; k < n; k++) {
            picks_add(&pk, keys.at[k] + (i & keys.mask[k]));
            picks_add(&pv, values.at[k] + (i & values.mask[k]));
        }
        enum err err = check_keys(c, i, &keys.all, pk.rows + pk.n - n, (uint32_t)n);
        if (err)
            return err;
        pk.offsets[i + 1] = pk.n;
    }
    c->out->data.offsets = pk.offsets;
    column_gather(&c->out->children[0], &keys.all, pk.rows, pk.n, c->ev->arena);
    column_gather(&c->out->children[1], &values.all, pv.rows, pv.n, c->ev->arena);
    return ERR_OK;
}

enum err bind_named_struct(struct bind_call *bc)
{
    struct expr *e = bc->e;
    struct arena *a = bc->b->arena;
    enum err err = even_arguments(bc);
    int n = e->nargs / 2;
    if (err)
        return err;
    struct field *f = ARENA_ARRAY(a, (size_t)n, struct field);
    struct buf bad = {0};
    for (int i = 0; i < n; i++) {
        struct str name;
        bool null = true;
        if (!expr_constant_str(bc->b, e->args[2 * i], &name, &null) || null)
            buf_fmt(&bad, "%s%s", bad.n ? ", " : "[", quoted_expr(a, e->args[2 * i]));
        else
            f[i] = (struct field){
                .name = arena_str(a, name), .type = e->args[2 * i + 1]->type, .nullable = e->args[2 * i + 1]->nullable};
    }
    if (bad.n) {
        buf_u8(&bad, ']');
        const char *list = arena_z(a, buf_view(&bad));
        buf_free(&bad);
        return BIND_FAULT(bc, ERR_MISMATCH_CREATE_NAMED_STRUCT_WITHOUT_FOLDABLE_STRING, {"inputExprs", list});
    }
    e->type = type_struct(a, f, n);
    return ERR_OK;
}

enum err fn_named_struct(struct call *c)
{
    for (int k = 0; k < c->e->nargs / 2; k++) {
        c->out->children[k] = c->args[2 * k + 1]; /* shared, constants too */
        c->out->children[k].n = c->n;
    }
    return ERR_OK;
}

/* -- a[i], m[k], element_at -------------------------------------------------------------------------------------------------------- */
/* Whether element `index` (from 0) of a call of array(…) is known to be there and not NULL. */
static bool element_nullable(struct bind *b, const struct expr *base, const struct expr *index, bool from_one)
{
    int64_t i;
    bool null;
    if (base->kind != EXPR_CALL || base->fn->kernel != fn_array || !expr_constant_i64(b, index, &i, &null) || null)
        return true;
    if (from_one)
        i = i > 0 ? i - 1 : i < 0 ? base->nargs + i : -1;
    return i < 0 || i >= base->nargs || base->args[i]->nullable;
}

static enum err bind_key(struct bind_call *bc)
{
    struct expr *e = bc->e;
    const struct type *key = e->args[0]->type->fields[0].type, *t;
    if (!type_common(bc->b, key, e->args[1]->type, &t))
        return BIND_FAULT(bc, ERR_MISMATCH_UNEXPECTED_INPUT_TYPE, {"paramIndex", "second"},
                          {"requiredType", quoted_type(bc->b->arena, key)},
                          {"inputSql", quoted_expr(bc->b->arena, e->args[1])},
                          {"inputType", quoted_type(bc->b->arena, e->args[1]->type)});
    e->type = e->args[0]->type->fields[1].type;
    e->nullable = true;
    return coerce_to(bc->b, &e->args[1], key, bc->f);
}

enum { ITEM_BRACKET, ITEM_GET, ITEM_ELEMENT_AT, ITEM_TRY };
enum err bind_element(struct bind_call *bc)
{
    struct expr *e = bc->e;
    const struct type *base = e->args[0]->type, *index = e->args[1]->type;
    int op = bc->fn->op;
    e->try_ = op == ITEM_TRY || op == ITEM_GET;
    if (base->id == TYPE_MAP && op != ITEM_GET)
        return bind_key(bc);
    if (base->id != TYPE_ARRAY) {
        if (op == ITEM_BRACKET) {
            FAULT(bc->f, ERR_INVALID_EXTRACT_BASE_FIELD_TYPE, {"base", quoted_expr(bc->b->arena, e->args[0])},
                  {"other", quoted_type(bc->b->arena, base)});
            fault_context(bc->f, &bc->b->origin);
            return ERR_INVALID_EXTRACT_BASE_FIELD_TYPE;
        }
        return BIND_FAULT(bc, ERR_MISMATCH_UNEXPECTED_INPUT_TYPE, {"paramIndex", "first"},
                          {"requiredType", op == ITEM_GET ? "\"ARRAY\"" : "(\"ARRAY\" or \"MAP\")"},
                          {"inputSql", quoted_expr(bc->b->arena, e->args[0])},
                          {"inputType", quoted_type(bc->b->arena, base)});
    }
    if (index->id == TYPE_NULL && op == ITEM_BRACKET) {
        enum err err = coerce_to(bc->b, &e->args[1], type_simple(TYPE_INT), bc->f);
        if (err)
            return err;
    }
    index = e->args[1]->type;
    if (!type_is_integral(index) || (op != ITEM_BRACKET && index->id == TYPE_LONG))
        return BIND_FAULT(bc, ERR_MISMATCH_UNEXPECTED_INPUT_TYPE, {"paramIndex", "second"},
                          {"requiredType", op == ITEM_BRACKET ? "\"INTEGRAL\"" : "\"INT\""},
                          {"inputSql", quoted_expr(bc->b->arena, e->args[1])},
                          {"inputType", quoted_type(bc->b->arena, index)});
    e->type = base->fields[0].type;
    e->nullable = expr_args_nullable(e) || op == ITEM_TRY ||
                  element_nullable(bc->b, e->args[0], e->args[1], op == ITEM_ELEMENT_AT);
    return coerce_to(bc->b, &e->args[1], type_simple(TYPE_LONG), bc->f);
}

static enum err map_item(struct call *c, uint32_t *rows)
{
    const struct column *m = &c->args[0];
    for (uint32_t i = 0; i < c->n; i++) {
        rows[i] = UINT32_MAX;
        if (!call_live(c, i))
            continue;
        uint32_t r = COL_AT(m, i);
        for (uint32_t k = m->data.offsets[r]; k < m->data.offsets[r + 1]; k++)
            if (column_cmp(&m->children[0], k, &c->args[1], i) == 0) {
                rows[i] = k;
                break;
            }
    }
    return ERR_OK;
}

static enum err bad_index(struct call *c, uint32_t i, int64_t index, uint32_t size)
{
    struct arena *a = c->ev->arena;
    bool at = c->e->fn->op == ITEM_ELEMENT_AT;
    if (c->e->try_ || !c->e->ansi)
        return ERR_OK;
    CALL_FAIL(c, i, at ? ERR_INVALID_ARRAY_INDEX_IN_ELEMENT_AT : ERR_INVALID_ARRAY_INDEX,
              {"indexValue", arena_fmt(a, "%lld", (long long)index).p}, {"arraySize", arena_fmt(a, "%u", size).p});
    return ERR_OK;
}

static enum err array_item(struct call *c, uint32_t *rows)
{
    const struct column *l = &c->args[0];
    bool from_one = c->e->fn->op >= ITEM_ELEMENT_AT;
    for (uint32_t i = 0; i < c->n; i++) {
        rows[i] = UINT32_MAX;
        if (!call_live(c, i))
            continue;
        uint32_t r = COL_AT(l, i), size = l->data.offsets[r + 1] - l->data.offsets[r];
        int64_t asked = CALL_I64(c, 1, i), k = asked;
        if (from_one && k == 0) {
            CALL_FAIL(c, i, ERR_INVALID_INDEX_OF_ZERO, {"", ""});
            continue;
        }
        if (from_one)
            k = k > 0 ? k - 1 : size + k;
        if (k < 0 || k >= size) {
            enum err err = bad_index(c, i, asked, size);
            if (err)
                return err;
            continue;
        }
        rows[i] = l->data.offsets[r] + (uint32_t)k;
    }
    return ERR_OK;
}

enum err fn_item(struct call *c)
{
    uint32_t *rows = ARENA_ARRAY(c->ev->arena, c->n, uint32_t);
    bool map = c->args[0].type->id == TYPE_MAP;
    enum err err = map ? map_item(c, rows) : array_item(c, rows);
    if (err)
        return err;
    column_gather(c->out, &c->args[0].children[map], rows, c->n, c->ev->arena);
    return ERR_OK;
}

/* -- sizes and contents -------------------------------------------------------------------------------------------------------------- */
enum err bind_size(struct bind_call *bc)
{
    struct expr *e = bc->e;
    enum err err = bind_args(bc, bc->fn->op ? "A" : "AM");
    e->type = type_simple(TYPE_INT);
    e->nullable = e->args[0]->nullable;
    return err;
}

enum err fn_size(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        uint32_t r = COL_AT(&c->args[0], i);
        c->out->data.i32[i] = (int32_t)(c->args[0].data.offsets[r + 1] - c->args[0].data.offsets[r]);
    }
    return ERR_OK;
}

/* f(array, value): the value gets the element's type, or both their common one. */
enum err bind_array_value(struct bind_call *bc)
{
    struct expr *e = bc->e;
    struct arena *a = bc->b->arena;
    const struct type *l = e->args[0]->type, *v = e->args[1]->type, *t;
    bool search = bc->fn->result[0] != '0';
    if (l->id == TYPE_NULL || (v->id == TYPE_NULL && search))
        return BIND_FAULT(bc, ERR_MISMATCH_NULL_TYPE, {"functionName", quoted_name(a, bc->shown)});
    if (l->id != TYPE_ARRAY)
        return BIND_FAULT(bc, ERR_MISMATCH_UNEXPECTED_INPUT_TYPE, {"paramIndex", "first"},
                          {"requiredType", "\"ARRAY\""}, {"inputSql", quoted_expr(a, e->args[0])},
                          {"inputType", quoted_type(a, l)});
    if (!type_tightest(bc->b, l->fields[0].type, v, &t))
        return BIND_FAULT(bc, ERR_MISMATCH_ARRAY_FUNCTION_DIFF_TYPES, {"functionName", quoted_name(a, bc->shown)},
                          {"dataType", "\"ARRAY\""}, {"leftType", quoted_type(a, l)}, {"rightType", quoted_type(a, v)});
    bool nulls = l->fields[0].nullable;
    enum err err = coerce_to(bc->b, &e->args[0], type_array(a, t, nulls), bc->f);
    if (!err)
        err = coerce_to(bc->b, &e->args[1], t, bc->f);
    char r = bc->fn->result[0];
    e->type = r == 'B'   ? type_simple(TYPE_BOOLEAN)
              : r == 'L' ? type_simple(TYPE_LONG)
                         : type_array(a, t, nulls || (bc->fn->flags & FN_SEES_NULLS && e->args[1]->nullable));
    e->nullable = expr_args_nullable(e) || (r == 'B' && nulls);
    if (bc->fn->flags & FN_SEES_NULLS)
        e->nullable = e->args[0]->nullable;
    return err;
}

enum err fn_array_contains(struct call *c)
{
    const struct column *l = &c->args[0];
    for (uint32_t i = 0; i < c->n; i++) {
        if (!call_live(c, i))
            continue;
        uint32_t r = COL_AT(l, i);
        bool found = false, unknown = false;
        for (uint32_t k = l->data.offsets[r]; k < l->data.offsets[r + 1] && !found; k++) {
            if (!col_valid(&l->children[0], k))
                unknown = true;
            else
                found = column_cmp(&l->children[0], k, &c->args[1], i) == 0;
        }
        c->out->data.boolean[i] = found;
        if (!found && unknown)
            call_set_null(c, i);
    }
    return ERR_OK;
}

enum err fn_array_position(struct call *c)
{
    const struct column *l = &c->args[0];
    for (uint32_t i = 0; i < c->n; i++) {
        if (!call_live(c, i))
            continue;
        uint32_t r = COL_AT(l, i), from = l->data.offsets[r];
        for (uint32_t k = from; k < l->data.offsets[r + 1]; k++)
            if (col_valid(&l->children[0], k) && column_cmp(&l->children[0], k, &c->args[1], i) == 0) {
                c->out->data.i64[i] = k - from + 1;
                break;
            }
    }
    return ERR_OK;
}

/* map_contains_key(m, k) */
enum err bind_map_contains(struct bind_call *bc)
{
    struct expr *e = bc->e;
    if (e->args[0]->type->id != TYPE_MAP || e->args[1]->type->id == TYPE_NULL)
        return BIND_FAULT(bc, ERR_MISMATCH_NULL_TYPE, {"functionName", quoted_name(bc->b->arena, bc->shown)});
    enum err err = bind_key(bc);
    e->type = type_simple(TYPE_BOOLEAN);
    return err;
}

enum err fn_map_contains(struct call *c)
{
    uint32_t *rows = ARENA_ARRAY(c->ev->arena, c->n, uint32_t);
    enum err err = map_item(c, rows);
    for (uint32_t i = 0; i < c->n; i++)
        c->out->data.boolean[i] = rows[i] != UINT32_MAX;
    return err;
}
