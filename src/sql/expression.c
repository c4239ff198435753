/*
 * Expressions: OR over AND over NOT over predicates over values. Values are parsed by binding power (Pratt); the levels above
 * follow booleanExpression and predicate of Spark's grammar.
 */
#include "sql_int.h"

/* Left-associative operators of valueExpression; `call` is what the tree says, `negated` wraps it in not(). */
static const struct binary {
    const char *symbol;
    int power;
    const char *call;
    bool negated;
} BINARY[] = {
    {"=", 1, "=", false},     {"==", 1, "=", false},  {"<=>", 1, "<=>", false}, {"<>", 1, "=", true},
    {"!=", 1, "=", true},     {"<=", 1, "<=", false}, {"!>", 1, "<=", false},   {">=", 1, ">=", false},
    {"!<", 1, ">=", false},   {"<", 1, "<", false},   {">", 1, ">", false},     {"|", 2, "|", false},
    {"^", 3, "^", false},     {"&", 4, "&", false},   {"<<", 5, "<<", false},   {">>", 5, ">>", false},
    {">>>", 5, ">>>", false}, {"+", 6, "+", false},   {"-", 6, "-", false},     {"||", 6, "concat", false},
    {"*", 7, "*", false},     {"/", 7, "/", false},   {"%", 7, "%", false},     {NULL, 0, NULL, false},
};
enum { UNARY_POWER = 8 };

static const struct binary *binary_at(const struct parser *p)
{
    static const struct binary DIV = {"div", 7, "div", false};
    const struct token *t = peek(p, 0);
    if (word_is(t, "div") && peek(p, 1)->kind != TOKEN_END)
        return &DIV;
    if (t->kind != TOKEN_SYMBOL)
        return NULL;
    for (const struct binary *b = BINARY; b->symbol; b++)
        if (str_eqz(t->text, b->symbol))
            return b;
    return NULL;
}

static struct node *parse_unary(struct parser *p)
{
    int first = p->at;
    const struct token *next = peek(p, 1);
    const char *call = at_symbol(p, "-") ? "-" : at_symbol(p, "+") ? "+" : at_symbol(p, "~") ? "~" : NULL;
    if (!call || (at_symbol(p, "-") && next->kind == TOKEN_NUMBER))
        return parse_primary(p); /* a minus before digits belongs to the literal */
    p->at++;
    struct node *e = parse_value(p, UNARY_POWER);
    return e ? call_of(p, first, call, 1, e) : NULL;
}

struct node *parse_value(struct parser *p, int power)
{
    int first = p->at;
    if (!enter(p))
        return NULL;
    struct node *left = parse_unary(p);
    const struct binary *b;
    while (left && (b = binary_at(p)) && b->power > power) {
        p->at++;
        struct node *right = parse_value(p, b->power);
        left = right ? call_of(p, first, b->call, 2, left, right) : NULL;
        if (left && b->negated)
            left = call_of(p, first, "not", 1, left);
    }
    leave(p);
    return left;
}

/* -- predicates ---------------------------------------------------------------------------------------------------- */
static struct node *negate(struct parser *p, struct node *e, bool negated, int first)
{
    return e && negated ? call_of(p, first, "not", 1, e) : e;
}

static struct node *subquery(struct parser *p, const char *name, struct node *operand, int first)
{
    struct rel *r = parse_query(p);
    if (!r || !expect_symbol(p, ")"))
        return NULL;
    struct node *e = node_new(p->a, NODE_SUBQUERY, operand ? 1 : 0);
    e->name = str_of(name);
    e->relation = r;
    if (operand)
        e->args[0] = operand;
    return finish(p, e, first);
}

static struct node *parse_in(struct parser *p, struct node *operand, bool negated, int first)
{
    if (!expect_symbol(p, "("))
        return NULL;
    if (starts_query(p, 0))
        return negate(p, subquery(p, "in", operand, first), negated, first);
    struct node_list l = {0};
    list_add(p, &l, operand);
    if (!parse_expression_list(p, &l) || !expect_symbol(p, ")"))
        return NULL;
    struct node *e = node_new(p->a, NODE_CALL, 0);
    e->name = STR("in");
    e->args = l.p;
    e->nargs = l.n;
    return negate(p, finish(p, e, first), negated, first);
}

