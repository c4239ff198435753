/*
 * The journal: recycled, zero-written files that take the appends of all partitions, one fdatasync per group.
 *
 *   file   4096-byte block: u32 magic, u32 CRC of what follows, u32 version, u32 0, u64 generation
 *          frames, each at a multiple of 4096, zero-padded to one
 *   frame  u32 magic, u32 CRC of what follows (padding excluded), u64 generation, u64 sequence number, u64 length, u32 entries,
 *          u32 0; then entries: 16 bytes topic id, u32 partition, u32 n, i64 base offset, n bytes of batches
 *
 * All little-endian. A file's generation goes up by one with every file begun, a frame's number by one with every frame;
 * recycled bytes carry an older generation and never match. Frame k+1 is written only after k's sync has returned: a
 * whole frame after a bad one is damage, a bad last one is merely torn (nobody was told). Frames are whole pages: no page
 * is read back to be overwritten.
 */
#include "codec/codec.h"
#include "log/log_int.h"

#include <inttypes.h>
#include <stdio.h>

enum { GROUP_KEEP = 1 << 20 /* buffers up to here are always kept */, JOIN_FROM = 4096, RETRY_NS = 100000000 };

static uint64_t round_up(uint64_t n)
{
    return (n + JOURNAL_BLOCK - 1) / JOURNAL_BLOCK * JOURNAL_BLOCK;
}

/* -- files ------------------------------------------------------------------------------------------------------------ */

/* Zeros written and flushed, so that later syncs write data only. Their durability is nobody's promise: a frame's is. */
enum err journal_make_file(struct log *l, uint64_t size, struct journal_file *out, struct fault *f)
{
    char path[LOG_PATH];
    os_mutex_lock(l->journal.lock);
    int number = l->journal.next_number++;
    os_mutex_unlock(l->journal.lock);
    *out = (struct journal_file){.size = round_up(size), .number = number};
    log_path(l, path, "journal/%02d", number);
    enum err e = os_open(&out->file, path, OS_RDWR | OS_CREATE | OS_TRUNC, f);
    if (!e)
        e = os_write_zeros(out->file, out->size, f);
    if (!e) {
        log_path(l, path, "journal");
        e = os_sync_dir(path, "journal.dir", f);
    }
    if (e) {
        os_close(out->file);
        log_path(l, path, "journal/%02d", number);
        (void)!os_unlink(path, NULL); /* the space is what matters; a leftover is removed at the next start */
    }
    return e;
}

/* Files double up to the configured size: who writes little never pays for large ones. Under the lock. */
static uint64_t next_size(struct log *l)
{
    uint64_t doubled = l->journal.current.size * 2;
    return doubled < l->o.journal_file_bytes ? doubled : l->o.journal_file_bytes;
}

/* The size of a spare file that ought to be made now, or 0. */
uint64_t journal_wants_spare(struct log *l)
{
    struct journal *j = &l->journal;
    os_mutex_lock(j->lock);
    uint64_t size = j->spare.n == 0 && j->current.used > j->current.size / 2 ? next_size(l) : 0;
    os_mutex_unlock(j->lock);
    return size;
}

/* Take a spare file of at least `need` bytes; under the lock. */
static bool take_spare(struct journal *j, uint64_t need, struct journal_file *out)
{
    for (size_t i = 0; i < j->spare.n; i++)
        if (j->spare.p[i].size >= need) {
            *out = j->spare.p[i];
            j->spare.p[i] = j->spare.p[--j->spare.n];
            return true;
        }
    return false;
}

/*
 * Go on to a next file with room for `frame` bytes. Blocks while too many full files wait for the segments' syncs, and
 * while the disk is full: nothing that waits is lost then, appends are refused when they become too many.
 */
