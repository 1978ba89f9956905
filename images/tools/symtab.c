// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Makes the function table of a linked image: `symtab IMAGE.elf OUT.bin`. The format is that of
// platform/crash/symbols.h. Runs on the build machine. Source: ELF-64 object file format 1.5.
#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct function {
    uint32_t offset;
    bool global;
    const char *name;
};

static unsigned char *read_all(const char *path, size_t *bytes)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        return NULL;
    }
    unsigned char *data = NULL;
    if (fseek(f, 0, SEEK_END) == 0) {
        long end = ftell(f);
        rewind(f);
        data = end > 0 ? malloc((size_t)end) : NULL;
        if (data != NULL && fread(data, 1, (size_t)end, f) != (size_t)end) {
            free(data);
            data = NULL;
        }
        *bytes = (size_t)end;
    }
    fclose(f);
    return data;
}

static int compare(const void *a, const void *b)
{
    const struct function *x = a, *y = b;
    if (x->offset != y->offset) {
        return x->offset < y->offset ? -1 : 1;
    }
    return (int)y->global - (int)x->global; // of two names for one address, the public one
}

static bool inside(size_t bytes, uint64_t offset, uint64_t length)
{
    return offset <= bytes && length <= bytes - offset;
}

// Functions of the ELF symbol table, unsorted; *count entries, NULL on a malformed file.
static struct function *collect(const unsigned char *elf, size_t bytes, size_t *count)
{
    Elf64_Ehdr header;
    if (bytes < sizeof header || memcmp(elf, ELFMAG, SELFMAG) != 0 || elf[EI_CLASS] != ELFCLASS64) {
        return NULL;
    }
    memcpy(&header, elf, sizeof header);
    if (header.e_shentsize != sizeof(Elf64_Shdr) ||
        !inside(bytes, header.e_shoff, (uint64_t)header.e_shnum * sizeof(Elf64_Shdr))) {
        return NULL;
    }
    const Elf64_Shdr *sections = (const void *)(elf + header.e_shoff);
    for (unsigned i = 0; i < header.e_shnum; i++) {
        const Elf64_Shdr *s = &sections[i];
        if (s->sh_type != SHT_SYMTAB || s->sh_link >= header.e_shnum) {
            continue;
        }
        const Elf64_Shdr *strings = &sections[s->sh_link];
        if (!inside(bytes, s->sh_offset, s->sh_size) ||
            !inside(bytes, strings->sh_offset, strings->sh_size) || strings->sh_size == 0 ||
            elf[strings->sh_offset + strings->sh_size - 1] != '\0') {
            return NULL;
        }
        const Elf64_Sym *symbols = (const void *)(elf + s->sh_offset);
        size_t total = s->sh_size / sizeof(Elf64_Sym);
        struct function *found = calloc(total + 1, sizeof *found);
        if (found == NULL) {
            return NULL;
        }
        for (size_t k = 0; k < total; k++) {
            const Elf64_Sym *y = &symbols[k];
            unsigned type = ELF64_ST_TYPE(y->st_info);
            if (y->st_name >= strings->sh_size || y->st_shndx == SHN_UNDEF ||
                y->st_shndx >= header.e_shnum || y->st_value > UINT32_MAX) {
                continue;
            }
            // Assembly labels have no type: take those in code, but not their local parts.
            const char *name = (const char *)elf + strings->sh_offset + y->st_name;
            bool code = (sections[y->st_shndx].sh_flags & SHF_EXECINSTR) != 0;
            if (!code || *name == '\0' || strchr(name, '.') == name ||
                (type == STT_NOTYPE && strchr(name, '.') != NULL) ||
                (type != STT_FUNC && type != STT_NOTYPE)) {
                continue;
            }
            found[(*count)++] = (struct function){(uint32_t)y->st_value,
                                                  ELF64_ST_BIND(y->st_info) != STB_LOCAL, name};
        }
        return found;
    }
    return NULL;
}

static void put32(FILE *out, uint32_t v)
{
    unsigned char b[4] = {(unsigned char)v, (unsigned char)(v >> 8), (unsigned char)(v >> 16),
                          (unsigned char)(v >> 24)};
    fwrite(b, 1, 4, out);
}

int main(int argc, char **argv)
{
    size_t bytes = 0, count = 0, kept = 0;
    uint32_t end = 0;
    if (argc != 3) {
        fprintf(stderr, "usage: symtab IMAGE.elf OUT.bin\n");
        return 2;
    }
    unsigned char *elf = read_all(argv[1], &bytes);
    if (elf == NULL) {
        fprintf(stderr, "symtab: cannot read %s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    struct function *f = collect(elf, bytes, &count);
    if (f == NULL || count == 0) {
        fprintf(stderr, "symtab: %s has no usable symbol table\n", argv[1]);
        return 1;
    }
    qsort(f, count, sizeof *f, compare);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(f[i].name, "__text_end") == 0) {
            end = f[i].offset;
        }
    }
    for (size_t i = 0; i < count; i++) {
        bool edge = strcmp(f[i].name, "__text_end") == 0 || strcmp(f[i].name, "__text_start") == 0;
        if (!edge && (end == 0 || f[i].offset < end) &&
            (kept == 0 || f[kept - 1].offset != f[i].offset)) {
            f[kept++] = f[i];
        }
    }
    FILE *out = fopen(argv[2], "wb");
    if (out == NULL) {
        fprintf(stderr, "symtab: cannot write %s: %s\n", argv[2], strerror(errno));
        return 1;
    }
    put32(out, (uint32_t)kept + 1);
    for (size_t i = 0; i < kept; i++) {
        put32(out, f[i].offset);
    }
    put32(out, end != 0 ? end : f[kept - 1].offset + 4096);
    for (size_t i = 0; i < kept; i++) {
        fwrite(f[i].name, 1, strlen(f[i].name) + 1, out);
    }
    fputc('\0', out);
    bool bad = ferror(out) != 0;
    if (fclose(out) != 0 || bad) {
        fprintf(stderr, "symtab: cannot write %s\n", argv[2]);
        return 1;
    }
    free(f);
    free(elf);
    return 0;
}
