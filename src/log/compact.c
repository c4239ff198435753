/*
 * Compaction: which partition is due, its rounds, and the swap of files. On the background thread, in slices: between two of
 * them checkpoints and log starts have their turn, and it rests as long as it worked.
 *
 * A round rewrites the segments below its end, some small ones into one, and puts the result in their place:
 *
 *   1. NNN.cleaned.log .index .timeindex .txnindex are written and synced, then the directory
 *   2. NNN.cleaned.log becomes NNN.log: from here on the round has happened. The directory is synced
 *   3. the other segments that it replaces are unlinked; the directory is synced
 *   4. the indexes get their names
 *
 * A power cut before 2 leaves the old segments and files named .cleaned, which the next start removes. One behind it leaves a
 * NNN.log that reaches over segments that are still there: they end below its last batch, which therefore is always kept,
 * and go (recover_partition.c). As long as a file named .cleaned is there the start makes NNN's indexes anew. The transaction index
 * needs no such care: the records of which it speaks are gone from the new segment.
 *
 * Only what lies below the recovery point is compacted: the journal and marks know nothing of it. What is in the map and the progress
 * (cleaner-offset-checkpoint, Kafka's format, unsynced) can be lost: a round does again what another has done.
 */
#include "log/compact_int.h"

#include <stdio.h>
#include <stdlib.h>

enum { READ_BYTES = 1 << 20, SLICE_BYTES = 4 << 20, WRITE_BYTES = 1 << 20, SYNC_BYTES = 16 << 20, COMMIT_MS = 100 };

struct compaction {
    struct log *l;
    struct log_partition *p;
    struct partition_conf conf;
    VEC(struct segment *) segments; /* closed, durable and decided; each with a reference */
    VEC(int64_t) ends;
    int64_t first_dirty, end;
    struct cleaner cleaner;
    char *buf;
    size_t cap;
    uint64_t slice;
    int64_t slice_ns;
    bool full; /* the map */
    /* of the group that is written */
    struct segment *into;
    struct buf out;
    int64_t group_end;
    uint64_t unsynced;
    bool changed;
};

/* -- progress ------------------------------------------------------------------------------------------------------------ */

/* "0", the number of lines, then TOPIC PARTITION OFFSET: what lies below the offset is compacted. */
void compact_load(struct log *l)
{
    char path[LOG_PATH], *p = NULL, *save = NULL;
    size_t n;
    log_path(l, path, "cleaner-offset-checkpoint");
    if (os_read_file(path, (size_t)64 << 20, &p, &n, NULL))
        return;
    char *line = strtok_r(p, "\n", &save), name[256];
    for (int i = 0; line; i++, line = strtok_r(NULL, "\n", &save)) {
        int number;
        long long offset;
        if (i < 2 || sscanf(line, "%255s %d %lld", name, &number, &offset) != 3)
            continue;
        struct log_partition *x = log_partition(l, str_of(name), number);
        if (x && offset >= 0 && offset <= x->log_end)
            x->first_dirty = offset;
        log_partition_release(x);
    }
    free(p);
}

static void save_progress(struct log *l)
{
    char path[LOG_PATH];
    struct log_partition **all;
    struct os_file *file;
    struct buf b = {0}, lines = {0};
    size_t n = log_all_partitions(l, &all), count = 0;
    for (size_t i = 0; i < n; i++) {
        struct log_partition *p = all[i];
        size_t name = strlen(p->name);
        while (name && p->name[name - 1] != '-')
            name--;
        if (p->first_dirty > 0) {
            buf_fmt(&lines, "%.*s %d %lld\n", (int)name - 1, p->name, p->number, (long long)p->first_dirty);
            count++;
        }
        log_partition_release(p);
    }
    free(all);
    buf_fmt(&b, "0\n%zu\n", count);
    buf_str(&b, buf_view(&lines));
    log_path(l, path, "cleaner-offset-checkpoint");
    enum err e = b.bad || lines.bad ? ERR_NOMEM : os_open(&file, path, OS_RDWR | OS_CREATE | OS_TRUNC, NULL);
    if (!e) {
        e = os_pwrite(file, b.p, b.n, 0, NULL);
        os_close(file);
    }
    if (e)
        os_log(OS_WARN, "log", "how far compaction has come was not written down");
    buf_free(&b);
    buf_free(&lines);
}

/* -- what is due: under the partition's lock -------------------------------------------------------------------------------- */

