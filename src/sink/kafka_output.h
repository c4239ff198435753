/*
 * kafka_output: where the kafka sink's records go.
 *
 *   kafka.c         rows, columns, batches, notes
 *   kafka_local.c   the embedded log: record batches per partition
 *   kafka_foreign.c another cluster: a librdkafka producer
 *
 * An output takes records one by one and holds as few of them as it can. It knows two ways to let go of a batch: flush
 * (at-least-once: all that was written is durable), and end (a transaction: all or nothing, with a note beside it).
 */
#ifndef PENSTOCK_SINK_KAFKA_OUTPUT_H
#define PENSTOCK_SINK_KAFKA_OUTPUT_H

#include "sink/sink.h"

struct kafka_record {
    struct str topic;
    int32_t partition;         /* -1: as Kafka's default partitioner chooses */
    struct str key, value;     /* p NULL: null */
    const struct str *headers; /* key, value, key, value … */
    int nheaders;
    int64_t timestamp_ms;
};
struct kafka_note { /* the committed offset of a group on partition 0 of a topic */
    struct str group, topic;
    int64_t offset; /* -1: none */
    struct str metadata;
};
struct kafka_output {
    const struct kafka_output_class *class;
    struct sink *sink; /* options, environment, arena */
};
struct kafka_output_class {
    size_t size;
    enum err (*open)(struct kafka_output *o, struct fault *f);
    void (*close)(struct kafka_output *o); /* what is open is aborted */
    enum err (*write)(struct kafka_output *o, const struct kafka_record *r, struct fault *f);
    enum err (*flush)(struct kafka_output *o, struct fault *f);
    void (*abort)(
        struct kafka_output *o); /* forget what was written since the last flush or end, as far as that is possible */
    /* Transactions; all NULL where there are none. fence: what other producers of this id began is finished, and they are
     * shut out. noted: offset and metadata, once no transaction is pending on them. */
    enum err (*fence)(struct kafka_output *o, struct str id, struct fault *f);
    enum err (*noted)(struct kafka_output *o, struct arena *a, struct kafka_note *n, struct fault *f);
    enum err (*end)(struct kafka_output *o, const struct kafka_note *n, struct fault *f);
};
extern const struct kafka_output_class KAFKA_LOCAL, KAFKA_ELSEWHERE;

CHECK enum err kafka_write_failed(struct str topic, const char *detail, struct fault *f);

#endif
