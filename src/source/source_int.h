/* source_int: the classes of sources, and the insides of the kafka source that its files share. */
#ifndef PENSTOCK_SOURCE_SOURCE_INT_H
#define PENSTOCK_SOURCE_SOURCE_INT_H

#include "base/vec.h"
#include "foreign/foreign.h"
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
    enum err (*read)(struct source *s, struct str start, struct str end, const struct source_part *part,
                     const struct op_env *env, struct op **out, struct fault *f);
    int (*parts)(struct source *s, struct str start, struct str end, int most, bool whole);
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
    bool read_committed; /* kafka.isolation.level */
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
struct kafka_range {
    struct str topic;
    int32_t partition;
    int64_t from, until;
};
struct kafka_topic {
    struct str name;
    int32_t partitions; /* 0: there is no such topic */
};
struct kafka_source;
/* Where a kafka source's topics are: in the embedded log, or in a foreign cluster. All the rest of the source is the same. */
struct kafka_place {
    bool is_cut_anywhere; /* several threads may read pieces of one partition */
    void (*close)(struct kafka_source *s);
    /* The named topics, or (names NULL) all that are not internal. */
    enum err (*topics)(struct kafka_source *s, const struct str *names, size_t n, struct arena *a,
                       struct kafka_topic **out, size_t *nout, struct fault *f);
    /* What `at` asks for (OFFSET_EARLIEST, OFFSET_LATEST; with `times`, the first record at or after these milliseconds)
     * becomes the offset; -1: no record is as late. ERR_KAFKA_UNKNOWN_TOPIC. */
    enum err (*offsets)(struct kafka_source *s, struct offsets *o, bool times, struct fault *f);
    bool (*topic_id)(struct kafka_source *s, struct str topic,
                     struct os_uuid *id); /* false: it has none that we know */
    /* A reader of the ranges (copied). */
    enum err (*reader)(struct kafka_source *s, const struct kafka_range *ranges, size_t n, const struct op_env *env,
                       struct op **out, struct fault *f);
    /* From now on what comes at or after from[i] wakes; `all` may have changed since the last call. */
    enum err (*follow)(struct kafka_source *s, const struct offsets *all, const int64_t *from, struct fault *f);
    void (*unfollow)(struct kafka_source *s);
};
extern const struct kafka_place KAFKA_LOG, KAFKA_FOREIGN;

struct kafka_source {
    struct source base;
    const struct kafka_place *place;
    struct kafka_options options;
    VEC(struct known_topic) known; /* the topics that offsets so far mean */
    void (*wake)(void *arg);
    void *wake_arg;
    int64_t last_trigger_ms; /* for minOffsetsPerTrigger */
    /* KAFKA_LOG */
    uint64_t topics_version; /* when the watches were set */
    VEC(struct log_watch *) watches;
    /* KAFKA_FOREIGN */
    const struct foreign_config *config;
    struct foreign *foreign;
    struct arena *asked; /* topics, as they were at asked_ns */
    struct kafka_topic *topics;
    size_t ntopics;
    int64_t asked_ns;
};
CHECK enum err kafka_log_reader(struct kafka_source *s, const struct kafka_range *ranges, size_t n,
                                const struct op_env *env, struct op **out, struct fault *f);
CHECK enum err kafka_foreign_open(struct kafka_source *s, struct fault *f); /* the client, for is_foreign to ask */
CHECK enum err kafka_unknown_topic(struct str topic, struct fault *f);
/* The assigned partitions, with at = earliest (log start) or, `ends`, the high watermark. */
CHECK enum err kafka_assigned(struct kafka_source *s, bool ends, struct arena *a, struct offsets *out, struct fault *f);
/* An options' bound as offsets of the assigned partitions. */
CHECK enum err kafka_resolve(struct kafka_source *s, const struct kafka_limit *limit, bool is_start, struct arena *a,
                             struct offsets *out, struct fault *f);
CHECK enum err kafka_data_loss(struct fault *f, enum err which, struct str topic, int32_t partition, int64_t was,
                               int64_t is);

/* -- rows: Kafka's records as columns (kafka_rows.c) ------------------------------------------------------------------------ */
enum { COL_KEY, COL_VALUE, COL_TOPIC, COL_PARTITION, COL_OFFSET, COL_TIME, COL_TIME_TYPE, COL_HEADERS, COLS };
/* Where a batch's wanted columns are written; NULL: not wanted. */
struct kafka_rows {
    struct str *key, *value, *headers; /* headers: encoded as in a record, count in nheaders */
    uint8_t *key_valid, *value_valid;
    int64_t *offset, *time;
    int32_t *time_type, *nheaders;
    uint32_t n;
    int column_of[COLS]; /* in the output, -1: not wanted */
};
void kafka_rows_init(struct kafka_rows *r, const struct plan_node *scan);
struct batch_cols *kafka_rows_begin(struct kafka_rows *r, struct op *op);
/* topic and partition are the same in all rows. false: headers do not parse. */
bool kafka_rows_end(struct kafka_rows *r, struct op *op, struct batch_cols *b, struct str topic, int32_t partition);
CHECK enum err kafka_bad_time(struct str topic, int32_t partition, int64_t offset, int64_t ms, struct fault *f);

#endif
