#include "function/time_int.h"

#include <stdlib.h>

/* Days ↔ civil after Howard Hinnant's published algorithms: eras of 400 years, years that begin in March. */
int64_t days_from_civil(int64_t y, int m, int d)
{
    y -= m <= 2;
    int64_t era = floor_div(y, 400), yoe = y - era * 400;
    int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

struct civil civil_from_days(int64_t days)
{
    days += 719468;
    int64_t era = floor_div(days, 146097), doe = days - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    int month = (int)(mp < 10 ? mp + 3 : mp - 9);
    return (struct civil){(int32_t)(yoe + era * 400 + (month <= 2)), month, (int32_t)(doy - (153 * mp + 2) / 5 + 1)};
}

bool is_leap(int64_t y)
{
    return y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
}

int days_in_month(int64_t y, int m)
{
    static const int8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return m == 2 && is_leap(y) ? 29 : days[m - 1];
}

int32_t local_day(const struct zone *z, int64_t us)
{
    return (int32_t)floor_div(utc_to_local_us(z, us), US_PER_DAY);
}

int64_t date_to_utc_us(const struct zone *z, int32_t days)
{
    return zone_local_to_utc_us(z, days * US_PER_DAY);
}

int32_t date_add_months(int32_t days, int32_t months)
{
    struct civil c = civil_from_days(days);
    int64_t m = (int64_t)c.year * 12 + c.month - 1 + months;
    int64_t y = floor_div(m, 12);
    int month = (int)floor_mod(m, 12) + 1, last = days_in_month(y, month);
    return (int32_t)days_from_civil(y, month, c.day < last ? c.day : last);
}

int64_t local_add_months(int64_t local_us, int32_t months)
{
    int64_t day = floor_div(local_us, US_PER_DAY);
    return date_add_months((int32_t)day, months) * US_PER_DAY + (local_us - day * US_PER_DAY);
}

/* -- reading ------------------------------------------------------------------------------------------------------------ */
/* UTF8String.trimAll: white space and ISO controls. */
static struct str trim(struct str s)
{
    while (s.n && ((unsigned char)s.p[0] <= ' ' || s.p[0] == 0x7f))
        s.p++, s.n--;
    while (s.n && ((unsigned char)s.p[s.n - 1] <= ' ' || s.p[s.n - 1] == 0x7f))
        s.n--;
    return s;
}

/* Digits into *v (at most 9 counted into the value); returns how many there were. */
static int digits(struct str *s, int64_t *v)
{
    int n = 0;
    *v = 0;
    for (; s->n && s->p[0] >= '0' && s->p[0] <= '9'; s->p++, s->n--, n++)
        if (n < 9)
            *v = *v * 10 + (s->p[0] - '0');
    return n;
}

static bool take(struct str *s, char c)
{
    if (!s->n || s->p[0] != c)
        return false;
    s->p++;
    s->n--;
    return true;
}

struct date_parts {
    int64_t year, month, day;
};

/* [+-]yyyy[-[m]m[-[d]d]]; what follows stays in *s. `parts`: how many were there. */
static bool read_date(struct str *s, int year_digits_max, struct date_parts *d, int *parts)
{
    bool negative = s->n && s->p[0] == '-';
    if (negative || (s->n && s->p[0] == '+'))
        s->p++, s->n--;
    int n = digits(s, &d->year);
    if (n < 4 || n > year_digits_max)
        return false;
    if (negative)
        d->year = -d->year;
    d->month = d->day = 1;
    *parts = 1;
    int64_t *part[] = {&d->month, &d->day};
    for (int i = 0; i < 2 && take(s, '-'); i++, (*parts)++) {
        n = digits(s, part[i]);
        if (n < 1 || n > 2)
            return false;
    }
    return d->month >= 1 && d->month <= 12 && d->day >= 1 && d->day <= days_in_month(d->year, (int)d->month);
}

bool text_to_date(struct str s, int32_t *days)
{
    struct date_parts d;
    int parts;
    s = trim(s);
    if (!read_date(&s, 7, &d, &parts))
        return false;
    if (s.n && (parts < 3 || (s.p[0] != ' ' && s.p[0] != 'T')))
        return false;
    int64_t v = days_from_civil(d.year, (int)d.month, (int)d.day);
    *days = (int32_t)v;
    return v == (int32_t)v;
}

struct time_parts {
    int64_t us; /* of the day */
    struct str zone;
};

/* [h]h[:[m]m[:[s]s[.fraction][zone]]] */
static bool read_time(struct str *s, struct time_parts *t)
{
    int64_t part[3] = {0}, v;
    int n = digits(s, &part[0]), i = 1;
    if (n < 1 || n > 2)
        return false;
    for (; i < 3 && take(s, ':'); i++) {
        n = digits(s, &part[i]);
        if (n < 1 || n > 2)
            return false;
    }
    if (part[0] > 23 || part[1] > 59 || part[2] > 59)
        return false;
    t->us = ((part[0] * 60 + part[1]) * 60 + part[2]) * US_PER_SECOND;
    if (i < 3)
        return s->n == 0;
    if (take(s, '.')) {
        const char *from = s->p;
        n = digits(s, &v);
        int64_t micros = 0;
        for (int k = 0; k < 6; k++)
            micros = micros * 10 + (k < n ? from[k] - '0' : 0);
        t->us += micros;
    }
    t->zone = trim(*s);
    return true;
}

static bool local_us(const struct date_parts *d, int64_t time_us, int64_t *out)
{
    int64_t days = days_from_civil(d->year, (int)d->month, (int)d->day);
    return !__builtin_mul_overflow(days, US_PER_DAY, out) && !__builtin_add_overflow(*out, time_us, out);
}

/* The parts of a timestamp text; *time_only when there is no date. */
static bool read_timestamp(struct str s, struct date_parts *d, struct time_parts *t, bool *time_only)
{
    int parts = 0;
    s = trim(s);
    *t = (struct time_parts){0};
    *time_only = take(&s, 'T') || (s.n > 2 && (s.p[1] == ':' || s.p[2] == ':'));
    if (*time_only)
        return read_time(&s, t);
    if (!read_date(&s, 6, d, &parts))
        return false;
    if (!s.n)
        return true;
    return parts == 3 && (take(&s, ' ') || take(&s, 'T')) && read_time(&s, t);
}

/*
 * Eight characters at a time: `form` has a '0' where a digit must be, else the character itself. XOR leaves digits as 0..9
 * and equal characters as 0; `room`, added, carries what is larger than that into a byte's top bit.
 */
static inline uint64_t eight(const char *p, uint64_t form)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return le64toh(v) ^ form;
}

