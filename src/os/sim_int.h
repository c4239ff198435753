/* sim_int: what sim_disk.c and sim_thread.c share. */
#ifndef PENSTOCK_OS_SIM_INT_H
#define PENSTOCK_OS_SIM_INT_H

#include "os/os_int.h"
#include "os/sim.h"

extern struct sim_options sim_o;

_Noreturn void sim_fatal(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void *sim_alloc(size_t n); /* zeroed, never NULL */

/* A scheduling point: perhaps another thread runs on. */
void sim_may_switch(void);
void sim_threads_start(void);

/* The entries of the twin's table. */
enum err simd_open(struct os_file **out, const char *path, int flags, struct fault *f);
void simd_close(struct os_file *file);
enum err simd_pread(struct os_file *file, void *p, size_t n, uint64_t offset, size_t *got, struct fault *f);
enum err simd_pwritev(struct os_file *file, const struct str *parts, size_t count, uint64_t offset, struct fault *f);
enum err simd_sync(struct os_file *file, const char *site, struct fault *f);
enum err simd_sync_dir(const char *path, const char *site, struct fault *f);
enum err simd_truncate(struct os_file *file, uint64_t size, struct fault *f);
enum err simd_reserve(struct os_file *file, uint64_t offset, uint64_t n, struct fault *f);
enum err simd_size(struct os_file *file, uint64_t *size, struct fault *f);
enum err simd_rename(const char *from, const char *to, struct fault *f);
enum err simd_unlink(const char *path, struct fault *f);
enum err simd_mkdir(const char *path, struct fault *f);
enum err simd_rmdir(const char *path, struct fault *f);
enum err simd_stat(const char *path, struct os_stat *out, struct fault *f);
enum err simd_list(const char *path, enum err (*fn)(void *arg, const char *name), void *arg, struct fault *f);
enum err simd_lock(struct os_file **out, const char *path, struct fault *f);
enum err simd_free_space(const char *path, uint64_t *bytes, struct fault *f);
int64_t simt_now_us(void);
int64_t simt_mono_ns(void);
void simt_sleep_ms(int64_t ms);
enum err simt_thread_start(struct os_thread **out, const char *name, void (*fn)(void *), void *arg, struct fault *f);
void simt_thread_join(struct os_thread *t);
struct os_mutex *simt_mutex_new(void);
void simt_mutex_free(struct os_mutex *m);
void simt_mutex_lock(struct os_mutex *m);
void simt_mutex_unlock(struct os_mutex *m);
struct os_cond *simt_cond_new(void);
void simt_cond_free(struct os_cond *c);
void simt_cond_wait(struct os_cond *c, struct os_mutex *m);
bool simt_cond_wait_until(struct os_cond *c, struct os_mutex *m, int64_t deadline_ns);
void simt_cond_signal(struct os_cond *c, bool all);

#endif
