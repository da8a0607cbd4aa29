// Against repositories on this machine.
#include "engenho/pangea/source.h"

#include <sys/stat.h>

#include <atomic>

#include "engenho/base/bytes.h"
#include "engenho/base/process.h"
#include "support.h"

using namespace engenho;
using namespace engenho::pangea;
using namespace engenho::pangea::testing;

namespace {

class Repository {
 public:
  Repository() { git({"init", "-q", "-b", "main"}); }
  std::string git(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), "git");
    ProcessOptions options;
    options.argv = arguments;
    options.cwd = dir.path();
    options.env = {"PATH=/usr/local/bin:/usr/bin:/bin",
                   "HOME=" + dir.path(),
                   "GIT_CONFIG_NOSYSTEM=1",
                   "GIT_AUTHOR_NAME=a",
                   "GIT_AUTHOR_EMAIL=a@b",
                   "GIT_COMMITTER_NAME=a",
                   "GIT_COMMITTER_EMAIL=a@b"};
    auto out = run_process(options, std::chrono::seconds(60));
    REQUIRE(out);
    INFO(out->err);
    REQUIRE(out->exit_code == 0);
    return std::string(trim(out->out));
  }
  std::string commit(const std::string& file, const std::string& text) const {
    write_text(dir.path(file), text);
    git({"add", "-A"});
    git({"commit", "-q", "-m", "c"});
    return git({"rev-parse", "HEAD"});
  }
  GitSource source(const std::string& ref = "main") const {
    GitSource out;
    out.url = "file://" + dir.path();
    out.ref = ref;
    return out;
  }
  TempDir dir;
};

SourceOptions options(const TempDir& cache) {
  SourceOptions out;
  out.cache_dir = cache.path("cache");
  return out;
}

}  // namespace

TEST_CASE("freshness: equal, moved on, pinned, unreachable, deleted") {
  Repository repository;
  TempDir dir;
  const SourceCache cache(options(dir));
  const std::string first = repository.commit("a.rb", "1");
  CHECK(*cache.resolve(repository.source()) == first);
  CHECK(cache.freshness(repository.source(), first).state == Freshness::State::kFresh);
  const std::string second = repository.commit("a.rb", "2");
  const Freshness stale = cache.freshness(repository.source(), first);
  CHECK(stale.state == Freshness::State::kStale);
  CHECK(stale.compiled == first);
  CHECK(stale.head == second);
  // A whole commit id never asks: there is not even a git here.
  SourceOptions none = options(dir);
  none.git = "/nowhere/git";
  CHECK(SourceCache(none).freshness(repository.source(first), first).state == Freshness::State::kFresh);
  CHECK(*SourceCache(none).resolve(repository.source(to_lower(first))) == first);
  const Freshness without = SourceCache(none).freshness(repository.source(), first);
  CHECK(without.state == Freshness::State::kUnknown);
  CHECK(without.why.message().find("git is not installed") != std::string::npos);
  GitSource gone = repository.source();
  gone.url += "-gone";
  const Freshness unreachable = cache.freshness(gone, first);
  CHECK(unreachable.state == Freshness::State::kUnknown);
  CHECK(unreachable.why.is(reason::kServiceUnavailable));
  const Freshness deleted = cache.freshness(repository.source("no-such-branch"), first);
  CHECK(deleted.state == Freshness::State::kUnknown);
  CHECK(deleted.why.not_found());
  CHECK(cache.resolve(repository.source(first.substr(0, 10))).error().message().find("40 digits") != std::string::npos);
}

