/* json_int: what the JSON functions share: reading records, writing values as JSON. */
#ifndef PENSTOCK_FUNCTION_JSON_INT_H
#define PENSTOCK_FUNCTION_JSON_INT_H

#include "function/function_int.h"
#include "function/json_read.h"
#include "function/time_int.h"

struct json_write {
    struct buf *out;
    const struct zone *zone;
    bool keep_null_fields, pretty;
    const struct time_pattern *date, *timestamp, *timestamp_ntz;    /* date NULL: the plain form */
    struct str date_format, timestamp_format, timestamp_ntz_format; /* n 0: Spark's defaults */
    int depth;
};
/* Compile the formats into `a`. */
CHECK enum err json_write_init(struct json_write *w, struct arena *a, struct fault *f);
void json_write_value(struct json_write *w, const struct column *c, uint32_t i);

/* The value at hand as compact JSON: Jackson's copyCurrentStructure (numbers with a fraction go through a double). */
struct json;
void json_copy(struct json *j, struct arena *a, struct buf *b);

/* -- reading (json_read.c: what everything means; json_root.c: the usual, sooner) -- */
struct json_schema {
    const struct type *type;
    struct json_options options;
    bool *wanted;
    int corrupt;                                                 /* field number of the corrupt record column, or -1 */
    const struct time_pattern *date, *timestamp, *timestamp_ntz; /* NULL: as CAST reads */
};

/* A value's outcome. PARTIAL: usable, but something inside was of the wrong type. */
enum json_outcome { VALUE_OK, VALUE_PARTIAL, VALUE_WRONG };

enum { JSON_KEYS = 32 };
enum json_kind { JSON_SKIP, JSON_TEXT, JSON_INT, JSON_LONG, JSON_TIME, JSON_OTHER };
struct json_key {               /* of the root object, as a record before had it, with the white space around it */
    uint64_t first, mask, last; /* its first 8 bytes (mask: which count), and its last 8 */
    struct str text;
    int field; /* -1: not wanted */
    enum json_kind kind;
    uint8_t next; /* the key that followed it the last time */
};
struct json_reader { /* of one batch of rows */
    const struct json_schema *schema;
    struct arena *arena;
    const struct zone *zone;
    struct json_key keys[JSON_KEYS];
    int nkeys;
    uint8_t first_key;
};
enum json_outcome json_read_root(struct json_reader *r, struct json *j, struct column *out, uint32_t row);
/* A field's value; of the wrong type it becomes NULL, and the object is partial. */
enum json_outcome json_read_field(struct json_reader *r, struct json *j, struct column *c, uint32_t row);
int json_find_field(const struct type *t, struct str name);

#endif
