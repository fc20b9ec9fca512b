/* What a client offers, followed from the moment its ClientHello is begun. A TLS 1.3 ticket may be used once (RFC 8446
 * C.4): all copies of one ticket in this process share its `ticket_use`, and the first handshake to begin wins it. */
enum {
    CTRL_SET_TLSEXT_DEBUG_CB = 56,
    EXTENSION_ENCRYPT_THEN_MAC = 22,
    EXTENSION_SESSION_TICKET = 35,
    EXTENSION_PRE_SHARED_KEY = 41,
    CB_WRITE = 0x08,
    CB_HANDSHAKE_START = 0x10,
    CB_ALERT = 0x4000,
    ALERT_FATAL = 2,
    REASON_TICKET_USED = 6,
    UNEXPECTED_EOF = 20 << 23 | 294 /* ERR_LIB_SSL, SSL_R_UNEXPECTED_EOF_WHILE_READING */
};

static sslsession_use *sslsession_use_new(void) {
    sslsession_use *use = calloc(1, sizeof *use);
    if (use != NULL)
        use->references = 1;
    return use;
}

static int sslsession_use_spent(sslsession_use *use) { return atomic_read(&use->spent) != 0; }

/* Hangs the ticket's use on a session, with a reference of its own: 1, or 0 where memory is out. */
static int sslsession_bind(SSL_SESSION *session, sslsession_use *use) {
    atomic_add(&use->references, 1);
    if (SSL_SESSION_set_ex_data(session, use_index, use))
        return 1;
    sslsession_use_free(use);
    return 0;
}

static void on_extension(SSL *ssl, int client_server, int type, const unsigned char *data, int length, void *arg) {
    struct connection *connection = connection_of(ssl);
    (void)client_server, (void)data, (void)arg;
    if (connection == NULL)
        return;
    connection->saw_encrypt_then_mac |= type == EXTENSION_ENCRYPT_THEN_MAC;
    connection->saw_psk |= type == EXTENSION_PRE_SHARED_KEY;
    connection->saw_ticket |= type == EXTENSION_SESSION_TICKET && length > 0;
}

static void win_the_ticket(SSL *ssl, struct connection *connection) {
    SSL_SESSION *session = SSL_get_session(ssl);
    sslsession_use *use = session != NULL ? SSL_SESSION_get_ex_data(session, use_index) : NULL;
    connection->offered = session != NULL;
    /* Another session was set after ours, by ssl's own `session`: what we know of ours says nothing of that one. */
    if (session != NULL && SSL_SESSION_get_ex_data(session, offer_index) != connection) {
        connection->earned = 0;
        sslsession_chain_free(connection->chain);
        connection->chain = NULL;
    }
    if (use != NULL && atomic_swap(&use->spent, 1) != 0) {
        SSL_set_session(ssl, NULL);
        connection->offered = 0;
        connection->reason = REASON_TICKET_USED;
    }
}

/* The start of a connection's first handshake; a renegotiation starts with the same event and offers nothing. */
static void begin(SSL *ssl, struct connection *connection) {
    struct attachment *home = attachment_of(SSL_get_SSL_CTX(ssl));
    SSL_SESSION *session;
    if (connection->begun || connection->late)
        return;
    connection->begun = 1;
    /* Set before the handshake, a context is not the SSL's first one, and may be exchanged and freed while we use it. */
    if (home != NULL && SSL_CTX_up_ref(home->ctx))
        connection->home = home;
    sslsession_read_policy(ssl, &connection->policy);
    SSL_callback_ctrl(ssl, CTRL_SET_TLSEXT_DEBUG_CB, (generic_cb)on_extension);
    if (SSL_is_server(ssl))
        return;
    if (SSL_get_session(ssl) == NULL && home != NULL && (atomic_read(&home->wants) & WANT_OFFER)
        && atomic_read(&gate)) {
        enter_python();
        session = sslsession_py_offer(home->id, ssl);
        if (session != NULL) {
            SSL_set_session(ssl, session);
            SSL_SESSION_free(session);
        }
        left_python();
    }
    win_the_ticket(ssl, connection);
}

