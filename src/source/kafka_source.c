/* The kafka source's offsets: which partitions, where a query starts, how far the next batch goes. */
#include "source/source_int.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <inttypes.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>

enum { CLUSTER_ID_MS = 3000 };

static struct kafka_source *kafka(struct source *s)
{
    return (struct kafka_source *)s;
}

/* -- schema: Spark's columns, all nullable -------------------------------------------------------------------------- */

static enum err schema(const struct option *options, int noptions, bool is_streaming, struct arena *a,
                       const struct type **out, struct fault *f)
{
    struct kafka_options read;
    enum err e = is_streaming ? kafka_options_check(options, noptions, a, &read, f)
                              : kafka_options_read(options, noptions, false, a, &read, f);
    if (e)
        return e;
    struct field header[] = {{.name = STR("key"), .type = type_simple(TYPE_STRING), .nullable = true},
                             {.name = STR("value"), .type = type_simple(TYPE_BINARY), .nullable = true}};
    struct field fields[] = {
        {.name = STR("key"), .type = type_simple(TYPE_BINARY), .nullable = true},
        {.name = STR("value"), .type = type_simple(TYPE_BINARY), .nullable = true},
        {.name = STR("topic"), .type = type_simple(TYPE_STRING), .nullable = true},
        {.name = STR("partition"), .type = type_simple(TYPE_INT), .nullable = true},
        {.name = STR("offset"), .type = type_simple(TYPE_LONG), .nullable = true},
        {.name = STR("timestamp"), .type = type_simple(TYPE_TIMESTAMP), .nullable = true},
        {.name = STR("timestampType"), .type = type_simple(TYPE_INT), .nullable = true},
        {.name = STR("headers"), .nullable = true},
    };
    fields[7].type = type_array(a, type_struct(a, header, 2), true);
    *out = type_struct(a, fields, read.headers ? 8 : 7);
    return ERR_OK;
}

/* Nobody there: the first question to it will say so. */
static enum err ask_id(const struct source_env *env, struct foreign *c, bool *ours, struct fault *f)
{
    struct arena *a = arena_new(0);
    struct fault ignored;
    struct str id;
    enum err e = foreign_cluster_id(c, CLUSTER_ID_MS, a, &id, &ignored);
    *ours = !e && env->log && str_eqz(id, log_cluster_id(env->log));
    arena_free(a);
    return e == ERR_CANCELLED ? FAULT(f, ERR_CANCELLED) : ERR_OK;
}

static bool is_our_address(const struct source_env *env, struct str bootstrap)
{
    return !env->is_ours || env->is_ours(env->arg, bootstrap);
}

enum err source_cluster_is_ours(const struct source_env *env, enum foreign_role role, const struct option *options,
                                int noptions, bool *out, struct fault *f)
{
    struct arena *a = arena_new(0);
    const struct foreign_config *config;
    struct foreign *c = NULL;
    enum err e = ERR_OK;
    *out = is_our_address(env, option_get(options, noptions, "kafka.bootstrap.servers"));
    if (!*out && !(e = foreign_config(options, noptions, role, a, &config, f)) &&
        !(e = foreign_open(config, env->cancelled, &c, f)))
        e = ask_id(env, c, out, f);
    foreign_close(c);
    arena_free(a);
    return e;
}

/* The same, keeping the client. */
static enum err is_foreign(struct kafka_source *s, bool *out, struct fault *f)
{
    bool ours = is_our_address(&s->base.env, s->options.bootstrap);
    *out = !ours;
    enum err e = ours ? ERR_OK : kafka_foreign_open(s, f);
    if (!e && !ours) {
        e = ask_id(&s->base.env, s->foreign, &ours, f);
        *out = !ours;
    }
    return e;
}

static enum err open_(const struct source_env *env, const struct plan_node *scan, bool is_streaming,
                      struct source **out, struct fault *f)
{
    bool foreign = false;
    struct kafka_source *s = calloc(1, sizeof *s);
    if (!s)
        return FAULT(f, ERR_NOMEM, {"what", "a kafka source"});
    s->base = (struct source){&KAFKA_SOURCE, scan, *env, arena_new(0)};
    enum err e = kafka_options_read(scan->options, scan->noptions, is_streaming, s->base.arena, &s->options, f);
    if (!e)
        e = is_foreign(s, &foreign, f);
    if (!foreign && s->foreign)
        KAFKA_FOREIGN.close(s);
    s->place = foreign ? &KAFKA_FOREIGN : &KAFKA_LOG;
    if (e) {
        source_close(&s->base);
        return e;
    }
    *out = &s->base;
    return ERR_OK;
}

