// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera doctor`: libvirt, who QEMU runs as under it, AppArmor, the console's log, the network.
#include "hypercall/host/remote/remote.h"
#include "hypercall/host/base/folders.h"
#include "hypercall/host/tool/apparmor.h"
#include "hypercall/host/tool/doctor.h"
#include "hypercall/host/tool/in_time.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// The system's daemon; without a service manager nobody but root's shell starts it.
static void mend_by_start(struct doctor *d)
{
    if (access("/run/systemd/system", F_OK) == 0) {
        doctor_mend(d, "%ssystemctl enable --now libvirtd.socket virtlogd.socket", doctor_sudo());
    } else {
        doctor_mend(d, "%s/usr/sbin/virtlogd --daemon; %s/usr/sbin/libvirtd --daemon",
                    doctor_sudo(), doctor_sudo());
    }
}

static void say_aside(const char *line)
{
    fprintf(stderr, "%s\n", line);
}

static int open_here(const char *uri, virConnectPtr *out, char *error, size_t error_bytes)
{
    return machine_connect(uri, say_aside, out, error, error_bytes);
}

static void say_versions(struct doctor *d, const char *uri, virConnectPtr c)
{
    unsigned long libvirt = 0, qemu = 0;
    virConnectGetLibVersion(c, &libvirt);
    virConnectGetVersion(c, &qemu);
    doctor_say(d, DOCTOR_OK, "%s answers: libvirt %lu.%lu.%lu, QEMU %lu.%lu.%lu", uri,
               libvirt / 1000000, libvirt / 1000 % 1000, libvirt % 1000, qemu / 1000000,
               qemu / 1000 % 1000, qemu % 1000);
}

// Nobody listens at its socket; other errors are of one who does.
static bool is_down(const char *error)
{
    return strstr(error, "Failed to connect socket") &&
           (strstr(error, "No such file") || strstr(error, "Connection refused"));
}

// What libvirt's connection to another machine needs, from the ground up.
static void mend_remote(struct doctor *d, const struct remote_machine *there)
{
    if (there->ssh[0]) {
        doctor_mend(d, "ssh %s virsh -c qemu:///system version", there->ssh);
        doctor_advise(d, "that command must work without asking for anything: the machine's name, "
                         "a key of this user's there (ssh-copy-id), and libvirt's daemon there");
    } else {
        doctor_advise(d,
                      "libvirt's daemon on %s must take such connections: "
                      "https://libvirt.org/remote.html",
                      there->host);
    }
}

// Where guests go does not fail for want of a second connection.
static void look_at_system(struct doctor *d)
{
    char error[900];
    if (connect_in_time(open_here, "qemu:///system", &d->system, error, sizeof error) == 0) {
        say_versions(d, "qemu:///system", d->system);
        return;
    }
    const char *hint = strstr(error, ". --connect");
    doctor_say(d, DOCTOR_WARNING, "%.*s", (int)(hint ? hint - error : (long)strlen(error)), error);
    doctor_cost(d, "no guests that outlive the user's session, no --device, no libvirt networks; "
                   "qemu:///session is enough for everything else");
    if (access("/usr/sbin/libvirtd", X_OK) != 0 && access("/usr/sbin/virtqemud", X_OK) != 0) {
        doctor_mend(d, "%sapt-get install libvirt-daemon-system", doctor_sudo());
    } else if (is_down(error)) {
        mend_by_start(d);
    } else {
        doctor_mend(d, "%susermod -aG libvirt %s    # then log in anew", doctor_sudo(),
                    doctor_user());
    }
}

