/* Queries: WITH, set operations, SELECT with its clauses, FROM with its relations. */
#include "sql_int.h"

#include <stdio.h>

static struct rel *finish_rel(struct parser *p, struct rel *r, int first)
{
    if (!r || p->err)
        return NULL;
    int depth = 0;
    for (int i = 0; i < r->nchildren; i++)
        if (r->children[i]->depth > depth)
            depth = r->children[i]->depth;
    r->depth = depth + 1;
    if (r->depth > LIMIT_TREE_DEPTH) {
        p->err = fault_set(p->fault, ERR_PARSE_TOO_COMPLEX, 0, NULL);
        return NULL;
    }
    r->origin = origin_from(p, first);
    return r;
}

static struct rel *over(struct parser *p, enum rel_kind kind, struct rel *child)
{
    struct rel *r = rel_new(p->a, kind, 1);
    r->children[0] = child;
    return r;
}

static void one_expression(struct parser *p, struct rel *r, struct node *e)
{
    r->exprs = ARENA_NEW(p->a, struct node *);
    r->exprs[0] = e;
    r->nexprs = 1;
}

bool starts_query(const struct parser *p, int ahead)
{
    while (symbol_is(peek(p, ahead), "("))
        ahead++;
    const struct token *t = peek(p, ahead), *next = peek(p, ahead + 1);
    if (word_is(t, "select") || word_is(t, "with"))
        return next->kind != TOKEN_END && !symbol_is(next, ")") && !symbol_is(next, ",") && !symbol_is(next, ".");
    return (word_is(t, "values") && next->kind != TOKEN_SYMBOL) || (word_is(t, "values") && symbol_is(next, "(")) ||
           ((word_is(t, "table") || word_is(t, "from")) && next->kind == TOKEN_WORD);
}

/* -- relations ----------------------------------------------------------------------------------------------------- */
static void *inline_width(struct parser *p, const struct rel *values, int first, int expected, int row)
{
    char want[16], got[16], at[16];
    snprintf(want, sizeof want, "%d", expected);
    snprintf(got, sizeof got, "%d", values->width);
    snprintf(at, sizeof at, "%d", row);
    return PARSE_FAULT(p, first, ERR_INLINE_TABLE_COLUMNS, {"expectedNumCols", want}, {"actualNumCols", got},
                       {"rowIndex", at});
}

/* [AS] name [(columns)] */
static struct rel *parse_table_alias(struct parser *p, struct rel *r, int first)
{
    static const char *const ENDS[] = {"on",      "using",   "join", "inner", "left",    "right",       "full",
                                       "cross",   "natural", "semi", "anti",  "lateral", "tablesample", "pivot",
                                       "unpivot", "set",     "when", "for",   NULL};
    const struct token *t = peek(p, 0);
    bool as = accept_word(p, "as");
    if (!as && ((t->kind != TOKEN_WORD && t->kind != TOKEN_QUOTED) || word_in(t, ENDS) || ends_alias(p)))
        return r;
    if (!r)
        return NULL;
    struct rel *alias = over(p, REL_ALIAS, r);
    struct str name, *columns = NULL;
    int n = 0;
    if (!parse_strict_identifier(p, &name) || (at_symbol(p, "(") && !parse_name_list(p, &columns, &n)))
        return NULL;
    if (r && r->kind == REL_VALUES && n && n != r->width)
        return inline_width(p, r, first, n, 0);
    alias->parts = ARENA_ARRAY(p->a, (size_t)n + 1, struct str);
    alias->parts[0] = name;
    for (int i = 0; i < n; i++)
        alias->parts[i + 1] = columns[i];
    alias->nparts = n + 1;
    return finish_rel(p, alias, first);
}

/* VALUES row, row …: rows are (a, b) or a. */
static struct rel *parse_values(struct parser *p)
{
    int first = p->at, rows = 0;
    struct node_list l = {0};
    struct rel *r = rel_new(p->a, REL_VALUES, 0);
    p->at++;
    do {
        struct node *e = parse_expression(p);
        if (!e)
            return NULL;
        bool row = e->kind == NODE_CALL && str_eq_nocase(e->name, STR("struct")); /* (a, b) is one */
        int width = row ? e->nargs : 1;
        if (rows == 0)
            r->width = width;
        if (width != r->width) {
            struct rel odd = {.width = width};
            return inline_width(p, &odd, first, r->width, rows);
        }
        for (int i = 0; i < width; i++)
            list_add(p, &l, row ? e->args[i] : e);
        rows++;
    } while (accept_symbol(p, ","));
    r->exprs = l.p;
    r->nexprs = l.n;
    return finish_rel(p, r, first);
}

