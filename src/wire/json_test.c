#include "wire/json.h"
#include "base/test.h"

static bool accepts(const char *text, bool lenient)
{
    struct json j = json_of(str_of(text), lenient);
    return json_skip(&j, NULL) && json_end(&j);
}

TEST(grammar)
{
    static const char *const good[] = {
        "{}", "[]", " { \"a\" : [1, -0.5e+3, true, null] , \"b\":{} } ", "\"\\u00e9\\n\"", "0", "-1"};
    static const char *const bad[] = {"",    "{",     "[1,]", "{\"a\"}", "{\"a\":}",   "01", "1.",        ".5",
                                      "tru", "truex", "+1",   "[1 2]",   "{\"a\":1,}", "\"", "\"\\x\"",   "\"a\nb\"",
                                      "{,}", "[,1]",  "1e",   "{'a':1}", "NaN",        "-",  "\"\\u12\"", "{\"a\":1]"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!accepts(good[i], false))
            TEST_FAIL_("refused %s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (accepts(bad[i], false))
            TEST_FAIL_("accepted %s", bad[i]);
    EXPECT(accepts("{'a':NaN,\"b\":-INF}", true));
    EXPECT(!accepts("NaNx", true));
}

TEST(strings_decode)
{
    struct arena *a = arena_new(0);
    struct str s;
    struct json j = json_of(STR("\"plain\" \"a\\\"b\\u00e9\\ud83d\\ude00\\ud83dx\" \"\xff\xc3\xa9\""), false);
    EXPECT(json_string(&j, a, &s));
    EXPECT_STR(s, "plain");
    EXPECT(json_string(&j, a, &s));
    EXPECT_STR(s, "a\"b\xc3\xa9\xf0\x9f\x98\x80?x");
    EXPECT(json_string(&j, a, &s));
    EXPECT_STR(s, "\xef\xbf\xbd\xc3\xa9");
    arena_free(a);
}

TEST(depth_is_bounded)
{
    struct buf b = {0};
    buf_fill(&b, '[', 100000);
    struct json j = json_of(buf_view(&b), false);
    EXPECT(!json_skip(&j, NULL));
    buf_clear(&b);
    buf_fill(&b, '[', LIMIT_JSON_DEPTH);
    buf_fill(&b, ']', LIMIT_JSON_DEPTH);
    j = json_of(buf_view(&b), false);
    EXPECT(json_skip(&j, NULL) && json_end(&j));
    buf_free(&b);
}

TEST(numbers)
{
    double v;
    EXPECT(json_to_double(STR("-12.5"), &v) && v == -12.5);
    EXPECT(json_to_double(STR("0.1"), &v) && v == 0.1);
    EXPECT(json_to_double(STR("1e300"), &v) && v == 1e300);
    EXPECT(json_to_double(STR("123456789012345678901234567890"), &v) && v == 123456789012345678901234567890.0);
    EXPECT(json_to_double(STR("9007199254740993"), &v) && v == 9007199254740993.0);
    EXPECT(!json_to_double(STR("0x10"), &v));
    EXPECT(!json_to_double(STR("-"), &v));
    EXPECT(!json_to_double(STR("1e"), &v));
}

/* The fast scan and its portable twin agree on random bytes at every alignment. */
TEST(scan_twins_agree)
{
    unsigned char text[200];
    uint64_t state = 20261122;
    for (int round = 0; round < 20000; round++) {
        for (size_t i = 0; i < sizeof text; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            unsigned r = (unsigned)(state >> 33);
            text[i] = r % 61 == 0 ? '"' : r % 67 == 0 ? '\\' : (unsigned char)(r % 7 == 0 ? r >> 8 : 'a' + r % 26);
        }
        size_t from = state % 60, n = state / 64 % 130;
        bool h1 = false, h2 = false;
        const char *p = (const char *)text + from, *e = p + n;
        EXPECT(json_scan_string(p, e, '"', &h1) == json_scan_string_portable(p, e, '"', &h2));
        EXPECT(h1 == h2);
        h1 = h2 = false;
        EXPECT(json_scan_inside((const char *)text, p, e, '"', &h1) == json_scan_string_portable(p, e, '"', &h2));
        EXPECT(h1 == h2);
    }
}

TEST_MAIN()
