// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A fleet's endpoint as HAProxy's configuration: text in, text out. Everything in the endpoint's
// folder is made from the record and the members that were found, and may be thrown away at any
// time.
//
// How a request goes: the front end takes the whole request (at most 256 KB), checks the key, puts
// the fleet's internal key in its place, takes the model's name out of the body, finds the service
// in models.map, and chooses the slot: by X-Tessera-Version (versions.map) or by the service's
// share (shares.map). Each service has two back ends, SERVICE.a and SERVICE.b. In each, the slot's
// own members are active; the other slot's members are backups, and after them the agent's wake
// listener. A request whose answer has not begun is tried again, elsewhere; one that has begun ends
// with an error.
//
// The wake listener is a UNIX socket of the agent (proxy_wake_path). It accepts, holds the
// connection while it makes a guest ready, and closes it without a byte: HAProxy then sends the
// request again, to a guest that is up by now. Every service has it, so that a service whose only
// guest restarts loses nothing either.
//
// Errors as in spec.h.
#ifndef TESSERA_FLEET_PROXY_H
#define TESSERA_FLEET_PROXY_H

#include "hypercall/host/fleet/record.h"
#include "hypercall/host/machine/text.h"

enum { PROXY_REQUEST_BYTES = 256 << 10, PROXY_BACKEND = FLEET_SERVICE + 2, PROXY_SERVER = 49 };
// A request waits that long for a guest that starts; then the answer is 504.
enum { PROXY_HOLD_MS = 60000 };

// $XDG_RUNTIME_DIR/tessera/fleet/NAME of the user's own libvirt, fleet-HEX/NAME of other
// connections; made if it is missing (0700). -ENAMETOOLONG: sockets in it would have paths longer
// than the system allows.
int proxy_folder(const char *uri, const char *fleet, char *out, size_t out_bytes, char *error,
                 size_t error_bytes);
// folder/wake-HEX of a service's slot: where the agent must listen (0600).
void proxy_wake_path(const char *folder, const char *service, unsigned slot, char *out,
                     size_t out_bytes);

// ---- what is wanted ----------------------------------------------------------------------------

enum proxy_state {
    PROXY_READY, // gets requests once its health check succeeds
    PROXY_DRAIN, // gets no new requests, those that run go on
};
struct proxy_member {
    char name[PROXY_SERVER], service[FLEET_SERVICE], version[FLEET_VERSION];
    uint32_t port; // on 127.0.0.1
    unsigned slot; // 0 a, 1 b
    enum proxy_state state;
    bool known_up; // answered its health check already: a new HAProxy sends it requests at once
};
struct proxy_share {
    char service[FLEET_SERVICE];
    unsigned stable_slot;
    uint32_t share; // of 10000: how much of what names no version goes to the other slot
};
struct proxy_input {
    const struct fleet_record *record;
    const char *folder; // proxy_folder's
    const struct proxy_member *members;
    size_t member_count;
    const struct proxy_share *shares; // one a service
    size_t share_count;
};

// ---- files -------------------------------------------------------------------------------------

enum proxy_file_name {
    PROXY_CFG,       // haproxy.cfg
    PROXY_MODELS,    // models.map: a model's name -> service
    PROXY_SHARES,    // shares.map: service -> share of the other slot
    PROXY_STABLE,    // stable.map: service -> back end of the stable slot
    PROXY_OTHER,     // other.map: service -> the other one
    PROXY_CANARY,    // canary.map: service -> the other one if it has members, else none
    PROXY_VERSION_A, // version-a.map: service -> the version in slot a, none: several or no member
    PROXY_VERSION_B, // version-b.map
    PROXY_HEALTH,    // health.map: * (all, as wanted) and each service (a guest is up) -> ok,
                     // or starting
    PROXY_KEYS,      // keys.acl: SHA-256 of each client's key
    PROXY_LIST,      // models.json: the answer to GET /v1/models
    PROXY_PEM,       // endpoint.pem: certificate and key, empty: no TLS
    PROXY_FILES
};
struct proxy_files {
    struct {
        char *data;
        size_t bytes;
    } file[PROXY_FILES];
    // Over what needs a new configuration: not over members, shares and versions, which the
    // runtime socket changes.
    char structure[65];
};
void proxy_files_free(struct proxy_files *f);
// Also reads the files of keys and TLS. Servers are those of proxy_servers that are known to be up.
// -EINVAL: no key or no PEM in them; -errno of opening them.
int proxy_files(const struct proxy_input *in, struct proxy_files *out, char *error,
                size_t error_bytes);
// Writes them, each atomically, 0600; files that are the same stay untouched.
int proxy_files_write(const struct proxy_files *f, const char *folder, char *error,
                      size_t error_bytes);
const char *proxy_file_basename(enum proxy_file_name name);

// ---- servers of a running HAProxy --------------------------------------------------------------

struct proxy_row; // proxy_runtime.h
// The commands that take a running HAProxy from `rows` (its statistics) to what is wanted: servers
// added, made ready, drained, deleted; map entries set. In order; each succeeds or fails by
// itself, and what failed is found again at the next look. At most 512 a call. Servers that are
// neither wanted nor idle are first put into maintenance: they finish what they do, and are deleted
// at a later look. out: one command a line.
int proxy_sync(const struct proxy_input *in, const struct proxy_row *rows, size_t row_count,
               struct text *out);

#endif
