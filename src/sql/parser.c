/*
 * The cursor over the tokens, and what goes wrong there. Errors are those of Spark's ParseException: PARSE_SYNTAX_ERROR with
 * `error` (the token as written, or "end of input") and `hint` (": extra input 'x'" where leaving the token out would do,
 * ": missing 'x'" where putting one in would), the position in the context.
 */
#include "sql_int.h"

#include <stdarg.h>
#include <stdio.h>

enum err parser_start(struct parser *p, struct str text, struct arena *a, struct fault *f)
{
    *p = (struct parser){.a = a, .fault = f, .text = text};
    return sql_lex(p);
}

bool word_is(const struct token *t, const char *word)
{
    return t->kind == TOKEN_WORD && str_eq_nocase(t->text, str_of(word));
}

bool symbol_is(const struct token *t, const char *s)
{
    return t->kind == TOKEN_SYMBOL && str_eqz(t->text, s);
}

bool word_in(const struct token *t, const char *const *words)
{
    for (; *words; words++)
        if (word_is(t, *words))
            return true;
    return false;
}

bool at_symbol(const struct parser *p, const char *s)
{
    return symbol_is(peek(p, 0), s);
}

bool at_word(const struct parser *p, const char *word)
{
    return word_is(peek(p, 0), word);
}

bool accept_symbol(struct parser *p, const char *s)
{
    if (!at_symbol(p, s))
        return false;
    p->at++;
    return true;
}

bool accept_word(struct parser *p, const char *word)
{
    if (!at_word(p, word))
        return false;
    p->at++;
    return true;
}

bool accept_words(struct parser *p, const char *first, const char *second)
{
    if (!at_word(p, first) || !word_is(peek(p, 1), second))
        return false;
    p->at += 2;
    return true;
}

/* Where the parser stands: fault_context shows the text with that place marked, as ParseException does. */
static void syntax_context(struct parser *p, const struct token *t)
{
    struct origin o = {.sql = p->text, .start = t->start, .stop = t->stop, .line = t->line, .column = t->column};
    fault_context(p->fault, &o);
}

void *syntax_error(struct parser *p, const char *hint)
{
    const struct token *t = peek(p, 0);
    char error[256];
    if (t->kind == TOKEN_END)
        snprintf(error, sizeof error, "end of input");
    else
        snprintf(error, sizeof error, "'%.*s'", (int)(t->text.n < 200 ? t->text.n : 200), t->text.p);
    if (p->err)
        return NULL;
    p->err = FAULT(p->fault, ERR_PARSE_SYNTAX, {"error", error}, {"hint", hint});
    syntax_context(p, t);
    return NULL;
}

/* The token could be left out: the next one is what was wanted. */
static void *extra_input(struct parser *p)
{
    const struct token *t = peek(p, 0);
    char hint[256];
    snprintf(hint, sizeof hint, ": extra input '%.*s'", (int)(t->text.n < 200 ? t->text.n : 200), t->text.p);
    return syntax_error(p, hint);
}

void *unsupported(struct parser *p, const char *feature, const char *hint)
{
    if (!p->err)
        p->err = FAULT(p->fault, ERR_UNSUPPORTED, {"feature", feature}, {"hint", hint});
    return NULL;
}

struct origin origin_from(const struct parser *p, int first)
{
    const struct token *from = &p->tokens[first];
    const struct token *to = &p->tokens[p->at > first ? p->at - 1 : first];
    return (struct origin){
        .sql = p->text, .start = from->start, .stop = to->stop, .line = from->line, .column = from->column};
}

void parse_context(struct parser *p, int first)
{
    struct origin o = origin_from(p, first);
    fault_context(p->fault, &o);
}

bool expect_symbol(struct parser *p, const char *s)
{
    if (accept_symbol(p, s))
        return true;
    const struct token *t = peek(p, 0);
    if (t->kind != TOKEN_END && symbol_is(peek(p, 1), s)) {
        extra_input(p);
        return false;
    }
    char hint[32] = "";
    if (t->kind == TOKEN_END && !strcmp(s, ")"))
        snprintf(hint, sizeof hint, ": missing '%s'", s);
    syntax_error(p, hint);
    return false;
}

bool expect_word(struct parser *p, const char *word)
{
    if (accept_word(p, word))
        return true;
    syntax_error(p, "");
    return false;
}

bool expect_end(struct parser *p)
{
    if (p->err)
        return false;
    if (peek(p, 0)->kind == TOKEN_END)
        return true;
    if (peek(p, 1)->kind == TOKEN_END || symbol_is(peek(p, 1), ";"))
        extra_input(p);
    else
        syntax_error(p, "");
    return false;
}

bool enter(struct parser *p)
{
    if (p->err)
        return false;
    if (p->depth >= LIMIT_SQL_DEPTH) {
        p->err = fault_set(p->fault, ERR_PARSE_TOO_COMPLEX, 0, NULL);
        return false;
    }
    p->depth++;
    return true;
}

void leave(struct parser *p)
{
    p->depth--;
}

/* Without ANSI reserved words every word may be a name; these few may not follow a table as its alias. */
static const char *const STRICT[] = {"anti",  "cross",   "except",   "full",  "inner",   "intersect",
                                     "join",  "lateral", "left",     "minus", "natural", "on",
                                     "right", "semi",    "setminus", "union", "using",   NULL};

