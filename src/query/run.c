/*
 * The thread of a query: Spark's MicroBatchExecution, woken instead of polling.
 *
 *   start ─▶ sources, state ─▶ [ trigger ─▶ plan N? ─▶ durable ─▶ execute ─▶ sink ─▶ watermark ─▶ commit N (+ plan N+1) ]↺
 *
 * Where the sink is transactional, prepared.c takes the second half of a batch.
 */
#include "query/query_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* -- waking and sleeping --------------------------------------------------------------------------------------------------- */

void query_wake_thread(void *arg)
{
    struct query *q = arg;
    os_mutex_lock(q->lock);
    q->woken = true;
    os_cond_broadcast(q->changed);
    os_mutex_unlock(q->lock);
}

bool query_is_stopping(struct query *q)
{
    os_mutex_lock(q->lock);
    bool stop = q->stop;
    os_mutex_unlock(q->lock);
    return stop;
}

static void sleep_until(struct query *q, int64_t deadline_ns, bool or_woken)
{
    os_mutex_lock(q->lock);
    while (!q->stop && !(or_woken && q->woken) && os_mono_ns() < deadline_ns) {
        if (deadline_ns == INT64_MAX)
            os_cond_wait(q->changed, q->lock);
        else
            os_cond_wait_until(q->changed, q->lock, deadline_ns);
    }
    if (or_woken)
        q->woken = false;
    os_mutex_unlock(q->lock);
}

void query_sleep(struct query *q, int64_t deadline_ns)
{
    sleep_until(q, deadline_ns, true);
}

/* -- start ---------------------------------------------------------------------------------------------------------------------- */

static enum err open_sources(struct query *q, const struct plan_node *n, struct fault *f)
{
    enum err e = ERR_OK;
    if (n->kind == PLAN_SCAN) {
        if (!n->is_streaming)
            return FAULT(f, ERR_UNSUPPORTED, {"feature", "a batch source inside a streaming query"}, {"hint", ""});
        struct source_env env = q->manager->env;
        env.cancelled = &q->cancel;
        e = source_open(&env, n, true, &q->sources[n->scan_id].source, f);
        if (!e)
            source_watch(q->sources[n->scan_id].source, query_wake_thread, q);
        return e;
    }
    for (int i = 0; !e && i < n->nchildren; i++)
        e = open_sources(q, n->children[i], f);
    return e;
}

/* Where each source starts for the very first batch: from the checkpoint, or now, to be kept with plan 0. */
static void set_end(struct query_source *s, struct str end)
{
    buf_clear(&s->end_text);
    buf_str(&s->end_text, end);
    s->end = buf_whole(&s->end_text, "a source's offsets");
}

static enum err initial_offsets(struct query *q, struct fault *f)
{
    enum err e = ERR_OK;
    for (int i = 0; !e && i < q->nsources; i++) {
        struct query_source *s = &q->sources[i];
        struct str text = checkpoint_fact(q->checkpoint, (uint32_t)i), at = {0};
        if (text.n) {
            at = source_restore(s->source, text);
        } else if (!(e = source_initial(s->source, os_now_ms(), q->arena, &at, f))) {
            struct buf b = {0};
            source_start_text(s->source, at, &b);
            checkpoint_fact_set(q->checkpoint, (uint32_t)i, buf_whole(&b, "a source's first offsets"));
            buf_free(&b);
        }
        set_end(s, at);
        source_remember(s->source, checkpoint_fact(q->checkpoint, CHECKPOINT_FACT_PRIVATE + (uint32_t)i));
    }
    return e;
}

/* The offsets, watermarks and batch that the checkpoint ends with. */
static enum err resume(struct query *q, struct fault *f)
{
    const struct checkpoint_info *info = &q->info;
    struct batch_plan before = {0};
    enum err e = initial_offsets(q, f);
    q->committed = info->last_committed;
    q->current.batch = -1;
    if (e || info->last_planned < 0)
        return e;
    if ((e = batch_plan_parse(info->plan, q->nsources, q->arena, &q->current, f)))
        return e;
    q->current.batch = info->last_planned;
    q->shuffle_partitions = q->current.shuffle_partitions;
    q->watermark_ms = q->current.watermark_ms;
    if (info->previous_plan.n && (e = batch_plan_parse(info->previous_plan, q->nsources, q->arena, &before, f)))
        return e;
    q->is_planned = q->is_plan_durable = info->last_planned > info->last_committed;
    const struct batch_plan *done = q->is_planned ? &before : &q->current;
    for (int i = 0; done->ends && i < q->nsources; i++)
        if (done->ends[i].n)
            set_end(&q->sources[i], done->ends[i]);
    q->previous_watermark_ms = before.watermark_ms;
    int64_t next = 0;
    if (!q->is_planned && batch_commit_parse(info->commit, q->arena, &next) && next > q->watermark_ms)
        q->watermark_ms = next;
    q->has_data = true;
    return ERR_OK;
}

