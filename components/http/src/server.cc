#include "engenho/http/server.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

#include "connection.h"
#include "engenho/base/log.h"
#include "engenho/base/threads.h"
#include "net.h"

namespace engenho::http {
namespace {

struct Listener {
  int fd = -1;
  uint16_t port = 0;
  bool tcp = true;
  std::string path;
  std::shared_ptr<Handler> handler;
  std::mutex mutex;
  std::shared_ptr<const TlsContext> tls;  // guarded by mutex
  bool uses_tls = false;
};

}  // namespace

struct Server::Impl {
  // Accepts on the first thread and hands each connection to the thread with the fewest.
  struct Acceptor final : Loop::Watcher {
    Impl& impl;
    Listener& listener;
    bool paused = false;
    Acceptor(Impl& i, Listener& l) : impl(i), listener(l) {}
    void on_ready(uint32_t) override { impl.accept(*this); }
  };

  explicit Impl(ServerOptions o) : options(std::move(o)) {
    shared.name = options.name;
    shared.limits = options.limits;
    for (int i = 0; i < std::max(1, options.threads); ++i) {
      threads.push_back(std::make_unique<IoThread>(shared));
      set_tick(*threads.back());
    }
  }

  void set_tick(IoThread& io) {
    const Limits& l = options.limits;
    Duration shortest = std::min({l.handshake_timeout, l.header_timeout, l.body_timeout, l.idle_timeout, l.stall_timeout});
    Duration interval = std::clamp<Duration>(shortest / 4, std::chrono::milliseconds(20), std::chrono::seconds(1));
    io.loop.set_tick(
        interval, [this, &io] { return !io.connections.empty() || accept_paused; },
        [this, &io] {
          resume_accept(io);
          // A tick may close the connection it looks at, and with it end others: walk over a copy.
          std::vector<std::shared_ptr<Connection>> all;
          all.reserve(io.connections.size());
          for (auto& [raw, connection] : io.connections) all.push_back(connection);
          for (auto& connection : all) connection->tick(io.loop.now());
        });
  }

  Result<ListenerId> add(std::unique_ptr<Listener> listener) {
    std::lock_guard lock(mutex);
    if (stopped) return err(unavailable("the server has been stopped"));
    Listener* raw = listener.get();
    acceptors.push_back(std::make_unique<Acceptor>(*this, *raw));
    Acceptor* acceptor = acceptors.back().get();
    listeners.push_back(std::move(listener));
    auto register_it = [this, raw, acceptor] {
      if (Status s = threads[0]->loop.add(raw->fd, false, acceptor); !s.ok())
        log::error("http", "{}: cannot watch a listener: {}", options.name, s.message());
    };
    if (started) {
      threads[0]->loop.post(register_it);
    } else {
      register_it();
    }
    return static_cast<ListenerId>(listeners.size() - 1);
  }

  void accept(Acceptor& acceptor) {
    Listener& listener = acceptor.listener;
    for (int i = 0; i < 64; ++i) {
      sockaddr_storage address{};
      socklen_t size = sizeof address;
      int fd = accept4(listener.fd, reinterpret_cast<sockaddr*>(&address), &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (fd < 0) {
        if (errno == EINTR || errno == ECONNABORTED) continue;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
          // The backlog stays readable: without a pause this thread would spin until a descriptor is free.
          log::warn("http", "{}: cannot accept: {}", options.name, strerror(errno));
          threads[0]->loop.remove(listener.fd);
          acceptor.paused = accept_paused = true;
        }
        return;
      }
      shared.accepted.fetch_add(1, std::memory_order_relaxed);
      if (shared.connections.load(std::memory_order_relaxed) >= options.limits.max_connections) {
        shared.refused.fetch_add(1, std::memory_order_relaxed);
        ::close(fd);
        continue;
      }
      if (listener.tcp) tune_tcp(fd);
      ConnectionInfo info;
      AddressText remote = address_text(reinterpret_cast<sockaddr*>(&address));
      info.remote_address = std::move(remote.with_port);
      info.remote_ip = std::move(remote.ip);
      info.local_address = local_address(fd).with_port;
      std::shared_ptr<const TlsContext> tls;
      {
        std::lock_guard lock(listener.mutex);
        tls = listener.tls;
      }
      IoThread* io = threads[0].get();
      for (auto& thread : threads)
        if (thread->load.load(std::memory_order_relaxed) < io->load.load(std::memory_order_relaxed)) io = thread.get();
      io->load.fetch_add(1, std::memory_order_relaxed);
      auto connection = std::make_shared<Connection>(*io, fd, listener.handler, std::move(tls), std::move(info));
      if (io->loop.on_thread()) {
        adopt(*io, std::move(connection));
      } else {
        io->loop.post([this, io, connection = std::move(connection)]() mutable { adopt(*io, std::move(connection)); });
      }
    }
  }

  static void adopt(IoThread& io, std::shared_ptr<Connection> connection) {
    if (io.draining || !connection->start()) return;
    io.connections.emplace(connection.get(), std::move(connection));
  }

  void resume_accept(IoThread& io) {
    if (!accept_paused || &io != threads[0].get()) return;
    std::lock_guard lock(mutex);
    accept_paused = false;
    for (auto& acceptor : acceptors) {
      if (!acceptor->paused || acceptor->listener.fd < 0) continue;
      acceptor->paused = false;
      if (!io.loop.add(acceptor->listener.fd, false, acceptor.get()).ok()) acceptor->paused = accept_paused = true;
    }
  }

