/* source_int: the classes of sources, and the insides of the kafka source that its files share. */
#ifndef PENSTOCK_SOURCE_SOURCE_INT_H
#define PENSTOCK_SOURCE_SOURCE_INT_H

#include "base/vec.h"
#include "source/offsets.h"
#include "source/source.h"

struct source_class {
    const char *name, *provider;
    enum err (*schema)(const struct option *options, int noptions, bool is_streaming, struct arena *a,
                       const struct type **schema, struct fault *f);
    enum err (*open)(const struct source_env *env, const struct plan_node *scan, bool is_streaming, struct source **out,
                     struct fault *f);
    void (*close)(struct source *s);
    enum err (*initial)(struct source *s, int64_t now_ms, struct arena *a, struct str *offset, struct fault *f);
    enum err (*latest)(struct source *s, struct str start, struct str cap, int64_t now_ms, bool no_limit,
                       struct arena *a, struct str *end, struct str *latest, struct fault *f);
    enum err (*read)(struct source *s, struct str start, struct str end, int part, int nparts, const struct op_env *env,
                     struct op **out, struct fault *f);
    int (*parts)(struct source *s, struct str start, struct str end, int most);
    int64_t (*watch)(struct source *s, void (*wake)(void *arg), void *arg);
    struct str (*description)(struct source *s, struct arena *a);
    void (*metrics)(struct source *s, struct str end, struct str latest, struct buf *json);
    void (*start_text)(struct source *s, struct str initial, struct buf *out);
    struct str (*restore)(struct source *s, struct str text); /* text: after the version line */
};
struct source { /* embedded first */
    const struct source_class *class;
    const struct plan_node *scan;
    struct source_env env;
    struct arena *arena; /* as long as the source */
};
extern const struct source_class KAFKA_SOURCE, RATE_SOURCE;

/* -- kafka ---------------------------------------------------------------------------------------------------------- */
enum kafka_strategy { KAFKA_SUBSCRIBE, KAFKA_PATTERN, KAFKA_ASSIGN };
enum kafka_bound { BOUND_EARLIEST, BOUND_LATEST, BOUND_OFFSETS, BOUND_TIMES, BOUND_TIME };
struct kafka_limit {
    enum kafka_bound kind;
    struct offsets offsets; /* BOUND_OFFSETS: with -1, -2; BOUND_TIMES: milliseconds */
    int64_t time_ms;        /* BOUND_TIME */
};
struct kafka_options {
    enum kafka_strategy strategy;
    struct str *topics; /* SUBSCRIBE, trimmed */
    size_t ntopics;
    struct str pattern;
    struct offsets assigned;
    struct kafka_limit starting, ending;
    int64_t max_per_trigger, min_per_trigger; /* -1: none */
    int64_t max_delay_ms;
    bool fail_on_data_loss, headers, time_error_is_latest;
    struct str bootstrap;
};
CHECK enum err kafka_options_read(const struct option *options, int noptions, bool is_streaming, struct arena *a,
                                  struct kafka_options *out, struct fault *f);
CHECK enum err kafka_options_check(const struct option *options, int noptions, struct arena *a,
                                   struct kafka_options *out, struct fault *f);
CHECK enum err source_option_fault(struct fault *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

struct known_topic {
    struct str name;
    struct os_uuid id;
};
struct kafka_source {
    struct source base;
    struct kafka_options options;
    VEC(struct known_topic) known; /* the topics that offsets so far mean */
    uint64_t topics_version;       /* when the watches were set */
    VEC(struct log_watch *) watches;
    void (*wake)(void *arg);
    void *wake_arg;
    int64_t last_trigger_ms; /* for minOffsetsPerTrigger */
};
struct kafka_range {
    struct str topic;
    int32_t partition;
    int64_t from, until;
};
/* The assigned partitions, with at = earliest (log start) or, `ends`, the high watermark. */
CHECK enum err kafka_assigned(struct kafka_source *s, bool ends, struct arena *a, struct offsets *out, struct fault *f);
/* An options' bound as offsets of the assigned partitions. */
CHECK enum err kafka_resolve(struct kafka_source *s, const struct kafka_limit *limit, bool is_start, struct arena *a,
                             struct offsets *out, struct fault *f);
CHECK enum err kafka_data_loss(struct fault *f, enum err which, struct str topic, int32_t partition, int64_t was,
                               int64_t is);
/* A reader of the ranges (copied). */
CHECK enum err kafka_reader(struct kafka_source *s, const struct kafka_range *ranges, size_t n,
                            const struct op_env *env, struct op **out, struct fault *f);

#endif
