#include "cli/cli.h"
#include "cli/kclient.h"
#include "cli/output.h"
#include "log/batch.h"
#include "os/os.h"
#include "os/process.h"

#include <stdio.h>
#include <stdlib.h>

enum { FETCH_WAIT_MS = 500, FETCH_BYTES = 4 << 20, DECOMPRESSED_LIMIT = 256 << 20, EARLIEST = -2, LATEST = -1 };

struct tail { /* one partition that is read */
    const struct kafka_metadata_partition *meta;
    int64_t at, end; /* end: where to stop without --follow */
};

struct consumer {
    const struct cli_command *self;
    const char *bootstrap, *topic, *format_text, *from, *group;
    bool follow, with_key;
    int64_t partition, max, timeout_ms;
    bool plain; /* values only, a line each */
    enum output_format format;
    struct kclient *k;
    struct arena *arena; /* metadata */
    struct kafka_metadata_topic *meta;
    struct tail *tails;
    int ntails;
    struct output *out;
    int64_t printed;
    bool interrupted;
    int32_t coordinator;
};

static const struct output_column COLUMNS[] = {{"partition", true}, {"offset", true}, {"timestamp_ms", true},
                                               {"key", false},      {"value", false}, {"headers", false}};

static enum err headers_text(const struct record *r, struct buf *out, struct fault *f)
{
    size_t at = 0;
    for (int32_t i = 0; i < r->nheaders; i++) {
        struct str key, value;
        enum err e = record_header(r, &at, &key, &value, f);
        if (e)
            return e;
        buf_fmt(out, "%s%.*s=%.*s", i ? "," : "", STR_ARG(key), STR_ARG(value));
    }
    return ERR_OK;
}

static enum err print_record(struct consumer *c, int32_t partition, const struct record *r, struct fault *f)
{
    c->printed++;
    if (c->plain) {
        if (c->with_key) {
            fwrite(r->key.p, 1, r->key.n, stdout);
            putchar('\t');
        }
        fwrite(r->value.p, 1, r->value.n, stdout);
        putchar('\n');
        return ERR_OK;
    }
    char n[3][24];
    struct buf headers = {0};
    enum err e = headers_text(r, &headers, f);
    snprintf(n[0], sizeof n[0], "%d", partition);
    snprintf(n[1], sizeof n[1], "%lld", (long long)r->offset);
    snprintf(n[2], sizeof n[2], "%lld", (long long)r->timestamp_ms);
    struct str cells[] = {str_of(n[0]), str_of(n[1]), str_of(n[2]),
                          r->key,       r->value,     r->nheaders ? buf_view(&headers) : str_make(NULL, 0)};
    if (!e)
        output_row(c->out, cells);
    buf_free(&headers);
    return e;
}

static bool enough(const struct consumer *c)
{
    return c->max && c->printed >= c->max;
}

/* All batches of one partition's answer; a batch may begin before the offset asked for. */
static enum err print_batches(struct consumer *c, struct tail *t, struct str bytes, struct arena *a, struct fault *f)
{
    while (bytes.n >= BATCH_HEADER && !enough(c)) {
        struct batch b;
        struct record_iter it;
        if (batch_parse(bytes, &b, NULL) != ERR_OK)
            return ERR_OK; /* the last one may be cut */
        if (!batch_crc_ok(&b))
            return FAULT(f, ERR_CORRUPT, {"what", "a record batch"}, {"detail", "its CRC does not match"});
        enum err e = b.attributes & 0x20 ? ERR_OK : records_begin(&it, &b, a, DECOMPRESSED_LIMIT, f);
        for (bool got = !(b.attributes & 0x20); !e && got && !enough(c);) {
            struct record r;
            e = records_next(&it, &r, &got, f);
            if (e || !got || r.offset < t->at)
                continue;
            e = print_record(c, t->meta->partition_index, &r, f);
            t->at = r.offset + 1;
        }
        if (e)
            return e;
        if (!enough(c))
            t->at = b.base_offset + b.last_offset_delta + 1;
        bytes = str_sub(bytes, b.all.n, bytes.n);
    }
    return ERR_OK;
}

static bool wanted(const struct consumer *c, const struct tail *t)
{
    return c->follow || t->at < t->end;
}

