/*
 * A checkpoint moves the recovery points up to the high watermarks and frees the journal files below them.
 *
 *   1. note each partition's high watermark and the generation of the current journal file
 *   2. sync every segment that was written, every directory that has new files
 *   3. write DIR/recovery-points (atomic replace): from here on recovery begins later
 *   4. the full journal files of older generations may be overwritten
 *
 * DIR/recovery-points: u32 magic, u32 CRC of what follows, u32 version, u32 clean, u64 live generation, u64 number of its
 * first frame, u64 count, then per partition 16 bytes topic id, u32 number, u32 0, i64 recovery point, i64 log start.
 */
#include "codec/codec.h"
#include "log/log_int.h"

#include <stdio.h>

enum { POINTS_MAGIC = 0x50525350, POINTS_HEAD = 40, POINTS_ENTRY = 40, POINTS_LIMIT = 256 << 20, SPARE_FILES = 2 };

struct dirty_segment {
    struct segment *s;
    bool aborted; /* its transaction index, too */
};
struct dirty {
    struct log_partition *p;
    VEC(struct dirty_segment) segments;
    VEC(int64_t) snapshots;
    int64_t high_watermark;
    bool dir, meta;
};

/* Write what of the active segment's indexes is in memory only. Offsets can be found again without theirs. */
static enum err flush(struct log_partition *p, struct fault *f)
{
    struct segment *s = partition_active(p);
    if (s->closed)
        return ERR_OK;
    if (segment_flush_index(s, false, NULL))
        os_log(OS_WARN, "log", "%s: the index could not be written", p->name);
    p->dir_dirty = p->dir_dirty || (s->aborted_dirty && !s->aborted_written); /* its file is made now */
    return segment_flush_aborted(s, false, f);
}

/* What of the partition must be synced, noted under its lock; the sync itself happens without it. */
static enum err note(struct dirty *d, struct fault *f)
{
    struct log_partition *p = d->p;
    enum err e = ERR_OK;
    os_mutex_lock(p->lock);
    d->high_watermark = p->high_watermark;
    if (!p->deleted && !p->failed && !(e = flush(p, f))) {
        for (size_t i = 0; i < p->segments.n; i++) {
            struct segment *s = p->segments.p[i];
            if (!s->dirty && !(s->closed && !s->index_synced))
                continue;
            struct dirty_segment x = {s, !s->closed && s->aborted_dirty};
            s->dirty = s->aborted_dirty = false;
            s->refs++;
            vec_push(&d->segments, x);
        }
        memcpy(&d->snapshots, &p->snapshots, sizeof d->snapshots);
        memset(&p->snapshots, 0, sizeof p->snapshots);
        d->dir = p->dir_dirty;
        d->meta = !p->meta_synced;
        p->dir_dirty = false;
        p->meta_synced = true;
    }
    os_mutex_unlock(p->lock);
    return e;
}

/* There will be no checkpoint: what was noted is dirty still. */
static void forget(struct dirty *d)
{
    os_mutex_lock(d->p->lock);
    for (size_t i = 0; i < d->segments.n; i++) {
        struct dirty_segment *x = &d->segments.p[i];
        x->s->dirty = true;
        x->s->aborted_dirty = x->s->aborted_dirty || x->aborted;
    }
    for (size_t i = 0; i < d->snapshots.n; i++)
        vec_push(&d->p->snapshots, d->snapshots.p[i]);
    d->p->dir_dirty = d->p->dir_dirty || d->dir;
    d->p->meta_synced = d->p->meta_synced && !d->meta;
    os_mutex_unlock(d->p->lock);
}

/* Sync what was noted. */
static enum err sync_segments(struct dirty *d, struct fault *f)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < d->segments.n; i++) {
        struct segment *s = d->segments.p[i].s;
        e = os_sync(s->file, "segment.data", f);
        if (!e && d->segments.p[i].aborted)
            e = segment_sync_aborted(s, f);
        if (!e && s->closed && !s->index_synced) {
            e = segment_sync_index(s, f);
            s->index_synced = true;
        }
    }
    return e;
}

/* Once the records are gone nothing else knows their producers' sequences. A later one may have replaced it. */
static enum err sync_snapshots(struct dirty *d, struct fault *f)
{
    char path[LOG_PATH];
    struct os_file *file;
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < d->snapshots.n; i++) {
        snprintf(path, sizeof path, "%s/%020lld.snapshot", d->p->dir, (long long)d->snapshots.p[i]);
        e = os_open(&file, path, OS_RDWR, f);
        if (!e) {
            e = os_sync(file, "segment.snapshot", f);
            os_close(file);
        }
        e = e == ERR_NOTFOUND ? ERR_OK : e;
    }
    return e;
}

