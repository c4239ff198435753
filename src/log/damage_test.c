/*
 * Damage, a full disk, a stop in the middle: what the log makes of each. Every case runs in a process of its own, on the
 * simulated disk (os/sim.h): a parent forks, the child's complaints are its exit status.
 */
#include "log/sim_test.h"

static bool may_refuse;

static struct log *start(void)
{
    struct log *l = NULL;
    struct log_options o = {.dir = "/d", .segment_bytes = 8 << 10, .journal_file_bytes = 1 << 20};
    if (log_open(&l, &o, &f)) {
        if (!may_refuse)
            fprintf(stderr, "open: %s\n", fault_message(&f));
        return NULL;
    }
    return l;
}

static struct log_append_result put(struct log_partition *p, int number)
{
    struct buf b = {0};
    struct batch_writer w;
    char value[600];
    memset(value, 'a' + number % 26, sizeof value);
    batch_begin(&w, &b, 1700000000000 + number, 0);
    batch_record(&w, 1700000000000 + number, STR("k"), str_make(value, sizeof value), NULL, 0);
    if (batch_end(&w, &f))
        abort();
    struct log_append_result r = log_append_wait(p, b.p, b.n);
    buf_free(&b);
    return r;
}

/* Whole, good batches from 0 on; *status: why it ended. */
static int64_t readable(struct log_partition *p, enum log_status *status)
{
    int64_t next = 0;
    struct log_slice *s;
    while (!(*status = log_read(p, next, 2000, true, 0, &s)) && s) {
        struct batch b;
        for (struct str rest = log_slice_bytes(s); rest.n; rest = str_sub(rest, b.all.n, rest.n)) {
            if (batch_parse(rest, &b, NULL) || !batch_crc_ok(&b)) {
                log_slice_release(s);
                *status = LOG_CORRUPT_MESSAGE;
                return next;
            }
            EXPECT_INT(b.base_offset, next);
            next++;
        }
        log_slice_release(s);
    }
    return next;
}

/* Fifty batches, then the process is gone; the disk keeps all it saw (a kill, not a power cut). */
static void fill(void)
{
    struct log *l = start();
    REQUIRE(l);
    REQUIRE(log_topic_create(l, STR("t"), 2, NULL, 0, NULL, &f) == ERR_OK);
    struct log_partition *p = log_partition(l, STR("t"), 0);
    for (int i = 0; i < 50; i++)
        EXPECT_INT(put(p, i).status, LOG_OK);
    leave_image();
}

/* The same through a clean stop: everything is in the segments, the journal is empty. */
static void fill_and_stop(void)
{
    struct log *l = start();
    REQUIRE(l);
    REQUIRE(log_topic_create(l, STR("t"), 2, NULL, 0, NULL, &f) == ERR_OK);
    struct log_partition *p = log_partition(l, STR("t"), 0);
    for (int i = 0; i < 50; i++)
        EXPECT_INT(put(p, i).status, LOG_OK);
    log_partition_release(p);
    log_close(l);
    leave_image();
}

/* -- the journal ---------------------------------------------------------------------------------------------------------- */

/* Every frame is one page behind the header's. The tenth is bad, forty whole ones follow it: damage. The segments are as
 * the process left them, so nothing is missing; and nothing may be cut. */
static void bad_frame_in_the_middle(void)
{
    EXPECT(sim_flip("/d/journal/00", 4096 * 10 + 200));
    struct log *l = start();
    REQUIRE(l);
    struct log_partition *p = log_partition(l, STR("t"), 0);
    enum log_status status;
    EXPECT_INT(readable(p, &status), 50);
    EXPECT_INT(put(p, 50).base_offset, 50);
}

