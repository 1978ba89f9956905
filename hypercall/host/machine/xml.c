// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A plan as a domain's XML (https://libvirt.org/formatdomain.html). Text in, text out.
#include "hypercall/host/machine/machine.h"
#include "hypercall/host/machine/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

// Devices stand on the root bus at addresses of their own: nobody behind qboot sets up bridges.
#define ADDRESS(slot)                                                                              \
    "<address type='pci' domain='0x0000' bus='0x00' slot='" slot "' function='0x0'/>"
#define SLOT_PANIC   "0x1a"
#define SLOT_CALLS   "0x1b"
#define SLOT_RANDOM  "0x1c"
#define SLOT_WEIGHTS "0x1d"
#define SLOT_NETWORK "0x1e"

static void element(struct text *t, const char *indent, const char *name, const char *value)
{
    text_add(t, "%s<%s>", indent, name);
    text_add_escaped(t, value);
    text_add(t, "</%s>\n", name);
}

static void add_fact(struct text *t, const char *name, const char *value)
{
    if (value) {
        element(t, "      ", name, value);
    }
}

static void add_number(struct text *t, const char *name, uint32_t value)
{
    char text[16];
    snprintf(text, sizeof text, "%u", value);
    add_fact(t, name, value ? text : NULL);
}

// All that a later `tessera` has to know: it keeps nothing itself.
static void add_metadata(struct text *t, const struct machine_plan *p)
{
    text_add(t, "  <metadata>\n    <tessera:guest xmlns:tessera='" MACHINE_NAMESPACE "'>\n");
    add_fact(t, "tessera:model", p->model);
    add_fact(t, "tessera:mapped", p->mapped);
    add_fact(t, "tessera:identity", p->identity);
    add_fact(t, "tessera:network", p->network);
    add_fact(t, "tessera:listen", p->listen);
    add_number(t, "tessera:port", p->port);
    add_fact(t, "tessera:key", p->key);
    add_fact(t, "tessera:console", p->console_log);
    if (p->offload) {
        add_fact(t, "tessera:offload", p->offload);
        add_fact(t, "tessera:tensord", p->offload_folder);
        add_number(t, "tessera:region", p->region_mb);
        if (p->offload_weight) {
            add_number(t, "tessera:weight", p->offload_weight);
        }
    }
    add_fact(t, "tessera:fleet", p->fleet);
    add_fact(t, "tessera:service", p->service);
    add_fact(t, "tessera:version", p->version);
    text_add(t, "    </tessera:guest>\n  </metadata>\n");
}

static void add_machine(struct text *t, const struct machine_plan *p)
{
    text_add(t, "  <memory unit='MiB'>%u</memory>\n", p->memory_mb);
    if (p->offload && !p->kvm && p->vcpus == 1) {
        // QEMU's emulator drops a guest's memory fences where there can be one CPU only, and with
        // them, now and then, a doorbell of a tensor call.
        text_add(t, "  <vcpu current='1'>2</vcpu>\n");
    } else {
        text_add(t, "  <vcpu>%u</vcpu>\n", p->vcpus);
    }
    if (p->shares) {
        text_add(t, "  <cputune><shares>%u</shares></cputune>\n", p->shares);
    }
    text_add(t, "  <os>\n    <type arch='x86_64' machine='q35'>hvm</type>\n"
                "    <loader readonly='yes' type='rom'>/usr/share/qemu/qboot.rom</loader>\n");
    element(t, "    ", "kernel", p->image);
    // Values have no blanks and quotes: machine_word_is_valid.
    struct text line = {0};
    text_add(&line, "name=%s", p->name);
    if (p->key) {
        text_add(&line, " http.key=%s", p->key);
    }
    if (p->offload) {
        text_add(&line, " offload.mode=%s model.identity=%s", p->offload, p->identity);
    }
    if (p->settings) {
        text_add(&line, " %s", p->settings);
    }
    t->failed = t->failed || line.failed;
    if (!t->failed) {
        element(t, "    ", "cmdline", line.data);
    }
    free(line.data);
    text_add(t, "  </os>\n  <features><acpi/></features>\n  <cpu mode='%s'/>\n",
             p->kvm ? "host-passthrough" : "maximum");
    text_add(t, "  <on_poweroff>destroy</on_poweroff>\n  <on_reboot>restart</on_reboot>\n"
                "  <on_crash>destroy</on_crash>\n");
}

// The log is emptied before, by the tool: a system's libvirt would make a new one that is root's.
static void add_interface(struct text *t, const struct machine_plan *p)
{
    bool bridge = strncmp(p->network, "bridge=", 7) == 0;
    text_add(t, "    <interface type='%s'>\n      <source %s='", bridge ? "bridge" : "network",
             bridge ? "bridge" : "network");
    text_add_escaped(t, bridge ? p->network + 7 : p->network);
    text_add(t, "'/>\n      <model type='virtio'/>\n");
    if (p->vcpus > 1) {
        text_add(t, "      <driver queues='%u'/>\n", p->vcpus > 8 ? 8 : p->vcpus);
    }
    text_add(t, "      <rom enabled='no'/>\n      " ADDRESS(SLOT_NETWORK) "\n    </interface>\n");
}

