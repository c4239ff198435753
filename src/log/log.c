#include "log/log_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { CHECK_MS = 300000 /* Kafka's log.retention.check.interval.ms */, COMPACT_BYTES = 16 << 20 };

void log_path(const struct log *l, char out[LOG_PATH], const char *fmt, ...)
{
    va_list ap;
    int n = snprintf(out, LOG_PATH, "%s/", l->dir);
    va_start(ap, fmt);
    int m = vsnprintf(out + n, (size_t)(LOG_PATH - n), fmt, ap);
    va_end(ap);
    if (n + m >= LOG_PATH)
        os_die("a path in %s is too long", l->dir); /* log_open bounds the directory's, names are bounded */
}

const char *log_dir(const struct log *l)
{
    return l->dir;
}

const char *log_cluster_id(const struct log *l)
{
    return l->cluster_id;
}

/* -- watches ---------------------------------------------------------------------------------------------------------- */

struct log_watch {
    struct log_partition *p;
    void (*fn)(void *arg);
    void *arg;
    struct log_watch *next, **prev;
};

struct log_watch *log_watch(struct log_partition *p, void (*fn)(void *arg), void *arg)
{
    struct log_watch *w = malloc(sizeof *w);
    if (!w)
        os_die("out of memory for a watch");
    partition_ref(p);
    os_mutex_lock(p->log->watch_lock);
    *w = (struct log_watch){p, fn, arg, p->watches, &p->watches};
    if (p->watches)
        p->watches->prev = &w->next;
    p->watches = w;
    os_mutex_unlock(p->log->watch_lock);
    return w;
}

void log_unwatch(struct log_watch *w)
{
    if (!w)
        return;
    struct log_partition *p = w->p;
    os_mutex_lock(p->log->watch_lock); /* held while watches run: after this none of ours does */
    *w->prev = w->next;
    if (w->next)
        w->next->prev = w->prev;
    os_mutex_unlock(p->log->watch_lock);
    log_partition_release(p);
    free(w);
}

void log_wake_watches(struct log_partition *p)
{
    for (struct log_watch *w = p->watches; w; w = w->next)
        w->fn(w->arg);
}

/* -- the worker: blocking calls on behalf of loops ---------------------------------------------------------------------- */

enum err log_submit(struct log *l, void (*fn)(void *arg), void *arg)
{
    os_mutex_lock(l->work_lock);
    bool room = l->work_n < LIMIT_LOG_QUEUE && !l->work_stop;
    if (room) {
        l->work[(l->work_at + l->work_n++) % LIMIT_LOG_QUEUE] = (struct work){fn, arg};
        os_cond_signal(l->work_ready);
    }
    os_mutex_unlock(l->work_lock);
    return room ? ERR_OK : ERR_LIMIT;
}

static void worker(void *arg)
{
    struct log *l = arg;
    os_mutex_lock(l->work_lock);
    for (;;) {
        while (!l->work_n && !l->work_stop)
            os_cond_wait(l->work_ready, l->work_lock);
        if (!l->work_n)
            break;
        struct work w = l->work[l->work_at];
        l->work_at = (l->work_at + 1) % LIMIT_LOG_QUEUE;
        l->work_n--;
        os_mutex_unlock(l->work_lock);
        w.fn(w.arg);
        os_mutex_lock(l->work_lock);
    }
    os_mutex_unlock(l->work_lock);
}

/* -- open --------------------------------------------------------------------------------------------------------------- */

enum err log_newer_format(const char *what, uint32_t format, struct fault *f)
{
    char text[16];
    snprintf(text, sizeof text, "%u", format);
    return FAULT(f, ERR_VERSION, {"what", what}, {"format", text});
}

static enum err check_format(struct log *l, struct fault *f)
{
    char path[LOG_PATH], *p = NULL;
    size_t n = 0;
    int64_t format;
    log_path(l, path, "FORMAT");
    enum err e = os_read_file(path, 64, &p, &n, f);
    if (!e && str_to_i64(str_trim(str_make(p, n)), &format) && format > LOG_FORMAT)
        e = log_newer_format(l->dir, (uint32_t)format, f);
    free(p);
    return e == ERR_NOTFOUND ? ERR_OK : e;
}

static enum err write_text(struct log *l, const char *name, const char *text, struct fault *f)
{
    char path[LOG_PATH];
    struct os_file *file;
    log_path(l, path, "%s", name);
    enum err e = os_open(&file, path, OS_RDWR | OS_CREATE | OS_TRUNC, f);
    if (e)
        return e;
    e = os_pwrite(file, text, strlen(text), 0, f);
    os_close(file);
    return e;
}

