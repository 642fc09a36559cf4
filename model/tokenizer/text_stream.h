// Text of a growing sequence, in pieces that may be shown at once.

#ifndef HEADWISE_MODEL_TOKENIZER_TEXT_STREAM_H_
#define HEADWISE_MODEL_TOKENIZER_TEXT_STREAM_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace headwise {

// Feed it the bytes of one token after the other (Tokenizer::TokenBytes; leave
// out the special tokens that shall not be seen) and send on what it returns:
//
//   piece = stream.Append(tokenizer.TokenBytes(id));
//   if (stream.stopped()) finish, the reason is "stop";
//   ...
//   piece = stream.Finish();   // at the end of the generation
//
// All pieces together are the text up to the first stop string, which is left
// out together with all that follows it. The text and the stop do not depend on
// where tokens begin and end. Each piece is whole UTF-8 characters, possibly
// none. Bytes that can no longer become a character give U+FFFD, one for each
// maximal subpart (utf8.h). Text that may begin a stop string is held back
// until that is decided: at most the longest stop string less one byte, and
// three bytes of a character.
//
// If stop strings overlap, the one that is complete first counts; of those
// complete at the same byte, the longest. ("ab" and "abc": "abc" never counts.)
//
// A byte costs O(number of stop strings), amortized. Not thread-safe; one
// object per sequence.
class TextStream {
 public:
  static constexpr int64_t kMaxStopStrings = 16;
  static constexpr int64_t kMaxStopStringBytes = 256;

  // InvalidArgument if there are more stop strings, or one is longer, empty or
  // not UTF-8.
  static absl::StatusOr<TextStream> Create(
      std::vector<std::string> stop_strings);

  // The text that has become certain. Empty once stopped() or finished.
  std::string Append(absl::string_view token_bytes);

  // What was held back, when no token will follow. It may stop here: a
  // character cut off at the end becomes U+FFFD, which a stop string may
  // contain. Calls after the first return nothing.
  std::string Finish();

  // Whether a stop string was complete.
  bool stopped() const { return stop_index_ >= 0; }
  // Which of the stop strings given to Create; -1: none.
  int64_t stop_index() const { return stop_index_; }

 private:
  // One stop string, sought with the failure function of Knuth, Morris, Pratt.
  struct StopString {
    std::string text;
    // border[i]: the longest proper prefix of text that ends text[0, i).
    std::vector<int32_t> border;
    int32_t matched = 0;  // the longest prefix that ends the text so far
  };

  explicit TextStream(std::vector<std::string> stop_strings);

  // Takes whole characters out of incomplete_ and gives them to AppendText.
  // `at_end`: nothing will complete what is left, so it is U+FFFD.
  void TakeCharacters(bool at_end);
  // Appends to held_ up to where a stop string is complete.
  void AppendText(absl::string_view text);
  // Moves all stop strings on by one byte; sets stop_index_ if one is complete.
  void Advance(char byte);
  // Takes from held_ what cannot be the beginning of a stop string.
  std::string Release();

  std::vector<StopString> stop_strings_;
  std::string incomplete_;  // bytes of a character that is not complete
  std::string held_;        // whole characters not yet returned
  int64_t stop_index_ = -1;
  bool finished_ = false;
};

}  // namespace headwise

#endif  // HEADWISE_MODEL_TOKENIZER_TEXT_STREAM_H_
