#include "os/net.h"

#include "os/os_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert((int)NET_READ == (int)EPOLLIN && (int)NET_WRITE == (int)EPOLLOUT, "net.h spells epoll's bits");

enum { WRITEV_PARTS = 64, BACKLOG = 1024 };

CHECK static enum err bad_address(struct str text, const char *why, struct fault *f)
{
    char what[300];

    snprintf(what, sizeof what, "address \"%.*s\"", (int)(text.n < 256 ? text.n : 256), text.p ? text.p : "");
    return FAULT(f, ERR_INVALID, {"what", what}, {"detail", why});
}

enum err net_parse(struct str text, char host[256], uint16_t *port, struct fault *f)
{
    size_t colon = text.n;
    struct str h;
    int64_t number;

    while (colon > 0 && text.p[colon - 1] != ':')
        colon--;
    if (colon == 0)
        return bad_address(text, "expected HOST:PORT", f);
    h = str_make(text.p, colon - 1);
    if (!str_to_i64(str_sub(text, colon, text.n), &number) || number < 0 || number > 65535)
        return bad_address(text, "the port must be a number from 0 to 65535", f);
    if (h.n >= 2 && h.p[0] == '[' && h.p[h.n - 1] == ']')
        h = str_make(h.p + 1, h.n - 2);
    else if (h.n && memchr(h.p, ':', h.n))
        return bad_address(text, "an IPv6 address needs brackets: [::1]:9092", f);
    if (h.n >= 256 || (h.n && memchr(h.p, 0, h.n)))
        return bad_address(text, "not a host name", f);
    if (h.n)
        memcpy(host, h.p, h.n);
    host[h.n] = 0;
    *port = (uint16_t)number;
    return ERR_OK;
}

CHECK static enum err resolve(const char *host, uint16_t port, int flags, struct addrinfo **out, struct fault *f)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags};
    char service[8];
    int rc;

    snprintf(service, sizeof service, "%u", port);
    rc = getaddrinfo(*host ? host : NULL, service, &hints, out);
    if (rc)
        return FAULT(f, ERR_UNREACHABLE, {"what", *host ? host : "*"}, {"detail", gai_strerror(rc)});
    return ERR_OK;
}

static bool same_address(const struct sockaddr *a, const struct sockaddr *b)
{
    if (a->sa_family != b->sa_family)
        return false;
    if (a->sa_family == AF_INET)
        return ((const struct sockaddr_in *)a)->sin_addr.s_addr == ((const struct sockaddr_in *)b)->sin_addr.s_addr;
    return a->sa_family == AF_INET6 && !memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
                                               &((const struct sockaddr_in6 *)b)->sin6_addr, sizeof(struct in6_addr));
}

static bool is_everywhere(const struct sockaddr *a)
{
    static const struct in6_addr any6 = IN6ADDR_ANY_INIT;
    if (a->sa_family == AF_INET)
        return ((const struct sockaddr_in *)a)->sin_addr.s_addr == INADDR_ANY;
    return !memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr, &any6, sizeof any6);
}

static bool is_an_interface(const struct sockaddr *a)
{
    struct ifaddrs *all, *i;
    if (getifaddrs(&all))
        return false;
    for (i = all; i && !(i->ifa_addr && same_address(i->ifa_addr, a)); i = i->ifa_next)
        ;
    freeifaddrs(all);
    return i != NULL;
}

bool net_means_us(const char *host, const char *listen_host)
{
    struct addrinfo *asked = NULL, *ours = NULL, *a, *b;
    bool found = false;
    if (*host && !resolve(host, 0, 0, &asked, NULL) && !resolve(listen_host, 0, AI_PASSIVE, &ours, NULL)) {
        for (a = asked; a && !found; a = a->ai_next)
            for (b = ours; b && !found; b = b->ai_next)
                if (!is_everywhere(b->ai_addr))
                    found = same_address(a->ai_addr, b->ai_addr);
                else if (b->ai_family == AF_INET6 || a->ai_family == AF_INET) /* IPv6's takes IPv4 too */
                    found = is_an_interface(a->ai_addr);
    }
    if (asked)
        freeaddrinfo(asked);
    if (ours)
        freeaddrinfo(ours);
    return found;
}

