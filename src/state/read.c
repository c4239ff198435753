/* Reading the commit log: each frame in its place, a torn end told from damage; and the state that its frames hold. */
#include "state/checkpoint_int.h"

#include <inttypes.h>
#include <stdio.h>

enum { TAIL_BYTES = 64 << 10 };

enum err checkpoint_damaged(const struct checkpoint *c, uint64_t at, const char *why, struct fault *f)
{
    char text[200];
    snprintf(text, sizeof text, "%s at byte %" PRIu64, why, at);
    return FAULT(f, ERR_CORRUPT, {"what", c->path}, {"detail", text});
}

/* -- one frame ------------------------------------------------------------------------------------------------------ */

static enum err signature_check(const struct checkpoint *c, struct str found, struct str wanted, struct fault *f)
{
    if (str_eq(found, wanted))
        return ERR_OK;
    struct rd x = rd_of(found), y = rd_of(wanted);
    struct str a, b;
    do { /* the first line that differs */
        const char *ea = x.n ? memchr(x.p, '\n', x.n) : NULL, *eb = y.n ? memchr(y.p, '\n', y.n) : NULL;
        a = rd_bytes(&x, ea ? (size_t)(ea - x.p) + 1 : x.n);
        b = rd_bytes(&y, eb ? (size_t)(eb - y.p) + 1 : y.n);
    } while (str_eq(a, b) && (x.n || y.n));
    char was[512], is[512];
    snprintf(was, sizeof was, "%.*s", STR_ARG(str_trim(a)));
    snprintf(is, sizeof is, "%.*s", STR_ARG(str_trim(b)));
    return FAULT(f, ERR_CHECKPOINT_INCOMPATIBLE, {"path", c->dir}, {"was", was[0] ? was : "nothing"},
                 {"is", is[0] ? is : "nothing"});
}

static enum err take_head(struct checkpoint *c, struct rd *r, struct str signature, struct fault *f)
{
    struct str id = rd_bytes(r, 36);
    c->snapshot = rd_i64le(r);
    if (r->bad)
        return checkpoint_damaged(c, FILE_HEAD, "the first frame does not parse", f);
    memcpy(c->id, id.p, 36);
    set_text(&c->signature, signature);
    return signature_check(c, str_make(r->p, r->n), signature, f);
}

/* A step of batch N+1 says that the prepared batch N was committed. */
static void next_step(struct checkpoint *c, int64_t batch)
{
    if (c->last.prepared && batch == c->last.batch + 1)
        step_fate(c, true);
}

static enum err take_plan(struct checkpoint *c, struct rd *r, uint64_t at, struct fault *f)
{
    int64_t batch = rd_i64le(r);
    facts_read(c, r);
    next_step(c, batch);
    if (r->bad || !step_plan_fits(c, batch))
        return checkpoint_damaged(c, at, "a plan is out of order", f);
    step_plan(c, batch, str_make(r->p, r->n));
    return ERR_OK;
}

static struct str text_of(struct rd *r)
{
    uint32_t n = rd_u32le(r);
    return rd_bytes(r, n);
}

static bool is_open(const struct checkpoint *c, int64_t batch)
{
    return batch == c->last.batch && !c->last.committed && !c->last.prepared;
}

static enum err take_commit(struct checkpoint *c, struct rd *r, uint64_t at, struct fault *f)
{
    int64_t batch = rd_i64le(r);
    facts_read(c, r);
    struct str commit = text_of(r), next = text_of(r);
    if (r->bad || !is_open(c, batch))
        return checkpoint_damaged(c, at, "a commit is out of order", f);
    step_commit(c, at, r->n, commit);
    if (next.n)
        step_plan(c, batch + 1, next);
    return ERR_OK;
}

static enum err take_batch(struct checkpoint *c, struct rd *r, uint64_t at, struct fault *f)
{
    int64_t batch = rd_i64le(r);
    bool decided = rd_u8(r);
    int64_t after = rd_i64le(r);
    facts_read(c, r);
    struct str plan = text_of(r), commit = text_of(r);
    next_step(c, batch);
    if (r->bad || !(plan.n ? step_plan_fits(c, batch) : is_open(c, batch)))
        return checkpoint_damaged(c, at, "a batch is out of order", f);
    if (plan.n)
        step_plan(c, batch, plan);
    if (decided)
        step_commit(c, at, r->n, commit);
    else
        step_prepare(c, at, r->n, commit, after);
    return ERR_OK;
}

static enum err take_fate(struct checkpoint *c, struct rd *r, uint64_t at, struct fault *f)
{
    int64_t batch = rd_i64le(r);
    bool committed = rd_u8(r);
    if (r->bad || !c->last.prepared || batch != c->last.batch)
        return checkpoint_damaged(c, at, "the fate of a batch is out of order", f);
    step_fate(c, committed);
    return ERR_OK;
}

