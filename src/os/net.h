/*
 * net: sockets and readiness, the part of os/ that loops stand on.
 *
 * Plain wrappers: non-blocking stream sockets (TCP over IPv4/IPv6), epoll, eventfd. Addresses are "host:port" texts;
 * port 0 lets the kernel choose (net_local says which). A file descriptor is an int here and nowhere else is read or
 * written except through these calls, so that the simulated network of os/sim.h takes their place in a test: there bytes
 * are late, come in pieces, and connections are cut or go silent, by the seed.
 */
#ifndef PENSTOCK_OS_NET_H
#define PENSTOCK_OS_NET_H

#include "base/fault.h"

/* "host:port", "[v6]:port", ":port" (all addresses). ERR_INVALID names the text. */
CHECK enum err net_parse(struct str text, char host[256], uint16_t *port, struct fault *f);
/* Listening, non-blocking, SO_REUSEADDR. A port in use: ERR_BUSY naming the address. */
CHECK enum err net_listen(const char *host, uint16_t port, int *fd, struct fault *f);
/* ERR_AGAIN when none is waiting. TCP_NODELAY is set. ERR_LIMIT when out of descriptors. */
CHECK enum err net_accept(int listen_fd, int *fd, struct fault *f);
/* Blocking connect with a time limit, then a blocking socket (for the command-line clients). ERR_UNREACHABLE. */
CHECK enum err net_connect(const char *host, uint16_t port, int timeout_ms, int *fd, struct fault *f);
/* *n = 0: closed by the peer. ERR_AGAIN: nothing there (non-blocking sockets). */
CHECK enum err net_read(int fd, void *p, size_t cap, size_t *n, struct fault *f);
CHECK enum err net_writev(int fd, const struct str *parts, size_t count, size_t *n, struct fault *f);
void net_close(int fd);
void net_shutdown_write(int fd); /* no more bytes from us; what was written still goes out */
/* Does `host`, by the name service, mean this machine, at an address that a listener on `listen_host` ("": all) answers? Blocks. */
bool net_means_us(const char *host, const char *listen_host);
/* Local and peer address of a connected or listening socket as text without brackets. */
void net_local(int fd, char host[64], uint16_t *port);
void net_peer(int fd, char host[64], uint16_t *port);

enum { NET_READ = 1, NET_WRITE = 4 }; /* EPOLLIN, EPOLLOUT */
struct net_event {
    void *arg;
    unsigned ready; /* NET_READ|NET_WRITE; hang-ups and errors set both */
};
int net_poller(void); /* epoll_create1; os_die when out of descriptors at start-up */
/* False when the kernel has no memory to watch it. */
CHECK bool net_poll_set(int poller, int fd, unsigned want, void *arg, bool add);
void net_poll_del(int poller, int fd);
int net_poll_wait(int poller, struct net_event *events, int cap, int timeout_ms); /* -1: for ever */
int net_wakeup(void);                                                             /* an eventfd to add to a poller */
void net_wakeup_signal(int fd);                                                   /* from any thread */
void net_wakeup_clear(int fd);

#endif
