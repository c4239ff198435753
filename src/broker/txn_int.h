/*
 * Transactions: the coordinator (KIP-98, KIP-360, KIP-890).
 *
 *             first partition                  EndTxn, a timeout, a newer producer          all markers are in the log
 *   EMPTY ───────────────────▶ ONGOING ───────────────────────────────▶ PREPARE_COMMIT ───────────────────────▶ COMPLETE_COMMIT
 *                                 ▲                                     PREPARE_ABORT                           COMPLETE_ABORT
 *                                 └───────────────────────────────────────────────────────────────────────────────────┘
 *
 * Every change is a record of __transaction_state, in Kafka's format. It is appended first and then true in memory: the
 * journal is one row, so whatever is appended after it cannot be durable without it. For the same reason the end of a
 * transaction is one step: PREPARE, the markers of all partitions and COMPLETE are appended one behind the other, and one
 * sync makes them durable. A crash leaves a prefix of that: without PREPARE the transaction goes on and times out, with it
 * start-up (txn_store.c) writes the markers again. Answers leave when what they say is durable.
 *
 *   client ─▶ gate of its transactional id ─▶ look, append record(s), change memory ─▶ …durable… ─▶ answer
 *
 * Locks: a gate (64 of them, by transactional id) is held over a whole step, so that the steps of one producer, its batches
 * and its markers do not cross: a batch that was let through before a marker is in the log before it. The lock guards the map
 * and what others read. Order: gate → lock; gate → the groups' lock → lock; never a second gate (but all of them, by number, to
 * end what hangs). None is held while anything waits for the disk.
 *
 * Two generations of clients live side by side. Before transaction.version 2 a client adds partitions with a request of its own
 * and keeps its epoch; from it on Produce 12 and TxnOffsetCommit 5 add them, and EndTxn 5 gives a new epoch each time, so
 * that nothing late of an ended transaction can get into the log.
 */
#ifndef PENSTOCK_BROKER_TXN_INT_H
#define PENSTOCK_BROKER_TXN_INT_H

#include "broker/broker_int.h"

/* Kafka's numbers, in records too. */
enum txn_state {
    TXN_EMPTY,
    TXN_ONGOING,
    TXN_PREPARE_COMMIT,
    TXN_PREPARE_ABORT,
    TXN_COMPLETE_COMMIT,
    TXN_COMPLETE_ABORT,
    TXN_DEAD,
    TXN_PREPARE_EPOCH_FENCE,
    TXN_STATES
};
enum {
    TXN_GATES = 64,
    TXN_TIMEOUT_MOST_MS = 900000,  /* transaction.max.timeout.ms */
    TXN_LOOK_MS = 3600000,         /* how often ids that expired and transactions that hang are looked for */
    TXN_EPOCH_LAST = INT16_MAX - 1 /* the marker of its end needs one more */
};

struct txn_part {
    struct str topic; /* owned */
    int32_t partition;
};
struct txn_now { /* what a record says, partitions aside */
    enum txn_state state;
    int64_t producer_id, previous_id, next_id; /* -1: none */
    int16_t epoch, last_epoch;                 /* -1: none; last_epoch is not in the record */
    int16_t client_version;                    /* transaction.version: 0 or 2 */
    int32_t timeout_ms;
    int64_t start_ms, update_ms; /* Unix time; start -1: not begun */
};
struct txn {
    struct str id; /* owned */
    struct txn_now now;
    VEC(struct txn_part) parts; /* ONGOING: all; PREPARE: whose marker is not in the log */
    int64_t deadline_ms;        /* ONGOING, monotonic; INT64_MAX: none (the server's own producers) */
};

struct txns {
    struct os_mutex *lock;
    struct os_mutex *gates[TXN_GATES];
    struct map by_id;
    struct log_partition *store; /* __transaction_state-0 */
    struct alarm alarm;
    int64_t alarm_ms;        /* under the lock; INT64_MAX: not set */
    struct os_mutex *making; /* held while the topic is made */
    bool stopping;
};

