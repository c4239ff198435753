/*
 * sim_test: tests of the log on the simulated disk (os/sim.h), each step in a process of its own.
 *
 *   EXPECT(in_sim(1, fill));       a child, on the disk that the last one left; its complaints are its exit status
 *   EXPECT(in_sim(2, look));
 *
 * What one process leaves for the next: the disk (leave_image: as a kill leaves it), and `image->note`.
 */
#ifndef PENSTOCK_LOG_SIM_TEST_H
#define PENSTOCK_LOG_SIM_TEST_H

#include "base/test.h"
#include "log/batch.h"
#include "log/log.h"
#include "os/sim.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { IMAGE_MAX = 64 << 20, IMAGE_NOTE = 1 << 20 };
static struct {
    size_t n;
    int64_t acked;
    char note[IMAGE_NOTE];
    char p[IMAGE_MAX];
} * image;
static struct fault f;

/* Run fn in a child under simulation, from the image that the last one left. */
static bool in_sim(uint64_t seed, void (*fn)(void))
{
    if (!image)
        image = mmap(NULL, sizeof *image, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    fflush(stderr);
    pid_t child = fork();
    if (!child) {
        alarm(60);
        test_failures_ = 0;
        os_log_level(OS_ERROR + 1);
        sim_start(&(struct sim_options){.seed = seed, .image = image->n ? image->p : NULL, .image_n = image->n});
        fn();
        _exit(test_failures_ ? 1 : 0);
    }
    int status;
    return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void leave_image(void)
{
    size_t n;
    char *p = sim_image(&n);
    memcpy(image->p, p, n);
    image->n = n;
    free(p);
}

#endif
