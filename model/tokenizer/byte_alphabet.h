// GPT-2's printable alphabet: one visible character for each byte value.

#ifndef HEADWISE_MODEL_TOKENIZER_BYTE_ALPHABET_H_
#define HEADWISE_MODEL_TOKENIZER_BYTE_ALPHABET_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace headwise {

// Bytes 21..7E, A1..AC and AE..FF stand for the code points of the same number;
// the other 68 bytes, in ascending order, for U+0100 and those after it.
// (GPT-2, encoder.py, bytes_to_unicode.) The character's UTF-8, which is at
// most two bytes long and lives as long as the program.
absl::string_view ByteToAlphabet(uint8_t byte);

// The bytes that `text` stands for. A character outside the alphabet, which no
// trained vocabulary has, stands for its own bytes.
std::string AlphabetToBytes(absl::string_view text);

}  // namespace headwise

#endif  // HEADWISE_MODEL_TOKENIZER_BYTE_ALPHABET_H_
