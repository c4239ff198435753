/* Records that go: by age, by size, by DeleteRecords; what readers, producers and the next start see of it. */
#include "log/sim_test.h"

#include "base/arena.h"

#include <string.h>

enum { DAY_MS = 86400000 };

/* On an empty disk. */
static bool in_new_sim(uint64_t seed, void (*fn)(void))
{
    if (image)
        image->n = 0;
    return in_sim(seed, fn);
}

static struct log *open_log(const struct log_config *defaults, size_t n)
{
    struct log_options o = {
        .dir = "/d", .segment_bytes = 4096, .journal_file_bytes = 1 << 20, .retention_check_ms = 1000};
    struct log *l = NULL;
    if (log_open(&l, &o, &f)) {
        TEST_FAIL_("open: %s", fault_message(&f));
        _exit(1);
    }
    log_defaults(l, defaults, n);
    return l;
}

static struct log_partition *topic(struct log *l, const char *key, const char *value)
{
    struct log_config c = {str_of(key), str_of(value)};
    if (log_topic_create(l, STR("t"), 1, key ? &c : NULL, key != NULL, NULL, &f))
        abort();
    return log_partition(l, STR("t"), 0);
}

static struct log_append_result put_as(struct log_partition *p, int64_t ts_ms, int64_t pid, int32_t seq)
{
    static char filler[900];
    struct buf b = {0};
    struct batch_writer w;
    memset(filler, 'x', sizeof filler);
    batch_begin(&w, &b, ts_ms, 0);
    w.producer_id = pid;
    w.producer_epoch = pid < 0 ? -1 : 0;
    w.base_sequence = pid < 0 ? -1 : seq;
    batch_record(&w, ts_ms, STR("k"), str_make(filler, sizeof filler), NULL, 0);
    if (batch_end(&w, &f))
        abort();
    struct log_append_result r = log_append_wait(p, b.p, b.n);
    EXPECT_INT(r.status, LOG_OK);
    buf_free(&b);
    return r;
}

static void put(struct log_partition *p, int64_t ts_ms)
{
    put_as(p, ts_ms, -1, -1);
}

struct answer {
    struct os_mutex *lock;
    struct os_cond *there;
    bool done;
    struct log_append_result r;
};

static void answered(void *arg, const struct log_append_result *r)
{
    struct answer *a = arg;
    os_mutex_lock(a->lock);
    a->r = *r;
    a->done = true;
    os_cond_signal(a->there);
    os_mutex_unlock(a->lock);
}

/* DeleteRecords, waited for. */
static enum log_status delete_to(struct log_partition *p, int64_t offset, int64_t *log_start)
{
    struct answer a = {os_mutex_new(), os_cond_new(), false, {0}};
    enum log_status status = log_delete_records(p, offset, answered, &a);
    os_mutex_lock(a.lock);
    while (!status && !a.done)
        os_cond_wait(a.there, a.lock);
    os_mutex_unlock(a.lock);
    *log_start = a.r.log_start;
    os_mutex_free(a.lock);
    os_cond_free(a.there);
    return status ? status : a.r.status;
}

static int nfiles;
static enum err count_logs(void *arg, const char *name)
{
    (void)arg;
    nfiles += str_ends(str_of(name), STR(".log"));
    return ERR_OK;
}

static int segments(void)
{
    nfiles = 0;
    EXPECT(os_list("/d/t-0", count_logs, NULL, &f) == ERR_OK);
    return nfiles;
}

static int64_t start_of(struct log_partition *p)
{
    return log_partition_offsets(p).log_start;
}

static enum log_status read_at(struct log_partition *p, int64_t offset)
{
    struct log_slice *s;
    enum log_status status = log_read(p, offset, 1 << 20, true, 0, &s);
    log_slice_release(s);
    return status;
}

/* -- by age ------------------------------------------------------------------------------------------------------------ */

