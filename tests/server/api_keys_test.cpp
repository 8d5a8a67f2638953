#include "server/api_keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace vexact::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// Of the keys "one" and "two", by `printf %s one | sha256sum`.
constexpr char kOne[] = "sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
constexpr char kTwo[] = "sha256:3FC4CCFE745870E2C0D99F71F30FF0656C8DEDD41CC1D7D3D376B0DBE685E2F3";

ApiKeys Good(const std::string& text) {
  absl::StatusOr<ApiKeys> keys = ApiKeys::Parse(text);
  EXPECT_TRUE(keys.ok()) << keys.status();
  return keys.value_or(ApiKeys());
}

std::string Refusal(const std::string& text) {
  const absl::StatusOr<ApiKeys> keys = ApiKeys::Parse(text);
  EXPECT_EQ(keys.status().code(), absl::StatusCode::kInvalidArgument) << text;
  return std::string(keys.status().message());
}

TEST(ApiKeysTest, FindsTheKeyOfAHash) {
  const ApiKeys keys = Good(absl::StrCat("# whose  what  where\n\nreports read docs,words ", kOne,
                                         " # since May\n\tops\tadmin * ", kTwo, "\r\n"));
  EXPECT_EQ(keys.size(), 2);
  const auto reports = keys.Find("one");
  ASSERT_NE(reports, nullptr);
  EXPECT_EQ(reports->name, "reports");
  EXPECT_EQ(reports->role, Role::kRead);
  EXPECT_THAT(reports->collections, ElementsAre("docs", "words"));
  const auto ops = keys.Find("two");
  ASSERT_NE(ops, nullptr);
  EXPECT_EQ(ops->role, Role::kAdmin);
  EXPECT_THAT(ops->collections, IsEmpty());
  for (const char* other : {"", "on", "onee", "One", kOne}) EXPECT_EQ(keys.Find(other), nullptr);
}

TEST(ApiKeysTest, OneLineMayHoldManyForTheEnvironment) {
  const ApiKeys keys = Good(absl::StrCat("a read * ", kOne, "; b write * ", kTwo, ";"));
  EXPECT_EQ(keys.size(), 2);
  EXPECT_EQ(keys.Find("two")->role, Role::kWrite);
}

TEST(ApiKeysTest, AKeyMaySayHowOftenItMayAsk) {
  const ApiKeys keys =
      Good(absl::StrCat("a read * ", kOne, " rate:250 # a second\nb write * ", kTwo,
                        "\nc read * sha256:", std::string(64, '0'), " rate:0"));
  EXPECT_EQ(keys.Find("one")->requests_per_second, 250);
  EXPECT_EQ(keys.Find("two")->requests_per_second, std::nullopt);
  EXPECT_EQ(keys.all()[2]->requests_per_second, 0);
  for (const char* wrong : {"rate:", "rate:-1", "rate:1000001", "rate:1.5", "250", "vx_012345"}) {
    const std::string refusal = Refusal(absl::StrCat("a read * ", kOne, " ", wrong));
    EXPECT_THAT(refusal, HasSubstr("line 1: the fifth word must be rate: and a whole number from 0 "
                                   "to 1000000"));
    EXPECT_THAT(refusal, Not(HasSubstr("012345")));
  }
}

TEST(ApiKeysTest, NamesTheLineAndWhatIsAllowed) {
  EXPECT_EQ(Refusal(absl::StrCat("a read * ", kOne, "\nb reader * ", kTwo)),
            "line 2: \"reader\" is not a role; there are read, write and admin");
  EXPECT_EQ(Refusal("\n\na read *"),
            "line 3: there are 3 words; a key has four, NAME ROLE COLLECTIONS sha256:HEX, and may "
            "have a fifth, rate:N");
  EXPECT_THAT(Refusal(absl::StrCat("-a read * ", kOne)),
              HasSubstr("line 1: the name \"-a\" is not"));
  EXPECT_THAT(Refusal(absl::StrCat("a read docs, ", kOne)), HasSubstr("a collection is empty"));
  EXPECT_THAT(Refusal(absl::StrCat("a read d/e ", kOne)), HasSubstr("a collection \"d/e\" is not"));
  EXPECT_THAT(Refusal(absl::StrCat("a read * ", kOne, "\na read * ", kTwo)),
              HasSubstr("line 2: there is a key \"a\" already"));
  EXPECT_THAT(Refusal(absl::StrCat("a read * ", kOne, "\nb read * ", kOne)),
              HasSubstr("line 2: \"b\" has the same hash as \"a\""));
  for (const char* nothing : {"", "\n", "# a\n", " ;"}) {
    EXPECT_EQ(Refusal(nothing), "there is no key; vexact key create makes one");
  }
}

TEST(ApiKeysTest, NeverShowsWhatMayBeAKey) {
  for (const std::string secret : {"vx_0123456789", "sha256:0123456789", "0123456789"}) {
    EXPECT_THAT(Refusal("a read * " + secret), Not(HasSubstr("0123456789")));
  }
  EXPECT_THAT(Refusal("a read * vx_0123456789"), HasSubstr("is a key; give the server its hash"));
  EXPECT_THAT(Refusal(absl::StrCat("a read * ", std::string(kOne, 70), "g")),
              HasSubstr("64 hexadecimal digits"));
}

TEST(ApiKeysTest, HasALimit) {
  std::string text;
  for (size_t i = 0; i < kMaxApiKeys; ++i) {
    absl::StrAppend(&text, "k", i, " read * sha256:", absl::Hex(i, absl::kZeroPad16),
                    std::string(48, '0'), "\n");
  }
  EXPECT_EQ(Good(text).size(), kMaxApiKeys);
  EXPECT_EQ(Refusal(text + "last read * " + kOne), "line 1001: there are more than 1000 keys");
}

}  // namespace
}  // namespace vexact::server
