/*
 * alloc_fault: make malloc fail on purpose, in tests.
 *
 *   program ──malloc──▶ os/alloc_wrap.c ──alloc_fault_now()?──▶ NULL with ENOMEM
 *                                    └──────────no──────────▶ the real malloc
 *
 * A binary takes part by being linked with $(ALLOC_WRAP) (mk/faults.mk): the linker then sends every malloc, calloc,
 * realloc, strdup, asprintf and posix_memalign of ours and of the static libraries (nghttp2, zstd, OpenSSL, PCRE,
 * protobuf-c, libstdc++'s operator new) through the wrappers. The shipped program is not: it has no trace of this.
 *
 * Two ways to choose, both silent until armed:
 *   the N-th        alloc_fault_nth(n): the n-th allocation from now fails, once. alloc_fault_seen() tells how many there
 *                   were, so that a test can go on until none is left.
 *   some, by seed   alloc_fault_random(seed, one_in): each fails with probability 1/one_in. Under the simulator, where
 *                   one thread runs at a time, the same seed fails the same ones.
 *
 * A test's own allocations, and those of a twin of os/, stand between alloc_fault_pause and alloc_fault_resume: they count
 * for nothing and never fail. Pauses nest and belong to the thread.
 */
#ifndef PENSTOCK_OS_ALLOC_FAULT_H
#define PENSTOCK_OS_ALLOC_FAULT_H

#include <stdbool.h>
#include <stdint.h>

void alloc_fault_nth(uint64_t n); /* 1: the next one; 0: only count */
void alloc_fault_random(uint64_t seed, uint32_t one_in);
void alloc_fault_off(void);
uint64_t alloc_fault_seen(void);   /* allocations since alloc_fault_nth or alloc_fault_random */
uint64_t alloc_fault_failed(void); /* how many of them failed */
void alloc_fault_pause(void);
void alloc_fault_resume(void);
/* For the simulator's threads, which the compiler does not know: take another thread's count of pauses, give back this one's. */
int alloc_fault_swap(int other);
extern void (*alloc_fault_told)(void); /* called when the first one fails; NULL: nobody */
/* The return addresses above the first one that failed, nearest first, for addr2line; how many. */
int alloc_fault_where(void *at[], int cap);

/* Asked by the wrappers for every allocation: must it fail? */
bool alloc_fault_now(void);

#endif
