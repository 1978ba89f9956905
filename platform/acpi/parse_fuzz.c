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

// Makes the `bytes` at `at` add up to zero by the one at `where`.
static void even_out(uint8_t *copy, size_t size, size_t at, size_t bytes, size_t where)
{
    uint8_t sum = 0;
    if (bytes > size - at || bytes <= where) {
        return;
    }
    copy[at + where] = 0;
    for (size_t i = 0; i < bytes; i++) {
        sum = (uint8_t)(sum + copy[at + i]);
    }
    copy[at + where] = (uint8_t)-sum;
}

static size_t length_at(const uint8_t *at, size_t bytes)
{
    uint32_t length = 0;
    memcpy(&length, at, bytes);
    return length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t copy[4096];
    size_t n = size < sizeof(copy) ? size : sizeof(copy);
    memcpy(copy, data, n);
    // Tables that the input holds get right sums, last first, as a table's sum covers its bytes
    // only.
    for (size_t at = n & ~(size_t)15; at >= 16; at -= 16) {
        uint8_t *table = copy + at - 16;
        size_t from = at - 16, left = n - from;
        if (left >= 36 && memcmp(table, "RSD PTR ", 8) == 0) {
            even_out(copy, n, from, 20, 8);
            even_out(copy, n, from, length_at(table + 20, 4), 32);
        } else if (memcmp(table, "_MP_", 4) == 0) {
            even_out(copy, n, from, 16, 10);
        } else if (memcmp(table, "PCMP", 4) == 0) {
            even_out(copy, n, from, length_at(table + 4, 2), 7);
        } else if (table[0] >= 'A' && table[0] <= 'Z') {
            even_out(copy, n, from, length_at(table + 4, 4), 9);
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