TEST_CASE("branches, tags, full names and HEAD; a branch before a tag of its name") {
  Repository repository;
  TempDir dir;
  const SourceCache cache(options(dir));
  const std::string first = repository.commit("a", "1");
  repository.git({"tag", "-a", "v1", "-m", "annotated"});
  repository.git({"tag", "light"});
  repository.git({"tag", "both"});
  const std::string second = repository.commit("a", "2");
  repository.git({"branch", "both"});
  repository.git({"branch", "feature/x"});
  repository.git({"branch", "x/refs/heads/feature/x"});
  CHECK(*cache.resolve(repository.source("v1")) == first);
  CHECK(*cache.resolve(repository.source("light")) == first);
  CHECK(*cache.resolve(repository.source("refs/tags/v1")) == first);
  CHECK(*cache.resolve(repository.source("both")) == second);
  CHECK(*cache.resolve(repository.source("feature/x")) == second);
  CHECK(*cache.resolve(repository.source("HEAD")) == second);
  GitSource bare = repository.source();
  bare.url = repository.dir.path();
  CHECK(*cache.resolve(bare) == second);
}

TEST_CASE("a tree: whole, read-only, without history; two versions beside each other; from the cache when the remote is gone") {
  Repository repository;
  TempDir dir;
  const SourceCache cache(options(dir));
  repository.commit("lib/a.rb", "one");
  write_text(repository.dir.path("bin/run"), "#!/bin/sh\n");
  std::filesystem::permissions(repository.dir.path("bin/run"), std::filesystem::perms::owner_exec, std::filesystem::perm_options::add);
  std::filesystem::create_symlink("../lib/a.rb", repository.dir.path("bin/inside"));
  std::filesystem::create_symlink("/etc/passwd", repository.dir.path("bin/outside"));
  std::filesystem::create_symlink("../../../../../../etc/passwd", repository.dir.path("up"));
  std::filesystem::create_symlink("bin/outside", repository.dir.path("chained"));
  std::filesystem::create_symlink("nowhere", repository.dir.path("dangling"));
  const std::string first = repository.commit("x", "x");
  const std::string second = repository.commit("lib/a.rb", "two");
  auto old = cache.fetch(repository.source(), first);
  INFO((old ? "" : old.error().message()));
  REQUIRE(old);
  CHECK(old->dropped_links == std::vector<std::string>{"bin/outside", "chained", "dangling", "up"});
  GitSource part = repository.source();
  part.path = "./lib";
  auto now = cache.checkout(part);
  REQUIRE(now);
  CHECK(now->commit == second);
  CHECK(now->path == now->root + "/lib");
  CHECK(*read_file(old->root + "/lib/a.rb") == "one");
  CHECK(*read_file(old->root + "/bin/inside") == "one");
  CHECK(*read_file(now->path + "/a.rb") == "two");
  CHECK_FALSE(path_exists(old->root + "/.git"));
  for (const auto& entry : std::filesystem::recursive_directory_iterator(old->root)) {
    struct stat info {};
    REQUIRE(lstat(entry.path().c_str(), &info) == 0);
    if (!S_ISLNK(info.st_mode)) CHECK((info.st_mode & 0222) == 0);
  }
  struct stat info {};
  REQUIRE(stat((old->root + "/bin/run").c_str(), &info) == 0);
  CHECK((info.st_mode & 0100) != 0);
  part.path = "../x";
  CHECK_FALSE(cache.fetch(part, first));
  part.path = "/etc";
  CHECK_FALSE(cache.fetch(part, first));
  part.path = "no/such";
  CHECK(cache.fetch(part, first).error().not_found());
  std::filesystem::rename(repository.dir.path(".git"), repository.dir.path("git-away"));
  CHECK(cache.fetch(repository.source(), first)->dropped_links.size() == 4);
  CHECK_FALSE(cache.fetch(repository.source(), std::string(40, 'a')));
  std::filesystem::rename(repository.dir.path("git-away"), repository.dir.path(".git"));
  CHECK(cache.fetch(repository.source(), std::string(40, 'a')).error().not_found());
}

TEST_CASE("two at once make one tree") {
  Repository repository;
  TempDir dir;
  const std::string commit = repository.commit("a", std::string(200'000, 'x'));
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&] {
      const SourceCache cache(options(dir));
      auto got = cache.fetch(repository.source(), commit);
      if (got && read_file(got->root + "/a")->size() == 200'000) ++good;
    });
  }
  for (std::thread& t : threads) t.join();
  CHECK(good == 6);
  int entries = 0;
  for (const auto& shelf : std::filesystem::directory_iterator(dir.path("cache/git"))) {
    for (const auto& entry : std::filesystem::directory_iterator(shelf.path())) entries += entry.path().filename().string() == commit ? 1 : 100;
  }
  CHECK(entries == 1);  // and nothing half-made
}

