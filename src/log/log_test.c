#include "base/test.h"
#include "codec/codec.h"
#include "log/batch.h"
#include "log/log.h"

#include <sys/wait.h>
#include <unistd.h>

static char dir[256];
static struct fault f;

static void fresh(void)
{
    const char *tmp = os_env("TMPDIR");
    char text[37];
    os_uuid_text(os_uuid_random(), text);
    snprintf(dir, sizeof dir, "%s/log-test-%s", tmp ? tmp : "/tmp", text);
    os_log_level(OS_ERROR);
}

static void drop(void)
{
    EXPECT(os_remove_tree(dir, NULL) == ERR_OK);
}

static struct log *reopen(struct log *l, uint64_t segment_bytes, uint64_t journal_bytes)
{
    struct log_options o = {.dir = dir, .segment_bytes = segment_bytes, .journal_file_bytes = journal_bytes};
    if (l)
        log_close(l);
    l = NULL;
    if (log_open(&l, &o, &f))
        fprintf(stderr, "open: %s\n", fault_message(&f));
    return l;
}

static struct log_append_result put(struct log_partition *p, const char *value, int count, int64_t ts_ms,
                                    int compression, int64_t pid, int32_t seq)
{
    struct buf b = {0};
    struct batch_writer w;
    batch_begin(&w, &b, ts_ms, compression);
    w.producer_id = pid;
    w.producer_epoch = pid < 0 ? -1 : 0;
    w.base_sequence = pid < 0 ? -1 : seq;
    for (int i = 0; i < count; i++)
        batch_record(&w, ts_ms + i, STR("k"), str_of(value), NULL, 0);
    if (batch_end(&w, &f))
        abort();
    struct log_append_result r = log_append_wait(p, b.p, b.n);
    buf_free(&b);
    return r;
}

/* Every record from `from` on; checks that offsets are without a gap. Returns how many there are. */
static int64_t count_from(struct log_partition *p, int64_t from, size_t max_bytes)
{
    int64_t next = from;
    struct arena *a = arena_new(0);
    for (;;) {
        struct log_slice *s;
        enum log_status status = log_read(p, next, max_bytes, true, 0, &s);
        EXPECT_INT(status, LOG_OK);
        if (status || !s)
            break;
        struct str rest = log_slice_bytes(s);
        EXPECT(rest.n > 0);
        while (rest.n) {
            struct batch b;
            struct record_iter it;
            struct record r;
            bool got = true;
            if (batch_parse(rest, &b, &f) || !batch_crc_ok(&b) || records_begin(&it, &b, a, 1 << 24, &f)) {
                TEST_FAIL_("bad batch at %lld", (long long)next);
                break;
            }
            while (records_next(&it, &r, &got, &f) == ERR_OK && got)
                if (r.offset >= next) {
                    EXPECT_INT(r.offset, next);
                    next++;
                }
            rest = str_sub(rest, b.all.n, rest.n);
        }
        log_slice_release(s);
        arena_reset(a);
    }
    arena_free(a);
    return next - from;
}

TEST(an_append_is_read_back)
{
    fresh();
    struct log *l = reopen(NULL, 0, 0);
    REQUIRE(l);
    struct os_uuid id;
    REQUIRE(log_topic_create(l, STR("t"), 2, NULL, 0, &id, &f) == ERR_OK);
    EXPECT(log_topic_create(l, STR("t"), 2, NULL, 0, &id, &f) == ERR_EXISTS);
    EXPECT(log_topic_create(l, STR("../t"), 2, NULL, 0, NULL, &f) == ERR_INVALID);
    EXPECT(log_topic_create(l, STR("u"), 0, NULL, 0, NULL, &f) == ERR_INVALID);
    struct log_partition *p = log_partition(l, STR("t"), 1);
    REQUIRE(p);
    EXPECT(!log_partition(l, STR("t"), 2));
    for (int i = 0; i < 10; i++) {
        struct log_append_result r = put(p, "hello", 3, 1700000000000, i % CODEC_COUNT, -1, -1);
        EXPECT_INT(r.status, LOG_OK);
        EXPECT_INT(r.base_offset, i * 3);
        EXPECT_INT(r.last_offset, i * 3 + 2);
    }
    struct log_offsets o = log_partition_offsets(p);
    EXPECT(o.high_watermark == 30 && o.log_end == 30 && o.log_start == 0);
    for (int64_t from = 0; from <= 30; from++)
        EXPECT_INT(count_from(p, from, from % 3 ? 1 : 1 << 20), 30 - from);
    struct log_slice *s;
    EXPECT_INT(log_read(p, 31, 100, true, 0, &s), LOG_OFFSET_OUT_OF_RANGE);
    EXPECT_INT(log_read(p, -1, 100, true, 0, &s), LOG_OFFSET_OUT_OF_RANGE);
    EXPECT(log_read(p, 0, 10, false, false, &s) == LOG_OK && !s);
    EXPECT(log_read(p, 0, 1000, false, true, &s) == LOG_OK && s);
    log_slice_release(s);
    log_partition_release(p);
    l = reopen(l, 0, 0);
    REQUIRE(l);
    p = log_partition(l, STR("t"), 1);
    EXPECT_INT(count_from(p, 0, 1 << 20), 30);
    EXPECT_INT(put(p, "more", 1, 1700000000000, 0, -1, -1).base_offset, 30);
    log_partition_release(p);
    log_close(l);
    drop();
}

