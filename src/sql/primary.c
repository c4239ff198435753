/* Primary expressions: names, calls, parentheses, CASE, CAST, the SQL special forms, and what follows them (.field [i] ::type). */
#include "sql_int.h"

#include <stdio.h>

static bool nested_expression(struct parser *p, struct node **out)
{
    *out = parse_expression(p);
    return *out != NULL;
}

static struct node *string_node(struct parser *p, struct str s, int first)
{
    return finish(p, node_literal_str(p->a, s), first);
}

/* -- CASE, CAST ---------------------------------------------------------------------------------------------------- */
static struct node *parse_case(struct parser *p, int first)
{
    struct node *subject = NULL, *cond, *value;
    struct node_list l = {0};
    p->at++;
    if (!at_word(p, "when") && !nested_expression(p, &subject))
        return NULL;
    while (accept_word(p, "when")) {
        int from = p->at;
        if (!nested_expression(p, &cond))
            return NULL;
        if (subject && !(cond = call_of(p, from, "=", 2, subject, cond)))
            return NULL;
        if (!expect_word(p, "then") || !nested_expression(p, &value))
            return NULL;
        list_add(p, &l, cond);
        list_add(p, &l, value);
    }
    if (!l.n)
        return syntax_error(p, "");
    if (accept_word(p, "else")) {
        if (!nested_expression(p, &value))
            return NULL;
        list_add(p, &l, value);
    }
    if (!expect_word(p, "end"))
        return NULL;
    struct node *e = node_new(p->a, NODE_CALL, 0);
    e->name = STR("case");
    e->args = l.p;
    e->nargs = l.n;
    return finish(p, e, first);
}

static struct node *cast_to(struct parser *p, struct node *what, int mode)
{
    const struct type *t = parse_type(p);
    if (!t)
        return NULL;
    struct node *e = node_new(p->a, NODE_CAST, 1);
    e->args[0] = what;
    e->type = t;
    e->cast_mode = mode;
    e->user_written = true;
    return e;
}

static struct node *parse_cast(struct parser *p, int first)
{
    int mode = at_word(p, "try_cast") ? 2 : 0;
    p->at += 2;
    struct node *what;
    if (!nested_expression(p, &what) || !expect_word(p, "as"))
        return NULL;
    struct node *e = cast_to(p, what, mode);
    return e && expect_symbol(p, ")") ? finish(p, e, first) : NULL;
}

/* -- special forms with words inside the parentheses --------------------------------------------------------------- */
static struct node *parse_extract(struct parser *p, int first)
{
    struct str field;
    struct node *from;
    p->at += 2;
    int at = p->at;
    if (!parse_identifier(p, &field) || !expect_word(p, "from"))
        return NULL;
    struct node *what = string_node(p, field, at);
    if (!nested_expression(p, &from) || !expect_symbol(p, ")"))
        return NULL;
    return call_of(p, first, "extract", 2, what, from);
}

/* SUBSTRING(s FROM a [FOR b]); NULL without an error: an ordinary call. */
static struct node *parse_substring(struct parser *p, int first, const char *name)
{
    struct node *s, *from, *length = NULL;
    int back = p->at;
    p->at += 2;
    if (!nested_expression(p, &s))
        return NULL;
    if (!accept_word(p, "from")) {
        p->at = back;
        return NULL;
    }
    if (!nested_expression(p, &from) || (accept_word(p, "for") && !nested_expression(p, &length)) ||
        !expect_symbol(p, ")"))
        return NULL;
    return length ? call_of(p, first, name, 3, s, from, length) : call_of(p, first, name, 2, s, from);
}

