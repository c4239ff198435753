/*
 * What a partition knows of who writes to it: sequences and epochs as Kafka's ProducerAppendInfo checks them (KIP-98, KIP-360,
 * KIP-890), and open transactions. A table with open addressing; transactions once more in the order of their first offsets.
 */
#include "log/log_int.h"

#include <stdarg.h>
#include <stdio.h>

void producers_free(struct producers *t)
{
    free(t->slots);
    vec_free(&t->txns);
    *t = (struct producers){0};
}

static struct producer *slot(const struct producers *t, int64_t id)
{
    size_t i = (size_t)(((uint64_t)id * 0x9e3779b97f4a7c15u) >> 20) & (t->cap - 1);
    while (t->slots[i].id >= 0 && t->slots[i].id != id)
        i = (i + 1) & (t->cap - 1);
    return &t->slots[i];
}

struct producer *producers_find(const struct producers *t, int64_t id)
{
    if (!t->cap || id < 0)
        return NULL;
    struct producer *p = slot(t, id);
    return p->id == id ? p : NULL;
}

/* Rehash into `cap` slots, leaving out who wrote nothing since `oldest_ms` and has no transaction open. */
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
        if (p->id < 0 || (p->last_ms < oldest_ms && p->txn_first < 0))
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
        if ((t->n + 1) * 2 > t->cap)
            rebuild(t, t->cap * 2, INT64_MIN);
    }
    struct producer *p = slot(t, id);
    if (p->id != id) {
        *p = (struct producer){.id = id, .epoch = -1, .coordinator_epoch = -1, .txn_first = -1};
        t->n++;
    }
    return p;
}

/* -- checks ------------------------------------------------------------------------------------------------------------ */

static int32_t last_sequence(const struct batch *b)
{
    return b->base_sequence < 0 ? -1 : (int32_t)(((int64_t)b->base_sequence + b->last_offset_delta) & INT32_MAX);
}

__attribute__((format(printf, 3, 4))) static enum log_status refuse(enum log_status status, char message[160],
                                                                    const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, 160, fmt, ap);
    va_end(ap);
    return status;
}

static enum log_status check_sequence(const struct producer *p, enum log_origin origin, const struct batch *b,
                                      char message[160])
{
    long long id = b->producer_id;
    if (!p)
        return origin == LOG_FROM_CLIENT_V2 && (b->attributes & BATCH_TRANSACTIONAL) && b->base_sequence != 0
                   ? refuse(LOG_OUT_OF_ORDER_SEQUENCE, message,
                            "Producer %lld is unknown here: it must begin with sequence 0, not %d", id,
                            b->base_sequence)
                   : LOG_OK; /* unknown, perhaps expired: any sequence starts it */
    if (b->producer_epoch > p->epoch)
        return b->base_sequence == 0 ? LOG_OK
                                     : refuse(LOG_OUT_OF_ORDER_SEQUENCE, message,
                                              "Invalid sequence number for new epoch %d of producer %lld: %d, must be "
                                              "0 (current epoch %d)",
                                              b->producer_epoch, id, b->base_sequence, p->epoch);
    int32_t last = p->n ? p->batch[p->n - 1].last_seq : -1, next = last == INT32_MAX ? 0 : last + 1;
    if (b->base_sequence != next)
        return refuse(LOG_OUT_OF_ORDER_SEQUENCE, message,
                      "Out of order sequence number for producer %lld: %d (incoming), %d (current end)", id,
                      b->base_sequence, last);
    return LOG_OK;
}

/* Duplicates first, then the epoch, then the sequence, then the transaction. */
enum log_status producers_check(struct producers *t, enum log_origin origin, const struct batch *b,
                                const struct producer_batch **duplicate, char message[160])
{
    *duplicate = NULL;
    if (b->producer_id < 0)
        return LOG_OK;
    struct producer *p = producers_find(t, b->producer_id);
    bool transactional = b->attributes & BATCH_TRANSACTIONAL;
    if (p && b->producer_epoch < p->epoch)
        return refuse(LOG_INVALID_PRODUCER_EPOCH, message,
                      "Epoch of producer %lld is %d, which is < the last seen epoch %d", (long long)b->producer_id,
                      b->producer_epoch, p->epoch);
    for (int i = 0; origin != LOG_FROM_COORDINATOR && p && p->epoch == b->producer_epoch && i < p->n; i++)
        if (p->batch[i].first_seq == b->base_sequence && p->batch[i].last_seq == last_sequence(b)) {
            *duplicate = &p->batch[i];
            return LOG_OK;
        }
    enum log_status status = origin == LOG_FROM_COORDINATOR ? LOG_OK : check_sequence(p, origin, b, message);
    if (status)
        return status;
    bool open = p && p->txn_first >= 0;
    if (open && !transactional)
        return refuse(LOG_INVALID_TXN_STATE, message, "Expected transactional write from producer %lld",
                      (long long)b->producer_id);
    if (!open && transactional && t->txns.n >= LIMIT_OPEN_TXNS)
        return refuse(LOG_AGAIN, message, "More than %d transactions are open in this partition", (int)LIMIT_OPEN_TXNS);
    return LOG_OK;
}