/* One fetch from one leader for those of its partitions that are still wanted. */
static enum err fetch(struct consumer *c, int32_t leader, struct fault *f)
{
    struct arena *a = arena_new(0);
    struct kafka_fetch_request *request = KAFKA_NEW(a, fetch_request);
    struct kafka_fetch_response *response = KAFKA_NEW(a, fetch_response);
    request->replica_id = -1;
    request->max_wait_ms = FETCH_WAIT_MS;
    request->min_bytes = 1;
    request->max_bytes = 8 * FETCH_BYTES;
    request->topics.p = KAFKA_ARRAY(a, fetch_topic, 1);
    request->topics.n = 1;
    struct kafka_fetch_topic *topic = &request->topics.p[0];
    topic->topic = c->meta->name;
    topic->partitions.p = KAFKA_ARRAY(a, fetch_partition, (size_t)c->ntails);
    for (int i = 0; i < c->ntails; i++) {
        if (c->tails[i].meta->leader_id != leader || !wanted(c, &c->tails[i]))
            continue;
        struct kafka_fetch_partition *p = &topic->partitions.p[topic->partitions.n++];
        p->partition = c->tails[i].meta->partition_index;
        p->fetch_offset = c->tails[i].at;
        p->partition_max_bytes = FETCH_BYTES;
    }
    enum err e = ERR_OK;
    if (topic->partitions.n)
        e = kclient_call(c->k, leader, KAFKA_fetch, request, a, response, f);
    for (int32_t i = 0; !e && i < response->responses.n; i++)
        for (int32_t j = 0; !e && j < response->responses.p[i].partitions.n; j++) {
            const struct kafka_fetch_partition_response *p = &response->responses.p[i].partitions.p[j];
            e = kclient_check(c->meta->name, p->error_code, str_make(NULL, 0), f);
            for (int t = 0; !e && t < c->ntails; t++)
                if (c->tails[t].meta->partition_index == p->partition_index)
                    e = print_batches(c, &c->tails[t], p->records, a, f);
        }
    arena_free(a);
    return e;
}

/* The committed offsets of the group, where there are any, replace the starting points. A consumer that is no member of
 * the group reads and commits for it, as Kafka's assign() does. */
static enum err group_offsets(struct consumer *c, struct fault *f)
{
    struct arena *a = arena_new(0);
    struct kafka_offset_fetch_request *request = KAFKA_NEW(a, offset_fetch_request);
    struct kafka_offset_fetch_response *response = KAFKA_NEW(a, offset_fetch_response);
    request->group_id = str_of(c->group);
    request->topics.p = KAFKA_ARRAY(a, offset_fetch_old_topic, 1);
    request->topics.n = 1;
    request->topics.p[0].name = c->meta->name;
    request->topics.p[0].partition_indexes.p = ARENA_ARRAY(a, (size_t)c->ntails, int32_t);
    request->topics.p[0].partition_indexes.n = c->ntails;
    for (int i = 0; i < c->ntails; i++)
        request->topics.p[0].partition_indexes.p[i] = c->tails[i].meta->partition_index;
    enum err e = kclient_coordinator(c->k, request->group_id, &c->coordinator, f);
    if (!e)
        e = kclient_call(c->k, c->coordinator, KAFKA_offset_fetch, request, a, response, f);
    if (!e)
        e = kclient_check(str_of(c->group), response->error_code, str_make(NULL, 0), f);
    for (int32_t i = 0; !e && i < response->topics.n; i++)
        for (int32_t j = 0; j < response->topics.p[i].partitions.n; j++) {
            const struct kafka_offset_fetch_old_partition_response *p = &response->topics.p[i].partitions.p[j];
            for (int t = 0; t < c->ntails; t++)
                if (c->tails[t].meta->partition_index == p->partition_index && p->committed_offset >= 0)
                    c->tails[t].at = p->committed_offset;
        }
    arena_free(a);
    return e;
}

static enum err commit_group(struct consumer *c, struct fault *f)
{
    struct arena *a = arena_new(0);
    struct kafka_offset_commit_request *request = KAFKA_NEW(a, offset_commit_request);
    struct kafka_offset_commit_response *response = KAFKA_NEW(a, offset_commit_response);
    request->group_id = str_of(c->group);
    request->topics.p = KAFKA_ARRAY(a, offset_commit_topic, 1);
    request->topics.n = 1;
    request->topics.p[0].name = c->meta->name;
    request->topics.p[0].partitions.p = KAFKA_ARRAY(a, offset_commit_partition, (size_t)c->ntails);
    request->topics.p[0].partitions.n = c->ntails;
    for (int i = 0; i < c->ntails; i++) {
        request->topics.p[0].partitions.p[i].partition_index = c->tails[i].meta->partition_index;
        request->topics.p[0].partitions.p[i].committed_offset = c->tails[i].at;
    }
    enum err e = kclient_call(c->k, c->coordinator, KAFKA_offset_commit, request, a, response, f);
    if (!e && response->topics.n == 1 && response->topics.p[0].partitions.n)
        e = kclient_check(str_of(c->group), response->topics.p[0].partitions.p[0].error_code, str_make(NULL, 0), f);
    arena_free(a);
    return e;
}

static enum err starting_points(struct consumer *c, struct fault *f)
{
    c->tails = ARENA_ARRAY(c->arena, (size_t)c->meta->partitions.n, struct tail);
    int64_t from = 0;
    bool exact = str_to_i64(str_of(c->from), &from);
    int64_t where = strcmp(c->from, "end") == 0 ? LATEST : EARLIEST;
    for (int32_t i = 0; i < c->meta->partitions.n; i++) {
        const struct kafka_metadata_partition *p = &c->meta->partitions.p[i];
        if (c->partition >= 0 && c->partition != p->partition_index)
            continue;
        struct tail *t = &c->tails[c->ntails++];
        *t = (struct tail){.meta = p, .at = from};
        enum err e = exact ? ERR_OK : kclient_offset(c->k, c->meta->name, p, where, &t->at, f);
        if (!e)
            e = kclient_offset(c->k, c->meta->name, p, LATEST, &t->end, f);
        if (e)
            return e;
    }
    if (!c->ntails)
        return FAULT(f, ERR_NOTFOUND, {"what", "that partition"});
    return c->group ? group_offsets(c, f) : ERR_OK;
}

