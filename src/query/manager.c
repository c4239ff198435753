/*
 * The queries of the server: who runs, who waits, who takes over from whom. The manager's lock comes before a query's.
 * The list holds a reference to each query, also after its end, until its session has gone or too many have gathered.
 */
#include "query/query_int.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { STOP_PATIENCE_MS = 2000 }; /* a batch that ends by itself in that time is not cut off */

/* -- life ------------------------------------------------------------------------------------------------------------------ */

enum err query_manager_new(const struct source_env *env, int threads, struct query_manager **out, struct fault *f)
{
    struct query_manager *m = calloc(1, sizeof *m);
    if (!m)
        return FAULT(f, ERR_NOMEM, {"what", "the query manager"});
    m->env = *env;
    m->lock = os_mutex_new();
    m->changed = os_cond_new();
    m->threads = threads > 0 ? threads : os_cpus();
    m->pool = pool_new(m->threads - 1);
    *out = m;
    return ERR_OK;
}

static void query_free(struct query *q)
{
    if (q->thread)
        os_thread_join(q->thread);
    for (size_t i = 0; i < PROGRESS_KEPT; i++)
        free(q->progress[i]);
    free((char *)q->committed_text.p);
    free((char *)q->available_text.p);
    plan_free(q->plan);
    arena_free(q->batch_arena);
    arena_free(q->next_arena);
    os_mutex_free(q->watermark_lock);
    os_mutex_free(q->lock);
    os_cond_free(q->changed);
    arena_free(q->arena);
    free(q);
}

void query_release(struct query *q)
{
    if (!q)
        return;
    os_mutex_lock(q->lock);
    bool last = --q->refs == 0;
    os_mutex_unlock(q->lock);
    if (last)
        query_free(q);
}

static struct query *retain(struct query *q)
{
    os_mutex_lock(q->lock);
    q->refs++;
    os_mutex_unlock(q->lock);
    return q;
}

static bool has_ended(struct query *q)
{
    os_mutex_lock(q->lock);
    bool ended = q->is_terminated;
    os_mutex_unlock(q->lock);
    return ended;
}

/* Forget ended queries whose session has gone, and the oldest beyond TERMINATED_KEPT. Under no lock. */
static void forget(struct query_manager *m)
{
    VEC(struct query *) gone = {0};
    size_t ended = 0, kept = 0;
    os_mutex_lock(m->lock);
    for (size_t i = 0; i < m->queries.n; i++)
        ended += has_ended(m->queries.p[i]);
    for (size_t i = 0; i < m->queries.n; i++) {
        struct query *q = m->queries.p[i];
        if (has_ended(q) && (q->is_orphan || ended > TERMINATED_KEPT)) {
            ended--;
            m->gone.batches += q->stats.batches;
            m->gone.rows_in += q->stats.rows_in;
            m->gone.rows_out += q->stats.rows_out;
            vec_push(&gone, q);
        } else {
            m->queries.p[kept++] = q;
        }
    }
    m->queries.n = kept;
    os_mutex_unlock(m->lock);
    for (size_t i = 0; i < gone.n; i++)
        query_release(gone.p[i]);
    vec_free(&gone);
}

static void ask_to_stop(struct query *q)
{
    os_mutex_lock(q->lock);
    q->stop = true;
    os_cond_broadcast(q->changed);
    os_mutex_unlock(q->lock);
}

/* Wait for the end; a batch that takes long is cancelled and runs again at the next start. */
static void wait_for_end(struct query *q)
{
    int64_t deadline = os_mono_ns() + STOP_PATIENCE_MS * INT64_C(1000000);
    os_mutex_lock(q->lock);
    while (!q->is_terminated) {
        if (os_mono_ns() >= deadline)
            __atomic_store_n(&q->cancel, true, __ATOMIC_RELAXED);
        if (q->cancel)
            os_cond_wait(q->changed, q->lock);
        else
            os_cond_wait_until(q->changed, q->lock, deadline);
    }
    os_mutex_unlock(q->lock);
}

