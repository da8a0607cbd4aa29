// Bytes on their way to the socket: small pieces are gathered, bodies are referred to. One thread.
#pragma once

#include <sys/uio.h>

#include <cstring>
#include <string_view>
#include <vector>

#include "engenho/http/message.h"

namespace engenho::http {

class OutQueue {
 public:
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  // Copies: heads and frame headers.
  void append_copy(std::string_view text) {
    while (!text.empty()) {
      if (!small_ || small_used_ == kSmall) {
        small_ = std::make_shared<SmallBuffer>();
        small_used_ = 0;
      }
      size_t n = std::min(text.size(), kSmall - small_used_);
      char* at = small_->bytes + small_used_;
      std::memcpy(at, text.data(), n);
      small_used_ += n;
      size_ += n;
      text.remove_prefix(n);
      if (head_ < pieces_.size() && pieces_.back().data + pieces_.back().size == at && pieces_.back().owner == small_) {
        pieces_.back().size += n;
      } else {
        pieces_.push_back(Segment{small_, at, n});
      }
    }
  }
  void append(Segment segment) {
    if (segment.size == 0) return;
    size_ += segment.size;
    pieces_.push_back(std::move(segment));
  }

  // The first bytes as an I/O vector; returns how many entries were filled.
  int gather(iovec* out, int max) const {
    int n = 0;
    for (size_t i = head_; i < pieces_.size() && n < max; ++i, ++n) {
      out[n].iov_base = const_cast<char*>(pieces_[i].data);
      out[n].iov_len = pieces_[i].size;
    }
    return n;
  }
  // The first piece if it has `want` bytes, else up to `want` bytes gathered into `scratch`.
  std::string_view contiguous(char* scratch, size_t want) const {
    const Segment& first = pieces_[head_];
    if (first.size >= want || head_ + 1 == pieces_.size()) return {first.data, std::min(first.size, want)};
    size_t have = 0;
    for (size_t i = head_; i < pieces_.size() && have < want; ++i) {
      size_t n = std::min(pieces_[i].size, want - have);
      std::memcpy(scratch + have, pieces_[i].data, n);
      have += n;
    }
    return {scratch, have};
  }
  void consume(size_t count) {
    size_ -= count;
    while (count > 0) {
      Segment& first = pieces_[head_];
      if (count < first.size) {
        first.data += count;
        first.size -= count;
        break;
      }
      count -= first.size;
      first.owner.reset();
      ++head_;
    }
    if (head_ == pieces_.size()) {
      pieces_.clear();
      head_ = 0;
      small_.reset();
      if (pieces_.capacity() > 256) pieces_.shrink_to_fit();
    } else if (head_ > 64 && head_ * 2 > pieces_.size()) {
      pieces_.erase(pieces_.begin(), pieces_.begin() + static_cast<ptrdiff_t>(head_));
      head_ = 0;
    }
  }
  // An idle connection keeps nothing.
  void release() {
    if (!empty()) return;
    pieces_.clear();
    pieces_.shrink_to_fit();
    head_ = 0;
    small_.reset();
  }

 private:
  static constexpr size_t kSmall = 4000;
  struct SmallBuffer {
    char bytes[kSmall];
  };
  std::vector<Segment> pieces_;
  size_t head_ = 0, size_ = 0, small_used_ = 0;
  std::shared_ptr<SmallBuffer> small_;
};

}  // namespace engenho::http
