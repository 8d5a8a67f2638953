#include "tests/soak/model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <iterator>
#include <utility>

#include "client/library/convert.h"
#include "tests/crash/text.h"

namespace vexact::soak {
namespace {

using client::FromProto;
using client::Metric;
using crash::Text;

// Scores are compared as bits: -0.0 is not 0.0, and nothing is nearly equal.
bool SameBits(double a, double b) {
  return std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b);
}

bool SameBits(const v1::Vector& answer, std::span<const float> expected) {
  return answer.values_size() == 0 && answer.packed().size() == expected.size_bytes() &&
         std::memcmp(answer.packed().data(), expected.data(), expected.size_bytes()) == 0;
}

std::string Unequal(std::string_view what, const auto& answer, const auto& expected) {
  if (answer == expected) return {};
  return Text(what, " is ", answer, ", but must be ", expected);
}

}  // namespace

Model::Model(client::CollectionSpec spec) : spec_(std::move(spec)) {}

uint64_t Model::Upsert(std::vector<Row> rows) {
  ++sequence_;
  uint64_t replaced = 0;
  for (Row& row : rows) {
    crash::AtTheDoor(spec_.normalization, row.vector);
    const auto [place, added] = places_.try_emplace(row.id, rows_.size());
    if (added) {
      rows_.push_back(std::move(row));
    } else {
      rows_[place->second] = std::move(row);
      ++replaced;
    }
  }
  return replaced;
}

uint64_t Model::Delete(std::span<const client::Id> ids) {
  ++sequence_;
  uint64_t deleted = 0;
  for (const client::Id& id : ids) {
    const auto found = places_.find(id);
    if (found == places_.end()) continue;
    const size_t place = found->second;
    places_.erase(found);
    if (place + 1 < rows_.size()) {
      rows_[place] = std::move(rows_.back());
      places_[rows_[place].id] = place;
    }
    rows_.pop_back();
    ++deleted;
  }
  return deleted;
}

void Model::SetMetric(Metric metric) {
  ++sequence_;
  spec_.metric = metric;
}

const Row* Model::Find(const client::Id& id) const {
  const auto found = places_.find(id);
  return found == places_.end() ? nullptr : &rows_[found->second];
}

std::string Model::Check(const v1::SearchRequest& request, const v1::SearchResponse& answer) const {
  const Metric metric =
      request.metric() == v1::METRIC_UNSPECIFIED ? spec_.metric : FromProto(request.metric());
  std::string defect = Unequal("the metric", Name(FromProto(answer.metric())), Name(metric));
  if (defect.empty()) defect = Unequal("rows_compared", answer.rows_compared(), rows_.size());
  if (defect.empty()) {
    defect = Unequal("the number of results", answer.results_size(), request.queries_size());
  }
  for (int q = 0; q < request.queries_size() && defect.empty(); ++q) {
    defect = CheckQuery(request.queries(q), request, metric, answer.results(q));
    if (!defect.empty()) defect = Text("query ", q, ": ", defect);
  }
  return defect;
}

std::string Model::CheckQuery(const v1::Query& query, const v1::SearchRequest& request,
                              Metric metric, const v1::SearchResult& result) const {
  std::vector<float> vector;
  if (query.has_id()) {
    const Row* row = Find(FromProto(query.id()));
    if (row == nullptr) return "it was answered, but its id is not stored";
    vector = row->vector;
  } else {
    vector = FromProto(query.vector());
    crash::AtTheDoor(spec_.normalization, vector);
  }
  const size_t k = request.k();
  std::vector<client::Hit> expected =
      crash::Nearest(rows_, metric, vector, k + query.exclude_self(), crash::Score);
  if (query.exclude_self()) {
    const client::Id self = FromProto(query.id());
    std::erase_if(expected, [&](const client::Hit& hit) { return hit.id == self; });
    expected.resize(std::min(k, expected.size()));
  }
  std::string defect = Unequal("the number of hits", result.hits_size(), std::ssize(expected));
  for (size_t i = 0; i < expected.size() && defect.empty(); ++i) {
    defect =
        CheckHit(result.hits(static_cast<int>(i)), expected[i], request.with_vectors(), metric);
    if (!defect.empty()) defect = Text("hit ", i, ": ", defect);
  }
  return defect;
}

std::string Model::CheckHit(const v1::Hit& hit, const client::Hit& expected, bool with_vector,
                            Metric metric) const {
  const double distance = metric == Metric::kL2 ? std::sqrt(expected.score) : 0;
  if (FromProto(hit.id()) != expected.id || !SameBits(hit.score(), expected.score) ||
      !SameBits(hit.distance(), distance)) {
    return Text("it is ", FromProto(hit.id()), " with score ", hit.score(), ", but must be ",
                expected.id, " with score ", expected.score);
  }
  if (hit.has_vector() != with_vector) return "its vector is there unasked, or asked for in vain";
  if (with_vector && !SameBits(hit.vector(), Find(expected.id)->vector)) {
    return "its vector has other bits";
  }
  return {};
}

std::string Model::CheckPoint(const v1::Point& point, const Row& row, bool with_vector) const {
  if (FromProto(point.id()) != row.id) {
    return Text("there is ", FromProto(point.id()), " in the place of ", row.id);
  }
  if (with_vector ? !SameBits(point.vector(), row.vector) : point.has_vector()) {
    return Text("the vector of ", row.id, " has other bits");
  }
  return {};
}

std::string Model::Check(const v1::GetPointsRequest& request,
                         const v1::GetPointsResponse& answer) const {
  std::string defect = Unequal("the number of points", answer.points_size(), request.ids_size());
  for (int i = 0; i < request.ids_size() && defect.empty(); ++i) {
    const Row* row = Find(FromProto(request.ids(i)));
    if (row == nullptr) return Text("id ", FromProto(request.ids(i)), " is not stored");
    defect = CheckPoint(answer.points(i), *row, !request.without_vectors());
  }
  return defect;
}

std::string Model::Check(const v1::ScrollPointsRequest& request,
                         const v1::ScrollPointsResponse& answer,
                         const std::optional<client::Id>& after) const {
  auto place = after ? places_.upper_bound(*after) : places_.begin();
  const auto left = static_cast<size_t>(std::distance(place, places_.end()));
  const size_t size = std::min<size_t>(request.page_size(), left);
  std::string defect = Unequal("the page's size", static_cast<size_t>(answer.points_size()), size);
  for (size_t i = 0; i < size && defect.empty(); ++i, ++place) {
    defect = CheckPoint(answer.points(static_cast<int>(i)), rows_[place->second],
                        request.with_vectors());
  }
  if (defect.empty() && answer.next_page_token().empty() != (size == left)) {
    defect = "the token of the next page is there in vain, or missing";
  }
  return defect;
}

std::string Model::Check(const v1::Collection& answer) const {
  std::string defect = CheckMetric(FromProto(answer.metric()));
  if (defect.empty()) defect = Unequal("the dimension", answer.dimension(), spec_.dimension);
  return defect.empty() ? CheckRows(answer.rows()) : defect;
}

std::string Model::CheckRows(uint64_t rows) const {
  return Unequal("the number of rows", rows, rows_.size());
}

std::string Model::CheckMissing(std::span<const client::Id> ids) const {
  for (const client::Id& id : ids) {
    if (Find(id) != nullptr) return Text("id ", id, " is stored, but was not deleted");
  }
  return {};
}

std::string Model::CheckMetric(Metric metric) const {
  return Unequal("the metric", Name(metric), Name(spec_.metric));
}

}  // namespace vexact::soak
