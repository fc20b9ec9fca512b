/* The functions of libssl and libcrypto that sslsession binds: one a line, parameters unnamed.
 *
 * No OpenSSL header is read. Each function is looked up at import in the interpreter's own OpenSSL (loader.c).
 * After "//" stands what is special about it:
 *   3.0         optional: the first OpenSSL that has it; elsewhere a NULL entry, a feature flag and UnsupportedError
 *   or NAME     the name that an older OpenSSL exports the same function by
 *   C           called by our C alone: Python does not see it, and the wheel is smaller for that
 */
typedef struct ssl_st SSL;
typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_session_st SSL_SESSION;
typedef struct ssl_cipher_st SSL_CIPHER;
typedef struct ssl_method_st SSL_METHOD;
typedef struct bio_st BIO;
typedef struct bio_method_st BIO_METHOD;
typedef struct x509_st X509;
typedef struct X509_name_st X509_NAME;
typedef struct X509_pubkey_st X509_PUBKEY;
typedef struct x509_store_st X509_STORE;
typedef struct x509_store_ctx_st X509_STORE_CTX;
typedef struct X509_VERIFY_PARAM_st X509_VERIFY_PARAM;
typedef struct asn1_string_st ASN1_TIME;
typedef struct evp_pkey_st EVP_PKEY;
typedef struct evp_md_st EVP_MD;
typedef struct evp_cipher_st EVP_CIPHER;
typedef struct evp_cipher_ctx_st EVP_CIPHER_CTX;
typedef struct evp_mac_ctx_st EVP_MAC_CTX;
typedef struct engine_st ENGINE;
typedef struct x509_object_st X509_OBJECT;
typedef struct X509_crl_st X509_CRL;
typedef struct stack_st OPENSSL_STACK;
typedef struct crypto_ex_data_st CRYPTO_EX_DATA;

typedef int (*new_session_cb)(SSL *, SSL_SESSION *);
typedef void (*remove_session_cb)(SSL_CTX *, SSL_SESSION *);
typedef SSL_SESSION *(*get_session_cb)(SSL *, const unsigned char *, int, int *);
typedef void (*info_cb)(const SSL *, int, int);
typedef void (*tlsext_debug_cb)(SSL *, int, int, const unsigned char *, int, void *);
typedef void (*generic_cb)(void);
typedef void (*ex_free_cb)(void *, void *, CRYPTO_EX_DATA *, int, long, void *);
typedef int (*ex_dup_cb)(CRYPTO_EX_DATA *, const CRYPTO_EX_DATA *, void *, int, long, void *);
typedef void (*sk_free_cb)(void *);
typedef int (*client_hello_cb)(SSL *, int *, void *);
typedef int (*generate_ticket_cb)(SSL *, void *);
typedef int (*early_data_cb)(SSL *, void *);
typedef int (*opened_ticket_cb)(SSL *, SSL_SESSION *, const unsigned char *, size_t, int, void *);
typedef int (*ticket_key_cb)(SSL *, unsigned char *, unsigned char *, EVP_CIPHER_CTX *, EVP_MAC_CTX *, int);

/* The library itself, and what hangs on its objects */
unsigned long OpenSSL_version_num(void);
const char *OpenSSL_version(int);
const SSL_METHOD *TLS_client_method(void);
const SSL_METHOD *SSL_CTX_get_ssl_method(SSL_CTX *);
int CRYPTO_get_ex_new_index(int, long, void *, void *, ex_dup_cb, ex_free_cb); // C
void *SSL_get_ex_data(const SSL *, int);
int SSL_set_ex_data(SSL *, int, void *); // C
void *SSL_CTX_get_ex_data(const SSL_CTX *, int); // C
int SSL_CTX_set_ex_data(SSL_CTX *, int, void *); // C
int SSL_CTX_up_ref(SSL_CTX *); // C
void SSL_CTX_free(SSL_CTX *); // C
void *SSL_SESSION_get_ex_data(const SSL_SESSION *, int); // C
int SSL_SESSION_set_ex_data(SSL_SESSION *, int, void *); // C
unsigned long ERR_get_error(void);
unsigned long ERR_peek_last_error(void); // C
void ERR_clear_error(void);
int ERR_set_mark(void);
int ERR_pop_to_mark(void);
const char *ERR_reason_error_string(unsigned long);
void CRYPTO_free(void *, const char *, int); // C

