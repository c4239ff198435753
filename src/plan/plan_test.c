#include "base/test.h"
#include "plan/plan.h"

/* -- a session for tests: views t, u, e as batches; s is a stream with the columns of a Kafka topic ------------------- */
static const char *const VIEWS[][2] = {
    {"t", "id INT, name STRING NOT NULL, val DOUBLE, st STRUCT<x: INT, y: STRING>"},
    {"u", "id INT NOT NULL, other STRING NOT NULL"},
    {"e", "ts TIMESTAMP, v INT NOT NULL"},
    {"s",
     "key BINARY, value BINARY, topic STRING, partition INT, offset BIGINT, timestamp TIMESTAMP, timestampType INT"},
};
static struct arena *views;

static const struct rel *test_view(void *arg, const struct str *parts, int n)
{
    (void)arg;
    for (size_t i = 0; n == 1 && i < sizeof VIEWS / sizeof *VIEWS; i++) {
        if (!str_eq_nocase(parts[0], str_of(VIEWS[i][0])))
            continue;
        bool stream = VIEWS[i][0][0] == 's';
        struct rel *r = rel_new(views, stream ? REL_SOURCE : REL_LOCAL, 0);
        if (sql_parse_schema(str_of(VIEWS[i][1]), views, &r->schema, NULL))
            abort();
        r->is_streaming = stream;
        r->format = STR("kafka");
        return r;
    }
    return NULL;
}

static enum err test_schema(void *arg, struct str format, const struct option *options, int noptions,
                            const struct type *user, bool is_streaming, struct arena *a, const struct type **schema,
                            struct fault *f)
{
    (void)arg, (void)format, (void)options, (void)noptions, (void)is_streaming, (void)a, (void)f;
    *schema = user;
    return ERR_OK;
}

static enum err analyze(const char *sql, struct plan **out, struct fault *f)
{
    static const struct plan_env ENV = {.view = test_view, .source_schema = test_schema};
    struct arena *a = arena_new(0);
    struct statement s;
    *out = NULL;
    enum err e = sql_parse(str_of(sql), a, &s, f);
    if (!e)
        e = plan_analyze(s.rel, &ENV, out, f);
    arena_free(a); /* the plan keeps its own copy of everything */
    return e;
}

static void fault_line(struct buf *b, const struct fault *f)
{
    int order[FAULT_PARAMS];
    for (int i = 0; i < f->nparams; i++) {
        int k = i;
        for (; k > 0 && strcmp(fault_param_name(f, order[k - 1]), fault_param_name(f, i)) > 0; k--)
            order[k] = order[k - 1];
        order[k] = i;
    }
    buf_fmt(b, "!%s {", err_class(f->err));
    for (int i = 0; i < f->nparams; i++) {
        buf_z(b, i ? ", " : "");
        buf_json_str(b, str_of(fault_param_name(f, order[i])));
        buf_z(b, ": ");
        buf_json_str(b, str_of(fault_param_value(f, order[i])));
    }
    buf_z(b, "}");
}

/* "struct<a:int> | 0" (names and types, nullability), or "!CLASS {parameters}". */
static void outcome(const char *sql, struct buf *b)
{
    struct plan *p;
    static struct fault f;
    if (analyze(sql, &p, &f)) {
        fault_line(b, &f);
        return;
    }
    buf_str(b, type_simple_string(p->arena, p->schema));
    buf_z(b, " | ");
    for (int i = 0; i < p->schema->nfields; i++)
        buf_fmt(b, "%s%d", i ? "," : "", p->schema->fields[i].nullable);
    plan_free(p);
}

/* What Spark 4.2.0 (local, UTC, ANSI) says about the same statements over views of these schemas. */
static const char *const RECORDED[][2] = {
#include "plan/plan_recorded.inc"
};

TEST(schemas_and_errors_as_spark_has_them)
{
    views = arena_new(0);
    for (size_t i = 0; i < sizeof RECORDED / sizeof *RECORDED; i++) {
        struct buf b = {0};
        outcome(RECORDED[i][0], &b);
        if (!str_eqz(buf_view(&b), RECORDED[i][1]))
            TEST_FAIL_("%s\n  want %s\n  got  %.*s", RECORDED[i][0], RECORDED[i][1], STR_ARG(buf_view(&b)));
        buf_free(&b);
    }
    arena_free(views);
}

static void expect_text(const char *sql, const char *want)
{
    struct plan *p;
    static struct fault f;
    struct buf b = {0};
    views = arena_new(0);
    if (analyze(sql, &p, &f)) {
        TEST_FAIL_("%s: %s", sql, fault_message(&f));
    } else {
        plan_text(p, false, &b);
        if (!str_eqz(buf_view(&b), want))
            TEST_FAIL_("%s\n%.*s", sql, STR_ARG(buf_view(&b)));
        plan_free(p);
    }
    buf_free(&b);
    arena_free(views);
}

