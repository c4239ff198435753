/* What the server and client halves of grpc share: text forms and the message frame. Private to wire/grpc*. */
#ifndef PENSTOCK_WIRE_GRPC_INT_H
#define PENSTOCK_WIRE_GRPC_INT_H

#include "base/buf.h"
#include "wire/grpc.h"

enum { GRPC_PREFIX = 5 }; /* one byte "compressed", four bytes length, big-endian */

/* Append text as a grpc-message value: bytes outside 0x20–0x7e and '%' as %XX. At most limit bytes, cut at a character. */
void grpc_percent_encode(struct buf *b, struct str text, size_t limit);
/* Decode in place; a broken escape is kept as it is. Returns the new length. */
size_t grpc_percent_decode(char *p, size_t n);
/* "250m", "3S" → milliseconds rounded up; -1 when it is no grpc-timeout. */
int64_t grpc_parse_timeout(struct str value);
/* Standard alphabet, no padding written, padding accepted. Decode in place; -1 when malformed. */
void grpc_base64_encode(struct buf *b, struct str bytes);
ptrdiff_t grpc_base64_decode(char *p, size_t n);

/* Message frames out of a byte stream: feed bytes, take messages. */
struct grpc_frames {
    struct buf b;
    size_t used; /* bytes of b that were taken as messages */
};
enum grpc_frame_state { GRPC_FRAME_NONE, GRPC_FRAME_MESSAGE, GRPC_FRAME_COMPRESSED, GRPC_FRAME_TOO_LARGE };
/* The next whole message into *m (a view, gone at the next feed), or why there is none. */
enum grpc_frame_state grpc_frames_next(struct grpc_frames *fr, struct str *m);
/* Drop taken bytes; call before appending more. */
void grpc_frames_compact(struct grpc_frames *fr);

#endif
