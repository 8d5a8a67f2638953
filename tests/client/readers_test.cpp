// Files that `vexact` reads: every form they may have, and every way in which they may be wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "client/command/ids_reader.h"
#include "client/command/json_lines_reader.h"
#include "client/command/npy_reader.h"
#include "client/command/row_source.h"
#include "tests/client/npy_bytes.h"
#include "tests/support/files.h"

namespace vexact::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using vexact::testing::ElementBytes;
using vexact::testing::NpyBytes;
using vexact::testing::NpyHeader;
using vexact::testing::NpyMatrix;
using vexact::testing::WriteFile;

class ReadersTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name) const { return (dir_.path() / name).string(); }
  std::string Put(const std::string& name, std::string_view bytes) const {
    WriteFile(Path(name), bytes);
    return Path(name);
  }

  // All rows, flat; the test fails on an error.
  std::vector<float> ReadAll(const std::string& path) const {
    auto reader = NpyReader::Open(path);
    EXPECT_TRUE(reader.ok()) << reader.status();
    std::vector<float> all;
    for (uint64_t row = 0; reader.ok() && row < reader->rows(); ++row) {
      const auto next = reader->Next();
      EXPECT_TRUE(next.ok()) << next.status();
      if (!next.ok()) break;
      EXPECT_EQ(next->size(), reader->dimension());
      all.insert(all.end(), next->begin(), next->end());
    }
    return all;
  }

  // What opening the file says is wrong, with the file's own path taken out of it.
  std::string Refusal(std::string_view bytes) const {
    const std::string path = Put("bad.npy", bytes);
    const auto reader = NpyReader::Open(path);
    EXPECT_FALSE(reader.ok());
    EXPECT_EQ(reader.status().code(), absl::StatusCode::kInvalidArgument);
    std::string message(reader.status().message());
    EXPECT_EQ(message.find(path), 0u) << message;
    return message.substr(path.size());
  }

  vexact::testing::TempDir dir_;
};

TEST_F(ReadersTest, EveryTypeByteOrderAndElementOrderGivesTheSameRows) {
  // Exact in a half, so in all three types. Rows 0 to 2, columns 0 to 1.
  const std::vector<float> rows = {1, -2, 0.5f, 65504, -0.0f, 0x1p-24f};
  const std::vector<uint16_t> halves = {0x3C00, 0xC000, 0x3800, 0x7BFF, 0x8000, 0x0001};
  const std::vector<size_t> by_column = {0, 2, 4, 1, 3, 5};
  for (bool fortran : {false, true}) {
    std::vector<uint16_t> f2;
    std::vector<float> f4;
    std::vector<double> f8;
    for (size_t i = 0; i < rows.size(); ++i) {
      const size_t at = fortran ? by_column[i] : i;
      f2.push_back(halves[at]);
      f4.push_back(rows[at]);
      f8.push_back(rows[at]);
    }
    for (bool big : {false, true}) {
      const std::string order = big ? ">" : "<";
      for (int version : {1, 2, 3}) {
        SCOPED_TRACE(order + (fortran ? " fortran " : " c ") + std::to_string(version));
        const auto file = [&](const std::string& type, const std::string& bytes) {
          return Put("x.npy", NpyBytes(NpyHeader(order + type, fortran, "(3, 2)"), bytes, version));
        };
        for (const std::string& path : {file("f2", ElementBytes(f2, big))}) {
          EXPECT_EQ(ElementBytes(ReadAll(path)), ElementBytes(rows));
        }
        EXPECT_EQ(ElementBytes(ReadAll(file("f4", ElementBytes(f4, big)))), ElementBytes(rows));
        EXPECT_EQ(ElementBytes(ReadAll(file("f8", ElementBytes(f8, big)))), ElementBytes(rows));
      }
    }
  }
}

TEST_F(ReadersTest, EveryHalfHasTheValueThatItsBitsSay) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const int exponent = static_cast<int>(bits >> 10 & 0x1F);
    const int fraction = static_cast<int>(bits & 0x3FF);
    const float value = FromHalf(static_cast<uint16_t>(bits));
    EXPECT_EQ(std::signbit(value), (bits & 0x8000) != 0) << bits;
    if (exponent == 31) {
      EXPECT_EQ(std::isnan(value), fraction != 0) << bits;
      EXPECT_EQ(std::isinf(value), fraction == 0) << bits;
    } else {
      const double size =
          exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
      EXPECT_EQ(std::fabs(value), size) << bits;
    }
  }
}

