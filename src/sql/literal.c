/* Literals: numbers with their suffixes, strings, X'…', DATE '…' and TIMESTAMP '…', intervals. */
#include "sql_int.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

static struct node *literal_of(struct parser *p, const struct type *t, size_t width)
{
    struct node *e = node_new(p->a, NODE_LITERAL, 0);
    e->type = e->literal.type = t;
    e->literal.n = 1;
    e->literal.data.any = arena_alloc(p->a, width);
    return e;
}

/* -- numbers ------------------------------------------------------------------------------------------------------- */
static struct node *literal_integer(struct parser *p, enum type_id id, int64_t v)
{
    static const size_t WIDTH[] = {[TYPE_BYTE] = 1, [TYPE_SHORT] = 2, [TYPE_INT] = 4, [TYPE_LONG] = 8};
    struct node *e = literal_of(p, type_simple(id), WIDTH[id]);
    if (id == TYPE_BYTE)
        e->literal.data.i8[0] = (int8_t)v;
    else if (id == TYPE_SHORT)
        e->literal.data.i16[0] = (int16_t)v;
    else if (id == TYPE_INT)
        e->literal.data.i32[0] = (int32_t)v;
    else
        e->literal.data.i64[0] = v;
    return e;
}

static void *out_of_range(struct parser *p, int first, const char *text, const char *min, const char *max,
                          const char *type)
{
    return PARSE_FAULT(p, first, ERR_INVALID_NUMERIC_LITERAL_RANGE, {"rawStrippedQualifier", text}, {"minValue", min},
                       {"maxValue", max}, {"typeName", type});
}

/* Digits, point and exponent → unscaled value and scale as java.math.BigDecimal has them; a negative scale is spread out. */
static bool decimal_digits(const char *text, __int128 *unscaled, int *precision, int *scale)
{
    __int128 v = 0;
    int digits = 0, point = 0;
    bool fraction = false, negative = *text == '-';
    const char *s = text + negative;
    for (; *s && (*s | 0x20) != 'e'; s++) {
        if (*s == '.') {
            fraction = true;
            continue;
        }
        point += fraction;
        if (v || *s != '0')
            digits++;
        if (digits > 38)
            return false;
        v = v * 10 + (*s - '0');
    }
    long exponent = *s ? strtol(s + 1, NULL, 10) : 0;
    if (exponent > 1000 || exponent < -1000)
        return false;
    int at = point - (int)exponent;
    for (; at < 0; at++) {
        v *= 10;
        digits += v != 0;
        if (digits > 38)
            return false;
    }
    if (at > 38)
        return false;
    *unscaled = negative ? -v : v;
    *scale = at;
    *precision = digits > at ? digits : at;
    if (*precision == 0)
        *precision = 1;
    return true;
}

static struct node *literal_decimal(struct parser *p, const char *text, int first)
{
    __int128 v;
    int precision, scale;
    if (!decimal_digits(text, &v, &precision, &scale))
        return PARSE_FAULT(p, first, ERR_DECIMAL_PRECISION_EXCEEDS, {"precision", "39"}, {"maxPrecision", "38"});
    struct node *e = literal_of(p, type_decimal(p->a, precision, scale), sizeof v);
    e->literal.data.i128[0] = v;
    return e;
}

static struct node *literal_floating(struct parser *p, const char *text, bool single, int first)
{
    double v = strtod(text, NULL);
    if (single ? (float)v - (float)v != 0 : v - v != 0)
        return out_of_range(p, first, text, single ? "-3.4028234663852886E+38" : "-1.7976931348623157E+308",
                            single ? "3.4028234663852886E+38" : "1.7976931348623157E+308", single ? "float" : "double");
    struct node *e = literal_of(p, type_simple(single ? TYPE_FLOAT : TYPE_DOUBLE), sizeof(double));
    if (single)
        e->literal.data.f32[0] = strtof(text, NULL);
    else
        e->literal.data.f64[0] = v;
    return e;
}

