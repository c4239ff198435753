/*
 * The kafka source on a foreign cluster (one in memory), and read_committed on both: the same questions, the same answers.
 */
#include "base/test.h"
#include "foreign/foreign_memory.h"
#include "log/batch.h"
#include "source/source.h"

#include <unistd.h>

static struct log *LOG;
static char ROOT[64];
static struct arena *A;
static struct fault F;
static const char C[] = "memory:9092";

static bool not_ours(void *arg, struct str bootstrap)
{
    (void)arg, (void)bootstrap;
    return false;
}

static bool setup(void)
{
    foreign_use_memory();
    memory_reset();
    os_log_level(OS_ERROR);
    snprintf(ROOT, sizeof ROOT, "/tmp/penstock-source-XXXXXX");
    A = arena_new(0);
    struct log_options o = {.dir = ROOT, .segment_bytes = 1 << 20, .journal_file_bytes = 1 << 20};
    return mkdtemp(ROOT) && log_open(&LOG, &o, &F) == ERR_OK;
}

static void teardown(void)
{
    log_close(LOG);
    EXPECT(os_remove_tree(ROOT, &F) == ERR_OK);
    memory_reset();
    arena_free(A);
}

/* A kafka source; options: key, value, …, NULL. */
static struct source *source(bool is_foreign, bool streaming, const char *const *options)
{
    int n = 0;
    struct source *s = NULL;
    struct option *o = ARENA_ARRAY(A, 20, struct option);
    o[n++] = (struct option){STR("kafka.bootstrap.servers"), str_of(C)};
    o[n++] = (struct option){STR("kafkaConsumer.pollTimeoutMs"), STR("2000")};
    for (; *options; options += 2)
        o[n++] = (struct option){str_of(options[0]), str_of(options[1])};
    struct plan_node *scan = ARENA_NEW(A, struct plan_node);
    *scan = (struct plan_node){
        .kind = PLAN_SCAN, .format = STR("kafka"), .is_streaming = streaming, .options = o, .noptions = n};
    EXPECT(!source_schema(scan->format, o, n, NULL, streaming, A, &scan->schema, &F));
    scan->wanted = ARENA_ARRAY(A, 8, int);
    for (int i = 0; i < scan->schema->nfields; i++)
        scan->wanted[i] = i;
    struct source_env env = {.log = LOG, .is_ours = is_foreign ? not_ours : NULL};
    if (source_open(&env, scan, streaming, &s, &F))
        TEST_FAIL_("%s", fault_message(&F));
    return s;
}
#define SOURCE(is_foreign, streaming, ...) source(is_foreign, streaming, (const char *const[]){__VA_ARGS__, NULL})

/* "topic-partition@offset:value,…" of [start, end), read in nparts pieces. */
static struct str rows(struct source *s, const char *start, const char *end, int nparts, enum err *e)
{
    struct buf b = {0};
    struct op_env env = {0};
    *e = ERR_OK;
    for (int part = 0; !*e && part < nparts; part++) {
        struct op *op = NULL;
        struct batch_cols *c;
        *e = source_read(s, str_of(start), str_of(end), &(struct source_part){part, nparts, false}, &env, &op, &F);
        while (!*e && !(*e = op_next(op, &c, &F)) && c)
            for (uint32_t i = 0; i < c->n; i++)
                buf_fmt(&b, "%s%.*s-%d@%lld:%.*s", b.n ? "," : "", STR_ARG(c->cols[2].data.str[0]),
                        c->cols[3].data.i32[0], (long long)c->cols[4].data.i64[i], STR_ARG(c->cols[1].data.str[i]));
        op_close(op);
    }
    struct str text = arena_str(A, buf_view(&b));
    buf_free(&b);
    return text;
}

static struct str latest(struct source *s, const char *start, enum err *e)
{
    struct str end = {"", 0}, all, none = {0};
    *e = source_latest(s, str_of(start), none, 0, false, A, &end, &all, &F);
    return end;
}

TEST(a_stream_on_a_foreign_cluster)
{
    REQUIRE(setup());
    enum err e;
    struct str start;
    memory_topic(C, "t", 2);
    memory_append(C, "t", 0, "k", "a");
    struct source *s = SOURCE(true, true, "subscribe", "t", "startingOffsets", "earliest", "includeHeaders", "true");
    REQUIRE(s);
    EXPECT(!source_initial(s, 0, A, &start, &F));
    EXPECT_STR(start, "{\"t\":{\"0\":0,\"1\":0}}");
    memory_append(C, "t", 1, NULL, "b");
    memory_append(C, "t", 0, NULL, "c");
    EXPECT_STR(latest(s, start.p, &e), "{\"t\":{\"0\":2,\"1\":1}}");
    EXPECT_STR(rows(s, start.p, "{\"t\":{\"0\":2,\"1\":1}}", 1, &e), "t-0@0:a,t-0@1:c,t-1@0:b");
    EXPECT_STR(rows(s, start.p, "{\"t\":{\"0\":2,\"1\":1}}", 2, &e), "t-0@0:a,t-0@1:c,t-1@0:b");
    EXPECT_STR(rows(s, "{\"t\":{\"0\":1,\"1\":1}}", "{\"t\":{\"0\":2,\"1\":1}}", 1, &e), "t-0@1:c");
    EXPECT_STR(source_description(s, A), "KafkaV2[Subscribe[t]]");
    source_close(s);
    teardown();
}

