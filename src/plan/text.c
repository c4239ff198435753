/* explain(): the tree, one node a line. */
#include "plan_int.h"

static const char *const KINDS[] = {
    [PLAN_ONE_ROW] = "Scan OneRowRelation",
    [PLAN_LOCAL] = "LocalTableScan",
    [PLAN_RANGE] = "Range",
    [PLAN_SCAN] = "Scan",
    [PLAN_PROJECT] = "Project",
    [PLAN_FILTER] = "Filter",
    [PLAN_AGGREGATE] = "HashAggregate",
    [PLAN_SORT] = "Sort",
    [PLAN_LIMIT] = "Limit",
    [PLAN_UNION] = "Union",
    [PLAN_WATERMARK] = "EventTimeWatermark",
    [PLAN_EXPAND_WINDOW] = "Expand",
    [PLAN_EXPLODE] = "Generate",
    [PLAN_DEDUP] = "Deduplicate",
    [PLAN_JOIN] = "HashJoin",
    [PLAN_SHOW] = "Show",
    [PLAN_SAMPLE] = "Sample",
};

static const char *const JOINS[] = {"Inner", "LeftOuter", "RightOuter", "FullOuter", "LeftSemi", "LeftAnti"};

static void put_exprs(struct buf *out, struct expr *const *e, int n, const struct plan_node *sort)
{
    buf_z(out, "[");
    for (int i = 0; i < n; i++) {
        buf_fmt(out, "%s%.*s", i ? ", " : "", STR_ARG(e[i]->sql));
        if (sort)
            buf_fmt(out, " %s NULLS %s", sort->descending[i] ? "DESC" : "ASC", sort->nulls_last[i] ? "LAST" : "FIRST");
    }
    buf_z(out, "]");
}

static void put_fields(struct buf *out, const struct plan *p, const struct type *t, bool types)
{
    buf_z(out, "[");
    for (int i = 0; i < t->nfields; i++) {
        buf_fmt(out, "%s%.*s", i ? ", " : "", STR_ARG(t->fields[i].name));
        if (types)
            buf_fmt(out, ": %.*s%s", STR_ARG(type_simple_string(p->arena, t->fields[i].type)),
                    t->fields[i].nullable ? "" : " not null");
    }
    buf_z(out, "]");
}

static void put_node(struct buf *out, const struct plan *p, const struct plan_node *n, bool extended)
{
    buf_z(out, KINDS[n->kind]);
    switch (n->kind) {
    case PLAN_RANGE:
        buf_fmt(out, " (%lld, %lld, step=%lld)", (long long)n->start, (long long)n->end, (long long)n->step);
        break;
    case PLAN_SCAN:
        buf_fmt(out, " %.*s ", STR_ARG(n->format));
        put_fields(out, p, n->schema, false);
        break;
    case PLAN_LOCAL:
        buf_z(out, " ");
        put_fields(out, p, n->schema, false);
        break;
    case PLAN_PROJECT:
    case PLAN_FILTER:
    case PLAN_EXPLODE:
        buf_z(out, " ");
        put_exprs(out, n->exprs, n->nexprs, NULL);
        break;
    case PLAN_SORT:
        buf_z(out, " ");
        put_exprs(out, n->exprs, n->nexprs, n);
        break;
    case PLAN_AGGREGATE:
    case PLAN_DEDUP:
        buf_z(out, "(keys=");
        put_exprs(out, n->group, n->ngroup, NULL);
        buf_z(out, ", functions=");
        put_exprs(out, n->aggs, n->naggs, NULL);
        buf_z(out, ")");
        break;
    case PLAN_JOIN:
        buf_fmt(out, " %s ", JOINS[n->join]);
        put_exprs(out, n->left_keys, n->nkeys, NULL);
        buf_z(out, " = ");
        put_exprs(out, n->right_keys, n->nkeys, NULL);
        if (n->condition)
            buf_fmt(out, " and %.*s", STR_ARG(n->condition->sql));
        break;
    case PLAN_LIMIT:
        buf_fmt(out, " %lld offset %lld%s", (long long)n->limit, (long long)n->offset, n->tail ? " from the end" : "");
        break;
    case PLAN_WATERMARK:
        buf_fmt(out, " %.*s, %lld us", STR_ARG(n->schema->fields[n->watermark_column].name), (long long)n->delay_us);
        break;
    case PLAN_EXPAND_WINDOW:
        buf_fmt(out, " windows of %lld us every %lld us", (long long)n->window.duration_us,
                (long long)n->window.slide_us);
        break;
    default:
        break;
    }
    if (extended) {
        buf_z(out, " → ");
        put_fields(out, p, n->schema, true);
    }
}

static void put_tree(struct buf *out, const struct plan *p, const struct plan_node *n, int level, bool extended)
{
    for (int i = 1; i < level; i++)
        buf_z(out, "   ");
    buf_z(out, level ? "+- " : "");
    put_node(out, p, n, extended);
    buf_z(out, "\n");
    for (int i = 0; i < n->nchildren; i++)
        put_tree(out, p, n->children[i], level + 1, extended);
}

void plan_text(const struct plan *p, bool extended, struct buf *out)
{
    buf_z(out, "== Physical Plan ==\n");
    put_tree(out, p, p->root, 0, extended);
}
