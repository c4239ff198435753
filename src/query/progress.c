/* What a query says of itself, as Spark says it: progress JSON, status, exception. */
#include "query/query_int.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* UTC with milliseconds, as ProgressReporter formats it. Days to a date: Howard Hinnant's civil_from_days. */
void query_iso_ms(int64_t ms, char out[64])
{
    int64_t days = ms / 86400000 - (ms % 86400000 < 0), rest = ms - days * 86400000, z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097, doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365, doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153, day = doy - (153 * mp + 2) / 5 + 1, month = mp < 10 ? mp + 3 : mp - 9;
    int64_t year = yoe + era * 400 + (month <= 2);
    snprintf(out, 64, "%04d-%02u-%02uT%02u:%02u:%02u.%03uZ", (int16_t)year, (uint8_t)month, (uint8_t)day,
             (uint8_t)(rest / 3600000), (uint8_t)(rest / 60000 % 60), (uint8_t)(rest / 1000 % 60),
             (uint16_t)(rest % 1000));
}

void query_message(struct query *q, const char *fmt, ...)
{
    char text[sizeof q->message];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    os_mutex_lock(q->lock);
    memcpy(q->message, text, sizeof text);
    os_mutex_unlock(q->lock);
}

static void rate(struct buf *b, const char *name, double rows, double seconds)
{
    buf_fmt(b, "\"%s\":", name);
    double_text(b, seconds > 0 ? rows / seconds : 0);
    buf_u8(b, ',');
}

static void rates(struct query *q, struct buf *b, int64_t rows)
{
    double since = q->last_trigger_start_ms ? (double)(q->trigger_start_ms - q->last_trigger_start_ms) / 1e3 : 0;
    buf_fmt(b, "\"numInputRows\":%" PRId64 ",", rows);
    rate(b, "inputRowsPerSecond", (double)rows, since);
    rate(b, "processedRowsPerSecond", (double)rows, (double)q->took.total / 1e9);
}

static void durations(const struct timings *t, struct buf *b)
{
    const struct {
        const char *name;
        int64_t ns;
    } rows[] = {{"triggerExecution", t->total},       {"queryPlanning", t->query_planning}, {"getBatch", t->get_batch},
                {"commitOffsets", t->commit_offsets}, {"latestOffset", t->latest_offset},   {"addBatch", t->add_batch},
                {"walCommit", t->wal_commit}};
    buf_z(b, "\"durationMs\":{");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        buf_fmt(b, "%s\"%s\":%" PRId64, i ? "," : "", rows[i].name, rows[i].ns / 1000000);
    buf_z(b, "},");
}

static void event_time(struct query *q, struct buf *b)
{
    char text[64];
    buf_z(b, "\"eventTime\":{");
    for (int i = 0; i < q->nwatermarks; i++) {
        const struct watermark *w = &q->watermarks[i];
        if (!w->n)
            continue;
        query_iso_ms((int64_t)(w->sum_us / (double)w->n / 1000), text);
        buf_fmt(b, "\"avg\":\"%s\",", text);
        query_iso_ms(w->max_us / 1000 - (w->max_us % 1000 < 0), text);
        buf_fmt(b, "\"max\":\"%s\",", text);
        query_iso_ms(w->min_us / 1000 - (w->min_us % 1000 < 0), text);
        buf_fmt(b, "\"min\":\"%s\",", text);
        break;
    }
    if (q->nwatermarks) {
        query_iso_ms(q->current.watermark_ms, text);
        buf_fmt(b, "\"watermark\":\"%s\"", text);
    }
    buf_z(b, "},");
}

static const char *operator_name(enum plan_kind kind)
{
    return kind == PLAN_AGGREGATE ? "stateStoreSave" : kind == PLAN_DEDUP ? "dedupe" : "globalLimit";
}

static void state_operators(struct query *q, struct buf *b)
{
    buf_z(b, "\"stateOperators\":[");
    for (const struct stateful *s = q->stateful; s; s = s->next) {
        const struct state_metrics *m = &s->metrics;
        size_t bytes = stateful_bytes(s);
        int64_t stores = s->node->kind == PLAN_LIMIT ? 1 : q->shuffle_partitions;
        buf_fmt(b,
                "%s{\"operatorName\":\"%s\",\"numRowsTotal\":%" PRId64 ",\"numRowsUpdated\":%" PRId64
                ",\"allUpdatesTimeMs\":%" PRId64 ",\"numRowsRemoved\":%" PRId64 ",\"allRemovalsTimeMs\":%" PRId64,
                s == q->stateful ? "" : ",", operator_name(s->node->kind), m->total, m->updated, m->update_ns / 1000000,
                m->removed, m->remove_ns / 1000000);
        buf_fmt(b,
                ",\"commitTimeMs\":%" PRId64 ",\"memoryUsedBytes\":%zu,\"numRowsDroppedByWatermark\":%" PRId64
                ",\"numShufflePartitions\":%" PRId64 ",\"numStateStoreInstances\":%" PRId64
                ",\"customMetrics\":{\"loadedMapCacheHitCount\":0,\"loadedMapCacheMissCount\":0,"
                "\"stateOnCurrentVersionSizeBytes\":%zu}}",
                q->took.commit_offsets / 1000000, bytes, m->dropped, stores, stores, bytes);
    }
    buf_z(b, "],");
}

/* Offsets are strings of JSON here, as Spark Connect sends them; null for none. */
static void offset(struct buf *b, const char *name, struct str v)
{
    buf_fmt(b, "\"%s\":", name);
    if (v.n)
        buf_json_str(b, v);
    else
        buf_z(b, "null");
    buf_u8(b, ',');
}

