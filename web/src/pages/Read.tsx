// Read: a text, and what the model noticed in it.
import { useSignal } from "@preact/signals";
import type { VNode } from "preact";
import type { ReadText } from "../api/types";
import { useEffect } from "preact/hooks";
import { Bar, Choice, Elsewhere, Empty, Failed } from "../parts/Bits";
import { Layers } from "../parts/Layers";
import { Gather } from "../parts/Gather";
import { Reading } from "../parts/Reading";
import { api, type Problem } from "../api/client";
import { go, params, path, withParams } from "../state/router";
import { random } from "../state/keys";
import * as reading from "../state/reading";
import { about } from "../state/session";
import { layerOf, number, percent, quoted } from "../state/words";

const EXAMPLES = [
  "Central bank holds rates as inflation cools for third month",
  "Striker ends goal drought with hat-trick on opening day",
  "Small towns count the cost as last bank branch closes",
  "River bank gives way, leaving riverside cottages on the edge",
  "Mercury probe sends back first close images of scorched craters",
  "Mercury found in tinned tuna prompts recall",
  "Telescope spots water vapour on distant rocky planet",
  "Lost symphony found in attic gets first performance",
  "Jury clears nurse in case that divided a village",
  "Dam burst forces evacuation of three valleys",
];
const SHORT = 500;
const STILL = 1500;

/** Keeps the address and what is read the same; gives why the text of an address is not to be had. */
function useAddress(): string | null {
  const opening = useSignal(false);
  const lost = useSignal<string | null>(null);
  useEffect(() => {
    const given = params.value.get("t");
    const id = params.value.get("id");
    if (given !== null) reading.text.value = given;
    else if (params.value.has("demo")) take(EXAMPLES.join("\n"));
    else if (id && !reading.text.value) {
      opening.value = true;
      api.saved(id).then((kept) => (reading.text.value = kept.text), (error: Problem) => (lost.value = error.message)).finally(() => (opening.value = false));
    }
    if (params.value.has("lines")) reading.byLine.value = true;
    const layers = params.value.getAll("sae");
    if (layers.length) reading.saes.value = layers;
    if (params.value.has("max_density")) reading.maxDensity.value = Number(params.value.get("max_density")) || null;
  }, []);
  const { text, saes, byLine, maxDensity } = reading;
  useEffect(() => {
    if (opening.value) return;
    const long = text.value.length > SHORT;
    go(withParams({ demo: null, t: long ? null : text.value, sae: saes.value, lines: byLine.value ? "1" : null, max_density: maxDensity.value === null ? null : String(maxDensity.value), ...(long ? {} : { id: null }) }), true);
    if (!long) return;
    // A long text stands in the address by a short name, once it has been still for a while.
    const timer = setTimeout(() => void api.save(text.value).then((kept) => path.value === "/" && go(withParams({ id: kept.id }), true), () => undefined), STILL);
    return () => clearTimeout(timer);
  }, [text.value, saes.value, byLine.value, maxDensity.value]);
  return text.value ? null : lost.value;
}

function take(given: string) {
  reading.text.value = given.slice(0, reading.MOST);
  const lines = given.split("\n").filter((line) => line.trim());
  reading.byLine.value = lines.length > 1 && lines.every((line) => line.length <= 300);
}

/** What is typed or pasted; where several short lines come into the box, each is a text of its own until something else is said. */
function typed(given: string) {
  const before = reading.text.value.trim().includes("\n");
  if (!before && given.trim().includes("\n")) take(given);
  else reading.text.value = given;
}

