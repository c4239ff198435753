/* sink_int: the classes of sinks. */
#ifndef PENSTOCK_SINK_SINK_INT_H
#define PENSTOCK_SINK_SINK_INT_H

#include "os/os.h"
#include "sink/sink.h"

struct sink_class {
    const char *name, *class_name; /* class_name: as Spark's errors and progress print it */
    bool visible, any_order;
    enum err (*open)(struct sink *s, struct fault *f);
    enum err (*begin)(struct sink *s, int64_t batch_id, struct fault *f);
    enum err (*write)(struct sink *s, const struct batch_cols *rows, struct fault *f);
    enum err (*commit)(struct sink *s, struct fault *f);
    void (*abort)(struct sink *s);
    void (*close)(struct sink *s);
    /* transactional sinks; NULL in the others */
    bool (*is_transactional)(const struct sink *s);
    enum err (*recover)(struct sink *s, struct str query_id, struct str where, int64_t *last, struct fault *f);
    enum err (*output)(struct sink *s, bool *any, struct str *where, int64_t *after, struct fault *f);
    size_t size;
};
struct sink { /* embedded first */
    const struct sink_class *class;
    struct sink_env env;
    struct source_env source;
    struct arena *arena; /* as long as the sink */
    const struct option *options;
    int noptions;
    const struct type *schema;
    enum output_mode mode;
    struct str query_name;
    const struct zone *zone;
    bool has_checkpoint; /* one of its own, that a later start finds again */
    int64_t batch_id, rows;
};
extern const struct sink_class CONSOLE_SINK, MEMORY_SINK, NOOP_SINK, KAFKA_SINK;

CHECK enum err sink_message(struct fault *f, enum err e, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
