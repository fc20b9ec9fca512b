/* What hangs on OpenSSL's own objects as ex_data, each freed with its object: an attachment on an SSL_CTX, a
 * connection's record on an SSL, and on an SSL_SESSION its ticket's use and whether its removal was reported. Never a
 * table keyed by address: the address of a dead SSL_CTX is the next one's. */
enum { EX_SSL, EX_SSL_CTX, EX_SSL_SESSION };
enum { WANT_NEW = 1, WANT_REMOVE = 2, WANT_GET = 4, WANT_OFFER = 8, SLOT_INFO = 16, WANT_POOL = 32, WANT_SERVE = 64, WANT_STORE = 128 };
enum { POOLS_MOST = 8 };

enum { SUITES_MOST = 128, CERTIFICATES_MOST = 16 };

struct attachment {
    uint64_t id;
    SSL_CTX *ctx;
    atomic_word wants;
    int installed;
    int buried;
    int heard_of;
    uint64_t epoch;
    uint64_t unseen;
    int suites_count;
    uint16_t suites[SUITES_MOST];
    unsigned char suites_digest[32];
    new_session_cb previous_new;
    remove_session_cb previous_remove;
    get_session_cb previous_get;
    info_cb previous_info;
    sslsession_pool *pools[POOLS_MOST];
    sslsession_ring *ring;
    sslsession_server *server;
    int trust_known;
    int trust_objects;
    uint64_t trust_epoch;
    unsigned char trust_digest[32];
    int certificates_count;
    X509 *certificates[CERTIFICATES_MOST];
    unsigned char certificates_digest[32];
};

struct connection {
    struct attachment *home;
    info_cb previous_info;
    int followed;
    int late;
    int begun;
    int done;
    int swapped;
    int offering;
    int offered;
    int awaited;
    int same_settings;
    int reason;
    int saw_encrypt_then_mac;
    int saw_psk;
    int saw_ticket;
    int asked;
    uint64_t offered_under;
    int policy_read;
    int64_t earned_until;
    OPENSSL_STACK *chain;
    char *peer;
    struct served *served;
    sslsession_early early;
    sslsession_policy policy;
};

struct ticket_use {
    atomic_word references;
    atomic_word spent;
    atomic_word withdrawn;
    unsigned char identity[32];
    sslsession_use *next_in_bucket, *younger;
};

static int attachment_index = -1, connection_index = -1, use_index = -1, removed_index = -1, offer_index = -1;
static char removal_reported;

static void sslsession_chain_free(OPENSSL_STACK *chain) {
    if (chain != NULL)
        OPENSSL_sk_pop_free(chain, (sk_free_cb)ossl.X509_free);
}

static void free_certificates(X509 **certificates) {
    for (int i = 0; i < CERTIFICATES_MOST; i++)
        if (certificates[i] != NULL)
            X509_free(certificates[i]);
}

static void leave_pools(struct attachment *);
static void leave_ring(struct attachment *);
static void sslsession_server_free(sslsession_server *);
static void free_served(struct served *);

static void free_attachment(void *parent, void *held, CRYPTO_EX_DATA *data, int index, long argl, void *argp) {
    struct attachment *attachment = held;
    (void)parent, (void)data, (void)index, (void)argl, (void)argp;
    if (attachment == NULL)
        return;
    if (attachment->heard_of)
        push_event(EVENT_CONTEXT_GONE, attachment->id, NULL);
    free_certificates(attachment->certificates);
    leave_pools(attachment);
    leave_ring(attachment);
    sslsession_server_free(attachment->server);
    free(attachment);
}

static void free_connection(void *parent, void *held, CRYPTO_EX_DATA *data, int index, long argl, void *argp) {
    struct connection *connection = held;
    (void)parent, (void)data, (void)index, (void)argl, (void)argp;
    if (connection == NULL)
        return;
    sslsession_chain_free(connection->chain);
    if (connection->home != NULL)
        SSL_CTX_free(connection->home->ctx);
    free(connection->peer);
    free_served(connection->served);
    free(connection);
}