static void age(void)
{
    struct log_config week = {STR("retention.ms"), STR("604800000")};
    struct log *l = open_log(&week, 1);
    struct log_partition *p = topic(l, NULL, NULL);
    int64_t begin_ms = os_now_ms();
    for (int i = 0; i < 20; i++) { /* four to a segment; the last is not full */
        put(p, os_now_ms());
        os_sleep_ms(DAY_MS / 4);
    }
    EXPECT_INT(start_of(p), 0);
    os_sleep_ms(begin_ms + 7 * (int64_t)DAY_MS -
                os_now_ms()); /* the first record is a week old; its segment's last is not */
    EXPECT_INT(start_of(p), 0);
    os_sleep_ms(DAY_MS + 2000);
    EXPECT_INT(start_of(p), 4);
    EXPECT_INT(read_at(p, 3), LOG_OFFSET_OUT_OF_RANGE);
    EXPECT_INT(read_at(p, 4), LOG_OK);
    os_sleep_ms(30 * (int64_t)DAY_MS); /* all of it, the active segment too: it is rolled */
    EXPECT_INT(start_of(p), 20);
    EXPECT_INT(log_partition_offsets(p).high_watermark, 20);
    EXPECT_INT(segments(), 1);
    put(p, os_now_ms());
    EXPECT_INT(log_partition_offsets(p).high_watermark, 21);
    log_partition_release(p);
    log_close(l);
    l = open_log(&week, 1);
    p = log_partition(l, STR("t"), 0);
    EXPECT_INT(start_of(p), 20);
    EXPECT_INT(read_at(p, 20), LOG_OK);
    EXPECT_INT(read_at(p, 19), LOG_OFFSET_OUT_OF_RANGE);
    log_partition_release(p);
    log_close(l);
}

TEST(segments_whose_newest_record_is_older_than_retention_ms_go)
{
    EXPECT(in_new_sim(1, age));
}

static void old_timestamps(void)
{
    struct log *l = open_log(NULL, 0);
    struct log_partition *p = topic(l, "retention.ms", "-1");
    put(p, 1000); /* of 1970 */
    os_sleep_ms(400 * (int64_t)DAY_MS);
    EXPECT_INT(start_of(p), 0);
    struct log_config day = {STR("retention.ms"), STR("86400000")};
    EXPECT(log_topic_configure(l, STR("t"), &day, 1, &f) == ERR_OK); /* in force at once */
    os_sleep_ms(10);
    EXPECT_INT(start_of(p), 1);
    put(p, 1000); /* expired when it comes: it goes at the next look, and not one look per record */
    os_sleep_ms(100);
    EXPECT_INT(start_of(p), 1);
    os_sleep_ms(2000);
    EXPECT_INT(start_of(p), 2);
    log_partition_release(p);
    log_close(l);
}

TEST(settings_hold_at_once_and_without_end_means_so)
{
    EXPECT(in_new_sim(2, old_timestamps));
}

/* -- by size ----------------------------------------------------------------------------------------------------------- */

static void size(void)
{
    struct log *l = open_log(NULL, 0);
    struct log_partition *p = topic(l, "retention.bytes", "10000");
    for (int i = 0; i < 40; i++)
        put(p, os_now_ms());
    os_sleep_ms(10); /* no clock is needed: a roll wakes it */
    int64_t start = start_of(p), left = log_partition_offsets(p).high_watermark - start;
    EXPECT_INT(start % 4, 0);
    EXPECT(left >= 10 && left <= 18); /* less than a segment above the limit when it looked, and the active one since */
    EXPECT(segments() <= 5);
    log_partition_release(p);
    log_close(l);
}

TEST(the_oldest_segments_beyond_retention_bytes_go)
{
    EXPECT(in_new_sim(3, size));
}

/* -- DeleteRecords ------------------------------------------------------------------------------------------------------- */

static void records(void)
{
    struct log *l = open_log(NULL, 0);
    struct log_partition *p = topic(l, "retention.ms", "-1");
    int64_t start, offset, ts;
    for (int i = 0; i < 10; i++)
        put_as(p, 1000 + i, 7, i);
    struct log_slice *held;
    EXPECT_INT(log_read(p, 0, 100, true, 0, &held), LOG_OK);
    EXPECT_INT(delete_to(p, 11, &start), LOG_OFFSET_OUT_OF_RANGE);
    EXPECT_INT(delete_to(p, -2, &start), LOG_OFFSET_OUT_OF_RANGE);
    EXPECT_INT(delete_to(p, 6, &start), LOG_OK);
    EXPECT_INT(start, 6);
    EXPECT_INT(delete_to(p, 2, &start), LOG_OK); /* they are gone already */
    EXPECT_INT(start, 6);
    EXPECT_INT(read_at(p, 5), LOG_OFFSET_OUT_OF_RANGE);
    EXPECT_INT(read_at(p, 6), LOG_OK);
    os_sleep_ms(10); /* files go after the answer */
    EXPECT_INT(segments(), 2);
    EXPECT_INT(log_offset_for_time(p, 1000, &offset, &ts), LOG_OK);
    EXPECT_INT(offset, 6);
    EXPECT(log_slice_bytes(held).n > 900);
    log_slice_release(held);
    EXPECT_INT(delete_to(p, LOG_HIGH_WATERMARK, &start), LOG_OK);
    EXPECT_INT(start, 10);
    EXPECT_INT(log_max_timestamp(p, &offset, &ts), LOG_OK);
    leave_image(); /* killed here */
    log_partition_release(p);
    log_close(l);
}

