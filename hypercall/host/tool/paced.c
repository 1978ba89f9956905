// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera bench --paced`: another program says when to run what, so that two engines can be
// measured in turn. First "ready OPEN FIRST", seconds until the model was open and until it had
// computed a first token; then for each line "pp 512" or "tg 64" on standard input one run and the
// line "WALL CPU PEAK WORK BYTES": seconds, CPU seconds, the process's peak memory in MB, and the
// test's multiply-adds and bytes of weights a step, both in 1e9. "end 0" ends.
#include "hypercall/host/tool/bench.h"

#include <stdio.h>
#include <string.h>

static double peak_memory_mb(void)
{
    char line[256];
    unsigned long kb = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "VmHWM: %lu", &kb) == 1) {
            break;
        }
    }
    if (f) {
        fclose(f);
    }
    return (double)kb / 1024.0;
}

int bench_paced(const struct tool_model *m, const struct tool_setup *s, uint64_t begun_ns)
{
    struct bench_engine b;
    struct bench_time t;
    int status = bench_start(m, s, &b);
    if (status) {
        return status;
    }
    double opened = (double)(tool_now_ns() - begun_ns) * 1e-9;
    struct bench_test first = {.tokens = 1, .sequences = b.engine.sequences};
    status = bench_run(&b, &first, &t);
    printf("ready %.6f %.6f\n", opened, (double)(tool_now_ns() - begun_ns) * 1e-9);
    fflush(stdout);
    char kind[8];
    unsigned tokens;
    while (!status && scanf("%7s %u", kind, &tokens) == 2 && strcmp(kind, "end") != 0) {
        struct bench_test test = {strcmp(kind, "pp") == 0, tokens, b.engine.sequences};
        if ((!test.prompt && strcmp(kind, "tg") != 0) || tokens == 0 || tokens > b.engine.context) {
            status =
                tool_misuse("'%s %u' is no test of 1 to %u tokens", kind, tokens, b.engine.context);
            break;
        }
        status = bench_run(&b, &test, &t);
        struct bench_work w = bench_work(m, &test);
        printf("%.6f %.6f %.1f %.6f %.6f\n", t.wall, t.cpu, peak_memory_mb(),
               w.multiply_adds * 1e-9, w.step_weight_bytes * 1e-9);
        fflush(stdout);
    }
    bench_stop(&b);
    return status;
}