static bool integer_of(const struct node *e, int64_t *out)
{
    if (e->kind != NODE_LITERAL || e->literal_null)
        return false;
    if (e->type->id == TYPE_INT)
        *out = e->literal.data.i32[0];
    else if (e->type->id == TYPE_LONG)
        *out = e->literal.data.i64[0];
    else
        return false;
    return true;
}

/* range([start,] end [, step [, partitions]]) */
static struct rel *parse_table_function(struct parser *p, int first, struct str name)
{
    struct node_list l = {0};
    int64_t v[4] = {0, 0, 1, 1};
    p->at++;
    if (!at_symbol(p, ")") && !parse_expression_list(p, &l))
        return NULL;
    if (!expect_symbol(p, ")"))
        return NULL;
    if (!str_eq_nocase(name, STR("range")))
        return unsupported(p, "a table function other than range() in FROM",
                           "Generators such as explode() work in the select list.");
    for (int i = 0; i < l.n && i < 4; i++)
        if (!integer_of(l.p[i], &v[i]))
            return unsupported(p, "range() of anything but integer literals", "");
    if (l.n < 1 || l.n > 4)
        return PARSE_FAULT(p, first, ERR_WRONG_NUM_ARGS_TVF, {"functionName", "`range`"},
                           {"expectedNum", "[1, 2, 3, 4]"}, {"actualNum", l.n ? "5" : "0"},
                           {"docroot", "https://spark.apache.org/docs/latest"});
    struct rel *r = rel_new(p->a, REL_RANGE, 0);
    r->start = l.n == 1 ? 0 : v[0];
    r->end = l.n == 1 ? v[0] : v[1];
    r->step = l.n >= 3 ? v[2] : 1;
    return parse_table_alias(p, finish_rel(p, r, first), first);
}

static struct rel *parse_table(struct parser *p)
{
    int first = p->at;
    if (accept_symbol(p, "(")) {
        struct rel *r = starts_query(p, 0) ? parse_query(p) : parse_relation(p);
        if (!r || !expect_symbol(p, ")"))
            return NULL;
        return parse_table_alias(p, r, first);
    }
    if (at_word(p, "values"))
        return parse_table_alias(p, parse_values(p), first);
    if (at_word(p, "lateral"))
        return unsupported(p, "LATERAL", "");
    struct rel *r = rel_new(p->a, REL_TABLE, 0);
    if (!parse_parts(p, &r->parts, &r->nparts))
        return NULL;
    if (at_symbol(p, "(") && r->nparts == 1)
        return parse_table_function(p, first, r->parts[0]);
    if (at_word(p, "tablesample"))
        return unsupported(p, "TABLESAMPLE", "");
    return parse_table_alias(p, finish_rel(p, r, first), first);
}

/* The words of a join; false when none stands here. `type` stays NULL for an error. */
static bool join_words(struct parser *p, const char **type, bool *natural)
{
    static const struct {
        const char *words[3];
        const char *type;
    } JOINS[] = {
        {{"inner", "join"}, "inner"},
        {{"cross", "join"}, "cross"},
        {{"left", "outer", "join"}, "left_outer"},
        {{"left", "semi", "join"}, "left_semi"},
        {{"left", "anti", "join"}, "left_anti"},
        {{"left", "join"}, "left_outer"},
        {{"semi", "join"}, "left_semi"},
        {{"anti", "join"}, "left_anti"},
        {{"right", "outer", "join"}, "right_outer"},
        {{"right", "join"}, "right_outer"},
        {{"full", "outer", "join"}, "full_outer"},
        {{"full", "join"}, "full_outer"},
        {{"join"}, "inner"},
    };
    *natural = at_word(p, "natural");
    int skip = *natural;
    for (size_t i = 0; i < sizeof JOINS / sizeof *JOINS; i++) {
        int n = 0;
        while (n < 3 && JOINS[i].words[n] && word_is(peek(p, skip + n), JOINS[i].words[n]))
            n++;
        if (n < 3 && JOINS[i].words[n])
            continue;
        p->at += skip + n;
        *type = JOINS[i].type;
        return true;
    }
    return false;
}

