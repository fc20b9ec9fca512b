/* What a client offers, followed from the moment its ClientHello is begun. A TLS 1.3 ticket may be used once (RFC 8446
 * C.4): all copies of one ticket in this process share its `ticket_use`, and the first handshake to begin wins it. */
enum {
    CTRL_SET_TLSEXT_DEBUG_CB = 56,
    EXTENSION_ENCRYPT_THEN_MAC = 22,
    EXTENSION_SESSION_TICKET = 35,
    EXTENSION_PRE_SHARED_KEY = 41,
    CB_LOOP = 0x01,
    CB_EXIT = 0x02,
    CB_WRITE = 0x08,
    CB_HANDSHAKE_START = 0x10,
    CB_HANDSHAKE_DONE = 0x20,
    CB_ALERT = 0x4000,
    ALERT_FATAL = 2,
    FLAGS_SHOULD_RETRY = 0x08,
    OUTCOME_DECLINED = 0,
    OUTCOME_RESUMED = 1,
    OUTCOME_WITHDRAWN = 2,
    REASON_TICKET_USED = 6,
    REASON_POLICY_CHANGED = 11,
    UNEXPECTED_EOF = 20 << 23 | 294 /* ERR_LIB_SSL, SSL_R_UNEXPECTED_EOF_WHILE_READING */
};

static int offer_unasked(SSL *, struct connection *, struct attachment *);
static int note_outcome(struct connection *, struct attachment *, int, int);
static int awaits_its_context(SSL *, struct connection *);
static void settle_the_context(SSL *, struct connection *);
static void conclude(SSL *, struct connection *);
static void date_the_stamp(SSL *, struct connection *);