static enum err start(struct query *q, struct fault *f)
{
    query_message(q, "Initializing sources");
    enum err e = open_sources(q, q->plan->root, f);
    if (!e)
        e = prepared_resolve(q, f);
    if (!e)
        e = resume(q, f);
    return e ? e : stateful_open(q, f); /* by the shuffle partitions that the checkpoint has */
}

/* -- planning ---------------------------------------------------------------------------------------------------------------------- */

/* availableNow: what is there when the first new batch is planned is all that the run reads. */
static enum err fix_caps(struct query *q, struct fault *f)
{
    enum err e = ERR_OK;
    for (int i = 0; !e && i < q->nsources; i++) {
        struct query_source *s = &q->sources[i];
        struct str ignored;
        if (s->cap.n)
            continue;
        e = source_latest(s->source, s->end, (struct str){0}, os_now_ms(), true, q->arena, &s->cap, &ignored, f);
    }
    return e;
}

static void describe_offsets(struct query *q)
{
    char *text = NULL;
    struct buf b = {0};
    struct arena *a = arena_new(0);
    for (int i = 0; i < q->nsources; i++)
        buf_fmt(&b, "%s%.*s: %.*s", i ? ", " : "", STR_ARG(source_description(q->sources[i].source, a)),
                STR_ARG(q->sources[i].end));
    arena_free(a);
    size_t n;
    text = buf_take(&b, &n);
    os_mutex_lock(q->lock);
    free((char *)q->available_text.p);
    q->available_text = str_make(text, text ? n : 0);
    os_mutex_unlock(q->lock);
}

/*
 * Is there a batch to run? On *planned the plan is in `next` (its offsets in next_arena), not durable yet. As Spark's
 * constructNextBatch: new data, or state to clean up because the watermark moved past the last batch's.
 */
static enum err plan_next(struct query *q, struct batch_plan *next, bool *planned, bool *has_data, struct fault *f)
{
    int64_t start_ns = os_mono_ns();
    *planned = *has_data = false;
    if (q->options.trigger == TRIGGER_AVAILABLE_NOW) {
        enum err e = fix_caps(q, f);
        if (e)
            return e;
    }
    arena_reset(q->next_arena);
    *next = (struct batch_plan){q->committed + 1, q->watermark_ms, os_now_ms(), q->shuffle_partitions,
                                ARENA_ARRAY(q->next_arena, (size_t)q->nsources + 1, struct str)};
    for (int i = 0; i < q->nsources; i++) {
        struct query_source *s = &q->sources[i];
        enum err e = source_latest(s->source, s->end, s->cap, next->timestamp_ms, q->options.trigger == TRIGGER_ONCE,
                                   q->next_arena, &next->ends[i], &s->next_latest, f);
        if (e)
            return e;
        /* the very first batch has nothing before it: it runs even when there is nothing to read */
        *has_data |= q->current.batch < 0 || !str_eq(next->ends[i], s->end);
    }
    q->took.latest_offset += os_mono_ns() - start_ns;
    *planned = *has_data || (q->no_data_batches && q->has_run && stateful_wants_no_data(q) &&
                             q->watermark_ms > q->current.watermark_ms);
    os_mutex_lock(q->lock);
    q->is_data_available = *has_data;
    os_mutex_unlock(q->lock);
    return ERR_OK;
}

static void keep_identities(struct query *q)
{
    for (int i = 0; i < q->nsources; i++) {
        struct str id = source_identity(q->sources[i].source, q->next_arena);
        if (id.n)
            checkpoint_fact_set(q->checkpoint, CHECKPOINT_FACT_PRIVATE + (uint32_t)i, id);
    }
}

