/* Whether a server resumes: what a session is stamped with as it is made, and asked for as it comes back, whether it
 * comes in a ticket or out of a store. OpenSSL decides before sni_callback had its say, so a session is bound to the
 * name by its id context, and looked at once more when the context is final. */
static int64_t read_number(const unsigned char *at, int size) {
    int64_t number = 0;
    while (size-- > 0)
        number = number << 8 | *at++;
    return number;
}

static struct remembered *remembered_of(sslsession_server *server, const unsigned char *name) {
    uint64_t number = 0;
    memcpy(&number, name, sizeof number);
    return &server->names[number * server->seed >> 54];
}

/* Whether the last connection of this name went to a context that is bound otherwise. */
static int goes_elsewhere(sslsession_server *server, const struct served *served, const unsigned char *binding) {
    struct remembered *last = remembered_of(server, served->name);
    int differs;
    lock();
    differs = memcmp(last->name, served->name, sizeof last->name) == 0
        && memcmp(last->binding, binding, STAMP_BINDING) != 0;
    unlock();
    return differs;
}

static unsigned char *stamp_of(SSL_SESSION *session) {
    void *data = NULL;
    size_t size = 0;
    if (!SSL_SESSION_get0_ticket_appdata(session, &data, &size) || (size != STAMP_SIZE && size != STAMP_SIZE + TOKEN_SIZE))
        return NULL;
    return *(unsigned char *)data == (size == STAMP_SIZE ? STAMP_VERSION : STAMP_VERSION_EARLY) ? data : NULL;
}

static int is_stamped(SSL_SESSION *session, const unsigned char *stamp) {
    const unsigned char *found = stamp_of(session);
    return found != NULL && memcmp(found, stamp, STAMP_SIZE) == 0;
}

/* Whether a full handshake, here and now, would fail without a client certificate. */
static int demands_certificate(SSL *ssl) {
    int mode = SSL_get_verify_mode(ssl);
    return (mode & VERIFY_FAIL_IF_NO_PEER_CERT)
        && !((mode & VERIFY_POST_HANDSHAKE) && SSL_version(ssl) >= VERSION_TLS1_3);
}

/* Where revocation is looked at, a new list comes unseen, so the client is verified again. Its intermediates are not in
 * the session: who is verified by any that the context does not have starts full. */
static int holds_today(SSL *ssl, SSL_SESSION *session) {
    X509 *leaf = SSL_SESSION_get0_peer(session);
    sslsession_trust trust;
    int error;
    return leaf == NULL || !(SSL_get_verify_mode(ssl) & VERIFY_PEER)
        || !(X509_VERIFY_PARAM_get_flags(SSL_get0_param(ssl)) & (FLAG_CRL_CHECK | FLAG_CRL_CHECK_ALL))
        || sslsession_verify_again(ssl, leaf, NULL, &error, &trust);
}

/* Before TLS 1.3 a resumed connection has its session's suite, and OpenSSL asks only whether the client has it. */
static int has_suite(SSL *ssl, SSL_SESSION *session) {
    OPENSSL_STACK *ours = SSL_get_ciphers(ssl);
    const SSL_CIPHER *suite = SSL_SESSION_get0_cipher(session);
    if (SSL_version(ssl) >= VERSION_TLS1_3)
        return 1;
    for (int i = 0; suite != NULL && ours != NULL && i < OPENSSL_sk_num(ours); i++)
        if (SSL_CIPHER_get_protocol_id(OPENSSL_sk_value(ours, i)) == SSL_CIPHER_get_protocol_id(suite))
            return 1;
    return 0;
}

/* Whether it has the connection's id context. OpenSSL looks at that too, but does not tell. */
static int made_here(const struct served *served, SSL_SESSION *session) {
    unsigned int length;
    const unsigned char *id_context = SSL_SESSION_get0_id_context(session, &length);
    return length == sizeof served->id_context && memcmp(id_context, served->id_context, length) == 0;
}

/* Of a session that the ticket key or the store vouches for: 0, or a SERVER_ count that says why it is not resumed. */
static int objection(SSL *ssl, sslsession_server *server, struct served *served, SSL_SESSION *session) {
    int64_t now = server_time(server), authenticated, until;
    unsigned char *stamp = stamp_of(session);
    if (!served->bound || stamp == NULL || !made_here(served, session) || !has_suite(ssl, session))
        return SERVER_REFUSED;
    authenticated = read_number(stamp + 1 + STAMP_BINDING, 6);
    until = read_number(stamp + 1 + STAMP_BINDING + 6, 6);
    if (authenticated > now + CLOCK_SKEW || now - authenticated >= server->settings.authentication_limit
        || (until != 0 && now >= until))
        return SERVER_EXPIRED;
    if (demands_certificate(ssl) && SSL_SESSION_get0_peer(session) == NULL)
        return SERVER_REFUSED;
    if (!sslsession_leaf_in_date(session, now))
        return SERVER_EXPIRED;
    if (is_revoked(server, session, served, stamp + STAMP_SIZE - STAMP_LINEAGE, authenticated))
        return SERVER_REVOKED;
    if (goes_elsewhere(server, served, stamp + 1) || !holds_today(ssl, session))
        return SERVER_REFUSED;
    memcpy(served->stamp, stamp, STAMP_SIZE);
    served->has_token = *stamp == STAMP_VERSION_EARLY;
    if (served->has_token)
        memcpy(served->token, stamp + STAMP_SIZE, TOKEN_SIZE);
    return 0;
}

