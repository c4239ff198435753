/* Frames of the commit log and of snapshots: bytes under a CRC, torn ends told from damage. */
#include "state/checkpoint_int.h"
#include "codec/codec.h"

#include <stdio.h>

enum { FRAME_MAGIC = 0x464b4350 /* "PCKF" */, SCAN_BYTES = 1 << 20 };

static void put_u32(char *p, uint32_t v)
{
    memcpy(p, &(uint32_t){htole32(v)}, 4);
}

static void put_u64(char *p, uint64_t v)
{
    memcpy(p, &(uint64_t){htole64(v)}, 8);
}

void file_head(char out[FILE_HEAD], const char *magic)
{
    memcpy(out, magic, 8);
    put_u32(out + 8, CHECKPOINT_VERSION);
    put_u32(out + 12, crc32c(0, out, 12));
}

enum err file_head_check(struct os_file *file, const char *path, const char *magic, uint32_t *version, struct fault *f)
{
    char head[FILE_HEAD];
    size_t got;
    enum err e = os_pread(file, head, sizeof head, 0, &got, f);
    if (e)
        return e;
    struct rd r = rd_of(str_make(head + 8, 8));
    *version = rd_u32le(&r);
    uint32_t crc = rd_u32le(&r);
    if (got < sizeof head || memcmp(head, magic, 8) || crc != crc32c(0, head, 12))
        return FAULT(f, ERR_CORRUPT, {"what", path}, {"detail", "its first bytes are not those of a checkpoint"});
    char text[16];
    snprintf(text, sizeof text, "%u", *version);
    return *version > CHECKPOINT_VERSION ? FAULT(f, ERR_VERSION, {"what", path}, {"format", text}) : ERR_OK;
}

void frame_head(char out[FRAME_HEAD], const struct frame *fr)
{
    put_u32(out, FRAME_MAGIC);
    put_u32(out + 4, fr->type);
    put_u64(out + 8, fr->sequence);
    put_u64(out + 16, fr->bytes);
    put_u32(out + 24, fr->crc);
    put_u32(out + 28, crc32c(0, out, 28));
}

bool frame_head_read(const char in[FRAME_HEAD], struct frame *fr)
{
    struct rd r = rd_of(str_make(in, FRAME_HEAD));
    if (rd_u32le(&r) != FRAME_MAGIC)
        return false;
    fr->type = rd_u32le(&r);
    fr->sequence = rd_u64le(&r);
    fr->bytes = rd_u64le(&r);
    fr->crc = rd_u32le(&r);
    return rd_u32le(&r) == crc32c(0, in, 28);
}

enum err frame_write(struct os_file *file, uint64_t *at, uint32_t type, uint64_t sequence, const struct str *parts,
                     size_t nparts, struct fault *f)
{
    struct frame fr = {.type = type, .sequence = sequence};
    for (size_t i = 0; i < nparts; i++) {
        fr.crc = crc32c(fr.crc, parts[i].p, parts[i].n);
        fr.bytes += parts[i].n;
    }
    char head[FRAME_HEAD];
    frame_head(head, &fr);
    struct str *all = calloc(nparts + 1, sizeof *all);
    if (!all)
        return FAULT(f, ERR_NOMEM, {"what", "a checkpoint frame"});
    all[0] = str_make(head, sizeof head);
    for (size_t i = 0; i < nparts; i++)
        all[i + 1] = parts[i];
    enum err e = os_pwritev(file, all, nparts + 1, *at, f);
    free(all);
    if (!e)
        *at += FRAME_HEAD + fr.bytes;
    return e;
}

enum err frame_payload(struct os_file *file, uint64_t at, const struct frame *fr, char **p, bool *whole,
                       struct fault *f)
{
    uint64_t size;
    *whole = false;
    *p = NULL;
    enum err e = os_size(file, &size, f);
    if (e || fr->bytes > size || at + FRAME_HEAD > size - fr->bytes)
        return e;
    char *bytes = malloc(fr->bytes + 1);
    if (!bytes)
        return FAULT(f, ERR_NOMEM, {"what", "a checkpoint frame"});
    size_t got;
    e = os_pread(file, bytes, fr->bytes, at + FRAME_HEAD, &got, f);
    if (e || got < fr->bytes || crc32c(0, bytes, fr->bytes) != fr->crc) {
        free(bytes);
        return e;
    }
    *whole = true;
    *p = bytes;
    return ERR_OK;
}

static enum err whole_at(struct os_file *file, uint64_t at, const char *head, uint64_t sequence, bool *found,
                         struct fault *f)
{
    struct frame fr;
    char *payload = NULL;
    if (!frame_head_read(head, &fr) || fr.sequence < sequence)
        return ERR_OK;
    enum err e = frame_payload(file, at, &fr, &payload, found, f);
    free(payload);
    return e;
}

enum err frame_after(struct os_file *file, uint64_t from, uint64_t size, uint64_t sequence, bool *found,
                     struct fault *f)
{
    *found = false;
    char *block = malloc(SCAN_BYTES + FRAME_HEAD);
    if (!block)
        return FAULT(f, ERR_NOMEM, {"what", "reading a checkpoint"});
    enum err e = ERR_OK;
    for (uint64_t at = from; !e && !*found && at + FRAME_HEAD <= size; at += SCAN_BYTES) {
        size_t got;
        e = os_pread(file, block, SCAN_BYTES + FRAME_HEAD - 1, at, &got, f);
        for (size_t i = 0; !e && !*found && i + FRAME_HEAD <= got && i < SCAN_BYTES; i++)
            e = whole_at(file, at + i, block + i, sequence, found, f);
    }
    free(block);
    return e;
}

/* -- changes: store u32, key bytes u32, value bytes u32 (~0: removed), key, value ---------------------------------- */

static void change(struct buf *b, uint32_t store, struct str key, struct str value)
{
    buf_u32le(b, store);
    buf_u32le(b, (uint32_t)key.n);
    buf_u32le(b, value.p ? (uint32_t)value.n : UINT32_MAX);
    buf_str(b, key);
    if (value.p)
        buf_str(b, value);
}

void state_change_put(struct buf *b, uint32_t store, struct str key, struct str value)
{
    change(b, store, key, value.p ? value : STR(""));
}

void state_change_remove(struct buf *b, uint32_t store, struct str key)
{
    change(b, store, key, (struct str){0});
}

enum err changes_each(struct str text, const char *path, checkpoint_change_fn *fn, void *arg, struct fault *f)
{
    struct rd r = rd_of(text);
    enum err e = ERR_OK;
    while (!e && r.n) {
        uint32_t store = rd_u32le(&r), nkey = rd_u32le(&r), nvalue = rd_u32le(&r);
        struct str key = rd_bytes(&r, nkey), value = {0};
        if (nvalue != UINT32_MAX)
            value = rd_bytes(&r, nvalue);
        if (r.bad)
            return FAULT(f, ERR_CORRUPT, {"what", path}, {"detail", "a change of state does not fit its frame"});
        e = fn(arg, store, key, value, f);
    }
    return e;
}