TEST_CASE("what is not allowed is refused by name, before anything is run") {
  TempDir dir;
  SourceOptions how = options(dir);
  how.git = "/nowhere/git";
  how.file_roots = {dir.path("repositories")};
  const SourceCache cache(how);
  for (const char* url : {"", "ext::sh -c touch% /tmp/x", "ext::sh", "fd::17", "ssh://git@host/x", "git@github.com:a/b.git", "git://host/x", "http://host/x",
                          "--upload-pack=touch /tmp/x", "-u", "file://relative", "relative/path", "https://user:hunter@host/x", "https://host/a b",
                          "https:///x", "https://-host/x", "file:///etc", "/etc", "transport::https://host/x"}) {
    INFO(url);
    GitSource source;
    source.url = url;
    auto made = cache.resolve(source);
    REQUIRE_FALSE(made);
    CHECK(made.error().code() == 400);
    CHECK(made.error().message().find("hunter") == std::string::npos);
    CHECK_FALSE(cache.fetch(source, std::string(40, 'a')));
  }
  // A link does not lead out of where file sources may be.
  std::filesystem::create_directories(dir.path("repositories"));
  std::filesystem::create_directory_symlink("/etc", dir.path("repositories/link"));
  GitSource source;
  source.url = dir.path("repositories/link");
  CHECK(cache.resolve(source).error().code() == 400);
  source.url = dir.path("repositories/../other");
  CHECK(cache.resolve(source).error().code() == 400);
  source.url = "https://host.invalid/x";
  for (const char* ref :
       {"", "-x", "--upload-pack=x", "a..b", "a b", "a~1", "a^", "a:b", "a?", "a*", "/a", "a/", "a.lock", "x/a.lock/b", "@", "a@{1}", "a\nb", ".a", "a/.b"}) {
    INFO(ref);
    source.ref = ref;
    CHECK(cache.resolve(source).error().code() == 400);
  }
  source.ref = "main";
  CHECK_FALSE(cache.fetch(source, "main"));
  CHECK_FALSE(cache.fetch(source, "../../../../etc"));
}

