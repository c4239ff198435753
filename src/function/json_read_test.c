/* The shortcuts of json_root.c and the general reader make the same of everything. */
#include "function/json_int.h"

#include "base/random.h"
#include "base/test.h"

enum { ROWS = 512, TRIALS = 60 };
static uint64_t state = 20261128;

static uint32_t below(uint32_t n)
{
    return (uint32_t)(random_next(&state) >> 33) % n;
}

static const char *one_of(const char *const *words, size_t n)
{
    return words[below((uint32_t)n)];
}
#define ONE_OF(...)                                                                                                    \
    one_of((const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

/* A value, mostly of the kind that its field wants. */
static void put_value(struct buf *b, int field)
{
    if (below(12) == 0)
        field = (int)below(9);
    switch (field) {
    case 0:
    case 1:
        buf_z(b, ONE_OF("\"\"", "\"u7\"", "\"content-007\"", "\"a text that is longer than sixteen bytes\"",
                        "\"\xc3\xa9\"", "\"\xff\"", "\"a\\nb\"", "\"\\u00e9\\ud83d\\ude00\"", "\"sixteen bytes...\"",
                        "\"tab\there\""));
        break;
    case 2:
    case 3:
        buf_z(b, ONE_OF("0", "4", "-4", "007", "2147483647", "2147483648", "9223372036854775807", "9223372036854775808",
                        "1.5", "1e3", "-", "-0", "12x", "123456789012345678", "1234567890123456789"));
        break;
    case 4:
        buf_z(b, ONE_OF("\"2026-01-01T00:00:00.000Z\"", "\"2026-02-29T00:00:00Z\"", "\"2024-02-29T23:59:59.999999Z\"",
                        "\"2026-01-01 00:00:00\"", "\"2026-01-01T00:00:00+02:00\"", "\"2026-13-01T00:00:00Z\"",
                        "\"2026-01-01T24:00:00Z\"", "\"0000-01-01T00:00:00Z\"", "\"2026-01-01T00:00:00.Z\"",
                        "1767225600"));
        break;
    default:
        buf_z(b, ONE_OF("null", "true", "[1,{\"a\":[]}]", "{\"rating\":3,\"x\":{}}", "1.25", "\"x\"", "'y'", "NaN",
                        "nul", "[1,]"));
    }
}

static void put_record(struct buf *b, const char *colon, const char *comma)
{
    static const char *const NAMES[] = {"user", "content", "rating", "count",
                                        "ts",   "unknown", "d",      "a_rather_long_name_of_a_field"};
    int order[8] = {0, 1, 2, 3, 4, 5, 6, 7}, n = below(6) ? 8 : (int)below(9);
    for (int k = 7; k > 0 && below(3) == 0; k--) {
        int j = (int)below((uint32_t)k + 1), t = order[k];
        order[k] = order[j];
        order[j] = t;
    }
    buf_z(b, below(30) ? "{" : ONE_OF(" {", "[{", "", "x", "{ "));
    for (int k = 0; k < n; k++) {
        buf_fmt(b, "%s\"%s\"%s", k ? comma : "", below(40) ? NAMES[order[k]] : "us\\u0065r", colon);
        put_value(b, order[k]);
    }
    buf_z(b, below(30) ? "}" : ONE_OF("", "} x", " }", ",}", "}}"));
    if (b->n && below(20) == 0)
        b->p[below((uint32_t)b->n)] = (char)below(256);
    if (b->n && below(20) == 0)
        b->n = below((uint32_t)b->n);
}

static const struct type *schema(struct arena *a)
{
    const struct field f[] = {{STR("user"), type_simple(TYPE_STRING), true, {0}},
                              {STR("content"), type_simple(TYPE_STRING), true, {0}},
                              {STR("rating"), type_simple(TYPE_INT), true, {0}},
                              {STR("count"), type_simple(TYPE_LONG), true, {0}},
                              {STR("ts"), type_simple(TYPE_TIMESTAMP), true, {0}},
                              {STR("d"), type_simple(TYPE_DOUBLE), true, {0}},
                              {STR("_corrupt_record"), type_simple(TYPE_STRING), true, {0}}};
    return type_struct(a, f, 7);
}

static void read_rows(struct arena *a, const struct type *t, const bool *wanted, bool general, const struct column *in,
                      struct column *out)
{
    struct fault f;
    const struct json_schema *s;
    struct eval ev = {.arena = a, .zone = zone_find(STR("Europe/Paris"), NULL), .fault = &f};
    struct json_options o = {.corrupt_column = STR("_corrupt_record"), .wanted = wanted, .general = general};
    if (json_schema_new(a, t, &o, &s, &f) || json_read(s, in, &ev, in->n, NULL, out))
        TEST_FAIL_("%s", fault_message(&f));
}

/* Seeded records: reordered, cut, damaged, with every kind of value in every field, spaced in three ways. */
TEST(usual_and_general_reading_agree)
{
    for (int trial = 0; trial < TRIALS; trial++) {
        struct arena *a = arena_new(0);
        const struct type *t = schema(a);
        struct column in, usual, general;
        bool wanted[7];
        const char *colon = ONE_OF(":", ": ", " : "), *comma = ONE_OF(",", ", ", " ,\n ");
        for (int k = 0; k < 7; k++)
            wanted[k] = trial % 3 == 0 || below(2);
        column_alloc(&in, type_simple(TYPE_STRING), ROWS, a);
        for (uint32_t i = 0; i < ROWS; i++) {
            struct buf b = {0};
            put_record(&b, colon, comma);
            char *exact =
                arena_alloc(a, b.n); /* ASan sees a read beyond it: the arena's next bytes are another row's */
            if (b.n)
                memcpy(exact, b.p, b.n);
            in.data.str[i] = str_make(exact, b.n);
            buf_free(&b);
        }
        read_rows(a, t, wanted, false, &in, &usual);
        read_rows(a, t, wanted, true, &in, &general);
        for (uint32_t i = 0; i < ROWS; i++) {
            struct buf x = {0}, y = {0};
            column_encode(&x, &usual, i);
            column_encode(&y, &general, i);
            bool same = str_eq(buf_view(&x), buf_view(&y));
            buf_free(&x);
            buf_free(&y);
            if (!same)
                fprintf(stderr, "trial %d: %.*s\n", trial, STR_ARG(in.data.str[i]));
            REQUIRE(same);
        }
        arena_free(a);
    }
}

/* Nothing is read beyond a record that is a block of its own. */
TEST(reads_end_with_the_record)
{
    struct buf b = {0};
    for (int i = 0; i < 4000; i++) {
        struct arena *a = arena_new(0);
        buf_clear(&b);
        put_record(&b, ":", ",");
        char *exact = malloc(b.n ? b.n : 1);
        REQUIRE(exact);
        if (b.n)
            memcpy(exact, b.p, b.n);
        struct str texts[2] = {str_make(exact, b.n), str_make(exact, b.n)}; /* the second as predicted */
        struct column in = {.type = type_simple(TYPE_STRING), .n = 2, .mask = ~0u, .data.str = texts}, out;
        read_rows(a, schema(a), NULL, false, &in, &out);
        struct buf x = {0}, y = {0};
        column_encode(&x, &out, 0);
        column_encode(&y, &out, 1);
        EXPECT(str_eq(buf_view(&x), buf_view(&y)));
        buf_free(&x);
        buf_free(&y);
        free(exact);
        arena_free(a);
    }
    buf_free(&b);
}

/* The word-wise reading of timestamps takes nothing that the general one refuses, and makes the same of it. */
TEST(timestamps_agree)
{
    static const char CHARACTERS[] = "0123456789-:TZ. +";
    int taken = 0;
    for (int i = 0; i < 300000; i++) {
        char text[40];
        int64_t us = 0, want = 0;
        size_t n = (size_t)snprintf(text, sizeof text, "%04u-%02u-%02uT%02u:%02u:%02u", below(10000), below(14),
                                    below(33), below(26), below(62), below(62));
        if (below(2))
            n += (size_t)snprintf(text + n, sizeof text - n, ".%0*u", (int)below(10), below(1000));
        text[n++] = 'Z';
        if (below(2))
            text[below((uint32_t)n)] = CHARACTERS[below(sizeof CHARACTERS - 1)];
        struct str s = str_make(text, n);
        if (!timestamp_utc(s, &us))
            continue;
        taken++;
        if (!text_to_timestamp_ntz(s, &want) || us != want)
            TEST_FAIL_("%.*s", STR_ARG(s));
    }
    EXPECT(taken > 50000);
}

TEST_MAIN()
