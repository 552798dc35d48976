// Features chosen by name or address, each a chip that can be taken off again.
import { useEffect, useState } from "preact/hooks";
import { api } from "../api/client";
import type { FeatureHead } from "../api/types";
import { findFeatures, type Found } from "../state/find";
import { useLoaded } from "../state/load";
import { layerOf } from "../state/words";
import { Label } from "./Text";

/** What to look for, for those who know no feature by name. */
const TRY = ["space", "football", "money", "weather", "law"];

export function FeaturePicker({ names, most, onChange }: { names: readonly string[]; most: number; onChange: (names: string[]) => void }) {
  const [text, set] = useState("");
  const [found, show] = useState<Found[] | null>(null);
  useEffect(() => {
    const stop = new AbortController();
    const timer = setTimeout(() => void findFeatures(text, stop.signal).then((rows) => !stop.signal.aborted && show(text.trim() ? rows : null), () => undefined), 120);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [text]);
  const add = (name: string) => {
    onChange([...names, name]);
    set("");
    document.getElementById("feature")?.focus();
  };
  const offered = found?.filter((row) => !names.includes(row.name)) ?? [];
  return (
    <div class="picker">
      {names.length > 0 && <ul class="chips">{names.map((name) => <Chosen key={name} name={name} onDrop={() => onChange(names.filter((own) => own !== name))} />)}</ul>}
      {names.length < most && (
        <>
          <input id="feature" type="search" autocomplete="off" spellcheck={false} maxLength={200} aria-label="Feature, by name or number" placeholder={names.length ? "another one with it" : "a name, or 12/2703"}
            value={text} onInput={(event) => set(event.currentTarget.value)} onKeyDown={(event) => { if (event.key === "Enter" && offered[0]) { add(offered[0].name); event.preventDefault(); } }} />
          {!names.length && !text && <p class="chips" role="group" aria-label="Examples">{TRY.map((word) => <button key={word} type="button" class="chip" onClick={() => { set(word); document.getElementById("feature")?.focus(); }}>{word}</button>)}</p>}
          {found && (
            <ul class="offered" aria-label="Features found">
              {offered.map((row) => (
                <li key={row.name}><button type="button" onClick={() => add(row.name)}><Label text={row.title ?? row.name} /> <span class="soft small">layer {layerOf(row.name)}</span></button></li>
              ))}
              {!offered.length && <li class="soft small">No feature is called so. <a href={`/search?q=${encodeURIComponent(text)}`}>Search their texts</a></li>}
            </ul>
          )}
        </>
      )}
    </div>
  );
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

const ASKED = 6;

/** Features that were measured to write the words of a name; where there are none, those that only point at them. */
async function writers(title: string | null, but: string, signal: AbortSignal): Promise<FeatureHead[]> {
  const pages = await Promise.all(telling(title).slice(0, 3).map((word) => api.search({ q: word, in: ["output"], limit: ASKED }, signal)));
  const names = [...new Set(pages.filter((page) => !page.loosened).flatMap((page) => page.hits.map((hit) => hit.name)))].filter((name) => name !== but).slice(0, ASKED);
  const heads = await Promise.all(names.map((name) => api.feature(name, signal)));
  const measured = heads.filter((head) => head.kind && !writesLittle(head.kind));
  return measured.length ? measured : heads.filter((head) => !head.kind);
}

/** Says of a feature that hardly writes that it does not, and offers others. */
export function Hardly({ name, onTake }: { name: string; onTake: (other: string) => void }) {
  const { value: head } = useLoaded(name, (signal) => api.feature(name, signal));
  const { value: others } = useLoaded(`writers ${name} ${head?.kind}`, (signal) => (head && writesLittle(head.kind) ? writers(head.title, name, signal) : Promise.resolve([])));
  if (!head || !writesLittle(head.kind)) return null;
  return (
    <p class="small hardly"><b><Label text={head.title} own={head.feature.written?.label} /></b> reads more than it writes: when it was measured, it raised no word more than a random step of its length does. Turned at every word it may still change a text.
      {!!others?.length && <> {others[0]!.kind ? "These were measured to write such words: " : "These point at such words by their direction; nobody measured them: "}{others.map((one) => <><button key={one.name} type="button" class="chip" onClick={() => onTake(one.name)}><Label text={one.title} /> <span class="soft">layer {layerOf(one.name)}</span></button> </>)}</>}</p>
  );
}
