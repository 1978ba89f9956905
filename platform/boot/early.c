// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The final page tables and the relocation of the image (ELF gABI, R_X86_64_RELATIVE). Runs
// unrelocated: see early.h for what that forbids.
#include "platform/boot/early.h"
#include "platform/boot/cmdline.h"
#include "platform/boot/ranges.h"
#include "platform/cpu.h"
#include "platform/crash/crash.h"
#include "platform/paging.h"
#include "platform/paging/paging.h"
#include "platform/lib/mem.h"

#define FOUR_GB      (1ull << 32)
#define R_RELATIVE   8u
#define CR4_LA57     (1ull << 12)
#define NX_AND_WRITE (PTE_PRESENT | PTE_WRITE | PTE_NX)

struct pf_boot_info pf_boot_record;
struct pf_frames pf_boot_frames;
uint64_t pf_early_tables[6][512] __attribute__((aligned(4096)));
uint64_t pf_final_cr3;
char pf_boot_stack[PF_PAGE + PF_BOOT_STACK_BYTES]
    __attribute__((aligned(4096), section(".bss.boot_stack")));
__asm__(".globl pf_boot_stack_top\n.hidden pf_boot_stack_top\n"
        ".set pf_boot_stack_top, pf_boot_stack + 4096 + 65536");

extern const bool pf_attack_image; // attack.c, or the image

bool pf_protection_off(const char *name)
{
    char item[16] = "-";
    size_t i = 1;
    for (; *name != '\0' && i < sizeof item - 1; i++) {
        item[i] = *name++;
    }
    item[i] = '\0';
    return pf_attack_image && pf_cmdline_listed(pf_boot_record.cmdline, "protect", item);
}

_Noreturn void pf_early_fail(const char *why)
{
    size_t length = 0;
    while (why[length] != '\0') {
        length++;
    }
    static const char prefix[] = "tessera: cannot start: ";
    pf_crash_write(prefix, sizeof prefix - 1);
    pf_crash_write(why, length);
    pf_crash_write("\n", 1);
    uint8_t events = pf_in8(0x505); // ISA pvpanic, all ones where there is none
    if (events != 0xff && (events & 1) != 0) {
        pf_out8(0x505, 1);
    }
    // No table has been read yet: where QEMU's q35 and pc have their power control.
    pf_out16(0x604, 0x2000);
    for (;;) {
        __asm__ volatile("cli; hlt");
    }
}

static uint64_t take_early(struct pf_table *t)
{
    uint64_t frame = pf_frames_take(&pf_boot_frames);
    if (frame != 0) {
        memset((void *)(frame + t->offset), 0, PF_PAGE);
    }
    return frame;
}

static void map(uint64_t virt, uint64_t phys, uint64_t bytes, uint64_t flags)
{
    if (bytes != 0 && pf_table_map(&pf_kernel_table, virt, phys, bytes, flags) != 0) {
        pf_early_fail("no memory for page tables, or the memory map overlaps itself");
    }
}

static void map_segment(uint64_t base, const char *start, const char *end, uint64_t flags)
{
    uint64_t phys = (uint64_t)start & ~(PF_PAGE - 1);
    uint64_t stop = ((uint64_t)end + PF_PAGE - 1) & ~(PF_PAGE - 1);
    map(base + (phys - (uint64_t)__ehdr_start), phys, stop - phys, flags);
}

static void map_image(uint64_t base)
{
    uint64_t text = PTE_PRESENT | (pf_protection_off("wx") ? PTE_WRITE : 0);
    uint64_t data = PTE_PRESENT | PTE_WRITE | (pf_protection_off("nx") ? 0 : PTE_NX);

    map_segment(base, __ehdr_start, __text_start, PTE_PRESENT | PTE_NX);
    map_segment(base, __text_start, __text_end, text);
    map_segment(base, __rodata_start, __rodata_end, PTE_PRESENT | PTE_NX);
    // The boot stack's lowest page stays out: its guard.
    char *guard = pf_boot_stack;
    map_segment(base, __data_start, guard, data);
    if (pf_protection_off("guard")) {
        map_segment(base, guard, guard + PF_PAGE, data);
    }
    map_segment(base, guard + PF_PAGE, __image_end, data);
}

static void map_memory(const struct pf_boot_info *info)
{
    uint64_t nx = pf_protection_off("nx") ? 0 : PTE_NX;
    for (uint32_t i = 0; i < info->range_count; i++) {
        const struct pf_range *r = &info->ranges[i];
        bool ram = r->type == PF_RANGE_RAM;
        if (!ram && r->type != PF_RANGE_ACPI) {
            continue;
        }
        uint64_t low = (r->base + PF_PAGE - 1) & ~(PF_PAGE - 1);
        uint64_t high = (r->base + r->length) & ~(PF_PAGE - 1);
        if (low < high) {
            map(PF_DIRECT_BASE + low, low, high - low, PTE_PRESENT | nx | (ram ? PTE_WRITE : 0));
        }
    }
    // No writable alias of the image.
    uint64_t first = info->image_phys;
    uint64_t bytes = (info->image_bytes + PF_PAGE - 1) & ~(PF_PAGE - 1);
    if (!pf_protection_off("wx") &&
        pf_table_protect(&pf_kernel_table, PF_DIRECT_BASE + first, bytes, PTE_PRESENT | PTE_NX)) {
        pf_early_fail("no memory for page tables");
    }
    if (pf_protection_off("null")) {
        uint64_t frame = take_early(&pf_kernel_table);
        map(0, frame, PF_PAGE, NX_AND_WRITE);
    }
}

