/*
 * What may go: segments whose newest record is older than retention.ms, the oldest ones beyond retention.bytes, and what
 * DeleteRecords names. All three raise the log's start; what lies below it is unlinked. On the background thread:
 *
 *   policies, log_delete_records ─▶ log_start_wanted ─▶ recovery-points, durable ─▶ log_start ─▶ answers ─▶ unlink
 *
 * It needs no room on the disk but that of one small file, and nothing from the journal: it goes on when the disk is full.
 * A reader that holds a segment reads on from its open file.
 *
 * When it looks: at the time when the first segment of some partition expires, but not more often than Kafka does
 * (log.retention.check.interval.ms); when a segment is rolled where retention.bytes is set; when a setting changes. A log
 * whose records never expire is never looked at.
 */
#include "log/log_int.h"

#include <stdio.h>
#include <stdlib.h>

enum { FIRST_MS = 30000 /* Kafka's log.initial.task.delay.ms */ };

/* -- when ------------------------------------------------------------------------------------------------------------- */

void retention_soon(struct log *l)
{
    os_mutex_lock(l->back_lock);
    l->back_retention = l->back_compact = true;
    os_cond_signal(l->back_work);
    os_mutex_unlock(l->back_lock);
}

void compact_soon(struct log *l)
{
    os_mutex_lock(l->back_lock);
    l->back_compact = true;
    os_cond_signal(l->back_work);
    os_mutex_unlock(l->back_lock);
}

void retention_start(struct log *l)
{
    int64_t now_ms = os_now_ms(), first_ms = l->o.retention_check_ms < FIRST_MS ? l->o.retention_check_ms : FIRST_MS;
    os_mutex_lock(l->back_lock);
    if (l->retention_on) {
        l->back_retention = true;
    } else {
        l->retention_looked_ms = now_ms + first_ms - l->o.retention_check_ms;
        l->retention_due_ms = now_ms + first_ms;
    }
    l->retention_on = l->back_compact = true;
    os_cond_signal(l->back_work);
    os_mutex_unlock(l->back_lock);
}

/* Times behind the end of time are "never". */
static int64_t after(int64_t ms, int64_t more_ms)
{
    return ms > INT64_MAX - more_ms ? INT64_MAX : ms + more_ms;
}

/* The first millisecond at which the segment is older than retention.ms. A producer may leave its timestamps out. */
static int64_t expires_ms(const struct log_partition *p, const struct segment *s)
{
    char path[LOG_PATH];
    struct os_stat st;
    int64_t newest_ms = s->max_ts;
    if (newest_ms < 0) {
        snprintf(path, sizeof path, "%s.log", s->path);
        newest_ms = os_stat(path, &st, NULL) ? os_now_ms() : st.mtime_ms;
    }
    return after(after(newest_ms, p->conf.retention_ms), 1);
}

void retention_begins(struct log_partition *p)
{
    struct log *l = p->log;
    if (!p->conf.delete || p->conf.retention_ms < 0)
        return;
    int64_t due_ms = expires_ms(p, p->segments.p[0]);
    os_mutex_lock(l->back_lock);
    int64_t least_ms = after(l->retention_looked_ms, l->o.retention_check_ms);
    due_ms = due_ms > least_ms ? due_ms : least_ms;
    if (due_ms < l->retention_due_ms) {
        l->retention_due_ms = due_ms;
        os_cond_signal(l->back_work);
    }
    os_mutex_unlock(l->back_lock);
}

/* -- what: under the partition's lock ------------------------------------------------------------------------------------ */

static int64_t end_of(const struct log_partition *p, size_t i)
{
    return i + 1 < p->segments.n ? p->segments.p[i + 1]->base_offset : p->log_end;
}

/* How many of the oldest segments are beyond retention.bytes. */
static size_t too_large(const struct log_partition *p)
{
    uint64_t size = 0, limit = (uint64_t)p->conf.retention_bytes;
    size_t n = 0;
    if (p->conf.retention_bytes < 0)
        return 0;
    for (size_t i = 0; i < p->segments.n; i++)
        size += p->segments.p[i]->size;
    while (n < p->segments.n && p->segments.p[n]->size && size >= limit && size - limit >= p->segments.p[n]->size)
        size -= p->segments.p[n++]->size;
    return n;
}

