// Search: features by words, as you type.
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { api, type Problem } from "../api/client";
import type { FoundHit, SearchPage as Found } from "../api/types";
import { Choice, Elsewhere, Empty, Failed, Trust } from "../parts/Bits";
import { Gather, Pick, picked } from "../parts/Gather";
import { Label, Shown } from "../parts/Text";
import { useLoaded } from "../state/load";
import { go, params, withParams } from "../state/router";
import { about } from "../state/session";
import { clean, layerOf, parted, quoted, step } from "../state/words";

const PLACES = [["", "everywhere"], ["label", "names"], ["context", "text they fire on"], ["output", "words they write"]] as const;
const FOUND: Record<string, string> = { label: "its rule", context: "text it fires on", output: "what it writes", meaning: "what its name means" };
const BUSY = 429;
const TRY = ["budget", "football", "weather", "court*", "“interest rates”"];

export function SearchPage() {
  const words = params.value.get("q") ?? "";
  const among = params.value.get("in") ?? "";
  const box = useRef<HTMLInputElement>(null);
  useLayoutEffect(() => box.current?.focus(), []);
  const [waiting, wait] = useState("");
  const { value, error } = useLoaded<Found | null>(`${words} ${among}`, (signal) =>
    words.trim() ? patiently(() => api.search({ q: words, in: among ? [among] : [], limit: 60 }, signal), signal, wait) : Promise.resolve(null), words.trim() ? 100 : 0);
  const inTexts = about.value!.atlases.some((atlas) => atlas.contexts);
  const places = [...PLACES.filter(([key]) => key !== "context" || inTexts), ...(about.value!.meaning ? [["meaning", "by meaning"] as const] : [])];
  const counts: Record<string, number> = value?.counts ?? {};
  return (
    <div class="search">
      <h1 class="vh">Search</h1>
      <form role="search" onSubmit={(event) => event.preventDefault()}>
        <label class="vh" for="words">Words</label>
        <input id="words" ref={box} type="search" dir="auto" autocomplete="off" spellcheck={false} maxLength={1000} placeholder="Find features by words"
          value={words} onInput={(event) => go(withParams({ q: event.currentTarget.value }), true)} />
      </form>
      <div class="bar-row">
        <Choice name="Where the words stand" value={among} onChange={(place) => go(withParams({ in: place }), true)}
          options={places.map(([key, text]) => [key, key && key !== "meaning" && value && !among ? `${text} ${counts[key] ?? 0}` : text] as const)} />
        <p class="soft small" role="status">{value && !waiting ? `${value.hits.length}${value.hits.length === 60 ? " or more" : ""} feature${value.hits.length === 1 ? "" : "s"}` : ""}</p>
      </div>
      {waiting && <p class="soft" role="status">{waiting}</p>}
      {error && <Failed error={error} />}
      {!words.trim() && (
        <>
          <div class="examples" role="group" aria-label="Examples">{TRY.map((text) => <button key={text} type="button" class="chip" onClick={() => go(withParams({ q: text.replace(/[“”]/g, '"') }), true)}>{text}</button>)}</div>
          <Empty>Words are looked for in the names of features{inTexts ? ", in the texts they fire on," : ""} and in the words they make likelier. All of it lies on this machine.{!inTexts && " The texts that features fire on are left out of the atlas that is installed, to keep it small; to find what fires on a word, read the word."}</Empty>
        </>
      )}
      {value?.loosened && value.hits.length > 0 && <p class="soft">No feature has all of these words. These have some of them.</p>}
      {value && value.hits.length === 0 && <Nothing words={words} />}
      {value && value.hits.length > 0 && <div class="small"><Gather /></div>}
      {value && <Hits hits={value.hits} />}
      {value && value.hits.length > 0 && <Elsewhere command={`hooke search ${quoted(words)}${among === "meaning" ? " --meaning" : among ? ` --in ${among}` : ""} --json`} json={() => value} />}
    </div>
  );
}

/** Where no name has the words, what fires on them may still be known under another. */
function Nothing({ words }: { words: string }) {
  const bare = words.replace(/["“”*]|(^|\s)-\S+/g, " ").trim();
  return (
    <div class="empty">
      <p>No feature has {/\s/.test(bare) ? "these words" : "this word"} in its name, and none writes {/\s/.test(bare) ? "them" : "it"}. Something may fire on it all the same, under another name:</p>
      {about.value!.model.state !== "none" && <p class="actions"><a class="button" href={`/?t=${encodeURIComponent(bare)}`}>Read “<bdi>{clean(bare)}</bdi>”, and see what fires</a></p>}
      {about.value!.meaning && <p><button type="button" onClick={() => go(withParams({ in: "meaning" }), true)}>look for names that mean it</button></p>}
      <p class="soft small">{/\s/.test(bare) ? "Fewer words find more. " : ""}<code>astron*</code> finds every word that begins so.{!about.value!.meaning && <> Names that mean the same are found too once a package for it is installed: <code>pip install "hooke[semantic]"</code>, and this server started again.</>}</p>
    </div>
  );
}

/** Asks again while the server is busy, and shows what it is busy with. */
async function patiently(ask: () => Promise<Found>, signal: AbortSignal, show: (told: string) => void): Promise<Found> {
  for (;;) {
    try {
      const found = await ask();
      show("");
      return found;
    } catch (error) {
      if ((error as Problem).status !== BUSY || signal.aborted) {
        show("");
        throw error;
      }
      show((error as Problem).message);
      await new Promise((done) => setTimeout(done, 1500));
    }
  }
}

/** What is named so, and then, under a heading, what has the words elsewhere only. */
function Hits({ hits }: { hits: FoundHit[] }) {
  const named = hits.filter((hit) => ["label", "meaning"].some((place) => hit.found_in?.includes(place)));
  const others = hits.filter((hit) => !named.includes(hit));
  return (
    <>
      <ul class="hits" aria-label="Named so">{named.map((hit) => <Row key={hit.name} hit={hit} />)}</ul>
      {named.length > 0 && others.length > 0 && <h2 class="elsewhere-found">Not named so: the words stand only in a text that they fire on, or in what they write</h2>}
      <ul class="hits" aria-label="Words found elsewhere">{others.map((hit) => <Row key={hit.name} hit={hit} />)}</ul>
    </>
  );
}

function Row({ hit }: { hit: FoundHit }) {
  const passage = hit.passage;
  return (
    <li>
      <div class="found-name">
        <span>{picked.value && <><Pick name={hit.name} title={hit.title} /> </>}{hit.written?.star && <span class="starred" role="img" aria-label="starred">★ </span>}<a href={`/f/${hit.name}`}><Label text={hit.title} /></a></span>
        <Trust rating={hit.rating} />
        <span class="soft small">layer {layerOf(hit.name)} · found in {(hit.found_in ?? []).map((place) => (place === "label" && hit.by_name ? "its name" : FOUND[place] ?? place)).join(", ")}</span>
      </div>
      {passage && (
        <p class="passage small" dir="auto">
          {passage.tokens.map((token, i) => {
            const [spaces, bare] = parted(token);
            return <>{spaces}<span key={i} class={`s${step(passage.values[i] ?? 0, hit.max)}`}><Shown text={bare} /></span></>;
          })}
        </p>
      )}
    </li>
  );
}
