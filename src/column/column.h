/*
 * column: Spark's data types, and typed vectors of their values.
 *
 * A batch is up to BATCH_ROWS rows of equally long columns. The layout is Arrow's in spirit: one array of fixed-width
 * values per column, offsets + child for lists and maps, children for structs; with two liberties that kernels profit
 * from: validity is a byte per row (NULL: all valid), and strings are {ptr,len} views that may point into read buffers.
 *
 *   batch ── cols[0] BIGINT  data.i64 ──▶ [ 7 | 9 | 4 ]     valid ──▶ [ 1 | 0 | 1 ]
 *        └── cols[1] STRING  data.str ──▶ [ {p,n} … ] ──▶ bytes of a log slice, or of the batch's arena
 *
 * A constant column (`mask` 0) holds one physical row that stands for all n: read every value through COL_AT.
 * Values where valid[i] is 0 are unspecified but initialised memory (kernels may compute on them, never fault on them).
 *
 * Ownership: types are immutable and live in the arena they were made in (a plan's, or static). A batch's arrays live in
 * an arena; views into foreign buffers are kept alive by the batch's producer until its next batch: whoever keeps a value longer copies it.
 */
#ifndef PENSTOCK_COLUMN_COLUMN_H
#define PENSTOCK_COLUMN_COLUMN_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/fault.h"
#include "base/limit.h"
#include "base/rd.h"

enum { BATCH_ROWS = 2048 };

enum type_id {
    TYPE_NULL, /* VOID */
    TYPE_BOOLEAN,
    TYPE_BYTE,
    TYPE_SHORT,
    TYPE_INT,
    TYPE_LONG,
    TYPE_FLOAT,
    TYPE_DOUBLE,
    TYPE_DECIMAL,
    TYPE_STRING,
    TYPE_BINARY,
    TYPE_DATE,          /* int32 days since 1970-01-01, proleptic Gregorian */
    TYPE_TIMESTAMP,     /* int64 microseconds since the epoch, UTC */
    TYPE_TIMESTAMP_NTZ, /* int64 microseconds, local */
    TYPE_DAY_TIME,      /* int64 microseconds; first..last name the fields */
    TYPE_YEAR_MONTH,    /* int32 months */
    TYPE_CALENDAR,      /* struct calendar_interval */
    TYPE_ARRAY,
    TYPE_MAP,
    TYPE_STRUCT,
    TYPE_ID_COUNT
};

struct type;
struct field {
    struct str name;
    const struct type *type;
    bool nullable;
    struct str metadata; /* Spark's JSON object text; n 0: none */
};
struct type {
    enum type_id id;
    uint8_t precision, scale; /* DECIMAL: 1..38, 0..precision */
    uint8_t first, last;      /* DAY_TIME: 0 day 1 hour 2 minute 3 second; YEAR_MONTH: 0 year 1 month */
    int nfields;              /* ARRAY 1 (element), MAP 2 (key, value), STRUCT n */
    const struct field *fields;
};

extern const struct type
    TYPE_OF[TYPE_ID_COUNT]; /* plain instances: TYPE_OF[TYPE_LONG]; DECIMAL is (10,0), intervals full */
static inline const struct type *type_simple(enum type_id id)
{
    return &TYPE_OF[id];
}
const struct type *type_decimal(struct arena *a, int precision, int scale);
const struct type *type_array(struct arena *a, const struct type *element, bool contains_null);
const struct type *type_map(struct arena *a, const struct type *key, const struct type *value, bool value_nullable);
const struct type *type_struct(struct arena *a, const struct field *fields, int n); /* copies the fields */
const struct type *type_copy(struct arena *a, const struct type *t);                /* deep */
bool type_eq(const struct type *a, const struct type *b);        /* ignoring nullability and metadata */
bool type_eq_exact(const struct type *a, const struct type *b);  /* with nullability and metadata */
bool type_eq_nocase(const struct type *a, const struct type *b); /* type_eq, field names ASCII case-insensitive */
static inline bool type_is_integral(const struct type *t)
{
    return t->id >= TYPE_BYTE && t->id <= TYPE_LONG;
}
static inline bool type_is_numeric(const struct type *t)
{
    return t->id >= TYPE_BYTE && t->id <= TYPE_DECIMAL;
}
/* "integer", "decimal(10,2)", "array": DataType.typeName, as the schema JSON and printSchema have it. */
struct str type_name(struct arena *a, const struct type *t);
/* A name as Spark quotes it in messages and DDL when it is not a plain word: `a b`. */
void ident_put(struct buf *out, struct str name);
/* "BIGINT", "ARRAY<STRING>", "STRUCT<a: INT, b: STRING NOT NULL>": DataType.sql, as error messages print it. */
struct str type_sql(struct arena *a, const struct type *t);
/* "bigint", "array<string>", "struct<a:int>": DataType.catalogString / simpleString. */
struct str type_simple_string(struct arena *a, const struct type *t);
/* Spark's schema JSON (DataType.json) / DDL (StructType.toDDL) / printSchema tree (`level` 0: all). */
void type_json(struct buf *out, const struct type *t);
void type_ddl(struct buf *out, const struct type *schema);
void type_tree(struct buf *out, const struct type *schema, int level);

