#include "engenho/schema/decode.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "engenho/base/bytes.h"
#include "engenho/schema/quantity.h"
#include "normal.h"
#include "scalars.h"

namespace engenho::schema {

namespace {

// The way from the root to the value at hand; frames live on the stack of the recursion.
struct Frame {
  const Frame* outer = nullptr;
  std::string_view key;                // field or map key
  size_t index = 0;
  enum What : uint8_t { kRoot, kField, kKey, kIndex } what = kRoot;
  const Schema* owner = nullptr;       // the struct that a field belongs to
};

// As strict decoding shows it: "spec.containers[0].name".
std::string strict_path(const Frame& frame) {
  std::string out = frame.outer ? strict_path(*frame.outer) : std::string();
  switch (frame.what) {
    case Frame::kRoot: break;
    case Frame::kIndex: out += "[" + std::to_string(frame.index) + "]"; break;
    default:
      if (!out.empty()) out += ".";
      out += frame.key;
  }
  return out;
}

// As Go's type errors show it: only struct fields, no indexes and no map keys.
std::string go_path(const Frame& frame) {
  std::string out = frame.outer ? go_path(*frame.outer) : std::string();
  if (frame.what == Frame::kField) {
    if (!out.empty()) out += ".";
    out += frame.key;
  }
  return out;
}

const Schema* innermost_struct(const Frame* frame) {
  for (; frame != nullptr; frame = frame->outer) {
    if (frame->what == Frame::kField) return frame->owner;
  }
  return nullptr;
}

std::string_view go_json_type(const json::Value& value) {
  switch (value.type()) {
    case json::Type::kNull: return "null";
    case json::Type::kBool: return "bool";
    case json::Type::kInt:
    case json::Type::kDouble: return "number";
    case json::Type::kString: return "string";
    case json::Type::kArray: return "array";
    case json::Type::kObject: return "object";
  }
  return "?";
}

std::string number_text(const json::Value& value) {
  std::string out = json::dump(value);
  // 3.0 parses as a double and would print as 3.
  if (value.is_double() && out.find_first_not_of("-0123456789") == std::string::npos && out.size() < 16) out += ".0";
  return out;
}

class Decoder {
 public:
  // `strict`: where unknown fields go; null: nowhere. `lenient`: values of a wrong type stay as they are.
  Decoder(std::vector<std::string>* strict, size_t max_strict, bool lenient)
      : strict_(strict), max_strict_(max_strict), lenient_(lenient) {}

  Status value(const Schema& schema, json::Value& v, const Frame& frame) {
    switch (schema.kind) {
      case Kind::kAny:
      case Kind::kRawExtension:
      case Kind::kJson:
      case Kind::kFieldsV1: return {};
      case Kind::kObject: return object(schema, v, frame);
      case Kind::kMap: return map(schema, v, frame);
      case Kind::kArray: return array(schema, v, frame);
      case Kind::kString:
        if (!v.is_string()) return mismatch(go_json_type(v), schema.go_type, frame);
        return {};
      case Kind::kBool:
        if (!v.is_bool()) return mismatch(go_json_type(v), schema.go_type, frame);
        return {};
      case Kind::kInt32:
      case Kind::kInt64: return integer(schema, v, frame);
      case Kind::kDouble:
        if (!v.is_number()) return mismatch(go_json_type(v), schema.go_type, frame);
        return {};
      case Kind::kBytes: {
        if (!v.is_string()) return mismatch(go_json_type(v), schema.go_type, frame);
        Result<std::string> bytes = decode_base64(v.as_string());
        if (!bytes) return fail(bytes.error());
        std::string canonical = base64_encode(*bytes);
        if (canonical != v.as_string()) v = std::move(canonical);
        return {};
      }
      case Kind::kQuantity: return quantity(v);
      case Kind::kTime:
      case Kind::kMicroTime: return text(v, frame, [&](std::string_view s) { return canonical_time(s, schema.kind == Kind::kMicroTime); });
      case Kind::kDuration: return text(v, frame, [](std::string_view s) { return canonical_duration(s); });
      case Kind::kIntOrString:
        if (v.is_string()) return {};
        if (v.is_int() && in_int32(v.as_int())) return {};
        return mismatch(v.is_number() ? "number " + number_text(v) : std::string(go_json_type(v)), "int32", frame);
      case Kind::kSchemaOrArray:
        if (v.is_object()) return nested(*schema.element, v);
        if (v.is_array()) {
          for (json::Value& item : v.as_array()) ENGENHO_RETURN_IF_ERROR(nested(*schema.element, item));
          return {};
        }
        v = json::Value();
        return {};
      case Kind::kSchemaOrBool:
        if (v.is_object()) return nested(*schema.element, v);
        if (v.is_bool()) return {};
        return fail(bad_request("boolean or JSON schema expected"));
      case Kind::kSchemaOrStringArray:
        if (v.is_object()) return nested(*schema.element, v);
        if (v.is_array()) return {};
        v = json::Value();
        return {};
    }
    return {};
  }

