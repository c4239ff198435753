/*
 * Transactions as one partition sees them: markers go in, and out come the last stable offset and the aborted
 * transactions of a range. Who may end which transaction is the coordinator's business (broker/).
 */
#include "log/log_int.h"

#include <stdio.h>
#include <stdlib.h>

int64_t partition_last_stable(const struct log_partition *p)
{
    int64_t unstable = producers_unstable(&p->producers);
    if (unstable < p->log_start)
        unstable = p->log_start; /* its first records were deleted */
    return unstable < p->high_watermark ? unstable : p->high_watermark;
}

/* -- markers ----------------------------------------------------------------------------------------------------------- */

static enum log_status fail(struct log_append_result *r, enum log_status status, const char *why)
{
    r->status = status;
    snprintf(r->message, sizeof r->message, "%s", why);
    return status;
}

/* Under the partition's lock. */
static enum log_status marker_locked(struct log_partition *p, const struct log_marker *m, struct buf *b, int64_t now_ms,
                                     struct waiter *w, struct log_append_result *r)
{
    struct fault f;
    if (p->deleted)
        return fail(r, LOG_UNKNOWN_TOPIC, "This topic was deleted");
    if (p->failed)
        return fail(r, LOG_STORAGE_ERROR, "This partition is offline: see the server's log");
    r->status = producers_check_marker(&p->producers, m, r->message);
    if (r->status)
        return r->status;
    put_u64be(b->p, (uint64_t)p->log_end);
    put_u32be(b->p + 12, 0); /* the leader epoch */
    r->base_offset = r->last_offset = w->base_offset = w->last_offset = p->log_end;
    r->log_start = w->log_start = p->log_start;
    if (partition_write(p, b->p, b->n, now_ms, &f))
        return fail(r, LOG_STORAGE_ERROR, fault_message(&f));
    w->end_offset = p->log_end;
    journal_add(p->log, w, b->p, b->n);
    return LOG_OK;
}

enum log_status log_append_marker(struct log_partition *p, const struct log_marker *m,
                                  void (*done)(void *arg, const struct log_append_result *r), void *arg,
                                  struct log_append_result *result)
{
    struct buf b = {0};
    struct fault f;
    int64_t now_ms = os_now_ms();
    struct waiter w = {.partition = p, .done = done, .arg = arg, .append_time_ms = -1};
    *result =
        (struct log_append_result){.base_offset = -1, .last_offset = -1, .log_append_time_ms = -1, .log_start = -1};
    struct batch_marker marker = {m->commit, m->coordinator_epoch};
    enum err e = batch_marker_put(&b, m->producer_id, m->producer_epoch, marker, now_ms, &f);
    if (e) {
        fail(result, LOG_STORAGE_ERROR, fault_message(&f));
    } else {
        os_mutex_lock(p->lock);
        marker_locked(p, m, &b, now_ms, &w, result);
        os_mutex_unlock(p->lock);
    }
    buf_free(&b);
    return result->status;
}

/* -- looking ----------------------------------------------------------------------------------------------------------- */

bool log_txn_open(struct log_partition *p, int64_t producer_id, int16_t producer_epoch)
{
    os_mutex_lock(p->lock);
    const struct producer *x = producers_find(&p->producers, producer_id);
    bool open = x && x->epoch == producer_epoch && x->txn_first >= 0;
    os_mutex_unlock(p->lock);
    return open;
}

int64_t log_txn_oldest_ms(struct log_partition *p)
{
    int64_t oldest_ms = -1;
    os_mutex_lock(p->lock);
    const struct producers *t = &p->producers;
    for (size_t i = 0; i < t->txns.n && oldest_ms < 0; i++)
        if (t->txns.p[i].last_offset < 0)
            oldest_ms = producers_find(t, t->txns.p[i].producer_id)->last_ms;
    os_mutex_unlock(p->lock);
    return oldest_ms;
}

