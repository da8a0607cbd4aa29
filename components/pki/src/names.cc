#include <arpa/inet.h>
#include <openssl/crypto.h>

#include "openssl_util.h"

namespace engenho::pki {
namespace {

std::string text_of(const ASN1_STRING* value) {
  unsigned char* utf8 = nullptr;
  int size = ASN1_STRING_to_UTF8(&utf8, value);
  if (size < 0) return {};
  std::string out(reinterpret_cast<char*>(utf8), static_cast<size_t>(size));
  OPENSSL_free(utf8);
  return out;
}

// IA5 text of a general name. One with a NUL byte is an attempt to be read differently by different code: left out.
void add_ia5(const ASN1_IA5STRING* value, std::vector<std::string>& out) {
  std::string text(reinterpret_cast<const char*>(ASN1_STRING_get0_data(value)),
                   static_cast<size_t>(ASN1_STRING_length(value)));
  if (!text.empty() && text.find('\0') == std::string::npos) out.push_back(std::move(text));
}

bool push_ia5(GENERAL_NAMES* names, int type, const std::string& text) {
  for (unsigned char c : text)
    if (c < 0x21 || c > 0x7e) return false;
  GENERAL_NAME* name = GENERAL_NAME_new();
  ASN1_IA5STRING* value = ASN1_IA5STRING_new();
  if (!name || !value || !ASN1_STRING_set(value, text.data(), static_cast<int>(text.size())) || text.empty()) {
    GENERAL_NAME_free(name);
    ASN1_IA5STRING_free(value);
    return false;
  }
  GENERAL_NAME_set0_value(name, type, value);
  if (sk_GENERAL_NAME_push(names, name) > 0) return true;
  GENERAL_NAME_free(name);
  return false;
}

bool push_ip(GENERAL_NAMES* names, const std::string& text) {
  ASN1_OCTET_STRING* value = a2i_IPADDRESS(text.c_str());
  GENERAL_NAME* name = GENERAL_NAME_new();
  if (!value || !name) {
    ASN1_OCTET_STRING_free(value);
    GENERAL_NAME_free(name);
    return false;
  }
  GENERAL_NAME_set0_value(name, GEN_IPADD, value);
  if (sk_GENERAL_NAME_push(names, name) > 0) return true;
  GENERAL_NAME_free(name);
  return false;
}

bool add_entry(X509_NAME* name, const char* field, const std::string& text) {
  return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(text.data()),
                                    static_cast<int>(text.size()), -1, 0) == 1;
}

}  // namespace

void read_subject(const X509_NAME* name, Names& out) {
  for (int i = 0; i < X509_NAME_entry_count(name); ++i) {
    const X509_NAME_ENTRY* entry = X509_NAME_get_entry(name, i);
    int nid = OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry));
    if (nid == NID_commonName) out.common_name = text_of(X509_NAME_ENTRY_get_data(entry));
    if (nid == NID_organizationName) out.organizations.push_back(text_of(X509_NAME_ENTRY_get_data(entry)));
  }
}

void read_alt_names(const GENERAL_NAMES* san, Names& out) {
  for (int i = 0; san && i < sk_GENERAL_NAME_num(san); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(san, i);
    switch (name->type) {
      case GEN_DNS: add_ia5(name->d.dNSName, out.dns_names); break;
      case GEN_URI: add_ia5(name->d.uniformResourceIdentifier, out.uris); break;
      case GEN_EMAIL: add_ia5(name->d.rfc822Name, out.emails); break;
      case GEN_IPADD: {
        int size = ASN1_STRING_length(name->d.iPAddress);
        char text[INET6_ADDRSTRLEN] = {};
        if ((size == 4 || size == 16) &&
            inet_ntop(size == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(name->d.iPAddress), text, sizeof text))
          out.ip_addresses.emplace_back(text);
        break;
      }
      default: break;
    }
  }
}

bool write_subject(X509_NAME* name, const Names& names) {
  for (const std::string& organization : names.organizations)
    if (!add_entry(name, "O", organization)) return false;
  return names.common_name.empty() || add_entry(name, "CN", names.common_name);
}

Owned<GENERAL_NAMES, GENERAL_NAMES_free> make_alt_names(const Names& names) {
  Owned<GENERAL_NAMES, GENERAL_NAMES_free> out(GENERAL_NAMES_new());
  if (!out) return nullptr;
  bool ok = true;
  for (const std::string& text : names.dns_names) ok = ok && push_ia5(out.get(), GEN_DNS, text);
  for (const std::string& text : names.ip_addresses) ok = ok && push_ip(out.get(), text);
  for (const std::string& text : names.uris) ok = ok && push_ia5(out.get(), GEN_URI, text);
  for (const std::string& text : names.emails) ok = ok && push_ia5(out.get(), GEN_EMAIL, text);
  return ok ? std::move(out) : nullptr;
}

}  // namespace engenho::pki
