/* Which records stay in a round of compaction: the rules of Kafka's Cleaner, CleanedTransactionMetadata and filterTo. */
#include "log/compact_int.h"

#include <stdlib.h>

/* -- transactions ------------------------------------------------------------------------------------------------------ */

void txn_state_free(struct txn_state *t)
{
    map_free(&t->aborted);
    map_free(&t->committed);
    free(t->met);
    *t = (struct txn_state){0};
}

void txn_state_reset(struct txn_state *t, size_t naborted)
{
    txn_state_free(t);
    t->met = calloc(naborted + 1, sizeof *t->met);
    if (!t->met)
        os_die("out of memory for %zu aborted transactions", naborted);
}

static struct str id_of(const int64_t *producer_id)
{
    return str_make((const char *)producer_id, sizeof *producer_id);
}

/* The aborted transactions that have begun when this batch ends, and not ended before it. */
static void advance(struct cleaner *c, const struct batch *b)
{
    struct txn_state *t = &c->txns;
    for (; t->next < c->naborted && c->aborted[t->next].first_offset < batch_end_offset(b); t->next++) {
        if (c->aborted[t->next].last_offset < b->base_offset)
            continue; /* before where this pass began */
        struct str id = id_of(&c->aborted[t->next].producer_id);
        if (!map_get(&t->aborted, id))
            map_put(&t->aborted, id, (void *)(uintptr_t)(t->next + 1));
    }
}

/* True: nothing needs this marker any more. */
static bool marker_is_void(struct cleaner *c, const struct batch *b, struct segment *into)
{
    struct txn_state *t = &c->txns;
    struct batch_marker m;
    advance(c, b);
    if (b->count == 0)
        return true; /* only the producer's epoch was kept of it */
    if (!batch_marker_parse(b, &m))
        return false;
    struct str id = id_of(&b->producer_id);
    if (m.commit)
        return !map_del(&t->committed, id);
    uintptr_t at = (uintptr_t)map_del(&t->aborted, id);
    if (!at || !t->met[at - 1])
        return true;
    if (into)
        segment_abort(into, &c->aborted[at - 1]);
    return false;
}

/* True: the batch is of an aborted transaction. */
static bool data_is_void(struct cleaner *c, const struct batch *b)
{
    struct txn_state *t = &c->txns;
    advance(c, b);
    if (!(b->attributes & BATCH_TRANSACTIONAL))
        return false;
    struct str id = id_of(&b->producer_id);
    uintptr_t at = (uintptr_t)map_get(&t->aborted, id);
    if (at)
        t->met[at - 1] = true;
    else
        map_put(&t->committed, id, t);
    return at != 0;
}

/* -- the first pass: keys ----------------------------------------------------------------------------------------------- */

enum err cleaner_note(struct cleaner *c, const struct batch *b, int64_t first_dirty, bool *full, struct fault *f)
{
    struct record_iter it;
    struct record r;
    bool got = true, is_void = b->attributes & BATCH_CONTROL ? marker_is_void(c, b, NULL) : data_is_void(c, b);
    int64_t last = b->base_offset + b->last_offset_delta;
    *full = false;
    if (last < first_dirty)
        return ERR_OK;
    if (!(b->attributes & BATCH_CONTROL) && !is_void) {
        arena_reset(c->arena);
        enum err e = records_begin(&it, b, c->arena, LIMIT_UNPACKED_BYTES, f);
        while (!e && !*full && !(e = records_next(&it, &r, &got, f)) && got)
            *full = r.offset >= first_dirty && r.key.p && !keymap_put(&c->map, r.key, r.offset);
        if (e || *full)
            return e;
    }
    c->latest = last;
    return ERR_OK;
}

/* -- the second pass ---------------------------------------------------------------------------------------------------- */

static bool is_last_of_producer(const struct cleaner *c, const struct batch *b)
{
    size_t lo = 0, hi = c->nlast;
    if (b->producer_id < 0)
        return false;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (c->last[mid].producer_id < b->producer_id)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == c->nlast || c->last[lo].producer_id != b->producer_id)
        return false;
    const struct last_batch *x = &c->last[lo];
    return x->last_offset >= 0 ? x->last_offset == b->base_offset + b->last_offset_delta
                               : (b->attributes & BATCH_CONTROL) && x->epoch == b->producer_epoch;
}

static bool stays(const struct cleaner *c, const struct batch *b, const struct record *r)
{
    if (r->offset > c->latest || (b->attributes & BATCH_CONTROL))
        return true;
    if (!r->key.p || r->offset < keymap_get(&c->map, r->key))
        return false;
    int64_t horizon_ms = batch_horizon_ms(b);
    return r->value.p || horizon_ms < 0 || c->now_ms < horizon_ms;
}

/* c->kept: the records that stay. */
static enum err choose(struct cleaner *c, const struct batch *b, bool *tombstones, struct fault *f)
{
    struct record_iter it;
    struct record r;
    bool got = true;
    arena_reset(c->arena);
    enum err e = records_begin(&it, b, c->arena, LIMIT_UNPACKED_BYTES, f);
    while (!e && !(e = records_next(&it, &r, &got, f)) && got) {
        if (!stays(c, b, &r))
            continue;
        *tombstones |= !r.value.p;
        vec_push(&c->kept, r);
    }
    return e;
}

enum err cleaner_filter(struct cleaner *c, const struct batch *b, bool keep_last, struct segment *into, struct buf *out,
                        bool *changed, struct fault *f)
{
    bool control = b->attributes & BATCH_CONTROL, tombstones = false;
    bool is_void = control ? marker_is_void(c, b, into) : data_is_void(c, b);
    int64_t horizon_ms = batch_horizon_ms(b);
    bool drop = is_void && (!control || (horizon_ms >= 0 && horizon_ms <= c->now_ms));
    bool keep = keep_last || is_last_of_producer(c, b);
    size_t before = out->n;
    enum err e = ERR_OK;
    c->kept.n = 0;
    if (!drop && (e = choose(c, b, &tombstones, f)))
        return e;
    bool begin_horizon = horizon_ms < 0 && (tombstones || (is_void && control));
    if (begin_horizon)
        horizon_ms = c->now_ms + c->delete_retention_ms;
    c->removed += (uint64_t)b->count - c->kept.n;
    if (c->kept.n && c->kept.n == (size_t)b->count && !begin_horizon)
        buf_str(out, b->all);
    else if (c->kept.n)
        e = batch_rewrite(out, b, c->kept.p, c->kept.n, horizon_ms, f);
    else if (keep)
        batch_empty(out, b);
    *changed |= out->n - before != b->all.n || (out->n > before && memcmp(out->p + before, b->all.p, b->all.n));
    return e ? e : out->bad ? FAULT(f, ERR_NOMEM, {"what", "compaction"}) : ERR_OK;
}