/* Hangs the ticket's use on a session: 1, or 0 where memory is out. */
static int bind_use(SSL_SESSION *session) {
    unsigned char identity[IDENTITY_SIZE];
    sslsession_use *use = identify(session, identity) ? use_of(identity) : NULL;
    if (use != NULL && SSL_SESSION_set_ex_data(session, use_index, use))
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

/* The last look at what is offered: whether it is ours, still for this context, and, of a ticket, whether it is
 * unused. */
static void settle_the_offer(SSL *ssl, struct connection *connection) {
    SSL_SESSION *session = SSL_get_session(ssl);
    sslsession_use *use = session != NULL ? SSL_SESSION_get_ex_data(session, use_index) : NULL;
    int ours = session != NULL && SSL_SESSION_get_ex_data(session, offer_index) == connection;
    int reason = 0;
    if (ours && connection->offered_under != connection->policy.context)
        reason = REASON_POLICY_CHANGED; /* `conn.context` was set since: it was verified for the other one */
    else if (use != NULL && atomic_swap(&use->spent, 1) != 0)
        reason = REASON_TICKET_USED;
    if (reason != 0) {
        SSL_set_session(ssl, NULL);
        connection->reason = reason;
    }
    connection->offered = session != NULL && reason == 0;
    if (!connection->offered)
        connection->awaited = 0;
    /* Another session was set after ours, by ssl's own `session`: what we know of ours says nothing of that one. */
    if (!ours || reason != 0) {
        connection->earned_until = 0;
        sslsession_chain_free(connection->chain);
        connection->chain = NULL;
    }
}

/* Whether the connection would begin with the very session that we offered, in the context that it was offered for. */
static int still_offered(SSL *ssl, const struct connection *connection) {
    SSL_SESSION *session = SSL_get_session(ssl);
    return session != NULL && connection != NULL && SSL_SESSION_get_ex_data(session, offer_index) == connection
        && connection->offered_under == sslsession_context_id(SSL_get_SSL_CTX(ssl));
}

/* Who asked for early data had the session offered before the ClientHello is begun. Another context may have been set
 * meanwhile, or, by ssl's own `session`, another session, of which we know nothing. */
static void settle_again(SSL *ssl, struct connection *connection) {
    SSL_SESSION *session = SSL_get_session(ssl);
    if (!connection->early.begun || connection->done || still_offered(ssl, connection))
        return;
    if (session != NULL && SSL_SESSION_get_ex_data(session, offer_index) == connection) {
        SSL_set_session(ssl, session = NULL);
        connection->reason = REASON_POLICY_CHANGED;
    }
    connection->offered = session != NULL;
    connection->awaited = 0;
    connection->earned_until = 0;
    sslsession_chain_free(connection->chain);
    connection->chain = NULL;
}

/* The start of a connection's first handshake; a renegotiation starts with the same event and offers nothing. */
static void begin(SSL *ssl, struct connection *connection) {
    struct attachment *home = attachment_of(SSL_get_SSL_CTX(ssl));
    int asked;
    if (connection->begun)
        settle_again(ssl, connection);
    if (connection->begun || connection->late)
        return;
    connection->begun = 1;
    /* Set before the handshake, a context is not the SSL's first one, and may be exchanged and freed while we use it. */
    if (home != NULL && SSL_CTX_up_ref(home->ctx))
        connection->home = home;
    /* Where set_session read it just now, only `conn.context = other` can have changed the connection's settings. */
    if (!connection->policy_read || home == NULL || connection->policy.context != home->id)
        SSL_is_server(ssl) ? read_settings(ssl, &connection->policy) : sslsession_read_policy(ssl, &connection->policy);
    SSL_callback_ctrl(ssl, CTRL_SET_TLSEXT_DEBUG_CB, (generic_cb)on_extension);
    if (SSL_is_server(ssl))
        return;
    if (home != NULL && (atomic_read(&home->wants) & (WANT_OFFER | WANT_POOL)) && atomic_read(&gate)) {
        connection->offering = 1;
        asked = offer_unasked(ssl, connection, home) || (atomic_read(&home->wants) & WANT_OFFER);
        if (asked && SSL_get_session(ssl) == NULL) {
            enter_python();
            sslsession_py_offer(home->id, ssl);
            left_python();
        }
        connection->offering = 0;
    }
    settle_the_offer(ssl, connection);
}

/* Tells whoever offered the session what became of it; a withdrawal, also who kept sessions of this connection. */
static void tell_outcome(SSL *ssl, struct connection *connection, int outcome, int who) {
    struct attachment *home = connection->home;
    if (home == NULL || !(atomic_read(&home->wants) & (WANT_OFFER | WANT_POOL)) || !atomic_read(&gate)
        || !note_outcome(connection, home, outcome, who))
        return;
    enter_python();
    sslsession_py_outcome(home->id, ssl, outcome, who);
    left_python();
}

/* A fatal alert withdraws the connection's session, copies too (RFC 5246 7.2.2; RFC 8446 6.2). For a peer that closed
 * without close_notify OpenSSL 3 sends one as well, but that withdraws nothing (RFC 5246 7.2.1). */
static void withdraw(SSL *ssl, struct connection *connection, int written) {
    SSL_SESSION *session = SSL_is_server(ssl) ? NULL : SSL_get_session(ssl);
    if (session == NULL || (written && ERR_peek_last_error() == UNEXPECTED_EOF))
        return;
    mark_withdrawn(session);
    if (connection != NULL && (connection->offered || connection->done))
        tell_outcome(ssl, connection, OUTCOME_WITHDRAWN, 0);
}

/* OpenSSL also says that a handshake is done where it pauses for early data. */
static int peer_finished(const SSL *ssl) {
    unsigned char none[1];
    return SSL_get_peer_finished(ssl, none, 0) != 0;
}

/* The connection breaks without a word once early data was sent: so do servers that cannot read any, of TLS 1.2
 * (RFC 8446 D.3). With the ticket's siblings the same would happen again. */
static void give_up(SSL *ssl, struct connection *connection) {
    int who = connection->awaited;
    BIO *in = SSL_get_rbio(ssl), *out = SSL_get_wbio(ssl);
    if (who == 0 || (connection->early.sent == 0 && connection->early.waits == 0) || connection->done || SSL_is_server(ssl)
        || in == NULL || out == NULL || BIO_test_flags(in, FLAGS_SHOULD_RETRY) || BIO_test_flags(out, FLAGS_SHOULD_RETRY))
        return;
    connection->awaited = 0;
    tell_outcome(ssl, connection, OUTCOME_DECLINED, who);
}

static void on_info(const SSL *borrowed, int where, int value) {
    SSL *ssl = (SSL *)borrowed;
    SSL_CTX *ctx = SSL_get_SSL_CTX(ssl);
    struct connection *connection = connection_of(ssl);
    info_cb next = connection != NULL ? connection->previous_info : NULL;
    if (next == NULL && (next = SSL_CTX_get_info_callback(ctx)) == on_info) {
        struct attachment *home = connection != NULL ? connection->home : NULL;
        struct attachment *attachment = home != NULL && home->ctx == ctx ? home : attachment_of(ctx);
        next = attachment != NULL ? attachment->previous_info : NULL;
    }
    /* `conn.context` was set meanwhile, be it set back later: what its policy was at the start no longer says
     * under which trust its peer is verified, nor which certificate is shown. */
    if (connection != NULL && connection->home != NULL && ctx != connection->home->ctx)
        connection->swapped = 1;
    if (where & CB_HANDSHAKE_START) {
        if (connection == NULL)
            connection = sslsession_follow(ssl) ? connection_of(ssl) : NULL;
        ERR_set_mark();
        if (connection != NULL)
            begin(ssl, connection);
        ERR_pop_to_mark();
    } else if ((where & CB_LOOP) && connection != NULL && awaits_its_context(ssl, connection)) {
        settle_the_context(ssl, connection);
    } else if ((where & CB_LOOP) && connection != NULL && connection->served != NULL) {
        date_the_stamp(ssl, connection);
    } else if ((where & CB_ALERT) && value >> 8 == ALERT_FATAL) {
        withdraw(ssl, connection, where & CB_WRITE);
    } else if ((where & CB_EXIT) && value <= 0 && connection != NULL) {
        give_up(ssl, connection);
    } else if ((where & CB_HANDSHAKE_DONE) && connection != NULL && peer_finished(ssl)) {
        int who = connection->awaited;
        conclude(ssl, connection);
        connection->done = 1;
        connection->awaited = connection->asked = 0;
        if (who != 0)
            tell_outcome(ssl, connection, SSL_session_reused(ssl) ? OUTCOME_RESUMED : OUTCOME_DECLINED, who);
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

/* The connection's current session, `*none` where it has none; from now on the connection is watched. */
static sslsession_facts *sslsession_capture_current(SSL *ssl, int *none) {
    SSL_SESSION *session = sslsession_follow(ssl) ? SSL_get1_session(ssl) : NULL;
    sslsession_facts *facts = NULL;
    *none = session == NULL;
    if (session != NULL) {
        facts = capture(ssl, session, SSL_is_init_finished(ssl));
        SSL_SESSION_free(session);
    }
    return facts;
}

/* Offers a copy of `session` on a connection whose handshake has not begun. id_context: what the copy is made to have.
 * single_use: whether it is a TLS 1.3 ticket. chain: the peer's, or NULL. until: until when (epoch seconds) it is
 * known to hold under this connection's policy, 0 where that was not looked at. same_settings: whether it was made
 * under those of this connection. Returns 1, 0 where OpenSSL refuses it, -1 where it could not copy it. */
static int sslsession_offer(SSL *ssl, SSL_SESSION *session, const unsigned char *id_context, unsigned int length,
                            int single_use, OPENSSL_STACK *chain, int64_t until, int same_settings) {
    struct connection *connection = sslsession_follow(ssl) ? connection_of(ssl) : NULL;
    SSL_SESSION *copy = connection != NULL ? SSL_SESSION_dup(session) : NULL;
    int done;
    if (copy == NULL)
        return -1;
    done = SSL_SESSION_set1_id_context(copy, id_context, length) && (!single_use || bind_use(copy))
        && SSL_SESSION_set_ex_data(copy, offer_index, connection) && SSL_set_session(ssl, copy);
    if (done) {
        sslsession_chain_free(connection->chain);
        connection->chain = shared_chain(chain);
        connection->offered_under = sslsession_context_id(SSL_get_SSL_CTX(ssl));
        connection->earned_until = until;
        connection->same_settings = same_settings;
        connection->offered = 1;
        connection->reason = 0;
    }
    SSL_SESSION_free(copy);
    return done;
}

/* Has whoever offered the connection's session, who has this number, told what becomes of it. */
static void sslsession_await_outcome(SSL *ssl, int who) {
    struct connection *connection = connection_of(ssl);
    if (connection != NULL)
        connection->awaited = who;
}

static int sslsession_begun(SSL *ssl) {
    struct connection *connection = connection_of(ssl);
    return !SSL_in_before(ssl) || (connection != NULL && connection->begun && !connection->offering);
}

/* The policy that the connection's handshake began under; NULL where nobody watched its start. */
static const sslsession_policy *sslsession_policy_at_start(SSL *ssl) {
    struct connection *connection = connection_of(ssl);
    return connection != NULL && connection->begun ? &connection->policy : NULL;
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
