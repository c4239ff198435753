/* Scopes: which names a relation's columns answer to, and what to say when none does. */
#include "plan_int.h"

#include <stdio.h>
#include <stdlib.h>

struct plan_node *plan_node(struct analysis *an, enum plan_kind kind, struct plan_node *child)
{
    struct plan_node *n = ARENA_NEW(an->a, struct plan_node);
    n->kind = kind;
    n->id = an->next_id++;
    n->limit = -1;
    n->watermark_column = -1;
    if (child) {
        n->children = ARENA_NEW(an->a, struct plan_node *);
        n->children[0] = child;
        n->nchildren = 1;
        n->schema = child->schema;
        n->is_streaming = child->is_streaming;
    }
    return n;
}

const struct type *scope_type(struct analysis *an, const struct scope *s)
{
    struct field *f = ARENA_ARRAY(an->a, (size_t)s->n + 1, struct field);
    for (int i = 0; i < s->n; i++)
        f[i] = (struct field){s->cols[i].name, s->cols[i].type, s->cols[i].nullable, s->cols[i].metadata};
    return type_struct(an->a, f, s->n);
}

struct scope scope_of_type(struct analysis *an, const struct type *t, struct str qualifier)
{
    struct scope s = {ARENA_ARRAY(an->a, (size_t)t->nfields + 1, struct scope_col), t->nfields};
    for (int i = 0; i < t->nfields; i++)
        s.cols[i] = (struct scope_col){.name = t->fields[i].name,
                                       .qualifier = qualifier,
                                       .type = t->fields[i].type,
                                       .nullable = t->fields[i].nullable,
                                       .metadata = t->fields[i].metadata,
                                       .attr = an->next_attr++};
    return s;
}

struct scope scope_copy(struct analysis *an, const struct scope *s, int room)
{
    struct scope c = {ARENA_ARRAY(an->a, (size_t)(s->n + room) + 1, struct scope_col), s->n};
    if (s->n)
        memcpy(c.cols, s->cols, (size_t)s->n * sizeof *c.cols);
    return c;
}

void out_set(struct analysis *an, struct out *o, struct plan_node *node, struct scope scope)
{
    *o = (struct out){.node = node, .scope = scope};
    if (!node->schema)
        node->schema = scope_type(an, &scope);
}

struct expr *column_of(struct analysis *an, const struct scope *s, int ordinal)
{
    const struct scope_col *c = &s->cols[ordinal];
    return expr_column(an->bind, ordinal, c->name, c->type, c->nullable);
}

/* -- names as errors print them ------------------------------------------------------------------------------------- */
struct str quote_parts(struct arena *a, const struct str *parts, int n)
{
    struct buf b = {0};
    for (int i = 0; i < n; i++) {
        buf_z(&b, i ? ".`" : "`");
        for (size_t k = 0; k < parts[i].n; k++)
            buf_fmt(&b, parts[i].p[k] == '`' ? "``" : "%c", parts[i].p[k]);
        buf_z(&b, "`");
    }
    struct str s = arena_str(a, buf_view(&b));
    buf_free(&b);
    return s;
}

struct str quote_name(struct arena *a, struct str name)
{
    return quote_parts(a, &name, 1);
}

const char *quote_sql(struct arena *a, const struct expr *e)
{
    return arena_fmt(a, "\"%.*s\"", STR_ARG(e->sql)).p;
}

/* -- look-up --------------------------------------------------------------------------------------------------------- */
static bool same(struct str a, struct str b, bool sensitive)
{
    return sensitive ? str_eq(a, b) : str_eq_nocase(a, b);
}

/* `t.a.b` may be table t, column a, field b; or column t, field a …: the qualified reading wins, as in Spark's AttributeSeq. */
int scope_find(const struct scope *s, const struct str *parts, int n, bool sensitive, int *found, int cap, int *took)
{
    for (int qualified = n > 1; qualified >= 0; qualified--) {
        int hits = 0;
        for (int i = 0; i < s->n; i++) {
            const struct scope_col *c = &s->cols[i];
            bool hit = qualified ? c->qualifier.n && same(c->qualifier, parts[0], sensitive) &&
                                       same(c->name, parts[1], sensitive)
                                 : same(c->name, parts[0], sensitive);
            if (hit && hits < cap)
                found[hits++] = i;
        }
        if (hits) {
            *took = qualified + 1;
            return hits;
        }
    }
    return 0;
}

int scope_find_name(const struct analysis *an, const struct scope *s, struct str name)
{
    for (int i = 0; i < s->n; i++)
        if (same(s->cols[i].name, name, an->bind->case_sensitive) && !s->cols[i].hidden)
            return i;
    return -1;
}