/*
 * With transaction version 2 the coordinator raises the epoch before the marker, so one that is not above the last seen is
 * late; but the same marker again, after its transaction has ended, is only repeated (KAFKA-19999).
 */
enum log_status producers_check_marker(struct producers *t, const struct log_marker *m, char message[160])
{
    const struct producer *p = producers_find(t, m->producer_id);
    if (!p)
        return LOG_OK;
    bool v2 = m->transaction_version >= 2, again = m->producer_epoch == p->epoch && p->txn_first < 0;
    if (m->producer_epoch < p->epoch || (v2 && m->producer_epoch == p->epoch && !again))
        return refuse(LOG_INVALID_PRODUCER_EPOCH, message,
                      "Epoch of producer %lld is %d, which is %s the last seen epoch %d (TV%d)",
                      (long long)m->producer_id, m->producer_epoch, v2 ? "<=" : "<", p->epoch, m->transaction_version);
    if (m->coordinator_epoch < p->coordinator_epoch)
        return refuse(LOG_TRANSACTION_COORDINATOR_FENCED, message,
                      "Invalid coordinator epoch for producer %lld: %d (zombie), %d (current)",
                      (long long)m->producer_id, m->coordinator_epoch, p->coordinator_epoch);
    return LOG_OK;
}

/* -- accounting -------------------------------------------------------------------------------------------------------- */

static void push(struct producer *p, struct producer_batch b)
{
    if (p->n == PRODUCER_BATCHES)
        memmove(p->batch, p->batch + 1, (PRODUCER_BATCHES - 1) * sizeof *p->batch);
    else
        p->n++;
    p->batch[p->n - 1] = b;
}

static void new_epoch(struct producer *p, int16_t epoch)
{
    if (p->epoch != epoch)
        p->n = 0;
    p->epoch = epoch;
}

/* The transaction that begins at `first`; offsets only grow, but for those that a snapshot brings in its own order. */
static size_t txn_at(const struct producers *t, int64_t first)
{
    size_t lo = 0, hi = t->txns.n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (t->txns.p[mid].first_offset < first)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void txn_begin(struct producers *t, struct producer *p, int64_t first)
{
    struct txn x = {first, p->id, -1};
    size_t at = txn_at(t, first);
    vec_push(&t->txns, x);
    memmove(t->txns.p + at + 1, t->txns.p + at, (t->txns.n - 1 - at) * sizeof x);
    t->txns.p[at] = x;
    p->txn_first = first;
}

/* The first offset of an open transaction of another producer, or what follows the marker (Kafka's lastStableOffset). */
static int64_t stable_without(const struct producers *t, int64_t id, int64_t marker)
{
    for (size_t i = 0; i < t->txns.n; i++)
        if (t->txns.p[i].last_offset < 0 && t->txns.p[i].producer_id != id)
            return t->txns.p[i].first_offset;
    return marker + 1;
}

static bool note_marker(struct producers *t, struct producer *p, const struct batch *b, struct aborted *aborted)
{
    struct batch_marker m;
    if (!batch_marker_parse(b, &m))
        return false;
    new_epoch(p, b->producer_epoch);
    p->coordinator_epoch = m.coordinator_epoch;
    if (p->txn_first < 0)
        return false;
    *aborted = (struct aborted){p->id, p->txn_first, b->base_offset, stable_without(t, p->id, b->base_offset)};
    t->txns.p[txn_at(t, p->txn_first)].last_offset = b->base_offset;
    t->ended++;
    p->txn_first = -1;
    return !m.commit;
}

bool producers_note(struct producers *t, const struct batch *b, int64_t now_ms, struct aborted *aborted)
{
    if (b->producer_id < 0)
        return false;
    struct producer *p = make(t, b->producer_id, now_ms);
    p->last_ms = b->max_timestamp > now_ms ? b->max_timestamp : now_ms;
    if (b->attributes & BATCH_CONTROL)
        return note_marker(t, p, b, aborted);
    new_epoch(p, b->producer_epoch);
    push(p, (struct producer_batch){b->base_sequence, last_sequence(b), b->base_offset + b->last_offset_delta,
                                    p->last_ms, b->last_offset_delta});
    if ((b->attributes & BATCH_TRANSACTIONAL) && p->txn_first < 0)
        txn_begin(t, p, b->base_offset);
    return false;
}

void producers_settle(struct producers *t, int64_t high_watermark)
{
    size_t to = 0;
    if (!t->ended)
        return;
    for (size_t i = 0; i < t->txns.n; i++) {
        struct txn x = t->txns.p[i];
        if (x.last_offset < 0 || x.last_offset >= high_watermark)
            t->txns.p[to++] = x;
        else
            t->ended--;
    }
    t->txns.n = to;
}

int64_t producers_unstable(const struct producers *t)
{
    return t->txns.n ? t->txns.p[0].first_offset : INT64_MAX;
}

void producers_restore(struct producers *t, const struct producer *p)
{
    struct producer *to = make(t, p->id, p->last_ms);
    *to = *p;
    to->txn_first = -1;
    if (p->txn_first >= 0)
        txn_begin(t, to, p->txn_first);
}
