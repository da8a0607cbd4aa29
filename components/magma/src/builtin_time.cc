// hashicorp/time, as of its version 0.13.
#include <cctype>

#include "builtin.h"
#include "civil_time.h"
#include "engenho/base/clock.h"

namespace engenho::magma {

namespace {

const Type kTexts = Type::map(Type::string());
constexpr const char* kUnits[] = {"years", "months", "days", "hours", "minutes", "seconds"};

Value with_parts(const Value& state, WallTime time) {
  const CivilTime t = civil_time(time);
  auto n = [](int64_t v) { return Value::number(static_cast<Number>(v)); };
  return state.with("year", n(t.year)).with("month", n(t.month)).with("day", n(t.day)).with("hour", n(t.hour)).with("minute", n(t.minute)).with("second", n(t.second))
      .with("unix", n(std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count()));
}

std::vector<Attribute> part_attributes() {
  std::vector<Attribute> out;
  for (const char* name : {"day", "hour", "minute", "month", "second", "unix", "year"}) out.push_back(attribute(name, Type::number(), "c"));
  return out;
}

// Years and months as calendars count them: 31 January plus a month is 3 March, as in Go.
WallTime add(WallTime time, const Value& config, const std::string& prefix) {
  using namespace std::chrono;
  auto n = [&](const char* unit) { return int_of(config, prefix + unit); };
  const auto day = floor<days>(time);
  const year_month_day date(day);
  const auto first = year_month(date.year(), date.month()) + years(n("years")) + months(n("months"));
  const auto moved = sys_days(first / 1) + days(static_cast<unsigned>(date.day()) - 1) + days(n("days"));
  return moved + (time - day) + hours(n("hours")) + minutes(n("minutes")) + seconds(n("seconds"));
}

// The base time: as configured or as stored, else now.
Result<WallTime> base_time(const Value& planned, const char* name) {
  if (planned.get(name).is_string()) return parse_rfc3339(planned.get(name).as_string());
  return std::chrono::floor<std::chrono::seconds>(Clock::real().wall());
}

Value bad_time(const Value& planned, const Status& s, Diagnostics& d) {
  d.push_back(error_diagnostic("Invalid time", s.message()));
  return Value::null(planned.type());
}

void require_one(const Value& config, const std::string& prefix, bool or_rfc3339, Diagnostics& d) {
  for (const char* unit : kUnits) {
    if (!config.get(prefix + unit).is_null()) return;
  }
  if (or_rfc3339 && !config.get("rotation_rfc3339").is_null()) return;
  d.push_back(error_diagnostic("Missing Attribute Configuration", "at least one attribute whose name begins with " + prefix + " must be set"));
}

BuiltinResource time_static() {
  BuiltinResource r;
  auto attributes = part_attributes();
  attributes.insert(attributes.end(), {attribute("id", Type::string(), "c"), attribute("rfc3339", Type::string(), "oc"), attribute("triggers", kTexts, "o")});
  r.schema.block = block(std::move(attributes));
  r.force_new = {"rfc3339", "triggers"};
  r.write = [](const Value& planned, const Value& prior, Diagnostics& d) {
    if (prior.holds()) return planned;
    auto time = base_time(planned, "rfc3339");
    if (!time) return bad_time(planned, time.error(), d);
    const Value text = planned.get("rfc3339").is_string() ? planned.get("rfc3339") : Value::string(format_rfc3339(*time));
    return with_parts(planned, *time).with("rfc3339", text).with("id", text);
  };
  r.import = [block = r.schema.block](const std::string& id, Diagnostics& d) {
    auto time = parse_rfc3339(id);
    if (!time) return bad_time(Value(), time.error(), d);
    return with_parts(empty_value(block), *time).with("rfc3339", Value::string(id)).with("id", Value::string(id));
  };
  return r;
}

BuiltinResource time_offset() {
  BuiltinResource r;
  auto attributes = part_attributes();
  for (const char* unit : kUnits) attributes.push_back(attribute(std::string("offset_") + unit, Type::number(), "o"));
  attributes.insert(attributes.end(), {attribute("base_rfc3339", Type::string(), "oc"), attribute("id", Type::string(), "c"), attribute("rfc3339", Type::string(), "c"), attribute("triggers", kTexts, "o")});
  r.schema.block = block(std::move(attributes));
  r.force_new = {"base_rfc3339", "triggers"};
  r.recompute = {"day", "hour", "minute", "month", "second", "unix", "year", "rfc3339"};
  r.validate = [](const Value& config, Diagnostics& d) { require_one(config, "offset_", false, d); };
  r.write = [](const Value& planned, const Value&, Diagnostics& d) {
    auto base = base_time(planned, "base_rfc3339");
    if (!base) return bad_time(planned, base.error(), d);
    const WallTime time = add(*base, planned, "offset_");
    const Value text = planned.get("base_rfc3339").is_string() ? planned.get("base_rfc3339") : Value::string(format_rfc3339(*base));
    return with_parts(planned, time).with("base_rfc3339", text).with("id", text).with("rfc3339", Value::string(format_rfc3339(time)));
  };
  return r;
}

BuiltinResource time_rotating() {
  BuiltinResource r;
  auto attributes = part_attributes();
  for (const char* unit : kUnits) {
    if (std::string_view(unit) != "seconds") attributes.push_back(attribute(std::string("rotation_") + unit, Type::number(), "o"));
  }
  attributes.insert(attributes.end(), {attribute("id", Type::string(), "c"), attribute("rfc3339", Type::string(), "oc"), attribute("rotation_rfc3339", Type::string(), "oc"), attribute("triggers", kTexts, "o")});
  r.schema.block = block(std::move(attributes));
  r.force_new = {"rfc3339", "triggers"};
  r.recompute = {"rotation_rfc3339"};
  r.validate = [](const Value& config, Diagnostics& d) { require_one(config, "rotation_", true, d); };
  r.write = [](const Value& planned, const Value&, Diagnostics& d) {
    auto base = base_time(planned, "rfc3339");
    if (!base) return bad_time(planned, base.error(), d);
    const Value text = planned.get("rfc3339").is_string() ? planned.get("rfc3339") : Value::string(format_rfc3339(*base));
    Value state = with_parts(planned, *base).with("rfc3339", text).with("id", text);
    return state.get("rotation_rfc3339").is_string() ? state : state.with("rotation_rfc3339", Value::string(format_rfc3339(add(*base, planned, "rotation_"))));
  };
  // Past its time it is gone, and the next plan makes a new one.
  r.read = [](const Value& current, Diagnostics&) {
    auto due = parse_rfc3339(text_of(current, "rotation_rfc3339"));
    return due && Clock::real().wall() > *due ? Value::null(current.type()) : current;
  };
  return r;
}

bool parse_sleep(const std::string& text, Duration& out) {   // "30s", "1.5m"
  size_t digits = 0;
  while (digits < text.size() && (std::isdigit(static_cast<unsigned char>(text[digits])) || text[digits] == '.')) ++digits;
  Number n;
  const std::string unit = text.substr(digits);
  const Number scale = unit == "ms" ? 1e6L : unit == "s" ? 1e9L : unit == "m" ? 60e9L : unit == "h" ? 3600e9L : 0;
  if (scale == 0 || !parse_number(std::string_view(text).substr(0, digits), n) || n * scale > 9e17L) return false;
  out = Duration(static_cast<int64_t>(n * scale));
  return true;
}

BuiltinResource time_sleep(StopToken stop) {
  BuiltinResource r;
  r.schema.block = block({attribute("create_duration", Type::string(), "o"), attribute("destroy_duration", Type::string(), "o"), attribute("id", Type::string(), "c"), attribute("triggers", kTexts, "o")});
  r.force_new = {"triggers"};
  r.validate = [](const Value& config, Diagnostics& d) {
    bool any = false;
    for (const char* name : {"create_duration", "destroy_duration"}) {
      const Value& v = config.get(name);
      any = any || !v.is_null();
      Duration ignored;
      if (v.is_string() && !parse_sleep(v.as_string(), ignored)) d.push_back(error_diagnostic("Invalid Attribute Value Match", "expected a number with a unit: ms, s, m or h", {{std::string(name)}}));
    }
    if (!any) d.push_back(error_diagnostic("Missing Attribute Configuration", "create_duration or destroy_duration must be set"));
  };
  auto sleep = [stop](const Value& v, const char* name, Diagnostics& d) {
    Duration duration{0};
    if (!v.get(name).is_string() || !parse_sleep(v.get(name).as_string(), duration)) return;
    if (stop.wait_for(duration)) d.push_back(error_diagnostic("Cancelled", "the wait was cut short"));
  };
  r.write = [sleep](const Value& planned, const Value& prior, Diagnostics& d) {
    if (prior.holds()) return planned;
    sleep(planned, "create_duration", d);
    if (has_errors(d)) return Value::null(planned.type());
    return planned.with("id", Value::string(format_rfc3339(Clock::real().wall())));
  };
  r.remove = [sleep](const Value& prior, Diagnostics& d) { sleep(prior, "destroy_duration", d); };
  return r;
}

}  // namespace

BuiltinProvider time_provider(StopToken stop) {
  BuiltinProvider p;
  p.version = "0.13.1";
  p.resources.emplace("time_static", time_static());
  p.resources.emplace("time_offset", time_offset());
  p.resources.emplace("time_rotating", time_rotating());
  p.resources.emplace("time_sleep", time_sleep(stop));
  return p;
}

}  // namespace engenho::magma
