/* Creates and deletes topics, and asks again until it knows what became of it. */
#include "actors.h"

#include "os/sim.h"

#include <stdio.h>

/* What Metadata says of a name: 1 there (and its id), 0 not there, -1 no answer. */
static int look_up(struct client *c, const char *name, struct os_uuid *id)
{
    struct arena *a = arena_new(0);
    struct kafka_metadata_request *q = KAFKA_NEW(a, metadata_request);
    struct kafka_metadata_response r;
    int found = -1;
    q->topics.p = KAFKA_ARRAY(a, metadata_request_topic, 1);
    q->topics.n = 1;
    q->topics.p->name = str_of(name);
    q->allow_auto_topic_creation = false;
    if (client_call(c, KAFKA_metadata, 12, q, a, &r)) {
        if (r.topics.n != 1)
            world_wrong("metadata of one topic: %d", r.topics.n);
        found = r.topics.p->error_code == KAFKA_E_NONE;
        *id = r.topics.p->topic_id;
        if (!found && !actor_gone(r.topics.p->error_code))
            found = -1;
    }
    arena_free(a);
    return found;
}

static struct w_topic *new_topic(const char *name, int parts)
{
    if (W->ntopics == W_TOPICS)
        return NULL;
    struct w_topic *t = &W->topics[W->ntopics++];
    snprintf(t->name, sizeof t->name, "%s", name);
    t->state = W_CREATING;
    t->parts = parts;
    t->id = (struct os_uuid){{0}};
    for (int i = 0; i < W_PARTS; i++) {
        struct w_part *p = &t->part[i];
        p->hw = p->end = p->nmaybe = 0;
        p->committed = -1;
        memset(p->last, 0, sizeof p->last);
    }
    for (int i = 0; i < W_PRODUCERS; i++)
        memset(W->producers[i].next_seq[t - W->topics], 0, sizeof W->producers[i].next_seq[0]);
    return t;
}

static void came_true(struct w_topic *t, struct os_uuid id)
{
    for (int i = 0; i < W->ntopics; i++)
        if (!memcmp(W->topics[i].id.b, id.b, sizeof id.b))
            world_wrong("the topic id of %s is that of an earlier %s", t->name, W->topics[i].name);
    t->id = id;
    t->state = W_LIVE;
}

static void create(struct client *c, struct w_topic *t)
{
    struct arena *a = arena_new(0);
    struct kafka_create_topics_request *q = KAFKA_NEW(a, create_topics_request);
    struct kafka_create_topics_response r;
    struct os_uuid id;
    q->topics.p = KAFKA_ARRAY(a, create_topics_topic, 1);
    q->topics.n = 1;
    q->topics.p->name = str_of(t->name);
    q->topics.p->num_partitions = t->parts;
    q->topics.p->replication_factor = 1;
    q->timeout_ms = 20000;
    if (client_call(c, KAFKA_create_topics, 7, q, a, &r)) {
        int16_t code = r.topics.n == 1 ? r.topics.p->error_code : KAFKA_E_UNKNOWN_SERVER_ERROR;
        if (code == KAFKA_E_NONE)
            came_true(t, r.topics.p->topic_id);
        else if (code == KAFKA_E_TOPIC_ALREADY_EXISTS && look_up(c, t->name, &id) == 1)
            came_true(t, id); /* an earlier request, whose answer was lost */
        else if (code != KAFKA_E_TOPIC_ALREADY_EXISTS && !actor_later(code) && !W->rotten)
            world_wrong("create %s: %s %.*s", t->name, kafka_code_name(code), STR_ARG(r.topics.p->error_message));
    }
    arena_free(a);
}

static void delete (struct client *c, struct w_topic *t)
{
    struct arena *a = arena_new(0);
    struct kafka_delete_topics_request *q = KAFKA_NEW(a, delete_topics_request);
    struct kafka_delete_topics_response r;
    t->state = W_DELETING;
    q->topics.p = KAFKA_ARRAY(a, delete_topics_topic, 1);
    q->topics.n = 1;
    q->topics.p->topic_id = t->id;
    q->topics.p->name = (struct str){NULL, 0};
    q->timeout_ms = 20000;
    if (client_call(c, KAFKA_delete_topics, 6, q, a, &r)) {
        int16_t code = r.responses.n == 1 ? r.responses.p->error_code : KAFKA_E_UNKNOWN_SERVER_ERROR;
        if (code == KAFKA_E_NONE || actor_gone(code))
            t->state = W_GONE;
        else if (!actor_later(code) && !W->rotten)
            world_wrong("delete %s: %s", t->name, kafka_code_name(code));
    }
    arena_free(a);
}

/* A topic whose fate is open, or NULL. */
static struct w_topic *undecided(void)
{
    for (int i = 0; i < W->ntopics; i++)
        if (W->topics[i].state == W_CREATING || W->topics[i].state == W_DELETING)
            return &W->topics[i];
    return NULL;
}

static void decide(struct client *c, struct w_topic *t)
{
    if (t->state == W_CREATING)
        create(c, t);
    else
        delete (c, t);
}

static bool admin_create(struct client *c, const char *name, int parts)
{
    struct w_topic *t = world_topic(name);
    if (!t)
        t = new_topic(name, parts);
    if (t && t->state == W_CREATING)
        create(c, t);
    return t && t->state == W_LIVE;
}

/* A deleted topic does not come back, one that is there does not go. */
static void look(struct client *c, const char *name)
{
    struct w_topic *t = world_topic(name);
    struct os_uuid id;
    if (t && t->state != W_LIVE)
        return;
    int there = look_up(c, name, &id);
    if (world_topic(name) != t || (t && t->state != W_LIVE) || there < 0 || W->rotten)
        return;
    if (there != (t != NULL) || (t && memcmp(id.b, t->id.b, sizeof id.b)))
        world_wrong("topic %s: metadata says it is %s", name, there ? "there" : "not there");
}

/* Those that are never deleted. */
static const struct {
    const char *name;
    int parts;
} LASTING[] = {{"s", W_PARTS}, {"q0", W_PARTS}, {"q1", 1}};

static int lacking(void)
{
    for (int i = 0; i < (int)(sizeof LASTING / sizeof *LASTING); i++)
        if (!world_topic(LASTING[i].name))
            return i;
    return -1;
}

void admin_run(void *arg)
{
    static const char *const NAMES[] = {"t0", "t1", "t2"};
    struct actor *me = arg;
    while (RUN.phase != QUIT) {
        struct w_topic *t = undecided();
        const char *name = NAMES[sim_random(3)];
        if (t)
            decide(&me->client, t);
        else if (lacking() >= 0)
            (void)admin_create(&me->client, LASTING[lacking()].name, LASTING[lacking()].parts);
        else if (RUN.phase == WORK && sim_random(4) == 0 && !world_topic(name))
            (void)admin_create(&me->client, name, 1 + (int)sim_random(W_PARTS));
        else if (RUN.phase == WORK && sim_random(20) == 0 && actor_topic(name) && W->ntopics < W_TOPICS)
            delete (&me->client, actor_topic(name));
        else if (RUN.phase == WORK)
            look(&me->client, sim_random(3) ? name : "s");
        actor_pause(t ? 100 : 400);
    }
}
