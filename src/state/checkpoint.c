/* The commit log, step by step: open, plan, commit, rewrite, close. */
#include "state/checkpoint_int.h"
#include "codec/codec.h"

#include <inttypes.h>
#include <stdio.h>

static const char LOG_MAGIC[] = "PNSTKCKP";

/* -- writing -------------------------------------------------------------------------------------------------------- */

/* Zeros up to the next EXTENT beyond `end`, to be synced with the frame that needs them. */
static enum err write_ahead(struct checkpoint *c, uint64_t end, struct fault *f)
{
    static const char zeros[EXTENT_BYTES];
    uint64_t want = (end / EXTENT_BYTES + 1) * EXTENT_BYTES;
    enum err e = os_pwrite(c->log, zeros, want - end, end, f);
    if (!e)
        c->size = want;
    return e;
}

static enum err append(struct checkpoint *c, uint32_t type, const struct str *parts, size_t nparts, const char *site,
                       struct fault *f)
{
    uint64_t end = c->at + FRAME_HEAD;
    for (size_t i = 0; i < nparts; i++)
        end += parts[i].n;
    enum err e = end > c->size ? write_ahead(c, end, f) : ERR_OK;
    if (!e)
        e = frame_write(c->log, &c->at, type, c->sequence, parts, nparts, f);
    if (e)
        return e;
    if (site && (e = os_sync(c->log, site, f)))
        os_die("%s: %s", c->path, f ? fault_message(f) : "sync failed");
    c->sequence++;
    c->stopped = false;
    c->undecided = false; /* whatever the frame is: it follows what is decided */
    facts_are_durable(c);
    return ERR_OK;
}

enum err checkpoint_plan(struct checkpoint *c, int64_t batch, struct str plan, struct fault *f)
{
    if (!step_plan_fits(c, batch) || (c->last.batch < 0 && batch != 0))
        return fault_internal(f, "plan %" PRId64 " after batch %" PRId64 " of %s", batch, c->last.batch, c->dir);
    if (plan.n > LIMIT_PLAN_TEXT_BYTES)
        return LIMIT_FAULT(f, PLAN_TEXT_BYTES);
    struct buf front = {0};
    buf_u64le(&front, (uint64_t)batch);
    facts_write(c, false, &front);
    enum err e =
        append(c, FRAME_PLAN, (struct str[]){buf_whole(&front, "a plan's frame"), plan}, 2, "checkpoint.plan", f);
    buf_free(&front);
    if (!e)
        step_plan(c, batch, plan);
    return e;
}

/* Exports follow at most once a second while a query runs: they are exact after a clean stop. */
static void exports_now_and_then(struct checkpoint *c)
{
    int64_t now = os_mono_ns();
    if (c->exported_ns && now - c->exported_ns < 1000000000)
        return;
    c->exported_ns = now;
    struct fault f = {0};
    if (exports_write(c, false, &f))
        os_log(OS_WARN, "checkpoint", "%s: Spark's files are behind: %s", c->dir, fault_message(&f));
}

static void text_to(struct buf *out, struct str text)
{
    buf_u32le(out, (uint32_t)text.n);
    buf_str(out, text);
}

/* One frame of `front` and the changes; *bytes: how many they are. */
static enum err append_changes(struct checkpoint *c, uint32_t type, const struct buf *front, const struct str *changes,
                               size_t nchanges, const char *site, uint64_t *bytes, struct fault *f)
{
    struct str *parts = calloc(nchanges + 1, sizeof *parts);
    if (!parts || front->bad) {
        free(parts);
        return FAULT(f, ERR_NOMEM, {"what", "a checkpoint commit"});
    }
    parts[0] = buf_view(front);
    *bytes = 0;
    for (size_t i = 0; i < nchanges; i++) {
        parts[i + 1] = changes[i];
        *bytes += changes[i].n;
    }
    enum err e = append(c, type, parts, nchanges + 1, site, f);
    free(parts);
    return e;
}

/* A log without state would grow for ever: what it is needed for fits into a few frames. */
static enum err keep_small(struct checkpoint *c, struct fault *f)
{
    exports_now_and_then(c);
    return c->at > SMALL_BYTES && !c->changes_bytes ? checkpoint_rewrite(c, f) : ERR_OK;
}

