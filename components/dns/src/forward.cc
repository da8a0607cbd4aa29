#include "forward.h"

#include <ares.h>
#include <poll.h>

#include <algorithm>
#include <sstream>

#include "engenho/base/bytes.h"
#include "engenho/base/random.h"

namespace engenho::dns {

namespace {
using Steady = std::chrono::steady_clock;
constexpr auto kPatience = std::chrono::seconds(4);
constexpr size_t kEntries = 4096;
constexpr uint32_t kLongest = 30;

uint32_t get32(const std::string& m, size_t at) { return static_cast<uint32_t>(get16(m, at)) << 16 | get16(m, at + 2); }
struct Call {
  bool done = false;
  std::string answer;
  std::map<int, short> sockets;
};
}  // namespace

std::vector<std::string> read_nameservers(const std::string& text, const std::vector<std::string>& excluded) {
  std::vector<std::string> out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string key, address;
    words >> key >> address;
    if (key == "nameserver" && !address.empty() && std::find(excluded.begin(), excluded.end(), address) == excluded.end() && out.size() < 3) out.push_back(address);
  }
  return out;
}

Forwarder::Forwarder(std::vector<std::string> servers, int stop_fd) : servers_(std::move(servers)), stop_fd_(stop_fd) {
  static const int ready = ares_library_init(ARES_LIB_INIT_ALL);
  (void)ready;
}

std::string Forwarder::ask(const Query& q) {
  const std::string key = to_lower(q.name) + "/" + std::to_string(q.type) + "/" + std::to_string(q.klass) + (q.dnssec_ok ? "d" : "");
  {
    std::lock_guard lock(mutex_);
    auto it = cache_.find(key);
    if (it != cache_.end() && it->second.expires > Steady::now()) {
      std::string m = it->second.message;
      const auto age = static_cast<uint32_t>(std::chrono::duration_cast<std::chrono::seconds>(Steady::now() - it->second.stored).count());
      std::vector<Position> rrs;
      parse_positions(m, rrs);
      for (const Position& p : rrs) {
        if (p.type == kOpt) continue;
        const uint32_t ttl = get32(m, p.ttl);
        std::string text;
        put32(text, ttl > age ? ttl - age : 0);
        m.replace(p.ttl, 4, text);
      }
      return m;
    }
  }
  std::string m = exchange(q);
  std::vector<Position> rrs;
  if (m.size() < 12 || !parse_positions(m, rrs) || (m[2] & 2) != 0) return m;
  const int rcode = m[3] & 15;
  if (rcode != kNoError && rcode != kNxDomain) return m;
  uint32_t ttl = kLongest;
  bool lasting = false;
  for (const Position& p : rrs) {
    if (p.type == kOpt) continue;
    lasting = lasting || p.section == 0 || p.type == kSoa;
    ttl = std::min(ttl, get32(m, p.ttl));
    if (p.type == kSoa && p.section == 1 && p.end - p.data >= 20) ttl = std::min(ttl, get32(m, p.end - 4));
  }
  if (!lasting || ttl == 0) return m;
  std::lock_guard lock(mutex_);
  if (cache_.size() >= kEntries) cache_.clear();
  cache_[key] = {m, Steady::now(), Steady::now() + std::chrono::seconds(ttl)};
  return m;
}

std::string Forwarder::exchange(const Query& q) {
  if (servers_.empty()) return "";
  std::string m;
  put16(m, static_cast<uint16_t>(random_u64()));
  for (int v : {0x100, 1, 0, 0, 1}) put16(m, static_cast<uint16_t>(v));
  m += q.question;
  m += '\0';
  put16(m, kOpt);
  put16(m, 1232);
  put16(m, 0);
  put16(m, q.dnssec_ok ? 0x8000 : 0);
  put16(m, 0);

  Call call;
  ares_options o{};
  o.flags = ARES_FLAG_NOCHECKRESP;
  o.timeout = 1500;
  o.tries = 2;
  o.sock_state_cb = [](void* data, ares_socket_t fd, int in, int out) {
    auto& sockets = static_cast<Call*>(data)->sockets;
    if (in == 0 && out == 0) sockets.erase(fd);
    else sockets[fd] = static_cast<short>((in != 0 ? POLLIN : 0) | (out != 0 ? POLLOUT : 0));
  };
  o.sock_state_cb_data = &call;
  ares_channel channel = nullptr;
  if (ares_init_options(&channel, &o, ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB) != ARES_SUCCESS) return "";
  if (ares_set_servers_ports_csv(channel, join(servers_, ",").c_str()) == ARES_SUCCESS) {
    ares_send(
        channel, reinterpret_cast<const unsigned char*>(m.data()), static_cast<int>(m.size()),
        [](void* data, int, int, unsigned char* answer, int size) {
          auto& c = *static_cast<Call*>(data);
          c.done = true;
          if (answer != nullptr) c.answer.assign(reinterpret_cast<char*>(answer), static_cast<size_t>(size));
        },
        &call);
    const auto deadline = Steady::now() + kPatience;
    while (!call.done && Steady::now() < deadline) {
      std::vector<pollfd> fds{{stop_fd_, POLLIN, 0}};
      for (const auto& [fd, events] : call.sockets) fds.push_back({fd, events, 0});
      timeval limit{0, 500000}, room{};
      const timeval* wait = ares_timeout(channel, &limit, &room);
      poll(fds.data(), fds.size(), static_cast<int>(wait->tv_sec * 1000 + wait->tv_usec / 1000 + 1));
      if (fds[0].revents != 0) break;
      bool any = false;
      for (size_t i = 1; i < fds.size(); ++i) {
        if (fds[i].revents == 0) continue;
        any = true;
        ares_process_fd(channel, (fds[i].revents & ~POLLOUT) != 0 ? fds[i].fd : ARES_SOCKET_BAD, (fds[i].revents & POLLOUT) != 0 ? fds[i].fd : ARES_SOCKET_BAD);
      }
      if (!any) ares_process_fd(channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    }
  }
  ares_destroy(channel);
  return call.answer;
}

}  // namespace engenho::dns
