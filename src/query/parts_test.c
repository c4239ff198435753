/* Batches that several threads read: the same answers on any number of threads, restarted on another number, in order. */
#include "base/test.h"
#include "log/batch.h"
#include "query/query.h"

enum { PARTITIONS = 3, RECORDS = 45000 }; /* of each partition: enough to be cut in parts */

static struct log *LOG;
static struct query_manager *M;
static struct memory_tables *TABLES;
static char ROOT[64], CHECKPOINT[128];
static struct arena *A;
static struct fault F;
static const char *SHUFFLE;

static bool reopen(int threads)
{
    struct log_options o = {.dir = ROOT, .segment_bytes = 64 << 20, .journal_file_bytes = 16 << 20};
    if (!LOG && log_open(&LOG, &o, &F))
        return false;
    struct source_env env = {.log = LOG};
    return query_manager_new(&env, threads, &M, &F) == ERR_OK;
}

static bool setup(int threads)
{
    struct os_uuid id;
    snprintf(ROOT, sizeof ROOT, "/tmp/penstock-parts-XXXXXX");
    if (!mkdtemp(ROOT))
        return false;
    snprintf(CHECKPOINT, sizeof CHECKPOINT, "%s/checkpoint", ROOT);
    A = arena_new(0);
    TABLES = memory_tables_new();
    return reopen(threads) && log_topic_create(LOG, STR("t"), PARTITIONS, NULL, 0, &id, &F) == ERR_OK &&
           log_topic_create(LOG, STR("o"), 1, NULL, 0, &id, &F) == ERR_OK;
}

static void teardown(void)
{
    query_manager_free(M);
    log_close(LOG);
    LOG = NULL;
    memory_tables_free(TABLES);
    EXPECT(os_remove_tree(ROOT, &F) == ERR_OK);
    arena_free(A);
}

/* Records whose value is "PARTITION NUMBER"; keys of all lengths, none, and times over a hundred seconds. */
static void produce(int round)
{
    for (int part = 0; part < PARTITIONS; part++) {
        struct log_partition *p = log_partition(LOG, STR("t"), part);
        for (int i = 0; i < RECORDS;) {
            struct buf b = {0};
            struct batch_writer w;
            batch_begin(&w, &b, 1000000, 0);
            for (int k = 0; k < 3000; k++, i++) {
                char key[64], value[32];
                unsigned r = (unsigned)i * 2654435761u >> 7;
                int n = snprintf(key, sizeof key, "%u-%.*s", r % 997, (int)(r % 23), "abcdefghijklmnopqrstuvw");
                int m = snprintf(value, sizeof value, "%d %d", part, round * RECORDS + i);
                batch_record(&w, 1000000 + (int64_t)i * 100000 / RECORDS,
                             r % 101 ? str_make(key, (size_t)n) : (struct str){0}, str_make(value, (size_t)m), NULL, 0);
            }
            EXPECT(batch_end(&w, &F) == ERR_OK);
            EXPECT_INT(log_append_wait(p, b.p, b.n).status, LOG_OK);
            buf_free(&b);
        }
        log_partition_release(p);
    }
}

static const char *conf(void *arg, const char *key)
{
    (void)arg;
    return !strcmp(key, "spark.sql.shuffle.partitions") ? SHUFFLE : NULL;
}

static const struct rel *view(void *arg, const struct str *parts, int nparts)
{
    struct rel *r = rel_new(arg, REL_SOURCE, 0);
    r->format = STR("kafka");
    r->is_streaming = true;
    r->options = ARENA_ARRAY(A, 3, struct option);
    r->options[r->noptions++] = (struct option){STR("kafka.bootstrap.servers"), STR("localhost:1")};
    r->options[r->noptions++] = (struct option){STR("subscribe"), STR("t")};
    r->options[r->noptions++] = (struct option){STR("startingOffsets"), STR("earliest")};
    return nparts == 1 && str_eqz(parts[0], "t") ? r : NULL;
}

static enum err schema_of(void *arg, struct str format, const struct option *options, int noptions,
                          const struct type *user_schema, bool is_streaming, struct arena *a,
                          const struct type **schema, struct fault *f)
{
    (void)arg;
    return source_schema(format, options, noptions, user_schema, is_streaming, a, schema, f);
}