/* `next` becomes the current batch. */
static void adopt(struct query *q, const struct batch_plan *next, bool has_data, bool is_durable)
{
    struct arena *spare = q->batch_arena;
    q->previous_watermark_ms = q->current.batch >= 0 ? q->current.watermark_ms : 0;
    q->current = *next;
    q->batch_arena = q->next_arena;
    q->next_arena = spare;
    q->is_planned = true;
    q->is_plan_durable = is_durable;
    q->has_data = has_data;
}

/* -- a batch ---------------------------------------------------------------------------------------------------------------------------- */

/* Spark's WatermarkTracker: each node's maximum minus its delay, never back; their minimum (or maximum) is the query's. */
static void move_watermark(struct query *q)
{
    int64_t chosen = 0;
    for (int i = 0; i < q->nwatermarks; i++) {
        struct watermark *w = &q->watermarks[i];
        if (w->n) {
            int64_t ms = w->max_us / 1000 - (w->max_us % 1000 < 0) - w->node->delay_us / 1000;
            w->at_ms = ms > w->at_ms ? ms : w->at_ms;
        }
        if (!i || (q->watermark_is_max ? w->at_ms > chosen : w->at_ms < chosen))
            chosen = w->at_ms;
    }
    if (chosen > q->watermark_ms)
        q->watermark_ms = chosen;
}

static void begin_batch(struct query *q)
{
    for (int i = 0; i < q->nsources; i++) {
        struct query_source *s = &q->sources[i];
        struct buf spare = s->start_text;
        s->start_text = s->end_text;
        s->end_text = spare;
        s->start = buf_view(&s->start_text);
        set_end(s, q->current.ends[i].n ? q->current.ends[i] : s->start);
        buf_clear(&s->latest_text);
        buf_str(&s->latest_text, s->next_latest);
        s->latest = buf_view(&s->latest_text);
        s->next_latest = (struct str){0};
        s->rows = 0;
    }
    for (int i = 0; i < q->nwatermarks; i++)
        q->watermarks[i].n = 0, q->watermarks[i].sum_us = 0;
    describe_offsets(q);
    query_message(q, q->has_data ? "Processing new data" : "No new data but cleaning up state");
    os_mutex_lock(q->lock);
    q->is_trigger_active = true;
    os_mutex_unlock(q->lock);
}

/* May the next plan ride in this commit? Only where the next batch would begin at once. */
static bool plans_ahead(struct query *q)
{
    if (query_is_stopping(q))
        return false;
    if (q->options.trigger == TRIGGER_AVAILABLE_NOW)
        return true;
    return q->options.trigger == TRIGGER_DEFAULT && !sink_is_visible(q->sink) && q->options.mode != OUTPUT_COMPLETE;
}

static enum err commit(struct query *q, struct batch_plan *next, bool *planned, bool *has_data, struct fault *f)
{
    struct buf text = {0}, ahead = {0};
    struct str *changes = calloc(stateful_texts(q) + 1, sizeof *changes);
    enum err e = changes ? ERR_OK : FAULT(f, ERR_NOMEM, {"what", "a batch's commit"});
    int64_t batch = q->current.batch;
    batch_commit_text(q->watermark_ms, &text);
    q->committed = batch;
    *planned = false;
    if (!e && plans_ahead(q) && !(e = plan_next(q, next, planned, has_data, f)) && *planned) {
        keep_identities(q);
        batch_plan_text(next, q->nsources, &ahead);
    }
    /* a source that failed now fails the next trigger; this batch is done all the same */
    if (e && changes)
        e = ERR_OK;
    int64_t start_ns = os_mono_ns();
    if (!e) {
        size_t n = stateful_changes(q, changes);
        e = checkpoint_commit(q->checkpoint, batch, buf_whole(&text, "a batch's commit"),
                              buf_whole(&ahead, "a batch's plan"), changes, n, f);
    }
    if (!e)
        e = stateful_committed(q, f);
    q->took.commit_offsets += os_mono_ns() - start_ns;
    q->is_planned = false;
    free(changes);
    buf_free(&text);
    buf_free(&ahead);
    return e;
}

static void batch_counted(struct query *q)
{
    char *text;
    size_t n;
    struct buf b = {0};
    buf_str(&b, q->available_text);
    text = buf_take(&b, &n);
    os_mutex_lock(q->lock);
    q->stats.batches++;
    q->stats.rows_in += (uint64_t)q->rows_in;
    q->stats.rows_out += q->rows_out > 0 ? (uint64_t)q->rows_out : 0;
    free((char *)q->committed_text.p);
    q->committed_text = str_make(text, text ? n : 0);
    os_mutex_unlock(q->lock);
}