static void relocate(uint64_t base)
{
    struct rela {
        uint64_t offset, info;
        int64_t addend;
    };
    for (const char *p = __rela_start; p < __rela_end; p += sizeof(struct rela)) {
        const struct rela *r = (const struct rela *)p;
        if ((uint32_t)r->info != R_RELATIVE) {
            pf_early_fail("the image has a relocation that is not R_X86_64_RELATIVE");
        }
        *(uint64_t *)(__ehdr_start + r->offset) = base + (uint64_t)r->addend;
    }
}

static bool in_ram(const struct pf_boot_info *info, uint64_t start, uint64_t end)
{
    bool inside = false;
    for (uint32_t i = 0; i < info->range_count && start < end; i++) {
        const struct pf_range *r = &info->ranges[i];
        inside |= r->type == PF_RANGE_RAM && r->base <= start && end <= r->base + r->length;
    }
    return inside;
}

// The image must lie in RAM that the map knows, modules must not lie on it.
static void check_image(const struct pf_boot_info *info)
{
    uint64_t start = info->image_phys, end = start + info->image_bytes;
    if (!in_ram(info, start, end)) {
        pf_early_fail("the memory map has no RAM where the image lies: give the guest more memory");
    }
    const struct pf_module *own = NULL;
    if (info->image_module > 0) {
        own = &info->modules[info->image_module - 1];
        if (!in_ram(info, own->base, own->base + own->length)) {
            pf_early_fail("the memory map has no RAM where the image's model lies: give the guest "
                          "more memory");
        }
    }
    for (uint32_t i = 0; i < info->module_count; i++) {
        const struct pf_module *m = &info->modules[i];
        if (own != NULL && m != own && m->base < own->base + own->length &&
            own->base < m->base + m->length) {
            pf_early_fail("a boot module overlaps the image's own");
        }
        if (m->base + m->length < m->base || (m->base < end && start < m->base + m->length)) {
            pf_early_fail("a boot module overlaps the image or wraps around");
        }
    }
}

uint64_t pf_early_finish(void)
{
    struct pf_boot_info *info = &pf_boot_record;
    uint32_t cpuid[4];

    info->magic = PF_BOOT_MAGIC;
    info->image_phys = (uint64_t)__ehdr_start;
    info->image_bytes = (uint64_t)(__image_end - __ehdr_start);
    if (info->image_module > 0) {
        pf_cmdline_seal(info->cmdline, info->refused, info->dropped, sizeof info->refused);
    }
    int count = pf_ranges_normalise(info->ranges, info->range_count);
    if (count < 0) {
        pf_early_fail("the memory map has too many pieces");
    }
    info->range_count = (uint32_t)count;
    check_image(info);

    pf_frames_init(&pf_boot_frames, info->ranges, info->range_count, FOUR_GB);
    (void)pf_frames_occupy(&pf_boot_frames, info->image_phys, info->image_bytes);
    for (uint32_t i = 0; i < info->module_count; i++) {
        (void)pf_frames_occupy(&pf_boot_frames, info->modules[i].base, info->modules[i].length);
    }

    struct pf_table *t = &pf_kernel_table;
    t->offset = 0;
    t->take = take_early;
    pf_cpuid(0x80000001, 0, cpuid);
    t->page1g = (cpuid[3] >> 26 & 1) != 0;
    t->nx = (cpuid[3] >> 20 & 1) != 0;
    t->root = take_early(t);
    if (t->root == 0) {
        pf_early_fail("no free RAM between 1 MB and 4 GB");
    }
    uint64_t base = pf_kaslr_base(info, info->image_bytes);
    info->image_virt = base;
    map_image(base);
    map_memory(info);
    relocate(base);

    // Lets the jump to the random base happen while the identity map still holds.
    const uint64_t *root = (const uint64_t *)t->root;
    uint64_t top = base >> 39 & 511;
    pf_early_tables[0][top] = root[top];
    pf_final_cr3 = t->root;
    return base;
}

// Fills the identity map for a wrapper that comes in long mode; PVH's entry does it in assembly.
void pf_early_identity(void);
void pf_early_identity(void)
{
    uint64_t cr4;
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    if ((cr4 & CR4_LA57) != 0) {
        pf_early_fail("the firmware uses five-level page tables; turn them off for this guest");
    }
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned k = 0; k < 512; k++) {
            pf_early_tables[2 + i][k] =
                (i * 512ull + k) * PF_HUGE_PAGE | PTE_PRESENT | PTE_WRITE | PTE_LARGE;
        }
        pf_early_tables[1][i] = (uint64_t)pf_early_tables[2 + i] | PTE_PRESENT | PTE_WRITE;
    }
    pf_early_tables[0][0] = (uint64_t)pf_early_tables[1] | PTE_PRESENT | PTE_WRITE;
}

uint64_t pf_early_uefi(const struct pf_boot_info *given);
uint64_t pf_early_uefi(const struct pf_boot_info *given)
{
    if (given->magic != PF_BOOT_MAGIC || given->range_count > PF_MAX_RANGES ||
        given->module_count > PF_MAX_MODULES || given->image_module > given->module_count) {
        pf_early_fail("the UEFI wrapper and the kernel do not belong together");
    }
    memcpy(&pf_boot_record, given, sizeof pf_boot_record);
    pf_boot_record.cmdline[PF_MAX_CMDLINE - 1] = '\0';
    return pf_early_finish();
}
