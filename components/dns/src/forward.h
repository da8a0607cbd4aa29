// Asks the host's resolvers, by c-ares, and remembers answers for up to 30 s. Thread-safe; a call blocks for at most 4 s.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "engenho/base/clock.h"
#include "wire.h"

namespace engenho::dns {

class Forwarder {
 public:
  // `servers`: "address" or "address:port". `stop_fd` becomes readable when calls are to end.
  Forwarder(std::vector<std::string> servers, int stop_fd);
  // The message as upstream sent it (its id is not the client's), or "" when nobody answered.
  std::string ask(const Query& q);

 private:
  struct Entry {
    std::string message;
    std::chrono::steady_clock::time_point stored, expires;
  };
  std::string exchange(const Query& q);
  const std::vector<std::string> servers_;
  const int stop_fd_;
  std::mutex mutex_;
  std::map<std::string, Entry> cache_;
};

// The nameservers of a resolv.conf without the excluded addresses.
std::vector<std::string> read_nameservers(const std::string& text, const std::vector<std::string>& excluded);

}  // namespace engenho::dns
