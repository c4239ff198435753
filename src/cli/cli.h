/*
 * cli: the one program, its subcommands, their options and exit codes.
 *
 *   main ──▶ COMMANDS row ──▶ cmd_*.c: options (a table of rows) ──▶ work ──▶ exit code
 *
 * A subcommand is a row in main.c with the text that teaches it; its options are rows of struct cli_option, from which
 * both the parser and the option list of --help come. Answers go to standard output, complaints to standard error as
 * "penstock COMMAND: what went wrong", one line.
 */
#ifndef PENSTOCK_CLI_CLI_H
#define PENSTOCK_CLI_CLI_H

#include "base/arena.h"
#include "base/fault.h"
#include "cli/config.h"

enum cli_exit {
    CLI_OK = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,
    CLI_SCRIPT = 3, /* the SQL or the script is wrong */
    CLI_UNREACHABLE = 4,
    CLI_TIMED_OUT = 5,
    CLI_INTERRUPTED = 130,
};

enum cli_kind { CLI_FLAG, CLI_TEXT, CLI_INT, CLI_LIST };

struct cli_list { /* values of an option that may be repeated */
    const char *p[64];
    int n;
};

struct cli_option {
    const char *name; /* without -- */
    char letter;      /* or 0 */
    enum cli_kind kind;
    void *dest; /* bool *, const char **, int64_t *, struct cli_list * */
    const char *placeholder, *doc;
    int64_t least, most; /* CLI_INT */
};

struct cli_command {
    const char *name;
    int (*run)(const struct cli_command *self, int argc, char **argv); /* argv[0] is the command's name */
    const char *line;                                                  /* one line for the overview */
    const char *usage;                                                 /* after "penstock " */
    const char *help; /* what it does and examples, printed between usage and options */
};

struct cli_args {
    int n;
    char **p; /* what was not an option, in order */
};

/* Parse argv[1..) by the rows; `config` (NULL allowed) takes the keys of spec/config.def as options too. Parsing stops
 * at "--", and with stop_at_first at the first argument. Returns -1 to go on, else the exit code (help: 0, wrong: 2). */
int cli_parse(const struct cli_command *self, const struct cli_option *rows, int nrows, struct config *config,
              bool stop_at_first, int argc, char **argv, struct cli_args *args);
/* The server's settings: --config FILE and the environment under the flags that cli_parse has set. -1 or an exit code. */
int cli_config_finish(const struct cli_command *self, struct config *config, const char *file);
/* Complain: usage mistakes (returns CLI_USAGE) and faults (returns the exit code that fits the error). */
int cli_usage(const struct cli_command *self, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int cli_fail(const struct cli_command *self, const struct fault *f);
enum cli_exit cli_exit_code(enum err e);

/* PENSTOCK_BOOTSTRAP, or where `penstock dev` listens. */
const char *cli_default_bootstrap(void);

/* The common options. */
#define CLI_BOOTSTRAP(dest_)                                                                                           \
    {                                                                                                                  \
        .name = "bootstrap", .letter = 'b', .kind = CLI_TEXT, .dest = (dest_), .placeholder = "HOST:PORT",             \
        .doc = "Kafka address [PENSTOCK_BOOTSTRAP or 127.0.0.1:9092]"                                                  \
    }
#define CLI_FORMAT(dest_)                                                                                              \
    {                                                                                                                  \
        .name = "format", .kind = CLI_TEXT, .dest = (dest_), .placeholder = "table|json|csv",                          \
        .doc = "how answers are printed [table]"                                                                       \
    }

int cmd_serve(const struct cli_command *self, int argc, char **argv);
int cmd_dev(const struct cli_command *self, int argc, char **argv);
int cmd_topic(const struct cli_command *self, int argc, char **argv);
int cmd_produce(const struct cli_command *self, int argc, char **argv);
int cmd_consume(const struct cli_command *self, int argc, char **argv);
int cmd_sql(const struct cli_command *self, int argc, char **argv);
int cmd_run(const struct cli_command *self, int argc, char **argv);
int cmd_version(const struct cli_command *self, int argc, char **argv);

#endif
