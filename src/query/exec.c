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

enum err exec_scan(struct query *q, const struct op_env *env, const struct plan_node *scan, int part, int nparts,
                   struct op **out, struct fault *f)
{
    struct query_source *s = &q->sources[scan->scan_id];
    struct counted *c = op_new(sizeof *c, &COUNTED, scan, env, NULL);
    c->source = s;
    enum err e = source_read(s->source, s->start, s->end, part, nparts, env, &c->inner, f);
    if (e) {
        op_close(&c->op);
        return e;
    }
    *out = &c->op;
    return ERR_OK;
}

static enum err none_next(struct op *op, struct batch_cols **out, struct fault *f)
{
    (void)op, (void)f;
    *out = NULL;
    return ERR_OK;
}

/* Where a stateful node reads its range itself, in parts, the scan below it has nothing to do. */
static const struct op_class NONE = {"ScanInParts", none_next, NULL};

static enum err open_scan(void *arg, const struct plan_node *scan, struct op **out, struct fault *f)
{
    struct query *q = arg;
    struct query_source *s = &q->sources[scan->scan_id];
    if (exec_reads_in_parts(q) || str_eq(s->start, s->end)) {
        *out = op_new(sizeof **out, &NONE, scan, &q->env, NULL);
        return ERR_OK;
    }
    return exec_scan(q, &q->env, scan, 0, 1, out, f);
}

static enum err open_stateful(void *arg, const struct plan_node *node, struct op *child, struct op **out,
                              struct fault *f)
{
    return stateful_operator(arg, node, child, out, f);
}

void exec_event_time(struct query *q, const struct plan_node *node, int64_t max_us, int64_t min_us, int64_t sum_us,
                     int64_t n)
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
    exec_event_time(arg, node, max_us, min_us, sum_us, n);
}

/* One source, one aggregation, and between them only what works row by row: then the range is read in parts. */
bool exec_reads_in_parts(const struct query *q)
{
    if (q->nstateful != 1 || q->nsources != 1 || q->stateful->node->kind != PLAN_AGGREGATE)
        return false;
    for (const struct plan_node *n = q->stateful->node->children[0];; n = n->children[0]) {
        switch (n->kind) {
        case PLAN_SCAN:
            return true;
        case PLAN_PROJECT:
        case PLAN_FILTER:
        case PLAN_WATERMARK:
        case PLAN_EXPAND_WINDOW:
        case PLAN_EXPLODE:
            break;
        default:
            return false;
        }
    }
}

enum err query_execute(struct query *q, struct fault *f)
{
    struct op *root = NULL;
    struct batch_cols *rows;
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
    int64_t start = os_mono_ns();
    enum err e = op_build(q->plan->root, &q->env, &root, f);
    q->took.query_planning += os_mono_ns() - start;
    while (!e && !(e = op_next(root, &rows, f)) && rows)
        if (rows->n)
            e = sink_write(q->sink, rows, f);
    op_close(root);
    return e;
}
