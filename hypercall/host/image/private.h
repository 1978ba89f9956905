// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the files of this folder share: reading (source, view), writing (rope), the formats.
#ifndef TESSERA_IMAGE_PRIVATE_H
#define TESSERA_IMAGE_PRIVATE_H

#include "hypercall/host/base/error.h"
#include "hypercall/host/image/image.h"

#include <stdio.h>

// Writes the message and returns rc.

static inline uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}
static inline uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) | (uint32_t)get16(p + 2) << 16;
}
static inline uint64_t get64(const uint8_t *p)
{
    return (uint64_t)get32(p) | (uint64_t)get32(p + 4) << 32;
}
static inline void put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}
static inline void put32(uint8_t *p, uint32_t v)
{
    put16(p, v);
    put16(p + 2, v >> 16);
}
static inline void put64(uint8_t *p, uint64_t v)
{
    put32(p, (uint32_t)v);
    put32(p + 4, (uint32_t)(v >> 32));
}
static inline uint64_t round_up(uint64_t v, uint64_t multiple)
{
    return (v + multiple - 1) / multiple * multiple;
}

// ---- reading -----------------------------------------------------------------------------------

struct qcow2;
struct image_source {
    int fd;                // -1: `memory`
    const uint8_t *memory; // tests and fuzzers
    uint64_t bytes;        // of the disk, for a qcow2
    uint64_t file_bytes;
    struct qcow2 *qcow2;
};
int source_open(const char *path, struct image_source *s, char *error, size_t error_bytes);
void source_close(struct image_source *s);
int source_read(const struct image_source *s, uint64_t at, void *to, size_t bytes);
// The file itself, not what a qcow2 makes of it. 0, -EINVAL (beyond the end), -EIO.
int source_read_file(const struct image_source *s, uint64_t at, void *to, size_t bytes);
// s->qcow2 from the header; -ENOTSUP and *why for what is not supported.
int qcow2_open(struct image_source *s, const char **why);
int qcow2_read(const struct image_source *s, uint64_t at, void *to, size_t bytes);

// A stretch of a source, in pieces. bytes == 0: absent.
struct image_extent {
    uint64_t at, bytes;
};
struct image_view {
    const struct image_source *source;
    uint64_t bytes;
    struct image_extent *extents; // NULL: one, at `first`
    size_t extent_count;
    uint64_t first;
};
int view_read(const struct image_view *v, uint64_t at, void *to, size_t bytes);
// A part of a view; without memory of its own: the parent must stay. Pieces of pieces are not made:
// `at` and `bytes` must lie in the parent (-EINVAL).
struct image_part {
    const struct image_view *view;
    uint64_t at, bytes; // bytes == 0: absent
};
int part_of(const struct image_view *v, uint64_t at, uint64_t bytes, struct image_part *out);
int part_read(const struct image_part *p, uint64_t at, void *to, size_t bytes);
// The whole part in memory with a NUL behind it; -EFBIG over `most`. The caller frees.
int part_load(const struct image_part *p, size_t most, void **out);
int part_sha256(const struct image_part *p, uint64_t bytes, uint8_t hash[32]);

// ---- formats -----------------------------------------------------------------------------------

// A kernel: the ELF file of images/kernel.ld.
struct elf_facts {
    char build_id[41];
    uint64_t note_at; // in the file, of the note's description
    uint64_t payload_phys, payload_bytes;
    uint64_t free_header_at; // of the program header that is kept for the payload; 0: none
    uint64_t end_vaddr;      // of what is loaded but for the payload
    uint64_t load_at;        // physical minus virtual
    struct image_part payload, sbom;
};
// -ENOEXEC: no kernel of ours; -EINVAL and *why: a damaged one.
int elf_read(const struct image_view *v, uint64_t at, uint64_t bytes, struct elf_facts *out,
             const char **why);

struct pe_facts {
    uint32_t header_at;                    // of "PE\0\0"
    uint64_t table_at;                     // of the sections' table
    uint32_t section_count, headers_bytes; // headers_bytes: room of all headers in the file
    uint32_t section_align, file_align;
    uint64_t image_bytes; // in memory
    uint64_t raw_end;     // end of the last section in the file
    uint64_t lowest_raw;  // where the first section begins in the file
    uint32_t certificate_at, certificate_bytes;
    struct image_part kernel, payload, sbom;
};
int pe_read(const struct image_view *v, struct pe_facts *out, const char **why);

