/*
 * client: a Kafka client's connection in the simulated network: real frames over a socket that may be slow, be cut or go
 * silent. No answer in time, an end of stream, a reset: all the same, the connection is given up, and what was asked is
 * unknown. Requests may be sent ahead; answers come in order.
 */
#ifndef PENSTOCK_TESTS_SIM_CLIENT_H
#define PENSTOCK_TESTS_SIM_CLIENT_H

#include "wire/kafka.h"

struct client {
    int fd, poller;         /* fd -1: not connected */
    int32_t sent, received; /* correlation ids */
    int timeout_ms;
    char *in;
    size_t in_n, in_cap;
};
void client_init(struct client *c, int timeout_ms);
void client_free(struct client *c);
void client_drop(struct client *c);
/* Connect if need be, and send. False: it did not work, and there is no connection. */
bool client_send(struct client *c, enum kafka_key key, int16_t version, const void *request);
/* The answer to the oldest request without one, which was this. */
bool client_receive(struct client *c, enum kafka_key key, int16_t version, struct arena *a, void *response);
bool client_call(struct client *c, enum kafka_key key, int16_t version, const void *request, struct arena *a,
                 void *response);

#endif
