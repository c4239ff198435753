/*
 * broker: what a Kafka client finds behind its requests: topics, records, consumer groups and their offsets.
 *
 * The broker knows no socket. Someone (serve/kafka, the simulator, a test) hands it whole request frames and a function
 * that takes the response; between the two lies everything the protocol says.
 *
 *   frame ─▶ broker_request ─▶ decode ─▶ handler ─▶ log_append / log_read / group state ─▶ encode ─▶ respond
 *                                          │  waits: committer's callback, timer, worker thread
 *
 * Threads: broker_request may be called from any thread, for one connection from one at a time. `respond` is called
 * exactly once per request, from any thread: inside broker_request, the log's committer, or the broker's own threads (one for
 * timers, two that may block: cold reads, topic creation). It must not block and must not call back into the broker.
 * Answers of one connection may come out of order (a waiting Fetch): whoever owns the socket puts them in order.
 * Locks: partitions have their own inside log/; groups share one, fetch sessions one, timers one; none is held across a
 * call that waits for the disk. The groups' lock may be held while `respond` runs.
 *
 * Durability: an acknowledgement of Produce (acks 1, all) and OffsetCommit is sent when the log says the bytes are on disk;
 * nobody fetches what is not. Groups and offsets live in the topic __consumer_offsets, one partition, in Kafka's formats;
 * broker_start reads it. Transactions likewise in __transaction_state, and broker_start ends what a crash left half done.
 * Ownership: the frame is the caller's and is only used during the call (Produce patches the batches in it). A reply is
 * the callee's from then on: broker_reply_free.
 * What it is not: it has no ACLs, users or quotas yet.
 */
#ifndef PENSTOCK_BROKER_BROKER_H
#define PENSTOCK_BROKER_BROKER_H

#include "log/log.h"

struct broker;
struct broker_conn;

struct broker_options {
    struct log *log;
    int32_t default_partitions;  /* num.partitions; 0: 1 */
    int32_t rebalance_delay_ms;  /* group.initial.rebalance.delay.ms: Kafka's default is 3000, `penstock dev` says 0 */
    bool no_auto_create;         /* auto.create.topics.enable=false */
    bool any_replication_factor; /* accept factors above 1, as one copy: for files written for clusters */
    /* Kafka's broker keys (log.retention.ms …) that the server was started with; they outlive the broker. */
    const struct log_config *settings;
    size_t nsettings;
};

/* Read __consumer_offsets, start the threads. The log outlives the broker. */
CHECK enum err broker_start(struct broker **out, const struct broker_options *o, struct fault *f);
/* Requests that still wait are answered or dropped (respond gets BROKER_CLOSE); connections must be closed by then. */
void broker_stop(struct broker *b);

struct broker_peer {
    char client_host[64];      /* the client's address, for group descriptions */
    char advertised_host[256]; /* what Metadata and FindCoordinator answer on this connection */
    uint16_t advertised_port;
    /* Where waits end: run fn(arg) on the connection's own thread. NULL: the broker's timer thread does. */
    void (*post)(void *post_arg, void (*fn)(void *arg), void *arg);
    void *post_arg;
};
struct broker_conn *broker_conn_open(struct broker *b, const struct broker_peer *peer);
/* No more requests; waiting fetches end early (their respond is still called). From the connection's own thread. */
void broker_conn_close(struct broker_conn *c);

enum broker_outcome {
    BROKER_REPLY,  /* send it */
    BROKER_SILENT, /* acks=0: nothing is sent, the next request's answer follows */
    BROKER_CLOSE,  /* close the connection, as Kafka does for what it cannot read */
};
struct broker_piece { /* record bytes that belong between bytes[at-1] and bytes[at] */
    size_t at;
    struct str bytes;
    struct log_slice *slice;
};
struct broker_reply {
    enum broker_outcome outcome;
    char *bytes; /* malloc'ed: length word (of the whole), header, body without the pieces */
    size_t n;
    struct broker_piece *pieces; /* malloc'ed, by rising `at` */
    size_t npieces;
    int32_t throttle_ms; /* what the reply tells the client: read no more from it for so long */
    const char *why;     /* BROKER_CLOSE: a static text for the log */
};
void broker_reply_free(struct broker_reply *r); /* bytes, pieces, slices */
/* All bytes in one malloc'ed block; NULL when out of memory. For tests and the simulator. */
char *broker_reply_flat(const struct broker_reply *r, size_t *n);

/* frame: a request without its length word. */
void broker_request(struct broker_conn *c, char *frame, size_t n, void (*respond)(void *arg, struct broker_reply *r),
                    void *arg);

/* -- the server's own transactional producers ---------------------------------------------------------------------- */
/*
 * For query threads: the calls block. One thread at a time. What is appended is not durable before broker_producer_end
 * returned, and then all of it is. A producer that a newer one of its transactional id has fenced gets ERR_KAFKA_FENCED.
 */
struct broker_producer;
/* InitProducerId: fences earlier incarnations, finishes what they left (commits what was prepared, aborts what was open),
 * durably. timeout_ms INT32_MAX: none; the transaction then ends with the process, at the latest at the next start. */
CHECK enum err broker_producer_open(struct broker *b, struct str transactional_id, int32_t timeout_ms,
                                    struct broker_producer **out, struct fault *f);
void broker_producer_close(struct broker_producer *p); /* aborts what is open; NULL allowed */
/* One record batch (log/batch.h; its producer's fields are filled in here) to a partition, in the open transaction or a new
 * one. Waits while too much waits for the disk. `bytes` are the caller's again when it returns. */
CHECK enum err broker_producer_append(struct broker_producer *p, struct log_partition *partition, char *bytes, size_t n,
                                      struct fault *f);
/* TxnOffsetCommit: counts for the group when the transaction commits. */
CHECK enum err broker_producer_offset(struct broker_producer *p, struct str group, struct str topic, int32_t partition,
                                      int64_t offset, struct str metadata, struct fault *f);
/* EndTxn: records, offsets, decision and markers are durable by one sync when it returns. Nothing begun: nothing done. */
CHECK enum err broker_producer_end(struct broker_producer *p, bool commit, struct fault *f);
/* The group's committed offset and its metadata, in the arena, once no transaction may change it. *offset -1: none. */
CHECK enum err broker_group_offset(struct broker *b, struct str group, struct str topic, int32_t partition,
                                   struct arena *a, int64_t *offset, struct str *metadata, struct fault *f);

/* -- for the console, metrics and the command line --------------------------------------------------------------- */
struct broker_stats {
    uint64_t requests, produce_requests, fetch_requests, errors, groups, members, fetch_sessions, waiting_fetches;
};
void broker_stats(struct broker *b, struct broker_stats *out);

#endif
