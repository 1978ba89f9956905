// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// NVIDIA's management library (NVML API reference), which is loaded when it is there.
#include "hypercall/host/hardware/nvml.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

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

static bool read_gpu(const struct nvml *n, unsigned i, struct nvml_gpu *g)
{
    void *handle;
    unsigned long long memory[3];
    unsigned rates[2], degrees;
    struct pci_place pci = {.bus_id = ""};
    *g = (struct nvml_gpu){.load = {HARDWARE_UNKNOWN, HARDWARE_UNKNOWN, HARDWARE_UNKNOWN, 0}};
    if (n->handle(i, &handle) || n->name(handle, g->name, sizeof g->name)) {
        return false;
    }
    if (n->pci(handle, &pci) == 0) {
        pci.bus_id[sizeof pci.bus_id - 1] = 0;
        memcpy(g->bus_id, pci.bus_id, sizeof g->bus_id);
    }
    if (n->memory(handle, memory) == 0 && memory[0]) {
        g->memory_bytes = memory[0];
        g->load.free_memory = 100.0 * (double)memory[1] / (double)memory[0];
    }
    if (n->utilisation(handle, rates) == 0) {
        g->load.utilisation = rates[0];
    }
    if (n->temperature(handle, 0, &degrees) == 0) {
        g->load.temperature = degrees;
    }
    return true;
}

int nvml_find(struct nvml_gpu *out, int most)
{
    struct nvml n = {0};
    unsigned gpus = 0;
    int count = 0;
    if (!load(&n)) {
        return 0;
    }
    if (n.init() == 0) {
        if (n.count(&gpus)) {
            gpus = 0;
        }
        for (unsigned i = 0; i < gpus && count < most; i++) {
            count += read_gpu(&n, i, &out[count]);
        }
        n.shutdown();
    }
    dlclose(n.library);
    return count;
}
