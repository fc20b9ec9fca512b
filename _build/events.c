/* A queue from OpenSSL's callbacks to Python. Pushing takes no GIL and waits for nobody; popping is Python's, later.
 * remove_cb may run with the context's lock held while another thread holds the GIL and waits for that lock. */
#include <signal.h>
enum { EVENT_NONE, EVENT_REMOVED, EVENT_CONTEXT_GONE };

struct queued {
    sslsession_event event;
    struct queued *next;
};
static struct {
    struct queued *first, *last;
    atomic_word length;
} removals;
static atomic_word gate;

/* Takes over the event's reference to its session. */
static void push_event(int kind, uint64_t context, SSL_SESSION *session) {
    struct queued *item = NULL;
    if (atomic_read(&gate))
        item = zalloc(sizeof *item);
    if (item == NULL) {
        if (session != NULL)
            SSL_SESSION_free(session);
        return;
    }
    item->event.kind = kind;
    item->event.context = context;
    item->event.session = session;
    lock();
    if (removals.last != NULL)
        removals.last->next = item;
    else
        removals.first = item;
    removals.last = item;
    atomic_add(&removals.length, 1);
    wake_all();
    unlock();
}

/* The oldest event, its session's reference with it. Returns its kind, 0 for none. */
static int sslsession_next_event(sslsession_event *event) {
    struct queued *item;
    lock();
    item = removals.first;
    if (item != NULL) {
        removals.first = item->next;
        if (removals.first == NULL)
            removals.last = NULL;
        atomic_add(&removals.length, -1);
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

/* Waits up to `milliseconds` for a removal, or until woken. */
static void sslsession_await_removal(int milliseconds) {
    lock();
    if (removals.first == NULL)
        wait_for_event(milliseconds);
    unlock();
}

/* A KeyboardInterrupt that ended a callback. It is raised again once Python was left: any sooner, and it would be
 * raised inside the callback once more. */
static atomic_word interrupted;
static void sslsession_interrupt_later(void) { atomic_swap(&interrupted, 1); }

/* Around each call into Python out of a handshake, which an error left in OpenSSL's queue would fail (SSL_get_error). */
static void enter_python(void) { ERR_set_mark(); }
static void left_python(void) {
    ERR_pop_to_mark();
    if (atomic_swap(&interrupted, 0) != 0)
#ifdef PYPY_VERSION
        raise(SIGINT);
#else
        PyErr_SetInterrupt();
#endif
}

static void sslsession_wake_events(void) {
    lock();
    wake_all();
    unlock();
}

static int sslsession_events_queued(void) { return (int)atomic_read(&removals.length); }
