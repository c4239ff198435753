/* Keys of groups: hashes column by column, and the plain form of keys that compare without being encoded. */
#include "operator/agg_int.h"

#include "base/memory.h"

#include <stdlib.h>

static bool is_word(const struct type *t)
{
    switch (t->id) {
    case TYPE_BOOLEAN:
    case TYPE_BYTE:
    case TYPE_SHORT:
    case TYPE_INT:
    case TYPE_LONG:
    case TYPE_DATE:
    case TYPE_TIMESTAMP:
    case TYPE_TIMESTAMP_NTZ:
    case TYPE_DAY_TIME:
    case TYPE_YEAR_MONTH:
        return true;
    default: /* floating point has two zeros and many NaNs that are one key */
        return false;
    }
}

static bool is_pair(const struct type *t)
{
    return t->id == TYPE_STRUCT && t->nfields == 2 && is_word(t->fields[0].type) && is_word(t->fields[1].type);
}

void agg_shape_of(const struct plan_node *agg, struct agg_shape *out)
{
    int words = 0, texts = 0;
    *out = (struct agg_shape){.plain = agg->ngroup > 0, .n = agg->ngroup, .part = calloc((size_t)agg->ngroup + 1, 1)};
    if (!out->part)
        memory_out("groups");
    for (int k = 0; k < agg->ngroup; k++) {
        const struct type *t = agg->group[k]->type;
        bool text = t->id == TYPE_STRING || t->id == TYPE_BINARY;
        words += is_word(t) + 2 * is_pair(t);
        texts += text;
        out->part[k] = text ? PART_TEXT : is_pair(t) ? PART_PAIR : PART_WORD;
        out->plain &= text || is_word(t) || is_pair(t);
    }
    out->plain &= words <= 2 && texts <= 1;
}

/* Rows of c, widened where they are narrower than a word. */
static const uint64_t *words_of(const struct column *c, uint32_t n, struct arena *a)
{
    size_t width = type_width(c->type);
    if (width == 8)
        return c->data.any;
    uint64_t *out = ARENA_ARRAY(a, n + 1u, uint64_t);
    for (uint32_t i = 0; i < n; i++)
        out[i] = width == 4   ? (uint64_t)c->data.i32[i]
                 : width == 2 ? (uint64_t)c->data.i16[i]
                              : (uint64_t)c->data.i8[i];
    return out;
}

static bool has_nulls(const struct column *c, uint32_t n)
{
    return c->valid && memchr(c->valid, 0, n);
}

static void mark_nulls(const struct column *c, uint32_t n, uint8_t **odd, struct arena *a)
{
    if (!has_nulls(c, n))
        return;
    if (!*odd)
        *odd = ARENA_ARRAY(a, n, uint8_t);
    for (uint32_t i = 0; i < n; i++)
        (*odd)[i] |= !c->valid[i];
}

void agg_keys_of(const struct agg_shape *shape, struct column *cols, int ncols, uint32_t n, struct arena *a,
                 struct agg_keys *out)
{
    uint8_t *odd = NULL;
    int words = 0;
    *out = (struct agg_keys){.cols = cols, .n = n, .hash = ARENA_ARRAY(a, n + 1u, int32_t)};
    for (uint32_t i = 0; i < n; i++)
        out->hash[i] = 42;
    for (int k = 0; k < ncols; k++) {
        struct column flat;
        column_flatten(&flat, &cols[k], a);
        cols[k] = flat;
        if (shape->part && shape->part[k] == PART_PAIR && shape->plain &&
            !flat.valid) { /* as the struct, without its calls */
            column_murmur3_rows(&flat.children[0], n, out->hash);
            column_murmur3_rows(&flat.children[1], n, out->hash);
        } else {
            column_murmur3_rows(&flat, n, out->hash);
        }
        if (!shape->plain)
            continue;
        mark_nulls(&flat, n, &odd, a);
        if (shape->part[k] == PART_TEXT) {
            out->text = flat.data.str;
        } else if (shape->part[k] == PART_WORD) {
            out->word[words++] = words_of(&flat, n, a);
        } else {
            for (int side = 0; side < 2; side++) {
                mark_nulls(&flat.children[side], n, &odd, a);
                out->word[words++] = words_of(&flat.children[side], n, a);
            }
        }
    }
    out->odd = odd;
}

void agg_key_encode(const struct agg_shape *shape, const struct agg_keys *k, int ncols, uint32_t i, struct buf *out,
                    uint32_t *text_at)
{
    *text_at = 0;
    for (int c = 0; c < ncols; c++) {
        column_encode(out, &k->cols[c], i);
        if (shape->plain && shape->part[c] == PART_TEXT && !(k->odd && k->odd[i]))
            *text_at = (uint32_t)(out->n - k->text[i].n);
    }
}
