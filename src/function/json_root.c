/*
 * The root object of a record: where the engine's time goes when queries read JSON.
 *
 * Records of a stream look alike. So what stands between two values, `"rating": ` or ` "rating":`, is remembered whole with the
 * field it names and with what follows it; in the next record one comparison of a word or two takes the place of reading
 * the key. A value of the kind that its field wants is read on the spot. Whatever does not fit, the general reader
 * (json_read.c) reads from the same place: it decides what everything means, this file only sees the usual sooner.
 *
 *   {"user":"u7","rating":4}      keys[0] {"user": → field 0, text}   next ─▶ keys[1] {"rating": → field 2, integer} …
 *     └─────┘    └───────┘
 */
#include "function/json_int.h"
#include "wire/json.h"

enum { KEY_MAX = 255, NONE = UINT8_MAX };

static inline uint64_t word(const char *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

/* -- keys ------------------------------------------------------------------------------------------------------------ */

/* Is the key at p? A value follows: p + n < end. */
static inline bool is_key(const struct json_key *k, const char *p, const char *end)
{
    if (__builtin_expect(end - p < 16 || k->text.n > 16, 0))
        return (size_t)(end - p) > k->text.n && !memcmp(p, k->text.p, k->text.n);
    return ((word(p) ^ k->first) & k->mask) == 0 && (k->text.n <= 8 || word(p + k->text.n - 8) == k->last);
}

static enum json_kind kind_of(const struct json_schema *s, int field)
{
    if (field < 0)
        return JSON_SKIP;
    switch (s->type->fields[field].type->id) {
    case TYPE_STRING:
        return JSON_TEXT;
    case TYPE_INT:
        return JSON_INT;
    case TYPE_LONG:
        return JSON_LONG;
    case TYPE_TIMESTAMP:
        return s->timestamp ? JSON_OTHER : JSON_TIME;
    default:
        return JSON_OTHER;
    }
}

/* Remember a key whose text stays as long as the batch; its number, or NONE when there is no room. */
static uint8_t add_key(struct json_reader *r, struct str text, int field)
{
    if (r->nkeys == JSON_KEYS || text.n > KEY_MAX || r->schema->options.general)
        return NONE;
    struct json_key *k = &r->keys[r->nkeys];
    char first[8] = {0}, last[8] = {0};
    memcpy(first, text.p, text.n < 8 ? text.n : 8);
    if (text.n > 8)
        memcpy(last, text.p + text.n - 8, 8);
    *k = (struct json_key){.text = text, .field = field, .kind = kind_of(r->schema, field), .next = NONE};
    k->first = word(first);
    k->last = word(last);
    k->mask = text.n >= 8 ? UINT64_MAX : 0;
    if (text.n < 8)
        memset(&k->mask, 0xff, text.n);
    return (uint8_t)r->nkeys++;
}

/* Another key than guessed: one of those met before, unless there are too many to try. */
static uint8_t find_key(const struct json_reader *r, const char *p, const char *end)
{
    for (int i = 0; i < r->nkeys && r->nkeys < JSON_KEYS; i++)
        if (is_key(&r->keys[i], p, end))
            return (uint8_t)i;
    return NONE;
}

/* -- values ------------------------------------------------------------------------------------------------------------ */

/* The end of a string's bytes: its quote; NULL for an escape, a control character or the document's end. */
static inline const char *closing_quote(const char *doc, const char *p, const char *end, bool *high)
{
    *high = false;
    p = json_scan_inside(doc, p, end, '"', high);
    return p < end && *p == '"' ? p : NULL;
}

static inline bool ends_value(const char *p, const char *end)
{
    return p < end && (*p == ',' || *p == '}');
}

/* An integer of up to 18 digits and nothing else about it; NULL: ask the general reader. */
static inline const char *plain_integer(const char *p, const char *end, int64_t *out)
{
    const char *from = p;
    uint64_t v = 0; /* wraps where there are too many digits: then it is not looked at */
    for (; p < end && (unsigned char)(*p - '0') < 10; p++)
        v = v * 10 + (uint64_t)(*p - '0');
    if (p == from || p - from > 18 || (*from == '0' && p - from > 1) || !ends_value(p, end))
        return NULL;
    *out = (int64_t)v;
    return p;
}

/* Pass over a string or a plain integer. */
static inline const char *pass_over(const char *doc, const char *p, const char *end)
{
    bool high;
    int64_t v;
    if (*p == '"')
        return (p = closing_quote(doc, p + 1, end, &high)) ? p + 1 : NULL;
    return plain_integer(p, end, &v);
}

static inline const char *plain_text(const char *doc, const char *p, const char *end, struct str *out)
{
    bool high;
    const char *close = *p == '"' ? closing_quote(doc, p + 1, end, &high) : NULL;
    if (!close || high)
        return NULL;
    *out = str_make(p + 1, (size_t)(close - p - 1));
    return close + 1;
}

/* A value as its key's field wants it; NULL: it is not of the usual form, and nothing has been written. */
static inline const char *usual_value(const struct json_key *k, struct column *fields, uint32_t row, const char *doc,
                                      const char *p, const char *end)
{
    struct column *c = &fields[k->field];
    struct str text;
    int64_t v;
    if (p >= end)
        return NULL;
    switch (k->kind) {
    case JSON_SKIP:
        return pass_over(doc, p, end);
    case JSON_TEXT:
        if (!(p = plain_text(doc, p, end, &text)))
            return NULL;
        c->data.str[row] = text;
        break;
    case JSON_INT:
        if (!(p = plain_integer(p, end, &v)) || v > INT32_MAX)
            return NULL;
        c->data.i32[row] = (int32_t)v;
        break;
    case JSON_LONG:
        if (!(p = plain_integer(p, end, &v)))
            return NULL;
        c->data.i64[row] = v;
        break;
    case JSON_TIME:
        if (!(p = plain_text(doc, p, end, &text)) || !timestamp_utc(text, &v))
            return NULL;
        c->data.i64[row] = v;
        break;
    case JSON_OTHER:
        return NULL;
    }
    ((uint8_t *)c->valid)[row] = 1;
    return p;
}

/* -- the object --------------------------------------------------------------------------------------------------------- */

/* The general way to the next value: j stands behind the last one. false at the object's end, or when j is bad. */
static bool slow_key(struct json_reader *r, struct json *j, const char **key, int *field)
{
    struct str name;
    if (!json_more(j, '}'))
        return false;
    *key = j->p;
    if (!json_key(j, r->arena, &name))
        return false;
    json_ws(j);
    *field = json_find_field(r->schema->type, name);
    if (*field >= 0 && !r->schema->wanted[*field])
        *field = -1;
    return true;
}

static enum json_outcome slow_value(struct json_reader *r, struct json *j, int field, struct column *out, uint32_t row)
{
    if (field >= 0)
        return json_read_field(r, j, &out->children[field], row);
    json_skip(j, NULL);
    return VALUE_OK;
}

/* j is at the opening brace. */
enum json_outcome json_read_root(struct json_reader *r, struct json *j, struct column *out, uint32_t row)
{
    enum json_outcome worst = VALUE_OK;
    const char *doc = j->p, *p = doc + 1, *end = j->end;
    uint8_t *guess = &r->first_key, none = NONE;
    json_object(j);
    for (bool first = true;; first = false) {
        const char *at = first ? p : p + 1; /* behind the comma */
        uint8_t no = *guess;
        int field;
        bool usual = first || (p < end && *p == ',');
        if (!usual || no == NONE || !is_key(&r->keys[no], at, end))
            no = usual ? find_key(r, at, end) : NONE;
        if (no == NONE) {
            j->p = p;
            j->first = first;
            if (!slow_key(r, j, &at, &field))
                return j->bad ? VALUE_WRONG : worst;
            no = add_key(r, str_make(at, (size_t)(j->p - at)), field);
            p = j->p;
        } else {
            field = r->keys[no].field;
            p = at + r->keys[no].text.n;
        }
        *guess = no;
        guess = no == NONE ? &none : &r->keys[no].next;
        const char *behind = no == NONE ? NULL : usual_value(&r->keys[no], out->children, row, doc, p, end);
        if (!behind) {
            j->p = p;
            j->first = false;
            enum json_outcome o = slow_value(r, j, field, out, row);
            if (j->bad)
                return VALUE_WRONG;
            worst = o > worst ? o : worst;
            behind = j->p;
        }
        p = behind;
        if (p < end && *p == '}')
            return worst; /* what follows the first value is not looked at */
    }
}