/* What the batch put out is out, and its state durable. */
static enum err finish_batch(struct query *q, struct batch_plan *next, bool *planned, bool *has_data, struct fault *f)
{
    int64_t start_ns = os_mono_ns();
    if (sink_is_transactional(q->sink)) {
        move_watermark(q);
        return prepared_commit(q, f);
    }
    enum err e = sink_commit(q->sink, &q->rows_out, f);
    q->took.add_batch += os_mono_ns() - start_ns;
    if (e)
        return e;
    move_watermark(q);
    return commit(q, next, planned, has_data, f);
}

static enum err run_batch(struct query *q, struct fault *f)
{
    struct batch_plan next;
    bool planned = false, has_data = false;
    int64_t start_ns = os_mono_ns();
    begin_batch(q);
    enum err e = sink_begin(q->sink, q->current.batch, f);
    if (!e)
        e = query_execute(q, f);
    q->took.add_batch = os_mono_ns() - start_ns;
    if (!e)
        e = finish_batch(q, &next, &planned, &has_data, f);
    if (e) {
        sink_abort(q->sink);
        prepared_failed(q);
        return e;
    }
    q->rows_in = 0;
    for (int i = 0; i < q->nsources; i++)
        q->rows_in += (int64_t)q->sources[i].rows;
    q->has_run = true;
    q->took.total = os_mono_ns() - q->trigger_start_ns;
    batch_counted(q);
    progress_add(q);
    if (planned)
        adopt(q, &next, has_data, true);
    return ERR_OK;
}

/* -- triggers ------------------------------------------------------------------------------------------------------------------------------ */

static void trigger_begin(struct query *q)
{
    int64_t now = os_now_ms();
    q->last_trigger_start_ms = q->trigger_start_ms;
    q->trigger_start_ms = now;
    q->trigger_start_ns = os_mono_ns();
    q->took = (struct timings){0};
}

/* Everything that was there at check number `check` has been processed. */
static void idle(struct query *q, uint64_t check)
{
    os_mutex_lock(q->lock);
    q->idle_check = check;
    os_cond_broadcast(q->changed);
    os_mutex_unlock(q->lock);
}

static enum err make_plan_durable(struct query *q, const struct batch_plan *next, struct fault *f)
{
    struct buf text = {0};
    int64_t start_ns = os_mono_ns();
    batch_plan_text(next, q->nsources, &text);
    enum err e = checkpoint_plan(q->checkpoint, next->batch, buf_whole(&text, "a batch's plan"), f);
    buf_free(&text);
    q->took.wal_commit = os_mono_ns() - start_ns;
    return e;
}

/* One trigger: a batch if there is one. *ran says so. */
static enum err trigger(struct query *q, bool *ran, struct fault *f)
{
    enum err e = ERR_OK;
    *ran = false;
    int64_t last = q->trigger_start_ms;
    trigger_begin(q);
    if (!q->is_planned) {
        struct batch_plan next;
        bool planned, has_data;
        os_mutex_lock(q->lock);
        uint64_t check = ++q->checks;
        os_mutex_unlock(q->lock);
        if ((e = plan_next(q, &next, &planned, &has_data, f)) || !planned) {
            q->trigger_start_ms = last; /* nothing happened: rates are since the last batch */
            if (!e)
                idle(q, check);
            return e;
        }
        bool now =
            !sink_is_transactional(q->sink); /* else it is durable before the output is, with the batch's state */
        keep_identities(q);
        if (now && (e = make_plan_durable(q, &next, f)))
            return e;
        adopt(q, &next, has_data, now);
    }
    *ran = true;
    e = run_batch(q, f);
    os_mutex_lock(q->lock);
    q->is_trigger_active = false;
    os_mutex_unlock(q->lock);
    return e;
}

static int64_t watch_ms(struct query *q)
{
    int64_t least = INT64_MAX;
    for (int i = 0; i < q->nsources; i++) {
        int64_t ms = source_watch(q->sources[i].source, query_wake_thread, q);
        if (ms >= 0 && ms < least)
            least = ms;
    }
    return least;
}

