/* Timers and the threads that may block. One lock; no callback runs under it. */
#include "broker/broker_int.h"

static void place(struct clockwork *w, size_t i, struct alarm *a)
{
    w->heap.p[i] = a;
    a->at_index = i + 1;
}

static void sift_up(struct clockwork *w, size_t i, struct alarm *a)
{
    for (size_t up; i > 0 && w->heap.p[up = (i - 1) / 2]->at_ns > a->at_ns; i = up)
        place(w, i, w->heap.p[up]);
    place(w, i, a);
}

static void sift_down(struct clockwork *w, size_t i, struct alarm *a)
{
    for (size_t kid; (kid = 2 * i + 1) < w->heap.n; i = kid) {
        if (kid + 1 < w->heap.n && w->heap.p[kid + 1]->at_ns < w->heap.p[kid]->at_ns)
            kid++;
        if (w->heap.p[kid]->at_ns >= a->at_ns)
            break;
        place(w, i, w->heap.p[kid]);
    }
    place(w, i, a);
}

static void take_out(struct clockwork *w, struct alarm *a)
{
    size_t i = a->at_index - 1;
    struct alarm *last = w->heap.p[--w->heap.n];

    a->at_index = 0;
    if (last == a)
        return;
    if (i > 0 && w->heap.p[(i - 1) / 2]->at_ns > last->at_ns)
        sift_up(w, i, last);
    else
        sift_down(w, i, last);
}

void alarm_set(struct clockwork *w, struct alarm *a, int64_t after_ms, void (*fn)(void *arg), void *arg)
{
    os_mutex_lock(w->lock);
    if (a->at_index)
        take_out(w, a);
    a->at_ns = os_mono_ns() + (after_ms > 0 ? after_ms : 0) * 1000000;
    a->fn = fn;
    a->arg = arg;
    vec_push(&w->heap, a);
    sift_up(w, w->heap.n - 1, a);
    if (w->heap.p[0] == a)
        os_cond_signal(w->tick);
    os_mutex_unlock(w->lock);
}

bool alarm_cancel(struct clockwork *w, struct alarm *a)
{
    bool was;

    os_mutex_lock(w->lock);
    was = a->at_index != 0;
    if (was)
        take_out(w, a);
    os_mutex_unlock(w->lock);
    return was;
}

void clockwork_now(struct clockwork *w, void (*fn)(void *arg), void *arg)
{
    os_mutex_lock(w->lock);
    vec_push(&w->now, ((struct job){fn, arg}));
    if (w->now.n == 1)
        os_cond_signal(w->tick);
    os_mutex_unlock(w->lock);
}

/* Run what clockwork_now left; called and returns with the lock held. */
static bool run_now(struct clockwork *w)
{
    typeof(w->now) jobs = w->now;

    if (!jobs.n)
        return false;
    w->now.p = NULL;
    w->now.n = w->now.cap = 0;
    os_mutex_unlock(w->lock);
    for (size_t i = 0; i < jobs.n; i++)
        jobs.p[i].fn(jobs.p[i].arg);
    vec_free(&jobs);
    os_mutex_lock(w->lock);
    return true;
}

static void timer_thread(void *arg)
{
    struct clockwork *w = arg;

    os_mutex_lock(w->lock);
    for (;;) {
        if (run_now(w))
            continue;
        if (w->stopping)
            break;
        if (!w->heap.n) {
            os_cond_wait(w->tick, w->lock);
        } else if (w->heap.p[0]->at_ns > os_mono_ns()) {
            os_cond_wait_until(w->tick, w->lock, w->heap.p[0]->at_ns);
        } else {
            struct alarm *a = w->heap.p[0];
            struct job job = {a->fn, a->arg}; /* once the lock is gone the alarm may be set anew or freed */

            take_out(w, a);
            os_mutex_unlock(w->lock);
            job.fn(job.arg);
            os_mutex_lock(w->lock);
        }
    }
    os_mutex_unlock(w->lock);
}

bool clockwork_io(struct clockwork *w, void (*fn)(void *arg), void *arg)
{
    bool room;

    os_mutex_lock(w->lock);
    room = w->queue.n - w->queue_first < LIMIT_BROKER_QUEUE;
    if (room) {
        vec_push(&w->queue, ((struct job){fn, arg}));
        os_cond_signal(w->work);
    }
    os_mutex_unlock(w->lock);
    return room;
}

static void io_thread(void *arg)
{
    struct clockwork *w = arg;

    os_mutex_lock(w->lock);
    for (;;) {
        struct job job;

        if (w->queue_first == w->queue.n) {
            w->queue.n = w->queue_first = 0;
            if (w->stopping)
                break;
            os_cond_wait(w->work, w->lock);
            continue;
        }
        job = w->queue.p[w->queue_first++];
        os_mutex_unlock(w->lock);
        job.fn(job.arg);
        os_mutex_lock(w->lock);
    }
    os_mutex_unlock(w->lock);
}

enum err clockwork_start(struct clockwork *w, struct fault *f)
{
    enum err e;

    w->lock = os_mutex_new();
    w->tick = os_cond_new();
    w->work = os_cond_new();
    e = os_thread_start(&w->timer, "broker-timer", timer_thread, w, f);
    for (int i = 0; i < 2 && !e; i++)
        e = os_thread_start(&w->io[i], "broker-io", io_thread, w, f);
    if (e)
        clockwork_stop(w);
    return e;
}

void clockwork_stop(struct clockwork *w)
{
    os_mutex_lock(w->lock);
    w->stopping = true;
    os_cond_broadcast(w->tick);
    os_cond_broadcast(w->work);
    os_mutex_unlock(w->lock);
    for (int i = 0; i < 2; i++)
        if (w->io[i])
            os_thread_join(w->io[i]);
    if (w->timer)
        os_thread_join(w->timer);
    vec_free(&w->heap);
    vec_free(&w->now);
    vec_free(&w->queue);
    os_cond_free(w->tick);
    os_cond_free(w->work);
    os_mutex_free(w->lock);
}
