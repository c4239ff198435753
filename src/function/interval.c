/* Texts of intervals: IntervalUtils' readers and writers. */
#include "function/time_int.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const DAY_FIELDS[] = {"DAY", "HOUR", "MINUTE", "SECOND"};
static const char *const YEAR_FIELDS[] = {"YEAR", "MONTH"};

struct unit {
    const char *name;
    int32_t months, days;
    int64_t us;
};
static const struct unit UNITS[] = {
    {"year", 12, 0, 0},
    {"month", 1, 0, 0},
    {"week", 0, 7, 0},
    {"day", 0, 1, 0},
    {"hour", 0, 0, INT64_C(3600000000)},
    {"minute", 0, 0, INT64_C(60000000)},
    {"second", 0, 0, INT64_C(1000000)},
    {"millisecond", 0, 0, 1000},
    {"microsecond", 0, 0, 1},
};

static struct str word(struct str *s)
{
    while (s->n && (unsigned char)s->p[0] <= ' ')
        s->p++, s->n--;
    size_t n = 0;
    while (n < s->n && (unsigned char)s->p[n] > ' ')
        n++;
    struct str w = str_sub(*s, 0, n);
    s->p += n;
    s->n -= n;
    return w;
}

static const struct unit *find_unit(struct str w)
{
    for (size_t i = 0; i < sizeof UNITS / sizeof *UNITS; i++) {
        struct str name = str_of(UNITS[i].name);
        if (str_eq_nocase(w, name) ||
            (w.n == name.n + 1 && (w.p[w.n - 1] | 0x20) == 's' && str_eq_nocase(str_sub(w, 0, name.n), name)))
            return &UNITS[i];
    }
    return NULL;
}

/* "12", "-3", "1.5" (a fraction only for seconds): whole and nanos. */
static bool number(struct str w, int64_t *whole, int64_t *micros, bool *fraction)
{
    ptrdiff_t dot = str_find(w, STR("."), 0);
    *fraction = dot >= 0;
    *micros = 0;
    struct str head = dot >= 0 ? str_sub(w, 0, (size_t)dot) : w;
    bool negative = w.n && w.p[0] == '-';
    *whole = 0;
    if (!str_to_i64(head, whole) && !(dot >= 0 && (head.n == 0 || (head.n == 1 && (negative || head.p[0] == '+')))))
        return false;
    if (dot < 0)
        return true;
    struct str tail = str_sub(w, (size_t)dot + 1, w.n);
    if (tail.n > 9)
        return false;
    for (size_t i = 0; i < 6; i++) {
        if (i < tail.n && (tail.p[i] < '0' || tail.p[i] > '9'))
            return false;
        *micros = *micros * 10 + (i < tail.n ? tail.p[i] - '0' : 0);
    }
    if (negative)
        *micros = -*micros;
    return true;
}

static bool add_i32(int32_t *to, int64_t v, int64_t factor)
{
    int64_t product, sum;
    if (__builtin_mul_overflow(v, factor, &product) || __builtin_add_overflow((int64_t)*to, product, &sum) ||
        sum != (int32_t)sum)
        return false;
    *to = (int32_t)sum;
    return true;
}

bool interval_parse(struct str text, struct calendar_interval *out)
{
    struct str s = text, w = word(&s);
    *out = (struct calendar_interval){0};
    if (str_eq_nocase(w, STR("interval")))
        w = word(&s);
    if (!w.n)
        return false;
    for (; w.n; w = word(&s)) {
        int64_t whole, micros, us;
        bool fraction;
        char joined[32];
        if (w.n == 1 && (w.p[0] == '-' || w.p[0] == '+')) { /* "- 10 seconds" */
            struct str rest = word(&s);
            if (rest.n + 1 > sizeof joined)
                return false;
            joined[0] = w.p[0];
            memcpy(joined + 1, rest.p, rest.n);
            w = str_make(joined, rest.n + 1);
        }
        if (!number(w, &whole, &micros, &fraction))
            return false;
        const struct unit *u = find_unit(word(&s));
        if (!u || (fraction && u->us != 1000000))
            return false;
        if (!add_i32(&out->months, whole, u->months) || !add_i32(&out->days, whole, u->days) ||
            __builtin_mul_overflow(whole, u->us, &us) || __builtin_add_overflow(out->micros, us, &out->micros) ||
            __builtin_add_overflow(out->micros, micros, &out->micros))
            return false;
    }
    return true;
}

/* -- writing ------------------------------------------------------------------------------------------------------------- */
static void put_seconds(struct buf *out, uint64_t us, int width)
{
    buf_fmt(out, "%0*llu", width, (unsigned long long)(us / 1000000));
    if (us % 1000000) {
        char frac[8];
        snprintf(frac, sizeof frac, "%06llu", (unsigned long long)(us % 1000000));
        size_t n = 6;
        while (frac[n - 1] == '0')
            n--;
        buf_u8(out, '.');
        buf_put(out, frac, n);
    }
}

void day_time_text(struct buf *out, int64_t us, int first, int last)
{
    uint64_t v = us < 0 ? 0 - (uint64_t)us : (uint64_t)us;
    uint64_t unit[] = {86400000000u, 3600000000u, 60000000u};
    buf_z(out, "INTERVAL '");
    if (us < 0)
        buf_u8(out, '-');
    for (int i = first; i <= last; i++) {
        if (i > first)
            buf_u8(out, i == 1 ? ' ' : ':');
        if (i < 3) {
            buf_fmt(out, "%0*llu", i == 0 ? 1 : 2, (unsigned long long)(v / unit[i]));
            v %= unit[i];
        } else {
            put_seconds(out, v, 2);
        }
    }
    buf_fmt(out, first == last ? "' %s" : "' %s TO %s", DAY_FIELDS[first], DAY_FIELDS[last]);
}

