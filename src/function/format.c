/* format_string, format_number; raise_error and other small ones. */
#include "function/string_int.h"

#include "base/random.h"

#include <stdio.h>

/* -- format_string: java.util.Formatter ---------------------------------------------------------------------------------------------- */
struct spec { /* %[index$][flags][width][.precision]conversion */
    int index, width, precision;
    char flags[8], conversion;
    size_t n; /* bytes of the whole */
};

static int number_at(struct str f, size_t *at)
{
    int v = 0;
    while (*at < f.n && (unsigned)f.p[*at] - '0' <= 9 && v < 100000)
        v = v * 10 + (f.p[(*at)++] - '0');
    return v;
}

static bool parse_spec(struct str f, size_t from, struct spec *s)
{
    size_t at = from + 1, nflags = 0;
    *s = (struct spec){.precision = -1};
    size_t mark = at;
    int v = number_at(f, &at);
    if (at > mark && at < f.n && f.p[at] == '$') {
        s->index = v;
        at++;
    } else {
        at = mark;
    }
    while (at < f.n && f.p[at] && strchr("-#+ 0,(", f.p[at]) && nflags < 7)
        s->flags[nflags++] = f.p[at++];
    s->width = number_at(f, &at);
    if (at < f.n && f.p[at] == '.') {
        at++;
        s->precision = number_at(f, &at);
    }
    if (at >= f.n)
        return false;
    s->conversion = f.p[at];
    s->n = at + 1 - from;
    return true;
}

static void put_padded(struct buf *out, struct str text, const struct spec *s)
{
    size_t have = utf8_count(text), pad = s->width > 0 && (size_t)s->width > have ? (size_t)s->width - have : 0;
    bool left = strchr(s->flags, '-') != NULL;
    buf_fill(out, ' ', left ? 0 : pad);
    buf_str(out, text);
    buf_fill(out, ' ', left ? pad : 0);
}

static void put_integer(struct buf *out, const struct spec *s, int64_t v, size_t width)
{
    char digits[40], format[4] = {'%', 'l', 0, 0}, text[64];
    size_t n = 0;
    if (s->conversion == 'd') {
        snprintf(digits, sizeof digits, "%llu", v < 0 ? -(unsigned long long)v : (unsigned long long)v);
    } else {
        format[2] = s->conversion;
        uint64_t u = width == 8 ? (uint64_t)v : (uint64_t)v & ((1ull << (8 * width)) - 1);
        snprintf(digits, sizeof digits, format, u);
    }
    bool minus = s->conversion == 'd' && v < 0, comma = strchr(s->flags, ',') != NULL;
    const char *sign = minus ? "-" : strchr(s->flags, '+') ? "+" : strchr(s->flags, ' ') ? " " : "";
    size_t len = strlen(digits);
    for (size_t k = 0; k < len; k++) {
        if (comma && k && (len - k) % 3 == 0)
            text[n++] = ',';
        text[n++] = digits[k];
    }
    struct buf b = {0};
    buf_z(&b, sign);
    if (strchr(s->flags, '0') && s->width > (int)(n + b.n))
        buf_fill(&b, '0', (size_t)s->width - n - b.n);
    buf_put(&b, text, n);
    put_padded(out, buf_view(&b), s);
    buf_free(&b);
}

static void put_double(struct buf *out, const struct spec *s, double v)
{
    char format[24], text[400];
    int precision = s->precision < 0 ? 6 : s->precision > 300 ? 300 : s->precision;
    char flags[8];
    size_t n = 0;
    for (const char *p = s->flags; *p; p++)
        if (*p != ',' && *p != '(')
            flags[n++] = *p;
    flags[n] = 0;
    snprintf(format, sizeof format, "%%%s*.*%c", flags, s->conversion);
    snprintf(text, sizeof text, format, s->width > 300 ? 300 : s->width, precision, v);
    buf_z(out, text);
}

