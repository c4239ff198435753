#include "wire/arrow_int.h"

#include <stdio.h>

enum { ROWS_PER_EMPTY_BODY = 65536 };

/* A field of the stream's schema: what its buffers hold, and what it becomes. */
struct in_field {
    struct str name;
    bool nullable;
    enum arrow_type kind;
    int unit, bits; /* TimeUnit, DateUnit or IntervalUnit; integer width; bytes of a fixed-size value; list size */
    bool is_large;  /* 64-bit offsets */
    const struct type *type;
    struct in_field *children;
    int nchildren;
};

struct reader {
    struct rd rd;
    struct arena *a;
    struct fault *f;
    struct in_field root; /* its children are the columns */
    bool has_schema;
    int nfields; /* made so far: a FlatBuffer may name one table many times */
    /* the record batch being read */
    struct str body;
    const uint8_t *nodes, *buffers;
    uint32_t nnodes, nbuffers, node, buffer;
    uint64_t rows_most;
};

static enum err malformed(struct reader *r, const char *detail)
{
    return FAULT(r->f, ERR_FRAME, {"what", "Arrow data"}, {"detail", detail});
}

static enum err refused(struct reader *r, struct str column, const char *what)
{
    char feature[300];
    snprintf(feature, sizeof feature, "%s in Arrow data (column %.*s)", what, column.n > 100 ? 100 : (int)column.n,
             column.p);
    return FAULT(r->f, ERR_UNSUPPORTED, {"feature", feature}, {"hint", "Cast the column before sending it."});
}

static enum err no_memory(struct reader *r)
{
    return FAULT(r->f, ERR_NOMEM, {"what", "a local relation"});
}

/* -- schema ------------------------------------------------------------------------------------------------------- */
static enum err int_type(struct reader *r, struct in_field *x, struct fb_in *in, struct fb_at t)
{
    x->bits = (int)fb_uint(in, t, 0, 4, 0);
    if (!fb_uint(in, t, 1, 1, 0))
        return refused(r, x->name, "an unsigned integer");
    enum type_id id = x->bits == 8    ? TYPE_BYTE
                      : x->bits == 16 ? TYPE_SHORT
                      : x->bits == 32 ? TYPE_INT
                      : x->bits == 64 ? TYPE_LONG
                                      : TYPE_NULL;
    if (id == TYPE_NULL)
        return malformed(r, "an integer of odd width");
    x->type = type_simple(id);
    return ERR_OK;
}

static enum err decimal_type(struct reader *r, struct in_field *x, struct fb_in *in, struct fb_at t)
{
    int64_t precision = (int32_t)fb_uint(in, t, 0, 4, 0), scale = (int32_t)fb_uint(in, t, 1, 4, 0);
    if (fb_uint(in, t, 2, 4, 128) != 128)
        return refused(r, x->name, "a decimal that is not of 128 bits");
    if (precision < 1 || precision > 38 || scale < 0 || scale > precision)
        return refused(r, x->name, "a decimal of such precision and scale");
    x->type = type_decimal(r->a, (int)precision, (int)scale);
    return ERR_OK;
}

static enum err interval_type(struct reader *r, struct in_field *x, struct fb_in *in, struct fb_at t)
{
    static const enum type_id ids[] = {TYPE_YEAR_MONTH, TYPE_DAY_TIME, TYPE_CALENDAR};
    x->unit = (int)fb_uint(in, t, 0, 2, 0);
    if (x->unit > ARROW_MONTH_DAY_NANO)
        return malformed(r, "an unknown interval unit");
    x->type = type_simple(ids[x->unit]);
    return ERR_OK;
}

static enum err time_type(struct reader *r, struct in_field *x, struct fb_in *in, struct fb_at t, uint64_t unit,
                          enum type_id id)
{
    x->unit = (int)fb_uint(in, t, 0, 2, unit);
    if (x->unit > ARROW_NANO)
        return malformed(r, "an unknown time unit");
    x->type = type_simple(id);
    return ERR_OK;
}

