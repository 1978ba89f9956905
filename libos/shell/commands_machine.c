// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Commands about the machine: sysinfo, lspci, uptime, uname, clear.
#include "libos/app.h"
#include "libos/manifest.h"
#include "libos/mem.h"
#include "libos/sched.h"
#include "libos/shell/internal.h"
#include "libos/virtio.h"

#include "platform/acpi.h"
#include "platform/boot.h"
#include "platform/cpu.h"
#include "platform/pci_driver.h"
#include "platform/smp.h"
#include "platform/time.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

size_t virtio_count(void) __attribute__((weak));
int virtio_at(size_t i, struct virtio_info *out) __attribute__((weak));

static void format_uptime(char *buf, size_t size)
{
    unsigned long long s = pf_now_ns() / 1000000000u;
    if (s >= 86400) {
        snprintf(buf, size, "%llu d %02llu:%02llu:%02llu", s / 86400, s / 3600 % 24, s / 60 % 60,
                 s % 60);
    } else {
        snprintf(buf, size, "%llu:%02llu:%02llu", s / 3600, s / 60 % 60, s % 60);
    }
}

static int run_uptime(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    char up[32], date[32] = "";
    time_t now = (time_t)(pf_wall_ns() / 1000000000u);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S UTC", &tm);
    format_uptime(up, sizeof(up));
    return shell_print("up %s; it is %s\n", up, date);
}

static int run_uname(int argc, char **argv)
{
    const char *name = manifest()->name[0] ? manifest()->name : app_name;
    if (argc > 1 && strcmp(argv[1], "-a") == 0) {
        return shell_print("Tessera %s %s %s x86_64\n", name, app_name, app_version);
    }
    return shell_print("Tessera\n");
}

static int run_clear(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return shell_print("\033[H\033[2J");
}

static void features(char *out, size_t size)
{
    const struct pf_cpu_features *f = pf_cpu_features();
    const struct {
        bool has;
        const char *name;
    } all[] = {{f->avx, "avx"},
               {f->avx2, "avx2"},
               {f->fma, "fma"},
               {f->f16c, "f16c"},
               {f->avx512, "avx512"},
               {f->avx512_vnni, "avx512_vnni"},
               {f->avx_vnni, "avx_vnni"},
               {f->avx512_bf16, "avx512_bf16"},
               {f->rdrand, "rdrand"},
               {f->rdseed, "rdseed"},
               {f->nx, "nx"},
               {f->page1g, "1gb-pages"},
               {f->smep, "smep"},
               {f->smap, "smap"},
               {f->umip, "umip"},
               {f->x2apic, "x2apic"},
               {f->tsc_deadline, "tsc-deadline"},
               {f->invariant_tsc, "invariant-tsc"}};
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && used < size; i++) {
        if (all[i].has) {
            used += (size_t)snprintf(out + used, size - used, "%s%s", used ? " " : "", all[i].name);
        }
    }
}

static int run_sysinfo(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    const struct pf_cpu_features *f = pf_cpu_features();
    const struct pf_acpi_info *acpi = pf_acpi();
    const struct pf_boot_info *boot = pf_boot_info();
    struct mem_stats s;
    char text[256], a[16], b[16], up[32];
    mem_get_stats(&s);
    format_uptime(up, sizeof(up));
    const char *brand = f->brand + strspn(f->brand, " ");
    shell_print("image       %s %s, booted by %s, at %#llx\n", app_name, app_version,
                boot->source == PF_BOOT_UEFI ? "UEFI" : "PVH",
                (unsigned long long)boot->image_virt);
    shell_print("uptime      %s\n", up);
    shell_print("hypervisor  %s\n", f->hypervisor_vendor[0] ? f->hypervisor_vendor
                                    : f->hypervisor         ? "unnamed"
                                                            : "none");
    shell_print("processor   %s\n", brand[0] ? brand : f->vendor);
    features(text, sizeof(text));
    shell_print("features    %s\n", text);
    shell_print("CPUs        %u online of %u\n", pf_cpu_online(), pf_cpu_present());
    for (uint32_t i = 0; i < pf_cpu_present(); i++) {
        const struct pf_cpu *cpu = pf_cpu(i);
        if (pf_cpu_is_online(i) && shell_print("  CPU %-2u    APIC id %u, %llu interrupts\n", i,
                                               cpu->apic_id, (unsigned long long)cpu->irq_count)) {
            return -EINTR;
        }
    }
    shell_print("memory      %s, free %s\n", shell_bytes(a, sizeof(a), s.ram_bytes),
                shell_bytes(b, sizeof(b), s.free_bytes));
    shell_print("clock       %s, TSC %llu.%03llu MHz\n", pf_clock_name(),
                (unsigned long long)(pf_tsc_hz() / 1000000),
                (unsigned long long)(pf_tsc_hz() / 1000 % 1000));
    shell_print("ACPI        %s", acpi->present ? "" : "none");
    for (uint32_t i = 0; i < acpi->table_count; i++) {
        shell_print("%s%s", i ? " " : "", acpi->table_signature[i]);
    }
    shell_print("\nboot files  ");
    for (size_t i = 0; i < boot_file_count(); i++) {
        const struct boot_file *file = boot_file_at(i);
        shell_print("%s%s (%s)", i ? ", " : "", file->name, shell_bytes(a, sizeof(a), file->bytes));
    }
    // The console may be logged: the API key stays out of it.
    const char *key = strstr(boot->cmdline, "http.key=");
    int shown = key ? (int)(key + strlen("http.key=") - boot->cmdline) : (int)sizeof(boot->cmdline);
    return shell_print("%s\ncommand line \"%.*s%s%s\"\n", boot_file_count() ? "" : "none", shown,
                       boot->cmdline, key ? "***" : "", key ? key + strcspn(key, " ") : "");
}

