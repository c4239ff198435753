/*
 * sasl.jaas.config, read as Kafka's JaasConfig reads it: Java's StreamTokenizer with C's and C++'s comments, words of letters,
 * digits, '-', '_', '$' and '.', and strings in either quote with C-like escapes.
 *
 *   org.apache.kafka.common.security.scram.ScramLoginModule required username="alice" password="a\"b";
 */
#include "base/rd.h"
#include "foreign/foreign_int.h"

#include <stdio.h>

enum token_kind { TOKEN_END, TOKEN_TEXT, TOKEN_NUMBER, TOKEN_OTHER };
struct token {
    enum token_kind kind;
    struct str text; /* of TEXT */
    char c;          /* of OTHER */
};
struct lexer {
    struct rd in;
    struct arena *arena;
};

static enum err failed(struct fault *f, const char *fmt, struct str what)
{
    char text[400];
    snprintf(text, sizeof text, fmt, what.n < 200 ? (int)what.n : 200, what.p);
    return FAULT(f, ERR_SOURCE_OPTION, {"message", text});
}

static bool is_word(char c, bool first)
{
    bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0xa0 || c == '_' ||
                     c == '$' || c == '-';
    return is_letter || (!first && ((c >= '0' && c <= '9') || c == '.'));
}

static void skip(struct lexer *l)
{
    for (;;) {
        while (l->in.n && (unsigned char)*l->in.p <= ' ')
            l->in.p++, l->in.n--;
        struct str rest = str_make(l->in.p, l->in.n);
        ptrdiff_t end;
        if (str_starts(rest, STR("/*")))
            end = str_find(rest, STR("*/"), 2), end = end < 0 ? (ptrdiff_t)rest.n : end + 2;
        else if (rest.n && *rest.p == '/') /* StreamTokenizer: '/' alone begins a comment too */
            end = str_find(rest, STR("\n"), 0), end = end < 0 ? (ptrdiff_t)rest.n : end;
        else
            return;
        l->in.p += end;
        l->in.n -= (size_t)end;
    }
}

static char escaped(struct lexer *l)
{
    static const char from[] = "abfnrtv", to[] = "\a\b\f\n\r\t\v";
    char c = *l->in.p;
    l->in.p++, l->in.n--;
    const char *at = memchr(from, c, sizeof from - 1);
    if (at)
        return to[at - from];
    if (c < '0' || c > '7')
        return c;
    int value = c - '0', most = c <= '3' ? 2 : 1;
    while (most-- && l->in.n && *l->in.p >= '0' && *l->in.p <= '7') {
        value = value * 8 + *l->in.p - '0';
        l->in.p++, l->in.n--;
    }
    return (char)value;
}

static struct str quoted(struct lexer *l)
{
    char quote = *l->in.p, *out = arena_alloc(l->arena, l->in.n + 1);
    size_t n = 0;
    l->in.p++, l->in.n--;
    while (l->in.n && *l->in.p != quote && *l->in.p != '\n' && *l->in.p != '\r') {
        char c = *l->in.p;
        l->in.p++, l->in.n--;
        out[n++] = c == '\\' && l->in.n ? escaped(l) : c;
    }
    if (l->in.n && *l->in.p == quote)
        l->in.p++, l->in.n--;
    return str_make(out, n);
}

static struct token next(struct lexer *l)
{
    skip(l);
    if (!l->in.n)
        return (struct token){TOKEN_END, {0}, 0};
    char c = *l->in.p;
    if (c == '"' || c == '\'')
        return (struct token){TOKEN_TEXT, quoted(l), 0};
    const char *start = l->in.p;
    bool is_number = (c >= '0' && c <= '9') || c == '.';
    if (!is_number && !is_word(c, true)) {
        l->in.p++, l->in.n--;
        return (struct token){TOKEN_OTHER, {0}, c};
    }
    while (l->in.n && (is_number ? (*l->in.p >= '0' && *l->in.p <= '9') || *l->in.p == '.' : is_word(*l->in.p, false)))
        l->in.p++, l->in.n--;
    return (struct token){is_number ? TOKEN_NUMBER : TOKEN_TEXT, str_make(start, (size_t)(l->in.p - start)), 0};
}

static bool is_flag(struct str s)
{
    return str_eq_nocase(s, STR("required")) || str_eq_nocase(s, STR("requisite")) ||
           str_eq_nocase(s, STR("sufficient")) || str_eq_nocase(s, STR("optional"));
}

static enum err put(struct jaas *j, struct str key, struct str value, struct fault *f)
{
    if (j->noptions == LIMIT_JAAS_OPTIONS)
        return LIMIT_FAULT(f, JAAS_OPTIONS);
    j->options[j->noptions].key = key;
    j->options[j->noptions++].value = value;
    return ERR_OK;
}

static enum err entry(struct lexer *l, struct token module, struct jaas *j, struct fault *f)
{
    struct token flag = next(l), t;
    j->module = module.text;
    j->flag = flag.text;
    if (module.kind != TOKEN_TEXT)
        return failed(f, "Login module not specified in JAAS config%.*s", STR(""));
    if (flag.kind != TOKEN_TEXT)
        return failed(f, "Login module control flag is not available in the JAAS config%.*s", STR(""));
    if (!is_flag(flag.text))
        return failed(f, "Invalid login module control flag '%.*s' in JAAS config", flag.text);
    for (t = next(l); t.kind != TOKEN_END && !(t.kind == TOKEN_OTHER && t.c == ';'); t = next(l)) {
        struct token equals = next(l);
        struct token value = equals.kind == TOKEN_OTHER && equals.c == '=' ? next(l) : equals;
        if (t.kind != TOKEN_TEXT || equals.c != '=' || value.kind != TOKEN_TEXT)
            return failed(f, "Value not specified for key '%.*s' in JAAS config",
                          t.kind == TOKEN_TEXT ? t.text : STR("null"));
        enum err e = put(j, t.text, value.text, f);
        if (e)
            return e;
    }
    return t.kind == TOKEN_OTHER ? ERR_OK : failed(f, "JAAS config entry not terminated by semi-colon%.*s", STR(""));
}

enum err jaas_parse(struct str text, struct arena *a, struct jaas *out, struct fault *f)
{
    struct lexer l = {rd_of(text), a};
    struct jaas more;
    char count[16];
    int n = 1;
    *out = (struct jaas){0};
    if (text.n > LIMIT_JAAS_BYTES)
        return LIMIT_FAULT(f, JAAS_BYTES);
    struct token t = next(&l);
    if (t.kind == TOKEN_END)
        return failed(f, "Login module not specified in JAAS config%.*s", STR(""));
    enum err e = entry(&l, t, out, f);
    for (t = next(&l); !e && t.kind != TOKEN_END; t = next(&l), n++) {
        more = (struct jaas){0};
        e = entry(&l, t, &more, f);
    }
    if (e || n == 1)
        return e;
    snprintf(count, sizeof count, "%d", n);
    return failed(f, "JAAS config property contains %.*s login modules, should be 1 module", str_of(count));
}

struct str jaas_option(const struct jaas *j, const char *key)
{
    struct str found = {0};
    for (int i = 0; i < j->noptions; i++)
        if (str_eqz(j->options[i].key, key))
            found = j->options[i].value; /* the last one counts, as in a Map */
    return found;
}
