// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Telling the host that the guest has crashed, and leaving. Sources: QEMU docs/specs/pvpanic
// (ISA port 0x505, PCI 1b36:0011 BAR 0), isa-debug-exit by pf_exit.
#include "platform/crash/crash.h"
#include "platform/pci_driver.h"
#include "platform/power.h"
#include "platform/priv/init.h"

#define PVPANIC_PORT        0x505
#define PVPANIC_PANICKED    1
#define HOST_ACTS_WITHIN_US 300000u

static volatile uint8_t *pvpanic_pci; // set once at boot
static const struct pf_pci_driver pvpanic_id PF_PCI_DRIVER = {.vendor = 0x1b36,
                                                              .first = 0x0011,
                                                              .last = 0x0011,
                                                              .class_code = 0x08,
                                                              .subclass = 0x80,
                                                              .name = "pvpanic"};

void pf_crash_devices_init(void)
{
    struct pf_pci_device *d = pf_pci_driven(&pvpanic_id, 0);
    if (d != NULL) {
        pf_pci_enable(d);
        pvpanic_pci = pf_pci_map_bar(d, 0);
    }
}

static bool raise_pvpanic(void)
{
    bool raised = false;
    if (pvpanic_pci != NULL && (*pvpanic_pci & PVPANIC_PANICKED) != 0) {
        *pvpanic_pci = PVPANIC_PANICKED;
        raised = true;
    }
    // The port reads the supported events; where there is no device, all ones.
    uint8_t events = pf_in8(PVPANIC_PORT);
    if (!raised && events != 0xff && (events & PVPANIC_PANICKED) != 0) {
        pf_out8(PVPANIC_PORT, PVPANIC_PANICKED);
        raised = true;
    }
    return raised;
}

_Noreturn void pf_crash_end(void)
{
    if (raise_pvpanic()) {
        // What the host does about it (stop, reset, exit with an error) must come before the
        // power goes off, or that would look like an ordinary end.
        pf_delay_us(HOST_ACTS_WITHIN_US);
    }
    pf_exit(1);
}
