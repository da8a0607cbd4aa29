#include "command_text.h"

#include <set>

#include "plan_data.h"

namespace engenho::magma {

namespace {

std::string seconds(Duration d) { return std::to_string(std::chrono::duration_cast<std::chrono::seconds>(d).count()) + "s"; }

const char* mark_of(Action a) {
  switch (a) {
    case Action::kCreate: return "  +";
    case Action::kUpdate: return "  ~";
    case Action::kDelete: return "  -";
    case Action::kDeleteThenCreate: return "-/+";
    case Action::kCreateThenDelete: return "+/-";
    case Action::kRead: return " <=";
    case Action::kForget: return "  .";
    default: return "   ";
  }
}

const char* says(Action a) {
  switch (a) {
    case Action::kCreate: return "will be created";
    case Action::kUpdate: return "will be updated in-place";
    case Action::kDelete: return "will be destroyed";
    case Action::kDeleteThenCreate: return "must be replaced";
    case Action::kCreateThenDelete: return "must be replaced (the new one is created first)";
    case Action::kRead: return "will be read during apply";
    case Action::kForget: return "will no longer be managed, and is not destroyed";
    default: return "";
  }
}

std::string shown(const Value& v) {
  if (v.sensitive()) return "(sensitive value)";
  if (!v.is_known()) return "(known after apply)";
  if (!v.is_wholly_known() || v.contains_sensitive()) {
    if (v.type().is_sequence()) {
      std::string out = "[";
      for (const Value& item : v.items()) out += (out.size() > 1 ? ", " : "") + shown(item);
      return out + "]";
    }
    std::string out = "{";
    for (const auto& [name, member] : v.members()) out += (out.size() > 1 ? ", " : "") + name + " = " + shown(member);
    return out + "}";
  }
  return json::dump(to_plain_json(v));
}

std::string attributes_text(const Change& c) {
  std::string out;
  const Value& shape = c.after.holds() ? c.after : c.before;
  if (!shape.holds()) return out;
  size_t unchanged = 0;
  std::set<std::string> forcing;
  for (const Path& p : c.replace_paths) {
    if (!p.empty()) {
      if (const auto* name = std::get_if<std::string>(&p[0].key)) forcing.insert(*name);
    }
  }
  for (const auto& [name, member] : shape.members()) {
    const Value& before = c.before.get(name);
    const Value& after = c.after.get(name);
    if (before.is_null() && after.is_null()) continue;
    const bool same = after.is_wholly_known() && before.unmarked_deep().equals(after.unmarked_deep());
    if (same) {
      ++unchanged;
      continue;
    }
    const bool empty_block = !c.before.holds() && after.holds() && after.type().is_sequence() && after.items().empty();
    if (empty_block) continue;
    const char* const sign = before.is_null() ? "+" : !c.after.holds() || after.is_null() ? "-" : "~";
    out += std::string("      ") + sign + " " + name + " = ";
    if (!before.is_null()) out += shown(before);
    if (!before.is_null() && c.after.holds()) out += " -> ";
    if (c.after.holds()) out += after.is_null() ? "null" : shown(after);
    if (forcing.contains(name)) out += "  # forces replacement";
    out += "\n";
  }
  if (unchanged > 0 && c.action != Action::kDelete) out += "        # (" + std::to_string(unchanged) + " unchanged attribute" + (unchanged == 1 ? "" : "s") + " hidden)\n";
  return out;
}

std::string counts_text(const Plan::Counts& n) {
  return (n.import > 0 ? std::to_string(n.import) + " to import, " : "") + std::to_string(n.add) + " to add, " + std::to_string(n.change) + " to change, " + std::to_string(n.destroy) + " to destroy" +
         (n.forget > 0 ? ", " + std::to_string(n.forget) + " to forget" : "");
}

json::Object event(const char* level, const std::string& message, const char* type) {
  json::Object out;
  out.set("@level", level);
  out.set("@message", message);
  out.set("@module", "engenho.magma");
  out.set("@timestamp", format_rfc3339_micro(Clock::real().wall()));
  out.set("type", type);
  return out;
}

json::Object resource_json(const InstanceAddress& address) {
  json::Object out;
  out.set("addr", address.to_string());
  out.set("module", "");
  out.set("resource", address.to_string());
  out.set("implied_provider", address.resource.type.substr(0, address.resource.type.find('_')));
  out.set("resource_type", address.resource.type);
  out.set("resource_name", address.resource.name);
  out.set("resource_key", nullptr);
  if (const auto* n = std::get_if<int64_t>(&address.key)) out.set("resource_key", *n);
  if (const auto* s = std::get_if<std::string>(&address.key)) out.set("resource_key", *s);
  return out;
}

}  // namespace

std::string plan_text(const Plan& plan) {
  const PlanData& data = plan.data();
  std::string out;
  if (!data.drift.empty()) {
    out += "\nObjects have changed outside of this engine:\n";
    for (const Change& c : data.drift) out += "\n  # " + c.address.to_string() + (c.action == Action::kDelete ? " has been deleted\n" : " has changed\n") + attributes_text(c);
  }
  if (!plan.has_changes()) {
    out += plan.only_refresh() ? "\nNo changes to make; the state is to take over what was read.\n" : "\nNo changes. Your infrastructure matches the configuration.\n";
    return out;
  }
  for (const Change& c : data.changes) {
    if (c.action == Action::kNoop && c.import_id.empty() && !c.previous) continue;
    out += "\n  # " + c.address.to_string() + (c.deposed.empty() ? "" : " (deposed object " + c.deposed + ")");
    if (c.previous) out += " (moved from " + c.previous->to_string() + ")";
    if (!c.import_id.empty()) out += " will be imported";
    if (c.action != Action::kNoop) out += std::string(" ") + says(c.action);
    if (!c.reason.empty()) out += " (" + c.reason + ")";
    out += "\n" + std::string(mark_of(c.action)) + " " + c.address.to_string() + "\n" + attributes_text(c);
  }
  if (!data.changes.empty()) out += "\nPlan: " + counts_text(plan.counts()) + ".\n";
  std::string outputs;
  for (const auto& [name, o] : data.outputs) {
    if (o.action == Action::kNoop) continue;
    outputs += std::string(mark_of(o.action)).substr(2) + " " + name + " = ";
    outputs = (o.action == Action::kCreate ? outputs : outputs + shown(o.before) + " -> ") + (o.action == Action::kDelete ? "null" : shown(o.after)) + "\n";
  }
  if (!outputs.empty()) out += "\nChanges to Outputs:\n" + outputs;
  return out;
}

std::string progress_text(const Progress& p) {
  const bool create = p.action == "create" || p.action == "replace";
  const std::string doing = create ? "Creating" : p.action == "delete" ? "Destroying" : p.action == "read" ? "Reading" : p.action == "forget" ? "Forgetting" : "Modifying";
  const std::string did = create ? "Creation" : p.action == "delete" ? "Destruction" : p.action == "read" ? "Read" : p.action == "forget" ? "Removal from the state" : "Modifications";
  switch (p.kind) {
    case Progress::Kind::kRefresh: return p.address + ": Refreshing...";
    case Progress::Kind::kStart: return p.address + ": " + doing + "...";
    case Progress::Kind::kDone: return p.address + ": " + did + " complete after " + seconds(p.elapsed);
    case Progress::Kind::kFailed: return p.address + ": " + did + " failed after " + seconds(p.elapsed);
    case Progress::Kind::kSkipped: return p.address + ": skipped: " + p.message;
  }
  return "";
}

std::string outputs_text(const json::Object& outputs) {
  std::string out;
  for (const auto& [name, o] : outputs) {
    out += name + " = " + (o.get("sensitive")->bool_or(false) ? "<sensitive>" : json::dump(*o.get("value"))) + "\n";
  }
  return out;
}

std::string result_text(const ApplyResult& result) {
  int added = 0, changed = 0, destroyed = 0;
  for (const Outcome& o : result.outcomes) {
    if (o.result != Outcome::Result::kDone) continue;
    added += o.action == "create" || o.action == "replace";
    changed += o.action == "update";
    destroyed += o.action == "delete" || o.action == "replace";
  }
  std::string out = result.ok ? "\nApply complete! " : "\nApply incomplete. ";
  out += "Resources: " + std::to_string(added) + " added, " + std::to_string(changed) + " changed, " + std::to_string(destroyed) + " destroyed.\n";
  if (!result.outputs.empty()) out += "\nOutputs:\n\n" + outputs_text(result.outputs);
  return out;
}

std::string state_text(const json::Value& document, const std::string& address) {
  std::string out;
  const json::Value* resources = document.at({"values", "root_module", "resources"});
  for (const json::Value& r : resources != nullptr ? resources->items() : json::Array()) {
    const std::string name(r.str_at({"address"}));
    if (!address.empty() && name != address) continue;
    out += "# " + name + ":" + (r.get("tainted") != nullptr ? " (tainted)" : "") + "\n";
    for (const auto& [attribute, v] : r.get("values")->members()) {
      const json::Value* hidden = r.at({"sensitive_values", attribute});
      if (v.is_null() && hidden == nullptr) continue;
      out += "    " + attribute + " = " + (hidden != nullptr && hidden->bool_or(false) ? "(sensitive value)" : json::dump(v)) + "\n";
    }
    out += "\n";
  }
  if (address.empty()) {
    if (const json::Value* outputs = document.at({"values", "outputs"})) out += "Outputs:\n\n" + outputs_text(outputs->members());
    if (out.empty()) out = "The state is empty.\n";
  }
  return out;
}

json::Value progress_event(const Progress& p) {
  const char* type = p.kind == Progress::Kind::kRefresh ? "refresh_start" : p.kind == Progress::Kind::kStart ? "apply_start" : p.kind == Progress::Kind::kDone ? "apply_complete" : "apply_errored";
  json::Object out = event(p.kind == Progress::Kind::kFailed ? "error" : "info", progress_text(p), type);
  json::Object hook;
  if (auto address = parse_instance_address(p.address)) hook.set("resource", resource_json(*address));
  else hook.set("resource", json::Object{{"addr", p.address}});
  hook.set("action", p.action);
  if (p.kind == Progress::Kind::kDone || p.kind == Progress::Kind::kFailed) hook.set("elapsed_seconds", std::chrono::duration_cast<std::chrono::seconds>(p.elapsed).count());
  if (p.kind == Progress::Kind::kSkipped) hook.set("skipped", p.message);
  out.set("hook", std::move(hook));
  return out;
}

json::Value diagnostic_event(const Message& m) {
  json::Object out = event(m.error ? "error" : "warn", m.to_string(), "diagnostic");
  json::Object d;
  d.set("severity", m.error ? "error" : "warning");
  d.set("summary", m.summary);
  d.set("detail", m.detail);
  if (!m.address.empty()) d.set("address", m.address);
  out.set("diagnostic", std::move(d));
  return out;
}

json::Array plan_events(const Plan& plan) {
  json::Array out;
  for (const auto* list : {&plan.data().drift, &plan.data().changes}) {
    const bool drift = list == &plan.data().drift;
    for (const Change& c : *list) {
      if (c.action == Action::kNoop) continue;
      json::Object e = event("info", c.address.to_string() + (drift ? ": Drift detected (" : ": Plan to ") + action_name(c.action) + (drift ? ")" : ""), drift ? "resource_drift" : "planned_change");
      json::Object change;
      change.set("resource", resource_json(c.address));
      change.set("action", action_name(c.action));
      if (!c.reason.empty()) change.set("reason", c.reason);
      e.set("change", std::move(change));
      out.push_back(std::move(e));
    }
  }
  const Plan::Counts n = plan.counts();
  json::Object summary = event("info", "Plan: " + counts_text(n) + ".", "change_summary");
  summary.set("changes", json::Object{{"add", n.add}, {"change", n.change}, {"import", n.import}, {"remove", n.destroy}, {"operation", "plan"}});
  out.push_back(std::move(summary));
  json::Object outputs;
  for (const auto& [name, o] : plan.data().outputs) {
    json::Object one;
    one.set("sensitive", o.sensitive);
    one.set("action", action_name(o.action));
    if (!o.sensitive && o.after.is_wholly_known() && o.action != Action::kDelete) one.set("value", to_plain_json(o.after));
    outputs.set(name, std::move(one));
  }
  if (!outputs.empty()) {
    json::Object e = event("info", "Outputs: " + std::to_string(outputs.size()), "outputs");
    e.set("outputs", std::move(outputs));
    out.push_back(std::move(e));
  }
  return out;
}

json::Array result_events(const ApplyResult& result) {
  json::Array out;
  int added = 0, changed = 0, destroyed = 0;
  json::Array outcomes;
  for (const Outcome& o : result.outcomes) {
    const bool done = o.result == Outcome::Result::kDone;
    added += done && (o.action == "create" || o.action == "replace");
    changed += done && o.action == "update";
    destroyed += done && (o.action == "delete" || o.action == "replace");
    static const char* const kResults[] = {"done", "failed", "skipped", "interrupted"};
    json::Object one;
    one.set("addr", o.address);
    one.set("action", o.action);
    one.set("result", kResults[static_cast<int>(o.result)]);
    if (o.earlier) one.set("earlier", true);
    if (!o.message.empty()) one.set("message", o.message);
    outcomes.push_back(std::move(one));
  }
  json::Object summary = event("info", result.ok ? "Apply complete!" : "Apply incomplete.", "change_summary");
  summary.set("changes", json::Object{{"add", added}, {"change", changed}, {"remove", destroyed}, {"import", 0}, {"operation", "apply"}});
  summary.set("outcomes", std::move(outcomes));
  out.push_back(std::move(summary));
  json::Object outputs;
  for (const auto& [name, o] : result.outputs) {
    json::Object one;
    one.set("sensitive", *o.get("sensitive"));
    one.set("type", *o.get("type"));
    if (!o.get("sensitive")->bool_or(false)) one.set("value", *o.get("value"));
    outputs.set(name, std::move(one));
  }
  json::Object e = event("info", "Outputs: " + std::to_string(outputs.size()), "outputs");
  e.set("outputs", std::move(outputs));
  out.push_back(std::move(e));
  return out;
}

json::Value validation_document(const Validation& v) {
  json::Array diagnostics;
  int errors = 0, warnings = 0;
  for (const Message& m : v.messages) {
    (m.error ? errors : warnings)++;
    diagnostics.push_back(json::Object{{"severity", m.error ? "error" : "warning"}, {"summary", m.address.empty() ? m.summary : m.address + ": " + m.summary}, {"detail", m.detail}});
  }
  return json::Object{{"format_version", "1.0"}, {"valid", v.ok()}, {"error_count", errors}, {"warning_count", warnings}, {"diagnostics", std::move(diagnostics)}};
}

}  // namespace engenho::magma
