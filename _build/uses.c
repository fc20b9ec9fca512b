/* Which TLS 1.3 tickets this process has used, and which sessions a fatal alert withdrew. Both are found by the session's
 * identity, a digest and never its bytes, so that all copies share them, also one that is read from bytes later. The
 * oldest is forgotten. */
enum { USES_MOST = 65536, USE_BUCKETS = 16384, TICKET_COPIED_MOST = 2048, IDENTITY_SIZE = 32 };
static sslsession_use *use_buckets[USE_BUCKETS], *oldest_use, *youngest_use;
static int uses_known;

/* SHA-256 of "ticket" and the session's ticket, or of "id" and its id where it has none: 1, or 0 where memory is out. */
static int identify(SSL_SESSION *session, unsigned char *digest) {
    unsigned char near[TICKET_COPIED_MOST], *text = near;
    const unsigned char *data = NULL;
    const char *kind = "ticket";
    size_t size = 0, kind_size;
    unsigned int id_size = 0;
    int done;
    SSL_SESSION_get0_ticket(session, &data, &size);
    if (size == 0) {
        kind = "id";
        data = SSL_SESSION_get_id(session, &id_size);
        size = id_size;
    }
    kind_size = strlen(kind);
    if (kind_size + size > sizeof near && (text = malloc(kind_size + size)) == NULL)
        return 0;
    memcpy(text, kind, kind_size);
    if (size != 0)
        memcpy(text + kind_size, data, size);
    done = EVP_Digest(text, kind_size + size, digest, NULL, EVP_sha256(), NULL);
    if (text != near)
        free(text);
    return done;
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
    sslsession_use *made = calloc(1, sizeof *made), *gone = NULL, *use;
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

/* Withdraws every copy of the session; one with neither ticket nor id is no session in particular. */
static void mark_withdrawn(SSL_SESSION *session) {
    unsigned char identity[IDENTITY_SIZE];
    unsigned int id_size = 0;
    sslsession_use *use;
    SSL_SESSION_get_id(session, &id_size);
    if ((id_size == 0 && !SSL_SESSION_has_ticket(session)) || !identify(session, identity))
        return;
    use = use_of(identity);
    if (use != NULL)
        atomic_swap(&use->withdrawn, 1);
    sslsession_use_free(use);
}
