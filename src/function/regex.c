/*
 * Regular expressions: Java's syntax on PCRE2.
 *
 * Constant patterns are compiled when the plan is bound, into the plan's arena; others when they change from row to row.
 * Alike for nearly everything people write. What PCRE2 would read differently, or Java does not have, is refused: class
 * intersection ([a-z&&[^b]]), recursion, callouts, verbs.
 */
#include "function/string_int.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

struct regex {
    pcre2_code *code;
    uint32_t groups;
};

static void *from_arena(size_t n, void *arena)
{
    return arena_try(arena, n);
}

static void to_arena(void *p, void *arena)
{
    (void)p, (void)arena; /* freed with the arena */
}

/* Java's POSIX-like \p names in PCRE2's words; NULL: passed on as it is. */
static const char *property_class(struct str name)
{
    static const char *const NAMES[][2] = {{"Lower", "[:lower:]"}, {"Upper", "[:upper:]"}, {"ASCII", "[:ascii:]"},
                                           {"Alpha", "[:alpha:]"}, {"Digit", "[:digit:]"}, {"Alnum", "[:alnum:]"},
                                           {"Punct", "[:punct:]"}, {"Graph", "[:graph:]"}, {"Print", "[:print:]"},
                                           {"Blank", "[:blank:]"}, {"Cntrl", "[:cntrl:]"}, {"XDigit", "[:xdigit:]"},
                                           {"Space", "[:space:]"}};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (str_eqz(name, NAMES[i][0]))
            return NAMES[i][1];
    return NULL;
}

/* Rewrite what differs; false: something that only one of the two dialects has. */
static bool translate(struct str p, struct buf *out)
{
    int depth = 0; /* inside [ ] */
    for (size_t i = 0; i < p.n; i++) {
        struct str rest = str_sub(p, i, p.n);
        if (str_starts(rest, STR("\\Q"))) {
            ptrdiff_t end = str_find(rest, STR("\\E"), 2);
            size_t n = end < 0 ? rest.n : (size_t)end + 2;
            buf_put(out, rest.p, n);
            i += n - 1;
        } else if (str_starts(rest, STR("\\p{")) || str_starts(rest, STR("\\P{"))) {
            ptrdiff_t close = str_find(rest, STR("}"), 3);
            const char *posix = close < 0 ? NULL : property_class(str_sub(rest, 3, (size_t)close - 3));
            bool negated = rest.p[1] == 'P';
            if (!posix) {
                buf_put(out, rest.p, 2);
                i++;
                continue;
            }
            if (depth && negated)
                buf_fmt(out, "[:^%s", posix + 2);
            else
                buf_fmt(out, depth ? "%s" : negated ? "[^%s]" : "[%s]", posix);
            i += (size_t)close;
        } else if (p.p[i] == '\\' && i + 1 < p.n) {
            if (!depth && strchr("KCgN", p.p[i + 1]))
                return false;
            buf_put(out, p.p + i, 2);
            i++;
        } else {
            if (depth && (str_starts(rest, STR("&&")) || (p.p[i] == '[' && i && p.p[i - 1] != '[')))
                return false; /* intersection, union */
            if (!depth &&
                (str_starts(rest, STR("(*")) || str_starts(rest, STR("(?R")) || str_starts(rest, STR("(?&")) ||
                 str_starts(rest, STR("(?P")) || str_starts(rest, STR("(?C")) || str_starts(rest, STR("(?|"))))
                return false;
            if (p.p[i] == '[' && !depth) {
                depth = 1;
                buf_u8(out, '[');
                if (i + 1 < p.n && p.p[i + 1] == '^')
                    buf_u8(out, (uint8_t)p.p[++i]);
                continue;
            }
            if (p.p[i] == ']' && depth)
                depth = 0;
            buf_u8(out, (uint8_t)p.p[i]);
        }
    }
    return true;
}

static const struct regex *compile(struct arena *a, struct str pattern)
{
    int code;
    PCRE2_SIZE at;
    struct buf text = {0};
    pcre2_general_context *general = pcre2_general_context_create(from_arena, to_arena, a);
    pcre2_compile_context *context = pcre2_compile_context_create(general);
    struct regex *r = ARENA_NEW(a, struct regex);
    pcre2_set_newline(context, PCRE2_NEWLINE_ANYCRLF);
    pcre2_set_parens_nest_limit(context, 200);
    if (translate(pattern, &text))
        r->code = pcre2_compile((PCRE2_SPTR)(text.p ? text.p : ""), text.n, PCRE2_UTF | PCRE2_MATCH_INVALID_UTF, &code,
                                &at, context);
    buf_free(&text);
    if (!r->code)
        return NULL;
    pcre2_pattern_info(r->code, PCRE2_INFO_CAPTURECOUNT, &r->groups);
    return r;
}

