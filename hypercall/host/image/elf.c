// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The kernel's ELF file: its notes, its bill of materials, and the payload behind it. The program
// header that images/kernel.ld keeps free becomes the payload's segment, and the note "Tessera"
// (platform/boot/image_note.h) tells the kernel where it is. Source: ELF-64 object file format 1.5.
#include "hypercall/host/base/hex.h"
#include "hypercall/host/image/private.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

enum { MOST_HEADERS = 64, MOST_NOTES = 4096, NOTE_VERSION = 1, NOTE_BYTES = 24, BUILD_ID = 3 };
#define HUGE_PAGE (2ull << 20)

static int damaged(const char **why, const char *what)
{
    *why = what;
    return -EINVAL;
}

static int read_at(const struct image_part *file, uint64_t at, void *to, size_t bytes)
{
    return part_read(file, at, to, bytes);
}

static int read_notes(const struct image_part *file, const Elf64_Phdr *h, struct elf_facts *out)
{
    uint8_t notes[MOST_NOTES];
    if (h->p_filesz > sizeof notes || read_at(file, h->p_offset, notes, h->p_filesz) != 0) {
        return -EINVAL;
    }
    uint64_t end = h->p_filesz;
    for (uint64_t at = 0; end - at >= 12;) {
        uint64_t name_bytes = get32(notes + at), bytes = get32(notes + at + 4);
        uint32_t type = get32(notes + at + 8);
        uint64_t name = at + 12, data = name + round_up(name_bytes, 4);
        if (data > end || bytes > end - data) {
            return -EINVAL;
        }
        if (name_bytes == 8 && memcmp(notes + name, "Tessera", 8) == 0 && type == 2 &&
            bytes == NOTE_BYTES && get32(notes + data) == NOTE_VERSION) {
            out->note_at = h->p_offset + data;
            out->payload_phys = get64(notes + data + 8);
            out->payload_bytes = get64(notes + data + 16);
        } else if (name_bytes == 4 && memcmp(notes + name, "GNU", 4) == 0 && type == BUILD_ID) {
            hex_write(notes + data, bytes < 20 ? bytes : 20, out->build_id);
        }
        at = data + round_up(bytes, 4);
        if (at > end) {
            break;
        }
    }
    return 0;
}

static int read_programs(const struct image_part *file, const Elf64_Ehdr *e, struct elf_facts *out)
{
    for (uint64_t i = 0; i < e->e_phnum; i++) {
        Elf64_Phdr h;
        uint64_t at = e->e_phoff + i * sizeof h;
        int rc = read_at(file, at, &h, sizeof h);
        if (rc) {
            return rc;
        }
        if (h.p_type == PT_NULL) {
            out->free_header_at = at;
        } else if (h.p_type == PT_NOTE) {
            rc = read_notes(file, &h, out);
        } else if (h.p_type == PT_LOAD && h.p_vaddr + h.p_memsz >= h.p_vaddr) {
            if (out->payload_bytes && h.p_paddr == out->payload_phys) {
                continue;
            }
            if (h.p_vaddr + h.p_memsz > out->end_vaddr) {
                out->end_vaddr = h.p_vaddr + h.p_memsz;
                out->load_at = h.p_paddr - h.p_vaddr;
            }
        }
        if (rc) {
            return rc;
        }
    }
    return 0;
}

// The payload's segment is the last header; it is told apart once the note has been read.
static int read_payload(const struct image_part *file, const Elf64_Ehdr *e, struct elf_facts *out)
{
    Elf64_Phdr h;
    int rc = read_at(file, e->e_phoff + (e->e_phnum - 1ull) * sizeof h, &h, sizeof h);
    if (rc) {
        return rc;
    }
    if (h.p_type != PT_LOAD || h.p_paddr != out->payload_phys || h.p_filesz != out->payload_bytes ||
        h.p_offset > file->bytes || h.p_filesz > file->bytes - h.p_offset) {
        return -EINVAL;
    }
    return part_of(file->view, file->at + h.p_offset, h.p_filesz, &out->payload);
}

