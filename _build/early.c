/* Early data (RFC 8446 2.3): on clients whether a session's conditions for it hold here, on servers whether it may be
 * accepted, and OpenSSL's two calls with what SSL_get_error says of them, for that is this thread's alone. */
enum {
    CTRL_SET_MSG_CALLBACK = 15,
    EXTENSION_ALPN = 16,
    EARLY_DATA_READ_SUCCESS = 1,
    EARLY_DATA_READ_FINISH = 2,
    CLIENT_HELLO_MOST = 16384
};

static int skip(const unsigned char **at, const unsigned char *end, int width) {
    size_t length = 0;
    if (end - *at < width)
        return 0;
    for (int i = 0; i < width; i++)
        length = length << 8 | *(*at)++;
    if ((size_t)(end - *at) < length)
        return 0;
    *at += length;
    return 1;
}

static size_t read_size(const unsigned char *at) { return (size_t)at[0] << 8 | at[1]; }

/* Whether a ClientHello (with its record's header) offers an application protocol. */
static int hello_offers(const unsigned char *hello, size_t size, const unsigned char *protocol, size_t length) {
    const unsigned char *at = hello + 5 + 4 + 2 + 32, *end = hello + size;
    if (size < 5 + 4 + 2 + 32 || !skip(&at, end, 1) || !skip(&at, end, 2) || !skip(&at, end, 1) || end - at < 2)
        return 0;
    for (at += 2; end - at >= 4; at += 4 + read_size(at + 2)) {
        const unsigned char *each = at + 6, *last = at + 4 + read_size(at + 2);
        if (last > end)
            return 0;
        if (read_size(at) == EXTENSION_ALPN)
            for (; each < last; each += 1 + *each)
                if (*each == length && (size_t)(last - each) > length && memcmp(each + 1, protocol, length) == 0)
                    return 1;
    }
    return 0;
}

static void tell_nobody(const SSL *ssl, int where, int value) { (void)ssl, (void)where, (void)value; }

/* What a context offers by ALPN no function tells: a ClientHello that nobody gets does. */
static int context_offers(SSL_CTX *ctx, const unsigned char *protocol, size_t length) {
    unsigned char hello[CLIENT_HELLO_MOST];
    SSL *trial = SSL_new(ctx);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    int size = 0;
    if (trial == NULL || in == NULL || out == NULL) {
        BIO_free(in);
        BIO_free(out);
        SSL_free(trial);
        return 0;
    }
    SSL_set_info_callback(trial, tell_nobody);
    SSL_callback_ctrl(trial, CTRL_SET_MSG_CALLBACK, NULL); /* CPython's expects a connection of its own */
    SSL_set_bio(trial, in, out);
    SSL_set_connect_state(trial);
    SSL_do_handshake(trial);
    size = BIO_read(out, hello, sizeof hello);
    SSL_free(trial);
    return size > 0 && hello_offers(hello, (size_t)size, protocol, length);
}

/* EARLY_FIT, or why nothing of this connection travels early. OpenSSL ends a handshake over SNI and ALPN that differ from the
 * session's, so these are looked at before. */
static int early_objection(SSL *ssl, struct connection *connection) {
    SSL_SESSION *session = SSL_get_session(ssl);
    const char *then, *now = SSL_get_servername(ssl, 0);
    const unsigned char *protocol = NULL;
    size_t length = 0;
    if (session == NULL || !connection->offered)
        return EARLY_NO_SESSION;
    if (SSL_SESSION_get_max_early_data(session) == 0)
        return EARLY_NOT_ALLOWED;
    then = SSL_SESSION_get0_hostname(session);
    if (then != NULL && (now == NULL || strcmp(then, now) != 0))
        return EARLY_OTHER_NAME;
    if (!connection->same_settings || !still_offered(ssl, connection))
        return EARLY_OTHER_SETTINGS;
    SSL_SESSION_get0_alpn_selected(session, &protocol, &length);
    return length == 0 || context_offers(SSL_get_SSL_CTX(ssl), protocol, length) ? EARLY_FIT : EARLY_OTHER_ALPN;
}

