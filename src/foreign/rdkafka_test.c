/* The driver over librdkafka itself, against the brokers that librdkafka brings along for tests: records there and back, errors injected. */
#include "base/test.h"
#include "foreign/foreign_int.h"
#include "foreign/scram.h"

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

static struct arena *A;
static struct fault F;
static rd_kafka_t *OWNER;
static rd_kafka_mock_cluster_t *MOCK;

#ifdef __SANITIZE_THREAD__ /* which knows nothing of the C11 threads that librdkafka starts */
#define NEEDS_LIBRARY() SKIP("ThreadSanitizer")
#else
#define NEEDS_LIBRARY() (void)0
#endif

static bool setup(int brokers)
{
    char text[256];
    A = arena_new(0);
    os_log_level(OS_ERROR);
    OWNER = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), text, sizeof text);
    MOCK = OWNER ? rd_kafka_mock_cluster_new(OWNER, brokers) : NULL;
    return MOCK != NULL;
}

static void teardown(void)
{
    rd_kafka_mock_cluster_destroy(MOCK);
    rd_kafka_destroy(OWNER);
    arena_free(A);
}

static const struct foreign_config *config(enum foreign_role role)
{
    const struct foreign_config *c = NULL;
    struct option o[] = {{STR("kafka.bootstrap.servers"), str_of(rd_kafka_mock_cluster_bootstraps(MOCK))},
                         {STR("kafkaConsumer.pollTimeoutMs"), STR("20000")},
                         {STR("kafka.reconnect.backoff.max.ms"), STR("200")}};
    EXPECT(foreign_config(o, 3, role, A, &c, &F) == ERR_OK);
    return c;
}

static struct foreign_producer *producer(const char *id)
{
    struct foreign_producer *p = NULL;
    if (foreign_producer_open(config(FOREIGN_SINK), str_of(id), 20000, NULL, &p, &F))
        fprintf(stderr, "%s\n", fault_message(&F));
    return p;
}

static void fill(const char *topic, int n)
{
    struct foreign_producer *p = producer("");
    REQUIRE(p);
    for (int i = 0; i < n; i++) {
        char key[16], value[16];
        struct foreign_header h[] = {{STR("h"), STR("1")}, {STR("null"), {0}}};
        snprintf(key, sizeof key, "k%d", i);
        snprintf(value, sizeof value, "v%d", i);
        EXPECT(!foreign_producer_send(p, str_of(topic), -1,
                                      i % 3   ? str_of(key)
                                      : i % 2 ? STR("")
                                              : (struct str){0},
                                      i % 5 ? str_of(value) : (struct str){0}, h, i % 2 ? 2 : 0, 1000 + i, &F));
    }
    EXPECT(!foreign_producer_flush(p, &F));
    foreign_producer_close(p);
}

/* Every record of the topic, counted and checked against what fill() wrote. */
static int read_all(struct foreign *c, const char *topic, int partitions)
{
    int rows = 0;
    for (int i = 0; i < partitions; i++) {
        struct foreign_offset o = {str_of(topic), i, FOREIGN_LATEST, false};
        struct foreign_reader *r;
        struct foreign_record records[100];
        int n = 1;
        enum err e = foreign_offsets(c, &o, 1, &F);
        if (!e)
            e = foreign_read(c, str_of(topic), i, 0, o.at, &r, &F);
        if (e) {
            TEST_FAIL_("%s", fault_message(&F));
            return -1;
        }
        while (!e && n) {
            e = foreign_reader_next(r, records, 100, &n, &F);
            for (int k = 0; !e && k < n; k++, rows++) {
                int id = (int)records[k].timestamp_ms - 1000;
                struct foreign_header *h;
                EXPECT((records[k].value.p == NULL) == (id % 5 == 0));
                EXPECT((records[k].key.p == NULL) == (id % 3 == 0 && id % 2 == 0));
                EXPECT_INT(foreign_headers(&records[k], A, &h), id % 2 ? 2 : 0);
                EXPECT(id % 2 == 0 || (str_eqz(h[0].value, "1") && !h[1].value.p));
            }
        }
        if (e)
            TEST_FAIL_("%s: %s", err_name(e), fault_message(&F));
        foreign_reader_close(r);
    }
    return rows;
}

