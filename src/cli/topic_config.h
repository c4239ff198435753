/*
 * topic_config: the parts of `penstock topic` that show and alter settings and delete records. Requests are Kafka's
 * (IncrementalAlterConfigs, DescribeConfigs, DeleteRecords): they work on a Kafka cluster as they do on penstock.
 */
#ifndef PENSTOCK_CLI_TOPIC_CONFIG_H
#define PENSTOCK_CLI_TOPIC_CONFIG_H

#include "cli/cli.h"
#include "cli/kclient.h"
#include "cli/output.h"

enum { TOPIC_CONFIG_SET, TOPIC_CONFIG_DELETE, TOPIC_CONFIG_APPEND, TOPIC_CONFIG_SUBTRACT, TOPIC_CONFIG_KINDS };

struct topic_config_args {
    struct cli_list change[TOPIC_CONFIG_KINDS]; /* KEY=VALUE, or KEY to delete; none: show */
    bool all;                                   /* defaults, too */
};
struct topic_trim_args {
    int64_t before, partition; /* -1: the end; all partitions */
};
CHECK enum err topic_config(struct kclient *k, struct arena *a, struct str name, const struct topic_config_args *args,
                            enum output_format format, struct fault *f);
CHECK enum err topic_trim(struct kclient *k, struct arena *a, struct str name, const struct topic_trim_args *args,
                          enum output_format format, int64_t timeout_ms, struct fault *f);

#endif
