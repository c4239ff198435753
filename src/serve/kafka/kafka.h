/*
 * kafka: the Kafka listener. Frames ↔ broker, on the loops.
 *
 *   socket ─▶ length word ─▶ frame ─▶ broker_request ─▶ respond (any thread) ─▶ the connection's loop ─▶ in order ─▶ socket
 *
 * A connection's requests run as they come (pipelining) and its answers leave in that order. At most 64 wait at a time;
 * beyond that the connection is read no more until one leaves. A frame's length is bounded by socket.request.max.bytes
 * (100 MiB); what cannot be read closes the connection with one line in the log, at most a few per second.
 * Record bytes of a Fetch go from the log's read buffers to the socket without a copy.
 * advertise: "HOST:PORT" that Metadata answers on this listener, or "auto" / NULL: the local address the client reached.
 */
#ifndef PENSTOCK_SERVE_KAFKA_H
#define PENSTOCK_SERVE_KAFKA_H

#include "broker/broker.h"
#include "serve/loop.h"

struct kafka_serve;

/* *port in: wanted (0: any), out: what it is. One call per listener. */
CHECK enum err kafka_serve_start(struct kafka_serve **out, struct broker *b, struct loop **loops, int nloops,
                                 const char *host, uint16_t *port, const char *advertise, struct fault *f);
/*
 * The order of a clean stop: loop_unlisten_all, loop_stop (every loop: connections close), broker_stop, then this, log_close.
 * Answers that come between loop_stop and broker_stop are dropped here, so this comes after broker_stop.
 */
void kafka_serve_free(struct kafka_serve *s);

#endif
