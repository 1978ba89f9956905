// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A guest that goes, is killed or is cut off in the middle of its calls, and sockets that are not
// used as they should be, beside an honest guest that must notice nothing.
//
// Links: @tensor tensor/core/pool_host.c tensor/model/synthetic_host.c
// Links: tensor/model/synthetic_vocabulary_host.c @tensord hypercall/host/tensord/play_host.c
// Links: hypercall/host/tensord/raw_host.c hypercall/host/tensord/stage_host.c
// Links: hypercall/guest/client.c hypercall/guest/client_names.c hypercall/guest/connect_host.c
// Libs: -lmbedcrypto -lseccomp -lmicrohttpd
#include "hypercall/host/base/hex.h"
#include "hypercall/host/tensord/stage_host.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

// ---- ends --------------------------------------------------------------------------------------

static void it_goes_in_the_middle_of_a_prompt(void **unused)
{
    (void)unused;
    struct stage s;
    struct raw_guest *g = &s.bad;
    char path[160];
    raise_stage(&s, "");
    snprintf(path, sizeof path, "%s/bad.ivshmem", s.d.dir);
    for (int i = 0; i < 20; i++) {
        raw_settle(g);
        raw_run(g, 0, LONG_PROMPT, 50);
        for (int n = 0; n < 4; n++) {
            raw_call(g, HC_RUN, g->arguments, 0, 0);
        }
        raw_pause_ms(i % 5);
        if (i % 2) {
            raw_leave(g);
            assert_int_equal(raw_connect(g, path), 0);
        }
    }
    is_served_well(&s);
    lower_stage(&s);
}

// The process that is killed: this program again, as `--victim SOCKET IDENTITY`.
static int be_victim(const char *path, const char *identity)
{
    struct raw_guest g = {0};
    for (unsigned i = 0; i < 32; i++) {
        unsigned byte;
        sscanf(identity + 2 * i, "%2x", &byte);
        g.identity.sha256[i] = (uint8_t)byte;
    }
    if (raw_connect(&g, path)) {
        return 1;
    }
    raw_settle(&g);
    raw_run(&g, 0, LONG_PROMPT, 50);
    for (int n = 0; n < 4; n++) {
        raw_call(&g, HC_RUN, g.arguments, 0, 0);
    }
    if (write(STDOUT_FILENO, "!", 1) != 1) {
        return 1;
    }
    pause();
    return 1;
}

static void it_is_killed_in_the_middle_of_a_prompt(void **unused)
{
    (void)unused;
    struct stage s;
    char path[160], identity[65];
    raise_stage(&s, "");
    raw_leave(&s.bad);
    snprintf(path, sizeof path, "%s/bad.ivshmem", s.d.dir);
    hex_write(s.d.identity.sha256, 32, identity);
    for (int i = 0; i < 12; i++) {
        char *const arguments[] = {(char *)(uintptr_t) "guest", (char *)(uintptr_t) "--victim",
                                   path, identity, NULL};
        int ends[2], status;
        pid_t pid;
        char byte;
        posix_spawn_file_actions_t actions;
        assert_int_equal(pipe(ends), 0);
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
        posix_spawn_file_actions_addclose(&actions, ends[0]);
        posix_spawn_file_actions_addclose(&actions, ends[1]);
        assert_int_equal(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, arguments, environ),
                         0);
        posix_spawn_file_actions_destroy(&actions);
        close(ends[1]);
        assert_int_equal(read(ends[0], &byte, 1), 1);
        close(ends[0]);
        raw_pause_ms(i % 4);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
    }
    assert_int_equal(raw_connect(&s.bad, path), 0);
    is_served_well(&s);
    lower_stage(&s);
}

static void indices_that_cannot_be_are_cut_off(void **unused)
{
    (void)unused;
    struct stage s;
    struct raw_guest *g = &s.bad;
    raise_stage(&s, "");
    static const uint32_t ahead[] = {HC_SUBMISSION_COUNT + 1, 1000, 0x80000000, 0xffffffff};
    for (unsigned i = 0; i < 8; i++) {
        raw_settle(g);
        raw_run(g, 0, LONG_PROMPT, 50);
        raw_call(g, HC_RUN, g->arguments, 0, 0); // is under way meanwhile
        if (i < 4) {
            hc_store(&g->page->submission_tail, hc_load(&g->host->submission_head) + ahead[i]);
        } else {
            hc_store(&g->page->completion_head, hc_load(&g->host->completion_tail) + 1000 * i);
            raw_call(g, HC_NOTHING, 0, 0, 0);
        }
        for (int n = 0; hc_load(&g->host->state) != HC_HOST_CUT_OFF; n++) {
            assert_true(n < 10000);
            raw_ring(g, HC_VECTOR_CALLS);
            raw_pause_ms(1);
        }
        assert_int_equal(g->host->reason, HC_BROKEN_RING);
        assert_int_equal(hc_load(&g->host->attached), 0);
    }
    is_served_well(&s);
    lower_stage(&s);
}

// ---- sockets -----------------------------------------------------------------------------------

static void a_seat_is_for_one_and_sends_nothing(void **unused)
{
    (void)unused;
    struct stage s;
    struct raw_guest second = {0};
    char path[160];
    raise_stage(&s, "");
    snprintf(path, sizeof path, "%s/honest.ivshmem", s.d.dir);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(raw_connect(&second, path), ECONNRESET);
    }
    // Doorbells of a guest that has gone wake nobody.
    int ring = dup(s.bad.connection.ring[HC_VECTOR_CALLS]);
    raw_leave(&s.bad);
    for (uint64_t i = 0, one = 1; i < 1000; i++) {
        assert_int_equal(write(ring, &one, sizeof one), sizeof one);
    }
    close(ring);
    snprintf(path, sizeof path, "%s/bad.ivshmem", s.d.dir);
    assert_int_equal(raw_connect(&s.bad, path), 0);
    raw_settle(&s.bad);
    // A machine that speaks is none.
    assert_int_equal(write(s.bad.connection.socket, "garbage", 7), 7);
    for (int i = 0; hc_load(&s.bad.host->state) != HC_HOST_GONE; i++) {
        assert_true(i < 10000);
        raw_pause_ms(1);
    }
    raw_leave(&s.bad);
    assert_int_equal(raw_connect(&s.bad, path), 0);
    is_served_well(&s);
    lower_stage(&s);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "--victim") == 0) {
        return be_victim(argv[2], argv[3]);
    }
    if (argc > 1) {
        return play_main(argc, argv, NULL);
    }
    const struct CMUnitTest all[] = {
        cmocka_unit_test(it_goes_in_the_middle_of_a_prompt),
        cmocka_unit_test(it_is_killed_in_the_middle_of_a_prompt),
        cmocka_unit_test(indices_that_cannot_be_are_cut_off),
        cmocka_unit_test(a_seat_is_for_one_and_sends_nothing),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}
