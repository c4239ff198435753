#include "base/test.h"
#include "cli/config.h"
#include "os/os.h"

#include <stdlib.h>
#include <unistd.h>

static struct config *fresh(struct config *c)
{
    config_init(c, arena_new(0));
    return c;
}

TEST(defaults_are_in_range)
{
    struct config c;
    fresh(&c);
    EXPECT_STR(str_of(c.v[CFG_KAFKA_LISTEN].text), "127.0.0.1:9092");
    EXPECT_INT(c.v[CFG_SEGMENT_BYTES].number, 1 << 30);
    EXPECT_INT(c.v[CFG_AUTO_CREATE].number, 1);
    EXPECT_INT(c.v[CFG_DURABILITY].number, 0);
    arena_free(c.arena);
}

TEST(flags_win_over_environment_over_file)
{
    struct config c;
    struct fault f;
    fresh(&c);
    char path[] = "/tmp/penstock-config-XXXXXX";
    int fd = mkstemp(path);
    REQUIRE(fd >= 0);
    close(fd);
    REQUIRE(
        !os_write_file_atomic(path, STR("# comment\nloops = 3 # why\n\ndata=/file\nadvertise = h:1\n"), "t", "t", &f));
    setenv("PENSTOCK_LOOPS", "4", 1);
    setenv("PENSTOCK_DATA", "/env", 1);
    REQUIRE(!config_set(&c, CFG_LOOPS, "5", CONFIG_FLAG, "--loops", &f));
    EXPECT(!config_read_env(&c, &f));
    EXPECT(!config_read_file(&c, path, &f));
    EXPECT_INT(c.v[CFG_LOOPS].number, 5);
    EXPECT_STR(str_of(c.v[CFG_DATA].text), "/env");
    EXPECT_STR(str_of(c.v[CFG_ADVERTISE].text), "h:1");
    unsetenv("PENSTOCK_LOOPS");
    unsetenv("PENSTOCK_DATA");
    unlink(path);
    arena_free(c.arena);
}

static void refused(const char *line, const char *want)
{
    struct config c;
    struct fault f;
    fresh(&c);
    char path[] = "/tmp/penstock-config-XXXXXX";
    int fd = mkstemp(path);
    REQUIRE(fd >= 0);
    REQUIRE(write(fd, line, strlen(line)) == (ssize_t)strlen(line));
    close(fd);
    EXPECT_INT(config_read_file(&c, path, &f), ERR_INVALID);
    EXPECT(strstr(fault_message(&f), want) != NULL);
    EXPECT(strstr(fault_message(&f), ":1") != NULL); /* the line */
    unlink(path);
    arena_free(c.arena);
}

TEST(bad_files_are_refused_with_place_and_reason)
{
    refused("loops = 65\n", "from 0 to 64");
    refused("loops = many\n", "'many'");
    refused("lops = 1\n", "unknown key 'lops'");
    refused("loops\n", "KEY = VALUE");
    refused("durability = maybe\n", "disk|os");
    refused("auto-create-topics = yes\n", "true or false");
    refused("kafka-listen = 9092\n", "HOST:PORT");
    refused("data =\n", "1 to 1024");
}

TEST(sizes)
{
    int64_t v;
    EXPECT(config_parse_size(STR("64M"), &v) && v == 64 << 20);
    EXPECT(config_parse_size(STR("1g"), &v) && v == 1 << 30);
    EXPECT(config_parse_size(STR("12"), &v) && v == 12);
    EXPECT(!config_parse_size(STR(""), &v));
    EXPECT(!config_parse_size(STR("M"), &v));
    EXPECT(!config_parse_size(STR("-1"), &v));
    EXPECT(!config_parse_size(STR("9223372036854775807K"), &v));
}
TEST_MAIN()
