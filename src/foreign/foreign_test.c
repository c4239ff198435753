/* Feeds, readers and producers over a cluster in memory: ranges that end in what nobody sees, loss, fencing, time limits. */
#include "base/buf.h"
#include "base/test.h"
#include "foreign/foreign_int.h"
#include "foreign/foreign_memory.h"

static struct arena *A;
static struct fault F;
static const char C[] = "memory:9092";

static const struct foreign_config *config(enum foreign_role role, const char *key, const char *value)
{
    const struct foreign_config *c = NULL;
    struct option o[] = {{STR("kafka.bootstrap.servers"), str_of(C)},
                         {STR("kafkaConsumer.pollTimeoutMs"), STR("300")},
                         {STR("kafka.default.api.timeout.ms"), STR("300")},
                         {STR("kafka.max.block.ms"), STR("300")},
                         {str_of(key), str_of(value)}};
    EXPECT(foreign_config(o, key ? 5 : 4, role, A, &c, &F) == ERR_OK);
    return c;
}

static struct foreign *setup(const char *isolation)
{
    struct foreign *c = NULL;
    foreign_use_memory();
    os_log_level(OS_ERROR);
    memory_reset();
    A = arena_new(0);
    memory_topic(C, "t", 2);
    EXPECT(foreign_open(config(FOREIGN_SOURCE, isolation ? "kafka.isolation.level" : NULL, isolation), NULL, &c, &F) ==
           ERR_OK);
    return c;
}

static void teardown(struct foreign *c)
{
    foreign_close(c);
    memory_reset();
    arena_free(A);
}

/* The values of [from, until) of t-0, with commas; what ended it in *e. */
static struct str range(struct foreign *c, int64_t from, int64_t until, enum err *e)
{
    struct buf b = {0};
    struct foreign_reader *r;
    struct foreign_record records[3];
    int n = 1;
    *e = foreign_read(c, STR("t"), 0, from, until, &r, &F);
    if (*e)
        return STR("");
    while (!*e && n) {
        *e = foreign_reader_next(r, records, 3, &n, &F);
        for (int i = 0; !*e && i < n; i++)
            buf_fmt(&b, "%s%.*s", b.n ? "," : "", STR_ARG(records[i].value));
    }
    foreign_reader_close(r);
    struct str text = arena_str(A, buf_view(&b));
    buf_free(&b);
    return text;
}

static int64_t offset(struct foreign *c, int64_t at)
{
    struct foreign_offset o = {STR("t"), 0, at, false};
    EXPECT(foreign_offsets(c, &o, 1, &F) == ERR_OK);
    return o.at;
}

TEST(ranges_follow_one_another)
{
    struct foreign *c = setup(NULL);
    enum err e;
    for (int i = 0; i < 10; i++) {
        char v[16];
        snprintf(v, sizeof v, "%d", i);
        memory_append(C, "t", 0, NULL, v);
    }
    EXPECT_STR(range(c, 0, 4, &e), "0,1,2,3");
    EXPECT_STR(range(c, 4, 9, &e), "4,5,6,7,8");
    EXPECT_STR(range(c, 2, 5, &e), "2,3,4"); /* back again */
    EXPECT_STR(range(c, 9, 10, &e), "9");
    EXPECT(!e);
    EXPECT_INT(offset(c, FOREIGN_LATEST), 10);
    EXPECT_INT(offset(c, FOREIGN_EARLIEST), 0);
    teardown(c);
}

TEST(ranges_end_in_what_is_not_seen)
{
    struct foreign *c = setup("read_committed");
    enum err e;
    const char *ab[] = {"a", "b"}, *xy[] = {"x", "y"};
    memory_transaction(C, "t", 0, ab, 2, 'c'); /* 0 1, marker 2 */
    memory_transaction(C, "t", 0, xy, 2, 'a'); /* 3 4, marker 5 */
    EXPECT_INT(offset(c, FOREIGN_LATEST), 6);
    EXPECT_STR(range(c, 0, 6, &e), "a,b");
    EXPECT_STR(range(c, 2, 3, &e), "");
    EXPECT_STR(range(c, 3, 6, &e), "");
    memory_transaction(C, "t", 0, ab, 2, 'o');
    memory_append(C, "t", 0, NULL, "after");
    EXPECT_INT(offset(c, FOREIGN_LATEST), 6); /* the last stable offset */
    EXPECT(!e);
    teardown(c);
}

TEST(read_uncommitted_sees_all_but_markers)
{
    struct foreign *c = setup(NULL);
    enum err e;
    const char *xy[] = {"x", "y"};
    memory_transaction(C, "t", 0, xy, 2, 'a');
    memory_transaction(C, "t", 0, xy, 2, 'o');
    EXPECT_INT(offset(c, FOREIGN_LATEST), 5);
    EXPECT_STR(range(c, 0, 5, &e), "x,y,x,y");
    teardown(c);
}

static int WOKEN;
static void wake(void *arg)
{
    (void)arg;
    WOKEN++;
}

TEST(a_new_record_wakes)
{
    struct foreign *c = setup(NULL);
    foreign_watch(c, wake, NULL);
    EXPECT(foreign_follow(c, STR("t"), 0, 0, &F) == ERR_OK);
    WOKEN = 0;
    memory_append(C, "t", 0, NULL, "v");
    EXPECT(WOKEN > 0);
    foreign_watch(c, NULL, NULL);
    teardown(c);
}