struct calendar_interval {
    int32_t months, days;
    int64_t micros;
};

struct column {
    const struct type *type;
    uint32_t n;           /* logical rows */
    uint32_t mask;        /* ~0u, or 0 for a constant */
    const uint8_t *valid; /* 1 valid, 0 null, per physical row; NULL: all valid */
    union {
        void *any;
        uint8_t *boolean; /* 0 or 1 */
        int8_t *i8;
        int16_t *i16;
        int32_t *i32; /* INT, DATE, YEAR_MONTH */
        int64_t *i64; /* LONG, TIMESTAMP, TIMESTAMP_NTZ, DAY_TIME */
        float *f32;
        double *f64;
        __int128 *i128;  /* DECIMAL, unscaled */
        struct str *str; /* STRING, BINARY */
        struct calendar_interval *interval;
        uint32_t *offsets; /* ARRAY, MAP: physical rows + 1 entries into children[*] */
    } data;
    struct column *children; /* ARRAY: element; MAP: key, value; STRUCT: one per field, each of as many physical rows */
};

#define COL_AT(c, i) ((i) & (c)->mask)
static inline bool col_valid(const struct column *c, uint32_t i)
{
    return !c->valid || c->valid[COL_AT(c, i)];
}
static inline bool col_is_const(const struct column *c)
{
    return c->mask == 0;
}

/* Bytes of one value in data (0 for TYPE_NULL and STRUCT; 4 for offsets). */
size_t type_width(const struct type *t);
/* Fresh column with room for n rows, zeroed (children of lists and maps without rows yet: column_grow them). All valid. */
void column_alloc(struct column *c, const struct type *t, uint32_t n, struct arena *a);
/* A writable validity array of n bytes, all 1; also set as c->valid. */
uint8_t *column_valid_alloc(struct column *c, uint32_t n, struct arena *a);
/*
 * Builders: make c (column_alloc'ed with 0 rows, or grown before) n rows long; the new rows are zero and valid, and c->valid
 * is writable from then on. Amortised: capacities are powers of two. Struct children grow along; list children do not:
 *
 *   column_grow(list, row + 1); column_grow(&list->children[0], used + k); list->data.offsets[row + 1] = used + k;
 */
void column_grow(struct column *c, uint32_t n, struct arena *a);
static inline void column_set_null(struct column *c, uint32_t i) /* c was grown, or has a writable validity array */
{
    ((uint8_t *)c->valid)[i] = 0;
}
/* A constant NULL / a view of one row of another column as a constant (`a` holds the heads of nested children). */
void column_null(struct column *c, const struct type *t, uint32_t n, struct arena *a);
void column_const(struct column *c, const struct column *from, uint32_t row, uint32_t n, struct arena *a);
/* Constants spread out (nested ones too, below structs); ordinary columns are returned as they are. */
void column_flatten(struct column *out, const struct column *c, struct arena *a);
/* out[i] = in[rows[i]]; rows UINT32_MAX gives NULL. Nested columns are gathered deeply; string bytes are not copied. */
void column_gather(struct column *out, const struct column *in, const uint32_t *rows, uint32_t n, struct arena *a);
/* out = the rows of parts one after another (same type). */
void column_concat(struct column *out, const struct column *const *parts, size_t nparts, struct arena *a);
/* Rows from..from+n as a column sharing in's arrays. */
void column_slice(struct column *out, const struct column *in, uint32_t from, uint32_t n, struct arena *a);
/* Copy everything a column points at (string bytes too) into `a`: for what outlives its batch. Constants stay constants. */
void column_copy(struct column *out, const struct column *in, struct arena *a);

/* Spark's ordering of values of one type (NaN largest and equal to itself, -0.0 = 0.0 , structs and arrays
 * lexicographic); NULLs: a null sorts before everything here. <0, 0, >0. Maps and calendar intervals do not order. */
int column_cmp(const struct column *a, uint32_t i, const struct column *b, uint32_t j);
/* Hash for grouping: equal values (nulls equal, -0.0 = 0.0, NaNs equal) hash alike; combine by passing the last one as seed. */
uint64_t column_hash(const struct column *c, uint32_t i, uint64_t seed);
/* Spark's Murmur3 (seed 42 at first): decides state partitions. NULL leaves the hash as it is. */
int32_t column_murmur3(const struct column *c, uint32_t i, int32_t seed);
/* The same for n rows: hashes[i] goes in as the seed and comes out as the hash. */
void column_murmur3_rows(const struct column *c, uint32_t n, int32_t *hashes);
/* Append value i in a compact, self-delimiting binary form / read it back into row i of `out` (decoded into `a`).
 * Equal values have equal bytes (canonical NaN and zero): state keys and changelogs are made of it. */
void column_encode(struct buf *out, const struct column *c, uint32_t i);
/* `out` was column_alloc'ed; rows are decoded in order from 0 (lists append to their children). r->bad is sticky. */
void column_decode(struct column *out, uint32_t i, struct rd *r, struct arena *a);

struct batch_cols {            /* named so to differ from Kafka's record batch */
    const struct type *schema; /* STRUCT */
    uint32_t n;
    struct column *cols; /* schema->nfields of them */
};

#endif