static void release(struct dirty *d)
{
    vec_free(&d->snapshots);
    for (size_t i = 0; i < d->segments.n; i++)
        segment_release(d->p, d->segments.p[i].s);
    vec_free(&d->segments);
}

static enum err sync_files(struct dirty *d, struct fault *f)
{
    char path[LOG_PATH];
    struct os_file *file;
    enum err e = sync_segments(d, f);
    if (!e)
        e = sync_snapshots(d, f);
    if (!e && d->meta) { /* without it, recovery would take the directory for a deleted topic's */
        snprintf(path, sizeof path, "%s/partition.metadata", d->p->dir);
        if (!(e = os_open(&file, path, OS_RDWR, f))) {
            e = os_sync(file, "partition.metadata", f);
            os_close(file);
        }
    }
    if (!e && d->dir)
        e = os_sync_dir(d->p->dir, "segment.dir", f);
    return e;
}

static bool is_deleted(struct log_partition *p)
{
    os_mutex_lock(p->lock);
    bool deleted = p->deleted;
    os_mutex_unlock(p->lock);
    return deleted;
}

/* What a file of recovery points is to say of all partitions; d NULL: recovery begins where it does already. */
static struct recovery_point *gather(struct log_partition **all, size_t n, const struct dirty *d)
{
    struct recovery_point *points = calloc(n + 1, sizeof *points);
    if (!points)
        os_die("out of memory for %zu recovery points", n);
    for (size_t i = 0; i < n; i++) {
        struct log_partition *p = all[i];
        os_mutex_lock(p->lock);
        points[i] = (struct recovery_point){
            .id = p->topic_id,
            .partition = p->number,
            .offset = d && !p->failed ? d[i].high_watermark : p->recovery_point,
            .log_start = p->log_start_wanted > p->log_start ? p->log_start_wanted : p->log_start,
        };
        os_mutex_unlock(p->lock);
    }
    return points;
}

/* They are durable: now they are true. */
static void believe(struct log_partition **all, const struct recovery_point *points, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        os_mutex_lock(all[i]->lock);
        all[i]->recovery_point = points[i].offset;
        all[i]->log_start = points[i].log_start;
        os_mutex_unlock(all[i]->lock);
    }
}

static enum err write_points(struct log *l, const struct recovery_point *points, size_t n, uint64_t gen, uint64_t seq,
                             bool clean, struct fault *f)
{
    char path[LOG_PATH];
    struct buf b = {0};
    buf_u32le(&b, POINTS_MAGIC);
    buf_u32le(&b, 0);
    buf_u32le(&b, LOG_FORMAT);
    buf_u32le(&b, clean);
    buf_u64le(&b, gen);
    buf_u64le(&b, seq);
    buf_u64le(&b, n);
    for (size_t i = 0; i < n; i++) {
        buf_put(&b, points[i].id.b, 16);
        buf_u32le(&b, (uint32_t)points[i].partition);
        buf_u32le(&b, 0);
        buf_u64le(&b, (uint64_t)points[i].offset);
        buf_u64le(&b, (uint64_t)points[i].log_start);
    }
    if (b.bad) {
        buf_free(&b);
        return FAULT(f, ERR_NOMEM, {"what", "the recovery points"});
    }
    put_u32le(b.p + 4, crc32c(0, b.p + 8, b.n - 8));
    log_path(l, path, "recovery-points");
    enum err e = os_write_file_atomic(path, buf_view(&b), "recovery-points.file", "recovery-points.dir", f);
    buf_free(&b);
    return e;
}

/* The partitions' directories themselves, when some were made or removed since. */
static enum err sync_data_dir(struct log *l, struct fault *f)
{
    os_mutex_lock(l->topics_lock);
    bool dirty = l->dir_dirty;
    l->dir_dirty = false;
    os_mutex_unlock(l->topics_lock);
    return dirty ? os_sync_dir(l->dir, "data.dir", f) : ERR_OK;
}