/* LIKE ANY|SOME|ALL (p, …): likes joined by OR or AND; NOT goes to each of them. */
static struct node *parse_like_many(struct parser *p, struct node *operand, const char *call, bool negated, int first)
{
    bool all = accept_word(p, "all");
    if (!all)
        p->at++;
    struct node_list l = {0};
    if (!expect_symbol(p, "(") || !parse_expression_list(p, &l) || !expect_symbol(p, ")"))
        return NULL;
    struct node *out = NULL;
    for (int i = 0; i < l.n; i++) {
        struct node *one = negate(p, call_of(p, first, call, 2, operand, l.p[i]), negated, first);
        out = out && one ? call_of(p, first, all ? "and" : "or", 2, out, one) : one;
    }
    return out;
}

static struct node *parse_like(struct parser *p, struct node *operand, bool negated, int first)
{
    static const char *const QUANTIFIER[] = {"any", "some", "all", NULL};
    const char *call = at_word(p, "like") ? "like" : at_word(p, "ilike") ? "ilike" : "rlike";
    p->at++;
    if (word_in(peek(p, 0), QUANTIFIER) && symbol_is(peek(p, 1), "(") && call[0] != 'r')
        return parse_like_many(p, operand, call, negated, first);
    struct node *pattern = parse_value(p, 0);
    if (!pattern)
        return NULL;
    if (call[0] == 'r' || !accept_word(p, "escape"))
        return negate(p, call_of(p, first, call, 2, operand, pattern), negated, first);
    struct node *escape = peek(p, 0)->kind == TOKEN_STRING ? literal_string(p) : syntax_error(p, "");
    return escape ? negate(p, call_of(p, first, call, 3, operand, pattern, escape), negated, first) : NULL;
}

static struct node *parse_between(struct parser *p, struct node *operand, bool negated, int first)
{
    p->at++;
    if (!accept_word(p, "asymmetric") && at_word(p, "symmetric"))
        return unsupported(p, "BETWEEN SYMMETRIC", "");
    struct node *low = parse_value(p, 0);
    if (!low || !expect_word(p, "and"))
        return NULL;
    struct node *high = parse_value(p, 0);
    return high ? negate(p, call_of(p, first, "between", 3, operand, low, high), negated, first) : NULL;
}

static struct node *literal_bool(struct parser *p, bool v)
{
    struct node *e = node_new(p->a, NODE_LITERAL, 0);
    e->type = e->literal.type = type_simple(TYPE_BOOLEAN);
    e->literal.n = 1;
    e->literal.data.boolean = arena_alloc(p->a, 1);
    e->literal.data.boolean[0] = v;
    return e;
}

static struct node *parse_is(struct parser *p, struct node *operand, int first)
{
    p->at++;
    bool negated = accept_word(p, "not");
    if (accept_word(p, "null"))
        return call_of(p, first, negated ? "isnotnull" : "isnull", 1, operand);
    if (at_word(p, "true") || at_word(p, "false")) {
        struct node *v = literal_bool(p, at_word(p, "true"));
        p->at++;
        return negate(p, call_of(p, first, "<=>", 2, operand, finish(p, v, p->at - 1)), negated, first);
    }
    if (accept_word(p, "unknown"))
        return negate(p, call_of(p, first, "isunknown", 1, operand), negated, first);
    if (!expect_word(p, "distinct") || !expect_word(p, "from"))
        return NULL;
    struct node *other = parse_value(p, 0);
    return other ? negate(p, call_of(p, first, "<=>", 2, operand, other), !negated, first) : NULL;
}

static struct node *parse_predicate(struct parser *p)
{
    static const char *const AFTER_NOT[] = {"in", "like", "ilike", "rlike", "regexp", "between", NULL};
    static const char *const LIKES[] = {"like", "ilike", "rlike", "regexp", NULL};
    struct node *e = parse_value(p, 0);
    int first = p->at;
    if (!e)
        return NULL;
    if (at_word(p, "is") && peek(p, 1)->kind == TOKEN_WORD)
        return parse_is(p, e, first);
    bool negated = at_word(p, "not") && word_in(peek(p, 1), AFTER_NOT);
    if (negated)
        p->at++;
    if (at_word(p, "in") && symbol_is(peek(p, 1), "(")) {
        p->at++;
        return parse_in(p, e, negated, first);
    }
    if (word_in(peek(p, 0), LIKES) && peek(p, 1)->kind != TOKEN_END)
        return parse_like(p, e, negated, first);
    if (at_word(p, "between") && peek(p, 1)->kind != TOKEN_END)
        return parse_between(p, e, negated, first);
    return negated ? syntax_error(p, "") : e;
}