enum err checkpoint_commit(struct checkpoint *c, int64_t batch, struct str commit, struct str next_plan,
                           const struct str *changes, size_t nchanges, struct fault *f)
{
    if (c->last.committed || c->last.prepared || batch != c->last.batch || batch < 0)
        return fault_internal(f, "commit %" PRId64 " after batch %" PRId64 " of %s", batch, c->last.batch, c->dir);
    if (commit.n > LIMIT_PLAN_TEXT_BYTES || next_plan.n > LIMIT_PLAN_TEXT_BYTES)
        return LIMIT_FAULT(f, PLAN_TEXT_BYTES);
    struct buf front = {0};
    uint64_t bytes, at = c->at;
    buf_u64le(&front, (uint64_t)batch);
    facts_write(c, false, &front);
    text_to(&front, commit);
    text_to(&front, next_plan);
    enum err e = append_changes(c, FRAME_COMMIT, &front, changes, nchanges, "checkpoint.commit", &bytes, f);
    buf_free(&front);
    if (e)
        return e;
    step_commit(c, at, bytes, commit);
    if (next_plan.n)
        step_plan(c, batch + 1, next_plan);
    return keep_small(c, f);
}

/* -- batches whose output is a transaction -------------------------------------------------------------------------- */

static bool batch_fits(const struct checkpoint *c, int64_t batch, struct str plan)
{
    if (plan.n)
        return step_plan_fits(c, batch) && (c->last.batch >= 0 || batch == 0);
    return batch == c->last.batch && batch >= 0 && !c->last.committed && !c->last.prepared;
}

enum err checkpoint_prepare(struct checkpoint *c, int64_t batch, struct str plan, struct str commit,
                            const struct checkpoint_output *output, const struct str *changes, size_t nchanges,
                            struct fault *f)
{
    if (!batch_fits(c, batch, plan))
        return fault_internal(f, "batch %" PRId64 " after batch %" PRId64 " of %s", batch, c->last.batch, c->dir);
    if (plan.n > LIMIT_PLAN_TEXT_BYTES || commit.n > LIMIT_PLAN_TEXT_BYTES)
        return LIMIT_FAULT(f, PLAN_TEXT_BYTES);
    struct buf front = {0};
    uint64_t bytes, at = c->at;
    if (output)
        checkpoint_fact_set(c, FACT_WHERE, output->where);
    buf_u64le(&front, (uint64_t)batch);
    buf_u8(&front, !output);
    buf_u64le(&front, (uint64_t)(output ? output->after : -1));
    facts_write(c, false, &front);
    text_to(&front, plan);
    text_to(&front, commit);
    enum err e = append_changes(c, FRAME_BATCH, &front, changes, nchanges,
                                output ? "checkpoint.prepare" : "checkpoint.commit", &bytes, f);
    buf_free(&front);
    if (e)
        return e;
    if (plan.n)
        step_plan(c, batch, plan);
    if (output) {
        step_prepare(c, at, bytes, commit, output->after);
        return ERR_OK;
    }
    step_commit(c, at, bytes, commit);
    return keep_small(c, f);
}

static enum err append_fate(struct checkpoint *c, int64_t batch, bool committed, struct fault *f)
{
    struct buf front = {0};
    buf_u64le(&front, (uint64_t)batch);
    buf_u8(&front, committed);
    enum err e = append(c, FRAME_FATE, (struct str[]){buf_whole(&front, "a batch's fate")}, 1, "checkpoint.decide", f);
    buf_free(&front);
    return e;
}

enum err checkpoint_decide(struct checkpoint *c, int64_t batch, bool committed, struct fault *f)
{
    if (!c->last.prepared || batch != c->last.batch)
        return fault_internal(f, "fate of %" PRId64 " after batch %" PRId64 " of %s", batch, c->last.batch, c->dir);
    if (!committed) {
        enum err e = append_fate(c, batch, false, f);
        if (!e)
            step_fate(c, false);
        return e;
    }
    step_fate(c, true);
    c->undecided = true;
    return keep_small(c, f);
}

bool checkpoint_is_settled(const struct checkpoint *c)
{
    return !c->undecided;
}

enum err checkpoint_settle(struct checkpoint *c, struct fault *f)
{
    return c->undecided ? append_fate(c, c->last.batch, true, f) : ERR_OK;
}

/* -- a new file ----------------------------------------------------------------------------------------------------- */

static void frame_to(struct buf *out, uint32_t type, uint64_t *sequence, const struct buf *payload)
{
    char head[FRAME_HEAD];
    frame_head(head, &(struct frame){.type = type,
                                     .sequence = (*sequence)++,
                                     .bytes = payload->n,
                                     .crc = crc32c(0, payload->p, payload->n)});
    buf_put(out, head, sizeof head);
    buf_str(out, buf_view(payload));
}

