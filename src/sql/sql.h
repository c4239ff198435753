/*
 * sql: text → tree, and the tree itself.
 *
 * The tree is the unresolved logical plan that both front ends build: the SQL parser here, and serve/connect from
 * protobuf messages. It says what was asked, with names unresolved; plan/ resolves it. Nodes live in the arena of the
 * request that made them (views copy theirs) and are read-only once built.
 *
 *   "SELECT a FROM t"  ──sql_parse──┐
 *   spark.connect.Relation ─────────┴──▶ struct rel / struct node ──plan_analyze──▶ struct plan
 *
 * Depth: builders refuse to nest deeper than LIMIT_TREE_DEPTH (an error, never a stack overflow).
 * The parser is recursive descent with a Pratt expression parser after Spark's SqlBaseParser.g4; Spark reserves almost no words.
 */
#ifndef PENSTOCK_SQL_SQL_H
#define PENSTOCK_SQL_SQL_H

#include "base/limit.h"
#include "base/origin.h"
#include "column/column.h"

/* -- expressions -------------------------------------------------------------------------------------------------- */
enum node_kind {
    NODE_LITERAL,   /* literal, literal_null */
    NODE_ATTRIBUTE, /* parts (a.b.c); plan_id ≥ 0 when df["a"] names its relation */
    NODE_STAR,      /* parts: qualifier, or none */
    NODE_REGEX,     /* df.colRegex */
    NODE_CALL, /* name(args): operators too ("+", "and", "in", "between" is rewritten, "case": cond,value,…[,else]) */
    NODE_CAST, /* args[0] AS type; cast_mode 0 default (ANSI conf) 1 ANSI 2 try 3 legacy */
    NODE_ALIAS,   /* args[0] AS parts[0] (several parts: multi-alias); metadata */
    NODE_SORT,    /* args[0] with descending, nulls_last (-1 default) */
    NODE_EXTRACT, /* args[0][args[1]] or args[0].name (args[1] a string literal, by_name) */
    NODE_LAMBDA,  /* args[0] body; parts are the parameters */
    NODE_LAMBDA_VAR,
    NODE_WINDOW,   /* over(…): kept so that it can be refused by name */
    NODE_SUBQUERY, /* scalar, exists, in: relation */
    NODE_DEFAULT,
    NODE_PARAM, /* :name (name), or ? (plan_id: which one of the text, from 0): REL_PARAMS has the values */
};
struct rel;
struct node {
    enum node_kind kind;
    struct origin origin;
    struct str name;   /* CALL: function; SUBQUERY: "scalar", "exists", "in" */
    struct str *parts; /* ATTRIBUTE, STAR, ALIAS, LAMBDA */
    int nparts;
    struct node **args;
    int nargs;
    struct column literal; /* one constant row */
    bool literal_null;
    struct str literal_sql;  /* as written, when that matters for naming ("INTERVAL '1' DAY") */
    const struct type *type; /* CAST */
    int cast_mode;
    bool distinct, descending, by_name, user_written;
    int nulls_last;       /* SORT: -1 default, 0 first, 1 last */
    int64_t plan_id;      /* -1 none */
    struct node *filter;  /* CALL … FILTER (WHERE …) */
    struct rel *relation; /* SUBQUERY */
    struct str metadata;
    bool
        typed_literal; /* CAST of a string literal, written DATE '…' or TIMESTAMP '…': a value that cannot be is INVALID_TYPED_LITERAL */
    int depth; /* of the tree below; kept by the SQL parser, 0 elsewhere */
};

