/* The live sessions of one client cache, by key: bounded, newest first. A key (`peers.c`) is a policy and a peer. All
 * that is under the lock is a few instructions; what has to be freed is freed outside of it. */
enum { POOL_BUCKETS = 1024, VERSION_TLS1_3 = 0x0304 };

struct held {
    sslsession_facts *facts;
    int64_t used;
    struct held *next;
};

struct shelf {
    struct shelf *next_in_bucket, *older, *younger;
    struct held *tickets, *session;
    int kind;
    uint32_t hash;
    size_t key_size;
    unsigned char key[];
};

struct sslsession_pool {
    atomic_word references;
    sslsession_pool_settings settings;
    atomic_word asks;
    atomic_word closed;
    struct shelf *buckets[POOL_BUCKETS], *oldest, *youngest;
    int shelves, sessions;
    int64_t counts[POOL_COUNTS];
};

static void count(sslsession_pool *pool, int what) {
    lock();
    pool->counts[what]++;
    unlock();
}

static uint32_t hash_of(const unsigned char *key, size_t size) {
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ key[i]) * 16777619u;
    return hash;
}

/* Under the lock, as all that has `shelf` in its name. A shelf that is found is the youngest then. */
static void unlink_shelf(sslsession_pool *pool, struct shelf *shelf) {
    *(shelf->older != NULL ? &shelf->older->younger : &pool->oldest) = shelf->younger;
    *(shelf->younger != NULL ? &shelf->younger->older : &pool->youngest) = shelf->older;
}

static void link_shelf(sslsession_pool *pool, struct shelf *shelf) {
    shelf->older = pool->youngest;
    shelf->younger = NULL;
    *(pool->youngest != NULL ? &pool->youngest->younger : &pool->oldest) = shelf;
    pool->youngest = shelf;
}

static struct shelf *find_shelf(sslsession_pool *pool, const unsigned char *key, size_t size) {
    uint32_t hash = hash_of(key, size);
    struct shelf *shelf = pool->buckets[hash % POOL_BUCKETS];
    while (shelf != NULL && (shelf->hash != hash || shelf->key_size != size || memcmp(shelf->key, key, size) != 0))
        shelf = shelf->next_in_bucket;
    if (shelf != NULL && shelf != pool->youngest) {
        unlink_shelf(pool, shelf);
        link_shelf(pool, shelf);
    }
    return shelf;
}

static struct shelf *make_shelf(sslsession_pool *pool, const unsigned char *key, size_t size) {
    struct shelf *shelf = zalloc(sizeof *shelf + size), **bucket;
    if (shelf == NULL)
        return NULL;
    memcpy(shelf->key, key, size);
    shelf->key_size = size;
    shelf->hash = hash_of(key, size);
    bucket = &pool->buckets[shelf->hash % POOL_BUCKETS];
    shelf->next_in_bucket = *bucket;
    *bucket = shelf;
    link_shelf(pool, shelf);
    pool->shelves++;
    return shelf;
}

static int length(const struct held *held) {
    int found = 0;
    for (; held != NULL; held = held->next)
        found++;
    return found;
}

/* Takes a shelf out of its pool, and returns it with what it holds. */
static struct shelf *remove_shelf(sslsession_pool *pool, struct shelf *shelf) {
    struct shelf **place = &pool->buckets[shelf->hash % POOL_BUCKETS];
    while (*place != shelf)
        place = &(*place)->next_in_bucket;
    *place = shelf->next_in_bucket;
    unlink_shelf(pool, shelf);
    pool->shelves--;
    pool->sessions -= length(shelf->tickets);
    pool->sessions -= shelf->session != NULL;
    return shelf;
}

static void free_held(struct held *held) {
    while (held != NULL) {
        struct held *next = held->next;
        sslsession_facts_free(held->facts);
        free(held);
        held = next;
    }
}

static void free_shelf(struct shelf *shelf) {
    if (shelf == NULL)
        return;
    free_held(shelf->tickets);
    free_held(shelf->session);
    free(shelf);
}

/* Puts a session on the shelf of its key, which takes over the facts. Returns what of the same
 * key has to go for it, newest first; `gone`: the shelf that has to. */
static struct held *put(sslsession_pool *pool, const unsigned char *key, size_t size, sslsession_facts *facts,
                        int64_t now, struct shelf **gone) {
    struct held *held = zalloc(sizeof *held), *over = NULL, **last;
    struct shelf *shelf;
    int kept = 0;
    *gone = NULL;
    if (held == NULL) {
        sslsession_facts_free(facts);
        return NULL;
    }
    held->facts = facts;
    held->used = now;
    lock();
    shelf = find_shelf(pool, key, size);
    if (shelf == NULL)
        shelf = make_shelf(pool, key, size);
    if (shelf == NULL) {
        over = held;
    } else if (facts->version >= VERSION_TLS1_3) {
        shelf->kind = POOL_TICKETS;
        held->next = shelf->tickets;
        shelf->tickets = held;
        pool->sessions++;
        for (last = &shelf->tickets; *last != NULL && kept < pool->settings.tickets; last = &(*last)->next)
            kept++;
        over = *last;
        *last = NULL;
        pool->sessions -= length(over);
    } else {
        shelf->kind = POOL_SESSION;
        over = shelf->session;
        shelf->session = held;
        pool->sessions += over == NULL;
    }
    if (pool->shelves > pool->settings.shelves)
        *gone = remove_shelf(pool, pool->oldest);
    unlock();
    return over;
}

