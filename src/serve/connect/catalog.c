/*
 * Catalog questions. penstock has one catalog (spark_catalog) with one database (default) that holds no tables; what there
 * is are the session's temporary views. Questions about those are answered; tables, databases and partitions cannot be made
 * and are refused by name.
 */
#include "serve/connect/connect_int.h"

#define KIND(name) SPARK__CONNECT__CATALOG__CAT_TYPE_##name

/* One row of one column, as current_database and its kin answer. */
static struct rel *one_value(struct planning *p, enum type_id id, struct str text, bool truth)
{
    struct field field = {STR("value"), type_simple(id), false, {0}};
    struct column c;
    column_alloc(&c, type_simple(id), 1, p->arena);
    if (id == TYPE_STRING)
        c.data.str[0] = text;
    else
        c.data.boolean[0] = truth;
    return local_table(p, &field, &c, 1, 1);
}

static struct rel *nothing(struct planning *p)
{
    return local_table(p, NULL, NULL, 0, 0);
}

/* SQL's LIKE as SHOW … LIKE has it: '*' any characters, '|' alternatives, case does not matter. */
static bool glob(struct str pattern, struct str s)
{
    while (pattern.n) {
        if (*pattern.p == '*') {
            pattern = str_sub(pattern, 1, SIZE_MAX);
            for (size_t i = 0; i <= s.n; i++)
                if (glob(pattern, str_sub(s, i, SIZE_MAX)))
                    return true;
            return false;
        }
        if (!s.n || !str_eq_nocase(str_sub(pattern, 0, 1), str_sub(s, 0, 1)))
            return false;
        pattern = str_sub(pattern, 1, SIZE_MAX);
        s = str_sub(s, 1, SIZE_MAX);
    }
    return !s.n;
}

bool name_matches(struct str pattern, struct str s)
{
    if (pattern.n > 64) /* glob backtracks */
        return str_eq_nocase(pattern, s);
    for (size_t from = 0; from <= pattern.n;) {
        ptrdiff_t bar = str_find(pattern, STR("|"), from);
        size_t end = bar < 0 ? pattern.n : (size_t)bar;
        if (glob(str_sub(pattern, from, end - from), s))
            return true;
        from = end + 1;
    }
    return false;
}

/* Columns of a struct type by DDL, n rows, all NULL until set. */
struct rows {
    struct planning *p;
    const struct type *schema;
    struct column *cols;
    uint32_t n;
};

static enum err rows_new(struct rows *r, struct planning *p, const char *ddl, struct fault *f)
{
    *r = (struct rows){.p = p};
    enum err e = sql_parse_schema(str_of(ddl), p->arena, &r->schema, f);
    if (e)
        return e;
    r->cols = ARENA_ARRAY(p->arena, (size_t)r->schema->nfields, struct column);
    for (int i = 0; i < r->schema->nfields; i++)
        column_alloc(&r->cols[i], r->schema->fields[i].type, 0, p->arena);
    return ERR_OK;
}

static void rows_add(struct rows *r)
{
    r->n++;
    for (int i = 0; i < r->schema->nfields; i++) {
        column_grow(&r->cols[i], r->n, r->p->arena);
        column_set_null(&r->cols[i], r->n - 1);
        if (r->cols[i].type->id == TYPE_ARRAY)
            r->cols[i].data.offsets[r->n] = r->cols[i].data.offsets[r->n - 1];
    }
}

static void put_str(struct rows *r, int col, struct str s)
{
    r->cols[col].data.str[r->n - 1] = arena_str(r->p->arena, s);
    ((uint8_t *)r->cols[col].valid)[r->n - 1] = 1;
}

static void put_bool(struct rows *r, int col, bool v)
{
    r->cols[col].data.boolean[r->n - 1] = v;
    ((uint8_t *)r->cols[col].valid)[r->n - 1] = 1;
}

static struct rel *rows_rel(struct rows *r)
{
    return local_table(r->p, r->schema->fields, r->cols, r->schema->nfields, r->n);
}

static const char TABLE_DDL[] = "name STRING NOT NULL, catalog STRING, namespace ARRAY<STRING>, description STRING, "
                                "tableType STRING NOT NULL, isTemporary BOOLEAN NOT NULL";

static void add_table(struct rows *r, struct str name)
{
    rows_add(r);
    put_str(r, 0, name);
    put_str(r, 4, STR("TEMPORARY"));
    put_bool(r, 5, true);
}