static int64_t sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t after(int64_t ms, int64_t more_ms)
{
    return ms > INT64_MAX - more_ms ? INT64_MAX : ms + more_ms;
}

/* How many segments from the first on may be compacted now. What holds the next one back may pass: *due_ms. */
static size_t cleanable(const struct log_partition *p, int64_t now_ms, int64_t *due_ms)
{
    int64_t stable = partition_last_stable(p);
    size_t n = 0;
    for (; n + 1 < p->segments.n; n++) {
        const struct segment *s = p->segments.p[n];
        int64_t end = p->segments.p[n + 1]->base_offset;
        if (!s->closed || end >= p->high_watermark) { /* what rolled it is on its way to the disk */
            *due_ms = sooner(*due_ms, now_ms + COMMIT_MS);
            break;
        }
        if (end > stable) { /* a transaction is open: nobody tells when it ends */
            *due_ms = sooner(*due_ms, now_ms + LOG_COMPACT_RETRY_MS);
            break;
        }
        if (end > p->first_dirty && p->conf.min_compaction_lag_ms > 0 &&
            after(s->max_ts, p->conf.min_compaction_lag_ms) > now_ms) {
            *due_ms = sooner(*due_ms, after(s->max_ts, p->conf.min_compaction_lag_ms));
            break;
        }
    }
    return n;
}

/* The share of what may be compacted that never was; above 1 when the oldest waited for too long. */
static double dirtiness(struct log_partition *p, size_t n, int64_t now_ms, int64_t *due_ms)
{
    double clean = 0, dirty = 0;
    int64_t wait_ms = INT64_MAX;
    for (size_t i = 0; i < n; i++) {
        struct segment *s = p->segments.p[i];
        if (p->segments.p[i + 1]->base_offset <= p->first_dirty) {
            clean += (double)s->size;
            continue;
        }
        if (!dirty && (s->first_ts != LOG_TS_UNKNOWN || !segment_load_first_ts(s, NULL)))
            wait_ms = after(s->first_ts, p->conf.max_compaction_lag_ms);
        dirty += (double)s->size;
    }
    if (!dirty)
        return 0;
    if (wait_ms <= now_ms)
        return 2;
    *due_ms = sooner(*due_ms, wait_ms);
    double ratio = dirty / (clean + dirty);
    return ratio > p->conf.min_cleanable_ratio ? ratio : 0;
}

/* The dirtiest partition that is due, with a reference, or NULL. */
static struct log_partition *pick(struct log *l, int64_t now_ms, int64_t *due_ms)
{
    struct log_partition **all, *best = NULL;
    size_t n = log_all_partitions(l, &all);
    double most = 0;
    *due_ms = INT64_MAX;
    for (size_t i = 0; i < n; i++) {
        struct log_partition *p = all[i];
        double ratio = 0;
        os_mutex_lock(p->lock);
        if (p->first_dirty < p->log_start)
            p->first_dirty = p->log_start;
        if (p->conf.compact && !p->failed && !p->deleted && !p->uncleanable)
            ratio = dirtiness(p, cleanable(p, now_ms, due_ms), now_ms, due_ms);
        os_mutex_unlock(p->lock);
        if (ratio > most) {
            log_partition_release(best);
            best = p;
            most = ratio;
        } else {
            log_partition_release(p);
        }
    }
    free(all);
    return best;
}

/* -- reading --------------------------------------------------------------------------------------------------------------- */

/* True: go on. Between slices the thread's other work is done, and the disk is left to others. */
static bool rest(struct compaction *c, size_t n)
{
    c->slice += n;
    if (c->slice < SLICE_BYTES)
        return true;
    int64_t worked_ns = os_mono_ns() - c->slice_ns;
    bool go_on = log_back_breathe(c->l, worked_ns);
    c->slice = 0;
    c->slice_ns = os_mono_ns();
    return go_on;
}

static enum err unreadable(const struct segment *s, uint64_t at, struct fault *f)
{
    char detail[64];
    snprintf(detail, sizeof detail, "a damaged batch at byte %llu", (unsigned long long)at);
    return FAULT(f, ERR_CORRUPT, {"what", s->path}, {"detail", detail});
}

