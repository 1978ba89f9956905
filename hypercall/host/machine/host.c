// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The connection to libvirt, and guests of ours on it.
#include "hypercall/host/base/error.h"
#include "hypercall/host/machine/host.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int machine_uri(const char *wanted, const char **out, bool *is_system, char *error,
                size_t error_bytes)
{
    const char *uri = wanted ? wanted : getenv("LIBVIRT_DEFAULT_URI");
    if (!uri || !uri[0]) {
        uri = geteuid() == 0 ? "qemu:///system" : "qemu:///session";
    }
    const char *host = strstr(uri, "://");
    if (strncmp(uri, "qemu", 4) != 0 || !host) {
        return error_say(error, error_bytes, -EINVAL,
                         "'%s' is no URI of libvirt's QEMU driver, like qemu:///session or "
                         "qemu:///system",
                         uri);
    }
    const char *path = strchr(host + 3, '/');
    if (!path || (strncmp(path, "/system", 7) != 0 && strncmp(path, "/session", 8) != 0)) {
        return error_say(
            error, error_bytes, -EINVAL,
            "'%s' is no URI of libvirt's QEMU driver: it ends in /session or /system, like "
            "qemu+ssh://HOST/system",
            uri);
    }
    *out = uri;
    *is_system = strncmp(path, "/system", 7) == 0;
    return 0;
}

static void quiet(void *context, virErrorPtr e)
{
    (void)context; // messages are ours to print
    (void)e;
}

int machine_say_libvirt(const char *doing, char *error, size_t error_bytes)
{
    const char *why = virGetLastErrorMessage();
    return error_say(error, error_bytes, -EIO, "%s: libvirt says: %s", doing,
                     why && why[0] ? why : "nothing");
}

static void run_daemon(const char *program)
{
    pid_t child = fork();
    if (child == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL); // a thread of ours may have blocked all
        signal(SIGPIPE, SIG_DFL);
        execl(program, program, "--daemon", "--timeout", "120", (char *)NULL);
        _exit(127);
    }
    int status;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
}

// libvirt starts nothing for root: a service manager does, where there is one.
static bool may_start_daemon(const char *uri)
{
    return geteuid() == 0 && strcmp(uri, "qemu:///system") == 0 &&
           access("/run/systemd/system", F_OK) != 0 && access("/usr/sbin/libvirtd", X_OK) == 0;
}

static virConnectPtr start_daemon(const char *uri, void (*say)(const char *line))
{
    virConnectPtr c = NULL;
    if (say) {
        say("Starting libvirt's daemon; it ends by itself when it has no guests (the first start "
            "may take half a minute)");
    }
    run_daemon("/usr/sbin/virtlogd");
    run_daemon("/usr/sbin/libvirtd");
    for (int i = 0; i < 100 && !c; i++) {
        c = virConnectOpen(uri);
        if (!c) {
            nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        }
    }
    return c;
}

int machine_connect(const char *uri, void (*say)(const char *line), virConnectPtr *out, char *error,
                    size_t error_bytes)
{
    static bool ready;
    virSetErrorFunc(NULL, quiet);
    // The loop of events must be there before any connection, and only once.
    if (!ready && (virInitialize() != 0 || virEventRegisterDefaultImpl() != 0)) {
        return machine_say_libvirt("starting", error, error_bytes);
    }
    ready = true;
    virConnectPtr c = virConnectOpen(uri);
    if (!c && may_start_daemon(uri)) {
        c = start_daemon(uri, say);
    }
    if (!c) {
        char why[300];
        bool missing =
            access("/usr/sbin/libvirtd", X_OK) != 0 && access("/usr/sbin/virtqemud", X_OK) != 0;
        machine_say_libvirt(uri, why, sizeof why);
        return error_say(error, error_bytes, -EIO, "no connection to libvirt at %s%s", why,
                         missing ? ". Its daemon is not installed here; on Debian: apt-get install "
                                   "libvirt-daemon libvirt-daemon-driver-qemu"
                                 : ". --connect or LIBVIRT_DEFAULT_URI name another connection "
                                   "(qemu:///session is a user's own and needs no rights)");
    }
    int rc = machine_events_start();
    if (rc) {
        virConnectClose(c);
        return error_say(error, error_bytes, rc, "no thread for libvirt's events: %s",
                         strerror(-rc));
    }
    virConnectSetKeepAlive(c, 5, 3); // notices a daemon that hangs; not every connection can
    *out = c;
    return 0;
}

// Capabilities: <secmodel><model>dac</model>…<baselabel type='kvm'>+64055:+108</baselabel>.
bool machine_base_label(const char *capabilities, const char *model, char *out, size_t out_bytes)
{
    static const char begin[] = "<baselabel type='kvm'>";
    char wanted[64];
    snprintf(wanted, sizeof wanted, "<model>%s</model>", model);
    const char *at = strstr(capabilities, wanted), *end = at ? strstr(at, "</secmodel>") : NULL;
    out[0] = 0;
    if (!end) {
        return false;
    }
    at = strstr(at, begin);
    if (at && at < end) {
        at += strlen(begin);
        snprintf(out, out_bytes, "%.*s", (int)strcspn(at, "<"), at);
    }
    return true;
}

int machine_qemu_user(virConnectPtr c, struct hardware_user *out, uint32_t *group, char *error,
                      size_t error_bytes)
{
    char label[64], *capabilities = virConnectGetCapabilities(c);
    if (!capabilities) {
        return machine_say_libvirt("its capabilities", error, error_bytes);
    }
    bool has = machine_base_label(capabilities, "dac", label, sizeof label);
    free(capabilities);
    char *colon = strchr(label, ':');
    if (!has || !colon) {
        return error_say(error, error_bytes, -ENOENT,
                         "libvirt does not say as which user QEMU runs");
    }
    *colon = 0;
    unsigned long id = strtoul(colon + 1 + (colon[1] == '+'), NULL, 10);
    if (hardware_user(label, out) != 0) {
        return error_say(error, error_bytes, -ENOENT, "QEMU would run as %s: no such user", label);
    }
    *group = (uint32_t)id;
    if (out->group_count < sizeof out->groups / sizeof *out->groups) {
        out->groups[out->group_count++] = (gid_t)id;
    }
    return 0;
}

int machine_find(virConnectPtr c, const char *name, virDomainPtr *out, struct machine_facts *facts,
                 char *error, size_t error_bytes)
{
    virDomainPtr d = virDomainLookupByName(c, name);
    if (!d) {
        const virError *e = virGetLastError();
        if (e && e->code == VIR_ERR_NO_DOMAIN) {
            return error_say(error, error_bytes, -ENOENT,
                             "no guest is named '%s' (`tessera ls` lists them)", name);
        }
        return machine_say_libvirt(name, error, error_bytes);
    }
    char *xml = virDomainGetMetadata(d, VIR_DOMAIN_METADATA_ELEMENT, MACHINE_NAMESPACE, 0);
    int rc = xml ? machine_facts_parse(xml, facts) : -ENOENT;
    free(xml);
    if (rc) {
        virDomainFree(d);
        return error_say(error, error_bytes, -EPERM,
                         "'%s' is a domain of libvirt's, but none that `tessera` made: use virsh",
                         name);
    }
    *out = d;
    return 0;
}
