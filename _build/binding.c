/* What a server's sessions are bound to: its certificates, whether and by which authorities it verifies its clients.
 * The digest is the same in every process and on every host with the same settings, and moves when they do. */
enum { BINDING_SIZE = 32, TRUSTED_MOST = 65536, OBJECT_CERTIFICATE = 1, OBJECT_CRL = 2 };

static int by_bytes(const void *one, const void *other) { return memcmp(one, other, 32); }

/* SHA-256 over the sorted SHA-256 of each certificate and CRL of the store: 1, or 0 where memory is out. */
static int digest_objects(X509_STORE *store, unsigned char *digest) {
    OPENSSL_STACK *objects;
    unsigned char *all = NULL;
    int count = 0, done;
    X509_STORE_lock(store);
    objects = X509_STORE_get0_objects(store);
    done = objects == NULL || OPENSSL_sk_num(objects) <= 0
        || (all = calloc((size_t)OPENSSL_sk_num(objects), 32)) != NULL;
    for (int i = 0; done && all != NULL && i < OPENSSL_sk_num(objects); i++) {
        X509_OBJECT *each = OPENSSL_sk_value(objects, i);
        int kind = X509_OBJECT_get_type(each);
        if (kind == OBJECT_CERTIFICATE)
            done = X509_digest(X509_OBJECT_get0_X509(each), EVP_sha256(), all + 32 * count++, NULL);
        else if (kind == OBJECT_CRL)
            done = X509_CRL_digest(X509_OBJECT_get0_X509_CRL(each), EVP_sha256(), all + 32 * count++, NULL);
    }
    X509_STORE_unlock(store);
    if (done && count > 1)
        qsort(all, (size_t)count, 32, by_bytes);
    done = done && EVP_Digest(all != NULL ? (void *)all : "", (size_t)count * 32, digest, NULL, EVP_sha256(), NULL);
    free(all);
    return done;
}

/* The same for a context, which is looked through again only when something was added. */
static int digest_trust(SSL_CTX *ctx, unsigned char *digest) {
    struct attachment *attachment = make_attachment(ctx);
    int objects = trust_objects(ctx), known;
    uint64_t epoch;
    if (attachment == NULL)
        return 0;
    lock();
    epoch = attachment->epoch;
    known = attachment->trust_known && attachment->trust_objects == objects && attachment->trust_epoch == epoch;
    memcpy(digest, attachment->trust_digest, 32);
    unlock();
    if (known)
        return 1;
    if (!digest_objects(SSL_CTX_get_cert_store(ctx), digest))
        return 0;
    lock();
    attachment->trust_known = 1;
    attachment->trust_objects = objects;
    attachment->trust_epoch = epoch;
    memcpy(attachment->trust_digest, digest, 32);
    unlock();
    return 1;
}

static unsigned char *put_number(unsigned char *at, uint64_t number, int size) {
    while (size-- > 0)
        *at++ = (unsigned char)(number >> (8 * size));
    return at;
}

/* What the connection's settings bind a session to. Trust counts where a client's certificate is asked for. */
static int bind_to(const sslsession_policy *policy, SSL_CTX *ctx, unsigned char digest[BINDING_SIZE]) {
    unsigned char text[128] = "sslsession binding 1", *at = text + 20;
    if (policy->has_certificate < 0)
        return 0;
    at = put_number(at, (uint64_t)policy->has_certificate, 1);
    memcpy(at, policy->certificate, 32);
    at = put_number(at + 32, (uint64_t)policy->verify_mode, 1);
    if (policy->verify_mode & VERIFY_PEER) {
        at = put_number(at, (uint64_t)(int64_t)policy->depth, 4);
        at = put_number(at, policy->verify_flags, 8);
        at = put_number(at, (uint64_t)policy->security_level, 1);
        if (!digest_trust(ctx, at))
            return 0;
        at += 32;
    }
    return EVP_Digest(text, (size_t)(at - text), digest, NULL, EVP_sha256(), NULL);
}
