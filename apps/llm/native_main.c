// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The workload as a process of the host (build/bin/llm-native): the same API over sockets, for
// tests under the sanitizers and for trying a model without a machine.
#include "apps/llm/llm.h"
#include "apps/llm/port_native.h"
#include "libos/http_host.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

const char app_name[] = "llm";
const char app_version[] = "0.1.0";

static struct llm llm;
static atomic_bool stop;
static volatile sig_atomic_t asked; // times that a signal asked to end

struct arguments {
    const char *model, *key, *isa, *address, *offload, *identity;
    uint16_t port;
    unsigned threads, slots, context, queue;
};

static void usage(void)
{
    fprintf(stderr, "usage: llm-native MODEL.gguf [--port 8080] [--address 127.0.0.1] [--key KEY]\n"
                    "                  [--threads N] [--slots N] [--queue N] [--context N] "
                    "[--isa NAME]\n"
                    "                  [--offload SOCKET --identity sha256:HEX]\n");
    exit(2);
}

static unsigned number(const char *text, unsigned long most)
{
    char *end;
    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    if (errno || end == text || *end || n > most) {
        fprintf(stderr, "llm-native: '%s' is not a number from 0 to %lu\n", text, most);
        exit(2);
    }
    return (unsigned)n;
}

static struct arguments parse(int argc, char **argv)
{
    static const struct option options[] = {
        {"port", 1, NULL, 'p'},     {"key", 1, NULL, 'k'},     {"threads", 1, NULL, 't'},
        {"slots", 1, NULL, 's'},    {"context", 1, NULL, 'c'}, {"isa", 1, NULL, 'i'},
        {"queue", 1, NULL, 'q'},    {"address", 1, NULL, 'a'}, {"offload", 1, NULL, 'o'},
        {"identity", 1, NULL, 'd'}, {NULL, 0, NULL, 0}};
    struct arguments a = {.port = 8080, .address = "127.0.0.1"};
    for (int c; (c = getopt_long(argc, argv, "t:", options, NULL)) != -1;) {
        switch (c) {
        case 'p':
            a.port = (uint16_t)number(optarg, 65535);
            break;
        case 'k':
            a.key = optarg;
            break;
        case 't':
            a.threads = number(optarg, 64);
            break;
        case 's':
            a.slots = number(optarg, 256);
            break;
        case 'q':
            a.queue = number(optarg, 4096);
            break;
        case 'c':
            a.context = number(optarg, 1u << 24);
            break;
        case 'i':
            a.isa = optarg;
            break;
        case 'a':
            a.address = optarg;
            break;
        case 'o':
            a.offload = optarg;
            break;
        case 'd':
            a.identity = optarg;
            break;
        default:
            usage();
        }
    }
    if (optind + 1 != argc)
        usage();
    a.model = argv[optind];
    return a;
}

static void *load(void *arg)
{
    const struct arguments *a = arg;
    struct stat st;
    int fd = open(a->model, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st)) {
        llm_fail(&llm, "%s: %s", a->model, strerror(errno));
        return NULL;
    }
    void *data =
        st.st_size > 0 ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    close(fd);
    if (data == MAP_FAILED) {
        llm_fail(&llm, "%s: %s", a->model, st.st_size > 0 ? strerror(errno) : "the file is empty");
        return NULL;
    }
    struct engine_options o = {.slots = a->slots,
                               .queue = a->queue,
                               .context = a->context,
                               .isa = a->isa,
                               .offload = {.choice = a->offload ? OFFLOAD_ALWAYS : OFFLOAD_NEVER,
                                           .identity = a->identity,
                                           .where = a->offload,
                                           .spin_us = 20}};
    llm_open(&llm, data, (size_t)st.st_size, "", "file", &o);
    return NULL;
}

static void on_signal(int signal)
{
    (void)signal;
    asked++;
}

static void drained(void *arg)
{
    (void)arg;
    atomic_store(&stop, true);
}

static void begin_drain(void *arg)
{
    (void)arg;
    http_drain(llm.http, 8000, drained, NULL);
}

static void *watch_signals(void *arg)
{
    (void)arg;
    while (!asked)
        usleep(50000);
    if (http_host_post(begin_drain, NULL))
        atomic_store(&stop, true);
    while (asked < 2)
        usleep(50000);
    atomic_store(&stop, true);
    return NULL;
}

int main(int argc, char **argv)
{
    struct arguments a = parse(argc, argv);
    pthread_t loader, watcher;
    struct sigaction act = {.sa_handler = on_signal};
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    signal(SIGPIPE, SIG_IGN);
    int rc = port_native_init(a.threads);
    if (!rc)
        rc = http_host_listen(a.address, a.port, NULL, &llm.http);
    if (rc) {
        fprintf(stderr, "llm-native: port %u: %s\n", a.port, strerror(-rc));
        return 1;
    }
    if (a.key)
        http_set_key(llm.http, a.key);
    llm_routes(&llm);
    printf("listening on http://%s:%u\n", a.address, http_host_port(llm.http));
    fflush(stdout);
    if (pthread_create(&loader, NULL, load, &a) ||
        pthread_create(&watcher, NULL, watch_signals, NULL))
        return 1;
    rc = http_host_run(llm.http, &stop);
    _exit(rc ? 1 : 0); // the engine's thread still runs; the system takes everything back
}
