#include "wire/arrow_int.h"

#include "base/test.h"
#include "wire/arrow_golden.h"

static const struct str golden = {arrow_golden, sizeof arrow_golden - 1};

static const struct column *col(const struct arrow_in *in, const char *name)
{
    for (int i = 0; i < in->schema->nfields; i++)
        if (str_eqz(in->schema->fields[i].name, name))
            return &in->batches[0].cols[i];
    abort();
}

static void expect_types(const struct arrow_in *in, struct arena *a)
{
    EXPECT_STR(
        type_simple_string(a, in->schema),
        "struct<b:boolean,i8:tinyint,l:bigint,f:float,dec:decimal(10,2),s:string,ls:string,bin:binary,fsb:binary,"
        "d:date,d64:date,ts:timestamp,ntz:timestamp_ntz,dur:interval day to second,arr:array<int>,"
        "larr:array<string>,fsl:array<smallint>,m:map<string,bigint>,st:struct<x:int,y:string>,mdn:interval,"
        "nul:void>");
}

/* The values of the golden, after reading it, or after writing it ourselves and reading that. */
static void expect_values(const struct arrow_in *in)
{
    REQUIRE(in->nbatches == 1 && in->batches[0].n == 3);
    EXPECT(col(in, "b")->data.boolean[0] == 1 && !col_valid(col(in, "b"), 1) && col(in, "b")->data.boolean[2] == 0);
    EXPECT(col(in, "i8")->data.i8[1] == -2 && !col_valid(col(in, "i8"), 2));
    EXPECT(col(in, "l")->data.i64[0] == INT64_C(1) << 62 && col(in, "l")->data.i64[2] == -1);
    EXPECT(col(in, "f")->data.f32[0] == 1.5f && __builtin_signbit(col(in, "f")->data.f32[2]));
    EXPECT(col(in, "dec")->data.i128[0] == 123 && col(in, "dec")->data.i128[2] == -450);
    EXPECT_STR(col(in, "s")->data.str[0], "é");
    EXPECT_STR(col(in, "s")->data.str[2], "abc");
    EXPECT_STR(col(in, "ls")->data.str[1], "yy");
    EXPECT_INT(col(in, "bin")->data.str[0].n, 2);
    EXPECT_STR(col(in, "fsb")->data.str[2], "efgh");
    EXPECT(!col_valid(col(in, "fsb"), 1));
    EXPECT(col(in, "d")->data.i32[0] == 1 && col(in, "d")->data.i32[2] == -1);
    EXPECT(col(in, "d64")->data.i32[0] == 1 && col(in, "d64")->data.i32[2] == -1);
    EXPECT(col(in, "ts")->data.i64[0] == 0 && col(in, "ts")->data.i64[2] == -1); /* nanoseconds, floored */
    EXPECT(col(in, "ntz")->data.i64[0] == 1000000);
    EXPECT(col(in, "dur")->data.i64[2] == 2000);
    const struct column *arr = col(in, "arr"), *m = col(in, "m"), *st = col(in, "st"), *larr = col(in, "larr");
    EXPECT_INT(arr->data.offsets[1] - arr->data.offsets[0], 2);
    EXPECT(!col_valid(&arr->children[0], 1) && !col_valid(arr, 1) && arr->data.offsets[3] == arr->data.offsets[2]);
    EXPECT_STR(larr->children[0].data.str[larr->data.offsets[2] + 1], "c");
    const struct column *fsl = col(in, "fsl");
    EXPECT_INT(fsl->children[0].data.i16[fsl->data.offsets[2] + 1], 4);
    EXPECT_STR(m->children[0].data.str[0], "k");
    EXPECT_INT(m->children[1].data.i64[0], 1);
    EXPECT(!col_valid(st, 1) && !col_valid(&st->children[0], 2));
    EXPECT_STR(st->children[1].data.str[2], "w");
    const struct calendar_interval *mdn = col(in, "mdn")->data.interval;
    EXPECT(mdn[0].months == 1 && mdn[0].days == 2 && mdn[0].micros == 3 && mdn[2].micros == -1);
    EXPECT(!col_valid(col(in, "nul"), 0));
}

TEST(reads_what_pyarrow_wrote)
{
    struct arena *a = arena_new(0);
    struct arrow_in in;
    struct fault f = {0};
    REQUIRE(arrow_read(golden, a, &in, &f) == ERR_OK);
    EXPECT_INT(in.rows, 3);
    expect_types(&in, a);
    expect_values(&in);
    arena_free(a);
}

TEST(writes_what_it_reads)
{
    struct arena *a = arena_new(0);
    struct arrow_in in, again;
    struct fault f = {0};
    struct buf out = {0};
    REQUIRE(arrow_read(golden, a, &in, &f) == ERR_OK);
    struct arrow_out *o = arrow_out_new(in.schema, STR("Europe/Paris"));
    /* row by row, so that validity bitmaps and offsets begin at odd places; twice, because finish starts anew */
    for (int round = 0; round < 2; round++) {
        buf_clear(&out);
        for (uint32_t i = 0; i < 3; i++)
            EXPECT_INT(arrow_out_add(o, &in.batches[0], i, 1, &f), ERR_OK);
        EXPECT_INT(arrow_out_rows(o), 3);
        EXPECT_INT(arrow_out_finish(o, &out, &f), ERR_OK);
    }
    REQUIRE(arrow_read(buf_view(&out), a, &again, &f) == ERR_OK);
    EXPECT(type_eq_exact(again.schema, in.schema));
    expect_values(&again);
    EXPECT(str_find(buf_view(&out), STR("Europe/Paris"), 0) > 0);
    arrow_out_free(o);
    buf_free(&out);
    arena_free(a);
}

