/*
 * state: what a streaming query remembers between epochs, and the log that makes it survive.
 *
 * Two things live in a checkpoint directory (format of our own beside Spark's exports; see query/):
 *
 *   commit log   one file of CRC'd frames: `plan N` before the first effect of batch N, `commit N` after the sink's acknowledgement;
 *                plan N+1 rides in the append of commit N, so that one fdatasync per batch is the normal price.
 *   state/       per stateful node and state partition: a checksummed changelog per batch, background snapshots.
 *
 * checkpoint_* is the commit log: put(N) is durable, exclusive (a lock file), ordered. state_* is the keyed store: its API is batched,
 * versioned by epoch, and can abort the open epoch. Every sync names its site (os.h), every one of them is needed (tests/sim).
 * Keys and values are byte strings (encoded columns, saved aggregates). A store belongs to one thread at a time.
 */
#ifndef PENSTOCK_STATE_STATE_H
#define PENSTOCK_STATE_STATE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/fault.h"

/* -- the commit log ----------------------------------------------------------------------------------------------- */
struct checkpoint;
struct checkpoint_info {
    char query_id[37];          /* made at the first start, kept for ever */
    int64_t last_planned;       /* -1: none */
    int64_t last_committed;     /* -1: none */
    struct str plan;            /* JSON of plan N for last_planned (offsets, watermark, timestamp, confs) */
    struct str commit;          /* JSON of commit N for last_committed */
};
/* Open or create. signature: plan_state_signature; another one is refused with the difference (ERR_…). ERR_BUSY: in use.
 * ERR_CORRUPT: damaged before its end (a torn last frame is cut). Unwritable: ERR_IO naming the path. */
CHECK enum err checkpoint_open(struct checkpoint **out, const char *dir, struct str signature, struct checkpoint_info *info,
                               struct fault *f);
/* Durable when it returns. next_plan.n 0: none. Order: plan 0, commit 0 (+ plan 1), … anything else is ERR_INTERNAL. */
CHECK enum err checkpoint_plan(struct checkpoint *c, int64_t batch, struct str plan_json, struct fault *f);
CHECK enum err checkpoint_commit(struct checkpoint *c, int64_t batch, struct str commit_json, struct str next_plan_json,
                                 struct fault *f);
void checkpoint_close(struct checkpoint *c); /* writes Spark's exports exactly (clean stop) */
const char *checkpoint_dir(const struct checkpoint *c);

/* -- the keyed store ---------------------------------------------------------------------------------------------- */
struct state_store;
/* dir NULL: memory only (no checkpoint). version: the batch whose commit is the base (-1: empty). ERR_CORRUPT when it cannot be rebuilt exactly. */
CHECK enum err state_open(struct state_store **out, const char *dir, int64_t version, struct fault *f);
/* value.p NULL when absent; the view is good until the next put/remove. */
struct str state_get(struct state_store *s, struct str key);
CHECK enum err state_put(struct state_store *s, struct str key, struct str value, struct fault *f);
CHECK enum err state_remove(struct state_store *s, struct str key, struct fault *f);
bool state_next(struct state_store *s, size_t *at, struct str *key, struct str *value); /* iterate; removal of the current is allowed */
/* Make the open epoch durable as `version` / forget it. */
CHECK enum err state_commit(struct state_store *s, int64_t version, struct fault *f);
void state_abort(struct state_store *s);
void state_close(struct state_store *s);
size_t state_keys(const struct state_store *s);
size_t state_bytes(const struct state_store *s);

#endif
