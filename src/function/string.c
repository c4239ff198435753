/* Strings: case, length, parts, padding, joining. Positions and lengths count code points, as UTF8String does. */
#include "function/string_int.h"

#include "base/limit.h"

#include <locale.h>
#include <stdlib.h>
#include <wctype.h>

bool string_row_fails(struct call *c, uint32_t i, struct buf *b)
{
    if (call_active(c, i)) {
        buf_free(b);
        return true;
    }
    buf_clear(b);
    call_set_null(c, i);
    return false;
}

/* -- UTF-8 ------------------------------------------------------------------------------------------------------------------------ */
size_t utf8_count(struct str s)
{
    size_t n = 0;
    for (size_t at = 0; at < s.n; at += utf8_step(s, at))
        n++;
    return n;
}

size_t utf8_skip(struct str s, size_t at, size_t chars)
{
    while (chars-- && at < s.n)
        at += utf8_step(s, at);
    return at;
}

uint32_t utf8_at(struct str s, size_t at, size_t *width)
{
    static const uint8_t FIRST[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    static const uint32_t LEAST[] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t b = (uint8_t)s.p[at];
    size_t n = utf8_width(b);
    *width = 1;
    if (n > s.n - at || (n == 1 && b >= 0x80))
        return 0xFFFD;
    uint32_t cp = b & FIRST[n];
    for (size_t k = 1; k < n; k++) {
        uint8_t next = (uint8_t)s.p[at + k];
        if ((next & 0xC0) != 0x80)
            return 0xFFFD;
        cp = cp << 6 | (next & 0x3F);
    }
    if (cp < LEAST[n] || cp > 0x10FFFF || (cp >= 0xD800 && cp < 0xE000))
        return 0xFFFD;
    *width = n;
    return cp;
}

void utf8_put(struct buf *out, uint32_t cp)
{
    uint8_t p[4];
    size_t n = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    static const uint8_t LEAD[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t k = n; k-- > 1; cp >>= 6)
        p[k] = (uint8_t)(0x80 | (cp & 0x3F));
    p[0] = (uint8_t)(LEAD[n] | cp);
    buf_put(out, p, n);
}

bool utf8_is_valid(struct str s)
{
    size_t w;
    for (size_t at = 0; at < s.n; at += w)
        if (utf8_at(s, at, &w) == 0xFFFD && w == 1)
            return false;
    return true;
}

struct str utf8_sub(struct str s, int64_t from, int64_t to)
{
    if (from < 0)
        from = 0;
    if (to <= from)
        return STR("");
    size_t start = utf8_skip(s, 0, (size_t)from), end = utf8_skip(s, start, (size_t)(to - from));
    return str_sub(s, start, end - start);
}

/* Unicode's simple case mappings, from glibc's C.UTF-8 tables: made once, before main. */
static locale_t utf8_locale;
__attribute__((constructor)) static void load_locale(void)
{
    utf8_locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

static uint32_t map_case(uint32_t cp, bool upper)
{
    if (cp < 0x80 || !utf8_locale) {
        bool changes = upper ? cp >= 'a' && cp <= 'z' : cp >= 'A' && cp <= 'Z';
        return changes ? cp ^ 0x20 : cp;
    }
    return (uint32_t)(upper ? towupper_l((wint_t)cp, utf8_locale) : towlower_l((wint_t)cp, utf8_locale));
}

static void put_case(struct buf *out, uint32_t cp, bool upper)
{
    if (upper && cp == 0xDF)
        buf_z(out, "SS"); /* the one special mapping that texts have */
    else
        utf8_put(out, map_case(cp, upper));
}

struct str utf8_case(struct arena *a, struct str s, bool upper)
{
    bool ascii = true;
    char *p = arena_alloc(a, s.n);
    for (size_t i = 0; i < s.n; i++) {
        unsigned char ch = (unsigned char)s.p[i], low = upper ? 'a' : 'A';
        ascii &= ch < 0x80;
        p[i] = (char)((unsigned)(ch - low) < 26 ? ch ^ 0x20 : ch);
    }
    if (ascii)
        return str_make(p, s.n);
    struct buf b = {0};
    size_t w;
    for (size_t at = 0; at < s.n; at += w)
        put_case(&b, utf8_at(s, at, &w), upper);
    struct str out = arena_str(a, buf_view(&b));
    buf_free(&b);
    return out;
}

enum err fn_case(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (call_live(c, i))
            c->out->data.str[i] = utf8_case(c->ev->arena, CALL_STR(c, 0, i), c->e->fn->op);
    return ERR_OK;
}

enum err fn_initcap(struct call *c)
{
    STRING_ROWS(c, {
        struct str s = CALL_STR(c, 0, i);
        size_t w;
        bool start = true;
        for (size_t at = 0; at < s.n; at += w) {
            uint32_t cp = utf8_at(s, at, &w);
            put_case(&b, cp, start);
            start = cp == ' ';
        }
    });
    return ERR_OK;
}

/* -- lengths ---------------------------------------------------------------------------------------------------------------------------- */
enum { LENGTH_CHARS, LENGTH_BYTES, LENGTH_BITS };
enum err fn_length(struct call *c)
{
    bool binary = c->args[0].type->id == TYPE_BINARY;
    for (uint32_t i = 0; i < c->n; i++) {
        if (!call_live(c, i))
            continue;
        struct str s = CALL_STR(c, 0, i);
        c->out->data.i32[i] = (int32_t)(c->e->fn->op == LENGTH_BITS              ? s.n * 8
                                        : c->e->fn->op == LENGTH_BYTES || binary ? s.n
                                                                                 : utf8_count(s));
    }
    return ERR_OK;
}

enum err fn_ascii(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        struct str s = call_live(c, i) ? CALL_STR(c, 0, i) : STR("");
        size_t w;
        c->out->data.i32[i] = s.n ? (int32_t)utf8_at(s, 0, &w) : 0;
    }
    return ERR_OK;
}

enum err fn_chr(struct call *c)
{
    STRING_ROWS(c, {
        int64_t v = CALL_I64(c, 0, i);
        if (v >= 0)
            utf8_put(&b, (uint32_t)(v & 0xFF));
    });
    return ERR_OK;
}

/* -- parts -------------------------------------------------------------------------------------------------------------------------------- */
static struct str substring(struct str s, bool binary, int64_t pos, int64_t n)
{
    int64_t total = binary ? (int64_t)s.n : (int64_t)utf8_count(s);
    int64_t start = pos > 0 ? pos - 1 : pos < 0 ? total + pos : 0, end = start + n;
    if (!binary)
        return utf8_sub(s, start, end < 0 ? 0 : end);
    start = start < 0 ? 0 : start;
    return end <= start || start >= total ? STR("") : str_sub(s, (size_t)start, (size_t)(end - start));
}

enum err bind_substring(struct bind_call *bc)
{
    struct expr *e = bc->e;
    if (e->nargs == 2) { /* the length shows as the largest int */
        struct expr **args = ARENA_ARRAY(bc->b->arena, 3, struct expr *);
        args[0] = e->args[0];
        args[1] = e->args[1];
        args[2] = expr_lit_i32(bc->b, INT32_MAX);
        e->args = args;
        e->nargs = 3;
    }
    return bind_standard(bc);
}

enum err fn_substring(struct call *c)
{
    bool binary = c->args[0].type->id == TYPE_BINARY;
    for (uint32_t i = 0; i < c->n; i++)
        if (call_live(c, i))
            c->out->data.str[i] = substring(CALL_STR(c, 0, i), binary, CALL_I32(c, 1, i), CALL_I32(c, 2, i));
    return ERR_OK;
}

enum err fn_left(struct call *c)
{
    bool binary = c->args[0].type->id == TYPE_BINARY;
    for (uint32_t i = 0; i < c->n; i++)
        if (call_live(c, i))
            c->out->data.str[i] = substring(CALL_STR(c, 0, i), binary, 1, CALL_I32(c, 1, i));
    return ERR_OK;
}

enum err fn_right(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        if (!call_live(c, i))
            continue;
        struct str s = CALL_STR(c, 0, i);
        int64_t n = CALL_I32(c, 1, i), total = (int64_t)utf8_count(s);
        c->out->data.str[i] = n <= 0 ? STR("") : utf8_sub(s, total - n, total);
    }
    return ERR_OK;
}

