#include "serve/connect/connect_int.h"

#include "base/test.h"

static struct connect_server *server(void)
{
    static struct connect_server *s;
    struct fault f;
    struct connect_options o = {0};
    if (!s && connect_start(&s, &o, &f))
        abort();
    return s;
}

static struct session *session(void)
{
    struct session *s;
    struct fault f;
    if (session_find(server(), "", "a8afe0a3-a1c7-49de-9b37-1fb76cd3a9cf", NULL, true, &s, &f))
        abort();
    return s;
}

/* -- texts of errors: as recorded from Spark Connect 4.2.0 (message of google.rpc.Status) ------------------------------ */
static struct fault sql_fault(enum err e, const char *sql, int32_t start, int32_t stop, int32_t line, int32_t column,
                              int n, const struct fault_param *params)
{
    struct fault f;
    struct origin o = {str_of(sql), start, stop, line, column, {0}, {0}};
    fault_set(&f, e, n, params);
    fault_context(&f, &o);
    return f;
}

static void expect_text(const struct fault *f, const char *want)
{
    struct buf b = {0};
    fault_text(f, &b);
    EXPECT_STR(buf_view(&b), want);
    buf_free(&b);
}

TEST(error_texts)
{
    struct fault_param config[] = {{"config", "\"spark.sql.ansi.enabled\""}};
    struct fault f = sql_fault(ERR_DIVIDE_BY_ZERO, "select 1/0", 7, 9, 1, 7, 1, config);
    expect_text(
        &f, "[DIVIDE_BY_ZERO] Division by zero. Use `try_divide` to tolerate divisor being 0 and return NULL instead. "
            "If necessary set \"spark.sql.ansi.enabled\" to \"false\" to bypass this error. SQLSTATE: 22012\n"
            "== SQL (line 1, position 8) ==\nselect 1/0\n       ^^^\n");
    struct fault_param syntax[] = {{"error", "'selec'"}, {"hint", ""}};
    f = sql_fault(ERR_PARSE_SYNTAX, "selec 1", 0, 4, 1, 0, 2, syntax);
    expect_text(&f, "\n[PARSE_SYNTAX_ERROR] Syntax error at or near 'selec'. SQLSTATE: 42601 (line 1, pos 0)\n\n"
                    "== SQL ==\nselec 1\n^^^\n");
    FAULT(&f, ERR_CONF_NOT_FOUND, {"sqlConf", "\"no.such.key\""});
    expect_text(&f,
                "[SQL_CONF_NOT_FOUND] The SQL config \"no.such.key\" cannot be found. Please verify that the config "
                "exists. SQLSTATE: 42K0I");
}

TEST(marks_follow_lines_and_characters)
{
    struct fault_param config[] = {{"config", "c"}};
    struct fault f = sql_fault(ERR_DIVIDE_BY_ZERO, "select 'é' a,\n  1 /\n 0 b", 16, 21, 2, 2, 1, config);
    struct buf b = {0};
    fault_text(&f, &b);
    EXPECT(str_ends(buf_view(&b), STR("== SQL (line 2, position 3) ==\n  1 /\n  ^^^\n 0 b\n^^\n")));
    buf_free(&b);
    f = sql_fault(ERR_PARSE_SYNTAX, "select 1\nfrom from", 14, 17, 2, 5, 0, NULL);
    buf_clear(&b);
    fault_text(&f, &b);
    EXPECT(str_ends(buf_view(&b), STR(" (line 2, pos 5)\n\n== SQL ==\nselect 1\nfrom from\n-----^^^\n")));
    buf_free(&b);
}