static enum err list_tables(struct planning *p, const char *pattern, struct rel **out, struct fault *f)
{
    struct rows r;
    struct str *names;
    size_t n = session_view_names(p->session, p->arena, &names);
    enum err e = rows_new(&r, p, TABLE_DDL, f);
    for (size_t i = 0; i < n && !e; i++)
        if (!*pattern || name_matches(str_of(pattern), names[i]))
            add_table(&r, names[i]);
    if (!e)
        *out = rows_rel(&r);
    return e;
}

static enum err view_not_found(struct planning *p, const char *name, struct fault *f)
{
    struct str quoted = arena_fmt(p->arena, "`%s`", name);
    return FAULT(f, ERR_VIEW_NOT_FOUND, {"relationName", quoted.p});
}

static enum err get_table(struct planning *p, const char *name, struct rel **out, struct fault *f)
{
    struct rows r;
    struct view *v = session_view(p->session, str_of(name));
    if (!v)
        return view_not_found(p, name, f);
    view_release(v);
    enum err e = rows_new(&r, p, TABLE_DDL, f);
    if (e)
        return e;
    add_table(&r, str_of(name));
    *out = rows_rel(&r);
    return ERR_OK;
}

static enum err list_columns(struct planning *p, const char *name, struct rel **out, struct fault *f)
{
    struct rows r;
    struct plan *plan;
    struct rel *table = rel_new(p->arena, REL_TABLE, 0);
    enum err e = sql_parse_identifier(arena_str(p->arena, str_of(name)), p->arena, &table->parts, &table->nparts, f);
    if (!e)
        e = rows_new(&r, p,
                     "name STRING NOT NULL, description STRING, dataType STRING NOT NULL, nullable BOOLEAN NOT NULL, "
                     "isPartition BOOLEAN NOT NULL, isBucket BOOLEAN NOT NULL, isCluster BOOLEAN NOT NULL",
                     f);
    if (!e)
        e = plan_analyze(table, &p->env, &plan, f);
    if (e)
        return e;
    for (int i = 0; i < plan->schema->nfields; i++) {
        rows_add(&r);
        put_str(&r, 0, plan->schema->fields[i].name);
        put_str(&r, 2, type_simple_string(p->arena, plan->schema->fields[i].type));
        put_bool(&r, 3, plan->schema->fields[i].nullable);
        for (int k = 4; k < 7; k++)
            put_bool(&r, k, false);
    }
    plan_free(plan);
    *out = rows_rel(&r);
    return ERR_OK;
}

static enum err list_functions(struct planning *p, const char *pattern, struct rel **out, struct fault *f)
{
    struct rows r;
    enum err e = rows_new(&r, p,
                          "name STRING NOT NULL, catalog STRING, namespace ARRAY<STRING>, description STRING, "
                          "className STRING NOT NULL, isTemporary BOOLEAN NOT NULL",
                          f);
    for (const struct function *fn = e ? NULL : function_next(NULL); fn; fn = function_next(fn)) {
        if (*pattern && !name_matches(str_of(pattern), str_of(function_name(fn))))
            continue;
        rows_add(&r);
        put_str(&r, 0, str_of(function_name(fn)));
        put_str(&r, 3, str_of(function_doc(fn)));
        put_str(&r, 4, STR("penstock"));
        put_bool(&r, 5, true);
    }
    if (!e)
        *out = rows_rel(&r);
    return e;
}

static enum err list_names(struct planning *p, bool databases, const char *pattern, struct rel **out, struct fault *f)
{
    struct rows r;
    struct str name = databases ? STR("default") : STR("spark_catalog");
    enum err e =
        rows_new(&r, p,
                 databases ? "name STRING NOT NULL, catalog STRING, description STRING, locationUri STRING NOT NULL"
                           : "name STRING NOT NULL, description STRING",
                 f);
    if (e)
        return e;
    if (!*pattern || name_matches(str_of(pattern), name)) {
        rows_add(&r);
        put_str(&r, 0, name);
        if (databases) {
            put_str(&r, 1, STR("spark_catalog"));
            put_str(&r, 2, STR("default database"));
            put_str(&r, 3, STR(""));
        }
    }
    *out = rows_rel(&r);
    return ERR_OK;
}

static bool exists(struct planning *p, const char *name)
{
    struct view *v = session_view(p->session, str_of(name));
    view_release(v);
    return v;
}

