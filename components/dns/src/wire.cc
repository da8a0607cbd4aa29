#include "wire.h"

#include <algorithm>

namespace engenho::dns {

uint16_t get16(std::string_view m, size_t at) { return static_cast<uint16_t>(static_cast<uint8_t>(m[at]) << 8 | static_cast<uint8_t>(m[at + 1])); }
void put16(std::string& out, uint16_t v) {
  out += static_cast<char>(v >> 8);
  out += static_cast<char>(v & 255);
}
void put32(std::string& out, uint32_t v) {
  put16(out, static_cast<uint16_t>(v >> 16));
  put16(out, static_cast<uint16_t>(v & 0xffff));
}

bool read_name(std::string_view m, size_t& at, std::string& out) {
  out.clear();
  size_t p = at, total = 0, bound = at;
  bool jumped = false;
  for (;;) {
    if (p >= m.size()) return false;
    const uint8_t n = static_cast<uint8_t>(m[p]);
    if (n == 0) {
      if (!jumped) at = p + 1;
      return true;
    }
    if ((n & 0xc0) == 0xc0) {
      if (p + 2 > m.size()) return false;
      const size_t to = get16(m, p) & 0x3fff;
      if (to >= bound) return false;
      if (!jumped) at = p + 2;
      jumped = true;
      p = bound = to;
      continue;
    }
    if (n > 63 || p + 1 + n > m.size() || (total += n + 1u) > 254) return false;
    if (!out.empty()) out += '.';
    for (char c : m.substr(p + 1, n)) {
      if (c == '.' || c == '\\') out += '\\';
      out += c;
    }
    p += 1u + n;
  }
}

int parse_query(std::string_view m, Query& q) {
  if (m.size() < 12 || (m[2] & 0x80) != 0) return -1;
  q.id = get16(m, 0);
  q.opcode = (m[2] >> 3) & 15;
  q.rd = (m[2] & 1) != 0;
  if (q.opcode != 0) return kNotImp;
  if (get16(m, 4) != 1 || get16(m, 6) != 0 || get16(m, 8) != 0) return kFormErr;
  size_t at = 12;
  if (!read_name(m, at, q.name) || at + 4 > m.size()) return kFormErr;
  q.type = get16(m, at);
  q.klass = get16(m, at + 2);
  at += 4;
  q.question = std::string(m.substr(12, at - 12));
  for (int n = get16(m, 10); n > 0; --n) {
    std::string name;
    if (!read_name(m, at, name) || at + 10 > m.size()) return kFormErr;
    const size_t size = get16(m, at + 8);
    if (at + 10 + size > m.size()) return kFormErr;
    if (get16(m, at) == kOpt) {
      if (q.edns || !name.empty()) return kFormErr;
      q.edns = true;
      q.udp_size = std::max<uint16_t>(512, std::min<uint16_t>(4096, get16(m, at + 2)));
      q.bad_version = m[at + 5] != 0;
      q.dnssec_ok = (m[at + 6] & 0x80) != 0;
    }
    at += 10 + size;
  }
  return kNoError;
}

bool parse_positions(std::string_view m, std::vector<Position>& out) {
  if (m.size() < 12) return false;
  size_t at = 12;
  std::string name;
  for (int n = get16(m, 4); n > 0; --n) {
    if (!read_name(m, at, name) || at + 4 > m.size()) return false;
    at += 4;
  }
  for (int section = 0; section < 3; ++section) {
    for (int n = get16(m, 6 + 2 * static_cast<size_t>(section)); n > 0; --n) {
      const size_t begin = at;
      if (!read_name(m, at, name) || at + 10 > m.size()) return false;
      const size_t end = at + 10 + get16(m, at + 8);
      if (end > m.size()) return false;
      out.push_back({get16(m, at), section, begin, at + 4, at + 10, end});
      at = end;
    }
  }
  return true;
}

bool append_name(std::string& out, std::string_view name) {
  std::string label, wire;
  auto flush = [&] {
    if (label.empty() || label.size() > 63) return false;
    wire += static_cast<char>(label.size());
    wire += label;
    label.clear();
    return true;
  };
  if (!name.empty() && name.back() == '.') name.remove_suffix(1);
  for (size_t i = 0; i < name.size(); ++i) {
    if (name[i] == '.') {
      if (!flush()) return false;
    } else {
      if (name[i] == '\\' && i + 1 < name.size()) ++i;
      label += name[i];
    }
  }
  if (!name.empty() && !flush()) return false;
  if (wire.size() > 254) return false;
  out += wire;
  out += '\0';
  return true;
}

namespace {

bool append_record(std::string& out, const Query& q, const Record& r) {
  if (r.name == q.name) put16(out, 0xc00c);
  else if (!append_name(out, r.name)) return false;
  put16(out, r.type);
  put16(out, 1);
  put32(out, r.ttl);
  std::string data = r.data;
  if (r.type == kSrv) {
    put16(data, 0);
    put16(data, r.weight);
    put16(data, r.port);
  }
  if (!r.target.empty() && !append_name(data, r.target)) return false;
  if (r.type == kSoa) {
    if (!append_name(data, "hostmaster." + r.target)) return false;
    for (uint32_t v : {1u, 7200u, 1800u, 86400u, 5u}) put32(data, v);
  }
  put16(out, static_cast<uint16_t>(data.size()));
  out += data;
  return true;
}

void append_opt(std::string& out, const Query& q) {
  out += '\0';
  put16(out, kOpt);
  put16(out, 1232);
  out += '\0';
  out += '\0';  // version
  put16(out, q.dnssec_ok ? 0x8000 : 0);
  put16(out, 0);
}
void set16(std::string& m, size_t at, size_t v) {
  m[at] = static_cast<char>(v >> 8 & 255);
  m[at + 1] = static_cast<char>(v & 255);
}
constexpr size_t kOptSize = 11;

}  // namespace

std::string build_response(const Query& q, const Answer& a, size_t limit) {
  std::string out;
  put16(out, q.id);
  put16(out, static_cast<uint16_t>(0x8080 | q.opcode << 11 | (a.ours ? 0x400 : 0) | (q.rd ? 0x100 : 0) | a.rcode));
  put16(out, q.question.empty() ? 0 : 1);
  out.append(6, '\0');
  out += q.question;
  const size_t room = limit - (q.edns ? kOptSize : 0);
  const std::vector<Record>* sections[] = {&a.answers, &a.authority, &a.additional};
  bool full = false;
  for (size_t s = 0; s < 3 && !full; ++s) {
    size_t count = 0;
    for (const Record& r : *sections[s]) {
      const size_t before = out.size();
      const bool good = append_record(out, q, r);
      if (!good || out.size() > room) {
        out.resize(before);
        if (!good) continue;
        full = true;
        if (s < 2) out[2] = static_cast<char>(out[2] | 2);  // additional records may be left out silently
        break;
      }
      ++count;
    }
    set16(out, 6 + 2 * s, count);
  }
  if (q.edns) {
    append_opt(out, q);
    if (a.rcode == kNoError && q.bad_version) out[out.size() - 6] = 1;  // BADVERS
    set16(out, 10, get16(out, 10) + 1u);
  }
  return out;
}

std::string adapt_response(const Query& q, std::string m, size_t limit) {
  std::vector<Position> rrs;
  Answer failed;
  failed.rcode = kServFail;
  // Same length: the client's spelling replaces that of the cache.
  if (!parse_positions(m, rrs) || get16(m, 4) != 1 || m.size() < 12 + q.question.size()) return build_response(q, failed, limit);
  set16(m, 0, q.id);
  m.replace(12, q.question.size(), q.question);
  m[2] = static_cast<char>((m[2] & ~5) | (q.rd ? 1 : 0));
  m[3] = static_cast<char>(m[3] | 0x80);
  size_t extra = 0;
  for (const Position& p : rrs) {
    if (p.section != 2) continue;
    if (p.type == kOpt) {
      m.resize(p.begin);
      break;
    }
    ++extra;
  }
  set16(m, 10, extra);
  if (m.size() + (q.edns ? kOptSize : 0) > limit) {
    m.resize(12 + q.question.size());
    for (size_t at : {6, 8, 10}) set16(m, at, 0);
    m[2] = static_cast<char>(m[2] | 2);
  }
  if (q.edns) {
    append_opt(m, q);
    set16(m, 10, get16(m, 10) + 1u);
  }
  return m;
}

}  // namespace engenho::dns