/* TRIM([BOTH|LEADING|TRAILING] [chars] FROM s); NULL without an error: an ordinary call. trim's two-argument form is (chars, s). */
static struct node *parse_trim(struct parser *p, int first)
{
    static const char *const SIDES[] = {"both", "leading", "trailing", NULL};
    int back = p->at;
    const char *name = "trim";
    struct node *chars = NULL, *s;
    p->at += 2;
    bool side = word_in(peek(p, 0), SIDES) && !symbol_is(peek(p, 1), ")") && !symbol_is(peek(p, 1), ",");
    if (side) {
        name = at_word(p, "leading") ? "ltrim" : at_word(p, "trailing") ? "rtrim" : "trim";
        p->at++;
    }
    if (!(side && at_word(p, "from")) && !nested_expression(p, &chars))
        return NULL;
    if (!side && !at_word(p, "from")) {
        p->at = back;
        return NULL;
    }
    if (!expect_word(p, "from") || !nested_expression(p, &s) || !expect_symbol(p, ")"))
        return NULL;
    return chars ? call_of(p, first, name, 2, chars, s) : call_of(p, first, name, 1, s);
}

static struct node *parse_position(struct parser *p, int first)
{
    struct node *what, *in;
    int back = p->at;
    p->at += 2;
    what = parse_value(p, 0);
    if (!what)
        return NULL;
    if (!accept_word(p, "in")) {
        p->at = back;
        return NULL;
    }
    in = parse_value(p, 0);
    return in && expect_symbol(p, ")") ? call_of(p, first, "locate", 2, what, in) : NULL;
}

static struct node *parse_overlay(struct parser *p, int first)
{
    struct node *s, *by, *from, *length = NULL;
    int back = p->at;
    p->at += 2;
    if (!nested_expression(p, &s))
        return NULL;
    if (!accept_word(p, "placing")) {
        p->at = back;
        return NULL;
    }
    if (!nested_expression(p, &by) || !expect_word(p, "from") || !nested_expression(p, &from) ||
        (accept_word(p, "for") && !nested_expression(p, &length)) || !expect_symbol(p, ")"))
        return NULL;
    return length ? call_of(p, first, "overlay", 4, s, by, from, length) : call_of(p, first, "overlay", 3, s, by, from);
}

/* DATEADD and DATEDIFF (DATE_ADD, DATE_DIFF) with a unit in front are TIMESTAMPADD and TIMESTAMPDIFF. */
static bool is_unit(const struct token *t)
{
    static const char *const units[] = {"microsecond", "millisecond", "second", "minute",  "hour", "day",
                                        "dayofyear",   "week",        "month",  "quarter", "year"};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (word_is(t, units[i]))
            return true;
    return false;
}

static struct node *parse_timestampadd(struct parser *p, int first)
{
    struct str unit;
    const struct token *t = peek(p, 0);
    bool diff = word_is(t, "timestampdiff") || word_is(t, "datediff") || word_is(t, "date_diff");
    struct str name = diff ? STR("timestampdiff") : STR("timestampadd");
    struct node_list l = {0};
    p->at += 2;
    int at = p->at;
    if (!parse_identifier(p, &unit) || !expect_symbol(p, ","))
        return NULL;
    list_add(p, &l, string_node(p, unit, at));
    if (!parse_expression_list(p, &l) || !expect_symbol(p, ")"))
        return NULL;
    struct node *e = node_new(p->a, NODE_CALL, 0);
    e->name = name;
    e->args = l.p;
    e->nargs = l.n;
    return finish(p, e, first);
}

