// Features chosen by name or address, each a chip that can be taken off again.
import { useEffect, useState } from "preact/hooks";
import { api, propose, type Problem } from "../api/client";
import type { Proposed } from "../api/types";
import { findFeatures, type Found } from "../state/find";
import { useLoaded } from "../state/load";
import { about, loading, waiting } from "../state/session";
import { clean, layerOf, number, percent } from "../state/words";
import { Label } from "./Text";
import { Does } from "./Writes";

/** What to look for, for those who know no feature by name, and words that say it. */
const TRY = [["space", "space, Earth, solar, planet"], ["football", "football"], ["courts", "court, trial, judge"], ["elections", "election, vote, party"], ["music", "music, band, song"], ["money", "money"]] as const;

export function FeaturePicker({ names, most, onChange }: { names: readonly string[]; most: number; onChange: (names: string[]) => void }) {
  const [text, set] = useState("");
  const [found, show] = useState<Found[] | null>(null);
  const [writers, offer] = useState<Writers | null>(null);
  useEffect(() => {
    const stop = new AbortController();
    const timer = setTimeout(() => void findFeatures(text, stop.signal).then((rows) => !stop.signal.aborted && show(text.trim() ? rows : null), () => undefined), 120);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [text]);
  useEffect(() => () => stop.abort(), []);
  const focus = () => document.getElementById("feature")?.focus();
  const add = (name: string) => {
    onChange([...names.filter((own) => own !== name), name]);
    set("");
    focus();
  };
  /** Takes the best of the features that are known to write such words; where none is known, they are looked for. */
  const take = async ([word, words]: readonly [string, string]) => {
    offer(null);
    const best = await known(words);
    if (!best.length) return set(word);
    offer({ words, rows: best, doing: "" });
    add(best[0]!.name);
  };
  const offered = found?.filter((row) => !names.includes(row.name)) ?? [];
  const others = writers?.rows ?? [];
  return (
    <div class="picker" onKeyDown={(event) => { if (event.key === "Escape") set(""); }}>
      {names.length > 0 && <ul class="chips">{names.map((name) => <Chosen key={name} name={name} onDrop={() => onChange(names.filter((own) => own !== name))} />)}</ul>}
      {names.length < most && (
        <div class="over">
          <input id="feature" type="search" autocomplete="off" spellcheck={false} maxLength={200} aria-label="Feature, by name or number" placeholder={names.length ? "another one with it" : "what to write about, a feature's name, or 12/6213"}
            value={text} onInput={(event) => set(event.currentTarget.value)} onKeyDown={(event) => { if (event.key === "Enter" && offered[0]) { add(offered[0].name); event.preventDefault(); } }} />
          {found && text && (
            <div class="offered">
              {about.value!.model.state !== "none" && /\p{L}/u.test(text) && <button type="button" class="measure" onClick={() => { void measure(text, offer); set(""); }}>Find what makes the model write “<bdi>{clean(text)}</bdi>” <span class="soft small">tries some 40 features: half a minute or more</span></button>}
              <p class="soft small">{offered.length ? "Named so; a name says what a feature reads, seldom what it writes:" : <>No feature is called so. <a href={`/search?q=${encodeURIComponent(text)}`}>Search their texts</a></>}</p>
              <ul aria-label="Features found">
                {offered.map((row) => <li key={row.name}><button type="button" onClick={() => add(row.name)}><Label text={row.title ?? row.name} /> <span class="soft small" title="Layers are the steps of the model's reading; the last is the nearest to what it writes.">layer {layerOf(row.name)}</span></button></li>)}
              </ul>
            </div>
          )}
        </div>
      )}
      {names.filter((name) => !writers?.rows.some((row) => row.name === name)).map((name) => <Hardly key={name} name={name} onFind={(words) => void measure(words, offer)} />)}
      {!names.length && !writers && <p class="chips" role="group" aria-label="Examples">{TRY.map((one) => <button key={one[0]} type="button" class="chip" onClick={() => void take(one)}>{one[0]}</button>)}</p>}
      {writers && (
        <div class="writers small">
          <p class="soft" role="status">{writers.doing || (writers.rows.length ? `Measured to make the model write ${clean(writers.words)}, those that give it most first:` : `Nothing that was tried makes the model write ${clean(writers.words)} more than chance does.`)}</p>
          <p class="chips">{others.slice(0, SHOWN).map((row) => <button key={row.name} type="button" class="chip" disabled={names.includes(row.name)} onClick={() => add(row.name)} title={`${times(row.after / row.before)} as likely: ${percent(row.before)} without it, ${percent(row.after)} with it`}><Label text={row.title} /> <span class="soft">· to {percent(row.after)}</span></button>)}
            <button type="button" class="quiet" onClick={() => { stop.abort(); offer(null); }}>{writers.doing ? "stop" : "close"}</button></p>
        </div>
      )}
    </div>
  );
}

/** Features that make the model write some words, and what is being done to find them. */
interface Writers { words: string; rows: Proposed[]; doing: string }

const SHOWN = 5;
let stop = new AbortController();

/** Those whose effect was measured before; none where that cannot be said. */
async function known(words: string): Promise<Proposed[]> {
  stop.abort();
  stop = new AbortController();
  try {
    for await (const told of propose({ words, measure: false }, stop.signal)) if (told.event === "known") return mostFirst(told.data.features);
  } catch { /* Another model may have other words: they are looked for in names. */ }
  return [];
}

/** Those that give the words most first, as the numbers beside them say. */
function mostFirst(rows: Proposed[]): Proposed[] {
  return [...rows].sort((a, b) => b.after - b.before - (a.after - a.before));
}

/** Measures features for some words, showing those that are known at once. */
async function measure(words: string, offer: (next: Writers | null) => void): Promise<void> {
  stop.abort();
  stop = new AbortController();
  const mine = stop;
  let rows: Proposed[] = [];
  const say = (doing: string) => { if (!mine.signal.aborted) offer({ words, rows, doing }); };
  say(`${waiting()}…`);
  try {
    for await (const told of propose({ words }, mine.signal)) {
      if (told.event === "known") { rows = mostFirst(told.data.features); say("trying features…"); }
      else if (told.event === "loading") say(`${loading(told.data.share)}…`);
      else if (told.event === "progress") say(`trying features: ${percent(told.data.done / told.data.of)} done…`);
      else if (told.event === "found") { rows = mostFirst(told.data.features.filter((row) => row.holds)); say(""); }
      else if (told.event === "error") say(told.data.detail);
    }
  } catch (error) {
    say((error as Problem).message);
  }
}

function times(factor: number): string {
  return factor > 1000 ? "over 1,000×" : `${number(Number(factor.toPrecision(2)))}×`;
}

function Chosen({ name, onDrop }: { name: string; onDrop: () => void }) {
  const { value: head, error } = useLoaded(name, (signal) => api.feature(name, signal));
  return (
    <li class="chip">
      {head ? <a href={`/f/${name}`}><Label text={head.title} own={head.feature.written?.label} /></a> : <span>{error ?? name}</span>}{" "}
      <span class="soft">layer {layerOf(name)}</span> <button type="button" class="quiet" aria-label={`Leave out ${head?.title ?? name}`} onClick={onDrop}>×</button>
    </li>
  );
}

/** Whether it was measured and raised no word more than a random step does. */
export function writesLittle(kind: string | null | undefined): boolean {
  return kind === "reads" || kind === "unclear";
}

/** Words of a name that say what it is about; what nearly any name has in it says nothing. */
function telling(title: string | null): string[] {
  return (title ?? "").toLowerCase().split(/[^\p{L}]+/u).filter((word) => word.length > 3 && !/^(?:about|after|before|begin|beginning|ending|names?|nouns?|other|place|text|that|their|things?|verbs?|with|words?)$/.test(word));
}

/** Says of a feature that mostly reads what it does, and looks for others. */
function Hardly({ name, onFind }: { name: string; onFind: (words: string) => void }) {
  const { value: head } = useLoaded(name, (signal) => api.feature(name, signal));
  if (!head || !writesLittle(head.kind)) return null;
  const words = telling(head.title).slice(0, 4);
  return (
    <p class="small hardly"><b><Label text={head.title} own={head.feature.written?.label} /></b> mostly reads. <Does head={head} />Turned at every word it may still change a text.
      {words.length > 0 && <> <button type="button" class="quiet" onClick={() => onFind(words.join(", "))}>Find what makes the model write “{words.join(", ")}”</button></>}</p>
  );
}