static void close_(struct source *base)
{
    struct kafka_source *s = kafka(base);
    s->place->close(s);
    vec_free(&s->known);
    free(s);
}

/* -- which partitions ------------------------------------------------------------------------------------------------ */

enum err kafka_data_loss(struct fault *f, enum err which, struct str topic, int32_t partition, int64_t was, int64_t is)
{
    char tp[280], from[24], to[24];
    snprintf(tp, sizeof tp, which == ERR_KAFKA_LOSS_DELETED ? "Set(%.*s-%d)" : "%.*s-%d", STR_ARG(topic), partition);
    snprintf(from, sizeof from, "%" PRId64, was);
    snprintf(to, sizeof to, "%" PRId64, is);
    return FAULT(f, which, {"topicPartition", tp}, {"prevOffset", from}, {"newOffset", to}, {"startOffset", from},
                 {"endOffset", to});
}

enum err kafka_unknown_topic(struct str topic, struct fault *f)
{
    char name[256];
    snprintf(name, sizeof name, "%.*s", STR_ARG(topic));
    return FAULT(f, ERR_KAFKA_UNKNOWN_TOPIC, {"topicPartition", name});
}

static void add_topic(const struct kafka_topic *t, struct arena *a, struct offsets *out)
{
    struct offset *grown = ARENA_ARRAY(a, out->n + (size_t)t->partitions + 1, struct offset);
    if (out->n)
        memcpy(grown, out->p, out->n * sizeof *grown);
    out->p = grown;
    for (int32_t i = 0; i < t->partitions; i++)
        out->p[out->n++] = (struct offset){t->name, i, 0};
}

static enum err compile(struct str pattern, pcre2_code **out, struct fault *f)
{
    int code;
    PCRE2_SIZE at;
    *out = pcre2_compile((PCRE2_SPTR)pattern.p, pattern.n, PCRE2_ANCHORED | PCRE2_ENDANCHORED, &code, &at, NULL);
    if (*out)
        return ERR_OK;
    PCRE2_UCHAR text[128];
    pcre2_get_error_message(code, text, sizeof text);
    return source_option_fault(f, "subscribePattern '%.*s': %s near index %zu", STR_ARG(pattern), (char *)text,
                               (size_t)at);
}

static enum err match_topics(struct kafka_source *s, struct arena *a, struct offsets *out, struct fault *f)
{
    pcre2_code *code;
    struct kafka_topic *topics;
    size_t n;
    enum err e = s->place->topics(s, NULL, 0, a, &topics, &n, f);
    if (e || (e = compile(s->options.pattern, &code, f)))
        return e;
    pcre2_match_data *m = pcre2_match_data_create_from_pattern(code, NULL);
    for (size_t i = 0; m && i < n; i++)
        if (pcre2_match(code, (PCRE2_SPTR)topics[i].name.p, topics[i].name.n, 0, 0, m, NULL) >= 0)
            add_topic(&topics[i], a, out);
    pcre2_match_data_free(m);
    pcre2_code_free(code);
    return ERR_OK;
}

static enum err named_topics(struct kafka_source *s, struct arena *a, struct offsets *out, struct fault *f)
{
    struct kafka_topic *topics;
    size_t n;
    enum err e = s->place->topics(s, s->options.topics, s->options.ntopics, a, &topics, &n, f);
    for (size_t i = 0; !e && i < n; i++)
        if (topics[i].partitions)
            add_topic(&topics[i], a, out);
        else
            e = kafka_unknown_topic(topics[i].name, f);
    return e;
}

static enum err assigned(struct kafka_source *s, struct arena *a, struct offsets *out, struct fault *f)
{
    const struct kafka_options *o = &s->options;
    enum err e = ERR_OK;
    *out = (struct offsets){0};
    if (o->strategy == KAFKA_PATTERN) {
        e = match_topics(s, a, out, f);
    } else if (o->strategy == KAFKA_SUBSCRIBE) {
        e = named_topics(s, a, out, f);
    } else {
        out->p = ARENA_ARRAY(a, o->assigned.n + 1, struct offset);
        for (; out->n < o->assigned.n; out->n++)
            out->p[out->n] = o->assigned.p[out->n];
    }
    offsets_sort(out);
    return e;
}

