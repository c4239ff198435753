#include "os/os_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, TREE_DEPTH = 64 };

static enum err path_fault(struct fault *f, int e, const char *verb, const char *path)
{
    if (e == ENOENT)
        return FAULT(f, ERR_NOTFOUND, {"what", path});
    if (e == EEXIST)
        return FAULT(f, ERR_EXISTS, {"what", path});
    return fault_errno(f, e, "%s %s", verb, path);
}

enum err os_rename(const char *from, const char *to, struct fault *f)
{
    if (os_twin)
        return os_twin->rename(from, to, f);
    return rename(from, to) ? path_fault(f, errno, "rename", from) : ERR_OK;
}

enum err os_unlink(const char *path, struct fault *f)
{
    if (os_twin)
        return os_twin->unlink(path, f);
    return unlink(path) ? path_fault(f, errno, "unlink", path) : ERR_OK;
}

enum err os_mkdir(const char *path, struct fault *f)
{
    if (os_twin)
        return os_twin->mkdir(path, f);
    return mkdir(path, 0755) ? path_fault(f, errno, "create directory", path) : ERR_OK;
}

enum err os_rmdir(const char *path, struct fault *f)
{
    if (os_twin)
        return os_twin->rmdir(path, f);
    return rmdir(path) ? path_fault(f, errno, "remove directory", path) : ERR_OK;
}

enum err os_stat(const char *path, struct os_stat *out, struct fault *f)
{
    if (os_twin)
        return os_twin->stat(path, out, f);
    struct stat s;
    if (stat(path, &s))
        return path_fault(f, errno, "stat", path);
    *out = (struct os_stat){S_ISDIR(s.st_mode), (uint64_t)s.st_size,
                            (int64_t)s.st_mtim.tv_sec * 1000 + s.st_mtim.tv_nsec / 1000000};
    return ERR_OK;
}

enum err os_list(const char *path, enum err (*fn)(void *arg, const char *name), void *arg, struct fault *f)
{
    if (os_twin)
        return os_twin->list(path, fn, arg, f);
    DIR *d = opendir(path);
    if (!d)
        return path_fault(f, errno, "list", path);
    enum err e = ERR_OK;
    while (!e) {
        errno = 0;
        struct dirent *entry = readdir(d);
        if (!entry) {
            e = errno ? fault_errno(f, errno, "list %s", path) : ERR_OK;
            break;
        }
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            e = fn(arg, entry->d_name);
    }
    closedir(d);
    return e;
}

enum err os_free_space(const char *path, uint64_t *bytes, struct fault *f)
{
    if (os_twin)
        return os_twin->free_space(path, bytes, f);
    struct statvfs s;
    if (statvfs(path, &s))
        return path_fault(f, errno, "statvfs", path);
    *bytes = (uint64_t)s.f_bavail * s.f_frsize;
    return ERR_OK;
}

/* -- made from the calls above: the same for both twins ------------------------------------------------------------ */

enum err os_mkdirs(const char *path, struct fault *f)
{
    char part[PATH_BYTES];
    size_t n = strlen(path);
    if (n >= sizeof part)
        return FAULT(f, ERR_LIMIT, {"what", "The length of a path"}, {"limit", "4095"});
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i])
            continue;
        memcpy(part, path, i);
        part[i] = 0;
        enum err e = os_mkdir(part, f);
        if (e == ERR_EXISTS) {
            struct os_stat s;
            if ((e = os_stat(part, &s, f)))
                return e;
            if (!s.is_dir)
                return FAULT(f, ERR_EXISTS, {"what", part});
        } else if (e) {
            return e;
        }
    }
    return ERR_OK;
}

struct names {
    char **p;
    size_t n, cap;
};

static enum err collect(void *arg, const char *name)
{
    struct names *list = arg;
    if (list->n == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 16;
        char **p = realloc(list->p, cap * sizeof *p);
        if (!p)
            return ERR_NOMEM;
        list->p = p;
        list->cap = cap;
    }
    if (!(list->p[list->n] = strdup(name)))
        return ERR_NOMEM;
    list->n++;
    return ERR_OK;
}

static enum err remove_tree(const char *path, int depth, struct fault *f)
{
    struct os_stat s;
    enum err e = os_stat(path, &s, f);
    if (e == ERR_NOTFOUND)
        return ERR_OK;
    if (e || !s.is_dir)
        return e ? e : os_unlink(path, f);
    if (depth > TREE_DEPTH)
        return FAULT(f, ERR_LIMIT, {"what", "Directory nesting"}, {"limit", "64"});
    struct names list = {0};
    e = os_list(path, collect, &list, f);
    for (size_t i = 0; i < list.n; i++) {
        char *child = NULL;
        if (!e && asprintf(&child, "%s/%s", path, list.p[i]) < 0)
            e = FAULT(f, ERR_NOMEM, {"what", path});
        if (!e)
            e = remove_tree(child, depth + 1, f);
        free(child);
        free(list.p[i]);
    }
    free(list.p);
    return e ? e : os_rmdir(path, f);
}

enum err os_remove_tree(const char *path, struct fault *f)
{
    return remove_tree(path, 0, f);
}

enum err os_read_file(const char *path, size_t limit, char **p, size_t *n, struct fault *f)
{
    struct os_file *file;
    uint64_t size = 0;
    char *bytes = NULL;
    enum err e = os_open(&file, path, OS_RDONLY, f);
    if (e)
        return e;
    if ((e = os_size(file, &size, f)))
        goto out;
    if (size > limit) {
        char text[32];
        snprintf(text, sizeof text, "%zu bytes", limit);
        e = FAULT(f, ERR_LIMIT, {"what", path}, {"limit", text});
        goto out;
    }
    if (!(bytes = malloc(size + 1))) {
        e = FAULT(f, ERR_NOMEM, {"what", path});
        goto out;
    }
    if ((e = os_pread(file, bytes, size, 0, n, f)))
        goto out;
    bytes[*n] = 0;
    *p = bytes;
    bytes = NULL;
out:
    free(bytes);
    os_close(file);
    return e;
}

enum err os_write_file_atomic(const char *path, struct str bytes, const char *site_file, const char *site_dir,
                              struct fault *f)
{
    char tmp[PATH_BYTES], dir[PATH_BYTES];
    const char *slash = strrchr(path, '/');
    if (strlen(path) + 5 > sizeof tmp)
        return FAULT(f, ERR_LIMIT, {"what", "The length of a path"}, {"limit", "4090"});
    snprintf(tmp, sizeof tmp, "%s.tmp", path);
    snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    struct os_file *file;
    enum err e = os_open(&file, tmp, OS_RDWR | OS_CREATE | OS_TRUNC, f);
    if (e)
        return e;
    e = os_pwrite(file, bytes.p, bytes.n, 0, f);
    if (!e)
        e = os_sync(file, site_file, f);
    os_close(file);
    if (!e)
        e = os_rename(tmp, path, f);
    return e ? e : os_sync_dir(dir[0] ? dir : "/", site_dir, f);
}
