/* Spark's files beside the log: metadata, offsets/N, commits/N, sources/N/0, in the formats of Spark 4's HDFSMetadataLog,
 * OffsetSeqLog and CommitLog. They are exports: what counts is the log, and files that it did not write are refused. */
#include "state/checkpoint_int.h"

#include <inttypes.h>
#include <stdio.h>

static enum err foreign(const struct checkpoint *c, const char *detail, struct fault *f)
{
    return FAULT(f, ERR_CHECKPOINT_FOREIGN, {"path", c->dir}, {"detail", detail});
}

/* -- checking ------------------------------------------------------------------------------------------------------- */

struct largest {
    int64_t batch;
};

static enum err look_at(void *arg, const char *name)
{
    struct largest *l = arg;
    int64_t batch;
    if (str_to_i64(str_of(name), &batch) && batch > l->batch)
        l->batch = batch;
    return ERR_OK;
}

/* The largest batch number among the files of DIR/kind; -1 when there is none. */
static enum err largest_of(const struct checkpoint *c, const char *kind, int64_t *batch, struct fault *f)
{
    char path[PATH_BYTES];
    struct largest l = {-1};
    snprintf(path, sizeof path, "%s/%s", c->dir, kind);
    enum err e = os_list(path, look_at, &l, f);
    *batch = l.batch;
    return e == ERR_NOTFOUND ? ERR_OK : e;
}

static enum err not_newer(const struct checkpoint *c, const char *kind, int64_t last, struct fault *f)
{
    int64_t batch;
    enum err e = largest_of(c, kind, &batch, f);
    if (e || batch <= last)
        return e;
    char detail[160];
    if (!c->log)
        snprintf(detail, sizeof detail, "it holds %s/%" PRId64 " but no log of penstock's", kind, batch);
    else
        snprintf(detail, sizeof detail, "%s/%" PRId64 " is newer than the last that penstock wrote (%" PRId64 ")", kind,
                 batch, last);
    return foreign(c, detail, f);
}

static enum err same_file(const struct checkpoint *c, const char *name, struct str want, struct fault *f)
{
    char path[PATH_BYTES], detail[160], *p = NULL;
    size_t n = 0;
    snprintf(path, sizeof path, "%s/%s", c->dir, name);
    enum err e = os_read_file(path, LIMIT_PLAN_TEXT_BYTES, &p, &n, f);
    bool same = !e && str_eq(str_make(p, n), want);
    free(p);
    if (e && e != ERR_NOTFOUND)
        return e;
    snprintf(detail, sizeof detail, "%s was %s since penstock stopped", name, e ? "removed" : "changed");
    return same ? ERR_OK : foreign(c, detail, f);
}

static enum err same_step(const struct checkpoint *c, const struct step *s, struct fault *f)
{
    char name[64];
    if (s->batch < 0)
        return ERR_OK;
    snprintf(name, sizeof name, "offsets/%" PRId64, s->batch);
    enum err e = same_file(c, name, buf_view(&s->plan), f);
    if (e || !s->committed)
        return e;
    snprintf(name, sizeof name, "commits/%" PRId64, s->batch);
    return same_file(c, name, buf_view(&s->commit), f);
}

enum err exports_check(const struct checkpoint *c, struct fault *f)
{
    enum err e = not_newer(c, "offsets", c->last.batch, f);
    if (!e)
        e = not_newer(c, "commits", c->last.committed || c->last.prepared ? c->last.batch : c->before.batch, f);
    if (e || !c->log || !c->stopped)
        return e;
    e = same_step(c, &c->before, f);
    if (!e)
        e = same_step(c, &c->last, f);
    for (size_t i = 0; !e && i < c->facts.n; i++) {
        char name[64];
        snprintf(name, sizeof name, "sources/%u/0", c->facts.p[i].number);
        if (c->facts.p[i].number < CHECKPOINT_FACT_PRIVATE)
            e = same_file(c, name, buf_view(&c->facts.p[i].text), f);
    }
    return e;
}

/* -- writing -------------------------------------------------------------------------------------------------------- */