enum err fn_substring_index(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        if (!call_live(c, i))
            continue;
        struct str s = CALL_STR(c, 0, i), d = CALL_STR(c, 1, i);
        int64_t n = CALL_I32(c, 2, i);
        size_t from = 0, to = s.n, hits = 0;
        if (!d.n || !n) {
            c->out->data.str[i] = STR("");
            continue;
        }
        for (ptrdiff_t at = str_find(s, d, 0); at >= 0; at = str_find(s, d, (size_t)at + 1))
            hits++; /* counts overlapping ones: only to bound the scan from the right */
        if (n > 0) {
            ptrdiff_t at = -1;
            size_t next = 0;
            for (int64_t k = 0; k < n; k++, next = (size_t)at + d.n)
                if ((at = str_find(s, d, next)) < 0)
                    break;
            to = at < 0 ? s.n : (size_t)at;
        } else {
            size_t end = s.n;
            for (int64_t k = 0; k < -n; k++) {
                ptrdiff_t at = (ptrdiff_t)end - (ptrdiff_t)d.n;
                while (at >= 0 && memcmp(s.p + at, d.p, d.n) != 0)
                    at--;
                if (at < 0) {
                    end = 0;
                    from = 0;
                    break;
                }
                from = (size_t)at + d.n;
                end = (size_t)at;
            }
        }
        (void)hits;
        c->out->data.str[i] = str_sub(s, from, to - from);
    }
    return ERR_OK;
}