static inline uint64_t misfits(uint64_t x, uint64_t room)
{
    return ((x + room) | x) & UINT64_C(0x8080808080808080);
}

/* Every byte becomes ten times itself plus the one behind it: a number of two digits where they begin. */
static inline uint64_t pairs(uint64_t x)
{
    return x * 10 + (x >> 8);
}

/* ".5", ".123456789": the micros of a fraction of up to 9 digits. */
static bool fraction_us(const char *p, size_t n, int64_t *us)
{
    static const int32_t SCALE[] = {0, 100000, 10000, 1000, 100, 10, 1};
    int64_t v = 0;
    if (n < 2 || n > 10 || *p != '.')
        return false;
    for (size_t i = 1; i < n; i++) {
        unsigned digit = (unsigned char)(p[i] - '0');
        if (digit > 9)
            return false;
        v = i <= 6 ? v * 10 + digit : v;
    }
    *us = v * SCALE[n - 1 < 6 ? n - 1 : 6];
    return true;
}

bool timestamp_utc(struct str s, int64_t *us)
{
    if (s.n < 20 || s.p[s.n - 1] != 'Z')
        return false;
    uint64_t a = eight(s.p, UINT64_C(0x2d30302d30303030));     /* 0000-00- */
    uint64_t b = eight(s.p + 8, UINT64_C(0x30303a3030543030)); /* 00T00:00 */
    if (misfits(a, UINT64_C(0x7f76767f76767676)) | misfits(b, UINT64_C(0x76767f76767f7676)))
        return false;
    uint64_t p = pairs(a), q = pairs(b);
    int64_t year = (int64_t)(p & 0xff) * 100 + (int64_t)(p >> 16 & 0xff), fraction = 0;
    unsigned month = p >> 40 & 0xff, day = q & 0xff, hour = q >> 24 & 0xff, minute = q >> 48 & 0xff;
    unsigned tens = (unsigned char)(s.p[17] - '0'), ones = (unsigned char)(s.p[18] - '0'), second = tens * 10 + ones;
    if (s.p[16] != ':' || tens > 5 || ones > 9 || month - 1 > 11 || day - 1 > 30 || hour > 23 || minute > 59)
        return false;
    if (day > 28 && (int)day > days_in_month(year, (int)month))
        return false;
    if (s.n > 20 && !fraction_us(s.p + 19, s.n - 20, &fraction))
        return false;
    int64_t days = days_from_civil(year, (int)month, (int)day);
    *us = days * US_PER_DAY + ((hour * 60 + minute) * 60 + second) * US_PER_SECOND + fraction;
    return true;
}

