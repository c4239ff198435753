/* Queries over a real log with plans built by hand: output modes, watermark, restarts, takeover, errors, progress. */
#include "base/test.h"
#include "broker/broker.h"
#include "log/batch.h"
#include "query/query.h"

#include <unistd.h>

static struct log *LOG;
static struct broker *BROKER;
static struct query_manager *M;
static struct memory_tables *TABLES;
static char ROOT[64], CHECKPOINT[128];
static struct arena *A;
static struct fault F;
static struct buf CONSOLE;
static const char *CONF_NO_DATA = "true", *CONF_STOP_ACTIVE = "true";

static bool reopen(void)
{
    struct source_env env;
    struct log_options o = {.dir = ROOT, .segment_bytes = 1 << 20, .journal_file_bytes = 1 << 20};
    if (!LOG && log_open(&LOG, &o, &F))
        return false;
    struct broker_options bo = {.log = LOG, .no_auto_create = true};
    if (!BROKER && broker_start(&BROKER, &bo, &F))
        return false;
    env = (struct source_env){.log = LOG, .broker = BROKER};
    return query_manager_new(&env, 0, &M, &F) == ERR_OK;
}

static bool setup(void)
{
    snprintf(ROOT, sizeof ROOT, "/tmp/penstock-query-XXXXXX");
    if (!mkdtemp(ROOT))
        return false;
    snprintf(CHECKPOINT, sizeof CHECKPOINT, "%s/checkpoint", ROOT);
    A = arena_new(0);
    TABLES = memory_tables_new();
    struct os_uuid id;
    return reopen() && log_topic_create(LOG, STR("t"), 2, NULL, 0, &id, &F) == ERR_OK;
}

static void teardown(void)
{
    query_manager_free(M);
    broker_stop(BROKER);
    BROKER = NULL;
    log_close(LOG);
    LOG = NULL;
    memory_tables_free(TABLES);
    EXPECT(os_remove_tree(ROOT, &F) == ERR_OK);
    arena_free(A);
    buf_free(&CONSOLE);
}

/* One record batch with the key once at each time, so that a running query cannot see a part of it. */
static void produce_all(const char *topic, int partition, const char *key, const int64_t *ms, int n)
{
    struct log_partition *p = log_partition(LOG, str_of(topic), partition);
    struct buf b = {0};
    struct batch_writer w;
    batch_begin(&w, &b, ms[0], 0);
    for (int i = 0; i < n; i++)
        batch_record(&w, ms[i], str_of(key), STR("v"), NULL, 0);
    EXPECT(batch_end(&w, &F) == ERR_OK);
    EXPECT_INT(log_append_wait(p, b.p, b.n).status, LOG_OK);
    buf_free(&b);
    log_partition_release(p);
}

static void produce(const char *topic, int partition, const char *key, int64_t ms)
{
    produce_all(topic, partition, key, &ms, 1);
}

static const char *conf(void *arg, const char *key)
{
    (void)arg;
    if (!strcmp(key, "spark.sql.streaming.noDataMicroBatches.enabled"))
        return CONF_NO_DATA;
    if (!strcmp(key, "spark.sql.streaming.stopActiveRunOnRestart"))
        return CONF_STOP_ACTIVE;
    return !strcmp(key, "spark.sql.shuffle.partitions") ? "2" : NULL;
}

/* -- plans ------------------------------------------------------------------------------------------------------------- */

static const char *MAX_OFFSETS; /* of the source t, NULL: no limit */

