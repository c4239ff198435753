#include "os/alloc_fault.h"
#include "os/sim_int.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct os_file {
    struct node *node;
    bool writable, lock;
};

struct sim_options sim_o;
struct node *sim_root;
static uint64_t ops, state[2], used_bytes, cut_site_left, dir_syncs_left;
static const char *cut_site;

/* -- randomness, memory, failure --------------------------------------------------------------------------------------- */

/* xorshift128+ (Vigna, 2014). */
static uint64_t next_random(void)
{
    uint64_t a = state[0], b = state[1];
    state[0] = b;
    a ^= a << 23;
    state[1] = a ^ b ^ (a >> 18) ^ (b >> 5);
    return state[1] + b;
}

uint64_t sim_random(uint64_t n)
{
    return (next_random() >> 11) % n;
}

bool sim_chance(uint32_t one_in)
{
    return one_in && sim_random(one_in) == 0;
}

static uint64_t trace;

void sim_trace(uint64_t fact)
{
    trace = (trace ^ fact) * 0x9e3779b97f4a7c15u;
    trace ^= trace >> 29;
}

uint64_t sim_trace_hash(void)
{
    return trace;
}

static void random_bytes(void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)p)[i] = (uint8_t)(next_random() >> 32);
}

void sim_fatal(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "sim (seed %llu): ", (unsigned long long)sim_o.seed);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    _exit(4);
}

static void die(const char *message)
{
    if (sim_o.may_die && sim_o.may_die(sim_o.arg, message)) {
        sim_o.kill = true;
        sim_cut();
    }
    sim_fatal("the process stopped itself: %s", message);
}

void *sim_alloc(size_t n)
{
    alloc_fault_pause();
    void *p = calloc(1, n);
    alloc_fault_resume();
    if (!p)
        sim_fatal("out of memory");
    return p;
}

/* -- nodes -------------------------------------------------------------------------------------------------------------- */

struct node *sim_node_new(bool is_dir)
{
    struct node *n = sim_alloc(sizeof *n);
    n->is_dir = is_dir;
    return n;
}

/* Room for `size` bytes in both versions; what is new is zero. */
void sim_node_room(struct node *n, uint64_t size)
{
    if (size <= n->cap)
        return;
    uint64_t cap = n->cap ? n->cap : PAGE;
    while (cap < size)
        cap *= 2;
    for (int v = 0; v < 2; v++) {
        char *p = sim_alloc(cap);
        if (n->cap)
            memcpy(p, n->bytes[v], n->cap);
        free(n->bytes[v]);
        n->bytes[v] = p;
    }
    uint8_t *dirty = sim_alloc(cap / PAGE);
    if (n->cap)
        memcpy(dirty, n->dirty, n->cap / PAGE);
    free(n->dirty);
    n->dirty = dirty;
    n->cap = cap;
}

static void mark(struct node *n, uint64_t from, uint64_t to)
{
    for (uint64_t page = from / PAGE; page * PAGE < to; page++)
        n->dirty[page] = 1;
}

void sim_node_resize(struct node *n, uint64_t size)
{
    if (n->nsizes < SIZES)
        n->sizes[n->nsizes++] = n->size[0];
    used_bytes = used_bytes - n->size[0] + size;
    n->size[0] = size;
}

/* The kernel writes a page back whenever it likes. */
static void write_back_some(struct node *n)
{
    uint64_t pages = (n->size[0] + PAGE - 1) / PAGE;
    if (!pages || sim_random(3))
        return;
    uint64_t page = sim_random(pages);
    if (n->dirty[page])
        memcpy(n->bytes[1] + page * PAGE, n->bytes[0] + page * PAGE, PAGE);
}

/* Only what is dirty goes to the platter: a page whose write-back failed is clean, and nobody writes it again. */
void sim_node_synced(struct node *n)
{
    for (uint64_t page = 0; page < n->cap / PAGE; page++)
        if (n->dirty[page]) {
            memcpy(n->bytes[1] + page * PAGE, n->bytes[0] + page * PAGE, PAGE);
            n->dirty[page] = 0;
        }
    n->size[1] = n->size[0];
    n->nsizes = 0;
}

