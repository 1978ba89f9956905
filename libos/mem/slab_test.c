// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Small blocks: contents kept, memory given back, and every kind of misuse found.
// Links: libos/mem/slab.c libos/mem/pages.c
#include "libos/mem/fake_memory.h"
#include "libos/mem/slab.h"

#define RAM_BYTES (8ul << 20)

static struct mem_pages pool;
static struct slab_set set;
static uint8_t *ram;
static int64_t accounted, limit;
static struct pf_boot_info boot = {.image_virt = 0x1000000};

const struct pf_boot_info *pf_boot_info(void)
{
    return &boot;
}
const char *pf_symbol(uint64_t address, uint64_t *offset)
{
    *offset = address - 0x1000000;
    return "some_function";
}
static bool account(int64_t delta)
{
    if (accounted + delta > limit) {
        return false;
    }
    accounted += delta;
    return true;
}

static int start(void **state)
{
    (void)state;
    ram = fake_ram(RAM_BYTES);
    struct pf_range r[] = {{0x1000, RAM_BYTES - 0x1000, 1, 0}};
    assert_int_equal(mem_pages_init(&pool, r, 1, (uintptr_t)ram), 0);
    set = (struct slab_set){.pages = &pool, .account = account, .check = true};
    accounted = 0;
    limit = INT64_MAX;
    return 0;
}
static int stop(void **state)
{
    (void)state;
    free(ram);
    return 0;
}

static void blocks_keep_their_contents(void **state)
{
    (void)state;
    struct {
        uint8_t *p;
        size_t n;
        uint8_t value;
    } b[400] = {0};
    srand(3);
    for (int step = 0; step < 40000; step++) {
        int i = rand() % 400;
        if (b[i].p) {
            assert_int_equal(slab_size(&set, b[i].p), b[i].n);
            for (size_t k = 0; k < b[i].n; k++) {
                assert_int_equal(b[i].p[k], b[i].value);
            }
            slab_free(&set, b[i].p);
            b[i].p = NULL;
        } else {
            b[i].n = (size_t)(rand() % 2 ? rand() % 64 + 1 : rand() % 2048 + 1);
            b[i].p = slab_alloc(&set, b[i].n, 0);
            assert_non_null(b[i].p);
            assert_int_equal((uintptr_t)b[i].p % 16, 0);
            assert_true(slab_owns(&set, b[i].p));
            b[i].value = (uint8_t)rand();
            memset(b[i].p, b[i].value, b[i].n);
        }
    }
    for (int i = 0; i < 400; i++) {
        if (b[i].p) {
            slab_free(&set, b[i].p);
        }
    }
    int64_t spare = 0;
    for (int c = 0; c < SLAB_CLASSES; c++) {
        assert_int_equal(set.class[c].used_bytes, 0);
        spare += (int64_t)set.class[c].slab_pages;
    }
    assert_int_equal(accounted, spare); // one empty slab a class at most
    assert_true(spare <= 5 + 4 + 8 + 8);
}

static void every_size_fits_its_class(void **state)
{
    (void)state;
    for (size_t n = 1; n <= SLAB_MAX; n++) {
        uint8_t *p = slab_alloc(&set, n, 0);
        memset(p, 0xee, n);
        slab_free(&set, p); // the canary right behind is intact
    }
}

static void one_byte_too_far_is_found(void **state)
{
    (void)state;
    size_t sizes[] = {1, 15, 16, 17, 100, 128, 2000, 2048};
    for (volatile size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint8_t *p = slab_alloc(&set, sizes[i], 0x123);
        p[sizes[i]] = 0;
        EXPECT_PANIC("overrun", slab_free(&set, p));
        assert_non_null(strstr(panic_text, "some_function+0x123"));
        char text[32];
        snprintf(text, sizeof text, "%zu bytes", sizes[i]);
        assert_non_null(strstr(panic_text, text));
        memset(set.class, 0, sizeof set.class);
    }
}

static void double_and_wild_frees_are_found(void **state)
{
    (void)state;
    uint8_t *keep = slab_alloc(&set, 64, 0), *p = slab_alloc(&set, 64, 0);
    slab_free(&set, p);
    EXPECT_PANIC("freed twice", slab_free(&set, p));
    set.class[2].lock = 0;
    EXPECT_PANIC("not the start", slab_free(&set, keep + 16));
    EXPECT_PANIC("without being allocated", slab_free(&set, keep + 2 * 80));
    EXPECT_PANIC("used after", slab_size(&set, p));
    assert_false(slab_owns(&set, ram + RAM_BYTES - MEM_PAGE));
    assert_false(slab_owns(&set, &pool));
}

static void writes_after_free_are_found(void **state)
{
    (void)state;
    uint8_t *p = slab_alloc(&set, 32, 0);
    slab_alloc(&set, 32, 0);
    slab_free(&set, p);
    p[5] = 1;
    EXPECT_PANIC("after it was freed", slab_alloc(&set, 32, 0));
}

static void the_limit_refuses(void **state)
{
    (void)state;
    limit = 2;
    size_t n = 0;
    while (slab_alloc(&set, 16, 0)) {
        n++;
    }
    assert_true(n > 150 && n < 600);
    assert_int_equal(accounted, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(blocks_keep_their_contents, start, stop),
        cmocka_unit_test_setup_teardown(every_size_fits_its_class, start, stop),
        cmocka_unit_test_setup_teardown(one_byte_too_far_is_found, start, stop),
        cmocka_unit_test_setup_teardown(double_and_wild_frees_are_found, start, stop),
        cmocka_unit_test_setup_teardown(writes_after_free_are_found, start, stop),
        cmocka_unit_test_setup_teardown(the_limit_refuses, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