/* Setting the current catalog or database is fine as long as it is the one there is. */
static enum err set_current(struct planning *p, const char *name, const char *only, struct rel **out, struct fault *f)
{
    *out = nothing(p);
    return str_eq_nocase(str_of(name), str_of(only)) ? ERR_OK : refuse(f, "catalog or database", name);
}

static const char *refused_kind(Spark__Connect__Catalog__CatTypeCase kind)
{
    const ProtobufCFieldDescriptor *fd =
        protobuf_c_message_descriptor_get_field(&spark__connect__catalog__descriptor, (unsigned)kind);
    return fd ? fd->name : "(unknown)";
}

enum err convert_catalog(struct planning *p, const Spark__Connect__Catalog *c, struct rel **out, struct fault *f)
{
    switch (c->cat_type_case) {
    case KIND(CURRENT_DATABASE):
        *out = one_value(p, TYPE_STRING, STR("default"), false);
        return ERR_OK;
    case KIND(CURRENT_CATALOG):
        *out = one_value(p, TYPE_STRING, STR("spark_catalog"), false);
        return ERR_OK;
    case KIND(SET_CURRENT_DATABASE):
        return set_current(p, c->set_current_database->db_name, "default", out, f);
    case KIND(SET_CURRENT_CATALOG):
        return set_current(p, c->set_current_catalog->catalog_name, "spark_catalog", out, f);
    case KIND(LIST_CATALOGS):
        return list_names(p, false, OPTIONAL(c->list_catalogs, pattern, ""), out, f);
    case KIND(LIST_DATABASES):
        return list_names(p, true, OPTIONAL(c->list_databases, pattern, ""), out, f);
    case KIND(LIST_TABLES):
        return list_tables(p, OPTIONAL(c->list_tables, pattern, ""), out, f);
    case KIND(LIST_VIEWS):
        return list_tables(p, OPTIONAL(c->list_views, pattern, ""), out, f);
    case KIND(GET_TABLE):
        return get_table(p, c->get_table->table_name, out, f);
    case KIND(LIST_COLUMNS):
        return list_columns(p, c->list_columns->table_name, out, f);
    case KIND(LIST_FUNCTIONS):
        return list_functions(p, OPTIONAL(c->list_functions, pattern, ""), out, f);
    case KIND(DATABASE_EXISTS):
        *out = one_value(p, TYPE_BOOLEAN, STR(""), str_eq_nocase(str_of(c->database_exists->db_name), STR("default")));
        return ERR_OK;
    case KIND(TABLE_EXISTS):
        *out = one_value(p, TYPE_BOOLEAN, STR(""), exists(p, c->table_exists->table_name));
        return ERR_OK;
    case KIND(FUNCTION_EXISTS):
        *out = one_value(p, TYPE_BOOLEAN, STR(""), function_exists(str_of(c->function_exists->function_name)));
        return ERR_OK;
    case KIND(DROP_TEMP_VIEW):
        *out = one_value(p, TYPE_BOOLEAN, STR(""),
                         session_drop_view(p->session, str_of(c->drop_temp_view->view_name), false));
        return ERR_OK;
    case KIND(DROP_GLOBAL_TEMP_VIEW):
        *out = one_value(p, TYPE_BOOLEAN, STR(""),
                         session_drop_view(p->session, str_of(c->drop_global_temp_view->view_name), true));
        return ERR_OK;
    case KIND(IS_CACHED): /* nothing is ever cached: views are computed when they are asked */
        *out = one_value(p, TYPE_BOOLEAN, STR(""), false);
        return exists(p, c->is_cached->table_name) ? ERR_OK : view_not_found(p, c->is_cached->table_name, f);
    case KIND(CACHE_TABLE):
        *out = nothing(p);
        return exists(p, c->cache_table->table_name) ? ERR_OK : view_not_found(p, c->cache_table->table_name, f);
    case KIND(UNCACHE_TABLE):
        *out = nothing(p);
        return exists(p, c->uncache_table->table_name) ? ERR_OK : view_not_found(p, c->uncache_table->table_name, f);
    case KIND(CLEAR_CACHE):
        *out = nothing(p);
        return ERR_OK;
    case KIND(_NOT_SET):
        return FAULT(f, ERR_CONNECT_PLAN, {"detail", "A catalog request is missing."});
    default:
        return refuse(f, "catalog request", refused_kind(c->cat_type_case));
    }
}
