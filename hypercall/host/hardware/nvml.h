// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// NVIDIA's GPUs as their driver sees them: NVML, loaded when it is there (NVML API reference).
#ifndef TESSERA_HARDWARE_NVML_H
#define TESSERA_HARDWARE_NVML_H

#include "hypercall/host/hardware/score.h"

#include <stdint.h>

struct nvml_gpu {
    char name[96], bus_id[32]; // bus_id: "" if the driver does not say
    uint64_t memory_bytes;
    struct hardware_load load; // resident is 0
};
// Returns how many, 0 where there is no driver.
int nvml_find(struct nvml_gpu *out, int most);

#endif