/* Many segments and several journal files; a child is killed in the middle, what it was told is there. */
TEST(a_killed_process_loses_nothing)
{
    fresh();
    int fd[2];
    REQUIRE(pipe(fd) == 0);
    pid_t child = fork();
    if (!child) {
        struct log *l = reopen(NULL, 20000, 64 << 10);
        if (!l || log_topic_create(l, STR("t"), 1, NULL, 0, NULL, &f))
            _exit(1);
        struct log_partition *p = log_partition(l, STR("t"), 0);
        for (int i = 0;; i++) {
            if (put(p, "a value of some length, so that segments fill", 10, 1700000000000 + i * 1000, i % 5, 7, i * 10)
                    .status)
                _exit(1);
            if (write(fd[1], &i, sizeof i) != sizeof i)
                _exit(0);
            if (i == 500)
                _exit(0); /* without a clean stop */
        }
    }
    close(fd[1]);
    int last = -1, got;
    while (read(fd[0], &got, sizeof got) == sizeof got)
        last = got;
    close(fd[0]);
    int status;
    waitpid(child, &status, 0);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    EXPECT_INT(last, 500);
    for (int round = 0; round < 3; round++) {
        struct log *l = reopen(NULL, 20000, 64 << 10);
        REQUIRE(l);
        struct log_partition *p = log_partition(l, STR("t"), 0);
        REQUIRE(p);
        EXPECT_INT(log_partition_offsets(p).high_watermark, 5010 + round * 10);
        EXPECT_INT(count_from(p, 0, 10000), 5010 + round * 10);
        /* The last batches were a producer's: a retry is a duplicate, the next sequence goes on. */
        struct log_append_result r =
            put(p, "a value of some length, so that segments fill", 10, 0, 0, 7, 5000 + round * 10);
        EXPECT(r.status == LOG_OK && r.duplicate && r.base_offset == 5000 + round * 10);
        EXPECT_INT(put(p, "x", 1, 0, 0, 7, 5005).status, LOG_OUT_OF_ORDER_SEQUENCE);
        r = put(p, "x", 10, 1700001000000, 0, 7, 5010 + round * 10);
        EXPECT(r.status == LOG_OK && !r.duplicate);
        int64_t offset, ts;
        EXPECT(log_offset_for_time(p, 1700000100005, &offset, &ts) == LOG_OK);
        EXPECT_INT(offset, 1005);
        EXPECT(log_offset_for_time(p, 1700000100500, &offset, &ts) == LOG_OK);
        EXPECT(offset == 1010 && ts == 1700000101000);
        EXPECT(log_max_timestamp(p, &offset, &ts) == LOG_OK && ts == 1700001000009);
        EXPECT(log_offset_for_time(p, 1800000000000, &offset, &ts) == LOG_OK && offset == -1);
        log_partition_release(p);
        if (round)
            log_close(l);
        else
            log_close(l);
    }
    drop();
}

