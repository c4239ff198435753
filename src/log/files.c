/*
 * Open files, a bounded number of them: a segment's .log is opened when it is read or written, and the ones that were used
 * longest ago are closed when there are too many. Nobody but this file touches segment.file.
 *
 *   segment_pread ─▶ use: open it, or take it to the front ─▶ pread ─▶ done: from now on it may be closed
 *
 * A segment with unsynced writes may be closed as well. An error of writing back that nobody was told yet stays with the
 * inode, and the sync of a later descriptor reports it (Linux since 4.16; PostgreSQL lives by the same).
 */
#include "log/log_int.h"

#include <stdio.h>

enum { OPEN_LEAST = 16, OPEN_MOST = 4096, OPEN_SHARE = 4 /* of the process's limit: the rest is for connections */ };

void files_init(struct files *c, uint64_t wanted, uint64_t process_limit)
{
    uint64_t limit = wanted ? wanted : process_limit / OPEN_SHARE;
    c->limit = limit < OPEN_LEAST ? OPEN_LEAST : limit > OPEN_MOST ? OPEN_MOST : (size_t)limit;
    if (wanted)
        c->limit = (size_t)wanted;
    c->lock = os_mutex_new();
}

void files_free(struct files *c)
{
    os_mutex_free(c->lock);
}

/* -- the list, the last used first; under the lock -------------------------------------------------------------------- */

static void take_out(struct files *c, struct segment *s)
{
    if (s->newer)
        s->newer->older = s->older;
    else
        c->newest = s->older;
    if (s->older)
        s->older->newer = s->newer;
    else
        c->oldest = s->newer;
    s->newer = s->older = NULL;
}

static void put_first(struct files *c, struct segment *s)
{
    s->older = c->newest;
    if (c->newest)
        c->newest->newer = s;
    c->newest = s;
    if (!c->oldest)
        c->oldest = s;
}

/* One that is too many and not in use, or NULL. */
static struct os_file *too_many(struct files *c)
{
    struct segment *s = c->open > c->limit ? c->oldest : NULL;
    while (s && s->users)
        s = s->newer;
    if (!s)
        return NULL;
    struct os_file *file = s->file;
    take_out(c, s);
    s->file = NULL;
    c->open--;
    return file;
}

/* -- use ---------------------------------------------------------------------------------------------------------------- */

/* `file` is open and becomes the segment's, unless it has got one meanwhile. Returns with one user more. */
static struct os_file *adopt(struct segment *s, struct os_file *file)
{
    struct files *c = s->files;
    struct os_file *close[2] = {NULL, NULL};
    os_mutex_lock(c->lock);
    if (s->file) {
        close[0] = file;
    } else {
        s->file = file;
        put_first(c, s);
        c->open++;
    }
    s->users++;
    close[1] = too_many(c);
    file = s->file;
    os_mutex_unlock(c->lock);
    os_close(close[0]);
    os_close(close[1]);
    return file;
}

/* ERR_AGAIN: nowait, and it is not open. */
static enum err use(struct segment *s, bool nowait, struct os_file **file, struct fault *f)
{
    struct files *c = s->files;
    char path[LOG_PATH];
    os_mutex_lock(c->lock);
    *file = s->file;
    if (*file) {
        s->users++;
        if (c->newest != s) {
            take_out(c, s);
            put_first(c, s);
        }
    }
    os_mutex_unlock(c->lock);
    if (*file)
        return ERR_OK;
    if (nowait)
        return ERR_AGAIN;
    snprintf(path, sizeof path, "%s.log", s->path);
    struct os_file *opened;
    enum err e = os_open(&opened, path, OS_RDWR, f);
    if (!e)
        *file = adopt(s, opened);
    return e;
}

static void done(struct segment *s)
{
    os_mutex_lock(s->files->lock);
    s->users--;
    os_mutex_unlock(s->files->lock);
}

/* -- what can be done with one ------------------------------------------------------------------------------------------ */

enum err segment_create_file(struct segment *s, struct fault *f)
{
    char path[LOG_PATH];
    struct os_file *file;
    snprintf(path, sizeof path, "%s.log", s->path);
    enum err e = os_open(&file, path, OS_RDWR | OS_CREATE | OS_TRUNC, f);
    if (e)
        return e;
    adopt(s, file);
    done(s);
    return ERR_OK;
}

void segment_close_file(struct segment *s)
{
    struct files *c = s->files;
    os_mutex_lock(c->lock);
    struct os_file *file = s->file;
    if (file) {
        take_out(c, s);
        s->file = NULL;
        c->open--;
    }
    os_mutex_unlock(c->lock);
    os_close(file);
}

/* It stays open until the segment is freed: its name is about to go to another file, or to nobody. */
enum err segment_hold(struct segment *s, struct fault *f)
{
    struct os_file *file;
    return use(s, false, &file, f);
}

void segment_unhold(struct segment *s)
{
    done(s);
}

enum err segment_pread(struct segment *s, char *p, size_t n, uint64_t at, bool nowait, size_t *got, struct fault *f)
{
    struct os_file *file;
    enum err e = use(s, nowait, &file, f);
    if (e)
        return e;
    e = nowait ? os_pread_nowait(file, p, n, at, got, f) : os_pread(file, p, n, at, got, f);
    done(s);
    return e;
}

enum err segment_reserve(struct segment *s, uint64_t at, uint64_t n, struct fault *f)
{
    struct os_file *file;
    enum err e = use(s, false, &file, f);
    if (e)
        return e;
    e = os_reserve(file, at, n, f);
    done(s);
    return e;
}

enum err segment_pwrite(struct segment *s, const char *p, size_t n, uint64_t at, struct fault *f)
{
    struct os_file *file;
    enum err e = use(s, false, &file, f);
    if (e)
        return e;
    e = os_pwrite(file, p, n, at, f);
    done(s);
    return e;
}

enum err segment_truncate(struct segment *s, uint64_t size, struct fault *f)
{
    struct os_file *file;
    enum err e = use(s, false, &file, f);
    if (e)
        return e;
    e = os_truncate(file, size, f);
    done(s);
    return e;
}

enum err segment_sync(struct segment *s, struct fault *f)
{
    struct os_file *file;
    enum err e = use(s, false, &file, f);
    if (e)
        return e;
    e = os_sync(file, s->cleaned ? "compact.data" : "segment.data", f);
    done(s);
    return e;
}
