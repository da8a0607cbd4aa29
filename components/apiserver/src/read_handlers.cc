// get, list and watch.
#include <algorithm>
#include <random>

#include "encode.h"
#include "engenho/base/bytes.h"
#include "engenho/base/random.h"
#include "engenho/schema/api_errors.h"
#include "field_selectors.h"
#include "handlers.h"
#include "watch.h"

namespace engenho::apiserver {

namespace {

using json::Value;

constexpr auto kFreshness = std::chrono::seconds(3);

std::string key_prefix_of(const Context& context) {
  const ResourceDef& r = *context.resource;
  if (!r.namespaced || context.info.namespace_.empty()) return r.store_prefix;
  return r.store_prefix + context.info.namespace_ + "/";
}

Status too_large(Revision wanted, Revision current) {
  StatusDetails details;
  details.causes.push_back({"ResourceVersionTooLarge", "Too large resource version", ""});
  details.retry_after_seconds = 1;
  return Status(504, reason::kTimeout,
                "Timeout: Too large resource version: " + std::to_string(wanted) + ", current: " + std::to_string(current),
                std::move(details));
}

// Waits until the caches are fit for `wanted` ("": what the store has now; "0": anything; else at least that revision).
Status wait_fresh(Rest& rest, std::string_view wanted, int64_t number) {
  Hub& hub = rest.hub();
  if (wanted == "0") return {};
  if (wanted.empty()) {
    if (hub.is_current()) return {};
    return hub.wait_for(hub.store().revision(), kFreshness);
  }
  if (hub.revision() >= number) return {};
  if (!hub.wait_for(number, kFreshness).ok()) return too_large(number, hub.revision());
  return {};
}

Status parse_revision(std::string_view text, int64_t& out) {
  out = 0;
  if (text.empty()) return {};
  if (!parse_int(text, out) || out < 0) {
    return bad_request("strconv.ParseUint: parsing \"" + std::string(text) + "\": invalid syntax");
  }
  return {};
}

struct Continue {
  Revision revision = 0;
  std::string start;  // relative to the list's key prefix
};

std::string encode_continue(const Continue& c) {
  Value token = json::Object();
  token["v"] = "meta.k8s.io/v1";
  token["rv"] = c.revision;
  token["start"] = c.start;
  return base64url_encode(json::dump(token));
}

Result<Continue> decode_continue(std::string_view text) {
  auto bytes = base64url_decode(text);
  auto bad = [](std::string why) { return err(bad_request("continue key is not valid: " + std::move(why))); };
  if (!bytes) return bad(bytes.error().message());
  auto token = json::parse(*bytes);
  if (!token || !token->is_object()) return bad(token ? "not an object" : token.error().message());
  if (token->str_at({"v"}) != "meta.k8s.io/v1") {
    return bad("server does not recognize this encoded version \"" + std::string(token->str_at({"v"})) + "\"");
  }
  Continue out;
  const Value* rv = token->get("rv");
  out.revision = rv ? rv->int_or(0) : 0;
  out.start = token->str_at({"start"});
  if (out.revision == 0) return bad("incorrect encoded start resourceVersion (version meta.k8s.io/v1)");
  if (out.start.empty()) return bad("encoded start key empty (version meta.k8s.io/v1)");
  // The start must stay below the list's own prefix: no way out through "..".
  for (std::string_view part : split(out.start, '/')) {
    if (part == "..") return bad("invalid start key");
  }
  return out;
}

Status compacted_status(const Status& status) {
  if (status.code() != 410) return status;
  return schema::gone_expired(
      "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue "
      "parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided "
      "token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was "
      "returned and now may show up in the list.");
}

// One page at a past revision, from the store.
Status list_at(Context& context, Rest& rest, const Filter& filter, Revision revision, std::string start, int64_t limit) {
  const ResourceDef& resource = *context.resource;
  const std::string prefix = key_prefix_of(context);
  std::vector<ObjectPtr> out;
  datastore::ListRequest request;
  request.range = datastore::KeyRange::prefix(prefix);
  if (!start.empty()) request.range.start = prefix + start;
  request.revision = revision;
  request.limit = limit > 0 ? std::min<int64_t>(limit + 1, 1000) : 1000;
  request.want_count = limit > 0 && filter.everything();
  ListMeta meta;
  meta.revision = revision;
  for (;;) {
    auto page = rest.hub().store().list(request);
    if (!page) return compacted_status(page.error());
    bool full = false;
    for (const datastore::KeyValue& kv : page->kvs) {
      auto object = Object::make(kv.key, *kv.value, kv.mod_revision);
      if (!object || !filter.matches(resource, **object)) continue;
      if (limit > 0 && static_cast<int64_t>(out.size()) == limit) {
        meta.continue_token = encode_continue({revision, out.back()->key().substr(prefix.size()) + '\0'});
        full = true;
        break;
      }
      out.push_back(std::move(*object));
    }
    if (full) {
      if (filter.everything() && page->count >= 0) meta.remaining = page->count - limit;
      break;
    }
    if (!page->more || page->kvs.empty()) break;
    request.range.start = page->kvs.back().key + '\0';
    request.want_count = false;
  }
  send_list(context, out, meta);
  return {};
}

}  // namespace

Status check_list_options(const Context& context) {
  const std::string wanted(context.query.get("resourceVersion"));
  const std::string match(context.query.get("resourceVersionMatch"));
  const std::string token(context.query.get("continue"));
  schema::FieldErrors errors;
  if (!match.empty()) {
    if (wanted.empty()) errors.forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided");
    if (!token.empty()) errors.forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided");
    if (match != "Exact" && match != "NotOlderThan") {
      errors.not_supported("resourceVersionMatch", match, {"Exact", "NotOlderThan", ""});
    }
    if (match == "Exact" && wanted == "0") {
      errors.forbidden("resourceVersionMatch", "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
    }
  }
  return errors.to_status("meta.k8s.io", "ListOptions", "");
}

std::string continue_after(const Context& context, Revision revision, const Object& last) {
  return encode_continue({revision, last.key().substr(key_prefix_of(context).size()) + '\0'});
}

bool is_quick(const Context& context, const Rest& rest) {
  const RequestInfo& info = context.info;
  if (context.resource == nullptr || context.resource->cacher == nullptr || !info.subresource.empty()) return false;
  if (info.verb == "watch") return false;
  if (info.verb != "get" && info.verb != "list") return false;
  if (info.verb == "list" && (context.query.contains("continue") || context.query.contains("resourceVersion") ||
                              context.accepted.media != Media::kJson || context.accepted.transform != Transform::kNone ||
                              context.resource->cacher->size() > 2000)) {
    return false;
  }
  const std::string_view rv = context.query.get("resourceVersion");
  return rv == "0" || (rv.empty() && const_cast<Rest&>(rest).hub().is_current());
}

namespace {

// A Table and its relatives must fit what was asked for.
Status check_transform(const Context& context, bool list) {
  const ResourceDef& r = *context.resource;
  const std::string type = "*" + (r.group.empty() ? std::string("core") : std::string(r.group.substr(0, r.group.find('.')))) + "." + r.kind;
  if (list && context.accepted.transform == Transform::kPartial) {
    return Status(406, reason::kNotAcceptable, "you requested PartialObjectMetadata, but the requested object is a list (" + type + "List)");
  }
  if (!list && context.accepted.transform == Transform::kPartialList) {
    return Status(406, reason::kNotAcceptable, "you requested PartialObjectMetadataList, but the requested object is not a list (" + type + ")");
  }
  const std::string_view include = context.query.get("includeObject");
  if (context.accepted.transform == Transform::kTable && !include.empty() && include != "None" && include != "Metadata" && include != "Object") {
    return bad_request("Unable to convert to Table as requested: includeObject: Invalid value: \"" + std::string(include) +
                       "\": must be 'Metadata', 'Object', 'None', or empty");
  }
  return {};
}

}  // namespace

void handle_get(const std::shared_ptr<Context>& context, Services& services) {
  if (Status s = check_transform(*context, false); !s.ok()) return send_status(*context, s);
  const ResourceDef& resource = *context->resource;
  const std::string_view wanted = context->query.get("resourceVersion");
  int64_t number = 0;
  if (!wanted.empty() && (!parse_int(wanted, number) || number < 0)) {
    return send_status(*context, Status(500, "", "resourceVersion: Invalid value: \"" + std::string(wanted) + "\": strconv.ParseUint: parsing \"" +
                                                     std::string(wanted) + "\": invalid syntax"));
  }
  if (Status s = wait_fresh(services.rest, wanted, number); !s.ok()) return send_status(*context, s);
  ObjectPtr object = resource.cacher->get(resource.store_key(context->info.namespace_, context->info.name));
  if (object == nullptr) {
    return send_status(*context, schema::not_found({resource.group, resource.plural}, context->info.name));
  }
  send_object(*context, 200, object);
}

void handle_list(const std::shared_ptr<Context>& context, Services& services) {
  const ResourceDef& resource = *context->resource;
  Rest& rest = services.rest;
  auto fail = [&](const Status& s) { send_status(*context, s); };
  if (Status s = check_transform(*context, true); !s.ok()) return fail(s);
  auto filter = filter_of(resource, context->query.get("labelSelector"), context->query.get("fieldSelector"));
  if (!filter) return fail(filter.error());
  int64_t limit = 0;
  if (const std::string* text = context->query.find("limit")) {
    if (!parse_int(*text, limit)) return fail(bad_request("strconv.ParseInt: parsing \"" + *text + "\": invalid syntax"));
    limit = std::max<int64_t>(limit, 0);
  }
  if (int64_t seconds = 0; const std::string* text = context->query.find("timeoutSeconds")) {
    if (!parse_int(*text, seconds)) return fail(bad_request("strconv.ParseInt: parsing \"" + *text + "\": invalid syntax"));
  }
  const std::string wanted(context->query.get("resourceVersion"));
  const std::string match(context->query.get("resourceVersionMatch"));
  const std::string token(context->query.get("continue"));
  int64_t number = 0;
  if (Status s = parse_revision(wanted, number); !s.ok()) return fail(s);
  if (Status s = check_list_options(*context); !s.ok()) return fail(s);

  if (!token.empty()) {
    if (!wanted.empty() && wanted != "0") {
      return fail(bad_request("specifying resource version is not allowed when using continue"));
    }
    auto from = decode_continue(token);
    if (!from) return fail(from.error());
    if (Status s = list_at(*context, rest, *filter, from->revision, from->start, limit); !s.ok()) fail(s);
    return;
  }
  const bool exact = match == "Exact" || (match.empty() && limit > 0 && !wanted.empty() && wanted != "0");
  if (exact) {
    if (Status s = wait_fresh(rest, wanted, number); !s.ok()) return fail(s);
    if (Status s = list_at(*context, rest, *filter, number, "", limit); !s.ok()) fail(s);
    return;
  }
  if (Status s = wait_fresh(rest, wanted, number); !s.ok()) return fail(s);

  const std::string prefix = key_prefix_of(*context);
  ListMeta meta;
  std::vector<ObjectPtr> objects;
  if (!filter->fields.empty() && filter->fields[0].field == "metadata.name" && filter->fields[0].equal && resource.namespaced &&
      !context->info.namespace_.empty()) {
    // One name: a look-up instead of a walk.
    meta.revision = rest.hub().revision();
    if (ObjectPtr o = resource.cacher->get(prefix + filter->fields[0].value)) objects.push_back(std::move(o));
  } else {
    objects = resource.cacher->list(prefix, rest.hub().revision_ref(), &meta.revision);
  }
  if (!filter->everything()) {
    std::erase_if(objects, [&](const ObjectPtr& o) { return !filter->matches(resource, *o); });
  }
  if (limit > 0 && static_cast<int64_t>(objects.size()) > limit) {
    if (filter->everything()) meta.remaining = static_cast<int64_t>(objects.size()) - limit;
    objects.resize(static_cast<size_t>(limit));
    meta.continue_token = encode_continue({meta.revision, objects.back()->key().substr(prefix.size()) + '\0'});
  }
  send_list(*context, objects, meta);
}

void handle_watch(const std::shared_ptr<Context>& context, Services& services) {
  const ResourceDef& resource = *context->resource;
  auto fail = [&](const Status& s) { send_status(*context, s); };
  auto filter = filter_of(resource, context->query.get("labelSelector"), context->query.get("fieldSelector"));
  if (!filter) return fail(filter.error());
  WatchManager::Options options;
  options.filter = std::move(*filter);
  options.key_prefix = key_prefix_of(*context);
  if (!context->info.name.empty() && options.filter.fields.empty()) {
    options.filter.fields.push_back({"metadata.name", context->info.name, true});
  }
  const std::string wanted(context->query.get("resourceVersion"));
  int64_t number = 0;
  if (!wanted.empty() && (!parse_int(wanted, number) || number < 0)) {
    return fail(Status(500, "", "strconv.ParseUint: parsing \"" + wanted + "\": invalid syntax"));
  }
  options.bookmarks = context->query.flag("allowWatchBookmarks");
  const bool initial = context->query.flag("sendInitialEvents");
  const std::string_view match = context->query.get("resourceVersionMatch");
  schema::FieldErrors errors;
  if (context->query.contains("sendInitialEvents")) {
    if (match != "NotOlderThan") {
      if (match.empty()) errors.forbidden("resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
      else errors.forbidden("resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    }
    if (initial && !options.bookmarks) {
      errors.forbidden("allowWatchBookmarks", "sendInitialEvents requires setting allowWatchBookmarks to true");
    }
  } else if (!match.empty()) {
    errors.forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
  }
  if (Status s = errors.to_status("meta.k8s.io", "ListOptions", ""); !s.ok()) return fail(s);

  int64_t seconds = 0;
  if (const std::string* text = context->query.find("timeoutSeconds"); text != nullptr && !parse_int(*text, seconds)) {
    return fail(bad_request("strconv.ParseInt: parsing \"" + *text + "\": invalid syntax"));
  }
  options.timeout = seconds > 0 ? Duration(std::chrono::seconds(seconds))
                                : Duration(std::chrono::seconds(1800 + random_u64() % 1800));
  if (context->query.contains("sendInitialEvents") && !initial && wanted.empty()) {
    options.start = Cacher::Start::kNow;
  } else if (initial) {
    options.start = Cacher::Start::kInitial;
    options.initial_bookmark = true;
  } else if (wanted.empty() || wanted == "0") {
    options.start = Cacher::Start::kInitial;
    options.initial_bookmark = wanted.empty() && options.bookmarks;
  } else {
    options.start = Cacher::Start::kFrom;
    options.from = number;
  }
  if (options.start != Cacher::Start::kFrom || number <= services.rest.hub().store().revision()) {
    if (Status s = wait_fresh(services.rest, options.start == Cacher::Start::kFrom ? std::string_view(wanted) : std::string_view(),
                              number);
        !s.ok() && wanted != "0") {
      return fail(s);
    }
  }
  if (Status s = services.watches.start(context, std::move(options)); !s.ok()) fail(s);
}

}  // namespace engenho::apiserver
