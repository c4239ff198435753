/*
 * The table of functions: rows are in spec/functions, one file per area. A row's kernel is fn_NAME, its binder bind_NAME, both
 * found in the .c file of that area; `none` says there is none.
 */
#include "function/datetime_int.h"
#include "function/statistics_int.h"
#include "function/table_int.h"

static const struct function TABLE[] = {
#define F(names, min, max, in, result, flags, kernel, bind, op, sql, doc, example)                                     \
    {names, min, max, in, result, flags, fn_##kernel, bind_##bind, op, sql, doc, example},
#include "functions/all.def"
#undef F
    {NULL, 0, 0, NULL, NULL, 0, NULL, NULL, 0, NULL, NULL, NULL},
};

enum err fn_none(struct call *c)
{
    return fault_internal(c->ev->fault, "a function without a kernel was evaluated");
}

enum err bind_none(struct bind_call *bc)
{
    return bind_standard(bc);
}

/* Does `name` stand in the row's names? Gives how Spark prints it. */
static bool names_have(const char *names, struct str name, struct str *shown)
{
    while (*names) {
        size_t n = strcspn(names, " "), key = 0;
        while (key < n && names[key] != ':')
            key++;
        if (str_eq_nocase(str_make(names, key), name)) {
            *shown = key < n ? str_make(names + key + 1, n - key - 1) : str_make(names, key);
            return true;
        }
        names += n + (names[n] == ' ');
    }
    return false;
}

const struct function *function_find(struct str name, struct str *shown)
{
    for (const struct function *fn = TABLE; fn->names; fn++)
        if (names_have(fn->names, name, shown))
            return fn;
    return NULL;
}

bool function_exists(struct str name)
{
    struct str shown;
    const struct function *fn = function_find(name, &shown);
    return fn && !(fn->flags & FN_HIDDEN);
}

bool function_is_aggregate(struct str name)
{
    struct str shown;
    const struct function *fn = function_find(name, &shown);
    return fn && fn->flags & FN_AGG;
}

const struct function *function_next(const struct function *f)
{
    f = f ? f + 1 : TABLE;
    while (f->names && f->flags & FN_HIDDEN)
        f++;
    return f->names ? f : NULL;
}

/* The first word of each row's names, made once before main. */
static char FIRST[sizeof TABLE / sizeof *TABLE][48];

__attribute__((constructor)) static void name_rows(void)
{
    for (size_t i = 0; TABLE[i].names; i++)
        memcpy(FIRST[i], TABLE[i].names, strcspn(TABLE[i].names, " :") % sizeof FIRST[i]);
}

const char *function_name(const struct function *f)
{
    return FIRST[f - TABLE];
}

const char *function_doc(const struct function *f)
{
    return f->doc;
}

const char *function_example(const struct function *f)
{
    return f->example;
}
