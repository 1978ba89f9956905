// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Posted calls run once, in their poster's order, with several posters too; the queue is bounded.
//
// Links: libos/net/post.c
#include "libos/net/post.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

enum { POSTERS = 3, CALLS = 20000 };

static struct post_queue queue;
static size_t next_call[POSTERS], wrong;

static void call(void *arg)
{
    uintptr_t value = (uintptr_t)arg;
    size_t poster = value / CALLS, number = value % CALLS;
    wrong += next_call[poster] != number;
    next_call[poster]++;
}

static void *post(void *arg)
{
    uintptr_t first = (uintptr_t)arg * CALLS;
    for (uintptr_t i = 0; i < CALLS; i++)
        while (post_put(&queue, call, (void *)(first + i)) == -ENOMEM)
            sched_yield();
    return NULL;
}

static void calls_of_several_posters_run_once_and_in_order(void **state)
{
    (void)state;
    pthread_t thread[POSTERS];
    for (uintptr_t i = 0; i < POSTERS; i++)
        pthread_create(&thread[i], NULL, post, (void *)i);
    while (next_call[0] + next_call[1] + next_call[2] < POSTERS * CALLS)
        if (!post_run(&queue))
            sched_yield();
    for (int i = 0; i < POSTERS; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(wrong, 0);
    assert_false(post_run(&queue));
    assert_int_equal(queue.count, 0);
}

static void count(void *arg)
{
    ++*(size_t *)arg;
}

static void a_full_queue_says_so(void **state)
{
    (void)state;
    size_t ran = 0;
    for (size_t i = 0; i < POST_MAX; i++)
        assert_int_equal(post_put(&queue, count, &ran), 0);
    assert_int_equal(post_put(&queue, count, &ran), -ENOMEM);
    post_run(&queue);
    assert_int_equal(ran, POST_MAX);
    assert_int_equal(post_put(&queue, count, &ran), 0);
    post_run(&queue);
}

static void again(void *arg)
{
    if (++*(size_t *)arg < 3)
        post_put(&queue, again, arg);
}

static void a_call_that_posts_itself_does_not_hold_the_strand(void **state)
{
    (void)state;
    size_t ran = 0;
    post_put(&queue, again, &ran);
    assert_true(post_run(&queue));
    assert_int_equal(ran, 1);
    while (post_run(&queue))
        ;
    assert_int_equal(ran, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_of_several_posters_run_once_and_in_order),
        cmocka_unit_test(a_full_queue_says_so),
        cmocka_unit_test(a_call_that_posts_itself_does_not_hold_the_strand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
