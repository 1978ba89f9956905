// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The static ACPI tables and, without them, the MP table, read through an accessor so that the
// parsers run on the host under tests and fuzzers. Sources: ACPI 6.4 ch. 5; MP Specification 1.4.
#ifndef PLATFORM_ACPI_PARSE_H
#define PLATFORM_ACPI_PARSE_H

#include "platform/acpi.h"

struct acpi_reader {
    // Copies [phys, phys+bytes) to buf; false if that is not memory.
    bool (*read)(void *ctx, uint64_t phys, void *buf, size_t bytes);
    void *ctx;
};

// Longest table believed; larger lengths are refused.
#define ACPI_MAX_TABLE (1u << 20)

enum {
    ACPI_IO_NONE = 0,
    ACPI_IO_PORT = 1,
    ACPI_IO_MEMORY = 2,
};

// Looks for the root pointer on 16-byte boundaries in [from, to). 0 if there is none.
uint64_t acpi_scan_rsdp(const struct acpi_reader *r, uint64_t from, uint64_t to);
// Fills *out from the tables under `rsdp`. 0, or -EINVAL when the root pointer or its table list
// is unusable (then *out is all zero). Single tables that are damaged are skipped and counted.
int acpi_parse(const struct acpi_reader *r, uint64_t rsdp, struct pf_acpi_info *out,
               unsigned *damaged);
// Fills CPUs, I/O APICs and ISA overrides from an MP table in [from, to). 0 or -ENOENT.
int mp_parse(const struct acpi_reader *r, uint64_t from, uint64_t to, struct pf_acpi_info *out);

// Bits shared by the two parsers.
bool acpi_sum_is_zero(const struct acpi_reader *r, uint64_t phys, size_t bytes);
void acpi_add_cpu(struct pf_acpi_info *out, uint32_t apic_id);

#endif
