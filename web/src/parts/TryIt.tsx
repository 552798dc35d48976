// A sentence of one's own, tried on one feature.
import { useEffect, useState } from "preact/hooks";
import { activations, type Problem } from "../api/client";
import { about } from "../state/session";
import { number, parted, percent, spelt, step } from "../state/words";
import { Shown } from "./Text";

export function TryIt({ name, most, onPeak }: { name: string; most: number; onPeak: (value: number | null) => void }) {
  const [text, set] = useState("");
  const [found, show] = useState<{ tokens: string[]; values: number[] } | null>(null);
  const [error, fail] = useState<string | null>(null);
  const state = about.value!.model.state;
  useEffect(() => {
    fail(null);
    if (!text.trim() || state !== "ready") {
      show(null);
      onPeak(null);
      return;
    }
    const stop = new AbortController();
    const timer = setTimeout(() => {
      void (async () => {
        try {
          for await (const told of activations({ texts: [text.slice(0, 2000)], features: [name] }, stop.signal)) {
            if (stop.signal.aborted) return;
            if (told.event === "activations") {
              const { tokens, indptr, value } = told.data;
              const values = tokens.map((_, i) => (indptr[i + 1]! > indptr[i]! ? value[indptr[i]!]! : 0));
              show({ tokens, values });
              onPeak(Math.max(0, ...values));
            } else if (told.event === "error") fail(told.data.detail);
          }
        } catch (caught) {
          if (!stop.signal.aborted) fail((caught as Problem).message);
        }
      })();
    }, 150);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [text, name, state]);
  const peak = found ? Math.max(0, ...found.values) : 0;
  const where = found ? found.values.indexOf(peak) : -1;
  return (
    <section class="tryit">
      <h2><label for="try">Try it on your own sentence</label></h2>
      <textarea id="try" rows={2} dir="auto" maxLength={2000} spellcheck={false} value={text} disabled={state === "none" || state === "failed"}
        placeholder={state === "none" ? "This server runs without a model" : state === "loading" ? "The model warms up…" : "Type, and see where it fires"}
        onInput={(event) => set(event.currentTarget.value)} />
      {error && <p role="alert" class="small">{error}</p>}
      {found && (
        <>
          <p class="passage" dir="auto">
            {found.tokens.map((token, i) => {
              const [spaces, bare] = parted(token);
              const value = found.values[i]!;
              return <>{spaces}<span key={i} class={`s${step(value, most)}${value > 0 && i === where ? " peak" : ""}`} title={value > 0 ? number(value) : "silent"}><Shown text={bare} /></span></>;
            })}
          </p>
          <p class="small soft" role="status">{peak > 0 ? `Strongest on “${spelt(found.tokens[where])}”: ${percent(peak / most)} of the strongest ever seen.` : "It stays silent."}</p>
        </>
      )}
    </section>
  );
}
