// What dialling and the client share.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "engenho/base/threads.h"
#include "engenho/http/client.h"
#include "socket_stream.h"
#include "tls.h"

namespace engenho::http {

// Closes a stream when a token is stopped, as long as this lives (or until clear()). StopToken::remove does not wait for
// a callback that runs, hence the shared cell.
class StopCloser {
 public:
  StopCloser(const StopToken* stop, Stream* stream) : cell_(std::make_shared<Cell>()) {
    cell_->stream = stream;
    if (!stop) return;
    stop_ = *stop;
    id_ = stop_->on_stop([cell = cell_] { cell->close(); });
  }
  ~StopCloser() { clear(); }
  StopCloser(const StopCloser&) = delete;
  StopCloser& operator=(const StopCloser&) = delete;
  void close() { cell_->close(); }
  void clear() {
    if (stop_) stop_->remove(id_);
    stop_.reset();
    std::lock_guard lock(cell_->mutex);
    cell_->stream = nullptr;
  }

 private:
  struct Cell {
    std::mutex mutex;
    Stream* stream = nullptr;
    void close() {
      std::lock_guard lock(mutex);
      if (stream) stream->close();
    }
  };
  std::shared_ptr<Cell> cell_;
  std::optional<StopToken> stop_;
  uint64_t id_ = 0;
};

Result<std::unique_ptr<Stream>> start_client_tls(std::unique_ptr<Stream> under,
                                                 const std::shared_ptr<const TlsContext>& context,
                                                 const std::string& host, MonoTime deadline, const StopToken* stop);

}  // namespace engenho::http
