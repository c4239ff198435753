/* Statements around a query: temp views, SET, SHOW, DESCRIBE, EXPLAIN; what Spark has beyond them is refused by its name. */
#include "sql_int.h"

#include <stdio.h>

static bool create_view(struct parser *p, struct statement *out)
{
    p->at++;
    out->kind = STATEMENT_CREATE_VIEW;
    out->replace = accept_words(p, "or", "replace");
    out->global = accept_word(p, "global");
    bool temporary = accept_word(p, "temporary") || accept_word(p, "temp");
    if (!temporary || !accept_word(p, "view")) {
        unsupported(p, temporary ? "CREATE TEMPORARY other than VIEW" : "CREATE other than TEMPORARY VIEW",
                    "There is no catalog of tables: topics are read with spark.readStream.format(\"kafka\").");
        return false;
    }
    struct str *parts, *columns = NULL;
    int n, first = p->at, ncolumns = 0;
    if (accept_words(p, "if", "not") && !expect_word(p, "exists"))
        return false;
    if (!parse_parts(p, &parts, &n) || (at_symbol(p, "(") && !parse_name_list(p, &columns, &ncolumns)))
        return false;
    out->name = parts[n - 1];
    if (accept_word(p, "using")) {
        unsupported(p, "CREATE TEMPORARY VIEW … USING", "Read the source with spark.read and createOrReplaceTempView.");
        return false;
    }
    if (!expect_word(p, "as"))
        return false;
    out->rel = parse_query(p);
    if (out->rel && ncolumns) {
        struct rel *alias = rel_new(p->a, REL_ALIAS, 1);
        alias->children[0] = out->rel;
        alias->parts = ARENA_ARRAY(p->a, (size_t)ncolumns + 1, struct str);
        alias->parts[0] = out->name;
        memcpy(alias->parts + 1, columns, (size_t)ncolumns * sizeof *columns);
        alias->nparts = ncolumns + 1;
        alias->origin = origin_from(p, first);
        out->rel = alias;
    }
    return out->rel != NULL;
}

static bool drop_view(struct parser *p, struct statement *out)
{
    p->at++;
    out->kind = STATEMENT_DROP_VIEW;
    if (!accept_word(p, "view")) {
        unsupported(p, "DROP other than VIEW", "");
        return false;
    }
    out->if_exists = accept_words(p, "if", "exists");
    struct str *parts;
    int n;
    if (!parse_parts(p, &parts, &n))
        return false;
    out->name = parts[n - 1];
    return true;
}

static struct str text_between(const struct parser *p, int from, int to)
{
    if (from >= to)
        return STR("");
    const char *start = p->tokens[from].text.p;
    const char *end = p->tokens[to - 1].text.p + p->tokens[to - 1].text.n;
    return str_make(start, (size_t)(end - start));
}

/* SET, SET key, SET key = anything to the end of the statement */
static bool set_statement(struct parser *p, struct statement *out)
{
    int from = ++p->at;
    out->kind = STATEMENT_SET;
    if (at_word(p, "-v") || at_symbol(p, "-")) {
        p->at += 2;
        return true;
    }
    if (at_word(p, "time") && word_is(peek(p, 1), "zone")) {
        p->at += 2;
        out->key = STR("spark.sql.session.timeZone");
        out->has_value = true;
        if (peek(p, 0)->kind != TOKEN_STRING && !at_word(p, "local")) {
            syntax_error(p, "");
            return false;
        }
        out->value = peek(p, 0)->value;
        p->at++;
        return true;
    }
    while (peek(p, 0)->kind != TOKEN_END && !at_symbol(p, "=") && !at_symbol(p, ";"))
        p->at++;
    out->key = text_between(p, from, p->at);
    if (out->key.n > 1 && out->key.p[0] == '`')
        out->key = str_sub(out->key, 1, out->key.n - 2);
    if (accept_symbol(p, "=")) {
        int at = p->at;
        while (peek(p, 0)->kind != TOKEN_END && !(at_symbol(p, ";") && peek(p, 1)->kind == TOKEN_END))
            p->at++;
        out->has_value = true;
        out->value =
            p->at == at + 1 && p->tokens[at].kind == TOKEN_QUOTED ? p->tokens[at].value : text_between(p, at, p->at);
    }
    return true;
}

