/* Locks, a condition and atomics, for POSIX and Windows. The lock is only ever held for a few instructions that wait
 * for nothing: no other lock, no Python, no I/O. A fork takes it first, so that no child inherits it held. */
#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN /* without wincrypt.h, which makes macros of OpenSSL's names */
#include <windows.h>
static SRWLOCK mutex = SRWLOCK_INIT;
static CONDITION_VARIABLE arrived = CONDITION_VARIABLE_INIT;
static void lock(void) { AcquireSRWLockExclusive(&mutex); }
static void unlock(void) { ReleaseSRWLockExclusive(&mutex); }
static void wake_all(void) { WakeAllConditionVariable(&arrived); }
static void wait_for_event(int milliseconds) { SleepConditionVariableSRW(&arrived, &mutex, (DWORD)milliseconds, 0); }
static void survive_fork(void) {}
#define atomic_swap(where, value) InterlockedExchange((volatile LONG *)(where), (LONG)(value))
static inline LONG atomic_add(volatile LONG *where, LONG value) { return InterlockedExchangeAdd(where, value) + value; }
#define atomic_read(where) InterlockedCompareExchange((volatile LONG *)(where), 0, 0)
typedef volatile LONG atomic_word;
#else
#include <pthread.h>
#include <time.h>
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t arrived = PTHREAD_COND_INITIALIZER;
static void lock(void) { pthread_mutex_lock(&mutex); }
static void unlock(void) { pthread_mutex_unlock(&mutex); }
static void wake_all(void) { pthread_cond_broadcast(&arrived); }
static void wait_for_event(int milliseconds) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += milliseconds / 1000;
    until.tv_nsec += (long)(milliseconds % 1000) * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    pthread_cond_timedwait(&arrived, &mutex, &until);
}
static void after_fork_in_child(void) {
    static const pthread_cond_t nobody_waits = PTHREAD_COND_INITIALIZER;
    arrived = nobody_waits;
    unlock();
}
static void survive_fork(void) { pthread_atfork(lock, unlock, after_fork_in_child); }
typedef int atomic_word;
#define atomic_swap(where, value) __atomic_exchange_n((where), (value), __ATOMIC_ACQ_REL)
#define atomic_add(where, value) __atomic_add_fetch((where), (value), __ATOMIC_ACQ_REL)
#define atomic_read(where) __atomic_load_n((where), __ATOMIC_ACQUIRE)
#endif

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* calloc(1, size), but of glibc's, only malloc takes from what the thread freed a moment ago. */
static void *zalloc(size_t size) {
    void *made = malloc(size);
    return made != NULL ? memset(made, 0, size) : NULL;
}
