/*
 * port: one client's connection to the broker under simulation. Requests go in as encoded frames, answers are believed only
 * as the bytes that come out.
 */
#ifndef PENSTOCK_TESTS_SIM_PORT_H
#define PENSTOCK_TESTS_SIM_PORT_H

#include "broker/broker.h"
#include "wire/kafka.h"

struct port {
    struct broker_conn *conn;
    struct os_mutex *lock;
    struct os_cond *answered;
    int32_t correlation;
};
void port_open(struct port *p, struct broker *b);
void port_close(struct port *p);
/* Send a request in this version, wait, decode the answer's bytes into *response. Ends the process when they do not decode. */
void port_call(struct port *p, enum kafka_key key, int16_t version, const void *request, struct arena *a,
               void *response);
/* The same without waiting: fn gets the decoded answer on the broker's thread, in an arena that ends with the call. */
void port_send(struct port *p, enum kafka_key key, int16_t version, const void *request,
               void (*fn)(void *arg, const void *response), void *arg);

#endif
