// Keys and certificates kept in a directory: `<name>.crt` (0644) and `<name>.key` (0600), written atomically. What is
// there and good is loaded; what is missing, damaged, of another authority or about to end is made anew.
#pragma once

#include <string>

#include "engenho/base/status.h"
#include "engenho/pki/certificate.h"

namespace engenho::pki {

inline constexpr Duration kRenewBefore = std::chrono::hours(120 * 24);

// A CA is made only when both files are missing: a damaged CA is an error, since everything hangs on it.
Result<Authority> load_or_make_authority(const std::string& directory, const std::string& name,
                                         const std::string& common_name, WallTime now);
// Renewed when less than kRenewBefore is left, when the CA is another, or when a name of `what` is missing in it.
Result<KeyPair> load_or_issue(const std::string& directory, const std::string& name, const Authority& authority,
                              const CertificateTemplate& what, WallTime now);
// A bare key (service account signing): `<name>.key` 0600 and `<name>.pub`.
Result<PrivateKey> load_or_make_key(const std::string& directory, const std::string& name, KeyType type);

}  // namespace engenho::pki
