/* Spark's JSON texts of Kafka positions: org.apache.spark.sql.kafka010.JsonUtils says what they look like. */
#include "source/offsets.h"

#include "base/vec.h"
#include "wire/json.h"

#include <inttypes.h>
#include <stdlib.h>

static int order(const void *x, const void *y)
{
    const struct offset *a = x, *b = y;
    int c = str_cmp(a->topic, b->topic);
    return c ? c : (a->partition > b->partition) - (a->partition < b->partition);
}

void offsets_sort(struct offsets *o)
{
    if (o->n)
        qsort(o->p, o->n, sizeof *o->p, order);
}

struct offset *offsets_find(const struct offsets *o, struct str topic, int32_t partition)
{
    struct offset key = {topic, partition, 0};
    return o->n ? bsearch(&key, o->p, o->n, sizeof key, order) : NULL;
}

struct list {
    VEC(struct offset) v;
};

static bool partition_number(struct str name, int32_t *out)
{
    int64_t n;
    if (!str_to_i64(name, &n) || n < 0 || n > INT32_MAX)
        return false;
    *out = (int32_t)n;
    return true;
}

static void parse_topic(struct json *j, struct arena *a, struct str topic, bool assign, struct list *list)
{
    struct offset o = {.topic = topic};
    struct str name;
    int64_t n;
    if (assign) {
        json_array(j);
        while (json_more(j, ']')) {
            if (!json_i64(j, &n) || n < 0 || n > INT32_MAX) {
                json_fail(j);
                return;
            }
            o.partition = (int32_t)n;
            vec_push(&list->v, o);
        }
        return;
    }
    json_object(j);
    while (json_more(j, '}')) {
        if (!json_key(j, a, &name) || !partition_number(name, &o.partition) || !json_i64(j, &o.at)) {
            json_fail(j);
            return;
        }
        vec_push(&list->v, o);
    }
}

static bool parse(struct str json, struct arena *a, bool assign, struct offsets *out)
{
    struct json j = json_of(json, false);
    struct list list = {0};
    struct str topic;
    json_object(&j);
    while (json_more(&j, '}'))
        if (json_key(&j, a, &topic))
            parse_topic(&j, a, arena_str(a, topic), assign, &list);
    bool ok = json_end(&j) && !j.bad;
    *out = (struct offsets){ARENA_ARRAY(a, list.v.n + 1, struct offset), ok ? list.v.n : 0};
    if (out->n)
        memcpy(out->p, list.v.p, list.v.n * sizeof *out->p);
    vec_free(&list.v);
    offsets_sort(out);
    return ok;
}

bool offsets_parse(struct str json, struct arena *a, struct offsets *out)
{
    return parse(json, a, false, out);
}

bool offsets_parse_assign(struct str json, struct arena *a, struct offsets *out)
{
    return parse(json, a, true, out);
}

struct str offsets_text(const struct offsets *o, struct arena *a)
{
    struct buf b = {0};
    buf_u8(&b, '{');
    for (size_t i = 0; i < o->n; i++) {
        bool fresh = !i || !str_eq(o->p[i].topic, o->p[i - 1].topic);
        if (fresh) {
            buf_z(&b, i ? "}," : "");
            buf_json_str(&b, o->p[i].topic);
            buf_z(&b, ":{");
        }
        buf_fmt(&b, "%s\"%d\":%" PRId64, fresh ? "" : ",", o->p[i].partition, o->p[i].at);
    }
    buf_z(&b, o->n ? "}}" : "}");
    struct str text = arena_str(a, buf_whole(&b, "offsets"));
    buf_free(&b);
    return text;
}
