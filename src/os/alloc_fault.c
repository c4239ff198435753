#include "os/alloc_fault.h"

#include "base/random.h"

#include <execinfo.h>
#include <stdatomic.h>
#include <stddef.h>

enum { FRAMES = 24 };
enum mode { OFF, NTH, RANDOM };

void (*alloc_fault_told)(void);
static _Atomic int mode;
static _Atomic uint64_t seen, failed, fail_at;
static uint64_t state; /* of the random choice; racing threads may draw alike, which does no harm */
static uint32_t chance;
static _Thread_local int paused;
static void *frames[FRAMES];
static _Atomic int nframes;

static void arm(enum mode m)
{
    void *warm[1];
    alloc_fault_pause();
    backtrace(warm, 1); /* its first call allocates */
    alloc_fault_resume();
    seen = 0;
    failed = 0;
    nframes = 0;
    mode = m;
}

void alloc_fault_nth(uint64_t n)
{
    mode = OFF;
    fail_at = n;
    arm(NTH);
}

void alloc_fault_random(uint64_t seed, uint32_t one_in)
{
    mode = OFF;
    state = seed;
    chance = one_in ? one_in : 1;
    arm(RANDOM);
}

void alloc_fault_off(void)
{
    mode = OFF;
}

uint64_t alloc_fault_seen(void)
{
    return seen;
}

uint64_t alloc_fault_failed(void)
{
    return failed;
}

void alloc_fault_pause(void)
{
    paused++;
}

void alloc_fault_resume(void)
{
    paused--;
}

int alloc_fault_swap(int other)
{
    int mine = paused;
    paused = other;
    return mine;
}

int alloc_fault_where(void *at[], int cap)
{
    int n = nframes < cap ? nframes : cap;
    for (int i = 0; i < n; i++)
        at[i] = frames[i];
    return n;
}

bool alloc_fault_now(void)
{
    int m = atomic_load_explicit(&mode, memory_order_relaxed);
    if (m == OFF || paused)
        return false;
    uint64_t n = ++seen;
    bool fail = m == NTH ? n == fail_at : random_next(&state) % chance == 0;
    if (fail && failed++ == 0) {
        alloc_fault_pause();
        nframes = backtrace(frames, FRAMES);
        if (alloc_fault_told)
            alloc_fault_told();
        alloc_fault_resume();
    }
    return fail;
}
