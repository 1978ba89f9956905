// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The table of keys (README.md lists them in words) and the conversion of values.
#include "libos/manifest/keys.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static bool is_address(const char *t)
{
    return text_is_ipv4(t, true);
}
static bool is_host4(const char *t)
{
    return text_is_ipv4(t, false);
}
static bool is_host(const char *t)
{
    return text_is_ipv4(t, false) || text_is_ipv6(t, false);
}
static bool is_address6(const char *t)
{
    return text_is_ipv6(t, true);
}
static bool is_name(const char *t)
{
    if (*t == '\0' || *t == '-' || *t == '.') {
        return false;
    }
    return t[strspn(t, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")] == 0;
}
static bool is_hostname(const char *t)
{
    return is_name(t) && strchr(t, '_') == NULL && strlen(t) <= 63;
}
static bool is_printable(const char *t)
{
    for (; *t; t++) {
        if ((unsigned char)*t < ' ' || *t == 0x7f) {
            return false;
        }
    }
    return true;
}
static bool is_token(const char *t)
{
    return is_printable(t) && strchr(t, ' ') == NULL;
}

// What hypercall/guest/identity.c reads.
static bool is_identity(const char *t)
{
    if (strncmp(t, "sha256:", 7) != 0 || strspn(t + 7, "0123456789abcdef") != 64) {
        return false;
    }
    t += 7 + 64;
    return *t == '\0' || (strncmp(t, "+packed", 7) == 0 && t[7] >= '1' && t[7] <= '9' &&
                          t[7 + strspn(t + 7, "0123456789")] == '\0' && strlen(t + 7) <= 6);
}

#define FIELD(f) offsetof(struct manifest, f), sizeof(((struct manifest *)0)->f)
#define MAX_ZONE (1ull << 46)

static const struct manifest_key keys[] = {
    {"", "name", KEY_TEXT, FIELD(name), 0, 0, is_name, "letters, digits, '.', '_' and '-'"},
    {"", "log", KEY_LOG, FIELD(log), 0, 0, NULL, "error, warn, info or debug"},
    {"", "shell", KEY_BOOL, FIELD(shell), 0, 0, NULL, "on or off"},
    {"net", "dhcp", KEY_BOOL, FIELD(net.dhcp), 0, 0, NULL, "on or off"},
    {"net", "address", KEY_STRING, FIELD(net.address), 0, 0, is_address,
     "an IPv4 address with prefix length, like 10.0.2.15/24"},
    {"net", "gateway", KEY_STRING, FIELD(net.gateway), 0, 0, is_host4,
     "an IPv4 address, like 10.0.2.2"},
    {"net", "dns", KEY_STRING, FIELD(net.dns), 0, 0, is_host, "an IP address"},
    {"net", "address6", KEY_STRING, FIELD(net.address6), 0, 0, is_address6,
     "an IPv6 address with prefix length, like fd00::2/64"},
    {"net", "hostname", KEY_STRING, FIELD(net.hostname), 0, 0, is_hostname,
     "letters, digits, '.' and '-', at most 63"},
    {"net", "buffers", KEY_ELSEWHERE, 0, 0, 0, 0, NULL, "a number, on the command line only"},
    {"net", "queues", KEY_ELSEWHERE, 0, 0, 0, 0, NULL, "a number, on the command line only"},
    {"http", "port", KEY_NUMBER, FIELD(http_port), 1, 65535, NULL, "a port, 1 to 65535"},
    {"http", "key", KEY_TEXT, FIELD(http_key), 0, 0, is_token, "printable characters, no blanks"},
    {"model", "source", KEY_SOURCE, FIELD(model_source), 0, 0, NULL,
     "auto, pmem, blk, module or linked"},
    {"model", "name", KEY_TEXT, FIELD(model_name), 0, 0, is_printable, "printable characters"},
    {"model", "identity", KEY_TEXT, FIELD(model_identity), 0, 0, is_identity,
     "sha256: and 64 hexadecimal digits, and +packed with a version for a packed file"},
    {"offload", "mode", KEY_OFFLOAD, FIELD(offload_mode), 0, 0, NULL, "auto, off or host"},
    {"offload", "spin", KEY_NUMBER, FIELD(offload_spin), 0, 1000000, NULL,
     "microseconds, 0 to 1000000"},
    {"calls", "bench", KEY_ELSEWHERE, 0, 0, 0, 0, NULL, "a number, on the command line only"},
    {"zone", "tensor", KEY_BYTES, FIELD(zone_bytes[0]), 0, MAX_ZONE, NULL, "bytes, like 64M"},
    {"zone", "model", KEY_BYTES, FIELD(zone_bytes[1]), 0, MAX_ZONE, NULL, "bytes, like 64M"},
    {"zone", "dma", KEY_BYTES, FIELD(zone_bytes[2]), 0, MAX_ZONE, NULL, "bytes, like 8M"},
    {"zone", "store", KEY_BYTES, FIELD(zone_bytes[3]), 0, MAX_ZONE, NULL, "bytes, like 8M"},
    {"zone", "kernel", KEY_BYTES, FIELD(zone_bytes[4]), 0, MAX_ZONE, NULL, "bytes, like 16M"},
    {"sched", "cpus", KEY_NUMBER, FIELD(cpus), 0, 64, NULL, "a number of CPUs, 0 (all) to 64"},
    {"engine", "isa", KEY_TEXT, FIELD(engine_isa), 0, 0, is_name, "a name like avx2"},
    {"engine", "context", KEY_NUMBER, FIELD(engine_context), 0, 1u << 24, NULL,
     "a number of tokens, 0 (the model's) to 16777216"},
    {"engine", "slots", KEY_NUMBER, FIELD(engine_slots), 0, 4096, NULL,
     "a number of sequences, 0 (default) to 4096"},
};

static bool equals(const char *word, const char *text, size_t length)
{
    return strlen(word) == length && memcmp(word, text, length) == 0;
}

const struct manifest_key *manifest_key_find(const char *section, size_t section_length,
                                             const char *name, size_t name_length)
{
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (equals(keys[i].section, section, section_length) &&
            equals(keys[i].name, name, name_length)) {
            return &keys[i];
        }
    }
    return NULL;
}

bool manifest_section_known(const char *section, size_t length)
{
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (keys[i].section[0] && equals(keys[i].section, section, length)) {
            return true;
        }
    }
    return false;
}

