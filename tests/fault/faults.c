/*
 * faults: the program with something that fails. Linked with main.o and $(ALLOC_WRAP) $(CALL_WRAP) it makes build/rel/penstock-faults,
 * which is penstock but for what its environment asks:
 *
 *   PENSTOCK_FAULT=alloc:N        the N-th allocation of the process gets NULL
 *   PENSTOCK_FAULT=call:N:K       the N-th call of the kernel fails in its K-th way: errors that this call can have, EINTR, short
 *                                 counts. N = 0 only counts.
 *   PENSTOCK_FAULT_REPORT=FILE    where to say what happened: a struct report, shared with who looks (nth.py)
 *
 * The kernel is called under src/os only, so that what is wrapped here is all there is, but for clocks, locks and what has no error
 * that can happen to us (close, getsockname).
 */
#include "os/alloc_fault.h"

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { FRAMES = 24, SHORT = 10001 /* half of what was asked for */ };

/* nth.py reads it: "<QQII64s24Q". */
struct report {
    _Atomic uint64_t seen; /* calls or allocations */
    _Atomic uint64_t fired;
    uint32_t kinds, nframes; /* of the call that was chosen: in how many ways it can fail */
    char what[64];
    uint64_t frames[FRAMES]; /* relative to the program's start, for addr2line */
};

static struct report nowhere, *report = &nowhere;
static uint64_t fail_at = UINT64_MAX;
static unsigned fail_kind;
extern const char __executable_start[];

static void tell(const char *what, unsigned kinds)
{
    void *at[FRAMES];
    alloc_fault_pause();
    int n = backtrace(at, FRAMES);
    alloc_fault_resume();
    report->kinds = kinds;
    report->nframes = (uint32_t)n;
    for (int i = 0; i < n; i++)
        report->frames[i] = (uint64_t)((const char *)at[i] - __executable_start);
    snprintf(report->what, sizeof report->what, "%s", what);
    report->fired = 1;
}

static void alloc_told(void)
{
    tell("alloc", 1);
}

/* Which error this call is to have: 0 for none. */
static int refuse(const char *name, const int *errors)
{
    if (fail_at == UINT64_MAX || ++report->seen != fail_at)
        return 0;
    unsigned kinds = 0;
    char what[64];
    while (errors[kinds])
        kinds++;
    int error = fail_kind < kinds ? errors[fail_kind] : 0;
    snprintf(what, sizeof what, "%s: %s", name, error == SHORT ? "short" : error ? strerrorname_np(error) : "nothing");
    tell(what, kinds);
    errno = error == SHORT ? 0 : error;
    return error;
}

#define E(...) ((const int[]){__VA_ARGS__, 0})
#define WRAP(type, name, params, args, failed, ...)                                                                    \
    type __real_##name params;                                                                                         \
    type __wrap_##name params;                                                                                         \
    type __wrap_##name params                                                                                          \
    {                                                                                                                  \
        return refuse(#name, E(__VA_ARGS__)) ? failed : __real_##name args;                                            \
    }

struct stat;
struct statvfs;
struct iovec;
struct msghdr;
struct sockaddr;
struct epoll_event;
typedef struct __dirstream DIR;
struct dirent;

WRAP(DIR *, opendir, (const char *path), (path), NULL, EIO, EMFILE, ENOMEM)
WRAP(struct dirent *, readdir, (DIR * d), (d), NULL, EIO)
WRAP(int, fdatasync, (int fd), (fd), -1, EIO, ENOSPC)
WRAP(int, fsync, (int fd), (fd), -1, EIO, ENOSPC)
WRAP(int, ftruncate, (int fd, off_t n), (fd, n), -1, EIO)
WRAP(int, fallocate, (int fd, int mode, off_t at, off_t n), (fd, mode, at, n), -1, ENOSPC, EIO, EINTR, EOPNOTSUPP)
WRAP(int, fstat, (int fd, struct stat *s), (fd, s), -1, EIO)
WRAP(int, stat, (const char *path, struct stat *s), (path, s), -1, EIO, ENOMEM)
WRAP(int, statvfs, (const char *path, struct statvfs *s), (path, s), -1, EIO)
WRAP(int, flock, (int fd, int how), (fd, how), -1, ENOLCK)
WRAP(int, rename, (const char *from, const char *to), (from, to), -1, EIO, ENOSPC)
WRAP(int, unlink, (const char *path), (path), -1, EIO)
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode), -1, ENOSPC, EIO)
WRAP(int, rmdir, (const char *path), (path), -1, EIO)
WRAP(int, socket, (int domain, int type, int protocol), (domain, type, protocol), -1, EMFILE, ENOBUFS)
WRAP(int, bind, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n), -1, EADDRINUSE, EACCES)
WRAP(int, listen, (int fd, int n), (fd, n), -1, EADDRINUSE)
WRAP(int, setsockopt, (int fd, int level, int name, const void *p, socklen_t n), (fd, level, name, p, n), -1, ENOBUFS)
WRAP(int, accept4, (int fd, struct sockaddr *a, socklen_t *n, int flags), (fd, a, n, flags), -1, EMFILE, ECONNABORTED,
     EINTR, ENOMEM)
