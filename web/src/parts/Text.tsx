// Texts with tokens tinted by an activation, and names that come from outside.
import type { ComponentChildren } from "preact";
import type { Context } from "../api/types";
import { clean, NO_LABEL, number, parted, percent, pieces, spelt, step } from "../state/words";

/** Text from outside, every hidden character shown as a mark. */
export function Shown({ text }: { text: string }) {
  return <>{pieces(text).map((piece, i) => (piece.mark ? <span key={i} class="mark">{piece.text}</span> : piece.text))}</>;
}

/** The name of a feature; grey where there is none. */
export function Label({ text, own }: { text: string | null | undefined; own?: string | null | undefined }) {
  const shown = clean(own || text);
  const nameless = !shown || shown === "no consistent meaning found" || shown === "too rare to name";
  return <bdi class={nameless ? "label nameless" : "label"}>{shown || NO_LABEL}</bdi>;
}

/** One example: a stretch of text, each token tinted by how strongly the feature fires there. */
export function Example({ passage, most, children }: { passage: Context; most: number; children?: ComponentChildren }) {
  const peak = passage.values[passage.peak] ?? 0;
  const active = passage.values.filter((value) => value > 0).length;
  const said = peak > 0
    ? `Strongest ${number(peak)} on “${spelt(passage.tokens[passage.peak])}”; fires on ${active} of ${passage.tokens.length} tokens: `
    : `Silent on “${spelt(passage.tokens[passage.peak])}”: `;
  return (
    <li class="example">
      <p class="passage" dir="auto">
        <span class="vh">{said}</span>
        {passage.tokens.map((token, i) => {
          const [spaces, bare] = parted(token);
          const value = passage.values[i] ?? 0;
          const kind = `${value > 0 ? `s${step(value, most)}` : ""}${i === passage.peak ? " peak" : ""}`.trim();
          return (
            <>
              {spaces}
              {kind ? <span class={kind} title={value > 0 ? number(value) : "silent"}><Shown text={bare} /></span> : <Shown text={bare} />}
            </>
          );
        })}
      </p>
      <p class="source soft small">
        {peak > 0 && <span title={number(peak)}>{percent(peak / most)} of its strongest</span>} {children} {passage.corpus && <span>from <bdi>{clean(passage.corpus)}</bdi></span>}
      </p>
    </li>
  );
}

/** What the tints mean. */
export function Legend({ of, children }: { of: string; children?: ComponentChildren }) {
  return (
    <p class="legend small soft">
      <span>tint: {children}{children && ", as a "}share of {of}{children && "; pale on words of grammar; underlined: the word at which it rises most"}</span>
      <span class="scale" aria-hidden="true">
        {[1, 2, 3, 4, 5].map((s) => <span key={s} class={`s${s}`}>{20 * s}</span>)}
      </span>
      <span class="vh">from palest, up to 20 per cent, to strongest, above 80 per cent</span>
    </p>
  );
}
