/*
 * Java's DateTimeFormatter patterns, compiled into a list of items. Which letters, widths and strictness: java.time's
 * DateTimeFormatterBuilder.appendPattern with a strict resolver and locale en_US, and Spark's DateTimeFormatterHelper on top
 * (fractions of variable length when parsing, week-based letters refused).
 */
#include "function/time_int.h"

#include <stdio.h>
#include <stdlib.h>

enum item_kind {
    ITEM_LITERAL,
    ITEM_NUMBER,   /* field, min..max digits, sign style */
    ITEM_FRACTION, /* min..max digits */
    ITEM_TEXT,     /* field by its English name, short or long */
    ITEM_OFFSET,   /* X, x, Z, O: width says the form */
    ITEM_ZONE,     /* VV, z */
    ITEM_OPTIONAL, /* items up to `end` may be missing when parsing */
    ITEM_END,
};
enum time_field {
    F_YEAR,
    F_YEAR_OF_ERA,
    F_QUARTER,
    F_MONTH,
    F_DAY,
    F_DAY_OF_YEAR,
    F_WEEKDAY,
    F_WEEK_OF_MONTH_DAY,
    F_AMPM,
    F_HOUR,
    F_HOUR12,
    F_HOUR11,
    F_HOUR24,
    F_MINUTE,
    F_SECOND,
    F_ERA,
    F_COUNT
};

struct item {
    enum item_kind kind;
    enum time_field field;
    char letter;
    int min, max; /* digits; TEXT: min 1 is the long form */
    bool exceeds, reduced, fixed;
    int end; /* OPTIONAL: index of its END */
    struct str text;
};
struct time_pattern {
    struct item *items;
    int n;
};

static const char *const MONTHS[] = {"January", "February", "March",     "April",   "May",      "June",
                                     "July",    "August",   "September", "October", "November", "December"};
