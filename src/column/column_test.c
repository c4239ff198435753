#include "column/column.h"
#include "base/test.h"

#include <math.h>

static const struct type *sample_type(struct arena *a)
{
    struct field inner[2] = {{.name = STR("x"), .type = &TYPE_OF[TYPE_STRING], .nullable = true},
                             {.name = STR("y z"), .type = type_decimal(a, 12, 2), .nullable = false}};
    struct field f[4] = {
        {.name = STR("a"), .type = &TYPE_OF[TYPE_INT], .nullable = true},
        {.name = STR("l"), .type = type_array(a, type_struct(a, inner, 2), true), .nullable = true},
        {.name = STR("m"), .type = type_map(a, &TYPE_OF[TYPE_STRING], &TYPE_OF[TYPE_LONG], true), .nullable = false},
        {.name = STR("d"), .type = &TYPE_OF[TYPE_DAY_TIME], .nullable = true}};
    return type_struct(a, f, 4);
}

TEST(type_texts)
{
    struct arena *a = arena_new(0);
    const struct type *t = type_copy(a, sample_type(a));
    struct buf b = {0};
    EXPECT(type_eq_exact(t, sample_type(a)));
    EXPECT_STR(type_sql(a, t), "STRUCT<a: INT, l: ARRAY<STRUCT<x: STRING, `y z`: DECIMAL(12,2) NOT NULL>>, "
                               "m: MAP<STRING, BIGINT> NOT NULL, d: INTERVAL DAY TO SECOND>");
    EXPECT_STR(type_simple_string(a, t), "struct<a:int,l:array<struct<x:string,y z:decimal(12,2)>>,"
                                         "m:map<string,bigint>,d:interval day to second>");
    type_ddl(&b, t);
    EXPECT_STR(buf_view(&b), "a INT,l ARRAY<STRUCT<x: STRING, `y z`: DECIMAL(12,2) NOT NULL>>,"
                             "m MAP<STRING, BIGINT> NOT NULL,d INTERVAL DAY TO SECOND");
    buf_clear(&b);
    type_tree(&b, t, 0);
    EXPECT_STR(buf_view(&b), "root\n |-- a: integer (nullable = true)\n |-- l: array (nullable = true)\n"
                             " |    |-- element: struct (containsNull = true)\n"
                             " |    |    |-- x: string (nullable = true)\n"
                             " |    |    |-- y z: decimal(12,2) (nullable = false)\n"
                             " |-- m: map (nullable = false)\n |    |-- key: string\n"
                             " |    |-- value: long (valueContainsNull = true)\n"
                             " |-- d: interval day to second (nullable = true)\n");
    buf_clear(&b);
    type_tree(&b, t, 1);
    EXPECT(str_find(buf_view(&b), STR("element"), 0) < 0);
    buf_clear(&b);
    type_json(&b, type_array(a, &TYPE_OF[TYPE_LONG], false));
    EXPECT_STR(buf_view(&b), "{\"type\":\"array\",\"elementType\":\"long\",\"containsNull\":false}");
    buf_clear(&b);
    type_json(&b, t);
    EXPECT(str_starts(buf_view(&b), STR("{\"type\":\"struct\",\"fields\":[{\"name\":\"a\",\"type\":\"integer\","
                                        "\"nullable\":true,\"metadata\":{}},")));
    buf_free(&b);
    arena_free(a);
}

TEST(type_equality)
{
    struct arena *a = arena_new(0);
    const struct type *x = type_array(a, &TYPE_OF[TYPE_LONG], true), *y = type_array(a, &TYPE_OF[TYPE_LONG], false);
    EXPECT(type_eq(x, y));
    EXPECT(!type_eq_exact(x, y));
    EXPECT(!type_eq(type_decimal(a, 3, 1), type_decimal(a, 3, 2)));
    struct field lower = {.name = STR("a"), .type = &TYPE_OF[TYPE_INT]}, upper = {.name = STR("A"), .type = lower.type};
    EXPECT(!type_eq(type_struct(a, &lower, 1), type_struct(a, &upper, 1)));
    EXPECT(type_eq_nocase(type_struct(a, &lower, 1), type_struct(a, &upper, 1)));
    arena_free(a);
}

/* n rows of the sample type with seeded contents, nulls and empty lists among them. */
static void sample(struct column *c, const struct type *type, uint32_t n, unsigned seed, struct arena *a)
{
    column_alloc(c, type, 0, a);
    column_grow(c, n, a);
    struct column *l = &c->children[1], *m = &c->children[2];
    for (uint32_t i = 0; i < n; i++) {
        unsigned r = (seed + i) * 2654435761u >> 8;
        c->children[0].data.i32[i] = (int32_t)r;
        if (r % 5 == 0)
            column_set_null(&c->children[0], i);
        if (r % 11 == 0)
            column_set_null(c, i);
        uint32_t used = l->data.offsets[i], k = r % 4;
        column_grow(&l->children[0], used + k, a);
        for (uint32_t j = 0; j < k; j++) {
            l->children[0].children[0].data.str[used + j] = arena_fmt(a, "s%u", r + j);
            l->children[0].children[1].data.i128[used + j] = -(__int128)r;
        }
        l->data.offsets[i + 1] = used + k;
        used = m->data.offsets[i];
        column_grow(&m->children[0], used + 1, a);
        column_grow(&m->children[1], used + 1, a);
        m->children[0].data.str[used] = STR("key");
        m->children[1].data.i64[used] = r;
        m->data.offsets[i + 1] = used + 1;
        c->children[3].data.i64[i] = r;
    }
}

