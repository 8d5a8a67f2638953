#include "core/id.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "tests/core/harness.h"

namespace vexact {
namespace {

using namespace std::string_literals;

TEST(Id, OrdersIntegersBeforeTextsAndEachByItself) {
  const std::vector<Id> ascending = {
      uint64_t{0}, uint64_t{9}, uint64_t{10}, std::numeric_limits<uint64_t>::max(),
      "\0"s,       "10"s,       "9"s,         "A"s,
      "a"s,        "a\0"s,      "aa"s,        "b"s,
      "\x7F"s,
      "é"s,  // its first byte is above 0x7F: bytes are unsigned
      "猫"s,       "😀"s,
  };
  for (size_t i = 0; i < ascending.size(); ++i) {
    for (size_t j = 0; j < ascending.size(); ++j) {
      EXPECT_EQ(ascending[i] < ascending[j], i < j) << i << " " << j;
      EXPECT_EQ(View(ascending[i]) < View(ascending[j]), i < j) << i << " " << j;
      EXPECT_EQ(oracle::IdBefore(ascending[i], ascending[j]), i < j) << i << " " << j;
    }
  }
}

TEST(Id, ViewAndOwnKeepFormAndBytes) {
  for (const Id& id : {Id(uint64_t{5}), Id("5"s), Id("a\0b"s)}) EXPECT_EQ(Own(View(id)), id);
  EXPECT_NE(Id(uint64_t{5}), Id("5"s));
}

TEST(ValidateId, AcceptsEveryNumberAndEveryTextOfAllowedLength) {
  for (const Id& id : {Id(uint64_t{0}), Id(std::numeric_limits<uint64_t>::max()), Id("x"s),
                       Id("\0"s), Id(std::string(512, 'x')), Id("naïve café 猫 😀"s)}) {
    EXPECT_THAT(ValidateId(View(id)), IsOk());
  }
}

TEST(ValidateId, RefusesAnEmptyText) {
  EXPECT_THAT(ValidateId(""), StatusIs(kInvalid, "id is an empty string"));
}

TEST(ValidateId, RefusesMoreThan512BytesAndShowsTheBeginning) {
  EXPECT_THAT(
      ValidateId(std::string(513, 'x')),
      StatusIs(kInvalid, "id \"" + std::string(64, 'x') + "…\" has 513 bytes; the limit is 512"));
  // Bytes count, not characters: 171 of three bytes each.
  std::string cats;
  for (int i = 0; i < 171; ++i) cats += "猫";
  EXPECT_THAT(ValidateId(cats),
              StatusIs(kInvalid, testing::HasSubstr("has 513 bytes; the limit is 512")));
}

TEST(ValidateId, AcceptsTheEdgesOfUtf8) {
  for (const std::string text :
       {"\x7F", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
        "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"}) {
    EXPECT_THAT(ValidateId(text), IsOk());
    EXPECT_THAT(ValidateId("a" + text + "b"), IsOk());
  }
}

TEST(ValidateId, RefusesWhatIsNotUtf8) {
  for (const std::string text : {
           "\x80",              // a continuation alone
           "\xC3",              // cut short
           "\xC3(",             // continued by something else
           "\xC0\xAF",          // overlong, two bytes
           "\xC1\xBF",          // overlong, two bytes
           "\xE0\x9F\xBF",      // overlong, three bytes
           "\xE2\x82",          // cut short
           "\xED\xA0\x80",      // a surrogate
           "\xED\xBF\xBF",      // a surrogate
           "\xF0\x8F\xBF\xBF",  // overlong, four bytes
           "\xF0\x9F\x98",      // cut short
           "\xF4\x90\x80\x80",  // above U+10FFFF
           "\xF5\x80\x80\x80",  // above U+10FFFF
           "\xFF",
       }) {
    EXPECT_THAT(ValidateId(text), StatusIs(kInvalid, "id is not valid UTF-8"));
    EXPECT_THAT(ValidateId("ok" + text), StatusIs(kInvalid, "id is not valid UTF-8"));
  }
}

// A message travels and is printed as UTF-8, on one line, whatever it is about.
TEST(ValidateId, NeverPutsBrokenBytesIntoItsMessage) {
  EXPECT_THAT(ValidateId(std::string(600, '\xFF')), StatusIs(kInvalid, "id is not valid UTF-8"));
}

TEST(Describe, QuotesTextsAndNotNumbers) {
  EXPECT_EQ(Describe(uint64_t{5}), "5");
  EXPECT_EQ(Describe(std::numeric_limits<uint64_t>::max()), "18446744073709551615");
  EXPECT_EQ(Describe("5"), "\"5\"");
  EXPECT_EQ(Describe("naïve 猫, it's"), "\"naïve 猫, it's\"");
}

TEST(Describe, CutsLongTextsBetweenCharacters) {
  EXPECT_EQ(Describe(std::string(64, 'x')), '"' + std::string(64, 'x') + '"');
  EXPECT_EQ(Describe(std::string(65, 'x')), '"' + std::string(64, 'x') + "…\"");
  // The cat's three bytes begin at byte 63.
  EXPECT_EQ(Describe(std::string(63, 'x') + "猫 and more"), '"' + std::string(63, 'x') + "…\"");
}

TEST(Describe, StaysOnOneLine) {
  EXPECT_EQ(Describe("two\nlines, \"quoted\"\t\x01"), R"("two\nlines, \"quoted\"\t\x01")");
}

}  // namespace
}  // namespace vexact
