/*
 * AddArtifacts: files that a client uploads. Cached local relations ("cache/HASH", what createDataFrame sends when the data is
 * large) are kept in the session; anything else (jars, Python files, archives) has no use here and is refused by name.
 * Chunks carry a CRC-32 (the zlib one); an artifact whose chunks do not match is reported, and not kept.
 */
#include "serve/connect/connect_int.h"

#include "base/memory.h"

#include <zlib.h>

typedef Spark__Connect__AddArtifactsResponse__ArtifactSummary Summary;

struct done {
    char *name;
    bool ok;
};

struct upload {
    struct session *session; /* the call holds it */
    VEC(struct done) done;
    /* the chunked artifact that is under way */
    char *name;
    struct buf bytes;
    int64_t chunks_left, total_bytes;
    bool crc_ok;
};

struct upload *upload_new(void)
{
    struct upload *u = calloc(1, sizeof *u);
    if (!u)
        memory_out("an upload");
    u->bytes.limit = LIMIT_ARTIFACT_BYTES;
    return u;
}

void upload_free(struct upload *u)
{
    if (!u)
        return;
    for (size_t i = 0; i < u->done.n; i++)
        free(u->done.p[i].name);
    vec_free(&u->done);
    free(u->name);
    buf_free(&u->bytes);
    free(u);
}

static enum err invalid(struct fault *f, const char *detail)
{
    return FAULT(f, ERR_CONNECT_PLAN, {"detail", detail});
}

static bool crc_matches(const Spark__Connect__AddArtifactsRequest__ArtifactChunk *c)
{
    uLong crc = crc32_z(0, NULL, 0);
    if (c->data.len)
        crc = crc32_z(crc, c->data.data, c->data.len);
    return (int64_t)crc == c->crc;
}

static enum err keep(struct session *s, const char *name, struct str bytes, struct fault *f)
{
    struct blob *b = malloc(sizeof *b + bytes.n);
    if (!b)
        return FAULT(f, ERR_NOMEM, {"what", "an artifact"});
    b->n = bytes.n;
    if (bytes.n)
        memcpy(b->bytes, bytes.p, bytes.n);
    os_mutex_lock(s->lock);
    bool there = map_get(&s->artifacts, str_of(name)); /* named by its hash: the same bytes, perhaps in use */
    bool full = !there && s->artifact_bytes + bytes.n > LIMIT_ARTIFACT_BYTES;
    if (!there && !full) {
        map_put(&s->artifacts, str_of(name), b);
        s->artifact_bytes += bytes.n;
        b = NULL;
    }
    os_mutex_unlock(s->lock);
    free(b);
    return full ? LIMIT_FAULT(f, ARTIFACT_BYTES) : ERR_OK;
}

static enum err finish(struct upload *u, const char *name, struct str bytes, bool crc_ok, struct fault *f)
{
    if (strncmp(name, "cache/", 6) != 0)
        return refuse(f, "artifact", name);
    if (u->done.n >= LIMIT_ARTIFACTS)
        return LIMIT_FAULT(f, ARTIFACTS);
    enum err e = crc_ok ? keep(u->session, name, bytes, f) : ERR_OK;
    struct done d = {strdup(name), crc_ok};
    if (!e && d.name)
        vec_push(&u->done, d);
    else
        free(d.name);
    return e;
}

static enum err chunk(struct upload *u, const Spark__Connect__AddArtifactsRequest__ArtifactChunk *c, struct fault *f)
{
    if (!u->name)
        return invalid(f, "An artifact's chunk before its begin.");
    if (!c)
        return invalid(f, "An artifact's chunk without data.");
    u->crc_ok = u->crc_ok && crc_matches(c);
    buf_put(&u->bytes, c->data.data, c->data.len);
    if (u->bytes.bad || (int64_t)u->bytes.n > u->total_bytes)
        return invalid(f, "An artifact longer than it said.");
    if (--u->chunks_left > 0)
        return ERR_OK;
    enum err e = (int64_t)u->bytes.n != u->total_bytes ? invalid(f, "An artifact shorter than it said.")
                                                       : finish(u, u->name, buf_view(&u->bytes), u->crc_ok, f);
    free(u->name);
    u->name = NULL;
    buf_free(&u->bytes);
    return e;
}

static enum err begin(struct upload *u, const Spark__Connect__AddArtifactsRequest__BeginChunkedArtifact *b,
                      struct fault *f)
{
    if (u->name)
        return invalid(f, "An artifact inside another one.");
    if (b->num_chunks < 1 || b->total_bytes < 0)
        return invalid(f, "An artifact of no chunks.");
    if (b->total_bytes > LIMIT_ARTIFACT_BYTES)
        return LIMIT_FAULT(f, ARTIFACT_BYTES);
    u->name = strdup(b->name);
    u->chunks_left = b->num_chunks;
    u->total_bytes = b->total_bytes;
    u->crc_ok = true;
    return chunk(u, b->initial_chunk, f);
}

enum err upload_message(struct upload *u, struct session *s, const Spark__Connect__AddArtifactsRequest *r,
                        struct fault *f)
{
    enum err e = ERR_OK;
    u->session = s;
    switch (r->payload_case) {
    case SPARK__CONNECT__ADD_ARTIFACTS_REQUEST__PAYLOAD_BATCH:
        for (size_t i = 0; i < r->batch->n_artifacts && !e; i++) {
            const Spark__Connect__AddArtifactsRequest__SingleChunkArtifact *x = r->batch->artifacts[i];
            e = x->data ? finish(u, x->name, str_of_binary(x->data->data), crc_matches(x->data), f)
                        : invalid(f, "An artifact without data.");
        }
        return e;
    case SPARK__CONNECT__ADD_ARTIFACTS_REQUEST__PAYLOAD_BEGIN_CHUNK:
        return begin(u, r->begin_chunk, f);
    case SPARK__CONNECT__ADD_ARTIFACTS_REQUEST__PAYLOAD_CHUNK:
        return chunk(u, r->chunk, f);
    default:
        return invalid(f, "AddArtifacts without a payload.");
    }
}

enum err upload_end(struct upload *u, struct arena *a, Spark__Connect__AddArtifactsResponse *out, struct fault *f)
{
    if (u->name)
        return invalid(f, "An artifact that ended too early.");
    out->artifacts = ARENA_ARRAY(a, u->done.n + 1, Summary *);
    for (size_t i = 0; i < u->done.n; i++) {
        Summary *m = ARENA_NEW(a, Summary);
        spark__connect__add_artifacts_response__artifact_summary__init(m);
        m->name = arena_z(a, str_of(u->done.p[i].name));
        m->is_crc_successful = u->done.p[i].ok;
        out->artifacts[out->n_artifacts++] = m;
    }
    return ERR_OK;
}
