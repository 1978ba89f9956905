// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The page allocator against a model that knows the owner of every page.
// Links: libos/mem/pages.c
#include "libos/mem/fake_memory.h"

#define RAM_BYTES (24ul << 20)

static struct mem_pages pool;
static uint8_t *ram;

static void fill(uint64_t phys, size_t pages, uint8_t value)
{
    memset(ram + phys, value, pages * MEM_PAGE);
}

static void start(struct pf_range *ranges, size_t count)
{
    ram = fake_ram(RAM_BYTES);
    assert_int_equal(mem_pages_init(&pool, ranges, count, (uintptr_t)ram), 0);
}

static void all_pages_come_once_and_only_from_the_ranges(void **state)
{
    (void)state;
    struct pf_range r[] = {
        {0x3000, 0x10000, 1, 0}, {1 << 20, 5 << 20, 1, 0}, {8 << 20, 13 << 20, 1, 0}};
    start(r, 3);
    size_t total = pool.free_pages;
    assert_true(total * MEM_PAGE + pool.metadata_bytes <= (18ul << 20) + 0x10000);
    assert_true(pool.metadata_bytes < 16384);
    static uint8_t seen[RAM_BYTES / MEM_PAGE];
    memset(seen, 0, sizeof seen);
    size_t n = 0;
    uint64_t p;
    while ((p = mem_pages_alloc(&pool, 1)) != 0) {
        assert_int_equal(p % MEM_PAGE, 0);
        bool inside = (p >= 0x3000 && p < 0x13000) || (p >= 1 << 20 && p < 6 << 20) ||
                      (p >= 8 << 20 && p < 21 << 20);
        assert_true(inside);
        assert_int_equal(seen[p / MEM_PAGE]++, 0);
        fill(p, 1, 1);
        n++;
    }
    assert_int_equal(n, total);
    for (size_t i = 0; i < RAM_BYTES / MEM_PAGE; i++) {
        if (seen[i]) {
            assert_true(mem_pages_owns(&pool, i * MEM_PAGE));
            mem_pages_free(&pool, i * MEM_PAGE, 1);
        }
    }
    assert_int_equal(pool.free_pages, total);
    // everything joined again: the largest run is there
    assert_int_not_equal(mem_pages_alloc(&pool, 6 * MEM_FRAME_PAGES), 0);
    free(ram);
}

static void random_blocks_never_overlap(void **state)
{
    (void)state;
    struct pf_range r[] = {{0x1000, RAM_BYTES - 0x1000, 1, 0}};
    start(r, 1);
    size_t total = pool.free_pages;
    struct {
        uint64_t phys;
        size_t pages;
        uint8_t value;
    } b[200] = {0};
    srand(7);
    for (int step = 0; step < 20000; step++) {
        int i = rand() % 200;
        if (b[i].pages) {
            for (size_t k = 0; k < b[i].pages; k++) {
                assert_int_equal(ram[b[i].phys + k * MEM_PAGE], b[i].value);
            }
            mem_pages_free(&pool, b[i].phys, b[i].pages);
            b[i].pages = 0;
        } else {
            size_t pages = (size_t)(rand() % 10 ? rand() % 20 + 1 : rand() % 1500 + 1);
            uint64_t p = mem_pages_alloc(&pool, pages);
            if (p) {
                if (pages >= MEM_FRAME_PAGES) {
                    assert_int_equal(p % MEM_FRAME, 0);
                }
                b[i].phys = p;
                b[i].pages = pages;
                b[i].value = (uint8_t)rand();
                for (size_t k = 0; k < pages; k++) {
                    ram[p + k * MEM_PAGE] = b[i].value;
                }
            }
        }
    }
    for (int i = 0; i < 200; i++) {
        if (b[i].pages) {
            mem_pages_free(&pool, b[i].phys, b[i].pages);
        }
    }
    assert_int_equal(pool.free_pages, total);
    free(ram);
}

static void part_of_a_large_block_can_be_given_back(void **state)
{
    (void)state;
    struct pf_range r[] = {{0x1000, RAM_BYTES - 0x1000, 1, 0}};
    start(r, 1);
    size_t total = pool.free_pages;
    uint64_t p = mem_pages_alloc(&pool, 2 * MEM_FRAME_PAGES);
    mem_pages_free(&pool, p + 3 * MEM_PAGE, 1);
    assert_int_equal(mem_pages_owns(&pool, p + 3 * MEM_PAGE), false);
    mem_pages_free(&pool, p, 3);
    mem_pages_free(&pool, p + 4 * MEM_PAGE, 2 * MEM_FRAME_PAGES - 4);
    assert_int_equal(pool.free_pages, total);
    free(ram);
}

static void wrong_frees_are_found(void **state)
{
    (void)state;
    struct pf_range r[] = {{0x1000, RAM_BYTES - 0x1000, 1, 0}};
    start(r, 1);
    uint64_t p = mem_pages_alloc(&pool, 2);
    mem_pages_free(&pool, p, 2);
    EXPECT_PANIC("freed twice", mem_pages_free(&pool, p, 1));
    pool.lock = 0;
    EXPECT_PANIC("freed twice", mem_pages_free(&pool, 0, 1)); // never was ours
    pool.lock = 0;
    EXPECT_PANIC("not RAM", mem_pages_free(&pool, RAM_BYTES, 1));
    EXPECT_PANIC("not RAM", mem_pages_free(&pool, 0x1001, 1));
    free(ram);
}

static void too_little_memory_is_an_error(void **state)
{
    (void)state;
    struct pf_range none[] = {{0x1000, 0x800, 1, 0}};
    assert_int_not_equal(mem_pages_init(&pool, none, 1, 0), 0);
    struct pf_range r[] = {{0x1000, RAM_BYTES - 0x1000, 1, 0}};
    start(r, 1);
    assert_int_equal(mem_pages_alloc(&pool, 0), 0);
    assert_int_equal(mem_pages_alloc(&pool, RAM_BYTES / MEM_PAGE), 0);
    assert_int_equal(mem_pages_alloc(&pool, SIZE_MAX), 0);
    free(ram);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_pages_come_once_and_only_from_the_ranges),
        cmocka_unit_test(random_blocks_never_overlap),
        cmocka_unit_test(part_of_a_large_block_can_be_given_back),
        cmocka_unit_test(wrong_frees_are_found),
        cmocka_unit_test(too_little_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