/* For people and Kafka's tools; the truth is the metadata log's header. */
static enum err write_labels(struct log *l, struct fault *f)
{
    char text[256];
    snprintf(text, sizeof text, "%d\n", LOG_FORMAT);
    enum err e = write_text(l, "FORMAT", text, f);
    snprintf(text, sizeof text, "version=1\nnode.id=1\ncluster.id=%s\n", l->cluster_id);
    return e ? e : write_text(l, "meta.properties", text, f);
}

static enum err log_new(struct log **out, const struct log_options *o, struct fault *f)
{
    if (strlen(o->dir) > LOG_PATH - 512)
        return FAULT(f, ERR_LIMIT, {"what", "The length of the data directory's path"}, {"limit", "3584"});
    struct log *l = calloc(1, sizeof *l);
    if (!l || !(l->dir = strdup(o->dir)) || !(l->work = calloc(LIMIT_LOG_QUEUE, sizeof *l->work))) {
        free(l);
        return FAULT(f, ERR_NOMEM, {"what", "the log"});
    }
    l->o = *o;
    l->o.dir = l->dir;
    l->o.segment_bytes = o->segment_bytes ? o->segment_bytes : (uint64_t)1 << 30;
    l->o.journal_file_bytes = o->journal_file_bytes ? o->journal_file_bytes : (uint64_t)64 << 20;
    l->o.mark_bytes = o->mark_bytes ? o->mark_bytes : 256 << 10;
    l->o.segment_ms = o->segment_ms ? o->segment_ms : (int64_t)7 * 86400000;
    l->o.retention_check_ms = o->retention_check_ms ? o->retention_check_ms : CHECK_MS;
    l->o.compact_bytes = o->compact_bytes ? o->compact_bytes : COMPACT_BYTES;
    struct os_mutex **locks[] = {&l->meta_lock, &l->topics_lock, &l->watch_lock,
                                 &l->back_lock, &l->work_lock,   &l->journal.lock};
    for (size_t i = 0; i < sizeof locks / sizeof *locks; i++)
        *locks[i] = os_mutex_new();
    struct os_cond **conds[] = {&l->back_work, &l->work_ready, &l->journal.work, &l->journal.space};
    for (size_t i = 0; i < sizeof conds / sizeof *conds; i++)
        *conds[i] = os_cond_new();
    *out = l;
    return ERR_OK;
}

static void log_free(struct log *l)
{
    journal_close(l);
    meta_close(l);
    for (size_t i = 0; i < l->doomed.n; i++)
        free(l->doomed.p[i]);
    vec_free(&l->doomed);
    vec_free(&l->starts);
    conf_free(l);
    files_free(&l->files);
    struct os_mutex *locks[] = {l->meta_lock, l->topics_lock, l->watch_lock,
                                l->back_lock, l->work_lock,   l->journal.lock};
    for (size_t i = 0; i < sizeof locks / sizeof *locks; i++)
        os_mutex_free(locks[i]);
    struct os_cond *conds[] = {l->back_work, l->work_ready, l->journal.work, l->journal.space};
    for (size_t i = 0; i < sizeof conds / sizeof *conds; i++)
        os_cond_free(conds[i]);
    os_close(l->lock_file);
    free(l->work);
    free(l->dir);
    free(l);
}

/* The directory itself and its parents: all synced before the metadata log gets its first byte. */
static enum err make_dirs(struct log *l, struct fault *f)
{
    char path[LOG_PATH];
    struct os_stat s;
    log_path(l, path, "metadata.log");
    bool fresh = os_stat(path, &s, NULL) || s.size == 0;
    log_path(l, path, "journal");
    enum err e = os_mkdirs(path, f);
    snprintf(path, sizeof path, "%s", l->dir);
    for (char *slash; !e && fresh && (slash = strrchr(path, '/'));) {
        *slash = 0;
        e = os_sync_dir(path[0] ? path : "/", "data.parent", f);
    }
    if (!e && fresh && l->dir[0] != '/')
        e = os_sync_dir(".", "data.parent", f);
    return e;
}

static enum err start_threads(struct log *l, struct fault *f)
{
    enum err e = journal_start(l, f);
    if (!e)
        e = log_back_start(l, f);
    if (!e)
        e = os_thread_start(&l->worker, "log-worker", worker, l, f);
    return e;
}

