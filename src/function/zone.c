/*
 * Time zones: fixed offsets as java.time.ZoneId.of reads them, and regions from the system's TZif files (RFC 8536).
 * A region is its table of transitions and the POSIX rule of its footer for what comes after.
 */
#include "function/time_int.h"
#include "base/limit.h"
#include "base/memory.h"
#include "os/os.h"

#include <stdio.h>
#include <stdlib.h>

enum { NAME_MAX_ = 64, FILE_LIMIT = 1 << 20 };

struct rule_date { /* the M, J and n forms of POSIX TZ */
    char kind;
    int month, week, day;
    int32_t second; /* of the local day; may be negative or beyond it */
};

struct rule {
    bool present, has_dst;
    int32_t std_s, dst_s;
    struct rule_date start, end;
};

struct zone {
    struct zone *next;
    char name[NAME_MAX_ + 1];
    int32_t first_s; /* before the first transition; a fixed zone has only this */
    size_t n;
    int64_t *at_s;     /* UTC seconds of transitions, ascending */
    int32_t *offset_s; /* from at_s[i] on */
    uint8_t *kind;     /* type of each transition; type_abbr[kind] is the offset of its abbreviation in chars */
    uint8_t first_kind, type_abbr[256];
    char *chars;
    size_t chars_n;
    struct rule rule;
};

static struct zone *zones; /* pushed with compare-and-swap, never removed */
static int zones_n;

/* ZoneId.SHORT_IDS: Spark resolves zone names through it. */
static const char *const SHORT_IDS[][2] = {
    {"ACT", "Australia/Darwin"},
    {"AET", "Australia/Sydney"},
    {"AGT", "America/Argentina/Buenos_Aires"},
    {"ART", "Africa/Cairo"},
    {"AST", "America/Anchorage"},
    {"BET", "America/Sao_Paulo"},
    {"BST", "Asia/Dhaka"},
    {"CAT", "Africa/Harare"},
    {"CNT", "America/St_Johns"},
    {"CST", "America/Chicago"},
    {"CTT", "Asia/Shanghai"},
    {"EAT", "Africa/Addis_Ababa"},
    {"ECT", "Europe/Paris"},
    {"IET", "America/Indiana/Indianapolis"},
    {"IST", "Asia/Kolkata"},
    {"JST", "Asia/Tokyo"},
    {"MIT", "Pacific/Apia"},
    {"NET", "Asia/Yerevan"},
    {"NST", "Pacific/Auckland"},
    {"PLT", "Asia/Karachi"},
    {"PNT", "America/Phoenix"},
    {"PRT", "America/Puerto_Rico"},
    {"PST", "America/Los_Angeles"},
    {"SST", "Pacific/Guadalcanal"},
    {"VST", "Asia/Ho_Chi_Minh"},
    {"EST", "-05:00"},
    {"MST", "-07:00"},
    {"HST", "-10:00"},
};

const char *zone_name(const struct zone *z)
{
    return z->name;
}

/* -- fixed offsets ------------------------------------------------------------------------------------------------------ */
static int two(const char *p, size_t n, size_t *used)
{
    *used = 0;
    int v = 0;
    while (*used < 2 && *used < n && p[*used] >= '0' && p[*used] <= '9')
        v = v * 10 + p[(*used)++] - '0';
    return v;
}

/* +h, +hh, +h:mm, +hh:m, +hh:mm, +hhmm, +hh:mm:ss, +hhmmss; at most 18 hours. */
static bool parse_offset(struct str s, int32_t *out)
{
    if (s.n == 1 && (s.p[0] == 'Z' || s.p[0] == 'z')) {
        *out = 0;
        return true;
    }
    if (s.n < 2 || (s.p[0] != '+' && s.p[0] != '-'))
        return false;
    int part[3] = {0}, i = 0;
    size_t at = 1, used;
    bool colons = false;
    for (; i < 3 && at < s.n; i++) {
        if (i && s.p[at] == ':') {
            if (i == 2 && !colons)
                return false;
            colons = true;
            at++;
        } else if (i && colons) {
            return false;
        }
        part[i] = two(s.p + at, s.n - at, &used);
        if (!used || (i && !colons && used != 2))
            return false;
        at += used;
    }
    if (at < s.n || part[1] > 59 || part[2] > 59)
        return false;
    int32_t v = part[0] * 3600 + part[1] * 60 + part[2];
    *out = s.p[0] == '-' ? -v : v;
    return v <= 18 * 3600;
}

