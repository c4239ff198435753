/*
 * time_int: calendar arithmetic, zones, and the texts of dates, timestamps and intervals, as Spark and java.time have them.
 *
 * Days count from 1970-01-01 in the proleptic Gregorian calendar, instants are microseconds of UTC. Nothing here reads a
 * clock; zone files are read when a zone is first named (at bind time) and kept for the life of the process.
 */
#ifndef PENSTOCK_FUNCTION_TIME_INT_H
#define PENSTOCK_FUNCTION_TIME_INT_H

#include "function/function.h"

#define US_PER_SECOND INT64_C(1000000)
#define US_PER_DAY    INT64_C(86400000000)

struct civil {
    int32_t year;
    int32_t month, day; /* 1.. */
};
int64_t days_from_civil(int64_t year, int month, int day);
struct civil civil_from_days(int64_t days);
int days_in_month(int64_t year, int month);
bool is_leap(int64_t year);
static inline int64_t floor_div(int64_t a, int64_t b)
{
    int64_t q = a / b;
    return q - (a % b != 0 && (a < 0) != (b < 0));
}
static inline int64_t floor_mod(int64_t a, int64_t b)
{
    return a - floor_div(a, b) * b;
}
/* Local wall-clock microseconds (as if UTC) of an instant in a zone. */
static inline int64_t utc_to_local_us(const struct zone *z, int64_t us)
{
    return us + zone_offset_s(z, us) * US_PER_SECOND;
}
int32_t local_day(const struct zone *z, int64_t us);        /* days of the local date */
int64_t date_to_utc_us(const struct zone *z, int32_t days); /* local midnight */
int32_t date_add_months(int32_t days, int32_t months);      /* day clamped to the month's end */
int64_t local_add_months(int64_t local_us, int32_t months); /* the time of day stays */
const char *zone_name(const struct zone *z);                /* as it was asked for */
/* "CET", "EDT" at that instant, from the zone's file. `full` has the long name of UTC only; others give the id. */
const char *zone_abbreviation(const struct zone *z, int64_t us, bool full);

/* -- CAST's texts ------------------------------------------------------------------------------------------------------ */
/* SparkDateTimeUtils.stringToDate / stringToTimestamp: surrounding white space ignored; false: not one. A text that is a time only
 * takes its date from now_us. */
bool text_to_date(struct str s, int32_t *days);
bool text_to_timestamp(struct str s, const struct zone *z, int64_t *us);
/* The form that programs write, yyyy-mm-ddThh:mm:ss[.fraction]Z, read a word at a time; false: any other, or not valid. */
bool timestamp_utc(struct str s, int64_t *us);
bool text_to_timestamp_now(struct str s, const struct zone *z, int64_t now_us, int64_t *us);
bool text_to_timestamp_ntz(struct str s, int64_t *us);
void date_text(struct buf *out, int32_t days);                          /* 2001-02-03 */
void timestamp_text(struct buf *out, int64_t us, const struct zone *z); /* 2001-02-03 04:05:06.7 */
void timestamp_ntz_text(struct buf *out, int64_t us);
/* INTERVAL '1 02:03:04' DAY TO SECOND, INTERVAL '1-2' YEAR TO MONTH; bare: without INTERVAL and units. */
void day_time_text(struct buf *out, int64_t us, int first, int last);
void year_month_text(struct buf *out, int32_t months, int first, int last);
void calendar_interval_text(struct buf *out, struct calendar_interval v); /* 1 years 2 months 3 days 4 hours … */
/* CAST of strings: "1 02:03:04", "INTERVAL '…' DAY TO SECOND", "1-2". */
bool text_to_day_time(struct str s, int first, int last, int64_t *us);
bool text_to_year_month(struct str s, int first, int last, int32_t *months);

/* -- Java's DateTimeFormatter patterns, locale en_US -------------------------------------------------------------------- */
struct time_pattern;
/* for_parsing: S… reads 1 to n digits. Errors: INVALID_DATETIME_PATTERN.*, INCONSISTENT_BEHAVIOR_CROSS_VERSION.DATETIME_WEEK_BASED_PATTERN. */
CHECK enum err time_pattern_new(struct arena *a, struct str pattern, bool for_parsing, const struct time_pattern **out,
                                struct fault *f);
void time_pattern_format(const struct time_pattern *p, int64_t us, const struct zone *z, struct buf *out);
/* The whole text must match; *why (NULL allowed) gets java.time's words when it does not. Fields that the pattern lacks: 1970-01-01 00:00:00. *us: an instant (the text's own zone wins
 * over z); with z NULL a local time. */
bool time_pattern_parse(const struct time_pattern *p, struct str text, const struct zone *z, int64_t *us,
                        struct buf *why);
/* java.time's words for a day that its month does not have. */
void invalid_date_text(struct buf *out, int64_t year, int month, int day);

#endif