enum err kafka_assigned(struct kafka_source *s, bool ends, struct arena *a, struct offsets *out, struct fault *f)
{
    enum err e = assigned(s, a, out, f);
    for (size_t i = 0; !e && i < out->n; i++)
        out->p[i].at = ends ? OFFSET_LATEST : OFFSET_EARLIEST;
    return e || !out->n ? e : s->place->offsets(s, out, false, f);
}

/* -- topics by id ----------------------------------------------------------------------------------------------------- */

static struct known_topic *known(struct kafka_source *s, struct str name)
{
    for (size_t i = 0; i < s->known.n; i++)
        if (str_eq(s->known.p[i].name, name))
            return &s->known.p[i];
    return NULL;
}

static void know(struct kafka_source *s, struct str name, struct os_uuid id)
{
    struct known_topic *k = known(s, name);
    if (k)
        k->id = id;
    else
        vec_push(&s->known, ((struct known_topic){arena_str(s->base.arena, name), id}));
}

struct str source_identity(struct source *base, struct arena *a)
{
    if (base->class != &KAFKA_SOURCE)
        return (struct str){"", 0};
    struct kafka_source *s = kafka(base);
    struct buf b = {0};
    for (size_t i = 0; i < s->known.n; i++) {
        char id[37];
        os_uuid_text(s->known.p[i].id, id);
        buf_fmt(&b, "%s %.*s\n", id, STR_ARG(s->known.p[i].name));
    }
    struct str text = arena_str(a, buf_whole(&b, "offsets"));
    buf_free(&b);
    return text;
}

static bool uuid_parse(struct str text, struct os_uuid *out)
{
    int n = 0, digits = 0;
    unsigned byte = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '-')
            continue;
        const char *hex = "0123456789abcdef", *at = strchr(hex, text.p[i]);
        if (!at || !text.p[i] || n == 16)
            return false;
        byte = byte << 4 | (unsigned)(at - hex);
        if (++digits % 2 == 0)
            out->b[n++] = (uint8_t)byte;
    }
    return n == 16;
}

void source_remember(struct source *base, struct str identity)
{
    struct rd r = rd_of(identity);
    while (base->class == &KAFKA_SOURCE && r.n > 37) {
        struct os_uuid id;
        bool ok = uuid_parse(str_make(r.p, 36), &id);
        const char *end = memchr(r.p, '\n', r.n);
        struct str line = rd_bytes(&r, end ? (size_t)(end - r.p) + 1 : r.n);
        if (ok)
            know(kafka(base), str_trim(str_sub(line, 37, line.n)), id);
    }
}

/* A topic made again under its name: its offsets mean other records. */
static enum err check_identity(struct kafka_source *s, const struct offsets *start, const struct offsets *latest,
                               struct fault *f)
{
    struct str last = {0};
    for (size_t i = 0; i < latest->n; i++) {
        struct os_uuid id;
        struct str name = latest->p[i].topic;
        if (str_eq(name, last) || !s->place->topic_id(s, name, &id))
            continue;
        last = name;
        struct known_topic *k = known(s, name);
        struct offset *was = offsets_find(start, name, latest->p[i].partition);
        if (k && was && was->at > 0 && memcmp(&k->id, &id, sizeof id)) {
            if (s->options.fail_on_data_loss)
                return kafka_data_loss(f, ERR_KAFKA_LOSS_CHANGED, name, latest->p[i].partition, was->at,
                                       latest->p[i].at);
            os_log(OS_WARN, "source", "topic %.*s was deleted and made again: what it held before may be lost",
                   STR_ARG(name));
        }
        know(s, name, id);
    }
    return ERR_OK;
}

/* -- where to start ---------------------------------------------------------------------------------------------------- */

static bool same_partitions(const struct offsets *a, const struct offsets *b)
{
    for (size_t i = 0; a->n == b->n && i < a->n; i++)
        if (!offsets_find(b, a->p[i].topic, a->p[i].partition))
            return false;
    return a->n == b->n;
}