static int read_sections(const struct image_part *file, const Elf64_Ehdr *e, struct elf_facts *out)
{
    Elf64_Shdr h, names;
    uint64_t table = e->e_shoff;
    if (e->e_shnum == 0 || e->e_shnum > MOST_HEADERS || e->e_shentsize != sizeof h ||
        e->e_shstrndx >= e->e_shnum ||
        read_at(file, table + e->e_shstrndx * sizeof h, &names, sizeof names) != 0) {
        return 0; // no sections: no bill of materials
    }
    for (uint64_t i = 0; i < e->e_shnum; i++) {
        char name[6];
        if (read_at(file, table + i * sizeof h, &h, sizeof h) != 0) {
            return -EINVAL;
        }
        if (h.sh_name > names.sh_size || names.sh_size - h.sh_name < sizeof name ||
            names.sh_offset > file->bytes ||
            read_at(file, names.sh_offset + h.sh_name, name, sizeof name) != 0 ||
            memcmp(name, ".sbom", 6) != 0) {
            continue;
        }
        if (h.sh_offset > file->bytes || h.sh_size > file->bytes - h.sh_offset) {
            return -EINVAL;
        }
        return part_of(file->view, file->at + h.sh_offset, h.sh_size, &out->sbom);
    }
    return 0;
}

int elf_read(const struct image_view *v, uint64_t at, uint64_t bytes, struct elf_facts *out,
             const char **why)
{
    struct image_part file;
    Elf64_Ehdr e;
    memset(out, 0, sizeof *out);
    if (part_of(v, at, bytes, &file) != 0 || read_at(&file, 0, &e, sizeof e) != 0 ||
        memcmp(e.e_ident, ELFMAG, SELFMAG) != 0) {
        *why = "is no ELF file";
        return -ENOEXEC;
    }
    if (e.e_ident[EI_CLASS] != ELFCLASS64 || e.e_ident[EI_DATA] != ELFDATA2LSB ||
        e.e_machine != EM_X86_64 || e.e_phentsize != sizeof(Elf64_Phdr) || e.e_phnum == 0 ||
        e.e_phnum > MOST_HEADERS) {
        *why = "is a program or a kernel of another kind";
        return -ENOEXEC;
    }
    int rc = read_programs(&file, &e, out);
    if (rc == 0 && out->note_at == 0) {
        *why = "is an ELF file, but no kernel of this project (or an older one)";
        return -ENOEXEC;
    }
    if (rc == 0 && out->payload_bytes) {
        rc = read_payload(&file, &e, out);
    }
    rc = rc ? rc : read_sections(&file, &e, out);
    return rc ? damaged(why, "is a damaged kernel") : 0;
}

int elf_make(struct rope *r, struct keep *k, int fd, uint64_t bytes, const struct elf_facts *facts,
             const struct rope *payload)
{
    uint64_t place = round_up(facts->end_vaddr, HUGE_PAGE);
    Elf64_Phdr *header = keep_new(k, sizeof *header);
    uint8_t *note = keep_new(k, NOTE_BYTES);
    if (header == NULL || note == NULL) {
        return -ENOMEM;
    }
    uint64_t first = facts->free_header_at, second = facts->note_at;
    if (first == 0 || first + sizeof *header > second || facts->payload_bytes) {
        return -EINVAL;
    }
    *header = (Elf64_Phdr){.p_type = PT_LOAD,
                           .p_flags = PF_R,
                           .p_offset = round_up(bytes, 4096),
                           .p_vaddr = place,
                           .p_paddr = place + facts->load_at,
                           .p_filesz = payload->bytes,
                           .p_memsz = payload->bytes,
                           .p_align = 4096};
    put32(note, NOTE_VERSION);
    put64(note + 8, header->p_paddr);
    put64(note + 16, payload->bytes);
    rope_file(r, fd, 0, first);
    rope_memory(r, header, sizeof *header);
    rope_file(r, fd, r->bytes, second - r->bytes);
    rope_memory(r, note, NOTE_BYTES);
    rope_file(r, fd, r->bytes, bytes - r->bytes);
    rope_pad(r, 4096);
    rope_add(r, payload);
    return 0;
}
