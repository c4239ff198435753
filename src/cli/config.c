#include "cli/config.h"
#include "os/net.h"
#include "os/os.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>

enum type { TEXT, ADDRESS, INT, SIZE, BOOL, CHOICE };

static const struct row {
    enum type type;
    const char *key, *placeholder;
    int64_t least, most;
    const char *def, *doc;
} ROWS[] = {
#define X(id, type, key, placeholder, least, most, def, doc) {type, key, placeholder, least, most, def, doc},
#include "config.def"
#undef X
};

enum { FILE_LIMIT_BYTES = 1 << 20 };

static enum err bad(struct fault *f, const char *place, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static enum err bad(struct fault *f, const char *place, const char *fmt, ...)
{
    char detail[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(detail, sizeof detail, fmt, ap);
    va_end(ap);
    return FAULT(f, ERR_INVALID, {"what", place}, {"detail", detail});
}

bool config_parse_size(struct str s, int64_t *out)
{
    int shift = 0;
    if (s.n) {
        int last = toupper((unsigned char)s.p[s.n - 1]);
        shift = last == 'K' ? 10 : last == 'M' ? 20 : last == 'G' ? 30 : 0;
        s.n -= shift != 0;
    }
    int64_t v;
    if (!str_to_i64(s, &v) || v < 0 || v > INT64_MAX >> shift)
        return false;
    *out = v << shift;
    return true;
}

/* Index of `value` among "a|b|c", or -1. */
static int64_t choice(const char *choices, struct str value)
{
    int64_t i = 0;
    for (struct str rest = str_of(choices); rest.n; i++) {
        ptrdiff_t bar = str_find(rest, STR("|"), 0);
        size_t n = bar < 0 ? rest.n : (size_t)bar;
        if (str_eq(str_make(rest.p, n), value))
            return i;
        rest = str_sub(rest, n + 1, rest.n);
    }
    return -1;
}

static enum err parse(const struct row *r, const char *value, int64_t *number, const char *place, struct fault *f)
{
    struct str s = str_of(value);
    char host[256];
    uint16_t port;
    switch (r->type) {
    case TEXT:
        if ((int64_t)s.n < r->least || (int64_t)s.n > r->most)
            return bad(f, place, "%zu characters, must be %lld to %lld", s.n, (long long)r->least, (long long)r->most);
        return ERR_OK;
    case ADDRESS:
        if (net_parse(s, host, &port, NULL) != ERR_OK)
            return bad(f, place, "'%s' is not HOST:PORT", value);
        return ERR_OK;
    case INT:
    case SIZE:
        if (!(r->type == INT ? str_to_i64(s, number) : config_parse_size(s, number)) || *number < r->least ||
            *number > r->most)
            return bad(f, place, "'%s' must be a number from %lld to %lld", value, (long long)r->least,
                       (long long)r->most);
        return ERR_OK;
    case BOOL:
        *number = str_eqz(s, "true");
        if (!*number && !str_eqz(s, "false"))
            return bad(f, place, "'%s' must be true or false", value);
        return ERR_OK;
    case CHOICE:
        *number = choice(r->placeholder, s);
        if (*number < 0)
            return bad(f, place, "'%s' must be one of %s", value, r->placeholder);
        return ERR_OK;
    }
    return ERR_OK;
}

enum err config_set(struct config *c, enum config_key key, const char *value, enum config_source source,
                    const char *place, struct fault *f)
{
    int64_t number = 0;
    enum err e = parse(&ROWS[key], value, &number, place, f);
    if (e || c->v[key].source > source)
        return e;
    c->v[key] = (struct config_value){.source = source, .text = arena_z(c->arena, str_of(value)), .number = number};
    return ERR_OK;
}

void config_init(struct config *c, struct arena *a)
{
    *c = (struct config){.arena = a};
    for (int k = 0; k < CFG_COUNT; k++) {
        struct fault f;
        if (config_set(c, (enum config_key)k, ROWS[k].def, CONFIG_DEFAULT, ROWS[k].key, &f))
            abort(); /* a default outside its own range */
    }
}

enum config_key config_find(struct str name)
{
    for (int k = 0; k < CFG_COUNT; k++)
        if (str_eqz(name, ROWS[k].key))
            return (enum config_key)k;
    return CFG_COUNT;
}

const char *config_name(enum config_key key)
{
    return ROWS[key].key;
}

static enum err read_line(struct config *c, struct str line, const char *place, struct fault *f)
{
    ptrdiff_t hash = str_find(line, STR("#"), 0);
    line = str_trim(hash < 0 ? line : str_sub(line, 0, (size_t)hash));
    if (!line.n)
        return ERR_OK;
    ptrdiff_t eq = str_find(line, STR("="), 0);
    if (eq < 0)
        return bad(f, place, "expected KEY = VALUE");
    struct str name = str_trim(str_sub(line, 0, (size_t)eq));
    enum config_key key = config_find(name);
    if (key == CFG_COUNT)
        return bad(f, place, "unknown key '%.*s'", STR_ARG(name));
    const char *value = arena_z(c->arena, str_trim(str_sub(line, (size_t)eq + 1, line.n)));
    return config_set(c, key, value, CONFIG_FILE, place, f);
}

enum err config_read_file(struct config *c, const char *path, struct fault *f)
{
    char *text = NULL;
    size_t n = 0;
    enum err e = os_read_file(path, FILE_LIMIT_BYTES, &text, &n, f);
    struct str rest = str_make(text, n);
    for (int line_no = 1; !e && rest.n; line_no++) {
        ptrdiff_t nl = str_find(rest, STR("\n"), 0);
        size_t len = nl < 0 ? rest.n : (size_t)nl;
        char place[1100];
        snprintf(place, sizeof place, "%s:%d", path, line_no);
        e = read_line(c, str_make(rest.p, len), place, f);
        rest = str_sub(rest, len + 1, rest.n);
    }
    free(text);
    return e;
}

enum err config_read_env(struct config *c, struct fault *f)
{
    for (int k = 0; k < CFG_COUNT; k++) {
        char name[80] = "PENSTOCK_";
        size_t n = strlen(name);
        for (const char *p = ROWS[k].key; *p && n < sizeof name - 1; p++)
            name[n++] = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
        name[n] = 0;
        const char *value = os_env(name);
        enum err e = value ? config_set(c, (enum config_key)k, value, CONFIG_ENV, name, f) : ERR_OK;
        if (e)
            return e;
    }
    return ERR_OK;
}

void config_print_help(FILE *out)
{
    for (int k = 0; k < CFG_COUNT; k++) {
        char flag[96];
        snprintf(flag, sizeof flag, "--%s %s", ROWS[k].key, ROWS[k].placeholder);
        fprintf(out, "  %-44s %s\n  %-44s   [%s]\n", flag, ROWS[k].doc, "", ROWS[k].def);
    }
}
