#include "notifier.h"

#include "engenho/base/log.h"
#include "engenho/http/client.h"

namespace engenho::pangea {

namespace {

constexpr size_t kMostWaiting = 256;
constexpr int kAttempts = 5;
constexpr Duration kTimeout = std::chrono::seconds(10);

struct NtfyHeaders {
  const char *priority, *tags;
};
NtfyHeaders ntfy_headers(const std::string& action) {
  if (action == "suspend") return {"high", "no_entry,warning"};
  if (action == "page") return {"urgent", "rotating_light,red_circle"};
  return {"default", "warning"};
}

// Header values are one line.
std::string one_line(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
  }
  return text;
}

bool names_somebody(const pangea_v1::ApprovalRouting& route) {
  return !route.ntfy_topic.empty() || !route.webhook_url.empty() || static_cast<bool>(route.slack_webhook_secret_ref);
}

Status post(const std::string& url, http::Headers headers, std::string body) {
  http::Client client;
  http::ClientRequest request;
  request.method = "POST";
  request.url = url;
  request.headers = std::move(headers);
  request.body = http::Body(std::move(body));
  request.timeout = kTimeout;
  auto response = client.send(request);
  if (!response) return response.error();
  if (response->status >= 300) return Status(response->status, "", "answered " + std::to_string(response->status));
  return {};
}

}  // namespace

Notifier::Notifier(client::Client& client, const Options& options) : client_(client), options_(options) {}
Notifier::~Notifier() { stop(); }

void Notifier::stop() {
  {
    std::lock_guard lock(mutex_);
    group_.token().request_stop();
    wake_.notify_all();
  }
  group_.stop();
}

void Notifier::send(const pangea_v1::ApprovalRouting& route, News news) {
  if (!route.github_issue_template.empty()) log::warn("pangea", "{}: approvalRouting.githubIssueTemplate is not implemented; nobody is told by it", news.about);
  if (!names_somebody(route)) return;
  std::lock_guard lock(mutex_);
  if (queue_.size() >= kMostWaiting) {
    log::warn("pangea", "too much news wait; dropped: {} of {}", queue_.front().news.reason, queue_.front().news.about);
    queue_.pop_front();
  }
  queue_.push_back({route, std::move(news), 0, {}});
  if (!started_) {
    started_ = true;
    group_.spawn("send", [this](const StopToken& stop) { run(stop); });
  }
  wake_.notify_all();
}

void Notifier::run(const StopToken& stop) {
  while (!stop.stopped()) {
    Pending next;
    {
      std::unique_lock lock(mutex_);
      if (queue_.empty()) {
        wake_.wait(lock, [&] { return stop.stopped() || !queue_.empty(); });
        continue;
      }
      const MonoTime now = options_.clock->mono();
      if (queue_.front().not_before > now) {
        options_.clock->wait_until(wake_, lock, queue_.front().not_before);
        continue;
      }
      next = std::move(queue_.front());
      queue_.pop_front();
    }
    const Status delivered = deliver(next);
    if (delivered.ok()) continue;
    if (++next.attempt >= kAttempts) {
      log::error("pangea", "news of {} ({}) could not be delivered: {}", next.news.about, next.news.reason, delivered.message());
      continue;
    }
    next.not_before = options_.clock->mono() + std::chrono::seconds(1 << next.attempt);
    std::lock_guard lock(mutex_);
    queue_.push_back(std::move(next));
  }
}

Status Notifier::deliver(const Pending& pending) {
  const News& news = pending.news;
  const auto& route = pending.route;
  const std::string title = one_line(news.reason + ": " + news.about);
  Status result;
  if (!route.ntfy_topic.empty()) {
    const NtfyHeaders how = ntfy_headers(news.action);
    http::Headers headers;
    headers.add("Title", title);
    headers.add("Priority", how.priority);
    headers.add("Tags", how.tags);
    const std::string base = route.ntfy_url.empty() ? options_.ntfy_url : route.ntfy_url;
    if (Status s = post(base + "/" + route.ntfy_topic, std::move(headers), news.message); !s.ok()) result = s;
  }
  json::Value body = json::Object();
  body["action"] = news.action;
  body["reason"] = news.reason;
  body["template"] = news.about;
  body["message"] = news.message;
  http::Headers as_json;
  as_json.add("Content-Type", "application/json");
  if (!route.webhook_url.empty()) {
    if (Status s = post(route.webhook_url, as_json, json::dump(body)); !s.ok()) result = s;
  }
  if (route.slack_webhook_secret_ref) {
    const auto& ref = *route.slack_webhook_secret_ref;
    const std::string ns = ref.namespace_.empty() ? news.about.substr(0, news.about.find('/')) : ref.namespace_;
    auto secret = client_.get<core_v1::Secret>(ns, ref.name);
    if (!secret) return secret.error();
    auto url = secret->data.find(ref.key);
    if (url == secret->data.end()) return not_found_error("Secret " + ns + "/" + ref.name + " has no key \"" + ref.key + "\"");
    json::Value slack = json::Object();
    slack["text"] = "*" + title + "* (" + news.action + ")\n" + news.message;
    if (!route.slack_channel.empty()) slack["channel"] = route.slack_channel;
    // The address is a secret: what went wrong is told without it.
    if (Status s = post(url->second, as_json, json::dump(slack)); !s.ok()) result = Status(s.code(), s.reason(), "the Slack webhook of Secret " + ns + "/" + ref.name + " did not take it");
  }
  return result;
}

}  // namespace engenho::pangea