static void next_file(struct log *l, uint64_t frame)
{
    struct journal *j = &l->journal;
    uint64_t need = JOURNAL_BLOCK + frame;
    struct journal_file next;
    bool complained = false;
    os_mutex_lock(j->lock);
    uint64_t size = next_size(l);
    vec_push(&j->full, j->current);
    j->gen_seq = j->seq;
    j->current = (struct journal_file){.gen = ++j->gen}; /* checkpoints may now recycle all that are full */
    for (;;) {
        log_kick(l, true, false);
        if (j->full.n <= LOG_JOURNAL_LIVE) {
            if (take_spare(j, need, &next))
                break;
            os_mutex_unlock(j->lock);
            struct fault f;
            enum err e = journal_make_file(l, need > size ? need : size, &next, &f);
            os_mutex_lock(j->lock);
            if (!e)
                break;
            if (j->stop)
                os_die("the journal cannot grow, stopping without what was not acknowledged: %s", fault_message(&f));
            if (!complained)
                os_log(OS_ERROR, "log", "the journal cannot grow, appends wait: %s", fault_message(&f));
            complained = true;
        }
        (void)os_cond_wait_until(j->space, j->lock, os_mono_ns() + RETRY_NS);
    }
    next.gen = j->gen;
    next.used = 0;
    j->current = next;
    os_mutex_unlock(j->lock);
}

/* -- groups ----------------------------------------------------------------------------------------------------------- */

bool journal_has_room(struct log *l, size_t n)
{
    uint64_t pending = __atomic_load_n(&l->journal.pending, __ATOMIC_RELAXED);
    return pending == 0 || pending + n <= LIMIT_PENDING_BYTES;
}

uint64_t log_pending_bytes(struct log *l)
{
    return __atomic_load_n(&l->journal.pending, __ATOMIC_RELAXED);
}

static char *group_room(struct group *g, size_t more)
{
    if (g->n == 0)
        more += JOURNAL_FRAME;
    if (g->n + more > g->cap) {
        size_t cap = g->cap ? g->cap : 16 << 10;
        while (cap < g->n + more)
            cap *= 2;
        char *p = realloc(g->p, cap);
        if (!p)
            os_die("out of memory for %zu bytes that wait for the disk", cap);
        g->p = p;
        g->cap = cap;
    }
    if (g->n == 0)
        g->n = JOURNAL_FRAME;
    return g->p + g->n;
}

void journal_add(struct log *l, const struct waiter *w, const char *bytes, size_t n)
{
    struct journal *j = &l->journal;
    os_mutex_lock(j->lock);
    struct group *g = &j->fill;
    bool first = !g->n && !g->waiters.n;
    if (n) {
        char *at = group_room(g, JOURNAL_ENTRY + n);
        memcpy(at, w->partition->topic_id.b, 16);
        put_u32le(at + 16, (uint32_t)w->partition->number);
        put_u32le(at + 20, (uint32_t)n);
        put_u64le(at + 24, (uint64_t)w->base_offset);
        memcpy(at + JOURNAL_ENTRY, bytes, n);
        g->n += JOURNAL_ENTRY + n;
        g->entries++;
        __atomic_add_fetch(&j->pending, n, __ATOMIC_RELAXED);
    }
    partition_ref(w->partition);
    vec_push(&g->waiters, *w);
    if (first)
        os_cond_signal(j->work);
    os_mutex_unlock(j->lock);
}

bool log_hold(struct log *l)
{
    struct journal *j = &l->journal;
    os_mutex_lock(j->lock);
    bool held = !j->closing;
    j->holds += held;
    os_mutex_unlock(j->lock);
    return held;
}

void log_let_go(struct log *l, bool held)
{
    struct journal *j = &l->journal;
    if (!held)
        return;
    os_mutex_lock(j->lock);
    if (--j->holds == 0 && j->closing)
        os_cond_signal(j->work);
    os_mutex_unlock(j->lock);
}

/* -- the committer ---------------------------------------------------------------------------------------------------- */

static void file_header(char block[JOURNAL_BLOCK], uint64_t gen)
{
    memset(block, 0, JOURNAL_BLOCK);
    put_u32le(block, JOURNAL_FILE_MAGIC);
    put_u32le(block + 8, LOG_FORMAT);
    put_u64le(block + 16, gen);
    put_u32le(block + 4, crc32c(0, block + 8, JOURNAL_BLOCK - 8));
}

