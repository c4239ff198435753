/*
 * The metadata log's file.
 *
 * DIR/metadata.log is a row of records: u32 n, u32 CRC-32C of what follows, u64 sequence number, u8 kind, n bytes. All
 * little-endian; strings are u32 length (UINT32_MAX: null) and bytes. The first record is the header with the format and
 * the cluster id. A record is synced before its change is visible to anyone. A bad last record was told to nobody and is
 * cut; a bad record with a whole one behind it is damage (ERR_CORRUPT).
 *
 * When most of it speaks of what is no more, it is written anew: one record for each thing there is (meta_state), numbered
 * from the header on, in a file of its own that takes the name once it is synced. No change comes between the two.
 */
#include "codec/codec.h"
#include "log/log_int.h"

#include <stdio.h>

enum { REWRITE_LEAST = 1 << 20, DEAD = 2, GROWN = 4 /* times */ };

void meta_begin(struct buf *b, int kind)
{
    buf_fill(b, 0, REC_PREFIX - 1);
    buf_u8(b, (uint8_t)kind);
}

void meta_seal(struct buf *b, size_t at, uint64_t seq)
{
    if (b->bad)
        return;
    char *p = b->p + at;
    size_t n = b->n - at;
    put_u32le(p, (uint32_t)(n - REC_PREFIX));
    put_u64le(p + 8, seq);
    put_u32le(p + 4, crc32c(0, p + 8, n - 8));
}

/* A failed write is undone; a failed sync ends the process. */
enum err meta_append(struct log *l, struct buf *b, struct fault *f)
{
    if (b->bad && b->n < LIMIT_CATALOGUE_CHANGE_BYTES)
        return FAULT(f, ERR_NOMEM, {"what", "a change of the catalogue"});
    if (b->bad || b->n > LIMIT_CATALOGUE_CHANGE_BYTES)
        return LIMIT_FAULT(f, CATALOGUE_CHANGE_BYTES);
    if (l->meta_size + b->n > LIMIT_CATALOGUE_BYTES) /* or it could not be read again */
        return LIMIT_FAULT(f, CATALOGUE_BYTES);
    meta_seal(b, 0, l->meta_seq);
    enum err e = os_pwrite(l->meta_file, b->p, b->n, l->meta_size, f);
    if (e) {
        if (os_truncate(l->meta_file, l->meta_size, NULL))
            os_die("metadata.log: a failed write could not be undone");
        return e;
    }
    if ((e = os_sync(l->meta_file, "metadata.append", f)))
        os_die("metadata.log cannot be synced, stopping: %s", fault_message(f));
    l->meta_size += b->n;
    l->meta_seq++;
    return ERR_OK;
}

/* -- writing it anew ----------------------------------------------------------------------------------------------------- */

static uint64_t least(const struct log *l)
{
    return l->o.rewrite_bytes ? l->o.rewrite_bytes : REWRITE_LEAST;
}

/* From here on the new file is the catalogue. */
static void take_over(struct log *l, const char *path, uint64_t size, uint64_t seq)
{
    struct os_file *file;
    struct fault f;
    if (os_open(&file, path, OS_RDWR, &f))
        os_die("metadata.log was written anew and cannot be opened, stopping: %s", fault_message(&f));
    os_close(l->meta_file);
    os_log(OS_INFO, "log", "metadata.log written anew: %llu bytes of %llu", (unsigned long long)size,
           (unsigned long long)l->meta_size);
    l->meta_file = file;
    l->meta_size = size;
    l->meta_seq = seq;
}

static void rewrite(struct log *l, const struct buf *b, uint64_t seq)
{
    char path[LOG_PATH];
    struct fault f;
    struct os_stat now;
    log_path(l, path, "metadata.log");
    enum err e = os_write_file_atomic(path, buf_view(b), "metadata.rewrite.file", "metadata.rewrite.dir", &f);
    if (!e) {
        take_over(l, path, b->n, seq);
    } else if (e != ERR_NOSPACE || os_stat(path, &now, NULL) || now.size != l->meta_size) {
        os_die("metadata.log cannot be written anew, stopping: %s", fault_message(&f));
    } else { /* before it took the name: the old one goes on */
        os_log(OS_WARN, "log", "metadata.log cannot be written anew: %s", fault_message(&f));
        log_path(l, path, "metadata.log.tmp");
        (void)!os_unlink(path, NULL);
    }
}

