/*
 * The simulated scheduler: real threads, one of which holds the baton. Whoever must wait hands it on; the seed says to
 * whom. When nobody can run, the clock jumps to the earliest deadline. Data written by one thread is handed over with the
 * baton's own lock, so that the sanitizers see an ordinary, well-locked program.
 */
#include "os/sim_int.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { THREADS_MAX = 256, SWITCH_ONE_IN = 4, STEPS_AT_ONCE = 2000000 };
enum state { RUNNABLE, WAITS_MUTEX, WAITS_COND, WAITS_EVENT, SLEEPS, WAITS_JOIN, DONE };

struct os_thread {
    enum state state;
    const void *what;    /* mutex, condition, thread, or what sim_wait was given */
    int number;          /* in order of starting */
    int64_t deadline_ns; /* -1: none */
    bool timed_out;
    pthread_cond_t turn;
    pthread_t id;
    void (*fn)(void *);
    void *arg;
    bool real;
};
struct os_mutex {
    struct os_thread *owner;
};
struct os_cond {
    int unused;
};

static pthread_mutex_t baton_lock = PTHREAD_MUTEX_INITIALIZER;
static struct os_thread *threads[THREADS_MAX];
static int nthreads, next_number;
static struct os_thread *running;
static int64_t clock_ns = 1000000000, wall_us;    /* wall_us: how far the wall clock was set */
static uint64_t steps;                            /* since the clock last moved */
static const int64_t EPOCH_US = 1790000000000000; /* some day in 2026 */

/* Runnable threads; with none, the clock moves to the earliest deadline. Under baton_lock. */
static struct os_thread *choose(void)
{
    for (;;) {
        struct os_thread *ready[THREADS_MAX];
        int n = 0;
        int64_t earliest = INT64_MAX;
        for (int i = 0; i < nthreads; i++) {
            struct os_thread *t = threads[i];
            if (t->state == RUNNABLE)
                ready[n++] = t;
            else if (t->state != DONE && t->deadline_ns >= 0 && t->deadline_ns < earliest)
                earliest = t->deadline_ns;
        }
        if (n && ++steps > STEPS_AT_ONCE)
            sim_fatal("a thread spins: the clock stands still");
        if (n)
            return ready[sim_random((uint64_t)n)];
        if (earliest == INT64_MAX)
            sim_fatal("deadlock: every thread waits");
        steps = 0;
        clock_ns = earliest > clock_ns ? earliest : clock_ns;
        for (int i = 0; i < nthreads; i++) {
            struct os_thread *t = threads[i];
            if (t->state != DONE && t->state != RUNNABLE && t->deadline_ns >= 0 && t->deadline_ns <= clock_ns) {
                t->state = RUNNABLE;
                t->timed_out = true;
                t->deadline_ns = -1;
            }
        }
    }
}

/* Hand the baton to whom the seed says and wait until it comes back. A thread that is done does not wait. */
static void hand_on(struct os_thread *self)
{
    pthread_mutex_lock(&baton_lock);
    struct os_thread *next = choose();
    sim_trace((uint64_t)next->number << 48 ^ (uint64_t)clock_ns);
    if (next != self) {
        running = next;
        pthread_cond_signal(&next->turn);
        while (self->state != DONE && running != self)
            pthread_cond_wait(&self->turn, &baton_lock);
    }
    pthread_mutex_unlock(&baton_lock);
}

static void wait_for(enum state state, const void *what, int64_t deadline_ns)
{
    struct os_thread *self = running;
    self->state = state;
    self->what = what;
    self->deadline_ns = deadline_ns;
    self->timed_out = false;
    hand_on(self);
}

void sim_may_switch(void)
{
    if (sim_random(SWITCH_ONE_IN) == 0)
        hand_on(running);
}

void sim_wait(const void *what, int64_t deadline_ns)
{
    wait_for(WAITS_EVENT, what, deadline_ns);
}

void sim_wake(const void *what, int64_t at_ns)
{
    for (int i = 0; i < nthreads; i++) {
        struct os_thread *t = threads[i];
        if (t->state != WAITS_EVENT || t->what != what)
            continue;
        if (at_ns <= clock_ns)
            t->state = RUNNABLE;
        else if (t->deadline_ns < 0 || t->deadline_ns > at_ns)
            t->deadline_ns = at_ns;
    }
}

void sim_set_clock(int64_t by_ms)
{
    wall_us += by_ms * 1000;
}

void sim_threads_start(void)
{
    struct os_thread *t = sim_alloc(sizeof *t);
    pthread_cond_init(&t->turn, NULL);
    t->deadline_ns = -1;
    t->number = next_number++;
    threads[nthreads++] = t;
    running = t;
}

