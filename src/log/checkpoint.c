/*
 * A checkpoint moves the recovery points up to the high watermarks and frees the journal files below them.
 *
 *   1. note each partition's high watermark and the generation of the current journal file
 *   2. sync every segment that was written, the index files up to a mark, every directory that has new files
 *   3. write DIR/recovery-points (atomic replace): from here on recovery begins later
 *   4. the full journal files of older generations may be overwritten
 *
 * A mark takes two steps, as its files speak of the log's end, which is not durable yet: they are written, and become a mark
 * with the first checkpoint that finds the high watermark there.
 */
#include "log/log_int.h"

#include <stdio.h>

enum { SPARE_FILES = 2 };

struct dirty_segment {
    struct segment *s;
    bool aborted; /* its transaction index, too */
};
struct dirty {
    struct log_partition *p;
    VEC(struct dirty_segment) segments;
    VEC(int64_t) snapshots;
    struct segment *marked; /* the segment of a mark that becomes one now, or NULL */
    struct mark mark;
    int64_t high_watermark;
    bool dir, meta;
};

void partition_mark(struct log_partition *p)
{
    struct segment *s = partition_active(p);
    struct fault f;
    bool producers = p->producers.n > 0;
    p->dir_dirty |= !s->index_written || !s->times_written; /* a power cut may have taken their names: made anew now */
    enum err e = segment_flush_index(s, true, &f);
    if (!e && producers)
        e = partition_snapshot(p, p->log_end, &f);
    if (e) {
        os_log(OS_WARN, "log", "%s: the next start may take longer: %s", p->name, fault_message(&f));
        return;
    }
    p->pending = (struct mark){.offset = p->log_end,
                               .position = s->size,
                               .index_n = (uint32_t)s->index_written,
                               .times_n = (uint32_t)s->times_written,
                               .producers = producers};
}

/* Make a mark where there is enough since the last one; take the one that waits when all below it is durable. */
static void note_mark(struct dirty *d, struct log_partition *p)
{
    struct segment *s = partition_active(p);
    uint64_t marked = p->mark.offset > s->base_offset ? p->mark.position : 0;
    if (p->pending.offset < 0 && s->size - marked >= p->log->o.mark_bytes)
        partition_mark(p);
    if (p->pending.offset <= p->mark.offset || p->pending.offset > p->high_watermark)
        return;
    d->mark = p->pending;
    d->marked = s;
    s->refs++;
    p->taking = p->pending.offset;
    p->pending.offset = -1;
}

