// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The UEFI wrapper: an application that carries the kernel image, takes the payload of its own file
// and reads \tessera\manifest.dtb, \tessera\model.gguf and \tessera\cmdline.txt from the volume it
// came from (a sealed image's kernel holds them against its payload), leaves boot services and
// enters the kernel as PVH does. Source: UEFI 2.9, ch. 4, 7, 9, 13.
#include <efi.h>

#include "platform/boot.h"
#include "platform/uefi/efi_file.h"
#include "platform/uefi/efi_image.h"
#include "platform/uefi/efi_payload.h"

#define MAP_BYTES  (64u << 10)
#define EXIT_TRIES 4

static EFI_SYSTEM_TABLE *system_table;
static EFI_GUID image_guid = EFI_LOADED_IMAGE_PROTOCOL_GUID;
static EFI_GUID acpi2_guid = ACPI_20_TABLE_GUID;
static EFI_GUID acpi1_guid = ACPI_TABLE_GUID;
static UINT8 map[MAP_BYTES] __attribute__((aligned(8)));

static void say(CHAR16 *text)
{
    system_table->ConOut->OutputString(system_table->ConOut, text);
}

static EFI_STATUS fail(CHAR16 *text)
{
    say(L"tessera: cannot start: ");
    say(text);
    say(L"\r\n");
    return EFI_LOAD_ERROR;
}

static BOOLEAN same_guid(const EFI_GUID *a, const EFI_GUID *b)
{
    const UINT8 *x = (const UINT8 *)a, *y = (const UINT8 *)b;
    for (UINTN i = 0; i < sizeof *a; i++) {
        if (x[i] != y[i]) {
            return FALSE;
        }
    }
    return TRUE;
}

static UINT64 find_rsdp(void)
{
    UINT64 old = 0;
    for (UINTN i = 0; i < system_table->NumberOfTableEntries; i++) {
        const EFI_CONFIGURATION_TABLE *t = &system_table->ConfigurationTable[i];
        if (same_guid(&t->VendorGuid, &acpi2_guid)) {
            return (UINT64)t->VendorTable;
        }
        if (same_guid(&t->VendorGuid, &acpi1_guid)) {
            old = (UINT64)t->VendorTable;
        }
    }
    return old;
}

static UINT32 range_type(UINT32 efi_type)
{
    switch (efi_type) {
    case EfiLoaderCode:
    case EfiLoaderData:
    case EfiBootServicesCode:
    case EfiBootServicesData:
    case EfiConventionalMemory:
        return PF_RANGE_RAM;
    case EfiACPIReclaimMemory:
        return PF_RANGE_ACPI;
    case EfiACPIMemoryNVS:
        return PF_RANGE_NVS;
    case EfiUnusableMemory:
        return PF_RANGE_BAD;
    case 14: // EfiPersistentMemory, which gnu-efi does not name
        return PF_RANGE_PMEM;
    default:
        return PF_RANGE_RESERVED;
    }
}

// Appends a range, or lets one that ends or begins there grow. FALSE: no room.
static BOOLEAN add_range(struct pf_boot_info *info, UINT64 base, UINT64 length, UINT32 type)
{
    for (UINT32 i = 0; i < info->range_count; i++) {
        struct pf_range *r = &info->ranges[i];
        if (r->type == type && r->base + r->length == base) {
            r->length += length;
            return TRUE;
        }
        if (r->type == type && base + length == r->base) {
            r->base = base;
            r->length += length;
            return TRUE;
        }
    }
    if (info->range_count == PF_MAX_RANGES) {
        return FALSE;
    }
    info->ranges[info->range_count++] = (struct pf_range){base, length, type, 0};
    return TRUE;
}

// Takes the final memory map and leaves boot services. After success no service may be called.
static EFI_STATUS leave(EFI_HANDLE image, struct pf_boot_info *info)
{
    EFI_BOOT_SERVICES *bs = system_table->BootServices;
    for (unsigned tries = 0; tries < EXIT_TRIES; tries++) {
        UINTN bytes = sizeof map, key, step;
        UINT32 version;
        EFI_STATUS status =
            bs->GetMemoryMap(&bytes, (EFI_MEMORY_DESCRIPTOR *)map, &key, &step, &version);
        if (EFI_ERROR(status)) {
            return fail(L"the firmware gives no memory map");
        }
        info->range_count = 0;
        for (UINTN at = 0; at + step <= bytes; at += step) {
            const EFI_MEMORY_DESCRIPTOR *d = (const EFI_MEMORY_DESCRIPTOR *)(map + at);
            if (!add_range(info, d->PhysicalStart, d->NumberOfPages * 4096, range_type(d->Type))) {
                return fail(L"the memory map has more than 128 pieces");
            }
        }
        // Fails when the map has changed since: ask again.
        if (!EFI_ERROR(bs->ExitBootServices(image, key))) {
            return EFI_SUCCESS;
        }
    }
    return fail(L"the firmware does not let go (ExitBootServices)");
}

