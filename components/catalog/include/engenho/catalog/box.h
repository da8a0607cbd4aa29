// Box<T>: a nullable pointer to a struct with value semantics: copying copies what it points to, comparing compares it.
// T may be incomplete where the Box is declared; the functions that need T complete are instantiated in generated code.
#pragma once

#include <utility>

namespace engenho::k8s {

template <typename T>
class Box {
 public:
  Box() = default;
  Box(std::nullptr_t) {}
  Box(const T& value) : p_(new T(value)) {}
  Box(T&& value) : p_(new T(std::move(value))) {}
  Box(const Box& other) : p_(other.p_ ? new T(*other.p_) : nullptr) {}
  Box(Box&& other) noexcept : p_(std::exchange(other.p_, nullptr)) {}
  Box& operator=(Box other) noexcept {
    std::swap(p_, other.p_);
    return *this;
  }
  ~Box() { delete p_; }

  explicit operator bool() const { return p_ != nullptr; }
  T* get() { return p_; }
  const T* get() const { return p_; }
  // Precondition: not null.
  T& operator*() { return *p_; }
  const T& operator*() const { return *p_; }
  T* operator->() { return p_; }
  const T* operator->() const { return p_; }
  // Makes it when it is null: `pod.spec.security_context.ensure().run_as_user = 1000`.
  T& ensure() {
    if (!p_) p_ = new T();
    return *p_;
  }
  void reset() { Box().swap(*this); }
  void swap(Box& other) noexcept { std::swap(p_, other.p_); }
  friend bool operator==(const Box& a, const Box& b) {
    return a.p_ == b.p_ || (a.p_ && b.p_ && *a.p_ == *b.p_);
  }

 private:
  T* p_ = nullptr;
};

}  // namespace engenho::k8s
