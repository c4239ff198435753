/*
 * NNN.snapshot: Kafka's producer snapshot, version 1, of what was there at log end NNN.
 *
 *   i16 version, u32 CRC-32C of what follows it, i32 count, then per producer
 *   i64 id, i16 epoch, i32 last sequence, i64 last offset (-1: no batch in this epoch), i32 offset delta, i64 timestamp,
 *   i32 coordinator epoch, i64 first offset of the open transaction (-1)
 *
 * Kafka keeps one batch per producer here, and after a restart knows only that one as a duplicate. A client has up to five
 * in flight, so the older ones stand behind the list, where Kafka's reader stops: i64 id, i32 last sequence, i64 last offset,
 * i32 offset delta, i64 timestamp; the oldest first. The CRC covers them.
 */
#include "codec/codec.h"
#include "log/log_int.h"

#include <stdio.h>

enum { VERSION = 1, HEAD = 10, ENTRY = 46, MORE = 32, SNAPSHOT_LIMIT = 512 << 20 };

static void snapshot_path(char out[LOG_PATH], const char *dir, int64_t offset)
{
    snprintf(out, LOG_PATH, "%s/%020lld.snapshot", dir, (long long)offset);
}

static bool forgotten(const struct producer *p, int64_t now_ms)
{
    return p->id < 0 || (p->last_ms < now_ms - PRODUCER_EXPIRY_MS && p->txn_first < 0);
}

static void put_entry(struct buf *b, const struct producer *p)
{
    static const struct producer_batch NONE = {.last_seq = -1, .last_offset = -1};
    const struct producer_batch *last = p->n ? &p->batch[p->n - 1] : &NONE;
    buf_u64be(b, (uint64_t)p->id);
    buf_u16be(b, (uint16_t)p->epoch);
    buf_u32be(b, (uint32_t)last->last_seq);
    buf_u64be(b, (uint64_t)last->last_offset);
    buf_u32be(b, (uint32_t)last->offset_delta);
    buf_u64be(b, (uint64_t)p->last_ms);
    buf_u32be(b, (uint32_t)p->coordinator_epoch);
    buf_u64be(b, (uint64_t)p->txn_first);
}

static void put_more(struct buf *b, int64_t id, const struct producer_batch *x)
{
    buf_u64be(b, (uint64_t)id);
    buf_u32be(b, (uint32_t)x->last_seq);
    buf_u64be(b, (uint64_t)x->last_offset);
    buf_u32be(b, (uint32_t)x->offset_delta);
    buf_u64be(b, (uint64_t)x->timestamp_ms);
}

static void encode(const struct producers *t, int64_t now_ms, struct buf *b)
{
    uint32_t count = 0;
    buf_fill(b, 0, HEAD);
    for (size_t i = 0; i < t->cap; i++)
        if (!forgotten(&t->slots[i], now_ms)) {
            put_entry(b, &t->slots[i]);
            count++;
        }
    for (size_t i = 0; i < t->cap; i++)
        for (int k = 0; !forgotten(&t->slots[i], now_ms) && k + 1 < t->slots[i].n; k++)
            put_more(b, t->slots[i].id, &t->slots[i].batch[k]);
    if (b->bad)
        return;
    b->p[1] = VERSION;
    put_u32be(b->p + 6, count);
    put_u32be(b->p + 2, crc32c(0, b->p + 6, b->n - 6));
}

enum err producers_save(struct producers *t, const char *dir, int64_t offset, int64_t now_ms, struct fault *f)
{
    char path[LOG_PATH];
    struct buf b = {.limit = BUF_ASKED};
    struct os_file *file;
    if (t->saved == offset + 1)
        return ERR_OK;
    encode(t, now_ms, &b);
    if (b.bad) {
        buf_free(&b);
        return FAULT(f, ERR_NOMEM, {"what", "a producer snapshot"});
    }
    snapshot_path(path, dir, offset);
    enum err e = os_open(&file, path, OS_RDWR | OS_CREATE | OS_TRUNC, f);
    if (!e) {
        e = os_pwrite(file, b.p, b.n, 0, f);
        os_close(file);
    }
    buf_free(&b);
    t->saved = e ? 0 : offset + 1;
    return e;
}

