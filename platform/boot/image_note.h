// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The note in the image's ELF file that `tessera image build` fills in (name "Tessera", type 2;
// images/kernel.ld reserves it). hypercall/host/image/elf.c writes it.
#ifndef PLATFORM_BOOT_IMAGE_NOTE_H
#define PLATFORM_BOOT_IMAGE_NOTE_H

#include <stdint.h>

#define IMAGE_NOTE_VERSION 1u

struct pf_image_note {
    uint32_t version, reserved;
    uint64_t payload_phys; // where the loader puts the payload, 0: none
    uint64_t payload_bytes;
};
_Static_assert(sizeof(struct pf_image_note) == 24, "as in images/kernel.ld");

// Volatile: the compiler must not take the zeros of the link for its value.
extern const volatile struct pf_image_note pf_image_note __attribute__((visibility("hidden")));

#endif