static bool fixed_zone(struct str name, int32_t *out)
{
    static const char *const prefixes[] = {"UTC", "GMT", "UT"};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        struct str prefix = str_of(prefixes[i]);
        if (!str_starts(name, prefix))
            continue;
        if (name.n == prefix.n) {
            *out = 0;
            return true;
        }
        struct str rest = str_sub(name, prefix.n, name.n);
        if (rest.p[0] == '+' || rest.p[0] == '-')
            return parse_offset(rest, out);
    }
    return parse_offset(name, out);
}

/* -- the POSIX footer ----------------------------------------------------------------------------------------------------- */
static bool rule_name(struct rd *r)
{
    if (r->n && *r->p == '<') {
        while (r->n && *r->p != '>')
            rd_u8(r);
        rd_u8(r);
        return !r->bad;
    }
    size_t n = 0;
    while (r->n && ((*r->p >= 'a' && *r->p <= 'z') || (*r->p >= 'A' && *r->p <= 'Z')))
        rd_u8(r), n++;
    return n >= 3;
}

static int rule_number(struct rd *r)
{
    int v = 0, digits = 0;
    while (r->n && *r->p >= '0' && *r->p <= '9' && digits++ < 4)
        v = v * 10 + rd_u8(r) - '0';
    r->bad |= !digits;
    return v;
}

/* [+-]h[:mm[:ss]] in seconds */
static int32_t rule_time(struct rd *r)
{
    int32_t sign = 1, v;
    if (r->n && (*r->p == '-' || *r->p == '+'))
        sign = rd_u8(r) == '-' ? -1 : 1;
    v = rule_number(r) * 3600;
    for (int32_t unit = 60; unit && r->n && *r->p == ':'; unit /= 60) {
        rd_u8(r);
        v += rule_number(r) * unit;
    }
    return sign * v;
}

static bool rule_date(struct rd *r, struct rule_date *d)
{
    if (rd_u8(r) != ',' || !r->n)
        return false;
    d->kind = *r->p == 'M' || *r->p == 'J' ? (char)rd_u8(r) : 'n';
    d->day = rule_number(r);
    if (d->kind == 'M') {
        d->month = d->day;
        r->bad |= rd_u8(r) != '.';
        d->week = rule_number(r);
        r->bad |= rd_u8(r) != '.';
        d->day = rule_number(r);
        r->bad |= d->month < 1 || d->month > 12 || d->week < 1 || d->week > 5 || d->day > 6;
    }
    d->second = 7200;
    if (r->n && *r->p == '/') {
        rd_u8(r);
        d->second = rule_time(r);
    }
    return !r->bad;
}

static bool parse_rule(struct str text, struct rule *rule)
{
    struct rd r = rd_of(text);
    if (!rule_name(&r))
        return false;
    rule->std_s = -rule_time(&r);
    rule->present = !r.bad;
    if (r.bad || !r.n)
        return rule->present;
    if (!rule_name(&r))
        return false;
    rule->dst_s = r.n && *r.p != ',' ? -rule_time(&r) : rule->std_s + 3600;
    rule->has_dst = rule_date(&r, &rule->start) && rule_date(&r, &rule->end) && !r.n;
    return rule->has_dst;
}

/* UTC second at which the rule's date falls in `year`, the clock before it being `offset_s` ahead. */
static int64_t rule_second(const struct rule_date *d, int64_t year, int32_t offset_s)
{
    int64_t day;
    if (d->kind == 'M') {
        int64_t first = days_from_civil(year, d->month, 1);
        int weekday = (int)floor_mod(first + 4, 7); /* 1970-01-01 was a Thursday; 0 is Sunday */
        int at = (d->day - weekday + 7) % 7 + (d->week - 1) * 7;
        while (at >= days_in_month(year, d->month))
            at -= 7;
        day = first + at;
    } else {
        day = days_from_civil(year, 1, 1) + d->day - (d->kind == 'J');
        if (d->kind == 'J' && is_leap(year) && d->day >= 60)
            day++;
    }
    return day * 86400 + d->second - offset_s;
}

static int32_t rule_offset(const struct rule *r, int64_t s)
{
    if (!r->has_dst)
        return r->std_s;
    int64_t year = civil_from_days(floor_div(s + r->std_s, 86400)).year;
    int64_t start = rule_second(&r->start, year, r->std_s), end = rule_second(&r->end, year, r->dst_s);
    bool dst = start < end ? s >= start && s < end : !(s >= end && s < start);
    return dst ? r->dst_s : r->std_s;
}

