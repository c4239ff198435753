#include "cli/cli.h"
#include "cli/embed.h"
#include "cli/server.h"
#include "os/net.h"
#include "os/os.h"
#include "os/process.h"

#include <stdarg.h>
#include <stdio.h>

/*
 * The launcher. Two processes share the terminal:
 *
 *   penstock run ──spawn──▶ python script.py ──SPARK_REMOTE──▶ server (threads of penstock run, or one that was there)
 *        └── waits, passes signals on, stops its server when the script has ended
 *
 * Because the server is the launcher itself, what console sinks print is on the script's terminal without a detour.
 */
struct launch {
    const struct cli_command *self;
    struct arena *arena;
    struct config config;
    const char *file, *python, *remote;
    bool temporary;        /* config data is ours to remove */
    char hooks[1024];      /* directory with sitecustomize.py, "" before it exists */
    struct server *server; /* NULL: one was there */
    char host[256];
    uint16_t port;
};

enum { PROBE_MS = 300, ENV_MAX = 8 };

static enum err write_hooks(struct launch *l, struct fault *f)
{
    const char *tmp = os_env("TMPDIR");
    char id[37], dir[1024], path[1100];
    os_uuid_text(os_uuid_random(), id);
    snprintf(dir, sizeof dir, "%s/penstock-run-%s", tmp && *tmp ? tmp : "/tmp", id);
    enum err e = os_mkdirs(dir, f);
    if (e)
        return e;
    snprintf(l->hooks, sizeof l->hooks, "%s", dir);
    snprintf(path, sizeof path, "%s/sitecustomize.py", dir);
    struct os_file *file;
    e = os_open(&file, path, OS_RDWR | OS_CREATE | OS_EXCL, f);
    if (e)
        return e;
    struct str text = embed_sitecustomize();
    e = os_pwrite(file, text.p, text.n, 0, f);
    os_close(file);
    return e;
}

/* Is a server there already? Otherwise start ours. -1 or an exit code. */
static int find_server(struct launch *l)
{
    struct fault f;
    if (net_parse(str_of(l->config.v[CFG_CONNECT_LISTEN].text), l->host, &l->port, &f))
        return cli_fail(l->self, &f);
    int fd;
    if (l->port && net_connect(l->host, l->port, PROBE_MS, &fd, &f) == ERR_OK) {
        net_close(fd);
        return -1;
    }
    if (l->config.v[CFG_KAFKA_ALIASES].source == CONFIG_DEFAULT &&
        config_set(&l->config, CFG_KAFKA_ALIASES, "localhost:9092,127.0.0.1:9092", CONFIG_FLAG, "run", &f))
        return cli_fail(l->self, &f);
    bool temporary = l->config.v[CFG_DATA].source == CONFIG_DEFAULT;
    if (server_dev_settings(&l->config, &f))
        return cli_fail(l->self, &f);
    l->temporary = temporary;
    if (server_start(&l->server, &l->config, &f)) {
        l->server = NULL;
        return cli_fail(l->self, &f);
    }
    const struct server_address *a = &server_addresses(l->server)->connect;
    snprintf(l->host, sizeof l->host, "%s", a->host);
    l->port = a->port;
    return -1;
}

