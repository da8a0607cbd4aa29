// Encryption at rest: a store whose values under certain keys are encrypted before they reach another store, and so its log, tables, snapshots
// and etcd face. Keys, revisions and leases stay readable.
//
// A value is "k8s:enc:aesgcm:v1:<key name>:" nonce(12) AES-256-GCM(value) tag(16), with the store's key as authenticated data, as kube-apiserver's
// aesgcm provider writes it: a value moved under another key is refused. (https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/)
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engenho/base/status.h"
#include "engenho/datastore/store.h"

namespace engenho::datastore {

// The keys, in a file of mode 0600: lines "name base64(32 bytes)". The first encrypts, all decrypt. Thread-safe; notices when another process has
// rewritten the file.
class KeyRing {
 public:
  // Makes the file with one new key when it is absent. Refuses one that others may read, or that is malformed.
  static Result<std::shared_ptr<KeyRing>> open(const std::string& path);
  ~KeyRing();
  KeyRing(const KeyRing&) = delete;
  KeyRing& operator=(const KeyRing&) = delete;

  std::vector<std::string> names() const;  // the first is the one that encrypts
  Status add_key();                        // a new first one, written to the file
  Status keep(size_t count);               // forgets all but the first ones

  Result<std::string> encrypt(std::string_view store_key, std::string_view value);
  // Values that are not encrypted come back as they are. `old` (may be null): whether it is not under the first key.
  Result<std::string> decrypt(std::string_view store_key, std::string_view value, bool* old = nullptr);

 private:
  struct State;
  explicit KeyRing(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

struct EncryptionOptions {
  std::shared_ptr<KeyRing> keys;
  std::vector<std::string> prefixes;  // of the keys whose values are encrypted: "/registry/secrets/"
};

// `under` must outlive the result, and whatever watches it. Reads decrypt every value that is encrypted, whatever its key; a value that cannot be
// decrypted fails the read, and ends the watch, that meets it. Comparing values in transactions under the prefixes is refused: encrypted anew, equal
// values differ.
std::unique_ptr<Store> encrypted_store(Store& under, EncryptionOptions options);

// Writes every value under the prefixes again that is not under the first key, each only if nobody else changes it meanwhile. Answers how many.
Result<size_t> encrypt_anew(Store& under, const EncryptionOptions& options);

}  // namespace engenho::datastore
