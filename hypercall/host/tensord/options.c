// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The daemon's options, and which of its two processes this is.
#include "hypercall/host/base/folders.h"
#include "hypercall/host/tensord/devices.h"
#include "hypercall/host/tensord/holder.h"
#include "hypercall/host/tensord/worker.h"

#include <getopt.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "tensord: computes for guests that make tensor calls, and holds the weights once\n\n"
    "Usage: tensord [OPTIONS]\n\n"
    "  --dir DIR            sockets and logs (default: $XDG_RUNTIME_DIR/tessera, or\n"
    "                       /tmp/tessera-UID); must be yours alone\n"
    "  --control PATH       control socket (DIR/tensord.sock): one JSON object a line:\n"
    "                       {\"op\":\"ping\"}  {\"op\":\"statistics\"}  {\"op\":\"devices\"}\n"
    "                       {\"op\":\"add-model\",\"path\":\"/m.gguf\"}\n"
    "                       {\"op\":\"add-guest\",\"name\":\"a\",\"region_mb\":64,\"weight\":100,\n"
    "                        \"compute_percent\":0,\"most_runs\":32,\"calls_per_second\":200000,\n"
    "                        \"memory_mb\":64}      {\"op\":\"remove-guest\",\"name\":\"a\"}\n"
    "  --store DIR          weights that guests may open by hash: DIR/SHA256.gguf\n"
    "  --metrics ADDR:PORT  Prometheus metrics at /metrics, JSON at /statistics\n"
    "  --audit FILE         audit log (DIR/audit.log)\n"
    "  --threads N          that compute (all CPUs this process may use)\n"
    "  --isa LEVEL          kernels: scalar, avx2, avx512, avx512vnni (the best here)\n"
    "  --spin US            looks for calls that long before it sleeps (50)\n"
    "  --watchdog S         ends a worker that has not answered for S seconds (20; 0: never)\n"
    "  --device DEVICE      that computes: cpu, gpu:N, or auto, the one with the best score "
    "(auto)\n"
    "  --cuda-library FILE  the driver of NVIDIA GPUs (libcuda.so.1)\n"
    "  --devices            prints the devices of this host that could compute, and ends\n"
    "  --no-coalescing      one sequence a pass, to see what sharing passes is worth\n"
    "  --no-sandbox         without seccomp, for debuggers and sanitizers\n";

static int misuse(const char *what, const char *value)
{
    fprintf(stderr, "tensord: %s%s%s\nSee `tensord --help`.\n", what, value ? ": " : "",
            value ? value : "");
    return 2;
}

static bool number(const char *text, unsigned long most, unsigned long *out)
{
    char *end;
    *out = strtoul(text, &end, 10);
    return end != text && *end == 0 && text[0] != '-' && *out <= most;
}

enum {
    OPT_WORKER = 256,
    OPT_EPOCH,
    OPT_DESCRIPTORS,
    OPT_DIR,
    OPT_CONTROL,
    OPT_STORE,
    OPT_METRICS,
    OPT_AUDIT,
    OPT_THREADS,
    OPT_ISA,
    OPT_SPIN,
    OPT_WATCHDOG,
    OPT_ALONE,
    OPT_NO_SANDBOX,
    OPT_DEVICES,
    OPT_DEVICE,
    OPT_CUDA_LIBRARY
};
static const struct option options[] = {{"worker", no_argument, NULL, OPT_WORKER},
                                        {"epoch", required_argument, NULL, OPT_EPOCH},
                                        {"descriptors", required_argument, NULL, OPT_DESCRIPTORS},
                                        {"dir", required_argument, NULL, OPT_DIR},
                                        {"control", required_argument, NULL, OPT_CONTROL},
                                        {"store", required_argument, NULL, OPT_STORE},
                                        {"metrics", required_argument, NULL, OPT_METRICS},
                                        {"audit", required_argument, NULL, OPT_AUDIT},
                                        {"threads", required_argument, NULL, OPT_THREADS},
                                        {"isa", required_argument, NULL, OPT_ISA},
                                        {"spin", required_argument, NULL, OPT_SPIN},
                                        {"watchdog", required_argument, NULL, OPT_WATCHDOG},
                                        {"no-coalescing", no_argument, NULL, OPT_ALONE},
                                        {"no-sandbox", no_argument, NULL, OPT_NO_SANDBOX},
                                        {"devices", no_argument, NULL, OPT_DEVICES},
                                        {"device", required_argument, NULL, OPT_DEVICE},
                                        {"cuda-library", required_argument, NULL, OPT_CUDA_LIBRARY},
                                        {"help", no_argument, NULL, 'h'},
                                        {NULL, 0, NULL, 0}};

