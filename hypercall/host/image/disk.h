// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The disk: a GPT with one partition, the ESP, with a FAT32. Sources: UEFI 2.9, ch. 5 (GPT)
// and 13.3; Microsoft FAT specification (fatgen103).
#ifndef TESSERA_IMAGE_DISK_H
#define TESSERA_IMAGE_DISK_H

#include <stdint.h>

enum {
    SECTOR = 512,
    GPT_ENTRIES = 128,
    GPT_ENTRY_BYTES = 128,
    GPT_TABLE_SECTORS = GPT_ENTRIES * GPT_ENTRY_BYTES / SECTOR,
    ESP_FIRST = 2048, // 1 MiB
    FAT_RESERVED = 32,
    FAT_COPIES = 2,
    FAT_ROOT = 2, // cluster
    FAT_ENTRY_BYTES = 32,
    FAT_LEAST_CLUSTERS = 65525, // fewer are a FAT16
    FAT_FOLDER = 0x10,
    FAT_LONG_NAME = 0x0f,
};
#define FAT_LAST 0x0ffffff8u
#define FAT_MASK 0x0fffffffu
// C12A7328-F81F-11D2-BA4B-00A0C93EC93B as it stands in the table.
#define ESP_TYPE "\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b"

#endif
