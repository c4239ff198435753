#include "codec/codec.h"

#include "base/budget.h"
#include "base/memory.h"

#include <lz4frame.h>
#include <snappy-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

enum { ZSTD_KEPT = 16 << 20, GUESS_RATIO = 16, GUESS_STEP = 8 };
enum { STEP_BYTES = 64 << 10, XERIAL_HEADER = 16, XERIAL_BLOCK = 32 << 10, POOL = 8 };

static const char *const NAMES[CODEC_COUNT] = {"none", "gzip", "snappy", "lz4", "zstd"};
static const char XERIAL[XERIAL_HEADER] = {(char)0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1};

const char *codec_name(int codec)
{
    return codec >= 0 && codec < CODEC_COUNT ? NAMES[codec] : NULL;
}

static enum err damaged(struct fault *f, int codec, const char *why)
{
    char what[32];
    snprintf(what, sizeof what, "%s data", NAMES[codec]);
    return FAULT(f, ERR_FRAME, {"what", what}, {"detail", why});
}

static enum err nomem(struct fault *f)
{
    return FAULT(f, ERR_NOMEM, {"what", "compression"});
}

static enum err too_big(struct fault *f, size_t max_bytes)
{
    char text[32];
    snprintf(text, sizeof text, "%zu bytes", max_bytes);
    return FAULT(f, ERR_LIMIT, {"what", "Decompressed data"}, {"limit", text});
}

/* -- library contexts: slots that a call takes out and puts back; when all are out, a new one is made and freed -------
 */
struct slots {
    void *p[POOL];
};
static struct slots zstd_in, zstd_out, lz4_in;

static void *take(struct slots *s)
{
    for (int i = 0; i < POOL; i++) {
        void *p = __atomic_exchange_n(&s->p[i], NULL, __ATOMIC_ACQ_REL);
        if (p)
            return p;
    }
    return NULL;
}

static bool give(struct slots *s, void *p)
{
    for (int i = 0; i < POOL; i++) {
        void *none = NULL;
        if (__atomic_compare_exchange_n(&s->p[i], &none, p, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            return true;
    }
    return false;
}

/* -- growing output: `room` bytes more, never past max ------------------------------------------------------------- */
struct sink {
    struct buf *out;
    size_t start, max;
};

/* Room for the next piece; *n says how much. A last byte beyond max shows that the data does not fit. */
static char *sink_room(struct sink *s, size_t *n)
{
    size_t used = s->out->n - s->start, want = used < STEP_BYTES ? STEP_BYTES : used;
    if (want > s->max + 1 - used)
        want = s->max + 1 - used;
    if (!buf_reserve(s->out, want))
        return NULL;
    *n = want;
    return s->out->p + s->out->n;
}

static enum err sink_took(struct sink *s, size_t n, struct fault *f)
{
    s->out->n += n;
    return s->out->n - s->start > s->max ? too_big(f, s->max) : ERR_OK;
}

/* -- gzip ------------------------------------------------------------------------------------------------------------
 */
static enum err gzip_pack(struct str in, struct buf *out, struct fault *f)
{
    z_stream z = {0};
    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return nomem(f);
    size_t bound = deflateBound(&z, in.n);
    enum err e = ERR_OK;
    if (buf_reserve(out, bound)) {
        z.next_in = (Bytef *)(uintptr_t)in.p;
        z.avail_in = (uInt)in.n;
        z.next_out = (Bytef *)out->p + out->n;
        z.avail_out = (uInt)bound;
        e = deflate(&z, Z_FINISH) == Z_STREAM_END ? ERR_OK : fault_internal(f, "deflate stopped early");
        out->n += bound - z.avail_out;
    } else {
        e = nomem(f);
    }
    deflateEnd(&z);
    return e;
}

static enum err gzip_step(z_stream *z, struct sink *s, bool *end, struct fault *f)
{
    size_t room;
    char *p = sink_room(s, &room);
    if (!p)
        return nomem(f);
    z->next_out = (Bytef *)p;
    z->avail_out = (uInt)room;
    int r = inflate(z, Z_NO_FLUSH);
    *end = r == Z_STREAM_END;
    if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
        return r == Z_MEM_ERROR ? nomem(f) : damaged(f, CODEC_GZIP, z->msg ? z->msg : "bad stream");
    size_t made = room - z->avail_out;
    if (r == Z_BUF_ERROR && !made && !z->avail_in)
        return damaged(f, CODEC_GZIP, "cut short");
    return sink_took(s, made, f);
}

static enum err gzip_unpack(struct str in, struct sink *s, struct fault *f)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)in.p, .avail_in = (uInt)in.n};
    if (inflateInit2(&z, 15 + 16) != Z_OK)
        return nomem(f);
    enum err e = ERR_OK;
    bool end = false;
    while (!e && !(end && !z.avail_in)) {
        if (end && inflateReset(&z) != Z_OK)
            e = nomem(f);
        else
            e = gzip_step(&z, s, &end, f);
    }
    inflateEnd(&z);
    return e;
}

