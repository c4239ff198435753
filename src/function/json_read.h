/*
 * json_read: JSON texts → columns of a given type, as Spark's JacksonParser reads them under from_json's defaults.
 *
 * What is asked for is compiled once (json_schema, read-only, shared by threads); rows are read batch by batch. Fields that
 * nobody wants are passed over (but checked), and what stands between two values is predicted from the record before (json_root.c).
 *
 * Semantics (Spark 4.2, PERMISSIVE, spark.sql.json.enablePartialResults=true): a text that is no JSON gives a row of nulls; a
 * value of another type than its field gives NULL in that field only; an empty text gives NULL; what follows the first
 * value is not looked at; a root array gives its first element.
 */
#ifndef PENSTOCK_FUNCTION_JSON_READ_H
#define PENSTOCK_FUNCTION_JSON_READ_H

#include "function/function.h"

struct json_schema;
struct json_options {
    bool failfast;             /* mode FAILFAST: the first bad record is an error */
    const bool *wanted;        /* per field of a STRUCT root; others come out as NULL without being read. NULL: all */
    struct str corrupt_column; /* columnNameOfCorruptRecord: a STRING field that gets the text of a bad record */
    struct str timestamp_format, timestamp_ntz_format, date_format; /* n 0: the default reading, as CAST reads */
    bool general; /* without the shortcuts for records of the usual form (json_root.c): their twin in tests */
};
CHECK enum err json_schema_new(struct arena *a, const struct type *type, const struct json_options *o,
                               const struct json_schema **out, struct fault *f);
/* The same schema reading only some fields; NULL where every field matters (FAILFAST, a corrupt record column that is used). */
const struct json_schema *json_schema_prune(struct arena *a, const struct json_schema *s, const bool *wanted);
/* One value for each of the first n rows of the STRING column `in`; errors (FAILFAST) only for rows that are active (NULL: all). */
CHECK enum err json_read(const struct json_schema *s, const struct column *in, struct eval *ev, uint32_t n,
                         const uint8_t *active, struct column *out);

#endif