static void set_text(const struct offsets *o, char *out, size_t cap)
{
    size_t n = (size_t)snprintf(out, cap, "Set(");
    for (size_t i = 0; i < o->n && n + 270 < cap; i++)
        n += (size_t)snprintf(out + n, cap - n, "%s%.*s-%d", i ? ", " : "", STR_ARG(o->p[i].topic), o->p[i].partition);
    snprintf(out + n, cap - n, ")");
}

static enum err check_partitions(const struct offsets *given, const struct offsets *assigned, enum err which,
                                 const char *position, struct fault *f)
{
    char want[1024], have[1024];
    if (same_partitions(given, assigned))
        return ERR_OK;
    set_text(given, want, sizeof want);
    set_text(assigned, have, sizeof have);
    return FAULT(f, which, {"specifiedPartitions", want}, {"assignedPartitions", have}, {"position", position});
}

/* The first records at or after these times; where there is none: the end, or for a start an error unless the strategy says
 * latest. */
static enum err at_times(struct kafka_source *s, const struct kafka_limit *limit, bool is_start, struct arena *a,
                         struct offsets *out, struct fault *f)
{
    struct offsets asked = {ARENA_ARRAY(a, out->n + 1, struct offset), out->n};
    for (size_t i = 0; i < out->n; i++) {
        asked.p[i] = out->p[i];
        asked.p[i].at = limit->kind == BOUND_TIME
                            ? limit->time_ms
                            : offsets_find(&limit->offsets, out->p[i].topic, out->p[i].partition)->at;
    }
    struct offsets found = {ARENA_ARRAY(a, out->n + 1, struct offset), out->n};
    memcpy(found.p, asked.p, out->n * sizeof *found.p);
    enum err e = out->n ? s->place->offsets(s, &found, true, f) : ERR_OK;
    for (size_t i = 0; !e && i < out->n; i++) {
        struct offset *o = &out->p[i];
        if (found.p[i].at >= 0)
            o->at = found.p[i].at;
        else if (is_start && !s->options.time_error_is_latest)
            return source_option_fault(
                f, "No offset matched from request of topic-partition %.*s-%d and timestamp %" PRId64 ".",
                STR_ARG(o->topic), o->partition, asked.p[i].at);
    }
    return e;
}

enum err kafka_resolve(struct kafka_source *s, const struct kafka_limit *limit, bool is_start, struct arena *a,
                       struct offsets *out, struct fault *f)
{
    struct offsets first;
    enum err e = kafka_assigned(s, true, a, out, f);
    if (!e && limit->kind == BOUND_OFFSETS)
        e = check_partitions(&limit->offsets, out, ERR_KAFKA_START_MISMATCH, is_start ? "starting" : "ending", f);
    if (!e && limit->kind == BOUND_TIMES)
        e = check_partitions(&limit->offsets, out, ERR_KAFKA_TIME_MISMATCH, is_start ? "starting" : "ending", f);
    if (!e && (limit->kind == BOUND_TIMES || limit->kind == BOUND_TIME))
        return at_times(s, limit, is_start, a, out, f);
    if (e || limit->kind == BOUND_LATEST || (e = kafka_assigned(s, false, a, &first, f)))
        return e;
    for (size_t i = 0; i < out->n; i++) {
        struct offset *o = &out->p[i];
        struct offset *given = offsets_find(&limit->offsets, o->topic, o->partition),
                      *begin = offsets_find(&first, o->topic, o->partition);
        if ((limit->kind == BOUND_EARLIEST || given->at == OFFSET_EARLIEST) && begin)
            o->at = begin->at;
        else if (limit->kind == BOUND_OFFSETS && given->at != OFFSET_LATEST)
            o->at = given->at;
    }
    return ERR_OK;
}

static enum err initial(struct source *base, int64_t now_ms, struct arena *a, struct str *offset, struct fault *f)
{
    struct kafka_source *s = kafka(base);
    struct offsets start;
    (void)now_ms;
    enum err e = kafka_resolve(s, &s->options.starting, true, a, &start, f);
    if (!e)
        e = check_identity(s, &(struct offsets){0}, &start, f);
    if (!e)
        *offset = offsets_text(&start, a);
    return e;
}

