// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Starting, reloading and ending a fleet's HAProxy; proxy_launch.c knows its processes.
#include "hypercall/host/base/error.h"
#include "hypercall/host/fleet/proxy_process.h"

#include "hypercall/host/fleet/proxy_launch.h"
#include "hypercall/host/fleet/proxy_private.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { POLL_MS = 10, TERM_MS = 2000 };

static void rest(void)
{
    struct timespec t = {.tv_nsec = POLL_MS * 1000000L};
    nanosleep(&t, NULL);
}

bool proxy_port_is_taken(const char *host, uint32_t port)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    bool is_six = inet_pton(AF_INET6, host, &six.sin6_addr) == 1;
    if (!is_six && inet_pton(AF_INET, host, &four.sin_addr) != 1) {
        return false;
    }
    int fd = socket(is_six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0) {
        return false;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    int rc = is_six ? bind(fd, (struct sockaddr *)&six, sizeof six)
                    : bind(fd, (struct sockaddr *)&four, sizeof four);
    bool taken = rc != 0 && errno == EADDRINUSE;
    // A listener with the same option lets others bind, but not listen.
    taken = taken || (rc == 0 && listen(fd, 1) != 0 && errno == EADDRINUSE);
    close(fd);
    return taken;
}

// ---- a configuration's check ------------------------------------------------------------------

// The same files in a folder of their own, their paths in the configuration changed accordingly.
static int write_check(const struct proxy_files *f, const char *folder, const char *check,
                       char *error, size_t error_bytes)
{
    struct proxy_files moved = *f;
    struct text t = {0};
    char from[FLEET_PATH];
    snprintf(from, sizeof from, "%s/", folder);
    const char *at = f->file[PROXY_CFG].data, *next;
    for (; (next = strstr(at, from)); at = next + strlen(from)) {
        text_add(&t, "%.*s%s/", (int)(next - at), at, check);
    }
    text_add(&t, "%s", at);
    if (t.failed) {
        free(t.data);
        return error_say(error, error_bytes, -ENOMEM, "no memory");
    }
    moved.file[PROXY_CFG].data = t.data;
    moved.file[PROXY_CFG].bytes = t.bytes;
    int rc = mkdir(check, 0700) != 0 && errno != EEXIST ? -errno : 0;
    rc = rc ? error_say(error, error_bytes, rc, "%s: %s", check, strerror(-rc))
            : proxy_files_write(&moved, check, error, error_bytes);
    free(t.data);
    return rc;
}

static int check_files(const char *program, const struct proxy_files *f, const char *folder,
                       char *error, size_t error_bytes)
{
    char check[FLEET_PATH], words[400];
    snprintf(check, sizeof check, "%s/check", folder);
    int rc = write_check(f, folder, check, error, error_bytes);
    if (rc == 0 && launch_check(program, check, PROXY_START_MS, words, sizeof words) != 0) {
        rc = error_say(error, error_bytes, -EINVAL,
                       "HAProxy refuses the endpoint's configuration: %s", words);
    }
    char ignored[100];
    proxy_remove_folder(check, ignored, sizeof ignored);
    return rc;
}

// ---- running -----------------------------------------------------------------------------------

// What the worker that answers was started with; "" none answers.
static void running_structure(const char *folder, char out[65])
{
    char *answer, ignored[200];
    out[0] = 0;
    if (proxy_command(folder, "show env " PROXY_STRUCTURE, &answer, ignored, sizeof ignored) == 0) {
        const char *equals = strchr(answer, '=');
        if (equals) {
            snprintf(out, 65, "%.64s", equals + 1);
        }
        free(answer);
    }
}

// Until a worker with this structure answers, or the log says that there will be none.
static int wait_for(const struct proxy_files *f, const char *folder, long log_from, char *error,
                    size_t error_bytes)
{
    char structure[65], words[400];
    for (int ms = 0; ms < PROXY_START_MS; ms += POLL_MS) {
        running_structure(folder, structure);
        if (strcmp(structure, f->structure) == 0) {
            return 0;
        }
        if (launch_log_alert(folder, log_from, words, sizeof words)) {
            return error_say(error, error_bytes, strstr(words, "in use") ? -EADDRINUSE : -EINVAL,
                             "HAProxy does not take the configuration: %s", words);
        }
        if (proxy_master(folder) == 0 && ms > 1000) {
            return error_say(error, error_bytes, -ECHILD, "HAProxy ended as it started; see %s/%s",
                             folder, LAUNCH_LOG);
        }
        rest();
    }
    return error_say(error, error_bytes, -ETIMEDOUT,
                     "HAProxy is not ready after %d seconds; see %s/%s", PROXY_START_MS / 1000,
                     folder, LAUNCH_LOG);
}

