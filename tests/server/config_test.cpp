#include "server/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "server/options.h"
#include "tests/support/files.h"

namespace vexact::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

class ConfigTest : public ::testing::Test {
 protected:
  // Reads flags and environment_.
  absl::StatusOr<std::variant<Config, Information>> Read(const std::vector<std::string>& flags) {
    return ReadConfig(flags, [this](const std::string& name) -> std::optional<std::string> {
      const auto found = environment_.find(name);
      if (found == environment_.end()) return std::nullopt;
      return found->second;
    });
  }
  Config Good(const std::vector<std::string>& flags) {
    const auto read = Read(flags);
    EXPECT_TRUE(read.ok()) << read.status();
    return read.ok() ? std::get<Config>(*read) : Config();
  }
  // What is said to a configuration that is refused.
  std::string Refusal(const std::vector<std::string>& flags) {
    const auto read = Read(flags);
    EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(read.status().message());
  }
  std::string Text(const std::vector<std::string>& flags) {
    const auto read = Read(flags);
    EXPECT_TRUE(read.ok()) << read.status();
    return read.ok() ? std::get<Information>(*read).text : "";
  }
  std::string File(const std::string& text) {
    const std::string path = folder_.path() / "vexactd.toml";
    std::ofstream(path) << text;
    return path;
  }

  vexact::testing::TempDir folder_;
  std::map<std::string, std::string> environment_;
};

TEST_F(ConfigTest, HasDefaults) {
  const Config config = Good({});
  EXPECT_EQ(config.task, Task::kServe);
  EXPECT_EQ(config.listen, "127.0.0.1:7700");
  EXPECT_EQ(config.data_dir, "vexact-data");
  EXPECT_FALSE(config.in_memory);
  EXPECT_EQ(config.durability, Durability::kFsync);
  EXPECT_EQ(config.threads, AvailableProcessors());
  EXPECT_EQ(config.engine, EngineKind::kScan);
  EXPECT_EQ(config.max_message_bytes, 67'108'864);
  EXPECT_EQ(config.drain_seconds, 10);
  EXPECT_EQ(config.log_level, "info");
}

TEST_F(ConfigTest, ReadsEveryOptionFromEverySource) {
  const std::string file = File(
      "listen = \"[::1]:1\"\nthreads = 3\nengine = \"faiss\"\nmax_message_bytes = 1_048_576\n"
      "drain_seconds = 0\nlog_level = \"debug\"\ndata_dir = \"/d\"\ndurability = \"async\"\n");
  const auto check = [](const Config& config) {
    EXPECT_EQ(config.listen, "[::1]:1");
    EXPECT_EQ(config.threads, 3);
    EXPECT_EQ(config.engine, EngineKind::kFaiss);
    EXPECT_EQ(config.max_message_bytes, 1'048'576);
    EXPECT_EQ(config.drain_seconds, 0);
    EXPECT_EQ(config.log_level, "debug");
    EXPECT_EQ(config.data_dir, "/d");
    EXPECT_EQ(config.durability, Durability::kAsync);
  };
  check(Good({"--config", file}));
  check(Good({"--listen=[::1]:1", "--threads", "3", "--engine", "faiss", "--max-message-bytes",
              "1048576", "--drain-seconds", "0", "--log-level", "debug", "--data-dir", "/d",
              "--durability=async"}));
  environment_ = {{"VEXACT_LISTEN", "[::1]:1"},  {"VEXACT_THREADS", "3"},
                  {"VEXACT_ENGINE", "faiss"},    {"VEXACT_MAX_MESSAGE_BYTES", "1048576"},
                  {"VEXACT_DRAIN_SECONDS", "0"}, {"VEXACT_LOG_LEVEL", "debug"},
                  {"VEXACT_DATA_DIR", "/d"},     {"VEXACT_DURABILITY", "async"}};
  check(Good({}));
  environment_ = {{"VEXACT_CONFIG", file}};
  check(Good({}));
}

TEST_F(ConfigTest, LaterSourcesWin) {
  const std::string file = File("threads = 2\ndrain_seconds = 2\nmax_message_bytes = 2222\n");
  environment_ = {{"VEXACT_THREADS", "3"}, {"VEXACT_DRAIN_SECONDS", "3"}};
  const Config config = Good({"--config", file, "--threads", "4"});
  EXPECT_EQ(config.threads, 4);
  EXPECT_EQ(config.drain_seconds, 3);
  EXPECT_EQ(config.max_message_bytes, 2222);
  EXPECT_EQ(config.file, file);
  EXPECT_EQ(Good({"--threads", "5", "--threads", "6"}).threads, 6);
}

