/*
 * os: the only door to the kernel. Files, clock, threads, randomness; sockets are in os/net.h.
 *
 * Every call has two twins: the real one, and a simulated one (os/sim.h) that a test switches on for the process. Under
 * simulation the disk lives in memory and drops, reorders and tears what was not synced, renames are forgotten until
 * their directory is synced, the clock moves only when every thread waits, and one thread runs at a time, chosen by a
 * seed, so that a run replays exactly. For that to hold no other module calls pthread, open, write, clock_gettime, getrandom.
 *
 *   log, query, serve … ──▶ os_*() ──▶ os_real_*   (kernel)
 *                                  └──▶ os_sim_*    (seeded disk, clock, scheduler)
 *
 * Ownership: an os_file belongs to whoever opened it; positional reads and writes may come from several threads.
 * Errors: `enum err` and a fault; a short write is completed or fails. EINTR never leaves this module.
 * A sync names its call site ("journal.append"): the simulator can turn one site into a no-op, which must make a test fail.
 * A failed sync is never retried: the caller stops the process (os_die).
 */
#ifndef PENSTOCK_OS_OS_H
#define PENSTOCK_OS_OS_H

#include "base/fault.h"

/* -- files ------------------------------------------------------------------------------------------------------ */
struct os_file;
enum os_open_flags {
    OS_RDONLY = 0,
    OS_RDWR = 1,
    OS_CREATE = 2, /* create if missing, 0644 */
    OS_EXCL = 4,   /* with OS_CREATE: fail with ERR_EXISTS if there */
    OS_TRUNC = 8,
};

/* ERR_NOTFOUND when there is no such file; ERR_EXISTS under OS_EXCL; else ERR_IO/ERR_NOSPACE. */
CHECK enum err os_open(struct os_file **out, const char *path, int flags, struct fault *f);
void os_close(struct os_file *file); /* NULL allowed */
/* Read up to n bytes at offset; *got < n only at the end of the file. */
CHECK enum err os_pread(struct os_file *file, void *p, size_t n, uint64_t offset, size_t *got, struct fault *f);
/* The same, but only what the page cache has (preadv2 RWF_NOWAIT): ERR_AGAIN where it would block. */
CHECK enum err os_pread_nowait(struct os_file *file, void *p, size_t n, uint64_t offset, size_t *got, struct fault *f);
CHECK enum err os_pwrite(struct os_file *file, const void *p, size_t n, uint64_t offset, struct fault *f);
/* Gather write of `count` strs at offset (split below IOV_MAX inside). */
CHECK enum err os_pwritev(struct os_file *file, const struct str *parts, size_t count, uint64_t offset,
                          struct fault *f);
/* fdatasync. `site` names the call site (static string). */
CHECK enum err os_sync(struct os_file *file, const char *site, struct fault *f);
/* fsync of a directory: makes creations, renames and unlinks inside it durable. */
CHECK enum err os_sync_dir(const char *path, const char *site, struct fault *f);
CHECK enum err os_truncate(struct os_file *file, uint64_t size, struct fault *f);
/* fallocate(KEEP_SIZE): reserve space without growing the file. Unsupported by the file system: OK, nothing reserved. */
CHECK enum err os_reserve(struct os_file *file, uint64_t offset, uint64_t n, struct fault *f);
/* Write n zeros from the start and flush them, so that later overwrites cost no allocation. Promises no durability. */
CHECK enum err os_write_zeros(struct os_file *file, uint64_t n, struct fault *f);
CHECK enum err os_size(struct os_file *file, uint64_t *size, struct fault *f);
CHECK enum err os_rename(const char *from, const char *to, struct fault *f);
CHECK enum err os_unlink(const char *path, struct fault *f); /* ERR_NOTFOUND when missing */
CHECK enum err os_mkdir(const char *path, struct fault *f);  /* ERR_EXISTS when there */
CHECK enum err os_mkdirs(const char *path, struct fault *f); /* with parents; OK when there. Syncs nothing. */
CHECK enum err os_rmdir(const char *path, struct fault *f);
/* Unlink a tree (files, then directories); ERR_OK when it is not there. Not durable until the parent is synced. */
CHECK enum err os_remove_tree(const char *path, struct fault *f);
struct os_stat {
    bool is_dir;
    uint64_t size;
    int64_t mtime_ms;
};
CHECK enum err os_stat(const char *path, struct os_stat *out, struct fault *f);
/* Call fn for each entry but . and .. (order unspecified); a non-zero return stops and is returned. */
CHECK enum err os_list(const char *path, enum err (*fn)(void *arg, const char *name), void *arg, struct fault *f);
/* Exclusive advisory lock on a file (created): ERR_BUSY when another process or os_file holds it. Released by os_close. */
CHECK enum err os_lock(struct os_file **out, const char *path, struct fault *f);
/* Whole small file into malloc'ed *p (NUL-terminated beyond n), at most `limit` bytes (ERR_LIMIT). */
CHECK enum err os_read_file(const char *path, size_t limit, char **p, size_t *n, struct fault *f);
/* Atomic replace: write path.tmp, sync it, rename, sync the directory. `site` names both syncs ("x.file", "x.dir" made from it). */
CHECK enum err os_write_file_atomic(const char *path, struct str bytes, const char *site_file, const char *site_dir,
                                    struct fault *f);
