// The endpoints of the Service "kubernetes": the addresses of every API server that lives, of those that share one datastore. Each keeps a key under a
// lease of the store, /registry/masterleases/<address>, as kube-apiserver does; whoever sees the keys change writes the objects.
#pragma once

#include <string>

#include "engenho/base/threads.h"
#include "rest.h"

namespace engenho::apiserver {

class EndpointKeeper {
 public:
  // `address` "": this server is not to be found by the Service; then nothing is kept.
  EndpointKeeper(Rest& rest, datastore::Store& store, std::string address, int port);
  // Writes them once, and keeps them from then on.
  Status start();
  void stop();  // this server's address goes

 private:
  Status keep_key();
  Status write();  // the objects, from the keys

  Rest& rest_;
  datastore::Store& store_;
  const std::string address_;
  const int port_;
  datastore::LeaseId lease_ = 0;
  TaskGroup tasks_{"endpoints"};
};

}  // namespace engenho::apiserver
