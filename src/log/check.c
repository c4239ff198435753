/*
 * What a client may append: the rules of Kafka's LogValidator and UnifiedLog.analyzeAndValidateRecords for magic 2.
 * Every record is walked (a compressed batch is unpacked for it), so that what is stored can be read by everyone.
 */
#include "codec/codec.h"
#include "log/log_int.h"

#include <stdarg.h>
#include <stdio.h>

enum { ATTR_AT = 21, MAX_TS_AT = 35, BOMB_WAIT_MS = 2000 };

__attribute__((format(printf, 3, 4))) static enum log_status refuse(struct log_append_result *r, enum log_status status,
                                                                    const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(r->message, sizeof r->message, fmt, ap);
    va_end(ap);
    r->status = status;
    return status;
}

static enum log_status check_header(const struct partition_conf *c, enum log_origin origin, const struct batch *b,
                                    struct log_append_result *r)
{
    if (!batch_crc_ok(b))
        return refuse(r, LOG_CORRUPT_MESSAGE, "Record is corrupt (stored crc = %u)", b->crc);
    if (b->attributes & BATCH_CONTROL)
        return refuse(r, LOG_INVALID_RECORD, "Clients are not allowed to write control records");
    if (b->count <= 0 || b->last_offset_delta < 0 || b->last_offset_delta != b->count - 1)
        return refuse(r, LOG_INVALID_RECORD, "Inconsistency between number of records (%d) and last offset delta (%d)",
                      b->count, b->last_offset_delta);
    if ((b->attributes & 7) >= CODEC_COUNT)
        return refuse(r, LOG_UNSUPPORTED_COMPRESSION, "Unknown compression type id: %d", b->attributes & 7);
    if (b->producer_id >= 0 && (b->producer_epoch < 0 || (b->base_sequence < 0 && origin != LOG_FROM_COORDINATOR)))
        return refuse(r, LOG_INVALID_RECORD, "Invalid sequence number %d or epoch %d in record batch", b->base_sequence,
                      b->producer_epoch);
    if ((b->attributes & BATCH_TRANSACTIONAL) && b->producer_id < 0)
        return refuse(r, LOG_INVALID_RECORD, "A transactional record batch without a producer id");
    if ((int64_t)b->all.n > c->max_message_bytes)
        return refuse(r, LOG_MESSAGE_TOO_LARGE,
                      "The record batch size is %zu bytes, which exceeds the maximum configured value of %lld",
                      b->all.n, (long long)c->max_message_bytes);
    return LOG_OK;
}

/* The records' bytes: in place, or unpacked into `scratch`. */
static enum log_status open_records(const struct batch *b, struct unpacked *scratch, struct batch *plain,
                                    struct log_append_result *r)
{
    *plain = *b;
    int codec = b->attributes & 7;
    if (codec == CODEC_NONE)
        return LOG_OK;
    struct fault f;
    enum err e = codec_unpack(codec, b->records, LIMIT_UNPACKED_BYTES, scratch, &f);
    if (e == ERR_LIMIT) {
        r->wait_ms = BOMB_WAIT_MS; /* tens of milliseconds went into it: not again at once */
        return refuse(r, LOG_MESSAGE_TOO_LARGE, "A record batch, unpacked: %s", fault_message(&f));
    }
    if (e == ERR_AGAIN)
        return refuse(r, LOG_AGAIN, "Not enough memory to unpack a record batch now");
    if (e == ERR_NOMEM)
        return refuse(r, LOG_STORAGE_ERROR, "%s", fault_message(&f)); /* nothing is wrong with it: try again */
    if (e)
        return refuse(r, LOG_CORRUPT_MESSAGE, "%s", fault_message(&f));
    plain->records = buf_view(&scratch->bytes);
    plain->attributes &= (int16_t)~7;
    return LOG_OK;
}

/* Note what is wrong with one record; Kafka names them all. */
__attribute__((format(printf, 3, 4))) static void refuse_record(struct log_append_result *r, int32_t index,
                                                                const char *fmt, ...)
{
    va_list ap;
    if (r->record_errors < LOG_RECORD_ERRORS) {
        struct log_record_error *e = &r->record_error[r->record_errors];
        e->index = index;
        va_start(ap, fmt);
        vsnprintf(e->message, sizeof e->message, fmt, ap);
        va_end(ap);
    }
    r->record_errors++;
}

/* A record may leave its timestamp out (-1). */
static bool is_out_of_range(const struct partition_conf *c, int64_t ts_ms, int64_t now_ms)
{
    return !c->append_time && ts_ms != -1 &&
           (ts_ms > now_ms ? ts_ms - now_ms > c->timestamp_after_ms : now_ms - ts_ms > c->timestamp_before_ms);
}

/* The rules for single records; true: a timestamp is wrong. */
static bool check_one_record(const struct partition_conf *c, const struct batch *b, const struct record *rec,
                             int32_t index, int64_t now_ms, struct log_append_result *r)
{
    if (c->compact && !rec->key.p) {
        refuse_record(r, index, "Compacted topic cannot accept message without key in topic partition %s", c->name);
    } else if (c->append_time && (b->attributes & BATCH_APPEND_TIME)) {
        refuse_record(r, index,
                      "Invalid timestamp type in message DefaultRecord(offset=%lld, timestamp=%lld, key=%zu bytes, "
                      "value=%zu bytes). Producer should not set timestamp type to LogAppendTime.",
                      (long long)rec->offset, (long long)b->max_timestamp, rec->key.n, rec->value.n);
        return true;
    } else if (is_out_of_range(c, rec->timestamp_ms, now_ms)) {
        refuse_record(r, index,
                      "Timestamp %lld of message with offset %lld is out of range. The timestamp should be within "
                      "[%lld, %lld]",
                      (long long)rec->timestamp_ms, (long long)rec->offset,
                      (long long)(now_ms - c->timestamp_before_ms), (long long)(now_ms + c->timestamp_after_ms));
        return true;
    }
    return false;
}