static struct rel *parse_join(struct parser *p, struct rel *left, int first)
{
    const char *type = NULL;
    bool natural;
    while (left && join_words(p, &type, &natural)) {
        struct rel *right = parse_table(p), *r = rel_new(p->a, REL_JOIN, 2);
        if (!right)
            return NULL;
        r->children[0] = left;
        r->children[1] = right;
        r->join_type = str_of(type);
        r->natural = natural;
        if (!natural && accept_word(p, "on")) {
            struct node *e = parse_expression(p);
            if (!e)
                return NULL;
            one_expression(p, r, e);
        } else if (!natural && accept_word(p, "using")) {
            if (!parse_name_list(p, &r->parts, &r->nparts))
                return NULL;
        }
        left = finish_rel(p, r, first);
    }
    return left;
}

struct rel *parse_relation(struct parser *p)
{
    int first = p->at;
    struct rel *left = NULL;
    if (!enter(p))
        return NULL;
    do {
        int at = p->at;
        struct rel *one = parse_join(p, parse_table(p), at);
        if (one && left) {
            struct rel *r = rel_new(p->a, REL_JOIN, 2);
            r->children[0] = left;
            r->children[1] = one;
            r->join_type = STR("inner");
            one = finish_rel(p, r, first);
        }
        left = one;
    } while (left && accept_symbol(p, ","));
    if (left && at_word(p, "lateral") && word_is(peek(p, 1), "view"))
        left = unsupported(p, "LATERAL VIEW", "Use a generator such as explode() in the select list.");
    if (left && (at_word(p, "pivot") || at_word(p, "unpivot")) && symbol_is(peek(p, 1), "("))
        left = unsupported(p, "PIVOT", "");
    leave(p);
    return left;
}

/* -- SELECT ------------------------------------------------------------------------------------------------------- */
static bool parse_group_by(struct parser *p, struct rel *r)
{
    static const char *const GROUPING[] = {"rollup", "cube", "grouping", NULL};
    struct node_list l = {0};
    if (at_word(p, "all") && (ends_alias(p) || peek(p, 1)->kind != TOKEN_SYMBOL || symbol_is(peek(p, 1), ")"))) {
        p->at++;
        r->group_by_all = true;
        return true;
    }
    do {
        if (word_in(peek(p, 0), GROUPING) && (symbol_is(peek(p, 1), "(") || word_is(peek(p, 1), "sets"))) {
            unsupported(p, "GROUPING SETS, ROLLUP and CUBE", "");
            return false;
        }
        struct node *e = parse_expression(p);
        if (!e)
            return false;
        list_add(p, &l, e);
    } while (accept_symbol(p, ","));
    if (at_word(p, "with") && (word_is(peek(p, 1), "rollup") || word_is(peek(p, 1), "cube"))) {
        unsupported(p, "GROUPING SETS, ROLLUP and CUBE", "");
        return false;
    }
    r->group = l.p;
    r->ngroup = l.n;
    return true;
}

static bool parse_select_list(struct parser *p, struct node_list *l)
{
    do {
        struct node *e = parse_named_expression(p);
        if (!e)
            return false;
        list_add(p, l, e);
    } while (accept_symbol(p, ","));
    return true;
}

static struct rel *parse_having(struct parser *p, struct rel *r, int first)
{
    struct node *e = parse_expression(p);
    if (!e)
        return NULL;
    if (r->kind == REL_PROJECT) /* HAVING without GROUP BY: one group of everything */
        r->kind = REL_AGGREGATE;
    struct rel *having = over(p, REL_HAVING, r);
    one_expression(p, having, e);
    return finish_rel(p, having, first);
}