void query_stop(struct query *q)
{
    ask_to_stop(q);
    wait_for_end(q);
}

/* Connections may still ask for them while they stop: the table keeps its references. */
void query_manager_stop(struct query_manager *m)
{
    VEC(struct query *) all = {0};
    os_mutex_lock(m->lock);
    for (size_t i = 0; i < m->queries.n; i++)
        vec_push(&all, retain(m->queries.p[i]));
    os_mutex_unlock(m->lock);
    for (size_t i = 0; i < all.n; i++)
        ask_to_stop(all.p[i]);
    for (size_t i = 0; i < all.n; i++) {
        wait_for_end(all.p[i]);
        query_release(all.p[i]);
    }
    vec_free(&all);
}

void query_manager_free(struct query_manager *m)
{
    if (!m)
        return;
    query_manager_stop(m);
    for (size_t i = 0; i < m->queries.n; i++)
        query_release(m->queries.p[i]);
    vec_free(&m->queries);
    struct map_slot *slot;
    for (size_t i = 0; (slot = map_next(&m->reset, &i));)
        free(slot->value);
    map_free(&m->reset);
    map_free(&m->starting);
    pool_free(m->pool);
    os_cond_free(m->changed);
    os_mutex_free(m->lock);
    free(m);
}

/* -- start ------------------------------------------------------------------------------------------------------------------- */

static const char *conf_of(const struct query_options *o, const char *key, const char *otherwise)
{
    const char *v = o->conf ? o->conf(o->conf_arg, key) : NULL;
    return v ? v : otherwise;
}

static bool conf_true(const struct query_options *o, const char *key)
{
    return str_eq_nocase(str_of(conf_of(o, key, "true")), STR("true"));
}

static struct option *copy_options(const struct query_options *o, struct arena *a)
{
    struct option *out = ARENA_ARRAY(a, (size_t)o->noptions + 1, struct option);
    for (int i = 0; i < o->noptions; i++)
        out[i] = (struct option){arena_str(a, o->options[i].key), arena_str(a, o->options[i].value)};
    return out;
}

static struct query *query_new(struct query_manager *m, const struct query_options *o)
{
    struct query *q = calloc(1, sizeof *q);
    struct arena *a = arena_new(0);
    if (!q)
        memory_out("a query");
    q->manager = m;
    q->arena = a;
    q->options = *o;
    q->options.options = copy_options(o, a);
    q->session_id = arena_str(a, o->session_id);
    q->name = arena_str(a, o->name);
    q->plan = o->plan;
    q->zone = o->plan->bind.zone;
    q->nsources = o->plan->nscans;
    q->sources = ARENA_ARRAY(a, (size_t)q->nsources + 1, struct query_source);
    q->batch_arena = arena_new(0);
    q->next_arena = arena_new(0);
    q->lock = os_mutex_new();
    q->watermark_lock = os_mutex_new();
    q->changed = os_cond_new();
    q->refs = 1;
    q->memory.limit_bytes = (size_t)4 << 30;
    q->no_data_batches = conf_true(o, "spark.sql.streaming.noDataMicroBatches.enabled");
    q->watermark_is_max = !strcmp(conf_of(o, "spark.sql.streaming.multipleWatermarkPolicy", "min"), "max");
    if (!str_to_i64(str_of(conf_of(o, "spark.sql.shuffle.partitions", "200")), &q->shuffle_partitions) ||
        q->shuffle_partitions < 1)
        q->shuffle_partitions = 200;
    os_uuid_text(os_uuid_random(), q->ids.run_id);
    snprintf(q->message, sizeof q->message, "Initializing StreamExecution");
    return q;
}

