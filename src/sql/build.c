/* Making trees by hand, and copying them: what serve/connect and views need. */
#include "sql/sql.h"

#include <stdarg.h>

struct node *node_new(struct arena *a, enum node_kind kind, int nargs)
{
    struct node *e = ARENA_NEW(a, struct node);
    e->kind = kind;
    e->nargs = nargs;
    e->args = nargs ? ARENA_ARRAY(a, (size_t)nargs, struct node *) : NULL;
    e->plan_id = -1;
    e->nulls_last = -1;
    e->origin.start = e->origin.stop = -1;
    return e;
}

struct node *node_call(struct arena *a, struct str name, int nargs, ...)
{
    struct node *e = node_new(a, NODE_CALL, nargs);
    e->name = name;
    va_list ap;
    va_start(ap, nargs);
    for (int i = 0; i < nargs; i++)
        e->args[i] = va_arg(ap, struct node *);
    va_end(ap);
    return e;
}

struct node *node_attribute(struct arena *a, struct str name)
{
    struct node *e = node_new(a, NODE_ATTRIBUTE, 0);
    e->parts = ARENA_NEW(a, struct str);
    e->parts[0] = name;
    e->nparts = 1;
    return e;
}

/* A literal's column with one row to be filled in through data.any. */
static struct node *literal(struct arena *a, enum type_id id, size_t width)
{
    struct node *e = node_new(a, NODE_LITERAL, 0);
    e->literal.type = e->type = type_simple(id);
    e->literal.n = 1;
    e->literal.data.any = arena_alloc(a, width);
    return e;
}

struct node *node_literal_str(struct arena *a, struct str s)
{
    struct node *e = literal(a, TYPE_STRING, sizeof(struct str));
    e->literal.data.str[0] = s;
    return e;
}

struct node *node_literal_i32(struct arena *a, int32_t v)
{
    struct node *e = literal(a, TYPE_INT, sizeof v);
    e->literal.data.i32[0] = v;
    return e;
}

struct rel *rel_new(struct arena *a, enum rel_kind kind, int nchildren)
{
    struct rel *r = ARENA_NEW(a, struct rel);
    r->kind = kind;
    r->nchildren = nchildren;
    r->children = nchildren ? ARENA_ARRAY(a, (size_t)nchildren, struct rel *) : NULL;
    r->plan_id = -1;
    r->limit = -1;
    r->origin.start = r->origin.stop = -1;
    return r;
}

/* -- copies ------------------------------------------------------------------------------------------------------- */
static struct origin copy_origin(struct arena *a, const struct origin *o, struct str *last_from, struct str *last_to)
{
    struct origin c = *o;
    if (o->sql.n) { /* nodes of one text share one copy */
        if (last_from->p != o->sql.p || last_from->n != o->sql.n) {
            *last_from = o->sql;
            *last_to = arena_str(a, o->sql);
        }
        c.sql = *last_to;
    }
    c.fragment = o->fragment.n ? arena_str(a, o->fragment) : o->fragment;
    c.call_site = o->call_site.n ? arena_str(a, o->call_site) : o->call_site;
    return c;
}

struct copier {
    struct arena *a;
    struct str text_from, text_to;
};

static struct str *copy_strs(struct copier *c, const struct str *s, int n)
{
    if (!n)
        return NULL;
    struct str *out = ARENA_ARRAY(c->a, (size_t)n, struct str);
    for (int i = 0; i < n; i++)
        out[i] = arena_str(c->a, s[i]);
    return out;
}

static struct rel *copy_rel(struct copier *c, const struct rel *r);

static struct node *copy_node(struct copier *c, const struct node *e)
{
    if (!e)
        return NULL;
    struct node *n = ARENA_NEW(c->a, struct node);
    *n = *e;
    n->origin = copy_origin(c->a, &e->origin, &c->text_from, &c->text_to);
    n->name = arena_str(c->a, e->name);
    n->parts = copy_strs(c, e->parts, e->nparts);
    n->args = e->nargs ? ARENA_ARRAY(c->a, (size_t)e->nargs, struct node *) : NULL;
    for (int i = 0; i < e->nargs; i++)
        n->args[i] = copy_node(c, e->args[i]);
    if (e->literal.type && !e->literal_null)
        column_copy(&n->literal, &e->literal, c->a);
    if (e->literal.type)
        n->literal.type = type_copy(c->a, e->literal.type);
    n->literal_sql = arena_str(c->a, e->literal_sql);
    n->type = e->type ? type_copy(c->a, e->type) : NULL;
    n->filter = copy_node(c, e->filter);
    n->relation = e->relation ? copy_rel(c, e->relation) : NULL;
    n->metadata = arena_str(c->a, e->metadata);
    return n;
}

static struct node **copy_nodes(struct copier *c, struct node **e, int n)
{
    struct node **out = n ? ARENA_ARRAY(c->a, (size_t)n, struct node *) : NULL;
    for (int i = 0; i < n; i++)
        out[i] = copy_node(c, e[i]);
    return out;
}

static struct batch_cols *copy_batches(struct copier *c, const struct rel *r)
{
    struct batch_cols *out = r->nbatches ? ARENA_ARRAY(c->a, (size_t)r->nbatches, struct batch_cols) : NULL;
    for (int i = 0; i < r->nbatches; i++) {
        const struct batch_cols *from = &r->batches[i];
        out[i].schema = type_copy(c->a, from->schema);
        out[i].n = from->n;
        out[i].cols = ARENA_ARRAY(c->a, (size_t)from->schema->nfields + 1, struct column);
        for (int k = 0; k < from->schema->nfields; k++)
            column_copy(&out[i].cols[k], &from->cols[k], c->a);
    }
    return out;
}

static struct rel *copy_rel(struct copier *c, const struct rel *r)
{
    struct rel *n = ARENA_NEW(c->a, struct rel);
    *n = *r;
    n->origin = copy_origin(c->a, &r->origin, &c->text_from, &c->text_to);
    n->children = r->nchildren ? ARENA_ARRAY(c->a, (size_t)r->nchildren, struct rel *) : NULL;
    for (int i = 0; i < r->nchildren; i++)
        n->children[i] = copy_rel(c, r->children[i]);
    n->exprs = copy_nodes(c, r->exprs, r->nexprs);
    n->group = copy_nodes(c, r->group, r->ngroup);
    n->parts = copy_strs(c, r->parts, r->nparts);
    n->options = r->noptions ? ARENA_ARRAY(c->a, (size_t)r->noptions, struct option) : NULL;
    for (int i = 0; i < r->noptions; i++)
        n->options[i] = (struct option){arena_str(c->a, r->options[i].key), arena_str(c->a, r->options[i].value)};
    n->format = arena_str(c->a, r->format);
    n->text = arena_str(c->a, r->text);
    n->schema = r->schema ? type_copy(c->a, r->schema) : NULL;
    n->batches = copy_batches(c, r);
    n->join_type = arena_str(c->a, r->join_type);
    return n;
}

struct rel *rel_copy(struct arena *a, const struct rel *r)
{
    struct copier c = {.a = a};
    return copy_rel(&c, r);
}

struct str option_get(const struct option *o, int n, const char *key)
{
    for (int i = 0; i < n; i++)
        if (str_eq_nocase(o[i].key, str_of(key)))
            return o[i].value;
    return (struct str){NULL, 0};
}
