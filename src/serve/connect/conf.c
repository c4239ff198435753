#include "serve/connect/connect_int.h"

#include <stdio.h>

static const struct conf_row ROWS[] = {
#define X(key, value, type, is_static) {key, value, CONF_##type, is_static},
#include "connect_conf.def"
#undef X
};
enum { NROWS = sizeof ROWS / sizeof *ROWS };

const struct conf_row *conf_find(struct str key)
{
    size_t lo = 0, hi = NROWS;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = str_cmp(key, str_of(ROWS[mid].key));
        if (c == 0)
            return &ROWS[mid];
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

/* The machine's time zone as the JVM finds it: $TZ, else /etc/timezone, else UTC. */
const char *system_zone(void)
{
    static char zone[64]; /* written once, before threads: connect_start calls this first */
    if (*zone)
        return zone;
    const char *tz = os_env("TZ");
    char *text = NULL;
    size_t n = 0;
    struct fault f;
    if (tz && *tz && *tz != ':' && zone_find(str_of(tz), NULL)) {
        snprintf(zone, sizeof zone, "%s", tz);
    } else if (os_read_file("/etc/timezone", sizeof zone - 1, &text, &n, &f) == ERR_OK) {
        struct str s = str_trim(str_make(text, n));
        snprintf(zone, sizeof zone, "%.*s", STR_ARG(s));
        free(text);
    }
    if (!*zone || !zone_find(str_of(zone), NULL))
        snprintf(zone, sizeof zone, "UTC");
    return zone;
}

static const char *default_of(const struct conf_row *row)
{
    return row->type == CONF_ZONE && !row->value ? system_zone() : row->value;
}

const char *session_conf(void *session, const char *key)
{
    struct session *s = session;
    os_mutex_lock(s->lock);
    const char *value = map_get(&s->conf, str_of(key));
    os_mutex_unlock(s->lock);
    if (value)
        return value;
    const struct conf_row *row = conf_find(str_of(key));
    return row ? default_of(row) : NULL;
}

/* -- setting ------------------------------------------------------------------------------------------------------ */
static bool is_int(struct str v, int64_t least, int64_t most)
{
    int64_t n;
    return str_to_i64(str_trim(v), &n) && n >= least && n <= most;
}

static enum err check_value(const struct conf_row *row, struct str value, struct fault *f)
{
    char text[200];
    snprintf(text, sizeof text, "%.*s", value.n > 180 ? 180 : (int)value.n, value.p);
    const char *type = NULL;
    struct str v = str_trim(value);
    switch (row->type) {
    case CONF_BOOL:
        type = str_eq_nocase(v, STR("true")) || str_eq_nocase(v, STR("false")) ? NULL : "boolean";
        break;
    case CONF_INT:
        type = is_int(v, INT32_MIN, INT32_MAX) ? NULL : "int";
        break;
    case CONF_LONG:
        type = is_int(v, INT64_MIN, INT64_MAX) ? NULL : "long";
        break;
    case CONF_ZONE:
        if (!zone_find(v, NULL))
            return FAULT(f, ERR_CONF_ZONE, {"confName", row->key}, {"confValue", text});
        break;
    case CONF_STRING:
        break;
    }
    if (type)
        return FAULT(f, ERR_CONF_TYPE, {"confName", row->key}, {"confValue", text}, {"confType", type});
    return ERR_OK;
}

static enum err static_conf(struct str key, struct fault *f)
{
    char quoted[300];
    snprintf(quoted, sizeof quoted, "\"%.*s\"", key.n > 290 ? 290 : (int)key.n, key.p);
    return FAULT(f, ERR_CONF_STATIC, {"key", quoted}, {"docroot", "https://spark.apache.org/docs/latest"});
}

/* Values that were replaced stay: someone may be reading what session_conf returned. */
static void store(struct session *s, struct str key, char *value)
{
    os_mutex_lock(s->lock);
    char *old = value ? map_put(&s->conf, key, value) : map_del(&s->conf, key);
    if (old)
        vec_push(&s->old_confs, old);
    os_mutex_unlock(s->lock);
}

/* A replaced value of this text, taken back from those that are kept: a client that sets two values in turn for ever must not fill
 * the session. NULL if there is none. */
static char *take_old(struct session *s, struct str value)
{
    os_mutex_lock(s->lock);
    char *found = NULL;
    for (size_t i = s->old_confs.n; i > 0 && !found; i--) {
        char *old = s->old_confs.p[i - 1];
        if (!str_eq(str_of(old), value))
            continue;
        found = old;
        s->old_confs.p[i - 1] = s->old_confs.p[--s->old_confs.n];
    }
    os_mutex_unlock(s->lock);
    return found;
}

enum err session_set(struct session *s, struct str key, struct str value, struct fault *f)
{
    const struct conf_row *row = conf_find(key);
    if (row && row->is_static)
        return static_conf(key, f);
    enum err e = row ? check_value(row, value, f) : ERR_OK;
    if (e)
        return e;
    char *again = take_old(s, value);
    if (again) {
        store(s, key, again);
        return ERR_OK;
    }
    if (key.n + value.n > LIMIT_CONF_BYTES)
        return LIMIT_FAULT(f, CONF_BYTES);
    os_mutex_lock(s->lock);
    bool full = s->conf.n >= LIMIT_CONF_KEYS || s->old_confs.n >= LIMIT_CONF_KEYS;
    os_mutex_unlock(s->lock);
    if (full)
        return LIMIT_FAULT(f, CONF_KEYS);
    char *copy = malloc(value.n + 1);
    if (!copy)
        return FAULT(f, ERR_NOMEM, {"what", "a setting"});
    memcpy(copy, value.p, value.n);
    copy[value.n] = 0;
    store(s, key, copy);
    return ERR_OK;
}

void session_unset(struct session *s, struct str key)
{
    store(s, key, NULL);
}

/* -- the Config call ---------------------------------------------------------------------------------------------- */
typedef Spark__Connect__KeyValue KeyValue;

static void add_pair(Spark__Connect__ConfigResponse *out, struct arena *a, struct str key, const char *value)
{
    KeyValue *kv = ARENA_NEW(a, KeyValue);
    spark__connect__key_value__init(kv);
    kv->key = arena_z(a, key);
    if (value) {
        kv->opt_value_case = SPARK__CONNECT__KEY_VALUE__OPT_VALUE_VALUE;
        kv->value = arena_z(a, str_of(value));
    }
    out->pairs[out->n_pairs++] = kv;
}

static void room_for(Spark__Connect__ConfigResponse *out, struct arena *a, size_t n)
{
    out->pairs = ARENA_ARRAY(a, n + 1, KeyValue *);
}

static enum err set_all(struct session *s, const Spark__Connect__ConfigRequest__Set *set,
                        Spark__Connect__ConfigResponse *out, struct arena *a, struct fault *f)
{
    bool silent = OPTIONAL(set, silent, false);
    out->warnings = ARENA_ARRAY(a, set->n_pairs + 1, char *);
    for (size_t i = 0; i < set->n_pairs; i++) {
        const KeyValue *kv = set->pairs[i];
        enum err e = session_set(s, str_of(kv->key), str_of(OPTIONAL(kv, value, "")), f);
        if (e && !silent)
            return e;
        if (e) /* as at the start of a session, when the builder's settings are sent */
            out->warnings[out->n_warnings++] = arena_z(a, str_of(fault_message(f)));
    }
    return ERR_OK;
}

static enum err get_all_keys(struct session *s, char **keys, size_t n, bool optional,
                             Spark__Connect__ConfigResponse *out, struct arena *a, struct fault *f)
{
    room_for(out, a, n);
    for (size_t i = 0; i < n; i++) {
        const char *value = session_conf(s, keys[i]);
        if (!value && !optional) {
            struct str quoted = arena_fmt(a, "\"%s\"", keys[i]);
            return FAULT(f, ERR_CONF_NOT_FOUND, {"sqlConf", quoted.p});
        }
        add_pair(out, a, str_of(keys[i]), value);
    }
    return ERR_OK;
}

/* An explicit setting, else the caller's default: Spark does not look at its own default here. */
static void get_with_default(struct session *s, const Spark__Connect__ConfigRequest__GetWithDefault *g,
                             Spark__Connect__ConfigResponse *out, struct arena *a)
{
    room_for(out, a, g->n_pairs);
    for (size_t i = 0; i < g->n_pairs; i++) {
        const KeyValue *kv = g->pairs[i];
        os_mutex_lock(s->lock);
        const char *value = map_get(&s->conf, str_of(kv->key));
        os_mutex_unlock(s->lock);
        if (!value && HAS(kv, value))
            value = kv->value;
        if (!value)
            value = session_conf(s, kv->key);
        add_pair(out, a, str_of(kv->key), value);
    }
}

/* What was set and what has a default; a prefix is cut off the keys. */
static void get_all(struct session *s, const char *prefix, Spark__Connect__ConfigResponse *out, struct arena *a)
{
    struct map_slot *slot;
    os_mutex_lock(s->lock);
    room_for(out, a, NROWS + s->conf.n);
    for (size_t i = 0; (slot = map_next(&s->conf, &i));)
        if (str_starts(map_key(slot), str_of(prefix)))
            add_pair(out, a, str_sub(map_key(slot), strlen(prefix), SIZE_MAX), slot->value);
    os_mutex_unlock(s->lock);
    for (size_t i = 0; i < NROWS; i++) {
        os_mutex_lock(s->lock);
        bool is_set = map_get(&s->conf, str_of(ROWS[i].key));
        os_mutex_unlock(s->lock);
        if (!is_set && ROWS[i].is_static && default_of(&ROWS[i]) && str_starts(str_of(ROWS[i].key), str_of(prefix)))
            add_pair(out, a, str_sub(str_of(ROWS[i].key), strlen(prefix), SIZE_MAX), default_of(&ROWS[i]));
    }
}

enum err conf_rpc(struct session *s, const Spark__Connect__ConfigRequest *r, struct arena *a,
                  Spark__Connect__ConfigResponse *out, struct fault *f)
{
    const Spark__Connect__ConfigRequest__Operation *op = r->operation;
    enum err e = ERR_OK;
    switch (op ? op->op_type_case : SPARK__CONNECT__CONFIG_REQUEST__OPERATION__OP_TYPE__NOT_SET) {
    case SPARK__CONNECT__CONFIG_REQUEST__OPERATION__OP_TYPE_SET:
        return set_all(s, op->set, out, a, f);
    case SPARK__CONNECT__CONFIG_REQUEST__OPERATION__OP_TYPE_GET:
        return get_all_keys(s, op->get->keys, op->get->n_keys, false, out, a, f);
    case SPARK__CONNECT__CONFIG_REQUEST__OPERATION__OP_TYPE_GET_OPTION:
        return get_all_keys(s, op->get_option->keys, op->get_option->n_keys, true, out, a, f);
    case SPARK__CONNECT__CONFIG_REQUEST__OPERATION__OP_TYPE_GET_WITH_DEFAULT:
        get_with_default(s, op->get_with_default, out, a);
        return ERR_OK;
    case SPARK__CONNECT__CONFIG_REQUEST__OPERATION__OP_TYPE_GET_ALL:
        get_all(s, OPTIONAL(op->get_all, prefix, ""), out, a);
        return ERR_OK;
    case SPARK__CONNECT__CONFIG_REQUEST__OPERATION__OP_TYPE_UNSET:
        for (size_t i = 0; i < op->unset->n_keys && !e; i++) {
            const struct conf_row *row = conf_find(str_of(op->unset->keys[i]));
            if (row && row->is_static)
                e = static_conf(str_of(row->key), f);
            else
                session_unset(s, str_of(op->unset->keys[i]));
        }
        return e;
    case SPARK__CONNECT__CONFIG_REQUEST__OPERATION__OP_TYPE_IS_MODIFIABLE:
        room_for(out, a, op->is_modifiable->n_keys);
        for (size_t i = 0; i < op->is_modifiable->n_keys; i++) {
            const struct conf_row *row = conf_find(str_of(op->is_modifiable->keys[i]));
            add_pair(out, a, str_of(op->is_modifiable->keys[i]), row && !row->is_static ? "true" : "false");
        }
        return ERR_OK;
    default:
        return FAULT(f, ERR_CONNECT_PLAN, {"detail", "A Config request without an operation."});
    }
}