static size_t too_old(const struct log_partition *p, int64_t now_ms)
{
    size_t n = 0;
    while (p->conf.retention_ms >= 0 && n < p->segments.n && p->segments.p[n]->size &&
           expires_ms(p, p->segments.p[n]) <= now_ms)
        n++;
    return n;
}

/* When the first segment that stays expires. */
static int64_t due_of(const struct log_partition *p)
{
    for (size_t i = 0; p->conf.delete &&p->conf.retention_ms >= 0 && i < p->segments.n; i++)
        if (p->segments.p[i]->size && end_of(p, i) > p->log_start_wanted)
            return expires_ms(p, p->segments.p[i]);
    return INT64_MAX;
}

/* Only what is below the high watermark goes; and when all of it goes, the log needs a segment to go on in. */
static enum err apply_policy(struct log_partition *p, int64_t now_ms, struct fault *f)
{
    size_t old = too_old(p, now_ms), large = too_large(p), n = old > large ? old : large;
    while (n && end_of(p, n - 1) > p->high_watermark)
        n--;
    if (!n)
        return ERR_OK;
    int64_t end = end_of(p, n - 1);
    enum err e = n == p->segments.n ? partition_roll(p, f) : ERR_OK;
    if (!e && end > p->log_start_wanted) {
        p->log_start_wanted = end;
        os_log(OS_INFO, "log", "%s: %zu segments are %s, the log begins at %lld", p->name, n,
               old >= large ? "older than retention.ms" : "beyond retention.bytes", (long long)end);
    }
    return e;
}

/* -- segments below the log's start ---------------------------------------------------------------------------------------- */

struct trash {
    VEC(struct segment *) segments;
};

/* Is the snapshot of producers at this offset synced? Without it nothing would know the sequences of what goes. The checkpoint
 * that moved the recovery point here may have come before the segment was rolled. */
static bool has_snapshot(const struct log_partition *p, int64_t offset)
{
    for (size_t i = 0; i < p->snapshots.n; i++)
        if (p->snapshots.p[i] == offset)
            return false;
    return true;
}

/* Take out what lies below both log start and recovery point. True: a checkpoint would let more go. */
static bool take_out(struct log_partition *p, struct trash *t)
{
    size_t n = 0;
    os_mutex_lock(p->lock);
    while (n + 1 < p->segments.n && end_of(p, n) <= p->log_start && end_of(p, n) <= p->recovery_point &&
           has_snapshot(p, end_of(p, n)))
        vec_push(&t->segments, p->segments.p[n++]);
    if (n) {
        memmove(p->segments.p, p->segments.p + n, (p->segments.n - n) * sizeof *p->segments.p);
        p->segments.n -= n;
        for (int i = 0; i < LOG_CACHED_POSITIONS; i++)
            p->cache[i].offset = p->cache[i].offset < p->log_start ? -1 : p->cache[i].offset;
    }
    bool more = !p->failed && !p->deleted && p->segments.n > 1 && end_of(p, 0) <= p->log_start;
    os_mutex_unlock(p->lock);
    STAT_ADD(p->log, segments, -(uint64_t)n);
    return more;
}

/* Unlinks need no sync: recovery does again what was forgotten. */
static void throw_away(struct log_partition *p, struct trash *t)
{
    struct fault f;
    for (size_t i = 0; i < t->segments.n; i++) {
        (void)!segment_hold(t->segments.p[i],
                            NULL); /* for who reads it: else it would be opened by a name that is gone */
        if (segment_unlink_at(p->dir, t->segments.p[i]->base_offset, &f))
            os_log(OS_WARN, "log", "%s: a segment that was deleted stays until the next start: %s", p->name,
                   fault_message(&f));
        segment_release(p, t->segments.p[i]);
    }
    vec_free(&t->segments);
}