/* The CRC of a run of batches behind one of `crc`. Each has its own over all but its first 21 bytes, made or checked when it was
 * appended: of a long batch that one is used, and its bytes are not touched again. */
static uint32_t crc_of_batches(uint32_t crc, const char *p, size_t n)
{
    enum { CRC_AT = 17, BODY_AT = 21 };
    while (n) {
        size_t size = get_u32be(p + 8) + BATCH_PREFIX;
        if (size < JOIN_FROM)
            crc = crc32c(crc, p, size);
        else
            crc = crc32c_joined(crc32c(crc, p, BODY_AT), get_u32be(p + CRC_AT), size - BODY_AT);
        p += size;
        n -= size;
    }
    return crc;
}

static uint32_t crc_of_frame(const struct group *g)
{
    uint32_t crc = crc32c(0, g->p + 8, JOURNAL_FRAME - 8);
    for (size_t at = JOURNAL_FRAME; at < g->n;) {
        size_t n = get_u32le(g->p + at + 20);
        crc = crc_of_batches(crc32c(crc, g->p + at, JOURNAL_ENTRY), g->p + at + JOURNAL_ENTRY, n);
        at += JOURNAL_ENTRY + n;
    }
    return crc;
}

/* Write the group as one frame and make it durable. What fails here ends the process: nothing after it would be true. */
static void write_group(struct log *l, struct group *g)
{
    static const char zeros[JOURNAL_BLOCK];
    struct journal *j = &l->journal;
    uint64_t frame = round_up(g->n);
    char block[JOURNAL_BLOCK];
    if (j->current.used + frame > j->current.size || (!j->current.used && frame + JOURNAL_BLOCK > j->current.size))
        next_file(l, frame);
    put_u32le(g->p, JOURNAL_MAGIC);
    put_u64le(g->p + 8, j->current.gen);
    put_u64le(g->p + 16, j->seq++);
    put_u64le(g->p + 24, g->n);
    put_u32le(g->p + 32, g->entries);
    put_u32le(g->p + 36, 0);
    put_u32le(g->p + 4, crc_of_frame(g));
    struct str parts[3] = {{NULL, 0}, str_make(g->p, g->n), str_make(zeros, frame - g->n)};
    if (!j->current.used) {
        file_header(block, j->current.gen);
        parts[0] = str_make(block, sizeof block);
    }
    struct fault f;
    enum err e = os_pwritev(j->current.file, parts, 3, j->current.used, &f);
    int64_t start_ns = os_mono_ns();
    if (!e && !l->o.durability_os)
        e = os_sync(j->current.file, "journal.append", &f);
    if (e)
        os_die("the journal cannot be written, stopping: %s", fault_message(&f));
    STAT_ADD(l, sync_ns, (uint64_t)(os_mono_ns() - start_ns));
    STAT_ADD(l, syncs, 1);
    STAT_ADD(l, journal_groups, 1);
    os_mutex_lock(j->lock);
    bool half = j->current.used <= j->current.size / 2;
    j->current.used += parts[0].n + frame;
    half = half && j->current.used > j->current.size / 2 && !j->spare.n;
    os_mutex_unlock(j->lock);
    if (half)
        log_kick(l, false, true);
}

static void raise_watermark(struct log_partition *p, int64_t offset)
{
    os_mutex_lock(p->lock);
    if (offset > p->high_watermark) {
        p->high_watermark = offset;
        producers_settle(&p->producers, offset);
    }
    os_mutex_unlock(p->lock);
}

static void tell(const struct waiter *w)
{
    struct log_append_result r = {
        .status = LOG_OK,
        .base_offset = w->base_offset,
        .last_offset = w->last_offset,
        .log_append_time_ms = w->append_time_ms,
        .log_start = w->log_start,
        .duplicate = w->duplicate,
    };
    w->done(w->arg, &r);
}

