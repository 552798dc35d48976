// How numbers and names are put into words, the same on every page.
const thin = "\u202f";

export function number(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "not measured";
  if (Math.abs(value) >= 1000 || Number.isInteger(value)) return Math.round(value).toString().replace(/\B(?=(\d{3})+$)/g, ",").replace("-", "−");
  return String(Number(value.toPrecision(3))).replace("-", "−");
}

export function percent(share: number | null | undefined): string {
  if (share === null || share === undefined || !Number.isFinite(share)) return "not measured";
  const value = 100 * share;
  const text = value >= 10 || value === 0 ? value.toFixed(0) : value >= 0.001 ? String(Number(value.toPrecision(2))) : value.toExponential(0);
  return `${text.replace("-", "−")}${thin}%`;
}

/** One in how many tokens, which are words or pieces of words. */
export function rarity(density: number): string {
  if (density <= 0) return "never";
  const every = 1 / density;
  if (every < 1.5) return "nearly every word";
  return `1 in ${number(every < 100 ? Math.round(every) : Number(every.toPrecision(2)))} words`;
}

export const NO_LABEL = "no name yet";
export function layerOf(sae: string): string {
  return /\.(\d+)\//.exec(`${sae}/`)?.[1] ?? "?";
}

/** `resid_post.12` as people say it. */
export function place(sae: string): string {
  const site = sae.split("/")[1] ?? sae;
  const [kind, layer] = site.split(".");
  const kinds: Record<string, string> = { resid_post: "", mlp_out: "MLP of ", attn_out: "attention of ", resid_pre: "before ", resid_mid: "middle of " };
  return `${kinds[kind!] ?? `${kind} of `}layer ${layer ?? "?"}`;
}

/** 1 to 5 on the colour scale; 0 where a feature is silent. */
export function step(value: number, most: number): number {
  return value <= 0 || most <= 0 ? 0 : Math.max(1, Math.min(5, Math.ceil((5 * value) / most - 1e-9)));
}

/** What a feature is, in the plural. */
export const KINDS = {
  topic: "subjects", entity: "names of things", event: "events", frame: "ways of telling", word: "words", grammar: "grammar", form: "spelling and form",
  unclear: "nameless",
} as const;

/** How long ago, of seconds since 1970. */
export function ago(time: number): string {
  const passed = Date.now() / 1000 - time;
  return passed < 20 ? "just now" : passed > 172800 ? `on ${new Date(time * 1000).toLocaleDateString()}` : `${seconds(passed)} ago`;
}

export function seconds(value: number | null): string {
  if (value === null) return "";
  if (value < 90) return `${Math.round(value)} s`;
  if (value < 5400) return `${Math.round(value / 60)} min`;
  return `${number(Number((value / 3600).toPrecision(2)))} h`;
}

const NAMES: Record<string, string> = {
  "\t": "TAB", "\n": "↵", "\r": "CR", "\0": "NUL", "\x1b": "ESC", "\u00ad": "SHY", "\u200b": "ZWSP", "\u200e": "LRM", "\u200f": "RLM",
  "\u202a": "LRE", "\u202b": "RLE", "\u202c": "PDF", "\u202d": "LRO", "\u202e": "RLO", "\u2066": "LRI", "\u2067": "RLI",
  "\u2068": "FSI", "\u2069": "PDI", "\ufeff": "BOM",
};
const HIDDEN =
  // eslint-disable-next-line no-control-regex
  /[\0-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\u{e0000}-\u{e007f}]/u;

/** The pieces of a text: what can be shown as it is, and the names of characters that hide or move others. */
export function pieces(text: string): { text: string; mark: boolean }[] {
  if (!HIDDEN.test(text)) return [{ text, mark: false }];
  const found: { text: string; mark: boolean }[] = [];
  for (const character of text) {
    const mark = HIDDEN.test(character);
    const shown = mark ? (NAMES[character] ?? `U+${character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}`) : character;
    const last = found.at(-1);
    if (last && !last.mark && !mark) last.text += shown;
    else found.push({ text: shown, mark });
  }
  return found;
}

/** A short text without anything that hides or moves characters. */
export function clean(text: string | null | undefined): string {
  return pieces((text ?? "").slice(0, 300)).map((piece) => (piece.mark ? "" : piece.text)).join("");
}

/** The spaces that a token begins with, a line end as one of them, and the rest. A byte order mark, a space to browsers, is of the rest. */
export function parted(token: string): [string, string] {
  const spaces = /^[^\S\ufeff]*/.exec(token)![0];
  return [spaces.replace(/[\n\r\t]+/g, " "), token.slice(spaces.length)];
}

/** A token on its own, which may be nothing that can be seen: spaces, line ends and hidden characters by their names. */
export function spelt(token: string | null | undefined): string {
  const shown = pieces((token ?? "").slice(0, 300)).map((piece) => piece.text).join("").trim();
  return shown || "␣";
}

/** An argument as a shell takes it. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