 private:
  static constexpr int kMaxDepth = 1000;

  static bool in_int32(int64_t v) { return v >= std::numeric_limits<int32_t>::min() && v <= std::numeric_limits<int32_t>::max(); }

  // A type with a JSON method of its own starts anew: no path, and unknown fields pass unseen.
  Status nested(const Schema& schema, json::Value& v) {
    if (v.is_null()) {
      v = zero_value(schema);
      return {};
    }
    std::vector<std::string>* strict = std::exchange(strict_, nullptr);
    Status status = value(schema, v, Frame{});
    strict_ = strict;
    return status;
  }

  Status fail(Status status) { return lenient_ ? Status() : std::move(status); }

  Status mismatch(std::string_view got, std::string_view go_type, const Frame& frame) {
    if (lenient_) return {};
    std::string message = "json: cannot unmarshal " + std::string(got) + " into Go ";
    std::string path = go_path(frame);
    if (path.empty()) {
      message += "value of type ";
    } else {
      const Schema* owner = innermost_struct(&frame);
      message += "struct field " + std::string(owner ? owner->short_name() : std::string_view()) + "." + path + " of type ";
    }
    return bad_request(message + std::string(go_type));
  }

  Status integer(const Schema& schema, json::Value& v, const Frame& frame) {
    if (!v.is_number()) return mismatch(go_json_type(v), schema.go_type, frame);
    if (!v.is_int() || (schema.kind == Kind::kInt32 && !in_int32(v.as_int()))) {
      return mismatch("number " + number_text(v), schema.go_type, frame);
    }
    return {};
  }

  Status quantity(json::Value& v) {
    std::string text;
    std::string_view view;
    if (v.is_string()) {
      view = trim(v.as_string());
    } else {
      text = json::dump(v);
      view = text;
    }
    Result<std::string> canonical = canonical_quantity(view);
    if (!canonical) return fail(canonical.error());
    if (!v.is_string() || v.as_string() != *canonical) v = std::move(*canonical);
    return {};
  }

  template <typename F>
  Status text(json::Value& v, const Frame& frame, F canonical) {
    if (!v.is_string()) return mismatch(go_json_type(v), "string", frame);
    Result<std::string> out = canonical(v.as_string());
    if (!out) return fail(out.error());
    if (*out != v.as_string()) v = std::move(*out);
    return {};
  }

  Status object(const Schema& schema, json::Value& v, const Frame& frame) {
    if (!v.is_object()) return mismatch(go_json_type(v), schema.go_type, frame);
    if (++depth_ > kMaxDepth) return bad_request("exceeded max depth");
    // First in place: most objects are in normal form already. Both sides are sorted by name.
    json::Object& in = v.as_object();
    bool rebuild = false;
    auto it = in.begin();
    for (const Field& field : schema.fields) {
      for (; it != in.end() && it->first < field.name; ++it) {
        unknown(it->first, frame);
        rebuild = true;
      }
      if (it == in.end() || it->first != field.name) {
        rebuild |= is_written_when_absent(field);
        continue;
      }
      if (!it->second.is_null()) {
        ENGENHO_RETURN_IF_ERROR(value(*field.schema, it->second, Frame{&frame, field.name, 0, Frame::kField, &schema}));
      } else if (!field.pointer) {
        it->second = zero_value(*field.schema);
      }
      rebuild |= is_omitted(field, it->second);
      ++it;
    }
    for (; it != in.end(); ++it) {
      unknown(it->first, frame);
      rebuild = true;
    }
    --depth_;
    if (!rebuild) return {};

    json::Object out;
    it = in.begin();
    for (const Field& field : schema.fields) {
      while (it != in.end() && it->first < field.name) ++it;
      if (it != in.end() && it->first == field.name) {
        if (!is_omitted(field, it->second)) out.set(field.name, std::move(it->second));
        ++it;
      } else if (is_written_when_absent(field)) {
        out.set(field.name, field.pointer ? json::Value() : zero_value(*field.schema));
      }
    }
    v = std::move(out);
    return {};
  }

