// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The tables of fields: their names, types, bounds and places. fleet.schema.json says the same to
// editors; schema_test.c holds the two together.
#include "hypercall/host/fleet/fields.h"
#include "hypercall/host/machine/machine.h"
#include "hypercall/host/fleet/parts.h"

#include "hypercall/host/machine/machine.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { HOUR = 3600 * 1000 };

#define AT(type, member)   offsetof(type, member)
#define ROOM(type, member) sizeof(((type *)0)->member)

bool fleet_name_is_valid(const char *name)
{
    return strlen(name) < FLEET_NAME && machine_name_is_valid(name);
}

static bool is_alias(const char *t)
{
    return *t && t[strspn(t, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
                             ":/@+")] == 0;
}

bool fleet_alias_is_valid(const char *t)
{
    return is_alias(t) && strlen(t) < FLEET_ALIAS;
}

static bool is_cpu_set(const char *t)
{
    uint32_t unused;
    return machine_set_member(t, 0, &unused) == 0;
}

static bool is_health_path(const char *t)
{
    return *t == '/' && machine_word_is_valid(t);
}

static const char *const accels[] = {"auto", "kvm", "tcg", NULL};
static const char *const offloads[] = {"off", "auto", "host", NULL};
static const char *const policies[] = {"normal", "realtime", "batch", NULL};
static const char *const pages[] = {"off", "2M", "1G", NULL};
static const char *const stickies[] = {"none", "key", NULL};

#define TEXT(n, type, member)                                                                      \
    .name = n, .kind = FIELD_TEXT, .offset = AT(type, member), .room = ROOM(type, member)
#define PATH(n, type, member)                                                                      \
    .name = n, .kind = FIELD_PATH, .offset = AT(type, member), .room = ROOM(type, member)
#define COUNT(n, type, member, low, high)                                                          \
    .name = n, .kind = FIELD_COUNT, .offset = AT(type, member), .least = low, .most = high
#define TIME(n, type, member, low, high)                                                           \
    .name = n, .kind = FIELD_TIME, .offset = AT(type, member), .least = low, .most = high
#define CHOICE(n, type, member, list)                                                              \
    .name = n, .kind = FIELD_CHOICE, .offset = AT(type, member), .choices = list
#define OTHER(n, part) .name = n, .kind = FIELD_OTHER, .read = read_##part, .write = write_##part

const struct field variant_fields[] = {
    {OTHER("model", model_file), .is_needed = true},
    {PATH("image", struct fleet_variant, image)},
    {TEXT("model-identity", struct fleet_variant, model_identity), .is_internal = true},
    {TEXT("image-identity", struct fleet_variant, image_identity), .is_internal = true},
    {.name = "memory", .kind = FIELD_MEMORY, .offset = AT(struct fleet_variant, memory_mb)},
    {OTHER("vcpus", vcpus)},
    {TEXT("cpu", struct fleet_variant, cpu), .valid = machine_cpu_is_valid,
     .wanted = "host, max or a CPU model of libvirt, then ,+FEATURE or ,-FEATURE"},
    {CHOICE("hugepages", struct fleet_variant, hugepages, pages)},
    {TEXT("pin", struct fleet_variant, pin), .valid = is_cpu_set,
     .wanted = "a list of CPUs like 0-3,8, in rising order"},
    {CHOICE("accel", struct fleet_variant, accel, accels)},
    {CHOICE("offload", struct fleet_variant, offload, offloads)},
    {COUNT("offload-share", struct fleet_variant, offload_share, 1, 10000)},
    {COUNT("priority", struct fleet_variant, priority, 2, 262144)},
    {CHOICE("policy", struct fleet_variant, policy, policies)},
    {OTHER("settings", settings)},
    {.name = NULL},
};

const struct field health_fields[] = {
    {TEXT("path", struct fleet_health, path), .valid = is_health_path,
     .wanted = "a path like /health"},
    {TIME("interval", struct fleet_health, interval_ms, 100, HOUR)},
    {TIME("timeout", struct fleet_health, timeout_ms, 50, HOUR)},
    {COUNT("fall", struct fleet_health, fall, 1, 100)},
    {COUNT("rise", struct fleet_health, rise, 1, 100)},
    {TIME("start", struct fleet_health, start_ms, 1000, 24 * HOUR)},
    {.name = NULL},
};

const struct field autoscale_fields[] = {
    {COUNT("min", struct fleet_autoscale, min, 0, FLEET_MOST_REPLICAS), .is_needed = true},
    {COUNT("max", struct fleet_autoscale, max, 1, FLEET_MOST_REPLICAS), .is_needed = true},
    {TIME("p95", struct fleet_autoscale, p95_ms, 0, HOUR)},
    {COUNT("queue", struct fleet_autoscale, queue, 0, 100000)},
    {TIME("cooldown", struct fleet_autoscale, cooldown_ms, 1000, 24 * HOUR)},
    {TIME("idle", struct fleet_autoscale, idle_ms, 1000, 24 * HOUR)},
    {.name = NULL},
};

const struct field canary_fields[] = {
    {COUNT("weight", struct fleet_model, canary_weight, 0, 100), .is_needed = true},
    {COUNT("replicas", struct fleet_model, canary_replicas, 1, FLEET_MOST_REPLICAS)},
    {.name = "",
     .kind = FIELD_TABLE,
     .offset = AT(struct fleet_model, canary),
     .table = variant_fields},
    {.name = NULL},
};

const struct field model_fields[] = {
    {TEXT("name", struct fleet_model, name), .valid = fleet_name_is_valid, .is_needed = true,
     .wanted = "at most 20 letters, digits, '.', '_' and '-', a letter or digit first"},
    {OTHER("aliases", aliases)},
    {COUNT("replicas", struct fleet_model, replicas, 0, FLEET_MOST_REPLICAS)},
    {.name = "",
     .kind = FIELD_TABLE,
     .offset = AT(struct fleet_model, variant),
     .table = variant_fields},
    {OTHER("health", health)},
    {OTHER("autoscale", autoscale), .is_last = true},
    {OTHER("canary", canary), .is_last = true},
    {.name = NULL},
};

const struct field tls_fields[] = {
    {PATH("certificate", struct fleet_endpoint, certificate), .is_needed = true},
    {PATH("key", struct fleet_endpoint, key), .is_needed = true},
    {.name = NULL},
};

const struct field endpoint_fields[] = {
    {OTHER("listen", listen)},
    {OTHER("tls", tls)},
    {OTHER("keys", keys)},
    {CHOICE("sticky", struct fleet_endpoint, sticky, stickies)},
    {.name = "insecure", .kind = FIELD_BOOL, .offset = AT(struct fleet_endpoint, insecure)},
    {TIME("drain", struct fleet_endpoint, drain_ms, 1000, HOUR)},
    {TIME("timeout", struct fleet_endpoint, timeout_ms, 1000, HOUR)},
    {.name = NULL},
};

const struct field fleet_fields[] = {
    {TEXT("fleet", struct fleet_spec, name), .valid = fleet_name_is_valid, .is_needed = true,
     .wanted = "at most 20 letters, digits, '.', '_' and '-', a letter or digit first"},
    {OTHER("endpoint", endpoint)},
    {OTHER("models", models), .is_needed = true},
    {.name = NULL},
};