/* What of the partition must be synced, noted under its lock; the sync itself happens without it. */
static enum err note(struct dirty *d, struct fault *f)
{
    struct log_partition *p = d->p;
    enum err e = ERR_OK;
    os_mutex_lock(p->lock);
    d->high_watermark = p->high_watermark;
    struct segment *active = p->deleted || p->failed ? NULL : partition_active(p);
    if (active && !(e = segment_flush_aborted(active, false, f))) {
        note_mark(d, p);
        for (size_t i = 0; i < p->segments.n; i++) {
            struct segment *s = p->segments.p[i];
            if (!s->dirty && !s->aborted_dirty && !(s->closed && !s->index_synced))
                continue;
            struct dirty_segment x = {s, s->aborted_dirty};
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
    d->p->taking = -1; /* another one will do */
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
        e = segment_sync(s, f);
        if (!e && d->segments.p[i].aborted)
            e = segment_sync_aborted(s, f);
        if (!e && s->closed && !s->index_synced) {
            e = segment_sync_index(s, f);
            s->index_synced = true;
        }
    }
    if (!e && d->marked)
        e = segment_sync_index(d->marked, f);
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
    if (d->marked)
        segment_release(d->p, d->marked);
    for (size_t i = 0; i < d->segments.n; i++)
        segment_release(d->p, d->segments.p[i].s);
    vec_free(&d->segments);
}

static enum err sync_files(struct dirty *d, struct fault *f)
{
    char path[LOG_PATH], text[64];
    struct os_file *file;
    enum err e = sync_segments(d, f);
    if (!e)
        e = sync_snapshots(d, f);
    /* Without it, recovery would take the directory for a deleted topic's. It is written again, not only synced: when a sync
     * failed before this start, its page may be clean in memory and not on the disk. */
    if (!e && d->meta) {
        partition_metadata_text(d->p, text);
        snprintf(path, sizeof path, "%s/partition.metadata", d->p->dir);
        if (!(e = os_open(&file, path, OS_RDWR, f))) {
            e = os_pwrite(file, text, strlen(text), 0, f);
            if (!e)
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

/* What a file of recovery points is to say of all partitions; d NULL: recovery begins where it does already. A partition
 * that failed stays where it was. */
static void collect_points(struct log_partition **all, size_t n, const struct dirty *d, struct recovery_points *out)
{
    for (size_t i = 0; i < n; i++) {
        struct log_partition *p = all[i];
        os_mutex_lock(p->lock);
        bool moves = d && !p->failed;
        struct recovery_point x = {.id = p->topic_id,
                                   .partition = p->number,
                                   .offset = moves ? d[i].high_watermark : p->recovery_point,
                                   .log_start = p->log_start_wanted > p->log_start ? p->log_start_wanted : p->log_start,
                                   .mark = moves && d[i].marked ? d[i].mark : p->mark};
        os_mutex_unlock(p->lock);
        vec_push(&out->points, x);
    }
}

/* They are durable: now they are true. The snapshots of the marks before them are of no use. */
static void move_points(struct log_partition **all, size_t n, const struct dirty *d, const struct recovery_points *r)
{
    for (size_t i = 0; i < n; i++) {
        struct log_partition *p = all[i];
        const struct recovery_point *x = &r->points.p[i];
        os_mutex_lock(p->lock);
        p->recovery_point = x->offset;
        p->log_start = x->log_start;
        if (d && d[i].marked && p->mark.producers && p->mark.offset < x->mark.offset && !p->deleted)
            (void)!producers_unlink(p->dir, p->mark.offset, NULL);
        p->mark = x->mark;
        p->taking = d ? -1 : p->taking;
        os_mutex_unlock(p->lock);
    }
}

enum err checkpoint(struct log *l, bool clean, struct fault *f)
{
    struct log_partition **all;
    struct journal *j = &l->journal;
    struct recovery_points r = {.clean = clean};
    os_mutex_lock(j->lock);
    r.live_gen = j->current.gen;
    r.seq = j->gen_seq;
    if (clean) { /* the committer has stopped: no frame is needed any more */
        r.live_gen++;
        r.seq = j->seq;
    }
    os_mutex_unlock(j->lock);
    size_t n = log_all_partitions(l, &all);
    struct dirty *d = calloc(n + 1, sizeof *d);
    if (!d)
        os_die("out of memory for a checkpoint of %zu partitions", n);
    for (size_t i = 0; i < n; i++)
        d[i].p = all[i];
    enum err e = sync_all(l, d, n, f);
    if (!e) {
        collect_points(all, n, d, &r);
        e = recovery_points_write(l, &r, f);
    }
    if (!e) {
        move_points(all, n, d, &r);
        recycle(l, r.live_gen, r.seq);
    }
    for (size_t i = 0; i < n; i++) {
        release(&d[i]);
        log_partition_release(all[i]);
    }
    vec_free(&r.points);
    free(d);
    free(all);
    return e;
}

enum err checkpoint_log_starts(struct log *l, struct fault *f)
{
    struct log_partition **all;
    size_t n = log_all_partitions(l, &all);
    struct recovery_points r = {.live_gen = l->live_gen, .seq = l->live_seq};
    bool any = false;
    collect_points(all, n, NULL, &r);
    for (size_t i = 0; i < n && !any; i++)
        any = r.points.p[i].log_start > all[i]->log_start; /* which only this thread moves */
    enum err e = any ? recovery_points_write(l, &r, f) : ERR_OK;
    if (!e && any)
        move_points(all, n, NULL, &r);
    for (size_t i = 0; i < n; i++)
        log_partition_release(all[i]);
    vec_free(&r.points);
    free(all);
    return e;
}
