/* The simulated disk's failures, and damage at rest. */
#include "os/sim_int.h"

#include <stdio.h>
#include <stdlib.h>

static struct sim_disk disk;
static uint64_t failures;

void sim_disk(const struct sim_disk *d)
{
    disk = *d;
}

uint64_t sim_disk_failures(void)
{
    return failures;
}

bool sim_fails(enum sim_fault_kind kind)
{
    const uint32_t one_in[] = {disk.read_one_in, disk.write_one_in, disk.sync_one_in, disk.space_one_in};
    bool fails = sim_chance(one_in[kind]);
    failures += fails;
    return fails;
}

void sim_slow(void)
{
    if (sim_chance(disk.slow_one_in))
        sim_wait(&disk, simt_mono_ns() + 1 + (int64_t)sim_random((uint64_t)disk.slow_ns));
}

/*
 * The kernel tried to write the dirty pages back, and some it could not. It tells whoever syncs, once, and takes all of them
 * for clean: in memory stays what was written (ext4, xfs), or comes back what is on the platter (btrfs).
 */
void sim_node_lost(struct node *n)
{
    bool keep = sim_o.seed & 1;
    for (uint64_t page = 0; page < n->cap / PAGE; page++) {
        char *seen = n->bytes[0] + page * PAGE, *platter = n->bytes[1] + page * PAGE;
        if (!n->dirty[page])
            continue;
        if (sim_random(2))
            memcpy(platter, seen, PAGE);
        else if (!keep)
            memcpy(seen, platter, PAGE);
        n->dirty[page] = 0;
    }
}

/* -- damage at rest ------------------------------------------------------------------------------------------------------- */

struct found {
    char *path;
    struct node *node;
};
struct finder {
    struct found *p;
    size_t n, cap;
};

static void find_files(struct finder *x, struct node *dir, const char *path)
{
    struct map_slot *s;
    for (size_t i = 0; (s = map_next(&dir->entries, &i));) {
        struct node *n = s->value;
        char *name;
        if (asprintf(&name, "%s/%.*s", path, STR_ARG(map_key(s))) < 0)
            sim_fatal("out of memory");
        if (n->is_dir) {
            find_files(x, n, name);
            free(name);
        } else if (n->size[0]) {
            if (x->n == x->cap && !(x->p = realloc(x->p, (x->cap = x->cap * 2 + 16) * sizeof *x->p)))
                sim_fatal("out of memory");
            x->p[x->n++] = (struct found){name, n};
        } else {
            free(name);
        }
    }
}

static void put(struct node *n, uint64_t at, const char *bytes, size_t size)
{
    size = at + size > n->size[0] ? (size_t)(n->size[0] - at) : size;
    memmove(n->bytes[0] + at, bytes, size);
    memmove(n->bytes[1] + at, bytes, size);
}

static const char *damage(struct node *n, const struct found *other)
{
    static const char zeros[SECTOR];
    uint64_t byte = sim_random(n->size[0]), sector = byte / SECTOR * SECTOR;
    uint64_t from = sim_random(other->node->size[0]) / SECTOR * SECTOR;
    switch (sim_random(3)) {
    case 0:
        n->bytes[0][byte] ^= (char)(1 << sim_random(8));
        n->bytes[1][byte] = n->bytes[0][byte];
        return "a bit flipped";
    case 1:
        put(n, sector, zeros, SECTOR);
        return "a sector that was never written";
    default:
        if (other->node->size[0] - from < SECTOR)
            from = 0;
        put(n, sector, other->node->bytes[0] + from,
            other->node->size[0] < SECTOR ? (size_t)other->node->size[0] : SECTOR);
        return "a sector that belongs elsewhere";
    }
}

const char *sim_rot(void)
{
    static char text[400];
    struct finder x = {0};
    find_files(&x, sim_root, "");
    *text = 0;
    if (x.n) {
        const struct found *f = &x.p[sim_random(x.n)];
        const char *what = damage(f->node, &x.p[sim_random(x.n)]);
        snprintf(text, sizeof text, "%s: %s", f->path, what);
    }
    for (size_t i = 0; i < x.n; i++)
        free(x.p[i].path);
    free(x.p);
    return *text ? text : NULL;
}