void meta_tidy(struct log *l)
{
    struct buf b = {0};
    uint64_t size = l->meta_size, again = least(l);
    if (size < l->meta_rewrite_at)
        return;
    uint64_t seq = meta_state(l, &b);
    if (!b.bad && b.n <= size / DEAD)
        rewrite(l, &b, seq);
    again = again > l->meta_size * GROWN ? again : l->meta_size * GROWN; /* as it is now */
    l->meta_rewrite_at = !b.bad && b.n > size / DEAD ? size * DEAD : again;
    buf_free(&b);
}

/* -- reading it ---------------------------------------------------------------------------------------------------------- */

/* A whole record at `at`? Its size, or 0. */
static size_t whole(const char *p, size_t n, size_t at)
{
    if (n - at < REC_PREFIX)
        return 0;
    size_t size = get_u32le(p + at) + (size_t)REC_PREFIX;
    if (size > n - at || size > LIMIT_CATALOGUE_CHANGE_BYTES)
        return 0;
    return get_u32le(p + at + 4) == crc32c(0, p + at + 8, size - 8) ? size : 0;
}

/* After a bad record: is there a whole one anywhere behind it that continues the numbering? */
static bool whole_behind(const char *p, size_t n, size_t at, uint64_t seq)
{
    for (size_t i = at + 1; n - i >= REC_PREFIX && i < n; i++) {
        uint64_t s = get_u64le(p + i + 8);
        if (s > seq && s < seq + 1000000 && whole(p, n, i))
            return true;
    }
    return false;
}

static enum err replay(struct log *l, const char *p, size_t n, struct fault *f)
{
    size_t at = 0, size;
    while (at < n && (size = whole(p, n, at))) {
        struct str rest = str_make(p + at + REC_PREFIX, size - REC_PREFIX);
        int kind = (unsigned char)p[at + REC_PREFIX - 1];
        if (get_u64le(p + at + 8) != l->meta_seq || (l->meta_seq == 0) != (kind == REC_HEADER))
            return FAULT(f, ERR_CORRUPT, {"what", "metadata.log"}, {"detail", "a record out of order"});
        if (kind == REC_HEADER && rest.n >= 4 && get_u32le(rest.p) > LOG_FORMAT)
            return log_newer_format(l->dir, get_u32le(rest.p), f);
        if (!meta_apply(l, kind, rest))
            return FAULT(f, ERR_CORRUPT, {"what", "metadata.log"}, {"detail", "a record that does not apply"});
        l->meta_seq++;
        at += size;
    }
    if (at < n && whole_behind(p, n, at, l->meta_seq))
        return FAULT(f, ERR_CORRUPT, {"what", "metadata.log"}, {"detail", "a bad record before a good one"});
    l->meta_size = at;
    return ERR_OK;
}

enum err meta_open(struct log *l, struct fault *f)
{
    char path[LOG_PATH], *p = NULL;
    size_t n = 0;
    log_path(l, path, "metadata.log");
    enum err e = os_open(&l->meta_file, path, OS_RDWR | OS_CREATE, f);
    if (!e)
        e = os_read_file(path, LIMIT_CATALOGUE_BYTES, &p, &n, f);
    if (!e)
        e = replay(l, p, n, f);
    free(p);
    if (!e && l->meta_size < n)
        e = os_truncate(l->meta_file, l->meta_size, f);
    if (!e && l->meta_seq && (e = os_sync(l->meta_file, "metadata.open", f))) /* what was read may be in memory only */
        os_die("metadata.log cannot be synced, stopping: %s", fault_message(f));
    if (!e && l->meta_seq == 0)
        e = meta_header(l, f);
    l->meta_rewrite_at = least(l);
    if (!e)
        meta_tidy(l);
    return e;
}
