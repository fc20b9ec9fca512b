/* When certificates end, in epoch seconds. */
static int64_t epoch_of(const struct tm *when) {
    int64_t year = when->tm_year + 1900 - (when->tm_mon < 2), month = (when->tm_mon + 10) % 12;
    int64_t days = 365 * year + year / 4 - year / 100 + year / 400 + (month * 306 + 5) / 10 + when->tm_mday - 1 - 719468;
    return ((days * 24 + when->tm_hour) * 60 + when->tm_min) * 60 + when->tm_sec;
}

/* The first second at which a certificate of the chain is past its date; 0 for no chain, or a date that is none. */
static int64_t chain_ends(OPENSSL_STACK *chain) {
    int count = chain != NULL ? OPENSSL_sk_num(chain) : 0;
    int64_t first = 0;
    struct tm when;
    for (int i = 0; i < count; i++) {
        if (!ASN1_TIME_to_tm(X509_get0_notAfter(OPENSSL_sk_value(chain, i)), &when))
            return 0;
        if (i == 0 || epoch_of(&when) < first)
            first = epoch_of(&when); /* to OpenSSL, notAfter itself is past */
    }
    return first;
}
