/*
 * Text → tokens, after Spark's SqlBaseLexer.g4: words, `quoted names`, strings with escapes or raw, numbers with their
 * suffixes, symbols; comments (-- to the end of the line, nested slash-star) are skipped. Positions count code points, as Spark's do.
 */
#include "sql_int.h"

struct lexer {
    struct parser *p;
    size_t at;     /* byte */
    int32_t point; /* code point */
    int32_t line, column;
    int cap;
};

static inline unsigned char byte_at(const struct lexer *l, size_t ahead)
{
    return l->at + ahead < l->p->text.n ? (unsigned char)l->p->text.p[l->at + ahead] : 0;
}

static inline bool is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

static inline bool is_word(unsigned char c)
{
    return is_digit(c) || c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
}

static void advance(struct lexer *l, size_t bytes)
{
    size_t end = l->at + bytes > l->p->text.n ? l->p->text.n : l->at + bytes;
    for (; l->at < end; l->at++) {
        unsigned char c = (unsigned char)l->p->text.p[l->at];
        if ((c & 0xC0) == 0x80)
            continue;
        l->point++;
        l->column++;
        if (c == '\n') {
            l->line++;
            l->column = 0;
        }
    }
}

/* U+00A0, U+2000–200A, U+3000 … count as spaces in Spark's lexer; returns their length in bytes, or 0. */
static size_t wide_space(const struct lexer *l)
{
    unsigned char a = byte_at(l, 0), b = byte_at(l, 1), c = byte_at(l, 2);
    if (a == 0xC2 && b == 0xA0)
        return 2;
    if (a == 0xE2 && b == 0x80 && ((c >= 0x80 && c <= 0x8A) || c == 0xA8 || c == 0xA9 || c == 0xAF))
        return 3;
    return a == 0xE3 && b == 0x80 && c == 0x80 ? 3 : 0;
}

static bool skip_comment(struct lexer *l)
{
    int depth = 0;
    do {
        if (byte_at(l, 0) == '/' && byte_at(l, 1) == '*') {
            depth++;
            advance(l, 2);
        } else if (byte_at(l, 0) == '*' && byte_at(l, 1) == '/') {
            depth--;
            advance(l, 2);
        } else if (l->at >= l->p->text.n) {
            l->p->err = fault_set(l->p->fault, ERR_UNCLOSED_BRACKETED_COMMENT, 0, NULL);
            return false;
        } else {
            advance(l, 1);
        }
    } while (depth);
    return true;
}

static bool skip_space(struct lexer *l)
{
    for (;;) {
        unsigned char c = byte_at(l, 0);
        size_t wide = c >= 0x80 ? wide_space(l) : 0;
        if (l->at >= l->p->text.n)
            return true;
        if (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v') {
            advance(l, 1);
        } else if (wide) {
            advance(l, wide);
        } else if (c == '-' && byte_at(l, 1) == '-') {
            /* A backslash before the line's end continues the comment, as in Spark's SIMPLE_COMMENT. */
            while (l->at < l->p->text.n && byte_at(l, 0) != '\n')
                advance(l, byte_at(l, 0) == '\\' && byte_at(l, 1) == '\n' ? 2 : 1);
        } else if (c == '/' && byte_at(l, 1) == '*') {
            if (!skip_comment(l))
                return false;
        } else {
            return true;
        }
    }
}

static void put_utf8(char *out, size_t *n, uint32_t c)
{
    if (c < 0x80) {
        out[(*n)++] = (char)c;
    } else if (c < 0x800) {
        out[(*n)++] = (char)(0xC0 | c >> 6);
        out[(*n)++] = (char)(0x80 | (c & 0x3F));
    } else if (c < 0x10000) {
        out[(*n)++] = (char)(0xE0 | c >> 12);
        out[(*n)++] = (char)(0x80 | (c >> 6 & 0x3F));
        out[(*n)++] = (char)(0x80 | (c & 0x3F));
    } else {
        out[(*n)++] = (char)(0xF0 | c >> 18);
        out[(*n)++] = (char)(0x80 | (c >> 12 & 0x3F));
        out[(*n)++] = (char)(0x80 | (c >> 6 & 0x3F));
        out[(*n)++] = (char)(0x80 | (c & 0x3F));
    }
}

static bool digits_of(struct str s, size_t at, int n, int base, uint32_t *out)
{
    uint32_t v = 0;
    if (at + (size_t)n > s.n)
        return false;
    for (int i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s.p[at + (size_t)i];
        unsigned char low = c | 0x20;
        int d = is_digit(c) ? c - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : 99;
        if (d >= base)
            return false;
        v = v * (uint32_t)base + (uint32_t)d;
    }
    *out = v;
    return true;
}

