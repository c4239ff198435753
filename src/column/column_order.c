/* Comparing and hashing single values. */
#include "column/column.h"
#include "base/map.h"

#include <math.h>

#define CMP(x, y) (((x) > (y)) - ((x) < (y)))

/* Spark's order of floating point: NaN equals NaN and is the largest; -0.0 equals 0.0. */
static int cmp_double(double x, double y)
{
    if (isnan(x) || isnan(y))
        return isnan(x) - isnan(y);
    return CMP(x, y);
}

static int cmp_list(const struct column *a, uint32_t i, const struct column *b, uint32_t j)
{
    uint32_t x = a->data.offsets[i], nx = a->data.offsets[i + 1] - x;
    uint32_t y = b->data.offsets[j], ny = b->data.offsets[j + 1] - y;
    for (uint32_t k = 0; k < nx && k < ny; k++)
        for (int c = 0; c < a->type->nfields; c++) {
            int d = column_cmp(&a->children[c], x + k, &b->children[c], y + k);
            if (d)
                return d;
        }
    return CMP(nx, ny);
}

static int cmp_value(const struct column *a, uint32_t i, const struct column *b, uint32_t j)
{
    switch (a->type->id) {
    case TYPE_BOOLEAN:
        return CMP(a->data.boolean[i], b->data.boolean[j]);
    case TYPE_BYTE:
        return CMP(a->data.i8[i], b->data.i8[j]);
    case TYPE_SHORT:
        return CMP(a->data.i16[i], b->data.i16[j]);
    case TYPE_INT:
    case TYPE_DATE:
    case TYPE_YEAR_MONTH:
        return CMP(a->data.i32[i], b->data.i32[j]);
    case TYPE_LONG:
    case TYPE_TIMESTAMP:
    case TYPE_TIMESTAMP_NTZ:
    case TYPE_DAY_TIME:
        return CMP(a->data.i64[i], b->data.i64[j]);
    case TYPE_FLOAT:
        return cmp_double((double)a->data.f32[i], (double)b->data.f32[j]);
    case TYPE_DOUBLE:
        return cmp_double(a->data.f64[i], b->data.f64[j]);
    case TYPE_DECIMAL:
        return CMP(a->data.i128[i], b->data.i128[j]);
    case TYPE_STRING:
    case TYPE_BINARY:
        return str_cmp(a->data.str[i], b->data.str[j]);
    case TYPE_CALENDAR: { /* no order in Spark: fields in turn, so that equality works */
        struct calendar_interval x = a->data.interval[i], y = b->data.interval[j];
        int d = CMP(x.months, y.months);
        d = d ? d : CMP(x.days, y.days);
        return d ? d : CMP(x.micros, y.micros);
    }
    case TYPE_ARRAY:
    case TYPE_MAP:
        return cmp_list(a, i, b, j);
    case TYPE_STRUCT:
        for (int k = 0; k < a->type->nfields; k++) {
            int d = column_cmp(&a->children[k], i, &b->children[k], j);
            if (d)
                return d;
        }
        return 0;
    default:
        return 0;
    }
}

int column_cmp(const struct column *a, uint32_t i, const struct column *b, uint32_t j)
{
    bool x = col_valid(a, i), y = col_valid(b, j);
    if (!x || !y)
        return x - y;
    return cmp_value(a, COL_AT(a, i), b, COL_AT(b, j));
}

/* -- grouping hash ------------------------------------------------------------------------------------------------ */
static uint64_t mix(uint64_t v, uint64_t seed)
{
    __uint128_t m = (__uint128_t)(v ^ 0x9E3779B97F4A7C15u ^ seed) * 0xD6E8FEB86659FD93u;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static uint64_t double_key(double d)
{
    uint64_t bits;
    if (isnan(d))
        return 0x7FF8000000000000u;
    if (d == 0)
        return 0;
    memcpy(&bits, &d, sizeof bits);
    return bits;
}

static uint64_t hash_fixed(const struct column *c, uint32_t i)
{
    switch (type_width(c->type)) {
    case 1:
        return (uint64_t)c->data.i8[i];
    case 2:
        return (uint64_t)c->data.i16[i];
    case 4:
        return (uint64_t)c->data.i32[i];
    default:
        return (uint64_t)c->data.i64[i];
    }
}

uint64_t column_hash(const struct column *c, uint32_t row, uint64_t seed)
{
    uint32_t i = COL_AT(c, row);
    if (c->valid && !c->valid[i])
        return mix(0x6E756C6Cu, seed);
    switch (c->type->id) {
    case TYPE_NULL:
        return mix(0x6E756C6Cu, seed);
    case TYPE_STRING:
    case TYPE_BINARY:
        return hash_bytes(c->data.str[i].p, c->data.str[i].n, seed);
    case TYPE_FLOAT:
        return mix(double_key((double)c->data.f32[i]), seed);
    case TYPE_DOUBLE:
        return mix(double_key(c->data.f64[i]), seed);
    case TYPE_DECIMAL:
        return mix((uint64_t)(c->data.i128[i] >> 64), mix((uint64_t)c->data.i128[i], seed));
    case TYPE_CALENDAR: {
        struct calendar_interval v = c->data.interval[i];
        return mix((uint64_t)v.micros, mix((uint64_t)v.days << 32 | (uint32_t)v.months, seed));
    }
    case TYPE_ARRAY:
    case TYPE_MAP:
        for (uint32_t k = c->data.offsets[i]; k < c->data.offsets[i + 1]; k++)
            for (int f = 0; f < c->type->nfields; f++)
                seed = column_hash(&c->children[f], k, seed);
        return mix(c->data.offsets[i + 1] - c->data.offsets[i], seed);
    case TYPE_STRUCT:
        for (int f = 0; f < c->type->nfields; f++)
            seed = column_hash(&c->children[f], i, seed);
        return mix((uint64_t)c->type->nfields, seed);
    default:
        return mix(hash_fixed(c, i), seed);
    }
}

/* -- Murmur3, as Spark's Murmur3Hash (MurmurHash3_x86_32; a byte of an unaligned tail is a whole round) ------------- */
static inline uint32_t rotl(uint32_t x, int r)
{
    return x << r | x >> (32 - r);
}

static inline uint32_t mm_round(uint32_t h, uint32_t k)
{
    k = rotl(k * 0xcc9e2d51u, 15) * 0x1b873593u;
    return rotl(h ^ k, 13) * 5 + 0xe6546b64u;
}

static int32_t mm_final(uint32_t h, uint32_t len)
{
    h ^= len;
    h = (h ^ h >> 16) * 0x85ebca6bu;
    h = (h ^ h >> 13) * 0xc2b2ae35u;
    return (int32_t)(h ^ h >> 16);
}

static int32_t mm_int(int32_t v, int32_t seed)
{
    return mm_final(mm_round((uint32_t)seed, (uint32_t)v), 4);
}

static int32_t mm_long(int64_t v, int32_t seed)
{
    uint32_t h = mm_round((uint32_t)seed, (uint32_t)v);
    return mm_final(mm_round(h, (uint32_t)((uint64_t)v >> 32)), 8);
}

static inline int32_t mm_bytes(const void *p, size_t n, int32_t seed)
{
    const uint8_t *b = p;
    uint32_t h = (uint32_t)seed;
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        uint32_t k;
        memcpy(&k, b + i, 4);
        h = mm_round(h, k);
    }
    for (; i < n; i++)
        h = mm_round(h, (uint32_t)(int8_t)b[i]);
    return mm_final(h, (uint32_t)n);
}