static struct rel *parse_select(struct parser *p)
{
    int first = p->at;
    struct node_list list = {0};
    struct rel *from = NULL;
    p->at++;
    bool distinct = at_word(p, "distinct") && peek(p, 1)->kind != TOKEN_END;
    if (distinct || (at_word(p, "all") && peek(p, 1)->kind != TOKEN_END && !symbol_is(peek(p, 1), ",")))
        p->at++;
    if (!parse_select_list(p, &list))
        return NULL;
    if (accept_word(p, "from"))
        from = parse_relation(p);
    else
        from = finish_rel(p, rel_new(p->a, REL_ONE_ROW, 0), first);
    if (from && accept_word(p, "where")) {
        struct node *e = parse_expression(p);
        if (!e)
            return NULL;
        from = over(p, REL_FILTER, from);
        one_expression(p, from, e);
        from = finish_rel(p, from, first);
    }
    if (!from)
        return NULL;
    struct rel *r = over(p, REL_PROJECT, from);
    r->exprs = list.p;
    r->nexprs = list.n;
    if (accept_words(p, "group", "by")) {
        r->kind = REL_AGGREGATE;
        if (!parse_group_by(p, r))
            return NULL;
    }
    r = finish_rel(p, r, first);
    if (r && accept_word(p, "having"))
        r = parse_having(p, r, first);
    if (r && at_word(p, "window") && word_is(peek(p, 2), "as"))
        return unsupported(p, "the WINDOW clause", "");
    if (r && distinct) {
        r = over(p, REL_DISTINCT, r);
        r->all_columns = true;
        r = finish_rel(p, r, first);
    }
    return r;
}

/* -- queries ------------------------------------------------------------------------------------------------------- */
static struct rel *parse_query_primary(struct parser *p)
{
    int first = p->at;
    if (at_word(p, "select"))
        return parse_select(p);
    if (at_word(p, "values"))
        return parse_table_alias(p, parse_values(p), first);
    if (at_word(p, "table")) {
        p->at++;
        struct rel *r = rel_new(p->a, REL_TABLE, 0);
        return parse_parts(p, &r->parts, &r->nparts) ? finish_rel(p, r, first) : NULL;
    }
    if (at_word(p, "from") && peek(p, 1)->kind == TOKEN_WORD)
        return unsupported(p, "a query that begins with FROM", "Write SELECT … FROM ….");
    if (at_symbol(p, "(")) {
        p->at++;
        struct rel *r = parse_query(p);
        return r && expect_symbol(p, ")") ? r : NULL;
    }
    return syntax_error(p, "");
}

static struct rel *set_operation(struct parser *p, struct rel *left, struct rel *right, int setop, bool all, int first)
{
    if (!left || !right)
        return NULL;
    struct rel *r = rel_new(p->a, REL_SETOP, 2);
    r->children[0] = left;
    r->children[1] = right;
    r->setop = setop;
    r->all = all;
    return finish_rel(p, r, first);
}

static bool parse_all(struct parser *p)
{
    bool all = accept_word(p, "all");
    if (!all)
        accept_word(p, "distinct");
    return all;
}

static struct rel *parse_intersect(struct parser *p)
{
    int first = p->at;
    struct rel *left = parse_query_primary(p);
    while (left && accept_word(p, "intersect")) {
        bool all = parse_all(p);
        left = set_operation(p, left, parse_query_primary(p), SETOP_INTERSECT, all, first);
    }
    return left;
}

static struct rel *parse_query_term(struct parser *p)
{
    static const char *const EXCEPT[] = {"except", "minus", "setminus", NULL};
    int first = p->at;
    struct rel *left = parse_intersect(p);
    while (left && (at_word(p, "union") || word_in(peek(p, 0), EXCEPT))) {
        int setop = at_word(p, "union") ? SETOP_UNION : SETOP_EXCEPT;
        p->at++;
        bool all = parse_all(p);
        left = set_operation(p, left, parse_intersect(p), setop, all, first);
    }
    return left;
}

static struct rel *parse_order_by(struct parser *p, struct rel *r, int first)
{
    struct node_list l = {0};
    r = over(p, REL_SORT, r);
    if (at_word(p, "all") && (ends_alias(p) || peek(p, 1)->kind == TOKEN_WORD || peek(p, 1)->kind == TOKEN_END ||
                              symbol_is(peek(p, 1), ")") || symbol_is(peek(p, 1), ";"))) {
        r->all = true;
        struct node *s = parse_sort_item(p); /* ALL with its direction */
        if (!s)
            return NULL;
        one_expression(p, r, s);
        return finish_rel(p, r, first);
    }
    do {
        struct node *s = parse_sort_item(p);
        if (!s)
            return NULL;
        list_add(p, &l, s);
    } while (accept_symbol(p, ","));
    r->exprs = l.p;
    r->nexprs = l.n;
    return finish_rel(p, r, first);
}