static struct node *parse_not(struct parser *p)
{
    int first = p->at;
    bool word = at_word(p, "not") && peek(p, 1)->kind != TOKEN_END && !symbol_is(peek(p, 1), ".");
    if (word || at_symbol(p, "!")) {
        p->at++;
        if (!enter(p))
            return NULL;
        struct node *e = parse_not(p);
        leave(p);
        return e ? call_of(p, first, "not", 1, e) : NULL;
    }
    if (at_word(p, "exists") && symbol_is(peek(p, 1), "(") && starts_query(p, 2)) {
        p->at += 2;
        return subquery(p, "exists", NULL, first);
    }
    return parse_predicate(p);
}

/* Long chains become a balanced tree, as in Spark's AstBuilder.visitLogicalBinary: depth grows with the logarithm. */
static struct node *balance(struct parser *p, const struct node_list *l, const char *name, int low, int high)
{
    if (low == high)
        return l->p[low];
    int mid = high - low == 1 ? low : low + (high - low) / 2;
    struct node *left = balance(p, l, name, low, mid), *right = balance(p, l, name, mid + 1, high);
    if (!left || !right)
        return NULL;
    struct node *e = node_new(p->a, NODE_CALL, 2);
    e->name = str_of(name);
    e->args[0] = left;
    e->args[1] = right;
    struct origin from = left->origin, to = right->origin;
    e = finish(p, e, p->at - 1);
    if (e) {
        e->origin = from;
        e->origin.stop = to.stop;
    }
    return e;
}

static struct node *parse_chain(struct parser *p, const char *word, struct node *(*below)(struct parser *))
{
    struct node_list l = {0};
    do {
        struct node *e = below(p);
        if (!e)
            return NULL;
        list_add(p, &l, e);
    } while (peek(p, 1)->kind != TOKEN_END && accept_word(p, word));
    return balance(p, &l, word, 0, l.n - 1);
}

static struct node *parse_and(struct parser *p)
{
    return parse_chain(p, "and", parse_not);
}

struct node *parse_expression(struct parser *p)
{
    if (!enter(p))
        return NULL;
    struct node *e = parse_chain(p, "or", parse_and);
    leave(p);
    return e;
}

bool parse_expression_list(struct parser *p, struct node_list *l)
{
    do {
        struct node *e = parse_expression(p);
        if (!e)
            return false;
        list_add(p, l, e);
    } while (accept_symbol(p, ","));
    return true;
}

/* -- aliases, sort items ------------------------------------------------------------------------------------------- */
/* Whether a word here goes on with the query rather than naming what came before it. */
bool ends_alias(const struct parser *p)
{
    static const char *const CLAUSE[] = {"from",   "where",     "having", "limit",    "offset", "union",
                                         "except", "intersect", "minus",  "setminus", NULL};
    static const char *const WITH_BY[] = {"group", "order", "sort", "cluster", "distribute", "partition", NULL};
    const struct token *t = peek(p, 0), *next = peek(p, 1);
    if (t->kind != TOKEN_WORD)
        return t->kind != TOKEN_QUOTED;
    if (word_in(t, WITH_BY))
        return word_is(next, "by");
    if (word_is(t, "lateral"))
        return word_is(next, "view");
    if (word_is(t, "window"))
        return word_is(peek(p, 2), "as");
    return word_in(t, CLAUSE) && next->kind != TOKEN_END && !symbol_is(next, ")") && !symbol_is(next, ";") &&
           !symbol_is(next, ",");
}

struct node *parse_named_expression(struct parser *p)
{
    int first = p->at;
    struct node *e = parse_expression(p);
    if (!e)
        return NULL;
    bool as = accept_word(p, "as");
    if (!as && ends_alias(p))
        return e;
    struct node *alias = node_new(p->a, NODE_ALIAS, 1);
    alias->args[0] = e;
    if (as && at_symbol(p, "(")) {
        if (!parse_name_list(p, &alias->parts, &alias->nparts))
            return NULL;
    } else {
        alias->parts = ARENA_NEW(p->a, struct str);
        alias->nparts = 1;
        if (!parse_identifier(p, &alias->parts[0]))
            return NULL;
    }
    return finish(p, alias, first);
}

struct node *parse_sort_item(struct parser *p)
{
    int first = p->at;
    struct node *e = parse_expression(p);
    if (!e)
        return NULL;
    struct node *s = node_new(p->a, NODE_SORT, 1);
    s->args[0] = e;
    s->descending = accept_word(p, "desc");
    if (!s->descending)
        accept_word(p, "asc");
    if (accept_words(p, "nulls", "first"))
        s->nulls_last = 0;
    else if (accept_words(p, "nulls", "last"))
        s->nulls_last = 1;
    return finish(p, s, first);
}