/* One listening socket; -1 with errno set. */
static int listen_on(const struct addrinfo *a)
{
    int one = 1, off = 0, saved;
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (a->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

/* Without a host name IPv6's wildcard comes first, which takes IPv4 too; where the kernel has no IPv6, IPv4's. */
enum err net_listen(const char *host, uint16_t port, int *fd, struct fault *f)
{
    if (os_twin)
        return os_twin->net_listen(host, port, fd, f);
    struct addrinfo *list, *a;
    enum err e = resolve(host, port, AI_PASSIVE, &list, f);
    int saved = EADDRNOTAVAIL;
    char what[300];

    if (e)
        return e;
    *fd = -1;
    for (int pass = 0; pass < 2 && *fd < 0; pass++)
        for (a = list; a && *fd < 0; a = a->ai_next) {
            bool first = *host ? true : a->ai_family == AF_INET6;
            if (first != (pass == 0))
                continue;
            *fd = listen_on(a);
            saved = *fd < 0 ? errno : saved;
            if (*fd < 0 && saved == EADDRINUSE)
                break;
        }
    freeaddrinfo(list);
    if (*fd >= 0)
        return ERR_OK;
    snprintf(what, sizeof what, "%s:%u", *host ? host : "*", port);
    if (saved == EADDRINUSE)
        return FAULT(f, ERR_BUSY, {"what", what});
    return fault_errno(f, saved, "cannot listen on %s", what);
}

enum err net_accept(int listen_fd, int *fd, struct fault *f)
{
    if (os_twin)
        return os_twin->net_accept(listen_fd, fd, f);
    int one = 1;

    for (;;) {
        *fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (*fd >= 0) {
            setsockopt(*fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            return ERR_OK;
        }
        switch (errno) {
        case EINTR:
        case ECONNABORTED: /* gone before we looked: the next one */
        case EPROTO:
            continue;
        case EAGAIN:
            return FAULT(f, ERR_AGAIN, {"what", "accept"});
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM:
            return FAULT(f, ERR_LIMIT, {"what", "open connections"}, {"limit", "the process's file descriptors"});
        default:
            return fault_errno(f, errno, "accept");
        }
    }
}

static int wait_connected(int fd, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    socklen_t n = sizeof(int);
    int rc, problem = 0;

    do
        rc = poll(&p, 1, timeout_ms);
    while (rc < 0 && errno == EINTR);
    if (rc == 0)
        return ETIMEDOUT;
    if (rc < 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &problem, &n) < 0)
        return errno;
    return problem;
}

static int connect_to(const struct addrinfo *a, int timeout_ms, int *fd)
{
    int one = 1, problem = 0;

    *fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (*fd < 0)
        return errno;
    if (connect(*fd, a->ai_addr, a->ai_addrlen) < 0)
        problem = errno == EINPROGRESS || errno == EINTR ? wait_connected(*fd, timeout_ms) : errno;
    if (problem) {
        close(*fd);
        return problem;
    }
    fcntl(*fd, F_SETFL, fcntl(*fd, F_GETFL) & ~O_NONBLOCK);
    setsockopt(*fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return 0;
}

enum err net_connect(const char *host, uint16_t port, int timeout_ms, int *fd, struct fault *f)
{
    if (os_twin)
        return os_twin->net_connect(host, port, timeout_ms, fd, f);
    struct addrinfo *list, *a;
    int problem = EADDRNOTAVAIL;
    char what[300];
    enum err e = resolve(host, port, 0, &list, f);

    if (e)
        return e;
    for (a = list; a && problem; a = a->ai_next)
        problem = connect_to(a, timeout_ms, fd);
    freeaddrinfo(list);
    if (!problem)
        return ERR_OK;
    snprintf(what, sizeof what, "%s:%u", host, port);
    return FAULT(f, ERR_UNREACHABLE, {"what", what}, {"detail", strerror(problem)});
}

enum err net_read(int fd, void *p, size_t cap, size_t *n, struct fault *f)
{
    if (os_twin)
        return os_twin->net_read(fd, p, cap, n, f);
    for (;;) {
        ssize_t got = read(fd, p, cap);

        if (got >= 0) {
            *n = (size_t)got;
            return ERR_OK;
        }
        if (errno == EAGAIN)
            return FAULT(f, ERR_AGAIN, {"what", "read"});
        if (errno != EINTR)
            return fault_errno(f, errno, "socket read");
    }
}

enum err net_writev(int fd, const struct str *parts, size_t count, size_t *n, struct fault *f)
{
    if (os_twin)
        return os_twin->net_writev(fd, parts, count, n, f);
    struct iovec v[WRITEV_PARTS];
    struct msghdr m = {.msg_iov = v};

    count = count < WRITEV_PARTS ? count : WRITEV_PARTS;
    for (size_t i = 0; i < count; i++)
        v[i] = (struct iovec){.iov_base = (void *)(uintptr_t)parts[i].p, .iov_len = parts[i].n};
    m.msg_iovlen = count;
    for (;;) {
        ssize_t sent = sendmsg(fd, &m, MSG_NOSIGNAL);

        if (sent >= 0) {
            *n = (size_t)sent;
            return ERR_OK;
        }
        if (errno == EAGAIN)
            return FAULT(f, ERR_AGAIN, {"what", "write"});
        if (errno != EINTR)
            return fault_errno(f, errno, "socket write");
    }
}

void net_close(int fd)
{
    if (fd >= 0 && os_twin)
        os_twin->net_close(fd);
    else if (fd >= 0)
        close(fd);
}

void net_shutdown_write(int fd)
{
    if (os_twin)
        os_twin->net_shutdown_write(fd);
    else
        shutdown(fd, SHUT_WR);
}

/* A v4 address that came in through a v6 socket is shown as what the client typed. */
static void address_text(const struct sockaddr_storage *ss, char host[64], uint16_t *port)
{
    const struct sockaddr_in *v4 = (const void *)ss;
    const struct sockaddr_in6 *v6 = (const void *)ss;

    host[0] = 0;
    *port = 0;
    if (ss->ss_family == AF_INET) {
        inet_ntop(AF_INET, &v4->sin_addr, host, 64);
        *port = ntohs(v4->sin_port);
    } else if (ss->ss_family == AF_INET6) {
        if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
            inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], host, 64);
        else
            inet_ntop(AF_INET6, &v6->sin6_addr, host, 64);
        *port = ntohs(v6->sin6_port);
    }
}

void net_local(int fd, char host[64], uint16_t *port)
{
    if (os_twin) {
        os_twin->net_address(fd, false, host, port);
        return;
    }
    struct sockaddr_storage ss = {0};
    socklen_t n = sizeof ss;

    getsockname(fd, (void *)&ss, &n);
    address_text(&ss, host, port);
}

void net_peer(int fd, char host[64], uint16_t *port)
{
    if (os_twin) {
        os_twin->net_address(fd, true, host, port);
        return;
    }
    struct sockaddr_storage ss = {0};
    socklen_t n = sizeof ss;

    getpeername(fd, (void *)&ss, &n);
    address_text(&ss, host, port);
}

int net_poller(void)
{
    if (os_twin)
        return os_twin->net_poller();
    int fd = epoll_create1(EPOLL_CLOEXEC);

    if (fd < 0)
        os_die("epoll_create1: %s", strerror(errno));
    return fd;
}

bool net_poll_set(int poller, int fd, unsigned want, void *arg, bool add)
{
    if (os_twin) {
        os_twin->net_poll_set(poller, fd, want, arg, add);
        return true;
    }
    struct epoll_event e = {.events = want, .data.ptr = arg};

    return epoll_ctl(poller, add ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &e) == 0;
}

void net_poll_del(int poller, int fd)
{
    if (os_twin)
        os_twin->net_poll_del(poller, fd);
    else
        epoll_ctl(poller, EPOLL_CTL_DEL, fd, NULL);
}

int net_poll_wait(int poller, struct net_event *events, int cap, int timeout_ms)
{
    if (os_twin)
        return os_twin->net_poll_wait(poller, events, cap, timeout_ms);
    struct epoll_event e[256];
    int n = epoll_wait(poller, e, cap < 256 ? cap : 256, timeout_ms);

    for (int i = 0; i < n; i++) {
        bool broken = e[i].events & (EPOLLERR | EPOLLHUP);
        unsigned ready = e[i].events & (NET_READ | NET_WRITE);
        events[i] = (struct net_event){e[i].data.ptr, broken ? NET_READ | NET_WRITE : ready};
    }
    return n < 0 ? 0 : n; /* EINTR: nothing is ready */
}

int net_wakeup(void)
{
    if (os_twin)
        return os_twin->net_wakeup();
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    if (fd < 0)
        os_die("eventfd: %s", strerror(errno));
    return fd;
}

void net_wakeup_signal(int fd)
{
    if (os_twin) {
        os_twin->net_wakeup_signal(fd);
        return;
    }
    uint64_t one = 1;
    ssize_t rc;

    do
        rc = write(fd, &one, sizeof one);
    while (rc < 0 && errno == EINTR);
}

void net_wakeup_clear(int fd)
{
    if (os_twin) {
        os_twin->net_wakeup_clear(fd);
        return;
    }
    uint64_t count;
    ssize_t rc;

    do
        rc = read(fd, &count, sizeof count);
    while (rc < 0 && errno == EINTR);
}
