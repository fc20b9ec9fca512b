/* The policy of a handshake, and the facts that only the live connection knows and OpenSSL's DER drops. */
enum {
    CTRL_GET_GROUPS = 90,
    CTRL_GET_PEER_TMP_KEY = 109,
    CTRL_GET_EC_POINT_FORMATS = 111,
    CTRL_GET_CHAIN_CERTS = 115,
    CTRL_SELECT_CURRENT_CERT = 116,
    CTRL_SET_CURRENT_CERT = 117,
    CURRENT_FIRST = 1,
    CURRENT_NEXT = 2,
    CTRL_GET_EXTMS_SUPPORT = 122,
    CTRL_GET_MIN_PROTO_VERSION = 130,
    CTRL_GET_MAX_PROTO_VERSION = 131,
    CTRL_GET_NEGOTIATED_GROUP = 134,
    GROUP_UNKNOWN_TO_OPENSSL = 0x1000000,
    GROUPS_MOST = 64,
    SERVERNAME_MOST = 255,
    VERIFY_PEER = 1,
    VERIFY_FAIL_IF_NO_PEER_CERT = 2,
    CERTIFICATE_UNKNOWN = -1 /* equal to no other, nor to none */
};
#define OP_NO_ENCRYPT_THEN_MAC (UINT64_C(1) << 19)

/* SHA-256 of the suites' numbers. Nearly every connection of a context has the same ones as the last: the context's
 * attachment remembers those and their digest, since asking OpenSSL for a digest costs more than all else here. */
static void digest_suites(SSL *ssl, struct attachment *home, unsigned char *digest) {
    uint16_t suites[SUITES_MOST];
    size_t size;
    int known = 0;
    OPENSSL_STACK *listed = SSL_get_ciphers(ssl);
    int count = listed != NULL ? OPENSSL_sk_num(listed) : 0;
    if (count > SUITES_MOST)
        count = SUITES_MOST;
    for (int i = 0; i < count; i++)
        suites[i] = SSL_CIPHER_get_protocol_id(OPENSSL_sk_value(listed, i));
    size = (size_t)count * sizeof *suites;
    if (home != NULL) {
        lock();
        known = count != 0 && home->suites_count == count && memcmp(home->suites, suites, size) == 0;
        if (known)
            memcpy(digest, home->suites_digest, sizeof home->suites_digest);
        unlock();
    }
    if (known || !EVP_Digest(suites, size, digest, NULL, EVP_sha256(), NULL) || home == NULL)
        return;
    lock();
    home->suites_count = count;
    memcpy(home->suites, suites, size);
    memcpy(home->suites_digest, digest, sizeof home->suites_digest);
    unlock();
}

static int checks_a_name(X509_VERIFY_PARAM *param) {
    char *address;
    if (ossl.X509_VERIFY_PARAM_get0_host == NULL || ossl.X509_VERIFY_PARAM_get1_ip_asc == NULL)
        return -1;
    if (X509_VERIFY_PARAM_get0_host(param, 0) != NULL)
        return 1;
    ERR_set_mark(); /* no address is an error to OpenSSL, and one left in its queue would fail the next read */
    address = X509_VERIFY_PARAM_get1_ip_asc(param);
    ERR_pop_to_mark();
    CRYPTO_free(address, "", 0);
    return address != NULL;
}

static int trust_objects(SSL_CTX *ctx) {
    OPENSSL_STACK *objects = X509_STORE_get0_objects(SSL_CTX_get_cert_store(ctx));
    return objects != NULL ? OPENSSL_sk_num(objects) : -1;
}

/* SHA-256 of this side's certificate; of the SHA-256 of each, where there are several. 1, or CERTIFICATE_UNKNOWN. */
static int digest_all(X509 *const *certificates, int count, unsigned char *digest) {
    unsigned char all[CERTIFICATES_MOST][32];
    for (int i = 0; i < count; i++)
        if (!X509_digest(certificates[i], EVP_sha256(), all[i], NULL))
            return CERTIFICATE_UNKNOWN;
    memcpy(digest, all[0], 32);
    if (count > 1 && !EVP_Digest(all, (size_t)count * sizeof all[0], digest, NULL, EVP_sha256(), NULL))
        return CERTIFICATE_UNKNOWN;
    return 1;
}

