/*
 * Recovery: from what a power cut left to partitions that can be served.
 *
 *   metadata.log ─▶ topics ─▶ per partition: segments cut at the recovery point, indexes and producers (recover_partition.c)
 *   journal/NN   ─▶ frames of live generations, in order ─▶ appended again ─▶ a new generation ─▶ checkpoint
 *
 * Frames end at the first one that is torn; a whole frame behind a bad one is damage: then segments keep what of their
 * tails has good CRCs, and a partition in which offsets are missing goes offline instead of losing them silently.
 *
 * After a crash the recovery points stay where they are until the checkpoint that the background thread makes: the old
 * generation's files stay live, and are synced first, for a killed process may have left a frame in memory only.
 */
#include "codec/codec.h"
#include "log/log_int.h"

#include <inttypes.h>
#include <stdio.h>

enum { JOURNAL_LIMIT = 1 << 30 };

/* -- the journal --------------------------------------------------------------------------------------------------------- */

struct old_file {
    struct journal_file f;
    bool header; /* its header is whole */
};
struct replay {
    struct log *l;
    VEC(struct old_file) files;
    uint64_t next_seq; /* 0: not known yet */
    uint64_t frames;
    bool damaged;
    bool apply;
};

static enum err note_file(void *arg, const char *name)
{
    struct replay *r = arg;
    int64_t number;
    struct old_file file = {0};
    if (!str_to_i64(str_of(name), &number) || number < 0 || number > 1000000)
        return ERR_OK;
    file.f.number = (int)number;
    vec_push(&r->files, file);
    return ERR_OK;
}

static enum err read_header(struct log *l, struct old_file *o, struct fault *f)
{
    char path[LOG_PATH], block[JOURNAL_BLOCK];
    size_t got;
    log_path(l, path, "journal/%02d", o->f.number);
    enum err e = os_open(&o->f.file, path, OS_RDWR, f);
    if (!e)
        e = os_size(o->f.file, &o->f.size, f);
    if (!e)
        e = os_pread(o->f.file, block, sizeof block, 0, &got, f);
    if (e || got < sizeof block || get_u32le(block) != JOURNAL_FILE_MAGIC ||
        get_u32le(block + 4) != crc32c(0, block + 8, sizeof block - 8))
        return e;
    if (get_u32le(block + 8) > LOG_FORMAT)
        return log_newer_format(path, get_u32le(block + 8), f);
    o->header = true;
    o->f.gen = get_u64le(block + 16);
    return ERR_OK;
}

/* The frame at `at`, when it is whole and of this generation: its length, else 0. */
static uint64_t frame_at(const char *p, uint64_t n, uint64_t at, uint64_t gen)
{
    if (n - at < JOURNAL_FRAME || get_u32le(p + at) != JOURNAL_MAGIC || get_u64le(p + at + 8) != gen)
        return 0;
    uint64_t length = get_u64le(p + at + 24);
    if (length < JOURNAL_FRAME || length > n - at || get_u32le(p + at + 4) != crc32c(0, p + at + 8, length - 8))
        return 0;
    return length;
}

/* Append one entry's batches again, unless the segment has them. */
static enum err replay_entry(struct log *l, const char *e, uint32_t n, struct fault *f)
{
    struct os_uuid id;
    memcpy(id.b, e, 16);
    struct topic *t = topic_by_id(l, id);
    uint32_t number = get_u32le(e + 16);
    int64_t base = (int64_t)get_u64le(e + 24);
    if (!t || number >= (uint32_t)t->n)
        return ERR_OK; /* deleted since */
    struct log_partition *p = t->partitions[number];
    if (p->failed || base < p->log_end)
        return ERR_OK;
    if (base > p->log_end) {
        partition_offline(p, "batches are missing between its segments and the journal");
        return ERR_OK;
    }
    return partition_write(p, e + JOURNAL_ENTRY, n, os_now_ms(), f);
}

static enum err replay_frame(struct replay *r, const char *p, uint64_t length, struct fault *f)
{
    uint32_t entries = get_u32le(p + 32);
    enum err e = ERR_OK;
    for (uint64_t at = JOURNAL_FRAME; !e && entries--;) {
        uint32_t n = length - at >= JOURNAL_ENTRY ? get_u32le(p + at + 20) : UINT32_MAX;
        if (n > length - at - JOURNAL_ENTRY)
            return FAULT(f, ERR_CORRUPT, {"what", "journal"}, {"detail", "an entry that does not fit its frame"});
        e = replay_entry(r->l, p + at, n, f);
        at += JOURNAL_ENTRY + n;
    }
    r->frames++;
    return e;
}

