#include "engenho/magma/command.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <mutex>

#include "command_text.h"
#include "config.h"
#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/magma/engine.h"

extern char** environ;

namespace engenho::magma {

Result<json::Value> read_configuration(const std::string& directory) { return read_config_directory(directory); }

namespace {

constexpr const char* kUsage =
    "engenho magma: plans and applies Terraform JSON (*.tf.json), without a cluster\n\n"
    "  validate                     checks the configuration\n"
    "  plan [-out FILE] [-destroy] [-refresh-only] [-refresh=false] [-target A]... [-replace A]... [-detailed-exitcode]\n"
    "  apply [PLANFILE | -auto-approve and the flags of plan] [-retry-interrupted A]...\n"
    "  destroy -auto-approve        the same as apply -destroy\n"
    "  refresh                      stores what the providers read\n"
    "  import ADDRESS ID\n"
    "  show [PLANFILE]              a saved plan, or the state\n"
    "  output [NAME]\n"
    "  state list | show ADDRESS | rm ADDRESS | mv FROM TO | pull\n"
    "  taint ADDRESS, untaint ADDRESS\n\n"
    "Everywhere: --chdir DIR (default .), -state FILE (default terraform.tfstate), -var NAME=VALUE, -var-file FILE.json, -json, -parallelism N,\n"
    "-plugin-dir DIR (also MAGMA_PROVIDER_DIR, .terraform/providers, terraform.d/plugins), -redact (no sensitive values in -json).\n"
    "terraform.tfvars.json, *.auto.tfvars.json and TF_VAR_name are read. Exit codes: 0 good, 1 failed, 2 wrong usage or changes with -detailed-exitcode.\n";

struct Flags {
  std::string directory = ".", state = "terraform.tfstate", out;
  std::vector<std::string> positional, targets, replace, retry, variables, variable_files, plugin_dirs;
  bool json = false, auto_approve = false, destroy = false, refresh_only = false, refresh = true, detailed = false, redact = false;
  int parallelism = 10;
};

Result<Flags> parse(const std::vector<std::string>& arguments) {
  Flags f;
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string a = arguments[i];
    if (a.size() < 2 || a[0] != '-') {
      f.positional.push_back(a);
      continue;
    }
    a = a.substr(a.starts_with("--") ? 2 : 1);
    const size_t equals = a.find('=');
    std::string name = a.substr(0, equals);
    std::string value = equals == std::string::npos ? "" : a.substr(equals + 1);
    const std::map<std::string, bool*> switches = {{"json", &f.json}, {"auto-approve", &f.auto_approve}, {"destroy", &f.destroy}, {"refresh-only", &f.refresh_only},
                                                   {"refresh", &f.refresh}, {"detailed-exitcode", &f.detailed}, {"redact", &f.redact}};
    if (auto at = switches.find(name); at != switches.end()) {
      if (equals != std::string::npos && value != "true" && value != "false") return err(bad_request("-" + name + " takes true or false"));
      *at->second = value != "false";
      continue;
    }
    // Accepted and without effect here: there is nothing to ask, colour or lock differently.
    static const std::set<std::string> kIgnored = {"input", "no-color", "lock", "compact-warnings", "force"};
    if (kIgnored.contains(name)) continue;
    const std::map<std::string, std::string*> texts = {{"chdir", &f.directory}, {"state", &f.state}, {"out", &f.out}};
    const std::map<std::string, std::vector<std::string>*> lists = {{"target", &f.targets}, {"replace", &f.replace}, {"var", &f.variables}, {"var-file", &f.variable_files},
                                                                    {"plugin-dir", &f.plugin_dirs}, {"retry-interrupted", &f.retry}};
    if (equals == std::string::npos) {
      if (!texts.contains(name) && !lists.contains(name) && name != "parallelism") {
        std::vector<std::string> names = {"parallelism"};
        for (const auto& [n, p] : switches) names.push_back(n);
        for (const auto& [n, p] : texts) names.push_back(n);
        for (const auto& [n, p] : lists) names.push_back(n);
        const std::string near = nearest(name, names);
        return err(bad_request("unknown flag -" + name + (near.empty() ? "" : "; did you mean -" + near + "?")));
      }
      if (i + 1 >= arguments.size()) return err(bad_request("-" + name + " needs a value"));
      value = arguments[++i];
    }
    int64_t n = 0;
    if (auto at = texts.find(name); at != texts.end()) *at->second = value;
    else if (auto list = lists.find(name); list != lists.end()) list->second->push_back(value);
    else if (name == "parallelism" && parse_int(value, n) && n >= 1 && n <= 256) f.parallelism = static_cast<int>(n);
    else return err(bad_request("-" + name + "=" + value + " is not understood"));
  }
  return f;
}

class Command {
 public:
  explicit Command(Flags flags) : f_(std::move(flags)) {}