static bool whole(const char *p, size_t n)
{
    return n >= HEAD && p[0] == 0 && p[1] == VERSION && get_u32be(p + 2) == crc32c(0, p + 6, n - 6) &&
           (n - HEAD) / ENTRY >= get_u32be(p + 6) && (n - HEAD - (size_t)get_u32be(p + 6) * ENTRY) % MORE == 0;
}

static struct producer_batch batch_of(int32_t last, int64_t offset, int32_t delta, int64_t ts)
{
    int32_t first = last < 0 ? -1 : (int32_t)(((int64_t)last - delta) & INT32_MAX);
    return (struct producer_batch){first, last, offset, ts, delta};
}

static void take_entry(struct producers *t, const char *p)
{
    struct producer x = {.id = (int64_t)get_u64be(p),
                         .epoch = (int16_t)((unsigned char)p[8] << 8 | (unsigned char)p[9]),
                         .last_ms = (int64_t)get_u64be(p + 26),
                         .coordinator_epoch = (int32_t)get_u32be(p + 34),
                         .txn_first = (int64_t)get_u64be(p + 38)};
    int64_t offset = (int64_t)get_u64be(p + 14);
    if (offset >= 0) {
        x.n = 1;
        x.batch[0] = batch_of((int32_t)get_u32be(p + 10), offset, (int32_t)get_u32be(p + 22), x.last_ms);
    }
    if (x.id >= 0)
        producers_restore(t, &x);
}

/* An older batch goes before the last one. */
static void take_more(struct producers *t, const char *p)
{
    struct producer *x = producers_find(t, (int64_t)get_u64be(p));
    if (!x || x->n < 1 || x->n >= PRODUCER_BATCHES)
        return;
    x->batch[x->n] = x->batch[x->n - 1];
    x->batch[x->n - 1] = batch_of((int32_t)get_u32be(p + 8), (int64_t)get_u64be(p + 12), (int32_t)get_u32be(p + 20),
                                  (int64_t)get_u64be(p + 24));
    x->n++;
}

static void take(struct producers *t, const char *p, size_t n)
{
    const char *at = p + HEAD, *end = p + n;
    for (uint32_t count = get_u32be(p + 6); count--; at += ENTRY)
        take_entry(t, at);
    for (; at < end; at += MORE)
        take_more(t, at);
}

struct snapshot_list {
    VEC(int64_t) offsets;
};

static enum err note_snapshot(void *arg, const char *name)
{
    struct snapshot_list *list = arg;
    struct str s = str_of(name);
    int64_t offset;
    if (s.n == 29 && str_ends(s, STR(".snapshot")) && str_to_i64(str_sub(s, 0, 20), &offset))
        vec_push(&list->offsets, offset);
    return ERR_OK;
}

enum err producers_load(struct producers *t, const char *dir, int64_t *list, size_t n_list, int64_t least,
                        int64_t *offset, struct fault *f)
{
    enum err e = ERR_OK;
    *offset = least;
    for (bool found = false; !e && !found;) { /* the newest first; a torn one is passed over */
        int64_t best = -1;
        size_t at = 0;
        for (size_t i = 0; i < n_list; i++)
            if (list[i] > best) {
                best = list[i];
                at = i;
            }
        if (best < least)
            break;
        char path[LOG_PATH], *p = NULL;
        size_t n = 0;
        snapshot_path(path, dir, best);
        e = os_read_file(path, SNAPSHOT_LIMIT, &p, &n, f);
        found = !e && whole(p, n);
        if (found) {
            take(t, p, n);
            *offset = best;
            t->saved = best + 1;
        }
        list[at] = -1;
        free(p);
    }
    return e;
}

enum err producers_unlink(const char *dir, int64_t offset, struct fault *f)
{
    char path[LOG_PATH];
    snapshot_path(path, dir, offset);
    enum err e = os_unlink(path, f);
    return e == ERR_NOTFOUND ? ERR_OK : e;
}

enum err producers_prune(const char *dir, int64_t keep, struct fault *f)
{
    struct snapshot_list list = {0};
    enum err e = os_list(dir, note_snapshot, &list, f);
    for (size_t i = 0; !e && i < list.offsets.n; i++)
        if (list.offsets.p[i] < keep)
            e = producers_unlink(dir, list.offsets.p[i], f);
    vec_free(&list.offsets);
    return e;
}