TEST(no_rows_and_no_columns)
{
    struct arena *a = arena_new(0);
    struct arrow_in in, again;
    struct fault f = {0};
    struct buf out = {0};
    REQUIRE(arrow_read(golden, a, &in, &f) == ERR_OK);
    const struct type *schemas[] = {in.schema, type_struct(a, NULL, 0)};
    for (int i = 0; i < 2; i++) {
        struct arrow_out *o = arrow_out_new(schemas[i], STR("UTC"));
        EXPECT_INT(arrow_out_finish(o, &out, &f), ERR_OK);
        REQUIRE(arrow_read(buf_view(&out), a, &again, &f) == ERR_OK);
        EXPECT_INT(again.rows, 0);
        EXPECT_INT(again.schema->nfields, schemas[i]->nfields);
        arrow_out_free(o);
        buf_clear(&out);
    }
    buf_free(&out);
    arena_free(a);
}

TEST(many_rows_come_in_batches)
{
    struct arena *a = arena_new(0);
    struct field field = {STR("id"), type_simple(TYPE_LONG), false, {0}};
    struct column c = {.type = field.type, .mask = ~0u, .n = BATCH_ROWS};
    struct batch_cols b = {type_struct(a, &field, 1), BATCH_ROWS, &c};
    struct fault f = {0};
    struct buf out = {0};
    struct arrow_out *o = arrow_out_new(b.schema, STR("UTC"));
    column_alloc(&c, field.type, BATCH_ROWS, a);
    for (int round = 0; round < 3; round++) {
        for (int64_t i = 0; i < BATCH_ROWS; i++)
            c.data.i64[i] = round * BATCH_ROWS + i;
        EXPECT_INT(arrow_out_add(o, &b, 0, round == 2 ? 10 : BATCH_ROWS, &f), ERR_OK);
    }
    EXPECT_INT(arrow_out_finish(o, &out, &f), ERR_OK);
    struct arrow_in in;
    REQUIRE(arrow_read(buf_view(&out), a, &in, &f) == ERR_OK);
    REQUIRE(in.nbatches == 3);
    EXPECT_INT(in.batches[2].n, 10);
    EXPECT_INT(in.batches[2].cols[0].data.i64[9], 2 * BATCH_ROWS + 9);
    arrow_out_free(o);
    buf_free(&out);
    arena_free(a);
}

TEST(constants_are_spread)
{
    struct arena *a = arena_new(0);
    struct arrow_in in, again;
    struct fault f = {0};
    struct buf out = {0};
    REQUIRE(arrow_read(golden, a, &in, &f) == ERR_OK);
    struct batch_cols b = {in.schema, 5, ARENA_ARRAY(a, (size_t)in.schema->nfields, struct column)};
    for (int i = 0; i < in.schema->nfields; i++)
        column_const(&b.cols[i], &in.batches[0].cols[i], 0, 5, a);
    struct arrow_out *o = arrow_out_new(in.schema, STR("UTC"));
    EXPECT_INT(arrow_out_add(o, &b, 0, 5, &f), ERR_OK);
    EXPECT_INT(arrow_out_finish(o, &out, &f), ERR_OK);
    REQUIRE(arrow_read(buf_view(&out), a, &again, &f) == ERR_OK);
    EXPECT_INT(again.rows, 5);
    EXPECT_STR(col(&again, "s")->data.str[4], "é");
    EXPECT_STR(col(&again, "m")->children[0].data.str[4], "k");
    EXPECT_INT(col(&again, "st")->children[0].data.i32[4], 1);
    EXPECT_INT(col(&again, "b")->data.boolean[3], 1);
    arrow_out_free(o);
    buf_free(&out);
    arena_free(a);
}

/* Every byte of the golden changed to a few values, and every prefix: an error or an answer, never a crash (see SAN=asan). */
TEST(damaged_bytes)
{
    char *p = malloc(golden.n);
    static const char values[] = {0, 1, 0x7f, (char)0x80, (char)0xff};
    int refused = 0;
    for (size_t i = 0; i < golden.n; i++) {
        for (size_t v = 0; v < sizeof values; v++) {
            memcpy(p, golden.p, golden.n);
            p[i] = values[v];
            struct arena *a = arena_new(64 << 20);
            struct arrow_in in;
            struct fault f = {0};
            refused += arrow_read(str_make(p, golden.n), a, &in, &f) != ERR_OK;
            arena_free(a);
        }
    }
    EXPECT(refused > 1000);
    for (size_t n = 0; n < golden.n - 8; n++) {
        struct arena *a = arena_new(64 << 20);
        struct arrow_in in;
        struct fault f = {0};
        bool at_a_message = arrow_read(str_make(golden.p, n), a, &in, &f) == ERR_OK;
        EXPECT(!at_a_message || in.rows == 0);
        arena_free(a);
    }
    free(p);
}

TEST(no_stream_at_all)
{
    struct arena *a = arena_new(0);
    struct fault f = {0};
    struct arrow_in in;
    EXPECT_INT(arrow_read(STR(""), a, &in, &f), ERR_FRAME);
    EXPECT_INT(arrow_read(STR("\xff\xff\xff\xff\xff\xff\xff\x7f"), a, &in, &f), ERR_FRAME);
    EXPECT_INT(arrow_read(STR("\xff\xff\xff\xff\0\0\0\0"), a, &in, &f), ERR_FRAME);
    arena_free(a);
}

TEST_MAIN()
