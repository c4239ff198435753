/*
 * Recovery of one partition's files, before the journal's frames are appended again.
 *
 *   ├── closed segments ──┼─ active segment ──────────────┤
 *   │                     │            mark      recovery │ point
 *   │  not read           │  not read    ├── scanned ─────┼── cut away: the journal has it ──
 *
 * A mark (struct mark) is a place in a segment below which the index files are synced, with a snapshot of the producers:
 * what is below it is not read. Where a mark does not hold after all (its files were damaged), its segment is read from
 * the beginning.
 */
#include "log/log_int.h"

#include <stdio.h>

enum { SCAN_BYTES = 32 << 10, BATCH_LIMIT = 1 << 30 };

/* -- what is there -------------------------------------------------------------------------------------------------------- */

struct listing {
    VEC(int64_t) base, aborted, snapshots; /* of NNN.log, of NNN.txnindex, of NNN.snapshot */
    VEC(int64_t) indexes;                  /* of any index */
    VEC(int64_t) cleaned;                  /* of any file that compaction was writing */
};

static enum err note_name(void *arg, const char *name)
{
    struct listing *list = arg;
    struct str s = str_of(name);
    int64_t offset;
    if (s.n < 24 || !str_to_i64(str_sub(s, 0, 20), &offset) || offset < 0)
        return ERR_OK;
    struct str ext = str_sub(s, 20, s.n);
    if (str_starts(ext, STR(SEGMENT_CLEANED))) {
        vec_push(&list->cleaned, offset);
        return ERR_OK;
    }
    if (str_eqz(ext, ".log"))
        vec_push(&list->base, offset);
    else if (str_eqz(ext, ".txnindex"))
        vec_push(&list->aborted, offset);
    else if (str_eqz(ext, ".snapshot"))
        vec_push(&list->snapshots, offset);
    if (str_ends(ext, STR("index")))
        vec_push(&list->indexes, offset);
    return ERR_OK;
}

static int by_offset(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

void partition_offline(struct log_partition *p, const char *why)
{
    p->failed = true;
    os_log(OS_ERROR, "log", "%s is offline: %s", p->name, why);
}

/* Files of a deleted segment whose unlink was only half done. */
static enum err remove_orphans(struct log_partition *p, const struct listing *list, struct fault *f)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < list->indexes.n; i++) {
        int64_t offset = list->indexes.p[i];
        if (!list->base.n || !bsearch(&offset, list->base.p, list->base.n, sizeof offset, by_offset))
            e = segment_unlink_at(p->dir, offset, f);
    }
    return e;
}

/*
 * Was this segment, or may it be, deleted? One that ends just there stays while it is whole: a killed process may have had the
 * producers' snapshot at its end still to sync, and nothing else would know their sequences.
 */
static bool is_deleted(const struct listing *list, size_t i, int64_t deleted)
{
    int64_t base = list->base.p[i], end = list->base.p[i + 1];
    int indexes = 0;
    for (size_t k = 0; k < list->indexes.n; k++)
        indexes += list->indexes.p[k] == base;
    for (size_t k = 0; k < list->aborted.n; k++)
        indexes -= list->aborted.p[k] == base;
    return end < deleted || (end == deleted && indexes < 2);
}