/* -- TZif ------------------------------------------------------------------------------------------------------------------ */
struct tzif {
    uint32_t isutc, isstd, leap, time, type, chars;
    char version;
};

static bool tzif_header(struct rd *r, struct tzif *h)
{
    struct str magic = rd_bytes(r, 4);
    h->version = (char)rd_u8(r);
    rd_bytes(r, 15);
    h->isutc = rd_u32be(r);
    h->isstd = rd_u32be(r);
    h->leap = rd_u32be(r);
    h->time = rd_u32be(r);
    h->type = rd_u32be(r);
    h->chars = rd_u32be(r);
    return !r->bad && str_eq(magic, STR("TZif")) && h->time <= 4096 && h->type >= 1 && h->type <= 256 &&
           h->chars <= 4096 && h->leap <= 4096 && h->isutc <= 256 && h->isstd <= 256;
}

static bool tzif_body(struct rd *r, const struct tzif *h, struct zone *z)
{
    z->n = h->time;
    z->at_s = calloc(h->time + 1u, sizeof *z->at_s);
    z->offset_s = calloc(h->time + 1u, sizeof *z->offset_s);
    z->kind = calloc(h->time + 1u, 1);
    z->chars = calloc(h->chars + 1u, 1);
    z->chars_n = h->chars;
    if (!z->at_s || !z->offset_s || !z->kind || !z->chars)
        memory_out("a time zone");
    for (uint32_t i = 0; i < h->time; i++)
        z->at_s[i] = rd_i64be(r);
    struct str kinds = rd_bytes(r, h->time);
    struct str types = rd_bytes(r, h->type * (size_t)6);
    if (r->bad)
        return false;
    for (uint32_t i = 0; i <= h->time; i++) {
        uint8_t kind = i < h->time ? (uint8_t)kinds.p[i] : 0;
        if (kind >= h->type)
            return false;
        struct rd t = rd_of(str_sub(types, kind * (size_t)6, 6));
        int32_t offset = rd_i32be(&t);
        rd_u8(&t);
        z->type_abbr[kind] = rd_u8(&t);
        if (i < h->time)
            z->kind[i] = kind;
        if (i < h->time)
            z->offset_s[i] = offset;
        else
            z->first_s = offset;
    }
    struct str chars = rd_bytes(r, h->chars);
    if (!r->bad)
        memcpy(z->chars, chars.p, chars.n);
    rd_bytes(r, h->leap * (size_t)12 + h->isstd + h->isutc);
    return !r->bad;
}

static bool tzif_parse(struct str bytes, struct zone *z)
{
    struct rd r = rd_of(bytes);
    struct tzif h;
    if (!tzif_header(&r, &h) || h.version < '2')
        return false;
    rd_bytes(&r, h.time * (size_t)5 + h.type * (size_t)6 + h.chars + h.leap * (size_t)8 + h.isstd + h.isutc);
    if (!tzif_header(&r, &h) || !tzif_body(&r, &h, z))
        return false;
    if (rd_u8(&r) != '\n')
        return false;
    ptrdiff_t end = str_find(str_make(r.p, r.n), STR("\n"), 0);
    if (end > 0)
        parse_rule(str_make(r.p, (size_t)end), &z->rule);
    return true;
}

/* -- finding --------------------------------------------------------------------------------------------------------------- */
static bool region_name_ok(struct str s)
{
    if (!s.n || s.n > NAME_MAX_ || s.p[0] == '/' || str_find(s, STR(".."), 0) >= 0 || str_starts(s, STR("posix")) ||
        str_starts(s, STR("right/")))
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= 'A' && s.p[i] <= 'Z') ||
              (s.p[i] >= '0' && s.p[i] <= '9') || strchr("_+-/", s.p[i])))
            return false;
    return true;
}

static bool load_region(struct str name, struct zone *z)
{
    char path[NAME_MAX_ + 32], *bytes;
    size_t n;
    if (!region_name_ok(name))
        return false;
    snprintf(path, sizeof path, "/usr/share/zoneinfo/%.*s", STR_ARG(name));
    if (os_read_file(path, FILE_LIMIT, &bytes, &n, NULL))
        return false;
    bool ok = tzif_parse(str_make(bytes, n), z);
    free(bytes);
    return ok;
}

