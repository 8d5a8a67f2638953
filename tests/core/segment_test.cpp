#include "core/segment.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/core/harness.h"

namespace vexact {
namespace {

std::unique_ptr<Segment> MakeSegment(uint32_t dimension, uint32_t capacity) {
  auto segment = Segment::Create(dimension, capacity);
  EXPECT_THAT(segment.status(), IsOk());
  return *std::move(segment);
}

void Append(Segment& segment, const Point& point) {
  segment.Append(segment.size() + 100, View(point.id), point.vector,
                 oracle::Dot(point.vector, point.vector));
}

Point Read(const Segment& segment, uint32_t row) {
  return {Own(segment.id(row)), {segment.vector(row).begin(), segment.vector(row).end()}};
}

TEST(Pages, AreZeroAlignedAndOwnedOnce) {
  for (const size_t bytes : {size_t{1}, size_t{4096}, (size_t{2} << 20) - 1, size_t{5} << 20}) {
    auto mapped = Pages::Map(bytes);
    ASSERT_THAT(mapped.status(), IsOk());
    Pages pages = *std::move(mapped);
    auto* first = pages.as<unsigned char>();
    EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % 64, 0);
    EXPECT_EQ(first[0], 0);
    EXPECT_EQ(first[bytes - 1], 0);
    first[bytes - 1] = 7;
    Pages other = std::move(pages);
    EXPECT_EQ(other.as<unsigned char>(), first);
    Pages third;
    third = std::move(other);
    EXPECT_EQ(third.as<unsigned char>()[bytes - 1], 7);
  }
}

TEST(Segment, KeepsRowsBitForBitWhenTheyMoveIntoHugePages) {
  constexpr uint32_t kDimension = 512, kRows = 4'000;  // some huge pages and a part of one
  const auto segment = *Segment::Create(kDimension, kRows, HugePages::kLater);
  std::vector<Point> points;
  for (uint32_t row = 0; row < kRows; ++row) {
    points.push_back({uint64_t{row} * 7, std::vector<float>(kDimension, static_cast<float>(row))});
    Append(*segment, points.back());
  }
  segment->Bury(17, 3);
  const float* const first = segment->vector(0).data();
  for (int times = 0; times < 2; ++times) {
    segment->UseHugePages();
    EXPECT_EQ(segment->vector(0).data(), first) << "readers have such addresses";
    for (uint32_t row = 0; row < kRows; ++row) {
      ASSERT_EQ(Read(*segment, row), points[row]);
      ASSERT_EQ(segment->number(row), row + 100);
      ASSERT_EQ(segment->died(row), row == 17 ? 3 : 0);
    }
  }
}

TEST(Segment, KeepsRowsBitForBit) {
  const auto segment = MakeSegment(3, 4);
  EXPECT_EQ(segment->dimension(), 3);
  EXPECT_EQ(segment->capacity(), kGroupRows) << "rounded up to whole groups";
  EXPECT_EQ(segment->size(), 0);
  const std::vector<Point> points = {{uint64_t{7}, {1, 2, 3}},
                                     {"seven", {-0.0f, 1e-45f, 3e38f}},
                                     {uint64_t{0}, {0, 0, 0}},
                                     {std::string("\0x", 2), {4, 5, 6}}};
  for (const Point& point : points) Append(*segment, point);
  ASSERT_EQ(segment->size(), 4);
  for (uint32_t row = 0; row < 4; ++row) {
    EXPECT_EQ(Read(*segment, row), points[row]);
    EXPECT_EQ(segment->dot(row), oracle::Dot(points[row].vector, points[row].vector));
    EXPECT_EQ(segment->number(row), row + 100);
  }
  EXPECT_TRUE(std::signbit(segment->vector(1)[0]));
}

TEST(Segment, NeverMovesARow) {
  const auto segment = MakeSegment(17, 3'000);
  Append(*segment, {"first", std::vector<float>(17, 1)});
  const float* vector = segment->vector(0).data();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(vector) % 64, 0);
  const char* text = std::get<std::string_view>(segment->id(0)).data();
  for (uint64_t i = 1; i < 3'000; ++i) {
    Append(*segment, {"another " + std::to_string(i), std::vector<float>(17, 2)});
  }
  EXPECT_EQ(segment->vector(0).data(), vector);
  EXPECT_EQ(std::get<std::string_view>(segment->id(0)).data(), text);
  EXPECT_EQ(Read(*segment, 0), (Point{"first", std::vector<float>(17, 1)}));
}

TEST(Segment, KeepsTextsOfEveryLength) {
  const auto segment = MakeSegment(1, 2'000);
  std::vector<Id> ids;
  for (size_t i = 0; i < 2'000; ++i)
    ids.push_back(std::string(1 + i % kMaxIdBytes, static_cast<char>('a' + i % 26)));
  for (const Id& id : ids) Append(*segment, {id, {1}});
  for (uint32_t row = 0; row < ids.size(); ++row) ASSERT_EQ(Own(segment->id(row)), ids[row]);
}

TEST(Segment, ATombstoneEndsARowForLaterStatesOnly) {
  const auto segment = MakeSegment(1, 2);
  Append(*segment, {uint64_t{1}, {1}});
  Append(*segment, {uint64_t{2}, {2}});
  EXPECT_TRUE(segment->IsLive(0, 1));
  EXPECT_TRUE(segment->IsLive(0, ~uint64_t{0}));
  EXPECT_EQ(segment->dead(), 0);
  segment->Bury(0, 5);
  EXPECT_EQ(segment->dead(), 1);
  EXPECT_TRUE(segment->IsLive(0, 1));
  EXPECT_TRUE(segment->IsLive(0, 4));
  EXPECT_FALSE(segment->IsLive(0, 5));
  EXPECT_FALSE(segment->IsLive(0, 6));
  EXPECT_TRUE(segment->IsLive(1, 6));
  EXPECT_EQ(Read(*segment, 0), (Point{uint64_t{1}, {1}})) << "the row itself stays readable";
}

TEST(Segment, TruncatedRowsMakeRoomForOthers) {
  const auto segment = MakeSegment(2, 3);
  Append(*segment, {"kept", {1, 1}});
  Append(*segment, {"taken back", {2, 2}});
  Append(*segment, {uint64_t{9}, {3, 3}});
  segment->Truncate(1);
  EXPECT_EQ(segment->size(), 1);
  Append(*segment, {uint64_t{4}, {4, 4}});
  Append(*segment, {"fifth", {5, 5}});
  EXPECT_EQ(Read(*segment, 0), (Point{"kept", {1, 1}}));
  EXPECT_EQ(Read(*segment, 1), (Point{uint64_t{4}, {4, 4}}));
  EXPECT_EQ(Read(*segment, 2), (Point{"fifth", {5, 5}}));
}

// A write that fails over and over, as on a full disk, must not fill the memory with its ids.
TEST(Segment, TruncatedRowsGiveTheRoomOfTheirIdsBack) {
  const auto segment = MakeSegment(1, 1'000);
  Append(*segment, {"kept", {1}});
  const uint64_t before = segment->bytes(1).ids;
  for (int round = 0; round < 3; ++round) {
    Append(*segment, {uint64_t{7}, {1}});
    for (int i = 0; i < 500; ++i) {
      Append(*segment, {std::string(300, 'x') + std::to_string(i), {1}});
    }
    EXPECT_GT(segment->bytes(1).ids, before);
    segment->Truncate(1);
    EXPECT_EQ(segment->bytes(1).ids, before);
  }
  Append(*segment, {"next", {2}});
  EXPECT_EQ(Read(*segment, 0), (Point{"kept", {1}}));
  EXPECT_EQ(Read(*segment, 1), (Point{"next", {2}}));
}

TEST(Segment, PlacesAreDeadUntilTheirRowsAreSet) {
  const auto segment = MakeSegment(2, 64);
  segment->AppendPlaces(40);
  EXPECT_EQ(segment->size(), 40);
  EXPECT_EQ(segment->dead(), 40);
  const std::vector<Point> points = {{uint64_t{7}, {1, 2}}, {"seven", {3, 4}}};
  for (const uint32_t i : {0u, 1u}) {
    segment->SetRow(10 + i, 500 + i, View(points[i].id));
    segment->SetVector(10 + i, points[i].vector, 5);
  }
  EXPECT_EQ(segment->dead(), 38);
  for (uint32_t row = 0; row < 40; ++row) {
    EXPECT_EQ(segment->IsLive(row, 1), row == 10 || row == 11);
  }
  EXPECT_EQ(Read(*segment, 10), points[0]);
  EXPECT_EQ(Read(*segment, 11), points[1]);
  EXPECT_EQ(segment->number(11), 501);
  Append(*segment, {"behind", {5, 6}});
  EXPECT_EQ(Read(*segment, 40), (Point{"behind", {5, 6}}));
}

// Many enough for memory to be made ready for them at once; on two threads, over a page that rows
// of both share.
TEST(Segment, VectorsMayComeLaterAndFromSeveralThreads) {
  constexpr uint32_t kDimension = 100, kRows = 1'000;
  const auto segment = *Segment::Create(kDimension, kRows, HugePages::kLater);
  oracle::Random random(3);
  std::vector<std::vector<float>> vectors;
  for (uint32_t row = 0; row < kRows; ++row) vectors.push_back(random.Gaussian(kDimension));
  for (uint32_t row = 0; row < kRows; ++row) segment->Append(row, uint64_t{row} * 2);
  EXPECT_EQ(segment->size(), kRows);
  const auto fill = [&](uint32_t begin, uint32_t end) {
    segment->ExpectVectors(begin, end);
    for (uint32_t row = begin; row < end; ++row) {
      const double dot = oracle::Dot(vectors[row], vectors[row]);
      if (row % 3 == 0) {
        segment->SetNormalized(row, vectors[row], dot);
      } else {
        segment->SetVector(row, vectors[row], dot);
      }
    }
  };
  {
    std::jthread other([&] { fill(0, 333); });
    fill(333, kRows);
  }
  segment->ExpectVectors(0, kRows);  // changes nothing of what is there
  for (uint32_t row = 0; row < kRows; ++row) {
    const auto expected = row % 3 == 0 ? oracle::Normalized(vectors[row]) : vectors[row];
    EXPECT_TRUE(std::ranges::equal(segment->vector(row), expected)) << row;
    EXPECT_EQ(segment->dot(row), oracle::Dot(expected, expected));
    EXPECT_EQ(segment->id(row), IdView(uint64_t{row} * 2));
    EXPECT_EQ(segment->number(row), row);
  }
}

TEST(Segment, CountsTheBytesOfItsRows) {
  const auto segment = MakeSegment(100, 1'000);
  EXPECT_EQ(segment->bytes(0).rows, 0);
  EXPECT_EQ(segment->bytes(0).ids, 0);
  EXPECT_EQ(segment->bytes(0).overhead, 0);
  Append(*segment, {uint64_t{1}, std::vector<float>(100, 1)});
  Append(*segment, {std::string(500, 'x'), std::vector<float>(100, 1)});
  EXPECT_EQ(segment->bytes(1).rows, 400);
  EXPECT_EQ(segment->bytes(2).rows, 800);
  EXPECT_GE(segment->bytes(2).ids, 508);
  EXPECT_GE(segment->bytes(2).overhead, 2 * sizeof(double));
}

TEST(Segment, SaysSoWhenItsMemoryCannotBeHad) {
  // A petabyte: more than an address can name.
  const auto segment = Segment::Create(65'536, 4'000'000'000);
  EXPECT_THAT(segment.status(),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       "cannot reserve 1048576000000000 bytes of memory: Cannot allocate memory"));
}

}  // namespace
}  // namespace vexact
