"""Writes tokenizer_rules.json and sentence_piece.json beside this file.

    pip install tokenizers==0.23.3 sentencepiece==0.2.3
    python3 tests/golden/make_tokenizer_golden.py models/SmolLM2-*.gguf

The ids come from those two libraries, none from Headwise.
"""

import codecs
import json
import pathlib
import random
import struct
import sys
import tempfile
import this

import sentencepiece
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

HERE = pathlib.Path(__file__).parent
SEED = 20240611
CONTROL = 3

LLAMA = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
         r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")

ATOMS = [
    "'s", "'S", "'ll", "'LL", "'re", "'Ve", "'d", "'\u017f", "'", " ", "  ",
    "\t", "\n", "\r\n", "\r", "\u00a0", "\u3000", "\u2028", "\u0085", "\x0b",
    "a", "B", "hello", " the", "World", "\u00e9", "e\u0301", "\u0301",
    "\u0327", "\u65e5\u672c", "\ud55c", "\uac01", "\u3131", "1", "23", "456",
    "\u00bd", "\u2167", "\u0663", "!", "...", "\u2014", "_", "$",
    "\U0001f642", "\U0001f469\u200d\U0001f467", "<|im_start|>", "<|im_",
    "<repo_name>", "<|endoftext|>", "|>", "\x00", "\x04", "\u200b", "\ufffd",
    "\u01c5", "\u0344", "\u212b", "\U0001d165", "def", "(", "://",
]

SP_ATOMS = [
    " ", "  ", "   ", "the", "ing", "World", "\u00e9", "\u65e5", "\U0001f642",
    "\t", "\n", "1", "23", "!", "...", "hello", "<user>", "hell", "ohello",
    "x", "A", "don't", "tion", "e\u0301",
]


def read_gguf_value(file, kind):
    formats = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f",
               7: "?", 10: "Q", 11: "q", 12: "d"}
    if kind in formats:
        layout = "<" + formats[kind]
        return struct.unpack(layout, file.read(struct.calcsize(layout)))[0]
    if kind == 8:
        return file.read(read_gguf_value(file, 10)).decode()
    item_kind = read_gguf_value(file, 4)
    count = read_gguf_value(file, 10)
    return [read_gguf_value(file, item_kind) for _ in range(count)]


def read_gguf_metadata(path):
    with open(path, "rb") as file:
        assert file.read(4) == b"GGUF"
        read_gguf_value(file, 4)
        read_gguf_value(file, 10)
        metadata = {}
        for _ in range(read_gguf_value(file, 10)):
            key = read_gguf_value(file, 8)
            kind = read_gguf_value(file, 4)
            metadata[key] = read_gguf_value(file, kind)
        return metadata


def pre_tokenizer(rule):
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if rule == "gpt2":
        return gpt2
    if rule == "smollm":
        digits = pre_tokenizers.Digits(individual_digits=True)
        return pre_tokenizers.Sequence([digits, gpt2])
    pattern = LLAMA % ("{1,3}" if rule == "llama_bpe" else "")
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])


def rule_tokenizer(rule, metadata):
    tokens = metadata["tokenizer.ggml.tokens"]
    merges = metadata["tokenizer.ggml.merges"]
    types = metadata["tokenizer.ggml.token_type"]
    tokenizer = tokenizers.Tokenizer(models.BPE(
        vocab={token: i for i, token in enumerate(tokens)},
        merges=[tuple(merge.split(" ")) for merge in merges],
        ignore_merges=rule == "llama_bpe"))
    tokenizer.pre_tokenizer = pre_tokenizer(rule)
    if rule == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_special_tokens([
        tokenizers.AddedToken(token, special=True, normalized=False)
        for token, kind in zip(tokens, types) if kind == CONTROL])
    return tokenizer


def random_texts(atoms, count):
    rng = random.Random(SEED)
    return ["".join(rng.choices(atoms, k=rng.randint(1, 14)))
            for _ in range(count)]


def write(name, value):
    text = json.dumps(value, separators=(",", ":")).replace("},{", "},\n{")
    (HERE / name).write_text(text + "\n")


def make_rules(model_path):
    metadata = read_gguf_metadata(model_path)
    texts = random_texts(ATOMS, 300)
    cases = {}
    for rule in ("gpt2", "smollm", "llama_bpe", "qwen2"):
        tokenizer = rule_tokenizer(rule, metadata)
        cases[rule] = [
            {"text": text,
             "ids": tokenizer.encode(text, add_special_tokens=False).ids}
            for text in texts]
    write("tokenizer_rules.json", cases)


def train(folder, **options):
    # The Zen of Python: a text that every Python has, and the same one.
    corpus = pathlib.Path(folder) / "corpus.txt"
    corpus.write_text(codecs.decode(this.s, "rot13") + "don't \u00e9 \u65e5\n")
    prefix = str(pathlib.Path(folder) / "model")
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=prefix, model_type="bpe",
        vocab_size=420, byte_fallback=True, minloglevel=2,
        normalization_rule_name="identity", remove_extra_whitespaces=False,
        user_defined_symbols=["<user>", "hello"], **options)
    return sentencepiece.SentencePieceProcessor(model_file=prefix + ".model")


def token_type(model, index):
    if model.is_unknown(index):
        return 2
    if model.is_control(index):
        return CONTROL
    if model.is_byte(index):
        return 6
    return 4 if model.id_to_piece(index) in ("<user>", "hello") else 1


def sentence_piece_case(**options):
    with tempfile.TemporaryDirectory() as folder:
        model = train(folder, **options)
    indices = range(model.get_piece_size())
    return {
        "add_space_prefix": options.get("add_dummy_prefix", True),
        "tokens": [model.id_to_piece(i) for i in indices],
        "scores": [model.get_score(i) for i in indices],
        "types": [token_type(model, i) for i in indices],
        "cases": [{"text": text, "ids": model.encode(text)}
                  for text in random_texts(SP_ATOMS, 300)],
    }


if __name__ == "__main__":
    make_rules(sys.argv[1])
    write("sentence_piece.json", [
        sentence_piece_case(),
        sentence_piece_case(add_dummy_prefix=False),
        sentence_piece_case(split_by_whitespace=False),
    ])
