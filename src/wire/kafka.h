/*
 * kafka: the Kafka protocol's messages, bytes ↔ structs, in every version.
 *
 * spec/kafka/messages.def has one row per field. This header makes a C struct of each STRUCT there (struct kafka_NAME),
 * kafka.c makes its shape (names, types, versions, offsets) and walks it: one decoder, one encoder, for all messages.
 *
 *   frame ──kafka_read_header──▶ api, version, correlation ──kafka_decode(shape, version)──▶ struct kafka_fetch_request
 *   struct kafka_fetch_response ──kafka_encode(shape, version)──▶ bytes (+ splices: record bytes that are not copied)
 *
 * Values: strings, bytes and records are struct str, p NULL is null (encoded as empty where null is not allowed); arrays
 * are { T *p; int32_t n; }, n < 0 is null. Decoded strs point into the frame, arrays live in the caller's arena. A field
 * that a version does not have gets its default on decoding and is skipped on encoding.
 * Bounds: counts and lengths are checked against the bytes that remain before anything is allocated, memory comes from the
 * arena and ends at its limit, nesting is that of the table. Bad input is ERR_FRAME, never a crash.
 * What it is not: it knows no record batch (log/batch.h) and no meaning of any field.
 */
#ifndef PENSTOCK_WIRE_KAFKA_H
#define PENSTOCK_WIRE_KAFKA_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/fault.h"
#include "os/os.h"

/* -- structs from the table ------------------------------------------------------------------------------------- */
typedef bool kafka_c_bool;
typedef int8_t kafka_c_i8;
typedef int16_t kafka_c_i16;
typedef int32_t kafka_c_i32;
typedef int64_t kafka_c_i64;
typedef struct os_uuid kafka_c_uuid;
typedef struct str kafka_c_string, kafka_c_string16, kafka_c_bytes, kafka_c_records;

#define STRUCT(name)                                       struct kafka_##name {
#define F(type, name, since, until, null_since, tag, dflt) kafka_c_##type name;
#define L(type, name, since, until, null_since, tag, dflt)                                                             \
    struct {                                                                                                           \
        kafka_c_##type *p;                                                                                             \
        int32_t n;                                                                                                     \
    } name;
#define A(of, name, since, until, null_since, tag, dflt)                                                               \
    struct {                                                                                                           \
        struct kafka_##of *p;                                                                                          \
        int32_t n;                                                                                                     \
    } name;
#define S(of, name, since, until, null_since, tag, dflt) struct kafka_##of name;
#define END(name)                                                                                                      \
    }                                                                                                                  \
    ;
#define MESSAGE(name, key, first, last, flexible)
#include "kafka/messages.def"
#undef STRUCT
#undef F
#undef L
#undef A
#undef S
#undef END
#undef MESSAGE

/* -- shapes ------------------------------------------------------------------------------------------------------- */
enum kafka_type {
    KAFKA_bool,
    KAFKA_i8,
    KAFKA_i16,
    KAFKA_i32,
    KAFKA_i64,
    KAFKA_uuid,
    KAFKA_string,
    KAFKA_string16,
    KAFKA_bytes,
    KAFKA_records,
    KAFKA_struct,
};
struct kafka_shape;
struct kafka_field {
    const char *name;
    enum kafka_type type;
    bool array;
    int16_t since, until, null_since, tag; /* null_since, tag: -1 for never, untagged */
    uint16_t offset;
    int64_t dflt; /* KAFKA_NIL: null */
    const struct kafka_shape *(*of)(void);
};
struct kafka_shape {
    const char *name;
    const struct kafka_field *fields;
    uint16_t nfields;
    uint16_t size; /* of the C struct */
};
struct kafka_array { /* what every array field looks like to the walker */
    void *p;
    int32_t n;
};
#define KAFKA_NIL   INT64_MIN
#define KAFKA_NEVER INT16_MAX

