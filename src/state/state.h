/*
 * state: what a streaming query remembers between batches, and the log that makes it survive.
 *
 * A checkpoint directory holds Spark's own files, as exports, and beside them the one file that counts:
 *
 *   DIR/metadata, offsets/N, commits/N, sources/   Spark's formats: always N-1 and N, exact after a clean stop
 *   DIR/_penstock/lock                             one process at a time (ERR_BUSY)
 *   DIR/_penstock/log                              the commit log: frames under a CRC, appended
 *   DIR/_penstock/snapshot-N                       all keyed state as of commit N; older frames are then dropped
 *
 * The log is a sequence of steps of a query. Where the sink cannot take back what it was given, `plan N` is durable before
 * the first effect of batch N, and `commit N` follows the sink's acknowledgement with the state's changes of that batch and,
 * where it is known, plan N+1: one fdatasync per batch, with state or without.
 *
 *   open ─▶ replay ─▶ [ plan N ─▶ … effects … ─▶ commit N {changes, plan N+1} ─▶ (snapshot N) ]↺ ─▶ close (exports)
 *
 * Where the output is a transaction, nothing of it is there before its end, so plan, state and commit are one frame, written
 * when the batch is computed and before the transaction ends. That end decides, and it happens elsewhere:
 *
 *   open ─▶ decide ─▶ replay ─▶ [ … output … ─▶ prepare N {plan, commit, changes} ─▶ transaction ends ─▶ decide N ]↺ ─▶ close
 *
 * decide costs no sync: a frame of batch N+1 says that N was committed; before a pause, checkpoint_settle makes it durable.
 * After a crash the last batch may be found prepared. Its changes are not part of the state until it is decided: whoever
 * opens the checkpoint asks the output's transaction log (`where`: N, or what stood there before N, `after`) and decides
 * before the replay. So state needs no undo: a discarded batch keeps its plan, and runs again.
 *
 * One append is one frame, and the next one is not written before the sync of the last has returned. So a bad frame with a
 * whole one after it is damage (refused, never cut), and a bad last frame was torn by a crash and never acknowledged (cut).
 * Plans and commits are texts in the formats of Spark's offsets/N and commits/N: the exports are these bytes.
 *
 * State has no undo: a batch that fails ends its query, whose memory is dropped; the next start rebuilds it from the log
 * as of the last commit. A checkpoint belongs to one thread at a time. A failed sync stops the process (os_die).
 */
#ifndef PENSTOCK_STATE_STATE_H
#define PENSTOCK_STATE_STATE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/fault.h"

/* -- the commit log ----------------------------------------------------------------------------------------------- */
struct checkpoint;
struct checkpoint_info {
    char query_id[37];        /* made at the first start, kept for ever */
    int64_t last_planned;     /* -1: none */
    int64_t last_committed;   /* -1: none; last_planned - 1 or last_planned */
    struct str plan;          /* text of plan last_planned; good until the next plan */
    struct str commit;        /* text of commit last_committed; good until the next commit */
    struct str previous_plan; /* text of plan last_planned - 1; n 0: not kept */
    bool prepared;            /* last_planned is prepared, and was it committed? */
    int64_t prepared_after;   /* what the output's transaction log said before it: a batch, or -1 for nothing */
    struct str where;         /* where that log is; n 0: no batch was ever prepared */
};
/*
 * Open or create. signature: lines that must stay the same for the state to be readable (plan_state_signature); another one
 * is ERR_CHECKPOINT_INCOMPATIBLE with the first difference. ERR_BUSY: in use. ERR_CORRUPT: damaged before its end.
 * ERR_CHECKPOINT_FOREIGN: Spark's own, or its exports were changed. ERR_VERSION: newer. Unwritable: ERR_IO naming the path.
 * info->prepared: decide before anything else.
 */
CHECK enum err checkpoint_open(struct checkpoint **out, const char *dir, struct str signature,
                               struct checkpoint_info *info, struct fault *f);
/* Every change of state up to last_committed, in order: the snapshot's entries, then each batch's. value.p NULL: removed. */
typedef enum err checkpoint_change_fn(void *arg, uint32_t store, struct str key, struct str value, struct fault *f);
CHECK enum err checkpoint_replay(struct checkpoint *c, checkpoint_change_fn *fn, void *arg, struct fault *f);