static struct zone *cached(struct str name)
{
    for (struct zone *z = __atomic_load_n(&zones, __ATOMIC_ACQUIRE); z; z = z->next)
        if (str_eqz(name, z->name))
            return z;
    return NULL;
}

static enum err unknown(struct fault *f, struct str name)
{
    char z[NAME_MAX_ + 1];
    snprintf(z, sizeof z, "%.*s", (int)(name.n < NAME_MAX_ ? name.n : NAME_MAX_), name.p);
    return FAULT(f, ERR_INVALID_TIMEZONE, {"timeZone", z});
}

const struct zone *zone_find(struct str name, struct fault *f)
{
    struct zone *z = cached(name);
    if (z)
        return z;
    z = calloc(1, sizeof *z);
    if (!z)
        memory_out("a time zone");
    struct str real = name;
    for (size_t i = 0; i < sizeof SHORT_IDS / sizeof *SHORT_IDS; i++)
        if (str_eqz(name, SHORT_IDS[i][0]))
            real = str_of(SHORT_IDS[i][1]);
    bool ok = name.n && name.n <= NAME_MAX_ && (fixed_zone(real, &z->first_s) || load_region(real, z));
    if (!ok || __atomic_load_n(&zones_n, __ATOMIC_RELAXED) >= LIMIT_ZONES) {
        free(z->at_s);
        free(z->offset_s);
        free(z->kind);
        free(z->chars);
        free(z);
        (void)unknown(f, name);
        return NULL;
    }
    memcpy(z->name, name.p, name.n);
    /* Two threads may load the same zone at once: the second copy is merely found later. */
    z->next = __atomic_load_n(&zones, __ATOMIC_ACQUIRE);
    while (!__atomic_compare_exchange_n(&zones, &z->next, z, false, __ATOMIC_RELEASE, __ATOMIC_ACQUIRE))
        ;
    __atomic_add_fetch(&zones_n, 1, __ATOMIC_RELAXED);
    return z;
}

int32_t zone_offset_s(const struct zone *z, int64_t utc_us)
{
    if (!z->n && !z->rule.present)
        return z->first_s;
    int64_t s = floor_div(utc_us, US_PER_SECOND);
    if (!z->n || s < z->at_s[0])
        return z->n ? z->first_s : rule_offset(&z->rule, s);
    if (s >= z->at_s[z->n - 1])
        return z->rule.present ? rule_offset(&z->rule, s) : z->offset_s[z->n - 1];
    size_t lo = 0, hi = z->n - 1; /* at_s[lo] <= s < at_s[hi] */
    while (hi - lo > 1) {
        size_t mid = (lo + hi) / 2;
        if (z->at_s[mid] <= s)
            lo = mid;
        else
            hi = mid;
    }
    return z->offset_s[lo];
}

/* The newest transition that gave the zone the offset it has at `us` also gave it its name. */
const char *zone_abbreviation(const struct zone *z, int64_t us, bool full)
{
    if (!z->n && z->first_s == 0 && !z->rule.has_dst)
        return full ? "Coordinated Universal Time" : "UTC";
    if (!z->n || full)
        return z->name;
    int32_t offset = zone_offset_s(z, us);
    int64_t s = floor_div(us, US_PER_SECOND);
    uint8_t kind = z->first_kind;
    for (size_t i = 0; i < z->n; i++)
        if (z->offset_s[i] == offset && (z->at_s[i] <= s || kind == z->first_kind))
            kind = z->kind[i];
    size_t at = z->type_abbr[kind];
    return at < z->chars_n ? z->chars + at : z->name;
}

/* java.time.ZonedDateTime.ofLocal: in an overlap the earlier offset, in a gap forward by its length: both are "the offset before". */
int64_t zone_local_to_utc_us(const struct zone *z, int64_t local_us)
{
    if (!z->n && !z->rule.present)
        return local_us - z->first_s * US_PER_SECOND;
    int64_t before = zone_offset_s(z, local_us - US_PER_DAY) * US_PER_SECOND;
    int64_t after = zone_offset_s(z, local_us + US_PER_DAY) * US_PER_SECOND;
    if (before == after || zone_offset_s(z, local_us - before) * US_PER_SECOND == before)
        return local_us - before;
    if (zone_offset_s(z, local_us - after) * US_PER_SECOND == after)
        return local_us - after;
    return local_us - before;
}
