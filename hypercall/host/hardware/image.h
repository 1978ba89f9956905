// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Which PCI devices a guest's image drives: the table of its drivers (platform/pci_driver.h), which
// stands in the image as an ELF note with the owner "Tessera" and the type 1.
//
// Errors: 0 or a negative errno, with a message for people in `error`.
#ifndef TESSERA_HARDWARE_IMAGE_H
#define TESSERA_HARDWARE_IMAGE_H

#include "hypercall/host/hardware/hardware.h"

enum { HARDWARE_MOST_DRIVERS = 128, HARDWARE_CLASS_NETWORK = 2, HARDWARE_CLASS_DISPLAY = 3 };
struct hardware_driver {
    uint16_t vendor, first, last; // products from first to last
    uint8_t class_code, subclass;
    char name[25];
};
struct hardware_drivers {
    size_t count;
    struct hardware_driver drivers[HARDWARE_MOST_DRIVERS];
};

// Of an image APP.elf, or of APP.efi, which carries one. -ENODATA: it does not say (it is older
// than the note, or none of ours); -EINVAL: it is no such file or broken.
int hardware_image_drivers(const char *path, struct hardware_drivers *out, char *error,
                           size_t error_bytes);
// The same from memory.
int hardware_image_drivers_of(const uint8_t *image, size_t bytes, struct hardware_drivers *out);

// The driver that an image has for the device, NULL: none.
const struct hardware_driver *hardware_driver_for(const struct hardware_drivers *all,
                                                  const struct hardware_pci_device *d);
// Has the image any driver for devices of that class?
bool hardware_drives_class(const struct hardware_drivers *all, uint8_t class_code);

#endif