#define STRUCT(name) const struct kafka_shape *kafka_shape_##name(void);
#define F(type, name, since, until, null_since, tag, dflt)
#define L(type, name, since, until, null_since, tag, dflt)
#define A(of, name, since, until, null_since, tag, dflt)
#define S(of, name, since, until, null_since, tag, dflt)
#define END(name)
#define MESSAGE(name, key, first, last, flexible)
#include "kafka/messages.def"
#undef STRUCT
#undef MESSAGE
#define STRUCT(name)
#define MESSAGE(name, key, first, last, flexible) KAFKA_##name = key,
enum kafka_key {
#include "kafka/messages.def"
};
#undef STRUCT
#undef F
#undef L
#undef A
#undef S
#undef END
#undef MESSAGE

struct kafka_api {
    const char *name;
    int16_t key, first, last, flexible; /* flexible: from this version on; KAFKA_NEVER */
    const struct kafka_shape *(*request)(void), *(*response)(void);
};
extern const struct kafka_api KAFKA_APIS[]; /* by key, without gaps filled */
extern const size_t KAFKA_NAPIS;
const struct kafka_api *kafka_api(int16_t key); /* NULL: not one of ours */

/* -- error codes ---------------------------------------------------------------------------------------------------- */
enum kafka_code {
#define X(name, code, message) KAFKA_E_##name = code,
#include "kafka/codes.def"
#undef X
};
const char *kafka_code_name(int16_t code);    /* "UNKNOWN_TOPIC_OR_PARTITION"; "?" for codes not in the table */
const char *kafka_code_message(int16_t code); /* what Kafka says when nothing more exact is known */

/* -- headers -------------------------------------------------------------------------------------------------------- */
/* The header of a request frame (without its length word); *body is the rest. An API or version that the table does not
 * have is not an error here when the header itself could be read (flexible parts are only looked at where known). */
CHECK enum err kafka_read_header(struct str frame, struct kafka_request_header *out, struct str *body, struct fault *f);
/* Response header: correlation id, and an empty tagged section in flexible versions (never for ApiVersions). */
void kafka_put_response_header(struct buf *b, const struct kafka_api *api, int16_t version, int32_t correlation_id);

/* -- the walker ------------------------------------------------------------------------------------------------------ */
/* Shapes come from functions, kafka_shape_NAME(): a row's offset can only be written where the struct has a name.
 * Set every field to its default. */
void kafka_defaults(const struct kafka_shape *s, void *out);
#define KAFKA_NEW(arena, name) ((struct kafka_##name *)kafka_new_((arena), kafka_shape_##name(), 1))
/* n structs with defaults; for arrays of a response. */
#define KAFKA_ARRAY(arena, name, n) ((struct kafka_##name *)kafka_new_((arena), kafka_shape_##name(), (n)))
void *kafka_new_(struct arena *a, const struct kafka_shape *s, size_t n);

/* Decode `in` into the C struct of `s`. *used (may be NULL): bytes read. ERR_FRAME naming the field; ERR_LIMIT when the
 * arena's limit does not hold what the counts ask for. */
CHECK enum err kafka_decode(const struct kafka_shape *s, int16_t version, bool flexible, struct str in, struct arena *a,
                            void *out, size_t *used, struct fault *f);

/* Record bytes to be sent from where they are: `bytes` belong between b[at-1] and b[at]. */
struct kafka_splice {
    size_t at;
    struct str bytes;
};
struct kafka_splices {
    struct kafka_splice *p;
    size_t n, cap;
};
/* Append the encoding to b (b->bad when it does not fit). With splices, records fields are spliced instead of copied. */
void kafka_encode(const struct kafka_shape *s, int16_t version, bool flexible, const void *in, struct buf *b,
                  struct kafka_splices *splices);

/* The message as JSON, as Kafka's JsonConverter classes print it; records are shown as empty. For logs and tests. */
void kafka_json(struct buf *b, const struct kafka_shape *s, int16_t version, const void *value);

static inline bool kafka_flexible(const struct kafka_api *api, int16_t version)
{
    return version >= api->flexible;
}

#endif
