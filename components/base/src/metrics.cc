#include "engenho/base/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace engenho::metrics {

namespace {

void add_to(std::atomic<double>& target, double by) {
  double old = target.load(std::memory_order_relaxed);
  while (!target.compare_exchange_weak(old, old + by, std::memory_order_relaxed)) {
  }
}

std::string render(const Labels& labels) {
  std::string out;
  for (const auto& [name, value] : labels) {
    if (!out.empty()) out += ',';
    out += name + "=\"";
    for (char c : value) {
      if (c == '\\' || c == '"') out += '\\';
      if (c == '\n') out += "\\n";
      else out += c;
    }
    out += '"';
  }
  return out;
}

std::string number(double value) {
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", value);
}

}  // namespace

void Gauge::add(double by) { add_to(value_, by); }

Histogram::Histogram(std::vector<double> upper_bounds)
    : bounds_(std::move(upper_bounds)), counts_(new std::atomic<uint64_t>[bounds_.size() + 1]) {
  for (size_t i = 0; i <= bounds_.size(); ++i) counts_[i] = 0;
}

void Histogram::observe(double value) {
  const size_t i = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  counts_[i].fetch_add(1, std::memory_order_relaxed);
  add_to(sum_, value);
}

void Histogram::write(std::string& out, std::string_view name, std::string_view labels) const {
  const std::string comma = labels.empty() ? "" : ",";
  uint64_t total = 0;
  for (size_t i = 0; i <= bounds_.size(); ++i) {
    total += counts_[i].load(std::memory_order_relaxed);
    out += fmt::format("{}_bucket{{{}{}le=\"{}\"}} {}\n", name, labels, comma,
                       i < bounds_.size() ? number(bounds_[i]) : "+Inf", total);
  }
  const std::string braces = labels.empty() ? "" : fmt::format("{{{}}}", labels);
  out += fmt::format("{}_sum{} {}\n{}_count{} {}\n", name, braces, number(sum_.load()), name, braces, total);
}

struct Registry::Family {
  std::string help, type;
  std::map<std::string, Counter> counters;
  std::map<std::string, Gauge> gauges;
  std::map<std::string, Histogram> histograms;
};

Registry::Registry() = default;
Registry::~Registry() = default;

Registry& Registry::global() {
  static Registry* registry = new Registry;  // outlives every thread
  return *registry;
}

Registry::Family& Registry::family(std::string_view name, std::string_view help, std::string_view type) {
  auto& slot = families_[std::string(name)];
  if (!slot) slot = std::make_unique<Family>(Family{std::string(help), std::string(type), {}, {}, {}});
  return *slot;
}

Counter& Registry::counter(std::string_view name, std::string_view help, const Labels& labels) {
  std::lock_guard lock(mutex_);
  return family(name, help, "counter").counters[render(labels)];
}
Gauge& Registry::gauge(std::string_view name, std::string_view help, const Labels& labels) {
  std::lock_guard lock(mutex_);
  return family(name, help, "gauge").gauges[render(labels)];
}
Histogram& Registry::histogram(std::string_view name, std::string_view help, const std::vector<double>& upper_bounds,
                               const Labels& labels) {
  std::lock_guard lock(mutex_);
  return family(name, help, "histogram").histograms.try_emplace(render(labels), upper_bounds).first->second;
}

std::string Registry::text() const {
  std::lock_guard lock(mutex_);
  std::string out;
  for (const auto& [name, family] : families_) {
    out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, family->help, name, family->type);
    auto braces = [](const std::string& labels) { return labels.empty() ? "" : "{" + labels + "}"; };
    for (const auto& [labels, c] : family->counters) out += fmt::format("{}{} {}\n", name, braces(labels), c.value());
    for (const auto& [labels, g] : family->gauges) out += fmt::format("{}{} {}\n", name, braces(labels), number(g.value()));
    for (const auto& [labels, h] : family->histograms) h.write(out, name, labels);
  }
  return out;
}

}  // namespace engenho::metrics