static enum err nested_type(struct reader *r, struct in_field *x)
{
    if (x->kind == ARROW_STRUCT) {
        struct field *fields = ARENA_ARRAY(r->a, (size_t)x->nchildren + 1, struct field);
        for (int i = 0; i < x->nchildren; i++)
            fields[i] = (struct field){x->children[i].name, x->children[i].type, x->children[i].nullable, {0}};
        x->type = type_struct(r->a, fields, x->nchildren);
        return ERR_OK;
    }
    if (x->nchildren != 1)
        return malformed(r, "a list without one child");
    const struct in_field *child = &x->children[0];
    if (x->kind != ARROW_MAP) {
        x->type = type_array(r->a, child->type, child->nullable);
        return ERR_OK;
    }
    if (child->kind != ARROW_STRUCT || child->nchildren != 2)
        return malformed(r, "a map without keys and values");
    x->type = type_map(r->a, child->children[0].type, child->children[1].type, child->children[1].nullable);
    return ERR_OK;
}

/* The name of a kind that is refused, or NULL. */
static const char *refused_kind(enum arrow_type kind)
{
    static const char *const names[ARROW_TYPE_COUNT] = {
        [ARROW_TIME] = "a time of day",          [ARROW_UNION] = "a union",
        [ARROW_RUN_END] = "a run-end encoding",  [ARROW_BINARY_VIEW] = "a binary view",
        [ARROW_UTF8_VIEW] = "a string view",     [ARROW_LIST_VIEW] = "a list view",
        [ARROW_LARGE_LIST_VIEW] = "a list view",
    };
    return names[kind];
}

static enum err leaf_type(struct reader *r, struct in_field *x, struct fb_in *in, struct fb_at t)
{
    uint32_t zone_n;
    x->is_large = x->kind == ARROW_LARGE_BINARY || x->kind == ARROW_LARGE_UTF8 || x->kind == ARROW_LARGE_LIST;
    switch (x->kind) {
    case ARROW_NULL:
        x->type = type_simple(TYPE_NULL);
        return ERR_OK;
    case ARROW_BOOL:
        x->type = type_simple(TYPE_BOOLEAN);
        return ERR_OK;
    case ARROW_UTF8:
    case ARROW_LARGE_UTF8:
        x->type = type_simple(TYPE_STRING);
        return ERR_OK;
    case ARROW_FIXED_BINARY:
        x->bits = (int32_t)fb_uint(in, t, 0, 4, 0);
        if (x->bits < 0)
            return malformed(r, "a negative width");
        /* fall through */
    case ARROW_BINARY:
    case ARROW_LARGE_BINARY:
        x->type = type_simple(TYPE_BINARY);
        return ERR_OK;
    case ARROW_INT:
        return int_type(r, x, in, t);
    case ARROW_FLOAT:
        x->unit = (int)fb_uint(in, t, 0, 2, 0);
        if (x->unit != 1 && x->unit != 2)
            return refused(r, x->name, "a half-precision number");
        x->type = type_simple(x->unit == 1 ? TYPE_FLOAT : TYPE_DOUBLE);
        return ERR_OK;
    case ARROW_DECIMAL:
        return decimal_type(r, x, in, t);
    case ARROW_DATE:
        x->unit = (int)fb_uint(in, t, 0, 2, 1);
        x->type = type_simple(TYPE_DATE);
        return ERR_OK;
    case ARROW_TIMESTAMP:
        fb_elements(in, t, 1, 1, &zone_n);
        return time_type(r, x, in, t, ARROW_SECOND, zone_n ? TYPE_TIMESTAMP : TYPE_TIMESTAMP_NTZ);
    case ARROW_DURATION:
        return time_type(r, x, in, t, ARROW_MILLI, TYPE_DAY_TIME);
    case ARROW_INTERVAL:
        return interval_type(r, x, in, t);
    case ARROW_FIXED_LIST:
        x->bits = (int32_t)fb_uint(in, t, 0, 4, 0);
        if (x->bits < 0)
            return malformed(r, "a negative list size");
        /* fall through */
    default:
        return nested_type(r, x);
    }
}

static enum err read_field(struct reader *r, struct fb_in *in, struct fb_at at, int depth, struct in_field *x);

static enum err read_fields(struct reader *r, struct fb_in *in, size_t first, uint32_t n, int depth,
                            struct in_field **out)
{
    if (depth > LIMIT_TYPE_DEPTH || n > LIMIT_ARROW_FIELDS || (r->nfields += (int)n) > LIMIT_ARROW_FIELDS)
        return FAULT(r->f, ERR_LIMIT, {"what", "The schema of Arrow data"}, {"limit", "20000 fields, 64 deep"});
    *out = ARENA_ARRAY(r->a, n + 1, struct in_field);
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < n && !e; i++)
        e = read_field(r, in, fb_element(in, first, i), depth, &(*out)[i]);
    return e;
}

