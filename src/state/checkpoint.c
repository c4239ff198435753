/* The commit log, step by step: open, plan, commit, rewrite, close. */
#include "state/checkpoint_int.h"
#include "codec/codec.h"

#include <inttypes.h>
#include <stdio.h>

static const char LOG_MAGIC[] = "PNSTKCKP";

static enum err damaged(const struct checkpoint *c, uint64_t at, const char *why, struct fault *f)
{
    char text[200];
    snprintf(text, sizeof text, "%s at byte %" PRIu64, why, at);
    return FAULT(f, ERR_CORRUPT, {"what", c->path}, {"detail", text});
}

static void set_text(struct buf *b, struct str s)
{
    buf_clear(b);
    buf_str(b, s);
}

/* -- facts: number u32, n u32, bytes; preceded by their count ------------------------------------------------------- */

void checkpoint_fact_set(struct checkpoint *c, uint32_t number, struct str text)
{
    for (size_t i = 0; i < c->facts.n; i++) {
        struct fact *fact = &c->facts.p[i];
        if (fact->number != number)
            continue;
        if (!str_eq(buf_view(&fact->text), text)) {
            set_text(&fact->text, text);
            fact->fresh = true;
        }
        return;
    }
    struct fact fact = {.number = number, .fresh = true};
    buf_str(&fact.text, text);
    vec_push(&c->facts, fact);
}

struct str checkpoint_fact(const struct checkpoint *c, uint32_t number)
{
    for (size_t i = 0; i < c->facts.n; i++)
        if (c->facts.p[i].number == number)
            return buf_view(&c->facts.p[i].text);
    return (struct str){"", 0};
}

static void facts_write(const struct checkpoint *c, bool all, struct buf *out)
{
    uint32_t n = 0;
    for (size_t i = 0; i < c->facts.n; i++)
        n += all || c->facts.p[i].fresh;
    buf_u32le(out, n);
    for (size_t i = 0; i < c->facts.n; i++) {
        const struct fact *fact = &c->facts.p[i];
        if (!all && !fact->fresh)
            continue;
        buf_u32le(out, fact->number);
        buf_u32le(out, (uint32_t)fact->text.n);
        buf_str(out, buf_view(&fact->text));
    }
}

static void facts_read(struct checkpoint *c, struct rd *r)
{
    uint32_t n = rd_u32le(r);
    for (uint32_t i = 0; i < n && !r->bad; i++) {
        uint32_t number = rd_u32le(r), bytes = rd_u32le(r);
        struct str text = rd_bytes(r, bytes);
        if (number >= CHECKPOINT_FACTS)
            r->bad = true;
        if (!r->bad)
            checkpoint_fact_set(c, number, text);
    }
}

static void facts_skip(struct rd *r)
{
    for (uint32_t n = rd_u32le(r); n && !r->bad; n--) {
        rd_u32le(r);
        rd_bytes(r, rd_u32le(r));
    }
}

static void facts_are_durable(struct checkpoint *c)
{
    for (size_t i = 0; i < c->facts.n; i++)
        c->facts.p[i].fresh = false;
}

/* -- steps ---------------------------------------------------------------------------------------------------------- */

static void step_plan(struct checkpoint *c, int64_t batch, struct str plan)
{
    struct step spare = c->before;
    c->before = c->last;
    c->last = spare;
    c->last.batch = batch;
    c->last.committed = false;
    set_text(&c->last.plan, plan);
    buf_clear(&c->last.commit);
}

static void step_commit(struct checkpoint *c, struct str commit)
{
    set_text(&c->last.commit, commit);
    c->last.committed = true;
}

static bool plan_fits(const struct checkpoint *c, int64_t batch)
{
    return c->last.batch < 0 ? batch >= 0 : c->last.committed && batch == c->last.batch + 1;
}

static void info_fill(const struct checkpoint *c, struct checkpoint_info *info)
{
    const struct step *done = c->last.committed ? &c->last : &c->before;
    *info = (struct checkpoint_info){.last_planned = c->last.batch, .last_committed = done->batch};
    memcpy(info->query_id, c->id, sizeof info->query_id);
    info->plan = buf_view(&c->last.plan);
    info->commit = buf_view(&done->commit);
    if (c->before.batch >= 0)
        info->previous_plan = buf_view(&c->before.plan);
}

/* -- reading -------------------------------------------------------------------------------------------------------- */

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
        return damaged(c, FILE_HEAD, "the first frame does not parse", f);
    memcpy(c->id, id.p, 36);
    set_text(&c->signature, signature);
    return signature_check(c, str_make(r->p, r->n), signature, f);
}

