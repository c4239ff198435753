#include "os/os_int.h"

#include "base/memory.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct os_thread {
    pthread_t id;
    void (*fn)(void *);
    void *arg;
    char name[16];
};
struct os_mutex {
    pthread_mutex_t m;
};
struct os_cond {
    pthread_cond_t c;
};

/* -- clock ----------------------------------------------------------------------------------------------------------
 */
static int64_t clock_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t os_now_us(void)
{
    return os_twin ? os_twin->now_us() : clock_ns(CLOCK_REALTIME) / 1000;
}

int64_t os_now_ms(void)
{
    return os_now_us() / 1000;
}

int64_t os_mono_ns(void)
{
    return os_twin ? os_twin->mono_ns() : clock_ns(CLOCK_MONOTONIC);
}

int64_t os_cpu_ns(void)
{
    return os_twin ? os_twin->mono_ns() : clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

void os_sleep_ms(int64_t ms)
{
    if (os_twin) {
        os_twin->sleep_ms(ms);
        return;
    }
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    if (ms <= 0)
        return;
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
        ;
}

/* -- threads --------------------------------------------------------------------------------------------------------
 */
static _Thread_local struct os_thread *self;

struct os_thread *os_thread_self(void)
{
    return os_twin ? os_twin->thread_self() : self;
}

static void *trampoline(void *arg)
{
    struct os_thread *t = arg;
    self = t;
    pthread_setname_np(pthread_self(), t->name);
    t->fn(t->arg);
    return NULL;
}

/* Signals are the main thread's business: every other thread starts with all of them blocked. */
enum err os_thread_start(struct os_thread **out, const char *name, void (*fn)(void *), void *arg, struct fault *f)
{
    if (os_twin)
        return os_twin->thread_start(out, name, fn, arg, f);
    struct os_thread *t = calloc(1, sizeof *t);
    sigset_t all, before;
    if (!t)
        return FAULT(f, ERR_NOMEM, {"what", "a thread"});
    t->fn = fn;
    t->arg = arg;
    snprintf(t->name, sizeof t->name, "%s", name);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int e = pthread_create(&t->id, NULL, trampoline, t);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (e) {
        free(t);
        return fault_errno(f, e, "start thread %s", name);
    }
    *out = t;
    return ERR_OK;
}

void os_thread_join(struct os_thread *t)
{
    if (os_twin) {
        os_twin->thread_join(t);
        return;
    }
    pthread_join(t->id, NULL);
    free(t);
}

struct os_mutex *os_mutex_new(void)
{
    if (os_twin)
        return os_twin->mutex_new();
    struct os_mutex *m = memory_must(malloc(sizeof *m), "a lock");
    pthread_mutex_init(&m->m, NULL);
    return m;
}

void os_mutex_free(struct os_mutex *m)
{
    if (!m)
        return;
    if (os_twin) {
        os_twin->mutex_free(m);
        return;
    }
    pthread_mutex_destroy(&m->m);
    free(m);
}

void os_mutex_lock(struct os_mutex *m)
{
    if (os_twin)
        os_twin->mutex_lock(m);
    else
        pthread_mutex_lock(&m->m);
}

void os_mutex_unlock(struct os_mutex *m)
{
    if (os_twin)
        os_twin->mutex_unlock(m);
    else
        pthread_mutex_unlock(&m->m);
}

struct os_cond *os_cond_new(void)
{
    if (os_twin)
        return os_twin->cond_new();
    struct os_cond *c = memory_must(malloc(sizeof *c), "a lock");
    pthread_condattr_t a;
    pthread_condattr_init(&a);
    pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    pthread_cond_init(&c->c, &a);
    pthread_condattr_destroy(&a);
    return c;
}

void os_cond_free(struct os_cond *c)
{
    if (!c)
        return;
    if (os_twin) {
        os_twin->cond_free(c);
        return;
    }
    pthread_cond_destroy(&c->c);
    free(c);
}

void os_cond_wait(struct os_cond *c, struct os_mutex *m)
{
    if (os_twin)
        os_twin->cond_wait(c, m);
    else
        pthread_cond_wait(&c->c, &m->m);
}

bool os_cond_wait_until(struct os_cond *c, struct os_mutex *m, int64_t deadline_ns)
{
    if (os_twin)
        return os_twin->cond_wait_until(c, m, deadline_ns);
    if (deadline_ns < 0)
        deadline_ns = 0;
    struct timespec t = {deadline_ns / 1000000000, deadline_ns % 1000000000};
    return pthread_cond_timedwait(&c->c, &m->m, &t) != ETIMEDOUT;
}

void os_cond_signal(struct os_cond *c)
{
    if (os_twin)
        os_twin->cond_signal(c, false);
    else
        pthread_cond_signal(&c->c);
}

void os_cond_broadcast(struct os_cond *c)
{
    if (os_twin)
        os_twin->cond_signal(c, true);
    else
        pthread_cond_broadcast(&c->c);
}

int os_cpus(void)
{
    cpu_set_t set; /* what the container lets us use, not what the machine has */
    if (os_twin)
        return 2;
    return sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
}

uint64_t os_raise_file_limit(void)
{
    struct rlimit r;
    if (os_twin || getrlimit(RLIMIT_NOFILE, &r))
        return 1024;
    rlim_t most = r.rlim_max, now = r.rlim_cur;
    r.rlim_cur = most;
    return setrlimit(RLIMIT_NOFILE, &r) ? now : most;
}
