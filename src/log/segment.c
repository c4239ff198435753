#include "log/log_int.h"

#include <stdio.h>

/*
 * Formats (Kafka's): .log is the batches, one after another. .index has 8-byte entries: i32 offset relative to the base
 * (the last offset of a batch), i32 position of that batch. .timeindex has 12-byte entries: i64 largest timestamp so far,
 * i32 relative last offset of the batch that has it. All big-endian. An entry is made for the first batch after every
 * 4096 bytes; rolling adds a last time entry. .txnindex: txnindex.c. Files are never preallocated: a zero tail is damage to Kafka's tools.
 */
enum { INDEX_ENTRY = 8, TIME_ENTRY = 12, RESERVE_LEAST = 64 << 10, RESERVE_MOST = 8 << 20 };

static void file_name(const struct segment *s, const char *ext, char out[LOG_PATH])
{
    snprintf(out, LOG_PATH, "%s%s", s->path, ext);
}

/* The indexes of a new segment: stale ones of a segment that was cut away must not speak for this one. */
static enum err fresh_indexes(const struct segment *s, struct fault *f)
{
    static const char *const EXT[] = {".index", ".timeindex"};
    char path[LOG_PATH];
    enum err e = ERR_OK;
    for (int i = 0; !e && i < 2; i++) {
        struct os_file *file = NULL;
        file_name(s, EXT[i], path);
        e = os_open(&file, path, OS_RDWR | OS_CREATE | OS_TRUNC, f);
        os_close(file);
    }
    file_name(s, ".txnindex", path);
    if (!e && (e = os_unlink(path, f)) == ERR_NOTFOUND)
        e = ERR_OK;
    return e;
}

static enum err open_as(struct segment **out, struct files *files, const char *dir, int64_t base_offset, bool create,
                        bool cleaned, struct fault *f)
{
    size_t n = strlen(dir) + 48;
    struct segment *s = calloc(1, sizeof *s + n);
    if (!s)
        return FAULT(f, ERR_NOMEM, {"what", "a segment"});
    snprintf(s->path, n, "%s/%020lld%s", dir, (long long)base_offset, cleaned ? SEGMENT_CLEANED : "");
    s->cleaned = cleaned;
    s->files = files;
    s->refs = 1;
    s->base_offset = base_offset;
    s->max_ts = s->max_ts_offset = s->first_ts = s->made_ms = -1;
    char path[LOG_PATH];
    struct os_stat st = {0};
    file_name(s, ".log", path);
    enum err e = create ? segment_create_file(s, f) : os_stat(path, &st, f);
    if (!e && create)
        e = fresh_indexes(s, f);
    s->size = st.size;
    if (e) {
        file_name(s, ".log", path);
        if (create && s->file && os_unlink(path, NULL)) /* a start would take it for a closed segment */
            os_log(OS_WARN, "log", "%s stays behind", path);
        segment_free(s);
        return e;
    }
    s->reserved = s->size;
    *out = s;
    return ERR_OK;
}

enum err segment_open(struct segment **out, struct files *files, const char *dir, int64_t base_offset, bool create,
                      struct fault *f)
{
    return open_as(out, files, dir, base_offset, create, false, f);
}

enum err segment_create_cleaned(struct segment **out, struct files *files, const char *dir, int64_t base_offset,
                                struct fault *f)
{
    return open_as(out, files, dir, base_offset, true, true, f);
}

void segment_free(struct segment *s)
{
    segment_close_file(s);
    vec_free(&s->index);
    vec_free(&s->times);
    vec_free(&s->aborted);
    free(s);
}