/* One argument; false: the conversion does not fit it. */
static bool put_argument(struct buf *out, const struct spec *s, const struct column *x, uint32_t i, struct call *c)
{
    uint32_t r = COL_AT(x, i);
    size_t w = type_width(x->type);
    bool null = !col_valid(x, i) || x->type->id == TYPE_NULL;
    if (null && s->conversion != 's' && s->conversion != 'S') {
        put_padded(out, s->conversion == 'b' ? STR("false") : STR("null"), s);
        return true;
    }
    switch (s->conversion) {
    case 's':
    case 'S': {
        struct str t = null ? STR("null") : text_of(c->ev->arena, x, i, c->ev->zone);
        if (s->precision >= 0)
            t = utf8_sub(t, 0, s->precision);
        put_padded(out, s->conversion == 'S' ? utf8_case(c->ev->arena, t, true) : t, s);
        return true;
    }
    case 'd':
    case 'x':
    case 'X':
    case 'o':
        if (!type_is_integral(x->type))
            return false;
        put_integer(out, s,
                    w == 1   ? x->data.i8[r]
                    : w == 2 ? x->data.i16[r]
                    : w == 4 ? x->data.i32[r]
                             : x->data.i64[r],
                    w);
        return true;
    case 'f':
    case 'e':
    case 'E':
    case 'g':
        if (x->type->id == TYPE_DECIMAL)
            put_double(out, s, decimal_double(x->data.i128[r], x->type->scale));
        else if (x->type->id == TYPE_DOUBLE)
            put_double(out, s, x->data.f64[r]);
        else if (x->type->id == TYPE_FLOAT)
            put_double(out, s, (double)x->data.f32[r]);
        else
            return false;
        return true;
    case 'b':
        put_padded(out, x->type->id == TYPE_BOOLEAN && !x->data.boolean[r] ? STR("false") : STR("true"), s);
        return true;
    case 'c': {
        struct buf b = {0};
        if (!type_is_integral(x->type) || w < 4)
            return false;
        utf8_put(&b, w == 4 ? (uint32_t)x->data.i32[r] : (uint32_t)x->data.i64[r]);
        put_padded(out, buf_view(&b), s);
        buf_free(&b);
        return true;
    }
    default:
        return false;
    }
}

static bool put_format(struct buf *out, struct call *c, uint32_t i, struct str f, struct spec *s)
{
    int next = 1;
    for (size_t at = 0; at < f.n; at++) {
        if (f.p[at] != '%') {
            buf_u8(out, (uint8_t)f.p[at]);
            continue;
        }
        if (!parse_spec(f, at, s))
            return false;
        at += s->n - 1;
        if (s->conversion == '%' || s->conversion == 'n') {
            buf_u8(out, s->conversion == 'n' ? '\n' : '%');
            continue;
        }
        int k = s->index ? s->index : next++;
        if (k >= c->e->nargs || !put_argument(out, s, &c->args[k], i, c))
            return false;
    }
    return true;
}

enum err bind_format(struct bind_call *bc)
{
    struct expr *e = bc->e;
    enum err err = bind_args(bc, "S");
    e->type = type_simple(TYPE_STRING);
    e->nullable = e->args[0]->nullable;
    return err;
}

enum err fn_format(struct call *c)
{
    struct spec s = {0};
    struct buf b = {0};
    for (uint32_t i = 0; i < c->n; i++) {
        if (!col_valid(&c->args[0], i)) {
            call_set_null(c, i);
            continue;
        }
        buf_clear(&b);
        bool ok = put_format(&b, c, i, CALL_STR(c, 0, i), &s) && !b.bad;
        c->out->data.str[i] = arena_str(c->ev->arena, buf_view(&b));
        if (!ok && call_active(c, i)) {
            buf_free(&b);
            return FAULT(
                c->ev->fault, ERR_INVALID, {"what", "format_string"},
                {"detail", arena_fmt(c->ev->arena, "conversion '%c' does not fit its argument", s.conversion).p});
        }
    }
    buf_free(&b);
    return ERR_OK;
}

/* -- format_number(x, places) or (x, pattern): #,###,##0.00, halves to even ------------------------------------------------------------ */
static struct str rounded_text(struct call *c, uint32_t i, int places)
{
    const struct column *x = &c->args[0];
    uint32_t r = COL_AT(x, i);
    if (x->type->id == TYPE_DOUBLE || x->type->id == TYPE_FLOAT) {
        double v = x->type->id == TYPE_DOUBLE ? x->data.f64[r] : (double)x->data.f32[r];
        return arena_fmt(c->ev->arena, "%.*f", places > 300 ? 300 : places,
                         v); /* of the exact binary value, as DecimalFormat */
    }
    size_t w = type_width(x->type);
    int scale = x->type->id == TYPE_DECIMAL ? x->type->scale : 0;
    i128 v = w == 16  ? x->data.i128[r]
             : w == 8 ? x->data.i64[r]
             : w == 4 ? x->data.i32[r]
             : w == 2 ? x->data.i16[r]
                      : x->data.i8[r];
    i128 q = v;
    struct buf b = {0};
    if (!decimal_rescale(v, scale, places, ROUND_HALF_EVEN, &q))
        places = scale;
    decimal_text(&b, q, places);
    struct str s = arena_str(c->ev->arena, buf_view(&b));
    buf_free(&b);
    return s;
}

static void put_grouped(struct buf *out, struct str s, bool group, int least_fraction)
{
    bool minus = s.n && s.p[0] == '-';
    ptrdiff_t point = str_find(s, STR("."), 0);
    size_t whole = point < 0 ? s.n : (size_t)point, end = s.n;
    if (minus)
        buf_z(out, "-");
    for (size_t k = minus; k < whole; k++) {
        if (group && k > minus && (whole - k) % 3 == 0)
            buf_u8(out, ',');
        buf_u8(out, (uint8_t)s.p[k]);
    }
    while (point >= 0 && end > whole + 1 + (size_t)least_fraction && s.p[end - 1] == '0')
        end--;
    if (point >= 0 && end > whole + 1)
        buf_put(out, s.p + whole, end - whole);
}