/* -- snappy ----------------------------------------------------------------------------------------------------------
 */
static uint32_t be32(const char *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return __builtin_bswap32(v);
}

/* snappy is C++: its operator new would throw through C where it finds no memory. Asked first, we end by name instead. */
void (*new_handler_set(void (*fn)(void)))(void) __asm__("_ZSt15set_new_handlerPFvvE"); /* std::set_new_handler */

static void new_failed(void)
{
    memory_out("compression");
}

__attribute__((constructor)) static void new_may_fail(void)
{
    new_handler_set(new_failed);
}

static enum err snappy_pack(struct str in, struct buf *out, struct fault *f)
{
    buf_put(out, XERIAL, XERIAL_HEADER);
    for (size_t at = 0; at < in.n; at += XERIAL_BLOCK) {
        size_t n = in.n - at < XERIAL_BLOCK ? in.n - at : XERIAL_BLOCK, packed = snappy_max_compressed_length(n);
        if (!buf_reserve(out, packed + 4))
            return nomem(f);
        if (snappy_compress(in.p + at, n, out->p + out->n + 4, &packed) != SNAPPY_OK)
            return fault_internal(f, "snappy refused to compress");
        uint32_t len = __builtin_bswap32((uint32_t)packed);
        memcpy(out->p + out->n, &len, 4);
        out->n += packed + 4;
    }
    return out->bad ? nomem(f) : ERR_OK;
}

static enum err snappy_block(struct str in, struct sink *s, struct fault *f)
{
    size_t n;
    if (snappy_uncompressed_length(in.p, in.n, &n) != SNAPPY_OK)
        return damaged(f, CODEC_SNAPPY, "bad length");
    if (n > s->max - (s->out->n - s->start))
        return too_big(f, s->max);
    if (n / 64 > in.n) /* no element of the format yields more than 64 bytes from 3: the length lies */
        return damaged(f, CODEC_SNAPPY, "impossible length");
    if (!buf_reserve(s->out, n ? n : 1))
        return nomem(f);
    if (snappy_uncompress(in.p, in.n, s->out->p + s->out->n, &n) != SNAPPY_OK)
        return damaged(f, CODEC_SNAPPY, "bad block");
    return sink_took(s, n, f);
}

static enum err snappy_unpack(struct str in, struct sink *s, struct fault *f)
{
    if (in.n < XERIAL_HEADER || memcmp(in.p, XERIAL, 8))
        return snappy_block(in, s, f);
    in = str_sub(in, XERIAL_HEADER, in.n);
    while (in.n) {
        if (in.n < 4 || be32(in.p) > in.n - 4)
            return damaged(f, CODEC_SNAPPY, "cut short");
        size_t n = be32(in.p);
        enum err e = snappy_block(str_make(in.p + 4, n), s, f);
        if (e)
            return e;
        in = str_make(in.p + 4 + n, in.n - 4 - n);
    }
    return ERR_OK;
}

/* -- lz4 -------------------------------------------------------------------------------------------------------------
 */
