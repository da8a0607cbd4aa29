#include "reader.h"

#include <rocksdb/iterator.h>

#include "engenho/datastore/errors.h"

namespace engenho::datastore {

namespace {

Status malformed(std::string_view family, std::string_view key) {
  return damaged_error("a row of \"" + std::string(family) + "\" is malformed, key " + std::string(key));
}

// A range of one key: one look, which the tables' filters shorten, in place of an iterator over all of them.
ListResult list_of(std::optional<KeyValue> kv, const ListRequest& request) {
  ListResult result;
  result.count = kv ? 1 : 0;
  if (!kv || request.count_only) return result;
  if (request.keys_only) kv->value = empty_bytes();
  result.kvs.push_back(std::move(*kv));
  return result;
}

}  // namespace

Bytes empty_bytes() {
  static const Bytes empty = make_bytes("");
  return empty;
}

KeyValue to_key_value(std::string_view key, const RowView& row, bool keys_only) {
  KeyValue kv;
  kv.key.assign(key);
  kv.value = keys_only || row.value.empty() ? empty_bytes() : make_bytes(std::string(row.value));
  kv.create_revision = row.header.create_revision;
  kv.mod_revision = row.header.mod_revision;
  kv.version = row.header.version;
  kv.lease = row.header.lease;
  kv.sub_revision = row.header.sub_revision;
  return kv;
}

bool ListBuilder::add(std::string_view key, const RowView& row) {
  ++count_;
  if (request_.count_only) return true;
  if (request_.limit > 0 && static_cast<int64_t>(result_.kvs.size()) >= request_.limit) {
    result_.more = true;
    stopped_ = !request_.want_count;
    return !stopped_;
  }
  result_.kvs.push_back(to_key_value(key, row, request_.keys_only));
  return true;
}

bool ListBuilder::add(const KeyValue& kv) {
  return add(kv.key, {{kv.create_revision, kv.mod_revision, kv.version, kv.lease, kv.sub_revision}, *kv.value});
}

Result<std::optional<KeyValue>> Reader::newest(std::string_view key) {
  rocksdb::PinnableSlice bytes;
  const rocksdb::Status got =
      database_.db().Get(rocksdb::ReadOptions(), database_.live(), slice(key), &bytes);
  if (got.IsNotFound()) return std::nullopt;
  if (!got.ok()) return err(database_.status(got, "read a key"));
  RowView row;
  if (!decode_row(view(bytes), row)) return err(malformed("live", key));
  return to_key_value(key, row);
}

Result<GetResult> Reader::get(std::string_view key, Revision revision) {
  GetResult result;
  result.revision = progress_.revision.load();
  if (revision <= 0) {
    ENGENHO_ASSIGN(auto kv, newest(key));
    // Exact when the row was there already at that revision, or when no commit had begun since.
    if (kv ? kv->mod_revision <= result.revision : progress_.assigned.load() == result.revision) {
      result.kv = std::move(kv);
      return result;
    }
  }
  for (;;) {
    At at(*this, revision > 0 ? revision : result.revision);
    if (Status status = at.check(); !status.ok()) {
      if (!outrun(status, revision, result.revision)) return err(std::move(status));
      continue;
    }
    ENGENHO_ASSIGN(result.kv, at.get(key));
    return result;
  }
}

// Whether a read of the newest revision lost the race against a compaction at a still newer one, and should try again.
bool Reader::outrun(const Status& status, Revision asked, Revision& now) const {
  if (asked > 0 || !is_compacted(status)) return false;
  now = progress_.revision.load();
  return true;
}

Result<ListResult> Reader::list(const ListRequest& request) {
  if (request.range.single()) {
    ENGENHO_ASSIGN(GetResult got, get(request.range.start, request.revision));
    ListResult result = list_of(std::move(got.kv), request);
    result.revision = got.revision;
    return result;
  }
  Revision now = progress_.revision.load();
  for (;;) {
    At at(*this, request.revision > 0 ? request.revision : now);
    if (Status status = at.check(); !status.ok()) {
      if (!outrun(status, request.revision, now)) return err(std::move(status));
      continue;
    }
    ENGENHO_ASSIGN(ListResult result, at.list(request));
    result.revision = now;
    return result;
  }
}

Reader::At::At(Reader& reader, Revision revision)
    : reader_(reader), revision_(revision), snapshot_(reader.database_.db().GetSnapshot()) {}

Reader::At::~At() { reader_.database_.db().ReleaseSnapshot(snapshot_); }

Status Reader::At::check() const {
  if (revision_ > reader_.progress_.revision.load()) return future_revision_error();
  // Loaded after the snapshot was taken: what is compacted later was still there in it.
  if (revision_ < reader_.progress_.compacted.load()) return compacted_error();
  return {};
}

Result<std::optional<KeyValue>> Reader::At::get(std::string_view key) {
  Database& database = reader_.database_;
  rocksdb::ReadOptions read;
  read.snapshot = snapshot_;
  RowView row;
  {
    rocksdb::PinnableSlice bytes;
    const rocksdb::Status got = database.db().Get(read, database.live(), slice(key), &bytes);
    if (!got.ok() && !got.IsNotFound()) return err(database.status(got, "read a key"));
    if (got.ok()) {
      if (!decode_row(view(bytes), row)) return err(malformed("live", key));
      if (row.header.mod_revision <= revision_) return to_key_value(key, row);
    }
  }
  const std::string end = past_prefix_end(key);
  const rocksdb::Slice upper = end;
  read.iterate_upper_bound = &upper;
  std::unique_ptr<rocksdb::Iterator> it(database.db().NewIterator(read, database.past()));
  it->Seek(past_key(key, revision_));
  if (!it->status().ok()) return err(database.status(it->status(), "read a key's history"));
  if (!it->Valid()) return std::nullopt;
  Revision ended = 0;
  if (!decode_past_row(view(it->value()), ended, row)) return err(malformed("past", key));
  if (revision_ >= ended) return std::nullopt;  // it was deleted by then
  return to_key_value(key, row);
}

Status Reader::At::scan(const KeyRange& range, bool fill_cache, const RowVisitor& visit) {
  if (range.empty()) return {};
  Database& database = reader_.database_;
  if (reader_.progress_.assigned.load() != revision_) {
    // The snapshot may show more than this revision; its own state row tells.
    ENGENHO_ASSIGN_OR_RETURN(const MetaState state, database.read_state(snapshot_));
    if (state.revision != revision_) return scan_past(range, fill_cache, visit);
  }
  rocksdb::ReadOptions read;
  read.snapshot = snapshot_;
  read.fill_cache = fill_cache;
  const rocksdb::Slice upper = range.end;
  if (!range.end.empty()) read.iterate_upper_bound = &upper;
  std::unique_ptr<rocksdb::Iterator> it(database.db().NewIterator(read, database.live()));
  for (it->Seek(range.start); it->Valid(); it->Next()) {
    RowView row;
    if (!decode_row(view(it->value()), row)) return malformed("live", view(it->key()));
    if (!visit(view(it->key()), row)) return {};
  }
  return database.status(it->status(), "read a range");
}

// Live rows that are old enough, and past rows whose interval holds the revision, merged by key.
Status Reader::At::scan_past(const KeyRange& range, bool fill_cache, const RowVisitor& visit) {
  Database& database = reader_.database_;
  rocksdb::ReadOptions live_read, past_read;
  live_read.snapshot = past_read.snapshot = snapshot_;
  live_read.fill_cache = past_read.fill_cache = fill_cache;
  const rocksdb::Slice live_upper = range.end;
  const std::string past_end = range.end.empty() ? "" : past_prefix(range.end);
  const rocksdb::Slice past_upper = past_end;
  if (!range.end.empty()) {
    live_read.iterate_upper_bound = &live_upper;
    past_read.iterate_upper_bound = &past_upper;
  }
  std::unique_ptr<rocksdb::Iterator> live(database.db().NewIterator(live_read, database.live()));
  std::unique_ptr<rocksdb::Iterator> past(database.db().NewIterator(past_read, database.past()));
  live->Seek(range.start);
  past->Seek(past_prefix(range.start));

  std::string past_user, key;
  Revision past_mod = 0;
  const auto read_past = [&]() -> Status {
    if (past->Valid() && !decode_past_key(view(past->key()), past_user, past_mod))
      return malformed("past", view(past->key()));
    return database.status(past->status(), "read a range's history");
  };
  ENGENHO_RETURN_IF_ERROR(read_past());

  while (live->Valid() || past->Valid()) {
    const int order = !past->Valid()   ? -1
                      : !live->Valid() ? 1
                                       : view(live->key()).compare(past_user);
    bool shown = false;
    RowView row;
    if (order <= 0) {
      key.assign(view(live->key()));
      if (!decode_row(view(live->value()), row)) return malformed("live", key);
      shown = row.header.mod_revision <= revision_;
      if (shown && !visit(key, row)) return {};
      live->Next();
      if (!live->status().ok()) return database.status(live->status(), "read a range");
    } else {
      key = past_user;
    }
    if (order < 0) continue;
    if (!shown) {
      if (past_mod > revision_) past->Seek(past_key(key, revision_));
      ENGENHO_RETURN_IF_ERROR(read_past());
      if (past->Valid() && past_user == key) {
        Revision ended = 0;
        if (!decode_past_row(view(past->value()), ended, row)) return malformed("past", key);
        if (revision_ < ended && !visit(key, row)) return {};
      }
    }
    if (past->Valid() && past_user == key) {
      past->Next();
      ENGENHO_RETURN_IF_ERROR(read_past());
      if (past->Valid() && past_user == key) {
        past->Seek(past_prefix_end(key));
        ENGENHO_RETURN_IF_ERROR(read_past());
      }
    }
  }
  return database.status(live->status(), "read a range");
}

Result<ListResult> Reader::At::list(const ListRequest& request) {
  if (request.range.single()) {
    ENGENHO_ASSIGN(auto kv, get(request.range.start));
    ListResult result = list_of(std::move(kv), request);
    result.revision = revision_;
    return result;
  }
  ListResult result;
  ListBuilder builder(request, result);
  // A long scan must not push everything else out of the small block cache.
  const bool fill_cache = request.limit > 0 && request.limit <= 1000 && !request.want_count;
  ENGENHO_TRY(scan(request.range, fill_cache,
                   [&](std::string_view key, const RowView& row) { return builder.add(key, row); }));
  builder.finish();
  result.revision = revision_;
  return result;
}

Status Reader::exact(const rocksdb::ReadOptions& read, std::string_view key, Revision revision,
                     KeyValue& out) {
  RowView row;
  rocksdb::PinnableSlice bytes;
  rocksdb::Status got = database_.db().Get(read, database_.live(), slice(key), &bytes);
  if (got.ok()) {
    if (!decode_row(view(bytes), row)) return malformed("live", key);
    if (row.header.mod_revision == revision) {
      out = to_key_value(key, row);
      return {};
    }
  } else if (!got.IsNotFound()) {
    return database_.status(got, "read a key");
  }
  bytes.Reset();
  got = database_.db().Get(read, database_.past(), past_key(key, revision), &bytes);
  if (got.IsNotFound())
    return damaged_error("the log names revision " + std::to_string(revision) + " of key " +
                         std::string(key) + ", but its value is missing");
  if (!got.ok()) return database_.status(got, "read a key's history");
  Revision ended = 0;
  if (!decode_past_row(view(bytes), ended, row)) return malformed("past", key);
  out = to_key_value(key, row);
  return {};
}

Status Reader::build_event(const rocksdb::ReadOptions& read, const Change& change, Revision revision,
                           bool prev_kv, Event& out) {
  if (change.deleted) {
    out.type = Event::Type::kDelete;
    out.kv.key.assign(change.key);
    out.kv.value = empty_bytes();
    out.kv.mod_revision = revision;
  } else {
    ENGENHO_RETURN_IF_ERROR(exact(read, change.key, revision, out.kv));
  }
  if (prev_kv && change.previous > 0)
    ENGENHO_RETURN_IF_ERROR(exact(read, change.key, change.previous, out.previous.emplace()));
  return {};
}

Result<History> Reader::history(const HistoryRequest& request) {
  constexpr int kMaxRevisions = 4096;  // one step of a watcher that matches little
  const std::unique_ptr<const rocksdb::Snapshot, std::function<void(const rocksdb::Snapshot*)>> snapshot(
      database_.db().GetSnapshot(),
      [this](const rocksdb::Snapshot* held) { database_.db().ReleaseSnapshot(held); });
  if (request.from < progress_.compacted.load()) return err(compacted_error());
  rocksdb::ReadOptions read;
  read.snapshot = snapshot.get();

  History history;
  history.through = request.from - 1;
  size_t bytes = 0;
  std::vector<Change> changes;
  std::unique_ptr<rocksdb::Iterator> it(database_.db().NewIterator(read, database_.log()));
  it->Seek(log_key(request.from));
  for (int n = 0; n < kMaxRevisions && history.through < request.to && bytes < request.max_bytes; ++n) {
    ENGENHO_TRY(database_.status(it->status(), "read the revision log"));
    const Revision next = history.through + 1;
    if (!it->Valid() || it->key().size() != 8 ||
        static_cast<Revision>(get_be64(it->key().data())) != next || !decode_changes(view(it->value()), changes)) {
      // Revision 1 is the empty store; it has no row.
      if (next == 1) {
        history.through = 1;
        continue;
      }
      return err(damaged_error("revision " + std::to_string(next) + " is missing in the log"));
    }
    for (const Change& change : changes) {
      if (change.deleted ? request.no_delete : request.no_put) continue;
      if (!request.range->contains(change.key)) continue;
      auto event = std::make_shared<Event>();
      ENGENHO_TRY(build_event(read, change, next, request.prev_kv, *event));
      bytes += event->kv.key.size() + event->kv.value->size() + 64;
      if (event->previous) bytes += event->previous->value->size();
      history.events.push_back(std::move(event));
    }
    history.through = next;
    it->Next();
  }
  return history;
}

Result<std::vector<std::string>> Reader::attached_keys(LeaseId lease) {
  const std::string prefix = attachment_prefix(lease);
  std::vector<std::string> keys;
  std::unique_ptr<rocksdb::Iterator> it(
      database_.db().NewIterator(rocksdb::ReadOptions(), database_.meta()));
  for (it->Seek(prefix); it->Valid() && it->key().starts_with(prefix); it->Next())
    keys.emplace_back(view(it->key()).substr(prefix.size()));
  ENGENHO_TRY(database_.status(it->status(), "read a lease's keys"));
  return keys;
}

}  // namespace engenho::datastore
