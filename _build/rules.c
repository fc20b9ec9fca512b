/* The rules of a server's contexts: its settings and counts, what it withdrew, and what it saw last. */
enum {
    STAMP_VERSION = 0x51,
    STAMP_VERSION_EARLY = 0x52, /* a token follows, by which the ticket is used for early data once */
    STAMP_BINDING = 16,
    STAMP_LINEAGE = 12,
    STAMP_SIZE = 1 + STAMP_BINDING + 6 + 6 + STAMP_LINEAGE,
    TOKEN_SIZE = 16,
    NAMES_MOST = 1024, /* 2 to the power of 64 - 54 */
    NAME_MOST = 255,
    VERIFY_POST_HANDSHAKE = 8,
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
    uint64_t seed; /* odd: which names share a place is nobody's to know */
    sslsession_revocation *revoked;
    struct remembered names[NAMES_MOST];
    struct {
        int length;
        unsigned char text[NAME_MOST];
        sslsession_policy policy;
        unsigned char name[16], binding[BINDING_SIZE], id_context[32];
    } last;
};

/* What there is to know of a server's connection: to what it is `bound` by its latest ClientHello, whose name was `read`
 * there; the context `settled` on, which is compared and never used; of `trusted` certificates how many that one had; a
 * session `taken` from the store; whether one was `admitted`, and has a token; whether the stamp is `fresh` from this
 * handshake. */
struct served {
    sslsession_server *server;
    SSL_CTX *settled;
    SSL_SESSION *taken;
    int bound, read, trusted, admitted, fresh, dated, has_token;
    unsigned char binding[BINDING_SIZE];
    unsigned char effective[BINDING_SIZE];
    unsigned char name[16];
    unsigned char id_context[32];
    unsigned char stamp[STAMP_SIZE];
    unsigned char token[TOKEN_SIZE];
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
 * certificate, by the name it was made for, or with all others. */
static int is_revoked(sslsession_server *server, SSL_SESSION *session, const struct served *served,
                      const unsigned char *lineage, int64_t authenticated) {
    unsigned char digests[REVOKED_KINDS][32] = {{0}};
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
    for (int kind = 0; kind < REVOKED_KINDS && !found; kind++) {
        const sslsession_revocation *entry = revocation_of(server, kind, digests[kind]);
        /* The first two are of one handshake, whenever that was; of others, its host's clock may have been ahead. */
        found = entry != NULL && (kind <= REVOKED_ID || authenticated <= entry->at + CLOCK_SKEW);
    }
    unlock();
    return found;
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
    SSL_SESSION_free(served->taken);
    sslsession_server_free(served->server);
    free(served);
}

static sslsession_server *sslsession_server_new(const sslsession_server_settings *settings) {
    sslsession_server *server = zalloc(sizeof *server);
    if (server != NULL) {
        server->references = 1;
        server->settings = *settings;
        if (RAND_bytes((unsigned char *)&server->seed, sizeof server->seed) <= 0) {
            free(server);
            return NULL;
        }
        server->seed |= 1;
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
