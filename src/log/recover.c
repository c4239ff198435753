/*
 * Recovery: from what a power cut left to partitions that can be served.
 *
 *   metadata.log ─▶ topics ─▶ per partition: segments cut at the recovery point, indexes and producers rebuilt
 *   journal/NN   ─▶ frames of live generations, in order ─▶ appended again ─▶ checkpoint ─▶ a new generation
 *
 * Frames end at the first one that is torn; a whole frame behind a bad one is damage: then segments keep what of their
 * tails has good CRCs, and a partition in which offsets are missing goes offline instead of losing them silently.
 */
#include "codec/codec.h"
#include "log/log_int.h"

#include <inttypes.h>
#include <stdio.h>

enum { SCAN_BYTES = 1 << 20, BATCH_LIMIT = 1 << 30, JOURNAL_LIMIT = 1 << 30 };

/* -- one partition ------------------------------------------------------------------------------------------------------ */

struct offsets_list {
    VEC(int64_t) base, aborted; /* of NNN.log, of NNN.txnindex */
    VEC(int64_t) indexes;
};

static enum err note_segment(void *arg, const char *name)
{
    struct offsets_list *list = arg;
    struct str s = str_of(name);
    int64_t offset;
    if (s.n < 24 || !str_to_i64(str_sub(s, 0, 20), &offset) || offset < 0)
        return ERR_OK;
    if (str_eqz(str_sub(s, 20, s.n), ".log"))
        vec_push(&list->base, offset);
    else if (str_eqz(str_sub(s, 20, s.n), ".txnindex"))
        vec_push(&list->aborted, offset);
    if (str_ends(s, STR("index")))
        vec_push(&list->indexes, offset);
    return ERR_OK;
}

static int by_offset(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

struct scan {
    struct log_partition *p;
    struct segment *s;
    int64_t until;  /* stop at this offset (INT64_MAX: run on) */
    bool check_crc; /* from `trusted` on */
    int64_t trusted;
    bool index;           /* rebuild the indexes */
    int64_t aborted_from; /* and the transaction index, from this offset on */
    struct producers *producers;
    int64_t producers_from;
    int64_t now_ms;
    uint64_t position; /* in: where to begin; out: the end of what is good */
    int64_t next;      /* offset after the last batch */
    bool damaged;      /* something bad before `until` */
};

/* Account for the batches in p[0..n); returns the bytes that were whole. */
static size_t scan_bytes(struct scan *c, const char *p, size_t n, size_t *need)
{
    size_t at = 0;
    *need = 0;
    while (n - at >= BATCH_HEADER) {
        struct batch b;
        int32_t length = (int32_t)get_u32be(p + at + 8);
        if (p[at + 16] == 2 && length >= BATCH_HEADER - BATCH_PREFIX && length < BATCH_LIMIT &&
            (size_t)length + BATCH_PREFIX > n - at) {
            *need = (size_t)length + BATCH_PREFIX;
            return at;
        }
        if (batch_parse(str_make(p + at, n - at), &b, NULL) || b.base_offset < c->next || b.last_offset_delta < 0 ||
            (c->check_crc && b.base_offset >= c->trusted && !batch_crc_ok(&b))) {
            c->damaged = true;
            return at;
        }
        if (b.base_offset >= c->until)
            return at;
        if (c->index)
            segment_note(c->s, &b, c->position + at);
        struct aborted aborted;
        if (b.base_offset >= c->producers_from && producers_note(c->producers, &b, c->now_ms, &aborted) &&
            b.base_offset >= c->aborted_from)
            segment_abort(c->s, &aborted);
        c->next = b.base_offset + b.last_offset_delta + 1;
        at += b.all.n;
    }
    return at;
}

/* Walk a segment's batches with large reads. */
static enum err scan_segment(struct scan *c, struct fault *f)
{
    size_t cap = SCAN_BYTES, got, need;
    char *buf = malloc(cap);
    enum err e = buf ? ERR_OK : FAULT(f, ERR_NOMEM, {"what", "recovery"});
    while (!e && c->position < c->s->size && c->next < c->until) {
        if ((e = os_pread(c->s->file, buf, cap, c->position, &got, f)))
            break;
        size_t took = scan_bytes(c, buf, got, &need);
        c->position += took;
        if (c->damaged)
            break;
        if (!took && (need <= cap || need > c->s->size - c->position)) {
            c->damaged = c->next < c->until && c->until != INT64_MAX;
            break; /* cut short */
        }
        if (need > cap) {
            free(buf);
            cap = need;
            if (!(buf = malloc(cap)))
                e = FAULT(f, ERR_NOMEM, {"what", "recovery"});
        }
    }
    free(buf);
    return e;
}

static void offline(struct log_partition *p, const char *why)
{
    p->failed = true;
    os_log(OS_ERROR, "log", "%s is offline: %s", p->name, why);
}

/* Files of a deleted segment whose unlink was only half done. */
static enum err remove_orphans(struct log_partition *p, const struct offsets_list *list, struct fault *f)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < list->indexes.n; i++) {
        int64_t offset = list->indexes.p[i];
        if (!list->base.n || !bsearch(&offset, list->base.p, list->base.n, sizeof offset, by_offset))
            e = segment_unlink_at(p->dir, offset, f);
    }
    return e;
}

