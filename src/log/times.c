/*
 * ListOffsets by timestamp, exact to the record as in Kafka: the time index says where to begin, batch headers say which
 * batch, and only that one is opened.
 */
#include "log/log_int.h"

enum { STEP_BYTES = 1 << 20 };

/* Where to begin for a timestamp: the first segment that reaches it, and its time index. Returns -1 when none does. */
static int64_t begin_at(struct log_partition *p, int64_t ts_ms)
{
    int64_t offset = -1;
    os_mutex_lock(p->lock);
    for (size_t i = 0; i < p->segments.n && offset < 0; i++) {
        struct segment *s = p->segments.p[i];
        if (s->max_ts_offset < 0 || s->max_ts < ts_ms)
            continue;
        if (segment_time_offset(s, ts_ms, &offset, NULL))
            offset = s->base_offset;
    }
    if (offset >= 0 && offset < p->log_start)
        offset = p->log_start;
    os_mutex_unlock(p->lock);
    return offset;
}

/* The first record of the batch at or after ts_ms; not one that was deleted. */
static enum log_status first_record(const struct batch *b, int64_t least_offset, int64_t ts_ms, int64_t *offset,
                                    int64_t *found_ts_ms)
{
    struct arena *a = arena_new(0);
    struct record_iter it;
    struct record r;
    bool got = false;
    enum log_status status = LOG_OK;
    enum err e = records_begin(&it, b, a, LIMIT_UNPACKED_BYTES, NULL);
    if (e)
        status = e == ERR_AGAIN || e == ERR_NOMEM ? LOG_AGAIN : LOG_CORRUPT_MESSAGE;
    while (!status) {
        if (records_next(&it, &r, &got, NULL))
            status = LOG_CORRUPT_MESSAGE;
        if (status || !got)
            break;
        if (r.timestamp_ms >= ts_ms && r.offset >= least_offset) {
            *offset = r.offset;
            *found_ts_ms = r.timestamp_ms;
            break;
        }
    }
    arena_free(a);
    return status;
}

enum log_status log_offset_for_time(struct log_partition *p, int64_t ts_ms, int64_t *offset, int64_t *found_ts_ms)
{
    int64_t at = begin_at(p, ts_ms);
    *offset = *found_ts_ms = -1;
    while (at >= 0) {
        struct log_slice *slice;
        struct batch b;
        enum log_status status = log_read(p, at, STEP_BYTES, true, 0, &slice);
        if (status || !slice)
            return status == LOG_OFFSET_OUT_OF_RANGE ? LOG_OK : status;
        struct str rest = log_slice_bytes(slice);
        while (!status && *offset < 0 && rest.n) {
            if (batch_parse(rest, &b, NULL))
                status = LOG_CORRUPT_MESSAGE;
            else if (b.max_timestamp >= ts_ms)
                status = first_record(&b, at, ts_ms, offset, found_ts_ms);
            if (!status) {
                at = b.base_offset + b.last_offset_delta + 1;
                rest = str_sub(rest, b.all.n, rest.n);
            }
        }
        log_slice_release(slice);
        if (status || *offset >= 0)
            return status;
    }
    return LOG_OK;
}

enum log_status log_max_timestamp(struct log_partition *p, int64_t *offset, int64_t *ts_ms)
{
    int64_t max = INT64_MIN;
    os_mutex_lock(p->lock);
    for (size_t i = 0; i < p->segments.n; i++)
        if (p->segments.p[i]->max_ts_offset >= 0 && p->segments.p[i]->max_ts > max)
            max = p->segments.p[i]->max_ts;
    os_mutex_unlock(p->lock);
    *offset = *ts_ms = -1;
    if (max == INT64_MIN)
        return LOG_OK;
    enum log_status status = log_offset_for_time(p, max, offset, ts_ms);
    if (status || *offset >= 0)
        return status;
    /* The largest timestamp waits for its sync still: look through what may be seen. */
    struct log_offsets o = log_partition_offsets(p);
    int64_t best = -1;
    for (int64_t at = o.log_start; at < o.high_watermark;) {
        struct log_slice *slice;
        struct batch b;
        status = log_read(p, at, STEP_BYTES, true, 0, &slice);
        if (status || !slice)
            return status;
        for (struct str rest = log_slice_bytes(slice); rest.n; rest = str_sub(rest, b.all.n, rest.n)) {
            if (batch_parse(rest, &b, NULL)) {
                log_slice_release(slice);
                return LOG_CORRUPT_MESSAGE;
            }
            best = b.count && b.max_timestamp > best ? b.max_timestamp : best;
            at = b.base_offset + b.last_offset_delta + 1;
        }
        log_slice_release(slice);
    }
    return best < 0 ? LOG_OK : log_offset_for_time(p, best, offset, ts_ms);
}
