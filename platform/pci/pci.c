// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The machine's PCI devices: how configuration space is reached (ECAM, else ports 0xcf8/0xcfc),
// where BARs may go, and the public functions. Sources: PCI Express Base 7.2.2 (ECAM); PCI Local
// Bus 3.0, 3.2.2.3.2 (ports).
#include "platform/pci/config.h"

#include "platform/acpi.h"
#include "platform/boot.h"
#include "platform/cpu.h"
#include "platform/paging.h"
#include "platform/power.h"
#include "platform/priv/init.h"
#include "platform/priv/spin.h"

#define PORT_ADDRESS 0xcf8
#define PORT_DATA    0xcfc
#define ECAM_BUS     (1ull << 20)
#define GB           (1ull << 30)
#define GB4          (4 * GB)

// Filled at boot; BAR maps and MSI-X state later, by the driver that owns the device.
static struct pci_tree tree;
static volatile uint8_t *ecam[PCI_MAX_BUSES]; // by bus, mapped on first use
static struct pf_spin port_lock;              // address and data port belong together

static volatile uint32_t *ecam_at(uint16_t bdf, uint16_t offset)
{
    const struct pf_acpi_info *acpi = pf_acpi();
    unsigned bus = bdf >> 8;
    if (bus >= PCI_MAX_BUSES || bus < acpi->ecam_bus_start || bus > acpi->ecam_bus_end) {
        return NULL;
    }
    if (ecam[bus] == NULL) {
        // MCFG's base is that of bus 0, wherever the range starts.
        ecam[bus] = pf_map_device(acpi->ecam_phys + bus * ECAM_BUS, ECAM_BUS,
                                  PF_PROT_READ | PF_PROT_WRITE, PF_CACHE_UC);
    }
    return ecam[bus] ? (volatile uint32_t *)(ecam[bus] + ((bdf & 0xffu) << 12) + (offset & 0xffcu))
                     : NULL;
}

static uint32_t ecam_read(void *ctx, uint16_t bdf, uint16_t offset)
{
    (void)ctx;
    volatile uint32_t *at = ecam_at(bdf, offset);
    return at ? *at : UINT32_MAX;
}

static void ecam_write(void *ctx, uint16_t bdf, uint16_t offset, uint32_t value)
{
    (void)ctx;
    volatile uint32_t *at = ecam_at(bdf, offset);
    if (at) {
        *at = value;
    }
}

static uint32_t port_read(void *ctx, uint16_t bdf, uint16_t offset)
{
    (void)ctx;
    uint64_t flags = pf_spin_lock(&port_lock);
    pf_out32(PORT_ADDRESS, 0x80000000u | (uint32_t)bdf << 8 | (offset & 0xfcu));
    uint32_t value = pf_in32(PORT_DATA);
    pf_spin_unlock(&port_lock, flags);
    return value;
}

static void port_write(void *ctx, uint16_t bdf, uint16_t offset, uint32_t value)
{
    (void)ctx;
    uint64_t flags = pf_spin_lock(&port_lock);
    pf_out32(PORT_ADDRESS, 0x80000000u | (uint32_t)bdf << 8 | (offset & 0xfcu));
    pf_out32(PORT_DATA, value);
    pf_spin_unlock(&port_lock, flags);
}

static bool ports_answer(void)
{
    uint32_t old = pf_in32(PORT_ADDRESS);
    pf_out32(PORT_ADDRESS, 0x80000000u);
    bool present = pf_in32(PORT_ADDRESS) == 0x80000000u;
    pf_out32(PORT_ADDRESS, old);
    return present;
}

// Below 4 GB BARs go above RAM and the ECAM. q35 and pc have the hole's top free up to the I/O
// APIC (0xe0000000..0xfe000000); microvm forwards 0xc0000000..0xe0000000 only, with the ECAM
// right above. High BARs: microvm forwards the top quarter of the physical address space. q35 and
// pc forward all; there 256 GB is above RAM and hot-plugged memory, and 512 GB below what hosts
// with 39 address bits can map, though their guests may be told of 40.
static struct pci_windows windows(void)
{
    const struct pf_acpi_info *acpi = pf_acpi();
    const struct pf_boot_info *boot = pf_boot_info();
    struct pci_windows w = {{0xe0000000ull, 0xfe000000ull}, {0, 0}};
    uint64_t ram_end = 0;
    uint64_t ecam_end =
        acpi->ecam_phys + ((uint64_t)acpi->ecam_bus_end - acpi->ecam_bus_start + 1) * ECAM_BUS;
    if (acpi->ecam_phys >= 0xe0000000ull && acpi->ecam_phys < GB4) {
        w.low = (struct pci_window){0xc0000000ull, acpi->ecam_phys};
    } else if (acpi->ecam_phys && ecam_end > w.low.base && ecam_end <= w.low.end) {
        w.low.base = ecam_end;
    }
    for (uint32_t i = 0; i < boot->range_count; i++) {
        uint64_t end = boot->ranges[i].base + boot->ranges[i].length;
        if (boot->ranges[i].type == PF_RANGE_RAM && end > ram_end) {
            ram_end = end;
        }
        if (boot->ranges[i].type == PF_RANGE_RAM && end > w.low.base && end < w.low.end) {
            w.low.base = end;
        }
    }
    uint32_t regs[4];
    pf_cpuid(0x80000000u, 0, regs);
    if (regs[0] >= 0x80000008u) {
        pf_cpuid(0x80000008u, 0, regs);
        uint32_t bits = regs[0] & 0xff;
        if (bits > 46) {
            bits = 46; // what four-level paging reaches comfortably
        }
        if (acpi->ged_phys == 0 && bits >= 39 && ram_end <= 128 * GB) {
            w.high = (struct pci_window){256 * GB, 512 * GB};
        } else if (bits >= 36) {
            w.high.end = 1ull << bits;
            w.high.base = w.high.end / 4 * 3;
        }
    }
    return w;
}

