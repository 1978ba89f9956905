// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The UEFI application's PE file: its sections, and one more, ".tessera", for the payload. An
// Authenticode signature covers the headers and all sections, so it covers the payload. Source:
// Microsoft PE format; its optional header in the form PE32+.
#include "hypercall/host/image/private.h"

#include <errno.h>
#include <string.h>

enum {
    DOS_HEADER = 64,
    COFF_BYTES = 24, // with the signature in front
    OPTIONAL_LEAST = 112 + 5 * 8,
    SECTION_BYTES = 40,
    MOST_SECTIONS = 96,
    MACHINE_X86_64 = 0x8664,
    PE32_PLUS = 0x20b,
    SUBSYSTEM_EFI = 10,
    // In the optional header.
    AT_INITIALISED = 8,
    AT_SECTION_ALIGN = 32,
    AT_FILE_ALIGN = 36,
    AT_IMAGE_BYTES = 56,
    AT_HEADERS_BYTES = 60,
    AT_CHECKSUM = 64,
    AT_SUBSYSTEM = 68,
    AT_DIRECTORIES = 108,
    AT_CERTIFICATE = 112 + 4 * 8,
    // A section's header.
    AT_VIRTUAL_BYTES = 8,
    AT_VIRTUAL = 12,
    AT_RAW_BYTES = 16,
    AT_RAW = 20,
    AT_FLAGS = 36,
    DATA_TO_READ = 0x40000040,
};
#define MOST_IMAGE (1ull << 31) // sizes are 32 bits, and firmware holds the file and the image

static int damaged(const char **why)
{
    *why = "is a damaged UEFI application";
    return -EINVAL;
}

static int read_section(const struct image_view *v, const uint8_t *h, struct pe_facts *out)
{
    uint64_t bytes = get32(h + AT_VIRTUAL_BYTES), raw_bytes = get32(h + AT_RAW_BYTES);
    uint64_t raw = get32(h + AT_RAW), end = raw + raw_bytes;
    if (end > v->bytes) {
        return -EINVAL;
    }
    if (end > out->raw_end) {
        out->raw_end = end;
    }
    if (raw_bytes > 0 && (out->lowest_raw == 0 || raw < out->lowest_raw)) {
        out->lowest_raw = raw;
    }
    if (bytes == 0 || bytes > raw_bytes) {
        bytes = raw_bytes;
    }
    struct image_part *part = memcmp(h, ".kernel", 8) == 0     ? &out->kernel
                              : memcmp(h, ".tessera", 8) == 0  ? &out->payload
                              : memcmp(h, ".sbom\0\0", 8) == 0 ? &out->sbom
                                                               : NULL;
    if (part != NULL && part->bytes != 0) {
        return -EINVAL; // twice: readers might take another one than the firmware's
    }
    return part != NULL ? part_of(v, raw, bytes, part) : 0;
}

