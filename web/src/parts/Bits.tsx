// Small parts that several pages share.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { number, truth, trust } from "../state/words";

/** A score in words, with the number and what stands behind it. Never one without the others. */
export function Trust({ score, evidence, own, tried = true, right = 0, of = 0 }: {
  score: number | null | undefined; evidence?: number | undefined; own?: string | null | undefined; tried?: boolean;
  /** Short texts of which a reader found the name to be true, and of how many. */ right?: number | undefined; of?: number | undefined;
}) {
  if (own) return <span class="trust soft small">your name, not tried</span>;
  const said = truth(right, of);
  if (said) {
    return (
      <span class="trust small" title={`A reader tried the name on ${of} short texts in which the feature stands out: it was true of ${right}.`}>
        <span class="dots" style={{ "--q": `${Math.round((100 * right) / of)}%` }} aria-hidden="true" />
        {said} <span class="soft">true of {right} of {of}</span>
      </span>
    );
  }
  if (score === null || score === undefined) return <span class="trust soft small">not tried</span>;
  const quality = Math.max(0, Math.min(1, 2 * score - 1));
  return (
    <span class="trust small" title={`${tried ? "How well the name tells" : "Nobody tried this name yet; how well the rule beneath it tells"} where the feature fires, on text it was not made from: 1 is always right, 0.5 is chance.`}>
      <span class="dots" style={{ "--q": `${Math.round(quality * 100)}%` }} aria-hidden="true" />
      {tried ? "" : "rule "}{trust(score, evidence ?? 0)} <span class="soft">{score.toFixed(2)}{evidence !== undefined && ` on ${number(evidence)} places`}</span>
    </span>
  );
}

/** A share as a bar. */
export function Bar({ share, label }: { share: number; label: string }) {
  const width = Math.max(0, Math.min(1, share)) * 100;
  return <span class="bar" role="img" aria-label={label}><span style={{ width: `${width}%` }} /></span>;
}

/** Copies a text, and says so. */
export function Copy({ text, children }: { text: () => string; children: ComponentChildren }) {
  const [done, set] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text());
    set(true);
    setTimeout(() => set(false), 1500);
  };
  return <button type="button" class="quiet" onClick={() => void copy()}>{children}<span role="status">{done ? " ✓ copied" : ""}</span></button>;
}

/** Stands before the texts of a feature on private, protected or offensive matters. */
export function Veil({ show }: { show: () => void }) {
  return (
    <>
      <p class="small soft">It may touch on private or offensive matters. A feature describes text, not people.</p>
      <button type="button" onClick={show}>Show the texts: they may offend, or speak of private matters</button>
    </>
  );
}

/** The same thing for a terminal and for a script. */
export function Elsewhere({ command, json }: { command: string; json?: () => unknown }) {
  return (
    <details class="elsewhere">
      <summary>as a command{json && " · as JSON"}</summary>
      <pre tabIndex={0}><code>{command}</code></pre>
      <Copy text={() => command}>copy command</Copy>
      {json && <Copy text={() => JSON.stringify(json(), null, 1)}>copy JSON</Copy>}
    </details>
  );
}

/** What is shown where there is nothing to show. */
export function Empty({ children }: { children: ComponentChildren }) {
  return <p class="empty soft">{children}</p>;
}

export function Failed({ error, again }: { error: string; again?: () => void }) {
  return (
    <div class="failed" role="alert">
      <p>{error}</p>
      {again && <button type="button" onClick={again}>try again</button>}
    </div>
  );
}

/** A row of choices of which one holds. */
export function Choice({ name, value, options, onChange }: {
  name: string; value: string; options: readonly (readonly [string, string])[]; onChange: (value: string) => void;
}) {
  return (
    <div class="choice" role="group" aria-label={name}>
      {options.map(([key, text]) => (
        <button key={key} type="button" aria-pressed={key === value} onClick={() => onChange(key)}>{text}</button>
      ))}
    </div>
  );
}
