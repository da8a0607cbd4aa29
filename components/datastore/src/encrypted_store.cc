#include <algorithm>
#include <mutex>

#include "engenho/base/log.h"
#include "engenho/datastore/encryption.h"

namespace engenho::datastore {

namespace {

bool covered(const std::vector<std::string>& prefixes, std::string_view key) {
  return std::any_of(prefixes.begin(), prefixes.end(), [&](const std::string& prefix) { return key.starts_with(prefix); });
}

// A range that holds a key under one of the prefixes.
bool touches(const std::vector<std::string>& prefixes, const KeyRange& range) {
  return std::any_of(prefixes.begin(), prefixes.end(), [&](const std::string& prefix) {
    const KeyRange those = KeyRange::prefix(prefix);
    return (range.end.empty() || those.start < range.end) && (those.end.empty() || range.start < those.end);
  });
}

constexpr std::string_view kMark = "k8s:enc:";

Status reveal(KeyRing& keys, KeyValue& kv) {
  if (!kv.value || !kv.value->starts_with(kMark)) return {};
  ENGENHO_ASSIGN_OR_RETURN(std::string plain, keys.decrypt(kv.key, *kv.value));
  kv.value = make_bytes(std::move(plain));
  return {};
}
Status reveal(KeyRing& keys, std::optional<KeyValue>& kv) { return kv ? reveal(keys, *kv) : Status(); }
Status reveal(KeyRing& keys, std::vector<KeyValue>& kvs) {
  for (KeyValue& kv : kvs) ENGENHO_RETURN_IF_ERROR(reveal(keys, kv));
  return {};
}
Status reveal(KeyRing& keys, TxnResult& result) {
  for (TxnOpResult& one : result.results) {
    if (auto* list = std::get_if<ListResult>(&one)) ENGENHO_RETURN_IF_ERROR(reveal(keys, list->kvs));
    if (auto* put = std::get_if<PutResult>(&one)) ENGENHO_RETURN_IF_ERROR(reveal(keys, put->previous));
    if (auto* remove = std::get_if<DeleteResult>(&one)) ENGENHO_RETURN_IF_ERROR(reveal(keys, remove->previous));
    if (auto* nested = std::get_if<std::shared_ptr<const TxnResult>>(&one)) {
      auto plain = std::make_shared<TxnResult>(**nested);
      ENGENHO_RETURN_IF_ERROR(reveal(keys, *plain));
      *nested = std::move(plain);
    }
  }
  return {};
}

// Decrypts what a watch delivers. Owned by the watch's handle.
class RevealingSink final : public WatchSink {
 public:
  RevealingSink(KeyRing& keys, WatchSink* to) : keys_(keys), to_(to) {}
  Flow on_events(const WatchBatch& batch) override {
    if (ended_) return Flow::kPause;
    std::vector<EventPtr> plain(batch.events.begin(), batch.events.end());
    for (EventPtr& event : plain) {
      const bool value = event->kv.value && event->kv.value->starts_with(kMark);
      const bool previous = event->previous && event->previous->value && event->previous->value->starts_with(kMark);
      if (!value && !previous) continue;
      auto open = std::make_shared<Event>(*event);
      Status status = reveal(keys_, open->kv);
      if (status.ok()) status = reveal(keys_, open->previous);
      if (!status.ok()) {
        // Leaving it out would be a gap that nobody sees.
        log::error("datastore", "a watch ends: {}", status.message());
        ended_ = true;
        to_->on_end({status, 0});
        return Flow::kPause;
      }
      event = std::move(open);
    }
    return to_->on_events({plain, batch.through});
  }
  void on_progress(Revision revision) override {
    if (!ended_) to_->on_progress(revision);
  }
  void on_end(const WatchEnd& end) override {
    if (!ended_) to_->on_end(end);
  }

 private:
  KeyRing& keys_;
  WatchSink* to_;
  bool ended_ = false;  // calls come one at a time
};

class RevealingWatch final : public Watch {
 public:
  explicit RevealingWatch(std::unique_ptr<RevealingSink> sink) : sink_(std::move(sink)) {}
  ~RevealingWatch() override { watch_.reset(); }  // before the sink
  void resume() override { watch_->resume(); }
  void request_progress() override { watch_->request_progress(); }
  RevealingSink* sink() { return sink_.get(); }
  void set(std::unique_ptr<Watch> watch) { watch_ = std::move(watch); }

 private:
  std::unique_ptr<RevealingSink> sink_;
  std::unique_ptr<Watch> watch_;
};

class EncryptedStore final : public Store {
 public:
  EncryptedStore(Store& under, EncryptionOptions options) : under_(under), options_(std::move(options)), keys_(*options_.keys) {}

  Revision revision() const override { return under_.revision(); }
  Revision compacted_revision() const override { return under_.compacted_revision(); }

  Result<GetResult> get(std::string_view key, Revision revision) override {
    ENGENHO_ASSIGN(GetResult result, under_.get(key, revision));
    ENGENHO_TRY(reveal(keys_, result.kv));
    return result;
  }
  Result<ListResult> list(const ListRequest& request) override {
    ENGENHO_ASSIGN(ListResult result, under_.list(request));
    ENGENHO_TRY(reveal(keys_, result.kvs));
    return result;
  }

