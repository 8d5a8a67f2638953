#include "tests/soak/dice.h"

#include <iterator>
#include <utility>

#include "client/library/convert.h"
#include "tests/crash/text.h"

namespace vexact::soak {

using client::Id;
using crash::Text;

const std::string& NameOf(size_t collection) { return Plans()[collection].spec.name; }

Id IdOf(uint32_t index) {
  if (index % 2 == 0) return index;
  return "row-" + std::to_string(index);
}

v1::Id MessageOf(const Id& id) {
  v1::Id message;
  client::ToProto(id, &message);
  return message;
}

v1::UpsertRequest Write::UpsertRequest(Dice& dice) const {
  std::vector<v1::Point> points;
  v1::UpsertRequest block;
  block.set_collection(NameOf(collection));
  for (const Row& row : rows) {
    if (as_block) {
      block.mutable_block()->add_numbers(row.id.number());
      block.mutable_block()->mutable_vectors()->append(
          reinterpret_cast<const char*>(row.vector.data()), row.vector.size() * sizeof(float));
    } else {
      points.push_back(testing::MakePoint(MessageOf(row.id), dice.Form(row.vector)));
    }
  }
  return as_block ? block : testing::Points(NameOf(collection), points);
}

v1::DeletePointsRequest Write::DeleteRequest() const {
  v1::DeletePointsRequest request;
  request.set_collection(NameOf(collection));
  for (const Id& id : ids) *request.add_ids() = MessageOf(id);
  return request;
}

Apply Write::Acknowledged() const {
  if (!ids.empty()) {
    return [ids = ids, told = deleted](Model& model) {
      const uint64_t there = model.Delete(ids);
      if (there == told.deleted() && ids.size() - there == told.missing()) return std::string();
      return Text(there, " rows were there to delete, but ", told.deleted(), " were");
    };
  }
  return [rows = rows, told = upserted](Model& model) {
    const uint64_t replaced = model.Upsert(rows);
    if (replaced == told.replaced() && rows.size() - replaced == told.added()) return std::string();
    return Text(replaced, " rows were there to replace, but ", told.replaced(), " were");
  };
}

Apply Write::Unanswered() const {
  if (!ids.empty()) {
    return [ids = ids](Model& model) {
      return model.Delete(ids) > 0 ? "" : "a deletion of nothing took a number";
    };
  }
  return [rows = rows](Model& model) {
    model.Upsert(rows);
    return std::string();
  };
}

Write Dice::Upsert(size_t collection) {
  Write write{.collection = collection, .as_block = OneIn(4)};
  const uint32_t count = write.as_block ? 1 + Below(60) : 1 + Below(8);
  for (uint32_t index : Indices(collection, count)) {
    if (write.as_block) index -= index % 2;  // a block's ids are of one form
    if (!write.rows.empty() && write.rows.back().id == IdOf(index)) continue;
    write.rows.push_back({IdOf(index), Vector(collection)});
  }
  return write;
}

Write Dice::Delete(size_t collection) {
  Write write{.collection = collection};
  for (const uint32_t index : Indices(collection, 1 + Below(12), kAnchors)) {
    write.ids.push_back(IdOf(index));
  }
  return write;
}

v1::SearchRequest Dice::Search(size_t collection) {
  const bool large = Plans()[collection].ids > 10'000;
  const uint32_t queries = OneIn(4) ? 2 + Below(large ? 8 : 60) : 1;
  const bool any_id = OneIn(4);
  v1::SearchRequest request =
      testing::MakeSearch(NameOf(collection), OneIn(10) ? 1 + Below(300) : 1 + Below(20), {});
  for (uint32_t q = 0; q < queries; ++q) {
    v1::Query& query = *request.add_queries();
    if (OneIn(4)) {
      const uint32_t index = Below(any_id ? Plans()[collection].ids : kAnchors);
      query = testing::ById(MessageOf(IdOf(index)), OneIn(2));
    } else {
      *query.mutable_vector() = Form(Vector(collection));
    }
  }
  if (!OneIn(3)) request.set_metric(client::ToProto(Metric()));
  request.set_with_vectors(OneIn(5));
  if (OneIn(8)) request.set_engine(v1::ENGINE_REFERENCE);
  return request;
}

v1::GetPointsRequest Dice::Get(size_t collection, bool anchors) {
  v1::GetPointsRequest request;
  request.set_collection(NameOf(collection));
  request.set_without_vectors(OneIn(4));
  for (const uint32_t index : Indices(collection, 1 + Below(kAnchors))) {
    *request.add_ids() = MessageOf(IdOf(anchors ? index % kAnchors : index));
  }
  return request;
}

size_t Dice::Collection() {
  uint32_t weights = 0;
  for (const Plan& plan : Plans()) weights += plan.weight;
  uint32_t die = Below(weights);
  for (size_t c = 0;; ++c) {
    if (die < Plans()[c].weight) return c;
    die -= Plans()[c].weight;
  }
}

std::vector<uint32_t> Dice::Indices(size_t collection, uint32_t count, uint32_t first) {
  const uint32_t all = Plans()[collection].ids - first;
  std::vector<uint32_t> indices;
  // One after another from a random one on: none twice.
  const uint32_t begin = Below(all);
  for (uint32_t i = 0; i < count; ++i) indices.push_back(first + (begin + i) % all);
  return indices;
}

std::vector<float> Dice::Vector(size_t collection) {
  std::vector<float> vector(Plans()[collection].spec.dimension);
  if (OneIn(8)) {
    const uint32_t pattern = Below(16);
    for (size_t j = 0; j < vector.size(); ++j) {
      vector[j] = static_cast<float>((j * (pattern + 3) + pattern) % 7) - 2.5f;
    }
    return vector;
  }
  // Less along each further direction, so that a layout is worth its training.
  float scale = 4;
  for (float& component : vector) {
    component = scale * normal_(random_);
    scale *= 0.93f;
  }
  return vector;
}

v1::Vector Dice::Form(const std::vector<float>& vector) {
  return OneIn(2) ? testing::Packed(vector) : testing::Values(vector);
}

client::Metric Dice::Metric() { return client::kMetrics[Below(std::size(client::kMetrics))]; }

}  // namespace vexact::soak