/* Every disk operation passes here: it may be the last. */
static void operation(void)
{
    ops++;
    sim_trace(ops);
    if (sim_o.cut_at && ops >= sim_o.cut_at)
        sim_cut();
    sim_may_switch();
}

uint64_t sim_ops(void)
{
    return ops;
}

void sim_cut_in(uint64_t n)
{
    sim_o.cut_at = ops + n;
}

void sim_cut_in_dir_syncs(uint64_t n)
{
    dir_syncs_left = n;
}

void sim_cut_at_site(const char *site, uint64_t n)
{
    cut_site = site;
    cut_site_left = n;
}

void sim_cut_now(void)
{
    sim_cut();
}

void sim_kill_instead(bool kill)
{
    sim_o.kill = kill;
}

void sim_capacity(uint64_t bytes)
{
    sim_o.capacity_bytes = bytes;
}

/* -- paths ------------------------------------------------------------------------------------------------------------------ */

/* The directory that holds the last name of path, and that name. NULL: a parent is missing. */
static struct node *parent_of(const char *path, struct str *name)
{
    struct node *at = sim_root;
    struct str rest = str_of(path);
    for (;;) {
        while (rest.n && *rest.p == '/')
            rest = str_sub(rest, 1, rest.n);
        ptrdiff_t slash = str_find(rest, STR("/"), 0);
        if (slash < 0) {
            *name = rest;
            return at;
        }
        at = map_get(&at->entries, str_sub(rest, 0, (size_t)slash));
        if (!at || !at->is_dir)
            return NULL;
        rest = str_sub(rest, (size_t)slash, rest.n);
    }
}

static struct node *find(const char *path)
{
    struct str name;
    struct node *dir = parent_of(path, &name);
    return !dir ? NULL : !name.n ? dir : map_get(&dir->entries, name);
}

static char *copy_name(struct str name)
{
    char *p = sim_alloc(name.n + 1);
    memcpy(p, name.p, name.n);
    return p;
}

static void change(struct node *dir, struct str name, struct node *node, struct str old)
{
    struct change c = {copy_name(name), old.p ? copy_name(old) : NULL, node};
    sim_apply(&dir->entries, &c);
    alloc_fault_pause();
    vec_push(&dir->changes, c);
    alloc_fault_resume();
}

static enum err missing(struct fault *f, const char *path)
{
    return FAULT(f, ERR_NOTFOUND, {"what", path});
}

static enum err no_space(struct fault *f, const char *what)
{
    return FAULT(f, ERR_NOSPACE, {"what", what});
}

static bool full(uint64_t more)
{
    uint64_t capacity = sim_o.capacity_bytes ? sim_o.capacity_bytes : (uint64_t)1 << 40;
    return used_bytes + more > capacity;
}

/* -- the twin's calls --------------------------------------------------------------------------------------------------------- */

enum err simd_open(struct os_file **out, const char *path, int flags, struct fault *f)
{
    struct str name;
    struct node *dir = parent_of(path, &name), *n = dir ? map_get(&dir->entries, name) : NULL;
    if (n && n->is_dir)
        return fault_errno(f, EISDIR, "open %s", path);
    if (n && (flags & OS_EXCL))
        return FAULT(f, ERR_EXISTS, {"what", path});
    if (!n && !(dir && (flags & OS_CREATE)))
        return missing(f, path);
    if (!n) {
        operation();
        if (sim_fails(SIM_WRITE))
            return fault_errno(f, EIO, "create %s", path);
        if (full(PAGE) || sim_fails(SIM_SPACE))
            return no_space(f, path);
        change(dir, name, n = sim_node_new(false), (struct str){NULL, 0});
    } else if ((flags & OS_TRUNC) && n->size[0]) {
        operation();
        mark(n, 0, n->size[0]);
        memset(n->bytes[0], 0, n->size[0]);
        sim_node_resize(n, 0);
    }
    *out = sim_alloc(sizeof **out);
    **out = (struct os_file){n, (flags & OS_RDWR) != 0, false};
    return ERR_OK;
}

