/*
 * log: partitions on disk, and the promise that what was acknowledged is there after a power cut.
 *
 * A data directory holds Kafka's own files, so that Kafka's kafka-dump-log reads it:
 *
 *   DIR/meta.properties, DIR/FORMAT        format version (a newer one is refused), cluster id
 *   DIR/LOCK                               one process at a time (ERR_BUSY)
 *   DIR/metadata.log                       topics, ids, partitions, configs: appended, CRC'd, synced (log_meta_*)
 *   DIR/journal/NN                         recycled, zero-written files; the appends of all partitions, group-committed
 *   DIR/TOPIC-PARTITION/ 00…0.log .index .timeindex .txnindex .snapshot leader-epoch-checkpoint partition.metadata
 *
 * The way of a batch: log_append checks it (lengths, CRC, offsets, producer sequence), gives it its offsets, writes it to
 * its segment and hands it to the committer. The committer writes one journal group for everybody, syncs once, then
 * moves each partition's high watermark and calls the waiters. Readers see nothing above the high watermark. Segments are
 * synced behind, after which a journal file may be recycled.
 *
 *   append ─▶ segment (page cache) ─┐
 *          └▶ journal group ─▶ fdatasync ─▶ high watermark ─▶ callbacks, wake-ups of fetchers and sources
 *
 * Transactions: a producer's transactional batches stand in the log like any others, and are decided by the marker that
 * log_append_marker writes behind them. The last stable offset is the first one of a transaction that is open, or whose
 * marker is not durable; a read_committed reader sees what is below it, minus what log_aborted lists. The journal is one
 * row: what was appended later is never durable without what was appended before, in whichever partitions. So a coordinator
 * may append records, its decision, markers and completion without a wait in between; a crash leaves a prefix.
 *
 *   offset   0   1   2   3   4   5   6   7          producer 7 wrote 1 and 4, producer 8 wrote 2 and 5
 *            a   7a  8a  b   7b  8b  C7  c          C7: 7 committed (marker). 8 is open: last stable offset 2
 *
 * The log's start rises when records expire or are deleted (retention.c); it is durable before anybody is told, and before a
 * file goes. Readers below it get LOG_OFFSET_OUT_OF_RANGE.
 *
 * Threads: log_append and log_read may be called from any thread (a partition has its own lock, short). The committer and
 * the background thread (segment syncs, unlinks) belong to the log. Callbacks run on the committer's thread and must not
 * block: they post to a loop or signal a condition.
 * A failed sync stops the process: os_die.
 */
#ifndef PENSTOCK_LOG_LOG_H
#define PENSTOCK_LOG_LOG_H

#include "base/arena.h"
#include "base/fault.h"
#include "os/os.h"

struct log;           /* a data directory */
struct log_partition; /* one partition; lives as long as the log, or until its topic is deleted (reference-counted) */

struct log_options {
    const char *dir;
    uint64_t segment_bytes;      /* default 1 GiB */
    uint64_t journal_file_bytes; /* default 64 MiB, recycled */
    int64_t segment_ms;          /* 7 days */
    int64_t retention_check_ms;  /* how often expired records are looked for at most: 5 minutes */
    uint64_t compact_bytes;      /* of memory for compaction's map of keys: 16 MiB */
    uint64_t mark_bytes;         /* what of a segment a start reads again at most, about; default 256 KiB */
    uint64_t rewrite_bytes;      /* a metadata.log below this is never written anew; default 1 MiB */
    uint64_t open_files;         /* segments open at once; default a quarter of the process's limit, at most 4096 */
    bool durability_os;          /* acknowledge after the write, not the sync: loud */
};

/* Recover everything, sync, start the threads. Errors: ERR_BUSY (locked), ERR_VERSION, ERR_CORRUPT, ERR_IO. */
CHECK enum err log_open(struct log **out, const struct log_options *o, struct fault *f);
void log_close(struct log *l); /* a clean stop: everything synced, producer snapshots written */
const char *log_dir(const struct log *l);
const char *log_cluster_id(const struct log *l); /* 22 characters of base64url, as Kafka's */

