// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What `--device` asks for, held to what the machine has: the devices that a guest gets by VFIO, as
// <hostdev mode='subsystem' type='pci' managed='yes'>.
//
//   pci:ADDRESS   that function             nic:ADDRESS   the same, and it is a network device
//   gpu:ADDRESS   that display device, with the other functions of its card (sound, USB)
//   gpu:auto      the one with the best score (score.h), the first address of equals
//
// ADDRESS is 0000:65:00.0 or 65:00.0. Several stand in one text with commas, or in several texts.
//
// Errors: 0 or a negative errno, with a message for people in `error`.
#ifndef TESSERA_HARDWARE_DEVICES_H
#define TESSERA_HARDWARE_DEVICES_H

#include "hypercall/host/hardware/image.h"
#include "hypercall/host/hardware/score.h"

enum { HARDWARE_MOST_WISHES = 16, HARDWARE_MOST_CHOSEN = 32, HARDWARE_MOST_TAKEN = 128 };

enum hardware_wish_kind { HARDWARE_WISH_PCI, HARDWARE_WISH_NIC, HARDWARE_WISH_GPU };
struct hardware_wish {
    enum hardware_wish_kind kind;
    char address[16]; // "": auto
};
struct hardware_wishes {
    size_t count;
    struct hardware_wish wishes[HARDWARE_MOST_WISHES];
};
// Adds what the text asks for. -EINVAL.
int hardware_wishes_add(struct hardware_wishes *all, const char *text, char *error,
                        size_t error_bytes);

// Devices of other guests.
struct hardware_taken {
    size_t count;
    struct {
        char address[16], guest[64];
    } devices[HARDWARE_MOST_TAKEN];
};
// Adds the PCI devices of a domain's XML, as libvirt writes it. -ENOSPC: too many.
int hardware_taken_add(struct hardware_taken *taken, const char *guest, const char *xml);

struct hardware_chosen {
    size_t count;
    struct hardware_pci_device devices[HARDWARE_MOST_CHOSEN]; // gpu:auto last
    char notes[1024];                                         // lines for the user, "": none
};
// image: what the guest's image drives. A GPU that it does not drive is refused with a pointer to
// --offload (-ENOTSUP); of other devices `notes` says so. -ENODEV: no such device; -EBUSY: another
// guest, the host or another part of its IOMMU group has it; -ENXIO: no IOMMU.
int hardware_devices_choose(const char *root, const struct hardware_wishes *wishes,
                            const struct hardware_drivers *image,
                            const struct hardware_taken *taken, struct hardware_chosen *out,
                            char *error, size_t error_bytes);

// How much of a GPU is free, as far as the system says: its driver's files (amdgpu), NVML for
// NVIDIA's on this machine. One that no driver of the host holds is idle.
void hardware_gpu_load(const char *root, const struct hardware_pci_device *d,
                       struct hardware_load *out);

// Who else is in the group and held by a driver of the host: a list for a message. False: nobody.
bool hardware_group_is_held(const struct hardware_pci *pci, const struct hardware_pci_device *d,
                            const struct hardware_chosen *with, char *who, size_t who_bytes);

#endif