void check_libvirt(struct doctor *d)
{
    char error[900];
    bool is_system;
    if (d->root[0]) {
        return;
    }
    if (machine_uri(d->uri, &d->libvirt_uri, &is_system, error, sizeof error) != 0) {
        doctor_say(d, DOCTOR_MISSING, "%s", error);
        doctor_cost(d, "guests are domains of libvirt's QEMU driver, and of no other");
        doctor_advise(d, "--connect and LIBVIRT_DEFAULT_URI name another connection");
        doctor_blocks(d);
        return;
    }
    struct remote_machine there;
    remote_machine_of(d->libvirt_uri, &there);
    d->is_remote = there.host[0] != 0;
    if (connect_in_time(open_here, d->libvirt_uri, &d->libvirt, error, sizeof error) != 0) {
        doctor_say(d, DOCTOR_MISSING, "%s", error);
        doctor_cost(d, "`tessera` defines, starts and finds guests by libvirt alone");
        if (d->is_remote) {
            mend_remote(d, &there);
        } else if (access("/usr/sbin/libvirtd", X_OK) != 0 &&
                   access("/usr/sbin/virtqemud", X_OK) != 0) {
            doctor_mend(d,
                        "%sapt-get install --no-install-recommends libvirt-daemon "
                        "libvirt-daemon-driver-qemu",
                        doctor_sudo());
        } else if (!is_system) { // libvirt starts it itself, which did not work
            doctor_mend(d, "libvirtd --timeout 120    # as this user; it says why it does not run");
        } else if (geteuid() != 0 && !is_down(error)) {
            doctor_mend(d, "%susermod -aG libvirt %s    # then log in anew", doctor_sudo(),
                        doctor_user());
        } else {
            mend_by_start(d);
        }
        doctor_blocks(d);
        return;
    }
    say_versions(d, d->libvirt_uri, d->libvirt);
    if (d->is_remote) {
        doctor_say(d, DOCTOR_WARNING, "guests go to %s, and what is said here is of this machine",
                   there.host);
        doctor_cost(d, "what that one lacks is not seen from here");
        doctor_mend(d, "ssh %s tessera doctor", there.ssh[0] ? there.ssh : there.host);
    } else if (is_system) {
        d->system = d->libvirt;
    } else if (!d->uri) {
        look_at_system(d);
    }
}

// ---- who QEMU runs as --------------------------------------------------------------------------

// Guests of root's run as libvirt's user of QEMU: is what they need within his reach?
static void say_reach(struct doctor *d, const char *what, const char *path, bool works,
                      const char *otherwise)
{
    char refuses[PATH_MAX];
    struct stat s;
    int rc = hardware_may_read(&d->qemu, path, refuses);
    if (rc == 0) {
        doctor_say(d, DOCTOR_OK, "%s may read %s, %s", d->qemu.name, what, path);
    } else if (rc == -EACCES) {
        bool folder = stat(refuses, &s) == 0 && S_ISDIR(s.st_mode);
        doctor_say(d, DOCTOR_WARNING, "%s may not read %s, %s: %s%s refuses", d->qemu.name, what,
                   path, folder ? "the folder " : "", folder ? refuses : "the file itself");
        doctor_cost(d, "%s", otherwise);
        if (works) {
            doctor_advise(d, "`setfacl -m u:%s:%s %s` saves the copy", d->qemu.name,
                          folder ? "x" : "r", doctor_quote(refuses));
        } else {
            doctor_mend(d, "chmod o+%s %s", folder ? "x" : "r", doctor_quote(refuses));
        }
    } // what is not there is another check's, or not made yet
}

static void say_passage(struct doctor *d)
{
    struct hardware_user me;
    char number[16], refuses[PATH_MAX];
    snprintf(number, sizeof number, "%u", getuid());
    if (hardware_user(number, &me) == 0 &&
        hardware_may_read(&me, HARDWARE_LIBVIRT_FOLDER, refuses) == -EACCES) {
        doctor_say(d, DOCTOR_MISSING, "%s does not let %s pass", refuses, me.name);
        doctor_cost(d, "guests of this user's do not start under qemu:///system; root's do, and "
                       "under qemu:///session all do");
        doctor_mend(d, "%s" HARDWARE_LIBVIRT_MEND, doctor_sudo());
    }
}

void check_qemu_user(struct doctor *d)
{
    char error[200];
    uint32_t group;
    if (!d->system) {
        return;
    }
    if (machine_qemu_user(d->system, &d->qemu, &group, error, sizeof error) != 0) {
        d->qemu = (struct hardware_user){0};
        doctor_say(d, geteuid() == 0 ? DOCTOR_MISSING : DOCTOR_WARNING, "%s", error);
        doctor_cost(d, "guests that root makes under qemu:///system do not start");
        doctor_mend(d, "%sapt-get install --reinstall libvirt-daemon-system", doctor_sudo());
        doctor_advise(d, "`user` and `group` of /etc/libvirt/qemu.conf name it");
        return;
    }
    if (geteuid() != 0) {
        doctor_say(d, DOCTOR_OK,
                   "guests of %s's run as %s, under qemu:///system too; root's run as %s (uid %u)",
                   doctor_user(), doctor_user(), d->qemu.name, d->qemu.uid);
        say_passage(d);
        return;
    }
    doctor_say(d, DOCTOR_OK, "guests of root's run as %s (uid %u) under qemu:///system",
               d->qemu.name, d->qemu.uid);
    say_reach(d, "the guest's image", d->image, true,
              "`tessera run` copies it to " FOLDER_OF_SYSTEM "/cache, once");
    say_reach(d, "the model store", FOLDER_OF_SYSTEM "/models/blobs", true,
              "`tessera run` copies each model from there to " FOLDER_OF_SYSTEM "/cache, once");
    say_reach(d, "copies for guests", FOLDER_OF_SYSTEM "/cache/models", false,
              "guests whose models are copied do not start");
    say_reach(d, "guests' own files", FOLDER_OF_SYSTEM "/state", false,
              "guests with UEFI do not start");
}