WRAP(int, epoll_create1, (int flags), (flags), -1, EMFILE)
WRAP(int, epoll_ctl, (int ep, int op, int fd, struct epoll_event *e), (ep, op, fd, e), -1, ENOMEM)
WRAP(int, epoll_wait, (int ep, struct epoll_event *e, int n, int ms), (ep, e, n, ms), -1, EINTR)
WRAP(int, eventfd, (unsigned v, int flags), (v, flags), -1, EMFILE)
WRAP(ssize_t, getrandom, (void *p, size_t n, unsigned flags), (p, n, flags), -1, EINTR)
WRAP(int, sigtimedwait, (const sigset_t *set, siginfo_t *info, const struct timespec *t), (set, info, t), -1, EINTR)
WRAP(FILE *, fopen, (const char *path, const char *mode), (path, mode), NULL, EMFILE)

ssize_t __real_read(int fd, void *p, size_t n);
ssize_t __wrap_read(int fd, void *p, size_t n);
ssize_t __wrap_read(int fd, void *p, size_t n)
{
    int e = refuse("read", E(ECONNRESET, EINTR, EAGAIN, SHORT));
    return e && e != SHORT ? -1 : __real_read(fd, p, e && n > 1 ? n / 2 : n);
}

ssize_t __real_write(int fd, const void *p, size_t n);
ssize_t __wrap_write(int fd, const void *p, size_t n);
ssize_t __wrap_write(int fd, const void *p, size_t n)
{
    return refuse("write", E(EINTR)) ? -1 : __real_write(fd, p, n);
}

ssize_t __real_sendmsg(int fd, const struct msghdr *m, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags)
{
    return refuse("sendmsg", E(EPIPE, ENOBUFS, EINTR, EAGAIN)) ? -1 : __real_sendmsg(fd, m, flags);
}

/* A short count is made of the first part alone, or half of it. */
struct part {
    void *p;
    size_t n;
};
#define WRAP_VECTOR(name, params, args_first, ...)                                                                     \
    ssize_t __real_##name params;                                                                                      \
    ssize_t __wrap_##name params;                                                                                      \
    ssize_t __wrap_##name params                                                                                       \
    {                                                                                                                  \
        int e = refuse(#name, E(__VA_ARGS__));                                                                         \
        if (e && e != SHORT)                                                                                           \
            return -1;                                                                                                 \
        struct part half = {((const struct part *)v)->p, (((const struct part *)v)->n + 1) / 2};                       \
        const struct iovec *use = e ? (const struct iovec *)&half : v;                                                 \
        return __real_##name args_first;                                                                               \
    }
WRAP_VECTOR(preadv2, (int fd, const struct iovec *v, int count, off_t at, int flags),
            (fd, use, e ? 1 : count, at, flags), EIO, EINTR, SHORT)
WRAP_VECTOR(pwritev, (int fd, const struct iovec *v, int count, off_t at), (fd, use, e ? 1 : count, at), EIO, ENOSPC,
            EINTR, SHORT)

int __real_open(const char *path, int flags, mode_t mode);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return refuse("open", E(EIO, EMFILE, ENOSPC, ENOMEM, EINTR)) ? -1 : __real_open(path, flags, mode);
}

int __real_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg)
{
    return refuse("pthread_create", E(EAGAIN)) ? EAGAIN : __real_pthread_create(t, a, fn, arg);
}

int __real_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **out);
int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **out);
int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
    return refuse("getaddrinfo", E(ENOMEM)) ? EAI_MEMORY : __real_getaddrinfo(host, service, hints, out);
}

static void count_allocs(void)
{
    if (fail_at == UINT64_MAX)
        report->seen = alloc_fault_seen();
}

__attribute__((constructor)) static void arm(void)
{
    const char *ask = getenv("PENSTOCK_FAULT"), *path = getenv("PENSTOCK_FAULT_REPORT");
    unsigned long long n = 0;
    unsigned kind = 0;
    void *warm[1];
    if (path) {
        int fd = __real_open(path, O_RDWR | O_CLOEXEC, 0);
        void *p = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (p != MAP_FAILED)
            report = p;
    }
    backtrace(warm, 1);
    if (ask && sscanf(ask, "alloc:%llu", &n) == 1) {
        alloc_fault_told = alloc_told;
        alloc_fault_nth(n);
        atexit(count_allocs);
    } else if (ask && sscanf(ask, "call:%llu:%u", &n, &kind) == 2) {
        fail_kind = kind;
        fail_at = n;
    }
}
