// Searches random worlds with the scan engine and with the reference engine, and compares every id
// and every score bit.
//
// A world is a collection of some dimension, kind of data, mix of ids, normalization, segment size,
// instruction set and thread count, after upserts, replacements, deletions and compaction, its
// segments coded under whatever layouts were in use meanwhile: the identity, layouts trained on its
// rows and on others, and random ones. What differs ends the program with the world's seed, which
// repeats it alone.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <random>
#include <set>

#include "absl/strings/str_format.h"
#include "core/collection.h"
#include "core/reference_score.h"
#include "core/trainer.h"
#include "tests/exactness/layouts.h"
#include "tests/exactness/worlds.h"

namespace vexact {
namespace {

constexpr uint32_t kDimensions[] = {
    1,  2,  3,   4,   5,   7,   8,   9,   15,  16,  17,  24,  31,  32,    33,    48,    63,    64,
    65, 96, 100, 127, 128, 129, 160, 200, 256, 300, 384, 512, 768, 1'024, 1'536, 4'096, 65'536};

[[noreturn]] void Fail(uint64_t seed, const std::string& message) {
  std::printf("FAILED: %s\nrepeat with: exactness_sweep --world %llu\n", message.c_str(),
              static_cast<unsigned long long>(seed));
  std::exit(1);
}

// The layout that is trained on some rows as if there were so many of them that it had to pay.
TrainedLayout TrainOn(const std::vector<std::vector<float>>& rows, Metric metric,
                      const Kernel& kernel) {
  constexpr size_t kQueries = 8;
  TrainingSample sample{.dimension = static_cast<uint32_t>(rows.front().size()),
                        .metric = metric,
                        .collection_rows = 10'000'000,
                        .rows = {},
                        .queries = {},
                        .scores = {}};
  for (size_t i = 0; i < rows.size() / kGroupRows * kGroupRows; ++i) {
    sample.rows.insert(sample.rows.end(), rows[i].begin(), rows[i].end());
  }
  for (size_t q = 0; q < std::min(kQueries, rows.size()); ++q) {
    sample.queries.insert(sample.queries.end(), rows[q].begin(), rows[q].end());
    std::vector<double> scores;
    for (const std::vector<float>& row : rows) {
      scores.push_back(ReferenceScore(metric, rows[q], Dot(rows[q], rows[q]), row, Dot(row, row)));
    }
    std::sort(scores.begin(), scores.end(),
              [&](double a, double b) { return Nearer(metric, a, b); });
    sample.scores.push_back(scores[std::min(kTrainingK, scores.size() - 1)]);
  }
  return Train(sample, kernel, [] { return true; });
}

class World {
 public:
  explicit World(uint64_t seed) : seed_(seed), random_(seed) {}

  // Builds the world and searches it; returns the number of searches.
  size_t Run() {
    Choose();
    Build();
    size_t searches = 0;
    for (int round = 0; round < 4; ++round) {
      searches += SearchAll();
      Change();
    }
    return searches + SearchAll();
  }

 private:
  void Choose() {
    // Small dimensions mostly: they are quick, and every boundary is there too.
    const size_t choices = std::size(kDimensions);
    const size_t range = Below(random_, 200) == 0  ? choices
                         : Below(random_, 10) == 0 ? choices - 3
                                                   : choices - 7;
    config_.dimension = kDimensions[Below(random_, range)];
    kind_ = static_cast<Kind>(Below(random_, kKinds));
    zeros_ =
        kind_ == Kind::kWithZeros || kind_ == Kind::kSmallIntegers || kind_ == Kind::kDenormals;
    config_.metric = zeros_ ? Metric::kL2 : kMetrics[Below(random_, 3)];
    config_.normalization =
        !zeros_ && Below(random_, 4) == 0 ? Normalization::kL2 : Normalization::kNone;
    rows_ =
        config_.dimension > 2'000 ? 40 : 1 + Below(random_, config_.dimension > 300 ? 150 : 400);
    tuning_.segment_rows = static_cast<uint32_t>(16u << Below(random_, 5));
    tuning_.scan.kernel = RunnableKernels()[Below(random_, RunnableKernels().size())];
    if (Below(random_, 2) == 0) tuning_.scan.pending_limit = 1 + Below(random_, 300);
    vectors_ = MakeVectors();
    tuning_.layout = AnyLayout().layout;
    tuning_.training_rows = 100;
    const int threads = 1 + static_cast<int>(Below(random_, 3));
    static std::map<int, std::unique_ptr<Workers>> workers;
    if (workers[threads] == nullptr) workers[threads] = std::make_unique<Workers>(threads);
    collection_ =
        std::make_unique<Collection>("world", config_, *workers[threads], nullptr, tuning_);
  }