/* The segment's own bytes of that batch are bad too: readers are told, nothing is cut, appends go on behind. */
static void bad_frame_and_bad_segment(void)
{
    EXPECT(sim_flip("/d/journal/00", 4096 * 10 + 200));
    EXPECT(sim_flip("/d/t-0/00000000000000000000.log", 680 * 9 + 300));
    struct log *l = start();
    REQUIRE(l);
    struct log_partition *p = log_partition(l, STR("t"), 0);
    enum log_status status;
    EXPECT_INT(readable(p, &status), 9);
    EXPECT_INT(status, LOG_CORRUPT_MESSAGE);
    EXPECT_INT(put(p, 50).base_offset, 50);
}

/* The segments never reached the disk behind that batch: acknowledged records are lost. The partition keeps what is whole
 * and goes offline instead of giving their offsets away again; the other partition works. */
static void bad_frame_and_short_segment(void)
{
    struct os_file *file;
    char path[64];
    EXPECT(sim_flip("/d/journal/00", 4096 * 10 + 200));
    for (int base = 12; base < 50; base += 12) {
        snprintf(path, sizeof path, "/d/t-0/%020d.log", base);
        EXPECT(os_unlink(path, &f) == ERR_OK);
    }
    REQUIRE(os_open(&file, "/d/t-0/00000000000000000000.log", OS_RDWR, &f) == ERR_OK);
    EXPECT(os_truncate(file, 680 * 9 + 100, &f) == ERR_OK);
    os_close(file);
    struct log *l = start();
    REQUIRE(l);
    struct log_partition *p = log_partition(l, STR("t"), 0), *other = log_partition(l, STR("t"), 1);
    enum log_status status;
    EXPECT_INT(readable(p, &status), 9);
    EXPECT_INT(put(p, 50).status, LOG_STORAGE_ERROR);
    EXPECT_INT(put(other, 0).status, LOG_OK);
}

/* A bad last frame was told to nobody: it is cut, here as if the last append had been torn. */
static void torn_last_frame(void)
{
    EXPECT(sim_flip("/d/journal/00", 4096 * 50 + 200));
    struct log *l = start();
    REQUIRE(l);
    struct log_partition *p = log_partition(l, STR("t"), 0);
    enum log_status status;
    EXPECT_INT(readable(p, &status), 49);
    EXPECT_INT(put(p, 50).base_offset, 49);
}

TEST(a_bad_journal_frame)
{
    EXPECT(in_sim(1, fill));
    EXPECT(in_sim(2, bad_frame_in_the_middle));
    EXPECT(in_sim(3, bad_frame_and_bad_segment));
    EXPECT(in_sim(4, bad_frame_and_short_segment));
    EXPECT(in_sim(4, torn_last_frame));
    image->n = 0;
}

/* -- segments, metadata, recovery points ---------------------------------------------------------------------------------- */

/* Synced records go bad at rest: what is before and in other partitions is served, readers of it are told. */
static void bad_segment(void)
{
    EXPECT(sim_flip("/d/t-0/00000000000000000012.log", 680 * 3 + 300));
    struct log *l = start();
    REQUIRE(l);
    struct log_partition *p = log_partition(l, STR("t"), 0);
    enum log_status status;
    EXPECT_INT(readable(p, &status), 15);
    EXPECT_INT(status, LOG_CORRUPT_MESSAGE);
    EXPECT_INT(put(p, 50).base_offset, 50);
    log_partition_release(p);
    log_close(l);
}

/* A closed segment's index names a place behind its end: the records it hides are found without it. */
static void bad_index(void)
{
    EXPECT(sim_flip("/d/t-0/00000000000000000000.index", 5));
    struct log *l = start();
    REQUIRE(l);
    struct log_partition *p = log_partition(l, STR("t"), 0);
    struct log_slice *s = NULL;
    struct batch b;
    REQUIRE(log_read(p, 10, 2000, true, 0, &s) == LOG_OK && s);
    EXPECT(batch_parse(log_slice_bytes(s), &b, &f) == ERR_OK);
    EXPECT_INT(b.base_offset, 10);
    log_slice_release(s);
}

/* A disk that cannot read now and then: the start fails by name, or it has everything. Never does a file that could not be
 * read put a partition offline: the checkpoint at the end of the start would let go of what the journal has of it. */