static void choose_directory(struct query *q)
{
    struct arena *a = q->arena;
    struct str dir = q->options.checkpoint_dir;
    if (!dir.n) {
        const char *tmp = os_env("TMPDIR");
        q->is_temporary = true;
        q->checkpoint_dir = arena_fmt(a, "%s/penstock-temporary-%s", tmp && tmp[0] ? tmp : "/tmp", q->ids.run_id);
        return;
    }
    while (dir.n > 1 && dir.p[dir.n - 1] == '/')
        dir.n--;
    q->checkpoint_dir = arena_str(a, dir);
}

/* The lines of the checkpoint that a changed query must keep: its sources and what it remembers. */
static void signature(const struct plan_node *n, struct buf *out)
{
    for (int i = 0; i < n->nchildren; i++)
        signature(n->children[i], out);
    if (n->kind == PLAN_SCAN)
        buf_fmt(out, "source %d %.*s\n", n->scan_id, STR_ARG(n->format));
}

/* A live query of ours on the same checkpoint. +1 reference. */
static struct query *live_on(struct query_manager *m, struct str dir)
{
    for (size_t i = 0; i < m->queries.n; i++)
        if (str_eq(m->queries.p[i]->checkpoint_dir, dir) && !has_ended(m->queries.p[i]))
            return retain(m->queries.p[i]);
    return NULL;
}

static enum err check_name(struct query_manager *m, const struct query *q, struct fault *f)
{
    for (size_t i = 0; q->name.n && i < m->queries.n; i++) {
        struct query *other = m->queries.p[i];
        if (str_eq(other->name, q->name) && str_eq(other->session_id, q->session_id) && !has_ended(other))
            return FAULT(f, ERR_QUERY_NAME, {"name", q->name.p});
    }
    return ERR_OK;
}

/* Reserve the checkpoint for this start and stop the run that has it: spark.sql.streaming.stopActiveRunOnRestart. */
static enum err take_over(struct query_manager *m, struct query *q, struct fault *f)
{
    os_mutex_lock(m->lock);
    enum err e = check_name(m, q, f);
    if (!e && map_get(&m->starting, q->checkpoint_dir))
        e = FAULT(f, ERR_CONCURRENT_QUERY);
    struct query *old = e ? NULL : live_on(m, q->checkpoint_dir);
    if (!e)
        map_put(&m->starting, q->checkpoint_dir, q);
    os_mutex_unlock(m->lock);
    if (!old)
        return e;
    if (!conf_true(&q->options, "spark.sql.streaming.stopActiveRunOnRestart")) {
        e = FAULT(f, ERR_QUERY_ACTIVE, {"id", old->ids.id});
        os_mutex_lock(m->lock);
        map_del(&m->starting, q->checkpoint_dir);
        os_mutex_unlock(m->lock);
    } else {
        os_log(OS_WARN, "query", "stopping run %s of query %s: a new run takes over its checkpoint", old->ids.run_id,
               old->ids.id);
        query_stop(old);
    }
    query_release(old);
    return e;
}

static enum err open_checkpoint(struct query *q, struct fault *f)
{
    struct buf lines = {0};
    signature(q->plan->root, &lines);
    plan_state_signature(q->plan, &lines);
    enum err e =
        checkpoint_open(&q->checkpoint, q->checkpoint_dir.p, buf_whole(&lines, "a query's signature"), &q->info, f);
    buf_free(&lines);
    if (e)
        return e;
    memcpy(q->ids.id, q->info.query_id, sizeof q->ids.id);
    if (q->info.last_planned >= 0 && q->options.mode != OUTPUT_COMPLETE &&
        str_eq_nocase(q->options.sink_format, STR("memory"))) {
        char path[4200];
        snprintf(path, sizeof path, "%s/offsets", q->checkpoint_dir.p);
        return FAULT(f, ERR_CHECKPOINT_REQUIRED, {"checkpointPath", path});
    }
    return ERR_OK;
}

