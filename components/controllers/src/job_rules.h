// What a Job's numbers mean: indexes, which failures count, how long to wait after them. Pure functions of their arguments.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engenho/catalog/batch_v1.h"
#include "pod_control.h"

namespace engenho::controllers {

namespace batch_v1 = k8s::batch_v1;

inline constexpr char kJobFinalizer[] = "batch.kubernetes.io/job-tracking";
inline constexpr char kCompletionIndex[] = "batch.kubernetes.io/job-completion-index";  // annotation and label
inline constexpr char kIndexFailures[] = "batch.kubernetes.io/job-index-failure-count";
inline constexpr char kIndexIgnoredFailures[] = "batch.kubernetes.io/job-index-ignored-failure-count";

bool is_indexed(const batch_v1::Job& job);
bool is_suspended(const batch_v1::Job& job);
bool replaces_only_failed(const batch_v1::Job& job);  // a pod that is being deleted still counts until it is gone
bool is_finished(const batch_v1::Job& job);           // Complete or Failed
bool has_finalizer(const core_v1::Pod& pod);
const batch_v1::JobCondition* find_condition(const batch_v1::Job& job, std::string_view type);  // with status True

// A set of completion indexes, as text "1,3-5,7". Kept as spans: its size is that of the text, not that of the numbers in it.
class Indexes {
 public:
  static Indexes parse(std::string_view text, int completions);  // what is not a number, or not below `completions`, is left out
  void add(int index) { add(index, index); }
  void add(int first, int last);
  void add(const Indexes& other);
  bool contains(int index) const;
  bool empty() const { return spans_.empty(); }
  int64_t size() const;
  int64_t overlap(const Indexes& other) const;
  std::vector<int> missing(int64_t count, int completions) const;  // the lowest `count` below `completions` that are not in it
  std::string to_string() const;

 private:
  std::map<int, int> spans_;  // first to last; they neither touch nor overlap
};
std::optional<int> completion_index(const core_v1::Pod& pod);

// Failed, or going without having finished where that counts as failed.
bool is_failed(const core_v1::Pod& pod, const batch_v1::Job& job);
struct FailureVerdict {
  bool counts = true;
  bool fails_index = false;
  std::optional<std::string> fails_job;  // why
};
FailureVerdict judge_failure(const batch_v1::Job& job, const core_v1::Pod& pod);  // by the podFailurePolicy
int failures_of_index(const core_v1::Pod& pod, bool ignored_too);
bool fails_its_index(const batch_v1::Job& job, const core_v1::Pod& pod);  // by backoffLimitPerIndex
// OnFailure: the containers' restarts have reached the backoffLimit.
bool restarted_too_often(const batch_v1::Job& job, const std::vector<PodPtr>& pods);
// Why the successPolicy is met, if it is.
std::optional<std::string> success_policy_met(const batch_v1::Job& job, const Indexes& succeeded);

WallTime finished_at(const core_v1::Pod& pod);

// Failures since the last success.
struct JobBackoff {
  int failures = 0;
  WallTime last_failure;
  void add(std::vector<PodPtr> succeeded, std::vector<PodPtr> failed);
  // How long until the next pod may be made: 10 s doubled with each failure, 10 minutes at most.
  Duration remaining(WallTime now) const;
};

}  // namespace engenho::controllers