/* Field: 0 name, 1 nullable, 2 type_type, 3 type, 4 dictionary, 5 children. */
static enum err read_field(struct reader *r, struct fb_in *in, struct fb_at at, int depth, struct in_field *x)
{
    struct fb_at t = {0}, dictionary;
    uint32_t n;
    x->name = arena_str(r->a, fb_text(in, at, 0));
    x->nullable = fb_uint(in, at, 1, 1, 0);
    uint64_t kind = fb_uint(in, at, 2, 1, 0);
    if (in->bad || kind == 0 || kind >= ARROW_TYPE_COUNT || !fb_child(in, at, 3, &t))
        return malformed(r, "a field without a type");
    x->kind = (enum arrow_type)kind;
    if (fb_child(in, at, 4, &dictionary))
        return refused(r, x->name, "a dictionary");
    if (refused_kind(x->kind))
        return refused(r, x->name, refused_kind(x->kind));
    size_t first = fb_elements(in, at, 5, 4, &n);
    x->nchildren = (int)n;
    enum err e = read_fields(r, in, first, n, depth + 1, &x->children);
    if (e)
        return e;
    e = leaf_type(r, x, in, t);
    return !e && in->bad ? malformed(r, "a field points outside") : e;
}

/* Schema: 0 endianness, 1 fields. */
static enum err read_schema(struct reader *r, struct fb_in *in, struct fb_at header)
{
    uint32_t n;
    if (fb_uint(in, header, 0, 2, 0) != 0)
        return malformed(r, "big-endian data");
    size_t first = fb_elements(in, header, 1, 4, &n);
    struct in_field root = {.kind = ARROW_STRUCT, .name = STR("schema"), .nchildren = (int)n};
    enum err e = in->bad ? malformed(r, "a schema points outside") : read_fields(r, in, first, n, 0, &root.children);
    if (!e)
        e = nested_type(r, &root);
    if (!e && r->has_schema && !type_eq(r->root.type, root.type))
        return malformed(r, "streams of different schemas");
    if (!e && !r->has_schema)
        r->root = root;
    r->has_schema = true;
    return e;
}

/* -- columns ------------------------------------------------------------------------------------------------------ */
static uint64_t le64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

/* The next FieldNode {length, null_count} and Buffer {offset, length}. */
static bool next_node(struct reader *r, uint64_t *n, uint64_t *nulls)
{
    if (r->node == r->nnodes)
        return false;
    *n = le64(r->nodes + 16 * (size_t)r->node);
    *nulls = le64(r->nodes + 16 * (size_t)r->node + 8);
    r->node++;
    return *n <= r->rows_most && *nulls <= *n;
}

static bool next_buffer(struct reader *r, struct str *out)
{
    if (r->buffer == r->nbuffers)
        return false;
    uint64_t at = le64(r->buffers + 16 * (size_t)r->buffer), n = le64(r->buffers + 16 * (size_t)r->buffer + 8);
    r->buffer++;
    if (at > r->body.n || n > r->body.n - at)
        return false;
    *out = str_make(r->body.p + at, (size_t)n);
    return true;
}

/* n bits to n bytes of 0 and 1. */
static uint8_t *spread_bits(struct arena *a, struct str bits, uint64_t n)
{
    uint8_t *out = arena_try(a, n ? n : 1);
    for (uint64_t i = 0; out && i < n; i++)
        out[i] = (uint8_t)bits.p[i / 8] >> (i % 8) & 1;
    return out;
}

static enum err read_validity(struct reader *r, struct column *c, uint64_t n, uint64_t nulls)
{
    struct str bits;
    if (!next_buffer(r, &bits))
        return malformed(r, "a validity buffer outside the body");
    if (!nulls)
        return ERR_OK;
    if (bits.n < (n + 7) / 8)
        return malformed(r, "a short validity buffer");
    c->valid = spread_bits(r->a, bits, n);
    return c->valid ? ERR_OK : no_memory(r);
}

