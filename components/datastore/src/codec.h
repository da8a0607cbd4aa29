// The bytes of every row. README.md, section "Format", is the specification; this file and that one change together.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engenho/datastore/store.h"

namespace engenho::datastore {

// Where a key stands: the header of a row in `live` and `past`.
struct RowHeader {
  Revision create_revision = 0;
  Revision mod_revision = 0;
  int64_t version = 0;
  LeaseId lease = 0;
  int32_t sub_revision = 0;
};

// A decoded row that refers to the bytes it came from.
struct RowView {
  RowHeader header;
  std::string_view value;
};

void put_be32(std::string& out, uint32_t value);
void put_be64(std::string& out, uint64_t value);
uint32_t get_be32(const char* data);
uint64_t get_be64(const char* data);

// live: <user key> -> row
std::string encode_row(const RowHeader& header, std::string_view value);
bool decode_row(std::string_view bytes, RowView& out);

// past: <escaped user key> <~mod_revision> -> <end_revision> row. The version was visible in [mod_revision, end_revision).
std::string past_prefix(std::string_view user_key);      // rows of this key begin so
std::string past_prefix_end(std::string_view user_key);  // above all rows of this key, below those of any later key
std::string past_key(std::string_view user_key, Revision mod_revision);
bool decode_past_key(std::string_view bytes, std::string& user_key, Revision& mod_revision);
std::string encode_past_row(Revision end_revision, const RowHeader& header, std::string_view value);
bool decode_past_row(std::string_view bytes, Revision& end_revision, RowView& out);

// log: <revision> -> the changes of that revision
struct Change {
  bool deleted = false;
  Revision previous = 0;  // mod_revision of the version that this change ended; 0: there was none
  std::string_view key;
};
std::string log_key(Revision revision);
void append_change(std::string& out, bool deleted, Revision previous, std::string_view key);
bool decode_changes(std::string_view bytes, std::vector<Change>& out);

// default: 'm' <name> -> meta rows, 'a' <member> <type> -> nothing, 'g' <lease> -> grant, 'k' <lease> <user key> -> nothing
inline constexpr std::string_view kMetaFormat = "mformat";
inline constexpr std::string_view kMetaState = "mstate";
inline constexpr std::string_view kMetaCompacted = "mcompacted";
inline constexpr std::string_view kMetaScrubbed = "mscrubbed";
inline constexpr std::string_view kMetaCluster = "mcluster";
inline constexpr std::string_view kFormatName = "engenho datastore 2";
inline constexpr std::string_view kOlderFormatName = "engenho datastore 1";  // its rows have no sub_revision; read, and marked anew at open

struct MetaState {
  Revision revision = 1;
  int64_t keys = 0;
};
std::string encode_state(const MetaState& state);
bool decode_state(std::string_view bytes, MetaState& out);
std::string encode_int(int64_t value);
bool decode_int(std::string_view bytes, int64_t& out);

struct GrantRow {
  int64_t ttl_seconds = 0;
  int64_t expiry_unix_ns = 0;  // by the wall clock, when granted
  bool kept_alive = false;     // a client renews it
};
std::string grant_key(LeaseId id);
bool decode_grant_key(std::string_view bytes, LeaseId& id);
std::string encode_grant(const GrantRow& row);
bool decode_grant(std::string_view bytes, GrantRow& out);
std::string alarm_key(const Alarm& alarm);
bool decode_alarm_key(std::string_view bytes, Alarm& out);
std::string attachment_prefix(LeaseId id);
std::string attachment_key(LeaseId id, std::string_view user_key);

}  // namespace engenho::datastore
