// Where a feature fires: strongest, from each stretch of its range, and where it might and does not.
import { useState } from "preact/hooks";
import { api } from "../api/client";
import type { FeatureHead, Context } from "../api/types";
import { useLoaded } from "../state/load";
import { number, percent } from "../state/words";
import { Empty, Failed, Veil } from "./Bits";
import { Example, Legend } from "./Text";

const FIRST = 8;

export function Contexts({ name, head }: { name: string; head: FeatureHead }) {
  const most = head.feature.max;
  const [asked, ask] = useState("");
  if (head.sensitive && asked !== name) return <section><h2>Where it fires</h2><Veil show={() => ask(name)} /></section>;
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
      {seen.map((stretch, i) => (
        <section key={i} class="stretch">
          <h3>{number(stretch.low)} to {number(stretch.high)}{stretch.share !== null && <span class="soft"> · {percent(stretch.share)} of its firings</span>}</h3>
          <Listed passages={stretch.passages} most={most} few={2} />
        </section>
      ))}
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