static enum err open_sink(struct query *q, struct fault *f)
{
    struct source_env source = q->manager->env;
    source.cancelled = &q->cancel;
    struct sink_env env = {&source, q->options.console, q->options.console_arg, q->options.tables};
    return sink_open(&env, q->options.sink_format, q->options.options, q->options.noptions, q->plan->schema,
                     q->options.mode, q->name, q->zone, !q->is_temporary, &q->sink, f);
}

static enum err check_trigger(const struct query_options *o, struct fault *f)
{
    return o->trigger == TRIGGER_PROCESSING_TIME && o->trigger_ms < 0
               ? FAULT(f, ERR_STREAM_TRIGGER,
                       {"message", "requirement failed: the interval of trigger should not be negative"})
               : ERR_OK;
}

static enum err prepare(struct query_manager *m, struct query *q, struct fault *f)
{
    enum err e = check_trigger(&q->options, f);
    if (!e)
        e = plan_check_streaming(q->plan, q->options.mode, f);
    if (!e)
        e = take_over(m, q, f);
    if (e)
        return e;
    if (!(e = open_checkpoint(q, f)))
        e = open_sink(q, f);
    os_mutex_lock(m->lock);
    if (!e && !(e = os_thread_start(&q->thread, "query", query_run, q, f))) {
        q->refs++;
        vec_push(&m->queries, q);
    }
    map_del(&m->starting, q->checkpoint_dir);
    os_mutex_unlock(m->lock);
    return e;
}

enum err query_start(struct query_manager *m, const struct query_options *o, struct query_ids *ids, struct fault *f)
{
    struct query *q = query_new(m, o);
    forget(m);
    choose_directory(q);
    enum err e = prepare(m, q, f);
    if (e) {
        sink_close(q->sink);
        checkpoint_close(q->checkpoint);
        if (q->is_temporary && os_remove_tree(q->checkpoint_dir.p, NULL))
            os_log(OS_WARN, "query", "%s stays behind", q->checkpoint_dir.p);
        if (q->options.on_console_free)
            q->options.on_console_free(q->options.console_arg);
    } else {
        *ids = q->ids;
    }
    query_release(q);
    return e;
}

/* -- finding ------------------------------------------------------------------------------------------------------------------- */

struct query *query_find(struct query_manager *m, struct str session_id, struct str id, struct str run_id)
{
    struct query *found = NULL;
    os_mutex_lock(m->lock);
    for (size_t i = m->queries.n; i-- && !found;) {
        struct query *q = m->queries.p[i];
        if (str_eq(q->session_id, session_id) && (!id.n || str_eqz(id, q->ids.id)) &&
            (!run_id.n || str_eqz(run_id, q->ids.run_id)))
            found = retain(q);
    }
    os_mutex_unlock(m->lock);
    return found;
}

size_t query_list(struct query_manager *m, struct str session_id, struct arena *a, struct query ***out)
{
    size_t n = 0;
    os_mutex_lock(m->lock);
    *out = ARENA_ARRAY(a, m->queries.n + 1, struct query *);
    for (size_t i = 0; i < m->queries.n; i++)
        if (str_eq(m->queries.p[i]->session_id, session_id) && !has_ended(m->queries.p[i]))
            (*out)[n++] = retain(m->queries.p[i]);
    os_mutex_unlock(m->lock);
    return n;
}

struct query_ids query_ids(const struct query *q)
{
    return q->ids;
}

struct str query_name(const struct query *q)
{
    return q->name;
}

void query_session_gone(struct query_manager *m, struct str session_id)
{
    os_mutex_lock(m->lock);
    for (size_t i = 0; i < m->queries.n; i++)
        if (str_eq(m->queries.p[i]->session_id, session_id)) {
            m->queries.p[i]->is_orphan = true;
            ask_to_stop(m->queries.p[i]);
        }
    os_mutex_unlock(m->lock);
    forget(m);
}