  Status map(const Schema& schema, json::Value& v, const Frame& frame) {
    if (!v.is_object()) return mismatch(go_json_type(v), schema.go_type, frame);
    if (++depth_ > kMaxDepth) return bad_request("exceeded max depth");
    for (auto& [key, item] : v.as_object()) {
      if (item.is_null()) {
        item = zero_value(*schema.element);
      } else {
        ENGENHO_RETURN_IF_ERROR(value(*schema.element, item, Frame{&frame, key, 0, Frame::kKey, nullptr}));
      }
    }
    --depth_;
    return {};
  }

  Status array(const Schema& schema, json::Value& v, const Frame& frame) {
    if (!v.is_array()) return mismatch(go_json_type(v), schema.go_type, frame);
    return elements(*schema.element, v.as_array(), frame);
  }

  Status elements(const Schema& element, json::Array& items, const Frame& frame) {
    if (++depth_ > kMaxDepth) return bad_request("exceeded max depth");
    for (size_t i = 0; i < items.size(); ++i) {
      if (items[i].is_null()) {
        items[i] = zero_value(element);
      } else {
        ENGENHO_RETURN_IF_ERROR(value(element, items[i], Frame{&frame, {}, i, Frame::kIndex, nullptr}));
      }
    }
    --depth_;
    return {};
  }

  void unknown(std::string_view key, const Frame& frame) {
    if (strict_ == nullptr || strict_->size() >= max_strict_) return;
    strict_->push_back("unknown field \"" + strict_path(Frame{&frame, key, 0, Frame::kKey, nullptr}) + "\"");
  }

  std::vector<std::string>* strict_;
  size_t max_strict_;
  bool lenient_;
  int depth_ = 0;
};

// Custom resources: keeps what the schema names. The metadata of embedded resources comes in a second walk, as upstream reports it.
enum class Walk { kFields, kEmbeddedMetadata };
void prune_value(const Schema& schema, json::Value& v, const Frame& frame, Walk walk, std::vector<std::string>* unknown, size_t max) {
  auto drop = [&](std::string_view key) {
    if (unknown != nullptr && unknown->size() < max) {
      unknown->push_back("unknown field \"" + strict_path(Frame{&frame, key, 0, Frame::kKey, nullptr}) + "\"");
    }
  };
  switch (schema.kind) {
    case Kind::kObject: {
      if (!v.is_object()) return;
      const bool has_type_meta = schema.embedded_resource || frame.what == Frame::kRoot;
      for (auto it = v.as_object().begin(); it != v.as_object().end();) {
        const Field* field = schema.field(it->first);
        const bool metadata = schema.embedded_resource && it->first == "metadata";
        if (field != nullptr) {
          if (!metadata) prune_value(*field->schema, it->second, Frame{&frame, it->first, 0, Frame::kKey, nullptr}, walk, unknown, max);
          else if (walk == Walk::kEmbeddedMetadata) prune_value(*field->schema, it->second, Frame{&frame, it->first, 0, Frame::kKey, nullptr}, Walk::kFields, unknown, max);
        } else if (walk == Walk::kFields && !schema.preserve_unknown &&
                   !(has_type_meta && (it->first == "apiVersion" || it->first == "kind" || it->first == "metadata"))) {
          drop(it->first);
          it = v.as_object().erase(it);
          continue;
        }
        ++it;
      }
      return;
    }
    case Kind::kMap:
      if (!v.is_object()) return;
      for (auto& [key, item] : v.as_object()) {
        prune_value(*schema.element, item, Frame{&frame, key, 0, Frame::kKey, nullptr}, walk, unknown, max);
      }
      return;
    case Kind::kArray:
      if (!v.is_array()) return;
      for (size_t i = 0; i < v.as_array().size(); ++i) {
        prune_value(*schema.element, v.as_array()[i], Frame{&frame, {}, i, Frame::kIndex, nullptr}, walk, unknown, max);
      }
      return;
    default: return;
  }
}

// Walks JSON text that is known to parse and numbers the paths of its members in order.
class Orderer {
 public:
  Orderer(std::string_view text, std::vector<std::pair<std::string, size_t>>& wanted) : text_(text), wanted_(wanted) {}

