/*
 * The kafka source's reader: record batches of the log, decoded straight into column views.
 *
 *   log_read ─▶ slice (256 KiB of whole batches) ─▶ batch_parse, CRC ─▶ records ─▶ columns that are wanted
 *
 * An uncompressed batch is read in place: keys and values are views into the slice, which is held until the next call. A
 * compressed one is decompressed into a buffer of its own, held as long. The record loop is written by hand (records_next
 * makes the same of them, and the tests compare the two): it is the first half of every query's inner loop.
 */
#include "codec/codec.h"
#include "base/memory.h"
#include "log/batch.h"
#include "source/source_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { SLICE_BYTES = 256 << 10, SLICE_MOST = 1 << 20, SLICE_SLACK = 4 << 10, BATCH_BYTES_MAX = 256 << 20 };
enum { ATTRIBUTE_CODEC = 7, ATTRIBUTE_LOG_TIME = 8 };

struct reader {
    struct op op;
    struct kafka_source *source;
    struct arena *own; /* the ranges */
    struct kafka_range *ranges;
    size_t nranges, range;
    struct log_partition *partition; /* of the current range; NULL: not opened */
    int64_t next;                    /* offset to go on from */
    struct log_aborted
        *aborted; /* read_committed: what overlaps the range, by first offset; the first `begun` of them have begun */
    size_t naborted, begun;
    VEC(int64_t) voided; /* producers whose batches are void until their abort marker */
    struct log_slice *slice;
    size_t slice_bytes; /* to ask for: as the last one, so that large batches are not read twice */
    struct str rest;    /* of the slice: batches not begun */
    /* the batch being read */
    const char *p, *end;
    int32_t left;
    int64_t base_offset, base_ms, log_ms; /* log_ms: LogAppendTime, or -1 */
    struct buf *unpacked;                 /* its bytes when it was compressed */
    /* kept until the next call */
    VEC(struct log_slice *) held;
    VEC(struct buf *) held_bufs;
    VEC(struct buf *) spare;
    struct kafka_rows rows;
    bool is_ready; /* for the current range */
};
/* -- holding ------------------------------------------------------------------------------------------------------- */

static void let_go(struct reader *r)
{
    for (size_t i = 0; i < r->held.n; i++)
        log_slice_release(r->held.p[i]);
    for (size_t i = 0; i < r->held_bufs.n; i++)
        vec_push(&r->spare, r->held_bufs.p[i]);
    r->held.n = r->held_bufs.n = 0;
}

static void batch_done(struct reader *r)
{
    if (r->unpacked)
        vec_push(&r->held_bufs, r->unpacked);
    r->unpacked = NULL;
    r->left = 0;
}

static void slice_done(struct reader *r)
{
    batch_done(r);
    if (r->slice)
        vec_push(&r->held, r->slice);
    r->slice = NULL;
    r->rest = (struct str){0};
}

static struct buf *spare_buf(struct reader *r)
{
    struct buf *b = r->spare.n ? r->spare.p[--r->spare.n] : calloc(1, sizeof *b);
    if (!b)
        memory_out("a read buffer");
    buf_clear(b);
    b->limit = BATCH_BYTES_MAX;
    return b;
}

/* -- errors ------------------------------------------------------------------------------------------------------- */

static struct kafka_range *current(struct reader *r)
{
    return &r->ranges[r->range];
}

static enum err lost(struct reader *r, enum err which, struct fault *f)
{
    struct kafka_range *k = current(r);
    if (r->source->options.fail_on_data_loss)
        return kafka_data_loss(f, which, k->topic, k->partition, r->next, k->until);
    os_log(OS_WARN, "source", "%.*s-%d: offsets [%" PRId64 ", %" PRId64 ") are not there any more", STR_ARG(k->topic),
           k->partition, r->next, k->until);
    r->next = k->until;
    return ERR_OK;
}

