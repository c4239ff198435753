/*
 * Exactly-once: the end of a batch whose output is a transaction, and how the next run learns what became of it.
 *
 *   rows written ─▶ prepare N {plan, commit, state} durable ─▶ the transaction ends, with the note "N" in it ─▶ decided
 *
 *   after a crash             the note says
 *   nothing is prepared       at most the last committed batch: go on
 *   N is prepared             N: it was committed, its state is the state
 *                             what it said when N was prepared: nothing of N is out; N runs again from its plan
 *                             anything else: someone changed one of the two, and rows would be lost or doubled: refused
 *
 * So the price of a batch is two syncs one after the other: the checkpoint's, then the transaction's. That a batch is
 * decided is written down with the next batch (which says so by being there), or before a pause: notes expire.
 */
#include "query/query_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* -- at the start -------------------------------------------------------------------------------------------------------- */

static enum err disagree(const struct query *q, const char *knows, int64_t note, const char *hint, struct fault *f)
{
    char said[64], group[64];
    snprintf(said, sizeof said, note < 0 ? "nothing" : "batch %" PRId64, note);
    snprintf(group, sizeof group, "penstock-%s", q->ids.id);
    return FAULT(f, ERR_OUTPUT_BATCH, {"path", q->checkpoint_dir.p}, {"knows", knows}, {"group", group}, {"said", said},
                 {"hint", hint});
}

static enum err decide(struct query *q, bool committed, struct fault *f)
{
    int64_t batch = q->info.last_planned;
    os_log(OS_INFO, "query", "%s: batch %" PRId64 " was prepared, and its output was %s", q->ids.id, batch,
           committed ? "committed: it is done" : "not committed: it runs again");
    enum err e = checkpoint_decide(q->checkpoint, batch, committed, f);
    if (!e)
        e = checkpoint_settle(q->checkpoint, f); /* at once: the note expires */
    checkpoint_look(q->checkpoint, &q->info);
    return e;
}

enum err prepared_resolve(struct query *q, struct fault *f)
{
    const struct checkpoint_info *info = &q->info;
    int64_t note;
    char knows[160];
    if (!sink_is_transactional(q->sink)) /* at-least-once was asked for: a batch in doubt runs again */
        return info->prepared ? decide(q, false, f) : ERR_OK;
    enum err e = sink_recover(q->sink, str_of(q->ids.id), info->where, &note, f);
    if (e)
        return e;
    if (!info->prepared) {
        if (note <= info->last_committed)
            return ERR_OK;
        snprintf(knows, sizeof knows, "its last batch is %" PRId64, info->last_committed);
        return disagree(
            q, knows, note,
            "The checkpoint is an older copy, or two queries use copies of it: use another checkpointLocation, or "
            "delete that group to have the batches again.",
            f);
    }
    if (note == info->last_planned || note == info->prepared_after)
        return decide(q, note == info->last_planned, f);
    snprintf(knows, sizeof knows, "batch %" PRId64 " was prepared after batch %" PRId64, info->last_planned,
             info->prepared_after);
    return disagree(
        q, knows, note,
        "Whether that batch is in the output cannot be known. To run it again, though its rows may then be there "
        "twice, start the query once with the option penstock.delivery=at-least-once.",
        f);
}

/* -- the end of a batch ---------------------------------------------------------------------------------------------------- */

static enum err prepare(struct query *q, const struct checkpoint_output *output, struct fault *f)
{
    struct buf commit = {0}, plan = {0};
    struct str *changes = calloc(stateful_texts(q) + 1, sizeof *changes);
    if (!changes)
        return FAULT(f, ERR_NOMEM, {"what", "a batch's commit"});
    int64_t start_ns = os_mono_ns();
    size_t n = stateful_changes(q, changes);
    batch_commit_text(q->watermark_ms, &commit);
    if (!q->is_plan_durable)
        batch_plan_text(&q->current, q->nsources, &plan);
    enum err e = checkpoint_prepare(q->checkpoint, q->current.batch, buf_whole(&plan, "a batch's plan"),
                                    buf_whole(&commit, "a batch's commit"), output, changes, n, f);
    q->is_plan_durable |= !e;
    q->took.wal_commit += os_mono_ns() - start_ns;
    free(changes);
    buf_free(&commit);
    buf_free(&plan);
    return e;
}

enum err prepared_commit(struct query *q, struct fault *f)
{
    struct checkpoint_output output;
    bool any;
    int64_t batch = q->current.batch;
    enum err e = sink_output(q->sink, &any, &output.where, &output.after, f);
    if (!e)
        e = prepare(q, any ? &output : NULL, f);
    int64_t start_ns = os_mono_ns();
    q->rows_out = 0;
    if (!e && any && !(e = sink_commit(q->sink, &q->rows_out, f)))
        e = checkpoint_decide(q->checkpoint, batch, true, f);
    q->took.add_batch += os_mono_ns() - start_ns;
    if (e)
        return e;
    q->committed = batch;
    q->is_planned = false;
    q->decided_ns = os_mono_ns();
    return stateful_committed(q, f);
}

void prepared_failed(struct query *q)
{
    struct buf plan = {0};
    struct fault f = {0};
    if (q->is_plan_durable)
        return;
    batch_plan_text(&q->current, q->nsources, &plan);
    if (checkpoint_plan(q->checkpoint, q->current.batch, buf_whole(&plan, "a batch's plan"), &f))
        os_log(OS_WARN, "query", "%s: the plan of batch %" PRId64 " is not kept: %s", q->ids.id, q->current.batch,
               fault_message(&f));
    buf_free(&plan);
}

enum err prepared_settle(struct query *q, int64_t *wake_ns, struct fault *f)
{
    int64_t due_ns = q->decided_ns + SETTLE_MS * INT64_C(1000000);
    if (checkpoint_is_settled(q->checkpoint) || *wake_ns <= due_ns)
        return ERR_OK;
    if (os_mono_ns() >= due_ns)
        return checkpoint_settle(q->checkpoint, f);
    *wake_ns = due_ns;
    return ERR_OK;
}
