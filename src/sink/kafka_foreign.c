/*
 * A foreign cluster as the kafka sink's output: a producer (foreign/foreign.h), transactional once the query has fenced its
 * earlier runs. Records leave in the background while the batch is being computed; flush and end wait for the cluster.
 */
#include "foreign/foreign.h"
#include "sink/kafka_output.h"
#include "sink/sink_int.h"

struct elsewhere {
    struct kafka_output base;
    const struct foreign_config *config;
    struct foreign_producer *producer;
};
_Static_assert(sizeof(struct foreign_header) == 2 * sizeof(struct str), "headers are key, value, key, value …");

static enum err producer_open(struct elsewhere *e, struct str id, struct fault *f)
{
    foreign_producer_close(e->producer);
    e->producer = NULL;
    return foreign_producer_open(e->config, id, foreign_transaction_ms(e->config), e->base.sink->source.cancelled,
                                 &e->producer, f);
}

static enum err open_(struct kafka_output *o, struct fault *f)
{
    const struct sink *s = o->sink;
    return foreign_config(s->options, s->noptions, FOREIGN_SINK, s->arena, &((struct elsewhere *)o)->config, f);
}

static void close_(struct kafka_output *o)
{
    foreign_producer_close(((struct elsewhere *)o)->producer);
}

static enum err write_(struct kafka_output *o, const struct kafka_record *r, struct fault *f)
{
    struct elsewhere *e = (struct elsewhere *)o;
    enum err err = e->producer ? ERR_OK : producer_open(e, STR(""), f);
    return err ? err
               : foreign_producer_send(e->producer, r->topic, r->partition, r->key, r->value,
                                       (const struct foreign_header *)r->headers, (size_t)r->nheaders, r->timestamp_ms,
                                       f);
}

static enum err flush(struct kafka_output *o, struct fault *f)
{
    struct elsewhere *e = (struct elsewhere *)o;
    return e->producer ? foreign_producer_flush(e->producer, f) : ERR_OK;
}

static void abort_(struct kafka_output *o)
{
    struct elsewhere *e = (struct elsewhere *)o;
    if (e->producer)
        foreign_producer_forget(e->producer);
}

static enum err fence(struct kafka_output *o, struct str id, struct fault *f)
{
    return producer_open((struct elsewhere *)o, id, f);
}

static enum err noted(struct kafka_output *o, struct arena *a, struct kafka_note *n, struct fault *f)
{
    struct elsewhere *e = (struct elsewhere *)o;
    return foreign_group_offset(e->producer, n->group, n->topic, 0, a, &n->offset, &n->metadata, f);
}

static enum err end(struct kafka_output *o, const struct kafka_note *n, struct fault *f)
{
    struct elsewhere *e = (struct elsewhere *)o;
    enum err err = foreign_producer_offset(e->producer, n->group, n->topic, 0, n->offset, n->metadata, f);
    return err ? err : foreign_producer_end(e->producer, true, f);
}

const struct kafka_output_class KAFKA_ELSEWHERE = {
    .size = sizeof(struct elsewhere),
    .open = open_,
    .close = close_,
    .write = write_,
    .flush = flush,
    .abort = abort_,
    .fence = fence,
    .noted = noted,
    .end = end,
};
