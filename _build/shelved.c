/* Sessions of a server in a store: what OpenSSL made goes to Python as bytes, and comes back to be looked at. */
enum { STORED_MOST = 16384, OP_NO_TICKET = 1 << 14, OP_NO_ANTI_REPLAY = 1 << 24 };

/* Whether the client's next ticket is only a key to what the store has; in TLS 1.2 that is what an id is. */
static int is_stateful(SSL *ssl) {
    uint64_t options = SSL_get_options(ssl);
    return SSL_version(ssl) < VERSION_TLS1_3 || (options & OP_NO_TICKET)
        || (SSL_get_max_early_data(ssl) > 0 && !(options & OP_NO_ANTI_REPLAY));
}

static int has_id(const SSL_SESSION *session, const unsigned char *id, int length) {
    unsigned int found_length;
    const unsigned char *found = SSL_SESSION_get_id(session, &found_length);
    return (int)found_length == length && memcmp(found, id, found_length) == 0;
}

/* made: when the session was (epoch seconds), if it was there before, and was resumed now; else 0. */
static void put_on_shelf(struct served *served, SSL_SESSION *session, int64_t made) {
    int version = SSL_SESSION_get_protocol_version(session), size, most;
    unsigned char *bytes, *end;
    unsigned int length;
    const unsigned char *id = SSL_SESSION_get_id(session, &length);
    most = i2d_SSL_SESSION(session, NULL);
    if (length == 0 || most <= 0 || most > STORED_MOST || (end = bytes = malloc((size_t)most)) == NULL) {
        tally(served->server, SERVER_DROPPED);
        return;
    }
    size = i2d_SSL_SESSION(session, &end);
    enter_python();
    sslsession_py_shelve(served->server->settings.number, id, (int)length, bytes, size, version, made);
    left_python();
    OPENSSL_cleanse(bytes, (size_t)most);
    free(bytes);
}

static void shelve(SSL *ssl, SSL_SESSION *session) {
    struct served *served = served_of(ssl);
    if (served == NULL || !served->server->settings.stores || !is_stateful(ssl))
        return;
    if (SSL_SESSION_get_protocol_version(session) < VERSION_TLS1_3)
        stamp_session(ssl, session);
    put_on_shelf(served, session, 0);
}

/* A session of the store was resumed, and where they may not lie idle for long, this one lay no longer. */
static void keep_on_shelf(SSL *ssl, struct served *served) {
    if (served->server->settings.idles && served->taken != NULL && SSL_version(ssl) < VERSION_TLS1_3 && atomic_read(&gate))
        put_on_shelf(served, served->taken, made_at(served->taken));
}

/* What the store has under an id, if it is that session, and whole. */
static SSL_SESSION *fetch_session(SSL *ssl, struct served *served, const unsigned char *id, int length) {
    unsigned char bytes[STORED_MOST];
    const unsigned char *at = bytes;
    SSL_SESSION *session;
    int size;
    enter_python();
    size = sslsession_py_unshelve(served->server->settings.number, id, length, SSL_version(ssl), bytes, sizeof bytes);
    left_python();
    if (size <= 0)
        return NULL;
    ERR_set_mark();
    session = d2i_SSL_SESSION(NULL, &at, size);
    ERR_pop_to_mark();
    OPENSSL_cleanse(bytes, (size_t)size);
    if (session != NULL && at == bytes + size && has_id(session, id, length)
        && SSL_SESSION_get_protocol_version(session) == SSL_version(ssl))
        return session;
    tally(served->server, SERVER_REFUSED);
    SSL_SESSION_free(session);
    return NULL;
}

/* The session of an id that a client proposed, if the store has it and it may be resumed here and now. After a
 * HelloRetryRequest the client proposes it once more, and one of TLS 1.3 is not in the store any longer. */
static SSL_SESSION *unshelve(SSL *ssl, const unsigned char *id, int length) {
    struct served *served = served_of(ssl);
    if (served == NULL || !served->server->settings.stores)
        return NULL;
    if (served->taken == NULL || !has_id(served->taken, id, length)) {
        if (!may_ask(ssl))
            return NULL;
        SSL_SESSION_free(served->taken);
        served->taken = fetch_session(ssl, served, id, length);
    }
    if (served->taken == NULL || !admit(ssl, served->taken) || !SSL_SESSION_up_ref(served->taken))
        return NULL;
    return served->taken;
}
