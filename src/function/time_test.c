#include "function/time_int.h"
#include "base/test.h"

static const struct zone *zone(const char *name)
{
    const struct zone *z = zone_find(str_of(name), NULL);
    if (!z)
        TEST_FAIL_("no zone %s", name);
    return z ? z : zone_find(STR("UTC"), NULL);
}

TEST(civil_days_go_both_ways)
{
    EXPECT_INT(days_from_civil(1970, 1, 1), 0);
    EXPECT_INT(days_from_civil(2000, 2, 29), 11016);
    EXPECT_INT(days_from_civil(1, 1, 1), -719162);
    for (int64_t d = -800000; d < 3000000; d += 37) {
        struct civil c = civil_from_days(d);
        EXPECT_INT(days_from_civil(c.year, c.month, c.day), d);
    }
}

/* Offsets that the IANA database has: before any rule, inside, and far beyond the last transition (POSIX footer). */
TEST(zone_offsets)
{
    int64_t us;
    const struct zone *paris = zone("Europe/Paris");
    EXPECT(text_to_timestamp(STR("2024-07-01 12:00:00Z"), paris, &us));
    EXPECT_INT(zone_offset_s(paris, us), 7200);
    EXPECT(text_to_timestamp(STR("2124-01-01 12:00:00Z"), paris, &us));
    EXPECT_INT(zone_offset_s(paris, us), 3600);
    EXPECT(text_to_timestamp(STR("2124-07-01 12:00:00Z"), paris, &us));
    EXPECT_INT(zone_offset_s(paris, us), 7200);
    EXPECT_INT(zone_offset_s(paris, INT64_C(-3000000000) * US_PER_SECOND), 561);
    EXPECT_INT(zone_offset_s(zone("+05:30"), 0), 19800);
    EXPECT_INT(zone_offset_s(zone("GMT-3"), 0), -10800);
    EXPECT_INT(zone_offset_s(zone("America/New_York"), INT64_C(4102444800) * US_PER_SECOND), -18000);
    EXPECT(zone_find(STR("Mars/Olympus"), NULL) == NULL);
    EXPECT(zone_find(STR("../../../etc/passwd"), NULL) == NULL);
    EXPECT(zone_find(STR("+19:00"), NULL) == NULL);
}

TEST(gaps_and_overlaps_resolve_as_java)
{
    const struct zone *ny = zone("America/New_York");
    int64_t us;
    struct buf b = {0};
    EXPECT(text_to_timestamp(STR("2024-03-10 02:30:00"), ny, &us)); /* in the gap: forward by an hour */
    timestamp_text(&b, us, ny);
    EXPECT_STR(buf_view(&b), "2024-03-10 03:30:00");
    EXPECT(text_to_timestamp(STR("2024-11-03 01:30:00"), ny, &us)); /* twice: the earlier, still summer time */
    EXPECT_INT(zone_offset_s(ny, us), -4 * 3600);
    buf_free(&b);
}