/* Space is taken before the acknowledgement, a piece at a time: a full disk afterwards would be loss. */
static enum err reserve(struct segment *s, size_t n, struct fault *f)
{
    if (s->size + n <= s->reserved)
        return ERR_OK;
    uint64_t piece = s->size / 4;
    piece = piece < RESERVE_LEAST ? RESERVE_LEAST : piece > RESERVE_MOST ? RESERVE_MOST : piece;
    uint64_t end = s->size + (n > piece ? n : piece);
    enum err e = segment_reserve(s, s->size, end - s->size, f);
    if (e == ERR_NOSPACE) { /* near the end of the disk: only what is needed */
        end = s->size + n;
        e = segment_reserve(s, s->size, n, f);
    }
    if (!e)
        s->reserved = end;
    return e;
}

enum err segment_write(struct segment *s, const char *p, size_t n, struct fault *f)
{
    enum err e = reserve(s, n, f);
    if (!e)
        e = segment_pwrite(s, p, n, s->size, f);
    if (e) {
        if (segment_truncate(s, s->size, NULL))
            os_log(OS_ERROR, "log", "%s.log: a failed write could not be undone", s->path);
        s->reserved = s->size;
        return e;
    }
    s->size += n;
    s->dirty = true;
    return ERR_OK;
}

static void time_push(struct segment *s)
{
    struct time_entry t = {s->max_ts, (uint32_t)(s->max_ts_offset - s->base_offset)};
    if (s->max_ts_offset >= 0 && (!s->times.n || t.timestamp_ms > s->times.p[s->times.n - 1].timestamp_ms))
        vec_push(&s->times, t);
}

void segment_note(struct segment *s, const struct batch *b, uint64_t position)
{
    int64_t last = b->base_offset + b->last_offset_delta;
    if (b->count && (s->max_ts_offset < 0 || b->max_timestamp > s->max_ts)) { /* an empty one has no record of it */
        s->max_ts = b->max_timestamp;
        s->max_ts_offset = last;
    }
    if (position == 0)
        s->first_ts = b->max_timestamp;
    if (s->since_index > LOG_INDEX_EVERY) {
        struct index_entry entry = {(uint32_t)(last - s->base_offset), (uint32_t)position};
        vec_push(&s->index, entry);
        time_push(s);
        s->since_index = 0;
    }
    s->since_index += b->all.n;
}

/* Append bytes at `at` of NNN.ext, which is cut there first when it is longer. */
static enum err append_file(const struct segment *s, const char *ext, const struct buf *b, uint64_t at, bool sync,
                            struct fault *f)
{
    char path[LOG_PATH];
    struct os_file *file;
    uint64_t size;
    file_name(s, ext, path);
    enum err e = os_open(&file, path, OS_RDWR | OS_CREATE, f);
    if (e)
        return e;
    e = os_size(file, &size, f);
    if (!e && size > at)
        e = os_truncate(file, at, f);
    if (!e && b->n)
        e = os_pwrite(file, b->p, b->n, at, f);
    if (!e && sync)
        e = os_sync(file, "segment.index", f);
    os_close(file);
    return e;
}

enum err segment_flush_index(struct segment *s, bool last, struct fault *f)
{
    struct buf b = {0};
    enum err e = ERR_OK;
    if (last)
        time_push(s);
    for (size_t i = s->index_written; i < s->index.n; i++) {
        buf_u32be(&b, s->index.p[i].offset);
        buf_u32be(&b, s->index.p[i].position);
    }
    if (b.n || last)
        e = append_file(s, ".index", &b, s->index_written * INDEX_ENTRY, false, f);
    if (!e)
        s->index_written = s->index.n;
    buf_clear(&b);
    for (size_t i = s->times_written; i < s->times.n; i++) {
        buf_u64be(&b, (uint64_t)s->times.p[i].timestamp_ms);
        buf_u32be(&b, s->times.p[i].offset);
    }
    if (!e && (b.n || last))
        e = append_file(s, ".timeindex", &b, s->times_written * TIME_ENTRY, false, f);
    if (!e)
        s->times_written = s->times.n;
    buf_free(&b);
    return e;
}

