/* Strings: searching, replacing, comparing; LIKE. */
#include "function/string_int.h"

#include "base/limit.h"

/* -- where ---------------------------------------------------------------------------------------------------------------------------- */
/* The code point position, from 1, of needle at or after code point `from` (0-based); 0: nowhere. */
static int32_t position(struct str s, struct str needle, size_t from)
{
    size_t start = utf8_skip(s, 0, from);
    if (!needle.n)
        return from <= utf8_count(s) ? (int32_t)from + 1 : 0;
    ptrdiff_t at = start <= s.n ? str_find(s, needle, start) : -1;
    return at < 0 ? 0 : (int32_t)utf8_count(str_sub(s, 0, (size_t)at)) + 1;
}

enum err fn_instr(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (call_live(c, i))
            c->out->data.i32[i] = position(CALL_STR(c, 0, i), CALL_STR(c, 1, i), 0);
    return ERR_OK;
}

enum err bind_locate(struct bind_call *bc)
{
    struct expr *e = bc->e;
    if (e->nargs == 2) {
        struct expr **args = ARENA_ARRAY(bc->b->arena, 3, struct expr *);
        args[0] = e->args[0];
        args[1] = e->args[1];
        args[2] = expr_lit_i32(bc->b, 1);
        e->args = args;
        e->nargs = 3;
    }
    return bind_standard(bc);
}

/* locate(needle, text, from): a NULL position gives 0. */
enum err fn_locate(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        if (!col_valid(&c->args[2], i))
            continue;
        if (!col_valid(&c->args[0], i) || !col_valid(&c->args[1], i)) {
            call_set_null(c, i);
            continue;
        }
        int32_t from = CALL_I32(c, 2, i);
        c->out->data.i32[i] = from < 1 ? 0 : position(CALL_STR(c, 1, i), CALL_STR(c, 0, i), (size_t)from - 1);
    }
    return ERR_OK;
}

enum { FIND_CONTAINS, FIND_STARTS, FIND_ENDS };

/* Of binaries Spark's analysis calls the result nullable. */
enum err bind_find(struct bind_call *bc)
{
    enum err err = bind_standard(bc);
    if (!err && bc->e->args[0]->type->id == TYPE_BINARY && bc->fn->op != FIND_ENDS)
        bc->e->nullable = true;
    return err;
}

enum err fn_find(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        if (!call_live(c, i))
            continue;
        struct str s = CALL_STR(c, 0, i), x = CALL_STR(c, 1, i);
        c->out->data.boolean[i] = c->e->fn->op == FIND_STARTS ? str_starts(s, x)
                                  : c->e->fn->op == FIND_ENDS ? str_ends(s, x)
                                                              : !x.n || str_find(s, x, 0) >= 0;
    }
    return ERR_OK;
}

enum err fn_find_in_set(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        struct str word = call_live(c, i) ? CALL_STR(c, 0, i) : STR(","),
                   set = call_live(c, i) ? CALL_STR(c, 1, i) : STR("");
        int32_t n = 1;
        if (str_find(word, STR(","), 0) >= 0)
            continue;
        for (size_t from = 0; from <= set.n; n++) {
            ptrdiff_t comma = str_find(set, STR(","), from);
            size_t to = comma < 0 ? set.n : (size_t)comma;
            if (str_eq(str_sub(set, from, to - from), word)) {
                c->out->data.i32[i] = n;
                break;
            }
            from = to + 1;
        }
    }
    return ERR_OK;
}

/* -- replacing -------------------------------------------------------------------------------------------------------------------------- */
enum err bind_replace(struct bind_call *bc)
{
    struct expr *e = bc->e;
    if (e->nargs == 2) {
        struct expr **args = ARENA_ARRAY(bc->b->arena, 3, struct expr *);
        args[0] = e->args[0];
        args[1] = e->args[1];
        args[2] = expr_lit_str(bc->b, STR(""));
        e->args = args;
        e->nargs = 3;
    }
    return bind_standard(bc);
}

