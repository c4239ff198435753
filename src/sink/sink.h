/*
 * sink: where a query's rows go: console, memory, noop, kafka.
 *
 * A sink gets the batches of one epoch between begin and commit. commit returns when the output is out of our hands in
 * the way the sink promises (kafka: committed on disk; memory: visible to queries; console: written).
 * After a crash the same batch id comes again with the same rows: a sink that can tell (memory, in complete mode) drops it.
 *
 * A transactional sink (kafka with a checkpoint) can do better: nothing of a batch is there before commit, and beside the
 * batch's output commit leaves a note of its id, in one transaction. So the query asks, when it starts, which batch that
 * was, and makes its own state of a batch durable between the last write and commit (state/state.h, checkpoint_prepare):
 *
 *   recover ─▶ [ begin ─▶ write … write ─▶ output: where will the note be? ─▶ (prepare N durable) ─▶ commit ]↺
 *
 * A commit that fails may have happened: only the next recover tells.
 */
#ifndef PENSTOCK_SINK_SINK_H
#define PENSTOCK_SINK_SINK_H

#include "plan/plan.h"
#include "source/source.h"

struct sink;
struct memory_tables; /* the memory sinks' tables by name, of one session */

struct sink_env {
    const struct source_env *source; /* the log, is_ours, auto_create */
    /* Console text of a query goes here (the session's terminal); called from the query's thread. */
    void (*console)(void *arg, struct str text);
    void *arg;
    struct memory_tables *tables;
};
/* Errors as Spark's: unknown format, missing topic, unsupported output mode, columns of wrong type (value of STRING or BINARY …). */
CHECK enum err sink_open(const struct sink_env *env, struct str format, const struct option *options, int noptions,
                         const struct type *schema, enum output_mode mode, struct str query_name,
                         const struct zone *zone, bool has_checkpoint, struct sink **out, struct fault *f);
bool sink_is_transactional(const struct sink *s);
/* Shut out every earlier run of the query, finish what it began, and read the note: *last is the batch it names, -1 none.
 * where: as `output` said when the batch was prepared; n 0: wherever the options say. */
CHECK enum err sink_recover(struct sink *s, struct str query_id, struct str where, int64_t *last, struct fault *f);
/* After the batch's last row. *any false: nothing goes out, and commit has nothing to do. Else *where the note will be
 * (good until the next begin), and what stands there now. */
CHECK enum err sink_output(struct sink *s, bool *any, struct str *where, int64_t *after, struct fault *f);
CHECK enum err sink_begin(struct sink *s, int64_t batch_id, struct fault *f);
CHECK enum err sink_write(struct sink *s, const struct batch_cols *rows, struct fault *f);
CHECK enum err sink_commit(struct sink *s, int64_t *rows_out,
                           struct fault *f); /* rows_out -1: not known, as Spark reports for v1 sinks */
void sink_abort(struct sink *s);
void sink_close(struct sink *s);
struct str sink_description(struct sink *s, struct arena *a); /* as in Spark's progress */
/* May rows of different source partitions come in any order? Where people look at them, no. */
bool sink_takes_any_order(const struct sink *s);
bool sink_is_visible(const struct sink *s); /* console: output at most every 100 ms unless a trigger says otherwise */

struct memory_tables *memory_tables_new(void);
void memory_tables_free(struct memory_tables *t);
/* A snapshot of a table as a REL_LOCAL tree in the arena; NULL when there is none. */
const struct rel *memory_table(struct memory_tables *t, struct str name, struct arena *a);

#endif
