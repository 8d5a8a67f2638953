#include "core/kernel/kernel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "tests/core/oracle.h"

namespace vexact {

void PrintTo(const Kernel* kernel, std::ostream* out) { *out << kernel->isa; }

namespace {

using oracle::Bits;

std::vector<size_t> Dimensions() {
  std::vector<size_t> dimensions;
  for (size_t d = 1; d <= 200; ++d) dimensions.push_back(d);
  for (const size_t d : {1536, 4096, 65'536}) dimensions.push_back(d);
  return dimensions;
}

// The same components at an address that is `shift` floats past a cache line, with nothing behind
// them that may be read.
class Shifted {
 public:
  Shifted(const std::vector<float>& vector, size_t shift)
      : block_(new (std::align_val_t(64)) float[vector.size() + shift]), shift_(shift) {
    std::copy(vector.begin(), vector.end(), block_.get() + shift);
  }
  const float* data() const { return block_.get() + shift_; }

 private:
  struct Free {
    void operator()(float* block) const { operator delete[](block, std::align_val_t(64)); }
  };
  std::unique_ptr<float[], Free> block_;
  size_t shift_;
};

class EveryKernel : public testing::TestWithParam<const Kernel*> {};

TEST_P(EveryKernel, AgreesWithTheOracleBitForBit) {
  const Kernel& kernel = *GetParam();
  for (const oracle::Maker& maker : oracle::Makers()) {
    for (const size_t d : Dimensions()) {
      oracle::Random random(d);
      const std::vector<float> a = maker.make(random, d);
      const std::vector<float> b = maker.make(random, d);
      SCOPED_TRACE(std::string(maker.name) + ", dimension and seed " + std::to_string(d));
      ASSERT_EQ(Bits(kernel.dot(a.data(), b.data(), d)), Bits(oracle::Dot(a, b)));
      ASSERT_EQ(Bits(kernel.dot(a.data(), a.data(), d)), Bits(oracle::Dot(a, a)));
      ASSERT_EQ(Bits(kernel.squared_l2(a.data(), b.data(), d)), Bits(oracle::SquaredL2(a, b)));
      ASSERT_EQ(Bits(kernel.squared_l2(a.data(), a.data(), d)), Bits(0.0));
    }
  }
}

TEST_P(EveryKernel, ReadsAnyAlignment) {
  const Kernel& kernel = *GetParam();
  oracle::Random random(5);
  for (const size_t d : {1, 7, 16, 33, 64, 127, 384}) {
    const std::vector<float> a = random.Gaussian(d);
    const std::vector<float> b = random.Gaussian(d);
    const double dot = oracle::Dot(a, b);
    const double squared_l2 = oracle::SquaredL2(a, b);
    for (size_t shift_a = 0; shift_a < 16; ++shift_a) {
      for (const size_t shift_b : {0, 1, 2, 15}) {
        const Shifted x(a, shift_a);
        const Shifted y(b, shift_b);
        ASSERT_EQ(Bits(kernel.dot(x.data(), y.data(), d)), Bits(dot));
        ASSERT_EQ(Bits(kernel.squared_l2(x.data(), y.data(), d)), Bits(squared_l2));
      }
    }
  }
}

// The bytes of a row as the certificate wants them, in the order that is the definition.
double Quantise(const std::vector<float>& x, float scale, std::vector<uint8_t>& codes) {
  constexpr size_t kParts = 8;
  double part[kParts] = {};
  const size_t whole = x.size() / kParts * kParts;
  for (size_t j = 0; j < x.size(); ++j) {
    const double nearest = std::nearbyint(double{x[j] * (1 / scale)});
    const double code = std::clamp(nearest, -127.0, 127.0);
    const double rest = x[j] - scale * code;
    codes.push_back(static_cast<uint8_t>(code + 128));
    part[j < whole ? j % kParts : 0] += rest * rest;
  }
  return std::accumulate(std::begin(part), std::end(part), 0.0);
}

TEST_P(EveryKernel, QuantisesBitForBit) {
  const Kernel& kernel = *GetParam();
  for (const size_t d : Dimensions()) {
    oracle::Random random(d);
    std::vector<float> x = random.Gaussian(d);
    x[random.Below(d)] *= 3;
    if (d > 3) x[3] = -0.0f;
    float largest = 0;
    for (const float component : x) largest = std::max(largest, std::abs(component));
    for (const size_t shift : {0, 1, 7}) {
      const Shifted shifted(x, shift);
      ASSERT_EQ(kernel.largest_magnitude(shifted.data(), d), largest) << d;
      // The coarsest scale leaves hardly more than zeros, the finest cuts most components off.
      for (const float scale : {largest / 127, largest / 100, largest * 2, largest / 1'000}) {
        std::vector<uint8_t> expected, codes(d + 1, 7);
        const double squares = Quantise(x, scale, expected);
        ASSERT_EQ(Bits(kernel.quantise(shifted.data(), d, scale, codes.data())), Bits(squares))
            << d << " components at scale " << scale;
        ASSERT_EQ(codes.back(), 7) << "written behind the last component";
        codes.pop_back();
        ASSERT_EQ(codes, expected) << d << " components at scale " << scale;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, EveryKernel,
                         testing::ValuesIn(RunnableKernels().begin(), RunnableKernels().end()),
                         [](const auto& instance) { return std::string(instance.param->isa); });

TEST(SelectKernel, FindsEachTableByName) {
  for (const Kernel* kernel : RunnableKernels()) {
    std::string error;
    EXPECT_EQ(SelectKernel(kernel->isa, error), kernel) << error;
    EXPECT_EQ(error, "");
  }
}

TEST(SelectKernel, TakesTheBestWithoutAName) {
  std::string error;
  EXPECT_EQ(SelectKernel("", error), RunnableKernels().back());
  EXPECT_EQ(error, "");
}

TEST(SelectKernel, AlwaysHasThePortableTable) {
  EXPECT_EQ(RunnableKernels().front()->isa, "portable");
}

std::string RunnableNames() {
  std::string names;
  for (const Kernel* kernel : RunnableKernels()) {
    names += (names.empty() ? "" : ", ") + std::string(kernel->isa);
  }
  return names;
}

TEST(SelectKernel, RefusesAnUnknownNameAndSaysWhichThereAre) {
  for (const std::string name : {"sse9", "Portable", "portable "}) {
    std::string error;
    EXPECT_EQ(SelectKernel(name, error), nullptr);
    EXPECT_EQ(error,
              "VEXACT_FORCE_ISA is \"" + name + "\"; this machine can run: " + RunnableNames());
  }
}

// Each in a process of its own: the table is chosen once.
class ActiveKernelDeathTest : public testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(ActiveKernelDeathTest, IsTheForcedOne) {
  for (const Kernel* kernel : RunnableKernels()) {
    const std::string isa(kernel->isa);
    EXPECT_EXIT(
        {
          setenv("VEXACT_FORCE_ISA", isa.c_str(), 1);
          std::_Exit(ActiveKernel().isa == isa ? 0 : 1);
        },
        testing::ExitedWithCode(0), "")
        << isa;
  }
}

TEST_F(ActiveKernelDeathTest, RefusesToRunOnAnother) {
  EXPECT_DEATH(
      {
        setenv("VEXACT_FORCE_ISA", "sse9", 1);
        ActiveKernel();
      },
      "VEXACT_FORCE_ISA is \"sse9\"; this machine can run: portable");
}

}  // namespace
}  // namespace vexact
