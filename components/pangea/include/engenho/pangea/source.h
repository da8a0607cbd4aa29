// Sources in git: which commit a ref means now, and the tree of a commit, from a cache that is addressed by content.
//
//   <cache>/git/<hash of the URL>/<commit>/     a tree, read-only, without .git; it is there whole or not at all
//
// The program `git` does the work, with a configuration of its own: no hooks, no filters, no submodules, no credential helpers, no prompts, no protocols but
// those that are allowed. Credentials are in no URL, argument, file or message.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "engenho/base/clock.h"
#include "engenho/base/status.h"
#include "engenho/base/threads.h"

namespace engenho::pangea {

struct GitCredentials {  // values of a Secret; empty: none. Only for https
  std::string username, password;
  std::string token;   // instead of both
  std::string ca_pem;  // whom to trust instead of the system's roots
};

struct GitSource {
  std::string url;           // https://…, file:///…, or an absolute path
  std::string ref = "main";  // a branch, a tag, a full ref name, HEAD, or a whole commit id (40 or 64 hexadecimal digits)
  std::string path;          // within the tree; empty: all of it
  GitCredentials credentials;
};

struct Checkout {
  std::string commit;
  std::string root;                        // the tree
  std::string path;                        // root, or GitSource::path within it
  std::vector<std::string> dropped_links;  // symbolic links that led out of the tree and were left out
};

struct Freshness {
  enum class State { kFresh, kStale, kUnknown } state = State::kUnknown;
  std::string compiled, head;  // commits
  Status why;                  // of kUnknown
};

struct SourceOptions {
  std::string cache_dir;
  Duration timeout = std::chrono::seconds(120);  // of each git command
  std::vector<std::string> protocols = {"https", "file"};
  std::vector<std::string> file_roots = {"/"};  // where file sources may be
  uint64_t max_tree_bytes = uint64_t{1} << 30;
  std::string git;  // the program; empty: of PATH
};

// Thread-safe; several processes may share a cache. Errors:
//   BadRequest          the URL, the ref or the path is not allowed, and why
//   NotFound            the remote has no such ref, commit or path
//   Unauthorized        the remote wants other credentials
//   ServiceUnavailable  the remote cannot be reached, or there is no git
//   Timeout             it took too long, or was stopped
class SourceCache {
 public:
  explicit SourceCache(SourceOptions options);

  // The commit that the ref means now. A commit id means itself: nothing is asked.
  Result<std::string> resolve(const GitSource& source, const StopToken& stop = {}) const;
  // The tree of a commit; from the cache when it is there.
  Result<Checkout> fetch(const GitSource& source, const std::string& commit, const StopToken& stop = {}) const;
  // Both.
  Result<Checkout> checkout(const GitSource& source, const StopToken& stop = {}) const;
  // Whether what was made from `compiled` is still what the ref means.
  Freshness freshness(const GitSource& source, const std::string& compiled, const StopToken& stop = {}) const;

  // Removes trees that were not fetched for `age`, but those whose root is in `keep`; and what crashes left. Returns how many trees.
  Result<int> collect(Duration age, const std::set<std::string>& keep = {}) const;

 private:
  SourceOptions options_;
};

bool is_commit_id(std::string_view text);

}  // namespace engenho::pangea
