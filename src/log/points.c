/*
 * DIR/recovery-points: u32 magic, u32 CRC of what follows, u32 version, u32 clean, u64 live generation, u64 number of its
 * first frame, u64 count, then per partition 16 bytes topic id, u32 number, u32 1 when its mark has producers, i64 recovery
 * point, i64 log start, i64 mark (-1: none), u64 its position, u32 index entries, u32 time index entries. Little-endian.
 * Version 1 had no marks; a start reads its segments once.
 */
#include "codec/codec.h"
#include "log/log_int.h"

#include <stdio.h>

enum { MAGIC = 0x50525350, VERSION = 2, HEAD = 40, ENTRY_1 = 40, ENTRY = 64, POINTS_LIMIT = 256 << 20 };

static void put_point(struct buf *b, const struct recovery_point *x)
{
    buf_put(b, x->id.b, 16);
    buf_u32le(b, (uint32_t)x->partition);
    buf_u32le(b, x->mark.producers);
    buf_u64le(b, (uint64_t)x->offset);
    buf_u64le(b, (uint64_t)x->log_start);
    buf_u64le(b, (uint64_t)x->mark.offset);
    buf_u64le(b, x->mark.position);
    buf_u32le(b, x->mark.index_n);
    buf_u32le(b, x->mark.times_n);
}

enum err recovery_points_write(struct log *l, const struct recovery_points *r, struct fault *f)
{
    char path[LOG_PATH];
    struct buf b = {.limit = BUF_ASKED};
    buf_u32le(&b, MAGIC);
    buf_u32le(&b, 0);
    buf_u32le(&b, VERSION);
    buf_u32le(&b, r->clean);
    buf_u64le(&b, r->live_gen);
    buf_u64le(&b, r->seq);
    buf_u64le(&b, r->points.n);
    for (size_t i = 0; i < r->points.n; i++)
        put_point(&b, &r->points.p[i]);
    if (b.bad) {
        buf_free(&b);
        return FAULT(f, ERR_NOMEM, {"what", "the recovery points"});
    }
    put_u32le(b.p + 4, crc32c(0, b.p + 8, b.n - 8));
    log_path(l, path, "recovery-points");
    enum err e = os_write_file_atomic(path, buf_view(&b), "recovery-points.file", "recovery-points.dir", f);
    buf_free(&b);
    return e;
}

static struct recovery_point take_point(const char *p, uint32_t version)
{
    struct recovery_point x = {.partition = (int32_t)get_u32le(p + 16),
                               .offset = (int64_t)get_u64le(p + 24),
                               .log_start = (int64_t)get_u64le(p + 32),
                               .mark = {.offset = -1}};
    memcpy(x.id.b, p, 16);
    if (version > 1)
        x.mark = (struct mark){.offset = (int64_t)get_u64le(p + 40),
                               .position = get_u64le(p + 48),
                               .index_n = get_u32le(p + 56),
                               .times_n = get_u32le(p + 60),
                               .producers = get_u32le(p + 20) & 1};
    return x;
}

enum err recovery_points_read(struct log *l, struct recovery_points *out, struct fault *f)
{
    char path[LOG_PATH], *p = NULL;
    size_t n = 0;
    *out = (struct recovery_points){0};
    log_path(l, path, "recovery-points");
    enum err e = os_read_file(path, POINTS_LIMIT, &p, &n, f);
    if (e)
        return e == ERR_NOTFOUND ? ERR_OK : e;
    uint32_t version = n >= HEAD ? get_u32le(p + 8) : 0;
    size_t entry = version == 1 ? ENTRY_1 : ENTRY;
    if (n < HEAD || get_u32le(p) != MAGIC || get_u32le(p + 4) != crc32c(0, p + 8, n - 8))
        e = FAULT(f, ERR_CORRUPT, {"what", path}, {"detail", "its checksum or length is wrong"});
    else if (version > VERSION)
        e = log_newer_format(path, version, f);
    else if (get_u64le(p + 32) != (n - HEAD) / entry)
        e = FAULT(f, ERR_CORRUPT, {"what", path}, {"detail", "its checksum or length is wrong"});
    if (e) {
        free(p);
        return e;
    }
    out->found = true;
    out->clean = get_u32le(p + 12);
    out->live_gen = get_u64le(p + 16);
    out->seq = get_u64le(p + 24);
    for (const char *at = p + HEAD; at < p + n; at += entry)
        vec_push(&out->points, take_point(at, version));
    free(p);
    return ERR_OK;
}
