// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Power off, reset, and the exit of test machines: each way is tried in turn, the surest last.
// Source: ACPI 6.4, 4.8.3.2 (PM1 control), 4.8.3.6 (reset), 4.8.3.7 (sleep control).
#include "platform/power.h"

#include "platform/acpi.h"
#include "platform/boot.h"
#include "platform/cpu.h"
#include "platform/paging.h"
#include "platform/power/button.h"
#include "platform/priv/init.h"
#include "platform/serial.h"

#include <stddef.h>

#define QEMU_PM1A_CONTROL 0x604
#define SLP_EN            (1u << 13)
#define SLEEP_ENABLE      (1u << 5)
#define RESET_CONTROL     0xcf9
#define KEYBOARD_COMMAND  0x64

// Mapped at boot, as mapping is not possible after a crash.
static volatile uint8_t *reset_memory, *sleep_memory;
static uint16_t debug_exit_port;

// Long enough for a hypervisor to act on a register write.
static void settle(void)
{
    for (int i = 0; i < 10000; i++) {
        (void)pf_in8(0x80);
    }
}

// A fault with no descriptor table for it resets the CPU.
static _Noreturn void triple_fault(void)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) none = {0, 0};
    __asm__ volatile("lidt %0; int3" ::"m"(none));
    for (;;) {
        __asm__ volatile("cli; hlt");
    }
}

void pf_power_off(void)
{
    const struct pf_acpi_info *acpi = pf_acpi();
    pf_irq_disable();
    pf_serial_flush();
    if (sleep_memory) {
        *sleep_memory = (uint8_t)(SLEEP_ENABLE | acpi->slp_typ_s5 << 2);
        settle();
    } else if (acpi->sleep_control_kind == 1) {
        pf_out8((uint16_t)acpi->sleep_control_address,
                (uint8_t)(SLEEP_ENABLE | acpi->slp_typ_s5 << 2));
        settle();
    }
    if (acpi->pm1a_control_port) {
        uint16_t keep = pf_in16((uint16_t)acpi->pm1a_control_port) & 0x1; // SCI_EN
        pf_out16((uint16_t)acpi->pm1a_control_port,
                 (uint16_t)(keep | SLP_EN | acpi->slp_typ_s5 << 10));
        settle();
    }
    pf_out16(QEMU_PM1A_CONTROL, SLP_EN);
    // The hypervisor acts from another thread, on a host that may be busy.
    for (int i = 0; i < 50; i++) {
        settle();
    }
    pf_printk("power: this machine has no way off; resetting it\n");
    pf_serial_flush();
    triple_fault();
}

void pf_reboot(void)
{
    const struct pf_acpi_info *acpi = pf_acpi();
    pf_irq_disable();
    pf_serial_flush();
    if (reset_memory) {
        *reset_memory = acpi->reset_value;
        settle();
    } else if (acpi->reset_kind == 1) {
        pf_out8((uint16_t)acpi->reset_address, acpi->reset_value);
        settle();
    }
    uint8_t keep = (uint8_t)(pf_in8(RESET_CONTROL) & ~6);
    pf_out8(RESET_CONTROL, keep | 2); // what kind of reset, then do it
    pf_out8(RESET_CONTROL, keep | 6);
    settle();
    pf_out8(KEYBOARD_COMMAND, 0xfe); // the controller's pulse on the reset line
    settle();
    triple_fault();
}

// isa-debug-exit: where the command line says, else where QEMU puts it by default or where many put
// it by hand. It reads as zero; a port with nothing behind it reads as all ones.
static uint16_t find_debug_exit(void)
{
    static const uint16_t usual[] = {0x501, 0xf4};
    if (debug_exit_port) {
        return debug_exit_port;
    }
    for (unsigned i = 0; i < sizeof(usual) / sizeof(usual[0]); i++) {
        if (pf_in8(usual[i]) == 0) {
            return usual[i];
        }
    }
    return 0;
}

void pf_exit(int code)
{
    pf_irq_disable();
    pf_serial_flush();
    uint16_t port = find_debug_exit();
    if (port) {
        pf_out32(port, (uint32_t)code);
        settle();
    }
    pf_power_off();
}

// "0xf4" or "f4" to a port number; 0 if it is none.
static uint16_t parse_port(const char *text)
{
    uint32_t value = 0;
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
        text += 2;
    }
    for (; *text; text++) {
        char c = *text;
        uint32_t digit = (uint32_t)(c >= '0' && c <= '9'   ? c - '0'
                                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                           : 16);
        value = value * 16 + digit;
        if (digit == 16 || value > 0xffff) {
            return 0;
        }
    }
    return (uint16_t)value;
}

void pf_power_init(void)
{
    const struct pf_acpi_info *acpi = pf_acpi();
    char text[16];
    if (pf_cmdline_get("debug-exit", text, sizeof(text)) > 0) {
        debug_exit_port = parse_port(text);
        if (debug_exit_port == 0) {
            pf_printk("power: debug-exit=%s is not a port (hexadecimal, like 0xf4)\n", text);
        }
    }
    if (acpi->reset_kind == 2) {
        reset_memory =
            pf_map_device(acpi->reset_address, 1, PF_PROT_READ | PF_PROT_WRITE, PF_CACHE_UC);
    }
    if (acpi->sleep_control_kind == 2) {
        sleep_memory = pf_map_device(acpi->sleep_control_address, 1, PF_PROT_READ | PF_PROT_WRITE,
                                     PF_CACHE_UC);
    }
    pf_button_init();
}
