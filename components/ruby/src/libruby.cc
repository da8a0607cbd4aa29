#include "libruby.h"

#include <dirent.h>
#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "engenho/base/bytes.h"

namespace engenho::ruby {

namespace {

const std::vector<std::string> kSystemDirectories = {
    "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/local/lib", "/usr/lib64", "/usr/lib",
};

// "libruby-3.1.so.3.1" (Debian) or "libruby.so.3.1" (built by hand): {3, 1}.
bool version_of(std::string_view file, std::pair<int64_t, int64_t>& version) {
  if (!file.starts_with("libruby")) return false;
  const size_t so = file.find(".so.");
  if (so == std::string_view::npos) return false;
  const auto parts = split(file.substr(so + 4), '.');
  return parts.size() == 2 && parse_int(parts[0], version.first) && parse_int(parts[1], version.second) && version >= std::pair<int64_t, int64_t>{3, 1} &&
         version.first == 3;
}

}  // namespace

std::vector<std::string> Libruby::find(const std::vector<std::string>& directories) {
  std::vector<std::pair<std::pair<int64_t, int64_t>, std::string>> found;
  for (const std::string& directory : directories.empty() ? kSystemDirectories : directories) {
    DIR* dir = opendir(directory.c_str());
    if (dir == nullptr) continue;
    while (const dirent* entry = readdir(dir)) {
      std::pair<int64_t, int64_t> version;
      if (version_of(entry->d_name, version)) found.push_back({version, directory + "/" + entry->d_name});
    }
    closedir(dir);
  }
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<std::string> paths;
  for (auto& [version, path] : found) paths.push_back(std::move(path));
  return paths;
}

Status Libruby::open(const std::string& path) {
  library_ = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);  // global: Ruby's own extensions want its symbols
  if (library_ == nullptr) return unavailable(path + ": " + dlerror());
  std::string missing;
  auto load = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library_, name));
    if (function == nullptr) missing += std::string(missing.empty() ? "" : ", ") + name;
  };
  load(setup_, "ruby_setup");
  load(sysinit_, "ruby_sysinit");
  load(init_stack_, "ruby_init_stack");
  load(options_, "ruby_options");
  load(executable_, "ruby_executable_node");
  load(execute_, "ruby_exec_node");
  load(eval_, "rb_eval_string_protect");
  load(new_string_, "rb_utf8_str_new");
  load(set_global_, "rb_gv_set");
  load(c_string_, "rb_string_value_cstr");
  load(number_, "rb_num2long");
  load(after_fork_, "rb_thread_atfork");
  load(error_, "rb_errinfo");
  load(set_error_, "rb_set_errinfo");
  const auto* version = static_cast<const char*>(dlsym(library_, "ruby_version"));
  fork_starts_thread_ = version != nullptr && std::string_view(version) >= "3.3";
  has_syntax_suggest_ = version != nullptr && std::string_view(version) >= "3.2";
  return missing.empty() ? Status() : unavailable(path + " has no " + missing);
}

Status Libruby::start(void* stack, const std::vector<std::string>& load_path) {
  static char name[] = "pangea", old[] = "--disable=gems,did_you_mean,error_highlight,rubyopt",
              disable[] = "--disable=gems,did_you_mean,error_highlight,rubyopt,syntax_suggest", utf8[] = "--encoding=UTF-8:UTF-8", option[] = "-e",
              script[] = ";";
  static char* arguments[] = {name, has_syntax_suggest_ ? disable : old, utf8, option, script, nullptr};
  int count = 5;
  char** vector = arguments;
  sysinit_(&count, &vector);
  init_stack_(stack);
  if (setup_() != 0) return unavailable("the Ruby interpreter does not start");
  void* node = options_(count, vector);
  int status = 0;
  if (executable_(node, &status) == 0) return unavailable("the Ruby interpreter does not start (status " + std::to_string(status) + ")");
  if (execute_(node) != 0) return unavailable("the Ruby interpreter does not start");
  for (const std::string& directory : load_path) {
    auto done = evaluate(("$LOAD_PATH.push('" + directory + "').size.to_s").c_str());
    if (!done) return done.error();
  }
  return {};
}

Result<std::string> Libruby::evaluate(const char* expression, const std::string* request) {
  if (request != nullptr) set_global_("$engenho_request", new_string_(request->data(), static_cast<long>(request->size())));
  int state = 0;
  volatile Value value = eval_(expression, &state);
  if (state != 0) {
    set_global_("$engenho_error", error_());
    int inner = 0;
    volatile Value text = eval_("\"#{$engenho_error.class}: #{$engenho_error.message} #{($engenho_error.backtrace || []).first(3).join(' ')}\"", &inner);
    return err(internal_error(inner == 0 ? c_string_(&text) : "an exception without a message"));
  }
  return std::string(c_string_(&value));
}

pid_t Libruby::fork() {
  if (fork_starts_thread_) return ::fork();
  int state = 0;
  const Value value = eval_("::Process.fork || 0", &state);
  return state == 0 ? static_cast<pid_t>(number_(value)) : -1;
}

void Libruby::after_fork() {
  if (fork_starts_thread_) after_fork_();
}

}  // namespace engenho::ruby
