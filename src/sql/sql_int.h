/*
 * The parser's own pieces: tokens, the cursor over them, and the entry points between its files.
 *
 *   lexer.c ──tokens──▶ parser.c (cursor, errors) ◀── statement.c, query.c, expression.c, primary.c, literal.c, datatype.c
 *
 * Every parse_ function returns NULL (or false) after it has written p->fault; callers pass that on.
 */
#ifndef PENSTOCK_SQL_SQL_INT_H
#define PENSTOCK_SQL_SQL_INT_H

#include "base/vec.h"
#include "sql/sql.h"

enum token_kind {
    TOKEN_END,
    TOKEN_WORD,    /* identifier or keyword; text as written */
    TOKEN_QUOTED,  /* `identifier`; value unquoted */
    TOKEN_STRING,  /* value unescaped */
    TOKEN_NUMBER,  /* digits, suffix: see number kinds */
    TOKEN_SYMBOL,  /* text is the operator */
    TOKEN_UNKNOWN, /* a character that begins no token: reported when it is reached */
};
enum number_kind { NUMBER_INTEGER, NUMBER_DECIMAL, NUMBER_EXPONENT };

struct token {
    enum token_kind kind;
    enum number_kind number;
    char suffix[3]; /* NUMBER: upper case: L S Y F D BD, or empty */
    struct str text, value;
    int32_t start, stop; /* code points, inclusive */
    int32_t line, column;
};

struct parser {
    struct arena *a;
    struct fault *fault;
    enum err err;
    struct str text;
    struct token *tokens;
    int n, at;
    int depth;
    int type_depth, nparams;
};

/* -- lexer.c, parser.c -------------------------------------------------------------------------------------------- */
CHECK enum err sql_lex(struct parser *p);
CHECK enum err parser_start(struct parser *p, struct str text, struct arena *a, struct fault *f);
static inline const struct token *peek(const struct parser *p, int ahead)
{
    return &p->tokens[p->at + ahead < p->n ? p->at + ahead : p->n - 1];
}
bool at_symbol(const struct parser *p, const char *s);
bool at_word(const struct parser *p, const char *word); /* an unquoted word, any case */
bool word_is(const struct token *t, const char *word);
bool symbol_is(const struct token *t, const char *s);
bool word_in(const struct token *t, const char *const *words);
bool accept_symbol(struct parser *p, const char *s);
bool accept_word(struct parser *p, const char *word);
bool accept_words(struct parser *p, const char *first, const char *second);
bool expect_symbol(struct parser *p, const char *s);
bool expect_word(struct parser *p, const char *word);
bool expect_end(struct parser *p);
void *syntax_error(struct parser *p, const char *hint); /* at the current token; always NULL */
void *unsupported(struct parser *p, const char *feature, const char *hint);
/* Raised with the context of tokens first..p->at-1. */
#define PARSE_FAULT(p, first, e, ...)                                                                                  \
    ((p)->err = FAULT((p)->fault, (e), __VA_ARGS__), parse_context((p), (first)), (void *)NULL)
void parse_context(struct parser *p, int first);
bool enter(struct parser *p); /* depth guard; pair with leave */
void leave(struct parser *p);
struct origin origin_from(const struct parser *p, int first); /* tokens first..at-1 */
bool parse_identifier(struct parser *p, struct str *out);     /* word or `quoted` */
bool parse_strict_identifier(struct parser *p, struct str *out);
bool parse_parts(struct parser *p, struct str **parts, int *n);     /* a.b.c */
bool parse_name_list(struct parser *p, struct str **names, int *n); /* (a, b) */

/* Growing lists in the arena. */
struct node_list {
    struct node **p;
    int n, cap;
};
void list_add(struct parser *p, struct node_list *l, struct node *e);
struct node *finish(struct parser *p, struct node *e, int first); /* set the origin */
struct node *call_of(struct parser *p, int first, const char *name, int nargs, ...);

/* -- expressions --------------------------------------------------------------------------------------------------- */
struct node *parse_expression(struct parser *p);       /* boolean */
struct node *parse_value(struct parser *p, int power); /* no AND/OR/NOT/predicates */
struct node *parse_primary(struct parser *p);
struct node *parse_named_expression(struct parser *p); /* with an optional alias */
bool parse_expression_list(struct parser *p, struct node_list *l);
struct node *parse_call(struct parser *p, int first, struct str name);
struct node *parse_special(struct parser *p, bool *handled); /* EXTRACT, CASE, CAST … */
bool ends_alias(const struct parser *p);
struct node *parse_sort_item(struct parser *p);
struct node *literal_number(struct parser *p, bool negative, int first);
struct node *literal_string(struct parser *p);
struct node *literal_typed(struct parser *p, bool *handled); /* DATE '…', INTERVAL …, X'…' */
struct node *literal_interval(struct parser *p, int first);

/* -- queries, types ------------------------------------------------------------------------------------------------ */
struct rel *parse_query(struct parser *p);
bool starts_query(const struct parser *p, int ahead);
struct rel *parse_relation(struct parser *p); /* FROM's comma list with joins */
const struct type *parse_type(struct parser *p);
const struct type *parse_schema(struct parser *p);
bool parse_statement(struct parser *p, struct statement *out);

#endif
