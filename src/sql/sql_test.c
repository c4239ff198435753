#include "base/test.h"
#include "sql/sql.h"

/* Trees as S-expressions: enough to see shape, names and literals. */
static void node_text(struct buf *b, const struct node *e);

static void rel_text(struct buf *b, const struct rel *r)
{
    static const char *const NAMES[] = {
        [REL_ONE_ROW] = "one_row", [REL_TABLE] = "table",       [REL_RANGE] = "range", [REL_PROJECT] = "project",
        [REL_FILTER] = "filter",   [REL_AGGREGATE] = "agg",     [REL_SORT] = "sort",   [REL_LIMIT] = "limit",
        [REL_OFFSET] = "offset",   [REL_DISTINCT] = "distinct", [REL_SETOP] = "setop", [REL_JOIN] = "join",
        [REL_ALIAS] = "alias",     [REL_VALUES] = "values",     [REL_WITH] = "with",   [REL_HAVING] = "having"};
    buf_fmt(b, "(%s", NAMES[r->kind]);
    if (r->kind == REL_SETOP)
        buf_fmt(b, "-%s%s",
                r->setop == SETOP_UNION    ? "union"
                : r->setop == SETOP_EXCEPT ? "except"
                                           : "intersect",
                r->all ? "-all" : "");
    if (r->kind == REL_JOIN)
        buf_fmt(b, "-%.*s%s", STR_ARG(r->join_type), r->natural ? "-natural" : "");
    if (r->kind == REL_RANGE)
        buf_fmt(b, " %lld %lld %lld", (long long)r->start, (long long)r->end, (long long)r->step);
    if (r->group_by_all || (r->kind == REL_SORT && r->all))
        buf_z(b, " ALL");
    for (int i = 0; i < r->nparts; i++)
        buf_fmt(b, " %.*s", STR_ARG(r->parts[i]));
    for (int i = 0; i < r->ngroup; i++) {
        buf_z(b, i ? " " : " by[");
        node_text(b, r->group[i]);
        buf_z(b, i == r->ngroup - 1 ? "]" : "");
    }
    for (int i = 0; i < r->nexprs; i++) {
        buf_z(b, " ");
        node_text(b, r->exprs[i]);
    }
    for (int i = 0; i < r->nchildren; i++) {
        buf_z(b, " ");
        rel_text(b, r->children[i]);
    }
    buf_z(b, ")");
}

static void literal_text(struct buf *b, const struct node *e)
{
    if (e->literal_null) {
        buf_z(b, "NULL");
        return;
    }
    switch (e->type->id) {
    case TYPE_BOOLEAN:
        buf_z(b, e->literal.data.boolean[0] ? "true" : "false");
        break;
    case TYPE_BYTE:
        buf_fmt(b, "%dY", e->literal.data.i8[0]);
        break;
    case TYPE_SHORT:
        buf_fmt(b, "%dS", e->literal.data.i16[0]);
        break;
    case TYPE_INT:
        buf_fmt(b, "%d", e->literal.data.i32[0]);
        break;
    case TYPE_LONG:
        buf_fmt(b, "%lldL", (long long)e->literal.data.i64[0]);
        break;
    case TYPE_FLOAT:
        buf_fmt(b, "%gF", (double)e->literal.data.f32[0]);
        break;
    case TYPE_DOUBLE:
        buf_fmt(b, "%gD", e->literal.data.f64[0]);
        break;
    case TYPE_DECIMAL:
        buf_fmt(b, "%lld/%d,%dBD", (long long)e->literal.data.i128[0], e->type->precision, e->type->scale);
        break;
    case TYPE_DAY_TIME:
        buf_fmt(b, "%lldus[%d-%d]", (long long)e->literal.data.i64[0], e->type->first, e->type->last);
        break;
    case TYPE_YEAR_MONTH:
        buf_fmt(b, "%dmo[%d-%d]", e->literal.data.i32[0], e->type->first, e->type->last);
        break;
    default:
        buf_fmt(b, "'%.*s'", STR_ARG(e->literal.data.str[0]));
    }
}

