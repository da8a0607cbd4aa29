// A store and an API server on a directory, in this process, without sockets.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "engenho/apiserver/server.h"
#include "engenho/base/fs.h"
#include "engenho/base/json.h"
#include "engenho/client/client.h"
#include "engenho/datastore/rocksdb_store.h"
#include "engenho/pangea/executor.h"

namespace engenho::pangea::testing {

class InProcess {
 public:
  explicit InProcess(const std::string& dir) {
    datastore::RocksdbOptions store_options;
    store_options.dir = dir;
    store_options.fsync = false;  // what is in the kernel outlives the process
    auto store = datastore::open_rocksdb_store(store_options);
    if (!store) std::abort();
    store_ = std::move(*store);
    apiserver::Options options;
    options.store = store_.get();
    options.service_account_key = *pki::PrivateKey::generate();
    auto server = apiserver::ApiServer::create(std::move(options));
    if (!server || !(*server)->start().ok()) std::abort();
    server_ = std::move(*server);
  }
  ~InProcess() {
    server_->stop();
    server_.reset();
    store_.reset();
  }
  apiserver::ApiServer& server() const { return *server_; }
  std::shared_ptr<client::Client> client() const {
    return std::make_shared<client::Client>(client::local_transport(*server_, apiserver::UserInfo{"tester", "", {"system:masters"}, {}}), "test");
  }

 private:
  std::unique_ptr<datastore::Store> store_;
  std::shared_ptr<apiserver::ApiServer> server_;
};

}  // namespace engenho::pangea::testing
