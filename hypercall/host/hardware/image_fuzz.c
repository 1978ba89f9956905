// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any bytes as a guest's image, as a value of --device and as another guest's XML: read within
// bounds, names fit for a terminal.
//
// Links: hypercall/host/hardware/image.c hypercall/host/hardware/wishes.c
#include "hypercall/host/hardware/devices.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hardware_drivers d;
    struct hardware_wishes w = {0};
    struct hardware_taken t = {0};
    char error[64];
    if (hardware_image_drivers_of(data, size, &d) == 0) {
        for (size_t i = 0; i < d.count; i++) {
            for (const char *c = d.drivers[i].name; *c; c++) {
                if (*c <= ' ' || *c >= 127) {
                    abort();
                }
            }
        }
    }
    char *text = malloc(size + 1);
    if (text) {
        memcpy(text, data, size);
        text[size] = 0;
        if (hardware_wishes_add(&w, text, error, sizeof error) == 0 && w.count == 0) {
            abort();
        }
        hardware_taken_add(&t, "guest", text);
        free(text);
    }
    return 0;
}
