#include "live.h"

#include "query/query.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct live {
    struct truth *t;
    struct query_manager *manager;
    struct memory_tables *tables;
    struct query *query;
    struct arena *plan;
};

__attribute__((noreturn)) static void wrong(const struct truth *t, const char *what, long long a, long long b)
{
    if (!t->quiet)
        fprintf(stderr, "  query: %s (%lld, %lld)\n", what, a, b);
    _exit(1);
}

/* -- the plan ------------------------------------------------------------------------------------------------------------- */

static const char *conf(void *arg, const char *key)
{
    (void)arg;
    return !strcmp(key, "spark.sql.shuffle.partitions") ? "2" : NULL;
}

static const struct rel *view(void *arg, const struct str *parts, int nparts)
{
    struct arena *a = arg;
    if (nparts != 1 || !str_eqz(parts[0], "s"))
        return NULL;
    struct rel *r = rel_new(a, REL_SOURCE, 0);
    r->format = STR("kafka");
    r->is_streaming = true;
    r->options = ARENA_ARRAY(a, 3, struct option);
    r->options[r->noptions++] = (struct option){STR("kafka.bootstrap.servers"), STR("localhost:1")};
    r->options[r->noptions++] = (struct option){STR("subscribe"), STR("s")};
    r->options[r->noptions++] = (struct option){STR("startingOffsets"), STR("earliest")};
    return r;
}

static enum err schema_of(void *arg, struct str format, const struct option *options, int noptions,
                          const struct type *user_schema, bool is_streaming, struct arena *a,
                          const struct type **schema, struct fault *f)
{
    (void)arg;
    return source_schema(format, options, noptions, user_schema, is_streaming, a, schema, f);
}

static enum err make_plan(struct arena *a, struct plan **out, struct fault *f)
{
    struct plan_env env = {.arg = a, .view = view, .conf = conf, .source_schema = schema_of};
    struct statement st;
    enum err e = sql_parse(STR("SELECT partition, count(*), max(offset) FROM s GROUP BY partition"), a, &st, f);
    return e ? e : plan_analyze(st.rel, &env, out, f);
}

/* -- what it tells ---------------------------------------------------------------------------------------------------------- */

/* Of a table's lines in any order: the order of groups is nobody's promise. */
static uint64_t hash_of(struct str s)
{
    uint64_t sum = 0, h = 14695981039346656037u; /* FNV-1a: the same in every process */
    for (size_t i = 0; i < s.n; i++) {
        h = (h ^ (unsigned char)s.p[i]) * 1099511628211u;
        if (s.p[i] == '\n') {
            sum += h;
            h = 14695981039346656037u;
        }
    }
    return sum;
}

static struct t_topic *source_topic(struct truth *t)
{
    for (int i = 0; i < t->ntopics; i++)
        if (!strcmp(t->topics[i].name, "s") && t->topics[i].state == LIVE)
            return &t->topics[i];
    wrong(t, "its topic is not there", 0, 0);
}

static void check_row(struct truth *t, struct t_topic *s, const char *line)
{
    long long partition, count, largest;
    if (sscanf(line, "|%lld |%lld |%lld |", &partition, &count, &largest) != 3 &&
        sscanf(line, "| %lld| %lld| %lld|", &partition, &count, &largest) != 3)
        return;
    if (partition < 0 || partition >= s->parts || count != largest + 1)
        wrong(t, "records counted and largest offset do not agree", count, largest);
    if (s->seen[partition] < largest + 1)
        s->seen[partition] = largest + 1;
    t->query_rows++;
}

static void console(void *arg, struct str text)
{
    struct live *x = arg;
    struct truth *t = x->t;
    long long batch;
    char *copy = strndup(text.p, text.n), *at = copy ? strstr(copy, "Batch: ") : NULL;
    if (!at || sscanf(at, "Batch: %lld", &batch) != 1)
        wrong(t, "a console text without a batch", 0, 0);
    if (batch > t->query_printed + 1 || batch >= QUERY_BATCHES)
        wrong(t, "a batch id with a gap before it", batch, t->query_printed);
    if (batch <= t->query_done)
        wrong(t, "a batch that was reported as done is computed again", batch, t->query_done);
    if (batch == t->query_printed && t->query_text[batch] != hash_of(text))
        wrong(t, "a batch comes again with another table", batch, 0);
    t->query_again += batch == t->query_printed;
    t->query_text[batch] = hash_of(text);
    t->query_printed = batch;
    struct t_topic *s = source_topic(t);
    for (char *line = strtok(at, "\n"); line; line = strtok(NULL, "\n"))
        if (line[0] == '|')
            check_row(t, s, line);
    free(copy);
}

void live_look(struct live *x)
{
    struct arena *a = arena_new(0);
    struct str *p;
    long long batch;
    if (query_progress(x->query, true, a, &p)) {
        const char *at = strstr(arena_z(a, p[0]), "\"batchId\":");
        if (at && sscanf(at, "\"batchId\":%lld", &batch) == 1 && batch > x->t->query_done)
            x->t->query_done = batch;
    }
    arena_free(a);
}

/* -- start, stop ------------------------------------------------------------------------------------------------------------ */

struct live *live_start(struct truth *t, struct log *l)
{
    struct live *x = calloc(1, sizeof *x);
    struct fault f = {0};
    struct query_ids ids;
    if (!x)
        abort();
    x->t = t;
    x->tables = memory_tables_new();
    x->plan = arena_new(0);
    struct source_env env = {.log = l};
    struct query_options o = {.session_id = STR("session"),
                              .mode = OUTPUT_COMPLETE,
                              .trigger = TRIGGER_PROCESSING_TIME,
                              .trigger_ms = 10,
                              .sink_format = STR("console"),
                              .checkpoint_dir = STR("/var/queries/one"),
                              .conf = conf,
                              .tables = x->tables,
                              .console = console,
                              .console_arg = x};
    enum err e = query_manager_new(&env, 0, &x->manager, &f);
    if (!e)
        e = make_plan(x->plan, &o.plan, &f);
    if (!e)
        e = query_start(x->manager, &o, &ids, &f);
    if (e) {
        if (!t->quiet)
            fprintf(stderr, "  query: %s\n", fault_message(&f));
        _exit(1);
    }
    x->query = query_find(x->manager, o.session_id, str_of(ids.id), str_of(ids.run_id));
    return x;
}

void live_stop(struct live *x)
{
    struct fault f = {0};
    struct arena *a = arena_new(0);
    struct str text = {0};
    if (query_exception(x->query, &f, a, &text)) {
        if (!x->t->quiet)
            fprintf(stderr, "  query failed: %s\n", fault_message(&f));
        _exit(1);
    }
    live_look(x);
    arena_free(a);
    query_stop(x->query);
    query_release(x->query);
    query_manager_free(x->manager);
    memory_tables_free(x->tables);
    arena_free(x->plan);
    free(x);
}
