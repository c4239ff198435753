/* rdkafka_int: a librdkafka handle, as the driver's two files see it. */
#ifndef PENSTOCK_FOREIGN_RDKAFKA_INT_H
#define PENSTOCK_FOREIGN_RDKAFKA_INT_H

#include "foreign/foreign_int.h"

#include <librdkafka/rdkafka.h>

struct foreign_client {
    rd_kafka_t *rk;
    struct foreign_client_options o;
    rd_kafka_topic_t *topic; /* of the last record produced */
    struct os_mutex *lock;
    char trouble[400]; /* the last error of a connection */
    bool is_refused;   /* it was about who we are: trying again does not help */
};

enum foreign_status rdkafka_answer(struct foreign_client *k, rd_kafka_resp_err_t code, const char *text,
                                   struct foreign_answer *why);
enum foreign_status rdkafka_error(struct foreign_client *k, rd_kafka_error_t *error, struct foreign_answer *why);
void rdkafka_delivered(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque);

enum foreign_status rdkafka_produce(struct foreign_client *k, const char *topic, int32_t partition, struct str key,
                                    struct str value, const struct foreign_header *headers, size_t nheaders,
                                    int64_t timestamp_ms, struct foreign_answer *why);
void rdkafka_serve(struct foreign_client *k, int64_t ms);
void rdkafka_flush(struct foreign_client *k, int64_t ms);
int rdkafka_unsent(struct foreign_client *k);
void rdkafka_purge(struct foreign_client *k);
enum foreign_status rdkafka_init(struct foreign_client *k, int64_t ms, struct foreign_answer *why);
enum foreign_status rdkafka_begin(struct foreign_client *k, struct foreign_answer *why);
enum foreign_status rdkafka_send_offset(struct foreign_client *k, const char *group, const char *topic,
                                        int32_t partition, int64_t offset, struct str metadata, int64_t ms,
                                        struct foreign_answer *why);
enum foreign_status rdkafka_end(struct foreign_client *k, bool commit, int64_t ms, struct foreign_answer *why);
enum foreign_status rdkafka_group_offset(struct foreign_client *k, const char *group, const char *topic,
                                         int32_t partition, int64_t ms, struct arena *a, int64_t *offset,
                                         struct str *metadata, struct foreign_answer *why);

#endif