static int WOKEN;
static void wake(void *arg)
{
    (void)arg;
    WOKEN++;
}

TEST(a_record_on_a_foreign_cluster_wakes)
{
    REQUIRE(setup());
    enum err e;
    memory_topic(C, "t", 1);
    struct source *s = SOURCE(true, true, "subscribePattern", "t.*");
    REQUIRE(s);
    EXPECT(source_watch(s, wake, NULL) >= 0);
    EXPECT_STR(latest(s, "{\"t\":{\"0\":0}}", &e), "{\"t\":{\"0\":0}}");
    WOKEN = 0;
    memory_append(C, "t", 0, NULL, "a");
    EXPECT(WOKEN > 0);
    EXPECT_STR(latest(s, "{\"t\":{\"0\":0}}", &e), "{\"t\":{\"0\":1}}");
    EXPECT_STR(rows(s, "{\"t\":{\"0\":0}}", "{\"t\":{\"0\":1}}", 1, &e), "t-0@0:a");
    source_watch(s, NULL, NULL);
    source_close(s);
    teardown();
}

TEST(loss_on_a_foreign_cluster)
{
    REQUIRE(setup());
    enum err e;
    memory_topic(C, "t", 1);
    for (int i = 0; i < 5; i++)
        memory_append(C, "t", 0, NULL, "v");
    memory_cut(C, "t", 0, 3);
    struct source *s = SOURCE(true, true, "subscribe", "t"),
                  *lax = SOURCE(true, true, "subscribe", "t", "failOnDataLoss", "false");
    REQUIRE(s && lax);
    rows(s, "{\"t\":{\"0\":1}}", "{\"t\":{\"0\":5}}", 1, &e);
    EXPECT_INT(e, ERR_KAFKA_LOSS_RANGE);
    EXPECT_STR(rows(lax, "{\"t\":{\"0\":1}}", "{\"t\":{\"0\":5}}", 1, &e), "t-0@3:v,t-0@4:v");
    EXPECT(!e);
    memory_topic(C, "t", 1); /* made again, and empty */
    latest(s, "{\"t\":{\"0\":5}}", &e);
    EXPECT_INT(e, ERR_KAFKA_LOSS_CHANGED);
    EXPECT_STR(rows(lax, "{\"t\":{\"0\":5}}", "{\"t\":{\"0\":6}}", 1, &e), "");
    EXPECT(!e);
    source_close(s);
    source_close(lax);
    teardown();
}

TEST(a_batch_query_on_a_foreign_cluster)
{
    REQUIRE(setup());
    enum err e;
    memory_topic(C, "t", 1);
    for (int i = 0; i < 5; i++)
        memory_append(C, "t", 0, NULL, "v");
    struct source *s = SOURCE(true, false, "assign", "{\"t\":[0]}", "startingOffsets", "{\"t\":{\"0\":1}}",
                              "endingOffsets", "{\"t\":{\"0\":3}}");
    REQUIRE(s);
    EXPECT_STR(rows(s, "", "", 1, &e), "t-0@1:v,t-0@2:v");
    source_close(s);
    s = SOURCE(true, false, "subscribe", "t", "startingTimestamp", "1");
    EXPECT_STR(rows(s, "", "", 1, &e), "t-0@0:v,t-0@1:v,t-0@2:v,t-0@3:v,t-0@4:v");
    source_close(s);
    s = SOURCE(true, false, "subscribe", "none");
    rows(s, "", "", 1, &e);
    EXPECT_INT(e, ERR_KAFKA_UNKNOWN_TOPIC);
    source_close(s);
    teardown();
}

