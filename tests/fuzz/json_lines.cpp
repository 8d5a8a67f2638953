// The reader of points as lines of JSON.
#include "client/command/json_lines_reader.h"

#include "tests/fuzz/target.h"

namespace vexact::fuzz {

std::vector<std::string> Seeds() {
  return {
      "{\"id\": 1, \"vector\": [0.1, -2e3, 3]}\n{\"id\": \"vim\", \"vector\": [0, 1e-45, -0.0]}\n",
      "\n  \r\n{\"vector\": [1], \"id\": 18446744073709551615}\r\n",
      "{\"id\": \"\\u00e9\\n\", \"vector\": []}",
      "{\"id\": -1, \"vector\": [1]}\n",
      "{\"id\": 1, \"vector\": [1e39]}\n",
      "{\"id\": 1, \"vector\": [1], \"more\": {\"a\": [null, true]}}\n",
      "[1, 2]\n",
  };
}

void Try(std::string_view input) {
  const MemoryFile file(input);
  auto reader = client::JsonLinesReader::Open(file.path());
  Require(reader.ok(), "a file that is there is opened");
  uint64_t line = 0;
  for (client::Point point;;) {
    const auto more = reader->Next(&point);
    if (!more.ok()) {
      Require(absl::IsInvalidArgument(more.status()), "a bad line is the caller's mistake");
      Require(!more.status().message().empty(), "the error says what is wrong");
      return;
    }
    if (!*more) return;
    Require(reader->line() > line, "every point has a line of its own");
    line = reader->line();
  }
}

}  // namespace vexact::fuzz
