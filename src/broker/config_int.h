/*
 * config_int: rows of spec/kafka/configs.def, and where a value comes from.
 *
 *   a topic's own ─▶ this broker's, altered ─▶ all brokers', altered ─▶ what the server was started with ─▶ the default
 *
 * What was altered of the broker's are facts of the log (config/broker//KEY for all brokers, config/broker/1/KEY for this
 * one); the values that topics inherit are handed to the log (log_defaults) at the start and with every change.
 */
#ifndef PENSTOCK_BROKER_CONFIG_INT_H
#define PENSTOCK_BROKER_CONFIG_INT_H

#include "broker/broker_int.h"

enum config_type { BOOLEAN = 1, STRING, INT, SHORT, LONG, DOUBLE, LIST };
enum config_source {
    SOURCE_TOPIC = 1,
    SOURCE_DYNAMIC_BROKER,
    SOURCE_DYNAMIC_DEFAULT,
    SOURCE_STATIC_BROKER,
    SOURCE_DEFAULT
};
enum resource_type { RESOURCE_TOPIC = 2, RESOURCE_BROKER = 4 };

struct config_row {
    const char *name;
    int8_t type;
    const char *value, *synonym, *synonym_value, *dynamic, *allowed, *doc;
};
const struct config_row *config_topic_row(struct str name); /* NULL: unknown */
const struct config_row *config_topic_rows(size_t i);       /* by index; NULL past the end */
/* The topic's row whose values in general a broker's key sets, when it may be altered. */
const struct config_row *config_dynamic_row(struct str broker_key);
bool config_is_broker_key(struct str name);
/* What is wrong with a value, as Kafka says it; p NULL: nothing. */
struct str config_wrong(struct arena *a, const struct config_row *row, struct str name, struct str value);

/* Where a value comes from, the first wins; the last is Kafka's default, which may have another unit. */
struct config_chain {
    struct {
        const char *name;
        struct str value;
        int8_t source;
    } link[5];
    int n;
    struct str value;
    int8_t source;
};
/* own: the topic's, or NULL. */
void config_chain(struct broker *b, struct arena *a, const struct config_row *row, const struct log_config *own,
                  struct config_chain *out);

/* One altered value of the broker's: of all brokers or of this one. */
struct config_altered {
    char *key, *value; /* malloc'ed */
    bool all;
};
struct config_state {
    struct os_mutex *lock;
    VEC(struct config_altered) altered;
};

#endif