static void sslsession_use_free(sslsession_use *use) {
    if (use != NULL && atomic_add(&use->references, -1) == 0)
        free(use);
}

static void free_use(void *parent, void *held, CRYPTO_EX_DATA *data, int index, long argl, void *argp) {
    (void)parent, (void)data, (void)index, (void)argl, (void)argp;
    sslsession_use_free(held);
}

/* A copy starts with nothing of ours: OpenSSL makes the session of a new ticket by copying that of the old one. */
static int copy_nothing(CRYPTO_EX_DATA *to, const CRYPTO_EX_DATA *from, void *held, int index, long argl, void *argp) {
    (void)to, (void)from, (void)index, (void)argl, (void)argp;
    *(void **)held = NULL;
    return 1;
}

static struct attachment *attachment_of(SSL_CTX *ctx) {
    return ctx != NULL ? SSL_CTX_get_ex_data(ctx, attachment_index) : NULL;
}

static struct attachment *make_attachment(SSL_CTX *ctx) {
    static uint64_t last_id;
    struct attachment *attachment;
    lock();
    attachment = attachment_of(ctx);
    if (attachment == NULL && (attachment = zalloc(sizeof *attachment)) != NULL) {
        attachment->id = ++last_id;
        attachment->ctx = ctx;
        if (!SSL_CTX_set_ex_data(ctx, attachment_index, attachment)) {
            free(attachment);
            attachment = NULL;
        }
    }
    unlock();
    return attachment;
}

/* A number that no other SSL_CTX of this process ever had or will have; 0 where memory is out. */
static uint64_t sslsession_context_id(SSL_CTX *ctx) {
    struct attachment *attachment = make_attachment(ctx);
    return attachment != NULL ? attachment->id : 0;
}

/* What was seen of the context's settings that no getter tells: `epoch` moves with its trust (its upper half
 * tells one time of watching from another), `unseen` stands for what it
 * offers by ALPN and its groups, 0 where they are not known. */
static void sslsession_observed(SSL_CTX *ctx, uint64_t epoch, uint64_t unseen) {
    struct attachment *attachment = make_attachment(ctx);
    if (attachment == NULL)
        return;
    lock();
    attachment->epoch = epoch;
    attachment->unseen = unseen;
    unlock();
}

static struct connection *connection_of(const SSL *ssl) { return SSL_get_ex_data(ssl, connection_index); }

static struct connection *make_connection(SSL *ssl) {
    struct connection *connection = connection_of(ssl);
    if (connection == NULL && (connection = zalloc(sizeof *connection)) != NULL
        && !SSL_set_ex_data(ssl, connection_index, connection)) {
        free(connection);
        return NULL;
    }
    return connection;
}

/* Makes the ex_data indexes, once a process: 1, or 0 where OpenSSL has none left. */
static int sslsession_prepare(void) {
    static int forks_survived;
    if (offer_index >= 0)
        return 1;
    if (!forks_survived++)
        survive_fork();
    attachment_index = CRYPTO_get_ex_new_index(EX_SSL_CTX, 0, NULL, NULL, NULL, free_attachment);
    connection_index = CRYPTO_get_ex_new_index(EX_SSL, 0, NULL, NULL, copy_nothing, free_connection);
    use_index = CRYPTO_get_ex_new_index(EX_SSL_SESSION, 0, NULL, NULL, copy_nothing, free_use);
    removed_index = CRYPTO_get_ex_new_index(EX_SSL_SESSION, 0, NULL, NULL, copy_nothing, NULL);
    offer_index = CRYPTO_get_ex_new_index(EX_SSL_SESSION, 0, NULL, NULL, copy_nothing, NULL);
    return attachment_index >= 0 && connection_index >= 0 && use_index >= 0 && removed_index >= 0 && offer_index >= 0;
}
