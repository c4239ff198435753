#include "cli/cli.h"

#include "base/map.h"
#include "os/os.h"

#include <stdio.h>

static int cmd_help(const struct cli_command *self, int argc, char **argv);

static const struct cli_command COMMANDS[] = {
    {"dev", cmd_dev, "a server on a temporary directory, to try things", "dev [OPTIONS]",
     "Start a server whose data is thrown away when it stops (unless --data names a directory). Any Kafka client may "
     "produce to it, any PySpark script "
     "may\n"
     "read it. Standard output gets one line that begins with `ready` once every listener answers.\n\n"
     "  penstock dev                                     # Kafka 9092, Spark Connect 15002, HTTP 8080\n"
     "  kcat -b 127.0.0.1:9092 -P -t ratings             # in another terminal\n"
     "  penstock dev --kafka-listen 127.0.0.1:0          # any free port; the ready line says which\n"},
    {"serve", cmd_serve, "a server on a directory that stays", "serve --data DIR [OPTIONS]",
     "Start a server. What was acknowledged is on disk and survives a power cut. SIGTERM or Ctrl-C stops it "
     "cleanly.\n\n"
     "  penstock serve --data /var/lib/penstock\n"
     "  penstock serve --data d --kafka-listen 0.0.0.0:9092 --advertise broker.example:9092\n"
     "  penstock serve --config penstock.conf            # lines such as: data = /var/lib/penstock\n"},
    {"run", cmd_run, "run a PySpark script, with a server if none is there", "run [OPTIONS] script.py [ARGUMENTS]",
     "Run an unmodified PySpark script. If no server answers at the Spark Connect address, one is started for as long "
     "as\n"
     "the script runs (on a temporary directory, or on --data DIR). Scripts written for spark-submit may say\n"
     ".master(\"local[2]\"), spark.jars.packages and spark.sparkContext.setLogLevel(\"WARN\"); localhost:9092 is the\n"
     "server's own log; a relative checkpointLocation is relative to the working directory; what the console sink "
     "prints\n"
     "appears here. The script's exit code is the command's. It needs a Python with pyspark-client:\n\n"
     "  python3 -m venv venv && venv/bin/pip install pyspark-client==4.2.0\n"
     "  penstock run --python venv/bin/python job.py\n"
     "  penstock run --data d job.py --days 7            # topics stay in d\n"},
    {"sql", cmd_sql, "run SQL on a server, here or a Spark cluster", "sql [-c SQL | -f FILE] [OPTIONS]",
     "Send statements to a Spark Connect server and print their results. Without -c and -f the statements come from "
     "standard\n"
     "input, at a terminal with a prompt; each ends with a semicolon.\n\n"
     "  penstock sql -c \"SELECT explode(sequence(1, 3)) AS n\"\n"
     "  penstock sql --format json -f report.sql\n"
     "  penstock sql --remote sc://spark.example:15002   # the same client on a real cluster\n"},
    {"topic", cmd_topic, "list, create, describe, configure, trim and delete topics",
     "topic list|create|describe|config|trim|delete [NAME] [OPTIONS]",
     "Look at and change topics of penstock or of any Kafka cluster.\n\n"
     "  penstock topic create ratings --partitions 4\n"
     "  penstock topic list --format json\n"
     "  penstock topic describe ratings                  # offsets of each partition\n"
     "  penstock topic config ratings                    # its settings; --all: those of the server, too\n"
     "  penstock topic config ratings --set retention.ms=86400000 --append cleanup.policy=compact\n"
     "  penstock topic trim ratings --before 1000        # delete the records below offset 1000\n"
     "  penstock topic delete ratings\n"},
    {"produce", cmd_produce, "send the lines of standard input to a topic", "produce TOPIC [OPTIONS]",
     "Each line is a record's value. Keys choose partitions as Kafka's own clients do. The command ends when "
     "everything was\n"
     "acknowledged, that is, on disk.\n\n"
     "  echo '{\"content\":\"Drama\",\"rating\":8}' | penstock produce ratings\n"
     "  penstock produce clicks --key-separator : < file # lines such as user7:{\"page\":\"/\"}\n"},
    {"consume", cmd_consume, "print the records of a topic", "consume TOPIC [OPTIONS]",
     "Print what is in a topic and stop, or go on with --follow.\n\n"
     "  penstock consume ratings\n"
     "  penstock consume ratings --follow --from end\n"
     "  penstock consume ratings --format json --max 10\n"
     "  penstock consume ratings --group audit           # only what this group has not seen\n"},
    {"version", cmd_version, "print the version", "version", "Print the program's version.\n"},
    {"help", cmd_help, "this overview, or the help of one command", "help [COMMAND]", "Print help.\n"},
};
enum { NCOMMANDS = sizeof COMMANDS / sizeof COMMANDS[0] };

static const struct cli_command *command(const char *name)
{
    for (int i = 0; i < NCOMMANDS; i++)
        if (strcmp(COMMANDS[i].name, name) == 0)
            return &COMMANDS[i];
    return NULL;
}

static void overview(FILE *out)
{
    fprintf(out,
            "penstock " PENSTOCK_VERSION ": a Kafka broker and Spark Structured Streaming engine in one program\n\n"
            "Usage: penstock COMMAND [OPTIONS]\n\nCommands:\n");
    for (int i = 0; i < NCOMMANDS; i++)
        fprintf(out, "  %-9s %s\n", COMMANDS[i].name, COMMANDS[i].line);
    fprintf(out,
            "\nBegin with `penstock dev`; `penstock COMMAND --help` shows examples.\n"
            "Exit codes: 0 ok, 1 failed, 2 wrong usage, 3 SQL or script error, 4 server not reachable, 5 timed out,\n"
            "130 interrupted.\n");
}

static int cmd_help(const struct cli_command *self, int argc, char **argv)
{
    if (argc < 2 || argv[1][0] == '-') {
        overview(stdout);
        return CLI_OK;
    }
    const struct cli_command *c = command(argv[1]);
    if (!c)
        return cli_usage(self, "there is no command '%s'", argv[1]);
    char *args[] = {argv[1], (char[]){"--help"}, NULL};
    return c->run(c, 2, args);
}

int cmd_version(const struct cli_command *self, int argc, char **argv)
{
    struct cli_args args;
    int rc = cli_parse(self, NULL, 0, NULL, false, argc, argv, &args);
    if (rc >= 0)
        return rc;
    puts("penstock " PENSTOCK_VERSION);
    return CLI_OK;
}

int main(int argc, char **argv)
{
    os_random(&map_salt, sizeof map_salt);
    if (argc < 2) {
        overview(stderr);
        return CLI_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    if (strcmp(name, "--version") == 0)
        name = "version";
    const struct cli_command *c = command(name);
    if (!c) {
        fprintf(stderr, "penstock: there is no command '%s'\nTry 'penstock help'.\n", name);
        return CLI_USAGE;
    }
    int rc = c->run(c, argc - 1, argv + 1);
    if (fflush(stdout) != 0 && rc == CLI_OK)
        rc = CLI_FAILED; /* an answer that did not get out is not a success */
    return rc;
}
