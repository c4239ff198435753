/* The kafka source against a real log: options, offsets, cuts, every column, loss; the record loop against records_next. */
#include "base/test.h"
#include "log/batch.h"
#include "source/offsets.h"
#include "source/source.h"

#include <unistd.h>

static struct log *LOG;
static char ROOT[64];
static struct arena *A;
static struct fault F;

static bool setup(void)
{
    snprintf(ROOT, sizeof ROOT, "/tmp/penstock-source-XXXXXX");
    if (!mkdtemp(ROOT))
        return false;
    A = arena_new(0);
    struct log_options o = {.dir = ROOT, .segment_bytes = 1 << 20, .journal_file_bytes = 1 << 20};
    return log_open(&LOG, &o, &F) == ERR_OK;
}

static void teardown(void)
{
    log_close(LOG);
    EXPECT(os_remove_tree(ROOT, &F) == ERR_OK);
    arena_free(A);
}

static void make_topic(const char *name, int partitions)
{
    struct os_uuid id;
    EXPECT(log_topic_create(LOG, str_of(name), partitions, NULL, 0, &id, &F) == ERR_OK);
}

/* n records "v<i>" with key "k<i>" (every third null) and two headers on even ones, ten to a batch. */
static void produce(const char *topic, int partition, int from, int n, int codec)
{
    struct log_partition *p = log_partition(LOG, str_of(topic), partition);
    for (int i = from; i < from + n;) {
        struct buf b = {0};
        struct batch_writer w;
        batch_begin(&w, &b, 1000 + i, codec);
        for (int k = 0; k < 10 && i < from + n; k++, i++) {
            char key[32], value[32];
            struct str headers[] = {STR("h"), STR("x"), STR("null"), {0}};
            snprintf(key, sizeof key, "k%d", i);
            snprintf(value, sizeof value, "v%d", i);
            batch_record(&w, 1000 + i, i % 3 ? str_of(key) : (struct str){0}, str_of(value), headers, i % 2 ? 0 : 2);
        }
        EXPECT(batch_end(&w, &F) == ERR_OK);
        struct log_append_result r = log_append_wait(p, b.p, b.n);
        EXPECT_INT(r.status, LOG_OK);
        buf_free(&b);
    }
    log_partition_release(p);
}

static struct plan_node *scan_of(const struct option *options, int n, bool streaming)
{
    struct plan_node *scan = ARENA_NEW(A, struct plan_node);
    *scan = (struct plan_node){.kind = PLAN_SCAN, .format = STR("kafka"), .is_streaming = streaming, .noptions = n};
    scan->options = ARENA_ARRAY(A, (size_t)n, struct option);
    memcpy(scan->options, options, (size_t)n * sizeof *options);
    if (source_schema(scan->format, options, n, NULL, streaming, A, &scan->schema, &F))
        return NULL;
    scan->source_schema = scan->schema;
    scan->wanted = ARENA_ARRAY(A, (size_t)scan->schema->nfields, int);
    for (int i = 0; i < scan->schema->nfields; i++)
        scan->wanted[i] = i;
    return scan;
}

#define OPT(k, v)                                                                                                      \
    {                                                                                                                  \
        STR(k), STR(v)                                                                                                 \
    }
#define BROKERS OPT("kafka.bootstrap.servers", "localhost:9092")

static struct source *open_(const struct option *options, int n, bool streaming)
{
    struct source_env env = {.log = LOG};
    struct source *s = NULL;
    struct plan_node *scan = scan_of(options, n, streaming);
    EXPECT(scan && source_open(&env, scan, streaming, &s, &F) == ERR_OK);
    return s;
}

static const char *schema_error(const struct option *options, int n, bool streaming)
{
    const struct type *t;
    F.err = ERR_OK;
    return source_schema(STR("kafka"), options, n, NULL, streaming, A, &t, &F) ? fault_message(&F) : "";
}

