// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A guest, from what is asked for to a libvirt domain that serves, and to its end. Used by the
// commands and by the agent of fleets.
//
// Error handling: functions return 0 or a negative errno and then write a message for people into
// `error`; -EINVAL is a request that can never work (wrong usage), everything else is of this
// moment. Nothing is left half-made: a domain that was not wanted is gone again, and tensord's seat
// with it. State is in libvirt only (DESIGN: decision 9). Threads: a host belongs to one.
#ifndef TESSERA_GUEST_H
#define TESSERA_GUEST_H

#include "hypercall/host/hardware/hardware.h"
#include "hypercall/host/machine/endpoint.h"
#include "hypercall/host/machine/host.h"
#include "hypercall/host/machine/tensord.h"
#include "hypercall/host/store/weights.h"

#include <limits.h>

// ---- where -------------------------------------------------------------------------------------

struct guest_host {
    virConnectPtr libvirt; // NULL: nothing is made, only planned
    const char *uri;
    bool is_system;
    bool is_remote; // another machine's: files go there by ../remote, ports are its own
    // What happens, a line each; NULL: nobody wants to know.
    void (*say)(void *context, const char *line);
    void *context;
    struct weights_progress progress;
    const volatile int *stop; // not 0: what takes long ends with -EINTR; NULL: nothing does
    char programs[PATH_MAX];  // the folder of `tessera` and `tensord`
};
// Fills in `programs`, uri and is_system (machine_uri); connects unless plan_only.
int guest_host_open(struct guest_host *h, const char *uri, bool plan_only, char *error,
                    size_t error_bytes);
// Again, after libvirt's daemon went away: domains of before are void. Nothing where it did not.
int guest_host_reopen(struct guest_host *h, char *error, size_t error_bytes);
void guest_host_close(struct guest_host *h);

// ---- what is asked for -------------------------------------------------------------------------

// Texts are borrowed; NULL, 0 and false: chosen by the model and the host.
struct guest_request {
    const char *name;    // NULL: the model's, with a number where it is taken
    const char *model;   // a GGUF file; or an image that boots by itself, with its model in it
    const char *image;   // the kernel
    const char *accel;   // "auto", "kvm", "tcg"
    const char *offload; // "auto", "host"; NULL or "off": none
    const char *key;
    const char *settings; // words of the guest's command line
    const char *network;  // "user", a libvirt network's name, "bridge=BR"
    const char *listen;   // of the user network: an IPv4 address
    uint32_t vcpus, memory_mb, region_mb, shares, offload_weight;
    uint32_t port;        // exactly this one
    uint32_t first_port;  // or the first free one from here on, 0: 8080
    bool insecure;        // an endpoint that others reach without a key is wanted
    bool key_is_optional; // a sealed image, which brings its settings, goes without the key
    bool persistent;      // defined: stays when it is off. Otherwise it is gone then.
    bool autostart;       // with the host (persistent ones)
    // the machine
    const char *machine;     // "q35", "microvm"
    const char *cpu;         // "host", "max" or a model, then ",+FEATURE,-FEATURE"
    const char *hugepages;   // "2M", "1G"
    const char *pin;         // CPUs of the host, "0-3,8"
    const char *numa;        // its nodes, "0,1": a cell of the guest each
    const char *boot;        // "pvh", "uefi"
    const char *secure_boot; // whose keys: "ms", "snakeoil", "/a file of UEFI variables"
    const char *weights;     // "mapped", "disk"
    const char *devices[16]; // "gpu:auto", "pci:0000:65:00.0,nic:…": devices.h of hardware
    uint32_t device_count;
    bool nested, shared_memory, iommu;
    // of a fleet
    const char *fleet, *service, *version;
};

// Where a start begins.
enum guest_from {
    GUEST_FROM_ANY, // where it was suspended; else its ready state or a boot, as measured faster
    GUEST_FROM_BOOT,
    GUEST_FROM_READY,
    GUEST_FROM_SUSPENDED,
};

struct guest {
    struct machine_plan plan;
    char name[64], identity[WEIGHTS_TEXT], console_log[PATH_MAX], tensord_folder[256];
    char url[128];            // "http://127.0.0.1:8080"; "": not known yet (by a lease, later)
    char variables[PATH_MAX]; // of UEFI, "": none
    char key_file[PATH_MAX];  // "": none
    char *model_path, *mapped, *image_path;
    bool image_has_key; // a sealed one, of its API
    uint32_t image_mb;  // of memory that the image alone takes, 0: little
    struct tensord_guest calls;
    struct hardware_user qemu; // as who QEMU runs, where that is not the caller:
    bool qemu_is_other;        // guests of root's on a system's libvirt
    uint32_t reader_group;     // then: his, to whom files and sockets are opened
    bool persistent, autostart;
    enum guest_from from; // what guest_start did: never GUEST_FROM_ANY
    virDomainPtr domain;  // NULL: not made
    struct machine_watch watch;
    struct endpoint *endpoint; // that guest_wait asked, still open; NULL: none
};

// ---- making one --------------------------------------------------------------------------------

// Chooses everything, reads the model's identity (seconds for a model never seen), asks tensord to
// open the model. Nothing is made. g is overwritten; guest_free frees it also after an error.
int guest_plan(struct guest_host *h, const struct guest_request *q, struct guest *g, char *error,
               size_t error_bytes);
