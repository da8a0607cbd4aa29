#include "phase_watch.h"

namespace engenho::pangea {

PhaseWatch::PhaseWatch(Clock& clock, StopToken outer, std::optional<Duration> limit) : clock_(clock), outer_(std::move(outer)), since_(clock.mono()) {
  id_ = outer_.on_stop([token = token_]() mutable { token.request_stop(); });
  if (limit) thread_ = std::thread([this, limit = *limit] { watch(limit); });
}

PhaseWatch::~PhaseWatch() {
  outer_.remove(id_);
  {
    std::lock_guard lock(mutex_);
    done_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void PhaseWatch::touch() {
  std::lock_guard lock(mutex_);
  since_ = clock_.mono();
}

bool PhaseWatch::expired() const {
  std::lock_guard lock(mutex_);
  return expired_;
}

void PhaseWatch::watch(Duration limit) {
  std::unique_lock lock(mutex_);
  while (!done_ && clock_.mono() - since_ <= limit) clock_.wait_until(wake_, lock, since_ + limit + Duration(1));
  if (done_) return;
  expired_ = true;
  lock.unlock();
  StopToken(token_).request_stop();
}

}  // namespace engenho::pangea