  void create_async(std::string key, Bytes value, LeaseId lease, Done<WriteResult> done) override {
    if (Status status = hide(key, value); !status.ok()) return done(err(std::move(status)));
    under_.create_async(std::move(key), std::move(value), lease, opening(std::move(done)));
  }
  void update_async(std::string key, Bytes value, Revision expected, LeaseId lease, Done<WriteResult> done) override {
    if (Status status = hide(key, value); !status.ok()) return done(err(std::move(status)));
    under_.update_async(std::move(key), std::move(value), expected, lease, opening(std::move(done)));
  }
  void remove_async(std::string key, Revision expected, Done<WriteResult> done) override {
    under_.remove_async(std::move(key), expected, opening(std::move(done)));
  }
  void txn_async(TxnRequest request, Done<TxnResult> done) override {
    if (Status status = hide(request); !status.ok()) return done(err(std::move(status)));
    under_.txn_async(std::move(request), [this, done = std::move(done)](Result<TxnResult> result) mutable {
      if (result)
        if (Status status = reveal(keys_, *result); !status.ok()) return done(err(std::move(status)));
      done(std::move(result));
    });
  }

  void compact_async(Revision revision, bool physical, Done<Revision> done) override { under_.compact_async(revision, physical, std::move(done)); }
  void lease_grant_async(int64_t ttl, LeaseId id, Done<LeaseGrant> done) override { under_.lease_grant_async(ttl, id, std::move(done)); }
  void lease_revoke_async(LeaseId id, Done<Revision> done) override { under_.lease_revoke_async(id, std::move(done)); }
  Result<int64_t> lease_keep_alive(LeaseId id) override { return under_.lease_keep_alive(id); }
  Result<LeaseInfo> lease_time_to_live(LeaseId id, bool keys) override { return under_.lease_time_to_live(id, keys); }
  Result<std::vector<LeaseId>> leases() override { return under_.leases(); }
  Result<StoreStatus> status() override { return under_.status(); }
  void alarm_async(Alarm alarm, bool active, Done<std::optional<Alarm>> done) override { under_.alarm_async(alarm, active, std::move(done)); }
  // As they lie on disk: hashes and snapshots are of those.
  Result<Revision> versions(const VersionsRequest& request, const VersionVisitor& visit) override { return under_.versions(request, visit); }
  Status defragment() override { return under_.defragment(); }

  Result<std::unique_ptr<Watch>> watch(WatchRequest request, WatchSink* sink) override {
    auto handle = std::make_unique<RevealingWatch>(std::make_unique<RevealingSink>(keys_, sink));
    ENGENHO_ASSIGN(auto watch, under_.watch(std::move(request), handle->sink()));
    handle->set(std::move(watch));
    return handle;
  }

 private:
  Status hide(const std::string& key, Bytes& value) {
    if (!value || !covered(options_.prefixes, key)) return {};
    ENGENHO_ASSIGN_OR_RETURN(std::string sealed, keys_.encrypt(key, *value));
    value = make_bytes(std::move(sealed));
    return {};
  }
  Status hide(TxnRequest& request) {
    for (const Compare& compare : request.compares)
      if (compare.target == Compare::Target::kValue && touches(options_.prefixes, compare.range))
        return bad_request("values that are encrypted cannot be compared");
    for (auto* ops : {&request.then_ops, &request.else_ops}) {
      for (TxnOp& op : *ops) {
        if (auto* put = std::get_if<PutOp>(&op)) ENGENHO_RETURN_IF_ERROR(hide(put->key, put->value));
        if (auto* nested = std::get_if<std::shared_ptr<const TxnRequest>>(&op)) {
          auto hidden = std::make_shared<TxnRequest>(**nested);
          ENGENHO_RETURN_IF_ERROR(hide(*hidden));
          *nested = std::move(hidden);
        }
      }
    }
    return {};
  }
  Done<WriteResult> opening(Done<WriteResult> done) {
    return [this, done = std::move(done)](Result<WriteResult> result) mutable {
      if (result) {
        Status status = reveal(keys_, result->current);
        if (status.ok()) status = reveal(keys_, result->previous);
        // A write that was made is not reported as failed because of what was there before.
        if (!status.ok() && result->succeeded) result->previous.reset();
        else if (!status.ok()) return done(err(std::move(status)));
      }
      done(std::move(result));
    };
  }

  Store& under_;
  const EncryptionOptions options_;
  KeyRing& keys_;
};

}  // namespace

std::unique_ptr<Store> encrypted_store(Store& under, EncryptionOptions options) {
  return std::make_unique<EncryptedStore>(under, std::move(options));
}

Result<size_t> encrypt_anew(Store& under, const EncryptionOptions& options) {
  size_t count = 0;
  for (const std::string& prefix : options.prefixes) {
    ListRequest request;
    request.range = KeyRange::prefix(prefix);
    request.limit = 200;
    for (bool more = true; more;) {
      ENGENHO_ASSIGN(const ListResult page, under.list(request));
      more = page.more;
      for (const KeyValue& listed : page.kvs) {
        std::optional<KeyValue> kv = listed;
        // Until it is under the first key or gone: somebody else may write it at the same time.
        while (kv) {
          bool old = false;
          ENGENHO_ASSIGN(const std::string plain, options.keys->decrypt(kv->key, *kv->value, &old));
          if (!old) break;
          ENGENHO_ASSIGN(std::string sealed, options.keys->encrypt(kv->key, plain));
          ENGENHO_ASSIGN(WriteResult written, under.update(kv->key, make_bytes(std::move(sealed)), kv->mod_revision, kv->lease));
          if (written.succeeded) {
            ++count;
            break;
          }
          kv = std::move(written.current);
        }
      }
      if (!page.kvs.empty()) request.range.start = page.kvs.back().key + '\0';
    }
  }
  return count;
}

}  // namespace engenho::datastore