enum err fn_reverse(struct call *c)
{
    bool binary = c->args[0].type->id == TYPE_BINARY;
    for (uint32_t i = 0; i < c->n; i++) {
        if (!call_live(c, i))
            continue;
        struct str s = CALL_STR(c, 0, i);
        char *p = arena_alloc(c->ev->arena, s.n);
        for (size_t at = 0, w; at < s.n; at += w) {
            w = binary ? 1 : utf8_step(s, at);
            memcpy(p + s.n - at - w, s.p + at, w);
        }
        c->out->data.str[i] = str_make(p, s.n);
    }
    return ERR_OK;
}

enum err bind_reverse(struct bind_call *bc)
{
    struct expr *out;
    if (bc->e->args[0]->type->id != TYPE_ARRAY)
        return bind_standard(bc);
    enum err err = bind_call_name(bc->b, "array_reverse", bc->e->args, 1, &out, bc->f);
    if (!err)
        bc->e = out;
    return err;
}

/* -- trimming -------------------------------------------------------------------------------------------------------------------------- */
static bool in_set(struct str set, struct str s, size_t at, size_t w)
{
    for (size_t k = 0, n; k < set.n; k += n) {
        n = utf8_step(set, k);
        if (n == w && memcmp(set.p + k, s.p + at, w) == 0)
            return true;
    }
    return false;
}

enum { TRIM_LEFT = 1, TRIM_RIGHT = 2, TRIM_VALUE_FIRST = 4 };
static struct str trim_set(struct str s, struct str set, int sides)
{
    while ((sides & TRIM_LEFT) && s.n) {
        size_t w = utf8_step(s, 0);
        if (!in_set(set, s, 0, w))
            break;
        s = str_sub(s, w, s.n);
    }
    while ((sides & TRIM_RIGHT) && s.n) {
        size_t at = s.n - 1;
        while (at && ((uint8_t)s.p[at] & 0xC0) == 0x80 && s.n - at < 4)
            at--;
        if (!in_set(set, s, at, s.n - at))
            break;
        s.n = at;
    }
    return s;
}

