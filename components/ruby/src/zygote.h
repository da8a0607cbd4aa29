// The evaluator's side of the child: started when first needed, started again when it has ended, one call at a time per thread.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engenho/ruby/evaluator.h"
#include "protocol.h"

namespace engenho::ruby {

// How a call ended, before anyone has looked at its answer.
struct CallOutcome {
  enum class End { kAnswered, kTimeout, kCancelled, kTooLarge, kLost } end = End::kAnswered;
  int wait_status = 0;
  std::string reply;   // at most output_bytes and a little
  std::string output;  // the last 8 KiB of stdout and stderr
};

class ZygoteClient {
 public:
  explicit ZygoteClient(const EvaluatorOptions& options);

  // Waits for one of max_concurrent places; then the call runs to its end, the deadline, or the stop. Errors are kUnavailable and kCancelled.
  Evaluated<CallOutcome> call(const json::Value& request, const std::vector<GemTree>& gems, const std::string& tree, StopToken stop);
  Evaluated<std::string> version(StopToken stop);
  void close();

 private:
  // A place among the calls that may run at once; also the number of the uid that it runs under.
  struct Places;
  class Place;
  Result<std::string> start_locked();
  Result<std::string> ensure_started_locked();
  // False when the child had ended before the call began: it may be tried again.
  bool try_call(const std::string& header, int body, const StopToken& stop, CallOutcome& outcome, Status& unavailable);
  void wait_for_end(int reply, int output, int status, const StopToken& stop, CallOutcome& outcome, bool& started);

  const EvaluatorOptions options_;
  std::mutex mutex_;  // control_ and version_
  Descriptor control_;
  std::string version_;
  const std::shared_ptr<Places> places_;
};

}  // namespace engenho::ruby