  Status start() {
    std::lock_guard lock(mutex);
    if (started || stopped) return internal_error("the server was started before");
    started = true;
    for (size_t i = 0; i < threads.size(); ++i) {
      IoThread& io = *threads[i];
      running.emplace_back([this, i, &io] {
        set_thread_name(options.name + "-io" + std::to_string(i));
        io.loop.run();
      });
    }
    return {};
  }

  // Runs `fn` on each loop and waits for all.
  void on_all(const std::function<void(IoThread&)>& fn) {
    std::vector<std::future<void>> done;
    for (auto& thread : threads) {
      auto promise = std::make_shared<std::promise<void>>();
      done.push_back(promise->get_future());
      thread->loop.post([&fn, promise, io = thread.get()] {
        fn(*io);
        promise->set_value();
      });
    }
    for (auto& one : done) one.wait();
  }

  void stop(Duration grace) {
    {
      std::lock_guard lock(mutex);
      if (stopped) return;
      stopped = true;
    }
    if (started) {
      MonoTime deadline = std::chrono::steady_clock::now() + grace;
      std::promise<void> unlistened;
      threads[0]->loop.post([&] {
        close_listeners();
        unlistened.set_value();
      });
      unlistened.get_future().wait();

      std::mutex wait_mutex;
      std::condition_variable emptied;
      size_t busy = threads.size();
      on_all([&](IoThread& io) {
        io.draining = true;
        io.on_empty = [&] {
          std::lock_guard lock(wait_mutex);
          --busy;
          emptied.notify_all();
        };
        std::vector<std::shared_ptr<Connection>> all;
        for (auto& [raw, connection] : io.connections) all.push_back(connection);
        if (all.empty()) io.on_empty();
        for (auto& connection : all) connection->drain();
      });
      {
        std::unique_lock lock(wait_mutex);
        emptied.wait_until(lock, deadline, [&] { return busy == 0; });
      }
      on_all([](IoThread& io) {
        io.on_empty = nullptr;
        std::vector<std::shared_ptr<Connection>> all;
        for (auto& [raw, connection] : io.connections) all.push_back(connection);
        for (auto& connection : all) connection->close();
      });
      for (auto& thread : threads) thread->loop.stop();
      for (auto& thread : running) thread.join();
      running.clear();
    } else {
      close_listeners();
    }
  }

  void close_listeners() {
    for (auto& listener : listeners) {
      if (listener->fd < 0) continue;
      threads[0]->loop.remove(listener->fd);
      ::close(listener->fd);
      listener->fd = -1;
      if (!listener->path.empty()) ::unlink(listener->path.c_str());
    }
  }

  ServerOptions options;
  ServerShared shared;
  std::vector<std::unique_ptr<IoThread>> threads;
  std::vector<std::thread> running;
  mutable std::mutex mutex;  // guards listeners (growth), acceptors (growth), started, stopped
  std::vector<std::unique_ptr<Listener>> listeners;
  std::vector<std::unique_ptr<Acceptor>> acceptors;
  std::atomic<bool> accept_paused{false};
  bool started = false, stopped = false;
};

Server::Server(ServerOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Server::~Server() { stop(Duration(0)); }

Result<ListenerId> Server::listen_tcp(const std::string& address, uint16_t port, std::shared_ptr<Handler> handler,
                                      std::optional<TlsServerOptions> tls) {
  auto listener = std::make_unique<Listener>();
  listener->handler = std::move(handler);
  if (tls) {
    ENGENHO_ASSIGN(listener->tls, TlsContext::for_server(*tls));
    listener->uses_tls = true;
  }
  ENGENHO_ASSIGN(listener->fd, listen_tcp_socket(address, port));
  listener->port = bound_port(listener->fd);
  return impl_->add(std::move(listener));
}

Result<ListenerId> Server::listen_unix(const std::string& path, unsigned mode, std::shared_ptr<Handler> handler) {
  auto listener = std::make_unique<Listener>();
  listener->handler = std::move(handler);
  listener->tcp = false;
  ENGENHO_ASSIGN(listener->fd, listen_unix_socket(path, mode));
  listener->path = path;
  return impl_->add(std::move(listener));
}

uint16_t Server::port(ListenerId listener) const {
  std::lock_guard lock(impl_->mutex);
  size_t at = static_cast<size_t>(listener);
  return at < impl_->listeners.size() ? impl_->listeners[at]->port : 0;
}

Status Server::set_tls(ListenerId listener, const TlsServerOptions& tls) {
  auto context = TlsContext::for_server(tls);
  if (!context) return context.error();
  std::lock_guard lock(impl_->mutex);
  size_t at = static_cast<size_t>(listener);
  if (at >= impl_->listeners.size() || !impl_->listeners[at]->uses_tls) return internal_error("not a TLS listener");
  std::lock_guard listener_lock(impl_->listeners[at]->mutex);
  impl_->listeners[at]->tls = std::move(*context);
  return {};
}

Status Server::start() { return impl_->start(); }
void Server::stop(Duration grace) { impl_->stop(grace); }

ServerStats Server::stats() const {
  const ServerShared& s = impl_->shared;
  return ServerStats{s.connections.load(), s.accepted.load(), s.refused.load(), s.requests.load(), s.shed.load()};
}

}  // namespace engenho::http