TEST(columns_that_nobody_reads_are_not_scanned)
{
    expect_text("select name from (select id, name, val from t) where val > 1", "== Physical Plan ==\n"
                                                                                "Project [name]\n"
                                                                                "+- Filter [(val > 1)]\n"
                                                                                "   +- LocalTableScan [name, val]\n");
    expect_text("select count(*) from t", "== Physical Plan ==\n"
                                          "HashAggregate(keys=[], functions=[count(1)])\n"
                                          "+- LocalTableScan []\n");
    expect_text("select b from (select id as a, max(val) as b, min(val) as c from t group by id)",
                "== Physical Plan ==\n"
                "Project [max(val)]\n"
                "+- HashAggregate(keys=[id], functions=[max(val)])\n"
                "   +- LocalTableScan [id, val]\n");
    expect_text("select name from t union all select other from u", "== Physical Plan ==\n"
                                                                    "Union\n"
                                                                    "+- LocalTableScan [name]\n"
                                                                    "+- LocalTableScan [other]\n");
}

TEST(filters_move_towards_the_source)
{
    expect_text("select * from (select name, count(*) c from t group by name) where c > 1 and name = 'a'",
                "== Physical Plan ==\n"
                "Project [name, count(1)]\n"
                "+- Filter [(c > 1)]\n"
                "   +- HashAggregate(keys=[name], functions=[count(1)])\n"
                "      +- Filter [(name = a)]\n"
                "         +- LocalTableScan [name]\n");
}

TEST(joins_read_only_what_is_used)
{
    expect_text("select t.name from t join u on t.id = u.id and val > 1",
                "== Physical Plan ==\n"
                "Project [name]\n"
                "+- HashJoin Inner [id] = [id] and (val > 1)\n"
                "   +- LocalTableScan [id, name, val]\n"
                "   +- LocalTableScan [id]\n");
}

TEST(having_and_order_by_reach_the_aggregation)
{
    expect_text("select name, count(*) c from t group by name having sum(val) > 1 order by max(id) desc, c",
                "== Physical Plan ==\n"
                "Project [name, count(1)]\n"
                "+- Sort [max(id) DESC NULLS LAST, c ASC NULLS FIRST]\n"
                "   +- Filter [(sum(val) > 1)]\n"
                "      +- HashAggregate(keys=[name], functions=[count(1), sum(val), max(id)])\n"
                "         +- LocalTableScan [id, name, val]\n");
    expect_text("select id from t order by name", "== Physical Plan ==\n"
                                                  "Project [id]\n"
                                                  "+- Sort [name ASC NULLS FIRST]\n"
                                                  "   +- LocalTableScan [id, name]\n");
}

/* -- streams ----------------------------------------------------------------------------------------------------------- */
static void expect_stream(const char *sql, enum output_mode mode, const char *want)
{
    struct plan *p;
    static struct fault f;
    f = (struct fault){0};
    views = arena_new(0);
    if (analyze(sql, &p, &f)) {
        TEST_FAIL_("%s: %s", sql, fault_message(&f));
    } else {
        enum err e = plan_check_streaming(p, mode, &f);
        EXPECT(p->is_streaming && p->nscans == 1);
        EXPECT(plan_check_batch(p, NULL) == ERR_STREAMING_UNSUPPORTED);
        if (!want)
            EXPECT(e == ERR_OK);
        else if (!e || !strstr(fault_message(&f), want))
            TEST_FAIL_("%s: %s", sql, e ? fault_message(&f) : "accepted");
        plan_free(p);
    }
    arena_free(views);
}

TEST(streams_are_checked_as_spark_checks_them)
{
    expect_stream("select value from s", OUTPUT_APPEND, NULL);
    expect_stream("select value from s", OUTPUT_UPDATE, NULL);
    expect_stream("select value from s", OUTPUT_COMPLETE, "no streaming aggregations");
    expect_stream("select topic, count(*) from s group by topic", OUTPUT_COMPLETE, NULL);
    expect_stream("select topic, count(*) from s group by topic", OUTPUT_UPDATE, NULL);
    expect_stream("select topic, count(*) from s group by topic", OUTPUT_APPEND,
                  "streaming aggregations without watermark");
    expect_stream("select topic, count(distinct offset) from s group by topic", OUTPUT_UPDATE, "Distinct aggregations");
    expect_stream("select value from s order by offset", OUTPUT_APPEND, "Sorting is not supported");
    expect_stream("select topic, count(*) c from s group by topic order by c", OUTPUT_COMPLETE, NULL);
    expect_stream("select topic, count(*) c from s group by topic order by c", OUTPUT_UPDATE,
                  "Sorting is not supported");
    expect_stream("select value from s limit 1", OUTPUT_UPDATE, "Limits are not supported");
    expect_stream("select value from s limit 1", OUTPUT_APPEND, NULL);
    expect_stream("select distinct topic from s", OUTPUT_APPEND, NULL);
}

