/*
 * proto: looking at protobuf bytes before protobuf-c unpacks them, and unpacking into an arena.
 *
 * protobuf-c recurses without a limit, cuts strings at a NUL, ignores what it does not know, and checks no UTF-8. So
 * every message from a client is walked first, over its descriptor, without recursion:
 *
 *      bytes ──proto_check──▶ depth, lengths, wire types, UTF-8, unknown fields ──proto_unpack──▶ structs in an arena
 *
 * Unknown fields are ignored in an envelope (a newer client may add some) and refused, by path and number, inside the
 * messages named strict (a plan or a command with a part that we skip would compute something else). Strict is
 * inherited by all that is inside. The walk costs one pass; its stack is an array of LIMIT_PROTO_DEPTH ends.
 */
#ifndef PENSTOCK_WIRE_PROTO_H
#define PENSTOCK_WIRE_PROTO_H

#include "base/arena.h"
#include "base/fault.h"
#include "base/limit.h"

#include <protobuf-c/protobuf-c.h>

/* Check `bytes` as a message of type `desc`. `strict` lists message names ("spark.connect.Plan"), ends with NULL.
 * ERR_FRAME malformed, ERR_LIMIT too deep or too large, ERR_UNSUPPORTED an unknown field inside a strict message. */
CHECK enum err proto_check(const ProtobufCMessageDescriptor *desc, struct str bytes, const char *const *strict,
                           struct fault *f);
/* proto_check, then unpack with everything in the arena (never freed one by one). ERR_NOMEM over the arena's limit. */
CHECK enum err proto_unpack(struct arena *a, const ProtobufCMessageDescriptor *desc, struct str bytes,
                            const char *const *strict, ProtobufCMessage **out, struct fault *f);
/* Serialized bytes of m, in the arena. */
struct str proto_pack(struct arena *a, const ProtobufCMessage *m);

#endif
