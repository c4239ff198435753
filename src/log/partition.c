#include "log/log_int.h"

#include <stdio.h>
#include <stdlib.h>

struct log_partition *partition_new(struct log *l, struct str topic, struct os_uuid id, int32_t number)
{
    struct log_partition *p = calloc(1, sizeof *p);
    char dir[LOG_PATH];
    log_path(l, dir, "%.*s-%d", STR_ARG(topic), number);
    if (!p || !(p->dir = strdup(dir)))
        os_die("out of memory for a partition");
    p->name = strrchr(p->dir, '/') + 1;
    p->log = l;
    p->refs = 1;
    p->number = number;
    p->mark.offset = p->pending.offset = p->taking = -1;
    p->topic_id = id;
    p->log_start_wanted = -1;
    p->lock = os_mutex_new();
    for (int i = 0; i < LOG_CACHED_POSITIONS; i++)
        p->cache[i].offset = -1;
    return p;
}

void partition_ref(struct log_partition *p)
{
    __atomic_add_fetch(&p->refs, 1, __ATOMIC_RELAXED);
}

void log_partition_ref(struct log_partition *p)
{
    partition_ref(p);
}

int32_t log_partition_number(const struct log_partition *p)
{
    return p->number;
}

void log_partition_release(struct log_partition *p)
{
    if (!p || __atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL))
        return;
    for (size_t i = 0; i < p->segments.n; i++)
        segment_free(p->segments.p[i]);
    vec_free(&p->segments);
    vec_free(&p->snapshots);
    producers_free(&p->producers);
    os_mutex_free(p->lock);
    free(p->dir);
    free(p);
}

/* -- files ------------------------------------------------------------------------------------------------------------ */

static enum err write_small(const char *path, struct str bytes, struct fault *f)
{
    struct os_file *file;
    enum err e = os_open(&file, path, OS_RDWR | OS_CREATE | OS_TRUNC, f);
    if (e)
        return e;
    e = os_pwrite(file, bytes.p, bytes.n, 0, f);
    os_close(file);
    return e;
}

/* Kafka's text of an id: base64url of the 16 bytes without padding. */
void log_id_text(struct os_uuid id, char out[23])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (int i = 0; i < 22; i++) {
        int bit = i * 6, byte = bit / 8, shift = 10 - bit % 8;
        unsigned two = (unsigned)id.b[byte] << 8 | (byte < 15 ? id.b[byte + 1] : 0);
        out[i] = digits[two >> shift & 63];
    }
    out[22] = 0;
}

void partition_metadata_text(const struct log_partition *p, char out[64])
{
    char id[23];
    log_id_text(p->topic_id, id);
    snprintf(out, 64, "version: 0\ntopic_id: %s", id);
}

enum err partition_create_files(struct log_partition *p, struct fault *f)
{
    char path[LOG_PATH], text[64];
    enum err e = os_mkdir(p->dir, f);
    if (e && e != ERR_EXISTS)
        return e;
    partition_metadata_text(p, text);
    snprintf(path, sizeof path, "%s/partition.metadata", p->dir);
    if ((e = write_small(path, str_of(text), f)))
        return e;
    snprintf(path, sizeof path, "%s/leader-epoch-checkpoint", p->dir);
    if ((e = write_small(path, STR("0\n1\n0 0\n"), f)))
        return e;
    struct segment *s;
    if ((e = segment_open(&s, &p->log->files, p->dir, p->log_end, true, f)))
        return e;
    vec_push(&p->segments, s);
    p->dir_dirty = true;
    p->meta_synced = false;
    STAT_ADD(p->log, segments, 1);
    return ERR_OK;
}

struct segment *partition_active(struct log_partition *p)
{
    return p->segments.p[p->segments.n - 1];
}

void segment_release(struct log_partition *p, struct segment *s)
{
    os_mutex_lock(p->lock);
    bool last = --s->refs == 0;
    os_mutex_unlock(p->lock);
    if (last)
        segment_free(s);
}

enum err partition_snapshot(struct log_partition *p, int64_t offset, struct fault *f)
{
    enum err e = producers_save(&p->producers, p->dir, offset, os_now_ms(), f);
    if (!e && p->producers.n)
        vec_push(&p->snapshots, offset);
    p->dir_dirty = true;
    return e;
}