/* groupBy(window(timestamp, "10 seconds"), topic).count() over withWatermark, as serve/connect builds it. */
static enum err windowed(struct arena *a, const char *window, struct plan **out, struct fault *f)
{
    static const struct plan_env ENV = {.view = test_view, .source_schema = test_schema};
    struct str name = STR("s");
    struct rel *mark = rel_new(a, REL_WATERMARK, 1), *agg = rel_new(a, REL_AGGREGATE, 1);
    mark->children[0] = (struct rel *)test_view(NULL, &name, 1);
    mark->parts = ARENA_NEW(a, struct str);
    mark->parts[0] = STR("timestamp");
    mark->nparts = 1;
    mark->text = STR("1 minute");
    agg->children[0] = mark;
    agg->group = ARENA_ARRAY(a, 2, struct node *);
    agg->exprs = ARENA_ARRAY(a, 3, struct node *);
    struct node *count = node_call(a, STR("count"), 1, node_literal_i32(a, 1));
    if (sql_parse_expression(str_of(window), a, &agg->group[0], f))
        return f->err;
    agg->group[1] = node_attribute(a, STR("topic"));
    agg->ngroup = 2;
    agg->exprs[0] = agg->group[0];
    agg->exprs[1] = agg->group[1];
    agg->exprs[2] = count;
    agg->nexprs = 3;
    return plan_analyze(agg, &ENV, out, f);
}

TEST(windows_carry_the_watermark)
{
    struct plan *p;
    struct fault f;
    struct buf b = {0};
    views = arena_new(0);
    REQUIRE(windowed(views, "window(timestamp, '10 seconds')", &p, &f) == ERR_OK);
    EXPECT(plan_check_streaming(p, OUTPUT_APPEND, &f) == ERR_OK);
    plan_text(p, false, &b);
    EXPECT_STR(buf_view(&b), "== Physical Plan ==\n"
                             "HashAggregate(keys=[window, topic], functions=[count(1)])\n"
                             "+- Project [topic, window]\n"
                             "   +- Filter [(timestamp IS NOT NULL)]\n"
                             "      +- EventTimeWatermark timestamp, 60000000 us\n"
                             "         +- Scan kafka [topic, timestamp]\n");
    const struct plan_node *agg = p->root;
    EXPECT(agg->kind == PLAN_AGGREGATE && agg->watermark_column == 0 && agg->watermark_is_window);
    EXPECT_STR(type_simple_string(p->arena, p->schema),
               "struct<window:struct<start:timestamp,end:timestamp>,topic:string,count(1):bigint>");
    plan_free(p);
    buf_clear(&b);
    REQUIRE(windowed(views, "window(timestamp, '10 seconds', '5 seconds')", &p, &f) == ERR_OK);
    plan_text(p, false, &b);
    EXPECT_STR(buf_view(&b), "== Physical Plan ==\n"
                             "HashAggregate(keys=[window, topic], functions=[count(1)])\n"
                             "+- Expand windows of 10000000 us every 5000000 us\n"
                             "   +- EventTimeWatermark timestamp, 60000000 us\n"
                             "      +- Scan kafka [topic, timestamp]\n");
    EXPECT(p->root->children[0]->window_column == 2);
    plan_free(p);
    buf_free(&b);
    arena_free(views);
}

TEST(state_signature_keeps_keys_and_aggregates)
{
    struct plan *p;
    struct fault f;
    struct buf b = {0};
    views = arena_new(0);
    REQUIRE(analyze("select topic, avg(offset) a, 1 as one from s where partition = 0 group by topic", &p, &f) ==
            ERR_OK);
    plan_state_signature(p, &b);
    EXPECT_STR(buf_view(&b), "source 0 kafka; aggregate by (topic string) of (avg(offset) double); ");
    buf_free(&b);
    plan_free(p);
    arena_free(views);
}

/* 5,000 nested subqueries or expressions are an error. */
TEST(depth_is_bounded)
{
    struct arena *a = arena_new(0);
    struct rel *r = rel_new(a, REL_RANGE, 0);
    static const struct plan_env ENV = {.view = test_view};
    struct plan *p;
    struct fault f;
    r->end = r->step = 1;
    for (int i = 0; i < 5000; i++) {
        struct rel *up = rel_new(a, REL_ALIAS, 1);
        up->children[0] = r;
        up->parts = ARENA_NEW(a, struct str);
        up->parts[0] = STR("x");
        up->nparts = 1;
        r = up;
    }
    EXPECT(plan_analyze(r, &ENV, &p, &f) == ERR_LIMIT);
    arena_free(a);
}

TEST_MAIN()
