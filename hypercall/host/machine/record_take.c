// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A record of how things are now: of libvirt, of files.
#include "hypercall/host/base/hex.h"
#include "hypercall/host/base/sha256.h"
#include "hypercall/host/machine/host.h"
#include "hypercall/host/machine/record.h"
#include "hypercall/host/machine/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// ---- the definition ----------------------------------------------------------------------------

int record_hash_definition(const char *xml, char out[RECORD_HASH])
{
    static const char ending[] = "</metadata>";
    const char *begin = strstr(xml, "<metadata>"), *end = begin ? strstr(begin, ending) : NULL;
    if (!end) {
        return sha256_bytes_text(xml, strlen(xml), out);
    }
    struct text t = {0};
    text_add(&t, "%.*s%s", (int)(begin - xml), xml, end + sizeof ending - 1);
    int rc = t.failed ? -ENOMEM : sha256_bytes_text(t.data, strlen(t.data), out);
    free(t.data);
    return rc;
}

// ---- the host's CPU ----------------------------------------------------------------------------

// From the tag at `at` to the end of its line: libvirt writes an element a line.
static size_t line_of(const char *at, const char *end)
{
    const char *newline = memchr(at, '\n', (size_t)(end - at));
    return (size_t)((newline ? newline : end) - at);
}

int record_hash_cpu(const char *capabilities, char out[RECORD_HASH], char *name, size_t name_bytes)
{
    static const char *const counted[] = {"<arch>",    "<model>",     "<vendor>",
                                          "<feature ", "<signature ", "<maxphysaddr "};
    const char *host = strstr(capabilities, "<host>");
    const char *begin = host ? strstr(host, "<cpu>") : NULL;
    const char *end = begin ? strstr(begin, "</cpu>") : NULL;
    if (!end) {
        return -EINVAL;
    }
    struct text t = {0};
    name[0] = 0;
    for (const char *at = begin; (at = memchr(at, '<', (size_t)(end - at))); at++) {
        for (size_t i = 0; i < sizeof counted / sizeof *counted; i++) {
            if (strncmp(at, counted[i], strlen(counted[i])) == 0) {
                text_add(&t, "%.*s\n", (int)line_of(at, end), at);
            }
        }
        if (strncmp(at, "<model>", 7) == 0) {
            snprintf(name, name_bytes, "%.*s", (int)strcspn(at + 7, "<\n"), at + 7);
        }
    }
    int rc = t.failed ? -ENOMEM : t.data ? sha256_bytes_text(t.data, strlen(t.data), out) : -EINVAL;
    free(t.data);
    return rc;
}

// ---- files -------------------------------------------------------------------------------------

static int hash_file(int fd, char out[RECORD_HASH])
{
    uint8_t sha[SHA256_BYTES];
    int rc = sha256_file(fd, SHA256_WHOLE_FILE, NULL, NULL, sha);
    if (!rc) {
        hex_write(sha, sizeof sha, out);
    }
    return rc;
}

static int64_t in_ns(struct timespec t)
{
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

int record_look_at_file(const char *path, const struct record_file *hint, bool hash,
                        struct record_file *out, char *error, size_t error_bytes)
{
    struct stat s;
    memset(out, 0, sizeof *out);
    int rc = snprintf(out->path, sizeof out->path, "%s", path) >= (int)sizeof out->path
                 ? -ENAMETOOLONG
                 : 0;
    int fd = rc ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (!rc && (fd < 0 || fstat(fd, &s) != 0)) {
        rc = -errno;
    }
    if (!rc) {
        out->device = s.st_dev;
        out->inode = s.st_ino;
        out->bytes = (uint64_t)s.st_size;
        out->modified_ns = in_ns(s.st_mtim);
        out->changed_ns = in_ns(s.st_ctim);
        if (hint && hint->sha256[0] && hint->device == out->device && hint->inode == out->inode &&
            hint->bytes == out->bytes && hint->modified_ns == out->modified_ns &&
            hint->changed_ns == out->changed_ns) {
            memcpy(out->sha256, hint->sha256, sizeof out->sha256);
        } else if (hash) {
            rc = hash_file(fd, out->sha256);
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    if (rc) {
        snprintf(error, error_bytes, "%s: %s", path, strerror(-rc));
    }
    return rc;
}

// ---- all of it ---------------------------------------------------------------------------------

static int take_domain(virDomainPtr d, struct record *out, char *image, size_t image_bytes,
                       char *error, size_t error_bytes)
{
    // Without what exists only while it runs; a foreground guest's has no other.
    char *xml = virDomainGetXMLDesc(d, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE);
    if (!xml || virDomainGetUUIDString(d, out->uuid) != 0) {
        free(xml);
        return machine_say_libvirt("reading the guest's definition", error, error_bytes);
    }
    int rc = record_hash_definition(xml, out->definition);
    rc = rc ? rc : machine_element(xml, "kernel", image, image_bytes);
    free(xml);
    if (rc) {
        snprintf(error, error_bytes, "the guest's definition cannot be read: %s", strerror(-rc));
    }
    return rc;
}

static int take_host(virConnectPtr c, struct record *out, char *error, size_t error_bytes)
{
    unsigned long version = 0;
    char *capabilities = virConnectGetCapabilities(c);
    if (!capabilities || virConnectGetVersion(c, &version) != 0) {
        free(capabilities);
        return machine_say_libvirt("reading the host's capabilities", error, error_bytes);
    }
    int rc = record_hash_cpu(capabilities, out->cpu, out->cpu_name, sizeof out->cpu_name);
    free(capabilities);
    out->qemu = version;
    if (rc) {
        snprintf(error, error_bytes, "libvirt does not say what CPU this host has");
    }
    return rc;
}

int record_take(virConnectPtr c, virDomainPtr d, const struct machine_facts *facts,
                const struct record *hint, struct record *out, char *error, size_t error_bytes)
{
    char image[1024];
    memset(out, 0, sizeof *out);
    snprintf(out->identity, sizeof out->identity, "%s", facts->identity);
    int rc = take_domain(d, out, image, sizeof image, error, error_bytes);
    rc = rc ? rc : take_host(c, out, error, error_bytes);
    // A disk that boots by itself is what was asked for as the model.
    rc = rc ? rc
            : record_look_at_file(image[0] ? image : facts->model, hint ? &hint->image : NULL, true,
                                  &out->image, error, error_bytes);
    // Gigabytes are not read again: a copy of the weights that was made anew is another file.
    return rc || !facts->mapped[0]
               ? rc
               : record_look_at_file(facts->mapped, NULL, false, &out->weights, error, error_bytes);
}