  Id MakeId(size_t i) const {
    return i % 3 == 0 ? Id(absl::StrFormat("row %d", i))
                      : Id(uint64_t{(i * 2'654'435'761) % 1'000});
  }

  void Upsert(const std::vector<Id>& ids, const std::vector<std::vector<float>>& vectors) {
    std::map<Id, size_t> once;  // an id may occur once in a request
    for (size_t i = 0; i < ids.size(); ++i) once[ids[i]] = i;
    std::vector<PointView> points;
    for (const auto& [id, i] : once) points.push_back({View(id), vectors[i]});
    std::shuffle(points.begin(), points.end(), random_);
    for (size_t first = 0; first < points.size();) {
      const size_t count = std::min(points.size() - first, 1 + Below(random_, 100));
      const auto result = collection_->Upsert(std::span(points).subspan(first, count));
      if (!result.ok()) Fail(seed_, "upsert: " + std::string(result.status().message()));
      first += count;
    }
  }

  std::vector<std::vector<float>> MakeVectors() {
    auto vectors = MakeRows(kind_, rows_, config_.dimension, random_);
    if (!zeros_) {
      // A kind may underflow to zero here and there; cosine and normalization refuse that.
      for (std::vector<float>& vector : vectors) {
        if (std::all_of(vector.begin(), vector.end(), [](float x) { return x == 0; }))
          vector[0] = 1;
      }
    }
    return vectors;
  }

  // Made for the world's rows or for others.
  TrainedLayout AnyLayout() {
    const uint32_t dimension = config_.dimension;
    const bool for_others = Below(random_, 3) == 0;
    const auto other_kind = static_cast<Kind>(Below(random_, kKinds));
    const auto rows = for_others ? MakeRows(other_kind, 64, dimension, random_) : vectors_;
    TrainedLayout trained;
    switch (Below(random_, 4)) {
      case 0:
        trained.layout = Layout::Identity(dimension);
        break;
      case 1:
        trained.layout =
            Layout::Identity(dimension, static_cast<uint32_t>(1 + Below(random_, dimension)));
        break;
      default: {
        LayoutForm form = AnyForm(rows, random_);
        if (dimension > 300) {  // a large basis takes long to make
          if (form.basis == Basis::kWhole) form.basis = Basis::kLeading;
          form.first_width = std::min(form.first_width, 64u);
        }
        trained.layout = MakeLayout(form, random_);
      }
    }
    // Training takes as long as many searches.
    if (dimension <= 256 && rows.size() >= kGroupRows && Below(random_, 20) == 0) {
      return TrainOn(rows, Metric::kL2, *tuning_.scan.kernel);
    }
    return trained;
  }

  void ChangeLayout() {
    switch (Below(random_, 4)) {
      case 0:  // for rows to come; others keep theirs
        collection_->SetLayout(AnyLayout());
        break;
      case 1:
        collection_->SetLayout(AnyLayout());
        if (!collection_->Recode().ok()) Fail(seed_, "recode");
        break;
      case 2:
        if (config_.dimension > 256 || Below(random_, 8) != 0) break;
        if (!collection_->Maintain().ok()) Fail(seed_, "maintain");
        break;
      default:
        break;
    }
  }

  void Build() {
    for (size_t i = 0; i < rows_; ++i) ids_.push_back(MakeId(i));
    Upsert(ids_, vectors_);
  }

  void Change() {
    ChangeLayout();
    std::vector<IdView> victims;
    std::map<Id, bool> chosen;
    for (size_t i = 0; i < ids_.size(); ++i) {
      if (Below(random_, 4) == 0 && chosen.emplace(ids_[i], true).second)
        victims.push_back(View(ids_[i]));
    }
    if (!victims.empty() && !collection_->Delete(victims).ok()) Fail(seed_, "delete");
    std::vector<Id> replaced;
    std::vector<std::vector<float>> vectors;
    for (size_t i = 0; i < ids_.size() / 4 + 1; ++i) {
      replaced.push_back(ids_[Below(random_, ids_.size())]);
      vectors.push_back(vectors_[Below(random_, vectors_.size())]);
    }
    Upsert(replaced, vectors);
    if (Below(random_, 2) == 0 && !collection_->Compact().ok()) Fail(seed_, "compact");
  }

  uint32_t MakeK() {
    switch (Below(random_, 5)) {
      case 0:
        return 1;
      case 1:
        return 10;
      case 2:
        return kMaxK;
      default:
        return static_cast<uint32_t>(1 + Below(random_, rows_ + 5));
    }
  }

  size_t SearchAll() {
    const bool cosine = collection_->Norms().zero_rows == 0;
    size_t searches = 0;
    for (const Metric metric : kMetrics) {
      if (metric == Metric::kCosine && !cosine) continue;
      const bool may_be_zero =
          metric != Metric::kCosine && config_.normalization == Normalization::kNone;
      std::vector<std::vector<float>> queries;
      // Few queries pass over the rows one by one, more in tiles.
      const size_t most = Below(random_, 2) == 0 || config_.dimension > 2'000 ? 3 : 40;
      for (size_t q = 1 + Below(random_, most); q > 0; --q) {
        queries.push_back(MakeQuery(kind_, vectors_, may_be_zero, random_));
      }
      Compare(queries, metric, MakeK());
      searches += queries.size();
    }
    return searches;
  }

  void Compare(const std::vector<std::vector<float>>& vectors, Metric metric, uint32_t k) {
    std::vector<Query> queries;
    for (const std::vector<float>& vector : vectors)
      queries.push_back({.target = std::span<const float>(vector)});
    if (collection_->info().rows > 0 && Below(random_, 3) == 0) {
      const auto first = collection_->Scroll(std::nullopt, 1);
      queries.push_back({.target = Own(first->points.front().id()), .exclude_self = true});
    }
    SearchOptions options{.k = k, .metric = metric};
    const auto got = collection_->Search(queries, options);
    options.engine = EngineKind::kReference;
    const auto expected = collection_->Search(queries, options);
    if (!got.ok() || !expected.ok()) Fail(seed_, "search: " + std::string(got.status().message()));
    for (size_t q = 0; q < queries.size(); ++q) {
      CompareHits(got->hits[q], expected->hits[q],
                  absl::StrFormat("%s, %s, k %d, %d rows, %s, %s, query %d of %d", Name(kind_),
                                  Name(metric), k, got->rows_compared, tuning_.scan.kernel->isa,
                                  Layouts(*got->snapshot), q, queries.size()));
    }
  }

  // Each that some segment is coded under.
  static std::string Layouts(const CollectionState& state) {
    std::string text;
    std::set<const Layout*> seen;
    for (const CollectionState::Part& part : state.parts) {
      if (!seen.insert(part.codes->layout().get()).second) continue;
      text += (text.empty() ? "(" : "; ") + Describe(*part.codes->layout());
    }
    return text.empty() ? "(no segments)" : text + ")";
  }

  void CompareHits(const std::vector<ScoredRow>& got, const std::vector<ScoredRow>& expected,
                   const std::string& where) const {
    if (got.size() != expected.size()) {
      Fail(seed_, absl::StrFormat("%s: %d hits, the reference has %d", where, got.size(),
                                  expected.size()));
    }
    for (size_t i = 0; i < got.size(); ++i) {
      if (got[i].row == expected[i].row &&
          std::bit_cast<uint64_t>(got[i].score) == std::bit_cast<uint64_t>(expected[i].score)) {
        continue;
      }
      Fail(seed_, absl::StrFormat("%s: hit %d is id %s with %a, the reference has id %s with %a",
                                  where, i, Describe(got[i].row.id()), got[i].score,
                                  Describe(expected[i].row.id()), expected[i].score));
    }
  }

  const uint64_t seed_;
  Random random_;
  CollectionConfig config_;
  CollectionTuning tuning_;
  Kind kind_ = Kind::kGaussian;
  bool zeros_ = false;
  size_t rows_ = 0;
  std::unique_ptr<Collection> collection_;
  std::vector<Id> ids_;
  std::vector<std::vector<float>> vectors_;
};

int Sweep(uint64_t wanted, uint64_t seed) {
  const auto start = std::chrono::steady_clock::now();
  uint64_t searches = 0;
  uint64_t worlds = 0;
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  for (; searches < wanted; ++worlds) {
    searches += World(seed + worlds).Run();
    if (worlds % 5'000 == 4'999) {
      std::printf("%llu searches so far\n", static_cast<unsigned long long>(searches));
      std::fflush(stdout);
    }
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("%llu searches of %llu worlds, each equal to the reference bit for bit (%.0f s)\n",
              static_cast<unsigned long long>(searches), static_cast<unsigned long long>(worlds),
              seconds);
  return 0;
}

}  // namespace
}  // namespace vexact

int main(int argc, char** argv) {
  constexpr uint64_t kSearches = 200'000;
  constexpr uint64_t kLongSearches = 10'000'000;
  CLI::App app{
      "Compares the scan engine with the reference engine, bit for bit, over random worlds."};
  uint64_t searches = kSearches;
  uint64_t seed = std::random_device()();
  uint64_t world = 0;
  bool long_mode = false;
  app.add_option("--searches", searches, "searches to make")->capture_default_str();
  app.add_flag("--long", long_mode, "make 10,000,000 searches");
  app.add_option("--seed", seed,
                 "the first world's seed; each further world takes the next (default: random)");
  auto* only = app.add_option("--world", world, "run this world alone");
  CLI11_PARSE(app, argc, argv);
  if (*only) {
    vexact::World(world).Run();
    std::printf("world %llu: equal\n", static_cast<unsigned long long>(world));
    return 0;
  }
  return vexact::Sweep(long_mode ? kLongSearches : searches, seed);
}
