// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Processes of HAProxy: finding them in /proc, starting one, its log.
#include "hypercall/host/fleet/proxy_launch.h"

#include "hypercall/host/fleet/proxy_process.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST_LOG = 1 << 20 };

// ---- finding -----------------------------------------------------------------------------------

static ssize_t read_proc(const char *pid, const char *name, char *out, size_t bytes)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%.20s/%s", pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, out, bytes - 1) : -1;
    if (fd >= 0) {
        close(fd);
    }
    if (n >= 0) {
        out[n] = 0;
    }
    return n;
}

static bool was_started_with(const char *pid, const char *configuration)
{
    char command[8192];
    ssize_t n = read_proc(pid, "cmdline", command, sizeof command);
    const char *at = command, *end = command + (n > 0 ? n : 0);
    bool follows = false, is_check = false, found = false;
    for (; at < end; at += strlen(at) + 1) {
        found = found || (follows && strcmp(at, configuration) == 0);
        follows = strcmp(at, "-f") == 0;
        is_check = is_check || strcmp(at, "-c") == 0;
    }
    return found && !is_check;
}

// Is it alive, and which session is it in? 0: dead.
static pid_t session_of(const char *pid)
{
    char stat[512], state;
    int session;
    if (read_proc(pid, "stat", stat, sizeof stat) <= 0) {
        return 0;
    }
    const char *after = strrchr(stat, ')'); // a name may hold anything
    if (!after || sscanf(after + 1, " %c %*d %*d %d", &state, &session) != 2) {
        return 0;
    }
    return state == 'Z' || state == 'X' ? 0 : session;
}

size_t launch_find(const char *folder, pid_t *pids, size_t most, pid_t *master)
{
    char configuration[FLEET_PATH];
    size_t count = 0;
    struct dirent *e;
    struct stat s;
    DIR *d = opendir("/proc");
    snprintf(configuration, sizeof configuration, "%s/%s", folder, proxy_file_basename(PROXY_CFG));
    if (master) {
        *master = 0;
    }
    while (d && (e = readdir(d))) {
        if (!isdigit((unsigned char)e->d_name[0]) || fstatat(dirfd(d), e->d_name, &s, 0) != 0 ||
            s.st_uid != geteuid() || !was_started_with(e->d_name, configuration)) {
            continue;
        }
        pid_t session = session_of(e->d_name), pid = (pid_t)strtol(e->d_name, NULL, 10);
        if (session && count < most) {
            pids[count++] = pid;
            if (master && session == pid) {
                *master = pid;
            }
        }
    }
    if (d) {
        closedir(d);
    }
    return count;
}

pid_t proxy_master(const char *folder)
{
    pid_t pids[LAUNCH_MOST], master;
    launch_find(folder, pids, LAUNCH_MOST, &master);
    return master;
}

unsigned proxy_workers(const char *folder)
{
    pid_t pids[LAUNCH_MOST], master;
    size_t n = launch_find(folder, pids, LAUNCH_MOST, &master);
    return (unsigned)(n - (master != 0));
}

int proxy_program(char *out, size_t out_bytes, char *error, size_t error_bytes)
{
    const char *own = getenv("TESSERA_HAPROXY"), *path = getenv("PATH");
    if (own) {
        snprintf(out, out_bytes, "%s", own);
        if (access(out, X_OK) == 0) {
            return 0;
        }
        snprintf(error, error_bytes, "TESSERA_HAPROXY: %s: %s", own, strerror(errno));
        return -ENOENT;
    }
    char all[4096];
    snprintf(all, sizeof all, "%s:/usr/sbin:/usr/local/sbin", path ? path : "/usr/bin");
    for (char *at = all, *folder; (folder = strsep(&at, ":"));) {
        int n = snprintf(out, out_bytes, "%s/haproxy", folder);
        if (folder[0] == '/' && n > 0 && (size_t)n < out_bytes && access(out, X_OK) == 0) {
            return 0;
        }
    }
    snprintf(error, error_bytes,
             "a fleet's endpoint needs HAProxy, which is not installed here; on Debian: apt-get "
             "install haproxy");
    return -ENOENT;
}

// ---- starting ----------------------------------------------------------------------------------

// In the child: as if a shell had started it.
static void become(const char *program, char *const *argv, int output)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int i = 1; i < NSIG; i++) {
        signal(i, SIG_DFL);
    }
    int null = open("/dev/null", O_RDWR);
    dup2(null, 0);
    dup2(output, 1);
    dup2(output, 2);
    close_range(3, ~0U, 0);
    unsetenv("NOTIFY_SOCKET");
    execv(program, argv);
    dprintf(2, "[ALERT] %s: %s\n", program, strerror(errno));
    _exit(127);
}

