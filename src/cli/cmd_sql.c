#include "cli/cli.h"
#include "cli/output.h"
#include "cli/remote.h"
#include "function/function.h"
#include "os/net.h"
#include "os/os.h"
#include "os/process.h"
#include "wire/arrow.h"

#include <histedit.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * A Spark Connect client: each statement goes to the server as `spark.sql(...)` does in PySpark, its result comes back as
 * Arrow batches and is printed. The server may be penstock or a real Spark cluster.
 */
enum { SCRIPT_LIMIT_BYTES = 16 << 20, RESULT_LIMIT_BYTES = 1 << 30, STDIN = 0 };

struct sql {
    const struct cli_command *self;
    const char *url, *command, *file, *format_text;
    int64_t timeout_ms;
    enum output_format format;
    struct remote *remote;
    const struct zone *zone;
    bool interactive;
};

/* -- printing --------------------------------------------------------------------------------------------------------- */
struct printer {
    struct sql *sql;
    struct arena *arena;
    struct output *out;
    struct output_column *columns;
    int n;
    uint64_t rows;
};

static void begin_output(struct printer *p, const struct type *schema)
{
    p->n = schema->nfields;
    p->columns = ARENA_ARRAY(p->arena, (size_t)p->n + 1, struct output_column);
    for (int i = 0; i < p->n; i++)
        p->columns[i] =
            (struct output_column){arena_z(p->arena, schema->fields[i].name), type_is_numeric(schema->fields[i].type)};
    p->out = output_new(p->sql->format, p->columns, p->n);
}

/* JSON has no NaN and no infinities: they travel as strings there, as Spark's to_json writes them. */
static bool plain_number(struct str s)
{
    return s.n && (s.p[s.n - 1] >= '0' && s.p[s.n - 1] <= '9');
}

static void print_batch(struct printer *p, const struct batch_cols *b)
{
    struct str *cells = ARENA_ARRAY(p->arena, (size_t)p->n + 1, struct str);
    struct buf text = {0};
    size_t *ends = ARENA_ARRAY(p->arena, (size_t)p->n + 1, size_t);
    for (uint32_t row = 0; row < b->n; row++) {
        buf_clear(&text);
        for (int i = 0; i < p->n; i++) {
            if (col_valid(&b->cols[i], row))
                value_text(&text, &b->cols[i], row, p->sql->zone);
            ends[i + 1] = text.n;
        }
        for (int i = 0; i < p->n; i++) {
            bool null = !col_valid(&b->cols[i], row);
            cells[i] = null ? str_make(NULL, 0) : str_make(text.p ? text.p + ends[i] : "", ends[i + 1] - ends[i]);
            if (!null && p->sql->format == OUTPUT_JSON && p->columns[i].number && !plain_number(cells[i]))
                cells[i] = arena_fmt(p->arena, "\"%.*s\"", STR_ARG(cells[i]));
        }
        output_row(p->out, cells);
    }
    p->rows += b->n;
    buf_free(&text);
}

static enum err on_arrow(void *arg, struct str bytes, struct fault *f)
{
    struct printer *p = arg;
    struct arena *a = arena_new(RESULT_LIMIT_BYTES);
    struct arrow_in in;
    enum err e = arrow_read(bytes, a, &in, f);
    if (!e && !p->out)
        begin_output(p, in.schema);
    if (!e && in.schema->nfields != p->n)
        e = FAULT(f, ERR_FRAME, {"what", "result"}, {"detail", "its columns change"});
    for (size_t i = 0; !e && i < in.nbatches; i++)
        print_batch(p, &in.batches[i]);
    arena_free(a);
    return e;
}

static int report(struct sql *s, const struct fault *f)
{
    const char *message = fault_message(f);
    if (f->err == ERR_UNREACHABLE || f->err == ERR_TIMEOUT)
        return cli_fail(s->self, f);
    fprintf(stderr, "%s%s\n", s->interactive ? "" : "penstock sql: ", message);
    return CLI_SCRIPT;
}

static int run_statement(struct sql *s, struct str text)
{
    struct fault f;
    struct printer p = {.sql = s, .arena = arena_new(0)};
    int64_t started_ns = os_mono_ns();
    enum err e = remote_sql(s->remote, text, on_arrow, &p, &f);
    if (p.out && !output_end(p.out) && !e)
        e = FAULT(&f, ERR_IO, {"what", "standard output"}, {"detail", "cannot write"});
    if (!e && s->interactive)
        fprintf(stderr, "%llu rows, %.3f s\n", (unsigned long long)p.rows, (double)(os_mono_ns() - started_ns) / 1e9);
    arena_free(p.arena);
    return e ? report(s, &f) : CLI_OK;
}

/* -- splitting a script at its semicolons ------------------------------------------------------------------------------- */

/* Behind a quoted text or comment that begins at i; i itself when none does; s.n when it does not end. */
static size_t skip_quoted(struct str s, size_t i)
{
    char c = s.p[i];
    char next = i + 1 < s.n ? s.p[i + 1] : 0;
    ptrdiff_t end;
    if (c == '-' && next == '-') {
        end = str_find(s, STR("\n"), i);
        return end < 0 ? s.n : (size_t)end + 1;
    }
    if (c == '/' && next == '*') {
        end = str_find(s, STR("*/"), i + 2);
        return end < 0 ? s.n : (size_t)end + 2;
    }
    if (c != '\'' && c != '"' && c != '`')
        return i;
    for (size_t k = i + 1; k < s.n; k++) {
        if (s.p[k] == '\\' && c != '`')
            k++;
        else if (s.p[k] == c)
            return k + 1;
    }
    return s.n;
}

