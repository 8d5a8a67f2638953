// What a collection must hold and answer, worked out plainly: its rows at one sequence number, and
// the reference score over each of them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tests/crash/reference.h"
#include "vexact/types.h"
#include "vexact/v1/collections.pb.h"
#include "vexact/v1/points.pb.h"
#include "vexact/v1/search.pb.h"

namespace vexact::soak {

using crash::Row;

class Model {
 public:
  explicit Model(client::CollectionSpec spec);

  uint64_t sequence() const { return sequence_; }

  // Writes that take the next sequence number. Vectors are as they were sent; an id occurs once.
  // Gives the rows that were replaced.
  uint64_t Upsert(std::vector<Row> rows);
  // Gives the rows that were there.
  uint64_t Delete(std::span<const client::Id> ids);
  void SetMetric(client::Metric metric);

  // What is wrong with an answer of this sequence number; empty when it is right, bit for bit.
  std::string Check(const v1::SearchRequest& request, const v1::SearchResponse& answer) const;
  std::string Check(const v1::GetPointsRequest& request, const v1::GetPointsResponse& answer) const;
  // `after`: the last id of the page before.
  std::string Check(const v1::ScrollPointsRequest& request, const v1::ScrollPointsResponse& answer,
                    const std::optional<client::Id>& after) const;
  std::string Check(const v1::Collection& answer) const;
  std::string CheckRows(uint64_t rows) const;
  std::string CheckMissing(std::span<const client::Id> ids) const;
  std::string CheckMetric(client::Metric metric) const;

 private:
  const Row* Find(const client::Id& id) const;
  std::string CheckQuery(const v1::Query& query, const v1::SearchRequest& request,
                         client::Metric metric, const v1::SearchResult& result) const;
  std::string CheckHit(const v1::Hit& hit, const client::Hit& expected, bool with_vector,
                       client::Metric metric) const;
  std::string CheckPoint(const v1::Point& point, const Row& row, bool with_vector) const;

  client::CollectionSpec spec_;  // its metric is the one of now
  uint64_t sequence_ = 0;
  std::vector<Row> rows_;
  std::map<client::Id, size_t> places_;  // in rows_
};

}  // namespace vexact::soak