/* High watermarks first, so that whoever is told can read; then the waiters; then each partition's watches, once. */
static void finish_group(struct log *l, struct group *g)
{
    for (size_t i = 0; i < g->waiters.n; i++)
        if (g->waiters.p[i].end_offset >= 0)
            raise_watermark(g->waiters.p[i].partition, g->waiters.p[i].end_offset);
    for (size_t i = 0; i < g->waiters.n; i++)
        if (g->waiters.p[i].done)
            tell(&g->waiters.p[i]);
    uint64_t round = ++l->journal.round;
    os_mutex_lock(l->watch_lock);
    for (size_t i = 0; i < g->waiters.n; i++) {
        struct log_partition *p = g->waiters.p[i].partition;
        if (p->woken != round)
            log_wake_watches(p);
        p->woken = round;
    }
    os_mutex_unlock(l->watch_lock);
    for (size_t i = 0; i < g->waiters.n; i++)
        log_partition_release(g->waiters.p[i].partition);
    g->waiters.n = 0;
    g->entries = 0;
    g->usual = g->n > g->usual ? g->n : g->usual - g->usual / 16;
    if (g->cap > GROUP_KEEP &&
        g->cap / 4 > g->usual) { /* the first touch of new memory costs more than the copy into it */
        free(g->p);
        g->p = NULL;
        g->cap = 0;
    }
    g->n = 0;
}

static void committer(void *arg)
{
    struct log *l = arg;
    struct journal *j = &l->journal;
    os_mutex_lock(j->lock);
    for (;;) {
        while (!j->fill.waiters.n && !j->stop)
            os_cond_wait(j->work, j->lock);
        if (!j->fill.waiters.n)
            break;
        for (j->closing = true; j->holds;)
            os_cond_wait(j->work, j->lock);
        j->closing = false;
        struct group g = j->fill;
        j->fill = j->write;
        os_mutex_unlock(j->lock);
        uint64_t bytes = g.n ? g.n - JOURNAL_FRAME - (uint64_t)g.entries * JOURNAL_ENTRY : 0;
        if (g.n)
            write_group(l, &g);
        __atomic_sub_fetch(&j->pending, bytes, __ATOMIC_RELAXED);
        finish_group(l, &g);
        j->write = g;
        os_mutex_lock(j->lock);
    }
    os_mutex_unlock(j->lock);
}

/* -- open, close ------------------------------------------------------------------------------------------------------ */

/* The next generation: what a checkpoint from here on writes as the live one. */
void journal_begin(struct log *l)
{
    struct journal *j = &l->journal;
    j->current = (struct journal_file){.gen = ++j->gen};
    j->gen_seq = j->seq;
}

/* Its first file: one of those that recovery left in `spare`, or a new one. */
enum err journal_open(struct log *l, struct fault *f)
{
    struct journal *j = &l->journal;
    uint64_t first = l->o.journal_file_bytes < LOG_JOURNAL_FIRST ? l->o.journal_file_bytes : LOG_JOURNAL_FIRST;
    struct journal_file file;
    if (!take_spare(j, first, &file)) {
        enum err e = journal_make_file(l, first, &file, f);
        if (e)
            return e;
    }
    file.gen = j->gen;
    file.used = 0;
    j->current = file;
    return ERR_OK;
}

enum err journal_start(struct log *l, struct fault *f)
{
    return os_thread_start(&l->journal.committer, "committer", committer, l, f);
}

static void group_free(struct group *g)
{
    free(g->p);
    vec_free(&g->waiters);
}

void journal_stop(struct log *l)
{
    struct journal *j = &l->journal;
    if (!j->committer)
        return;
    os_mutex_lock(j->lock);
    j->stop = true;
    os_cond_signal(j->work);
    os_mutex_unlock(j->lock);
    os_thread_join(j->committer);
    j->committer = NULL;
}

void journal_close(struct log *l)
{
    struct journal *j = &l->journal;
    os_close(j->current.file);
    for (size_t i = 0; i < j->full.n; i++)
        os_close(j->full.p[i].file);
    for (size_t i = 0; i < j->spare.n; i++)
        os_close(j->spare.p[i].file);
    vec_free(&j->full);
    vec_free(&j->spare);
    group_free(&j->fill);
    group_free(&j->write);
}
