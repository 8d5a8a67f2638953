#include "core/codes_check.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "core/codes_file.h"
#include "tests/core/harness.h"
#include "tests/exactness/layouts.h"
#include "tests/support/files.h"

namespace vexact {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

constexpr uint32_t kDimension = 80;
constexpr uint32_t kRows = 100;

class CodesCheckTest : public ::testing::Test {
 protected:
  CodesCheckTest() {
    oracle::Random random(1);
    for (uint64_t i = 0; i < kRows; ++i) rows_[1'000 + 700 * i] = random.Gaussian(kDimension);
  }

  // As the codes' files of one segment with all rows, in another order than their numbers'.
  void Write(const std::shared_ptr<const Layout>& layout) {
    segment_ = *Segment::Create(kDimension, kRows);
    const auto append = [&](uint64_t number, const std::vector<float>& vector) {
      segment_->Append(number, number, vector, oracle::Dot(vector, vector));
    };
    for (auto row = rows_.rbegin(); row != rows_.rend(); ++row) append(row->first, row->second);
    codes_ = *SegmentCodes::Create(layout, segment_->capacity());
    codes_->Encode(*segment_, ActiveKernel(), 0, kRows);
    LayoutRecord record;
    record.trained.layout = layout;
    const uint64_t hash = HashLayout(*layout);
    ASSERT_THAT(WriteLayoutFile(Path(absl::StrFormat("%016x.layout", hash)), record), IsOk());
    WriteCodes();
  }
  void WriteCodes() {
    const uint64_t hash = HashLayout(*codes_->layout());
    ASSERT_THAT(WriteCodesFile(Path("5.codes"), *segment_, *codes_, kRows, hash), IsOk());
  }

  CodesCheck Check() {
    const RowVisitor visit = [&](uint64_t begin, uint64_t end, const Store::VisitRow& visit_row) {
      absl::Status status;
      for (auto at = rows_.lower_bound(begin); status.ok() && at != rows_.lower_bound(end); ++at) {
        status = visit_row(at->first, at->second);
      }
      return status;
    };
    auto check = CheckCodes(folder_.path().string(), kDimension, visit, workers_);
    EXPECT_THAT(check.status(), IsOk());
    return check.ok() ? *std::move(check) : CodesCheck();
  }

  std::vector<std::string> Problems() {
    std::vector<std::string> lines;
    for (const CodesProblem& problem : Check().problems) {
      EXPECT_THAT(problem.line, StartsWith(problem.file));
      lines.push_back(problem.line);
    }
    return lines;
  }

  std::string Path(const std::string& name) const { return (folder_.path() / name).string(); }
  std::shared_ptr<const Layout> AnyLayout(uint64_t seed) const {
    Random random(seed);
    std::vector<std::vector<float>> rows;
    for (const auto& [number, vector] : rows_) rows.push_back(vector);
    return MakeLayout(AnyForm(rows, random), random);
  }

  testing::TempDir folder_;
  Workers workers_{2};
  std::map<uint64_t, std::vector<float>> rows_;  // by number
  std::unique_ptr<Segment> segment_;
  std::unique_ptr<SegmentCodes> codes_;
};

TEST_F(CodesCheckTest, SoundCodesOfEveryLayoutPass) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const auto layout = AnyLayout(seed);
    SCOPED_TRACE(Describe(*layout));
    Write(layout);
    const CodesCheck check = Check();
    EXPECT_EQ(check.files, 1);
    EXPECT_EQ(check.rows, kRows / kGroupRows * kGroupRows);
    EXPECT_THAT(check.problems, IsEmpty());
    for (const auto& file : std::filesystem::directory_iterator(folder_.path())) {
      std::filesystem::remove(file.path());
    }
  }
}