TEST(topics_and_facts_survive)
{
    fresh();
    struct log *l = reopen(NULL, 0, 0);
    REQUIRE(l);
    char cluster[23];
    memcpy(cluster, log_cluster_id(l), 23);
    const struct log_config conf[] = {{STR("retention.ms"), STR("5")}, {STR("segment.bytes"), STR("2000")}};
    REQUIRE(log_topic_create(l, STR("a"), 1, conf, 2, NULL, &f) == ERR_OK);
    REQUIRE(log_topic_create(l, STR("b"), 3, NULL, 0, NULL, &f) == ERR_OK);
    uint64_t version = log_topics_version(l);
    EXPECT(log_topic_grow(l, STR("b"), 3, &f) == ERR_INVALID);
    EXPECT(log_topic_grow(l, STR("b"), 5, &f) == ERR_OK);
    EXPECT(log_topics_version(l) > version);
    const struct log_config change[] = {{STR("retention.ms"), {NULL, 0}}, {STR("cleanup.policy"), STR("compact")}};
    EXPECT(log_topic_configure(l, STR("a"), change, 2, &f) == ERR_OK);
    EXPECT(log_topic_configure(l, STR("none"), change, 2, &f) == ERR_NOTFOUND);
    EXPECT(log_fact_put(l, STR("q/1"), STR("one"), &f) == ERR_OK);
    EXPECT(log_fact_put(l, STR("q/2"), STR("two"), &f) == ERR_OK);
    EXPECT(log_fact_put(l, STR("q/1"), (struct str){NULL, 0}, &f) == ERR_OK);
    int64_t id1, id2;
    EXPECT(log_producer_id(l, &id1, &f) == ERR_OK);
    struct log_partition *old = log_partition(l, STR("b"), 4);
    REQUIRE(old);
    EXPECT_INT(put(old, "gone", 1, 1, 0, -1, -1).status, LOG_OK);
    EXPECT(log_topic_delete(l, STR("b"), &f) == ERR_OK);
    EXPECT(log_topic_delete(l, STR("b"), &f) == ERR_NOTFOUND);
    EXPECT_INT(put(old, "gone", 1, 1, 0, -1, -1).status, LOG_UNKNOWN_TOPIC);
    EXPECT(log_partition_offsets(old).deleted);
    log_partition_release(old);
    REQUIRE(log_topic_create(l, STR("b"), 1, NULL, 0, NULL, &f) == ERR_OK);
    struct log_partition *p = log_partition(l, STR("b"), 0);
    EXPECT_INT(put(p, "new", 1, 1, 0, -1, -1).base_offset, 0);
    log_partition_release(p);
    l = reopen(l, 0, 0);
    REQUIRE(l);
    EXPECT(!memcmp(cluster, log_cluster_id(l), 23) && strlen(cluster) == 22);
    struct arena *a = arena_new(0);
    struct log_topic *topics, one;
    REQUIRE(log_topics(l, a, &topics) == 2);
    EXPECT_STR(topics[0].name, "a");
    EXPECT(topics[0].nconfigs == 2 && topics[1].partitions == 1);
    REQUIRE(log_topic_by_id(l, topics[1].id, a, &one));
    EXPECT_STR(one.name, "b");
    struct str value;
    EXPECT(log_fact_get(l, STR("q/2"), a, &value) && str_eqz(value, "two"));
    EXPECT(!log_fact_get(l, STR("q/1"), a, &value));
    struct log_config *facts;
    EXPECT_INT(log_facts(l, STR("q/"), a, &facts), 1);
    EXPECT(log_producer_id(l, &id2, &f) == ERR_OK && id2 > id1);
    p = log_partition(l, STR("a"), 0);
    struct buf b = {0};
    struct batch_writer w;
    batch_begin(&w, &b, 1, 0);
    batch_record(&w, 1, (struct str){NULL, 0}, STR("v"), NULL, 0);
    EXPECT(batch_end(&w, &f) == ERR_OK);
    struct log_append_result r = log_append_wait(p, b.p, b.n);
    EXPECT_INT(r.status, LOG_INVALID_RECORD); /* compacted: a key is needed */
    buf_free(&b);
    log_partition_release(p);
    arena_free(a);
    log_close(l);
    drop();
}

TEST(a_directory_serves_one_process)
{
    fresh();
    struct log *l = reopen(NULL, 0, 0), *second;
    REQUIRE(l);
    struct log_options o = {.dir = dir};
    EXPECT(log_open(&second, &o, &f) == ERR_BUSY);
    log_close(l);
    char path[512];
    snprintf(path, sizeof path, "%s/FORMAT", dir);
    EXPECT(os_write_file_atomic(path, STR("2\n"), "t", "t", &f) == ERR_OK);
    EXPECT(log_open(&second, &o, &f) == ERR_VERSION);
    EXPECT(strstr(fault_message(&f), "newer") != NULL);
    drop();
}

static void count(void *arg)
{
    __atomic_add_fetch((int *)arg, 1, __ATOMIC_RELAXED);
}

struct many {
    struct log_partition *p;
    int errors;
};

static void producer_main(void *arg)
{
    struct many *m = arg;
    for (int i = 0; i < 200; i++)
        m->errors += put(m->p, "from a thread", 2, 1700000000000, 0, -1, -1).status != LOG_OK;
}

