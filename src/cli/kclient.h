/*
 * kclient: a small blocking Kafka client, for `penstock topic`, `produce` and `consume`.
 *
 *   kclient_open(bootstrap) ─▶ kclient_topic (metadata, who leads what) ─▶ kclient_call(leader, request) ─▶ response
 *
 * One request is under way at a time; connections to brokers are opened when first needed and kept. It speaks one version
 * of each API, chosen so that Kafka 2.4 to 4.x and penstock all answer it. Responses and their record bytes live in the
 * caller's arena. Every wait ends after the timeout: ERR_TIMEOUT; no connection: ERR_UNREACHABLE.
 */
#ifndef PENSTOCK_CLI_KCLIENT_H
#define PENSTOCK_CLI_KCLIENT_H

#include "wire/kafka.h"

struct kclient;

CHECK enum err kclient_open(struct kclient **out, const char *bootstrap, int timeout_ms, struct fault *f);
void kclient_close(struct kclient *k); /* NULL allowed */

enum { KCLIENT_ANY = -1 }; /* the bootstrap connection */
/* Send a request (a struct kafka_…_request) of KAFKA_key to the broker `node`, wait, decode the answer into *response. */
CHECK enum err kclient_call(struct kclient *k, int32_t node, enum kafka_key key, const void *request, struct arena *a,
                            void *response, struct fault *f);
/* The same without an answer: Produce with acks=0. */
CHECK enum err kclient_send(struct kclient *k, int32_t node, enum kafka_key key, const void *request, struct fault *f);

/* Metadata of one topic (partitions in order), which also teaches the client the brokers' addresses. `create`: let the
 * broker create it. ERR_NOTFOUND when it is not there. */
CHECK enum err kclient_topic(struct kclient *k, struct str name, bool create, struct arena *a,
                             struct kafka_metadata_topic **out, struct fault *f);
/* All topics. */
CHECK enum err kclient_topics(struct kclient *k, struct arena *a, struct kafka_metadata_response **out,
                              struct fault *f);
/* The broker that keeps a group's offsets; waits while the cluster is still choosing one. */
CHECK enum err kclient_coordinator(struct kclient *k, struct str group, int32_t *node, struct fault *f);
/* A Kafka error code as a fault: "TOPIC: UNKNOWN_TOPIC_OR_PARTITION: …"; ERR_OK for 0. */
CHECK enum err kclient_check(struct str what, int16_t code, struct str message, struct fault *f);

/* Where a partition begins (timestamp -2) or ends (-1), or the first offset at or after a time; -1 when there is none. */
CHECK enum err kclient_offset(struct kclient *k, struct str topic, const struct kafka_metadata_partition *p,
                              int64_t timestamp_ms, int64_t *offset, struct fault *f);

#endif
