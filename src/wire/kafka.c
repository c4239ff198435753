#include "wire/kafka.h"

#include "base/vec.h"

#include <stdio.h>
#include <stdlib.h>

/* -- shapes from the table --------------------------------------------------------------------------------------- */
#define MAX   INT16_MAX
#define NO    (-1)
#define NIL   KAFKA_NIL
#define NEVER KAFKA_NEVER
/* clang-format off */
#define STRUCT(name_)                                        \
    const struct kafka_shape *kafka_shape_##name_(void)      \
    {                                                        \
        typedef struct kafka_##name_ this;                   \
        static const struct kafka_field rows[] = {
#define ROW(type, array, name, since, until, null_since, tag, dflt, of) \
    {#name, type, array, since, until, null_since, tag, offsetof(this, name), dflt, of},
#define F(type, name, since, until, null, tag, dflt) ROW(KAFKA_##type, false, name, since, until, null, tag, dflt, NULL)
#define L(type, name, since, until, null, tag, dflt) ROW(KAFKA_##type, true, name, since, until, null, tag, dflt, NULL)
#define A(of, name, since, until, null, tag, dflt) \
    ROW(KAFKA_struct, true, name, since, until, null, tag, dflt, kafka_shape_##of)
#define S(of, name, since, until, null, tag, dflt) \
    ROW(KAFKA_struct, false, name, since, until, null, tag, dflt, kafka_shape_##of)
#define END(name_)                                                                                            \
        };                                                                                                    \
        static const struct kafka_shape shape = {#name_, rows, sizeof rows / sizeof rows[0], sizeof(this)};   \
        return &shape;                                                                                        \
    }
/* clang-format on */
#define MESSAGE(name, key, first, last, flexible)
#include "kafka/messages.def"
#undef STRUCT
#undef F
#undef L
#undef A
#undef S
#undef END
#undef MESSAGE

#define STRUCT(name)
#define F(type, name, since, until, null, tag, dflt)
#define L(type, name, since, until, null, tag, dflt)
#define A(of, name, since, until, null, tag, dflt)
#define S(of, name, since, until, null, tag, dflt)
#define END(name)
#define MESSAGE(name, key, first, last, flexible)                                                                      \
    {#name, key, first, last, flexible, kafka_shape_##name##_request, kafka_shape_##name##_response},
const struct kafka_api KAFKA_APIS[] = {
#include "kafka/messages.def"
};
const size_t KAFKA_NAPIS = sizeof KAFKA_APIS / sizeof KAFKA_APIS[0];

const struct kafka_api *kafka_api(int16_t key)
{
    size_t low = 0, high = KAFKA_NAPIS;

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (KAFKA_APIS[mid].key < key)
            low = mid + 1;
        else
            high = mid;
    }
    return low < KAFKA_NAPIS && KAFKA_APIS[low].key == key ? &KAFKA_APIS[low] : NULL;
}

static const struct {
    int16_t code;
    const char *name, *message;
} CODES[] = {
#define X(name, code, message) {code, #name, message},
#include "kafka/codes.def"
#undef X
};

const char *kafka_code_name(int16_t code)
{
    for (size_t i = 0; i < sizeof CODES / sizeof CODES[0]; i++)
        if (CODES[i].code == code)
            return CODES[i].name;
    return "?";
}

const char *kafka_code_message(int16_t code)
{
    for (size_t i = 0; i < sizeof CODES / sizeof CODES[0]; i++)
        if (CODES[i].code == code)
            return CODES[i].message;
    return "";
}

/* -- fixed-size values ------------------------------------------------------------------------------------------- */
static const uint8_t MEMORY[] = {[KAFKA_bool] = sizeof(bool),
                                 [KAFKA_i8] = 1,
                                 [KAFKA_i16] = 2,
                                 [KAFKA_i32] = 4,
                                 [KAFKA_i64] = 8,
                                 [KAFKA_uuid] = 16,
                                 [KAFKA_string] = sizeof(struct str),
                                 [KAFKA_string16] = sizeof(struct str),
                                 [KAFKA_bytes] = sizeof(struct str),
                                 [KAFKA_records] = sizeof(struct str)};
static const uint8_t WIRE[] = {
    [KAFKA_bool] = 1, [KAFKA_i8] = 1, [KAFKA_i16] = 2, [KAFKA_i32] = 4, [KAFKA_i64] = 8, [KAFKA_uuid] = 16};

static bool has(const struct kafka_field *f, int16_t version)
{
    return version >= f->since && version <= f->until;
}

static bool may_be_null(const struct kafka_field *f, int16_t version)
{
    return f->null_since >= 0 && version >= f->null_since;
}

/* The compact forms of strings, bytes, records and arrays; string16 never. */
static bool compact(const struct kafka_field *f, bool flexible)
{
    return flexible && f->type != KAFKA_string16;
}

static void set_int(enum kafka_type type, void *at, int64_t v)
{
    switch (type) {
    case KAFKA_bool:
        *(bool *)at = v != 0;
        break;
    case KAFKA_i8:
        *(int8_t *)at = (int8_t)v;
        break;
    case KAFKA_i16:
        *(int16_t *)at = (int16_t)v;
        break;
    case KAFKA_i32:
        *(int32_t *)at = (int32_t)v;
        break;
    default:
        *(int64_t *)at = v;
    }
}

static int64_t get_int(enum kafka_type type, const void *at)
{
    switch (type) {
    case KAFKA_bool:
        return *(const bool *)at;
    case KAFKA_i8:
        return *(const int8_t *)at;
    case KAFKA_i16:
        return *(const int16_t *)at;
    case KAFKA_i32:
        return *(const int32_t *)at;
    default:
        return *(const int64_t *)at;
    }
}

static void set_default(const struct kafka_field *f, void *at)
{
    if (f->array) {
        *(struct kafka_array *)at = (struct kafka_array){NULL, f->dflt == KAFKA_NIL ? -1 : 0};
        return;
    }
    switch (f->type) {
    case KAFKA_struct:
        kafka_defaults(f->of(), at);
        break;
    case KAFKA_uuid:
        memset(at, 0, 16);
        break;
    case KAFKA_string:
    case KAFKA_string16:
    case KAFKA_bytes:
    case KAFKA_records:
        *(struct str *)at = f->dflt == KAFKA_NIL || f->type == KAFKA_records ? (struct str){NULL, 0} : STR("");
        break;
    default:
        set_int(f->type, at, f->dflt);
    }
}

static bool is_default(const struct kafka_field *f, const void *at)
{
    static const struct os_uuid zero;

    if (f->array)
        return f->dflt == KAFKA_NIL ? ((const struct kafka_array *)at)->n < 0
                                    : ((const struct kafka_array *)at)->n == 0;
    switch (f->type) {
    case KAFKA_struct: {
        const struct kafka_shape *s = f->of();

        for (int i = 0; i < s->nfields; i++)
            if (!is_default(&s->fields[i], (const char *)at + s->fields[i].offset))
                return false;
        return true;
    }
    case KAFKA_uuid:
        return memcmp(at, &zero, 16) == 0;
    case KAFKA_string:
    case KAFKA_string16:
    case KAFKA_bytes:
    case KAFKA_records:
        return f->dflt == KAFKA_NIL ? !((const struct str *)at)->p : ((const struct str *)at)->n == 0;
    default:
        return get_int(f->type, at) == f->dflt;
    }
}

void kafka_defaults(const struct kafka_shape *s, void *out)
{
    for (int i = 0; i < s->nfields; i++)
        set_default(&s->fields[i], (char *)out + s->fields[i].offset);
}

void *kafka_new_(struct arena *a, const struct kafka_shape *s, size_t n)
{
    char *p = arena_array(a, n ? n : 1, s->size);

    for (size_t i = 0; i < n; i++)
        kafka_defaults(s, p + i * s->size);
    return p;
}

/* -- decoding ---------------------------------------------------------------------------------------------------- */
struct reader {
    const unsigned char *p, *end;
    struct arena *arena;
    struct fault *fault;
    const char *message; /* for faults: which message, which field */
    int16_t version;
    bool flexible;
    enum err err; /* sticky: after a failure every read gives zero */
};

static void fail(struct reader *r, const char *field, const char *why)
{
    char what[160];

    if (r->err)
        return;
    snprintf(what, sizeof what, "%s version %d, field %s", r->message, r->version, field);
    r->err = FAULT(r->fault, ERR_FRAME, {"what", what}, {"detail", why});
    r->p = r->end;
}

static size_t left(const struct reader *r)
{
    return (size_t)(r->end - r->p);
}

static uint64_t read_be(struct reader *r, const char *field, size_t n)
{
    uint64_t v = 0;

    if (left(r) < n) {
        fail(r, field, "cut short");
        return 0;
    }
    for (size_t i = 0; i < n; i++)
        v = v << 8 | r->p[i];
    r->p += n;
    return v;
}

static uint32_t read_uvarint(struct reader *r, const char *field)
{
    uint64_t v = 0;

    for (int shift = 0; shift < 35; shift += 7) {
        uint64_t b = read_be(r, field, 1);

        v |= (b & 0x7f) << shift;
        if (!(b & 0x80)) {
            if (v > UINT32_MAX)
                break;
            return (uint32_t)v;
        }
    }
    fail(r, field, "not a variable-length integer");
    return 0;
}

/* A length or count: -1 for null. Checked against what remains, each element taking at least a byte. */
static int64_t read_length(struct reader *r, const struct kafka_field *f, bool small)
{
    int64_t n;

    if (compact(f, r->flexible))
        n = (int64_t)read_uvarint(r, f->name) - 1;
    else
        n = small ? (int16_t)read_be(r, f->name, 2) : (int32_t)read_be(r, f->name, 4);
    if (r->err)
        return 0;
    if (n < -1)
        fail(r, f->name, "negative length");
    else if (n == -1 && !may_be_null(f, r->version))
        fail(r, f->name, "null where a value is needed");
    else if (n > (int64_t)left(r))
        fail(r, f->name, "longer than the bytes that are there");
    return r->err ? 0 : n;
}

static void read_struct(struct reader *r, const struct kafka_shape *s, void *out);

static void read_string(struct reader *r, const struct kafka_field *f, struct str *out)
{
    bool small = f->type == KAFKA_string || f->type == KAFKA_string16;
    int64_t n = read_length(r, f, small);

    *out = n < 0 ? (struct str){NULL, 0} : str_make(r->p, (size_t)n);
    if (n > 0)
        r->p += n;
}

static void read_one(struct reader *r, const struct kafka_field *f, void *at)
{
    switch (f->type) {
    case KAFKA_struct:
        read_struct(r, f->of(), at);
        break;
    case KAFKA_uuid:
        if (left(r) < 16) {
            fail(r, f->name, "cut short");
            memset(at, 0, 16);
            break;
        }
        memcpy(at, r->p, 16);
        r->p += 16;
        break;
    case KAFKA_string:
    case KAFKA_string16:
    case KAFKA_bytes:
    case KAFKA_records:
        read_string(r, f, at);
        break;
    default: {
        unsigned bits = 64 - 8u * WIRE[f->type];

        set_int(f->type, at, (int64_t)(read_be(r, f->name, WIRE[f->type]) << bits) >> bits);
    }
    }
}

static void read_array(struct reader *r, const struct kafka_field *f, struct kafka_array *out)
{
    size_t size = f->type == KAFKA_struct ? f->of()->size : MEMORY[f->type];
    int64_t n = read_length(r, f, false);
    char *p;

    *out = (struct kafka_array){NULL, (int32_t)n};
    if (n <= 0)
        return;
    if (f->type < KAFKA_string && (uint64_t)n * WIRE[f->type] > left(r)) {
        fail(r, f->name, "longer than the bytes that are there");
        out->n = 0;
        return;
    }
    p = arena_try(r->arena, (size_t)n * size);
    if (!p) {
        r->err = FAULT(r->fault, ERR_LIMIT, {"what", r->message}, {"limit", "the memory for one request"});
        r->p = r->end;
        out->n = 0;
        return;
    }
    memset(p, 0, (size_t)n * size);
    out->p = p;
    for (int64_t i = 0; i < n && !r->err; i++)
        read_one(r, f, p + (size_t)i * size);
}

static void read_field(struct reader *r, const struct kafka_field *f, void *at)
{
    if (f->array)
        read_array(r, f, at);
    else
        read_one(r, f, at);
}

static const struct kafka_field *by_tag(const struct kafka_shape *s, uint32_t tag, int16_t version)
{
    for (int i = 0; i < s->nfields; i++)
        if (s->fields[i].tag >= 0 && (uint32_t)s->fields[i].tag == tag && has(&s->fields[i], version))
            return &s->fields[i];
    return NULL;
}

/* Known tags are read within their own length; unknown ones are skipped, as the protocol asks. */
static void read_tags(struct reader *r, const struct kafka_shape *s, char *out)
{
    uint32_t n = read_uvarint(r, "tagged fields");

    for (uint32_t i = 0; i < n && !r->err; i++) {
        uint32_t tag = read_uvarint(r, "tag"), size = read_uvarint(r, "tag size");
        const struct kafka_field *f = by_tag(s, tag, r->version);
        const unsigned char *end = r->end;

        if (size > left(r)) {
            fail(r, f ? f->name : "tag", "longer than the bytes that are there");
            return;
        }
        if (!f) {
            r->p += size;
            continue;
        }
        r->end = r->p + size;
        read_field(r, f, out + f->offset);
        if (r->p != r->end)
            fail(r, f->name, "tagged field of another length");
        r->end = end;
        if (r->err)
            r->p = end;
    }
}

static void read_struct(struct reader *r, const struct kafka_shape *s, void *out)
{
    for (int i = 0; i < s->nfields; i++) {
        const struct kafka_field *f = &s->fields[i];

        if (f->tag < 0 && has(f, r->version))
            read_field(r, f, (char *)out + f->offset);
        else
            set_default(f, (char *)out + f->offset);
    }
    if (r->flexible)
        read_tags(r, s, out);
}

enum err kafka_decode(const struct kafka_shape *s, int16_t version, bool flexible, struct str in, struct arena *a,
                      void *out, size_t *used, struct fault *f)
{
    const unsigned char *p = (const unsigned char *)(in.p ? in.p : "");
    struct reader r = {p, p + in.n, a, f, s->name, version, flexible, ERR_OK};

    read_struct(&r, s, out);
    if (used)
        *used = in.n - left(&r);
    return r.err;
}

enum err kafka_read_header(struct str frame, struct kafka_request_header *out, struct str *body, struct fault *f)
{
    const unsigned char *p = (const unsigned char *)(frame.p ? frame.p : "");
    struct reader r = {.p = p, .end = p + frame.n, .fault = f, .message = "request header", .version = 1};
    const struct kafka_shape *shape = kafka_shape_request_header();
    const struct kafka_api *api;

    read_struct(&r, shape, out);
    api = kafka_api(out->request_api_key);
    if (!r.err && api && out->request_api_version >= api->flexible && out->request_api_version <= api->last)
        read_tags(&r, shape, (char *)out);
    *body = str_make(r.p, left(&r));
    return r.err;
}

/* -- encoding ---------------------------------------------------------------------------------------------------- */
struct writer {
    struct buf *b;
    struct kafka_splices *splices;
    int16_t version;
    bool flexible;
};

static size_t uvarint_size(uint32_t v)
{
    size_t n = 1;

    for (; v >= 0x80; v >>= 7)
        n++;
    return n;
}

static void put_uvarint(struct buf *b, uint32_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_u8(b, (uint8_t)(v | 0x80));
    buf_u8(b, (uint8_t)v);
}

static void put_length(struct writer *w, const struct kafka_field *f, int64_t n, bool small)
{
    if (compact(f, w->flexible))
        put_uvarint(w->b, (uint32_t)(n + 1));
    else if (small)
        buf_u16be(w->b, (uint16_t)n);
    else
        buf_u32be(w->b, (uint32_t)n);
}

static void put_struct(struct writer *w, const struct kafka_shape *s, const void *in);

static void put_string(struct writer *w, const struct kafka_field *f, struct str s)
{
    bool small = f->type == KAFKA_string || f->type == KAFKA_string16;

    if (!s.p && may_be_null(f, w->version)) {
        put_length(w, f, -1, small);
        return;
    }
    if (small && s.n > INT16_MAX) /* a string that long is only ours: cut, never mis-frame */
        s.n = INT16_MAX;
    put_length(w, f, (int64_t)s.n, small);
    if (f->type == KAFKA_records && w->splices && s.n)
        vec_push(w->splices, ((struct kafka_splice){w->b->n, s}));
    else
        buf_put(w->b, s.p, s.n);
}

static void put_one(struct writer *w, const struct kafka_field *f, const void *at)
{
    switch (f->type) {
    case KAFKA_struct:
        put_struct(w, f->of(), at);
        break;
    case KAFKA_uuid:
        buf_put(w->b, at, 16);
        break;
    case KAFKA_string:
    case KAFKA_string16:
    case KAFKA_bytes:
    case KAFKA_records:
        put_string(w, f, *(const struct str *)at);
        break;
    case KAFKA_bool:
    case KAFKA_i8:
        buf_u8(w->b, (uint8_t)get_int(f->type, at));
        break;
    case KAFKA_i16:
        buf_u16be(w->b, (uint16_t) * (const int16_t *)at);
        break;
    case KAFKA_i32:
        buf_u32be(w->b, (uint32_t) * (const int32_t *)at);
        break;
    case KAFKA_i64:
        buf_u64be(w->b, (uint64_t) * (const int64_t *)at);
        break;
    }
}

static void put_field(struct writer *w, const struct kafka_field *f, const void *at)
{
    const struct kafka_array *a = at;
    size_t size;

    if (!f->array) {
        put_one(w, f, at);
        return;
    }
    if (a->n < 0 && may_be_null(f, w->version)) {
        put_length(w, f, -1, false);
        return;
    }
    size = f->type == KAFKA_struct ? f->of()->size : MEMORY[f->type];
    put_length(w, f, a->n > 0 ? a->n : 0, false);
    for (int32_t i = 0; i < a->n; i++)
        put_one(w, f, (const char *)a->p + (size_t)i * size);
}

/* A tagged field's size stands before it: it is written first, then moved up by the size's own length. Splices made
 * inside do not happen: no tagged field holds records. */
static void put_tagged(struct writer *w, const struct kafka_field *f, const void *at)
{
    size_t start, n, shift;

    put_uvarint(w->b, (uint32_t)f->tag);
    start = w->b->n;
    put_field(w, f, at);
    if (w->b->bad)
        return;
    n = w->b->n - start;
    shift = uvarint_size((uint32_t)n);
    buf_fill(w->b, 0, shift);
    if (w->b->bad)
        return;
    memmove(w->b->p + start + shift, w->b->p + start, n);
    w->b->n = start;
    put_uvarint(w->b, (uint32_t)n);
    w->b->n += n;
}

static void put_tags(struct writer *w, const struct kafka_shape *s, const char *in)
{
    uint32_t count = 0;

    for (int pass = 0; pass < 2; pass++) {
        if (pass)
            put_uvarint(w->b, count);
        /* by rising tag: a shape's tags are few and dense */
        for (int16_t tag = 0; tag < s->nfields; tag++) {
            const struct kafka_field *f = by_tag(s, (uint32_t)tag, w->version);

            if (!f || is_default(f, in + f->offset))
                continue;
            if (pass)
                put_tagged(w, f, in + f->offset);
            else
                count++;
        }
    }
}

static void put_struct(struct writer *w, const struct kafka_shape *s, const void *in)
{
    for (int i = 0; i < s->nfields; i++)
        if (s->fields[i].tag < 0 && has(&s->fields[i], w->version))
            put_field(w, &s->fields[i], (const char *)in + s->fields[i].offset);
    if (w->flexible)
        put_tags(w, s, in);
}

void kafka_encode(const struct kafka_shape *s, int16_t version, bool flexible, const void *in, struct buf *b,
                  struct kafka_splices *splices)
{
    struct writer w = {b, splices, version, flexible};

    put_struct(&w, s, in);
}

void kafka_put_response_header(struct buf *b, const struct kafka_api *api, int16_t version, int32_t correlation_id)
{
    buf_u32be(b, (uint32_t)correlation_id);
    if (kafka_flexible(api, version) && api->key != KAFKA_api_versions)
        put_uvarint(b, 0);
}
