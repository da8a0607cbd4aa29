// How long a compile takes, each in a sandboxed process of its own, from request to answer.
//
//   ninja -C build bench_pangea engenho && build/bench/pangea/bench_pangea build/engenho [--compiles 300] [--threads 1] [--gem NAME=DIR]...
//
// The template has two resources and an output; with gems they are aws_vpc and aws_subnet through the gems' functions.
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <mutex>
#include <thread>

#include "engenho/base/bytes.h"
#include "engenho/ruby/evaluator.h"

namespace {

using namespace engenho;

constexpr const char* kPlain = R"(template(:t) do
  a = resource(:null_resource, :a) { triggers({ who: $pangea_variables['who'] }) }
  resource(:null_resource, :b) { triggers({ a: a.id }) }
  output(:id) { value a.id }
end)";
constexpr const char* kGems = R"(template(:t) do
  provider(:aws) { region 'us-east-1' }
  vpc = aws_vpc(:main, { cidr_block: '10.0.0.0/16', tags: { Name: $pangea_variables['who'] } })
  aws_subnet(:a, { vpc_id: vpc.id, cidr_block: '10.0.1.0/24' })
  output(:id) { value vpc.id }
end)";

double milliseconds(std::chrono::steady_clock::duration d) {
  return std::chrono::duration<double, std::milli>(d).count();
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  ruby::EvaluatorOptions options;
  ruby::CompileRequest request;
  int64_t compiles = 300, threads = 1;
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::string flag = argv[i], value = argv[i + 1];
    if (flag == "--compiles") parse_int(value, compiles);
    if (flag == "--threads") parse_int(value, threads);
    if (flag == "--gem") request.gems.push_back({value.substr(0, value.find('=')), value.substr(value.find('=') + 1), ""});
  }
  if (argc < 2) {
    std::cerr << "usage: bench_pangea ENGENHO [--compiles N] [--threads N] [--gem NAME=DIR]...\n";
    return 2;
  }
  options.worker = {argv[1], "pangea-eval-worker"};
  options.max_concurrent = static_cast<size_t>(threads);
  request.source = request.gems.empty() ? kPlain : kGems;
  request.variables = {{"who", "world"}};
  ruby::Evaluator evaluator(options);
  auto begin = std::chrono::steady_clock::now();
  auto version = evaluator.version();
  if (!version) {
    std::cerr << version.error().to_string() << "\n";
    return 1;
  }
  std::printf("ruby %s\nstart of the evaluator %.1f ms\n", version->c_str(), milliseconds(std::chrono::steady_clock::now() - begin));
  begin = std::chrono::steady_clock::now();
  if (auto first = evaluator.compile(request); !first) {
    std::cerr << first.error().to_string() << "\n" << first.error().output;
    return 1;
  }
  std::printf("first compile %.1f ms\n", milliseconds(std::chrono::steady_clock::now() - begin));
  std::mutex mutex;
  std::vector<double> times;
  std::vector<std::thread> workers;
  begin = std::chrono::steady_clock::now();
  for (int64_t t = 0; t < threads; ++t) {
    workers.emplace_back([&] {
      for (int64_t i = 0; i < compiles / threads; ++i) {
        const auto start = std::chrono::steady_clock::now();
        auto result = evaluator.compile(request);
        const double took = milliseconds(std::chrono::steady_clock::now() - start);
        std::lock_guard lock(mutex);
        if (!result) {
          std::cerr << result.error().to_string() << "\n";
          continue;
        }
        times.push_back(took);
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  const double all = milliseconds(std::chrono::steady_clock::now() - begin);
  std::sort(times.begin(), times.end());
  if (times.empty()) return 1;
  auto at = [&](double q) { return times[std::min(times.size() - 1, static_cast<size_t>(q * static_cast<double>(times.size())))]; };
  std::printf("%zu compiles, %lld at once: p50 %.1f ms, p90 %.1f ms, p99 %.1f ms, %.0f a second\n", times.size(), static_cast<long long>(threads), at(0.5),
              at(0.9), at(0.99), static_cast<double>(times.size()) / all * 1000);
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  std::printf("memory of this process %ld MiB\n", usage.ru_maxrss >> 10);
  return 0;
}