/* -- a row's regex -------------------------------------------------------------------------------------------------------------------- */
struct matcher {
    const struct regex *regex;
    struct str pattern;
    pcre2_match_data *data;
    pcre2_match_context *context;
    const size_t *span; /* of the last match: start and end of group 0, 1, … */
};

static void matcher_start(struct matcher *m, struct call *c)
{
    struct arena *a = c->ev->arena;
    pcre2_general_context *general = pcre2_general_context_create(from_arena, to_arena, a);
    *m = (struct matcher){.regex = c->e->bound};
    m->context = pcre2_match_context_create(general);
    pcre2_set_match_limit(m->context, 10000000);
    if (m->regex)
        m->data = pcre2_match_data_create_from_pattern(m->regex->code, general);
}

static enum err bad_pattern(struct call *c, uint32_t i, struct str pattern)
{
    struct arena *a = c->ev->arena;
    struct column one;
    column_alloc(&one, type_simple(TYPE_STRING), 1, a);
    one.data.str[0] = pattern;
    const char *name = c->e->fn->op ? "`rlike`" : arena_fmt(a, "`%s`", function_name(c->e->fn)).p;
    CALL_FAIL(c, i, ERR_INVALID_PARAMETER_VALUE_PATTERN, {"parameter", "`regexp`"}, {"functionName", name},
              {"value", literal_sql(a, &one, 0, NULL)});
    return ERR_OK;
}

/* Make m match row i's pattern. */
static enum err matcher_for(struct matcher *m, struct call *c, uint32_t i, struct str pattern)
{
    if (c->e->bound || (m->regex && str_eq(m->pattern, pattern)))
        return ERR_OK;
    m->pattern = pattern;
    m->regex = compile(c->ev->arena, pattern);
    if (!m->regex)
        return bad_pattern(c, i, pattern);
    m->data = pcre2_match_data_create_from_pattern(m->regex->code,
                                                   pcre2_general_context_create(from_arena, to_arena, c->ev->arena));
    return ERR_OK;
}

static bool match(struct matcher *m, struct str s, size_t from)
{
    if (!m->regex || from > s.n)
        return false;
    int n = pcre2_match(m->regex->code, (PCRE2_SPTR)(s.n ? s.p : ""), s.n, from, 0, m->data, m->context);
    m->span = pcre2_get_ovector_pointer(m->data);
    return n > 0;
}

/* Where the search goes on after a match: an empty one steps over a character. */
static size_t after_match(const struct matcher *m, struct str s)
{
    if (m->span[1] > m->span[0])
        return m->span[1];
    return m->span[1] < s.n ? m->span[1] + utf8_step(s, m->span[1]) : s.n + 1;
}

static struct str group(const struct matcher *m, struct str s, uint32_t k)
{
    if (m->span[2 * k] == PCRE2_UNSET)
        return STR("");
    return str_sub(s, m->span[2 * k], m->span[2 * k + 1] - m->span[2 * k]);
}

/* -- binding ---------------------------------------------------------------------------------------------------------------------------- */
/* f(text, pattern, …): a constant pattern is compiled here; a bad one fails when the query runs, as in Spark. */
enum err bind_regex(struct bind_call *bc)
{
    struct expr *e = bc->e;
    struct str pattern;
    bool null;
    enum err err = bind_standard(bc);
    if (!err && expr_constant_str(bc->b, e->args[1], &pattern, &null) && !null)
        e->bound = compile(bc->b->arena, pattern);
    return err;
}

/* Fill in trailing arguments that Spark shows though nobody wrote them. */
static void with_default(struct bind_call *bc, int n, int32_t v)
{
    struct expr *e = bc->e;
    if (e->nargs >= n)
        return;
    struct expr **args = ARENA_ARRAY(bc->b->arena, (size_t)n, struct expr *);
    memcpy(args, e->args, (size_t)e->nargs * sizeof *args);
    args[n - 1] = expr_lit_i32(bc->b, v);
    e->args = args;
    e->nargs = n;
}

enum err bind_regexp_extract(struct bind_call *bc)
{
    with_default(bc, 3, 1);
    enum err err = bind_regex(bc);
    if (bc->fn->op == 0 && !err && bc->e->type->id == TYPE_ARRAY)
        bc->e->type = type_array(bc->b->arena, type_simple(TYPE_STRING), true);
    return err;
}

enum err bind_regexp_replace(struct bind_call *bc)
{
    with_default(bc, 4, 1);
    return bind_regex(bc);
}

enum err bind_regexp_instr(struct bind_call *bc)
{
    with_default(bc, 3, 0);
    return bind_regex(bc);
}

