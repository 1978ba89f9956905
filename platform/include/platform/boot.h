// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the boot wrappers (PVH, UEFI) hand to the kernel, in one form. Both wrappers end in
// pf_start(), which brings the machine up and calls pf_main() (the libos) on the boot CPU.
#ifndef PLATFORM_BOOT_H
#define PLATFORM_BOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pf_boot_source { PF_BOOT_PVH = 1, PF_BOOT_UEFI = 2 };

enum pf_range_type {
    PF_RANGE_RAM = 1,      // usable
    PF_RANGE_RESERVED = 2, // never touch
    PF_RANGE_ACPI = 3,     // ACPI tables, reclaimable
    PF_RANGE_NVS = 4,
    PF_RANGE_BAD = 5,
    PF_RANGE_PMEM = 7,
};

struct pf_range {
    uint64_t base; // physical, bytes
    uint64_t length;
    uint32_t type; // enum pf_range_type
    uint32_t reserved;
};

struct pf_module {
    uint64_t base; // physical
    uint64_t length;
};

#define PF_MAX_RANGES  128
#define PF_MAX_MODULES 8
#define PF_MAX_CMDLINE 2048
#define PF_MAX_REFUSED 64

struct pf_boot_info {
    uint32_t magic; // PF_BOOT_MAGIC
    uint32_t source;
    uint64_t entry_tsc;   // TSC at the wrapper's first instruction
    uint64_t rsdp;        // physical address, 0 if the firmware gave none
    uint64_t image_phys;  // where the kernel image lies
    uint64_t image_bytes; // including bss
    uint64_t image_virt;  // random base it runs at
    uint32_t range_count;
    uint32_t module_count;
    // 1 + index of the module that the image itself brought (a sealed image: its settings are
    // fixed, what else the loader gives is checked against it), 0: none.
    uint32_t image_module;
    uint32_t reserved;
    struct pf_range ranges[PF_MAX_RANGES]; // sorted, not overlapping
    struct pf_module modules[PF_MAX_MODULES];
    char cmdline[PF_MAX_CMDLINE]; // NUL-terminated copy; of a sealed image what cmdline.h lets pass
    // Of a sealed image: the first word of its command line with a `=` that was not let pass, and
    // the first without; "" none.
    char refused[PF_MAX_REFUSED], dropped[PF_MAX_REFUSED];
};
#define PF_BOOT_MAGIC 0x54455353u

// The machine's one boot record; valid and constant once pf_main runs.
const struct pf_boot_info *pf_boot_info(void);

// Value of `key=value` in the kernel command line, copied into buf (NUL-terminated).
// Returns its length, or -ENOENT, or -ERANGE if buf is too small.
int pf_cmdline_get(const char *key, char *buf, size_t size);

// When each step of bringing the machine up was done, in order; the first begins at entry_tsc.
struct pf_boot_stage {
    const char *name;
    uint64_t tsc;
};
const struct pf_boot_stage *pf_boot_stages(size_t *count);

// For the attack tests alone: true when the command line says `protect=-NAME,...` and the image
// defines `const bool pf_attack_image = true;` (a weak constant, false in every other image).
// Names that the platform knows: wx, nx, null, guard.
bool pf_protection_off(const char *name);

// Implemented by the libos: called once on the boot CPU with interrupts on, paging final,
// clocks running, ACPI and PCI enumerated, other CPUs not yet started. Never returns.
_Noreturn void pf_main(void);

#endif
