#include "engenho/pangea/source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "engenho/base/bytes.h"
#include "engenho/base/fs.h"
#include "engenho/base/process.h"
#include "engenho/base/random.h"
#include "redactor.h"

namespace engenho::pangea {

namespace fs = std::filesystem;

namespace {

constexpr const char* kScratch = ".tmp-";

Status unauthorized(std::string message) {
  return Status(401, reason::kUnauthorized, std::move(message));
}

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

struct Url {
  std::string text, protocol, origin;  // origin: scheme and authority, of https
};

Result<Url> check_url(const std::string& given, const SourceOptions& options) {
  auto bad = [&](const std::string& why) { return err(bad_request("git source " + why)); };
  if (given.empty()) return bad("has no URL");
  if (given.size() > 2000 || has_control(given) || given.find_first_of(" \"'\\`") != std::string::npos) return bad("URL holds characters that no URL has");
  Url out;
  out.text = given[0] == '/' ? "file://" + given : given;
  const size_t colon = out.text.find("://");
  if (colon == std::string::npos || out.text.find("::") < colon)
    return bad("\"" + given + "\" is neither a URL with :// nor an absolute path; ssh and remote helpers are not allowed");
  out.protocol = to_lower(out.text.substr(0, colon));
  if (std::find(options.protocols.begin(), options.protocols.end(), out.protocol) == options.protocols.end()) {
    return bad("protocol \"" + out.protocol + "\" is not allowed; allowed are " + join(options.protocols, ", "));
  }
  std::string rest = out.text.substr(colon + 3);
  if (out.protocol == "file") {
    if (rest.empty() || rest[0] != '/') return bad("file URL must hold an absolute path");
    const fs::path path = fs::path(rest).lexically_normal();
    std::error_code code;
    const fs::path real = fs::weakly_canonical(path, code);
    const bool inside = !code && std::any_of(options.file_roots.begin(), options.file_roots.end(), [&](const std::string& root) {
      const std::string prefix = root.ends_with("/") ? root : root + "/";
      return real.string() == root || real.string().starts_with(prefix);
    });
    if (!inside) return bad("\"" + given + "\" is not in a directory that file sources may be in");
    out.text = "file://" + real.string();
    return out;
  }
  const std::string authority = rest.substr(0, rest.find_first_of("/?#"));
  if (authority.empty() || authority[0] == '-') return bad("URL has no host");
  if (authority.find('@') != std::string::npos) return bad("URL holds credentials: they belong in a Secret");
  out.text = out.protocol + "://" + rest;
  out.origin = out.protocol + "://" + authority;
  return out;
}

// As git check-ref-format; a leading dash would be a flag.
Status check_ref(const std::string& ref) {
  bool good = !ref.empty() && ref.size() <= 250 && !has_control(ref) && ref[0] != '-' && ref[0] != '/' && ref[0] != '.' && !ref.ends_with("/") &&
              !ref.ends_with(".") && ref != "@";
  good = good && ref.find_first_of(" ~^:?*[\\") == std::string::npos;
  for (const char* part : {"..", "//", "@{", "/."}) good = good && ref.find(part) == std::string::npos;
  for (std::string_view part : split(ref, '/')) good = good && !part.ends_with(".lock");
  return good ? Status() : bad_request("git source: \"" + ref + "\" is no name of a ref");
}

Result<fs::path> check_path(const std::string& path) {
  fs::path out;
  if (has_control(path) || (!path.empty() && path[0] == '/')) return err(bad_request("git source: the path must be relative to the repository"));
  for (std::string_view part : split(path, '/')) {
    if (part.empty() || part == ".") continue;
    if (part == "..") return err(bad_request("git source: the path must not leave the repository"));
    out /= part;
  }
  return out;
}

// Directories in which nothing can be removed are made writable before.
void remove_tree(const fs::path& path) {
  std::error_code code;
  if (fs::is_directory(fs::symlink_status(path, code))) {
    fs::permissions(path, fs::perms::owner_all, fs::perm_options::add, code);
    for (auto at = fs::recursive_directory_iterator(path, code); !code && at != fs::recursive_directory_iterator(); at.increment(code)) {
      if (at->is_directory(code) && !at->is_symlink(code)) fs::permissions(at->path(), fs::perms::owner_all, fs::perm_options::add, code);
    }
  }
  fs::remove_all(path, code);
}

class Scratch {
 public:
  static Result<std::unique_ptr<Scratch>> make(const std::string& below) {
    ENGENHO_TRY(make_dirs(below, 0700));
    auto out = std::make_unique<Scratch>();
    out->path = below + "/" + kScratch + random_name_suffix(12);
    if (mkdir(out->path.c_str(), 0700) != 0) return err(errno_error("mkdir " + out->path, errno));
    return out;
  }
  ~Scratch() { remove_tree(path); }
  std::string path;
};

class Git {
 public:
  Git(const SourceOptions& options, const Url& url, const GitCredentials& credentials, const StopToken& stop)
      : options_(options), url_(url), credentials_(credentials), stop_(stop) {}

