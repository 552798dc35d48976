// One SAE: what its features are, what it keeps of the model, how it was made.
import { api } from "../api/client";
import type { SaeDetail } from "../api/types";
import { Elsewhere, Empty, Failed } from "../parts/Bits";
import { useLoaded } from "../state/load";
import { about } from "../state/session";
import { clean, KINDS, number, percent, place } from "../state/words";
import { LostPage } from "./Lost";

/** What its file may say, in words; what is not here is shown under the file's own word. */
const SAID: Record<string, string> = {
  l0: "features that fire on a token", fvu: "of the variance left unexplained", dead: "features that never fired", tokens: "tokens of that text",
  fvu_float32: "the same, computed in float32", activation: "what decides that a feature fires", context: "tokens of a training text", bos: "texts began with the start token", reads: "reads", writes: "rebuilds",
};
const SHARES = new Set(["fvu", "fvu_float32", "dead"]);

export function SaePage({ name }: { name: string }) {
  const { value, error, status, again } = useLoaded(`sae ${name} ${about.value!.model.state}`, () => api.sae(name));
  if (status === 404) return <LostPage why={error!} />;
  if (error) return <Failed error={error} again={again} />;
  if (!value) return <Empty>Opening {name}…</Empty>;
  const { sae, kinds, ratings, facts } = value;
  const features = `/features?sae=${encodeURIComponent(sae.name)}`;
  const state = about.value!.model.state;
  return (
    <div class="narrow of-sae">
      <p class="crumbs small"><a href="/saes">SAEs</a> <span class="soft">/</span> <span class="soft">{place(sae.name)}</span></p>
      <h1>The {number(sae.d_sae)} features of {place(sae.name)}</h1>
      <p class="soft"><code>{sae.name}</code></p>
      <p>{fits(sae.ready, state, sae.explained, sae.explained_headlines)}</p>
      <section>
        <h2>What they are</h2>
        <ul class="lists-of">{Object.entries(kinds).map(([kind, n]) => (
          <li key={kind}><a href={`${features}&kind=${kind}`}>{KINDS[kind as keyof typeof KINDS] ?? kind}</a><span class="soft">{number(n)}</span></li>
        ))}</ul>
      </section>
      <section>
        <h2>How far their names hold</h2>
        <ul class="lists-of">
          <li><a href={`${features}&rating=usually%20fits`}>usually fit</a><span class="soft">{number(ratings["usually fits"])}</span></li>
          <li><a href={`${features}&rating=sometimes%20fits`}>fit sometimes or more often</a><span class="soft">{number(ratings["sometimes fits"])}</span></li>
          <li><span>have been tested at all</span><span class="soft">{number(ratings["seldom fits"])}</span></li>
        </ul>
      </section>
      <section>
        <h2>In the text of its atlas</h2>
        <dl class="figures small">
          <Fact said="features that fire on a token" value={number(sae.l0)} />
          <Fact said="never fired" value={number(sae.dead)} />
          <Fact said="tokens read" value={number(sae.tokens)} />
          <Fact said="digest of the weights" value={sae.digest.slice(0, 12)} />
        </dl>
      </section>
      <FromFile facts={facts} />
      <Elsewhere command={`hooke inspect ${sae.name} --json`} json={() => value} />
    </div>
  );
}

function fits(ready: boolean, state: string, explained: number | null, headlines: number | null): string {
  const reads = ready ? "The model that runs reads texts with it." : state === "loading" ? "The model is being loaded." : "No model that runs here reads texts with it.";
  if (explained === null) return reads;
  return `${reads} It rebuilds ${percent(explained)} of the variance of the model's activations in the text of its atlas${headlines === null ? "" : `, ${percent(headlines)} in news headlines`}; what it does not rebuild is not shown on these pages.`;
}

function Fact({ said, value }: { said: string; value: string }) {
  return <div><dt>{said}</dt><dd><bdi>{value}</bdi></dd></div>;
}

function FromFile({ facts }: { facts: SaeDetail["facts"] }) {
  const { metrics = {}, training = {}, ...own } = facts as Record<string, unknown> & { metrics?: Record<string, unknown>; training?: Record<string, unknown> };
  const made = ["activation", "context", "bos", "reads", "writes"].filter((key) => own[key] !== undefined && String(own[key])).map((key) => [key, own[key]] as const);
  if (!made.length) return <Empty>Its file is not among the installed ones, so how it was made is not known here.</Empty>;
  return (
    <>
      <section><h2>Measured when it was made, on held-out text</h2><dl class="figures small">{Object.entries(metrics).map(([key, value]) => <Fact key={key} said={SAID[key] ?? key} value={told(value, SHARES.has(key))} />)}</dl></section>
      <section><h2>How it was made</h2><dl class="figures small">{made.map(([key, value]) => <Fact key={key} said={SAID[key] ?? key} value={told(value)} />)}</dl>
        <details><summary class="small soft">every setting of its training, by the trainer's own words</summary><dl class="figures small">{Object.entries(training).filter(([key]) => !(key in own)).map(([key, value]) => <Fact key={key} said={key} value={told(value)} />)}</dl></details></section>
    </>
  );
}

/** Any value of a file, in a line. */
function told(value: unknown, share = false): string {
  if (typeof value === "number") return share ? percent(value) : number(value);
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value)) return value.map((one) => told(one)).join(", ");
  if (value && typeof value === "object") return Object.entries(value).map(([key, one]) => `${clean(key)} ${told(one)}`).join(", ");
  return clean(String(value ?? ""));
}
