// What the command shows and what it takes on its line: ids, vectors, numbers, tables, progress.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <charconv>
#include <cmath>
#include <limits>
#include <random>

#include "client/command/format.h"
#include "client/command/ids.h"
#include "client/command/layout.h"
#include "client/command/progress.h"
#include "client/command/table.h"
#include "client/command/vector_argument.h"

namespace vexact::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(Ids, AWordOfDigitsIsANumberAndEverythingElseAText) {
  EXPECT_EQ(IdFromWord("0"), Id(0));
  EXPECT_EQ(IdFromWord("17"), Id(17));
  EXPECT_EQ(IdFromWord("18446744073709551615"), Id(18446744073709551615u));
  for (const char* text : {"18446744073709551616", "007", "+1", "-1", "1.0", "1e3", " 1", "cat",
                           "0x10", "text:", "text:cat", "17 "}) {
    EXPECT_EQ(IdFromWord(text), Id(text)) << text;
  }
}

TEST(Ids, TheTextOfDigitsIsWrittenWithAPrefix) {
  EXPECT_EQ(IdFromWord("text:17"), Id("17"));
  EXPECT_EQ(IdFromWord("text:text:17"), Id("text:17"));
  EXPECT_EQ(WordFromId(Id("17")), "text:17");
  EXPECT_EQ(WordFromId(Id(17)), "17");
  EXPECT_EQ(WordFromId(Id("017")), "017");
}

TEST(Ids, WhatIsShownCanBeGivenBack) {
  std::vector<Id> ids = {Id(0), Id(~uint64_t{0})};
  for (const char* text : {"0", "17", "007", "text:", "text:17", "text:text:0", "text:cat",
                           "18446744073709551615", "18446744073709551616", "cat", "a b", "-1"}) {
    ids.emplace_back(text);
  }
  for (const Id& id : ids) EXPECT_EQ(IdFromWord(WordFromId(id)), id) << WordFromId(id);
}

TEST(Ids, AnEntryOfAFileHasNoPrefix) {
  EXPECT_EQ(IdFromEntry("17"), Id(17));
  EXPECT_EQ(IdFromEntry("text:17"), Id("text:17"));
}

using Lines = std::vector<std::pair<std::string, std::string>>;

TEST(LayoutText, AnIdentitySaysWhetherAnythingElseWasLookedFor) {
  Layout layout{.kind = LayoutKind::kIdentity, .first_slab_dimensions = 384, .slabs = {{}}};
  EXPECT_EQ(LayoutLines(layout),
            (Lines{{"layout", "identity (8-bit codes of all 384 dimensions)"}}));
  layout.trained_rows = 20'000;
  layout.rows = layout.coded_rows = 20'000;
  layout.expected_bytes = 7.5 * 1024 * 1024;
  layout.slabs[0].expected_passed = 0.0003;
  EXPECT_EQ(LayoutLines(layout),
            (Lines{{"layout",
                    "identity (8-bit codes of all 384 dimensions); nothing better was found for "
                    "20,000 rows"},
                   {"expected", "0.03 % of rows scored; 7.5 MiB a query"}}));
}

TEST(LayoutText, ARotationIsToldSlabBySlabWithItsProgress) {
  Layout layout{.kind = LayoutKind::kRotation,
                .directions = 384,
                .centered = true,
                .first_slab_dimensions = 192,
                .first_slab_sketch = true,
                .trained_rows = 9'555,
                .rows = 153'760,
                .coded_rows = 17'216,
                .expected_bytes = 17'782'013,
                .slabs = {{0.9066, 0.0141, {}}, {0.9685, 0.00354, {}}, {1.0, 0.000356, {}}}};
  EXPECT_EQ(
      LayoutLines(layout),
      (Lines{{"layout",
              "rotation, centered, trained on 9,555 rows; 17,216 of 153,760 rows re-encoded"},
             {"first slab",
              "192 dimensions with a 4-bit sketch hold 91 % of the energy; with the next slabs 97, "
              "100 %"},
             {"expected", "1.4 % of rows read further, then 0.35, 0.036 %; 17 MiB a query"}}));
  layout.coded_rows = layout.rows;
  layout.observed_queries = 1;
  layout.observed_bytes = 1000;
  for (Slab& slab : layout.slabs) slab.observed_passed = 0.25;
  const Lines lines = LayoutLines(layout);
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0].second, "rotation, centered, trained on 9,555 rows; re-encoding done");
  EXPECT_EQ(lines[3], (Lines::value_type{"observed",
                                         "25 % of rows read further, then 25, 25 %; 1000 B a query "
                                         "over 1 query"}));
}

