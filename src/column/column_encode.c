/*
 * The compact binary form of values: state keys, changelogs, exchanged partial aggregates.
 *
 *   value    := 0x00 (null) | 0x01 body
 *   body     := fixed-width little-endian | uvarint length + bytes (STRING, BINARY)
 *             | uvarint count + values (ARRAY; MAP key, value in turn) | values (STRUCT)
 *
 * Floating point is canonical (one NaN, no -0.0), so that equal values have equal bytes.
 */
#include "column/column.h"

#include <math.h>

static void put_uvarint(struct buf *out, uint64_t v)
{
    uint8_t b[10];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        b[n++] = (uint8_t)(v | 0x80);
    b[n++] = (uint8_t)v;
    buf_put(out, b, n);
}

static void put_float(struct buf *out, float v)
{
    float canonical = isnan(v) ? (float)NAN : v + 0.0f; /* -0.0 + 0.0 is 0.0 */
    buf_put(out, &canonical, sizeof canonical);
}

static void put_double(struct buf *out, double v)
{
    double canonical = isnan(v) ? (double)NAN : v + 0.0;
    buf_put(out, &canonical, sizeof canonical);
}

void column_encode(struct buf *out, const struct column *c, uint32_t row)
{
    uint32_t i = COL_AT(c, row);
    bool valid = (!c->valid || c->valid[i]) && c->type->id != TYPE_NULL;
    buf_u8(out, valid);
    if (!valid)
        return;
    switch (c->type->id) {
    case TYPE_STRING:
    case TYPE_BINARY:
        put_uvarint(out, c->data.str[i].n);
        buf_str(out, c->data.str[i]);
        break;
    case TYPE_FLOAT:
        put_float(out, c->data.f32[i]);
        break;
    case TYPE_DOUBLE:
        put_double(out, c->data.f64[i]);
        break;
    case TYPE_ARRAY:
    case TYPE_MAP:
        put_uvarint(out, c->data.offsets[i + 1] - c->data.offsets[i]);
        for (uint32_t k = c->data.offsets[i]; k < c->data.offsets[i + 1]; k++)
            for (int f = 0; f < c->type->nfields; f++)
                column_encode(out, &c->children[f], k);
        break;
    case TYPE_STRUCT:
        for (int f = 0; f < c->type->nfields; f++)
            column_encode(out, &c->children[f], i);
        break;
    default: {
        size_t width = type_width(c->type);
        buf_put(out, (const char *)c->data.any + i * width, width);
    }
    }
}

/* A writable validity array for row i's null: made when the first null comes. */
static void set_null(struct column *out, uint32_t i, struct arena *a)
{
    uint8_t *v = out->valid ? (uint8_t *)out->valid : column_valid_alloc(out, out->n, a);
    v[i] = 0;
}

static void decode_list(struct column *out, uint32_t i, struct rd *r, struct arena *a)
{
    uint64_t count = rd_uvarint(r);
    uint32_t used = out->data.offsets[i];
    if (count > r->n || used + count > 1u << 30) /* every element takes a byte or more */
        r->bad = true;
    if (r->bad)
        count = 0;
    for (int f = 0; f < out->type->nfields; f++)
        column_grow(&out->children[f], used + (uint32_t)count, a);
    for (uint32_t k = 0; k < count && !r->bad; k++)
        for (int f = 0; f < out->type->nfields; f++)
            column_decode(&out->children[f], used + k, r, a);
    out->data.offsets[i + 1] = used + (uint32_t)count;
}

/* Row i holds nothing: lists below it end where they began. */
static void leave_empty(struct column *out, uint32_t i)
{
    if (out->type->id == TYPE_ARRAY || out->type->id == TYPE_MAP)
        out->data.offsets[i + 1] = out->data.offsets[i];
    for (int f = 0; out->type->id == TYPE_STRUCT && f < out->type->nfields; f++)
        leave_empty(&out->children[f], i);
}

void column_decode(struct column *out, uint32_t i, struct rd *r, struct arena *a)
{
    uint8_t flag = rd_u8(r);
    if (flag > 1 || (flag == 1 && out->type->id == TYPE_NULL))
        r->bad = true;
    if (r->bad || !flag) {
        leave_empty(out, i);
        set_null(out, i, a);
        return;
    }
    size_t width = type_width(out->type);
    switch (out->type->id) {
    case TYPE_STRING:
    case TYPE_BINARY: {
        uint64_t n = rd_uvarint(r);
        struct str s = rd_bytes(r, n > r->n ? SIZE_MAX : (size_t)n);
        out->data.str[i] = arena_str(a, s);
        break;
    }
    case TYPE_ARRAY:
    case TYPE_MAP:
        decode_list(out, i, r, a);
        break;
    case TYPE_STRUCT:
        for (int f = 0; f < out->type->nfields && !r->bad; f++)
            column_decode(&out->children[f], i, r, a);
        break;
    default: {
        struct str s = rd_bytes(r, width);
        if (!r->bad)
            memcpy((char *)out->data.any + i * width, s.p, width);
    }
    }
}
