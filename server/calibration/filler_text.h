// Sentences about nothing in particular, to hide a needle in.

#ifndef HEADWISE_SERVER_CALIBRATION_FILLER_TEXT_H_
#define HEADWISE_SERVER_CALIBRATION_FILLER_TEXT_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "server/calibration/draws.h"

namespace headwise {

// An English sentence of 8 to 20 words, without digits.
std::string DrawSentence(Draws& draws);

// A word of the spelling alphabet, as DuoAttention's passkeys are made of (Xiao
// et al., arXiv 2410.10819); none is in a sentence of DrawSentence.
const std::string& DrawSpellingWord(Draws& draws);

// A city; none is in a sentence of DrawSentence. There are kNumCities.
inline constexpr int64_t kNumCities = 24;
const std::string& CityName(int64_t index);

// Cut after '.', '!' or '?' before white space, and at line ends; white space
// at both ends is removed. Pieces longer than 400 bytes are cut at a space, or
// where a character begins.
std::vector<std::string> SplitSentences(absl::string_view text);

}  // namespace headwise

#endif  // HEADWISE_SERVER_CALIBRATION_FILLER_TEXT_H_
