/*
 * log_int: what the files of log/ share.
 *
 *   log.c         open, close, options, watches, the worker and the background thread
 *   topics.c      the catalogue; metadata.c  the log that it is made from
 *   partition.c   one partition: its directory, log_append, the high watermark
 *   check.c       a client's batches, checked as Kafka's LogValidator does
 *   producer.c    producers: sequences, epochs, open transactions;  snapshot.c  their files
 *   txn.c         markers, aborted transactions, the last stable offset;  txnindex.c  NNN.txnindex
 *   segment.c     NNN.log, .index, .timeindex;  files.c  which of them are open
 *   read.c        slices, log_read;  times.c  ListOffsets by timestamp
 *   journal.c     the journal's files and the committer
 *   recover.c     what is on disk → partitions (recover_partition.c)
 *   checkpoint.c  segments synced, marks, journal files recycled;  points.c  the recovery points' file
 *   back.c        the background thread;  compact.c  compaction: when, and its files;  cleaner.c  what stays;  keymap.c
 *   conf.c        settings of topics, and what they inherit;  retention.c  log starts raised, segments unlinked
 *
 * Locks, in the order in which they may be taken: meta (a change of the catalogue, held across its sync) → topics (the
 * maps) → partition → journal, files. The watch lock is taken alone.
 *
 * What is durable when (the argument of recovery):
 *   1. Everything below a partition's recovery point is synced in its segments, and the recovery point itself is written
 *      only afterwards.
 *   2. Everything between the recovery point and the high watermark is in frames of journal files of generation >=
 *      live_gen, which stands in the same file as the recovery points.
 *   3. What is above the high watermark was acknowledged to nobody.
 *   4. Where a partition's log starts stands in that file, too, and is told to nobody before. A segment is unlinked only when
 *      its end is at or below both the log start and the recovery point of a file that is durable: no frame refers to it.
 * So recovery unlinks once more what 4 allows, cuts each segment at the recovery point and appends the frames again. Until the
 * recovery points have moved, every recovery does the same from the same files: a crash in it changes nothing.
 *   5. A mark is below the recovery point. The entries of its segment's index files and the producers' snapshot that it
 *      speaks of are synced before the mark is written. So recovery reads nothing below it.
 *   6. A .txnindex is synced up to the recovery point before that is written; replay adds the rest.
 */
#ifndef PENSTOCK_LOG_LOG_INT_H
#define PENSTOCK_LOG_LOG_INT_H

#include "base/limit.h"
#include "base/map.h"
#include "base/vec.h"
#include "log/batch.h"
#include "log/log.h"

enum {
    LOG_FORMAT = 1,              /* of the data directory */
    LOG_PATH = 4096,             /* longest path, with its NUL */
    LOG_INDEX_EVERY = 4096,      /* bytes of log between index entries, as Kafka's index.interval.bytes */
    LOG_JOURNAL_FIRST = 4 << 20, /* the first journal file: small, so that a fresh start is quick */
    LOG_JOURNAL_LIVE = 4,        /* full journal files that may wait for the segments' syncs */
    LOG_CACHED_POSITIONS = 16,
    LOG_COMPACT_RETRY_MS = 15000, /* Kafka's log.cleaner.backoff.ms */
    LOG_TS_UNKNOWN = -2,          /* a segment's first timestamp, when it was not read yet */
};

/* -- segments -------------------------------------------------------------------------------------------------------- */
struct index_entry {
    uint32_t offset; /* last offset of the batch, relative to the segment's base */
    uint32_t position;
};
struct time_entry {
    int64_t timestamp_ms; /* largest so far */
    uint32_t offset;      /* relative; last offset of the batch that has it */
};

struct aborted { /* one entry of a .txnindex */
    int64_t producer_id, first_offset, last_offset /* the marker's */, last_stable /* when it was written */;
};

/* A place in a partition below which recovery reads nothing. */
struct mark {
    int64_t offset;    /* the log's end then; -1: none */
    uint64_t position; /* in the segment that was active */
    uint32_t index_n, times_n;
    bool producers; /* there were some: their snapshot at the offset */
};

/* Open segments, a bounded number (files.c). */
struct files {
    struct os_mutex *lock; /* taken last */
    struct segment *newest, *oldest;
    size_t open, limit;
};
/* `wanted` 0: a share of the process's limit. */
void files_init(struct files *c, uint64_t wanted, uint64_t process_limit);
void files_free(struct files *c);