TEST(LayoutText, ALeadingRotationHasOneLaterStep) {
  Layout layout{.kind = LayoutKind::kLeadingRotation,
                .directions = 256,
                .first_slab_dimensions = 256,
                .trained_rows = 20'000,
                .rows = 20'000,
                .coded_rows = 20'000,
                .expected_bytes = 9'000'000,
                .slabs = {{0.8, 0.02, {}}}};
  layout.slabs.resize(65, {{}, 0.02, {}});
  layout.slabs.back().expected_passed = 0.001;
  EXPECT_EQ(LayoutLines(layout),
            (Lines{{"layout",
                    "rotation to 256 leading directions trained on 20,000 rows; re-encoding done"},
                   {"first slab", "256 dimensions hold 80 % of the energy"},
                   {"expected", "2 % of rows read further, then 0.1 %; 8.6 MiB a query"}}));
}

TEST(LayoutText, ManySlabsAreNotAllShown) {
  Layout layout{.kind = LayoutKind::kRotation,
                .first_slab_dimensions = 64,
                .trained_rows = 1,
                .slabs = std::vector<Slab>(16, Slab{0.5, {}, {}})};
  EXPECT_EQ(LayoutLines(layout)[1].second,
            "64 dimensions hold 50 % of the energy; with the next slabs 50, 50, 50, 50, 50, 50, "
            "50, 50, … (all with --json)");
}

TEST(LayoutText, AServerThatTellsOfNoneIsNotSpokenFor) {
  EXPECT_EQ(LayoutLines(Layout()), Lines());
}

TEST(Ids, NumbersComeBeforeTexts) {
  EXPECT_LT(Id(18446744073709551615u), Id(""));
  EXPECT_LT(Id(9), Id(10));
  EXPECT_LT(Id("10"), Id("9"));
}

TEST(Vectors, AreReadHoweverTheyAreSeparated) {
  for (const char* text : {"3,1,-2.5", "3, 1, -2.5", "3 1 -2.5", "[3, 1, -2.5]", " 3 ,1\t-25e-1 ",
                           "+3,1,-2.5", "[ 3 1 -2.5 ]"}) {
    const auto vector = ParseVector(text);
    ASSERT_TRUE(vector.ok()) << text << ": " << vector.status();
    EXPECT_THAT(*vector, ElementsAre(3.0f, 1.0f, -2.5f)) << text;
  }
  EXPECT_THAT(*ParseVector("0.1"), ElementsAre(0.1f));
}

TEST(Vectors, ThatAreNoneAreRefusedWithTheComponent) {
  const auto refusal = [](const char* text) {
    return std::string(ParseVector(text).status().message());
  };
  EXPECT_EQ(refusal(""), "it has no components");
  EXPECT_EQ(refusal("[ ]"), "it has no components");
  EXPECT_EQ(refusal("1,x,3"), "component 1 is \"x\", not a finite number");
  EXPECT_EQ(refusal("1,,3"), "component 1 is \"\", not a finite number");
  EXPECT_EQ(refusal("1,2x"), "component 1 is \"2x\", not a finite number");
  EXPECT_EQ(refusal("nan"), "component 0 is \"nan\", not a finite number");
  EXPECT_EQ(refusal("1,-inf"), "component 1 is \"-inf\", not a finite number");
  EXPECT_EQ(refusal("1,1e39"), "component 1 is 1e39, beyond the range of a float32");
}