/* Durable when they return. next_plan.n 0: none. Order: plan 0, commit 0 (+ plan 1), … anything else is ERR_INTERNAL. */
CHECK enum err checkpoint_plan(struct checkpoint *c, int64_t batch, struct str plan, struct fault *f);
/* changes: `nchanges` texts made by state_change_*, in order (several threads each made theirs). */
CHECK enum err checkpoint_commit(struct checkpoint *c, int64_t batch, struct str commit, struct str next_plan,
                                 const struct str *changes, size_t nchanges, struct fault *f);
/* What the end of batch N's transaction will replace, and where. */
struct checkpoint_output {
    struct str where; /* a text of the sink's, at most 1 KiB: a topic */
    int64_t after;    /* the batch that the transaction log names now; -1: none */
};
/* Plan (n 0: it is durable already), commit and changes of a batch in one frame, durable when it returns. output NULL:
 * nothing went out, and the batch is committed with it. Else its fate is open until checkpoint_decide. */
CHECK enum err checkpoint_prepare(struct checkpoint *c, int64_t batch, struct str plan, struct str commit,
                                  const struct checkpoint_output *output, const struct str *changes, size_t nchanges,
                                  struct fault *f);
/* How the transaction of the prepared batch ended. Committed: durable with the next step, or by checkpoint_settle, or at
 * close. Not committed: durable when it returns; the batch is planned as before. */
CHECK enum err checkpoint_decide(struct checkpoint *c, int64_t batch, bool committed, struct fault *f);
CHECK enum err checkpoint_settle(struct checkpoint *c, struct fault *f);
bool checkpoint_is_settled(const struct checkpoint *c);
/* What there is now: the views are good until the next step. */
void checkpoint_look(const struct checkpoint *c, struct checkpoint_info *info);
/* Bytes of changes since the last snapshot: the caller takes one when that is much more than the state itself. */
uint64_t checkpoint_changes_bytes(const struct checkpoint *c);
/* Write all state as of the last commit: `each` appends chunks of it with state_change_put until it sets *more to false. */
typedef enum err checkpoint_fill_fn(void *arg, struct buf *chunk, bool *more, struct fault *f);
CHECK enum err checkpoint_snapshot(struct checkpoint *c, checkpoint_fill_fn *each, void *arg, struct fault *f);
/*
 * Facts that a query must know again: small texts by number, made durable with the next plan or commit. Below
 * CHECKPOINT_FACT_PRIVATE: the file sources/N/0 of Spark (what source N started from), exported; the rest are ours.
 */
enum { CHECKPOINT_FACT_PRIVATE = 1000, CHECKPOINT_FACTS = 2000 };
void checkpoint_fact_set(struct checkpoint *c, uint32_t number, struct str text);
struct str checkpoint_fact(const struct checkpoint *c, uint32_t number); /* n 0: none */
void checkpoint_close(struct checkpoint *c); /* a clean stop: writes the exports exactly; NULL allowed */
const char *checkpoint_dir(const struct checkpoint *c);
/* Append one change to a text for checkpoint_commit. store: which keyed table of the query (its plan node's id). */
void state_change_put(struct buf *b, uint32_t store, struct str key, struct str value);
void state_change_remove(struct buf *b, uint32_t store, struct str key);

/* -- a keyed table in memory -------------------------------------------------------------------------------------- */
/* Byte-string keys to byte-string values, open addressing over an arena of entries. Every put and remove is recorded for
 * checkpoint_commit; state_load is for replay. Belongs to one thread at a time. */
struct state_store;
struct state_store *state_new(uint32_t store);
void state_free(struct state_store *s);
/* value.p NULL when absent; the view is good until the next put. */
struct str state_get(struct state_store *s, struct str key);
void state_put(struct state_store *s, struct str key, struct str value);
void state_remove(struct state_store *s, struct str key);
void state_load(struct state_store *s, struct str key,
                struct str value); /* value.p NULL removes; nothing is recorded */
bool state_next(struct state_store *s, size_t *at, struct str *key,
                struct str *value);               /* removal of the current is allowed */
struct buf *state_changes(struct state_store *s); /* since it was last cleared */
size_t state_keys(const struct state_store *s);
size_t state_bytes(const struct state_store *s);

#endif
