// The store's errors. Texts are etcd's, because its clients match on them; code and reason are what the API server passes on.
#pragma once

#include <string>

#include "engenho/base/status.h"

namespace engenho::datastore {

Status compacted_error();            // 410 Expired: "etcdserver: mvcc: required revision has been compacted"
Status future_revision_error();      // 504 Timeout: "etcdserver: mvcc: required revision is a future revision"
Status key_not_found_error();        // 404 NotFound: "etcdserver: key not found"
Status empty_key_error();            // 400 BadRequest: "etcdserver: key is not provided"
Status duplicate_key_error();        // 400 BadRequest: "etcdserver: duplicate key given in txn request"
Status too_many_ops_error();         // 400 BadRequest: "etcdserver: too many operations in txn request"
Status request_too_large_error();    // 413 RequestEntityTooLarge: "etcdserver: request is too large"
Status lease_not_found_error();      // 404 NotFound: "etcdserver: requested lease not found"
Status lease_exists_error();         // 409 AlreadyExists: "etcdserver: lease already exists"
Status lease_ttl_error();            // 400 BadRequest: "etcdserver: too large lease TTL"
Status too_many_requests_error();    // 429 TooManyRequests: "etcdserver: too many requests"
Status no_space_error();             // 503 ServiceUnavailable: "etcdserver: mvcc: database space exceeded"
Status corrupt_error();              // 503 ServiceUnavailable: "etcdserver: corrupt cluster", while that alarm is set
Status store_stopped_error();        // 503 ServiceUnavailable: "etcdserver: server stopped"
// 500 InternalError: data on disk is damaged or unreadable. Never answered by guessing.
Status damaged_error(std::string what);

bool is_compacted(const Status& status);
bool is_future_revision(const Status& status);
bool is_lease_not_found(const Status& status);

}  // namespace engenho::datastore