static const char *env_line(struct launch *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static const char *env_line(struct launch *l, const char *fmt, ...)
{
    char text[8192];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return arena_z(l->arena, str_of(text));
}

/* What the script's process sees beside our own environment. */
static enum err environment(struct launch *l, const char *set[ENV_MAX], struct fault *f)
{
    char cwd[4096];
    enum err e = os_cwd(cwd, sizeof cwd, f);
    if (e)
        return e;
    const char *old = os_env("PYTHONPATH");
    int n = 0;
    set[n++] = l->remote ? env_line(l, "SPARK_REMOTE=%s", l->remote)
                         : env_line(l, "SPARK_REMOTE=sc://%s:%u", l->host, l->port);
    set[n++] = env_line(l, "PYTHONPATH=%s%s%s", l->hooks, old && *old ? ":" : "", old ? old : "");
    set[n++] = env_line(l, "PENSTOCK_RUN_CWD=%s", cwd);
    set[n++] = "PYTHONUNBUFFERED=1"; /* prints and console sinks in the order they happened */
    if (!l->server && !l->remote)
        set[n++] = env_line(l, "PENSTOCK_RUN_CONSOLE=http://%s/console", l->config.v[CFG_HTTP_LISTEN].text);
    set[n] = NULL;
    return ERR_OK;
}

static enum err start_python(struct launch *l, const struct cli_args *args, int *pid, struct fault *f)
{
    const char *set[ENV_MAX];
    enum err e = environment(l, set, f);
    if (e)
        return e;
    const char *choices[] = {l->python, os_env("PYSPARK_DRIVER_PYTHON"), os_env("PYSPARK_PYTHON"), "python3", "python"};
    const char **argv = ARENA_ARRAY(l->arena, (size_t)args->n + 2, const char *);
    for (int i = 0; i < args->n; i++)
        argv[i + 1] = args->p[i];
    e = ERR_NOTFOUND;
    for (size_t i = 0; i < sizeof choices / sizeof choices[0] && e == ERR_NOTFOUND; i++) {
        if (!choices[i] || !*choices[i])
            continue;
        argv[0] = choices[i];
        e = os_spawn(pid, argv, set, f);
        if (l->python)
            break;
    }
    return e;
}

/* Until the script has ended; its exit status. Terminal signals reach it by themselves, those sent to us are passed on. */
static int wait_for(int pid)
{
    int status = CLI_FAILED;
    while (!os_child_ended(pid, &status)) {
        bool sent;
        enum os_signal sig = os_signal_wait(-1, &sent);
        if (sig == OS_SIGNAL_TERMINATE || (sig == OS_SIGNAL_INTERRUPT && sent))
            os_child_signal(pid, sig);
    }
    return status;
}

static int launch(struct launch *l, const struct cli_args *args)
{
    struct fault f;
    struct os_stat st;
    if (os_stat(args->p[0], &st, &f) || st.is_dir) {
        fprintf(stderr, "penstock run: there is no script %s\n", args->p[0]);
        return CLI_FAILED;
    }
    int rc = l->remote ? -1 : find_server(l);
    if (rc >= 0)
        return rc;
    int pid;
    if (write_hooks(l, &f) || start_python(l, args, &pid, &f)) {
        if (f.err != ERR_NOTFOUND)
            return cli_fail(l->self, &f);
        fprintf(stderr, "penstock run: no Python found (tried %s); install python3 or name one: --python PYTHON\n",
                l->python ? l->python : "python3 and python");
        return CLI_FAILED;
    }
    return wait_for(pid);
}

static void clean_up(struct launch *l)
{
    struct fault f;
    if (l->server)
        server_stop(l->server);
    if (l->temporary && os_remove_tree(l->config.v[CFG_DATA].text, &f))
        os_log(OS_WARN, "run", "%s", fault_message(&f));
    if (l->hooks[0] && os_remove_tree(l->hooks, &f))
        os_log(OS_WARN, "run", "%s", fault_message(&f));
}

int cmd_run(const struct cli_command *self, int argc, char **argv)
{
    struct launch l = {.self = self, .arena = arena_new(0), .file = os_env("PENSTOCK_CONFIG")};
    struct cli_option rows[] = {
        {"config", 'c', CLI_TEXT, &l.file, "FILE", "read the server's settings from FILE", 0, 0},
        {"python", 0, CLI_TEXT, &l.python, "PYTHON", "interpreter [PYSPARK_DRIVER_PYTHON, PYSPARK_PYTHON, python3]", 0,
         0},
        {"remote", 0, CLI_TEXT, &l.remote, "sc://HOST:PORT", "use this server, start none", 0, 0},
    };
    struct cli_args args;
    os_signals_block();
    config_init(&l.config, l.arena);
    int rc = cli_parse(self, rows, sizeof rows / sizeof rows[0], &l.config, true, argc, argv, &args);
    if (rc < 0 && !args.n)
        rc = cli_usage(self, "which script?");
    if (rc < 0)
        rc = cli_config_finish(self, &l.config, l.file);
    if (rc < 0) {
        bool chosen = l.config.v[CFG_LOG_LEVEL].source != CONFIG_DEFAULT;
        os_log_level(chosen ? (enum os_level)l.config.v[CFG_LOG_LEVEL].number : OS_WARN);
        rc = launch(&l, &args);
    }
    clean_up(&l);
    arena_free(l.arena);
    return rc;
}