TEST(records_come_back_as_they_went)
{
    NEEDS_LIBRARY();
    REQUIRE(setup(3));
    rd_kafka_mock_topic_create(MOCK, "t", 4, 1);
    fill("t", 3000);
    struct foreign *c;
    REQUIRE(!foreign_open(config(FOREIGN_SOURCE), NULL, &c, &F));
    struct foreign_topic *t;
    struct str names[] = {STR("t"), STR("none")};
    size_t n = 0;
    EXPECT(!foreign_topics(c, names, 2, A, &t, &n, &F) && n == 2 && t[0].partitions == 4);
    EXPECT(!foreign_topics(c, NULL, 0, A, &t, &n, &F) && n >= 1);
    EXPECT_INT(read_all(c, "t", 4), 3000);
    EXPECT_INT(read_all(c, "t", 4), 3000); /* again, from the start */
    foreign_close(c);
    teardown();
}

TEST(errors_that_pass_are_waited_out)
{
    NEEDS_LIBRARY();
    REQUIRE(setup(1));
    rd_kafka_mock_topic_create(MOCK, "t", 1, 1);
    rd_kafka_mock_push_request_errors(MOCK, 0 /* Produce */, 3, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
                                      RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT);
    fill("t", 100);
    rd_kafka_mock_push_request_errors(MOCK, 1 /* Fetch */, 3, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
                                      RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, RD_KAFKA_RESP_ERR__TRANSPORT);
    rd_kafka_mock_push_request_errors(MOCK, 2 /* ListOffsets */, 2, RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
                                      RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION);
    struct foreign *c;
    REQUIRE(!foreign_open(config(FOREIGN_SOURCE), NULL, &c, &F));
    EXPECT_INT(read_all(c, "t", 1), 100);
    foreign_close(c);
    teardown();
}

static void put_up(void *arg)
{
    (void)arg;
    os_sleep_ms(300);
    rd_kafka_mock_broker_set_up(MOCK, 1);
}

TEST(a_broker_that_comes_back_is_read_on)
{
    NEEDS_LIBRARY();
    REQUIRE(setup(1));
    rd_kafka_mock_topic_create(MOCK, "t", 1, 1);
    fill("t", 2000);
    struct foreign *c;
    struct foreign_reader *r;
    struct foreign_record records[500];
    struct os_thread *t;
    int n, rows = 0;
    REQUIRE(!foreign_open(config(FOREIGN_SOURCE), NULL, &c, &F));
    REQUIRE(!foreign_read(c, STR("t"), 0, 0, 1000, &r, &F));
    EXPECT(!foreign_reader_next(r, records, 500, &n, &F));
    foreign_reader_close(r);
    rd_kafka_mock_broker_set_down(MOCK, 1);
    REQUIRE(!os_thread_start(&t, "up", put_up, NULL, &F));
    REQUIRE(!foreign_read(c, STR("t"), 0, 0, 2000, &r, &F)); /* begun anew while nobody is there */
    for (n = 1; n; rows += n)
        if (foreign_reader_next(r, records, 500, &n, &F)) {
            TEST_FAIL_("%s", fault_message(&F));
            break;
        }
    EXPECT_INT(rows, 2000);
    foreign_reader_close(r);
    os_thread_join(t);
    foreign_close(c);
    teardown();
}

/* Utils.murmur2 of Kafka's Java client: "foobar" -790332482, "21" -973932308 (UtilsTest); positive, modulo the partitions. */
TEST(keys_go_where_java_sends_them)
{
    NEEDS_LIBRARY();
    REQUIRE(setup(1));
    rd_kafka_mock_topic_create(MOCK, "t", 7, 1);
    struct foreign_producer *p = producer("");
    REQUIRE(p);
    static const struct {
        const char *key;
        int32_t hash;
    } known[] = {{"foobar", -790332482},
                 {"21", -973932308},
                 {"a-little-bit-long-string", -985981536},
                 {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971}};
    for (size_t i = 0; i < 4; i++)
        EXPECT(!foreign_producer_send(p, STR("t"), -1, str_of(known[i].key), STR("v"), NULL, 0, -1, &F));
    EXPECT(!foreign_producer_flush(p, &F));
    foreign_producer_close(p);
    struct foreign *c;
    REQUIRE(!foreign_open(config(FOREIGN_SOURCE), NULL, &c, &F));
    for (size_t i = 0; i < 4; i++) {
        struct foreign_offset o = {STR("t"), (known[i].hash & 0x7fffffff) % 7, FOREIGN_LATEST, false};
        EXPECT(!foreign_offsets(c, &o, 1, &F) && o.at >= 1);
    }
    foreign_close(c);
    teardown();
}