static void node_text(struct buf *b, const struct node *e)
{
    static const char *const NAMES[] = {
        [NODE_CAST] = "cast",     [NODE_ALIAS] = "as",          [NODE_SORT] = "by",    [NODE_EXTRACT] = "get",
        [NODE_LAMBDA] = "lambda", [NODE_SUBQUERY] = "subquery", [NODE_PARAM] = "param"};
    if (e->kind == NODE_LITERAL) {
        literal_text(b, e);
        return;
    }
    if (e->kind == NODE_ATTRIBUTE || e->kind == NODE_STAR) {
        for (int i = 0; i < e->nparts; i++)
            buf_fmt(b, "%s%.*s", i ? "." : "", STR_ARG(e->parts[i]));
        buf_z(b, e->kind == NODE_STAR ? (e->nparts ? ".*" : "*") : "");
        return;
    }
    buf_fmt(b, "(%.*s", STR_ARG(e->kind == NODE_CALL ? e->name : str_of(NAMES[e->kind])));
    if (e->kind == NODE_SUBQUERY || e->kind == NODE_PARAM)
        buf_fmt(b, " %.*s", STR_ARG(e->name));
    buf_z(b, e->distinct ? " DISTINCT" : e->cast_mode == 2 ? " TRY" : e->descending ? " DESC" : "");
    buf_z(b, e->nulls_last < 0 ? "" : e->nulls_last ? " LAST" : " FIRST");
    for (int i = 0; i < e->nparts; i++)
        buf_fmt(b, " %.*s", STR_ARG(e->parts[i]));
    for (int i = 0; i < e->nargs; i++) {
        buf_z(b, " ");
        node_text(b, e->args[i]);
    }
    if (e->filter) {
        buf_z(b, " FILTER ");
        node_text(b, e->filter);
    }
    if (e->relation) {
        buf_z(b, " ");
        rel_text(b, e->relation);
    }
    buf_z(b, ")");
}

static void expect_expression(const char *sql, const char *want)
{
    struct arena *a = arena_new(0);
    struct fault f = {0};
    struct node *e = NULL;
    struct buf b = {0};
    if (sql_parse_expression(str_of(sql), a, &e, &f))
        TEST_FAIL_("%s: %s", sql, fault_message(&f));
    else
        node_text(&b, e);
    if (e)
        EXPECT_STR(buf_view(&b), want);
    buf_free(&b);
    arena_free(a);
}

static void expect_query(const char *sql, const char *want)
{
    struct arena *a = arena_new(0);
    struct fault f = {0};
    struct statement s;
    struct buf b = {0};
    if (sql_parse(str_of(sql), a, &s, &f)) {
        TEST_FAIL_("%s: %s", sql, fault_message(&f));
    } else {
        struct arena *again = arena_new(0);
        rel_text(&b, rel_copy(again, s.rel)); /* a copy says the same */
        EXPECT_STR(buf_view(&b), want);
        arena_free(again);
    }
    buf_free(&b);
    arena_free(a);
}

/* Errors as Spark 4.2.0 gave them for the same text. */
static void expect_error(const char *sql, const char *class, const char *p0, const char *p1, const char *context)
{
    struct arena *a = arena_new(0);
    struct fault f = {0};
    struct statement s;
    enum err e = sql_parse(str_of(sql), a, &s, &f);
    EXPECT_STR(str_of(err_class(e)), class);
    if (p0 && f.nparams > 0)
        EXPECT_STR(str_of(fault_param_value(&f, 0)), p0);
    if (p1 && f.nparams > 1)
        EXPECT_STR(str_of(fault_param_value(&f, 1)), p1);
    if (context && !strstr(f.context, context))
        TEST_FAIL_("%s: context %s", sql, f.context);
    arena_free(a);
}

TEST(operators_bind_as_in_spark)
{
    expect_expression("1 + 2 * 3 - -1", "(- (+ 1 (* 2 3)) -1)");
    expect_expression("not a and b or c", "(or (and (not a) b) c)");
    expect_expression("a and b and c and d", "(and (and a b) (and c d))");
    expect_expression("1=1=true", "(= (= 1 1) true)");
    expect_expression("a <> 1", "(not (= a 1))");
    expect_expression("-a", "(- a)");
    expect_expression("- 1", "-1");
    expect_expression("-(-1)", "(- -1)");
    expect_expression("a | b ^ c & d << 1", "(| a (^ b (& c (<< d 1))))");
    expect_expression("a div 2 || 'x'", "(concat (div a 2) 'x')");
    expect_expression("-1::string", "(cast -1)");
    expect_expression("a -- comment\n + /* b /* nested */ */ 1", "(+ a 1)");
}

TEST(predicates)
{
    expect_expression("a not between 1 and 2 and b", "(and (not (between a 1 2)) b)");
    expect_expression("a in (1, 2)", "(in a 1 2)");
    expect_expression("a not in (select b from t)", "(not (subquery in a (project b (table t))))");
    expect_expression("a like 'x%' escape '/'", "(like a 'x%' '/')");
    expect_expression("a not rlike 'x'", "(not (rlike a 'x'))");
    expect_expression("a like any ('x', 'y')", "(or (like a 'x') (like a 'y'))");
    expect_expression("a is not null", "(isnotnull a)");
    expect_expression("a is not distinct from 1", "(<=> a 1)");
    expect_expression("a is distinct from 1", "(not (<=> a 1))");
    expect_expression("a = 1 is true", "(<=> (= a 1) true)");
    expect_expression("exists (select 1)", "(subquery exists (project 1 (one_row)))");
}