/* trim(s), or trim(characters, s) as SQL's TRIM(BOTH … FROM …) comes; btrim(s, characters). */
enum err bind_trim(struct bind_call *bc)
{
    static const char *const SIDE[] = {"", "LEADING", "TRAILING", "BOTH"};
    struct expr *e = bc->e;
    enum err err = bind_standard(bc);
    if (!err && e->nargs == 2 && !(bc->fn->op & TRIM_VALUE_FIRST))
        e->sql = arena_fmt(bc->b->arena, "TRIM(%s %.*s FROM %.*s)", SIDE[bc->fn->op], STR_ARG(e->args[0]->sql),
                           STR_ARG(e->args[1]->sql));
    return err;
}

enum err fn_trim(struct call *c)
{
    bool two = c->e->nargs == 2;
    int value = two && !(c->e->fn->op & TRIM_VALUE_FIRST);
    for (uint32_t i = 0; i < c->n; i++)
        if (call_live(c, i))
            c->out->data.str[i] =
                trim_set(CALL_STR(c, value, i), two ? CALL_STR(c, !value, i) : STR(" "), c->e->fn->op & 3);
    return ERR_OK;
}

/* -- padding, repeating --------------------------------------------------------------------------------------------------------------- */
static void put_pad(struct buf *out, struct str pad, size_t chars)
{
    size_t n = utf8_count(pad);
    for (; chars >= n && !out->bad; chars -= n)
        buf_str(out, pad);
    buf_put(out, pad.p, utf8_skip(pad, 0, chars));
}

enum err bind_pad(struct bind_call *bc)
{
    struct expr *e = bc->e;
    if (e->nargs == 2) {
        struct expr **args = ARENA_ARRAY(bc->b->arena, 3, struct expr *);
        args[0] = e->args[0];
        args[1] = e->args[1];
        args[2] = expr_lit_str(bc->b, STR(" "));
        e->args = args;
        e->nargs = 3;
    }
    return bind_standard(bc);
}

enum err fn_pad(struct call *c)
{
    bool right = c->e->fn->op;
    STRING_ROWS(c, {
        struct str s = CALL_STR(c, 0, i);
        struct str pad = CALL_STR(c, 2, i);
        int64_t want = CALL_I32(c, 1, i);
        size_t have = utf8_count(s);
        if (want < 0)
            want = 0;
        b.bad = want > LIMIT_TEXT_BYTES;
        if ((size_t)want <= have || !pad.n) {
            buf_put(&b, s.p, utf8_skip(s, 0, (size_t)want));
        } else if (right) {
            buf_str(&b, s);
            put_pad(&b, pad, (size_t)want - have);
        } else {
            put_pad(&b, pad, (size_t)want - have);
            buf_str(&b, s);
        }
    });
    return ERR_OK;
}

enum err fn_repeat(struct call *c)
{
    STRING_ROWS(c, {
        struct str s = CALL_STR(c, 0, i);
        int64_t k = CALL_I32(c, 1, i);
        b.bad = k > 0 && s.n > LIMIT_TEXT_BYTES / (size_t)k; /* before the work, not after a gigabyte of it */
        for (; k > 0 && s.n && !b.bad; k--)
            buf_str(&b, s);
    });
    return ERR_OK;
}

enum err fn_space(struct call *c)
{
    STRING_ROWS(c, {
        int32_t n = CALL_I32(c, 0, i);
        buf_fill(&b, ' ', n > 0 ? (size_t)n : 0);
    });
    return ERR_OK;
}