enum err fn_format_number(struct call *c)
{
    STRING_ROWS(c, {
        if (c->args[1].type->id == TYPE_STRING) {
            struct str p = CALL_STR(c, 1, i);
            ptrdiff_t dot = str_find(p, STR("."), 0);
            int zeros = 0;
            int places = dot < 0 ? 0 : (int)(p.n - (size_t)dot - 1);
            for (size_t k = dot < 0 ? p.n : (size_t)dot; k < p.n; k++)
                zeros += p.p[k] == '0';
            put_grouped(&b, rounded_text(c, i, places), str_find(p, STR(","), 0) >= 0, zeros);
        } else {
            int32_t places = CALL_I32(c, 1, i);
            if (places < 0)
                call_set_null(c, i);
            else
                put_grouped(&b, rounded_text(c, i, places), true, places);
        }
    });
    return ERR_OK;
}

/* -- the rest ------------------------------------------------------------------------------------------------------------------------------ */
enum err fn_raise_error(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        CALL_FAIL(c, i, ERR_USER_RAISED_EXCEPTION,
                  {"errorMessage", col_valid(&c->args[0], i) ? arena_z(c->ev->arena, CALL_STR(c, 0, i)) : "null"});
    return ERR_OK;
}

/* zeroifnull(x) is coalesce(x, 0), nullifzero(x) is if(x = 0, NULL, x). */
enum err bind_zero(struct bind_call *bc)
{
    struct expr *args[2] = {bc->e->args[0], expr_lit_i32(bc->b, 0)}, *out;
    enum err err = bind_call_name(bc->b, bc->fn->op ? "nullif" : "coalesce", args, 2, &out, bc->f);
    if (err)
        return err;
    out->sql = bind_sql(bc);
    bc->e = out;
    return ERR_OK;
}

enum err fn_uuid(struct call *c)
{
    c->ev->random_state += (uint64_t)c->ev->now_us * 0xD1342543DE82EF95u; /* another run, other ids */
    for (uint32_t i = 0; i < c->n; i++) {
        uint64_t x[2];
        for (int k = 0; k < 2; k++)
            x[k] = random_next(&c->ev->random_state);
        x[0] = (x[0] & ~0xF000ull) | 0x4000;
        x[1] = (x[1] & ~(3ull << 62)) | 2ull << 62;
        c->out->data.str[i] = arena_fmt(c->ev->arena, "%08x-%04x-%04x-%04x-%012llx", (unsigned)(x[0] >> 32),
                                        (unsigned)(x[0] >> 16 & 0xFFFF), (unsigned)(x[0] & 0xFFFF),
                                        (unsigned)(x[1] >> 48), (unsigned long long)(x[1] & 0xFFFFFFFFFFFFull));
    }
    return ERR_OK;
}

/* str_to_map(text, pair delimiter, key delimiter): plain texts here, not patterns. */
enum err bind_str_to_map(struct bind_call *bc)
{
    static const char *const DEFAULTS[] = {",", ":"};
    struct expr *e = bc->e, **args = ARENA_ARRAY(bc->b->arena, 3, struct expr *);
    for (int i = 0; i < 3; i++)
        args[i] = i < e->nargs ? e->args[i] : expr_lit_str(bc->b, str_of(DEFAULTS[i - 1]));
    e->args = args;
    e->nargs = 3;
    enum err err = bind_standard(bc);
    e->type = type_map(bc->b->arena, type_simple(TYPE_STRING), type_simple(TYPE_STRING), true);
    return err;
}

enum err fn_str_to_map(struct call *c)
{
    struct column *k = &c->out->children[0], *v = &c->out->children[1];
    uint32_t used = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        struct str s = call_live(c, i) ? CALL_STR(c, 0, i) : STR(""),
                   pair = call_live(c, i) ? CALL_STR(c, 1, i) : STR(","),
                   key = call_live(c, i) ? CALL_STR(c, 2, i) : STR(":");
        for (size_t from = 0; call_live(c, i) && from <= s.n;) {
            ptrdiff_t comma = pair.n ? str_find(s, pair, from) : -1;
            size_t to = comma < 0 ? s.n : (size_t)comma;
            struct str part = str_sub(s, from, to - from);
            ptrdiff_t colon = key.n ? str_find(part, key, 0) : -1;
            column_grow(k, used + 1, c->ev->arena);
            column_grow(v, used + 1, c->ev->arena);
            k->data.str[used] = colon < 0 ? part : str_sub(part, 0, (size_t)colon);
            if (colon < 0)
                column_set_null(v, used);
            else
                v->data.str[used] = str_sub(part, (size_t)colon + key.n, part.n);
            used++;
            from = comma < 0 ? s.n + 1 : to + pair.n;
        }
        c->out->data.offsets[i + 1] = used;
    }
    return ERR_OK;
}