enum err fn_replace(struct call *c)
{
    STRING_ROWS(c, {
        struct str s = CALL_STR(c, 0, i);
        struct str x = CALL_STR(c, 1, i);
        size_t from = 0;
        for (ptrdiff_t at; x.n && (at = str_find(s, x, from)) >= 0; from = (size_t)at + x.n) {
            buf_put(&b, s.p + from, (size_t)at - from);
            buf_str(&b, CALL_STR(c, 2, i));
        }
        buf_put(&b, s.p + from, s.n - from);
    });
    return ERR_OK;
}

/* Each code point of `from` becomes the one at its place in `to`, or goes. The first of doubles counts. */
static void translate(struct buf *out, struct str s, struct str from, struct str to)
{
    for (size_t at = 0, w; at < s.n; at += w) {
        w = utf8_step(s, at);
        size_t place = 0;
        bool hit = false;
        for (size_t k = 0, n; k < from.n && !hit; k += n, place += !hit) {
            n = utf8_step(from, k);
            hit = n == w && memcmp(from.p + k, s.p + at, w) == 0;
        }
        if (!hit) {
            buf_put(out, s.p + at, w);
            continue;
        }
        size_t k = utf8_skip(to, 0, place);
        if (k < to.n)
            buf_put(out, to.p + k, utf8_step(to, k));
    }
}

enum err fn_translate(struct call *c)
{
    STRING_ROWS(c, { translate(&b, CALL_STR(c, 0, i), CALL_STR(c, 1, i), CALL_STR(c, 2, i)); });
    return ERR_OK;
}

enum err bind_overlay(struct bind_call *bc)
{
    struct expr *e = bc->e;
    if (e->nargs == 3) {
        struct expr **args = ARENA_ARRAY(bc->b->arena, 4, struct expr *);
        memcpy(args, e->args, 3 * sizeof *args);
        args[3] = expr_lit_i32(bc->b, -1);
        e->args = args;
        e->nargs = 4;
    }
    return bind_standard(bc);
}

enum err fn_overlay(struct call *c)
{
    STRING_ROWS(c, {
        struct str s = CALL_STR(c, 0, i);
        struct str x = CALL_STR(c, 1, i);
        int64_t pos = CALL_I32(c, 2, i);
        int64_t n = CALL_I32(c, 3, i);
        if (n < 0)
            n = (int64_t)utf8_count(x);
        buf_str(&b, utf8_sub(s, 0, pos - 1 < 0 ? 0 : pos - 1));
        buf_str(&b, x);
        buf_str(&b, utf8_sub(s, pos + n - 1, INT32_MAX));
    });
    return ERR_OK;
}

/* -- split_part, levenshtein, soundex, mask ------------------------------------------------------------------------------------------------ */
enum err fn_split_part(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        if (!call_live(c, i))
            continue;
        struct str s = CALL_STR(c, 0, i), d = CALL_STR(c, 1, i);
        int64_t want = CALL_I32(c, 2, i), parts = 1;
        if (want == 0) {
            CALL_FAIL(c, i, ERR_INVALID_INDEX_OF_ZERO, {"", ""});
            continue;
        }
        for (ptrdiff_t at = 0; d.n && (at = str_find(s, d, (size_t)at)) >= 0; at += (ptrdiff_t)d.n)
            parts++;
        int64_t k = want > 0 ? want : parts + want + 1;
        c->out->data.str[i] = STR("");
        if (k < 1 || k > parts)
            continue;
        size_t from = 0;
        for (int64_t p = 1; p < k; p++)
            from = (size_t)str_find(s, d, from) + d.n;
        ptrdiff_t to = k < parts ? str_find(s, d, from) : (ptrdiff_t)s.n;
        c->out->data.str[i] = str_sub(s, from, (size_t)to - from);
    }
    return ERR_OK;
}

static int32_t levenshtein(struct arena *a, struct str x, struct str y)
{
    size_t n = utf8_count(y);
    int32_t *row = ARENA_ARRAY(a, n + 1, int32_t), i = 0;
    for (size_t k = 0; k <= n; k++)
        row[k] = (int32_t)k;
    for (size_t p = 0, w; p < x.n; p += w) {
        int32_t diagonal = i++;
        w = utf8_step(x, p);
        row[0] = i;
        size_t k = 1;
        for (size_t q = 0, v; q < y.n; q += v, k++) {
            v = utf8_step(y, q);
            int32_t same = !(v == w && memcmp(x.p + p, y.p + q, w) == 0) + diagonal;
            diagonal = row[k];
            int32_t gap = (row[k] < row[k - 1] ? row[k] : row[k - 1]) + 1;
            row[k] = same < gap ? same : gap;
        }
    }
    return row[n];
}