enum err segment_sync_index(struct segment *s, struct fault *f)
{
    struct buf none = {0};
    enum err e = append_file(s, ".index", &none, UINT64_MAX, true, f);
    return e ? e : append_file(s, ".timeindex", &none, UINT64_MAX, true, f);
}

/* A whole index file, malloc'ed; a trailing part of an entry is not counted. */
static enum err load(const struct segment *s, const char *ext, size_t entry, char **p, size_t *n, struct fault *f)
{
    char path[LOG_PATH];
    size_t size;
    file_name(s, ext, path);
    enum err e = os_read_file(path, (size_t)1 << 28, p, &size, f);
    if (e == ERR_NOTFOUND) {
        *p = NULL;
        *n = 0;
        return ERR_OK;
    }
    *n = e ? 0 : size / entry;
    return e;
}

static struct index_entry index_at(const char *p, size_t i)
{
    return (struct index_entry){get_u32be(p + i * INDEX_ENTRY), get_u32be(p + i * INDEX_ENTRY + 4)};
}

static struct time_entry time_at(const char *p, size_t i)
{
    return (struct time_entry){(int64_t)get_u64be(p + i * TIME_ENTRY), get_u32be(p + i * TIME_ENTRY + 8)};
}

void segment_drop_index(struct segment *s)
{
    s->index.n = s->times.n = s->index_written = s->times_written = 0;
    s->max_ts = s->max_ts_offset = -1;
    s->since_index = 0;
}

static void load_offsets(struct segment *s, const struct mark *m, const char *p, size_t n)
{
    uint32_t end = (uint32_t)(m->offset - s->base_offset);
    for (size_t i = 0; i < n && i < m->index_n; i++) {
        struct index_entry x = index_at(p, i), last = s->index.n ? s->index.p[s->index.n - 1] : (struct index_entry){0};
        if (x.offset <= last.offset || x.position <= last.position || x.offset >= end || x.position >= m->position)
            return;
        vec_push(&s->index, x);
    }
}

static void load_times(struct segment *s, const struct mark *m, const char *p, size_t n)
{
    uint32_t end = (uint32_t)(m->offset - s->base_offset);
    for (size_t i = 0; i < n && i < m->times_n; i++) {
        struct time_entry x = time_at(p, i);
        const struct time_entry *last = s->times.n ? &s->times.p[s->times.n - 1] : NULL;
        if (x.offset >= end || (last && (x.timestamp_ms <= last->timestamp_ms || x.offset <= last->offset)))
            return;
        vec_push(&s->times, x);
    }
}

enum err segment_load_index(struct segment *s, const struct mark *m, bool *holds, struct fault *f)
{
    char *p;
    size_t n;
    enum err e = load(s, ".index", INDEX_ENTRY, &p, &n, f);
    if (e)
        return e;
    load_offsets(s, m, p, n);
    free(p);
    if ((e = load(s, ".timeindex", TIME_ENTRY, &p, &n, f)))
        return e;
    load_times(s, m, p, n);
    free(p);
    s->index_written = s->index.n;
    s->times_written = s->times.n;
    *holds = s->index.n == m->index_n && s->times.n == m->times_n;
    if (s->times.n) {
        s->max_ts = s->times.p[s->times.n - 1].timestamp_ms;
        s->max_ts_offset = s->base_offset + s->times.p[s->times.n - 1].offset;
    }
    s->since_index = m->position - (s->index.n ? s->index.p[s->index.n - 1].position : 0);
    return ERR_OK;
}

uint64_t segment_index_bytes(const struct segment *s)
{
    uint64_t index = s->index.n * INDEX_ENTRY, times = s->times.n * TIME_ENTRY;
    return index > times ? index : times;
}

enum err segment_load_first_ts(struct segment *s, struct fault *f)
{
    char header[BATCH_HEADER];
    size_t got;
    enum err e = segment_pread(s, header, sizeof header, 0, false, &got, f);
    if (!e)
        s->first_ts = got == sizeof header ? (int64_t)get_u64be(header + 35) /* maxTimestamp: batch.h */ : -1;
    return e;
}