bool text_to_timestamp_now(struct str s, const struct zone *z, int64_t now_us, int64_t *us)
{
    struct date_parts d;
    struct time_parts t;
    bool time_only;
    int64_t local;
    if (timestamp_utc(s, us))
        return true;
    if (!read_timestamp(s, &d, &t, &time_only))
        return false;
    if (t.zone.n && !(z = zone_find(t.zone, NULL)))
        return false;
    if (time_only) {
        struct civil today = civil_from_days(local_day(z, now_us));
        d = (struct date_parts){today.year, today.month, today.day};
    }
    if (!local_us(&d, t.us, &local))
        return false;
    *us = zone_local_to_utc_us(z, local);
    return true;
}

bool text_to_timestamp(struct str s, const struct zone *z, int64_t *us)
{
    return text_to_timestamp_now(s, z, 0, us);
}

bool text_to_timestamp_ntz(struct str s, int64_t *us)
{
    struct date_parts d;
    struct time_parts t;
    bool time_only;
    return read_timestamp(s, &d, &t, &time_only) && !time_only && local_us(&d, t.us, us);
}

/* -- writing ------------------------------------------------------------------------------------------------------------ */
static void put_pad(struct buf *out, int64_t v, int width)
{
    char d[24];
    int n = 0;
    do {
        d[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    while (n < width)
        d[n++] = '0';
    while (n)
        buf_u8(out, (uint8_t)d[--n]);
}

void date_text(struct buf *out, int32_t days)
{
    struct civil c = civil_from_days(days);
    if (c.year > 9999)
        buf_u8(out, '+');
    if (c.year < 0)
        buf_u8(out, '-');
    put_pad(out, llabs(c.year), 4);
    buf_u8(out, '-');
    put_pad(out, c.month, 2);
    buf_u8(out, '-');
    put_pad(out, c.day, 2);
}

static void put_fraction(struct buf *out, int64_t us)
{
    if (!us)
        return;
    int width = 6;
    for (; us % 10 == 0; us /= 10)
        width--;
    buf_u8(out, '.');
    put_pad(out, us, width);
}

void timestamp_ntz_text(struct buf *out, int64_t us)
{
    int64_t day = floor_div(us, US_PER_DAY), of_day = us - day * US_PER_DAY, s = of_day / US_PER_SECOND;
    date_text(out, (int32_t)day);
    buf_u8(out, ' ');
    put_pad(out, s / 3600, 2);
    buf_u8(out, ':');
    put_pad(out, s / 60 % 60, 2);
    buf_u8(out, ':');
    put_pad(out, s % 60, 2);
    put_fraction(out, of_day % US_PER_SECOND);
}

void timestamp_text(struct buf *out, int64_t us, const struct zone *z)
{
    timestamp_ntz_text(out, utc_to_local_us(z, us));
}