static enum err open_segments(struct log_partition *p, struct listing *list, int64_t recovery_point, bool clean,
                              bool keep_tail, struct fault *f)
{
    int64_t deleted =
        p->log_start < recovery_point ? p->log_start : recovery_point; /* segments that end below it are */
    if (list->base.n)
        qsort(list->base.p, list->base.n, sizeof *list->base.p, by_offset);
    enum err e = remove_orphans(p, list, f);
    for (size_t i = 0; !e && i < list->base.n; i++) {
        struct segment *s;
        bool in_journal = p->segments.n && list->base.p[i] >= recovery_point && !keep_tail;
        if (in_journal || (i + 1 < list->base.n && is_deleted(list, i, deleted))) {
            e = segment_unlink_at(p->dir, list->base.p[i], f);
            p->dir_dirty = true;
            continue;
        }
        if ((e = segment_open(&s, &p->log->files, p->dir, list->base.p[i], false, f)))
            break;
        if (!s->size && p->segments.n &&
            i + 1 < list->base.n) { /* a roll that failed; the partition went on without it */
            os_log(OS_WARN, "log", "%s.log is empty and goes", s->path);
            segment_free(s);
            e = segment_unlink_at(p->dir, list->base.p[i], f);
            p->dir_dirty = true;
            continue;
        }
        p->dir_dirty = p->dir_dirty || (list->aborted.n && !clean); /* a killed process may have made one just now */
        for (size_t k = 0; k < list->aborted.n; k++)
            s->has_aborted = s->has_aborted || list->aborted.p[k] == s->base_offset;
        vec_push(&p->segments, s);
        STAT_ADD(p->log, segments, 1);
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

/* -- scanning --------------------------------------------------------------------------------------------------------------- */

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

static void account(struct scan *c, const struct batch *b, uint64_t position)
{
    struct aborted aborted;
    if (c->index)
        segment_note(c->s, b, position);
    if (b->base_offset >= c->producers_from && producers_note(c->producers, b, c->now_ms, &aborted) &&
        b->base_offset >= c->aborted_from)
        segment_abort(c->s, &aborted);
    c->next = b->base_offset + b->last_offset_delta + 1;
}

/*
 * Account for the batches in p[0..n); returns the bytes that were whole. Of a large batch that ends behind the buffer the
 * header is enough, unless its checksum or its marker is wanted: then *need is its size.
 */
static size_t scan_bytes(struct scan *c, const char *p, size_t n, size_t *need)
{
    size_t at = 0;
    *need = 0;
    while (at < n && n - at >= BATCH_HEADER) {
        struct batch b;
        if (batch_parse_header(str_make(p + at, n - at), &b, NULL) || b.all.n > BATCH_LIMIT ||
            b.base_offset < c->next || b.last_offset_delta < 0) {
            c->damaged = true;
            return at;
        }
        if (b.base_offset >= c->until)
            return at;
        bool whole = b.all.n <= n - at, check = c->check_crc && b.base_offset >= c->trusted;
        if (b.all.n > c->s->size - c->position - at || (!whole && (check || (b.attributes & BATCH_CONTROL)))) {
            *need = b.all.n;
            return at;
        }
        if (check && !batch_crc_ok(&b)) {
            c->damaged = true;
            return at;
        }
        account(c, &b, c->position + at);
        at += b.all.n;
    }
    return at;
}

/* Walk a segment's batches. */
static enum err scan_segment(struct scan *c, struct fault *f)
{
    size_t cap = SCAN_BYTES, got, need;
    if (c->position >= c->s->size || c->next >= c->until)
        return ERR_OK;
    char *buf = malloc(cap);
    enum err e = buf ? ERR_OK : FAULT(f, ERR_NOMEM, {"what", "recovery"});
    while (!e && c->position < c->s->size && c->next < c->until) {
        if ((e = segment_pread(c->s, buf, cap, c->position, false, &got, f)))
            break;
        size_t took = scan_bytes(c, buf, got, &need);
        c->position += took;
        STAT_ADD(c->p->log, scanned_bytes, took);
        if (c->damaged)
            break;
        if (!took && (need <= cap || need > c->s->size - c->position)) {
            c->damaged = c->next < c->until && c->until != INT64_MAX;
            break; /* cut short */
        }
        if (need > cap && need <= c->s->size - c->position) {
            free(buf);
            cap = need;
            if (!(buf = malloc(cap)))
                e = FAULT(f, ERR_NOMEM, {"what", "recovery"});
        }
    }
    free(buf);
    return e;
}

/* -- compaction that was broken off (compact.c) ------------------------------------------------------------------------------ */

/* The segment's indexes from its batches; *end: the offset after the last one. */
static enum err index_anew(struct log_partition *p, struct segment *s, int64_t *end, struct fault *f)
{
    struct producers nobody = {0};
    struct scan c = {.p = p,
                     .s = s,
                     .index = true,
                     .until = INT64_MAX,
                     .producers = &nobody,
                     .producers_from = INT64_MAX,
                     .aborted_from = INT64_MAX,
                     .now_ms = os_now_ms(),
                     .next = s->base_offset};
    enum err e = scan_segment(&c, f);
    *end = c.next;
    if (!e)
        e = segment_flush_index(s, true, f);
    if (!e)
        e = segment_sync_index(s, f);
    segment_drop_index(s);
    return e;
}

/* Segments that this one has replaced. */
static enum err remove_replaced(struct log_partition *p, size_t at, int64_t end, struct fault *f)
{
    enum err e = ERR_OK;
    while (!e && at + 2 < p->segments.n && p->segments.p[at + 1]->base_offset < end) {
        struct segment *s = p->segments.p[at + 1];
        e = segment_unlink_at(p->dir, s->base_offset, f);
        segment_free(s);
        memmove(p->segments.p + at + 1, p->segments.p + at + 2, (p->segments.n - at - 2) * sizeof s);
        p->segments.n--;
        STAT_ADD(p->log, segments, (uint64_t)-1);
    }
    return e;
}

/* Whether the new segment has got its name or not: what is under the name is whole, and files beside it are made to fit. */
static enum err finish_compaction(struct log_partition *p, int64_t base, struct fault *f)
{
    static const char *const EXT[] = {".log", ".index", ".timeindex", ".txnindex"};
    char path[LOG_PATH];
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i + 1 < p->segments.n; i++) {
        int64_t end;
        if (p->segments.p[i]->base_offset != base)
            continue;
        e = index_anew(p, p->segments.p[i], &end, f);
        if (!e)
            e = remove_replaced(p, i, end, f);
    }
    if (!e) /* the next start goes by the files named .cleaned, too: they go last */
        e = os_sync_dir(p->dir, "segment.dir", f);
    for (int i = 0; !e && i < 4; i++) {
        snprintf(path, sizeof path, "%s/%020lld%s%s", p->dir, (long long)base, SEGMENT_CLEANED, EXT[i]);
        e = os_unlink(path, f);
        e = e == ERR_NOTFOUND ? ERR_OK : e;
    }
    p->dir_dirty = true;
    return e;
}

static enum err finish_compactions(struct log_partition *p, const struct listing *list, struct fault *f)
{
    enum err e = list->cleaned.n ? os_sync_dir(p->dir, "segment.dir", f) : ERR_OK;
    for (size_t i = 0; !e && i < list->cleaned.n; i++)
        e = finish_compaction(p, list->cleaned.p[i], f);
    return e;
}

/* -- producers -------------------------------------------------------------------------------------------------------------- */

/* From the newest snapshot up to the recovery point; *from: the offset from which on batches must be noted. */
static enum err load_producers(struct log_partition *p, struct listing *list, int64_t recovery_point, int64_t *from,
                               struct fault *f)
{
    enum err e = ERR_OK;
    size_t kept = 0;
    for (size_t i = 0; !e && i < list->snapshots.n; i++) { /* one above it is of what is cut away now */
        if (list->snapshots.p[i] <= recovery_point) {
            list->snapshots.p[kept++] = list->snapshots.p[i];
            continue;
        }
        e = producers_unlink(p->dir, list->snapshots.p[i], f);
        p->dir_dirty = true;
    }
    list->snapshots.n = kept;
    int64_t base = p->segments.p[0]->base_offset;
    int64_t least = p->mark.offset >= base && !p->mark.producers ? p->mark.offset : base;
    return e ? e : producers_load(&p->producers, p->dir, list->snapshots.p, kept, least, from, f);
}

/* What the closed segments say of producers, from `from` on: nothing to do where a snapshot is new enough. */
static enum err scan_closed(struct log_partition *p, int64_t from, struct fault *f)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i + 1 < p->segments.n; i++) {
        struct segment *s = p->segments.p[i];
        int64_t end = p->segments.p[i + 1]->base_offset;
        if (end <= from)
            continue;
        struct scan c = {.p = p,
                         .s = s,
                         .until = end,
                         .producers = &p->producers,
                         .producers_from = from,
                         .aborted_from = INT64_MAX,
                         .now_ms = os_now_ms(),
                         .next = s->base_offset};
        e = scan_segment(&c, f);
        if (!e && c.damaged)
            os_log(OS_ERROR, "log", "%s: damage at %lld", p->name, (long long)c.next);
    }
    return e;
}