/* Call fn for each batch of a segment; it ends the walk with *stop. ERR_AGAIN: the log closes. */
static enum err walk(struct compaction *c, struct segment *s,
                     enum err (*fn)(struct compaction *c, const struct batch *b, bool *stop, struct fault *f),
                     struct fault *f)
{
    bool stop = false;
    enum err e = ERR_OK;
    for (uint64_t at = 0; !e && !stop && at < s->size;) {
        struct batch b;
        size_t got, took = 0;
        if ((e = segment_pread(s, c->buf, c->cap, at, false, &got, f)))
            break;
        while (!e && !stop && !batch_parse(str_make(c->buf + took, got - took), &b, NULL)) {
            if (!batch_crc_ok(&b))
                return unreadable(s, at + took, f);
            took += b.all.n;
            e = fn(c, &b, &stop, f);
        }
        if (!took && got >= BATCH_HEADER && !batch_parse_header(str_make(c->buf, got), &b, NULL) && b.all.n > c->cap &&
            b.all.n <= s->size - at) {
            free(c->buf);
            c->cap = b.all.n;
            if (!(c->buf = malloc(c->cap)))
                return FAULT(f, ERR_NOMEM, {"what", "compaction"});
        } else if (!took && !stop) {
            return unreadable(s, at, f);
        }
        at += took;
        if (!e && !rest(c, got))
            e = FAULT(f, ERR_AGAIN, {"what", "compaction"});
    }
    return e;
}

/* -- a round ----------------------------------------------------------------------------------------------------------------- */

static int by_first_offset(const void *a, const void *b)
{
    const struct aborted *x = a, *y = b;
    return (x->first_offset > y->first_offset) - (x->first_offset < y->first_offset);
}

static int by_producer(const void *a, const void *b)
{
    const struct last_batch *x = a, *y = b;
    return (x->producer_id > y->producer_id) - (x->producer_id < y->producer_id);
}

/* The aborted transactions that reach below the end, wherever their markers are. */
static enum err load_aborted(struct compaction *c, struct fault *f)
{
    struct log_partition *p = c->p;
    VEC(struct aborted) all = {0};
    enum err e = ERR_OK;
    for (int64_t base = 0; !e && base >= 0;) {
        os_mutex_lock(p->lock);
        struct segment *s = NULL;
        for (size_t i = 0; i < p->segments.n && !s; i++)
            s = p->segments.p[i]->base_offset >= base ? p->segments.p[i] : NULL;
        for (size_t i = 0; s && !s->closed && i < s->aborted.n; i++)
            vec_push(&all, s->aborted.p[i]);
        bool file = s && s->closed && s->has_aborted;
        if (file)
            s->refs++;
        base = s ? s->base_offset + 1 : -1;
        os_mutex_unlock(p->lock);
        struct aborted *more = NULL;
        size_t n = 0;
        if (file) {
            e = segment_read_aborted(s, true, INT64_MAX, &more, &n, f);
            segment_release(p, s);
        }
        for (size_t i = 0; i < n; i++)
            vec_push(&all, more[i]);
        free(more);
    }
    if (all.n)
        qsort(all.p, all.n, sizeof *all.p, by_first_offset);
    c->cleaner.aborted = all.p;
    c->cleaner.naborted = all.n;
    return e;
}

/* Under the lock: what the round is about. False: nothing. */
static bool begin(struct compaction *c)
{
    struct log_partition *p = c->p;
    int64_t due_ms = INT64_MAX;
    size_t n = p->deleted || p->failed ? 0 : cleanable(p, c->cleaner.now_ms, &due_ms);
    c->conf = p->conf;
    c->first_dirty = p->first_dirty;
    for (size_t i = 0; i < n && p->segments.p[i + 1]->base_offset < p->recovery_point && p->segments.p[i]->index_synced;
         i++) { /* strictly below: recovery goes on in the segment that ends at the recovery point */
        p->segments.p[i]->refs++;
        vec_push(&c->segments, p->segments.p[i]);
        vec_push(&c->ends, p->segments.p[i + 1]->base_offset);
    }
    const struct producers *t = &p->producers;
    c->cleaner.last = calloc(t->n + 1, sizeof *c->cleaner.last);
    for (size_t i = 0; c->cleaner.last && i < t->cap; i++)
        if (t->slots[i].id >= 0)
            c->cleaner.last[c->cleaner.nlast++] = (struct last_batch){
                t->slots[i].id, t->slots[i].n ? t->slots[i].batch[t->slots[i].n - 1].last_offset : -1,
                t->slots[i].epoch};
    return c->segments.n && c->cleaner.last && c->ends.p[c->ends.n - 1] > c->first_dirty;
}

