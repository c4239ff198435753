/*
 * foreign_memory: Kafka clusters in memory, in librdkafka's place (foreign_use_memory): for unit tests and the simulator.
 *
 * A cluster is known by its bootstrap text and exists from its first mention. It keeps topics, records, transactions with their markers,
 * fencing, groups' offsets; tests append, delete, cut and break through the calls below. No threads, no clock of its own.
 */
#ifndef PENSTOCK_FOREIGN_FOREIGN_MEMORY_H
#define PENSTOCK_FOREIGN_FOREIGN_MEMORY_H

#include "foreign/foreign.h"

void memory_reset(void); /* forget all clusters; no client may be open */
void memory_topic(const char *cluster, const char *topic, int32_t partitions); /* replaces one of that name */
void memory_topic_delete(const char *cluster, const char *topic);
int64_t memory_append(const char *cluster, const char *topic, int32_t partition, const char *key, const char *value);
/* A transaction's records, marker included; leaves it open when `end` is 'o', else 'c'ommit or 'a'bort. */
void memory_transaction(const char *cluster, const char *topic, int32_t partition, const char *const *values, int n,
                        char end);
void memory_cut(const char *cluster, const char *topic, int32_t partition, int64_t log_start);
void memory_id(const char *cluster, const char *id); /* what it says its id is */
void memory_down(const char *cluster, bool is_down); /* nobody answers */
/* The next `n` produced records are refused with this text. */
void memory_refuse(const char *cluster, int n, const char *text);
/* Committed value of record `i` as a reader with read_committed sees it; false: there are fewer. */
bool memory_value(const char *cluster, const char *topic, int32_t partition, int i, char out[256]);

#endif
