#include "core/validate.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "tests/core/harness.h"

namespace vexact {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST(ValidateFinite, AcceptsEveryFiniteFloat) {
  for (const oracle::Maker& maker : oracle::Makers()) {
    oracle::Random random(1);
    EXPECT_THAT(ValidateFinite("row 0", maker.make(random, 1'000)), IsOk()) << maker.name;
  }
  EXPECT_THAT(ValidateFinite("row 0", {}), IsOk());
}

TEST(ValidateFinite, NamesTheFirstComponentThatIsNot) {
  const auto message = [](const char* value) {
    return std::string("row 17: component 203 is ") + value + "; vectors must be finite";
  };
  std::vector<float> vector(384, std::numeric_limits<float>::max());
  vector[300] = -kInfinity;  // not the first
  vector[203] = kNan;
  EXPECT_THAT(ValidateFinite("row 17", vector), StatusIs(kInvalid, message("NaN")));
  vector[203] = -kNan;
  EXPECT_THAT(ValidateFinite("row 17", vector), StatusIs(kInvalid, message("NaN")));
  vector[203] = kInfinity;
  EXPECT_THAT(ValidateFinite("row 17", vector), StatusIs(kInvalid, message("+infinity")));
  vector[203] = -kInfinity;
  EXPECT_THAT(ValidateFinite("row 17", vector), StatusIs(kInvalid, message("-infinity")));
}

TEST(ValidateFinite, LooksAtEveryComponent) {
  for (size_t dimension = 1; dimension <= 70; ++dimension) {
    for (size_t bad = 0; bad < dimension; ++bad) {
      std::vector<float> vector(dimension, 1);
      vector[bad] = std::numeric_limits<float>::signaling_NaN();
      EXPECT_THAT(ValidateFinite("q", vector),
                  StatusIs(kInvalid, "q: component " + std::to_string(bad) +
                                         " is NaN; vectors must be finite"));
    }
  }
}

}  // namespace
}  // namespace vexact