TEST(failures_fit_into_trailers)
{
    struct fault f;
    char *text = malloc(5000);
    memset(text, 'x', 4999);
    text[4999] = 0;
    struct failure x = {0};
    FAULT(&f, ERR_INVALID, {"what", text}, {"detail", text});
    struct session *s = session();
    failure_of(&x, &f, s);
    EXPECT(x.message_n <= 1600 && x.details_n < 4096);
    struct arena *a = arena_new(0);
    struct grpc_error e;
    REQUIRE(grpc_error_decode(a, str_make(x.details, x.details_n), &e));
    EXPECT_STR(e.domain, "org.apache.spark");
    bool has_id = false;
    for (int i = 0; i < e.npairs; i++) {
        EXPECT(!str_eqz(e.key[i], "messageParameters")); /* too long for here */
        has_id |= str_eqz(e.key[i], "errorId");
    }
    EXPECT(has_id);
    Spark__Connect__FetchErrorDetailsResponse out = SPARK__CONNECT__FETCH_ERROR_DETAILS_RESPONSE__INIT;
    failure_details(s, s->errors[(s->next_error - 1) % LIMIT_ERRORS_KEPT].id, a, &out);
    REQUIRE(out.n_errors == 1);
    EXPECT(strlen(out.errors[0]->message) > 2000);
    EXPECT_INT(out.errors[0]->spark_throwable->n_message_parameters, 2);
    arena_free(a);
    failure_free(&x);
    free(text);
    session_release(s);
}

/* -- configuration ---------------------------------------------------------------------------------------------------- */
TEST(conf_rows_are_sorted_and_found)
{
    static const char *const keys[] = {
#define X(key, value, type, is_static) key,
#include "connect_conf.def"
#undef X
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        EXPECT(i == 0 || strcmp(keys[i - 1], keys[i]) < 0);
        const struct conf_row *row = conf_find(str_of(keys[i]));
        EXPECT(row && strcmp(row->key, keys[i]) == 0);
    }
    EXPECT(!conf_find(STR("spark.no.such")));
}

TEST(conf_defaults_are_valid)
{
    struct session *s = session();
    struct fault f;
    static const char *const keys[] = {
#define X(key, value, type, is_static) key,
#include "connect_conf.def"
#undef X
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *value = session_conf(s, keys[i]);
        if (value && !conf_find(str_of(keys[i]))->is_static) {
            EXPECT_INT(session_set(s, str_of(keys[i]), str_of(value), &f), ERR_OK);
            session_unset(s, str_of(keys[i]));
        }
    }
    EXPECT_INT(session_set(s, STR("spark.master"), STR("x"), &f), ERR_CONF_STATIC);
    EXPECT_INT(session_set(s, STR("spark.sql.shuffle.partitions"), STR("2.5"), &f), ERR_CONF_TYPE);
    EXPECT_INT(session_set(s, STR("spark.sql.shuffle.partitions"), STR("3000000000"), &f), ERR_CONF_TYPE);
    EXPECT_INT(session_set(s, STR("spark.sql.ansi.enabled"), STR("yes"), &f), ERR_CONF_TYPE);
    EXPECT_INT(session_set(s, STR("spark.sql.session.timeZone"), STR("Mars"), &f), ERR_CONF_ZONE);
    session_release(s);
}

/* -- literals ----------------------------------------------------------------------------------------------------------- */
TEST(decimal_literals)
{
    static const struct {
        const char *text;
        int precision, scale; /* given; -1: not */
        int want_precision, want_scale;
        int64_t unscaled;
    } cases[] = {
        {"1.20", 10, 0, 10, 2, 120}, {"-0.5", -1, -1, 1, 1, -5}, {"0", -1, -1, 1, 0, 0},
        {"00012", -1, -1, 2, 0, 12}, {"1", 5, 3, 5, 3, 1000},    {"+7.", -1, -1, 1, 0, 7},
    };
    struct session *s = session();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct planning p;
        struct node *e;
        struct fault f;
        Spark__Connect__Expression__Literal x = SPARK__CONNECT__EXPRESSION__LITERAL__INIT;
        Spark__Connect__Expression__Literal__Decimal d;
        spark__connect__expression__literal__decimal__init(&d);
        d.value = (char *)cases[i].text;
        d.opt_precision_case = cases[i].precision >= 0
                                   ? SPARK__CONNECT__EXPRESSION__LITERAL__DECIMAL__OPT_PRECISION_PRECISION
                                   : SPARK__CONNECT__EXPRESSION__LITERAL__DECIMAL__OPT_PRECISION__NOT_SET;
        d.precision = cases[i].precision;
        d.opt_scale_case = cases[i].scale >= 0 ? SPARK__CONNECT__EXPRESSION__LITERAL__DECIMAL__OPT_SCALE_SCALE
                                               : SPARK__CONNECT__EXPRESSION__LITERAL__DECIMAL__OPT_SCALE__NOT_SET;
        d.scale = cases[i].scale;
        x.literal_type_case = SPARK__CONNECT__EXPRESSION__LITERAL__LITERAL_TYPE_DECIMAL;
        x.decimal = &d;
        planning_init(&p, s);
        EXPECT_INT(convert_literal(&p, &x, &e, &f), ERR_OK);
        EXPECT_INT(e->literal.type->precision, cases[i].want_precision);
        EXPECT_INT(e->literal.type->scale, cases[i].want_scale);
        EXPECT(e->literal.data.i128[0] == cases[i].unscaled);
        d.value = (char *)"1e5";
        EXPECT_INT(convert_literal(&p, &x, &e, &f), ERR_CONNECT_PLAN);
        d.value = (char *)"123456789012345678901234567890123456789";
        EXPECT_INT(convert_literal(&p, &x, &e, &f), ERR_CONNECT_PLAN);
        planning_free(&p);
    }
    session_release(s);
}