/* n + 1 offsets that never fall and end within `most`; *out 32-bit. */
static enum err read_offsets(struct reader *r, bool is_large, uint64_t n, uint64_t most, struct str bytes,
                             uint32_t **out)
{
    size_t width = is_large ? 8 : 4;
    *out = arena_try(r->a, (n + 1) * 4);
    if (!*out)
        return no_memory(r);
    if (n == 0 && bytes.n < width) { /* Arrow allows an empty buffer for an empty column */
        **out = 0;
        return ERR_OK;
    }
    if (bytes.n / width < n + 1)
        return malformed(r, "a short offsets buffer");
    uint64_t last = 0;
    for (uint64_t i = 0; i <= n; i++) {
        uint64_t v = 0;
        memcpy(&v, bytes.p + i * width, width);
        if (v < last || v > most || v > UINT32_MAX)
            return malformed(r, "offsets that fall or point outside");
        (*out)[i] = (uint32_t)v;
        last = v;
    }
    return ERR_OK;
}

static enum err read_strings(struct reader *r, const struct in_field *x, struct column *c, uint64_t n)
{
    struct str offsets, data;
    uint32_t *at;
    if (!next_buffer(r, &offsets) || !next_buffer(r, &data))
        return malformed(r, "a string buffer outside the body");
    enum err e = read_offsets(r, x->is_large, n, data.n, offsets, &at);
    if (e)
        return e;
    c->data.str = arena_try(r->a, (n ? n : 1) * sizeof(struct str));
    if (!c->data.str)
        return no_memory(r);
    for (uint64_t i = 0; i < n; i++)
        c->data.str[i] = str_make(data.p + at[i], at[i + 1] - at[i]);
    return ERR_OK;
}

static int64_t floor_div(int64_t v, int64_t by)
{
    return v / by - (v % by < 0);
}

/* One value of `width` bytes at p becomes value i of the column. False: it does not fit. */
static bool convert(const struct in_field *x, struct column *c, uint64_t i, const char *p)
{
    static const int64_t to_micros[] = {1000000, 1000, 1, 0};
    int64_t v;
    int32_t half[2];
    switch (x->kind) {
    case ARROW_DATE: /* DateUnit 0 is days, copied whole elsewhere */
        memcpy(&v, p, 8);
        v = floor_div(v, 86400000);
        c->data.i32[i] = (int32_t)v;
        return v == (int32_t)v;
    case ARROW_TIMESTAMP:
    case ARROW_DURATION:
        memcpy(&v, p, 8);
        if (x->unit == ARROW_NANO)
            c->data.i64[i] = floor_div(v, 1000);
        else if (__builtin_mul_overflow(v, to_micros[x->unit], &c->data.i64[i]))
            return false;
        return true;
    case ARROW_INTERVAL: /* days and milliseconds, or months, days and nanoseconds */
        memcpy(half, p, 8);
        if (x->unit == ARROW_DAY_MILLI) {
            c->data.i64[i] = half[0] * INT64_C(86400000000) + half[1] * INT64_C(1000);
            return true;
        }
        memcpy(&v, p + 8, 8);
        c->data.interval[i] = (struct calendar_interval){half[0], half[1], floor_div(v, 1000)};
        return true;
    default:
        c->data.str[i] = str_make(p, (size_t)x->bits); /* fixed-size binary */
        return true;
    }
}

/* Bytes of one value in the body, and whether it is ours as it stands. */
static size_t wire_width(const struct in_field *x, bool *same)
{
    *same = true;
    switch (x->kind) {
    case ARROW_DATE:
        *same = x->unit == 0;
        return *same ? 4 : 8;
    case ARROW_TIMESTAMP:
    case ARROW_DURATION:
        *same = x->unit == ARROW_MICRO;
        return 8;
    case ARROW_INTERVAL:
        *same = x->unit == ARROW_MONTHS;
        return x->unit == ARROW_MONTHS ? 4 : x->unit == ARROW_DAY_MILLI ? 8 : 16;
    case ARROW_FIXED_BINARY:
        *same = false;
        return (size_t)x->bits;
    default:
        return type_width(x->type);
    }
}

static enum err read_fixed(struct reader *r, const struct in_field *x, struct column *c, uint64_t n)
{
    struct str data;
    bool same;
    size_t wire = wire_width(x, &same);
    if (!next_buffer(r, &data))
        return malformed(r, "a data buffer outside the body");
    if (x->kind == ARROW_BOOL) {
        if (data.n < (n + 7) / 8)
            return malformed(r, "a short data buffer");
        c->data.boolean = spread_bits(r->a, data, n);
        return c->data.any ? ERR_OK : no_memory(r);
    }
    if (wire && data.n / wire < n)
        return malformed(r, "a short data buffer");
    c->data.any = arena_try(r->a, (n ? n : 1) * type_width(x->type));
    if (!c->data.any)
        return no_memory(r);
    if (same) {
        memcpy(c->data.any, data.p, n * wire);
        return ERR_OK;
    }
    for (uint64_t i = 0; i < n; i++)
        if (!convert(x, c, i, data.p + i * wire) && col_valid(c, (uint32_t)i))
            return malformed(r, "a point in time out of range");
    return ERR_OK;
}