struct node *parse_special(struct parser *p, bool *handled)
{
    int first = p->at;
    const struct token *t = peek(p, 0);
    bool call = symbol_is(peek(p, 1), "(");
    *handled = true;
    if (word_is(t, "case") && peek(p, 1)->kind != TOKEN_END && !symbol_is(peek(p, 1), ".") &&
        !symbol_is(peek(p, 1), ","))
        return parse_case(p, first);
    if (!call) { /* current_timestamp and its like are names: plan/ takes them for functions when no column is called so */
        *handled = false;
        return NULL;
    }
    struct node *e = NULL;
    if (word_is(t, "cast") || word_is(t, "try_cast"))
        return parse_cast(p, first);
    if (word_is(t, "extract") && word_is(peek(p, 3), "from"))
        return parse_extract(p, first);
    if (word_is(t, "timestampadd") || word_is(t, "timestampdiff") || word_is(t, "dateadd") || word_is(t, "datediff") ||
        word_is(t, "date_add") || word_is(t, "date_diff"))
        if (is_unit(peek(p, 2)) && symbol_is(peek(p, 3), ","))
            return parse_timestampadd(p, first);
    if (symbol_is(peek(p, 2), ")"))
        e = NULL;
    else if (word_is(t, "substring") || word_is(t, "substr"))
        e = parse_substring(p, first, word_is(t, "substr") ? "substr" : "substring");
    else if (word_is(t, "trim"))
        e = parse_trim(p, first);
    else if (word_is(t, "position"))
        e = parse_position(p, first);
    else if (word_is(t, "overlay"))
        e = parse_overlay(p, first);
    *handled = e || p->err;
    return e;
}

/* -- calls --------------------------------------------------------------------------------------------------------- */
static struct node *literal_true(struct parser *p)
{
    struct node *e = node_new(p->a, NODE_LITERAL, 0);
    e->type = e->literal.type = type_simple(TYPE_BOOLEAN);
    e->literal.n = 1;
    e->literal.data.boolean = arena_alloc(p->a, 1);
    e->literal.data.boolean[0] = 1;
    return e;
}

/* OVER …: read to its end so that the refusal names the function, not a stray token. */
static struct node *parse_over(struct parser *p, struct node *call)
{
    char feature[160];
    snprintf(feature, sizeof feature, "the window function %.*s(…) OVER", (int)(call->name.n < 80 ? call->name.n : 80),
             call->name.p);
    return unsupported(p, feature, "Aggregate with GROUP BY, or with window(…) over an event time.");
}

static bool call_arguments(struct parser *p, struct node_list *l, bool named)
{
    do {
        if (peek(p, 0)->kind == TOKEN_WORD && symbol_is(peek(p, 1), "=>")) {
            unsupported(p, "named arguments (name => value)", "Pass them by position.");
            return false;
        }
        struct node *e = named ? parse_named_expression(p) : parse_expression(p);
        if (!e)
            return false;
        list_add(p, l, e);
    } while (accept_symbol(p, ","));
    return true;
}

/* What may follow the closing parenthesis: IGNORE NULLS, FILTER (WHERE …), OVER …. */
static struct node *after_call(struct parser *p, struct node *e, struct node_list *l, int first)
{
    bool ignore = accept_words(p, "ignore", "nulls");
    if (!ignore)
        accept_words(p, "respect", "nulls");
    if (ignore) {
        list_add(p, l, finish(p, literal_true(p), p->at - 1));
        e->args = l->p;
        e->nargs = l->n;
    }
    if (at_word(p, "filter") && symbol_is(peek(p, 1), "(") && word_is(peek(p, 2), "where")) {
        p->at += 3;
        e->filter = parse_expression(p);
        if (!e->filter || !expect_symbol(p, ")"))
            return NULL;
    }
    if (at_word(p, "within") && word_is(peek(p, 1), "group"))
        return unsupported(p, "WITHIN GROUP", "");
    if (at_word(p, "over") && (symbol_is(peek(p, 1), "(") || peek(p, 1)->kind == TOKEN_WORD))
        return parse_over(p, e);
    return finish(p, e, first);
}

/* The cursor is behind "name(". */
struct node *parse_call(struct parser *p, int first, struct str name)
{
    struct node_list l = {0};
    struct node *e = node_new(p->a, NODE_CALL, 0);
    e->name = name;
    if (!symbol_is(peek(p, 1), ")") && !symbol_is(peek(p, 1), ",")) {
        e->distinct = accept_word(p, "distinct");
        if (!e->distinct && at_word(p, "all"))
            p->at++;
    }
    if (!at_symbol(p, ")") && !call_arguments(p, &l, str_eq_nocase(name, STR("struct"))))
        return NULL;
    if (l.n && accept_words(p, "ignore", "nulls")) /* first(x IGNORE NULLS) */
        list_add(p, &l, finish(p, literal_true(p), p->at - 1));
    if (!expect_symbol(p, ")"))
        return NULL;
    e->args = l.p;
    e->nargs = l.n;
    return after_call(p, e, &l, first);
}

