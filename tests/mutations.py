"""What happens to files on their way: bytes lost, words replaced, keys doubled, files exchanged.

`spoiled` draws one to three such accidents from the table `MUTATORS`; the same generator gives the same accidents.
"""

import json
import random
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

Files = dict[str, bytes]
"""The files of a folder, by name."""

DEPTHS = (50, 150, 300, 480, 700, 900, 960, 990, 5000)
"""Of nesting: about the places where readers, checkers and messages give up, one before the other."""

WORDS = [
    *("0x_", "2001-99-99", "2001-01-01", "!!bool x", "!!timestamp foo", "!!binary aGk=", "!!set {a}", "*x", "&x [*x]"),
    *("1e308TiB", "-1GiB", "1e400s", "1e-320ns", "1e308", "1e999", "1e-320", "-1", "0", "5", "1", ".nan", ".inf"),
    *("9" * 20, "9" * 400, "9" * 5000, "x" * 140_000, '"', "'", "nan", "[" * 150 + "]" * 150),
    *("null", "~", "[]", "{}", "[1]", "{a: 1}", "true", "''", "'\\n'", '"\\ud800"', '"\\0"', "? [a]\n: b", "a" * 300),
    *("skewed", "numab2", "./none", "../x", ".", "./mine.yaml", "/etc/passwd", "unlimited", "<<: *x"),
]
"""What stands in place of a word."""

JSON_VALUES = [
    *("NaN", "Infinity", "-Infinity", "1e999", "1e308", "-1e308", "5e-324", "-0.0", "-1", "0"),
    *("9" * 20, "9" * 400, "9" * 5000, *("[" * depth + "]" * depth for depth in DEPTHS)),
    *("1", "2", "1.5", "null", "true", "[]", "{}", "[null]", '[[""]]', '{"": 0}', '""', '"1"', '"x"', '"0B"', '"nan"'),
    *('"\\ud800"', '"\\n\\u001b[2J"', '"\\u0000"', '"\u202e"', json.dumps("x" * 3000), json.dumps(["x"] * 3000)),
    *('{"a":' * depth + "0" + "}" * depth for depth in DEPTHS),
    *('"I64"', '"BF16"', "[1099511627776]"),
]
"""What stands in place of a value of a JSON file, as the file spells it."""

ODD_BYTES = [
    *(b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b"\r", b"\x85", b"\xe2\x80\xa8", b"\x1b[2J", b"\t", b'"', b";", b"\xff"),
]
"""What stands at the beginning of a file or in its midst: marks of encodings, line ends, what ends texts."""

_WORD = re.compile(rb"[^\s,;:{}\[\]\"']+")


def other_bytes(content: bytes, rng: random.Random) -> bytes:
    """Bytes lost, doubled, inserted or flipped; another encoding; other line ends."""
    start = rng.randrange(len(content) + 1)
    end = min(len(content), start + int(rng.paretovariate(0.7)))
    flipped = bytes(byte ^ 1 << rng.randrange(8) for byte in content[start:end])
    ways: list[Callable[[], bytes]] = [
        lambda: content[:start],
        lambda: content[:start] + content[end:],
        lambda: content[:end] + content[start:],
        lambda: content[:start] + flipped + content[end:],
        lambda: content[:start] + rng.choice(ODD_BYTES) + content[start:],
        lambda: rng.choice(ODD_BYTES) + content,
        lambda: content.replace(b"\n", rng.choice([b"\r\n", b"\r", b"\n\n", b""])),
        lambda: content.decode("latin-1").encode("utf-16"),
        lambda: content.replace(b",", b";"),
    ]
    return rng.choice(ways)()


def other_word(content: bytes, rng: random.Random) -> bytes:
    """One word replaced by another."""
    words = list(_WORD.finditer(content))
    if not words:
        return content
    word = rng.choice(words)
    return content[: word.start()] + rng.choice(WORDS).encode() + content[word.end() :]


def other_line(content: bytes, rng: random.Random) -> bytes:
    """A line cut, doubled, dropped, or with another value behind its key."""
    lines = content.split(b"\n")
    index = rng.randrange(len(lines))
    line, value = lines[index], rng.choice(WORDS).encode()
    key, colon, _ = line.partition(b":")
    ways = [
        [key + b": " + value] if colon else [value],
        [line[: rng.randint(0, len(line))]],
        [line, rng.choice(lines)],
        [],
    ]
    lines[index : index + 1] = rng.choices(ways, weights=(6, 1, 1, 1))[0]
    return b"\n".join(lines)


