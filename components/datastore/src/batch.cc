#include "batch.h"

#include <rocksdb/iterator.h>

#include <set>

#include "engenho/datastore/errors.h"

namespace engenho::datastore {

Batch::Batch(Database& database, Reader& reader, const LeaseBook& leases, const Progress& progress)
    : database_(database),
      reader_(reader),
      leases_(leases),
      progress_(progress),
      state_{progress.revision.load(), progress.keys.load()},
      compacted_(progress.compacted.load()) {}

void Batch::begin() { changes_.clear(); }

void Batch::undo() {
  for (auto it = changes_.rbegin(); it != changes_.rend(); ++it) {
    if (it->overlaid) overlay_[it->key] = std::move(*it->overlaid);
    else overlay_.erase(it->key);
  }
  changes_.clear();
}

void Batch::accept() {
  if (changes_.empty()) return;
  const Revision revision = ++state_.revision;
  std::string log;
  RevisionEvents events;
  events.revision = revision;
  events.events.reserve(changes_.size());
  int32_t sub = 0;
  for (Pending& change : changes_) {
    // A later request of this batch may take it from the overlay for its `before`: there, too.
    if (change.after) {
      change.after->sub_revision = sub;
      if (const auto it = overlay_.find(change.key); it != overlay_.end() && it->second) it->second->sub_revision = sub;
    }
    ++sub;
    store(change, revision, log);
    auto event = std::make_shared<Event>();
    if (change.after) {
      event->kv = std::move(*change.after);
    } else {
      event->type = Event::Type::kDelete;
      event->kv.key = std::move(change.key);
      event->kv.value = empty_bytes();
      event->kv.mod_revision = revision;
      event->kv.sub_revision = sub - 1;
    }
    event->previous = std::move(change.before);
    events.bytes += sizeof(Event) + 2 * event->kv.key.size() + event->kv.value->size();
    if (event->previous) events.bytes += event->previous->value->size();
    events.events.push_back(std::move(event));
  }
  rows_.Put(database_.log(), log_key(revision), log);
  events_.push_back(std::move(events));
  changes_.clear();
}

void Batch::store(const Pending& change, Revision revision, std::string& log) {
  const auto& before = change.before;
  const auto& after = change.after;
  // The header is encoded alone and the value follows as a second part, so that it is copied once only.
  const auto header = [](const KeyValue& kv) {
    return encode_row({kv.create_revision, kv.mod_revision, kv.version, kv.lease, kv.sub_revision}, "");
  };
  const auto put = [this](rocksdb::ColumnFamilyHandle* family, std::string_view key, const std::string& head,
                          const std::string& value) {
    const rocksdb::Slice key_part = slice(key);
    const rocksdb::Slice parts[] = {head, value};
    rows_.Put(family, rocksdb::SliceParts(&key_part, 1), rocksdb::SliceParts(parts, 2));
  };
  if (after) put(database_.live(), change.key, header(*after), *after->value);
  else rows_.Delete(database_.live(), change.key);
  if (before) {
    std::string head = encode_int(revision) + header(*before);
    put(database_.past(), past_key(change.key, before->mod_revision), head, *before->value);
  }
  append_change(log, !after, before ? before->mod_revision : 0, change.key);
  const LeaseId old_lease = before ? before->lease : 0, new_lease = after ? after->lease : 0;
  if (old_lease != new_lease) {
    if (old_lease != 0) rows_.Delete(database_.meta(), attachment_key(old_lease, change.key));
    if (new_lease != 0) rows_.Put(database_.meta(), attachment_key(new_lease, change.key), "");
  }
  state_.keys += (after ? 1 : 0) - (before ? 1 : 0);
}

void Batch::finish() {
  if (changed()) rows_.Put(database_.meta(), slice(kMetaState), encode_state(state_));
}

void Batch::compact(Revision revision) {
  compacted_ = revision;
  rows_.Put(database_.meta(), slice(kMetaCompacted), encode_int(revision));
}

Result<std::optional<KeyValue>> Batch::get(const std::string& key) {
  if (const auto it = overlay_.find(key); it != overlay_.end()) return it->second;
  return reader_.newest(key);
}

Status Batch::scan(const KeyRange& range, const std::function<bool(const KeyValue&)>& visit) {
  if (range.empty()) return {};
  rocksdb::ReadOptions read;
  const rocksdb::Slice upper = range.end;
  if (!range.end.empty()) read.iterate_upper_bound = &upper;
  std::unique_ptr<rocksdb::Iterator> it(database_.db().NewIterator(read, database_.live()));
  it->Seek(range.start);
  auto over = overlay_.lower_bound(range.start);
  const auto over_end = range.end.empty() ? overlay_.end() : overlay_.lower_bound(range.end);
  while (it->Valid() || over != over_end) {
    const int order = !it->Valid() ? 1 : over == over_end ? -1 : view(it->key()).compare(over->first);
    if (order < 0) {
      RowView row;
      if (!decode_row(view(it->value()), row))
        return damaged_error("a row of \"live\" is malformed, key " + it->key().ToString());
      if (!visit(to_key_value(view(it->key()), row))) return {};
    } else if (over->second && !visit(*over->second)) {
      return {};
    }
    if (order <= 0) it->Next();
    if (order >= 0) ++over;
  }
  return database_.status(it->status(), "read a range");
}

Result<ListResult> Batch::list(const ListRequest& request) {
  if (request.revision > 0 && request.revision < revision()) {
    ENGENHO_ASSIGN(ListResult result, reader_.list(request));
    result.revision = revision();
    return result;
  }
  ListResult result;
  ListBuilder builder(request, result);
  ENGENHO_TRY(scan(request.range, [&](const KeyValue& kv) { return builder.add(kv); }));
  builder.finish();
  result.revision = revision();
  return result;
}

Status Batch::check_revision(Revision revision) const {
  // Before the first compaction etcd's mark is -1.
  if (revision < (compacted_ > 0 ? compacted_ : -1)) return compacted_error();
  // Revisions of this batch are not yet anybody's to ask for.
  return revision > progress_.revision.load() ? future_revision_error() : Status();
}

void Batch::change(std::string key, std::optional<KeyValue> before, std::optional<KeyValue> after) {
  Pending pending;
  if (const auto it = overlay_.find(key); it != overlay_.end()) {
    pending.overlaid = std::move(it->second);
    it->second = after;
  } else {
    overlay_.emplace(key, after);
  }
  pending.key = std::move(key);
  pending.before = std::move(before);
  pending.after = std::move(after);
  changes_.push_back(std::move(pending));
}

Revision Batch::write(std::string key, Bytes value, LeaseId lease, std::optional<KeyValue> before) {
  const Revision revision = state_.revision + 1;
  KeyValue after;
  after.key = key;
  after.value = std::move(value);
  after.create_revision = before ? before->create_revision : revision;
  after.mod_revision = revision;
  after.version = before ? before->version + 1 : 1;
  after.lease = lease;
  change(std::move(key), std::move(before), std::move(after));
  return revision;
}

Revision Batch::erase(KeyValue before) {
  std::string key = before.key;
  change(std::move(key), std::move(before), std::nullopt);
  return state_.revision + 1;
}

Result<PutResult> Batch::put(const PutOp& op) {
  ENGENHO_ASSIGN(auto before, get(op.key));
  if ((op.ignore_value || op.ignore_lease) && !before) return err(key_not_found_error());
  PutResult result;
  if (op.prev_kv) result.previous = before;
  Bytes value = op.ignore_value ? before->value : op.value;
  const LeaseId lease = op.ignore_lease ? before->lease : op.lease;
  write(op.key, std::move(value), lease, std::move(before));
  return result;
}

Result<DeleteResult> Batch::remove(const DeleteOp& op) {
  std::vector<KeyValue> found;
  if (op.range.single()) {
    ENGENHO_ASSIGN(auto kv, get(op.range.start));
    if (kv) found.push_back(std::move(*kv));
  } else {
    ENGENHO_TRY(scan(op.range, [&](const KeyValue& kv) {
      found.push_back(kv);
      return true;
    }));
  }
  DeleteResult result;
  result.deleted = static_cast<int64_t>(found.size());
  for (KeyValue& kv : found) {
    if (op.prev_kv) result.previous.push_back(kv);
    erase(std::move(kv));
  }
  result.revision = revision();
  return result;
}

Result<std::vector<std::string>> Batch::attached_keys(LeaseId lease) {
  ENGENHO_ASSIGN(auto on_disk, reader_.attached_keys(lease));
  std::set<std::string> keys(on_disk.begin(), on_disk.end());
  for (const auto& [key, kv] : overlay_) {
    if (kv && kv->lease == lease) keys.insert(key);
    else keys.erase(key);
  }
  return std::vector<std::string>(keys.begin(), keys.end());
}

}  // namespace engenho::datastore
