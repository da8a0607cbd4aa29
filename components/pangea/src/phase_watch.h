// Ends a run of an executor that stands still for longer than its phase may take. What advances is not late: each touch() begins the time anew, so a
// limit that is shorter than a large apply does not cut it.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include "engenho/base/clock.h"
#include "engenho/base/threads.h"

namespace engenho::pangea {

class PhaseWatch {
 public:
  // `outer` stops the run, too. Without a limit nothing is watched.
  PhaseWatch(Clock& clock, StopToken outer, std::optional<Duration> limit);
  ~PhaseWatch();
  PhaseWatch(const PhaseWatch&) = delete;
  PhaseWatch& operator=(const PhaseWatch&) = delete;

  StopToken token() const { return token_; }
  void touch();  // thread-safe
  bool expired() const;

 private:
  void watch(Duration limit);
  Clock& clock_;
  const StopToken outer_, token_;
  uint64_t id_ = 0;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  MonoTime since_;
  bool done_ = false, expired_ = false;
  std::thread thread_;
};

}  // namespace engenho::pangea
