// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Finding a section of this application in memory. The firmware has read the same headers before,
// and under Secure Boot has checked them; the bounds here catch a broken build. Source: Microsoft
// PE format, "COFF File Header", "Section Table".
#include "platform/uefi/efi_payload.h"

#define PE_OFFSET_AT  0x3c
#define SECTION_BYTES 40u
#define COFF_BYTES    24u // with the signature in front

static UINT32 read32(const UINT8 *p)
{
    return (UINT32)p[0] | (UINT32)p[1] << 8 | (UINT32)p[2] << 16 | (UINT32)p[3] << 24;
}

static BOOLEAN is_payload(const UINT8 *name)
{
    static const char wanted[8] = {'.', 't', 'e', 's', 's', 'e', 'r', 'a'};
    for (UINTN i = 0; i < sizeof wanted; i++) {
        if (name[i] != (UINT8)wanted[i]) {
            return FALSE;
        }
    }
    return TRUE;
}

BOOLEAN efi_payload_find(const void *image, UINT64 bytes, UINT64 *base, UINT64 *length)
{
    const UINT8 *at = image;
    if (bytes < PE_OFFSET_AT + 4 || at[0] != 'M' || at[1] != 'Z') {
        return FALSE;
    }
    UINT64 pe = read32(at + PE_OFFSET_AT);
    if (pe > bytes || bytes - pe < COFF_BYTES || read32(at + pe) != 0x4550) {
        return FALSE;
    }
    UINT64 count = read32(at + pe + 4) >> 16,
           table = pe + COFF_BYTES + (read32(at + pe + 20) & 0xffff);
    for (UINT64 i = 0; i < count; i++) {
        UINT64 entry = table + i * SECTION_BYTES;
        if (entry > bytes || bytes - entry < SECTION_BYTES) {
            return FALSE;
        }
        UINT64 size = read32(at + entry + 8), place = read32(at + entry + 12);
        if (is_payload(at + entry) && size > 0 && place <= bytes && size <= bytes - place) {
            *base = (UINT64)at + place;
            *length = size;
            return TRUE;
        }
    }
    return FALSE;
}