TEST_F(ConfigTest, SaysWhereEachValueStands) {
  const std::string file = File("\nthreads = 2\nengine = \"faiss\"\nin_memory = true\n");
  environment_ = {{"VEXACT_ENGINE", "reference"}, {"VEXACT_LOG_LEVEL", "debug"}};
  const Config config = Good({"--config", file, "--log-level", "error", "--data-dir", "/d"});
  EXPECT_THAT(config.sources,
              UnorderedElementsAre(Pair("threads", file + ":2"), Pair("engine", "VEXACT_ENGINE"),
                                   Pair("log_level", "--log-level"), Pair("data_dir", "--data-dir"),
                                   // Memory alone is given up for the directory.
                                   Pair("in_memory", "--data-dir")));
}

TEST_F(ConfigTest, WritesEveryValueAsItReadsIt) {
  const Config config =
      Good({"--listen=[::1]:1", "--threads", "3", "--engine", "faiss", "--durability=async",
            "--in-memory", "--log-level", "debug", "--api-keys-file", "/k"});
  Config copy;
  for (const Option& option : Options()) {
    const std::string value = option.value.get(config);
    if (value.empty()) continue;  // not given
    ASSERT_TRUE(option.value.set(copy, value).ok()) << option.key;
    EXPECT_EQ(option.value.get(copy), value) << option.key;
  }
  EXPECT_EQ(copy.listen, "[::1]:1");
  EXPECT_EQ(copy.threads, 3);
  EXPECT_EQ(copy.api_keys_file, "/k");
  EXPECT_EQ(copy.durability, Durability::kAsync);
  EXPECT_TRUE(copy.in_memory);
}

TEST_F(ConfigTest, MemoryAloneIsASwitchInEverySource) {
  EXPECT_TRUE(Good({"--in-memory"}).in_memory);
  EXPECT_TRUE(Good({"--config", File("in_memory = true\n")}).in_memory);
  environment_ = {{"VEXACT_IN_MEMORY", "true"}};
  EXPECT_TRUE(Good({}).in_memory);
  environment_ = {{"VEXACT_IN_MEMORY", "false"}};
  EXPECT_FALSE(Good({}).in_memory);
  environment_ = {{"VEXACT_IN_MEMORY", "yes"}};
  EXPECT_EQ(Refusal({}), "VEXACT_IN_MEMORY: \"yes\" is not true or false");
  environment_ = {};
  const std::string path = File("in_memory = \"true\"\n");
  EXPECT_EQ(Refusal({"--config", path}), path + ":1: in_memory: must be a boolean");
}

TEST_F(ConfigTest, ADirectoryAndMemoryAloneContradictEachOtherOnlyWithinOneSource) {
  EXPECT_EQ(Refusal({"--in-memory", "--data-dir", "/d"}),
            "--in-memory contradicts --data-dir: collections live either in a directory or in "
            "memory alone");
  environment_ = {{"VEXACT_IN_MEMORY", "true"}, {"VEXACT_DATA_DIR", "/d"}};
  EXPECT_THAT(Refusal({}), HasSubstr("VEXACT_IN_MEMORY contradicts VEXACT_DATA_DIR"));
  const std::string path = File("data_dir = \"/d\"\nin_memory = true\n");
  EXPECT_THAT(Refusal({"--config", path}),
              HasSubstr(path + ":2: in_memory contradicts " + path + ":1: data_dir"));
  // Of two sources the later one is meant.
  environment_ = {{"VEXACT_DATA_DIR", "/d"}};
  EXPECT_TRUE(Good({"--in-memory"}).in_memory);
  environment_ = {{"VEXACT_IN_MEMORY", "true"}};
  EXPECT_FALSE(Good({"--data-dir", "/d"}).in_memory);
}

TEST_F(ConfigTest, KeysAreInAFileOrInTheEnvironment) {
  EXPECT_EQ(Good({}).api_keys, std::nullopt);
  EXPECT_EQ(Good({"--api-keys-file", "/k"}).api_keys_file, "/k");
  environment_ = {{"VEXACT_API_KEYS", "a read * sha256:0"}};
  EXPECT_EQ(Good({}).api_keys, "a read * sha256:0");
  EXPECT_EQ(Refusal({"--api-keys-file", "/k"}),
            "VEXACT_API_KEYS contradicts --api-keys-file: keys are either there or in a file");
  // Set but empty is no keys by mistake, and is not taken for none that were meant.
  environment_ = {{"VEXACT_API_KEYS", ""}};
  EXPECT_EQ(Good({}).api_keys, "");
}

