// Small parts that several pages share.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Rating } from "../api/types";
import { about } from "../state/session";

/** How far a name can be relied on, in a word, with what that rests on. Never the one without the other. */
export function Trust({ rating, brief }: { rating: Rating; brief?: boolean }) {
  const { word, figure, share, of_rule } = rating;
  if (share === 0 || word === "yours") return brief ? null : <span class="trust soft small">{word} {figure}</span>;
  const rules = about.value!.ratings;
  const said = /right \d/.test(`${word} ${figure}`) ? rules.here : figure.startsWith("true") ? rules.tried : `${of_rule ? `${rules.rule}; ` : ""}${rules.fits}`;
  const dots = <span class="dots" style={{ "--q": `${Math.round(share * 100)}%` }} aria-hidden="true" />;
  if (brief && of_rule) return null; // the rule says something else than the name
  if (brief) return <span class="trust small" title={`${word} ${figure}. ${said}`}>{dots}<span class="vh">{word} {figure}</span></span>;
  return (
    <span class="trust small" title={said}>
      {dots}
      {word} <span class="soft">{figure}</span>
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