struct segment {
    struct files *files;
    struct os_file *file; /* files.c alone looks at these */
    struct segment *newer, *older;
    int users;

    int refs; /* the partition's and the readers'; under the partition's lock */
    int64_t base_offset;
    uint64_t size, reserved;
    int64_t max_ts, max_ts_offset; /* -1 when empty */
    int64_t first_ts, made_ms;     /* the first batch's largest timestamp, and when it came: for segment.ms */
    uint64_t since_index;
    VEC(struct index_entry) index; /* of the active segment; a closed one's stands in its file */
    VEC(struct time_entry) times;
    size_t index_written, times_written; /* entries that are in the files */
    VEC(struct aborted) aborted;         /* of the active segment, by last_offset; a closed one's in its file */
    size_t aborted_written;
    bool has_aborted;   /* there is a .txnindex, or there will be */
    bool aborted_dirty; /* it was changed since its last sync */
    bool dirty;         /* written since the last sync */
    bool closed;
    bool index_synced;
    bool cleaned; /* compaction writes it; it takes no part yet */
    bool gone;    /* compaction has put another in its place: its files' names are that one's. Under the lock */
    char path[];  /* …/NNN, without extension */
};

enum err segment_open(struct segment **out, struct files *files, const char *dir, int64_t base_offset, bool create,
                      struct fault *f);
#define SEGMENT_CLEANED ".cleaned" /* in the names of a segment's files while compaction writes them */
CHECK enum err segment_create_cleaned(struct segment **out, struct files *files, const char *dir, int64_t base_offset,
                                      struct fault *f);
void segment_free(struct segment *s);
/* Its file (files.c), opened when it is not. nowait: ERR_AGAIN when it is not, or the disk would have to be read. */
CHECK enum err segment_create_file(struct segment *s, struct fault *f);
void segment_close_file(struct segment *s);
CHECK enum err segment_hold(struct segment *s, struct fault *f);
void segment_unhold(struct segment *s);
CHECK enum err segment_pread(struct segment *s, char *p, size_t n, uint64_t at, bool nowait, size_t *got,
                             struct fault *f);
CHECK enum err segment_reserve(struct segment *s, uint64_t at, uint64_t n, struct fault *f);
CHECK enum err segment_pwrite(struct segment *s, const char *p, size_t n, uint64_t at, struct fault *f);
CHECK enum err segment_truncate(struct segment *s, uint64_t size, struct fault *f);
CHECK enum err segment_sync(struct segment *s, struct fault *f);
/* Write whole batches at the end; the segment is as before when it fails. */
CHECK enum err segment_write(struct segment *s, const char *p, size_t n, struct fault *f);
/* Account for a batch that was just written at `position`: indexes, largest timestamp. */
void segment_note(struct segment *s, const struct batch *b, uint64_t position);
/* Append what memory has more of to .index and .timeindex. `last`: the final time entry, as Kafka adds when it rolls. */
CHECK enum err segment_flush_index(struct segment *s, bool last, struct fault *f);
CHECK enum err segment_sync_index(struct segment *s, struct fault *f);
/* Load both indexes up to the mark from their files. *holds: they are what the mark speaks of. */
CHECK enum err segment_load_index(struct segment *s, const struct mark *m, bool *holds, struct fault *f);
void segment_drop_index(struct segment *s); /* of memory */
/* Bytes that the larger of the two indexes has or will have. */
uint64_t segment_index_bytes(const struct segment *s);
CHECK enum err segment_load_first_ts(struct segment *s, struct fault *f);
/* Largest timestamp of a closed segment from the end of its time index. */
CHECK enum err segment_load_max_ts(struct segment *s, struct fault *f);
/* A position at or before the batch that holds offset. A closed segment's index is read from disk. */
CHECK enum err segment_position(struct segment *s, int64_t offset, uint64_t *position, struct fault *f);
/* An offset at or before the first record with a timestamp >= ts_ms. */
CHECK enum err segment_time_offset(struct segment *s, int64_t ts_ms, int64_t *offset, struct fault *f);
/* Remove a segment's files, those that are there. */
CHECK enum err segment_unlink_at(const char *dir, int64_t base_offset, struct fault *f);