static void sources(struct query *q, struct buf *b, struct arena *a)
{
    buf_z(b, "\"sources\":[");
    for (int i = 0; i < q->nsources; i++) {
        struct query_source *s = &q->sources[i];
        buf_z(b, i ? ",{\"description\":" : "{\"description\":");
        buf_json_str(b, source_description(s->source, a));
        buf_u8(b, ',');
        bool first = q->current.batch == 0; /* the first batch has no start, as Spark reports it */
        offset(b, "startOffset", first ? (struct str){0} : s->start);
        offset(b, "endOffset", s->end);
        offset(b, "latestOffset", s->latest);
        rates(q, b, (int64_t)s->rows);
        buf_z(b, "\"metrics\":{");
        source_metrics(s->source, s->end, s->latest.n ? s->latest : s->end, b);
        buf_z(b, "}}");
    }
    buf_z(b, "],");
}

static void progress_text(struct query *q, struct buf *b, struct arena *a)
{
    char time[64];
    query_iso_ms(q->trigger_start_ms, time);
    buf_fmt(b, "{\"id\":\"%s\",\"runId\":\"%s\",\"name\":", q->ids.id, q->ids.run_id);
    if (q->name.n)
        buf_json_str(b, q->name);
    else
        buf_z(b, "null");
    buf_fmt(b, ",\"timestamp\":\"%s\",\"batchId\":%" PRId64 ",\"batchDuration\":%" PRId64 ",", time, q->current.batch,
            q->took.total / 1000000);
    rates(q, b, q->rows_in);
    durations(&q->took, b);
    event_time(q, b);
    state_operators(q, b);
    sources(q, b, a);
    buf_z(b, "\"sink\":{\"description\":");
    buf_json_str(b, sink_description(q->sink, a));
    buf_fmt(b, ",\"numOutputRows\":%" PRId64 ",\"metrics\":{}},\"observedMetrics\":{}}", q->rows_out);
}

void progress_add(struct query *q)
{
    struct buf b = {0};
    struct arena *a = arena_new(0);
    progress_text(q, &b, a);
    arena_free(a);
    struct str *p = malloc(sizeof *p + b.n);
    if (!p || b.bad)
        memory_out("a query's progress");
    *p = str_make(p + 1, b.n);
    memcpy(p + 1, b.p, b.n);
    buf_free(&b);
    os_mutex_lock(q->lock);
    size_t at = q->nprogress++ % PROGRESS_KEPT;
    free(q->progress[at]);
    q->progress[at] = p;
    os_mutex_unlock(q->lock);
}

size_t query_progress(struct query *q, bool last_only, struct arena *a, struct str **out)
{
    os_mutex_lock(q->lock);
    size_t n = q->nprogress < PROGRESS_KEPT ? q->nprogress : PROGRESS_KEPT, first = q->nprogress - n;
    if (last_only && n)
        first = q->nprogress - (n = 1);
    *out = ARENA_ARRAY(a, n + 1, struct str);
    for (size_t i = 0; i < n; i++)
        (*out)[i] = arena_str(a, *q->progress[(first + i) % PROGRESS_KEPT]);
    os_mutex_unlock(q->lock);
    return n;
}

void query_status(struct query *q, struct query_status *out)
{
    os_mutex_lock(q->lock);
    memcpy(out->message, q->message, sizeof out->message);
    out->is_data_available = q->is_data_available;
    out->is_trigger_active = q->is_trigger_active;
    out->is_active = !q->is_terminated;
    os_mutex_unlock(q->lock);
}

/* "[CLASS] message SQLSTATE: state" as SparkThrowable prints itself; without a class the message alone. */
static struct str cause_text(const struct fault *f, struct arena *a)
{
    const char *class = err_class(f->err), *state = err_sqlstate(f->err);
    if (!class[0])
        return arena_fmt(a, "%s", fault_message(f));
    return arena_fmt(a, "[%s] %s%s%s", class, fault_message(f), state[0] ? " SQLSTATE: " : "", state);
}

bool query_exception(struct query *q, struct fault *out, struct arena *a, struct str *text)
{
    os_mutex_lock(q->lock);
    bool failed = q->is_failed;
    struct str cause = failed ? cause_text(&q->fault, a) : (struct str){0};
    struct str done = arena_str(a, q->committed_text), seen = arena_str(a, q->available_text);
    os_mutex_unlock(q->lock);
    if (!failed)
        return false;
    struct buf plan = {0};
    plan_text(q->plan, false, &plan);
    FAULT(out, ERR_STREAM_FAILED, {"id", q->ids.id}, {"runId", q->ids.run_id}, {"message", arena_z(a, cause)});
    *text = arena_fmt(a,
                      "%.*s\n=== Streaming Query ===\nIdentifier: %.*s%s[id = %s, runId = %s]\n"
                      "Current Committed Offsets: {%.*s}\nCurrent Available Offsets: {%.*s}\n\n"
                      "Current State: ACTIVE\nThread State: RUNNABLE\n\nLogical Plan:\n%.*s",
                      STR_ARG(cause), STR_ARG(q->name), q->name.n ? " " : "", q->ids.id, q->ids.run_id, STR_ARG(done),
                      STR_ARG(seen), STR_ARG(buf_view(&plan)));
    buf_free(&plan);
    return true;
}

void query_explain(struct query *q, bool extended, struct buf *out)
{
    plan_text(q->plan, extended, out);
}