  // `directory`: for what belongs to this use; the child's HOME.
  Status prepare(const std::string& directory) {
    program_ = options_.git.empty() ? find_program("git") : options_.git;
    if (program_.empty() || access(program_.c_str(), X_OK) != 0)
      return unavailable("git is not installed on this machine (Debian package git): sources in git cannot be fetched");
    std::string configuration =
        "[core]\n\thooksPath = /dev/null\n\tattributesFile = /dev/null\n\texcludesFile = /dev/null\n\tfsmonitor = false\n\tautocrlf = false\n\taskPass "
        "=\n\tsshCommand = false\n\tprotectHFS = true\n\tprotectNTFS = true\n"
        "[credential]\n\thelper =\n[safe]\n\tdirectory = *\n[transfer]\n\tfsckObjects = true\n[fetch]\n\trecurseSubmodules = no\n\twriteCommitGraph = "
        "false\n[submodule]\n\trecurse = false\n"
        "[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n[advice]\n\tdetachedHead = false\n[init]\n\tdefaultBranch = main\n[protocol]\n\tversion = 2\n\tallow "
        "= never\n";
    for (const std::string& p : options_.protocols) configuration += "[protocol \"" + p + "\"]\n\tallow = always\n";
    // With credentials a redirection is not followed: it could lead them elsewhere.
    const bool secret = !credentials_.token.empty() || !credentials_.password.empty();
    configuration += std::string("[http]\n\tfollowRedirects = ") + (secret ? "false" : "initial") + "\n\tlowSpeedLimit = 1\n\tlowSpeedTime = 60\n";
    if (!credentials_.ca_pem.empty()) {
      ENGENHO_RETURN_IF_ERROR(write_file_atomic(directory + "/ca.pem", credentials_.ca_pem, 0600));
      configuration += "\tsslCAInfo = " + directory + "/ca.pem\n";
    }
    ENGENHO_RETURN_IF_ERROR(write_file_atomic(directory + "/gitconfig", configuration, 0600));
    environment_ = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    "HOME=" + directory,
                    "LC_ALL=C.UTF-8",
                    "GIT_CONFIG_NOSYSTEM=1",
                    "GIT_CONFIG_GLOBAL=" + directory + "/gitconfig",
                    "GIT_ATTR_NOSYSTEM=1",
                    "GIT_TERMINAL_PROMPT=0",
                    "GIT_ASKPASS=/bin/false",
                    "GIT_PROTOCOL_FROM_USER=0",
                    "GIT_ALLOW_PROTOCOL=" + join(options_.protocols, ":"),
                    "GIT_LFS_SKIP_SMUDGE=1"};
    for (const char* name : {"HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"}) {
      if (const char* value = std::getenv(name)) environment_.push_back(std::string(name) + "=" + value);
    }
    if (secret && !url_.origin.empty()) {
      const std::string user = !credentials_.token.empty() ? "x-access-token" : credentials_.username;
      const std::string basic = base64_encode(user + ":" + (credentials_.token.empty() ? credentials_.password : credentials_.token));
      environment_.emplace_back("GIT_CONFIG_COUNT=1");
      environment_.push_back("GIT_CONFIG_KEY_0=http." + url_.origin + "/.extraHeader");
      environment_.push_back("GIT_CONFIG_VALUE_0=Authorization: Basic " + basic);
      redactor_.add(basic);
      redactor_.add(credentials_.token);
      redactor_.add(credentials_.password);
    }
    return {};
  }