TEST(what_is_gone_is_named)
{
    struct foreign *c = setup(NULL);
    enum err e;
    for (int i = 0; i < 5; i++)
        memory_append(C, "t", 0, NULL, "v");
    memory_cut(C, "t", 0, 3);
    range(c, 1, 5, &e);
    EXPECT_INT(e, ERR_KAFKA_LOSS_RANGE);
    memory_topic(C, "t", 2); /* made again: the range is beyond its end */
    range(c, 4, 5, &e);
    EXPECT_INT(e, ERR_KAFKA_LOSS_RANGE);
    memory_topic_delete(C, "t");
    struct foreign_offset o = {STR("t"), 0, FOREIGN_LATEST, false};
    EXPECT(foreign_offsets(c, &o, 1, &F) == ERR_OK && o.gone);
    teardown(c);
}

TEST(nobody_there_fails_with_the_address)
{
    struct foreign *c = setup(NULL);
    enum err e;
    memory_append(C, "t", 0, NULL, "v");
    memory_down(C, true);
    range(c, 0, 1, &e);
    EXPECT_INT(e, ERR_KAFKA_CLUSTER);
    EXPECT(strstr(fault_message(&F), "memory:9092") && strstr(fault_message(&F), "offset 0 in 300 milliseconds"));
    struct foreign_offset o = {STR("t"), 0, FOREIGN_LATEST, false};
    EXPECT_INT(foreign_offsets(c, &o, 1, &F), ERR_KAFKA_CLUSTER);
    EXPECT(strstr(fault_message(&F), "Connection refused") != NULL);
    memory_down(C, false);
    EXPECT_STR(range(c, 0, 1, &e), "v");
    teardown(c);
}

TEST(a_cancelled_reader_returns)
{
    struct foreign *c = setup(NULL), *other;
    bool cancelled = true;
    struct foreign_reader *r;
    struct foreign_record record;
    int n;
    REQUIRE(foreign_open(config(FOREIGN_SOURCE, NULL, NULL), &cancelled, &other, &F) == ERR_OK);
    REQUIRE(foreign_read(other, STR("t"), 0, 0, 1, &r, &F) == ERR_OK);
    EXPECT_INT(foreign_reader_next(r, &record, 1, &n, &F), ERR_CANCELLED);
    foreign_reader_close(r);
    foreign_close(other);
    teardown(c);
}

/* -- producers ---------------------------------------------------------------------------------------------------------------- */

static struct foreign_producer *producer(const char *id)
{
    struct foreign_producer *p = NULL;
    EXPECT(foreign_producer_open(config(FOREIGN_SINK, NULL, NULL), str_of(id), 1000, NULL, &p, &F) == ERR_OK);
    return p;
}

static enum err send(struct foreign_producer *p, const char *value)
{
    return foreign_producer_send(p, STR("t"), 0, (struct str){0}, str_of(value), NULL, 0, -1, &F);
}

TEST(a_transaction_is_seen_whole_or_not_at_all)
{
    struct foreign *c = setup(NULL);
    char v[256];
    int64_t at;
    struct str metadata;
    struct foreign_producer *p = producer("q");
    EXPECT(!foreign_producer_end(p, true, &F)); /* nothing was begun */
    EXPECT(!send(p, "1") && !foreign_producer_offset(p, STR("g"), STR("t"), 0, 7, STR("batch 7"), &F));
    EXPECT(!memory_value(C, "t", 0, 0, v));
    EXPECT(!foreign_producer_end(p, true, &F));
    EXPECT(memory_value(C, "t", 0, 0, v) && !strcmp(v, "1"));
    EXPECT(!send(p, "2") && !foreign_producer_end(p, false, &F));
    EXPECT(!memory_value(C, "t", 0, 1, v));
    EXPECT(!foreign_group_offset(p, STR("g"), STR("t"), 0, A, &at, &metadata, &F));
    EXPECT_INT(at, 7);
    EXPECT_STR(metadata, "batch 7");
    EXPECT(!foreign_group_offset(p, STR("other"), STR("t"), 0, A, &at, &metadata, &F));
    EXPECT_INT(at, -1);
    foreign_producer_close(p);
    teardown(c);
}

TEST(a_second_incarnation_fences_the_first)
{
    struct foreign *c = setup(NULL);
    char v[256];
    struct foreign_producer *p = producer("q");
    EXPECT(!send(p, "old"));
    struct foreign_producer *q = producer("q");
    EXPECT_INT(send(p, "late"), ERR_KAFKA_FENCED);
    EXPECT(strstr(fault_message(&F), C) != NULL);
    EXPECT(!send(q, "new") && !foreign_producer_end(q, true, &F));
    EXPECT(memory_value(C, "t", 0, 0, v) && !strcmp(v, "new"));
    EXPECT(!memory_value(C, "t", 0, 1, v));
    foreign_producer_close(p);
    foreign_producer_close(q);
    teardown(c);
}

TEST(a_refused_record_fails_the_flush)
{
    struct foreign *c = setup(NULL);
    struct foreign_producer *p = producer("");
    memory_refuse(C, 1, "Broker: Message size too large");
    EXPECT(!send(p, "big"));
    EXPECT_INT(foreign_producer_flush(p, &F), ERR_KAFKA_WRITE);
    EXPECT(strstr(fault_message(&F), "Message size too large") && strstr(fault_message(&F), C));
    EXPECT(!send(p, "small") && !foreign_producer_flush(p, &F)); /* the next batch is another */
    foreign_producer_close(p);
    teardown(c);
}

TEST_MAIN()
