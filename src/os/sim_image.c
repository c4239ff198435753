/* What a cut leaves of the simulated disk, and the images in which it travels from one process to the next. */
#include "base/buf.h"
#include "os/alloc_fault.h"
#include "os/sim_int.h"

#include <stdlib.h>
#include <unistd.h>

/* -- the power cut -------------------------------------------------------------------------------------------------------- */

void sim_apply(struct map *entries, const struct change *c)
{
    alloc_fault_pause();
    if (c->old)
        map_del(entries, str_of(c->old));
    if (c->node)
        map_put(entries, str_of(c->name), c->node);
    else
        map_del(entries, str_of(c->name));
    alloc_fault_resume();
}

/* How much of what was not synced survives: of this file nothing, everything, or what chance says. */
static void cut_file(struct node *n)
{
    uint64_t mood = sim_random(4), pages = n->cap / PAGE;
    if (n->nsizes || n->size[0] != n->size[1]) {
        uint64_t pick = mood == 0 ? 0 : mood == 1 ? 1 : sim_random((uint64_t)n->nsizes + 2);
        n->size[1] = pick == 0 ? n->size[1] : pick == 1 ? n->size[0] : n->sizes[pick - 2];
    }
    for (uint64_t page = 0; page < pages; page++) {
        if (!n->dirty[page] || mood == 0 || (mood > 1 && sim_random(2)))
            continue;
        bool torn = mood == 3 && sim_random(4) == 0;
        for (uint64_t at = page * PAGE; at < (page + 1) * PAGE; at += SECTOR)
            if (!torn || sim_random(2))
                memcpy(n->bytes[1] + at, n->bytes[0] + at, SECTOR);
    }
    if (n->cap > n->size[1])
        memset(n->bytes[1] + n->size[1], 0, n->cap - n->size[1]);
}

static bool touches(const struct change *c, const struct change *earlier)
{
    const char *mine[] = {c->name, c->old}, *its[] = {earlier->name, earlier->old};
    for (int i = 0; i < 4; i++)
        if (mine[i & 1] && its[i >> 1] && !strcmp(mine[i & 1], its[i >> 1]))
            return true;
    return false;
}

/*
 * Of a directory's changes a prefix survives; or each name's fate is its own; or only the last, and what it needs. In any
 * case never a change without the earlier ones of its names.
 */
static void cut_dir(struct node *n)
{
    uint64_t mood = sim_random(3), prefix = sim_random(n->changes.n + 1);
    bool *lost = sim_alloc(n->changes.n + 1), *needed = sim_alloc(n->changes.n + 1);
    for (size_t i = n->changes.n; i-- > 0;) {
        needed[i] = i + 1 == n->changes.n;
        for (size_t k = i + 1; k < n->changes.n && !needed[i]; k++)
            needed[i] = needed[k] && touches(&n->changes.p[k], &n->changes.p[i]);
    }
    for (size_t i = 0; i < n->changes.n; i++) {
        lost[i] = mood == 0 ? i >= prefix : mood == 1 ? sim_random(2) : !needed[i];
        for (size_t k = 0; k < i && !lost[i]; k++)
            lost[i] = lost[k] && touches(&n->changes.p[i], &n->changes.p[k]);
        if (!lost[i])
            sim_apply(&n->durable, &n->changes.p[i]);
    }
    free(needed);
    free(lost);
}

/* -- images: every node that can be reached, by number, both versions of it ------------------------------------------------- */

struct saver {
    struct buf b;
    VEC(struct node *) nodes;
};

static void collect(struct saver *s, struct node *n)
{
    struct map_slot *slot;
    if (!n || (n->mark > 0 && (size_t)n->mark <= s->nodes.n && s->nodes.p[n->mark - 1] == n))
        return;
    vec_push(&s->nodes, n);
    n->mark = (int)s->nodes.n;
    for (size_t i = 0; n->is_dir && (slot = map_next(&n->entries, &i));)
        collect(s, slot->value);
    for (size_t i = 0; n->is_dir && (slot = map_next(&n->durable, &i));)
        collect(s, slot->value);
    for (size_t i = 0; i < n->changes.n; i++)
        collect(s, n->changes.p[i].node);
}

static void save_text(struct buf *b, const char *text)
{
    buf_u32le(b, text ? (uint32_t)strlen(text) : UINT32_MAX);
    buf_put(b, text ? text : "", text ? strlen(text) : 0);
}

static void save_entries(struct buf *b, const struct map *entries)
{
    struct map_slot *s;
    buf_u32le(b, (uint32_t)entries->n);
    for (size_t i = 0; (s = map_next(entries, &i));) {
        save_text(b, s->key);
        buf_u32le(b, (uint32_t)((struct node *)s->value)->mark);
    }
}

static size_t dirty_bytes(uint64_t a, uint64_t b)
{
    return (size_t)(((a > b ? a : b) + PAGE - 1) / PAGE);
}