static enum err open_segments(struct log_partition *p, int64_t recovery_point, bool keep_tail, struct fault *f)
{
    struct offsets_list list = {0};
    int64_t deleted = p->log_start < recovery_point ? p->log_start : recovery_point; /* segments that end below it are */
    enum err e = os_list(p->dir, note_segment, &list, f);
    if (list.base.n)
        qsort(list.base.p, list.base.n, sizeof *list.base.p, by_offset);
    if (!e)
        e = remove_orphans(p, &list, f);
    for (size_t i = 0; !e && i < list.base.n; i++) {
        struct segment *s;
        bool in_journal = p->segments.n && list.base.p[i] >= recovery_point && !keep_tail;
        if (in_journal || (i + 1 < list.base.n && list.base.p[i + 1] <= deleted)) {
            e = segment_unlink_at(p->dir, list.base.p[i], f);
            p->dir_dirty = true;
            continue;
        }
        if ((e = segment_open(&s, p->dir, list.base.p[i], false, f)))
            break;
        for (size_t k = 0; k < list.aborted.n; k++)
            s->has_aborted = s->has_aborted || list.aborted.p[k] == s->base_offset;
        vec_push(&p->segments, s);
        STAT_ADD(p->log, segments, 1);
    }
    vec_free(&list.base);
    vec_free(&list.aborted);
    vec_free(&list.indexes);
    return e;
}

/* Producers from the newest snapshot, then from the batches behind it, segment by segment up to the active one. */
static enum err load_producers(struct log_partition *p, int64_t recovery_point, int64_t *from, struct fault *f)
{
    enum err e = producers_prune(p->dir, 0, recovery_point, f);
    if (!e)
        e = producers_load(&p->producers, p->dir, recovery_point, p->segments.p[0]->base_offset, from, f);
    for (size_t i = 0; !e && i + 1 < p->segments.n; i++) {
        struct segment *s = p->segments.p[i];
        int64_t end = p->segments.p[i + 1]->base_offset;
        if (end <= *from)
            continue;
        struct scan c = {.p = p,
                         .s = s,
                         .until = end,
                         .producers_from = *from,
                         .now_ms = os_now_ms(),
                         .next = s->base_offset,
                         .producers = &p->producers,
                         .aborted_from = INT64_MAX};
        e = scan_segment(&c, f);
        if (!e && c.damaged)
            os_log(OS_ERROR, "log", "%s: damage at %lld", p->name, (long long)c.next);
    }
    return e;
}

static enum err load_closed(struct log_partition *p, struct fault *f)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i + 1 < p->segments.n; i++) {
        struct segment *s = p->segments.p[i];
        s->closed = s->index_synced = true;
        e = segment_load_max_ts(s, f);
    }
    return e;
}

/* The active segment after a clean stop: the index is right, only the tail behind its last entry is walked. */
static enum err open_active_clean(struct log_partition *p, int64_t recovery_point, int64_t producers_from,
                                  struct fault *f)
{
    struct segment *s = partition_active(p);
    enum err e = segment_load_index(s, f);
    if (e)
        return e;
    struct scan c = {.p = p,
                     .s = s,
                     .until = recovery_point,
                     .producers = &p->producers,
                     .producers_from = producers_from,
                     .aborted_from = INT64_MAX,
                     .now_ms = os_now_ms(),
                     .next = s->base_offset};
    if (producers_from >= recovery_point && s->index.n) {
        c.position = s->index.p[s->index.n - 1].position;
        c.next = s->base_offset; /* the batch at the position says its own */
    }
    e = scan_segment(&c, f);
    s->made_ms = os_now_ms();
    if (!e)
        e = segment_load_first_ts(s, f);
    if (!e && (c.damaged || c.next < recovery_point || c.position != s->size))
        offline(p, "its last segment is not what a clean stop left");
    return e;
}