/* Of all that this side could show (RSA and ECDSA, say). The context's attachment remembers the last ones and their
 * digest, and holds them, so that no other is ever found at their addresses. */
static int digest_certificates(SSL *ssl, struct attachment *home, X509 *own, unsigned char *digest) {
    X509 *found[CERTIFICATES_MOST] = {own}, *left[CERTIFICATES_MOST] = {NULL}, *each;
    int count = 0, known = 0;
    for (int told = CURRENT_FIRST;
         count < CERTIFICATES_MOST && SSL_ctrl(ssl, CTRL_SET_CURRENT_CERT, told, NULL) == 1; told = CURRENT_NEXT)
        if ((each = SSL_get_certificate(ssl)) != NULL)
            found[count++] = each;
    SSL_ctrl(ssl, CTRL_SELECT_CURRENT_CERT, 0, own);
    if (count < 2) {
        found[0] = own;
        count = 1;
    }
    if (home != NULL) {
        lock();
        known = home->certificates_count == count && memcmp(home->certificates, found, (size_t)count * sizeof *found) == 0;
        if (known)
            memcpy(digest, home->certificates_digest, 32);
        unlock();
    }
    if (known)
        return 1;
    if (digest_all(found, count, digest) != 1)
        return CERTIFICATE_UNKNOWN;
    if (home == NULL)
        return 1;
    for (int i = 0; i < count; i++)
        X509_up_ref(found[i]);
    lock();
    memcpy(left, home->certificates, sizeof left);
    memcpy(home->certificates, found, (size_t)count * sizeof *found);
    memset(home->certificates + count, 0, (size_t)(CERTIFICATES_MOST - count) * sizeof *found);
    home->certificates_count = count;
    memcpy(home->certificates_digest, digest, 32);
    unlock();
    free_certificates(left);
    return 1;
}

/* All but the suites. */
static void read_settings(SSL *ssl, sslsession_policy *policy) {
    SSL_CTX *ctx = SSL_get_SSL_CTX(ssl);
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    X509 *own = SSL_get_certificate(ssl);
    struct attachment *home = make_attachment(ctx);
    memset(policy, 0, sizeof *policy);
    if (home != NULL) {
        lock();
        policy->context = home->id;
        policy->epoch = home->epoch;
        policy->unseen = home->unseen;
        unlock();
    }
    policy->server = SSL_is_server(ssl);
    policy->verify_mode = SSL_get_verify_mode(ssl);
    policy->depth = X509_VERIFY_PARAM_get_depth(param);
    policy->verify_flags = X509_VERIFY_PARAM_get_flags(param);
    policy->host_flags = X509_VERIFY_PARAM_get_hostflags(param);
    policy->name_checked = policy->server ? 0 : checks_a_name(param);
    policy->security_level = SSL_get_security_level(ssl);
    policy->min_version = (int)SSL_ctrl(ssl, CTRL_GET_MIN_PROTO_VERSION, 0, NULL);
    policy->max_version = (int)SSL_ctrl(ssl, CTRL_GET_MAX_PROTO_VERSION, 0, NULL);
    policy->options = SSL_get_options(ssl);
    if (OpenSSL_version_num() < 0x30000000L)
        policy->options &= UINT32_MAX;
    policy->trust_objects = trust_objects(ctx);
    if (own != NULL)
        policy->has_certificate = digest_certificates(ssl, home, own, policy->certificate);
}

static void sslsession_read_policy(SSL *ssl, sslsession_policy *policy) {
    read_settings(ssl, policy);
    digest_suites(ssl, attachment_of(SSL_get_SSL_CTX(ssl)), policy->ciphers);
}

