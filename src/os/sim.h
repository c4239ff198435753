/*
 * sim: the seeded twin of os/. A test switches it on for its process; from then on files live in memory, the clock is a
 * number, and of all threads one runs at a time, so that a run is a function of its seed.
 *
 *   log, broker, query ──▶ os_*() ──▶ sim: disk ── power cut at operation N ──▶ image of what survived
 *                                          network ─ bytes late, in pieces, connections cut or silent
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
 * A disk may fail as well: errors on reading, writing and syncing, no space, slowness. After a failed sync the pages are
 * clean, as Linux has it: half of them never reached the platter, and the next sync says that all is well. What is damaged at
 * rest (a flipped bit, a lost or misdirected write) is a thing of its own: sim_rot.
 * What it is not: one processor runs it all, so it finds no data races.
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
    /* os_die was called. True: it had a reason, the process ends as by a kill. False, or NULL: the run has failed. */
    bool (*may_die)(void *arg, const char *message);
    void *arg;
};
/* Once per process, before anything of os/ was used. */
void sim_start(const struct sim_options *o);
uint64_t sim_ops(void); /* disk operations so far */
/* Cut the power at the n-th operation from now; or just before the n-th sync of any directory, or of one call site. */
void sim_cut_in(uint64_t n);
void sim_cut_in_dir_syncs(uint64_t n);
void sim_cut_at_site(const char *site, uint64_t n);
void sim_cut_now(void);
void sim_capacity(uint64_t bytes);
void sim_kill_instead(bool kill);

/* -- a disk that fails: one in n operations, 0: never */
struct sim_disk {
    uint32_t read_one_in, write_one_in, sync_one_in; /* EIO */
    uint32_t space_one_in;                           /* of writes that need more of it: ENOSPC */
    uint32_t slow_one_in;                            /* takes up to slow_ns */
    int64_t slow_ns;
};
/* From now on. All zero, as at the start: it works. */
void sim_disk(const struct sim_disk *d);
uint64_t sim_disk_failures(void); /* so far; slowness is none */
/* Damage something at rest, on the platter and in memory: a flipped bit, a sector that was written elsewhere, or never. Says
 * where ("PATH: what"), or NULL when there is nothing to damage. */
const char *sim_rot(void);

/* -- the network: one machine's sockets; who connects shares the process with who listens. What becomes of pieces: */
struct sim_network {
    int64_t delay_ns;      /* one way; a connection's own lies between 0 and twice this */
    int64_t jitter_ns;     /* more or less per piece, never out of order */
    uint64_t bytes_per_s;  /* 0: no limit */
    size_t window_bytes;   /* under way or unread in one direction; 0: 256 KiB */
    uint32_t stall_one_in; /* a piece is late by up to stall_ns */
    int64_t stall_ns;
    uint32_t cut_one_in;           /* of pieces and of connects: reset, refused */
    uint32_t silence_one_in;       /* of pieces and of connects: from then on nothing arrives, and nobody is told */
    uint32_t no_descriptor_one_in; /* of accepts: ERR_LIMIT */
    uint32_t interrupt_one_in;     /* of waits for readiness: woken by nothing */
    bool pieces;                   /* reads and writes are partial now and then */
};
/* From now on. All zero, as at the start: nothing is late and nothing is lost. */
void sim_network(const struct sim_network *n);
/* Of the connections that are open one in n is reset, or goes silent (half-open for whoever thinks of it as open). */
void sim_net_break(uint32_t one_in, bool silently);
struct sim_net_stats {
    uint64_t connections, cuts, silences;
    uint64_t open; /* descriptors of all kinds */
};
struct sim_net_stats sim_net_stats(void);

/* -- the clock and the run */
/* Set the wall clock forwards or backwards; the monotonic one goes on. */
void sim_set_clock(int64_t by_ms);
/* Of everything that was decided so far: equal in two runs of a seed. */
uint64_t sim_trace_hash(void);
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