// An ESP's files.
struct disk_facts {
    struct image_view efi, manifest, model; // bytes == 0: absent; extents are owned
};
int disk_read(const struct image_source *s, struct disk_facts *out, const char **why);
void disk_facts_free(struct disk_facts *d);

// The payload: a cpio archive.
struct payload_facts {
    struct image_part record, manifest, model;
};
int payload_read(const struct image_part *p, struct payload_facts *out, const char **why);

struct image_record_facts {
    uint8_t manifest_sha256[32], model_sha256[32];
    uint64_t model_bytes;
    char model_name[96], model_identity[96];
};
int image_record_read(const void *dtb, size_t bytes, struct image_record_facts *out);
// The caller frees *out.
int image_record_make(const struct image_record_facts *r, void **out, size_t *bytes);

// An opened image: where everything is.
struct image_opened {
    struct image_source source;
    struct image_view whole;
    enum image_kind kind;
    struct elf_facts elf; // the kernel, wherever it is
    struct pe_facts pe;   // of UEFI and disks
    struct disk_facts disk;
    struct payload_facts payload;
    struct image_part manifest, model; // in the payload or on the disk; bytes == 0: absent
    struct image_part sbom;
    bool sealed;
    struct image_record_facts record;
};
// Of a path; or of s->memory when path is NULL.
int image_open(const char *path, struct image_opened *o, char *error, size_t error_bytes);
void image_close(struct image_opened *o);
int image_describe(const struct image_opened *o, struct image_facts *out, const char *path,
                   char *error, size_t error_bytes);

// ---- manifests ---------------------------------------------------------------------------------

struct manifest_setting {
    const char *key;
    bool is_number;
};
extern const struct manifest_setting manifest_settings[];
extern const size_t manifest_setting_count;

// plan's manifest with its settings and the model's identity. The caller frees *out.
int manifest_compose(const struct image_plan *plan, const char *identity, void **out, size_t *bytes,
                     char *error, size_t error_bytes);
// Whether libfdt may read it. Version and size come first: libfdt 1.6's own check falls over
// others.
bool tree_is_sound(const void *dtb, size_t bytes);
// -EINVAL unless it is a sound tree of ours.
int manifest_check(const void *dtb, size_t bytes);
void manifest_facts(const void *dtb, struct image_facts *out);

// ---- writing -----------------------------------------------------------------------------------

// A file to be, in pieces: memory, stretches of opened files, zeros.
enum { ROPE_PIECES = 40 };
struct rope_piece {
    const void *memory; // NULL: of `fd`
    int fd;             // -1 and no memory: zeros
    uint64_t at, bytes;
};
struct rope {
    struct rope_piece pieces[ROPE_PIECES];
    size_t count;
    uint64_t bytes;
};
void rope_memory(struct rope *r, const void *data, uint64_t bytes); // the data must stay
void rope_file(struct rope *r, int fd, uint64_t at, uint64_t bytes);
void rope_zeros(struct rope *r, uint64_t bytes);
void rope_pad(struct rope *r, uint64_t multiple);
void rope_add(struct rope *r, const struct rope *other);
// Writes path, whole or not at all; zeros become holes. 0 or a negative errno.
int rope_write(const struct rope *r, const char *path);
int rope_sha256(const struct rope *r, uint8_t hash[32]);

// Owned memory that ropes refer to, freed together.
struct keep {
    void *blocks[16];
    size_t count;
};
void *keep_new(struct keep *k, size_t bytes); // zeroed; NULL: no memory
void keep_free(struct keep *k);

// r = the payload; its memory is in k. model == NULL: only record and manifest (NULL: none).
int payload_make(struct rope *r, struct keep *k, const void *record, size_t record_bytes,
                 const void *manifest, size_t manifest_bytes, int model, uint64_t model_bytes);
// r = the kernel (opened as fd) with a payload.
int elf_make(struct rope *r, struct keep *k, int fd, uint64_t bytes, const struct elf_facts *facts,
             const struct rope *payload);
int pe_make(struct rope *r, struct keep *k, int fd, const struct pe_facts *facts,
            const struct rope *payload);
// r = a disk with an ESP of these files; manifest and model may be NULL.
int disk_make(struct rope *r, struct keep *k, const struct rope *efi, const struct rope *manifest,
              const struct rope *model);
uint32_t crc32_of(const void *data, size_t bytes);

// Runs a program with a time-out; its output goes into `error`. words ends with NULL.
int image_program(const char *const *words, char *error, size_t error_bytes);
// Makes an empty file of its own in the folder of `beside`.
int image_temporary(const char *beside, char *path, size_t path_bytes);

#endif