static bool unfinished(const struct consumer *c)
{
    for (int i = 0; i < c->ntails; i++)
        if (wanted(c, &c->tails[i]))
            return !enough(c);
    return false;
}

static enum err read_on(struct consumer *c, struct fault *f)
{
    int64_t deadline_ns = os_mono_ns() + c->timeout_ms * 1000000;
    while (unfinished(c)) {
        enum os_signal sig = os_signal_wait(0, NULL);
        c->interrupted = sig == OS_SIGNAL_INTERRUPT || sig == OS_SIGNAL_TERMINATE;
        if (c->interrupted)
            return ERR_OK;
        int64_t before = c->printed;
        for (int i = 0; i < c->ntails && !enough(c); i++) {
            int32_t leader = c->tails[i].meta->leader_id;
            bool first = true;
            for (int j = 0; j < i; j++)
                first &= c->tails[j].meta->leader_id != leader;
            enum err e = first ? fetch(c, leader, f) : ERR_OK;
            if (e)
                return e;
        }
        if (fflush(stdout) != 0)
            return FAULT(f, ERR_IO, {"what", "standard output"}, {"detail", "cannot write"});
        if (c->printed != before)
            deadline_ns = os_mono_ns() + c->timeout_ms * 1000000;
        else if (c->timeout_ms && os_mono_ns() > deadline_ns)
            return FAULT(f, ERR_TIMEOUT, {"what", "Waiting for records"});
    }
    return ERR_OK;
}

static int consume(struct consumer *c)
{
    struct fault f;
    enum err e = kclient_open(&c->k, c->bootstrap, 30000, &f);
    if (!e)
        e = kclient_topic(c->k, str_of(c->topic), false, c->arena, &c->meta, &f);
    if (!e)
        e = starting_points(c, &f);
    if (!e) {
        c->out = c->plain ? NULL : output_new(c->format, COLUMNS, sizeof COLUMNS / sizeof COLUMNS[0]);
        e = read_on(c, &f);
        if (c->out && !output_end(c->out) && !e)
            e = FAULT(&f, ERR_IO, {"what", "standard output"}, {"detail", "cannot write"});
        /* what was printed is committed, also after an interrupt or a timeout */
        if (c->group && (!e || e == ERR_TIMEOUT)) {
            struct fault g;
            if (commit_group(c, &g)) {
                f = g;
                e = g.err;
            }
        }
    }
    kclient_close(c->k);
    return e ? cli_fail(c->self, &f) : c->interrupted ? CLI_INTERRUPTED : CLI_OK;
}

int cmd_consume(const struct cli_command *self, int argc, char **argv)
{
    struct consumer c = {.self = self, .bootstrap = cli_default_bootstrap(), .from = "beginning", .partition = -1};
    struct cli_option rows[] = {
        CLI_BOOTSTRAP(&c.bootstrap),
        {"from", 'o', CLI_TEXT, &c.from, "WHERE", "beginning, end or an offset [beginning]", 0, 0},
        {"follow", 'f', CLI_FLAG, &c.follow, NULL, "go on when the end is reached", 0, 0},
        {"max", 'n', CLI_INT, &c.max, "N", "stop after N records", 1, INT64_MAX},
        {"timeout-ms", 0, CLI_INT, &c.timeout_ms, "MS", "give up (exit 5) when no record comes for so long", 1,
         86400000},
        {"partition", 'p', CLI_INT, &c.partition, "N", "read only this partition", 0, 99999},
        {"group", 'g', CLI_TEXT, &c.group, "GROUP", "begin where the group stands, commit what was printed", 0, 0},
        {"key", 'k', CLI_FLAG, &c.with_key, NULL, "print the key and a tab before the value", 0, 0},
        {"format", 0, CLI_TEXT, &c.format_text, "table|json|csv", "print all of a record [value only]", 0, 0},
    };
    struct cli_args args;
    int rc = cli_parse(self, rows, sizeof rows / sizeof rows[0], NULL, false, argc, argv, &args);
    if (rc >= 0)
        return rc;
    int64_t offset;
    if (args.n != 1)
        return cli_usage(self, "from which topic?");
    if (!output_format(c.format_text, &c.format))
        return cli_usage(self, "--format %s: must be table, json or csv", c.format_text);
    if (strcmp(c.from, "beginning") != 0 && strcmp(c.from, "end") != 0 &&
        (!str_to_i64(str_of(c.from), &offset) || offset < 0))
        return cli_usage(self, "--from %s: must be beginning, end or an offset", c.from);
    c.plain = !c.format_text;
    c.topic = args.p[0];
    os_signals_block();
    c.arena = arena_new(0);
    rc = consume(&c);
    arena_free(c.arena);
    return rc;
}
