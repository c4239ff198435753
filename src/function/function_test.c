#include "function/function_int.h"
#include "base/map.h"
#include "base/test.h"

struct env {
    struct arena *a;
    struct bind b;
    struct batch_cols in;
    struct fault f;
};

static void setup(struct env *v, uint32_t n)
{
    static const struct type empty = {.id = TYPE_STRUCT};
    *v = (struct env){.a = arena_new(0)};
    v->b = (struct bind){.arena = v->a, .ansi = true, .zone = zone_find(STR("UTC"), NULL)};
    v->in = (struct batch_cols){.schema = &empty, .n = n};
}

static struct eval eval_of(struct env *v)
{
    return (struct eval){.arena = v->a, .in = &v->in, .zone = v->b.zone, .fault = &v->f};
}

static struct expr *call(struct env *v, const char *name, int n, struct expr *x, struct expr *y)
{
    struct expr *args[2] = {x, y}, *out = NULL;
    return expr_call(&v->b, str_of(name), args, n, false, &out, &v->f) ? NULL : out;
}

/* The text of an expression's value in row i; the error class when it fails. */
static struct str value(struct env *v, struct expr *e, uint32_t i)
{
    struct eval ev = eval_of(v);
    struct column c;
    if (!e || expr_eval(e, &ev, &c))
        return str_of(err_class(v->f.err));
    return text_of(v->a, &c, i, v->b.zone);
}

static struct expr *str_lit(struct env *v, const char *s)
{
    return expr_lit_str(&v->b, str_of(s));
}

TEST(arithmetic_of_literals)
{
    struct env v;
    setup(&v, 1);
    struct expr *one = expr_lit_i32(&v.b, 1), *zero = expr_lit_i32(&v.b, 0), *max = expr_lit_i32(&v.b, INT32_MAX);
    EXPECT_STR(value(&v, call(&v, "+", 2, one, one), 0), "2");
    EXPECT_STR(call(&v, "+", 2, one, zero)->sql, "(1 + 0)");
    EXPECT_STR(value(&v, call(&v, "+", 2, max, one), 0), "ARITHMETIC_OVERFLOW");
    EXPECT_STR(value(&v, call(&v, "try_add", 2, max, one), 0), "null");
    EXPECT_STR(value(&v, call(&v, "/", 2, one, zero), 0), "DIVIDE_BY_ZERO");
    EXPECT_STR(value(&v, call(&v, "%", 2, one, zero), 0), "REMAINDER_BY_ZERO");
    EXPECT_STR(value(&v, call(&v, "/", 2, one, expr_lit_i32(&v.b, 4)), 0), "0.25");
    EXPECT_STR(value(&v, call(&v, "+", 2, str_lit(&v, "5"), one), 0), "6");
    EXPECT_STR(value(&v, call(&v, "+", 2, str_lit(&v, "x"), one), 0), "CAST_INVALID_INPUT");
    EXPECT(!call(&v, "nosuch", 1, one, NULL));
    EXPECT_INT(v.f.err, ERR_UNRESOLVED_ROUTINE);
    arena_free(v.a);
}

TEST(three_valued_logic_and_lazy_errors)
{
    struct env v;
    setup(&v, 1);
    struct expr *t = expr_lit_bool(&v.b, true), *f = expr_lit_bool(&v.b, false),
                *n = expr_null(&v.b, type_simple(TYPE_BOOLEAN));
    struct expr *bad =
        call(&v, "=", 2, call(&v, "/", 2, expr_lit_i32(&v.b, 1), expr_lit_i32(&v.b, 0)), expr_lit_i32(&v.b, 1));
    EXPECT_STR(value(&v, call(&v, "and", 2, f, bad), 0), "false");
    EXPECT_STR(value(&v, call(&v, "or", 2, t, bad), 0), "true");
    EXPECT_STR(value(&v, call(&v, "and", 2, t, bad), 0), "DIVIDE_BY_ZERO");
    EXPECT_STR(value(&v, call(&v, "and", 2, n, f), 0), "false");
    EXPECT_STR(value(&v, call(&v, "and", 2, n, t), 0), "null");
    EXPECT_STR(value(&v, call(&v, "<=>", 2, n, n), 0), "true");
    arena_free(v.a);
}

/* -- the slow twin: every vector kernel agrees with itself row by row, whatever is constant, null or inactive --------------- */
static uint64_t seed = 20261122;
static uint32_t next(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33);
}

