// A netlink transaction in the making: libnftnl's messages, one after the other in one buffer, and for each what it is about.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engenho/base/status.h"
#include "table.h"

struct nlmsghdr;

namespace engenho::proxy {

class NftBatch {
 public:
  explicit NftBatch(std::string table);

  void add_table();
  void delete_table();
  void add_chain(const std::string& name, const Chain& chain);
  void flush_chain(const std::string& name);
  void delete_chain(const std::string& name);
  void add_rule(const std::string& chain, const Rule& rule);
  void add_set(const std::string& name, const Set& set);
  void flush_set(const std::string& name);
  void delete_set(const std::string& name);
  void add_elements(const std::string& name, const std::map<Key, std::string>& elements);
  void delete_elements(const std::string& name, const std::map<Key, std::string>& elements);

  bool empty() const { return subjects_.empty(); }
  // Sends it and waits for the kernel's verdict.
  Status commit();

 private:
  // Appends a message; `build` adds the payload to its header.
  void message(uint16_t type, uint16_t flags, const std::string& subject, const std::function<void(nlmsghdr*)>& build);
  void elements(uint16_t type, uint16_t flags, const std::string& name, const std::map<Key, std::string>& elements);

  std::string table_;
  std::vector<char> buffer_;
  std::vector<std::string> subjects_;  // of the messages, in the order of their sequence numbers
  uint32_t set_id_ = 0;
};

}  // namespace engenho::proxy