export function ReadPage() {
  const lost = useAddress();
  const over = useSignal(false);
  const model = about.value!.model;
  const drop = async (event: DragEvent) => {
    event.preventDefault();
    over.value = false;
    const file = event.dataTransfer?.files[0];
    if (file) take(await file.text());
  };
  return (
    <div class="read">
      <h1 class={reading.text.value ? "vh" : ""}>Type a text. See what the model notices.</h1>
      {!reading.text.value && <p class="lede">A language model reads it on this machine. What it computes on the way is taken apart into features, each with a name that you can check.</p>}
      <form class="box" onSubmit={(event) => event.preventDefault()} onDragOver={(event) => { event.preventDefault(); over.value = true; }}
        onDragLeave={() => (over.value = false)} onDrop={(event) => void drop(event)} data-over={over.value}>
        <label class="vh" for="text">Text to read</label>
        <textarea id="text" dir="auto" rows={reading.text.value.length > 160 || reading.byLine.value ? 5 : 2} maxLength={reading.MOST} spellcheck={false}
          placeholder="A headline, a sentence, a page; or drop a text file here" value={reading.text.value} disabled={model.state === "none"}
          onInput={(event) => typed(event.currentTarget.value)}
          onKeyDown={(event) => event.key === "Escape" && reading.running.value && reading.cancel()} />
        {!reading.text.value && <Examples />}
      </form>
      <Controls />
      {model.state === "none" && <Empty>This server runs without a model, so no text can be read. <a href="/features">Features</a> and <a href="/search">Search</a> work. To read texts: <code>hooke serve</code> without <code>--model none</code>.</Empty>}
      {model.state === "failed" && <Failed error={model.detail} />}
      {lost && <Failed error={lost} />}
      {reading.failed.value && <Failed error={reading.failed.value} />}
      <Results />
    </div>
  );
}

function Examples() {
  return (
    <div class="examples" role="group" aria-label="Examples">
      {EXAMPLES.map((line) => (
        <button key={line} type="button" class="chip" onClick={() => { reading.byLine.value = false; reading.text.value = line; }}>{line}</button>
      ))}
      <button type="button" class="chip strong" onClick={() => take(EXAMPLES.join("\n"))}>all of them at once</button>
    </div>
  );
}

function Controls() {
  if (!about.value!.model.saes.length) return about.value!.model.state === "loading" ? <p class="soft small" role="status">The model warms up: {about.value!.model.detail}. Your text is read as soon as it is ready.</p> : null;
  return (
    <div class="controls small">
      {reading.text.value && <Layers chosen={reading.saes} />}
      {reading.text.value && <HowRare />}
      {reading.text.value.trim().includes("\n") && (
        <Choice name="What is a text" value={reading.byLine.value ? "lines" : "all"} options={[["lines", "each line is a text"], ["all", "one text"]]}
          onChange={(value) => (reading.byLine.value = value === "lines")} />
      )}
      {reading.text.value && <button type="button" class="quiet" onClick={() => { reading.text.value = ""; document.getElementById("text")?.focus(); }}>clear</button>}
      <span class="soft" role="status">{status()}</span>
      {reading.running.value && reading.expected() > 1 && (
        <>
          <Bar share={reading.texts.value.length / reading.expected()} label="read so far" />
          <button type="button" class="quiet" onClick={reading.cancel}>stop</button>
        </>
      )}
    </div>
  );
}

/** Leaves out features that fire everywhere. */
function HowRare() {
  return (
    <label class="soft">Leave out <select class="inline" value={reading.maxDensity.value ?? ""} onChange={(event) => (reading.maxDensity.value = Number(event.currentTarget.value) || null)}>
      <option value="">nothing</option>{[0.1, 0.01, 0.001].map((most) => <option key={most} value={most}>what fires on over {percent(most)} of tokens</option>)}</select></label>
  );
}

function status(): string {
  if (reading.running.value) {
    const all = reading.expected();
    return about.value!.model.state === "loading" ? "waiting for the model…" : all > 1 ? `read ${reading.texts.value.length} of ${all}${reading.parts.value > 1 ? " parts" : ""}…` : "reading…";
  }
  return reading.took.value !== null && reading.texts.value.length ? `read in ${number(Math.round(reading.took.value))} ms` : "";
}