static enum err take_plan(struct checkpoint *c, struct rd *r, uint64_t at, struct fault *f)
{
    int64_t batch = rd_i64le(r);
    facts_read(c, r);
    if (r->bad || !plan_fits(c, batch))
        return damaged(c, at, "a plan is out of order", f);
    step_plan(c, batch, str_make(r->p, r->n));
    return ERR_OK;
}

static struct str text_of(struct rd *r)
{
    uint32_t n = rd_u32le(r);
    return rd_bytes(r, n);
}

static enum err take_commit(struct checkpoint *c, struct rd *r, uint64_t at, struct fault *f)
{
    int64_t batch = rd_i64le(r);
    facts_read(c, r);
    struct str commit = text_of(r), next = text_of(r);
    if (r->bad || c->last.committed || batch != c->last.batch)
        return damaged(c, at, "a commit is out of order", f);
    step_commit(c, commit);
    if (batch > c->snapshot && r->n) {
        vec_push(&c->commits, at);
        c->changes_bytes += r->n;
    }
    if (next.n)
        step_plan(c, batch + 1, next);
    return ERR_OK;
}

static enum err take(struct checkpoint *c, const struct frame *fr, struct str payload, uint64_t at,
                     struct str signature, struct fault *f)
{
    struct rd r = rd_of(payload);
    if ((fr->type == FRAME_HEAD_OF_LOG) != (at == FILE_HEAD))
        return damaged(c, at, "a frame is out of order", f);
    c->stopped = fr->type == FRAME_STOP;
    switch (fr->type) {
    case FRAME_HEAD_OF_LOG:
        return take_head(c, &r, signature, f);
    case FRAME_PLAN:
        return take_plan(c, &r, at, f);
    case FRAME_COMMIT:
        return take_commit(c, &r, at, f);
    case FRAME_STOP:
        return ERR_OK;
    default:
        return damaged(c, at, "a frame of unknown type", f);
    }
}

/* What does not parse at `at`: torn by a crash (cut once all else is checked) or damaged (refused). */
static enum err torn_or_damaged(struct checkpoint *c, uint64_t at, uint64_t size, struct fault *f)
{
    bool found;
    enum err e = frame_after(c->log, at + 1, size, c->sequence, &found, f);
    if (e)
        return e;
    return found || at == FILE_HEAD ? damaged(c, at, "a frame does not match its checksum", f) : ERR_OK;
}

static enum err cut_torn_end(struct checkpoint *c, struct fault *f)
{
    uint64_t size;
    enum err e = os_size(c->log, &size, f);
    if (e || size == c->at)
        return e;
    os_log(OS_WARN, "checkpoint", "%s: the last %" PRIu64 " bytes were torn by a crash and are cut", c->path,
           size - c->at);
    return os_truncate(c->log, c->at, f);
}

static enum err read_log(struct checkpoint *c, struct str signature, struct fault *f)
{
    uint64_t size;
    enum err e = file_head_check(c->log, c->path, LOG_MAGIC, f);
    if (!e)
        e = os_size(c->log, &size, f);
    uint64_t at = FILE_HEAD;
    while (!e && at < size) {
        char head[FRAME_HEAD], *payload = NULL;
        size_t got;
        struct frame fr;
        bool whole = false;
        if ((e = os_pread(c->log, head, sizeof head, at, &got, f)))
            break;
        if (got == sizeof head && frame_head_read(head, &fr) && (at == FILE_HEAD || fr.sequence == c->sequence))
            e = frame_payload(c->log, at, &fr, &payload, &whole, f);
        if (!e && !whole) {
            e = torn_or_damaged(c, at, size, f);
            break;
        }
        if (!e)
            e = take(c, &fr, str_make(payload, fr.bytes), at, signature, f);
        free(payload);
        c->sequence = fr.sequence + 1;
        at += FRAME_HEAD + fr.bytes;
    }
    if (!e && at == FILE_HEAD)
        e = damaged(c, at, "it has no first frame", f);
    c->at = at;
    return e;
}