/* -- names, stars, parentheses -------------------------------------------------------------------------------------- */
static struct node *star(struct parser *p, struct str *parts, int nparts, int first)
{
    struct node *e = node_new(p->a, NODE_STAR, 0);
    e->parts = parts;
    e->nparts = nparts;
    p->at++;
    if (at_word(p, "except") && symbol_is(peek(p, 1), "(") && !starts_query(p, 2))
        return unsupported(p, "* EXCEPT (…)", "Name the columns.");
    return finish(p, e, first);
}

static struct node *lambda(struct parser *p, struct str *names, int n, int first)
{
    struct node *e = node_new(p->a, NODE_LAMBDA, 1);
    e->parts = names;
    e->nparts = n;
    e->args[0] = parse_expression(p);
    return e->args[0] ? finish(p, e, first) : NULL;
}

/* name, a.b.c, a.b.*, f(…), x -> body */
static struct node *parse_name(struct parser *p)
{
    int first = p->at, n = 0;
    struct str list[16];
    do {
        if (n && at_symbol(p, "*")) {
            struct str *parts = ARENA_ARRAY(p->a, (size_t)n, struct str);
            memcpy(parts, list, (size_t)n * sizeof *list);
            return star(p, parts, n, first);
        }
        if (n == 16 || !parse_identifier(p, &list[n]))
            return n == 16 ? syntax_error(p, "") : NULL;
        n++;
    } while (accept_symbol(p, "."));
    if (n == 1 && accept_symbol(p, "->")) {
        struct str *names = ARENA_NEW(p->a, struct str);
        names[0] = list[0];
        return lambda(p, names, 1, first);
    }
    if (accept_symbol(p, "(")) {
        struct buf b = {0};
        for (int i = 0; i < n; i++) {
            if (i)
                buf_z(&b, ".");
            buf_str(&b, list[i]);
        }
        struct str name = n == 1 ? list[0] : arena_str(p->a, buf_view(&b));
        buf_free(&b);
        return parse_call(p, first, name);
    }
    struct node *e = node_new(p->a, NODE_ATTRIBUTE, 0);
    e->parts = ARENA_ARRAY(p->a, (size_t)n, struct str);
    memcpy(e->parts, list, (size_t)n * sizeof *list);
    e->nparts = n;
    return finish(p, e, first);
}

/* (x, y) -> body */
static bool at_lambda_list(const struct parser *p)
{
    int i = 1;
    do {
        enum token_kind k = peek(p, i)->kind;
        if (k != TOKEN_WORD && k != TOKEN_QUOTED)
            return false;
        i += 2;
    } while (symbol_is(peek(p, i - 1), ","));
    return i > 3 && symbol_is(peek(p, i - 1), ")") && symbol_is(peek(p, i), "->");
}

static struct node *parse_parenthesis(struct parser *p)
{
    int first = p->at;
    if (at_lambda_list(p)) {
        struct str *names;
        int n;
        if (!parse_name_list(p, &names, &n) || !expect_symbol(p, "->"))
            return NULL;
        return lambda(p, names, n, first);
    }
    p->at++;
    if (starts_query(p, 0)) {
        struct node *e = node_new(p->a, NODE_SUBQUERY, 0);
        e->name = STR("scalar");
        e->relation = parse_query(p);
        return e->relation && expect_symbol(p, ")") ? finish(p, e, first) : NULL;
    }
    struct node_list l = {0};
    do {
        struct node *e = parse_named_expression(p);
        if (!e)
            return NULL;
        list_add(p, &l, e);
    } while (accept_symbol(p, ","));
    if (l.n == 1 && l.p[0]->kind == NODE_ALIAS)
        return syntax_error(p, "");
    /* "(1" could still become a row or a parenthesis: Spark's parser gives up without a hint. */
    if (peek(p, 0)->kind == TOKEN_END)
        return syntax_error(p, "");
    if (!expect_symbol(p, ")"))
        return NULL;
    if (l.n == 1)
        return l.p[0];
    struct node *e = node_new(p->a, NODE_CALL, 0);
    e->name = STR("struct");
    e->by_name = true; /* a row: prints as named_struct */
    e->args = l.p;
    e->nargs = l.n;
    return finish(p, e, first);
}

