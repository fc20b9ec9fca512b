/* All that set_session asks of a session and of the connection that it is for: one call from Python, one policy read. */
enum { FLAG_CRL_CHECK = 0x4, FLAG_CRL_CHECK_ALL = 0x8 };

static int64_t made_at(SSL_SESSION *session) {
    return ossl.SSL_SESSION_get_time_ex != NULL ? SSL_SESSION_get_time_ex(session) : SSL_SESSION_get_time(session);
}

/* Until when the session needs no new verification here: while this very context, its settings and its trust are as
 * they were when it verified the session, and no certificate of that chain ends. 0: it has to be verified. A
 * revocation comes unseen, and OpenSSL 1.1.1 does not tell whether a name is checked: there, always. */
static int64_t earned_until(const sslsession_policy *here, sslsession_facts *facts, sslsession_trust *held, int64_t now) {
    int64_t until = 0;
    if (here->name_checked < 0 || (here->verify_flags & (FLAG_CRL_CHECK | FLAG_CRL_CHECK_ALL)))
        return 0;
    if (facts != NULL && now < facts->earned_until && memcmp(here, &facts->policy, sizeof *here) == 0)
        return facts->earned_until;
    lock();
    if (held == NULL && facts != NULL)
        held = &facts->held;
    if (held != NULL && now < held->until && memcmp(here, &held->policy, sizeof *here) == 0)
        until = held->until;
    unlock();
    return until;
}

/* Whether the trust of this very context was changed since, as far as it was watched. */
static int outdated(const sslsession_policy *here, const sslsession_policy *then) {
    return then->context == here->context && then->epoch != here->epoch && then->epoch >> 32 == here->epoch >> 32;
}

/* facts: what was captured with the session, or NULL. held: under what it was verified again, or NULL. now: epoch
 * seconds. Into `found`: whether the trust of this very context was changed since, whether this side shows the
 * certificate that the session was made with (-1: no facts tell), a hint of -1 without a ticket. */
static void sslsession_examine(SSL *ssl, SSL_SESSION *session, sslsession_facts *facts, sslsession_trust *held,
                              int64_t now, sslsession_candidate *found) {
    sslsession_policy here;
    unsigned char identity[IDENTITY_SIZE];
    struct connection *connection = sslsession_follow(ssl) ? connection_of(ssl) : NULL;
    int offering = connection != NULL && connection->offering;
    found->server = SSL_is_server(ssl);
    found->begun = sslsession_begun(ssl);
    found->verifies = (SSL_get_verify_mode(ssl) & VERIFY_PEER) != 0;
    found->made_at = made_at(session);
    found->timeout = SSL_SESSION_get_timeout(session);
    found->lifetime_hint = SSL_SESSION_has_ticket(session) ? (int64_t)SSL_SESSION_get_ticket_lifetime_hint(session) : -1;
    found->same_certificate = -1;
    if (offering)
        here = connection->policy;
    else
        sslsession_read_policy(ssl, &here);
    if (facts != NULL)
        found->same_certificate = here.has_certificate == facts->policy.has_certificate
            && memcmp(here.certificate, facts->policy.certificate, sizeof here.certificate) == 0;
    found->same_settings = facts != NULL && same_settings(&here, &facts->policy);
    found->outdated = facts != NULL && outdated(&here, &facts->policy);
    found->earned_until = earned_until(&here, facts, held, now);
    found->leaf_in_date = found->earned_until != 0 || sslsession_leaf_in_date(session, now);
    found->spent = found->withdrawn = 0;
    if (identify(session, identity))
        read_marks(identity, &found->spent, &found->withdrawn);
    if (connection != NULL && !found->begun && !offering) {
        connection->policy = here;
        connection->policy_read = 1;
    }
}
