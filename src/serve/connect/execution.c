#include "serve/connect/connect_int.h"

#include <stdio.h>

/* -- the worker pool ---------------------------------------------------------------------------------------------- */
static void work(void *arg)
{
    struct connect_server *srv = arg;
    os_mutex_lock(srv->pool.lock);
    for (;;) {
        while (!srv->pool.head && !srv->pool.stopping) {
            srv->pool.idle++;
            os_cond_wait(srv->pool.wake, srv->pool.lock);
            srv->pool.idle--;
        }
        struct job *j = srv->pool.head;
        if (!j)
            break; /* stopping, and nothing is left */
        srv->pool.head = j->next;
        if (!srv->pool.head)
            srv->pool.tail = &srv->pool.head;
        srv->pool.njobs--;
        os_mutex_unlock(srv->pool.lock);
        j->fn(j->arg);
        free(j);
        os_mutex_lock(srv->pool.lock);
    }
    os_mutex_unlock(srv->pool.lock);
}

/* Threads are made when all are busy, and stay. Under the pool's lock. */
static void grow(struct connect_server *srv)
{
    struct fault f;
    if (srv->pool.idle >= srv->pool.njobs || srv->pool.nthreads == srv->pool.most)
        return;
    if (os_thread_start(&srv->pool.threads[srv->pool.nthreads], "connect", work, srv, &f) == ERR_OK)
        srv->pool.nthreads++;
    else
        os_log(OS_WARN, "connect", "no more worker threads: %s", fault_message(&f));
}

bool workers_run(struct connect_server *srv, void (*fn)(void *arg), void *arg)
{
    struct job *j = malloc(sizeof *j);
    if (!j)
        return false;
    *j = (struct job){NULL, fn, arg};
    os_mutex_lock(srv->pool.lock);
    bool ok = !srv->pool.stopping && srv->pool.njobs < LIMIT_JOBS;
    if (ok) {
        *srv->pool.tail = j;
        srv->pool.tail = &j->next;
        srv->pool.njobs++;
        grow(srv);
        ok = srv->pool.nthreads > 0;
        os_cond_signal(srv->pool.wake);
    } else {
        free(j);
    }
    os_mutex_unlock(srv->pool.lock);
    return ok;
}

void workers_stop(struct connect_server *srv)
{
    os_mutex_lock(srv->pool.lock);
    srv->pool.stopping = true;
    os_cond_broadcast(srv->pool.wake);
    int n = srv->pool.nthreads;
    os_mutex_unlock(srv->pool.lock);
    for (int i = 0; i < n; i++)
        os_thread_join(srv->pool.threads[i]);
}

/* -- making and finding ------------------------------------------------------------------------------------------- */
static void read_options(struct exec *x, const Spark__Connect__ExecutePlanRequest *r)
{
    for (size_t i = 0; i < r->n_request_options; i++) {
        const Spark__Connect__ExecutePlanRequest__RequestOption *o = r->request_options[i];
        if (o->request_option_case ==
            SPARK__CONNECT__EXECUTE_PLAN_REQUEST__REQUEST_OPTION__REQUEST_OPTION_REATTACH_OPTIONS)
            x->reattachable = o->reattach_options->reattachable;
    }
    x->tags = r->tags;
    x->ntags = r->n_tags;
}

/* When answers that nobody takes fill the memory, less of them waits and nothing is kept. */
static size_t unsent_most(void)
{
    return budget_short(BUDGET_OUTPUT) ? BUDGET_SMALL : LIMIT_UNSENT_BYTES;
}

static size_t kept_most(void)
{
    return budget_short(BUDGET_OUTPUT) ? 0 : LIMIT_KEPT_BYTES;
}

static void free_responses(struct exec *x)
{
    for (struct response *p = x->head, *next; p; p = next) {
        next = p->next;
        budget_give(BUDGET_OUTPUT, p->n);
        free(p);
    }
    x->head = NULL;
    x->tail = &x->head;
}