/* -- an operation that ends when all its appends are durable -------------------------------------------------------- */
struct txn_op {
    struct broker *b;
    atomic_int left;                   /* appends on their way, and one for who begins it */
    void (*finish)(struct txn_op *op); /* on the thread of the last one: must not block */
    struct request *rq;
    void *response;
    int16_t code;
    int64_t producer_id; /* for the answer */
    int16_t epoch;
};
void txn_op_appended(void *op, const struct log_append_result *r); /* the log's callback */
void txn_op_done(struct txn_op *op);                               /* one less */

/* -- txn.c: the state machine. With the gate of the id held; codes are Kafka's ---------------------------------------- */
struct os_mutex *txn_gate(struct broker *b, struct str id);
struct txn *txn_find(struct broker *b, struct str id);
const char *txn_state_name(enum txn_state s);
struct txn_who {
    struct str id;
    int64_t producer_id;
    int16_t epoch;
};
/* InitProducerId: fences, finishes what was open, gives op->producer_id and epoch. `fresh`: an id nobody has. who's producer_id
 * and epoch: -1, or those the client had. */
int16_t txn_init(struct broker *b, const struct txn_who *who, int32_t timeout_ms, int64_t fresh, struct txn_op *op);
/* Add a partition, if it is not in it, to the producer's transaction, which begins if need be. */
int16_t txn_add(struct broker *b, const struct txn_who *who, const struct txn_part *parts, size_t n, int16_t version,
                struct txn_op *op);
/* Is the partition in the producer's ongoing transaction? TRANSACTION_ABORTABLE when it is not. */
int16_t txn_verify(struct broker *b, const struct txn_who *who, struct str topic, int32_t partition);
/* EndTxn of a client (version 2: EndTxn 5 and later): fills op->producer_id and epoch. */
int16_t txn_end(struct broker *b, const struct txn_who *who, bool commit, int16_t version, int64_t fresh,
                struct txn_op *op);
/* Would EndTxn need a fresh producer id, because the epochs of the present one run out? */
bool txn_needs_id(struct broker *b, struct str id);
/* Write the markers that are missing and COMPLETE; what cannot be written now is tried again by the alarm. */
void txn_complete(struct broker *b, struct txn *t, struct txn_op *op);
/* Abort an ongoing transaction because of its age; its producer is fenced. */
int16_t txn_abort(struct broker *b, struct txn *t, struct txn_op *op);
void txn_ring_at(struct broker *b, int64_t deadline_ms);

/* -- txn_store.c: __transaction_state --------------------------------------------------------------------------------- */
CHECK enum err txns_start(struct broker *b, struct fault *f); /* reads, completes what was prepared */
/* __transaction_state is there: made for the first transactional id, as Kafka does. Blocks. */
CHECK enum err txns_ready(struct broker *b, struct fault *f);
void txns_close(struct broker *b); /* no alarm is set any more */
void txns_stop(struct broker *b);
/* Append the transaction as it would be with `next` and `nparts` partitions. KAFKA_E_NONE: it will be durable, op counts it. */
int16_t txn_store(struct broker *b, const struct txn *t, const struct txn_now *next, size_t nparts, struct txn_op *op);
int16_t txn_store_forget(struct broker *b, const struct txn *t);
void txn_free(struct txn *t);

/* -- group_txn.c: offsets that a transaction will commit ---------------------------------------------------------------- */
/* The producer's marker is in __consumer_offsets, durable: its offsets count (or never did). Any thread but a loop's. */
void group_txn_marker(struct broker *b, int64_t producer_id, bool commit);

/* Abort what is open in a partition, but in no transaction that the coordinator knows, and has been quiet for so long. */
void txn_end_hanging(struct broker *b, int64_t quiet_ms);

#endif
