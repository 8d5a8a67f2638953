// Finds the layout under which a collection's searches are expected to cost least.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "core/kernel/kernel.h"
#include "core/layout.h"
#include "core/metric.h"

namespace vexact {

// Neighbours that the expected cost is counted for.
inline constexpr size_t kTrainingK = 10;

// A sample of a collection's rows. All vectors have `dimension` components.
struct TrainingSample {
  uint32_t dimension = 0;
  Metric metric = Metric::kCosine;
  uint64_t collection_rows = 0;
  std::vector<float> rows;     // n x dimension, row-major; n a multiple of kGroupRows
  std::vector<float> queries;  // m x dimension: rows of the collection too
  // Of each query, the reference score of its kTrainingK-th neighbour among all rows of the
  // collection, itself left out.
  std::vector<double> scores;

  size_t size() const { return rows.size() / dimension; }
};

// What a layout is expected to do with a collection like the sample.
struct LayoutForecast {
  // Of a query that is alone, by level: the share of rows that its slab does not rule out.
  std::vector<double> passed;
  double scored = 0;           // the share of rows that are scored
  double batch_passed = 0;     // of a query in a batch: the share that level 0 does not rule out
  double bytes_per_row = 0;    // read for a query that is alone
  double bytes_per_query = 0;  // read besides: the basis, for the query's own projection
  // For one query on one thread, by the constants in trainer.cpp.
  double alone_nanoseconds = 0;  // per row
  double batch_nanoseconds = 0;

  double nanoseconds() const { return alone_nanoseconds + batch_nanoseconds; }
};

struct TrainedLayout {
  std::shared_ptr<const Layout> layout;
  uint64_t trained_rows = 0;   // rows of the collection at the time; 0 when none were looked at
  std::vector<double> energy;  // by coordinate: the share of |x - center|^2 up to and with it
  LayoutForecast forecast;
};

// Deterministic: the same sample gives the same layout on the same instruction set. `go_on` is
// called now and then and may wait; where it returns false, training ends without a layout (null).
// The identity is what comes out when no other layout pays.
// REQUIRES: at least one group of rows and one query.
TrainedLayout Train(const TrainingSample& sample, const Kernel& kernel,
                    const std::function<bool()>& go_on);

LayoutForecast Forecast(const TrainingSample& sample, const Layout& layout, const Kernel& kernel);

}  // namespace vexact