TEST(literals)
{
    expect_expression("128", "128");
    expect_expression("2147483648", "2147483648L");
    expect_expression("-9223372036854775808", "-9223372036854775808L");
    expect_expression("9223372036854775808", "-9223372036854775808/19,0BD"); /* shown through 64 bits */
    expect_expression("1.50", "150/3,2BD");
    expect_expression(".5", "5/1,1BD");
    expect_expression("5.", "5/1,0BD");
    expect_expression("1e3", "1000D");
    expect_expression("1e3BD", "1000/4,0BD");
    expect_expression("1.5f", "1.5F");
    expect_expression("1Y", "1Y");
    expect_expression("X'1'", "'\x01'");
    expect_expression("'it''s' 'a\\tb' \"c\" r'\\n'", "'it'sa\tbc\\n'");
    expect_expression("'\\u0041\\101\\%\\q'", "'AA\\%q'");
    expect_expression("null", "NULL");
    expect_expression("date '2024-01-01'", "(cast '2024-01-01')");
    expect_expression("1a", "1a");
    expect_expression("t.1a.b", "t.1a.b");
}

TEST(intervals)
{
    expect_expression("interval 1 day", "86400000000us[0-0]");
    expect_expression("interval '1 02:03' day to minute", "93780000000us[0-2]");
    expect_expression("interval '-1 02:03:04.5' day to second", "-93784500000us[0-3]");
    expect_expression("interval 1 year 2 months", "14mo[0-1]");
    expect_expression("interval '1-2' year to month", "14mo[0-1]");
    expect_expression("interval '1 day 2 hours'", "93600000000us[0-1]");
    expect_expression("interval 1 week", "604800000000us[0-0]");
    expect_expression("interval 1.5 seconds", "1500000us[3-3]");
    expect_expression("a + interval '10' seconds - 2", "(- (+ a 10000000us[3-3]) 2)");
    expect_expression("interval", "interval");
    expect_error("select interval 1 month 1 day", "_LEGACY_ERROR_TEMP_0029", "interval 1 month 1 day", NULL,
                 "\"startIndex\":7");
    expect_error("select interval 1 foo", "PARSE_SYNTAX_ERROR", "'foo'", "", "\"startIndex\":18,");
    expect_error("select interval 'abc'", "INVALID_TYPED_LITERAL", "\"INTERVAL\"", "'abc'", "\"stopIndex\":20");
}

TEST(special_forms)
{
    expect_expression("case when a then 1 else 2 end", "(case a 1 2)");
    expect_expression("case a when 1 then 'x' end", "(case (= a 1) 'x')");
    expect_expression("try_cast(a as int)", "(cast TRY a)");
    expect_expression("extract(year from d)", "(extract 'year' d)");
    expect_expression("substring(a from 2 for 1)", "(substring a 2 1)");
    expect_expression("trim(both 'x' from a)", "(trim 'x' a)");
    expect_expression("trim(leading from a)", "(ltrim a)");
    expect_expression("trim(a)", "(trim a)");
    expect_expression("position('b' in a)", "(locate 'b' a)");
    expect_expression("position('b', a)", "(position 'b' a)");
    expect_expression("count(*)", "(count *)");
    expect_expression("count(distinct a, b) filter (where c)", "(count DISTINCT a b FILTER c)");
    expect_expression("first(a ignore nulls)", "(first a true)");
    expect_expression("current_timestamp", "current_timestamp");
    expect_expression("struct(1 as a, 2)", "(struct (as a 1) 2)");
    expect_expression("(1, 2)", "(struct 1 2)");
    expect_expression("a.b[0].c['k']", "(get (get (get a.b 0) 'c') 'k')");
    expect_expression("transform(a, (x, i) -> x + i)", "(transform a (lambda x i (+ x i)))");
    expect_expression("t.* ", "t.*");
    expect_expression("a as `b c`", "(as b c a)");
    expect_expression(":p + ?", "(+ (param p) (param ))");
}