static struct node *literal_whole(struct parser *p, const char *text, char suffix, int first)
{
    static const struct {
        char suffix;
        enum type_id id;
        int64_t min, max;
        const char *low, *high, *name;
    } KINDS[] = {{'Y', TYPE_BYTE, INT8_MIN, INT8_MAX, "-128", "127", "tinyint"},
                 {'S', TYPE_SHORT, INT16_MIN, INT16_MAX, "-32768", "32767", "smallint"},
                 {'L', TYPE_LONG, INT64_MIN, INT64_MAX, "-9223372036854775808", "9223372036854775807", "bigint"}};
    int64_t v;
    bool fits = str_to_i64(str_of(text), &v);
    for (size_t i = 0; suffix && i < sizeof KINDS / sizeof *KINDS; i++)
        if (KINDS[i].suffix == suffix)
            return fits && v >= KINDS[i].min && v <= KINDS[i].max
                       ? literal_integer(p, KINDS[i].id, v)
                       : out_of_range(p, first, text, KINDS[i].low, KINDS[i].high, KINDS[i].name);
    if (!fits)
        return literal_decimal(p, text, first);
    return literal_integer(p, v >= INT32_MIN && v <= INT32_MAX ? TYPE_INT : TYPE_LONG, v);
}

struct node *literal_number(struct parser *p, bool negative, int first)
{
    const struct token *t = peek(p, 0);
    char text[512];
    p->at++;
    if (t->value.n > sizeof text - 2)
        return PARSE_FAULT(p, first, ERR_DECIMAL_PRECISION_EXCEEDS, {"precision", "39"}, {"maxPrecision", "38"});
    snprintf(text, sizeof text, "%s%.*s", negative ? "-" : "", STR_ARG(t->value));
    struct node *e;
    if (t->suffix[0] == 'F' || t->suffix[0] == 'D')
        e = literal_floating(p, text, t->suffix[0] == 'F', first);
    else if (t->suffix[0] == 'B' || (!t->suffix[0] && t->number == NUMBER_DECIMAL))
        e = literal_decimal(p, text, first);
    else if (t->number == NUMBER_EXPONENT)
        e = literal_floating(p, text, false, first);
    else
        e = literal_whole(p, text, t->suffix[0], first);
    return finish(p, e, first);
}

/* -- strings, typed strings ---------------------------------------------------------------------------------------- */
/* Adjacent literals are one string. */
struct node *literal_string(struct parser *p)
{
    int first = p->at;
    struct str s = peek(p, 0)->value;
    p->at++;
    if (peek(p, 0)->kind == TOKEN_STRING) {
        struct buf b = {.limit = LIMIT_SQL_BYTES};
        buf_str(&b, s);
        for (; peek(p, 0)->kind == TOKEN_STRING; p->at++)
            buf_str(&b, peek(p, 0)->value);
        s = arena_str(p->a, buf_view(&b));
        buf_free(&b);
    }
    return finish(p, node_literal_str(p->a, s), first);
}

static void *bad_typed(struct parser *p, int first, const char *type, struct str value)
{
    char text[256];
    snprintf(text, sizeof text, "'%.*s'", (int)(value.n < 240 ? value.n : 240), value.p);
    return PARSE_FAULT(p, first, ERR_INVALID_TYPED_LITERAL, {"valueType", type}, {"value", text});
}

static struct node *literal_hex(struct parser *p, int first)
{
    struct str s = peek(p, 0)->value;
    p->at++;
    char *out = arena_alloc(p->a, s.n / 2 + 1);
    size_t n = 0;
    int high = 0;
    bool half = s.n % 2; /* X'1' is X'01' */
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i], low = c | 0x20;
        int d = c >= '0' && c <= '9' ? c - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
        if (d < 0)
            return bad_typed(p, first, "\"X\"", s);
        if (half)
            out[n++] = (char)(high << 4 | d);
        high = d;
        half = !half;
    }
    struct node *e = literal_of(p, type_simple(TYPE_BINARY), sizeof(struct str));
    e->literal.data.str[0] = str_make(out, n);
    return finish(p, e, first);
}

/* DATE '…': needs the session's zone, so plan/ turns the cast into a value. */
static struct node *literal_by_cast(struct parser *p, enum type_id id, int first)
{
    struct node *e = node_new(p->a, NODE_CAST, 1);
    e->args[0] = finish(p, node_literal_str(p->a, peek(p, 0)->value), p->at);
    e->type = type_simple(id);
    e->typed_literal = true;
    p->at++;
    return finish(p, e, first);
}

