/*
 * remote: one session on a Spark Connect server, for `penstock sql`.
 *
 *   remote_open(sc://host:port) ─▶ remote_sql(text) ─▶ ExecutePlan(sql_command) ─▶ relation ─▶ ExecutePlan ─▶ Arrow bytes
 *
 * A server's refusal comes back as ERR_INVALID whose message is the server's own text, Spark's error class in front.
 */
#ifndef PENSTOCK_CLI_REMOTE_H
#define PENSTOCK_CLI_REMOTE_H

#include "base/fault.h"

struct remote;
struct zone;

/* "sc://HOST[:PORT][/;param=value…]" (15002 without a port; parameters are let pass). timeout_ms 0: wait for ever. */
CHECK enum err remote_open(struct remote **out, const char *url, int timeout_ms, struct fault *f);
void remote_close(struct remote *r); /* releases the session */
/* The session's time zone, in which timestamps are printed. */
const struct zone *remote_zone(const struct remote *r);
/* Run one statement; on_arrow gets each Arrow stream of its result while it comes. */
CHECK enum err remote_sql(struct remote *r, struct str text,
                          enum err (*on_arrow)(void *arg, struct str bytes, struct fault *f), void *arg,
                          struct fault *f);

#endif