/* How far a connection is with early data: whether a client's was begun, by which cache (0: by its user), what stands
 * against it, how much it may send, has sent, and of what size a write is half done; whether a server's has ended.
 * NULL: memory is out. */
static sslsession_early *sslsession_early_of(SSL *ssl) {
    struct connection *connection = sslsession_follow(ssl) ? connection_of(ssl) : NULL;
    return connection != NULL ? &connection->early : NULL;
}

/* Before a client's first early data, and its ClientHello: what is offered is decided now. */
static void sslsession_early_begin(SSL *ssl) {
    struct connection *connection = connection_of(ssl);
    sslsession_early *early = &connection->early;
    ERR_set_mark();
    begin(ssl, connection);
    early->why = early_objection(ssl, connection);
    ERR_pop_to_mark();
    early->begun = 1;
    early->who = connection->awaited;
    early->most = early->why == EARLY_FIT ? SSL_SESSION_get_max_early_data(SSL_get_session(ssl)) : 0;
}

/* 0, or what SSL_get_error says; EARLY_ENDED where `conn.context` or `conn.session` was set since we looked at them. */
static int sslsession_early_write(SSL *ssl, const void *data, size_t size, size_t *written) {
    if (SSL_in_before(ssl) && !still_offered(ssl, connection_of(ssl)))
        return EARLY_ENDED;
    ERR_clear_error();
    return SSL_write_early_data(ssl, data, size, written) ? 0 : SSL_get_error(ssl, 0);
}

/* The same; EARLY_ENDED where there is no more. */
static int sslsession_early_read(SSL *ssl, void *data, size_t size, size_t *length) {
    ERR_clear_error();
    switch (SSL_read_early_data(ssl, data, size, length)) {
    case EARLY_DATA_READ_SUCCESS:
        return 0;
    case EARLY_DATA_READ_FINISH:
        return EARLY_ENDED;
    default:
        return SSL_get_error(ssl, 0);
    }
}

/* A ticket that holds its session may come any number of times: a token goes with it, which the store gives once. */
static int allow_early_once(SSL *ssl, sslsession_server *server, unsigned char token[TOKEN_SIZE]) {
    if (!server->settings.early || is_stateful(ssl) || SSL_get_max_early_data(ssl) == 0 || !atomic_read(&gate)
        || RAND_bytes(token, TOKEN_SIZE) <= 0)
        return 0;
    enter_python();
    sslsession_py_token(server->settings.number, token, TOKEN_SIZE);
    left_python();
    return 1;
}

/* Whether what is resumed can come no second time: its id was just taken from the store, or it has a token. */
static int comes_once(SSL *ssl, const struct served *served) {
    unsigned int length;
    const unsigned char *id = SSL_SESSION_get_id(SSL_get_session(ssl), &length);
    if (served->taken == NULL)
        return served->has_token;
    return !served->has_token && length != 0 && has_id(served->taken, id, (int)length);
}

/* Asked last, of a session that is resumed and whose age by the client's count is right. The context must
 * be the one it was made under (a connection that was moved here brings its first context's limit, so our rules must
 * allow any at all), and Python has the last word: the token, and what the server's own code says. */
static int on_early_data(SSL *ssl, void *arg) {
    struct connection *connection = connection_of(ssl);
    struct served *served = served_of(ssl);
    int accepted = 0;
    (void)arg;
    if (served == NULL)
        return 0;
    if (served->server->settings.early && served->admitted && served->settled == NULL && connection->home != NULL
        && connection->home->ctx == SSL_get_SSL_CTX(ssl)
        && memcmp(served->stamp + 1, served->binding, STAMP_BINDING) == 0
        && SSL_SESSION_get_max_early_data(SSL_get_session(ssl)) <= SSL_get_max_early_data(ssl) && comes_once(ssl, served)
        && atomic_read(&gate)) {
        enter_python();
        accepted = sslsession_py_early(served->server->settings.number, ssl, served->token, served->has_token ? TOKEN_SIZE : 0);
        left_python();
    }
    tally(served->server, accepted ? SERVER_EARLY : SERVER_EARLY_REFUSED);
    return accepted;
}