int64_t simt_now_us(void)
{
    return EPOCH_US + clock_ns / 1000 + wall_us;
}

int64_t simt_mono_ns(void)
{
    return clock_ns;
}

void simt_sleep_ms(int64_t ms)
{
    wait_for(SLEEPS, NULL, clock_ns + (ms > 0 ? ms : 0) * 1000000);
}

static void *body(void *arg)
{
    struct os_thread *self = arg;
    pthread_mutex_lock(&baton_lock);
    while (running != self)
        pthread_cond_wait(&self->turn, &baton_lock);
    pthread_mutex_unlock(&baton_lock);
    self->fn(self->arg);
    self->state = DONE;
    for (int i = 0; i < nthreads; i++)
        if (threads[i]->state == WAITS_JOIN && threads[i]->what == self)
            threads[i]->state = RUNNABLE;
    hand_on(self);
    return NULL;
}

enum err simt_thread_start(struct os_thread **out, const char *name, void (*fn)(void *), void *arg, struct fault *f)
{
    (void)name;
    (void)f;
    if (nthreads == THREADS_MAX)
        sim_fatal("more than %d threads", THREADS_MAX);
    struct os_thread *t = sim_alloc(sizeof *t);
    pthread_cond_init(&t->turn, NULL);
    t->fn = fn;
    t->arg = arg;
    t->deadline_ns = -1;
    t->real = true;
    t->number = next_number++;
    pthread_mutex_lock(&baton_lock);
    threads[nthreads++] = t;
    pthread_mutex_unlock(&baton_lock);
    if (pthread_create(&t->id, NULL, body, t))
        sim_fatal("cannot start a thread");
    *out = t;
    sim_may_switch();
    return ERR_OK;
}

void simt_thread_join(struct os_thread *t)
{
    while (t->state != DONE)
        wait_for(WAITS_JOIN, t, -1);
    pthread_join(t->id, NULL);
    pthread_mutex_lock(&baton_lock);
    for (int i = 0; i < nthreads; i++)
        if (threads[i] == t)
            threads[i] = threads[--nthreads];
    pthread_mutex_unlock(&baton_lock);
    pthread_cond_destroy(&t->turn);
    free(t);
}

struct os_mutex *simt_mutex_new(void)
{
    return sim_alloc(sizeof(struct os_mutex));
}

void simt_mutex_free(struct os_mutex *m)
{
    if (m->owner)
        sim_fatal("a held mutex is freed");
    free(m);
}

static void lock(struct os_mutex *m)
{
    if (m->owner == running)
        sim_fatal("a mutex is locked twice by its owner");
    while (m->owner)
        wait_for(WAITS_MUTEX, m, -1);
    m->owner = running;
}

void simt_mutex_lock(struct os_mutex *m)
{
    sim_may_switch();
    lock(m);
}

static void unlock(struct os_mutex *m)
{
    if (m->owner != running)
        sim_fatal("a mutex is unlocked by another thread");
    m->owner = NULL;
    for (int i = 0; i < nthreads; i++)
        if (threads[i]->state == WAITS_MUTEX && threads[i]->what == m)
            threads[i]->state = RUNNABLE;
}

void simt_mutex_unlock(struct os_mutex *m)
{
    unlock(m);
}

struct os_cond *simt_cond_new(void)
{
    return sim_alloc(sizeof(struct os_cond));
}

void simt_cond_free(struct os_cond *c)
{
    for (int i = 0; i < nthreads; i++)
        if (threads[i]->state == WAITS_COND && threads[i]->what == c)
            sim_fatal("a condition is freed while a thread waits for it");
    free(c);
}

bool simt_cond_wait_until(struct os_cond *c, struct os_mutex *m, int64_t deadline_ns)
{
    struct os_thread *self = running;
    unlock(m);
    wait_for(WAITS_COND, c, deadline_ns);
    bool in_time = !self->timed_out;
    lock(m);
    return in_time;
}

void simt_cond_wait(struct os_cond *c, struct os_mutex *m)
{
    (void)simt_cond_wait_until(c, m, -1);
}

void simt_cond_signal(struct os_cond *c, bool all)
{
    int n = 0;
    for (int i = 0; i < nthreads; i++)
        n += threads[i]->state == WAITS_COND && threads[i]->what == c;
    int pick = n ? (int)sim_random((uint64_t)n) : 0;
    for (int i = 0; i < nthreads; i++)
        if (threads[i]->state == WAITS_COND && threads[i]->what == c && (all || pick-- == 0)) {
            threads[i]->state = RUNNABLE;
            threads[i]->deadline_ns = -1;
        }
}