static const char *const WEEKDAYS[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
static const char *const QUARTERS[] = {"1st quarter", "2nd quarter", "3rd quarter", "4th quarter"};
static const char *const SHORT_QUARTERS[] = {"Q1", "Q2", "Q3", "Q4"};
static const char *const AMPM[] = {"AM", "PM"};
static const char *const ERAS[] = {"Before Christ", "Anno Domini"};
static const char *const SHORT_ERAS[] = {"BC", "AD"};

/* A letter's number form: width 1 reads as many digits as there are, wider ones exactly that many (years: at least). */
struct letter {
    char c;
    enum time_field field;
    int text_from; /* from this count on it is text; 0: never */
    int most;      /* longest run of the letter */
};
static const struct letter LETTERS[] = {
    {'G', F_ERA, 1, 4},     {'y', F_YEAR, 0, 10},
    {'Q', F_QUARTER, 3, 4}, {'q', F_QUARTER, 3, 4},
    {'M', F_MONTH, 3, 4},   {'L', F_MONTH, 3, 4},
    {'d', F_DAY, 0, 2},     {'D', F_DAY_OF_YEAR, 0, 3},
    {'E', F_WEEKDAY, 1, 4}, {'F', F_WEEK_OF_MONTH_DAY, 0, 1},
    {'a', F_AMPM, 1, 1},    {'H', F_HOUR, 0, 2},
    {'h', F_HOUR12, 0, 2},  {'K', F_HOUR11, 0, 2},
    {'k', F_HOUR24, 0, 2},  {'m', F_MINUTE, 0, 2},
    {'s', F_SECOND, 0, 2},
};

static const struct letter *find_letter(char c)
{
    for (size_t i = 0; i < sizeof LETTERS / sizeof *LETTERS; i++)
        if (LETTERS[i].c == c)
            return &LETTERS[i];
    return NULL;
}

/* Would SimpleDateFormat take it? Then Spark says that its reading has changed rather than that it is wrong. */
static bool legacy_accepts(struct str p)
{
    bool quote = false;
    for (size_t i = 0; i < p.n; i++) {
        char c = p.p[i];
        if (c == '\'')
            quote = !quote;
        if (quote || !((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')))
            continue;
        if (!strchr("GyYMLwWDdFEuaHkKhmsSzZX", c))
            return false;
        if (c == 'X' && i + 3 < p.n && !memcmp(p.p + i, "XXXX", 4))
            return false;
    }
    return !quote;
}

/* What is wrong with a pattern: Spark names some of it itself (`own`), the rest is java.time's refusal. */
static enum err refuse(struct fault *f, enum err own, struct str pattern, char c)
{
    char z[256];
    snprintf(z, sizeof z, "'%.*s'", (int)(pattern.n < 200 ? pattern.n : 200), pattern.p);
    if (legacy_accepts(pattern))
        return FAULT(f, ERR_DATETIME_PATTERN_CHANGED, {"pattern", z},
                     {"config", "\"spark.sql.legacy.timeParserPolicy\""},
                     {"docroot", "https://spark.apache.org/docs/latest"});
    if (own == ERR_DATETIME_WEEK_PATTERN) {
        char letter[2] = {c, 0};
        return FAULT(f, own, {"c", letter});
    }
    if (own != ERR_OK) {
        char letter[2] = {c, 0};
        z[strlen(z) - 1] = 0; /* without the quotes here */
        return FAULT(f, own, {"pattern", z + 1}, {"c", letter});
    }
    char quoted[512];
    size_t n = 0;
    for (const char *q = z; *q && n < sizeof quoted - 3; q++) { /* the quotes inside are shown escaped */
        if (*q == '\'' && q != z && q[1])
            quoted[n++] = '\\';
        quoted[n++] = *q;
    }
    quoted[n] = 0;
    return FAULT(f, ERR_DATETIME_PATTERN_INVALID, {"pattern", quoted},
                 {"docroot", "https://spark.apache.org/docs/latest"});
}

/* DateTimeFormatterHelper.convertIncompatiblePattern: letters that Spark itself refuses, outside of quotes. */
static enum err check_letters(struct str p, bool parsing, struct fault *f)
{
    static const struct {
        const char *letters;
        bool parsing_only;
        enum err e;
    } checks[] = {{"YWwuec", false, ERR_DATETIME_WEEK_PATTERN},
                  {"ABnNp", false, ERR_DATETIME_PATTERN},
                  {"EFqQ", true, ERR_DATETIME_PATTERN}};
    for (size_t k = 0; k < sizeof checks / sizeof *checks; k++) {
        bool quote = false;
        for (size_t i = 0; i < p.n; i++) {
            quote ^= p.p[i] == '\'';
            if (!quote && p.p[i] && strchr(checks[k].letters, p.p[i]) && (parsing || !checks[k].parsing_only))
                return refuse(f, checks[k].e, p, p.p[i]);
        }
    }
    return ERR_OK;
}

/* One run of the same letter as an item. */
static enum err letter_item(struct item *it, char c, int count, bool parsing, struct str pattern, struct fault *f)
{
    *it = (struct item){.letter = c, .min = count, .max = count};
    if (c == 'S') {
        it->kind = ITEM_FRACTION;
        it->min = parsing ? 1 : count;
        return count <= 9 ? ERR_OK : refuse(f, ERR_OK, pattern, c);
    }
    if (strchr("XxZO", c)) {
        it->kind = ITEM_OFFSET;
        bool ok = c == 'O' ? count == 1 || count == 4 : count <= 5;
        return ok ? ERR_OK : refuse(f, ERR_OK, pattern, c);
    }
    if (c == 'V' || c == 'z' || c == 'v') {
        it->kind = ITEM_ZONE;
        bool ok = c == 'V' ? count == 2 : count <= 4;
        return ok ? ERR_OK : refuse(f, ERR_OK, pattern, c);
    }
    const struct letter *l = find_letter(c);
    if (!l || count > l->most)
        return refuse(f, l && count == 5 && strchr("GMLEQq", c) ? ERR_DATETIME_PATTERN_LENGTH : ERR_OK, pattern, c);
    it->field = l->field;
    if (l->text_from && count >= l->text_from) {
        it->kind = ITEM_TEXT;
        it->min = count >= 4; /* the long form */
        return ERR_OK;
    }
    it->kind = ITEM_NUMBER;
    bool year = l->field == F_YEAR || l->field == F_YEAR_OF_ERA;
    if (year && count == 2) {
        it->reduced = true;
    } else if (year) {
        it->max = 19;
        it->exceeds = count >= 4;
    } else if (count == 1) {
        it->max = 19;
    }
    it->fixed = it->min == it->max;
    return ERR_OK;
}

/* 'quoted' text; '' is a quote. Returns the index behind it, or -1. */
static ptrdiff_t quoted(struct str p, size_t i, struct arena *a, struct str *out)
{
    if (i + 1 < p.n && p.p[i + 1] == '\'') {
        *out = STR("'");
        return (ptrdiff_t)i + 2;
    }
    char *text = arena_alloc(a, p.n + 1);
    size_t n = 0;
    for (i++; i < p.n; i++) {
        if (p.p[i] != '\'') {
            text[n++] = p.p[i];
        } else if (i + 1 < p.n && p.p[i + 1] == '\'') {
            text[n++] = '\'';
            i++;
        } else {
            *out = str_make(text, n);
            return (ptrdiff_t)i + 1;
        }
    }
    return -1;
}

/* y is the proleptic year unless the pattern has an era too (Spark reads y as u). */
static void mark_era(struct time_pattern *t)
{
    bool era = false;
    for (int i = 0; i < t->n; i++)
        era |= t->items[i].letter == 'G';
    for (int i = 0; i < t->n; i++)
        if (era && t->items[i].letter == 'y')
            t->items[i].field = F_YEAR_OF_ERA;
}

enum err time_pattern_new(struct arena *a, struct str p, bool parsing, const struct time_pattern **out, struct fault *f)
{
    enum { NEST = 16 };
    struct time_pattern *t = ARENA_NEW(a, struct time_pattern);
    int open[NEST], depth = 0;
    enum err wrong = check_letters(p, parsing, f);
    if (wrong)
        return wrong;
    t->items = ARENA_ARRAY(a, p.n + 2 + NEST, struct item);
    for (size_t i = 0; i < p.n;) {
        char c = p.p[i];
        struct item *it = &t->items[t->n];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
            int count = 1;
            while (i + (size_t)count < p.n && p.p[i + (size_t)count] == c)
                count++;
            enum err e = letter_item(it, c, count, parsing, p, f);
            if (e)
                return e;
            i += (size_t)count;
        } else if (c == '\'') {
            ptrdiff_t next = quoted(p, i, a, &it->text);
            if (next < 0)
                return refuse(f, ERR_OK, p, c);
            it->kind = ITEM_LITERAL;
            i = (size_t)next;
        } else if (c == '[') {
            if (depth == NEST)
                return refuse(f, ERR_OK, p, c);
            open[depth++] = t->n;
            it->kind = ITEM_OPTIONAL;
            i++;
        } else if (c == ']') {
            if (!depth)
                return refuse(f, ERR_OK, p, c);
            t->items[open[--depth]].end = t->n;
            it->kind = ITEM_END;
            i++;
        } else if (c == '{' || c == '}' || c == '#') {
            return refuse(f, ERR_OK, p, c);
        } else {
            it->kind = ITEM_LITERAL;
            it->text = str_sub(p, i, 1);
            i++;
        }
        t->n++;
    }
    while (depth) { /* an unclosed section ends with the pattern */
        t->items[open[--depth]].end = t->n;
        t->items[t->n++] = (struct item){.kind = ITEM_END};
    }
    mark_era(t);
    *out = t;
    return ERR_OK;
}

/* -- formatting ------------------------------------------------------------------------------------------------------------ */
struct broken {
    int64_t v[F_COUNT];
    int64_t us; /* of the second */
    int32_t offset_s;
    const struct zone *zone;
};

static void break_down(int64_t us, const struct zone *z, struct broken *b)
{
    b->zone = z;
    b->offset_s = z ? zone_offset_s(z, us) : 0;
    int64_t local = us + b->offset_s * US_PER_SECOND, day = floor_div(local, US_PER_DAY);
    int64_t s = (local - day * US_PER_DAY) / US_PER_SECOND;
    struct civil c = civil_from_days(day);
    b->us = floor_mod(local, US_PER_SECOND);
    b->v[F_YEAR] = c.year;
    b->v[F_ERA] = c.year > 0;
    b->v[F_YEAR_OF_ERA] = c.year > 0 ? c.year : 1 - (int64_t)c.year;
    b->v[F_MONTH] = c.month;
    b->v[F_QUARTER] = (c.month - 1) / 3 + 1;
    b->v[F_DAY] = c.day;
    b->v[F_DAY_OF_YEAR] = day - days_from_civil(c.year, 1, 1) + 1;
    b->v[F_WEEKDAY] = floor_mod(day + 4, 7);
    b->v[F_WEEK_OF_MONTH_DAY] = (c.day - 1) % 7 + 1;
    b->v[F_HOUR] = s / 3600;
    b->v[F_HOUR11] = s / 3600 % 12;
    b->v[F_HOUR12] = s / 3600 % 12 ? s / 3600 % 12 : 12;
    b->v[F_HOUR24] = s / 3600 ? s / 3600 : 24;
    b->v[F_AMPM] = s / 3600 >= 12;
    b->v[F_MINUTE] = s / 60 % 60;
    b->v[F_SECOND] = s % 60;
}

static void put_number(struct buf *out, const struct item *it, int64_t v)
{
    if (it->reduced)
        v = floor_mod(v, 100);
    if (v < 0)
        buf_u8(out, '-');
    size_t at = out->n;
    buf_fmt(out, "%0*lld", it->min, llabs(v));
    if (it->exceeds && v >= 0 && out->n - at > (size_t)it->min && !out->bad) {
        buf_u8(out, 0);
        memmove(out->p + at + 1, out->p + at, out->n - at - 1);
        out->p[at] = '+';
    }
}

/* The name of value v of a text field. */
static struct str text_of(enum time_field field, int64_t v, bool full)
{
    switch (field) {
    case F_MONTH:
        return str_sub(str_of(MONTHS[v - 1]), 0, full ? 16 : 3);
    case F_WEEKDAY:
        return str_sub(str_of(WEEKDAYS[v]), 0, full ? 16 : 3);
    case F_QUARTER:
        return str_of(full ? QUARTERS[v - 1] : SHORT_QUARTERS[v - 1]);
    case F_AMPM:
        return str_of(AMPM[v]);
    default:
        return str_of(full ? ERAS[v] : SHORT_ERAS[v]);
    }
}

/* X, x, Z, O with their widths. */
static void put_offset(struct buf *out, const struct item *it, int32_t offset_s)
{
    int h = abs(offset_s) / 3600, m = abs(offset_s) / 60 % 60, s = abs(offset_s) % 60, w = it->max;
    char sign = offset_s < 0 ? '-' : '+';
    if (it->letter == 'O' || (it->letter == 'Z' && w == 4)) {
        bool full = it->letter == 'Z' || w == 4;
        buf_z(out, "GMT");
        if (offset_s)
            buf_fmt(out, full ? "%c%02d" : "%c%d", sign, h);
        if (offset_s && (m || s || full))
            buf_fmt(out, ":%02d", m);
        if (s)
            buf_fmt(out, ":%02d", s);
        return;
    }
    if (!offset_s && (it->letter == 'X' || (it->letter == 'Z' && w == 5))) {
        buf_u8(out, 'Z');
        return;
    }
    bool colon = it->letter == 'Z' ? w == 5 : w == 3 || w == 5, second = it->letter == 'Z' ? w == 5 : w >= 4;
    buf_fmt(out, "%c%02d", sign, h);
    if (w > 1 || it->letter == 'Z' || m)
        buf_fmt(out, colon ? ":%02d" : "%02d", m);
    if (second && s)
        buf_fmt(out, colon ? ":%02d" : "%02d", s);
}

void time_pattern_format(const struct time_pattern *p, int64_t us, const struct zone *z, struct buf *out)
{
    struct broken b;
    break_down(us, z, &b);
    for (int i = 0; i < p->n; i++) {
        const struct item *it = &p->items[i];
        switch (it->kind) {
        case ITEM_LITERAL:
            buf_str(out, it->text);
            break;
        case ITEM_NUMBER:
            put_number(out, it, b.v[it->field]);
            break;
        case ITEM_FRACTION: {
            char nine[16];
            snprintf(nine, sizeof nine, "%06d000", (int)b.us);
            buf_put(out, nine, (size_t)it->max);
            break;
        }
        case ITEM_TEXT:
            buf_str(out, text_of(it->field, b.v[it->field], it->min));
            break;
        case ITEM_OFFSET:
            put_offset(out, it, b.offset_s);
            break;
        case ITEM_ZONE:
            buf_z(out, !z ? "" : it->letter == 'V' ? zone_name(z) : zone_abbreviation(z, us, it->max == 4));
            break;
        case ITEM_OPTIONAL:
        case ITEM_END:
            break;
        }
    }
}

/* -- parsing ---------------------------------------------------------------------------------------------------------------- */
struct parsed {
    int64_t v[F_COUNT];
    bool has[F_COUNT], has_offset;
    int64_t us;
    int32_t offset_s;
    const struct zone *zone;
    const char *failed_at; /* where the item began that did not match */
};

static int digit_run(struct str s)
{
    int n = 0;
    while ((size_t)n < s.n && s.p[n] >= '0' && s.p[n] <= '9')
        n++;
    return n;
}

/* Adjacent value parsing: fixed-width numbers right behind a variable one keep their digits. */
static int reserved(const struct time_pattern *p, int i)
{
    int n = 0;
    for (i++; i < p->n && p->items[i].kind == ITEM_NUMBER && p->items[i].fixed; i++)
        n += p->items[i].min;
    return n;
}

static bool parse_number(const struct time_pattern *p, int i, struct str *s, struct parsed *out)
{
    const struct item *it = &p->items[i];
    bool sign = s->n && (s->p[0] == '+' || s->p[0] == '-'), negative = sign && s->p[0] == '-';
    if (sign && it->fixed)
        return false;
    if (sign && s->p[0] == '+' && !it->exceeds)
        return false;
    if (sign)
        *s = str_sub(*s, 1, s->n);
    int run = digit_run(*s), width = run;
    if (!it->fixed)
        width -= reserved(p, i);
    width = width > it->max ? it->max : width;
    if (width < it->min || width < 1 || width > 18)
        return false;
    if (it->exceeds && !negative && (sign ? width <= it->min : width > it->min))
        return false;
    int64_t v = 0;
    for (int k = 0; k < width; k++)
        v = v * 10 + s->p[k] - '0';
    *s = str_sub(*s, (size_t)width, s->n);
    v = it->reduced ? v + 2000 : negative ? -v : v;
    if (out->has[it->field] && out->v[it->field] != v)
        return false;
    out->v[it->field] = v;
    out->has[it->field] = true;
    return true;
}

static bool parse_text(const struct item *it, struct str *s, struct parsed *out)
{
    static const struct {
        enum time_field field;
        int from, to;
    } ranges[] = {{F_MONTH, 1, 12}, {F_WEEKDAY, 0, 6}, {F_QUARTER, 1, 4}, {F_AMPM, 0, 1}, {F_ERA, 0, 1}};
    for (size_t r = 0; r < sizeof ranges / sizeof *ranges; r++) {
        for (int v = ranges[r].from; ranges[r].field == it->field && v <= ranges[r].to; v++) {
            struct str name = text_of(it->field, v, it->min);
            if (s->n >= name.n && str_eq_nocase(str_sub(*s, 0, name.n), name)) {
                out->v[it->field] = v;
                out->has[it->field] = true;
                *s = str_sub(*s, name.n, s->n);
                return true;
            }
        }
    }
    return false;
}

static bool parse_fraction(const struct item *it, struct str *s, struct parsed *out)
{
    int n = digit_run(*s);
    n = n > it->max ? it->max : n;
    if (n < it->min)
        return false;
    out->us = 0;
    for (int k = 0; k < 6; k++)
        out->us = out->us * 10 + (k < n ? s->p[k] - '0' : 0);
    *s = str_sub(*s, (size_t)n, s->n);
    return true;
}

static bool parse_offset(const struct item *it, struct str *s, struct parsed *out)
{
    bool gmt = it->letter == 'O' || (it->letter == 'Z' && it->max == 4);
    if (gmt) {
        if (s->n < 3 || !str_eq_nocase(str_sub(*s, 0, 3), STR("GMT")))
            return false;
        *s = str_sub(*s, 3, s->n);
    }
    out->has_offset = true;
    out->offset_s = 0;
    if (!gmt && s->n && (s->p[0] == 'Z' || s->p[0] == 'z') &&
        (it->letter == 'X' || (it->letter == 'Z' && it->max == 5))) {
        *s = str_sub(*s, 1, s->n);
        return true;
    }
    size_t n = 0;
    while (n < s->n && n < 9 && ((s->p[n] >= '0' && s->p[n] <= '9') || s->p[n] == ':' || (!n && strchr("+-", s->p[n]))))
        n++;
    if (gmt && !n)
        return true;
    bool colon = it->letter == 'Z' ? it->max == 5 : it->max == 3 || it->max == 5;
    size_t least = gmt ? 2 : it->letter == 'Z' ? (colon ? 6 : 5) : it->max == 1 ? 3 : colon ? 6 : 5;
    const struct zone *z = n >= least ? zone_find(str_sub(*s, 0, n), NULL) : NULL;
    if (!z || (s->p[0] != '+' && s->p[0] != '-') || (!gmt && n > 3 && (s->p[3] == ':') != colon))
        return false;
    out->offset_s = zone_offset_s(z, 0);
    *s = str_sub(*s, n, s->n);
    return true;
}

static bool parse_zone(struct str *s, struct parsed *out)
{
    size_t n = 0;
    while (n < s->n && n < 64 &&
           ((s->p[n] >= 'a' && s->p[n] <= 'z') || (s->p[n] >= 'A' && s->p[n] <= 'Z') ||
            (s->p[n] >= '0' && s->p[n] <= '9') || strchr("/_+-:", s->p[n])))
        n++;
    for (; n; n--) { /* the longest prefix that names a zone */
        if ((out->zone = zone_find(str_sub(*s, 0, n), NULL))) {
            *s = str_sub(*s, n, s->n);
            return true;
        }
    }
    return false;
}

static bool parse_literal(struct str text, struct str *s)
{
    if (s->n < text.n || !str_eq_nocase(str_sub(*s, 0, text.n), text))
        return false;
    *s = str_sub(*s, text.n, s->n);
    return true;
}

/* Items from..to; an optional section that does not match is passed over. Nesting is bounded by the compiler of patterns. */
static bool parse_items(const struct time_pattern *p, int from, int to, struct str *s, struct parsed *out)
{
    for (int i = from; i < to; i++) {
        const struct item *it = &p->items[i];
        const char *began = s->p;
        bool ok = true;
        if (it->kind == ITEM_OPTIONAL) {
            struct str saved = *s;
            struct parsed before = *out;
            if (!parse_items(p, i + 1, it->end, s, out)) {
                *s = saved;
                *out = before;
            }
            i = it->end;
            continue;
        }
        switch (it->kind) {
        case ITEM_LITERAL:
            ok = parse_literal(it->text, s);
            break;
        case ITEM_NUMBER:
            ok = parse_number(p, i, s, out);
            break;
        case ITEM_FRACTION:
            ok = parse_fraction(it, s, out);
            break;
        case ITEM_TEXT:
            ok = parse_text(it, s, out);
            break;
        case ITEM_OFFSET:
            ok = parse_offset(it, s, out);
            break;
        case ITEM_ZONE:
            ok = parse_zone(s, out);
            break;
        default:
            break;
        }
        if (!ok) {
            out->failed_at = began;
            return false;
        }
    }
    return true;
}

/* Fields in the order java.time checks them, by its names. */
static const struct {
    enum time_field field;
    const char *name;
    int64_t lo, hi;
} RANGES[] = {
    {F_YEAR, "Year", -999999999, 999999999}, {F_YEAR_OF_ERA, "YearOfEra", 1, 999999999},
    {F_MONTH, "MonthOfYear", 1, 12},         {F_DAY, "DayOfMonth", 1, 31},
    {F_DAY_OF_YEAR, "DayOfYear", 1, 366},    {F_HOUR, "HourOfDay", 0, 23},
    {F_HOUR24, "ClockHourOfDay", 1, 24},     {F_HOUR12, "ClockHourOfAmPm", 1, 12},
    {F_HOUR11, "HourOfAmPm", 0, 11},         {F_MINUTE, "MinuteOfHour", 0, 59},
    {F_SECOND, "SecondOfMinute", 0, 59},
};

static bool check_ranges(const struct parsed *r, struct str text, struct buf *why)
{
    for (size_t i = 0; i < sizeof RANGES / sizeof *RANGES; i++) {
        int64_t v = r->v[RANGES[i].field];
        if (!r->has[RANGES[i].field] || (v >= RANGES[i].lo && v <= RANGES[i].hi))
            continue;
        if (why)
            buf_fmt(why, "Text '%.*s' could not be parsed: Invalid value for %s (valid values %lld - %lld): %lld",
                    STR_ARG(text), RANGES[i].name, (long long)RANGES[i].lo, (long long)RANGES[i].hi, (long long)v);
        return false;
    }
    return true;
}

/* The hour of the day from H, k, h+a or K+a; fields are in range. */
static int64_t resolve_hour(const struct parsed *r)
{
    if (r->has[F_HOUR])
        return r->v[F_HOUR];
    if (r->has[F_HOUR24])
        return r->v[F_HOUR24] % 24;
    int64_t half = r->has[F_AMPM] ? r->v[F_AMPM] * 12 : 0;
    return half + (r->has[F_HOUR12] ? r->v[F_HOUR12] % 12 : r->has[F_HOUR11] ? r->v[F_HOUR11] : 0);
}

/* "Invalid date 'February 29' as '2021' is not a leap year" / "Invalid date 'FEBRUARY 30'" (java.time.LocalDate). */
void invalid_date_text(struct buf *out, int64_t year, int month, int day)
{
    if (month == 2 && day == 29) {
        buf_fmt(out, "Invalid date 'February 29' as '%lld' is not a leap year", (long long)year);
        return;
    }
    buf_z(out, "Invalid date '");
    for (const char *p = MONTHS[month - 1]; *p; p++)
        buf_u8(out, (uint8_t)(*p >= 'a' ? *p - 32 : *p));
    buf_fmt(out, " %d'", day);
}

static bool resolve_day(const struct parsed *r, struct str text, int64_t *days, struct buf *why)
{
    bool has_year = r->has[F_YEAR] || r->has[F_YEAR_OF_ERA];
    int64_t year = r->has[F_YEAR] ? r->v[F_YEAR] : 1970;
    if (r->has[F_YEAR_OF_ERA])
        year = r->has[F_ERA] && !r->v[F_ERA] ? 1 - r->v[F_YEAR_OF_ERA] : r->v[F_YEAR_OF_ERA];
    int month = r->has[F_MONTH] ? (int)r->v[F_MONTH] : 1, day = r->has[F_DAY] ? (int)r->v[F_DAY] : 1;
    if (day > days_in_month(year, month)) {
        if (why && has_year) /* java.time resolved it; without a year Spark does, and says only what is wrong */
            buf_fmt(why, "Text '%.*s' could not be parsed: ", STR_ARG(text));
        if (why)
            invalid_date_text(why, year, month, day);
        return false;
    }
    *days = days_from_civil(year, month, day);
    if (r->has[F_DAY_OF_YEAR] && !r->has[F_MONTH]) {
        *days = days_from_civil(year, 1, 1) + r->v[F_DAY_OF_YEAR] - 1;
        if (r->v[F_DAY_OF_YEAR] == 366 && !is_leap(year)) {
            if (why)
                buf_fmt(why,
                        "Text '%.*s' could not be parsed: Invalid date 'DayOfYear 366' as '%lld' is not a leap year",
                        STR_ARG(text), (long long)year);
            return false;
        }
    }
    return true;
}

bool time_pattern_parse(const struct time_pattern *p, struct str text, const struct zone *z, int64_t *us,
                        struct buf *why)
{
    struct parsed r = {0};
    struct str rest = text;
    int64_t days, local;
    if (!parse_items(p, 0, p->n, &rest, &r)) {
        if (why)
            buf_fmt(why, "Text '%.*s' could not be parsed at index %td", STR_ARG(text), r.failed_at - text.p);
        return false;
    }
    if (rest.n) {
        if (why)
            buf_fmt(why, "Text '%.*s' could not be parsed, unparsed text found at index %td", STR_ARG(text),
                    rest.p - text.p);
        return false;
    }
    if (!check_ranges(&r, text, why) || !resolve_day(&r, text, &days, why))
        return false;
    int64_t s =
        (resolve_hour(&r) * 60 + (r.has[F_MINUTE] ? r.v[F_MINUTE] : 0)) * 60 + (r.has[F_SECOND] ? r.v[F_SECOND] : 0);
    if (__builtin_mul_overflow(days, US_PER_DAY, &local) ||
        __builtin_add_overflow(local, s * US_PER_SECOND + r.us, &local)) {
        if (why)
            buf_z(why, "long overflow");
        return false;
    }
    if (r.has_offset)
        *us = z ? local - r.offset_s * US_PER_SECOND : local;
    else
        *us = z ? zone_local_to_utc_us(r.zone ? r.zone : z, local) : local;
    return true;
}
