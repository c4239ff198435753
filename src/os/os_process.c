#include "os/process.h"

#include "base/memory.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void watched(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGCHLD);
}

void os_signals_block(void)
{
    sigset_t set;
    watched(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

enum os_signal os_signal_wait(int wait_ms, bool *sent_by_process)
{
    sigset_t set;
    watched(&set);
    siginfo_t info = {0};
    int sig;
    do {
        struct timespec limit = {.tv_sec = wait_ms / 1000, .tv_nsec = wait_ms % 1000 * 1000000L};
        sig = wait_ms < 0 ? sigwaitinfo(&set, &info) : sigtimedwait(&set, &info, &limit);
    } while (sig < 0 && errno == EINTR);
    if (sent_by_process)
        *sent_by_process = sig > 0 && info.si_code <= 0;
    switch (sig) {
    case SIGINT:
        return OS_SIGNAL_INTERRUPT;
    case SIGTERM:
    case SIGHUP:
        return OS_SIGNAL_TERMINATE;
    case SIGCHLD:
        return OS_SIGNAL_CHILD;
    default:
        return OS_SIGNAL_NONE;
    }
}

static void exit_interrupted(int sig)
{
    (void)sig;
    _exit(130);
}

void os_interrupt_exits(void)
{
    struct sigaction act = {.sa_handler = exit_interrupted};
    sigaction(SIGINT, &act, NULL);
}

/* environ with `set` laid over it: a malloc'ed array of borrowed strings. */
static char **merged_environment(const char *const *set)
{
    size_t have = 0, more = 0;
    while (environ[have])
        have++;
    while (set && set[more])
        more++;
    char **out = calloc(have + more + 1, sizeof *out);
    if (!out)
        memory_out("an environment");
    size_t n = 0;
    for (size_t i = 0; i < have; i++) {
        size_t name = strcspn(environ[i], "=") + 1;
        bool replaced = false;
        for (size_t k = 0; k < more; k++)
            replaced |= strncmp(environ[i], set[k], name) == 0;
        if (!replaced)
            out[n++] = environ[i];
    }
    for (size_t k = 0; k < more; k++)
        out[n++] = (char *)set[k];
    return out;
}

static enum err spawn(int *pid, const char *const *argv, const char *const *set, posix_spawn_file_actions_t *actions,
                      struct fault *f)
{
    posix_spawnattr_t attr;
    sigset_t none, defaults;
    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGINT);
    sigaddset(&defaults, SIGPIPE);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &defaults);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    char **env = merged_environment(set);
    pid_t child;
    int rc = posix_spawnp(&child, argv[0], actions, &attr, (char *const *)argv, env);
    free(env);
    posix_spawnattr_destroy(&attr);
    if (rc == ENOENT)
        return FAULT(f, ERR_NOTFOUND, {"what", argv[0]});
    if (rc)
        return fault_errno(f, rc, "start %s", argv[0]);
    *pid = child;
    return ERR_OK;
}

enum err os_spawn(int *pid, const char *const *argv, const char *const *set, struct fault *f)
{
    return spawn(pid, argv, set, NULL, f);
}

static int exit_status(int raw)
{
    return WIFSIGNALED(raw) ? 128 + WTERMSIG(raw) : WEXITSTATUS(raw);
}

bool os_child_ended(int pid, int *status)
{
    int raw;
    pid_t got;
    do
        got = waitpid(pid, &raw, WNOHANG);
    while (got < 0 && errno == EINTR);
    if (got == pid)
        *status = exit_status(raw);
    return got == pid;
}

void os_child_signal(int pid, enum os_signal sig)
{
    kill(pid, sig == OS_SIGNAL_INTERRUPT ? SIGINT : SIGTERM);
}

enum err os_run_capture(const char *const *argv, const char *const *set, char *out, size_t cap, int *status,
                        struct fault *f)
{
    int fds[2], pid = 0;
    if (pipe(fds))
        return fault_errno(f, errno, "pipe");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", 0, 0);
    posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", 1, 0);
    posix_spawn_file_actions_addclose(&actions, fds[0]);
    posix_spawn_file_actions_addclose(&actions, fds[1]);
    enum err e = spawn(&pid, argv, set, &actions, f);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    size_t n = 0;
    char spill[512];
    while (!e) {
        bool full = n + 1 >= cap;
        ssize_t r = read(fds[0], full ? spill : out + n, full ? sizeof spill : cap - 1 - n);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            break;
        n += full ? 0 : (size_t)r;
    }
    out[n] = 0;
    close(fds[0]);
    int raw = 0;
    while (!e && waitpid(pid, &raw, 0) < 0 && errno == EINTR)
        ;
    *status = exit_status(raw);
    return e;
}

bool os_is_terminal(int fd)
{
    return isatty(fd) == 1;
}

enum err os_cwd(char *out, size_t cap, struct fault *f)
{
    return getcwd(out, cap) ? ERR_OK : fault_errno(f, errno, "working directory");
}
