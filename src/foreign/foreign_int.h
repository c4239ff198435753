/*
 * foreign_int: what the files of foreign/ share: a checked configuration, and the driver's seam.
 *
 * A driver speaks to brokers and nothing else: it neither retries (beyond what librdkafka does by itself) nor waits longer
 * than it is told, and it says what happened in a struct foreign_answer. Retrying, time limits, positions and errors with
 * names are above it, in cluster.c, feed.c and producer.c.
 */
#ifndef PENSTOCK_FOREIGN_FOREIGN_INT_H
#define PENSTOCK_FOREIGN_FOREIGN_INT_H

#include "base/limit.h"
#include "foreign/foreign.h"
#include "os/os.h"

enum { FOREIGN_PROPERTIES = 96, FOREIGN_BATCH = 1024 };

/* -- configuration (config.c, config_check.c) --------------------------------------------------------------------------------- */
struct foreign_property {
    const char *name, *value; /* librdkafka's */
};
struct foreign_config {
    enum foreign_role role;
    struct str bootstrap; /* as the script gives it: errors name it */
    struct foreign_property properties[FOREIGN_PROPERTIES];
    int nproperties;
    bool read_committed;
    int64_t poll_ms;  /* kafkaConsumer.pollTimeoutMs: a range without a record for so long fails */
    int64_t api_ms;   /* default.api.timeout.ms: metadata and offsets */
    int64_t tries;    /* fetchOffset.numRetries */
    int64_t pause_ms; /* fetchOffset.retryIntervalMs */
    int64_t block_ms; /* max.block.ms: a producer's metadata and buffer */
    int64_t transaction_ms;
    int64_t delivery_ms;  /* delivery.timeout.ms */
    int64_t fetch_bytes;  /* max.partition.fetch.bytes */
    int64_t buffer_bytes; /* buffer.memory */
};
const char *foreign_property(const struct foreign_config *c, const char *name); /* NULL: not set */
void foreign_property_set(struct foreign_config *c, struct arena *a, const char *name, struct str value);

/* One of the script's kafka.* options under its Java name; p NULL when it is not there. Keys are case-insensitive. */
struct java_options {
    const struct option *options;
    int n;
};
struct str java_option(const struct java_options *o, const char *name);
/* "Invalid value x for configuration y: detail", as Java's ConfigException. */
CHECK enum err java_invalid(struct fault *f, const char *name, struct str value, const char *detail);

/* Security: sasl.* and ssl.* into librdkafka's properties. */
CHECK enum err foreign_security(const struct java_options *o, struct foreign_config *c, struct arena *a,
                                struct fault *f);

/* -- JAAS (jaas.c) ------------------------------------------------------------------------------------------------------------ */
struct jaas {
    struct str module, flag;
    struct {
        struct str key, value;
    } options[LIMIT_JAAS_OPTIONS];
    int noptions;
};
/* sasl.jaas.config: one login module; errors in the words of Java's JaasConfig. Strings live in the arena. */
CHECK enum err jaas_parse(struct str text, struct arena *a, struct jaas *out, struct fault *f);
struct str jaas_option(const struct jaas *j, const char *key); /* p NULL: not there */

/* -- key stores (store.c, jks.c) ------------------------------------------------------------------------------------------------ */
struct key_store {
    struct str trusted;           /* PEM certificates */
    struct str key, certificates; /* PEM: unencrypted private key, its chain with the leaf first */
};
/* A JKS, PKCS12 or PEM file; type "" or Java's ssl.*store.type. `property` is named in errors. */
CHECK enum err key_store_read(const char *property, struct str path, struct str type, struct str password,
                              struct str key_password, struct arena *a, struct key_store *out, struct fault *f);
/* PEM texts given in the options themselves. */
CHECK enum err key_store_pem(const char *property, struct str text, struct str key_password, struct arena *a,
                             struct key_store *out, struct fault *f);
/* The inside of a JKS file: DER pieces to `add`. */
struct jks_entry {
    struct str key; /* PKCS8, DER; n 0: a trusted certificate */
    struct str certificates[16];
    int n;
};
CHECK enum err jks_parse(const char *property, struct str bytes, struct str password, struct str key_password,
                         struct arena *a, enum err (*add)(void *arg, const struct jks_entry *e, struct fault *f),
                         void *arg, struct fault *f);

/* -- the seam -------------------------------------------------------------------------------------------------------------------- */
enum foreign_status {
    FOREIGN_DONE,
    FOREIGN_TIMEOUT,   /* nobody answered in the time given */
    FOREIGN_AGAIN,     /* a broker asks to try again; or it is not there just now */
    FOREIGN_GONE,      /* no such topic or partition */
    FOREIGN_RANGE,     /* the offset is outside the partition */
    FOREIGN_FENCED,    /* a newer producer has taken over */
    FOREIGN_ABORTABLE, /* the transaction can only be aborted */
    FOREIGN_REFUSED,   /* and will be refused again: not allowed, not understood, a wrong configuration */
};
struct foreign_answer {
    enum foreign_status status;
    char text[400]; /* what the broker or the library said */
};