function Results() {
  const found = reading.texts.value;
  if (!found.length) return <Doors />;
  const several = found.length > 1 || (reading.running.value && reading.expected() > 1);
  return (
    <div class={`results${several ? " several" : ""}${reading.running.value && !several ? " stale" : ""}`}>
      <div class="topic-of"><Topics several={several} /></div>
      <div class="texts">
        {reading.parts.value > 1 && several && <p class="small soft">A long text is read in {reading.parts.value} parts, each by itself: the model does not see the parts before it.</p>}
        {several ? found.map(card) : <Reading key="one" found={found[0]!} several={false} />}
        <div class="after small"><Gather /></div>
      </div>
      <aside aria-label="About this reading">
        {!several && found[0]!.explained !== null && (
          <details>
            <summary>How much these features explain</summary>
            <p class="small">{percent(found[0]!.explained)} of what the model computed here is in these features. The rest is not shown.</p>
            {reading.through.value.map((sae) => sae.expected !== null && <p key={sae.name} class="small soft">layer {layerOf(sae.name)}: {percent(sae.explained)} here, {percent(sae.expected)} on ordinary text</p>)}
          </details>
        )}
        {reading.limits.value.length > 0 && (
          <section>
            <h2>What this cannot say</h2>
            <ul class="small soft">{reading.limits.value.map((line) => <li key={line}>{line}</li>)}</ul>
          </section>
        )}
        <Elsewhere command={command()} json={() => ({ texts: reading.texts.value, topics: reading.topics.value, saes: reading.through.value, limits: reading.limits.value })} />
      </aside>
    </div>
  );
}

/** One of several texts; the same element each time, so that what is there already is not drawn again when the next comes. */
function card(found: ReadText): VNode {
  const known = cards.get(found) ?? <Reading found={found} several />;
  cards.set(found, known);
  return known;
}

const cards = new WeakMap<ReadText, VNode>();

/** Other ways in, while there is no text. */
function Doors() {
  if (reading.text.value) return null;
  return (
    <ul class="doors">
      <li><a href="/features">Browse {number(about.value!.features)} features</a><span class="soft small">{about.value!.model.saes.length > 1 && `of ${about.value!.model.saes.length} layers, each with its own; `}subjects, names, words, grammar; by how well their names fit, by how rare they are</span></li>
      <li><a href="/search">Search them</a><span class="soft small">by name, by the text they fire on, by the words they write</span></li>
      <li><button type="button" onClick={() => void random()}>Open any one</button><span class="soft small">to get a feel for what a feature is: where it fires, and what it makes the model say</span></li>
    </ul>
  );
}

function command(): string {
  const saes = reading.saes.value.map((name) => ` --sae ${name}`).join("");
  return `hooke analyze ${reading.pieces().slice(0, 20).map(quoted).join(" ")}${saes} --json`;
}

function Topics({ several }: { several: boolean }) {
  const one = reading.texts.value[0]!;
  const rows: [string, string, number][] = several && reading.parts.value > 1 ? byPart() : several
    ? reading.topics.value.map((topic) => [topic.topic, `${topic.texts.length} text${topic.texts.length === 1 ? "" : "s"}`, topic.texts.length / reading.texts.value.length])
    : one.topics.slice(0, 4).map((topic) => [topic.topic, percent(topic.score), topic.score]);
  return (
    <section>
      <h2>{several ? `Topics of ${reading.parts.value > 1 ? "the parts" : "these texts"}` : "Topic"}</h2>
      {rows.length === 0 ? <p class="soft">No topic stands out.</p> : !several && <p class="soft small">A guess from what the features say of the news' subjects; one or two words can mislead it.</p>}
      <ul class="topics">
        {rows.map(([name, said, share]) => (
          <li key={name}><span>{name}</span><span class="soft">{said}</span><span class="bar" aria-hidden="true"><span style={{ width: `${100 * share}%` }} /></span></li>
        ))}
      </ul>
    </section>
  );
}

/** Topics of a long text by how many of its parts they are of. */
function byPart(): [string, string, number][] {
  const tally = new Map<string, number>();
  for (const part of reading.texts.value) if (part.topic) tally.set(part.topic, (tally.get(part.topic) ?? 0) + 1);
  const all = reading.texts.value.length;
  return [...tally].sort((a, b) => b[1] - a[1]).map(([topic, n]) => [topic, `${n} of ${all}`, n / all]);
}
