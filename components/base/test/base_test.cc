#include <random>

#include "engenho/base/bytes.h"
#include "engenho/base/clock.h"
#include "engenho/base/fs.h"
#include "engenho/base/json.h"
#include "engenho/base/metrics.h"
#include "engenho/base/process.h"
#include "engenho/base/random.h"
#include "engenho/base/threads.h"
#include "engenho/base/yaml.h"
#include "engenho/testing/catch.h"

using namespace engenho;

TEST_CASE("json: what is written is read back", "[json]") {
  std::mt19937_64 rng(testing::seed());
  std::function<json::Value(int)> make = [&](int depth) -> json::Value {
    switch (rng() % (depth > 4 ? 5 : 7)) {
      case 0: return nullptr;
      case 1: return rng() % 2 == 0;
      case 2: return static_cast<int64_t>(rng());
      case 3: return std::ldexp(static_cast<double>(rng()), static_cast<int>(rng() % 200) - 100) + 0.5;
      case 4: {
        std::string text;
        for (size_t n = rng() % 20; n > 0; --n) text += static_cast<char>(rng() % 128);
        return text + "\u00e9\u20ac";
      }
      case 5: {
        json::Array items;
        for (size_t n = rng() % 5; n > 0; --n) items.push_back(make(depth + 1));
        return items;
      }
      default: {
        json::Object members;
        for (size_t n = rng() % 5; n > 0; --n) members.set("k" + std::to_string(rng() % 50), make(depth + 1));
        return members;
      }
    }
  };
  for (int i = 0; i < 500; ++i) {
    const json::Value value = make(0);
    auto again = json::parse(json::dump(value));
    REQUIRE(again);
    // A double that happens to be whole and small is read back as an integer: compare the text.
    REQUIRE(json::dump(*again) == json::dump(value));
    auto pretty = json::parse(json::dump_pretty(value));
    REQUIRE(pretty);
    REQUIRE(json::dump(*pretty) == json::dump(value));
  }
}

TEST_CASE("json: errors read as Go's", "[json]") {
  auto message = [](std::string_view text) {
    auto result = json::parse(text);
    return result ? std::string("parsed") : result.error().message();
  };
  CHECK(message("") == "unexpected end of JSON input");
  CHECK(message("{") == "unexpected end of JSON input");
  CHECK(message("nul") == "unexpected end of JSON input");
  CHECK(message("{x") == "invalid character 'x' looking for beginning of object key string");
  CHECK(message("{\"a\" 1}") == "invalid character '1' after object key");
  CHECK(message("{\"a\":1 \"b\"}") == "invalid character '\"' after object key:value pair");
  CHECK(message("[1 2]") == "invalid character '2' after array element");
  CHECK(message("tru3") == "invalid character '3' in literal true (expecting 'e')");
  CHECK(message("{} x") == "invalid character 'x' after top-level value");
  CHECK(message("\"\t\"") == "invalid character '\\t' in string literal");
  CHECK(message(std::string(5000, '[')) == "exceeded max depth");
}

TEST_CASE("json: duplicate keys are told with their path; objects merge", "[json]") {
  auto parsed = json::parse_with_duplicates(R"({"a":{"x":1},"b":[{"k":1,"k":2}],"a":{"y":2},"c":1,"c":2})");
  REQUIRE(parsed);
  CHECK(parsed->duplicate_keys == std::vector<std::string>{"b[0].k", "a", "c"});
  CHECK(json::dump(parsed->value) == R"({"a":{"x":1,"y":2},"b":[{"k":2}],"c":2})");
}

TEST_CASE("json: numbers and strings as Go writes them", "[json]") {
  CHECK(json::dump(json::Value(1e21)) == "1e+21");
  CHECK(json::dump(json::Value(1e-7)) == "1e-7");
  CHECK(json::dump(json::Value(0.5)) == "0.5");
  CHECK(json::dump(json::Value("<a&b>\x7f\xff")) == "\"\\u003ca\\u0026b\\u003e\x7f\\ufffd\"");
  CHECK(json::parse("\"\\ud800x\"")->as_string() == "\xEF\xBF\xBDx");
  CHECK(json::parse("\"\\ud83d\\ude00\"")->as_string() == "\xF0\x9F\x98\x80");
  CHECK(json::parse("9223372036854775807")->is_int());
  CHECK(json::parse("9223372036854775808")->is_double());
  CHECK(json::parse("1.0")->is_double());
}