enum err partition_roll(struct log_partition *p, struct fault *f)
{
    struct segment *old = partition_active(p), *s;
    enum err e = segment_flush_index(old, true, f);
    if (!e)
        e = segment_flush_aborted(old, true, f);
    if (e || (e = segment_open(&s, &p->log->files, p->dir, p->log_end, true, f)))
        return e;
    old->closed = true;
    vec_free(&old->index); /* from now on in its file */
    vec_free(&old->times);
    vec_free(&old->aborted);
    if (segment_truncate(old, old->size, NULL)) /* gives back reserved space; only space is lost when it fails */
        os_log(OS_WARN, "log", "%s: reserved space stays taken", p->name);
    vec_push(&p->segments, s);
    p->dir_dirty = true;
    if (p->conf.retention_bytes >= 0)
        retention_soon(p->log);
    if (p->conf.compact)
        compact_soon(p->log);
    STAT_ADD(p->log, segments, 1);
    if (partition_snapshot(p, p->log_end, NULL)) /* without one, retention waits for the next */
        os_log(OS_WARN, "log", "%s: no producer snapshot at %lld", p->name, (long long)p->log_end);
    p->pending.offset = -1; /* of the old one; its successor has none yet */
    int64_t keep = p->taking >= 0 && p->taking < old->base_offset ? p->taking : old->base_offset;
    (void)!producers_prune(p->dir, p->mark.offset >= 0 && p->mark.offset < keep ? p->mark.offset : keep, NULL);
    return ERR_OK;
}

/* Kafka's rule: segment.ms is measured between records' timestamps, so that a replayed past is cut as the present was. */
static bool must_roll(const struct log_partition *p, const struct segment *s, size_t n, int64_t next_offset,
                      int64_t max_ts, int64_t now_ms)
{
    int64_t waited_ms = s->first_ts >= 0 ? max_ts - s->first_ts : now_ms - s->made_ms;
    return s->size && (s->size + n > p->conf.segment_bytes || next_offset - s->base_offset > INT32_MAX ||
                       waited_ms > p->conf.segment_ms || segment_index_bytes(s) > p->conf.segment_index_bytes);
}

enum err partition_write(struct log_partition *p, const char *bytes, size_t n, int64_t now_ms, struct fault *f)
{
    struct batch b;
    struct aborted aborted;
    int64_t next = p->log_end, max_ts = -1;
    for (size_t at = 0; at < n; at += b.all.n) {
        enum err e = batch_parse(str_make(bytes + at, n - at), &b, f);
        if (e)
            return e;
        next = b.base_offset + b.last_offset_delta + 1;
        max_ts = b.max_timestamp > max_ts ? b.max_timestamp : max_ts;
    }
    enum err e =
        partition_active(p)->first_ts == LOG_TS_UNKNOWN ? segment_load_first_ts(partition_active(p), f) : ERR_OK;
    if (!e && must_roll(p, partition_active(p), n, next, max_ts, now_ms))
        e = partition_roll(p, f);
    struct segment *s = partition_active(p);
    uint64_t from = s->size;
    if (e || (e = segment_write(s, bytes, n, f)))
        return e;
    for (size_t at = 0; at < n; at += b.all.n) {
        (void)!batch_parse(str_make(bytes + at, n - at), &b, NULL); /* parsed above */
        segment_note(s, &b, from + at);
        if (producers_note(&p->producers, &b, now_ms, &aborted)) {
            p->dir_dirty = p->dir_dirty || !s->has_aborted; /* whoever writes its index makes the file */
            segment_abort(s, &aborted);
        }
        STAT_ADD(p->log, appended_records, (uint64_t)b.count);
    }
    if (from == 0)
        s->made_ms = now_ms;
    if (from == 0 && s == p->segments.p[0])
        retention_begins(p);
    p->log_end = next;
    STAT_ADD(p->log, appended_bytes, n);
    return ERR_OK;
}

void partition_delete(struct log_partition *p)
{
    char trash[LOG_PATH], id[37];
    os_mutex_lock(p->lock);
    p->deleted = true;
    struct waiter w = {.partition = p, .end_offset = -1};
    journal_add(p->log, &w, NULL, 0);
    os_mutex_unlock(p->lock);
    os_uuid_text(p->topic_id, id);
    log_path(p->log, trash, ".deleted-%s-%d", id, p->number);
    struct fault f;
    enum err e = os_rename(p->dir, trash, &f);
    if (e)
        os_log(OS_WARN, "log", "%s stays until the next start: %s", p->name, fault_message(&f));
    else
        log_doom(p->log, trash);
}

/* -- append ----------------------------------------------------------------------------------------------------------- */

static enum log_status fail(struct log_append_result *r, enum log_status status, const char *why)
{
    r->status = status;
    snprintf(r->message, sizeof r->message, "%s", why);
    return status;
}

/* Give each batch its base offset and leader epoch; returns the last offset. Neither is under the CRC. */
static int64_t patch_offsets(char *bytes, size_t n, int64_t next)
{
    for (size_t at = 0; at < n;) {
        put_u64be(bytes + at, (uint64_t)next);
        put_u32be(bytes + at + 12, 0);
        next += (int32_t)get_u32be(bytes + at + 23) + 1;
        at += get_u32be(bytes + at + 8) + BATCH_PREFIX;
    }
    return next - 1;
}