/* The transaction index (txnindex.c). An abort marker was written to the active segment: */
void segment_abort(struct segment *s, const struct aborted *a);
/* Append what memory has more of; `seal`: no more will come, a checksum ends the file. */
CHECK enum err segment_flush_aborted(struct segment *s, bool seal, struct fault *f);
CHECK enum err segment_sync_aborted(struct segment *s, struct fault *f);
/* The entries of the file below `limit`, malloc'ed; ERR_CORRUPT when they cannot be what was written. */
CHECK enum err segment_read_aborted(const struct segment *s, bool sealed, int64_t limit, struct aborted **out,
                                    size_t *n, struct fault *f);
/* Load what is below `limit` into memory, to go on from there; the file is cut behind it. */
CHECK enum err segment_load_aborted(struct segment *s, int64_t limit, struct fault *f);

/* -- producers -------------------------------------------------------------------------------------------------------- */
enum { PRODUCER_BATCHES = 5, PRODUCER_EXPIRY_MS = 86400000 };
struct producer_batch {
    int32_t first_seq, last_seq;
    int64_t last_offset, timestamp_ms;
    int32_t offset_delta;
};
struct producer {
    int64_t id; /* -1: an empty slot */
    int16_t epoch;
    int16_t n; /* 0: only a marker was written in this epoch */
    int32_t coordinator_epoch;
    int64_t txn_first; /* first offset of the open transaction, or -1: it is never forgotten */
    int64_t last_ms;   /* when it last wrote */
    struct producer_batch batch[PRODUCER_BATCHES]; /* the oldest first */
};
struct txn {
    int64_t first_offset, producer_id;
    int64_t last_offset; /* its marker's, which is not durable yet; -1: open */
};
struct producers {
    struct producer *slots;
    size_t cap, n;
    VEC(struct txn) txns; /* by first offset: the first one bounds the last stable offset */
    size_t ended;         /* those with a marker */
    int64_t saved;        /* the offset of the newest snapshot, plus 1: it may be a mark's, and is not written over */
};
void producers_free(struct producers *t);
struct producer *producers_find(const struct producers *t, int64_t id);
/* LOG_OK; a retry sets *duplicate to the batch that is there. */
enum log_status producers_check(struct producers *t, enum log_origin origin, const struct batch *b,
                                const struct producer_batch **duplicate, char message[160]);
enum log_status producers_check_marker(struct producers *t, const struct log_marker *m, char message[160]);
/* Account for a batch that is in the log now. True: it ended a transaction by aborting it, for the .txnindex. */
bool producers_note(struct producers *t, const struct batch *b, int64_t now_ms, struct aborted *aborted);
/* Markers below `high_watermark` are durable: their transactions hold nothing back any more. */
void producers_settle(struct producers *t, int64_t high_watermark);
/* The first offset that is not decided for good, or INT64_MAX. */
int64_t producers_unstable(const struct producers *t);
/* Put in what a snapshot says of one producer. */
void producers_restore(struct producers *t, const struct producer *p);
/* Kafka's producer snapshot, version 1, of what was there at log end `offset`. Not synced: a lost one costs a scan. */
CHECK enum err producers_save(struct producers *t, const char *dir, int64_t offset, int64_t now_ms, struct fault *f);
/* The newest whole one of the snapshots at `list`: *offset says where to go on from (`least` when none is above). */
CHECK enum err producers_load(struct producers *t, const char *dir, int64_t *list, size_t n, int64_t least,
                              int64_t *offset, struct fault *f);
CHECK enum err producers_unlink(const char *dir, int64_t offset, struct fault *f);
/* Remove snapshots below `keep`. */
CHECK enum err producers_prune(const char *dir, int64_t keep, struct fault *f);