void simd_close(struct os_file *file)
{
    if (file->lock)
        file->node->locked = false;
    free(file);
}

enum err simd_pread(struct os_file *file, void *p, size_t n, uint64_t offset, size_t *got, struct fault *f)
{
    const struct node *node = file->node;
    sim_slow();
    if (sim_fails(SIM_READ))
        return fault_errno(f, EIO, "read");
    *got = offset >= node->size[0] ? 0 : n < node->size[0] - offset ? n : (size_t)(node->size[0] - offset);
    if (*got)
        memcpy(p, node->bytes[0] + offset, *got);
    sim_may_switch();
    return ERR_OK;
}

enum err simd_pwritev(struct os_file *file, const struct str *parts, size_t count, uint64_t offset, struct fault *f)
{
    struct node *n = file->node;
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += parts[i].n;
    if (!file->writable)
        return fault_errno(f, EBADF, "write");
    operation();
    sim_slow();
    if (sim_fails(SIM_WRITE))
        return fault_errno(f, EIO, "write");
    bool more = offset + total > n->size[0] && offset + total > n->reserved;
    if (more && (full(offset + total - n->size[0]) || sim_fails(SIM_SPACE)))
        return no_space(f, "write");
    write_back_some(n);
    sim_node_room(n, (offset + total + PAGE - 1) / PAGE * PAGE);
    mark(n, offset, offset + total);
    for (size_t i = 0; i < count; offset += parts[i++].n)
        if (parts[i].n)
            memcpy(n->bytes[0] + offset, parts[i].p, parts[i].n);
    if (offset > n->size[0])
        sim_node_resize(n, offset);
    return ERR_OK;
}

static const char *const SITES[] = {
#define X(site, why) site,
#include "sync_sites.def"
#undef X
    NULL,
};
static bool reached[sizeof SITES / sizeof *SITES];

const char *sim_site(size_t i)
{
    return i < sizeof SITES / sizeof *SITES ? SITES[i] : NULL;
}

static size_t site_index(const char *site)
{
    for (size_t i = 0; SITES[i]; i++)
        if (!strcmp(SITES[i], site))
            return i;
    sim_fatal("sync site %s is not in spec/sync_sites.def", site);
}

bool sim_site_reached(const char *site)
{
    return reached[site_index(site)];
}

static bool dropped(const char *site)
{
    reached[site_index(site)] = true;
    if (cut_site && !strcmp(cut_site, site) && --cut_site_left == 0)
        sim_cut();
    return sim_o.drop_all || (sim_o.drop_site && !strcmp(sim_o.drop_site, site));
}

enum err simd_sync(struct os_file *file, const char *site, struct fault *f)
{
    operation();
    sim_slow();
    if (sim_fails(SIM_SYNC)) {
        sim_node_lost(file->node);
        return fault_errno(f, EIO, "sync (%s)", site);
    }
    if (!dropped(site))
        sim_node_synced(file->node);
    operation(); /* a cut right after the sync, before its caller knows */
    return ERR_OK;
}

enum err simd_sync_dir(const char *path, const char *site, struct fault *f)
{
    struct node *n = find(path);
    if (!n || !n->is_dir)
        return missing(f, path);
    if (dir_syncs_left && --dir_syncs_left == 0)
        sim_cut();
    operation();
    sim_slow();
    if (sim_fails(SIM_SYNC))
        return fault_errno(f, EIO, "sync directory %s (%s)", path, site);
    if (dropped(site))
        return ERR_OK;
    for (size_t i = 0; i < n->changes.n; i++) {
        sim_apply(&n->durable, &n->changes.p[i]);
        free(n->changes.p[i].name);
        free(n->changes.p[i].old);
    }
    n->changes.n = 0;
    operation();
    return ERR_OK;
}

