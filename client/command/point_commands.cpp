// get, delete, count.
#include <iostream>
#include <string>
#include <vector>

#include "client/command/command.h"
#include "client/command/format.h"
#include "client/command/ids.h"
#include "client/command/table.h"

namespace vexact::client {
namespace {

struct IdsOptions {
  std::string collection;
  std::vector<std::string> words;

  std::vector<Id> ids() const {
    std::vector<Id> ids;
    for (const std::string& word : words) ids.push_back(IdFromWord(word));
    return ids;
  }
};

struct CountOptions {
  std::string collection;
};

int RunGet(const Globals& globals, const IdsOptions& options) {
  const auto points = globals.client().Get(options.collection, options.ids(), globals.call());
  if (!points.ok()) return Fail(points.status());
  if (globals.json) {
    Json json = Json::array();
    for (const Point& point : *points) {
      json.push_back({{"id", ToJson(point.id)}, {"vector", point.vector}});
    }
    Print({{"collection", options.collection}, {"points", json}});
    return kDone;
  }
  Table table({{"id"}, {"vector"}});
  for (const Point& point : *points)
    table.Add({WordFromId(point.id), FirstComponents(point.vector)});
  std::cout << table.Render();
  return kDone;
}

int RunDelete(const Globals& globals, const IdsOptions& options) {
  const auto deleted = globals.client().Delete(options.collection, options.ids(), globals.call());
  if (!deleted.ok()) return Fail(deleted.status());
  if (globals.json) {
    Print({{"collection", options.collection},
           {"deleted", deleted->deleted},
           {"missing", deleted->missing},
           {"sequence", deleted->sequence}});
  } else {
    std::cout << options.collection << ": " << Rows(deleted->deleted) << " deleted";
    if (deleted->missing > 0) std::cout << ", " << Thousands(deleted->missing) << " not found";
    std::cout << '\n';
  }
  return kDone;
}

int RunCount(const Globals& globals, const CountOptions& options) {
  const auto rows = globals.client().Count(options.collection, globals.call());
  if (!rows.ok()) return Fail(rows.status());
  if (globals.json) {
    Print({{"collection", options.collection}, {"rows", *rows}});
  } else {
    std::cout << *rows << '\n';
  }
  return kDone;
}

void AddIds(CLI::App* command, IdsOptions& options) {
  AddCollectionArgument(command, &options.collection);
  command
      ->add_option("ids", options.words,
                   "Ids; a word of digits is a number, text:17 is the text \"17\"")
      ->required()
      ->type_name("ID");
}

}  // namespace

void AddPointCommands(Program& program) {
  auto get_options = std::make_shared<IdsOptions>();
  AddIds(AddCommand<IdsOptions>(program, "get", "Show points by id",
                                "  vexact get docs 17 42\n"
                                "  vexact get words kitten --json | jq '.points[0].vector'",
                                get_options, RunGet),
         *get_options);
  auto delete_options = std::make_shared<IdsOptions>();
  AddIds(AddCommand<IdsOptions>(program, "delete", "Delete points by id",
                                "  vexact delete docs 17 42\n  vexact delete docs text:17",
                                delete_options, RunDelete),
         *delete_options);
  auto count_options = std::make_shared<CountOptions>();
  CLI::App* count = AddCommand<CountOptions>(program, "count", "Show the number of rows",
                                             "  vexact count docs", count_options, RunCount);
  AddCollectionArgument(count, &count_options->collection);
}

}  // namespace vexact::client
