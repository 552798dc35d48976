"""How likely the names of this pack's features are right of a text: learnt from marks, tried on texts left out, put beside the weights;
and of how many of those texts each name is true, put beside the name.

    python packs/gemma-3-270m/likelihood.py --corpora ../shared/corpora

`marks.jsonl.zst` has what readers said of names beside short texts (titles, first sentences), in the form of the marks that `hooke explain
--marks` keeps. It holds no text: of each the file it is from and a digest, by which it is found again in the folder given as --corpora.
"""

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from hooke.analysis import Options, Reader
from hooke.analysis.likelihood import SUFFIX
from hooke.analysis.marking import Marked, digest, kept_marks, learn, read_marks, with_tries
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
    texts = found_again(parser.parse_args().corpora, read_marks(MARKS)[1])
    reader = Reader.load("gemma-3-270m", [SAE], Options())
    entry = reader.labelled_saes[0].entry
    assert entry is not None
    marked = {texts[key]: said for key, said in kept_marks(MARKS, reader).items() if key in texts}
    names = read_names(NAMES, entry)
    assert names is not None
    write_names(NAMES, entry, names | with_tries(names, marked.values()), judged(entry))
    learnt = learn(Reader.load(reader.model, [SAE], Options()), marked)  # names as they are tried now
    print(f"{learnt.texts:,} texts, {learnt.marks:,} marks of {len(learnt.likelihood.names)} names")
    print_learnt(learnt, Console())
    learnt.likelihood.save(BESIDE, entry)
    print(f"{BESIDE.name}: {BESIDE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
