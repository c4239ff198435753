/* json_int: what the JSON functions share: writing values as JSON, and the options map of from_json and to_json. */
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

#endif