/* -- topics: the metadata log. All durable when they return (they block: not for loops; see log_submit) ------------ */
struct log_config {
    struct str key, value;
};
struct log_topic { /* a snapshot of one topic, in the caller's arena */
    struct str name;
    struct os_uuid id;
    int32_t partitions;
    struct log_config *configs; /* those that were set */
    size_t nconfigs;
    bool internal;
};
/* ERR_EXISTS; ERR_INVALID for a bad name or count (Kafka's rules: [a-zA-Z0-9._-]{1,249}, not . or ..). */
CHECK enum err log_topic_create(struct log *l, struct str name, int32_t partitions, const struct log_config *configs,
                                size_t nconfigs, struct os_uuid *id, struct fault *f);
CHECK enum err log_topic_delete(struct log *l, struct str name, struct fault *f);
CHECK enum err log_topic_grow(struct log *l, struct str name, int32_t partitions, struct fault *f);
CHECK enum err log_topic_configure(struct log *l, struct str name, const struct log_config *configs, size_t n,
                                   struct fault *f); /* set or, with value.p NULL, remove */
/* What topics without a setting of their own have from now on (keys as of topics); replaces what was set so. Before the
 * first call nothing expires: a setting may say that it does not. */
void log_defaults(struct log *l, const struct log_config *configs, size_t n);
bool log_topic_get(struct log *l, struct str name, struct arena *a, struct log_topic *out);
bool log_topic_by_id(struct log *l, struct os_uuid id, struct arena *a, struct log_topic *out);
size_t log_topics(struct log *l, struct arena *a, struct log_topic **out); /* sorted by name */
/* Grows by one with every creation, deletion and growth: pollers of metadata compare it. */
uint64_t log_topics_version(struct log *l);
/* Run fn(arg) on the log's worker thread: for loops that must not block in the calls above. Bounded queue: ERR_LIMIT. */
CHECK enum err log_submit(struct log *l, void (*fn)(void *arg), void *arg);
/* Small durable key → value facts beside the topics (query registrations …); keys ≤ 512 B, values ≤ 1 MiB. NULL value deletes. */
CHECK enum err log_fact_put(struct log *l, struct str key, struct str value, struct fault *f);
bool log_fact_get(struct log *l, struct str key, struct arena *a, struct str *value);
/* The facts whose keys begin with prefix, sorted by key. */
size_t log_facts(struct log *l, struct str prefix, struct arena *a, struct log_config **out);

/* -- partitions --------------------------------------------------------------------------------------------------- */
struct log_partition *log_partition(struct log *l, struct str topic, int32_t partition); /* +1 reference, or NULL */
void log_partition_release(struct log_partition *p);
void log_partition_ref(struct log_partition *p);
int32_t log_partition_number(const struct log_partition *p);
struct log_offsets {
    int64_t log_start, high_watermark, log_end;
    int64_t last_stable; /* <= high_watermark: below it every transaction is decided, and the decision is durable */
    int32_t leader_epoch;
    bool deleted; /* the topic is gone (readers fail, by name) */
};
struct log_offsets log_partition_offsets(struct log_partition *p);
struct os_uuid log_partition_topic_id(struct log_partition *p);

