// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Putting the kernel image that this application carries where it can run.
#ifndef PLATFORM_UEFI_EFI_IMAGE_H
#define PLATFORM_UEFI_EFI_IMAGE_H

#include <efi.h>

// Loads it at a 2 MB boundary below 4 GB; *entry is its 64-bit entry. `scratch` holds a memory map
// for the time of the call. NULL, or what is wrong.
CHAR16 *efi_image_load(EFI_SYSTEM_TABLE *table, UINT8 *scratch, UINTN scratch_bytes, UINT64 *entry);

#endif
