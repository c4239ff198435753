/* What a checkpoint keeps in memory: facts, and the last two steps. What a frame means for them, read or written. */
#include "state/checkpoint_int.h"

void set_text(struct buf *b, struct str s)
{
    buf_clear(b);
    buf_str(b, s);
    (void)buf_whole(b, "a checkpoint's text");
}

/* -- facts: number u32, n u32, bytes; preceded by their count ------------------------------------------------------- */

void checkpoint_fact_set(struct checkpoint *c, uint32_t number, struct str text)
{
    for (size_t i = 0; i < c->facts.n; i++) {
        struct fact *fact = &c->facts.p[i];
        if (fact->number != number)
            continue;
        if (!str_eq(buf_view(&fact->text), text)) {
            set_text(&fact->text, text);
            fact->fresh = true;
        }
        return;
    }
    struct fact fact = {.number = number, .fresh = true};
    buf_str(&fact.text, text);
    vec_push(&c->facts, fact);
}

struct str checkpoint_fact(const struct checkpoint *c, uint32_t number)
{
    for (size_t i = 0; i < c->facts.n; i++)
        if (c->facts.p[i].number == number)
            return buf_view(&c->facts.p[i].text);
    return (struct str){"", 0};
}

void facts_write(const struct checkpoint *c, bool all, struct buf *out)
{
    uint32_t n = 0;
    for (size_t i = 0; i < c->facts.n; i++)
        n += all || c->facts.p[i].fresh;
    buf_u32le(out, n);
    for (size_t i = 0; i < c->facts.n; i++) {
        const struct fact *fact = &c->facts.p[i];
        if (!all && !fact->fresh)
            continue;
        buf_u32le(out, fact->number);
        buf_u32le(out, (uint32_t)fact->text.n);
        buf_str(out, buf_view(&fact->text));
    }
}

void facts_read(struct checkpoint *c, struct rd *r)
{
    uint32_t n = rd_u32le(r);
    for (uint32_t i = 0; i < n && !r->bad; i++) {
        uint32_t number = rd_u32le(r), bytes = rd_u32le(r);
        struct str text = rd_bytes(r, bytes);
        if (number >= CHECKPOINT_FACTS)
            r->bad = true;
        if (c && !r->bad)
            checkpoint_fact_set(c, number, text);
    }
}

void facts_are_durable(struct checkpoint *c)
{
    for (size_t i = 0; i < c->facts.n; i++)
        c->facts.p[i].fresh = false;
}

/* -- steps ---------------------------------------------------------------------------------------------------------- */

bool step_plan_fits(const struct checkpoint *c, int64_t batch)
{
    return c->last.batch < 0 ? batch >= 0 : c->last.committed && batch == c->last.batch + 1;
}

void step_plan(struct checkpoint *c, int64_t batch, struct str plan)
{
    struct step spare = c->before;
    c->before = c->last;
    c->last = spare;
    c->last.batch = batch;
    c->last.committed = c->last.prepared = false;
    set_text(&c->last.plan, plan);
    buf_clear(&c->last.commit);
}

/* The frame at `at` belongs to the state from now on. */
static void keep_changes(struct checkpoint *c, uint64_t at, uint64_t bytes)
{
    if (!bytes || c->last.batch <= c->snapshot)
        return;
    vec_push(&c->commits, at);
    c->changes_bytes += bytes;
}

void step_commit(struct checkpoint *c, uint64_t at, uint64_t bytes, struct str commit)
{
    set_text(&c->last.commit, commit);
    c->last.committed = true;
    keep_changes(c, at, bytes);
}

void step_prepare(struct checkpoint *c, uint64_t at, uint64_t bytes, struct str commit, int64_t after)
{
    set_text(&c->last.commit, commit);
    c->last.prepared = true;
    c->prepared_at = at;
    c->prepared_bytes = bytes;
    c->prepared_after = after;
}

void step_fate(struct checkpoint *c, bool committed)
{
    c->last.prepared = false;
    if (!committed) {
        buf_clear(&c->last.commit);
        return;
    }
    c->last.committed = true;
    keep_changes(c, c->prepared_at, c->prepared_bytes);
}

void checkpoint_look(const struct checkpoint *c, struct checkpoint_info *info)
{
    const struct step *done = c->last.committed ? &c->last : &c->before;
    *info = (struct checkpoint_info){
        .last_planned = c->last.batch,
        .last_committed = done->batch,
        .plan = buf_view(&c->last.plan),
        .commit = buf_view(&done->commit),
        .prepared = c->last.prepared,
        .prepared_after = c->prepared_after,
        .where = checkpoint_fact(c, FACT_WHERE),
    };
    memcpy(info->query_id, c->id, sizeof info->query_id);
    if (c->before.batch >= 0)
        info->previous_plan = buf_view(&c->before.plan);
}
