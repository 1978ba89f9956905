// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// How much memory a guest gets, and names and words that its command line can carry.
#include "hypercall/host/machine/machine.h"

#include <errno.h>
#include <string.h>

enum { NAME_MOST = 48, LEAST_MB = 16, MOST_MB = 4 << 20 };

uint32_t machine_memory_mb(uint64_t mapped_bytes)
{
    uint64_t mb = 64 + mapped_bytes / 1048576 / 4;
    return mb > MOST_MB ? MOST_MB : (uint32_t)mb;
}

uint32_t machine_region_mb(uint64_t kv_bytes, uint32_t context)
{
    enum { USUAL_CONTEXT = 8192, CONTEXTS = 4, LEAST = 64, MOST = 16 << 10 };
    uint64_t tokens = context < USUAL_CONTEXT ? context : USUAL_CONTEXT;
    uint64_t mb = (kv_bytes * tokens >> 20) * CONTEXTS + 8;
    uint32_t region = LEAST;
    while (region < mb && region < MOST) {
        region *= 2;
    }
    return region;
}

int machine_parse_memory(const char *text, uint32_t *out_mb)
{
    uint64_t n = 0;
    const char *c = text;
    for (; *c >= '0' && *c <= '9' && n <= MOST_MB; c++) {
        n = 10 * n + (uint64_t)(*c - '0');
    }
    if (c == text) {
        return -EINVAL;
    }
    if (*c == 'G' || *c == 'g') {
        n *= 1024;
        c++;
    } else if (*c == 'M' || *c == 'm') {
        c++;
    }
    if (*c || n < LEAST_MB || n > MOST_MB) {
        return -EINVAL;
    }
    *out_mb = (uint32_t)n;
    return 0;
}

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool machine_name_is_valid(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n > NAME_MOST || !is_plain(name[0])) {
        return false;
    }
    for (size_t i = 1; i < n; i++) {
        if (!is_plain(name[i]) && !strchr("._-", name[i])) {
            return false;
        }
    }
    return true;
}

void machine_name_of(const char *path, char out[NAME_MOST + 1])
{
    const char *slash = strrchr(path, '/'), *c = slash ? slash + 1 : path;
    size_t length = strlen(c), n = 0;
    static const char *const ends[] = {".gguf", ".elf", ".efi", ".img", ".raw", ".qcow2"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t end = strlen(ends[i]);
        if (length > end && strcmp(c + length - end, ends[i]) == 0) {
            length -= end;
            break;
        }
    }
    for (size_t i = 0; i < length && n < NAME_MOST; i++) {
        bool good = is_plain(c[i]) || (n && strchr("._-", c[i]));
        if (good) {
            out[n++] = c[i];
        } else if (n && out[n - 1] != '-') {
            out[n++] = '-';
        }
    }
    while (n && out[n - 1] == '-') {
        n--;
    }
    out[n] = 0;
    if (n == 0) {
        strcpy(out, "guest");
    }
}

bool machine_word_is_valid(const char *text)
{
    for (const char *c = text; *c; c++) {
        if (*c <= ' ' || *c >= 0x7f || *c == '"') {
            return false;
        }
    }
    return *text != 0;
}

bool machine_key_is_valid(const char *text)
{
    return machine_word_is_valid(text) && strlen(text) < MACHINE_KEY;
}
