// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// HTTP transport over the host's sockets: level-triggered epoll, one thread. For native serving and
// for running the whole stack under sanitizers.
#include "libos/http_host.h"
#include "libos/net/http_transport.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { WINDOW = 64 << 10, EVENTS = 64, TICK_MS = 100 };

enum host_kind { HOST_EVENT, HOST_LISTENER, HOST_CONN };

// What an epoll event points to.
struct host_conn {
    enum host_kind kind;
    int fd;
    struct http_conn *conn;
    size_t unconsumed;
    uint32_t events;
    bool blocked, eof; // write said full; read said end
    struct host_conn *next_closed;
};

struct host_server {
    enum host_kind kind;
    int fd; // -1 once a drain stopped listening
    uint16_t port;
    struct http_server *server;
    struct host_server *next;
};

struct post {
    struct post *next;
    void (*fn)(void *arg);
    void *arg;
};

static struct {
    int epoll, event, spare; // spare: a descriptor to give up when there are no more
    enum host_kind event_kind;
    struct host_server *servers;
    struct host_conn *closed; // freed after the batch of events that may still name them
    pthread_mutex_t lock;     // protects posts and posts_end
    struct post *posts, **posts_end;
} loop = {.epoll = -1, .lock = PTHREAD_MUTEX_INITIALIZER};
static pthread_once_t loop_once = PTHREAD_ONCE_INIT;

static void loop_start(void)
{
    loop.posts_end = &loop.posts;
    loop.epoll = epoll_create1(EPOLL_CLOEXEC);
    loop.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    loop.spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = &loop.event_kind};
    epoll_ctl(loop.epoll, EPOLL_CTL_ADD, loop.event, &e);
}

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void want(struct host_conn *h)
{
    uint32_t events =
        (!h->eof && h->unconsumed < WINDOW ? EPOLLIN : 0u) | (h->blocked ? EPOLLOUT : 0u);
    if (events == h->events)
        return;
    struct epoll_event e = {.events = events, .data.ptr = h};
    epoll_ctl(loop.epoll, EPOLL_CTL_MOD, h->fd, &e);
    h->events = events;
}

static ptrdiff_t op_write(void *t, const void *data, size_t bytes)
{
    struct host_conn *h = t;
    ssize_t n = send(h->fd, data, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    h->blocked = n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
    int error = errno;
    want(h);
    if (n >= 0)
        return n;
    errno = error;
    return h->blocked ? 0 : -EPIPE;
}

static void op_flush(void *t)
{
    (void)t;
}

// The kernel's own time-outs watch over what it has taken.
static size_t op_unacked(void *t)
{
    (void)t;
    return 0;
}

static void op_consumed(void *t, size_t bytes)
{
    struct host_conn *h = t;
    h->unconsumed -= bytes < h->unconsumed ? bytes : h->unconsumed;
    want(h);
}

static void op_shut_write(void *t)
{
    shutdown(((struct host_conn *)t)->fd, SHUT_WR);
}

static void forget(struct host_conn *h)
{
    close(h->fd); // leaves the epoll set too
    h->fd = -1;
    h->conn = NULL;
    h->next_closed = loop.closed;
    loop.closed = h;
}

static void op_close(void *t)
{
    forget(t);
}

static void op_abort(void *t)
{
    struct linger reset = {1, 0};
    setsockopt(((struct host_conn *)t)->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    forget(t);
}

static void op_stop_listening(void *listener)
{
    struct host_server *h = listener;
    if (h->fd >= 0)
        close(h->fd);
    h->fd = -1;
}

static const struct http_transport_ops sockets_ops = {
    .write = op_write,
    .flush = op_flush,
    .unacked = op_unacked,
    .consumed = op_consumed,
    .shut_write = op_shut_write,
    .close = op_close,
    .abort = op_abort,
    .now_ms = now_ms,
    .stop_listening = op_stop_listening,
};

static int bind_first(const char *address, uint16_t port, uint16_t *bound)
{
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV,
                             .ai_socktype = SOCK_STREAM},
                    *list;
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    if (getaddrinfo(address, service, &hints, &list))
        return -EINVAL;
    int fd = -1, error = -EADDRNOTAVAIL;
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
            continue;
        int on = 1;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (bind(fd, a->ai_addr, a->ai_addrlen) || listen(fd, 128)) {
            error = -errno;
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    if (fd >= 0 && getsockname(fd, (struct sockaddr *)&name, &length) == 0)
        *bound = ntohs(name.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&name)->sin6_port
                                                  : ((struct sockaddr_in *)&name)->sin_port);
    return fd >= 0 ? fd : error;
}

int http_host_listen(const char *address, uint16_t port, const struct http_limits *limits,
                     struct http_server **out)
{
    pthread_once(&loop_once, loop_start);
    if (loop.epoll < 0 || loop.event < 0)
        return -EMFILE;
    struct host_server *h = calloc(1, sizeof *h);
    if (h == NULL)
        return -ENOMEM;
    h->kind = HOST_LISTENER;
    h->fd = bind_first(address, port, &h->port);
    if (h->fd < 0) {
        int error = h->fd;
        free(h);
        return error;
    }
    h->server = http_server_new(&sockets_ops, h, limits);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = h};
    if (h->server == NULL || epoll_ctl(loop.epoll, EPOLL_CTL_ADD, h->fd, &e)) {
        close(h->fd);
        if (h->server)
            http_server_free(h->server);
        free(h);
        return -ENOMEM;
    }
    h->next = loop.servers;
    loop.servers = h;
    *out = h->server;
    return 0;
}