enum err exec_new(struct session *s, const Spark__Connect__ExecutePlanRequest *r, struct arena *arena,
                  struct exec **out, struct fault *f)
{
    struct exec *x = calloc(1, sizeof *x);
    if (!x)
        return FAULT(f, ERR_NOMEM, {"what", "an execution"});
    x->refs = 2; /* the caller's and the session's */
    x->lock = os_mutex_new();
    x->room = os_cond_new();
    x->tail = &x->head;
    x->plan = r->plan;
    read_options(x, r);
    const char *id = OPTIONAL(r, operation_id, "");
    if (*id)
        snprintf(x->operation_id, sizeof x->operation_id, "%s", id);
    else
        os_uuid_text(os_uuid_random(), x->operation_id);
    os_mutex_lock(s->lock);
    enum err e = s->nexecs >= LIMIT_EXECUTIONS ? LIMIT_FAULT(f, EXECUTIONS) : ERR_OK;
    for (struct exec *o = s->execs; o && !e; o = o->next)
        if (strcmp(o->operation_id, x->operation_id) == 0)
            e = FAULT(f, ERR_OPERATION_EXISTS, {"handle", x->operation_id});
    if (!e) {
        x->next = s->execs;
        s->execs = x;
        s->nexecs++;
        x->listed = true;
    }
    os_mutex_unlock(s->lock);
    if (e) {
        os_cond_free(x->room);
        os_mutex_free(x->lock);
        free(x);
        return e;
    }
    session_retain(s);
    x->session = s;
    x->arena = arena; /* taken over from here on */
    *out = x;
    return ERR_OK;
}

struct exec *exec_find(struct session *s, const char *operation_id)
{
    os_mutex_lock(s->lock);
    struct exec *x = s->execs;
    while (x && strcmp(x->operation_id, operation_id) != 0)
        x = x->next;
    if (x)
        __atomic_add_fetch(&x->refs, 1, __ATOMIC_RELAXED);
    os_mutex_unlock(s->lock);
    return x;
}

