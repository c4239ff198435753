/*
 * source: where a query's rows come from: kafka (the embedded log, or a foreign cluster), rate; and their offsets.
 *
 * A source knows its columns from its options alone (source_schema), can say what is there (latest), cut a batch by
 * maxOffsetsPerTrigger exactly as Spark does, and open a reader for a fixed range. Offsets travel as Spark's JSON texts
 * ({"topic":{"0":23}}; rate: a number), so that checkpoints and progress carry them verbatim.
 *
 *   options ─▶ source_open ─▶ source_latest(start, limit) ─▶ end ─▶ source_read(start, end) ─▶ operators (struct op)
 *
 * Readers hand out string views into log slices, valid until their next batch. A source belongs to one query thread;
 * readers of the parts of one range may run on several.
 *
 * A topic that is deleted and made again has the same name and other records: source_identity says which topics (by id)
 * the offsets mean, source_remember tells a source that was opened again, and source_latest and source_read compare.
 */
#ifndef PENSTOCK_SOURCE_SOURCE_H
#define PENSTOCK_SOURCE_SOURCE_H

#include "log/log.h"
#include "foreign/foreign.h"
#include "operator/operator.h"

struct source;
struct kafka_output_class;
struct broker;
struct source_env {
    struct log *log;
    struct broker *broker; /* transactions on the log */
    /* Is this bootstrap address (host:port list) ours? false: a foreign cluster. May ask the name service: never on a loop. */
    bool (*is_ours)(void *arg, struct str bootstrap);
    /* Create a topic if auto-creation allows (the kafka sink). */
    enum err (*auto_create)(void *arg, struct str topic, struct fault *f);
    void *arg;
    const struct kafka_output_class *kafka_output; /* for tests: where every kafka sink writes to */
    const bool *cancelled; /* atomic; looked at while a foreign cluster is waited for. NULL: cannot be */
};

/* Registered formats: "kafka", "rate"; also the short names of Spark's formats that are refused by name.
 * Errors: ERR_DATA_SOURCE_NOT_FOUND, ERR_SOURCE_OPTION with Spark's texts, ERR_SOURCE_SCHEMA. */
CHECK enum err source_schema(struct str format, const struct option *options, int noptions,
                             const struct type *user_schema, bool is_streaming, struct arena *a,
                             const struct type **schema, struct fault *f);
CHECK enum err source_open(const struct source_env *env, const struct plan_node *scan, bool is_streaming,
                           struct source **out, struct fault *f);
void source_close(struct source *s);
/* Does kafka.bootstrap.servers lead to this server: by its address, or because a cluster with our id answers there? */
CHECK enum err source_cluster_is_ours(const struct source_env *env, enum foreign_role role,
                                      const struct option *options, int noptions, bool *out, struct fault *f);
/* The offset a new query starts from (startingOffsets / now), as JSON in the arena. */
CHECK enum err source_initial(struct source *s, int64_t now_ms, struct arena *a, struct str *offset, struct fault *f);
/*
 * The end of the next batch after `start`, cut by maxOffsetsPerTrigger unless no_limit; equal to start when nothing is new.
 * *latest: what is there at all. cap (n 0: none): nothing beyond it, for availableNow; *latest is then the cap.
 * failOnDataLoss is checked here (a partition gone, an offset beyond the end, a topic made again).
 */
CHECK enum err source_latest(struct source *s, struct str start, struct str cap, int64_t now_ms, bool no_limit,
                             struct arena *a, struct str *end, struct str *latest, struct fault *f);
/* One of n pieces of a range: of about equal length, or with `whole` some of its partitions each. */
struct source_part {
    int i, n;
    bool whole;
};
/* A reader of a part of [start, end) — for batch queries both n 0: the options' starting/endingOffsets. */
CHECK enum err source_read(struct source *s, struct str start, struct str end, const struct source_part *part,
                           const struct op_env *env, struct op **out, struct fault *f);
/* Into how many pieces [start, end) is worth cutting, at most `most` (1: too few rows to hand to other threads). */
int source_parts(struct source *s, struct str start, struct str end, int most, bool whole);
/* Call wake(arg) when something may be new (from any thread; must not block); wake NULL removes. Returns the milliseconds
 * after which to ask source_latest again even without a call: -1 never (nothing happens unseen), else a source of time. */
int64_t source_watch(struct source *s, void (*wake)(void *arg), void *arg);
/* "KafkaV2[Subscribe[topic]]", "RateStreamV2[…]": progress's description. */
struct str source_description(struct source *s, struct arena *a);
/* The members of progress's "metrics" object, quoted (avgOffsetsBehindLatest …); nothing for rate. */
void source_metrics(struct source *s, struct str end, struct str latest, struct buf *json);
/* Spark's sources/N/0: the file's text for the offset that a query starts from; and the offset from such a text (a view). */
void source_start_text(struct source *s, struct str initial, struct buf *out);
struct str source_restore(struct source *s, struct str text);
struct str source_identity(struct source *s, struct arena *a);
void source_remember(struct source *s, struct str identity);

#endif
