/*
 * The background thread: checkpoints, spare journal files, what may go, compaction, removals. Woken when there is something
 * to do, or when something falls due. What takes long (compaction) does it in slices, with log_back_breathe between them.
 */
#include "log/log_int.h"

#include <stdlib.h>

enum { HOUR_MS = 3600000, RETRY_MS = 1000 };

void log_kick(struct log *l, bool want_checkpoint, bool spare)
{
    os_mutex_lock(l->back_lock);
    l->back_checkpoint |= want_checkpoint;
    l->back_spare |= spare;
    os_cond_signal(l->back_work);
    os_mutex_unlock(l->back_lock);
}

void log_doom(struct log *l, const char *dir)
{
    char *copy = strdup(dir);
    if (!copy)
        os_die("out of memory for a removal");
    os_mutex_lock(l->back_lock);
    vec_push(&l->doomed, copy);
    os_cond_signal(l->back_work);
    os_mutex_unlock(l->back_lock);
}

/* -- what it does --------------------------------------------------------------------------------------------------------- */

static void make_spare(struct log *l)
{
    struct journal_file file;
    struct fault f;
    uint64_t size = journal_wants_spare(l);
    if (!size)
        return;
    if (journal_make_file(l, size, &file, &f)) {
        os_log(OS_WARN, "log", "no spare journal file: %s", fault_message(&f));
        return;
    }
    os_mutex_lock(l->journal.lock);
    vec_push(&l->journal.spare, file);
    os_cond_broadcast(l->journal.space);
    os_mutex_unlock(l->journal.lock);
}

/* An I/O error here may have eaten a sync: what follows could not be trusted. A full disk only delays. */
enum err log_run_checkpoint(struct log *l)
{
    struct fault f;
    enum err e = checkpoint(l, false, &f);
    if (e == ERR_NOSPACE)
        os_log(OS_ERROR, "log", "no checkpoint: %s", fault_message(&f));
    else if (e)
        os_die("a checkpoint failed, stopping: %s", fault_message(&f));
    return e;
}

static enum err start_not_written(enum err e, const struct fault *f)
{
    if (e == ERR_NOSPACE)
        os_log(OS_ERROR, "log", "nothing can be deleted: %s", fault_message(f));
    else if (e)
        os_die("a log's start could not be written, stopping: %s", fault_message(f));
    return e;
}

static void run_retention(struct log *l, bool policies)
{
    struct fault f;
    int64_t now_ms = os_now_ms(), due_ms = INT64_MAX;
    if (policies) {
        os_mutex_lock(l->back_lock);
        l->retention_looked_ms = now_ms;
        l->retention_due_ms = INT64_MAX; /* from here on what is appended says when it is due */
        os_mutex_unlock(l->back_lock);
        due_ms = retention_policies(l, now_ms);
    }
    enum err e = start_not_written(retention_trim(l, &f), &f);
    int64_t least_ms = now_ms + l->o.retention_check_ms;
    due_ms = e ? now_ms + RETRY_MS : due_ms > least_ms ? due_ms : least_ms;
    os_mutex_lock(l->back_lock);
    l->retention_due_ms = due_ms < l->retention_due_ms ? due_ms : l->retention_due_ms;
    os_mutex_unlock(l->back_lock);
}

static void run_compaction(struct log *l)
{
    int64_t due_ms = compact_run(l, os_now_ms());
    os_mutex_lock(l->back_lock);
    l->compact_due_ms = due_ms;
    os_mutex_unlock(l->back_lock);
}

/* -- when ------------------------------------------------------------------------------------------------------------------ */

struct work_list {
    bool policies, starts, checkpoint, spare, compact;
    char *doomed;
};

