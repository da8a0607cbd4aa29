#include "table.h"

#include <string.h>

namespace engenho::proxy {

namespace {

void append_address(Key& key, Ipv4 address) {
  for (int shift = 24; shift >= 0; shift -= 8) key.push_back(static_cast<uint8_t>(address >> shift));
}
void append_protocol(Key& key, uint8_t protocol) { key.insert(key.end(), {protocol, 0, 0, 0}); }
void append_port(Key& key, uint16_t port) { key.insert(key.end(), {static_cast<uint8_t>(port >> 8), static_cast<uint8_t>(port), 0, 0}); }

}  // namespace

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
