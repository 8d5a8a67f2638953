#include "core/reference_score.h"

#include "core/kernel/kernel.h"

namespace vexact {

double Dot(std::span<const float> a, std::span<const float> b) {
  return ActiveKernel().dot(a.data(), b.data(), a.size());
}

double SquaredL2(std::span<const float> a, std::span<const float> b) {
  return ActiveKernel().squared_l2(a.data(), b.data(), a.size());
}

double ReferenceScore(Metric metric, std::span<const float> q, double dot_qq,
                      std::span<const float> x, double dot_xx) {
  switch (metric) {
    case Metric::kInnerProduct:
      return Dot(q, x);
    case Metric::kCosine:
      return CosineScore(Dot(q, x), dot_qq, dot_xx);
    case Metric::kL2:
      return SquaredL2(q, x);
  }
  return 0;
}

void L2Normalize(std::span<const float> x, double dot_xx, std::span<float> out) {
  const double norm = std::sqrt(dot_xx);
  for (size_t j = 0; j < x.size(); ++j) out[j] = static_cast<float>(x[j] / norm);
}

}  // namespace vexact
