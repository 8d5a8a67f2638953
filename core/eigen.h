// The directions in which a sample is widest.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

namespace vexact {

struct Directions {
  // Orthonormal up to float64 rounding, widest first: count x dimension, row-major.
  std::vector<double> vectors;
  // The sample's mean square along each; descending.
  std::vector<double> squares;
};

// The `count` leading eigenvectors of the second-moment matrix of `rows` (n x dimension, row-major,
// float32) around `center` (`dimension` components). All of them by LAPACK's divide and conquer for
// up to kMaxWholeDimension dimensions; beyond, where that would take more than a few seconds, by
// subspace iteration on the sample itself: orthonormal as well, leading up to what a few rounds
// find. One thread; `go_on` is called between steps of up to a second, and where it returns false,
// what comes out is of no use.
inline constexpr size_t kMaxWholeDimension = 1'024;
Directions FindDirections(std::span<const float> rows, std::span<const float> center,
                          size_t dimension, size_t count, const std::function<bool()>& go_on);

// |B B^T - I| in the Frobenius norm, rounded up, for the `count` x `dimension` matrix B that
// `at(i, j)` gives.
double OrthonormalityDefect(size_t count, size_t dimension,
                            const std::function<double(size_t, size_t)>& at);

}  // namespace vexact