/* -- relations ---------------------------------------------------------------------------------------------------- */
enum rel_kind {
    REL_ONE_ROW, /* SELECT without FROM */
    REL_TABLE,   /* parts: a view or table name; options */
    REL_SOURCE,  /* spark.read/readStream: format, options, user schema, is_streaming, paths */
    REL_LOCAL,   /* batches (Arrow data) + schema */
    REL_RANGE,   /* start, end, step */
    REL_PROJECT, /* exprs over child (may hold aggregates: then an ungrouped aggregate) */
    REL_FILTER,  /* exprs[0] */
    REL_AGGREGATE, /* group exprs + exprs, the whole output list (DataFrames: the grouping expressions come first in it) */
    REL_SORT,      /* exprs are NODE_SORT; global */
    REL_LIMIT,
    REL_OFFSET,
    REL_TAIL,     /* limit */
    REL_DISTINCT, /* all columns, or parts as column names (dropDuplicates) with all_columns false; within_watermark */
    REL_SETOP,    /* children 2; setop, all, by_name, allow_missing */
    REL_JOIN,     /* children 2; join_type; exprs[0] condition; using names in parts */
    REL_ALIAS,    /* parts[0] names the child; extra parts[1..] rename its columns (t(a,b)) */
    REL_TO_DF,    /* parts: all columns renamed */
    REL_WITH_COLUMNS, /* exprs are NODE_ALIAS: replaces same-named columns, appends others */
    REL_RENAME,       /* withColumnsRenamed: exprs NODE_ALIAS of attributes */
    REL_DROP,         /* exprs: attributes; parts: names */
    REL_WATERMARK,    /* column name in parts[0], delay text in text */
    REL_REPARTITION,  /* a no-op here */
    REL_HINT,
    REL_TO_SCHEMA,
    REL_FILL_NA,    /* parts: columns (none: all); exprs: one literal for all, or one per part */
    REL_DROP_NA,    /* parts: columns (none: all); limit: fewest non-null values a row needs, -1: all of them */
    REL_REPLACE_NA, /* parts: columns (none: all); exprs: old, new, old, new … literals */
    REL_SAMPLE,     /* exprs: lower and upper bound, DOUBLE literals; start: seed; all: with replacement */
    REL_VALUES,     /* rows in exprs, width columns each */
    REL_SHOW,       /* showString: limit rows, truncate, vertical; html */
    REL_WITH,       /* CTEs: names in parts, children[1..] their bodies, children[0] the query */
    REL_HAVING,     /* exprs[0] over an aggregate child */
    REL_PARAMS,     /* spark.sql args: named/positional literals in exprs (NODE_ALIAS for named) over child */
};
struct option {
    struct str key, value; /* keys compare case-insensitively */
};
struct rel {
    enum rel_kind kind;
    struct origin origin;
    int64_t plan_id; /* protobuf's, -1 none: NODE_ATTRIBUTE.plan_id points here */
    struct rel **children;
    int nchildren;
    struct node **exprs, **group;
    int nexprs, ngroup;
    struct str *parts;
    int nparts;
    struct option *options;
    int noptions;
    struct str format, text;
    const struct type *schema; /* SOURCE: the user's; LOCAL, TO_SCHEMA */
    struct batch_cols *batches;
    int nbatches;
    int64_t start, end, step, limit;
    int truncate, width;
    bool is_streaming, all, by_name, allow_missing, all_columns, within_watermark, vertical, html, group_by_all;
    enum { SETOP_UNION, SETOP_INTERSECT, SETOP_EXCEPT } setop;
    struct str join_type; /* "inner", "left_outer", "right_outer", "full_outer", "left_semi", "left_anti", "cross" */
    bool natural;         /* JOIN */
    int depth;            /* as node.depth */
};

/* -- parsing ------------------------------------------------------------------------------------------------------ */
enum statement_kind {
    STATEMENT_QUERY,       /* rel */
    STATEMENT_CREATE_VIEW, /* CREATE [OR REPLACE] [GLOBAL] TEMP VIEW name AS query */
    STATEMENT_DROP_VIEW,
    STATEMENT_SET, /* SET [key [= value]] */
    STATEMENT_RESET,
    STATEMENT_SHOW_TABLES, /* SHOW TABLES | VIEWS */
    STATEMENT_SHOW_FUNCTIONS,
    STATEMENT_DESCRIBE, /* DESCRIBE [TABLE|QUERY] …: rel */
    STATEMENT_EXPLAIN,  /* rel */
};
struct statement {
    enum statement_kind kind;
    struct rel *rel;
    struct str name, key, value;
    bool replace, if_exists, global, has_value;
    bool extended; /* EXPLAIN EXTENDED, DESCRIBE EXTENDED, SHOW VIEWS; SHOW … LIKE value */
};
/* Errors: PARSE_SYNTAX_ERROR and its kin, with position (line, pos) and the query context as Spark reports it. Statements
 * that Spark has and penstock does not are refused by name. */
CHECK enum err sql_parse(struct str text, struct arena *a, struct statement *out, struct fault *f);
CHECK enum err sql_parse_expression(struct str text, struct arena *a, struct node **out,
                                    struct fault *f); /* selectExpr, expr() */
CHECK enum err sql_parse_identifier(struct str text, struct arena *a, struct str **parts, int *n,
                                    struct fault *f); /* a.`b.c` */
/* "INT", "array<struct<a:int>>"; a table schema "a INT, b STRING NOT NULL"; and either, or Spark's JSON schema (from_json's rule). */
CHECK enum err sql_parse_type(struct str text, struct arena *a, const struct type **out, struct fault *f);
CHECK enum err sql_parse_schema(struct str text, struct arena *a, const struct type **out, struct fault *f);
CHECK enum err sql_parse_type_json(struct str json, struct arena *a, const struct type **out, struct fault *f);

/* -- building ----------------------------------------------------------------------------------------------------- */
struct node *node_new(struct arena *a, enum node_kind kind, int nargs);
struct node *node_call(struct arena *a, struct str name, int nargs, ...); /* struct node * … */
struct node *node_attribute(struct arena *a, struct str name);            /* one part */
struct node *node_literal_str(struct arena *a, struct str s);
struct node *node_literal_i32(struct arena *a, int32_t v);
struct rel *rel_new(struct arena *a, enum rel_kind kind, int nchildren);
struct rel *rel_copy(struct arena *a,
                     const struct rel *r); /* deep, with everything it points at: temp views keep such a copy */
/* Case-insensitive lookup; p NULL when absent. */
struct str option_get(const struct option *o, int n, const char *key);

#endif
