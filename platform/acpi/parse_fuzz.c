// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// ACPI and MP parsers over arbitrary bytes. A checksum would stop nearly every input, so the
// accessor evens the sum out: the byte at each table's checksum place is made to fit.
// Links: platform/acpi/parse.c platform/acpi/mp.c
#include "platform/acpi/parse.h"

#include <string.h>

struct image {
    const uint8_t *data;
    size_t size;
};

static bool read_image(void *ctx, uint64_t phys, void *buf, size_t bytes)
{
    const struct image *m = ctx;
    if (phys > m->size || bytes > m->size - phys) {
        return false;
    }
    memcpy(buf, m->data + phys, bytes);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t copy[4096];
    size_t n = size < sizeof(copy) ? size : sizeof(copy);
    memcpy(copy, data, n);
    // Tables that the input holds get right sums, last first, as a table's sum covers its bytes
    // only.
    for (size_t at = n; at-- > 0;) {
        uint32_t length;
        if (at % 16 == 0 && at + 36 <= n && copy[at] >= 'A' && copy[at] <= 'Z') {
            memcpy(&length, copy + at + 4, 4);
            if (memcmp(copy + at, "RSD PTR ", 8) == 0) {
                length = 20;
            }
            if (length >= 20 && length <= n - at) {
                size_t where = length == 20 ? 8 : 9;
                uint8_t sum = 0;
                copy[at + where] = 0;
                for (size_t i = 0; i < length; i++) {
                    sum = (uint8_t)(sum + copy[at + i]);
                }
                copy[at + where] = (uint8_t)-sum;
            }
        }
    }
    struct image image = {copy, n};
    const struct acpi_reader r = {read_image, &image};
    struct pf_acpi_info info;
    unsigned damaged;
    uint64_t rsdp = acpi_scan_rsdp(&r, 0, n);
    if (rsdp == 0) {
        rsdp = 16;
    }
    acpi_parse(&r, rsdp, &info, &damaged);
    info = (struct pf_acpi_info){0};
    mp_parse(&r, 0, n, &info);
    return 0;
}