struct foreign_client;
struct foreign_tail;
enum foreign_client_kind { CLIENT_CONTROL, CLIENT_FEEDS, CLIENT_PRODUCER };
struct foreign_client_options {
    enum foreign_client_kind kind;
    const struct foreign_config *config;
    const char *transactional_id; /* PRODUCER; NULL: none */
    int64_t transaction_ms;
    int64_t ahead_bytes; /* FEEDS: of one partition */
    void (*delivered)(void *arg, const struct foreign_answer *why,
                      const char *topic); /* PRODUCER: a record's fate; from its poll */
    void *arg;
};

struct foreign_driver {
    const char *name;
    enum foreign_status (*open)(const struct foreign_client_options *o, struct foreign_client **out,
                                struct foreign_answer *why);
    void (*close)(struct foreign_client *k);
    /* The last thing that went wrong in the background (connections), "" when nothing did. */
    void (*trouble)(struct foreign_client *k, char *out, size_t cap);
    enum foreign_status (*cluster_id)(struct foreign_client *k, int64_t ms, struct arena *a, struct str *id,
                                      struct foreign_answer *why);
    /* topic p NULL: all that are not internal; n > 1 is not needed. *n 0: no such topic. */
    enum foreign_status (*topics)(struct foreign_client *k, struct str topic, int64_t ms, struct arena *a,
                                  struct foreign_topic **out, size_t *n, struct foreign_answer *why);
    /* All are answered, or none and FOREIGN_GONE when one of them does not exist. */
    enum foreign_status (*offsets)(struct foreign_client *k, struct foreign_offset *o, size_t n, int64_t ms,
                                   struct foreign_answer *why);
    /* FEEDS. `ready` is called from a thread of the driver when something comes into the tail's empty queue. */
    enum foreign_status (*tail_start)(struct foreign_client *k, struct str topic, int32_t partition, int64_t at,
                                      void (*ready)(void *arg), void *arg, struct foreign_tail **out,
                                      struct foreign_answer *why);
    void (*tail_stop)(struct foreign_tail *t);
    /* What is there, without waiting. *at: every record below it has been given out (unchanged when not known). */
    int (*tail_take)(struct foreign_tail *t, void **messages, int cap, int64_t *at);
    /* DONE: a record. TIMEOUT: the end of the log is reached at record->offset. Else an error. */
    enum foreign_status (*look)(void *message, struct foreign_record *record, struct foreign_answer *why);
    size_t (*headers)(void *message, struct arena *a, struct foreign_header **out);
    void (*release)(void *message);
    /* PRODUCER */
    enum foreign_status (*produce)(struct foreign_client *k, const char *topic, int32_t partition, struct str key,
                                   struct str value, const struct foreign_header *headers, size_t nheaders,
                                   int64_t timestamp_ms, struct foreign_answer *why); /* TIMEOUT: the queue is full */
    void (*serve)(struct foreign_client *k, int64_t ms); /* deliveries that have come are reported; waits for one */
    int (*unsent)(struct foreign_client *k);
    void (*flush)(struct foreign_client *k,
                  int64_t ms); /* what is queued is sent now; waits until it is acknowledged, or ms */
    void (*purge)(struct foreign_client *k);
    enum foreign_status (*init)(struct foreign_client *k, int64_t ms, struct foreign_answer *why);
    enum foreign_status (*begin)(struct foreign_client *k, struct foreign_answer *why);
    enum foreign_status (*send_offset)(struct foreign_client *k, const char *group, const char *topic,
                                       int32_t partition, int64_t offset, struct str metadata, int64_t ms,
                                       struct foreign_answer *why);
    enum foreign_status (*end)(struct foreign_client *k, bool commit, int64_t ms, struct foreign_answer *why);
    enum foreign_status (*group_offset)(struct foreign_client *k, const char *group, const char *topic,
                                        int32_t partition, int64_t ms, struct arena *a, int64_t *offset,
                                        struct str *metadata, struct foreign_answer *why);
};
extern const struct foreign_driver FOREIGN_LIBRARY, FOREIGN_MEMORY;
extern const struct foreign_driver *foreign_driver;

/* -- errors (cluster.c) ------------------------------------------------------------------------------------------------------------- */
/* An answer as a fault that names the cluster and what was asked. */
CHECK enum err foreign_fault(const struct foreign_config *c, const char *doing, const struct foreign_answer *why,
                             struct fault *f);

#endif