static void add_devices(struct text *t, const struct machine_plan *p)
{
    text_add(t, "  <devices>\n    <emulator>/usr/bin/qemu-system-x86_64</emulator>\n"
                "    <controller type='usb' model='none'/>\n    <serial type='pty'>\n"
                "      <log file='");
    text_add_escaped(t, p->console_log);
    text_add(t, "' append='on'/>\n      <target port='0'/>\n    </serial>\n"
                "    <console type='pty'/>\n    <rng model='virtio'>\n"
                "      <backend model='random'>/dev/urandom</backend>\n"
                "      " ADDRESS(SLOT_RANDOM) "\n    </rng>\n    <memballoon model='none'/>\n");
    if (p->network) {
        add_interface(t, p);
    }
    if (p->offload) {
        text_add(t, "    <shmem name='tessera-");
        text_add_escaped(t, p->name);
        text_add(t, "'>\n      <model type='ivshmem-doorbell'/>\n      <server path='");
        text_add_escaped(t, p->offload_socket);
        text_add(t,
                 "'/>\n      <msi vectors='%u' ioeventfd='on'/>\n      " ADDRESS(
                     SLOT_CALLS) "\n    </shmem>\n",
                 p->offload_vectors);
    }
    text_add(t, "  </devices>\n");
}

static void argument(struct text *t, const char *option, const struct text *value)
{
    text_add(t, "    <qemu:arg value='%s'/>\n    <qemu:arg value='", option);
    t->failed = t->failed || value->failed;
    if (!t->failed) {
        text_add_escaped(t, value->data);
    }
    text_add(t, "'/>\n");
}

// In QEMU's option lists a comma in a value is doubled.
static void add_value(struct text *t, const char *value)
{
    for (; *value; value++) {
        text_add(t, *value == ',' ? ",," : "%c", *value);
    }
}

// What libvirt has no elements for (facts: virtio-pmem over a read-only file, forwarded ports).
static void add_command_line(struct text *t, const struct machine_plan *p)
{
    // Room in the address space, rounded up: plugged memory begins at a multiple.
    uint64_t slot_mb = p->mapped_bytes / 1048576 / 128 * 128 + 1152;
    struct text value = {0};
    text_add(t, "  <qemu:commandline>\n");
    text_add(&value, "slots=1,maxmem=%lluM", (unsigned long long)(p->memory_mb + slot_mb));
    argument(t, "-m", &value);
    value.bytes = 0;
    text_add(&value, "memory-backend-file,id=weights,mem-path=");
    add_value(&value, p->mapped);
    text_add(&value, ",size=%llu,share=on,readonly=on", (unsigned long long)p->mapped_bytes);
    argument(t, "-object", &value);
    value.bytes = 0;
    text_add(&value, "virtio-pmem-pci,id=pmem0,memdev=weights,bus=pcie.0,addr=" SLOT_WEIGHTS);
    argument(t, "-device", &value);
    value.bytes = 0;
    if (!p->network) {
        text_add(&value, "user,id=net0,hostfwd=tcp:%s:%u-:80", p->listen ? p->listen : "127.0.0.1",
                 p->port);
        argument(t, "-netdev", &value);
        value.bytes = 0;
        text_add(&value, "virtio-net-pci,netdev=net0,romfile=,bus=pcie.0,addr=" SLOT_NETWORK);
        argument(t, "-device", &value);
        value.bytes = 0;
    }
    text_add(&value, "pvpanic-pci,bus=pcie.0,addr=" SLOT_PANIC);
    argument(t, "-device", &value);
    text_add(t, "  </qemu:commandline>\n");
    free(value.data);
}

__attribute__((format(printf, 3, 4))) static int refuse(char *error, size_t error_bytes,
                                                        const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error, error_bytes, format, args);
    va_end(args);
    return -EINVAL;
}

static int check(const struct machine_plan *p, char *error, size_t error_bytes)
{
    const struct {
        const char *what, *value;
    } texts[] = {{"the image's path", p->image},
                 {"the model's path", p->model},
                 {"the path of the file to map", p->mapped},
                 {"the console's log file", p->console_log},
                 {"tensord's socket", p->offload ? p->offload_socket : ""},
                 {"tensord's folder", p->offload ? p->offload_folder : ""},
                 {"the network's name", p->network ? p->network : ""},
                 {"the fleet's name", p->fleet ? p->fleet : ""},
                 {"the service's name", p->service ? p->service : ""},
                 {"the version's name", p->version ? p->version : ""},
                 {"the settings", p->settings ? p->settings : ""}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (!texts[i].value || !text_is_clean(texts[i].value)) {
            return refuse(error, error_bytes,
                          "%s has characters that libvirt's XML cannot hold; rename it",
                          texts[i].what);
        }
    }
    if (!machine_name_is_valid(p->name)) {
        return refuse(
            error, error_bytes,
            "'%.60s' is no name for a guest: letters, digits, '.', '_' and '-', at most 48, "
            "a letter or digit first",
            p->name);
    }
    if (p->key && !machine_word_is_valid(p->key)) {
        return refuse(error, error_bytes,
                      "a key is of printable ASCII without blanks and double quotes");
    }
    if (!machine_word_is_valid(p->identity) || (p->offload && !machine_word_is_valid(p->offload))) {
        return refuse(error, error_bytes, "the model's identity or --offload is no single word");
    }
    return 0;
}

int machine_xml(const struct machine_plan *p, char **out, char *error, size_t error_bytes)
{
    int rc = check(p, error, error_bytes);
    if (rc) {
        return rc;
    }
    struct text t = {0};
    text_add(&t,
             "<domain type='%s' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>\n"
             "  <name>%s</name>\n",
             p->kvm ? "kvm" : "qemu", p->name);
    add_metadata(&t, p);
    add_machine(&t, p);
    add_devices(&t, p);
    if (p->runs_as_user) {
        text_add(&t,
                 "  <seclabel type='static' model='dac' relabel='no'>\n"
                 "    <label>+%u:+%u</label>\n  </seclabel>\n",
                 p->user_id, p->group_id);
    }
    add_command_line(&t, p);
    text_add(&t, "</domain>\n");
    if (t.failed) {
        free(t.data);
        snprintf(error, error_bytes, "no memory");
        return -ENOMEM;
    }
    *out = t.data;
    return 0;
}
