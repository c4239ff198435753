/*
 * actors: the clients of a run, each a thread with a connection of its own. What they were told outlives the process in the
 * world; what they merely remember (member ids, positions) goes with it, as with any client that was started again.
 */
#ifndef PENSTOCK_TESTS_SIM_ACTORS_H
#define PENSTOCK_TESTS_SIM_ACTORS_H

#include "client.h"
#include "world.h"

enum phase { WORK, DRAIN, QUIT }; /* DRAIN: nothing new is begun, everything is brought to its end */
struct run {
    enum phase phase;
    /* Faults of these kinds are possible in this process: errors of the server are answers then. */
    bool clock_jumps, disk_fails, memory_fails;
    int members_stable; /* consumers that hold an assignment of the newest generation */
    int32_t generation;
};
extern struct run RUN;

struct actor {
    int number;
    struct client client;
};

void producer_run(void *actor);
void reader_run(void *actor);
void member_run(void *actor);
void admin_run(void *actor);
void spark_run(void *actor);

/* Is the topic there, partitions and all? */
struct w_topic *actor_topic(const char *name);
/* An error code that says: not now. Anything else that is no success is wrong. */
bool actor_later(int16_t code);
bool actor_gone(int16_t code); /* the topic is not there */
void actor_pause(int64_t most_ms);

/* Fetch from `from`, check what comes, return where to go on. */
int64_t reader_fetch(struct client *c, struct w_topic *t, int part, int64_t from, int32_t wait_ms);
/* The same as a consumer with read_committed sees it, of anybody's records (`once`: in a transaction); *end: the last stable offset, -1: no answer. */
int64_t reader_committed(struct client *c, struct w_topic *t, int part, int64_t from,
                         void (*fn)(const struct record *, int part, bool once), int64_t *end);
/* What OffsetFetch says of the group's offset; false: it said nothing. */
bool member_offset(struct client *c, struct w_topic *t, int part, int64_t *offset);
bool member_caught_up(void); /* committed is what is there */

/* The queries, seen from outside: what stands in their output topics. True: it is all that stands in "s". */
bool spark_caught_up(struct client *c);

#endif