static void records_later(void)
{
    struct log *l = open_log(NULL, 0);
    struct log_partition *p = log_partition(l, STR("t"), 0);
    EXPECT_INT(start_of(p), 10);
    EXPECT_INT(log_partition_offsets(p).high_watermark, 10);
    EXPECT(put_as(p, 1009, 7, 9).duplicate); /* its sequences outlive its records */
    EXPECT_INT(put_as(p, 1010, 7, 10).base_offset, 10);
    log_partition_release(p);
    log_close(l);
}

TEST(deleted_records_are_gone_for_good_and_their_producers_are_known)
{
    EXPECT(in_new_sim(4, records));
    EXPECT(in_sim(5, records_later));
}

static void compacted(void)
{
    struct log *l = open_log(NULL, 0);
    struct log_partition *p = topic(l, "cleanup.policy", "compact");
    int64_t start;
    put(p, os_now_ms());
    EXPECT_INT(delete_to(p, 1, &start), LOG_POLICY_VIOLATION);
    struct log_config both = {STR("cleanup.policy"), STR("compact,delete")};
    EXPECT(log_topic_configure(l, STR("t"), &both, 1, &f) == ERR_OK);
    EXPECT_INT(delete_to(p, 1, &start), LOG_OK);
    EXPECT(log_topic_delete(l, STR("t"), &f) == ERR_OK);
    EXPECT_INT(delete_to(p, 1, &start), LOG_UNKNOWN_TOPIC);
    log_partition_release(p);
    log_close(l);
}

TEST(a_compacted_topic_keeps_its_records)
{
    EXPECT(in_new_sim(6, compacted));
}

/* -- power ------------------------------------------------------------------------------------------------------------------ */

/* Unlinks that were half done when the power went: the next start does them again, whatever is left. */
static void half_removed(void)
{
    struct log *l = open_log(NULL, 0);
    struct log_partition *p = topic(l, "retention.ms", "-1");
    int64_t start;
    for (int i = 0; i < 20; i++)
        put(p, 1000 + i);
    EXPECT_INT(delete_to(p, 16, &start), LOG_OK);
    os_sleep_ms(10); /* files go after the answer */
    EXPECT_INT(segments(), 1);
    struct os_file *file; /* what an unlink that was forgotten leaves */
    static const char *const LEFT[] = {"/d/t-0/00000000000000000004.log", "/d/t-0/00000000000000000008.index",
                                       "/d/t-0/00000000000000000012.timeindex"};
    for (int i = 0; i < 3; i++) {
        EXPECT(os_open(&file, LEFT[i], OS_RDWR | OS_CREATE, &f) == ERR_OK);
        os_close(file);
    }
    leave_image();
    log_partition_release(p);
    log_close(l);
}

static void half_removed_later(void)
{
    struct log *l = open_log(NULL, 0);
    struct log_partition *p = log_partition(l, STR("t"), 0);
    struct os_stat st;
    EXPECT_INT(start_of(p), 16);
    EXPECT_INT(segments(), 1);
    EXPECT_INT(os_stat("/d/t-0/00000000000000000008.index", &st, NULL), ERR_NOTFOUND);
    EXPECT_INT(os_stat("/d/t-0/00000000000000000012.timeindex", &st, NULL), ERR_NOTFOUND);
    EXPECT_INT(read_at(p, 16), LOG_OK);
    put(p, 5000);
    log_partition_release(p);
    log_close(l);
}

TEST(half_done_unlinks_are_done_again)
{
    EXPECT(in_new_sim(7, half_removed));
    EXPECT(in_sim(8, half_removed_later));
}

TEST_MAIN()
