// Socket addresses and options.
#pragma once

#include <cstdint>
#include <string>

#include "engenho/base/status.h"

struct sockaddr;

namespace engenho::http {

struct AddressText {
  std::string ip;       // without brackets; IPv4-mapped addresses as IPv4; empty for a Unix socket
  std::string with_port;  // "10.0.0.7:80", "[fd00::7]:80", "@"
};
AddressText address_text(const sockaddr* address);
AddressText local_address(int fd);

// A listening descriptor. "" and "::": all addresses of both families where the kernel has IPv6, else IPv4.
Result<int> listen_tcp_socket(const std::string& address, uint16_t port);
Result<int> listen_unix_socket(const std::string& path, unsigned mode);
uint16_t bound_port(int fd);
// No delay; keep-alive probes, so that a peer which lost power is noticed within a minute and a half.
void tune_tcp(int fd);

}  // namespace engenho::http