/* -- intervals ----------------------------------------------------------------------------------------------------- */
enum {
    UNIT_YEAR,
    UNIT_MONTH,
    UNIT_WEEK,
    UNIT_DAY,
    UNIT_HOUR,
    UNIT_MINUTE,
    UNIT_SECOND,
    UNIT_MILLI,
    UNIT_MICRO,
    UNIT_NONE
};
static const struct {
    const char *one, *many;
    int64_t scale; /* months, or microseconds */
    int field;     /* of the interval type */
} UNITS[] = {
    [UNIT_YEAR] = {"year", "years", 12, 0},
    [UNIT_MONTH] = {"month", "months", 1, 1},
    [UNIT_WEEK] = {"week", "weeks", 7 * 86400000000LL, 0},
    [UNIT_DAY] = {"day", "days", 86400000000LL, 0},
    [UNIT_HOUR] = {"hour", "hours", 3600000000LL, 1},
    [UNIT_MINUTE] = {"minute", "minutes", 60000000LL, 2},
    [UNIT_SECOND] = {"second", "seconds", 1000000LL, 3},
    [UNIT_MILLI] = {"millisecond", "milliseconds", 1000, 3},
    [UNIT_MICRO] = {"microsecond", "microseconds", 1, 3},
};

static int unit_of(struct str word)
{
    for (int i = 0; i < UNIT_NONE; i++)
        if (str_eq_nocase(word, str_of(UNITS[i].one)) || str_eq_nocase(word, str_of(UNITS[i].many)))
            return i;
    return UNIT_NONE;
}

static int unit_at(const struct parser *p, int ahead)
{
    const struct token *t = peek(p, ahead);
    return t->kind == TOKEN_WORD ? unit_of(t->text) : UNIT_NONE;
}

/* What has been read of an interval so far. */
struct interval_sum {
    int64_t months, micros;
    int low, high; /* fields named */
    bool year_month, day_time;
};

/* value × unit added to the sum; a fraction is for seconds only (IntervalUtils.stringToInterval). */
static bool add_unit(struct interval_sum *sum, struct str value, int unit)
{
    value = str_trim(value);
    bool negative = value.n && value.p[0] == '-';
    if (value.n && (value.p[0] == '-' || value.p[0] == '+'))
        value = str_sub(value, 1, value.n);
    ptrdiff_t dot = str_find(value, STR("."), 0);
    struct str whole = dot < 0 ? value : str_sub(value, 0, (size_t)dot);
    struct str fraction = dot < 0 ? STR("") : str_sub(value, (size_t)dot + 1, value.n);
    int64_t v = 0, part = 0, total;
    if ((whole.n && (!isdigit((unsigned char)whole.p[0]) || !str_to_i64(whole, &v))) || (!whole.n && !fraction.n))
        return false;
    if (dot >= 0 && (unit != UNIT_SECOND || fraction.n > 9))
        return false;
    for (size_t i = 0; i < 6; i++) {
        char c = i < fraction.n ? fraction.p[i] : '0';
        if (!isdigit((unsigned char)c))
            return false;
        part = part * 10 + (c - '0');
    }
    bool months = unit <= UNIT_MONTH;
    if (__builtin_mul_overflow(v, UNITS[unit].scale, &total) || __builtin_add_overflow(total, part, &total))
        return false;
    int64_t *into = months ? &sum->months : &sum->micros;
    if (__builtin_add_overflow(*into, negative ? -total : total, into))
        return false;
    bool first = months ? !sum->year_month : !sum->day_time;
    int field = UNITS[unit].field;
    *(months ? &sum->year_month : &sum->day_time) = true;
    sum->low = first || field < sum->low ? field : sum->low;
    sum->high = first || field > sum->high ? field : sum->high;
    return true;
}

