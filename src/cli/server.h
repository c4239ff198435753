/*
 * server: everything that listens, put together in the order of dependence and taken apart in reverse.
 *
 *   server_start:  data directory ─▶ broker ─▶ queries ─▶ loops ─▶ Kafka, Spark Connect, HTTP listeners ─▶ ready
 *   server_stop:   stop accepting ─▶ queries end their batch ─▶ loops ─▶ the log is synced and closed
 *
 * `penstock serve`, `dev` and `run` are three callers of it. Call os_signals_block before server_start: threads inherit.
 */
#ifndef PENSTOCK_CLI_SERVER_H
#define PENSTOCK_CLI_SERVER_H

#include "cli/config.h"

struct server;

struct server_address {
    char host[256];
    uint16_t port;
};

struct server_addresses {
    struct server_address kafka, connect, http;
};

/* Start everything; when it fails, nothing is left behind. The config outlives the server. */
CHECK enum err server_start(struct server **out, const struct config *config, struct fault *f);
void server_stop(struct server *s);
/* Settings of a server to try things on: no delay before a consumer group's first rebalance and, unless `data` was set, a
 * new temporary directory, which the caller removes after the stop. */
CHECK enum err server_dev_settings(struct config *config, struct fault *f);
const struct server_addresses *server_addresses(const struct server *s);

#endif
