#include "server/listener.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string>

namespace vexact::server {
namespace {

TEST(OpenSocketsTest, CountsThoseThatNobodyHasClosed) {
  OpenSockets sockets;
  std::array<int, 2> pair;
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair.data()), 0);
  for (const int fd : pair) sockets.Add(fd);
  EXPECT_EQ(sockets.Count(), 2);
  close(pair[0]);
  EXPECT_EQ(sockets.AtMost(), 2) << "before anybody has looked";
  EXPECT_EQ(sockets.Count(), 1);
  close(pair[1]);
  // The numbers of both, for other things.
  const int file = open("/dev/null", O_RDONLY);
  const int other = socket(AF_UNIX, SOCK_STREAM, 0);
  EXPECT_EQ(sockets.Count(), 0);
  sockets.Add(other);
  EXPECT_EQ(sockets.Count(), 1);
  close(file);
  close(other);
}

TEST(ListenerTest, TakesOnePortAtEveryAddressOfTheHost) {
  const auto listener = Listener::Open("localhost:0");
  ASSERT_TRUE(listener.ok()) << listener.status();
  const std::string port = std::to_string((*listener)->port());
  EXPECT_NE(port, "0");
  const auto second = Listener::Open("localhost:" + port);
  EXPECT_EQ(second.status(), absl::UnavailableError("localhost:" + port +
                                                    " is in use by another process; choose another "
                                                    "with --listen"));
}

}  // namespace
}  // namespace vexact::server
