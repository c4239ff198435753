/*
 * Reading: counted slices of whole batches below the high watermark.
 *
 * Buffers come in powers of two from 4 KiB to 1 MiB and go back to a small pool; larger ones are made and freed. The CRC is
 * the reader's to check, once: it walks the records anyway.
 */
#include "log/log_int.h"

#include <stdio.h>

enum { CLASSES = 9, CLASS_LEAST = 4 << 10, CLASS_KEEP = 8 };

struct log_slice {
    int refs;  /* atomic */
    int class; /* -1: not pooled */
    size_t cap;
    const char *from; /* what the reader sees */
    size_t n;
    struct log_slice *next;
    char bytes[];
};

static struct log_slice *pool[CLASSES][CLASS_KEEP];

static struct log_slice *slice_new(size_t need)
{
    int class = 0;
    size_t cap = CLASS_LEAST;
    for (; cap < need && class < CLASSES; class ++)
        cap *= 2;
    struct log_slice *s = NULL;
    for (int i = 0; class < CLASSES && i < CLASS_KEEP && !s; i++)
        s = __atomic_exchange_n(&pool[class][i], NULL, __ATOMIC_ACQ_REL);
    if (!s) {
        if (class == CLASSES)
            cap = need;
        if (!(s = malloc(sizeof *s + cap)))
            return NULL;
        s->class = class < CLASSES ? class : -1;
        s->cap = cap;
    }
    s->refs = 1;
    s->from = s->bytes;
    s->n = 0;
    return s;
}

void log_slice_ref(struct log_slice *s)
{
    __atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
}

void log_slice_release(struct log_slice *s)
{
    if (!s || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL))
        return;
    for (int i = 0; s->class >= 0 && i < CLASS_KEEP; i++) {
        struct log_slice *none = NULL;
        if (__atomic_compare_exchange_n(&pool[s->class][i], &none, s, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            return;
    }
    free(s);
}

struct str log_slice_bytes(const struct log_slice *s)
{
    return str_make(s->from, s->n);
}

/* Where to read: a segment (with a reference) and a position at or before the batch that holds the offset. */
struct place {
    struct segment *segment;
    int64_t offset, end; /* wanted; the high watermark, or the last stable offset */
    uint64_t position, size;
    int64_t next_base; /* base offset of the next segment, or -1 */
    bool known;        /* the position is right; else the index is to be asked */
};

static struct segment *holder(struct log_partition *p, int64_t offset, int64_t *next_base)
{
    size_t lo = 0, hi = p->segments.n;
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        if (p->segments.p[mid]->base_offset <= offset)
            lo = mid;
        else
            hi = mid;
    }
    *next_base = hi < p->segments.n ? p->segments.p[hi]->base_offset : -1;
    return p->segments.p[lo];
}

static enum log_status find_place(struct log_partition *p, int64_t offset, unsigned flags, struct place *at)
{
    enum log_status status = LOG_OK;
    *at = (struct place){.offset = offset};
    os_mutex_lock(p->lock);
    at->end = flags & LOG_READ_COMMITTED ? partition_last_stable(p) : p->high_watermark;
    if (p->deleted)
        status = LOG_UNKNOWN_TOPIC;
    else if (offset < p->log_start || offset > p->log_end)
        status = p->failed ? LOG_STORAGE_ERROR : LOG_OFFSET_OUT_OF_RANGE;
    else if (offset < at->end && p->segments.n) {
        struct segment *s = at->segment = holder(p, offset, &at->next_base);
        s->refs++;
        at->size = s->size;
        for (int i = 0; i < LOG_CACHED_POSITIONS && !at->known; i++)
            if (p->cache[i].offset == offset && p->cache[i].segment == s->base_offset) {
                at->position = p->cache[i].position;
                at->known = true;
            }
        if (!at->known && !s->closed)
            at->known = segment_position(s, offset, &at->position, NULL) == ERR_OK; /* in memory */
    }
    os_mutex_unlock(p->lock);
    return status;
}

/* The next sequential read begins here. */
static void remember(struct log_partition *p, int64_t offset, const struct segment *s, uint64_t position)
{
    os_mutex_lock(p->lock);
    if (!s->gone)
        p->cache[p->cache_at++ % LOG_CACHED_POSITIONS] = (struct position){offset, s->base_offset, position};
    os_mutex_unlock(p->lock);
}

/* The batches in a buffer that was read at at->position: from the one that holds the offset to max_bytes or the end. */
struct cut {
    size_t from, to; /* bytes to hand out */
    size_t need;     /* when nothing fits: the size of the first batch */
    int64_t next;    /* offset after the last one */
    bool bad;
    bool beyond; /* the batch begins behind this buffer, at `from` */
};

static struct cut cut_batches(const char *p, size_t n, const struct place *at, size_t max_bytes)
{
    struct cut c = {.next = -1};
    size_t i = 0;
    while (n - i >= BATCH_HEADER) {
        int64_t base = (int64_t)get_u64be(p + i);
        int32_t length = (int32_t)get_u32be(p + i + 8), delta = (int32_t)get_u32be(p + i + 23);
        size_t size = (size_t)length + BATCH_PREFIX;
        if (length < BATCH_HEADER - BATCH_PREFIX || delta < 0 || base < at->segment->base_offset) {
            c.bad = c.next < 0; /* a reader gets what is whole before the damage */
            return c;
        }
        if (base >= at->end)
            return c;
        if (base + delta < at->offset) {
            i += size;
            c.from = c.to = i;
            if (i >= n)
                break;
            continue;
        }
        if (i + size > n || i + size - c.from > max_bytes) {
            if (c.next < 0)
                c.need = size;
            return c;
        }
        i += size;
        c.to = i;
        c.next = base + delta + 1;
    }
    c.beyond = c.next < 0;
    return c;
}

