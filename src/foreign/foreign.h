/*
 * foreign: Kafka clusters that are not ours, as sources and as sinks' transport.
 *
 * The client itself is librdkafka. What is ours is what Spark and its Java clients promise on top of it: their property
 * names and JAAS texts, their key stores, ranges of offsets that end exactly where they were planned to end, their
 * time limits, and errors that name the cluster.
 *
 *   options ─▶ foreign_config ─▶ foreign_open ─▶ topics, offsets, feeds (one per partition) ─▶ source
 *                            └─▶ foreign_producer_open ─▶ send … end ─────────────────────── ◀─ sink
 *                                        │
 *                 struct foreign_driver (foreign_int.h): librdkafka, or a cluster in memory
 *
 * The driver is the seam. librdkafka has threads, sockets and a clock of its own, which the simulator cannot own: under it,
 * and in unit tests, foreign_use_memory() puts a cluster in memory in its place. Everything above the seam runs in both.
 *
 * A feed is a partition's tail: it fetches ahead, is woken by the broker's long poll (no polling while nothing happens),
 * and gives out ranges [from, until). It knows exactly where it is: a range may end in records that no reader sees
 * (markers, aborted transactions, what compaction removed), and ends all the same.
 *
 *          broker ──long poll──▶ driver's queue ──▶ feed { at } ──▶ [from, until) ──▶ rows
 *                                    └── first record into an empty queue: wake(arg)
 *
 * Bounds: what a cluster's feeds hold fetched ahead is LIMIT_FOREIGN_AHEAD_BYTES in all, plus one response per broker; what a
 * producer holds unacknowledged is LIMIT_FOREIGN_UNSENT_BYTES. Over that, senders wait.
 * Threads: a struct foreign belongs to a query's thread, except that feeds of different partitions may be read on different threads
 * at once. A producer belongs to one thread. All calls here may block up to their time limits: none may run on a loop.
 * *cancelled is looked at while they wait (every FOREIGN_LOOK_MS).
 *
 * What it is not: a consumer group. Offsets live in the query's checkpoint; a group is never joined.
 */
#ifndef PENSTOCK_FOREIGN_FOREIGN_H
#define PENSTOCK_FOREIGN_FOREIGN_H

#include "base/arena.h"
#include "base/fault.h"
#include "sql/sql.h"

enum { FOREIGN_LOOK_MS = 100 };

/* -- options ------------------------------------------------------------------------------------------------------- */
struct foreign_config;
enum foreign_role { FOREIGN_SOURCE, FOREIGN_SINK };
/*
 * The kafka.* options of a script (and kafkaConsumer.pollTimeoutMs …), as Java's clients take them, translated and checked; lives in the arena.
 * Refused by name: values that Java refuses, what cannot be had here (Kerberos, Java classes). What Java's client would
 * ignore with a warning is ignored with a warning. Errors: ERR_SOURCE_OPTION with the property's name, ERR_UNSUPPORTED.
 */
CHECK enum err foreign_config(const struct option *options, int noptions, enum foreign_role role, struct arena *a,
                              const struct foreign_config **out, struct fault *f);

/* kafka.transaction.timeout.ms; else the longest that a broker's defaults allow. */
int32_t foreign_transaction_ms(const struct foreign_config *c);

/* -- reading ------------------------------------------------------------------------------------------------------- */
struct foreign;
struct foreign_feed;
CHECK enum err foreign_open(const struct foreign_config *config, const bool *cancelled, struct foreign **out,
                            struct fault *f);
void foreign_close(struct foreign *c); /* and its feeds; NULL allowed */
/* The id that the cluster gives itself. ERR_KAFKA_CLUSTER when nobody answers in time. */
CHECK enum err foreign_cluster_id(struct foreign *c, int64_t timeout_ms, struct arena *a, struct str *id,
                                  struct fault *f);

struct foreign_topic {
    struct str name;
    int32_t partitions; /* 0: there is no such topic */
};
/* The named topics, or (names NULL) all that are not internal. */
CHECK enum err foreign_topics(struct foreign *c, const struct str *names, size_t n, struct arena *a,
                              struct foreign_topic **out, size_t *nout, struct fault *f);

enum { FOREIGN_LATEST = -1, FOREIGN_EARLIEST = -2 };
struct foreign_offset {
    struct str topic;
    int32_t partition;
    int64_t
        at; /* asked: FOREIGN_LATEST, FOREIGN_EARLIEST or a time in ms; answered: the offset, -1 when no record is as late */
    bool gone; /* answered: there is no such partition */
};
/* ListOffsets, under the isolation level of the options; one round trip per broker. */
CHECK enum err foreign_offsets(struct foreign *c, struct foreign_offset *offsets, size_t n, struct fault *f);

/* Call wake(arg) when a partition that was begun (foreign_read, foreign_follow) may have new records; from any thread; must
 * not block. NULL removes. */