static void run(const char *sql, enum output_mode mode, const char *sink)
{
    struct statement st;
    struct plan *p = NULL;
    struct plan_env env = {.arg = A, .view = view, .conf = conf, .source_schema = schema_of};
    struct option to[] = {{STR("kafka.bootstrap.servers"), STR("localhost:1")},
                          {STR("topic"), STR("o")},
                          {STR("penstock.delivery"), STR("at-least-once")}};
    struct query_ids ids;
    if (sql_parse(str_of(sql), A, &st, &F) || plan_analyze(st.rel, &env, &p, &F)) {
        TEST_FAIL_("%s", fault_message(&F));
        return;
    }
    struct query_options o = {.session_id = STR("s"),
                              .name = STR("out"),
                              .plan = p,
                              .mode = mode,
                              .trigger = TRIGGER_AVAILABLE_NOW,
                              .sink_format = str_of(sink),
                              .options = to,
                              .noptions = str_eqz(str_of(sink), "kafka") ? 3 : 0,
                              .checkpoint_dir = str_of(CHECKPOINT),
                              .conf = conf,
                              .tables = TABLES};
    if (query_start(M, &o, &ids, &F)) {
        TEST_FAIL_("%s", fault_message(&F));
        return;
    }
    struct query *q = query_find(M, o.session_id, str_of(ids.id), str_of(ids.run_id));
    struct str text;
    query_await(q, -1, NULL);
    if (query_exception(q, &F, A, &text))
        TEST_FAIL_("%.*s", STR_ARG(text));
    query_release(q);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The memory table, a line per row, sorted. */
static struct str table(void)
{
    const struct rel *r = memory_table(TABLES, STR("out"), A);
    size_t n = 0, total = 0;
    for (int b = 0; r && b < r->nbatches; b++)
        total += r->batches[b].n;
    char **lines = ARENA_ARRAY(A, total + 1, char *);
    for (int b = 0; r && b < r->nbatches; b++)
        for (uint32_t i = 0; i < r->batches[b].n; i++) {
            struct buf line = {0};
            for (int c = 0; c < r->batches[b].schema->nfields; c++) {
                value_text(&line, &r->batches[b].cols[c], i, zone_find(STR("UTC"), NULL));
                buf_u8(&line, '|');
            }
            lines[n++] = arena_z(A, buf_view(&line));
            buf_free(&line);
        }
    qsort(lines, n, sizeof *lines, by_text);
    struct buf all = {0};
    for (size_t i = 0; i < n; i++)
        buf_fmt(&all, "%s\n", lines[i]);
    struct str s = arena_str(A, buf_view(&all));
    buf_free(&all);
    return s;
}

/* The states of each are of fixed size; those of the second are not, and it has one shard. */
static const char *const QUERIES[] = {"SELECT window(timestamp, '10 seconds') AS w, CAST(key AS STRING) AS k, "
                                      "count(*), sum(length(value)), avg(offset) FROM t GROUP BY "
                                      "window(timestamp, '10 seconds'), CAST(key AS STRING)",
                                      "SELECT CAST(key AS STRING) AS k, partition, max(CAST(value AS STRING)), "
                                      "count(*) FROM t GROUP BY CAST(key AS STRING), partition",
                                      "SELECT count(*), min(offset) FROM t",
                                      "SELECT k, n, count(*) FROM (SELECT CAST(key AS STRING) AS k, offset % 2 = 0 AS "
                                      "n FROM t UNION ALL SELECT 'x', true FROM t) GROUP BY k, n"};

/* Two runs on these numbers of threads; the second asks for another number of shuffle partitions, in vain. */
static struct str answer(const char *sql, int first, int second, const char *shuffle)
{
    static char *kept;
    SHUFFLE = shuffle;
    if (!setup(first))
        return STR("no setup");
    produce(0);
    run(sql, OUTPUT_COMPLETE, "memory");
    query_manager_free(M);
    SHUFFLE = "3";
    EXPECT(reopen(second));
    produce(1);
    run(sql, OUTPUT_COMPLETE, "memory");
    struct str s = table();
    free(kept);
    kept = malloc(s.n + 1);
    if (kept)
        memcpy(kept, s.p, s.n + 1);
    teardown();
    return str_make(kept, s.n);
}

TEST(answers_do_not_depend_on_threads)
{
    for (size_t i = 0; i < sizeof QUERIES / sizeof *QUERIES; i++) {
        struct buf want = {0};
        buf_str(&want, answer(QUERIES[i], 1, 1, "1"));
        EXPECT(want.n > 5);
        EXPECT(str_eq(answer(QUERIES[i], 2, 5, "200"), buf_view(&want)));
        EXPECT(str_eq(answer(QUERIES[i], 4, 2, "7"), buf_view(&want)));
        buf_free(&want);
    }
}

/* Whole partitions go to threads: a partition's records come out in their order, each once. */
TEST(a_partitions_rows_stay_in_order)
{
    SHUFFLE = "2";
    REQUIRE(setup(4));
    produce(0);
    run("SELECT value FROM t WHERE offset % 3 <> 0", OUTPUT_APPEND, "kafka");
    int64_t next = 0, last[PARTITIONS] = {-1, -1, -1}, seen = 0;
    struct log_partition *p = log_partition(LOG, STR("o"), 0);
    struct log_slice *slice;
    while (!log_read(p, next, 1 << 20, true, 0, &slice) && slice) {
        struct str rest = log_slice_bytes(slice);
        struct batch b;
        struct record_iter it;
        struct record r;
        bool got;
        for (; rest.n && !batch_parse(rest, &b, &F); rest = str_sub(rest, b.all.n, rest.n)) {
            REQUIRE(!records_begin(&it, &b, A, 1 << 20, &F));
            while (!records_next(&it, &r, &got, &F) && got) {
                int part = r.value.p[0] - '0', number = atoi(arena_z(A, r.value) + 2);
                REQUIRE(part >= 0 && part < PARTITIONS && number > last[part]);
                last[part] = number;
                seen++;
            }
            next = b.base_offset + b.last_offset_delta + 1;
        }
        log_slice_release(slice);
    }
    EXPECT_INT(seen, PARTITIONS * RECORDS / 3 * 2);
    log_partition_release(p);
    teardown();
}

TEST_MAIN()