static enum err read_column(struct reader *r, const struct in_field *x, struct column *c, uint64_t *n);

static enum err read_child(struct reader *r, const struct in_field *x, struct column *c, uint64_t at_least)
{
    uint64_t n;
    enum err e = read_column(r, x, c, &n);
    if (!e && n < at_least)
        return malformed(r, "a child with too few rows");
    return e;
}

/* Keys and values of a map hang below the struct `entries`, which has a node and a validity buffer of its own. */
static enum err read_list(struct reader *r, const struct in_field *x, struct column *c, uint64_t n)
{
    struct str offsets = {0}, entries_valid;
    uint64_t entries_n, nulls;
    if (x->kind != ARROW_FIXED_LIST && !next_buffer(r, &offsets))
        return malformed(r, "an offsets buffer outside the body");
    if (x->kind == ARROW_FIXED_LIST) {
        uint64_t size = (uint64_t)x->bits;
        if (size && n > r->rows_most / size)
            return malformed(r, "a list longer than the data");
        c->data.offsets = arena_try(r->a, (n + 1) * 4);
        for (uint64_t i = 0; c->data.offsets && i <= n; i++)
            c->data.offsets[i] = (uint32_t)(i * size);
        if (!c->data.offsets)
            return no_memory(r);
    } else {
        enum err e = read_offsets(r, x->is_large, n, r->rows_most, offsets, &c->data.offsets);
        if (e)
            return e;
    }
    uint64_t need = c->data.offsets[n];
    const struct in_field *child = x->children;
    c->children = ARENA_ARRAY(r->a, 2, struct column);
    if (x->kind != ARROW_MAP)
        return read_child(r, child, &c->children[0], need);
    if (!next_node(r, &entries_n, &nulls) || !next_buffer(r, &entries_valid) || nulls)
        return malformed(r, "bad map entries");
    enum err e = read_child(r, &child->children[0], &c->children[0], need);
    return e ? e : read_child(r, &child->children[1], &c->children[1], need);
}

static enum err read_struct(struct reader *r, const struct in_field *x, struct column *c, uint64_t n)
{
    c->children = ARENA_ARRAY(r->a, (size_t)x->nchildren + 1, struct column);
    enum err e = ERR_OK;
    for (int i = 0; i < x->nchildren && !e; i++) {
        e = read_child(r, &x->children[i], &c->children[i], n);
        c->children[i].n = (uint32_t)n;
    }
    return e;
}

static enum err read_column(struct reader *r, const struct in_field *x, struct column *c, uint64_t *n)
{
    uint64_t nulls;
    if (!next_node(r, n, &nulls))
        return malformed(r, "a field node that is missing, or longer than the data");
    *c = (struct column){.type = x->type, .n = (uint32_t)*n, .mask = ~0u};
    if (x->kind == ARROW_NULL) {
        column_null(c, x->type, (uint32_t)*n, r->a);
        return ERR_OK;
    }
    enum err e = read_validity(r, c, *n, nulls);
    if (e)
        return e;
    switch (x->kind) {
    case ARROW_UTF8:
    case ARROW_LARGE_UTF8:
    case ARROW_BINARY:
    case ARROW_LARGE_BINARY:
        return read_strings(r, x, c, *n);
    case ARROW_LIST:
    case ARROW_LARGE_LIST:
    case ARROW_FIXED_LIST:
    case ARROW_MAP:
        return read_list(r, x, c, *n);
    case ARROW_STRUCT:
        return read_struct(r, x, c, *n);
    default:
        return read_fixed(r, x, c, *n);
    }
}

/* -- messages ----------------------------------------------------------------------------------------------------- */
struct batch_list { /* in the arena: the number of batches is not known before */
    struct batch_list *next;
    struct batch_cols batch;
};

