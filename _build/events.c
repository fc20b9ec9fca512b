/* A queue from OpenSSL's callbacks to Python. Pushing takes no GIL and waits for nobody; popping is Python's, later.
 * remove_cb may run with the context's lock held while another thread holds the GIL and waits for that lock. */
enum { EVENT_NONE, EVENT_REMOVED, EVENT_CONTEXT_GONE, EVENT_WITHDRAWN };
enum { WITHDRAWN_MOST = 65536 };

struct queued {
    sslsession_event event;
    struct queued *next;
};
static struct queued *queue_first, *queue_last;
static int queue_length;
static atomic_word gate;

/* Takes over the event's reference to its session. */
static void push_event(int kind, uint64_t context, SSL_SESSION *session) {
    struct queued *item = NULL;
    if (atomic_read(&gate) && !(kind == EVENT_WITHDRAWN && queue_length >= WITHDRAWN_MOST))
        item = calloc(1, sizeof *item);
    if (item == NULL) {
        if (session != NULL)
            SSL_SESSION_free(session);
        return;
    }
    item->event.kind = kind;
    item->event.context = context;
    item->event.session = session;
    lock();
    if (queue_last != NULL)
        queue_last->next = item;
    else
        queue_first = item;
    queue_last = item;
    queue_length++;
    wake_all();
    unlock();
}

/* The oldest event, its session's reference with it; waits up to `milliseconds` for one. Returns its kind, 0 for none. */
static int sslsession_next_event(sslsession_event *event, int milliseconds) {
    struct queued *item;
    lock();
    if (queue_first == NULL && milliseconds > 0)
        wait_for_event(milliseconds);
    item = queue_first;
    if (item != NULL) {
        queue_first = item->next;
        if (queue_first == NULL)
            queue_last = NULL;
        queue_length--;
    }
    unlock();
    if (item == NULL) {
        memset(event, 0, sizeof *event);
        return EVENT_NONE;
    }
    *event = item->event;
    free(item);
    return event->kind;
}

static void sslsession_wake_events(void) {
    lock();
    wake_all();
    unlock();
}

static int sslsession_events_queued(void) { return queue_length; }