static void step_to(struct checkpoint *c, const struct step *s, struct buf *out, uint64_t *sequence,
                    struct buf *scratch)
{
    if (s->batch < 0)
        return;
    buf_clear(scratch);
    buf_u64le(scratch, (uint64_t)s->batch);
    facts_write(c, true, scratch);
    buf_str(scratch, buf_view(&s->plan));
    frame_to(out, FRAME_PLAN, sequence, scratch);
    if (!s->committed)
        return;
    buf_clear(scratch);
    buf_u64le(scratch, (uint64_t)s->batch);
    buf_u32le(scratch, 0);
    text_to(scratch, buf_view(&s->commit));
    text_to(scratch, (struct str){"", 0});
    frame_to(out, FRAME_COMMIT, sequence, scratch);
}

enum err checkpoint_rewrite(struct checkpoint *c, struct fault *f)
{
    struct buf out = {0}, scratch = {0};
    char head[FILE_HEAD];
    uint64_t sequence = c->sequence, at;
    if (c->last.prepared)
        return fault_internal(f, "batch %" PRId64 " of %s is not decided", c->last.batch, c->dir);
    file_head(head, LOG_MAGIC);
    buf_put(&out, head, sizeof head);
    buf_put(&scratch, c->id, 36);
    buf_u64le(&scratch, (uint64_t)c->snapshot);
    buf_str(&scratch, buf_view(&c->signature));
    frame_to(&out, FRAME_HEAD_OF_LOG, &sequence, &scratch);
    step_to(c, &c->before, &out, &sequence, &scratch);
    step_to(c, &c->last, &out, &sequence, &scratch);
    at = out.n;
    buf_fill(&out, 0, EXTENT_BYTES - at % EXTENT_BYTES);
    enum err e = out.bad || scratch.bad ? FAULT(f, ERR_NOMEM, {"what", "a checkpoint"})
                                        : os_write_file_atomic(c->path, buf_view(&out), "checkpoint.rewrite.file",
                                                               "checkpoint.rewrite.dir", f);
    if (!e) {
        os_close(c->log);
        c->log = NULL;
        e = os_open(&c->log, c->path, OS_RDWR, f);
        c->at = at;
        c->size = out.n;
        c->version = CHECKPOINT_VERSION;
        c->sequence = sequence;
        c->undecided = false;
        c->commits.n = 0;
        c->changes_bytes = 0;
    }
    buf_free(&out);
    buf_free(&scratch);
    return e;
}

/* -- open and close ------------------------------------------------------------------------------------------------- */

static enum err nothing(void *arg, const char *name)
{
    (void)arg;
    (void)name;
    return ERR_OK;
}

/* A parent that we may not even list is none that we made an entry in. */
static enum err sync_parent(const char *parent, bool made, struct fault *f)
{
    if (!made && os_list(parent, nothing, NULL, NULL))
        return ERR_OK;
    return os_sync_dir(parent, "checkpoint.mkdir", f);
}

/*
 * Each directory that is made is made durable: the log in it would be lost with its name. One that is there already may have
 * been made by another query that is about to sync it, or by a process that was killed before it could: so for a new
 * checkpoint (`fresh`) all of them are synced.
 */
static enum err make_dirs(const char *path, bool fresh, struct fault *f)
{
    char part[PATH_BYTES], parent[PATH_BYTES] = "/";
    size_t n = strlen(path), slash = 0;
    for (size_t i = 1; i <= n; i++) {
        if (path[i] && path[i] != '/')
            continue;
        snprintf(part, sizeof part, "%.*s", (int)i, path);
        enum err e = os_mkdir(part, f);
        bool made = !e;
        if (e == ERR_EXISTS) {
            struct os_stat s;
            e = os_stat(part, &s, f);
            if (!e && !s.is_dir)
                e = FAULT(f, ERR_IO, {"what", part}, {"detail", "it is a file, not a directory"});
        }
        snprintf(parent, sizeof parent, "%.*s", (int)slash, path);
        if (!e && (made || fresh))
            e = sync_parent(slash ? parent : path[0] == '/' ? "/" : ".", made, f);
        if (e)
            return e;
        slash = i;
    }
    return ERR_OK;
}