/* "t" is the topic t as a stream; "w" the same with a watermark of ten seconds on its timestamp. */
static const struct rel *view(void *arg, const struct str *parts, int nparts)
{
    struct arena *a = arg;
    struct rel *r = rel_new(a, REL_SOURCE, 0), *w;
    r->format = STR("kafka");
    r->is_streaming = true;
    r->options = ARENA_ARRAY(a, 4, struct option);
    r->options[r->noptions++] = (struct option){STR("kafka.bootstrap.servers"), STR("localhost:1")};
    r->options[r->noptions++] = (struct option){STR("subscribe"), STR("t")};
    r->options[r->noptions++] = (struct option){STR("startingOffsets"), STR("earliest")};
    if (MAX_OFFSETS)
        r->options[r->noptions++] = (struct option){STR("maxOffsetsPerTrigger"), str_of(MAX_OFFSETS)};
    if (nparts != 1 || !str_eqz(parts[0], "w"))
        return nparts == 1 && str_eqz(parts[0], "t") ? r : NULL;
    w = rel_new(a, REL_WATERMARK, 1);
    w->children[0] = r;
    w->nparts = 1;
    w->parts = ARENA_ARRAY(a, 1, struct str);
    w->parts[0] = STR("timestamp");
    w->text = STR("10 seconds");
    return w;
}

static enum err schema_of(void *arg, struct str format, const struct option *options, int noptions,
                          const struct type *user_schema, bool is_streaming, struct arena *a,
                          const struct type **schema, struct fault *f)
{
    (void)arg;
    return source_schema(format, options, noptions, user_schema, is_streaming, a, schema, f);
}

static struct plan *plan_of(const char *sql)
{
    struct statement st;
    struct plan *p = NULL;
    struct plan_env env = {.arg = A, .view = view, .conf = conf, .source_schema = schema_of};
    enum err e = sql_parse(str_of(sql), A, &st, &F);
    if (!e)
        e = plan_analyze(st.rel, &env, &p, &F);
    if (e)
        fprintf(stderr, "%s: %s\n", sql, fault_message(&F));
    EXPECT(e == ERR_OK);
    return p;
}

static const char BY_KEY[] = "SELECT CAST(key AS STRING) AS key, count(*) AS count FROM t GROUP BY CAST(key AS STRING)";
static const char BY_TIME[] = "SELECT timestamp, count(*) FROM w GROUP BY timestamp";
static const char COPY[] = "SELECT value FROM t";

/* -- running ------------------------------------------------------------------------------------------------------------ */

static void console(void *arg, struct str text)
{
    (void)arg;
    buf_str(&CONSOLE, text);
}

static struct query_options options(struct plan *p, enum output_mode mode, const char *sink)
{
    return (struct query_options){.session_id = STR("s"),
                                  .name = STR("out"),
                                  .plan = p,
                                  .mode = mode,
                                  .sink_format = str_of(sink),
                                  .checkpoint_dir = str_of(CHECKPOINT),
                                  .conf = conf,
                                  .tables = TABLES,
                                  .console = console};
}

static struct query *start(const struct query_options *o)
{
    struct query_ids ids;
    enum err e = query_start(M, o, &ids, &F);
    if (e)
        fprintf(stderr, "%s\n", fault_message(&F));
    EXPECT(e == ERR_OK);
    return e ? NULL : query_find(M, o->session_id, str_of(ids.id), str_of(ids.run_id));
}

/* Start, process everything, stop. */
static void run(struct plan *p, enum output_mode mode, const char *sink)
{
    struct query_options o = options(p, mode, sink);
    struct query *q = start(&o);
    if (!q)
        return;
    EXPECT(query_process_all_available(q, NULL, &F) == ERR_OK);
    query_stop(q);
    query_release(q);
}

/* "key=count …" of the memory table, sorted by insertion. */
static const char *table(void)
{
    static char text[4096];
    size_t n = 0;
    text[0] = 0;
    const struct rel *r = memory_table(TABLES, STR("out"), A);
    for (int b = 0; r && b < r->nbatches; b++)
        for (uint32_t i = 0; i < r->batches[b].n; i++) {
            const struct column *k = &r->batches[b].cols[0], *c = &r->batches[b].cols[1];
            if (k->type->id == TYPE_STRING)
                n += (size_t)snprintf(text + n, sizeof text - n, "%.*s=", STR_ARG(k->data.str[COL_AT(k, i)]));
            else
                n += (size_t)snprintf(text + n, sizeof text - n,
                                      "%lld=", (long long)k->data.i64[COL_AT(k, i)] / 1000000);
            n += (size_t)snprintf(text + n, sizeof text - n, "%lld ", (long long)c->data.i64[COL_AT(c, i)]);
        }
    return text;
}

