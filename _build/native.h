/* Our own C, as Python sees it. Callbacks into Python carry an error value of their own in _callbacks.py. */

/* loader.c: the interpreter's own libssl and libcrypto */
int sslsession_load(const char *);
const char *sslsession_load_error(void);
int sslsession_symbol_count(void);
const char *sslsession_symbol_name(int);
const char *sslsession_symbol_since(int);
int sslsession_symbol_found(int);
int sslsession_library_path(const char *, char *, int);
int sslsession_read_memory(const void *, void *, size_t);

/* events.c: what Python hears later, never while OpenSSL calls */
typedef struct {
    int kind;
    uint64_t context;
    SSL_SESSION *session;
} sslsession_event;
int sslsession_next_event(sslsession_event *);
void sslsession_await_removal(int);
void sslsession_wake_events(void);
void sslsession_interrupt_later(void);
int sslsession_events_queued(void);

/* facts.c: the policy a handshake ran under, and what only the live connection knows */
typedef struct {
    uint64_t context;
    uint64_t epoch;
    int trust_objects;
    int server;
    int verify_mode;
    int depth;
    int security_level;
    int name_checked;
    int min_version;
    int max_version;
    int has_certificate;
    unsigned int host_flags;
    uint64_t verify_flags;
    uint64_t options;
    uint64_t unseen;
    unsigned char ciphers[32];
    unsigned char certificate[32];
} sslsession_policy;
typedef struct {
    sslsession_policy policy;
    int64_t until;
} sslsession_trust;
typedef struct {
    int references;
    SSL_SESSION *session;
    sslsession_policy policy;
    int64_t earned_until;
    sslsession_trust held;
    int version;
    int resumable;
    int reused;
    int verified;
    int verify_result;
    int curve;
    int extended_master_secret;
    int encrypt_then_mac;
    int point_format;
    int key_type;
    int key_bits;
    int groups_count;
    int sigalgs_count;
    int alpn_length;
    int has_servername;
    int groups[64];
    uint16_t sigalgs[64];
    unsigned char alpn[255];
    char servername[256];
    X509 *own;
    OPENSSL_STACK *own_chain;
    X509 *peer;
    OPENSSL_STACK *peer_chain;
    OPENSSL_STACK *verified_chain;
} sslsession_facts;
sslsession_facts *sslsession_capture(SSL *, SSL_SESSION *);
sslsession_facts *sslsession_capture_current(SSL *, int *);
void sslsession_facts_free(sslsession_facts *);
void sslsession_chain_free(OPENSSL_STACK *);
void sslsession_read_policy(SSL *, sslsession_policy *);

/* connection.c: what hangs on OpenSSL's objects */
int sslsession_prepare(void);
uint64_t sslsession_context_id(SSL_CTX *);
void sslsession_observed(SSL_CTX *, uint64_t, uint64_t);

/* slots.c: the callback slots that the one attachment of each SSL_CTX owns */
void sslsession_open_gate(int);
int sslsession_watch(SSL_CTX *, int);
extern "Python" int sslsession_py_new(uint64_t, SSL *, SSL_SESSION *);
extern "Python" SSL_SESSION *sslsession_py_get(uint64_t, SSL *, const unsigned char *, int);
extern "Python" void sslsession_py_offer(uint64_t, SSL *);
extern "Python" void sslsession_py_outcome(uint64_t, SSL *, int, int);

/* offers.c: what is offered on a connection, and the single use of TLS 1.3 tickets */
typedef struct ticket_use sslsession_use;
int sslsession_offer(SSL *, SSL_SESSION *, const unsigned char *, unsigned int, int, OPENSSL_STACK *, int64_t, int);
int sslsession_follow(SSL *);
const sslsession_policy *sslsession_policy_at_start(SSL *);
void sslsession_await_outcome(SSL *, int);
int sslsession_begun(SSL *);
void sslsession_set_reason(SSL *, int);
int sslsession_get_reason(SSL *);
int sslsession_connection_flags(SSL *);

/* verify.c: the stored chain against a connection's own trust, name and dates, and what it was found to hold under */
int sslsession_verify_again(SSL *, X509 *, OPENSSL_STACK *, int *, sslsession_trust *);
void sslsession_remember(sslsession_facts *, sslsession_trust *);

/* candidate.c: all that set_session asks of a session and of the connection that it is for, in one call */
typedef struct {
    int server;
    int begun;
    int verifies;
    int leaf_in_date;
    int same_certificate;
    int spent;
    int withdrawn;
    int outdated;
    int same_settings;
    int64_t earned_until;
    int64_t made_at;
    int64_t timeout;
    int64_t lifetime_hint;
} sslsession_candidate;
void sslsession_examine(SSL *, SSL_SESSION *, sslsession_facts *, sslsession_trust *, int64_t, sslsession_candidate *);