  void value(const std::string& path, int depth) {
    skip();
    if (pos_ >= text_.size() || depth > 1000) return;
    if (text_[pos_] == '{') {
      ++pos_;
      for (skip(); pos_ < text_.size() && text_[pos_] != '}'; skip()) {
        std::string key = string();
        std::string full = path.empty() ? key : path + "." + key;
        const size_t rank = next_++;
        for (auto& [p, r] : wanted_) {
          if (r == SIZE_MAX && p == full) r = rank;
        }
        skip();
        ++pos_;  // ':'
        value(full, depth + 1);
        skip();
        if (pos_ < text_.size() && text_[pos_] == ',') ++pos_;
      }
      ++pos_;
    } else if (text_[pos_] == '[') {
      ++pos_;
      size_t i = 0;
      for (skip(); pos_ < text_.size() && text_[pos_] != ']'; skip()) {
        value(path + "[" + std::to_string(i++) + "]", depth + 1);
        skip();
        if (pos_ < text_.size() && text_[pos_] == ',') ++pos_;
      }
      ++pos_;
    } else if (text_[pos_] == '"') {
      string();
    } else {
      const size_t start = pos_;
      while (pos_ < text_.size() && std::string_view(",]} \t\r\n").find(text_[pos_]) == std::string_view::npos) ++pos_;
      if (pos_ == start) ++pos_;  // not JSON after all: move on
    }
  }

 private:
  void skip() {
    while (pos_ < text_.size() && std::string_view(" \t\r\n").find(text_[pos_]) != std::string_view::npos) ++pos_;
  }
  std::string string() {
    const size_t start = pos_++;
    bool escaped = false;
    for (; pos_ < text_.size() && text_[pos_] != '"'; ++pos_) {
      if (text_[pos_] == '\\') {
        escaped = true;
        ++pos_;
      }
    }
    ++pos_;
    const size_t end = std::min(pos_, text_.size());
    std::string_view raw = text_.substr(start, end - start);
    if (escaped) {
      if (Result<json::Value> v = json::parse(raw); v && v->is_string()) return v->as_string();
    }
    return raw.size() >= 2 ? std::string(raw.substr(1, raw.size() - 2)) : std::string();
  }

  std::string_view text_;
  std::vector<std::pair<std::string, size_t>>& wanted_;
  size_t pos_ = 0, next_ = 0;
};

}  // namespace

Status decode(const Schema& schema, json::Value& document, std::vector<std::string>* unknown, const DecodeOptions& options) {
  return Decoder(unknown, options.max_unknown, false).value(schema, document, Frame{});
}

void normalize(const Schema& schema, json::Value& document) {
  (void)Decoder(nullptr, 0, true).value(schema, document, Frame{});
}

void prune(const Schema& schema, json::Value& document, std::vector<std::string>* unknown, const DecodeOptions& options) {
  prune_value(schema, document, Frame{}, Walk::kFields, unknown, options.max_unknown);
  prune_value(schema, document, Frame{}, Walk::kEmbeddedMetadata, unknown, options.max_unknown);
}

std::vector<std::string> strict_errors_in_order(std::string_view json_text, const std::vector<std::string>& unknown,
                                                const std::vector<std::string>& duplicate_keys) {
  struct Entry {
    std::string message;
    size_t rank;
  };
  constexpr std::string_view kPrefix = "unknown field \"";
  std::vector<std::pair<std::string, size_t>> wanted;
  std::vector<Entry> entries;
  for (const std::string& path : duplicate_keys) {
    wanted.emplace_back(path, SIZE_MAX);
    entries.push_back({"duplicate field \"" + path + "\"", 0});
  }
  for (const std::string& message : unknown) {
    wanted.emplace_back(message.starts_with(kPrefix) ? message.substr(kPrefix.size(), message.size() - kPrefix.size() - 1) : message, SIZE_MAX);
    entries.push_back({message, 0});
  }
  if (!wanted.empty()) Orderer(json_text, wanted).value("", 0);
  for (size_t i = 0; i < entries.size(); ++i) entries[i].rank = wanted[i].second;
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.rank < b.rank; });
  std::vector<std::string> out;
  for (Entry& e : entries) {
    if (std::find(out.begin(), out.end(), e.message) == out.end()) out.push_back(std::move(e.message));
  }
  return out;
}

}  // namespace engenho::schema
