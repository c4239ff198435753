/*
 * os_int: the seam between os.h and its two twins.
 *
 * Every public call asks `os_twin`: NULL means the kernel, else the table's function is called instead. The pointer is
 * set once, before any thread, file or mutex exists, and never changes back: an object belongs to the twin that made
 * it.
 */
#ifndef PENSTOCK_OS_OS_INT_H
#define PENSTOCK_OS_OS_INT_H

#include "os/net.h"
#include "os/os.h"

struct os_twin {
    enum err (*open)(struct os_file **out, const char *path, int flags, struct fault *f);
    void (*close)(struct os_file *file);
    enum err (*pread)(struct os_file *file, void *p, size_t n, uint64_t offset, size_t *got, struct fault *f);
    enum err (*pwritev)(struct os_file *file, const struct str *parts, size_t count, uint64_t offset, struct fault *f);
    enum err (*sync)(struct os_file *file, const char *site, struct fault *f);
    enum err (*sync_dir)(const char *path, const char *site, struct fault *f);
    enum err (*truncate)(struct os_file *file, uint64_t size, struct fault *f);
    enum err (*reserve)(struct os_file *file, uint64_t offset, uint64_t n, struct fault *f);
    enum err (*size)(struct os_file *file, uint64_t *size, struct fault *f);
    enum err (*rename)(const char *from, const char *to, struct fault *f);
    enum err (*unlink)(const char *path, struct fault *f);
    enum err (*mkdir)(const char *path, struct fault *f);
    enum err (*rmdir)(const char *path, struct fault *f);
    enum err (*stat)(const char *path, struct os_stat *out, struct fault *f);
    enum err (*list)(const char *path, enum err (*fn)(void *arg, const char *name), void *arg, struct fault *f);
    enum err (*lock)(struct os_file **out, const char *path, struct fault *f);
    enum err (*free_space)(const char *path, uint64_t *bytes, struct fault *f);
    int64_t (*now_us)(void);
    int64_t (*mono_ns)(void);
    void (*sleep_ms)(int64_t ms);
    enum err (*thread_start)(struct os_thread **out, const char *name, void (*fn)(void *), void *arg, struct fault *f);
    void (*thread_join)(struct os_thread *t);
    struct os_thread *(*thread_self)(void);
    struct os_mutex *(*mutex_new)(void);
    void (*mutex_free)(struct os_mutex *m);
    void (*mutex_lock)(struct os_mutex *m);
    void (*mutex_unlock)(struct os_mutex *m);
    struct os_cond *(*cond_new)(void);
    void (*cond_free)(struct os_cond *c);
    void (*cond_wait)(struct os_cond *c, struct os_mutex *m);
    bool (*cond_wait_until)(struct os_cond *c, struct os_mutex *m, int64_t deadline_ns);
    void (*cond_signal)(struct os_cond *c, bool all);
    void (*random)(void *p, size_t n);
    void (*die)(const char *message);
    enum err (*net_listen)(const char *host, uint16_t port, int *fd, struct fault *f);
    enum err (*net_accept)(int listen_fd, int *fd, struct fault *f);
    enum err (*net_connect)(const char *host, uint16_t port, int timeout_ms, int *fd, struct fault *f);
    enum err (*net_read)(int fd, void *p, size_t cap, size_t *n, struct fault *f);
    enum err (*net_writev)(int fd, const struct str *parts, size_t count, size_t *n, struct fault *f);
    void (*net_close)(int fd);
    void (*net_shutdown_write)(int fd);
    void (*net_address)(int fd, bool peer, char host[64], uint16_t *port);
    int (*net_poller)(void);
    void (*net_poll_set)(int poller, int fd, unsigned want, void *arg, bool add);
    void (*net_poll_del)(int poller, int fd);
    int (*net_poll_wait)(int poller, struct net_event *events, int cap, int timeout_ms);
    int (*net_wakeup)(void);
    void (*net_wakeup_signal)(int fd);
    void (*net_wakeup_clear)(int fd);
};
extern const struct os_twin *os_twin;

#endif