/* The session of a connection, and the sessions of a context */
SSL_SESSION *SSL_get_session(const SSL *);
SSL_SESSION *SSL_get1_session(SSL *); // C
int SSL_set_session(SSL *, SSL_SESSION *);
int SSL_session_reused(const SSL *);
int SSL_new_session_ticket(SSL *); // 3.0
int SSL_renegotiate(SSL *);
uint64_t SSL_set_options(SSL *, uint64_t);
int SSL_key_update(SSL *, int);
int SSL_CTX_remove_session(SSL_CTX *, SSL_SESSION *); // C
int SSL_set_session_id_context(SSL *, const unsigned char *, unsigned int);
long SSL_ctrl(SSL *, int, long, void *);
int SSL_set_tlsext_max_fragment_length(SSL *, uint8_t);
long SSL_CTX_ctrl(SSL_CTX *, int, long, void *);
long SSL_callback_ctrl(SSL *, int, generic_cb); // C
void SSL_CTX_sess_set_new_cb(SSL_CTX *, new_session_cb); // C
void SSL_CTX_sess_set_remove_cb(SSL_CTX *, remove_session_cb); // C
void SSL_CTX_sess_set_get_cb(SSL_CTX *, get_session_cb); // C
new_session_cb SSL_CTX_sess_get_new_cb(SSL_CTX *); // C
remove_session_cb SSL_CTX_sess_get_remove_cb(SSL_CTX *); // C
get_session_cb SSL_CTX_sess_get_get_cb(SSL_CTX *); // C
void SSL_CTX_set_info_callback(SSL_CTX *, info_cb); // C
info_cb SSL_CTX_get_info_callback(SSL_CTX *); // C
void SSL_set_info_callback(SSL *, info_cb); // C
info_cb SSL_get_info_callback(const SSL *); // C

/* SSL_SESSION */
int SSL_SESSION_up_ref(SSL_SESSION *); // C
void SSL_SESSION_free(SSL_SESSION *);
SSL_SESSION *SSL_SESSION_dup(SSL_SESSION *);
int i2d_SSL_SESSION(SSL_SESSION *, unsigned char **);
SSL_SESSION *d2i_SSL_SESSION(SSL_SESSION **, const unsigned char **, long);
const unsigned char *SSL_SESSION_get_id(const SSL_SESSION *, unsigned int *);
const unsigned char *SSL_SESSION_get0_id_context(const SSL_SESSION *, unsigned int *);
int SSL_SESSION_set1_id_context(SSL_SESSION *, const unsigned char *, unsigned int);
int SSL_SESSION_get_protocol_version(const SSL_SESSION *);
const SSL_CIPHER *SSL_SESSION_get0_cipher(const SSL_SESSION *);
unsigned int SSL_SESSION_get_compress_id(const SSL_SESSION *);
size_t SSL_SESSION_get_master_key(const SSL_SESSION *, unsigned char *, size_t);
uint8_t SSL_SESSION_get_max_fragment_length(const SSL_SESSION *);
const char *SSL_SESSION_get0_hostname(const SSL_SESSION *);
int SSL_SESSION_has_ticket(const SSL_SESSION *);
void SSL_SESSION_get0_ticket(const SSL_SESSION *, const unsigned char **, size_t *);
unsigned long SSL_SESSION_get_ticket_lifetime_hint(const SSL_SESSION *);
void SSL_SESSION_get0_alpn_selected(const SSL_SESSION *, const unsigned char **, size_t *);
uint32_t SSL_SESSION_get_max_early_data(const SSL_SESSION *);
int SSL_SESSION_get0_ticket_appdata(SSL_SESSION *, void **, size_t *);
int SSL_SESSION_is_resumable(const SSL_SESSION *);
X509 *SSL_SESSION_get0_peer(SSL_SESSION *);
long SSL_SESSION_get_time(const SSL_SESSION *);
int64_t SSL_SESSION_get_time_ex(const SSL_SESSION *); // 3.3
long SSL_SESSION_get_timeout(const SSL_SESSION *);

/* A connection, read only */
SSL_CTX *SSL_get_SSL_CTX(const SSL *);
int SSL_is_server(const SSL *);
int SSL_in_init(const SSL *);
int SSL_in_before(const SSL *);
int SSL_is_init_finished(const SSL *);
size_t SSL_get_peer_finished(const SSL *, void *, size_t); // C
int SSL_version(const SSL *);
int SSL_get_error(const SSL *, int); // C
long SSL_get_verify_result(const SSL *);
int SSL_get_verify_mode(const SSL *);
int SSL_get_security_level(const SSL *); // C
uint64_t SSL_get_options(const SSL *); // C
X509_VERIFY_PARAM *SSL_get0_param(SSL *); // C
OPENSSL_STACK *SSL_get_ciphers(const SSL *); // C
int SSL_get_fd(const SSL *); // C
const char *SSL_get_psk_identity(const SSL *); // C
const char *SSL_get_servername(const SSL *, int); // C
void SSL_get0_alpn_selected(const SSL *, const unsigned char **, unsigned int *); // C
OPENSSL_STACK *SSL_get_peer_cert_chain(const SSL *); // C
OPENSSL_STACK *SSL_get0_verified_chain(const SSL *); // C
X509 *SSL_get_certificate(const SSL *); // C
EVP_PKEY *SSL_get_privatekey(const SSL *); // C
int SSL_get_sigalgs(SSL *, int, int *, int *, int *, unsigned char *, unsigned char *); // C

