// What bounds a template: a hostile one ends in an error, not in a full stack,
// a full memory or a busy core.

#ifndef HEADWISE_MODEL_CHAT_TEMPLATE_LIMITS_H_
#define HEADWISE_MODEL_CHAT_TEMPLATE_LIMITS_H_

#include <cstddef>
#include <cstdint>

namespace headwise::jinja {

// Source of a template. The longest real ones (tool use) have about 20 KiB.
inline constexpr int64_t kMaxSourceBytes = int64_t{1} << 20;

// A name in a template. Evaluating one copies it for a step or two; real ones
// have up to 40 bytes.
inline constexpr size_t kMaxNameBytes = 256;

// Depth of the syntax tree, and of the parser's recursion. Real templates stay
// below 20; Python's own parser stops at 200 parentheses.
inline constexpr int kMaxNesting = 200;

// Nodes being evaluated at once, over all macro calls in progress: what bounds
// the stack while rendering. A node takes less than 2 KiB of stack in a build
// with sanitizers, so 2 MiB of the usual 8.
inline constexpr int kMaxEvaluationDepth = 1000;

// Macro calls in progress.
inline constexpr int kMaxMacroDepth = 100;

// Containers inside containers, in variables and in values.
inline constexpr int kMaxValueDepth = 200;

// Evaluation steps of one rendering: about 0.5 s. A step is a node evaluated,
// an element made or visited, or kBytesPerStep bytes of text made or read; a
// text, container, namespace, attribute of one, macro or method costs
// kStepsPerObject more. So much the longer for memory: an object takes up to
// 100 bytes, a name set in a scope that a macro keeps 40 for 2 steps, hence all
// of them less than 250 MB.
inline constexpr int64_t kMaxSteps = 10'000'000;
inline constexpr int64_t kBytesPerStep = 16;
inline constexpr int64_t kStepsPerObject = 4;

// Iterations of all for loops of one rendering.
inline constexpr int64_t kMaxLoopIterations = 1'000'000;

// Any one string, hence the output as well.
inline constexpr int64_t kMaxTextBytes = int64_t{32} << 20;

// Parameters of one macro; real ones have up to 6.
inline constexpr int64_t kMaxMacroParameters = 100;

// Bytes of an error message of ours, and of one that a template raises.
inline constexpr int64_t kMaxErrorBytes = 500;
inline constexpr int64_t kMaxRaisedBytes = 4096;

// Elements of one range(): what Jinja's own sandbox allows.
inline constexpr int64_t kMaxRange = 100'000;

}  // namespace headwise::jinja

#endif  // HEADWISE_MODEL_CHAT_TEMPLATE_LIMITS_H_
