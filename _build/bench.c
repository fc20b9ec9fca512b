/* The yardstick: the handshakes that the benchmark makes through Python, made here with nothing between them. */
enum { CTRL_SET_TLSEXT_HOSTNAME = 55, ROUNDS_MOST = 16 };

static void close_both(SSL *client, SSL *server) {
    SSL_shutdown(client);
    SSL_shutdown(server);
    SSL_shutdown(client);
    SSL_free(client);
    SSL_free(server);
}

static int join(SSL *client, SSL *server) {
    BIO *to_server = BIO_new(BIO_s_mem()), *to_client = BIO_new(BIO_s_mem());
    if (to_server == NULL || to_client == NULL)
        return 0;
    BIO_up_ref(to_server);
    BIO_up_ref(to_client);
    SSL_set_bio(client, to_client, to_server);
    SSL_set_bio(server, to_server, to_client);
    return 1;
}

static int shake(SSL *client, SSL *server) {
    unsigned char nothing[1];
    for (int round = 0; round < ROUNDS_MOST; round++) {
        int done = SSL_do_handshake(client) == 1;
        done &= SSL_do_handshake(server) == 1;
        if (done) {
            SSL_read(client, nothing, sizeof nothing);
            return 1;
        }
    }
    return 0;
}

static int one_handshake(SSL_CTX *client_ctx, SSL_CTX *server_ctx, const char *name, SSL_SESSION **kept, int resume,
                         int *reused) {
    static const unsigned char id_context[] = "Python";
    SSL *client = SSL_new(client_ctx), *server = SSL_new(server_ctx);
    SSL_SESSION *offered;
    int done = 0;
    if (client == NULL || server == NULL || !join(client, server))
        return 0;
    SSL_set_connect_state(client);
    SSL_set_accept_state(server);
    SSL_set_session_id_context(server, id_context, sizeof id_context - 1);
    SSL_ctrl(client, CTRL_SET_TLSEXT_HOSTNAME, 0, (void *)name);
    X509_VERIFY_PARAM_set1_host(SSL_get0_param(client), name, 0);
    if (resume && *kept != NULL && (offered = SSL_SESSION_dup(*kept)) != NULL) {
        SSL_set_session(client, offered);
        SSL_SESSION_free(offered);
    }
    if (shake(client, server)) {
        done = 1;
        *reused += SSL_session_reused(client);
        if (resume && (*kept == NULL || SSL_version(client) == 0x0304)) {
            if (*kept != NULL)
                SSL_SESSION_free(*kept);
            *kept = SSL_SESSION_dup(SSL_get_session(client));
        }
    }
    close_both(client, server);
    return done;
}

/* n handshakes from client to server; *kept is the session to go on with (start with NULL, free what is left in it).
 * Returns how many succeeded; *reused gets how many of them resumed. */
static int sslsession_bench(SSL_CTX *client, SSL_CTX *server, const char *name, SSL_SESSION **kept, int resume, int n,
                            int *reused) {
    int done = 0;
    *reused = 0;
    ERR_clear_error();
    while (done < n && one_handshake(client, server, name, kept, resume, reused))
        done++;
    return done;
}