/* BigInteger.toByteArray: the shortest big-endian two's complement. */
static int32_t mm_decimal(__int128 v, int precision, int32_t seed)
{
    if (precision <= 18)
        return mm_long((int64_t)v, seed);
    uint8_t bytes[16];
    for (int i = 0; i < 16; i++)
        bytes[i] = (uint8_t)((unsigned __int128)v >> (120 - 8 * i));
    int from = 0;
    while (from < 15 && bytes[from] == (v < 0 ? 0xFF : 0) && (bytes[from + 1] >> 7) == (v < 0))
        from++;
    return mm_bytes(bytes + from, (size_t)(16 - from), seed);
}

static int32_t mm_float(float v, int32_t seed)
{
    int32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return mm_int(v == 0 ? 0 : isnan(v) ? 0x7fc00000 : bits, seed);
}

static int32_t mm_double(double v, int32_t seed)
{
    return mm_long((int64_t)double_key(v), seed);
}

int32_t column_murmur3(const struct column *c, uint32_t row, int32_t seed)
{
    uint32_t i = COL_AT(c, row);
    if ((c->valid && !c->valid[i]) || c->type->id == TYPE_NULL)
        return seed;
    switch (c->type->id) {
    case TYPE_STRING:
    case TYPE_BINARY:
        return mm_bytes(c->data.str[i].p, c->data.str[i].n, seed);
    case TYPE_FLOAT:
        return mm_float(c->data.f32[i], seed);
    case TYPE_DOUBLE:
        return mm_double(c->data.f64[i], seed);
    case TYPE_DECIMAL:
        return mm_decimal(c->data.i128[i], c->type->precision, seed);
    case TYPE_CALENDAR: {
        struct calendar_interval v = c->data.interval[i];
        return mm_int(v.months, mm_int(v.days, mm_long(v.micros, seed)));
    }
    case TYPE_ARRAY:
    case TYPE_MAP:
        for (uint32_t k = c->data.offsets[i]; k < c->data.offsets[i + 1]; k++)
            for (int f = 0; f < c->type->nfields; f++)
                seed = column_murmur3(&c->children[f], k, seed);
        return seed;
    case TYPE_STRUCT:
        for (int f = 0; f < c->type->nfields; f++)
            seed = column_murmur3(&c->children[f], i, seed);
        return seed;
    default:
        return type_width(c->type) == 8 ? mm_long(c->data.i64[i], seed)
                                        : mm_int((int32_t)(int64_t)hash_fixed(c, i), seed);
    }
}

#define MURMUR3_ROWS(hash)                                                                                             \
    do {                                                                                                               \
        for (uint32_t i = 0; i < n; i++)                                                                               \
            if (!c->valid || c->valid[i])                                                                              \
                hashes[i] = (hash);                                                                                    \
    } while (0)

void column_murmur3_rows(const struct column *c, uint32_t n, int32_t *hashes)
{
    enum type_id id = col_is_const(c) ? TYPE_ID_COUNT : c->type->id;
    switch (id) {
    case TYPE_STRING:
    case TYPE_BINARY:
        MURMUR3_ROWS(mm_bytes(c->data.str[i].p, c->data.str[i].n, hashes[i]));
        break;
    case TYPE_INT:
    case TYPE_DATE:
        MURMUR3_ROWS(mm_int(c->data.i32[i], hashes[i]));
        break;
    case TYPE_LONG:
    case TYPE_TIMESTAMP:
    case TYPE_TIMESTAMP_NTZ:
        MURMUR3_ROWS(mm_long(c->data.i64[i], hashes[i]));
        break;
    default:
        for (uint32_t i = 0; i < n; i++)
            hashes[i] = column_murmur3(c, i, hashes[i]);
    }
}