/* The named group as OpenSSL numbers it (a NID, or 0x1000000 and the IANA id), 0 for none. */
static int negotiated_group(SSL *ssl) {
    int group = (int)SSL_ctrl(ssl, CTRL_GET_NEGOTIATED_GROUP, 0, NULL);
    EVP_PKEY *key = NULL;
    char name[64];
    if (group != 0 || !SSL_ctrl(ssl, CTRL_GET_PEER_TMP_KEY, 0, &key) || key == NULL)
        return group;
    if (ossl.EVP_PKEY_get_group_name != NULL && EVP_PKEY_get_group_name(key, name, sizeof name, NULL))
        group = OBJ_txt2nid(name);
    EVP_PKEY_free(key);
    return group;
}

static int point_format(SSL *ssl) {
    const unsigned char *formats = NULL;
    long count = SSL_ctrl(ssl, CTRL_GET_EC_POINT_FORMATS, 0, &formats);
    if (count <= 0 || formats == NULL)
        return 0;
    return memchr(formats, 0, (size_t)count) != NULL ? 0 : -1;
}

static void peer_offers(SSL *ssl, sslsession_facts *facts) {
    int total, hash, sign, both;
    unsigned char low, high;
    if (facts->policy.server) {
        total = (int)SSL_ctrl(ssl, CTRL_GET_GROUPS, 0, NULL);
        if (total > 0 && total <= GROUPS_MOST)
            facts->groups_count = (int)SSL_ctrl(ssl, CTRL_GET_GROUPS, 0, facts->groups);
    }
    total = SSL_get_sigalgs(ssl, 0, NULL, NULL, NULL, NULL, NULL);
    for (int i = 0; i < total && facts->sigalgs_count < GROUPS_MOST; i++)
        if (SSL_get_sigalgs(ssl, i, &sign, &hash, &both, &low, &high))
            facts->sigalgs[facts->sigalgs_count++] = (uint16_t)(high << 8 | low);
}

static OPENSSL_STACK *shared_chain(OPENSSL_STACK *chain) {
    return chain != NULL && OPENSSL_sk_num(chain) > 0 ? X509_chain_up_ref(chain) : NULL;
}

static void certificates(SSL *ssl, SSL_SESSION *session, struct connection *connection, sslsession_facts *facts) {
    OPENSSL_STACK *chain = NULL;
    EVP_PKEY *key = SSL_get_privatekey(ssl);
    facts->own = SSL_get_certificate(ssl);
    if (facts->own != NULL)
        X509_up_ref(facts->own);
    if (facts->own != NULL && SSL_ctrl(ssl, CTRL_GET_CHAIN_CERTS, 0, &chain))
        facts->own_chain = shared_chain(chain);
    if (key != NULL) {
        facts->key_type = EVP_PKEY_get_base_id(key);
        facts->key_bits = EVP_PKEY_get_bits(key);
    }
    facts->peer = SSL_SESSION_get0_peer(session);
    if (facts->peer != NULL)
        X509_up_ref(facts->peer);
    facts->peer_chain = shared_chain(SSL_get_peer_cert_chain(ssl));
    if (facts->reused && connection != NULL && connection->chain != NULL) {
        sslsession_chain_free(facts->peer_chain);
        facts->peer_chain = shared_chain(connection->chain);
    }
    facts->verified_chain = shared_chain(SSL_get0_verified_chain(ssl));
}

static void sslsession_facts_free(sslsession_facts *facts) {
    if (facts == NULL || atomic_add((atomic_word *)&facts->references, -1) > 0)
        return;
    if (facts->own != NULL)
        X509_free(facts->own);
    if (facts->peer != NULL)
        X509_free(facts->peer);
    sslsession_chain_free(facts->own_chain);
    sslsession_chain_free(facts->peer_chain);
    sslsession_chain_free(facts->verified_chain);
    if (facts->session != NULL)
        SSL_SESSION_free(facts->session);
    free(facts);
}

/* Whether the peer's certificate was verified by the handshake that made the session, and until when (epoch seconds)
 * its connection's context need not look again: 0 unless the handshake was watched from its start, in that very
 * context. A session that was merely set, by whatever way, brings its old result along: that proves nothing. */