/* The active segment after a crash: rebuild its indexes, cut it at the recovery point. */
static enum err open_active_crashed(struct log_partition *p, int64_t recovery_point, int64_t producers_from,
                                    bool keep_tail, struct fault *f)
{
    struct segment *s = partition_active(p);
    struct scan c = {.p = p,
                     .s = s,
                     .index = true,
                     .now_ms = os_now_ms(),
                     .next = s->base_offset,
                     .until = keep_tail ? INT64_MAX : recovery_point,
                     .producers = &p->producers,
                     .producers_from = producers_from,
                     .aborted_from = INT64_MAX,
                     .check_crc = keep_tail,
                     .trusted = recovery_point};
    enum err e = scan_segment(&c, f);
    if (e)
        return e;
    if (c.next < recovery_point) {
        offline(p, "synced batches are damaged or missing; nothing was cut");
        p->log_end = c.next;
        return ERR_OK;
    }
    p->log_end = c.next;
    s->made_ms = c.now_ms;
    if (c.position == s->size)
        return ERR_OK;
    if ((e = os_truncate(s->file, c.position, f)))
        return e;
    s->size = s->reserved = c.position;
    s->dirty = true;
    return ERR_OK;
}

/* -- the transaction indexes: right up to the recovery point, as the checkpoint synced them; replay adds what follows -- */

/* One is damaged: all of them once more, from the segments. Written in place: a checksum says when it was broken off. */
static enum err rebuild_aborted(struct log_partition *p, struct fault *f)
{
    struct producers scratch = {0};
    enum err e = ERR_OK;
    os_log(OS_WARN, "log", "%s: making its transaction indexes anew", p->name);
    for (size_t i = 0; !e && i < p->segments.n; i++) {
        struct segment *s = p->segments.p[i];
        bool closed = i + 1 < p->segments.n;
        s->aborted.n = s->aborted_written = 0;
        struct scan c = {.p = p,
                         .s = s,
                         .until = closed ? p->segments.p[i + 1]->base_offset : p->log_end,
                         .producers = &scratch,
                         .now_ms = os_now_ms(),
                         .next = s->base_offset};
        e = scan_segment(&c, f);
        if (!e && c.damaged)
            os_log(OS_ERROR, "log", "%s: damage at %lld, aborted transactions behind it are not known", p->name,
                   (long long)c.next);
        if (!e)
            e = segment_flush_aborted(s, closed, f);
        if (!e)
            e = segment_sync_aborted(s, f);
        if (closed)
            vec_free(&s->aborted);
    }
    p->dir_dirty = true;
    producers_free(&scratch);
    return e;
}

static enum err recover_aborted(struct log_partition *p, int64_t recovery_point, bool keep_tail, struct fault *f)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && !keep_tail && i < p->segments.n; i++) {
        struct segment *s = p->segments.p[i];
        struct aborted *entries = NULL;
        size_t n;
        if (!s->has_aborted)
            continue;
        if (s->closed)
            e = segment_read_aborted(s, true, INT64_MAX, &entries, &n, f);
        else
            e = segment_load_aborted(s, recovery_point, f);
        free(entries);
    }
    return e == ERR_CORRUPT || (keep_tail && !e) ? rebuild_aborted(p, f) : e;
}

/*
 * Is this directory the partition's, and not that of a deleted topic of the same name? A file that cannot be read just now
 * is no answer: who took it for "no" would put the partition offline, and the next checkpoint would let go of its frames.
 */
CHECK static enum err owns_dir(const struct log_partition *p, bool *owns, struct fault *f)
{
    char path[LOG_PATH], want[64], *text = NULL;
    size_t n = 0;
    partition_metadata_text(p, want);
    snprintf(path, sizeof path, "%s/partition.metadata", p->dir);
    enum err e = os_read_file(path, 4096, &text, &n, f);
    *owns = !e && str_starts(str_make(text, n), str_of(want));
    free(text);
    return e == ERR_NOTFOUND || e == ERR_LIMIT ? ERR_OK : e;
}

