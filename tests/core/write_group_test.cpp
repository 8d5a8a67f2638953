// Writes in groups: each comes out as if it had been alone, and what is not published is not there.
#include "core/write_group.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "core/collection.h"
#include "core/compaction.h"
#include "tests/core/collection_fixture.h"

namespace vexact {
namespace {

constexpr uint32_t kDimension = 5;

// A request that owns what it is made of.
struct Request {
  std::vector<Point> points;
  std::vector<Id> ids;  // deleted, when there are no points

  std::vector<PointView> views;
  std::vector<double> dots;
  std::vector<IdView> id_views;
  std::unique_ptr<Write> write;

  void Make() {
    views = Views(points);
    id_views = Views(ids);
    for (const Point& point : points) dots.push_back(oracle::Dot(point.vector, point.vector));
    if (points.empty()) {
      write = std::make_unique<Write>(Write::Delete{id_views}, 1);
    } else {
      write = std::make_unique<Write>(Write::Upsert{views, dots}, 1);
    }
  }
};

// Few ids, so that requests of one group often meet.
Id AnyId(oracle::Random& random) {
  const uint64_t number = random.Below(40);
  return random.Chance(0.5) ? Id(number) : Id("id " + std::to_string(number));
}

Request AnyRequest(oracle::Random& random, double zero_chance) {
  Request request;
  std::set<Id> ids;
  for (uint64_t i = 1 + random.Below(30); i > 0; --i) ids.insert(AnyId(random));
  if (random.Chance(0.3)) {
    request.ids = {ids.begin(), ids.end()};
  } else {
    for (const Id& id : ids) {
      const bool zero = random.Chance(zero_chance / static_cast<double>(ids.size()));
      request.points.push_back({id, zero ? Vector(kDimension) : random.Gaussian(kDimension)});
    }
  }
  return request;
}

class WriteGroupTest : public testing::TestWithParam<CollectionConfig> {
 protected:
  WriteGroupTest() { tuning_.segment_rows = 64; }

  bool Normalizes() const { return config_.normalization == Normalization::kL2; }

  // The live rows of the table as its index has them, and as its state has them.
  std::vector<Point> ByIndex() const {
    std::vector<Point> points;
    table_.index.VisitAfter(std::nullopt, [&](const RowLocation& row) {
      const auto vector = row.segment->vector(row.row);
      points.push_back({Own(row.segment->id(row.row)), {vector.begin(), vector.end()}});
      return true;
    });
    return points;
  }
  std::vector<Point> ByState() const {
    std::vector<Point> points;
    const Snapshot state = table_.state.Take();
    for (const CollectionState::Part& part : state->parts) {
      for (uint32_t row = 0; row < part.rows; ++row) {
        if (!part.segment->IsLive(row, state->sequence)) continue;
        const auto vector = part.segment->vector(row);
        points.push_back({Own(part.segment->id(row)), {vector.begin(), vector.end()}});
      }
    }
    std::sort(points.begin(), points.end(),
              [](const Point& a, const Point& b) { return oracle::IdBefore(a.id, b.id); });
    return points;
  }

