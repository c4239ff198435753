/* Snapshots: all keyed state as of one commit, in a file of checked chunks; then a log without the changes before it. */
#include "state/checkpoint_int.h"

#include <inttypes.h>
#include <stdio.h>

static const char SNAPSHOT_MAGIC[] = "PNSTKSNP";

static void snapshot_path(const struct checkpoint *c, int64_t batch, const char *suffix, char out[PATH_BYTES])
{
    snprintf(out, PATH_BYTES, "%s/_penstock/snapshot-%" PRId64 "%s", c->dir, batch, suffix);
}

static enum err damaged(const char *path, uint64_t at, struct fault *f)
{
    char text[96];
    snprintf(text, sizeof text, "a chunk does not match its checksum at byte %" PRIu64, at);
    return FAULT(f, ERR_CORRUPT, {"what", path}, {"detail", text});
}

static enum err read_chunks(struct os_file *file, const char *path, checkpoint_change_fn *fn, void *arg,
                            struct fault *f)
{
    uint32_t version;
    enum err e = file_head_check(file, path, SNAPSHOT_MAGIC, &version, f);
    uint64_t at = FILE_HEAD, sequence = 0;
    while (!e) {
        char head[FRAME_HEAD], *payload = NULL;
        size_t got;
        struct frame fr;
        bool whole = false;
        if ((e = os_pread(file, head, sizeof head, at, &got, f)))
            break;
        if (got == sizeof head && frame_head_read(head, &fr) && fr.sequence == sequence++)
            e = frame_payload(file, at, &fr, &payload, &whole, f);
        if (!e && !whole)
            e = damaged(path, at, f);
        bool end = !e && fr.type == FRAME_END;
        if (!e && !end)
            e = changes_each(str_make(payload, fr.bytes), path, fn, arg, f);
        free(payload);
        if (end)
            break;
        if (!e)
            at += FRAME_HEAD + fr.bytes;
    }
    return e;
}

enum err snapshot_read(struct checkpoint *c, checkpoint_change_fn *fn, void *arg, struct fault *f)
{
    char path[PATH_BYTES];
    struct os_file *file;
    snapshot_path(c, c->snapshot, "", path);
    enum err e = os_open(&file, path, OS_RDONLY, f);
    if (e == ERR_NOTFOUND)
        return FAULT(f, ERR_CORRUPT, {"what", path}, {"detail", "the log names this snapshot, and it is gone"});
    if (e)
        return e;
    e = read_chunks(file, path, fn, arg, f);
    os_close(file);
    return e;
}

static enum err write_chunks(struct os_file *file, checkpoint_fill_fn *each, void *arg, struct fault *f)
{
    char head[FILE_HEAD];
    struct buf chunk = {0};
    uint64_t at = FILE_HEAD, sequence = 0;
    bool more = true;
    file_head(head, SNAPSHOT_MAGIC);
    enum err e = os_pwrite(file, head, sizeof head, 0, f);
    while (!e && more) {
        buf_clear(&chunk);
        if (!(e = each(arg, &chunk, &more, f)) && chunk.bad)
            e = FAULT(f, ERR_NOMEM, {"what", "a snapshot of state"});
        if (!e)
            e = frame_write(file, &at, FRAME_CHUNK, sequence++, (struct str[]){buf_view(&chunk)}, 1, f);
    }
    buf_free(&chunk);
    return e ? e : frame_write(file, &at, FRAME_END, sequence, NULL, 0, f);
}

enum err checkpoint_snapshot(struct checkpoint *c, checkpoint_fill_fn *each, void *arg, struct fault *f)
{
    char tmp[PATH_BYTES], path[PATH_BYTES], dir[PATH_BYTES];
    struct os_file *file;
    int64_t batch = c->last.committed ? c->last.batch : c->before.batch, old = c->snapshot;
    if (batch < 0 || batch == old)
        return ERR_OK;
    snapshot_path(c, batch, ".tmp", tmp);
    snapshot_path(c, batch, "", path);
    snprintf(dir, sizeof dir, "%s/_penstock", c->dir);
    enum err e = os_open(&file, tmp, OS_RDWR | OS_CREATE | OS_TRUNC, f);
    if (e)
        return e;
    e = write_chunks(file, each, arg, f);
    if (!e && (e = os_sync(file, "checkpoint.snapshot.file", f)))
        os_die("%s: the snapshot cannot be synced", tmp);
    os_close(file);
    if (!e)
        e = os_rename(tmp, path, f);
    if (!e)
        e = os_sync_dir(dir, "checkpoint.snapshot.dir", f);
    if (e)
        return e;
    c->snapshot = batch;
    if ((e = checkpoint_rewrite(c, f)) || old < 0)
        return e;
    snapshot_path(c, old, "", path);
    if (os_unlink(path, NULL))
        os_log(OS_DEBUG, "checkpoint", "%s stays, though no log names it any more", path);
    return ERR_OK;
}
