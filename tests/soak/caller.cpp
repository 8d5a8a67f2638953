#include "tests/soak/caller.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <thread>
#include <utility>

#include "client/library/convert.h"
#include "tests/crash/text.h"

namespace vexact::soak {
namespace {

using client::FromProto;
using client::Id;
using crash::Text;
using std::chrono::microseconds;
using testing::PatientContext;

constexpr auto kCancelled = grpc::CANCELLED;
constexpr auto kLate = grpc::DEADLINE_EXCEEDED;
constexpr auto kMissing = grpc::NOT_FOUND;

// A call that is given up within 4 ms, by its deadline or by cancelling it: some have not begun by
// then, some have ended.
struct Hasty {
  explicit Hasty(Dice& dice) {
    const auto patience = microseconds(dice.Below(4'000));
    if (dice.OneIn(2)) {
      context.set_deadline(std::chrono::system_clock::now() + patience);
      return;
    }
    canceller = std::jthread([this, patience] {
      std::this_thread::sleep_for(patience);
      context.TryCancel();
    });
  }

  grpc::ClientContext context;
  std::jthread canceller;
};

}  // namespace

Caller::Caller(Session& session, uint64_t seed)
    : session_(session), server_(session.server), dice_(seed) {}

void Caller::Act() {
  struct Choice {
    uint32_t weight;
    void (Caller::*act)();
  };
  static constexpr Choice kChoices[] = {
      {50, &Caller::Search},      {8, &Caller::SearchHastily},     {6, &Caller::SearchRestored},
      {26, &Caller::Upsert},      {2, &Caller::BulkUpsert},        {12, &Caller::Delete},
      {2, &Caller::WriteHastily}, {1, &Caller::BulkUpsertHastily}, {6, &Caller::SetMetric},
      {8, &Caller::Get},          {4, &Caller::ScrollTwoPages},    {4, &Caller::Describe},
      {2, &Caller::Compare},      {8, &Caller::BeRefused},         {1, &Caller::AskServer},
  };
  static constexpr uint32_t kWeights =
      std::accumulate(std::begin(kChoices), std::end(kChoices), uint32_t{0},
                      [](uint32_t sum, const Choice& choice) { return sum + choice.weight; });
  uint32_t die = dice_.Below(kWeights);
  for (const Choice& choice : kChoices) {
    if (die < choice.weight) return (this->*choice.act)();
    die -= choice.weight;
  }
}

void Caller::Load() {
  constexpr uint32_t kBatch = 500;
  for (size_t c = 0; c < Plans().size(); ++c) {
    for (uint32_t first = 0; first < Plans()[c].ids * 3 / 4; first += kBatch) {
      Write write{.collection = c};
      const uint32_t end = std::min(first + kBatch, Plans()[c].ids * 3 / 4);
      for (uint32_t i = first; i < end; ++i) write.rows.push_back({IdOf(i), dice_.Vector(c)});
      PatientContext context;
      const uint64_t since = session_.ledgers[c].seen();
      if (session_.Ended("upsert", Send(context, write))) Done(write, since);
    }
  }
}

void Caller::Search() {
  const size_t c = dice_.Collection();
  v1::SearchRequest request = dice_.Search(c);
  const bool certain = std::ranges::all_of(request.queries(), [](const v1::Query& query) {
    return !query.has_id() || (query.id().has_number() && query.id().number() < kAnchors);
  });
  v1::SearchResponse answer;
  const uint64_t since = session_.ledgers[c].seen();
  const grpc::Status status = server_.Search(request, &answer);
  const bool ok = certain ? session_.Ended("search", status)
                          : session_.Ended("search of an id", status, {kMissing});
  if (!ok) return;
  session_.Count("queries", "answered", static_cast<uint64_t>(request.queries_size()));
  session_.ledgers[c].Read(answer.sequence(), since,
                           [request, answer](const Model& m) { return m.Check(request, answer); });
}

void Caller::SearchHastily() {
  const size_t c = dice_.Collection();
  const v1::SearchRequest request = dice_.Search(c);
  v1::SearchResponse answer;
  const uint64_t since = session_.ledgers[c].seen();
  Hasty hasty(dice_);
  const grpc::Status status = server_.search->Search(&hasty.context, request, &answer);
  if (!session_.Ended("hasty search", status, {kCancelled, kLate, kMissing})) return;
  session_.ledgers[c].Read(answer.sequence(), since,
                           [request, answer](const Model& m) { return m.Check(request, answer); });
}

void Caller::SearchRestored() {
  const auto restored = session_.restored();
  if (restored == nullptr) return;
  v1::SearchRequest request = dice_.Search(restored->collection);
  request.set_collection(restored->name);
  v1::SearchResponse answer;
  const grpc::Status status = server_.Search(request, &answer);
  // It may be deleted meanwhile.
  if (!session_.Ended("search of what is restored", status, {kMissing})) return;
  if (answer.sequence() != restored->sequence) session_.Note(restored->name, "it has changed");
  session_.ledgers[restored->collection].Read(
      answer.sequence(), 0, [request, answer](const Model& m) { return m.Check(request, answer); });
}

grpc::Status Caller::Send(grpc::ClientContext& context, Write& write) {
  if (write.ids.empty()) {
    return server_.points->Upsert(&context, write.UpsertRequest(dice_), &write.upserted);
  }
  return server_.points->DeletePoints(&context, write.DeleteRequest(), &write.deleted);
}

void Caller::Done(const Write& write, uint64_t since) {
  Ledger& ledger = session_.ledgers[write.collection];
  if (write.ids.empty() || write.deleted.deleted() > 0) {
    return ledger.Write(write.sequence(), write.Acknowledged());
  }
  ledger.Read(write.sequence(), since,
              [ids = write.ids](const Model& model) { return model.CheckMissing(ids); });
}

void Caller::Upsert() {
  Write write = dice_.Upsert(dice_.Collection());
  const uint64_t since = session_.ledgers[write.collection].seen();
  PatientContext context;
  if (session_.Ended("upsert", Send(context, write))) Done(write, since);
}

void Caller::Delete() {
  Write write = dice_.Delete(dice_.Collection());
  const uint64_t since = session_.ledgers[write.collection].seen();
  PatientContext context;
  if (session_.Ended("delete", Send(context, write))) Done(write, since);
}

void Caller::WriteHastily() {
  const size_t c = dice_.Collection();
  session_.ledgers[c].SendUnplaced([&]() -> std::optional<Unplaced> {
    Write write = dice_.OneIn(3) ? dice_.Delete(c) : dice_.Upsert(c);
    const uint64_t since = session_.ledgers[c].seen();
    Hasty hasty(dice_);
    if (!session_.Ended("hasty write", Send(hasty.context, write), {kCancelled, kLate})) {
      return Unplaced{.writes = {write.Unanswered()}, .without_effect = {}};
    }
    Done(write, since);
    return std::nullopt;
  });
}

size_t Caller::Stream(grpc::ClientContext& context, std::vector<Write>& writes, size_t cancel_after,
                      grpc::Status& status) {
  const auto stream = server_.points->BulkUpsert(&context);
  for (size_t i = 0; i < writes.size(); ++i) {
    if (i == cancel_after) context.TryCancel();
    if (!stream->Write(writes[i].UpsertRequest(dice_))) break;
  }
  stream->WritesDone();
  size_t acknowledged = 0;
  for (v1::BulkUpsertResponse answer; stream->Read(&answer); ++acknowledged) {
    if (acknowledged == writes.size()) break;
    if (answer.acknowledged() != acknowledged + 1) session_.Note("stream", "it counts otherwise");
    writes[acknowledged].upserted = answer.result();
    Done(writes[acknowledged], 0);
  }
  status = stream->Finish();
  return acknowledged;
}

void Caller::BulkUpsert() {
  const size_t c = dice_.Collection();
  std::vector<Write> writes;
  for (uint32_t n = 2 + dice_.Below(5); n > 0; --n) writes.push_back(dice_.Upsert(c));
  // Now and then with one that must be refused, which ends the stream.
  size_t accepted = writes.size();
  if (dice_.OneIn(3)) {
    accepted = dice_.Below(static_cast<uint32_t>(writes.size()));
    writes[accepted].rows.back().vector.back() = std::numeric_limits<float>::quiet_NaN();
  }
  PatientContext context;
  grpc::Status status;
  const size_t acknowledged = Stream(context, writes, writes.size(), status);
  const bool whole = accepted == writes.size();
  const bool ok = session_.Ended("stream", status, {grpc::INVALID_ARGUMENT});
  if (ok != whole || acknowledged != accepted) {
    session_.Note("stream", Text(acknowledged, " of ", writes.size(), " acknowledged, but not ",
                                 accepted, "; it ended with ", status.error_code()));
  }
}

void Caller::BulkUpsertHastily() {
  const size_t c = dice_.Collection();
  session_.ledgers[c].SendUnplaced([&]() -> std::optional<Unplaced> {
    std::vector<Write> writes;
    for (int n = 0; n < 4; ++n) writes.push_back(dice_.Upsert(c));
    grpc::ClientContext context;
    grpc::Status status;
    const size_t acknowledged =
        Stream(context, writes, 1 + dice_.Below(static_cast<uint32_t>(writes.size())), status);
    if (session_.Ended("hasty stream", status, {kCancelled})) return std::nullopt;
    Unplaced unplaced;
    for (size_t i = acknowledged; i < writes.size(); ++i) {
      unplaced.writes.push_back(writes[i].Unanswered());
    }
    return unplaced;
  });
}

void Caller::SetMetric() {
  const size_t c = dice_.Collection();
  session_.ledgers[c].SendUnplaced([&]() -> std::optional<Unplaced> {
    const client::Metric metric = dice_.Metric();
    v1::SetMetricRequest request;
    request.set_name(NameOf(c));
    request.set_metric(client::ToProto(metric));
    v1::SetMetricResponse answer;
    PatientContext context;
    const uint64_t since = session_.ledgers[c].seen();
    const grpc::Status status = server_.collections->SetMetric(&context, request, &answer);
    if (!session_.Ended("set metric", status)) return std::nullopt;
    const v1::Collection& told = answer.collection();
    session_.ledgers[c].Read(told.sequence(), since,
                             [told](const Model& model) { return model.Check(told); });
    const auto apply = [metric](Model& model) {
      std::string defect;
      if (model.CheckMetric(metric).empty()) defect = "a change to the same metric took a number";
      model.SetMetric(metric);
      return defect;
    };
    return Unplaced{
        .writes = {apply},
        .until = told.sequence(),
        .without_effect = [metric](const Model& model) { return model.CheckMetric(metric); }};
  });
}

void Caller::Get() {
  const size_t c = dice_.Collection();
  const bool certain = !dice_.OneIn(3);  // that they are there
  const v1::GetPointsRequest request = dice_.Get(c, certain);
  v1::GetPointsResponse answer;
  const uint64_t since = session_.ledgers[c].seen();
  const grpc::Status status = server_.Get(request, &answer);
  if (!(certain ? session_.Ended("get", status)
                : session_.Ended("get of any", status, {kMissing}))) {
    return;
  }
  session_.ledgers[c].Read(answer.sequence(), since,
                           [request, answer](const Model& m) { return m.Check(request, answer); });
}

v1::ScrollPointsRequest Caller::ScrollRequest(const std::string& name, uint32_t page_size) {
  v1::ScrollPointsRequest request;
  request.set_collection(name);
  request.set_page_size(page_size);
  request.set_with_vectors(dice_.OneIn(2));
  return request;
}

bool Caller::ScrollPage(size_t collection, v1::ScrollPointsRequest& request,
                        std::optional<Id>& after) {
  v1::ScrollPointsResponse answer;
  const bool restored = request.collection() != NameOf(collection);
  const uint64_t since = restored ? 0 : session_.ledgers[collection].seen();
  if (!session_.Ended("scroll", server_.Scroll(request, &answer))) return false;
  session_.ledgers[collection].Read(
      answer.sequence(), since,
      [request, answer, after](const Model& m) { return m.Check(request, answer, after); });
  request.set_page_token(answer.next_page_token());
  if (answer.points_size() > 0) {
    after = FromProto(answer.points(answer.points_size() - 1).id());
  }
  return !answer.next_page_token().empty();
}

void Caller::ScrollTwoPages() {
  const size_t c = dice_.Collection();
  v1::ScrollPointsRequest request = ScrollRequest(NameOf(c), 1 + dice_.Below(200));
  std::optional<Id> after;
  if (ScrollPage(c, request, after)) ScrollPage(c, request, after);
}

void Caller::ScrollAll(size_t collection, const std::string& name) {
  v1::ScrollPointsRequest request = ScrollRequest(name, 1'000);
  request.set_with_vectors(true);
  std::optional<Id> after;
  while (ScrollPage(collection, request, after)) {
  }
}

void Caller::Describe() {
  const size_t c = dice_.Collection();
  const uint64_t since = session_.ledgers[c].seen();
  if (dice_.OneIn(2)) {
    v1::GetCollectionResponse answer;
    if (!session_.Ended("describe", server_.Describe(NameOf(c), &answer))) return;
    const v1::Collection& told = answer.collection();
    session_.ledgers[c].Read(told.sequence(), since,
                             [told](const Model& model) { return model.Check(told); });
    return;
  }
  v1::CountPointsRequest request;
  request.set_collection(NameOf(c));
  v1::CountPointsResponse answer;
  PatientContext context;
  if (!session_.Ended("count", server_.points->CountPoints(&context, request, &answer))) return;
  session_.ledgers[c].Read(answer.sequence(), since, [rows = answer.rows()](const Model& model) {
    return model.CheckRows(rows);
  });
}

void Caller::Compare() {
  const size_t c = dice_.Collection();
  const std::vector<float> a = dice_.Vector(c), b = dice_.Vector(c);
  v1::CompareRequest request;
  *request.mutable_a()->mutable_vector() = dice_.Form(a);
  *request.mutable_b()->mutable_vector() = dice_.Form(b);
  v1::CompareResponse answer;
  if (!session_.Ended("compare", server_.Compare(request, &answer))) return;
  if (answer.dot_product() != crash::Score(client::Metric::kInnerProduct, a, b) ||
      answer.cosine_similarity() != crash::Score(client::Metric::kCosine, a, b) ||
      answer.squared_distance() != crash::Score(client::Metric::kL2, a, b)) {
    session_.Note("compare", "its figures are not those of the reference score");
  }
}

void Caller::BeRefused() {
  const size_t c = dice_.Collection();
  v1::SearchRequest search = dice_.Search(c);
  grpc::StatusCode expected = grpc::INVALID_ARGUMENT;
  grpc::Status status;
  switch (dice_.Below(8)) {
    case 0:
      search.set_k(dice_.OneIn(2) ? 0 : 10'001);
      status = server_.Search(search);
      break;
    case 1:
      search.clear_queries();
      status = server_.Search(search);
      break;
    case 2:
      search.clear_queries();
      *search.add_queries() = testing::ByVector({1, 2, 3});
      status = server_.Search(search);
      break;
    case 3:
      expected = grpc::NOT_FOUND;
      search.set_collection("nowhere");
      status = server_.Search(search);
      break;
    case 4: {
      Write write = dice_.Upsert(c);
      write.rows.back().vector.front() = testing::kInfinity;
      status = server_.Upsert(write.UpsertRequest(dice_));
      break;
    }
    case 5: {
      v1::DeletePointsRequest twice = dice_.Delete(c).DeleteRequest();
      *twice.add_ids() = twice.ids(0);
      status = server_.Delete(twice);
      break;
    }
    case 6: {
      v1::ScrollPointsRequest scroll = ScrollRequest(NameOf(c), 10);
      scroll.set_page_token("no token");
      status = server_.Scroll(scroll);
      break;
    }
    default:
      status = server_.CallRaw("/vexact.v1.Points/Upsert", "\xff\xff no message");
  }
  session_.Count("malformed",
                 absl::StatusCodeToString(static_cast<absl::StatusCode>(status.error_code())));
  if (status.error_code() != expected) {
    session_.Note("malformed", Text("it was not refused but ", status.error_code(), ": ",
                                    status.error_message()));
  }
}

void Caller::AskServer() {
  v1::GetInfoResponse info;
  session_.Ended("info", server_.Info(&info));
  v1::GetStatisticsResponse statistics;
  PatientContext context;
  session_.Ended("statistics", server_.server->GetStatistics(&context, {}, &statistics));
}

}  // namespace vexact::soak
