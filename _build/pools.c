/* A pool's life: made by Python, joined to contexts, whose attachments keep it alive, and closed. */
static void sslsession_pool_free(sslsession_pool *pool) {
    if (pool == NULL || atomic_add(&pool->references, -1) > 0)
        return;
    while (pool->oldest != NULL)
        free_shelf(remove_shelf(pool, pool->oldest));
    free(pool);
}

/* A freed context leaves its pools. */
static void leave_pools(struct attachment *attachment) {
    for (int i = 0; i < POOLS_MOST; i++)
        sslsession_pool_free(attachment->pools[i]);
}

static sslsession_pool *sslsession_pool_new(const sslsession_pool_settings *settings) {
    sslsession_pool *pool = zalloc(sizeof *pool);
    if (pool != NULL) {
        pool->references = 1;
        pool->settings = *settings;
        pool->asks = settings->asks;
    }
    return pool;
}

/* Whether Python is to be asked where there is nothing here to offer. */
static void sslsession_pool_ask(sslsession_pool *pool, int asks) { atomic_swap(&pool->asks, asks); }

/* From now on it keeps and offers nothing: a context may outlive its cache's closing. */
static void sslsession_pool_close(sslsession_pool *pool) { atomic_swap(&pool->closed, 1); }

/* Sessions of this context go into this pool and come out of it: 1, or 0 where the context has too many already. */
static int sslsession_pool_join(SSL_CTX *ctx, sslsession_pool *pool) {
    struct attachment *attachment = make_attachment(ctx);
    int done = 0;
    if (attachment == NULL)
        return 0;
    lock();
    for (int i = 0; i < POOLS_MOST && !done; i++)
        if (attachment->pools[i] == NULL) {
            attachment->pools[i] = pool;
            atomic_add(&pool->references, 1);
            done = 1;
        }
    unlock();
    return done;
}

static void sslsession_pool_leave(SSL_CTX *ctx, sslsession_pool *pool) {
    struct attachment *attachment = attachment_of(ctx);
    int left = 0;
    lock();
    for (int i = 0; attachment != NULL && i < POOLS_MOST; i++) {
        if (attachment->pools[i] == pool) {
            attachment->pools[i] = NULL;
            left = 1;
        }
        if (i > 0 && attachment->pools[i - 1] == NULL) {
            attachment->pools[i - 1] = attachment->pools[i];
            attachment->pools[i] = NULL;
        }
    }
    unlock();
    if (left)
        sslsession_pool_free(pool);
}

/* The pools of an attachment, with a reference to each; how many. */
static int pools_of(struct attachment *attachment, sslsession_pool **pools) {
    int found = 0;
    lock();
    for (; found < POOLS_MOST && attachment->pools[found] != NULL; found++) {
        pools[found] = attachment->pools[found];
        atomic_add(&pools[found]->references, 1);
    }
    unlock();
    return found;
}