/* A whole frame of this generation anywhere behind a bad one? */
static bool frame_behind(const char *p, uint64_t n, uint64_t at, uint64_t gen)
{
    for (at += JOURNAL_BLOCK; at < n; at += JOURNAL_BLOCK)
        if (frame_at(p, n, at, gen))
            return true;
    return false;
}

static enum err replay_file(struct replay *r, const struct old_file *o, struct fault *f)
{
    char path[LOG_PATH], *p = NULL;
    size_t n;
    uint64_t at = JOURNAL_BLOCK, length;
    log_path(r->l, path, "journal/%02d", o->f.number);
    enum err e = os_read_file(path, JOURNAL_LIMIT, &p, &n, f);
    while (!e && at < n) {
        length = frame_at(p, n, at, o->f.gen);
        if (!length && !frame_behind(p, n, at, o->f.gen))
            break;
        if (!length) {
            r->damaged = true;
            at += JOURNAL_BLOCK;
            continue;
        }
        uint64_t seq = get_u64le(p + at + 16);
        r->damaged = r->damaged || (r->next_seq && seq != r->next_seq);
        r->next_seq = seq + 1;
        if (r->apply)
            e = replay_frame(r, p + at, length, f);
        at += (length + JOURNAL_BLOCK - 1) / JOURNAL_BLOCK * JOURNAL_BLOCK;
    }
    free(p);
    return e;
}

static int by_gen(const void *a, const void *b)
{
    const struct old_file *x = a, *y = b;
    return (x->f.gen > y->f.gen) - (x->f.gen < y->f.gen);
}

static bool is_live(const struct old_file *o, const struct recovery_points *points)
{
    return o->header && o->f.gen >= points->live_gen;
}

static enum err replay_all(struct replay *r, const struct recovery_points *points, bool apply, struct fault *f)
{
    enum err e = ERR_OK;
    r->apply = apply;
    r->next_seq = points->found ? points->seq : 0;
    for (size_t i = 0; !e && i < r->files.n; i++)
        if (is_live(&r->files.p[i], points))
            e = replay_file(r, &r->files.p[i], f);
    return e;
}

static enum err find_files(struct replay *r, struct fault *f)
{
    char path[LOG_PATH];
    log_path(r->l, path, "journal");
    enum err e = os_list(path, note_file, r, f);
    for (size_t i = 0; !e && i < r->files.n; i++)
        e = read_header(r->l, &r->files.p[i], f);
    if (r->files.n)
        qsort(r->files.p, r->files.n, sizeof *r->files.p, by_gen);
    return e;
}

/* The next generation is above all that were ever written. `dead_are_spare`: that they are dead is durable. */
static void keep_files(struct replay *r, const struct recovery_points *points, bool dead_are_spare)
{
    struct journal *j = &r->l->journal;
    j->gen = points->live_gen;
    j->seq = r->next_seq ? r->next_seq : 1;
    for (size_t i = 0; i < r->files.n; i++) {
        struct old_file *o = &r->files.p[i];
        if (o->header && o->f.gen > j->gen)
            j->gen = o->f.gen;
        if (o->f.number >= j->next_number)
            j->next_number = o->f.number + 1;
        if (dead_are_spare && !is_live(o, points) && o->f.size)
            vec_push(&j->spare, o->f);
        else
            vec_push(&j->full, o->f); /* a checkpoint must be durable before they are overwritten */
    }
    vec_free(&r->files);
}

/*
 * After a kill, what was read may be in memory only: the name of a journal file that was made last; the last frame, which
 * was acknowledged to nobody but is read from now on; the name of the recovery points, without which dead files are live.
 */
static enum err sync_read(struct replay *r, const struct recovery_points *points, struct fault *f)
{
    char path[LOG_PATH];
    log_path(r->l, path, "journal");
    enum err e = os_sync_dir(path, "journal.dir", f);
    if (!e)
        e = os_sync_dir(r->l->dir, "recovery-points.dir", f);
    for (size_t i = 0; !e && i < r->files.n; i++)
        if (is_live(&r->files.p[i], points))
            e = os_sync(r->files.p[i].f.file, "journal.open", f);
    return e;
}

/* -- the data directory ---------------------------------------------------------------------------------------------------- */

struct leftovers {
    struct log *l;
    struct map *known;
    struct fault *f;
};

