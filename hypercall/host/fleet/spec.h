// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A fleet's specification: what fleet.yaml says, read, checked, and written as its normal form.
//
// Error handling: functions return 0 or a negative errno and then write a message for people into
// `error`: what is wrong, in which line and field, and what would be right. Threads: one a
// structure.
#ifndef TESSERA_FLEET_SPEC_H
#define TESSERA_FLEET_SPEC_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Sizes with the NUL. A member's name is FLEET-SERVICE-xxxx and at most 48 characters.
enum {
    FLEET_NAME = 21,
    FLEET_SERVICE = 21,
    FLEET_ALIAS = 129,
    FLEET_PATH = 1024,
    FLEET_VERSION = 13,
    FLEET_IDENTITY = 96,
    FLEET_WORD = 160
};
enum {
    FLEET_MOST_MODELS = 64,
    FLEET_MOST_ALIASES = 16,
    FLEET_MOST_SETTINGS = 16,
    FLEET_MOST_KEYS = 256,
    FLEET_MOST_REPLICAS = 512
};

// ---- what is wanted ----------------------------------------------------------------------------

enum fleet_accel { FLEET_ACCEL_AUTO, FLEET_ACCEL_KVM, FLEET_ACCEL_TCG };
enum fleet_offload { FLEET_OFFLOAD_OFF, FLEET_OFFLOAD_AUTO, FLEET_OFFLOAD_HOST };
enum fleet_policy { FLEET_POLICY_NORMAL, FLEET_POLICY_REALTIME, FLEET_POLICY_BATCH };
enum fleet_sticky { FLEET_STICKY_NONE, FLEET_STICKY_KEY };
enum fleet_hugepages { FLEET_HUGEPAGES_OFF, FLEET_HUGEPAGES_2M, FLEET_HUGEPAGES_1G };

struct fleet_setting {
    char key[33], value[FLEET_WORD]; // a manifest key of the guest ("engine.context") and its value
};

// All that defines a guest: two guests of equal variants are interchangeable.
struct fleet_variant {
    char model[FLEET_PATH]; // an absolute path, or the name of an installed model (no '/')
    char image[FLEET_PATH]; // an absolute path, "" the installed one
    // What the files were when the specification was taken over (fleet_resolve); "" before.
    char model_identity[FLEET_IDENTITY]; // "sha256:HEX" or with "+packedN"
    char image_identity[FLEET_IDENTITY]; // "sha256:HEX"
    uint32_t memory_mb, vcpus;           // 0: chosen as `tessera run` does
    char cpu[FLEET_WORD];                // libvirt's CPU mode or model, "" the default
    enum fleet_hugepages hugepages;
    char pin[FLEET_WORD]; // a list of host CPUs as libvirt's cpuset ("0-3,8"), "" not pinned
    enum fleet_accel accel;
    enum fleet_offload offload;
    uint32_t offload_share; // weight among tensord's guests, 1 … 10000
    uint32_t priority;      // libvirt's cputune shares, 2 … 262144
    enum fleet_policy policy;
    size_t setting_count;
    struct fleet_setting settings[FLEET_MOST_SETTINGS]; // in order of their keys
};

struct fleet_health {
    char path[FLEET_WORD]; // begins with '/'
    uint32_t interval_ms, timeout_ms;
    uint32_t fall, rise; // checks in a row until a guest is down, up
    uint32_t start_ms;   // a guest that is not up after that is replaced
};

struct fleet_autoscale {
    bool enabled; // otherwise the others mean nothing
    uint32_t min, max;
    uint32_t p95_ms; // target of the 95th percentile of requests' latency, 0: not looked at
    uint32_t queue;  // target of requests per guest, waiting and running; 0: not looked at
    uint32_t cooldown_ms, idle_ms;
};