// The load options are UCS-2; what is not ASCII becomes '?'.
static void add_options(struct pf_boot_info *info, const EFI_LOADED_IMAGE *loaded, UINTN used)
{
    const CHAR16 *options = loaded->LoadOptions;
    UINTN count = options == NULL ? 0 : loaded->LoadOptionsSize / 2;
    if (used > 0 && used < PF_MAX_CMDLINE - 1) {
        info->cmdline[used++] = ' ';
    }
    for (UINTN i = 0; i < count && options[i] != 0 && used < PF_MAX_CMDLINE - 1; i++) {
        info->cmdline[used++] = options[i] < 128 ? (char)options[i] : '?';
    }
    info->cmdline[used] = '\0';
}

static EFI_STATUS read_files(const EFI_LOADED_IMAGE *loaded, struct pf_boot_info *info)
{
    // The last one is QEMU's `-initrd` when it starts this application by `-kernel`.
    static CHAR16 *const names[] = {L"\\tessera\\manifest.dtb", L"\\tessera\\model.gguf",
                                    L"initrd"};
    struct efi_volume volume;
    UINT64 base, length;
    UINTN used = 0;

    info->module_count = 0;
    if (efi_payload_find(loaded->ImageBase, loaded->ImageSize, &base, &length)) {
        info->modules[info->module_count++] = (struct pf_module){base, length};
        info->image_module = info->module_count;
    }
    if (efi_volume_open(&volume, system_table, loaded->DeviceHandle) != EFI_SUCCESS) {
        add_options(info, loaded, 0);
        return EFI_SUCCESS;
    }
    for (UINTN i = 0; i < sizeof names / sizeof names[0]; i++) {
        EFI_STATUS status = efi_file_load(&volume, names[i], &base, &length);
        if (status == EFI_NOT_FOUND || (status == EFI_SUCCESS && length == 0)) {
            continue;
        }
        if (EFI_ERROR(status)) {
            say(names[i]);
            return fail(L": cannot be read, or there is no memory for it");
        }
        info->modules[info->module_count++] = (struct pf_module){base, length};
    }
    if (efi_file_load(&volume, L"\\tessera\\cmdline.txt", &base, &length) == EFI_SUCCESS) {
        if (length >= PF_MAX_CMDLINE) {
            return fail(L"\\tessera\\cmdline.txt is longer than 2047 bytes");
        }
        for (; used < length; used++) {
            char c = ((const char *)base)[used];
            info->cmdline[used] = c == '\n' || c == '\r' || c == '\0' ? ' ' : c;
        }
    }
    efi_volume_close(&volume);
    add_options(info, loaded, used);
    return EFI_SUCCESS;
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *table);
EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *table)
{
    UINT32 lo, hi;
    EFI_LOADED_IMAGE *loaded;
    EFI_PHYSICAL_ADDRESS page = 0xffffffff;
    UINT64 entry;

    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
    system_table = table;
    EFI_BOOT_SERVICES *bs = table->BootServices;
    bs->SetWatchdogTimer(0, 0, 0, NULL);
    if (EFI_ERROR(bs->HandleProtocol(image, &image_guid, (void **)&loaded))) {
        return fail(L"no loaded-image protocol");
    }
    if (EFI_ERROR(bs->AllocatePages(AllocateMaxAddress, EfiLoaderData,
                                    (sizeof(struct pf_boot_info) + 4095) / 4096, &page))) {
        return fail(L"no memory for the boot record");
    }
    struct pf_boot_info *info = (struct pf_boot_info *)page;
    for (UINTN i = 0; i < sizeof *info; i++) {
        ((volatile UINT8 *)info)[i] = 0;
    }
    info->magic = PF_BOOT_MAGIC;
    info->source = PF_BOOT_UEFI;
    info->entry_tsc = (UINT64)hi << 32 | lo;
    info->rsdp = find_rsdp();
    CHAR16 *wrong = efi_image_load(table, map, sizeof map, &entry);
    if (wrong != NULL) {
        return fail(wrong);
    }
    EFI_STATUS status = read_files(loaded, info);
    if (!EFI_ERROR(status)) {
        status = leave(image, info);
    }
    if (EFI_ERROR(status)) {
        return status;
    }
    ((void (*)(const struct pf_boot_info *))entry)(info);
    for (;;) {
    }
}