/* A cipher suite */
uint16_t SSL_CIPHER_get_protocol_id(const SSL_CIPHER *);
const char *SSL_CIPHER_get_name(const SSL_CIPHER *);
const char *SSL_CIPHER_standard_name(const SSL_CIPHER *);
const char *SSL_CIPHER_get_version(const SSL_CIPHER *);
int SSL_CIPHER_get_bits(const SSL_CIPHER *, int *);
int SSL_CIPHER_is_aead(const SSL_CIPHER *);
int SSL_CIPHER_get_cipher_nid(const SSL_CIPHER *);
int SSL_CIPHER_get_digest_nid(const SSL_CIPHER *);
int SSL_CIPHER_get_kx_nid(const SSL_CIPHER *);
int SSL_CIPHER_get_auth_nid(const SSL_CIPHER *);
const EVP_MD *SSL_CIPHER_get_handshake_digest(const SSL_CIPHER *);

/* Certificates and their verification */
X509 *d2i_X509(X509 **, const unsigned char **, long);
int i2d_X509(X509 *, unsigned char **);
int X509_up_ref(X509 *);
void X509_free(X509 *);
int X509_digest(const X509 *, const EVP_MD *, unsigned char *, unsigned int *); // C
const ASN1_TIME *X509_get0_notBefore(const X509 *); // C
const ASN1_TIME *X509_get0_notAfter(const X509 *); // C
int X509_cmp_time(const ASN1_TIME *, void *); // C
int ASN1_TIME_to_tm(const ASN1_TIME *, void *); // C
X509_NAME *X509_get_subject_name(const X509 *);
X509_NAME *X509_get_issuer_name(const X509 *);
int X509_check_issued(X509 *, X509 *);
X509_PUBKEY *X509_get_X509_PUBKEY(const X509 *);
int i2d_X509_PUBKEY(X509_PUBKEY *, unsigned char **);
int X509_NAME_print_ex(BIO *, const X509_NAME *, int, unsigned long);
OPENSSL_STACK *X509_chain_up_ref(OPENSSL_STACK *); // C
X509_STORE *SSL_CTX_get_cert_store(const SSL_CTX *); // C
OPENSSL_STACK *X509_STORE_get0_objects(const X509_STORE *); // C
X509_STORE_CTX *X509_STORE_CTX_new(void); // C
void X509_STORE_CTX_free(X509_STORE_CTX *); // C
int X509_STORE_CTX_init(X509_STORE_CTX *, X509_STORE *, X509 *, OPENSSL_STACK *); // C
int X509_STORE_CTX_set_default(X509_STORE_CTX *, const char *); // C
OPENSSL_STACK *X509_STORE_CTX_get0_chain(const X509_STORE_CTX *); // C
X509_VERIFY_PARAM *X509_STORE_CTX_get0_param(const X509_STORE_CTX *); // C
int X509_STORE_CTX_get_error(const X509_STORE_CTX *); // C
int X509_verify_cert(X509_STORE_CTX *); // C
const char *X509_verify_cert_error_string(long);
int X509_VERIFY_PARAM_set1(X509_VERIFY_PARAM *, const X509_VERIFY_PARAM *); // C
void X509_VERIFY_PARAM_set_auth_level(X509_VERIFY_PARAM *, int); // C
unsigned long X509_VERIFY_PARAM_get_flags(const X509_VERIFY_PARAM *); // C
int X509_VERIFY_PARAM_set1_host(X509_VERIFY_PARAM *, const char *, size_t); // C
int X509_VERIFY_PARAM_get_depth(const X509_VERIFY_PARAM *); // C
unsigned int X509_VERIFY_PARAM_get_hostflags(const X509_VERIFY_PARAM *); // C
char *X509_VERIFY_PARAM_get0_host(X509_VERIFY_PARAM *, int); // 3.0
char *X509_VERIFY_PARAM_get1_ip_asc(X509_VERIFY_PARAM *); // 3.0
int EVP_PKEY_get_base_id(const EVP_PKEY *); // or EVP_PKEY_base_id C
int EVP_PKEY_get_bits(const EVP_PKEY *); // or EVP_PKEY_bits C
int EVP_PKEY_get_group_name(const EVP_PKEY *, char *, size_t, size_t *); // 3.0
void EVP_PKEY_free(EVP_PKEY *); // C
const EVP_MD *EVP_sha256(void); // C
int EVP_MD_get_type(const EVP_MD *); // or EVP_MD_type
int EVP_Digest(const void *, size_t, unsigned char *, unsigned int *, const EVP_MD *, void *); // C
const char *OBJ_nid2sn(int);
int OBJ_txt2nid(const char *);

