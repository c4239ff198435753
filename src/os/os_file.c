#include "os/os_int.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

const struct os_twin *os_twin;

struct os_file {
    int fd;
    char path[]; /* for messages */
};

static enum err path_fault(struct fault *f, int e, const char *verb, const char *path)
{
    if (e == ENOENT)
        return FAULT(f, ERR_NOTFOUND, {"what", path});
    if (e == EEXIST)
        return FAULT(f, ERR_EXISTS, {"what", path});
    return fault_errno(f, e, "%s %s", verb, path);
}

static enum err file_new(struct os_file **out, int fd, const char *path, struct fault *f)
{
    size_t n = strlen(path) + 1;
    struct os_file *file = malloc(sizeof *file + n);
    if (!file) {
        close(fd);
        return FAULT(f, ERR_NOMEM, {"what", path});
    }
    file->fd = fd;
    memcpy(file->path, path, n);
    *out = file;
    return ERR_OK;
}

static int open_retry(const char *path, int flags)
{
    int fd;
    do
        fd = open(path, flags, 0644);
    while (fd < 0 && errno == EINTR);
    return fd;
}

enum err os_open(struct os_file **out, const char *path, int flags, struct fault *f)
{
    if (os_twin)
        return os_twin->open(out, path, flags, f);
    int how = O_CLOEXEC | (flags & OS_RDWR ? O_RDWR : O_RDONLY) | (flags & OS_CREATE ? O_CREAT : 0) |
              (flags & OS_EXCL ? O_EXCL : 0) | (flags & OS_TRUNC ? O_TRUNC : 0);
    int fd = open_retry(path, how);
    return fd < 0 ? path_fault(f, errno, "open", path) : file_new(out, fd, path, f);
}

void os_close(struct os_file *file)
{
    if (!file)
        return;
    if (os_twin) {
        os_twin->close(file);
        return;
    }
    close(file->fd); /* on Linux the descriptor is gone even after EINTR */
    free(file);
}

/* preadv2 until n bytes, the end of the file, or (nowait) the end of what is cached. */
static enum err read_all(struct os_file *file, void *p, size_t n, uint64_t offset, size_t *got, int flags,
                         struct fault *f)
{
    size_t done = 0;
    while (done < n) {
        struct iovec v = {(char *)p + done, n - done};
        ssize_t r = preadv2(file->fd, &v, 1, (off_t)(offset + done), flags);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0 && flags && (errno == EAGAIN || errno == EOPNOTSUPP)) {
            if (done)
                break;
            return FAULT(f, ERR_AGAIN, {"what", file->path});
        }
        if (r < 0)
            return fault_errno(f, errno, "read %s", file->path);
        if (r == 0)
            break;
        done += (size_t)r;
    }
    *got = done;
    return ERR_OK;
}

enum err os_pread(struct os_file *file, void *p, size_t n, uint64_t offset, size_t *got, struct fault *f)
{
    if (os_twin)
        return os_twin->pread(file, p, n, offset, got, f);
    return read_all(file, p, n, offset, got, 0, f);
}

enum err os_pread_nowait(struct os_file *file, void *p, size_t n, uint64_t offset, size_t *got, struct fault *f)
{
    if (os_twin)
        return os_twin->pread(file, p, n, offset, got, f);
    return read_all(file, p, n, offset, got, RWF_NOWAIT, f);
}

enum err os_pwrite(struct os_file *file, const void *p, size_t n, uint64_t offset, struct fault *f)
{
    struct str part = str_make(p, n);
    return os_pwritev(file, &part, 1, offset, f);
}

/* Write one bounded vector wholly; a short write goes on where it stopped. */
static enum err write_all(struct os_file *file, struct iovec *v, int count, uint64_t offset, struct fault *f)
{
    while (count) {
        if (!v->iov_len) {
            v++, count--;
            continue;
        }
        ssize_t w = pwritev(file->fd, v, count, (off_t)offset);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return fault_errno(f, errno, "write %s", file->path);
        offset += (uint64_t)w;
        for (; count && (size_t)w >= v->iov_len; v++, count--)
            w -= (ssize_t)v->iov_len;
        if (count) {
            v->iov_base = (char *)v->iov_base + w;
            v->iov_len -= (size_t)w;
        }
    }
    return ERR_OK;
}