TEST(options_are_refused_in_sparks_words)
{
    A = arena_new(0);
    struct option none[] = {BROKERS}, two[] = {BROKERS, OPT("subscribe", "a"), OPT("assign", "{}")};
    struct option foreign[] = {OPT("subscribe", "a")},
                  ending[] = {BROKERS, OPT("subscribe", "a"), OPT("endingOffsets", "latest")};
    struct option late[] = {BROKERS, OPT("subscribe", "a"), OPT("startingOffsets", "latest")};
    struct option text[] = {BROKERS, OPT("subscribe", "a"), OPT("startingOffsets", "{\"a\":1}")};
    struct option reset[] = {BROKERS, OPT("subscribe", "a"), OPT("kafka.auto.offset.reset", "earliest")};
    struct option parts[] = {BROKERS, OPT("subscribe", "a"), OPT("minPartitions", "0")};
    EXPECT(
        !strcmp(schema_error(none, 1, true),
                "One of the following options must be specified for Kafka source: subscribe, subscribepattern, assign. "
                "See the docs for more details."));
    EXPECT(strstr(schema_error(two, 3, true), "Only one of the following options can be specified"));
    EXPECT(strstr(schema_error(foreign, 1, true),
                  "'kafka.bootstrap.servers' must be specified for configuring Kafka consumer"));
    EXPECT(!strcmp(schema_error(ending, 3, true), "ending offset not valid in streaming queries"));
    EXPECT(!strcmp(schema_error(ending, 3, false), ""));
    EXPECT(!strcmp(schema_error(late, 3, false), "starting offset can't be latest for batch queries on Kafka"));
    EXPECT(!strcmp(schema_error(text, 3, true), "")); /* a stream parses its offsets when it runs */
    EXPECT(!strcmp(schema_error(text, 3, false),
                   "Expected e.g. {\"topicA\":{\"0\":23,\"1\":-1},\"topicB\":{\"0\":-2}}, got {\"a\":1}"));
    EXPECT(strstr(schema_error(reset, 3, true), "Kafka option 'auto.offset.reset' is not supported."));
    EXPECT(!strcmp(schema_error(parts, 3, true), "minPartitions must be positive"));
    const struct type *t;
    EXPECT(source_schema(STR("nope"), none, 1, NULL, true, A, &t, &F) == ERR_DATA_SOURCE_NOT_FOUND);
    EXPECT(source_schema(STR("csv"), none, 1, NULL, true, A, &t, &F) == ERR_UNSUPPORTED);
    EXPECT(source_schema(STR("kafka"), late, 3, type_simple(TYPE_INT), true, A, &t, &F) == ERR_SOURCE_SCHEMA);
    arena_free(A);
}

TEST(offsets_are_sparks_json)
{
    A = arena_new(0);
    struct offsets o;
    EXPECT(offsets_parse(STR("{\"b\":{\"1\":-1,\"0\":23},\"a\":{\"0\":-2}}"), A, &o));
    EXPECT_INT(o.n, 3);
    EXPECT_STR(offsets_text(&o, A), "{\"a\":{\"0\":-2},\"b\":{\"0\":23,\"1\":-1}}");
    EXPECT_INT(offsets_find(&o, STR("b"), 1)->at, -1);
    EXPECT(!offsets_find(&o, STR("b"), 2));
    EXPECT(!offsets_parse(STR("{\"a\":{\"x\":1}}"), A, &o));
    EXPECT(!offsets_parse(STR("{\"a\":{\"0\":1}} x"), A, &o));
    EXPECT(!offsets_parse(STR("[1]"), A, &o));
    EXPECT_STR(offsets_text(&(struct offsets){0}, A), "{}");
    arena_free(A);
}

/* All rows of a range, checked one by one against what produce() wrote; returns their number. */
static int64_t read_all(struct source *s, struct str start, struct str end, int parts)
{
    int64_t rows = 0;
    for (int part = 0; part < parts; part++) {
        struct op_env env = {0};
        struct op *op = NULL;
        struct batch_cols *b = NULL;
        EXPECT(source_read(s, start, end, &(struct source_part){part, parts, false}, &env, &op, &F) == ERR_OK);
        while (op && op_next(op, &b, &F) == ERR_OK && b) {
            rows += b->n;
            for (uint32_t i = 0; i < b->n; i++) {
                int64_t at = b->cols[4].data.i64[i];
                char key[32], value[32];
                snprintf(key, sizeof key, "k%d", (int)at);
                snprintf(value, sizeof value, "v%d", (int)at);
                EXPECT(col_valid(&b->cols[0], i) == (at % 3 != 0));
                if (at % 3)
                    EXPECT_STR(b->cols[0].data.str[i], key);
                EXPECT_STR(b->cols[1].data.str[i], value);
                EXPECT_INT(b->cols[5].data.i64[i], (1000 + at) * 1000);
                EXPECT_INT(b->cols[6].data.i32[i], 0);
                if (b->schema->nfields == 8) {
                    EXPECT(col_valid(&b->cols[7], i) == (at % 2 == 0));
                    uint32_t from = b->cols[7].data.offsets[i];
                    EXPECT_INT(b->cols[7].data.offsets[i + 1] - from, at % 2 ? 0 : 2);
                    if (at % 2 == 0) {
                        EXPECT_STR(b->cols[7].children[0].children[0].data.str[from], "h");
                        EXPECT(!col_valid(&b->cols[7].children[0].children[1], from + 1));
                    }
                }
            }
        }
        EXPECT(!b);
        op_close(op);
    }
    return rows;
}