/* pool.c, pools.c, peers.c, unasked.c: live sessions of a client cache, kept and offered with no Python in the handshake's way */
enum { POOL_TICKETS = 1, POOL_SESSION = 2, POOL_KEY_MOST = 800 };
enum {
    POOL_KEPT, POOL_OFFERED, POOL_RESUMED, POOL_DECLINED, POOL_HITS, POOL_MISSES, POOL_EXPIRED, POOL_REFUSED,
    POOL_WITHDRAWN, POOL_DROPPED, POOL_COUNTS
};
typedef struct {
    int number;
    int tickets;
    int shelves;
    int any_port;
    int writes;
    int asks;
    int64_t max_lifetime;
    int64_t idle_lifetime;
    unsigned int id_context_length;
    unsigned char id_context[32];
} sslsession_pool_settings;
typedef struct sslsession_pool sslsession_pool;
sslsession_pool *sslsession_pool_new(const sslsession_pool_settings *);
void sslsession_pool_free(sslsession_pool *);
void sslsession_pool_ask(sslsession_pool *, int);
void sslsession_pool_close(sslsession_pool *);
int sslsession_pool_join(SSL_CTX *, sslsession_pool *);
void sslsession_pool_leave(SSL_CTX *, sslsession_pool *);
sslsession_facts *sslsession_pool_take(sslsession_pool *, const unsigned char *, size_t, int64_t, int64_t *);
void sslsession_pool_drop(sslsession_pool *, const unsigned char *, size_t, int);
sslsession_facts *sslsession_pool_pour(sslsession_pool *, unsigned char *, size_t *);
int sslsession_pool_holds(sslsession_pool *, const unsigned char *, size_t, int *);
int sslsession_pool_size(sslsession_pool *);
int64_t sslsession_pool_count(sslsession_pool *, int);
void sslsession_pool_after_fork(sslsession_pool *);
int sslsession_set_peer(SSL *, const char *, const char *);
int64_t sslsession_expires_at(SSL_SESSION *, int);
int sslsession_weigh(SSL *, sslsession_pool *, sslsession_facts *, int64_t, int64_t);
extern "Python" void sslsession_py_peer(uint64_t, SSL *);
extern "Python" void sslsession_py_hand_over(int, sslsession_facts *, const unsigned char *, size_t);

/* ring.c: ticket keys that rotate. A key encrypts from a time on, and decrypts until another (epoch seconds). */
enum { RING_KEYS_MOST = 64 };
enum { RING_ISSUED, RING_OPENED, RING_RENEWED, RING_UNKNOWN, RING_EXPIRED, RING_COUNTS };
typedef struct {
    unsigned char name[16];
    unsigned char cipher_key[32];
    unsigned char mac_key[32];
    int size;
    int64_t encrypts_from;
    int64_t decrypts_until;
    int64_t issued;
    int64_t opened;
} sslsession_ticket_key;
typedef struct sslsession_ring sslsession_ring;
sslsession_ring *sslsession_ring_new(void);
void sslsession_ring_free(sslsession_ring *);
void sslsession_ring_set(sslsession_ring *, const sslsession_ticket_key *, int);
int sslsession_ring_get(sslsession_ring *, sslsession_ticket_key *, int);
void sslsession_ring_set_time(sslsession_ring *, int64_t);
int64_t sslsession_ring_count(sslsession_ring *, int);
int sslsession_ring_join(SSL_CTX *, sslsession_ring *);

/* rules.c, admission.c, settling.c, shelved.c: what a server's sessions are bound to, whether they come from tickets or a store */
enum { REVOKED_LINEAGE, REVOKED_ID, REVOKED_CERTIFICATE, REVOKED_NAME, REVOKED_ALL, REVOKED_KINDS };
enum { SERVER_RESUMED, SERVER_REFUSED, SERVER_EXPIRED, SERVER_REVOKED, SERVER_CUT, SERVER_DROPPED, SERVER_RENEWED, SERVER_EARLY,
       SERVER_EARLY_REFUSED, SERVER_COUNTS };
typedef struct {
    int number;
    int stores;
    int idles;
    int early;
    int64_t authentication_limit;
    unsigned char context_id[32];
} sslsession_server_settings;
typedef struct {
    int kind;
    unsigned char digest[16];
    int64_t at;
} sslsession_revocation;
typedef struct sslsession_server sslsession_server;
sslsession_server *sslsession_server_new(const sslsession_server_settings *);
void sslsession_server_free(sslsession_server *);
int sslsession_server_join(SSL_CTX *, sslsession_server *);
int sslsession_server_revoke(sslsession_server *, const sslsession_revocation *, int);
void sslsession_server_set_time(sslsession_server *, int64_t);
int64_t sslsession_server_count(sslsession_server *, int);
extern "Python" void sslsession_py_shelve(int, const unsigned char *, int, const unsigned char *, int, int, int64_t);
extern "Python" int sslsession_py_unshelve(int, const unsigned char *, int, int, unsigned char *, int);

/* early.c: data that travels with the ClientHello */
enum { EARLY_ENDED = -1 };
enum { EARLY_FIT, EARLY_NO_SESSION, EARLY_NOT_ALLOWED, EARLY_OTHER_NAME, EARLY_OTHER_SETTINGS, EARLY_OTHER_ALPN };
typedef struct {
    int begun;
    int ended;
    int who;
    int why;
    uint32_t most;
    uint64_t sent;
    uint64_t waits;
} sslsession_early;
sslsession_early *sslsession_early_of(SSL *);
void sslsession_early_begin(SSL *);
int sslsession_early_write(SSL *, const void *, size_t, size_t *);
int sslsession_early_read(SSL *, void *, size_t, size_t *);
extern "Python" void sslsession_py_token(int, const unsigned char *, int);
extern "Python" int sslsession_py_early(int, SSL *, const unsigned char *, int);

/* bench.c: the same handshakes with no Python between them */
int sslsession_bench(SSL_CTX *, SSL_CTX *, const char *, SSL_SESSION **, int, int, int *);