enum err fn_levenshtein(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        if (!call_live(c, i))
            continue;
        struct str x = CALL_STR(c, 0, i), y = CALL_STR(c, 1, i);
        if (x.n > LIMIT_LEVENSHTEIN_BYTES || y.n > LIMIT_LEVENSHTEIN_BYTES)
            return LIMIT_FAULT(c->ev->fault, LEVENSHTEIN_BYTES);
        c->out->data.i32[i] = levenshtein(c->ev->arena, x, y);
    }
    return ERR_OK;
}

/* UTF8String.soundex: texts that do not begin with a letter stay as they are. */
enum err fn_soundex(struct call *c)
{
    static const char CODE[] = "01230127022455012623017202"; /* 7: H and W, passed over */
    STRING_ROWS(c, {
        struct str s = CALL_STR(c, 0, i);
        unsigned first = s.n ? (unsigned char)s.p[0] & ~0x20u : 0;
        if (first < 'A' || first > 'Z') {
            buf_str(&b, s);
        } else {
            char last = CODE[first - 'A'];
            buf_u8(&b, (uint8_t)first);
            for (size_t k = 1; k < s.n && b.n < 4; k++) {
                unsigned ch = (unsigned char)s.p[k] & ~0x20u;
                char code = ch >= 'A' && ch <= 'Z' ? CODE[ch - 'A'] : '0';
                if (code == '7')
                    continue;
                if (code != '0' && code != last)
                    buf_u8(&b, (uint8_t)code);
                last = code;
            }
            buf_fill(&b, '0', b.n < 4 ? 4 - b.n : 0);
        }
    });
    return ERR_OK;
}

enum err bind_mask(struct bind_call *bc)
{
    static const char *const DEFAULTS[] = {"X", "x", "n", NULL};
    struct expr *e = bc->e, **args = ARENA_ARRAY(bc->b->arena, 5, struct expr *);
    for (int i = 0; i < 5; i++)
        args[i] = i < e->nargs      ? e->args[i]
                  : DEFAULTS[i - 1] ? expr_lit_str(bc->b, str_of(DEFAULTS[i - 1]))
                                    : expr_null(bc->b, type_simple(TYPE_STRING));
    e->args = args;
    e->nargs = 5;
    return bind_standard(bc);
}

enum err fn_mask(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (!col_valid(&c->args[0], i))
            call_set_null(c, i);
    STRING_ROWS(c, {
        struct str s = CALL_STR(c, 0, i);
        for (size_t at = 0, w; at < s.n; at += w) {
            w = utf8_step(s, at);
            char ch = s.p[at];
            int k = ch >= 'A' && ch <= 'Z' ? 1 : ch >= 'a' && ch <= 'z' ? 2 : ch >= '0' && ch <= '9' ? 3 : 4;
            if (col_valid(&c->args[k], i))
                buf_str(&b, CALL_STR(c, k, i));
            else
                buf_put(&b, s.p + at, w);
        }
    });
    return ERR_OK;
}

/* -- LIKE ------------------------------------------------------------------------------------------------------------------------------------ */
enum { LIKE_ANY_CASE = 1 };

/* % any text, _ one code point, escape before either or itself. Backtracks to the last % only. */
static bool like(struct str s, struct str p, char escape)
{
    size_t i = 0, k = 0, star = SIZE_MAX, mark = 0;
    while (i < s.n) {
        bool literal = k + 1 < p.n && p.p[k] == escape;
        char ch = k < p.n ? p.p[k + literal] : 0;
        if (k < p.n && !literal && ch == '%') {
            star = ++k;
            mark = i;
        } else if (k < p.n && !literal && ch == '_') {
            i += utf8_step(s, i);
            k++;
        } else if (k < p.n && ch == s.p[i]) {
            i++;
            k += 1 + literal;
        } else if (star != SIZE_MAX) {
            mark += utf8_step(s, mark);
            i = mark;
            k = star;
        } else {
            return false;
        }
    }
    while (k < p.n && p.p[k] == '%')
        k++;
    return k == p.n;
}

