/* Whether a server resumes: what a session is stamped with as it is made, and asked for as it comes back, whether it
 * comes in a ticket or out of a store. OpenSSL decides before sni_callback had its say, so a session is bound to the
 * name by its id context, and looked at once more when the context is final. */
enum {
    STAMP_VERSION = 0x51,
    STAMP_BINDING = 16,
    STAMP_LINEAGE = 12,
    STAMP_SIZE = 1 + STAMP_BINDING + 6 + STAMP_LINEAGE,
    NAMES_MOST = 1024,
    NAME_MOST = 255,
    CLIENT_HELLO_SUCCESS = 1,
    CLIENT_HELLO_ERROR = 0,
    EXTENSION_SERVER_NAME = 0,
    TICKET_OPENED = 5,
    TICKET_OPENED_RENEW = 6,
    TICKET_IGNORE_RENEW = 2,
    TICKET_USE = 3,
    TICKET_USE_RENEW = 4,
    BIO_SET_EOF_RETURN = 130,
    INTERNAL_ERROR = 80
};

struct remembered {
    unsigned char name[16], binding[STAMP_BINDING];
};

struct sslsession_server {
    atomic_word references;
    sslsession_server_settings settings;
    int64_t clock;
    int64_t counts[SERVER_COUNTS];
    int revoked_count;
    sslsession_revocation *revoked;
    struct remembered names[NAMES_MOST];
    struct {
        int length;
        unsigned char text[NAME_MOST];
        sslsession_policy policy;
        unsigned char name[16], binding[BINDING_SIZE], id_context[32];
    } last;
};

/* What there is to know of a server's connection; `admitted` until the context is final. */
struct served {
    sslsession_server *server;
    int bound, admitted, final;
    unsigned char binding[BINDING_SIZE];
    unsigned char effective[BINDING_SIZE];
    unsigned char name[16];
    unsigned char stamp[STAMP_SIZE];
};

static void tally(sslsession_server *server, int what) {
    lock();
    server->counts[what]++;
    unlock();
}

static int64_t server_time(const sslsession_server *server) {
    return server->clock != 0 ? server->clock : (int64_t)time(NULL);
}