static const char *last_progress(struct query *q)
{
    struct str *p;
    return query_progress(q, true, A, &p) ? arena_z(A, p[0]) : "";
}

TEST(complete_mode_resumes)
{
    REQUIRE(setup());
    produce("t", 0, "a", 1000);
    produce("t", 0, "b", 1000);
    produce("t", 0, "a", 1000);
    run(plan_of(BY_KEY), OUTPUT_COMPLETE, "memory");
    EXPECT_STR(str_of(table()), "a=2 b=1 ");
    query_manager_free(M);
    REQUIRE(reopen());
    produce("t", 0, "a", 1000);
    struct query_options o = options(plan_of(BY_KEY), OUTPUT_COMPLETE, "memory");
    struct query *q = start(&o);
    REQUIRE(q);
    EXPECT(query_process_all_available(q, NULL, &F) == ERR_OK);
    EXPECT_STR(str_of(table()), "a=3 b=1 ");
    const char *p = last_progress(q);
    EXPECT(strstr(p, "\"batchId\":1,"));
    EXPECT(strstr(p, "\"numInputRows\":1,"));
    EXPECT(strstr(p, "\"startOffset\":\"{\\\"t\\\":{\\\"0\\\":3,\\\"1\\\":0}}\""));
    EXPECT(strstr(p, "\"endOffset\":\"{\\\"t\\\":{\\\"0\\\":4,\\\"1\\\":0}}\""));
    EXPECT(strstr(p, "\"numRowsTotal\":2,\"numRowsUpdated\":1"));
    EXPECT(strstr(p, "\"sink\":{\"description\":\"MemorySink\",\"numOutputRows\":2"));
    produce("t", 1, "c", 1000); /* wakes the query by itself */
    EXPECT(query_process_all_available(q, NULL, &F) == ERR_OK);
    EXPECT_STR(str_of(table()), "a=3 c=1 b=1 "); /* by shuffle partition */
    query_stop(q);
    query_release(q);
    teardown();
}

TEST(update_mode_puts_out_what_changed)
{
    REQUIRE(setup());
    struct query_options o = options(plan_of(BY_KEY), OUTPUT_UPDATE, "memory");
    struct query *q = start(&o);
    REQUIRE(q);
    produce("t", 0, "a", 1000);
    EXPECT(query_process_all_available(q, NULL, &F) == ERR_OK);
    produce("t", 0, "b", 1000);
    EXPECT(query_process_all_available(q, NULL, &F) == ERR_OK);
    produce("t", 0, "a", 1000);
    EXPECT(query_process_all_available(q, NULL, &F) == ERR_OK);
    EXPECT_STR(str_of(table()), "a=1 b=1 a=2 ");
    query_stop(q);
    struct query_ids ids;
    query_release(q);
    /* the memory sink cannot resume in this mode */
    o = options(plan_of(BY_KEY), OUTPUT_UPDATE, "memory");
    EXPECT(query_start(M, &o, &ids, &F) == ERR_CHECKPOINT_REQUIRED);
    EXPECT(strstr(fault_message(&F), "/checkpoint/offsets to start over"));
    teardown();
}

/* Each line of the batch log, by batch: input rows, dropped, watermark. */
static void expect_progress(struct query *q, int batch, const char *rows, const char *watermark, const char *dropped)
{
    struct str *p;
    char id[32];
    size_t n = query_progress(q, false, A, &p), found = 0;
    snprintf(id, sizeof id, "\"batchId\":%d,", batch);
    for (size_t i = 0; i < n; i++) {
        const char *text = arena_z(A, p[i]);
        if (!strstr(text, id))
            continue;
        found++;
        bool ok = strstr(text, rows) && strstr(text, watermark) && strstr(text, dropped);
        if (!ok)
            fprintf(stderr, "batch %d: %s\n", batch, text);
        EXPECT(ok);
    }
    EXPECT_INT(found, 1);
}