TEST(transactions_and_a_groups_offset)
{
    NEEDS_LIBRARY();
    REQUIRE(setup(1));
    rd_kafka_mock_topic_create(MOCK, "t", 1, 1);
    struct foreign_producer *p = producer("q");
    REQUIRE(p);
    EXPECT(!foreign_producer_send(p, STR("t"), 0, (struct str){0}, STR("1"), NULL, 0, -1, &F));
    EXPECT(!foreign_producer_offset(p, STR("g"), STR("t"), 0, 3, STR("batch 3"), &F));
    EXPECT(!foreign_producer_flush(p, &F));
    EXPECT(!foreign_producer_end(p, true, &F));
    EXPECT(!foreign_producer_send(p, STR("t"), 0, (struct str){0}, STR("2"), NULL, 0, -1, &F));
    EXPECT(!foreign_producer_end(p, false, &F));
    EXPECT(!foreign_producer_send(p, STR("t"), 0, (struct str){0}, STR("3"), NULL, 0, -1, &F));
    rd_kafka_mock_push_request_errors(MOCK, 26 /* EndTxn */, 1, RD_KAFKA_RESP_ERR_PRODUCER_FENCED);
    EXPECT_INT(foreign_producer_end(p, true, &F), ERR_KAFKA_FENCED);
    foreign_producer_close(p);
    teardown();
}

/* RFC 5802: the last message repeats the nonce that the server sent, client's part first, once. */
TEST(scrams_nonce_is_sent_once)
{
    static const char C[] = "abcdefghijklmnopqrstuvwxyz012345", S[] = "the-server's-part";
    char wrong[400], right[400], out[400];
    for (int whole = 0; whole < 2; whole++) {
        const char *before = whole ? "n=alice,r=abcdefghijklmnopqrstuvwxyz012345,r=x,s=c2FsdA==,i=4096," : "";
        int n = snprintf(wrong, sizeof wrong, "%sc=biws,r=%s%s%s%s", before, C, C, S, whole ? "" : ",p=cHJvb2Y=");
        int m = snprintf(right, sizeof right, "%sc=biws,r=%s%s%s", before, C, S, whole ? "" : ",p=cHJvb2Y=");
        EXPECT_INT(scram_put_right(wrong, (size_t)n, out, sizeof out), m);
        EXPECT(!memcmp(out, right, (size_t)m));
        EXPECT_INT(scram_put_right(right, (size_t)m, out, sizeof out), 0);
        EXPECT_INT(scram_put_right(wrong, (size_t)n, out, 10), 0);
    }
    EXPECT_INT(scram_put_right("", 0, out, sizeof out), 0);
}

TEST(nobody_there_fails_with_the_address)
{
    NEEDS_LIBRARY();
    const struct foreign_config *cfg;
    struct foreign *c;
    struct option o[] = {{STR("kafka.bootstrap.servers"), STR("127.0.0.1:1")},
                         {STR("kafka.default.api.timeout.ms"), STR("500")}};
    A = arena_new(0);
    REQUIRE(!foreign_config(o, 2, FOREIGN_SOURCE, A, &cfg, &F) && !foreign_open(cfg, NULL, &c, &F));
    struct foreign_offset off = {STR("t"), 0, FOREIGN_LATEST, false};
    EXPECT_INT(foreign_offsets(c, &off, 1, &F), ERR_KAFKA_CLUSTER);
    EXPECT(strstr(fault_message(&F), "127.0.0.1:1") && strstr(fault_message(&F), "refused"));
    foreign_close(c);
    arena_free(A);
}

TEST_MAIN()
