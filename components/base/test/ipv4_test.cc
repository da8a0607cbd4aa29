#include "engenho/base/ipv4.h"

#include "engenho/testing/catch.h"

using namespace engenho;

TEST_CASE("addresses and ranges in text") {
  CHECK(parse_ipv4("10.42.0.9") == 0x0a2a0009u);
  CHECK(ipv4_text(0x0a2a0009) == "10.42.0.9");
  for (const char* bad : {"", "None", "fd00::1", "10.42.0", "10.42.0.256", "10.42.0.09", " 10.42.0.1"}) CHECK_FALSE(parse_ipv4(bad));
  CHECK(parse_ipv4_range("10.42.7.9/16") == Ipv4Range{0x0a2a0000, 16});
  CHECK(parse_ipv4_range("0.0.0.0/0") == Ipv4Range{0, 0});
  for (const char* bad : {"10.42.0.0", "10.42.0.0/33", "10.42.0.0/", "10.42.0.0/8x", "10.42.0.0/-1", "x/8"}) CHECK_FALSE(parse_ipv4_range(bad));
  const Ipv4Range range = *parse_ipv4_range("10.42.0.0/16");
  CHECK(range.size() == 65536);
  CHECK(range.contains(0x0a2affff));
  CHECK_FALSE(range.contains(0x0a2b0000));
  CHECK(Ipv4Range{0, 0}.contains(0xffffffff));
  CHECK(Ipv4Range{1, 32}.contains(1));
}