static enum err lz4_pack(struct str in, struct buf *out, struct fault *f)
{
    LZ4F_preferences_t prefs = {.frameInfo = {.blockSizeID = LZ4F_max64KB, .blockMode = LZ4F_blockIndependent}};
    size_t bound = LZ4F_compressFrameBound(in.n, &prefs);
    if (!buf_reserve(out, bound))
        return nomem(f);
    size_t n = LZ4F_compressFrame(out->p + out->n, bound, in.p, in.n, &prefs);
    if (LZ4F_isError(n))
        return fault_internal(f, "lz4: %s", LZ4F_getErrorName(n));
    out->n += n;
    return ERR_OK;
}

static enum err lz4_run(LZ4F_dctx *d, struct str in, struct sink *s, struct fault *f)
{
    size_t hint = 1;
    while (in.n || hint) {
        size_t room, took = in.n;
        char *p = sink_room(s, &room);
        if (!p)
            return nomem(f);
        size_t before = in.n;
        hint = LZ4F_decompress(d, p, &room, in.p, &took, NULL);
        if (LZ4F_isError(hint) && !strcmp(LZ4F_getErrorName(hint), "ERROR_allocation_failed"))
            return nomem(f);
        if (LZ4F_isError(hint))
            return damaged(f, CODEC_LZ4, LZ4F_getErrorName(hint));
        in = str_make(in.p + took, in.n - took);
        enum err e = sink_took(s, room, f);
        if (e)
            return e;
        if (hint && !room && before == in.n)
            return damaged(f, CODEC_LZ4, "cut short");
    }
    return ERR_OK;
}

static enum err lz4_unpack(struct str in, struct sink *s, struct fault *f)
{
    LZ4F_dctx *d = take(&lz4_in);
    if (!d && LZ4F_isError(LZ4F_createDecompressionContext(&d, LZ4F_VERSION)))
        return nomem(f);
    enum err e = lz4_run(d, in, s, f);
    LZ4F_resetDecompressionContext(d);
    if (!give(&lz4_in, d))
        LZ4F_freeDecompressionContext(d);
    return e;
}

/* -- zstd ------------------------------------------------------------------------------------------------------------
 */
static enum err zstd_pack(struct str in, struct buf *out, struct fault *f)
{
    size_t bound = ZSTD_compressBound(in.n);
    ZSTD_CCtx *c = take(&zstd_out);
    if ((!c && !(c = ZSTD_createCCtx())) || !buf_reserve(out, bound)) {
        ZSTD_freeCCtx(c);
        return nomem(f);
    }
    size_t n = ZSTD_compress2(c, out->p + out->n, bound, in.p, in.n);
    enum err e = ZSTD_isError(n) ? fault_internal(f, "zstd: %s", ZSTD_getErrorName(n)) : ERR_OK;
    if (!e)
        out->n += n;
    if (!give(&zstd_out, c))
        ZSTD_freeCCtx(c);
    return e;
}

static enum err zstd_run(ZSTD_DCtx *d, struct str in, struct sink *s, struct fault *f)
{
    ZSTD_inBuffer from = {in.p, in.n, 0};
    size_t left = 1;
    while (from.pos < from.size || left) {
        size_t room, before = from.pos;
        char *p = sink_room(s, &room);
        if (!p)
            return nomem(f);
        ZSTD_outBuffer to = {p, room, 0};
        left = ZSTD_decompressStream(d, &to, &from);
        if (ZSTD_isError(left) && ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation)
            return nomem(f);
        if (ZSTD_getErrorCode(left) == ZSTD_error_frameParameter_windowTooLarge)
            return too_big(f, s->max);
        if (ZSTD_isError(left))
            return damaged(f, CODEC_ZSTD, ZSTD_getErrorName(left));
        enum err e = sink_took(s, to.pos, f);
        if (e)
            return e;
        if (left && !to.pos && from.pos == before)
            return damaged(f, CODEC_ZSTD, "cut short");
    }
    return ERR_OK;
}

