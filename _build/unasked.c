/* What needs no judgement is done here, with no Python in the handshake's way: to keep what comes in, and to offer
 * what this very context earned under the very policy of this connection, in time. Whatever else there is to offer,
 * Python is asked (_asked.py), by the rules of resumption.py, of which these are a part. */
enum { WEEK = 7 * 24 * 3600, CLOCK_SKEW = 300 };
enum { FIT = 0, UNSURE = -1, REASON_EXPIRED = 5, REASON_WITHDRAWN = 7 };

/* Seconds since the epoch: the first at which the session is not to be offered any more. As resumption.expires_at. */
static int64_t sslsession_expires_at(SSL_SESSION *session, int version) {
    int64_t timeout = SSL_SESSION_get_timeout(session), most = timeout;
    int64_t hint = SSL_SESSION_has_ticket(session) ? (int64_t)SSL_SESSION_get_ticket_lifetime_hint(session) : -1;
    if (version >= VERSION_TLS1_3) {
        if (hint >= 0 && hint < most)
            most = hint;
        if (most > WEEK)
            most = WEEK;
    } else if (hint > 0 && hint < most) {
        most = hint;
    }
    return made_at(session) + (most > 0 ? most : 0);
}

/* FIT, UNSURE, or the reason why not. */
static int weigh(struct connection *connection, sslsession_pool *pool, sslsession_facts *facts, int64_t used, int64_t now,
                 int64_t *earned) {
    const sslsession_policy *here = &connection->policy, *then = &facts->policy;
    unsigned char identity[IDENTITY_SIZE];
    int spent = 0, withdrawn = 0;
    int64_t made = made_at(facts->session), until = sslsession_expires_at(facts->session, facts->version);
    if (until > made + pool->settings.max_lifetime)
        until = made + pool->settings.max_lifetime;
    if (!(made - CLOCK_SKEW <= now && now < until)
        || (pool->settings.idle_lifetime > 0 && now - used > pool->settings.idle_lifetime))
        return REASON_EXPIRED;
    if (outdated(here, then))
        return REASON_POLICY_CHANGED;
    *earned = earned_until(here, facts, NULL, now);
    if (here->verify_mode & VERIFY_PEER ? *earned == 0
                                        : memcmp(here, then, sizeof *here) != 0
                || !sslsession_leaf_in_date(facts->session, now))
        return UNSURE;
    if (!facts->resumable || !identify(facts->session, identity))
        return UNSURE;
    read_marks(identity, &spent, &withdrawn);
    if (withdrawn)
        return REASON_WITHDRAWN;
    return spent && facts->version >= VERSION_TLS1_3 ? REASON_TICKET_USED : FIT;
}

/* The same, for a test to hold against resumption.py: UNSURE also where nobody watched the handshake begin. */
static int sslsession_weigh(SSL *ssl, sslsession_pool *pool, sslsession_facts *facts, int64_t used, int64_t now) {
    struct connection *connection = connection_of(ssl);
    int64_t earned;
    return connection != NULL && connection->begun ? weigh(connection, pool, facts, used, now, &earned) : UNSURE;
}

/* Offers the newest session of this key that is beyond doubt. Of one that is not, nothing is decided: 0, and Python
 * has to look. */
static int offer_from(SSL *ssl, struct connection *connection, sslsession_pool *pool, int64_t now) {
    unsigned char key[POOL_KEY_MOST];
    size_t size = key_of(connection, pool, key);
    sslsession_facts *facts;
    int64_t used, earned;
    while ((facts = sslsession_pool_take(pool, key, size, now, &used)) != NULL) {
        int found = weigh(connection, pool, facts, used, now, &earned), single_use = facts->version >= VERSION_TLS1_3, done = 0;
        if (found == UNSURE) {
            give_back(pool, key, size, facts, used);
            return 0;
        }
        if (found == FIT)
            done = sslsession_offer(ssl, facts->session, pool->settings.id_context, pool->settings.id_context_length,
                                    single_use, facts->peer_chain, earned,
                                    same_settings(&connection->policy, &facts->policy)) > 0;
        if (done) {
            connection->awaited = pool->settings.number;
            count(pool, POOL_HITS);
            count(pool, POOL_OFFERED);
        } else {
            connection->reason = found;
            count(pool, found == REASON_EXPIRED ? POOL_EXPIRED : POOL_REFUSED);
            if (!single_use)
                sslsession_pool_drop(pool, key, size, POOL_SESSION);
        }
        sslsession_facts_free(facts);
        if (done)
            return 1;
    }
    if (atomic_read(&pool->asks))
        return 0;
    count(pool, POOL_MISSES);
    return 1;
}