/* One escape sequence at s.p[at] == '\\' (SparkParserUtils.unescapeSQLString); returns how many bytes it took. */
static size_t unescape(struct str s, size_t at, char *out, size_t *n)
{
    static const char FROM[] = "0bnrtZ", TO[] = "\0\b\n\r\t\x1a";
    if (at + 1 >= s.n) {
        out[(*n)++] = '\\';
        return 1;
    }
    char c = s.p[at + 1];
    uint32_t v;
    if (c == 'u' && digits_of(s, at + 2, 4, 16, &v)) {
        uint32_t low;
        size_t took = 6;
        if (v >= 0xD800 && v < 0xDC00 && at + 7 < s.n && s.p[at + 6] == '\\' && s.p[at + 7] == 'u' &&
            digits_of(s, at + 8, 4, 16, &low) && low >= 0xDC00 && low < 0xE000) {
            v = 0x10000 + ((v - 0xD800) << 10) + (low - 0xDC00);
            took = 12;
        }
        put_utf8(out, n, v >= 0xD800 && v < 0xE000 ? '?' : v);
        return took;
    }
    if (c == 'U' && digits_of(s, at + 2, 8, 16, &v) && v <= 0x10FFFF) {
        put_utf8(out, n, v);
        return 10;
    }
    if ((c == '0' || c == '1') && digits_of(s, at + 1, 3, 8, &v)) {
        put_utf8(out, n, v);
        return 4;
    }
    const char *hit = memchr(FROM, c, sizeof FROM - 1);
    if (hit) {
        out[(*n)++] = TO[hit - FROM];
    } else {
        if (c == '%' || c == '_') /* kept for LIKE */
            out[(*n)++] = '\\';
        out[(*n)++] = c;
    }
    return 2;
}

/* 'text' or "text" at `from` (the quote); false when it does not end. Doubled quotes stand for one. */
static bool lex_string(struct lexer *l, size_t prefix, bool raw, struct token *t)
{
    char quote = (char)byte_at(l, prefix);
    size_t i = l->at + prefix + 1, n = 0;
    struct str s = l->p->text;
    size_t end = i;
    while (end < s.n && !(s.p[end] == quote && (raw || end + 1 >= s.n || s.p[end + 1] != quote)))
        end += (s.p[end] == '\\' && !raw) || s.p[end] == quote ? 2 : 1;
    if (end >= s.n)
        return false;
    char *out = arena_alloc(l->p->a, end - i + 1);
    struct str body = {s.p, end};
    while (i < end) {
        if (raw || (s.p[i] != '\\' && s.p[i] != quote)) {
            out[n++] = s.p[i++];
        } else if (s.p[i] == quote) {
            out[n++] = quote;
            i += 2;
        } else {
            i += unescape(body, i, out, &n);
        }
    }
    t->kind = TOKEN_STRING;
    t->value = str_make(out, n);
    advance(l, end + 1 - l->at);
    return true;
}

static bool lex_quoted(struct lexer *l, struct token *t)
{
    struct str s = l->p->text;
    size_t i = l->at + 1, n = 0;
    size_t end = i;
    while (end < s.n && !(s.p[end] == '`' && (end + 1 >= s.n || s.p[end + 1] != '`')))
        end += s.p[end] == '`' ? 2 : 1;
    if (end >= s.n)
        return false;
    char *out = arena_alloc(l->p->a, end - i + 1);
    for (; i < end; i++) {
        out[n++] = s.p[i];
        i += s.p[i] == '`';
    }
    t->kind = TOKEN_QUOTED;
    t->value = str_make(out, n);
    advance(l, end + 1 - l->at);
    return true;
}

static size_t run_of_digits(const struct lexer *l, size_t i)
{
    while (is_digit(byte_at(l, i)))
        i++;
    return i;
}

static size_t exponent(const struct lexer *l, size_t i)
{
    size_t j = i;
    if ((byte_at(l, j) | 0x20) != 'e')
        return i;
    j++;
    if (byte_at(l, j) == '+' || byte_at(l, j) == '-')
        j++;
    return is_digit(byte_at(l, j)) ? run_of_digits(l, j) : i;
}