static struct node *interval_node(struct parser *p, const struct interval_sum *sum, int first)
{
    struct type *t = ARENA_NEW(p->a, struct type);
    if (sum->year_month && sum->day_time) {
        struct origin o = origin_from(p, first);
        size_t from = (size_t)(p->tokens[first].text.p - p->text.p);
        const struct token *last = &p->tokens[p->at - 1];
        size_t n = (size_t)(last->text.p - p->text.p) + last->text.n - from;
        char text[256];
        snprintf(text, sizeof text, "%.*s", (int)(n < 250 ? n : 250), o.sql.p + from);
        return PARSE_FAULT(p, first, ERR_MIXED_INTERVAL, {"literal", text});
    }
    *t = *type_simple(sum->year_month ? TYPE_YEAR_MONTH : TYPE_DAY_TIME);
    t->first = (uint8_t)sum->low;
    t->last = (uint8_t)sum->high;
    struct node *e = literal_of(p, t, sizeof(int64_t));
    if (sum->year_month && (sum->months > INT32_MAX || sum->months < INT32_MIN))
        return bad_typed(p, first, "\"INTERVAL\"", p->tokens[first + 1].value);
    if (sum->year_month)
        e->literal.data.i32[0] = (int32_t)sum->months;
    else
        e->literal.data.i64[0] = sum->micros;
    return finish(p, e, first);
}

/* INTERVAL '1 day -2 hours': a value and a unit, again and again. */
static struct node *interval_text(struct parser *p, int first)
{
    struct interval_sum sum = {0};
    struct str all = p->tokens[p->at].value, s = str_trim(all);
    p->at++;
    if (s.n > 9 && str_eq_nocase(str_sub(s, 0, 8), STR("interval")) && s.p[8] == ' ')
        s = str_trim(str_sub(s, 8, s.n));
    bool ok = s.n > 0;
    while (ok && s.n) {
        size_t i = 0, j;
        if (s.p[0] == '-' || s.p[0] == '+')
            i++;
        while (i < s.n && s.p[i] == ' ')
            i++;
        while (i < s.n && (isdigit((unsigned char)s.p[i]) || s.p[i] == '.'))
            i++;
        for (j = i; j < s.n && s.p[j] == ' ';)
            j++;
        size_t word = j;
        while (j < s.n && isalpha((unsigned char)s.p[j]))
            j++;
        int unit = unit_of(str_sub(s, word, j - word));
        char value[64];
        size_t n = 0;
        for (size_t k = 0; k < i && n < sizeof value; k++)
            if (s.p[k] != ' ')
                value[n++] = s.p[k];
        ok = i > 0 && unit != UNIT_NONE && n < sizeof value && add_unit(&sum, str_make(value, n), unit);
        s = str_trim(str_sub(s, j, s.n));
    }
    return ok ? interval_node(p, &sum, first) : bad_typed(p, first, "\"INTERVAL\"", all);
}

/* '1 02:03' DAY TO MINUTE: the fields from..to in order; all but the first have their natural range. */
static bool split_fields(struct str s, int from, int to, struct interval_sum *sum, int *out_of_range_unit,
                         int64_t *value_there)
{
    static const int LIMIT[] = {[UNIT_MONTH] = 11, [UNIT_HOUR] = 23, [UNIT_MINUTE] = 59, [UNIT_SECOND] = 59};
    bool negative = s.n && s.p[0] == '-';
    if (s.n && (s.p[0] == '-' || s.p[0] == '+'))
        s = str_sub(s, 1, s.n);
    struct interval_sum positive = {0};
    for (int unit = from; unit <= to; unit++) {
        if (unit == UNIT_WEEK)
            continue;
        char separator = unit == UNIT_YEAR ? '-' : unit == UNIT_DAY ? ' ' : ':';
        size_t n = 0;
        while (n < s.n && (isdigit((unsigned char)s.p[n]) || (unit == UNIT_SECOND && s.p[n] == '.')))
            n++;
        struct str value = str_sub(s, 0, n);
        int64_t whole = 0;
        for (size_t i = 0; i < n && value.p[i] != '.'; i++)
            whole = whole < 1000000 ? whole * 10 + (value.p[i] - '0') : whole;
        if (!n || !isdigit((unsigned char)value.p[0]))
            return false;
        if (unit != from && whole > LIMIT[unit]) {
            *out_of_range_unit = unit;
            *value_there = whole;
            return false;
        }
        if (!add_unit(&positive, value, unit))
            return false;
        s = str_sub(s, n, s.n);
        if (unit == to)
            break;
        if (!s.n || s.p[0] != separator)
            return false;
        s = str_sub(s, 1, s.n);
    }
    *sum = positive;
    sum->months = negative ? -sum->months : sum->months;
    sum->micros = negative ? -sum->micros : sum->micros;
    return s.n == 0;
}