/* The default trigger: at once when there is something; what people look at, at most every 100 ms. */
static enum err wait_default(struct query *q, bool ran, int64_t poll_ms, struct fault *f)
{
    if (ran && (sink_is_visible(q->sink) || q->options.mode == OUTPUT_COMPLETE)) {
        sleep_until(q, q->trigger_start_ns + VISIBLE_PAUSE_MS * INT64_C(1000000), false);
        return ERR_OK;
    }
    if (ran || q->is_planned)
        return ERR_OK;
    query_message(q, "Waiting for data to arrive");
    int64_t wake = poll_ms == INT64_MAX ? INT64_MAX : os_mono_ns() + poll_ms * 1000000;
    enum err e = prepared_settle(q, &wake, f);
    if (!e)
        query_sleep(q, wake);
    return e;
}

/* Spark's ProcessingTimeExecutor: at whole multiples of the interval. */
static enum err wait_interval(struct query *q, struct fault *f)
{
    int64_t now_ms = os_now_ms(), every = q->options.trigger_ms;
    int64_t next = now_ms / every * every + every, wake = os_mono_ns() + (next - now_ms) * 1000000, nap = wake;
    query_message(q, "Waiting for next trigger");
    enum err e = prepared_settle(q, &nap, f);
    if (!e && nap < wake) {
        sleep_until(q, nap, false);
        e = prepared_settle(q, &nap, f);
    }
    if (!e)
        sleep_until(q, wake, false);
    return e;
}

static enum err loop(struct query *q, struct fault *f)
{
    int64_t poll_ms = watch_ms(q);
    bool ran;
    for (;;) {
        os_mutex_lock(q->lock);
        q->woken = false; /* what comes after this is seen by the next plan or wakes the sleep */
        os_mutex_unlock(q->lock);
        enum err e = trigger(q, &ran, f);
        if (e || query_is_stopping(q))
            return e;
        switch (q->options.trigger) {
        case TRIGGER_ONCE:
            return ERR_OK;
        case TRIGGER_AVAILABLE_NOW:
            if (!ran)
                return ERR_OK;
            break;
        case TRIGGER_PROCESSING_TIME:
            if (q->options.trigger_ms > 0) {
                e = wait_interval(q, f);
                break;
            } /* fall through */
        case TRIGGER_DEFAULT:
            e = wait_default(q, ran, poll_ms, f);
        }
        if (e || query_is_stopping(q))
            return e;
    }
}

/* -- the end ---------------------------------------------------------------------------------------------------------------------------------- */

static void close_all(struct query *q)
{
    for (int i = 0; i < q->nsources; i++)
        if (q->sources[i].source)
            source_watch(q->sources[i].source, NULL, NULL);
    for (int i = 0; i < q->nsources; i++) {
        struct query_source *s = &q->sources[i];
        source_close(s->source);
        buf_free(&s->start_text);
        buf_free(&s->end_text);
        buf_free(&s->latest_text);
    }
    q->nsources = 0;
    stateful_free(q);
    sink_close(q->sink);
    q->sink = NULL;
    checkpoint_close(q->checkpoint);
    q->checkpoint = NULL;
    struct fault f;
    if (q->is_temporary && os_remove_tree(q->checkpoint_dir.p, &f))
        os_log(OS_WARN, "query", "%s: %s", q->checkpoint_dir.p, fault_message(&f));
    if (q->options.on_console_free)
        q->options.on_console_free(q->options.console_arg);
}

static void terminated(struct query *q, enum err e, const struct fault *f)
{
    struct query_manager *m = q->manager;
    os_mutex_lock(m->lock);
    os_mutex_lock(q->lock);
    q->is_failed = e != ERR_OK;
    if (e)
        q->fault = *f;
    q->is_trigger_active = q->is_data_available = false;
    q->terminated_at = ++m->terminations;
    q->is_terminated = true;
    os_cond_broadcast(q->changed);
    os_mutex_unlock(q->lock);
    os_cond_broadcast(m->changed);
    os_mutex_unlock(m->lock);
}

void query_run(void *arg)
{
    struct query *q = arg;
    struct fault f = {0};
    enum err e = start(q, &f);
    if (!e)
        e = loop(q, &f);
    if (e == ERR_CANCELLED && query_is_stopping(q))
        e = ERR_OK;
    if (e) {
        os_log(OS_ERROR, "query", "%s (%s) failed: %s", q->ids.id, q->name.n ? q->name.p : "unnamed",
               fault_message(&f));
        query_message(q, "Terminated with exception: %s", fault_message(&f));
    } else {
        query_message(q, "Stopped");
    }
    close_all(q);
    terminated(q, e, &f);
}
