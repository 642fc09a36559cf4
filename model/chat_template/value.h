// Values of the template language: Python's, as far as templates see them.

#ifndef HEADWISE_MODEL_CHAT_TEMPLATE_VALUE_H_
#define HEADWISE_MODEL_CHAT_TEMPLATE_VALUE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/chat_template/budget.h"

namespace headwise::jinja {

struct BoundMethod;
struct LoopState;
struct Macro;
struct Namespace;
struct Sequence;
class Dict;

// Functions that every template may call.
enum class GlobalFunction {
  kRaiseException,
  kNamespace,
  kRange,
  kStrftimeNow,
  kDict,
  kJoiner,
  kCycler,
  kLipsum,
};

// UTF-8. `safe` is Jinja's Markup: joined by + to another string, it escapes
// that one for HTML.
struct Text {
  std::string bytes;
  bool safe = false;
};

// Immutable, and cheap to copy: containers are shared. Only a Namespace and a
// LoopState change; those live as long as the rendering, which owns them, so a
// value may point at them and cycles of ownership can't arise. Containers are
// at most kMaxValueDepth deep: recursion over a value is bounded.
class Value {
 public:
  // In the order of the variant below.
  enum class Kind {
    kUndefined,
    kNone,
    kBool,
    kInt,
    kFloat,
    kString,
    kSequence,
    kDict,
    kMethod,
    kFunction,
    kNamespace,
    kLoop,
    kMacro,
  };

  Value() = default;  // undefined, with nothing to say about it
  // `hint` is the error that any real use of the value ends in.
  static Value Undefined(std::string hint);
  static Value None() { return Value(Data(NoneTag())); }
  static Value Bool(bool b) { return Value(Data(b)); }
  static Value Int(int64_t i) { return Value(Data(i)); }
  static Value Float(double d) { return Value(Data(d)); }
  static Value String(std::string bytes, bool safe = false);
  static Value Method(Value self, absl::string_view name);
  static Value Function(GlobalFunction f) { return Value(Data(f)); }
  static Value Of(std::shared_ptr<const Sequence> s) {
    return Value(Data(std::move(s)));
  }
  static Value Of(std::shared_ptr<const Dict> d) {
    return Value(Data(std::move(d)));
  }
  static Value Of(Namespace* n) { return Value(Data(n)); }
  static Value Of(LoopState* l) { return Value(Data(l)); }
  static Value Of(const Macro* m) { return Value(Data(m)); }

  Kind kind() const { return static_cast<Kind>(data_.index()); }
  bool Is(Kind k) const { return kind() == k; }
  bool IsNumber() const {  // bool is an int in Python
    return Is(Kind::kBool) || Is(Kind::kInt) || Is(Kind::kFloat);
  }
  bool IsInteger() const { return Is(Kind::kBool) || Is(Kind::kInt); }

  // Each requires the kind of its name.
  const std::string& hint() const;
  bool boolean() const { return std::get<bool>(data_); }
  int64_t integer() const;  // kBool as 0 or 1
  double number() const;    // any number, rounded to double
  const std::string& string() const { return text().bytes; }
  const Text& text() const { return *Get<std::shared_ptr<const Text>>(); }
  const Sequence& sequence() const {
    return *Get<std::shared_ptr<const Sequence>>();
  }
  const Dict& dict() const { return *Get<std::shared_ptr<const Dict>>(); }
  const BoundMethod& method() const {
    return *Get<std::shared_ptr<const BoundMethod>>();
  }
  GlobalFunction function() const { return Get<GlobalFunction>(); }
  Namespace& name_space() const { return *Get<Namespace*>(); }
  LoopState& loop() const { return *Get<LoopState*>(); }
  const Macro& macro() const { return *Get<const Macro*>(); }

  // Whether both are the same object, as Python's `is` (numbers: equal ones).
  bool SameAs(const Value& other) const { return data_ == other.data_; }

 private:
  struct NoneTag {
    bool operator==(const NoneTag&) const = default;
  };
  using Hint = std::shared_ptr<const std::string>;  // nullptr: no hint
  using Data =
      std::variant<Hint, NoneTag, bool, int64_t, double,
                   std::shared_ptr<const Text>, std::shared_ptr<const Sequence>,
                   std::shared_ptr<const Dict>,
                   std::shared_ptr<const BoundMethod>, GlobalFunction,
                   Namespace*, LoopState*, const Macro*>;

  explicit Value(Data data) : data_(std::move(data)) {}
  template <typename T>
  const T& Get() const {
    return std::get<T>(data_);
  }
  Data data_;
};

// Python's sequence and iterator types. They differ in what is allowed: a view
// (dict.items()) has a length and no index, a generator (the result of map,
// select, ...) neither. A generator here may be walked through twice, which in
// Python finds it empty the second time.
enum class SequenceType { kList, kTuple, kRange, kView, kGenerator };

struct Sequence {
  SequenceType type = SequenceType::kList;
  std::vector<Value> items;
  int depth = 1;  // 1 + the deepest item's
};

struct BoundMethod {
  Value self;
  std::string name;
};

// Keeps the order of insertion, as Python does.
class Dict {
 public:
  // Replaces the value of an equal key (1, 1.0 and True are equal).
  // InvalidArgument for a key that Python can't hash. O(key).
  absl::Status Set(const Value& key, Value value, Budget& budget);
  // For keys that are known to be strings.
  void SetString(std::string key, Value value);
  // nullptr if absent. InvalidArgument as above.
  absl::StatusOr<const Value*> Find(const Value& key, Budget& budget) const;
  const Value* FindString(absl::string_view key) const;

  const std::vector<std::pair<Value, Value>>& entries() const {
    return entries_;
  }
  int depth() const { return depth_; }  // 1 + the deepest value's
  // What a copy costs, which shares keys and values but not the index.
  absl::Status SpendCopy(Budget& budget) const;

 private:
  void SetEncoded(std::string encoded, const Value& key, Value value);

  std::vector<std::pair<Value, Value>> entries_;
  absl::flat_hash_map<std::string, size_t> index_;  // encoded key -> entry
  int64_t num_index_bytes_ = 0;                     // of all encoded keys
  int depth_ = 1;
};

// 0 for what contains nothing.
int DepthOf(const Value& value);

// The only ways to make a container while rendering: they charge its elements
// and refuse a depth above kMaxValueDepth.
absl::StatusOr<Value> MakeSequence(SequenceType type, std::vector<Value> items,
                                   Budget& budget);
absl::StatusOr<Value> MakeDict(Dict dict, Budget& budget);
// Charges the bytes; ResourceExhausted above kMaxTextBytes.
absl::StatusOr<Value> MakeString(std::string bytes, Budget& budget,
                                 bool safe = false);
absl::StatusOr<Value> MakeString(BoundedText text, Budget& budget,
                                 bool safe = false);

// Python's name of the type, for messages: "str", "list", ...
std::string TypeName(const Value& value);

bool IsTrue(const Value& value);

// The elements that iteration yields: items of a sequence, keys of a dict,
// code points of a string, nothing of an undefined value. InvalidArgument for
// what is not iterable.
absl::StatusOr<std::vector<Value>> Elements(const Value& value, Budget& budget);

// len(). InvalidArgument for what has none.
absl::StatusOr<int64_t> Length(const Value& value, Budget& budget);

// InvalidArgument with the hint of an undefined value.
absl::Status UndefinedError(const Value& value);

}  // namespace headwise::jinja

#endif  // HEADWISE_MODEL_CHAT_TEMPLATE_VALUE_H_