void pf_pci_init(void)
{
    const struct pf_acpi_info *acpi = pf_acpi();
    if (acpi->ecam_phys) {
        tree.config = (struct pci_config){ecam_read, ecam_write, NULL, acpi->ecam_bus_start,
                                          acpi->ecam_bus_end};
        if (tree.config.last_bus >= PCI_MAX_BUSES) {
            tree.config.last_bus = PCI_MAX_BUSES - 1;
        }
    } else if (ports_answer()) {
        tree.config = (struct pci_config){port_read, port_write, NULL, 0, PCI_MAX_BUSES - 1};
    } else {
        return; // microvm without pcie=on
    }
    pci_enumerate(&tree);
    struct pci_windows w = windows();
    pci_assign(&tree, &w);
    if (tree.unassigned) {
        pf_printk("pci: no address space for %u BAR(s); lspci shows which\n", tree.unassigned);
    }
    if (tree.dropped) {
        pf_printk("pci: %u device(s) beyond the first %u ignored\n", tree.dropped, PCI_MAX_DEVICES);
    }
    pci_report_undriven();
}

size_t pf_pci_count(void)
{
    return tree.count;
}

struct pf_pci_device *pf_pci_at(size_t i)
{
    return i < tree.count ? &tree.device[i] : NULL;
}

struct pf_pci_device *pf_pci_find(uint16_t vendor, uint16_t product, size_t nth)
{
    for (size_t i = 0; i < tree.count; i++) {
        if (tree.device[i].vendor == vendor && tree.device[i].product == product && nth-- == 0) {
            return &tree.device[i];
        }
    }
    return NULL;
}

void pf_pci_size(struct pf_pci_device *d)
{
    pci_size_bars(&tree.config, d);
}

uint8_t pf_pci_read8(const struct pf_pci_device *d, uint16_t offset)
{
    return (uint8_t)pci_read(&tree.config, pci_bdf(d), offset, 1);
}
uint16_t pf_pci_read16(const struct pf_pci_device *d, uint16_t offset)
{
    return (uint16_t)pci_read(&tree.config, pci_bdf(d), offset, 2);
}
uint32_t pf_pci_read32(const struct pf_pci_device *d, uint16_t offset)
{
    return pci_read(&tree.config, pci_bdf(d), offset, 4);
}
void pf_pci_write8(const struct pf_pci_device *d, uint16_t offset, uint8_t v)
{
    pci_write(&tree.config, pci_bdf(d), offset, 1, v);
}
void pf_pci_write16(const struct pf_pci_device *d, uint16_t offset, uint16_t v)
{
    pci_write(&tree.config, pci_bdf(d), offset, 2, v);
}
void pf_pci_write32(const struct pf_pci_device *d, uint16_t offset, uint32_t v)
{
    pci_write(&tree.config, pci_bdf(d), offset, 4, v);
}

uint16_t pf_pci_capability(const struct pf_pci_device *d, uint8_t id, uint16_t from)
{
    return pci_find_capability(&tree.config, pci_bdf(d), id, from);
}

void pf_pci_enable(struct pf_pci_device *d)
{
    uint16_t command = pf_pci_read16(d, PCI_COMMAND);
    pf_pci_write16(d, PCI_COMMAND, (uint16_t)(command | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER));
}

volatile void *pf_pci_map_bar(struct pf_pci_device *d, unsigned bar)
{
    pf_pci_size(d);
    if (bar >= 6 || d->bar[bar].is_io || d->bar[bar].bytes == 0 || d->bar[bar].base == 0) {
        return NULL;
    }
    if (d->bar_map[bar] == NULL) {
        d->bar_map[bar] = pf_map_device(d->bar[bar].base, d->bar[bar].bytes,
                                        PF_PROT_READ | PF_PROT_WRITE, PF_CACHE_UC);
    }
    return d->bar_map[bar];
}