static struct served *served_of(SSL *ssl) {
    struct connection *connection = connection_of(ssl);
    return connection != NULL ? connection->served : NULL;
}

static int admit(SSL *ssl, SSL_SESSION *session) {
    struct served *served = served_of(ssl);
    int why;
    if (served == NULL)
        return 0;
    served->settled = NULL;
    served->admitted = 0;
    ERR_set_mark();
    why = objection(ssl, served->server, served, session);
    ERR_pop_to_mark();
    if (why != 0) {
        tally(served->server, why);
        return 0;
    }
    served->admitted = 1;
    return 1;
}

/* Names are compared without case: the length, or -1. */
static int small_letters(const unsigned char *text, size_t length, unsigned char name[NAME_MOST]) {
    if (length > NAME_MOST)
        return -1;
    for (size_t i = 0; i < length; i++)
        name[i] = text[i] >= 'A' && text[i] <= 'Z' ? text[i] | 0x20 : text[i];
    return (int)length;
}

/* The server name of a ClientHello in small letters: its length, or -1. */
static int read_name(SSL *ssl, unsigned char name[NAME_MOST]) {
    const unsigned char *data = NULL;
    size_t size = 0, length = 0;
    if (!SSL_client_hello_get0_ext(ssl, EXTENSION_SERVER_NAME, &data, &size) || size <= 5 || data[2] != 0)
        return 0;
    length = (size_t)(data[3] << 8 | data[4]);
    return length <= size - 5 ? small_letters(data + 5, length, name) : -1;
}

static SSL_CTX *home_of(SSL *ssl, struct connection *connection) {
    return connection->home != NULL ? connection->home->ctx : SSL_get_SSL_CTX(ssl);
}

static int bind_name(SSL *ssl, struct connection *connection, const unsigned char *text, int length) {
    struct served *served = connection->served;
    unsigned char all[3 * 32];
    if (!bind_to(&connection->policy, home_of(ssl, connection), all)
        || !EVP_Digest(text, (size_t)length, all + 32, NULL, EVP_sha256(), NULL))
        return 0;
    memcpy(all + 64, served->server->settings.context_id, 32);
    memcpy(served->binding, all, BINDING_SIZE);
    memcpy(served->name, all + 32, sizeof served->name);
    return EVP_Digest(all, sizeof all, served->id_context, NULL, EVP_sha256(), NULL);
}

/* A connection's id context, by which OpenSSL itself passes over what was made for another name or other settings. One
 * that cannot be told gets a random one, and resumes nothing. Nearly every connection is like the last. */
static int bind_connection(SSL *ssl, struct connection *connection) {
    struct served *served = connection->served;
    sslsession_server *server = served->server;
    unsigned char text[NAME_MOST];
    int length = read_name(ssl, text), known;
    if (length < 0)
        return 0;
    /* A client may take its time: more may be trusted, or revoked, than when its handshake began. */
    connection->policy.trust_objects = served->trusted = trust_objects(home_of(ssl, connection));
    lock();
    known = server->last.policy.context != 0 && server->last.length == length
        && memcmp(server->last.text, text, (size_t)length) == 0
        && memcmp(&server->last.policy, &connection->policy, sizeof connection->policy) == 0;
    if (known) {
        memcpy(served->binding, server->last.binding, sizeof served->binding);
        memcpy(served->name, server->last.name, sizeof served->name);
        memcpy(served->id_context, server->last.id_context, sizeof served->id_context);
    }
    unlock();
    if (!known) {
        if (!bind_name(ssl, connection, text, length))
            return 0;
        lock();
        server->last.length = length;
        memcpy(server->last.text, text, (size_t)length);
        server->last.policy = connection->policy;
        memcpy(server->last.binding, served->binding, sizeof served->binding);
        memcpy(server->last.name, served->name, sizeof served->name);
        memcpy(server->last.id_context, served->id_context, sizeof served->id_context);
        unlock();
    }
    served->read = 1;
    return SSL_set_session_id_context(ssl, served->id_context, sizeof served->id_context);
}

/* A record of this connection, which keeps its server's rules alive: NULL where nobody asked for any. */
static struct served *serve(SSL *ssl) {
    struct attachment *home = attachment_for(ssl);
    struct connection *connection = connection_of(ssl);
    struct served *served = connection != NULL ? connection->served : NULL;
    if (served != NULL || connection == NULL || !connection->begun || (served = zalloc(sizeof *served)) == NULL)
        return served;
    lock();
    served->server = home != NULL ? home->server : NULL;
    if (served->server != NULL)
        atomic_add(&served->server->references, 1);
    unlock();
    if (served->server == NULL) {
        free(served);
        return NULL;
    }
    return connection->served = served;
}

static int on_client_hello(SSL *ssl, int *alert, void *arg) {
    struct served *served;
    unsigned char nobody[32];
    (void)arg;
    ERR_set_mark();
    served = serve(ssl);
    if (served != NULL) {
        served->settled = NULL;
        served->admitted = served->fresh = served->dated = 0;
        served->bound = bind_connection(ssl, connection_of(ssl));
    }
    ERR_pop_to_mark();
    if (served != NULL && served->bound)
        return CLIENT_HELLO_SUCCESS;
    if (RAND_bytes(nobody, sizeof nobody) > 0 && SSL_set_session_id_context(ssl, nobody, sizeof nobody))
        return CLIENT_HELLO_SUCCESS;
    *alert = INTERNAL_ERROR;
    return CLIENT_HELLO_ERROR;
}