// The file's own checksum is right each time: only coding the rows again can tell.
TEST_F(CodesCheckTest, EveryByteThatASearchReadsIsCompared) {
  Random random(3);
  Write(MakeLayout({.dimension = kDimension,
                    .first_width = 8,
                    .sketch = true,
                    .basis = Basis::kWhole,
                    .center = std::vector<float>(kDimension, 0.5f)},
                   random));
  constexpr uint32_t kCoded = kRows / kGroupRows * kGroupRows;
  const auto columns = codes_->Columns(kCoded);
  const size_t later_bytes = codes_->layout()->later_bytes() * kGroupRows;
  ASSERT_GT(later_bytes, 0);
  for (size_t c = 0; c < columns.size(); ++c) {
    SCOPED_TRACE(absl::StrFormat("column %d of %d", c, columns.size()));
    const bool later = c + 1 == columns.size();
    const size_t group_bytes = columns[c].size() / (kCoded / kGroupRows);
    for (size_t i = 0; i < columns[c].size(); i += 1 + columns[c].size() / 40) {
      columns[c][i] ^= std::byte{1};
      WriteCodes();
      // Behind a group's later slabs there is room that belongs to no row.
      const bool room = later && i % group_bytes >= later_bytes;
      const CodesCheck check = Check();
      EXPECT_EQ(check.problems.size(), room ? 0 : 1) << "byte " << i;
      columns[c][i] ^= std::byte{1};
    }
  }
  WriteCodes();
  EXPECT_THAT(Problems(), IsEmpty());
}

TEST_F(CodesCheckTest, NamesTheFileAndTheRow) {
  Write(Layout::Identity(kDimension));
  codes_->Columns(16)[0][0] ^= std::byte{1};  // of the first row, which has the greatest number
  WriteCodes();
  EXPECT_THAT(Problems(),
              ElementsAre(AllOf(HasSubstr(Path("5.codes") + " has other codes than its rows"),
                                HasSubstr("of 1 of them, the first is row 70300"))));
}

TEST_F(CodesCheckTest, RowsThatAreGoneAreNotMissed) {
  Write(AnyLayout(1));
  for (const uint64_t number : {1'000, 1'700, 70'300, 30'400}) rows_.erase(number);
  const CodesCheck check = Check();
  EXPECT_THAT(check.problems, IsEmpty());
  EXPECT_EQ(check.files, 1);
  rows_.clear();
  EXPECT_EQ(Check().rows, 0);
  EXPECT_THAT(Problems(), IsEmpty());
}

TEST_F(CodesCheckTest, CodesOfOtherRowsAreFound) {
  Write(AnyLayout(1));
  rows_[1'700][3] += 1;
  EXPECT_THAT(Problems(),
              ElementsAre(Path("5.codes") + " is of other rows: row 1700 has other bits"));
}

TEST_F(CodesCheckTest, DamagedFilesAreNamedAndLeftAlone) {
  Write(AnyLayout(1));
  std::string bytes;
  {
    std::ifstream file(Path("5.codes"), std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(file), {});
  }
  bytes[bytes.size() / 2] ^= 1;
  std::ofstream(Path("5.codes"), std::ios::binary) << bytes;
  std::ofstream(Path("0000000000000007.layout")) << "hello";
  std::ofstream(Path("6.codes.tmp")) << "half";
  EXPECT_THAT(Problems(), ElementsAre(HasSubstr(Path("0000000000000007.layout") + " is damaged: "),
                                      HasSubstr(Path("5.codes") + " is damaged: its checksum")));
  EXPECT_TRUE(std::filesystem::exists(Path("5.codes")));
  EXPECT_TRUE(std::filesystem::exists(Path("6.codes.tmp")));
}

TEST_F(CodesCheckTest, ACollectionWithoutCodesPasses) {
  std::filesystem::remove(folder_.path());
  const CodesCheck check = Check();
  EXPECT_EQ(check.files, 0);
  EXPECT_THAT(check.problems, IsEmpty());
}

}  // namespace
}  // namespace vexact