static enum log_status check_headers(const struct record *rec, struct log_append_result *r)
{
    size_t at = 0;
    struct str key, value;
    for (int i = 0; i < rec->nheaders; i++)
        if (record_header(rec, &at, &key, &value, NULL))
            return refuse(r, LOG_INVALID_RECORD, "Invalid header %d of a record", i);
    return at == rec->headers.n ? LOG_OK : refuse(r, LOG_INVALID_RECORD, "Bytes after the last header of a record");
}

/* Walk the records: offsets without a gap, keys where the topic is compacted, timestamps. `claimed`: as the client sent it. */
static enum log_status check_records(const struct partition_conf *c, const struct batch *claimed, const struct batch *b,
                                     int64_t now_ms, int64_t *max_ts, struct log_append_result *r)
{
    struct record_iter it;
    struct record rec;
    struct fault f;
    bool got, bad_time = false;
    *max_ts = -1;
    enum err e = records_begin(&it, b, NULL, 0, &f);
    for (int32_t i = 0; !e; i++) {
        if ((e = records_next(&it, &rec, &got, &f)) || !got)
            break;
        if (rec.offset != b->base_offset + i)
            return refuse(r, LOG_INVALID_RECORD, "Record %d of the batch has offset delta %lld", i,
                          (long long)(rec.offset - b->base_offset));
        bad_time |= check_one_record(c, claimed, &rec, i, now_ms, r);
        enum log_status status = check_headers(&rec, r);
        if (status)
            return status;
        if (rec.timestamp_ms > *max_ts)
            *max_ts = rec.timestamp_ms;
    }
    if (e)
        return refuse(r, LOG_INVALID_RECORD, "%s", fault_message(&f));
    if (bad_time)
        return refuse(r, LOG_INVALID_TIMESTAMP, "One or more records have been rejected due to invalid timestamp");
    return r->record_errors ? refuse(r, LOG_INVALID_RECORD, "%s", r->record_error[0].message) : LOG_OK;
}

/* LogAppendTime, or a largest timestamp that the client miscounted: patched, which takes a new CRC. */
static void patch_timestamps(const struct partition_conf *c, struct batch *b, char *bytes, int64_t max_ts,
                             int64_t now_ms)
{
    int16_t attributes = (int16_t)(c->append_time ? b->attributes | 8 : b->attributes & ~8);
    if (c->append_time)
        max_ts = now_ms;
    if (attributes == b->attributes && max_ts == b->max_timestamp)
        return;
    bytes[ATTR_AT] = (char)(attributes >> 8);
    bytes[ATTR_AT + 1] = (char)attributes;
    put_u64be(bytes + MAX_TS_AT, (uint64_t)max_ts);
    batch_seal(bytes, b->all.n);
    b->attributes = attributes;
    b->max_timestamp = max_ts;
}

static enum log_status check_one(const struct partition_conf *c, enum log_origin origin, char *bytes, struct batch *b,
                                 int64_t now_ms, struct log_append_result *r)
{
    enum log_status status = check_header(c, origin, b, r);
    if (status)
        return status;
    struct unpacked scratch = {0};
    struct batch plain;
    int64_t max_ts;
    status = open_records(b, &scratch, &plain, r);
    plain.attributes &= (int16_t)~8; /* a client's LogAppendTime bit means nothing: look at the records */
    if (!status)
        status = check_records(c, b, &plain, now_ms, &max_ts, r);
    codec_unpacked_free(&scratch);
    if (!status)
        patch_timestamps(c, b, bytes, max_ts, now_ms);
    return status;
}

enum log_status check_batches(const struct partition_conf *c, enum log_origin origin, char *bytes, size_t n,
                              int64_t now_ms, struct log_append_result *r)
{
    int batches = 0;
    if (n == 0)
        return refuse(r, LOG_INVALID_RECORD, "No record batch");
    for (size_t at = 0; at < n; batches++) {
        struct batch b;
        struct fault f;
        if (n - at > 16 && bytes[at + 16] != 2)
            return refuse(r, LOG_INVALID_RECORD, "Only record batches of magic 2 are accepted, not %d", bytes[at + 16]);
        if (batch_parse(str_make(bytes + at, n - at), &b, &f))
            return refuse(r, LOG_CORRUPT_MESSAGE, "%s", fault_message(&f));
        enum log_status status = check_one(c, origin, bytes + at, &b, now_ms, r);
        if (status)
            return status;
        if (b.producer_id >= 0 && (at || b.all.n < n))
            return refuse(r, LOG_INVALID_RECORD, "A producer with an id must send exactly one batch per partition");
        at += b.all.n;
        if (batches > LIMIT_BATCHES)
            return refuse(r, LOG_RECORD_LIST_TOO_LARGE, "More than %d batches", LIMIT_BATCHES);
    }
    if (n > c->segment_bytes)
        return refuse(r, LOG_RECORD_LIST_TOO_LARGE,
                      "Message batch size is %zu bytes, which exceeds the segment size of %llu", n,
                      (unsigned long long)c->segment_bytes);
    return LOG_OK;
}