int manifest_error(struct manifest_builder *b, const char *where, const char *format, ...)
{
    va_list args;
    int n = snprintf(b->error, b->error_bytes, "%s: ", where);
    if (n >= 0 && (size_t)n < b->error_bytes) {
        va_start(args, format);
        vsnprintf(b->error + n, b->error_bytes - (size_t)n, format, args);
        va_end(args);
    }
    return -EINVAL;
}

static int refuse(struct manifest_builder *b, const struct manifest_key *key, const char *text,
                  const char *where)
{
    if (key->offset == offsetof(struct manifest, http_key)) { // consoles are logged
        return manifest_error(b, where, "not valid; expected %s", key->expected);
    }
    return manifest_error(b, where, "\"%.80s\" is not valid; expected %s", text, key->expected);
}

// Decimal digits, then at most one suffix if `bytes`. False on anything else or overflow.
static bool parse_number(const char *text, bool bytes, uint64_t *value)
{
    static const char suffixes[] = "KMGT";
    uint64_t v = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        uint64_t digit = (uint64_t)(*at - '0');
        if (v > (UINT64_MAX - digit) / 10) {
            return false;
        }
        v = v * 10 + digit;
    }
    if (at == text) {
        return false;
    }
    if (bytes && *at) {
        const char *s = strchr(suffixes, *at);
        unsigned shift = s ? 10u * (unsigned)(s - suffixes + 1) : 0;
        if (s == NULL || v > UINT64_MAX >> shift) {
            return false;
        }
        v <<= shift;
        at++;
    }
    *value = v;
    return *at == '\0';
}

static int choice(const char *const *words, size_t count, const char *text)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(words[i], text) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static int set_string(struct manifest_builder *b, const struct manifest_key *key, const char *text,
                      const char *where)
{
    size_t need = strlen(text) + 1;
    if (need > sizeof(b->m->strings) - b->strings_used) {
        manifest_error(b, where, "the manifest's texts take more than %zu bytes together",
                       sizeof(b->m->strings));
        return -ENOSPC;
    }
    char *place = b->m->strings + b->strings_used;
    memcpy(place, text, need);
    b->strings_used += need;
    memcpy((char *)b->m + key->offset, &place, sizeof(place));
    return 0;
}

int manifest_set_number(struct manifest_builder *b, const struct manifest_key *key, uint64_t value,
                        const char *where)
{
    char *field = (char *)b->m + key->offset;
    if ((key->kind != KEY_NUMBER && key->kind != KEY_BYTES) || value < key->min ||
        value > key->max) {
        return manifest_error(b, where, "%llu is not valid; expected %s", (unsigned long long)value,
                              key->expected);
    }
    memcpy(field, &value, key->size); // little-endian
    return 0;
}

int manifest_set_text(struct manifest_builder *b, const struct manifest_key *key, const char *text,
                      size_t length, const char *where)
{
    static const char *const logs[] = {"error", "warn", "info", "debug"};
    static const char *const sources[] = {"auto", "pmem", "blk", "module", "linked"};
    static const char *const offloads[] = {"auto", "off", "host"};
    static const char *const bools[] = {"off", "on", "no", "yes", "false", "true", "0", "1"};
    char value[256];
    char *field = (char *)b->m + key->offset;
    uint64_t number;
    int chosen;
    if (length >= sizeof(value)) {
        return manifest_error(b, where, "longer than %zu characters", sizeof(value) - 1);
    }
    memcpy(value, text, length);
    value[length] = '\0';
    if (strlen(value) != length || (key->valid && !key->valid(value))) {
        return refuse(b, key, value, where);
    }
    switch (key->kind) {
    case KEY_TEXT:
        if (length >= key->size) {
            return manifest_error(b, where, "longer than %d characters", key->size - 1);
        }
        memcpy(field, value, length + 1);
        return 0;
    case KEY_STRING:
        return set_string(b, key, value, where);
    case KEY_NUMBER:
    case KEY_BYTES:
        if (!parse_number(value, key->kind == KEY_BYTES, &number)) {
            return refuse(b, key, value, where);
        }
        return manifest_set_number(b, key, number, where);
    case KEY_BOOL:
        chosen = choice(bools, 8, value);
        if (chosen >= 0) {
            *(bool *)field = chosen & 1;
            b->dhcp_given |= key->offset == offsetof(struct manifest, net.dhcp);
            return 0;
        }
        break;
    case KEY_LOG:
        chosen = choice(logs, 4, value);
        if (chosen >= 0) {
            b->m->log = (enum log_level)chosen;
            return 0;
        }
        break;
    case KEY_SOURCE:
        chosen = choice(sources, 5, value);
        if (chosen >= 0) {
            b->m->model_source = (enum model_source)chosen;
            return 0;
        }
        break;
    case KEY_OFFLOAD:
        chosen = choice(offloads, 3, value);
        if (chosen >= 0) {
            b->m->offload_mode = (enum offload_mode)chosen;
            return 0;
        }
        break;
    case KEY_ELSEWHERE:
        break;
    }
    return refuse(b, key, value, where);
}