  Result<ProcessEnd> run(std::vector<std::string> arguments, const std::string& cwd) const {
    ProcessOptions child;
    child.argv = {program_};
    child.argv.insert(child.argv.end(), arguments.begin(), arguments.end());
    child.env = environment_;
    child.cwd = cwd;
    child.die_with_parent = true;
    ProcessRun how;
    how.timeout = options_.timeout;
    how.grace = std::chrono::seconds(2);
    how.stop = stop_;
    ENGENHO_ASSIGN(ProcessEnd end, run_process(child, how));
    if (end.timed_out) {
      return err(timeout_error("git " + arguments[0] + " of " + url_.text + " did not finish within " +
                               std::to_string(std::chrono::duration_cast<std::chrono::seconds>(options_.timeout).count()) + " s"));
    }
    if (end.stopped) return err(timeout_error("git " + arguments[0] + " of " + url_.text + " was stopped"));
    return end;
  }

  Status failed(const ProcessEnd& end) const {
    std::string text = redactor_.text(trim(end.err));
    std::replace(text.begin(), text.end(), '\n', ' ');
    if (text.size() > 600) text = text.substr(0, 600) + "...";
    const std::string what = url_.text + ": " + (text.empty() ? "git ended with " + std::to_string(end.exit_code) : text);
    for (const char* sign : {"Authentication failed", "could not read Username", "could not read Password", "returned error: 401", "returned error: 403",
                             "terminal prompts disabled", "Permission denied"}) {
      if (text.find(sign) != std::string::npos) return unauthorized(what);
    }
    return unavailable(what);
  }

 private:
  const SourceOptions& options_;
  const Url& url_;
  const GitCredentials& credentials_;
  const StopToken& stop_;
  std::string program_;
  std::vector<std::string> environment_;
  Redactor redactor_;
};

// Takes out links that lead out of the tree, adds up the sizes, and makes all but the root read-only.
Result<std::vector<std::string>> settle(const fs::path& tree, uint64_t max_bytes) {
  std::vector<std::string> dropped;
  std::vector<fs::path> links, directories;
  uint64_t bytes = 0;
  std::error_code code;
  for (auto at = fs::recursive_directory_iterator(tree, code); !code && at != fs::recursive_directory_iterator(); at.increment(code)) {
    const fs::file_status status = at->symlink_status(code);
    if (fs::is_symlink(status))
      links.push_back(at->path());
    else if (fs::is_directory(status))
      directories.push_back(at->path());
    else if (fs::is_regular_file(status))
      bytes += at->file_size(code);
    else
      fs::remove(at->path(), code);
    if (bytes > max_bytes) return err(bad_request("git source: the tree is larger than " + std::to_string(max_bytes >> 20) + " MiB"));
  }
  if (code) return err(internal_error("read " + tree.string() + ": " + code.message()));
  const std::string prefix = fs::canonical(tree, code).string() + "/";
  // A link may lead to one that is dropped: until nothing changes.
  for (bool changed = true; changed;) {
    changed = false;
    for (auto link = links.begin(); link != links.end();) {
      const fs::path target = fs::read_symlink(*link, code);
      const fs::path real = fs::canonical(*link, code);
      // One that leads nowhere could come to lead somewhere.
      if (!code && !target.is_absolute() && real.string().starts_with(prefix)) {
        ++link;
        continue;
      }
      code.clear();
      dropped.push_back(fs::relative(link->parent_path(), tree, code).lexically_normal() == "."
                            ? link->filename().string()
                            : (link->parent_path().lexically_relative(tree) / link->filename()).string());
      fs::remove(*link, code);
      link = links.erase(link);
      changed = true;
    }
  }
  std::sort(dropped.begin(), dropped.end());
  const auto write = fs::perms::owner_write | fs::perms::group_write | fs::perms::others_write;
  for (auto at = fs::recursive_directory_iterator(tree, code); !code && at != fs::recursive_directory_iterator(); at.increment(code)) {
    if (at->is_regular_file(code) && !at->is_symlink(code)) fs::permissions(at->path(), write, fs::perm_options::remove, code);
  }
  for (const fs::path& d : directories) fs::permissions(d, write, fs::perm_options::remove, code);
  return dropped;
}

}  // namespace