/* -- the active segment ------------------------------------------------------------------------------------------------------- */

/* Where the scan of the active segment begins: its mark, when it has one that holds; else its beginning. */
static enum err begin_at_mark(struct log_partition *p, int64_t recovery_point, int64_t producers_from, struct scan *c,
                              struct fault *f)
{
    struct segment *s = c->s;
    const struct mark *m = &p->mark;
    bool holds = true;
    if (m->offset <= s->base_offset || m->offset > recovery_point)
        return ERR_OK;
    enum err e = segment_load_index(s, m, &holds, f);
    if (e)
        return e;
    if (holds && producers_from >= m->offset && m->position <= s->size) {
        c->position = m->position;
        c->next = m->offset;
        return ERR_OK;
    }
    segment_drop_index(s);
    STAT_ADD(p->log, lost_marks, 1);
    os_log(OS_WARN, "log", "%s: the index or the producers at %lld are damaged; reading the segment", p->name,
           (long long)m->offset);
    return ERR_OK;
}

/* Complete its indexes, cut it at the recovery point; after a clean stop there is nothing behind that. */
static enum err open_active(struct log_partition *p, int64_t recovery_point, int64_t producers_from, bool clean,
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
    enum err e = begin_at_mark(p, recovery_point, producers_from, &c, f);
    if (!e)
        e = scan_segment(&c, f);
    if (e)
        return e;
    p->log_end = c.next;
    s->made_ms = c.now_ms;
    s->first_ts = s->first_ts == -1 && c.position ? LOG_TS_UNKNOWN : s->first_ts;
    if (c.next < recovery_point) {
        partition_offline(p, "synced batches are damaged or missing; nothing was cut");
        return ERR_OK;
    }
    if (c.position == s->size)
        return ERR_OK;
    if (clean) {
        partition_offline(p, "its last segment is not what a clean stop left");
        return ERR_OK;
    }
    s->reserved = s->size; /* mostly the same bytes are written there again; what is left over is cut when they are */
    s->size = c.position;
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
        partition_offline(p, "its directory is missing or another topic's");
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

/* All of it, from the directory's listing. */
static enum err recover_files(struct log_partition *p, struct listing *list, int64_t recovery_point, bool clean,
                              bool keep_tail, struct fault *f)
{
    int64_t producers_from = 0;
    enum err e = open_segments(p, list, recovery_point, clean, keep_tail, f);
    if (!e && !p->segments.n)
        return fresh_dir(p, recovery_point, f);
    if (!e && partition_active(p)->base_offset > recovery_point && !keep_tail) {
        if (recovery_point > p->log_start) {
            partition_offline(p, "its first segment begins above the recovery point");
            return ERR_OK;
        }
        /* A later segment's unsynced name survived and the first one's did not: all that they held is in the journal. */
        while (p->segments.n)
            segment_free(p->segments.p[--p->segments.n]), STAT_ADD(p->log, segments, (uint64_t)-1);
        return fresh_dir(p, recovery_point, f);
    }
    if (!e && !clean)
        e = rewrite_epochs(p, f);
    if (!e)
        e = finish_compactions(p, list, f);
    if (!e)
        e = load_closed(p, f);
    if (!e)
        e = load_producers(p, list, recovery_point, &producers_from, f);
    if (!e)
        e = scan_closed(p, producers_from, f);
    if (!e)
        e = open_active(p, recovery_point, producers_from, clean, keep_tail, f);
    return e ? e : recover_aborted(p, recovery_point, keep_tail, f);
}

enum err recover_partition(struct log_partition *p, const struct recovery_point *point, bool clean, bool keep_tail,
                           struct fault *f)
{
    struct listing list = {0};
    int64_t recovery_point = point ? point->offset : 0;
    p->log_start = point ? point->log_start : 0;
    p->recovery_point = p->log_end = recovery_point;
    p->mark = point ? point->mark : (struct mark){.offset = -1};
    p->dir_dirty = p->dir_dirty || !point; /* the checkpoint that wrote the point had synced both */
    p->meta_synced = point != NULL;
    bool owns;
    enum err e = owns_dir(p, &owns, f);
    if (e || !owns)
        return e ? e : fresh_dir(p, recovery_point, f);
    e = os_list(p->dir, note_name, &list, f);
    if (!e)
        e = recover_files(p, &list, recovery_point, clean, keep_tail, f);
    vec_free(&list.base);
    vec_free(&list.aborted);
    vec_free(&list.snapshots);
    vec_free(&list.indexes);
    vec_free(&list.cleaned);
    return e;
}