static enum err fresh_dir(struct log_partition *p, int64_t recovery_point, struct fault *f)
{
    if (recovery_point > 0) {
        offline(p, "its directory is missing or another topic's");
        return ERR_OK;
    }
    enum err e = os_remove_tree(p->dir, f);
    p->log->dir_dirty = true;
    return e ? e : partition_create_files(p, f);
}

static enum err rewrite_epochs(struct log_partition *p, struct fault *f)
{
    char path[LOG_PATH], *text = NULL;
    size_t n;
    struct os_file *file;
    snprintf(path, sizeof path, "%s/leader-epoch-checkpoint", p->dir);
    enum err e = os_read_file(path, 4096, &text, &n, f);
    bool good = !e && str_eqz(str_make(text, n), "0\n1\n0 0\n");
    free(text);
    if (good)
        return ERR_OK;
    if ((e = os_open(&file, path, OS_RDWR | OS_CREATE | OS_TRUNC, f)))
        return e;
    e = os_pwrite(file, "0\n1\n0 0\n", 8, 0, f);
    os_close(file);
    return e;
}

static enum err recover_partition(struct log_partition *p, const struct recovery_point *point, bool clean,
                                  bool keep_tail, struct fault *f)
{
    int64_t recovery_point = point ? point->offset : 0, producers_from = 0;
    p->log_start = point ? point->log_start : 0;
    p->recovery_point = p->log_end = recovery_point;
    bool owns;
    enum err e = owns_dir(p, &owns, f);
    if (e || !owns)
        return e ? e : fresh_dir(p, recovery_point, f);
    e = open_segments(p, recovery_point, keep_tail, f);
    if (!e && !p->segments.n)
        return fresh_dir(p, recovery_point, f);
    if (!e && partition_active(p)->base_offset > recovery_point && !keep_tail) {
        if (recovery_point > p->log_start) {
            offline(p, "its first segment begins above the recovery point");
            return ERR_OK;
        }
        /* A later segment's unsynced name survived and the first one's did not: all that they held is in the journal. */
        while (p->segments.n)
            segment_free(p->segments.p[--p->segments.n]), STAT_ADD(p->log, segments, (uint64_t)-1);
        return fresh_dir(p, recovery_point, f);
    }
    p->dir_dirty = p->dir_dirty || !clean;
    p->meta_synced = clean;
    if (!e)
        e = rewrite_epochs(p, f);
    if (!e)
        e = load_closed(p, f);
    if (!e)
        e = load_producers(p, recovery_point, &producers_from, f);
    if (e)
        return e;
    e = clean ? open_active_clean(p, recovery_point, producers_from, f)
              : open_active_crashed(p, recovery_point, producers_from, keep_tail, f);
    return e ? e : recover_aborted(p, recovery_point, keep_tail, f);
}

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
        offline(p, "batches are missing between its segments and the journal");
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

static enum err replay_all(struct replay *r, const struct recovery_points *points, bool apply, struct fault *f)
{
    enum err e = ERR_OK;
    r->apply = apply;
    r->next_seq = points->found ? points->seq : 0;
    for (size_t i = 0; !e && i < r->files.n; i++)
        if (r->files.p[i].header && r->files.p[i].f.gen >= points->live_gen)
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

/* What is there becomes spare. The next generation is above all that were ever written. */
static void keep_files(struct replay *r, const struct recovery_points *points)
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
        vec_push(&j->full, o->f); /* a checkpoint must be durable before they are overwritten */
    }
    vec_free(&r->files);
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

static void raise_all(struct log *l)
{
    struct log_partition **all;
    size_t n = log_all_partitions(l, &all);
    for (size_t i = 0; i < n; i++) {
        if (all[i]->log_start > all[i]->log_end && !all[i]->failed)
            offline(all[i], "it ends below its start");
        all[i]->high_watermark = all[i]->log_end;
        producers_settle(&all[i]->producers, all[i]->log_end);
        log_partition_release(all[i]);
    }
    free(all);
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
    raise_all(l);
    keep_files(&r, &points);
    vec_free(&points.points);
    if (!e)
        e = journal_open(l, f);
    return e ? e : checkpoint(l, false, f);
}
