/* Console text of a session whose client wants to read it (conf penstock.console=client); else it goes to the server's. */
#include "serve/connect/connect_int.h"

#include <stdio.h>

/* Append to the ring; the oldest bytes make room. Under the lock. */
static void ring_put(struct terminal *t, struct str text)
{
    if (!t->ring)
        t->ring = malloc(LIMIT_TERMINAL_BYTES);
    if (!t->ring)
        return;
    if (text.n > LIMIT_TERMINAL_BYTES) {
        t->end += text.n - LIMIT_TERMINAL_BYTES;
        text = str_sub(text, text.n - LIMIT_TERMINAL_BYTES, SIZE_MAX);
    }
    size_t at = (size_t)(t->end % LIMIT_TERMINAL_BYTES),
           first = LIMIT_TERMINAL_BYTES - at < text.n ? LIMIT_TERMINAL_BYTES - at : text.n;
    memcpy(t->ring + at, text.p, first);
    memcpy(t->ring, text.p + first, text.n - first);
    t->end += text.n;
}

void terminal_write(struct session *s, struct str text)
{
    struct connect_server *srv = s->server;
    const char *where = session_conf(s, "penstock.console");
    if (!where || strcmp(where, "client") != 0) {
        if (srv->o.console) {
            srv->o.console(srv->o.console_arg, text);
        } else {
            fwrite(text.p, 1, text.n, stdout);
            fflush(stdout);
        }
        return;
    }
    os_mutex_lock(s->lock);
    ring_put(&s->terminal, text);
    terminal_wake(s);
    os_mutex_unlock(s->lock);
}

/* Under the lock, so that connect_console_forget, once it returns, knows that nobody calls any more. */
void terminal_wake(struct session *s)
{
    for (int i = 0; i < s->terminal.nwaiters; i++)
        s->terminal.waiters[i].wake(s->terminal.waiters[i].arg);
    s->terminal.nwaiters = 0;
}

/* Any user's session of that id: the id is a secret of the script that made it. */
static struct session *session_by_id(struct connect_server *srv, struct str id)
{
    struct map_slot *slot;
    struct session *found = NULL;
    os_mutex_lock(srv->lock);
    for (size_t i = 0; !found && (slot = map_next(&srv->sessions, &i));) {
        struct session *s = slot->value;
        if (str_eqz(id, s->id))
            found = s;
    }
    if (found)
        session_retain(found);
    os_mutex_unlock(srv->lock);
    return found;
}

bool connect_console_read(struct connect_server *srv, struct str session_id, uint64_t from, struct buf *out,
                          uint64_t *next)
{
    struct session *s = session_by_id(srv, session_id);
    if (!s)
        return false;
    struct terminal *t = &s->terminal;
    os_mutex_lock(s->lock);
    uint64_t oldest = t->end > LIMIT_TERMINAL_BYTES ? t->end - LIMIT_TERMINAL_BYTES : 0;
    if (from < oldest)
        from = oldest;
    for (uint64_t at = from; at < t->end;) {
        size_t i = (size_t)(at % LIMIT_TERMINAL_BYTES);
        size_t n = LIMIT_TERMINAL_BYTES - i < t->end - at ? LIMIT_TERMINAL_BYTES - i : (size_t)(t->end - at);
        buf_put(out, t->ring + i, n);
        at += n;
    }
    *next = t->end;
    os_mutex_unlock(s->lock);
    session_release(s);
    return true;
}

bool connect_console_wait(struct connect_server *srv, struct str session_id, uint64_t from, void (*wake)(void *arg),
                          void *arg)
{
    struct session *s = session_by_id(srv, session_id);
    if (!s)
        return false;
    struct terminal *t = &s->terminal;
    os_mutex_lock(s->lock);
    bool now = t->end > from || __atomic_load_n(&s->closed, __ATOMIC_ACQUIRE),
         ok = now || t->nwaiters < LIMIT_TERMINAL_WAITERS;
    if (ok && !now)
        t->waiters[t->nwaiters++] = (struct waiter){from, wake, arg};
    os_mutex_unlock(s->lock);
    if (now)
        wake(arg);
    session_release(s);
    return ok;
}

void connect_console_forget(struct connect_server *srv, void *arg)
{
    struct map_slot *slot;
    os_mutex_lock(srv->lock);
    for (size_t i = 0; (slot = map_next(&srv->sessions, &i));) {
        struct session *s = slot->value;
        os_mutex_lock(s->lock);
        for (int k = 0; k < s->terminal.nwaiters; k++)
            if (s->terminal.waiters[k].arg == arg)
                s->terminal.waiters[k--] = s->terminal.waiters[--s->terminal.nwaiters];
        os_mutex_unlock(s->lock);
    }
    os_mutex_unlock(srv->lock);
}