void query_manager_stats(struct query_manager *m, struct query_stats *out)
{
    os_mutex_lock(m->lock);
    *out = m->gone;
    for (size_t i = 0; i < m->queries.n; i++) {
        struct query *q = m->queries.p[i];
        os_mutex_lock(q->lock);
        out->queries += !q->is_terminated;
        out->batches += q->stats.batches;
        out->rows_in += q->stats.rows_in;
        out->rows_out += q->stats.rows_out;
        os_mutex_unlock(q->lock);
    }
    os_mutex_unlock(m->lock);
}

/* -- waiting -------------------------------------------------------------------------------------------------------------------- */

static bool is_cancelled(const bool *cancelled)
{
    return cancelled && __atomic_load_n(cancelled, __ATOMIC_RELAXED);
}

static void wait(struct os_cond *c, struct os_mutex *m, int64_t deadline_ns)
{
    if (deadline_ns == INT64_MAX)
        os_cond_wait(c, m);
    else
        os_cond_wait_until(c, m, deadline_ns);
}

static int64_t deadline_of(int64_t timeout_ms)
{
    return timeout_ms < 0 || timeout_ms > INT64_C(1) << 40 ? INT64_MAX : os_mono_ns() + timeout_ms * 1000000;
}

bool query_await(struct query *q, int64_t timeout_ms, const bool *cancelled)
{
    int64_t deadline = deadline_of(timeout_ms);
    os_mutex_lock(q->lock);
    while (!q->is_terminated && !is_cancelled(cancelled) && os_mono_ns() < deadline)
        wait(q->changed, q->lock, deadline);
    bool ended = q->is_terminated;
    os_mutex_unlock(q->lock);
    return ended;
}

static uint64_t reset_at(struct query_manager *m, struct str session_id)
{
    uint64_t *at = map_get(&m->reset, session_id);
    return at ? *at : 0;
}

static bool any_ended(struct query_manager *m, struct str session_id)
{
    uint64_t since = reset_at(m, session_id);
    for (size_t i = 0; i < m->queries.n; i++) {
        struct query *q = m->queries.p[i];
        if (str_eq(q->session_id, session_id) && has_ended(q) && q->terminated_at > since)
            return true;
    }
    return false;
}

bool query_await_any(struct query_manager *m, struct str session_id, int64_t timeout_ms, const bool *cancelled)
{
    int64_t deadline = deadline_of(timeout_ms);
    bool ended;
    os_mutex_lock(m->lock);
    while (!(ended = any_ended(m, session_id)) && !is_cancelled(cancelled) && os_mono_ns() < deadline)
        wait(m->changed, m->lock, deadline);
    os_mutex_unlock(m->lock);
    return ended;
}

void query_reset_terminated(struct query_manager *m, struct str session_id)
{
    uint64_t *at = malloc(sizeof *at);
    if (!at)
        memory_out("a version");
    os_mutex_lock(m->lock);
    *at = m->terminations;
    free(map_put(&m->reset, session_id, at));
    os_mutex_unlock(m->lock);
}

enum err query_process_all_available(struct query *q, const bool *cancelled, struct fault *f)
{
    os_mutex_lock(q->lock);
    uint64_t since = q->checks;
    q->woken = true;
    os_cond_broadcast(q->changed);
    while (!q->is_terminated && q->idle_check <= since && !is_cancelled(cancelled))
        os_cond_wait(q->changed, q->lock);
    enum err e = ERR_OK;
    if (q->is_terminated && q->is_failed) {
        *f = q->fault;
        e = f->err;
    } else if (is_cancelled(cancelled)) {
        e = FAULT(f, ERR_CANCELLED);
    }
    os_mutex_unlock(q->lock);
    return e;
}

void query_wake(struct query_manager *m)
{
    os_mutex_lock(m->lock);
    for (size_t i = 0; i < m->queries.n; i++) {
        struct query *q = m->queries.p[i];
        os_mutex_lock(q->lock);
        os_cond_broadcast(q->changed);
        os_mutex_unlock(q->lock);
    }
    os_cond_broadcast(m->changed);
    os_mutex_unlock(m->lock);
}