/* -- how far the next batch goes ---------------------------------------------------------------------------------------- */

static enum err bad_offsets(struct str text, struct fault *f)
{
    char detail[200];
    snprintf(detail, sizeof detail, "%.*s is not a kafka source's offset", STR_ARG(str_sub(text, 0, 120)));
    return FAULT(f, ERR_CORRUPT, {"what", "The checkpoint"}, {"detail", detail});
}

/* Partitions of `start` that are gone, or that end before it. */
static enum err check_loss(struct kafka_source *s, const struct offsets *start, const struct offsets *latest,
                           struct fault *f)
{
    for (size_t i = 0; s->options.fail_on_data_loss && i < start->n; i++) {
        const struct offset *was = &start->p[i], *is = offsets_find(latest, was->topic, was->partition);
        if (!is)
            return kafka_data_loss(f, ERR_KAFKA_LOSS_DELETED, was->topic, was->partition, was->at, 0);
        if (is->at < was->at)
            return kafka_data_loss(f, ERR_KAFKA_LOSS_CHANGED, was->topic, was->partition, was->at, is->at);
    }
    return ERR_OK;
}

/* Where the next batch begins in each partition of `until`: new partitions at their beginning, which must be 0. */
static enum err begins(struct kafka_source *s, const struct offsets *start, const struct offsets *until,
                       struct arena *a, int64_t **out, struct fault *f)
{
    int64_t *from = *out = ARENA_ARRAY(a, until->n + 1, int64_t);
    for (size_t i = 0; i < until->n; i++) {
        const struct offset *was = offsets_find(start, until->p[i].topic, until->p[i].partition);
        struct offset first = {0};
        if (was) {
            from[i] = was->at;
            continue;
        }
        first = (struct offset){until->p[i].topic, until->p[i].partition, OFFSET_EARLIEST};
        enum err e = s->place->offsets(s, &(struct offsets){&first, 1}, false, f);
        if (e)
            return e;
        from[i] = first.at;
        if (first.at && s->options.fail_on_data_loss)
            return kafka_data_loss(f, ERR_KAFKA_LOSS_ADDED, first.topic, first.partition, first.at, 0);
    }
    return ERR_OK;
}

/* Spark's KafkaMicroBatchStream.rateLimit: each partition's share of the limit by how much it has, never starved. */
static void cut(struct offsets *until, const int64_t *from, int64_t limit)
{
    double total = 0;
    for (size_t i = 0; i < until->n; i++)
        total += until->p[i].at > from[i] ? (double)(until->p[i].at - from[i]) : 0;
    for (size_t i = 0; total >= 1 && i < until->n; i++) {
        int64_t size = until->p[i].at - from[i];
        if (size <= 0)
            continue;
        double share = (double)limit * ((double)size / total);
        int64_t whole = (int64_t)share;
        if (share < 1)
            whole = share > 0 ? 1 : 0; /* Math.ceil */
        int64_t off = whole > INT64_MAX - from[i] ? INT64_MAX : from[i] + whole;
        if (off < until->p[i].at)
            until->p[i].at = off;
    }
}

static void apply_cap(struct offsets *until, const struct offsets *cap)
{
    size_t kept = 0;
    for (size_t i = 0; i < until->n; i++) {
        const struct offset *c = offsets_find(cap, until->p[i].topic, until->p[i].partition);
        if (c) {
            until->p[kept] = until->p[i];
            until->p[kept++].at = c->at;
        }
    }
    until->n = kept;
}

/* minOffsetsPerTrigger: too little to begin, and not waited for maxTriggerDelay yet. */
static bool too_few(struct kafka_source *s, const struct offsets *until, const int64_t *from, int64_t now_ms)
{
    int64_t rows = 0;
    for (size_t i = 0; i < until->n; i++)
        rows += until->p[i].at > from[i] ? until->p[i].at - from[i] : 0;
    if (!rows || rows >= s->options.min_per_trigger || now_ms - s->last_trigger_ms >= s->options.max_delay_ms) {
        s->last_trigger_ms = now_ms;
        return false;
    }
    return true;
}

