/*
 * Queries killed at every batch: each process dies while it hands a batch to the sink, before its commit, or right after
 * the commit of the one before. What all of them put out, batch by batch, is what one undisturbed process puts out.
 *
 *   straight:  0 1 2 3 4 …         killed:  0✗ 0 1✗ 1 2✗ 2 …   (each ✗ a process that ends without a goodbye)
 */
#include "base/test.h"
#include "log/batch.h"
#include "query/query.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

static char ROOT[64];
static struct arena *A;
static struct fault F;
static int OUT = -1;     /* where the console's text goes */
static int left_to_live; /* console texts until the process dies in one; -1: for ever */

enum { DIED = 9 };

static const char *conf(void *arg, const char *key)
{
    (void)arg;
    return !strcmp(key, "spark.sql.shuffle.partitions") ? "2" : NULL;
}

/* "t": the topic as a stream under a watermark of five seconds. */
static const struct rel *view(void *arg, const struct str *parts, int nparts)
{
    struct arena *a = arg;
    struct rel *r = rel_new(a, REL_SOURCE, 0), *w = rel_new(a, REL_WATERMARK, 1);
    static struct option options[] = {{STR("kafka.bootstrap.servers"), STR("localhost:1")},
                                      {STR("subscribe"), STR("t")},
                                      {STR("startingOffsets"), STR("earliest")},
                                      {STR("maxOffsetsPerTrigger"), STR("2")}};
    (void)parts, (void)nparts;
    r->format = STR("kafka");
    r->is_streaming = true;
    r->options = options;
    r->noptions = 4;
    w->children[0] = r;
    w->nparts = 1;
    w->parts = ARENA_ARRAY(a, 1, struct str);
    w->parts[0] = STR("timestamp");
    w->text = STR("5 seconds");
    return w;
}

static enum err schema_of(void *arg, struct str format, const struct option *options, int noptions,
                          const struct type *user_schema, bool is_streaming, struct arena *a,
                          const struct type **schema, struct fault *f)
{
    (void)arg;
    return source_schema(format, options, noptions, user_schema, is_streaming, a, schema, f);
}

static struct log *open_log(void)
{
    struct log *l = NULL;
    struct log_options o = {.dir = ROOT, .segment_bytes = 1 << 20, .journal_file_bytes = 1 << 20};
    if (log_open(&l, &o, &F))
        _exit(2);
    return l;
}

/* Event times go up and back by turns; two partitions. */
static void fill(void)
{
    static const int seconds[] = {1, 4, 12, 16, 3, 9, 2, 40, 5, 33, 34, 70, 71, 20, 90};
    struct log *l = open_log();
    struct os_uuid id;
    if (log_topic_create(l, STR("t"), 2, NULL, 0, &id, &F))
        _exit(2);
    for (size_t i = 0; i < sizeof seconds / sizeof *seconds; i++) {
        struct log_partition *p = log_partition(l, STR("t"), i % 3 == 2);
        struct buf b = {0};
        struct batch_writer w;
        char key[8];
        snprintf(key, sizeof key, "k%zu", i % 3);
        batch_begin(&w, &b, seconds[i] * 1000, 0);
        batch_record(&w, seconds[i] * 1000, str_of(key), STR("v"), NULL, 0);
        if (batch_end(&w, &F) || log_append_wait(p, b.p, b.n).status)
            _exit(2);
        buf_free(&b);
        log_partition_release(p);
    }
    log_close(l);
}

static void console(void *arg, struct str text)
{
    (void)arg;
    if (write(OUT, text.p, text.n) != (ssize_t)text.n)
        _exit(2);
    if (left_to_live > 0 && --left_to_live == 0)
        _exit(DIED);
}

static void run(const char *sql, enum output_mode mode, const char *checkpoint)
{
    struct log *l = open_log();
    struct query_manager *m;
    struct source_env env = {.log = l};
    struct statement st;
    struct plan *p;
    struct plan_env pe = {.arg = A, .view = view, .conf = conf, .source_schema = schema_of};
    char dir[128];
    snprintf(dir, sizeof dir, "%s/%s", ROOT, checkpoint);
    if (query_manager_new(&env, 0, &m, &F) || sql_parse(str_of(sql), A, &st, &F) || plan_analyze(st.rel, &pe, &p, &F)) {
        fprintf(stderr, "%s\n", fault_message(&F));
        _exit(2);
    }
    struct query_options o = {.session_id = STR("s"), .plan = p, .mode = mode, .trigger = TRIGGER_AVAILABLE_NOW};
    o.sink_format = STR("console");
    o.checkpoint_dir = str_of(dir);
    o.conf = conf;
    o.console = console;
    struct query_ids ids;
    if (query_start(m, &o, &ids, &F))
        _exit(2);
    struct query *q = query_find(m, STR("s"), str_of(ids.id), (struct str){0});
    query_await(q, -1, NULL);
    struct str text;
    if (query_exception(q, &F, A, &text)) {
        fprintf(stderr, "%.*s\n", STR_ARG(text));
        _exit(2);
    }
    query_release(q);
    query_manager_free(m);
    log_close(l);
}