enum err simd_truncate(struct os_file *file, uint64_t size, struct fault *f)
{
    struct node *n = file->node;
    (void)f;
    operation();
    n->reserved = 0;
    if (size == n->size[0])
        return ERR_OK;
    sim_node_room(n, (size + PAGE - 1) / PAGE * PAGE);
    uint64_t from = size < n->size[0] ? size : n->size[0], to = size < n->size[0] ? n->size[0] : size;
    mark(n, from, to);
    memset(n->bytes[0] + from, 0, to - from);
    sim_node_resize(n, size);
    return ERR_OK;
}

enum err simd_reserve(struct os_file *file, uint64_t offset, uint64_t n, struct fault *f)
{
    struct node *node = file->node;
    if (offset + n > node->size[0] && (full(offset + n - node->size[0]) || sim_fails(SIM_SPACE)))
        return no_space(f, "reserve");
    node->reserved = offset + n > node->reserved ? offset + n : node->reserved;
    return ERR_OK;
}

enum err simd_size(struct os_file *file, uint64_t *size, struct fault *f)
{
    (void)f;
    *size = file->node->size[0];
    return ERR_OK;
}

enum err simd_rename(const char *from, const char *to, struct fault *f)
{
    struct str old, name;
    struct node *a = parent_of(from, &old), *b = parent_of(to, &name);
    struct node *n = a ? map_get(&a->entries, old) : NULL, *there = b ? map_get(&b->entries, name) : NULL;
    if (!n || !b)
        return missing(f, from);
    if (a != b)
        sim_fatal("a rename between directories is not modelled: %s", from);
    if (there && there->is_dir && there->entries.n)
        return fault_errno(f, ENOTEMPTY, "rename %s", from);
    operation();
    if (sim_fails(SIM_WRITE))
        return fault_errno(f, EIO, "rename %s", from);
    change(b, name, n, old);
    return ERR_OK;
}

static enum err remove_entry(const char *path, bool dir, struct fault *f)
{
    struct str name;
    struct node *parent = parent_of(path, &name), *n = parent ? map_get(&parent->entries, name) : NULL;
    if (!n)
        return missing(f, path);
    if (n->is_dir != dir)
        return fault_errno(f, dir ? ENOTDIR : EISDIR, "remove %s", path);
    if (dir && n->entries.n)
        return fault_errno(f, ENOTEMPTY, "remove %s", path);
    operation();
    if (sim_fails(SIM_WRITE))
        return fault_errno(f, EIO, "remove %s", path);
    used_bytes -= n->size[0];
    change(parent, name, NULL, (struct str){NULL, 0});
    return ERR_OK;
}

enum err simd_unlink(const char *path, struct fault *f)
{
    return remove_entry(path, false, f);
}

enum err simd_rmdir(const char *path, struct fault *f)
{
    return remove_entry(path, true, f);
}

enum err simd_mkdir(const char *path, struct fault *f)
{
    struct str name;
    struct node *parent = parent_of(path, &name);
    if (!parent)
        return missing(f, path);
    if (!name.n || map_get(&parent->entries, name))
        return FAULT(f, ERR_EXISTS, {"what", path});
    operation();
    if (full(PAGE) || sim_fails(SIM_SPACE))
        return no_space(f, path);
    change(parent, name, sim_node_new(true), (struct str){NULL, 0});
    return ERR_OK;
}

enum err simd_stat(const char *path, struct os_stat *out, struct fault *f)
{
    struct node *n = find(path);
    if (!n)
        return missing(f, path);
    *out = (struct os_stat){n->is_dir, n->size[0], os_now_ms()};
    return ERR_OK;
}