TEST(encode_decode_gather_agree)
{
    struct arena *a = arena_new(0), *other = arena_new(0), *types = arena_new(0);
    const struct type *type = sample_type(types);
    struct column c, back, picked, copy;
    struct buf b = {0};
    sample(&c, type, 200, 7, a);
    for (uint32_t i = 0; i < c.n; i++)
        column_encode(&b, &c, i);
    struct rd r = rd_of(buf_view(&b));
    column_alloc(&back, c.type, c.n, a);
    for (uint32_t i = 0; i < c.n; i++)
        column_decode(&back, i, &r, a);
    EXPECT(!r.bad && r.n == 0);
    uint32_t rows[100];
    for (uint32_t i = 0; i < 100; i++)
        rows[i] = i % 10 == 9 ? UINT32_MAX : (i * 37) % 200;
    column_gather(&picked, &back, rows, 100, a);
    column_copy(&copy, &picked, other);
    for (uint32_t i = 0; i < c.n; i++) {
        EXPECT_INT(column_cmp(&c, i, &back, i), 0);
        EXPECT(column_hash(&c, i, 1) == column_hash(&back, i, 1));
    }
    arena_free(a);
    a = arena_new(0);
    sample(&c, type, 200, 7, a);
    for (uint32_t i = 0; i < 100; i++) {
        if (rows[i] == UINT32_MAX)
            EXPECT(!col_valid(&copy, i));
        else
            EXPECT_INT(column_cmp(&copy, i, &c, rows[i]), 0);
    }
    buf_free(&b);
    arena_free(a);
    arena_free(other);
    arena_free(types);
}

TEST(decode_refuses_every_truncation)
{
    struct arena *a = arena_new(0);
    struct column c, back;
    struct buf b = {0};
    sample(&c, sample_type(a), 3, 1, a);
    column_encode(&b, &c, 1);
    for (size_t n = 0; n < b.n; n++) {
        struct rd r = {b.p, n, false};
        column_alloc(&back, c.type, 1, a);
        column_decode(&back, 0, &r, a);
        EXPECT(r.bad);
    }
    buf_free(&b);
    arena_free(a);
}

TEST(slices_constants_and_concat)
{
    struct arena *a = arena_new(0);
    struct column c, part, one, flat, all, null;
    sample(&c, sample_type(a), 50, 3, a);
    column_slice(&part, &c, 20, 10, a);
    for (uint32_t i = 0; i < 10; i++)
        EXPECT_INT(column_cmp(&part, i, &c, 20 + i), 0);
    column_const(&one, &part, 4, 6, a);
    EXPECT(col_is_const(&one) && one.n == 6);
    column_flatten(&flat, &one, a);
    EXPECT(!col_is_const(&flat));
    for (uint32_t i = 0; i < 6; i++) {
        EXPECT_INT(column_cmp(&one, i, &c, 24), 0);
        EXPECT_INT(column_cmp(&flat, i, &c, 24), 0);
    }
    column_null(&null, c.type, 2, a);
    EXPECT(!col_valid(&null, 1));
    const struct column *parts[] = {&part, &one, &null, &c};
    column_concat(&all, parts, 4, a);
    EXPECT_INT(all.n, 10 + 6 + 2 + 50);
    for (uint32_t i = 0; i < all.n; i++) {
        const struct column *from = i < 10 ? &part : i < 16 ? &one : i < 18 ? &null : &c;
        EXPECT_INT(column_cmp(&all, i, from, i < 10 ? i : i < 16 ? i - 10 : i < 18 ? i - 16 : i - 18), 0);
    }
    arena_free(a);
}

TEST(order_and_hash_of_doubles)
{
    struct arena *a = arena_new(0);
    struct column c;
    column_alloc(&c, &TYPE_OF[TYPE_DOUBLE], 6, a);
    double v[6] = {-0.0, 0.0, (double)NAN, -(double)NAN, (double)INFINITY, -1};
    memcpy(c.data.f64, v, sizeof v);
    EXPECT_INT(column_cmp(&c, 0, &c, 1), 0);
    EXPECT_INT(column_cmp(&c, 2, &c, 3), 0);
    EXPECT(column_cmp(&c, 2, &c, 4) > 0);
    EXPECT(column_cmp(&c, 5, &c, 0) < 0);
    EXPECT(column_hash(&c, 0, 9) == column_hash(&c, 1, 9));
    EXPECT(column_hash(&c, 2, 9) == column_hash(&c, 3, 9));
    EXPECT_INT(column_murmur3(&c, 0, 42), column_murmur3(&c, 1, 42));
    struct buf x = {0}, y = {0};
    column_encode(&x, &c, 0);
    column_encode(&y, &c, 1);
    EXPECT(str_eq(buf_view(&x), buf_view(&y)));
    buf_free(&x);
    buf_free(&y);
    arena_free(a);
}

/* Spark's own documentation: SELECT hash('Spark', array(123), 2) is -1321691492. */
TEST(murmur3_as_spark)
{
    struct arena *a = arena_new(0);
    struct column s, l, two;
    column_alloc(&s, &TYPE_OF[TYPE_STRING], 1, a);
    s.data.str[0] = STR("Spark");
    column_alloc(&l, type_array(a, &TYPE_OF[TYPE_INT], false), 1, a);
    column_grow(&l.children[0], 1, a);
    l.children[0].data.i32[0] = 123;
    l.data.offsets[1] = 1;
    column_alloc(&two, &TYPE_OF[TYPE_INT], 1, a);
    two.data.i32[0] = 2;
    EXPECT_INT(column_murmur3(&two, 0, column_murmur3(&l, 0, column_murmur3(&s, 0, 42))), -1321691492);
    arena_free(a);
}

TEST_MAIN()
