// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Devices by /proc, /sys and NVIDIA's management library. A GPU is offered when the CUDA driver is
// there as well and the build has kernels.
#include "hypercall/host/tensord/devices.h"

#include "hypercall/host/hardware/nvml.h"
#include "tensor/cuda.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

double device_score(const struct device *d)
{
    return hardware_score(
        &(struct hardware_load){d->free_memory, d->utilisation, d->temperature, d->resident});
}

int devices_best(const struct device *d, int count)
{
    int best = -1;
    for (int i = 0; i < count; i++) {
        if (d[i].has_executor && (best < 0 || device_score(&d[i]) > device_score(&d[best]))) {
            best = i;
        }
    }
    return best;
}

static void add_known(json_t *o, const char *key, double value)
{
    if (value >= 0) {
        json_object_set_new(o, key, json_real(value));
    }
}

json_t *devices_json(const struct device *d, int count)
{
    json_t *all = json_array();
    for (int i = 0; i < count; i++, d++) {
        json_t *o = json_pack("{s:s, s:s, s:b, s:I, s:f}", "name", d->name, "kind",
                              d->is_gpu ? "gpu" : "cpu", "offered", d->has_executor, "memory_bytes",
                              (json_int_t)d->memory_bytes, "score", device_score(d));
        if (!all || !o || json_array_append(all, o)) {
            json_decref(o);
            json_decref(all);
            return NULL;
        }
        add_known(o, "free_memory_percent", d->free_memory);
        add_known(o, "utilisation_percent", d->utilisation);
        add_known(o, "temperature_celsius", d->temperature);
        json_decref(o);
    }
    return all;
}

// ---- the host's cores --------------------------------------------------------------------------

// Jiffies of all CPUs: busy and in all. proc(5).
static bool read_load(double *busy, double *all)
{
    unsigned long long v[8] = {0};
    FILE *f = fopen("/proc/stat", "r");
    int n = f ? fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2], &v[3],
                       &v[4], &v[5], &v[6], &v[7])
              : 0;
    if (f) {
        fclose(f);
    }
    *busy = (double)(v[0] + v[1] + v[2] + v[5] + v[6] + v[7]);
    *all = *busy + (double)(v[3] + v[4]);
    return n == 8;
}

static void read_memory(struct device *d)
{
    char line[128];
    unsigned long long total = 0, available = 0;
    FILE *f = fopen("/proc/meminfo", "r");
    while (f && fgets(line, sizeof line, f)) {
        sscanf(line, "MemTotal: %llu", &total);
        sscanf(line, "MemAvailable: %llu", &available);
    }
    if (f) {
        fclose(f);
    }
    d->memory_bytes = total * 1024;
    d->free_memory = total ? 100.0 * (double)available / (double)total : DEVICE_UNKNOWN;
}

// The hottest zone.
static double read_temperature(void)
{
    double most = DEVICE_UNKNOWN;
    for (int i = 0; i < 32; i++) {
        char path[80];
        double t;
        snprintf(path, sizeof path, "/sys/class/thermal/thermal_zone%d/temp", i);
        FILE *f = fopen(path, "r");
        if (f && fscanf(f, "%lf", &t) == 1 && t / 1000 > most) {
            most = t / 1000;
        }
        if (f) {
            fclose(f);
        }
    }
    return most;
}

static void find_cores(struct device *d)
{
    double busy[2], all[2];
    const struct timespec pause = {0, 100000000};
    *d = (struct device){.has_executor = true, .utilisation = DEVICE_UNKNOWN};
    snprintf(d->name, sizeof d->name, "%ld cores of the host", sysconf(_SC_NPROCESSORS_ONLN));
    bool known = read_load(&busy[0], &all[0]);
    nanosleep(&pause, NULL);
    known = known && read_load(&busy[1], &all[1]) && all[1] > all[0];
    if (known) {
        d->utilisation = 100 * (busy[1] - busy[0]) / (all[1] - all[0]);
    }
    read_memory(d);
    d->temperature = read_temperature();
}

int devices_find(struct device out[MOST_DEVICES])
{
    struct nvml_gpu gpus[MOST_DEVICES - 1];
    char error[200];
    find_cores(&out[0]);
    int count = nvml_find(gpus, MOST_DEVICES - 1);
    bool computes = count > 0 && tn_cuda_available(NULL, error, sizeof error) == 0;
    for (int i = 0; i < count; i++) {
        const struct nvml_gpu *g = &gpus[i];
        struct device *d = &out[i + 1];
        *d = (struct device){.is_gpu = true,
                             .has_executor = computes && g->bus_id[0],
                             .memory_bytes = g->memory_bytes,
                             .free_memory = g->load.free_memory,
                             .utilisation = g->load.utilisation,
                             .temperature = g->load.temperature};
        memcpy(d->name, g->name, sizeof d->name);
        memcpy(d->bus_id, g->bus_id, sizeof d->bus_id);
    }
    return count + 1;
}