TEST(queries)
{
    expect_query("select a, b as c from t where a > 1", "(project a (as c b) (filter (> a 1) (table t)))");
    expect_query(
        "select content, avg(rating) from v group by content having avg(rating) > 3 order by 2 desc nulls last limit 3",
        "(limit 3 (sort (by DESC LAST 2) (having (> (avg rating) 3) (agg by[content] content (avg rating) (table "
        "v)))))");
    expect_query("select distinct a from (select 1 a) s(x)",
                 "(distinct (project a (alias s x (project (as a 1) (one_row)))))");
    expect_query("select 1 union select 2 intersect select 3 union all select 4",
                 "(setop-union-all (setop-union (project 1 (one_row)) (setop-intersect (project 2 (one_row)) (project "
                 "3 (one_row)))) "
                 "(project 4 (one_row)))");
    expect_query("with a as (select 1 x) select * from a, b",
                 "(with a (project * (join-inner (table a) (table b))) (project (as x 1) (one_row)))");
    expect_query("select * from a left join b on a.x = b.x",
                 "(project * (join-left_outer (= a.x b.x) (table a) (table b)))");
    expect_query("values (1, 'a'), (2, 'b') as t(x, y)", "(alias t x y (values 1 'a' 2 'b'))");
    expect_query("select * from range(1, 10, 3)", "(project * (range 1 10 3))");
    expect_query("select a from t limit 1 offset 2", "(limit 1 (offset 2 (project a (table t))))");
    expect_query("select name, count(*) from t group by all", "(agg ALL name (count *) (table t))");
    expect_query("select * from t order by all desc", "(sort ALL (by DESC all) (project * (table t)))");
    /* Almost no word is reserved. */
    expect_query("select 1 from", "(project (as from 1) (one_row))");
    expect_query("select from t", "(project (as t from) (one_row))");
    expect_query("select * from t where", "(project * (alias where (table t)))");
    expect_query("select 1 as select;", "(project (as select 1) (one_row))");
}

TEST(syntax_errors_as_spark_reports_them)
{
    expect_error("selec 1", "PARSE_SYNTAX_ERROR", "'selec'", "",
                 "\"startIndex\":0,\"stopIndex\":4,\"fragment\":\"selec\"");
    expect_error("select 1 )", "PARSE_SYNTAX_ERROR", "')'", ": extra input ')'", "\"startIndex\":9,");
    expect_error("select 1 a b", "PARSE_SYNTAX_ERROR", "'b'", ": extra input 'b'", "\"startIndex\":11,");
    expect_error("select 1 a b c", "PARSE_SYNTAX_ERROR", "'b'", "", "\"startIndex\":11,");
    expect_error("select (1", "PARSE_SYNTAX_ERROR", "end of input", "", "\"startIndex\":9,");
    expect_error("select * from (select 1", "PARSE_SYNTAX_ERROR", "end of input", ": missing ')'",
                 "\"startIndex\":23,");
    expect_error("select count( from t", "PARSE_SYNTAX_ERROR", "'t'", "", "\"startIndex\":19,");
    expect_error("select * form t", "PARSE_SYNTAX_ERROR", "'t'", ": extra input 't'", "\"startIndex\":14,");
    expect_error("select a,, b from t", "PARSE_SYNTAX_ERROR", "','", "", "\"startIndex\":9,");
    expect_error("select id from t group id", "PARSE_SYNTAX_ERROR", "'id'", ": extra input 'id'", "\"startIndex\":23,");
    expect_error("select\n 'abc", "PARSE_SYNTAX_ERROR", "'''", "", "\"startIndex\":8,");
    expect_error(";", "PARSE_SYNTAX_ERROR", "';'", "", "\"startIndex\":0,");
    expect_error("  ", "PARSE_EMPTY_STATEMENT", NULL, NULL, "\"startIndex\":2,");
    expect_error("select 1 /* x", "UNCLOSED_BRACKETED_COMMENT", NULL, NULL, NULL);
    expect_error("select 128Y", "INVALID_NUMERIC_LITERAL_RANGE", "128", "-128", "\"startIndex\":7,\"stopIndex\":10");
    expect_error("select cast(1 as foo)", "UNSUPPORTED_DATATYPE", "\"FOO\"", NULL,
                 "\"startIndex\":17,\"stopIndex\":19");
    expect_error("select cast(1 as array)", "INCOMPLETE_TYPE_DEFINITION.ARRAY", "<INT>", NULL,
                 "\"fragment\":\"array\"");
    expect_error("select * from values (1,2),(3)", "INVALID_INLINE_TABLE.NUM_COLUMNS_MISMATCH", "2", "1", NULL);
    expect_error("select sum(a) over (partition by b) from t", "UNSUPPORTED_FEATURE.PENSTOCK", NULL, NULL, NULL);
    expect_error("insert into t values (1)", "UNSUPPORTED_FEATURE.PENSTOCK", "the statement INSERT", NULL, NULL);
}

