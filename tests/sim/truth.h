/*
 * truth: what the outside world was told, kept where no power cut reaches it (memory shared between processes).
 *
 * The workload writes down every attempt before it makes it and every acknowledgement as it arrives; after a cut another
 * process opens what survived and holds the disk to it:
 *
 *   acknowledged   is there, at the offset that was told, once
 *   attempted      is there at most once, whole or not at all
 *   seen by a reader   is there still: no output outlives its input
 *   deleted, expired   is gone, when it was told, and never comes back; what may be gone is below the log's start alone
 *   of a transaction   is seen by read_committed if and only if the decision to commit it is there
 *   anything else  is not there
 */
#ifndef PENSTOCK_TESTS_SIM_TRUTH_H
#define PENSTOCK_TESTS_SIM_TRUTH_H

#include "log/batch.h"
#include "log/log.h"
#include "port.h"

enum {
    TOPICS = 64,
    PARTS = 4,
    ATTEMPTS = 60000,
    PRODUCERS = 3,
    TELLERS = 2,
    TXNS = 8000,
    TXN_ATTEMPTS = 6,
    FACTS = 8,
    QUERY_BATCHES = 1 << 16,
    TABLE_KEYS = 24,
    IMAGE_MAX = 192 << 20,
    CODECS = 5
};
enum topic_state { CREATING, LIVE, DELETING, DELETED };

struct t_topic { /* one incarnation of a name */
    char name[8];
    struct os_uuid id;
    enum topic_state state;
    int parts, parts_tried;                           /* acknowledged; asked for */
    int64_t seen[PARTS];                              /* a reader got everything below */
    int64_t commit_tried[PARTS], commit_acked[PARTS]; /* of the group, -1: none */
    int64_t walked[PARTS];                            /* the last check got everything below */
    int64_t stable[PARTS];                            /* the last stable offset at the last check */
    bool offsets_may_go;                              /* a deletion was begun, and did not come about */
    int64_t start_told[PARTS], start_tried[PARTS];    /* where the log begins: somebody was told; asked for */
    bool expires;                                     /* it has a retention: it may begin anywhere */
};
struct t_attempt {
    int topic, part, count, codec, producer; /* producer -1: not idempotent */
    int32_t seq;
    int64_t ts, base;
    bool acked;
    int txn; /* of a teller: its number + 1 */
    int16_t epoch;
    bool sent;     /* the log took it; with luck it is durable */
    bool there;    /* the last check found it */
    int64_t found; /* 1 + where a check found it once; 0: never */
};
struct t_teller {
    int64_t id;
    int16_t epoch;
    int32_t next_seq[TOPICS][PARTS];
};
struct t_txn {
    int teller, n, attempts[TXN_ATTEMPTS];
    int decision; /* the attempt that says how it ends, -1: none was made */
    bool commit;
    int16_t epoch;
    enum { TXN_OPEN, TXN_DONE } state;
};
struct t_producer {
    int64_t id; /* -1: none yet */
    int32_t next_seq[TOPICS][PARTS];
    int outstanding;         /* attempt that waits for its answer, or -1 */
    int last[TOPICS][PARTS]; /* 1 + the last attempt that was acknowledged */
};
struct truth {
    struct t_topic topics[TOPICS];
    int ntopics;
    struct t_attempt attempts[ATTEMPTS];
    int nattempts;
    struct t_producer producers[PRODUCERS];
    struct t_teller tellers[TELLERS];
    struct t_txn txns[TXNS];
    int ntxns;
    uint64_t txns_recovered, checked_commits_of_txns, checked_aborts_of_txns;
    int facts_tried[FACTS], facts_acked[FACTS]; /* versions, 0: none */
    int64_t largest_producer_id;
    uint64_t cuts, recovered_records, checked_acks, checked_commits, retries, opens, deletions, deleted;
    bool table_made; /* keeper.c; versions of each key */
    int64_t table_next[TABLE_KEYS], table_tried[TABLE_KEYS], table_acked[TABLE_KEYS];
    uint64_t table_gaps;
    int64_t query_printed, query_done; /* batches: the last on the console; the last in a progress */
    uint64_t query_text[QUERY_BATCHES], query_rows, query_again;
    bool quiet;
    bool killed;      /* the last stage ended by a kill */
    uint64_t image_n; /* 0: an empty disk */
    char image[IMAGE_MAX];
};

/* The batch of an attempt: always the same bytes. */
void truth_batch(const struct t_attempt *a, int number, int64_t producer_id, struct buf *out);
/* Everything there is against what was told. Prints what is wrong; returns the number of complaints. */
int truth_check(struct truth *t, struct log *l);
/* The group's offsets, as OffsetFetch answers. */
int truth_check_offsets(struct truth *t, struct port *p);
#define TRUTH_GROUP STR("readers")

#endif
