/*
 * arrow: batches ↔ the Arrow IPC stream format, as Spark Connect carries results and local relations.
 *
 *   struct batch_cols … ──arrow_out_add──▶ per-column buffers ──arrow_out_finish──▶ schema, one record batch, end
 *   bytes of a LocalRelation ──arrow_read──▶ schema (STRUCT) + batches
 *
 * Written types are those of Spark 4.2's ArrowUtils: decimal128, date32[day], timestamp[us, tz=session], timestamp[us],
 * duration[us], interval[month] and [month_day_nano], list<element>, map<entries{key,value}>. Every field has a children
 * vector, buffers are padded to 8 bytes; an empty result is one batch of no rows.
 * Read are the same and what pandas and pyarrow make of Python values: large strings, lists and binaries, the other units
 * of timestamps, dates and durations (to microseconds). Dictionaries, views, unions, compressed bodies, times, unsigned
 * and half-float columns are refused by name.
 *
 * Input is hostile: every table, vector, offset and buffer is checked against the bytes that are there before it is
 * followed; nesting is bounded by LIMIT_TYPE_DEPTH; memory is the arena's limit.
 * Sources: Arrow columnar format (format/Message.fbs, Schema.fbs) and the FlatBuffers binary layout; code is our own.
 */
#ifndef PENSTOCK_WIRE_ARROW_H
#define PENSTOCK_WIRE_ARROW_H

#include "column/column.h"

/* -- out ---------------------------------------------------------------------------------------------------------- */
struct arrow_out;

/* schema lives longer than the result; zone is the session's ("UTC"), copied. */
struct arrow_out *arrow_out_new(const struct type *schema, struct str zone);
void arrow_out_free(struct arrow_out *o);
/* Append the rows [from, from+n) of a batch (copied). ERR_LIMIT where a column passes 2 GiB; ERR_NOMEM. */
CHECK enum err arrow_out_add(struct arrow_out *o, const struct batch_cols *b, uint32_t from, uint32_t n,
                             struct fault *f);
uint64_t arrow_out_rows(const struct arrow_out *o);
size_t arrow_out_bytes(const struct arrow_out *o); /* of the buffers so far */
/* Append the whole stream to *out and start anew, empty. */
CHECK enum err arrow_out_finish(struct arrow_out *o, struct buf *out, struct fault *f);

/* -- in ----------------------------------------------------------------------------------------------------------- */
struct arrow_in {
    const struct type *schema;
    struct batch_cols *batches; /* each at most BATCH_ROWS rows */
    size_t nbatches;
    uint64_t rows;
};
/* Read a whole stream (or several after another with the same schema). Strings point into `bytes`, which must live as
 * long as the arena's batches. ERR_FRAME malformed, ERR_UNSUPPORTED a type that is refused, ERR_NOMEM. */
CHECK enum err arrow_read(struct str bytes, struct arena *a, struct arrow_in *out, struct fault *f);

#endif
