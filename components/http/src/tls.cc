#include "tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "engenho/pki/keys.h"

namespace engenho::http {
namespace {

int bio_write(BIO* bio, const char* data, int size) {
  BIO_clear_retry_flags(bio);
  auto* io = static_cast<SslIo*>(BIO_get_data(bio));
  int n = io ? io->ssl_write_bytes(data, size) : -1;
  if (n < 0) BIO_set_retry_write(bio);
  return n;
}

int bio_read(BIO* bio, char* buffer, int size) {
  BIO_clear_retry_flags(bio);
  auto* io = static_cast<SslIo*>(BIO_get_data(bio));
  int n = io ? io->ssl_read_bytes(buffer, size) : -1;
  if (n < 0) BIO_set_retry_read(bio);
  return n;
}

long bio_ctrl(BIO*, int command, long, void*) {
  return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP ? 1 : 0;
}

const BIO_METHOD* io_method() {
  static BIO_METHOD* method = [] {
    BIO_METHOD* m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "engenho");
    BIO_meth_set_write(m, bio_write);
    BIO_meth_set_read(m, bio_read);
    BIO_meth_set_ctrl(m, bio_ctrl);
    return m;
  }();
  return method;
}

int accept_any_certificate(X509_STORE_CTX*, void*) { return 1; }

int choose_protocol(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
                    unsigned int in_size, void*) {
  static const unsigned char kOurs[] = "\x02h2\x08http/1.1";
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_size, kOurs, sizeof kOurs - 1, in, in_size) != OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_NOACK;
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

int choose_http1(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
                 unsigned int in_size, void*) {
  static const unsigned char kOurs[] = "\x08http/1.1";
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_size, kOurs, sizeof kOurs - 1, in, in_size) != OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_NOACK;
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

Status common_settings(SSL_CTX* ctx) {
  SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
  SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
  // AES-128 first, as Go has it: a third less work than AES-256 and nobody breaks either.
  if (SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") != 1 ||
      SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1)
    return internal_error("TLS ciphers: " + ssl_error_text());
  return {};
}

Status use_key_pair(SSL_CTX* ctx, const std::string& certificate_pem, const std::string& key_pem) {
  auto chain = pki::Certificate::all_from_pem(certificate_pem);
  if (!chain) return chain.error().with_context("TLS certificate");
  auto key = pki::PrivateKey::from_pem(key_pem);
  if (!key) return key.error().with_context("TLS key");
  if (SSL_CTX_use_certificate(ctx, chain->front().handle()) != 1)
    return internal_error("TLS certificate: " + ssl_error_text());
  for (size_t i = 1; i < chain->size(); ++i)
    if (SSL_CTX_add1_chain_cert(ctx, (*chain)[i].handle()) != 1)
      return internal_error("TLS certificate: " + ssl_error_text());
  if (SSL_CTX_use_PrivateKey(ctx, key->handle()) != 1 || SSL_CTX_check_private_key(ctx) != 1)
    return internal_error("TLS key: " + ssl_error_text());
  return {};
}

}  // namespace

std::string ssl_error_text() {
  unsigned long code = ERR_get_error();
  ERR_clear_error();
  const char* text = code ? ERR_reason_error_string(code) : nullptr;
  return text ? text : "unknown error";
}

void SslDeleter::operator()(ssl_st* ssl) const { SSL_free(ssl); }

bool attach_ssl_io(ssl_st* ssl, SslIo* io) {
  if (BIO* old = SSL_get_rbio(ssl)) {
    BIO_set_data(old, io);
    return true;
  }
  BIO* bio = BIO_new(io_method());
  if (!bio) return false;
  BIO_set_init(bio, 1);
  BIO_set_data(bio, io);
  SSL_set_bio(ssl, bio, bio);
  return true;
}

TlsContext::~TlsContext() { SSL_CTX_free(ctx_); }

