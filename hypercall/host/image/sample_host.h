// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// For tests: the smallest files that pass for a kernel and for a UEFI application around it.
#ifndef TESSERA_IMAGE_SAMPLE_HOST_H
#define TESSERA_IMAGE_SAMPLE_HOST_H

#include "hypercall/host/image/private.h"

#include <elf.h>
#include <string.h>

enum { SAMPLE_KERNEL = 1024, SAMPLE_APPLICATION = 3072 };
#define SAMPLE_SBOM                                                                                \
    "{\"components\":[],\"metadata\":{\"component\":{\"name\":\"sample\",\"version\":\"1.2\"}}}"

static inline void sample_kernel(uint8_t k[SAMPLE_KERNEL])
{
    static const char names[] = "\0.sbom\0.names", sbom[] = SAMPLE_SBOM;
    enum { NOTES = 64 + 4 * 56, NOTES_BYTES = 44 + 36, SBOM = 400, NAMES = 600, SECTIONS = 640 };
    memset(k, 0, SAMPLE_KERNEL);
    Elf64_Ehdr e = {.e_type = ET_DYN,
                    .e_machine = EM_X86_64,
                    .e_phoff = 64,
                    .e_shoff = SECTIONS,
                    .e_ehsize = 64,
                    .e_phentsize = 56,
                    .e_phnum = 4,
                    .e_shentsize = 64,
                    .e_shnum = 3,
                    .e_shstrndx = 2};
    memcpy(e.e_ident, ELFMAG "\2\1\1", 7);
    memcpy(k, &e, sizeof e);
    Elf64_Phdr p[4] = {
        {.p_type = PT_LOAD, .p_paddr = 0x200000, .p_filesz = 400, .p_memsz = 0x9000},
        {.p_type = PT_LOAD, .p_vaddr = 0x9000, .p_paddr = 0x209000, .p_memsz = 0x300000},
        {.p_type = PT_NOTE, .p_offset = NOTES, .p_filesz = NOTES_BYTES},
        {.p_type = PT_NULL}};
    memcpy(k + 64, p, sizeof p);
    uint8_t *n = k + NOTES;
    put32(n, 8);
    put32(n + 4, 24);
    put32(n + 8, 2);
    memcpy(n + 12, "Tessera", 8);
    put32(n + 20, 1);
    n += 44;
    put32(n, 4);
    put32(n + 4, 20);
    put32(n + 8, 3);
    memcpy(n + 12, "GNU", 4);
    memset(n + 16, 0xab, 20);
    memcpy(k + SBOM, sbom, sizeof sbom - 1);
    memcpy(k + NAMES, names, sizeof names);
    Elf64_Shdr s[3] = {{0},
                       {.sh_name = 1, .sh_offset = SBOM, .sh_size = sizeof sbom - 1},
                       {.sh_name = 7, .sh_offset = NAMES, .sh_size = sizeof names}};
    memcpy(k + SECTIONS, s, sizeof s);
}

static inline void sample_section(uint8_t *h, const char *name, uint32_t place, uint32_t at,
                                  uint32_t bytes)
{
    memcpy(h, name, strlen(name));
    put32(h + 8, bytes);
    put32(h + 12, place);
    put32(h + 16, (uint32_t)round_up(bytes, 512));
    put32(h + 20, at);
}

static inline void sample_application(uint8_t a[SAMPLE_APPLICATION])
{
    enum { PE = 64, OPTIONAL = PE + 24, TABLE = OPTIONAL + 240 };
    memset(a, 0, SAMPLE_APPLICATION);
    memcpy(a, "MZ", 2);
    put32(a + 0x3c, PE);
    memcpy(a + PE, "PE\0\0", 4);
    put16(a + PE + 4, 0x8664);
    put16(a + PE + 6, 2);
    put16(a + PE + 20, 240);
    put16(a + OPTIONAL, 0x20b);
    put32(a + OPTIONAL + 32, 4096);
    put32(a + OPTIONAL + 36, 512);
    put32(a + OPTIONAL + 56, 0x4000);
    put32(a + OPTIONAL + 60, 1024);
    put16(a + OPTIONAL + 68, 10);
    put32(a + OPTIONAL + 108, 16);
    sample_section(a + TABLE, ".kernel", 0x1000, 1024, SAMPLE_KERNEL);
    sample_section(a + TABLE + 40, ".sbom", 0x3000, 2048, sizeof SAMPLE_SBOM - 1);
    sample_kernel(a + 1024);
    memcpy(a + 2048, SAMPLE_SBOM, sizeof SAMPLE_SBOM - 1);
}

#endif
