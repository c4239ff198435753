/*
 * grpc: the gRPC protocol over HTTP/2, as a server that owns no socket and a small blocking client.
 *
 * The server half turns bytes that a connection received into calls, and the answers of calls into bytes to send:
 *
 *      bytes in ──grpc_feed──▶ HTTP/2 frames ──▶ messages ──▶ handler->on_message / on_end
 *      bytes out ◀──write()── HTTP/2 frames ◀── queue of a call ◀── grpc_send … grpc_finish
 *
 * It neither reads a clock nor waits: the owner (serve/connect, on a loop) feeds it, calls grpc_flush, keeps the
 * deadline that grpc_timeout_ms tells, and ends a call that is late with grpc_finish.
 *
 * Bounds: a message in ≤ LIMIT_GRPC_MESSAGE_BYTES (Spark's 128 MiB), grown as bytes arrive and never by the length announced;
 * the unfinished messages of one connection ≤ 256 MiB, of the process what BUDGET_INPUT has (RESOURCE_EXHAUSTED beyond);
 * ≤ 100 calls at once per connection; header lists ≤ 16 KiB; resets, pings and settings by nghttp2's rate limits. What is queued
 * for a call waits for the client's HTTP/2 window: the owner looks at grpc_queued and goes on when on_drained is
 * called. Compressed messages are refused (UNIMPLEMENTED, grpc-accept-encoding: identity), as gRPC demands of who has
 * no codec.
 *
 * Ownership: a grpc_conn belongs to one thread, its calls to the conn. A call lives from on_call until on_gone returns.
 * Sources: RFC 9113; gRPC over HTTP2 (grpc/grpc, doc/PROTOCOL-HTTP2.md): framing, percent-encoding of grpc-message,
 * grpc-timeout, status codes.
 */
#ifndef PENSTOCK_WIRE_GRPC_H
#define PENSTOCK_WIRE_GRPC_H

#include "base/arena.h"
#include "base/fault.h"
#include "base/limit.h"

enum grpc_code {
    GRPC_OK = 0,
    GRPC_CANCELLED = 1,
    GRPC_UNKNOWN = 2,
    GRPC_INVALID_ARGUMENT = 3,
    GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_NOT_FOUND = 5,
    GRPC_PERMISSION_DENIED = 7,
    GRPC_RESOURCE_EXHAUSTED = 8,
    GRPC_FAILED_PRECONDITION = 9,
    GRPC_UNIMPLEMENTED = 12,
    GRPC_INTERNAL = 13,
    GRPC_UNAVAILABLE = 14,
};

/* -- server ----------------------------------------------------------------------------------------------------- */
struct grpc_conn;
struct grpc_call;

struct grpc_handler {
    /* A call has come: look at grpc_path. Set its state with grpc_set_state, or refuse it with grpc_finish. */
    void (*on_call)(void *arg, struct grpc_call *call);
    /* One whole message; its bytes live until the function returns. */
    void (*on_message)(struct grpc_call *call, struct str message);
    /* The client has sent all its messages. */
    void (*on_end)(struct grpc_call *call);
    /* The queue of the call went empty after having held bytes. */
    void (*on_drained)(struct grpc_call *call);
    /* The call is over: answered, reset by the client, or its connection is gone. The last use of the pointer. */
    void (*on_gone)(struct grpc_call *call);
};

/* write() takes bytes to send (copied by it); room() says how many it likes to have now (0: call grpc_flush later). */
struct grpc_conn *grpc_conn_new(const struct grpc_handler *handler, void *arg,
                                void (*write)(void *io, const void *p, size_t n), size_t (*room)(void *io), void *io);
void grpc_conn_free(struct grpc_conn *c); /* on_gone for every call that is left */
/* Bytes from the peer, all used up. False: the connection is to be closed once what was written is sent. */
/* Bytes of messages that are not whole, taken from BUDGET_INPUT. */
size_t grpc_unfinished(const struct grpc_conn *c);
/* Bytes of answers that the client's windows keep here, taken from BUDGET_OUTPUT. */
size_t grpc_unsent(const struct grpc_conn *c);
bool grpc_feed(struct grpc_conn *c, const void *p, size_t n);
/* Write what may be written. False as in grpc_feed (also after GOAWAY when the last call is over). */
bool grpc_flush(struct grpc_conn *c);
/* Take no new calls; the ones under way go on (GOAWAY): the first step of a clean stop. */
void grpc_goaway(struct grpc_conn *c);

struct str grpc_path(const struct grpc_call *call);    /* "/spark.connect.SparkConnectService/Config" */
int64_t grpc_timeout_ms(const struct grpc_call *call); /* the client's grpc-timeout, rounded up; -1: none */
void *grpc_state(struct grpc_call *call);
void grpc_set_state(struct grpc_call *call, void *state);
uint64_t grpc_call_id(const struct grpc_call *call);                /* unique in the process */
struct grpc_call *grpc_find(struct grpc_conn *c, uint64_t call_id); /* NULL when it is gone */

/* Queue one message (copied). Nothing happens on a call that was finished. */
void grpc_send(struct grpc_call *call, struct str message);
size_t grpc_queued(const struct grpc_call *call); /* bytes queued and not yet in frames */
/* End the call after what is queued: status, text (cut at a UTF-8 boundary, percent-encoded) and the serialized
 * google.rpc.Status of grpc-status-details-bin ({0}: none). Trailers over LIMIT_GRPC_TRAILER_BYTES lose the details' tail
 * first: the caller keeps details small (grpc_error_details does). */
void grpc_finish(struct grpc_call *call, enum grpc_code code, struct str message, struct str details);

/* -- status details: google.rpc.Status with one google.rpc.ErrorInfo --------------------------------------------- */
enum { GRPC_ERROR_PAIRS = 8 };
struct grpc_error {
    int code;
    struct str message, reason, domain;
    int npairs;
    struct str key[GRPC_ERROR_PAIRS], value[GRPC_ERROR_PAIRS];
};
/* The serialized form, in the arena. */
struct str grpc_error_encode(struct arena *a, const struct grpc_error *e);
/* False when bytes are no google.rpc.Status; reason is empty when it has no ErrorInfo. Strings live in the arena. */
bool grpc_error_decode(struct arena *a, struct str bytes, struct grpc_error *e);

/* -- client: one connection, one call at a time, blocking (penstock sql) ------------------------------------------ */
struct grpc_client;

struct grpc_result { /* how a call ended; texts live until the next call or close */
    int code;
    struct str message, details;
};

/* ERR_UNREACHABLE. timeout_ms bounds the connect and every wait for bytes after it (0: for ever). */
CHECK enum err grpc_client_open(struct grpc_client **out, const char *host, uint16_t port, int timeout_ms,
                                struct fault *f);
void grpc_client_close(struct grpc_client *c); /* NULL allowed; a call under way is reset */
/* Send one request and end the sending side. */
CHECK enum err grpc_client_call(struct grpc_client *c, const char *path, struct str request, struct fault *f);
/* The next message of the answer, living until the next use of the client; *got false: the call is over, see *result.
 */
CHECK enum err grpc_client_next(struct grpc_client *c, struct str *message, bool *got, struct grpc_result *result,
                                struct fault *f);
/* Reset the call under way (Ctrl-C). */
void grpc_client_cancel(struct grpc_client *c);

#endif
