"""What an analysis found, as plain values: the one shape behind the table, the JSON and the HTML page."""

from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Hit:
    """One feature at work in one text."""

    feature: str
    """Address, ``sae/index``."""
    sae: str
    """Address of the SAE."""
    index: int
    """Column in the SAE's codes."""
    label: str | None
    """Short name; None where no atlas knows the feature."""
    label_score: float | None
    """How well the label predicts the feature on text held out from naming it: AUROC in [0, 1], 0.5 is chance."""
    label_method: str | None
    """How the label was made."""
    label_evidence: int
    """Held-out examples behind the score."""
    activation: float
    """Strongest activation in the text, in the model's own units."""
    relative: float
    """The same over the feature's maximum in the atlas' corpus."""
    specificity: float
    """How surprising this strength is against background text, in nats."""
    token: str
    """The token it peaked on."""
    pos: int
    """Index of that token in the text's tokens."""
    activations: dict[int, float] = field(default_factory=dict)
    """Activation at every position where it fired, by position."""
    own_label: str | None = None
    """The label you gave it in your notes, shown in place of `label`; what the score says is said of `label`."""
    name: str | None = None
    """What to call it: the name that a reader gave, else the label in short; features of one name in a text are told apart by words that
    they promote, behind an arrow. None where no atlas knows the feature."""
    name_score: float | None = None
    """How well a reader's name tells where the feature fires (detection, 0.5 is chance); None where the name is the label in short."""
    group: str | None = None
    """``about`` (it tells what the text is about) or ``words`` (it tells of words, grammar, form)."""
    kind: str | None = None
    """What it is: topic, entity, event, frame, word, grammar, form or unclear; None where no atlas knows the feature."""
    named_by: str | None = None
    """Who gave the name: ``reader`` (somebody, or a language model, who read where it fires) or ``rule``; None where it has none."""
    name_evidence: int = 0
    """Held-out places behind `name_score`."""
    name_low: float | None = None
    """Lower end of the 95 % interval of `name_score`; None where that is not known."""
    sensitive: bool = False
    """Whether the feature is on private, protected or offensive matters (`hooke.atlas.sensitive`)."""
    likely: float | None = None
    """How likely `name` is right of this text, as readers judged of names beside other texts; None where nobody knows."""
    name_right: int = 0
    """Short texts of which a reader found the name to be true, of those in which the feature stood out."""
    name_tried: int = 0
    """Of so many."""

    @property
    def title(self) -> str | None:
        """What to show: your own label, else `name`."""
        return self.own_label or self.name or self.label


@dataclass(frozen=True)
class TopicScore:
    """How much one text belongs to one broader topic, and the features that say so."""

    topic: str
    """Name of the topic."""
    score: float
    """Share of the text's topical evidence that speaks for it, in [0, 1]."""
    features: list[str]
    """Addresses of the features that say so, strongest first."""


@dataclass(frozen=True, repr=False)
class TextResult:
    """One text, decomposed."""

    text: str
    """The text itself."""
    tokens: list[str]
    """Its tokens as text (the beginning-of-sequence token is left out)."""
    features: list[Hit]
    """The features that stand out, most specific first."""
    topic: str | None
    """The topic it belongs to; None when it fits none, or when no atlas says anything of topics."""
    topics: list[TopicScore]
    """All topics with some evidence, strongest first."""
    explained: float | None
    """Share of this text's activation variance that the SAEs reconstruct (mean over SAEs); None for a text without tokens."""
    truncated: int = 0
    """Tokens left out because the text is longer than the model's context."""
    about: list[Hit] = field(default_factory=list)
    """The features that tell what the text is about, most telling first."""
    words: list[Hit] = field(default_factory=list)
    """The features of its words, grammar and form, most specific first."""
    fields: dict[str, Any] = field(default_factory=dict)
    """What else stood in the record that the text came from: id, desk, date ..."""
    sinks: int = 0
    """Tokens left out as attention sinks: far longer than the others, and nothing an SAE was trained on."""

    def __repr__(self) -> str:
        return f"TextResult({self.text[:60]!r}, topic {self.topic!r}, {len(self.features)} features)"


@dataclass(frozen=True)
class TopicResult:
    """One broader topic, across the texts."""

    topic: str
    """Its name."""
    texts: list[int]
    """Indices of the texts assigned to it."""
    features: list[dict[str, Any]]
    """The features with a name that carried it, strongest first, each name of an SAE once: ``feature``, what is known of its label and name
    as in a `Hit`, in how many ``texts``."""


@dataclass(frozen=True, repr=False)
class Analysis:
    """Everything one run of `hooke.analyze` found."""

    model: str
    """Name of the model."""
    saes: list[dict[str, Any]]
    """Each SAE used: ``name``, ``short`` (for commands), ``site``, ``d_sae``, ``l0``, ``explained`` (over all texts), ``labelled``, and the
    share that is usual: ``expected`` (of long text, on its card), ``expected_headlines``, ``expected_short`` (of other short texts)."""
    texts: list[TextResult]
    """In the order they came."""
    topics: list[TopicResult]
    """Largest first."""
    limits: list[str]
    """Sentences that must stand beside the result: what this analysis cannot say."""
    naming: str = ""
    """Where the names come from and how often they are wrong, to be said before any is shown; also the first of `limits`."""

    def __repr__(self) -> str:
        topics = ", ".join(f"{topic.topic} {len(topic.texts)}" for topic in self.topics) or "no topics"
        return f"Analysis({len(self.texts)} texts, {self.model} through {', '.join(str(sae.get('name')) for sae in self.saes)}: {topics})"

    @property
    def topical(self) -> bool:
        """Whether anything is known of labels and topics: whether an atlas knows one of the SAEs."""
        return any(sae.get("labelled", True) for sae in self.saes)

    def to_json(self) -> dict[str, Any]:
        """The JSON document of ``hooke analyze --json``."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    def to_pandas(self) -> Any:
        """One row for each text and feature, as a `pandas.DataFrame` (see `hooke.analysis.rows`); `Missing` without pandas."""
        from hooke.analysis.rows import to_pandas

        return to_pandas(self)

    def to_polars(self) -> Any:
        """The same as a `polars.DataFrame`; `Missing` without polars."""
        from hooke.analysis.rows import to_polars

        return to_polars(self)

    def _repr_html_(self) -> str:
        from hooke.analysis.notebook import fragment

        return fragment(self)