  Workers workers_{2};
  CollectionTuning tuning_;
  const CollectionConfig config_ = GetParam();
  RowTable table_{"docs", config_, workers_, tuning_};
  const std::unique_ptr<Engine> scan_ = MakeScanEngine(workers_);
  LayoutCare care_{table_, *scan_};
  Collection one_by_one_{"docs", config_, workers_, nullptr, tuning_};
};

INSTANTIATE_TEST_SUITE_P(
    , WriteGroupTest,
    testing::Values(CollectionConfig{kDimension, Metric::kCosine},
                    CollectionConfig{kDimension, Metric::kL2},
                    CollectionConfig{kDimension, Metric::kCosine, Normalization::kL2}),
    [](const auto& instance) {
      const bool normalizes = instance.param.normalization == Normalization::kL2;
      return std::string(Name(instance.param.metric)) + (normalizes ? "_normalized" : "");
    });

// Some groups are thrown away before they are published, as when the disk is full.
TEST_P(WriteGroupTest, EachWriteComesOutAsIfItWereAlone) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    SCOPED_TRACE(seed);
    oracle::Random random(seed);
    uint64_t next_row = table_.next_row;
    std::map<Id, Vector> model;
    for (const Point& point : ByState()) model[point.id] = point.vector;
    for (int round = 0; round < 120; ++round) {
      std::vector<Request> requests(1 + random.Below(8));
      for (Request& request : requests) request = AnyRequest(random, Normalizes() ? 0 : 0.2);
      for (Request& request : requests) request.Make();
      const std::vector<Point> before = ByState();
      const uint64_t sequence = table_.state.Take()->sequence;
      const bool fails = random.Chance(0.25);
      {
        std::lock_guard writing(table_.write_mutex);
        WriteGroup group(table_, care_, {});
        for (Request& request : requests) request.write->status = group.Add(*request.write);
        ASSERT_THAT(group.Commit(), IsOk());
        ASSERT_EQ(ByState(), before) << "visible before it is published";
        ASSERT_EQ(ByIndex(), before);
        if (!fails && group.changed()) group.Publish();
      }
      ASSERT_GE(table_.next_row, next_row) << "a number was given out twice";
      next_row = table_.next_row;
      if (fails) {
        ASSERT_EQ(ByState(), before);
        ASSERT_EQ(ByIndex(), before);
        ASSERT_EQ(table_.state.Take()->sequence, sequence);
        continue;
      }
      for (const Request& request : requests) {
        const Write& write = *request.write;
        if (request.points.empty()) {
          const auto alone = Delete(one_by_one_, request.ids);
          ASSERT_EQ(write.status, alone.status());
          ASSERT_EQ(write.deleted, alone->deleted);
          ASSERT_EQ(write.missing, alone->missing);
          ASSERT_EQ(write.sequence, alone->sequence);
          for (const Id& id : request.ids) model.erase(id);
        } else if (const auto alone = Upsert(one_by_one_, request.points); alone.ok()) {
          ASSERT_THAT(write.status, IsOk());
          ASSERT_EQ(write.added, alone->added);
          ASSERT_EQ(write.replaced, alone->replaced);
          ASSERT_EQ(write.sequence, alone->sequence);
          for (const auto& [id, vector] : request.points) {
            model[id] = Normalizes() ? oracle::Normalized(vector) : vector;
          }
        } else {
          ASSERT_EQ(write.status, alone.status());
        }
      }
      const std::vector<Point> expected = Contents(one_by_one_);
      ASSERT_EQ(expected.size(), model.size());
      for (const auto& [id, vector] : expected) ASSERT_EQ(vector, model.at(id));
      ASSERT_EQ(ByState(), expected);
      ASSERT_EQ(ByIndex(), expected);
      const CollectionInfo info = one_by_one_.info();
      const Snapshot state = table_.state.Take();
      ASSERT_EQ(state->live_rows, info.rows);
      ASSERT_EQ(state->dead_rows, info.dead_rows);
      ASSERT_EQ(state->sequence, info.sequence);
    }
    // And what was coded in groups says the same as the reference.
    const Snapshot state = table_.state.Take();
    const std::vector<Point> points = ByState();
    const Vector q = random.Gaussian(kDimension);
    const EngineQuery query{q, oracle::Dot(q, q), {}};
    const Metric metric = config_.metric;
    if (!state->first_zero_row || metric != Metric::kCosine) {
      const auto answer = scan_->Search(*state, metric, {&query, 1}, 10, {});
      ASSERT_THAT(answer.status(), IsOk());
      ASSERT_EQ(Owned(answer->hits[0]), oracle::TopK(metric, points, q, 10));
    }
  }
}

// The numbers of rows follow one another and go with their rows through compaction.
TEST_P(WriteGroupTest, NoTwoRowsEverHaveOneNumber) {
  oracle::Random random(7);
  std::map<uint64_t, Point> known;
  for (int round = 0; round < 60; ++round) {
    Request request = AnyRequest(random, 0);
    request.Make();
    {
      std::lock_guard writing(table_.write_mutex);
      WriteGroup group(table_, care_, {});
      ASSERT_THAT(group.Add(*request.write), IsOk());
      ASSERT_THAT(group.Commit(), IsOk());
      group.Publish();
    }
    if (round % 5 == 0) {
      ASSERT_THAT(Compact(table_, care_, {}).status(), IsOk());
    }
    const Snapshot state = table_.state.Take();
    std::set<uint64_t> numbers;
    for (const CollectionState::Part& part : state->parts) {
      for (uint32_t row = 0; row < part.rows; ++row) {
        const uint64_t number = part.segment->number(row);
        const auto vector = part.segment->vector(row);
        const Point point{Own(part.segment->id(row)), {vector.begin(), vector.end()}};
        ASSERT_TRUE(numbers.insert(number).second);
        ASSERT_EQ(known.try_emplace(number, point).first->second, point);
        ASSERT_LT(number, table_.next_row);
      }
    }
  }
}

}  // namespace
}  // namespace vexact