uint16_t http_host_port(const struct http_server *s)
{
    for (struct host_server *h = loop.servers; h; h = h->next)
        if (h->server == s)
            return h->port;
    return 0;
}

int http_host_post(void (*fn)(void *arg), void *arg)
{
    pthread_once(&loop_once, loop_start);
    struct post *p = malloc(sizeof *p);
    if (p == NULL)
        return -ENOMEM;
    *p = (struct post){NULL, fn, arg};
    pthread_mutex_lock(&loop.lock);
    *loop.posts_end = p;
    loop.posts_end = &p->next;
    pthread_mutex_unlock(&loop.lock);
    uint64_t one = 1;
    while (write(loop.event, &one, sizeof one) < 0 && errno == EINTR)
        ;
    return 0;
}

static void run_posts(void)
{
    uint64_t count;
    while (read(loop.event, &count, sizeof count) < 0 && errno == EINTR)
        ;
    pthread_mutex_lock(&loop.lock);
    struct post *p = loop.posts;
    loop.posts = NULL;
    loop.posts_end = &loop.posts;
    pthread_mutex_unlock(&loop.lock);
    while (p) {
        struct post *next = p->next;
        p->fn(p->arg);
        free(p);
        p = next;
    }
}

static void out_of_descriptors(struct host_server *s)
{
    // Without this the pending connection would keep the listener readable for ever.
    close(loop.spare);
    int fd = accept(s->fd, NULL, NULL);
    if (fd >= 0)
        close(fd);
    loop.spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void accept_some(struct host_server *s)
{
    for (int i = 0; i < EVENTS && s->fd >= 0; i++) {
        int fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE)
                out_of_descriptors(s);
            return;
        }
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
        struct host_conn *h = calloc(1, sizeof *h);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = h};
        if (h == NULL || epoll_ctl(loop.epoll, EPOLL_CTL_ADD, fd, &e)) {
            close(fd);
            free(h);
            continue;
        }
        h->kind = HOST_CONN;
        h->fd = fd;
        h->events = EPOLLIN;
        h->conn = http_conn_open(s->server, h);
        if (h->conn == NULL)
            op_abort(h);
    }
}

static void conn_failed(struct host_conn *h)
{
    struct http_conn *c = h->conn;
    op_abort(h);
    if (c)
        http_conn_lost(c);
}

static void conn_event(struct host_conn *h, uint32_t events)
{
    static char data[WINDOW];
    if (h->fd < 0)
        return;
    if (events & EPOLLERR) {
        conn_failed(h);
        return;
    }
    if (events & EPOLLOUT)
        http_conn_writable(h->conn);
    if ((events & (EPOLLIN | EPOLLHUP)) == 0 || h->unconsumed >= WINDOW)
        return;
    ssize_t n = recv(h->fd, data, WINDOW - h->unconsumed, MSG_DONTWAIT);
    if (n > 0) {
        h->unconsumed += (size_t)n;
        want(h);
        if (http_conn_data(h->conn, data, (size_t)n))
            conn_failed(h);
    } else if (n == 0) {
        // A second end means both sides are shut (HUP cannot be masked): nothing is left to serve.
        if (h->eof && (events & EPOLLHUP)) {
            conn_failed(h);
            return;
        }
        h->eof = true;
        want(h);
        http_conn_eof(h->conn);
    } else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
        conn_failed(h);
    }
}

static void free_closed(void)
{
    while (loop.closed) {
        struct host_conn *h = loop.closed;
        loop.closed = h->next_closed;
        free(h);
    }
}

static int wait_ms(void)
{
    uint64_t now = now_ms(), next = now + TICK_MS;
    for (struct host_server *s = loop.servers; s; s = s->next)
        if (http_server_next_ms(s->server) < next)
            next = http_server_next_ms(s->server);
    return next <= now ? 0 : (int)(next - now);
}

int http_host_run(struct http_server *s, const atomic_bool *stop)
{
    (void)s; // one loop serves all listeners of the process
    struct epoll_event events[EVENTS];
    while (stop == NULL || !atomic_load(stop)) {
        int n = epoll_wait(loop.epoll, events, EVENTS, wait_ms());
        if (n < 0 && errno != EINTR)
            return -errno;
        for (int i = 0; i < n; i++) {
            enum host_kind *kind = events[i].data.ptr;
            if (*kind == HOST_EVENT)
                run_posts();
            else if (*kind == HOST_LISTENER)
                accept_some(events[i].data.ptr);
            else
                conn_event(events[i].data.ptr, events[i].events);
        }
        for (struct host_server *h = loop.servers; h; h = h->next)
            http_server_poll(h->server);
        free_closed();
    }
    return 0;
}

void http_host_close(struct http_server *s)
{
    for (struct host_server **at = &loop.servers; *at; at = &(*at)->next) {
        struct host_server *h = *at;
        if (h->server != s)
            continue;
        *at = h->next;
        op_stop_listening(h);
        http_server_free(s);
        free_closed();
        free(h);
        return;
    }
}