TEST(statements)
{
    struct arena *a = arena_new(0);
    struct fault f;
    struct statement s;
    REQUIRE(sql_parse(STR("create or replace temp view v as select 1"), a, &s, &f) == ERR_OK);
    EXPECT(s.kind == STATEMENT_CREATE_VIEW && s.replace && s.rel);
    EXPECT_STR(s.name, "v");
    REQUIRE(sql_parse(STR("SET spark.sql.session.timeZone = Europe/Paris"), a, &s, &f) == ERR_OK);
    EXPECT_STR(s.key, "spark.sql.session.timeZone");
    EXPECT_STR(s.value, "Europe/Paris");
    REQUIRE(sql_parse(STR("show tables;"), a, &s, &f) == ERR_OK);
    EXPECT(s.kind == STATEMENT_SHOW_TABLES);
    REQUIRE(sql_parse(STR("describe query select 1 a"), a, &s, &f) == ERR_OK);
    EXPECT(s.kind == STATEMENT_DESCRIBE && s.rel->kind == REL_PROJECT);
    REQUIRE(sql_parse(STR("explain extended select 1"), a, &s, &f) == ERR_OK);
    EXPECT(s.kind == STATEMENT_EXPLAIN && s.extended);
    arena_free(a);
}

TEST(types_and_schemas)
{
    static const char JSON[] =
        "{\"type\":\"struct\",\"fields\":[{\"name\":\"a\",\"type\":\"integer\",\"nullable\":false,\"metadata\":{}},"
        "{\"name\":\"b\",\"type\":{\"type\":\"array\",\"elementType\":\"decimal(5,2)\",\"containsNull\":true},"
        "\"nullable\":true,\"metadata\":{\"k\":1}}]}";
    struct arena *a = arena_new(0);
    struct fault f;
    const struct type *t;
    REQUIRE(sql_parse_type(STR("map<string,array<struct<a:int,b: timestamp>>>"), a, &t, &f) == ERR_OK);
    EXPECT(t->id == TYPE_MAP && t->fields[1].type->id == TYPE_ARRAY);
    EXPECT(t->fields[1].type->fields[0].type->nfields == 2);
    REQUIRE(sql_parse_schema(STR("content STRING, rating DOUBLE NOT NULL"), a, &t, &f) == ERR_OK);
    EXPECT(t->id == TYPE_STRUCT && t->nfields == 2 && !t->fields[1].nullable);
    REQUIRE(sql_parse_schema(STR("a array<array<int>>"), a, &t, &f) == ERR_OK);
    REQUIRE(sql_parse_schema(str_of(JSON), a, &t, &f) == ERR_OK);
    EXPECT(t->nfields == 2 && !t->fields[0].nullable && t->fields[1].type->fields[0].type->scale == 2);
    EXPECT_STR(t->fields[1].metadata, "{\"k\":1}");
    REQUIRE(sql_parse_schema(STR("bigint"), a, &t, &f) == ERR_OK);
    EXPECT(t->id == TYPE_LONG);
    EXPECT(sql_parse_schema(STR("{\"type\":\"strct\"}"), a, &t, &f) == ERR_INVALID_JSON_DATA_TYPE);
    EXPECT(sql_parse_schema(STR("a INT, b"), a, &t, &f) == ERR_PARSE_SYNTAX);
    arena_free(a);
}

/* 100,000 of anything that nests is an error, never a stack overflow; long flat lists and AND chains are fine. */
TEST(depth_is_bounded)
{
    static const char *const NEST[] = {"(",     "not ",   "- ", "a[",       "case when ", "abs(",
                                       "cast(", "array<", "1+", "a::int::", "(select "};
    struct arena *a = arena_new(0);
    struct fault f;
    struct node *e;
    const struct type *t;
    struct buf b = {0};
    for (size_t i = 0; i < sizeof NEST / sizeof *NEST; i++) {
        buf_clear(&b);
        for (int k = 0; k < 100000; k++)
            buf_z(&b, NEST[i]);
        buf_z(&b, "1");
        EXPECT(sql_parse_expression(buf_view(&b), a, &e, &f) != ERR_OK);
        EXPECT(sql_parse_type(buf_view(&b), a, &t, &f) != ERR_OK);
    }
    buf_clear(&b);
    buf_z(&b, "a = 1");
    for (int k = 0; k < 20000; k++)
        buf_z(&b, " or a = 2");
    EXPECT(sql_parse_expression(buf_view(&b), a, &e, &f) == ERR_OK);
    buf_free(&b);
    arena_free(a);
}

TEST_MAIN()