/* The newest ticket of a key, which leaves, else its TLS 1.2 session, which stays; NULL where there is none. `used`:
 * when it came, or was last taken. */
static sslsession_facts *sslsession_pool_take(sslsession_pool *pool, const unsigned char *key, size_t size, int64_t now,
                                              int64_t *used) {
    struct held *ticket = NULL;
    sslsession_facts *facts = NULL;
    struct shelf *shelf;
    lock();
    shelf = find_shelf(pool, key, size);
    if (shelf != NULL && shelf->tickets != NULL) {
        ticket = shelf->tickets;
        shelf->tickets = ticket->next;
        pool->sessions--;
        facts = ticket->facts;
        *used = ticket->used;
    } else if (shelf != NULL && shelf->session != NULL) {
        facts = shelf->session->facts;
        *used = shelf->session->used;
        shelf->session->used = now;
        atomic_add((atomic_word *)&facts->references, 1);
    }
    unlock();
    free(ticket);
    return facts;
}

/* Forgets the tickets of a key, or its TLS 1.2 session, or both: POOL_ bits. */
static void sslsession_pool_drop(sslsession_pool *pool, const unsigned char *key, size_t size, int what) {
    struct held *tickets = NULL, *session = NULL;
    struct shelf *shelf;
    lock();
    shelf = find_shelf(pool, key, size);
    if (shelf != NULL && (what & POOL_TICKETS)) {
        tickets = shelf->tickets;
        shelf->tickets = NULL;
        pool->sessions -= length(tickets);
    }
    if (shelf != NULL && (what & POOL_SESSION)) {
        session = shelf->session;
        shelf->session = NULL;
        pool->sessions -= session != NULL;
    }
    unlock();
    free_held(tickets);
    free_held(session);
}

/* Takes any one session out, and copies its key; of one key the oldest first. NULL where there is none left. */
static sslsession_facts *sslsession_pool_pour(sslsession_pool *pool, unsigned char *key, size_t *size) {
    struct shelf *empty = NULL;
    struct held *held = NULL, **last;
    sslsession_facts *facts = NULL;
    lock();
    while (pool->oldest != NULL && held == NULL) {
        struct shelf *shelf = pool->oldest;
        for (last = &shelf->tickets; *last != NULL && (*last)->next != NULL; last = &(*last)->next)
            ;
        if (*last == NULL)
            last = &shelf->session;
        held = *last;
        if (held != NULL) {
            *last = NULL;
            pool->sessions--;
            memcpy(key, shelf->key, shelf->key_size);
            *size = shelf->key_size;
        } else {
            shelf = remove_shelf(pool, shelf);
            shelf->next_in_bucket = empty;
            empty = shelf;
        }
    }
    unlock();
    while (empty != NULL) {
        struct shelf *next = empty->next_in_bucket;
        free_shelf(empty);
        empty = next;
    }
    if (held != NULL)
        facts = held->facts;
    free(held);
    return facts;
}

/* Puts back what was taken to be looked at, as if nobody had. */
static void give_back(sslsession_pool *pool, const unsigned char *key, size_t size, sslsession_facts *facts, int64_t used) {
    struct held *held = facts->version >= VERSION_TLS1_3 ? zalloc(sizeof *held) : NULL;
    struct shelf *shelf;
    lock();
    shelf = find_shelf(pool, key, size);
    if (held != NULL && shelf != NULL) {
        held->facts = facts;
        held->used = used;
        held->next = shelf->tickets;
        shelf->tickets = held;
        pool->sessions++;
        held = NULL;
        facts = NULL;
    } else if (shelf != NULL && shelf->session != NULL && shelf->session->facts == facts) {
        shelf->session->used = used;
    }
    unlock();
    free(held);
    sslsession_facts_free(facts);
}

/* What there is of a key: POOL_ bits; and in `kind` which of these came last, also where it is gone. */
static int sslsession_pool_holds(sslsession_pool *pool, const unsigned char *key, size_t size, int *kind) {
    struct shelf *shelf;
    int found = 0;
    lock();
    shelf = find_shelf(pool, key, size);
    *kind = shelf != NULL ? shelf->kind : 0;
    if (shelf != NULL)
        found = (shelf->tickets != NULL ? POOL_TICKETS : 0) | (shelf->session != NULL ? POOL_SESSION : 0);
    unlock();
    return found;
}

static int sslsession_pool_size(sslsession_pool *pool) { return pool->sessions; }

static int64_t sslsession_pool_count(sslsession_pool *pool, int what) {
    int64_t found;
    lock();
    found = pool->counts[what];
    unlock();
    return found;
}

/* In a child of a fork the tickets are the parent's, who would use them too. They are left behind, not freed: a thread
 * of the parent may have held one of OpenSSL's locks, which nobody will ever release here. */
static void sslsession_pool_after_fork(sslsession_pool *pool) {
    for (struct shelf *shelf = pool->oldest; shelf != NULL; shelf = shelf->younger) {
        pool->sessions -= length(shelf->tickets);
        shelf->tickets = NULL;
    }
}