static enum err write_plain(const char *path, struct str text, struct fault *f)
{
    char tmp[PATH_BYTES + 8];
    struct os_file *file;
    snprintf(tmp, sizeof tmp, "%s.tmp", path);
    enum err e = os_open(&file, tmp, OS_RDWR | OS_CREATE | OS_TRUNC, f);
    if (e)
        return e;
    e = os_pwrite(file, text.p, text.n, 0, f);
    os_close(file);
    return e ? e : os_rename(tmp, path, f);
}

static enum err export(const struct checkpoint *c, const char *name, struct str text, bool durable, struct fault *f) {
    char path[PATH_BYTES]; snprintf(path, sizeof path, "%s/%s", c->dir, name);
    return durable ? os_write_file_atomic(path, text, "checkpoint.export.file", "checkpoint.export.dir", f)
                   : write_plain(path, text, f);
}

static enum err export_step(const struct checkpoint *c, const struct step *s, bool durable, struct fault *f)
{
    char name[64];
    if (s->batch < 0)
        return ERR_OK;
    snprintf(name, sizeof name, "offsets/%" PRId64, s->batch);
    enum err e = export(c, name, buf_view(&s->plan), durable, f);
    if (e || !s->committed)
        return e;
    snprintf(name, sizeof name, "commits/%" PRId64, s->batch);
    return export(c, name, buf_view(&s->commit), durable, f);
}

struct removal {
    const struct checkpoint *c;
    const char *kind;
    int64_t below;
};

static enum err remove_old(void *arg, const char *name)
{
    struct removal *r = arg;
    int64_t batch;
    char path[PATH_BYTES];
    if (!str_to_i64(str_of(name), &batch) || batch >= r->below)
        return ERR_OK;
    snprintf(path, sizeof path, "%s/%s/%s", r->c->dir, r->kind, name);
    if (os_unlink(path, NULL))
        os_log(OS_DEBUG, "checkpoint", "%s stays: an old export does no harm", path);
    return ERR_OK;
}

static enum err make_dir(const struct checkpoint *c, const char *name, struct fault *f)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", c->dir, name);
    enum err e = os_mkdir(path, f);
    return e == ERR_EXISTS ? ERR_OK : e;
}

/* All directories, before the first file: the sync that makes DIR/metadata durable covers those in DIR. */
static enum err make_dirs(const struct checkpoint *c, bool durable, struct fault *f)
{
    static const char *const kinds[] = {"offsets", "commits", "sources"};
    char path[PATH_BYTES];
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < sizeof kinds / sizeof *kinds; i++)
        e = make_dir(c, kinds[i], f);
    for (size_t i = 0; !e && i < c->facts.n; i++) {
        char name[64];
        snprintf(name, sizeof name, "sources/%u", c->facts.p[i].number);
        if (c->facts.p[i].number < CHECKPOINT_FACT_PRIVATE)
            e = make_dir(c, name, f);
    }
    snprintf(path, sizeof path, "%s/sources", c->dir);
    return e || !durable ? e : os_sync_dir(path, "checkpoint.export.mkdir", f);
}

static enum err export_sources(const struct checkpoint *c, bool durable, struct fault *f)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < c->facts.n; i++) {
        const struct fact *fact = &c->facts.p[i];
        char name[64];
        snprintf(name, sizeof name, "sources/%u/0", fact->number);
        if (fact->number < CHECKPOINT_FACT_PRIVATE)
            e = export(c, name, buf_view(&fact->text), durable, f);
    }
    return e;
}

enum err exports_write(struct checkpoint *c, bool durable, struct fault *f)
{
    static const char *const kinds[] = {"offsets", "commits"};
    char metadata[64], path[PATH_BYTES];
    enum err e = make_dirs(c, durable, f);
    int n = snprintf(metadata, sizeof metadata, "{\"id\":\"%s\"}", c->id);
    if (!e)
        e = export(c, "metadata", str_make(metadata, (size_t)n), durable, f);
    if (!e)
        e = export_sources(c, durable, f);
    if (!e)
        e = export_step(c, &c->before, durable, f);
    if (!e)
        e = export_step(c, &c->last, durable, f);
    for (size_t i = 0; !e && i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", c->dir, kinds[i]);
        e = os_list(path, remove_old, &(struct removal){c, kinds[i], c->before.batch}, f);
    }
    return e;
}
