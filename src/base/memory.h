/*
 * memory: what happens when malloc says no.
 *
 * Two answers exist. Where a size comes from outside, or a client waits for a reply, the allocation is checked and the
 * client gets an error (ERR_NOMEM, RESOURCE_EXHAUSTED, a closed connection). Where a few bytes hold the server itself
 * together (a group, a request, a vector's growth) there is nothing sensible to answer: memory_out names what they were
 * for and stops the process with exit status 1, at once and without running anything else. That is a clean stop: what was
 * acknowledged is on the disk, and start-up is recovery anyway.
 *
 * Never abort(): a core file and a signal tell an operator that the program is wrong, and here it is not.
 * os/alloc_fault.h makes each allocation of a workload fail in turn to show that it is one of the two.
 */
#ifndef PENSTOCK_BASE_MEMORY_H
#define PENSTOCK_BASE_MEMORY_H

/* "out of memory for <what>", then the end of the process. */
_Noreturn void memory_out(const char *what);
/* p, unless it is NULL: then memory_out. */
void *memory_must(void *p, const char *what) __attribute__((returns_nonnull));

/* Who stops the process: os/ puts os_die here when the program is loaded, since base/ knows no kernel. */
extern void (*memory_stop)(const char *what);

#endif