void exec_release(struct exec *x)
{
    if (!x || __atomic_sub_fetch(&x->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    free_responses(x);
    failure_free(&x->failure);
    arena_free(x->arena);
    os_cond_free(x->room);
    os_mutex_free(x->lock);
    session_release(x->session);
    free(x);
}

void exec_cancel(struct exec *x)
{
    __atomic_store_n(&x->cancelled, true, __ATOMIC_RELEASE);
    os_mutex_lock(x->lock);
    os_cond_broadcast(x->room);
    os_mutex_unlock(x->lock);
    query_wake(x->session->server->o.queries);
}

void exec_forget(struct exec *x)
{
    struct session *s = x->session;
    exec_cancel(x);
    os_mutex_lock(s->lock);
    bool was = x->listed;
    struct exec **at = &s->execs;
    while (was && *at != x)
        at = &(*at)->next;
    if (was) {
        *at = x->next;
        s->nexecs--;
        x->listed = false;
    }
    os_mutex_unlock(s->lock);
    if (was)
        exec_release(x);
}

/* -- responses ---------------------------------------------------------------------------------------------------- */
/* Wake the loop that the call hangs on. Under the lock. */
static void notify(struct exec *x)
{
    struct wake *w = x->loop && !x->woken ? malloc(sizeof *w) : NULL;
    if (!w)
        return;
    *w = (struct wake){x, x->loop, x->conn, x->call};
    x->woken = true;
    __atomic_add_fetch(&x->refs, 1, __ATOMIC_RELAXED);
    loop_post(x->loop, service_pump, w);
}

enum err exec_respond(struct exec *x, Spark__Connect__ExecutePlanResponse *r, struct fault *f)
{
    char id[37];
    os_uuid_text(os_uuid_random(), id);
    r->session_id = x->session->id;
    r->server_side_session_id = x->session->server_id;
    r->operation_id = x->operation_id;
    r->response_id = id;
    size_t n = spark__connect__execute_plan_response__get_packed_size(r);
    struct response *p = n > LIMIT_GRPC_MESSAGE_BYTES ? NULL : malloc(sizeof *p + n);
    if (!p)
        return LIMIT_FAULT(f, GRPC_MESSAGE_BYTES);
    p->next = NULL;
    p->n = n;
    memcpy(p->id, id, sizeof id);
    spark__connect__execute_plan_response__pack(r, (uint8_t *)p->bytes);
    os_mutex_lock(x->lock);
    while (x->unsent_bytes > unsent_most() && !__atomic_load_n(&x->cancelled, __ATOMIC_ACQUIRE))
        os_cond_wait(x->room, x->lock);
    bool cancelled = __atomic_load_n(&x->cancelled, __ATOMIC_ACQUIRE);
    if (!cancelled) {
        p->seq = x->next_seq++;
        *x->tail = p;
        x->tail = &p->next;
        x->unsent_bytes += n;
        x->kept_bytes += n;
        budget_force(BUDGET_OUTPUT, n);
        notify(x);
    }
    os_mutex_unlock(x->lock);
    if (cancelled) {
        free(p);
        return FAULT(f, ERR_CANCELLED, {"operationId", x->operation_id});
    }
    return ERR_OK;
}

void exec_finish(struct exec *x, const struct fault *f)
{
    struct fault lost;
    if (!f || !f->err) {
        Spark__Connect__ExecutePlanResponse r = SPARK__CONNECT__EXECUTE_PLAN_RESPONSE__INIT;
        Spark__Connect__ExecutePlanResponse__ResultComplete done =
            SPARK__CONNECT__EXECUTE_PLAN_RESPONSE__RESULT_COMPLETE__INIT;
        r.response_type_case = SPARK__CONNECT__EXECUTE_PLAN_RESPONSE__RESPONSE_TYPE_RESULT_COMPLETE;
        r.result_complete = &done;
        lost.err = exec_respond(x, &r, &lost);
        f = &lost;
    }
    struct failure failure = {0};
    if (f->err)
        failure_of(&failure, f, x->session);
    os_mutex_lock(x->lock);
    x->failure = failure;
    x->finished = true;
    x->succeeded = !f->err;
    notify(x);
    os_mutex_unlock(x->lock);
}

/* Drop responses from the head while `keep` says so. Under the lock. */
static void drop_head(struct exec *x)
{
    struct response *p = x->head;
    x->head = p->next;
    if (!x->head)
        x->tail = &x->head;
    x->kept_bytes -= p->n;
    budget_give(BUDGET_OUTPUT, p->n);
    free(p);
}

static struct response *by_id(struct exec *x, const char *id)
{
    struct response *p = x->head;
    while (p && strcmp(p->id, id) != 0)
        p = p->next;
    return p;
}

void exec_release_until(struct exec *x, const char *response_id)
{
    os_mutex_lock(x->lock);
    struct response *last = by_id(x, response_id);
    if (last && last->seq < x->send_seq) {
        uint64_t seq = last->seq;
        while (x->head && x->head->seq <= seq)
            drop_head(x);
    }
    os_mutex_unlock(x->lock);
}

/* -- the loop's side ---------------------------------------------------------------------------------------------- */
enum err exec_attach(struct exec *x, struct loop *loop, uint64_t conn, struct grpc_call *call, const char *after,
                     struct fault *f)
{
    enum err e = ERR_OK;
    os_mutex_lock(x->lock);
    if (after && !x->reattachable)
        e = FAULT(f, ERR_CURSOR_NOT_REATTACHABLE, {"handle", x->operation_id});
    struct response *last = after && *after ? by_id(x, after) : NULL;
    uint64_t from = last ? last->seq + 1 : x->head && !(after && *after) ? x->head->seq : x->next_seq;
    if (!e && after && *after && !last) {
        /* A response that was released, or one that never was: only the first can happen to an honest client. */
        e = FAULT(f, ERR_CURSOR_GONE, {"responseId", after}, {"index", "0"});
    } else if (!e && after && !*after && (x->head ? x->head->seq : x->next_seq) != 0) {
        e = FAULT(f, ERR_CURSOR_GONE, {"responseId", "0"}, {"index", "0"});
    }
    if (!e) {
        for (struct response *p = x->head; p; p = p->next)
            if (p->seq >= from && p->seq < x->send_seq)
                x->unsent_bytes += p->n;
        x->send_seq = from;
        x->loop = loop;
        x->conn = conn;
        x->call = grpc_call_id(call);
        x->woken = false;
        x->detached_ms = 0;
    }
    os_mutex_unlock(x->lock);
    return e;
}

void exec_detach(struct exec *x, uint64_t call)
{
    os_mutex_lock(x->lock);
    bool mine = x->loop && x->call == call;
    if (mine) {
        x->loop = NULL;
        x->detached_ms = os_now_ms();
    }
    os_mutex_unlock(x->lock);
    if (mine && !x->reattachable)
        exec_forget(x);
}

enum { CALL_QUEUE = 1 << 20 };

void exec_pump(struct exec *x, struct grpc_call *call)
{
    os_mutex_lock(x->lock);
    x->woken = false;
    struct response *p = x->head;
    while (p && p->seq < x->send_seq)
        p = p->next;
    while (p && grpc_queued(call) < CALL_QUEUE) {
        grpc_send(call, str_make(p->bytes, p->n));
        x->send_seq = p->seq + 1;
        x->unsent_bytes -= p->n;
        p = p->next;
    }
    /* What was sent is kept for a client that comes back, up to a bound; without that wish not at all. */
    while (x->head && x->head->seq < x->send_seq && (!x->reattachable || x->kept_bytes - x->unsent_bytes > kept_most()))
        drop_head(x);
    if (x->unsent_bytes <= unsent_most())
        os_cond_broadcast(x->room);
    bool done = x->finished && !p;
    if (done && x->failure.message)
        grpc_finish(call, x->failure.code, str_make(x->failure.message, x->failure.message_n),
                    str_make(x->failure.details, x->failure.details_n));
    else if (done)
        grpc_finish(call, GRPC_OK, (struct str){0}, (struct str){0});
    os_mutex_unlock(x->lock);
}