static void judge(SSL *ssl, struct connection *connection, int settled, sslsession_facts *facts) {
    struct attachment *here = attachment_of(SSL_get_SSL_CTX(ssl));
    int watched = connection != NULL && connection->begun && !connection->swapped && here != NULL && here->id == facts->policy.context;
    int64_t resumed_until = watched && connection->offered ? connection->earned_until : 0;
    if (!settled || facts->peer == NULL || !(facts->policy.verify_mode & VERIFY_PEER) || facts->verify_result != 0)
        return;
    facts->verified = !facts->reused || facts->policy.server || resumed_until != 0;
    if (watched && !facts->policy.server)
        facts->earned_until = facts->reused ? resumed_until : chain_ends(facts->verified_chain);
}

/* Everything at once, by up-ref and copy, so that nothing in it can change or go; NULL where memory is out. settled:
 * whether the session's handshake has passed, or the session would not be here. */
static sslsession_facts *gather(SSL *ssl, SSL_SESSION *session, int settled) {
    sslsession_facts *facts = zalloc(sizeof *facts);
    struct connection *connection = connection_of(ssl);
    const unsigned char *alpn = NULL;
    unsigned int alpn_length = 0;
    const char *name;
    if (facts == NULL)
        return NULL;
    facts->references = 1;
    facts->session = SSL_SESSION_dup(session);
    if (facts->session == NULL) {
        free(facts);
        return NULL;
    }
    if (connection == NULL || !connection->begun)
        sslsession_read_policy(ssl, &facts->policy);
    else
        facts->policy = connection->policy;
    if (connection != NULL && connection->begun && facts->policy.server)
        digest_suites(ssl, attachment_of(SSL_get_SSL_CTX(ssl)), facts->policy.ciphers);
    if (connection != NULL && connection->swapped && !facts->policy.server)
        facts->policy.has_certificate = CERTIFICATE_UNKNOWN;
    facts->version = SSL_SESSION_get_protocol_version(session);
    facts->resumable = SSL_SESSION_is_resumable(session);
    facts->reused = SSL_session_reused(ssl);
    facts->verify_result = (int)SSL_get_verify_result(ssl);
    facts->curve = negotiated_group(ssl);
    facts->extended_master_secret = (int)SSL_ctrl(ssl, CTRL_GET_EXTMS_SUPPORT, 0, NULL);
    facts->encrypt_then_mac = -1;
    if (connection != NULL && connection->begun)
        facts->encrypt_then_mac = connection->saw_encrypt_then_mac
            && !(facts->policy.server && (facts->policy.options & OP_NO_ENCRYPT_THEN_MAC));
    facts->point_format = point_format(ssl);
    peer_offers(ssl, facts);
    SSL_get0_alpn_selected(ssl, &alpn, &alpn_length);
    if (alpn != NULL && alpn_length <= sizeof facts->alpn) {
        facts->alpn_length = (int)alpn_length;
        memcpy(facts->alpn, alpn, alpn_length);
    }
    name = SSL_get_servername(ssl, 0);
    if (name != NULL && strlen(name) <= SERVERNAME_MOST) {
        facts->has_servername = 1;
        strcpy(facts->servername, name);
    }
    certificates(ssl, session, connection, facts);
    judge(ssl, connection, settled, facts);
    return facts;
}

/* The same, and no error left in OpenSSL's queue, which would fail the connection's next read. */
static sslsession_facts *capture(SSL *ssl, SSL_SESSION *session, int settled) {
    sslsession_facts *facts;
    ERR_set_mark();
    facts = gather(ssl, session, settled);
    ERR_pop_to_mark();
    return facts;
}

/* A session that OpenSSL is just handing over, which it does for verified peers only. */
static sslsession_facts *sslsession_capture(SSL *ssl, SSL_SESSION *session) { return capture(ssl, session, 1); }

/* Same settings, be it in another context or process. */
static int same_settings(const sslsession_policy *here, const sslsession_policy *there) {
    sslsession_policy one = *here, other = *there;
    one.context = other.context = one.epoch = other.epoch = 0;
    one.trust_objects = other.trust_objects = 0;
    return memcmp(&one, &other, sizeof one) == 0;
}