/* The part of log_append under the partition's lock. */
static enum log_status append_locked(struct log_partition *p, enum log_origin origin, char *bytes, size_t n,
                                     int64_t now_ms, struct log_append_result *r, struct waiter *w)
{
    const struct producer_batch *dup;
    struct batch b;
    struct fault f;
    if (p->deleted)
        return fail(r, LOG_UNKNOWN_TOPIC, "This topic was deleted");
    if (p->failed)
        return fail(r, LOG_STORAGE_ERROR, "This partition is offline: see the server's log");
    if (batch_parse(str_make(bytes, n), &b, &f))
        return fail(r, LOG_CORRUPT_MESSAGE, fault_message(&f));
    enum log_status status = producers_check(&p->producers, origin, &b, &dup, r->message);
    if (status)
        return r->status = status;
    r->log_start = p->log_start;
    r->log_append_time_ms = p->conf.append_time ? now_ms : -1;
    if (dup) {
        r->duplicate = true;
        r->last_offset = dup->last_offset;
        r->base_offset = dup->last_offset - dup->offset_delta;
        w->end_offset = -1; /* the original is in this group or an earlier one */
        return LOG_OK;
    }
    if (!journal_has_room(p->log, n))
        return fail(r, LOG_AGAIN, "Too much waits for the disk");
    r->base_offset = p->log_end;
    r->last_offset = patch_offsets(bytes, n, p->log_end);
    enum err e = partition_write(p, bytes, n, now_ms, &f);
    if (e)
        return fail(r, LOG_STORAGE_ERROR, fault_message(&f));
    w->end_offset = p->log_end;
    return LOG_OK;
}

enum log_status log_append_as(struct log_partition *p, enum log_origin origin, char *bytes, size_t n,
                              void (*done)(void *arg, const struct log_append_result *r), void *arg,
                              struct log_append_result *result)
{
    int64_t now_ms = os_now_ms();
    *result =
        (struct log_append_result){.base_offset = -1, .last_offset = -1, .log_append_time_ms = -1, .log_start = -1};
    os_mutex_lock(p->lock);
    struct partition_conf conf = p->conf;
    os_mutex_unlock(p->lock);
    enum log_status status = check_batches(&conf, origin, bytes, n, now_ms, result);
    if (status)
        return status;
    struct waiter w = {.partition = p, .done = done, .arg = arg};
    os_mutex_lock(p->lock);
    status = append_locked(p, origin, bytes, n, now_ms, result, &w);
    if (!status) {
        w.base_offset = result->base_offset;
        w.last_offset = result->last_offset;
        w.log_start = result->log_start;
        w.append_time_ms = result->log_append_time_ms;
        w.duplicate = result->duplicate;
        if (!w.duplicate || done)
            journal_add(p->log, &w, bytes, w.duplicate ? 0 : n);
    }
    os_mutex_unlock(p->lock);
    return status;
}

enum log_status log_append(struct log_partition *p, char *bytes, size_t n,
                           void (*done)(void *arg, const struct log_append_result *r), void *arg,
                           struct log_append_result *result)
{
    return log_append_as(p, LOG_FROM_CLIENT, bytes, n, done, arg, result);
}

struct wait {
    struct os_mutex *lock;
    struct os_cond *done;
    bool ready;
    struct log_append_result result;
};

static void wake(void *arg, const struct log_append_result *r)
{
    struct wait *w = arg;
    os_mutex_lock(w->lock);
    w->result = *r;
    w->ready = true;
    os_cond_signal(w->done);
    os_mutex_unlock(w->lock);
}

struct log_append_result log_append_wait(struct log_partition *p, char *bytes, size_t n)
{
    struct wait w = {os_mutex_new(), os_cond_new(), false, {0}};
    struct log_append_result first;
    if (log_append(p, bytes, n, wake, &w, &first)) {
        w.result = first;
    } else {
        os_mutex_lock(w.lock);
        while (!w.ready)
            os_cond_wait(w.done, w.lock);
        os_mutex_unlock(w.lock);
    }
    os_cond_free(w.done);
    os_mutex_free(w.lock);
    return w.result;
}

/* -- looking ---------------------------------------------------------------------------------------------------------- */

struct log_offsets log_partition_offsets(struct log_partition *p)
{
    os_mutex_lock(p->lock);
    struct log_offsets o = {.log_start = p->log_start,
                            .high_watermark = p->high_watermark,
                            .log_end = p->log_end,
                            .last_stable = partition_last_stable(p),
                            .deleted = p->deleted};
    os_mutex_unlock(p->lock);
    return o;
}

struct os_uuid log_partition_topic_id(struct log_partition *p)
{
    return p->topic_id;
}