void OPENSSL_cleanse(void *, size_t); // C
int RAND_bytes(unsigned char *, int); // C
EVP_CIPHER *EVP_CIPHER_fetch(void *, const char *, const char *); // 3.0 C
int EVP_EncryptInit_ex(EVP_CIPHER_CTX *, const EVP_CIPHER *, ENGINE *, const unsigned char *, const unsigned char *); // C
int EVP_DecryptInit_ex(EVP_CIPHER_CTX *, const EVP_CIPHER *, ENGINE *, const unsigned char *, const unsigned char *); // C
int EVP_MAC_init(EVP_MAC_CTX *, const unsigned char *, size_t, void *); // 3.0 C
int X509_CRL_digest(const X509_CRL *, const EVP_MD *, unsigned char *, unsigned int *); // C
int X509_STORE_lock(X509_STORE *); // C
int X509_STORE_unlock(X509_STORE *); // C
int X509_OBJECT_get_type(const X509_OBJECT *); // C
X509 *X509_OBJECT_get0_X509(const X509_OBJECT *); // C
X509_CRL *X509_OBJECT_get0_X509_CRL(X509_OBJECT *); // C

/* A server's sessions and tickets */
int SSL_CTX_set_tlsext_ticket_key_evp_cb(SSL_CTX *, ticket_key_cb); // 3.0 C
int SSL_CTX_set_session_ticket_cb(SSL_CTX *, generate_ticket_cb, opened_ticket_cb, void *); // C
void SSL_CTX_set_client_hello_cb(SSL_CTX *, client_hello_cb, void *); // C
int SSL_client_hello_get0_ext(SSL *, unsigned int, const unsigned char **, size_t *); // C
int SSL_SESSION_set1_ticket_appdata(SSL_SESSION *, const void *, size_t); // C
long SSL_CTX_set_timeout(SSL_CTX *, long);
long SSL_CTX_get_timeout(const SSL_CTX *);
int SSL_CTX_set_num_tickets(SSL_CTX *, size_t);
size_t SSL_CTX_get_num_tickets(const SSL_CTX *);
uint32_t SSL_get_max_early_data(const SSL *); // C

/* Early data */
int SSL_write_early_data(SSL *, const void *, size_t, size_t *); // C
int SSL_read_early_data(SSL *, void *, size_t, size_t *); // C
int SSL_get_early_data_status(const SSL *);
int SSL_CTX_set_max_early_data(SSL_CTX *, uint32_t);
int SSL_CTX_set_recv_max_early_data(SSL_CTX *, uint32_t);
uint32_t SSL_CTX_get_max_early_data(const SSL_CTX *);
uint32_t SSL_CTX_get_recv_max_early_data(const SSL_CTX *);
void SSL_CTX_set_allow_early_data_cb(SSL_CTX *, early_data_cb, void *); // C
void SSL_set_shutdown(SSL *, int); // C
void SSL_set0_rbio(SSL *, BIO *); // C
BIO *SSL_get_rbio(const SSL *);
BIO *SSL_get_wbio(const SSL *);
long BIO_ctrl(BIO *, int, long, void *);

/* Stacks, and connections made in C (bench.c) */
int OPENSSL_sk_num(const OPENSSL_STACK *);
void *OPENSSL_sk_value(const OPENSSL_STACK *, int);
OPENSSL_STACK *OPENSSL_sk_new_null(void);
int OPENSSL_sk_push(OPENSSL_STACK *, const void *);
void OPENSSL_sk_pop_free(OPENSSL_STACK *, sk_free_cb); // C
SSL *SSL_new(SSL_CTX *); // C
void SSL_free(SSL *); // C
void SSL_set_connect_state(SSL *); // C
void SSL_set_accept_state(SSL *); // C
void SSL_set_bio(SSL *, BIO *, BIO *); // C
int SSL_do_handshake(SSL *); // C
int SSL_read(SSL *, void *, int); // C
int SSL_write(SSL *, const void *, int); // C
int SSL_shutdown(SSL *); // C
const BIO_METHOD *BIO_s_mem(void);
BIO *BIO_new(const BIO_METHOD *);
int BIO_up_ref(BIO *); // C
int BIO_free(BIO *);
int BIO_read(BIO *, void *, int);
int BIO_test_flags(const BIO *, int); // C
int BIO_write(BIO *, const void *, int);
int BIO_method_type(const BIO *);
