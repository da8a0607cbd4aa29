#include "engenho/pangea/cli.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "cli_support.h"
#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/pangea/cluster_state.h"
#include "engenho/pangea/policy.h"
#include "engenho/pangea/receipt.h"

namespace engenho::pangea {

namespace {

using namespace cli;
using json::Value;
using Arguments = std::vector<std::string>;
using Template = pangea_v1::InfrastructureTemplate;

const char* yes_no(bool b) { return b ? "yes" : "no"; }

std::string path_of_template(const std::string& ns, const std::string& name, const std::string& sub = "") {
  return client::path_of(client::resource_of<Template>(), ns, name, sub);
}

// --- list and get, one for each kind ---

template <typename T>
using Row = std::vector<std::string> (*)(const T&);

template <typename T>
int list_or_get(const std::string& word, const Arguments& arguments, const std::vector<std::string>& head, Row<T> row) {
  constexpr bool kNamespaced = T::kNamespaced;
  const Usage usage{word + " list|get" + (kNamespaced ? " [NAMESPACE/]" : " ") + "[NAME]", kNamespaced ? std::map<std::string, std::string>{{"--phase", "PHASE: those in it"}} : std::map<std::string, std::string>{},
                    kNamespaced ? std::map<std::string, std::string>{{"--all-namespaces", "of all namespaces"}} : std::map<std::string, std::string>{}, 1, 2};
  return run_command(usage, arguments, [&](const Invocation& call, Connection& connection) -> Status {
    const std::string& verb = call.arguments[0];
    if (verb != "list" && verb != "get") return bad_request(word + ": unknown command \"" + verb + "\"; expected list or get");
    if (verb == "get") {
      if (call.arguments.size() != 2) return bad_request("expected: engenho pangea " + word + " get NAME");
      std::string ns, name = call.arguments[1];
      if (kNamespaced) split_reference(call.arguments[1], connection, ns, name);
      ENGENHO_ASSIGN_OR_RETURN(const Value object, connection.client->get_raw(client::resource_of<T>(), ns, name));
      ENGENHO_ASSIGN_OR_RETURN(const bool printed, print_document(call, object));
      if (printed) return {};
      ENGENHO_ASSIGN_OR_RETURN(const T typed, k8s::from_json<T>(object));
      print_table(head, {row(typed)});
      return {};
    }
    client::ListOptions options;
    if (kNamespaced && !call.has("--all-namespaces")) options.namespace_name = connection.namespace_name;
    ENGENHO_ASSIGN_OR_RETURN(client::RawList list, connection.client->list_raw(client::resource_of<T>(), options));
    if (call.has("--phase")) {
      std::erase_if(list.items, [&](const Value& v) { return v.str_at({"status", "phase"}) != call.get("--phase"); });
    }
    ENGENHO_ASSIGN_OR_RETURN(const bool printed, print_document(call, Value(json::Object{{"items", json::Array(list.items.begin(), list.items.end())}})));
    if (printed) return {};
    std::vector<std::vector<std::string>> rows;
    for (const Value& item : list.items) {
      ENGENHO_ASSIGN_OR_RETURN(const T typed, k8s::from_json<T>(item));
      rows.push_back(row(typed));
    }
    print_table(head, rows);
    return {};
  });
}

int template_command(const Arguments& a) {
  return list_or_get<Template>("template", a, {"NAMESPACE", "NAME", "PHASE", "PLAN", "RESOURCES", "CYCLE", "SUSPENDED"}, [](const Template& t) -> std::vector<std::string> {
    return {t.metadata.namespace_, t.metadata.name, t.status.phase.empty() ? "Pending" : t.status.phase, t.status.plan_summary, std::to_string(t.status.resources ? t.status.resources->total : 0),
            std::to_string(t.status.cycle_count), yes_no(t.spec.suspend || t.status.auto_suspended)};
  });
}
int gem_command(const Arguments& a) {
  return list_or_get<pangea_v1::ArchitectureGem>("gem", a, {"NAME", "PHASE", "VERSION", "COMMIT", "SMOKE"}, [](const pangea_v1::ArchitectureGem& g) -> std::vector<std::string> {
    return {g.metadata.name, g.status.phase.empty() ? "Pending" : g.status.phase, g.status.observed_version, g.status.observed_commit.substr(0, 12), g.status.smoke_status};
  });
}
int catalog_command(const Arguments& a) {
  return list_or_get<pangea_v1::WorkspaceCatalog>("catalog", a, {"NAME", "VERIFIED", "TEMPLATES", "GEMS"}, [](const pangea_v1::WorkspaceCatalog& c) -> std::vector<std::string> {
    return {c.metadata.name, yes_no(c.status.verified), std::to_string(c.status.template_count), join(c.spec.required_gems, ",")};
  });
}
int namespace_command(const Arguments& a) {
  return list_or_get<pangea_v1::PangeaNamespace>("namespace", a, {"NAME", "BACKEND", "READY", "TEMPLATES", "ERROR"}, [](const pangea_v1::PangeaNamespace& n) -> std::vector<std::string> {
    return {n.metadata.name, n.spec.backend.type, yes_no(n.status.backend_ready), std::to_string(n.status.template_count), n.status.error};
  });
}

// --- one template ---

int with_template(const Usage& usage, const Arguments& arguments, const std::function<Status(const Invocation&, Connection&, const Template&)>& body) {
  return run_command(usage, arguments, [&](const Invocation& call, Connection& connection) -> Status {
    std::string ns, name;
    split_reference(call.arguments[0], connection, ns, name);
    ENGENHO_ASSIGN_OR_RETURN(const Template object, connection.client->get<Template>(ns, name));
    return body(call, connection, object);
  });
}

std::string reference(const Template& t) { return t.metadata.namespace_ + "/" + t.metadata.name; }

int plan_command(const Arguments& arguments) {
  return with_template({"plan [NAMESPACE/]NAME", {}, {}, 1, 1}, arguments, [](const Invocation& call, Connection& c, const Template& t) -> Status {
    ENGENHO_ASSIGN_OR_RETURN(const Value kept, c.client->request("GET", path_of_template(t.metadata.namespace_, t.metadata.name, "plan")));
    ENGENHO_ASSIGN_OR_RETURN(const bool printed, print_document(call, kept));
    if (printed) return {};
    std::cout << readable_diff(*kept.get("plan"), isatty(STDOUT_FILENO) != 0) << "\n" << t.status.plan_summary << "   plan " << kept.str_at({"planHash"}) << "\n";
    if (!t.status.pending_plan_hash.empty()) std::cout << "waits for an approval: engenho pangea approve " << reference(t) << " --plan " << t.status.pending_plan_hash << "\n";
    return {};
  });
}

int explain_command(const Arguments& arguments) {
  return with_template({"explain [NAMESPACE/]NAME", {}, {}, 1, 1}, arguments, [](const Invocation& call, Connection&, const Template& t) -> Status {
    if (!t.status.effective_policy) return not_found_error(reference(t) + " has not been looked at yet");
    const auto& p = *t.status.effective_policy;
    ENGENHO_ASSIGN_OR_RETURN(const bool printed, print_document(call, k8s::to_json(p)));
    if (printed) return {};
    std::vector<std::vector<std::string>> rows;
    auto add = [&](const char* field, const auto& e, const std::string& value) {
      if (e) rows.push_back({field, value, e->level, e->from});
    };
    auto text = [](const auto& e) { return e ? e->value : std::string(); };
    add("driftReaction", p.drift_reaction, text(p.drift_reaction));
    add("destroyProtection", p.destroy_protection, p.destroy_protection && p.destroy_protection->enabled ? "on" : "off");
    add("reconcileInterval", p.reconcile_interval, text(p.reconcile_interval));
    add("settlingPolicy", p.settling_policy, p.settling_policy ? std::to_string(p.settling_policy->max_consecutive_drift_cycles) + " cycles, then " + p.settling_policy->on_exhaustion : "");
    add("approvalRouting", p.approval_routing, text(p.approval_routing));
    add("failureEscalation", p.failure_escalation, text(p.failure_escalation));
    add("phaseTimeout", p.phase_timeout, text(p.phase_timeout));
    add("verifiedBlocked", p.verified_blocked, text(p.verified_blocked));
    print_table({"FIELD", "VALUE", "LEVEL", "FROM"}, rows);
    if (t.status.drift_details.empty()) return {};
    std::cout << "\n";
    rows.clear();
    for (const auto& d : t.status.drift_details) rows.push_back({d.address, d.action, d.risk, d.policy_decision, d.matched_policy, d.level});
    print_table({"ADDRESS", "ACTION", "RISK", "DECISION", "RULE", "LEVEL"}, rows);
    return {};
  });
}

Result<Value> post(Connection& c, const Template& t, const std::string& sub, const Value& body = json::Object()) {
  return c.client->request("POST", path_of_template(t.metadata.namespace_, t.metadata.name, sub), "application/json", json::dump(body));
}

Status approve_pending(Connection& c, const Template& t, const std::string& hash, const std::string& reason, const std::string& expires) {
  Value body = json::Object();
  body["planHash"] = hash;
  if (!reason.empty()) body["reason"] = reason;
  if (!expires.empty()) body["expiresIn"] = expires;
  auto approved = post(c, t, "approve", body);
  if (!approved) return approved.error();
  std::cout << reference(t) << ": the plan " << hash << " is approved\n";
  return {};
}

int approve_command(const Arguments& arguments) {
  return with_template({"approve [NAMESPACE/]NAME [--plan HASH]",
                        {{"--plan", "HASH: of the plan that was looked at; without it, the one that waits now"}, {"--reason", "TEXT"}, {"--expires-in", "TIME: such as 1h"}}, {}, 1, 1},
                       arguments, [](const Invocation& call, Connection& c, const Template& t) -> Status {
                         const std::string hash = call.get("--plan", t.status.pending_plan_hash);
                         if (hash.empty()) return not_found_error(reference(t) + ": no plan waits for an approval");
                         return approve_pending(c, t, hash, call.get("--reason"), call.get("--expires-in"));
                       });
}

int apply_command(const Arguments& arguments) {
  return with_template({"apply [NAMESPACE/]NAME", {}, {{"--approve", "approves the plan that waits"}}, 1, 1}, arguments, [](const Invocation& call, Connection& c, const Template& t) -> Status {
    if (call.has("--approve") && !t.status.pending_plan_hash.empty()) return approve_pending(c, t, t.status.pending_plan_hash, "", "");
    auto asked = post(c, t, "reconcile");
    if (!asked) return asked.error();
    std::cout << reference(t) << ": is looked at now\n";
    return {};
  });
}

int unlock_command(const Arguments& arguments) {
  return with_template({"unlock [NAMESPACE/]NAME", {}, {}, 1, 1}, arguments, [](const Invocation&, Connection& c, const Template& t) -> Status {
    auto asked = post(c, t, "unlock");
    if (!asked) return asked.error();
    std::cout << reference(t) << ": a lock that nobody keeps alive is given up; its Events tell\n";
    return {};
  });
}

int set_suspend(const char* word, bool value, const Arguments& arguments) {
  return with_template({std::string(word) + " [NAMESPACE/]NAME", {}, {}, 1, 1}, arguments, [&](const Invocation&, Connection& c, const Template& t) -> Status {
    Value patch = json::Object();
    patch["spec"]["suspend"] = value;
    auto written = c.client->patch_raw(client::resource_of<Template>(), t.metadata.namespace_, t.metadata.name, client::PatchType::kMerge, json::dump(patch));
    if (!written) return written.error();
    std::cout << reference(t) << ": " << (value ? "suspended" : "resumed") << "\n";
    return {};
  });
}
int suspend_command(const Arguments& a) { return set_suspend("suspend", true, a); }
int resume_command(const Arguments& a) { return set_suspend("resume", false, a); }

int destroy_command(const Arguments& arguments) {
  return with_template({"destroy [NAMESPACE/]NAME --yes --reason TEXT", {{"--reason", "TEXT: why; it stands in the authorization and the receipt"}}, {{"--yes", "really"}}, 1, 1}, arguments,
                       [](const Invocation& call, Connection& c, const Template& t) -> Status {
                         const int total = t.status.resources ? t.status.resources->total : 0;
                         if (!call.has("--yes") || call.get("--reason").empty()) {
                           return bad_request("this destroys " + reference(t) + " and its " + std::to_string(total) + " resources; say --yes and --reason TEXT if that is meant");
                         }
                         const WallTime now = Clock::real().wall();
                         Value patch = json::Object();
                         Value& policy = patch["spec"]["policy"];
                         policy["destroyProtection"] = false;
                         policy["destroyAuthorization"] = json::Object{{"authorizedBy", c.user}, {"reason", call.get("--reason")}, {"template", t.metadata.name},
                                                                       {"expiresAt", format_rfc3339(now + std::chrono::hours(1))}};
                         auto written = c.client->patch_raw(client::resource_of<Template>(), t.metadata.namespace_, t.metadata.name, client::PatchType::kMerge, json::dump(patch));
                         if (!written) return written.error();
                         ENGENHO_RETURN_IF_ERROR(c.client->remove<Template>(t.metadata.namespace_, t.metadata.name));
                         std::cout << reference(t) << ": is being destroyed; the authorization lasts an hour\n";
                         return {};
                       });
}

int import_command(const Arguments& arguments) {
  return with_template({"import [NAMESPACE/]NAME ADDRESS ID | import [NAMESPACE/]NAME --state FILE", {{"--state", "FILE: a state of Terraform, which becomes this template's"}}, {}, 1, 3}, arguments,
                       [](const Invocation& call, Connection& c, const Template& t) -> Status {
                         if (call.has("--state")) {
                           if (call.arguments.size() != 1) return bad_request("expected: engenho pangea import [NAMESPACE/]NAME --state FILE");
                           ENGENHO_ASSIGN_OR_RETURN(const std::string document, read_file(call.get("--state")));
                           const std::string path = client::path_of(client::resource_of<pangea_v1::PangeaNamespace>(), "", t.spec.pangea_namespace, "state") + "/" + t.metadata.namespace_ + "/" + t.metadata.name;
                           auto stored = c.client->request("POST", path, "application/json", document);
                           if (!stored) return stored.error();
                           std::cout << reference(t) << ": the state is stored\n";
                           auto asked = post(c, t, "reconcile");
                           return asked ? Status() : asked.error();
                         }
                         if (call.arguments.size() != 3) return bad_request("expected: engenho pangea import [NAMESPACE/]NAME ADDRESS ID");
                         Value patch = json::Object();
                         patch["spec"]["importHints"][call.arguments[1]] = call.arguments[2];
                         auto written = c.client->patch_raw(client::resource_of<Template>(), t.metadata.namespace_, t.metadata.name, client::PatchType::kMerge, json::dump(patch));
                         if (!written) return written.error();
                         std::cout << reference(t) << ": " << call.arguments[1] << " is adopted as " << call.arguments[2] << " with the next plan\n";
                         return {};
                       });
}

int state_command(const Arguments& arguments) {
  return with_template({"state [NAMESPACE/]NAME [--rollback VERSION]", {{"--rollback", "VERSION: makes an earlier state the newest"}}, {{"--show", "the document; it holds secrets"}}, 1, 1}, arguments,
                       [](const Invocation& call, Connection& c, const Template& t) -> Status {
                         ClusterState state(c.client, {t.spec.pangea_namespace, t.metadata.namespace_, t.metadata.name});
                         if (call.has("--rollback")) {
                           int64_t version = 0;
                           if (!parse_int(call.get("--rollback"), version)) return bad_request("--rollback: invalid value \"" + call.get("--rollback") + "\": expected a number of the list");
                           ENGENHO_RETURN_IF_ERROR(state.rollback(version, c.user));
                           std::cout << reference(t) << ": the state is that of version " << version << " again\n";
                           return {};
                         }
                         if (call.has("--show")) {
                           ENGENHO_ASSIGN_OR_RETURN(const std::string document, state.read());
                           std::cout << document << "\n";
                           return {};
                         }
                         ENGENHO_ASSIGN_OR_RETURN(const std::vector<StateVersion> versions, state.versions());
                         std::vector<std::vector<std::string>> rows;
                         for (const StateVersion& v : versions) {
                           rows.push_back({std::to_string(v.version), std::to_string(v.serial), format_rfc3339(v.time), std::to_string(v.size), v.current ? "now" : ""});
                         }
                         print_table({"VERSION", "SERIAL", "TIME", "BYTES", ""}, rows);
                         return {};
                       });
}

int receipts_command(const Arguments& arguments) {
  return with_template({"receipts [NAMESPACE/]NAME", {}, {}, 1, 1}, arguments, [](const Invocation& call, Connection& c, const Template& t) -> Status {
    ENGENHO_ASSIGN_OR_RETURN(const std::vector<Value> all, ReceiptStore(c.client).list(t.metadata.namespace_, t.metadata.name));
    ENGENHO_ASSIGN_OR_RETURN(const bool printed, print_document(call, Value(json::Object{{"items", json::Array(all.begin(), all.end())}})));
    if (printed) return {};
    std::vector<std::vector<std::string>> rows;
    for (const Value& r : all) {
      const Value* cycle = r.at({"spec", "cycle"});
      rows.push_back({cycle == nullptr ? "" : json::dump(*cycle), std::string(r.str_at({"spec", "outcome"})), std::string(r.str_at({"spec", "planSummary"})),
                      std::string(r.str_at({"spec", "approval", "approver"})), std::string(r.str_at({"spec", "completedAt"})), std::string(r.str_at({"spec", "digest"})).substr(0, 16)});
    }
    print_table({"CYCLE", "OUTCOME", "PLAN", "APPROVER", "COMPLETED", "DIGEST"}, rows);
    return {};
  });
}

int verify_command(const Arguments& arguments) {
  return with_template({"verify [NAMESPACE/]NAME", {}, {}, 1, 1}, arguments, [](const Invocation&, Connection& c, const Template& t) -> Status {
    ENGENHO_ASSIGN_OR_RETURN(const ChainReport report, ReceiptStore(c.client).verify(t.metadata.namespace_, t.metadata.name, t.status.last_receipt_digest));
    for (const ReceiptProblem& p : report.problems) std::cout << p.name << " (cycle " << p.cycle << "): " << p.why << "\n";
    if (!report.ok()) return bad_request(std::to_string(report.problems.size()) + " of the chain's receipts are not what was signed");
    std::cout << report.checked << " receipts, each signed and in its place" << (report.from_genesis ? ", from the first on" : "; older ones were retired") << "\n";
    return {};
  });
}

}  // namespace

const std::vector<CliCommand>& cli_commands() {
  static const std::vector<CliCommand> commands = {
      {"template", template_command, "lists or shows templates"},
      {"gem", gem_command, "lists or shows gems"},
      {"catalog", catalog_command, "lists or shows workspaces"},
      {"namespace", namespace_command, "lists or shows PangeaNamespaces"},
      {"plan", plan_command, "the plan that waits or was refused, as a diff"},
      {"explain", explain_command, "which policy holds, and which level each field is from"},
      {"approve", approve_command, "approves the plan that waits"},
      {"apply", apply_command, "looks now instead of at the next interval"},
      {"suspend", suspend_command, "leaves a template alone"},
      {"resume", resume_command, "the opposite"},
      {"unlock", unlock_command, "gives up a state lock that nobody keeps alive"},
      {"destroy", destroy_command, "destroys what a template made, and the template"},
      {"import", import_command, "adopts what exists, or a whole state"},
      {"state", state_command, "the versions of a template's state in the cluster, and going back to one"},
      {"receipts", receipts_command, "the signed records of a template's cycles"},
      {"verify", verify_command, "walks the chain of receipts"},
  };
  return commands;
}

}  // namespace engenho::pangea