static bool trim(struct log_partition **all, size_t n)
{
    bool more = false;
    for (size_t i = 0; i < n; i++) {
        struct trash t = {0};
        more |= take_out(all[i], &t);
        throw_away(all[i], &t);
    }
    return more;
}

/* -- DeleteRecords ----------------------------------------------------------------------------------------------------------- */

enum log_status log_delete_records(struct log_partition *p, int64_t offset,
                                   void (*done)(void *arg, const struct log_append_result *r), void *arg)
{
    struct log *l = p->log;
    enum log_status status = LOG_OK;
    os_mutex_lock(p->lock);
    if (offset == LOG_HIGH_WATERMARK)
        offset = p->high_watermark;
    if (p->deleted)
        status = LOG_UNKNOWN_TOPIC;
    else if (p->failed)
        status = LOG_STORAGE_ERROR;
    else if (p->conf.compact && !p->conf.delete)
        status = LOG_POLICY_VIOLATION;
    else if (offset < 0 || offset > p->high_watermark)
        status = LOG_OFFSET_OUT_OF_RANGE;
    else if (offset > p->log_start_wanted)
        p->log_start_wanted = offset;
    os_mutex_unlock(p->lock);
    if (status)
        return status;
    struct start_waiter w = {p, offset, done, arg};
    os_mutex_lock(l->back_lock);
    if (l->starts.n < LIMIT_LOG_QUEUE && !l->back_stop) {
        partition_ref(p);
        vec_push(&l->starts, w);
        os_cond_signal(l->back_work);
    } else {
        status = LOG_AGAIN;
    }
    os_mutex_unlock(l->back_lock);
    return status;
}

/* Who waited when it was made durable: nobody who came later. The partition's lock is never taken under the thread's:
 * appends take them the other way round. */
static void answer(const struct start_waiter *all, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct log_offsets o = log_partition_offsets(all[i].p);
        struct log_append_result r = {.log_start = o.log_start};
        r.status = o.deleted ? LOG_UNKNOWN_TOPIC : o.log_start < all[i].offset ? LOG_STORAGE_ERROR : LOG_OK;
        all[i].done(all[i].arg, &r);
        log_partition_release(all[i].p);
    }
}

/* -- all of it --------------------------------------------------------------------------------------------------------------- */

static void release_all(struct log_partition **all, size_t n)
{
    for (size_t i = 0; i < n; i++)
        log_partition_release(all[i]);
    free(all);
}

int64_t retention_policies(struct log *l, int64_t now_ms)
{
    struct log_partition **all;
    size_t n = log_all_partitions(l, &all);
    bool complained = false;
    int64_t due_ms = INT64_MAX;
    for (size_t i = 0; i < n; i++) {
        struct log_partition *p = all[i];
        struct fault f;
        enum err e = ERR_OK;
        os_mutex_lock(p->lock);
        if (!p->failed && !p->deleted) {
            if (p->conf.delete)
                e = apply_policy(p, now_ms, &f);
            int64_t due = due_of(p);
            due_ms = due < due_ms ? due : due_ms;
        }
        os_mutex_unlock(p->lock);
        if (e && !complained)
            os_log(OS_ERROR, "log", "%s: retention waits: %s", p->name, fault_message(&f));
        complained |= e != ERR_OK;
    }
    release_all(all, n);
    return due_ms;
}

enum err retention_raise(struct log *l, struct fault *f)
{
    VEC(struct start_waiter) all;
    os_mutex_lock(l->back_lock);
    memcpy(&all, &l->starts, sizeof all);
    memset(&l->starts, 0, sizeof l->starts);
    os_mutex_unlock(l->back_lock);
    enum err e = checkpoint_log_starts(l, f);
    answer(all.p, all.n);
    vec_free(&all);
    return e;
}

enum err retention_trim(struct log *l, struct fault *f)
{
    struct log_partition **all;
    size_t n = log_all_partitions(l, &all);
    enum err e = retention_raise(l, f);
    if (!e && trim(all, n) && !(e = checkpoint(l, false, f)))
        trim(all, n);
    release_all(all, n);
    return e;
}
