#include "codec.h"

#include <cstring>

namespace engenho::datastore {

namespace {
constexpr char kOldRowFormat = 1, kRowFormat = 2;
constexpr size_t kOldRowHeaderBytes = 1 + 4 * 8, kRowHeaderBytes = kOldRowHeaderBytes + 4;
constexpr char kPut = 1, kDelete = 2;

// 0x00 becomes 0x00 0xff, and 0x00 0x01 ends the key: so escaped keys sort as the keys do, and none is a prefix of another.
void append_escaped(std::string& out, std::string_view key) {
  size_t from = 0;
  for (size_t zero; (zero = key.find('\0', from)) != std::string_view::npos; from = zero + 1) {
    out.append(key.substr(from, zero - from));
    out.append("\x00\xff", 2);
  }
  out.append(key.substr(from));
}
}  // namespace

void put_be32(std::string& out, uint32_t value) {
  char bytes[4];
  for (int i = 0; i < 4; ++i) bytes[i] = static_cast<char>(value >> (24 - 8 * i));
  out.append(bytes, 4);
}

void put_be64(std::string& out, uint64_t value) {
  char bytes[8];
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(value >> (56 - 8 * i));
  out.append(bytes, 8);
}

uint32_t get_be32(const char* data) {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(data[i]);
  return value;
}

uint64_t get_be64(const char* data) {
  uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value = value << 8 | static_cast<unsigned char>(data[i]);
  return value;
}

static void append_row(std::string& out, const RowHeader& header, std::string_view value) {
  out.push_back(kRowFormat);
  put_be64(out, header.create_revision);
  put_be64(out, header.mod_revision);
  put_be64(out, header.version);
  put_be64(out, header.lease);
  put_be32(out, static_cast<uint32_t>(header.sub_revision));
  out.append(value);
}

std::string encode_row(const RowHeader& header, std::string_view value) {
  std::string out;
  out.reserve(kRowHeaderBytes + value.size());
  append_row(out, header, value);
  return out;
}

bool decode_row(std::string_view bytes, RowView& out) {
  if (bytes.empty() || (bytes[0] != kRowFormat && bytes[0] != kOldRowFormat)) return false;
  const bool old = bytes[0] == kOldRowFormat;
  const size_t header_bytes = old ? kOldRowHeaderBytes : kRowHeaderBytes;
  if (bytes.size() < header_bytes) return false;
  const char* at = bytes.data() + 1;
  out.header.create_revision = static_cast<int64_t>(get_be64(at));
  out.header.mod_revision = static_cast<int64_t>(get_be64(at + 8));
  out.header.version = static_cast<int64_t>(get_be64(at + 16));
  out.header.lease = static_cast<int64_t>(get_be64(at + 24));
  out.header.sub_revision = old ? 0 : static_cast<int32_t>(get_be32(at + 32));
  out.value = bytes.substr(header_bytes);
  return out.header.create_revision > 0 && out.header.mod_revision >= out.header.create_revision &&
         out.header.version > 0;
}

std::string past_prefix(std::string_view user_key) {
  std::string out;
  out.reserve(user_key.size() + 2 + 8);
  append_escaped(out, user_key);
  out.append("\x00\x01", 2);
  return out;
}

std::string past_prefix_end(std::string_view user_key) {
  std::string out = past_prefix(user_key);
  out.back() = '\x02';
  return out;
}

std::string past_key(std::string_view user_key, Revision mod_revision) {
  std::string out = past_prefix(user_key);
  put_be64(out, ~static_cast<uint64_t>(mod_revision));
  return out;
}

bool decode_past_key(std::string_view bytes, std::string& user_key, Revision& mod_revision) {
  user_key.clear();
  if (bytes.size() < 10) return false;
  mod_revision = static_cast<int64_t>(~get_be64(bytes.data() + bytes.size() - 8));
  bytes.remove_suffix(8);
  for (size_t from = 0;;) {
    const size_t zero = bytes.find('\0', from);
    if (zero == std::string_view::npos || zero + 1 >= bytes.size()) return false;
    user_key.append(bytes.substr(from, zero - from));
    if (bytes[zero + 1] == '\x01') return zero + 2 == bytes.size();
    if (bytes[zero + 1] != '\xff') return false;
    user_key.push_back('\0');
    from = zero + 2;
  }
}

std::string encode_past_row(Revision end_revision, const RowHeader& header, std::string_view value) {
  std::string out;
  out.reserve(8 + kRowHeaderBytes + value.size());
  put_be64(out, end_revision);
  append_row(out, header, value);
  return out;
}

bool decode_past_row(std::string_view bytes, Revision& end_revision, RowView& out) {
  if (bytes.size() < 8) return false;
  end_revision = static_cast<int64_t>(get_be64(bytes.data()));
  return decode_row(bytes.substr(8), out) && end_revision > out.header.mod_revision;
}

std::string log_key(Revision revision) {
  std::string out;
  put_be64(out, revision);
  return out;
}

void append_change(std::string& out, bool deleted, Revision previous, std::string_view key) {
  out.push_back(deleted ? kDelete : kPut);
  put_be64(out, previous);
  put_be32(out, static_cast<uint32_t>(key.size()));
  out.append(key);
}

bool decode_changes(std::string_view bytes, std::vector<Change>& out) {
  out.clear();
  while (!bytes.empty()) {
    if (bytes.size() < 13 || (bytes[0] != kPut && bytes[0] != kDelete)) return false;
    const uint32_t size = get_be32(bytes.data() + 9);
    if (bytes.size() - 13 < size) return false;
    out.push_back({bytes[0] == kDelete, static_cast<int64_t>(get_be64(bytes.data() + 1)), bytes.substr(13, size)});
    bytes.remove_prefix(13 + size);
  }
  return true;
}

std::string encode_state(const MetaState& state) {
  std::string out;
  put_be64(out, state.revision);
  put_be64(out, state.keys);
  return out;
}

bool decode_state(std::string_view bytes, MetaState& out) {
  if (bytes.size() != 16) return false;
  out.revision = static_cast<int64_t>(get_be64(bytes.data()));
  out.keys = static_cast<int64_t>(get_be64(bytes.data() + 8));
  return out.revision >= 1 && out.keys >= 0;
}

std::string encode_int(int64_t value) {
  std::string out;
  put_be64(out, value);
  return out;
}

bool decode_int(std::string_view bytes, int64_t& out) {
  if (bytes.size() != 8) return false;
  out = static_cast<int64_t>(get_be64(bytes.data()));
  return true;
}

std::string grant_key(LeaseId id) {
  std::string out = "g";
  put_be64(out, id);
  return out;
}

bool decode_grant_key(std::string_view bytes, LeaseId& id) {
  if (bytes.size() != 9 || bytes[0] != 'g') return false;
  id = static_cast<int64_t>(get_be64(bytes.data() + 1));
  return true;
}

std::string encode_grant(const GrantRow& row) {
  std::string out;
  put_be64(out, row.ttl_seconds);
  put_be64(out, row.expiry_unix_ns);
  out.push_back(row.kept_alive ? 1 : 0);
  return out;
}

bool decode_grant(std::string_view bytes, GrantRow& out) {
  if (bytes.size() != 17) return false;
  out.ttl_seconds = static_cast<int64_t>(get_be64(bytes.data()));
  out.expiry_unix_ns = static_cast<int64_t>(get_be64(bytes.data() + 8));
  out.kept_alive = bytes[16] != 0;
  return out.ttl_seconds > 0;
}

std::string alarm_key(const Alarm& alarm) {
  std::string out = "a";
  put_be64(out, alarm.member_id);
  put_be32(out, static_cast<uint32_t>(alarm.type));
  return out;
}

bool decode_alarm_key(std::string_view bytes, Alarm& out) {
  if (bytes.size() != 13 || bytes[0] != 'a') return false;
  out.member_id = get_be64(bytes.data() + 1);
  out.type = static_cast<Alarm::Type>(get_be32(bytes.data() + 9));
  return out.type == Alarm::Type::kNoSpace || out.type == Alarm::Type::kCorrupt;
}

std::string attachment_prefix(LeaseId id) {
  std::string out = "k";
  put_be64(out, id);
  return out;
}

std::string attachment_key(LeaseId id, std::string_view user_key) {
  std::string out = attachment_prefix(id);
  out.append(user_key);
  return out;
}

}  // namespace engenho::datastore
