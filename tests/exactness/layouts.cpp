#include "tests/exactness/layouts.h"

#include <algorithm>
#include <cmath>

namespace vexact {
namespace {

double DotProduct(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t j = 0; j < a.size(); ++j) sum += a[j] * b[j];
  return sum;
}

double Farthest(const std::vector<std::vector<float>>& rows, const std::vector<float>& from) {
  double farthest = 0;
  for (const std::vector<float>& row : rows) {
    double squares = 0;
    for (size_t j = 0; j < row.size(); ++j) {
      const double z = double{row[j]} - from[j];
      squares += z * z;
    }
    farthest = std::max(farthest, std::sqrt(squares));
  }
  return farthest;
}

// The first `count` rows of the product of three reflections at random planes: dense, and
// orthonormal up to float64's rounding.
std::vector<std::vector<double>> RandomBasis(size_t count, size_t dimension, Random& random) {
  std::normal_distribution<double> normal;
  std::vector<std::vector<double>> basis(count, std::vector<double>(dimension));
  for (size_t i = 0; i < count; ++i) basis[i][i] = 1;
  for (int reflection = 0; reflection < 3; ++reflection) {
    std::vector<double> across(dimension);
    for (double& x : across) x = normal(random);
    const double squares = DotProduct(across, across);
    for (std::vector<double>& row : basis) {
      const double twice = 2 * DotProduct(row, across) / squares;
      for (size_t j = 0; j < dimension; ++j) row[j] -= twice * across[j];
    }
  }
  return basis;
}

// |B B^T - I| in the Frobenius norm, and what float64 may have lost of it.
double Defect(const std::vector<std::vector<double>>& rounded) {
  double squares = 0;
  for (size_t i = 0; i < rounded.size(); ++i) {
    for (size_t k = 0; k <= i; ++k) {
      const double off = DotProduct(rounded[i], rounded[k]) - (i == k ? 1 : 0);
      squares += (i == k ? 1 : 2) * off * off;
    }
  }
  const size_t size = rounded.size() * rounded.front().size();
  return std::sqrt(squares) * (1 + 0x1p-30) + static_cast<double>(size) * 0x1p-50;
}

}  // namespace

void SetBasis(Layout& layout, const std::vector<std::vector<double>>& basis) {
  std::vector<std::vector<double>> rounded = basis;
  layout.basis_rows = static_cast<uint32_t>(basis.size());
  layout.basis.assign(layout.panels() * layout.dimension * (kPanelRows / 16), {});
  for (size_t i = 0; i < basis.size(); ++i) {
    for (size_t j = 0; j < layout.dimension; ++j) {
      layout.basis_at(i, j) = static_cast<float>(basis[i][j]);
      rounded[i][j] = layout.basis_at(i, j);
    }
  }
  layout.defect = Defect(rounded);
  layout.projection_error = layout.ProjectionBound();
}

std::shared_ptr<Layout> MakeLayout(const LayoutForm& form, Random& random) {
  auto layout = std::make_shared<Layout>();
  layout->dimension = form.dimension;
  layout->first_width = form.first_width;
  double squares = 0;
  for (const float x : form.center) squares += double{x} * x;
  if (squares > 0) {
    layout->center = form.center;
    layout->center_norm = std::sqrt(squares);
    layout->longest = form.longest;
  }
  layout->projection_error = layout->ProjectionBound();
  if (form.basis != Basis::kNone) {
    const size_t count = form.basis == Basis::kWhole ? form.dimension : form.first_width;
    SetBasis(*layout, RandomBasis(count, form.dimension, random));
  }
  if (form.sketch) {
    double inverse_squares = 0;
    std::uniform_real_distribution<double> exponent(-form.weight_range, form.weight_range);
    for (uint32_t j = 0; j < form.first_width; ++j) {
      const auto weight = static_cast<float>(std::exp2(exponent(random)));
      layout->weights.push_back(weight);
      inverse_squares += 1 / (double{weight} * weight);
    }
    // A row's scale is about a third of the root mean square of its coordinates over the weights.
    const double usual = 3 * std::sqrt(form.dimension / (inverse_squares / form.first_width));
    layout->sketch_reach = static_cast<float>(form.reach_factor * usual);
  }
  return layout;
}

std::vector<float> MeanOf(const std::vector<std::vector<float>>& rows) {
  std::vector<double> sum(rows.front().size());
  for (const std::vector<float>& row : rows) {
    for (size_t j = 0; j < row.size(); ++j) sum[j] += row[j];
  }
  std::vector<float> mean;
  for (const double x : sum)
    mean.push_back(static_cast<float>(x / static_cast<double>(rows.size())));
  return mean;
}

LayoutForm AnyForm(const std::vector<std::vector<float>>& rows, Random& random) {
  const auto dimension = static_cast<uint32_t>(rows.front().size());
  LayoutForm form{.dimension = dimension,
                  .first_width = static_cast<uint32_t>(1 + Below(random, dimension)),
                  .basis = static_cast<Basis>(Below(random, 3))};
  if (dimension >= 8 && Below(random, 2) == 0) {
    form.sketch = true;
    form.first_width = static_cast<uint32_t>(8 * (1 + Below(random, dimension / 8)));
    if (Below(random, 4) == 0) form.weight_range = 30;
    if (Below(random, 4) == 0) form.reach_factor = 0.01;
  }
  switch (Below(random, 4)) {
    case 0:
      form.center = MeanOf(rows);
      break;
    case 1:
      form.center = rows[Below(random, rows.size())];
      break;
    case 2: {
      std::normal_distribution<double> normal(0, std::exp2(Below(random, 40)));
      for (uint32_t j = 0; j < dimension; ++j) {
        form.center.push_back(static_cast<float>(normal(random)));
      }
      break;
    }
    default:
      return form;
  }
  // Some rows may lie farther out, or all of them.
  constexpr double kShares[] = {16, 16, 1, 0.5, 0.01};
  form.longest = Farthest(rows, form.center) * kShares[Below(random, std::size(kShares))];
  return form;
}

std::string Describe(const Layout& layout) {
  std::string text = "first " + std::to_string(layout.first_width) + " of " +
                     std::to_string(layout.dimension) + " dimensions";
  if (layout.has_sketch()) text += ", sketch";
  if (layout.leading()) {
    text += ", leading basis";
  } else if (layout.has_basis()) {
    text += ", whole basis";
  }
  if (!layout.center.empty()) text += ", center of norm " + std::to_string(layout.center_norm);
  return text;
}

}  // namespace vexact
