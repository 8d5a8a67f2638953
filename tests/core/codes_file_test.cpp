#include "core/codes_file.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/checked_file.h"
#include "core/kernel/tables.h"
#include "tests/core/harness.h"
#include "tests/exactness/layouts.h"
#include "tests/support/files.h"

namespace vexact {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr auto kDataLoss = absl::StatusCode::kDataLoss;

std::string ReadBytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void WriteBytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

// Calls `check` for each way in which a file of these bytes can be damaged.
void ForEachDamage(const std::string& path, const std::function<void()>& check) {
  const std::string bytes = ReadBytes(path);
  for (size_t i = 0; i < bytes.size(); ++i) {
    SCOPED_TRACE("bit flipped in byte " + std::to_string(i));
    std::string flipped = bytes;
    flipped[i] = static_cast<char>(flipped[i] ^ (1 << i % 8));
    WriteBytes(path, flipped);
    check();
    if (::testing::Test::HasFailure()) break;
  }
  for (size_t size = 0; size < bytes.size(); size += 1 + size / 50) {
    SCOPED_TRACE("cut off at " + std::to_string(size));
    WriteBytes(path, bytes.substr(0, size));
    check();
  }
  for (const size_t more : {1, 8, 100}) {
    SCOPED_TRACE("longer by " + std::to_string(more));
    WriteBytes(path, bytes + std::string(more, '\0'));
    check();
  }
  WriteBytes(path, bytes);
}

class CodesFileTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name) const { return (folder_.path() / name).string(); }

  std::unique_ptr<Segment> MakeSegment(uint32_t dimension, uint32_t rows) {
    auto segment = *Segment::Create(dimension, rows);
    oracle::Random random(rows);
    for (uint64_t i = 0; i < rows; ++i) {
      const auto vector = random.Gaussian(dimension);
      segment->Append(1'000 + 3 * i, i, vector, oracle::Dot(vector, vector));
    }
    return segment;
  }

  testing::TempDir folder_;
};

LayoutRecord AnyRecord(uint32_t dimension, uint64_t seed) {
  Random random(seed);
  std::vector<std::vector<float>> rows;
  oracle::Random normal(seed);
  for (int i = 0; i < 20; ++i) rows.push_back(normal.Gaussian(dimension));
  LayoutRecord record;
  record.trained.layout = MakeLayout(AnyForm(rows, random), random);
  record.trained.trained_rows = 10'000 + seed;
  record.trained.energy = {0.25, 0.5, 1};
  record.trained.forecast = {.passed = {0.5, 0.25},
                             .scored = 0.125,
                             .batch_passed = 1,
                             .bytes_per_row = 2,
                             .bytes_per_query = 3,
                             .alone_nanoseconds = 4,
                             .batch_nanoseconds = 5};
  record.weighed_rows = 20'000 + seed;
  record.generation = 7;
  return record;
}

TEST_F(CodesFileTest, LayoutsOfEveryFormComeBack) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    const LayoutRecord record = AnyRecord(24, seed);
    SCOPED_TRACE(Describe(*record.trained.layout));
    ASSERT_THAT(WriteLayoutFile(Path("layout"), record), IsOk());
    const auto read = ReadLayoutFile(Path("layout"), 24);
    ASSERT_THAT(read.status(), IsOk());
    EXPECT_EQ(HashLayout(*read->trained.layout), HashLayout(*record.trained.layout));
    EXPECT_EQ(read->trained.layout->center, record.trained.layout->center);
    EXPECT_EQ(read->trained.layout->weights, record.trained.layout->weights);
    EXPECT_EQ(read->trained.layout->longest, record.trained.layout->longest);
    EXPECT_EQ(read->trained.trained_rows, record.trained.trained_rows);
    EXPECT_EQ(read->trained.energy, record.trained.energy);
    EXPECT_EQ(read->trained.forecast.passed, record.trained.forecast.passed);
    EXPECT_EQ(read->trained.forecast.nanoseconds(), 9);
    EXPECT_EQ(read->weighed_rows, record.weighed_rows);
    EXPECT_EQ(read->generation, 7);
    EXPECT_THAT(ReadLayoutFile(Path("layout"), 23).status(),
                StatusIs(kDataLoss, HasSubstr("is not a layout of 23 dimensions")));
  }
}