/* What is to be done now, taken off the list. False: nothing. Under the lock. */
static bool take_work(struct log *l, struct work_list *w)
{
    int64_t now_ms = os_now_ms();
    *w = (struct work_list){.policies = l->retention_on && (l->back_retention || l->retention_due_ms <= now_ms),
                            .starts = l->starts.n > 0,
                            .checkpoint = l->back_checkpoint,
                            .spare = l->back_spare,
                            .compact = l->retention_on && (l->back_compact || l->compact_due_ms <= now_ms),
                            .doomed = l->doomed.n ? l->doomed.p[--l->doomed.n] : NULL};
    l->back_checkpoint = l->back_spare = false;
    l->back_retention = l->back_retention && !w->policies;
    l->back_compact = l->back_compact && !w->compact;
    return w->policies || w->starts || w->checkpoint || w->spare || w->compact || w->doomed;
}

/* Until something falls due. The wall clock may be set: it is asked again every hour. Under the lock. */
static void wait(struct log *l)
{
    int64_t due_ms = l->retention_due_ms < l->compact_due_ms ? l->retention_due_ms : l->compact_due_ms;
    if (!l->retention_on || due_ms == INT64_MAX) {
        os_cond_wait(l->back_work, l->back_lock);
        return;
    }
    int64_t wait_ms = due_ms - os_now_ms();
    wait_ms = wait_ms > HOUR_MS ? HOUR_MS : wait_ms;
    (void)os_cond_wait_until(l->back_work, l->back_lock, os_mono_ns() + wait_ms * 1000000);
}

static void remove_doomed(char *dir)
{
    struct fault f;
    if (dir && os_remove_tree(dir, &f))
        os_log(OS_WARN, "log", "a deleted topic's files stay until the next start: %s", fault_message(&f));
    free(dir);
}

bool log_back_breathe(struct log *l, int64_t rest_ns)
{
    struct work_list w;
    struct fault f;
    int64_t until_ns = os_mono_ns() + rest_ns;
    os_mutex_lock(l->back_lock);
    while (!l->back_stop) {
        bool policies = l->back_retention, compact = l->back_compact; /* they wait: segments are in our hands */
        int64_t retention_due_ms = l->retention_due_ms, compact_due_ms = l->compact_due_ms;
        l->back_retention = l->back_compact = false;
        l->retention_due_ms = l->compact_due_ms = INT64_MAX;
        bool any = take_work(l, &w);
        l->back_retention |= policies;
        l->back_compact |= compact;
        l->retention_due_ms = retention_due_ms < l->retention_due_ms ? retention_due_ms : l->retention_due_ms;
        l->compact_due_ms = compact_due_ms;
        if (!any && os_mono_ns() >= until_ns)
            break;
        if (!any && !os_cond_wait_until(l->back_work, l->back_lock, until_ns))
            break;
        os_mutex_unlock(l->back_lock);
        if (w.spare)
            make_spare(l);
        if (w.checkpoint)
            (void)!log_run_checkpoint(l);
        if (w.starts)
            (void)start_not_written(retention_raise(l, &f), &f);
        remove_doomed(w.doomed);
        os_mutex_lock(l->back_lock);
    }
    bool go_on = !l->back_stop;
    os_mutex_unlock(l->back_lock);
    return go_on;
}

static void back(void *arg)
{
    struct log *l = arg;
    struct work_list w;
    os_mutex_lock(l->back_lock);
    for (;;) {
        while (!take_work(l, &w) && !l->back_stop)
            wait(l);
        if (l->back_stop && !w.doomed && !w.starts)
            break;
        os_mutex_unlock(l->back_lock);
        if (w.spare)
            make_spare(l);
        if (w.checkpoint)
            (void)!log_run_checkpoint(l);
        if (w.policies || w.starts)
            run_retention(l, w.policies);
        if (w.compact)
            run_compaction(l);
        remove_doomed(w.doomed);
        os_mutex_lock(l->back_lock);
    }
    os_mutex_unlock(l->back_lock);
}

enum err log_back_start(struct log *l, struct fault *f)
{
    l->retention_due_ms = l->compact_due_ms = INT64_MAX;
    return os_thread_start(&l->back, "log-back", back, l, f);
}