def other_structure(content: bytes, rng: random.Random) -> bytes:
    """A value of a JSON or YAML file dropped, doubled, moved, nested or of another type; JSON all the same."""
    try:
        tree = yaml.load(content, yaml.CSafeLoader) if content[:1] != b"{" else json.loads(content)
        return _other_tree(tree, rng)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, yaml.YAMLError):  # spoiled before
        return other_word(content, rng)


def _other_tree(tree: Any, rng: random.Random) -> bytes:
    places = list(_places(tree))
    if not places:
        return rng.choice(JSON_VALUES).encode()
    holder, key = rng.choice(places)
    mark, replacement = "@mark@", rng.choice(JSON_VALUES)
    match rng.choices(["value", "drop", "double", "rename", "move"], weights=(6, 2, 1, 1, 2))[0]:
        case "value":
            holder[key] = mark
        case "drop":
            del holder[key]
        case "double" if isinstance(holder, dict):
            holder[mark], replacement = rng.choice([holder[key], 0, None, "x"]), json.dumps(key)
        case "rename" if isinstance(holder, dict):
            holder[rng.choice(["x", "", "like", "name", "\ud800", f"{key}s", f"{key}\n"])] = holder.pop(key)
        case _:
            other, place = rng.choice(places)
            holder[key] = json.loads(json.dumps(other[place], default=str))
    return json.dumps(tree, default=str).replace(f'"{mark}"', replacement).encode("utf-8", "surrogatepass")


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Every holder of a value and the value's key in it; in a long list those at the beginning."""
    if isinstance(tree, dict):
        items = list(tree.items())
    elif isinstance(tree, list):
        items = list(enumerate(tree[:20]))
    else:
        return []
    return [(tree, key) for key, _ in items] + [place for _, value in items for place in _places(value)]


def other_tensors(content: bytes, rng: random.Random) -> bytes:
    """The header of a safetensors file changed as JSON or to types of other sizes, or numbers of its tensors."""
    length = struct.unpack("<Q", content[:8].ljust(8, b"\0"))[0]
    header, numbers = content[8 : 8 + length], content[8 + length :]
    if rng.random() < 0.3 and len(numbers) >= 4:
        start = 4 * rng.randrange(len(numbers) // 4)
        number = rng.choice([float("nan"), float("inf"), 3e38, -0.0, 1.0, 1e-45])
        numbers = numbers[:start] + struct.pack("<f", number) + numbers[start + 4 :]
    elif rng.random() < 0.3:
        kind, parts = rng.choice([(b"I32", 1), (b"BF16", 2), (b"F8_E4M3", 4), (b"BOOL", 4), (b"F4", 8), (b"U8", 4)])
        header = header.replace(b'"F32","shape":[', b'"%s","shape":[%d,' % (kind, parts), rng.choice([1, -1]))
    else:
        header = other_structure(header, rng)
    length = rng.choice([len(header)] * 9 + [0, 1 << 20, 1 << 60, (1 << 64) - 1])
    return struct.pack("<Q", length) + header + numbers


MUTATORS: dict[str, list[Callable[[bytes, random.Random], bytes]]] = {
    ".yaml": [other_line, other_line, other_word, other_structure, other_bytes],
    ".json": [other_structure, other_structure, other_word, other_bytes],
    ".csv": [other_line, other_word, other_word, other_bytes],
    ".txt": [other_line, other_word, other_word, other_bytes],
    ".safetensors": [other_tensors, other_bytes],
}
"""What happens to a file, by its suffix; to any other `other_bytes`."""


def spoiled(files: Files, strangers: list[bytes], rng: random.Random) -> Files:
    """Returns the files after one to three accidents; `strangers` are contents that may stand in place of theirs."""
    files = dict(files)
    for _ in range(rng.choice([1, 1, 2, 3])):
        name = rng.choice(sorted(files))
        accident = rng.random()
        if accident < 0.95:
            mutate = rng.choice(MUTATORS.get(Path(name).suffix, [other_bytes]))
            files[name] = mutate(files[name], rng)
        elif accident < 0.97:
            files[name] = rng.choice(strangers)
        elif accident < 0.99:
            other = rng.choice(sorted(files))
            files[name], files[other] = files[other], files[name]
        elif len(files) > 1:
            del files[name]
    return files