static enum err corrupt(struct reader *r, const char *detail, struct fault *f)
{
    char what[300];
    snprintf(what, sizeof what, "%.*s-%d from offset %" PRId64, STR_ARG(current(r)->topic), current(r)->partition,
             r->next);
    return FAULT(f, ERR_CORRUPT, {"what", what}, {"detail", detail});
}

/* -- batches -------------------------------------------------------------------------------------------------------- */

static enum err open_partition(struct reader *r, struct fault *f)
{
    struct kafka_range *k = current(r);
    r->next = k->from;
    r->partition = log_partition(r->source->base.env.log, k->topic, k->partition);
    if (!r->partition)
        return lost(r, ERR_KAFKA_LOSS_DELETED, f);
    struct log_offsets o = log_partition_offsets(r->partition);
    if (o.deleted)
        return lost(r, ERR_KAFKA_LOSS_DELETED, f);
    if (o.log_start <= k->from)
        return ERR_OK;
    enum err e = lost(r, ERR_KAFKA_LOSS_RANGE, f);
    r->next = o.log_start < k->until ? o.log_start : k->until; /* what is left of it */
    return e;
}

/* -- read_committed: Kafka's consumer (CompletedFetch) ------------------------------------------------------------------------- */

static int by_first_offset(const void *a, const void *b)
{
    int64_t x = ((const struct log_aborted *)a)->first_offset, y = ((const struct log_aborted *)b)->first_offset;
    return x < y ? -1 : x > y;
}

static enum err find_aborted(struct reader *r, struct fault *f)
{
    r->naborted = r->begun = r->voided.n = 0;
    if (!r->source->options.read_committed)
        return ERR_OK;
    enum log_status s = log_aborted(r->partition, r->next, current(r)->until, r->own, &r->aborted, &r->naborted);
    if (s)
        return corrupt(r, "the list of aborted transactions cannot be read", f);
    qsort(r->aborted, r->naborted, sizeof *r->aborted, by_first_offset);
    return ERR_OK;
}

static bool is_void(struct reader *r, const struct batch *b)
{
    struct batch_marker m;
    while (r->begun < r->naborted && r->aborted[r->begun].first_offset <= b->base_offset + b->last_offset_delta)
        vec_push(&r->voided, r->aborted[r->begun++].producer_id);
    size_t i = 0;
    while (i < r->voided.n && r->voided.p[i] != b->producer_id)
        i++;
    if (i == r->voided.n || !(b->attributes & BATCH_TRANSACTIONAL))
        return false;
    if (b->attributes & BATCH_CONTROL && batch_marker_parse(b, &m) && !m.commit)
        r->voided.p[i] = r->voided.p[--r->voided.n];
    return true;
}

static enum err next_slice(struct reader *r, struct fault *f)
{
    slice_done(r);
    enum log_status status = log_read(r->partition, r->next, r->slice_bytes, true,
                                      r->source->options.read_committed ? LOG_READ_COMMITTED : 0, &r->slice);
    if (status == LOG_CORRUPT_MESSAGE)
        return corrupt(r, "a record batch is damaged", f);
    if (status || !r->slice)
        return lost(r, status == LOG_UNKNOWN_TOPIC ? ERR_KAFKA_LOSS_DELETED : ERR_KAFKA_LOSS_RANGE, f);
    r->rest = log_slice_bytes(r->slice);
    size_t like_this = r->rest.n + SLICE_SLACK;
    r->slice_bytes = like_this < SLICE_BYTES ? SLICE_BYTES : like_this < SLICE_MOST ? like_this : SLICE_MOST;
    return ERR_OK;
}

static enum err unpack(struct reader *r, const struct batch *b, struct fault *f)
{
    r->unpacked = spare_buf(r);
    enum err e = codec_decompress(b->attributes & ATTRIBUTE_CODEC, b->records, BATCH_BYTES_MAX, r->unpacked, f);
    r->p = r->unpacked->p;
    r->end = r->p + r->unpacked->n;
    return e;
}