TEST(Format, NumbersAreGroupedByThousands) {
  EXPECT_EQ(Thousands(0), "0");
  EXPECT_EQ(Thousands(999), "999");
  EXPECT_EQ(Thousands(1000), "1,000");
  EXPECT_EQ(Thousands(153770), "153,770");
  EXPECT_EQ(Thousands(18446744073709551615u), "18,446,744,073,709,551,615");
  EXPECT_EQ(Rows(1), "1 row");
  EXPECT_EQ(Rows(0), "0 rows");
}

TEST(Format, SizesHaveThreeDigitsOrFewer) {
  EXPECT_EQ(Bytes(0), "0 B");
  EXPECT_EQ(Bytes(1023), "1023 B");
  EXPECT_EQ(Bytes(1024), "1.0 KiB");
  EXPECT_EQ(Bytes(10 * 1024), "10 KiB");
  EXPECT_EQ(Bytes(1023 * 1024 + 1000), "1.0 MiB");
  EXPECT_EQ(Bytes(236190720), "225 MiB");
  EXPECT_EQ(Bytes(std::numeric_limits<uint64_t>::max()), "16 EiB");
}

TEST(Format, TimesAreSaidInTheUnitThatFits) {
  EXPECT_EQ(Elapsed(absl::Microseconds(612)), "0.6 ms");
  EXPECT_EQ(Elapsed(absl::Milliseconds(85)), "85 ms");
  EXPECT_EQ(Elapsed(absl::Milliseconds(2140)), "2.1 s");
  EXPECT_EQ(Elapsed(absl::Seconds(184)), "3 min 4 s");
  EXPECT_EQ(Clock(absl::ZeroDuration()), "0:00");
  EXPECT_EQ(Clock(absl::Seconds(67)), "1:07");
  EXPECT_EQ(Clock(absl::Seconds(3723)), "1:02:03");
}

TEST(Format, ADoubleIsWrittenSoThatItReadsBackTheSame) {
  EXPECT_EQ(Shortest(11), "11");
  EXPECT_EQ(Shortest(0.1), "0.1");
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  for (int i = 0; i < 10'000; ++i) {
    const auto number = std::bit_cast<double>(random());
    if (!std::isfinite(number)) continue;
    const std::string text = Shortest(number);
    double back = 0;
    std::from_chars(text.data(), text.data() + text.size(), back);
    EXPECT_EQ(std::bit_cast<uint64_t>(back), std::bit_cast<uint64_t>(number)) << text;
  }
}

TEST(Format, AScoreIsNeverRoundedAway) {
  EXPECT_EQ(Score(1), "1.000000");
  EXPECT_EQ(Score(0), "0.000000");
  EXPECT_EQ(Score(-0.5), "-0.500000");
  EXPECT_EQ(Score(1e-12), "1e-12");
  EXPECT_EQ(Score(123456789), "123456789");
}

