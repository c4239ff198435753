#include "codec/codec.h"
#include "log/log_int.h"

#include <stdio.h>

enum { SNAPSHOT_VERSION = 1, SNAPSHOT_HEAD = 10, SNAPSHOT_ENTRY = 46, SNAPSHOT_LIMIT = 64 << 20 };

void producers_free(struct producers *t)
{
    free(t->slots);
    *t = (struct producers){0};
}

static struct producer *slot(const struct producers *t, int64_t id)
{
    size_t i = (size_t)(((uint64_t)id * 0x9e3779b97f4a7c15u) >> 20) & (t->cap - 1);
    while (t->slots[i].id >= 0 && t->slots[i].id != id)
        i = (i + 1) & (t->cap - 1);
    return &t->slots[i];
}

static struct producer *find(const struct producers *t, int64_t id)
{
    if (!t->cap)
        return NULL;
    struct producer *p = slot(t, id);
    return p->id == id ? p : NULL;
}

/* Rehash into `cap` slots, leaving out who wrote nothing since `oldest_ms`. */
static void rebuild(struct producers *t, size_t cap, int64_t oldest_ms)
{
    struct producers old = *t;
    t->slots = malloc(cap * sizeof *t->slots);
    if (!t->slots)
        os_die("out of memory for %zu producers", cap);
    t->cap = cap;
    t->n = 0;
    for (size_t i = 0; i < cap; i++)
        t->slots[i].id = -1;
    for (size_t i = 0; i < old.cap; i++) {
        struct producer *p = &old.slots[i];
        if (p->id < 0 || p->batch[p->n - 1].timestamp_ms < oldest_ms)
            continue;
        *slot(t, p->id) = *p;
        t->n++;
    }
    free(old.slots);
}

static struct producer *make(struct producers *t, int64_t id, int64_t now_ms)
{
    if ((t->n + 1) * 2 > t->cap) {
        rebuild(t, t->cap ? t->cap : 16, now_ms - PRODUCER_EXPIRY_MS);
        if ((t->n + 1) * 2 > t->cap && t->cap >= LIMIT_PRODUCERS * 2)
            rebuild(t, t->cap, INT64_MAX); /* a flood of ids: forget all, as Kafka does with expired ones */
        else if ((t->n + 1) * 2 > t->cap)
            rebuild(t, t->cap * 2, INT64_MIN);
    }
    struct producer *p = slot(t, id);
    if (p->id != id) {
        memset(p, 0, sizeof *p);
        p->id = id;
        t->n++;
    }
    return p;
}

static int32_t last_sequence(const struct batch *b)
{
    return (int32_t)(((int64_t)b->base_sequence + b->last_offset_delta) & INT32_MAX);
}

static enum log_status refuse(enum log_status status, char message[160], const char *what, const struct batch *b,
                              int expected)
{
    snprintf(message, 160, "%s for producer %lld: incoming epoch %d, sequence %d; current %d", what,
             (long long)b->producer_id, b->producer_epoch, b->base_sequence, expected);
    return status;
}

/* The rules of Kafka's ProducerAppendInfo: duplicates first, then the epoch, then the sequence. */
enum log_status producers_check(struct producers *t, const struct batch *b, const struct producer_batch **duplicate,
                                char message[160])
{
    *duplicate = NULL;
    if (b->producer_id < 0)
        return LOG_OK;
    struct producer *p = find(t, b->producer_id);
    if (!p)
        return LOG_OK; /* unknown, perhaps expired: any sequence starts it */
    if (b->producer_epoch < p->epoch)
        return refuse(LOG_INVALID_PRODUCER_EPOCH, message, "Invalid producer epoch", b, p->epoch);
    if (b->producer_epoch > p->epoch)
        return b->base_sequence == 0
                   ? LOG_OK
                   : refuse(LOG_OUT_OF_ORDER_SEQUENCE, message, "A new epoch must begin with sequence 0", b, -1);
    for (int i = 0; i < p->n; i++)
        if (p->batch[i].first_seq == b->base_sequence && p->batch[i].last_seq == last_sequence(b)) {
            *duplicate = &p->batch[i];
            return LOG_OK;
        }
    int32_t last = p->batch[p->n - 1].last_seq;
    int32_t next = last == INT32_MAX ? 0 : last + 1;
    if (b->base_sequence != next)
        return refuse(LOG_OUT_OF_ORDER_SEQUENCE, message, "Out of order sequence number", b, last);
    return LOG_OK;
}

static void push(struct producer *p, struct producer_batch b)
{
    if (p->n == PRODUCER_BATCHES)
        memmove(p->batch, p->batch + 1, (PRODUCER_BATCHES - 1) * sizeof *p->batch);
    else
        p->n++;
    p->batch[p->n - 1] = b;
}

void producers_note(struct producers *t, const struct batch *b, int64_t now_ms)
{
    if (b->producer_id < 0)
        return;
    struct producer *p = make(t, b->producer_id, now_ms);
    if (p->epoch != b->producer_epoch)
        p->n = 0;
    p->epoch = b->producer_epoch;
    push(p, (struct producer_batch){b->base_sequence, last_sequence(b), b->base_offset + b->last_offset_delta,
                                    b->max_timestamp > now_ms ? b->max_timestamp : now_ms, b->last_offset_delta});
}

