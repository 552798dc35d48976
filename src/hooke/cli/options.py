"""Options: those that several commands have, each with one name, one sentence and one way of being read."""

from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import Parameter

from hooke.cli.values import ATLAS, BATCH, SEED, TEXTS, WINDOW

# What is read.
Texts: TypeAlias = Annotated[str, TEXTS, Parameter(help="Texts, files (.txt, .jsonl, .csv, also .gz or .zst), or - for standard input.")]
Field: TypeAlias = Annotated[str | None, Parameter(help="The field of a JSONL file that holds the text.")]
Column: TypeAlias = Annotated[str | None, Parameter(help="The column of a CSV file that holds the text.")]
Corpora: TypeAlias = Annotated[
    tuple[str, ...], Parameter(help="What to read: a file, folder, address or dataset, perhaps with =WEIGHT; may be repeated.")
]
CorpusField: TypeAlias = Annotated[str | None, Parameter(help="The field or column that holds the text.")]

# Models and SAEs.
ModelName: TypeAlias = Annotated[str, Parameter(help="A carried model's name, a folder, or org/name on a hub.")]
OwnModel: TypeAlias = Annotated[
    str | None, Parameter(help="A carried model's name, a folder, or org/name on a hub; by default the one that the SAE was made for.")
]
StatedModel: TypeAlias = Annotated[str | None, Parameter(help="The model to take in place of what the files say.")]
ReadingSaes: TypeAlias = Annotated[
    tuple[str, ...],
    Parameter(
        show_default=False,
        help="Name (see `hooke saes`) or file of an SAE; may be repeated. By default the one that reads news best, at layer 12.",
    ),
]
JudgedSaes: TypeAlias = Annotated[str, Parameter(help="Names (see `hooke saes`) or files of SAEs, all of one model.")]
OneSae: TypeAlias = Annotated[
    str | None, Parameter(help="Whose features: a name, a file or a layer (12); by default what `analyze` reads.")
]
OnlySaes: TypeAlias = Annotated[tuple[str, ...], Parameter(help="Only these SAEs: a name, a site (resid_post.12) or a layer (12).")]
SaeFiles: TypeAlias = Annotated[str, Parameter(help="A file or folder, in any published SAE format; or a name, as `hooke pull` takes.")]
Member: TypeAlias = Annotated[str | None, Parameter(help="Which of several SAEs in the folder.")]
Revision: TypeAlias = Annotated[str | None, Parameter(help="Branch, tag or commit on the hub.")]
StatedSite: TypeAlias = Annotated[str | None, Parameter(help="The site to take where the files do not say theirs, as resid_post.12.")]
Sites: TypeAlias = Annotated[tuple[str, ...], Parameter(help="Where to take activations, such as resid_post.9; may be repeated.")]
AtlasFile: TypeAlias = Annotated[
    Path | None, ATLAS, Parameter(help="An atlas file, also in an object store (s3://...); by default those at hand.")
]

# How it is worked out.
Device: TypeAlias = Annotated[str, Parameter(help="Where to compute, cpu or cuda.")]
Dtype: TypeAlias = Annotated[str, Parameter(help="The model's number format: auto (what is fast here), bfloat16 or float32.")]
ExactDtype: TypeAlias = Annotated[
    str, Parameter(help="The model's number format: float32, or bfloat16, which rounds by some hundredths of a nat.")
]
BatchTokens: TypeAlias = Annotated[int, BATCH, Parameter(help="Tokens per forward pass; fewer need less memory.")]
Context: TypeAlias = Annotated[int, WINDOW, Parameter(help="Tokens in a window of text.")]
OwnContext: TypeAlias = Annotated[
    int | None, WINDOW, Parameter(help="Tokens in a window of text; by default what the SAEs were trained on.")
]
Seed: TypeAlias = Annotated[int, SEED, Parameter(help="Decides the order of documents.")]
"""Where a seed decides something else: ``Annotated[Seed, Parameter(help=...)]``."""

# What comes out.
Json: TypeAlias = Annotated[bool, Parameter(help="Print one JSON document.")]
Html: TypeAlias = Annotated[Path | None, Parameter(help="Also write a page to this file.")]
