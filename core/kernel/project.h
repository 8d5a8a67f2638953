// Projection of rows on a basis, over the vocabulary of filter.h.
#pragma once

#include <algorithm>

#include "core/kernel/kernel.h"

namespace vexact {

// One panel for kRows rows: kPanelRows / 16 x kRows sums in registers for kProjectRun products,
// then added to what is there.
template <typename V, size_t kRows>
void ProjectPanel(const float* panel, size_t d, const float* rows, float* out, size_t out_step) {
  constexpr size_t kParts = kPanelRows / 16;
  for (size_t begin = 0; begin < d; begin += kProjectRun) {
    typename V::Floats sum[kRows][kParts];
    for (auto& row : sum) {
      for (auto& part : row) part = V::SetFloats(0);
    }
    const size_t end = std::min(d, begin + kProjectRun);
    for (size_t j = begin; j < end; ++j) {
      const float* at = panel + j * kPanelRows;
#pragma GCC unroll 4
      for (size_t i = 0; i < kRows; ++i) {
        const auto x = V::SetFloats(rows[i * d + j]);
#pragma GCC unroll 4
        for (size_t p = 0; p < kParts; ++p) {
          sum[i][p] = V::MultiplyAdd(V::LoadFloats(at + 16 * p), x, sum[i][p]);
        }
      }
    }
    for (size_t i = 0; i < kRows; ++i) {
      for (size_t p = 0; p < kParts; ++p) {
        float* const to = out + i * out_step + 16 * p;
        V::StoreFloats(to, begin == 0 ? sum[i][p] : V::AddFloats(V::LoadFloats(to), sum[i][p]));
      }
    }
  }
}

template <typename V>
void Project(const float* basis, size_t panels, size_t d, const float* rows, size_t n, float* out) {
  const size_t out_step = panels * kPanelRows;
  for (size_t panel = 0; panel < panels; ++panel) {
    const float* const from = basis + panel * d * kPanelRows;
    size_t i = 0;
    const auto to = [&] { return out + i * out_step + panel * kPanelRows; };
    for (; i + 4 <= n; i += 4) ProjectPanel<V, 4>(from, d, rows + i * d, to(), out_step);
    for (; i < n; ++i) ProjectPanel<V, 1>(from, d, rows + i * d, to(), out_step);
  }
}

}  // namespace vexact
