#include "table.h"

#include <arpa/inet.h>
#include <string.h>

#include <charconv>

namespace engenho::proxy {

namespace {

void append_address(Key& key, Ipv4 address) {
  for (int shift = 24; shift >= 0; shift -= 8) key.push_back(static_cast<uint8_t>(address >> shift));
}
void append_protocol(Key& key, uint8_t protocol) { key.insert(key.end(), {protocol, 0, 0, 0}); }
void append_port(Key& key, uint16_t port) { key.insert(key.end(), {static_cast<uint8_t>(port >> 8), static_cast<uint8_t>(port), 0, 0}); }

}  // namespace

std::optional<Ipv4> parse_ipv4(const std::string& text) {
  in_addr address{};
  if (inet_pton(AF_INET, text.c_str(), &address) != 1) return std::nullopt;
  return ntohl(address.s_addr);
}

std::string to_string(Ipv4 address) {
  const in_addr network{htonl(address)};
  char text[INET_ADDRSTRLEN];
  return inet_ntop(AF_INET, &network, text, sizeof text);
}

std::optional<Cidr> parse_cidr(const std::string& text) {
  const size_t slash = text.find('/');
  if (slash == std::string::npos) return std::nullopt;
  const auto address = parse_ipv4(text.substr(0, slash));
  int bits = -1;
  const char* end = text.data() + text.size();
  auto [at, error] = std::from_chars(text.data() + slash + 1, end, bits);
  if (!address || error != std::errc() || at != end || bits < 0 || bits > 32) return std::nullopt;
  const uint32_t mask = bits == 0 ? 0 : ~uint32_t{0} << (32 - bits);
  return Cidr{*address & mask, bits};
}

Key service_key(Ipv4 address, uint8_t protocol, uint16_t port) {
  Key key;
  append_address(key, address);
  append_protocol(key, protocol);
  append_port(key, port);
  return key;
}

Key port_key(uint8_t protocol, uint16_t port) {
  Key key;
  append_protocol(key, protocol);
  append_port(key, port);
  return key;
}

Key number_key(uint32_t number) {
  Key key(sizeof number);
  memcpy(key.data(), &number, sizeof number);
  return key;
}

}  // namespace engenho::proxy