TEST_F(ReadersTest, ColumnsOfAMatrixLargerThanABlockAreReadInPieces) {
  // 16 MiB of float32 is one block: 3,000,000 x 3 needs three.
  constexpr size_t kRows = 3'000'000, kColumns = 3;
  std::vector<float> columns(kRows * kColumns);
  for (size_t i = 0; i < columns.size(); ++i) columns[i] = static_cast<float>(i);
  const std::string path =
      Put("f.npy", NpyBytes(NpyHeader("<f4", true, "(3000000, 3)"), ElementBytes(columns)));
  auto reader = NpyReader::Open(path);
  ASSERT_TRUE(reader.ok()) << reader.status();
  for (uint64_t row = 0; row < kRows; ++row) {
    const auto next = reader->Next();
    ASSERT_TRUE(next.ok());
    for (size_t column = 0; column < kColumns; ++column) {
      ASSERT_EQ((*next)[column], static_cast<float>(column * kRows + row)) << row << ' ' << column;
    }
  }
}

TEST_F(ReadersTest, SkippedRowsAreNotGiven) {
  std::vector<float> values(600'000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  auto reader = NpyReader::Open(Put("x.npy", NpyMatrix(values, 300'000, 2)));
  ASSERT_TRUE(reader.ok());
  EXPECT_EQ((*reader->Next())[0], 0);
  reader->Skip(250'000);
  EXPECT_EQ((*reader->Next())[1], 500'003);
}

TEST_F(ReadersTest, AOneDimensionalArrayIsOneRow) {
  auto reader = NpyReader::Open(
      Put("x.npy", NpyBytes(NpyHeader("<f4", false, "(3,)"), ElementBytes<float>({1, 2, 3}))));
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ(reader->rows(), 1u);
  EXPECT_EQ(reader->dimension(), 3u);
}

TEST_F(ReadersTest, AFloat64IsRoundedToTheNearestFloat32) {
  // Halfway between 1 and its successor rounds to even; the largest that does not overflow; a
  // float32 denormal.
  const std::vector<double> wide = {1 + 0x1p-24, 1 + 0x1.8p-24, std::nextafter(0x1.ffffffp127, 0),
                                    0x1.4p-149};
  const std::vector<float> all =
      ReadAll(Put("x.npy", NpyBytes(NpyHeader("<f8", false, "(1, 4)"), ElementBytes(wide))));
  EXPECT_THAT(all, ElementsAre(1.0f, 1 + 0x1p-23f, std::numeric_limits<float>::max(), 0x1p-149f));
}

TEST_F(ReadersTest, AFloat64BeyondFloat32IsRefusedWithItsRowAndComponent) {
  for (bool fortran : {false, true}) {
    const std::vector<double> values =
        fortran ? std::vector<double>{1, 3, 2, -1e300} : std::vector<double>{1, 2, 3, -1e300};
    const std::string path =
        Put("x.npy", NpyBytes(NpyHeader("<f8", fortran, "(2, 2)"), ElementBytes(values)));
    auto reader = NpyReader::Open(path);
    ASSERT_TRUE(reader.ok());
    const auto row = reader->Next();
    EXPECT_EQ(row.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(row.status().message(),
              path + ": row 1: component 1 is -1e+300, beyond the largest float32 (3.4028235e+38)");
  }
}

TEST_F(ReadersTest, NotANumberIsPassedOnForTheServerToRefuse) {
  const std::vector<double> values = {std::nan(""), std::numeric_limits<double>::infinity()};
  const std::vector<float> all =
      ReadAll(Put("x.npy", NpyBytes(NpyHeader("<f8", false, "(1, 2)"), ElementBytes(values))));
  EXPECT_TRUE(std::isnan(all[0]));
  EXPECT_TRUE(std::isinf(all[1]));
}

TEST_F(ReadersTest, HeadersOfOtherWritersAreRead) {
  for (const char* header :
       {"{\"shape\":(1,2),\"fortran_order\":False,\"descr\":\"<f4\"}",
        "{'fortran_order': False, 'descr': 'f4', 'shape': (1L, 2L)}",
        "{ 'descr' : '=f4' , 'fortran_order' : False , 'shape' : ( 1 , 2 , ) , }"}) {
    EXPECT_THAT(ReadAll(Put("x.npy", NpyBytes(header, ElementBytes<float>({5, 6})))),
                ElementsAre(5, 6))
        << header;
  }
}

TEST_F(ReadersTest, FilesThatAreNoMatrixOfFloatsAreRefusedWithTheReason) {
  const std::string eight(8, '\0');
  EXPECT_THAT(Refusal(""), HasSubstr("is not a .npy file"));
  EXPECT_THAT(Refusal("id,vector\n1,2\n"), HasSubstr("is not a .npy file"));
  EXPECT_EQ(Refusal(NpyBytes(NpyHeader("<f4", false, "(1, 2)"), eight, 4)),
            " has .npy version 4.0; versions 1.0 to 3.0 can be read");
  EXPECT_EQ(Refusal(NpyBytes(NpyHeader("<i4", false, "(1, 2)"), eight)),
            " has elements of type <i4; vectors are float16, float32 or float64");
  for (const char* type : {"<f16", "<c8", "|b1", "<U3", "|O", "<M8[ns]", "f", "<", "<f4x"}) {
    EXPECT_EQ(Refusal(NpyBytes(NpyHeader(type, false, "(1, 2)"), eight)),
              std::string(" has elements of type ") + type +
                  "; float16, float32, float64 and integers can be read");
  }
  EXPECT_EQ(
      Refusal(NpyBytes("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}", eight)),
      " holds records; only plain numbers can be read");
  EXPECT_EQ(Refusal(NpyBytes(NpyHeader("<f4", false, "()"), "\0\0\0\0")),
            " is truncated: its header promises 4 bytes of elements, and 0 follow");
  EXPECT_EQ(Refusal(NpyBytes(NpyHeader("<f4", false, "()"), std::string(4, '\0'))),
            " has 0 dimensions; rows of vectors have 2, and one vector has 1");
  EXPECT_EQ(Refusal(NpyBytes(NpyHeader("<f4", false, "(1, 1, 2)"), eight)),
            " has 3 dimensions; rows of vectors have 2, and one vector has 1");
  EXPECT_EQ(Refusal(NpyBytes(NpyHeader("<f4", false, "(5, 0)"), "")), " has rows of 0 components");
}

TEST_F(ReadersTest, DamagedFilesAreRefusedWithTheDamage) {
  const std::string good = NpyMatrix({1, 2, 3, 4}, 2, 2);
  EXPECT_EQ(Refusal(good.substr(0, good.size() - 1)),
            " is truncated: its header promises 16 bytes of elements, and 15 follow");
  EXPECT_EQ(Refusal(good + "x"),
            " holds more than one array: its header promises 16 bytes of elements, and 17 follow");
  EXPECT_EQ(Refusal(good.substr(0, 40)), " is cut off inside its header");
  EXPECT_EQ(Refusal(good.substr(0, 9)), " is not a .npy file: it does not begin with \\x93NUMPY");
  for (const char* header :
       {"", "{", "{'descr': '<f4'}", "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1 2)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}", "['descr', '<f4']"}) {
    EXPECT_THAT(Refusal(NpyBytes(header, "")), HasSubstr("has a header that cannot be read"))
        << header;
  }
  EXPECT_EQ(Refusal(NpyBytes(NpyHeader("<f4", false, "(4611686018427387904, 4)"), "")),
            " has a shape of more elements than any file can hold");
  EXPECT_EQ(Refusal(std::string("\x93NUMPY\x02\x00\xff\xff\xff\x7f", 12)),
            " has a header of 2147483647 bytes; at most 1048576 can be read");
}

TEST_F(ReadersTest, AnyCutOfAGoodFileIsRefused) {
  const std::string good = NpyMatrix({1, 2, 3, 4}, 2, 2);
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(NpyReader::Open(Put("x.npy", good.substr(0, size))).ok()) << size;
  }
}

// ---- ids

std::vector<Id> AllIds(const std::string& argument, bool as_text = false) {
  auto reader = IdsReader::Open(ParseIdsFile(argument), as_text);
  EXPECT_TRUE(reader.ok()) << reader.status();
  std::vector<Id> ids;
  while (reader.ok()) {
    const auto id = reader->Next();
    EXPECT_TRUE(id.ok()) << id.status();
    if (!id.ok() || !*id) break;
    ids.push_back(**id);
  }
  EXPECT_EQ(*reader->count(), ids.size());
  return ids;
}

TEST_F(ReadersTest, IdsComeOneALineNumbersAsNumbers) {
  const std::string path = Put("ids.txt",
                               "17\nseventeen\r\n017\n-1\n18446744073709551615\n"
                               "18446744073709551616\ntext:5\n caf\u00e9 ");
  EXPECT_THAT(AllIds(path),
              ElementsAre(Id(17), Id("seventeen"), Id("017"), Id("-1"), Id(18446744073709551615u),
                          Id("18446744073709551616"), Id("text:5"), Id(" caf\u00e9 ")));
  EXPECT_THAT(AllIds(Put("n.txt", "17\n18"), true), ElementsAre(Id("17"), Id("18")));
  EXPECT_THAT(AllIds(Put("none.txt", "")), ElementsAre());
}

TEST_F(ReadersTest, IdsComeFromAColumn) {
  const std::string path = Put("t.tsv", "a\t1\tx\nb\t2\ty\n");
  EXPECT_THAT(AllIds(path + ":1"), ElementsAre(Id("a"), Id("b")));
  EXPECT_THAT(AllIds(path + ":2"), ElementsAre(Id(1), Id(2)));
  EXPECT_THAT(AllIds(path + ":3"), ElementsAre(Id("x"), Id("y")));
  EXPECT_THAT(AllIds(path), ElementsAre(Id("a\t1\tx"), Id("b\t2\ty")));
}

TEST_F(ReadersTest, AFileWhoseNameEndsLikeAColumnIsItself) {
  const std::string path = Put("odd:2", "a\tb\n");
  EXPECT_THAT(AllIds(path), ElementsAre(Id("a\tb")));
  EXPECT_THAT(AllIds(path + ":2"), ElementsAre(Id("b")));
}

TEST_F(ReadersTest, IdsComeFromIntegersOfEverySize) {
  const auto file = [&](const char* type, const std::string& bytes) {
    return Put("ids.npy", NpyBytes(NpyHeader(type, false, "(2,)"), bytes));
  };
  EXPECT_THAT(AllIds(file("|u1", ElementBytes<uint8_t>({0, 255}))), ElementsAre(Id(0), Id(255)));
  EXPECT_THAT(AllIds(file(">u2", ElementBytes<uint16_t>({1, 65535}, true))),
              ElementsAre(Id(1), Id(65535)));
  EXPECT_THAT(AllIds(file("<i4", ElementBytes<int32_t>({7, 2147483647}))),
              ElementsAre(Id(7), Id(2147483647)));
  EXPECT_THAT(AllIds(file(">i8", ElementBytes<int64_t>({9, 10}, true))),
              ElementsAre(Id(9), Id(10)));
  EXPECT_THAT(AllIds(file("<u8", ElementBytes<uint64_t>({0, ~uint64_t{0}}))),
              ElementsAre(Id(0), Id(~uint64_t{0})));
}

TEST_F(ReadersTest, IdsThatCannotBeAreRefusedWithTheirPlace) {
  const auto refusal = [](const std::string& argument) {
    auto reader = IdsReader::Open(ParseIdsFile(argument), false);
    if (!reader.ok()) return std::string(reader.status().message());
    while (true) {
      const auto id = reader->Next();
      if (!id.ok()) return std::string(id.status().message());
      if (!*id) return std::string("no refusal");
    }
  };
  const std::string gap = Put("gap.txt", "a\n\nb\n");
  EXPECT_EQ(refusal(gap), gap + ": line 2 is empty; ids have at least one character");
  const std::string short_line = Put("short.tsv", "a\tb\nc\n");
  EXPECT_EQ(refusal(short_line + ":2"),
            short_line + ": line 2 has no column 2 (columns are separated by tabs)");
  const std::string negative =
      Put("neg.npy", NpyBytes(NpyHeader("<i2", false, "(2,)"), ElementBytes<int16_t>({1, -1})));
  EXPECT_EQ(refusal(negative), negative + ": entry 1 is negative; ids are 0 or more");
  const std::string floats = Put("f.npy", NpyMatrix({1, 2}, 1, 2));
  EXPECT_EQ(refusal(floats), floats +
                                 " cannot give ids: a one-dimensional array of integers is "
                                 "expected, and it has 2 dimensions of type <f4");
  EXPECT_EQ(refusal(Path("none")), Path("none") + ": No such file or directory");
  EXPECT_EQ(refusal(dir_.path().string()), dir_.path().string() + " is a folder");
}

// ---- JSON lines

TEST_F(ReadersTest, JsonLinesGiveIdsAndVectors) {
  auto reader = JsonLinesReader::Open(
      Put("x.jsonl",
          "{\"id\": 1, \"vector\": [0.1, -2, 3e1]}\n\n  \n"
          "{\"vector\":[1],\"id\":\"1\"}\r\n{\"id\":18446744073709551615,\"vector\":[16777217]}"));
  ASSERT_TRUE(reader.ok());
  Point point;
  ASSERT_TRUE(*reader->Next(&point));
  EXPECT_EQ(point.id, Id(1));
  EXPECT_THAT(point.vector, ElementsAre(0.1f, -2.0f, 30.0f));
  ASSERT_TRUE(*reader->Next(&point));
  EXPECT_EQ(point.id, Id("1"));
  EXPECT_EQ(reader->line(), 4u);
  ASSERT_TRUE(*reader->Next(&point));
  EXPECT_EQ(point.id, Id(18446744073709551615u));
  EXPECT_THAT(point.vector, ElementsAre(16777216.0f));
  EXPECT_FALSE(*reader->Next(&point));
}

TEST_F(ReadersTest, BadJsonLinesAreRefusedWithTheirLine) {
  const std::string good = "{\"id\": 1, \"vector\": [1]}\n";
  const std::pair<const char*, const char*> cases[] = {
      {"{\"id\": 1, \"vector\": [1]", "it is no JSON"},
      {"nonsense", "it is no JSON"},
      {"{\"id\": 1, \"vector\": [1e400]}", "it is no JSON"},
      {"[1, [2]]", "it is not a point"},
      {"{\"id\": 1}", "it is not a point"},
      {"{\"id\": 1, \"vector\": [1], \"text\": \"x\"}", "\"text\" is not part of a point"},
      {"{\"id\": -1, \"vector\": [1]}", "the id is -1; ids are integers from 0"},
      {"{\"id\": 1.5, \"vector\": [1]}", "the id is 1.5;"},
      {"{\"id\": null, \"vector\": [1]}", "the id is null;"},
      {"{\"id\": 1, \"vector\": []}", "the vector is empty"},
      {"{\"id\": 1, \"vector\": 3}", "the vector is no array"},
      {"{\"id\": 1, \"vector\": [1, \"2\"]}", "component 1 is a string, not a number"},
      {"{\"id\": 1, \"vector\": [1, 1e39]}", "component 1 is 1e+39, beyond the largest float32"},
  };
  for (const auto& [line, message] : cases) {
    const std::string path = Put("x.jsonl", good + line + "\n" + good);
    auto reader = JsonLinesReader::Open(path);
    Point point;
    ASSERT_TRUE(*reader->Next(&point));
    const auto second = reader->Next(&point);
    EXPECT_EQ(second.status().code(), absl::StatusCode::kInvalidArgument) << line;
    EXPECT_THAT(std::string(second.status().message()),
                ::testing::StartsWith(path + ": line 2: " + message));
  }
}

TEST_F(ReadersTest, ALineLongerThanTheLimitIsRefusedInsteadOfHeld) {
  auto reader = JsonLinesReader::Open(Put("x.jsonl", std::string(LineReader::kMaxLine * 2, '[')));
  Point point;
  EXPECT_EQ(reader->Next(&point).status().message(),
            Path("x.jsonl") + ": line 1 is longer than 16777216 bytes");
}

// ---- rows

TEST_F(ReadersTest, RowsWithoutAnIdsFileAreNumbered) {
  const auto rows = OpenRows({.path = Put("x.npy", NpyMatrix({1, 2, 3, 4}, 2, 2))});
  ASSERT_TRUE(rows.ok());
  Row row;
  ASSERT_TRUE(*(*rows)->Next(&row));
  EXPECT_EQ(row.id, Id(0));
  ASSERT_TRUE(*(*rows)->Next(&row));
  EXPECT_EQ(row.id, Id(1));
  EXPECT_THAT(row.vector, ElementsAre(3, 4));
  EXPECT_FALSE(*(*rows)->Next(&row));
}

TEST_F(ReadersTest, ACountOfIdsThatIsNotThatOfTheRowsIsRefusedBeforeTheFirstRow) {
  const std::string matrix = Put("x.npy", NpyMatrix({1, 2, 3, 4}, 2, 2));
  const std::string ids = Put("ids.txt", "a\nb\nc\n");
  const auto rows = OpenRows({.path = matrix, .ids = ids});
  EXPECT_EQ(rows.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(rows.status().message(), ids + " has 3 ids for 2 rows");
}

TEST_F(ReadersTest, AFileThatIsNoNpyButIsCalledSoIsNotTakenForJson) {
  const std::string path = Put("x.npy", "hello");
  EXPECT_EQ(OpenRows({.path = path}).status().message(),
            path + " is not a .npy file: it does not begin with \\x93NUMPY");
}

}  // namespace
}  // namespace vexact::client