/* Kafka error codes that appends and reads meet; broker/ puts them on the wire. */
enum log_status {
    LOG_OK = 0,
    LOG_OFFSET_OUT_OF_RANGE = 1,
    LOG_CORRUPT_MESSAGE = 2,
    LOG_UNKNOWN_TOPIC = 3,
    LOG_MESSAGE_TOO_LARGE = 10,
    LOG_RECORD_LIST_TOO_LARGE = 18,
    LOG_INVALID_TIMESTAMP = 32,
    LOG_POLICY_VIOLATION = 44, /* records of a topic that is only compacted are not deleted */
    LOG_OUT_OF_ORDER_SEQUENCE = 45,
    LOG_DUPLICATE_SEQUENCE = 46, /* older than the five batches kept */
    LOG_INVALID_PRODUCER_EPOCH = 47,
    LOG_INVALID_TXN_STATE = 48,
    LOG_STORAGE_ERROR = 56,
    LOG_UNKNOWN_PRODUCER_ID = 59,
    LOG_TRANSACTION_COORDINATOR_FENCED = 52,
    LOG_UNSUPPORTED_COMPRESSION = 76,
    LOG_INVALID_RECORD = 87,
    LOG_AGAIN = 7, /* too much waits for the disk: REQUEST_TIMED_OUT, retriable */
};
enum { LOG_RECORD_ERRORS = 3 };
struct log_record_error {
    int32_t index; /* of the record in its batch */
    char message[192];
};
struct log_append_result {
    enum log_status status;
    int record_errors; /* records that were refused, one by one; the first ones below */
    struct log_record_error record_error[LOG_RECORD_ERRORS];
    char message[160]; /* why, for Produce 8+'s error_message; "" when OK */
    int64_t base_offset, last_offset;
    int64_t log_append_time_ms; /* -1: CreateTime */
    int64_t log_start;
    int32_t wait_ms; /* it was dear to refuse: the client's next request may wait so long */
    bool duplicate;  /* a retry of a batch that is in the log; base_offset is the original's */
};
/*
 * Append record batches (magic 2, one or more, as they came; `bytes` is patched in place: base offset, leader epoch).
 * When LOG_OK, `done(arg, result)` is called exactly once from the committer's thread, when the batch — or for a duplicate
 * its original — is durable. done NULL: acks=0. Any other status: nothing was written, done is not called.
 * Checks as Kafka's UnifiedLog/LogValidator: CRC, count, sizes, max.message.bytes, no control batch, sequences.
 */
enum log_status log_append(struct log_partition *p, char *bytes, size_t n,
                           void (*done)(void *arg, const struct log_append_result *r), void *arg,
                           struct log_append_result *result);
/*
 * Whose batch it is: the extent of the checks, as Kafka's AppendOrigin. LOG_FROM_CLIENT is log_append's. LOG_FROM_CLIENT_V2
 * (transactional batches of Produce 12 on, KIP-890): a producer of whom nothing is known must begin with sequence 0.
 * LOG_FROM_COORDINATOR (offsets committed in a transaction): no sequence numbers, base sequence -1.
 * Whether a transactional batch belongs to a transaction is the coordinator's to know: whoever appends one has asked, under a
 * lock that also orders the markers, or a late batch would open a transaction that nobody ends.
 */
enum log_origin { LOG_FROM_CLIENT, LOG_FROM_CLIENT_V2, LOG_FROM_COORDINATOR };
enum log_status log_append_as(struct log_partition *p, enum log_origin origin, char *bytes, size_t n,
                              void (*done)(void *arg, const struct log_append_result *r), void *arg,
                              struct log_append_result *result);
/* The same, blocking until durable: for sinks, __consumer_offsets and tests. */
struct log_append_result log_append_wait(struct log_partition *p, char *bytes, size_t n);
/* Bytes waiting for the committer, process-wide, and the bound: producers are throttled by it. */
uint64_t log_pending_bytes(struct log *l);

struct
    log_slice; /* a reference-counted read buffer: whole batches of one partition, CRC checked once by whoever fills it */
enum log_read_flags {
    LOG_READ_NOWAIT = 1,    /* LOG_AGAIN where the disk would have to be read */
    LOG_READ_COMMITTED = 2, /* below the last stable offset instead of the high watermark */
};
/*
 * Whole batches from the one that holds `offset` on, below the high watermark, at most max_bytes (but at least one batch
 * when `at_least_one`). *out NULL with LOG_OK: nothing there yet. Aborted batches and markers are among them.
 */
enum log_status log_read(struct log_partition *p, int64_t offset, size_t max_bytes, bool at_least_one, unsigned flags,
                         struct log_slice **out);
struct str log_slice_bytes(const struct log_slice *s);
void log_slice_ref(struct log_slice *s);
void log_slice_release(struct log_slice *s); /* any thread */

/* ListOffsets: first offset whose record timestamp >= ts; *offset -1 when none. Record-exact, as Kafka, which under
 * read_committed takes an answer at or above the last stable offset for none. */
enum log_status log_offset_for_time(struct log_partition *p, int64_t ts_ms, int64_t *offset, int64_t *found_ts_ms);
enum log_status log_max_timestamp(struct log_partition *p, int64_t *offset, int64_t *ts_ms);

