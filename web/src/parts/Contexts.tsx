// Where a feature fires: strongest, from each stretch of its range, and where it might and does not.
import { useState } from "preact/hooks";
import { api } from "../api/client";
import type { Context, FeatureHead, Stretch } from "../api/types";
import { useLoaded } from "../state/load";
import { about } from "../state/session";
import { number, percent } from "../state/words";
import { Empty, Failed, Veil } from "./Bits";
import { Example, Legend } from "./Text";

const FIRST = 8;

/** `show` stands where the texts are veiled, and lifts the veil. */
export function Contexts({ name, head, show }: { name: string; head: FeatureHead; show: (() => void) | null }) {
  const most = head.feature.max;
  if (show) return <section><h2>Where it fires</h2><Veil show={show} /></section>;
  return (
    <>
      <section>
        <h2>Where it fires most</h2>
        <Legend of="its strongest" />
        <Listed passages={head.feature.top ?? []} most={most} />
      </section>
      <Range name={name} most={most} />
      <Misses name={name} most={most} />
    </>
  );
}

function Listed({ passages, most, few = FIRST }: { passages: Context[]; most: number; few?: number }) {
  const [all, set] = useState(false);
  if (!passages.length) return <Empty>No example was kept: it fired too seldom in the text that was read.</Empty>;
  return (
    <>
      <ol class="passages">{passages.slice(0, all ? 100 : few).map((passage, i) => <Example key={i} passage={passage} most={most} />)}</ol>
      {passages.length > few && <button type="button" class="quiet small" onClick={() => set(!all)}>{all ? "show fewer" : `show all ${passages.length}`}</button>}
    </>
  );
}

function Range({ name, most }: { name: string; most: number }) {
  const { value, error, again } = useLoaded(`range ${name}`, () => api.examples(name));
  if (error) return <Failed error={error} again={again} />;
  const seen = value?.stretches.filter((stretch) => stretch.passages.length) ?? [];
  if (!seen.length) return null;
  return (
    <section>
      <h2>From strong to weak</h2>
      <p class="soft small">Drawn by lot from each fifth of its range, so that the strongest do not speak for all.</p>
      <Stretches stretches={seen} most={most} />
    </section>
  );
}

function Stretches({ stretches, most }: { stretches: Stretch[]; most: number }) {
  return (
    <>
      {stretches.filter((stretch) => stretch.passages.length).map((stretch, i) => (
        <section key={i} class="stretch">
          <h3>{percent(stretch.low / most)} to {percent(stretch.high / most)} of its strongest{stretch.share !== null && <span class="soft"> · {percent(stretch.share)} of its firings</span>}</h3>
          <Listed passages={stretch.passages} most={most} few={3} />
        </section>
      ))}
    </>
  );
}

/** What it does in text that was at hand when the page was opened: the short texts that come with Hooke, read by the model that runs. */
export function InOtherText({ name, most }: { name: string; most: number }) {
  const { state } = about.value!.model;
  if (state !== "ready" || !about.value!.model.saes.includes(name.slice(0, name.lastIndexOf("/")))) return null;
  return <Fresh name={name} most={most} />;
}

function Fresh({ name, most }: { name: string; most: number }) {
  const { value, error } = useLoaded(`fresh ${name}`, (signal) => api.fresh(name, signal));
  if (error) return null;
  return (
    <section aria-busy={!value}>
      <h2>In other text, from strong to weak</h2>
      {!value && <p class="soft small" role="status">The model reads the headlines and sentences that come with Hooke: once for each layer, some seconds…</p>}
      {value && (
        <>
          <p class="soft small">{number(value.texts)} headlines and sentences that come with Hooke, read just now: it fires in {value.fired ? `${number(value.fired)} of them, on ${number(value.firings)} of ${number(value.tokens)} tokens` : "none of them"}. Weak places often say little: look where most of its firings lie.</p>
          <Stretches stretches={value.stretches} most={most} />
          {value.misses.length > 0 && <><h3>Silent here, though it often fires on the word</h3><Listed passages={value.misses} most={most} few={4} /></>}
        </>
      )}
    </section>
  );
}

function Misses({ name, most }: { name: string; most: number }) {
  const { value, error, again } = useLoaded(`misses ${name}`, () => api.misses(name));
  if (error) return <Failed error={error} again={again} />;
  if (!value?.passages.length) return null;
  return (
    <section>
      <h2>Near misses</h2>
      <p class="soft small">The same token, or the most alike text; and it is silent. They say what it is not.</p>
      <Listed passages={value.passages} most={most} few={4} />
    </section>
  );
}
