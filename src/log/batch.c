#include "log/batch.h"

#include "base/limit.h"
#include "codec/codec.h"

#include <stdio.h>

enum { CRC_AT = 17, ATTRIBUTES_AT = 21, CRC_FROM = ATTRIBUTES_AT, PRODUCER_AT = 43, MIN_RECORD = 7 };

static inline uint16_t be16(const char *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return __builtin_bswap16(v);
}
static inline uint32_t be32(const char *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return __builtin_bswap32(v);
}
static inline uint64_t be64(const char *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return __builtin_bswap64(v);
}

static enum err bad_batch(struct fault *f, const char *why)
{
    return FAULT(f, ERR_FRAME, {"what", "record batch"}, {"detail", why});
}

enum err batch_parse(struct str bytes, struct batch *out, struct fault *f)
{
    enum err e = batch_parse_header(bytes, out, f);
    return e || out->all.n <= bytes.n ? e : bad_batch(f, "longer than the bytes there");
}

enum err batch_parse_header(struct str bytes, struct batch *out, struct fault *f)
{
    const char *p = bytes.p;
    if (bytes.n < BATCH_PREFIX + 5)
        return bad_batch(f, "cut short");
    out->magic = (int8_t)p[16];
    if (out->magic != 2)
        return bad_batch(f, "magic is not 2");
    out->length = (int32_t)be32(p + 8);
    if (out->length < BATCH_HEADER - BATCH_PREFIX)
        return bad_batch(f, "length below the header's");
    if (bytes.n < BATCH_HEADER)
        return bad_batch(f, "cut short");
    out->base_offset = (int64_t)be64(p);
    out->leader_epoch = (int32_t)be32(p + 12);
    out->crc = be32(p + CRC_AT);
    out->attributes = (int16_t)be16(p + 21);
    out->last_offset_delta = (int32_t)be32(p + 23);
    out->base_timestamp = (int64_t)be64(p + 27);
    out->max_timestamp = (int64_t)be64(p + 35);
    out->producer_id = (int64_t)be64(p + 43);
    out->producer_epoch = (int16_t)be16(p + 51);
    out->base_sequence = (int32_t)be32(p + 53);
    out->count = (int32_t)be32(p + 57);
    out->all = str_make(p, (size_t)out->length + BATCH_PREFIX);
    out->records = str_make(p + BATCH_HEADER, out->all.n - BATCH_HEADER);
    return ERR_OK;
}

bool batch_crc_ok(const struct batch *b)
{
    return crc32c(0, b->all.p + CRC_FROM, b->all.n - CRC_FROM) == b->crc;
}

void batch_seal(char *batch, size_t n)
{
    uint32_t crc = __builtin_bswap32(crc32c(0, batch + CRC_FROM, n - CRC_FROM));
    memcpy(batch + CRC_AT, &crc, 4);
}

/* -- records -------------------------------------------------------------------------------------------------------- */

enum err records_begin(struct record_iter *it, const struct batch *b, struct arena *a, size_t max_bytes,
                       struct fault *f)
{
    int codec = b->attributes & 7;
    *it = (struct record_iter){b->records, b->count, 0, b};
    if (codec != CODEC_NONE) {
        struct unpacked u;
        enum err e = codec_unpack(codec, b->records, max_bytes, &u, f);
        struct str out = buf_view(&u.bytes);
        char *p = e ? NULL : arena_try(a, out.n ? out.n : 1);
        if (!e && !p)
            e = FAULT(f, ERR_NOMEM, {"what", "a decompressed batch"});
        if (!e && out.n)
            memcpy(p, out.p, out.n);
        it->rest = str_make(p, out.n);
        codec_unpacked_free(&u);
        if (e)
            return e;
    }
    if (b->count < 0 || (size_t)b->count > it->rest.n / MIN_RECORD)
        return bad_batch(f, "more records than bytes");
    return ERR_OK;
}

