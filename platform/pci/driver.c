// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The table of drivers in this image, and what is said of devices that none of them is for.
#include "platform/pci_driver.h"

#include "platform/pci/config.h"
#include "platform/power.h"

#define CLASS_BRIDGE 0x06

// images/kernel.ld
extern const struct pf_pci_driver __pci_drivers_start[], __pci_drivers_end[];

bool pf_pci_driver_matches(const struct pf_pci_driver *driver, const struct pf_pci_device *d)
{
    return driver->vendor == d->vendor && d->product >= driver->first && d->product <= driver->last;
}

struct pf_pci_device *pf_pci_driven(const struct pf_pci_driver *driver, size_t nth)
{
    for (size_t i = 0; i < pf_pci_count(); i++) {
        struct pf_pci_device *d = pf_pci_at(i);
        if (pf_pci_driver_matches(driver, d) && nth-- == 0) {
            return d;
        }
    }
    return NULL;
}

const char *pf_pci_driver_name(const struct pf_pci_device *d)
{
    for (const struct pf_pci_driver *e = __pci_drivers_start; e < __pci_drivers_end; e++) {
        if (pf_pci_driver_matches(e, d)) {
            return e->name;
        }
    }
    return NULL;
}

// The emulated machines come with these whether anybody wants them or not.
static bool is_chipset(const struct pf_pci_device *d)
{
    static const uint16_t products[] = {0x2922, 0x2930, 0x7010, 0x7113}; // AHCI, SMBus, IDE, power
    for (size_t i = 0; d->vendor == 0x8086 && i < sizeof(products) / sizeof(products[0]); i++) {
        if (products[i] == d->product) {
            return true;
        }
    }
    return d->class_code == CLASS_BRIDGE;
}

void pci_report_undriven(void)
{
    for (size_t i = 0; i < pf_pci_count(); i++) {
        const struct pf_pci_device *d = pf_pci_at(i);
        if (!is_chipset(d) && pf_pci_driver_name(d) == NULL) {
            pf_printk("pci: %02x:%02x.%x [%04x:%04x] class %02x%02x: no driver\n", d->bus,
                      d->device, d->function, d->vendor, d->product, d->class_code, d->subclass);
        }
    }
}
