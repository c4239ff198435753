#include "cli/cli.h"
#include "cli/server.h"
#include "os/os.h"
#include "os/process.h"

#include <stdio.h>

/* The one line that scripts wait for and parse. */
static void print_ready(const struct server_addresses *a)
{
    printf("ready kafka=%s:%u connect=%s:%u http=%s:%u\n", a->kafka.host, a->kafka.port, a->connect.host,
           a->connect.port, a->http.host, a->http.port);
    fflush(stdout);
}

static int serve_until_signal(const struct cli_command *self, const struct config *config)
{
    struct server *s;
    struct fault f;
    if (server_start(&s, config, &f))
        return cli_fail(self, &f);
    print_ready(server_addresses(s));
    enum os_signal sig;
    do
        sig = os_signal_wait(-1, NULL);
    while (sig != OS_SIGNAL_INTERRUPT && sig != OS_SIGNAL_TERMINATE);
    os_log(OS_INFO, "server", "stopping");
    server_stop(s);
    os_log(OS_INFO, "server", "stopped");
    return sig == OS_SIGNAL_INTERRUPT ? CLI_INTERRUPTED : CLI_OK;
}

static int settings(const struct cli_command *self, struct config *config, struct arena *a, int argc, char **argv)
{
    const char *file = os_env("PENSTOCK_CONFIG");
    struct cli_option rows[] = {
        {"config", 'c', CLI_TEXT, &file, "FILE", "read settings from FILE", 0, 0},
    };
    struct cli_args args;
    config_init(config, a);
    int rc = cli_parse(self, rows, 1, config, false, argc, argv, &args);
    if (rc >= 0)
        return rc;
    if (args.n)
        return cli_usage(self, "unexpected argument '%s'", args.p[0]);
    rc = cli_config_finish(self, config, file);
    if (rc < 0)
        os_log_level((enum os_level)config->v[CFG_LOG_LEVEL].number);
    return rc;
}

int cmd_serve(const struct cli_command *self, int argc, char **argv)
{
    struct arena *a = arena_new(0);
    struct config config;
    os_signals_block();
    int rc = settings(self, &config, a, argc, argv);
    if (rc < 0)
        rc = serve_until_signal(self, &config);
    arena_free(a);
    return rc;
}

enum err server_dev_settings(struct config *config, struct fault *f)
{
    enum err e = ERR_OK;
    if (config->v[CFG_DATA].source == CONFIG_DEFAULT) {
        const char *tmp = os_env("TMPDIR");
        char id[37], dir[1024];
        os_uuid_text(os_uuid_random(), id);
        snprintf(dir, sizeof dir, "%s/penstock-dev-%s", tmp && *tmp ? tmp : "/tmp", id);
        e = os_mkdirs(dir, f);
        if (!e)
            e = config_set(config, CFG_DATA, dir, CONFIG_FLAG, "temporary directory", f);
    }
    if (!e && config->v[CFG_REBALANCE_DELAY_MS].source == CONFIG_DEFAULT)
        e = config_set(config, CFG_REBALANCE_DELAY_MS, "0", CONFIG_FLAG, "dev", f);
    return e;
}

int cmd_dev(const struct cli_command *self, int argc, char **argv)
{
    struct arena *a = arena_new(0);
    struct config config;
    struct fault f;
    os_signals_block();
    int rc = settings(self, &config, a, argc, argv);
    if (rc >= 0)
        goto out;
    bool temporary = config.v[CFG_DATA].source == CONFIG_DEFAULT;
    if (server_dev_settings(&config, &f)) {
        rc = cli_fail(self, &f);
        goto out;
    }
    rc = serve_until_signal(self, &config);
    if (temporary && os_remove_tree(config.v[CFG_DATA].text, &f))
        os_log(OS_WARN, "server", "%s", fault_message(&f));
out:
    arena_free(a);
    return rc;
}