struct fleet_model {
    char name[FLEET_SERVICE]; // the service's; what clients put into "model"
    size_t alias_count;
    char aliases[FLEET_MOST_ALIASES][FLEET_ALIAS];
    uint32_t replicas; // with autoscale: where it begins
    struct fleet_variant variant;
    struct fleet_health health;
    struct fleet_autoscale autoscale;
    // A second version that gets a part of the requests for as long as fleet.yaml says so.
    bool has_canary;
    uint32_t canary_weight;   // per cent of the requests, 0 … 100
    uint32_t canary_replicas; // its guests, besides `replicas`
    struct fleet_variant canary;
};

struct fleet_endpoint {
    char host[64]; // an IPv4 address, or an IPv6 address without brackets
    uint32_t port;
    char certificate[FLEET_PATH], key[FLEET_PATH]; // PEM files, absolute; "" no TLS
    char keys_file[FLEET_PATH];                    // absolute, one key a line; "" none
    size_t key_count;
    char (*keys)[FLEET_WORD]; // listed in fleet.yaml itself; owned
    enum fleet_sticky sticky; // by key: one client's requests go to one guest while it is up
    bool insecure;
    uint32_t drain_ms;   // for answers that a guest has begun, when it is to go
    uint32_t timeout_ms; // that a guest may send nothing while it answers
};

struct fleet_spec {
    char name[FLEET_NAME];
    struct fleet_endpoint endpoint;
    size_t model_count;
    struct fleet_model *models; // owned; at least one
};
void fleet_spec_free(struct fleet_spec *s); // what it holds; zeroed after

// ---- reading and writing -----------------------------------------------------------------------

enum { FLEET_MOST_BYTES = 256 << 10 }; // of fleet.yaml

// fleet.yaml's text. `file`: its name in messages ("fleet.yaml:12: models[1].replicas: …");
// `folder`: the absolute folder against which relative paths are read. Does not look at the files
// that are named. -EINVAL: the text is wrong; -E2BIG: too large. On failure *out is zeroed.
int fleet_spec_parse(const char *yaml, size_t bytes, const char *file, const char *folder,
                     struct fleet_spec *out, char *error, size_t error_bytes);
// Reads and parses a file. -errno of opening it.
int fleet_spec_read(const char *path, struct fleet_spec *out, char *error, size_t error_bytes);

// The normal form: every field is present, with its default where fleet.yaml says nothing. A new
// reference; NULL: no memory. Reading it gives an equal specification.
json_t *fleet_spec_to_json(const struct fleet_spec *s);
int fleet_spec_from_json(const json_t *json, struct fleet_spec *out, char *error,
                         size_t error_bytes);
json_t *fleet_variant_to_json(const struct fleet_variant *v);
int fleet_variant_from_json(const json_t *json, struct fleet_variant *out, char *error,
                            size_t error_bytes);

// The JSON Schema of fleet.yaml (fleet.schema.json).
const char *fleet_schema(void);

// ---- identity ----------------------------------------------------------------------------------

// The first 12 hexadecimal digits of SHA-256 over the variant's normal form: the path is left out
// where the identity is known, so that a moved file changes nothing.
void fleet_version(const struct fleet_variant *v, char out[FLEET_VERSION]);

struct weights_progress;
// The path of an installed model. -ENOENT: not installed.
typedef int fleet_installed_fn(const char *name, char *path, size_t path_bytes, char *error,
                               size_t error_bytes);
// Looks at the files of all variants: fills in identities and the paths of installed models.
// `image`: the installed image, for variants that name none. installed: NULL, no model store.
int fleet_resolve(struct fleet_spec *s, const char *image, fleet_installed_fn *installed,
                  const struct weights_progress *progress, char *error, size_t error_bytes);
int fleet_resolve_variant(struct fleet_variant *v, const char *image, fleet_installed_fn *installed,
                          const struct weights_progress *progress, char *error, size_t error_bytes);

// NULL: there is none of that name.
struct fleet_model *fleet_find(const struct fleet_spec *s, const char *service);
// "a small name, letters, digits, …" of fleets and services.
bool fleet_name_is_valid(const char *name);

#endif
