/*
 * source: where a query's rows come from: kafka (the embedded log), rate; and their offsets.
 *
 * A source knows its columns from its options alone (source_schema), can say what is there (latest), cut a batch by
 * maxOffsetsPerTrigger exactly as Spark does, and open a reader for a fixed range. Offsets travel as Spark's JSON texts
 * ({"topic":{"0":23}}; rate: a number), so that checkpoints and progress carry them verbatim.
 *
 *   options ─▶ source_open ─▶ source_latest(start, limit) ─▶ end ─▶ source_read(start, end) ─▶ operators (struct op)
 *
 * Readers hand out string views into log slices, valid until their next batch. A source belongs to one query thread;
 * readers of one range may run on several (source_read's part k of n: by partition, then by offset range).
 */
#ifndef PENSTOCK_SOURCE_SOURCE_H
#define PENSTOCK_SOURCE_SOURCE_H

#include "log/log.h"
#include "operator/operator.h"

struct source;
struct source_env {
    struct log *log;
    /* Is this bootstrap address (host:port list) ours? false: a foreign cluster, refused by name for now. */
    bool (*is_ours)(void *arg, struct str bootstrap);
    /* Create a topic if auto-creation allows (the kafka sink). */
    enum err (*auto_create)(void *arg, struct str topic, struct fault *f);
    void *arg;
};

/* Registered formats: "kafka", "rate"; also the short names of Spark's formats that are refused by name. Errors: DATA_SOURCE_NOT_FOUND … */
CHECK enum err source_schema(struct str format, const struct option *options, int noptions, const struct type *user_schema,
                             bool is_streaming, struct arena *a, const struct type **schema, struct fault *f);
CHECK enum err source_open(const struct source_env *env, const struct plan_node *scan, bool is_streaming, struct source **out,
                           struct fault *f);
void source_close(struct source *s);
/* The offset a new query starts from (startingOffsets / now), as JSON in the arena. */
CHECK enum err source_initial(struct source *s, int64_t now_ms, struct arena *a, struct str *offset, struct fault *f);
/* The end of the next batch after `start`, cut by maxOffsetsPerTrigger unless no_limit; equal to start when nothing is new. *latest: what is there at all.
 * failOnDataLoss is checked here (a partition gone, an offset out of range, a topic made again). */
CHECK enum err source_latest(struct source *s, struct str start, int64_t now_ms, bool no_limit, struct arena *a, struct str *end,
                             struct str *latest, struct fault *f);
/* A reader of [start, end) — for batch queries both NULL: the options' starting/endingOffsets. part of nparts. */
CHECK enum err source_read(struct source *s, struct str start, struct str end, int part, int nparts, const struct op_env *env,
                           struct op **out, struct fault *f);
/* Rows in [start, end) as progress reports them (offset arithmetic is wrong with gaps: readers count). */
int source_parts(struct source *s, struct str start, struct str end); /* how many parts are worthwhile */
/* Call wake(arg) when something may be new (from any thread; must not block); NULL removes. False: the source must be polled by time (rate). */
bool source_watch(struct source *s, void (*wake)(void *arg), void *arg);
/* "KafkaV2[Subscribe[topic]]", "RateStreamV2[…]": progress's description. Metrics: extra JSON fields such as avgOffsetsBehindLatest. */
struct str source_description(struct source *s, struct arena *a);
void source_metrics(struct source *s, struct str end, struct str latest, struct buf *json);

#endif