/* Files below the live generation become spare; more than a few are removed. */
static void recycle(struct log *l, uint64_t gen, uint64_t seq)
{
    struct journal *j = &l->journal;
    os_mutex_lock(j->lock);
    l->live_gen = gen;
    l->live_seq = seq;
    for (size_t i = 0; i < j->full.n;) {
        struct journal_file file = j->full.p[i];
        if (file.gen >= gen) {
            i++;
            continue;
        }
        j->full.p[i] = j->full.p[--j->full.n];
        if (j->spare.n < SPARE_FILES && file.size >= j->current.size) {
            vec_push(&j->spare, file);
            continue;
        }
        char path[LOG_PATH];
        log_path(l, path, "journal/%02d", file.number);
        os_close(file.file);
        (void)!os_unlink(path, NULL); /* what is left over is recycled or removed at the next start */
    }
    os_cond_broadcast(j->space);
    os_mutex_unlock(j->lock);
}

/* A full disk (what was to be written before) delays; a failed sync is for good, whatever it says. */
static enum err sync_all(struct log *l, struct dirty *d, size_t n, struct fault *f)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < n; i++)
        e = note(&d[i], f);
    if (e) {
        for (size_t i = 0; i < n; i++)
            forget(&d[i]);
        return e;
    }
    for (size_t i = 0; !e && i < n; i++) {
        e = sync_files(&d[i], f);
        if (e && is_deleted(d[i].p)) /* a topic deleted meanwhile takes its files along */
            e = ERR_OK;
    }
    if (!e)
        e = sync_data_dir(l, f);
    return e == ERR_NOSPACE ? ERR_IO : e;
}

enum err checkpoint(struct log *l, bool clean, struct fault *f)
{
    struct log_partition **all;
    struct journal *j = &l->journal;
    os_mutex_lock(j->lock);
    uint64_t gen = j->current.gen, seq = j->gen_seq;
    if (clean) { /* the committer has stopped: no frame is needed any more */
        gen++;
        seq = j->seq;
    }
    os_mutex_unlock(j->lock);
    size_t n = log_all_partitions(l, &all);
    struct dirty *d = calloc(n + 1, sizeof *d);
    if (!d)
        os_die("out of memory for a checkpoint of %zu partitions", n);
    for (size_t i = 0; i < n; i++)
        d[i].p = all[i];
    enum err e = sync_all(l, d, n, f);
    struct recovery_point *points = gather(all, n, d);
    if (!e)
        e = write_points(l, points, n, gen, seq, clean, f);
    if (!e) {
        believe(all, points, n);
        recycle(l, gen, seq);
    }
    free(points);
    for (size_t i = 0; i < n; i++) {
        release(&d[i]);
        log_partition_release(all[i]);
    }
    free(d);
    free(all);
    return e;
}

enum err checkpoint_log_starts(struct log *l, struct fault *f)
{
    struct log_partition **all;
    size_t n = log_all_partitions(l, &all);
    struct recovery_point *points = gather(all, n, NULL);
    bool any = false;
    for (size_t i = 0; i < n && !any; i++)
        any = points[i].log_start > all[i]->log_start; /* which only this thread moves */
    enum err e = any ? write_points(l, points, n, l->live_gen, l->live_seq, false, f) : ERR_OK;
    if (!e && any)
        believe(all, points, n);
    for (size_t i = 0; i < n; i++)
        log_partition_release(all[i]);
    free(points);
    free(all);
    return e;
}

enum err recovery_points_read(struct log *l, struct recovery_points *out, struct fault *f)
{
    char path[LOG_PATH], *p = NULL;
    size_t n = 0;
    *out = (struct recovery_points){0};
    log_path(l, path, "recovery-points");
    enum err e = os_read_file(path, POINTS_LIMIT, &p, &n, f);
    if (e)
        return e == ERR_NOTFOUND ? ERR_OK : e;
    uint64_t count = n >= POINTS_HEAD ? get_u64le(p + 32) : 0;
    if (n < POINTS_HEAD || get_u32le(p) != POINTS_MAGIC || get_u32le(p + 4) != crc32c(0, p + 8, n - 8) ||
        get_u32le(p + 8) > LOG_FORMAT || count != (n - POINTS_HEAD) / POINTS_ENTRY) {
        free(p);
        return FAULT(f, ERR_CORRUPT, {"what", path}, {"detail", "its checksum or length is wrong"});
    }
    out->found = true;
    out->clean = get_u32le(p + 12);
    out->live_gen = get_u64le(p + 16);
    out->seq = get_u64le(p + 24);
    for (const char *at = p + POINTS_HEAD; count--; at += POINTS_ENTRY) {
        struct recovery_point point = {.partition = (int32_t)get_u32le(at + 16),
                                       .offset = (int64_t)get_u64le(at + 24),
                                       .log_start = (int64_t)get_u64le(at + 32)};
        memcpy(point.id.b, at, 16);
        vec_push(&out->points, point);
    }
    free(p);
    return ERR_OK;
}