// The first line that says what is wrong; without HAProxy's "[ALERT]  (123) : ".
static bool first_alert(const char *text, char *words, size_t words_bytes)
{
    const char *at = strstr(text, "[ALERT]"), *colon;
    if (!at) {
        return false;
    }
    size_t n = strcspn(at, "\n");
    colon = memchr(at, ':', n);
    const char *from = colon ? colon + 1 : at + strlen("[ALERT]");
    from += strspn(from, " ");
    size_t length = n - (size_t)(from - at);
    snprintf(words, words_bytes, "%.*s", (int)length, from);
    for (char *c = words; *c; c++) {
        *c = (unsigned char)*c < ' ' || *c == 0x7f ? '?' : *c;
    }
    return true;
}

int launch_check(const char *program, const char *folder, unsigned most_ms, char *words,
                 size_t words_bytes)
{
    char configuration[FLEET_PATH], output[16384];
    int ends[2], status = -1;
    size_t n = 0;
    snprintf(configuration, sizeof configuration, "%s/%s", folder, proxy_file_basename(PROXY_CFG));
    char *argv[] = {(char *)"haproxy", (char *)"-c", (char *)"-f", configuration, NULL};
    if (pipe2(ends, O_CLOEXEC) != 0) {
        snprintf(words, words_bytes, "%s", strerror(errno));
        return -1;
    }
    pid_t child = fork();
    if (child == 0) {
        become(program, argv, ends[1]);
    }
    close(ends[1]);
    struct pollfd p = {.fd = ends[0], .events = POLLIN};
    while (child > 0 && n + 1 < sizeof output && poll(&p, 1, (int)most_ms) > 0) {
        ssize_t more = read(ends[0], output + n, sizeof output - 1 - n);
        if (more <= 0) {
            break;
        }
        n += (size_t)more;
    }
    output[n] = 0;
    close(ends[0]);
    if (child > 0) {
        kill(child, SIGKILL); // has it closed its output, it ended already or hangs
        // It may have been reaped by a handler of the caller's; then what it said decides.
        if (waitpid(child, &status, 0) < 0) {
            status = strstr(output, "[ALERT]") ? 1 : 0;
        }
    }
    if (!first_alert(output, words, words_bytes)) {
        snprintf(words, words_bytes, "it does not answer");
    }
    return status == 0 || (strstr(output, "Configuration file is valid") != NULL) ? 0 : -1;
}

static void log_path(const char *folder, char out[FLEET_PATH])
{
    snprintf(out, FLEET_PATH, "%s/%s", folder, LAUNCH_LOG);
}

long launch_log_bytes(const char *folder)
{
    char path[FLEET_PATH];
    struct stat s;
    log_path(folder, path);
    return stat(path, &s) == 0 ? (long)s.st_size : 0;
}

bool launch_log_alert(const char *folder, long from, char *words, size_t words_bytes)
{
    char path[FLEET_PATH], text[8192];
    log_path(folder, path);
    FILE *f = fopen(path, "rbe");
    size_t n = f && fseek(f, from, SEEK_SET) == 0 ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f) {
        fclose(f);
    }
    text[n] = 0;
    return first_alert(text, words, words_bytes);
}

int launch_start(const char *program, const char *folder, long *log_from, char *error,
                 size_t error_bytes)
{
    char path[FLEET_PATH], configuration[FLEET_PATH];
    log_path(folder, path);
    snprintf(configuration, sizeof configuration, "%s/%s", folder, proxy_file_basename(PROXY_CFG));
    *log_from = launch_log_bytes(folder);
    int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW;
    if (*log_from > MOST_LOG) {
        flags |= O_TRUNC;
        *log_from = 0;
    }
    int log = open(path, flags, 0600);
    if (log < 0) {
        int rc = -errno;
        snprintf(error, error_bytes, "%s: %s", path, strerror(-rc));
        return rc;
    }
    char *argv[] = {(char *)"haproxy", (char *)"-W", (char *)"-f", configuration, NULL};
    // Twice, so that it is nobody's child whose end somebody would have to look after.
    pid_t child = fork();
    if (child == 0) {
        setsid();
        pid_t second = fork();
        if (second == 0) {
            setsid();
            become(program, argv, log);
        }
        _exit(second < 0 ? 1 : 0);
    }
    close(log);
    int status = 0;
    if (child < 0 || (waitpid(child, &status, 0) == child && status != 0)) {
        snprintf(error, error_bytes, "cannot start HAProxy: %s", strerror(EAGAIN));
        return -EAGAIN;
    }
    return 0;
}
