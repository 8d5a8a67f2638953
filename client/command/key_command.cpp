// key create: a new API key for a person or a program.
#include <fcntl.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iostream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/command/command.h"
#include "client/command/format.h"

namespace vexact::client {
namespace {

// As many random bytes as the hash has: nobody finds the key of a hash by trying.
constexpr size_t kKeyBytes = 32;
constexpr size_t kMaxNameLength = 128;

// The server's.
constexpr int64_t kMaxRate = 1'000'000;

struct KeyOptions {
  std::string name, role, file;
  std::vector<std::string> collections;
  std::optional<int64_t> rate;
};

// The server's rule for names.
std::string CheckName(const std::string& name) {
  const auto allowed = [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
  };
  if (!name.empty() && name.size() <= kMaxNameLength && absl::ascii_isalnum(name.front()) &&
      std::ranges::all_of(name, allowed)) {
    return "";
  }
  return absl::StrCat("\"", Printable(name), "\" is not a name: up to ", kMaxNameLength,
                      " characters, a letter or digit, then letters, digits, '.', '_' or '-'");
}

std::string Hex(const unsigned char* bytes, size_t size) {
  return absl::BytesToHexString(std::string(reinterpret_cast<const char*>(bytes), size));
}

// "vx_" and hexadecimal digits; empty when the system has no random numbers.
std::string NewKey() {
  std::array<unsigned char, kKeyBytes> bytes;
  if (RAND_bytes(bytes.data(), bytes.size()) != 1) return "";
  return "vx_" + Hex(bytes.data(), bytes.size());
}

// What the server keeps of a key: a line of its file.
std::string LineOf(const KeyOptions& options, const std::string& key) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> hash;
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), hash.data());
  const std::string collections =
      options.collections.empty() ? "*" : absl::StrJoin(options.collections, ",");
  const std::string rate = options.rate ? absl::StrCat(" rate:", *options.rate) : "";
  return absl::StrCat(options.name, " ", options.role, " ", collections,
                      " sha256:", Hex(hash.data(), hash.size()), rate);
}

// Adds a line to a file of keys, which is made for its owner alone where it is missing. The error,
// if any.
std::string Append(const KeyOptions& options, const std::string& line) {
  std::string text = line + "\n";
  std::ifstream before(options.file);
  for (std::string old; std::getline(before, old);) {
    if (old.starts_with(options.name + " ")) {
      return absl::StrCat(options.file, " has a key \"", options.name, "\" already");
    }
    if (before.eof() && !old.empty()) text = "\n" + text;
  }
  const int fd =
      open(options.file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, S_IRUSR | S_IWUSR);
  const bool wrote =
      fd >= 0 && write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const std::string error = std::strerror(errno);
  if (fd >= 0) close(fd);
  return wrote ? "" : absl::StrCat("cannot write ", options.file, ": ", error);
}

int RunCreate(const Globals& globals, const KeyOptions& options) {
  const std::string key = NewKey();
  if (key.empty()) return BadInput("the system gives no random numbers; no key was made");
  const std::string line = LineOf(options, key);
  if (!options.file.empty()) {
    if (const std::string error = Append(options, line); !error.empty()) return BadInput(error);
  }
  if (globals.json) {
    Print({{"name", options.name},
           {"role", options.role},
           {"collections", options.collections},
           {"requests_per_second", options.rate ? Json(*options.rate) : Json()},
           {"key", key},
           {"line", line}});
    return kDone;
  }
  std::cout << key << '\n';
  if (options.file.empty()) std::cout << line << '\n';
  std::cerr << "The key is shown this once; who asks has it in VEXACT_API_KEY or --api-key-file.\n"
            << (options.file.empty() ? "The line, which tells nobody the key, is for the file of "
                                       "vexactd --api-keys-file.\n"
                                     : "A running server learns of it by SIGHUP.\n");
  return kDone;
}

}  // namespace

void AddKeyCommands(Program& program) {
  CLI::App* key = program.app.add_subcommand("key", "API keys: make a new one");
  key->require_subcommand(1);
  auto options = std::make_shared<KeyOptions>();
  CLI::App* create = AddCommand<KeyOptions>(
      program, *key, "create",
      "Make a new API key, and the line by which a server knows it; asks no server",
      "  vexact key create reports --role read --collection docs\n"
      "  vexact key create web --role read --rate 200 --append /etc/vexact/keys > web.key\n"
      "  vexact key create ops --role admin --append /etc/vexact/keys > ops.key",
      options, RunCreate);
  const CLI::Validator name(CheckName, "");
  create->add_option("name", options->name, "Whose key it is, for messages")
      ->required()
      ->check(name)
      ->type_name("NAME");
  create
      ->add_option("--role", options->role,
                   "read: searches and lists; write: points besides; admin: everything")
      ->required()
      ->check(OneOf({"read", "write", "admin"}))
      ->type_name("read|write|admin");
  create
      ->add_option("--collection", options->collections,
                   "A collection that it is good for; may be repeated (default: all)")
      ->check(name)
      ->type_name("NAME");
  create
      ->add_option("--rate", options->rate,
                   "Requests that it may make in a second; 0: no limit (default: the server's)")
      ->check(CLI::Range(int64_t{0}, kMaxRate))
      ->type_name("N");
  create
      ->add_option("--append", options->file, "Add the line to this file; stdout has the key alone")
      ->type_name("FILE");
}

}  // namespace vexact::client
