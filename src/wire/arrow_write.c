#include "wire/arrow_int.h"

#include "base/memory.h"

#include <stdlib.h>

/* One Arrow array under construction. Which buffers it has depends on its type. */
struct array {
    const struct type *type;
    struct str name;
    bool nullable;
    uint64_t n, nulls;
    struct buf valid, offsets, data; /* valid: a bit per row, from the first null on all of them */
    struct array *children;
    int nchildren;
};

struct arrow_out {
    struct array *cols;
    int ncols;
    struct buf zone;
    uint64_t rows;
};

/* -- making and clearing ------------------------------------------------------------------------------------------ */
static void array_init(struct array *a, const struct type *t, struct str name, bool nullable);

static void array_children(struct array *a, int n)
{
    a->nchildren = n;
    a->children = calloc((size_t)n ? (size_t)n : 1, sizeof *a->children);
    if (!a->children)
        memory_out("an Arrow schema"); /* small and bounded by the schema, as arena_alloc is */
}

static void array_init(struct array *a, const struct type *t, struct str name, bool nullable)
{
    static const char *const map_names[] = {"key", "value"};
    *a = (struct array){.type = t, .name = name, .nullable = nullable};
    if (t->id == TYPE_STRUCT) {
        array_children(a, t->nfields);
        for (int i = 0; i < t->nfields; i++)
            array_init(&a->children[i], t->fields[i].type, t->fields[i].name, t->fields[i].nullable);
    } else if (t->id == TYPE_ARRAY) {
        array_children(a, 1);
        array_init(&a->children[0], t->fields[0].type, STR("element"), t->fields[0].nullable);
    } else if (t->id == TYPE_MAP) {
        array_children(a, 2);
        for (int i = 0; i < 2; i++)
            array_init(&a->children[i], t->fields[i].type, str_of(map_names[i]), i == 1 && t->fields[i].nullable);
    }
}

static void array_free(struct array *a)
{
    buf_free(&a->valid);
    buf_free(&a->offsets);
    buf_free(&a->data);
    for (int i = 0; i < a->nchildren; i++)
        array_free(&a->children[i]);
    free(a->children);
}

static void array_clear(struct array *a)
{
    a->n = a->nulls = 0;
    buf_clear(&a->valid);
    buf_clear(&a->offsets);
    buf_clear(&a->data);
    for (int i = 0; i < a->nchildren; i++)
        array_clear(&a->children[i]);
}

struct arrow_out *arrow_out_new(const struct type *schema, struct str zone)
{
    struct arrow_out *o = calloc(1, sizeof *o);
    if (!o)
        memory_out("an Arrow stream");
    o->ncols = schema->nfields;
    o->cols = calloc((size_t)o->ncols + 1, sizeof *o->cols);
    if (!o->cols)
        memory_out("an Arrow stream");
    for (int i = 0; i < o->ncols; i++)
        array_init(&o->cols[i], schema->fields[i].type, schema->fields[i].name, schema->fields[i].nullable);
    buf_str(&o->zone, zone);
    return o;
}

void arrow_out_free(struct arrow_out *o)
{
    if (!o)
        return;
    for (int i = 0; i < o->ncols; i++)
        array_free(&o->cols[i]);
    free(o->cols);
    buf_free(&o->zone);
    free(o);
}

uint64_t arrow_out_rows(const struct arrow_out *o)
{
    return o->rows;
}

static size_t array_bytes(const struct array *a)
{
    size_t n = a->valid.n + a->offsets.n + a->data.n;
    for (int i = 0; i < a->nchildren; i++)
        n += array_bytes(&a->children[i]);
    return n;
}

size_t arrow_out_bytes(const struct arrow_out *o)
{
    size_t n = 0;
    for (int i = 0; i < o->ncols; i++)
        n += array_bytes(&o->cols[i]);
    return n;
}

