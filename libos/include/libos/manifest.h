// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The manifest: a device tree from a PVH module, a cpio in it, or the ESP; the kernel command line
// overrides it (`key=value`, the same names), and a file of the host's the API's key. Unknown nodes
// are ignored, wrong ones refused with the node's path.
#ifndef LIBOS_MANIFEST_H
#define LIBOS_MANIFEST_H

#include "libos/log.h"
#include "libos/net.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum offload_mode { OFFLOAD_AUTO, OFFLOAD_OFF, OFFLOAD_HOST };
enum model_source { MODEL_AUTO, MODEL_PMEM, MODEL_BLK, MODEL_MODULE, MODEL_LINKED };

// Key on the command line = node/property path with '.' (e.g. `net.address=10.0.2.15/24`,
// `http.port=8080`, `http.key=secret`, `model.source=pmem`, `model.name=x`, `zone.tensor=64M`,
// `name=x`, `log=debug`, `sched.cpus=4`, `engine.isa=avx2`, `engine.context=2048`,
// `engine.slots=8`, `offload.mode=host`, `model.identity=sha256:…`, `shell=off`, `test=NAME` for
// self-test images).
struct manifest {
    char name[64]; // guest's name
    struct net_config net;
    uint16_t http_port; // default 80
    char http_key[128]; // "" none
    enum model_source model_source;
    char model_name[64];     // shown in /v1/models; default: general.name or file name
    char model_identity[96]; // "sha256:HEX", or with "+packedN"; "" unknown
    enum offload_mode offload_mode;
    uint32_t offload_spin; // µs looked for the host's answer before sleeping
    uint64_t zone_bytes[5];
    enum log_level log;
    uint32_t cpus;           // 0 = all
    char engine_isa[16];     // "" = choose
    uint32_t engine_context; // 0 = model's (bounded by memory)
    uint32_t engine_slots;   // sequences at once, 0 = default
    bool shell;
    char unknown[65];   // last word of the command line that looks like a key of ours and is none
    char strings[1024]; // backing store of net's strings
};

// Parses `dtb` (may be NULL) then `cmdline`. On error returns a negative errno and writes where and
// what into `error`.
int manifest_parse(const void *dtb, size_t bytes, const char *cmdline, struct manifest *out,
                   char *error, size_t error_bytes);

// The host's file for the API's key (platform/host_file.h): on no command line, so that other users
// of the host cannot see it. It takes the place of the manifest's and the command line's http.key.
#define MANIFEST_HOST_KEY "opt/org.tessera/http.key"
// -EINVAL: empty, too long, or no key; m is as it was. A newline at its end does not count. Errors
// never show the text.
int manifest_set_host_key(struct manifest *m, const char *text, size_t bytes, char *error,
                          size_t error_bytes);

// Files that came with the boot (modules; members of a cpio newc module; linked in). Names are
// "manifest.dtb", "model.gguf" … for bare modules by content. Valid for ever, read-only.
enum boot_file_kind { BOOT_FILE_OTHER, BOOT_FILE_GGUF, BOOT_FILE_DTB }; // by content
// IMAGE: of a sealed image's payload (libos/image.h).
enum boot_file_origin { BOOT_FILE_MODULE, BOOT_FILE_LINKED, BOOT_FILE_IMAGE };
struct boot_file {
    char name[128];
    const void *data; // page-aligned for a bare module or linked file, 4-byte-aligned in a cpio
    size_t bytes;
    enum boot_file_kind kind;
    enum boot_file_origin origin;
};
size_t boot_file_count(void);
const struct boot_file *boot_file_at(size_t i);
const struct boot_file *boot_file_find(const char *name); // NULL if there is none
const struct boot_file *boot_file_first(enum boot_file_kind kind);
// Walks the boot modules; to be called once.
void boot_files_init(void);

// The machine's manifest after manifest_init (parse failure: panics with the message). Needs
// boot_files_init and malloc.
const struct manifest *manifest(void);
void manifest_init(void);

#endif
