/* A resumed handshake verifies nothing. A session that this context did not earn is verified here first, as libssl
 * itself would in a full handshake (ssl_verify_cert_chain): the same store, parameters, name and level. What held is
 * told in `trust`, to be remembered. */
static int sslsession_verify_again(SSL *ssl, X509 *leaf, OPENSSL_STACK *chain, int *error, sslsession_trust *trust) {
    X509_STORE_CTX *work = X509_STORE_CTX_new();
    X509_VERIFY_PARAM *param;
    int holds = 0;
    *error = 0;
    memset(trust, 0, sizeof *trust);
    ERR_set_mark();
    if (work != NULL && X509_STORE_CTX_init(work, SSL_CTX_get_cert_store(SSL_get_SSL_CTX(ssl)), leaf, chain)) {
        param = X509_STORE_CTX_get0_param(work);
        X509_VERIFY_PARAM_set_auth_level(param, SSL_get_security_level(ssl));
        sslsession_read_policy(ssl, &trust->policy);
        holds = X509_STORE_CTX_set_default(work, SSL_is_server(ssl) ? "ssl_client" : "ssl_server")
            && X509_VERIFY_PARAM_set1(param, SSL_get0_param(ssl)) && X509_verify_cert(work) > 0;
        *error = X509_STORE_CTX_get_error(work);
        if (holds)
            trust->until = chain_ends(X509_STORE_CTX_get0_chain(work));
    }
    if (work != NULL)
        X509_STORE_CTX_free(work);
    ERR_pop_to_mark();
    return holds;
}

/* Whether the session's peer certificate is valid at `now` (epoch seconds); without one there is nothing to outlive. */
static int sslsession_leaf_in_date(SSL_SESSION *session, int64_t now) {
    X509 *leaf = SSL_SESSION_get0_peer(session);
    time_t at = (time_t)now;
    return leaf == NULL
        || (X509_cmp_time(X509_get0_notAfter(leaf), &at) > 0 && X509_cmp_time(X509_get0_notBefore(leaf), &at) < 0);
}

/* Keeps what held with the session that it held for, so that no copy of the knowledge is lost with a copy of Python's. */
static void sslsession_remember(sslsession_facts *facts, sslsession_trust *trust) {
    lock();
    facts->held = *trust;
    unlock();
}