static void fill(struct column *c, const struct type *t, uint32_t n, struct arena *a)
{
    column_alloc(c, t, n, a);
    uint8_t *valid = column_valid_alloc(c, n, a);
    for (uint32_t i = 0; i < n; i++) {
        int32_t v = (int32_t)(next() % 9) - 4;
        valid[i] = next() % 5 != 0;
        switch (t->id) {
        case TYPE_BOOLEAN:
            c->data.boolean[i] = v > 0;
            break;
        case TYPE_INT:
            c->data.i32[i] = next() % 16 == 0 ? INT32_MAX : v;
            break;
        case TYPE_LONG:
            c->data.i64[i] = next() % 16 == 0 ? INT64_MIN : v;
            break;
        case TYPE_DECIMAL:
            c->data.i128[i] = v * 25;
            break;
        case TYPE_STRING:
            c->data.str[i] = arena_fmt(a, "%d", v);
            break;
        default:
            c->data.f64[i] = next() % 16 == 0 ? (double)NAN : v / 2.0;
        }
    }
    if (next() % 4 == 0)
        c->valid = NULL;
    if (next() % 4 == 0)
        column_const(c, c, next() % n, n, a);
}

/* Evaluate over one row only. */
static struct str slow(struct env *v, struct expr *e, uint32_t i)
{
    struct env one = *v;
    struct column cols[2];
    for (int k = 0; k < 2; k++) {
        struct column tmp;
        column_gather(&tmp, &v->in.cols[k], &i, 1, v->a);
        cols[k] = tmp;
    }
    one.in.cols = cols;
    one.in.n = 1;
    return value(&one, e, 0);
}

static void twin(const char *name, const struct type *x, const struct type *y)
{
    enum { N = 40 };
    struct env v;
    setup(&v, N);
    struct column cols[2];
    fill(&cols[0], x, N, v.a);
    fill(&cols[1], y, N, v.a);
    v.in.cols = cols;
    struct expr *e =
        call(&v, name, 2, expr_column(&v.b, 0, STR("x"), x, true), expr_column(&v.b, 1, STR("y"), y, true));
    if (!e)
        fprintf(stderr, "%s: %s\n", name, fault_message(&v.f));
    REQUIRE(e);
    uint8_t active[N];
    struct str want[N];
    for (uint32_t i = 0; i < N; i++) {
        v.f.err = ERR_OK;
        want[i] = slow(&v, e, i);
        active[i] = want[i].n == 0 || want[i].p[0] < 'A' || want[i].p[0] > 'Z' || str_starts(want[i], STR("NaN")) ||
                    str_starts(want[i], STR("Inf"));
    }
    struct eval ev = eval_of(&v);
    struct column out;
    ev.active = active; /* the rows that fail alone are inactive: the batch must not fail */
    if (expr_eval(e, &ev, &out)) {
        TEST_FAIL_("%s: %s", name, fault_message(&v.f));
        return;
    }
    for (uint32_t i = 0; i < N; i++)
        if (active[i] && !str_eq(text_of(v.a, &out, i, v.b.zone), want[i]))
            TEST_FAIL_("%s row %u: \"%.*s\", expected \"%.*s\"", name, i, STR_ARG(text_of(v.a, &out, i, v.b.zone)),
                       STR_ARG(want[i]));
    arena_free(v.a);
}

TEST(vector_kernels_agree_with_single_rows)
{
    static const char *const TEXTS[] = {"concat", "concat_ws",    "contains",    "like", "instr",
                                        "split",  "regexp_count", "levenshtein", "nvl"};
    static const char *const NAMES[] = {"+",       "-",          "*",        "/",     "%",   "=",        "<",
                                        "<=",      ">",          ">=",       "<>",    "<=>", "coalesce", "nullif",
                                        "try_add", "try_divide", "greatest", "least", "in"};
    struct type decimal = {.id = TYPE_DECIMAL, .precision = 10, .scale = 2};
    const struct type *types[] = {&TYPE_OF[TYPE_INT], &TYPE_OF[TYPE_LONG], &TYPE_OF[TYPE_DOUBLE], &decimal};
    for (int round = 0; round < 12; round++)
        for (size_t n = 0; n < sizeof NAMES / sizeof *NAMES; n++)
            for (size_t t = 0; t < 4; t++)
                twin(NAMES[n], types[t], types[(t + (size_t)round) % 4]);
    for (int round = 0; round < 20; round++) {
        twin("and", &TYPE_OF[TYPE_BOOLEAN], &TYPE_OF[TYPE_BOOLEAN]);
        twin("or", &TYPE_OF[TYPE_BOOLEAN], &TYPE_OF[TYPE_BOOLEAN]);
        twin("=", &TYPE_OF[TYPE_STRING], &TYPE_OF[TYPE_STRING]);
        twin("<", &TYPE_OF[TYPE_STRING], &TYPE_OF[TYPE_INT]);
        for (size_t n = 0; n < sizeof TEXTS / sizeof *TEXTS; n++)
            twin(TEXTS[n], &TYPE_OF[TYPE_STRING], &TYPE_OF[TYPE_STRING]);
        twin("array", &TYPE_OF[TYPE_INT], &TYPE_OF[TYPE_LONG]);
        twin("repeat", &TYPE_OF[TYPE_STRING], &TYPE_OF[TYPE_INT]);
        twin("hash", &TYPE_OF[TYPE_DOUBLE], &TYPE_OF[TYPE_STRING]);
    }
}

