// create, list, describe, set-metric, drop.
#include <algorithm>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/command/command.h"
#include "client/command/format.h"
#include "client/command/layout.h"
#include "client/command/table.h"

namespace vexact::client {
namespace {

struct CreateOptions {
  CollectionSpec spec;
  std::string metric = "cosine";
  std::string normalization = "none";
};

struct ListOptions {
  bool names = false;
};

struct NameOptions {
  std::string name;
};

struct SetMetricOptions {
  std::string name;
  std::string metric;
};

Json ToJson(const Collection& collection) {
  return {{"name", collection.name},           {"dimension", collection.dimension},
          {"metric", Name(collection.metric)}, {"normalization", Name(collection.normalization)},
          {"rows", collection.rows},           {"deleted", collection.dead_rows},
          {"sequence", collection.sequence}};
}

// "docs: 384 dimensions, cosine, 5,000 rows"
std::string Summary(const Collection& collection) {
  std::string summary = absl::StrCat(collection.name, ": ", Thousands(collection.dimension),
                                     collection.dimension == 1 ? " dimension, " : " dimensions, ",
                                     std::string(Name(collection.metric)));
  if (collection.normalization != Normalization::kNone) {
    absl::StrAppend(&summary, ", normalization ", std::string(Name(collection.normalization)));
  }
  return absl::StrCat(summary, ", ", collection.rows == 0 ? "empty" : Rows(collection.rows));
}

int RunCreate(const Globals& globals, const CreateOptions& options) {
  CollectionSpec spec = options.spec;
  spec.metric = *ParseMetric(options.metric);
  spec.normalization = *ParseNormalization(options.normalization);
  const auto creation = globals.client().CreateCollection(spec, globals.call());
  if (!creation.ok()) return Fail(creation.status());
  if (globals.json) {
    Json json = ToJson(creation->collection);
    json["created"] = creation->created;
    Print(json);
  } else {
    std::cout << Summary(creation->collection) << (creation->created ? "" : " (it existed)")
              << '\n';
  }
  return kDone;
}

Json ToJson(const CollectionList& list) {
  Json collections = Json::array(), damaged = Json::array();
  for (const Collection& collection : list.collections) collections.push_back(ToJson(collection));
  for (const DamagedCollection& one : list.damaged) {
    damaged.push_back({{"name", one.name}, {"error", one.error}});
  }
  return {{"collections", collections}, {"damaged", damaged}};
}

void PrintTables(const CollectionList& list) {
  if (!list.collections.empty()) {
    Table table({{"name"},
                 {"dimension", Align::kRight},
                 {"metric"},
                 {"normalization"},
                 {"rows", Align::kRight}});
    for (const Collection& collection : list.collections) {
      table.Add({collection.name, Thousands(collection.dimension),
                 std::string(Name(collection.metric)), std::string(Name(collection.normalization)),
                 Thousands(collection.rows)});
    }
    std::cout << table.Render();
  }
  if (list.damaged.empty()) return;
  if (!list.collections.empty()) std::cout << '\n';
  Table table({{"damaged"}, {"why it does not serve"}});
  for (const DamagedCollection& one : list.damaged) table.Add({one.name, one.error});
  std::cout << table.Render();
}

int RunList(const Globals& globals, const ListOptions& options) {
  const auto list = globals.client().ListCollections(globals.call());
  if (!list.ok()) return Fail(list.status());
  if (globals.json) {
    Print(ToJson(*list));
  } else if (options.names) {
    for (const Collection& collection : list->collections) std::cout << collection.name << '\n';
  } else if (list->collections.empty() && list->damaged.empty()) {
    std::cerr << "No collections yet. Make one: vexact create docs --dim 384\n";
  } else {
    PrintTables(*list);
  }
  return kDone;
}

// What the figures say that their reader should know; empty when there is nothing.
std::string Warning(const Description& description) {
  const Collection& collection = description.collection;
  const NormStatistics& norms = description.norms;
  const bool vary = norms.max - norms.min > 1e-3 * norms.max;
  if (collection.metric != Metric::kInnerProduct || collection.rows < 2 || !vary) return "";
  return absl::StrFormat(
      "inner product meets rows of norms from %.4g to %.4g: long rows win. To compare "
      "directions: vexact set-metric %s cosine",
      norms.min, norms.max, collection.name);
}

// Four decimals where norms are near 1, as most are.
std::string Norm(double norm) {
  return norm >= 0.01 && norm < 1e4 ? absl::StrFormat("%.4f", norm) : absl::StrFormat("%.4g", norm);
}

void PrintDescription(const Description& description) {
  const Collection& collection = description.collection;
  const NormStatistics& norms = description.norms;
  const auto line = [](std::string label, const std::string& text) {
    label.resize(std::max<size_t>(12, label.size() + 2), ' ');
    std::cout << label << text << '\n';
  };
  line(collection.name,
       absl::StrCat(Thousands(collection.dimension),
                    collection.dimension == 1 ? " dimension" : " dimensions", ", metric ",
                    std::string(Name(collection.metric)), ", normalization ",
                    std::string(Name(collection.normalization))));
  line("rows", absl::StrCat(Thousands(collection.rows), " (", Thousands(collection.dead_rows),
                            " deleted), sequence ", Thousands(collection.sequence)));
  if (collection.rows > 0) {
    const double unit =
        100 * static_cast<double>(norms.unit_rows) / static_cast<double>(collection.rows);
    line("norms",
         absl::StrFormat("min %s  mean %s  max %s; %.1f %% within 1e-3 of 1; %s zero %s",
                         Norm(norms.min), Norm(norms.mean), Norm(norms.max), unit,
                         Thousands(norms.zero_rows), norms.zero_rows == 1 ? "row" : "rows"));
  }
  line("memory", Describe(description.memory));
  for (const auto& [label, text] : LayoutLines(description.layout)) line(label, text);
  if (const std::string warning = Warning(description); !warning.empty()) line("warning", warning);
}

int RunDescribe(const Globals& globals, const NameOptions& options) {
  const auto description = globals.client().GetCollection(options.name, globals.call());
  if (!description.ok()) return Fail(description.status());
  if (!globals.json) {
    PrintDescription(*description);
    return kDone;
  }
  const NormStatistics& norms = description->norms;
  Json json = ToJson(description->collection);
  json["norms"] = {{"min", norms.min},
                   {"mean", norms.mean},
                   {"max", norms.max},
                   {"unit_rows", norms.unit_rows},
                   {"zero_rows", norms.zero_rows}};
  json["memory"] = ToJson(description->memory);
  json["layout"] = ToJson(description->layout);
  json["warnings"] = Json::array();
  if (const std::string warning = Warning(*description); !warning.empty()) {
    json["warnings"].push_back(warning);
  }
  Print(json);
  return kDone;
}

int RunSetMetric(const Globals& globals, const SetMetricOptions& options) {
  const auto collection =
      globals.client().SetMetric(options.name, *ParseMetric(options.metric), globals.call());
  if (!collection.ok()) return Fail(collection.status());
  if (globals.json) {
    Print(ToJson(*collection));
  } else {
    std::cout << Summary(*collection) << '\n';
  }
  return kDone;
}

int RunDrop(const Globals& globals, const NameOptions& options) {
  const auto rows = globals.client().DeleteCollection(options.name, globals.call());
  if (!rows.ok()) return Fail(rows.status());
  if (globals.json) {
    Print({{"name", options.name}, {"rows", *rows}});
  } else {
    std::cout << options.name << ": dropped, with " << Rows(*rows) << '\n';
  }
  return kDone;
}

void AddCreate(Program& program) {
  auto options = std::make_shared<CreateOptions>();
  CLI::App* create =
      AddCommand<CreateOptions>(program, "create", "Make an empty collection",
                                "  vexact create docs --dim 384\n"
                                "  vexact create tokens --dim 384 --metric inner_product\n"
                                "  vexact create faces --dim 512 --normalization l2",
                                options, RunCreate);
  AddCollectionArgument(create, &options->spec.name);
  create->add_option("--dim", options->spec.dimension, "Components of every vector, 1 to 65536")
      ->required()
      ->type_name("N");
  AddMetricOption(create, &options->metric, "The metric of searches that name none");
  create->get_option("--metric")->capture_default_str();
  create
      ->add_option("--normalization", options->normalization,
                   "What happens to rows and queries: none keeps them, l2 makes their norm 1, "
                   "require_unit refuses those whose norm is not 1")
      ->check(OneOf({"none", "l2", "require_unit"}))
      ->type_name("none|l2|require_unit")
      ->capture_default_str();
}

void AddSetMetric(Program& program) {
  auto options = std::make_shared<SetMetricOptions>();
  CLI::App* command = AddCommand<SetMetricOptions>(
      program, "set-metric", "Set the metric of searches that name none; rows stay as they are",
      "  vexact set-metric docs l2", options, RunSetMetric);
  AddCollectionArgument(command, &options->name);
  command->add_option("metric", options->metric, "The metric")
      ->required()
      ->check(OneOf({"inner_product", "cosine", "l2"}))
      ->type_name("inner_product|cosine|l2");
}

}  // namespace

void AddCollectionCommands(Program& program) {
  AddCreate(program);
  auto list_options = std::make_shared<ListOptions>();
  CLI::App* list =
      AddCommand<ListOptions>(program, "list", "Show all collections",
                              "  vexact list\n  vexact list --names", list_options, RunList);
  list->add_flag("--names", list_options->names, "Only the names, one a line");
  auto describe_options = std::make_shared<NameOptions>();
  CLI::App* describe = AddCommand<NameOptions>(
      program, "describe", "Show a collection: parameters, rows, norms, memory, layout",
      "  vexact describe docs\n  vexact describe docs --json | jq .norms.mean", describe_options,
      RunDescribe);
  AddCollectionArgument(describe, &describe_options->name);
  AddSetMetric(program);
  auto drop_options = std::make_shared<NameOptions>();
  CLI::App* drop = AddCommand<NameOptions>(program, "drop", "Delete a collection and all its rows",
                                           "  vexact drop docs", drop_options, RunDrop);
  AddCollectionArgument(drop, &drop_options->name);
}

}  // namespace vexact::client