// The address in the configuration's `bind` line.
static void bound_address(const struct proxy_files *f, char host[64], uint32_t *port)
{
    const char *bind = strstr(f->file[PROXY_CFG].data, "\n    bind ");
    host[0] = 0;
    *port = 0;
    if (bind) {
        const char *from = bind + strlen("\n    bind "), *end = from + strcspn(from, " \n");
        const char *colon = end;
        while (colon > from && *colon != ':') {
            colon--;
        }
        *port = (uint32_t)strtoul(colon + 1, NULL, 10);
        from += *from == '[';
        snprintf(host, 64, "%.*s", (int)(colon - from - (colon > from && colon[-1] == ']')), from);
    }
}

static int start(const char *program, const struct proxy_files *f, const char *folder, char *error,
                 size_t error_bytes)
{
    char host[64];
    uint32_t port;
    bound_address(f, host, &port);
    if (proxy_port_is_taken(host, port)) {
        return error_say(
            error, error_bytes, -EADDRINUSE,
            "the fleet's endpoint %s:%u is taken by another program; write another address "
            "into fleet.yaml (endpoint: listen:)",
            host, port);
    }
    long log_from;
    int rc = launch_start(program, folder, &log_from, error, error_bytes);
    return rc ? rc : wait_for(f, folder, log_from, error, error_bytes);
}

int proxy_apply(const struct proxy_files *f, const char *folder, enum proxy_done *done, char *error,
                size_t error_bytes)
{
    char program[FLEET_PATH], structure[65] = "";
    *done = PROXY_UNCHANGED;
    pid_t master = proxy_master(folder);
    if (master) {
        // One that is busy is asked again before it is taken for dead.
        for (int i = 0; i < 4 && !structure[0] && proxy_master(folder) == master; i++) {
            running_structure(folder, structure);
        }
        if (strcmp(structure, f->structure) == 0) {
            return proxy_files_write(f, folder, error, error_bytes);
        }
    }
    int rc = proxy_program(program, sizeof program, error, error_bytes);
    rc = rc ? rc : check_files(program, f, folder, error, error_bytes);
    if (rc) {
        return rc;
    }
    // A worker that answers nothing at all is stopped, not reloaded.
    if (master && !structure[0]) {
        rc = proxy_stop(folder, 0, error, error_bytes);
        master = 0;
    }
    rc = rc ? rc : proxy_files_write(f, folder, error, error_bytes);
    if (rc) {
        return rc;
    }
    if (master) {
        long log_from = launch_log_bytes(folder);
        *done = PROXY_RELOADED;
        if (kill(master, SIGUSR2) != 0 && errno != ESRCH) {
            return error_say(error, error_bytes, -errno, "HAProxy (process %d): %s", (int)master,
                             strerror(errno));
        }
        return wait_for(f, folder, log_from, error, error_bytes);
    }
    rc = proxy_stop(folder, 0, error, error_bytes); // workers without a master
    *done = PROXY_STARTED;
    return rc ? rc : start(program, f, folder, error, error_bytes);
}

// ---- ending ------------------------------------------------------------------------------------

static bool is_gone_within(const char *folder, unsigned ms)
{
    pid_t pids[LAUNCH_MOST];
    for (unsigned waited = 0;; waited += POLL_MS) {
        if (launch_find(folder, pids, LAUNCH_MOST, NULL) == 0) {
            return true;
        }
        if (waited >= ms) {
            return false;
        }
        rest();
    }
}

static void signal_all(const char *folder, int number)
{
    pid_t pids[LAUNCH_MOST];
    size_t n = launch_find(folder, pids, LAUNCH_MOST, NULL);
    for (size_t i = 0; i < n; i++) {
        kill(pids[i], number);
    }
}

int proxy_stop(const char *folder, unsigned grace_ms, char *error, size_t error_bytes)
{
    pid_t master = proxy_master(folder);
    if (master && grace_ms) {
        kill(master, SIGUSR1);
        if (is_gone_within(folder, grace_ms)) {
            return 0;
        }
    }
    if (master) {
        kill(master, SIGTERM);
        if (is_gone_within(folder, TERM_MS)) {
            return 0;
        }
    }
    signal_all(folder, SIGKILL);
    if (!is_gone_within(folder, TERM_MS)) {
        return error_say(error, error_bytes, -EBUSY, "HAProxy of %s does not end", folder);
    }
    return 0;
}

int proxy_remove_folder(const char *folder, char *error, size_t error_bytes)
{
    DIR *d = opendir(folder);
    struct dirent *e;
    if (!d) {
        return errno == ENOENT
                   ? 0
                   : error_say(error, error_bytes, -errno, "%s: %s", folder, strerror(errno));
    }
    while ((e = readdir(d))) {
        char path[FLEET_PATH];
        int n = snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        // Only files and sockets of ours: a folder in it would be somebody else's, but for `check`.
        if (n > 0 && (size_t)n < sizeof path && e->d_name[0] != '.') {
            if (strcmp(e->d_name, "check") == 0) {
                proxy_remove_folder(path, error, error_bytes);
            } else {
                unlink(path);
            }
        }
    }
    closedir(d);
    return rmdir(folder) == 0 || errno == ENOENT
               ? 0
               : error_say(error, error_bytes, -errno, "%s: %s", folder, strerror(errno));
}
