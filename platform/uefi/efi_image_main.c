// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Putting the kernel image in place: the PVH ELF file, as a blob in this application. It is our
// own build product; the checks catch a broken build, not an attacker (UEFI verified the whole).
// Source: ELF-64 object file format 1.5.
#include "platform/uefi/efi_image.h"

#define HUGE_PAGE (2ull << 20)
#define FOUR_GB   (1ull << 32)
#define PT_LOAD   1

struct elf_header {
    UINT8 ident[16];
    UINT16 type, machine;
    UINT32 version;
    UINT64 entry, phoff, shoff;
    UINT32 flags;
    UINT16 ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};
struct elf_segment {
    UINT32 type, flags;
    UINT64 offset, vaddr, paddr, filesz, memsz, align;
};
_Static_assert(sizeof(struct elf_header) == 64 && sizeof(struct elf_segment) == 56, "ELF-64");

extern const UINT8 _binary_efi_kernel_start[] __attribute__((visibility("hidden")));
extern const UINT8 _binary_efi_kernel_end[] __attribute__((visibility("hidden")));

static UINT64 image_bytes(const struct elf_segment *s, UINTN count)
{
    UINT64 bytes = 0;
    for (UINTN i = 0; i < count; i++) {
        if (s[i].type == PT_LOAD && s[i].vaddr + s[i].memsz > bytes) {
            bytes = s[i].vaddr + s[i].memsz;
        }
    }
    return (bytes + 4095) & ~4095ull;
}

// Claims the lowest fitting place above 2 MB; code, so that strict firmware lets it run.
static UINT64 claim(EFI_SYSTEM_TABLE *table, UINT8 *scratch, UINTN scratch_bytes, UINT64 bytes)
{
    EFI_BOOT_SERVICES *bs = table->BootServices;
    UINTN map_bytes = scratch_bytes, key, step;
    UINT32 version;
    if (EFI_ERROR(bs->GetMemoryMap(&map_bytes, (EFI_MEMORY_DESCRIPTOR *)scratch, &key, &step,
                                   &version))) {
        return 0;
    }
    for (UINTN at = 0; at + step <= map_bytes; at += step) {
        const EFI_MEMORY_DESCRIPTOR *d = (const EFI_MEMORY_DESCRIPTOR *)(scratch + at);
        UINT64 end = d->PhysicalStart + d->NumberOfPages * 4096;
        UINT64 base = (d->PhysicalStart + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
        if (d->Type != EfiConventionalMemory || base < HUGE_PAGE || base + bytes > end ||
            base + bytes > FOUR_GB) {
            continue;
        }
        EFI_PHYSICAL_ADDRESS place = base;
        if (!EFI_ERROR(bs->AllocatePages(AllocateAddress, EfiLoaderCode, bytes / 4096, &place))) {
            return base;
        }
    }
    return 0;
}

CHAR16 *efi_image_load(EFI_SYSTEM_TABLE *table, UINT8 *scratch, UINTN scratch_bytes, UINT64 *entry)
{
    const struct elf_header *h = (const void *)_binary_efi_kernel_start;
    UINT64 file_bytes = (UINT64)(_binary_efi_kernel_end - _binary_efi_kernel_start);
    if (file_bytes < sizeof *h || h->ident[0] != 0x7f ||
        h->phentsize != sizeof(struct elf_segment) ||
        h->phoff + (UINT64)h->phnum * sizeof(struct elf_segment) > file_bytes) {
        return L"the kernel in this application is damaged";
    }
    const struct elf_segment *s = (const void *)(_binary_efi_kernel_start + h->phoff);
    UINT64 bytes = image_bytes(s, h->phnum);
    UINT64 base = claim(table, scratch, scratch_bytes, bytes);
    if (base == 0) {
        return L"no free memory below 4 GB for the kernel";
    }
    EFI_BOOT_SERVICES *bs = table->BootServices;
    bs->SetMem((void *)base, bytes, 0);
    for (UINTN i = 0; i < h->phnum; i++) {
        if (s[i].type != PT_LOAD) {
            continue;
        }
        if (s[i].offset + s[i].filesz > file_bytes || s[i].filesz > s[i].memsz) {
            return L"a segment of the kernel is damaged";
        }
        bs->CopyMem((void *)(base + s[i].vaddr), (void *)(_binary_efi_kernel_start + s[i].offset),
                    s[i].filesz);
    }
    *entry = base + h->entry;
    return NULL;
}
