/* Whom a connection is with, and the key of its sessions: the policy of its handshake as far as that means the same in
 * every process, the host name or address in lower case, and the port as text, empty where it is not known. */
#ifndef _WIN32
#include <netinet/in.h>
#include <sys/socket.h>
#endif
enum { POLICY_PORTABLE = sizeof(sslsession_policy) - offsetof(sslsession_policy, server) };
enum { PEER_MOST = POOL_KEY_MOST - POLICY_PORTABLE };

/* Whom the connection is with: 1, or 0 where memory is out or the names are too long. */
static int sslsession_set_peer(SSL *ssl, const char *host, const char *port) {
    struct connection *connection = connection_of(ssl);
    size_t host_size = strlen(host) + 1, port_size = strlen(port) + 1;
    char *peer = connection != NULL && host_size + port_size <= PEER_MOST ? malloc(host_size + port_size) : NULL;
    if (peer == NULL)
        return 0;
    for (size_t i = 0; i < host_size; i++)
        peer[i] = host[i] >= 'A' && host[i] <= 'Z' ? (char)(host[i] + 32) : host[i];
    memcpy(peer + host_size, port, port_size);
    free(connection->peer);
    connection->peer = peer;
    return 1;
}

/* The same where the SNI and the socket tell: 1, 0 where nothing is to be kept, -1 where Python has to look. */
static int find_peer(SSL *ssl) {
    const char *host = SSL_get_servername(ssl, 0);
    char port[8] = "";
    int fd = SSL_get_fd(ssl);
    if (host == NULL || *host == '@' || SSL_get_session(ssl) != NULL) /* a session that was set lends its name to a connection without */
        return -1;
    if (fd >= 0) {
#ifdef _WIN32
        return -1;
#else
        struct sockaddr_storage address;
        socklen_t size = sizeof address;
        if (getpeername(fd, (struct sockaddr *)&address, &size) != 0)
            return 0;
        if (address.ss_family == AF_INET)
            snprintf(port, sizeof port, "%u", ntohs(((struct sockaddr_in *)&address)->sin_port));
        else if (address.ss_family == AF_INET6)
            snprintf(port, sizeof port, "%u", ntohs(((struct sockaddr_in6 *)&address)->sin6_port));
        else
            return -1;
#endif
    }
    return sslsession_set_peer(ssl, host, port);
}

static size_t key_of(const struct connection *connection, const sslsession_pool *pool, unsigned char *key) {
    size_t host_size = strlen(connection->peer) + 1;
    const char *port = pool->settings.any_port ? "" : connection->peer + host_size;
    memcpy(key, &connection->policy.server, POLICY_PORTABLE);
    memcpy(key + POLICY_PORTABLE, connection->peer, host_size);
    memcpy(key + POLICY_PORTABLE + host_size, port, strlen(port) + 1);
    return POLICY_PORTABLE + host_size + strlen(port) + 1;
}
