/* The callback slots of an SSL_CTX. Each slot is taken when somebody wants it; what stood in it is kept and called,
 * and put back when nobody wants it any more. A slot that another library took over meanwhile stays as that library
 * left it. */
static void sslsession_open_gate(int open) { atomic_swap(&gate, open); }

/* After sni_callback chose another SSL_CTX, OpenSSL still calls the first one's callbacks: home, not the current one. */
static struct attachment *attachment_for(SSL *ssl) {
    struct connection *connection = connection_of(ssl);
    if (connection != NULL && connection->home != NULL)
        return connection->home;
    return attachment_of(SSL_get_SSL_CTX(ssl));
}

static int wanted(struct attachment *attachment, int what) {
    return attachment != NULL && (atomic_read(&attachment->wants) & what) && atomic_read(&gate);
}

static void keep_unasked(SSL *, SSL_SESSION *, struct attachment *);
static void shelve(SSL *, SSL_SESSION *);
static SSL_SESSION *unshelve(SSL *, const unsigned char *, int);
static int admit(SSL *, SSL_SESSION *);

static int on_new(SSL *ssl, SSL_SESSION *session) {
    struct attachment *attachment = attachment_for(ssl);
    new_session_cb previous = attachment != NULL ? attachment->previous_new : NULL;
    int taken = previous != NULL ? previous(ssl, session) : 0;
    if (wanted(attachment, WANT_POOL)) {
        ERR_set_mark();
        keep_unasked(ssl, session, attachment);
        ERR_pop_to_mark();
    }
    if (wanted(attachment, WANT_STORE)) {
        ERR_set_mark();
        shelve(ssl, session);
        ERR_pop_to_mark();
    }
    if (wanted(attachment, WANT_NEW)) {
        enter_python();
        if (!sslsession_py_new(attachment->id, ssl, session))
            SSL_CTX_remove_session(attachment->ctx, session);
        left_python();
    }
    return taken;
}

/* TLS 1.3 has room for hundreds of ids in one ClientHello, and whoever proposes them has shown nothing. */
enum { LOOKUPS_MOST = 8 };

static int may_ask(SSL *ssl) {
    struct connection *connection = connection_of(ssl);
    return connection == NULL || connection->asked++ < LOOKUPS_MOST;
}

static SSL_SESSION *on_get(SSL *ssl, const unsigned char *id, int length, int *copy) {
    struct attachment *attachment = attachment_for(ssl);
    get_session_cb previous = attachment != NULL ? attachment->previous_get : NULL;
    SSL_SESSION *session = NULL;
    if (wanted(attachment, WANT_GET) && may_ask(ssl)) {
        enter_python();
        session = sslsession_py_get(attachment->id, ssl, id, length);
        left_python();
        if (session != NULL && (atomic_read(&attachment->wants) & WANT_SERVE) && !admit(ssl, session)) {
            SSL_SESSION_free(session);
            session = NULL;
        }
    }
    if (session == NULL && wanted(attachment, WANT_STORE))
        session = unshelve(ssl, id, length);
    if (session != NULL)
        *copy = 0;
    else if (previous != NULL)
        session = previous(ssl, id, length, copy);
    return session;
}

/* OpenSSL calls for one session more than once (evicted, then its connection dropped): the first time counts. */
static int first_removal(SSL_SESSION *session) {
    int first;
    lock();
    first = SSL_SESSION_get_ex_data(session, removed_index) == NULL
        && SSL_SESSION_set_ex_data(session, removed_index, &removal_reported);
    unlock();
    return first;
}

static void on_remove(SSL_CTX *ctx, SSL_SESSION *session) {
    struct attachment *attachment = attachment_of(ctx);
    remove_session_cb previous = attachment != NULL ? attachment->previous_remove : NULL;
    if (wanted(attachment, WANT_REMOVE) && first_removal(session) && SSL_SESSION_up_ref(session))
        push_event(EVENT_REMOVED, attachment->id, session);
    if (previous != NULL)
        previous(ctx, session);
}

/* Takes one slot or gives it back. What stood in it stays known: another thread may be on its way into ours. One that
 * another library has taken over since is `buried`: ours may still be called through theirs, so taking it again could
 * make the two call each other for ever. */
#define MOVE(bit, slot, kind, getter, setter, ours)                                                                  \
    if (changed & (bit)) {                                                                                           \
        kind current = getter(ctx);                                                                                  \
        if (current == ours)                                                                                         \
            attachment->buried &= ~(bit);                                                                            \
        if ((slots & (bit)) && current != ours && !(attachment->buried & (bit))) {                                   \
            attachment->slot = current;                                                                              \
            setter(ctx, ours);                                                                                       \
        } else if (!(slots & (bit)) && current == ours) {                                                            \
            setter(ctx, attachment->slot);                                                                           \
        } else if (!(slots & (bit))) {                                                                               \
            attachment->buried |= (bit);                                                                             \
        }                                                                                                            \
    }

/* Sets what Python wants to hear of this context (WANT_ bits; 0: nothing, and the slots are put back): 1, or 0
 * where memory is out. */
static int sslsession_watch(SSL_CTX *ctx, int wants) {
    struct attachment *attachment = make_attachment(ctx);
    int slots = wants != 0 ? wants | SLOT_INFO | (wants & WANT_POOL ? WANT_NEW : 0) | (wants & WANT_STORE ? WANT_NEW | WANT_GET : 0) : 0, changed;
    if (attachment == NULL)
        return 0;
    lock();
    changed = attachment->installed ^ slots;
    attachment->installed = slots;
    attachment->heard_of |= wants != 0;
    atomic_swap(&attachment->wants, wants);
    MOVE(WANT_NEW, previous_new, new_session_cb, SSL_CTX_sess_get_new_cb, SSL_CTX_sess_set_new_cb, on_new)
    MOVE(WANT_REMOVE, previous_remove, remove_session_cb, SSL_CTX_sess_get_remove_cb, SSL_CTX_sess_set_remove_cb, on_remove)
    MOVE(WANT_GET, previous_get, get_session_cb, SSL_CTX_sess_get_get_cb, SSL_CTX_sess_set_get_cb, on_get)
    MOVE(SLOT_INFO, previous_info, info_cb, SSL_CTX_get_info_callback, SSL_CTX_set_info_callback, on_info)
    unlock();
    return 1;
}
