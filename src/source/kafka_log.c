/* The kafka source's place in the embedded log. */
#include "source/source_int.h"

static void unfollow(struct kafka_source *s)
{
    for (size_t i = 0; i < s->watches.n; i++)
        log_unwatch(s->watches.p[i]);
    s->watches.n = 0;
}

static void close_(struct kafka_source *s)
{
    unfollow(s);
    vec_free(&s->watches);
}

static enum err topics(struct kafka_source *s, const struct str *names, size_t n, struct arena *a,
                       struct kafka_topic **out, size_t *nout, struct fault *f)
{
    struct log_topic *all, t;
    size_t found = names ? n : log_topics(s->base.env.log, a, &all);
    (void)f;
    *out = ARENA_ARRAY(a, found + 1, struct kafka_topic);
    *nout = 0;
    for (size_t i = 0; i < found; i++)
        if (names)
            (*out)[(*nout)++] = log_topic_get(s->base.env.log, names[i], a, &t)
                                    ? (struct kafka_topic){t.name, t.partitions}
                                    : (struct kafka_topic){names[i], 0};
        else if (!all[i].internal)
            (*out)[(*nout)++] = (struct kafka_topic){all[i].name, all[i].partitions};
    return ERR_OK;
}

static enum err offset_at(struct kafka_source *s, struct log_partition *p, struct offset *o, bool times,
                          struct fault *f)
{
    struct log_offsets at = log_partition_offsets(p);
    int64_t end = s->options.read_committed ? at.last_stable : at.high_watermark, ms = o->at, found_ms;
    if (!times) {
        o->at = o->at == OFFSET_LATEST ? end : at.log_start;
        return ERR_OK;
    }
    enum log_status status = log_offset_for_time(p, ms, &o->at, &found_ms);
    if (status)
        return source_option_fault(f, "Cannot look for time %lld in %.*s-%d: status %d", (long long)ms,
                                   STR_ARG(o->topic), o->partition, (int)status);
    o->at = o->at < end ? o->at : -1;
    return ERR_OK;
}

static enum err offsets(struct kafka_source *s, struct offsets *o, bool times, struct fault *f)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < o->n; i++) {
        struct log_partition *p = log_partition(s->base.env.log, o->p[i].topic, o->p[i].partition);
        if (!p)
            return kafka_unknown_topic(o->p[i].topic, f);
        e = offset_at(s, p, &o->p[i], times, f);
        log_partition_release(p);
    }
    return e;
}

static bool topic_id(struct kafka_source *s, struct str topic, struct os_uuid *id)
{
    struct arena *a = arena_new(0);
    struct log_topic t;
    bool found = log_topic_get(s->base.env.log, topic, a, &t);
    if (found)
        *id = t.id;
    arena_free(a);
    return found;
}

/* Topics come and go: the watches follow them. */
static enum err follow(struct kafka_source *s, const struct offsets *all, const int64_t *from, struct fault *f)
{
    uint64_t version = log_topics_version(s->base.env.log);
    (void)from, (void)f;
    if (s->watches.n && version == s->topics_version)
        return ERR_OK;
    unfollow(s);
    s->topics_version = version;
    for (size_t i = 0; i < all->n; i++) {
        struct log_partition *p = log_partition(s->base.env.log, all->p[i].topic, all->p[i].partition);
        if (!p)
            continue;
        vec_push(&s->watches, log_watch(p, s->wake, s->wake_arg));
        log_partition_release(p);
    }
    return ERR_OK;
}

const struct kafka_place KAFKA_LOG = {
    .is_cut_anywhere = true,
    .close = close_,
    .topics = topics,
    .offsets = offsets,
    .topic_id = topic_id,
    .reader = kafka_log_reader,
    .follow = follow,
    .unfollow = unfollow,
};
