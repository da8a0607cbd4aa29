// For tests: an API server in this process, without sockets, on a store of its own below the temporary directory.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "engenho/apiserver/server.h"
#include "engenho/base/random.h"
#include "engenho/client/client.h"
#include "engenho/datastore/rocksdb_store.h"
#include "engenho/pki/keys.h"
#include "engenho/testing/catch.h"

namespace engenho::testing {

class Cluster {
 public:
  Cluster() : dir_(std::filesystem::temp_directory_path() / ("engenho-cluster-" + random_name_suffix(10))), key_(*pki::PrivateKey::generate()) { start(); }
  ~Cluster() {
    stop();
    std::error_code ignored;
    std::filesystem::remove_all(dir_, ignored);
  }
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  // A new server on the same data. Clients of the one before are of no more use.
  void restart() {
    stop();
    start();
  }
  // Must go before the cluster does.
  std::shared_ptr<client::Transport> as(std::string user, std::string group = "") {
    apiserver::UserInfo who;
    who.name = std::move(user);
    if (!group.empty()) who.groups = {std::move(group)};
    return client::local_transport(*server_, who);
  }
  std::unique_ptr<client::Client> client() { return std::make_unique<client::Client>(as("tester", "system:masters"), "test"); }
  apiserver::ApiServer& server() { return *server_; }

 private:
  void start() {
    datastore::RocksdbOptions store_options;
    store_options.dir = dir_.string();
    store_options.fsync = false;
    store_ = std::move(*datastore::open_rocksdb_store(store_options));
    apiserver::Options options;
    options.store = store_.get();
    options.service_account_key = key_;
    server_ = std::move(*apiserver::ApiServer::create(std::move(options)));
    REQUIRE(server_->start().ok());
  }
  void stop() {
    server_->stop();
    server_.reset();
    store_.reset();
  }

  const std::filesystem::path dir_;
  const pki::PrivateKey key_;
  std::unique_ptr<datastore::Store> store_;
  std::unique_ptr<apiserver::ApiServer> server_;
};

}  // namespace engenho::testing