bool is_commit_id(std::string_view text) {
  return (text.size() == 40 || text.size() == 64) &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); });
}

SourceCache::SourceCache(SourceOptions options) : options_(std::move(options)) {}

Result<std::string> SourceCache::resolve(const GitSource& source, const StopToken& stop) const {
  ENGENHO_ASSIGN(const Url url, check_url(source.url, options_));
  if (is_commit_id(source.ref)) return to_lower(source.ref);
  ENGENHO_TRY(check_ref(source.ref));
  ENGENHO_ASSIGN(const auto scratch, Scratch::make(options_.cache_dir + "/git"));
  Git git(options_, url, source.credentials, stop);
  ENGENHO_TRY(git.prepare(scratch->path));
  // In this order, as clone --branch takes them; the peeled tag is the commit.
  const std::vector<std::string> names =
      source.ref == "HEAD" || source.ref.starts_with("refs/")
          ? std::vector<std::string>{source.ref + "^{}", source.ref}
          : std::vector<std::string>{"refs/heads/" + source.ref, "refs/tags/" + source.ref + "^{}", "refs/tags/" + source.ref};
  std::vector<std::string> arguments = {"ls-remote", "--", url.text};
  arguments.insert(arguments.end(), names.begin(), names.end());
  ENGENHO_ASSIGN(const ProcessEnd end, git.run(arguments, scratch->path));
  if (end.exit_code != 0) return err(git.failed(end));
  std::map<std::string, std::string> found;
  for (std::string_view line : split(end.out, '\n')) {
    const size_t tab = line.find('\t');
    if (tab != std::string_view::npos && is_commit_id(line.substr(0, tab))) found[std::string(line.substr(tab + 1))] = line.substr(0, tab);
  }
  for (const std::string& name : names) {
    if (auto at = found.find(name); at != found.end()) return at->second;
  }
  const bool abbreviated = source.ref.size() >= 7 && source.ref.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
  return err(
      not_found_error(url.text + " has no branch or tag \"" + source.ref + "\"" + (abbreviated ? "; a commit must be given with all of its 40 digits" : "")));
}

