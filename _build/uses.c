/* Which TLS 1.3 tickets this process has used, and which sessions a fatal alert withdrew. Both are found by the
 * session's identity, never its ticket, so that all copies share them, also one that is read from bytes later. The
 * oldest is forgotten. */
enum { USES_MOST = 65536, USE_BUCKETS = 16384, IDENTITY_SIZE = 32 };
static sslsession_use *use_buckets[USE_BUCKETS], *oldest_use, *youngest_use;
static int uses_known;

/* The session's id, padded: random, or on a client with a ticket SHA-256 of the ticket, which is where OpenSSL keeps
 * it. Returns 0 for a session with neither, which is no session in particular. */
static int identify(const SSL_SESSION *session, unsigned char *identity) {
    unsigned int size = 0;
    const unsigned char *id = SSL_SESSION_get_id(session, &size);
    memset(identity, 0, IDENTITY_SIZE);
    memcpy(identity, id, size < IDENTITY_SIZE ? size : IDENTITY_SIZE);
    return size != 0;
}

static sslsession_use **bucket_of(const unsigned char *identity) {
    uint32_t number;
    memcpy(&number, identity, sizeof number);
    return &use_buckets[number % USE_BUCKETS];
}

static sslsession_use *known_use(const unsigned char *identity) {
    sslsession_use *use = *bucket_of(identity);
    while (use != NULL && memcmp(use->identity, identity, sizeof use->identity) != 0)
        use = use->next_in_bucket;
    return use;
}

/* Returns the use that had to go for it, or NULL. */
static sslsession_use *add_use(sslsession_use *use) {
    sslsession_use **place = bucket_of(use->identity), *gone = NULL;
    use->next_in_bucket = *place;
    *place = use;
    if (youngest_use != NULL)
        youngest_use->younger = use;
    else
        oldest_use = use;
    youngest_use = use;
    if (++uses_known > USES_MOST) {
        uses_known--;
        gone = oldest_use;
        oldest_use = gone->younger;
        for (place = bucket_of(gone->identity); *place != gone; place = &(*place)->next_in_bucket)
            ;
        *place = gone->next_in_bucket;
    }
    return gone;
}

/* The one use of all copies of a ticket, with a reference for the caller; NULL where memory is out. */
static sslsession_use *use_of(const unsigned char *identity) {
    sslsession_use *made = zalloc(sizeof *made), *gone = NULL, *use;
    if (made == NULL)
        return NULL;
    memcpy(made->identity, identity, sizeof made->identity);
    made->references = 2;
    lock();
    use = known_use(identity);
    if (use == NULL) {
        use = made;
        gone = add_use(made);
    } else {
        atomic_add(&use->references, 1);
    }
    unlock();
    if (use != made)
        free(made);
    sslsession_use_free(gone);
    return use;
}

/* Whether a handshake of this process began with the ticket, and whether a connection of the session died of an alert. */
static void read_marks(const unsigned char *identity, int *spent, int *withdrawn) {
    sslsession_use *use;
    lock();
    use = known_use(identity);
    *spent = use != NULL && atomic_read(&use->spent) != 0;
    *withdrawn = use != NULL && atomic_read(&use->withdrawn) != 0;
    unlock();
}

/* Withdraws every copy of the session. */
static void mark_withdrawn(SSL_SESSION *session) {
    unsigned char identity[IDENTITY_SIZE];
    sslsession_use *use = identify(session, identity) ? use_of(identity) : NULL;
    if (use != NULL)
        atomic_swap(&use->withdrawn, 1);
    sslsession_use_free(use);
}
