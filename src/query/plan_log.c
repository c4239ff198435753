/* The texts of Spark's offsets/N (OffsetSeqLog) and commits/N (CommitLog), which are also what the commit log keeps. */
#include "query/query_int.h"

#include <inttypes.h>
#include <stdio.h>

/* Spark's OffsetSeqMetadata.relevantSQLConfs with its defaults; shuffle.partitions is the query's own. */
static const char CONFS[] = "\"spark.sql.streaming.stateStore.providerClass\":"
                            "\"org.apache.spark.sql.execution.streaming.state.HDFSBackedStateStoreProvider\","
                            "\"spark.sql.streaming.join.stateFormatVersion\":\"2\","
                            "\"spark.sql.streaming.stateStore.compression.codec\":\"lz4\","
                            "\"spark.sql.streaming.stateStore.rocksdb.formatVersion\":\"5\","
                            "\"spark.sql.streaming.statefulOperator.useStrictDistribution\":\"true\","
                            "\"spark.sql.streaming.flatMapGroupsWithState.stateFormatVersion\":\"2\","
                            "\"spark.sql.streaming.multipleWatermarkPolicy\":\"min\","
                            "\"spark.sql.streaming.aggregation.stateFormatVersion\":\"2\",";

void batch_plan_text(const struct batch_plan *p, int nsources, struct buf *out)
{
    buf_fmt(out, "v1\n{\"batchWatermarkMs\":%" PRId64 ",\"batchTimestampMs\":%" PRId64 ",\"conf\":{%s", p->watermark_ms,
            p->timestamp_ms, CONFS);
    buf_fmt(out, "\"spark.sql.shuffle.partitions\":\"%" PRId64 "\"}}", p->shuffle_partitions);
    for (int i = 0; i < nsources; i++) {
        buf_u8(out, '\n');
        buf_str(out, p->ends[i].n ? p->ends[i] : STR("-"));
    }
}

static struct str line(struct str *rest)
{
    const char *end = rest->n ? memchr(rest->p, '\n', rest->n) : NULL;
    struct str l = str_sub(*rest, 0, end ? (size_t)(end - rest->p) : rest->n);
    *rest = str_sub(*rest, l.n + 1, rest->n);
    return l;
}

static void confs(struct json *j, struct arena *a, struct batch_plan *out)
{
    struct str name, value;
    json_object(j);
    while (json_more(j, '}')) {
        if (!json_key(j, a, &name) || !json_string(j, a, &value))
            return;
        if (str_eqz(name, "spark.sql.shuffle.partitions") && !str_to_i64(value, &out->shuffle_partitions))
            json_fail(j);
    }
}

enum err batch_plan_parse(struct str text, int nsources, struct arena *a, struct batch_plan *out, struct fault *f)
{
    struct str version = line(&text), name;
    struct json j = json_of(line(&text), false);
    json_object(&j);
    while (json_more(&j, '}')) {
        if (!json_key(&j, a, &name))
            break;
        if (str_eqz(name, "batchWatermarkMs"))
            json_i64(&j, &out->watermark_ms);
        else if (str_eqz(name, "batchTimestampMs"))
            json_i64(&j, &out->timestamp_ms);
        else if (str_eqz(name, "conf"))
            confs(&j, a, out);
        else
            json_skip(&j, NULL);
    }
    out->ends = ARENA_ARRAY(a, (size_t)nsources + 1, struct str);
    for (int i = 0; i < nsources; i++) {
        struct str l = line(&text);
        out->ends[i] = str_eqz(l, "-") ? (struct str){"", 0} : arena_str(a, l);
    }
    return str_eqz(version, "v1") && !j.bad && !text.n
               ? ERR_OK
               : FAULT(f, ERR_CORRUPT, {"what", "The checkpoint"}, {"detail", "a plan does not parse"});
}

void batch_commit_text(int64_t next_watermark_ms, struct buf *out)
{
    buf_fmt(out, "v1\n{\"nextBatchWatermarkMs\":%" PRId64 "}", next_watermark_ms);
}

bool batch_commit_parse(struct str text, struct arena *a, int64_t *next_watermark_ms)
{
    struct str version = line(&text), name;
    struct json j = json_of(text, false);
    json_object(&j);
    while (json_more(&j, '}')) {
        if (!json_key(&j, a, &name))
            break;
        if (str_eqz(name, "nextBatchWatermarkMs"))
            json_i64(&j, next_watermark_ms);
        else
            json_skip(&j, NULL);
    }
    return str_eqz(version, "v1") && !j.bad;
}