/* The first statement of *rest, without its semicolon; *rest is what follows. *whole: a semicolon ended it. */
static struct str next_statement(struct str *rest, bool *whole)
{
    struct str s = *rest;
    *whole = false;
    for (size_t i = 0; i < s.n;) {
        size_t past = skip_quoted(s, i);
        if (past == i && s.p[i] == ';') {
            *whole = true;
            *rest = str_sub(s, i + 1, s.n);
            return str_trim(str_sub(s, 0, i));
        }
        i = past == i ? i + 1 : past;
    }
    *rest = str_make(s.p + s.n, 0);
    return str_trim(s);
}

/* All statements; the first one that fails ends it. */
static int run_script(struct sql *s, struct str text)
{
    int rc = CLI_OK;
    while (rc == CLI_OK && text.n) {
        bool whole;
        struct str statement = next_statement(&text, &whole);
        if (statement.n)
            rc = run_statement(s, statement);
    }
    return rc;
}

static int run_stdin(struct sql *s)
{
    struct buf in = {.limit = SCRIPT_LIMIT_BYTES};
    struct fault f;
    size_t n = 1;
    while (n) {
        if (!buf_reserve(&in, 65536))
            return cli_usage(s->self, "the script is longer than 16 MiB");
        if (net_read(STDIN, in.p + in.n, 65536, &n, &f))
            return cli_fail(s->self, &f);
        in.n += n;
    }
    int rc = run_script(s, buf_view(&in));
    buf_free(&in);
    return rc;
}

static int run_file(struct sql *s)
{
    char *text;
    size_t n;
    struct fault f;
    if (os_read_file(s->file, SCRIPT_LIMIT_BYTES, &text, &n, &f))
        return cli_fail(s->self, &f);
    int rc = run_script(s, str_make(text, n));
    free(text);
    return rc;
}

/* -- the prompt --------------------------------------------------------------------------------------------------------- */
static bool continuing;

static char *prompt(EditLine *el)
{
    (void)el;
    static char first[] = "sql> ", more[] = "...> ";
    return continuing ? more : first;
}

static int run_prompt(struct sql *s)
{
    EditLine *el = el_init("penstock", stdin, stdout, stderr);
    History *past = history_init();
    HistEvent event;
    struct buf pending = {.limit = SCRIPT_LIMIT_BYTES};
    history(past, &event, H_SETSIZE, 1000);
    el_set(el, EL_PROMPT, prompt);
    el_set(el, EL_EDITOR, "emacs");
    el_set(el, EL_HIST, history, past);
    fprintf(stderr, "Statements end with ; and Ctrl-D leaves.\n");
    for (;;) {
        int n = 0;
        continuing = pending.n > 0;
        const char *line = el_gets(el, &n);
        if (!line || n <= 0)
            break;
        history(past, &event, H_ENTER, line);
        buf_put(&pending, line, (size_t)n);
        struct str rest = buf_view(&pending);
        bool whole = true;
        while (whole && rest.n) {
            struct str before = rest;
            struct str statement = next_statement(&rest, &whole);
            if (whole && statement.n)
                run_statement(s, statement);
            if (!whole)
                rest = str_trim(before);
        }
        memmove(pending.p, rest.p, rest.n);
        pending.n = rest.n;
    }
    fputc('\n', stderr);
    buf_free(&pending);
    history_end(past);
    el_end(el);
    return CLI_OK;
}

int cmd_sql(const struct cli_command *self, int argc, char **argv)
{
    const char *env = os_env("SPARK_REMOTE");
    struct sql s = {.self = self, .url = env && *env ? env : "sc://127.0.0.1:15002"};
    struct cli_option rows[] = {
        {"command", 'c', CLI_TEXT, &s.command, "SQL", "run these statements and leave", 0, 0},
        {"file", 'f', CLI_TEXT, &s.file, "FILE", "run the statements of a file", 0, 0},
        {"remote", 'r', CLI_TEXT, &s.url, "sc://HOST:PORT", "server [SPARK_REMOTE or sc://127.0.0.1:15002]", 0, 0},
        CLI_FORMAT(&s.format_text),
        {"timeout-ms", 0, CLI_INT, &s.timeout_ms, "MS", "give up (exit 5) when nothing comes for so long", 1, 86400000},
    };
    struct cli_args args;
    struct fault f;
    int rc = cli_parse(self, rows, sizeof rows / sizeof rows[0], NULL, false, argc, argv, &args);
    if (rc >= 0)
        return rc;
    if (args.n)
        return cli_usage(self, "unexpected argument '%s'; statements go after -c", args.p[0]);
    if (!output_format(s.format_text, &s.format))
        return cli_usage(self, "--format %s: must be table, json or csv", s.format_text);
    os_interrupt_exits();
    if (remote_open(&s.remote, s.url, (int)s.timeout_ms, &f))
        return f.err == ERR_INVALID ? cli_usage(self, "%s", fault_message(&f)) : cli_fail(self, &f);
    s.zone = remote_zone(s.remote);
    s.interactive = !s.command && !s.file && os_is_terminal(STDIN);
    rc = s.command       ? run_script(&s, str_of(s.command))
         : s.file        ? run_file(&s)
         : s.interactive ? run_prompt(&s)
                         : run_stdin(&s);
    remote_close(s.remote);
    return rc;
}
