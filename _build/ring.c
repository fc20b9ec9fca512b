/* Ticket keys that rotate: a ring of them answers OpenSSL's ticket-key callback with no Python and no GIL. Which key
 * encrypts is decided by time alone, so that all processes with the same keys change over in the same second. Python
 * (tickets.py) says which keys there are; what leaves the ring is wiped. */
enum { RING_MOST = 64, KEY_NAME_SIZE = 16, KEY_SIZE_MOST = 32 };
enum { KEY_UNKNOWN = 0, KEY_FINE = 1, KEY_RENEW = 2, KEY_FAILED = -1 };

struct parameter { /* OSSL_PARAM */
    const char *key;
    unsigned int type;
    void *data;
    size_t size, return_size;
};
enum { PARAMETER_UTF8_STRING = 4 };

struct sslsession_ring {
    atomic_word references;
    int count;
    int64_t clock;
    int64_t counts[RING_COUNTS];
    sslsession_ticket_key keys[RING_MOST];
};

static EVP_CIPHER *aes_128, *aes_256;

static void sslsession_ring_free(sslsession_ring *ring) {
    if (ring == NULL || atomic_add(&ring->references, -1) > 0)
        return;
    OPENSSL_cleanse(ring->keys, sizeof ring->keys);
    free(ring);
}

/* NULL where memory is out, or OpenSSL has no AES-CBC. */
static sslsession_ring *sslsession_ring_new(void) {
    sslsession_ring *ring;
    if (aes_128 == NULL)
        aes_128 = EVP_CIPHER_fetch(NULL, "AES-128-CBC", NULL);
    if (aes_256 == NULL)
        aes_256 = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    if (aes_128 == NULL || aes_256 == NULL || (ring = zalloc(sizeof *ring)) == NULL)
        return NULL;
    ring->references = 1;
    return ring;
}

/* The key that encrypts now: the one whose time came last; before the first one's time, the first. Under the lock. */
static sslsession_ticket_key *encrypting(sslsession_ring *ring, int64_t now) {
    sslsession_ticket_key *found = NULL, *each = ring->keys;
    for (; each < ring->keys + ring->count; each++)
        if (found == NULL || (each->encrypts_from <= now ? found->encrypts_from > now || each->encrypts_from >= found->encrypts_from
                                                         : each->encrypts_from < found->encrypts_from))
            found = each;
    return found;
}

static sslsession_ticket_key *key_named(sslsession_ring *ring, const unsigned char *name) {
    for (int i = 0; i < ring->count; i++)
        if (memcmp(ring->keys[i].name, name, KEY_NAME_SIZE) == 0)
            return &ring->keys[i];
    return NULL;
}

static int64_t ring_time(const sslsession_ring *ring) { return ring->clock != 0 ? ring->clock : (int64_t)time(NULL); }

/* A time (epoch seconds) that stands still, for tests; 0: the system's clock. */
static void sslsession_ring_set_time(sslsession_ring *ring, int64_t now) {
    lock();
    ring->clock = now;
    unlock();
}

/* Has these keys from now on; a key that stays keeps its counts. */
static void sslsession_ring_set(sslsession_ring *ring, const sslsession_ticket_key *keys, int count) {
    sslsession_ticket_key fresh[RING_MOST];
    memset(fresh, 0, sizeof fresh);
    lock();
    for (int i = 0; i < count && i < RING_MOST; i++) {
        sslsession_ticket_key *known = key_named(ring, keys[i].name);
        fresh[i] = keys[i];
        fresh[i].issued = known != NULL ? known->issued : 0;
        fresh[i].opened = known != NULL ? known->opened : 0;
    }
    memcpy(ring->keys, fresh, sizeof fresh);
    ring->count = count < RING_MOST ? count : RING_MOST;
    unlock();
    OPENSSL_cleanse(fresh, sizeof fresh);
}

/* Copies the keys out, the secrets too where `secrets`; how many there are. */
static int sslsession_ring_get(sslsession_ring *ring, sslsession_ticket_key *keys, int secrets) {
    int count;
    lock();
    count = ring->count;
    memcpy(keys, ring->keys, (size_t)count * sizeof *keys);
    unlock();
    for (int i = 0; i < count && !secrets; i++) {
        OPENSSL_cleanse(keys[i].cipher_key, sizeof keys[i].cipher_key);
        OPENSSL_cleanse(keys[i].mac_key, sizeof keys[i].mac_key);
    }
    return count;
}

