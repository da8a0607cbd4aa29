#include "state_saver.h"

#include "engenho/base/random.h"

namespace engenho::magma {

Status StateSaver::update(const std::function<void(State&)>& change) {
  std::unique_lock lock(mutex_);
  change(state_);
  const uint64_t mine = ++version_;
  while (durable_ < mine) {
    if (!failed_.ok()) return failed_;
    if (writing_) {
      written_.wait(lock);
      continue;
    }
    // The first that finds nobody writing stores what all have changed so far.
    writing_ = true;
    State next = state_;
    next.prune();
    const uint64_t version = version_;
    const bool same = next.same_content(stored_) && next.applying == stored_.applying && !lineage_.empty();
    if (!same) {
      if (next.lineage.empty()) next.lineage = random_uuid();
      next.serial = serial_ + 1;
      lock.unlock();
      Status status = store_.write(dump_state(next), serial_, lineage_, token_);
      lock.lock();
      if (!status.ok()) {
        failed_ = status.with_context("the state could not be stored");
        writing_ = false;
        written_.notify_all();
        return failed_;
      }
      serial_ = next.serial;
      lineage_ = next.lineage;
      state_.lineage = next.lineage;
      state_.serial = next.serial;
      stored_ = std::move(next);
    }
    durable_ = version;
    writing_ = false;
    written_.notify_all();
  }
  return {};
}

}  // namespace engenho::magma
