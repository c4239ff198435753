#include "base/arena.h"
#include "base/buf.h"
#include "base/fault.h"
#include "base/map.h"
#include "base/random.h"
#include "base/test.h"
#include "base/vec.h"

TEST(arena_limit_refuses_and_reset_reuses)
{
    struct arena *a = arena_new(64 << 10);
    EXPECT(arena_try(a, 32 << 10) != NULL);
    EXPECT(arena_try(a, 40 << 10) == NULL);
    arena_reset(a);
    EXPECT(arena_try(a, 16 << 10) != NULL);
    EXPECT(arena_bytes(a) <= 64 << 10);
    arena_free(a);
}

TEST(buf_limit_is_sticky)
{
    struct buf b = {.limit = 300};
    buf_fill(&b, 'x', 250);
    EXPECT(!b.bad);
    buf_fill(&b, 'y', 100);
    EXPECT(b.bad);
    EXPECT_INT(b.n, 250);
    buf_free(&b);
}

TEST(json_escapes)
{
    struct buf b = {0};
    buf_json_str(&b, STR("a\"\\\n\x01é"));
    EXPECT_STR(buf_view(&b), "\"a\\\"\\\\\\n\\u0001é\"");
    buf_free(&b);
}

TEST(map_survives_churn)
{
    struct map m = {0};
    static int v[1000];
    char key[16];
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 1000; i++) {
            snprintf(key, sizeof key, "k%d", i);
            map_put(&m, str_of(key), &v[i]);
        }
        for (int i = 0; i < 1000; i += 2) {
            snprintf(key, sizeof key, "k%d", i);
            EXPECT(map_del(&m, str_of(key)) == &v[i]);
        }
        EXPECT_INT(m.n, 500);
        EXPECT(map_get(&m, STR("k1")) == &v[1]);
        EXPECT(map_get(&m, STR("k2")) == NULL);
    }
    map_free(&m);
}

TEST(str_numbers)
{
    int64_t v;
    EXPECT(str_to_i64(STR("-9223372036854775808"), &v) && v == INT64_MIN);
    EXPECT(!str_to_i64(STR("9223372036854775808"), &v));
    EXPECT(!str_to_i64(STR("1x"), &v));
    EXPECT(!str_to_i64(STR("-"), &v));
}

TEST(fault_expands_parameters)
{
    struct fault f;
    enum err e = FAULT(&f, ERR_CORRUPT, {"what", "segment 7"}, {"detail", "bad <what>"});
    EXPECT(e == ERR_CORRUPT);
    EXPECT_STR(str_of(fault_message(&f)), "segment 7 is damaged: bad <what>.");
    EXPECT_STR(str_of(fault_param_name(&f, 1)), "detail");
}

TEST(a_share_keeps_its_last_quarter_for_small_pieces)
{
    budget_start(4 << 20);
    EXPECT_INT(budget_size(BUDGET_INPUT), 1 << 20);
    EXPECT(budget_take(BUDGET_INPUT, 768 << 10));
    EXPECT(budget_short(BUDGET_INPUT));
    EXPECT(!budget_take(BUDGET_INPUT, BUDGET_SMALL + 1));
    EXPECT(budget_take(BUDGET_INPUT, BUDGET_SMALL));
    budget_force(BUDGET_INPUT, 1 << 20); /* overdrawn */
    EXPECT_INT(budget_left(BUDGET_INPUT), 0);
    EXPECT(!budget_take(BUDGET_INPUT, 1));
    budget_give(BUDGET_INPUT, (768 << 10) + BUDGET_SMALL + (1 << 20));
    EXPECT_INT(budget_left(BUDGET_INPUT), 1 << 20);
    EXPECT(!budget_take(BUDGET_INPUT, SIZE_MAX));
    EXPECT_INT(budget_left(BUDGET_INPUT), 1 << 20);
}

TEST(a_charged_arena_gives_back_what_it_took)
{
    budget_start(4 << 20);
    struct arena *a = arena_new_charged(0, BUDGET_INPUT);
    EXPECT(arena_try(a, 500 << 10) != NULL);
    EXPECT(arena_try(a, 500 << 10) == NULL);
    EXPECT(arena_alloc(a, 500 << 10) != NULL); /* what follows from what was let in is had all the same */
    EXPECT_INT(budget_left(BUDGET_INPUT), (1 << 20) - arena_bytes(a));
    arena_reset(a);
    EXPECT_INT(budget_left(BUDGET_INPUT), (1 << 20) - arena_bytes(a));
    arena_free(a);
    EXPECT_INT(budget_left(BUDGET_INPUT), 1 << 20);
}

/* All ways to find a text agree, on seeded texts with few letters, so that most of what is sought is nearly there. */
TEST(find_twins_agree)
{
    static const char LETTERS[] = "ab\":";
    uint64_t state = 20261128;
    for (int round = 0; round < 40000; round++) {
        size_t n = random_next(&state) % 150 + 1, m = random_next(&state) % (n < 20 ? n : 20) + 1;
        char *text = malloc(n), *word = malloc(m); /* blocks of their own: ASan sees a read beyond them */
        REQUIRE(text && word);
        for (size_t i = 0; i < n; i++)
            text[i] = LETTERS[random_next(&state) % 4];
        for (size_t i = 0; i < m; i++)
            word[i] = LETTERS[random_next(&state) % 4];
        if (random_next(&state) % 2)
            memcpy(word, text + random_next(&state) % (n - m + 1), m);
        struct str_find_twin twin;
        for (size_t i = 0; str_find_twin(i, &twin); i++)
            if (twin.fn && twin.fn(text, n, word, m) != memmem(text, n, word, m))
                TEST_FAIL_("%s: %.*s in %.*s", twin.name, (int)m, word, (int)n, text);
        free(text);
        free(word);
    }
}

TEST_MAIN()
