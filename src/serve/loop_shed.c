/*
 * When memory is short (base/budget.h) the connections that hold most of it for longest without getting on are dropped:
 * a request that began more than a second ago and is not whole, an answer of which the peer has taken nothing for a second or
 * not all for ten. An honest client of that kind connects again and asks for less; in any other hour it would have had its time.
 */
#include "serve/loop_int.h"

static void look_again(struct loop *l);

bool conn_holds(const struct conn *c)
{
    return (!c->lingering && c->in_cap + c->held >= SHED_LEAST) || c->out_bytes + c->held_out >= SHED_LEAST;
}

/* How much it deserves to go; 0: not now. Silence counts first, in tenths of a second, then the age of what is unfinished. */
static int64_t rank(int64_t silent_ms, int64_t age_ms)
{
    return (silent_ms / 100 << 32) + age_ms;
}

/* A request that began a while ago, unless it is us that it waits for. Who is still sending, or would if there were memory, has
 * longer; not for ever, since all that want memory may wait for each other. */
static int64_t input_rank(const struct conn *c)
{
    int64_t silent_ms = c->loop->now_ms - c->last_ms, age_ms = c->loop->now_ms - c->in_since_ms;

    if (c->in_cap + c->held < SHED_LEAST || c->paused || c->choked || c->closing || c->lingering)
        return 0;
    return age_ms > (silent_ms < SHED_SILENT_MS ? SHED_BUSY_MS : SHED_AGE_MS) ? rank(silent_ms, age_ms) : 0;
}

static int64_t output_rank(const struct conn *c)
{
    int64_t silent_ms = c->loop->now_ms - c->sent_ms, age_ms = silent_ms;

    if (c->out_bytes + c->held_out < SHED_LEAST || c->lingering)
        return 0;
    if (c->out_first < c->out_n)
        age_ms = c->loop->now_ms - c->out[c->out_first].at_ms;
    return silent_ms > SHED_AGE_MS || age_ms > SHED_HEAD_MS ? rank(silent_ms, age_ms) : 0;
}

/* Drops the worst quarter of those who may go, and looks again a moment later: the loops share the memory but not the
 * connections, and one of them must not drop its honest ones for what another's hold. */
static size_t shed(struct loop *l, enum budget b, int64_t (*rank_of)(const struct conn *c))
{
    size_t dropped = 0, candidates = 0;

    for (size_t i = 0; budget_short(b) && i < l->conns.n; i++)
        candidates += rank_of(l->conns.p[i]) > 0;
    while (dropped * 4 < candidates && budget_short(b)) {
        struct conn *worst = l->conns.p[0];

        for (size_t i = 1; i < l->conns.n; i++)
            if (rank_of(l->conns.p[i]) > rank_of(worst))
                worst = l->conns.p[i];
        conn_destroy(worst);
        dropped++;
    }
    l->shedding |= candidates > dropped && budget_short(b);
    return dropped;
}

void loop_shed(struct loop *l)
{
    size_t in, out;

    if (l->now_ms - l->shed_ms < STARVED_MS / 2)
        return;
    l->shed_ms = l->now_ms;
    l->shedding = false;
    in = shed(l, BUDGET_INPUT, input_rank);
    out = shed(l, BUDGET_OUTPUT, output_rank);
    if (in + out)
        os_log(OS_WARN, l->name,
               "memory is short: closed %zu connections whose requests did not end and %zu that did not read", in, out);
}

/* Look again: those that may read on find out whether there is memory now. */
static void relieve(void *arg)
{
    struct loop *l = arg;

    l->relieving = false;
    loop_shed(l);
    for (size_t i = 0; i < l->conns.n; i++)
        if (l->conns.p[i]->starved) {
            l->conns.p[i]->starved = false;
            l->conns.p[i]->last_ms = l->now_ms; /* it was not its own silence */
            conn_want(l->conns.p[i]);
        }
}

static void look_again(struct loop *l)
{
    if (!l->relieving)
        loop_timer(l, STARVED_MS, relieve, l);
    l->relieving = true;
}

void conn_wait(struct conn *c, bool wait)
{
    if (c->waiting != wait)
        budget_wait(BUDGET_INPUT, wait ? 1 : -1);
    c->waiting = wait;
}

void conn_starve(struct conn *c)
{
    c->starved = true;
    conn_wait(c, true);
    conn_want(c);
    look_again(c->loop);
}

void conn_hold(struct conn *c, size_t input, size_t output)
{
    if (input && !c->held)
        c->in_since_ms = c->loop->now_ms;
    if (output && !c->held_out && !c->out_bytes)
        c->sent_ms = c->loop->now_ms;
    c->held = input;
    c->held_out = output;
    if (conn_holds(c))
        loop_need_sweep(c->loop);
}
