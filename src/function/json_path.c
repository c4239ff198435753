/* get_json_object: Spark's GetJsonObjectEvaluator, Hive's path language with its ways of flattening included. */
#include "function/json_int.h"
#include "base/limit.h"
#include "function/table_int.h"

#include "wire/json.h"

enum step_kind { STEP_NAME, STEP_INDEX, STEP_ANY_FIELD, STEP_ANY_ELEMENT };
struct step {
    enum step_kind kind;
    struct str name;
    int64_t index;
};
/* How strings are written: bare, as JSON, or as JSON with arrays dissolved into their parent. */
enum style { RAW, QUOTED, FLATTEN };

struct walk {
    struct arena *arena;
    struct buf *out;
    bool in_array, comma; /* of the array being written */
};

/* $ ( .name | .* | ['name'] | [n] | [*] )…; false: no path. */
static bool parse_path(struct str p, struct step *steps, int *n)
{
    *n = 0;
    if (!p.n || p.p[0] != '$')
        return false;
    for (size_t i = 1; i < p.n;) {
        if (*n == LIMIT_JSON_PATH_STEPS)
            return false;
        struct step *s = &steps[(*n)++];
        size_t from = i + 1;
        if (p.p[i] == '.') {
            for (i = from; i < p.n && p.p[i] != '.' && p.p[i] != '['; i++)
                ;
            if (i == from)
                return false;
            s->name = str_sub(p, from, i - from);
            s->kind = str_eqz(s->name, "*") ? STEP_ANY_FIELD : STEP_NAME;
            continue;
        }
        bool quoted = p.p[i] == '[' && from < p.n && p.p[from] == '\'';
        ptrdiff_t end = p.p[i] == '[' ? str_find(p, quoted ? STR("']") : STR("]"), from + quoted) : -1;
        if (end < 0)
            return false;
        s->name = str_sub(p, from + quoted, (size_t)end - from - quoted);
        s->kind = quoted                  ? str_eqz(s->name, "*") ? STEP_ANY_FIELD : STEP_NAME
                  : str_eqz(s->name, "*") ? STEP_ANY_ELEMENT
                                          : STEP_INDEX;
        if (!s->name.n || (s->kind == STEP_INDEX && (!str_to_i64(s->name, &s->index) || s->index < 0)))
            return false;
        i = (size_t)end + 1 + quoted;
    }
    return true;
}

static void separate(struct walk *w)
{
    if (w->in_array && w->comma)
        buf_u8(w->out, ',');
    w->comma = true;
}

static bool evaluate(struct walk *w, struct json *j, enum style style, const struct step *s, int n);

/* Every element through the rest of the path, as an array of their own; *matches counts those that gave something. */
static void elements(struct walk *w, struct json *j, enum style style, const struct step *s, int n, struct buf *out,
                     int *matches)
{
    struct walk inner = {.arena = w->arena, .out = out, .in_array = true};
    buf_u8(out, '[');
    json_array(j);
    while (json_more(j, ']'))
        *matches += evaluate(&inner, j, style, s, n);
    buf_u8(out, ']');
}

/* [*] outside of another wildcard: one match stands alone, several are an array (Hive). */
static bool any_element(struct walk *w, struct json *j, enum style style, const struct step *s, int n)
{
    struct buf found = {0};
    int matches = 0;
    bool twice = n > 1 && s[1].kind == STEP_ANY_ELEMENT;
    if (twice)
        elements(w, j, FLATTEN, s + 2, n - 2, &found, &matches);
    else
        elements(w, j, style == RAW ? QUOTED : style, s + 1, n - 1, &found, &matches);
    bool whole = twice || style == QUOTED;
    if (!found.bad && (matches > 0 || whole)) {
        separate(w);
        buf_str(w->out, whole || matches > 1 ? buf_view(&found) : str_sub(buf_view(&found), 1, found.n - 2));
    }
    buf_free(&found);
    return matches > 0;
}

static bool one_element(struct walk *w, struct json *j, enum style style, const struct step *s, int n)
{
    bool hit = false;
    if (n > 1 && s[1].kind == STEP_ANY_ELEMENT)
        style = QUOTED;
    json_array(j);
    for (int64_t i = 0; json_more(j, ']'); i++) {
        if (i == s->index)
            hit = evaluate(w, j, style, s + 1, n - 1);
        else
            json_skip(j, NULL);
    }
    return hit;
}

static bool field(struct walk *w, struct json *j, enum style style, const struct step *s, int n)
{
    bool hit = false;
    struct str name;
    json_object(j);
    while (json_more(j, '}') && json_key(j, w->arena, &name)) {
        bool match = !hit && (s->kind == STEP_ANY_FIELD || str_eq(name, s->name));
        if (match && (s->kind == STEP_ANY_FIELD || json_peek(j) != 'n'))
            hit = evaluate(w, j, style, s + 1, n - 1);
        else
            json_skip(j, NULL);
    }
    return hit;
}

static bool leaf(struct walk *w, struct json *j, enum style style)
{
    char c = json_peek(j);
    struct str text;
    if (style == RAW && (c == '"' || c == '\'')) {
        if (json_string(j, w->arena, &text))
            buf_str(w->out, text);
        return true;
    }
    if (style == FLATTEN && c == '[') {
        bool hit = false;
        json_array(j);
        while (json_more(j, ']'))
            hit |= leaf(w, j, style);
        return hit;
    }
    separate(w);
    json_copy(j, w->arena, w->out);
    return true;
}

/* The path is at most LIMIT_JSON_PATH_STEPS long, the text at most LIMIT_JSON_DEPTH deep: recursion is bounded. */
static bool evaluate(struct walk *w, struct json *j, enum style style, const struct step *s, int n)
{
    char c = json_peek(j);
    if (!n)
        return leaf(w, j, style);
    if (c == '{' && (s->kind == STEP_NAME || s->kind == STEP_ANY_FIELD))
        return field(w, j, style, s, n);
    if (c == '[' && s->kind == STEP_ANY_ELEMENT)
        return any_element(w, j, style, s, n);
    if (c == '[' && s->kind == STEP_INDEX)
        return one_element(w, j, style, s, n);
    json_skip(j, NULL);
    return false;
}

enum err fn_get_json_object(struct call *c)
{
    struct step steps[LIMIT_JSON_PATH_STEPS];
    struct str path = {0};
    int n = 0;
    bool ok = false;
    struct buf text = {0};
    for (uint32_t i = 0; i < c->n; i++) {
        if (!call_live(c, i))
            continue;
        struct str this_path = CALL_STR(c, 1, i);
        if (!path.p || !str_eq(path, this_path)) { /* nearly always the same for all rows */
            path = this_path;
            ok = parse_path(path, steps, &n);
        }
        struct walk w = {.arena = c->ev->arena, .out = &text};
        struct json j = json_of(CALL_STR(c, 0, i), true);
        buf_clear(&text);
        if (ok && json_peek(&j) && evaluate(&w, &j, RAW, steps, n) && !j.bad)
            c->out->data.str[i] = arena_str(c->ev->arena, buf_view(&text));
        else
            call_set_null(c, i);
    }
    buf_free(&text);
    return ERR_OK;
}