Result<std::shared_ptr<const TlsContext>> TlsContext::for_server(const TlsServerOptions& options) {
  std::shared_ptr<TlsContext> out(new TlsContext);
  out->ctx_ = SSL_CTX_new(TLS_server_method());
  if (!out->ctx_) return err(internal_error("TLS: " + ssl_error_text()));
  ENGENHO_TRY(common_settings(out->ctx_));
  ENGENHO_TRY(use_key_pair(out->ctx_, options.certificate_pem, options.key_pem));
  SSL_CTX_set_options(out->ctx_, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA | SSL_OP_NO_TICKET);
  // No resumption: a resumed session would carry an identity that was verified against an older CA pool.
  SSL_CTX_set_session_cache_mode(out->ctx_, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(out->ctx_, 0);
  SSL_CTX_set_alpn_select_cb(out->ctx_, options.http2 ? choose_protocol : choose_http1, nullptr);
  if (options.request_client_certificate) {
    // Any certificate is let in, and identify() judges it: a bad one is the caller's 401, not a broken handshake.
    SSL_CTX_set_verify(out->ctx_, SSL_VERIFY_PEER, nullptr);
    SSL_CTX_set_cert_verify_callback(out->ctx_, accept_any_certificate, nullptr);
    if (!options.client_ca_pem.empty()) {
      ENGENHO_ASSIGN(out->client_roots_, pki::Certificate::all_from_pem(options.client_ca_pem));
    }
  }
  out->http2_ = options.http2;
  return std::shared_ptr<const TlsContext>(std::move(out));
}

Result<std::shared_ptr<const TlsContext>> TlsContext::for_client(const TlsClientOptions& options) {
  std::shared_ptr<TlsContext> out(new TlsContext);
  out->ctx_ = SSL_CTX_new(TLS_client_method());
  if (!out->ctx_) return err(internal_error("TLS: " + ssl_error_text()));
  ENGENHO_TRY(common_settings(out->ctx_));
  SSL_CTX_set_session_cache_mode(out->ctx_, SSL_SESS_CACHE_OFF);
  static const unsigned char kHttp1[] = "\x08http/1.1";
  SSL_CTX_set_alpn_protos(out->ctx_, kHttp1, sizeof kHttp1 - 1);
  if (!options.certificate_pem.empty()) ENGENHO_TRY(use_key_pair(out->ctx_, options.certificate_pem, options.key_pem));
  out->server_name_ = options.server_name;
  out->skip_verify_ = options.insecure_skip_verify;
  if (out->skip_verify_) {
    SSL_CTX_set_verify(out->ctx_, SSL_VERIFY_NONE, nullptr);
  } else {
    SSL_CTX_set_verify(out->ctx_, SSL_VERIFY_PEER, nullptr);
    if (options.ca_pem.empty()) {
      SSL_CTX_set_default_verify_paths(out->ctx_);
    } else {
      ENGENHO_ASSIGN(auto roots, pki::Certificate::all_from_pem(options.ca_pem));
      X509_STORE* store = SSL_CTX_get_cert_store(out->ctx_);
      for (const pki::Certificate& root : roots) X509_STORE_add_cert(store, root.handle());
      X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(out->ctx_), X509_V_FLAG_PARTIAL_CHAIN);
    }
    ERR_clear_error();
  }
  return std::shared_ptr<const TlsContext>(std::move(out));
}

Result<SslPtr> TlsContext::new_server() const {
  SslPtr ssl(SSL_new(ctx_));
  if (!ssl) return err(internal_error("TLS: " + ssl_error_text()));
  SSL_set_accept_state(ssl.get());
  return ssl;
}

Result<SslPtr> TlsContext::new_client(const std::string& dialled) const {
  SslPtr ssl(SSL_new(ctx_));
  if (!ssl) return err(internal_error("TLS: " + ssl_error_text()));
  const std::string& host = server_name_.empty() ? dialled : server_name_;
  unsigned char address[16];
  bool is_ip = inet_pton(AF_INET, host.c_str(), address) == 1 || inet_pton(AF_INET6, host.c_str(), address) == 1;
  bool ok = true;
  if (!is_ip && !host.empty()) ok = SSL_set_tlsext_host_name(ssl.get(), host.c_str()) == 1;
  if (!skip_verify_) {
    if (host.empty()) return err(internal_error("TLS: no server name to verify"));
    X509_VERIFY_PARAM* param = SSL_get0_param(ssl.get());
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    ok = ok && (is_ip ? X509_VERIFY_PARAM_set1_ip_asc(param, host.c_str())
                      : X509_VERIFY_PARAM_set1_host(param, host.c_str(), host.size())) == 1;
  }
  if (!ok) return err(internal_error("TLS server name: " + ssl_error_text()));
  SSL_set_connect_state(ssl.get());
  return ssl;
}

std::shared_ptr<const PeerIdentity> TlsContext::identify(ssl_st* ssl) const {
  auto leaf = pki::Certificate::adopt(SSL_get1_peer_certificate(ssl));
  if (!leaf) return nullptr;
  auto out = std::make_shared<PeerIdentity>();
  out->common_name = leaf->names().common_name;
  out->organizations = leaf->names().organizations;
  out->not_after = leaf->not_after();
  out->chain_der.push_back(leaf->der());
  std::vector<pki::Certificate> intermediates;
  STACK_OF(X509)* chain = SSL_get_peer_cert_chain(ssl);  // of a server: without the leaf
  for (int i = 0; chain && i < sk_X509_num(chain) && i < 8; ++i) {
    X509* one = sk_X509_value(chain, i);
    X509_up_ref(one);
    if (auto certificate = pki::Certificate::adopt(one)) {
      out->chain_der.push_back(certificate->der());
      intermediates.push_back(std::move(*certificate));
    }
  }
  Status verified = pki::verify_chain(*leaf, intermediates, client_roots_, pki::Purpose::kClientAuth, Clock::real().wall());
  out->verified = verified.ok();
  if (!verified.ok()) out->error = verified.message();
  return out;
}

}  // namespace engenho::http
