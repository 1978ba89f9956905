// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera doctor`: the processor, KVM, memory, huge pages, NUMA nodes.
#include "hypercall/host/tool/doctor.h"

#include <string.h>

#define GB (1ull << 30)
#define MB (1ull << 20)

static const char *vendor_module(const struct doctor *d)
{
    return d->cpu.svm || strcmp(d->cpu.vendor, "AuthenticAMD") == 0 ? "kvm_amd" : "kvm_intel";
}

void check_processor(struct doctor *d)
{
    hardware_cpu(d->root, &d->cpu);
    const struct hardware_cpu *c = &d->cpu;
    const char *what = c->vmx ? "VT-x" : c->svm ? "AMD-V (SVM)" : NULL;
    if (!what) {
        doctor_say(d, DOCTOR_MISSING, "%s: neither VT-x (vmx) nor AMD-V (svm)",
                   c->model[0] ? c->model : "the processor");
        doctor_cost(d, "guests are emulated: integers run about as fast as on the host, scalar "
                       "floats 26 times, AVX2 142 times slower (measured, QEMU 7.2); with "
                       "--offload the host computes");
        doctor_advise(d, "%s",
                      c->hypervisor
                          ? "this machine is a virtual machine: its host must pass the processor "
                            "through (libvirt: <cpu mode='host-passthrough'/>, module parameter "
                            "nested=1)"
                          : "turn on virtualisation (VT-x, SVM) in the machine's firmware");
        return;
    }
    doctor_say(d, DOCTOR_OK, "%s: %s, %u processors%s", c->model, what, c->processors,
               c->hypervisor ? ", itself in a virtual machine" : "");
    const char *level = c->vmx ? "EPT" : "NPT", *name = c->vmx ? "ept" : "npt";
    bool has = c->vmx ? c->ept : c->npt;
    if (has && c->second_level_on != 0) {
        doctor_say(d, DOCTOR_OK, "%s (the guest's page tables walked by hardware)", level);
        return;
    }
    doctor_say(d, DOCTOR_MISSING, "%s is %s", level,
               has ? "switched off in KVM's module" : "not in this processor");
    doctor_cost(d, "KVM keeps shadow page tables: each change that a guest makes to its own leaves "
                   "it for the host (some 2,000 cycles)");
    if (has) {
        doctor_mend(d,
                    "echo 'options %s %s=1' | %stee /etc/modprobe.d/tessera-kvm.conf && "
                    "%smodprobe -r %s && %smodprobe %s",
                    vendor_module(d), name, doctor_sudo(), doctor_sudo(), vendor_module(d),
                    doctor_sudo(), vendor_module(d));
    }
}

void check_kvm(struct doctor *d)
{
    enum hardware_kvm k = hardware_kvm(d->root, &d->cpu);
    d->kvm = k == HARDWARE_KVM_READY;
    switch (k) {
    case HARDWARE_KVM_READY:
        doctor_say(d, DOCTOR_OK, "/dev/kvm opens");
        return;
    case HARDWARE_KVM_NO_CPU:
        doctor_say(d, DOCTOR_MISSING, "no /dev/kvm, and this processor could not serve it");
        doctor_cost(d, "guests run by emulation (TCG)");
        doctor_advise(d, "as of the processor, above");
        return;
    case HARDWARE_KVM_TRAP:
        doctor_say(d, DOCTOR_WARNING,
                   "/dev/kvm is there, but the processor shows neither vmx nor "
                   "svm: a trap");
        doctor_cost(d, "guests in it are interpreted at about 1 us an instruction and die on SSE. "
                       "`tessera` emulates (TCG) instead; do not force --accel kvm");
        if (d->cpu.hypervisor) {
            doctor_advise(d, "as above: the host of this virtual machine must pass the processor "
                             "through");
        }
        return;
    case HARDWARE_KVM_NO_MODULE:
        doctor_say(d, DOCTOR_MISSING, "the processor could, but there is no /dev/kvm");
        doctor_cost(d, "guests run by emulation (TCG), dozens of times slower");
        doctor_mend(d, "%smodprobe %s", doctor_sudo(), vendor_module(d));
        return;
    case HARDWARE_KVM_DENIED:
        doctor_say(d, DOCTOR_MISSING, "this user may not open /dev/kvm");
        doctor_cost(d, "guests run by emulation (TCG), dozens of times slower");
        doctor_mend(d, "%susermod -aG kvm %s    # then log in anew", doctor_sudo(), doctor_user());
        return;
    }
}

