#include "client/command/layout.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "absl/strings/str_cat.h"
#include "client/command/format.h"

namespace vexact::client {
namespace {

// A line shows so many slabs at most; JSON shows all.
constexpr size_t kSlabsShown = 8;

std::string Dimensions(uint32_t count) {
  return absl::StrCat(Thousands(count), count == 1 ? " dimension" : " dimensions");
}

// "rotation, centered, trained on 153,770 rows", "identity (8-bit codes of all 384 dimensions)".
std::string Kind(const Layout& layout) {
  if (layout.kind == LayoutKind::kIdentity) {
    std::string kind = absl::StrCat("identity (8-bit codes of all ",
                                    Dimensions(layout.first_slab_dimensions), ")");
    if (layout.trained_rows == 0) return kind;
    return absl::StrCat(kind, "; nothing better was found for ", Rows(layout.trained_rows));
  }
  const std::string leading =
      absl::StrCat(" to ", Thousands(layout.directions), " leading directions");
  return absl::StrCat("rotation", layout.kind == LayoutKind::kLeadingRotation ? leading : "",
                      layout.centered ? ", centered," : "", " trained on ",
                      Rows(layout.trained_rows));
}

std::string Progress(const Layout& layout) {
  if (layout.coded_rows < layout.rows) {
    return absl::StrCat("; ", Thousands(layout.coded_rows), " of ", Rows(layout.rows),
                        " re-encoded");
  }
  return layout.trained_rows > 0 && layout.kind != LayoutKind::kIdentity ? "; re-encoding done"
                                                                         : "";
}

// "0.35, 0.21, 0.036 %": the shares of the slabs after the first; empty when there are none. Those
// of a leading rotation are read together, so only the last has something to say.
std::string LaterSlabs(const Layout& layout, std::optional<double> Slab::*share) {
  const size_t all = layout.slabs.size();
  size_t slab = layout.kind == LayoutKind::kLeadingRotation ? std::max<size_t>(all, 2) - 1 : 1;
  const size_t end = std::min(all, slab + kSlabsShown);
  std::string list;
  for (; slab < end && layout.slabs[slab].*share; ++slab) {
    absl::StrAppend(&list, list.empty() ? "" : ", ", Percent(*(layout.slabs[slab].*share)));
  }
  if (list.empty()) return list;
  return absl::StrCat(list, end < all ? ", … (all with --json)" : " %");
}

// "192 dimensions with a 4-bit sketch hold 91 % of the energy; with the next slabs 97, 99, 100 %".
std::string FirstSlab(const Layout& layout) {
  std::string text = absl::StrCat(Dimensions(layout.first_slab_dimensions),
                                  layout.first_slab_sketch ? " with a 4-bit sketch" : "");
  const std::optional<double>& energy = layout.slabs.front().energy;
  if (!energy) return text;
  absl::StrAppend(&text, layout.first_slab_dimensions == 1 ? " holds " : " hold ", Percent(*energy),
                  " % of the energy");
  const std::string later = LaterSlabs(layout, &Slab::energy);
  return later.empty() ? text : absl::StrCat(text, "; with the next slabs ", later);
}

// "1.4 % of rows read further, then 0.35, 0.21, 0.036 %; 17 MiB a query": of all rows those that
// the first slab leaves, then each next one. What the last leaves is scored.
std::string Use(const Layout& layout, std::optional<double> Slab::*passed, double bytes) {
  std::string use;
  if (const std::optional<double>& share = layout.slabs.front().*passed; share) {
    const std::string later = LaterSlabs(layout, passed);
    absl::StrAppend(&use, Percent(*share), " % of rows ",
                    layout.slabs.size() > 1 ? "read further" : "scored",
                    later.empty() ? "" : ", then ", later, "; ");
  }
  return absl::StrCat(use, Bytes(static_cast<uint64_t>(std::llround(bytes))), " a query");
}

Json OrNull(const std::optional<double>& number) { return number ? Json(*number) : Json(); }

}  // namespace

std::vector<std::pair<std::string, std::string>> LayoutLines(const Layout& layout) {
  if (layout.kind == LayoutKind::kOther || layout.slabs.empty()) return {};
  std::vector<std::pair<std::string, std::string>> lines;
  lines.emplace_back("layout", Kind(layout) + Progress(layout));
  if (layout.kind != LayoutKind::kIdentity) lines.emplace_back("first slab", FirstSlab(layout));
  if (layout.expected_bytes) {
    lines.emplace_back("expected", Use(layout, &Slab::expected_passed, *layout.expected_bytes));
  }
  if (layout.observed_bytes) {
    lines.emplace_back("observed",
                       absl::StrCat(Use(layout, &Slab::observed_passed, *layout.observed_bytes),
                                    " over ", Thousands(layout.observed_queries),
                                    layout.observed_queries == 1 ? " query" : " queries"));
  }
  return lines;
}

Json ToJson(const Layout& layout) {
  Json slabs = Json::array();
  for (const Slab& slab : layout.slabs) {
    slabs.push_back({{"energy", OrNull(slab.energy)},
                     {"expected_passed", OrNull(slab.expected_passed)},
                     {"observed_passed", OrNull(slab.observed_passed)}});
  }
  return {{"kind", Name(layout.kind)},
          {"directions", layout.directions},
          {"centered", layout.centered},
          {"first_slab_dimensions", layout.first_slab_dimensions},
          {"first_slab_sketch", layout.first_slab_sketch},
          {"trained_rows", layout.trained_rows},
          {"rows", layout.rows},
          {"coded_rows", layout.coded_rows},
          {"observed_queries", layout.observed_queries},
          {"expected_bytes", OrNull(layout.expected_bytes)},
          {"observed_bytes", OrNull(layout.observed_bytes)},
          {"slabs", slabs}};
}

}  // namespace vexact::client