enum err os_pwritev(struct os_file *file, const struct str *parts, size_t count, uint64_t offset, struct fault *f)
{
    enum { CHUNK = 64 };
    if (os_twin)
        return os_twin->pwritev(file, parts, count, offset, f);
    for (size_t at = 0; at < count;) {
        struct iovec v[CHUNK];
        size_t n = count - at < CHUNK ? count - at : CHUNK, bytes = 0;
        for (size_t i = 0; i < n; i++) {
            v[i] = (struct iovec){(void *)(uintptr_t)parts[at + i].p, parts[at + i].n};
            bytes += parts[at + i].n;
        }
        enum err e = write_all(file, v, (int)n, offset, f);
        if (e)
            return e;
        at += n;
        offset += bytes;
    }
    return ERR_OK;
}

enum err os_sync(struct os_file *file, const char *site, struct fault *f)
{
    if (os_twin)
        return os_twin->sync(file, site, f);
    int r;
    do
        r = fdatasync(file->fd);
    while (r && errno == EINTR);
    return r ? fault_errno(f, errno, "sync %s (%s)", file->path, site) : ERR_OK;
}

enum err os_sync_dir(const char *path, const char *site, struct fault *f)
{
    if (os_twin)
        return os_twin->sync_dir(path, site, f);
    int fd = open_retry(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r, e;
    if (fd < 0)
        return path_fault(f, errno, "open", path);
    do
        r = fsync(fd);
    while (r && errno == EINTR);
    e = errno;
    close(fd);
    return r ? fault_errno(f, e, "sync directory %s (%s)", path, site) : ERR_OK;
}

enum err os_truncate(struct os_file *file, uint64_t size, struct fault *f)
{
    if (os_twin)
        return os_twin->truncate(file, size, f);
    int r;
    do
        r = ftruncate(file->fd, (off_t)size);
    while (r && errno == EINTR);
    return r ? fault_errno(f, errno, "truncate %s", file->path) : ERR_OK;
}

enum err os_reserve(struct os_file *file, uint64_t offset, uint64_t n, struct fault *f)
{
    if (os_twin)
        return os_twin->reserve(file, offset, n, f);
    int r;
    do
        r = fallocate(file->fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)n);
    while (r && errno == EINTR);
    if (r && errno != EOPNOTSUPP && errno != ENOSYS)
        return fault_errno(f, errno, "reserve space in %s", file->path);
    return ERR_OK;
}

/* In steps, each flushed: one flush of many megabytes would hold up everyone else's syncs. */
enum err os_write_zeros(struct os_file *file, uint64_t n, struct fault *f)
{
    static const char zeros[256 << 10];
    for (uint64_t at = 0; at < n; at += sizeof zeros) {
        enum err e = os_pwrite(file, zeros, n - at < sizeof zeros ? n - at : sizeof zeros, at, f);
        if (e)
            return e;
        if (!os_twin)
            (void)!fdatasync(file->fd); /* an error shows again at the first sync that promises something */
    }
    return ERR_OK;
}

enum err os_size(struct os_file *file, uint64_t *size, struct fault *f)
{
    if (os_twin)
        return os_twin->size(file, size, f);
    struct stat s;
    if (fstat(file->fd, &s))
        return fault_errno(f, errno, "stat %s", file->path);
    *size = (uint64_t)s.st_size;
    return ERR_OK;
}

enum err os_lock(struct os_file **out, const char *path, struct fault *f)
{
    if (os_twin)
        return os_twin->lock(out, path, f);
    int fd = open_retry(path, O_RDWR | O_CREAT | O_CLOEXEC);
    if (fd < 0)
        return path_fault(f, errno, "open", path);
    if (flock(fd, LOCK_EX | LOCK_NB)) {
        int e = errno;
        close(fd);
        return e == EWOULDBLOCK ? FAULT(f, ERR_BUSY, {"what", path}) : fault_errno(f, e, "lock %s", path);
    }
    return file_new(out, fd, path, f);
}
