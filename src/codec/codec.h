/*
 * codec: checksums and compression, as Kafka's record batches use them.
 *
 * crc32c is the CRC-32C (Castagnoli, reflected 0x82F63B78) of RFC 3720; it picks the processor's instructions at
 * start-up and has a portable twin that gives the same answer on every machine.
 *
 * Compression is a thin wrapper over zlib, snappy, lz4 and zstd in the framings that Kafka's clients write and read:
 *
 *   1 gzip     RFC 1952, several members allowed
 *   2 snappy   xerial framing, as the Java client writes it: "\x82SNAPPY\0", version i32 1, compatible i32 1, then
 * blocks of i32 length + raw snappy of at most 32 KiB; a bare snappy block (librdkafka) is read as well 3 lz4      the
 * LZ4 frame format, independent blocks of 64 KiB 4 zstd     RFC 8878 frames
 *
 * Output goes to the end of a caller's buf and is bounded by `max_bytes`: a small input cannot ask for more memory than
 * that (ERR_LIMIT). What is damaged is ERR_FRAME. Library contexts are kept and reused; any thread may call.
 */
#ifndef PENSTOCK_CODEC_CODEC_H
#define PENSTOCK_CODEC_CODEC_H

#include "base/buf.h"
#include "base/fault.h"

/* The CRC of p[0..n) appended to bytes whose CRC is `crc` (0 at first). */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);
/* The CRC of two runs of bytes one behind the other, from the CRC of each and the length of the second: a product with x^(8n) mod P
 * (as zlib's crc32_combine), which costs about what 2 KiB of hashing do. */
uint32_t crc32c_joined(uint32_t first, uint32_t second, uint64_t second_n);
/* The implementations by name, for tests and benchmarks: false past the end. An absent one has fn NULL. */
struct crc32c_twin {
    const char *name;
    uint32_t (*fn)(uint32_t crc, const void *p, size_t n);
};
bool crc32c_twin(size_t i, struct crc32c_twin *out);

enum codec { CODEC_NONE, CODEC_GZIP, CODEC_SNAPPY, CODEC_LZ4, CODEC_ZSTD, CODEC_COUNT };
const char *codec_name(int codec); /* "none", "gzip" …; NULL outside the list */

/* Append the compressed form of `in` to out. ERR_NOMEM; ERR_UNSUPPORTED for a codec outside the list. */
CHECK enum err codec_compress(int codec, struct str in, struct buf *out, struct fault *f);
/* Append what `in` holds, at most max_bytes of it: ERR_LIMIT beyond, ERR_FRAME for damage (out then has a part of it).
 */
CHECK enum err codec_decompress(int codec, struct str in, size_t max_bytes, struct buf *out, struct fault *f);

/* What a client compressed, in memory that is counted (base/budget.h): at first as much as honest data needs, more in steps. */
struct unpacked {
    struct buf bytes;
    size_t held; /* of BUDGET_UNPACKED */
};
/* ERR_LIMIT: more than max_bytes, or than all that may be unpacked at once. ERR_AGAIN: others hold too much now. On an error
 * there is nothing to free. */
CHECK enum err codec_unpack(int codec, struct str in, size_t max_bytes, struct unpacked *out, struct fault *f);
void codec_unpacked_free(struct unpacked *u);

#endif
