/* All that set_session asks of a session and of the connection that it is for: one call from Python, one policy read. */
enum { TICKET_COPIED_MOST = 2048 };

/* SHA-256 of "ticket" and the session's ticket, or of "id" and its id where it has none: 1, or 0 where memory is out. */
static int sslsession_identify(SSL_SESSION *session, unsigned char *digest) {
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

static int64_t made_at(SSL_SESSION *session) {
    return ossl.SSL_SESSION_get_time_ex != NULL ? SSL_SESSION_get_time_ex(session) : SSL_SESSION_get_time(session);
}

/* facts: what was captured with the session, or NULL. now: epoch seconds. Returns 1, or 0 where memory is out. Into
 * `found`: whether this side shows the certificate that the session was made with (-1: no facts tell), whether this very
 * context, its settings and its trust unchanged, verified the handshake that made it, a hint of -1 without a ticket. */
static int sslsession_examine(SSL *ssl, SSL_SESSION *session, sslsession_facts *facts, int64_t now,
                              sslsession_candidate *found) {
    sslsession_policy here;
    found->server = SSL_is_server(ssl);
    found->begun = sslsession_begun(ssl);
    found->verifies = (SSL_get_verify_mode(ssl) & VERIFY_PEER) != 0;
    found->leaf_in_date = sslsession_leaf_in_date(session, now);
    found->made_at = made_at(session);
    found->timeout = SSL_SESSION_get_timeout(session);
    found->lifetime_hint = SSL_SESSION_has_ticket(session) ? (int64_t)SSL_SESSION_get_ticket_lifetime_hint(session) : -1;
    found->same_certificate = -1;
    found->earned = 0;
    if (facts != NULL) {
        sslsession_read_policy(ssl, &here);
        found->same_certificate = here.has_certificate == facts->policy.has_certificate
            && memcmp(here.certificate, facts->policy.certificate, sizeof here.certificate) == 0;
        found->earned = facts->earned && memcmp(&here, &facts->policy, sizeof here) == 0;
    }
    return sslsession_identify(session, found->identity);
}