static enum err latest(struct source *base, struct str start_text, struct str cap_text, int64_t now_ms, bool no_limit,
                       struct arena *a, struct str *end, struct str *latest_text, struct fault *f)
{
    struct kafka_source *s = kafka(base);
    struct offsets start, until, cap;
    int64_t *from;
    if (!offsets_parse(start_text, a, &start) || (cap_text.n && !offsets_parse(cap_text, a, &cap)))
        return bad_offsets(start_text, f);
    enum err e = kafka_assigned(s, true, a, &until, f);
    if (e)
        return e;
    if ((e = check_identity(s, &start, &until, f)) || (e = check_loss(s, &start, &until, f)))
        return e;
    if (cap_text.n)
        apply_cap(&until, &cap);
    *latest_text = offsets_text(&until, a);
    if ((e = begins(s, &start, &until, a, &from, f)) || (s->wake && (e = s->place->follow(s, &until, from, f))))
        return e;
    if (!no_limit && !cap_text.n && s->options.min_per_trigger > 0 && too_few(s, &until, from, now_ms)) {
        *end = start_text;
        return ERR_OK;
    }
    if (!no_limit && s->options.max_per_trigger >= 0)
        cut(&until, from, s->options.max_per_trigger);
    *end = offsets_text(&until, a);
    return ERR_OK;
}

/* -- ranges -------------------------------------------------------------------------------------------------------------- */

static enum err ranges(struct kafka_source *s, struct str start_text, struct str end_text, struct arena *a,
                       struct kafka_range **out, size_t *n, struct fault *f)
{
    struct offsets start, until;
    int64_t *from;
    enum err e = ERR_OK;
    if (start_text.n || end_text.n) {
        if (!offsets_parse(start_text, a, &start) || !offsets_parse(end_text, a, &until))
            return bad_offsets(start_text, f);
    } else if ((e = kafka_resolve(s, &s->options.starting, true, a, &start, f)) ||
               (e = kafka_resolve(s, &s->options.ending, false, a, &until, f))) {
        return e;
    }
    if ((e = begins(s, &start, &until, a, &from, f)))
        return e;
    *out = ARENA_ARRAY(a, until.n + 1, struct kafka_range);
    *n = 0;
    for (size_t i = 0; i < until.n; i++)
        if (until.p[i].at > from[i])
            (*out)[(*n)++] = (struct kafka_range){until.p[i].topic, until.p[i].partition, from[i], until.p[i].at};
    return ERR_OK;
}

static int64_t rows_of(const struct kafka_range *r, size_t n)
{
    int64_t rows = 0;
    for (size_t i = 0; i < n; i++)
        rows += r[i].until - r[i].from;
    return rows;
}

enum { PART_ROWS = 20000 }; /* fewer are done before another thread has woken up */

static int parts(struct source *base, struct str start, struct str end, int most, bool whole)
{
    struct arena *a = arena_new(0);
    struct kafka_range *r;
    size_t n;
    int64_t rows = ranges(kafka(base), start, end, a, &r, &n, NULL) ? 0 : rows_of(r, n);
    arena_free(a);
    int64_t want = rows / PART_ROWS;
    if ((whole || !kafka(base)->place->is_cut_anywhere) && want > (int64_t)n)
        want = (int64_t)n;
    return want < 1 ? 1 : want < most ? (int)want : most;
}

/* Piece `part` of `nparts` of the ranges laid end to end. */
static size_t piece(struct kafka_range *r, size_t n, int part, int nparts)
{
    size_t kept = 0;
    __int128 total = rows_of(r, n);
    int64_t lo = (int64_t)(total * part / nparts), hi = (int64_t)(total * (part + 1) / nparts), at = 0;
    for (size_t i = 0; i < n; i++) {
        int64_t size = r[i].until - r[i].from, from = lo > at ? lo - at : 0, until = hi - at < size ? hi - at : size;
        struct kafka_range cut = r[i];
        cut.until = r[i].from + until;
        cut.from = r[i].from + from;
        if (from < until)
            r[kept++] = cut;
        at += size;
    }
    return kept;
}

enum { PARTS_MAX = 256 };

/* Whole partitions, each to the part that has the least so far. */
static size_t share(struct kafka_range *r, size_t n, int part, int nparts)
{
    int64_t has[PARTS_MAX] = {0};
    size_t kept = 0;
    nparts = nparts < PARTS_MAX ? nparts : PARTS_MAX;
    for (size_t i = 0; i < n; i++) {
        int least = 0;
        for (int k = 1; k < nparts; k++)
            least = has[k] < has[least] ? k : least;
        has[least] += r[i].until - r[i].from;
        if (least == part)
            r[kept++] = r[i];
    }
    return kept;
}

