// The file of API keys.
#include "server/api_keys.h"

#include "tests/fuzz/target.h"

namespace vexact::fuzz {
namespace {

const std::string kHash = "sha256:" + std::string(64, 'a');

}  // namespace

std::vector<std::string> Seeds() {
  return {
      "# whose key, its role, what it is good for\nann read * " + kHash + "\n",
      "ann read docs,words " + kHash + "\r\nbob admin * sha256:" + std::string(64, '1') + "\n\n",
      "ann write * " + kHash + ";bob read docs sha256:" + std::string(64, 'B') + " # b",
      "ann read * vx_0123456789",
      "ann owner * " + kHash,
      "",
  };
}

void Try(std::string_view input) {
  const auto keys = server::ApiKeys::Parse(input);
  if (!keys.ok()) {
    Require(absl::IsInvalidArgument(keys.status()),
            "what cannot be read is the operator's mistake");
    Require(!keys.status().message().empty(), "the error says what is wrong");
    return;
  }
  Require(keys->size() >= 1 && keys->size() <= server::kMaxApiKeys, "there are keys, not too many");
  Require(keys->Find("") == nullptr && keys->Find(input) == nullptr, "nobody has guessed a key");
}

}  // namespace vexact::fuzz