static enum log_status fill(struct segment *s, struct log_slice *slice, size_t n, uint64_t position, bool nowait,
                            size_t *got)
{
    struct fault f;
    enum err e = segment_pread(s, slice->bytes, n, position, nowait, got, &f);
    if (e == ERR_AGAIN || (nowait && !e && *got < n))
        return LOG_AGAIN;
    if (e && e != ERR_NOTFOUND) /* gone_meanwhile says why */
        os_log(OS_ERROR, "log", "%s", fault_message(&f));
    return e ? LOG_STORAGE_ERROR : LOG_OK;
}

/*
 * A segment's file is opened when it is read, by its name. A topic that was deleted since the offset was found takes the
 * name along, and one made anew may have it: what was read then is nobody's.
 */
static enum log_status gone_meanwhile(struct log_partition *p, int64_t offset, enum log_status status)
{
    os_mutex_lock(p->lock);
    bool deleted = p->deleted, below = offset < p->log_start;
    os_mutex_unlock(p->lock);
    return deleted ? LOG_UNKNOWN_TOPIC : status == LOG_STORAGE_ERROR && below ? LOG_OFFSET_OUT_OF_RANGE : status;
}

/* How much to read, and how much to hand out: both grow to the first batch when that must not be left out. */
struct wish {
    size_t read, limit;
    bool at_least_one, nowait;
};

/* Read one buffer at at->position. *again: the place moved, or the wish grew: call once more. */
static enum log_status read_once(struct log_partition *p, struct place *at, struct wish *w, struct log_slice **out,
                                 bool *again)
{
    struct segment *s = at->segment;
    size_t n = w->read < at->size - at->position ? w->read : (size_t)(at->size - at->position), got = 0;
    struct log_slice *slice = slice_new(n);
    *again = false;
    if (!slice)
        return LOG_AGAIN;
    enum log_status status = fill(s, slice, n, at->position, w->nowait, &got);
    struct cut c = status ? (struct cut){.next = -1} : cut_batches(slice->bytes, got, at, w->limit);
    if (!status && c.next >= 0) {
        slice->from = slice->bytes + c.from;
        slice->n = c.to - c.from;
        remember(p, c.next, s, at->position + c.to);
        STAT_ADD(p->log, read_bytes, slice->n);
        *out = slice;
        return LOG_OK;
    }
    at->position += c.from;
    if (c.beyond && c.from) {
        *again = at->position < at->size;
    } else if (c.need && (c.need <= w->limit || w->at_least_one)) {
        c.bad = c.need > at->size - at->position; /* below the high watermark every batch is whole */
        *again = !c.bad;
        w->read = w->read > c.need ? w->read : c.need;
        w->limit = w->limit > c.need ? w->limit : c.need;
    }
    log_slice_release(slice);
    return status ? status : c.bad ? LOG_CORRUPT_MESSAGE : LOG_OK;
}

/* Another was put in its place while its index was read, which may be that one's. */
static bool is_gone(struct log_partition *p, const struct segment *s)
{
    os_mutex_lock(p->lock);
    bool gone = s->gone;
    os_mutex_unlock(p->lock);
    return gone;
}

static enum log_status read_segment(struct log_partition *p, struct place *at, struct wish *w, struct log_slice **out,
                                    bool *again_elsewhere)
{
    struct fault f;
    if (!at->known && w->nowait)
        return LOG_AGAIN;
    enum err e = at->known ? ERR_OK : segment_position(at->segment, at->offset, &at->position, &f);
    *again_elsewhere = !at->known && is_gone(p, at->segment);
    if (*again_elsewhere)
        return LOG_OK;
    if (e) {
        os_log(OS_ERROR, "log", "%s", fault_message(&f));
        return LOG_STORAGE_ERROR;
    }
    enum log_status status = LOG_OK;
    for (bool again = true; again && !status && at->position < at->size;)
        status = read_once(p, at, w, out, &again);
    return status;
}

enum log_status log_read(struct log_partition *p, int64_t offset, size_t max_bytes, bool at_least_one, unsigned flags,
                         struct log_slice **out)
{
    *out = NULL;
    for (;;) { /* more than one segment only where compaction left none of its offsets */
        struct place at;
        enum log_status status = find_place(p, offset, flags, &at);
        if (status || !at.segment)
            return status;
        struct wish w = {max_bytes < CLASS_LEAST ? CLASS_LEAST : max_bytes, max_bytes, at_least_one,
                         flags & LOG_READ_NOWAIT};
        bool again;
        status = gone_meanwhile(p, offset, read_segment(p, &at, &w, out, &again));
        if (status && *out) {
            log_slice_release(*out);
            *out = NULL;
        }
        bool through = at.position >= at.size;
        segment_release(p, at.segment);
        if (!status && again)
            continue;
        if (status || *out || !through || at.next_base < 0 || at.next_base >= at.end)
            return status;
        offset = at.next_base;
    }
}
