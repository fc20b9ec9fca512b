/* The yardstick: the handshakes that the benchmark makes through Python, made here with nothing between them. What
 * OpenSSL is asked for is the same: CPython's settings of a connection, SNI and the name check, a byte from the server
 * for the client to read (with TLS 1.3's tickets before it), a clean close of both ends, a copy of the session kept. */
enum { CTRL_MODE = 33, CTRL_SET_TLSEXT_HOSTNAME = 55, FLIGHTS_MOST = 16 };
enum { MODE_ACCEPT_MOVING_WRITE_BUFFER = 2, MODE_AUTO_RETRY = 4, ERROR_WANT_READ = 2 };

static int join(SSL *client, SSL *server) {
    BIO *to_server = BIO_new(BIO_s_mem()), *to_client = BIO_new(BIO_s_mem());
    if (to_server == NULL || to_client == NULL) {
        BIO_free(to_server);
        BIO_free(to_client);
        return 0;
    }
    BIO_up_ref(to_server);
    BIO_up_ref(to_client);
    SSL_set_bio(client, to_client, to_server);
    SSL_set_bio(server, to_server, to_client);
    return 1;
}

/* Takes over `offered`, if there is one. */
static int set_up(SSL *client, SSL *server, const char *name, SSL_SESSION *offered) {
    static const unsigned char id_context[] = "Python";
    int ready = client != NULL && server != NULL && join(client, server);
    if (ready) {
        SSL_set_connect_state(client);
        SSL_set_accept_state(server);
        SSL_ctrl(client, CTRL_MODE, MODE_ACCEPT_MOVING_WRITE_BUFFER | MODE_AUTO_RETRY, NULL);
        SSL_ctrl(server, CTRL_MODE, MODE_ACCEPT_MOVING_WRITE_BUFFER | MODE_AUTO_RETRY, NULL);
        SSL_set_session_id_context(server, id_context, sizeof id_context - 1);
        ready = SSL_ctrl(client, CTRL_SET_TLSEXT_HOSTNAME, 0, (void *)name) == 1
            && X509_VERIFY_PARAM_set1_host(SSL_get0_param(client), name, 0) == 1
            && (offered == NULL || SSL_set_session(client, offered) == 1);
    }
    if (offered != NULL)
        SSL_SESSION_free(offered);
    return ready;
}

/* 0 where the handshake failed; where it only waits for the other end, 1. */
static int step(SSL *ssl, int *done) {
    int result = *done ? 1 : SSL_do_handshake(ssl);
    *done = result == 1;
    return *done || SSL_get_error(ssl, result) == ERROR_WANT_READ;
}

static int shake(SSL *client, SSL *server) {
    int client_done = 0, server_done = 0;
    for (int flight = 0; flight < FLIGHTS_MOST && !(client_done && server_done); flight++)
        if (!step(client, &client_done) || !step(server, &server_done))
            return 0;
    return client_done && server_done;
}

static int speak_and_close(SSL *client, SSL *server, SSL_SESSION **kept) {
    unsigned char byte = '!';
    if (SSL_write(server, &byte, 1) != 1 || SSL_read(client, &byte, 1) != 1)
        return 0;
    if (kept != NULL && *kept == NULL)
        *kept = SSL_SESSION_dup(SSL_get_session(client));
    SSL_shutdown(client);
    SSL_shutdown(server);
    return SSL_shutdown(server) == 1 && SSL_shutdown(client) == 1;
}

/* A TLS 1.3 session goes to its one handshake, which leaves the next; of another, each handshake gets a copy. */
static SSL_SESSION *next_session(SSL_SESSION **kept) {
    SSL_SESSION *next = *kept;
    if (next != NULL && SSL_SESSION_get_protocol_version(next) != VERSION_TLS1_3)
        return SSL_SESSION_dup(next);
    *kept = NULL;
    return next;
}

/* n handshakes from client to server; *kept is the session to go on with (start with NULL, free what is left in it).
 * Returns how many succeeded; *reused gets how many of them resumed. */
static int sslsession_bench(SSL_CTX *client_ctx, SSL_CTX *server_ctx, const char *name, SSL_SESSION **kept, int resume,
                            int n, int *reused) {
    int done = 0, good = 1;
    *reused = 0;
    ERR_clear_error();
    while (good && done < n) {
        SSL *client = SSL_new(client_ctx), *server = SSL_new(server_ctx);
        good = set_up(client, server, name, resume ? next_session(kept) : NULL) && shake(client, server)
            && speak_and_close(client, server, resume ? kept : NULL);
        if (good) {
            done++;
            *reused += SSL_session_reused(client);
        }
        SSL_free(client);
        SSL_free(server);
    }
    return done;
}
