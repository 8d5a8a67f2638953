// Stores three colours and finds the two that are nearest to a fourth.
#include <vexact/client.h>

#include <iostream>
#include <vector>

int Fail(const absl::Status& status) {
  std::cerr << "error: " << status << '\n';
  return 1;
}

int main(int argc, char** argv) {
  const vexact::client::Client client(argc > 1 ? argv[1] : "127.0.0.1:7700");

  const auto colours = client.CreateCollection(
      {.name = "colours", .dimension = 3, .metric = vexact::client::Metric::kL2});
  if (!colours.ok()) return Fail(colours.status());

  const auto written = client.Upsert(
      "colours", {{"red", {255, 0, 0}}, {"orange", {255, 165, 0}}, {"blue", {0, 0, 255}}});
  if (!written.ok()) return Fail(written.status());

  const std::vector<float> tomato = {255, 99, 71};
  const auto hits = client.Search("colours", tomato, {.k = 2}, {.timeout = absl::Seconds(5)});
  if (!hits.ok()) return Fail(hits.status());
  for (const auto& hit : *hits) std::cout << hit.id << " at " << hit.distance << '\n';
}
