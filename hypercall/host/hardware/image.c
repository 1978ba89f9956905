// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Reads the note of an image. Source: the System V gABI, "Program Header" and "Note Section". The
// file may be anybody's: every offset is checked.
#include "hypercall/host/hardware/image.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NOTE_TYPE = 1, ENTRY_BYTES = 32, NAME_AT = 8, NAME_BYTES = 24, EMBEDDED_ALIGN = 4 };
static const char owner[8] = "Tessera";

static int read_entries(const uint8_t *at, size_t bytes, struct hardware_drivers *out)
{
    if (bytes % ENTRY_BYTES || bytes / ENTRY_BYTES > HARDWARE_MOST_DRIVERS) {
        return -EINVAL;
    }
    out->count = bytes / ENTRY_BYTES;
    for (size_t i = 0; i < out->count; i++, at += ENTRY_BYTES) {
        struct hardware_driver *d = &out->drivers[i];
        *d = (struct hardware_driver){.vendor = (uint16_t)(at[0] | at[1] << 8),
                                      .first = (uint16_t)(at[2] | at[3] << 8),
                                      .last = (uint16_t)(at[4] | at[5] << 8),
                                      .class_code = at[6],
                                      .subclass = at[7]};
        for (size_t k = 0; k < NAME_BYTES && at[NAME_AT + k]; k++) {
            char c = (char)at[NAME_AT + k];
            d->name[k] = c > ' ' && c < 127 ? c : '?'; // terminals are shown it
        }
    }
    return 0;
}

static size_t padded(size_t bytes)
{
    return (bytes + 3) & ~(size_t)3;
}

// A segment of notes. -ENODATA: ours is not among them.
static int read_notes(const uint8_t *at, size_t bytes, struct hardware_drivers *out)
{
    Elf64_Nhdr note;
    while (bytes >= sizeof note) {
        memcpy(&note, at, sizeof note);
        size_t name = padded(note.n_namesz), content = padded(note.n_descsz);
        if (name > bytes - sizeof note || note.n_descsz > bytes - sizeof note - name) {
            return -EINVAL;
        }
        if (note.n_type == NOTE_TYPE && note.n_namesz == sizeof owner &&
            memcmp(at + sizeof note, owner, sizeof owner) == 0) {
            return read_entries(at + sizeof note + name, note.n_descsz, out);
        }
        size_t whole = sizeof note + name + content;
        whole = whole < bytes ? whole : bytes;
        at += whole;
        bytes -= whole;
    }
    return -ENODATA;
}

static int read_elf(const uint8_t *image, size_t bytes, struct hardware_drivers *out)
{
    Elf64_Ehdr head;
    Elf64_Phdr segment;
    if (bytes < sizeof head) {
        return -EINVAL;
    }
    memcpy(&head, image, sizeof head);
    if (memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_ident[EI_CLASS] != ELFCLASS64 ||
        head.e_phentsize != sizeof segment || head.e_phoff > bytes ||
        head.e_phnum > (bytes - head.e_phoff) / sizeof segment) {
        return -EINVAL;
    }
    for (unsigned i = 0; i < head.e_phnum; i++) {
        memcpy(&segment, image + head.e_phoff + i * sizeof segment, sizeof segment);
        if (segment.p_type != PT_NOTE) {
            continue;
        }
        if (segment.p_offset > bytes || segment.p_filesz > bytes - segment.p_offset) {
            return -EINVAL;
        }
        int rc = read_notes(image + segment.p_offset, segment.p_filesz, out);
        if (rc != -ENODATA) {
            return rc;
        }
    }
    return -ENODATA;
}

int hardware_image_drivers_of(const uint8_t *image, size_t bytes, struct hardware_drivers *out)
{
    int rc = -EINVAL;
    *out = (struct hardware_drivers){0};
    if (bytes >= 4 && memcmp(image, ELFMAG, SELFMAG) == 0) {
        rc = read_elf(image, bytes, out);
    } else if (bytes >= 2 && memcmp(image, "MZ", 2) == 0) {
        // A UEFI application carries the PVH image as it is (images/build.mk).
        rc = -ENODATA;
        for (size_t at = 0; at + sizeof(Elf64_Ehdr) <= bytes && rc != 0; at += EMBEDDED_ALIGN) {
            if (memcmp(image + at, ELFMAG, SELFMAG) == 0) {
                int found = read_elf(image + at, bytes - at, out);
                rc = found == 0 ? 0 : rc;
            }
        }
    }
    if (rc) {
        *out = (struct hardware_drivers){0};
    }
    return rc;
}

int hardware_image_drivers(const char *path, struct hardware_drivers *out, char *error,
                           size_t error_bytes)
{
    struct stat s;
    *out = (struct hardware_drivers){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc = 0;
    if (fd < 0 || fstat(fd, &s) != 0) {
        rc = -errno;
    } else if (!S_ISREG(s.st_mode) || s.st_size < 64) {
        rc = -EINVAL;
    }
    void *image = MAP_FAILED;
    if (rc == 0) {
        image = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        rc =
            image == MAP_FAILED ? -errno : hardware_image_drivers_of(image, (size_t)s.st_size, out);
    }
    if (image != MAP_FAILED) {
        munmap(image, (size_t)s.st_size);
    }
    if (fd >= 0) {
        close(fd);
    }
    if (rc) {
        snprintf(error, error_bytes, "%s: %s", path,
                 rc == -ENODATA  ? "the image does not say which devices it drives"
                 : rc == -EINVAL ? "this is no image of a guest, or it is broken"
                                 : strerror(-rc));
    }
    return rc;
}

const struct hardware_driver *hardware_driver_for(const struct hardware_drivers *all,
                                                  const struct hardware_pci_device *d)
{
    for (size_t i = 0; i < all->count; i++) {
        const struct hardware_driver *e = &all->drivers[i];
        if (e->vendor == d->vendor && d->product >= e->first && d->product <= e->last) {
            return e;
        }
    }
    return NULL;
}

bool hardware_drives_class(const struct hardware_drivers *all, uint8_t class_code)
{
    for (size_t i = 0; i < all->count; i++) {
        if (all->drivers[i].class_code == class_code) {
            return true;
        }
    }
    return false;
}