/* A number, if what stands here is one: "1a" is an identifier in Spark (identifiers may begin with a digit). */
static bool lex_number(struct lexer *l, struct token *t)
{
    static const char *const SUFFIX[] = {"BD", "L", "S", "Y", "F", "D", ""};
    size_t i = run_of_digits(l, 0);
    bool fraction = byte_at(l, i) == '.' && (i > 0 || is_digit(byte_at(l, 1)));
    /* "1..2" and "t.1.a" do not occur; "1.e" is 1. followed by e, which isValidDecimal refuses. */
    size_t end = fraction ? run_of_digits(l, i + 1) : i;
    size_t with_exponent = exponent(l, end);
    enum number_kind kind = with_exponent > end ? NUMBER_EXPONENT : fraction ? NUMBER_DECIMAL : NUMBER_INTEGER;
    end = with_exponent;
    for (size_t k = 0; k < sizeof SUFFIX / sizeof *SUFFIX; k++) {
        size_t n = strlen(SUFFIX[k]);
        bool same = true;
        for (size_t j = 0; j < n; j++)
            same = same && (byte_at(l, end + j) & ~0x20) == SUFFIX[k][j];
        bool integral_only = n == 1 && strchr("LSY", SUFFIX[k][0]);
        if (!same || is_word(byte_at(l, end + n)) || (integral_only && kind != NUMBER_INTEGER))
            continue;
        memcpy(t->suffix, SUFFIX[k], n + 1);
        t->kind = TOKEN_NUMBER;
        t->number = kind;
        t->value = str_make(l->p->text.p + l->at, end);
        advance(l, end + n);
        return true;
    }
    return false;
}

static void lex_symbol(struct lexer *l, struct token *t)
{
    static const char *const SYMBOLS[] = {"<=>", ">>>", "->", "=>", "::", "||", "<=", ">=", "<>",
                                          "!=",  "==",  "<<", ">>", "|>", "!>", "!<", NULL};
    t->kind = TOKEN_SYMBOL;
    for (int i = 0; SYMBOLS[i]; i++) {
        size_t n = strlen(SYMBOLS[i]);
        if (l->at + n <= l->p->text.n && !memcmp(l->p->text.p + l->at, SYMBOLS[i], n)) {
            advance(l, n);
            return;
        }
    }
    if (!strchr("()[],.;:?+-*/%=<>!~&|^{}", byte_at(l, 0)) || !byte_at(l, 0))
        t->kind = TOKEN_UNKNOWN;
    size_t n = 1;
    while ((byte_at(l, n) & 0xC0) == 0x80)
        n++;
    advance(l, n);
}

static void lex_word(struct lexer *l, struct token *t)
{
    size_t n = 0;
    while (is_word(byte_at(l, n)))
        n++;
    t->kind = TOKEN_WORD;
    t->value = str_make(l->p->text.p + l->at, n);
    advance(l, n);
}

static void lex_token(struct lexer *l, struct token *t)
{
    unsigned char c = byte_at(l, 0), next = byte_at(l, 1);
    if (c == '\'' || c == '"') {
        if (lex_string(l, 0, false, t))
            return;
    } else if ((c | 0x20) == 'r' && (next == '\'' || next == '"')) {
        if (lex_string(l, 1, true, t))
            return;
    } else if (c == '`') {
        if (lex_quoted(l, t))
            return;
    } else if (is_digit(c) || (c == '.' && is_digit(next))) {
        if (lex_number(l, t))
            return;
    }
    if (is_word(c))
        lex_word(l, t);
    else
        lex_symbol(l, t);
}

static struct token *room(struct lexer *l)
{
    struct parser *p = l->p;
    if (p->n == l->cap) {
        int cap = l->cap ? l->cap * 2 : 64;
        struct token *more = ARENA_ARRAY(p->a, (size_t)cap, struct token);
        if (p->n)
            memcpy(more, p->tokens, (size_t)p->n * sizeof *more);
        p->tokens = more;
        l->cap = cap;
    }
    return &p->tokens[p->n++];
}

/* After a '.', digits name a field ("a.1b" is a.`1b`): Spark's grammar gets there by not allowing ".1" after a word. */
static bool after_dot_word(const struct parser *p)
{
    return p->n >= 2 && symbol_is(&p->tokens[p->n - 2], ".");
}

enum err sql_lex(struct parser *p)
{
    struct lexer l = {.p = p, .line = 1};
    if (p->text.n > LIMIT_SQL_BYTES)
        return p->err = LIMIT_FAULT(p->fault, SQL_BYTES);
    for (;;) {
        if (!skip_space(&l))
            return p->err;
        if (p->n >= LIMIT_SQL_TOKENS)
            return p->err = LIMIT_FAULT(p->fault, SQL_TOKENS);
        struct token *t = room(&l);
        *t = (struct token){.start = l.point, .line = l.line, .column = l.column};
        size_t from = l.at;
        if (l.at < p->text.n) {
            bool dot = p->n >= 2 && byte_at(&l, 0) == '.' && from && is_word((unsigned char)p->text.p[from - 1]) &&
                       p->tokens[p->n - 2].kind == TOKEN_WORD;
            if (dot)
                lex_symbol(&l, t);
            else if (after_dot_word(p) && is_digit(byte_at(&l, 0)))
                lex_word(&l, t);
            else
                lex_token(&l, t);
        }
        t->text = str_sub(p->text, from, l.at - from);
        t->stop = l.point - 1;
        if (t->kind == TOKEN_END)
            return ERR_OK;
    }
}