/* -- adding rows -------------------------------------------------------------------------------------------------- */
/* Append n bits; bit k of the array is bit k%8 of byte k/8. `at` is how many bits there are. */
static void put_bits(struct buf *b, uint64_t at, const uint8_t *values, uint32_t mask, uint32_t from, uint32_t n)
{
    size_t need = (size_t)((at + n + 7) / 8);
    if (need > b->n)
        buf_fill(b, 0, need - b->n);
    if (b->bad)
        return;
    for (uint32_t i = 0; i < n; i++)
        if (!values || values[(from + i) & mask])
            b->p[(at + i) / 8] |= (char)(1 << ((at + i) % 8));
}

static void add_validity(struct array *a, const struct column *c, uint32_t from, uint32_t n)
{
    uint32_t nulls = 0;
    if (c->valid)
        for (uint32_t i = 0; i < n; i++)
            nulls += !c->valid[COL_AT(c, from + i)];
    if (nulls && !a->nulls)
        put_bits(&a->valid, 0, NULL, 0, 0, (uint32_t)a->n); /* what came before was valid; a->n < 2^31 is checked */
    a->nulls += nulls;
    if (a->nulls)
        put_bits(&a->valid, a->n, c->valid, c->mask, from, n);
}

static void add_fixed(struct array *a, const struct column *c, uint32_t from, uint32_t n)
{
    size_t width = type_width(c->type);
    const char *p = c->data.any;
    if (!col_is_const(c)) {
        buf_put(&a->data, p + (size_t)from * width, (size_t)n * width);
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        buf_put(&a->data, p, width);
}

static void first_offset(struct array *a)
{
    if (!a->offsets.n)
        buf_u32le(&a->offsets, 0);
}

static void add_strings(struct array *a, const struct column *c, uint32_t from, uint32_t n)
{
    first_offset(a);
    buf_reserve(&a->offsets, 4 * (size_t)n);
    for (uint32_t i = from; i < from + n; i++) {
        if (col_valid(c, i))
            buf_str(&a->data, c->data.str[COL_AT(c, i)]);
        buf_u32le(&a->offsets, (uint32_t)a->data.n);
    }
}

static enum err add_intervals(struct array *a, const struct column *c, uint32_t from, uint32_t n, struct fault *f)
{
    for (uint32_t i = from; i < from + n; i++) {
        struct calendar_interval v = col_valid(c, i) ? c->data.interval[COL_AT(c, i)] : (struct calendar_interval){0};
        int64_t nanos;
        if (__builtin_mul_overflow(v.micros, 1000, &nanos))
            return FAULT(f, ERR_LIMIT, {"what", "An interval in Arrow form"}, {"limit", "292 years of nanoseconds"});
        buf_u32le(&a->data, (uint32_t)v.months);
        buf_u32le(&a->data, (uint32_t)v.days);
        buf_u64le(&a->data, (uint64_t)nanos);
    }
    return ERR_OK;
}

static enum err array_add(struct array *a, const struct column *c, uint32_t from, uint32_t n, struct fault *f);

static enum err add_struct(struct array *a, const struct column *c, uint32_t from, uint32_t n, struct fault *f)
{
    enum err e = ERR_OK;
    for (int k = 0; k < a->nchildren && !e; k++) {
        if (!col_is_const(c))
            e = array_add(&a->children[k], &c->children[k], from, n, f);
        else
            for (uint32_t i = 0; i < n && !e; i++)
                e = array_add(&a->children[k], &c->children[k], 0, 1, f);
    }
    return e;
}

static enum err add_lists(struct array *a, const struct column *c, uint32_t from, uint32_t n, struct fault *f)
{
    first_offset(a);
    enum err e = ERR_OK;
    for (uint32_t i = from; i < from + n && !e; i++) {
        uint32_t p = COL_AT(c, i), start = c->data.offsets[p];
        uint32_t count = col_valid(c, i) ? c->data.offsets[p + 1] - start : 0;
        for (int k = 0; k < a->nchildren && count && !e; k++)
            e = array_add(&a->children[k], &c->children[k], start, count, f);
        buf_u32le(&a->offsets, (uint32_t)a->children[0].n);
    }
    return e;
}

static enum err array_add(struct array *a, const struct column *c, uint32_t from, uint32_t n, struct fault *f)
{
    if (a->n + n > INT32_MAX || a->data.n > INT32_MAX)
        return FAULT(f, ERR_LIMIT, {"what", "A column of a result batch"}, {"limit", "2 GiB"});
    enum err e = ERR_OK;
    if (a->type->id == TYPE_NULL)
        a->nulls += n;
    else
        add_validity(a, c, from, n);
    switch (a->type->id) {
    case TYPE_NULL:
        break;
    case TYPE_BOOLEAN:
        put_bits(&a->data, a->n, c->data.boolean, c->mask, from, n);
        break;
    case TYPE_STRING:
    case TYPE_BINARY:
        add_strings(a, c, from, n);
        break;
    case TYPE_CALENDAR:
        e = add_intervals(a, c, from, n, f);
        break;
    case TYPE_STRUCT:
        e = add_struct(a, c, from, n, f);
        break;
    case TYPE_ARRAY:
    case TYPE_MAP:
        e = add_lists(a, c, from, n, f);
        break;
    default:
        add_fixed(a, c, from, n);
    }
    a->n += n;
    if (!e && (a->valid.bad || a->offsets.bad || a->data.bad))
        return FAULT(f, ERR_NOMEM, {"what", "a column of a result batch"});
    return e;
}

enum err arrow_out_add(struct arrow_out *o, const struct batch_cols *b, uint32_t from, uint32_t n, struct fault *f)
{
    for (int i = 0; i < o->ncols; i++) {
        enum err e = array_add(&o->cols[i], &b->cols[i], from, n, f);
        if (e)
            return e;
    }
    o->rows += n;
    return ERR_OK;
}

/* -- schema ------------------------------------------------------------------------------------------------------- */
/* Field: 0 name, 1 nullable, 2 type_type, 3 type, 4 dictionary, 5 children, 6 custom_metadata. */
enum { FIELD_NAME, FIELD_NULLABLE, FIELD_KIND, FIELD_TYPE, FIELD_DICTIONARY, FIELD_CHILDREN, FIELD_SLOTS };

struct arrow_kind {
    uint8_t kind;
    struct fb_slot slots[3];
    int nslots;
};

static struct arrow_kind kind_of(const struct type *t)
{
    static const uint8_t bits[] = {[TYPE_BYTE] = 8, [TYPE_SHORT] = 16, [TYPE_INT] = 32, [TYPE_LONG] = 64};
    switch (t->id) {
    case TYPE_BYTE:
    case TYPE_SHORT:
    case TYPE_INT:
    case TYPE_LONG:
        return (struct arrow_kind){ARROW_INT, {{4, bits[t->id], 0}, {1, 1, 0}}, 2};
    case TYPE_FLOAT:
    case TYPE_DOUBLE:
        return (struct arrow_kind){ARROW_FLOAT, {{2, t->id == TYPE_FLOAT ? 1 : 2, 0}}, 1};
    case TYPE_DECIMAL:
        return (struct arrow_kind){ARROW_DECIMAL, {{4, t->precision, 0}, {4, t->scale, 0}, {4, 128, 0}}, 3};
    case TYPE_DATE:
        return (struct arrow_kind){ARROW_DATE, {{2, 0, 0}}, 1};
    case TYPE_TIMESTAMP:
        return (struct arrow_kind){ARROW_TIMESTAMP, {{2, ARROW_MICRO, 0}, {4, 0, 0}}, 2}; /* the zone is patched */
    case TYPE_TIMESTAMP_NTZ:
        return (struct arrow_kind){ARROW_TIMESTAMP, {{2, ARROW_MICRO, 0}}, 1};
    case TYPE_DAY_TIME:
        return (struct arrow_kind){ARROW_DURATION, {{2, ARROW_MICRO, 0}}, 1};
    case TYPE_YEAR_MONTH:
        return (struct arrow_kind){ARROW_INTERVAL, {{2, ARROW_MONTHS, 0}}, 1};
    case TYPE_CALENDAR:
        return (struct arrow_kind){ARROW_INTERVAL, {{2, ARROW_MONTH_DAY_NANO, 0}}, 1};
    case TYPE_MAP:
        return (struct arrow_kind){ARROW_MAP, {{1, 0, 0}}, 1};
    case TYPE_STRING:
        return (struct arrow_kind){ARROW_UTF8, {{0}}, 0};
    case TYPE_BINARY:
        return (struct arrow_kind){ARROW_BINARY, {{0}}, 0};
    case TYPE_BOOLEAN:
        return (struct arrow_kind){ARROW_BOOL, {{0}}, 0};
    case TYPE_ARRAY:
        return (struct arrow_kind){ARROW_LIST, {{0}}, 0};
    case TYPE_STRUCT:
        return (struct arrow_kind){ARROW_STRUCT, {{0}}, 0};
    default:
        return (struct arrow_kind){ARROW_NULL, {{0}}, 0};
    }
}

static size_t put_field(struct buf *b, struct str name, bool nullable, struct arrow_kind kind, struct str zone,
                        const struct array *children, int nchildren);

static size_t put_array_field(struct buf *b, const struct array *a, struct str zone)
{
    if (a->type->id != TYPE_MAP)
        return put_field(b, a->name, a->nullable, kind_of(a->type), zone, a->children, a->nchildren);
    /* Arrow's map is a list of structs; the struct between has no array of ours. */
    struct array entries = {
        .type = type_simple(TYPE_STRUCT), .name = STR("entries"), .children = a->children, .nchildren = 2};
    return put_field(b, a->name, a->nullable, kind_of(a->type), zone, &entries, 1);
}

static size_t put_field(struct buf *b, struct str name, bool nullable, struct arrow_kind kind, struct str zone,
                        const struct array *children, int nchildren)
{
    struct fb_slot slots[FIELD_SLOTS] = {
        [FIELD_NAME] = {4, 0, 0}, [FIELD_NULLABLE] = {1, nullable, 0}, [FIELD_KIND] = {1, kind.kind, 0},
        [FIELD_TYPE] = {4, 0, 0}, [FIELD_CHILDREN] = {4, 0, 0},
    };
    size_t at = fb_table(b, slots, FIELD_SLOTS);
    fb_point(b, slots[FIELD_NAME].at, fb_string(b, name));
    size_t type = fb_table(b, kind.slots, kind.nslots);
    fb_point(b, slots[FIELD_TYPE].at, type);
    if (kind.kind == ARROW_TIMESTAMP && kind.nslots == 2)
        fb_point(b, kind.slots[1].at, fb_string(b, zone));
    size_t vector = fb_vector(b, (size_t)nchildren, 4), first = b->n;
    fb_point(b, slots[FIELD_CHILDREN].at, vector);
    buf_fill(b, 0, 4 * (size_t)nchildren);
    for (int i = 0; i < nchildren; i++)
        fb_point(b, first + 4 * (size_t)i, put_array_field(b, &children[i], zone));
    return at;
}

/* Message: 0 version (V5 = 4), 1 header_type, 2 header, 3 bodyLength. Returns where the header's reference stands. */
static size_t start_message(struct buf *b, uint8_t kind, uint64_t body_n)
{
    struct fb_slot slots[] = {{2, 4, 0}, {1, kind, 0}, {4, 0, 0}, {8, body_n, 0}};
    buf_u32le(b, 0);
    fb_point(b, 0, fb_table(b, slots, 4));
    return slots[2].at;
}

static void put_schema(struct buf *b, const struct arrow_out *o)
{
    size_t header = start_message(b, ARROW_SCHEMA, 0);
    struct fb_slot slots[] = {{2, 0, 0}, {4, 0, 0}}; /* little-endian, fields */
    fb_point(b, header, fb_table(b, slots, 2));
    size_t vector = fb_vector(b, (size_t)o->ncols, 4), first = b->n;
    fb_point(b, slots[1].at, vector);
    buf_fill(b, 0, 4 * (size_t)o->ncols);
    for (int i = 0; i < o->ncols; i++)
        fb_point(b, first + 4 * (size_t)i, put_array_field(b, &o->cols[i], buf_view(&o->zone)));
}

/* -- record batch ------------------------------------------------------------------------------------------------- */
/* FieldNodes and Buffers in Arrow's order (parents first), and the buffers themselves behind one another. */
struct body {
    struct buf nodes, buffers, *bytes;
    size_t nnodes, nbuffers;
    uint64_t n;
};

static void put_buffer(struct body *w, const struct buf *data, uint64_t used_n)
{
    buf_u64le(&w->buffers, w->n);
    buf_u64le(&w->buffers, used_n);
    w->nbuffers++;
    if (w->bytes) {
        if (data)
            buf_put(w->bytes, data->p, (size_t)used_n);
        buf_fill(w->bytes, 0, (8 - used_n % 8) % 8);
    }
    w->n += (used_n + 7) / 8 * 8;
}

static void put_node(struct body *w, uint64_t n, uint64_t nulls)
{
    buf_u64le(&w->nodes, n);
    buf_u64le(&w->nodes, nulls);
    w->nnodes++;
}

static void put_array(struct body *w, struct array *a)
{
    put_node(w, a->n, a->nulls);
    if (a->type->id == TYPE_NULL)
        return;
    put_buffer(w, &a->valid, a->nulls ? a->valid.n : 0);
    bool lists = a->type->id == TYPE_ARRAY || a->type->id == TYPE_MAP;
    if (lists || a->type->id == TYPE_STRING || a->type->id == TYPE_BINARY) {
        first_offset(a);
        put_buffer(w, &a->offsets, a->offsets.n);
    }
    if (a->type->id == TYPE_MAP) { /* the struct `entries` */
        put_node(w, a->children[0].n, 0);
        put_buffer(w, NULL, 0);
    }
    if (!a->nchildren && a->type->id != TYPE_STRUCT)
        put_buffer(w, &a->data, a->data.n);
    for (int i = 0; i < a->nchildren; i++)
        put_array(w, &a->children[i]);
}

/* RecordBatch: 0 length, 1 nodes, 2 buffers. */
static void put_records(struct buf *b, uint64_t rows, const struct body *w)
{
    size_t header = start_message(b, ARROW_RECORDS, w->n);
    struct fb_slot slots[] = {{8, rows, 0}, {4, 0, 0}, {4, 0, 0}};
    fb_point(b, header, fb_table(b, slots, 3));
    fb_point(b, slots[1].at, fb_vector(b, w->nnodes, 8));
    buf_str(b, buf_view(&w->nodes));
    fb_point(b, slots[2].at, fb_vector(b, w->nbuffers, 8));
    buf_str(b, buf_view(&w->buffers));
}

/* The encapsulated form: a continuation mark, the padded length, the FlatBuffer, zeros to eight bytes. */
static void put_message(struct buf *out, const struct buf *message)
{
    size_t padded = (message->n + 7) / 8 * 8;
    buf_u32le(out, UINT32_MAX);
    buf_u32le(out, (uint32_t)padded);
    buf_str(out, buf_view(message));
    buf_fill(out, 0, padded - message->n);
    out->bad |= message->bad;
}

enum err arrow_out_finish(struct arrow_out *o, struct buf *out, struct fault *f)
{
    struct buf message = {.limit = BUF_ASKED};
    put_schema(&message, o);
    put_message(out, &message);
    struct body w = {0}; /* first only lengths: they stand before the bytes */
    for (int i = 0; i < o->ncols; i++)
        put_array(&w, &o->cols[i]);
    buf_clear(&message);
    put_records(&message, o->rows, &w);
    put_message(out, &message);
    buf_reserve(out, (size_t)w.n + 8);
    w.bytes = out;
    for (int i = 0; i < o->ncols; i++)
        put_array(&w, &o->cols[i]);
    buf_u32le(out, UINT32_MAX);
    buf_u32le(out, 0);
    bool bad = out->bad || w.nodes.bad || w.buffers.bad;
    buf_free(&message);
    buf_free(&w.nodes);
    buf_free(&w.buffers);
    for (int i = 0; i < o->ncols; i++)
        array_clear(&o->cols[i]);
    o->rows = 0;
    return bad ? FAULT(f, ERR_NOMEM, {"what", "a result batch"}) : ERR_OK;
}
