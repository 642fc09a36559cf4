// Merges neighbouring symbols of one word, best pair first.

#ifndef HEADWISE_MODEL_TOKENIZER_PAIR_MERGER_H_
#define HEADWISE_MODEL_TOKENIZER_PAIR_MERGER_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

namespace headwise {

// A longer word is cut, so that no text can make the merger need more than
// about 40 bytes times this. The log in its n log n is bounded for the same
// reason. No word of a language, and few of base64, are as long.
inline constexpr int64_t kMaxWordBytes = 1 << 20;

// The symbols form a linked list; a heap holds the pairs that can be merged. n
// symbols take O(n log n) time: each merge removes a symbol and pushes at most
// two pairs. Reuse one object for many words; it keeps its buffers. Not
// thread-safe.
class PairMerger {
 public:
  struct Symbol {
    int32_t id = -1;    // -1: not a token
    int32_t begin = 0;  // byte range in the word
    int32_t end = 0;
  };
  struct Merge {
    int32_t rank = -1;  // lower first, then leftmost; -1: no such merge
    int32_t id = -1;    // of the merged symbol
  };

  void Clear() { nodes_.clear(); }
  void Append(const Symbol& symbol) { nodes_.push_back({symbol, -1, -1}); }

  // Until no merge is left. `find_merge(const Symbol& left, const Symbol&
  // right)` returns a Merge, always the same one for the same pair.
  template <typename FindMerge>
  void MergeAll(const FindMerge& find_merge);

  // Calls `visit(const Symbol&)` for what is left, in order.
  template <typename Visit>
  void ForEach(const Visit& visit) const {
    const auto num_nodes = static_cast<int32_t>(nodes_.size());
    for (int32_t i = 0; i < num_nodes; i = nodes_[i].next) {
      visit(nodes_[i].symbol);
      if (nodes_[i].next < 0) break;
    }
  }

  // Calls of find_merge and heap operations so far: the merger's work.
  int64_t num_steps() const { return num_steps_; }

 private:
  struct Node {
    Symbol symbol;
    int32_t prev = -1;
    int32_t next = -1;
  };

  // The better pair is the smaller number: rank, then position.
  static uint64_t HeapKey(int32_t rank, int32_t pos) {
    return (static_cast<uint64_t>(rank) << 32) | static_cast<uint32_t>(pos);
  }

  // Appends the pair that begins at `pos` to the heap's array, if it can merge.
  template <typename FindMerge>
  bool AppendPair(int32_t pos, const FindMerge& find_merge) {
    if (pos < 0 || nodes_[pos].next < 0) return false;
    ++num_steps_;
    const Merge merge =
        find_merge(nodes_[pos].symbol, nodes_[nodes_[pos].next].symbol);
    if (merge.rank < 0) return false;
    heap_.push_back(HeapKey(merge.rank, pos));
    return true;
  }

  template <typename FindMerge>
  void PushPair(int32_t pos, const FindMerge& find_merge) {
    if (!AppendPair(pos, find_merge)) return;
    ++num_steps_;
    std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
  }

  uint64_t PopPair() {
    ++num_steps_;
    std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
    const uint64_t key = heap_.back();
    heap_.pop_back();
    return key;
  }

  void Join(int32_t left, int32_t merged_id) {
    Node& node = nodes_[left];
    Node& right = nodes_[node.next];
    node.symbol.id = merged_id;
    node.symbol.end = right.symbol.end;
    right.symbol.end = right.symbol.begin;  // empty: no longer in the list
    node.next = right.next;
    if (node.next >= 0) nodes_[node.next].prev = left;
  }

  std::vector<Node> nodes_;
  std::vector<uint64_t> heap_;
  int64_t num_steps_ = 0;
};

template <typename FindMerge>
void PairMerger::MergeAll(const FindMerge& find_merge) {
  const auto num_nodes = static_cast<int32_t>(nodes_.size());
  heap_.clear();
  for (int32_t i = 0; i < num_nodes; ++i) {
    nodes_[i].prev = i - 1;
    nodes_[i].next = i + 1 < num_nodes ? i + 1 : -1;
  }
  for (int32_t i = 0; i < num_nodes; ++i) AppendPair(i, find_merge);
  std::make_heap(heap_.begin(), heap_.end(), std::greater<>());
  while (!heap_.empty()) {
    const uint64_t key = PopPair();
    const auto pos = static_cast<int32_t>(key & 0xFFFFFFFFu);
    const Node& node = nodes_[pos];
    if (node.symbol.begin == node.symbol.end || node.next < 0) continue;
    ++num_steps_;
    const Merge merge = find_merge(node.symbol, nodes_[node.next].symbol);
    // Another merge may have changed the pair since it was pushed.
    if (merge.rank != static_cast<int32_t>(key >> 32)) continue;
    Join(pos, merge.id);
    PushPair(node.prev, find_merge);
    PushPair(pos, find_merge);
  }
}

}  // namespace headwise

#endif  // HEADWISE_MODEL_TOKENIZER_PAIR_MERGER_H_