  int run(const std::string& name) {
    EngineOptions options;
    options.parallelism = f_.parallelism;
    options.plugin_dirs = f_.plugin_dirs;
    if (const char* dir = std::getenv("MAGMA_PROVIDER_DIR")) options.plugin_dirs.emplace_back(dir);
    options.plugin_dirs.push_back(f_.directory + "/.terraform/providers");
    options.plugin_dirs.push_back(f_.directory + "/terraform.d/plugins");
    engine_ = std::make_unique<Engine>(options);
    std::error_code code;
    // Relative names in the configuration are meant from its directory, as with terraform -chdir.
    const std::string plan_file = !f_.positional.empty() && (name == "apply" || name == "show") ? std::filesystem::absolute(f_.positional[0], code).string() : "";
    const bool state_relative = !f_.state.starts_with("/");
    if (!f_.out.empty()) f_.out = std::filesystem::path(f_.out).is_absolute() ? f_.out : f_.directory + "/" + f_.out;
    if (!f_.out.empty()) f_.out = std::filesystem::absolute(f_.out, code).string();
    for (std::string& dir : options.plugin_dirs) dir = std::filesystem::absolute(dir, code).string();
    engine_ = std::make_unique<Engine>(options);
    std::string saved = plan_file;
    if (!saved.empty() && !path_exists(saved)) saved = std::filesystem::absolute(f_.directory + "/" + f_.positional[0], code).string();
    if (f_.directory != ".") {
      std::filesystem::current_path(f_.directory, code);
      if (code) return fail(bad_request("--chdir " + f_.directory + ": " + code.message()));
    }
    (void)state_relative;
    state_ = make_local_state(f_.state);
    catch_signals();
    if (name == "plan") return plan();
    if (name == "apply" || name == "destroy") {
      if (name == "destroy") f_.destroy = true;
      return saved.empty() ? apply_now() : apply_saved(saved);
    }
    if (name == "refresh") {
      f_.refresh_only = f_.auto_approve = true;
      return apply_now();
    }
    if (name == "validate") return validate();
    if (name == "import") return import();
    if (name == "show") return show(saved);
    if (name == "output") return output();
    if (name == "state") return state_command();
    if (name == "taint" || name == "untaint") {
      if (f_.positional.size() != 1) return usage(name + " ADDRESS");
      Status s = engine_->taint(*state_, f_.positional[0], name == "taint");
      if (!s.ok()) return fail(s);
      std::cout << "Resource instance " << f_.positional[0] << (name == "taint" ? " has been marked as tainted.\n" : " is no longer tainted.\n");
      return 0;
    }
    std::cerr << "engenho magma: unknown command \"" << name << "\"\n\n" << kUsage;
    return 2;
  }

 private:
  int usage(const std::string& text) {
    std::cerr << "usage: engenho magma " << text << "\n";
    return 2;
  }
  int fail(const Status& s) {
    for (std::string_view line : split(s.message(), '\n')) report(Message{true, "", std::string(line), ""});
    return 1;
  }
  void report(const Message& m) {
    std::lock_guard lock(mutex_);
    if (f_.json) std::cout << json::dump(diagnostic_event(m)) << std::endl;
    else (m.error ? std::cerr : std::cout) << m.to_string() << std::endl;
  }

  // The first interrupt asks for an end, the second takes it.
  void catch_signals() {
    static StopToken* token = nullptr;
    token = &stop_;
    static int pipe_fds[2];
    if (pipe(pipe_fds) != 0) return;
    auto handler = [](int) {
      if (write(pipe_fds[1], "x", 1) < 0) _exit(130);
    };
    std::signal(SIGINT, handler);
    std::signal(SIGTERM, handler);
    signals_.spawn("signal", [](StopToken stop) {
      stop.on_stop([] { (void)!write(pipe_fds[1], "q", 1); });
      int count = 0;
      char c;
      while (read(pipe_fds[0], &c, 1) == 1 && c != 'q') {
        if (++count == 2) _exit(130);
        std::cerr << "Interrupt: no new change is begun; a second one ends at once." << std::endl;
        token->request_stop();
      }
    });
  }

