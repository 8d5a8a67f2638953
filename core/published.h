// A pointer that one writer replaces and any number of readers take, without a lock on either side.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

namespace vexact {

// Holds the current immutable T. A reader's Ref keeps the T it took alive however often the writer
// publishes another.
//
// The technique is split reference counting: one 64-bit word holds the address of the current node
// and, in its top 16 bits, how many references were handed out since the last settlement; each node
// counts the references that were returned. A node is freed when it is no longer current and the
// two agree.
//
// Thread safety: Take() and ~Ref() from any thread at any time; Publish() from one thread at a
// time. Both are lock-free.
template <typename T>
class Published {
  struct Node {
    template <typename... Args>
    explicit Node(Args&&... args) : value(std::forward<Args>(args)...) {}
    const T value;
    // References settled minus references returned, plus kCurrent while the node is the current
    // one.
    std::atomic<int64_t> count{kCurrent};
  };

 public:
  class Ref {
   public:
    Ref() = default;
    Ref(Ref&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
    Ref& operator=(Ref&& other) noexcept {
      std::swap(node_, other.node_);
      return *this;
    }
    Ref(const Ref& other) : node_(other.node_) {
      // The reference being copied keeps the count from reaching zero: nothing to order.
      if (node_ != nullptr) node_->count.fetch_add(1, std::memory_order_relaxed);
    }
    Ref& operator=(const Ref& other) {
      Ref copy(other);
      std::swap(node_, copy.node_);
      return *this;
    }
    ~Ref() {
      if (node_ != nullptr) Add(node_, -1);
    }

    explicit operator bool() const { return node_ != nullptr; }
    const T& operator*() const { return node_->value; }
    const T* operator->() const { return &node_->value; }

   private:
    friend class Published;
    explicit Ref(Node* node) : node_(node) {}
    Node* node_ = nullptr;
  };

  explicit Published(T initial) : head_(Pack(new Node(std::move(initial)))) {}
  Published(const Published&) = delete;
  Published& operator=(const Published&) = delete;
  // REQUIRES: no concurrent Take() or Publish(). Refs may outlive it.
  ~Published() { Retire(head_.load(std::memory_order_relaxed)); }

  // The current value.
  Ref Take() const {
    // acquire: pairs with the release in Publish, so that the value is seen whole.
    const uint64_t head = head_.fetch_add(kOneTaken, std::memory_order_acquire) + kOneTaken;
    Node* node = Address(head);
    if (Taken(head) >= kSettleAt) Settle(node);
    return Ref(node);
  }

  // Replaces the value; later Take() calls see the new one.
  void Publish(T next) {
    // release: the new value before its address; acquire: the hand-outs counted in the old word
    // before we retire it.
    Retire(head_.exchange(Pack(new Node(std::move(next))), std::memory_order_acq_rel));
  }

 private:
  static constexpr int kAddressBits = 48;
  static constexpr uint64_t kOneTaken = uint64_t{1} << kAddressBits;
  // Settle long before the 16 bits overflow: between a reader's increment and its settlement at
  // most one further increment per running thread can happen.
  static constexpr uint64_t kSettleAt = uint64_t{1} << 14;
  // More than all references that can exist, so that the count of a current node never reaches
  // zero.
  static constexpr int64_t kCurrent = int64_t{1} << 62;

  static uint64_t Pack(Node* node) { return reinterpret_cast<uintptr_t>(node); }
  static Node* Address(uint64_t head) { return reinterpret_cast<Node*>(head & (kOneTaken - 1)); }
  static uint64_t Taken(uint64_t head) { return head >> kAddressBits; }

  // acq_rel: every use of the value by whoever returned a reference happens before its deletion.
  static void Add(Node* node, int64_t delta) {
    if (node->count.fetch_add(delta, std::memory_order_acq_rel) + delta == 0) delete node;
  }

  static void Retire(uint64_t head) {
    Add(Address(head), static_cast<int64_t>(Taken(head)) - kCurrent);
  }

  // Moves the hand-outs counted in the word to the node. The caller holds a reference to `node`, so
  // its address cannot be that of a later node.
  void Settle(Node* node) const {
    uint64_t head = head_.load(std::memory_order_relaxed);
    while (Address(head) == node && Taken(head) >= kSettleAt) {
      // Settled before the word is cleared, so that the node's count is never too small.
      const auto taken = static_cast<int64_t>(Taken(head));
      node->count.fetch_add(taken, std::memory_order_relaxed);
      if (head_.compare_exchange_weak(head, Pack(node), std::memory_order_acq_rel,
                                      std::memory_order_relaxed)) {
        return;
      }
      node->count.fetch_sub(taken, std::memory_order_relaxed);
    }
  }

  mutable std::atomic<uint64_t> head_;
};

}  // namespace vexact