/* "`[+|-]d h:m`, `INTERVAL [+|-]'[+|-]d h:m' DAY TO MINUTE`" */
static void interval_format(char *out, size_t n, int from, int to)
{
    static const char *const SHAPES[] = {[UNIT_YEAR] = "y-", [UNIT_MONTH] = "m",   [UNIT_DAY] = "d ",
                                         [UNIT_HOUR] = "h:", [UNIT_MINUTE] = "m:", [UNIT_SECOND] = "s.n"};
    char shape[16] = "", upper[32];
    for (int unit = from; unit <= to; unit++)
        if (unit != UNIT_WEEK)
            strcat(shape, SHAPES[unit]);
    if (to != UNIT_SECOND && to != UNIT_MONTH)
        shape[strlen(shape) - 1] = 0;
    snprintf(upper, sizeof upper, "%s TO %s", UNITS[from].one, UNITS[to].one);
    for (char *c = upper; *c; c++)
        *c = (char)toupper((unsigned char)*c);
    snprintf(out, n, "`[+|-]%s`, `INTERVAL [+|-]'[+|-]%s' %s`", shape, shape, upper);
}

static void *field_out_of_range(struct parser *p, int at, const char *input, int unit, int64_t value)
{
    char msg[96];
    if (unit == UNIT_MONTH)
        return PARSE_FAULT(p, at, ERR_INTERVAL_PARSING, {"input", input}, {"interval", "year-month"});
    snprintf(msg, sizeof msg, "requirement failed: %s %lld outside range [0, %d]", UNITS[unit].one, (long long)value,
             unit == UNIT_HOUR ? 23 : 59);
    return PARSE_FAULT(p, at, ERR_INTERVAL_FIELD_RANGE, {"msg", msg});
}

static struct node *interval_range(struct parser *p, int first, struct str text, bool negative)
{
    struct interval_sum sum = {0};
    int from = unit_at(p, 0), to = unit_at(p, 2), at = p->at - 1;
    p->at += 3;
    bool year_month = from == UNIT_YEAR && to == UNIT_MONTH;
    bool day_time = from >= UNIT_DAY && to <= UNIT_SECOND && from < to;
    char name[48], format[128], input[128];
    const char *a = from < UNIT_NONE ? UNITS[from].one : "?", *b = to < UNIT_NONE ? UNITS[to].one : "?";
    snprintf(name, sizeof name, "interval %s to %s", a, b);
    snprintf(input, sizeof input, "%.*s", (int)(text.n < 120 ? text.n : 120), text.p);
    if (!year_month && !day_time)
        return PARSE_FAULT(p, at, ERR_UNSUPPORTED_FROM_TO, {"from", a}, {"to", b}, {"input", input});
    int bad = UNIT_NONE;
    int64_t value = 0;
    if (!split_fields(str_trim(text), from, to, &sum, &bad, &value)) {
        if (bad != UNIT_NONE)
            return field_out_of_range(p, at, input, bad, value);
        interval_format(format, sizeof format, from, to);
        return PARSE_FAULT(p, at, ERR_INTERVAL_UNMATCHED_FORMAT, {"input", input},
                           {"intervalStr", year_month ? "year-month" : "day-time"}, {"supportedFormat", format},
                           {"typeName", name});
    }
    if (negative) {
        sum.months = -sum.months;
        sum.micros = -sum.micros;
    }
    return interval_node(p, &sum, first);
}

/* INTERVAL 1.5 DAY, INTERVAL 'x' DAY */
static void *bad_value(struct parser *p, const struct token *t, int unit)
{
    char input[160], word[64];
    int at = (int)(t - p->tokens), n = (int)(t->value.n < 60 ? t->value.n : 60);
    bool numeric = n > 0;
    for (int i = 0; i < n; i++)
        numeric = numeric && (isdigit((unsigned char)t->value.p[i]) || strchr(" .+-", t->value.p[i]));
    snprintf(word, sizeof word, "%.*s", n, t->value.p);
    snprintf(input, sizeof input, " %s %.*s", word, STR_ARG(p->tokens[at + 1].text));
    if (!numeric)
        return PARSE_FAULT(p, at, ERR_INTERVAL_NUMBERS_ONLY, {"value", word});
    p->err = memchr(word, '.', (size_t)n) && unit != UNIT_SECOND
                 ? FAULT(p->fault, ERR_INTERVAL_FRACTION, {"input", input}, {"unit", UNITS[unit].one})
                 : FAULT(p->fault, ERR_INTERVAL_UNRECOGNIZED_NUMBER, {"input", input}, {"number", word});
    return NULL;
}

