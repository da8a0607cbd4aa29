#include "tofu_output.h"

#include <algorithm>

#include "engenho/base/bytes.h"

namespace engenho::pangea {

std::string plain_error(std::string_view text, const Redactor& redactor) {
  std::string out;
  for (std::string_view line : split(text, '\n')) {
    for (const char* frame : {"╷", "│", "╵"}) {
      if (line.starts_with(frame)) line.remove_prefix(std::string_view(frame).size());
    }
    line = trim(line);
    if (line.empty()) continue;
    if (!out.empty()) out += out.ends_with(".") || out.ends_with(":") ? " " : line.starts_with("Error:") ? "\n" : " ";
    out += line;
  }
  return redactor.text(out);
}

void TofuOutput::line(std::string_view text) {
  auto parsed = json::parse(text);
  if (!parsed || !parsed->is_object()) {
    if (other_.size() < 65536 && !trim(text).empty()) other_ += std::string(text) + "\n";
    return;
  }
  const json::Value& v = *parsed;
  const std::string_view type = v.str_at({"type"});
  if (type == "diagnostic") {
    const json::Value* d = v.get("diagnostic");
    if (d == nullptr) return;
    Diagnostic out;
    out.error = d->str_at({"severity"}) == "error";
    out.address = d->str_at({"address"});
    // Not its snippet: it quotes the configuration and values.
    out.text = d->str_at({"summary"});
    const std::string detail(trim(d->str_at({"detail"})));
    if (!detail.empty() && detail != out.text) out.text += ": " + detail;
    out.text = plain_error(out.text, redactor_);
    diagnostics_.push_back(std::move(out));
    return;
  }
  const std::string address(v.str_at({"hook", "resource", "addr"}));
  if (address.empty()) return;
  const std::string action(v.str_at({"hook", "action"}));
  const WallTime when = parse_rfc3339(v.str_at({"@timestamp"})).value_or(Clock::real().wall());
  Fate& fate = fates_[address];
  const auto tell = [&](Step step, const std::string& message = "") {
    if (run_.progress) run_.progress({step, address, action.empty() ? "read" : action, message, fate.elapsed});
  };
  if (type == "refresh_complete") {
    tell(Step::kRefresh);
  } else if (type == "apply_start" || type == "provision_start") {
    if (type == "apply_start") ++fate.begun[action];
    if (fate.started == WallTime{}) fate.started = when;
    begun_ = begun_ || action != "read";
    tell(Step::kStart);
  } else if (type == "apply_complete") {
    ++fate.done[action];
    fate.elapsed = when - fate.started;
    tell(Step::kDone);
  } else if (type == "apply_errored") {
    ++fate.failed[action];
    fate.elapsed = when - fate.started;
    fate.message = redactor_.text(v.str_at({"@message"}));
    tell(Step::kFailed, fate.message);
  }
}

std::vector<std::string> TofuOutput::errors() const {
  std::vector<std::string> out;
  for (const Diagnostic& d : diagnostics_) {
    if (d.error) out.push_back((d.address.empty() ? "" : d.address + ": ") + d.text);
  }
  if (out.empty() && !other_.empty()) out.push_back(plain_error(other_, redactor_));
  return out;
}

std::vector<std::string> TofuOutput::warnings() const {
  std::vector<std::string> out;
  for (const Diagnostic& d : diagnostics_) {
    if (!d.error) out.push_back((d.address.empty() ? "" : d.address + ": ") + d.text);
  }
  return out;
}

std::vector<Outcome> TofuOutput::outcomes(const PlanModel& model, bool good) const {
  std::vector<Outcome> out;
  for (const Change& change : model.changes) {
    Outcome o;
    o.address = change.address + (change.deposed.empty() ? "" : " (deposed object " + change.deposed + ")");
    o.action = change.action;
    const auto at = fates_.find(change.address);
    static const Fate kNone;
    const Fate& fate = at == fates_.end() ? kNone : at->second;
    o.started = fate.started;
    o.elapsed = fate.elapsed;
    const std::vector<std::string> parts = change.action == "replace" ? std::vector<std::string>{"create", "delete"} : std::vector<std::string>{change.action};
    const auto count = [&](const std::map<std::string, int>& of) {
      return std::count_if(parts.begin(), parts.end(), [&](const std::string& p) { return of.contains(p); });
    };
    if (count(fate.failed) > 0) {
      o.result = Outcome::Result::kFailed;
      for (const Diagnostic& d : diagnostics_) {
        if (!d.error || (d.address != change.address && !(d.address.empty() && d.text.find(change.address) != std::string::npos))) continue;
        o.message += (o.message.empty() ? "" : "\n") + d.text;
      }
      if (o.message.empty()) o.message = fate.message;
    } else if (good || count(fate.done) == static_cast<long>(parts.size())) {
      o.result = Outcome::Result::kDone;  // what has no step of its own (forget, import) is done with the whole
    } else if (count(fate.begun) > 0) {
      o.result = Outcome::Result::kInterrupted;
      o.message = "the program ended while this was under way";
    } else {
      o.result = Outcome::Result::kSkipped;
      o.message = "not begun: the apply ended before";
    }
    out.push_back(std::move(o));
  }
  return out;
}

}  // namespace engenho::pangea