void check_nested(struct doctor *d)
{
    if (!d->kvm) {
        return;
    }
    if (d->cpu.nested == 1) {
        doctor_say(d, DOCTOR_OK, "guests may have VT-x or AMD-V themselves (--nested)");
        return;
    }
    doctor_say(d, DOCTOR_MISSING, "%s's parameter `nested` is off", vendor_module(d));
    doctor_cost(d, "--nested cannot be had; guests run all the same");
    doctor_mend(d,
                "echo 'options %s nested=1' | %stee /etc/modprobe.d/tessera-nested.conf && "
                "%smodprobe -r %s && %smodprobe %s",
                vendor_module(d), doctor_sudo(), doctor_sudo(), vendor_module(d), doctor_sudo(),
                vendor_module(d));
}

// ---- memory ------------------------------------------------------------------------------------

void check_memory(struct doctor *d)
{
    hardware_memory(d->root, &d->memory);
    const struct hardware_memory *m = &d->memory;
    double all = (double)m->total_bytes / (double)GB,
           left = (double)m->available_bytes / (double)GB;
    if (m->available_bytes >= 128 * MB) {
        doctor_say(d, DOCTOR_OK, "%.1f GB available of %.1f GB", left, all);
        return;
    }
    doctor_say(d, DOCTOR_MISSING, "%.2f GB available of %.1f GB", left, all);
    doctor_cost(d, "the smallest guest takes 64 MB and QEMU's own 20 MB");
    doctor_advise(d, "stop something: `tessera ls`, `tessera stop NAME`");
    doctor_blocks(d);
}

void check_huge_pages(struct doctor *d)
{
    const struct hardware_memory *m = &d->memory;
    if (m->pages_2m || m->pages_1g) {
        doctor_say(d, DOCTOR_OK, "%llu of 2 MB (%llu free), %llu of 1 GB (%llu free)",
                   (unsigned long long)m->pages_2m, (unsigned long long)m->pages_2m_free,
                   (unsigned long long)m->pages_1g, (unsigned long long)m->pages_1g_free);
        const char *mount = m->mount_2m[0] ? m->mount_2m : m->mount_1g;
        if (!mount[0]) {
            doctor_say(d, DOCTOR_MISSING, "hugetlbfs is not mounted");
            doctor_cost(d, "libvirt gives guests no huge pages (--hugepages fails)");
            doctor_mend(d,
                        "%smkdir -p /dev/hugepages && %smount -t hugetlbfs hugetlbfs "
                        "/dev/hugepages",
                        doctor_sudo(), doctor_sudo());
        }
        return;
    }
    if (!m->has_2m) {
        doctor_say(d, DOCTOR_MISSING, "this kernel has none");
        doctor_cost(d, "--hugepages cannot be had");
        return;
    }
    // A quarter of the memory is a start, not a rule.
    uint64_t pages = m->total_bytes / 4 / (2 * MB);
    doctor_say(d, DOCTOR_MISSING, "none are reserved (2 MB%s are possible)",
               m->has_1g && d->cpu.page_1g ? " and 1 GB" : "");
    doctor_cost(d, "only --hugepages needs them. Reading weights in order gains under 1 %% "
                   "(measured), work that jumps about more (15 to 50 %%, published)");
    doctor_advise(d,
                  "`%ssysctl vm.nr_hugepages=%llu` reserves %llu MB that nothing else can use "
                  "then",
                  doctor_sudo(), (unsigned long long)pages, (unsigned long long)pages * 2);
}

void check_numa(struct doctor *d)
{
    const struct hardware_memory *m = &d->memory;
    if (m->node_count < 2) {
        return; // nothing to place
    }
    for (unsigned i = 0; i < m->node_count; i++) {
        const struct hardware_node *n = &m->nodes[i];
        doctor_say(
            d, DOCTOR_OK,
            "node %d: processors %s, %.1f GB of %.1f GB free, huge pages free: %llu of 2 MB, "
            "%llu of 1 GB",
            n->id, n->cpus[0] ? n->cpus : "none", (double)n->free_bytes / (double)GB,
            (double)n->total_bytes / (double)GB, (unsigned long long)n->pages_2m_free,
            (unsigned long long)n->pages_1g_free);
    }
}