/* A fatal alert withdraws the connection's session, copies too (RFC 5246 7.2.2; RFC 8446 6.2). For a peer that closed
 * without close_notify OpenSSL 3 sends one as well, but that withdraws nothing (RFC 5246 7.2.1). */
static void withdraw(SSL *ssl, int written) {
    SSL_SESSION *session = SSL_is_server(ssl) ? NULL : SSL_get_session(ssl);
    if (written && ERR_peek_last_error() == UNEXPECTED_EOF)
        return;
    if (session != NULL && SSL_SESSION_up_ref(session))
        push_event(EVENT_WITHDRAWN, 0, session);
}

static void on_info(const SSL *borrowed, int where, int value) {
    SSL *ssl = (SSL *)borrowed;
    SSL_CTX *ctx = SSL_get_SSL_CTX(ssl);
    struct connection *connection = connection_of(ssl);
    struct attachment *attachment = attachment_of(ctx);
    info_cb next = connection != NULL ? connection->previous_info : NULL;
    if (next == NULL) {
        next = SSL_CTX_get_info_callback(ctx);
        if (next == on_info)
            next = attachment != NULL ? attachment->previous_info : NULL;
    }
    if (where & CB_HANDSHAKE_START) {
        if (connection == NULL)
            connection = sslsession_follow(ssl) ? connection_of(ssl) : NULL;
        if (connection != NULL)
            begin(ssl, connection);
    } else if ((where & CB_ALERT) && value >> 8 == ALERT_FATAL) {
        withdraw(ssl, where & CB_WRITE);
    }
    if (next != NULL)
        next(borrowed, where, value);
}

/* Watches this one connection, whatever its context: 1, or 0 where memory is out. */
static int sslsession_follow(SSL *ssl) {
    struct connection *connection = make_connection(ssl);
    info_cb set;
    if (connection == NULL)
        return 0;
    if (!connection->followed) {
        connection->followed = 1;
        connection->late = !SSL_in_before(ssl);
        set = SSL_get_info_callback(ssl);
        connection->previous_info = set != on_info ? set : NULL;
        SSL_set_info_callback(ssl, on_info);
    }
    return 1;
}

/* Offers `session` on a connection whose handshake has not begun, and takes over its reference. use: of a TLS 1.3
 * ticket, else NULL. chain: the peer's, or NULL. earned: whether it was verified under this connection's policy. */
static int sslsession_offer(SSL *ssl, SSL_SESSION *session, sslsession_use *use, OPENSSL_STACK *chain, int earned) {
    struct connection *connection = sslsession_follow(ssl) ? connection_of(ssl) : NULL;
    int done = connection != NULL && (use == NULL || sslsession_bind(session, use))
        && SSL_SESSION_set_ex_data(session, offer_index, connection) && SSL_set_session(ssl, session);
    if (done) {
        sslsession_chain_free(connection->chain);
        connection->chain = shared_chain(chain);
        connection->earned = earned;
        connection->offered = 1;
        connection->reason = 0;
    }
    SSL_SESSION_free(session);
    return done;
}

static int sslsession_begun(SSL *ssl) {
    struct connection *connection = connection_of(ssl);
    return !SSL_in_before(ssl) || (connection != NULL && connection->begun);
}

static void sslsession_set_reason(SSL *ssl, int reason) {
    struct connection *connection = sslsession_follow(ssl) ? connection_of(ssl) : NULL;
    if (connection != NULL)
        connection->reason = reason;
}

static int sslsession_get_reason(SSL *ssl) {
    struct connection *connection = connection_of(ssl);
    return connection != NULL ? connection->reason : 0;
}

/* Bits: 1 followed, 2 followed since its start, 4 a session was offered, 8 the peer's pre_shared_key, 16 a ticket. */
static int sslsession_connection_flags(SSL *ssl) {
    struct connection *connection = connection_of(ssl);
    if (connection == NULL)
        return 0;
    return 1 | (connection->begun ? 2 : 0) | (connection->offered ? 4 : 0) | (connection->saw_psk ? 8 : 0)
        | (connection->saw_ticket ? 16 : 0);
}
