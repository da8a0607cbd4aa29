// DNS messages (RFC 1035, 2782, 6891). Names are dotted text without the last dot; a dot inside a label is escaped by a backslash.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace engenho::dns {

enum : uint16_t { kA = 1, kNs = 2, kCname = 5, kSoa = 6, kPtr = 12, kTxt = 16, kAaaa = 28, kSrv = 33, kOpt = 41, kAny = 255 };
enum : int { kNoError = 0, kFormErr = 1, kServFail = 2, kNxDomain = 3, kNotImp = 4, kRefused = 5 };

struct Query {
  uint16_t id = 0, type = 0, klass = 0, udp_size = 512;
  int opcode = 0, bad_version = 0;
  bool rd = false, edns = false, dnssec_ok = false;
  std::string name;      // as sent
  std::string question;  // raw: name, type, class
};
struct Record {
  std::string name;
  uint16_t type = 0;
  uint32_t ttl = 5;
  std::string data;  // raw, for A and TXT
  std::string target;  // CNAME, NS, PTR, SRV; the server's name of SOA
  uint16_t port = 0, weight = 0;  // SRV
};
struct Answer {
  int rcode = kNoError;
  bool ours = false;     // false: to be forwarded
  std::vector<Record> answers, authority, additional;
  std::string chase;     // an alias that leads outside the cluster
};
// One resource record of a message: positions in it.
struct Position {
  uint16_t type;
  int section;  // 0 answer, 1 authority, 2 additional
  size_t begin, ttl, data, end;
};

uint16_t get16(std::string_view m, size_t at);
void put16(std::string& out, uint16_t v);
void put32(std::string& out, uint32_t v);
// Reads a name at `at` and moves behind it. Pointers must lead backwards, so every input ends.
bool read_name(std::string_view m, size_t& at, std::string& out);
// kNoError, or the code to refuse with; -1: not worth an answer.
int parse_query(std::string_view m, Query& out);
bool parse_positions(std::string_view m, std::vector<Position>& out);
bool append_name(std::string& out, std::string_view name);
// Within `limit` bytes; what does not fit is dropped and TC set.
std::string build_response(const Query& q, const Answer& a, size_t limit);
// The same for a message from upstream: id, question and OPT are made the client's.
std::string adapt_response(const Query& q, std::string upstream, size_t limit);

}  // namespace engenho::dns
