#include "serve/connect/connect_int.h"

#include "base/memory.h"

#include <ctype.h>
#include <stdio.h>

/* -- views -------------------------------------------------------------------------------------------------------- */
struct view *view_new(const struct rel *rel)
{
    struct view *v = calloc(1, sizeof *v);
    if (!v)
        memory_out("a view");
    v->refs = 1;
    v->arena = arena_new(0);
    v->rel = rel_copy(v->arena, rel);
    return v;
}

struct view *view_retain(struct view *v)
{
    if (v)
        __atomic_add_fetch(&v->refs, 1, __ATOMIC_RELAXED);
    return v;
}

void view_release(struct view *v)
{
    if (!v || __atomic_sub_fetch(&v->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    arena_free(v->arena);
    free(v);
}

static void free_views(struct map *m)
{
    struct map_slot *slot;
    for (size_t i = 0; (slot = map_next(m, &i));)
        view_release(slot->value);
    map_free(m);
}

/* Lower-cased: Spark resolves view names so. */
static struct str fold_name(struct str name, char buf[256])
{
    size_t n = name.n < 256 ? name.n : 256;
    for (size_t i = 0; i < n; i++)
        buf[i] = (char)tolower((unsigned char)name.p[i]);
    return str_make(buf, n);
}

/* The table and the lock of temp or global temp views. */
static struct map *views_of(struct session *s, bool global, struct os_mutex **lock)
{
    *lock = global ? s->server->lock : s->lock;
    return global ? &s->server->global_views : &s->views;
}

static struct view *find_view(struct session *s, struct str name, bool global)
{
    char buf[256];
    struct os_mutex *lock;
    struct map *views = views_of(s, global, &lock);
    os_mutex_lock(lock);
    struct view *v = view_retain(map_get(views, fold_name(name, buf)));
    os_mutex_unlock(lock);
    return v;
}

struct view *session_view(struct session *s, struct str name)
{
    static const struct str prefix = {"global_temp.", 12};
    if (name.n > prefix.n && str_eq_nocase(str_sub(name, 0, prefix.n), prefix))
        return find_view(s, str_sub(name, prefix.n, SIZE_MAX), true);
    return find_view(s, name, false);
}

enum err session_put_view(struct session *s, struct str name, const struct rel *rel, bool replace, bool global,
                          struct fault *f)
{
    char buf[256], quoted[300];
    struct os_mutex *lock;
    struct map *views = views_of(s, global, &lock);
    if (name.n > LIMIT_VIEW_NAME_BYTES)
        return LIMIT_FAULT(f, VIEW_NAME_BYTES);
    struct view *v = view_new(rel), *old = NULL;
    struct str key = fold_name(name, buf);
    os_mutex_lock(lock);
    bool exists = map_get(views, key), full = views->n >= LIMIT_VIEWS && !exists;
    if (!full && (!exists || replace))
        old = map_put(views, key, v);
    os_mutex_unlock(lock);
    view_release(old);
    if (full || (exists && !replace))
        view_release(v);
    if (full)
        return LIMIT_FAULT(f, VIEWS);
    if (exists && !replace) {
        snprintf(quoted, sizeof quoted, "`%.*s`", STR_ARG(name));
        return FAULT(f, ERR_TEMP_VIEW_EXISTS, {"relationName", quoted});
    }
    return ERR_OK;
}

bool session_drop_view(struct session *s, struct str name, bool global)
{
    char buf[256];
    struct os_mutex *lock;
    struct map *views = views_of(s, global, &lock);
    os_mutex_lock(lock);
    struct view *v = map_del(views, fold_name(name, buf));
    os_mutex_unlock(lock);
    view_release(v);
    return v;
}

static int by_name(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

size_t session_view_names(struct session *s, struct arena *a, struct str **out)
{
    struct map_slot *slot;
    size_t n = 0;
    os_mutex_lock(s->lock);
    *out = ARENA_ARRAY(a, s->views.n + 1, struct str);
    for (size_t i = 0; (slot = map_next(&s->views, &i));)
        (*out)[n++] = arena_str(a, map_key(slot));
    os_mutex_unlock(s->lock);
    qsort(*out, n, sizeof **out, by_name);
    return n;
}

struct blob *session_artifact(struct session *s, struct str name)
{
    os_mutex_lock(s->lock);
    struct blob *b = map_get(&s->artifacts, name);
    os_mutex_unlock(s->lock);
    return b;
}

/* -- sessions ----------------------------------------------------------------------------------------------------- */
static bool is_uuid(const char *id)
{
    static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    if (strlen(id) != sizeof form - 1)
        return false;
    for (size_t i = 0; form[i]; i++)
        if (form[i] == '-' ? id[i] != '-' : !isxdigit((unsigned char)id[i]))
            return false;
    return true;
}

static struct session *session_new(struct connect_server *srv, const char *user, const char *id)
{
    struct session *s = calloc(1, sizeof *s);
    if (!s)
        memory_out("a session");
    s->refs = 1;
    s->server = srv;
    s->lock = os_mutex_new();
    s->tables = memory_tables_new();
    snprintf(s->id, sizeof s->id, "%s", id);
    snprintf(s->user, sizeof s->user, "%s", user);
    os_uuid_text(os_uuid_random(), s->server_id);
    s->used_ms = os_now_ms();
    return s;
}

void session_retain(struct session *s)
{
    __atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
}

void session_release(struct session *s)
{
    if (!s || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    struct map_slot *slot;
    free_views(&s->views);
    free_views(&s->relations);
    for (size_t i = 0; (slot = map_next(&s->conf, &i));)
        free(slot->value);
    map_free(&s->conf);
    for (size_t i = 0; i < s->old_confs.n; i++)
        free(s->old_confs.p[i]);
    vec_free(&s->old_confs);
    for (size_t i = 0; (slot = map_next(&s->artifacts, &i));)
        free(slot->value);
    map_free(&s->artifacts);
    for (int i = 0; i < LIMIT_ERRORS_KEPT; i++)
        free(s->errors[i].fault);
    memory_tables_free(s->tables);
    free(s->terminal.ring);
    os_mutex_free(s->lock);
    free(s);
}

struct session_key {
    char text[128 + 40];
    size_t n;
};

static struct session_key key_of(const char *user, const char *id)
{
    struct session_key k;
    size_t user_n = strnlen(user, 127);
    memcpy(k.text, user, user_n);
    k.text[user_n] = 0;
    snprintf(k.text + user_n + 1, 37, "%s", id);
    k.n = user_n + 1 + strlen(k.text + user_n + 1);
    return k;
}

static bool was_closed(const struct connect_server *srv, const char *id)
{
    for (int i = 0; i < LIMIT_CLOSED_SESSIONS; i++)
        if (strcmp(srv->closed[i], id) == 0)
            return true;
    return false;
}

/* Under the server's lock. */
static enum err look_up(struct connect_server *srv, const char *user, const char *id, bool create, struct session **out,
                        struct fault *f)
{
    struct session_key k = key_of(user, id);
    struct session *s = map_get(&srv->sessions, str_make(k.text, k.n));
    if (!s && was_closed(srv, id))
        return FAULT(f, ERR_SESSION_CLOSED, {"handle", id});
    if (!s && !create)
        return FAULT(f, ERR_SESSION_NOT_FOUND, {"handle", id});
    if (!s && srv->sessions.n >= LIMIT_SESSIONS)
        return LIMIT_FAULT(f, SESSIONS);
    if (!s) {
        s = session_new(srv, user, id);
        map_put(&srv->sessions, str_make(k.text, k.n), s);
    }
    s->used_ms = os_now_ms();
    session_retain(s);
    *out = s;
    return ERR_OK;
}

enum err session_find(struct connect_server *srv, const char *user, const char *id, const char *observed, bool create,
                      struct session **out, struct fault *f)
{
    if (!is_uuid(id))
        return FAULT(f, ERR_HANDLE_FORMAT, {"handle", id});
    os_mutex_lock(srv->lock);
    enum err e = look_up(srv, user, id, create, out, f);
    os_mutex_unlock(srv->lock);
    if (!e && observed && *observed && strcmp(observed, (*out)->server_id) != 0) {
        session_release(*out);
        *out = NULL;
        return FAULT(f, ERR_SESSION_CHANGED, {"handle", id});
    }
    return e;
}

void session_close(struct session *s)
{
    struct connect_server *srv = s->server;
    struct session_key k = key_of(s->user, s->id);
    os_mutex_lock(srv->lock);
    struct session *was = map_del(&srv->sessions, str_make(k.text, k.n));
    if (was)
        snprintf(srv->closed[srv->next_closed++ % LIMIT_CLOSED_SESSIONS], sizeof srv->closed[0], "%s", s->id);
    os_mutex_unlock(srv->lock);
    if (!was)
        return; /* someone else was first */
    __atomic_store_n(&s->closed, true, __ATOMIC_RELEASE);
    for (;;) {
        os_mutex_lock(s->lock);
        struct exec *x = s->execs;
        if (x)
            __atomic_add_fetch(&x->refs, 1, __ATOMIC_RELAXED);
        os_mutex_unlock(s->lock);
        if (!x)
            break;
        exec_forget(x);
        exec_release(x);
    }
    os_mutex_lock(s->lock);
    terminal_wake(s);
    os_mutex_unlock(s->lock);
    query_session_gone(srv->o.queries, str_of(s->id));
    query_wake(srv->o.queries);
    session_release(was);
}

/* Settings, views and cached relations of one session for a new one; executions and queries stay where they are. */
enum err session_clone(struct session *from, const char *new_id, struct session **out, struct fault *f)
{
    char made[37];
    struct map_slot *slot;
    if (!new_id || !*new_id) {
        os_uuid_text(os_uuid_random(), made);
        new_id = made;
    }
    enum err e = session_find(from->server, from->user, new_id, NULL, true, out, f);
    if (e)
        return e;
    struct session *s = *out;
    os_mutex_lock(from->lock);
    for (size_t i = 0; (slot = map_next(&from->conf, &i));) {
        char *value = strdup(slot->value);
        char *old = value ? map_put(&s->conf, map_key(slot), value) : NULL;
        free(old);
    }
    for (size_t i = 0; (slot = map_next(&from->views, &i));)
        view_release(map_put(&s->views, map_key(slot), view_retain(slot->value)));
    os_mutex_unlock(from->lock);
    return ERR_OK;
}

/* -- forgetting what is abandoned ---------------------------------------------------------------------------------- */
static struct exec *abandoned(struct session *s, int64_t now_ms)
{
    struct exec *found = NULL;
    int64_t patience_ms = budget_short(BUDGET_OUTPUT) ? DETACHED_SHORT_MS : DETACHED_MS;
    os_mutex_lock(s->lock);
    for (struct exec *x = s->execs; x && !found; x = x->next) {
        os_mutex_lock(x->lock);
        if (!x->loop && x->detached_ms && now_ms - x->detached_ms > patience_ms)
            found = x;
        os_mutex_unlock(x->lock);
    }
    if (found)
        __atomic_add_fetch(&found->refs, 1, __ATOMIC_RELAXED);
    os_mutex_unlock(s->lock);
    return found;
}

static bool is_idle(struct session *s, int64_t now_ms)
{
    struct arena *a = arena_new(0);
    struct query **active;
    size_t n = query_list(s->server->o.queries, str_of(s->id), a, &active);
    for (size_t i = 0; i < n; i++)
        query_release(active[i]);
    arena_free(a);
    os_mutex_lock(s->lock);
    bool idle = !s->execs && n == 0 && now_ms - s->used_ms > SESSION_IDLE_MS;
    os_mutex_unlock(s->lock);
    return idle;
}

void session_sweep(struct connect_server *srv)
{
    VEC(struct session *) all = {0};
    struct map_slot *slot;
    int64_t now_ms = os_now_ms();
    os_mutex_lock(srv->lock);
    bool due = now_ms - srv->swept_ms > (budget_short(BUDGET_OUTPUT) ? 5000 : 30000);
    for (size_t i = 0; due && (slot = map_next(&srv->sessions, &i));) {
        session_retain(slot->value);
        vec_push(&all, (struct session *)slot->value);
    }
    if (due)
        srv->swept_ms = now_ms;
    os_mutex_unlock(srv->lock);
    for (size_t i = 0; i < all.n; i++) {
        struct exec *x;
        while ((x = abandoned(all.p[i], now_ms))) {
            exec_forget(x);
            exec_release(x);
        }
        if (now_ms - all.p[i]->used_ms > SESSION_IDLE_MS && is_idle(all.p[i], now_ms))
            session_close(all.p[i]);
        session_release(all.p[i]);
    }
    vec_free(&all);
}