TEST(append_mode_waits_for_the_watermark)
{
    REQUIRE(setup());
    produce_all("t", 0, "x", (int64_t[]){15000, 15000}, 2);
    struct query_options o = options(plan_of(BY_TIME), OUTPUT_APPEND, "memory");
    struct query *q = start(&o);
    REQUIRE(q);
    EXPECT(query_process_all_available(q, NULL, &F) == ERR_OK); /* batch 0; batch 1 without data: watermark 5 s */
    EXPECT_STR(str_of(table()), "");
    produce("t", 0, "x", 26000);
    EXPECT(query_process_all_available(q, NULL, &F) == ERR_OK); /* batch 2; 3 without data: watermark 16 s */
    EXPECT_STR(str_of(table()), "15=2 ");
    produce_all("t", 0, "x", (int64_t[]){15000, 17000}, 2);     /* the first is late now */
    EXPECT(query_process_all_available(q, NULL, &F) == ERR_OK); /* batch 4 */
    EXPECT_STR(str_of(table()), "15=2 ");
    expect_progress(q, 0, "\"numInputRows\":2", "\"watermark\":\"1970-01-01T00:00:00.000Z\"", "DroppedByWatermark\":0");
    expect_progress(q, 1, "\"numInputRows\":0", "\"watermark\":\"1970-01-01T00:00:05.000Z\"", "DroppedByWatermark\":0");
    expect_progress(q, 3, "\"numInputRows\":0", "\"watermark\":\"1970-01-01T00:00:16.000Z\"", "numRowsRemoved\":1");
    expect_progress(q, 4, "\"numInputRows\":2", "\"max\":\"1970-01-01T00:00:17.000Z\"", "DroppedByWatermark\":1");
    query_stop(q);
    query_release(q);
    teardown();
}

TEST(available_now_cuts_and_ends)
{
    REQUIRE(setup());
    for (int i = 0; i < 7; i++)
        produce("t", 0, "a", 1000);
    MAX_OFFSETS = "3";
    struct query_options o = options(plan_of(BY_KEY), OUTPUT_UPDATE, "memory");
    MAX_OFFSETS = NULL;
    o.trigger = TRIGGER_AVAILABLE_NOW;
    struct query *q = start(&o);
    REQUIRE(q);
    EXPECT(query_await(q, 60000, NULL));
    EXPECT_STR(str_of(table()), "a=3 a=6 a=7 ");
    EXPECT(query_await_any(M, STR("s"), 0, NULL));
    query_reset_terminated(M, STR("s"));
    EXPECT(!query_await_any(M, STR("s"), 0, NULL));
    query_release(q);
    teardown();
}

TEST(console_prints_as_spark)
{
    REQUIRE(setup());
    produce("t", 0, "drama", 1000);
    run(plan_of(BY_KEY), OUTPUT_COMPLETE, "console");
    EXPECT_STR(buf_view(&CONSOLE), "-------------------------------------------\n"
                                   "Batch: 0\n"
                                   "-------------------------------------------\n"
                                   "+-----+-----+\n"
                                   "|  key|count|\n"
                                   "+-----+-----+\n"
                                   "|drama|    1|\n"
                                   "+-----+-----+\n"
                                   "\n");
    teardown();
}

/* What a reader with read_committed gets; the markers between are no records. */
static int64_t committed_records(const char *topic)
{
    struct log_partition *p = log_partition(LOG, str_of(topic), 0);
    struct log_offsets o = log_partition_offsets(p);
    struct log_slice *slice;
    int64_t n = 0, at = 0;
    EXPECT_INT(o.last_stable, o.high_watermark);
    while (at < o.last_stable && !log_read(p, at, 1 << 20, true, LOG_READ_COMMITTED, &slice) && slice) {
        struct str rest = log_slice_bytes(slice);
        struct batch b;
        for (; rest.n && !batch_parse(rest, &b, &F); rest = str_sub(rest, b.all.n, rest.n)) {
            n += b.attributes & BATCH_CONTROL ? 0 : b.count;
            at = b.base_offset + b.last_offset_delta + 1;
        }
        log_slice_release(slice);
    }
    log_partition_release(p);
    return n;
}

