/*
 * batch: Kafka's record batch, format version 2 (magic 2; KIP-98). The bytes that producers send are the bytes on disk.
 *
 *    0 baseOffset i64 | 8 batchLength i32 | 12 partitionLeaderEpoch i32 | 16 magic i8 | 17 crc u32 |
 *   21 attributes i16 | 23 lastOffsetDelta i32 | 27 baseTimestamp i64 | 35 maxTimestamp i64 | 43 producerId i64 |
 *   51 producerEpoch i16 | 53 baseSequence i32 | 57 count i32 | 61 records…
 *
 * A control batch has one record, the marker that ends a producer's transaction: key {i16 version 0, i16 type: 0 abort, 1
 * commit}, value {i16 version 0, i32 coordinator epoch}. Markers take an offset as records do, and readers skip them.
 *
 * The CRC-32C runs from attributes to the end, so base offset and leader epoch may be patched freely. attributes: bits
 * 0–2 compression (0 none 1 gzip 2 snappy 3 lz4 4 zstd), 3 LogAppendTime, 4 transactional, 5 control, 6 delete horizon.
 * Functions here only look at and make bytes; they own nothing, and check every length against what is there.
 */
#ifndef PENSTOCK_LOG_BATCH_H
#define PENSTOCK_LOG_BATCH_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/fault.h"

enum {
    BATCH_HEADER = 61,
    BATCH_PREFIX = 12,
    BATCH_APPEND_TIME = 8,
    BATCH_TRANSACTIONAL = 0x10,
    BATCH_CONTROL = 0x20,
    BATCH_HORIZON = 0x40 /* attributes */
};
struct batch {
    int64_t base_offset;
    int32_t length; /* after the 12-byte prefix */
    int32_t leader_epoch;
    int8_t magic;
    uint32_t crc;
    int16_t attributes;
    int32_t last_offset_delta;
    int64_t base_timestamp, max_timestamp;
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t base_sequence;
    int32_t count;
    struct str records; /* after the header; compressed as attributes say */
    struct str all;     /* the whole batch */
};
/* The first batch of `bytes`. ERR_FRAME for lengths that do not fit (a batch cut short too), magic other than 2. */
CHECK enum err batch_parse(struct str bytes, struct batch *out, struct fault *f);
/* The same of a batch that may end behind `bytes`: only its header must be there; `records` and `all` reach to its end. */
CHECK enum err batch_parse_header(struct str bytes, struct batch *out, struct fault *f);
bool batch_crc_ok(const struct batch *b);
/* Compute the CRC of the n bytes of one batch and store it in its header. */
void batch_seal(char *batch, size_t n);
/* Write a producer's fields into the n bytes of one batch, and its CRC. */
struct batch_producer {
    int64_t id;
    int16_t epoch;
    int32_t sequence; /* of the first record */
    bool transactional;
};
void batch_set_producer(char *batch, size_t n, const struct batch_producer *p);

struct batch_marker {
    bool commit;
    int32_t coordinator_epoch;
};
/* The marker in a control batch; false when b is none, or not the marker of a transaction. */
bool batch_marker_parse(const struct batch *b, struct batch_marker *out);
/* A whole control batch at the end of out. */
CHECK enum err batch_marker_put(struct buf *out, int64_t producer_id, int16_t epoch, struct batch_marker m,
                                int64_t now_ms, struct fault *f);

/*
 * What compaction leaves of a batch. Its offsets, producer and sequences are those that it had, so a batch whose records are
 * all gone still says them. The delete horizon (KIP-534) is the time at which tombstones, or the marker of a transaction
 * without records, may go; it stands in the base timestamp's place.
 */
static inline int64_t batch_horizon_ms(const struct batch *b) /* -1: none */
{
    return b->attributes & BATCH_HORIZON ? b->base_timestamp : -1;
}
static inline int64_t batch_end_offset(const struct batch *b) /* of the batch after it */
{
    return b->base_offset + b->last_offset_delta + 1;
}
void batch_empty(struct buf *out, const struct batch *of);
struct record;
CHECK enum err batch_rewrite(struct buf *out, const struct batch *of, const struct record *records, size_t n,
                             int64_t horizon_ms, struct fault *f);

struct record {
    int64_t offset, timestamp_ms;
    struct str key, value; /* p NULL: null */
    int32_t nheaders;
    struct str headers; /* the encoded headers, for batch_header */
};
/* Iterate records. Decompresses into `a` (bounded by max_bytes: ERR_LIMIT) when needed; strs point into b->records or a. */
struct record_iter {
    struct str rest;
    int32_t left, index;
    const struct batch *batch;
};
CHECK enum err records_begin(struct record_iter *it, const struct batch *b, struct arena *a, size_t max_bytes,
                             struct fault *f);
/* ERR_OK with *got=false at the end; ERR_FRAME for a record that does not fit its batch. */
CHECK enum err records_next(struct record_iter *it, struct record *out, bool *got, struct fault *f);
/* The i-th header of r by walking r->headers from *at (0 at first). */
CHECK enum err record_header(const struct record *r, size_t *at, struct str *key, struct str *value, struct fault *f);

/* Build one batch: begin, records, end; `out` gets the bytes. Used by sinks, __consumer_offsets, the command line. */
struct batch_writer {
    struct buf *out;
    size_t at;
    int32_t count;
    int64_t base_ts, max_ts;
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t base_sequence;
    int compression;
    int16_t flags; /* BATCH_TRANSACTIONAL, BATCH_CONTROL */
};
void batch_begin(struct batch_writer *w, struct buf *out, int64_t timestamp_ms, int compression);
void batch_record(struct batch_writer *w, int64_t timestamp_ms, struct str key, struct str value,
                  const struct str *headers /* key, value, key, value… */, int nheaders);
CHECK enum err batch_end(struct batch_writer *w, struct fault *f); /* compresses, fills lengths and CRC */

#endif