static enum err read_(struct source *base, struct str start, struct str end, const struct source_part *part,
                      const struct op_env *env, struct op **out, struct fault *f)
{
    struct kafka_source *s = kafka(base);
    struct arena *a = arena_new(0);
    struct kafka_range *r;
    size_t n;
    enum err e = ranges(s, start, end, a, &r, &n, f);
    if (!e) {
        bool cut = s->place->is_cut_anywhere && !part->whole;
        n = cut ? piece(r, n, part->i, part->n) : share(r, n, part->i, part->n);
        e = s->place->reader(s, r, n, env, out, f);
    }
    arena_free(a);
    return e;
}

/* -- waiting, progress ------------------------------------------------------------------------------------------------------ */

enum { TOPICS_LOOK_MS = 1000 }; /* nothing tells of new topics and partitions: their version number is compared */

static int64_t watch(struct source *base, void (*wake)(void *arg), void *arg)
{
    struct kafka_source *s = kafka(base);
    s->place->unfollow(s);
    s->wake = wake;
    s->wake_arg = arg;
    return TOPICS_LOOK_MS;
}

static struct str description(struct source *base, struct arena *a)
{
    const struct kafka_options *o = &kafka(base)->options;
    struct buf b = {0};
    if (o->strategy == KAFKA_PATTERN) {
        buf_fmt(&b, "KafkaV2[SubscribePattern[%.*s]]", STR_ARG(o->pattern));
    } else {
        buf_z(&b, o->strategy == KAFKA_SUBSCRIBE ? "KafkaV2[Subscribe[" : "KafkaV2[Assign[");
        for (size_t i = 0; i < o->ntopics; i++)
            buf_fmt(&b, "%s%.*s", i ? ", " : "", STR_ARG(o->topics[i]));
        for (size_t i = 0; i < o->assigned.n; i++)
            buf_fmt(&b, "%s%.*s-%d", i ? ", " : "", STR_ARG(o->assigned.p[i].topic), o->assigned.p[i].partition);
        buf_z(&b, "]]");
    }
    struct str text = arena_str(a, buf_whole(&b, "offsets"));
    buf_free(&b);
    return text;
}

static void metrics(struct source *base, struct str end_text, struct str latest_text, struct buf *json)
{
    struct arena *a = arena_new(0);
    struct offsets end, all;
    (void)base;
    if (offsets_parse(end_text, a, &end) && offsets_parse(latest_text, a, &all) && all.n) {
        int64_t least = INT64_MAX, most = INT64_MIN;
        double sum = 0;
        for (size_t i = 0; i < all.n; i++) {
            const struct offset *done = offsets_find(&end, all.p[i].topic, all.p[i].partition);
            int64_t behind = all.p[i].at - (done ? done->at : 0);
            least = behind < least ? behind : least;
            most = behind > most ? behind : most;
            sum += (double)behind;
        }
        buf_z(json, "\"avgOffsetsBehindLatest\":\"");
        double_text(json, sum / (double)all.n);
        buf_fmt(json, "\",\"maxOffsetsBehindLatest\":\"%" PRId64 "\",\"minOffsetsBehindLatest\":\"%" PRId64 "\"", most,
                least);
    }
    arena_free(a);
}

/* KafkaSourceInitialOffsetWriter: a zero byte for Spark 2.1, the version, the JSON. */
static void start_text(struct source *base, struct str initial_offset, struct buf *out)
{
    (void)base;
    buf_u8(out, 0);
    buf_z(out, "v1\n");
    buf_str(out, initial_offset);
}

static struct str restore(struct source *base, struct str text)
{
    (void)base;
    return text;
}

const struct source_class KAFKA_SOURCE = {
    .name = "kafka",
    .provider = "KafkaSourceProvider",
    .schema = schema,
    .open = open_,
    .close = close_,
    .initial = initial,
    .latest = latest,
    .read = read_,
    .parts = parts,
    .watch = watch,
    .description = description,
    .metrics = metrics,
    .start_text = start_text,
    .restore = restore,
};