enum err checkpoint_replay(struct checkpoint *c, checkpoint_change_fn *fn, void *arg, struct fault *f)
{
    enum err e = c->snapshot >= 0 ? snapshot_read(c, fn, arg, f) : ERR_OK;
    for (size_t i = 0; !e && i < c->commits.n; i++) {
        char head[FRAME_HEAD], *payload = NULL;
        size_t got;
        struct frame fr;
        bool whole = false;
        e = os_pread(c->log, head, sizeof head, c->commits.p[i], &got, f);
        if (!e && got == sizeof head && frame_head_read(head, &fr))
            e = frame_payload(c->log, c->commits.p[i], &fr, &payload, &whole, f);
        if (!e && !whole)
            e = damaged(c, c->commits.p[i], "a frame does not match its checksum", f);
        if (!e) {
            struct rd r = rd_of(str_make(payload, fr.bytes));
            rd_i64le(&r);
            facts_skip(&r);
            (void)text_of(&r), (void)text_of(&r);
            e = r.bad ? damaged(c, c->commits.p[i], "a commit does not parse", f)
                      : changes_each(str_make(r.p, r.n), c->path, fn, arg, f);
        }
        free(payload);
    }
    return e;
}

/* -- writing -------------------------------------------------------------------------------------------------------- */

static enum err append(struct checkpoint *c, uint32_t type, const struct str *parts, size_t nparts, const char *site,
                       struct fault *f)
{
    enum err e = frame_write(c->log, &c->at, type, c->sequence, parts, nparts, f);
    if (e)
        return e;
    if (site && (e = os_sync(c->log, site, f)))
        os_die("%s: %s", c->path, f ? fault_message(f) : "sync failed");
    c->sequence++;
    c->stopped = false;
    return ERR_OK;
}

enum err checkpoint_plan(struct checkpoint *c, int64_t batch, struct str plan, struct fault *f)
{
    if (!plan_fits(c, batch) || (c->last.batch < 0 && batch != 0))
        return fault_internal(f, "plan %" PRId64 " after batch %" PRId64 " of %s", batch, c->last.batch, c->dir);
    if (plan.n > LIMIT_PLAN_TEXT_BYTES)
        return LIMIT_FAULT(f, PLAN_TEXT_BYTES);
    struct buf front = {0};
    buf_u64le(&front, (uint64_t)batch);
    facts_write(c, false, &front);
    enum err e = append(c, FRAME_PLAN, (struct str[]){buf_view(&front), plan}, 2, "checkpoint.plan", f);
    buf_free(&front);
    if (e)
        return e;
    facts_are_durable(c);
    step_plan(c, batch, plan);
    return ERR_OK;
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

static void commit_front(struct checkpoint *c, int64_t batch, struct str commit, struct str next, struct buf *out)
{
    buf_u64le(out, (uint64_t)batch);
    facts_write(c, false, out);
    buf_u32le(out, (uint32_t)commit.n);
    buf_str(out, commit);
    buf_u32le(out, (uint32_t)next.n);
    buf_str(out, next);
}

enum err checkpoint_commit(struct checkpoint *c, int64_t batch, struct str commit, struct str next_plan,
                           const struct str *changes, size_t nchanges, struct fault *f)
{
    if (c->last.committed || batch != c->last.batch || batch < 0)
        return fault_internal(f, "commit %" PRId64 " after batch %" PRId64 " of %s", batch, c->last.batch, c->dir);
    if (commit.n > LIMIT_PLAN_TEXT_BYTES || next_plan.n > LIMIT_PLAN_TEXT_BYTES)
        return LIMIT_FAULT(f, PLAN_TEXT_BYTES);
    struct buf front = {0};
    commit_front(c, batch, commit, next_plan, &front);
    struct str *parts = calloc(nchanges + 1, sizeof *parts);
    if (!parts || front.bad) {
        free(parts);
        buf_free(&front);
        return FAULT(f, ERR_NOMEM, {"what", "a checkpoint commit"});
    }
    parts[0] = buf_view(&front);
    uint64_t bytes = 0, at = c->at;
    for (size_t i = 0; i < nchanges; i++) {
        parts[i + 1] = changes[i];
        bytes += changes[i].n;
    }
    enum err e = append(c, FRAME_COMMIT, parts, nchanges + 1, "checkpoint.commit", f);
    free(parts);
    buf_free(&front);
    if (e)
        return e;
    facts_are_durable(c);
    if (bytes) {
        vec_push(&c->commits, at);
        c->changes_bytes += bytes;
    }
    step_commit(c, commit);
    if (next_plan.n)
        step_plan(c, batch + 1, next_plan);
    exports_now_and_then(c);
    return c->at > SMALL_BYTES && !c->changes_bytes ? checkpoint_rewrite(c, f) : ERR_OK;
}

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
    buf_u32le(scratch, (uint32_t)s->commit.n);
    buf_str(scratch, buf_view(&s->commit));
    buf_u32le(scratch, 0);
    frame_to(out, FRAME_COMMIT, sequence, scratch);
}

