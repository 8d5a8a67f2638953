// A snapshot file gives back what was put in, or says where it is damaged.
#include "snapshot/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <fstream>
#include <random>
#include <set>
#include <vector>

#include "tests/support/files.h"

namespace vexact::snapshot {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using OwnId = std::variant<uint64_t, std::string>;

struct OwnRow {
  OwnId id;
  std::vector<float> vector;
};

// Compares bits: -0 is not 0.
bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::vector<OwnRow> RandomRows(uint64_t seed, size_t count, uint32_t dimension) {
  std::mt19937_64 random(seed);
  std::vector<OwnRow> rows;
  for (size_t i = 0; i < count; ++i) {
    OwnRow row{.id = uint64_t{random()}, .vector = std::vector<float>(dimension)};
    if (random() % 2 == 0)
      row.id = std::string(1 + random() % 512, static_cast<char>('a' + i % 26));
    // Any bits: what a vector may be is not the format's business.
    for (float& component : row.vector) {
      component = std::bit_cast<float>(static_cast<uint32_t>(random()));
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

Header HeaderOf(const std::vector<OwnRow>& rows, uint32_t dimension) {
  return {.collection = "docs",
          .dimension = dimension,
          .metric = 3,
          .normalization = 2,
          .sequence = 77,
          .rows = rows.size(),
          .created_us = 1'700'000'000'123'456};
}

struct Encoded {
  std::string bytes;
  Footer footer;
};

Encoded Encode(const Header& header, const std::vector<OwnRow>& rows) {
  Encoded encoded;
  Encoder encoder(header);
  encoder.Begin(encoded.bytes);
  for (const OwnRow& row : rows) {
    Row view;
    view.vector = row.vector;
    std::visit([&](const auto& form) { view.id = form; }, row.id);
    encoder.Add(view, encoded.bytes);
  }
  encoded.footer = encoder.Finish(encoded.bytes);
  return encoded;
}

struct Decoded {
  absl::StatusOr<Footer> footer = absl::UnknownError("");
  Header header;
  std::vector<OwnRow> rows;
};

Decoded Decode(std::string_view bytes, size_t step = 100'000) {
  Decoded decoded;
  Decoder decoder(
      [&](const Header& header) {
        decoded.header = header;
        return absl::OkStatus();
      },
      [&](std::span<const Row> rows) {
        for (const Row& row : rows) {
          OwnRow own;
          own.vector = {row.vector.begin(), row.vector.end()};
          if (const auto* text = std::get_if<std::string_view>(&row.id)) {
            own.id = std::string(*text);
          } else {
            own.id = std::get<uint64_t>(row.id);
          }
          decoded.rows.push_back(std::move(own));
        }
        return absl::OkStatus();
      });
  for (size_t at = 0; at < bytes.size(); at += step) {
    if (absl::Status status = decoder.Add(bytes.substr(at, step)); !status.ok()) {
      decoded.footer = status;
      return decoded;
    }
  }
  decoded.footer = decoder.Finish();
  return decoded;
}

struct Shape {
  size_t rows;
  uint32_t dimension;
};

class ShapeTest : public ::testing::TestWithParam<Shape> {};

TEST_P(ShapeTest, GivesBackEveryBitHoweverTheBytesCome) {
  const auto [count, dimension] = GetParam();
  const std::vector<OwnRow> rows = RandomRows(count + dimension, count, dimension);
  const Header header = HeaderOf(rows, dimension);
  const Encoded encoded = Encode(header, rows);
  EXPECT_EQ(encoded.footer.bytes, encoded.bytes.size());
  EXPECT_EQ(encoded.footer.rows, count);
  for (const size_t step : {size_t{7'919}, encoded.bytes.size()}) {
    SCOPED_TRACE(step);
    const Decoded decoded = Decode(encoded.bytes, step);
    ASSERT_TRUE(decoded.footer.ok()) << decoded.footer.status();
    EXPECT_EQ(*decoded.footer, encoded.footer);
    EXPECT_EQ(decoded.header, header);
    ASSERT_EQ(decoded.rows.size(), rows.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      ASSERT_EQ(decoded.rows[i].id, rows[i].id) << i;
      ASSERT_TRUE(SameBits(decoded.rows[i].vector, rows[i].vector)) << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, ShapeTest,
                         ::testing::Values(Shape{0, 5}, Shape{1, 1}, Shape{1, 65'536},
                                           Shape{9, 65'536}, Shape{40'000, 1}, Shape{3'000, 384}));

TEST(FileTest, ComesByteByByteTheSame) {
  const std::vector<OwnRow> rows = RandomRows(1, 20, 3);
  const Encoded encoded = Encode(HeaderOf(rows, 3), rows);
  const Decoded decoded = Decode(encoded.bytes, 1);
  ASSERT_TRUE(decoded.footer.ok()) << decoded.footer.status();
  EXPECT_EQ(decoded.rows.size(), 20);
}

TEST(FileTest, IsRefusedWhereverItIsCutOff) {
  const std::vector<OwnRow> rows = RandomRows(2, 30, 4);
  const std::string bytes = Encode(HeaderOf(rows, 4), rows).bytes;
  for (size_t length = 0; length < bytes.size(); ++length) {
    const absl::Status status = Decode(bytes.substr(0, length)).footer.status();
    ASSERT_EQ(status.code(), absl::StatusCode::kDataLoss) << length;
    ASSERT_THAT(std::string(status.message()),
                HasSubstr(length == 0 ? "is empty" : "is cut off here"))
        << length;
    ASSERT_THAT(std::string(status.message()), StartsWith("byte " + std::to_string(length) + ": "));
  }
}

TEST(FileTest, IsRefusedWhicheverBitIsFlipped) {
  const std::vector<OwnRow> rows = RandomRows(3, 12, 2);
  const std::string bytes = Encode(HeaderOf(rows, 2), rows).bytes;
  std::set<absl::StatusCode> codes;
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string altered = bytes;
    altered[bit / 8] = static_cast<char>(altered[bit / 8] ^ (1 << bit % 8));
    const absl::Status status = Decode(altered).footer.status();
    ASSERT_FALSE(status.ok()) << "bit " << bit;
    ASSERT_THAT(std::string(status.message()), StartsWith("byte "));
    codes.insert(status.code());
  }
  EXPECT_THAT(codes, ::testing::ElementsAre(absl::StatusCode::kFailedPrecondition,  // the version
                                            absl::StatusCode::kDataLoss));
}

TEST(FileTest, SaysWhichBlockIsDamaged) {
  const std::vector<OwnRow> rows = RandomRows(4, 9, 65'536);  // some blocks
  const Encoded encoded = Encode(HeaderOf(rows, 65'536), rows);
  ASSERT_GE(encoded.footer.blocks, 3);
  std::string altered = encoded.bytes;
  altered[altered.size() / 2] ^= 1;
  const Decoded decoded = Decode(altered);
  EXPECT_EQ(decoded.footer.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(decoded.footer.status().message()),
              ::testing::MatchesRegex(
                  "byte [0-9]+ \\(block [1-9]\\): the block's checksum does not match"));
  EXPECT_LT(decoded.rows.size(), rows.size());
}

TEST(FileTest, RefusesWhatIsMissingDoubledOrBehind) {
  const std::vector<OwnRow> rows = RandomRows(5, 9, 65'536);
  const Encoded encoded = Encode(HeaderOf(rows, 65'536), rows);
  const std::string& bytes = encoded.bytes;
  const size_t second = bytes.find("ROWS", bytes.find("ROWS") + 1);
  const size_t third = bytes.find("ROWS", second + 1);
  ASSERT_NE(third, std::string::npos);
  const auto refusal = [](const std::string& altered) {
    return std::string(Decode(altered).footer.status().message());
  };
  EXPECT_THAT(refusal(bytes + "x"), HasSubstr("there are bytes behind the snapshot's end"));
  EXPECT_THAT(refusal(bytes + bytes), HasSubstr("there are bytes behind the snapshot's end"));
  const std::string block = bytes.substr(second, third - second);
  EXPECT_THAT(refusal(std::string(bytes).erase(second, block.size())), HasSubstr("checksum is "));
  EXPECT_THAT(refusal(std::string(bytes).insert(second, block)),
              HasSubstr("there are more rows than the 9 that the header says"));
  EXPECT_THAT(refusal("a letter to somebody, of several lines"),
              HasSubstr("byte 0: this is no snapshot file"));
}

TEST(FileTest, IsCheckedAndSummedUpOnTheDisk) {
  const testing::TempDir folder;
  const std::string path = folder.path() / "docs.vxsnap";
  const std::vector<OwnRow> rows = RandomRows(6, 5'000, 100);
  const Header header = HeaderOf(rows, 100);
  const Encoded encoded = Encode(header, rows);
  std::ofstream(path, std::ios::binary) << encoded.bytes;
  const auto summary = ReadSummary(path);
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_EQ(summary->header, header);
  EXPECT_EQ(summary->footer, encoded.footer);
  uint64_t read = 0;
  const auto checked = Check(path, [&](uint64_t bytes, uint64_t total) {
    EXPECT_GT(bytes, read);
    EXPECT_EQ(total, encoded.bytes.size());
    read = bytes;
    return absl::OkStatus();
  });
  ASSERT_TRUE(checked.ok()) << checked.status();
  EXPECT_EQ(read, encoded.bytes.size());
  EXPECT_EQ(checked->footer, encoded.footer);

  std::filesystem::resize_file(path, encoded.bytes.size() - 1);
  EXPECT_EQ(Check(path).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ReadSummary(path).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Check(folder.path() / "missing").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Check(folder.path()).status().code(), absl::StatusCode::kUnavailable);
  const absl::Status stop = absl::CancelledError("stop");
  EXPECT_EQ(Check(path, [&](uint64_t, uint64_t) { return stop; }).status(), stop);
}

}  // namespace
}  // namespace vexact::snapshot
