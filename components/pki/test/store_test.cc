#include "engenho/pki/store.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "engenho/base/fs.h"
#include "engenho/testing/catch.h"

using namespace engenho;
using namespace engenho::pki;

namespace {
const WallTime kNow{std::chrono::seconds(1'800'000'000)};
constexpr auto kDay = std::chrono::hours(24);

struct TempDir {
  std::string path = (std::filesystem::temp_directory_path() / "engenho-pki-XXXXXX").string();
  TempDir() { REQUIRE(mkdtemp(path.data())); }
  ~TempDir() { std::filesystem::remove_all(path); }
};

unsigned mode_of(const std::string& path) {
  struct stat st{};
  REQUIRE(stat(path.c_str(), &st) == 0);
  return st.st_mode & 0777;
}
}  // namespace

TEST_CASE("an authority is made once, kept private, and never replaced when damaged") {
  TempDir dir;
  const std::string where = dir.path + "/pki";
  auto first = load_or_make_authority(where, "ca", "engenho-ca", kNow);
  REQUIRE(first);
  CHECK(mode_of(where + "/ca.key") == 0600);
  CHECK(mode_of(where + "/ca.crt") == 0644);
  auto second = load_or_make_authority(where, "ca", "engenho-ca", kNow + kDay);
  REQUIRE(second);
  CHECK(second->certificate().serial() == first->certificate().serial());

  // Only the key: a crash came between the two files, the key is certified again.
  REQUIRE(unlink((where + "/ca.crt").c_str()) == 0);
  auto third = load_or_make_authority(where, "ca", "engenho-ca", kNow);
  REQUIRE(third);
  CHECK(third->key().public_key().der() == first->key().public_key().der());

  REQUIRE(write_file_atomic(where + "/ca.crt", "damaged", 0644).ok());
  CHECK_FALSE(load_or_make_authority(where, "ca", "engenho-ca", kNow).has_value());
  REQUIRE(write_file_atomic(where + "/ca.crt", third->certificate().pem(), 0644).ok());
  REQUIRE(unlink((where + "/ca.key").c_str()) == 0);
  CHECK_FALSE(load_or_make_authority(where, "ca", "engenho-ca", kNow).has_value());
}

TEST_CASE("a certificate is kept while it is good and issued anew when it is not") {
  TempDir dir;
  auto ca = load_or_make_authority(dir.path, "ca", "engenho-ca", kNow);
  REQUIRE(ca);
  auto what = server_template("apiserver", {"kubernetes"}, {"10.43.0.1", "fd00:0::1"});
  auto load = [&](WallTime now) {
    auto pair = load_or_issue(dir.path, "apiserver", *ca, what, now);
    REQUIRE(pair);
    return pair->certificate.serial();
  };
  std::string serial = load(kNow);
  CHECK(mode_of(dir.path + "/apiserver.key") == 0600);
  CHECK(load(kNow + 244 * kDay) == serial);           // 121 days left
  std::string renewed = load(kNow + 246 * kDay);      // 119 days left
  CHECK(renewed != serial);
  CHECK(load(kNow + 246 * kDay) == renewed);

  what.names.ip_addresses.push_back("192.0.2.9");     // the node's address changed
  std::string wider = load(kNow + 247 * kDay);
  CHECK(wider != renewed);

  REQUIRE(write_file_atomic(dir.path + "/apiserver.key", "damaged", 0600).ok());
  std::string repaired = load(kNow + 247 * kDay);
  CHECK(repaired != wider);

  auto other = Authority::make("engenho-ca", kNow);
  REQUIRE(other);
  ca = *other;
  CHECK(load(kNow + 247 * kDay) != repaired);
}

TEST_CASE("a signing key survives restarts") {
  TempDir dir;
  auto key = load_or_make_key(dir.path, "sa", KeyType::kRsa2048);
  REQUIRE(key);
  CHECK(mode_of(dir.path + "/sa.key") == 0600);
  auto again = load_or_make_key(dir.path, "sa", KeyType::kRsa2048);
  REQUIRE(again);
  CHECK(again->public_key().key_id() == key->public_key().key_id());
  auto text = read_file(dir.path + "/sa.pub");
  REQUIRE(text);
  auto public_key = PublicKey::from_pem(*text);
  REQUIRE(public_key);
  CHECK(public_key->key_id() == key->public_key().key_id());
  REQUIRE(write_file_atomic(dir.path + "/sa.key", "damaged", 0600).ok());
  CHECK_FALSE(load_or_make_key(dir.path, "sa", KeyType::kRsa2048).has_value());
}
