// The names of what goes over the wire. What comes in a stream is not in the schema; it is spelled out here.
import type { components } from "./schema";

type S = components["schemas"];
export type About = S["About"];
export type SaeRow = S["SaeRow"];
export type Saved = S["Saved"];
export type FeatureRow = S["FeatureRow"];
export type Fresh = S["Fresh"];
export type FeaturePage = S["FeaturePage"];
export type FeatureHead = S["FeatureHead"];
export type Context = S["Context"];
export type Stretch = S["Stretch"];
export type Relative = S["Relative"];
export type DoseEffect = S["DoseEffect"];
export type Moved = S["Moved"];
export type Written = S["Written"];
export type SearchPage = S["SearchPage"];
export type FoundHit = S["FoundHit"];
export type SaeDetail = S["SaeDetail"];
export type Rating = S["Rating"];
export type Note = S["Note"];
export type Lists = S["Lists"];
export type RunRow = S["RunRow"];
export type RunDetail = S["RunDetail"];
export type Curve = S["Curve"];
export type Score = S["Score"];
export type CompareRequest = S["CompareRequest"];
export type Compared = S["Compared"];
export type Finding = S["Finding"];
export type Side = S["Side"];
export type Table = S["Table"];
export type WholeText = S["WholeText"];
export type SteerRequest = S["SteerRequest"];

/** One feature at work in one text. */
export interface Hit {
  feature: string;
  sae: string;
  index: number;
  label: string | null;
  own_label: string | null;
  name: string | null;
  name_score: number | null;
  label_score: number | null;
  label_method: string | null;
  label_evidence: number;
  /** How likely its name is right of this text; null where nobody knows. */
  likely: number | null;
  /** Of so many texts a reader found the name true, and of so many tried. */
  name_right: number;
  name_tried: number;
  /** How far the name can be relied on. */
  rating: Rating;
  /** Share of tokens it fires on; null where no atlas knows it. */
  density: number | null;
  /** The tokens of the word at which it rises most. */
  word_at: number[];
  /** The tokens on which its tint is kept pale: words of grammar, of what a text is about. */
  faint: number[];
  /** What it is called behind the word it fires on, of a feature of words; null where that says no more than the word. */
  behind?: string | null;
  activation: number;
  relative: number;
  specificity: number;
  token: string;
  pos: number;
  activations: Record<string, number>;
}

export interface ReadText {
  text: string;
  tokens: string[];
  features: Hit[];
  about: Hit[];
  words: Hit[];
  topic: string | null;
  topics: { topic: string; score: number; features: string[] }[];
  explained: number | null;
  truncated: number;
}

export interface ReadSae {
  name: string;
  site: string;
  d_sae: number;
  explained: number | null;
  expected: number | null;
}

export interface CarriedTopic {
  topic: string;
  texts: number[];
  features: { feature: string; label: string | null; own_label: string | null; label_score: number | null; texts: number }[];
}

type ErrorEvent = { event: "error"; data: { title: string; status: number; detail: string } };

/** What predicts and writes is being loaded, which reading has no need of: once, and so much of it is done. */
type LoadingEvent = { event: "loading"; data: { share: number } };

/** One layer: for each token of the text what would come next, were it the last. */
export interface LayerReading {
  layer: number;
  words: string[][];
  probabilities: number[][];
  /** Nats to what the model says in the end. */
  kl: number[];
  /** Place of the model's own likeliest token; 1 is first. */
  rank: number[];
}

interface FeatureAt { feature: string; activation: number; relative: number }

export interface SaeReading {
  sae: string;
  layer: number;
  top: (FeatureAt | null)[];
  active: number[];
  newest: (FeatureAt | null)[] | null;
  titles: Record<string, string | null>;
}

/** A layer, or an SAE, of two texts held against each other: a value for each pair of tokens. */
export interface LayerDiffering { layer: number; words: [string, string][]; apart: number[] }
export interface SaeDiffering { sae: string; layer: number; most: ({ feature: string; first: number; second: number } | null)[]; titles: Record<string, string | null> }

export type LensEvent =
  | { event: "meta"; data: { model: string; tokens: (string | [string, string])[]; left_out?: number; layers: number; saes: string[] } }
  | { event: "features"; data: SaeReading }
  | { event: "features_differ"; data: SaeDiffering }
  | { event: "layers_differ"; data: LayerDiffering }
  | { event: "layer"; data: LayerReading }
  | { event: "done"; data: { changes: string[]; limits: string } }
  | LoadingEvent
  | ErrorEvent;

/** A text that was written, as far as it is; what it cost comes at the end. */
export interface Arm {
  kind: "clean" | "steered" | "random" | "prompted";
  dose: number;
  text: string;
  tokens?: string[];
  /** Of each token, in nats. */
  kl?: number[];
  loss_clean_model?: number | null;
  repetition?: number;
  own_words?: number | null;
}

export interface Turned {
  name: string;
  title: string | null;
  /** What it was measured to do: *reads*, *writes*, *both*, *unclear*; null where nobody measured it. */
  kind: string | null;
  max: number;
  /** Tokens that it promotes; none where it was measured and hardly writes. */
  words: string[];
}

export interface Steering {
  prompt: string;
  model: string;
  features: string[];
  controls: string[];
  titles: Record<string, string | null>;
  arms: Arm[];
  note: string;
}

/** A place of the prompt, special tokens included, and whether a feature is turned there. */
export interface Position { token: string; altered: boolean }

/** What is being written: what the model says by itself while the dose is not known, then all of it, then what it says when it is asked. */
export type Step = "ready" | "alone" | "turned" | "asked";

export type SteerEvent =
  | { event: "state"; data: { step: Step; detail: string } }
  | { event: "tried"; data: { dose: number; moved: number } }
  | { event: "meta"; data: { model: string; doses: number[]; features: Turned[]; prompt: Position[] } }
  | { event: "written"; data: { step: Step; arms: Arm[] } }
  | { event: "done"; data: Steering }
  | LoadingEvent
  | ErrorEvent;

/** A feature that makes the model write some words: their chance without it and with it; `holds` where that was measured now, beside random steps. */
export interface Proposed { name: string; title: string | null; before: number; after: number; holds?: boolean }

export type ProposeEvent =
  | { event: "known" | "found"; data: { words: string[]; features: Proposed[] } }
  | { event: "progress"; data: { done: number; of: number } }
  | { event: "done"; data: unknown }
  | LoadingEvent
  | ErrorEvent;

export type ReadEvent =
  | { event: "meta"; data: { model: string; saes: string[]; texts: number } }
  | { event: "text"; data: { index: number; part: number; parts: number; result: ReadText } }
  | { event: "done"; data: { model: string; saes: ReadSae[]; topics: CarriedTopic[]; limits: string[] } }
  | ErrorEvent;

export type CompareEvent =
  | { event: "able"; data: { able: string; groups: { name: string; texts: number }[]; notes: string[] } }
  | { event: "progress"; data: { said: string; done: number | null; of: number } }
  | { event: "done"; data: Compared }
  | ErrorEvent;

/** Every activation on a text, as compressed sparse rows. */
export type ActivationsEvent =
  | { event: "meta" | "done"; data: unknown }
  | { event: "activations"; data: { index: number; sae: string; tokens: string[]; indptr: number[]; feature: number[]; value: number[] } }
  | { event: "error"; data: { detail: string } };