TEST(threads_append_together)
{
    fresh();
    struct log *l = reopen(NULL, 30000, 64 << 10);
    REQUIRE(l);
    REQUIRE(log_topic_create(l, STR("t"), 2, NULL, 0, NULL, &f) == ERR_OK);
    struct os_thread *t[4];
    struct many m[4];
    int woken = 0;
    struct log_partition *p[2] = {log_partition(l, STR("t"), 0), log_partition(l, STR("t"), 1)};
    struct log_watch *w = log_watch(p[0], count, &woken);
    for (int i = 0; i < 4; i++) {
        m[i] = (struct many){p[i % 2], 0};
        REQUIRE(os_thread_start(&t[i], "producer", producer_main, &m[i], &f) == ERR_OK);
    }
    for (int64_t got = 0; got < 800;)
        got += count_from(p[0], got, 1000);
    for (int i = 0; i < 4; i++) {
        os_thread_join(t[i]);
        EXPECT_INT(m[i].errors, 0);
    }
    log_unwatch(w);
    EXPECT(woken > 0 && woken <= 400);
    EXPECT_INT(count_from(p[1], 0, 1 << 20), 800);
    struct log_stats s;
    log_stats(l, &s);
    EXPECT(s.appended_records == 1600 && s.partitions == 2 && s.journal_groups <= 800);
    EXPECT_INT(log_pending_bytes(l), 0);
    log_partition_release(p[0]);
    log_partition_release(p[1]);
    log_close(l);
    drop();
}

static void counted(void *arg, const struct log_append_result *r)
{
    if (r->status == LOG_OK)
        count(arg);
}

static uint64_t groups_of(struct log *l)
{
    struct log_stats s;
    log_stats(l, &s);
    return s.journal_groups;
}

TEST(what_is_appended_under_a_hold_shares_a_group)
{
    fresh();
    struct log *l = reopen(NULL, 0, 0);
    REQUIRE(l);
    REQUIRE(log_topic_create(l, STR("t"), 3, NULL, 0, NULL, &f) == ERR_OK);
    for (int round = 0; round < 5; round++) {
        int done = 0;
        struct log_append_result r;
        uint64_t before = groups_of(l);
        bool held = log_hold(l), again = log_hold(l);
        EXPECT(held);
        for (int i = 0; i < 3; i++) {
            struct log_partition *p = log_partition(l, STR("t"), i);
            struct batch_writer w;
            struct buf b = {0};
            batch_begin(&w, &b, 1700000000000, 0);
            batch_record(&w, 1700000000000, STR("k"), STR("v"), NULL, 0);
            REQUIRE(batch_end(&w, &f) == ERR_OK);
            EXPECT_INT(log_append(p, b.p, b.n, counted, &done, &r), LOG_OK);
            buf_free(&b);
            log_partition_release(p);
            os_sleep_ms(2);
        }
        EXPECT_INT(groups_of(l), before);
        log_let_go(l, again);
        log_let_go(l, held);
        while (__atomic_load_n(&done, __ATOMIC_RELAXED) < 3)
            os_sleep_ms(1);
        EXPECT_INT(groups_of(l), before + 1);
    }
    log_close(l);
    drop();
}

/* Facts that are written over and over, and a topic made and deleted: the file stays a small multiple of what there is. */
TEST(the_metadata_log_is_written_anew)
{
    fresh();
    struct log *l = NULL;
    struct log_options o = {.dir = dir, .rewrite_bytes = 4096};
    struct os_stat s;
    char path[300], value[300];
    snprintf(path, sizeof path, "%s/metadata.log", dir);
    REQUIRE(log_open(&l, &o, &f) == ERR_OK);
    char id[23];
    snprintf(id, sizeof id, "%s", log_cluster_id(l));
    struct log_config keep = {STR("retention.ms"), STR("12345")};
    REQUIRE(log_topic_create(l, STR("kept"), 3, &keep, 1, NULL, &f) == ERR_OK);
    int64_t first, second;
    REQUIRE(log_producer_id(l, &first, &f) == ERR_OK);
    memset(value, 'v', sizeof value);
    for (int i = 0; i < 300; i++) {
        snprintf(value, 12, "%d", i);
        EXPECT(log_fact_put(l, STR("again"), str_make(value, sizeof value), &f) == ERR_OK);
        if (i % 10 == 0) {
            EXPECT(log_topic_create(l, STR("gone"), 1, NULL, 0, NULL, &f) == ERR_OK);
            EXPECT(log_topic_delete(l, STR("gone"), &f) == ERR_OK);
        }
    }
    EXPECT(os_stat(path, &s, NULL) == ERR_OK && s.size <= 4096 + 400); /* of 100 KB that were appended */
    for (int round = 0; round < 2; round++) {
        log_close(l);
        REQUIRE(log_open(&l, &o, &f) == ERR_OK);
        struct arena *a = arena_new(0);
        struct log_topic t, *all;
        struct str found;
        EXPECT_STR(str_of(log_cluster_id(l)), id);
        EXPECT_INT(log_topics(l, a, &all), 1);
        EXPECT(log_topic_get(l, STR("kept"), a, &t) && t.partitions == 3 && t.nconfigs == 1);
        EXPECT(log_fact_get(l, STR("again"), a, &found) && found.n == 300 && !memcmp(found.p, "299", 3));
        EXPECT(log_producer_id(l, &second, &f) == ERR_OK && second > first);
        first = second;
        arena_free(a);
    }
    log_close(l);
    drop();
}

TEST_MAIN()