static enum err note_batch(struct compaction *c, const struct batch *b, bool *stop, struct fault *f)
{
    enum err e = cleaner_note(&c->cleaner, b, c->first_dirty, stop, f);
    c->full = *stop;
    return e;
}

/* The keys of what is dirty, until the map is full. c->end: where the round ends. */
static enum err fill_map(struct compaction *c, struct fault *f)
{
    enum err e = ERR_OK;
    c->cleaner.latest = c->first_dirty - 1;
    txn_state_reset(&c->cleaner.txns, c->cleaner.naborted);
    for (size_t i = 0; !e && !c->full && i < c->segments.n; i++)
        if (c->ends.p[i] > c->first_dirty)
            e = walk(c, c->segments.p[i], note_batch, f);
    c->end = c->cleaner.latest + 1;
    if (!e && c->end <= c->first_dirty)
        e = FAULT(f, ERR_LIMIT, {"what", "The number of keys in one batch"}, {"limit", "that of compaction's map"});
    return e;
}

/* -- a group of segments becomes one ---------------------------------------------------------------------------------------- */

static enum err write_out(struct compaction *c, struct fault *f)
{
    struct segment *s = c->into;
    struct batch b;
    uint64_t from = s->size;
    if (!c->out.n)
        return ERR_OK;
    enum err e = segment_write(s, c->out.p, c->out.n, f);
    for (size_t at = 0; !e && at < c->out.n; at += b.all.n) {
        if ((e = batch_parse(str_make(c->out.p + at, c->out.n - at), &b, f)))
            break;
        segment_note(s, &b, from + at);
    }
    c->unsynced += c->out.n;
    buf_clear(&c->out);
    if (!e && c->unsynced >= SYNC_BYTES) { /* a little at a time: the journal's syncs wait behind it */
        c->unsynced = 0;
        e = segment_sync(s, f);
    }
    return e;
}

static enum err filter_batch(struct compaction *c, const struct batch *b, bool *stop, struct fault *f)
{
    (void)stop;
    int64_t next = batch_end_offset(b);
    enum err e =
        cleaner_filter(&c->cleaner, b, next == c->group_end || next == c->end, c->into, &c->out, &c->changed, f);
    return e || c->out.n < WRITE_BYTES ? e : write_out(c, f);
}

static const char *const EXT[] = {".log", ".index", ".timeindex", ".txnindex"};
enum { NEXT = 4 };

static void cleaned_path(const struct log_partition *p, int64_t base, const char *ext, bool cleaned, char out[LOG_PATH])
{
    snprintf(out, LOG_PATH, "%s/%020lld%s%s", p->dir, (long long)base, cleaned ? SEGMENT_CLEANED : "", ext);
}

static void drop_cleaned(const struct log_partition *p, int64_t base)
{
    char path[LOG_PATH];
    for (int i = 0; i < NEXT; i++) {
        cleaned_path(p, base, EXT[i], true, path);
        (void)!os_unlink(path, NULL); /* the next start looks, too */
    }
}

static enum err rename_cleaned(const struct log_partition *p, int64_t base, int i, struct fault *f)
{
    char from[LOG_PATH], to[LOG_PATH];
    cleaned_path(p, base, EXT[i], true, from);
    cleaned_path(p, base, EXT[i], false, to);
    enum err e = os_rename(from, to, f);
    return e == ERR_NOTFOUND ? ERR_OK : e; /* there is a .txnindex or there is none */
}

/* Everything of the new segment on the disk, under its working names. */
static enum err finish(struct compaction *c, bool had_aborted, struct fault *f)
{
    struct segment *s = c->into;
    s->has_aborted = s->has_aborted || had_aborted; /* an old one must not stay beside the new segment */
    enum err e = write_out(c, f);
    if (!e)
        e = segment_flush_index(s, true, f);
    if (!e)
        e = segment_flush_aborted(s, true, f);
    if (!e)
        e = segment_truncate(s, s->size, f); /* gives back what was reserved */
    if (!e)
        e = segment_sync(s, f);
    if (!e)
        e = segment_sync_index(s, f);
    return e ? e : os_sync_dir(c->p->dir, "compact.dir", f);
}