// Names of what one meets in a virtual machine. Source: pci.ids (numbers are facts), virtio 1.2
// section 5.
static const char *device_name(const struct pf_pci_device *d)
{
    static const struct {
        uint16_t vendor, product;
        const char *name;
    } names[] = {{0x1af4, 0x1000, "virtio network (transitional)"},
                 {0x1af4, 0x1001, "virtio block (transitional)"},
                 {0x1af4, 0x1002, "virtio balloon (transitional)"},
                 {0x1af4, 0x1005, "virtio entropy (transitional)"},
                 {0x1af4, 0x1041, "virtio network"},
                 {0x1af4, 0x1042, "virtio block"},
                 {0x1af4, 0x1043, "virtio console"},
                 {0x1af4, 0x1044, "virtio entropy"},
                 {0x1af4, 0x1045, "virtio balloon"},
                 {0x1af4, 0x1053, "virtio socket"},
                 {0x1af4, 0x105a, "virtio file system"},
                 {0x1af4, 0x105b, "virtio persistent memory"},
                 {0x1af4, 0x1110, "shared memory (ivshmem)"},
                 {0x1b36, 0x0008, "PCI Express host bridge"},
                 {0x1b36, 0x000c, "PCI Express root port"},
                 {0x1b36, 0x0011, "panic notifier (pvpanic)"},
                 {0x8086, 0x1237, "440FX host bridge"},
                 {0x8086, 0x29c0, "Q35 host bridge"},
                 {0x8086, 0x2918, "ICH9 LPC bridge"},
                 {0x8086, 0x2922, "ICH9 AHCI"},
                 {0x8086, 0x2930, "ICH9 SMBus"},
                 {0x8086, 0x7000, "PIIX3 ISA bridge"},
                 {0x8086, 0x7010, "PIIX3 IDE"},
                 {0x8086, 0x7113, "PIIX4 power management"}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (names[i].vendor == d->vendor && names[i].product == d->product) {
            return names[i].name;
        }
    }
    static const char *const classes[] = {
        "device",        "mass storage", "network", "display", "multimedia", "memory",    "bridge",
        "communication", "system",       "input",   "docking", "processor",  "serial bus"};
    return d->class_code < sizeof(classes) / sizeof(classes[0]) ? classes[d->class_code] : "device";
}

static void print_bars(struct pf_pci_device *d)
{
    char a[16];
    pf_pci_size(d);
    for (int i = 0; i < 6; i++) {
        if (d->bar[i].bytes == 0) {
            continue;
        }
        shell_print("        BAR %d %s %s at %#llx%s\n", i,
                    shell_bytes(a, sizeof(a), d->bar[i].bytes),
                    d->bar[i].is_io   ? "I/O"
                    : d->bar[i].is_64 ? "memory, 64 bits"
                                      : "memory",
                    (unsigned long long)d->bar[i].base, d->bar[i].base ? "" : " (not assigned)");
    }
    if (d->msix_cap) {
        shell_print("        MSI-X, %u vectors\n", d->msix_count);
    }
}

static int run_lspci(int argc, char **argv)
{
    bool verbose = argc > 1 && strcmp(argv[1], "-v") == 0;
    if (argc > 1 && !verbose) {
        return -EINVAL;
    }
    for (size_t i = 0; i < pf_pci_count(); i++) {
        struct pf_pci_device *d = pf_pci_at(i);
        const char *driver = pf_pci_driver_name(d);
        // Bridges need none: the platform has walked through them.
        bool silent = d->class_code == 6 && !driver;
        if (shell_print("%02x:%02x.%x [%04x:%04x] %s%s%s\n", d->bus, d->device, d->function,
                        d->vendor, d->product, device_name(d), silent ? "" : ": ",
                        silent   ? ""
                        : driver ? driver
                                 : "no driver")) {
            return -EINTR;
        }
        if (verbose) {
            print_bars(d);
        }
    }
    if (pf_pci_count() == 0) {
        shell_print("no PCI on this machine\n");
    }
    for (size_t i = 0; virtio_count && virtio_at && i < virtio_count(); i++) {
        struct virtio_info v;
        if (virtio_at(i, &v) == 0) {
            shell_print("%s: %s, %s ring, %u vectors, %llu interrupts%s%s\n", v.name, v.location,
                        v.packed ? "packed" : "split", v.vectors, (unsigned long long)v.interrupts,
                        v.broken ? ", OUT OF SERVICE: " : "", v.broken ? v.broken : "");
        }
    }
    return 0;
}

static const char *const lspci_arguments[] = {"-v", NULL};
static const char *const uname_arguments[] = {"-a", NULL};
static struct shell_command commands[] = {
    {.name = "sysinfo", .help = "the machine and this image", .run = run_sysinfo},
    {.name = "lspci",
     .usage = "[-v]",
     .help = "PCI and virtio devices; -v with BARs",
     .run = run_lspci,
     .arguments = lspci_arguments},
    {.name = "uptime", .help = "time since start, and the date", .run = run_uptime},
    {.name = "uname",
     .usage = "[-a]",
     .help = "name of the system",
     .run = run_uname,
     .arguments = uname_arguments},
    {.name = "clear", .help = "clear the screen", .run = run_clear},
};

void shell_register_machine(void)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        shell_register(&commands[i]);
    }
}