int pe_read(const struct image_view *v, struct pe_facts *out, const char **why)
{
    uint8_t dos[DOS_HEADER], coff[COFF_BYTES], optional[OPTIONAL_LEAST], section[SECTION_BYTES];
    memset(out, 0, sizeof *out);
    if (view_read(v, 0, dos, sizeof dos) != 0 || dos[0] != 'M' || dos[1] != 'Z') {
        *why = "is no UEFI application";
        return -ENOEXEC;
    }
    out->header_at = get32(dos + 0x3c);
    if (view_read(v, out->header_at, coff, sizeof coff) != 0 || get32(coff) != 0x4550 ||
        get16(coff + 4) != MACHINE_X86_64 || get16(coff + 20) < OPTIONAL_LEAST ||
        view_read(v, out->header_at + (uint64_t)COFF_BYTES, optional, sizeof optional) != 0 ||
        get16(optional) != PE32_PLUS || get16(optional + AT_SUBSYSTEM) != SUBSYSTEM_EFI) {
        *why = "is a program of another kind than a UEFI application";
        return -ENOEXEC;
    }
    out->section_count = get16(coff + 6);
    out->table_at = out->header_at + (uint64_t)COFF_BYTES + get16(coff + 20);
    out->section_align = get32(optional + AT_SECTION_ALIGN);
    out->file_align = get32(optional + AT_FILE_ALIGN);
    out->image_bytes = get32(optional + AT_IMAGE_BYTES);
    out->headers_bytes = get32(optional + AT_HEADERS_BYTES);
    if (get32(optional + AT_DIRECTORIES) > 4) {
        out->certificate_at = get32(optional + AT_CERTIFICATE);
        out->certificate_bytes = get32(optional + AT_CERTIFICATE + 4);
    }
    if (out->section_count == 0 || out->section_count > MOST_SECTIONS || !out->section_align ||
        !out->file_align || out->section_align > 1u << 20 || out->file_align > 1u << 20 ||
        out->headers_bytes > v->bytes ||
        (uint64_t)out->certificate_at + out->certificate_bytes > v->bytes) {
        return damaged(why);
    }
    for (uint32_t i = 0; i < out->section_count; i++) {
        if (view_read(v, out->table_at + i * (uint64_t)SECTION_BYTES, section, sizeof section) ||
            read_section(v, section, out) != 0) {
            return damaged(why);
        }
    }
    if (out->kernel.bytes == 0) {
        *why = "is a UEFI application, but none of this project (or an older one)";
        return -ENOEXEC;
    }
    return 0;
}

int pe_make(struct rope *r, struct keep *k, int fd, const struct pe_facts *f,
            const struct rope *payload)
{
    struct image_source file = {.fd = fd, .bytes = f->raw_end};
    uint64_t entry = f->table_at + f->section_count * (uint64_t)SECTION_BYTES;
    uint64_t room = f->headers_bytes < f->lowest_raw ? f->headers_bytes : f->lowest_raw;
    uint64_t place = round_up(f->image_bytes, f->section_align);
    uint64_t raw = round_up(f->raw_end, f->file_align);
    uint64_t raw_bytes = round_up(payload->bytes, f->file_align);
    if (f->payload.bytes || f->certificate_bytes || entry + SECTION_BYTES > room) {
        return -EINVAL;
    }
    if (raw + raw_bytes > MOST_IMAGE || place + payload->bytes > MOST_IMAGE) {
        return -EFBIG;
    }
    uint8_t *headers = keep_new(k, (size_t)room);
    if (headers == NULL) {
        return -ENOMEM;
    }
    int rc = source_read(&file, 0, headers, (size_t)room);
    if (rc) {
        return rc;
    }
    uint8_t *coff = headers + f->header_at, *optional = coff + COFF_BYTES;
    put16(coff + 6, f->section_count + 1);
    put32(coff + 12, 0); // the linker's symbol table is left behind
    put32(coff + 16, 0);
    put32(optional + AT_INITIALISED, get32(optional + AT_INITIALISED) + (uint32_t)raw_bytes);
    put32(optional + AT_IMAGE_BYTES, (uint32_t)round_up(place + payload->bytes, f->section_align));
    put32(optional + AT_CHECKSUM, 0); // UEFI reads none
    uint8_t *section = headers + entry;
    memset(section, 0, SECTION_BYTES);
    memcpy(section, ".tessera", 8);
    put32(section + AT_VIRTUAL_BYTES, (uint32_t)payload->bytes);
    put32(section + AT_VIRTUAL, (uint32_t)place);
    put32(section + AT_RAW_BYTES, (uint32_t)raw_bytes);
    put32(section + AT_RAW, (uint32_t)raw);
    put32(section + AT_FLAGS, DATA_TO_READ);
    rope_memory(r, headers, room);
    rope_file(r, fd, room, f->raw_end - room);
    rope_pad(r, f->file_align);
    rope_add(r, payload);
    rope_pad(r, f->file_align);
    return 0;
}
