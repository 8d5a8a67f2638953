#include "client/command/completion.h"

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace vexact::client {
namespace {

// $word counts the arguments of the command before the one that is completed. bash cuts HOST:PORT
// at the colon, so the server is taken from the whole line.
constexpr const char* kScript =
    R"(# bash completion of vexact; load it with: source <(vexact completion bash)
_vexact_collections() {
  local server=()
  [[ $COMP_LINE =~ --server[=\ ]+([^\ ]+) ]] && server=(--server "${BASH_REMATCH[1]}")
  "${COMP_WORDS[0]}" "${server[@]}" list --names --timeout 1 2>/dev/null
}

_vexact() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
  local command="" word=0 i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
      --server) ((i++)); [[ ${COMP_WORDS[i+1]} == : ]] && ((i += 2)) ;;
      @TAKE_VALUE@) ((i++)) ;;
      -*) ;;
      *) if [[ -z $command ]]; then command=${COMP_WORDS[i]}; else ((word++)); fi ;;
    esac
  done
  local words=""
  case $prev in
@VALUES@    --ids|--from|-o|--output) compopt -o default; COMPREPLY=(); return ;;
    --collection) words=$(_vexact_collections) ;;
    @TAKE_VALUE@) COMPREPLY=(); return ;;
    *)
      if [[ $cur == -* ]]; then
        case $command in
@OPTIONS@        esac
      else
        case $command:$word in
          :0) words="@COMMANDS@" ;;
          @NAMED@) words=$(_vexact_collections) ;;
          add:1|restore:1) compopt -o default; COMPREPLY=(); return ;;
@ARGUMENTS@        esac
      fi ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -F _vexact vexact
)";

// "a|b|c" as "a b c"; empty for a type that is no choice.
std::string Choices(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  return type.find('|') == std::string::npos ? "" : absl::StrReplaceAll(type, {{"|", " "}});
}

std::vector<const CLI::App*> Commands(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App* sub) { return !sub->get_name().empty(); });
}

// Of an app and of its option groups, which CLI11 keeps as subcommands without a name.
std::vector<const CLI::Option*> Options(const CLI::App& app) {
  std::vector<const CLI::Option*> options = app.get_options();
  for (const CLI::App* group :
       app.get_subcommands([](const CLI::App* sub) { return sub->get_name().empty(); })) {
    for (const CLI::Option* option : group->get_options()) options.push_back(option);
  }
  return options;
}

// "--metric", "-k"; none for a positional argument.
std::vector<std::string> Names(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  for (const std::string& name : option.get_snames()) names.push_back("-" + name);
  return names;
}

// Of an app and of its commands.
std::string AllNames(const CLI::App& app, bool with_commands) {
  std::set<std::string> names;
  const auto add = [&](const CLI::App& of) {
    for (const CLI::Option* option : Options(of)) {
      for (std::string& name : Names(*option)) names.insert(std::move(name));
    }
  };
  add(app);
  if (with_commands) {
    for (const CLI::App* command : Commands(app)) add(*command);
  }
  return absl::StrJoin(names, " ");
}

// What the script needs to know of all commands. Of a command that has commands of its own, the
// first word is one of those; what follows it is a collection in all of them but one, and its
// options are those of all together.
struct Facts {
  std::set<std::string> take_value;            // options that are followed by one
  std::map<std::string, std::string> choices;  // and of these, those with a fixed set
  std::string options;                         // cases: command to options
  std::string arguments;                       // cases: command:word to choices
  std::vector<std::string> named;              // command:0, where that is a collection

  void Add(const CLI::App& app) {
    size_t word = 0;
    for (const CLI::Option* option : Options(app)) {
      const std::vector<std::string> names = Names(*option);
      const std::string values = Choices(*option);
      if (names.empty()) {
        const std::string at = absl::StrCat(app.get_name(), ":", word++);
        if (option->get_single_name() == "collection" && app.get_name() != "create" &&
            app.get_name() != "restore") {
          named.push_back(at);
        }
        if (!values.empty())
          absl::StrAppend(&arguments, "          ", at, ") words=\"", values, "\" ;;\n");
        if (values.empty() && option->get_type_name() == "bash") {
          absl::StrAppend(&arguments, "          ", at, ") words=\"bash\" ;;\n");
        }
      }
    }
    AddOptions(app);
  }

  void AddOptions(const CLI::App& app) {
    for (const CLI::Option* option : Options(app)) {
      if (option->get_items_expected_max() == 0) continue;  // a flag
      const std::string values = Choices(*option);
      for (const std::string& name : Names(*option)) {
        take_value.insert(name);
        if (!values.empty()) choices[name] = values;
      }
    }
  }
};

}  // namespace

std::string BashCompletion(const CLI::App& app) {
  Facts facts;
  std::vector<std::string> commands;
  const std::string globals = AllNames(app, false);
  facts.Add(app);
  for (const CLI::App* command : Commands(app)) {
    const std::string name = command->get_name();
    commands.push_back(name);
    facts.Add(*command);
    const std::string options = AllNames(*command, true);
    std::vector<std::string> own;
    for (const CLI::App* sub : Commands(*command)) {
      own.push_back(sub->get_name());
      facts.AddOptions(*sub);
    }
    if (!own.empty()) {
      absl::StrAppend(&facts.arguments, "          ", name, ":0) words=\"", absl::StrJoin(own, " "),
                      "\" ;;\n");
      facts.named.push_back(name + ":1");
    }
    absl::StrAppend(&facts.options, "          ", name, ") words=\"", options, " ", globals,
                    "\" ;;\n");
  }
  absl::StrAppend(&facts.options, "          *) words=\"", globals, "\" ;;\n");
  std::string values;
  for (const auto& [name, words] : facts.choices) {
    absl::StrAppend(&values, "    ", name, ") words=\"", words, "\" ;;\n");
  }
  return absl::StrReplaceAll(kScript, {{"@TAKE_VALUE@", absl::StrJoin(facts.take_value, "|")},
                                       {"@VALUES@", values},
                                       {"@OPTIONS@", facts.options},
                                       {"@COMMANDS@", absl::StrJoin(commands, " ")},
                                       {"@NAMED@", absl::StrJoin(facts.named, "|")},
                                       {"@ARGUMENTS@", facts.arguments}});
}

}  // namespace vexact::client