/* Free bytes on the file system that holds path. */
CHECK enum err os_free_space(const char *path, uint64_t *bytes, struct fault *f);

/* -- clock ------------------------------------------------------------------------------------------------------ */
int64_t os_now_ms(void);  /* Unix time */
int64_t os_now_us(void);  /* Unix time */
int64_t os_mono_ns(void); /* monotonic */
int64_t os_cpu_ns(void);  /* CPU time of the process */
void os_sleep_ms(int64_t ms);

/* -- threads ---------------------------------------------------------------------------------------------------- */
struct os_thread;
struct os_mutex;
struct os_cond;
CHECK enum err os_thread_start(struct os_thread **out, const char *name, void (*fn)(void *), void *arg,
                               struct fault *f);
void os_thread_join(struct os_thread *t); /* and free it */
/* Who asks; NULL for the main thread of a process. _Thread_local is not for us: the simulator's threads share one. */
struct os_thread *os_thread_self(void);
struct os_mutex *os_mutex_new(void);
void os_mutex_free(struct os_mutex *m);
void os_mutex_lock(struct os_mutex *m);
void os_mutex_unlock(struct os_mutex *m);
struct os_cond *os_cond_new(void);
void os_cond_free(struct os_cond *c);
void os_cond_wait(struct os_cond *c, struct os_mutex *m);
/* Until signalled or the monotonic deadline (os_mono_ns) has passed; false on timeout. Spurious wake-ups happen. */
bool os_cond_wait_until(struct os_cond *c, struct os_mutex *m, int64_t deadline_ns);
void os_cond_signal(struct os_cond *c);
void os_cond_broadcast(struct os_cond *c);
int os_cpus(void);
uint64_t os_raise_file_limit(void); /* as many open files as the system lets us have; returns how many */

/* -- the rest --------------------------------------------------------------------------------------------------- */
void os_random(void *p, size_t n);
struct os_uuid {
    uint8_t b[16];
};
struct os_uuid os_uuid_random(void);               /* version 4 */
void os_uuid_text(struct os_uuid u, char out[37]); /* 8-4-4-4-12 lower case */
const char *os_env(const char *name);              /* NULL when unset */
uint64_t os_rss_bytes(void);
void os_memory_plan(
    uint64_t bytes);            /* in little memory freed blocks go back to the system at once. Before any thread */
uint64_t os_memory_bytes(void); /* what the machine has, or the container may use */
/* Log `message` and stop the process at once without running destructors (exit status 1): after a failed sync. */
_Noreturn void os_die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* -- the operator's log: one line per event on standard error ---------------------------------------------------- */
enum os_level { OS_DEBUG, OS_INFO, OS_WARN, OS_ERROR };
void os_log_level(enum os_level least);
/* "2026-11-22T19:40:00.123Z INFO area: message" */
void os_log(enum os_level level, const char *area, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