void foreign_watch(struct foreign *c, void (*wake)(void *arg), void *arg);
/* Begin to fetch a partition from `at`, so that its next record wakes. Cheap when it is there already. */
CHECK enum err foreign_follow(struct foreign *c, struct str topic, int32_t partition, int64_t at, struct fault *f);

struct foreign_header {
    struct str key, value; /* value.p NULL: null */
};
struct foreign_record {
    struct str key, value; /* p NULL: null */
    int64_t offset, timestamp_ms;
    bool is_log_time; /* LogAppendTime */
    void *message;    /* the driver's */
};
/* A reader of [from, until) of one partition. */
struct foreign_reader;
CHECK enum err foreign_read(struct foreign *c, struct str topic, int32_t partition, int64_t from, int64_t until,
                            struct foreign_reader **out, struct fault *f);
/*
 * Up to cap records in offset order, valid until the next call; *n 0: the range is done. ERR_KAFKA_LOSS_RANGE with the range's
 * rest when its first records are gone (foreign_reader_at: up to where it was read; the caller decides whether that is an error),
 * ERR_KAFKA_CLUSTER when nothing came for the poll time limit, ERR_CANCELLED.
 */
CHECK enum err foreign_reader_next(struct foreign_reader *r, struct foreign_record *records, int cap, int *n,
                                   struct fault *f);
int64_t foreign_reader_at(const struct foreign_reader *r);
void foreign_reader_close(struct foreign_reader *r);
/* Headers of a record in the arena; views into the record. */
size_t foreign_headers(const struct foreign_record *r, struct arena *a, struct foreign_header **out);

/* -- writing -------------------------------------------------------------------------------------------------------- */
/*
 * A producer, transactional when transactional_id is given. In a transactional one everything between two foreign_producer_end
 * is one transaction, begun by the first send or offset.
 *
 *   open ─▶ [group_offset: which batch was last committed?] ─▶ send … send, offset ─▶ flush ─▶ (prepared) ─▶ end(commit)
 *
 * Once an error says that the producer is fenced (ERR_KAFKA_FENCED) or fatal, only close is left. After any other error in a
 * transaction only end(commit false) and close are. A commit whose answer was lost is ERR_KAFKA_UNKNOWN: the transaction may be
 * committed or not; a new producer with the same id settles it (open finishes what is there), then group_offset tells.
 */
struct foreign_producer;
/* InitProducerId: fences earlier incarnations and finishes their transaction; blocks at most max.block.ms. timeout_ms: after
 * which the broker aborts a transaction by itself. Not transactional (transactional_id.n 0): idempotent unless the options
 * say otherwise, as Java's. */
CHECK enum err foreign_producer_open(const struct foreign_config *config, struct str transactional_id,
                                     int32_t timeout_ms, const bool *cancelled, struct foreign_producer **out,
                                     struct fault *f);
void foreign_producer_close(struct foreign_producer *p); /* aborts what is open; NULL allowed */
/* One record (copied). partition -1: chosen as Java's default partitioner does. timestamp_ms -1: now. Waits while too much is
 * unacknowledged. An earlier record's failure may be reported here. */
CHECK enum err foreign_producer_send(struct foreign_producer *p, struct str topic, int32_t partition, struct str key,
                                     struct str value, const struct foreign_header *headers, size_t nheaders,
                                     int64_t timestamp_ms, struct fault *f);
/* Number of partitions of a topic (creates it where the broker auto-creates). */
CHECK enum err foreign_producer_partitions(struct foreign_producer *p, struct str topic, int32_t *out, struct fault *f);
/* TxnOffsetCommit of one offset with metadata text. Blocks until the broker has it. */
CHECK enum err foreign_producer_offset(struct foreign_producer *p, struct str group, struct str topic,
                                       int32_t partition, int64_t offset, struct str metadata, struct fault *f);
/* Until every record sent is acknowledged; the first failure among them is ERR_KAFKA_WRITE naming topic and broker's reason. */
CHECK enum err foreign_producer_flush(struct foreign_producer *p, struct fault *f);
/* Records that were sent and are not acknowledged yet: given up where that is still possible; a transaction is aborted. */
void foreign_producer_forget(struct foreign_producer *p);
/* EndTxn (flushes before a commit); nothing to do when nothing was begun. */
CHECK enum err foreign_producer_end(struct foreign_producer *p, bool commit, struct fault *f);
/* Committed offset of a group with its metadata, by OffsetFetch with require_stable; waits out pending ones. offset -1: none. */
CHECK enum err foreign_group_offset(struct foreign_producer *p, struct str group, struct str topic, int32_t partition,
                                    struct arena *a, int64_t *offset, struct str *metadata, struct fault *f);

/* -- the substitute --------------------------------------------------------------------------------------------------- */
/* From now on every cluster is one of memory, named by its bootstrap address (foreign_memory.h drives it). */
void foreign_use_memory(void);

#endif