enum err segment_load_max_ts(struct segment *s, struct fault *f)
{
    char path[LOG_PATH], last[TIME_ENTRY];
    struct os_file *file;
    uint64_t size;
    size_t got = 0;
    file_name(s, ".timeindex", path);
    enum err e = os_open(&file, path, OS_RDONLY, f);
    if (e)
        return e;
    e = os_size(file, &size, f);
    if (!e && size >= TIME_ENTRY)
        e = os_pread(file, last, TIME_ENTRY, size / TIME_ENTRY * TIME_ENTRY - TIME_ENTRY, &got, f);
    os_close(file);
    if (!e && got == TIME_ENTRY) {
        s->max_ts = time_at(last, 0).timestamp_ms;
        s->max_ts_offset = s->base_offset + time_at(last, 0).offset;
    }
    return e;
}

/*
 * An index that was damaged at rest must not hide records: the batch that an entry names ends at the entry's offset. Where
 * it does not, the segment is walked from its beginning.
 */
CHECK static enum err doubt_index(struct segment *s, int64_t last_offset, uint64_t *position, struct fault *f)
{
    char head[BATCH_HEADER];
    size_t got;
    if (!*position)
        return ERR_OK;
    enum err e = segment_pread(s, head, sizeof head, *position, false, &got, f);
    if (e)
        return e;
    if (got == sizeof head && (int64_t)get_u64be(head) + (int32_t)get_u32be(head + 23) == last_offset)
        return ERR_OK;
    os_log(OS_ERROR, "log", "%s.index is damaged: reading without it", s->path);
    *position = 0;
    return ERR_OK;
}

enum err segment_position(struct segment *s, int64_t offset, uint64_t *position, struct fault *f)
{
    char *p = NULL;
    size_t n = s->index.n;
    int64_t last_offset = -1;
    *position = 0;
    if (s->closed) {
        enum err e = load(s, ".index", INDEX_ENTRY, &p, &n, f);
        if (e)
            return e;
    }
    size_t lo = 0; /* entries below lo are at or before the offset */
    while (lo < n) {
        size_t mid = lo + (n - lo) / 2;
        struct index_entry entry = p ? index_at(p, mid) : s->index.p[mid];
        if (s->base_offset + entry.offset <= offset) {
            *position = entry.position;
            last_offset = s->base_offset + entry.offset;
            lo = mid + 1;
        } else {
            n = mid;
        }
    }
    free(p);
    return s->closed ? doubt_index(s, last_offset, position, f) : ERR_OK;
}

enum err segment_time_offset(struct segment *s, int64_t ts_ms, int64_t *offset, struct fault *f)
{
    char *p = NULL;
    size_t n = s->times.n, lo = 0;
    *offset = s->base_offset;
    if (s->closed) {
        enum err e = load(s, ".timeindex", TIME_ENTRY, &p, &n, f);
        if (e)
            return e;
    }
    while (lo < n) {
        size_t mid = lo + (n - lo) / 2;
        struct time_entry entry = p ? time_at(p, mid) : s->times.p[mid];
        if (entry.timestamp_ms < ts_ms) {
            *offset = s->base_offset + entry.offset;
            lo = mid + 1;
        } else {
            n = mid;
        }
    }
    free(p);
    return ERR_OK;
}

enum err segment_unlink_at(const char *dir, int64_t base_offset, struct fault *f)
{
    static const char *const EXT[] = {"log", "index", "timeindex", "txnindex"};
    char path[LOG_PATH];
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%020lld.%s", dir, (long long)base_offset, EXT[i]);
        enum err e = os_unlink(path, f);
        if (e && e != ERR_NOTFOUND)
            return e;
    }
    return ERR_OK;
}
