/* The broker's own topics (__consumer_offsets, __transaction_state): made when they are missing, read from end to end. */
#include "broker/broker_int.h"

#include "log/batch.h"

enum { READ_BYTES = 1 << 20, BATCH_BYTES = 128 << 20 };

bool topic_is_internal(struct str topic)
{
    return str_eqz(topic, "__consumer_offsets") || str_eqz(topic, "__transaction_state");
}

enum err store_open(struct broker *b, struct str topic, const struct log_config *configs, size_t nconfigs,
                    struct log_partition **out, struct fault *f)
{
    struct os_uuid id;

    *out = log_partition(b->log, topic, 0);
    if (*out)
        return ERR_OK;
    enum err e = log_topic_create(b->log, topic, 1, configs, nconfigs, &id, f);
    if (e)
        return e;
    *out = log_partition(b->log, topic, 0);
    return *out ? ERR_OK : fault_internal(f, "the new topic %.*s has no partition", STR_ARG(topic));
}

/* The batches of one read, on from *offset. */
CHECK static enum err each_of_slice(struct str bytes, int64_t *offset, store_batch_fn *fn, void *arg, struct arena *a,
                                    struct fault *f)
{
    enum err e = ERR_OK;

    while (bytes.n && !e) {
        struct batch batch;

        e = batch_parse(bytes, &batch, f);
        if (e)
            return e;
        e = fn(arg, &batch, a, f);
        *offset = batch.base_offset + batch.last_offset_delta + 1;
        bytes = str_make(bytes.p + batch.all.n, bytes.n - batch.all.n);
        arena_reset(a);
    }
    return e;
}

enum err store_each_batch(struct log_partition *p, const char *name, store_batch_fn *fn, void *arg, struct fault *f)
{
    struct log_offsets o = log_partition_offsets(p);
    struct arena *a = arena_new(BATCH_BYTES);
    int64_t offset = o.log_start;
    enum err e = ERR_OK;

    while (offset < o.high_watermark && !e) {
        struct log_slice *slice = NULL;
        enum log_status s = log_read(p, offset, READ_BYTES, true, 0, &slice);

        if (s != LOG_OK) {
            e = FAULT(f, ERR_CORRUPT, {"what", name}, {"detail", kafka_code_name((int16_t)s)});
        } else if (!slice) {
            break;
        } else {
            e = each_of_slice(log_slice_bytes(slice), &offset, fn, arg, a, f);
            log_slice_release(slice);
        }
    }
    arena_free(a);
    return e;
}
