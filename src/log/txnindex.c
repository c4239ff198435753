/*
 * NNN.txnindex: Kafka's transaction index, the transactions whose abort markers stand in the segment. There is none
 * without. Entries of 34 bytes, in the order of the markers: i16 version 0, i64 producer id, i64 first offset, i64 last offset
 * (the marker's), i64 last stable offset when the marker was written. All big-endian.
 *
 * A reader that missed an entry would take aborted records for good ones, so a closed segment's file ends in a u32
 * CRC-32C of its entries. Kafka's reader stops before it: it is shorter than an entry.
 */
#include "codec/codec.h"
#include "log/log_int.h"

#include <stdio.h>

enum { ENTRY = 34, SEAL = 4, INDEX_LIMIT = 1 << 30 };

static void index_path(const struct segment *s, char out[LOG_PATH])
{
    snprintf(out, LOG_PATH, "%s.txnindex", s->path);
}

void segment_abort(struct segment *s, const struct aborted *a)
{
    vec_push(&s->aborted, *a);
    s->has_aborted = s->aborted_dirty = true;
}

static void encode(struct buf *b, const struct aborted *a)
{
    buf_u16be(b, 0);
    buf_u64be(b, (uint64_t)a->producer_id);
    buf_u64be(b, (uint64_t)a->first_offset);
    buf_u64be(b, (uint64_t)a->last_offset);
    buf_u64be(b, (uint64_t)a->last_stable);
}

enum err segment_flush_aborted(struct segment *s, bool seal, struct fault *f)
{
    char path[LOG_PATH];
    struct os_file *file;
    struct buf b = {.limit = BUF_ASKED};
    if (!s->has_aborted || (s->aborted_written == s->aborted.n && !seal))
        return ERR_OK;
    size_t from = seal ? 0 : s->aborted_written; /* a seal is over all of them */
    for (size_t i = from; i < s->aborted.n; i++)
        encode(&b, &s->aborted.p[i]);
    if (seal)
        buf_u32be(&b, crc32c(0, b.p, b.n));
    index_path(s, path);
    enum err e =
        b.bad ? FAULT(f, ERR_NOMEM, {"what", "a transaction index"}) : os_open(&file, path, OS_RDWR | OS_CREATE, f);
    if (!e) {
        e = os_pwrite(file, b.p, b.n, from * ENTRY, f);
        if (!e)
            e = os_truncate(file, from * ENTRY + b.n, f);
        os_close(file);
    }
    buf_free(&b);
    if (!e) {
        s->aborted_written = s->aborted.n;
        s->aborted_dirty = true;
    }
    return e;
}

enum err segment_sync_aborted(struct segment *s, struct fault *f)
{
    char path[LOG_PATH];
    struct os_file *file;
    if (!s->has_aborted)
        return ERR_OK;
    index_path(s, path);
    enum err e = os_open(&file, path, OS_RDWR, f);
    if (!e) {
        e = os_sync(file, "segment.txnindex", f);
        os_close(file);
    }
    return e;
}

/* What every entry that was ever written fulfils. */
static bool plausible(const struct segment *s, const char *p, const struct aborted *a, int64_t previous)
{
    return p[0] == 0 && p[1] == 0 && a->producer_id >= 0 && a->first_offset >= 0 && a->first_offset < a->last_offset &&
           a->last_offset >= s->base_offset && a->last_offset > previous && a->last_stable >= 0 &&
           a->last_stable <= a->last_offset + 1;
}

static enum err decode(const struct segment *s, const char *p, size_t n, int64_t limit, struct aborted *to, size_t *got)
{
    int64_t previous = -1;
    for (const char *end = p + n; end - p >= ENTRY; p += ENTRY) {
        struct aborted a = {(int64_t)get_u64be(p + 2), (int64_t)get_u64be(p + 10), (int64_t)get_u64be(p + 18),
                            (int64_t)get_u64be(p + 26)};
        if (a.last_offset >= limit) /* its marker was cut away, or is in the journal; what follows, too */
            return ERR_OK;
        if (!plausible(s, p, &a, previous))
            return ERR_CORRUPT;
        previous = a.last_offset;
        to[(*got)++] = a;
    }
    return ERR_OK;
}

enum err segment_read_aborted(const struct segment *s, bool sealed, int64_t limit, struct aborted **out, size_t *n,
                              struct fault *f)
{
    char path[LOG_PATH], *p;
    size_t size;
    *out = NULL;
    *n = 0;
    index_path(s, path);
    enum err e = os_read_file(path, INDEX_LIMIT, &p, &size, f);
    if (e)
        return e;
    bool good = !sealed || (size % ENTRY == SEAL && get_u32be(p + size - SEAL) == crc32c(0, p, size - SEAL));
    if (!(*out = malloc((size / ENTRY + 1) * sizeof **out)))
        e = FAULT(f, ERR_NOMEM, {"what", "a transaction index"});
    else if (!good || decode(s, p, size, limit, *out, n))
        e = FAULT(f, ERR_CORRUPT, {"what", path}, {"detail", "its entries are not what was written"});
    free(p);
    if (e) {
        free(*out);
        *out = NULL;
        *n = 0;
    }
    return e;
}

enum err segment_load_aborted(struct segment *s, int64_t limit, struct fault *f)
{
    struct aborted *p;
    size_t n;
    char path[LOG_PATH];
    struct os_file *file;
    enum err e = segment_read_aborted(s, false, limit, &p, &n, f);
    if (e)
        return e;
    for (size_t i = 0; i < n; i++)
        vec_push(&s->aborted, p[i]);
    free(p);
    s->aborted_written = n;
    index_path(s, path);
    if ((e = os_open(&file, path, OS_RDWR, f)))
        return e;
    uint64_t size;
    e = os_size(file, &size, f);
    if (!e && size > n * ENTRY)
        e = os_truncate(file, n * ENTRY, f);
    os_close(file);
    if (size > n * ENTRY) /* a checkpoint makes the cut durable before it moves the recovery point */
        s->dirty = s->aborted_dirty = true;
    return e;
}