/* A zigzag varint of at most `max` bytes at *p; false when it does not end before `end`. */
static inline bool varint(const unsigned char **p, const unsigned char *end, int max, int64_t *out)
{
    const unsigned char *at = *p;
    if (at < end && *at < 0x80) { /* nearly always */
        *out = (int64_t)(*at >> 1) ^ -(int64_t)(*at & 1);
        *p = at + 1;
        return true;
    }
    uint64_t v = 0;
    for (int i = 0; i < max && at < end; i++) {
        v |= (uint64_t)(*at & 0x7f) << (7 * i);
        if (*at++ < 0x80) {
            *out = (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
            *p = at;
            return true;
        }
    }
    return false;
}

/* A length and its bytes; -1 is null. */
static inline bool bytes_field(const unsigned char **p, const unsigned char *end, struct str *out)
{
    int64_t n;
    if (!varint(p, end, 5, &n) || n < -1 || n > end - *p)
        return false;
    *out = n < 0 ? (struct str){NULL, 0} : str_make(*p, (size_t)n);
    *p += n < 0 ? 0 : n;
    return true;
}

enum err records_next(struct record_iter *it, struct record *out, bool *got, struct fault *f)
{
    const unsigned char *p = (const unsigned char *)it->rest.p, *end = p + it->rest.n;
    int64_t size, timestamp, offset, headers;
    *got = false;
    if (it->left == 0)
        return it->rest.n ? bad_batch(f, "bytes after the last record") : ERR_OK;
    if (!varint(&p, end, 5, &size) || size < MIN_RECORD - 1 || size > end - p)
        return bad_batch(f, "a record's length");
    end = p + size;
    p++; /* attributes: unused */
    if (!varint(&p, end, 10, &timestamp) || !varint(&p, end, 5, &offset) || !bytes_field(&p, end, &out->key) ||
        !bytes_field(&p, end, &out->value) || !varint(&p, end, 5, &headers) || headers < 0 ||
        headers > LIMIT_RECORD_HEADERS || headers > (end - p) / 2 || (headers == 0 && p != end))
        return bad_batch(f, "a record's fields");
    out->offset = it->batch->base_offset + offset;
    out->timestamp_ms = it->batch->attributes & 8
                            ? it->batch->max_timestamp
                            : (int64_t)((uint64_t)it->batch->base_timestamp + (uint64_t)timestamp);
    out->nheaders = (int32_t)headers;
    out->headers = str_make(p, (size_t)(end - p));
    it->rest = str_make(end, it->rest.n - (size_t)(end - (const unsigned char *)it->rest.p));
    it->left--;
    it->index++;
    *got = true;
    return ERR_OK;
}

enum err record_header(const struct record *r, size_t *at, struct str *key, struct str *value, struct fault *f)
{
    const unsigned char *start = (const unsigned char *)r->headers.p, *p = start + *at, *end = start + r->headers.n;
    if (!bytes_field(&p, end, key) || !key->p || !bytes_field(&p, end, value))
        return bad_batch(f, "a record's headers");
    *at = (size_t)(p - start);
    return ERR_OK;
}

/* -- building ------------------------------------------------------------------------------------------------------- */

static size_t varint_put(unsigned char *p, int64_t v)
{
    uint64_t z = (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
    size_t n = 0;
    for (; z >= 0x80; z >>= 7)
        p[n++] = (unsigned char)(z | 0x80);
    p[n++] = (unsigned char)z;
    return n;
}

static inline size_t varint_size(int64_t v)
{
    uint64_t z = (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
    return (size_t)(70 - __builtin_clzll(z | 1)) / 7;
}

static size_t bytes_size(struct str s)
{
    return varint_size(s.p ? (int64_t)s.n : -1) + (s.p ? s.n : 0);
}

static size_t bytes_put(unsigned char *p, struct str s)
{
    size_t n = varint_put(p, s.p ? (int64_t)s.n : -1);
    if (s.n && s.p)
        memcpy(p + n, s.p, s.n);
    return n + (s.p ? s.n : 0);
}

void batch_begin(struct batch_writer *w, struct buf *out, int64_t timestamp_ms, int compression)
{
    *w = (struct batch_writer){
        .out = out,
        .at = out->n,
        .base_ts = timestamp_ms,
        .max_ts = timestamp_ms,
        .producer_id = -1,
        .producer_epoch = -1,
        .base_sequence = -1,
        .compression = compression,
    };
    buf_fill(out, 0, BATCH_HEADER);
}

void batch_record(struct batch_writer *w, int64_t timestamp_ms, struct str key, struct str value,
                  const struct str *headers, int nheaders)
{
    int64_t delta = timestamp_ms - w->base_ts;
    size_t size =
        1 + varint_size(delta) + varint_size(w->count) + bytes_size(key) + bytes_size(value) + varint_size(nheaders);
    for (int i = 0; i < 2 * nheaders; i++)
        size += bytes_size(headers[i]);
    if (buf_reserve(w->out, varint_size((int64_t)size) + size)) { /* room is asked for once: the rest is copying */
        unsigned char *p = (unsigned char *)w->out->p + w->out->n, *from = p;
        p += varint_put(p, (int64_t)size);
        *p++ = 0;
        p += varint_put(p, delta);
        p += varint_put(p, w->count);
        p += bytes_put(p, key);
        p += bytes_put(p, value);
        p += varint_put(p, nheaders);
        for (int i = 0; i < 2 * nheaders; i++)
            p += bytes_put(p, headers[i]);
        w->out->n += (size_t)(p - from);
    }
    w->count++;
    w->max_ts = w->count == 1 || timestamp_ms > w->max_ts ? timestamp_ms : w->max_ts;
}

static enum err squeeze(struct batch_writer *w, struct fault *f)
{
    struct buf packed = {.limit = BUF_ASKED};
    size_t from = w->at + BATCH_HEADER;
    enum err e = codec_compress(w->compression, str_make(w->out->p + from, w->out->n - from), &packed, f);
    if (!e) {
        w->out->n = from;
        buf_str(w->out, buf_view(&packed));
    }
    buf_free(&packed);
    return e;
}

enum err batch_end(struct batch_writer *w, struct fault *f)
{
    if (w->out->bad)
        return FAULT(f, ERR_NOMEM, {"what", "a record batch"});
    if (w->count == 0)
        return bad_batch(f, "no records");
    enum err e = w->compression ? squeeze(w, f) : ERR_OK;
    if (e || w->out->bad)
        return e ? e : FAULT(f, ERR_NOMEM, {"what", "a record batch"});
    size_t n = w->out->n - w->at;
    struct buf h = {.p = w->out->p + w->at, .cap = BATCH_HEADER, .limit = BATCH_HEADER};
    buf_u64be(&h, 0);
    buf_u32be(&h, (uint32_t)(n - BATCH_PREFIX));
    buf_u32be(&h, (uint32_t)-1); /* leader epoch: the log's to say */
    buf_u8(&h, 2);
    buf_u32be(&h, 0);
    buf_u16be(&h, (uint16_t)(w->compression | w->flags));
    buf_u32be(&h, (uint32_t)(w->count - 1));
    buf_u64be(&h, (uint64_t)w->base_ts);
    buf_u64be(&h, (uint64_t)w->max_ts);
    buf_u64be(&h, (uint64_t)w->producer_id);
    buf_u16be(&h, (uint16_t)w->producer_epoch);
    buf_u32be(&h, (uint32_t)w->base_sequence);
    buf_u32be(&h, (uint32_t)w->count);
    batch_seal(w->out->p + w->at, n);
    return ERR_OK;
}

void batch_set_producer(char *batch, size_t n, const struct batch_producer *p)
{
    struct buf h = {.p = batch + ATTRIBUTES_AT, .cap = 2, .limit = 2};
    buf_u16be(&h, (uint16_t)((be16(batch + ATTRIBUTES_AT) & ~BATCH_TRANSACTIONAL) |
                             (p->transactional ? BATCH_TRANSACTIONAL : 0)));
    h = (struct buf){.p = batch + PRODUCER_AT, .cap = 14, .limit = 14};
    buf_u64be(&h, (uint64_t)p->id);
    buf_u16be(&h, (uint16_t)p->epoch);
    buf_u32be(&h, (uint32_t)p->sequence);
    batch_seal(batch, n);
}

/* -- what compaction leaves ----------------------------------------------------------------------------------------- */

static void put_header(char *p, const struct batch *of, size_t n, int16_t attributes, int64_t base_ts, int64_t max_ts,
                       size_t count)
{
    struct buf h = {.p = p, .cap = BATCH_HEADER, .limit = BATCH_HEADER};
    buf_u64be(&h, (uint64_t)of->base_offset);
    buf_u32be(&h, (uint32_t)(n - BATCH_PREFIX));
    buf_u32be(&h, (uint32_t)of->leader_epoch);
    buf_u8(&h, 2);
    buf_u32be(&h, 0);
    buf_u16be(&h, (uint16_t)attributes);
    buf_u32be(&h, (uint32_t)of->last_offset_delta);
    buf_u64be(&h, (uint64_t)base_ts);
    buf_u64be(&h, (uint64_t)max_ts);
    buf_u64be(&h, (uint64_t)of->producer_id);
    buf_u16be(&h, (uint16_t)of->producer_epoch);
    buf_u32be(&h, (uint32_t)of->base_sequence);
    buf_u32be(&h, (uint32_t)count);
    batch_seal(p, n);
}

void batch_empty(struct buf *out, const struct batch *of)
{
    enum { KEPT = BATCH_APPEND_TIME | BATCH_TRANSACTIONAL | BATCH_CONTROL };
    size_t at = out->n;
    buf_fill(out, 0, BATCH_HEADER);
    if (!out->bad)
        put_header(out->p + at, of, BATCH_HEADER, of->attributes & KEPT, -1, of->max_timestamp, 0);
}

static void put_record(struct buf *b, const struct record *r, int64_t timestamp_delta, int64_t offset_delta)
{
    size_t size = 1 + varint_size(timestamp_delta) + varint_size(offset_delta) + bytes_size(r->key) +
                  bytes_size(r->value) + varint_size(r->nheaders) + r->headers.n;
    if (!buf_reserve(b, varint_size((int64_t)size) + size))
        return;
    unsigned char *p = (unsigned char *)b->p + b->n, *from = p;
    p += varint_put(p, (int64_t)size);
    *p++ = 0;
    p += varint_put(p, timestamp_delta);
    p += varint_put(p, offset_delta);
    p += bytes_put(p, r->key);
    p += bytes_put(p, r->value);
    p += varint_put(p, r->nheaders);
    b->n += (size_t)(p - from);
    buf_str(b, r->headers);
}

enum err batch_rewrite(struct buf *out, const struct batch *of, const struct record *records, size_t n,
                       int64_t horizon_ms, struct fault *f)
{
    struct buf plain = {0};
    int64_t base_ts = horizon_ms >= 0 ? horizon_ms : records[0].timestamp_ms, max_ts = -1;
    int codec = of->attributes & 7;
    size_t at = out->n;
    for (size_t i = 0; i < n; i++) {
        int64_t delta = (int64_t)((uint64_t)records[i].timestamp_ms - (uint64_t)base_ts);
        put_record(&plain, &records[i], delta, records[i].offset - of->base_offset);
        max_ts = records[i].timestamp_ms > max_ts ? records[i].timestamp_ms : max_ts;
    }
    buf_fill(out, 0, BATCH_HEADER);
    enum err e = ERR_OK;
    if (codec && !plain.bad)
        e = codec_compress(codec, buf_view(&plain), out, f);
    else
        buf_str(out, buf_view(&plain));
    if (!e && (plain.bad || out->bad))
        e = FAULT(f, ERR_NOMEM, {"what", "a record batch"});
    buf_free(&plain);
    int16_t attributes = (int16_t)((of->attributes & ~BATCH_HORIZON) | (horizon_ms >= 0 ? BATCH_HORIZON : 0));
    if (!e)
        put_header(out->p + at, of, out->n - at, attributes, base_ts, max_ts, n);
    return e;
}

/* -- markers -------------------------------------------------------------------------------------------------------- */

enum { MARKER_KEY = 4, MARKER_VALUE = 6, MARKER_ABORT = 0, MARKER_COMMIT = 1 };

bool batch_marker_parse(const struct batch *b, struct batch_marker *out)
{
    struct record_iter it;
    struct record r;
    bool got;
    if (!(b->attributes & BATCH_CONTROL) || (b->attributes & 7) || records_begin(&it, b, NULL, 0, NULL) ||
        records_next(&it, &r, &got, NULL) || !got)
        return false;
    if (r.key.n < MARKER_KEY || r.value.n < MARKER_VALUE || be16(r.key.p) != 0 || be16(r.key.p + 2) > MARKER_COMMIT)
        return false;
    *out = (struct batch_marker){be16(r.key.p + 2) == MARKER_COMMIT, (int32_t)be32(r.value.p + 2)};
    return true;
}

enum err batch_marker_put(struct buf *out, int64_t producer_id, int16_t epoch, struct batch_marker m, int64_t now_ms,
                          struct fault *f)
{
    struct batch_writer w;
    char key[MARKER_KEY] = {0, 0, 0, m.commit ? MARKER_COMMIT : MARKER_ABORT}, value[MARKER_VALUE] = {0};
    uint32_t coordinator = __builtin_bswap32((uint32_t)m.coordinator_epoch);
    memcpy(value + 2, &coordinator, 4);
    batch_begin(&w, out, now_ms, 0);
    w.producer_id = producer_id;
    w.producer_epoch = epoch;
    w.flags = BATCH_TRANSACTIONAL | BATCH_CONTROL;
    batch_record(&w, now_ms, str_make(key, sizeof key), str_make(value, sizeof value), NULL, 0);
    return batch_end(&w, f);
}
