/*
 * checkpoint_int: the commit log's insides, shared by its files: frame.c (bytes), read.c (replay), checkpoint.c (steps),
 * snapshot.c, exports.c.
 *
 * File: 16 bytes "PNSTKCKP", version u32, CRC u32; then frames. A frame is a 32-byte head and its payload:
 *
 *    0 magic u32 | 4 type u32 | 8 sequence u64 | 16 payload bytes u64 | 24 payload CRC u32 | 28 CRC of bytes 0..28 u32
 *
 * all little-endian, CRC-32C. The sequence grows by one per frame and goes on across rewrites, so that old bytes never match.
 * Behind the last frame are zeros, written ahead by the EXTENT: a sync of bytes that overwrite others costs the file system
 * no transaction of its own. The zeros are the end of the log; anything else there is torn or damage.
 *
 * Format versions. A reader takes every version up to its own and refuses a newer one by name. A log that is opened for
 * work gets the version of the program that opened it, in place (the head lies in one sector): an older program refuses it
 * from then on instead of stumbling over a frame that it does not know.
 *   1   plans, commits
 *   2   FRAME_BATCH and FRAME_FATE: batches whose output is a transaction
 */
#ifndef PENSTOCK_STATE_CHECKPOINT_INT_H
#define PENSTOCK_STATE_CHECKPOINT_INT_H

#include "base/limit.h"
#include "base/rd.h"
#include "base/vec.h"
#include "os/os.h"
#include "state/state.h"

enum { FILE_HEAD = 16, FRAME_HEAD = 32, CHECKPOINT_VERSION = 2, PATH_BYTES = 4096 };
enum {
    SMALL_BYTES = 4 << 20,    /* a log without state is rewritten beyond it */
    EXTENT_BYTES = 256 << 10, /* zeros are written ahead in these */
};

enum frame_type {
    FRAME_HEAD_OF_LOG = 1, /* query id, signature, snapshot version */
    FRAME_PLAN = 2,        /* batch i64, facts, text */
    FRAME_COMMIT = 3,      /* batch i64, facts, n u32, text, n u32, next plan, changes */
    FRAME_STOP = 4,        /* the exports are complete: they must be found so */
    FRAME_CHUNK = 5,       /* of a snapshot: changes */
    FRAME_END = 6,         /* of a snapshot: number of chunks */
    FRAME_BATCH = 7,       /* batch i64, decided u8, after i64, facts, n u32, plan, n u32, commit, changes */
    FRAME_FATE = 8,        /* batch i64, committed u8 */
};
enum { FACT_WHERE = CHECKPOINT_FACTS - 1 }; /* where the output's transaction log is */
struct frame {
    uint32_t type, crc;
    uint64_t sequence, bytes;
};

void file_head(char out[FILE_HEAD], const char *magic);
CHECK enum err file_head_check(struct os_file *file, const char *path, const char *magic, uint32_t *version,
                               struct fault *f);
void frame_head(char out[FRAME_HEAD], const struct frame *fr);
/* The head at `at`: false when it does not parse. */
bool frame_head_read(const char in[FRAME_HEAD], struct frame *fr);
/* Append one frame whose payload is `parts`; *at moves past it. Not synced. */
CHECK enum err frame_write(struct os_file *file, uint64_t *at, uint32_t type, uint64_t sequence,
                           const struct str *parts, size_t nparts, struct fault *f);
/* Read and check the payload of a frame into *p (malloc'ed): *whole false when short or its CRC differs. */
CHECK enum err frame_payload(struct os_file *file, uint64_t at, const struct frame *fr, char **p, bool *whole,
                             struct fault *f);
/* Is there a whole frame with a sequence ≥ `sequence` anywhere in [from, size)? */
CHECK enum err frame_after(struct os_file *file, uint64_t from, uint64_t size, uint64_t sequence, bool *found,
                           struct fault *f);
/* Call fn for every change in a text. ERR_CORRUPT naming `path` when malformed. */
CHECK enum err changes_each(struct str text, const char *path, checkpoint_change_fn *fn, void *arg, struct fault *f);

struct step {      /* one planned batch, as kept in memory: the last two */
    int64_t batch; /* -1: none */
    struct buf plan, commit;
    bool committed, prepared; /* prepared: the commit's text is known, its fate is not */
};
struct fact {
    uint32_t number;
    bool fresh; /* not in the log yet */
    struct buf text;
};
struct checkpoint {
    char dir[PATH_BYTES - 64], path[PATH_BYTES]; /* path: the log */
    char id[37];
    struct os_file *lock, *log;
    struct buf signature;
    uint64_t at, size, sequence, changes_bytes; /* at: the end of the frames; size: of the file, zeros from `at` on */
    uint32_t version;                           /* of the file */
    int64_t snapshot;                           /* -1: none */
    struct step last, before;
    VEC(uint64_t) commits; /* where the frames with changes since the snapshot begin */
    VEC(struct fact) facts;
    uint64_t prepared_at, prepared_bytes; /* of the prepared batch: its frame, its changes */
    int64_t prepared_after;
    bool undecided;      /* last.committed is known, and no frame says it yet */
    bool stopped;        /* the last frame is FRAME_STOP */
    int64_t exported_ns; /* monotonic, 0: never */
};

/* -- steps.c: what is kept in memory, and what a frame means for it -- */
void set_text(struct buf *b, struct str s);
void facts_write(const struct checkpoint *c, bool all, struct buf *out);
void facts_read(struct checkpoint *c /* NULL: pass over them */, struct rd *r);
void facts_are_durable(struct checkpoint *c);
bool step_plan_fits(const struct checkpoint *c, int64_t batch);
void step_plan(struct checkpoint *c, int64_t batch, struct str plan);
/* at, bytes: the frame, and how much of it are changes of state. */
void step_commit(struct checkpoint *c, uint64_t at, uint64_t bytes, struct str commit);
void step_prepare(struct checkpoint *c, uint64_t at, uint64_t bytes, struct str commit, int64_t after);
void step_fate(struct checkpoint *c, bool committed);

/* -- read.c -- */
CHECK enum err checkpoint_damaged(const struct checkpoint *c, uint64_t at, const char *why, struct fault *f);
/* Take every frame of the log; c->at is where they end. */
CHECK enum err checkpoint_read(struct checkpoint *c, struct str signature, struct fault *f);
/* Cut what a crash tore off the log's end: what follows the last frame is zeros or nothing. */
CHECK enum err checkpoint_cut(struct checkpoint *c, struct fault *f);

/* The snapshot's entries. ERR_CORRUPT when it is missing or damaged: the log says that it exists. */
CHECK enum err snapshot_read(struct checkpoint *c, checkpoint_change_fn *fn, void *arg, struct fault *f);
/* A fresh log file with what is in memory, in place of the old one. */
CHECK enum err checkpoint_rewrite(struct checkpoint *c, struct fault *f);

/* Refuse exports that this log did not write: exact when it was stopped cleanly, else nothing newer than it. */
CHECK enum err exports_check(const struct checkpoint *c, struct fault *f);
/* Write N-1 and N and remove older ones. durable: synced, for a clean stop. */
CHECK enum err exports_write(struct checkpoint *c, bool durable, struct fault *f);

#endif