static int64_t sslsession_ring_count(sslsession_ring *ring, int what) {
    int64_t found;
    lock();
    found = ring->counts[what];
    unlock();
    return found;
}

static int set_mac(EVP_MAC_CTX *mac, sslsession_ticket_key *key) {
    struct parameter parameters[2] = {{"digest", PARAMETER_UTF8_STRING, "SHA256", 6, 0}, {NULL, 0, NULL, 0, 0}};
    return EVP_MAC_init(mac, key->mac_key, (size_t)key->size, parameters);
}

/* A ticket that is opened in TLS 1.3 is used up, so its client gets another; in TLS 1.2, one under the present key. */
static int renews(SSL *ssl, const sslsession_ticket_key *key, const sslsession_ticket_key *present) {
    return SSL_version(ssl) >= VERSION_TLS1_3 || key != present;
}

static int on_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                         int encrypt) {
    struct attachment *home = attachment_for(ssl);
    sslsession_ticket_key key, *found = NULL, *present;
    sslsession_ring *ring;
    int answer = KEY_UNKNOWN;
    int64_t now;
    if (encrypt && RAND_bytes(iv, 16) <= 0)
        return KEY_FAILED;
    lock();
    ring = home != NULL ? home->ring : NULL;
    if (ring != NULL) {
        now = ring_time(ring);
        present = encrypting(ring, now);
        found = encrypt ? present : key_named(ring, name);
        if (found != NULL && !encrypt && found->decrypts_until <= now && found != present) {
            ring->counts[RING_EXPIRED]++;
            found = NULL;
        } else if (found == NULL && !encrypt) {
            ring->counts[RING_UNKNOWN]++;
        }
        if (found != NULL) {
            answer = encrypt || !renews(ssl, found, present) ? KEY_FINE : KEY_RENEW;
            if (encrypt) {
                found->issued++;
                ring->counts[RING_ISSUED]++;
            }
            key = *found;
        }
    }
    unlock();
    if (found == NULL && !encrypt)
        return KEY_UNKNOWN;
    /* The ring has just left. No ticket at all is one that early OpenSSL 3.0 writes malformed in TLS 1.3: so one that
     * nobody can open. */
    if (found == NULL) {
        if (RAND_bytes((unsigned char *)&key, sizeof key) <= 0)
            return KEY_FAILED;
        key.size = KEY_SIZE_MOST;
        answer = KEY_FINE;
    }
    if (encrypt)
        memcpy(name, key.name, KEY_NAME_SIZE);
    if (!(encrypt ? EVP_EncryptInit_ex(cipher, key.size == 16 ? aes_128 : aes_256, NULL, key.cipher_key, iv)
                  : EVP_DecryptInit_ex(cipher, key.size == 16 ? aes_128 : aes_256, NULL, key.cipher_key, iv))
        || !set_mac(mac, &key))
        answer = KEY_FAILED;
    OPENSSL_cleanse(&key, sizeof key);
    return answer;
}

/* A ticket was whole: only now is it known that one of our keys made it, and not a forger who knows a key's name. */
static void count_opened(SSL *ssl, const unsigned char *name, int renewed) {
    struct attachment *home = attachment_for(ssl);
    sslsession_ticket_key *key;
    lock();
    if (home != NULL && home->ring != NULL) {
        home->ring->counts[RING_OPENED]++;
        home->ring->counts[RING_RENEWED] += renewed;
        if ((key = key_named(home->ring, name)) != NULL)
            key->opened++;
    }
    unlock();
}

/* This context's tickets are this ring's from now on; NULL: OpenSSL's own key again. 0 where memory is out. */
static int sslsession_ring_join(SSL_CTX *ctx, sslsession_ring *ring) {
    struct attachment *attachment = make_attachment(ctx);
    sslsession_ring *left;
    if (attachment == NULL)
        return 0;
    if (ring != NULL)
        atomic_add(&ring->references, 1);
    lock();
    left = attachment->ring;
    attachment->ring = ring;
    unlock();
    sslsession_ring_free(left);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, ring != NULL ? on_ticket_key : NULL);
    return 1;
}

/* A freed context leaves its ring. */
static void leave_ring(struct attachment *attachment) { sslsession_ring_free(attachment->ring); }