/* Run in a process of its own, which dies in its `live`-th console text (-1: never); its exit status. */
static int process(const char *sql, enum output_mode mode, const char *checkpoint, const char *out, int live)
{
    char path[128];
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        A = arena_new(0);
        left_to_live = live;
        snprintf(path, sizeof path, "%s/%s", ROOT, out);
        OUT = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
        if (sql)
            run(sql, mode, checkpoint);
        else
            fill();
        _exit(0);
    }
    int status;
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}

enum { BATCHES = 64, ROWS = 64 };

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The rows of the texts of each batch, sorted; a batch that was put out twice must have had the same rows both times. */
static int batches(const char *name, char *out[BATCHES])
{
    char path[128], *text, *save = NULL, *rows[ROWS];
    size_t n;
    int batch = -1, count = 0, most = -1;
    snprintf(path, sizeof path, "%s/%s", ROOT, name);
    if (os_read_file(path, 1 << 20, &text, &n, &F))
        return -1;
    for (char *line = strtok_r(text, "\n", &save);; line = strtok_r(NULL, "\n", &save)) {
        if (line && line[0] == '|' && count < ROWS)
            rows[count++] = line;
        if (line && strncmp(line, "Batch: ", 7))
            continue;
        struct buf b = {0};
        if (count)
            qsort(rows, (size_t)count, sizeof *rows, by_text);
        for (int i = 0; i < count; i++)
            buf_fmt(&b, "%s\n", rows[i]);
        buf_u8(&b, 0);
        if (batch >= 0 && batch < BATCHES) {
            if (out[batch] && strcmp(out[batch], b.p))
                fprintf(stderr, "batch %d again:\n%s\nbefore:\n%s\n", batch, b.p, out[batch]);
            EXPECT(!out[batch] || !strcmp(out[batch], b.p));
            free(out[batch]);
            out[batch] = strdup(b.p);
        }
        buf_free(&b);
        if (!line)
            break;
        count = 0;
        batch = atoi(line + 7);
        most = batch > most ? batch : most;
    }
    free(text);
    return most + 1;
}

/* has_now: the rows hold the time of their batch, which only its repetitions share. */
static void killed_equals_straight(const char *sql, enum output_mode mode, bool has_now)
{
    snprintf(ROOT, sizeof ROOT, "/tmp/penstock-crash-XXXXXX");
    REQUIRE(mkdtemp(ROOT));
    REQUIRE(process(NULL, mode, NULL, "none", -1) == 0);
    EXPECT_INT(process(sql, mode, "straight.checkpoint", "straight", -1), 0);
    int deaths = 0, status;
    /* by turns: die before the first commit, or after one more */
    while ((status = process(sql, mode, "killed.checkpoint", "killed", 1 + deaths % 2)) == DIED && deaths < 100)
        deaths++;
    EXPECT_INT(status, 0);
    EXPECT(deaths >= 8);
    char *straight[BATCHES] = {0}, *killed[BATCHES] = {0};
    int n = batches("straight", straight), m = batches("killed", killed);
    EXPECT(n >= 8);
    for (int i = 0; !has_now && i < n && i < BATCHES; i++) {
        bool same = straight[i] && killed[i] && !strcmp(straight[i], killed[i]);
        if (!same)
            fprintf(stderr, "batch %d straight:\n%skilled:\n%s\n", i, straight[i], killed[i] ? killed[i] : "none\n");
        EXPECT(same);
    }
    EXPECT_INT(m, n);
    for (int i = 0; i < BATCHES; i++) {
        free(straight[i]);
        free(killed[i]);
    }
    EXPECT(os_remove_tree(ROOT, &F) == ERR_OK);
}

static const char WINDOWS[] = "SELECT window.start, CAST(key AS STRING) AS k, count(*) AS n FROM t "
                              "GROUP BY window(timestamp, '10 seconds'), CAST(key AS STRING)";

TEST(append_windows)
{
    killed_equals_straight(WINDOWS, OUTPUT_APPEND, false);
}

TEST(update_windows)
{
    killed_equals_straight(WINDOWS, OUTPUT_UPDATE, false);
}

TEST(complete_counts)
{
    killed_equals_straight("SELECT CAST(key AS STRING) AS k, count(*) AS n, avg(offset) AS a FROM t GROUP BY 1",
                           OUTPUT_COMPLETE, false);
}

TEST(rows_with_the_time_of_their_batch)
{
    killed_equals_straight("SELECT CAST(key AS STRING) AS k, offset, current_timestamp() AS now FROM t", OUTPUT_APPEND,
                           true);
}

TEST(keys_met_before)
{
    killed_equals_straight("SELECT DISTINCT CAST(key AS STRING) AS k, timestamp FROM t", OUTPUT_APPEND, false);
}

TEST_MAIN()
