// The kernel's nftables over netlink (libnftnl, libmnl): one table of family ip, written in transactions that packets see whole or not at all.
#pragma once

#include <string>

#include "engenho/base/status.h"
#include "table.h"

namespace engenho::proxy {

class Nft {
 public:
  explicit Nft(std::string table_name) : name_(std::move(table_name)) {}

  // Brings the kernel's table from `before`, which this process wrote, to `after`. An error names the chain or set that was refused; the kernel's table
  // is then as it was.
  Status change(const Table& before, const Table& after) const;

  // The same when what the kernel has is not known: the table of an earlier process, or one that somebody else has changed. The contents of sets with a
  // timeout stay.
  Status replace(const Table& after) const;

  // Deletes the table; one that is not there is fine.
  Status remove() const;

  // Counts the transactions that anyone has made on this host's tables.
  Result<uint32_t> generation() const;

 private:
  std::string name_;
};

}  // namespace engenho::proxy