/* -- aggregates -------------------------------------------------------------------------------------------------------------- */
static struct str aggregate(struct env *v, const char *name, struct column *c, bool through_disk)
{
    struct expr *col = expr_column(&v->b, 0, STR("x"), c->type, true), *agg = call(v, name, 1, col, NULL);
    if (!agg)
        return str_of(err_class(v->f.err));
    struct agg_state_env env = {.arena = v->a, .fault = &v->f};
    void *state[2], **states = ARENA_ARRAY(v->a, c->n, void *);
    for (int k = 0; k < 2; k++)
        state[k] = arena_alloc(v->a, agg_state_size(agg));
    for (uint32_t i = 0; i < c->n; i++)
        states[i] = state[i % 2];
    if (agg_update(agg, states, c, c->n, &env))
        return str_of(err_class(v->f.err));
    if (through_disk) {
        struct buf b = {0};
        agg_save(agg, state[1], &b);
        struct rd r = rd_of(arena_str(v->a, buf_view(&b)));
        memset(state[1], 0, agg_state_size(agg));
        EXPECT(agg_load(agg, state[1], &r, &env));
        EXPECT(r.n == 0);
        buf_free(&b);
    }
    struct column out;
    if (agg_merge(agg, state[0], state[1], &env) || agg_result(agg, state, 1, &out, v->a, &v->f))
        return str_of(err_class(v->f.err));
    return text_of(v->a, &out, 0, v->b.zone);
}

TEST(aggregates_merge_and_survive_saving)
{
    struct env v;
    setup(&v, 0);
    struct column c;
    column_alloc(&c, &TYPE_OF[TYPE_INT], 5, v.a);
    memcpy(c.data.i32, (int32_t[]){3, 1, 4, 1, 5}, 20);
    uint8_t *valid = column_valid_alloc(&c, 5, v.a);
    valid[3] = 0;
    for (int disk = 0; disk < 2; disk++) {
        EXPECT_STR(aggregate(&v, "count", &c, disk), "4");
        EXPECT_STR(aggregate(&v, "sum", &c, disk), "13");
        EXPECT_STR(aggregate(&v, "avg", &c, disk), "3.25");
        EXPECT_STR(aggregate(&v, "min", &c, disk), "1");
        EXPECT_STR(aggregate(&v, "max", &c, disk), "5");
        EXPECT_STR(aggregate(&v, "first", &c, disk), "3");
    }
    struct column s;
    column_alloc(&s, &TYPE_OF[TYPE_STRING], 3, v.a);
    s.data.str[0] = STR("pear");
    s.data.str[1] = STR("an apple that is longer");
    s.data.str[2] = STR("fig");
    EXPECT_STR(aggregate(&v, "min", &s, true), "an apple that is longer");
    EXPECT_STR(aggregate(&v, "max", &s, true), "pear");
    arena_free(v.a);
}

TEST(double_texts)
{
    static const struct {
        double v;
        const char *text;
    } CASES[] = {{0.1, "0.1"},           {1e7, "1.0E7"},
                 {1234567, "1234567.0"}, {1e-3, "0.001"},
                 {9.99e-4, "9.99E-4"},   {5e-324, "4.9E-324"},
                 {1e23, "1.0E23"},       {1.0 / 3, "0.3333333333333333"},
                 {-2.5e-10, "-2.5E-10"}, {123456.789, "123456.789"}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct buf b = {0};
        double back;
        double_text(&b, CASES[i].v);
        EXPECT_STR(buf_view(&b), CASES[i].text);
        EXPECT(parse_double(buf_view(&b), &back) && back == CASES[i].v);
        buf_free(&b);
    }
}

TEST_MAIN()