static struct rel *parse_limit(struct parser *p, struct rel *r, enum rel_kind kind, int first)
{
    if (kind == REL_LIMIT && accept_word(p, "all"))
        return r;
    r = over(p, kind, r);
    struct node *e = parse_expression(p);
    if (!e)
        return NULL;
    one_expression(p, r, e); /* plan/ evaluates it: any foldable integer will do */
    return finish_rel(p, r, first);
}

static struct rel *parse_organization(struct parser *p, struct rel *r, int first)
{
    /* One partition holds everything: SORT BY and CLUSTER BY sort it, DISTRIBUTE BY has nothing to do. */
    if (r && accept_words(p, "distribute", "by")) {
        struct node_list ignored = {0};
        if (!parse_expression_list(p, &ignored))
            return NULL;
    }
    if (r && (accept_words(p, "sort", "by") || accept_words(p, "cluster", "by")))
        r = parse_order_by(p, r, first);
    if (r && accept_words(p, "order", "by"))
        r = parse_order_by(p, r, first);
    if (r && at_word(p, "window") && word_is(peek(p, 2), "as"))
        return unsupported(p, "the WINDOW clause", "");
    struct rel *inner = r;
    int limit_at = -1;
    if (r && accept_word(p, "limit")) {
        limit_at = p->at;
        r = parse_limit(p, r, REL_LIMIT, first);
    }
    if (r && accept_word(p, "offset")) {
        /* LIMIT n OFFSET m: the offset is taken first. */
        if (limit_at >= 0 && r != inner) {
            struct rel *limit = r, *offset = parse_limit(p, inner, REL_OFFSET, first);
            if (!offset)
                return NULL;
            limit->children[0] = offset;
            r = finish_rel(p, limit, first);
        } else {
            r = parse_limit(p, r, REL_OFFSET, first);
        }
    }
    if (r && at_symbol(p, "|>"))
        return unsupported(p, "the pipe operator |>", "Nest the query in FROM (…).");
    return r;
}

/* name [(columns)] AS (query) */
static bool parse_cte(struct parser *p, struct str *name, struct rel **body)
{
    int first = p->at;
    struct str *columns = NULL;
    int n = 0;
    if (!parse_identifier(p, name) || (at_symbol(p, "(") && !parse_name_list(p, &columns, &n)))
        return false;
    accept_word(p, "as");
    if (!expect_symbol(p, "("))
        return false;
    struct rel *r = parse_query(p);
    if (!r || !expect_symbol(p, ")"))
        return false;
    if (n) {
        r = over(p, REL_ALIAS, r);
        r->parts = ARENA_ARRAY(p->a, (size_t)n + 1, struct str);
        r->parts[0] = *name;
        for (int i = 0; i < n; i++)
            r->parts[i + 1] = columns[i];
        r->nparts = n + 1;
        r = finish_rel(p, r, first);
    }
    *body = r;
    return r != NULL;
}

static struct rel *parse_with(struct parser *p)
{
    int first = p->at, n = 0;
    struct str names[LIMIT_CTES];
    struct rel *bodies[LIMIT_CTES];
    p->at++;
    if (at_word(p, "recursive") && peek(p, 1)->kind == TOKEN_WORD && !word_is(peek(p, 1), "as"))
        return unsupported(p, "WITH RECURSIVE", "");
    do {
        if (n == LIMIT_CTES) {
            p->err = LIMIT_FAULT(p->fault, CTES);
            return NULL;
        }
        if (!parse_cte(p, &names[n], &bodies[n]))
            return NULL;
        n++;
    } while (accept_symbol(p, ","));
    struct rel *query = parse_query(p);
    if (!query)
        return NULL;
    struct rel *r = rel_new(p->a, REL_WITH, n + 1);
    r->parts = ARENA_ARRAY(p->a, (size_t)n, struct str);
    r->nparts = n;
    r->children[0] = query;
    for (int i = 0; i < n; i++) {
        r->parts[i] = names[i];
        r->children[i + 1] = bodies[i];
    }
    return finish_rel(p, r, first);
}

struct rel *parse_query(struct parser *p)
{
    int first = p->at;
    struct rel *r;
    if (!enter(p))
        return NULL;
    if (at_word(p, "with"))
        r = parse_with(p);
    else
        r = parse_organization(p, parse_query_term(p), first);
    leave(p);
    return r;
}