/* -- suggestions ----------------------------------------------------------------------------------------------------- */
static int levenshtein(struct str a, struct str b, int *row)
{
    for (size_t j = 0; j <= b.n; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= a.n; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= b.n; j++) {
            int change = diagonal + (a.p[i - 1] != b.p[j - 1]);
            int least = row[j] + 1 < row[j - 1] + 1 ? row[j] + 1 : row[j - 1] + 1;
            diagonal = row[j];
            row[j] = change < least ? change : least;
        }
    }
    return row[b.n];
}

struct candidate {
    struct str text;
    int distance;
};

static int by_distance(const void *x, const void *y)
{
    const struct candidate *a = x, *b = y;
    return a->distance != b->distance ? a->distance - b->distance : str_cmp(a->text, b->text);
}

/* StringUtils.orderSuggestedIdentifiersBySimilarity: a qualifier that all share is left out for a one-part name. */
static struct str proposals(struct analysis *an, const struct scope *s, struct str base, int base_parts)
{
    bool one_qualifier = true;
    int n = 0;
    struct candidate *c = ARENA_ARRAY(an->a, (size_t)s->n + 1, struct candidate);
    int *row = ARENA_ARRAY(an->a, base.n + 2, int);
    for (int i = 1; i < s->n; i++)
        one_qualifier = one_qualifier && str_eq(s->cols[i].qualifier, s->cols[0].qualifier);
    for (int i = 0; i < s->n; i++) {
        const struct scope_col *col = &s->cols[i];
        if (col->hidden)
            continue;
        struct str parts[2] = {col->qualifier, col->name};
        bool bare = !col->qualifier.n || (base_parts == 1 && one_qualifier);
        c[n].text = quote_parts(an->a, parts + bare, 2 - bare);
        c[n].distance = c[n].text.n < 1000 && base.n < 1000 ? levenshtein(c[n].text, base, row) : 1000;
        n++;
    }
    qsort(c, (size_t)n, sizeof *c, by_distance);
    struct buf b = {0};
    for (int i = 0; i < n && i < PROPOSALS; i++)
        buf_fmt(&b, "%s%.*s", i ? ", " : "", STR_ARG(c[i].text));
    struct str text = arena_str(an->a, buf_view(&b));
    buf_free(&b);
    return text;
}

static struct str plain_parts(struct arena *a, const struct str *parts, int n)
{
    struct buf b = {0};
    for (int i = 0; i < n; i++) {
        bool quote = memchr(parts[i].p, '.', parts[i].n) || memchr(parts[i].p, '`', parts[i].n);
        buf_z(&b, i ? "." : "");
        buf_str(&b, quote ? quote_name(a, parts[i]) : parts[i]);
    }
    struct str s = arena_str(a, buf_view(&b));
    buf_free(&b);
    return s;
}

static enum err unresolved(struct analysis *an, const struct scope *s, const struct str *parts, int n,
                           const struct origin *o)
{
    struct str name = quote_parts(an->a, parts, n), list = proposals(an, s, plain_parts(an->a, parts, n), n);
    enum err e = list.n ? FAULT(an->f, ERR_UNRESOLVED_COLUMN, {"objectName", name.p}, {"proposal", list.p})
                        : FAULT(an->f, ERR_UNRESOLVED_COLUMN_BARE, {"objectName", name.p});
    fault_context(an->f, o);
    return e;
}

enum err unresolved_column(struct binding *b, const struct node *n)
{
    return unresolved(b->an, b->scope, n->parts, n->nparts, &n->origin);
}

enum err unresolved_name(struct analysis *an, const struct scope *s, struct str name, const struct origin *o)
{
    return unresolved(an, s, &name, 1, o);
}

enum err ambiguous(struct analysis *an, const struct scope *s, const struct node *n, const int *found, int nfound)
{
    struct buf b = {0};
    buf_z(&b, "[");
    for (int i = 0; i < nfound; i++) {
        const struct scope_col *c = &s->cols[found[i]];
        struct str parts[2] = {c->qualifier, c->name};
        bool bare = !c->qualifier.n;
        buf_z(&b, i ? ", " : "");
        buf_str(&b, quote_parts(an->a, parts + bare, 2 - bare));
    }
    buf_z(&b, "]");
    struct str list = arena_str(an->a, buf_view(&b));
    buf_free(&b);
    enum err e = FAULT(an->f, ERR_AMBIGUOUS_REFERENCE, {"name", quote_parts(an->a, n->parts, n->nparts).p},
                       {"referenceNames", list.p});
    fault_context(an->f, &n->origin);
    return e;
}