static struct node *parse_parameter(struct parser *p)
{
    int first = p->at;
    struct node *e = node_new(p->a, NODE_PARAM, 0);
    p->at++;
    if (symbol_is(&p->tokens[first], "?"))
        e->plan_id = p->nparams++;
    else if (!parse_identifier(p, &e->name))
        return NULL;
    return finish(p, e, first);
}

static struct node *parse_word(struct parser *p)
{
    bool handled;
    int first = p->at;
    struct node *e = literal_typed(p, &handled);
    if (!handled && !p->err)
        e = parse_special(p, &handled);
    if (handled || p->err)
        return e;
    const struct token *t = peek(p, 0), *next = peek(p, 1);
    bool alone = !symbol_is(next, ".") && !symbol_is(next, "(") && !symbol_is(next, "->");
    if (alone && (word_is(t, "true") || word_is(t, "false"))) {
        e = literal_true(p);
        e->literal.data.boolean[0] = word_is(t, "true");
        p->at++;
        return finish(p, e, first);
    }
    if (alone && word_is(t, "null")) {
        e = node_new(p->a, NODE_LITERAL, 0);
        e->literal_null = true;
        e->type = e->literal.type = type_simple(TYPE_NULL);
        p->at++;
        return finish(p, e, first);
    }
    return parse_name(p);
}

static struct node *parse_atom(struct parser *p)
{
    const struct token *t = peek(p, 0);
    int first = p->at;
    if (t->kind == TOKEN_WORD)
        return parse_word(p);
    if (t->kind == TOKEN_QUOTED)
        return parse_name(p);
    if (t->kind == TOKEN_STRING)
        return literal_string(p);
    if (t->kind == TOKEN_NUMBER)
        return literal_number(p, false, first);
    if (symbol_is(t, "-") && peek(p, 1)->kind == TOKEN_NUMBER) {
        p->at++;
        return literal_number(p, true, first);
    }
    if (symbol_is(t, "("))
        return parse_parenthesis(p);
    if (symbol_is(t, "*"))
        return star(p, NULL, 0, first);
    if (symbol_is(t, "?") || (symbol_is(t, ":") && peek(p, 1)->kind == TOKEN_WORD))
        return parse_parameter(p);
    return syntax_error(p, "");
}

static struct node *extract(struct parser *p, struct node *from, struct node *what, bool by_name, int first)
{
    if (!what)
        return NULL;
    struct node *e = node_new(p->a, NODE_EXTRACT, 2);
    e->args[0] = from;
    e->args[1] = what;
    e->by_name = by_name;
    return finish(p, e, first);
}

struct node *parse_primary(struct parser *p)
{
    int first = p->at;
    struct node *e = parse_atom(p);
    while (e && !p->err) {
        if (accept_symbol(p, "[")) {
            struct node *index = parse_value(p, 0);
            e = index && expect_symbol(p, "]") ? extract(p, e, index, false, first) : NULL;
        } else if (at_symbol(p, ".") && e->kind != NODE_STAR) {
            struct str name;
            p->at++;
            int at = p->at;
            e = parse_identifier(p, &name) ? extract(p, e, string_node(p, name, at), true, first) : NULL;
        } else if (accept_symbol(p, "::")) {
            e = finish(p, cast_to(p, e, 0), first);
        } else if (at_word(p, "collate") && peek(p, 1)->kind != TOKEN_END) {
            return unsupported(p, "COLLATE", "Strings compare byte by byte.");
        } else {
            return e;
        }
    }
    return NULL;
}
