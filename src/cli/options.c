#include "cli/cli.h"
#include "os/os.h"

#include <stdarg.h>
#include <stdio.h>

enum cli_exit cli_exit_code(enum err e)
{
    switch (e) {
    case ERR_OK:
        return CLI_OK;
    case ERR_UNREACHABLE:
        return CLI_UNREACHABLE;
    case ERR_TIMEOUT:
        return CLI_TIMED_OUT;
    default:
        return CLI_FAILED;
    }
}

int cli_usage(const struct cli_command *self, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "penstock %s: ", self->name);
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\nUsage: penstock %s\nTry 'penstock %s --help'.\n", self->usage, self->name);
    va_end(ap);
    return CLI_USAGE;
}

int cli_fail(const struct cli_command *self, const struct fault *f)
{
    fprintf(stderr, "penstock %s: %s\n", self->name, fault_message(f));
    return (int)cli_exit_code(f->err);
}

static void print_help(const struct cli_command *self, const struct cli_option *rows, int nrows, bool config)
{
    printf("Usage: penstock %s\n\n%s\nOptions:\n", self->usage, self->help);
    for (int i = 0; i < nrows; i++) {
        char flag[96];
        char letter[8] = "";
        if (rows[i].letter)
            snprintf(letter, sizeof letter, "-%c, ", rows[i].letter);
        snprintf(flag, sizeof flag, "%s--%s%s%s", letter, rows[i].name, rows[i].placeholder ? " " : "",
                 rows[i].placeholder ? rows[i].placeholder : "");
        printf("  %-28s %s\n", flag, rows[i].doc);
    }
    printf("  %-28s %s\n", "--help", "this text");
    if (config) {
        printf("\nSettings (each is also KEY = VALUE in --config FILE and a variable, --loops as PENSTOCK_LOOPS;\n"
               "flags win over variables, variables over the file) [default]:\n");
        config_print_help(stdout);
    }
}

/* Letters that differ, at most `most` + 1: enough to guess what was meant. */
static int distance(const char *a, const char *b, int most)
{
    if (!*a || !*b)
        return (int)(strlen(a) + strlen(b));
    if (*a == *b)
        return distance(a + 1, b + 1, most);
    if (most == 0)
        return 1;
    int best = distance(a + 1, b + 1, most - 1);
    int skip_a = distance(a + 1, b, most - 1), skip_b = distance(a, b + 1, most - 1);
    best = skip_a < best ? skip_a : best;
    best = skip_b < best ? skip_b : best;
    return best + 1;
}

static int unknown(const struct cli_command *self, const struct cli_option *rows, int nrows, bool config,
                   const char *name)
{
    for (int k = 0; config && k < CFG_COUNT; k++)
        if (distance(name, config_name((enum config_key)k), 2) <= 2)
            return cli_usage(self, "unknown option --%s; did you mean --%s?", name, config_name((enum config_key)k));
    for (int i = 0; i < nrows; i++)
        if (distance(name, rows[i].name, 2) <= 2)
            return cli_usage(self, "unknown option --%s; did you mean --%s?", name, rows[i].name);
    return cli_usage(self, "unknown option --%s", name);
}

static int store(const struct cli_command *self, const struct cli_option *row, const char *value)
{
    int64_t number;
    struct cli_list *list;
    switch (row->kind) {
    case CLI_FLAG:
        *(bool *)row->dest = true;
        return -1;
    case CLI_TEXT:
        *(const char **)row->dest = value;
        return -1;
    case CLI_INT:
        if (!str_to_i64(str_of(value), &number) || number < row->least || number > row->most)
            return cli_usage(self, "--%s %s: must be a number from %lld to %lld", row->name, value,
                             (long long)row->least, (long long)row->most);
        *(int64_t *)row->dest = number;
        return -1;
    case CLI_LIST:
        list = row->dest;
        if (list->n == (int)(sizeof list->p / sizeof list->p[0]))
            return cli_usage(self, "--%s: more than %d times", row->name, list->n);
        list->p[list->n++] = value;
        return -1;
    }
    return -1;
}

static const struct cli_option *find(const struct cli_option *rows, int nrows, struct str name, char letter)
{
    for (int i = 0; i < nrows; i++)
        if (letter ? rows[i].letter == letter : str_eqz(name, rows[i].name))
            return &rows[i];
    return NULL;
}

/* One option at argv[*i]; moves *i over its value. */
static int take(const struct cli_command *self, const struct cli_option *rows, int nrows, struct config *config,
                int argc, char **argv, int *i)
{
    const char *word = argv[*i];
    bool is_long = word[1] == '-';
    if (!is_long && word[2])
        return cli_usage(self, "unknown option %s", word);
    struct str name = str_of(is_long ? word + 2 : word + 1);
    ptrdiff_t eq = is_long ? str_find(name, STR("="), 0) : -1;
    const char *value = eq < 0 ? NULL : name.p + eq + 1;
    if (eq >= 0)
        name.n = (size_t)eq;
    const struct cli_option *row = find(rows, nrows, name, is_long ? 0 : word[1]);
    enum config_key key = !row && config && is_long ? config_find(name) : CFG_COUNT;
    if (!row && key == CFG_COUNT) {
        char text[64];
        snprintf(text, sizeof text, "%.*s", STR_ARG(name));
        return is_long ? unknown(self, rows, nrows, config != NULL, text) : cli_usage(self, "unknown option %s", word);
    }
    if (row && row->kind == CLI_FLAG) {
        if (value)
            return cli_usage(self, "--%s takes no value", row->name);
    } else if (!value) {
        if (*i + 1 >= argc)
            return cli_usage(self, "%s needs a value", word);
        value = argv[++*i];
    }
    if (row)
        return store(self, row, value);
    struct fault f;
    char place[80];
    snprintf(place, sizeof place, "--%.*s", STR_ARG(name));
    if (config_set(config, key, value, CONFIG_FLAG, place, &f))
        return cli_usage(self, "%s", fault_message(&f));
    return -1;
}

int cli_parse(const struct cli_command *self, const struct cli_option *rows, int nrows, struct config *config,
              bool stop_at_first, int argc, char **argv, struct cli_args *args)
{
    *args = (struct cli_args){0, argv + 1};
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        bool stop = strcmp(word, "--") == 0;
        if (stop || (stop_at_first && (word[0] != '-' || !word[1]))) {
            for (i += stop; i < argc; i++)
                args->p[args->n++] = argv[i];
            return -1;
        }
        if (word[0] != '-' || !word[1]) {
            args->p[args->n++] = argv[i];
            continue;
        }
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            print_help(self, rows, nrows, config != NULL);
            return CLI_OK;
        }
        int rc = take(self, rows, nrows, config, argc, argv, &i);
        if (rc >= 0)
            return rc;
    }
    return -1;
}

const char *cli_default_bootstrap(void)
{
    const char *text = os_env("PENSTOCK_BOOTSTRAP");
    return text && *text ? text : "127.0.0.1:9092";
}

int cli_config_finish(const struct cli_command *self, struct config *config, const char *file)
{
    struct fault f;
    if (config_read_env(config, &f))
        return cli_usage(self, "%s", fault_message(&f));
    if (file && config_read_file(config, file, &f)) {
        fprintf(stderr, "penstock %s: %s\n", self->name, fault_message(&f));
        return f.err == ERR_INVALID ? CLI_USAGE : CLI_FAILED;
    }
    return -1;
}
