// A watch on an etcd cluster that outlives the members it runs on.
#pragma once

#include <memory>

#include "endpoints.h"
#include "engenho/datastore/store.h"

namespace engenho::datastore {

// `endpoints` must outlive it.
std::unique_ptr<Watch> start_remote_watch(Endpoints& endpoints, WatchRequest request, WatchSink* sink);

}  // namespace engenho::datastore
