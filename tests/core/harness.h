// What tests of collections share: owning points in and out, and the whole state of a collection
// to compare.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/collection.h"
#include "tests/core/oracle.h"

namespace vexact {

using oracle::Hit;
using oracle::Point;

// A status of this code whose message is, or matches, `message`.
MATCHER_P2(StatusIs, code, message, "") {
  *result_listener << "which is " << arg.ToString();
  return arg.code() == code &&
         testing::ExplainMatchResult(message, std::string(arg.message()), result_listener);
}

MATCHER(IsOk, "") {
  *result_listener << "which is " << arg.ToString();
  return arg.ok();
}

inline constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

inline std::vector<PointView> Views(std::span<const Point> points) {
  std::vector<PointView> views;
  for (const Point& point : points) views.push_back({View(point.id), point.vector});
  return views;
}

inline std::vector<IdView> Views(std::span<const Id> ids) {
  std::vector<IdView> views;
  for (const Id& id : ids) views.push_back(View(id));
  return views;
}

inline absl::StatusOr<UpsertResult> Upsert(Collection& collection,
                                           const std::vector<Point>& points) {
  return collection.Upsert(Views(points));
}

inline absl::StatusOr<DeleteResult> Delete(Collection& collection, const std::vector<Id>& ids) {
  return collection.Delete(Views(ids));
}

inline absl::StatusOr<PointsResult> Get(const Collection& collection, const std::vector<Id>& ids) {
  return collection.Get(Views(ids));
}

inline std::vector<Point> Owned(const PointsResult& result) {
  std::vector<Point> points;
  for (const RowRef& row : result.points) {
    points.push_back({Own(row.id()), {row.vector().begin(), row.vector().end()}});
  }
  return points;
}

inline std::vector<Hit> Owned(const std::vector<ScoredRow>& hits) {
  std::vector<Hit> owned;
  for (const ScoredRow& hit : hits) owned.push_back({Own(hit.row.id()), hit.score});
  return owned;
}

// The hits of one query by vector; a failure of the search fails the test.
inline std::vector<Hit> Search(const Collection& collection, const std::vector<float>& q,
                               const SearchOptions& options = {}) {
  const Query query{.target = std::span<const float>(q)};
  const auto result = collection.Search({&query, 1}, options);
  EXPECT_THAT(result.status(), IsOk());
  return result.ok() ? Owned(result->hits.front()) : std::vector<Hit>();
}

inline std::vector<Id> Ids(const std::vector<Hit>& hits) {
  std::vector<Id> ids;
  for (const Hit& hit : hits) ids.push_back(hit.id);
  return ids;
}

// Every stored point, in id order, page by page.
inline std::vector<Point> Contents(const Collection& collection, uint32_t page_size = 1'000) {
  std::vector<Point> points;
  std::optional<Id> after;
  do {
    const auto page =
        collection.Scroll(after ? std::optional(View(*after)) : std::nullopt, page_size);
    EXPECT_THAT(page.status(), IsOk());
    if (!page.ok()) break;
    for (Point& point : Owned(*page)) points.push_back(std::move(point));
    after = page->next;
  } while (after);
  return points;
}

// All of a collection that a caller can see, so that "nothing changed" is one comparison.
struct Observed {
  CollectionConfig config;
  uint64_t rows = 0, dead_rows = 0, sequence = 0;
  std::vector<Point> points;

  bool operator==(const Observed&) const = default;
};

inline Observed Observe(const Collection& collection) {
  const CollectionInfo info = collection.info();
  return {info.config, info.rows, info.dead_rows, info.sequence, Contents(collection)};
}

inline void PrintTo(EngineKind kind, std::ostream* out) { *out << Name(kind); }

// Those engines whose answer is exact for any data; faiss selects in float32.
inline std::vector<EngineKind> ExactEngines() {
  std::vector<EngineKind> exact;
  for (const EngineKind kind : kEngineKinds) {
    if (kind != EngineKind::kFaiss) exact.push_back(kind);
  }
  return exact;
}

}  // namespace vexact