static void reads_that_fail(void)
{
    struct log *l;
    may_refuse = true;
    sim_disk(&(struct sim_disk){.read_one_in = 20});
    while (!(l = start()))
        ;
    sim_disk(&(struct sim_disk){0});
    struct log_partition *p = log_partition(l, STR("t"), 0);
    enum log_status status;
    EXPECT_INT(readable(p, &status), 50);
    EXPECT_INT(put(p, 50).base_offset, 50);
}

TEST(a_start_on_a_disk_that_cannot_read_loses_nothing)
{
    EXPECT(in_sim(1, fill));
    for (uint64_t seed = 1; seed <= 40; seed++)
        EXPECT(in_sim(seed, reads_that_fail));
    image->n = 0;
    EXPECT(in_sim(1, fill_and_stop));
    for (uint64_t seed = 1; seed <= 40; seed++)
        EXPECT(in_sim(seed, reads_that_fail));
    EXPECT(in_sim(1, bad_index));
    image->n = 0;
}

/* The length of a batch: the walk cannot pass it. */
static void bad_length(void)
{
    EXPECT(sim_flip("/d/t-0/00000000000000000012.log", 680 * 3 + 8));
    struct log *l = start();
    REQUIRE(l);
    struct log_partition *p = log_partition(l, STR("t"), 0);
    enum log_status status;
    EXPECT_INT(readable(p, &status), 15);
    EXPECT_INT(status, LOG_CORRUPT_MESSAGE);
}

static void bad_metadata(void)
{
    struct log *l = NULL;
    struct log_options o = {.dir = "/d"};
    EXPECT(sim_flip("/d/metadata.log", 20)); /* the first record; a whole one follows */
    EXPECT(log_open(&l, &o, &f) == ERR_CORRUPT);
    EXPECT(strstr(fault_message(&f), "metadata.log") != NULL);
}

static void bad_recovery_points(void)
{
    struct log *l = NULL;
    struct log_options o = {.dir = "/d"};
    EXPECT(sim_flip("/d/recovery-points", 45));
    EXPECT(log_open(&l, &o, &f) == ERR_CORRUPT);
    EXPECT(strstr(fault_message(&f), "recovery-points") != NULL);
}

static void newer_metadata(void)
{
    struct log *l = NULL;
    struct log_options o = {.dir = "/d"};
    struct os_file *file;
    REQUIRE(os_open(&file, "/d/FORMAT", OS_RDWR | OS_TRUNC, &f) == ERR_OK);
    EXPECT(os_pwrite(file, "7\n", 2, 0, &f) == ERR_OK);
    os_close(file);
    EXPECT(log_open(&l, &o, &f) == ERR_VERSION);
    EXPECT(strstr(fault_message(&f), "format 7") != NULL);
}

static void missing_directory(void)
{
    EXPECT(os_remove_tree("/d/t-0", &f) == ERR_OK);
    struct log *l = start();
    REQUIRE(l);
    struct log_partition *p = log_partition(l, STR("t"), 0), *other = log_partition(l, STR("t"), 1);
    enum log_status status;
    EXPECT_INT(readable(p, &status), 0);
    EXPECT_INT(put(p, 50).status, LOG_STORAGE_ERROR); /* not offset 0 again */
    EXPECT_INT(put(other, 0).status, LOG_OK);
}

static void bad_snapshot(void)
{
    EXPECT(sim_flip("/d/t-0/00000000000000000048.snapshot", 3));
    struct log *l = start();
    REQUIRE(l);
    struct log_partition *p = log_partition(l, STR("t"), 0);
    enum log_status status;
    EXPECT_INT(readable(p, &status), 50);
}

TEST(damage_at_rest)
{
    static void (*const CASES[])(void) = {bad_segment,    bad_length,        bad_metadata, bad_recovery_points,
                                          newer_metadata, missing_directory, bad_snapshot};
    EXPECT(in_sim(5, fill_and_stop));
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++)
        if (!in_sim(6 + i, CASES[i]))
            TEST_FAIL_("case %zu", i);
    image->n = 0;
}