/*
 * The snapshot, version 1: i16 version, u32 CRC-32C of what follows it, i32 count, then per producer i64 id, i16 epoch,
 * i32 last sequence, i64 last offset, i32 offset delta, i64 timestamp, i32 coordinator epoch (-1), i64 first offset of
 * the open transaction (-1). Kafka keeps one batch per producer here, and so do we.
 */
enum err producers_save(struct producers *t, const char *dir, int64_t offset, int64_t now_ms, struct fault *f)
{
    char path[LOG_PATH];
    struct buf b = {0};
    uint32_t count = 0;
    snprintf(path, sizeof path, "%s/%020lld.snapshot", dir, (long long)offset);
    buf_fill(&b, 0, SNAPSHOT_HEAD);
    for (size_t i = 0; i < t->cap; i++) {
        const struct producer *p = &t->slots[i];
        if (p->id < 0)
            continue;
        const struct producer_batch *last = &p->batch[p->n - 1];
        if (last->timestamp_ms < now_ms - PRODUCER_EXPIRY_MS)
            continue;
        count++;
        buf_u64be(&b, (uint64_t)p->id);
        buf_u16be(&b, (uint16_t)p->epoch);
        buf_u32be(&b, (uint32_t)last->last_seq);
        buf_u64be(&b, (uint64_t)last->last_offset);
        buf_u32be(&b, (uint32_t)last->offset_delta);
        buf_u64be(&b, (uint64_t)last->timestamp_ms);
        buf_u32be(&b, (uint32_t)-1);
        buf_u64be(&b, (uint64_t)-1);
    }
    if (b.bad) {
        buf_free(&b);
        return FAULT(f, ERR_NOMEM, {"what", "a producer snapshot"});
    }
    b.p[1] = SNAPSHOT_VERSION;
    put_u32be(b.p + 6, count);
    put_u32be(b.p + 2, crc32c(0, b.p + 6, b.n - 6));
    struct os_file *file;
    enum err e = os_open(&file, path, OS_RDWR | OS_CREATE | OS_TRUNC, f);
    if (!e) {
        e = os_pwrite(file, b.p, b.n, 0, f);
        os_close(file);
    }
    buf_free(&b);
    return e;
}

static bool whole(const char *p, size_t n)
{
    return n >= SNAPSHOT_HEAD && p[0] == 0 && p[1] == SNAPSHOT_VERSION && get_u32be(p + 2) == crc32c(0, p + 6, n - 6) &&
           (n - SNAPSHOT_HEAD) / SNAPSHOT_ENTRY == get_u32be(p + 6) && (n - SNAPSHOT_HEAD) % SNAPSHOT_ENTRY == 0;
}

static void take(struct producers *t, const char *p, size_t n)
{
    for (const char *at = p + SNAPSHOT_HEAD; at < p + n; at += SNAPSHOT_ENTRY) {
        int64_t id = (int64_t)get_u64be(at), ts = (int64_t)get_u64be(at + 26);
        int32_t last = (int32_t)get_u32be(at + 10), delta = (int32_t)get_u32be(at + 22);
        if (id < 0)
            continue;
        struct producer *slot_of = make(t, id, ts);
        slot_of->epoch = (int16_t)((unsigned char)at[8] << 8 | (unsigned char)at[9]);
        int32_t first = (int32_t)(((int64_t)last - delta) & INT32_MAX);
        push(slot_of, (struct producer_batch){first, last, (int64_t)get_u64be(at + 14), ts, delta});
    }
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

static void snapshot_path(char out[LOG_PATH], const char *dir, int64_t offset)
{
    snprintf(out, LOG_PATH, "%s/%020lld.snapshot", dir, (long long)offset);
}

enum err producers_load(struct producers *t, const char *dir, int64_t limit, int64_t log_start, int64_t *offset,
                        struct fault *f)
{
    struct snapshot_list list = {0};
    enum err e = os_list(dir, note_snapshot, &list, f);
    *offset = log_start;
    for (bool found = false; !e && !found;) { /* the newest first; a torn one is passed over */
        int64_t best = -1;
        size_t at = 0;
        for (size_t i = 0; i < list.offsets.n; i++)
            if (list.offsets.p[i] > best && list.offsets.p[i] <= limit) {
                best = list.offsets.p[i];
                at = i;
            }
        if (best < log_start)
            break;
        char path[LOG_PATH], *p = NULL;
        size_t n = 0;
        snapshot_path(path, dir, best);
        e = os_read_file(path, SNAPSHOT_LIMIT, &p, &n, f);
        found = !e && whole(p, n);
        if (found) {
            take(t, p, n);
            *offset = best;
        }
        list.offsets.p[at] = -1;
        free(p);
    }
    vec_free(&list.offsets);
    return e;
}

enum err producers_prune(const char *dir, int64_t keep, int64_t limit, struct fault *f)
{
    struct snapshot_list list = {0};
    enum err e = os_list(dir, note_snapshot, &list, f);
    for (size_t i = 0; !e && i < list.offsets.n; i++) {
        int64_t offset = list.offsets.p[i];
        char path[LOG_PATH];
        snapshot_path(path, dir, offset);
        if (offset < keep || offset > limit)
            e = os_unlink(path, f);
    }
    vec_free(&list.offsets);
    return e;
}
