// hashicorp/random, as of its version 3.7.
#include <algorithm>
#include <random>

#include "builtin.h"
#include "digest.h"
#include "engenho/base/bytes.h"
#include "engenho/base/random.h"

namespace engenho::magma {

namespace {

const Type kTexts = Type::map(Type::string());

// Uniform in [0, bound): from the system's generator, or repeatable from a seed.
class Source {
 public:
  explicit Source(const std::string& seed) {
    if (seed.empty()) return;
    const std::string hash = sha256(seed);
    uint64_t start = 0;
    for (int i = 0; i < 8; ++i) start = start << 8 | static_cast<unsigned char>(hash[static_cast<size_t>(i)]);
    seeded_ = std::make_unique<std::mt19937_64>(start);
  }
  uint64_t below(uint64_t bound) {
    if (bound == 0) return next();   // the whole range
    const uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
    uint64_t v;
    do v = next(); while (v >= limit);
    return v % bound;
  }

 private:
  uint64_t next() { return seeded_ ? (*seeded_)() : random_u64(); }
  std::unique_ptr<std::mt19937_64> seeded_;
};

std::string decimal(std::string bytes) {
  std::string out;
  while (!bytes.empty()) {
    unsigned rest = 0;
    std::string quotient;
    for (char c : bytes) {
      const unsigned v = rest * 256 + static_cast<unsigned char>(c);
      const unsigned digit = v / 10;
      if (!quotient.empty() || digit != 0) quotient += static_cast<char>(digit);
      rest = v % 10;
    }
    out += static_cast<char>('0' + rest);
    bytes = std::move(quotient);
  }
  std::reverse(out.begin(), out.end());
  return out.empty() ? "0" : out;
}

Value id_state(const Value& planned, const std::string& bytes, const std::string& prefix) {
  const std::string url = base64url_encode(bytes);
  return planned.with("id", Value::string(url)).with("b64_url", Value::string(prefix + url)).with("b64_std", Value::string(prefix + base64_encode(bytes)))
      .with("hex", Value::string(prefix + hex_encode(bytes))).with("dec", Value::string(prefix + decimal(bytes)));
}

BuiltinResource random_id() {
  BuiltinResource r;
  r.schema.block = block({attribute("b64_std", Type::string(), "c"), attribute("b64_url", Type::string(), "c"), attribute("byte_length", Type::number(), "r"),
                          attribute("dec", Type::string(), "c"), attribute("hex", Type::string(), "c"), attribute("id", Type::string(), "c"),
                          attribute("keepers", kTexts, "o"), attribute("prefix", Type::string(), "o")});
  r.force_new = {"byte_length", "keepers", "prefix"};
  r.validate = [](const Value& config, Diagnostics& d) {
    const int64_t n = int_of(config, "byte_length", 1);
    if (n < 1 || n > 4096) d.push_back(error_diagnostic("Invalid Attribute Value", "byte_length must be between 1 and 4096", {{std::string("byte_length")}}));
  };
  r.write = [](const Value& planned, const Value& prior, Diagnostics&) {
    return prior.holds() ? planned : id_state(planned, random_bytes(static_cast<size_t>(int_of(planned, "byte_length"))), text_of(planned, "prefix"));
  };
  r.import = [block = r.schema.block](const std::string& text, Diagnostics& d) {
    const size_t comma = text.rfind(',');
    const std::string prefix = comma == std::string::npos ? "" : text.substr(0, comma);
    auto bytes = base64url_decode(comma == std::string::npos ? text : text.substr(comma + 1));
    if (!bytes) {
      d.push_back(error_diagnostic("Import Random ID Error", "the id must be [prefix,]base64url"));
      return Value();
    }
    Value state = empty_value(block).with("byte_length", Value::number(static_cast<Number>(bytes->size())));
    if (!prefix.empty()) state = state.with("prefix", Value::string(prefix));
    return id_state(state, *bytes, prefix);
  };
  return r;
}

const std::map<std::string, Value> kStringDefaults = {
    {"special", Value::boolean(true)}, {"upper", Value::boolean(true)}, {"lower", Value::boolean(true)}, {"number", Value::boolean(true)}, {"numeric", Value::boolean(true)},
    {"min_special", Value::number(0)}, {"min_upper", Value::number(0)}, {"min_lower", Value::number(0)}, {"min_numeric", Value::number(0)}};

Result<std::string> random_text(const Value& planned) {
  struct Class {
    const char* flag;
    const char* minimum;
    std::string characters;
  };
  const std::string override_special = text_of(planned, "override_special");
  const Class classes[] = {{"special", "min_special", override_special.empty() ? "!@#$%&*()-_=+[]{}<>:?" : override_special},
                           {"upper", "min_upper", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}, {"lower", "min_lower", "abcdefghijklmnopqrstuvwxyz"}, {"numeric", "min_numeric", "0123456789"}};
  Source source("");
  std::string all, out;
  const int64_t length = int_of(planned, "length");
  for (const Class& c : classes) {
    if (!bool_of(planned, c.flag)) continue;
    all += c.characters;
    for (int64_t i = int_of(planned, c.minimum); i > 0 && static_cast<int64_t>(out.size()) < length; --i) out += c.characters[source.below(c.characters.size())];
  }
  if (all.empty()) return err(bad_request("at least one class of characters must be allowed"));
  while (static_cast<int64_t>(out.size()) < length) out += all[source.below(all.size())];
  for (size_t i = out.size(); i > 1; --i) std::swap(out[i - 1], out[source.below(i)]);
  return out;
}

BuiltinResource random_string(bool password) {
  BuiltinResource r;
  std::vector<Attribute> attributes = {
      attribute("id", Type::string(), "c"), attribute("keepers", kTexts, "o"), attribute("length", Type::number(), "r"), attribute("lower", Type::boolean(), "oc"),
      attribute("min_lower", Type::number(), "oc"), attribute("min_numeric", Type::number(), "oc"), attribute("min_special", Type::number(), "oc"), attribute("min_upper", Type::number(), "oc"),
      attribute("number", Type::boolean(), "oc"), attribute("numeric", Type::boolean(), "oc"), attribute("override_special", Type::string(), "o"),
      attribute("result", Type::string(), password ? "cs" : "c"), attribute("special", Type::boolean(), "oc"), attribute("upper", Type::boolean(), "oc")};
  if (password) attributes.push_back(attribute("bcrypt_hash", Type::string(), "cs"));
  r.schema.version = password ? 3 : 2;
  r.schema.block = block(std::move(attributes));
  r.force_new = {"keepers", "length", "lower", "min_lower", "min_numeric", "min_special", "min_upper", "number", "numeric", "override_special", "special", "upper"};
  r.defaults = kStringDefaults;
  // "number" is the old name of "numeric": one follows the other.
  r.plan = [](const Value& prior, Value& planned, std::vector<Path>& replace) {
    if (!bool_of(planned, "number") && planned.get("number").holds()) planned = planned.with("numeric", Value::boolean(false));
    if (!bool_of(planned, "numeric") && planned.get("numeric").holds()) planned = planned.with("number", Value::boolean(false));
    if (!prior.holds()) return;
    std::erase_if(replace, [&](const Path& p) { return planned.get(std::get<std::string>(p[0].key)).equals(prior.get(std::get<std::string>(p[0].key))); });
  };
  r.validate = [](const Value& config, Diagnostics& d) {
    const int64_t least = int_of(config, "min_lower") + int_of(config, "min_upper") + int_of(config, "min_numeric") + int_of(config, "min_special");
    const int64_t length = int_of(config, "length", 1);
    if (length < 1 || length > 1'000'000) d.push_back(error_diagnostic("Invalid Attribute Value", "length must be at least 1", {{std::string("length")}}));
    else if (length < least && config.get("length").is_known()) {
      d.push_back(error_diagnostic("Invalid Attribute Value", "length must be at least the sum of min_upper, min_lower, min_numeric and min_special (" + std::to_string(least) + ")", {{std::string("length")}}));
    }
  };
  r.write = [password](const Value& planned, const Value& prior, Diagnostics& d) {
    if (prior.holds()) return planned;
    auto text = random_text(planned);
    if (!text) {
      d.push_back(error_diagnostic("Create Random String Error", text.error().message()));
      return Value::null(planned.type());
    }
    Value state = planned.with("result", Value::string(*text)).with("id", Value::string(password ? "none" : *text));
    if (!password) return state;
    auto hash = bcrypt(*text, 10);
    if (!hash) {
      d.push_back(error_diagnostic("Create Random Password Error", hash.error().message()));
      return Value::null(planned.type());
    }
    return state.with("bcrypt_hash", Value::string(*hash));
  };
  r.import = [password, block = r.schema.block](const std::string& text, Diagnostics&) {
    Value state = empty_value(block);
    for (const auto& [name, v] : kStringDefaults) state = state.with(name, v);
    state = state.with("result", Value::string(text)).with("id", Value::string(password ? "none" : text)).with("length", Value::number(static_cast<Number>(text.size())));
    if (password) {
      if (auto hash = bcrypt(text, 10)) state = state.with("bcrypt_hash", Value::string(*hash));
    }
    return state;
  };
  return r;
}

BuiltinResource random_pet() {
  static const char* const kAdverbs[] = {"barely", "boldly", "briefly", "calmly", "clearly", "daily", "deeply", "easily", "evenly", "fairly", "firmly", "freely", "gently", "gladly", "greatly", "happily",
                                         "highly", "jointly", "keenly", "kindly", "largely", "lightly", "mildly", "neatly", "nicely", "openly", "partly", "plainly", "quickly", "quietly", "rarely", "truly"};
  static const char* const kAdjectives[] = {"able", "agile", "amber", "apt", "bold", "brave", "bright", "brisk", "calm", "civil", "clean", "clever", "cosmic", "crisp", "eager", "fair", "fine", "fond", "fresh", "gentle", "golden", "grand", "humble", "keen",
                                            "lively", "loyal", "lucky", "mellow", "merry", "mighty", "neat", "noble", "patient", "polite", "prime", "proud", "quick", "quiet", "rapid", "ready", "sharp", "smart", "solid", "steady", "sunny", "swift", "tidy", "warm"};
  static const char* const kNames[] = {"albatross", "ant", "badger", "bat", "bear", "beetle", "bison", "boar", "camel", "caribou", "cat", "cobra", "condor", "cougar", "crab", "crane", "cricket", "deer", "dingo", "dolphin", "dove", "eagle", "falcon", "ferret",
                                       "finch", "fox", "gecko", "gull", "hare", "hawk", "heron", "ibex", "jackal", "jay", "koala", "lark", "lemur", "lion", "lynx", "marmot", "mole", "moose", "newt", "ocelot", "orca", "osprey", "otter", "owl", "panda",
                                       "parrot", "puma", "quail", "raven", "robin", "salmon", "seal", "shrew", "sloth", "stork", "swan", "tapir", "tern", "toad", "trout", "viper", "vole", "wolf", "wombat", "wren", "yak", "zebra"};
  BuiltinResource r;
  r.schema.block = block({attribute("id", Type::string(), "c"), attribute("keepers", kTexts, "o"), attribute("length", Type::number(), "oc"), attribute("prefix", Type::string(), "o"),
                          attribute("separator", Type::string(), "oc")});
  r.defaults = {{"length", Value::number(2)}, {"separator", Value::string("-")}};
  r.force_new = {"keepers", "length", "prefix", "separator"};
  r.write = [](const Value& planned, const Value& prior, Diagnostics&) {
    if (prior.holds()) return planned;
    Source source("");
    std::vector<std::string> words;
    const int64_t length = std::min<int64_t>(int_of(planned, "length", 2), 64);
    for (int64_t i = length; i > 2; --i) words.emplace_back(kAdverbs[source.below(std::size(kAdverbs))]);
    if (length > 1) words.emplace_back(kAdjectives[source.below(std::size(kAdjectives))]);
    if (length > 0) words.emplace_back(kNames[source.below(std::size(kNames))]);
    if (const std::string prefix = text_of(planned, "prefix"); !prefix.empty()) words.insert(words.begin(), prefix);
    return planned.with("id", Value::string(join(words, text_of(planned, "separator"))));
  };
  return r;
}

BuiltinResource random_integer() {
  BuiltinResource r;
  r.schema.block = block({attribute("id", Type::string(), "c"), attribute("keepers", kTexts, "o"), attribute("max", Type::number(), "r"), attribute("min", Type::number(), "r"),
                          attribute("result", Type::number(), "c"), attribute("seed", Type::string(), "o")});
  r.force_new = {"keepers", "max", "min", "seed"};
  r.write = [](const Value& planned, const Value& prior, Diagnostics& d) {
    if (prior.holds()) return planned;
    const int64_t least = int_of(planned, "min"), most = int_of(planned, "max");
    if (most < least) {
      d.push_back(error_diagnostic("Create Random Integer Error", "the minimum (min) value needs to be smaller than or equal to maximum (max) value"));
      return Value::null(planned.type());
    }
    Source source(text_of(planned, "seed"));
    const int64_t n = static_cast<int64_t>(static_cast<uint64_t>(least) + source.below(static_cast<uint64_t>(most) - static_cast<uint64_t>(least) + 1));
    return planned.with("result", Value::number(static_cast<Number>(n))).with("id", Value::string(std::to_string(n)));
  };
  r.import = [block = r.schema.block](const std::string& text, Diagnostics& d) {   // result,min,max[,seed]
    const auto parts = split(text, ',');
    int64_t n[3] = {};
    if (parts.size() < 3 || parts.size() > 4 || !parse_int(parts[0], n[0]) || !parse_int(parts[1], n[1]) || !parse_int(parts[2], n[2])) {
      d.push_back(error_diagnostic("Import Random Integer Error", "the id must be result,min,max[,seed]"));
      return Value();
    }
    Value state = empty_value(block).with("id", Value::string(std::string(parts[0]))).with("result", Value::number(static_cast<Number>(n[0])))
                      .with("min", Value::number(static_cast<Number>(n[1]))).with("max", Value::number(static_cast<Number>(n[2])));
    return parts.size() == 4 ? state.with("seed", Value::string(std::string(parts[3]))) : state;
  };
  return r;
}

BuiltinResource random_shuffle() {
  BuiltinResource r;
  const Type list = Type::list(Type::string());
  r.schema.block = block({attribute("id", Type::string(), "c"), attribute("input", list, "r"), attribute("keepers", kTexts, "o"), attribute("result", list, "c"),
                          attribute("result_count", Type::number(), "o"), attribute("seed", Type::string(), "o")});
  r.force_new = {"input", "keepers", "result_count", "seed"};
  r.write = [](const Value& planned, const Value& prior, Diagnostics&) {
    if (prior.holds()) return planned;
    const Value::Items& input = planned.get("input").items();
    const auto wanted = static_cast<size_t>(std::max<int64_t>(0, int_of(planned, "result_count", static_cast<int64_t>(input.size()))));
    Source source(text_of(planned, "seed"));
    Value::Items out;
    // More than there are: whole shuffles one after the other.
    while (!input.empty() && out.size() < wanted) {
      Value::Items round = input;
      for (size_t i = round.size(); i > 1; --i) std::swap(round[i - 1], round[source.below(i)]);
      for (size_t i = 0; i < round.size() && out.size() < wanted; ++i) out.push_back(round[i]);
    }
    return planned.with("result", Value::list(Type::string(), std::move(out))).with("id", Value::string("-"));
  };
  return r;
}

BuiltinResource random_uuid_resource() {
  BuiltinResource r;
  r.schema.block = block({attribute("id", Type::string(), "c"), attribute("keepers", kTexts, "o"), attribute("result", Type::string(), "c")});
  r.force_new = {"keepers"};
  r.write = [](const Value& planned, const Value& prior, Diagnostics&) {
    if (prior.holds()) return planned;
    const Value id = Value::string(random_uuid());
    return planned.with("id", id).with("result", id);
  };
  r.import = [block = r.schema.block](const std::string& id, Diagnostics&) { return empty_value(block).with("id", Value::string(id)).with("result", Value::string(id)); };
  return r;
}

BuiltinResource random_bytes_resource() {
  BuiltinResource r;
  r.schema.block = block({attribute("base64", Type::string(), "cs"), attribute("hex", Type::string(), "cs"), attribute("keepers", kTexts, "o"), attribute("length", Type::number(), "r")});
  r.force_new = {"keepers", "length"};
  r.validate = [](const Value& config, Diagnostics& d) {
    const int64_t n = int_of(config, "length", 1);
    if (n < 1 || n > 1'000'000) d.push_back(error_diagnostic("Invalid Attribute Value", "length must be at least 1", {{std::string("length")}}));
  };
  r.write = [](const Value& planned, const Value& prior, Diagnostics&) {
    if (prior.holds()) return planned;
    const std::string bytes = random_bytes(static_cast<size_t>(int_of(planned, "length")));
    return planned.with("base64", Value::string(base64_encode(bytes))).with("hex", Value::string(hex_encode(bytes)));
  };
  return r;
}

}  // namespace

BuiltinProvider random_provider() {
  BuiltinProvider p;
  p.version = "3.7.2";
  p.resources.emplace("random_id", random_id());
  p.resources.emplace("random_string", random_string(false));
  p.resources.emplace("random_password", random_string(true));
  p.resources.emplace("random_pet", random_pet());
  p.resources.emplace("random_integer", random_integer());
  p.resources.emplace("random_shuffle", random_shuffle());
  p.resources.emplace("random_uuid", random_uuid_resource());
  p.resources.emplace("random_bytes", random_bytes_resource());
  return p;
}

}  // namespace engenho::magma