/* -- joining ------------------------------------------------------------------------------------------------------------------------------ */
enum err bind_concat(struct bind_call *bc)
{
    struct expr *e = bc->e, *out;
    bool arrays = false, others = false, binary = e->nargs > 0;
    for (int i = 0; i < e->nargs; i++) {
        enum type_id id = e->args[i]->type->id;
        arrays |= id == TYPE_ARRAY;
        others |= id != TYPE_ARRAY && id != TYPE_NULL;
        binary &= id == TYPE_BINARY;
    }
    if (arrays && others)
        return BIND_FAULT(bc, ERR_MISMATCH_DATA_DIFF_TYPES, {"functionName", "`concat`"},
                          {"dataType", type_list(bc->b->arena, e->args, e->nargs, "(", " or ", ")")});
    if (arrays) {
        enum err err = bind_call_name(bc->b, "concat_arrays", e->args, e->nargs, &out, bc->f);
        if (!err)
            bc->e = out;
        return err;
    }
    e->type = type_simple(binary ? TYPE_BINARY : TYPE_STRING);
    e->nullable = expr_args_nullable(e);
    return bind_args(bc, binary ? "X..." : "S...");
}

enum err fn_concat(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        size_t n = 0;
        if (!call_live(c, i))
            continue;
        for (int k = 0; k < c->e->nargs; k++)
            n += CALL_STR(c, k, i).n;
        char *p = arena_alloc(c->ev->arena, n), *at = p;
        for (int k = 0; k < c->e->nargs; k++) {
            struct str s = CALL_STR(c, k, i);
            if (s.n)
                memcpy(at, s.p, s.n);
            at += s.n;
        }
        c->out->data.str[i] = str_make(p, n);
    }
    return ERR_OK;
}

enum err bind_concat_ws(struct bind_call *bc)
{
    struct expr *e = bc->e;
    const struct type *strings = type_array(bc->b->arena, type_simple(TYPE_STRING), true);
    for (int i = 0; i < e->nargs; i++) {
        bool list = i && e->args[i]->type->id == TYPE_ARRAY;
        enum err err = list ? coerce_to(bc->b, &e->args[i], strings, bc->f) : ERR_OK;
        if (err)
            return err;
    }
    e->type = type_simple(TYPE_STRING);
    e->nullable = e->args[0]->nullable;
    return bind_args(bc, e->nargs > 1 ? "S,SA..." : "S");
}

static void join_one(struct buf *b, bool *first, struct str separator, struct str s)
{
    if (!*first)
        buf_str(b, separator);
    *first = false;
    buf_str(b, s);
}

enum err fn_concat_ws(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (!col_valid(&c->args[0], i))
            call_set_null(c, i);
    STRING_ROWS(c, {
        bool first = true;
        for (int k = 1; k < c->e->nargs; k++) {
            const struct column *x = &c->args[k];
            if (!col_valid(x, i))
                continue;
            uint32_t r = COL_AT(x, i);
            if (x->type->id == TYPE_STRING) {
                join_one(&b, &first, CALL_STR(c, 0, i), x->data.str[r]);
                continue;
            }
            for (uint32_t m = x->data.offsets[r]; m < x->data.offsets[r + 1]; m++)
                if (col_valid(&x->children[0], m))
                    join_one(&b, &first, CALL_STR(c, 0, i), x->children[0].data.str[COL_AT(&x->children[0], m)]);
        }
    });
    return ERR_OK;
}

enum err bind_elt(struct bind_call *bc)
{
    enum err err = bind_args(bc, "I,S...");
    bc->e->type = type_simple(TYPE_STRING);
    bc->e->nullable = true;
    return err;
}

enum err fn_elt(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        struct arena *a = c->ev->arena;
        int32_t k = col_valid(&c->args[0], i) ? CALL_I32(c, 0, i) : 0;
        if (!col_valid(&c->args[0], i)) {
            call_set_null(c, i);
        } else if (k < 1 || k >= c->e->nargs) {
            if (!c->e->ansi)
                call_set_null(c, i);
            else
                CALL_FAIL(c, i, ERR_INVALID_ARRAY_INDEX, {"indexValue", arena_fmt(a, "%d", k).p},
                          {"arraySize", arena_fmt(a, "%d", c->e->nargs - 1).p});
        } else if (!col_valid(&c->args[k], i)) {
            call_set_null(c, i);
        } else {
            c->out->data.str[i] = CALL_STR(c, k, i);
        }
    }
    return ERR_OK;
}