  Result<PlanRequest> request() {
    PlanRequest r;
    ENGENHO_ASSIGN(r.config, read_configuration("."));
    r.directory = ".";
    auto add_file = [&](const std::string& file) -> Status {
      ENGENHO_ASSIGN_OR_RETURN(const std::string text, read_file(file));
      auto parsed = json::parse(text);
      if (!parsed || !parsed->is_object()) return bad_request(file + ": must be a JSON object");
      for (const auto& [name, value] : parsed->as_object()) r.variables.set(name, value);
      return {};
    };
    std::vector<std::string> declared;
    const json::Value* block = r.config.get("variable");
    if (block != nullptr) {
      json::Array one = {*block};
      for (const json::Value& b : block->is_array() ? block->as_array() : one) {
        for (const auto& [name, v] : b.members()) declared.push_back(name);
      }
    }
    for (const std::string& name : declared) {
      if (const char* value = std::getenv(("TF_VAR_" + name).c_str())) r.variables.set(name, value);
    }
    if (path_exists("terraform.tfvars.json")) ENGENHO_TRY(add_file("terraform.tfvars.json"));
    std::vector<std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator(".")) {
      if (entry.path().filename().string().ends_with(".auto.tfvars.json")) files.push_back(entry.path().string());
    }
    std::sort(files.begin(), files.end());
    files.insert(files.end(), f_.variable_files.begin(), f_.variable_files.end());
    for (const std::string& file : files) ENGENHO_TRY(add_file(file));
    // A value in a file for a variable that is not declared is of no interest here; one on the command line is a mistake.
    for (auto it = r.variables.begin(); it != r.variables.end();) {
      it = std::find(declared.begin(), declared.end(), it->first) == declared.end() ? r.variables.erase(it) : std::next(it);
    }
    for (const std::string& v : f_.variables) {
      const size_t equals = v.find('=');
      if (equals == std::string::npos) return err(bad_request("-var takes NAME=VALUE"));
      r.variables.set(v.substr(0, equals), v.substr(equals + 1));
    }
    r.targets = f_.targets;
    r.replace = f_.replace;
    r.destroy = f_.destroy;
    r.refresh = f_.refresh;
    r.refresh_only = f_.refresh_only;
    return r;
  }

  ProgressSink sink() {
    return [this](const Progress& p) {
      std::lock_guard lock(mutex_);
      if (f_.json) std::cout << json::dump(progress_event(p)) << std::endl;
      else if (const std::string text = progress_text(p); !text.empty()) (p.kind == Progress::Kind::kFailed ? std::cerr : std::cout) << text << std::endl;
    };
  }

  Result<Plan> make_plan() {
    ENGENHO_ASSIGN(const PlanRequest r, request());
    auto made = engine_->plan(r, *state_, sink(), stop_);
    if (!made) return made;
    for (const Message& m : made->messages()) report(m);
    std::lock_guard lock(mutex_);
    if (f_.json) {
      for (const json::Value& event : plan_events(*made)) std::cout << json::dump(event) << "\n";
      std::cout << std::flush;
    } else {
      std::cout << plan_text(*made) << std::flush;
    }
    return made;
  }

  int plan() {
    if (!f_.positional.empty()) return usage("plan takes no arguments");
    auto made = make_plan();
    if (!made) return fail(made.error());
    if (!f_.out.empty()) {
      if (Status s = write_file_atomic(f_.out, made->serialize(), 0600); !s.ok()) return fail(s);
      if (!f_.json) std::cout << "\nSaved the plan to: " << f_.out << "\n";
    }
    return f_.detailed && (made->has_changes() || (f_.refresh_only && made->only_refresh())) ? 2 : 0;
  }

  int apply_plan(const Plan& plan) {
    ApplyOptions options;
    options.retry_interrupted = f_.retry;
    auto result = engine_->apply(plan, *state_, options, sink(), stop_);
    if (!result) return fail(result.error());
    for (const Message& m : result->messages) report(m);
    if (!result->unsaved_state.empty()) {
      // Nothing that exists is to be lost: the state that could not be stored goes beside it.
      if (Status s = write_file_atomic("errored.tfstate", result->unsaved_state, 0600); !s.ok()) return fail(s);
      report({true, "", "the state could not be stored; it is in errored.tfstate", ""});
    }
    std::lock_guard lock(mutex_);
    if (f_.json) {
      for (const json::Value& event : result_events(*result)) std::cout << json::dump(event) << "\n";
    } else {
      std::cout << result_text(*result);
    }
    std::cout << std::flush;
    return result->ok ? 0 : 1;
  }

  int apply_saved(const std::string& file) {
    auto bytes = read_file(file);
    if (!bytes) return fail(bytes.error());
    auto plan = Plan::parse(*bytes);
    if (!plan) return fail(plan.error());
    return apply_plan(*plan);
  }