enum err bind_split(struct bind_call *bc)
{
    with_default(bc, 3, -1);
    enum err err = bind_regex(bc);
    bc->e->type = type_array(bc->b->arena, type_simple(TYPE_STRING), false);
    return err;
}

/* -- kernels ------------------------------------------------------------------------------------------------------------------------------- */
#define REGEX_ROWS(c, m, ...)                                                                                          \
    do {                                                                                                               \
        matcher_start(&(m), (c));                                                                                      \
        for (uint32_t i = 0; i < (c)->n; i++) {                                                                        \
            if (!call_live((c), i))                                                                                    \
                continue;                                                                                              \
            enum err err_ = matcher_for(&(m), (c), i, CALL_STR((c), 1, i));                                            \
            if (err_)                                                                                                  \
                return err_;                                                                                           \
            if (!call_live((c), i))                                                                                    \
                continue;                                                                                              \
            struct str s = CALL_STR((c), 0, i);                                                                        \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    } while (0)

enum err fn_rlike(struct call *c)
{
    struct matcher m;
    REGEX_ROWS(c, m, c->out->data.boolean[i] = match(&m, s, 0););
    return ERR_OK;
}

static enum err bad_group(struct call *c, uint32_t i, int32_t k, uint32_t groups)
{
    struct arena *a = c->ev->arena;
    CALL_FAIL(c, i, ERR_INVALID_PARAMETER_VALUE_REGEX_GROUP_INDEX, {"parameter", "`idx`"},
              {"functionName", arena_fmt(a, "`%s`", function_name(c->e->fn)).p},
              {"groupCount", arena_fmt(a, "%u", groups).p}, {"groupIndex", arena_fmt(a, "%d", k).p});
    return ERR_OK;
}

enum err fn_regexp_extract(struct call *c)
{
    struct matcher m;
    REGEX_ROWS(c, m, {
        int32_t k = CALL_I32(c, 2, i);
        c->out->data.str[i] = STR("");
        if (!match(&m, s, 0))
            continue;
        if (k < 0 || (uint32_t)k > m.regex->groups) {
            enum err err = bad_group(c, i, k, m.regex->groups);
            if (err)
                return err;
            continue;
        }
        c->out->data.str[i] = group(&m, s, (uint32_t)k);
    });
    return ERR_OK;
}

static void push_text(struct call *c, uint32_t i, struct str s)
{
    struct column *e = &c->out->children[0];
    uint32_t used = c->out->data.offsets[i + 1];
    column_grow(e, used + 1, c->ev->arena);
    e->data.str[used] = s;
    c->out->data.offsets[i + 1] = used + 1;
}

static enum err extract_all_row(struct call *c, struct matcher *m, uint32_t i)
{
    struct str s = CALL_STR(c, 0, i);
    int32_t k = CALL_I32(c, 2, i);
    for (size_t from = 0; match(m, s, from); from = after_match(m, s)) {
        if (k < 0 || (uint32_t)k > m->regex->groups)
            return bad_group(c, i, k, m->regex->groups);
        push_text(c, i, group(m, s, (uint32_t)k));
    }
    return ERR_OK;
}

enum err fn_regexp_extract_all(struct call *c)
{
    struct matcher m;
    matcher_start(&m, c);
    for (uint32_t i = 0; i < c->n; i++) {
        c->out->data.offsets[i + 1] = c->out->data.offsets[i];
        if (!call_live(c, i))
            continue;
        enum err err = matcher_for(&m, c, i, CALL_STR(c, 1, i));
        if (!err && call_live(c, i))
            err = extract_all_row(c, &m, i);
        if (err)
            return err;
    }
    return ERR_OK;
}

/* Java's Matcher.appendReplacement: $1, ${name} are groups, a backslash takes the next character. false: no such group. */
static bool put_replacement(struct buf *out, const struct matcher *m, struct str s, struct str r)
{
    for (size_t k = 0; k < r.n; k++) {
        if (r.p[k] == '\\') {
            if (++k == r.n)
                return false;
            buf_u8(out, (uint8_t)r.p[k]);
        } else if (r.p[k] != '$') {
            buf_u8(out, (uint8_t)r.p[k]);
        } else if (k + 1 < r.n && r.p[k + 1] == '{') {
            ptrdiff_t close = str_find(r, STR("}"), k);
            char name[64] = "";
            if (close < 0 || (size_t)close - k - 2 >= sizeof name)
                return false;
            memcpy(name, r.p + k + 2, (size_t)close - k - 2);
            int no = pcre2_substring_number_from_name(m->regex->code, (PCRE2_SPTR)name);
            if (no < 0)
                return false;
            buf_str(out, group(m, s, (uint32_t)no));
            k = (size_t)close;
        } else {
            uint32_t no = 0, digits = 0;
            while (k + 1 < r.n && (unsigned)r.p[k + 1] - '0' <= 9) {
                uint32_t more = no * 10 + (uint32_t)(r.p[k + 1] - '0');
                if (digits && more > m->regex->groups)
                    break; /* further digits belong to the text */
                no = more;
                digits++;
                k++;
            }
            if (!digits || no > m->regex->groups)
                return false;
            buf_str(out, group(m, s, no));
        }
    }
    return true;
}

static enum err bad_replacement(struct call *c, uint32_t i)
{
    struct arena *a = c->ev->arena;
    CALL_FAIL(c, i, ERR_INVALID_REGEXP_REPLACE, {"source", arena_z(a, CALL_STR(c, 0, i))},
              {"pattern", arena_z(a, CALL_STR(c, 1, i))}, {"replacement", arena_z(a, CALL_STR(c, 2, i))},
              {"position", arena_fmt(a, "%d", CALL_I32(c, 3, i)).p});
    return ERR_OK;
}

enum err fn_regexp_replace(struct call *c)
{
    struct matcher m;
    REGEX_ROWS(c, m, {
        int32_t pos = CALL_I32(c, 3, i);
        size_t from = pos > 1 ? utf8_skip(s, 0, (size_t)pos - 1) : 0, done = 0;
        struct buf b = {0};
        bool ok = true;
        if (from < s.n || from == 0)
            for (; ok && match(&m, s, from); from = after_match(&m, s)) {
                buf_put(&b, s.p + done, m.span[0] - done);
                ok = put_replacement(&b, &m, s, CALL_STR(c, 2, i));
                done = m.span[1];
            }
        buf_put(&b, s.p + done, s.n - done);
        c->out->data.str[i] = arena_str(c->ev->arena, buf_view(&b));
        ok &= !b.bad;
        buf_free(&b);
        enum err err = ok ? ERR_OK : bad_replacement(c, i);
        if (err)
            return err;
    });
    return ERR_OK;
}

enum err fn_regexp_number(struct call *c)
{
    struct matcher m;
    bool where = str_eqz(str_of(function_name(c->e->fn)), "regexp_instr");
    REGEX_ROWS(c, m, {
        int32_t n = 0;
        if (where)
            n = match(&m, s, 0) ? (int32_t)utf8_count(str_sub(s, 0, m.span[0])) + 1 : 0;
        else
            for (size_t from = 0; match(&m, s, from); from = after_match(&m, s))
                n++;
        c->out->data.i32[i] = n;
    });
    return ERR_OK;
}

enum err fn_regexp_substr(struct call *c)
{
    struct matcher m;
    REGEX_ROWS(c, m, {
        if (match(&m, s, 0))
            c->out->data.str[i] = group(&m, s, 0);
        else
            call_set_null(c, i);
    });
    return ERR_OK;
}

/* String.split with Spark's limits: above 0 at most so many parts, else all, empty ones at the end too. */
static void split_row(struct call *c, struct matcher *m, uint32_t i, struct str s, int32_t limit)
{
    size_t start = 0;
    int32_t parts = 1;
    if (CALL_STR(c, 1, i).n == 0) { /* into characters */
        size_t at = 0;
        for (; at < s.n && (limit <= 0 || parts < limit); parts++) {
            size_t w = utf8_step(s, at);
            push_text(c, i, str_sub(s, at, w));
            at += w;
        }
        if (at < s.n || s.n == 0)
            push_text(c, i, str_sub(s, at, s.n));
        return;
    }
    for (size_t from = 0; (limit <= 0 || parts < limit) && match(m, s, from); from = after_match(m, s)) {
        if (m->span[1] == 0 || (m->span[0] == s.n && m->span[1] == s.n && m->span[0] == m->span[1]))
            continue; /* an empty match at either end cuts nothing */
        push_text(c, i, str_sub(s, start, m->span[0] - start));
        start = m->span[1];
        parts++;
    }
    push_text(c, i, str_sub(s, start, s.n));
}

enum err fn_split(struct call *c)
{
    struct matcher m;
    matcher_start(&m, c);
    for (uint32_t i = 0; i < c->n; i++) {
        c->out->data.offsets[i + 1] = c->out->data.offsets[i];
        if (!call_live(c, i))
            continue;
        enum err err = matcher_for(&m, c, i, CALL_STR(c, 1, i));
        if (err)
            return err;
        if (call_live(c, i))
            split_row(c, &m, i, CALL_STR(c, 0, i), CALL_I32(c, 2, i));
    }
    c->out->children[0].valid = NULL;
    return ERR_OK;
}