enum err checkpoint_rewrite(struct checkpoint *c, struct fault *f)
{
    struct buf out = {0}, scratch = {0};
    char head[FILE_HEAD];
    uint64_t sequence = c->sequence;
    file_head(head, LOG_MAGIC);
    buf_put(&out, head, sizeof head);
    buf_put(&scratch, c->id, 36);
    buf_u64le(&scratch, (uint64_t)c->snapshot);
    buf_str(&scratch, buf_view(&c->signature));
    frame_to(&out, FRAME_HEAD_OF_LOG, &sequence, &scratch);
    step_to(c, &c->before, &out, &sequence, &scratch);
    step_to(c, &c->last, &out, &sequence, &scratch);
    enum err e = out.bad || scratch.bad ? FAULT(f, ERR_NOMEM, {"what", "a checkpoint"})
                                        : os_write_file_atomic(c->path, buf_view(&out), "checkpoint.rewrite.file",
                                                               "checkpoint.rewrite.dir", f);
    if (!e) {
        os_close(c->log);
        c->log = NULL;
        e = os_open(&c->log, c->path, OS_RDWR, f);
        c->at = out.n;
        c->sequence = sequence;
        c->commits.n = 0;
        c->changes_bytes = 0;
    }
    buf_free(&out);
    buf_free(&scratch);
    return e;
}

/* -- open and close ------------------------------------------------------------------------------------------------- */

/* Each directory that is made is made durable: the log in it would be lost with its name. */
static enum err make_dirs(const char *path, struct fault *f)
{
    char part[PATH_BYTES], parent[PATH_BYTES] = "/";
    size_t n = strlen(path), slash = 0;
    for (size_t i = 1; i <= n; i++) {
        if (path[i] && path[i] != '/')
            continue;
        snprintf(part, sizeof part, "%.*s", (int)i, path);
        enum err e = os_mkdir(part, f);
        if (!e) {
            snprintf(parent, sizeof parent, "%.*s", (int)slash, path);
            e = os_sync_dir(slash ? parent : path[0] == '/' ? "/" : ".", "checkpoint.mkdir", f);
        } else if (e == ERR_EXISTS) {
            struct os_stat s;
            e = os_stat(part, &s, f);
            if (!e && !s.is_dir)
                e = FAULT(f, ERR_IO, {"what", part}, {"detail", "it is a file, not a directory"});
        }
        if (e)
            return e;
        slash = i;
    }
    return ERR_OK;
}

static enum err create_or_open(struct checkpoint *c, struct str signature, struct fault *f)
{
    enum err e = os_open(&c->log, c->path, OS_RDWR, f);
    if (e != ERR_NOTFOUND)
        return e ? e : read_log(c, signature, f);
    if ((e = exports_check(c, f))) /* there must be no exports without a log */
        return e;
    os_uuid_text(os_uuid_random(), c->id);
    set_text(&c->signature, signature);
    return checkpoint_rewrite(c, f);
}

enum err checkpoint_open(struct checkpoint **out, const char *dir, struct str signature, struct checkpoint_info *info,
                         struct fault *f)
{
    struct checkpoint *c = calloc(1, sizeof *c);
    char path[PATH_BYTES];
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
        e = make_dirs(path, f);
    snprintf(path, sizeof path, "%s/_penstock/lock", c->dir);
    if (!e && (e = os_lock(&c->lock, path, f)) == ERR_BUSY)
        FAULT(f, ERR_BUSY, {"what", c->dir});
    if (!e)
        e = create_or_open(c, signature, f);
    if (!e && !(e = exports_check(c, f)))
        e = cut_torn_end(c, f);
    if (!e && (e = os_sync(c->log, "checkpoint.open", f)))
        os_die("%s: the checkpoint cannot be synced", c->path); /* what was read may be in the page cache only */
    if (e) {
        c->stopped = true;
        checkpoint_close(c);
        return e;
    }
    facts_are_durable(c);
    info_fill(c, info);
    *out = c;
    return ERR_OK;
}

/* The exports first, then the frame that says they are complete. It need not be durable: without it the next open asks
 * less of them. */
static void stop_cleanly(struct checkpoint *c)
{
    struct fault f = {0};
    enum err e = exports_write(c, true, &f);
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
