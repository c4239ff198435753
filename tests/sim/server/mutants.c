/*
 * mutants: bugs on purpose. The linker sends these calls of the server through here ($(SIM_WRAP) in mk/sim.mk); a mutant does
 * one of them wrong. Each must make some seed fail, or the test does not see what it claims to see.
 */
#include "mutants.h"
#include "world.h"

#include "log/log_int.h"
#include "os/net.h"
#include "os/sim.h"
#include "state/state.h"

static const struct mutant MUTANTS[] = {
    {"sync", "the journal is not synced before it is acknowledged"},
    {"duplicate", "a batch that is sent again is taken again"},
    {"replay", "recovery leaves out a batch of the journal now and then"},
    {"undelete", "recovery forgets that a topic was deleted"},
    {"leak", "a connection's descriptor stays open now and then"},
    {"decide", "a query's batch whose output was committed runs again after a crash"},
    /* Not here: that nobody is told when a high watermark moves. Readers and queries look again by themselves, so they are slower
     * and not wrong; latency is bench/pipeline.c's to see. */
};

const struct mutant *mutant_row(int i)
{
    return i >= 0 && i < (int)(sizeof MUTANTS / sizeof *MUTANTS) ? &MUTANTS[i] : NULL;
}

static bool is(const char *name)
{
    return W && W->mutant && !strcmp(MUTANTS[W->mutant - 1].name, name);
}

const char *mutant_drop_site(void)
{
    return is("sync") ? "journal.append" : NULL;
}

enum log_status __real_producers_check(struct producers *t, enum log_origin origin, const struct batch *b,
                                       const struct producer_batch **duplicate, char message[160]);
enum log_status __wrap_producers_check(struct producers *t, enum log_origin origin, const struct batch *b,
                                       const struct producer_batch **duplicate, char message[160]);
enum log_status __wrap_producers_check(struct producers *t, enum log_origin origin, const struct batch *b,
                                       const struct producer_batch **duplicate, char message[160])
{
    enum log_status s = __real_producers_check(t, origin, b, duplicate, message);
    if (is("duplicate"))
        *duplicate = NULL;
    return s;
}

/* Calls from recovery and of markers; a partition's own appends do not come this way. */
enum err __real_partition_write(struct log_partition *p, const char *bytes, size_t n, int64_t now_ms, struct fault *f);
enum err __wrap_partition_write(struct log_partition *p, const char *bytes, size_t n, int64_t now_ms, struct fault *f);
enum err __wrap_partition_write(struct log_partition *p, const char *bytes, size_t n, int64_t now_ms, struct fault *f)
{
    if (is("replay") && sim_random(20) == 0)
        return ERR_OK;
    return __real_partition_write(p, bytes, n, now_ms, f);
}

bool __real_meta_apply(struct log *l, int kind, struct str rest);
bool __wrap_meta_apply(struct log *l, int kind, struct str rest);
bool __wrap_meta_apply(struct log *l, int kind, struct str rest)
{
    return (is("undelete") && kind == REC_DELETE) || __real_meta_apply(l, kind, rest);
}

void __real_net_close(int fd);
void __wrap_net_close(int fd);
void __wrap_net_close(int fd)
{
    if (!is("leak") || sim_random(20))
        __real_net_close(fd);
}

enum err __real_checkpoint_decide(struct checkpoint *c, int64_t batch, bool committed, struct fault *f);
enum err __wrap_checkpoint_decide(struct checkpoint *c, int64_t batch, bool committed, struct fault *f);
enum err __wrap_checkpoint_decide(struct checkpoint *c, int64_t batch, bool committed, struct fault *f)
{
    return __real_checkpoint_decide(c, batch, committed && !is("decide"), f);
}