static enum err take(struct checkpoint *c, const struct frame *fr, struct str payload, uint64_t at,
                     struct str signature, struct fault *f)
{
    struct rd r = rd_of(payload);
    if ((fr->type == FRAME_HEAD_OF_LOG) != (at == FILE_HEAD))
        return checkpoint_damaged(c, at, "a frame is out of order", f);
    c->stopped = fr->type == FRAME_STOP;
    switch (fr->type) {
    case FRAME_HEAD_OF_LOG:
        return take_head(c, &r, signature, f);
    case FRAME_PLAN:
        return take_plan(c, &r, at, f);
    case FRAME_COMMIT:
        return take_commit(c, &r, at, f);
    case FRAME_BATCH:
        return take_batch(c, &r, at, f);
    case FRAME_FATE:
        return take_fate(c, &r, at, f);
    case FRAME_STOP:
        return ERR_OK;
    default:
        return checkpoint_damaged(c, at, "a frame of unknown type", f);
    }
}

/* -- the file ------------------------------------------------------------------------------------------------------- */

/* What does not parse at `at`: the end or torn by a crash (cut once all else is checked), or damaged (refused). */
static enum err torn_or_damaged(struct checkpoint *c, uint64_t at, struct fault *f)
{
    bool found;
    enum err e = frame_after(c->log, at + 1, c->size, c->sequence, &found, f);
    if (e)
        return e;
    return found || at == FILE_HEAD ? checkpoint_damaged(c, at, "a frame does not match its checksum", f) : ERR_OK;
}

/* The frame at `at`: *payload NULL when there is none whole. */
static enum err frame_at(struct checkpoint *c, uint64_t at, struct frame *fr, char **payload, struct fault *f)
{
    char head[FRAME_HEAD];
    size_t got;
    bool whole;
    *payload = NULL;
    enum err e = os_pread(c->log, head, sizeof head, at, &got, f);
    if (e || got < sizeof head || !frame_head_read(head, fr))
        return e;
    return frame_payload(c->log, at, fr, payload, &whole, f);
}

enum err checkpoint_read(struct checkpoint *c, struct str signature, struct fault *f)
{
    enum err e = os_size(c->log, &c->size, f);
    uint64_t at = FILE_HEAD;
    while (!e && at < c->size) {
        char *payload;
        struct frame fr;
        if ((e = frame_at(c, at, &fr, &payload, f)))
            break;
        if (!payload || (at != FILE_HEAD && fr.sequence != c->sequence)) {
            free(payload);
            e = torn_or_damaged(c, at, f);
            break;
        }
        e = take(c, &fr, str_make(payload, fr.bytes), at, signature, f);
        free(payload);
        c->sequence = fr.sequence + 1;
        at += FRAME_HEAD + fr.bytes;
    }
    if (!e && at == FILE_HEAD)
        e = checkpoint_damaged(c, at, "it has no first frame", f);
    c->at = at;
    return e;
}

static enum err tail_is_zeros(struct checkpoint *c, bool *zeros, struct fault *f)
{
    char *block = malloc(TAIL_BYTES);
    if (!block)
        return FAULT(f, ERR_NOMEM, {"what", "reading a checkpoint"});
    enum err e = ERR_OK;
    size_t got = 1;
    *zeros = true;
    for (uint64_t at = c->at; !e && *zeros && got && at < c->size; at += got) {
        e = os_pread(c->log, block, TAIL_BYTES, at, &got, f);
        *zeros = !got || (!block[0] && !memcmp(block, block + 1, got - 1));
    }
    free(block);
    return e;
}

enum err checkpoint_cut(struct checkpoint *c, struct fault *f)
{
    bool zeros = false;
    enum err e = tail_is_zeros(c, &zeros, f);
    if (e || zeros)
        return e;
    os_log(OS_WARN, "checkpoint", "%s: what follows byte %" PRIu64 " was torn by a crash and is cut", c->path, c->at);
    c->size = c->at;
    return os_truncate(c->log, c->at, f);
}

/* -- state ---------------------------------------------------------------------------------------------------------- */

static enum err replay_frame(struct checkpoint *c, uint64_t at, checkpoint_change_fn *fn, void *arg, struct fault *f)
{
    char *payload;
    struct frame fr;
    enum err e = frame_at(c, at, &fr, &payload, f);
    if (!e && !payload)
        return checkpoint_damaged(c, at, "a frame does not match its checksum", f);
    if (e)
        return e;
    struct rd r = rd_of(str_make(payload, fr.bytes));
    rd_bytes(&r, fr.type == FRAME_BATCH ? 17 : 8);
    facts_read(NULL, &r);
    (void)text_of(&r), (void)text_of(&r);
    e = r.bad ? checkpoint_damaged(c, at, "a commit does not parse", f)
              : changes_each(str_make(r.p, r.n), c->path, fn, arg, f);
    free(payload);
    return e;
}

enum err checkpoint_replay(struct checkpoint *c, checkpoint_change_fn *fn, void *arg, struct fault *f)
{
    if (c->last.prepared)
        return fault_internal(f, "batch %" PRId64 " of %s is not decided", c->last.batch, c->dir);
    enum err e = c->snapshot >= 0 ? snapshot_read(c, fn, arg, f) : ERR_OK;
    for (size_t i = 0; !e && i < c->commits.n; i++)
        e = replay_frame(c, c->commits.p[i], fn, arg, f);
    return e;
}
