// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Reading whole files from a UEFI volume. Source: UEFI 2.9, 13.4 and 13.5.
#include "platform/uefi/efi_file.h"

#define READ_STEP (8ull << 20) // some firmware fails on very long reads

static EFI_GUID volume_guid = EFI_SIMPLE_FILE_SYSTEM_PROTOCOL_GUID;
static EFI_GUID info_guid = EFI_FILE_INFO_ID;

EFI_STATUS efi_volume_open(struct efi_volume *v, EFI_SYSTEM_TABLE *table, EFI_HANDLE device)
{
    EFI_SIMPLE_FILE_SYSTEM_PROTOCOL *fs;
    v->table = table;
    EFI_STATUS status = table->BootServices->HandleProtocol(device, &volume_guid, (void **)&fs);
    return EFI_ERROR(status) ? status : fs->OpenVolume(fs, &v->root);
}

void efi_volume_close(struct efi_volume *v)
{
    v->root->Close(v->root);
}

static EFI_STATUS file_length(EFI_FILE_PROTOCOL *file, UINT64 *length)
{
    static UINT64 buffer[64]; // EFI_FILE_INFO ends with the file's name
    UINTN bytes = sizeof buffer;
    EFI_STATUS status = file->GetInfo(file, &info_guid, &bytes, buffer);
    if (!EFI_ERROR(status)) {
        *length = ((EFI_FILE_INFO *)buffer)->FileSize;
    }
    return status;
}

EFI_STATUS efi_file_load(struct efi_volume *v, CHAR16 *path, UINT64 *base, UINT64 *length)
{
    EFI_FILE_PROTOCOL *file;
    EFI_STATUS status = v->root->Open(v->root, &file, path, EFI_FILE_MODE_READ, 0);
    if (EFI_ERROR(status)) {
        return EFI_NOT_FOUND;
    }
    EFI_PHYSICAL_ADDRESS at = 0;
    status = file_length(file, length);
    if (!EFI_ERROR(status) && *length > 0) {
        status = v->table->BootServices->AllocatePages(AllocateAnyPages, EfiLoaderData,
                                                       (*length + 4095) / 4096, &at);
    }
    UINT64 done = 0;
    while (!EFI_ERROR(status) && done < *length) {
        UINTN step = *length - done < READ_STEP ? *length - done : READ_STEP;
        status = file->Read(file, &step, (void *)(at + done));
        if (!EFI_ERROR(status) && step == 0) {
            status = EFI_END_OF_FILE; // shorter than it said
        }
        done += step;
    }
    file->Close(file);
    *base = at;
    return status;
}