/* -- partitions -------------------------------------------------------------------------------------------------------- */
struct topic;
struct position {
    int64_t offset; /* the batch that begins at `position` of the segment holds it; -1: unused */
    int64_t segment;
    uint64_t position;
};
struct partition_conf {
    uint64_t segment_bytes, segment_index_bytes;
    int64_t segment_ms, max_message_bytes, timestamp_before_ms, timestamp_after_ms;
    int64_t retention_ms, retention_bytes; /* -1: without end */
    int64_t delete_retention_ms, min_compaction_lag_ms, max_compaction_lag_ms;
    double min_cleanable_ratio;
    bool append_time, compact, delete;
    const char *name; /* of the partition, for messages */
};
struct log_partition {
    struct log *log;
    int refs; /* atomic */
    int32_t number;
    struct os_uuid topic_id;
    struct os_mutex *lock;
    /* under the lock */
    int64_t log_start, high_watermark, log_end;
    int64_t log_start_wanted; /* where it will begin once that is durable; below log_start: nothing to do */
    int64_t recovery_point;   /* as on disk */
    int64_t first_dirty;      /* compacted up to here */
    bool uncleanable, compact_waits;
    struct mark mark, pending;      /* durable; its files are written, and not synced */
    int64_t taking;                 /* the offset of the mark that a checkpoint is making durable, or -1 */
    VEC(struct segment *) segments; /* by base offset; the last is active */
    struct producers producers;
    VEC(int64_t) snapshots; /* of producers, made and not synced yet */
    struct partition_conf conf;
    struct position cache[LOG_CACHED_POSITIONS];
    unsigned cache_at;
    bool deleted;
    bool failed;    /* damaged or unwritable: appends are refused, what is readable is read */
    bool dir_dirty; /* files were made since the directory was synced */
    bool meta_synced;
    struct log_watch *watches; /* under the log's watch lock */
    uint64_t woken;            /* committer: the group that has it in its list of wake-ups */
    char *dir;                 /* DIR/TOPIC-N */
    const char *name;          /* TOPIC-N: the end of dir */
};
struct log_partition *partition_new(struct log *l, struct str topic, struct os_uuid id, int32_t number);
void partition_ref(struct log_partition *p);
/* Make the directory and its first segment; not durable until a checkpoint. */
CHECK enum err partition_create_files(struct log_partition *p, struct fault *f);
void partition_configure(struct log_partition *p, const struct log_config *configs, size_t n); /* conf.c */
void conf_set_defaults(struct log *l, const struct log_config *configs, size_t n);
void conf_free(struct log *l);
/* Kafka's text of an id: base64url without padding. */
void log_id_text(struct os_uuid id, char out[23]);
/* What partition.metadata says. */
void partition_metadata_text(const struct log_partition *p, char out[64]);
struct segment *partition_active(struct log_partition *p);
/* Save the producers as of `offset`. The next checkpoint makes the file durable: what it says may be deleted then. */
CHECK enum err partition_snapshot(struct log_partition *p, int64_t offset, struct fault *f);
/* Close the active segment and begin one at log_end. */
CHECK enum err partition_roll(struct log_partition *p, struct fault *f);
/* Everything below is decided, and durably. Under the lock. */
int64_t partition_last_stable(const struct log_partition *p);
/* Write batches that have their offsets to the active segment and account for them (log_end, producers). */
CHECK enum err partition_write(struct log_partition *p, const char *bytes, size_t n, int64_t now_ms, struct fault *f);
void segment_release(struct log_partition *p, struct segment *s); /* takes the lock */

/* -- checks ------------------------------------------------------------------------------------------------------------ */
/* Check every batch of a client as Kafka's LogValidator does; patches timestamps and CRCs where Kafka does. */
enum log_status check_batches(const struct partition_conf *c, enum log_origin origin, char *bytes, size_t n,
                              int64_t now_ms, struct log_append_result *r);

/* -- the journal -------------------------------------------------------------------------------------------------------- */
enum {
    JOURNAL_BLOCK = 4096,
    JOURNAL_FRAME = 40,
    JOURNAL_ENTRY = 32,
    JOURNAL_MAGIC = 0x314a5350,
    JOURNAL_FILE_MAGIC = 0x464a5350
};