TEST(reads_what_was_produced)
{
    REQUIRE(setup());
    make_topic("t", 2);
    produce("t", 0, 0, 5005, 0);
    produce("t", 1, 0, 40, 0);
    for (int codec = 1; codec <= 4; codec++)
        produce("t", 1, 40 * codec, 40, codec);
    struct option o[] = {BROKERS, OPT("subscribe", "t"), OPT("includeHeaders", "true"),
                         OPT("startingOffsets", "earliest")};
    struct source *s = open_(o, 4, true);
    struct str start, end, latest;
    REQUIRE(s && source_initial(s, 0, A, &start, &F) == ERR_OK);
    EXPECT_STR(start, "{\"t\":{\"0\":0,\"1\":0}}");
    REQUIRE(source_latest(s, start, (struct str){0}, 0, false, A, &end, &latest, &F) == ERR_OK);
    EXPECT_STR(end, "{\"t\":{\"0\":5005,\"1\":200}}");
    EXPECT_INT(read_all(s, start, end, 1), 5205);
    EXPECT_INT(read_all(s, start, end, 3), 5205);
    EXPECT_INT(read_all(s, STR("{\"t\":{\"0\":17,\"1\":45}}"), STR("{\"t\":{\"0\":23,\"1\":166}}"), 1), 6 + 121);
    EXPECT_STR(source_description(s, A), "KafkaV2[Subscribe[t]]");
    struct buf m = {0};
    source_metrics(s, STR("{\"t\":{\"0\":5000,\"1\":200}}"), latest, &m);
    EXPECT_STR(buf_view(&m),
               "\"avgOffsetsBehindLatest\":\"2.5\",\"maxOffsetsBehindLatest\":\"5\",\"minOffsetsBehindLatest\":\"0\"");
    buf_free(&m);
    source_close(s);
    struct option batch[] = {BROKERS, OPT("subscribePattern", "t.*"),
                             OPT("endingOffsets", "{\"t\":{\"0\":10,\"1\":-1}}")};
    s = open_(batch, 3, false);
    REQUIRE(s);
    EXPECT_INT(read_all(s, (struct str){0}, (struct str){0}, 1), 210);
    source_close(s);
    teardown();
}

TEST(cuts_as_spark_does)
{
    REQUIRE(setup());
    make_topic("t", 3);
    produce("t", 0, 0, 100, 0);
    produce("t", 1, 0, 10, 0);
    struct option o[] = {BROKERS, OPT("subscribe", "t"), OPT("maxOffsetsPerTrigger", "11"),
                         OPT("startingOffsets", "earliest")};
    struct source *s = open_(o, 4, true);
    struct str start, end, latest;
    REQUIRE(s && source_initial(s, 0, A, &start, &F) == ERR_OK);
    /* 11 * 100/110 = 10, 11 * 10/110 = 1 */
    EXPECT(source_latest(s, start, (struct str){0}, 0, false, A, &end, &latest, &F) == ERR_OK);
    EXPECT_STR(end, "{\"t\":{\"0\":10,\"1\":1,\"2\":0}}");
    EXPECT_STR(latest, "{\"t\":{\"0\":100,\"1\":10,\"2\":0}}");
    EXPECT(source_latest(s, start, (struct str){0}, 0, true, A, &end, &latest, &F) == ERR_OK);
    EXPECT_STR(end, "{\"t\":{\"0\":100,\"1\":10,\"2\":0}}");
    EXPECT(source_latest(s, start, STR("{\"t\":{\"0\":5,\"1\":10}}"), 0, true, A, &end, &latest, &F) == ERR_OK);
    EXPECT_STR(end, "{\"t\":{\"0\":5,\"1\":10}}");
    source_close(s);
    teardown();
}