static void stop_threads(struct log *l)
{
    os_mutex_lock(l->work_lock);
    l->work_stop = true;
    os_cond_signal(l->work_ready);
    os_mutex_unlock(l->work_lock);
    if (l->worker)
        os_thread_join(l->worker);
    journal_stop(l);
    os_mutex_lock(l->back_lock);
    l->back_stop = true;
    os_cond_signal(l->back_work);
    os_mutex_unlock(l->back_lock);
    if (l->back)
        os_thread_join(l->back);
}

enum err log_open(struct log **out, const struct log_options *o, struct fault *f)
{
    struct log *l = NULL;
    char path[LOG_PATH];
    enum err e = log_new(&l, o, f);
    if (e)
        return e;
    files_init(&l->files, o->open_files, os_raise_file_limit());
    l->dir_dirty = true;
    e = make_dirs(l, f);
    log_path(l, path, "LOCK");
    if (!e)
        e = os_lock(&l->lock_file, path, f);
    if (!e)
        e = check_format(l, f);
    if (!e)
        e = meta_open(l, f);
    if (!e)
        e = write_labels(l, f);
    if (!e)
        e = recover(l, f);
    if (!e)
        compact_load(l);
    if (!e)
        e = start_threads(l, f);
    if (e) {
        stop_threads(l);
        log_free(l);
        return e;
    }
    if (l->wants_checkpoint)
        log_kick(l, true, false);
    if (o->durability_os)
        os_log(OS_WARN, "log", "durability=os: acknowledged records are lost when the machine stops");
    *out = l;
    return ERR_OK;
}

enum { STOP_MARK_BYTES = 16 << 10 /* so much is read again sooner than three files are synced */ };

/* Marks and indexes, so that the next start scans nothing. False: the stop must not be called clean. */
static bool save_partition(struct log_partition *p)
{
    struct fault f;
    enum err e = ERR_OK;
    os_mutex_lock(p->lock);
    struct segment *s = p->segments.n ? partition_active(p) : NULL;
    if (s && !p->failed && !p->deleted) {
        e = segment_flush_aborted(s, false, &f);
        uint64_t marked = p->mark.offset > s->base_offset ? p->mark.position : 0;
        uint64_t enough = p->log->o.mark_bytes < STOP_MARK_BYTES ? p->log->o.mark_bytes : STOP_MARK_BYTES;
        if (!e && s->size - marked >= enough)
            partition_mark(p);
        else if (!e && segment_flush_index(s, false, NULL))
            os_log(OS_WARN, "log", "%s: the index could not be written", p->name);
        if (!e && s->reserved > s->size)
            e = segment_truncate(s, s->size, &f);
    }
    os_mutex_unlock(p->lock);
    if (e)
        os_log(OS_WARN, "log", "%s: the next start will take longer: %s", p->name, fault_message(&f));
    return !e;
}

void log_close(struct log *l)
{
    struct log_partition **all;
    struct fault f;
    stop_threads(l);
    size_t n = log_all_partitions(l, &all);
    bool saved = true;
    for (size_t i = 0; i < n; i++) {
        saved = save_partition(all[i]) && saved;
        log_partition_release(all[i]);
    }
    free(all);
    if (saved && checkpoint(l, true, &f))
        os_log(OS_ERROR, "log", "the last checkpoint failed, the next start recovers: %s", fault_message(&f));
    log_free(l);
}

void log_stats(struct log *l, struct log_stats *out)
{
    struct log_stats *s = &l->stats;
    *out = (struct log_stats){
        .appended_records = __atomic_load_n(&s->appended_records, __ATOMIC_RELAXED),
        .appended_bytes = __atomic_load_n(&s->appended_bytes, __ATOMIC_RELAXED),
        .read_bytes = __atomic_load_n(&s->read_bytes, __ATOMIC_RELAXED),
        .syncs = __atomic_load_n(&s->syncs, __ATOMIC_RELAXED),
        .sync_ns = __atomic_load_n(&s->sync_ns, __ATOMIC_RELAXED),
        .journal_groups = __atomic_load_n(&s->journal_groups, __ATOMIC_RELAXED),
        .scanned_bytes = __atomic_load_n(&s->scanned_bytes, __ATOMIC_RELAXED),
        .lost_marks = __atomic_load_n(&s->lost_marks, __ATOMIC_RELAXED),
        .segments = __atomic_load_n(&s->segments, __ATOMIC_RELAXED),
    };
    struct map_slot *slot;
    os_mutex_lock(l->topics_lock);
    for (size_t i = 0; (slot = map_next(&l->topics, &i));)
        out->partitions += (uint64_t)((struct topic *)slot->value)->n;
    os_mutex_unlock(l->topics_lock);
}