TEST(cast_texts)
{
    static const char *const good[][2] = {
        {"2001-02-03", "2001-02-03 00:00:00"},
        {" 2001-2-3 4:5:6.7 ", "2001-02-03 04:05:06.7"},
        {"2001", "2001-01-01 00:00:00"},
        {"2001-02", "2001-02-01 00:00:00"},
        {"2001-02-03T04:05:06.123456789Z", "2001-02-03 04:05:06.123456"},
        {"2001-02-03 04:05:06+01:00", "2001-02-03 03:05:06"},
        {"2001-02-03 04:05:06 Europe/Paris", "2001-02-03 03:05:06"},
        {"-0001-01-01", "-0001-01-01 00:00:00"},
        {"+12345-01-01", "+12345-01-01 00:00:00"},
        {"2001-02-03 12", "2001-02-03 12:00:00"},
    };
    static const char *const bad[] = {
        "",         "x",           "2001-13-01", "2001-02-29", "2001-02-03 24:00:00", "2001-02-03 04:05:06 Nowhere",
        "01-02-03", "2001-02-03x", "2001-2-",    "2001/02/03"};
    const struct zone *utc = zone("UTC");
    struct buf b = {0};
    int64_t us;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        buf_clear(&b);
        EXPECT(text_to_timestamp(str_of(good[i][0]), utc, &us));
        timestamp_text(&b, us, utc);
        EXPECT_STR(buf_view(&b), good[i][1]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (text_to_timestamp(str_of(bad[i]), utc, &us))
            TEST_FAIL_("accepted %s", bad[i]);
    buf_free(&b);
}

static void check_pattern(const char *pattern, const char *text, const char *want)
{
    struct arena *a = arena_new(0);
    const struct time_pattern *parse, *print;
    struct buf b = {0};
    int64_t us;
    EXPECT(!time_pattern_new(a, str_of(pattern), true, &parse, NULL));
    EXPECT(!time_pattern_new(a, str_of("yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"), false, &print, NULL));
    if (!time_pattern_parse(parse, str_of(text), zone("UTC"), &us, NULL)) {
        if (want)
            TEST_FAIL_("%s did not parse as %s", text, pattern);
    } else if (!want) {
        TEST_FAIL_("%s parsed as %s", text, pattern);
    } else {
        time_pattern_format(print, us, zone("UTC"), &b);
        EXPECT_STR(buf_view(&b), want);
    }
    buf_free(&b);
    arena_free(a);
}

TEST(patterns)
{
    check_pattern("yyyy-MM-dd HH:mm:ss", "2001-02-03 04:05:06", "2001-02-03T04:05:06.000000Z");
    check_pattern("yyyyMMddHHmm", "200102030405", "2001-02-03T04:05:00.000000Z");
    check_pattern("yyyy/M/d H:m", "2001/2/13 4:5", "2001-02-13T04:05:00.000000Z");
    check_pattern("dd MMM yyyy hh:mm a", "03 feb 2001 12:05 PM", "2001-02-03T12:05:00.000000Z");
    check_pattern("yyyy-MM-dd'T'HH:mm:ss[.SSS][XXX]", "2001-02-03T04:05:06.12+01:00", "2001-02-03T03:05:06.120000Z");
    check_pattern("yyyy-MM-dd'T'HH:mm:ss[.SSS][XXX]", "2001-02-03T04:05:06", "2001-02-03T04:05:06.000000Z");
    check_pattern("MMMM d, yyyy", "February 3, 2001", "2001-02-03T00:00:00.000000Z");
    check_pattern("yy-MM-dd", "01-02-03", "2001-02-03T00:00:00.000000Z");
    check_pattern("yyyy-MM-dd", "2001-02-30", NULL);
    check_pattern("yyyy-MM-dd", "2001-2-3", NULL);
    check_pattern("yyyy-MM-dd", "2001-02-03 ", NULL);
    check_pattern("yyyy-MM-dd HH:mm:ss z", "2001-02-03 04:05:06 Europe/Paris", "2001-02-03T03:05:06.000000Z");
}

TEST(bad_patterns_are_named)
{
    static const struct {
        const char *pattern;
        enum err e;
    } bad[] = {{"YYYY-MM", ERR_DATETIME_PATTERN_CHANGED},
               {"e", ERR_DATETIME_WEEK_PATTERN},
               {"A", ERR_DATETIME_PATTERN},
               {"MMMMM", ERR_DATETIME_PATTERN_CHANGED},
               {"yyyy 'open", ERR_DATETIME_PATTERN_INVALID},
               {"T", ERR_DATETIME_PATTERN_INVALID}};
    struct arena *a = arena_new(0);
    const struct time_pattern *p;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        EXPECT_INT(time_pattern_new(a, str_of(bad[i].pattern), true, &p, NULL), bad[i].e);
    arena_free(a);
}

TEST(intervals)
{
    struct calendar_interval v;
    struct buf b = {0};
    EXPECT(interval_parse(STR("10 seconds"), &v) && v.micros == 10000000);
    EXPECT(interval_parse(STR("interval 1 year 2 months 3 weeks -4 hours 1.5 seconds"), &v) && v.months == 14 &&
           v.days == 21 && v.micros == -14398500000);
    EXPECT(!interval_parse(STR("10 parsecs"), &v));
    EXPECT(!interval_parse(STR("seconds"), &v));
    EXPECT(!interval_parse(STR(""), &v));
    EXPECT(!interval_parse(STR("1.5 hours"), &v));
    day_time_text(&b, -INT64_C(93784500000), 0, 3);
    EXPECT_STR(buf_view(&b), "INTERVAL '-1 02:03:04.5' DAY TO SECOND");
    int64_t us;
    EXPECT(text_to_day_time(buf_view(&b), 0, 3, &us) && us == -INT64_C(93784500000));
    int32_t months;
    EXPECT(text_to_year_month(STR("-1-2"), 0, 1, &months) && months == -14);
    buf_free(&b);
}

TEST_MAIN()