/* The lock must be held. */
static const sslsession_revocation *revocation_of(sslsession_server *server, int kind, const unsigned char *digest) {
    int low = 0, high = server->revoked_count;
    while (low < high) {
        int middle = (low + high) / 2;
        const sslsession_revocation *each = &server->revoked[middle];
        int order = each->kind != kind ? (each->kind < kind ? -1 : 1) : memcmp(each->digest, digest, sizeof each->digest);
        if (order == 0)
            return each;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* Whether the session, authenticated at that time (epoch seconds), was withdrawn since: by itself, by its client's
 * certificate, or by the name it was made for. */
static int is_revoked(sslsession_server *server, SSL_SESSION *session, const struct served *served,
                      const unsigned char *lineage, int64_t authenticated) {
    unsigned char digests[4][32] = {{0}};
    const unsigned char *id;
    unsigned int length;
    X509 *peer = SSL_SESSION_get0_peer(session);
    int found = 0;
    if (server->revoked_count == 0)
        return 0;
    memcpy(digests[REVOKED_LINEAGE], lineage, STAMP_LINEAGE);
    id = SSL_SESSION_get_id(session, &length);
    memcpy(digests[REVOKED_ID], id, length < 16 ? length : 16);
    if (peer != NULL && !X509_digest(peer, EVP_sha256(), digests[REVOKED_CERTIFICATE], NULL))
        return 1;
    memcpy(digests[REVOKED_NAME], served->name, 16);
    lock();
    for (int kind = 0; kind < 4 && !found; kind++) {
        const sslsession_revocation *entry = revocation_of(server, kind, digests[kind]);
        found = entry != NULL && authenticated <= entry->at;
    }
    unlock();
    return found;
}

static int64_t read_number(const unsigned char *at, int size) {
    int64_t number = 0;
    while (size-- > 0)
        number = number << 8 | *at++;
    return number;
}

static struct remembered *remembered_of(sslsession_server *server, const unsigned char *name) {
    return &server->names[(name[0] << 8 | name[1]) % NAMES_MOST];
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

/* Of a session that the ticket key or the store vouches for: 0, or a SERVER_ count that says why it is not resumed. */
static int objection(SSL *ssl, sslsession_server *server, struct served *served, SSL_SESSION *session) {
    int64_t now = server_time(server), authenticated;
    void *data = NULL;
    unsigned char *stamp;
    size_t size = 0;
    if (!served->bound || !SSL_SESSION_get0_ticket_appdata(session, &data, &size) || size != STAMP_SIZE
        || *(stamp = data) != STAMP_VERSION)
        return SERVER_REFUSED;
    authenticated = read_number(stamp + 1 + STAMP_BINDING, 6);
    if (authenticated > now + CLOCK_SKEW || now - authenticated >= server->settings.authentication_limit)
        return SERVER_EXPIRED;
    if ((SSL_get_verify_mode(ssl) & VERIFY_FAIL_IF_NO_PEER_CERT) && SSL_SESSION_get0_peer(session) == NULL)
        return SERVER_REFUSED;
    if (!sslsession_leaf_in_date(session, now))
        return SERVER_EXPIRED;
    if (is_revoked(server, session, served, stamp + STAMP_SIZE - STAMP_LINEAGE, authenticated))
        return SERVER_REVOKED;
    if (goes_elsewhere(server, served, stamp + 1))
        return SERVER_REFUSED;
    memcpy(served->stamp, stamp, STAMP_SIZE);
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

/* The server name of a ClientHello in small letters, for names are compared without case: its length, or -1. */
static int read_name(SSL *ssl, unsigned char name[NAME_MOST]) {
    const unsigned char *data = NULL;
    size_t size = 0, length = 0;
    if (SSL_client_hello_get0_ext(ssl, EXTENSION_SERVER_NAME, &data, &size) && size > 5 && data[2] == 0) {
        length = (size_t)(data[3] << 8 | data[4]);
        if (length > size - 5 || length > NAME_MOST)
            return -1;
    }
    for (size_t i = 0; i < length; i++)
        name[i] = data[5 + i] >= 'A' && data[5 + i] <= 'Z' ? data[5 + i] | 0x20 : data[5 + i];
    return (int)length;
}

static int bind_name(SSL *ssl, struct connection *connection, const unsigned char *text, int length,
                     unsigned char id_context[32]) {
    struct served *served = connection->served;
    unsigned char all[3 * 32];
    if (!bind_to(&connection->policy, SSL_get_SSL_CTX(ssl), all)
        || !EVP_Digest(text, (size_t)length, all + 32, NULL, EVP_sha256(), NULL))
        return 0;
    memcpy(all + 64, served->server->settings.context_id, 32);
    memcpy(served->binding, all, BINDING_SIZE);
    memcpy(served->name, all + 32, sizeof served->name);
    return EVP_Digest(all, sizeof all, id_context, NULL, EVP_sha256(), NULL);
}

/* A connection's id context, by which OpenSSL itself passes over what was made for another name or other settings. One
 * that cannot be told gets a random one, and resumes nothing. Nearly every connection is like the last. */
static int bind_connection(SSL *ssl, struct connection *connection) {
    struct served *served = connection->served;
    sslsession_server *server = served->server;
    unsigned char text[NAME_MOST], id_context[32];
    int length = read_name(ssl, text), known;
    if (length < 0)
        return 0;
    lock();
    known = server->last.policy.context != 0 && server->last.length == length
        && memcmp(server->last.text, text, (size_t)length) == 0
        && memcmp(&server->last.policy, &connection->policy, sizeof connection->policy) == 0;
    if (known) {
        memcpy(served->binding, server->last.binding, sizeof served->binding);
        memcpy(served->name, server->last.name, sizeof served->name);
        memcpy(id_context, server->last.id_context, sizeof id_context);
    }
    unlock();
    if (!known) {
        if (!bind_name(ssl, connection, text, length, id_context))
            return 0;
        lock();
        server->last.length = length;
        memcpy(server->last.text, text, (size_t)length);
        server->last.policy = connection->policy;
        memcpy(server->last.binding, served->binding, sizeof served->binding);
        memcpy(server->last.name, served->name, sizeof served->name);
        memcpy(server->last.id_context, id_context, sizeof id_context);
        unlock();
    }
    return SSL_set_session_id_context(ssl, id_context, sizeof id_context);
}

/* A record of this connection, which keeps its server's rules alive: NULL where nobody asked for any. */
static struct served *serve(SSL *ssl) {
    struct attachment *home = attachment_for(ssl);
    struct connection *connection = connection_of(ssl);
    struct served *served = connection != NULL ? connection->served : NULL;
    if (served != NULL || connection == NULL || !connection->begun || (served = calloc(1, sizeof *served)) == NULL)
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
    if (served != NULL)
        served->bound = bind_connection(ssl, connection_of(ssl));
    ERR_pop_to_mark();
    if (served != NULL && served->bound)
        return CLIENT_HELLO_SUCCESS;
    if (RAND_bytes(nobody, sizeof nobody) > 0 && SSL_set_session_id_context(ssl, nobody, sizeof nobody))
        return CLIENT_HELLO_SUCCESS;
    *alert = INTERNAL_ERROR;
    return CLIENT_HELLO_ERROR;
}

/* The binding of the context that is final now. */
static int bind_effective(SSL *ssl, struct connection *connection) {
    struct served *served = connection->served;
    sslsession_policy policy;
    if (connection->home != NULL && SSL_get_SSL_CTX(ssl) == connection->home->ctx
        && SSL_get_verify_mode(ssl) == connection->policy.verify_mode) {
        memcpy(served->effective, served->binding, BINDING_SIZE);
        return 1;
    }
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

static int awaits_its_context(struct connection *connection) {
    return connection->served != NULL && connection->served->bound && !connection->served->final;
}

/* Before anything is answered: sni_callback has chosen. A session made under another context's settings was resumed
 * already and cannot be taken back, so its connection ends; the next one of this name starts full. */
static void settle_the_context(SSL *ssl, struct connection *connection) {
    struct served *served = connection->served;
    sslsession_server *server = served->server;
    int resumed = served->admitted && SSL_session_reused(ssl), bound, differs;
    struct remembered *last = remembered_of(server, served->name);
    served->final = 1;
    served->admitted = resumed;
    ERR_set_mark();
    bound = bind_effective(ssl, connection);
    ERR_pop_to_mark();
    if (!bound)
        memset(served->effective, 0, BINDING_SIZE);
    lock();
    differs = memcmp(served->effective, served->binding, BINDING_SIZE) != 0;
    if (differs || memcmp(last->name, served->name, sizeof last->name) == 0) {
        memcpy(last->name, served->name, sizeof last->name);
        memcpy(last->binding, served->effective, STAMP_BINDING);
    }
    server->counts[SERVER_RESUMED] += resumed;
    unlock();
    if (resumed && (!bound || memcmp(served->stamp + 1, served->effective, STAMP_BINDING) != 0)) {
        tally(server, SERVER_CUT);
        refuse(ssl);
    }
}

/* What the session brings along when it comes back: when its client was authenticated in full, and which handshake
 * that was, through all renewals. */
static void stamp_session(SSL *ssl, SSL_SESSION *session) {
    struct served *served = served_of(ssl);
    if (served == NULL || !served->bound || !served->final)
        return;
    if (!served->admitted && served->stamp[0] == 0) {
        if (RAND_bytes(served->stamp + STAMP_SIZE - STAMP_LINEAGE, STAMP_LINEAGE) <= 0)
            return;
        put_number(served->stamp + 1 + STAMP_BINDING, (uint64_t)server_time(served->server), 6);
    }
    if (served->admitted)
        tally(served->server, SERVER_RENEWED);
    served->stamp[0] = STAMP_VERSION;
    memcpy(served->stamp + 1, served->effective, STAMP_BINDING);
    SSL_SESSION_set1_ticket_appdata(session, served->stamp, STAMP_SIZE);
}

static int on_generate_ticket(SSL *ssl, void *arg) {
    (void)arg;
    ERR_set_mark();
    stamp_session(ssl, SSL_get_session(ssl));
    ERR_pop_to_mark();
    return 1;
}

static int on_opened_ticket(SSL *ssl, SSL_SESSION *session, const unsigned char *name, size_t length, int status,
                            void *arg) {
    (void)name, (void)length, (void)arg;
    if (status != TICKET_OPENED && status != TICKET_OPENED_RENEW)
        return TICKET_IGNORE_RENEW;
    if (!admit(ssl, session))
        return TICKET_IGNORE_RENEW;
    return status == TICKET_OPENED_RENEW ? TICKET_USE_RENEW : TICKET_USE;
}

static void sslsession_server_free(sslsession_server *server) {
    if (server == NULL || atomic_add(&server->references, -1) > 0)
        return;
    free(server->revoked);
    free(server);
}

static void free_served(struct served *served) {
    if (served == NULL)
        return;
    sslsession_server_free(served->server);
    free(served);
}

static sslsession_server *sslsession_server_new(const sslsession_server_settings *settings) {
    sslsession_server *server = calloc(1, sizeof *server);
    if (server != NULL) {
        server->references = 1;
        server->settings = *settings;
    }
    return server;
}

/* A time (epoch seconds) that stands still, for tests; 0: the system's clock. */
static void sslsession_server_set_time(sslsession_server *server, int64_t now) {
    lock();
    server->clock = now;
    unlock();
}

static int64_t sslsession_server_count(sslsession_server *server, int what) {
    int64_t found;
    lock();
    found = server->counts[what];
    unlock();
    return found;
}

/* These are withdrawn, and no others: sorted by kind and digest. 1, or 0 where memory is out. */
static int sslsession_server_revoke(sslsession_server *server, const sslsession_revocation *all, int count) {
    sslsession_revocation *copy = calloc((size_t)count + 1, sizeof *copy), *old;
    if (copy == NULL)
        return 0;
    memcpy(copy, all, (size_t)count * sizeof *copy);
    lock();
    old = server->revoked;
    server->revoked = copy;
    server->revoked_count = count;
    unlock();
    free(old);
    return 1;
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
    SSL_CTX_set_session_ticket_cb(ctx, server != NULL ? on_generate_ticket : NULL,
                                  server != NULL ? on_opened_ticket : NULL, NULL);
    return 1;
}