// For XML that is only shown: g gets the name that a guest would get now. Nothing is taken.
int guest_choose_free_name(struct guest_host *h, const struct guest_request *q, struct guest *g,
                           char *error, size_t error_bytes);
// The domain's XML of a plan without creating anything (with what tensord would give). The caller
// frees it.
int guest_xml(struct guest_host *h, struct guest *g, char **xml, char *error, size_t error_bytes);
// Takes name and port under a lock that concurrent ones share, then defines or creates the domain
// and starts it. Begins the watch.
int guest_create(struct guest_host *h, const struct guest_request *q, struct guest *g, char *error,
                 size_t error_bytes);
void guest_free(struct guest_host *h, struct guest *g);

// Waits until /health says 200. `hurry` (may be NULL): not zero ends it with -EINTR. -ETIMEDOUT;
// -ENOEXEC: the guest says it cannot serve this model; -ESHUTDOWN: it ended.
int guest_wait(struct guest_host *h, struct guest *g, uint32_t seconds, const volatile int *hurry,
               char *error, size_t error_bytes);

// ---- one that exists ---------------------------------------------------------------------------

// -ENOENT, -EPERM as of machine_find. Fills in domain, name, url, watch (not begun); what it says
// of itself is in *facts, its key too.
int guest_find(struct guest_host *h, const char *name, struct guest *g, struct machine_facts *facts,
               char *error, size_t error_bytes);
// "http://ADDRESS:PORT" of a domain; "" while it has no address: 0 or -EAGAIN; -EHOSTUNREACH: it
// serves on another machine's loopback address.
int guest_url(virDomainPtr domain, const struct machine_facts *facts, char *url, size_t url_bytes);
// By `virsh suspend`: it is there and does nothing.
bool guest_is_paused(virDomainPtr domain);
// Starts a defined guest that is off: its seat at tensord, its port, the domain. -EALREADY: it
// runs. port: not 0: moves it there (a user network's).
int guest_start(struct guest_host *h, const char *name, uint32_t port, struct guest *g, char *error,
                size_t error_bytes);
// The same from one place only. -ENOENT: there is no such state; -ESTALE: it is of another image,
// model, host CPU, QEMU or definition. GUEST_FROM_BOOT drops a suspended state. guest_start, which
// is from any, refuses a suspended state that is stale, and boots anew (and says so) where a ready
// state is.
int guest_start_from(struct guest_host *h, const char *name, uint32_t port, enum guest_from from,
                     struct guest *g, char *error, size_t error_bytes);
// After guest_wait: how long it took until it served, by which guest_start chooses next time.
void guest_note_start(const struct guest *g, double ms);
const char *guest_from_name(enum guest_from from);

// Saves a defined guest in place and switches it off (libvirt's managed save); its next start goes
// on there. Waits up to `seconds` until no request is under way, unless forced. -EBUSY, -EINTR.
int guest_suspend(struct guest_host *h, const char *name, unsigned seconds, bool force,
                  const volatile int *hurry, char *error, size_t error_bytes);
// Saves a guest that serves and has had no request yet, and switches it off: from now on its starts
// may begin there, any number of times. *bytes of the state. -EBUSY: it has had requests.
int guest_save_ready(struct guest_host *h, const char *name, uint64_t *bytes, char *error,
                     size_t error_bytes);
// In order, within `seconds`; a persistent one stays defined. As of machine_stop.
int guest_stop(struct guest_host *h, const char *name, unsigned seconds, const volatile int *hurry,
               bool *in_order, char *error, size_t error_bytes);
// The definition of one that is off, its saved state and console log too. -EBUSY: it runs.
int guest_remove(struct guest_host *h, const char *name, char *error, size_t error_bytes);
// Gives its place at tensord up; where tensord does not run, there is none.
void guest_leave_tensord(const char *folder, const char *name);
// facts->key from the file that the domain names, on this machine or the guest's. What cannot be
// read leaves it empty: the guest will say so.
void guest_take_key(virDomainPtr domain, struct machine_facts *facts);
// The files of a guest that is gone and is not defined.
void guest_forget_files(struct guest *g);
// The same of a guest that has run and was never defined, unless another has its name by now. uuid:
// libvirt's of the guest, VIR_UUID_BUFLEN bytes.
void guest_forget_ended(struct guest_host *h, struct guest *g, const unsigned char *uuid);
// Ends a guest at once and forgets it: after a failure.
void guest_give_up(struct guest_host *h, struct guest *g);

// ---- on another machine ------------------------------------------------------------------------

// Why the endpoint of a guest is not reached from here, and what makes it so; "" where it is
// reached. Asks it, for at most two seconds.
void guest_explain_reach(struct guest_host *h, const struct guest *g, char *out, size_t out_bytes);
// As console_print_file, of a guest of another machine.
int guest_print_remote_log(struct guest_host *h, FILE *out, const char *name, unsigned lines,
                           uint64_t *at, char *error, size_t error_bytes);

// ---- one at a time -----------------------------------------------------------------------------

// Runs at the same time take port and name one after the other. The lock, to close; or an errno.
// -EBUSY: another one holds it for a minute.
int guest_lock(char *error, size_t error_bytes);
// What is claimed stays so until the descriptor is closed: a domain's name is its own once it is
// defined, a port is once QEMU listens. The claims, none yet; or an errno.
int guest_claims_open(char *error, size_t error_bytes);
// False: another run has it.
bool guest_claim_port(int claims, uint32_t port);
bool guest_claim_name(int claims, const char *name);

#endif