/* The decoder holds a window beside the output. Data that fits into `max` needs none that is larger than twice that; 4 MiB are
 * what encoders announce for little data too, 128 MiB the bound of the reference decoder. */
static int window_log(size_t max)
{
    int n = 22;
    while (n < 27 && (size_t)1 << n < max)
        n++;
    return n;
}

static enum err zstd_unpack(struct str in, struct sink *s, struct fault *f)
{
    ZSTD_DCtx *d = take(&zstd_in);
    if (!d && !(d = ZSTD_createDCtx()))
        return nomem(f);
    ZSTD_DCtx_setParameter(d, ZSTD_d_windowLogMax, window_log(s->max));
    enum err e = zstd_run(d, in, s, f);
    ZSTD_DCtx_reset(d, ZSTD_reset_session_only);
    if (ZSTD_sizeof_DCtx(d) > ZSTD_KEPT || !give(&zstd_in, d))
        ZSTD_freeDCtx(d);
    return e;
}

/* -- the table -------------------------------------------------------------------------------------------------------
 */
static enum err none_pack(struct str in, struct buf *out, struct fault *f)
{
    buf_str(out, in);
    return out->bad ? nomem(f) : ERR_OK;
}

static enum err none_unpack(struct str in, struct sink *s, struct fault *f)
{
    return in.n > s->max ? too_big(f, s->max) : none_pack(in, s->out, f);
}

static const struct {
    enum err (*pack)(struct str in, struct buf *out, struct fault *f);
    enum err (*unpack)(struct str in, struct sink *s, struct fault *f);
} CODECS[CODEC_COUNT] = {
    {none_pack, none_unpack}, {gzip_pack, gzip_unpack}, {snappy_pack, snappy_unpack},
    {lz4_pack, lz4_unpack},   {zstd_pack, zstd_unpack},
};

static enum err known(int codec, struct str in, struct fault *f)
{
    if (!codec_name(codec))
        return FAULT(f, ERR_UNSUPPORTED, {"feature", "this compression type"},
                     {"hint", "Use none, gzip, snappy, lz4 or zstd."});
    if (in.n > UINT32_MAX / 2)
        return FAULT(f, ERR_LIMIT, {"what", "A compressed block"}, {"limit", "2 GiB"});
    return ERR_OK;
}

enum err codec_compress(int codec, struct str in, struct buf *out, struct fault *f)
{
    enum err e = known(codec, in, f);
    return e ? e : CODECS[codec].pack(in, out, f);
}

enum err codec_decompress(int codec, struct str in, size_t max_bytes, struct buf *out, struct fault *f)
{
    struct sink s = {out, out->n, max_bytes < SIZE_MAX / 4 ? max_bytes : SIZE_MAX / 4};
    enum err e = known(codec, in, f);
    return e ? e : CODECS[codec].unpack(in, &s, f);
}

enum err codec_unpack(int codec, struct str in, size_t max_bytes, struct unpacked *out, struct fault *f)
{
    size_t all = budget_size(BUDGET_UNPACKED) / 4 * 3, most = max_bytes < all ? max_bytes : all;
    size_t want = in.n < most / GUESS_RATIO ? in.n * GUESS_RATIO + STEP_BYTES : most;
    *out = (struct unpacked){0};
    for (;;) {
        want = want < most ? want : most;
        if (!budget_take(BUDGET_UNPACKED, want))
            return FAULT(f, ERR_AGAIN, {"what", "memory for compressed batches"});
        out->held = want;
        out->bytes.limit = BUF_ASKED;
        enum err e = codec_decompress(codec, in, want, &out->bytes, f);
        if (!e)
            return ERR_OK;
        codec_unpacked_free(out);
        if (e != ERR_LIMIT || want == most)
            return e;
        want = want < most / GUESS_STEP ? want * GUESS_STEP : most;
    }
}

void codec_unpacked_free(struct unpacked *u)
{
    buf_free(&u->bytes);
    budget_give(BUDGET_UNPACKED, u->held);
    u->held = 0;
}