/* The name moves: what readers find from now on. Under the lock; the old ones stay open for who reads them. */
static enum err replace_locked(struct compaction *c, size_t from, size_t to, struct segment *s, struct fault *f)
{
    struct log_partition *p = c->p;
    enum err e = p->deleted ? ERR_AGAIN : segment_hold(s, f); /* it is between two names for a while */
    for (size_t i = from; !e && i < to; i++)
        e = segment_hold(c->segments.p[i], f);
    if (!e)
        e = rename_cleaned(p, s->base_offset, 0, f);
    if (e)
        return e;
    size_t at = 0;
    while (p->segments.p[at] != c->segments.p[from])
        at++;
    for (size_t i = from; i < to; i++) {
        c->segments.p[i]->gone = true;
        c->segments.p[i]->refs--; /* the partition's; the round has one */
    }
    p->segments.p[at] = s;
    memmove(p->segments.p + at + 1, p->segments.p + at + (to - from), (p->segments.n - at - (to - from)) * sizeof s);
    p->segments.n -= to - from - 1;
    for (int i = 0; i < LOG_CACHED_POSITIONS; i++)
        p->cache[i].offset = -1;
    return ERR_OK;
}

/* Its indexes have their names when readers see it as any other; until then it looks into memory's. */
static enum err name_indexes(struct compaction *c, struct segment *s, struct fault *f)
{
    enum err e = ERR_OK;
    os_mutex_lock(c->p->lock);
    for (int i = 1; !e && i < NEXT && !c->p->deleted; i++)
        e = rename_cleaned(c->p, s->base_offset, i, f);
    s->path[strlen(s->path) - strlen(SEGMENT_CLEANED)] = 0;
    s->cleaned = false;
    s->closed = s->index_synced = true;
    s->dirty = s->aborted_dirty = false;
    segment_unhold(s);
    c->p->dir_dirty = true;
    vec_free(&s->index);
    vec_free(&s->times);
    vec_free(&s->aborted);
    os_mutex_unlock(c->p->lock);
    return e;
}

/* A failure behind the first rename ends the process: memory and disk would go apart. */
static enum err swap(struct compaction *c, size_t from, size_t to, struct fault *f)
{
    struct log_partition *p = c->p;
    struct segment *s = c->into;
    os_mutex_lock(p->lock);
    enum err e = replace_locked(c, from, to, s, f);
    os_mutex_unlock(p->lock);
    if (e)
        return e;
    c->into = NULL;
    e = os_sync_dir(p->dir, "compact.swap", f);
    for (size_t i = from + 1; !e && i < to; i++)
        e = segment_unlink_at(p->dir, c->segments.p[i]->base_offset, f);
    if (!e)
        e = os_sync_dir(p->dir, "compact.done", f);
    if (!e)
        e = name_indexes(c, s, f);
    os_mutex_lock(p->lock);
    bool deleted = p->deleted;
    os_mutex_unlock(p->lock);
    if (e && !deleted)
        os_die("%s: a compaction was broken off, stopping: %s", p->name, fault_message(f));
    STAT_ADD(c->l, segments, -(uint64_t)(to - from - 1));
    return ERR_OK;
}

static enum err clean_group(struct compaction *c, size_t from, size_t to, struct fault *f)
{
    int64_t base = c->segments.p[from]->base_offset;
    bool had_aborted = false;
    c->changed = to - from > 1;
    c->unsynced = 0;
    buf_clear(&c->out);
    c->group_end = c->ends.p[to - 1];
    enum err e = segment_create_cleaned(&c->into, &c->l->files, c->p->dir, base, f);
    for (size_t i = from; !e && i < to; i++) {
        had_aborted |= c->segments.p[i]->has_aborted;
        e = walk(c, c->segments.p[i], filter_batch, f);
    }
    bool swaps = !e && (c->changed || had_aborted != c->into->has_aborted);
    if (swaps)
        e = finish(c, had_aborted, f);
    if (!e && swaps)
        e = swap(c, from, to, f);
    if (c->into) {
        segment_free(c->into);
        c->into = NULL;
        drop_cleaned(c->p, base);
    }
    return e;
}

/* The end of a group that begins at `from`: as many as fit into one segment. */
static size_t group_of(const struct compaction *c, size_t from)
{
    uint64_t size = c->segments.p[from]->size;
    size_t to = from + 1;
    for (; to < c->segments.n && c->segments.p[to]->base_offset < c->end; to++) {
        size += c->segments.p[to]->size;
        if (size > c->conf.segment_bytes || c->ends.p[to] - c->segments.p[from]->base_offset > INT32_MAX ||
            size / LOG_INDEX_EVERY * 12 > c->conf.segment_index_bytes)
            break;
    }
    return to;
}