TEST(loss_is_noticed)
{
    REQUIRE(setup());
    make_topic("t", 1);
    produce("t", 0, 0, 30, 0);
    struct option o[] = {BROKERS, OPT("subscribe", "t"), OPT("failOnDataLoss", "true")};
    struct source *s = open_(o, 3, true);
    struct str start, end, latest, none = {0};
    REQUIRE(s && source_initial(s, 0, A, &start, &F) == ERR_OK);
    EXPECT_STR(start, "{\"t\":{\"0\":30}}");
    EXPECT(source_latest(s, STR("{\"t\":{\"0\":31}}"), none, 0, false, A, &end, &latest, &F) == ERR_KAFKA_LOSS_CHANGED);
    EXPECT(source_latest(s, STR("{\"t\":{\"0\":1,\"1\":1}}"), none, 0, false, A, &end, &latest, &F) ==
           ERR_KAFKA_LOSS_DELETED);
    /* made again with as many records: only its id tells */
    struct str identity = source_identity(s, A);
    EXPECT(log_topic_delete(LOG, STR("t"), &F) == ERR_OK);
    EXPECT(source_latest(s, start, none, 0, false, A, &end, &latest, &F) == ERR_KAFKA_UNKNOWN_TOPIC);
    make_topic("t", 1);
    produce("t", 0, 0, 40, 0);
    EXPECT(source_latest(s, start, none, 0, false, A, &end, &latest, &F) == ERR_KAFKA_LOSS_CHANGED);
    source_close(s);
    s = open_(o, 3, true); /* the same after a restart, from what the checkpoint keeps */
    REQUIRE(s);
    source_remember(s, identity);
    EXPECT(source_latest(s, start, none, 0, false, A, &end, &latest, &F) == ERR_KAFKA_LOSS_CHANGED);
    source_close(s);
    o[2].value = STR("false");
    s = open_(o, 3, true);
    REQUIRE(s);
    source_remember(s, identity);
    EXPECT(source_latest(s, start, none, 0, false, A, &end, &latest, &F) == ERR_OK);
    EXPECT_STR(end, "{\"t\":{\"0\":40}}");
    source_close(s);
    teardown();
}

TEST(a_missing_topic_is_named)
{
    REQUIRE(setup());
    struct option o[] = {BROKERS, OPT("subscribe", "missing")};
    struct source *s = open_(o, 2, true);
    struct str start;
    REQUIRE(s);
    EXPECT(source_initial(s, 0, A, &start, &F) == ERR_KAFKA_UNKNOWN_TOPIC);
    EXPECT(strstr(fault_message(&F), "missing"));
    source_close(s);
    teardown();
}

TEST(rate_counts_seconds)
{
    A = arena_new(0);
    struct option o[] = {OPT("rowsPerSecond", "10"), OPT("rampUpTime", "4s")};
    struct plan_node scan = {
        .kind = PLAN_SCAN, .format = STR("rate"), .options = o, .noptions = 2, .is_streaming = true};
    REQUIRE(source_schema(scan.format, o, 2, NULL, true, A, &scan.schema, &F) == ERR_OK);
    scan.wanted = (int[]){0, 1};
    struct source_env env = {0};
    struct source *s;
    struct str start, end, latest, none = {0};
    REQUIRE(source_open(&env, &scan, true, &s, &F) == ERR_OK);
    EXPECT(source_initial(s, 5000, A, &start, &F) == ERR_OK);
    EXPECT(source_latest(s, start, none, 11500, false, A, &end, &latest, &F) == ERR_OK);
    EXPECT_STR(end, "6");
    struct op_env oe = {0};
    struct op *op;
    struct batch_cols *b;
    REQUIRE(source_read(s, STR("4"), STR("6"), &(struct source_part){.n = 1}, &oe, &op, &F) == ERR_OK);
    REQUIRE(op_next(op, &b, &F) == ERR_OK && b);
    EXPECT_INT(b->n, 20); /* values before second 4: 20, before 6: 40 (Spark's own example) */
    EXPECT_INT(b->cols[1].data.i64[0], 20);
    EXPECT_INT(b->cols[0].data.i64[0], 9000000);
    EXPECT_INT(b->cols[0].data.i64[10], 10000000);
    op_close(op);
    source_close(s);
    arena_free(A);
}

TEST_MAIN()
