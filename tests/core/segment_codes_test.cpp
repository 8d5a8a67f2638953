#include "core/segment_codes.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <vector>

#include "tests/core/harness.h"
#include "tests/exactness/layouts.h"

namespace vexact {
namespace {

constexpr uint32_t kDimension = 40;

std::unique_ptr<Segment> MakeSegment(uint32_t rows) {
  auto segment = *Segment::Create(kDimension, rows);
  oracle::Random random(1);
  for (uint64_t i = 0; i < rows; ++i) {
    const auto vector = random.Gaussian(kDimension);
    segment->Append(i, i, vector, oracle::Dot(vector, vector));
  }
  return segment;
}

std::unique_ptr<SegmentCodes> MakeCodes(const std::shared_ptr<const Layout>& layout,
                                        uint32_t capacity) {
  auto codes = SegmentCodes::Create(layout, capacity);
  EXPECT_THAT(codes.status(), IsOk());
  return *std::move(codes);
}

TEST(SegmentCodes, AreTheSameHoweverTheRowsCame) {
  const auto segment = MakeSegment(100);
  Random random(2);
  const auto layout = MakeLayout(
      {.dimension = kDimension, .first_width = 16, .sketch = true, .basis = Basis::kWhole}, random);
  const Kernel& kernel = ActiveKernel();
  const auto at_once = MakeCodes(layout, segment->capacity());
  at_once->Encode(*segment, kernel, 0, 100);
  const auto one_by_one = MakeCodes(layout, segment->capacity());
  for (uint32_t row = 0; row < 100; ++row) one_by_one->Encode(*segment, kernel, row, row + 1);
  const auto in_pieces = MakeCodes(layout, segment->capacity());
  for (const auto& [begin, end] : {std::pair(0, 5), std::pair(5, 47), std::pair(47, 100)}) {
    in_pieces->Encode(*segment, kernel, static_cast<uint32_t>(begin), static_cast<uint32_t>(end));
  }
  constexpr size_t kCoded = 96;  // whole groups alone
  for (const auto& other : {&one_by_one, &in_pieces}) {
    const CodeColumns& a = at_once->columns();
    const CodeColumns& b = (*other)->columns();
    EXPECT_EQ(std::memcmp(a.first_slab, b.first_slab, kCoded * layout->first_bytes()), 0);
    EXPECT_EQ(std::memcmp(a.sketch, b.sketch, kCoded * layout->sketch_bytes()), 0);
    EXPECT_EQ(std::memcmp(a.later, b.later, layout->later_at(kCoded)), 0);
    for (size_t row = 0; row < kCoded; ++row) {
      EXPECT_EQ(a.scale[row], b.scale[row]);
      EXPECT_EQ(a.error[row], b.error[row]);
      EXPECT_EQ(a.norm[row], b.norm[row]);
    }
  }
  // The rows behind the last whole group have no codes yet.
  for (size_t row = kCoded; row < segment->capacity(); ++row) {
    EXPECT_EQ(at_once->columns().scale[row], 0);
    EXPECT_EQ(one_by_one->columns().scale[row], 0);
  }
}

TEST(SegmentCodes, CountTheirBytes) {
  Random random(3);
  for (const LayoutForm& form :
       {LayoutForm{.dimension = kDimension, .first_width = kDimension},
        LayoutForm{.dimension = kDimension, .first_width = 8},
        LayoutForm{.dimension = kDimension, .first_width = 16, .sketch = true},
        LayoutForm{.dimension = kDimension, .first_width = 16, .basis = Basis::kLeading}}) {
    const auto layout = MakeLayout(form, random);
    SCOPED_TRACE(Describe(*layout));
    const auto codes = MakeCodes(layout, 1'024);
    EXPECT_EQ(codes->bytes(0), 0);
    // A byte for each coordinate, half of one for each of the sketch, and some numbers.
    const uint64_t least = form.sketch ? 40 + 8 : 40;
    EXPECT_GE(codes->bytes(1'000), 1'000 * least);
    EXPECT_LE(codes->bytes(1'000), 1'000 * (least + 2 * kSlabWidth + 40));
    EXPECT_EQ(codes->layout(), layout);
  }
}

TEST(SegmentCodes, SaySoWhenTheirMemoryCannotBeHad) {
  // A quarter of a petabyte: more than an address can name.
  const auto codes = SegmentCodes::Create(Layout::Identity(65'536), 4'000'000'000);
  EXPECT_THAT(codes.status(),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       "cannot reserve 262144000000000 bytes of memory: Cannot allocate memory"));
}

}  // namespace
}  // namespace vexact