TEST_F(CodesFileTest, LayoutsThatDifferHaveDifferentHashes) {
  Random random(3);
  const auto layout = MakeLayout({.dimension = 24,
                                  .first_width = 8,
                                  .sketch = true,
                                  .basis = Basis::kLeading,
                                  .center = std::vector<float>(24, 1)},
                                 random);
  const std::function<void(Layout&)> changes[] = {
      [](Layout&) {},
      [](Layout& other) { other.dimension = 25; },
      [](Layout& other) { other.first_width = 7; },
      [](Layout& other) { other.center[23] += 1; },
      [](Layout& other) { other.center_norm += 1; },
      [](Layout& other) { other.basis_rows = 9; },
      [](Layout& other) { other.basis_at(7, 23) += 1; },
      [](Layout& other) { other.defect += 1; },
      [](Layout& other) { other.projection_error += 1; },
      [](Layout& other) { other.weights[0] += 1; },
      [](Layout& other) { other.sketch_reach += 1; },
      [](Layout& other) { other.longest = 17; },
  };
  std::set<uint64_t> hashes;
  for (const auto& change : changes) {
    Layout other = *layout;
    change(other);
    EXPECT_TRUE(hashes.insert(HashLayout(other)).second) << hashes.size();
  }
  EXPECT_EQ(HashLayout(Layout(*layout)), HashLayout(*layout));
}

TEST_F(CodesFileTest, ADamagedLayoutIsFound) {
  Random random(3);
  LayoutRecord record = AnyRecord(8, 1);
  record.trained.layout = MakeLayout(
      {.dimension = 8, .first_width = 8, .sketch = true, .basis = Basis::kLeading}, random);
  ASSERT_THAT(WriteLayoutFile(Path("layout"), record), IsOk());
  ForEachDamage(Path("layout"), [&] {
    EXPECT_THAT(ReadLayoutFile(Path("layout"), 8).status(),
                StatusIs(kDataLoss, StartsWith(Path("layout") + " is damaged: ")));
  });
  EXPECT_THAT(ReadLayoutFile(Path("layout"), 8).status(), IsOk());
}

TEST_F(CodesFileTest, CodesComeBackByteForByte) {
  for (const uint32_t rows : {1u, 15u, 16u, 100u, 512u}) {
    for (uint64_t seed = 1; seed <= 10; ++seed) {
      const auto layout = AnyRecord(80, seed).trained.layout;
      SCOPED_TRACE(Describe(*layout));
      const auto segment = MakeSegment(80, rows);
      const auto codes = *SegmentCodes::Create(layout, segment->capacity());
      codes->Encode(*segment, ActiveKernel(), 0, rows);
      ASSERT_THAT(WriteCodesFile(Path("codes"), *segment, *codes, rows, 99), IsOk());
      const auto read = ReadCodesFile(Path("codes"), 80,
                                      [&](uint64_t hash) { return hash == 99 ? layout : nullptr; });
      ASSERT_THAT(read.status(), IsOk());
      ASSERT_EQ(read->numbers.size(), rows);
      for (uint32_t row = 0; row < rows; ++row) {
        ASSERT_EQ(read->numbers[row], segment->number(row));
        ASSERT_EQ(read->hashes[row], HashRow(segment->vector(row)));
      }
      const auto written = codes->Columns(rows / 16 * 16);
      const auto back = read->codes->Columns(rows / 16 * 16);
      ASSERT_EQ(written.size(), back.size());
      for (size_t i = 0; i < written.size(); ++i) {
        ASSERT_EQ(written[i].size(), back[i].size());
        ASSERT_EQ(std::memcmp(written[i].data(), back[i].data(), back[i].size()), 0);
      }
      EXPECT_EQ(read->codes->columns().capacity, segment->capacity());
    }
  }
}

