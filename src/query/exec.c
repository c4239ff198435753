/* One batch: operators built over readers of its offset range, its rows handed to the sink; and the pool of threads that
 * share the work of all queries. */
#include "query/query_int.h"

#include "base/memory.h"

#include <stdlib.h>

/* -- the pool ---------------------------------------------------------------------------------------------------------- */

struct job { /* on its caller's stack */
    struct job *next;
    void (*fn)(void *arg, int i);
    void *arg;
    int n, taken, done;
};
struct pool {
    struct os_mutex *lock;
    struct os_cond *work, *done;
    struct job *jobs;
    struct os_thread **threads;
    int nthreads;
    bool stop;
};

/* Take one piece of the first job that has some left; under lock, which is let go meanwhile. */
static bool work_once(struct pool *p, struct job *only)
{
    struct job *j = only;
    for (j = only ? only : p->jobs; j && !only && j->taken == j->n;)
        j = j->next;
    if (!j || j->taken == j->n)
        return false;
    int i = j->taken++;
    os_mutex_unlock(p->lock);
    j->fn(j->arg, i);
    os_mutex_lock(p->lock);
    if (++j->done == j->n)
        os_cond_broadcast(p->done);
    return true;
}

static void worker(void *arg)
{
    struct pool *p = arg;
    os_mutex_lock(p->lock);
    while (!p->stop)
        if (!work_once(p, NULL))
            os_cond_wait(p->work, p->lock);
    os_mutex_unlock(p->lock);
}

struct pool *pool_new(int threads)
{
    struct pool *p = calloc(1, sizeof *p);
    if (!p || !(p->threads = calloc((size_t)threads + 1, sizeof *p->threads)))
        memory_out("a query's threads");
    p->lock = os_mutex_new();
    p->work = os_cond_new();
    p->done = os_cond_new();
    struct fault f;
    while (p->nthreads < threads && !os_thread_start(&p->threads[p->nthreads], "query-pool", worker, p, &f))
        p->nthreads++; /* fewer threads are slower, not wrong: the caller of pool_run works too */
    return p;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    os_mutex_lock(p->lock);
    p->stop = true;
    os_cond_broadcast(p->work);
    os_mutex_unlock(p->lock);
    for (int i = 0; i < p->nthreads; i++)
        os_thread_join(p->threads[i]);
    os_cond_free(p->work);
    os_cond_free(p->done);
    os_mutex_free(p->lock);
    free(p->threads);
    free(p);
}

void pool_run(struct pool *p, void (*fn)(void *arg, int i), void *arg, int n)
{
    struct job job = {.fn = fn, .arg = arg, .n = n};
    os_mutex_lock(p->lock);
    struct job **end = &p->jobs;
    while (*end)
        end = &(*end)->next;
    *end = &job;
    os_cond_broadcast(p->work);
    while (work_once(p, &job))
        ;
    while (job.done < n)
        os_cond_wait(p->done, p->lock);
    for (end = &p->jobs; *end != &job; end = &(*end)->next)
        ;
    *end = job.next;
    os_mutex_unlock(p->lock);
}

/* -- scans ---------------------------------------------------------------------------------------------------------------- */

struct counted { /* a reader whose rows are added to its source's when it closes */
    struct op op;
    struct op *inner;
    struct query_source *source;
};

static enum err counted_next(struct op *op, struct batch_cols **out, struct fault *f)
{
    return op_next(((struct counted *)op)->inner, out, f);
}

static void counted_close(struct op *op)
{
    struct counted *c = (struct counted *)op;
    if (!c->inner)
        return;
    __atomic_fetch_add(&c->source->rows, c->inner->rows, __ATOMIC_RELAXED);
    op_close(c->inner);
}

static const struct op_class COUNTED = {"StreamScan", counted_next, counted_close};

static enum err none_next(struct op *op, struct batch_cols **out, struct fault *f)
{
    (void)op, (void)f;
    *out = NULL;
    return ERR_OK;
}