TEST_F(ConfigTest, VerifiesOrRepairsADirectory) {
  EXPECT_EQ(Good({"--verify", "--data-dir", "/d"}).task, Task::kVerify);
  EXPECT_EQ(Good({"--repair"}).task, Task::kRepair);
  EXPECT_EQ(Refusal({"--verify", "--repair"}), "--repair contradicts --verify: choose one of them");
  EXPECT_THAT(Refusal({"--verify", "--in-memory"}), HasSubstr("--verify wants a data directory"));
}

TEST_F(ConfigTest, NamesTheSourceTheValueAndTheLimit) {
  EXPECT_EQ(Refusal({"--threads", "0"}), "--threads: \"0\" is not a whole number from 1 to 1024");
  EXPECT_EQ(Refusal({"--threads", "two"}),
            "--threads: \"two\" is not a whole number from 1 to 1024");
  EXPECT_EQ(Refusal({"--max-message-bytes", "2147483648"}),
            "--max-message-bytes: \"2147483648\" is not a whole number from 1024 to 2147483647");
  EXPECT_EQ(Refusal({"--drain-seconds", "-1"}),
            "--drain-seconds: \"-1\" is not a whole number from 0 to 3600");
  EXPECT_THAT(Refusal({"--engine", "fast"}), HasSubstr("--engine: \"fast\" is not an engine"));
  EXPECT_THAT(Refusal({"--log-level", "loud"}), HasSubstr("--log-level: \"loud\" is not a level"));
  EXPECT_EQ(Refusal({"--durability", "never"}),
            "--durability: \"never\" is not a durability; there are fsync and async");
  EXPECT_THAT(Refusal({"--data-dir", ""}), HasSubstr("--data-dir: \"\" is not a directory"));
  for (const char* listen : {"7700", "host", ":7700", "host:", "host:65536", "host:x"}) {
    EXPECT_THAT(Refusal({"--listen", listen}),
                HasSubstr(std::string("--listen: \"") + listen + "\" is not HOST:PORT"));
  }
  EXPECT_THAT(Refusal({"--port", "1"}), MatchesRegex(".*--port.*; vexactd --help lists .*"));
  EXPECT_THAT(Refusal({"--threads"}), HasSubstr("--threads"));
  environment_ = {{"VEXACT_DRAIN_SECONDS", "soon"}};
  EXPECT_EQ(Refusal({}), "VEXACT_DRAIN_SECONDS: \"soon\" is not a whole number from 0 to 3600");
}

TEST_F(ConfigTest, NamesTheLineOfTheFile) {
  const std::string path = File("threads = 1\nthread = 2\n");
  EXPECT_EQ(Refusal({"--config", path}),
            path + ":2: thread: there is no such option; vexactd --help lists them");
  File("\n\nthreads = 0\n");
  EXPECT_EQ(Refusal({"--config", path}),
            path + ":3: threads: \"0\" is not a whole number from 1 to 1024");
  File("threads = \"2\"\n");
  EXPECT_EQ(Refusal({"--config", path}), path + ":1: threads: must be a whole number");
  File("listen = 7700\n");
  EXPECT_EQ(Refusal({"--config", path}), path + ":1: listen: must be a string");
  File("threads = 1\nlisten = \"a:1\n");
  EXPECT_THAT(Refusal({"--config", path}), HasSubstr(path + ":2: "));
  EXPECT_EQ(Refusal({"--config", path + "x"}), path + "x: there is no such configuration file");
}

TEST_F(ConfigTest, InformsInsteadOfServing) {
  EXPECT_EQ(Good({"--version"}).task, Task::kVersion);
  EXPECT_EQ(Good({"--check-config"}).task, Task::kCheckConfig);
  const std::string help = Text({"--help"});
  for (const char* flag : {"--data-dir", "--in-memory", "--durability", "--verify", "--repair",
                           "--config", "--listen", "--threads", "--engine", "--max-message-bytes",
                           "--drain-seconds", "--log-level", "--version", "Examples:"}) {
    EXPECT_THAT(help, HasSubstr(flag));
  }
}

TEST(UnknownVariablesTest, FindsTypingErrorsOnly) {
  EXPECT_THAT(UnknownVariables({"HOME", "VEXACT_THREADS", "VEXACT_THREAD", "VEXACT_FORCE_ISA",
                                "VEXACT_SERVER", "VEXACT_CONFIG", "VEXACTLY"}),
              ElementsAre("VEXACT_THREAD"));
}

}  // namespace
}  // namespace vexact::server
