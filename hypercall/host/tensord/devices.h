// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The host's devices that could compute, with what is known of them: read from the system or
// absent, never invented.
#ifndef TENSORD_DEVICES_H
#define TENSORD_DEVICES_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { MOST_DEVICES = 17 };
#define DEVICE_UNKNOWN (-1.0) // HARDWARE_UNKNOWN

struct device {
    char name[96], bus_id[32]; // bus_id: of GPUs, "" if the system does not say
    bool is_gpu, has_executor; // without one it is shown, but computes nothing
    uint64_t memory_bytes;
    // Per cent, and degrees Celsius; DEVICE_UNKNOWN: the system does not say.
    double free_memory, utilisation, temperature;
    double resident; // weights that are there already, per cent
};

// The host's cores first, then NVIDIA GPUs where libnvidia-ml is. Takes a tenth of a second, to see
// how busy the cores are. Returns how many.
int devices_find(struct device out[MOST_DEVICES]);
// hardware_score of what is known of it.
double device_score(const struct device *d);
// The one with the best score of those that compute, the first of equals. -1: none computes.
int devices_best(const struct device *d, int count);
// [{"name":…,"kind":"cpu","score":…}]: values that are not known are left out. NULL: no memory.
json_t *devices_json(const struct device *d, int count);

#endif