/* The start of a client's handshake on a context that has pools: whether Python is to be asked for a session. */
static int offer_unasked(SSL *ssl, struct connection *connection, struct attachment *home) {
    sslsession_pool *pools[POOLS_MOST];
    int count = pools_of(home, pools), asked = 0, found = count > 0 ? find_peer(ssl) : 0;
    int64_t now = (int64_t)time(NULL);
    if (found < 0) {
        enter_python();
        sslsession_py_peer(home->id, ssl);
        left_python();
    }
    for (int i = count - 1; i >= 0; i--) {
        if (connection->peer != NULL && SSL_get_session(ssl) == NULL && !atomic_read(&pools[i]->closed))
            asked |= !offer_from(ssl, connection, pools[i], now);
        sslsession_pool_free(pools[i]);
    }
    return asked;
}

/* Python takes over the facts: the cache's store is to have them. */
static void hand_over(sslsession_pool *pool, sslsession_facts *facts, const unsigned char *key, size_t size) {
    if (!pool->settings.writes || !atomic_read(&gate)) {
        count(pool, POOL_DROPPED);
        sslsession_facts_free(facts);
        return;
    }
    enter_python();
    sslsession_py_hand_over(pool->settings.number, facts, key, size);
    left_python();
}

static void hand_over_all(sslsession_pool *pool, struct held *held, const unsigned char *key, size_t size) {
    while (held != NULL) {
        struct held *next = held->next;
        hand_over(pool, held->facts, key, size);
        free(held);
        held = next;
    }
}

/* A session or ticket came: it is kept, and what has to go for it moves on. */
static void keep_in(SSL *ssl, SSL_SESSION *session, struct connection *connection, sslsession_pool *pool) {
    sslsession_facts *facts = capture(ssl, session, 1);
    unsigned char key[POOL_KEY_MOST];
    size_t size = key_of(connection, pool, key);
    struct shelf *gone = NULL;
    struct held *over;
    if (facts == NULL)
        return;
    count(pool, POOL_KEPT);
    if (pool->settings.tickets == 0) { /* Python keeps all of them itself */
        hand_over(pool, facts, key, size);
        return;
    }
    if (pool->settings.writes && facts->version < VERSION_TLS1_3) {
        atomic_add((atomic_word *)&facts->references, 1);
        hand_over(pool, facts, key, size);
    }
    over = put(pool, key, size, facts, (int64_t)time(NULL), &gone);
    if (over != NULL && over->facts->version >= VERSION_TLS1_3)
        hand_over_all(pool, over, key, size);
    else
        free_held(over);
    if (gone != NULL) {
        hand_over_all(pool, gone->tickets, gone->key, gone->key_size);
        gone->tickets = NULL;
        free_shelf(gone);
    }
}

/* Where a context has several pools, a ticket goes to the last that joined alone: in two it would be used twice.
 * Without a certificate (anonymous suites), or by an external PSK, the policy does not say who the peer is, and
 * nothing is kept. */
static void keep_unasked(SSL *ssl, SSL_SESSION *session, struct attachment *home) {
    struct connection *connection = connection_of(ssl);
    sslsession_pool *pools[POOLS_MOST];
    int single_use = SSL_SESSION_get_protocol_version(session) >= VERSION_TLS1_3, found;
    if (connection == NULL || connection->peer == NULL || !connection->begun || connection->swapped || SSL_is_server(ssl)
        || !SSL_SESSION_is_resumable(session) || SSL_SESSION_get0_peer(session) == NULL
        || SSL_get_psk_identity(ssl) != NULL)
        return;
    found = pools_of(home, pools);
    for (int i = found - 1; i >= 0; i--) {
        if ((!single_use || i == found - 1) && !atomic_read(&pools[i]->closed))
            keep_in(ssl, session, connection, pools[i]);
        sslsession_pool_free(pools[i]);
    }
}

/* Whether Python is to be told as well. The siblings of a ticket that was declined are likely dead too (RFC 9149), and
 * a fatal alert withdraws all that the connection's peer gave (RFC 8446 6.2). */
static int note_outcome(struct connection *connection, struct attachment *home, int outcome, int who) {
    static const int counted[] = {POOL_DECLINED, POOL_RESUMED, POOL_WITHDRAWN};
    sslsession_pool *pools[POOLS_MOST];
    unsigned char key[POOL_KEY_MOST];
    int found = pools_of(home, pools), tell = 0, known = 0;
    for (int i = 0; i < found; i++) {
        if (connection->peer != NULL && (who == 0 || who == pools[i]->settings.number)) {
            known = 1;
            count(pools[i], counted[outcome]);
            if (outcome != OUTCOME_RESUMED) {
                size_t size = key_of(connection, pools[i], key);
                sslsession_pool_drop(pools[i], key, size,
                                     outcome == OUTCOME_DECLINED ? POOL_TICKETS : POOL_TICKETS | POOL_SESSION);
                tell |= atomic_read(&pools[i]->asks) != 0;
            }
        }
        sslsession_pool_free(pools[i]);
    }
    return tell || !known;
}