static enum err clean(struct compaction *c, struct fault *f)
{
    uint64_t before = 0, after_bytes = 0;
    enum err e = ERR_OK;
    txn_state_reset(&c->cleaner.txns, c->cleaner.naborted);
    c->cleaner.removed = 0;
    for (size_t i = 0; !e && i < c->segments.n && c->segments.p[i]->base_offset < c->end;) {
        size_t to = group_of(c, i);
        for (size_t k = i; k < to; k++)
            before += c->segments.p[k]->size;
        e = clean_group(c, i, to, f);
        i = to;
    }
    if (e)
        return e;
    os_mutex_lock(c->p->lock);
    c->p->first_dirty = c->end;
    for (size_t i = 0; i < c->p->segments.n && c->p->segments.p[i]->base_offset < c->end; i++)
        after_bytes += c->p->segments.p[i]->size;
    os_mutex_unlock(c->p->lock);
    os_log(OS_INFO, "log", "%s: compacted up to %lld: %llu records gone, %llu bytes of %llu left", c->p->name,
           (long long)c->end, (unsigned long long)c->cleaner.removed, (unsigned long long)after_bytes,
           (unsigned long long)before);
    save_progress(c->l);
    return ERR_OK;
}

static void end(struct compaction *c)
{
    for (size_t i = 0; i < c->segments.n; i++)
        segment_release(c->p, c->segments.p[i]);
    vec_free(&c->segments);
    vec_free(&c->ends);
    txn_state_free(&c->cleaner.txns);
    keymap_free(&c->cleaner.map);
    vec_free(&c->cleaner.kept);
    free(c->cleaner.aborted);
    free(c->cleaner.last);
    arena_free(c->cleaner.arena);
    buf_free(&c->out);
    free(c->buf);
}

/* One round. ERR_OK too when there was nothing to do after all. */
static enum err compact(struct log *l, struct log_partition *p, int64_t now_ms, struct fault *f)
{
    struct compaction c = {.l = l, .p = p, .cap = READ_BYTES, .buf = malloc(READ_BYTES), .slice_ns = os_mono_ns()};
    uint64_t secret[2];
    os_random(secret, sizeof secret);
    c.cleaner.now_ms = now_ms;
    c.cleaner.arena = arena_new(0);
    enum err e = c.buf && keymap_init(&c.cleaner.map, (size_t)l->o.compact_bytes, secret)
                     ? ERR_OK
                     : FAULT(f, ERR_NOMEM, {"what", "compaction"});
    os_mutex_lock(p->lock);
    bool any = !e && begin(&c);
    os_mutex_unlock(p->lock);
    c.cleaner.delete_retention_ms = c.conf.delete_retention_ms;
    if (c.cleaner.nlast)
        qsort(c.cleaner.last, c.cleaner.nlast, sizeof *c.cleaner.last, by_producer);
    if (any && !(e = load_aborted(&c, f)) && !(e = fill_map(&c, f)))
        e = clean(&c, f);
    if (!e && !any) { /* what is dirty is not below the recovery point yet */
        os_mutex_lock(p->lock);
        p->compact_waits = true;
        os_mutex_unlock(p->lock);
    }
    end(&c);
    return e;
}

int64_t compact_run(struct log *l, int64_t now_ms)
{
    int64_t due_ms = INT64_MAX;
    struct log_partition *p;
    struct fault f;
    int waited = 0;
    while ((p = pick(l, now_ms, &due_ms))) {
        enum err e = compact(l, p, now_ms, &f);
        os_mutex_lock(p->lock);
        bool deleted = p->deleted, waits = p->compact_waits;
        p->compact_waits = false;
        p->uncleanable = e && e != ERR_AGAIN && e != ERR_NOSPACE && !deleted;
        os_mutex_unlock(p->lock);
        if (e && e != ERR_AGAIN && !deleted)
            os_log(OS_ERROR, "log", "%s is not compacted%s: %s", p->name, p->uncleanable ? " any more" : " now",
                   fault_message(&f));
        log_partition_release(p);
        if (e == ERR_AGAIN && !deleted)
            return INT64_MAX; /* the log closes */
        waited = waits ? waited + 1 : 0;
        if (e == ERR_NOSPACE || waited > 1 || (waits && log_run_checkpoint(l)))
            return now_ms + LOG_COMPACT_RETRY_MS;
        if (!log_back_breathe(l, 0))
            break;
        now_ms = os_now_ms();
    }
    return due_ms;
}