static bool show_statement(struct parser *p, struct statement *out)
{
    static const char *const SCOPES[] = {"user", "system", "all", NULL};
    p->at++;
    if (at_word(p, "tables") || at_word(p, "views")) {
        out->extended = accept_word(p, "views");
        accept_word(p, "tables");
        out->kind = STATEMENT_SHOW_TABLES;
    } else {
        if (word_in(peek(p, 0), SCOPES))
            p->at++;
        if (!accept_word(p, "functions")) {
            char feature[96];
            snprintf(feature, sizeof feature, "SHOW %.*s", (int)(peek(p, 0)->text.n < 64 ? peek(p, 0)->text.n : 64),
                     peek(p, 0)->text.p);
            unsupported(p, feature, "");
            return false;
        }
        out->kind = STATEMENT_SHOW_FUNCTIONS;
    }
    struct str schema;
    if ((accept_word(p, "in") || accept_word(p, "from")) && !parse_identifier(p, &schema))
        return false;
    accept_word(p, "like");
    if (peek(p, 0)->kind == TOKEN_STRING || (peek(p, 0)->kind == TOKEN_WORD)) {
        out->value = peek(p, 0)->value;
        out->has_value = true;
        p->at++;
    }
    return true;
}

static bool describe_statement(struct parser *p, struct statement *out)
{
    static const char *const REFUSED[] = {"function", "database", "schema", "namespace", "catalog", NULL};
    p->at++;
    out->kind = STATEMENT_DESCRIBE;
    if (word_in(peek(p, 0), REFUSED) && peek(p, 1)->kind != TOKEN_END) {
        unsupported(p, "DESCRIBE other than a view or a query", "");
        return false;
    }
    bool query = at_word(p, "query") && peek(p, 1)->kind != TOKEN_END;
    if (query || (at_word(p, "table") && peek(p, 1)->kind != TOKEN_END))
        p->at++;
    out->extended = accept_word(p, "extended") || accept_word(p, "formatted");
    if (query || starts_query(p, 0)) {
        out->rel = parse_query(p);
        return out->rel != NULL;
    }
    int first = p->at;
    out->rel = rel_new(p->a, REL_TABLE, 0);
    if (!parse_parts(p, &out->rel->parts, &out->rel->nparts))
        return false;
    out->rel->origin = origin_from(p, first);
    return true;
}

static bool explain_statement(struct parser *p, struct statement *out)
{
    static const char *const MODES[] = {"extended", "logical", "formatted", "codegen", "cost", NULL};
    p->at++;
    out->kind = STATEMENT_EXPLAIN;
    if (word_in(peek(p, 0), MODES)) {
        out->extended = at_word(p, "extended") || at_word(p, "formatted");
        p->at++;
    }
    out->rel = parse_query(p);
    return out->rel != NULL;
}

/* Statements of Spark's grammar that penstock has no use for, or not yet. */
static const char *const REFUSED[] = {
    "insert",   "alter",    "delete", "update",   "merge",  "use",    "cache",  "uncache", "refresh", "analyze",
    "truncate", "load",     "add",    "list",     "msck",   "grant",  "revoke", "declare", "begin",   "comment",
    "call",     "execute",  "repair", "clear",    "export", "import", "lock",   "unlock",  "replace", "start",
    "commit",   "rollback", "copy",   "optimize", "map",    "reduce", NULL};

static bool refuse_statement(struct parser *p)
{
    char feature[64];
    size_t n = peek(p, 0)->text.n < 32 ? peek(p, 0)->text.n : 32;
    snprintf(feature, sizeof feature, "the statement %.*s", (int)n, peek(p, 0)->text.p);
    for (size_t i = 14; feature[i]; i++)
        if (feature[i] >= 'a' && feature[i] <= 'z')
            feature[i] = (char)(feature[i] - 32);
    unsupported(p, feature, "");
    return false;
}

bool parse_statement(struct parser *p, struct statement *out)
{
    static const struct {
        const char *word;
        bool (*parse)(struct parser *p, struct statement *out);
    } STATEMENTS[] = {{"create", create_view},          {"drop", drop_view},
                      {"set", set_statement},           {"show", show_statement},
                      {"describe", describe_statement}, {"desc", describe_statement},
                      {"explain", explain_statement}};
    for (size_t i = 0; i < sizeof STATEMENTS / sizeof *STATEMENTS; i++)
        if (at_word(p, STATEMENTS[i].word))
            return STATEMENTS[i].parse(p, out);
    if (at_word(p, "reset")) {
        p->at++;
        out->kind = STATEMENT_RESET;
        int from = p->at;
        while (peek(p, 0)->kind != TOKEN_END && !at_symbol(p, ";"))
            p->at++;
        out->key = text_between(p, from, p->at);
        return true;
    }
    if (word_in(peek(p, 0), REFUSED) && peek(p, 1)->kind != TOKEN_END)
        return refuse_statement(p);
    out->kind = STATEMENT_QUERY;
    out->rel = parse_query(p);
    return out->rel != NULL;
}