/* Begin the next batch of the slice; r->left stays 0 when it holds nothing that is wanted. */
static enum err next_batch(struct reader *r, struct fault *f)
{
    struct batch b;
    batch_done(r);
    if (!r->rest.n)
        return next_slice(r, f);
    if (batch_parse(r->rest, &b, f))
        return corrupt(r, "a record batch does not parse", f);
    r->rest = str_sub(r->rest, b.all.n, r->rest.n);
    int64_t last = b.base_offset + b.last_offset_delta;
    if (last < r->next)
        return ERR_OK;
    if (b.base_offset >= current(r)->until) {
        r->next = current(r)->until;
        return ERR_OK;
    }
    if (!batch_crc_ok(&b))
        return corrupt(r, "a record batch does not match its checksum", f);
    if (is_void(r, &b) || b.attributes & BATCH_CONTROL) {
        r->next = last + 1;
        return ERR_OK;
    }
    r->left = b.count;
    r->base_offset = b.base_offset;
    r->base_ms = b.base_timestamp;
    r->log_ms = b.attributes & ATTRIBUTE_LOG_TIME ? b.max_timestamp : -1;
    r->p = b.records.p;
    r->end = r->p + b.records.n;
    return b.attributes & ATTRIBUTE_CODEC ? unpack(r, &b, f) : ERR_OK;
}

/* -- records --------------------------------------------------------------------------------------------------------- */

