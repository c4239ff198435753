/*
 * The simulated scheduler: threads that are stacks of one real thread (ucontext), one of which runs. Whoever must wait hands
 * on; the seed says to whom. When nobody can run, the clock jumps to the earliest deadline. A hand-over costs a quarter of a
 * microsecond, where real threads and a baton cost the kernel's thirty: a run is 100 times as many steps in the same time.
 * What belongs to a thread is not a matter of the compiler then: os_thread_self tells who runs.
 */
#include "os/alloc_fault.h"
#include "os/sim_int.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#elif defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

enum { THREADS_MAX = 256, SWITCH_ONE_IN = 4, STEPS_AT_ONCE = 5000000 };
enum state { RUNNABLE, WAITS_MUTEX, WAITS_COND, WAITS_EVENT, SLEEPS, WAITS_JOIN, DONE };
static const size_t STACK_BYTES = (size_t)8 << 20,
                    GUARD_BYTES = 64 << 10; /* as large as the real ones; touched lazily */

struct os_thread {
    enum state state;
    const void *what;    /* mutex, condition, thread, or what sim_wait was given */
    int number;          /* in order of starting */
    int64_t deadline_ns; /* -1: none */
    bool timed_out;
    int alloc_paused;
    ucontext_t context;
    char *stack;
    void *fiber, *fake_stack; /* the sanitizers' */
    void (*fn)(void *);
    void *arg;
};
struct os_mutex {
    struct os_thread *owner;
};
struct os_cond {
    int unused;
};

static struct os_thread *threads[THREADS_MAX];
static int nthreads, next_number;
static struct os_thread *running;
#if defined(__SANITIZE_ADDRESS__)
static const void *main_stack;
static size_t main_stack_bytes;
#endif
static int64_t clock_ns = 1000000000, wall_us;    /* wall_us: how far the wall clock was set */
static uint64_t steps;                            /* since the clock last moved */
static const int64_t EPOCH_US = 1790000000000000; /* some day in 2026 */

/* Runnable threads; with none, the clock moves to the earliest deadline. */
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

/* -- stacks ------------------------------------------------------------------------------------------------------------- */

static void before_switch(struct os_thread *from, struct os_thread *to)
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(from->state == DONE ? NULL : &from->fake_stack, to->stack ? to->stack : main_stack,
                                   to->stack ? STACK_BYTES : main_stack_bytes);
#elif defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(to->fiber, 0);
#endif
    (void)from;
    (void)to;
}

static void after_switch(struct os_thread *self)
{
#if defined(__SANITIZE_ADDRESS__)
    const void *bottom;
    size_t n;
    __sanitizer_finish_switch_fiber(self->fake_stack, &bottom, &n);
    if (!main_stack_bytes) { /* the first switch leaves the main thread's stack */
        main_stack = bottom;
        main_stack_bytes = n;
    }
#endif
    (void)self;
}

/* To whom the seed says; returns when it is this one's turn again. */
static void hand_on(struct os_thread *self)
{
    struct os_thread *next = choose();
    sim_trace((uint64_t)next->number << 48 ^ (uint64_t)clock_ns);
    if (next == self)
        return;
    running = next;
    self->alloc_paused = alloc_fault_swap(next->alloc_paused);
    before_switch(self, next);
    swapcontext(&self->context, &next->context);
    after_switch(self);
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
    t->deadline_ns = -1;
    t->number = next_number++;
#if defined(__SANITIZE_THREAD__)
    t->fiber = __tsan_get_current_fiber();
#endif
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

struct os_thread *simt_thread_self(void)
{
    return running;
}

static void body(void)
{
    struct os_thread *self = running;
    after_switch(self);
    self->fn(self->arg);
    self->state = DONE;
    for (int i = 0; i < nthreads; i++)
        if (threads[i]->state == WAITS_JOIN && threads[i]->what == self)
            threads[i]->state = RUNNABLE;
    hand_on(self);
    sim_fatal("a thread that is done goes on");
}

/* Below the stack lies what must not be touched: an overflow is a crash, as it is with a real thread. */
static char *stack_new(void)
{
    char *p = mmap(NULL, GUARD_BYTES + STACK_BYTES, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (p == MAP_FAILED || mprotect(p, GUARD_BYTES, PROT_NONE))
        sim_fatal("no memory for a thread's stack");
    return p + GUARD_BYTES;
}

enum err simt_thread_start(struct os_thread **out, const char *name, void (*fn)(void *), void *arg, struct fault *f)
{
    (void)name;
    (void)f;
    if (nthreads == THREADS_MAX)
        sim_fatal("more than %d threads", THREADS_MAX);
    struct os_thread *t = sim_alloc(sizeof *t);
    t->fn = fn;
    t->arg = arg;
    t->deadline_ns = -1;
    t->number = next_number++;
    t->stack = stack_new();
#if defined(__SANITIZE_THREAD__)
    t->fiber = __tsan_create_fiber(0);
#endif
    getcontext(&t->context);
    t->context.uc_stack.ss_sp = t->stack;
    t->context.uc_stack.ss_size = STACK_BYTES;
    makecontext(&t->context, body, 0);
    threads[nthreads++] = t;
    *out = t;
    sim_may_switch();
    return ERR_OK;
}

void simt_thread_join(struct os_thread *t)
{
    while (t->state != DONE)
        wait_for(WAITS_JOIN, t, -1);
    for (int i = 0; i < nthreads; i++)
        if (threads[i] == t)
            threads[i] = threads[--nthreads];
#if defined(__SANITIZE_THREAD__)
    __tsan_destroy_fiber(t->fiber);
#endif
    munmap(t->stack - GUARD_BYTES, GUARD_BYTES + STACK_BYTES);
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