TEST_CASE("yaml: resolution, duplicates, bombs", "[yaml]") {
  auto parsed = yaml::parse("a: yes\nb: \"yes\"\nc: 010\nd: 0x1F\ne: 1.5\nf: 1e3\ng: ~\nh: 1.2.3\ni: {x: 1, x: 2}\nj: |\n  one\n  two\n");
  REQUIRE(parsed);
  CHECK(json::dump(parsed->value) ==
        R"({"a":true,"b":"yes","c":8,"d":31,"e":1.5,"f":1000,"g":null,"h":"1.2.3","i":{"x":2},"j":"one\ntwo\n"})");
  CHECK(parsed->duplicate_keys == std::vector<std::string>{"i.x"});
  CHECK_FALSE(yaml::parse("a: [1"));
  std::string bomb = "a0: &a0 [x]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string p = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + p;
    for (int j = 0; j < 9; ++j) bomb += "," + p;
    bomb += "]\n";
  }
  auto blown = yaml::parse(bomb);
  REQUIRE_FALSE(blown);
  CHECK(blown.error().message().find("more than") != std::string::npos);
  CHECK(yaml::parse_all("---\na: 1\n---\n---\nb: 2\n")->size() == 2);
}

TEST_CASE("yaml: what is written is read back", "[yaml]") {
  const auto value = *json::parse(
      R"({"a":"yes","b":"1","c":["x",{"y":[1,2],"z":{}},[]],"d":"two\nlines\n","e":"- x","f":"","g":null,"h":true,"i":"2020-01-01","j":"tail \nx","k":"a\n\n","l":"#no"})");
  auto again = yaml::parse(yaml::dump(value));
  REQUIRE(again);
  CHECK(json::dump(again->value) == json::dump(value));
}

TEST_CASE("bytes: encodings round trip and refuse rubbish", "[bytes]") {
  for (size_t n = 0; n < 40; ++n) {
    const std::string bytes = random_bytes(n);
    CHECK(*base64_decode(base64_encode(bytes)) == bytes);
    CHECK(*base64url_decode(base64url_encode(bytes)) == bytes);
    CHECK(*hex_decode(hex_encode(bytes)) == bytes);
  }
  CHECK_FALSE(base64_decode("a"));
  CHECK_FALSE(base64_decode("aGk"));
  CHECK_FALSE(base64_decode("aG=k"));
  CHECK(percent_decode("a%2Fb+c", true) == "a/b c");
  CHECK(percent_decode("100%") == "100%");
  CHECK(nearest("data-dri", {"data-dir", "config", "node-name"}) == "data-dir");
  CHECK(nearest("zzz", {"data-dir", "config"}).empty());
}

TEST_CASE("clock: RFC 3339 both ways", "[clock]") {
  for (std::string_view text : {"2026-11-21T07:31:00Z", "1970-01-01T00:00:00Z", "2000-02-29T23:59:59Z"}) {
    CHECK(format_rfc3339(*parse_rfc3339(text)) == text);
  }
  CHECK(format_rfc3339(*parse_rfc3339("2026-01-01T01:00:00+02:00")) == "2025-12-31T23:00:00Z");
  CHECK(format_rfc3339_micro(*parse_rfc3339("2026-01-01T00:00:00.123456789Z")) == "2026-01-01T00:00:00.123456Z");
  CHECK(*parse_rfc3339("2999-01-01T00:00:00Z") > *parse_rfc3339("2200-01-01T00:00:00Z"));   // beyond what nanoseconds count
  CHECK(*parse_rfc3339("0001-01-01T00:00:00Z") < *parse_rfc3339("1700-01-01T00:00:00Z"));
  CHECK_FALSE(parse_rfc3339("2026-02-30T00:00:00Z"));
  CHECK_FALSE(parse_rfc3339("2026-01-01"));
}

TEST_CASE("timers fire in order on a fake clock", "[threads]") {
  FakeClock clock;
  Timers timers(clock);
  std::mutex mutex;
  std::condition_variable cv;
  std::vector<int> fired;
  auto fire = [&](int n) {
    return [&, n] {
      std::lock_guard lock(mutex);
      fired.push_back(n);
      cv.notify_all();
    };
  };
  timers.after(std::chrono::seconds(2), fire(2));
  timers.after(std::chrono::seconds(1), fire(1));
  const auto cancelled = timers.after(std::chrono::seconds(1), fire(3));
  CHECK(timers.cancel(cancelled));
  CHECK_FALSE(timers.cancel(cancelled));
  clock.advance(std::chrono::seconds(5));
  std::unique_lock lock(mutex);
  REQUIRE(cv.wait_for(lock, std::chrono::seconds(10), [&] { return fired.size() == 2; }));
  CHECK(fired == std::vector<int>{1, 2});
}

TEST_CASE("thread pool bounds its queue and runs everything it took", "[threads]") {
  std::atomic<int> ran{0};
  int taken = 0;
  {
    ThreadPool pool("pool", 4, 100);
    for (int i = 0; i < 1000; ++i) taken += pool.submit([&] { ++ran; });
    pool.stop();
    CHECK_FALSE(pool.submit([] {}));
  }
  CHECK(ran == taken);
  CHECK(taken >= 100);
}

TEST_CASE("processes: output, exit code, timeout, missing program", "[process]") {
  auto out = run_process({.argv = {"sh", "-c", "cat; echo err >&2; exit 3"}, .stdin_text = "hello"}, std::chrono::seconds(10));
  REQUIRE(out);
  CHECK(out->out == "hello");
  CHECK(out->err == "err\n");
  CHECK(out->exit_code == 3);
  auto late = run_process({.argv = {"sleep", "100"}}, std::chrono::milliseconds(50));
  REQUIRE_FALSE(late);
  CHECK(late.error().is(reason::kTimeout));
  CHECK(run_process({.argv = {"no-such-program-here"}}, std::chrono::seconds(1)).error().not_found());
}

TEST_CASE("work that takes long is read by lines, told to end, and killed when it does not") {
  std::vector<std::string> lines;
  ProcessRun run;
  run.on_line = [&](std::string_view line) { lines.emplace_back(line); };
  auto out = run_process({.argv = {"sh", "-c", "echo one; echo err >&2; printf 'two\\nthree'; exit 4"}}, run);
  REQUIRE(out);
  CHECK(out->exit_code == 4);
  CHECK(out->err == "err\n");
  CHECK(lines == std::vector<std::string>{"one", "two", "three"});
  CHECK_FALSE(out->stopped);
  CHECK_FALSE(out->timed_out);

  // It ends in order when told to.
  run.grace = std::chrono::seconds(20);
  lines.clear();
  run.on_line = [&](std::string_view line) {
    lines.emplace_back(line);
    if (line == "ready") run.stop.request_stop();
  };
  auto told = run_process({.argv = {"sh", "-c", "trap 'echo ended; exit 7' TERM; echo ready; while :; do sleep 0.01; done"}}, run);
  REQUIRE(told);
  CHECK(told->exit_code == 7);
  CHECK(told->stopped);
  CHECK_FALSE(told->killed);
  CHECK(lines == std::vector<std::string>{"ready", "ended"});

  // It does not listen.
  ProcessRun deaf;
  deaf.timeout = deaf.grace = std::chrono::milliseconds(100);
  auto killed = run_process({.argv = {"sh", "-c", "trap '' TERM; while :; do sleep 0.01; done"}}, deaf);
  REQUIRE(killed);
  CHECK(killed->timed_out);
  CHECK(killed->killed);
  CHECK(killed->exit_code == 128 + 9);

  // It closes its output and goes on; it ends and leaves a child with its output.
  CHECK(run_process({.argv = {"sh", "-c", "exec >&- 2>&-; sleep 0.1; exit 5"}}, ProcessRun{})->exit_code == 5);
  const auto begun = std::chrono::steady_clock::now();
  CHECK(run_process({.argv = {"sh", "-c", "sleep 100 & exit 6"}}, ProcessRun{})->exit_code == 6);
  CHECK(std::chrono::steady_clock::now() - begun < std::chrono::seconds(20));
}

TEST_CASE("files are written whole with their mode", "[fs]") {
  const std::string dir = "/tmp/engenho-fs-" + random_name_suffix(8);
  REQUIRE(make_dirs(dir + "/a/b").ok());
  REQUIRE(write_file_atomic(dir + "/a/b/c", "one", 0600).ok());
  REQUIRE(write_file_atomic(dir + "/a/b/c", "two", 0600).ok());
  CHECK(*read_file(dir + "/a/b/c") == "two");
  CHECK_FALSE(make_dirs(dir + "/a/b/c/d").ok());
  (void)run_process({.argv = {"rm", "-rf", dir}}, std::chrono::seconds(5));
}

TEST_CASE("metrics: text format", "[metrics]") {
  metrics::Registry registry;
  registry.counter("requests_total", "Requests.", {{"verb", "G\"T"}}).add(3);
  registry.histogram("seconds", "Time.", {0.1, 1}).observe(0.5);
  const std::string text = registry.text();
  CHECK(text.find("requests_total{verb=\"G\\\"T\"} 3\n") != std::string::npos);
  CHECK(text.find("seconds_bucket{le=\"0.1\"} 0\nseconds_bucket{le=\"1\"} 1\nseconds_bucket{le=\"+Inf\"} 1\n") != std::string::npos);
}