TEST(the_kafka_sink_writes_records)
{
    REQUIRE(setup());
    struct os_uuid id;
    REQUIRE(log_topic_create(LOG, STR("o"), 1, NULL, 0, &id, &F) == ERR_OK);
    struct option topic[] = {{STR("topic"), STR("o")}, {STR("kafka.bootstrap.servers"), STR("localhost:1")}};
    for (int i = 0; i < 100; i++)
        produce("t", i % 2, "k", 1000);
    for (int round = 0; round < 2; round++) { /* the second run has nothing new to write */
        struct query_options o = options(plan_of(COPY), OUTPUT_APPEND, "kafka");
        o.options = topic;
        o.noptions = 2;
        struct query *q = start(&o);
        REQUIRE(q);
        EXPECT(query_process_all_available(q, NULL, &F) == ERR_OK);
        query_stop(q);
        query_release(q);
        EXPECT_INT(committed_records("o"), 100);
    }
    struct query_ids ids;
    struct query_options o = options(plan_of(BY_KEY), OUTPUT_UPDATE, "kafka");
    o.options = topic;
    o.noptions = 2;
    o.checkpoint_dir = (struct str){0};
    EXPECT(query_start(M, &o, &ids, &F) == ERR_SINK_COLUMN);
    EXPECT(!strcmp(fault_message(&F), "Required attribute 'value' not found"));
    teardown();
}

TEST(a_second_start_takes_over)
{
    REQUIRE(setup());
    struct query_options o = options(plan_of(BY_KEY), OUTPUT_COMPLETE, "memory");
    struct query *first = start(&o);
    REQUIRE(first);
    struct query_ids ids;
    o.plan = plan_of(BY_KEY);
    EXPECT(query_start(M, &o, &ids, &F) == ERR_QUERY_NAME);
    o.plan = plan_of(BY_KEY);
    o.session_id = STR("another");
    CONF_STOP_ACTIVE = "false";
    EXPECT(query_start(M, &o, &ids, &F) == ERR_QUERY_ACTIVE);
    CONF_STOP_ACTIVE = "true";
    o.plan = plan_of(BY_KEY);
    struct query *second = start(&o);
    REQUIRE(second);
    EXPECT(query_await(first, 0, NULL));
    EXPECT(!strcmp(query_ids(first).id, query_ids(second).id));
    EXPECT(strcmp(query_ids(first).run_id, query_ids(second).run_id));
    struct query **list;
    EXPECT_INT(query_list(M, STR("s"), A, &list), 0);
    EXPECT_INT(query_list(M, STR("another"), A, &list), 1);
    query_release(list[0]);
    query_release(first);
    query_session_gone(M, STR("another"));
    EXPECT(query_await(second, 60000, NULL));
    query_release(second);
    teardown();
}

TEST(a_failure_says_why)
{
    REQUIRE(setup());
    produce("t", 0, "a", 1000);
    run(plan_of(BY_KEY), OUTPUT_COMPLETE, "memory");
    struct os_uuid id; /* the topic is made again while nobody looks, with more records than before */
    EXPECT(log_topic_delete(LOG, STR("t"), &F) == ERR_OK);
    EXPECT(log_topic_create(LOG, STR("t"), 2, NULL, 0, &id, &F) == ERR_OK);
    produce_all("t", 0, "a", (int64_t[]){1000, 1000}, 2);
    struct query_options o = options(plan_of(BY_KEY), OUTPUT_COMPLETE, "memory");
    struct query *q = start(&o);
    REQUIRE(q);
    EXPECT(query_await(q, 60000, NULL));
    struct str text;
    struct fault f;
    REQUIRE(query_exception(q, &f, A, &text));
    EXPECT_INT(f.err, ERR_STREAM_FAILED);
    EXPECT(strstr(fault_message(&f), "terminated with exception: [KAFKA_DATA_LOSS.PARTITION_OFFSET_CHANGED]"));
    EXPECT(strstr(arena_z(A, text), "=== Streaming Query ===\nIdentifier: out [id = "));
    struct query_status s;
    query_status(q, &s);
    EXPECT(!s.is_active && !strncmp(s.message, "Terminated with exception: ", 27));
    query_release(q);
    teardown();
}

TEST_MAIN()