static enum err like_pattern(struct call *c, uint32_t i, struct str p, char escape)
{
    struct arena *a = c->ev->arena;
    struct column one;
    for (size_t k = 0; k < p.n; k++) {
        if (p.p[k] != escape)
            continue;
        column_alloc(&one, type_simple(TYPE_STRING), 2, a);
        one.data.str[0] = p;
        one.data.str[1] = str_sub(p, k + 1, utf8_step(p, k + 1 < p.n ? k + 1 : k));
        if (k + 1 == p.n)
            CALL_FAIL(c, i, ERR_INVALID_FORMAT_ESC_AT_THE_END, {"format", literal_sql(a, &one, 0, NULL)});
        else if (p.p[k + 1] != '%' && p.p[k + 1] != '_' && p.p[k + 1] != escape)
            CALL_FAIL(c, i, ERR_INVALID_FORMAT_ESC_IN_THE_MIDDLE, {"format", literal_sql(a, &one, 0, NULL)},
                      {"char", literal_sql(a, &one, 1, NULL)});
        k++;
    }
    return ERR_OK;
}

enum err bind_like(struct bind_call *bc)
{
    struct expr *e = bc->e;
    struct str escape = STR("\\");
    bool null = false;
    if (e->nargs == 3) {
        if (!expr_constant_str(bc->b, e->args[2], &escape, &null) || null || escape.n != 1)
            return FAULT(bc->f, ERR_INVALID, {"what", "ESCAPE"}, {"detail", "it must be one character"});
        e->nargs = 2;
    }
    enum err err = bind_args(bc, "S,S");
    if (err)
        return err;
    char *kept = arena_alloc(bc->b->arena, 1);
    *kept = escape.p[0];
    e->bound = kept;
    e->type = type_simple(TYPE_BOOLEAN);
    e->nullable = expr_args_nullable(e);
    bool shown = *kept != '\\';
    const char *x = shown ? arena_fmt(bc->b->arena, " ESCAPE '%c'", *kept).p : "";
    if (bc->fn->op & LIKE_ANY_CASE)
        e->sql = arena_fmt(bc->b->arena, "ilike(%.*s, %.*s%s)", STR_ARG(e->args[0]->sql), STR_ARG(e->args[1]->sql), x);
    else
        e->sql = arena_fmt(bc->b->arena, "%.*s LIKE %.*s%s", STR_ARG(e->args[0]->sql), STR_ARG(e->args[1]->sql), x);
    return ERR_OK;
}

enum err fn_like(struct call *c)
{
    char escape = *(const char *)c->e->bound;
    bool lower = c->e->fn->op & LIKE_ANY_CASE, checked = false;
    struct str folded = STR("");
    for (uint32_t i = 0; i < c->n; i++) {
        if (!call_live(c, i))
            continue;
        struct str s = CALL_STR(c, 0, i), p = CALL_STR(c, 1, i);
        if (!checked) {
            enum err err = like_pattern(c, i, p, escape);
            if (err)
                return err;
            checked = col_is_const(&c->args[1]);
            folded = lower ? utf8_case(c->ev->arena, p, false) : p;
        }
        if (!call_live(c, i))
            continue;
        if (lower)
            s = utf8_case(c->ev->arena, s, false);
        c->out->data.boolean[i] = like(s, folded, escape);
    }
    return ERR_OK;
}

/* quote(s): single quotes around, quotes inside escaped. */
enum err fn_quote(struct call *c)
{
    STRING_ROWS(c, {
        struct str s = CALL_STR(c, 0, i);
        size_t w;
        buf_u8(&b, '\'');
        for (size_t at = 0; at < s.n; at += w) {
            uint32_t cp = utf8_at(s, at, &w);
            if (cp == '\'')
                buf_u8(&b, '\\');
            utf8_put(&b, cp);
        }
        buf_u8(&b, '\'');
    });
    return ERR_OK;
}