void year_month_text(struct buf *out, int32_t months, int first, int last)
{
    uint32_t v = months < 0 ? 0 - (uint32_t)months : (uint32_t)months;
    buf_fmt(out, "INTERVAL '%s", months < 0 ? "-" : "");
    if (first == 0 && last == 1)
        buf_fmt(out, "%u-%u", v / 12, v % 12);
    else
        buf_fmt(out, "%u", first == 0 ? v / 12 : v);
    buf_fmt(out, first == last ? "' %s" : "' %s TO %s", YEAR_FIELDS[first], YEAR_FIELDS[last]);
}

void calendar_interval_text(struct buf *out, struct calendar_interval v)
{
    size_t from = out->n;
    const struct {
        int64_t n;
        const char *unit;
    } parts[] = {{v.months / 12, "years"},
                 {v.months % 12, "months"},
                 {v.days, "days"},
                 {v.micros / INT64_C(3600000000), "hours"},
                 {v.micros / 60000000 % 60, "minutes"}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i].n)
            buf_fmt(out, "%s%lld %s", out->n > from ? " " : "", (long long)parts[i].n, parts[i].unit);
    int64_t s = v.micros % 60000000;
    if (s) {
        buf_fmt(out, "%s%s", out->n > from ? " " : "", s < 0 ? "-" : "");
        put_seconds(out, (uint64_t)llabs(s), 1);
        buf_z(out, " seconds");
    }
    if (out->n == from)
        buf_z(out, "0 seconds");
}

/* -- CAST(string AS INTERVAL …) -------------------------------------------------------------------------------------------- */
/* Strip "INTERVAL [-]'…' A TO B" to what is between the quotes; *negative from a sign before them. */
static bool unwrap(struct str *s, const char *const *names, int first, int last, bool *negative)
{
    *negative = false;
    *s = str_trim(*s);
    if (s->n < 8 || !str_eq_nocase(str_sub(*s, 0, 8), STR("interval")))
        return true;
    struct str t = str_trim(str_sub(*s, 8, s->n));
    if (t.n && (t.p[0] == '-' || t.p[0] == '+')) {
        *negative = t.p[0] == '-';
        t = str_trim(str_sub(t, 1, t.n));
    }
    ptrdiff_t close = t.n && t.p[0] == '\'' ? str_find(t, STR("'"), 1) : -1;
    if (close < 0)
        return false;
    struct str units = str_sub(t, (size_t)close + 1, t.n);
    if (!str_eq_nocase(word(&units), str_of(names[first])))
        return false;
    if (first != last && (!str_eq_nocase(word(&units), STR("to")) || !str_eq_nocase(word(&units), str_of(names[last]))))
        return false;
    if (word(&units).n)
        return false;
    *s = str_sub(t, 1, (size_t)close - 1);
    return true;
}

static bool sign_of(struct str *s, bool *negative)
{
    if (s->n && (s->p[0] == '-' || s->p[0] == '+')) {
        *negative ^= s->p[0] == '-';
        *s = str_sub(*s, 1, s->n);
    }
    return s->n > 0 && s->p[0] >= '0' && s->p[0] <= '9';
}

bool text_to_day_time(struct str s, int first, int last, int64_t *us)
{
    static const int64_t unit[] = {INT64_C(86400000000), INT64_C(3600000000), 60000000, 1000000};
    static const int64_t most[] = {INT64_MAX, 23, 59, 59};
    bool negative, fraction;
    if (!unwrap(&s, DAY_FIELDS, first, last, &negative) || !sign_of(&s, &negative))
        return false;
    *us = 0;
    for (int i = first; i <= last; i++) {
        size_t n = 0;
        char sep = i == 0 ? ' ' : ':';
        while (n < s.n && s.p[n] != sep)
            n++;
        if (i < last && n == s.n)
            return false;
        int64_t whole, micros, v;
        if (!number(i == last ? s : str_sub(s, 0, n), &whole, &micros, &fraction) || whole < 0 ||
            (fraction && i != 3) || (i > first && whole > most[i]))
            return false;
        if (__builtin_mul_overflow(whole, unit[i], &v) || __builtin_add_overflow(*us, v + micros, us))
            return false;
        s = str_sub(s, n + 1, s.n);
    }
    *us = negative ? -*us : *us;
    return true;
}

bool text_to_year_month(struct str s, int first, int last, int32_t *months)
{
    bool negative;
    int64_t years = 0, rest = 0;
    if (!unwrap(&s, YEAR_FIELDS, first, last, &negative) || !sign_of(&s, &negative))
        return false;
    ptrdiff_t dash = first != last ? str_find(s, STR("-"), 0) : -1;
    if (first != last && (dash < 0 || !str_to_i64(str_sub(s, (size_t)dash + 1, s.n), &rest) || rest < 0 || rest > 11))
        return false;
    if (!str_to_i64(dash >= 0 ? str_sub(s, 0, (size_t)dash) : s, first == 1 ? &rest : &years))
        return false;
    __int128 total = (__int128)years * 12 + rest;
    if (negative)
        total = -total;
    *months = (int32_t)total;
    return total == (int32_t)total;
}