struct waiter {
    struct log_partition *partition;
    void (*done)(void *arg, const struct log_append_result *r);
    void *arg;
    int64_t end_offset; /* the high watermark once the group is durable; -1: only a wake-up */
    int64_t base_offset, last_offset, append_time_ms, log_start;
    bool duplicate;
};
struct group {
    char *p; /* the frame: header, entries */
    size_t n, cap;
    size_t usual; /* what its groups need lately: a buffer of that size is kept */
    uint32_t entries;
    VEC(struct waiter) waiters;
};
struct journal_file {
    struct os_file *file;
    uint64_t size, used, gen;
    int number;
};
struct journal {
    struct os_mutex *lock;
    struct os_cond *work;  /* the committer waits for it */
    struct os_cond *space; /* the committer waits for files */
    struct group fill;
    struct group write; /* the committer's alone */
    struct journal_file current;
    VEC(struct journal_file) full, spare;
    uint64_t gen, seq;
    uint64_t gen_seq; /* the first frame of the current generation */
    uint64_t pending; /* atomic: bytes in fill and write */
    uint64_t round;   /* the committer's count of groups */
    int next_number;
    int holds;    /* callers of log_hold that the next group waits for */
    bool closing; /* it waits: nobody else may hold it back */
    bool stop;
    struct os_thread *committer;
};
void journal_begin(struct log *l);
CHECK enum err journal_open(struct log *l, struct fault *f);
CHECK enum err journal_start(struct log *l, struct fault *f);
void journal_stop(struct log *l); /* commits what waits, joins the committer */
void journal_close(struct log *l);
bool journal_has_room(struct log *l, size_t n);
/* Add one run of batches (already in the segment) or, with n 0, only a waiter. Called under the partition's lock. */
void journal_add(struct log *l, const struct waiter *w, const char *bytes, size_t n);
/* Make a zero-written file of at least `size` bytes. */
CHECK enum err journal_make_file(struct log *l, uint64_t size, struct journal_file *out, struct fault *f);
/* The size of a spare file that ought to be made now, or 0. */
uint64_t journal_wants_spare(struct log *l);

/* -- the log ------------------------------------------------------------------------------------------------------------ */
struct topic {
    char *name;
    struct os_uuid id;
    struct log_partition **partitions;
    int32_t n;
    VEC(struct log_config) configs; /* strings are malloc'ed */
};
struct fact {
    char *p;
    size_t n;
};
struct work {
    void (*fn)(void *arg);
    void *arg;
};
struct start_waiter {
    struct log_partition *p;
    int64_t offset;
    void (*done)(void *arg, const struct log_append_result *r);
    void *arg;
};
struct log {
    struct log_options o;
    char *dir;
    char cluster_id[23];
    struct os_file *lock_file;

    struct os_mutex *meta_lock; /* held across a change and its sync */
    struct os_file *meta_file;
    uint64_t meta_size, meta_seq, meta_rewrite_at;

    struct os_mutex *topics_lock;
    struct map topics, topics_by_id, facts;
    uint64_t topics_version;         /* atomic */
    VEC(struct log_config) defaults; /* what topics without a setting of their own have; malloc'ed strings */
    int64_t next_producer_id, producer_id_end;

    struct files files;
    struct journal journal;
    uint64_t live_gen, live_seq; /* as on disk */
    bool dir_dirty;              /* under topics_lock: partition directories were made or removed */
    bool wants_checkpoint;       /* recovery has left it to the background */

    struct os_mutex *watch_lock;

    struct os_mutex *back_lock;
    struct os_cond *back_work;
    bool back_stop, back_checkpoint, back_spare, back_retention;
    bool back_compact;
    int64_t compact_due_ms;          /* INT64_MAX: nothing will be due by itself */
    bool retention_on;               /* it is known what topics inherit */
    int64_t retention_due_ms;        /* the wall clock's time of the next look; INT64_MAX: none */
    int64_t retention_looked_ms;     /* and of the last one */
    VEC(struct start_waiter) starts; /* deletions of records that wait for their answer */
    VEC(char *) doomed;              /* directories to remove */
    struct os_thread *back;

    struct os_mutex *work_lock;
    struct os_cond *work_ready;
    struct work *work;
    size_t work_at, work_n;
    bool work_stop;
    struct os_thread *worker;

    struct log_stats stats; /* atomics */
};

#define STAT_ADD(l, field, n) __atomic_fetch_add(&(l)->stats.field, (n), __ATOMIC_RELAXED)