/* One version (0: what processes see, 1: the platter) as both, or both as they are. */
static void save_node(struct buf *b, const struct node *n, int version, bool both)
{
    int second = both ? 1 : version, first = both ? 0 : version;
    buf_u8(b, n->is_dir);
    if (!n->is_dir) {
        buf_u64le(b, n->size[first]);
        buf_put(b, n->bytes[first], n->size[first]);
        buf_u64le(b, both ? n->size[second] : UINT64_MAX);
        if (both) {
            buf_put(b, n->bytes[second], n->size[second]);
            buf_put(b, n->dirty, dirty_bytes(n->size[0], n->size[1]));
        }
        return;
    }
    save_entries(b, first ? &n->durable : &n->entries);
    save_entries(b, second ? &n->durable : &n->entries);
    buf_u32le(b, both ? (uint32_t)n->changes.n : 0);
    for (size_t i = 0; both && i < n->changes.n; i++) {
        save_text(b, n->changes.p[i].name);
        save_text(b, n->changes.p[i].old);
        buf_u32le(b, n->changes.p[i].node ? (uint32_t)n->changes.p[i].node->mark : 0);
    }
}

static void save(struct saver *s, int version, bool both)
{
    s->b.limit = (size_t)1 << 32;
    collect(s, sim_root);
    buf_u32le(&s->b, (uint32_t)s->nodes.n);
    for (size_t i = 0; i < s->nodes.n; i++)
        save_node(&s->b, s->nodes.p[i], version, both);
    vec_free(&s->nodes);
    if (s->b.bad)
        sim_fatal("the disk's image is too large");
}

static void end(struct saver *s)
{
    if (sim_o.on_cut)
        sim_o.on_cut(sim_o.arg, s->b.p, s->b.n);
    _exit(0);
}

void sim_cut(void)
{
    struct saver s = {0};
    alloc_fault_pause();
    if (sim_o.kill) { /* the process is gone, the machine goes on: so does its page cache */
        save(&s, 0, true);
        end(&s);
    }
    collect(&s, sim_root);
    for (size_t i = 0; i < s.nodes.n; i++)
        s.nodes.p[i]->is_dir ? cut_dir(s.nodes.p[i]) : cut_file(s.nodes.p[i]);
    s.nodes.n = 0;
    save(&s, 1, false);
    end(&s);
}

char *sim_image(size_t *n)
{
    struct saver s = {0};
    save(&s, 0, false);
    return buf_take(&s.b, n);
}

struct loader {
    const char *at;
    struct node **nodes;
};

static uint32_t load_u32(struct loader *l)
{
    uint32_t v;
    memcpy(&v, l->at, 4);
    l->at += 4;
    return v;
}

static uint64_t load_u64(struct loader *l)
{
    uint64_t v;
    memcpy(&v, l->at, 8);
    l->at += 8;
    return v;
}

static char *load_text(struct loader *l)
{
    uint32_t n = load_u32(l);
    if (n == UINT32_MAX)
        return NULL;
    char *p = sim_alloc((size_t)n + 1);
    memcpy(p, l->at, n);
    l->at += n;
    return p;
}

static void load_entries(struct loader *l, struct map *entries)
{
    for (uint32_t n = load_u32(l); n; n--) {
        char *name = load_text(l);
        map_put(entries, str_of(name), l->nodes[load_u32(l)]);
        free(name);
    }
}

static void load_file(struct loader *l, struct node *n)
{
    uint64_t size = load_u64(l);
    sim_node_room(n, size);
    sim_node_resize(n, size);
    if (size)
        memcpy(n->bytes[0], l->at, size);
    l->at += size;
    if (n->cap)
        memset(n->dirty, 1, n->cap / PAGE);
    sim_node_synced(n);
    if ((size = load_u64(l)) == UINT64_MAX)
        return;
    sim_node_room(n, size);
    if (n->cap)
        memset(n->bytes[1], 0, n->cap);
    if (size)
        memcpy(n->bytes[1], l->at, size);
    l->at += size;
    n->size[1] = size;
    size_t pages = dirty_bytes(n->size[0], n->size[1]);
    if (pages)
        memcpy(n->dirty, l->at, pages);
    l->at += pages;
}

static void load_node(struct loader *l, struct node *n)
{
    n->is_dir = *l->at++;
    if (!n->is_dir) {
        load_file(l, n);
        return;
    }
    load_entries(l, &n->entries);
    load_entries(l, &n->durable);
    for (uint32_t k = load_u32(l); k; k--) {
        struct change c = {.name = load_text(l), .old = load_text(l)};
        c.node = l->nodes[load_u32(l)];
        vec_push(&n->changes, c);
    }
}

void sim_load(const char *image)
{
    struct loader l = {.at = image};
    uint32_t n = load_u32(&l);
    l.nodes = sim_alloc(sizeof *l.nodes * ((size_t)n + 1)); /* number 0: no node */
    for (uint32_t i = 1; i <= n; i++)
        l.nodes[i] = sim_node_new(false);
    for (uint32_t i = 1; i <= n; i++)
        load_node(&l, l.nodes[i]);
    sim_root = l.nodes[1];
    free(l.nodes);
}
