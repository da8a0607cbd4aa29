#include "host.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

namespace engenho {

namespace {

std::string address_of(const std::string& interface) {
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return "";
  std::string out;
  for (ifaddrs* i = list; i != nullptr; i = i->ifa_next) {
    if (i->ifa_addr == nullptr || i->ifa_addr->sa_family != AF_INET || !(i->ifa_flags & IFF_UP)) continue;
    const bool wanted = interface.empty() ? !(i->ifa_flags & IFF_LOOPBACK) : interface == i->ifa_name;
    if (!wanted) continue;
    char text[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &reinterpret_cast<sockaddr_in*>(i->ifa_addr)->sin_addr, text, sizeof text);
    out = text;
    break;
  }
  freeifaddrs(list);
  return out;
}

}  // namespace

std::string default_address() {
  std::ifstream routes("/proc/net/route");
  std::string line;
  std::getline(routes, line);
  while (std::getline(routes, line)) {
    std::istringstream fields(line);
    std::string interface, destination, gateway, flags, unused, mask;
    fields >> interface >> destination >> gateway >> flags >> unused >> unused >> unused >> mask;
    if (destination == "00000000" && mask == "00000000") {
      if (std::string a = address_of(interface); !a.empty()) return a;
    }
  }
  const std::string any = address_of("");
  return any.empty() ? "127.0.0.1" : any;
}

}  // namespace engenho