bool parse_identifier(struct parser *p, struct str *out)
{
    const struct token *t = peek(p, 0);
    if (t->kind != TOKEN_WORD && t->kind != TOKEN_QUOTED) {
        syntax_error(p, "");
        return false;
    }
    *out = t->value;
    p->at++;
    return true;
}

bool parse_strict_identifier(struct parser *p, struct str *out)
{
    if (word_in(peek(p, 0), STRICT)) {
        syntax_error(p, "");
        return false;
    }
    return parse_identifier(p, out);
}

bool parse_parts(struct parser *p, struct str **parts, int *n)
{
    struct str list[16];
    *n = 0;
    do {
        if (*n == 16) {
            syntax_error(p, "");
            return false;
        }
        if (!parse_identifier(p, &list[*n]))
            return false;
        ++*n;
    } while (accept_symbol(p, "."));
    *parts = ARENA_ARRAY(p->a, (size_t)*n, struct str);
    memcpy(*parts, list, (size_t)*n * sizeof *list);
    return true;
}

bool parse_name_list(struct parser *p, struct str **names, int *n)
{
    int cap = 0;
    *names = NULL;
    *n = 0;
    if (!expect_symbol(p, "("))
        return false;
    do {
        if (*n == cap) {
            cap = cap ? cap * 2 : 8;
            struct str *more = ARENA_ARRAY(p->a, (size_t)cap, struct str);
            if (*n)
                memcpy(more, *names, (size_t)*n * sizeof *more);
            *names = more;
        }
        if (!parse_identifier(p, &(*names)[*n]))
            return false;
        ++*n;
    } while (accept_symbol(p, ","));
    return expect_symbol(p, ")");
}

void list_add(struct parser *p, struct node_list *l, struct node *e)
{
    if (l->n == l->cap) {
        int cap = l->cap ? l->cap * 2 : 8;
        struct node **more = ARENA_ARRAY(p->a, (size_t)cap, struct node *);
        if (l->n)
            memcpy(more, l->p, (size_t)l->n * sizeof *more);
        l->p = more;
        l->cap = cap;
    }
    l->p[l->n++] = e;
}

/* The node covers the tokens since `first`. Chains of operators nest without the parser nesting: their depth is bounded here. */
struct node *finish(struct parser *p, struct node *e, int first)
{
    if (!e || p->err)
        return NULL;
    int depth = 0;
    for (int i = 0; i < e->nargs; i++)
        if (e->args[i] && e->args[i]->depth > depth)
            depth = e->args[i]->depth;
    e->depth = depth + 1;
    if (e->depth > LIMIT_TREE_DEPTH) {
        p->err = fault_set(p->fault, ERR_PARSE_TOO_COMPLEX, 0, NULL);
        return NULL;
    }
    e->origin = origin_from(p, first);
    return e;
}

struct node *call_of(struct parser *p, int first, const char *name, int nargs, ...)
{
    struct node *e = node_new(p->a, NODE_CALL, nargs);
    e->name = str_of(name);
    va_list ap;
    va_start(ap, nargs);
    for (int i = 0; i < nargs; i++)
        e->args[i] = va_arg(ap, struct node *);
    va_end(ap);
    return finish(p, e, first);
}

/* -- the public entry points ------------------------------------------------------------------------------------- */
static enum err done(struct parser *p)
{
    expect_end(p);
    return p->err;
}

enum err sql_parse(struct str text, struct arena *a, struct statement *out, struct fault *f)
{
    struct parser p;
    *out = (struct statement){0};
    enum err e = parser_start(&p, text, a, f);
    if (e)
        return e;
    if (p.n == 1) {
        e = fault_set(f, ERR_PARSE_EMPTY_STATEMENT, 0, NULL);
        syntax_context(&p, peek(&p, 0));
        return e;
    }
    if (parse_statement(&p, out))
        while (accept_symbol(&p, ";"))
            ;
    return done(&p);
}

enum err sql_parse_expression(struct str text, struct arena *a, struct node **out, struct fault *f)
{
    struct parser p;
    enum err e = parser_start(&p, text, a, f);
    if (e)
        return e;
    *out = parse_named_expression(&p);
    return done(&p);
}

enum err sql_parse_identifier(struct str text, struct arena *a, struct str **parts, int *n, struct fault *f)
{
    struct parser p;
    enum err e = parser_start(&p, text, a, f);
    if (e)
        return e;
    parse_parts(&p, parts, n);
    return done(&p);
}

enum err sql_parse_type(struct str text, struct arena *a, const struct type **out, struct fault *f)
{
    struct parser p;
    enum err e = parser_start(&p, text, a, f);
    if (e)
        return e;
    *out = parse_type(&p);
    return done(&p);
}

/* from_json's rule (DataType.parseTypeWithFallback): JSON if it is JSON, else a table schema, else one type, whose error counts. */
enum err sql_parse_schema(struct str text, struct arena *a, const struct type **out, struct fault *f)
{
    struct str trimmed = str_trim(text);
    if (trimmed.n && (trimmed.p[0] == '{' || trimmed.p[0] == '"'))
        return sql_parse_type_json(trimmed, a, out, f);
    struct fault quiet;
    struct parser p;
    enum err e = parser_start(&p, text, a, &quiet);
    if (!e && p.n == 1) {
        e = fault_set(f, ERR_PARSE_EMPTY_STATEMENT, 0, NULL);
        return e;
    }
    if (!e)
        *out = parse_schema(&p);
    if (!e && done(&p) == ERR_OK)
        return ERR_OK;
    return sql_parse_type(text, a, out, f);
}