static enum err create_or_open(struct checkpoint *c, struct str signature, struct fault *f)
{
    enum err e = os_open(&c->log, c->path, OS_RDWR, f);
    if (!e)
        e = file_head_check(c->log, c->path, LOG_MAGIC, &c->version, f);
    if (e != ERR_NOTFOUND)
        return e ? e : checkpoint_read(c, signature, f);
    if ((e = exports_check(c, f))) /* there must be no exports without a log */
        return e;
    os_uuid_text(os_uuid_random(), c->id);
    set_text(&c->signature, signature);
    return checkpoint_rewrite(c, f);
}

/* The head lies in one sector: the file has the old version or the new one. */
static enum err raise_version(struct checkpoint *c, struct fault *f)
{
    char head[FILE_HEAD];
    if (c->version == CHECKPOINT_VERSION)
        return ERR_OK;
    file_head(head, LOG_MAGIC);
    return os_pwrite(c->log, head, sizeof head, 0, f);
}

enum err checkpoint_open(struct checkpoint **out, const char *dir, struct str signature, struct checkpoint_info *info,
                         struct fault *f)
{
    struct checkpoint *c = calloc(1, sizeof *c);
    char path[PATH_BYTES];
    struct os_stat there;
    if (!c)
        return FAULT(f, ERR_NOMEM, {"what", "a checkpoint"});
    c->last.batch = c->before.batch = c->snapshot = -1;
    enum err e = ERR_OK;
    if (!dir[0] || snprintf(c->dir, sizeof c->dir, "%s", dir) >= (int)sizeof c->dir)
        e = FAULT(f, ERR_LIMIT, {"what", "The length of a checkpoint's path"}, {"limit", "4000"});
    for (size_t n = strlen(c->dir); n > 1 && c->dir[n - 1] == '/'; n--)
        c->dir[n - 1] = 0;
    snprintf(c->path, sizeof c->path, "%s/_penstock/log", c->dir);
    snprintf(path, sizeof path, "%s/_penstock", c->dir);
    if (!e)
        e = make_dirs(path, os_stat(c->path, &there, NULL) == ERR_NOTFOUND, f);
    snprintf(path, sizeof path, "%s/_penstock/lock", c->dir);
    if (!e && (e = os_lock(&c->lock, path, f)) == ERR_BUSY)
        FAULT(f, ERR_BUSY, {"what", c->dir});
    if (!e)
        e = create_or_open(c, signature, f);
    if (!e && !(e = exports_check(c, f)))
        e = checkpoint_cut(c, f);
    if (!e)
        e = raise_version(c, f);
    snprintf(path, sizeof path, "%s/_penstock", c->dir);
    /* what was read may be in the page cache only, and so may the log's name be: who wrote it anew was killed before its sync */
    if (!e && ((e = os_sync(c->log, "checkpoint.open", f)) || (e = os_sync_dir(path, "checkpoint.rewrite.dir", f))))
        os_die("%s: the checkpoint cannot be synced", c->path);
    if (e) {
        c->stopped = true;
        checkpoint_close(c);
        return e;
    }
    facts_are_durable(c);
    checkpoint_look(c, info);
    *out = c;
    return ERR_OK;
}

/* The exports first, then the frame that says they are complete. It need not be durable: without it the next open asks
 * less of them. */
static void stop_cleanly(struct checkpoint *c)
{
    struct fault f = {0};
    enum err e = checkpoint_settle(c, &f);
    if (!e)
        e = exports_write(c, true, &f);
    if (!e)
        e = append(c, FRAME_STOP, NULL, 0, NULL, &f);
    if (e)
        os_log(OS_WARN, "checkpoint", "%s: not stopped cleanly: %s", c->dir, fault_message(&f));
}

void checkpoint_close(struct checkpoint *c)
{
    if (!c)
        return;
    if (c->log && !c->stopped)
        stop_cleanly(c);
    os_close(c->log);
    os_close(c->lock);
    for (size_t i = 0; i < c->facts.n; i++)
        buf_free(&c->facts.p[i].text);
    vec_free(&c->facts);
    vec_free(&c->commits);
    struct buf *bufs[] = {&c->signature, &c->last.plan, &c->last.commit, &c->before.plan, &c->before.commit};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        buf_free(bufs[i]);
    free(c);
}

uint64_t checkpoint_changes_bytes(const struct checkpoint *c)
{
    return c->changes_bytes;
}

const char *checkpoint_dir(const struct checkpoint *c)
{
    return c->dir;
}