static int by_id(const void *a, const void *b)
{
    const struct log_producer *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

size_t log_producers(struct log_partition *p, struct arena *a, struct log_producer **out)
{
    size_t n = 0;
    int64_t oldest_ms = os_now_ms() - PRODUCER_EXPIRY_MS;
    os_mutex_lock(p->lock);
    const struct producers *t = &p->producers;
    *out = ARENA_ARRAY(a, t->n + 1, struct log_producer);
    for (size_t i = 0; i < t->cap; i++) {
        const struct producer *x = &t->slots[i];
        if (x->id < 0 || (x->last_ms < oldest_ms && x->txn_first < 0))
            continue;
        (*out)[n++] = (struct log_producer){.id = x->id,
                                            .epoch = x->epoch,
                                            .last_sequence = x->n ? x->batch[x->n - 1].last_seq : -1,
                                            .coordinator_epoch = x->coordinator_epoch,
                                            .last_timestamp_ms = x->last_ms,
                                            .txn_first_offset = x->txn_first};
    }
    os_mutex_unlock(p->lock);
    qsort(*out, n, sizeof **out, by_id);
    return n;
}

/* -- what was aborted -------------------------------------------------------------------------------------------------- */

struct found {
    VEC(struct log_aborted) list;
    bool complete; /* what follows began behind the range */
};

static void search(struct found *out, const struct aborted *p, size_t n, int64_t from, int64_t to)
{
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (p[mid].last_offset < from)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (size_t i = lo; i < n && !out->complete; i++) {
        struct log_aborted x = {p[i].producer_id, p[i].first_offset};
        if (p[i].first_offset < to)
            vec_push(&out->list, x);
        out->complete = p[i].last_stable >= to;
    }
}

static enum log_status search_file(struct found *out, struct segment *s, int64_t from, int64_t to)
{
    struct aborted *p;
    size_t n;
    struct fault f;
    if (segment_read_aborted(s, true, INT64_MAX, &p, &n, &f)) {
        os_log(OS_ERROR, "log", "%s", fault_message(&f));
        return LOG_STORAGE_ERROR; /* rather no answer than one that makes aborted records good */
    }
    search(out, p, n, from, to);
    free(p);
    return LOG_OK;
}

/* The first segment from `base` on that ends behind `from` and has aborted transactions; under the partition's lock. */
static struct segment *next_with_aborted(struct log_partition *p, int64_t base, int64_t from)
{
    for (size_t i = 0; i < p->segments.n; i++) {
        struct segment *s = p->segments.p[i];
        if (s->has_aborted && s->base_offset >= base &&
            (i + 1 == p->segments.n || p->segments.p[i + 1]->base_offset > from))
            return s;
    }
    return NULL;
}

/* A marker may come segments later than what it decides: the search goes on until what is found began behind the range. */
enum log_status log_aborted(struct log_partition *p, int64_t from, int64_t to, struct arena *a,
                            struct log_aborted **out, size_t *n)
{
    struct found found = {0};
    enum log_status status = LOG_OK;
    for (int64_t base = 0; !status && !found.complete;) {
        os_mutex_lock(p->lock);
        struct segment *s = next_with_aborted(p, base, from);
        if (s && s->closed)
            s->refs++;
        else if (s)
            search(&found, s->aborted.p, s->aborted.n, from, to);
        bool file = s && s->closed;
        base = s ? s->base_offset + 1 : base;
        os_mutex_unlock(p->lock);
        if (!s)
            break;
        if (file) {
            status = search_file(&found, s, from, to);
            os_mutex_lock(p->lock);
            bool gone = s->gone; /* compaction put another in its place meanwhile: all over again */
            os_mutex_unlock(p->lock);
            segment_release(p, s);
            if (gone) {
                vec_free(&found.list);
                found = (struct found){0};
                status = LOG_OK;
                base = 0;
            }
        }
    }
    *n = status ? 0 : found.list.n;
    *out = ARENA_ARRAY(a, *n + 1, struct log_aborted);
    if (*n)
        memcpy(*out, found.list.p, *n * sizeof **out);
    vec_free(&found.list);
    return status;
}
