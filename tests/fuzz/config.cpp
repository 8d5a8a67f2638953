// The configuration: a file, and behind a zero byte, one a line, arguments.
#include "server/config.h"

#include <algorithm>

#include "absl/strings/str_split.h"
#include "tests/fuzz/target.h"

namespace vexact::fuzz {

using std::string_literals::operator""s;

std::vector<std::string> Seeds() {
  return {
      "listen = \"127.0.0.1:7700\"\nthreads = 2\nin-memory = true\n",
      "data-dir = '/data'\ndurability = \"async\"\nlog-level = \"warning\"\nengine = \"faiss\"\n",
      "max-message-bytes = 1048576\ndrain-seconds = 5\nslow-query-ms = 0\n"s,
      "\0--listen\n[::1]:0\n--threads=3\n--in-memory"s,
      "\0--data-dir\nx\n--verify"s,
      "\0--help"s,
      "\0--version"s,
      "threads = 'two'\n",
      "[server]\nlisten = 3\n",
      "# nothing\nunknown = [1, {a = 2}]\n",
  };
}

void Try(std::string_view input) {
  const size_t end = std::min(input.find('\0'), input.size());
  const MemoryFile file(input.substr(0, end));
  std::vector<std::string> arguments = {"--config", file.path()};
  if (end < input.size()) {
    const std::vector<std::string> more = absl::StrSplit(std::string(input.substr(end + 1)), '\n');
    arguments.insert(arguments.end(), more.begin(), more.end());
  }
  const auto none = [](const std::string&) { return std::nullopt; };
  const auto read = server::ReadConfig(arguments, none);
  if (!read.ok()) {
    Require(absl::IsInvalidArgument(read.status()), "what cannot be read is the caller's mistake");
    Require(!read.status().message().empty(), "the error says what is wrong");
    return;
  }
  const auto* config = std::get_if<server::Config>(&*read);
  if (config == nullptr) return;
  Require(config->threads >= 1, "there are threads");
  Require(config->max_message_bytes >= 1, "a message may have bytes");
  Require(config->drain_seconds >= 0 && config->slow_query_ms >= 0, "times are not negative");
}

}  // namespace vexact::fuzz