/*
 * Let the log begin at `offset` (DeleteRecords), which may be LOG_HIGH_WATERMARK. LOG_OK: done(arg, result) is called once,
 * from the log's thread, when that is durable; result->log_start is where the log begins then, result->status may say
 * that the topic is gone. LOG_OFFSET_OUT_OF_RANGE above the high watermark; LOG_POLICY_VIOLATION where records are only
 * compacted. Segments below go by themselves.
 */
enum { LOG_HIGH_WATERMARK = -1 };
enum log_status log_delete_records(struct log_partition *p, int64_t offset,
                                   void (*done)(void *arg, const struct log_append_result *r), void *arg);

/* -- transactions --------------------------------------------------------------------------------------------------- */
struct log_marker {
    int64_t producer_id;
    int16_t producer_epoch;
    bool commit;
    int32_t coordinator_epoch;
    int transaction_version; /* 2: the epoch must be above the last one seen here, unless it repeats a marker */
};
/*
 * End the producer's transaction in p (or only fence its older epochs, when there is none): done and result as
 * log_append's. LOG_INVALID_PRODUCER_EPOCH, LOG_TRANSACTION_COORDINATOR_FENCED: Kafka's. Never LOG_AGAIN: markers are what
 * makes room. A full disk answers LOG_STORAGE_ERROR; the coordinator tries again.
 */
enum log_status log_append_marker(struct log_partition *p, const struct log_marker *m,
                                  void (*done)(void *arg, const struct log_append_result *r), void *arg,
                                  struct log_append_result *result);
/*
 * What one thread appends between the two, one behind the other, shares a journal group, and so a sync: the committer begins none
 * meanwhile. Only for a few appends, and never over a wait. One that is about to begin is not held up by newcomers: then it
 * answers false, and they may share the next.
 */
bool log_hold(struct log *l);
void log_let_go(struct log *l, bool held);
/* Is a transaction of this producer and epoch open in p? (Then its batches need no question to the coordinator.) */
bool log_txn_open(struct log_partition *p, int64_t producer_id, int16_t producer_epoch);
struct log_aborted {
    int64_t producer_id, first_offset;
};
/*
 * The aborted transactions that overlap [from, to), in the order of their markers, for who read that range with
 * LOG_READ_COMMITTED: a producer's data batches from first_offset on are void, up to its next abort marker. May read the disk.
 */
enum log_status log_aborted(struct log_partition *p, int64_t from, int64_t to, struct arena *a,
                            struct log_aborted **out, size_t *n);
struct log_producer {
    int64_t id;
    int16_t epoch;
    int32_t last_sequence, coordinator_epoch; /* -1: none yet */
    int64_t last_timestamp_ms;
    int64_t txn_first_offset; /* of the open transaction, or -1 */
};
/* Who wrote to p lately or has a transaction open (DescribeProducers), by id. */
size_t log_producers(struct log_partition *p, struct arena *a, struct log_producer **out);
/* When the producer of the longest open transaction last wrote; -1: none is open. What is much older than the largest
 * transaction timeout hangs, and holds everything back. */
int64_t log_txn_oldest_ms(struct log_partition *p);

/* -- waiting ------------------------------------------------------------------------------------------------------ */
/* Call fn(arg) from the committer's thread whenever p's high watermark moves (the last stable offset moves with it, never
 * alone), or its topic is deleted, until removed.
 * After log_unwatch returns fn is not running and will not run. */
struct log_watch;
struct log_watch *log_watch(struct log_partition *p, void (*fn)(void *arg), void *arg);
void log_unwatch(struct log_watch *w);

/* -- producer ids -------------------------------------------------------------------------------------------------- */
CHECK enum err log_producer_id(struct log *l, int64_t *id,
                               struct fault *f); /* never given twice (durable blocks of 1000) */

/* -- metrics -------------------------------------------------------------------------------------------------------- */
struct log_stats {
    uint64_t appended_records, appended_bytes, read_bytes, syncs, sync_ns, journal_groups, segments, partitions;
    uint64_t scanned_bytes, lost_marks; /* of the start: what was read of segments; marks whose files were damaged */
};
void log_stats(struct log *l, struct log_stats *out);

#endif
