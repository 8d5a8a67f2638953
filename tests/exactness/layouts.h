// Layouts of every form, for tests. What they say of themselves is true, whatever they are good
// for: a layout that fits its rows badly may only make a search slow. Needs no library of the
// engine.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/layout.h"
#include "tests/exactness/worlds.h"

namespace vexact {

enum class Basis { kNone, kWhole, kLeading };

struct LayoutForm {
  uint32_t dimension = 0;
  uint32_t first_width = 0;  // a multiple of 8 with a sketch
  bool sketch = false;
  Basis basis = Basis::kNone;
  std::vector<float> center = {};
  double longest = 0x1p40;  // asked for only with a center

  // Of the sketch: its weights lie between 2^-weight_range and 2^weight_range, and the reach is
  // this many times the usual one.
  int weight_range = 2;
  double reach_factor = 2;
};

// A layout of this form, its basis and weights random.
std::shared_ptr<Layout> MakeLayout(const LayoutForm& form, Random& random);

// Any form, with or without a center: that of the rows, or one that has nothing to do with them;
// sometimes with weights, a reach or a range that fit nothing.
LayoutForm AnyForm(const std::vector<std::vector<float>>& rows, Random& random);

std::vector<float> MeanOf(const std::vector<std::vector<float>>& rows);

// Gives `layout` the rows of `basis` and states their defect and the projection's error.
void SetBasis(Layout& layout, const std::vector<std::vector<double>>& basis);

// "first 64 of 200 dimensions, sketch, leading basis, center of norm 1.5".
std::string Describe(const Layout& layout);

}  // namespace vexact