/* "DIR/a" into out; aborts when longer than LOG_PATH, which log_open has excluded. */
void log_path(const struct log *l, char out[LOG_PATH], const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Stop accepting appends and call its watchers; its directory goes away in the background. */
void partition_delete(struct log_partition *p);
CHECK enum err log_back_start(struct log *l, struct fault *f); /* the background thread (back.c) */
void log_kick(struct log *l, bool checkpoint, bool spare);     /* wake it */
void log_wake_watches(struct log_partition *p);                /* under watch_lock */
void log_doom(struct log *l, const char *dir);                 /* remove this tree in the background */

CHECK enum err log_newer_format(const char *what, uint32_t format, struct fault *f);

/* The metadata log's file (metadata.c). Under meta_lock, but for the opening. */
enum { REC_HEADER = 1, REC_TOPIC, REC_DELETE, REC_GROW, REC_CONFIG, REC_FACT, REC_PRODUCER_IDS, REC_COUNT };
enum { REC_PREFIX = 17 };
CHECK enum err meta_open(struct log *l, struct fault *f);
void meta_begin(struct buf *b, int kind); /* a record at the end of b */
void meta_seal(struct buf *b, size_t at, uint64_t seq);
/* Append the record in b and sync it. */
CHECK enum err meta_append(struct log *l, struct buf *b, struct fault *f);
/* Write it anew when most of it is dead. */
void meta_tidy(struct log *l);
/* And its meaning (topics.c): apply a record; write the records of all there is, and return how many. */
bool meta_apply(struct log *l, int kind, struct str rest);
uint64_t meta_state(struct log *l, struct buf *out);
CHECK enum err meta_header(struct log *l, struct fault *f); /* the first record of a new data directory */
void meta_close(struct log *l);
struct topic *topic_by_id(struct log *l, struct os_uuid id); /* under topics_lock */
/* Every partition of every topic, each with a reference, in a stable order; freed by the caller. */
size_t log_all_partitions(struct log *l, struct log_partition ***out);

CHECK enum err recover(struct log *l, struct fault *f);
/* Sync all segments, write the recovery points, recycle full journal files. */
CHECK enum err checkpoint(struct log *l, bool clean, struct fault *f);
/* Make the log starts durable that are wanted, and then true; nothing is synced. */
CHECK enum err checkpoint_log_starts(struct log *l, struct fault *f);

/* -- what may go (retention.c); on the background thread ------------------------------------------------------------------ */
/* A record that may expire was appended to an empty log. Under the partition's lock. */
void retention_begins(struct log_partition *p);
/* Look soon: something grew, or a setting changed. */
void retention_soon(struct log *l);
/* The settings are known now: what expired while nobody looked goes, but not while everything else starts, too. */
void retention_start(struct log *l);
/* Choose what expired or is too much. Returns when something will expire, or INT64_MAX. */
int64_t retention_policies(struct log *l, int64_t now_ms);
/* Raise the log starts that are wanted, answer who waits for it; then unlink what lies below them. */
CHECK enum err retention_raise(struct log *l, struct fault *f);
CHECK enum err retention_trim(struct log *l, struct fault *f);

/* -- compaction (compact.c); on the background thread --------------------------------------------------------------------- */
void compact_load(struct log *l); /* how far it had come */
/* Compact what is due. Returns when something will be due by itself, or INT64_MAX. */
int64_t compact_run(struct log *l, int64_t now_ms);
void compact_soon(struct log *l); /* a segment was closed */
/* Between two slices of long work: do the thread's other work, then leave the disk to others for so long. False: stop. */
bool log_back_breathe(struct log *l, int64_t rest_ns);
CHECK enum err log_run_checkpoint(struct log *l); /* says what fails; a failed sync ends the process */

struct recovery_point {
    struct os_uuid id;
    int32_t partition;
    int64_t offset, log_start;
    struct mark mark;
};
struct recovery_points {
    uint64_t live_gen, seq;
    bool clean, found;
    VEC(struct recovery_point) points;
};
CHECK enum err recovery_points_read(struct log *l, struct recovery_points *out, struct fault *f);
CHECK enum err recovery_points_write(struct log *l, const struct recovery_points *p, struct fault *f);
CHECK enum err recover_partition(struct log_partition *p, const struct recovery_point *point, bool clean,
                                 bool keep_tail, struct fault *f);
void partition_offline(struct log_partition *p, const char *why);
/* Write the indexes up to the log's end, and the producers: p->pending, which the next checkpoint that can syncs. */
void partition_mark(struct log_partition *p);

/* Little-endian and big-endian fields of the formats. */
static inline void put_u32le(char *p, uint32_t v)
{
    memcpy(p, &v, 4);
}
static inline void put_u64le(char *p, uint64_t v)
{
    memcpy(p, &v, 8);
}
static inline uint32_t get_u32le(const char *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}
static inline uint64_t get_u64le(const char *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}
static inline void put_u32be(char *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(p, &v, 4);
}
static inline void put_u64be(char *p, uint64_t v)
{
    v = __builtin_bswap64(v);
    memcpy(p, &v, 8);
}
static inline uint32_t get_u32be(const char *p)
{
    return __builtin_bswap32(get_u32le(p));
}
static inline uint64_t get_u64be(const char *p)
{
    return __builtin_bswap64(get_u64le(p));
}

#endif