enum err simd_list(const char *path, enum err (*fn)(void *arg, const char *name), void *arg, struct fault *f)
{
    struct node *n = find(path);
    if (!n || !n->is_dir)
        return missing(f, path);
    VEC(char *) names = {0};
    struct map_slot *s;
    alloc_fault_pause();
    for (size_t i = 0; (s = map_next(&n->entries, &i));)
        vec_push(&names, copy_name(map_key(s)));
    alloc_fault_resume();
    enum err e = ERR_OK;
    for (size_t i = 0; i < names.n; i++) {
        if (!e)
            e = fn(arg, names.p[i]);
        free(names.p[i]);
    }
    vec_free(&names);
    return e;
}

enum err simd_lock(struct os_file **out, const char *path, struct fault *f)
{
    struct os_file *file;
    enum err e = simd_open(&file, path, OS_RDWR | OS_CREATE, f);
    if (e)
        return e;
    if (file->node->locked) {
        free(file);
        return FAULT(f, ERR_BUSY, {"what", path});
    }
    file->node->locked = file->lock = true;
    *out = file;
    return ERR_OK;
}

enum err simd_free_space(const char *path, uint64_t *bytes, struct fault *f)
{
    (void)path;
    (void)f;
    uint64_t capacity = sim_o.capacity_bytes ? sim_o.capacity_bytes : (uint64_t)1 << 40;
    *bytes = capacity > used_bytes ? capacity - used_bytes : 0;
    return ERR_OK;
}

bool sim_flip(const char *path, uint64_t offset)
{
    struct node *n = find(path);
    if (!n || n->is_dir || offset >= n->size[0])
        return false;
    n->bytes[0][offset] ^= 0x10;
    n->bytes[1][offset] ^= 0x10;
    return true;
}

/* -- switching it on -------------------------------------------------------------------------------------------------------- */

static const struct os_twin TWIN = {
    .open = simd_open,
    .close = simd_close,
    .pread = simd_pread,
    .pwritev = simd_pwritev,
    .sync = simd_sync,
    .sync_dir = simd_sync_dir,
    .truncate = simd_truncate,
    .reserve = simd_reserve,
    .size = simd_size,
    .rename = simd_rename,
    .unlink = simd_unlink,
    .mkdir = simd_mkdir,
    .rmdir = simd_rmdir,
    .stat = simd_stat,
    .list = simd_list,
    .lock = simd_lock,
    .free_space = simd_free_space,
    .now_us = simt_now_us,
    .mono_ns = simt_mono_ns,
    .sleep_ms = simt_sleep_ms,
    .thread_start = simt_thread_start,
    .thread_join = simt_thread_join,
    .thread_self = simt_thread_self,
    .mutex_new = simt_mutex_new,
    .mutex_free = simt_mutex_free,
    .mutex_lock = simt_mutex_lock,
    .mutex_unlock = simt_mutex_unlock,
    .cond_new = simt_cond_new,
    .cond_free = simt_cond_free,
    .cond_wait = simt_cond_wait,
    .cond_wait_until = simt_cond_wait_until,
    .cond_signal = simt_cond_signal,
    .random = random_bytes,
    .die = die,
    .net_listen = simn_listen,
    .net_accept = simn_accept,
    .net_connect = simn_connect,
    .net_read = simn_read,
    .net_writev = simn_writev,
    .net_close = simn_close,
    .net_shutdown_write = simn_shutdown_write,
    .net_address = simn_address,
    .net_poller = simn_poller,
    .net_poll_set = simn_poll_set,
    .net_poll_del = simn_poll_del,
    .net_poll_wait = simn_poll_wait,
    .net_wakeup = simn_wakeup,
    .net_wakeup_signal = simn_wakeup_signal,
    .net_wakeup_clear = simn_wakeup_clear,
};

void sim_start(const struct sim_options *o)
{
    if (os_twin)
        sim_fatal("started twice");
    sim_o = *o;
    state[0] = o->seed * 0x9e3779b97f4a7c15u + 1;
    state[1] = ~o->seed;
    for (int i = 0; i < 16; i++)
        (void)next_random();
    if (o->image)
        sim_load(o->image);
    else
        sim_root = sim_node_new(true);
    sim_threads_start();
    os_twin = &TWIN;
}
