#include "column/column.h"

static const struct field NULL_ELEMENT[2] = {
    {.name = {"element", 7}, .type = &TYPE_OF[TYPE_NULL], .nullable = true},
    {.name = {"value", 5}, .type = &TYPE_OF[TYPE_NULL], .nullable = true},
};

const struct type TYPE_OF[TYPE_ID_COUNT] = {
    [TYPE_NULL] = {.id = TYPE_NULL},
    [TYPE_BOOLEAN] = {.id = TYPE_BOOLEAN},
    [TYPE_BYTE] = {.id = TYPE_BYTE},
    [TYPE_SHORT] = {.id = TYPE_SHORT},
    [TYPE_INT] = {.id = TYPE_INT},
    [TYPE_LONG] = {.id = TYPE_LONG},
    [TYPE_FLOAT] = {.id = TYPE_FLOAT},
    [TYPE_DOUBLE] = {.id = TYPE_DOUBLE},
    [TYPE_DECIMAL] = {.id = TYPE_DECIMAL, .precision = 10, .scale = 0},
    [TYPE_STRING] = {.id = TYPE_STRING},
    [TYPE_BINARY] = {.id = TYPE_BINARY},
    [TYPE_DATE] = {.id = TYPE_DATE},
    [TYPE_TIMESTAMP] = {.id = TYPE_TIMESTAMP},
    [TYPE_TIMESTAMP_NTZ] = {.id = TYPE_TIMESTAMP_NTZ},
    [TYPE_DAY_TIME] = {.id = TYPE_DAY_TIME, .first = 0, .last = 3},
    [TYPE_YEAR_MONTH] = {.id = TYPE_YEAR_MONTH, .first = 0, .last = 1},
    [TYPE_CALENDAR] = {.id = TYPE_CALENDAR},
    [TYPE_ARRAY] = {.id = TYPE_ARRAY, .nfields = 1, .fields = NULL_ELEMENT},
    [TYPE_MAP] = {.id = TYPE_MAP, .nfields = 2, .fields = NULL_ELEMENT},
    [TYPE_STRUCT] = {.id = TYPE_STRUCT},
};

const struct type *type_decimal(struct arena *a, int precision, int scale)
{
    struct type *t = ARENA_NEW(a, struct type);
    *t = (struct type){.id = TYPE_DECIMAL, .precision = (uint8_t)precision, .scale = (uint8_t)scale};
    return t;
}

static const struct type *nested(struct arena *a, enum type_id id, const struct field *fields, int n)
{
    struct type *t = ARENA_NEW(a, struct type);
    struct field *f = ARENA_ARRAY(a, (size_t)n, struct field);
    if (n)
        memcpy(f, fields, (size_t)n * sizeof *f);
    *t = (struct type){.id = id, .nfields = n, .fields = f};
    return t;
}

const struct type *type_array(struct arena *a, const struct type *element, bool contains_null)
{
    struct field f = {.name = STR("element"), .type = element, .nullable = contains_null};
    return nested(a, TYPE_ARRAY, &f, 1);
}

const struct type *type_map(struct arena *a, const struct type *key, const struct type *value, bool value_nullable)
{
    struct field f[2] = {{.name = STR("key"), .type = key},
                         {.name = STR("value"), .type = value, .nullable = value_nullable}};
    return nested(a, TYPE_MAP, f, 2);
}

const struct type *type_struct(struct arena *a, const struct field *fields, int n)
{
    return nested(a, TYPE_STRUCT, fields, n);
}

const struct type *type_copy(struct arena *a, const struct type *t)
{
    if (!t->nfields && t->id != TYPE_DECIMAL && t->id != TYPE_DAY_TIME && t->id != TYPE_YEAR_MONTH &&
        t->id != TYPE_STRUCT)
        return type_simple(t->id);
    struct type *out = ARENA_NEW(a, struct type);
    struct field *f = ARENA_ARRAY(a, (size_t)t->nfields, struct field);
    *out = *t;
    out->fields = f;
    for (int i = 0; i < t->nfields; i++) {
        f[i] = t->fields[i];
        f[i].name = arena_str(a, f[i].name);
        f[i].type = type_copy(a, f[i].type);
        if (f[i].metadata.n)
            f[i].metadata = arena_str(a, f[i].metadata);
    }
    return out;
}

enum { EQ_NOCASE = 1, EQ_EXACT = 2 };

static bool field_eq(const struct field *a, const struct field *b, bool named, int how);

static bool eq(const struct type *a, const struct type *b, int how)
{
    if (a == b)
        return true;
    if (a->id != b->id || a->nfields != b->nfields)
        return false;
    if (a->id == TYPE_DECIMAL)
        return a->precision == b->precision && a->scale == b->scale;
    if (a->id == TYPE_DAY_TIME || a->id == TYPE_YEAR_MONTH)
        return a->first == b->first && a->last == b->last;
    for (int i = 0; i < a->nfields; i++)
        if (!field_eq(&a->fields[i], &b->fields[i], a->id == TYPE_STRUCT, how))
            return false;
    return true;
}

static bool field_eq(const struct field *a, const struct field *b, bool named, int how)
{
    if (named && !(how & EQ_NOCASE ? str_eq_nocase(a->name, b->name) : str_eq(a->name, b->name)))
        return false;
    if ((how & EQ_EXACT) && (a->nullable != b->nullable || !str_eq(a->metadata, b->metadata)))
        return false;
    return eq(a->type, b->type, how);
}

bool type_eq(const struct type *a, const struct type *b)
{
    return eq(a, b, 0);
}

bool type_eq_nocase(const struct type *a, const struct type *b)
{
    return eq(a, b, EQ_NOCASE);
}

bool type_eq_exact(const struct type *a, const struct type *b)
{
    return eq(a, b, EQ_EXACT);
}

size_t type_width(const struct type *t)
{
    static const uint8_t WIDTH[TYPE_ID_COUNT] = {
        [TYPE_NULL] = 0,
        [TYPE_BOOLEAN] = 1,
        [TYPE_BYTE] = 1,
        [TYPE_SHORT] = 2,
        [TYPE_INT] = 4,
        [TYPE_LONG] = 8,
        [TYPE_FLOAT] = 4,
        [TYPE_DOUBLE] = 8,
        [TYPE_DECIMAL] = 16,
        [TYPE_STRING] = sizeof(struct str),
        [TYPE_BINARY] = sizeof(struct str),
        [TYPE_DATE] = 4,
        [TYPE_TIMESTAMP] = 8,
        [TYPE_TIMESTAMP_NTZ] = 8,
        [TYPE_DAY_TIME] = 8,
        [TYPE_YEAR_MONTH] = 4,
        [TYPE_CALENDAR] = sizeof(struct calendar_interval),
        [TYPE_ARRAY] = 4,
        [TYPE_MAP] = 4,
        [TYPE_STRUCT] = 0,
    };
    return WIDTH[t->id];
}