/* A scan with nothing to read, or whose range is read in parts by what stands above it. */
static const struct op_class NONE = {"ScanInParts", none_next, NULL};

/* A reader of part `part` of the batch's range of a scan; counts its rows. */
static enum err scan_part(struct query *q, const struct op_env *env, const struct plan_node *scan,
                          const struct source_part *part, struct op **out, struct fault *f)
{
    struct query_source *s = &q->sources[scan->scan_id];
    if (str_eq(s->start, s->end)) {
        *out = op_new(sizeof **out, &NONE, scan, env, NULL);
        return ERR_OK;
    }
    struct counted *c = op_new(sizeof *c, &COUNTED, scan, env, NULL);
    c->source = s;
    enum err e = source_read(s->source, s->start, s->end, part, env, &c->inner, f);
    if (e) {
        op_close(&c->op);
        return e;
    }
    *out = &c->op;
    return ERR_OK;
}

static enum err open_scan(void *arg, const struct plan_node *scan, struct op **out, struct fault *f)
{
    static const struct source_part all = {.n = 1};
    struct query *q = arg;
    if (q->reads_in_parts) {
        *out = op_new(sizeof **out, &NONE, scan, &q->env, NULL);
        return ERR_OK;
    }
    return scan_part(q, &q->env, scan, &all, out, f);
}

static enum err open_stateful(void *arg, const struct plan_node *node, struct op *child, struct op **out,
                              struct fault *f)
{
    return stateful_operator(arg, node, child, out, f);
}

static void add_event_times(struct query *q, const struct plan_node *node, int64_t max_us, int64_t min_us,
                            int64_t sum_us, int64_t n)
{
    os_mutex_lock(q->watermark_lock);
    for (int i = 0; i < q->nwatermarks; i++) {
        struct watermark *w = &q->watermarks[i];
        if (w->node != node || !n)
            continue;
        w->max_us = !w->n || max_us > w->max_us ? max_us : w->max_us;
        w->min_us = !w->n || min_us < w->min_us ? min_us : w->min_us;
        w->sum_us += (double)sum_us;
        w->n += n;
    }
    os_mutex_unlock(q->watermark_lock);
}

static void event_time(void *arg, const struct plan_node *node, int64_t max_us, int64_t min_us, int64_t sum_us,
                       int64_t n)
{
    add_event_times(arg, node, max_us, min_us, sum_us, n);
}

/* -- in parts ------------------------------------------------------------------------------------------------------------- */

/* Do the nodes down to the streams all work row by row? Then the pieces of the ranges may be read by different threads. */
static bool row_by_row(const struct plan_node *n)
{
    switch (n->kind) {
    case PLAN_SCAN:
        return n->is_streaming;
    case PLAN_PROJECT:
    case PLAN_FILTER:
    case PLAN_WATERMARK:
    case PLAN_EXPAND_WINDOW:
    case PLAN_EXPLODE:
    case PLAN_UNION:
        break;
    default:
        return false;
    }
    for (int i = 0; i < n->nchildren; i++)
        if (!row_by_row(n->children[i]))
            return false;
    return n->nchildren > 0;
}

int exec_parts(const struct query *q, const struct plan_node *top, bool whole)
{
    int most = 1;
    if (!row_by_row(top))
        return 0;
    for (int i = 0; i < q->nsources; i++) {
        const struct query_source *s = &q->sources[i];
        int n = str_eq(s->start, s->end) ? 1 : source_parts(s->source, s->start, s->end, q->manager->threads, whole);
        most = n > most ? n : most;
    }
    return most;
}

static enum err part_scan(void *arg, const struct plan_node *scan, struct op **out, struct fault *f)
{
    struct exec_part *p = arg;
    return scan_part(p->q, &p->env, scan, &(struct source_part){p->i, p->n, p->whole}, out, f);
}

static void part_event_time(void *arg, const struct plan_node *node, int64_t max_us, int64_t min_us, int64_t sum_us,
                            int64_t n)
{
    add_event_times(((struct exec_part *)arg)->q, node, max_us, min_us, sum_us, n);
}