/* A zigzag varint of a record: one and two bytes are nearly all there are. NULL: it does not end before `end`. */
static inline const char *varint(const char *p, const char *end, int64_t *out)
{
    uint64_t v;
    if (__builtin_expect(end - p >= 2, 1)) {
        uint8_t a = (uint8_t)p[0];
        if (a < 0x80) {
            *out = (int64_t)(a >> 1) ^ -(int64_t)(a & 1);
            return p + 1;
        }
        uint8_t b = (uint8_t)p[1];
        if (b < 0x80) {
            v = (uint64_t)(a & 0x7f) | (uint64_t)b << 7;
            *out = (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
            return p + 2;
        }
    }
    struct rd r = rd_of(str_make(p, (size_t)(end - p)));
    *out = rd_varint(&r);
    return r.bad ? NULL : r.p;
}

/* Bytes whose length is a varint, -1 for null. */
static inline const char *bytes(const char *p, const char *end, struct str *out)
{
    int64_t n;
    p = varint(p, end, &n);
    if (!p || n > end - p || n < -1)
        return NULL;
    *out = n < 0 ? (struct str){0} : str_make(p, (size_t)n);
    return n < 0 ? p : p + n;
}

enum step { STEP_ROW, STEP_SKIP, STEP_BAD, STEP_TIME };

/* One record into row o->n. Its offset goes to *offset, its time (ms) to *ms. */
static inline enum step record(struct reader *r, struct kafka_rows *o, int64_t from, int64_t until, int64_t *offset,
                               int64_t *ms)
{
    int64_t length, delta_ms, delta, headers;
    const char *p = varint(r->p, r->end, &length);
    if (!p || length < 1 || length > r->end - p)
        return STEP_BAD;
    const char *end = p + length;
    r->p = end;
    r->left--;
    p = varint(p + 1, end, &delta_ms); /* after the attributes, which mean nothing */
    p = p ? varint(p, end, &delta) : NULL;
    struct str key, value;
    p = p ? bytes(p, end, &key) : NULL;
    p = p ? bytes(p, end, &value) : NULL;
    if (!p)
        return STEP_BAD;
    *offset = r->base_offset + delta;
    if (*offset < from || *offset >= until)
        return STEP_SKIP;
    uint32_t n = o->n;
    if (o->value) {
        o->value[n] = value;
        o->value_valid[n] = value.p != NULL;
    }
    if (o->key) {
        o->key[n] = key;
        o->key_valid[n] = key.p != NULL;
    }
    if (o->offset)
        o->offset[n] = *offset;
    if (o->time) {
        *ms = r->log_ms >= 0 ? r->log_ms : r->base_ms + delta_ms;
        if (__builtin_mul_overflow(*ms, 1000, &o->time[n]))
            return STEP_TIME;
    }
    if (o->time_type)
        o->time_type[n] = r->log_ms >= 0;
    if (o->headers) {
        if (!(p = varint(p, end, &headers)) || headers < 0 || headers > end - p)
            return STEP_BAD;
        o->headers[n] = str_make(p, (size_t)(end - p));
        o->nheaders[n] = (int32_t)headers;
    }
    o->n++;
    return STEP_ROW;
}

static enum err fill_from_batch(struct reader *r, struct kafka_rows *o, struct fault *f)
{
    int64_t from = r->next, until = current(r)->until, offset = from - 1, ms = 0;
    enum step step = STEP_ROW;
    while (r->left > 0 && o->n < BATCH_ROWS && step <= STEP_SKIP && offset < until)
        step = record(r, o, from, until, &offset, &ms);
    if (step == STEP_BAD)
        return corrupt(r, "a record does not fit its batch", f);
    if (step == STEP_TIME)
        return kafka_bad_time(current(r)->topic, current(r)->partition, offset, ms, f);
    if (offset >= from)
        r->next = offset + 1 < until ? offset + 1 : until;
    return ERR_OK;
}

/* -- the operator -------------------------------------------------------------------------------------------------------- */

static void range_done(struct reader *r)
{
    slice_done(r);
    if (r->partition)
        log_partition_release(r->partition);
    r->partition = NULL;
    r->is_ready = false;
    r->range++;
}

/* A batch never spans two ranges: topic and partition are constants in it. */
static enum err next(struct op *op, struct batch_cols **out, struct fault *f)
{
    struct reader *r = (struct reader *)op;
    let_go(r);
    arena_reset(op->arena);
    *out = NULL;
    while (r->range < r->nranges) {
        struct kafka_rows *o = &r->rows;
        enum err e = r->partition ? ERR_OK : open_partition(r, f);
        if (!e && !r->is_ready && r->partition && !(e = find_aborted(r, f)))
            r->is_ready = true;
        struct batch_cols *b = kafka_rows_begin(o, op);
        while (!e && o->n < BATCH_ROWS && r->next < current(r)->until)
            e = r->left > 0 ? fill_from_batch(r, o, f) : next_batch(r, f);
        if (!e && o->n && !kafka_rows_end(o, op, b, current(r)->topic, current(r)->partition))
            e = corrupt(r, "a record's headers do not fit it", f);
        if (e)
            return e;
        if (r->next >= current(r)->until)
            range_done(r);
        if (o->n) {
            *out = b;
            return ERR_OK;
        }
    }
    return ERR_OK;
}

static void close_(struct op *op)
{
    struct reader *r = (struct reader *)op;
    slice_done(r);
    let_go(r);
    if (r->partition)
        log_partition_release(r->partition);
    for (size_t i = 0; i < r->spare.n; i++) {
        buf_free(r->spare.p[i]);
        free(r->spare.p[i]);
    }
    vec_free(&r->voided);
    vec_free(&r->spare);
    vec_free(&r->held);
    vec_free(&r->held_bufs);
    arena_free(r->own);
}

static const struct op_class READER = {"KafkaScan", next, close_};

enum err kafka_log_reader(struct kafka_source *s, const struct kafka_range *ranges, size_t n, const struct op_env *env,
                          struct op **out, struct fault *f)
{
    struct reader *r = op_new(sizeof *r, &READER, s->base.scan, env, NULL);
    (void)f;
    r->source = s;
    r->slice_bytes = SLICE_BYTES;
    r->own = arena_new(0);
    r->ranges = ARENA_ARRAY(r->own, n + 1, struct kafka_range);
    r->nranges = n;
    for (size_t i = 0; i < n; i++) {
        r->ranges[i] = ranges[i];
        r->ranges[i].topic = arena_str(r->own, ranges[i].topic);
    }
    kafka_rows_init(&r->rows, s->base.scan);
    *out = &r->op;
    return ERR_OK;
}