TEST(names_that_match)
{
    static const struct {
        const char *pattern, *name;
        bool want;
    } cases[] = {{"a*", "ABC", true}, {"*c", "abc", true}, {"x|abc", "abc", true},   {"a", "abc", false},
                 {"", "", true},      {"*", "", true},     {"a*b*c", "aXbYc", true}, {"x|", "abc", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        EXPECT_INT(name_matches(str_of(cases[i].pattern), str_of(cases[i].name)), cases[i].want);
}

/* -- the terminal ------------------------------------------------------------------------------------------------------- */
static void count(void *arg)
{
    ++*(int *)arg;
}

TEST(console_text_is_kept_and_bounded)
{
    struct session *s = session();
    struct fault f;
    struct buf out = {0};
    uint64_t next = 0;
    int woken = 0;
    EXPECT_INT(session_set(s, STR("penstock.console"), STR("client"), &f), ERR_OK);
    EXPECT(connect_console_wait(server(), str_of(s->id), 0, count, &woken));
    EXPECT_INT(woken, 0);
    terminal_write(s, STR("hello "));
    EXPECT_INT(woken, 1);
    terminal_write(s, STR("world"));
    EXPECT(connect_console_read(server(), str_of(s->id), 0, &out, &next));
    EXPECT_STR(buf_view(&out), "hello world");
    EXPECT_INT(next, 11);
    buf_clear(&out);
    EXPECT(connect_console_read(server(), str_of(s->id), 6, &out, &next));
    EXPECT_STR(buf_view(&out), "world");
    char *large = malloc(LIMIT_TERMINAL_BYTES + 10);
    memset(large, 'x', LIMIT_TERMINAL_BYTES + 10);
    large[LIMIT_TERMINAL_BYTES + 9] = '!';
    terminal_write(s, str_make(large, LIMIT_TERMINAL_BYTES + 10));
    buf_clear(&out);
    EXPECT(connect_console_read(server(), str_of(s->id), 0, &out, &next));
    EXPECT_INT(out.n, LIMIT_TERMINAL_BYTES);
    EXPECT(out.p[out.n - 1] == '!');
    EXPECT_INT(next, 11 + LIMIT_TERMINAL_BYTES + 10);
    EXPECT(!connect_console_read(server(), STR("nobody"), 0, &out, &next));
    EXPECT(connect_console_wait(server(), str_of(s->id), next, count, &woken));
    connect_console_forget(server(), &woken);
    terminal_write(s, STR("more"));
    EXPECT_INT(woken, 1);
    free(large);
    buf_free(&out);
    session_release(s);
}

/* -- sessions ------------------------------------------------------------------------------------------------------------ */
TEST(handles_are_checked)
{
    struct session *s = session(), *other = NULL;
    struct fault f;
    EXPECT_INT(session_find(server(), "", "nonsense", NULL, true, &other, &f), ERR_HANDLE_FORMAT);
    EXPECT_INT(session_find(server(), "", s->id, "someone-else", true, &other, &f), ERR_SESSION_CHANGED);
    EXPECT_INT(session_find(server(), "", s->id, s->server_id, true, &other, &f), ERR_OK);
    EXPECT(other == s);
    session_release(other);
    EXPECT_INT(session_find(server(), "else", s->id, NULL, false, &other, &f), ERR_SESSION_NOT_FOUND);
    session_release(s);
}

TEST_MAIN()