TEST_CASE("hooks, filters and submodules of a repository are not run") {
  Repository repository;
  TempDir dir;
  Repository other;
  other.commit("s", "s");
  const std::string mark = dir.path("mark");
  write_text(repository.dir.path(".gitattributes"), "*.txt filter=evil\n");
  repository.commit("a.txt", "plain");
  repository.git({"-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "file://" + other.dir.path(), "sub"});
  const std::string commit = repository.commit("b", "b");
  for (const char* hook : {"post-checkout", "post-upload-pack", "pre-receive", "reference-transaction"}) {
    write_text(repository.dir.path(std::string(".git/hooks/") + hook), "#!/bin/sh\ntouch " + mark + "\n");
    std::filesystem::permissions(repository.dir.path(std::string(".git/hooks/") + hook), std::filesystem::perms::owner_all);
  }
  repository.git({"config", "uploadpack.packObjectsHook", "touch " + mark});
  repository.git({"config", "filter.evil.smudge", "touch " + mark});
  auto got = SourceCache(options(dir)).fetch(repository.source(), commit);
  INFO((got ? "" : got.error().message()));
  REQUIRE(got);
  CHECK(*read_file(got->root + "/a.txt") == "plain");
  CHECK_FALSE(path_exists(mark));
  CHECK(std::filesystem::is_empty(got->root + "/sub"));
}

TEST_CASE("credentials are in no argument, file or message") {
  TempDir dir;
  // In place of git: writes down how it was called, and complains with what it was told.
  write_text(dir.path("git"), "#!/bin/sh\necho \"$0 $@\" >> " + dir.path("calls") + "\nenv >> " + dir.path("environment") + "\ncat \"$GIT_CONFIG_GLOBAL\" >> " +
                                  dir.path("calls") + "\necho \"fatal: Authentication failed for $GIT_CONFIG_VALUE_0 and hunter-token\" >&2\nexit 128\n");
  std::filesystem::permissions(dir.path("git"), std::filesystem::perms::owner_all);
  SourceOptions how = options(dir);
  how.git = dir.path("git");
  GitSource source;
  source.url = "https://host.invalid/x";
  source.credentials.token = "hunter-token";
  auto made = SourceCache(how).resolve(source);
  REQUIRE_FALSE(made);
  CHECK(made.error().is(reason::kUnauthorized));
  CHECK(made.error().message().find("hunter") == std::string::npos);
  CHECK(made.error().message().find(base64_encode("x-access-token:hunter-token")) == std::string::npos);
  const std::string calls = *read_file(dir.path("calls"));
  CHECK(calls.find("hunter") == std::string::npos);
  CHECK(calls.find("followRedirects = false") != std::string::npos);
  const std::string environment = *read_file(dir.path("environment"));
  CHECK(environment.find("GIT_CONFIG_KEY_0=http.https://host.invalid/.extraHeader") != std::string::npos);
  CHECK(environment.find(base64_encode("x-access-token:hunter-token")) != std::string::npos);
}

TEST_CASE("a remote that hangs is given up in time; a stop ends it") {
  TempDir dir;
  write_text(dir.path("git"), "#!/bin/sh\nexec sleep 100\n");
  std::filesystem::permissions(dir.path("git"), std::filesystem::perms::owner_all);
  SourceOptions how = options(dir);
  how.git = dir.path("git");
  how.timeout = std::chrono::milliseconds(200);
  GitSource source;
  source.url = "https://host.invalid/x";
  const auto begun = std::chrono::steady_clock::now();
  CHECK(SourceCache(how).resolve(source).error().is(reason::kTimeout));
  how.timeout = std::chrono::seconds(100);
  StopToken stop;
  stop.request_stop();
  CHECK(SourceCache(how).resolve(source, stop).error().is(reason::kTimeout));
  CHECK(std::chrono::steady_clock::now() - begun < std::chrono::seconds(30));
}

TEST_CASE("trees that nobody used for long are collected") {
  Repository repository;
  TempDir dir;
  const SourceCache cache(options(dir));
  const std::string first = repository.commit("lib/a", "1"), second = repository.commit("lib/a", "2"), third = repository.commit("lib/a", "3");
  auto a = cache.fetch(repository.source(), first), b = cache.fetch(repository.source(), second), c = cache.fetch(repository.source(), third);
  REQUIRE((a && b && c));
  const auto old = std::filesystem::file_time_type::clock::now() - std::chrono::hours(50);
  for (const auto& tree : {a, b}) std::filesystem::last_write_time(tree->root, old);
  const std::string left = std::filesystem::path(a->root).parent_path().string() + "/.tmp-left";
  write_text(left + "/x", "x");
  std::filesystem::last_write_time(left, old);
  CHECK(*cache.collect(std::chrono::hours(24), {b->root}) == 1);
  CHECK_FALSE(path_exists(a->root));
  CHECK(path_exists(b->root));
  CHECK(path_exists(c->root));
  CHECK_FALSE(path_exists(left));
  CHECK(cache.fetch(repository.source(), first));  // and can be had again
  CHECK(*SourceCache({dir.path("nothing")}).collect(std::chrono::hours(1)) == 0);
}

TEST_CASE("a tree that is too large is refused and leaves nothing") {
  Repository repository;
  TempDir dir;
  SourceOptions how = options(dir);
  how.max_tree_bytes = 1000;
  const std::string commit = repository.commit("a", std::string(2000, 'x'));
  auto made = SourceCache(how).fetch(repository.source(), commit);
  REQUIRE_FALSE(made);
  CHECK(made.error().code() == 400);
  for (const auto& shelf : std::filesystem::directory_iterator(dir.path("cache/git"))) CHECK(std::filesystem::is_empty(shelf.path()));
}