  int apply_now() {
    if (!f_.auto_approve) {
      return fail(bad_request("nothing is applied without approval: give a saved plan (plan -out FILE, apply FILE), or -auto-approve"));
    }
    auto made = make_plan();
    if (!made) return fail(made.error());
    return apply_plan(*made);
  }

  int validate() {
    auto r = request();
    if (!r) return fail(r.error());
    Validation v = engine_->validate(*r, stop_);
    if (f_.json) {
      std::cout << json::dump_pretty(validation_document(v)) << "\n";
    } else {
      for (const Message& m : v.messages) report(m);
      if (v.ok()) std::cout << "Success! The configuration is valid.\n";
    }
    return v.ok() ? 0 : 1;
  }

  int import() {
    if (f_.positional.size() != 2) return usage("import ADDRESS ID");
    auto r = request();
    if (!r) return fail(r.error());
    Status s = engine_->import(*r, *state_, f_.positional[0], f_.positional[1], stop_);
    if (!s.ok()) return fail(s);
    std::cout << "Import successful: " << f_.positional[0] << " is now in the state.\n";
    return 0;
  }

  int show(const std::string& file) {
    if (!file.empty()) {
      auto bytes = read_file(file);
      if (!bytes) return fail(bytes.error());
      auto plan = Plan::parse(*bytes);
      if (!plan) return fail(plan.error());
      if (f_.json) std::cout << json::dump(plan->document(f_.redact)) << "\n";
      else std::cout << plan_text(*plan);
      return 0;
    }
    auto document = engine_->show_state(*state_, f_.redact || !f_.json);
    if (!document) return fail(document.error());
    if (f_.json) std::cout << json::dump(*document) << "\n";
    else std::cout << state_text(*document, "");
    return 0;
  }

  int output() {
    auto outputs = engine_->outputs(*state_);
    if (!outputs) return fail(outputs.error());
    if (!f_.positional.empty()) {
      const json::Value* o = outputs->find(f_.positional[0]);
      if (o == nullptr) return fail(not_found_error("the state has no output \"" + f_.positional[0] + "\""));
      std::cout << json::dump(*o->get("value")) << "\n";
      return 0;
    }
    if (f_.json) std::cout << json::dump_pretty(json::Value(*outputs)) << "\n";
    else std::cout << outputs_text(*outputs);
    return 0;
  }

  int state_command() {
    const auto& p = f_.positional;
    if (p.empty()) return usage("state list | show ADDRESS | rm ADDRESS | mv FROM TO | pull");
    if (p[0] == "list" && p.size() == 1) {
      auto names = engine_->list_state(*state_);
      if (!names) return fail(names.error());
      for (const std::string& name : *names) std::cout << name << "\n";
      return 0;
    }
    if (p[0] == "pull" && p.size() == 1) {
      auto document = state_->read();
      if (!document) return fail(document.error());
      std::cout << *document;
      return 0;
    }
    if (p[0] == "show" && p.size() == 2) {
      auto document = engine_->show_state(*state_, true);
      if (!document) return fail(document.error());
      const std::string text = state_text(*document, p[1]);
      if (text.empty()) return fail(not_found_error("no such resource instance in the state: " + p[1]));
      std::cout << text;
      return 0;
    }
    Status s;
    if (p[0] == "rm" && p.size() == 2) s = engine_->remove_from_state(*state_, p[1]);
    else if (p[0] == "mv" && p.size() == 3) s = engine_->move_in_state(*state_, p[1], p[2]);
    else return usage("state list | show ADDRESS | rm ADDRESS | mv FROM TO | pull");
    if (!s.ok()) return fail(s);
    std::cout << (p[0] == "rm" ? "Removed " + p[1] : "Moved " + p[1] + " to " + p[2]) << "\n";
    return 0;
  }

  Flags f_;
  StopToken stop_;
  std::mutex mutex_;   // one line at a time
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<StateStore> state_;
  TaskGroup signals_{"magma"};
};

}  // namespace

int magma_command(const std::vector<std::string>& arguments) {
  auto flags = parse(arguments);
  if (!flags) {
    std::cerr << "engenho magma: " << flags.error().message() << "\n";
    return 2;
  }
  if (flags->positional.empty()) {
    std::cout << kUsage;
    return 2;
  }
  const std::string name = flags->positional[0];
  flags->positional.erase(flags->positional.begin());
  return Command(std::move(*flags)).run(name);
}

}  // namespace engenho::magma
