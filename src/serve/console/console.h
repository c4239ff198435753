/*
 * console: the HTTP port that people and their monitors look at.
 *
 *   GET /livez     200 as long as the process answers
 *   GET /readyz    200 when every listener answers, else 503 and the reason
 *   GET /metrics   the rows of spec/metrics.def in Prometheus' text format
 *   GET /console?session=ID&from=N
 *                  what the console sinks of a Spark session printed, from byte N on; waits up to 25 s for more. The
 *                  header X-Console-Next says where to go on. `penstock run` reads it for a script on another server.
 *
 * Anything else is 404; other methods than GET and HEAD are 405. It hangs on the same loops as the other protocols and,
 * like them, never blocks: the hooks are called on a loop's thread and must answer at once.
 */
#ifndef PENSTOCK_SERVE_CONSOLE_H
#define PENSTOCK_SERVE_CONSOLE_H

#include "base/fault.h"
#include "serve/loop.h"

enum console_metric {
#define X(id, name, type, doc) id,
#include "metrics.def"
#undef X
    METRIC_COUNT
};

struct console_metrics {
    double v[METRIC_COUNT];
};

struct console_hooks {
    void *arg;
    /* NULL when ready, else why not (static text). */
    const char *(*not_ready)(void *arg);
    void (*metrics)(void *arg, struct console_metrics *out);
    /* The console text of a session (serve/connect's functions of these names); console_read NULL: there is none. */
    bool (*console_read)(void *arg, struct str session, uint64_t from, struct buf *out, uint64_t *next);
    bool (*console_wait)(void *arg, struct str session, uint64_t from, void (*wake)(void *arg), void *wake_arg);
    void (*console_forget)(void *arg, void *wake_arg);
};

/* Listen on the loops; `hooks` must outlive them. *port in: wanted (0: any), out: what it is. */
CHECK enum err console_listen(struct loop **loops, int n, const char *host, uint16_t *port,
                              const struct console_hooks *hooks, struct fault *f);

#endif