TEST(a_cluster_with_our_id_is_ours)
{
    REQUIRE(setup());
    enum err e;
    struct os_uuid id;
    struct str start;
    memory_id(C, log_cluster_id(LOG)); /* an address that we do not know leads to us */
    REQUIRE(!log_topic_create(LOG, STR("only-here"), 1, NULL, 0, &id, &F));
    struct source *s = SOURCE(true, true, "subscribe", "only-here");
    REQUIRE(s);
    e = source_initial(s, 0, A, &start, &F);
    EXPECT(!e);
    source_close(s);
    memory_id(C, "another");
    s = SOURCE(true, true, "subscribe", "only-here");
    REQUIRE(s);
    EXPECT_INT(source_initial(s, 0, A, &start, &F), ERR_KAFKA_UNKNOWN_TOPIC);
    source_close(s);
    teardown();
}

/* -- read_committed ------------------------------------------------------------------------------------------------------------- */

static struct os_mutex *LOCK;
static struct os_cond *TOLD;
static int WAITING;

static void told(void *arg, const struct log_append_result *r)
{
    (void)arg, (void)r;
    os_mutex_lock(LOCK);
    WAITING--;
    os_cond_broadcast(TOLD);
    os_mutex_unlock(LOCK);
}

static void begin_append(void)
{
    os_mutex_lock(LOCK);
    WAITING++;
    os_mutex_unlock(LOCK);
}

static void end_append(enum log_status status, const char *message)
{
    if (status)
        TEST_FAIL_("append: status %d %s", (int)status, message);
    os_mutex_lock(LOCK);
    WAITING -= status != LOG_OK;
    while (WAITING)
        os_cond_wait(TOLD, LOCK);
    os_mutex_unlock(LOCK);
}

static void put(int64_t producer, int32_t sequence, const char *value)
{
    struct log_partition *p = log_partition(LOG, STR("t"), 0);
    struct buf b = {0};
    struct batch_writer w;
    struct log_append_result r = {0};
    batch_begin(&w, &b, 1000, 0);
    batch_record(&w, 1000, (struct str){0}, str_of(value), NULL, 0);
    EXPECT(!batch_end(&w, &F));
    if (producer >= 0)
        batch_set_producer(b.p, b.n, &(struct batch_producer){producer, 0, sequence, true});
    begin_append();
    end_append(log_append(p, b.p, b.n, told, NULL, &r), r.message);
    buf_free(&b);
    log_partition_release(p);
}

static void end(int64_t producer, bool commit)
{
    struct log_partition *p = log_partition(LOG, STR("t"), 0);
    struct log_append_result r = {0};
    struct log_marker m = {.producer_id = producer, .commit = commit, .transaction_version = 1};
    begin_append();
    end_append(log_append_marker(p, &m, told, NULL, &r), r.message);
    log_partition_release(p);
}

TEST(read_committed_on_the_embedded_log)
{
    REQUIRE(setup());
    enum err e;
    struct os_uuid id;
    LOCK = os_mutex_new();
    TOLD = os_cond_new();
    REQUIRE(!log_topic_create(LOG, STR("t"), 1, NULL, 0, &id, &F));
    put(1, 0, "a0"); /* 0, aborted at 4 */
    put(2, 0, "c1"); /* 1, committed at 3 */
    put(-1, 0, "p2");
    end(2, true);
    end(1, false);
    put(1, 1, "c5"); /* 5, committed at 6 */
    end(1, true);
    put(2, 1, "a7"); /* 7, aborted at 8 */
    end(2, false);
    put(1, 2, "o9"); /* 9, open */
    put(-1, 0, "p10");
    struct source *committed = SOURCE(false, true, "subscribe", "t", "kafka.isolation.level", "read_committed"),
                  *all = SOURCE(false, true, "subscribe", "t");
    REQUIRE(committed && all);
    EXPECT_STR(latest(committed, "{\"t\":{\"0\":0}}", &e), "{\"t\":{\"0\":9}}");
    EXPECT_STR(latest(all, "{\"t\":{\"0\":0}}", &e), "{\"t\":{\"0\":11}}");
    EXPECT_STR(rows(committed, "{\"t\":{\"0\":0}}", "{\"t\":{\"0\":9}}", 1, &e), "t-0@1:c1,t-0@2:p2,t-0@5:c5");
    EXPECT_STR(rows(committed, "{\"t\":{\"0\":1}}", "{\"t\":{\"0\":6}}", 1, &e), "t-0@1:c1,t-0@2:p2,t-0@5:c5");
    EXPECT_STR(rows(committed, "{\"t\":{\"0\":7}}", "{\"t\":{\"0\":9}}", 1, &e), "");
    EXPECT_STR(rows(all, "{\"t\":{\"0\":0}}", "{\"t\":{\"0\":11}}", 1, &e),
               "t-0@0:a0,t-0@1:c1,t-0@2:p2,t-0@5:c5,t-0@7:a7,t-0@9:o9,t-0@10:p10");
    source_close(committed);
    source_close(all);
    os_cond_free(TOLD);
    os_mutex_free(LOCK);
    teardown();
}

TEST_MAIN()
