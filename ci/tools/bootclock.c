// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Starts a command (a virtual machine) and times, from just before its start, the first byte it
// prints, the first HTTP 200 it serves, or its end. Prints one line to the file given by -o, then
// stays its parent.
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char usage[] =
    "usage: bootclock [-p PORT | -b | -e] [-o FILE] [-l LOG] [-t SECONDS] [-k [-w MS]]\n"
    "                 -- COMMAND [ARG ...]\n"
    "  -p PORT     time until GET /health on 127.0.0.1:PORT answers 200\n"
    "  -b          time until COMMAND prints its first byte\n"
    "  -e          time until COMMAND ends with status 0; then the milliseconds that it and its "
    "children computed\n"
    "  -o FILE     write the milliseconds there (default: standard error)\n"
    "  -l LOG      COMMAND's output goes to this file (default: thrown away; with -b needed for "
    "nothing)\n"
    "  -t SECONDS  give up after this long (default 30) and exit with 124\n"
    "  -a MS       wait so long for an answer to each question (default 250)\n"
    "  -k          end COMMAND once the time is known (default: stay until it ends)\n"
    "  -w MS       with -k: let it go on this long before, so that it can say more\n";

static volatile sig_atomic_t stopped;
static pid_t child = -1;

static void on_signal(int number)
{
    stopped = 1;
    if (child > 0) {
        kill(child, number);
    }
}

static void on_time_out(int number)
{
    (void)number;
    if (child > 0) {
        kill(child, SIGKILL);
    }
}

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

// Of children that ended.
static double computed_ms(void)
{
    struct rusage r;
    getrusage(RUSAGE_CHILDREN, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1e3 +
           (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e3;
}

// One GET /health; true if the answer begins with a 200 status line. Waits at most `wait_ms`.
static bool healthy(int port, int wait_ms)
{
    static const char request[] = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    char answer[16] = {0};
    size_t have = 0;
    bool good = false;
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 &&
        send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) == (ssize_t)sizeof(request) - 1) {
        double end = now_ms() + wait_ms;
        while (have < 12) {
            struct pollfd p = {.fd = fd, .events = POLLIN};
            int left = (int)(end - now_ms());
            if (left <= 0 || poll(&p, 1, left) <= 0) {
                break;
            }
            ssize_t n = recv(fd, answer + have, 12 - have, 0);
            if (n <= 0) {
                break;
            }
            have += (size_t)n;
        }
        good = have == 12 && memcmp(answer, "HTTP/1.", 7) == 0 && memcmp(answer + 9, "200", 3) == 0;
    }
    close(fd);
    return good;
}

int main(int argc, char **argv)
{
    int port = 0, limit = 30, linger_ms = 0, answer_ms = 250, option, log_fd = -1;
    int pipe_fd[2] = {-1, -1};
    bool first_byte = false, end_after = false, until_end = false;
    const char *out = NULL, *log = NULL;

    while ((option = getopt(argc, argv, "+p:beo:l:t:a:kw:h")) != -1) {
        switch (option) {
        case 'p':
            port = atoi(optarg);
            break;
        case 'b':
            first_byte = true;
            break;
        case 'e':
            until_end = true;
            break;
        case 'o':
            out = optarg;
            break;
        case 'l':
            log = optarg;
            break;
        case 't':
            limit = atoi(optarg);
            break;
        case 'a':
            answer_ms = atoi(optarg);
            break;
        case 'k':
            end_after = true;
            break;
        case 'w':
            linger_ms = atoi(optarg);
            break;
        default:
            fputs(usage, option == 'h' ? stdout : stderr);
            return option == 'h' ? 0 : 2;
        }
    }
    if (optind >= argc || (port != 0) + first_byte + until_end != 1) {
        fputs(usage, stderr);
        return 2;
    }
    log_fd = open(log ? log : "/dev/null", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (log_fd < 0) {
        fprintf(stderr, "bootclock: %s: %s\n", log, strerror(errno));
        return 1;
    }
    if (first_byte && pipe2(pipe_fd, O_CLOEXEC) < 0) {
        perror("bootclock: pipe");
        return 1;
    }
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);

    double start = now_ms();
    child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int to = first_byte ? pipe_fd[1] : log_fd;
        dup2(to, 1);
        dup2(log_fd, 2);
        execvp(argv[optind], argv + optind);
        dprintf(2, "bootclock: %s: %s\n", argv[optind], strerror(errno));
        _exit(127);
    }
    if (child < 0) {
        perror("bootclock: fork");
        return 1;
    }

    if (until_end) {
        signal(SIGALRM, on_time_out);
        alarm((unsigned)limit);
    }
    double taken = -1;
    int status = 0;
    bool ended = false;
    while (!stopped && taken < 0 && now_ms() - start < limit * 1000.0) {
        // Whose end is waited for is not looked at every now and then: that would compute, too.
        if (waitpid(child, &status, until_end ? 0 : WNOHANG) == child) {
            ended = true;
            taken = until_end && status == 0 ? now_ms() - start : -1;
            break;
        }
        if (first_byte) {
            struct pollfd p = {.fd = pipe_fd[0], .events = POLLIN};
            char byte;
            if (poll(&p, 1, 50) > 0 && read(pipe_fd[0], &byte, 1) == 1) {
                taken = now_ms() - start;
            }
        } else if (healthy(port, answer_ms)) {
            taken = now_ms() - start;
        } else {
            usleep(500);
        }
    }
    if (taken >= 0) {
        FILE *f = out ? fopen(out, "w") : stderr;
        if (f) {
            fprintf(f, until_end ? "%.1f %.1f\n" : "%.1f\n", taken, computed_ms());
            if (out) {
                fclose(f);
            }
        }
    }
    if (taken >= 0 && end_after && linger_ms > 0 && !stopped) {
        usleep((useconds_t)linger_ms * 1000); // a signal ends it early
    }
    if (!ended && (taken < 0 || end_after)) {
        kill(child, SIGTERM);
        for (int i = 0; i < 200 && !ended; i++) {
            ended = waitpid(child, &status, WNOHANG) == child;
            if (!ended) {
                usleep(10000);
            }
        }
        if (!ended) {
            kill(child, SIGKILL);
        }
    }
    while (!ended && waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (taken < 0 && !stopped) {
        return WIFEXITED(status) && WEXITSTATUS(status) != 0 && ended ? WEXITSTATUS(status) : 124;
    }
    return end_after || stopped ? 0
           : WIFEXITED(status)  ? WEXITSTATUS(status)
                                : 128 + WTERMSIG(status);
}