TEST_F(CodesFileTest, DamagedCodesAreFound) {
  const auto segment = MakeSegment(8, 20);
  const auto layout = Layout::Identity(8);
  const auto codes = *SegmentCodes::Create(layout, segment->capacity());
  codes->Encode(*segment, ActiveKernel(), 0, 20);
  const auto read = [&] {
    return ReadCodesFile(Path("codes"), 8, [&](uint64_t) { return layout; }).status();
  };
  ASSERT_THAT(WriteCodesFile(Path("codes"), *segment, *codes, 20, 0), IsOk());
  ForEachDamage(Path("codes"), [&] {
    EXPECT_THAT(read(), StatusIs(kDataLoss, StartsWith(Path("codes") + " is damaged: ")));
  });
  EXPECT_THAT(read(), IsOk());
  EXPECT_THAT(ReadCodesFile(Path("codes"), 8, [](uint64_t) { return nullptr; }).status(),
              StatusIs(kDataLoss, HasSubstr("the layout that it refers to is not there")));
  EXPECT_THAT(ReadCodesFile(Path("none"), 8, [&](uint64_t) { return layout; }).status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("cannot open " + Path("none"))));
}

TEST_F(CodesFileTest, AFileIsThereWholeOrNotAtAll) {
  {
    auto file = CheckedFileWriter::Create(Path("file"));
    ASSERT_THAT(file.status(), IsOk());
    ASSERT_THAT(file->Append(std::as_bytes(std::span("half"))), IsOk());
    EXPECT_FALSE(std::filesystem::exists(Path("file")));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path())) << "the half is left behind";
  EXPECT_THAT(CheckedFileWriter::Create(Path("no folder/file")).status(),
              StatusIs(absl::StatusCode::kNotFound, StartsWith("cannot create ")));
}

// When this fails, what columns or layouts hold has changed: raise kCodesVersion, so that codes of
// the version before are made anew instead of misread, and put the new hashes here.
TEST_F(CodesFileTest, TheFormatIsThatOfItsVersion) {
  constexpr uint32_t kDimension = 96;
  constexpr uint32_t kRows = 64;
  uint32_t state = 1;
  const auto next = [&] {
    state = state * 1'664'525 + 1'013'904'223;
    return static_cast<float>(static_cast<int32_t>(state >> 8) - (1 << 23)) * 0x1p-20f;
  };
  const auto segment = *Segment::Create(kDimension, kRows);
  std::vector<float> vector(kDimension);
  for (uint64_t i = 0; i < kRows; ++i) {
    for (float& x : vector) x = next();
    segment->Append(i, i, vector, oracle::Dot(vector, vector));
  }
  // Axes in another order: an orthonormal basis without rounding.
  auto turned = std::make_shared<Layout>();
  turned->dimension = kDimension;
  turned->first_width = turned->basis_rows = 16;
  turned->basis.resize(turned->panels() * kDimension * (kPanelRows / 16));
  for (uint32_t i = 0; i < 16; ++i) turned->basis_at(i, 90 - 5 * i) = 1;
  for (uint32_t j = 0; j < kDimension; ++j) turned->center.push_back(0.25f);
  turned->center_norm = std::sqrt(0.0625 * kDimension);
  turned->longest = 1e6;
  turned->projection_error = turned->ProjectionBound();
  for (uint32_t j = 0; j < 16; ++j) turned->weights.push_back(j < 8 ? 1.0f : 0.5f);
  turned->sketch_reach = 40;
  const auto hash = [&](std::shared_ptr<const Layout> layout) {
    const auto codes = *SegmentCodes::Create(std::move(layout), kRows);
    codes->Encode(*segment, kPortableKernel, 0, kRows);
    std::vector<std::byte> all;
    for (const auto column : codes->Columns(kRows)) {
      all.insert(all.end(), column.begin(), column.end());
    }
    return Hash(all);
  };
  EXPECT_EQ(kCodesVersion, 1);
  EXPECT_EQ(hash(Layout::Identity(kDimension)), 15195689637424584850u);
  EXPECT_EQ(hash(Layout::Identity(kDimension, 32)), 15069896268756732058u);
  EXPECT_EQ(hash(turned), 11227675942113986257u);
  EXPECT_EQ(HashLayout(*turned), 15739561049555969197u);
}

}  // namespace
}  // namespace vexact