/* A directory that looks like a partition's and belongs to no topic. */
static enum err doom_leftover(void *arg, const char *name)
{
    struct leftovers *x = arg;
    struct str s = str_of(name);
    size_t dash = s.n;
    while (dash && s.p[dash - 1] != '-')
        dash--;
    int64_t number;
    bool partition = dash > 1 && str_to_i64(str_sub(s, dash, s.n), &number) && number >= 0;
    if (!str_starts(s, STR(".deleted-")) && (!partition || map_get(x->known, s)))
        return ERR_OK;
    char path[LOG_PATH], trash[LOG_PATH], id[37];
    os_uuid_text(os_uuid_random(), id);
    log_path(x->l, path, "%s", name);
    log_path(x->l, trash, ".deleted-%s", id); /* a topic made soon may take the old name */
    enum err e = os_rename(path, trash, x->f);
    if (!e)
        log_doom(x->l, trash);
    return e;
}

static int by_partition(const void *a, const void *b)
{
    const struct recovery_point *x = a, *y = b;
    int c = memcmp(x->id.b, y->id.b, 16);
    return c ? c : (x->partition > y->partition) - (x->partition < y->partition);
}

static const struct recovery_point *point_of(const struct recovery_points *all, const struct log_partition *p)
{
    struct recovery_point key = {.id = p->topic_id, .partition = p->number};
    return all->points.n ? bsearch(&key, all->points.p, all->points.n, sizeof key, by_partition) : NULL;
}

static enum err recover_partitions(struct log *l, const struct recovery_points *points, bool clean, bool keep_tail,
                                   struct fault *f)
{
    struct log_partition **all;
    struct map known = {0};
    size_t n = log_all_partitions(l, &all);
    enum err e = ERR_OK;
    for (size_t i = 0; i < n; i++) {
        map_put(&known, str_of(all[i]->name), all[i]);
        if (!e)
            e = recover_partition(all[i], point_of(points, all[i]), clean, keep_tail, f);
        log_partition_release(all[i]);
    }
    struct leftovers x = {l, &known, f};
    if (!e)
        e = os_list(l->dir, doom_leftover, &x, f);
    map_free(&known);
    free(all);
    return e;
}

/* The frames are appended: what of the files' ends they did not write again was acknowledged to nobody. */
static enum err finish_partition(struct log_partition *p, struct fault *f)
{
    struct segment *s = p->segments.n ? partition_active(p) : NULL;
    enum err e = ERR_OK;
    if (p->log_start > p->log_end && !p->failed)
        partition_offline(p, "it ends below its start");
    if (s && !p->failed && s->reserved > s->size) {
        e = segment_truncate(s, s->size, f);
        s->reserved = s->size;
    }
    p->high_watermark = p->log_end;
    producers_settle(&p->producers, p->log_end);
    return e;
}

static enum err finish_partitions(struct log *l, struct fault *f)
{
    struct log_partition **all;
    size_t n = log_all_partitions(l, &all);
    enum err e = ERR_OK;
    for (size_t i = 0; i < n; i++) {
        if (!e)
            e = finish_partition(all[i], f);
        log_partition_release(all[i]);
    }
    free(all);
    return e;
}

enum err recover(struct log *l, struct fault *f)
{
    struct recovery_points points;
    struct replay r = {.l = l};
    enum err e = recovery_points_read(l, &points, f);
    if (!e)
        e = find_files(&r, f);
    if (!e) /* first only looking: damage decides how segments are cut */
        e = replay_all(&r, &points, false, f);
    bool clean = points.clean; /* the end of every start takes the flag away, durably */
    if (!e && r.damaged)
        os_log(OS_ERROR, "log", "the journal is damaged in the middle: keeping what segments have");
    if (!e)
        e = recover_partitions(l, &points, clean, r.damaged, f);
    bool damaged = r.damaged;
    if (!e)
        e = replay_all(&r, &points, true, f);
    if (!e && r.frames)
        os_log(OS_INFO, "log", "recovered %" PRIu64 " journal frames%s", r.frames, damaged ? ", with damage" : "");
    if (!e)
        e = finish_partitions(l, f);
    bool deferred = !clean && !damaged && points.found;
    if (!e && !clean)
        e = sync_read(&r, &points, f);
    keep_files(&r, &points, deferred);
    vec_free(&points.points);
    journal_begin(l);
    l->wants_checkpoint = deferred;
    l->live_gen = points.live_gen; /* as they stand on disk, until that */
    l->live_seq = points.seq;
    if (!e && !deferred)
        e = checkpoint(l, false, f);
    return e ? e : journal_open(l, f);
}
