/* What follows once a ClientHello was looked at: sni_callback had its say, and the context is final. What was resumed
 * is looked at once more, what is made is stamped. */

/* The binding of the context that is final now. */
static int bind_effective(SSL *ssl, struct connection *connection) {
    struct served *served = connection->served;
    sslsession_policy policy;
    if (connection->home != NULL && SSL_get_SSL_CTX(ssl) == connection->home->ctx
        && SSL_get_verify_mode(ssl) == connection->policy.verify_mode) {
        memcpy(served->effective, served->binding, BINDING_SIZE);
        return 1;
    }
    served->trusted = trust_objects(SSL_get_SSL_CTX(ssl));
    read_settings(ssl, &policy);
    return bind_to(&policy, SSL_get_SSL_CTX(ssl), served->effective);
}

/* From here on the connection reads nothing more, so that its handshake cannot end. */
static void refuse(SSL *ssl) {
    BIO *end = BIO_new(BIO_s_mem());
    if (end == NULL) {
        SSL_set_shutdown(ssl, 3);
        return;
    }
    BIO_ctrl(end, BIO_SET_EOF_RETURN, 0, NULL);
    SSL_set0_rbio(ssl, end);
}

/* After each ClientHello there may be another context: a HelloRetryRequest, or a renegotiation, brings a second one. */
static int awaits_its_context(SSL *ssl, struct connection *connection) {
    struct served *served = connection->served;
    return served != NULL && served->bound
        && (served->settled == NULL || (!connection->done && served->settled != SSL_get_SSL_CTX(ssl)));
}

/* Whether the ClientHello just answered has the name that the connection is bound to. Where sni_callback chose a context
 * that is not ours, nobody tells of the ClientHello that follows a HelloRetryRequest, and a client may have changed it. */
static int same_name(SSL *ssl, const struct served *served) {
    const char *given = SSL_get_servername(ssl, 0);
    unsigned char name[NAME_MOST], digest[32];
    int length;
    if (served->read || SSL_version(ssl) < VERSION_TLS1_3)
        return 1;
    length = small_letters((const unsigned char *)given, given != NULL ? strlen(given) : 0, name);
    return length >= 0 && EVP_Digest(name, (size_t)length, digest, NULL, EVP_sha256(), NULL)
        && memcmp(digest, served->name, sizeof served->name) == 0;
}

/* Of a session that OpenSSL resumes and nobody asked us about: it has it in its internal cache, or from another's
 * callback. One without a stamp is let pass where there is no client certificate, and so is an external PSK. */
static int late_objection(SSL *ssl, struct served *served) {
    SSL_SESSION *session = SSL_get_session(ssl);
    unsigned int length;
    int why;
    if (stamp_of(session) != NULL) {
        why = objection(ssl, served->server, served, session);
        served->admitted = why == 0;
        return why;
    }
    SSL_SESSION_get_id(session, &length);
    return length != 0 && ((SSL_get_verify_mode(ssl) & VERIFY_PEER) || SSL_SESSION_get0_peer(session) != NULL)
        ? SERVER_REFUSED : 0;
}

static void remember(struct served *served) {
    struct remembered *last = remembered_of(served->server, served->name);
    lock();
    if (memcmp(served->effective, served->binding, BINDING_SIZE) != 0
        || memcmp(last->name, served->name, sizeof last->name) == 0) {
        memcpy(last->name, served->name, sizeof last->name);
        memcpy(last->binding, served->effective, STAMP_BINDING);
    }
    unlock();
}

/* A CA directory is read as certificates come that it is needed for, so what a client was verified by may be missing
 * from the binding. */
static int trust_moved(SSL *ssl, const struct served *served) {
    return (SSL_get_verify_mode(ssl) & VERIFY_PEER) && trust_objects(SSL_get_SSL_CTX(ssl)) != served->trusted;
}

static int allow_early_once(SSL *, sslsession_server *, unsigned char token[TOKEN_SIZE]);

/* What the session brings along when it comes back: when its client was authenticated in full, when the first of that
 * client's certificates ends, and which handshake that was, through all renewals. */
static void stamp_session(SSL *ssl, SSL_SESSION *session) {
    struct served *served = served_of(ssl);
    int64_t until = chain_ends(SSL_get0_verified_chain(ssl));
    int resumed = served != NULL && served->admitted && SSL_session_reused(ssl);
    unsigned char whole[STAMP_SIZE + TOKEN_SIZE];
    size_t size = STAMP_SIZE;
    if (served == NULL || !served->bound || served->settled == NULL)
        return;
    /* OpenSSL's internal cache may have lent this very session to other threads: it has its stamp, and is only read. */
    if (SSL_session_reused(ssl) && SSL_version(ssl) < VERSION_TLS1_3) {
        if (resumed)
            tally(served->server, SERVER_RENEWED);
        return;
    }
    if (trust_moved(ssl, served)) {
        SSL_SESSION_set1_ticket_appdata(session, NULL, 0);
        return;
    }
    if (!resumed && !served->fresh) {
        if (RAND_bytes(served->stamp + STAMP_SIZE - STAMP_LINEAGE, STAMP_LINEAGE) <= 0)
            return;
        put_number(served->stamp + 1 + STAMP_BINDING, (uint64_t)server_time(served->server), 6);
        put_number(served->stamp + 1 + STAMP_BINDING + 6, 0, 6);
        served->fresh = 1;
    }
    if (until > 0)
        put_number(served->stamp + 1 + STAMP_BINDING + 6, (uint64_t)until, 6);
    if (resumed)
        tally(served->server, SERVER_RENEWED);
    served->stamp[0] = STAMP_VERSION;
    memcpy(served->stamp + 1, served->effective, STAMP_BINDING);
    memcpy(whole, served->stamp, STAMP_SIZE);
    if (allow_early_once(ssl, served->server, whole + STAMP_SIZE)) {
        whole[0] = STAMP_VERSION_EARLY;
        size += TOKEN_SIZE;
    }
    SSL_SESSION_set1_ticket_appdata(session, whole, size);
}