// Options of the worker are passed on as they are.
static const char *passed_on[32];
static unsigned passed_count;
static void pass_on(const char *option, const char *value)
{
    if (passed_count + 2 < sizeof passed_on / sizeof *passed_on) {
        passed_on[passed_count++] = option;
        if (value) {
            passed_on[passed_count++] = value;
        }
    }
}

// "auto", "cpu", "gpu", "gpu:N"
static bool device(const char *text, struct worker_options *w)
{
    unsigned long n = 0;
    bool is_gpu = strcmp(text, "gpu") == 0 ||
                  (strncmp(text, "gpu:", 4) == 0 && text[4] && number(text + 4, 63, &n));
    w->device = is_gpu ? DEVICE_GPU : strcmp(text, "cpu") == 0 ? DEVICE_CPU : DEVICE_AUTO;
    w->gpu = (uint32_t)n;
    return is_gpu || w->device == DEVICE_CPU || strcmp(text, "auto") == 0;
}

static int print_devices(void)
{
    struct device d[MOST_DEVICES];
    json_t *all = devices_json(d, devices_find(d));
    int rc = all ? json_dumpf(all, stdout, JSON_INDENT(2)) : -1;
    json_decref(all);
    return rc || putchar('\n') == EOF ? 1 : 0;
}

static unsigned cpus(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
    return n > 0 ? (unsigned)n : 1;
}

int tensord_main(int argc, char **argv)
{
    static char dir[PATH_MAX], control[PATH_MAX];
    struct holder_options h = {.watchdog_s = 20, .worker_arguments = passed_on};
    struct worker_options w = {
        .threads = cpus(), .isa = tn_isa_best(), .spin_us = 50, .audit = -1, .metrics = -1};
    bool worker = false;
    unsigned long n;
    int c;
    while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        switch (c) {
        case 'h':
            fputs(help, stdout);
            return 0;
        case OPT_DEVICES:
            return print_devices();
        case OPT_WORKER:
            worker = true;
            break;
        case OPT_EPOCH:
            w.epoch = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case OPT_DESCRIPTORS:
            if (sscanf(optarg, "%d,%d,%d", &w.link, &w.audit, &w.metrics) != 3) {
                return misuse("--descriptors is for the worker", optarg);
            }
            break;
        case OPT_DIR:
            h.dir = optarg;
            break;
        case OPT_CONTROL:
            h.control = optarg;
            break;
        case OPT_STORE:
            h.store = optarg;
            break;
        case OPT_METRICS:
            h.metrics = optarg;
            break;
        case OPT_AUDIT:
            h.audit = optarg;
            break;
        case OPT_THREADS:
            if (!number(optarg, 256, &n) || n == 0) {
                return misuse("--threads must be 1 to 256", optarg);
            }
            w.threads = (unsigned)n;
            pass_on("--threads", optarg);
            break;
        case OPT_ISA:
            if (tn_isa_parse(optarg, &w.isa) || w.isa > tn_isa_best()) {
                return misuse("--isa: not known, or not on this machine", optarg);
            }
            pass_on("--isa", optarg);
            break;
        case OPT_SPIN:
            if (!number(optarg, 10000000, &n)) {
                return misuse("--spin must be 0 to 10000000 microseconds", optarg);
            }
            w.spin_us = (uint32_t)n;
            pass_on("--spin", optarg);
            break;
        case OPT_WATCHDOG:
            if (!number(optarg, 86400, &n)) {
                return misuse("--watchdog must be 0 to 86400 seconds", optarg);
            }
            h.watchdog_s = (uint32_t)n;
            break;
        case OPT_DEVICE:
            if (!device(optarg, &w)) {
                return misuse("--device must be auto, cpu or gpu:N", optarg);
            }
            pass_on("--device", optarg);
            break;
        case OPT_CUDA_LIBRARY:
            w.cuda_library = optarg;
            pass_on("--cuda-library", optarg);
            break;
        case OPT_ALONE:
            w.no_coalescing = true;
            pass_on("--no-coalescing", NULL);
            break;
        case OPT_NO_SANDBOX:
            w.no_sandbox = true;
            pass_on("--no-sandbox", NULL);
            break;
        default:
            fputs("See `tensord --help`.\n", stderr);
            return 2;
        }
    }
    if (optind < argc) {
        return misuse("unexpected argument", argv[optind]);
    }
    if (worker) {
        return worker_main(&w);
    }
    if (!h.dir) {
        if (folder_of_sockets(dir, sizeof dir) != 0) {
            return misuse("XDG_RUNTIME_DIR is too long", NULL);
        }
        h.dir = dir;
    }
    if (!h.control) {
        if ((size_t)snprintf(control, sizeof control, "%s/tensord.sock", h.dir) >= sizeof control) {
            return misuse("--dir is too long", NULL);
        }
        h.control = control;
    }
    return holder_main(&h);
}