Result<Checkout> SourceCache::fetch(const GitSource& source, const std::string& given, const StopToken& stop) const {
  ENGENHO_ASSIGN(const Url url, check_url(source.url, options_));
  ENGENHO_ASSIGN(const fs::path within, check_path(source.path));
  if (!is_commit_id(given)) return err(bad_request("git source: \"" + given + "\" is no commit id"));
  Checkout out;
  out.commit = to_lower(given);
  const std::string shelf = options_.cache_dir + "/git/" + sha256_hex(url.text).substr(0, 32);
  out.root = shelf + "/" + out.commit;
  const std::string notes = out.root + ".dropped";
  if (!path_exists(out.root)) {
    ENGENHO_ASSIGN(const auto scratch, Scratch::make(shelf));
    Git git(options_, url, source.credentials, stop);
    ENGENHO_TRY(git.prepare(scratch->path));
    const std::string repository = scratch->path + "/tree";
    ENGENHO_ASSIGN(ProcessEnd end, git.run({"init", "-q", "--template=", repository}, scratch->path));
    if (end.exit_code != 0) return err(git.failed(end));
    ENGENHO_ASSIGN(end, git.run({"fetch", "-q", "--depth=1", "--no-tags", "--no-recurse-submodules", "--", url.text, out.commit}, repository));
    if (end.exit_code != 0) {
      const Status first = git.failed(end);
      if (first.code() == 401) return err(first);
      // Not every server gives a commit by its id: then all branches and tags, in which it must be.
      ENGENHO_ASSIGN(end, git.run({"fetch", "-q", "--no-recurse-submodules", "--", url.text, "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"},
                                  repository));
      if (end.exit_code != 0) return err(git.failed(end));
      ENGENHO_ASSIGN(end, git.run({"cat-file", "-e", out.commit + "^{commit}"}, repository));
      if (end.exit_code != 0) return err(not_found_error(url.text + " has no commit " + out.commit));
    }
    ENGENHO_ASSIGN(end, git.run({"checkout", "-q", "--detach", "--no-recurse-submodules", out.commit, "--"}, repository));
    if (end.exit_code != 0) return err(git.failed(end));
    remove_tree(repository + "/.git");
    ENGENHO_ASSIGN(const auto dropped, settle(repository, options_.max_tree_bytes));
    if (!dropped.empty()) ENGENHO_TRY(write_file_atomic(notes, join(dropped, "\n"), 0600));
    if (rename(repository.c_str(), out.root.c_str()) != 0) {
      // Another was faster: its tree is the same.
      if (errno != EEXIST && errno != ENOTEMPTY) return err(errno_error("rename to " + out.root, errno));
    }
    chmod(out.root.c_str(), 0555);
  }
  // Told to collect() as its last use.
  utimensat(AT_FDCWD, out.root.c_str(), nullptr, 0);
  if (auto text = read_file(notes); text && !text->empty()) {
    for (std::string_view line : split(*text, '\n')) out.dropped_links.emplace_back(line);
  }
  out.path = within.empty() ? out.root : (fs::path(out.root) / within).string();
  std::error_code code;
  if (!fs::exists(out.path, code)) return err(not_found_error(url.text + " at " + out.commit + " has no path \"" + source.path + "\""));
  return out;
}

Result<Checkout> SourceCache::checkout(const GitSource& source, const StopToken& stop) const {
  ENGENHO_ASSIGN(const std::string commit, resolve(source, stop));
  return fetch(source, commit, stop);
}

Freshness SourceCache::freshness(const GitSource& source, const std::string& compiled, const StopToken& stop) const {
  Freshness out;
  out.compiled = to_lower(compiled);
  auto head = resolve(source, stop);
  if (!head) {
    out.why = head.error();
    return out;
  }
  out.head = *head;
  out.state = out.head == out.compiled ? Freshness::State::kFresh : Freshness::State::kStale;
  return out;
}

Result<int> SourceCache::collect(Duration age, const std::set<std::string>& keep) const {
  int removed = 0;
  std::error_code code;
  const auto now = fs::file_time_type::clock::now();
  const auto older = [&](const fs::path& p, Duration than) {
    std::error_code c;
    const auto written = fs::last_write_time(p, c);
    return !c && now - written > than;
  };
  std::vector<fs::path> scratch, trees;
  const fs::path base = fs::path(options_.cache_dir) / "git";
  auto look = [&](const fs::path& directory, bool shelf) {
    std::error_code c;
    for (const auto& entry : fs::directory_iterator(directory, c)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with(kScratch))
        scratch.push_back(entry.path());
      else if (shelf && is_commit_id(name))
        trees.push_back(entry.path());
    }
  };
  look(base, false);
  for (const auto& shelf : fs::directory_iterator(base, code)) {
    if (shelf.is_directory(code) && !shelf.path().filename().string().starts_with(kScratch)) look(shelf.path(), true);
  }
  // Longer than any use of it takes.
  for (const fs::path& p : scratch) {
    if (older(p, std::max<Duration>(options_.timeout * 10, std::chrono::hours(1)))) remove_tree(p);
  }
  for (const fs::path& tree : trees) {
    if (keep.contains(tree.string()) || !older(tree, age)) continue;
    // Away at once, so that nobody sees half of it.
    const fs::path aside = tree.parent_path() / (kScratch + random_name_suffix(12));
    fs::permissions(tree, fs::perms::owner_write, fs::perm_options::add, code);
    if (rename(tree.c_str(), aside.c_str()) != 0) continue;
    fs::remove(tree.string() + ".dropped", code);
    remove_tree(aside);
    ++removed;
  }
  return removed;
}

}  // namespace engenho::pangea