/* Before anything is answered: sni_callback has chosen. A session made under another context's settings was resumed
 * already and cannot be taken back, so its connection ends; the next one of this name starts full. */
static void settle_the_context(SSL *ssl, struct connection *connection) {
    struct served *served = connection->served;
    int reused = SSL_session_reused(ssl), why = 0, bound;
    ERR_set_mark();
    served->settled = SSL_get_SSL_CTX(ssl);
    /* Of several that were offered, one may have been admitted and another resumed. */
    served->admitted &= reused && is_stamped(SSL_get_session(ssl), served->stamp);
    bound = bind_effective(ssl, connection);
    if (!bound)
        memset(served->effective, 0, BINDING_SIZE);
    if (reused && !served->admitted)
        why = late_objection(ssl, served);
    else if (reused && served->settled != home_of(ssl, connection) && !holds_today(ssl, SSL_get_session(ssl)))
        why = SERVER_REFUSED;
    if (reused && (!bound || why != 0 || !same_name(ssl, served)
                   || (served->admitted && memcmp(served->stamp + 1, served->effective, STAMP_BINDING) != 0))) {
        tally(served->server, SERVER_CUT);
        if (connection->home != NULL)
            SSL_CTX_remove_session(connection->home->ctx, SSL_get_session(ssl));
        refuse(ssl);
    } else if (!reused && !served->server->settings.stores && SSL_version(ssl) < VERSION_TLS1_3) {
        stamp_session(ssl, SSL_get_session(ssl)); /* OpenSSL itself may keep it, and its id is all that its client gets */
    }
    remember(served);
    served->read = 0;
    ERR_pop_to_mark();
}

/* What OpenSSL itself will keep was stamped before its client had shown a certificate. It is nobody else's yet. */
static void date_the_stamp(SSL *ssl, struct connection *connection) {
    struct served *served = connection->served;
    if (served == NULL || connection->done || served->dated || !served->fresh || served->server->settings.stores
        || SSL_version(ssl) >= VERSION_TLS1_3 || SSL_session_reused(ssl) || SSL_get0_verified_chain(ssl) == NULL)
        return;
    served->dated = 1;
    stamp_session(ssl, SSL_get_session(ssl));
}

static void keep_on_shelf(SSL *, struct served *);

/* A handshake is done. */
static void conclude(SSL *ssl, struct connection *connection) {
    struct served *served = connection->served;
    SSL_SESSION *session = SSL_get_session(ssl);
    int reused = SSL_session_reused(ssl);
    if (served == NULL)
        return;
    ERR_set_mark();
    if (served->admitted && reused && !connection->done) {
        tally(served->server, SERVER_RESUMED);
        keep_on_shelf(ssl, served);
    }
    if (!reused && connection->home != NULL && trust_moved(ssl, served))
        SSL_CTX_remove_session(connection->home->ctx, session);
    else if (!reused && SSL_version(ssl) < VERSION_TLS1_3 && stamp_of(session) == NULL)
        stamp_session(ssl, session); /* of a renegotiation that nobody told of */
    SSL_SESSION_free(served->taken);
    served->taken = NULL;
    ERR_pop_to_mark();
}

static int on_early_data(SSL *, void *);

static int on_generate_ticket(SSL *ssl, void *arg) {
    (void)arg;
    ERR_set_mark();
    stamp_session(ssl, SSL_get_session(ssl));
    ERR_pop_to_mark();
    return 1;
}

static int on_opened_ticket(SSL *ssl, SSL_SESSION *session, const unsigned char *name, size_t length, int status,
                            void *arg) {
    (void)arg;
    if (status != TICKET_OPENED && status != TICKET_OPENED_RENEW)
        return TICKET_IGNORE_RENEW;
    if (length == KEY_NAME_SIZE)
        count_opened(ssl, name, status == TICKET_OPENED_RENEW);
    if (!admit(ssl, session))
        return TICKET_IGNORE_RENEW;
    return status == TICKET_OPENED_RENEW ? TICKET_USE_RENEW : TICKET_USE;
}

/* The context's connections are under these rules from now on; NULL: under none. 0 where memory is out. */
static int sslsession_server_join(SSL_CTX *ctx, sslsession_server *server) {
    struct attachment *attachment = make_attachment(ctx);
    sslsession_server *left;
    if (attachment == NULL)
        return 0;
    if (server != NULL)
        atomic_add(&server->references, 1);
    lock();
    left = attachment->server;
    attachment->server = server;
    unlock();
    sslsession_server_free(left);
    SSL_CTX_set_client_hello_cb(ctx, server != NULL ? on_client_hello : NULL, NULL);
    SSL_CTX_set_allow_early_data_cb(ctx, server != NULL && server->settings.early ? on_early_data : NULL, NULL);
    SSL_CTX_set_session_ticket_cb(ctx, server != NULL ? on_generate_ticket : NULL,
                                  server != NULL ? on_opened_ticket : NULL, NULL);
    return 1;
}
