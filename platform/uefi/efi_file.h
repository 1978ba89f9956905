// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Reading whole files from a UEFI volume into pages of their own.
#ifndef PLATFORM_UEFI_EFI_FILE_H
#define PLATFORM_UEFI_EFI_FILE_H

#include <efi.h>

struct efi_volume {
    EFI_SYSTEM_TABLE *table;
    EFI_FILE_PROTOCOL *root;
};

EFI_STATUS efi_volume_open(struct efi_volume *v, EFI_SYSTEM_TABLE *table, EFI_HANDLE device);
void efi_volume_close(struct efi_volume *v);
// EFI_NOT_FOUND where there is no such file; otherwise its physical address and length.
EFI_STATUS efi_file_load(struct efi_volume *v, CHAR16 *path, UINT64 *base, UINT64 *length);

#endif
