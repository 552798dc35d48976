// Two features side by side: `?with=` on a feature's page.
import type { ComponentChildren } from "preact";
import { api } from "../api/client";
import type { FeatureHead } from "../api/types";
import { useLoaded } from "../state/load";
import { number, percent, place, rarity, spelt } from "../state/words";
import { Elsewhere, Empty, Failed, Trust } from "./Bits";
import { Histogram } from "./Histogram";
import { Example, Label, Legend } from "./Text";
import { Writes } from "./Writes";

const FEW = 5;

export function Side({ name, other }: { name: string; other: string }) {
  const left = useLoaded(name, (signal) => api.feature(name, signal));
  const right = useLoaded(other, (signal) => api.feature(other, signal));
  const near = useLoaded(`near ${name}`, () => api.neighbours(name));
  const error = left.error ?? right.error;
  if (error) return <Failed error={error} />;
  if (!left.value || !right.value) return <Empty>Opening both…</Empty>;
  const both = [left.value, right.value];
  const known = (list: "alike" | "together") => near.value?.[list].find((row) => row.name === other)?.value;
  const said = [
    known("alike") !== undefined && `write much the same (cosine ${known("alike")!.toFixed(2)})`,
    known("together") !== undefined && `fire on the same tokens (overlap ${known("together")!.toFixed(2)})`,
  ].filter(Boolean).join(" and ");
  const row = (title: string, cell: (head: FeatureHead) => ComponentChildren) => (
    <>{both.map((head) => <section key={head.name}><h2>{title} <span class="soft small">{head.index}</span></h2>{cell(head)}</section>)}</>
  );
  return (
    <div class="feature">
      <p class="crumbs small"><a href="/features">Features</a> <span class="soft">/</span> <span class="soft">two side by side</span>
        <span class="steps"><a href={`/f/${other}?with=${name}`}>swap</a><a href={`/f/${name}`}>only the first</a></span></p>
      <h1 class="vh">Two features side by side</h1>
      {said && <p class="lede">They {said}.</p>}
      <div class="side">
        {both.map((head) => <Head key={head.name} head={head} />)}
        {row("Where it fires most", (head) => <><Legend of="its strongest" /><ol class="passages">{(head.feature.top ?? []).slice(0, FEW).map((passage, i) => <Example key={i} passage={passage} most={head.feature.max} />)}</ol></>)}
        {both.map((head) => <div key={head.name}><Writes head={head} /></div>)}
        {row("How strongly it fires", (head) => <Histogram counts={head.feature.histogram ?? []} most={head.feature.max} marker={null} />)}
        {row("Tokens it spends most on", (head) => (
          <p class="chips">{(head.feature.tokens ?? []).slice(0, 12).map((token, i) => <bdi key={i} class="word" title={percent(token.share)}>{spelt(token.text)}</bdi>)}</p>
        ))}
      </div>
      <Elsewhere command={both.map((head) => `hooke feature ${head.name} --json`).join("\n")} json={() => both} />
    </div>
  );
}

function Head({ head }: { head: FeatureHead }) {
  const one = head.feature;
  return (
    <header>
      <p class="small soft">{place(head.sae)} · {head.index}</p>
      <p class="title"><a href={`/f/${head.name}`}><Label text={head.title} own={one.written?.label} /></a></p>
      {head.names[0] && <p><Trust rating={head.names[0].rating} /></p>}
      <p class="small soft">Fires on {rarity(one.density)}; strongest {number(one.max)}.</p>
    </header>
  );
}
