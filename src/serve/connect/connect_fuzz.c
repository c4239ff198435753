/* Any bytes as an ExecutePlanRequest: checked, unpacked, converted to a tree and analyzed. Nothing runs. */
#include "serve/connect/connect_int.h"
#include "wire/proto.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static struct session *session(void)
{
    static struct session *s;
    static struct connect_server *server;
    static const struct connect_options options;
    struct fault f;
    if (!s && (connect_start(&server, &options, &f) ||
               session_find(server, "fuzz", "00000000-0000-0000-0000-000000000000", NULL, true, &s, &f)))
        abort();
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const char *const strict[] = {"spark.connect.Plan", NULL};
    struct arena *a = arena_new(256 << 20);
    ProtobufCMessage *m;
    struct planning planning;
    struct rel *rel;
    struct plan *plan;
    struct fault f;
    planning_init(&planning, session());
    if (proto_unpack(a, &spark__connect__execute_plan_request__descriptor, str_make(p, n), strict, &m, &f) == ERR_OK) {
        const Spark__Connect__ExecutePlanRequest *r = (const void *)m;
        if (r->plan && r->plan->op_type_case == SPARK__CONNECT__PLAN__OP_TYPE_ROOT &&
            convert_relation(&planning, r->plan->root, &rel, &f) == ERR_OK &&
            plan_analyze(rel, &planning.env, &plan, &f) == ERR_OK)
            plan_free(plan);
    }
    planning_free(&planning);
    arena_free(a);
    return 0;
}
