// compare.
#include <iostream>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/command/command.h"
#include "client/command/format.h"
#include "client/command/ids.h"
#include "client/command/table.h"
#include "client/command/vector_argument.h"

namespace vexact::client {
namespace {

// One side: a vector, or the id of a row.
struct Side {
  std::string vector;
  std::string id;
};

struct CompareOptions {
  Side a, b;
  std::string collection;
};

absl::StatusOr<Query> ParseSide(const char* name, const Side& side) {
  if (!side.id.empty()) return Query(IdFromWord(side.id));
  absl::StatusOr<std::vector<float>> vector = ParseVector(side.vector);
  if (vector.ok()) return Query(*std::move(vector));
  return absl::InvalidArgumentError(
      absl::StrCat("--", name, ": ", std::string(vector.status().message())));
}

Json ToJson(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }

Json ToJson(const Comparison& comparison) {
  return {{"dimension", comparison.dimension},
          {"dot_product", comparison.dot_product},
          {"cosine_similarity", ToJson(comparison.cosine_similarity)},
          {"cosine_distance", ToJson(comparison.cosine_distance)},
          {"angle_degrees", ToJson(comparison.angle_degrees)},
          {"euclidean_distance", comparison.euclidean_distance},
          {"squared_distance", comparison.squared_distance},
          {"norm_a", comparison.norm_a},
          {"norm_b", comparison.norm_b},
          {"scalar_projection", ToJson(comparison.scalar_projection)},
          {"vector_projection",
           comparison.scalar_projection ? Json(comparison.vector_projection) : Json(nullptr)}};
}

std::string Components(const std::vector<double>& vector) {
  constexpr size_t kShown = 8;
  std::string text;
  for (size_t i = 0; i < vector.size() && i < kShown; ++i) {
    absl::StrAppend(&text, i == 0 ? "(" : ", ", Shortest(vector[i]));
  }
  if (vector.size() > kShown) {
    absl::StrAppend(&text, ", … (", Thousands(vector.size()), " components; all with --json)");
  }
  return text + ")";
}

void PrintComparison(const Comparison& comparison) {
  const auto line = [](std::string label, const std::string& text) {
    label.resize(21, ' ');
    std::cout << label << text << '\n';
  };
  line("dot product", Shortest(comparison.dot_product));
  if (comparison.cosine_similarity) {
    line("cosine similarity",
         absl::StrCat(Shortest(*comparison.cosine_similarity), "   angle ",
                      Shortest(comparison.angle_degrees.value_or(0)), "°   cosine distance ",
                      Shortest(comparison.cosine_distance.value_or(0))));
  } else {
    line("cosine similarity", "none: a zero vector has no direction");
  }
  line("Euclidean distance", absl::StrCat(Shortest(comparison.euclidean_distance), "   squared ",
                                          Shortest(comparison.squared_distance)));
  line("norms", absl::StrCat(Shortest(comparison.norm_a), ", ", Shortest(comparison.norm_b)));
  line("projection of a on b",
       comparison.scalar_projection
           ? absl::StrCat(Shortest(*comparison.scalar_projection),
                          " along b = ", Components(comparison.vector_projection))
           : "none: b is a zero vector");
}

int RunCompare(const Globals& globals, const CompareOptions& options) {
  const absl::StatusOr<Query> a = ParseSide("a", options.a);
  if (!a.ok()) return BadInput(std::string(a.status().message()));
  const absl::StatusOr<Query> b = ParseSide("b", options.b);
  if (!b.ok()) return BadInput(std::string(b.status().message()));
  const bool by_id = !options.a.id.empty() || !options.b.id.empty();
  if (by_id && options.collection.empty()) {
    return BadInput("--a-id and --b-id need --collection, to look the id up in");
  }
  const auto comparison = globals.client().Compare(*a, *b, options.collection, globals.call());
  if (!comparison.ok()) return Fail(comparison.status());
  if (globals.json) {
    Print(ToJson(*comparison));
  } else {
    PrintComparison(*comparison);
  }
  return kDone;
}

void AddSide(CLI::App* command, const std::string& name, Side* side) {
  CLI::App* group = command->add_option_group("Side " + name);
  group->add_option("--" + name, side->vector, "A vector: \"3, 1, 2\"")->type_name("VECTOR");
  group->add_option("--" + name + "-id", side->id, "The id of a stored row")->type_name("ID");
  group->require_option(1);
}

}  // namespace

void AddCompareCommand(Program& program) {
  auto options = std::make_shared<CompareOptions>();
  CLI::App* compare = AddCommand<CompareOptions>(
      program, "compare", "Show the usual figures between two vectors, given or stored",
      "  vexact compare --a 3,1,2 --b 1,4,2\n"
      "  vexact compare --a-id cat --b-id kitten --collection words\n"
      "  vexact compare --a-id 17 --b \"0.1, 0.2\" --collection docs",
      options, RunCompare);
  AddSide(compare, "a", &options->a);
  AddSide(compare, "b", &options->b);
  compare->add_option("--collection", options->collection, "Where ids are looked up")
      ->type_name("NAME");
}

}  // namespace vexact::client
