/* sim_int: what sim_disk.c, sim_image.c, sim_net.c and sim_thread.c share. */
#ifndef PENSTOCK_OS_SIM_INT_H
#define PENSTOCK_OS_SIM_INT_H

#include "base/map.h"
#include "base/vec.h"
#include "os/os_int.h"
#include "os/sim.h"

extern struct sim_options sim_o;

_Noreturn void sim_fatal(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void *sim_alloc(size_t n); /* zeroed, never NULL */

/* A scheduling point: perhaps another thread runs on. */
void sim_may_switch(void);
void sim_threads_start(void);
/* Wait until sim_wake of the same `what`, or the deadline (-1: none). Whoever waits looks again at what it waited for. */
void sim_wait(const void *what, int64_t deadline_ns);
/* Those who wait for `what` run on at that time (now, when it has passed). */
void sim_wake(const void *what, int64_t at_ns);
/* One more fact about the run: two runs of a seed must have the same ones in the same order. */
void sim_trace(uint64_t fact);
/* One in n times (0: never). */
bool sim_chance(uint32_t one_in);

/* -- the disk (sim_disk.c; its cuts and images: sim_image.c) -- */
enum { PAGE = 4096, SECTOR = 512, SIZES = 8, FILES_MAX = 1 << 16 };

/* Both versions of a file: bytes[0] is what processes see, bytes[1] what is on the platter. */
struct node {
    int mark; /* its number in an image that is being saved */
    bool is_dir, locked;
    /* files */
    char *bytes[2];
    uint64_t size[2], cap;
    uint8_t *dirty;        /* per page */
    uint64_t sizes[SIZES]; /* sizes it had since the last sync */
    int nsizes;
    uint64_t reserved;
    /* directories */
    struct map entries; /* name → node, as processes see it */
    struct map durable;
    VEC(struct change) changes;
};
/* One change of a directory, not yet on the platter: name becomes node (NULL: gone), and for a rename `old` goes. */
struct change {
    char *name, *old;
    struct node *node;
};
extern struct node *sim_root;
struct node *sim_node_new(bool is_dir);
void sim_node_room(struct node *n, uint64_t size); /* in both versions; what is new is zero */
void sim_node_resize(struct node *n, uint64_t size);
void sim_node_synced(struct node *n);
void sim_apply(struct map *entries, const struct change *c);
void sim_load(const char *image);
void sim_cut(void); /* ends the process */
/* The disk's faults (sim_fault.c). */
enum sim_fault_kind { SIM_READ, SIM_WRITE, SIM_SYNC, SIM_SPACE };
bool sim_fails(enum sim_fault_kind kind);
void sim_slow(void);
void sim_node_lost(struct node *n); /* its write-back failed */

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
struct os_thread *simt_thread_self(void);
struct os_mutex *simt_mutex_new(void);
void simt_mutex_free(struct os_mutex *m);
void simt_mutex_lock(struct os_mutex *m);
void simt_mutex_unlock(struct os_mutex *m);
struct os_cond *simt_cond_new(void);
void simt_cond_free(struct os_cond *c);
void simt_cond_wait(struct os_cond *c, struct os_mutex *m);
bool simt_cond_wait_until(struct os_cond *c, struct os_mutex *m, int64_t deadline_ns);
void simt_cond_signal(struct os_cond *c, bool all);

enum err simn_listen(const char *host, uint16_t port, int *fd, struct fault *f);
enum err simn_accept(int listen_fd, int *fd, struct fault *f);
enum err simn_connect(const char *host, uint16_t port, int timeout_ms, int *fd, struct fault *f);
enum err simn_read(int fd, void *p, size_t cap, size_t *n, struct fault *f);
enum err simn_writev(int fd, const struct str *parts, size_t count, size_t *n, struct fault *f);
void simn_close(int fd);
void simn_shutdown_write(int fd);
void simn_address(int fd, bool peer, char host[64], uint16_t *port);
int simn_poller(void);
void simn_poll_set(int poller, int fd, unsigned want, void *arg, bool add);
void simn_poll_del(int poller, int fd);
int simn_poll_wait(int poller, struct net_event *events, int cap, int timeout_ms);
int simn_wakeup(void);
void simn_wakeup_signal(int fd);
void simn_wakeup_clear(int fd);

#endif
