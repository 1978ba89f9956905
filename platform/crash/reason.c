// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What an exception means, in words. Source: Intel SDM 3A 4.7 and 6.15.
#include "platform/boot/early.h"
#include "platform/cpu/cpu.h"
#include "platform/crash/crash.h"
#include "platform/paging.h"
#include "platform/power.h"

#define ERROR_PRESENT  (1u << 0)
#define ERROR_WRITE    (1u << 1)
#define ERROR_RESERVED (1u << 3)
#define ERROR_FETCH    (1u << 4)

static int (*describe)(uint64_t address); // set once

void pf_fault_describe(int (*function)(uint64_t address))
{
    describe = function;
}

static bool within(uint64_t address, const char *start, const char *end)
{
    return address >= (uint64_t)start && address < (uint64_t)end;
}

// Which kind of memory an address belongs to.
static const char *kind_of(uint64_t address)
{
    if (within(address, __text_start, __text_end)) {
        return "code";
    }
    if (within(address, __ehdr_start, __text_start) ||
        within(address, __rodata_start, __rodata_end)) {
        return "constant data";
    }
    if (within(address, __data_start, __image_end)) {
        return "data of the image";
    }
    if (address >= PF_VMAP_BASE && address < PF_VMAP_END) {
        return "a mapping of the library OS";
    }
    if (address >= PF_IOMAP_BASE && address < PF_IOMAP_END) {
        return "a device window";
    }
    if (address >= PF_DIRECT_BASE && address < PF_DIRECT_BASE + (1ull << 46)) {
        uint64_t phys = address - PF_DIRECT_BASE;
        const struct pf_boot_info *info = &pf_boot_record;
        return phys >= info->image_phys && phys - info->image_phys < info->image_bytes
                   ? "the image's own memory, seen through the direct map"
                   : "the direct map of memory";
    }
    return NULL;
}

static void print_page_fault(uint64_t error, uint64_t address)
{
    const char *access = (error & ERROR_FETCH) != 0   ? "execute"
                         : (error & ERROR_WRITE) != 0 ? "write"
                                                      : "read";
    const char *kind = kind_of(address);
    uint32_t cpu;

    pf_printk("page fault: %s of address 0x%lx", access, address);
    if (address < PF_PAGE) {
        pf_printk(" (null pointer)");
    } else if ((error & ERROR_RESERVED) != 0) {
        pf_printk(" (damaged page table)");
    } else if ((error & ERROR_PRESENT) == 0) {
        const char *guard = pf_stack_guard_name(address, &cpu);
        if (guard != NULL) {
            pf_printk(" (stack overflow: guard page of the %s of CPU %u)", guard, cpu);
        } else {
            pf_printk(" (not mapped)");
        }
    } else if ((error & ERROR_FETCH) != 0) {
        pf_printk(" (memory that may not be executed)");
    } else if ((error & ERROR_WRITE) != 0) {
        pf_printk(" (memory that may not be written)");
    } else {
        pf_printk(" (access forbidden, error code 0x%lx)", error);
    }
    if (kind != NULL) {
        pf_printk(" in %s", kind);
    }
}

void pf_print_reason(const struct pf_trap_frame *frame, uint64_t cr2)
{
    switch (frame->vector) {
    case 14:
        print_page_fault(frame->error, cr2);
        pf_printk("\n");
        if (describe != NULL) {
            (void)describe(cr2);
        }
        return;
    case 8:
        pf_printk("double fault: a fault while entering a fault handler");
        break;
    case 12:
    case 13:
        pf_printk("%s, error code 0x%lx%s", pf_exception_name(frame->vector), frame->error,
                  frame->error == 0 ? " (a non-canonical address, a misaligned SSE access, or a "
                                      "privileged register refused)"
                                    : " (a bad segment selector)");
        break;
    default:
        pf_printk("%s (vector %lu, error code 0x%lx)", pf_exception_name(frame->vector),
                  frame->vector, frame->error);
    }
    pf_printk("\n");
}