static enum err slice(struct reader *r, const struct column *cols, uint64_t n, struct batch_list ***tail, size_t *count)
{
    for (uint64_t from = 0; from < n; from += BATCH_ROWS) {
        uint32_t take = n - from < BATCH_ROWS ? (uint32_t)(n - from) : BATCH_ROWS;
        struct batch_list *b = arena_try(r->a, sizeof *b);
        struct column *part = b ? arena_try(r->a, ((size_t)r->root.nchildren + 1) * sizeof *part) : NULL;
        if (!part)
            return no_memory(r);
        for (int i = 0; i < r->root.nchildren; i++)
            column_slice(&part[i], &cols[i], (uint32_t)from, take, r->a);
        *b = (struct batch_list){NULL, {r->root.type, take, part}};
        **tail = b;
        *tail = &b->next;
        ++*count;
    }
    return ERR_OK;
}

/* RecordBatch: 0 length, 1 nodes, 2 buffers, 3 compression. */
static enum err read_records(struct reader *r, struct fb_in *in, struct fb_at header, struct batch_list ***tail,
                             size_t *count, uint64_t *rows)
{
    struct fb_at compression;
    if (!r->has_schema)
        return malformed(r, "a record batch before the schema");
    if (fb_child(in, header, 3, &compression))
        return refused(r, STR("all"), "compression");
    uint64_t n = fb_uint(in, header, 0, 8, 0);
    size_t nodes = fb_elements(in, header, 1, 16, &r->nnodes), buffers = fb_elements(in, header, 2, 16, &r->nbuffers);
    /* Columns of nulls have no bytes: so many rows need no proof, beyond it eight rows a byte are the most there can be. */
    r->rows_most = 8 * (uint64_t)r->body.n + ROWS_PER_EMPTY_BODY;
    if (in->bad || n > r->rows_most || r->rows_most > UINT32_MAX)
        return malformed(r, "a record batch longer than its data");
    r->nodes = in->p + nodes;
    r->buffers = in->p + buffers;
    r->node = r->buffer = 0;
    struct column *cols = ARENA_ARRAY(r->a, (size_t)r->root.nchildren + 1, struct column);
    for (int i = 0; i < r->root.nchildren; i++) {
        uint64_t got;
        enum err e = read_column(r, &r->root.children[i], &cols[i], &got);
        if (e)
            return e;
        if (got != n)
            return malformed(r, "columns of different lengths");
    }
    *rows += n;
    return slice(r, cols, n, tail, count);
}

/* Message: 0 version, 1 header_type, 2 header, 3 bodyLength. */
static enum err read_message(struct reader *r, struct str metadata, struct batch_list ***tail, size_t *count,
                             uint64_t *rows)
{
    struct fb_in in = {(const uint8_t *)metadata.p, metadata.n, false};
    struct fb_at root = fb_root(&in), header;
    uint64_t kind = fb_uint(&in, root, 1, 1, 0), body_n = fb_uint(&in, root, 3, 8, 0);
    if (!fb_child(&in, root, 2, &header))
        return malformed(r, "a message without a header");
    r->body = rd_bytes(&r->rd, (size_t)body_n);
    if (in.bad || r->rd.bad)
        return malformed(r, "a body that is cut");
    switch (kind) {
    case ARROW_SCHEMA:
        return read_schema(r, &in, header);
    case ARROW_RECORDS:
        return read_records(r, &in, header, tail, count, rows);
    case ARROW_DICTIONARY:
        return refused(r, STR("all"), "a dictionary");
    default:
        return malformed(r, "a message of unknown kind");
    }
}

enum err arrow_read(struct str bytes, struct arena *a, struct arrow_in *out, struct fault *f)
{
    struct reader r = {.rd = rd_of(bytes), .a = a, .f = f};
    struct batch_list *head = NULL, **tail = &head;
    *out = (struct arrow_in){0};
    while (r.rd.n) {
        uint32_t n = rd_u32le(&r.rd);
        if (n == UINT32_MAX) /* the mark of Arrow 0.15 and later; before it the length came at once */
            n = rd_u32le(&r.rd);
        if (r.rd.bad)
            return malformed(&r, "a message that is cut");
        if (n == 0)
            continue; /* the end of a stream */
        struct str metadata = rd_bytes(&r.rd, n);
        if (r.rd.bad)
            return malformed(&r, "a message that is cut");
        enum err e = read_message(&r, metadata, &tail, &out->nbatches, &out->rows);
        if (e)
            return e;
    }
    if (!r.has_schema)
        return malformed(&r, "no schema");
    out->schema = r.root.type;
    out->batches = ARENA_ARRAY(a, out->nbatches + 1, struct batch_cols);
    struct batch_cols *at = out->batches;
    for (struct batch_list *b = head; b; b = b->next)
        *at++ = b->batch;
    return ERR_OK;
}
