// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Devices by /proc, /sys and NVIDIA's management library (NVML API reference), which is loaded when
// it is there. A GPU is offered when the CUDA driver is there as well and the build has kernels.
#include "hypercall/host/tensord/devices.h"

#include "tensor/cuda.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

double device_score(const struct device *d)
{
    double score = 8 * d->resident;
    score += d->free_memory < 0 ? 0 : 4 * d->free_memory;
    score += d->utilisation < 0 ? 0 : 2 * (100 - d->utilisation);
    score += d->temperature < 0 ? 0 : 100 - d->temperature;
    return score;
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

// ---- NVIDIA GPUs -------------------------------------------------------------------------------

// nvmlPciInfo_t
struct pci_place {
    char short_id[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
};

struct nvml {
    void *library;
    int (*init)(void);
    int (*shutdown)(void);
    int (*count)(unsigned *n);
    int (*handle)(unsigned i, void **device);
    int (*name)(void *device, char *out, unsigned bytes);
    int (*pci)(void *device, struct pci_place *out);
    int (*memory)(void *device, unsigned long long out[3]);      // total, free, used
    int (*utilisation)(void *device, unsigned out[2]);           // GPU, memory
    int (*temperature)(void *device, int sensor, unsigned *out); // sensor 0: the GPU
};

static bool load(struct nvml *n)
{
    struct {
        void *function;
        const char *name;
    } wanted[] = {{&n->init, "nvmlInit_v2"},
                  {&n->shutdown, "nvmlShutdown"},
                  {&n->count, "nvmlDeviceGetCount_v2"},
                  {&n->handle, "nvmlDeviceGetHandleByIndex_v2"},
                  {&n->name, "nvmlDeviceGetName"},
                  {&n->pci, "nvmlDeviceGetPciInfo_v3"},
                  {&n->memory, "nvmlDeviceGetMemoryInfo"},
                  {&n->utilisation, "nvmlDeviceGetUtilizationRates"},
                  {&n->temperature, "nvmlDeviceGetTemperature"}};
    n->library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    for (size_t i = 0; n->library && i < sizeof wanted / sizeof *wanted; i++) {
        void *symbol = dlsym(n->library, wanted[i].name);
        memcpy(wanted[i].function, &symbol, sizeof symbol);
        if (!symbol) {
            dlclose(n->library);
            n->library = NULL;
        }
    }
    return n->library != NULL;
}

static bool find_gpu(const struct nvml *n, unsigned i, bool computes, struct device *d)
{
    void *handle;
    unsigned long long memory[3];
    unsigned rates[2], degrees;
    struct pci_place pci = {.bus_id = ""};
    *d = (struct device){.is_gpu = true,
                         .free_memory = DEVICE_UNKNOWN,
                         .utilisation = DEVICE_UNKNOWN,
                         .temperature = DEVICE_UNKNOWN};
    if (n->handle(i, &handle) || n->name(handle, d->name, sizeof d->name)) {
        return false;
    }
    if (n->pci(handle, &pci) == 0) {
        pci.bus_id[sizeof pci.bus_id - 1] = 0;
        memcpy(d->bus_id, pci.bus_id, sizeof d->bus_id);
    }
    d->has_executor = computes && d->bus_id[0];
    if (n->memory(handle, memory) == 0 && memory[0]) {
        d->memory_bytes = memory[0];
        d->free_memory = 100.0 * (double)memory[1] / (double)memory[0];
    }
    if (n->utilisation(handle, rates) == 0) {
        d->utilisation = rates[0];
    }
    if (n->temperature(handle, 0, &degrees) == 0) {
        d->temperature = degrees;
    }
    return true;
}

int devices_find(struct device out[MOST_DEVICES])
{
    struct nvml n = {0};
    unsigned gpus = 0;
    char error[200];
    int count = 1;
    find_cores(&out[0]);
    if (!load(&n)) {
        return count;
    }
    if (n.init() == 0) {
        bool computes = tn_cuda_available(NULL, error, sizeof error) == 0;
        if (n.count(&gpus)) {
            gpus = 0;
        }
        for (unsigned i = 0; i < gpus && count < MOST_DEVICES; i++) {
            count += find_gpu(&n, i, computes, &out[count]);
        }
        n.shutdown();
    }
    dlclose(n.library);
    return count;
}
