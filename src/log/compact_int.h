/*
 * compact_int: what compact.c (when, which segments, the swap of files) and cleaner.c (which records stay) share.
 *
 * One round over a partition, as Kafka's LogCleaner:
 *
 *    segments   │ cleaned before       │ dirty: written since           │ active, undecided, too young
 *               └──────────┬───────────┴──────────────┬─────────────────┘
 *        2. each batch is kept, made       1. the last offset of each
 *           smaller, or left out              key goes into a map
 *
 * A record stays when its key has no later one in the map; a tombstone, until its delete horizon has passed; a record of an
 * aborted transaction does not; a marker, until no record of its transaction is left and its horizon has passed. The last
 * batch of each producer and of each new segment stays without records: for the sequences, and so that a segment says where
 * it ends. What follows the map's last offset is left alone.
 */
#ifndef PENSTOCK_LOG_COMPACT_INT_H
#define PENSTOCK_LOG_COMPACT_INT_H

#include "log/keymap.h"
#include "log/log_int.h"

struct last_batch {                   /* of a producer */
    int64_t producer_id, last_offset; /* -1: it has written a marker only */
    int16_t epoch;
};
struct txn_state {        /* CleanedTransactionMetadata */
    size_t next;          /* in the list of the aborted ones */
    struct map aborted;   /* producer id → 1 + its place in the list, between its first offset and its marker */
    struct map committed; /* producer ids of which records were met */
    bool *met;            /* per aborted one: a batch of it was met */
};
struct cleaner {
    struct keymap map;
    int64_t latest;          /* last offset in the map */
    struct aborted *aborted; /* all that may concern the round, by first offset */
    size_t naborted;
    struct last_batch *last; /* by producer id */
    size_t nlast;
    int64_t now_ms, delete_retention_ms;
    struct arena *arena; /* of a batch */
    VEC(struct record) kept;
    struct txn_state txns;
    uint64_t removed; /* records */
};
void txn_state_reset(struct txn_state *t, size_t naborted);
void txn_state_free(struct txn_state *t);
/* Note the keys of a batch from first_dirty on. *full: no room for them; the map ends before this batch. */
CHECK enum err cleaner_note(struct cleaner *c, const struct batch *b, int64_t first_dirty, bool *full, struct fault *f);
/*
 * What stays of a batch, at the end of out: itself, a smaller one, or nothing. keep_last: as an empty one at least.
 * *changed: not itself. An abort marker that stays because its batches were met goes into `into`'s transaction index.
 */
CHECK enum err cleaner_filter(struct cleaner *c, const struct batch *b, bool keep_last, struct segment *into,
                              struct buf *out, bool *changed, struct fault *f);

#endif
