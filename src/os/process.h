/*
 * process: signals, children and the terminal, for the command line. Not simulated: nothing below serve/ uses it.
 *
 * Signals are taken synchronously: os_signals_block before the first thread, then os_signal_wait on the main thread.
 * No handler ever runs in the server, so no code needs to be async-signal-safe.
 */
#ifndef PENSTOCK_OS_PROCESS_H
#define PENSTOCK_OS_PROCESS_H

#include "base/fault.h"

/* Block SIGINT, SIGTERM, SIGHUP and SIGCHLD for this thread and those it starts; ignore SIGPIPE. */
void os_signals_block(void);
enum os_signal { OS_SIGNAL_NONE, OS_SIGNAL_INTERRUPT, OS_SIGNAL_TERMINATE, OS_SIGNAL_CHILD };
/* The next blocked signal, or OS_SIGNAL_NONE after wait_ms (-1: wait for ever, 0: just look). *sent_by_process (NULL
 * allowed): it came from kill(2), not from the terminal, whose signals reach the children as well. */
enum os_signal os_signal_wait(int wait_ms, bool *sent_by_process);
/* A client command's choice instead: an interrupt ends the process at once with exit status 130. */
void os_interrupt_exits(void);

/* Start argv[0] (searched in PATH) with the environment plus `set` ("NAME=value", NULL-terminated; replaces), default
 * signal handling and our standard streams. ERR_NOTFOUND when there is no such program. */
CHECK enum err os_spawn(int *pid, const char *const *argv, const char *const *set, struct fault *f);
/* True once the child has ended; *status is its exit status, 128 + n when signal n ended it. */
bool os_child_ended(int pid, int *status);
/* Send SIGINT (interrupt) or SIGTERM. */
void os_child_signal(int pid, enum os_signal signal);
/* Run argv to its end, its standard output (at most cap - 1 bytes, NUL-terminated) into out, its standard error thrown
 * away. ERR_NOTFOUND: no such program. */
CHECK enum err os_run_capture(const char *const *argv, const char *const *set, char *out, size_t cap, int *status,
                              struct fault *f);

bool os_is_terminal(int fd);
/* Working directory, NUL-terminated. */
CHECK enum err os_cwd(char *out, size_t cap, struct fault *f);

#endif