#define SNIPPET "/etc/apparmor.d/local/abstractions/libvirt-qemu"

void check_apparmor(struct doctor *d)
{
    char label[64], path[PATH_MAX + 64], old[200];
    char *capabilities = d->system ? virConnectGetCapabilities(d->system) : NULL;
    if (!capabilities) {
        return;
    }
    bool active = machine_base_label(capabilities, "apparmor", label, sizeof label);
    free(capabilities);
    if (!active) {
        doctor_say(d, DOCTOR_OK, "does not confine guests here");
        return;
    }
    struct apparmor_rules rules = apparmor_rules(SNIPPET);
    if (rules.current && !rules.denies) {
        doctor_say(d, DOCTOR_OK,
                   "confines guests of qemu:///system, and lets them read "
                   "/var/lib/tessera (%s)",
                   SNIPPET);
        return;
    }
    doctor_say(d, DOCTOR_MISSING,
               rules.denies
                   ? "confines guests of qemu:///system, by rules of an older version that "
                     "deny them their UEFI variables, whatever later ones allow"
                   : "confines guests of qemu:///system, and has not this version's rules "
                     "for /var/lib/tessera");
    doctor_cost(d, "QEMU may not map weights there (libvirt labels no file of its own command "
                   "line): guests of qemu:///system do not start; those of qemu:///session do");
    snprintf(path, sizeof path, "%s/../../hypercall/host/apparmor/libvirt-qemu", d->folder);
    snprintf(old, sizeof old, rules.denies ? "%s" APPARMOR_DROP_OLD SNIPPET : "", doctor_sudo());
    if (rules.current) {
        doctor_mend(d, "%s", old);
    } else {
        doctor_mend(d, "%s%s%stee -a " SNIPPET " < %s", old, old[0] ? " && " : "", doctor_sudo(),
                    doctor_quote(path));
    }
}

// ---- what stands beside guests -----------------------------------------------------------------

void check_console_log(struct doctor *d)
{
    char path[PATH_MAX];
    if (hardware_program(d->root, (const char *[]){"virtlogd", NULL}, path)) {
        doctor_say(d, DOCTOR_OK, "virtlogd keeps consoles' logs");
        return;
    }
    doctor_say(d, DOCTOR_MISSING, "virtlogd is not installed");
    doctor_cost(d, "guests with a console's log do not start");
    doctor_mend(d, "%sapt-get install --no-install-recommends libvirt-daemon", doctor_sudo());
    doctor_blocks(d);
}

void check_network(struct doctor *d)
{
    if (!d->system) {
        return;
    }
    virNetworkPtr n = virNetworkLookupByName(d->system, "default");
    int active = n ? virNetworkIsActive(n) : 0;
    if (active > 0) {
        doctor_say(d, DOCTOR_OK, "libvirt's network `default` is active");
    } else {
        doctor_say(d, DOCTOR_MISSING, "libvirt's network `default` is %s",
                   n ? "not active" : "not defined");
        doctor_cost(d, "--network default is not to be had; the user network, which is the "
                       "default, needs none");
        static const char virsh[] = "virsh -c qemu:///system";
        char define[200] = "";
        if (!n) {
            snprintf(define, sizeof define,
                     "%s%s net-define /usr/share/libvirt/networks/default.xml && ", doctor_sudo(),
                     virsh);
        }
        doctor_mend(d, "%s%s%s net-start default && %s%s net-autostart default", define,
                    doctor_sudo(), virsh, doctor_sudo(), virsh);
    }
    if (n) {
        virNetworkFree(n);
    }
}