/* Any bit of any file: the log opens or refuses by name, and reads without a crash. */
static int flips;
static void any_flip(void)
{
    static const char *const FILES[] = {"/d/t-0/00000000000000000000.log",
                                        "/d/t-0/00000000000000000000.index",
                                        "/d/t-0/00000000000000000000.timeindex",
                                        "/d/t-0/00000000000000000048.log",
                                        "/d/journal/00",
                                        "/d/t-0/partition.metadata",
                                        "/d/metadata.log",
                                        "/d/t-0/00000000000000000048.snapshot"};
    const char *path = FILES[flips % 8];
    struct os_stat s;
    if (os_stat(path, &s, NULL) || !s.size)
        _exit(0);
    uint64_t range = s.size < 60 * 4096 ? s.size : 60 * 4096;
    (void)sim_flip(path, sim_random(range));
    struct log *l = NULL;
    struct log_options o = {.dir = "/d", .segment_bytes = 8 << 10, .journal_file_bytes = 1 << 20};
    enum err e = log_open(&l, &o, &f);
    EXPECT(e == ERR_OK || e == ERR_CORRUPT || e == ERR_VERSION);
    if (e)
        _exit(test_failures_ ? 1 : 0);
    struct log_partition *p = log_partition(l, STR("t"), 0);
    enum log_status status;
    int64_t offset, ts;
    if (p) {
        (void)readable(p, &status);
        (void)log_offset_for_time(p, 1700000000020, &offset, &ts);
        (void)log_max_timestamp(p, &offset, &ts);
        (void)put(p, 60);
        log_partition_release(p);
    }
    log_close(l);
}

TEST(any_flipped_bit)
{
    for (int clean = 0; clean < 2; clean++) {
        EXPECT(in_sim(20, clean ? fill_and_stop : fill));
        for (flips = 0; flips < 160; flips++)
            if (!in_sim(100 + (uint64_t)flips, any_flip))
                TEST_FAIL_("flip %d", flips);
        image->n = 0;
    }
}

/* -- a full disk ------------------------------------------------------------------------------------------------------------ */

static void full_disk(void)
{
    sim_capacity(1600 << 10);
    struct log *l = start();
    REQUIRE(l);
    REQUIRE(log_topic_create(l, STR("t"), 1, NULL, 0, NULL, &f) == ERR_OK);
    struct log_partition *p = log_partition(l, STR("t"), 0);
    struct log_append_result r = {.status = LOG_OK};
    int64_t n = 0;
    for (; n < 5000 && (r = put(p, (int)n)).status == LOG_OK; n++)
        ;
    EXPECT_INT(r.status, LOG_STORAGE_ERROR); /* KAFKA_STORAGE_ERROR: a client tries again */
    EXPECT(n > 10 && strstr(r.message, "No space") != NULL);
    enum err e = log_topic_create(l, STR("u"), 1, NULL, 0, NULL, &f);
    EXPECT(e == ERR_NOSPACE);
    EXPECT(log_topic_get(l, STR("u"), arena_new(0), &(struct log_topic){0}) == false);
    enum log_status status;
    EXPECT_INT(readable(p, &status), n);
    EXPECT_INT(status, LOG_OK);
    sim_capacity(4 << 20); /* someone made room */
    EXPECT_INT(put(p, (int)n).base_offset, n);
    EXPECT(log_topic_create(l, STR("u"), 1, NULL, 0, NULL, &f) == ERR_OK);
    log_partition_release(p);
    log_close(l);
    image->acked = n + 1;
    leave_image();
}

static void after_full_disk(void)
{
    struct log *l = start();
    REQUIRE(l);
    struct log_partition *p = log_partition(l, STR("t"), 0);
    enum log_status status;
    EXPECT_INT(readable(p, &status), image->acked);
}

TEST(a_full_disk_refuses_and_reads)
{
    EXPECT(in_sim(300, full_disk));
    EXPECT(in_sim(301, after_full_disk));
    image->n = 0;
}

TEST_MAIN()