/* INTERVAL value unit …; the cursor is behind INTERVAL. */
struct node *literal_interval(struct parser *p, int first)
{
    struct interval_sum sum = {0};
    while (peek(p, 0)->kind == TOKEN_STRING || peek(p, 0)->kind == TOKEN_NUMBER || at_symbol(p, "-") ||
           at_symbol(p, "+")) {
        bool negative = at_symbol(p, "-"), sign = negative || at_symbol(p, "+");
        const struct token *t = peek(p, sign);
        int unit = unit_at(p, 1 + sign);
        if (t->kind != TOKEN_STRING && t->kind != TOKEN_NUMBER)
            break;
        if (unit == UNIT_NONE && (sum.year_month || sum.day_time))
            break; /* INTERVAL 1 DAY - 2: the rest is arithmetic */
        p->at += 1 + sign;
        if (unit == UNIT_NONE)
            return syntax_error(p, "");
        if (word_is(peek(p, 1), "to") && t->kind == TOKEN_STRING)
            return interval_range(p, first, t->value, negative);
        p->at++;
        struct interval_sum one = {0};
        char input[128];
        snprintf(input, sizeof input, "%.*s", (int)(t->value.n < 120 ? t->value.n : 120), t->value.p);
        if (!add_unit(&one, t->value, unit))
            return bad_value(p, t, unit);
        one.micros = negative ? -one.micros : one.micros;
        one.months = negative ? -one.months : one.months;
        int low = one.low < sum.low || !(sum.year_month || sum.day_time) ? one.low : sum.low;
        sum.high = one.high > sum.high ? one.high : sum.high;
        sum.low = low;
        sum.year_month |= one.year_month;
        sum.day_time |= one.day_time;
        if (__builtin_add_overflow(sum.months, one.months, &sum.months) ||
            __builtin_add_overflow(sum.micros, one.micros, &sum.micros))
            return PARSE_FAULT(p, first, ERR_INTERVAL_UNRECOGNIZED_NUMBER, {"input", input}, {"number", input});
    }
    return interval_node(p, &sum, first);
}

static bool interval_follows(const struct parser *p)
{
    const struct token *t = peek(p, 1);
    if (t->kind == TOKEN_STRING || t->kind == TOKEN_NUMBER)
        return true;
    bool sign = symbol_is(t, "-") || symbol_is(t, "+");
    return sign && (peek(p, 2)->kind == TOKEN_STRING || peek(p, 2)->kind == TOKEN_NUMBER) && unit_at(p, 3) != UNIT_NONE;
}

struct node *literal_typed(struct parser *p, bool *handled)
{
    static const struct {
        const char *word;
        enum type_id id;
    } TYPED[] = {{"date", TYPE_DATE},
                 {"timestamp", TYPE_TIMESTAMP},
                 {"timestamp_ltz", TYPE_TIMESTAMP},
                 {"timestamp_ntz", TYPE_TIMESTAMP_NTZ}};
    int first = p->at;
    const struct token *t = peek(p, 0);
    bool string = peek(p, 1)->kind == TOKEN_STRING;
    *handled = true;
    if (word_is(t, "interval") && interval_follows(p)) {
        p->at++;
        return string && unit_at(p, 1) == UNIT_NONE ? interval_text(p, first) : literal_interval(p, first);
    }
    for (size_t i = 0; string && i < sizeof TYPED / sizeof *TYPED; i++)
        if (word_is(t, TYPED[i].word)) {
            p->at++;
            return literal_by_cast(p, TYPED[i].id, first);
        }
    if (string && word_is(t, "x")) {
        p->at++;
        return literal_hex(p, first);
    }
    *handled = false;
    return NULL;
}