TEST(Format, ForeignTextCannotReachTheTerminal) {
  EXPECT_EQ(Printable("caf\u00e9 \u732b \U0001F408"), "caf\u00e9 \u732b \U0001F408");
  EXPECT_EQ(Printable("a\nb\tc"), "a\\nb\\tc");
  EXPECT_EQ(Printable("\x1b[31mred"), "\\x1b[31mred");
  EXPECT_EQ(Printable("\x7f"), "\\x7f");
  // A C1 control, an overlong slash, a surrogate, a cut character, beyond Unicode.
  EXPECT_EQ(Printable("\xc2\x9b"), "\\xc2\\x9b");
  EXPECT_EQ(Printable("\xc0\xaf"), "\\xc0\\xaf");
  EXPECT_EQ(Printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");
  EXPECT_EQ(Printable("\xe7\x8c"), "\\xe7\\x8c");
  EXPECT_EQ(Printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
}

TEST(Format, RowsOfARequestBecomeRowsOfTheFile) {
  const auto name = [](uint64_t row) { return "line " + std::to_string(row + 100); };
  EXPECT_EQ(Renumber("row 3: component 2 is NaN", "row", name), "line 103: component 2 is NaN");
  EXPECT_EQ(Renumber("rows: row 1 and row 12 have id 3", "row", name),
            "rows: line 101 and line 112 have id 3");
  EXPECT_EQ(Renumber("arrow 3, row x, row ", "row", name), "arrow 3, row x, row ");
  EXPECT_EQ(Renumber("", "row", name), "");
}

TEST(Format, LongVectorsAreCut) {
  EXPECT_EQ(FirstComponents(std::vector<float>{1, 0.5f}), "1, 0.5");
  EXPECT_EQ(FirstComponents(std::vector<float>(384, 0.25f)),
            "0.25, 0.25, 0.25, 0.25, 0.25, 0.25, … (384 components; all with --json)");
}

TEST(Tables, AlignByCharactersNotBytes) {
  Table table({{"#", Align::kRight}, {"id"}, {"n", Align::kRight}});
  table.Add({"1", "caf\u00e9", "7"});
  table.Add({"10", "cat\n", "1,000"});
  EXPECT_EQ(table.Render("  "),
            "   #  id         n\n"
            "   1  caf\u00e9       7\n"
            "  10  cat\\n  1,000\n");
}

TEST(Tables, HaveNoSpaceAtTheEndOfALine) {
  Table table({{"id"}, {"vector"}});
  table.Add({"a", ""});
  table.Add({"b", "1, 2"});
  EXPECT_EQ(table.Render(), "id  vector\na\nb   1, 2\n");
}

TEST(ProgressLine, TellsRowsRateAndTimeLeft) {
  const ProgressState half{.name = "docs",
                           .rows = 50'000,
                           .total = 100'000,
                           .bytes = 50 << 20,
                           .elapsed = absl::Seconds(5)};
  EXPECT_EQ(RenderProgress(half, 200),
            "docs ██████████            50,000 / 100,000 rows   10,000 rows/s   10 MiB/s   0:05 "
            "left");
}

TEST(ProgressLine, SaysNothingThatItDoesNotKnow) {
  const std::string start = RenderProgress({.name = "docs", .total = 10}, 200);
  EXPECT_THAT(start, HasSubstr("0 / 10 rows"));
  EXPECT_THAT(start, Not(HasSubstr("left")));
  const std::string stream =
      RenderProgress({.name = "docs", .rows = 10, .bytes = 40, .elapsed = absl::Seconds(1)}, 200);
  EXPECT_THAT(stream, HasSubstr("docs  10 rows   10 rows/s"));
  EXPECT_THAT(stream, Not(HasSubstr("left")));
}

TEST(ProgressLine, NeverIsWiderThanTheTerminal) {
  const ProgressState full{
      .name = "docs", .rows = 100, .total = 100, .bytes = 1000, .elapsed = absl::Seconds(1)};
  for (size_t columns : {0u, 1u, 10u, 20u, 40u}) {
    EXPECT_LE(Width(RenderProgress(full, columns)), columns);
  }
}

TEST(ProgressLine, OfATransferTellsBytesRateAndTimeLeft) {
  TransferState half{
      .name = "docs", .bytes = 50 << 20, .total = 100 << 20, .elapsed = absl::Seconds(5)};
  EXPECT_EQ(RenderTransfer(half, 200),
            "docs ██████████            50 MiB / 100 MiB   10 MiB/s   0:05 left");
  half.total.reset();
  EXPECT_EQ(RenderTransfer(half, 200), "docs  50 MiB   10 MiB/s");
  EXPECT_EQ(Width(RenderTransfer(half, 10)), 10);
}

TEST(ProgressLine, OfAFileWithoutRowsIsComplete) {
  EXPECT_THAT(RenderProgress({.name = "docs", .total = 0}, 200), HasSubstr("0 / 0 rows"));
}

}  // namespace
}  // namespace vexact::client
