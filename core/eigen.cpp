#include "core/eigen.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <random>

// Fortran's BLAS and LAPACK, as OpenBLAS exports them: matrices are column-major, so that a
// row-major one is its transpose.
extern "C" {
void dsyrk_(const char* uplo, const char* trans, const int* n, const int* k, const double* alpha,
            const double* a, const int* lda, const double* beta, double* c, const int* ldc);
void dgemm_(const char* transa, const char* transb, const int* m, const int* n, const int* k,
            const double* alpha, const double* a, const int* lda, const double* b, const int* ldb,
            const double* beta, double* c, const int* ldc);
void dsyevd_(const char* jobz, const char* uplo, const int* n, double* a, const int* lda, double* w,
             double* work, const int* lwork, int* iwork, const int* liwork, int* info);
void dgeqrf_(const int* m, const int* n, double* a, const int* lda, double* tau, double* work,
             const int* lwork, int* info);
void dorgqr_(const int* m, const int* n, const int* k, double* a, const int* lda, const double* tau,
             double* work, const int* lwork, int* info);
void openblas_set_num_threads(int threads);
}

namespace vexact {
namespace {

constexpr size_t kChunkRows = 512;
// Directions beyond those asked for that subspace iteration carries along, and its rounds.
constexpr size_t kExtraDirections = 32;
constexpr int kRounds = 3;

int Int(size_t n) { return static_cast<int>(n); }

// The cores are the searches'; and one thread adds in one order.
void UseOneThread() {
  static std::once_flag once;
  std::call_once(once, [] { openblas_set_num_threads(1); });
}

// Rows [first, first + count) around the center, in float64.
std::vector<double> Centered(std::span<const float> rows, std::span<const float> center,
                             size_t first, size_t count) {
  const size_t d = center.size();
  std::vector<double> chunk(count * d);
  for (size_t i = 0; i < count; ++i) {
    for (size_t j = 0; j < d; ++j) {
      chunk[i * d + j] = double{rows[(first + i) * d + j]} - center[j];
    }
  }
  return chunk;
}

// Calls visit(chunk, rows of it) for all rows; returns false when it was not to go on.
template <typename Visit>
bool ForChunks(std::span<const float> rows, std::span<const float> center,
               const std::function<bool()>& go_on, Visit visit) {
  const size_t n = rows.size() / center.size();
  for (size_t first = 0; first < n; first += kChunkRows) {
    const size_t count = std::min(kChunkRows, n - first);
    visit(Centered(rows, center, first, count), count);
    if (!go_on()) return false;
  }
  return true;
}

// All eigenvectors of the symmetric `matrix` (n x n), into its rows, eigenvalues descending.
// Returns false when LAPACK did not converge.
bool Eigenvectors(size_t n, std::vector<double>& matrix, std::vector<double>& values) {
  const int size = Int(n);
  values.resize(n);
  double work_size = 0;
  int iwork_size = 0, info = 0;
  const int ask = -1;
  dsyevd_("V", "L", &size, matrix.data(), &size, values.data(), &work_size, &ask, &iwork_size, &ask,
          &info);
  std::vector<double> work(static_cast<size_t>(work_size));
  std::vector<int> iwork(static_cast<size_t>(iwork_size));
  const int lwork = Int(work.size());
  const int liwork = Int(iwork.size());
  dsyevd_("V", "L", &size, matrix.data(), &size, values.data(), work.data(), &lwork, iwork.data(),
          &liwork, &info);
  if (info != 0) return false;
  // Columns of a column-major matrix are rows here; ascending becomes descending.
  for (size_t i = 0; i < n / 2; ++i) {
    std::swap_ranges(matrix.begin() + static_cast<ptrdiff_t>(i * n),
                     matrix.begin() + static_cast<ptrdiff_t>((i + 1) * n),
                     matrix.begin() + static_cast<ptrdiff_t>((n - 1 - i) * n));
  }
  std::reverse(values.begin(), values.end());
  return true;
}

Directions Axes(size_t dimension, size_t count) {
  Directions directions{.vectors = std::vector<double>(count * dimension),
                        .squares = std::vector<double>(count, 1.0)};
  for (size_t i = 0; i < count; ++i) directions.vectors[i * dimension + i] = 1;
  return directions;
}

Directions WholeDecomposition(std::span<const float> rows, std::span<const float> center,
                              size_t count, const std::function<bool()>& go_on) {
  const size_t d = center.size();
  const size_t n = rows.size() / d;
  std::vector<double> moments(d * d);
  const int size = Int(d);
  const double scale = 1 / static_cast<double>(n);
  const double one = 1;
  const auto add = [&](const std::vector<double>& chunk, size_t chunk_rows) {
    const int k = Int(chunk_rows);
    dsyrk_("L", "N", &size, &k, &scale, chunk.data(), &size, &one, moments.data(), &size);
  };
  if (!ForChunks(rows, center, go_on, add)) return Axes(d, count);
  Directions directions;
  if (!Eigenvectors(d, moments, directions.squares)) return Axes(d, count);
  moments.resize(count * d);
  directions.vectors = std::move(moments);
  directions.squares.resize(count);
  return directions;
}

// Makes the `count` rows of `basis` orthonormal.
bool Orthonormalise(size_t count, size_t d, std::vector<double>& basis) {
  const int m = Int(d);
  const int n = Int(count);
  std::vector<double> tau(count), work(64 * count);
  const int lwork = Int(work.size());
  int info = 0;
  dgeqrf_(&m, &n, basis.data(), &m, tau.data(), work.data(), &lwork, &info);
  if (info != 0) return false;
  dorgqr_(&m, &n, &n, basis.data(), &m, tau.data(), work.data(), &lwork, &info);
  return info == 0;
}

// next = basis X^T X / n: one round, without ever forming the d x d matrix X^T X. Empty when it was
// not to go on.
std::vector<double> Multiply(std::span<const float> rows, std::span<const float> center,
                             size_t count, const std::vector<double>& basis,
                             const std::function<bool()>& go_on) {
  const size_t d = center.size();
  std::vector<double> next(count * d), products(kChunkRows * count);
  const int size = Int(d);
  const int m = Int(count);
  const double scale = 1 / static_cast<double>(rows.size() / d);
  const double one = 1, zero = 0;
  const auto add = [&](const std::vector<double>& chunk, size_t chunk_rows) {
    const int k = Int(chunk_rows);
    dgemm_("T", "N", &m, &k, &size, &one, basis.data(), &size, chunk.data(), &size, &zero,
           products.data(), &m);
    dgemm_("N", "T", &size, &m, &k, &scale, chunk.data(), &size, products.data(), &m, &one,
           next.data(), &size);
  };
  if (!ForChunks(rows, center, go_on, add)) next.clear();
  return next;
}

Directions SubspaceIteration(std::span<const float> rows, std::span<const float> center,
                             size_t count, const std::function<bool()>& go_on) {
  const size_t d = center.size();
  const size_t carried = std::min(d, count + kExtraDirections);
  std::mt19937_64 random(1);
  std::vector<double> basis(carried * d);
  for (double& x : basis) x = static_cast<double>(random()) * 0x1p-63 - 1;
  for (int round = 0; round < kRounds; ++round) {
    if (!Orthonormalise(carried, d, basis)) return Axes(d, count);
    basis = Multiply(rows, center, carried, basis, go_on);
    if (basis.empty()) return Axes(d, count);
  }
  if (!Orthonormalise(carried, d, basis)) return Axes(d, count);
  // The moments within the subspace, and its axes turned along their eigenvectors.
  const std::vector<double> image = Multiply(rows, center, carried, basis, go_on);
  if (image.empty()) return Axes(d, count);
  std::vector<double> moments(carried * carried);
  const int size = Int(d);
  const int m = Int(carried);
  const double one = 1, zero = 0;
  dgemm_("T", "N", &m, &m, &size, &one, basis.data(), &size, image.data(), &size, &zero,
         moments.data(), &m);
  Directions directions;
  if (!Eigenvectors(carried, moments, directions.squares)) return Axes(d, count);
  directions.squares.resize(count);
  directions.vectors.resize(count * d);
  const int wanted = Int(count);
  dgemm_("N", "N", &size, &wanted, &m, &one, basis.data(), &size, moments.data(), &m, &zero,
         directions.vectors.data(), &size);
  return directions;
}

}  // namespace

Directions FindDirections(std::span<const float> rows, std::span<const float> center,
                          size_t dimension, size_t count, const std::function<bool()>& go_on) {
  UseOneThread();
  std::vector<float> origin;
  if (center.empty()) {
    origin.assign(dimension, 0);
    center = origin;
  }
  return dimension <= kMaxWholeDimension ? WholeDecomposition(rows, center, count, go_on)
                                         : SubspaceIteration(rows, center, count, go_on);
}

double OrthonormalityDefect(size_t count, size_t dimension,
                            const std::function<double(size_t, size_t)>& at) {
  UseOneThread();
  std::vector<double> basis(count * dimension);
  for (size_t i = 0; i < count; ++i) {
    for (size_t j = 0; j < dimension; ++j) basis[i * dimension + j] = at(i, j);
  }
  std::vector<double> products(count * count);
  const int m = Int(count);
  const int k = Int(dimension);
  const double one = 1, zero = 0;
  dgemm_("T", "N", &m, &m, &k, &one, basis.data(), &k, basis.data(), &k, &zero, products.data(),
         &m);
  double sum = 0;
  for (size_t i = 0; i < count; ++i) {
    for (size_t j = 0; j < count; ++j) {
      const double off = products[i * count + j] - (i == j ? 1 : 0);
      sum += off * off;
    }
  }
  // Each product is off by at most dimension 2^-53 |b_i| |b_j|, |b_i| < 2; so is the root of their
  // squares, times count.
  const double rounding = 4 * static_cast<double>(dimension * count) * 0x1p-53;
  return std::sqrt(sum) * (1 + 0x1p-30) + rounding;
}

}  // namespace vexact
