"""How likely the names of this pack's features are right of a text: learnt from marks, tried on texts left out, put beside the weights;
and of how many of those texts each name is true, put beside the name.

    python packs/gemma-3-270m/likelihood.py --corpora ../shared/corpora
    python packs/gemma-3-270m/likelihood.py --corpora ../shared/corpora --more mine.marks.jsonl   # takes marks in; learns nothing

`marks.jsonl.zst` has what readers said of names beside short texts (titles, first sentences), and behind words of such, in the form of the
marks that `hooke explain --marks` keeps. It holds no text: of each the file it is from and a digest, by which it is found again in the
folder given as --corpora.
"""

import argparse
import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import zstandard
from rich.console import Console

from hooke.analysis import Options, Reader
from hooke.analysis.likelihood import SUFFIX
from hooke.analysis.marking import Marked, digest, kept_marks, learn, read_marks, with_tries, write_marks
from hooke.atlas.naming import judged, read_names, write_names
from hooke.report.names_terminal import print_learnt
from hooke.text.unpack import unpacked

HERE = Path(__file__).parent
MARKS = HERE / "marks.jsonl.zst"
SAE = "gemma-3-270m/resid_post.12/8k"
NAMES = HERE / "src" / "hooke_gemma_3_270m" / "resid_post.12.names.jsonl.zst"
BESIDE = HERE / "src" / "hooke_gemma_3_270m" / f"resid_post.12{SUFFIX}"


def lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for line in unpacked(file)[0]:
            yield json.loads(line)


def short_texts(record: dict[str, Any]) -> list[str]:
    """What of a document may have been judged: its title, its first sentence, a text of one line."""
    first = re.split(r"(?<=[.!?])\s", record["text"])[0]
    return [re.sub(r"\s+", " ", text).strip() for text in (record.get("title") or "", first, record["text"][:200])]


def take_in(more: Path, corpora: Path) -> None:
    """Put the marks of another file with the pack's, each text with the file it is from; of a name that changed only they count."""
    (names, rows), (new, said) = read_marks(MARKS), read_marks(more)
    renamed = {index for index, name in new.items() if names.get(index, name) != name}
    merged = {row.text: replace(row, said={i: value for i, value in row.said.items() if i not in renamed}) for row in rows}
    wanted, sources = {row.text for row in said if not row.source} - merged.keys(), dict[str, str]()
    for source in sorted({row.source for row in rows} if wanted else ()):
        found = {digest(text) for record in lines(corpora / f"{source}.jsonl.zst") for text in short_texts(record)}
        sources = dict.fromkeys(found & wanted, source) | sources
    for row in said:
        known = merged.get(row.text, Marked(row.text, {}, row.source or sources.get(row.text, "")))
        merged[row.text] = replace(known, said={**known.said, **row.said})
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "marks.jsonl"
        write_marks(plain, names | new, merged.values())
        MARKS.write_bytes(zstandard.ZstdCompressor(level=19).compress(plain.read_bytes()))
    print(f"{len(said):,} texts of {more} taken in, {len(wanted - sources.keys()):,} of them of no known file")


def found_again(corpora: Path, marks: list[Marked]) -> dict[str, str]:
    """The texts by digest."""
    wanted = {row.text for row in marks}
    known: dict[str, str] = {}
    for source in sorted({row.source for row in marks}):
        for record in lines(corpora / f"{source}.jsonl.zst"):
            known |= {key: text for text in short_texts(record) if (key := digest(text)) in wanted}
    return known


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--more", type=Path)
    asked = parser.parse_args()
    if asked.more:
        take_in(asked.more, asked.corpora)
    reader = Reader.load("gemma-3-270m", [SAE], Options())
    entry = reader.labelled_saes[0].entry
    assert entry is not None
    kept, names = kept_marks(MARKS, reader), read_names(NAMES, entry)
    assert names is not None
    tried = with_tries(names, kept.values())
    write_names(NAMES, entry, names | tried, judged(entry))
    print(f"{len(tried):,} names with tries, {sum(name.tried for name in tried.values()):,} of these")
    if asked.more:
        return
    texts = found_again(asked.corpora, read_marks(MARKS)[1])
    marked = {texts[key]: said for key, said in kept.items() if key in texts}
    learnt = learn(Reader.load(reader.model, [SAE], Options()), marked)  # names as they are tried now
    print(f"{learnt.texts:,} texts, {learnt.marks:,} marks of {len(learnt.likelihood.names)} names")
    print_learnt(learnt, Console())
    learnt.likelihood.save(BESIDE, entry)
    print(f"{BESIDE.name}: {BESIDE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