static void run_part(void *arg, int i)
{
    struct exec_part *p = (struct exec_part *)arg + i;
    struct op *op = NULL;
    p->env = p->q->env;
    p->env.arg = p;
    p->env.part = (uint32_t)p->i;
    p->env.open_scan = part_scan;
    p->env.open_stateful = NULL;
    p->env.event_time = part_event_time;
    p->err = op_build(p->top, &p->env, &op, &p->fault);
    if (!p->err)
        p->err = p->run(p->arg, p, op);
    op_close(op);
}

enum err exec_in_parts(struct query *q, const struct plan_node *top, int n, bool whole,
                       enum err (*run)(void *arg, struct exec_part *part, struct op *op), void *arg, struct fault *f)
{
    struct exec_part *parts = calloc((size_t)n, sizeof *parts);
    enum err e = parts ? ERR_OK : FAULT(f, ERR_NOMEM, {"what", "a batch"});
    for (int i = 0; !e && i < n; i++)
        parts[i] = (struct exec_part){.q = q, .top = top, .i = i, .n = n, .whole = whole, .run = run, .arg = arg};
    if (!e && n == 1)
        run_part(parts, 0);
    else if (!e)
        pool_run(q->manager->pool, run_part, parts, n);
    for (int i = 0; !e && i < n; i++)
        if ((e = parts[i].err))
            *f = parts[i].fault;
    free(parts);
    return e;
}

/* -- the batch ------------------------------------------------------------------------------------------------------------ */

struct writing { /* several parts to one sink, batch by batch */
    struct os_mutex *lock;
    bool failed;
};

static enum err write_part(void *arg, struct exec_part *part, struct op *op)
{
    struct writing *w = arg;
    struct batch_cols *rows;
    enum err e;
    while (!(e = op_next(op, &rows, &part->fault)) && rows && !__atomic_load_n(&w->failed, __ATOMIC_RELAXED)) {
        if (!rows->n)
            continue;
        os_mutex_lock(w->lock);
        e = sink_write(part->q->sink, rows, &part->fault);
        os_mutex_unlock(w->lock);
        if (e)
            break;
    }
    if (e)
        __atomic_store_n(&w->failed, true, __ATOMIC_RELAXED);
    return e;
}

/* Each thread reads whole partitions, so that the sink sees a partition's rows in their order. */
static enum err write_in_parts(struct query *q, int n, struct fault *f)
{
    struct writing w = {os_mutex_new(), false};
    enum err e = exec_in_parts(q, q->plan->root, n, true, write_part, &w, f);
    os_mutex_free(w.lock);
    return e;
}

static enum err write_all(struct query *q, struct fault *f)
{
    struct op *root = NULL;
    struct batch_cols *rows;
    int64_t start = os_mono_ns();
    enum err e = op_build(q->plan->root, &q->env, &root, f);
    q->took.query_planning += os_mono_ns() - start;
    while (!e && !(e = op_next(root, &rows, f)) && rows)
        if (rows->n)
            e = sink_write(q->sink, rows, f);
    op_close(root);
    return e;
}

enum err query_execute(struct query *q, struct fault *f)
{
    q->env = (struct op_env){
        .now_us = q->current.timestamp_ms * 1000,
        .zone = q->zone,
        .memory = &q->memory,
        .cancelled = &q->cancel,
        .arg = q,
        .open_scan = open_scan,
        .open_stateful = open_stateful,
        .event_time = event_time,
    };
    bool one_aggregation = q->nstateful == 1 && q->stateful->node->kind == PLAN_AGGREGATE;
    q->reads_in_parts = one_aggregation && exec_parts(q, q->stateful->node->children[0], false) > 0;
    int n = q->nstateful || !sink_takes_any_order(q->sink) ? 0 : exec_parts(q, q->plan->root, true);
    return n > 1 ? write_in_parts(q, n, f) : write_all(q, f);
}
