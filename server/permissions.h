// What each request needs of its caller: the one table of roles.
//
// A request that has no line here cannot be parsed: its handler does not compile.
#pragma once

#include "absl/status/status.h"
#include "server/access.h"
#include "vexact/v1/collections.pb.h"
#include "vexact/v1/points.pb.h"
#include "vexact/v1/search.pb.h"
#include "vexact/v1/server.pb.h"
#include "vexact/v1/snapshots.pb.h"

namespace vexact::server {

// A role, and the fields that name collections, for which the caller's key must be good. Where such
// a field is left empty, or where there is none, and the answer tells of collections nevertheless,
// the handler leaves out those that the caller does not see (CallInfo::caller).
template <Role kNeeded, auto... kCollections>
struct Needs {
  static constexpr Role kRole = kNeeded;

  template <typename Request>
  static absl::Status Check(const Caller& caller, const Request& request) {
    absl::Status status;
    (status.Update(caller.Check((request.*kCollections)())), ...);
    return status;
  }
};

template <typename Request>
struct Permission;

template <>
struct Permission<v1::ListCollectionsRequest> : Needs<Role::kRead> {};
template <>
struct Permission<v1::GetCollectionRequest> : Needs<Role::kRead, &v1::GetCollectionRequest::name> {
};
template <>
struct Permission<v1::CreateCollectionRequest>
    : Needs<Role::kAdmin, &v1::CreateCollectionRequest::name> {};
template <>
struct Permission<v1::DeleteCollectionRequest>
    : Needs<Role::kAdmin, &v1::DeleteCollectionRequest::name> {};
template <>
struct Permission<v1::SetMetricRequest> : Needs<Role::kAdmin, &v1::SetMetricRequest::name> {};

template <>
struct Permission<v1::GetPointsRequest> : Needs<Role::kRead, &v1::GetPointsRequest::collection> {};
template <>
struct Permission<v1::CountPointsRequest>
    : Needs<Role::kRead, &v1::CountPointsRequest::collection> {};
template <>
struct Permission<v1::ScrollPointsRequest>
    : Needs<Role::kRead, &v1::ScrollPointsRequest::collection> {};
// Alone and over a stream.
template <>
struct Permission<v1::UpsertRequest> : Needs<Role::kWrite, &v1::UpsertRequest::collection> {};
template <>
struct Permission<v1::DeletePointsRequest>
    : Needs<Role::kWrite, &v1::DeletePointsRequest::collection> {};

template <>
struct Permission<v1::SearchRequest> : Needs<Role::kRead, &v1::SearchRequest::collection> {};
template <>
struct Permission<v1::CompareRequest> : Needs<Role::kRead, &v1::CompareRequest::collection> {};

template <>
struct Permission<v1::ListSnapshotsRequest>
    : Needs<Role::kRead, &v1::ListSnapshotsRequest::collection> {};
template <>
struct Permission<v1::CreateSnapshotRequest>
    : Needs<Role::kAdmin, &v1::CreateSnapshotRequest::collection> {};
template <>
struct Permission<v1::DeleteSnapshotRequest>
    : Needs<Role::kAdmin, &v1::DeleteSnapshotRequest::collection> {};
template <>
struct Permission<v1::DownloadSnapshotRequest>
    : Needs<Role::kAdmin, &v1::DownloadSnapshotRequest::collection> {};
template <>
struct Permission<v1::RestoreSnapshotRequest> : Needs<Role::kAdmin> {
  // The collection to be, and the one whose snapshot is taken.
  static absl::Status Check(const Caller& caller, const v1::RestoreSnapshotRequest& request) {
    absl::Status status = caller.Check(request.target().collection());
    status.Update(caller.Check(request.target().snapshot().collection()));
    return status;
  }
};

template <>
struct Permission<v1::GetInfoRequest> : Needs<Role::kRead> {};
template <>
struct Permission<v1::GetStatisticsRequest> : Needs<Role::kRead> {};

}  // namespace vexact::server
