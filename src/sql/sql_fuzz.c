/* Any bytes as a statement, an expression, a schema: parsed or refused, and a tree that was built can be copied. */
#include "sql/sql.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new(0);
    struct fault f;
    struct str text = {(const char *)data, size};
    struct statement s;
    struct node *e;
    const struct type *t;
    struct str *parts;
    int n;
    if (sql_parse(text, a, &s, &f) == ERR_OK && s.rel)
        rel_copy(a, s.rel);
    if (sql_parse_expression(text, a, &e, &f) == ERR_OK && !e)
        __builtin_trap();
    if (sql_parse_schema(text, a, &t, &f) == ERR_OK && !t)
        __builtin_trap();
    if (sql_parse_type_json(text, a, &t, &f) == ERR_OK && !t)
        __builtin_trap();
    if (sql_parse_identifier(text, a, &parts, &n, &f) == ERR_OK && n < 1)
        __builtin_trap();
    arena_free(a);
    return 0;
}
