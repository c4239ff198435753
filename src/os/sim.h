/*
 * sim: the seeded twin of os/. A test switches it on for its process; from then on files live in memory, the clock is a
 * number, and of all threads one runs at a time, so that a run is a function of its seed.
 *
 *   log, broker, query ──▶ os_*() ──▶ sim: disk ── power cut at operation N ──▶ image of what survived
 *                                          clock ── moves when everybody waits
 *                                          threads ─ a baton, handed on by the seed at each call that may block
 *
 * The disk keeps two versions of everything: what processes see, and what is on the platter. A sync copies one to the
 * other. A power cut mixes them, by the seed: per 4 KiB page, now and then per 512-byte sector; of a directory's changes
 * (creations, renames, unlinks) a prefix in order; of a file's size any that it had since its last sync. Before that, pages
 * reach the platter early, in any order, as a kernel writes them back.
 *
 * A power cut ends the process in the middle of whatever it does: `on_cut` is called with the surviving image, then
 * _exit(0). A test forks per seed: a child runs to the cut, another loads the image, recovers and checks.
 * What it is not: it has no network (the broker is driven through its frames) and does not model a disk that lies.
 */
#ifndef PENSTOCK_OS_SIM_H
#define PENSTOCK_OS_SIM_H

#include "base/fault.h"

struct sim_options {
    uint64_t seed;
    uint64_t cut_at;         /* power cut before this disk operation; 0: never */
    bool kill;               /* not a power cut but a kill: what was written stays visible, and stays unsynced */
    const char *drop_site;   /* this sync call site does nothing */
    bool drop_all;           /* no sync does anything */
    uint64_t capacity_bytes; /* of the disk; 0: 1 TiB */
    const char *image;       /* start from this image (sim_image); NULL: an empty disk */
    size_t image_n;
    void (*on_cut)(void *arg, const char *image, size_t n);
    void *arg;
};
/* Once per process, before anything of os/ was used. */
void sim_start(const struct sim_options *o);
uint64_t sim_ops(void); /* disk operations so far */
/* Cut the power at the n-th operation from now; or just before the n-th sync of any directory, or of one call site. */
void sim_cut_in(uint64_t n);
void sim_cut_in_dir_syncs(uint64_t n);
void sim_cut_at_site(const char *site, uint64_t n);
void sim_capacity(uint64_t bytes);
void sim_kill_instead(bool kill);
/* A number below n (n > 0) from the run's seed: for the workload's choices. */
uint64_t sim_random(uint64_t n);
/* Flip a bit of a file's byte, on the platter and in memory: damage at rest. False when there is no such byte. */
bool sim_flip(const char *path, uint64_t offset);
/* All that is there now, as if everything were synced; malloc'ed. */
char *sim_image(size_t *n);
/* Was this site asked to sync? For the proof that a run reaches each. */
bool sim_site_reached(const char *site);
/* The table of spec/sync_sites.def by index; NULL past the end. */
const char *sim_site(size_t i);

#endif
