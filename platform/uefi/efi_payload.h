// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The payload that `tessera image build` has put into this application's own PE file.
#ifndef PLATFORM_UEFI_EFI_PAYLOAD_H
#define PLATFORM_UEFI_EFI_PAYLOAD_H

#include <efi.h>

// Where the firmware has loaded the section ".tessera". FALSE: there is none, this is the generic
// application. `image` and `bytes` are the loaded image's.
BOOLEAN efi_payload_find(const void *image, UINT64 bytes, UINT64 *base, UINT64 *length);

#endif
